/* Inside of store/: nodes, pools, what the files offer each other. */
#ifndef LC_STORE_INTERNAL_H
#define LC_STORE_INTERNAL_H
#include "store.h"

enum {
  PACKED_BYTES = 1024, NODE_BYTES = 2048, /* packed leaves; slotted leaves and inner nodes */
  MAX_PACKED_ENTRY_BYTES = PACKED_BYTES / 4,
  MAX_INLINE_BYTES = 480,                 /* with its slot under a quarter of a slotted leaf; larger entries are blobs */
  MAX_SEPARATOR_BYTES = 224,              /* of a separator's key inside an inner node; larger ones are blobs */
  EXACT_SEPARATORS = 128, EXACT_CHILDREN = 125,
  RESERVE_NODES = 64,
  RETIRED_LISTS = 8
};

/* What a snapshot may need after the writer has taken it out of a tree. */
struct piece { uint64_t born; struct piece *next_retired; };
enum { PIECE_PACKED, PIECE_SLOTTED, PIECE_INNER, PIECE_BLOB };

struct lc_tree_node {
  struct piece piece;
  uint16_t n;                     /* leaf: entries; inner: children */
  uint8_t kind;                   /* at the same place as in a blob */
  uint8_t run_length;             /* leaf: how many insertions in a row came right behind each other, */
  uint16_t run_at;                /* and where the last was */
  uint16_t heap;                  /* slotted: offset in the node of the lowest byte in use behind the directory */
  uint8_t cells[];                /* 8-byte aligned */
};
struct blob { struct piece piece; uint16_t unused; uint8_t kind; uint32_t len; uint8_t data[]; };
enum { HEADER_BYTES = sizeof(struct lc_tree_node), ROOM_BYTES = NODE_BYTES - HEADER_BYTES };
_Static_assert(offsetof(struct lc_tree_node, kind) == offsetof(struct blob, kind), "piece_kind reads both");
_Static_assert(HEADER_BYTES == 24 && EXACT_SEPARATORS * 8 + EXACT_CHILDREN * 8 == ROOM_BYTES, "the cells fill the node");

static inline bool is_leaf(const struct lc_tree_node *n) { return n->kind != PIECE_INNER; }
static inline bool is_slotted(const struct lc_tree *t) { return t->entry_size_bytes == LC_SIZE_DYNAMIC; }
static inline int64_t flipped(uint64_t v) { return (int64_t)(v ^ ((uint64_t)1 << 63)); } /* machines compare vectors signed */

/* The cells of an inner node. Every key under child i is >= separator i - 1 and < separator i.
 * Where prefixes are whole keys ("exact"): 128 prefixes of separators, those past n - 1 the greatest number, so that a search needs no end; 125 children.
 * Else: n - 1 prefixes, n children, n - 1 slots, and from `heap` on the separators' keys. A separator without bytes stands before every key with its prefix.
 * The cells of a slotted leaf: n prefixes, n slots, and from `heap` on the entries. Prefixes have the sign bit flipped. */
static inline int64_t *prefixes(const struct lc_tree_node *n) { return (int64_t *)(uintptr_t)n->cells; }
static inline struct lc_tree_node **exact_children(const struct lc_tree_node *n) { return (struct lc_tree_node **)(uintptr_t)(n->cells + 8 * EXACT_SEPARATORS); }
static inline struct lc_tree_node **children(const struct lc_tree *t, const struct lc_tree_node *n) {
  return t->key.is_exact ? exact_children(n) : (struct lc_tree_node **)(uintptr_t)(n->cells + 8 * (n->n - 1u));
}

/* ---- slots (slots.c) ---- */

