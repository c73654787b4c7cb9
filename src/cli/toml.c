/* TOML as far as configuration files here use it: comments, tables, keys with strings, integers, booleans and arrays of them.
 *
 * Two readers share the pieces: config.c keeps a file's logical lines and changes some of them; lc_cli_toml_each goes through a whole file and refuses what it does
 * not know, with the line's number. Callers: config.c, start_config.c.
 */
#include "cli_internal.h"
#include <stdio.h>
#include <stdlib.h>

/* The end of the logical line at p: past multi-line strings and arrays, at the line end or the end of the text. */
const char *lc_cli_toml_line_end(const char *p, const char *end) {
  int brackets = 0;
  bool value = false;
  while (p < end) {
    if (*p == '#') {
      while (p < end && *p != '\n') p++;
      continue;
    }
    if (*p == '"' || *p == '\'') {
      char quote = *p;
      bool triple = end - p >= 3 && p[1] == quote && p[2] == quote;
      p += triple ? 3 : 1;
      while (p < end && (triple ? !(end - p >= 3 && p[0] == quote && p[1] == quote && p[2] == quote) : *p != quote && *p != '\n')) {
        if (*p == '\\' && quote == '"' && end - p > 1) p++;
        p++;
      }
      if (p < end && *p != '\n') p += triple && end - p >= 3 ? 3 : 1;
      continue;
    }
    if (*p == '=') value = true;
    if (value && *p == '[') brackets++;
    if (value && *p == ']') brackets--;
    if (*p == '\n' && brackets <= 0) break;
    p++;
  }
  return p;
}

const char *lc_cli_toml_skip_blank(const char *p) {
  while (*p == ' ' || *p == '\t') p++;
  return p;
}

/* The value's place in a line `key = value`, or NULL. */
const char *lc_cli_toml_value_of(const char *line, const char *key) {
  const char *p = lc_cli_toml_skip_blank(line);
  size_t n = strlen(key);
  bool quoted = *p == '"';
  if (quoted) p++;
  if (strncmp(p, key, n) != 0) return NULL;
  p += n;
  if (quoted && *p++ != '"') return NULL;
  p = lc_cli_toml_skip_blank(p);
  return *p == '=' ? lc_cli_toml_skip_blank(p + 1) : NULL;
}

static void put_code_point(struct lc_buf *out, unsigned long c) {
  if (c < 0x80) {
    lc_buf_u8(out, (uint8_t)c);
  } else if (c < 0x800) {
    lc_buf_u8(out, (uint8_t)(0xc0 | c >> 6));
    lc_buf_u8(out, (uint8_t)(0x80 | (c & 0x3f)));
  } else {
    if (c >= 0x10000) {
      lc_buf_u8(out, (uint8_t)(0xf0 | c >> 18));
      lc_buf_u8(out, (uint8_t)(0x80 | (c >> 12 & 0x3f)));
    } else {
      lc_buf_u8(out, (uint8_t)(0xe0 | c >> 12));
    }
    lc_buf_u8(out, (uint8_t)(0x80 | (c >> 6 & 0x3f)));
    lc_buf_u8(out, (uint8_t)(0x80 | (c & 0x3f)));
  }
}

