/* Owns: row-level security (spec/05 §10): each relation of a table with rules becomes, for those who are not the owner, the union of its rules' bodies. A body is
 * woven into the fragment: its returned relation takes the place of the restricted one, its other relations and all its conditions come along, so that
 * each combination of rules is a fragment of its own.
 *
 * Invariants: rules are compiled with the caller's visibility; a table's own occurrences in its rule's body stay raw; a table that is being expanded further
 * up is an error. Callers: check.c.
 */
#include "plan.h"

enum { MAX_FRAGMENTS = 256, MAX_RULES = 256, INDEX_BY_TABLE = 11 };

/* The texts of a table's rules, copied. */
static bool rules_of(struct check *k, uint32_t table_id, struct lc_slice *rules, uint32_t *n) {
  struct lc_row_iter *it;
  const struct lc_table_info *st = lc_view_table(k->view, LC_ST_ROW_LEVEL_SECURITY);
  *n = 0;
  if (lc_view_scan_point(k->view, INDEX_BY_TABLE, lc_slice(&table_id, 4), &it, k->err) != LC_ERRNO_OK) return lc_fail(k->err, LC_NOMEM, "out of memory"), false;
  bool ok = true;
  for (struct lc_slice row; ok && (row = lc_row_iter_next(it)).data;) {
    struct lc_reader r = lc_reader(lc_slice(lc_row_column(st->row_type, row.data, 1), row.len - 4));
    struct lc_slice sql = lc_read_bytes(&r);
    if (*n == MAX_RULES) ok = lc_fail(k->err, LC_LIMIT, "a table may have at most %d rules", MAX_RULES) == LC_OK;
    else if (!(rules[(*n)++] = lc_arena_copy(&k->plan->arena, sql)).data) ok = lc_fail(k->err, LC_NOMEM, "out of memory") == LC_OK;
  }
  lc_row_iter_close(it);
  return ok;
}

static const struct expr *moved(struct check *k, const struct expr *e, const uint32_t *map) {
  struct expr *copy = check_take(k, 1, sizeof *copy);
  if (!copy) return NULL;
  *copy = *e;
  if (e->op == OP_COLUMN) {
    copy->relation = (uint16_t)map[e->relation];
    copy->relations = 1u << copy->relation;
  } else if (e->op != OP_VALUE) {
    if (!(copy->left = moved(k, e->left, map)) || !(copy->right = moved(k, e->right, map))) return NULL;
    copy->relations = copy->left->relations | copy->right->relations;
  }
  return copy;
}

/* A copy of f in which relation `at` is restricted by a rule. */
static struct fragment *woven(struct check *k, const struct fragment *f, uint32_t at, struct lc_slice rule) {
  struct ast *ast;
  struct fragment body, *out = check_take(k, 1, sizeof *out);
  if (!out || sql_parse(&k->parsed, rule, &ast, k->err) != LC_OK) return NULL;
  const char *unsupported = sql_unsupported(&k->parsed, ast, LC_SQL_QUERY);
  if (unsupported) return lc_fail(k->err, LC_INVALID, "%s", unsupported), NULL;
  struct lc_plan kept = *k->plan; /* the body's projection is not the query's */
  k->plan->language = LC_SQL_QUERY;
  bool ok = check_fragment(k, ast, &body);
  struct lc_arena arena = k->plan->arena;
  bool per_identity = k->plan->is_per_identity;
  uint32_t n_views = k->plan->n_views;
  struct lc_plan_view *views = k->plan->views;
  *k->plan = kept;
  k->plan->arena = arena;
  k->plan->is_per_identity = per_identity;
  k->plan->n_views = n_views;
  k->plan->views = views;
  if (!ok) return NULL;
  *out = *f;
  out->conditions = NULL;
  out->n_conditions = 0;
  for (uint32_t i = 0; i < f->n_conditions; i++)
    if (!check_condition(k, out, f->conditions[i])) return NULL;
  const struct relation *restricted = &f->relations[at];
  uint32_t *above = check_take(k, restricted->n_above + 1, sizeof *above), map[LC_SQL_MAX_RELATIONS];
  if (!above) return NULL;
  if (restricted->n_above) memcpy(above, restricted->above, restricted->n_above * sizeof *above);
  above[restricted->n_above] = restricted->table->table_id;
  for (uint32_t i = 0; i < body.n_relations; i++) {
    if (i == body.result) {
      map[i] = at;
      out->relations[at].is_raw = true;
      continue;
    }
    if (out->n_relations == LC_SQL_MAX_RELATIONS) return lc_fail(k->err, LC_LIMIT, "a query may have at most %d tables, those of row-level security rules included", LC_SQL_MAX_RELATIONS), NULL;
    map[i] = out->n_relations++;
    out->relations[map[i]] = (struct relation){.table = body.relations[i].table, .is_raw = body.relations[i].table == restricted->table, .n_above = restricted->n_above + 1, .above = above};
  }
  for (uint32_t i = 0; i < body.n_conditions; i++) {
    const struct expr *e = moved(k, body.conditions[i], map);
    if (!e || !check_condition(k, out, e)) return NULL;
  }
  return out;
}

bool rules_apply(struct check *k) {
  struct lc_plan *plan = k->plan;
  struct lc_slice rules[MAX_RULES];
  if (k->caller->is_owner || k->caller->has_all_rights || lc_view_row_count(k->view, LC_ST_ROW_LEVEL_SECURITY) == 0) {
    plan->is_per_identity = plan->is_per_identity || k->caller->is_owner;
    return true;
  }
  struct fragment **todo = check_take(k, MAX_FRAGMENTS, sizeof *todo), **done = check_take(k, MAX_FRAGMENTS, sizeof *done);
  uint32_t n_todo = 1, n_done = 0;
  if (!todo || !done) return false;
  todo[0] = plan->fragments[0];
  while (n_todo) { /* the first rules first: a stack, filled backwards */
    struct fragment *f = todo[--n_todo];
    uint32_t at = 0, n = 0;
    for (; at < f->n_relations && n == 0; at++) {
      struct relation *r = &f->relations[at];
      if (r->is_raw) continue;
      if (!rules_of(k, r->table->table_id, rules, &n)) return false;
      if (n == 0) r->is_raw = true;
      for (uint32_t i = 0; n && i < r->n_above; i++)
        if (r->above[i] == r->table->table_id) return lc_fail(k->err, LC_INVALID, "Discovered cyclic dependency when resolving RLS rules for table id `%u`", r->table->table_id), false;
    }
    if (n == 0) {
      if (n_done == MAX_FRAGMENTS) return lc_fail(k->err, LC_LIMIT, "row-level security makes more than %d parts of this query", MAX_FRAGMENTS), false;
      done[n_done++] = f;
      continue;
    }
    at--;
    if (n_todo + n > MAX_FRAGMENTS) return lc_fail(k->err, LC_LIMIT, "row-level security makes more than %d parts of this query", MAX_FRAGMENTS), false;
    for (uint32_t i = n; i-- > 0;)
      if (!(todo[n_todo++] = woven(k, f, at, rules[i]))) return false;
  }
  plan->fragments = done;
  plan->n_fragments = n_done;
  return true;
}
