/* SATS-JSON input: JSON text straight to BSATN of a known type (spec/01 §7.1, §7.2; spec/07 §4.5).
 *
 * A value's extent is found first (skip), then read by type, because object members come in any order. Nesting is limited to 128.
 */
#include "types.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_DEPTH = 128 };
struct json { const uint8_t *p, *end; };

static void space(struct json *j) {
  while (j->p < j->end && (*j->p == ' ' || *j->p == '\t' || *j->p == '\n' || *j->p == '\r')) j->p++;
}
static enum lc_status bad(struct lc_error *err, const char *what) { return lc_fail(err, LC_INVALID, "%s", what); }
static bool next_is(struct json *j, char c) {
  space(j);
  if (j->p >= j->end || *j->p != (uint8_t)c) return false;
  j->p++;
  return true;
}

static bool skip_string(struct json *j) {
  if (!next_is(j, '"')) return false;
  for (; j->p < j->end; j->p++) {
    if (*j->p == '"') return j->p++, true;
    if (*j->p < 0x20) return false;
    if (*j->p == '\\') j->p++;
  }
  return false;
}

static bool skip_number(struct json *j) {
  const uint8_t *start = j->p;
  if (j->p < j->end && *j->p == '-') j->p++;
  const uint8_t *digits = j->p;
  while (j->p < j->end && *j->p >= '0' && *j->p <= '9') j->p++;
  if (j->p == digits || (*digits == '0' && j->p - digits > 1)) return false;
  if (j->p < j->end && *j->p == '.') {
    const uint8_t *frac = ++j->p;
    while (j->p < j->end && *j->p >= '0' && *j->p <= '9') j->p++;
    if (j->p == frac) return false;
  }
  if (j->p < j->end && (*j->p == 'e' || *j->p == 'E')) {
    j->p++;
    if (j->p < j->end && (*j->p == '+' || *j->p == '-')) j->p++;
    const uint8_t *exponent = j->p;
    while (j->p < j->end && *j->p >= '0' && *j->p <= '9') j->p++;
    if (j->p == exponent) return false;
  }
  return j->p > start;
}

static bool skip_word(struct json *j, const char *word) {
  size_t n = strlen(word);
  if ((size_t)(j->end - j->p) < n || memcmp(j->p, word, n) != 0) return false;
  j->p += n;
  return true;
}

static bool skip_value(struct json *j, unsigned depth) {
  space(j);
  if (depth > MAX_DEPTH || j->p >= j->end) return false;
  uint8_t c = *j->p;
  if (c == '"') return skip_string(j);
  if (c == 't') return skip_word(j, "true");
  if (c == 'f') return skip_word(j, "false");
  if (c == 'n') return skip_word(j, "null");
  if (c != '{' && c != '[') return skip_number(j);
  char close = c == '{' ? '}' : ']';
  j->p++;
  if (next_is(j, close)) return true;
  do {
    space(j);
    if (c == '{' && (!skip_string(j) || !next_is(j, ':'))) return false;
    if (!skip_value(j, depth + 1)) return false;
  } while (next_is(j, ','));
  return next_is(j, close);
}

/* The next value's text; false if it is not JSON. */
static bool take_value(struct json *j, struct lc_slice *value) {
  space(j);
  const uint8_t *start = j->p;
  if (!skip_value(j, 0)) return false;
  *value = lc_slice(start, (size_t)(j->p - start));
  return true;
}

static void put_utf8(struct lc_buf *out, uint32_t c) {
  if (c < 0x80) {
    lc_buf_u8(out, (uint8_t)c);
  } else if (c < 0x800) {
    lc_buf_u8(out, (uint8_t)(0xc0 | c >> 6));
    lc_buf_u8(out, (uint8_t)(0x80 | (c & 0x3f)));
  } else if (c < 0x10000) {
    lc_buf_u8(out, (uint8_t)(0xe0 | c >> 12));
    lc_buf_u8(out, (uint8_t)(0x80 | (c >> 6 & 0x3f)));
    lc_buf_u8(out, (uint8_t)(0x80 | (c & 0x3f)));
  } else {
    lc_buf_u8(out, (uint8_t)(0xf0 | c >> 18));
    lc_buf_u8(out, (uint8_t)(0x80 | (c >> 12 & 0x3f)));
    lc_buf_u8(out, (uint8_t)(0x80 | (c >> 6 & 0x3f)));
    lc_buf_u8(out, (uint8_t)(0x80 | (c & 0x3f)));
  }
}

