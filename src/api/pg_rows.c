/* Owns: results of statements as PostgreSQL's clients see them: type numbers, text of values, rows and the tag at the end (spec/04 §10, spec/01 §6.4). Text format always; no value is NULL.
 *
 * Invariants: whatever a value is, its field is one field. Callers: pg.c, which hands `pg_form` to the database.
 */
#include "server.h"
#include <math.h>
#include <stdio.h>

enum { OID_BOOL = 16, OID_BYTEA = 17, OID_INT8 = 20, OID_INT2 = 21, OID_INT4 = 23, OID_JSON = 114, OID_FLOAT4 = 700, OID_FLOAT8 = 701, OID_UNKNOWN = 705, OID_VARCHAR = 1043, OID_TIMESTAMP = 1114,
       OID_INTERVAL = 1186, OID_NUMERIC = 1700, OID_ANYARRAY = 2277, OID_UUID = 2950, OID_ANYENUM = 3500 };

static bool is_unit(const struct lc_type *t) { return t->kind == LC_T_PRODUCT && t->n_fields == 0; }
static bool is_enum(const struct lc_type *t) {
  bool all = t->kind == LC_T_SUM && t->n_fields > 0;
  for (uint32_t i = 0; all && i < t->n_fields; i++) all = is_unit(t->fields[i].type);
  return all;
}
static bool is_bytes(const struct lc_type *t) { return t->kind == LC_T_ARRAY && t->elem->kind == LC_T_U8; }

static uint32_t oid_of(const struct lc_type *t) {
  switch (t->special) {
  case LC_SPECIAL_IDENTITY: case LC_SPECIAL_CONNECTION_ID: return OID_BYTEA;
  case LC_SPECIAL_TIMESTAMP: return OID_TIMESTAMP;
  case LC_SPECIAL_DURATION: return OID_INTERVAL;
  case LC_SPECIAL_UUID: return OID_UUID;
  default: break;
  }
  switch (t->kind) {
  case LC_T_BOOL: return OID_BOOL;
  case LC_T_U8: case LC_T_I8: case LC_T_I16: return OID_INT2;
  case LC_T_U16: case LC_T_I32: return OID_INT4;
  case LC_T_U32: case LC_T_I64: return OID_INT8;
  case LC_T_U64: case LC_T_I128: case LC_T_U128: case LC_T_I256: case LC_T_U256: return OID_NUMERIC;
  case LC_T_F32: return OID_FLOAT4;
  case LC_T_F64: return OID_FLOAT8;
  case LC_T_STRING: return OID_VARCHAR;
  case LC_T_PRODUCT: return OID_JSON;
  case LC_T_SUM: return is_enum(t) ? OID_ANYENUM : OID_JSON;
  case LC_T_ARRAY:
    if (is_bytes(t)) return OID_BYTEA;
    switch (oid_of(t->elem)) {
    case OID_VARCHAR: return 1015;
    case OID_BOOL: return 1000;
    case OID_INT2: return 1005;
    case OID_INT4: return 1007;
    case OID_INT8: return 1016;
    case OID_NUMERIC: return 1231;
    default: return OID_ANYARRAY;
    }
  default: return OID_UNKNOWN;
  }
}

/* ---- text ---- */

