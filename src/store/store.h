/* The face of store/: copy-on-write B+trees of entries, and snapshots of all trees of a store at once.
 *
 * An entry is bytes whose key is one or more BSATN columns; a table is a tree of its rows clustered by a key, a secondary index a tree of
 * (index columns, cluster key). Entries of one static size up to a quarter of a node lie packed in the leaves; others lie in slotted leaves (a
 * directory with the key prefix, the bytes behind it), and what exceeds a quarter of a node is a blob that the leaf points to.
 *
 * Epochs: every node and blob carries the epoch it was born in; taking a snapshot ends an epoch. The writer changes in place what no live
 * snapshot can see, and copies the rest; what it takes out of a tree while a snapshot sees it is retired until that snapshot is gone.
 *
 * Threads: a store with its trees belongs to one writer at a time (the baton holder). Cursors on a snapshot may run on any thread, and any
 * thread may release a reference on a snapshot; only the writer takes snapshots and reclaims memory. Callers: engine/ only.
 */
#ifndef LC_STORE_H
#define LC_STORE_H
#include "../types/types.h"

enum { LC_KEY_MAX_PARTS = 64, LC_TREE_MAX_DEPTH = 20, LC_KEY_PREFIX_MAX_STEPS = 8 };
#define LC_ENTRY_MAX_BYTES ((size_t)1 << 30) /* a larger entry is refused as if there were no memory for it */

/* ---- keys ---- */

/* One piece of the 8-byte key prefix: `bytes` little-endian bytes at an offset of the entry and of the concatenated key. */
enum lc_step_kind { LC_STEP_UNSIGNED, LC_STEP_SIGNED, LC_STEP_FLOAT };
struct lc_prefix_step { uint32_t entry_offset, key_offset; uint8_t bytes, shift, kind; };

/* How two values of one part are compared; LC_PART_GENERAL asks lc_bsatn_compare. Products of one element count as that element. */
enum lc_part_kind { LC_PART_GENERAL, LC_PART_U8, LC_PART_I8, LC_PART_U16, LC_PART_I16, LC_PART_U32, LC_PART_I32, LC_PART_U64, LC_PART_I64, LC_PART_BYTES,
                    LC_PART_U128, LC_PART_I128, LC_PART_U256, LC_PART_I256 };

/* Where a key is found in an entry: columns of the entry's product type, in key order. */
struct lc_key_spec {
  const struct lc_type *entry_type; /* product */
  uint32_t n_parts;
  uint16_t columns[LC_KEY_MAX_PARTS];
  /* computed by lc_key_spec_init */
  uint32_t static_size_bytes;       /* of the key in concatenated form, or LC_SIZE_DYNAMIC */
  bool is_prefix;                   /* the key is the entry's first columns in order: its concatenated form lies in the entry */
  bool is_static_offset;            /* one part at a constant offset */
  uint32_t offset_bytes;
  /* the order-preserving prefix: numbers of the leading parts, the greater first, then perhaps the first bytes of a string */
  uint32_t n_steps;
  struct lc_prefix_step steps[LC_KEY_PREFIX_MAX_STEPS];
  bool steps_in_entry;              /* entry_offset is valid for every step */
  bool has_text_step; uint32_t text_key_offset; uint8_t text_shift; /* string or byte array: as many of its first bytes as there is room */
  uint8_t part_kind[LC_KEY_MAX_PARTS];      /* enum lc_part_kind */
  uint16_t part_offset[LC_KEY_MAX_PARTS];   /* of the part in the entry; UINT16_MAX: not constant (or not that small) */
  uint8_t part_bits[LC_KEY_MAX_PARTS + 1]; /* prefix bits that the first i parts take; 255: not wholly in the prefix */
  bool is_exact;                    /* the prefix decides: equal prefixes are equal keys */
};
/* entry_type, n_parts, columns set by the caller. */
void lc_key_spec_init(struct lc_key_spec *spec);
/* Appends the concatenated key of an entry. */
void lc_key_extract(const struct lc_key_spec *spec, const uint8_t *entry, struct lc_buf *out);
/* Length of the first n_parts of a validated concatenated key. */
size_t lc_key_len(const struct lc_key_spec *spec, const uint8_t *key, uint32_t n_parts);
/* Compares the first n_parts key parts of an entry with a concatenated key. */
int lc_key_compare_entry(const struct lc_key_spec *spec, const uint8_t *entry, const uint8_t *key, uint32_t n_parts);
/* Order-preserving 8 bytes of the first n_parts of a concatenated key; what has no room is zero. */
uint64_t lc_key_prefix(const struct lc_key_spec *spec, const uint8_t *key, uint32_t n_parts);

