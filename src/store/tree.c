/* Owns: changes of trees: insertion, replacement, removal, with copying of what snapshots see.
 *
 * Invariants: all leaves are equally deep; no node but the root is empty; an inner node has at least one child (ascending runs leave full nodes
 * behind, so one child alone is legal); a node is at least as young as any node above was when it was last changed, so that a leaf that may be
 * changed in place has a path that may. Before anything is changed the nodes it may need are reserved: a change happens whole or not at all.
 * Callers: engine/ through the face.
 */
#include "store_internal.h"

enum { RUN_MIN = 4 };

enum lc_status lc_tree_init(struct lc_tree *t, struct lc_store *s, const struct lc_key_spec *spec) {
  *t = (struct lc_tree){.store = s, .key = *spec, .entry_size_bytes = spec->entry_type->static_size_bytes};
  lc_key_spec_init(&t->key);
  if (t->entry_size_bytes == 0 || t->entry_size_bytes > MAX_PACKED_ENTRY_BYTES) t->entry_size_bytes = LC_SIZE_DYNAMIC;
  uint32_t leaf_room = LEAF_BYTES - (uint32_t)sizeof(struct lc_tree_node), inner_room = INNER_BYTES - (uint32_t)sizeof(struct lc_tree_node);
  t->leaf_capacity = leaf_room / (t->entry_size_bytes == LC_SIZE_DYNAMIC ? (uint32_t)sizeof(struct blob_cell) : t->entry_size_bytes);
  t->inner_capacity = inner_room / (t->key.is_exact ? 16 : 24);
  t->is_number = t->entry_size_bytes != LC_SIZE_DYNAMIC && t->key.is_exact && t->key.n_steps == 1 && t->key.steps_in_entry && t->key.steps[0].key_offset == 0;
  if (s->n_free_slots) {
    t->slot = s->free_slots[--s->n_free_slots];
  } else {
    if (s->n_roots == s->cap_roots) {
      uint32_t cap = s->cap_roots ? s->cap_roots * 2 : 64;
      struct lc_root *roots = lc_realloc(s->roots, cap * sizeof *roots);
      if (roots) s->roots = roots;
      uint32_t *slots = roots ? lc_realloc(s->free_slots, cap * sizeof *slots) : NULL;
      if (slots) s->free_slots = slots;
      if (!roots || !slots) return LC_NOMEM;
      s->cap_roots = cap;
    }
    t->slot = s->n_roots++;
  }
  s->roots[t->slot] = (struct lc_root){0};
  return LC_OK;
}

static struct lc_root *root_of(const struct lc_tree *t) { return &t->store->roots[t->slot]; }

static void drop_subtree(struct lc_tree *t, struct lc_tree_node *n) {
  if (n->kind == PIECE_LEAF) {
    for (uint32_t i = 0; t->entry_size_bytes == LC_SIZE_DYNAMIC && i < n->n; i++) piece_drop(t, &((struct blob_cell *)(void *)n->cells)[i].blob->piece);
  } else {
    for (uint32_t i = 0; i < n->n; i++) drop_subtree(t, children(t, n)[i]);
    for (uint32_t i = 0; !t->key.is_exact && i + 1 < n->n; i++) piece_drop(t, &separator_blobs(t, n)[i]->piece);
  }
  piece_drop(t, &n->piece);
}
void lc_tree_clear(struct lc_tree *t) {
  if (!t->store) return;
  struct lc_root *root = root_of(t);
  t->store->changed = true;
  t->run_leaf = NULL;
  if (root->node) drop_subtree(t, root->node);
  *root = (struct lc_root){0};
}
void lc_tree_free(struct lc_tree *t) {
  lc_tree_clear(t);
  if (!t->store) return;
  t->store->free_slots[t->store->n_free_slots++] = t->slot;
  t->store = NULL;
}

/* ---- copying ---- */

