/* Algebraic types: decoding, encoding, building, resolving references, recognising special types (spec/01 §2, §4, §5, §9.2).
 *
 * Types are immutable once built. Callers: moduledef*.c, the system catalog in engine/, sql/.
 */
#include "types.h"

enum { MAX_FIELDS = 65536 };

static const struct lc_type primitives[] = {
#define P(k, n) [k] = {.kind = k, .static_size_bytes = n}
    P(LC_T_STRING, LC_SIZE_DYNAMIC), P(LC_T_BOOL, 1), P(LC_T_I8, 1), P(LC_T_U8, 1), P(LC_T_I16, 2), P(LC_T_U16, 2), P(LC_T_I32, 4), P(LC_T_U32, 4), P(LC_T_I64, 8),
    P(LC_T_U64, 8), P(LC_T_I128, 16), P(LC_T_U128, 16), P(LC_T_I256, 32), P(LC_T_U256, 32), P(LC_T_F32, 4), P(LC_T_F64, 8)
#undef P
};
const struct lc_type *lc_type_primitive(enum lc_type_kind kind) { return &primitives[kind]; }

static bool field_is(const struct lc_type_field *f, const char *name) { return f->has_name && lc_slice_eq_str(f->name, name); }
static bool is_unit(const struct lc_type *t) { return t->kind == LC_T_PRODUCT && t->n_fields == 0; }

static enum lc_special find_special(const struct lc_type *t) {
  static const struct { const char *name; enum lc_type_kind kind; enum lc_special special; } products[] = {
      {"__identity__", LC_T_U256, LC_SPECIAL_IDENTITY},
      {"__connection_id__", LC_T_U128, LC_SPECIAL_CONNECTION_ID},
      {"__timestamp_micros_since_unix_epoch__", LC_T_I64, LC_SPECIAL_TIMESTAMP},
      {"__time_duration_micros__", LC_T_I64, LC_SPECIAL_DURATION},
      {"__uuid__", LC_T_U128, LC_SPECIAL_UUID}};
  const struct lc_type_field *f = t->fields;
  if (t->kind == LC_T_PRODUCT && t->n_fields == 1) {
    for (size_t i = 0; i < sizeof products / sizeof *products; i++)
      if (field_is(f, products[i].name) && f->type->kind == products[i].kind) return products[i].special;
  }
  if (t->kind == LC_T_SUM && t->n_fields == 2) {
    if (field_is(&f[0], "some") && field_is(&f[1], "none") && is_unit(f[1].type)) return LC_SPECIAL_OPTION;
    if (field_is(&f[0], "ok") && field_is(&f[1], "err")) return LC_SPECIAL_RESULT;
    if (field_is(&f[0], "Interval") && field_is(&f[1], "Time") && f[0].type->special == LC_SPECIAL_DURATION && f[1].type->special == LC_SPECIAL_TIMESTAMP)
      return LC_SPECIAL_SCHEDULE_AT;
  }
  return LC_SPECIAL_NONE;
}

/* Size that every value has: a sum has one only if all its payloads have the same. */
static uint32_t find_static_size(const struct lc_type *t) {
  uint64_t total = 0;
  switch (t->kind) {
  case LC_T_REF:
  case LC_T_ARRAY: return LC_SIZE_DYNAMIC;
  case LC_T_SUM:
    if (t->n_fields == 0) return LC_SIZE_DYNAMIC;
    for (uint32_t i = 0; i < t->n_fields; i++)
      if (t->fields[i].type->static_size_bytes == LC_SIZE_DYNAMIC || t->fields[i].type->static_size_bytes != t->fields[0].type->static_size_bytes) return LC_SIZE_DYNAMIC;
    total = 1 + (uint64_t)t->fields[0].type->static_size_bytes;
    break;
  case LC_T_PRODUCT:
    for (uint32_t i = 0; i < t->n_fields; i++) {
      if (t->fields[i].type->static_size_bytes == LC_SIZE_DYNAMIC) return LC_SIZE_DYNAMIC;
      total += t->fields[i].type->static_size_bytes;
    }
    break;
  default: return primitives[t->kind].static_size_bytes;
  }
  return total < LC_SIZE_DYNAMIC ? (uint32_t)total : LC_SIZE_DYNAMIC;
}

