/* Owns: the normalised form of a piece of SQL: what the reference's parser would print of its tree, made from the tokens (spec/05 §4). */
#include "show.h"
#include <strings.h>

#define K(text) {text, sizeof text - 1}
static const struct { const char *text; size_t len; } keywords[] = {K("SELECT"), K("FROM"), K("WHERE"), K("AND"), K("OR"), K("NOT"), K("IN"), K("IS"), K("NULL"), K("LIKE"), K("ILIKE"), K("BETWEEN"), K("LIMIT"), K("OFFSET"), K("ORDER"), K("BY"), K("GROUP"),
  K("HAVING"), K("JOIN"), K("INNER"), K("LEFT"), K("RIGHT"), K("FULL"), K("OUTER"), K("CROSS"), K("NATURAL"), K("ON"), K("USING"), K("AS"), K("DISTINCT"), K("ALL"), K("UNION"), K("EXCEPT"),
  K("INTERSECT"), K("ASC"), K("DESC"), K("INSERT"), K("INTO"), K("VALUES"), K("UPDATE"), K("SET"), K("DELETE"), K("CASE"), K("WHEN"), K("THEN"), K("ELSE"), K("END"), K("CAST"), K("EXISTS"),
  K("WITH"), K("FETCH"), K("FIRST"), K("NEXT"), K("ROWS"), K("ONLY"), K("RETURNING"), K("LOCAL"), K("SESSION"), K("CREATE"), K("DROP"), K("ALTER"), K("TABLE"), K("DEFAULT"), K("INTERVAL"),
  K("EXPLAIN")};
#undef K

static const char *keyword(const struct token *t) {
  if (t->kind != TOKEN_WORD || !t->text.len) return NULL;
  for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++) /* most differ in length or in the first letter */
    if (keywords[i].len == t->text.len && (keywords[i].text[0] | 32) == (t->text.data[0] | 32) && strncasecmp((const char *)t->text.data, keywords[i].text, t->text.len) == 0) return keywords[i].text;
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
static void put_token(struct lc_buf *b, const struct token *t, const char *k) {
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
static bool apart(const struct token *before, const char *keyword_before, const struct token *t, bool before_is_sign) {
  if (before_is_sign || token_is_symbol(before, "(") || token_is_symbol(before, ".") || token_is_symbol(before, "::")) return false;
  if (token_is_symbol(t, ")") || token_is_symbol(t, ",") || token_is_symbol(t, ".") || token_is_symbol(t, ";") || token_is_symbol(t, "::")) return false;
  if (token_is_symbol(t, "(")) return !((before->kind == TOKEN_WORD && (!keyword_before || token_is_word(before, "cast"))) || before->kind == TOKEN_QUOTED);
  return true;
}

struct lc_slice show_tokens(struct lc_arena *arena, const struct token *tokens, uint32_t n) {
  struct lc_buf b = {0};
  bool sign = false;
  const char *before = NULL; /* keyword that the token before is */
  for (uint32_t i = 0; i < n; i++) {
    const char *k = keyword(&tokens[i]);
    if (i && apart(&tokens[i - 1], before, &tokens[i], sign)) lc_buf_u8(&b, ' ');
    put_token(&b, &tokens[i], k);
    bool operand_before = i && (tokens[i - 1].kind != TOKEN_SYMBOL || token_is_symbol(&tokens[i - 1], ")")) && !before;
    before = k;
    sign = (token_is_symbol(&tokens[i], "-") || token_is_symbol(&tokens[i], "+")) && !operand_before;
  }
  struct lc_slice out = lc_arena_take(arena, &b);
  return out.data ? out : lc_slice("", 0);
}
