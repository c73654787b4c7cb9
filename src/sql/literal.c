/* Owns: literals: a text becomes a value of the type that the other side has (spec/05 §6). Callers: check.c, change.c. */
#include "plan.h"
#include <stdlib.h>

enum { MAX_DIGITS = 200 };

bool literal_bad(struct check *k, struct lc_slice text, const struct lc_type *type) {
  struct lc_buf b = {0};
  lc_type_display(&b, type);
  struct lc_slice b_text = lc_arena_take(&k->plan->arena, &b);
  lc_fail(k->err, LC_INVALID, "The literal expression `%.*s` cannot be parsed as type `%.*s`", T(text), T(b_text));
  return false;
}
bool literal_mismatch(struct check *k, const struct lc_type *found, const struct lc_type *wanted) {
  struct lc_buf a = {0}, b = {0};
  lc_type_display(&a, found);
  lc_type_display(&b, wanted);
  struct lc_slice shown = lc_arena_take(&k->plan->arena, &a);
  struct lc_slice b_text = lc_arena_take(&k->plan->arena, &b);
  lc_fail(k->err, LC_INVALID, "Unexpected type: (expected) %.*s != %.*s (inferred)", T(shown), T(b_text));
  return false;
}

bool literal_integer(struct lc_slice text, bool plain, struct lc_buf *digits) {
  char mantissa[MAX_DIGITS];
  size_t i = 0, n = 0;
  long point = -1, exponent = 0;
  bool negative = text.len && text.data[0] == '-', has_exponent = false;
  if (text.len && (text.data[0] == '-' || text.data[0] == '+')) i++;
  for (; i < text.len && ((text.data[i] >= '0' && text.data[i] <= '9') || text.data[i] == '.'); i++) {
    if (text.data[i] == '.') {
      if (point >= 0) return false;
      point = (long)n;
    } else {
      if (n == MAX_DIGITS) return false;
      mantissa[n++] = (char)text.data[i];
    }
  }
  if (n == 0) return false;
  if (i < text.len && (text.data[i] == 'e' || text.data[i] == 'E')) {
    char *end, number[24];
    size_t len = text.len - i - 1;
    has_exponent = true;
    if (len == 0 || len >= sizeof number) return false;
    memcpy(number, text.data + i + 1, len);
    number[len] = 0;
    exponent = strtol(number, &end, 10);
    if (*end || exponent > MAX_DIGITS || exponent < -MAX_DIGITS) return false;
    i = text.len;
  }
  if (i != text.len) return false;
  long fraction = point < 0 ? 0 : (long)n - point;
  if (plain && fraction > 0 && !(has_exponent && exponent >= fraction)) return false; /* its plain rendering has a point */
  exponent -= fraction;
  while (exponent < 0 && n > 1 && mantissa[n - 1] == '0') n--, exponent++;
  size_t skip = 0;
  while (skip + 1 < n && mantissa[skip] == '0') skip++;
  bool zero = n == skip + 1 && mantissa[skip] == '0';
  if (exponent < 0 && !zero) return false;
  lc_buf_clear(digits);
  if (negative && !zero) lc_buf_u8(digits, '-');
  lc_buf_append(digits, mantissa + skip, n - skip);
  for (; !zero && exponent > 0; exponent--) lc_buf_u8(digits, '0');
  return lc_buf_ok(digits) && digits->len <= 80;
}

static bool number_text(struct lc_slice text) { /* what a decimal parser takes, and strtod would take more than */
  size_t i = text.len && (text.data[0] == '-' || text.data[0] == '+') ? 1 : 0, digits = 0;
  while (i < text.len && ((text.data[i] >= '0' && text.data[i] <= '9') || text.data[i] == '.')) digits += text.data[i++] != '.';
  if (!digits) return false;
  if (i < text.len && (text.data[i] == 'e' || text.data[i] == 'E')) {
    i++;
    if (i < text.len && (text.data[i] == '-' || text.data[i] == '+')) i++;
    size_t first = i;
    while (i < text.len && text.data[i] >= '0' && text.data[i] <= '9') i++;
    if (i == first) return false;
  }
  return i == text.len;
}