enum { SLOT_BLOB = 0xffff }; /* as a length: the bytes are a pointer to a blob */
struct slot { uint16_t offset, len; };
static inline struct slot *slots(const struct lc_tree_node *n) {
  return (struct slot *)(uintptr_t)(n->cells + (n->kind == PIECE_INNER ? 16 * (n->n - 1u) + 8 : 8u * n->n));
}
static inline struct blob *slot_blob(const struct lc_tree_node *n, struct slot s) {
  struct blob *b;
  memcpy(&b, (const uint8_t *)n + s.offset, sizeof b);
  return b;
}
static inline struct lc_slice slot_bytes(const struct lc_tree_node *n, uint32_t i) {
  struct slot s = slots(n)[i];
  if (s.len != SLOT_BLOB) return lc_slice((const uint8_t *)n + s.offset, s.len);
  const struct blob *b = slot_blob(n, s);
  return lc_slice(b->data, b->len);
}
static inline uint32_t slot_heap_bytes(struct slot s) { return s.len == SLOT_BLOB ? (uint32_t)sizeof(struct blob *) : s.len; }
/* What goes into a slot: bytes, or a blob if that is not NULL. */
struct cell { int64_t prefix; struct lc_slice bytes; struct blob *blob; };
static inline uint32_t cell_heap_bytes(const struct cell *c) { return c->blob ? (uint32_t)sizeof c->blob : (uint32_t)c->bytes.len; }
enum { LEAF_SLOT_BYTES = 12, INNER_SLOT_BYTES = 20 }; /* of the directory for one cell */
uint32_t slots_used(const struct lc_tree_node *n);                         /* bytes of cells, without what was removed; of an inner node too */
void slots_insert(struct lc_tree_node *n, uint32_t at, const struct cell *c, struct lc_tree_node *child_behind); /* there is room; child: inner nodes */
void slots_remove(struct lc_tree_node *n, uint32_t at, uint32_t child);    /* cell `at`, of an inner node (which keeps a child) also that child */
void slots_truncate(struct lc_tree_node *n, uint32_t keep);                /* the first `keep` entries or children stay */
void slots_replace(struct lc_tree_node *n, uint32_t at, const struct cell *c); /* there is room */
struct cell slots_cell(const struct lc_tree_node *n, uint32_t i);
void slots_copy(struct lc_tree_node *to, const struct lc_tree_node *from); /* all of it, `to` being new */

/* ---- pools (pool.c) ---- */

struct region { struct region *next; size_t bytes; };
struct pool { uint32_t bytes; struct piece *free; uint32_t n_free, kept /* for removals alone */, undo /* for undoing alone */, undo_copies /* of these for copies */, n_nodes, in_use_before /* the transaction */; struct region *regions; uint8_t *at, *end; size_t next_region_bytes; };

/* Where the writer found an entry lately: it is often replaced next. Only for trees by number; holds as long as the leaf is in its tree, the place is looked at again. */
struct memo { uint64_t tree_id, prefix; struct lc_tree_node *leaf; uint32_t at; }; /* tree_id 0: none */
enum { N_MEMOS = 2 };

/* Room for the key of an entry whose columns do not lie together. */
struct key_scratch { uint8_t fixed[128]; struct lc_buf spill; };
struct lc_store {
  uint64_t epoch;                 /* of what is born now; from 1 */
  uint64_t newest_live;           /* epoch of the newest snapshot somebody holds; 0: none. Older pieces must be copied */
  struct lc_snapshot *live;       /* that snapshot */
  uint64_t n_retired;             /* pieces since lc_store_reclaim_some was last called */
  bool changed;                   /* since the newest snapshot was taken */
  bool undoing, limit_was_hit;
  enum lc_store_phase phase;
  struct key_scratch scratch;     /* of the writer */
  struct lc_snapshot *newest;     /* list, newest first; dead ones are being reclaimed */
  struct pool small, large;       /* packed leaves; other nodes */
  uint64_t blob_bytes, region_bytes, live_bytes, retired_bytes, limit_bytes;
  uint64_t next_tree_id;
  struct lc_root *roots; uint32_t n_roots, cap_roots, *free_slots, n_free_slots;
  struct memo memos[N_MEMOS]; uint32_t next_memo;
};
struct lc_snapshot {
  struct lc_store *store;
  uint64_t epoch;
  atomic_uint refs;
  bool dead;                      /* reclaiming has begun: nobody may take it up again */
  struct lc_snapshot *older, *newer;
  struct piece *retired[RETIRED_LISTS]; /* what died while this was the newest live one; several lists, so that walking them waits for memory less */
  uint32_t next_list;
  uint32_t n_roots;
  struct lc_root roots[];
};
void pools_init(struct lc_store *s);
void pools_free(struct lc_store *s);
bool store_reserve(struct lc_store *s, uint32_t packed, uint32_t others);  /* false: out of memory */
bool store_reserve_removal(struct lc_store *s, struct lc_nodes n);         /* the same for a removal, out of what is kept and beyond the limit */
bool store_can_spare(struct lc_store *s, uint8_t kind);                    /* a node for what need not be; not while undoing */
struct lc_tree_node *node_new(struct lc_tree *t, uint8_t kind);            /* reserved before: never NULL */
struct blob *blob_new(struct lc_tree *t, struct lc_slice bytes);           /* NULL: out of memory */
size_t piece_bytes(const struct piece *p);
void piece_free(struct lc_store *s, struct piece *p);
static inline uint8_t piece_kind(const struct piece *p) { return ((const struct lc_tree_node *)p)->kind; }

