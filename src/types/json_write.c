/* SATS-JSON output (spec/01 §7) and SATN text. */
#include "types_internal.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

void lc_json_escape(struct lc_buf *out, struct lc_slice text) {
  lc_buf_u8(out, '"');
  size_t from = 0;
  for (size_t i = 0; i < text.len; i++) {
    uint8_t c = text.data[i];
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    lc_buf_append(out, text.data + from, i - from);
    from = i + 1;
    switch (c) {
    case '"': lc_buf_str(out, "\\\""); break;
    case '\\': lc_buf_str(out, "\\\\"); break;
    case '\n': lc_buf_str(out, "\\n"); break;
    case '\r': lc_buf_str(out, "\\r"); break;
    case '\t': lc_buf_str(out, "\\t"); break;
    case '\b': lc_buf_str(out, "\\b"); break;
    case '\f': lc_buf_str(out, "\\f"); break;
    default: lc_buf_printf(out, "\\u%04x", c);
    }
  }
  lc_buf_append(out, text.data + from, text.len - from);
  lc_buf_u8(out, '"');
}

void types_write_i128(struct lc_buf *out, const uint8_t le[16], bool is_signed) {
  __extension__ unsigned __int128 v;
  memcpy(&v, le, 16);
  bool negative = is_signed && (le[15] & 0x80);
  if (negative) v = -v;
  char digits[41];
  int at = 40;
  digits[at] = 0;
  do {
    digits[--at] = (char)('0' + (int)(v % 10));
    v /= 10;
  } while (v);
  if (negative) digits[--at] = '-';
  lc_buf_str(out, digits + at);
}

void types_write_u256(struct lc_buf *out, const uint8_t le[32], bool is_signed) {
  uint8_t be[32];
  bool negative = is_signed && (le[31] & 0x80);
  unsigned carry = 1;
  for (int i = 0; i < 32; i++) {
    unsigned b = le[i];
    if (negative) {
      b = (~b & 0xff) + carry;
      carry = b >> 8;
    }
    be[31 - i] = (uint8_t)b;
  }
  char hex[65];
  lc_hex_encode(be, 32, hex);
  const char *p = hex;
  while (*p == '0' && p[1]) p++;
  lc_buf_printf(out, "\"%s0x%s\"", negative ? "-" : "", p);
}

/* Shortest decimal that reads back as the same value; integral ones end in .0 or have an exponent. */
static void write_float(struct lc_buf *out, double v, bool single) {
  if (isnan(v) || isinf(v)) {
    lc_buf_str(out, "null");
    return;
  }
  char text[40] = "";
  for (int digits = 1; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*e", digits - 1, v);
    if (single ? strtof(text, NULL) == (float)v : strtod(text, NULL) == v) break;
  }
  /* text = [-]d[.ddd]e±XX: place the point as the reference does: plain from 1e-5 up to below 1e16 */
  const char *sign = text[0] == '-' ? "-" : "";
  const char *p = text + (text[0] == '-');
  char mantissa[24];
  size_t n = 0;
  for (; *p && *p != 'e'; p++)
    if (*p != '.') mantissa[n++] = *p;
  int exponent = atoi(p + 1);
  mantissa[n] = 0;
  lc_buf_str(out, sign);
  if (exponent >= 16 || exponent < -5) {
    lc_buf_append(out, mantissa, 1);
    if (n > 1) lc_buf_printf(out, ".%s", mantissa + 1);
    lc_buf_printf(out, "e%d", exponent);
  } else if (exponent < 0) {
    lc_buf_str(out, "0.");
    for (int i = -1; i > exponent; i--) lc_buf_u8(out, '0');
    lc_buf_str(out, mantissa);
  } else if ((int)n <= exponent + 1) {
    lc_buf_str(out, mantissa);
    for (int i = (int)n; i <= exponent; i++) lc_buf_u8(out, '0');
    lc_buf_str(out, ".0");
  } else {
    lc_buf_append(out, mantissa, (size_t)exponent + 1);
    lc_buf_printf(out, ".%s", mantissa + exponent + 1);
  }
}

struct writer { struct lc_buf *out; const struct lc_typespace *ts; struct lc_error *err; uint64_t steps_left; };

