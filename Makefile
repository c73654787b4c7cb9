# Lightcone's front door. `make help` lists the goals.
SHELL := /bin/bash
# Compile on all processors; `make JOBS=1` or -jN say otherwise. A make below another one shares the outer one's slots.
JOBS ?= $(shell nproc)
ifeq ($(MAKELEVEL)$(findstring -j,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(JOBS)
endif
CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/lightcone
VARIANT ?= release
OUT := build/$(VARIANT)
CC := $(if $(filter fuzz,$(VARIANT)),clang-22,gcc)
WARN := -Wall -Wextra -Wshadow -Wconversion -Werror
COMMON := -std=gnu17 -D_GNU_SOURCE -g -fno-omit-frame-pointer -Isrc $(WARN)
FLAGS_release := -O2
FLAGS_asan := -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined
FLAGS_tsan := -O1 -fsanitize=thread
FLAGS_sim := -O2 -fsanitize=address,undefined -fno-sanitize-recover=undefined -DLC_SIMULATOR
FLAGS_planted := -O2 -DLC_SIMULATOR
FLAGS_fuzz := -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -Wno-error -Wno-unknown-attributes -Wno-sign-conversion -Wno-unterminated-string-initialization
CFLAGS := $(COMMON) $(FLAGS_$(VARIANT))
WASMTIME := $(shell scripts/wasmtime-dir.sh)
NODE := $(shell scripts/node-dir.sh)
FOLDERS := $(wildcard src/*/)
SOURCES := $(sort $(wildcard src/*/*.c))
TEMPLATES := $(OUT)/obj/templates.o
OBJECTS := $(SOURCES:src/%.c=$(OUT)/obj/%.o) $(TEMPLATES)
LIBRARY := $(OUT)/liblightcone.a
TESTS := $(sort $(wildcard tests/unit/test_*.c))
TEST_BINARIES := $(TESTS:tests/unit/%.c=$(OUT)/tests/%)
LIBS := -luv -lhttp_parser -lssl -lcrypto -lcurl -lsqlite3 -ljansson -lzstd -lz -lbrotlienc -lpthread -ldl -lm
WASMTIME_LIBRARY := $(WASMTIME)/lib/liblightcone_wasmtime.a
BINARY := $(if $(filter release,$(VARIANT)),build/lightcone,$(OUT)/lightcone)
LOADGEN := $(if $(filter release,$(VARIANT)),build/loadgen,$(OUT)/loadgen)
MODULES := build/modules

.DEFAULT_GOAL := all
.PHONY: install deb fuzz crash-campaign sim simulator sim-campaign failure-campaign model-campaign storage-campaign planted all setup test run asan tsan bench format help clean lib tests binary loadgen modules clients

help: ## list the goals
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 18

setup: ## install packages and build what must be built (cached outside the checkout)
	@scripts/setup.sh

all: setup ## build the release binary build/lightcone (also as build/spacetime)
	@$(MAKE) --no-print-directory binary

# V8 behind a C face, loaded with the first JavaScript module (src/host/js_engine.h). ThreadSanitizer does not see how V8's threads synchronise.
V8_OBJECT := $(dir $(BINARY))lightcone-v8.so
V8_SOURCES := src/host/js_engine.cc src/host/js_escape.cc src/host/js_syscalls.cc
$(V8_OBJECT): $(V8_SOURCES) src/host/js_internal.hh src/host/js_engine.h src/host/abi_value.h src/host/js_prelude.js
	@mkdir -p $(@D)
	@echo "c++ $@"
	@g++ -std=c++17 -g -fno-omit-frame-pointer -fno-rtti -fPIC -shared -fvisibility=hidden -Wall -Wextra -Wshadow -Werror $(if $(filter tsan,$(VARIANT)),-O2,$(FLAGS_$(VARIANT))) \
	  -isystem $(NODE)/include -Isrc/host $(V8_SOURCES) -L$(NODE)/lib -lnode -Wl,-rpath,'$$ORIGIN:$(NODE)/lib' -o $@

binary: $(BINARY) $(V8_OBJECT)

$(BINARY): src/main.c $(LIBRARY) $(WASMTIME_LIBRARY)
	@mkdir -p $(@D)
	@echo "ld $@"
	@$(CC) $(CFLAGS) -rdynamic $< $(LIBRARY) $(WASMTIME_LIBRARY) $(LIBS) -o $@
	@ln -sf lightcone $(@D)/spacetime

lib: $(LIBRARY)

$(LIBRARY): $(OBJECTS)
	@rm -f $@
	@ar rcs $@ $^

$(OUT)/obj/host/%.o: CFLAGS += -isystem $(WASMTIME)/include
# The templates of `init`, as an archive that cli/init.c reads.
$(TEMPLATES): $(shell find templates -type f 2>/dev/null)
	@mkdir -p $(@D)
	@echo "ld $@"
	@tar --format=ustar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf $(@D)/templates.tar -C templates $(notdir $(wildcard templates/*))
	@cd $(@D) && ld -r -b binary -z noexecstack -o templates.o templates.tar

$(OUT)/obj/%.o: src/%.c
	@mkdir -p $(@D)
	@echo "cc $<"
	@$(CC) $(CFLAGS) -MMD -MP -c $< -o $@

$(OUT)/tests/%: tests/unit/%.c $(LIBRARY)
	@mkdir -p $(@D)
	@echo "cc $<"
	@$(CC) $(CFLAGS) -MMD -MP $< $(LIBRARY) $(WASMTIME_LIBRARY) $(LIBS) -lcmocka -o $@

# The storage simulator; with VARIANT=planted the mistakes can be chosen that it must find.
$(OUT)/storage-sim: $(wildcard tests/storage-sim/*.[ch]) tests/sim/world.h tests/unit/def_text.h $(LIBRARY)
	@mkdir -p $(@D)
	@echo "cc $@"
	@$(CC) $(CFLAGS) -MMD -MP -Wl,--wrap=lc_log $(wildcard tests/storage-sim/*.c) $(LIBRARY) $(WASMTIME_LIBRARY) $(LIBS) -o $@

# Fuzz targets: with the inputs that are kept (part of `tests`), and with libFuzzer's search (VARIANT=fuzz).
FUZZ := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
$(OUT)/fuzz/%-replay: tests/fuzz/fuzz_%.c tests/fuzz/replay.c tests/fuzz/fuzz.h tests/unit/def_text.h $(LIBRARY)
	@mkdir -p $(@D)
	@echo "cc $@"
	@$(CC) $(CFLAGS) $(filter %.c,$^) $(LIBRARY) $(WASMTIME_LIBRARY) $(LIBS) -o $@
$(OUT)/fuzz/%: tests/fuzz/fuzz_%.c tests/fuzz/fuzz.h tests/unit/def_text.h $(LIBRARY)
	@mkdir -p $(@D)
	@echo "cc $@"
	@$(CC) $(CFLAGS) -fsanitize=fuzzer $(filter %.c,$^) $(LIBRARY) $(WASMTIME_LIBRARY) $(LIBS) -o $@

FUZZ_SECONDS ?= 600
fuzz: setup ## search for inputs that break the decoders (libFuzzer), each FUZZ_SECONDS=600 long; new inputs go into build/fuzz
	@$(MAKE) --no-print-directory VARIANT=fuzz $(FUZZ:%=build/fuzz/fuzz/%)
	@for f in $(FUZZ); do tests/fuzz/run $$f $(FUZZ_SECONDS) || exit 1; done

tests: $(TEST_BINARIES) $(OUT)/storage-sim $(FUZZ:%=$(OUT)/fuzz/%-replay)

STORAGE_SEEDS ?= 100000
STORAGE_FIRST ?= 1
storage-campaign: setup ## simulate many runs of the storage; STORAGE_SEEDS=100000 STORAGE_FIRST=1
	@$(MAKE) --no-print-directory VARIANT=planted build/planted/storage-sim
	@tests/sim/run --storage --fast --stats $(STORAGE_FIRST) $(STORAGE_SEEDS)

MODEL_RUNS ?= 20
MODEL_STEPS ?= 1000000
MODEL_SEED ?= 1
model-campaign: setup ## trees and transactions against naive models; MODEL_RUNS=20 MODEL_STEPS=1000000 MODEL_SEED=1
	@$(MAKE) --no-print-directory VARIANT=asan build/asan/tests/test_store build/asan/tests/test_order build/asan/tests/test_engine_model
	@for seed in $$(seq $(MODEL_SEED) 1000000 $$(($(MODEL_SEED) + 1000000 * ($(MODEL_RUNS) - 1)))); do for t in store order engine_model; do \
	  echo "STEPS=$(MODEL_STEPS) SEED=$$seed build/asan/tests/test_$$t"; STEPS=$(MODEL_STEPS) SEED=$$seed build/asan/tests/test_$$t || exit 1; done; done

FAILURES := db_failures db_recover wal_cases wal_snapshot engine_restore engine_model import
failure-campaign: setup ## every allocation and every file call of publish, calls, snapshots, recovery, import failing in turn, none left out
	@$(MAKE) --no-print-directory VARIANT=asan $(FAILURES:%=build/asan/tests/test_%)
	@for t in $(FAILURES); do echo "EVERY_FAILURE=1 build/asan/tests/test_$$t"; EVERY_FAILURE=1 build/asan/tests/test_$$t || exit 1; done

CRASH_SECONDS ?= 300
SEED ?= $(shell date +%s)
crash-campaign: setup ## kill -9 under load again and again, twice CRASH_SECONDS=300 long; SEED=n repeats a run
	@$(MAKE) --no-print-directory VARIANT=asan binary
	@scripts/build-module.sh tests/modules/e2e-2.14 $(MODULES)/e2e-2.14.wasm
	@echo "make crash-campaign SEED=$(SEED) CRASH_SECONDS=$(CRASH_SECONDS)"
	@OUT=$(CURDIR)/build/asan SEED=$(SEED) CRASH_SECONDS=$(CRASH_SECONDS) python3 tests/e2e/crash.py

BUGS := 1 2 3 4 5 6 7 8 9
planted: setup ## the tables of planted bugs and the seeds that find them, of both simulators
	@$(MAKE) --no-print-directory VARIANT=planted build/planted/storage-sim build/planted/simulator
	@for bug in $(BUGS); do tests/sim/run --storage --fast 1 10000 $$bug || exit 1; done
	@for bug in $(BUGS); do tests/sim/run --fast 1 10000 $$bug || exit 1; done

# The simulator of whole databases: a native module in the place of host/, threads and clocks of its own in the place of libc's.
SIM_FOLDERS := base types store engine sql live wal db
SIM_OBJECTS := $(patsubst src/%.c,$(OUT)/obj/%.o,$(sort $(foreach f,$(SIM_FOLDERS),$(wildcard src/$f/*.c))))
SIM_WRAPPED := pthread_mutex_init pthread_mutex_destroy pthread_mutex_lock pthread_mutex_unlock pthread_cond_init pthread_cond_destroy pthread_cond_wait pthread_cond_timedwait \
  pthread_cond_signal pthread_cond_broadcast pthread_create pthread_join clock_gettime setpriority module_log_open lc_wal_append lc_log
$(OUT)/simulator: $(sort $(wildcard tests/sim/*.[ch])) tests/unit/def_text.h $(SIM_OBJECTS)
	@echo "cc $@"
	@$(CC) $(CFLAGS) -Wno-multichar -Wno-clobbered $(SIM_WRAPPED:%=-Wl,--wrap=%) $(filter %.c %.o,$^) -lzstd -lpthread -lm -o $@

simulator: ## build the simulator of whole databases
	@$(MAKE) --no-print-directory VARIANT=sim build/sim/simulator

SEEDS ?= 1000
FIRST ?= 1
sim: simulator ## simulate whole databases; SEEDS=1000 FIRST=1
	@tests/sim/run $(FIRST) $(SEEDS)
sim-campaign: setup ## many more of them, optimised, with a count of every fault; SEEDS=100000 FIRST=1
	@$(MAKE) --no-print-directory VARIANT=planted build/planted/simulator
	@tests/sim/run --fast --stats $(FIRST) $(SEEDS)

loadgen: $(LOADGEN)

$(LOADGEN): bench/loadgen.c
	@mkdir -p $(@D)
	@echo "cc $<"
	@$(CC) $(CFLAGS) $< -lm -o $@

test: setup ## every test, under AddressSanitizer and UBSan; ends with `N passed, N failed`
	@$(MAKE) --no-print-directory VARIANT=asan tests binary loadgen
	@$(MAKE) --no-print-directory simulator
	@$(MAKE) --no-print-directory modules
	@$(MAKE) --no-print-directory clients
	@tests/run build/asan

modules: ## the WebAssembly modules of the sample, the benchmark and the tests, from source (cached)
	@scripts/build-module.sh modules/chat $(MODULES)/chat.wasm
	@scripts/build-module.sh modules/transfer $(MODULES)/transfer.wasm
	@scripts/build-module.sh tests/modules/e2e-2.14 $(MODULES)/e2e-2.14.wasm
	@scripts/build-module.sh tests/modules/e2e-2.10 $(MODULES)/e2e-2.10.wasm
	@scripts/build-module.sh tests/modules/server $(MODULES)/server.wasm
	@scripts/build-module.sh tests/modules/handlers-2.8 $(MODULES)/handlers-2.8.wasm
	@scripts/build-module.sh tests/modules/views $(MODULES)/views.wasm
	@scripts/build-module.sh tests/modules/environment $(MODULES)/environment.wasm
	@for m in $(notdir $(basename $(wildcard tests/modules/typescript/src/*.ts))); do scripts/build-ts-module.sh tests/modules/typescript $$m $(MODULES)/$$m-ts.js || exit 1; done

clients: ## the official clients that the end-to-end tests drive (cached)
	@scripts/npm-client.sh tests/clients/npm build/clients/npm
	@scripts/npm-client.sh tests/clients/npm-pg build/clients/npm-pg
	@scripts/npm-client.sh tests/clients/npm-generated build/clients/npm-generated
	@scripts/build-client.sh tests/clients/rust-2.14 build/clients/rust-2.14
	@scripts/build-client.sh tests/clients/rust-2.10 build/clients/rust-2.10
	@scripts/build-client.sh tests/clients/rust-more-2.14 build/clients/rust-more-2.14
	@scripts/build-client.sh tests/clients/rust-more-2.10 build/clients/rust-more-2.10

BENCHES := store engine live replay snapshot host
BENCH_BINARIES := $(BENCHES:%=build/bench-%)
$(BENCH_BINARIES): build/bench-%: bench/%.c $(LIBRARY)
	@echo "cc $@"
	@$(CC) $(CFLAGS) $< $(LIBRARY) $(if $(filter replay snapshot host,$*),$(WASMTIME_LIBRARY)) $(LIBS) -o $@
build/bench-echo build/bench-probe build/bench-httpload: build/bench-%: bench/%.c
	@mkdir -p build && $(CC) $(CFLAGS) $< -o $@ -lpthread

benches: ## build what measures, without running it
	@scripts/setup.sh
	@$(MAKE) --no-print-directory $(BENCH_BINARIES) build/bench-echo build/bench-probe build/bench-httpload loadgen

bench: all benches ## measure: the loads of bench/run.sh against a fresh server, one JSON line each
	@scripts/build-module.sh modules/transfer $(MODULES)/transfer.wasm
	@build/bench-engine
	@build/bench-snapshot
	@build/bench-store
	@build/bench-live
	@build/bench-replay build/bench-folder
	@build/bench-host $(MODULES)/transfer.wasm 500000
	@build/bench-probe /tmp 1
	@build/bench-echo
	@bench/run.sh
	@bench/inserts.py
	@bench/http.sh
	@bench/idle.py

run: all ## start a server on 127.0.0.1:3000 with data in ./lightcone-data; publishes the sample if that is empty
	@scripts/build-module.sh modules/chat $(MODULES)/chat.wasm
	@scripts/run.sh

PREFIX ?= /usr/local
install: binary ## install what `make` built: PREFIX=/usr/local DESTDIR=
	@scripts/install.sh $(BINARY) $(PREFIX) $(DESTDIR)

deb: all ## a Debian package: build/lightcone.deb
	@scripts/deb.sh build/lightcone build/lightcone.deb

asan: setup ## build with AddressSanitizer and UBSan
	@$(MAKE) --no-print-directory VARIANT=asan tests binary

tsan: setup ## build with ThreadSanitizer and run the threaded parts under it
	@$(MAKE) --no-print-directory VARIANT=tsan tests binary loadgen
	@$(MAKE) --no-print-directory modules
	@$(MAKE) --no-print-directory clients
	@tests/run-tsan

format: ## clang-format over our code
	@clang-format-22 -i src/*/*.[ch] tests/unit/*.c

clean: ## remove what was built in the checkout
	@rm -rf build

-include $(OBJECTS:.o=.d) $(TEST_BINARIES:=.d)
