/* Inside of store/: nodes, pools, what the files offer each other. */
#ifndef LC_STORE_INTERNAL_H
#define LC_STORE_INTERNAL_H
#include "store.h"

enum { LEAF_BYTES = 1024, INNER_BYTES = 2048, MAX_PACKED_ENTRY_BYTES = LEAF_BYTES / 4, RESERVE_NODES = 64 };

/* What a snapshot may need after the writer has taken it out of a tree. */
struct piece { uint64_t born; struct piece *next_retired; };
enum { PIECE_LEAF, PIECE_INNER, PIECE_BLOB };

struct lc_tree_node {
  struct piece piece;
  uint32_t n;                     /* leaf: entries; inner: children */
  uint8_t kind;                   /* PIECE_LEAF, PIECE_INNER: at the same place as in a blob */
  _Alignas(8) uint8_t cells[];    /* leaf: packed entries, or struct blob_cell; inner: see below */
};
struct blob { struct piece piece; uint32_t len; uint8_t kind; uint8_t data[]; };
struct blob_cell { uint64_t prefix; struct blob *blob; };

/* An inner node's cells: prefixes of n - 1 separators (sign bit flipped: the machine compares them signed), then n children, then, unless prefixes
 * decide, n - 1 blobs with the whole separator. Every key under child i is >= separator i - 1 and < separator i. */
static inline int64_t *separators(const struct lc_tree_node *n) { return (int64_t *)(uintptr_t)n->cells; }
static inline struct lc_tree_node **children(const struct lc_tree *t, const struct lc_tree_node *n) { return (struct lc_tree_node **)(uintptr_t)(n->cells + 8 * (size_t)t->inner_capacity); }
static inline struct blob **separator_blobs(const struct lc_tree *t, const struct lc_tree_node *n) { return (struct blob **)(uintptr_t)(n->cells + 16 * (size_t)t->inner_capacity); }
static inline int64_t flipped(uint64_t v) { return (int64_t)(v ^ ((uint64_t)1 << 63)); }

struct pool { uint32_t bytes; struct piece *free; uint32_t n_free; struct region *regions; uint8_t *at, *end; size_t next_region_bytes; };
struct region { struct region *next; size_t bytes; };

struct lc_store {
  uint64_t epoch;                 /* of what is born now; from 1 */
  uint64_t newest_live;           /* epoch of the newest snapshot somebody holds; 0: none. Older pieces must be copied */
  bool changed;                   /* since the newest snapshot was taken */
  struct lc_snapshot *newest;     /* list, newest first; dead ones are being reclaimed */
  struct pool leaves, inners;
  uint64_t blob_bytes;
  struct lc_root *roots; uint32_t n_roots, cap_roots, *free_slots, n_free_slots;
};
struct lc_snapshot {
  struct lc_store *store;
  uint64_t epoch;
  atomic_uint refs;
  bool dead;                      /* reclaiming has begun: nobody may take it up again */
  struct lc_snapshot *older, *newer;
  struct piece *retired;          /* what died while this was the newest live one */
  uint32_t n_roots;
  struct lc_root roots[];
};

/* store.c */
bool store_reserve(struct lc_store *s, uint32_t leaves, uint32_t inners); /* false: out of memory */
struct lc_tree_node *node_new(struct lc_tree *t, uint8_t kind);            /* reserved before: never NULL */
struct blob *blob_new(struct lc_tree *t, struct lc_slice bytes);           /* NULL: out of memory */
void piece_drop(struct lc_tree *t, struct piece *p);                       /* out of the tree: freed, or retired while a snapshot sees it */
static inline uint8_t piece_kind(const struct piece *p) { return ((const struct lc_tree_node *)p)->kind; }
void store_look(struct lc_store *s);                                       /* newest_live again: references may have been given back */

/* What a step gives to the prefix; `at`: the key's or the entry's bytes at the step's offset. */
static inline uint64_t step_value(const struct lc_prefix_step *p, const uint8_t *at) {
  uint64_t v = 0;
  switch (p->bytes) {
  case 1: v = *at; break;
  case 2: { uint16_t w; memcpy(&w, at, 2); v = w; break; }
  case 4: { uint32_t w; memcpy(&w, at, 4); v = w; break; }
  default: memcpy(&v, at, 8);
  }
  if (p->is_signed) v ^= (uint64_t)1 << (p->bytes * 8 - 1);
  return v << p->shift;
}

/* search.c */
static inline struct lc_slice leaf_entry(const struct lc_tree *t, const struct lc_tree_node *n, uint32_t i) {
  if (t->entry_size_bytes != LC_SIZE_DYNAMIC) return lc_slice(n->cells + (size_t)i * t->entry_size_bytes, t->entry_size_bytes);
  const struct blob *b = ((const struct blob_cell *)(const void *)n->cells)[i].blob;
  return lc_slice(b->data, b->len);
}
struct target { uint64_t low, high; const uint8_t *key; uint32_t n_parts; bool decided, after; };
void target_set(const struct lc_tree *t, struct target *x, const uint8_t *key, uint32_t n_parts, bool after);
uint32_t child_index(const struct lc_tree *t, const struct lc_tree_node *n, const struct target *x);
uint32_t leaf_index(const struct lc_tree *t, const struct lc_tree_node *n, const struct target *x);
void descend(struct lc_cursor *c, const struct lc_tree *t, const struct lc_tree_node *root, const struct target *x);
/* Key of an entry where it lies, or extracted into `scratch`; NULL: out of memory. */
const uint8_t *entry_key(const struct lc_tree *t, struct lc_slice entry, struct lc_buf *scratch);

_Static_assert(offsetof(struct lc_tree_node, kind) == offsetof(struct blob, kind), "piece_kind reads both");
#endif