static const struct lc_type *finish(struct lc_type *t) {
  t->special = find_special(t);
  t->static_size_bytes = find_static_size(t);
  return t;
}

static const struct lc_type *new_composite(struct lc_arena *arena, enum lc_type_kind kind, uint32_t n, const struct lc_type_field *fields) {
  struct lc_type *t = lc_arena_alloc_zero(arena, 1, sizeof *t);
  struct lc_type_field *copy = lc_arena_alloc_zero(arena, n ? n : 1, sizeof *copy);
  if (!t || !copy) return NULL;
  if (n) memcpy(copy, fields, n * sizeof *copy);
  t->kind = kind;
  t->n_fields = n;
  t->fields = copy;
  return finish(t);
}
const struct lc_type *lc_type_new_product(struct lc_arena *arena, uint32_t n, const struct lc_type_field *fields) { return new_composite(arena, LC_T_PRODUCT, n, fields); }
const struct lc_type *lc_type_new_sum(struct lc_arena *arena, uint32_t n, const struct lc_type_field *fields) { return new_composite(arena, LC_T_SUM, n, fields); }

const struct lc_type *lc_type_new_array(struct lc_arena *arena, const struct lc_type *elem) {
  struct lc_type *t = lc_arena_alloc_zero(arena, 1, sizeof *t);
  if (!t || !elem) return NULL;
  t->kind = LC_T_ARRAY;
  t->elem = elem;
  return finish(t);
}

static const struct lc_type unit_type = {.kind = LC_T_PRODUCT};

const struct lc_type *lc_type_new_option(struct lc_arena *arena, const struct lc_type *some) {
  struct lc_type_field f[2] = {{lc_slice_str("some"), true, some}, {lc_slice_str("none"), true, &unit_type}};
  return some ? lc_type_new_sum(arena, 2, f) : NULL;
}

#define SPECIAL_PRODUCT(fn, field_name, prim, sp, size)                                                                                              \
  const struct lc_type *fn(void) {                                                                                                                  \
    static const struct lc_type_field field = {{(const uint8_t *)field_name, sizeof field_name - 1}, true, &primitives[prim]};                        \
    static const struct lc_type type = {.kind = LC_T_PRODUCT, .special = sp, .static_size_bytes = size, .n_fields = 1, .fields = &field};             \
    return &type;                                                                                                                                   \
  }
SPECIAL_PRODUCT(lc_type_identity, "__identity__", LC_T_U256, LC_SPECIAL_IDENTITY, 32)
SPECIAL_PRODUCT(lc_type_connection_id, "__connection_id__", LC_T_U128, LC_SPECIAL_CONNECTION_ID, 16)
SPECIAL_PRODUCT(lc_type_timestamp, "__timestamp_micros_since_unix_epoch__", LC_T_I64, LC_SPECIAL_TIMESTAMP, 8)

/* ---- BSATN of types ---- */

