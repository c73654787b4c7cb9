/* The parser: tokens to a tree (spec/05 §2-§4, spec/07 §5.1). It reads the larger grammar that the reference's parser knows, so that what the language
 * leaves out gets the documented message; such pieces become nodes and fields that hold it (unsupported.c says in which order they are reported).
 *
 * Invariants: recursion is limited by the depth of parentheses and prefixes; chains of operators are built in loops. Callers: check.c, tests.
 */
#include "ast.h"
#include "show.h"
#include <stdio.h>

enum { MAX_DEPTH = 47 }; /* nested parentheses of a WHERE (spec/05 §2) */
struct parser { struct lc_arena *arena; struct lc_slice sql; struct token *tokens; uint32_t at; struct lc_error *err; unsigned depth; };
#define T(s) (int)(s).len, (const char *)(s).data

static const struct token *here(const struct parser *p) { return &p->tokens[p->at]; }
static const struct token *ahead(const struct parser *p, uint32_t n) {
  uint32_t at = p->at;
  while (n-- && p->tokens[at].kind != TOKEN_END) at++;
  return &p->tokens[at];
}
static void step(struct parser *p) {
  if (here(p)->kind != TOKEN_END) p->at++;
}
static bool word(const struct parser *p, const char *keyword) { return token_is_word(here(p), keyword); }
static bool symbol(const struct parser *p, const char *s) { return token_is_symbol(here(p), s); }
static bool accept_word(struct parser *p, const char *keyword) { return word(p, keyword) && (step(p), true); }
static bool accept_symbol(struct parser *p, const char *s) { return symbol(p, s) && (step(p), true); }

static bool expected(struct parser *p, const char *what) {
  const struct token *t = here(p);
  unsigned line, column;
  if (t->kind == TOKEN_END) {
    lc_fail(p->err, LC_INVALID, "sql parser error: Expected %s, found: EOF", what);
    return false;
  }
  lexer_position(p->sql, t->at, &line, &column);
  lc_fail(p->err, LC_INVALID, "sql parser error: Expected %s, found: %.*s at Line: %u, Column %u", what, (int)(t->end - t->at), (const char *)p->sql.data + t->at, line, column);
  return false;
}
static bool no_memory(struct parser *p) {
  lc_fail(p->err, LC_NOMEM, "out of memory");
  return false;
}
static void *take(struct parser *p, size_t count, size_t size) {
  void *m = lc_arena_alloc_zero(p->arena, count ? count : 1, size);
  if (!m) no_memory(p);
  return m;
}
/* Normalised text of the tokens [from, to). */
static struct lc_slice shown(struct parser *p, uint32_t from, uint32_t to) { return show_tokens(p->arena, p->tokens + from, to - from); }
static const char *message(struct parser *p, const char *before, struct lc_slice piece) {
  struct lc_buf b = {0};
  lc_buf_printf(&b, "%s%.*s", before, T(piece));
  const char *text = (const char *)lc_arena_take(p->arena, &b).data;
  return text ? text : "out of memory";
}

static bool is_name(const struct token *t) { return t->kind == TOKEN_WORD || t->kind == TOKEN_QUOTED; }
static bool in_list(const struct token *t, const char *const *list) {
  for (; *list; list++)
    if (token_is_word(t, *list)) return true;
  return false;
}

/* Words that cannot be an alias without AS (spec/05 §2). */
static const char *const not_a_table_alias[] = {"with", "explain", "analyze", "select", "where", "group", "sort", "having", "order", "pivot", "top", "lateral", "view", "limit", "offset", "fetch",
  "union", "except", "intersect", "on", "join", "inner", "cross", "full", "left", "right", "natural", "using", "cluster", "distribute", "outer", "set", "qualify", "window", "end", "partition", NULL};
static const char *const not_a_column_alias[] = {"with", "explain", "analyze", "select", "where", "group", "sort", "having", "order", "top", "lateral", "view", "limit", "offset", "fetch", "union",
  "except", "intersect", "cluster", "distribute", "from", "into", "end", NULL};

