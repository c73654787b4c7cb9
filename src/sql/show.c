/* Owns: the normalised form of a piece of SQL: what the reference's parser would print of its tree, made from the tokens (spec/05 §4). */
#include "show.h"
#include <ctype.h>

static const char *const keywords[] = {"SELECT", "FROM", "WHERE", "AND", "OR", "NOT", "IN", "IS", "NULL", "LIKE", "ILIKE", "BETWEEN", "LIMIT", "OFFSET", "ORDER", "BY", "GROUP", "HAVING", "JOIN", "INNER", "LEFT",
  "RIGHT", "FULL", "OUTER", "CROSS", "NATURAL", "ON", "USING", "AS", "DISTINCT", "ALL", "UNION", "EXCEPT", "INTERSECT", "ASC", "DESC", "INSERT", "INTO", "VALUES", "UPDATE", "SET", "DELETE", "CASE", "WHEN", "THEN",
  "ELSE", "END", "CAST", "EXISTS", "WITH", "FETCH", "FIRST", "NEXT", "ROWS", "ONLY", "RETURNING", "LOCAL", "SESSION", "CREATE", "DROP", "ALTER", "TABLE", "DEFAULT", "INTERVAL", "EXPLAIN"};

static const char *keyword(const struct token *t) {
  for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
    if (token_is_word(t, keywords[i])) return keywords[i];
  return NULL;
}
static void put_quoted(struct lc_buf *b, struct lc_slice text, uint8_t quote) {
  lc_buf_u8(b, quote);
  for (size_t i = 0; i < text.len; i++) {
    if (text.data[i] == quote) lc_buf_u8(b, quote);
    lc_buf_u8(b, text.data[i]);
  }
  lc_buf_u8(b, quote);
}
static void put_token(struct lc_buf *b, const struct token *t) {
  const char *k = keyword(t);
  switch (t->kind) {
  case TOKEN_STRING: put_quoted(b, t->text, '\''); break;
  case TOKEN_QUOTED: put_quoted(b, t->text, '"'); break;
  case TOKEN_SENDER: lc_buf_str(b, ":sender"); break;
  case TOKEN_HEX:
    lc_buf_str(b, "X");
    put_quoted(b, t->text, '\'');
    break;
  default:
    if (k) lc_buf_str(b, k);
    else if (token_is_word(t, "true")) lc_buf_str(b, "true");
    else if (token_is_word(t, "false")) lc_buf_str(b, "false");
    else if (token_is_symbol(t, "!=")) lc_buf_str(b, "<>");
    else lc_buf_slice_append(b, t->text);
  }
}
/* Is a blank between two tokens? */
static bool apart(const struct token *before, const struct token *t, bool before_is_sign) {
  if (before_is_sign || token_is_symbol(before, "(") || token_is_symbol(before, ".") || token_is_symbol(before, "::")) return false;
  if (token_is_symbol(t, ")") || token_is_symbol(t, ",") || token_is_symbol(t, ".") || token_is_symbol(t, ";") || token_is_symbol(t, "::")) return false;
  if (token_is_symbol(t, "(")) return !((before->kind == TOKEN_WORD && (!keyword(before) || token_is_word(before, "cast"))) || before->kind == TOKEN_QUOTED);
  return true;
}

struct lc_slice show_tokens(struct lc_arena *arena, const struct token *tokens, uint32_t n) {
  struct lc_buf b = {0};
  bool sign = false;
  for (uint32_t i = 0; i < n; i++) {
    if (i && apart(&tokens[i - 1], &tokens[i], sign)) lc_buf_u8(&b, ' ');
    put_token(&b, &tokens[i]);
    bool operand_before = i && (tokens[i - 1].kind != TOKEN_SYMBOL || token_is_symbol(&tokens[i - 1], ")")) && !keyword(&tokens[i - 1]);
    sign = (token_is_symbol(&tokens[i], "-") || token_is_symbol(&tokens[i], "+")) && !operand_before;
  }
  struct lc_slice out = lc_arena_take(arena, &b);
  return out.data ? out : lc_slice("", 0);
}
