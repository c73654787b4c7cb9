/* Allocation that can fail: the one place where the allocator is chosen. */
#include "base.h"
#include <stdlib.h>

bool (*lc_alloc_may_fail)(size_t size_bytes);

void *lc_alloc(size_t size_bytes) { return lc_alloc_allowed(size_bytes) ? malloc(size_bytes ? size_bytes : 1) : NULL; }
void *lc_alloc_zero(size_t count, size_t size_bytes) { return lc_alloc_allowed(count * size_bytes) ? calloc(count ? count : 1, size_bytes ? size_bytes : 1) : NULL; }
void *lc_realloc(void *p, size_t size_bytes) { return lc_alloc_allowed(size_bytes) ? realloc(p, size_bytes ? size_bytes : 1) : NULL; }
void lc_free(void *p) { free(p); }

char *lc_strdup_n(const void *text, size_t len) {
  char *copy = lc_alloc(len + 1);
  if (!copy) return NULL;
  if (len) memcpy(copy, text, len);
  copy[len] = 0;
  return copy;
}