/* ---- stores and snapshots ---- */

struct lc_tree_node;
struct piece;
struct lc_store;
struct lc_root { struct lc_tree_node *node; uint64_t n_entries, tree_id; };
struct lc_snapshot;

struct lc_store *lc_store_new(void);        /* NULL: out of memory */
void lc_store_free(struct lc_store *store); /* precondition: its trees and snapshots are gone */
uint64_t lc_store_memory_bytes(const struct lc_store *store); /* taken from the system: nodes in use, retired and free, blobs */
/* What the store may take from the system; beyond it insertions and replacements fail with NOMEM. 0 (at first): no limit. Undoing is not limited:
 * removals never, and insertions not while `undoing`. */
void lc_store_set_limit(struct lc_store *store, uint64_t limit_bytes);
bool lc_store_limit_was_hit(struct lc_store *store); /* since this was asked last */
void lc_store_set_undoing(struct lc_store *store, bool undoing);
struct lc_store_stats { uint64_t memory_bytes, live_bytes, retired_bytes, blob_bytes; uint32_t snapshots; }; /* blob_bytes: of live and retired */
void lc_store_stats(const struct lc_store *store, struct lc_store_stats *out);

/* A reference on a snapshot of the present state (writer only). The same snapshot is shared as long as nothing changes. NULL: out of memory. */
struct lc_snapshot *lc_snapshot_take(struct lc_store *store);
struct lc_snapshot *lc_snapshot_ref(struct lc_snapshot *s);
/* Gives a reference back; any thread. Memory is reclaimed by the writer. */
void lc_snapshot_release(struct lc_snapshot *s);
/* Writer: frees what released snapshots held, at most `max_nodes` pieces; true if something is left to do. */
bool lc_store_reclaim(struct lc_store *store, uint32_t max_nodes);
/* The same at the pace of the changes: LC_RECLAIM_PACE pieces and LC_RECLAIM_TIMES as many as were retired since the last call. So what a call costs is
 * bounded by what was changed before it, and what released snapshots held does not pile up: a piece is looked at once for every snapshot it is
 * handed on to, and once to be freed. */
enum { LC_RECLAIM_PACE = 256, LC_RECLAIM_TIMES = 4 };
bool lc_store_reclaim_some(struct lc_store *store);

/* ---- trees ---- */

struct lc_tree {
  struct lc_store *store;
  struct lc_key_spec key;
  uint32_t slot;                    /* in the store's roots */
  uint32_t entry_size_bytes;        /* packed leaves; LC_SIZE_DYNAMIC: slotted leaves */
  uint32_t leaf_capacity;           /* entries of a packed leaf */
  bool is_number;                   /* packed entries, the key one integer of at most 8 bytes */
  uint64_t id;                      /* never given twice in a store: a snapshot knows a tree by it */
  uint32_t height;                  /* levels of nodes */
  struct piece *taken_out[2];       /* large entries that the open transaction took out, latest first: while changing, while undoing */
  uint64_t memory_bytes;            /* live nodes and blobs */
  struct lc_tree_node *append_leaf; /* the rightmost leaf if known: what is greater than all goes there without a search */
};
/* spec->entry_type, n_parts, columns set by the caller; types are borrowed for the tree's life. LC_NOMEM. */
enum lc_status lc_tree_init(struct lc_tree *t, struct lc_store *store, const struct lc_key_spec *spec);
void lc_tree_free(struct lc_tree *t); /* a zeroed tree is allowed; snapshots keep what they see */
uint64_t lc_tree_count(const struct lc_tree *t);