static enum lc_status decode(struct lc_arena *arena, struct lc_reader *r, unsigned depth, const struct lc_type **out, struct lc_error *err) {
  if (depth > LC_TYPE_MAX_DEPTH) return lc_fail(err, LC_LIMIT, "type is nested deeper than %d", LC_TYPE_MAX_DEPTH);
  if (arena->total_bytes > LC_TYPE_ARENA_MAX_BYTES) return lc_fail(err, LC_LIMIT, "types would take more than %zu bytes", (size_t)LC_TYPE_ARENA_MAX_BYTES);
  uint8_t tag = lc_read_u8(r);
  if (r->failed) return lc_fail(err, LC_INVALID, "data too short for u8: Expected 1, given 0");
  if (tag > LC_T_F64) return lc_fail(err, LC_INVALID, "unknown tag 0x%x for sum type AlgebraicType", tag);
  if (tag >= LC_T_STRING) return *out = &primitives[tag], LC_OK;
  struct lc_type *t = lc_arena_alloc_zero(arena, 1, sizeof *t);
  if (!t) return lc_fail(err, LC_NOMEM, "out of memory");
  t->kind = (enum lc_type_kind)tag;
  if (tag == LC_T_REF) {
    t->ref = lc_read_u32(r);
  } else if (tag == LC_T_ARRAY) {
    enum lc_status st = decode(arena, r, depth + 1, &t->elem, err);
    if (st != LC_OK) return st;
  } else {
    uint32_t n = lc_read_u32(r);
    if (n > MAX_FIELDS || n > lc_reader_left(r)) return lc_fail(err, LC_INVALID, "type claims %u fields, more than its bytes can hold", n);
    struct lc_type_field *f = lc_arena_alloc_zero(arena, n ? n : 1, sizeof *f);
    if (!f) return lc_fail(err, LC_NOMEM, "out of memory");
    for (uint32_t i = 0; i < n; i++) {
      uint8_t none = lc_read_u8(r);
      if (none > 1) return lc_fail(err, LC_INVALID, "unknown tag 0x%x for sum type option", none);
      f[i].has_name = none == 0;
      if (f[i].has_name) {
        f[i].name = lc_read_bytes(r);
        if (r->failed) break;
        if (!lc_utf8_valid(f[i].name.data, f[i].name.len)) return lc_fail(err, LC_INVALID, "invalid utf8");
        f[i].name = lc_arena_copy(arena, f[i].name);
        if (!f[i].name.data) return lc_fail(err, LC_NOMEM, "out of memory");
      }
      enum lc_status st = decode(arena, r, depth + 1, &f[i].type, err);
      if (st != LC_OK) return st;
    }
    t->fields = f;
    t->n_fields = n;
  }
  if (r->failed) return lc_fail(err, LC_INVALID, "data too short for a type");
  *out = finish(t);
  return LC_OK;
}

enum lc_status lc_type_decode(struct lc_arena *arena, struct lc_reader *r, const struct lc_type **out, struct lc_error *err) { return decode(arena, r, 0, out, err); }

void lc_type_encode(struct lc_buf *out, const struct lc_type *t) {
  lc_buf_u8(out, (uint8_t)t->kind);
  if (t->kind == LC_T_REF) lc_buf_u32(out, t->ref);
  if (t->kind == LC_T_ARRAY) lc_type_encode(out, t->elem);
  if (t->kind != LC_T_SUM && t->kind != LC_T_PRODUCT) return;
  lc_buf_u32(out, t->n_fields);
  for (uint32_t i = 0; i < t->n_fields; i++) {
    lc_buf_u8(out, t->fields[i].has_name ? 0 : 1);
    if (t->fields[i].has_name) lc_buf_bsatn_bytes(out, t->fields[i].name);
    lc_type_encode(out, t->fields[i].type);
  }
}

struct open_ref { uint32_t ref; const struct open_ref *outer; }; /* those inside whose targets we are */

