/* Growable byte buffers, bounded readers of variable-length integers, and shared immutable buffers. */
#include "base.h"
#include <stdio.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "integers are stored as the machine has them: it must be little-endian");

bool lc_buf_reserve(struct lc_buf *b, size_t extra_bytes) {
  if (b->failed) return false;
  if (b->cap - b->len >= extra_bytes) return true;
  size_t want = b->len + extra_bytes, cap = b->cap ? b->cap : 64;
  if (want < extra_bytes) {
    b->failed = true;
    return false;
  }
  while (cap < want) cap = cap > SIZE_MAX / 2 ? want : cap * 2;
  uint8_t *data = lc_realloc(b->data, cap);
  if (!data) {
    b->failed = true;
    return false;
  }
  b->data = data;
  b->cap = cap;
  return true;
}

void lc_buf_append_slow(struct lc_buf *b, const void *data, size_t len) {
  if (!lc_buf_reserve(b, len)) return;
  memcpy(b->data + b->len, data, len);
  b->len += len;
}

void lc_buf_free(struct lc_buf *b) {
  lc_free(b->data);
  *b = (struct lc_buf){0};
}

void lc_buf_shrink(struct lc_buf *b, size_t cap_bytes) {
  uint8_t *data = b->cap > cap_bytes ? lc_realloc(b->data, cap_bytes) : NULL;
  lc_buf_clear(b);
  if (!data) return; /* it is as good as it was */
  b->data = data;
  b->cap = cap_bytes;
}

void lc_buf_printf(struct lc_buf *b, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  va_list again;
  va_copy(again, ap);
  int n = vsnprintf(NULL, 0, fmt, ap);
  va_end(ap);
  if (n > 0 && lc_buf_reserve(b, (size_t)n + 1)) {
    vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, again);
    b->len += (size_t)n;
  }
  va_end(again);
}

void lc_buf_varint(struct lc_buf *b, uint64_t v) {
  uint8_t bytes[10];
  size_t n = 0;
  while (v >= 0x80) {
    bytes[n++] = (uint8_t)(v | 0x80);
    v >>= 7;
  }
  bytes[n++] = (uint8_t)v;
  lc_buf_append(b, bytes, n);
}

uint64_t lc_read_varint(struct lc_reader *r) {
  uint64_t v = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    uint8_t byte = lc_read_u8(r);
    if (r->failed || (shift == 63 && byte > 1)) break;
    v |= (uint64_t)(byte & 0x7f) << shift;
    if (byte < 0x80) return v;
  }
  r->failed = true;
  return 0;
}

struct lc_shared *lc_shared_new(struct lc_slice bytes) {
  struct lc_shared *s = lc_alloc(sizeof *s + bytes.len);
  if (!s) return NULL;
  atomic_init(&s->refs, 1);
  s->len = bytes.len;
  if (bytes.len) memcpy(s->data, bytes.data, bytes.len);
  return s;
}

void lc_shared_unref(struct lc_shared *s) {
  if (s && atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1) lc_free(s);
}
