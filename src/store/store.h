/* The face of store/: ordered trees of entries. An entry is bytes whose key is one or more BSATN columns; a table is a tree of its rows
 * clustered by a key, a secondary index a tree of (index columns, cluster key).
 *
 * Entries of one static size lie packed in the leaves; others are reference-counted blobs that leaves point to. A tree belongs to
 * the baton holder of its database; no function here is thread-safe. Callers: engine/ only.
 */
#ifndef LC_STORE_H
#define LC_STORE_H
#include "../types/types.h"

enum { LC_KEY_MAX_PARTS = 64, LC_TREE_MAX_DEPTH = 24 };

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
};
void lc_key_spec_init(struct lc_key_spec *spec);
/* Appends the concatenated key of an entry. */
void lc_key_extract(const struct lc_key_spec *spec, const uint8_t *entry, struct lc_buf *out);
/* Length of the first n_parts of a validated concatenated key. */
size_t lc_key_len(const struct lc_key_spec *spec, const uint8_t *key, uint32_t n_parts);

struct lc_tree_node;
struct lc_tree {
  struct lc_key_spec key;
  uint32_t entry_size_bytes;        /* LC_SIZE_DYNAMIC: blobs */
  uint32_t leaf_capacity, inner_capacity;
  struct lc_tree_node *root;        /* NULL: empty */
  uint64_t n_entries;
  uint64_t memory_bytes;            /* nodes and blobs */
};
/* spec->entry_type, n_parts, columns set by the caller; types are borrowed for the tree's life. */
void lc_tree_init(struct lc_tree *t, const struct lc_key_spec *spec);
void lc_tree_free(struct lc_tree *t);

/* A position; invalid after any change of the tree. */
struct lc_cursor {
  const struct lc_tree *tree;
  uint32_t depth;
  struct { struct lc_tree_node *node; uint32_t at; } path[LC_TREE_MAX_DEPTH];
};
/* First entry whose first n_parts key parts are >= key (after == false) or > key (after == true). key NULL: first entry of all. */
void lc_cursor_seek(struct lc_cursor *c, const struct lc_tree *t, const uint8_t *key, uint32_t n_parts, bool after);
bool lc_cursor_valid(const struct lc_cursor *c);
void lc_cursor_next(struct lc_cursor *c);
struct lc_slice lc_cursor_entry(const struct lc_cursor *c);
/* Compares the first n_parts key parts of an entry with a concatenated key. */
int lc_key_compare_entry(const struct lc_key_spec *spec, const uint8_t *entry, const uint8_t *key, uint32_t n_parts);

/* Entry with exactly this full key, or data == NULL. Valid until the tree changes. */
struct lc_slice lc_tree_find(const struct lc_tree *t, const uint8_t *key);
enum lc_tree_result { LC_TREE_DONE, LC_TREE_DUPLICATE, LC_TREE_NOMEM };
/* Inserts an entry (copied). DUPLICATE: one with its key exists, nothing changed. */
enum lc_tree_result lc_tree_insert(struct lc_tree *t, struct lc_slice entry);
/* Replaces the entry that has the key of `entry`; false: there is none (or memory is short: *nomem set). */
bool lc_tree_replace(struct lc_tree *t, struct lc_slice entry, bool *nomem);
/* Removes the entry with this full key; false: none. Never allocates. */
bool lc_tree_remove(struct lc_tree *t, const uint8_t *key);
void lc_tree_clear(struct lc_tree *t);

#endif