/* ---- snapshots (store.c) ---- */

void blob_take_out(struct lc_tree *t, struct blob *b);                     /* its entry has been removed: dropped, or kept while the transaction may be undone */
struct blob *blob_put_back(struct lc_tree *t, struct lc_slice bytes);      /* undoing: one that was taken out and has these bytes; NULL: none */
void piece_drop(struct lc_tree *t, struct piece *p);                       /* out of the tree: freed, or retired while a snapshot sees it */
void store_look(struct lc_store *s);                                       /* newest_live again: references may have been given back */
static inline bool is_owned(const struct lc_store *s, const struct lc_tree_node *n) { return n->piece.born > s->newest_live; }

/* ---- keys (key.c) ---- */

/* What a step gives to the prefix; `at`: the key's or the entry's bytes at the step's offset. */
static inline __attribute__((always_inline)) uint64_t step_value(const struct lc_prefix_step *p, const uint8_t *at) {
  uint64_t v = 0;
  switch (p->bytes) {
  case 1: v = *at; break;
  case 2: { uint16_t w; memcpy(&w, at, 2); v = w; break; }
  case 4: { uint32_t w; memcpy(&w, at, 4); v = w; break; }
  default: memcpy(&v, at, 8);
  }
  if (p->kind == LC_STEP_FLOAT) v = lc_float_order(v, p->bytes);
  else v ^= (uint64_t)p->kind << (p->bytes * 8 - 1);
  return v << p->shift;
}
_Static_assert(LC_STEP_UNSIGNED == 0 && LC_STEP_SIGNED == 1, "step_value flips the sign bit by it");
/* Prefix of an entry by steps alone (steps_in_entry). */
static inline uint64_t steps_prefix(const struct lc_key_spec *s, const uint8_t *entry) {
  uint64_t v = 0;
  for (uint32_t i = 0; i < s->n_steps; i++) v |= step_value(&s->steps[i], entry + s->steps[i].entry_offset);
  return v;
}
/* Two concatenated keys. */
int key_compare(const struct lc_key_spec *s, const uint8_t *a, const uint8_t *b, uint32_t n_parts);
int entries_compare(const struct lc_key_spec *s, const uint8_t *a, const uint8_t *b);
/* Key of an entry where it lies, or extracted into `scratch`; NULL: out of memory. */
const uint8_t *entry_key(const struct lc_key_spec *s, struct lc_slice entry, struct key_scratch *scratch);

/* ---- finding (search.c) ---- */

static inline struct lc_slice leaf_entry(const struct lc_tree *t, const struct lc_tree_node *n, uint32_t i) {
  return is_slotted(t) ? slot_bytes(n, i) : lc_slice(n->cells + (size_t)i * t->entry_size_bytes, t->entry_size_bytes);
}
struct target { uint64_t low, high; const uint8_t *key; uint32_t n_parts; bool decided, after; };
void target_set(const struct lc_tree *t, struct target *x, const uint8_t *key, uint32_t n_parts, bool after);
/* Leaf and place of a full key, without the path to it; root not NULL. */
struct spot { struct lc_tree_node *leaf; uint32_t at; bool found; };
struct spot spot_of(const struct lc_tree *t, const struct lc_tree_node *root, const struct target *x);
/* Of a full key in the live tree, for the writer; an empty tree has none. */
struct spot live_spot_of_key(const struct lc_tree *t, const uint8_t *key);
/* Of n full keys at once; root not NULL. */
void spots_of(const struct lc_tree *t, const struct lc_tree_node *root, const uint8_t *const *keys, uint32_t n, struct spot out[LC_TREE_BATCH]);
void descend(struct lc_cursor *c, const struct lc_tree *t, const struct lc_tree_node *root, const struct target *x);
bool entry_is(const struct lc_tree *t, const struct lc_tree_node *n, uint32_t i, const struct target *x); /* entry i is there and has the target's key */

/* ---- changing (tree.c) ---- */

enum lc_tree_result tree_append(struct lc_tree *t, struct lc_slice entry); /* a key greater than all: DONE, DUPLICATE, UNORDERED, NOMEM */
#endif
