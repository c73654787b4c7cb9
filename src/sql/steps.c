/* Owns: how a fragment is run: an order of its relations for each one to begin with, and for each step the way to its rows; what a subscription must have;
 * the estimate of the row limit; the plan as text (spec/05 §8, §11, §13).
 *
 * Invariants: every condition is a filter of the first step at which all its relations are bound, also where an index already answers it, because a
 * relation may be read from a list of rows instead. Callers: check.c, the face.
 */
#include "plan.h"
#include <math.h>
#include <stdio.h>

/* The other side of `relation.column = something known`, if e is that. */
static bool equality(const struct expr *e, uint32_t relation, uint32_t column, uint32_t bound, struct part *out) {
  if (e->op != OP_EQ) return false;
  for (int side = 0; side < 2; side++) {
    const struct expr *mine = side ? e->right : e->left, *other = side ? e->left : e->right;
    if (mine->op != OP_COLUMN || mine->relation != relation || mine->column != column || !lc_type_is_bitwise(mine->type)) continue;
    if (other->op == OP_VALUE) return *out = (struct part){.value = other->value}, true;
    if (other->op == OP_COLUMN && (other->relations & ~bound) == 0) return *out = (struct part){.column = other}, true;
  }
  return false;
}
static bool find_equality(const struct fragment *f, uint32_t relation, uint32_t column, uint32_t bound, struct part *out) {
  for (uint32_t i = 0; i < f->n_conditions; i++)
    if (equality(f->conditions[i], relation, column, bound, out)) return true;
  return false;
}
/* Bounds that the conditions put on a column. */
static bool find_range(const struct fragment *f, uint32_t relation, uint32_t column, uint32_t bound, struct step *s) {
  static const enum op mirrored[] = {OP_EQ, OP_NE, OP_GT, OP_GE, OP_LT, OP_LE};
  s->has_low = s->has_high = false;
  for (uint32_t i = 0; i < f->n_conditions; i++) {
    const struct expr *e = f->conditions[i];
    if (e->op < OP_LT || e->op > OP_GE) continue;
    for (int side = 0; side < 2; side++) {
      const struct expr *mine = side ? e->right : e->left, *other = side ? e->left : e->right;
      enum op op = side ? mirrored[e->op] : e->op;
      struct part p = {0};
      if (mine->op != OP_COLUMN || mine->relation != relation || mine->column != column) continue;
      if (other->op == OP_VALUE) p.value = other->value;
      else if (other->op == OP_COLUMN && (other->relations & ~bound) == 0) p.column = other;
      else continue;
      if ((op == OP_GT || op == OP_GE) && !s->has_low) s->low = p, s->has_low = true, s->low_excluded = op == OP_GT;
      if ((op == OP_LT || op == OP_LE) && !s->has_high) s->high = p, s->has_high = true, s->high_excluded = op == OP_LT;
    }
  }
  return s->has_low || s->has_high;
}

