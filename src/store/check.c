/* Owns: the check of a whole tree against its invariants (tests). */
#include "store_internal.h"

struct check { const struct lc_tree *t; uint64_t entries, bytes; uint32_t leaf_depth; struct lc_buf keys[2]; unsigned which; bool any; };

static int64_t last_prefix(const struct check *k) { return flipped(lc_key_prefix(&k->t->key, k->keys[k->which].data, k->t->key.n_parts)); }

/* The last key seen is < separator i (`behind` false) or >= it. */
static void check_separator(const struct check *k, const struct lc_tree_node *n, uint32_t i, bool behind) {
  const struct lc_tree *t = k->t;
  int64_t p = last_prefix(k), s = prefixes(n)[i];
  lc_assert(behind ? p >= s : p <= s);
  if (p != s) return;
  if (t->key.is_exact) {
    lc_assert(behind);
    return;
  }
  struct lc_slice separator = slot_bytes(n, i);
  int c = separator.len ? key_compare(&t->key, separator.data, k->keys[k->which].data, t->key.n_parts) : -1;
  lc_assert(behind ? c <= 0 : c > 0);
}

static void check_slots(struct check *k, const struct lc_tree_node *n, uint32_t cells) {
  uint32_t directory = n->kind == PIECE_INNER ? INNER_SLOT_BYTES * cells + 8 : LEAF_SLOT_BYTES * cells, most = n->kind == PIECE_INNER ? MAX_SEPARATOR_BYTES : MAX_INLINE_BYTES;
  lc_assert(slots_used(n) <= ROOM_BYTES && n->heap >= HEADER_BYTES + directory && n->heap <= NODE_BYTES);
  for (uint32_t i = 0; i < cells; i++) {
    struct slot s = slots(n)[i];
    lc_assert(slot_heap_bytes(s) == 0 || s.offset >= n->heap);
    lc_assert(s.offset + slot_heap_bytes(s) <= NODE_BYTES && (s.len == SLOT_BLOB || s.len <= most));
    if (s.len != SLOT_BLOB) continue;
    const struct blob *b = slot_blob(n, s);
    lc_assert(b->kind == PIECE_BLOB && b->len > most && b->piece.born <= k->t->store->epoch);
    k->bytes += piece_bytes(&b->piece);
  }
}

static void check_node(struct check *k, const struct lc_tree_node *n, uint32_t depth) {
  const struct lc_tree *t = k->t;
  lc_assert(n->n > 0 && n->piece.born > 0 && n->piece.born <= t->store->epoch);
  k->bytes += piece_bytes(&n->piece);
  if (n->kind == PIECE_INNER) {
    if (!t->key.is_exact) check_slots(k, n, n->n - 1u);
    else
      for (uint32_t i = n->n - 1u; i < EXACT_SEPARATORS; i++) lc_assert(n->n <= EXACT_CHILDREN && prefixes(n)[i] == INT64_MAX);
    for (uint32_t i = 0; i < n->n; i++) {
      if (i && k->any) check_separator(k, n, i - 1, false);
      check_node(k, children(t, n)[i], depth + 1);
      if (i + 1u < n->n) lc_assert(i == 0 || prefixes(n)[i - 1] <= prefixes(n)[i]);
    }
    return;
  }
  lc_assert(k->leaf_depth == 0 || k->leaf_depth == depth);
  k->leaf_depth = depth;
  lc_assert(n->kind == (is_slotted(t) ? PIECE_SLOTTED : PIECE_PACKED));
  if (is_slotted(t)) check_slots(k, n, n->n);
  else lc_assert(n->n <= t->leaf_capacity);
  for (uint32_t i = 0; i < n->n; i++) {
    struct lc_slice e = leaf_entry(t, n, i);
    struct lc_buf *now = &k->keys[!k->which];
    lc_buf_clear(now);
    lc_key_extract(&t->key, e.data, now);
    lc_assert(!k->any || lc_key_compare_entry(&t->key, e.data, k->keys[k->which].data, t->key.n_parts) > 0);
    k->which = !k->which;
    k->any = true;
    k->entries++;
    if (is_slotted(t)) lc_assert(prefixes(n)[i] == last_prefix(k));
  }
}
/* Separators against the first key behind them: found by looking each leaf's first key up from the root. */
static void check_paths(const struct lc_tree *t, const struct lc_tree_node *n) {
  if (n->kind == PIECE_INNER) {
    for (uint32_t i = 0; i < n->n; i++) check_paths(t, children(t, n)[i]);
    return;
  }
  struct lc_buf key = {0};
  struct target x;
  lc_key_extract(&t->key, leaf_entry(t, n, 0).data, &key);
  target_set(t, &x, key.data, t->key.n_parts, false);
  struct spot s = spot_of(t, t->store->roots[t->slot].node, &x);
  lc_assert(s.found && s.leaf == n && s.at == 0);
  lc_buf_free(&key);
}

void lc_tree_check(const struct lc_tree *t) {
  struct check k = {.t = t, .leaf_depth = 0};
  const struct lc_root *root = &t->store->roots[t->slot];
  lc_assert(root->tree_id == t->id);
  if (root->node) {
    check_node(&k, root->node, 1);
    check_paths(t, root->node);
  }
  lc_assert(k.leaf_depth == t->height);
  lc_assert(k.entries == root->n_entries && k.bytes == t->memory_bytes);
  const struct lc_tree_node *last = root->node;
  while (last && last->kind == PIECE_INNER) last = children(t, last)[last->n - 1];
  lc_assert(!t->append_leaf || t->append_leaf == last);
  lc_buf_free(&k.keys[0]);
  lc_buf_free(&k.keys[1]);
}
