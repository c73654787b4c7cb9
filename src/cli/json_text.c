/* JSON as text: finds values, members and elements without turning numbers into machine numbers (rows hold integers up to 128 bits).
 *
 * Invariants: a slice handed out is a well-formed value; nesting is limited to LC_CLI_JSON_DEPTH. Callers: table.c, query.c, describe.c.
 */
#include "cli_internal.h"

static void space(struct lc_cli_json *j) {
  while (j->p < j->end && (*j->p == ' ' || *j->p == '\t' || *j->p == '\n' || *j->p == '\r')) j->p++;
}

static bool next_is(struct lc_cli_json *j, char c) {
  space(j);
  if (j->p >= j->end || *j->p != (uint8_t)c) return false;
  j->p++;
  return true;
}

static bool skip_string(struct lc_cli_json *j) {
  if (!next_is(j, '"')) return false;
  for (; j->p < j->end; j->p++) {
    if (*j->p == '"') return j->p++, true;
    if (*j->p == '\\' && ++j->p >= j->end) return false;
  }
  return false;
}

static bool skip(struct lc_cli_json *j, unsigned depth) {
  space(j);
  if (j->p >= j->end || depth > LC_CLI_JSON_DEPTH) return false;
  char c = (char)*j->p;
  if (c == '"') return skip_string(j);
  if (c != '{' && c != '[') { /* number or word: up to a separator */
    const uint8_t *start = j->p;
    while (j->p < j->end && !memchr(",]} \t\r\n:\"[{", *j->p, 12)) j->p++;
    return j->p > start;
  }
  char close = c == '{' ? '}' : ']';
  j->p++;
  if (next_is(j, close)) return true;
  do {
    if (c == '{' && (!skip_string(j) || !next_is(j, ':'))) return false;
    if (!skip(j, depth + 1)) return false;
  } while (next_is(j, ','));
  return next_is(j, close);
}

bool lc_cli_json_value(struct lc_cli_json *j, struct lc_slice *value) {
  space(j);
  const uint8_t *start = j->p;
  if (!skip(j, 0)) return false;
  *value = lc_slice(start, (size_t)(j->p - start));
  return true;
}

bool lc_cli_json_enter(struct lc_slice value, char open, struct lc_cli_json *j) {
  *j = (struct lc_cli_json){value.data, value.data + value.len};
  return next_is(j, open);
}

bool lc_cli_json_item(struct lc_cli_json *j, struct lc_slice *value) {
  if (next_is(j, ']') || next_is(j, '}')) return j->p = j->end, false;
  next_is(j, ',');
  return lc_cli_json_value(j, value);
}

bool lc_cli_json_member(struct lc_slice object, const char *name, struct lc_slice *value) {
  struct lc_cli_json j;
  if (!lc_cli_json_enter(object, '{', &j) || next_is(&j, '}')) return false;
  size_t n = strlen(name);
  do {
    struct lc_slice key;
    if (!lc_cli_json_value(&j, &key) || !next_is(&j, ':') || !lc_cli_json_value(&j, value)) return false;
    if (key.len == n + 2 && memcmp(key.data + 1, name, n) == 0) return true;
  } while (next_is(&j, ','));
  return false;
}

static void new_line(struct lc_buf *out, unsigned depth) {
  lc_buf_u8(out, '\n');
  for (unsigned i = 0; i < depth; i++) lc_buf_str(out, "  ");
}

static void pretty(struct lc_buf *out, struct lc_slice v, unsigned depth) {
  struct lc_cli_json j;
  bool object = v.len > 0 && v.data[0] == '{';
  if ((!object && (v.len == 0 || v.data[0] != '[')) || !lc_cli_json_enter(v, object ? '{' : '[', &j)) {
    lc_buf_slice_append(out, v);
    return;
  }
  char close = object ? '}' : ']';
  lc_buf_u8(out, object ? '{' : '[');
  if (!next_is(&j, close)) {
    do {
      struct lc_slice part;
      new_line(out, depth + 1);
      if (object) {
        if (!lc_cli_json_value(&j, &part) || !next_is(&j, ':')) break;
        lc_buf_slice_append(out, part);
        lc_buf_str(out, ": ");
      }
      if (!lc_cli_json_value(&j, &part)) break;
      pretty(out, part, depth + 1);
      space(&j);
      if (j.p < j.end && *j.p == ',') lc_buf_u8(out, ',');
    } while (next_is(&j, ','));
    new_line(out, depth);
  }
  lc_buf_u8(out, (uint8_t)close);
}

void lc_cli_json_pretty(struct lc_buf *out, struct lc_slice value) {
  struct lc_cli_json j = {value.data, value.data + value.len};
  struct lc_slice v;
  if (lc_cli_json_value(&j, &v)) pretty(out, v, 0);
}