static bool plan_access(struct check *k, const struct fragment *f, uint32_t relation, uint32_t bound, struct step *s) {
  const struct lc_table_info *t = f->relations[relation].table;
  struct part parts[64];
  unsigned best = 0;
  *s = (struct step){.relation = relation, .access = A_SCAN};
  for (uint32_t i = 0; i < t->n_indexes; i++) {
    const struct lc_index_info *ix = &t->indexes[i];
    uint32_t n = 0;
    struct step try = {.relation = relation, .index = ix};
    while (n < ix->n_columns && n < 64 && find_equality(f, relation, ix->columns[n], bound, &parts[n])) n++;
    bool full = n == ix->n_columns;
    bool range = !full && ix->kind != LC_INDEX_HASH && n < 63 && find_range(f, relation, ix->columns[n], bound, &try);
    if (!full && (ix->kind == LC_INDEX_HASH || (n == 0 && !range))) continue;
    unsigned score = full && ix->is_unique ? 1000 : full ? 500 + n : 10 * n + (range ? (try.has_low && try.has_high ? 6 : 3) : 0);
    if (score <= best) continue;
    best = score;
    try.access = full ? (ix->is_unique ? A_FIND : A_POINT) : A_RANGE;
    struct part *kept = check_take(k, n, sizeof *kept);
    if (!kept) return false;
    memcpy(kept, parts, n * sizeof *kept);
    try.parts = kept;
    try.n_parts = n;
    *s = try;
  }
  if (best) return true;
  for (uint32_t c = 0; c < t->row_type->n_fields && !s->hash_column; c++) { /* a join without an index */
    struct part p;
    if (!find_equality(f, relation, c, bound, &p) || !p.column) continue;
    struct part *kept = check_take(k, 1, sizeof *kept);
    if (!kept || !(s->hash_column = check_column_expr(k, f, relation, c))) return false;
    *kept = p;
    s->hash_part = kept;
    s->access = A_HASH;
  }
  return true;
}

static bool plan_filters(struct check *k, const struct fragment *f, uint32_t bound, struct step *s) {
  uint32_t now = bound | 1u << s->relation, n = 0;
  const struct expr **list = check_take(k, f->n_conditions, sizeof *list);
  struct test *tests = check_take(k, f->n_conditions, sizeof *tests), test;
  if (!list || !tests) return false;
  s->n_tests = 0;
  for (int others = 0; others < 2; others++) /* tests first */
    for (uint32_t i = 0; i < f->n_conditions; i++) {
      uint32_t uses = f->conditions[i]->relations;
      if ((uses & ~now) || !((uses & 1u << s->relation) || (uses == 0 && bound == 0))) continue;
      bool is_test = uses == 1u << s->relation && scan_test_of(f->conditions[i], &test);
      if (is_test == (bool)others) continue;
      if (is_test) tests[s->n_tests++] = test;
      list[n++] = f->conditions[i];
    }
  s->filters = list;
  s->n_filters = n;
  s->tests = tests;
  return true;
}

static double rows_of(const struct check *k, const struct fragment *f, uint32_t relation) { return (double)lc_view_row_count(k->view, f->relations[relation].table->table_id); }

static bool plan_order(struct check *k, struct fragment *f, uint32_t first, struct order *o, double *cost) {
  struct step *steps = check_take(k, f->n_relations, sizeof *steps);
  uint32_t bound = 0;
  if (!steps) return false;
  *cost = 1;
  for (uint32_t i = 0; i < f->n_relations; i++) {
    struct step best = {0};
    double best_rows = INFINITY;
    for (uint32_t r = 0; r < f->n_relations; r++) {
      struct step s;
      if (bound & 1u << r || (i == 0 && r != first)) continue;
      if (!plan_access(k, f, r, bound, &s)) return false;
      double n = rows_of(k, f, r), rows = s.access == A_FIND ? 1 : s.access == A_POINT ? fmin(n, 4) : s.access == A_RANGE ? n / 4 + 1 : s.access == A_HASH ? 2 + n / (*cost + 1) : n + 1;
      if (rows >= best_rows) continue;
      best_rows = rows;
      best = s;
    }
    if (!plan_filters(k, f, bound, &best)) return false;
    steps[i] = best;
    bound |= 1u << best.relation;
    *cost *= best_rows;
  }
  o->n = f->n_relations;
  o->steps = steps;
  return true;
}

bool steps_plan(struct check *k, struct fragment *f) {
  double best = INFINITY, cost;
  for (uint32_t r = 0; r < f->n_relations; r++) {
    if (!plan_order(k, f, r, &f->orders[r], &cost)) return false;
    if (cost >= best) continue;
    best = cost;
    f->orders[f->n_relations] = f->orders[r];
  }
  return true;
}

/* ---- subscriptions (spec/05 §13) ---- */

