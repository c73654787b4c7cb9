/* Pieces of a statement as messages show them (spec/05 §4). Inside of sql/ only. */
#ifndef LC_SQL_SHOW_H
#define LC_SQL_SHOW_H
#include "lexer.h"
/* Keywords in upper case, single blanks, hex as X'..'; in the arena. */
struct lc_slice show_tokens(struct lc_arena *arena, const struct token *tokens, uint32_t n);
#endif