static bool hex4(const uint8_t *p, const uint8_t *end, uint32_t *v) {
  uint8_t bytes[2];
  if (end - p < 4 || !lc_hex_decode((const char *)p, 4, bytes)) return false;
  *v = (uint32_t)bytes[0] << 8 | bytes[1];
  return true;
}

/* Appends the text of a JSON string token (with quotes) without escapes. */
static bool unescape(struct lc_slice token, struct lc_buf *out) {
  if (token.len < 2 || token.data[0] != '"') return false;
  const uint8_t *p = token.data + 1, *end = token.data + token.len - 1;
  while (p < end) {
    if (*p != '\\') {
      const uint8_t *from = p;
      while (p < end && *p != '\\') p++;
      lc_buf_append(out, from, (size_t)(p - from));
      continue;
    }
    if (++p >= end) return false;
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *at = memchr(from, *p, sizeof from - 1);
    if (at) {
      lc_buf_u8(out, (uint8_t)to[at - from]);
      p++;
      continue;
    }
    uint32_t c, low;
    if (*p != 'u' || !hex4(p + 1, end, &c)) return false;
    p += 5;
    if (c >= 0xdc00 && c < 0xe000) return false;
    if (c >= 0xd800 && c < 0xdc00) {
      if (end - p < 6 || p[0] != '\\' || p[1] != 'u' || !hex4(p + 2, end, &low) || low < 0xdc00 || low >= 0xe000) return false;
      c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
      p += 6;
    }
    put_utf8(out, c);
  }
  return true;
}

static enum lc_status parse(struct lc_slice value, const struct lc_type *t, const struct lc_typespace *ts, struct lc_buf *out, unsigned depth, struct lc_error *err);

/* Decimal integer token into little-endian two's complement of `size` bytes (at most 16). */
static enum lc_status parse_integer(struct lc_slice v, const struct lc_type *t, struct lc_buf *out, struct lc_error *err) {
  bool is_signed = t->kind % 2 == 0;
  unsigned bits = t->static_size_bytes * 8;
  __extension__ unsigned __int128 magnitude = 0, max = bits == 128 ? ~(unsigned __int128)0 : ((unsigned __int128)1 << bits) - 1;
  size_t i = v.len && v.data[0] == '-';
  bool negative = i == 1;
  struct lc_buf name = {0};
  bool ok = v.len > i && !(negative && v.len == 2 && v.data[1] == '0');
  if (is_signed) max = (max >> 1) + (negative ? 1 : 0);
  else if (negative) ok = false;
  for (; ok && i < v.len; i++) {
    if (v.data[i] < '0' || v.data[i] > '9') ok = false;
    else {
      unsigned digit = v.data[i] - '0';
      if (magnitude > (max - digit) / 10) ok = false;
      else magnitude = magnitude * 10 + digit;
    }
  }
  if (!ok) {
    lc_type_display(&name, t);
    lc_fail(err, LC_INVALID, "invalid value: `%.*s`, expected %.*s", (int)(v.len < 80 ? v.len : 80), (const char *)v.data, (int)name.len, (const char *)name.data);
    lc_buf_free(&name);
    return LC_INVALID;
  }
  if (negative) magnitude = -magnitude;
  lc_buf_append(out, &magnitude, t->static_size_bytes);
  return LC_OK;
}

static enum lc_status parse_wide(struct lc_slice v, const struct lc_type *t, struct lc_buf *out, struct lc_error *err) {
  const char *p = (const char *)v.data + 1, *end = (const char *)v.data + v.len - 1;
  uint8_t le[32] = {0};
  bool negative = false;
  if (v.len < 2 || v.data[0] != '"') return bad(err, "invalid type: expected a string with a 0x number");
  if (p < end && (*p == '+' || (*p == '-' && t->kind == LC_T_I256))) negative = *p++ == '-';
  if (end - p < 3 || p[0] != '0' || p[1] != 'x') return bad(err, "invalid value: 256-bit integers are written \"0x…\"");
  p += 2;
  while (end - p > 1 && *p == '0') p++;
  if (end - p > 64) return bad(err, "number too large to fit in target type");
  char digits[65];
  size_t n = (size_t)(end - p);
  memset(digits, '0', 64);
  memcpy(digits + 64 - n, p, n);
  uint8_t be[32];
  if (!lc_hex_decode(digits, 64, be)) return bad(err, "invalid digit found in string");
  for (int i = 0; i < 32; i++) le[i] = be[31 - i];
  if (t->kind == LC_T_I256 && (le[31] & 0x80) && !(negative && le[31] == 0x80)) return bad(err, "number too large to fit in target type");
  unsigned carry = 1;
  for (int i = 0; negative && i < 32; i++) {
    unsigned b = (~(unsigned)le[i] & 0xff) + carry;
    le[i] = (uint8_t)b;
    carry = b >> 8;
  }
  lc_buf_append(out, le, 32);
  return LC_OK;
}

