/* Allocation that can fail: the one place where the allocator is chosen. */
#include "base.h"
#include <stdlib.h>

void *lc_alloc(size_t size_bytes) { return malloc(size_bytes ? size_bytes : 1); }
void *lc_alloc_zero(size_t count, size_t size_bytes) { return calloc(count ? count : 1, size_bytes ? size_bytes : 1); }
void *lc_realloc(void *p, size_t size_bytes) { return realloc(p, size_bytes ? size_bytes : 1); }
void lc_free(void *p) { free(p); }

char *lc_strdup_n(const void *text, size_t len) {
  char *copy = lc_alloc(len + 1);
  if (!copy) return NULL;
  if (len) memcpy(copy, text, len);
  copy[len] = 0;
  return copy;
}