/* A TOML string or bare value as text. */
char *lc_cli_toml_text(const char *p) {
  struct lc_buf out = {0};
  char quote = *p;
  if (quote != '"' && quote != '\'') {
    size_t n = strcspn(p, "#\r\n");
    while (n && (p[n - 1] == ' ' || p[n - 1] == '\t')) n--;
    lc_buf_append(&out, p, n);
    return lc_cli_text(&out);
  }
  bool triple = p[1] == quote && p[2] == quote;
  p += triple ? 3 : 1;
  if (triple && *p == '\r') p++;
  if (triple && *p == '\n') p++; /* a line end right after the opening is not part of the value */
  while (*p) {
    if (triple ? p[0] == quote && p[1] == quote && p[2] == quote : *p == quote) break;
    if (*p != '\\' || quote == '\'') {
      lc_buf_u8(&out, (uint8_t)*p++);
      continue;
    }
    static const char from[] = "btnfr\"\\e", to[] = "\b\t\n\f\r\"\\\x1b";
    char c = *++p;
    if (!c) break;
    const char *at = strchr(from, c);
    p++;
    if (at) {
      lc_buf_u8(&out, (uint8_t)to[at - from]);
    } else if (c == 'u' || c == 'U') {
      char digits[9] = {0};
      size_t n = c == 'u' ? 4 : 8;
      for (size_t i = 0; i < n && *p; i++) digits[i] = *p++;
      put_code_point(&out, strtoul(digits, NULL, 16) & 0x1fffff);
    } else { /* a backslash before a line end: that and the blanks after it vanish */
      while (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r') p++;
    }
  }
  return lc_cli_text(&out);
}

/* ---- a whole file ---- */

static bool is_bare(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_'; }

/* Past blanks and comments; `lines`: line ends and commas too. */
static const char *skip_gap(const char *p, bool lines) {
  for (;; p++) {
    if (*p == '#') p += strcspn(p, "\n");
    if (*p != ' ' && *p != '\t' && *p != '\r' && !(lines && (*p == '\n' || *p == ','))) return p;
  }
}

/* Reads the value at p: its end, its kind, and its text (to be freed; elements of a list with commas between). NULL: it is none of those known here. */
static const char *read_value(const char *p, enum lc_cli_toml_kind *kind, char **text) {
  const char *start = p;
  *text = NULL;
  if (*p == '"' || *p == '\'') {
    bool triple = p[1] == *start && p[2] == *start;
    *kind = LC_CLI_TOML_TEXT;
    for (p += triple ? 3 : 1; *p && (triple || *p != '\n') && !(*p == *start && (!triple || (p[1] == *start && p[2] == *start))); p++)
      if (*p == '\\' && *start == '"' && p[1]) p++;
    if (*p != *start) return NULL;
    *text = lc_cli_toml_text(start);
    return p + (triple ? 3 : 1);
  }
  if (*p == '[') {
    struct lc_buf all = {0};
    for (p = skip_gap(p + 1, true); *p && *p != ']'; p = skip_gap(p, true)) {
      char *item;
      enum lc_cli_toml_kind item_kind;
      p = *p == '[' ? NULL : read_value(p, &item_kind, &item);
      if (!p) break;
      if (all.len) lc_buf_u8(&all, ',');
      lc_buf_str(&all, item);
      lc_free(item);
    }
    *kind = LC_CLI_TOML_LIST;
    *text = lc_cli_text(&all);
    if (p && *p == ']') return p + 1;
    lc_free(*text);
    *text = NULL;
    return NULL;
  }
  size_t n = strcspn(p, " \t\r\n#,]");
  if ((n == 4 && strncmp(p, "true", 4) == 0) || (n == 5 && strncmp(p, "false", 5) == 0)) *kind = LC_CLI_TOML_BOOL;
  else if (n && strspn(p, "0123456789") == n) *kind = LC_CLI_TOML_NUMBER;
  else if (n && strspn(p, "0123456789_.") >= n && *p >= '0' && *p <= '9' && p[n - 1] >= '0' && p[n - 1] <= '9') *kind = memchr(p, '.', n) ? LC_CLI_TOML_FRACTION : LC_CLI_TOML_NUMBER;
  else return NULL;
  struct lc_buf plain = {0};
  for (size_t i = 0; i < n; i++)
    if (p[i] != '_') lc_buf_u8(&plain, (uint8_t)p[i]);
  *text = lc_cli_text(&plain);
  return p + n;
}

/* The name at p, between blanks, bare or in quotes; NULL: none. Its end is *end. */
static char *read_name(const char *p, const char **end) {
  enum lc_cli_toml_kind kind;
  char *text;
  p = skip_gap(p, false);
  if (*p == '"' || *p == '\'') {
    const char *e = read_value(p, &kind, &text);
    if (e) *end = skip_gap(e, false);
    return e ? text : NULL;
  }
  size_t n = 0;
  while (is_bare(p[n])) n++;
  if (!n) return NULL;
  *end = skip_gap(p + n, false);
  text = lc_strdup_n(p, n);
  if (!text) lc_cli_out_of_memory();
  return text;
}

bool lc_cli_toml_each(const char *text, bool (*fn)(void *ctx, const struct lc_cli_toml_entry *entry, struct lc_error *err), void *ctx, struct lc_error *err) {
  struct lc_cli_toml_entry e = {.section = ""};
  char *section = NULL, *key = NULL, *value = NULL;
  bool ok = true;
  unsigned line = 1;
  for (const char *p = text, *at; ok && *(p = skip_gap(p, false));) {
    e.line = line;
    at = p;
    if (*p == '\n') {
      p++;
    } else if (*p == '[') {
      lc_free(section);
      section = read_name(p + 1, &p);
      ok = section && *p == ']' ? (p = skip_gap(p + 1, false), !*p || *p == '\n') : false;
      if (!ok) lc_fail(err, LC_INVALID, "line %u: `[section]` is expected", line);
      e.section = section ? section : "";
    } else {
      key = read_name(p, &p);
      const char *end = key && *p == '=' ? read_value(skip_gap(p + 1, false), &e.kind, &value) : NULL;
      e.key = key;
      e.value = value;
      if (!key || *p != '=') ok = lc_fail(err, LC_INVALID, "line %u: `key = value` is expected", line) == LC_OK;
      else if (!end || ((end = skip_gap(end, false)), *end && *end != '\n')) ok = lc_fail(err, LC_INVALID, "line %u: %s: a string, a number, true, false or a list of them is expected", line, key) == LC_OK;
      else if (!fn(ctx, &e, err)) ok = lc_fail_context(err, "line %u", line) == LC_OK;
      p = end ? end : p;
      lc_free(key);
      lc_free(value);
      key = value = NULL;
    }
    for (; ok && at < p; at++) line += *at == '\n';
  }
  lc_free(section);
  return ok;
}
