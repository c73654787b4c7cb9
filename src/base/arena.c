/* Bump allocation. Blocks double up to 1 MiB; a larger request gets a block of its own. A reset keeps the newest that is not large. */
#include "base.h"

enum { FIRST_BLOCK_BYTES = 4096, MAX_BLOCK_BYTES = 1 << 20, MAX_KEPT_BYTES = MAX_BLOCK_BYTES / 2 /* by a reset */ };
struct lc_arena_block {
  struct lc_arena_block *next;
  size_t size_bytes; /* of data */
  _Alignas(16) uint8_t data[];
};

void *lc_arena_alloc_slow(struct lc_arena *a, size_t size_bytes) {
  if (size_bytes > SIZE_MAX - 64) {
    a->failed = true;
    return NULL;
  }
  size_t need = (size_bytes + 15u) & ~(size_t)15u;
  size_t size = a->head ? a->head->size_bytes * 2 : a->first_block_bytes ? a->first_block_bytes : FIRST_BLOCK_BYTES;
  if (size > MAX_BLOCK_BYTES) size = MAX_BLOCK_BYTES;
  if (size < need) size = need;
  struct lc_arena_block *block = lc_alloc(sizeof *block + size);
  if (!block) {
    a->failed = true;
    return NULL;
  }
  block->size_bytes = size;
  block->next = a->head;
  a->head = block;
  a->at = block->data + need;
  a->end = block->data + size;
  a->total_bytes += need;
  return block->data;
}

void *lc_arena_alloc_zero(struct lc_arena *a, size_t count, size_t size_bytes) {
  if (size_bytes && count > SIZE_MAX / size_bytes) {
    a->failed = true;
    return NULL;
  }
  void *p = lc_arena_alloc(a, count * size_bytes);
  if (p) memset(p, 0, count * size_bytes);
  return p;
}

char *lc_arena_strdup(struct lc_arena *a, struct lc_slice text) {
  char *copy = lc_arena_alloc(a, text.len + 1);
  if (!copy) return NULL;
  if (text.len) memcpy(copy, text.data, text.len);
  copy[text.len] = 0;
  return copy;
}

struct lc_slice lc_arena_copy(struct lc_arena *a, struct lc_slice bytes) {
  uint8_t *copy = lc_arena_alloc(a, bytes.len ? bytes.len : 1);
  if (!copy) return lc_slice(NULL, 0);
  if (bytes.len) memcpy(copy, bytes.data, bytes.len);
  return lc_slice(copy, bytes.len);
}

struct lc_slice lc_arena_take(struct lc_arena *a, struct lc_buf *b) {
  char *copy = lc_buf_ok(b) ? lc_arena_strdup(a, lc_buf_slice(b)) : NULL;
  struct lc_slice taken = copy ? lc_slice(copy, b->len) : lc_slice(NULL, 0);
  if (!copy) a->failed = true;
  lc_buf_free(b);
  return taken;
}

void lc_arena_reset(struct lc_arena *a) {
  struct lc_arena_block *keep = NULL;
  for (struct lc_arena_block *b = a->head, *next; b; b = next) {
    next = b->next;
    if (!keep && b->size_bytes <= MAX_KEPT_BYTES) keep = b;
    else lc_free(b);
  }
  a->failed = false;
  a->head = keep;
  a->at = keep ? keep->data : NULL;
  a->end = keep ? keep->data + keep->size_bytes : NULL;
  a->total_bytes = 0;
  if (keep) keep->next = NULL;
}

void lc_arena_free(struct lc_arena *a) {
  for (struct lc_arena_block *b = a->head, *next; b; b = next) {
    next = b->next;
    lc_free(b);
  }
  *a = (struct lc_arena){0};
}
