/* Owns: what a committed transaction changes in the subscribed queries (spec/05 §16-§19): which are concerned, their deltas, each evaluated and encoded once, and
 * one message for each subscriber.
 *
 * A fragment of one relation has the changed rows that its conditions admit. For a join of R and S, with the new state R', S' and the net changes r+, r-, s+, s-:
 *   inserts = r+ S'  +  R' s+  +  r+ s-  +  r- s+        deletes = r- S'  +  R' s-  +  r+ s+  +  r- s-
 * as bags, equal rows then cancel one for one. An event table is never in R' and its rows are never deleted: it contributes r+ S' alone.
 * Invariants: memory of an evaluation is one arena. The transaction is committed already, so nothing here undoes it: a query for which there is no memory fails
 * its sets, whose clients are told and subscribe again; a client is never left with rows that are not those of its queries.
 * Callers: the face.
 */
#include "live_internal.h"
#include <stdlib.h>

struct evaluation {
  struct lc_live *live;
  const struct lc_table_delta *table;
  struct lc_slice row; bool is_insert;
  struct query *hits, **last_hit;
};

static bool push(struct lc_live *l, struct rows *list, struct lc_slice row) {
  if (list->n == list->cap) {
    uint32_t cap = list->cap ? list->cap * 2 : 4;
    struct lc_slice *more = lc_arena_alloc(&l->arena, cap * sizeof *more);
    if (!more) return false;
    if (list->n) memcpy(more, list->rows, list->n * sizeof *more);
    list->rows = more;
    list->cap = cap;
  }
  list->rows[list->n++] = row;
  return true;
}

static void first_hit(struct evaluation *e, struct query *q) {
  q->stamp = e->live->stamp;
  q->hit_next = NULL;
  q->deltas = NULL;
  q->n_deltas = 0;
  q->lacks_memory = false;
  *e->last_hit = q;
  e->last_hit = &q->hit_next;
  __builtin_prefetch(q->links);
}
/* The row may concern this relation of a query. */
static void hit(void *ctx, struct occurrence *o) {
  struct evaluation *e = ctx;
  struct query *q = o->query;
  struct rows *list = e->is_insert ? &o->inserts : &o->deletes;
  if (o->stamp == e->live->stamp && list->n && list->rows[list->n - 1].data == e->row.data) return; /* it has more than one partner */
  if (!o->is_complete && q->plan && !lc_fragment_admits(q->plan, o->fragment, o->relation, e->row)) return;
  if (o->stamp != e->live->stamp) {
    o->stamp = e->live->stamp;
    o->inserts = o->deletes = (struct rows){0};
  }
  bool ok = push(e->live, list, e->row);
  if (q->stamp == e->live->stamp) {
    q->lacks_memory |= !ok;
    return;
  }
  first_hit(e, q);
  q->lacks_memory = !ok;
}

/* ---- the delta of a fragment ---- */

enum { ARG_HASH_BYTES = 32, PREFETCHED_ROWS = 64 };

struct signed_row { struct lc_slice row; int32_t sign; };
struct bag { struct lc_live *live; struct signed_row *rows; uint32_t n, cap; int32_t sign; bool lacks_memory; };
static bool to_bag(void *ctx, struct lc_slice row) {
  struct bag *b = ctx;
  if (b->n == b->cap) {
    uint32_t cap = b->cap ? b->cap * 2 : 16;
    struct signed_row *more = lc_arena_alloc(&b->live->arena, cap * sizeof *more);
    if (!more) return !(b->lacks_memory = true);
    if (b->n) memcpy(more, b->rows, b->n * sizeof *more);
    b->rows = more;
    b->cap = cap;
  }
  struct lc_slice copy = lc_arena_copy(&b->live->arena, row);
  if (!copy.data) return !(b->lacks_memory = true);
  b->rows[b->n++] = (struct signed_row){copy, b->sign};
  return true;
}
static int by_bytes(const void *a, const void *b) {
  struct lc_slice x = ((const struct signed_row *)a)->row, y = ((const struct signed_row *)b)->row;
  int c = memcmp(x.data, y.data, x.len < y.len ? x.len : y.len);
  return c ? c : x.len < y.len ? -1 : x.len > y.len;
}