/* Makes the whole path changeable in place: copies what a snapshot can see. Nodes were reserved. */
static void own_path(struct lc_tree *t, struct lc_cursor *c) {
  struct lc_store *s = t->store;
  s->changed = true;
  if (c->path[c->depth - 1].node->piece.born > s->newest_live) return; /* a younger child has younger parents */
  store_look(s);                                                       /* perhaps the snapshot has gone meanwhile */
  for (uint32_t level = 0; level < c->depth; level++) {
    struct lc_tree_node *old = (struct lc_tree_node *)(uintptr_t)c->path[level].node;
    if (old->piece.born > s->newest_live) continue;
    struct lc_tree_node *copy = node_new(t, old->kind);
    copy->n = old->n;
    if (old->kind == PIECE_LEAF) {
      memcpy(copy->cells, old->cells, (size_t)old->n * (t->entry_size_bytes == LC_SIZE_DYNAMIC ? sizeof(struct blob_cell) : t->entry_size_bytes));
    } else {
      memcpy(separators(copy), separators(old), (size_t)(old->n - 1) * 8);
      memcpy(children(t, copy), children(t, old), (size_t)old->n * 8);
      if (!t->key.is_exact) memcpy(separator_blobs(t, copy), separator_blobs(t, old), (size_t)(old->n - 1) * 8);
    }
    if (level == 0) root_of(t)->node = copy;
    else children(t, c->path[level - 1].node)[c->path[level - 1].at] = copy;
    if (t->run_leaf == old) t->run_leaf = copy;
    c->path[level].node = copy;
    piece_drop(t, &old->piece);
  }
}
static struct lc_tree_node *own_child(struct lc_tree *t, struct lc_tree_node *parent, uint32_t at) {
  struct lc_cursor c = {.tree = t, .depth = 2};
  c.path[0].node = parent;
  c.path[0].at = at;
  c.path[1].node = children(t, parent)[at];
  /* the parent is changeable already, so own_path copies the child alone */
  own_path(t, &c);
  return children(t, parent)[at];
}

/* ---- cells ---- */

static uint32_t cell_bytes(const struct lc_tree *t) { return t->entry_size_bytes == LC_SIZE_DYNAMIC ? (uint32_t)sizeof(struct blob_cell) : t->entry_size_bytes; }
static void insert_bytes(uint8_t *cells, uint32_t n, uint32_t size, uint32_t at, const void *cell) {
  memmove(cells + (size_t)(at + 1) * size, cells + (size_t)at * size, (size_t)(n - at) * size);
  memcpy(cells + (size_t)at * size, cell, size);
}
static void remove_bytes(uint8_t *cells, uint32_t n, uint32_t size, uint32_t at) { memmove(cells + (size_t)at * size, cells + (size_t)(at + 1) * size, (size_t)(n - at - 1) * size); }

struct separator { int64_t prefix; struct blob *blob; };

/* Separator that stands for the key of entry i of a leaf. false: out of memory. */
static bool separator_of(struct lc_tree *t, const struct lc_tree_node *leaf, uint32_t i, struct separator *out) {
  struct lc_slice entry = leaf_entry(t, leaf, i);
  struct lc_buf scratch = {0};
  const uint8_t *key = entry_key(t, entry, &scratch);
  out->blob = NULL;
  if (key) {
    out->prefix = flipped(lc_key_prefix(&t->key, key, t->key.n_parts));
    if (!t->key.is_exact) out->blob = blob_new(t, lc_slice(key, lc_key_len(&t->key, key, t->key.n_parts)));
  }
  bool ok = key && (t->key.is_exact || out->blob);
  lc_buf_free(&scratch);
  return ok;
}

/* Puts `child` behind child `at` of an inner node that has room. */
static void inner_insert(struct lc_tree *t, struct lc_tree_node *n, uint32_t at, const struct separator *s, struct lc_tree_node *child) {
  insert_bytes((uint8_t *)separators(n), n->n - 1, 8, at, &s->prefix);
  insert_bytes((uint8_t *)children(t, n), n->n, 8, at + 1, &child);
  if (!t->key.is_exact) insert_bytes((uint8_t *)separator_blobs(t, n), n->n - 1, 8, at, &s->blob);
  n->n++;
}
/* Takes child `at` out together with the separator beside it. */
static void inner_remove(struct lc_tree *t, struct lc_tree_node *n, uint32_t at) {
  if (n->n > 1) {
    uint32_t s = at ? at - 1 : 0;
    if (!t->key.is_exact) {
      piece_drop(t, &separator_blobs(t, n)[s]->piece);
      remove_bytes((uint8_t *)separator_blobs(t, n), n->n - 1, 8, s);
    }
    remove_bytes((uint8_t *)separators(n), n->n - 1, 8, s);
  }
  remove_bytes((uint8_t *)children(t, n), n->n, 8, at);
  n->n--;
}

/* ---- insertion ---- */