/* a or a.b.c: *last is the last part, *rest what stands before it joined by dots (empty: nothing). Leaves `.*` alone. */
static bool name(struct parser *p, struct lc_slice *rest, struct lc_slice *last) {
  struct lc_buf joined = {0};
  *rest = lc_slice(NULL, 0);
  if (!is_name(here(p))) return expected(p, "identifier");
  *last = here(p)->text;
  step(p);
  while (symbol(p, ".") && is_name(ahead(p, 1))) {
    step(p);
    if (joined.len) lc_buf_u8(&joined, '.');
    lc_buf_slice_append(&joined, *last);
    *last = here(p)->text;
    step(p);
  }
  if (joined.len || joined.failed) *rest = lc_arena_take(p->arena, &joined);
  return !p->arena->failed || no_memory(p);
}
static struct lc_slice join_name(struct parser *p, struct lc_slice rest, struct lc_slice last) {
  if (!rest.len) return last;
  struct lc_buf b = {0};
  lc_buf_printf(&b, "%.*s.%.*s", T(rest), T(last));
  return lc_arena_take(p->arena, &b);
}

/* ---- expressions ---- */

static struct ast_expr *expression(struct parser *p, unsigned precedence);
static struct ast_expr *node(struct parser *p, enum ast_kind kind) {
  struct ast_expr *e = take(p, 1, sizeof *e);
  if (e) e->kind = kind;
  return e;
}
static struct ast_expr *other(struct parser *p, const char *before, uint32_t from) {
  struct ast_expr *e = node(p, X_OTHER);
  if (!e) return NULL;
  e->shown = shown(p, from, p->at);
  e->error = message(p, before, e->shown);
  return e;
}
/* Steps over a group in parentheses, whatever is in it. */
static bool skip_group(struct parser *p) {
  unsigned open = 0;
  do {
    if (here(p)->kind == TOKEN_END) return expected(p, ")");
    if (symbol(p, "(")) open++;
    if (symbol(p, ")")) open--;
    step(p);
  } while (open);
  return true;
}

/* Words that begin a construct of their own when they stand alone (spec/05 §2). */
static const char *const calls[] = {"cast", "try_cast", "safe_cast", "exists", "extract", "ceil", "floor", "position", "substring", "overlay", "trim", "listagg", "array_agg", NULL};
static const char *const bare_calls[] = {"current_catalog", "current_user", "session_user", "user", "current_timestamp", "current_time", "current_date", "localtime", "localtimestamp", NULL};

static struct ast_expr *prefix(struct parser *p) {
  uint32_t start = p->at;
  const struct token *t = here(p);
  struct ast_expr *e;
  switch (t->kind) {
  case TOKEN_NUMBER:
  case TOKEN_STRING:
  case TOKEN_HEX:
    if (!(e = node(p, t->kind == TOKEN_NUMBER ? X_NUMBER : t->kind == TOKEN_STRING ? X_STRING : X_HEX))) return NULL;
    e->text = t->text;
    step(p);
    return e;
  case TOKEN_SENDER:
    step(p);
    return node(p, X_SENDER);
  case TOKEN_OTHER_LITERAL: step(p); return other(p, "Unsupported literal expression: ", start);
  case TOKEN_END: expected(p, "an expression:"); return NULL;
  default: break;
  }
  if (symbol(p, "(")) {
    step(p);
    if (word(p, "select")) { /* a sub-query */
      p->at = start;
      return skip_group(p) ? other(p, "Unsupported expression: ", start) : NULL;
    }
    if (!(e = expression(p, 0))) return NULL;
    if (symbol(p, ",")) {
      p->at = start;
      return skip_group(p) ? other(p, "Unsupported expression: ", start) : NULL;
    }
    if (!accept_symbol(p, ")")) return expected(p, ")"), NULL;
    return e;
  }
  if (symbol(p, "-") || symbol(p, "+")) {
    bool minus = symbol(p, "-");
    step(p);
    if (here(p)->kind == TOKEN_NUMBER) {
      struct lc_slice digits = here(p)->text;
      if (!(e = node(p, X_NUMBER))) return NULL;
      step(p);
      e->text = digits;
      if (!minus) return e;
      uint8_t *text = lc_arena_alloc(p->arena, digits.len + 1);
      if (!text) return no_memory(p), NULL;
      text[0] = '-';
      memcpy(text + 1, digits.data, digits.len);
      e->text = lc_slice(text, digits.len + 1);
      return e;
    }
    return expression(p, 60) ? other(p, "Unsupported expression: ", start) : NULL;
  }
  if (word(p, "not")) {
    step(p);
    return expression(p, 15) ? other(p, "Unsupported expression: ", start) : NULL;
  }
  if (!is_name(t)) return expected(p, "an expression:"), NULL;
  if (word(p, "true") || word(p, "false")) {
    if (!(e = node(p, X_BOOL))) return NULL;
    e->truth = word(p, "true");
    step(p);
    return e;
  }
  if (word(p, "null")) {
    step(p);
    return other(p, "Unsupported literal expression: ", start);
  }
  if (in_list(t, bare_calls)) {
    step(p);
    if (symbol(p, "(") && !skip_group(p)) return NULL;
    return other(p, "Unsupported expression: ", start);
  }
  if (word(p, "case")) {
    unsigned open = 0;
    do {
      if (here(p)->kind == TOKEN_END) return expected(p, "END"), NULL;
      if (word(p, "case")) open++;
      if (word(p, "end")) open--;
      step(p);
    } while (open);
    return other(p, "Unsupported expression: ", start);
  }
  if (word(p, "interval")) {
    step(p);
    return prefix(p) ? other(p, "Unsupported expression: ", start) : NULL;
  }
  if (in_list(t, calls)) {
    step(p);
    if (!symbol(p, "(")) return expected(p, "("), NULL;
    return skip_group(p) ? other(p, "Unsupported expression: ", start) : NULL;
  }
  struct lc_slice qualifier, last;
  if (!name(p, &qualifier, &last)) return NULL;
  if (symbol(p, "(")) return skip_group(p) ? other(p, "Unsupported expression: ", start) : NULL;
  if (!(e = node(p, X_COLUMN))) return NULL;
  e->qualifier = qualifier;
  e->name = last;
  return e;
}