static enum lc_status write_value(struct writer *w, const struct lc_type *t, struct lc_reader *r, enum lc_json_form form, unsigned depth) {
  struct lc_buf *out = w->out;
  struct lc_error *err = w->err;
  if (t->kind < LC_T_STRING && w->steps_left-- == 0) return lc_fail(err, LC_LIMIT, "value has too many parts that take no bytes");
  if (depth > 4 * LC_TYPE_MAX_DEPTH) return lc_fail(err, LC_LIMIT, "value is nested too deeply");
  enum lc_status st = LC_OK;
  switch (t->kind) {
  case LC_T_REF:
    if (!w->ts || t->ref >= w->ts->n) return lc_fail(err, LC_INVALID, "Type reference &%u out of bounds", t->ref);
    return write_value(w, w->ts->types[t->ref], r, form, depth + 1);
  case LC_T_PRODUCT: {
    bool named = form != LC_JSON_U;
    lc_buf_u8(out, named ? '{' : '[');
    for (uint32_t i = 0; i < t->n_fields && st == LC_OK; i++) {
      if (i) lc_buf_u8(out, ',');
      if (named) {
        if (t->fields[i].has_name) lc_json_escape(out, t->fields[i].name);
        else lc_buf_printf(out, "\"%u\"", i);
        lc_buf_u8(out, ':');
      }
      st = write_value(w, t->fields[i].type, r, form, depth + 1);
    }
    lc_buf_u8(out, named ? '}' : ']');
    return st;
  }
  case LC_T_SUM: {
    uint8_t tag = lc_read_u8(r);
    if (r->failed || tag >= t->n_fields) return lc_fail(err, LC_INVALID, "unknown tag 0x%x for sum type <unknown>", tag);
    if (form == LC_JSON_D) {
      lc_buf_u8(out, '{');
      if (t->fields[tag].has_name) lc_json_escape(out, t->fields[tag].name);
      else lc_buf_printf(out, "\"%u\"", tag);
      lc_buf_u8(out, ':');
    } else {
      lc_buf_printf(out, "[%u,", tag);
    }
    const struct lc_type *payload = t->fields[tag].type;
    if (payload->kind == LC_T_PRODUCT && payload->n_fields == 0) lc_buf_str(out, form == LC_JSON_R ? "{}" : "[]"); /* spec/03 §8 */
    else st = write_value(w, payload, r, form, depth + 1);
    lc_buf_u8(out, form == LC_JSON_D ? '}' : ']');
    return st;
  }
  case LC_T_ARRAY: {
    uint32_t n = lc_read_u32(r);
    if (t->elem->kind == LC_T_U8) {
      const uint8_t *p = lc_read_raw(r, n);
      if (!p) return lc_fail(err, LC_INVALID, "data too short for [u8]");
      lc_buf_u8(out, '"');
      if (lc_buf_reserve(out, (size_t)n * 2 + 1)) {
        lc_hex_encode(p, n, (char *)out->data + out->len);
        out->len += (size_t)n * 2;
      }
      lc_buf_u8(out, '"');
      return LC_OK;
    }
    lc_buf_u8(out, '[');
    for (uint32_t i = 0; i < n && st == LC_OK && !r->failed; i++) {
      if (i) lc_buf_u8(out, ',');
      st = write_value(w, t->elem, r, form == LC_JSON_R ? LC_JSON_U : form, depth + 1);
    }
    lc_buf_u8(out, ']');
    break;
  }
  case LC_T_STRING: lc_json_escape(out, lc_read_bytes(r)); break;
  case LC_T_BOOL: lc_buf_str(out, lc_read_u8(r) ? "true" : "false"); break;
  case LC_T_I8: lc_buf_printf(out, "%d", (int8_t)lc_read_u8(r)); break;
  case LC_T_U8: lc_buf_printf(out, "%u", lc_read_u8(r)); break;
  case LC_T_I16: lc_buf_printf(out, "%d", (int16_t)lc_read_u16(r)); break;
  case LC_T_U16: lc_buf_printf(out, "%u", lc_read_u16(r)); break;
  case LC_T_I32: lc_buf_printf(out, "%d", (int32_t)lc_read_u32(r)); break;
  case LC_T_U32: lc_buf_printf(out, "%u", lc_read_u32(r)); break;
  case LC_T_I64: lc_buf_printf(out, "%lld", (long long)lc_read_i64(r)); break;
  case LC_T_U64: lc_buf_printf(out, "%llu", (unsigned long long)lc_read_u64(r)); break;
  case LC_T_I128:
  case LC_T_U128: {
    const uint8_t *p = lc_read_raw(r, 16);
    if (p) types_write_i128(out, p, t->kind == LC_T_I128);
    break;
  }
  case LC_T_I256:
  case LC_T_U256: {
    const uint8_t *p = lc_read_raw(r, 32);
    if (p) types_write_u256(out, p, t->kind == LC_T_I256);
    break;
  }
  case LC_T_F32: {
    uint32_t bits = lc_read_u32(r);
    float v;
    memcpy(&v, &bits, 4);
    write_float(out, (double)v, true);
    break;
  }
  case LC_T_F64: {
    uint64_t bits = lc_read_u64(r);
    double v;
    memcpy(&v, &bits, 8);
    write_float(out, v, false);
    break;
  }
  }
  if (st == LC_OK && r->failed) return lc_fail(err, LC_INVALID, "value is shorter than its type");
  return st;
}

