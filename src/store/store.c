/* Owns: epochs, snapshots and their retired pieces.
 *
 * Invariants: a piece born after `newest_live` is seen by no snapshot and may be changed or freed at once; one that dies earlier goes to the
 * newest live snapshot's list; when a snapshot is reclaimed, what the next older one can still see goes on to that one's list.
 * Callers: tree.c, the face.
 */
#include "store_internal.h"

static void retire(struct lc_snapshot *x, struct piece *p) {
  struct piece **list = &x->retired[x->next_list++ % RETIRED_LISTS];
  p->next_retired = *list;
  *list = p;
}

void piece_drop(struct lc_tree *t, struct piece *p) {
  struct lc_store *s = t->store;
  size_t bytes = piece_bytes(p);
  t->memory_bytes -= bytes;
  s->live_bytes -= bytes;
  for (uint32_t i = 0; i < N_MEMOS; i++)
    if ((struct piece *)s->memos[i].leaf == p) s->memos[i] = (struct memo){0};
  if (p->born > s->newest_live) {
    piece_free(s, p);
    return;
  }
  s->retired_bytes += bytes;
  s->n_retired++;
  retire(s->live, p); /* the newest that somebody holds, or did when it was last looked at */
}

/* ---- what a transaction took out ---- */

static void account(struct lc_tree *t, const struct piece *p, bool is_live) {
  uint64_t bytes = piece_bytes(p);
  t->memory_bytes += is_live ? bytes : -bytes;
  t->store->live_bytes += is_live ? bytes : -bytes;
  t->store->retired_bytes += is_live ? -bytes : bytes;
}
void blob_take_out(struct lc_tree *t, struct blob *b) {
  if (t->store->phase == LC_STORE_PLAIN) {
    piece_drop(t, &b->piece);
    return;
  }
  struct piece **list = &t->taken_out[t->store->phase == LC_STORE_UNDOING];
  account(t, &b->piece, false);
  b->piece.next_retired = *list;
  *list = &b->piece;
}
/* Mostly the latest: changes are undone backwards. */
struct blob *blob_put_back(struct lc_tree *t, struct lc_slice bytes) {
  for (int i = 0; i < 2; i++)
    for (struct piece **p = &t->taken_out[i]; *p; p = &(*p)->next_retired) {
      struct blob *b = (struct blob *)*p;
      if (b->len != bytes.len || memcmp(b->data, bytes.data, bytes.len) != 0) continue;
      *p = b->piece.next_retired;
      account(t, &b->piece, true);
      return b;
    }
  return NULL;
}
void lc_tree_settle(struct lc_tree *t) {
  for (int i = 0; t->store && i < 2; i++)
    for (struct piece *p; (p = t->taken_out[i]) != NULL;) {
      t->taken_out[i] = p->next_retired;
      account(t, p, true);
      piece_drop(t, p);
    }
}

/* ---- stores ---- */

struct lc_store *lc_store_new(void) {
  struct lc_store *s = lc_alloc_zero(1, sizeof *s);
  if (!s) return NULL;
  s->epoch = 1;
  pools_init(s);
  return s;
}
void lc_store_free(struct lc_store *s) {
  if (!s) return;
  while (lc_store_reclaim(s, UINT32_MAX)) {}
  lc_assert(!s->newest);
  pools_free(s);
  lc_buf_free(&s->scratch.spill);
  lc_free(s->roots);
  lc_free(s->free_slots);
  lc_free(s);
}
/* ---- snapshots ---- */

void store_look(struct lc_store *s) {
  struct lc_snapshot *x = s->newest;
  while (x && (x->dead || atomic_load_explicit(&x->refs, memory_order_acquire) == 0)) x = x->older;
  s->live = x;
  s->newest_live = x ? x->epoch : 0;
}

struct lc_snapshot *lc_snapshot_take(struct lc_store *s) {
  struct lc_snapshot *x = s->newest;
  if (x && !s->changed && !x->dead) {
    atomic_fetch_add_explicit(&x->refs, 1, memory_order_relaxed);
    s->live = x;
    s->newest_live = x->epoch;
    return x;
  }
  x = lc_alloc(sizeof *x + s->n_roots * sizeof *x->roots);
  if (!x) return NULL;
  *x = (struct lc_snapshot){.store = s, .epoch = s->epoch++, .older = s->newest, .n_roots = s->n_roots};
  atomic_store_explicit(&x->refs, 1, memory_order_relaxed);
  memcpy(x->roots, s->roots, s->n_roots * sizeof *x->roots);
  if (s->newest) s->newest->newer = x;
  s->newest = s->live = x;
  s->newest_live = x->epoch;
  s->changed = false;
  return x;
}
struct lc_snapshot *lc_snapshot_ref(struct lc_snapshot *x) {
  atomic_fetch_add_explicit(&x->refs, 1, memory_order_relaxed);
  return x;
}
void lc_snapshot_release(struct lc_snapshot *x) {
  if (x) atomic_fetch_sub_explicit(&x->refs, 1, memory_order_release);
}

bool lc_store_reclaim(struct lc_store *s, uint32_t max_nodes) {
  struct lc_snapshot *x = s->newest;
  while (x) {
    struct lc_snapshot *older = x->older;
    /* the newest stays to be shared while nothing has changed since: it holds nothing */
    bool gone = x->dead || (atomic_load_explicit(&x->refs, memory_order_acquire) == 0 && (x != s->newest || s->changed || max_nodes == UINT32_MAX));
    if (!gone) {
      x = older;
      continue;
    }
    x->dead = true;
    for (uint32_t i = 0, empty = 0; empty < RETIRED_LISTS; i = (i + 1) % RETIRED_LISTS) {
      struct piece *p = x->retired[i];
      if (!p) {
        empty++;
        continue;
      }
      if (max_nodes == 0) {
        store_look(s);
        return true;
      }
      max_nodes--;
      empty = 0;
      x->retired[i] = p->next_retired;
      __builtin_prefetch(x->retired[i], 1);
      if (older && p->born <= older->epoch) {
        retire(older, p);
      } else {
        s->retired_bytes -= piece_bytes(p);
        piece_free(s, p);
      }
    }
    if (x->newer) x->newer->older = older;
    else s->newest = older, s->changed = true; /* than what is the newest now */
    if (older) older->newer = x->newer;
    lc_free(x);
    x = older;
  }
  store_look(s);
  return false;
}

bool lc_store_reclaim_some(struct lc_store *s) {
  uint64_t n = LC_RECLAIM_PACE + LC_RECLAIM_TIMES * s->n_retired;
  s->n_retired = 0;
  return lc_store_reclaim(s, n < UINT32_MAX ? (uint32_t)n : UINT32_MAX - 1); /* UINT32_MAX would take the newest snapshot, too */
}