/* Hangs `right`, a new neighbour of the node at path[level], into the levels above; splits those that are full. */
static void hang(struct lc_tree *t, struct lc_cursor *c, uint32_t level, struct separator s, struct lc_tree_node *right) {
  for (;;) {
    if (level == 0) {
      struct lc_tree_node *root = node_new(t, PIECE_INNER);
      root->n = 1;
      children(t, root)[0] = (struct lc_tree_node *)(uintptr_t)c->path[0].node;
      root_of(t)->node = root;
      inner_insert(t, root, 0, &s, right);
      return;
    }
    struct lc_tree_node *parent = (struct lc_tree_node *)(uintptr_t)c->path[--level].node;
    uint32_t at = c->path[level].at;
    if (parent->n < t->inner_capacity) {
      inner_insert(t, parent, at, &s, right);
      return;
    }
    /* split: the left keeps `keep` children; appending leaves it full */
    uint32_t keep = at == parent->n - 1 ? parent->n - 1 : parent->n / 2;
    struct lc_tree_node *split = node_new(t, PIECE_INNER);
    struct separator middle = {separators(parent)[keep - 1], t->key.is_exact ? NULL : separator_blobs(t, parent)[keep - 1]};
    split->n = parent->n - keep;
    memcpy(separators(split), separators(parent) + keep, (size_t)(split->n - 1) * 8);
    memcpy(children(t, split), children(t, parent) + keep, (size_t)split->n * 8);
    if (!t->key.is_exact) memcpy(separator_blobs(t, split), separator_blobs(t, parent) + keep, (size_t)(split->n - 1) * 8);
    parent->n = keep;
    if (at < keep) inner_insert(t, parent, at, &s, right);
    else inner_insert(t, split, at - keep, &s, right);
    s = middle;
    right = split;
  }
}

static bool is_rightmost(const struct lc_cursor *c) {
  for (uint32_t i = 0; i + 1 < c->depth; i++)
    if (c->path[i].at + 1 < c->path[i].node->n) return false;
  return true;
}

enum lc_tree_result lc_tree_insert(struct lc_tree *t, struct lc_slice entry, struct lc_slice *existing) {
  struct lc_buf scratch = {0};
  const uint8_t *key = entry_key(t, entry, &scratch);
  enum lc_tree_result result = LC_TREE_NOMEM;
  struct lc_root *root = root_of(t);
  struct lc_cursor c;
  struct target x;
  struct blob_cell blob_cell = {0};
  if (!key || !store_reserve(t->store, LC_TREE_MAX_DEPTH, 2 * LC_TREE_MAX_DEPTH)) goto end;
  target_set(t, &x, key, t->key.n_parts, false);
  if (!root->node) {
    root->node = node_new(t, PIECE_LEAF);
    t->run_leaf = NULL;
  }
  descend(&c, t, root->node, &x);
  struct lc_tree_node *leaf = (struct lc_tree_node *)(uintptr_t)c.path[c.depth - 1].node;
  uint32_t at = c.path[c.depth - 1].at, size = cell_bytes(t);
  if (at < leaf->n && lc_key_compare_entry(&t->key, leaf_entry(t, leaf, at).data, key, t->key.n_parts) == 0) {
    if (existing) *existing = leaf_entry(t, leaf, at);
    result = LC_TREE_DUPLICATE;
    goto end;
  }
  const void *cell = entry.data;
  if (t->entry_size_bytes == LC_SIZE_DYNAMIC) {
    blob_cell = (struct blob_cell){x.low, blob_new(t, entry)};
    if (!blob_cell.blob) goto end;
    cell = &blob_cell;
  }
  bool run = leaf == t->run_leaf && at == t->run_at + 1;
  t->run_length = run ? t->run_length + 1 : 0;
  if (leaf->n < t->leaf_capacity) {
    own_path(t, &c);
    leaf = (struct lc_tree_node *)(uintptr_t)c.path[c.depth - 1].node;
    insert_bytes(leaf->cells, leaf->n, size, at, cell);
    leaf->n++;
  } else {
    /* Where to split: behind the run if ascending keys come in, so that what they leave behind is full; else in the middle. */
    bool append = at == leaf->n && (is_rightmost(&c) || t->run_length >= RUN_MIN);
    uint32_t keep = append ? leaf->n : t->run_length >= RUN_MIN && at > leaf->n / 2 ? at : leaf->n / 2;
    struct separator s;
    struct lc_tree_node *right = NULL;
    if (keep < leaf->n) {
      if (!separator_of(t, leaf, keep, &s)) {
        if (blob_cell.blob) piece_drop(t, &blob_cell.blob->piece);
        goto end;
      }
    } else { /* the new entry alone goes right */
      s = (struct separator){flipped(x.low), NULL};
      if (!t->key.is_exact && !(s.blob = blob_new(t, lc_slice(key, lc_key_len(&t->key, key, t->key.n_parts))))) {
        if (blob_cell.blob) piece_drop(t, &blob_cell.blob->piece);
        goto end;
      }
    }
    own_path(t, &c);
    leaf = (struct lc_tree_node *)(uintptr_t)c.path[c.depth - 1].node;
    right = node_new(t, PIECE_LEAF);
    right->n = leaf->n - keep;
    memcpy(right->cells, leaf->cells + (size_t)keep * size, (size_t)right->n * size);
    leaf->n = keep;
    struct lc_tree_node *into = at < keep || (at == keep && keep < t->leaf_capacity && !append) ? leaf : right;
    if (into == right) at -= keep;
    insert_bytes(into->cells, into->n, size, at, cell);
    into->n++;
    hang(t, &c, c.depth - 1, s, right);
    leaf = into;
  }
  t->run_leaf = leaf;
  t->run_at = at;
  root_of(t)->n_entries++;
  result = LC_TREE_DONE;
end:
  lc_buf_free(&scratch);
  return result;
}