enum lc_status lc_json_write_value(struct lc_buf *out, const struct lc_type *type, const struct lc_typespace *ts, struct lc_reader *r, enum lc_json_form form, struct lc_error *err) {
  struct writer w = {out, ts, err, LC_VALUE_FREE_STEPS + LC_VALUE_STEPS_PER_BYTE * lc_reader_left(r)};
  return write_value(&w, type, r, form, 0);
}

void lc_json_write_type(struct lc_buf *out, const struct lc_type *t) {
  static const char *const names[] = {"Ref", "Sum", "Product", "Array", "String", "Bool", "I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64", "I128", "U128", "I256", "U256", "F32", "F64"};
  lc_buf_printf(out, "{\"%s\":", names[t->kind]);
  if (t->kind == LC_T_REF) {
    lc_buf_printf(out, "%u", t->ref);
  } else if (t->kind == LC_T_ARRAY) {
    lc_json_write_type(out, t->elem);
  } else if (t->kind == LC_T_SUM || t->kind == LC_T_PRODUCT) {
    lc_buf_str(out, t->kind == LC_T_SUM ? "{\"variants\":[" : "{\"elements\":[");
    for (uint32_t i = 0; i < t->n_fields; i++) {
      lc_buf_str(out, i ? ",{\"name\":" : "{\"name\":");
      if (t->fields[i].has_name) {
        lc_buf_str(out, "{\"some\":");
        lc_json_escape(out, t->fields[i].name);
        lc_buf_u8(out, '}');
      } else {
        lc_buf_str(out, "{\"none\":[]}");
      }
      lc_buf_str(out, ",\"algebraic_type\":");
      lc_json_write_type(out, t->fields[i].type);
      lc_buf_u8(out, '}');
    }
    lc_buf_str(out, "]}");
  } else {
    lc_buf_str(out, "[]");
  }
  lc_buf_u8(out, '}');
}