static enum lc_status resolve(struct lc_arena *arena, const struct lc_typespace *ts, const struct lc_type *t, const struct open_ref *open, unsigned depth, const struct lc_type **out, struct lc_error *err) {
  if (depth > LC_TYPE_MAX_DEPTH) return lc_fail(err, LC_LIMIT, "type is nested deeper than %d", LC_TYPE_MAX_DEPTH);
  if (t->kind == LC_T_REF) {
    const struct open_ref here = {t->ref, open};
    if (t->ref >= ts->n) return lc_fail(err, LC_INVALID, "Type reference &%u out of bounds", t->ref);
    for (; open; open = open->outer)
      if (open->ref == t->ref) return lc_fail(err, LC_INVALID, "Found recursive type reference &%u", t->ref);
    return resolve(arena, ts, ts->types[t->ref], &here, depth + 1, out, err);
  }
  if (arena->total_bytes > LC_TYPE_ARENA_MAX_BYTES) return lc_fail(err, LC_LIMIT, "types without references would take more than %zu bytes", (size_t)LC_TYPE_ARENA_MAX_BYTES);
  if (t->kind >= LC_T_STRING) return *out = t, LC_OK;
  struct lc_type *copy = lc_arena_alloc_zero(arena, 1, sizeof *copy);
  struct lc_type_field *f = lc_arena_alloc_zero(arena, t->n_fields ? t->n_fields : 1, sizeof *f);
  if (!copy || !f) return lc_fail(err, LC_NOMEM, "out of memory");
  *copy = *t;
  enum lc_status st = LC_OK;
  if (t->kind == LC_T_ARRAY) st = resolve(arena, ts, t->elem, open, depth + 1, &copy->elem, err);
  for (uint32_t i = 0; i < t->n_fields && st == LC_OK; i++) {
    f[i] = t->fields[i];
    st = resolve(arena, ts, t->fields[i].type, open, depth + 1, &f[i].type, err);
  }
  if (st != LC_OK) return st;
  copy->fields = f;
  *out = finish(copy);
  return LC_OK;
}

enum lc_status lc_type_resolve(struct lc_arena *arena, const struct lc_typespace *ts, const struct lc_type *type, const struct lc_type **out, struct lc_error *err) {
  return resolve(arena, ts, type, NULL, 0, out, err);
}

bool lc_type_eq(const struct lc_type *a, const struct lc_type *b) {
  if (a == b) return true;
  if (a->kind != b->kind || a->n_fields != b->n_fields || (a->kind == LC_T_REF && a->ref != b->ref)) return false;
  if (a->kind == LC_T_ARRAY) return lc_type_eq(a->elem, b->elem);
  for (uint32_t i = 0; i < a->n_fields; i++) {
    const struct lc_type_field *x = &a->fields[i], *y = &b->fields[i];
    if (x->has_name != y->has_name || (x->has_name && !lc_slice_eq(x->name, y->name)) || !lc_type_eq(x->type, y->type)) return false;
  }
  return true;
}

bool lc_type_is_bitwise(const struct lc_type *t) {
  if (t->kind == LC_T_F32 || t->kind == LC_T_F64) return false;
  if (t->kind == LC_T_ARRAY) return lc_type_is_bitwise(t->elem);
  for (uint32_t i = 0; i < t->n_fields; i++)
    if (!lc_type_is_bitwise(t->fields[i].type)) return false;
  return true;
}

void lc_type_display(struct lc_buf *out, const struct lc_type *t) {
  static const char *const names[] = {"", "", "", "", "String", "Bool", "I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64", "I128", "U128", "I256", "U256", "F32", "F64"};
  if (t->kind >= LC_T_STRING) {
    lc_buf_str(out, names[t->kind]);
  } else if (t->kind == LC_T_REF) {
    lc_buf_printf(out, "&%u", t->ref);
  } else if (t->kind == LC_T_ARRAY) {
    lc_buf_str(out, "Array<");
    lc_type_display(out, t->elem);
    lc_buf_str(out, ">");
  } else if (t->kind == LC_T_SUM && t->n_fields == 0) {
    lc_buf_str(out, "(|)");
  } else {
    lc_buf_str(out, "(");
    for (uint32_t i = 0; i < t->n_fields; i++) {
      if (i) lc_buf_str(out, t->kind == LC_T_SUM ? " | " : ", ");
      if (t->fields[i].has_name) lc_buf_slice_append(out, t->fields[i].name);
      else if (t->kind == LC_T_PRODUCT) lc_buf_printf(out, "%u", i);
      if (t->fields[i].has_name || t->kind == LC_T_PRODUCT) lc_buf_str(out, ": ");
      lc_type_display(out, t->fields[i].type);
    }
    lc_buf_str(out, ")");
  }
}
