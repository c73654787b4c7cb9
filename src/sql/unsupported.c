/* Owns: in which order the pieces of a parsed statement are looked at for what the language leaves out (spec/05 §3, §4). Callers: check.c. */
#include "ast.h"
#include <stdio.h>

#define T(s) (int)(s).len, (const char *)(s).data
enum { MAX_CHAIN = 1600 };

static const char *text(struct lc_arena *arena, const char *before, struct lc_slice piece) {
  struct lc_buf b = {0};
  lc_buf_printf(&b, "%s%.*s", before, T(piece));
  const char *t = (const char *)lc_arena_take(arena, &b).data;
  return t ? t : "out of memory";
}

/* Left sides first; a chain of operators nests to the left, so its length is its depth. */
static const char *in_expression(const struct ast_expr *e, bool is_join, uint32_t depth) {
  if (depth > MAX_CHAIN && e->left) return "Recursion limit exceeded, `sql-parser::parse_expr`";
  const char *found = NULL;
  if (e->left) found = in_expression(e->left, is_join, depth + 1);
  if (!found && e->right) found = in_expression(e->right, is_join, e->right->left ? depth + 1 : depth);
  if (found) return found;
  if (e->kind == X_OTHER) return e->error;
  return is_join && e->kind == X_COLUMN && !e->qualifier.len ? "Names must be qualified when using joins" : NULL;
}

static const char *in_from(const struct ast *a) {
  if (!a->has_from) return "A FROM clause is required";
  if (a->many_from) return "Implicit joins are not supported";
  if (a->table.error) return a->table.error;
  for (uint32_t i = 0; i < a->n_joins; i++) {
    if (a->joins[i].table.error) return a->joins[i].table.error;
    if (a->joins[i].error) return a->joins[i].error;
  }
  return NULL;
}
/* The names of ON, WHERE and the projection of a join are qualified. */
static const char *in_names(const struct ast *a) {
  static const char unqualified[] = "Names must be qualified when using joins";
  for (uint32_t i = 0; i < a->n_joins; i++)
    if (a->joins[i].left && (!a->joins[i].left->qualifier.len || !a->joins[i].right->qualifier.len)) return unqualified;
  for (uint32_t i = 0; i < a->n_items; i++)
    if (a->n_joins && a->items[i].expr && a->items[i].expr->kind == X_COLUMN && !a->items[i].expr->qualifier.len) return unqualified;
  return a->where ? in_expression(a->where, a->n_joins > 0, 1) : NULL;
}
static const char *in_items(struct lc_arena *arena, const struct ast *a) {
  for (uint32_t i = 0; i < a->n_items; i++) {
    const struct ast_item *it = &a->items[i];
    if (it->is_star) {
      if (a->n_items > 1) return "Mixed wildcard projections are not supported";
      continue;
    }
    if (it->is_function) {
      if (!it->has_alias) return "Aggregate expressions must have column aliases";
      if (!it->is_count) return text(arena, "Unsupported aggregate function: ", it->shown);
      if (a->n_items > 1) return text(arena, "Unsupported projection expression: ", it->shown);
      continue;
    }
    if (it->expr->kind != X_COLUMN) return text(arena, "Unsupported projection expression: ", it->shown);
  }
  return NULL;
}

static const char *in_select(struct lc_arena *arena, const struct ast *a, bool is_statement) {
  const char *found;
  if (a->query_error || (a->has_limit && (!is_statement || !a->limit_is_number))) return text(arena, "Unsupported: ", a->shown);
  if (a->set_error) return is_statement ? text(arena, "Unsupported: ", a->shown) : text(arena, "Unsupported set operation: ", a->shown_select);
  if (a->select_error) return is_statement ? text(arena, "Unsupported: ", a->shown) : text(arena, "Unsupported SELECT: ", a->shown_select);
  if (is_statement && (found = in_items(arena, a))) return found;
  if ((found = in_from(a))) return found;
  if (!is_statement && (found = in_items(arena, a))) return found;
  return in_names(a);
}

static bool is_literal(const struct ast_expr *e) { return e->kind == X_NUMBER || e->kind == X_STRING || e->kind == X_HEX || e->kind == X_BOOL; }
static const char *in_value(struct lc_arena *arena, const char *what, const struct ast_expr *e) {
  if (is_literal(e)) return NULL;
  if (e->kind == X_SENDER) return "Unsupported literal expression: :sender";
  if (e->kind == X_OTHER && strncmp(e->error, "Unsupported literal expression", 30) == 0) return e->error;
  return text(arena, what, e->shown);
}

const char *sql_unsupported(struct lc_arena *arena, const struct ast *a, enum lc_sql_language language) {
  const char *found = NULL;
  if (language != LC_SQL_STATEMENT) return a->kind == S_SELECT ? in_select(arena, a, false) : "Unsupported: Non-SELECT queries";
  switch (a->kind) {
  case S_SELECT: return in_select(arena, a, true);
  case S_INSERT:
    if (a->query_error) return text(arena, "Unsupported: ", a->shown);
    if (a->table.error) return text(arena, "Unsupported: ", a->shown);
    if (a->insert_select) return text(arena, "Unsupported INSERT expression: ", a->shown_select);
    for (uint32_t i = 0; i < a->n_rows; i++)
      for (uint32_t k = 0; k < a->row_lengths[i] && !found; k++) found = in_value(arena, "Unsupported INSERT value: ", a->rows[i][k]);
    return found;
  case S_UPDATE:
    if (a->query_error || a->table.error) return text(arena, "Unsupported: ", a->shown);
    for (uint32_t i = 0; i < a->n_assignments && !found; i++) found = in_value(arena, "Unsupported column/variable assignment expression: ", a->assignments[i].value);
    return found ? found : a->where ? in_expression(a->where, false, 1) : NULL;
  case S_DELETE:
    if (a->table.error) return a->table.error;
    if (a->query_error) return text(arena, "Unsupported: ", a->shown);
    return a->where ? in_expression(a->where, false, 1) : NULL;
  case S_SET: return a->query_error ? text(arena, "Unsupported: ", a->shown) : in_value(arena, "Unsupported column/variable assignment expression: ", a->value);
  case S_SHOW: return NULL;
  default: return text(arena, "Unsupported: ", a->shown);
  }
}