/* Entry with exactly this full key, or data == NULL. Valid until the tree changes. */
struct lc_slice lc_tree_find(const struct lc_tree *t, const uint8_t *key);
/* The same as a snapshot has it (snapshot NULL: the live tree). */
struct lc_slice lc_snapshot_find(const struct lc_tree *t, const struct lc_snapshot *snapshot, const uint8_t *key);
/* The same for n keys, level by level, so that their memory accesses overlap. */
enum { LC_TREE_BATCH = 8 };
void lc_tree_find_batch(const struct lc_tree *t, const uint8_t *const keys[LC_TREE_BATCH], uint32_t n, struct lc_slice out[LC_TREE_BATCH]);
void lc_snapshot_find_batch(const struct lc_tree *t, const struct lc_snapshot *snapshot, const uint8_t *const keys[LC_TREE_BATCH], uint32_t n,
                            struct lc_slice out[LC_TREE_BATCH]);
enum lc_tree_result { LC_TREE_DONE, LC_TREE_DUPLICATE, LC_TREE_NOMEM, LC_TREE_ABSENT, LC_TREE_UNORDERED };
/* Inserts an entry (copied). DUPLICATE: one with its key exists, nothing changed; *existing (may be NULL) is it. */
enum lc_tree_result lc_tree_insert(struct lc_tree *t, struct lc_slice entry, struct lc_slice *existing);
/* Replaces the entry that has the key of `entry`; ABSENT: there is none. */
enum lc_tree_result lc_tree_replace(struct lc_tree *t, struct lc_slice entry);
/* Inserts an entry, or replaces the one that has its key. */
enum lc_tree_result lc_tree_put(struct lc_tree *t, struct lc_slice entry);
/* The same for n packed entries (of the tree's one size) in order, whose memory accesses overlap. NOMEM: some of the first may have been put. */
enum lc_tree_result lc_tree_put_batch(struct lc_tree *t, const uint8_t *const entries[LC_TREE_BATCH], uint32_t n);
/* As lc_tree_find, and where it is, so that it can be replaced without another search as long as the tree has not changed. */
struct lc_place { struct lc_tree_node *leaf; uint32_t at; };
struct lc_slice lc_tree_find_place(const struct lc_tree *t, const uint8_t *key, struct lc_place *place);
/* As lc_tree_replace for the entry at `place`, whose key `entry` has. */
enum lc_tree_result lc_tree_replace_at(struct lc_tree *t, struct lc_place place, struct lc_slice entry);
/* Removes the entry with this full key; ABSENT: there is none. Needs memory only when a snapshot must keep the old state. NOMEM: nothing has changed. */
enum lc_tree_result lc_tree_remove(struct lc_tree *t, const uint8_t *key);
/* Removals that must not fail one after another: what each may need is added up, then kept for them; until the next call nothing else takes it.
 * Beyond the store's limit, too. keep {0}: no longer. false: out of memory, nothing is kept. */
struct lc_nodes { uint64_t packed, others; };
void lc_tree_removal_needs(const struct lc_tree *t, struct lc_nodes *sum);
bool lc_store_keep(struct lc_store *store, struct lc_nodes keep);

/* ---- transactions ---- */

/* What a transaction takes out of trees is kept for undoing it: large entries as they are, nodes that become free, so far as the trees had them when it
 * began. Undoing takes from there, and asks for no more than it needs. */
enum lc_store_phase { LC_STORE_PLAIN, LC_STORE_CHANGING, LC_STORE_UNDOING };
enum lc_store_phase lc_store_set_phase(struct lc_store *store, enum lc_store_phase phase); /* the one before */
enum lc_store_phase lc_store_phase(const struct lc_store *store);
void lc_tree_settle(struct lc_tree *t); /* when the transaction has ended: what was kept of it goes; a zeroed tree is allowed */
/* Before a snapshot is taken inside a transaction: nodes for the copies that undoing needs then, until it ends; `most` of them, and no more than are in use. */
bool lc_store_keep_for_undo(struct lc_store *store, struct lc_nodes most);
void lc_tree_undo_needs(const struct lc_tree *t, uint64_t n_changes, struct lc_nodes *sum); /* adds the copies for so many changes */
bool lc_tree_reserve_key(struct lc_tree *t, size_t len); /* so that an entry with a key of at most this length can be put back */
void lc_tree_clear(struct lc_tree *t); /* a zeroed tree is allowed */
/* Walks the whole tree and stops the process when an invariant is broken (tests). */
void lc_tree_check(const struct lc_tree *t);

