/* Owns: running queries: nested loops over the steps of an order, each by its index, a hash table made on the way, or a scan (spec/05 §12). Callers: the face. */
#include "plan.h"
#include <stdlib.h>

/* ---- conditions ---- */

static inline const uint8_t *value_at(const struct expr *e, const struct lc_slice *rows, const struct relation *relations) {
  if (e->op == OP_VALUE) return e->value.data;
  const uint8_t *row = rows[e->relation].data;
  return e->offset_bytes != LC_SIZE_DYNAMIC ? row + e->offset_bytes : lc_row_column(relations[e->relation].table->row_type, row, e->column);
}
static inline bool decide(enum op op, int c) {
  switch (op) {
  case OP_EQ: return c == 0;
  case OP_NE: return c != 0;
  case OP_LT: return c < 0;
  case OP_LE: return c <= 0;
  case OP_GT: return c > 0;
  default: return c >= 0;
  }
}
static bool holds(const struct expr *e, const struct lc_slice *rows, const struct relation *relations) {
  if (e->op == OP_AND) return holds(e->left, rows, relations) && holds(e->right, rows, relations);
  if (e->op == OP_OR) return holds(e->left, rows, relations) || holds(e->right, rows, relations);
  if (e->op >= OP_COLUMN) return *value_at(e, rows, relations) != 0;
  uint8_t truth[2];
  const uint8_t *a = e->left->op < OP_COLUMN ? (truth[0] = holds(e->left, rows, relations), &truth[0]) : value_at(e->left, rows, relations);
  const uint8_t *b = e->right->op < OP_COLUMN ? (truth[1] = holds(e->right, rows, relations), &truth[1]) : value_at(e->right, rows, relations);
  switch (e->left->type->kind) { /* the usual ones without a call */
  case LC_T_U32: {
    uint32_t x, y;
    memcpy(&x, a, 4);
    memcpy(&y, b, 4);
    return decide(e->op, x < y ? -1 : x > y);
  }
  case LC_T_I32: {
    int32_t x, y;
    memcpy(&x, a, 4);
    memcpy(&y, b, 4);
    return decide(e->op, x < y ? -1 : x > y);
  }
  case LC_T_U64: {
    uint64_t x, y;
    memcpy(&x, a, 8);
    memcpy(&y, b, 8);
    return decide(e->op, x < y ? -1 : x > y);
  }
  case LC_T_I64: {
    int64_t x, y;
    memcpy(&x, a, 8);
    memcpy(&y, b, 8);
    return decide(e->op, x < y ? -1 : x > y);
  }
  default: return decide(e->op, lc_bsatn_compare(e->left->type, a, b));
  }
}
/* Those that are no tests. */
static bool others_hold(const struct step *s, const struct lc_slice *rows, const struct relation *relations) {
  for (uint32_t i = s->n_tests; i < s->n_filters; i++)
    if (!holds(s->filters[i], rows, relations)) return false;
  return true;
}

bool lc_fragment_admits(const struct lc_plan *plan, uint32_t fragment, uint32_t relation, struct lc_slice row) {
  const struct fragment *f = plan->fragments[fragment];
  struct lc_slice rows[LC_SQL_MAX_RELATIONS];
  rows[relation] = row;
  for (uint32_t i = 0; i < f->n_conditions; i++) {
    uint32_t uses = f->conditions[i]->relations;
    if ((uses & ~(1u << relation)) == 0 && !holds(f->conditions[i], rows, f->relations)) return false;
  }
  return true;
}

/* ---- hash tables for joins without an index ---- */

struct bucket { uint64_t hash; size_t key_at, row_at; uint32_t key_len, row_len, next; };
struct hash { bool is_built; struct lc_buf bytes; struct bucket *buckets; uint32_t n, cap, *heads, mask; };