static bool no_memory(struct lc_error *err) { return lc_fail(err, LC_NOMEM, "out of memory") == LC_OK; }
/* One term of the sum; NULL: the relation's table as it is now. False: the plan does not run any more. */
static bool term(struct query *q, uint32_t fragment, const struct rows *r, const struct rows *s, int32_t sign, struct bag *out, struct lc_error *err) {
  struct lc_sql_source sources[2] = {{.is_rows = r != NULL}, {.is_rows = s != NULL}};
  if ((r && r->n == 0) || (s && s->n == 0)) return true;
  if (r) sources[0].rows = r->rows, sources[0].n_rows = r->n;
  if (s) sources[1].rows = s->rows, sources[1].n_rows = s->n;
  out->sign = sign;
  return lc_fragment_run(q->plan, fragment, (struct lc_read_view){.ds = out->live->ds}, sources, to_bag, out, err) == LC_OK && (!out->lacks_memory || no_memory(err));
}

static bool join_delta(struct lc_live *l, struct query *q, uint32_t fragment, const struct occurrence *r, const struct occurrence *s, struct rows *inserts, struct rows *deletes,
                       struct lc_error *err) {
  static const struct rows none;
  bool has_r = r->stamp == l->stamp, has_s = s->stamp == l->stamp;
  const struct rows *rp = has_r ? &r->inserts : &none, *rm = has_r ? &r->deletes : &none, *sp = has_s ? &s->inserts : &none, *sm = has_s ? &s->deletes : &none;
  bool r_event = lc_fragment_table(q->plan, fragment, 0)->is_event, s_event = lc_fragment_table(q->plan, fragment, 1)->is_event;
  struct bag b = {.live = l};
  bool ok;
  if (r_event || s_event) {
    ok = (!r_event || term(q, fragment, rp, NULL, 1, &b, err)) && (!s_event || term(q, fragment, NULL, sp, 1, &b, err));
  } else {
    ok = term(q, fragment, rp, NULL, 1, &b, err) && term(q, fragment, NULL, sp, 1, &b, err) && term(q, fragment, rp, sm, 1, &b, err) && term(q, fragment, rm, sp, 1, &b, err) &&
         term(q, fragment, rm, NULL, -1, &b, err) && term(q, fragment, NULL, sm, -1, &b, err) && term(q, fragment, rp, sp, -1, &b, err) && term(q, fragment, rm, sm, -1, &b, err);
  }
  if (b.n > 1) qsort(b.rows, b.n, sizeof *b.rows, by_bytes);
  for (uint32_t i = 0, same; i < b.n && ok; i = same) {
    int32_t sum = 0;
    for (same = i; same < b.n && by_bytes(&b.rows[i], &b.rows[same]) == 0; same++) sum += b.rows[same].sign;
    for (; sum > 0 && ok; sum--) ok = push(l, inserts, b.rows[i].row) || no_memory(err);
    for (; sum < 0 && ok; sum++) ok = push(l, deletes, b.rows[i].row) || no_memory(err);
  }
  return ok;
}