/* Has the relation a condition of its own that the reference pushes down to its scan: column against constant. */
static bool is_filtered(const struct fragment *f, uint32_t relation) {
  for (uint32_t i = 0; i < f->n_conditions; i++) {
    const struct expr *e = f->conditions[i];
    if (e->op > OP_GE || e->relations != 1u << relation) continue;
    if ((e->left->op == OP_COLUMN && e->right->op == OP_VALUE) || (e->left->op == OP_VALUE && e->right->op == OP_COLUMN)) return true;
  }
  return false;
}
/* An index whose last column is the join column and whose others are fixed by constants. */
static bool has_lookup(const struct fragment *f, uint32_t relation, uint32_t column) {
  const struct lc_table_info *t = f->relations[relation].table;
  for (uint32_t i = 0; i < t->n_indexes; i++) {
    const struct lc_index_info *ix = &t->indexes[i];
    struct part p;
    bool ok = ix->columns[ix->n_columns - 1] == column;
    for (uint32_t c = 0; c + 1 < ix->n_columns && ok; c++) ok = find_equality(f, relation, ix->columns[c], 0, &p);
    if (ok) return true;
  }
  return false;
}
bool steps_check_subscription(struct check *k, const struct fragment *f) {
  static const char no_index[] = "Subscriptions require indexes on join columns";
  for (uint32_t right = 1; right < f->n_relations; right++) {
    const struct expr *on = NULL; /* an equality that ties it to what stands before it */
    uint32_t lookup = right, column = 0;
    for (uint32_t i = 0; i < f->n_conditions && !on; i++) {
      const struct expr *e = f->conditions[i];
      if (e->op != OP_EQ || e->left->op != OP_COLUMN || e->right->op != OP_COLUMN || e->left->relation == e->right->relation) continue;
      if ((e->left->relation == right && e->right->relation < right) || (e->right->relation == right && e->left->relation < right)) on = e;
    }
    if (!on) return lc_fail(k->err, LC_INVALID, "%s", no_index), false;
    uint32_t left = on->left->relation == right ? on->right->relation : on->left->relation;
    if (f->n_relations == 2 && is_filtered(f, right) && !is_filtered(f, left)) lookup = left;
    column = on->left->relation == lookup ? on->left->column : on->right->column;
    if (!has_lookup(f, lookup, column)) return lc_fail(k->err, LC_INVALID, "%s", no_index), false;
    if (f->relations[lookup].table->is_event) return lc_fail(k->err, LC_INVALID, "Event tables cannot be used as the lookup table in subscription joins"), false;
  }
  if (f->n_relations > 2) return lc_fail(k->err, LC_INVALID, "Invalid number of tables in subscription: %u", f->n_relations), false;
  return true;
}

/* ---- what a changed row must be like ---- */

