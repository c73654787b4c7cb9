/* The lexer: identifiers keep their case, keywords do not matter here, strings and quoted names lose their doubled quotes (spec/05 §2). */
#include "lexer.h"
#include <ctype.h>
#include <strings.h>

struct lexer { struct lc_slice sql; size_t at; struct lc_arena *arena; };

static uint8_t peek(const struct lexer *l, size_t ahead) { return l->at + ahead < l->sql.len ? l->sql.data[l->at + ahead] : 0; }

/* Length of a Unicode white space character beyond ASCII at `at`; 0: none. */
static size_t wide_blank(const struct lexer *l) {
  uint8_t a = peek(l, 0), b = peek(l, 1), c = peek(l, 2);
  if (a == 0xc2 && (b == 0x85 || b == 0xa0)) return 2;
  if (a == 0xe1 && b == 0x9a && c == 0x80) return 3;
  if (a == 0xe2 && b == 0x80 && ((c >= 0x80 && c <= 0x8a) || c == 0xa8 || c == 0xa9 || c == 0xaf)) return 3;
  if (a == 0xe2 && b == 0x81 && c == 0x9f) return 3;
  return a == 0xe3 && b == 0x80 && c == 0x80 ? 3 : 0;
}
static bool skip_blanks(struct lexer *l) { /* false: a comment does not end */
  for (;;) {
    size_t wide;
    if (l->at < l->sql.len && isspace(l->sql.data[l->at])) {
      l->at++;
    } else if ((wide = wide_blank(l))) {
      l->at += wide;
    } else if (peek(l, 0) == '-' && peek(l, 1) == '-') {
      while (l->at < l->sql.len && l->sql.data[l->at] != '\n') l->at++;
    } else if (peek(l, 0) == '/' && peek(l, 1) == '*') {
      unsigned depth = 0;
      do {
        if (l->at >= l->sql.len) return false;
        if (peek(l, 0) == '/' && peek(l, 1) == '*') depth++, l->at += 2;
        else if (peek(l, 0) == '*' && peek(l, 1) == '/') depth--, l->at += 2;
        else l->at++;
      } while (depth);
    } else {
      return true;
    }
  }
}

void lexer_position(struct lc_slice sql, size_t at, unsigned *line, unsigned *column) {
  *line = *column = 1;
  for (size_t i = 0; i < at; i++) {
    if (sql.data[i] == '\n') ++*line, *column = 1;
    else if ((sql.data[i] & 0xc0) != 0x80) ++*column;
  }
}

static bool word_start(uint8_t c) { return isalpha(c) || c == '_' || c >= 0x80; }
static bool word_part(uint8_t c) { return word_start(c) || isdigit(c) || c == '$'; }

/* Contents between quotes, doubled quotes made single. false: no end. */
static bool quoted(struct lexer *l, uint8_t quote, struct lc_slice *text) {
  size_t start = ++l->at, n = 0;
  uint8_t *copy = lc_arena_alloc(l->arena, l->sql.len - start + 1);
  for (; copy && l->at < l->sql.len; l->at++) {
    if (l->sql.data[l->at] == quote) {
      if (peek(l, 1) != quote) {
        l->at++;
        *text = lc_slice(copy, n);
        return true;
      }
      l->at++;
    }
    copy[n++] = l->sql.data[l->at];
  }
  return false;
}

