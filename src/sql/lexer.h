/* Tokens of SQL text (spec/05 §2). Inside of sql/ only. */
#ifndef LC_SQL_LEXER_H
#define LC_SQL_LEXER_H
#include "sql.h"
/* TOKEN_OTHER_LITERAL: placeholders and strings with a prefix, which no place accepts; text is as to be shown. */
enum token_kind { TOKEN_END, TOKEN_WORD, TOKEN_QUOTED, TOKEN_STRING, TOKEN_NUMBER, TOKEN_HEX, TOKEN_SENDER, TOKEN_OTHER_LITERAL, TOKEN_SYMBOL };
struct token { enum token_kind kind; struct lc_slice text; /* word, unescaped contents, or symbol */ size_t at, end; /* in the text */ };
/* All tokens of a text; the last is TOKEN_END. LC_INVALID with the text of spec/05 §2 for what is no token. */
enum lc_status lexer_run(struct lc_arena *arena, struct lc_slice sql, struct token **tokens, uint32_t *n, struct lc_error *err);
/* Line and column, counted in characters from 1, of a place in the text. */
void lexer_position(struct lc_slice sql, size_t at, unsigned *line, unsigned *column);
/* Unquoted, any case; keyword in small letters. */
static inline bool token_is_word(const struct token *t, const char *keyword) {
  return t->kind == TOKEN_WORD && t->text.len && (t->text.data[0] | 32) == *keyword && t->text.len == strlen(keyword) && strncasecmp((const char *)t->text.data, keyword, t->text.len) == 0;
}
static inline bool token_is_symbol(const struct token *t, const char *symbol) { return t->kind == TOKEN_SYMBOL && t->text.len && t->text.data[0] == (uint8_t)*symbol && lc_slice_eq_str(t->text, symbol); }
#endif
