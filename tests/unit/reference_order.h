/* The order of spec/01 §8 written naively on decoded values, for tests: nothing of it is shared with types/ or store/. Includer: after types/types.h. */
#ifndef LC_REFERENCE_ORDER_H
#define LC_REFERENCE_ORDER_H
#include "types/types.h"

/* Bytes of a whole number, 0 for other types. */
static inline uint32_t reference_number_bytes(enum lc_type_kind k) {
  switch (k) {
  case LC_T_I8: case LC_T_U8: return 1;
  case LC_T_I16: case LC_T_U16: return 2;
  case LC_T_I32: case LC_T_U32: return 4;
  case LC_T_I64: case LC_T_U64: return 8;
  case LC_T_I128: case LC_T_U128: return 16;
  case LC_T_I256: case LC_T_U256: return 32;
  default: return 0;
  }
}
static inline bool reference_is_signed(enum lc_type_kind k) { return k == LC_T_I8 || k == LC_T_I16 || k == LC_T_I32 || k == LC_T_I64 || k == LC_T_I128 || k == LC_T_I256; }

static const uint8_t *reference_skip(const struct lc_type *t, const uint8_t *p) {
  uint32_t n = reference_number_bytes(t->kind), count;
  if (n) return p + n;
  switch (t->kind) {
  case LC_T_BOOL: return p + 1;
  case LC_T_F32: return p + 4;
  case LC_T_F64: return p + 8;
  case LC_T_SUM: return reference_skip(t->fields[*p].type, p + 1);
  case LC_T_PRODUCT:
    for (uint32_t i = 0; i < t->n_fields; i++) p = reference_skip(t->fields[i].type, p);
    return p;
  case LC_T_STRING: memcpy(&count, p, 4); return p + 4 + count;
  case LC_T_ARRAY:
    memcpy(&count, p, 4);
    for (p += 4; count; count--) p = reference_skip(t->elem, p);
    return p;
  default: abort();
  }
}

/* Sign and magnitude, the most significant byte first. */
struct reference_number { bool negative; uint8_t magnitude[32]; };
static inline struct reference_number reference_number(const uint8_t *p, uint32_t n, bool is_signed) {
  struct reference_number x = {.negative = is_signed && p[n - 1] >= 128};
  unsigned carry = 1;
  for (uint32_t i = 0; i < n; i++) {
    unsigned v = x.negative ? 255u - p[i] + carry : p[i];
    carry = v >> 8;
    x.magnitude[31 - i] = (uint8_t)v;
  }
  return x;
}
static inline int reference_floats(double a, double b) {
  if (a != a || b != b) return (a != a) - (b != b); /* what is no number comes last */
  return (a > b) - (a < b);
}

/* <0, 0, >0 */
static int reference_compare(const struct lc_type *t, const uint8_t *a, const uint8_t *b) {
  uint32_t n = reference_number_bytes(t->kind), counts[2];
  if (n) {
    struct reference_number x = reference_number(a, n, reference_is_signed(t->kind)), y = reference_number(b, n, reference_is_signed(t->kind));
    if (x.negative != y.negative) return x.negative ? -1 : 1;
    for (int i = 0; i < 32; i++)
      if (x.magnitude[i] != y.magnitude[i]) return (x.magnitude[i] < y.magnitude[i]) == x.negative ? 1 : -1;
    return 0;
  }
  switch (t->kind) {
  case LC_T_BOOL: return (int)*a - (int)*b;
  case LC_T_F32: {
    float x, y;
    memcpy(&x, a, 4), memcpy(&y, b, 4);
    return reference_floats((double)x, (double)y);
  }
  case LC_T_F64: {
    double x, y;
    memcpy(&x, a, 8), memcpy(&y, b, 8);
    return reference_floats(x, y);
  }
  case LC_T_SUM: return *a != *b ? (*a < *b ? -1 : 1) : reference_compare(t->fields[*a].type, a + 1, b + 1);
  case LC_T_PRODUCT:
    for (uint32_t i = 0; i < t->n_fields; i++) {
      int c = reference_compare(t->fields[i].type, a, b);
      if (c) return c;
      a = reference_skip(t->fields[i].type, a), b = reference_skip(t->fields[i].type, b);
    }
    return 0;
  case LC_T_STRING: case LC_T_ARRAY:
    memcpy(&counts[0], a, 4), memcpy(&counts[1], b, 4);
    a += 4, b += 4;
    for (uint32_t i = 0; i < counts[0] && i < counts[1]; i++) {
      const struct lc_type *elem = t->kind == LC_T_STRING ? lc_type_primitive(LC_T_U8) : t->elem;
      int c = reference_compare(elem, a, b);
      if (c) return c;
      a = reference_skip(elem, a), b = reference_skip(elem, b);
    }
    return counts[0] < counts[1] ? -1 : counts[0] > counts[1];
  default: abort();
  }
}

static inline const uint8_t *reference_column(const struct lc_type *row_type, const uint8_t *row, uint32_t column) {
  for (uint32_t i = 0; i < column; i++) row = reference_skip(row_type->fields[i].type, row);
  return row;
}
#endif