static void put_hex(struct lc_buf *out, const uint8_t *p, size_t n, bool reversed) {
  static const char digits[] = "0123456789abcdef";
  for (size_t i = 0; i < n; i++) {
    uint8_t b = p[reversed ? n - 1 - i : i];
    lc_buf_append(out, (const char[]){digits[b >> 4], digits[b & 15]}, 2);
  }
}
/* A little-endian integer of 16 or 32 bytes in decimal. */
static void put_wide(struct lc_buf *out, const uint8_t *p, size_t n, bool is_signed) {
  uint32_t words[8];
  char text[80];
  size_t at = sizeof text, n_words = n / 4;
  bool negative = is_signed && p[n - 1] & 0x80, is_zero = false;
  uint64_t carry = negative;
  memcpy(words, p, n);
  for (size_t i = 0; negative && i < n_words; i++) {
    carry += (uint32_t)~words[i];
    words[i] = (uint32_t)carry;
    carry >>= 32;
  }
  while (!is_zero) {
    uint64_t rest = 0;
    is_zero = true;
    for (size_t i = n_words; i-- > 0;) {
      rest = rest << 32 | words[i];
      words[i] = (uint32_t)(rest / 10);
      rest %= 10;
      if (words[i]) is_zero = false;
    }
    text[--at] = (char)('0' + rest);
  }
  if (negative) text[--at] = '-';
  lc_buf_append(out, text + at, sizeof text - at);
}
static void put_duration(struct lc_buf *out, int64_t us) {
  uint64_t magnitude = us < 0 ? 0 - (uint64_t)us : (uint64_t)us, fraction = magnitude % 1000000;
  if (!us) {
    lc_buf_str(out, "P0D");
    return;
  }
  lc_buf_printf(out, "%sPT%llu", us < 0 ? "-" : "", (unsigned long long)(magnitude / 1000000));
  if (fraction) {
    lc_buf_printf(out, ".%06llu", (unsigned long long)fraction);
    while (lc_buf_ok(out) && out->data[out->len - 1] == '0') out->len--;
  }
  lc_buf_u8(out, 'S');
}
static void put_float(struct lc_buf *out, const struct lc_type *t, struct lc_reader *r, bool in_json) {
  struct lc_reader look = *r;
  double v;
  if (t->kind == LC_T_F32) {
    float single;
    uint32_t bits = lc_read_u32(&look);
    memcpy(&single, &bits, 4);
    v = single;
  } else {
    uint64_t bits = lc_read_u64(&look);
    memcpy(&v, &bits, 8);
  }
  size_t start = out->len;
  lc_json_write_value(out, t, NULL, r, LC_JSON_U, NULL); /* shortest; null if it is no number */
  if (in_json || !lc_buf_ok(out)) return;
  if (isnan(v) || isinf(v)) {
    out->len = start;
    lc_buf_str(out, isnan(v) ? "NaN" : v < 0 ? "-Infinity" : "Infinity");
  } else if (out->len - start > 2 && memcmp(out->data + out->len - 2, ".0", 2) == 0) {
    out->len -= 2;
  }
}

enum place { FIELD, IN_ARRAY, IN_JSON };
static enum lc_status put_value(struct lc_buf *out, const struct lc_type *t, struct lc_reader *r, enum place place, unsigned depth);