static unsigned precedence_of(const struct parser *p) {
  static const struct { const char *text; unsigned precedence; } symbols[] = {{"=", 20}, {"==", 20}, {"<>", 20}, {"!=", 20}, {"<", 20}, {"<=", 20}, {">", 20}, {">=", 20}, {"<=>", 20}, {"|", 21}, {"#", 22}, {"^", 22},
    {"<<", 22}, {">>", 22}, {"&", 23}, {"+", 30}, {"-", 30}, {"*", 40}, {"/", 40}, {"%", 40}, {"||", 40}, {"->", 50}, {"~", 20}, {"!~", 20}, {"~*", 20}, {"::", 50}};
  const struct token *t = here(p);
  if (t->kind == TOKEN_SYMBOL)
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++)
      if (token_is_symbol(t, symbols[i].text)) return symbols[i].precedence;
  if (token_is_word(t, "or")) return 5;
  if (token_is_word(t, "and")) return 10;
  if (token_is_word(t, "is")) return 17;
  if (token_is_word(t, "like") || token_is_word(t, "ilike")) return 19;
  if (token_is_word(t, "in") || token_is_word(t, "between")) return 20;
  if (token_is_word(t, "not")) return token_is_word(ahead(p, 1), "in") || token_is_word(ahead(p, 1), "between") ? 20 : token_is_word(ahead(p, 1), "like") || token_is_word(ahead(p, 1), "ilike") ? 19 : 0;
  return 0;
}

static bool comparison(const struct token *t, enum compare_op *op) {
  static const struct { const char *text; enum compare_op op; } ops[] = {{"=", C_EQ}, {"==", C_EQ}, {"<>", C_NE}, {"!=", C_NE}, {"<", C_LT}, {"<=", C_LE}, {">", C_GT}, {">=", C_GE}};
  for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
    if (token_is_symbol(t, ops[i].text)) return *op = ops[i].op, true;
  return false;
}

/* The operator after `left`, whose first token is `start`. */
static struct ast_expr *infix(struct parser *p, struct ast_expr *left, uint32_t start, unsigned precedence) {
  enum compare_op op = C_EQ;
  const struct token *t = here(p);
  if (t->kind == TOKEN_WORD && precedence > 10) { /* IS, IN, BETWEEN, LIKE, with NOT */
    bool in = word(p, "in") || token_is_word(ahead(p, 1), "in"), between = word(p, "between") || token_is_word(ahead(p, 1), "between"), is = word(p, "is");
    if (accept_word(p, "not")) {}
    step(p);
    if (is) {
      accept_word(p, "not");
      if (accept_word(p, "distinct")) {
        if (!accept_word(p, "from")) return expected(p, "FROM"), NULL;
        if (!expression(p, 17)) return NULL;
      } else if (word(p, "null") || word(p, "true") || word(p, "false") || word(p, "unknown")) step(p);
      else return expected(p, "[NOT] NULL or TRUE|FALSE or [NOT] DISTINCT FROM after IS"), NULL;
    } else if (in) {
      if (!symbol(p, "(")) return expected(p, "("), NULL;
      if (!skip_group(p)) return NULL;
    } else if (between) {
      if (!expression(p, 20)) return NULL;
      if (!accept_word(p, "and")) return expected(p, "AND"), NULL;
      if (!expression(p, 20)) return NULL;
    } else if (!expression(p, 19)) return NULL;
    return other(p, "Unsupported expression: ", start);
  }
  enum ast_kind kind = comparison(t, &op) ? X_COMPARE : word(p, "and") ? X_AND : word(p, "or") ? X_OR : X_OTHER;
  struct lc_slice text = t->text;
  step(p);
  if (kind == X_OTHER && lc_slice_eq_str(text, "::")) {
    step(p);
    return other(p, "Unsupported expression: ", start);
  }
  struct ast_expr *right = expression(p, precedence), *e = right ? node(p, kind) : NULL;
  if (!e) return NULL;
  e->left = left;
  e->right = right;
  if (kind == X_COMPARE) e->op = op;
  if (kind == X_OTHER) {
    e->shown = shown(p, start, p->at);
    e->error = message(p, "Unsupported binary operator: ", text);
  }
  return e;
}

