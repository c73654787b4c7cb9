/* Owns: comparisons of a number column with constants, over many rows at once. Each is an interval of the column's values in their order as 64-bit numbers, so
 * that one subtraction and one comparison decide, without a branch. A row passes if it lies in the interval, or outside of it for <>.
 * Callers: steps.c (which conditions are such tests), run.c.
 */
#include "plan.h"

enum { UNSIGNED, SIGNED, FLOAT };

static uint64_t load(const uint8_t *at, uint32_t bytes) {
  uint64_t v = 0;
  memcpy(&v, at, bytes);
  return v;
}
static uint64_t ordered(uint64_t v, uint32_t kind, uint32_t bytes) { return kind == FLOAT ? lc_float_order(v, bytes) : kind == SIGNED ? v ^ (uint64_t)1 << (bytes * 8 - 1) : v; }

bool scan_test_of(const struct expr *e, struct test *out) {
  static const enum op mirrored[] = {OP_EQ, OP_NE, OP_GT, OP_GE, OP_LT, OP_LE};
  const struct expr *column = e, *value = NULL;
  enum op op = OP_NE; /* a bool column by itself: not 0 */
  uint64_t c = 0;
  if (e->op < OP_AND) {
    bool swapped = e->right->op == OP_COLUMN;
    column = swapped ? e->right : e->left;
    value = swapped ? e->left : e->right;
    op = swapped ? mirrored[e->op] : e->op;
    if (value->op != OP_VALUE) return false;
  }
  if (column->op != OP_COLUMN || column->offset_bytes == LC_SIZE_DYNAMIC) return false;
  const struct lc_type *t = column->type;
  while (t->kind == LC_T_PRODUCT && t->n_fields == 1) t = t->fields[0].type;
  bool is_float = t->kind == LC_T_F32 || t->kind == LC_T_F64, is_signed = t->kind == LC_T_I8 || t->kind == LC_T_I16 || t->kind == LC_T_I32 || t->kind == LC_T_I64;
  if (!is_float && !is_signed && t->kind != LC_T_BOOL && t->kind != LC_T_U8 && t->kind != LC_T_U16 && t->kind != LC_T_U32 && t->kind != LC_T_U64) return false;
  *out = (struct test){.offset_bytes = column->offset_bytes, .bytes = (uint8_t)t->static_size_bytes, .kind = is_float ? FLOAT : is_signed ? SIGNED : UNSIGNED};
  uint64_t greatest = UINT64_MAX >> (64 - 8 * out->bytes), low = 0, high = greatest;
  if (value) c = ordered(load(value->value.data, out->bytes), out->kind, out->bytes);
  switch (op) {
  case OP_EQ: low = high = c; break;
  case OP_NE: low = high = c; out->is_outside = true; break;
  case OP_LE: high = c; break;
  case OP_GE: low = c; break;
  case OP_LT: /* below the least there is nothing: outside of everything */
    out->is_outside = c == 0;
    high = c ? c - 1 : greatest;
    break;
  default:
    out->is_outside = c == greatest;
    low = c < greatest ? c + 1 : 0;
  }
  out->low = low;
  out->span = high - low;
  return true;
}

static inline bool passes(const struct test *t, uint64_t v) { return (ordered(v, t->kind, t->bytes) - t->low <= t->span) != t->is_outside; }

/* Keeps of the rows named in `selected` those that pass, or of all n. */
#define LOOP(TYPE, ORDER)                                              \
  for (uint32_t i = 0; i < n; i++) {                                   \
    TYPE v;                                                            \
    uint16_t at = all ? (uint16_t)i : selected[i];                     \
    memcpy(&v, rows + (size_t)at * stride_bytes + t.offset_bytes, sizeof v); \
    selected[kept] = at;                                               \
    kept += ((uint64_t)(ORDER) - t.low <= t.span) != t.is_outside;     \
  }                                                                    \
  return kept
static inline __attribute__((always_inline)) uint32_t narrow(const struct test t, const uint8_t *rows, size_t stride_bytes, uint32_t n, bool all, uint16_t *selected) {
  uint32_t kept = 0;
  switch (t.kind << 4 | t.bytes) {
  case UNSIGNED << 4 | 1: LOOP(uint8_t, v);
  case UNSIGNED << 4 | 2: LOOP(uint16_t, v);
  case UNSIGNED << 4 | 4: LOOP(uint32_t, v);
  case UNSIGNED << 4 | 8: LOOP(uint64_t, v);
  case SIGNED << 4 | 1: LOOP(uint8_t, v ^ 0x80u);
  case SIGNED << 4 | 2: LOOP(uint16_t, v ^ 0x8000u);
  case SIGNED << 4 | 4: LOOP(uint32_t, v ^ 0x80000000u);
  case SIGNED << 4 | 8: LOOP(uint64_t, v ^ (uint64_t)1 << 63);
  case FLOAT << 4 | 4: LOOP(uint32_t, lc_float_order(v, 4));
  default: LOOP(uint64_t, lc_float_order(v, 8));
  }
}
#undef LOOP

uint32_t scan_select(const struct test *tests, uint32_t n_tests, const uint8_t *rows, size_t stride_bytes, uint32_t n, uint16_t *selected) {
  n = narrow(tests[0], rows, stride_bytes, n, true, selected);
  for (uint32_t i = 1; i < n_tests && n; i++) n = narrow(tests[i], rows, stride_bytes, n, false, selected);
  return n;
}
bool scan_row_passes(const struct test *tests, uint32_t n_tests, const uint8_t *row) {
  for (uint32_t i = 0; i < n_tests; i++)
    if (!passes(&tests[i], load(row + tests[i].offset_bytes, tests[i].bytes))) return false;
  return true;
}
