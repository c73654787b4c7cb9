/* What the fuzz targets share. A target is one file with LLVMFuzzerTestOneInput: what comes from outside goes in as it would come over the wire, and what it must not do is
 * written with `must`. `make fuzz` looks for inputs that break it (libFuzzer); `make test` runs the kept inputs of tests/fuzz/corpus (replay.c). */
#ifndef LC_FUZZ_H
#define LC_FUZZ_H
#include "base/base.h"
#include <stdio.h>
#include <stdlib.h>
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
#define must(condition) ((condition) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition), abort()))
#endif