static struct ast_expr *expression(struct parser *p, unsigned precedence) {
  uint32_t start = p->at;
  if (p->depth > MAX_DEPTH) return lc_fail(p->err, LC_LIMIT, "sql parser error: recursion limit exceeded"), NULL;
  /* parentheses and prefixes nest; the right side of an operator does not add to what they may */
  bool nests = precedence == 0 || precedence == 15 || precedence == 60;
  p->depth += nests;
  struct ast_expr *e = prefix(p);
  for (unsigned next; e && (next = precedence_of(p)) > precedence;) e = infix(p, e, start, next);
  p->depth -= nests;
  return e;
}
static struct ast_expr *top_expression(struct parser *p) {
  p->depth = 0;
  return expression(p, 0);
}

/* ---- tables ---- */

static bool table(struct parser *p, struct ast_table *t, bool with_alias) {
  uint32_t start = p->at;
  struct lc_slice rest, last;
  *t = (struct ast_table){0};
  if (symbol(p, "(") || word(p, "lateral") || word(p, "unnest") || (word(p, "table") && token_is_symbol(ahead(p, 1), "("))) {
    while (!symbol(p, "(")) step(p);
    if (!skip_group(p)) return false;
    if (accept_word(p, "as")) step(p);
    else if (is_name(here(p)) && !in_list(here(p), not_a_table_alias)) step(p);
    t->error = message(p, "Unsupported FROM expression: ", shown(p, start, p->at));
    return true;
  }
  if (!name(p, &rest, &last)) return false;
  t->name = t->scope = join_name(p, rest, last);
  if (symbol(p, "(")) { /* a call of a view */
    t->has_arguments = true;
    step(p);
    uint32_t cap = 0;
    while (!symbol(p, ")")) {
      uint32_t from = p->at;
      if (t->n_arguments && !accept_symbol(p, ",")) return expected(p, ")");
      if (t->n_arguments) from = p->at;
      struct ast_expr *e;
      if (symbol(p, "*") || (is_name(here(p)) && token_is_symbol(ahead(p, 1), "=>"))) {
        bool star = symbol(p, "*");
        step(p);
        if (!star) {
          step(p);
          if (!top_expression(p)) return false;
        }
        if (!(e = node(p, X_OTHER))) return false;
        struct lc_buf b = {0};
        lc_buf_printf(&b, "Unsupported view argument: %.*s. View arguments must be positional literals", T(shown(p, from, p->at)));
        if (!(e->error = (const char *)lc_arena_take(p->arena, &b).data)) return no_memory(p);
      } else if (!(e = top_expression(p))) {
        return false;
      } else {
        e->shown = shown(p, from, p->at);
      }
      if (t->n_arguments == cap) {
        struct ast_expr **more = take(p, cap ? cap * 2 : 8, sizeof *more);
        if (!more) return false;
        if (cap) memcpy(more, t->arguments, cap * sizeof *more);
        t->arguments = more;
        cap = cap ? cap * 2 : 8;
      }
      t->arguments[t->n_arguments++] = e;
    }
    step(p);
  }
  if (!with_alias) return true;
  if (accept_word(p, "as")) {
    if (!is_name(here(p))) return expected(p, "identifier after AS");
  } else if (!is_name(here(p)) || in_list(here(p), not_a_table_alias)) {
    return true;
  }
  t->scope = here(p)->text;
  step(p);
  if (symbol(p, "(")) { /* column aliases */
    if (!skip_group(p)) return false;
    t->error = message(p, "Unsupported FROM expression: ", shown(p, start, p->at));
  }
  return true;
}