static enum lc_status next(struct lexer *l, struct token *out, struct lc_error *err) {
  unsigned line, column;
  if (!skip_blanks(l)) return lc_fail(err, LC_INVALID, "sql parser error: Unexpected EOF while in a multi-line comment");
  size_t start = out->at = out->end = l->at;
  uint8_t c = peek(l, 0);
  out->text = lc_slice(NULL, 0);
  if (l->at >= l->sql.len) {
    out->kind = TOKEN_END;
    return LC_OK;
  }
  if (c == '"') {
    lexer_position(l->sql, start, &line, &column);
    out->kind = TOKEN_QUOTED;
    return quoted(l, '"', &out->text) ? LC_OK : lc_fail(err, LC_INVALID, "sql parser error: Expected close delimiter '\"' before EOF. at Line: %u, Column %u", line, column);
  }
  bool is_hex = c == 'x' || c == 'X', prefixed = c == 'e' || c == 'E' || c == 'n' || c == 'N';
  if (c == '\'' || ((is_hex || prefixed) && peek(l, 1) == '\'')) {
    lexer_position(l->sql, start, &line, &column);
    if (c != '\'') l->at++;
    out->kind = is_hex ? TOKEN_HEX : prefixed ? TOKEN_OTHER_LITERAL : TOKEN_STRING;
    if (!quoted(l, '\'', &out->text)) return lc_fail(err, LC_INVALID, "sql parser error: Unterminated string literal at Line: %u, Column %u", line, column);
    if (prefixed) out->text = lc_slice(l->sql.data + start, l->at - start);
    return LC_OK;
  }
  if (c == '0' && peek(l, 1) == 'x') {
    l->at += 2;
    while (isxdigit(peek(l, 0))) l->at++;
    out->kind = TOKEN_HEX;
    out->text = lc_slice(l->sql.data + start + 2, l->at - start - 2);
    return LC_OK;
  }
  if (isdigit(c) || (c == '.' && isdigit(peek(l, 1)))) {
    while (isdigit(peek(l, 0))) l->at++;
    if (peek(l, 0) == '.') l->at++;
    while (isdigit(peek(l, 0))) l->at++;
    size_t sign = peek(l, 1) == '+' || peek(l, 1) == '-' ? 2 : 1;
    if ((peek(l, 0) == 'e' || peek(l, 0) == 'E') && isdigit(peek(l, sign)))
      for (l->at += sign; isdigit(peek(l, 0));) l->at++;
    out->kind = TOKEN_NUMBER;
    out->text = lc_slice(l->sql.data + start, l->at - start);
    if (peek(l, 0) == 'L') l->at++;
    return LC_OK;
  }
  if (word_start(c)) {
    while (word_part(peek(l, 0))) l->at++;
    out->kind = TOKEN_WORD;
    out->text = lc_slice(l->sql.data + start, l->at - start);
    return LC_OK;
  }
  if (c == '?' || (c == '$' && isdigit(peek(l, 1)))) {
    for (l->at++; isdigit(peek(l, 0));) l->at++;
    out->kind = TOKEN_OTHER_LITERAL;
    out->text = lc_slice(l->sql.data + start, l->at - start);
    return LC_OK;
  }
  if (c == ':' && peek(l, 1) != ':') {
    l->at++;
    if (!skip_blanks(l)) return lc_fail(err, LC_INVALID, "sql parser error: Unexpected EOF while in a multi-line comment");
    size_t word = l->at;
    while (word_part(peek(l, 0))) l->at++;
    struct lc_slice name = lc_slice(l->sql.data + word, l->at - word);
    out->kind = lc_slice_eq_str(name, "sender") ? TOKEN_SENDER : TOKEN_OTHER_LITERAL;
    struct lc_buf shown = {0};
    lc_buf_u8(&shown, ':');
    lc_buf_slice_append(&shown, name);
    out->text = lc_arena_take(l->arena, &shown);
    return LC_OK;
  }
  static const char *const longer[] = {"<=>", "<>", "!=", "<=", ">=", "==", "=>", "||", "::", "->", "<<", ">>", "!~", "~*"};
  out->kind = TOKEN_SYMBOL;
  size_t len = 1;
  for (size_t i = 0; i < sizeof longer / sizeof *longer && len == 1; i++) {
    size_t n = strlen(longer[i]);
    if (l->sql.len - l->at >= n && memcmp(l->sql.data + l->at, longer[i], n) == 0) len = n;
  }
  l->at += len;
  out->text = lc_slice(l->sql.data + start, len);
  return LC_OK;
}

enum lc_status lexer_run(struct lc_arena *arena, struct lc_slice sql, struct token **tokens, uint32_t *n, struct lc_error *err) {
  struct lexer l = {.sql = sql, .arena = arena};
  uint32_t cap = 0;
  struct token *list = NULL;
  *n = 0;
  for (;;) {
    if (*n == cap) {
      uint32_t more = cap ? cap * 2 : 64;
      struct token *longer = lc_arena_alloc(arena, more * sizeof *longer);
      if (!longer) return lc_fail(err, LC_NOMEM, "out of memory");
      if (*n) memcpy(longer, list, *n * sizeof *list);
      list = longer;
      cap = more;
    }
    struct token *t = &list[*n];
    enum lc_status st = next(&l, t, err);
    if (st != LC_OK) return st;
    t->end = l.at;
    ++*n;
    if (t->kind == TOKEN_END) break;
  }
  *tokens = list;
  return LC_OK;
}