/* ---- replacement and removal ---- */

/* Path to the entry with this key; false: none. */
static bool locate(struct lc_tree *t, const uint8_t *key, struct lc_cursor *c) {
  struct target x;
  const struct lc_tree_node *root = root_of(t)->node;
  if (!root) return false;
  target_set(t, &x, key, t->key.n_parts, false);
  descend(c, t, root, &x);
  const struct lc_tree_node *leaf = c->path[c->depth - 1].node;
  uint32_t at = c->path[c->depth - 1].at;
  return at < leaf->n && lc_key_compare_entry(&t->key, leaf_entry(t, leaf, at).data, key, t->key.n_parts) == 0;
}

enum lc_tree_result lc_tree_replace(struct lc_tree *t, struct lc_slice entry) {
  struct lc_buf scratch = {0};
  struct lc_cursor c;
  const uint8_t *key = entry_key(t, entry, &scratch);
  enum lc_tree_result result = LC_TREE_NOMEM;
  if (key && !locate(t, key, &c)) {
    result = LC_TREE_ABSENT;
  } else if (key && store_reserve(t->store, 1, LC_TREE_MAX_DEPTH)) {
    struct blob *b = t->entry_size_bytes == LC_SIZE_DYNAMIC ? blob_new(t, entry) : NULL;
    if (b || t->entry_size_bytes != LC_SIZE_DYNAMIC) {
      own_path(t, &c);
      struct lc_tree_node *leaf = (struct lc_tree_node *)(uintptr_t)c.path[c.depth - 1].node;
      uint32_t at = c.path[c.depth - 1].at;
      if (b) {
        struct blob_cell *cell = (struct blob_cell *)(void *)leaf->cells + at;
        piece_drop(t, &cell->blob->piece);
        cell->blob = b; /* same key, same prefix */
      } else {
        memcpy(leaf->cells + (size_t)at * t->entry_size_bytes, entry.data, t->entry_size_bytes);
      }
      result = LC_TREE_DONE;
    }
  }
  lc_buf_free(&scratch);
  return result;
}

/* Moves the entries of leaf at + 1 into leaf at when both together leave a quarter free. The parent is changeable. */
static void merge_leaves(struct lc_tree *t, struct lc_tree_node *parent, uint32_t at) {
  struct lc_tree_node *left = children(t, parent)[at], *right = children(t, parent)[at + 1];
  if (left->n + right->n > t->leaf_capacity - t->leaf_capacity / 4) return;
  left = own_child(t, parent, at);
  memcpy(left->cells + (size_t)left->n * cell_bytes(t), right->cells, (size_t)right->n * cell_bytes(t));
  left->n += right->n;
  inner_remove(t, parent, at + 1);
  piece_drop(t, &right->piece);
}
static void merge_inners(struct lc_tree *t, struct lc_tree_node *parent, uint32_t at) {
  struct lc_tree_node *left = children(t, parent)[at], *right = children(t, parent)[at + 1];
  if (left->n + right->n > t->inner_capacity - t->inner_capacity / 4) return;
  left = own_child(t, parent, at);
  /* the separator between the two comes down */
  separators(left)[left->n - 1] = separators(parent)[at];
  memcpy(separators(left) + left->n, separators(right), (size_t)(right->n - 1) * 8);
  memcpy(children(t, left) + left->n, children(t, right), (size_t)right->n * 8);
  if (!t->key.is_exact) {
    separator_blobs(t, left)[left->n - 1] = separator_blobs(t, parent)[at];
    memcpy(separator_blobs(t, left) + left->n, separator_blobs(t, right), (size_t)(right->n - 1) * 8);
    remove_bytes((uint8_t *)separator_blobs(t, parent), parent->n - 1, 8, at);
  }
  left->n += right->n;
  remove_bytes((uint8_t *)separators(parent), parent->n - 1, 8, at);
  remove_bytes((uint8_t *)children(t, parent), parent->n, 8, at + 1);
  parent->n--;
  piece_drop(t, &right->piece);
}