static bool begins_join(const struct parser *p) {
  static const char *const words[] = {"join", "inner", "cross", "left", "right", "full", "natural", NULL};
  return in_list(here(p), words);
}
static bool join(struct parser *p, struct ast_join *j) {
  static const char not_inner[] = "Non-inner joins are not supported";
  *j = (struct ast_join){0};
  bool cross = word(p, "cross"), natural = word(p, "natural");
  while (!word(p, "join")) {
    if (!word(p, "inner") && !cross) j->error = not_inner;
    if (here(p)->kind != TOKEN_WORD) return expected(p, "JOIN");
    step(p);
  }
  step(p);
  if (!table(p, &j->table, true)) return false;
  if (cross || natural) return true;
  if (accept_word(p, "using")) {
    j->error = not_inner;
    return symbol(p, "(") ? skip_group(p) : expected(p, "(");
  }
  if (!accept_word(p, "on")) return true;
  bool parenthesised = symbol(p, "(");
  struct ast_expr *e = top_expression(p);
  if (!e) return false;
  j->has_on = true;
  if (parenthesised || e->kind != X_COMPARE || e->op != C_EQ || e->left->kind != X_COLUMN || e->right->kind != X_COLUMN) {
    if (!j->error) j->error = not_inner;
    return true;
  }
  j->left = e->left;
  j->right = e->right;
  return true;
}

/* ---- SELECT ---- */

static bool item(struct parser *p, struct ast_item *it) {
  uint32_t start = p->at;
  *it = (struct ast_item){0};
  if (accept_symbol(p, "*")) {
    it->is_star = true;
    return true;
  }
  if (is_name(here(p))) { /* a.b.* */
    uint32_t at = p->at;
    while (is_name(&p->tokens[at]) && token_is_symbol(&p->tokens[at + 1], ".")) at += 2;
    if (at > p->at && token_is_symbol(&p->tokens[at], "*")) {
      struct lc_slice rest, last;
      if (!name(p, &rest, &last)) return false;
      step(p);
      step(p);
      it->is_star = true;
      it->qualifier = join_name(p, rest, last);
      return true;
    }
    it->is_function = token_is_symbol(ahead(p, 1), "(");
    it->is_count = it->is_function && word(p, "count") && token_is_symbol(ahead(p, 2), "*") && token_is_symbol(ahead(p, 3), ")");
  }
  if (!(it->expr = top_expression(p))) return false;
  if (it->expr->kind != X_OTHER) it->is_function = it->is_count = false;
  it->shown = shown(p, start, p->at);
  if (accept_word(p, "as")) {
    if (!is_name(here(p))) return expected(p, "identifier after AS");
  } else if (!is_name(here(p)) || in_list(here(p), not_a_column_alias)) {
    return true;
  }
  it->alias = here(p)->text;
  it->has_alias = true;
  step(p);
  return true;
}

/* Steps to the end of the statement. */
static void skip_rest(struct parser *p) {
  while (here(p)->kind != TOKEN_END && !symbol(p, ";")) step(p);
}

