/* Owns: epochs, snapshots and their retired pieces, pools of nodes.
 *
 * Invariants: a piece born after `newest_live` is seen by no snapshot and may be changed or freed at once; one that dies earlier goes to the
 * newest live snapshot's list; when a snapshot is reclaimed, what the next older one can still see goes on to that one's list.
 * Callers: tree.c, the face.
 */
#include "store_internal.h"
#include <sys/mman.h>

enum { FIRST_REGION_BYTES = 32 << 10, MAX_REGION_BYTES = 2 << 20 };

/* ---- pools ---- */

/* Large regions are aligned, so that the system can back them with huge pages (storage study: a third less per find in large trees). */
static struct region *region_map(size_t n) {
  size_t slack = n >= MAX_REGION_BYTES ? MAX_REGION_BYTES : 0;
  uint8_t *p = mmap(NULL, n + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return NULL;
  if (slack) {
    size_t before = (slack - (uintptr_t)p % slack) % slack;
    if (before) munmap(p, before);
    if (slack - before) munmap(p + before + n, slack - before);
    p += before;
    madvise(p, n, MADV_HUGEPAGE);
  }
  return (struct region *)(void *)p;
}

static bool pool_grow(struct pool *p) {
  size_t n = p->next_region_bytes;
  struct region *r = region_map(n);
  if (!r) return false;
  while (p->end - p->at >= (ptrdiff_t)p->bytes) { /* what is left of the region before */
    struct piece *x = (struct piece *)(void *)p->at;
    x->next_retired = p->free;
    p->free = x;
    p->n_free++;
    p->at += p->bytes;
  }
  r->next = p->regions;
  r->bytes = n;
  p->regions = r;
  p->at = (uint8_t *)r + 64;
  p->end = (uint8_t *)r + n;
  if (n < MAX_REGION_BYTES) p->next_region_bytes = n * 2;
  return true;
}
static bool pool_reserve(struct pool *p, uint32_t n) {
  while (p->n_free + (size_t)(p->end - p->at) / p->bytes < n)
    if (!pool_grow(p)) return false;
  return true;
}
static void *pool_take(struct pool *p) {
  struct piece *x = p->free;
  if (x) {
    p->free = x->next_retired;
    p->n_free--;
    return x;
  }
  if ((size_t)(p->end - p->at) < p->bytes && !pool_grow(p)) lc_panic("out of memory for the trees of a database while undoing a transaction");
  x = (struct piece *)(void *)p->at;
  p->at += p->bytes;
  return x;
}
static void pool_give(struct pool *p, struct piece *x) {
  x->next_retired = p->free;
  p->free = x;
  p->n_free++;
}
static void pool_free(struct pool *p) {
  while (p->regions) {
    struct region *r = p->regions;
    p->regions = r->next;
    munmap(r, r->bytes);
  }
}

bool store_reserve(struct lc_store *s, uint32_t leaves, uint32_t inners) { return pool_reserve(&s->leaves, leaves + RESERVE_NODES) && pool_reserve(&s->inners, inners + RESERVE_NODES); }

struct lc_tree_node *node_new(struct lc_tree *t, uint8_t kind) {
  struct pool *p = kind == PIECE_LEAF ? &t->store->leaves : &t->store->inners;
  struct lc_tree_node *n = pool_take(p);
  n->piece.born = t->store->epoch;
  n->n = 0;
  n->kind = kind;
  t->memory_bytes += p->bytes;
  return n;
}
struct blob *blob_new(struct lc_tree *t, struct lc_slice bytes) {
  struct blob *b = bytes.len < UINT32_MAX ? lc_alloc(sizeof *b + bytes.len) : NULL;
  if (!b) return NULL;
  b->piece.born = t->store->epoch;
  b->len = (uint32_t)bytes.len;
  b->kind = PIECE_BLOB;
  if (bytes.len) memcpy(b->data, bytes.data, bytes.len);
  t->memory_bytes += sizeof *b + bytes.len;
  t->store->blob_bytes += sizeof *b + bytes.len;
  return b;
}

static size_t piece_bytes(const struct piece *p) { return piece_kind(p) == PIECE_LEAF ? LEAF_BYTES : piece_kind(p) == PIECE_INNER ? INNER_BYTES : sizeof(struct blob) + ((const struct blob *)p)->len; }
static void piece_free(struct lc_store *s, struct piece *p) {
  if (piece_kind(p) == PIECE_BLOB) {
    s->blob_bytes -= piece_bytes(p);
    lc_free(p);
  } else {
    pool_give(piece_kind(p) == PIECE_LEAF ? &s->leaves : &s->inners, p);
  }
}
void piece_drop(struct lc_tree *t, struct piece *p) {
  struct lc_store *s = t->store;
  t->memory_bytes -= piece_bytes(p);
  if (p->born > s->newest_live) {
    piece_free(s, p);
    return;
  }
  struct lc_snapshot *live = s->newest; /* the newest that somebody holds, or did when it was last looked at */
  while (live->epoch != s->newest_live) live = live->older;
  p->next_retired = live->retired;
  live->retired = p;
}

/* ---- stores ---- */

struct lc_store *lc_store_new(void) {
  struct lc_store *s = lc_alloc_zero(1, sizeof *s);
  if (!s) return NULL;
  s->epoch = 1;
  s->leaves = (struct pool){.bytes = LEAF_BYTES, .next_region_bytes = FIRST_REGION_BYTES};
  s->inners = (struct pool){.bytes = INNER_BYTES, .next_region_bytes = FIRST_REGION_BYTES};
  return s;
}
void lc_store_free(struct lc_store *s) {
  if (!s) return;
  while (lc_store_reclaim(s, UINT32_MAX)) {}
  lc_assert(!s->newest);
  pool_free(&s->leaves);
  pool_free(&s->inners);
  lc_free(s->roots);
  lc_free(s->free_slots);
  lc_free(s);
}
uint64_t lc_store_memory_bytes(const struct lc_store *s) {
  uint64_t n = s->blob_bytes;
  for (const struct region *r = s->leaves.regions; r; r = r->next) n += r->bytes;
  for (const struct region *r = s->inners.regions; r; r = r->next) n += r->bytes;
  return n;
}

/* ---- snapshots ---- */

void store_look(struct lc_store *s) {
  struct lc_snapshot *x = s->newest;
  while (x && (x->dead || atomic_load_explicit(&x->refs, memory_order_acquire) == 0)) x = x->older;
  s->newest_live = x ? x->epoch : 0;
}

struct lc_snapshot *lc_snapshot_take(struct lc_store *s) {
  struct lc_snapshot *x = s->newest;
  if (x && !s->changed && !x->dead) {
    atomic_fetch_add_explicit(&x->refs, 1, memory_order_relaxed);
    s->newest_live = x->epoch;
    return x;
  }
  x = lc_alloc(sizeof *x + s->n_roots * sizeof *x->roots);
  if (!x) return NULL;
  *x = (struct lc_snapshot){.store = s, .epoch = s->epoch++, .older = s->newest, .n_roots = s->n_roots};
  atomic_store_explicit(&x->refs, 1, memory_order_relaxed);
  memcpy(x->roots, s->roots, s->n_roots * sizeof *x->roots);
  if (s->newest) s->newest->newer = x;
  s->newest = x;
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
    for (struct piece *p; (p = x->retired); max_nodes--) {
      if (max_nodes == 0) {
        store_look(s);
        return true;
      }
      x->retired = p->next_retired;
      if (older && p->born <= older->epoch) {
        p->next_retired = older->retired;
        older->retired = p;
      } else {
        piece_free(s, p);
      }
    }
    if (x->newer) x->newer->older = older;
    else s->newest = older;
    if (older) older->newer = x->newer;
    lc_free(x);
    x = older;
  }
  store_look(s);
  return false;
}
