/* The lexer: identifiers keep their case, keywords do not matter here, strings and quoted names lose their doubled quotes (spec/05 §2). */
#include "lexer.h"
#include <ctype.h>
#include <strings.h>

static uint8_t peek(const struct lexer *l, size_t ahead) { return l->at + ahead < l->sql.len ? l->sql.data[l->at + ahead] : 0; }

static bool skip_blanks(struct lexer *l) { /* false: a comment does not end */
  for (;;) {
    while (l->at < l->sql.len && isspace(l->sql.data[l->at])) l->at++;
    if (peek(l, 0) == '-' && peek(l, 1) == '-') {
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

static void position(const struct lexer *l, size_t at, unsigned *line, unsigned *column) {
  *line = *column = 1;
  for (size_t i = 0; i < at; i++) {
    if (l->sql.data[i] == '\n') ++*line, *column = 1;
    else if ((l->sql.data[i] & 0xc0) != 0x80) ++*column;
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

enum lc_status lexer_next(struct lexer *l, struct token *out, struct lc_error *err) {
  unsigned line, column;
  if (!skip_blanks(l)) return lc_fail(err, LC_INVALID, "sql parser error: Unexpected EOF while in a multi-line comment");
  size_t start = out->at = l->at;
  uint8_t c = peek(l, 0);
  out->text = lc_slice(NULL, 0);
  position(l, start, &line, &column);
  if (l->at >= l->sql.len) {
    out->kind = TOKEN_END;
    return LC_OK;
  }
  if (c == '\'') {
    out->kind = TOKEN_STRING;
    return quoted(l, '\'', &out->text) ? LC_OK : lc_fail(err, LC_INVALID, "sql parser error: Unterminated string literal at Line: %u, Column %u", line, column);
  }
  if (c == '"') {
    out->kind = TOKEN_QUOTED;
    return quoted(l, '"', &out->text) ? LC_OK : lc_fail(err, LC_INVALID, "sql parser error: Expected close delimiter '\"' before EOF. at Line: %u, Column %u", line, column);
  }
  if ((c == 'x' || c == 'X') && peek(l, 1) == '\'') {
    l->at++;
    out->kind = TOKEN_HEX;
    return quoted(l, '\'', &out->text) ? LC_OK : lc_fail(err, LC_INVALID, "sql parser error: Unterminated string literal at Line: %u, Column %u", line, column);
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
  if (c == ':') {
    l->at++;
    if (!skip_blanks(l)) return lc_fail(err, LC_INVALID, "sql parser error: Unexpected EOF while in a multi-line comment");
    size_t word = l->at;
    while (word_part(peek(l, 0))) l->at++;
    struct lc_slice name = lc_slice(l->sql.data + word, l->at - word);
    if (!lc_slice_eq_str(name, "sender")) return lc_fail(err, LC_INVALID, "Unsupported literal expression: :%.*s", (int)name.len, (const char *)name.data);
    out->kind = TOKEN_SENDER;
    return LC_OK;
  }
  static const char *const pairs[] = {"<>", "!=", "<=", ">=", "=="};
  out->kind = TOKEN_SYMBOL;
  l->at++;
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
    if (c == (uint8_t)pairs[i][0] && peek(l, 0) == (uint8_t)pairs[i][1]) {
      l->at++;
      break;
    }
  out->text = lc_slice(l->sql.data + start, l->at - start);
  return LC_OK;
}

bool token_is_word(const struct token *t, const char *keyword) {
  return t->kind == TOKEN_WORD && t->text.len == strlen(keyword) && strncasecmp((const char *)t->text.data, keyword, t->text.len) == 0;
}
bool token_is_symbol(const struct token *t, const char *symbol) { return t->kind == TOKEN_SYMBOL && lc_slice_eq_str(t->text, symbol); }