void lc_fragment_search(const struct lc_plan *plan, uint32_t fragment, uint32_t relation, struct lc_search *out) {
  const struct fragment *f = plan->fragments[fragment];
  const struct lc_type *row = f->relations[relation].table->row_type;
  struct lc_interval half = {0}; /* one that is open at one end: for want of better */
  bool has_half = false;
  uint32_t n_conditions = 0, n_asked = 0; /* on this relation alone; of them in the search */
  for (uint32_t i = 0; i < f->n_conditions; i++) n_conditions += (f->conditions[i]->relations & ~(1u << relation)) == 0;
  struct part p;
  *out = (struct lc_search){.kind = LC_SEARCH_ANY};
  for (uint32_t c = 0; c < row->n_fields && out->n_columns < LC_SEARCH_MAX_COLUMNS; c++) {
    if (!find_equality(f, relation, c, 0, &p)) continue;
    out->columns[out->n_columns] = (uint16_t)c;
    out->values[out->n_columns++] = p.value;
  }
  for (uint32_t c = 0; c < row->n_fields && out->n_intervals < LC_SEARCH_MAX_INTERVALS; c++) {
    struct step s = {0};
    if (find_equality(f, relation, c, 0, &p) || !find_range(f, relation, c, 0, &s)) continue;
    struct lc_interval v = {(uint16_t)c, s.low.value, s.high.value, s.low_excluded, s.high_excluded};
    if (s.has_low && s.has_high) out->intervals[out->n_intervals++] = v, n_asked += 2;
    else if (!has_half) half = v, has_half = true;
  }
  if (has_half && out->n_intervals < LC_SEARCH_MAX_INTERVALS) out->intervals[out->n_intervals++] = half, n_asked++;
  if (out->n_intervals) { /* what is fixed is an interval of one value */
    out->kind = LC_SEARCH_BOX;
    for (uint32_t i = 0; i < out->n_columns && out->n_intervals < LC_SEARCH_MAX_INTERVALS; i++) out->intervals[out->n_intervals++] = (struct lc_interval){out->columns[i], out->values[i], out->values[i], false, false}, n_asked++;
    out->n_columns = 0;
  } else if (out->n_columns) {
    out->kind = LC_SEARCH_EQUAL;
    n_asked = out->n_columns;
  }
  out->is_complete = n_asked == n_conditions && out->kind != LC_SEARCH_ANY;
}

bool lc_fragment_edge(const struct lc_plan *plan, uint32_t fragment, uint32_t relation, struct lc_edge *out) {
  const struct fragment *f = plan->fragments[fragment];
  if (f->n_relations != 2) return false;
  uint32_t other = 1 - relation;
  const struct lc_table_info *t = f->relations[relation].table, *partner = f->relations[other].table;
  if (t->is_event || partner->is_event || t->view || partner->view) return false;
  for (uint32_t i = 0; i < partner->n_indexes; i++) {
    const struct lc_index_info *ix = &partner->indexes[i];
    struct part p;
    if (ix->n_columns != 1 || !find_equality(f, other, ix->columns[0], 1u << relation, &p) || !p.column) continue;
    *out = (struct lc_edge){.column = p.column->column, .partner = partner, .index = ix};
    lc_fragment_search(plan, fragment, other, &out->search);
    return true;
  }
  return false;
}

/* ---- estimate (spec/05 §8) ---- */

static uint64_t add(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }
static uint64_t times(uint64_t a, uint64_t b) { return b && a > UINT64_MAX / b ? UINT64_MAX : a * b; }