/* What is text or has commas, as an array's element: quotes around it, quotes and backslashes in it escaped. */
static void put_array_element(struct lc_buf *out, struct lc_slice text) {
  lc_buf_u8(out, '"');
  for (size_t i = 0; i < text.len; i++) {
    if (text.data[i] == '"' || text.data[i] == '\\') lc_buf_u8(out, '\\');
    lc_buf_u8(out, text.data[i]);
  }
  lc_buf_u8(out, '"');
}
static enum lc_status put_array(struct lc_buf *out, const struct lc_type *t, struct lc_reader *r, enum place place, unsigned depth) {
  uint32_t n = lc_read_u32(r);
  enum lc_status st = LC_OK;
  lc_buf_u8(out, place == IN_JSON ? '[' : '{');
  for (uint32_t i = 0; i < n && st == LC_OK && !r->failed && lc_buf_ok(out); i++) {
    if (i) lc_buf_str(out, place == IN_JSON ? ", " : ",");
    st = put_value(out, t->elem, r, place == IN_JSON ? IN_JSON : IN_ARRAY, depth + 1);
  }
  lc_buf_u8(out, place == IN_JSON ? ']' : '}');
  return st;
}
static void put_name(struct lc_buf *out, const struct lc_type_field *f, uint32_t i) {
  if (f->has_name) lc_json_escape(out, f->name);
  else lc_buf_printf(out, "\"col_%u\"", i);
}
static enum lc_status put_record(struct lc_buf *out, const struct lc_type *t, struct lc_reader *r, unsigned depth) {
  enum lc_status st = LC_OK;
  uint32_t from = 0, to = t->n_fields;
  if (t->kind == LC_T_SUM) {
    from = lc_read_u8(r);
    if (from >= t->n_fields) return LC_INVALID;
    to = from + 1;
  }
  lc_buf_u8(out, '{');
  for (uint32_t i = from; i < to && st == LC_OK; i++) {
    if (i > from) lc_buf_str(out, ", ");
    put_name(out, &t->fields[i], i);
    lc_buf_str(out, ": ");
    st = put_value(out, t->fields[i].type, r, IN_JSON, depth + 1);
  }
  lc_buf_u8(out, '}');
  return st;
}
/* Values whose text may need quotes. */
static enum lc_status put_text(struct lc_buf *out, const struct lc_type *t, struct lc_reader *r, bool in_json, unsigned depth) {
  static const uint8_t n_bytes[] = {[LC_SPECIAL_IDENTITY] = 32, [LC_SPECIAL_CONNECTION_ID] = 16};
  size_t start = out->len;
  if (t->special == LC_SPECIAL_IDENTITY || t->special == LC_SPECIAL_CONNECTION_ID || is_bytes(t)) {
    struct lc_slice bytes = is_bytes(t) ? lc_read_bytes(r) : lc_slice(lc_read_raw(r, n_bytes[t->special]), n_bytes[t->special]);
    if (r->failed) return LC_INVALID;
    lc_buf_str(out, in_json ? "0x" : "\\x");
    put_hex(out, bytes.data, bytes.len, !is_bytes(t));
    return LC_OK;
  }
  if (t->special == LC_SPECIAL_DURATION) {
    put_duration(out, lc_read_i64(r));
    return LC_OK;
  }
  if (t->special == LC_SPECIAL_TIMESTAMP) return lc_satn_write(out, t, r);
  if (t->special == LC_SPECIAL_UUID) { /* without the quotes */
    enum lc_status st = lc_satn_write(out, t, r);
    if (st != LC_OK || !lc_buf_ok(out)) return st;
    memmove(out->data + start, out->data + start + 1, out->len - start - 2);
    out->len -= 2;
    return st;
  }
  if (t->kind == LC_T_STRING) {
    lc_buf_slice_append(out, lc_read_bytes(r));
    return LC_OK;
  }
  if (is_enum(t) && !in_json) {
    uint8_t tag = lc_read_u8(r);
    if (r->failed || tag >= t->n_fields) return LC_INVALID;
    if (t->fields[tag].has_name) lc_buf_slice_append(out, t->fields[tag].name);
    else lc_buf_printf(out, "col_%u", tag);
    return LC_OK;
  }
  return put_record(out, t, r, depth);
}
static enum lc_status put_value(struct lc_buf *out, const struct lc_type *t, struct lc_reader *r, enum place place, unsigned depth) {
  if (depth > 4 * LC_TYPE_MAX_DEPTH) return LC_LIMIT;
  bool is_record = t->special == LC_SPECIAL_NONE || t->special >= LC_SPECIAL_SCHEDULE_AT; /* as far as it is a product or a sum */
  switch (t->kind) {
  case LC_T_BOOL:
    lc_buf_str(out, lc_read_u8(r) ? place == IN_JSON ? "true" : "t" : place == IN_JSON ? "false" : "f");
    break;
  case LC_T_I8: case LC_T_U8: case LC_T_I16: case LC_T_U16: case LC_T_I32: case LC_T_U32: case LC_T_I64: case LC_T_U64: return lc_json_write_value(out, t, NULL, r, LC_JSON_U, NULL);
  case LC_T_I128: case LC_T_U128: case LC_T_I256: case LC_T_U256: {
    size_t n = t->kind == LC_T_I128 || t->kind == LC_T_U128 ? 16 : 32;
    const uint8_t *p = lc_read_raw(r, n);
    if (p) put_wide(out, p, n, t->kind == LC_T_I128 || t->kind == LC_T_I256);
    break;
  }
  case LC_T_F32: case LC_T_F64: put_float(out, t, r, place == IN_JSON); break;
  case LC_T_ARRAY:
    if (!is_bytes(t)) return put_array(out, t, r, place, depth);
    /* fall through */
  default: {
    if (t->kind == LC_T_REF) return LC_INVALID;
    if (place == FIELD) return put_text(out, t, r, false, depth);
    if (place == IN_JSON && t->kind != LC_T_STRING && t->kind != LC_T_ARRAY && is_record) return put_record(out, t, r, depth);
    struct lc_buf text = {0};
    enum lc_status st = put_text(&text, t, r, place == IN_JSON, depth);
    if (st == LC_OK && !lc_buf_ok(&text)) st = LC_NOMEM;
    if (st == LC_OK && place == IN_JSON) lc_json_escape(out, lc_buf_slice(&text));
    else if (st == LC_OK) put_array_element(out, lc_buf_slice(&text));
    lc_buf_free(&text);
    return st;
  }
  }
  return r->failed ? LC_INVALID : LC_OK;
}

