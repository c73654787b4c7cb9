/* Owns: watches: somebody who wants to know of changed rows of a table, of any or of those that a search admits; the predicate index for others than
 * queries (read sets of views, spec/05 §21.4). Callers: db/.
 */
#include "live_internal.h"

struct lc_watch { struct occurrence occurrence; void *owner; };
struct lc_watches { struct interest interest; };

struct lc_watches *lc_watches_new(void) { return lc_alloc_zero(1, sizeof(struct lc_watches)); }
void lc_watches_free(struct lc_watches *w) {
  if (!w) return;
  interest_free(&w->interest);
  lc_free(w);
}

struct lc_watch *lc_watch_add(struct lc_watches *w, const struct lc_table_info *table, const struct lc_search *search, void *owner) {
  struct lc_watch *watch = lc_alloc_zero(1, sizeof *watch);
  if (!watch) return NULL;
  watch->owner = owner;
  watch->occurrence.table_id = table->table_id;
  if (interest_add(&w->interest, &watch->occurrence, table, search, NULL)) return watch;
  lc_free(watch);
  return NULL;
}
void lc_watch_remove(struct lc_watches *w, struct lc_watch *watch) {
  interest_remove(&w->interest, &watch->occurrence);
  lc_free(watch);
}

bool lc_watches_table(const struct lc_watches *w, uint32_t table_id) { return interest_of(&w->interest, table_id) != NULL; }

struct answer { void (*hit)(void *ctx, void *owner); void *ctx; };
static void hit(void *ctx, struct occurrence *o) {
  struct answer *a = ctx;
  a->hit(a->ctx, ((struct lc_watch *)o)->owner);
}
void lc_watches_match(const struct lc_watches *w, const struct lc_table_info *table, struct lc_slice row, void (*fn)(void *ctx, void *owner), void *ctx) {
  struct answer a = {fn, ctx};
  struct table_interest *t = interest_of(&w->interest, table->table_id);
  if (t) interest_match(t, table->row_type, row, hit, &a);
}