struct run {
  const struct lc_plan *plan;
  const struct fragment *f;
  const struct order *order;
  struct lc_read_view view;
  const struct lc_sql_source *sources; /* NULL: tables only */
  struct lc_slice rows[LC_SQL_MAX_RELATIONS];
  struct lc_buf keys[LC_SQL_MAX_RELATIONS], high[LC_SQL_MAX_RELATIONS];
  struct hash hashes[LC_SQL_MAX_RELATIONS];
  bool (*row)(void *ctx, struct lc_slice row); void *ctx;
  uint64_t n;                /* results so far, over all fragments */
  struct lc_buf projected;
  struct lc_error *err;
  bool failed;
};
enum { NOTHING = UINT32_MAX, ARG_HASH_BYTES = 32 };

static size_t column_len(const struct expr *column, const uint8_t *at) {
  return column->type->static_size_bytes != LC_SIZE_DYNAMIC ? column->type->static_size_bytes : (size_t)(lc_bsatn_skip(column->type, at) - at);
}
static bool no_memory(struct run *r) {
  lc_fail(r->err, LC_NOMEM, "out of memory while running a query");
  r->failed = true;
  return false;
}
static bool hash_add(struct run *r, struct hash *h, const struct expr *column, struct lc_slice row) {
  if (h->n == h->cap) {
    uint32_t cap = h->cap ? h->cap * 2 : 256;
    struct bucket *b = lc_realloc(h->buckets, cap * sizeof *b);
    if (!b) return no_memory(r);
    h->buckets = b;
    h->cap = cap;
  }
  const uint8_t *at = value_at(column, r->rows, r->f->relations);
  size_t len = column_len(column, at);
  h->buckets[h->n++] = (struct bucket){.hash = lc_hash64(at, len, 7), .key_at = h->bytes.len + (size_t)(at - row.data), .row_at = h->bytes.len, .key_len = (uint32_t)len, .row_len = (uint32_t)row.len};
  lc_buf_slice_append(&h->bytes, row);
  return lc_buf_ok(&h->bytes) || no_memory(r);
}
/* All rows of the step's table that pass the conditions on them alone. */
static bool hash_build(struct run *r, uint32_t depth) {
  const struct step *s = &r->order->steps[depth];
  struct hash *h = &r->hashes[depth];
  struct lc_row_iter *it;
  h->is_built = true;
  if (lc_view_scan(r->view, r->f->relations[s->relation].table->table_id, &it) != LC_ERRNO_OK) return no_memory(r);
  bool ok = true;
  for (struct lc_slice row; ok && (row = lc_row_iter_next(it)).data;) {
    bool fits = true;
    r->rows[s->relation] = row;
    for (uint32_t i = 0; i < s->n_filters && fits; i++) fits = s->filters[i]->relations != 1u << s->relation || holds(s->filters[i], r->rows, r->f->relations);
    if (fits) ok = hash_add(r, h, s->hash_column, row);
  }
  lc_row_iter_close(it);
  uint32_t cap = 16;
  while (cap < h->n * 2u) cap *= 2;
  if (!ok || !(h->heads = lc_alloc(cap * sizeof *h->heads))) return ok ? no_memory(r) : false;
  memset(h->heads, 0xff, cap * sizeof *h->heads);
  h->mask = cap - 1;
  for (uint32_t i = h->n; i-- > 0;) {
    uint32_t *head = &h->heads[h->buckets[i].hash & h->mask];
    h->buckets[i].next = *head;
    *head = i;
  }
  return true;
}

/* ---- steps ---- */

static void put_part(struct run *r, struct lc_buf *b, const struct part *p) {
  if (p->value.data) {
    lc_buf_slice_append(b, p->value);
  } else {
    const uint8_t *at = value_at(p->column, r->rows, r->f->relations);
    lc_buf_append(b, at, column_len(p->column, at));
  }
}

/* A result: the rows of all relations are bound. True: go on. */
static bool emit(struct run *r) {
  const struct lc_plan *plan = r->plan;
  if (plan->kind == LC_SQL_COUNT) return r->n++, true;
  if (r->n >= plan->limit) return false;
  r->n++;
  struct lc_slice row = r->rows[r->f->result];
  if (plan->is_whole_row) {
    if (plan->table->view) row = lc_slice(row.data + ARG_HASH_BYTES, row.len - ARG_HASH_BYTES);
  } else {
    lc_buf_clear(&r->projected);
    for (uint32_t i = 0; i < plan->n_items; i++) {
      const uint8_t *at = value_at(plan->items[i], r->rows, r->f->relations);
      lc_buf_append(&r->projected, at, column_len(plan->items[i], at));
    }
    if (!lc_buf_ok(&r->projected)) return no_memory(r);
    row = lc_buf_slice(&r->projected);
  }
  return r->row(r->ctx, row) && r->n < plan->limit;
}