static bool select(struct parser *p, struct ast *a, uint32_t start) {
  uint32_t cap = 0, cap_joins = 0;
  bool odd_select = false, odd_query = false, set = false;
  a->kind = S_SELECT;
  step(p);
  if (word(p, "distinct") || (word(p, "top") && ahead(p, 1)->kind == TOKEN_NUMBER)) {
    odd_select = true;
    step(p);
    if (here(p)->kind == TOKEN_NUMBER) step(p);
    else if (word(p, "on") && (step(p), symbol(p, "(")) && !skip_group(p)) return false;
  } else {
    accept_word(p, "all");
  }
  do {
    if (a->n_items == cap) {
      struct ast_item *more = take(p, cap ? cap * 2 : 8, sizeof *more);
      if (!more) return false;
      if (cap) memcpy(more, a->items, cap * sizeof *more);
      a->items = more;
      cap = cap ? cap * 2 : 8;
    }
    if (!item(p, &a->items[a->n_items++])) return false;
  } while (accept_symbol(p, ","));
  if (accept_word(p, "into")) {
    odd_select = true;
    while (here(p)->kind != TOKEN_END && !word(p, "from") && !symbol(p, ";")) step(p);
  }
  if (accept_word(p, "from")) {
    a->has_from = true;
    if (!table(p, &a->table, true)) return false;
    for (;;) {
      if (accept_symbol(p, ",")) {
        struct ast_table ignored;
        a->many_from = true;
        if (!table(p, &ignored, true)) return false;
      } else if (begins_join(p)) {
        if (a->n_joins == cap_joins) {
          struct ast_join *more = take(p, cap_joins ? cap_joins * 2 : 4, sizeof *more);
          if (!more) return false;
          if (cap_joins) memcpy(more, a->joins, cap_joins * sizeof *more);
          a->joins = more;
          cap_joins = cap_joins ? cap_joins * 2 : 4;
        }
        if (!join(p, &a->joins[a->n_joins++])) return false;
      } else {
        break;
      }
    }
  }
  if (accept_word(p, "where") && !(a->where = top_expression(p))) return false;
  static const char *const of_select[] = {"group", "having", "qualify", "window", "sort", "cluster", "distribute", "lateral", NULL}, *const of_query[] = {"order", "offset", "fetch", "for", NULL},
                    *const of_set[] = {"union", "except", "intersect", NULL};
  if (in_list(here(p), of_select)) {
    odd_select = true;
    while (here(p)->kind != TOKEN_END && !symbol(p, ";") && !in_list(here(p), of_query) && !in_list(here(p), of_set) && !word(p, "limit")) step(p);
  }
  uint32_t end_of_select = p->at;
  if (in_list(here(p), of_set)) {
    set = true;
    while (here(p)->kind != TOKEN_END && !symbol(p, ";") && !word(p, "order") && !word(p, "limit")) step(p);
    end_of_select = p->at;
  }
  while (in_list(here(p), of_query) || word(p, "limit")) {
    if (word(p, "limit") && token_is_word(ahead(p, 1), "all")) {
      step(p);
      step(p);
    } else if (accept_word(p, "limit")) {
      a->limit_is_number = here(p)->kind == TOKEN_NUMBER;
      struct ast_expr *e = top_expression(p);
      if (!e) return false;
      a->has_limit = true;
      a->limit_is_number = a->limit_is_number && e->kind == X_NUMBER;
      a->limit = e->text;
      if (accept_symbol(p, ",")) odd_query = true, a->limit_is_number = false, top_expression(p);
    } else {
      odd_query = true;
      step(p);
      while (here(p)->kind != TOKEN_END && !symbol(p, ";") && !in_list(here(p), of_query) && !word(p, "limit")) step(p);
    }
  }
  a->shown_select = shown(p, start, end_of_select);
  if (set) a->set_error = message(p, "", a->shown_select);
  if (odd_select) a->select_error = message(p, "", a->shown_select);
  if (odd_query) a->query_error = "";
  return true;
}

/* ---- the other statements ---- */

