/* Owns: the memory of stores: regions from the system, pools of nodes of one size, blobs; their limits and their accounts.
 *
 * Invariants: region_bytes and blob_bytes are what the store has from the system; live_bytes is the sum of its trees' memory_bytes. Nodes that were
 * reserved can be taken without failure. Only the writer comes here. Callers: tree.c, store.c.
 */
#include "store_internal.h"
#include <malloc.h>
#include <sys/mman.h>

enum { FIRST_REGION_BYTES = 32 << 10, MAX_REGION_BYTES = 2 << 20, REGION_HEAD_BYTES = 64 };

/* Large regions are aligned, so that the system can back them with huge pages (storage study: a third less per find in large trees). */
static struct region *region_map(size_t n) {
  if (!lc_alloc_allowed(n)) return NULL;
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

static bool within_limit(struct lc_store *s, size_t more) {
  bool fits = s->limit_bytes == 0 || s->undoing || (s->region_bytes + s->blob_bytes <= s->limit_bytes && more <= s->limit_bytes - s->region_bytes - s->blob_bytes);
  if (!fits) s->limit_was_hit = true;
  return fits;
}
bool lc_store_limit_was_hit(struct lc_store *s) {
  bool was = s->limit_was_hit;
  s->limit_was_hit = false;
  return was;
}

static bool pool_grow(struct lc_store *s, struct pool *p) {
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
  p->at = (uint8_t *)r + REGION_HEAD_BYTES;
  p->end = (uint8_t *)r + n;
  p->n_nodes += (uint32_t)((n - REGION_HEAD_BYTES) / p->bytes);
  s->region_bytes += n;
  if (n < MAX_REGION_BYTES) p->next_region_bytes = n * 2;
  return true;
}
static bool pool_reserve(struct lc_store *s, struct pool *p, uint64_t n, bool limited) {
  while (p->n_free + (size_t)(p->end - p->at) / p->bytes < n)
    if ((limited && !within_limit(s, p->next_region_bytes)) || !pool_grow(s, p)) return false;
  return true;
}
/* The nodes taken next: by then they are in the cache. */
static void prefetch_free(const void *x, uint32_t bytes) {
  for (unsigned line = 0; line < bytes; line += 64) __builtin_prefetch((const char *)x + line, 1);
}
static void *pool_take(struct lc_store *s, struct pool *p) {
  struct piece *x = p->free;
  if (x) {
    p->free = x->next_retired;
    p->n_free--;
    if (p->free) prefetch_free(p->free, p->bytes);
    return x;
  }
  if ((size_t)(p->end - p->at) < p->bytes && !pool_grow(s, p)) lc_panic("out of memory for the trees of a database while undoing a transaction");
  x = (struct piece *)(void *)p->at;
  p->at += p->bytes;
  prefetch_free(p->at, p->bytes); /* past the end it does nothing */
  return x;
}
static void pool_free(struct pool *p) {
  while (p->regions) {
    struct region *r = p->regions;
    p->regions = r->next;
    munmap(r, r->bytes);
  }
}

static uint32_t in_use(const struct pool *p) { return p->n_nodes - p->n_free - (uint32_t)((size_t)(p->end - p->at) / p->bytes); }
enum lc_store_phase lc_store_set_phase(struct lc_store *s, enum lc_store_phase phase) {
  enum { KEEP_SCRATCH_BYTES = 64 << 10 };
  enum lc_store_phase before = s->phase;
  s->phase = phase;
  if (phase == LC_STORE_PLAIN) {
    s->small.undo = s->large.undo = s->small.undo_copies = s->large.undo_copies = 0;
    if (s->scratch.spill.cap > KEEP_SCRATCH_BYTES) lc_buf_free(&s->scratch.spill);
  } else if (before == LC_STORE_PLAIN) {
    s->small.in_use_before = in_use(&s->small);
    s->large.in_use_before = in_use(&s->large);
  }
  return before;
}
enum lc_store_phase lc_store_phase(const struct lc_store *s) { return s->phase; }
bool lc_store_keep_for_undo(struct lc_store *s, struct lc_nodes most) {
  struct pool *pools[2] = {&s->small, &s->large};
  uint64_t wanted[2] = {most.packed, most.others};
  for (int i = 0; i < 2; i++) {
    uint64_t n = wanted[i] < in_use(pools[i]) ? wanted[i] : in_use(pools[i]);
    if (n <= pools[i]->undo_copies) continue;
    uint64_t undo = pools[i]->undo + n - pools[i]->undo_copies;
    if (!pool_reserve(s, pools[i], undo, false)) return false;
    pools[i]->undo = (uint32_t)undo;
    pools[i]->undo_copies = (uint32_t)n;
  }
  return true;
}

void pools_init(struct lc_store *s) {
  s->small = (struct pool){.bytes = PACKED_BYTES, .next_region_bytes = FIRST_REGION_BYTES};
  s->large = (struct pool){.bytes = NODE_BYTES, .next_region_bytes = FIRST_REGION_BYTES};
}
void pools_free(struct lc_store *s) {
  pool_free(&s->small);
  pool_free(&s->large);
}
bool store_reserve(struct lc_store *s, uint32_t packed, uint32_t others) {
  return (packed == 0 || pool_reserve(s, &s->small, (uint64_t)packed + s->small.kept + s->small.undo + RESERVE_NODES, true)) &&
         pool_reserve(s, &s->large, (uint64_t)others + s->large.kept + s->large.undo + RESERVE_NODES, true);
}
bool store_reserve_removal(struct lc_store *s, struct lc_nodes n) {
  if (s->phase == LC_STORE_UNDOING) return pool_reserve(s, &s->small, n.packed, false) && pool_reserve(s, &s->large, n.others, false);
  return (n.packed == 0 || pool_reserve(s, &s->small, n.packed + s->small.undo, false)) && (n.others == 0 || pool_reserve(s, &s->large, n.others + s->large.undo, false));
}
bool store_can_spare(struct lc_store *s, uint8_t kind) {
  struct pool *p = kind == PIECE_PACKED ? &s->small : &s->large;
  return s->phase != LC_STORE_UNDOING && pool_reserve(s, p, 1 + (uint64_t)p->kept + p->undo, false);
}
bool lc_store_keep(struct lc_store *s, struct lc_nodes keep) {
  s->small.kept = s->large.kept = 0;
  if (!store_reserve_removal(s, keep)) return false;
  s->small.kept = (uint32_t)keep.packed; /* they are there: no more than a pool can hold */
  s->large.kept = (uint32_t)keep.others;
  return true;
}

struct lc_tree_node *node_new(struct lc_tree *t, uint8_t kind) {
  struct lc_store *s = t->store;
  struct pool *p = kind == PIECE_PACKED ? &s->small : &s->large;
  struct lc_tree_node *n = pool_take(s, p);
  n->piece.born = s->epoch;
  n->n = kind == PIECE_INNER;
  n->kind = kind;
  n->run_length = 0;
  n->run_at = 0;
  n->heap = NODE_BYTES;
  for (uint32_t i = 0; kind == PIECE_INNER && t->key.is_exact && i < EXACT_SEPARATORS; i++) prefixes(n)[i] = INT64_MAX;
  t->memory_bytes += p->bytes;
  s->live_bytes += p->bytes;
  return n;
}

/* As the allocator has it: the size class and its header. */
static size_t blob_bytes(struct blob *b) { return malloc_usable_size(b) + sizeof(size_t); }

struct blob *blob_new(struct lc_tree *t, struct lc_slice bytes) {
  struct lc_store *s = t->store;
  struct blob *b = bytes.len <= LC_ENTRY_MAX_BYTES && within_limit(s, sizeof *b + bytes.len) ? lc_alloc(sizeof *b + bytes.len) : NULL;
  if (!b) return NULL;
  *b = (struct blob){.piece = {.born = s->epoch}, .kind = PIECE_BLOB, .len = (uint32_t)bytes.len};
  if (bytes.len) memcpy(b->data, bytes.data, bytes.len);
  t->memory_bytes += blob_bytes(b);
  s->live_bytes += blob_bytes(b);
  s->blob_bytes += blob_bytes(b);
  return b;
}

size_t piece_bytes(const struct piece *p) {
  switch (piece_kind(p)) {
  case PIECE_PACKED: return PACKED_BYTES;
  case PIECE_BLOB: return blob_bytes((struct blob *)(uintptr_t)p);
  default: return NODE_BYTES;
  }
}
void piece_free(struct lc_store *s, struct piece *p) {
  if (piece_kind(p) == PIECE_BLOB) {
    s->blob_bytes -= piece_bytes(p);
    lc_free(p);
    return;
  }
  struct pool *pool = piece_kind(p) == PIECE_PACKED ? &s->small : &s->large;
  p->next_retired = pool->free;
  pool->free = p;
  pool->n_free++;
  if (s->phase == LC_STORE_CHANGING && pool->undo - pool->undo_copies < pool->in_use_before) pool->undo++;
}

uint64_t lc_store_memory_bytes(const struct lc_store *s) { return s->region_bytes + s->blob_bytes; }
void lc_store_set_limit(struct lc_store *s, uint64_t limit_bytes) { s->limit_bytes = limit_bytes; }
void lc_store_set_undoing(struct lc_store *s, bool undoing) { s->undoing = undoing; }
void lc_store_stats(const struct lc_store *s, struct lc_store_stats *out) {
  *out = (struct lc_store_stats){.memory_bytes = lc_store_memory_bytes(s), .live_bytes = s->live_bytes, .retired_bytes = s->retired_bytes, .blob_bytes = s->blob_bytes};
  for (const struct lc_snapshot *x = s->newest; x; x = x->older) out->snapshots++;
}
