/* Tokens of SQL text (spec/05 §2). Inside of sql/ only. */
#ifndef LC_SQL_LEXER_H
#define LC_SQL_LEXER_H
#include "sql.h"
enum token_kind { TOKEN_END, TOKEN_WORD, TOKEN_QUOTED, TOKEN_STRING, TOKEN_NUMBER, TOKEN_HEX, TOKEN_SENDER, TOKEN_SYMBOL };
struct token { enum token_kind kind; struct lc_slice text; /* word, unescaped contents, or symbol */ size_t at; };
struct lexer { struct lc_slice sql; size_t at; struct lc_arena *arena; };
/* Next token; LC_INVALID with the text of spec/05 §2 for what is no token. */
enum lc_status lexer_next(struct lexer *l, struct token *out, struct lc_error *err);
bool token_is_word(const struct token *t, const char *keyword); /* unquoted, any case */
bool token_is_symbol(const struct token *t, const char *symbol);
#endif