static bool name_list(struct parser *p, struct ast *a) {
  uint32_t cap = 0;
  step(p);
  while (!symbol(p, ")")) {
    if (a->n_columns && !accept_symbol(p, ",")) return expected(p, ")");
    if (!is_name(here(p))) return expected(p, "identifier");
    if (a->n_columns == cap) {
      struct lc_slice *more = take(p, cap ? cap * 2 : 16, sizeof *more);
      if (!more) return false;
      if (cap) memcpy(more, a->columns, cap * sizeof *more);
      a->columns = more;
      cap = cap ? cap * 2 : 16;
    }
    a->columns[a->n_columns++] = here(p)->text;
    step(p);
  }
  step(p);
  return true;
}
static bool values_row(struct parser *p, struct ast_expr ***row, uint32_t *n) {
  uint32_t cap = 0;
  *row = NULL;
  *n = 0;
  if (!accept_symbol(p, "(")) return expected(p, "(");
  do {
    uint32_t from = p->at;
    struct ast_expr *e = top_expression(p);
    if (!e) return false;
    e->shown = shown(p, from, p->at);
    if (*n == cap) {
      struct ast_expr **more = take(p, cap ? cap * 2 : 16, sizeof *more);
      if (!more) return false;
      if (cap) memcpy(more, *row, cap * sizeof *more);
      *row = more;
      cap = cap ? cap * 2 : 16;
    }
    (*row)[(*n)++] = e;
  } while (accept_symbol(p, ","));
  return accept_symbol(p, ")") || expected(p, ")");
}
static bool insert(struct parser *p, struct ast *a) {
  uint32_t cap = 0;
  a->kind = S_INSERT;
  step(p);
  accept_word(p, "into");
  if (!table(p, &a->table, false)) return false;
  /* the list of columns looks like the arguments of a view to table() */
  if (a->table.has_arguments) {
    while (!symbol(p, "(")) p->at--;
    uint32_t open = 0;
    for (uint32_t i = p->at;; i--) { /* back to the parenthesis that opened it */
      if (token_is_symbol(&p->tokens[i], ")")) open++;
      if (token_is_symbol(&p->tokens[i], "(") && open-- <= 1) {
        p->at = i;
        break;
      }
    }
    a->table.has_arguments = false;
  }
  if (symbol(p, "(") && !name_list(p, a)) return false;
  if (word(p, "select") || word(p, "with") || word(p, "default") || symbol(p, "(")) {
    a->insert_select = true;
    uint32_t from = p->at;
    skip_rest(p);
    a->shown_select = shown(p, from, p->at);
    return true;
  }
  if (!accept_word(p, "values")) return expected(p, "SELECT, VALUES, or a subquery in the query body");
  do {
    if (a->n_rows == cap) {
      struct ast_expr ***rows = take(p, cap ? cap * 2 : 8, sizeof *rows);
      uint32_t *lengths = take(p, cap ? cap * 2 : 8, sizeof *lengths);
      if (!rows || !lengths) return false;
      if (cap) memcpy(rows, a->rows, cap * sizeof *rows), memcpy(lengths, a->row_lengths, cap * sizeof *lengths);
      a->rows = rows;
      a->row_lengths = lengths;
      cap = cap ? cap * 2 : 8;
    }
    if (!values_row(p, &a->rows[a->n_rows], &a->row_lengths[a->n_rows])) return false;
    a->n_rows++;
  } while (accept_symbol(p, ","));
  if (word(p, "on") || word(p, "returning")) {
    skip_rest(p);
    a->query_error = "";
  }
  return true;
}
static bool update(struct parser *p, struct ast *a) {
  uint32_t cap = 0;
  a->kind = S_UPDATE;
  step(p);
  uint32_t from = p->at;
  if (!table(p, &a->table, true)) return false;
  if (!lc_slice_eq(a->table.scope, a->table.name) || begins_join(p)) a->query_error = "";
  while (begins_join(p)) {
    struct ast_join ignored;
    if (!join(p, &ignored)) return false;
  }
  (void)from;
  if (!accept_word(p, "set")) return expected(p, "SET");
  do {
    struct lc_slice rest, last;
    if (!name(p, &rest, &last)) return false;
    if (!accept_symbol(p, "=")) return expected(p, "=");
    uint32_t value_at = p->at;
    struct ast_expr *e = top_expression(p);
    if (!e) return false;
    e->shown = shown(p, value_at, p->at);
    if (a->n_assignments == cap) {
      struct ast_assignment *more = take(p, cap ? cap * 2 : 8, sizeof *more);
      if (!more) return false;
      if (cap) memcpy(more, a->assignments, cap * sizeof *more);
      a->assignments = more;
      cap = cap ? cap * 2 : 8;
    }
    a->assignments[a->n_assignments++] = (struct ast_assignment){join_name(p, rest, last), e};
  } while (accept_symbol(p, ","));
  if (word(p, "from") || word(p, "returning")) a->query_error = "";
  if (word(p, "from")) while (here(p)->kind != TOKEN_END && !symbol(p, ";") && !word(p, "where")) step(p);
  if (accept_word(p, "where") && !(a->where = top_expression(p))) return false;
  if (word(p, "returning")) {
    skip_rest(p);
    a->query_error = "";
  }
  return true;
}
static bool delete(struct parser *p, struct ast *a) {
  a->kind = S_DELETE;
  step(p);
  if (!accept_word(p, "from")) {
    if (!is_name(here(p))) return expected(p, "FROM");
    a->table.error = "Multi-table DELETE is not supported";
    while (here(p)->kind != TOKEN_END && !word(p, "from") && !symbol(p, ";")) step(p);
    accept_word(p, "from");
  }
  const char *error = a->table.error;
  uint32_t from = p->at;
  if (!table(p, &a->table, true)) return false;
  if (error) a->table.error = error;
  else if (symbol(p, ",")) a->table.error = "Multi-table DELETE is not supported";
  while (symbol(p, ",") || begins_join(p)) {
    struct ast_table ignored;
    struct ast_join ignored_join;
    if (accept_symbol(p, ",") ? !table(p, &ignored, true) : !join(p, &ignored_join)) return false;
    if (!a->table.error) a->table.error = message(p, "Unsupported table expression in DELETE: ", shown(p, from, p->at));
  }
  if (!a->table.error && !lc_slice_eq(a->table.scope, a->table.name)) a->table.error = message(p, "Unsupported table expression in DELETE: ", shown(p, from, p->at));
  if (word(p, "using") || word(p, "returning") || word(p, "order") || word(p, "limit")) {
    while (here(p)->kind != TOKEN_END && !symbol(p, ";") && !word(p, "where")) step(p);
    a->query_error = "";
  }
  if (accept_word(p, "where") && !(a->where = top_expression(p))) return false;
  if (word(p, "returning") || word(p, "order") || word(p, "limit")) {
    skip_rest(p);
    a->query_error = "";
  }
  return true;
}
static bool set_variable(struct parser *p, struct ast *a) {
  struct lc_slice rest, last;
  a->kind = S_SET;
  step(p);
  if (word(p, "local") || word(p, "transaction") || word(p, "time")) {
    skip_rest(p);
    a->query_error = "";
    return true;
  }
  accept_word(p, "session");
  if (!name(p, &rest, &last)) return false;
  a->variable = join_name(p, rest, last);
  if (!accept_symbol(p, "=") && !accept_word(p, "to")) return expected(p, "equals sign or TO");
  uint32_t from = p->at;
  if (!(a->value = top_expression(p))) return false;
  a->value->shown = shown(p, from, p->at);
  if (symbol(p, ",")) {
    skip_rest(p);
    a->query_error = "";
  }
  return true;
}
/* All words count, other tokens do not (spec/05 §8). */
static bool show(struct parser *p, struct ast *a) {
  struct lc_buf b = {0};
  a->kind = S_SHOW;
  for (step(p); here(p)->kind != TOKEN_END && !symbol(p, ";"); step(p)) {
    if (!is_name(here(p))) continue;
    if (b.len) lc_buf_u8(&b, '.');
    lc_buf_slice_append(&b, here(p)->text);
  }
  a->variable = lc_arena_take(p->arena, &b);
  return a->variable.data || no_memory(p);
}

