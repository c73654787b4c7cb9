/* BSATN values: validation at the boundary, then unchecked steps, order and column access on validated bytes (spec/01 §3, §8).
 *
 * Rows are validated once, where they enter; everything below lc_bsatn_validate trusts its input.
 */
#include "types_internal.h"

static enum lc_status too_short(const struct lc_reader *r, const char *what, uint64_t expected, struct lc_error *err) {
  return lc_fail(err, LC_INVALID, "data too short for %s: Expected %llu, given %zu", what, (unsigned long long)expected, lc_reader_left(r));
}

/* True if any byte pattern of the static size is a value: numbers only. */
static bool any_bits(const struct lc_type *t) {
  if (t->kind >= LC_T_I8) return true;
  if (t->kind != LC_T_PRODUCT) return false;
  for (uint32_t i = 0; i < t->n_fields; i++)
    if (!any_bits(t->fields[i].type)) return false;
  return true;
}

/* Types may ask for work that the bytes do not pay for: references to empty products that double at every level, arrays of what takes no
 * bytes. So a value may take so many steps for itself and so many more for every byte. */
struct check { const struct lc_typespace *ts; struct lc_error *err; uint64_t steps_left; };

static enum lc_status validate(struct check *c, const struct lc_type *t, struct lc_reader *r, unsigned depth) {
  struct lc_error *err = c->err;
  static const char *const names[] = {[LC_T_BOOL] = "u8", [LC_T_I8] = "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64", "i128", "u128", "i256", "u256", "u32", "u64"};
  if (depth > LC_TYPE_MAX_DEPTH * 4) return lc_fail(err, LC_LIMIT, "value is nested too deeply");
  if (t->kind < LC_T_STRING && c->steps_left-- == 0) return lc_fail(err, LC_LIMIT, "value has too many parts that take no bytes");
  switch (t->kind) {
  case LC_T_REF:
    if (!c->ts || t->ref >= c->ts->n) return lc_fail(err, LC_INVALID, "Type reference &%u out of bounds", t->ref);
    return validate(c, c->ts->types[t->ref], r, depth + 1);
  case LC_T_PRODUCT:
    for (uint32_t i = 0; i < t->n_fields; i++) {
      enum lc_status st = validate(c, t->fields[i].type, r, depth + 1);
      if (st != LC_OK) return st;
    }
    return LC_OK;
  case LC_T_SUM: {
    if (lc_reader_left(r) < 1) return too_short(r, "u8", 1, err);
    uint8_t tag = lc_read_u8(r);
    if (tag >= t->n_fields)
      return lc_fail(err, LC_INVALID, "unknown tag 0x%x for sum type %s", tag, "<unknown>");
    return validate(c, t->fields[tag].type, r, depth + 1);
  }
  case LC_T_ARRAY: {
    if (lc_reader_left(r) < 4) return too_short(r, "u32", 4, err);
    uint32_t n = lc_read_u32(r);
    const struct lc_type *elem = t->elem;
    if (any_bits(elem) && elem->static_size_bytes > 0) {
      uint64_t want = (uint64_t)n * elem->static_size_bytes;
      if (lc_reader_left(r) < want) {
        uint64_t whole = lc_reader_left(r) / elem->static_size_bytes;
        if (elem->kind == LC_T_U8) return too_short(r, "[u8]", n, err);
        r->p += whole * elem->static_size_bytes;
        return validate(c, elem, r, depth + 1); /* names the element that is cut */
      }
      r->p += want;
      return LC_OK;
    }
    for (uint32_t i = 0; i < n; i++) {
      enum lc_status st = validate(c, elem, r, depth + 1);
      if (st != LC_OK) return st;
    }
    return LC_OK;
  }
  case LC_T_STRING: {
    if (lc_reader_left(r) < 4) return too_short(r, "u32", 4, err);
    uint32_t n = lc_read_u32(r);
    if (lc_reader_left(r) < n) return too_short(r, "[u8]", n, err);
    if (!lc_utf8_valid(r->p, n)) return lc_fail(err, LC_INVALID, "invalid utf8");
    r->p += n;
    return LC_OK;
  }
  case LC_T_BOOL:
    if (lc_reader_left(r) < 1) return too_short(r, "u8", 1, err);
    if (*r->p > 1) return lc_fail(err, LC_INVALID, "byte %u not valid as `bool` (must be 0 or 1)", *r->p);
    r->p++;
    return LC_OK;
  default:
    if (lc_reader_left(r) < t->static_size_bytes) return too_short(r, names[t->kind], t->static_size_bytes, err);
    r->p += t->static_size_bytes;
    return LC_OK;
  }
}

enum lc_status lc_bsatn_validate(const struct lc_type *type, const struct lc_typespace *ts, struct lc_reader *r, struct lc_error *err) {
  struct check c = {ts, err, LC_VALUE_FREE_STEPS + LC_VALUE_STEPS_PER_BYTE * lc_reader_left(r)};
  return validate(&c, type, r, 0);
}

static inline uint32_t load32(const uint8_t *p) {
  uint32_t v;
  memcpy(&v, p, 4);
  return v;
}