static enum lc_status parse_float(struct lc_slice v, const struct lc_type *t, struct lc_buf *out, struct lc_error *err) {
  char text[128];
  if (v.len == 0 || v.len >= sizeof text || (v.data[0] != '-' && (v.data[0] < '0' || v.data[0] > '9'))) return bad(err, "invalid type: expected a number");
  memcpy(text, v.data, v.len);
  text[v.len] = 0;
  if (t->kind == LC_T_F32) {
    float f = strtof(text, NULL);
    lc_buf_append(out, &f, 4);
  } else {
    double d = strtod(text, NULL);
    lc_buf_append(out, &d, 8);
  }
  return LC_OK;
}

/* Which field a key names; `words` says what fields are called in messages. Returns n_fields if none. */
static uint32_t field_named(const struct lc_type *t, struct lc_slice key) {
  for (uint32_t i = 0; i < t->n_fields; i++)
    if (t->fields[i].has_name && lc_slice_eq(t->fields[i].name, key)) return i;
  return t->n_fields;
}

/* other: NULL, or the same product by its other names, which count where no first name is meant. */
static enum lc_status parse_product(struct lc_slice value, const struct lc_type *t, const struct lc_type *other, const struct lc_typespace *ts, struct lc_buf *out, unsigned depth, const char *word,
                                    struct lc_error *err) {
  struct json j = {value.data, value.data + value.len};
  bool object = value.data[0] == '{';
  if (!object && value.data[0] != '[') return bad(err, "invalid type: expected a product, as an object or an array");
  struct lc_slice *parts = lc_alloc_zero(t->n_fields ? t->n_fields : 1, sizeof *parts);
  if (!parts) return lc_fail(err, LC_NOMEM, "out of memory");
  enum lc_status st = LC_OK;
  uint32_t n = 0;
  j.p++;
  if (!next_is(&j, object ? '}' : ']')) {
    do {
      struct lc_slice part;
      uint32_t index = n;
      if (object) {
        struct lc_slice token;
        struct lc_buf key = {0};
        if (!take_value(&j, &token) || !unescape(token, &key) || !next_is(&j, ':')) st = bad(err, "invalid JSON object");
        if (st == LC_OK && !lc_buf_ok(&key)) st = lc_fail(err, LC_NOMEM, "out of memory");
        index = st == LC_OK ? field_named(t, lc_buf_slice(&key)) : 0;
        if (st == LC_OK && index == t->n_fields && other) index = field_named(other, lc_buf_slice(&key));
        if (st == LC_OK && index == t->n_fields) st = lc_fail(err, LC_INVALID, "unknown %s `%.*s`", word, (int)key.len, (const char *)key.data);
        if (st == LC_OK && parts[index].data) st = lc_fail(err, LC_INVALID, "duplicate %s `%.*s`", word, (int)key.len, (const char *)key.data);
        lc_buf_free(&key);
      }
      if (st == LC_OK && !take_value(&j, &part)) st = bad(err, "invalid JSON value");
      if (st == LC_OK && index < t->n_fields) parts[index] = part;
      n++;
    } while (st == LC_OK && next_is(&j, ','));
  }
  if (st == LC_OK && !object && n != t->n_fields)
    st = lc_fail(err, LC_INVALID, "invalid length %u, expected %s with %u elements", n, strcmp(word, "field") == 0 ? "product type <unknown>" : "reducer args", t->n_fields);
  for (uint32_t i = 0; i < t->n_fields && st == LC_OK; i++) {
    if (!parts[i].data) st = lc_fail(err, LC_INVALID, "missing %s `%.*s`", word, (int)t->fields[i].name.len, (const char *)t->fields[i].name.data);
    else st = parse(parts[i], t->fields[i].type, ts, out, depth + 1, err);
  }
  lc_free(parts);
  return st;
}