bool lc_tree_remove(struct lc_tree *t, const uint8_t *key) {
  struct lc_cursor c;
  if (!locate(t, key, &c)) return false;
  own_path(t, &c);
  uint32_t level = c.depth - 1, at = c.path[level].at;
  struct lc_tree_node *n = (struct lc_tree_node *)(uintptr_t)c.path[level].node;
  if (t->entry_size_bytes == LC_SIZE_DYNAMIC) piece_drop(t, &((struct blob_cell *)(void *)n->cells)[at].blob->piece);
  remove_bytes(n->cells, n->n, cell_bytes(t), at);
  n->n--;
  t->run_leaf = NULL;
  struct lc_root *root = root_of(t);
  root->n_entries--;
  for (; level > 0; level--) {
    struct lc_tree_node *parent = (struct lc_tree_node *)(uintptr_t)c.path[level - 1].node;
    uint32_t child = c.path[level - 1].at, capacity = n->kind == PIECE_LEAF ? t->leaf_capacity : t->inner_capacity;
    if (n->n == 0) {
      inner_remove(t, parent, child);
      piece_drop(t, &n->piece);
    } else if (n->n < capacity / 2 && parent->n > 1) {
      void (*merge)(struct lc_tree *, struct lc_tree_node *, uint32_t) = n->kind == PIECE_LEAF ? merge_leaves : merge_inners;
      merge(t, parent, child + 1 < parent->n ? child : child - 1);
    } else {
      break;
    }
    n = parent;
  }
  while (root->node && (root->node->n == 0 || (root->node->kind == PIECE_INNER && root->node->n == 1))) {
    struct lc_tree_node *old = root->node;
    root->node = old->kind == PIECE_LEAF || old->n == 0 ? NULL : children(t, old)[0];
    piece_drop(t, &old->piece);
  }
  return true;
}

/* ---- check ---- */

struct check { const struct lc_tree *t; uint64_t entries; uint32_t leaf_depth; const uint8_t *last_key; struct lc_buf keys[2]; unsigned which; bool any; };

static void check_node(struct check *k, const struct lc_tree_node *n, uint32_t depth, const struct lc_tree_node *parent) {
  const struct lc_tree *t = k->t;
  lc_assert(n->n > 0 && (!parent || n->piece.born > 0));
  if (n->kind == PIECE_INNER) {
    lc_assert(n->n <= t->inner_capacity);
    for (uint32_t i = 0; i < n->n; i++) {
      if (i) {
        lc_assert(i < 2 || separators(n)[i - 2] <= separators(n)[i - 1]);
        /* what has been seen so far is smaller than the separator */
        lc_assert(!k->any || flipped(lc_key_prefix(&t->key, k->keys[k->which].data, t->key.n_parts)) <= separators(n)[i - 1]);
      }
      lc_assert(children(t, n)[i]->piece.born <= t->store->epoch);
      check_node(k, children(t, n)[i], depth + 1, n);
      if (i) lc_assert(flipped(lc_key_prefix(&t->key, k->keys[k->which].data, t->key.n_parts)) >= separators(n)[i - 1]);
    }
    return;
  }
  lc_assert(n->n <= t->leaf_capacity);
  lc_assert(k->leaf_depth == 0 || k->leaf_depth == depth);
  k->leaf_depth = depth;
  for (uint32_t i = 0; i < n->n; i++) {
    struct lc_slice e = leaf_entry(t, n, i);
    struct lc_buf *now = &k->keys[!k->which];
    lc_buf_clear(now);
    lc_key_extract(&t->key, e.data, now);
    lc_assert(!k->any || lc_key_compare_entry(&t->key, e.data, k->keys[k->which].data, t->key.n_parts) > 0);
    if (t->entry_size_bytes == LC_SIZE_DYNAMIC) lc_assert(((const struct blob_cell *)(const void *)n->cells)[i].prefix == lc_key_prefix(&t->key, now->data, t->key.n_parts));
    k->which = !k->which;
    k->any = true;
    k->entries++;
  }
}
void lc_tree_check(const struct lc_tree *t) {
  struct check k = {.t = t, .leaf_depth = 0};
  if (root_of(t)->node) check_node(&k, root_of(t)->node, 1, NULL);
  lc_assert(k.entries == root_of(t)->n_entries);
  lc_buf_free(&k.keys[0]);
  lc_buf_free(&k.keys[1]);
}
