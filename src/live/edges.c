/* Owns: asking the partners of a changed row: the queries of an edge (interest.c) look only at conditions of the other relation, so the rows that join with the
 * changed one are looked up, as they are now and as far as this commit deleted them, and each is asked whom it concerns.
 *
 * Invariants: a query is named if any term of its delta (evaluate.c) with the changed row can have rows. Caller: evaluate.c.
 */
#include "live_internal.h"
#include <stdlib.h>

enum { FEW = 2 };

struct deleted { uint64_t hash; struct lc_slice row; };
static int by_hash(const void *a, const void *b) {
  const struct deleted *x = a, *y = b;
  return x->hash < y->hash ? -1 : x->hash > y->hash;
}
/* Once a commit: the partner's deleted rows, by the column that joins. */
static void prepare(struct lc_live *l, struct edge *e, const struct lc_tx_delta *delta) {
  e->stamp = l->stamp;
  e->n_deleted = 0;
  e->deleted = NULL;
  e->asks_all = e->partners.n_occurrences <= FEW; /* then looking for partners costs more than it saves */
  for (uint32_t i = 0; i < delta->n_tables && !e->asks_all; i++) {
    const struct lc_table_delta *d = &delta->tables[i];
    if (d->table_id != e->partner->table_id || !d->n_deletes) continue;
    if (!(e->deleted = lc_arena_alloc(&l->arena, d->n_deletes * sizeof *e->deleted))) {
      e->asks_all = true;
      return;
    }
    for (uint32_t k = 0; k < d->n_deletes; k++) {
      struct lc_slice value = interest_column(e->partner->row_type, d->deletes[k], e->partner_column);
      e->deleted[e->n_deleted++] = (struct deleted){lc_hash64(value.data, value.len, 12), d->deletes[k]};
    }
    qsort(e->deleted, e->n_deleted, sizeof *e->deleted, by_hash);
  }
}

void edges_match(struct lc_live *l, struct table_interest *t, const struct lc_tx_delta *delta, const struct lc_type *row_type, struct lc_slice row, void (*hit)(void *ctx, struct occurrence *o), void *ctx) {
  for (struct edge *e = t->edges; e; e = e->next) {
    if (e->stamp != l->stamp) prepare(l, e, delta);
    struct lc_slice value = interest_column(row_type, row, e->column);
    struct lc_row_iter *it;
    if (e->asks_all || lc_view_scan_point((struct lc_read_view){.ds = l->ds}, e->index_id, value, &it, NULL) != LC_ERRNO_OK) {
      interest_every(&e->partners, hit, ctx);
      continue;
    }
    for (struct lc_slice partner; (partner = lc_row_iter_next(it)).data;) interest_match(&e->partners, e->partner->row_type, partner, hit, ctx);
    lc_row_iter_close(it);
    if (!e->n_deleted) continue;
    uint64_t hash = lc_hash64(value.data, value.len, 12);
    uint32_t low = 0, high = e->n_deleted;
    while (low < high) {
      uint32_t middle = (low + high) / 2;
      if (e->deleted[middle].hash < hash) low = middle + 1;
      else high = middle;
    }
    for (; low < e->n_deleted && e->deleted[low].hash == hash; low++) interest_match(&e->partners, e->partner->row_type, e->deleted[low].row, hit, ctx);
  }
}