static bool digits_at(struct lc_slice *s, unsigned n, int64_t *out) {
  if (s->len < n) return false;
  *out = 0;
  for (unsigned i = 0; i < n; i++) {
    if (s->data[i] < '0' || s->data[i] > '9') return false;
    *out = *out * 10 + (s->data[i] - '0');
  }
  *s = lc_slice(s->data + n, s->len - n);
  return true;
}
static bool char_at(struct lc_slice *s, const char *any_of) {
  if (!s->len || !s->data[0] || !strchr(any_of, s->data[0])) return false;
  *s = lc_slice(s->data + 1, s->len - 1);
  return true;
}
static int64_t days_of(int64_t y, int64_t m, int64_t d) { /* since 1970-01-01, proleptic Gregorian */
  y -= m <= 2;
  int64_t era = (y >= 0 ? y : y - 399) / 400, yoe = y - era * 400, doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
  return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}
/* RFC 3339 with a mandatory offset; microseconds since the epoch. */
static bool timestamp(struct lc_slice s, int64_t *us) {
  static const uint8_t lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  int64_t y, mo, d, h, mi, sec, nanos = 0, oh, om, offset = 0;
  if (!digits_at(&s, 4, &y) || !char_at(&s, "-") || !digits_at(&s, 2, &mo) || !char_at(&s, "-") || !digits_at(&s, 2, &d) || !char_at(&s, "Tt ")) return false;
  if (!digits_at(&s, 2, &h) || !char_at(&s, ":") || !digits_at(&s, 2, &mi) || !char_at(&s, ":") || !digits_at(&s, 2, &sec)) return false;
  if (char_at(&s, ".")) {
    unsigned n = 0;
    for (int64_t digit; s.len && s.data[0] >= '0' && s.data[0] <= '9'; n++) {
      digits_at(&s, 1, &digit);
      if (n < 9) nanos = nanos * 10 + digit;
    }
    if (!n) return false;
    for (; n < 9; n++) nanos *= 10;
  }
  if (s.len && (s.data[0] == '+' || s.data[0] == '-')) {
    bool minus = s.data[0] == '-';
    s = lc_slice(s.data + 1, s.len - 1);
    if (!digits_at(&s, 2, &oh) || !char_at(&s, ":") || !digits_at(&s, 2, &om) || oh > 23 || om > 59) return false;
    offset = (oh * 60 + om) * 60 * (minus ? -1 : 1);
  } else if (!char_at(&s, "Zz")) {
    return false;
  }
  bool leap = (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
  if (s.len || mo < 1 || mo > 12 || d < 1 || d > lengths[mo - 1] + (mo == 2 && leap) || h > 23 || mi > 59 || sec > 60) return false;
  int64_t seconds = days_of(y, mo, d) * 86400 + h * 3600 + mi * 60 + sec - offset;
  *us = seconds * 1000000 + nanos / 1000;
  return true;
}

static bool uuid(struct lc_slice s, uint8_t little_endian[16]) {
  char hex[33];
  size_t n = 0;
  if (s.len > 9 && memcmp(s.data, "urn:uuid:", 9) == 0) s = lc_slice(s.data + 9, s.len - 9);
  else if (s.len == 38 && s.data[0] == '{' && s.data[37] == '}') s = lc_slice(s.data + 1, 36);
  if (s.len != 32 && s.len != 36) return false;
  for (size_t i = 0; i < s.len; i++) {
    bool dash = s.len == 36 && (i == 8 || i == 13 || i == 18 || i == 23);
    if (dash != (s.data[i] == '-')) return false;
    if (!dash) hex[n++] = (char)s.data[i];
  }
  uint8_t bytes[16];
  hex[n] = 0;
  if (n != 32 || !lc_hex_decode(hex, 32, bytes)) return false;
  for (int i = 0; i < 16; i++) little_endian[i] = bytes[15 - i];
  return true;
}

/* Decimal digits to 256 bits, little-endian. */
static bool wide_integer(struct lc_slice digits, bool is_signed, uint8_t out[32]) {
  bool negative = digits.len && digits.data[0] == '-';
  memset(out, 0, 32);
  for (size_t i = negative; i < digits.len; i++) {
    unsigned carry = (unsigned)(digits.data[i] - '0');
    for (int b = 0; b < 32; b++) {
      carry += out[b] * 10u;
      out[b] = (uint8_t)carry;
      carry >>= 8;
    }
    if (carry) return false;
  }
  if (!negative) return !is_signed || out[31] < 0x80;
  bool borrow = true; /* two's complement */
  for (int b = 0; b < 32; b++) {
    out[b] = (uint8_t)(~out[b] + borrow);
    borrow = borrow && out[b] == 0;
  }
  return is_signed && (out[31] & 0x80);
}

static bool convert(struct lc_slice text, const struct lc_type *t, struct lc_buf *out) {
  bool ok = false;
  if (t->special == LC_SPECIAL_IDENTITY || t->special == LC_SPECIAL_CONNECTION_ID) {
    struct lc_identity id;
    struct lc_connection_id conn;
    bool identity = t->special == LC_SPECIAL_IDENTITY;
    ok = identity ? lc_identity_parse(text, &id) : lc_connection_id_parse(text, &conn);
    if (ok) lc_buf_append(out, identity ? id.bytes : conn.bytes, identity ? 32 : 16);
  } else if (t->special == LC_SPECIAL_TIMESTAMP) {
    int64_t us;
    if ((ok = timestamp(text, &us))) lc_buf_i64(out, us);
  } else if (t->special == LC_SPECIAL_UUID) {
    uint8_t bytes[16];
    if ((ok = uuid(text, bytes))) lc_buf_append(out, bytes, sizeof bytes);
  } else if (t->kind == LC_T_STRING) {
    lc_buf_bsatn_bytes(out, text);
    ok = true;
  } else if (t->kind == LC_T_ARRAY && t->elem->kind == LC_T_U8) {
    if (text.len >= 2 && memcmp(text.data, "0x", 2) == 0) text = lc_slice(text.data + 2, text.len - 2);
    lc_buf_u32(out, (uint32_t)(text.len / 2));
    ok = text.len % 2 == 0 && lc_buf_reserve(out, text.len / 2 + 1) && lc_hex_decode((const char *)text.data, text.len, out->data + out->len);
    out->len += text.len / 2;
  } else if (t->kind >= LC_T_I8 && t->kind <= LC_T_U256) {
    struct lc_buf digits = {0};
    bool wide = t->kind >= LC_T_I256;
    ok = literal_integer(text, wide, &digits);
    out->failed |= digits.failed;
    if (ok && wide) {
      uint8_t bytes[32];
      if ((ok = wide_integer(lc_buf_slice(&digits), t->kind == LC_T_I256, bytes))) lc_buf_append(out, bytes, sizeof bytes);
    } else if (ok) {
      ok = lc_json_parse_value(lc_buf_slice(&digits), t, NULL, out, NULL) == LC_OK;
    }
    lc_buf_free(&digits);
  } else if (t->kind == LC_T_F32 || t->kind == LC_T_F64) {
    char number[512], *end;
    ok = text.len < sizeof number && number_text(text);
    if (ok) {
      memcpy(number, text.data, text.len);
      number[text.len] = 0;
      double d = strtod(number, &end) + 0.0; /* -0 becomes 0 */
      float f = (float)d;
      lc_buf_append(out, t->kind == LC_T_F64 ? (void *)&d : (void *)&f, t->static_size_bytes);
    }
  }
  return ok;
}

bool literal_value(struct check *k, const struct ast_expr *e, const struct lc_type *t, struct lc_slice *value) {
  struct lc_buf out = {0};
  if (e->kind == X_SENDER) {
    if (t->special == LC_SPECIAL_IDENTITY) {
      lc_buf_append(&out, k->caller->identity.bytes, 32);
    } else if (t->kind == LC_T_ARRAY && t->elem->kind == LC_T_U8) {
      lc_buf_u32(&out, 32);
      for (int i = 31; i >= 0; i--) lc_buf_u8(&out, k->caller->identity.bytes[i]);
    } else {
      return literal_mismatch(k, lc_type_identity(), t);
    }
    k->plan->is_per_identity = true;
  } else if (!convert(e->text, t, &out) && lc_buf_ok(&out)) {
    lc_buf_free(&out);
    return literal_bad(k, e->text, t);
  }
  *value = lc_arena_take(&k->plan->arena, &out);
  if (!value->data) lc_fail(k->err, LC_NOMEM, "out of memory");
  return value->data;
}