static bool run_from(struct run *r, uint32_t depth);
static bool row_of_step(struct run *r, uint32_t depth, struct lc_slice row) {
  const struct step *s = &r->order->steps[depth];
  if (!scan_row_passes(s->tests, s->n_tests, row.data)) return true;
  r->rows[s->relation] = row;
  return !others_hold(s, r->rows, r->f->relations) || run_from(r, depth + 1);
}
/* Rows that lie together. */
static bool rows_of_step(struct run *r, uint32_t depth, const struct lc_row_run *run) {
  enum { AT_ONCE = 512 };
  const struct step *s = &r->order->steps[depth];
  uint16_t selected[AT_ONCE];
  for (uint32_t from = 0; from < run->n; from += AT_ONCE) {
    uint32_t n = run->n - from < AT_ONCE ? run->n - from : AT_ONCE, kept = n;
    const uint8_t *rows = run->rows + (size_t)from * run->stride_bytes;
    if (s->n_tests) kept = scan_select(s->tests, s->n_tests, rows, run->stride_bytes, n, selected);
    for (uint32_t i = 0; i < kept; i++) {
      r->rows[s->relation] = lc_slice(rows + (size_t)(s->n_tests ? selected[i] : i) * run->stride_bytes, run->row_bytes);
      if (others_hold(s, r->rows, r->f->relations) && !run_from(r, depth + 1)) return false;
    }
  }
  return true;
}

/* True: go on. */
static bool run_from(struct run *r, uint32_t depth) {
  if (depth == r->order->n) return emit(r);
  const struct step *s = &r->order->steps[depth];
  const struct lc_table_info *t = r->f->relations[s->relation].table;
  struct lc_row_iter *it = NULL;
  bool go_on = true;
  int rc = LC_ERRNO_OK;
  if (r->sources && r->sources[s->relation].is_rows) {
    for (uint32_t i = 0; i < r->sources[s->relation].n_rows && go_on; i++) go_on = row_of_step(r, depth, r->sources[s->relation].rows[i]);
    return go_on;
  }
  struct lc_buf *key = &r->keys[depth], *high = &r->high[depth];
  lc_buf_clear(key);
  for (uint32_t i = 0; i < s->n_parts; i++) put_part(r, key, &s->parts[i]);
  if (!lc_buf_ok(key)) return no_memory(r);
  switch (s->access) {
  case A_FIND: {
    struct lc_slice row;
    rc = lc_view_find(r->view, s->index->index_id, lc_buf_slice(key), &row, r->err);
    if (rc == LC_ERRNO_OK) return row.data ? row_of_step(r, depth, row) : true;
    break;
  }
  case A_HASH: {
    struct hash *h = &r->hashes[depth];
    if (!h->is_built && !hash_build(r, depth)) return false;
    const uint8_t *at = value_at(s->hash_part->column, r->rows, r->f->relations);
    size_t len = column_len(s->hash_part->column, at);
    uint64_t hash = lc_hash64(at, len, 7);
    for (uint32_t i = h->n ? h->heads[hash & h->mask] : NOTHING; i != NOTHING && go_on; i = h->buckets[i].next) {
      const struct bucket *b = &h->buckets[i];
      if (b->hash == hash && b->key_len == len && memcmp(h->bytes.data + b->key_at, at, len) == 0) go_on = row_of_step(r, depth, lc_slice(h->bytes.data + b->row_at, b->row_len));
    }
    return go_on;
  }
  case A_POINT: rc = lc_view_scan_point(r->view, s->index->index_id, lc_buf_slice(key), &it, r->err); break;
  case A_RANGE: {
    size_t at = key->len; /* both bounds behind the prefix */
    lc_buf_clear(high);
    lc_buf_u8(key, s->has_low ? s->low_excluded : 2);
    if (s->has_low) put_part(r, key, &s->low);
    lc_buf_u8(high, s->has_high ? s->high_excluded : 2);
    if (s->has_high) put_part(r, high, &s->high);
    if (!lc_buf_ok(key) || !lc_buf_ok(high)) return no_memory(r);
    rc = lc_view_scan_range(r->view, s->index->index_id, lc_slice(key->data, at), s->n_parts, lc_slice(key->data + at, key->len - at), lc_buf_slice(high), &it, r->err);
    break;
  }
  default: rc = lc_view_scan(r->view, t->table_id, &it); break;
  }
  if (rc != LC_ERRNO_OK) {
    r->failed = true;
    lc_fail(r->err, rc == LC_ERRNO_TRAP ? LC_NOMEM : LC_CONFLICT, "the table `%.*s` or an index that this query uses is gone", T(t->name));
    return false;
  }
  for (struct lc_row_run run; go_on && lc_row_iter_run(it, &run);) go_on = rows_of_step(r, depth, &run);
  lc_row_iter_close(it);
  return go_on;
}