static bool statement(struct parser *p, struct ast *a) {
  static const char *const others[] = {"create", "drop", "alter", "truncate", "explain", "analyze", "begin", "start", "commit", "rollback", "grant", "revoke", "with", "values", "copy", "call", "merge",
    "prepare", "execute", "deallocate", "declare", "close", "discard", "use", "kill", "describe", "desc", "savepoint", "release", "comment", "assert", "cache", "uncache", "msck", "pragma", "replace", "table", NULL};
  uint32_t start = p->at;
  bool ok;
  if (word(p, "select")) ok = select(p, a, start);
  else if (word(p, "insert")) ok = insert(p, a);
  else if (word(p, "update")) ok = update(p, a);
  else if (word(p, "delete")) ok = delete(p, a);
  else if (word(p, "set")) ok = set_variable(p, a);
  else if (word(p, "show")) ok = show(p, a);
  else if (in_list(here(p), others) || symbol(p, "(")) {
    a->kind = S_OTHER;
    skip_rest(p);
    ok = true;
  } else {
    return expected(p, "an SQL statement");
  }
  if (!ok) return false;
  a->shown = shown(p, start, p->at);
  return symbol(p, ";") || here(p)->kind == TOKEN_END || expected(p, "end of statement");
}

enum lc_status sql_parse(struct lc_arena *arena, struct lc_slice sql, struct ast **out, struct lc_error *err) {
  struct lc_error scratch = {0};
  struct parser p = {.arena = arena, .sql = sql, .err = err ? err : &scratch};
  uint32_t n, n_statements = 0;
  enum lc_status st = lexer_run(arena, sql, &p.tokens, &n, p.err);
  if (st != LC_OK) return st;
  *out = NULL;
  for (;;) {
    while (accept_symbol(&p, ";")) {}
    if (here(&p)->kind == TOKEN_END) break;
    struct ast *a = take(&p, 1, sizeof *a);
    if (!a || !statement(&p, a)) return p.err->status;
    if (!n_statements++) *out = a;
  }
  if (n_statements == 0) return lc_fail(err, LC_INVALID, "Empty SQL query");
  return n_statements == 1 ? LC_OK : lc_fail(err, LC_INVALID, "Multiple SQL statements are not supported");
}
