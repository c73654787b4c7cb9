# Lightcone's front door. `make help` lists the goals.
SHELL := /bin/bash
CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/lightcone
VARIANT ?= release
OUT := build/$(VARIANT)
CC := gcc
WARN := -Wall -Wextra -Wshadow -Wconversion -Werror
COMMON := -std=gnu17 -D_GNU_SOURCE -g -fno-omit-frame-pointer -Isrc $(WARN)
FLAGS_release := -O2
FLAGS_asan := -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined
FLAGS_tsan := -O1 -fsanitize=thread
CFLAGS := $(COMMON) $(FLAGS_$(VARIANT))
WASMTIME := $(shell scripts/wasmtime-dir.sh)
FOLDERS := $(wildcard src/*/)
SOURCES := $(sort $(wildcard src/*/*.c))
OBJECTS := $(SOURCES:src/%.c=$(OUT)/obj/%.o)
LIBRARY := $(OUT)/liblightcone.a
TESTS := $(sort $(wildcard tests/unit/test_*.c))
TEST_BINARIES := $(TESTS:tests/unit/%.c=$(OUT)/tests/%)
LIBS := -luv -lhttp_parser -lssl -lcrypto -lcurl -lsqlite3 -ljansson -lzstd -lz -lpthread -ldl -lm
HOST_OBJECTS := $(filter $(OUT)/obj/host/%,$(OBJECTS))

.DEFAULT_GOAL := all
.PHONY: all setup test run asan tsan bench format help clean lib tests

help: ## list the goals
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## install packages and build what must be built (cached outside the checkout)
	@scripts/setup.sh

all: setup lib ## build the release

lib: $(LIBRARY)

$(LIBRARY): $(OBJECTS)
	@rm -f $@
	@ar rcs $@ $^

$(OUT)/obj/host/%.o: CFLAGS += -isystem $(WASMTIME)/include
$(OUT)/obj/%.o: src/%.c
	@mkdir -p $(@D)
	@echo "cc $<"
	@$(CC) $(CFLAGS) -MMD -MP -c $< -o $@

$(OUT)/tests/%: tests/unit/%.c $(LIBRARY)
	@mkdir -p $(@D)
	@echo "cc $<"
	@$(CC) $(CFLAGS) -MMD -MP $< $(LIBRARY) $(if $(HOST_OBJECTS),$(WASMTIME)/lib/liblightcone_wasmtime.a) $(LIBS) -lcmocka -o $@

tests: $(TEST_BINARIES)

test: setup ## every test, under AddressSanitizer and UBSan; ends with `N passed, N failed`
	@$(MAKE) --no-print-directory VARIANT=asan tests
	@tests/run build/asan

asan: setup ## build with AddressSanitizer and UBSan
	@$(MAKE) --no-print-directory VARIANT=asan lib tests

tsan: setup ## build with ThreadSanitizer
	@$(MAKE) --no-print-directory VARIANT=tsan lib tests

format: ## clang-format over our code
	@clang-format-22 -i src/*/*.[ch] tests/unit/*.c

clean: ## remove what was built in the checkout
	@rm -rf build

-include $(OBJECTS:.o=.d) $(TEST_BINARIES:=.d)