static void run_end(struct run *r) {
  for (uint32_t i = 0; i < r->f->n_relations; i++) {
    lc_buf_free(&r->keys[i]);
    lc_buf_free(&r->high[i]);
    lc_buf_free(&r->hashes[i].bytes);
    lc_free(r->hashes[i].buckets);
    lc_free(r->hashes[i].heads);
  }
  lc_buf_free(&r->projected);
}

/* Runs one fragment; *n counts results over several. LC_OK also when `row` has stopped it. */
static enum lc_status run_fragment(const struct lc_plan *plan, uint32_t fragment, struct lc_read_view view, const struct lc_sql_source *sources, bool (*row)(void *ctx, struct lc_slice row), void *ctx,
                                   uint64_t *n, bool *go_on, struct lc_error *err) {
  const struct fragment *f = plan->fragments[fragment];
  struct lc_error scratch;
  struct run r; /* not cleared as a whole: a few kilobytes a run */
  uint32_t first = f->n_relations;
  for (uint32_t i = 0; sources && i < f->n_relations; i++)
    if (sources[i].is_rows && (first == f->n_relations || sources[i].n_rows < sources[first].n_rows)) first = i;
  r.plan = plan;
  r.f = f;
  r.order = &f->orders[first];
  r.view = view;
  r.sources = sources;
  r.row = row;
  r.ctx = ctx;
  r.n = *n;
  r.err = err ? err : &scratch;
  r.failed = false;
  r.projected = (struct lc_buf){0};
  memset(r.keys, 0, f->n_relations * sizeof *r.keys);
  memset(r.high, 0, f->n_relations * sizeof *r.high);
  memset(r.hashes, 0, f->n_relations * sizeof *r.hashes);
  *go_on = run_from(&r, 0);
  *n = r.n;
  run_end(&r);
  return r.failed ? r.err->status : LC_OK;
}

enum lc_status lc_fragment_run(const struct lc_plan *plan, uint32_t fragment, struct lc_read_view view, const struct lc_sql_source *sources, bool (*row)(void *ctx, struct lc_slice row), void *ctx,
                               struct lc_error *err) {
  uint64_t n = 0;
  bool go_on;
  return run_fragment(plan, fragment, view, sources, row, ctx, &n, &go_on, err);
}

enum lc_status lc_plan_run(const struct lc_plan *plan, struct lc_read_view view, bool (*row)(void *ctx, struct lc_slice row), void *ctx, struct lc_error *err) {
  uint64_t n = 0;
  bool go_on = plan->limit > 0;
  for (uint32_t i = 0; i < plan->n_fragments && go_on; i++) {
    enum lc_status st = run_fragment(plan, i, view, NULL, row, ctx, &n, &go_on, err);
    if (st != LC_OK) return st;
  }
  if (plan->kind == LC_SQL_COUNT && plan->limit > 0) row(ctx, lc_slice(&n, sizeof n));
  return LC_OK;
}