static enum lc_status parse_sum(struct lc_slice value, const struct lc_type *t, const struct lc_typespace *ts, struct lc_buf *out, unsigned depth, struct lc_error *err) {
  struct json j = {value.data, value.data + value.len};
  struct lc_slice key, payload;
  struct lc_buf name = {0};
  if (t->special == LC_SPECIAL_OPTION && lc_slice_eq_str(value, "null")) {
    lc_buf_u8(out, 1);
    return LC_OK;
  }
  bool object = value.data[0] == '{';
  if (!object && value.data[0] != '[') return bad(err, "invalid type: expected sum type, as an object with one field or an array of two");
  j.p++;
  bool shaped = take_value(&j, &key) && next_is(&j, object ? ':' : ',') && take_value(&j, &payload) && next_is(&j, object ? '}' : ']') && (!object || key.data[0] == '"');
  if (!shaped) return bad(err, object ? "expected map representing sum type to have exactly one field" : "expected seq representing sum type to have exactly two fields");
  if (key.data[0] == '"') {
    if (!unescape(key, &name)) return lc_buf_free(&name), bad(err, "invalid JSON string");
  } else {
    lc_buf_slice_append(&name, key);
  }
  if (!lc_buf_ok(&name)) return lc_fail(err, LC_NOMEM, "out of memory");
  uint32_t tag = 0;
  bool numeric = name.len > 0 && name.len <= 3;
  for (size_t i = 0; i < name.len && numeric; i++) {
    numeric = name.data[i] >= '0' && name.data[i] <= '9';
    tag = tag * 10 + (name.data[i] - '0' * 1u);
  }
  enum lc_status st = LC_OK;
  if (numeric && tag <= 255) {
    if (tag >= t->n_fields) st = lc_fail(err, LC_INVALID, "unknown tag 0x%x for sum type <unknown>", tag);
  } else {
    tag = key.data[0] == '"' ? field_named(t, lc_buf_slice(&name)) : t->n_fields;
    if (tag == t->n_fields) st = lc_fail(err, LC_INVALID, "unknown variant `%.*s`", (int)name.len, (const char *)name.data);
  }
  lc_buf_free(&name);
  if (st != LC_OK) return st;
  lc_buf_u8(out, (uint8_t)tag);
  return parse(payload, t->fields[tag].type, ts, out, depth + 1, err);
}

static enum lc_status parse_array(struct lc_slice value, const struct lc_type *t, const struct lc_typespace *ts, struct lc_buf *out, unsigned depth, struct lc_error *err) {
  size_t count_at = out->len;
  uint32_t n = 0;
  lc_buf_u32(out, 0);
  if (value.data[0] == '"' && t->elem->kind == LC_T_U8) {
    size_t len = value.len - 2;
    if (len % 2) return bad(err, "Odd number of digits");
    if (!lc_buf_reserve(out, len / 2 + 1)) return lc_fail(err, LC_NOMEM, "out of memory");
    if (!lc_hex_decode((const char *)value.data + 1, len, out->data + out->len)) return bad(err, "Invalid character in hexadecimal string");
    out->len += len / 2;
    lc_buf_patch_u32(out, count_at, (uint32_t)(len / 2));
    return LC_OK;
  }
  if (value.data[0] != '[') return bad(err, "invalid type: expected an array");
  struct json j = {value.data + 1, value.data + value.len};
  if (!next_is(&j, ']')) {
    do {
      struct lc_slice part;
      if (!take_value(&j, &part)) return bad(err, "invalid JSON array");
      enum lc_status st = parse(part, t->elem, ts, out, depth + 1, err);
      if (st != LC_OK) return st;
      n++;
    } while (next_is(&j, ','));
  }
  lc_buf_patch_u32(out, count_at, n);
  return LC_OK;
}