/* Rows that one key of an index has: exactly for constants, else about. */
static uint64_t rows_per_key(const struct step *s, struct lc_read_view view, uint64_t n_rows) {
  if (s->access == A_FIND) return n_rows ? 1 : 0;
  struct lc_buf key = {0};
  bool constant = true;
  for (uint32_t i = 0; i < s->n_parts; i++) {
    constant = constant && s->parts[i].value.data;
    if (constant) lc_buf_slice_append(&key, s->parts[i].value);
  }
  struct lc_row_iter *it;
  uint64_t n = 0;
  if (constant && lc_buf_ok(&key) && lc_view_scan_point(view, s->index->index_id, lc_buf_slice(&key), &it, NULL) == LC_ERRNO_OK) {
    while (lc_row_iter_next(it).data) n++;
    lc_row_iter_close(it);
  } else {
    n = (uint64_t)sqrt((double)n_rows);
  }
  lc_buf_free(&key);
  return n;
}
static uint64_t estimate(const struct fragment *f, struct lc_read_view view, uint64_t limit) {
  const struct order *o = &f->orders[f->n_relations];
  uint64_t rows = 0, scanned = 0;
  for (uint32_t i = 0; i < o->n; i++) {
    const struct step *s = &o->steps[i];
    uint64_t n = lc_view_row_count(view, f->relations[s->relation].table->table_id);
    bool indexed = s->access == A_FIND || s->access == A_POINT;
    uint64_t here = indexed ? rows_per_key(s, view, n) : n;
    bool filtered = s->n_filters > (indexed ? s->n_parts : 0);
    if (i == 0) {
      rows = o->n == 1 && !filtered && here > limit ? limit : here;
      scanned = rows;
    } else if (indexed) {
      scanned = add(scanned, times(rows, here));
      rows = times(rows, here);
    } else {
      scanned = add(add(scanned, n), times(rows, n));
      rows = times(rows, n);
    }
    if (filtered) scanned = add(scanned, rows);
  }
  return scanned;
}
uint64_t lc_plan_estimate(const struct lc_plan *plan, struct lc_read_view view, uint64_t *limit) {
  static const uint8_t key[] = "\x09\0\0\0row_limit";
  enum { st_var_index = 8, tag_u64 = 8, at = sizeof key - 1 };
  struct lc_slice row = {0};
  uint64_t sum = 0;
  *limit = UINT64_MAX;
  if (!plan->is_limited || plan->kind > LC_SQL_COUNT || lc_view_row_count(view, LC_ST_VAR) == 0) return 0;
  if (lc_view_find(view, st_var_index, lc_slice(key, at), &row, NULL) == LC_ERRNO_OK && row.data && row.len >= at + 9 && row.data[at] == tag_u64) memcpy(limit, row.data + at + 1, 8);
  for (uint32_t i = 0; *limit != UINT64_MAX && i < plan->n_fragments; i++) sum = add(sum, estimate(plan->fragments[i], view, plan->limit));
  return sum;
}
enum lc_status lc_plan_check_limit(uint64_t sum, uint64_t limit, struct lc_error *err) {
  return sum <= limit ? LC_OK : lc_fail(err, LC_LIMIT, "Estimated cardinality (%llu rows) exceeds limit (%llu rows)", (unsigned long long)sum, (unsigned long long)limit);
}

/* ---- the plan as text ---- */

void lc_plan_explain(const struct lc_plan *plan, struct lc_read_view view, struct lc_buf *out) {
  static const char *const kinds[] = {"Select", "Count", "Insert", "Update", "Delete"};
  lc_buf_printf(out, "%s%s", kinds[plan->kind], plan->n_fragments > 1 ? " of all parts" : "");
  if (plan->limit != UINT64_MAX && plan->kind == LC_SQL_SELECT) lc_buf_printf(out, ", at most %llu rows", (unsigned long long)plan->limit);
  lc_buf_str(out, "\n");
  for (uint32_t i = 0; i < plan->n_fragments; i++) {
    const struct fragment *f = plan->fragments[i];
    const struct order *o = &f->orders[f->n_relations];
    if (plan->n_fragments > 1) lc_buf_printf(out, "Part %u\n", i + 1);
    for (uint32_t j = 0; j < o->n; j++) {
      const struct step *s = &o->steps[j];
      const struct lc_table_info *t = f->relations[s->relation].table;
      lc_buf_printf(out, "%*s-> ", (int)(2 * j + 2), "");
      if (s->access == A_SCAN) lc_buf_printf(out, "Scan %.*s", T(t->name));
      else if (s->access == A_HASH) lc_buf_printf(out, "Hash join %.*s on %.*s", T(t->name), T(t->row_type->fields[s->hash_column->column].name));
      else lc_buf_printf(out, "%s %.*s by %.*s", s->access == A_FIND ? "Find in" : s->access == A_POINT ? "Look up" : "Range of", T(t->name), T(s->index->name));
      uint32_t filters = s->n_filters - (s->access == A_FIND || s->access == A_POINT ? (s->n_parts < s->n_filters ? s->n_parts : s->n_filters) : 0);
      if (filters) lc_buf_printf(out, ", %u condition%s", filters, filters == 1 ? "" : "s");
      lc_buf_printf(out, " (%llu rows in the table)\n", (unsigned long long)lc_view_row_count(view, t->table_id));
    }
  }
}