/* ---- bulk building ---- */

/* Fills an empty tree from entries in ascending order of their keys: full leaves, no searching. Between begin and finish the tree may not be used
 * otherwise; a failure of lc_bulk_add leaves what was added so far (lc_bulk_abort empties the tree). */
struct lc_bulk { struct lc_tree *tree; };
void lc_bulk_begin(struct lc_bulk *b, struct lc_tree *t); /* precondition: t is empty */
/* DUPLICATE: the key is the last one's; UNORDERED: it is smaller. Both change nothing. */
enum lc_tree_result lc_bulk_add(struct lc_bulk *b, struct lc_slice entry);
void lc_bulk_finish(struct lc_bulk *b);
void lc_bulk_abort(struct lc_bulk *b);

/* Entries in any order, to be sorted for a bulk build (index creation). Owns copies of them: small ones of one size lie in records behind their prefixes,
 * others in the arena, and their records point there. */
struct lc_sorter {
  const struct lc_key_spec *key;
  uint32_t entry_bytes, record_bytes; /* entry_bytes 0: records hold pointers */
  uint8_t **chunks; uint32_t n_chunks, cap_chunks; /* of records, in the order in which they came */
  uint8_t *at, *end;                  /* room in the last one */
  size_t n;
  uint64_t first, last, differing;    /* prefixes; the bits in which any differs from the first */
  bool unordered;                     /* prefixes did not ascend strictly */
  struct lc_arena arena;
};
void lc_sorter_init(struct lc_sorter *s, const struct lc_key_spec *key); /* an initialised spec, borrowed: a tree's */
bool lc_sorter_add(struct lc_sorter *s, struct lc_slice entry);          /* false: out of memory */
/* Sorts and adds everything to `t` (empty, same key). On failure (NOMEM, or DUPLICATE with the second entry of that key in *duplicate, valid until
 * the sorter is freed) the tree is empty again. The sorter can only be freed then. */
enum lc_tree_result lc_sorter_build(struct lc_sorter *s, struct lc_tree *t, struct lc_slice *duplicate);
void lc_sorter_free(struct lc_sorter *s); /* a zeroed one is allowed */

/* ---- cursors ---- */

/* A position. On the live tree it is invalid after any change; on a snapshot it holds as long as the snapshot. */
struct lc_cursor {
  const struct lc_tree *tree;
  uint32_t depth;                   /* 0: past the end */
  struct { const struct lc_tree_node *node; uint32_t at; } path[LC_TREE_MAX_DEPTH];
};
/* First entry whose first n_parts key parts are >= key (after == false) or > key (after == true). key NULL: first entry of all.
 * snapshot NULL: the live tree. */
void lc_cursor_seek(struct lc_cursor *c, const struct lc_tree *t, const struct lc_snapshot *snapshot, const uint8_t *key, uint32_t n_parts, bool after);
/* Last entry before that position; key NULL: the last of all. */
void lc_cursor_seek_last(struct lc_cursor *c, const struct lc_tree *t, const struct lc_snapshot *snapshot, const uint8_t *key, uint32_t n_parts, bool after);
static inline bool lc_cursor_valid(const struct lc_cursor *c) { return c->depth > 0; }
void lc_cursor_next(struct lc_cursor *c);
void lc_cursor_prev(struct lc_cursor *c);
struct lc_slice lc_cursor_entry(const struct lc_cursor *c);
/* The run of entries of one static size from here to the end of the leaf: n entries back to back, and steps the cursor over them. In slotted leaves n is 1. */
struct lc_slice lc_cursor_run(struct lc_cursor *c, uint32_t *n);
uint64_t lc_snapshot_count(const struct lc_tree *t, const struct lc_snapshot *snapshot);

#endif