static enum lc_status parse_as(struct lc_slice value, const struct lc_type *t, const struct lc_typespace *ts, struct lc_buf *out, unsigned depth, struct lc_error *err) {
  if (depth > MAX_DEPTH) return lc_fail(err, LC_LIMIT, "recursion limit exceeded");
  if (value.len == 0) return bad(err, "EOF while parsing a value");
  switch (t->kind) {
  case LC_T_REF:
    if (!ts || t->ref >= ts->n) return lc_fail(err, LC_INVALID, "Type reference &%u out of bounds", t->ref);
    return parse(value, ts->types[t->ref], ts, out, depth + 1, err);
  case LC_T_PRODUCT: return parse_product(value, t, NULL, ts, out, depth, "field", err);
  case LC_T_SUM: return parse_sum(value, t, ts, out, depth, err);
  case LC_T_ARRAY: return parse_array(value, t, ts, out, depth, err);
  case LC_T_STRING: {
    size_t at = out->len;
    lc_buf_u32(out, 0);
    if (!unescape(value, out)) return bad(err, "invalid type: expected a string");
    if (!lc_buf_ok(out)) return lc_fail(err, LC_NOMEM, "out of memory");
    lc_buf_patch_u32(out, at, (uint32_t)(out->len - at - 4));
    /* JSON text is UTF-8 already when the caller checked it; check the result, which is what is stored */
    struct lc_reader r = lc_reader(lc_slice(out->data + at, out->len - at));
    return lc_bsatn_validate(t, NULL, &r, err);
  }
  case LC_T_BOOL:
    if (lc_slice_eq_str(value, "true")) lc_buf_u8(out, 1);
    else if (lc_slice_eq_str(value, "false")) lc_buf_u8(out, 0);
    else return bad(err, "invalid type: expected a boolean");
    return LC_OK;
  case LC_T_I256:
  case LC_T_U256: return parse_wide(value, t, out, err);
  case LC_T_F32:
  case LC_T_F64: return parse_float(value, t, out, err);
  default: return parse_integer(value, t, out, err);
  }
}

/* The end of the innermost value that was wrong; NULL: none yet. Of the parse this thread is in. */
static _Thread_local const uint8_t *fault_at;
static enum lc_status parse(struct lc_slice value, const struct lc_type *t, const struct lc_typespace *ts, struct lc_buf *out, unsigned depth, struct lc_error *err) {
  enum lc_status st = parse_as(value, t, ts, out, depth, err);
  if (st != LC_OK && !fault_at) fault_at = value.data + value.len;
  return st;
}

static enum lc_status whole(struct lc_slice json, struct lc_slice *value, struct lc_error *err) {
  struct json j = {json.data, json.data + json.len};
  bool ok = take_value(&j, value);
  fault_at = j.p < j.end ? j.p : j.end;
  if (!ok) return bad(err, "expected value: the text is not JSON");
  space(&j);
  fault_at = j.p;
  if (j.p != j.end) return bad(err, "trailing characters after the JSON value");
  fault_at = NULL;
  return LC_OK;
}

enum lc_status lc_json_parse_value(struct lc_slice json, const struct lc_type *type, const struct lc_typespace *ts, struct lc_buf *out, struct lc_error *err) {
  struct lc_slice value;
  enum lc_status st = whole(json, &value, err);
  if (st == LC_OK) st = parse(value, type, ts, out, 0, err);
  return st == LC_OK && !lc_buf_ok(out) ? lc_fail(err, LC_NOMEM, "out of memory") : st;
}

enum lc_status lc_json_parse_args(struct lc_slice json, const struct lc_function_def *f, struct lc_buf *out, struct lc_error *err) {
  struct lc_slice value;
  enum lc_status st = whole(json, &value, err);
  if (st == LC_OK) st = parse_product(value, f->params, f->canonical_params, f->typespace, out, 0, "reducer argument", err);
  return st == LC_OK && !lc_buf_ok(out) ? lc_fail(err, LC_NOMEM, "out of memory") : st;
}

enum lc_status lc_json_parse_message(struct lc_slice json, const struct lc_type *type, struct lc_buf *out, struct lc_error *err) {
  enum lc_status st = lc_json_parse_value(json, type, NULL, out, err);
  if (st == LC_OK || st == LC_NOMEM) return st;
  unsigned line = 1, column = 0;
  for (const uint8_t *p = json.data; p < fault_at; p++) {
    column = *p == '\n' ? 0 : column + 1;
    line += *p == '\n';
  }
  size_t len = strlen(err->text);
  snprintf(err->text + len, sizeof err->text - len, " at line %u column %u", line, column);
  return st;
}