/* The parts of a query that have changed. False: it cannot be evaluated any more. */
static bool evaluate_query(struct lc_live *l, struct query *q, struct lc_error *err) {
  if (!q->plan) return lc_fail(err, LC_CONFLICT, "%s", q->error ? q->error : "out of memory"), false;
  if (q->lacks_memory) return no_memory(err);
  const struct lc_table_info *t = q->table;
  for (uint32_t i = q->n_parts; i-- > 0;) {
    const struct part *p = &q->parts[i];
    const struct occurrence *o = p->occurrences;
    struct rows inserts = {0}, deletes = {0};
    if (p->n_relations == 1 && o->stamp == l->stamp) {
      inserts = o->inserts;
      deletes = o->deletes;
    } else if (p->n_relations == 2 && (o[0].stamp == l->stamp || o[1].stamp == l->stamp) && !join_delta(l, q, i, &o[0], &o[1], &inserts, &deletes, err)) {
      return false;
    }
    if (!inserts.n && !deletes.n) continue;
    size_t skip = p->n_relations == 1 && t->view ? ARG_HASH_BYTES : 0;
    struct part_delta *d = lc_arena_alloc(&l->arena, sizeof *d);
    if (!d) return no_memory(err);
    d->next = q->deltas;
    d->delta = (struct lc_query_delta){.table = t, .table_name = t->name, .is_event = t->is_event, .n_inserts = inserts.n, .n_deletes = deletes.n,
                                       .inserts = row_list_of(&l->arena, inserts.rows, inserts.n, skip), .deletes = row_list_of(&l->arena, deletes.rows, deletes.n, skip)};
    if (!d->delta.inserts.data || !d->delta.deletes.data) return no_memory(err);
    q->deltas = d;
    q->n_deltas++;
  }
  return true;
}

/* All broken queries: some are not found by their tables. */
static void hit_broken(struct lc_live *l, struct evaluation *e) {
  l->has_unwatched = false;
  for (uint32_t i = 0; i < l->n_buckets; i++)
    for (struct query *q = l->by_key[i]; q; q = q->key_next) {
      if (!q->is_broken || q->stamp == l->stamp) continue;
      first_hit(e, q);
    }
}

/* ---- telling the subscribers ---- */

static int by_table_name(const void *a, const void *b) {
  const struct lc_query_delta *x = *(const struct lc_query_delta *const *)a, *y = *(const struct lc_query_delta *const *)b;
  int c = memcmp(x->table_name.data, y->table_name.data, x->table_name.len < y->table_name.len ? x->table_name.len : y->table_name.len);
  return c ? c : x->table_name.len < y->table_name.len ? -1 : x->table_name.len > y->table_name.len;
}

/* Ends a set: out of its subscriber's list and into *failed. Its client hears of it before any update of the transaction (spec/05 §19). */
static void end_set(struct set *set, struct set **failed) {
  struct set **at = &set->subscriber->sets;
  set->has_failed = true;
  while (*at != set) at = &(*at)->next;
  *at = set->next;
  set->next = *failed;
  *failed = set;
}
static void fail_set(struct set *set, const char *text, const struct lc_live_sink *sink, struct set **failed) {
  struct subscriber *s = set->subscriber;
  end_set(set, failed);
  if (!sink->failed(sink->ctx, s->client, set->id, text)) return;
  while (s->sets) end_set(s->sets, failed);
}
/* The sets of a query that cannot be evaluated any more. */
static void fail_sets(struct lc_live *l, struct query *q, const char *text, const struct lc_live_sink *sink, struct set **failed) {
  struct lc_buf b = {0};
  lc_buf_printf(&b, "%s, executing: `%.*s`", text, (int)q->sql.len, (const char *)q->sql.data);
  const char *whole = (const char *)lc_arena_take(&l->arena, &b).data;
  for (struct link *k = q->links; k; k = k->query_next)
    if (!k->set->has_failed) fail_set(k->set, whole ? whole : text, sink, failed);
}