const uint8_t *lc_bsatn_skip(const struct lc_type *t, const uint8_t *v) {
  if (t->static_size_bytes != LC_SIZE_DYNAMIC) return v + t->static_size_bytes;
  switch (t->kind) {
  case LC_T_STRING: return v + 4 + load32(v);
  case LC_T_SUM: return lc_bsatn_skip(t->fields[*v].type, v + 1);
  case LC_T_ARRAY: {
    uint32_t n = load32(v);
    v += 4;
    if (t->elem->static_size_bytes != LC_SIZE_DYNAMIC) return v + (size_t)n * t->elem->static_size_bytes;
    while (n--) v = lc_bsatn_skip(t->elem, v);
    return v;
  }
  case LC_T_PRODUCT:
    for (uint32_t i = 0; i < t->n_fields; i++) v = lc_bsatn_skip(t->fields[i].type, v);
    return v;
  default: lc_panic("unresolved type of kind %d", (int)t->kind);
  }
}

const uint8_t *lc_row_column(const struct lc_type *row_type, const uint8_t *row, uint32_t col) {
  for (uint32_t i = 0; i < col; i++) row = lc_bsatn_skip(row_type->fields[i].type, row);
  return row;
}

/* ---- order ---- */

static int compare_bytes(const uint8_t *a, size_t an, const uint8_t *b, size_t bn) {
  size_t n = an < bn ? an : bn;
  int c = n ? memcmp(a, b, n) : 0;
  return c ? c : an < bn ? -1 : an > bn;
}

/* Little-endian wide integers, most significant word last; the sign is in the last word. */
static int compare_wide(const uint8_t *a, const uint8_t *b, size_t size, bool is_signed) {
  for (size_t at = size; at > 0; at -= 8) {
    uint64_t x, y;
    memcpy(&x, a + at - 8, 8);
    memcpy(&y, b + at - 8, 8);
    if (is_signed && at == size) {
      x ^= 1ull << 63;
      y ^= 1ull << 63;
    }
    if (x != y) return x < y ? -1 : 1;
  }
  return 0;
}

/* -inf < … < -0 = +0 < … < +inf < NaN; all NaNs equal (spec/01 §8). */
static int compare_float(double x, double y) {
  bool xn = x != x, yn = y != y;
  if (xn || yn) return (int)xn - (int)yn;
  return x < y ? -1 : x > y;
}

/* Compares and moves both pointers behind their values. */
static int compare_step(const struct lc_type *t, const uint8_t **ap, const uint8_t **bp) {
  const uint8_t *a = *ap, *b = *bp;
  int c = 0;
#define NUMBER(type_)                                                                                                                                \
  {                                                                                                                                                  \
    type_ x, y;                                                                                                                                      \
    memcpy(&x, a, sizeof x);                                                                                                                         \
    memcpy(&y, b, sizeof y);                                                                                                                         \
    *ap = a + sizeof x;                                                                                                                              \
    *bp = b + sizeof y;                                                                                                                              \
    return x < y ? -1 : x > y;                                                                                                                       \
  }
  switch (t->kind) {
  case LC_T_BOOL:
  case LC_T_U8: NUMBER(uint8_t)
  case LC_T_I8: NUMBER(int8_t)
  case LC_T_U16: NUMBER(uint16_t)
  case LC_T_I16: NUMBER(int16_t)
  case LC_T_U32: NUMBER(uint32_t)
  case LC_T_I32: NUMBER(int32_t)
  case LC_T_U64: NUMBER(uint64_t)
  case LC_T_I64: NUMBER(int64_t)
#undef NUMBER
  case LC_T_F32: {
    float x, y;
    memcpy(&x, a, 4);
    memcpy(&y, b, 4);
    *ap = a + 4;
    *bp = b + 4;
    return compare_float((double)x, (double)y);
  }
  case LC_T_F64: {
    double x, y;
    memcpy(&x, a, 8);
    memcpy(&y, b, 8);
    *ap = a + 8;
    *bp = b + 8;
    return compare_float(x, y);
  }
  case LC_T_I128:
  case LC_T_U128:
  case LC_T_I256:
  case LC_T_U256:
    *ap = a + t->static_size_bytes;
    *bp = b + t->static_size_bytes;
    return compare_wide(a, b, t->static_size_bytes, t->kind == LC_T_I128 || t->kind == LC_T_I256);
  case LC_T_STRING: {
    uint32_t an = load32(a), bn = load32(b);
    *ap = a + 4 + an;
    *bp = b + 4 + bn;
    return compare_bytes(a + 4, an, b + 4, bn);
  }
  case LC_T_ARRAY: {
    uint32_t an = load32(a), bn = load32(b);
    *ap = a + 4;
    *bp = b + 4;
    if (t->elem->kind == LC_T_U8) {
      *ap += an;
      *bp += bn;
      return compare_bytes(a + 4, an, b + 4, bn);
    }
    for (uint32_t i = 0; i < an && i < bn; i++)
      if ((c = compare_step(t->elem, ap, bp)) != 0) return c;
    return an < bn ? -1 : an > bn;
  }
  case LC_T_SUM:
    *ap = a + 1;
    *bp = b + 1;
    if (*a != *b) return *a < *b ? -1 : 1;
    return compare_step(t->fields[*a].type, ap, bp);
  case LC_T_PRODUCT:
    for (uint32_t i = 0; i < t->n_fields; i++)
      if ((c = compare_step(t->fields[i].type, ap, bp)) != 0) return c;
    return 0;
  case LC_T_REF: break;
  }
  lc_panic("unresolved type of kind %d", (int)t->kind);
}

int lc_bsatn_compare(const struct lc_type *type, const uint8_t *a, const uint8_t *b) { return compare_step(type, &a, &b); }
