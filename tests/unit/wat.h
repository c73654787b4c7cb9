/* Wasm text format to bytes with wat2wasm, for tests with hand-written modules. */
#include "base/base.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static struct lc_slice assemble(const char *wat) {
  static uint8_t bytes[1 << 16];
  char in[] = "/tmp/lightcone-wat-XXXXXX", out[64], command[256];
  int fd = mkstemp(in);
  if (fd < 0 || write(fd, wat, strlen(wat)) != (ssize_t)strlen(wat)) abort();
  close(fd);
  snprintf(out, sizeof out, "%s.wasm", in);
  snprintf(command, sizeof command, "wat2wasm --no-check %s -o %s", in, out);
  if (system(command) != 0) abort();
  FILE *f = fopen(out, "rb");
  if (!f) abort();
  size_t n = fread(bytes, 1, sizeof bytes, f);
  fclose(f);
  unlink(in);
  unlink(out);
  return lc_slice(bytes, n);
}