/* ---- the form ---- */

static void begin(struct lc_buf *out, const struct lc_type *row_type) {
  if (!row_type->n_fields) return;
  size_t at = lc_pg_begin(out, 'T');
  lc_pg_u16(out, (uint16_t)row_type->n_fields);
  for (uint32_t i = 0; i < row_type->n_fields; i++) {
    const struct lc_type_field *f = &row_type->fields[i];
    char name[16];
    snprintf(name, sizeof name, "col_%u", i);
    lc_pg_text(out, f->has_name ? f->name : lc_slice_str(name));
    lc_pg_u32(out, 0);  /* table, column */
    lc_pg_u16(out, 0);
    lc_pg_u32(out, oid_of(f->type));
    lc_pg_u16(out, 0);  /* size, modifier, format */
    lc_pg_u32(out, 0);
    lc_pg_u16(out, 0);
  }
  lc_pg_end(out, at);
}
static enum lc_status row(struct lc_buf *out, const struct lc_type *row_type, struct lc_slice bytes, uint64_t index, struct lc_error *err) {
  struct lc_reader r = lc_reader(bytes);
  enum lc_status st = LC_OK;
  (void)index;
  size_t at = lc_pg_begin(out, 'D');
  lc_pg_u16(out, (uint16_t)row_type->n_fields);
  for (uint32_t i = 0; i < row_type->n_fields && st == LC_OK; i++) {
    lc_pg_u32(out, 0);
    size_t length_at = out->len - 4;
    st = put_value(out, row_type->fields[i].type, &r, FIELD, 0);
    if (!lc_buf_ok(out)) return lc_fail(err, LC_NOMEM, "out of memory");
    uint32_t n = (uint32_t)(out->len - length_at - 4);
    for (int k = 0; k < 4; k++) out->data[length_at + (size_t)k] = (uint8_t)(n >> (24 - 8 * k));
  }
  lc_pg_end(out, at);
  return st == LC_OK ? LC_OK : lc_fail(err, st, "a value of the answer cannot be written");
}
static void end(struct lc_buf *out, const struct lc_type *row_type, uint64_t n_rows, const struct lc_dml_counts *counts, int64_t duration_us) {
  char tag[160];
  int n = 0;
  if (row_type->n_fields) {
    snprintf(tag, sizeof tag, "SELECT %llu", (unsigned long long)n_rows);
  } else {
    const struct { const char *name; uint64_t n; } parts[] = {{"inserted", counts->inserted}, {"deleted", counts->deleted}, {"updated", counts->updated}};
    for (int i = 0; i < 3; i++)
      if (parts[i].n) n += snprintf(tag + n, sizeof tag - (size_t)n, "%s: %llu, ", parts[i].name, (unsigned long long)parts[i].n);
    double us = duration_us > 0 ? (double)duration_us : 0;
    snprintf(tag + n, sizeof tag - (size_t)n, "server: %.2f%s", us < 1000 ? us : us < 1e6 ? us / 1000 : us / 1e6, us < 1000 ? "µs" : us < 1e6 ? "ms" : "s");
  }
  size_t at = lc_pg_begin(out, 'C');
  lc_pg_text(out, lc_slice_str(tag));
  lc_pg_end(out, at);
}
const struct lc_sql_form pg_form = {begin, row, end};