static int by_set_id(const void *a, const void *b) {
  uint64_t x = ((const struct lc_set_update *)a)->query_set_id, y = ((const struct lc_set_update *)b)->query_set_id;
  return x < y ? -1 : x > y;
}
static void hit_link(struct link *k, struct subscriber **touched) {
  struct set *set = k->set;
  struct subscriber *s = set->subscriber;
  if (!set->hits) {
    set->hit_next = s->hit_sets;
    s->hit_sets = set;
  }
  k->hit_next = set->hits;
  set->hits = k;
  set->n_hits += k->query->n_deltas;
  if (s->is_hit) return;
  s->is_hit = true;
  s->hit_next = *touched;
  *touched = s;
}
static void tell(struct lc_live *l, struct subscriber *s, const struct lc_live_sink *sink, struct set **failed) {
  uint32_t n_sets = 0, n_deltas = 0, n = 0;
  for (struct set *set = s->hit_sets; set; set = set->hit_next) {
    n_sets++;
    n_deltas += set->n_hits;
  }
  struct lc_set_update *updates = lc_arena_alloc(&l->arena, n_sets * sizeof *updates);
  const struct lc_query_delta **deltas = lc_arena_alloc(&l->arena, n_deltas * sizeof *deltas);
  for (struct set *set = s->hit_sets, *next; set; set = next) {
    uint32_t k = 0;
    next = set->hit_next;
    if (!set->has_failed && (!updates || !deltas)) fail_set(set, "out of memory", sink, failed);
    for (struct link *link = set->hits; link && !set->has_failed; link = link->hit_next)
      for (struct part_delta *d = link->query->deltas; d; d = d->next) deltas[k++] = &d->delta;
    set->hits = NULL;
    set->n_hits = 0;
    if (set->has_failed) continue;
    if (k > 1) qsort(deltas, k, sizeof *deltas, by_table_name);
    updates[n++] = (struct lc_set_update){set->id, k, deltas};
    deltas += k;
  }
  s->hit_sets = NULL;
  if (n > 1) qsort(updates, n, sizeof *updates, by_set_id);
  if (n) sink->update(sink->ctx, s->client, updates, n);
}

void lc_live_evaluate(struct lc_live *l, const struct lc_tx_delta *delta, const struct lc_live_sink *sink) {
  struct evaluation e = {.live = l, .last_hit = &e.hits};
  struct subscriber *touched = NULL;
  struct set *failed = NULL;
  if (l->n_queries == 0) return;
  live_follow_schema(l);
  l->stamp++;
  for (uint32_t i = 0; i < delta->n_tables; i++) {
    const struct lc_table_delta *d = e.table = &delta->tables[i];
    struct table_interest *t = interest_of(&l->interest, d->table_id);
    if (!t || !d->table) continue;
    for (unsigned step = 0; step < 2 && d->n_inserts + d->n_deletes <= PREFETCHED_ROWS; step++) {
      for (uint32_t k = 0; k < d->n_inserts; k++) interest_prefetch(t, d->table->row_type, d->inserts[k], step);
      for (uint32_t k = 0; k < d->n_deletes; k++) interest_prefetch(t, d->table->row_type, d->deletes[k], step);
    }
    for (uint32_t k = 0; k < d->n_inserts + d->n_deletes; k++) {
      e.is_insert = k < d->n_inserts;
      e.row = e.is_insert ? d->inserts[k] : d->deletes[k - d->n_inserts];
      interest_match(t, d->table->row_type, e.row, hit, &e);
      edges_match(l, t, delta, d->table->row_type, e.row, hit, &e);
    }
  }
  if (l->has_unwatched) hit_broken(l, &e);
  for (struct query *q = e.hits; q; q = q->hit_next) {
    struct lc_error err = {0};
    l->counts.evaluated++;
    if (!evaluate_query(l, q, &err)) {
      q->deltas = NULL;
      q->n_deltas = 0;
      fail_sets(l, q, err.text, sink, &failed);
      continue;
    }
    l->counts.matched += q->n_deltas > 0;
    for (struct link *k = q->n_deltas ? q->links : NULL; k; k = k->query_next) hit_link(k, &touched);
  }
  for (struct subscriber *s = touched; s; s = s->hit_next) {
    tell(l, s, sink, &failed);
    s->is_hit = false;
  }
  for (struct query *q = e.hits; q; q = q->hit_next)
    for (struct part_delta *d = q->deltas; d; d = d->next)
      for (int k = 0; k < 3; k++) lc_buf_free(&d->delta.cached[k]);
  touched = NULL;
  while (failed) {
    struct set *set = failed;
    struct subscriber *s = set->subscriber;
    failed = set->next;
    live_set_free(l, set);
    if (s->is_hit) continue;
    s->is_hit = true;
    s->hit_next = touched;
    touched = s;
  }
  for (struct subscriber *s = touched, *next; s; s = next) {
    next = s->hit_next;
    s->is_hit = false;
    live_drop_empty_subscriber(l, s);
  }
  lc_arena_reset(&l->arena);
}