static void write_timestamp(struct lc_buf *out, int64_t us) {
  int64_t seconds = us / 1000000, fraction = us % 1000000;
  if (fraction < 0) {
    fraction += 1000000;
    seconds--;
  }
  time_t t = (time_t)seconds;
  struct tm tm;
  if (!gmtime_r(&t, &tm)) {
    lc_buf_printf(out, "%lld", (long long)us);
    return;
  }
  int year = tm.tm_year + 1900;
  lc_buf_printf(out, year < 0 || year > 9999 ? "%+05d-%02d-%02dT%02d:%02d:%02d" : "%04d-%02d-%02dT%02d:%02d:%02d", year, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
  if (fraction % 1000) lc_buf_printf(out, ".%06lld", (long long)fraction);
  else if (fraction) lc_buf_printf(out, ".%03lld", (long long)(fraction / 1000));
  lc_buf_str(out, "+00:00");
}

/* Cell text of spec/01 §6.4, last paragraph (command-line form). */
enum lc_status lc_satn_write(struct lc_buf *out, const struct lc_type *t, struct lc_reader *r) {
  enum lc_status st = LC_OK;
  switch (t->special) {
  case LC_SPECIAL_IDENTITY: {
    struct lc_identity id;
    char hex[65];
    const uint8_t *p = lc_read_raw(r, 32);
    if (!p) return LC_INVALID;
    memcpy(id.bytes, p, 32);
    lc_identity_hex(&id, hex);
    lc_buf_printf(out, "0x%s", hex);
    return LC_OK;
  }
  case LC_SPECIAL_CONNECTION_ID: {
    struct lc_connection_id id;
    char hex[33];
    const uint8_t *p = lc_read_raw(r, 16);
    if (!p) return LC_INVALID;
    memcpy(id.bytes, p, 16);
    lc_connection_id_hex(&id, hex);
    lc_buf_printf(out, "0x%s", hex);
    return LC_OK;
  }
  case LC_SPECIAL_TIMESTAMP: write_timestamp(out, lc_read_i64(r)); return r->failed ? LC_INVALID : LC_OK;
  case LC_SPECIAL_DURATION: {
    int64_t us = lc_read_i64(r);
    uint64_t magnitude = us < 0 ? 0 - (uint64_t)us : (uint64_t)us;
    lc_buf_printf(out, "%c%llu.%06llu", us < 0 ? '-' : '+', (unsigned long long)(magnitude / 1000000), (unsigned long long)(magnitude % 1000000));
    return r->failed ? LC_INVALID : LC_OK;
  }
  case LC_SPECIAL_UUID: {
    const uint8_t *p = lc_read_raw(r, 16);
    if (!p) return LC_INVALID;
    lc_buf_u8(out, '"');
    for (int i = 15; i >= 0; i--) {
      lc_buf_printf(out, "%02x", p[i]);
      if (i == 12 || i == 10 || i == 8 || i == 6) lc_buf_u8(out, '-');
    }
    lc_buf_u8(out, '"');
    return LC_OK;
  }
  default: break;
  }
  if (t->kind == LC_T_STRING) {
    lc_buf_u8(out, '"');
    lc_buf_slice_append(out, lc_read_bytes(r));
    lc_buf_u8(out, '"');
  } else if (t->kind == LC_T_ARRAY) {
    uint32_t n = lc_read_u32(r);
    if (t->elem->kind == LC_T_U8) {
      lc_buf_str(out, "0x");
      for (uint32_t i = 0; i < n && !r->failed; i++) lc_buf_printf(out, "%02x", lc_read_u8(r));
      return r->failed ? LC_INVALID : LC_OK;
    }
    lc_buf_u8(out, '[');
    for (uint32_t i = 0; i < n && st == LC_OK && !r->failed; i++) {
      if (i) lc_buf_str(out, ", ");
      st = lc_satn_write(out, t->elem, r);
    }
    lc_buf_u8(out, ']');
  } else if (t->kind == LC_T_PRODUCT || t->kind == LC_T_SUM) {
    uint32_t from = 0, to = t->n_fields;
    if (t->kind == LC_T_SUM) {
      from = lc_read_u8(r);
      if (from >= t->n_fields) return LC_INVALID;
      to = from + 1;
    }
    lc_buf_u8(out, '(');
    for (uint32_t i = from; i < to && st == LC_OK; i++) {
      if (i > from) lc_buf_str(out, ", ");
      if (t->fields[i].has_name) lc_buf_slice_append(out, t->fields[i].name);
      else lc_buf_printf(out, "col_%u", i);
      lc_buf_str(out, " = ");
      st = lc_satn_write(out, t->fields[i].type, r);
    }
    lc_buf_u8(out, ')');
  } else if (t->kind == LC_T_U256 || t->kind == LC_T_I256) {
    const uint8_t *p = lc_read_raw(r, 32);
    if (!p) return LC_INVALID;
    size_t quote = out->len;
    types_write_u256(out, p, t->kind == LC_T_I256);
    if (lc_buf_ok(out)) { /* without the quotes of JSON */
      memmove(out->data + quote, out->data + quote + 1, out->len - quote - 2);
      out->len -= 2;
    }
  } else {
    return lc_json_write_value(out, t, NULL, r, LC_JSON_U, NULL);
  }
  return st == LC_OK && r->failed ? LC_INVALID : st;
}
