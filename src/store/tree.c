/* The B+tree. Leaves hold entries (or pointers to their blobs), inner nodes hold n children and n - 1 separator keys: every entry under
 * child i has a key >= separator i - 1 and < separator i.
 *
 * Invariants: all leaves are equally deep; no node but the root is empty; an inner node has at least one child (appending leaves full nodes
 * behind, so one child alone is legal); separators are keys in concatenated form, packed when their size is static, else blobs.
 * Nodes are about 1 KiB (storage study: best for rows of 8 to 40 bytes); deletion merges a node into a neighbour when both fit.
 */
#include "store.h"

enum { NODE_BYTES = 1024, MIN_LEAF_ENTRIES = 8, MIN_INNER_CHILDREN = 8, BLOB_INNER_CHILDREN = 48 };

struct blob { uint32_t refs, len; uint8_t data[]; };
struct lc_tree_node {
  uint32_t n;                    /* leaf: entries; inner: children */
  bool is_leaf;
  struct lc_tree_node **children; /* inner: at the end of the node */
  _Alignas(8) uint8_t cells[];   /* leaf: entries or blob pointers; inner: separators or blob pointers */
};

static uint32_t cell_size(uint32_t static_size) { return static_size == LC_SIZE_DYNAMIC ? (uint32_t)sizeof(struct blob *) : static_size; }
static uint32_t leaf_cell(const struct lc_tree *t) { return cell_size(t->entry_size_bytes); }
static uint32_t inner_cell(const struct lc_tree *t) { return cell_size(t->key.static_size_bytes); }

static inline const uint8_t *entry_at(const struct lc_tree *t, const struct lc_tree_node *n, uint32_t i) {
  if (t->entry_size_bytes != LC_SIZE_DYNAMIC) return n->cells + (size_t)i * t->entry_size_bytes;
  struct blob *b;
  memcpy(&b, n->cells + (size_t)i * sizeof b, sizeof b);
  return b->data;
}
static inline const uint8_t *separator_at(const struct lc_tree *t, const struct lc_tree_node *n, uint32_t i) {
  if (t->key.static_size_bytes != LC_SIZE_DYNAMIC) return n->cells + (size_t)i * t->key.static_size_bytes;
  struct blob *b;
  memcpy(&b, n->cells + (size_t)i * sizeof b, sizeof b);
  return b->data;
}

void lc_tree_init(struct lc_tree *t, const struct lc_key_spec *spec) {
  *t = (struct lc_tree){.key = *spec, .entry_size_bytes = spec->entry_type->static_size_bytes};
  lc_key_spec_init(&t->key);
  uint32_t room = NODE_BYTES - (uint32_t)sizeof(struct lc_tree_node);
  uint32_t cell = leaf_cell(t) ? leaf_cell(t) : 1;
  t->leaf_capacity = room / cell > MIN_LEAF_ENTRIES ? room / cell : MIN_LEAF_ENTRIES;
  uint32_t pair = inner_cell(t) + (uint32_t)sizeof(void *);
  t->inner_capacity = room / pair > MIN_INNER_CHILDREN ? room / pair : MIN_INNER_CHILDREN;
  if (t->key.static_size_bytes == LC_SIZE_DYNAMIC) t->inner_capacity = BLOB_INNER_CHILDREN;
}

static struct lc_tree_node *node_new(struct lc_tree *t, bool is_leaf) {
  size_t cells = is_leaf ? (size_t)t->leaf_capacity * leaf_cell(t) : (size_t)t->inner_capacity * inner_cell(t);
  cells = (cells + 7) & ~(size_t)7;
  size_t size = sizeof(struct lc_tree_node) + cells + (is_leaf ? 0 : t->inner_capacity * sizeof(void *));
  struct lc_tree_node *n = lc_alloc(size);
  if (!n) return NULL;
  n->n = 0;
  n->is_leaf = is_leaf;
  n->children = is_leaf ? NULL : (struct lc_tree_node **)(void *)(n->cells + cells);
  t->memory_bytes += size;
  return n;
}

static void node_release(struct lc_tree *t, struct lc_tree_node *n) {
  size_t cells = n->is_leaf ? (size_t)t->leaf_capacity * leaf_cell(t) : (size_t)t->inner_capacity * inner_cell(t);
  cells = (cells + 7) & ~(size_t)7;
  t->memory_bytes -= sizeof(struct lc_tree_node) + cells + (n->is_leaf ? 0 : t->inner_capacity * sizeof(void *));
  lc_free(n);
}

/* Makes the cell of `bytes`: the bytes themselves, or a pointer to a new blob. false: out of memory. */
static bool cell_make(struct lc_tree *t, uint32_t static_size, struct lc_slice bytes, uint8_t *cell) {
  if (static_size != LC_SIZE_DYNAMIC) {
    memcpy(cell, bytes.data, static_size);
    return true;
  }
  if (bytes.len > UINT32_MAX) return false;
  struct blob *b = lc_alloc(sizeof *b + bytes.len);
  if (!b) return false;
  b->refs = 1;
  b->len = (uint32_t)bytes.len;
  memcpy(b->data, bytes.data, bytes.len);
  t->memory_bytes += sizeof *b + bytes.len;
  memcpy(cell, &b, sizeof b);
  return true;
}

static void cell_drop(struct lc_tree *t, uint32_t static_size, const uint8_t *cell) {
  if (static_size != LC_SIZE_DYNAMIC) return;
  struct blob *b;
  memcpy(&b, cell, sizeof b);
  if (--b->refs) return;
  t->memory_bytes -= sizeof *b + b->len;
  lc_free(b);
}

static void subtree_free(struct lc_tree *t, struct lc_tree_node *n) {
  uint32_t cells = n->is_leaf ? n->n : n->n - 1, size = n->is_leaf ? t->entry_size_bytes : t->key.static_size_bytes, step = n->is_leaf ? leaf_cell(t) : inner_cell(t);
  for (uint32_t i = 0; i < cells; i++) cell_drop(t, size, n->cells + (size_t)i * step);
  for (uint32_t i = 0; !n->is_leaf && i < n->n; i++) subtree_free(t, n->children[i]);
  node_release(t, n);
}

void lc_tree_clear(struct lc_tree *t) {
  if (t->root) subtree_free(t, t->root);
  t->root = NULL;
  t->n_entries = 0;
}
void lc_tree_free(struct lc_tree *t) { lc_tree_clear(t); }

/* ---- search ---- */

static int compare_separator(const struct lc_tree *t, const uint8_t *separator, const uint8_t *key, uint32_t n_parts) {
  const struct lc_key_spec *s = &t->key;
  for (uint32_t i = 0; i < n_parts; i++) {
    const struct lc_type *type = s->entry_type->fields[s->columns[i]].type;
    int c = lc_bsatn_compare(type, separator, key);
    if (c) return c;
    if (i + 1 == n_parts) break;
    separator = lc_bsatn_skip(type, separator);
    key = lc_bsatn_skip(type, key);
  }
  return 0;
}

static inline uint32_t load32(const uint8_t *p) {
  uint32_t v;
  memcpy(&v, p, 4);
  return v;
}

/* Child to descend into: the first whose separator to the right is > key (after, or equal allowed), by binary search. */
static uint32_t child_index(const struct lc_tree *t, const struct lc_tree_node *n, const uint8_t *key, uint32_t n_parts, bool after) {
  uint32_t low = 0, high = n->n - 1; /* number of separators that lie left of the wanted place */
  if (t->key.n_parts == 1 && n_parts == 1 && t->key.static_size_bytes == 4 && t->key.entry_type->fields[t->key.columns[0]].type->kind == LC_T_U32) {
    uint32_t k = load32(key), count = 0; /* vectorises: no branch per separator */
    for (uint32_t i = 0; i < high; i++) count += load32(n->cells + 4 * (size_t)i) <= k;
    return count;
  }
  while (low < high) {
    uint32_t mid = (low + high) / 2;
    int c = compare_separator(t, separator_at(t, n, mid), key, n_parts);
    /* a full key equal to the separator is in the right child; with a prefix, equal entries may begin left of it */
    bool go_right = n_parts == t->key.n_parts || after ? c <= 0 : c < 0;
    if (go_right) low = mid + 1;
    else high = mid;
  }
  return low;
}

static uint32_t leaf_index(const struct lc_tree *t, const struct lc_tree_node *n, const uint8_t *key, uint32_t n_parts, bool after) {
  uint32_t low = 0, high = n->n;
  if (t->key.is_static_offset && n_parts == 1 && t->entry_size_bytes != LC_SIZE_DYNAMIC && t->key.entry_type->fields[t->key.columns[0]].type->kind == LC_T_U32) {
    uint32_t k = load32(key);
    const uint8_t *base = n->cells + t->key.offset_bytes;
    while (low < high) {
      uint32_t mid = (low + high) / 2, v = load32(base + (size_t)mid * t->entry_size_bytes);
      if (v < k || (after && v == k)) low = mid + 1;
      else high = mid;
    }
    return low;
  }
  while (low < high) {
    uint32_t mid = (low + high) / 2;
    int c = lc_key_compare_entry(&t->key, entry_at(t, n, mid), key, n_parts);
    if (c < 0 || (after && c == 0)) low = mid + 1;
    else high = mid;
  }
  return low;
}

bool lc_cursor_valid(const struct lc_cursor *c) { return c->depth > 0; }

/* Moves off the end of a leaf to the next one; invalid at the end of the tree. */
static void settle(struct lc_cursor *c) {
  while (c->depth && c->path[c->depth - 1].at >= c->path[c->depth - 1].node->n) {
    c->depth--;
    while (c->depth && ++c->path[c->depth - 1].at >= c->path[c->depth - 1].node->n) c->depth--;
    while (c->depth && !c->path[c->depth - 1].node->is_leaf) {
      struct lc_tree_node *child = c->path[c->depth - 1].node->children[c->path[c->depth - 1].at];
      c->path[c->depth].node = child;
      c->path[c->depth++].at = 0;
    }
  }
}

static void descend(struct lc_cursor *c, const struct lc_tree *t, const uint8_t *key, uint32_t n_parts, bool after) {
  c->tree = t;
  c->depth = 0;
  for (struct lc_tree_node *n = t->root; n;) {
    lc_assert(c->depth < LC_TREE_MAX_DEPTH);
    uint32_t at = !key ? 0 : n->is_leaf ? leaf_index(t, n, key, n_parts, after) : child_index(t, n, key, n_parts, after);
    c->path[c->depth].node = n;
    c->path[c->depth++].at = at;
    n = n->is_leaf ? NULL : n->children[at];
    if (n) __builtin_prefetch(n);
  }
}

void lc_cursor_seek(struct lc_cursor *c, const struct lc_tree *t, const uint8_t *key, uint32_t n_parts, bool after) {
  descend(c, t, key, n_parts, after);
  settle(c);
}

void lc_cursor_next(struct lc_cursor *c) {
  if (!c->depth) return;
  c->path[c->depth - 1].at++;
  settle(c);
}

static struct lc_slice entry_slice(const struct lc_tree *t, const struct lc_tree_node *n, uint32_t i) {
  if (t->entry_size_bytes != LC_SIZE_DYNAMIC) return lc_slice(n->cells + (size_t)i * t->entry_size_bytes, t->entry_size_bytes);
  struct blob *b;
  memcpy(&b, n->cells + (size_t)i * sizeof b, sizeof b);
  return lc_slice(b->data, b->len);
}

struct lc_slice lc_cursor_entry(const struct lc_cursor *c) { return entry_slice(c->tree, c->path[c->depth - 1].node, c->path[c->depth - 1].at); }

struct lc_slice lc_tree_find(const struct lc_tree *t, const uint8_t *key) {
  const struct lc_tree_node *n = t->root;
  if (!n) return lc_slice(NULL, 0);
  while (!n->is_leaf) {
    n = n->children[child_index(t, n, key, t->key.n_parts, false)];
    for (unsigned line = 0; line < NODE_BYTES; line += 64) __builtin_prefetch((const char *)n + line);
  }
  uint32_t at = leaf_index(t, n, key, t->key.n_parts, false);
  if (at == n->n || lc_key_compare_entry(&t->key, entry_at(t, n, at), key, t->key.n_parts) != 0) return lc_slice(NULL, 0);
  return entry_slice(t, n, at);
}

/* ---- change ---- */

static void cells_insert(uint8_t *cells, uint32_t n, uint32_t size, uint32_t at, const uint8_t *cell) {
  memmove(cells + (size_t)(at + 1) * size, cells + (size_t)at * size, (size_t)(n - at) * size);
  memcpy(cells + (size_t)at * size, cell, size);
}
static void cells_remove(uint8_t *cells, uint32_t n, uint32_t size, uint32_t at) {
  memmove(cells + (size_t)at * size, cells + (size_t)(at + 1) * size, (size_t)(n - at - 1) * size);
}

/* Splits the node at path[level] into itself and a new right neighbour, which the parent gets; parents that are full were split before.
 * Separator cell made beforehand, so that nothing fails half way. */
static void parent_insert(struct lc_tree *t, struct lc_tree_node *parent, uint32_t at, const uint8_t *separator_cell, struct lc_tree_node *right) {
  cells_insert(parent->cells, parent->n - 1, inner_cell(t), at, separator_cell);
  memmove(parent->children + at + 2, parent->children + at + 1, (parent->n - at - 1) * sizeof *parent->children);
  parent->children[at + 1] = right;
  parent->n++;
}

/* Splits a full child of a parent that has room. `append`: the new entry goes to the far right, so leave the left node full.
 * false: out of memory, nothing changed. */
static bool split_child(struct lc_tree *t, struct lc_tree_node *parent, uint32_t at, bool append) {
  struct lc_tree_node *left = parent->children[at], *right = node_new(t, left->is_leaf);
  if (!right) return false;
  uint32_t keep = append ? left->n - 1 : left->n / 2;
  uint8_t separator[LC_KEY_MAX_PARTS * 32];
  if (left->is_leaf) {
    struct lc_buf key = {0};
    lc_key_extract(&t->key, entry_at(t, left, keep), &key);
    bool ok = lc_buf_ok(&key) && cell_make(t, t->key.static_size_bytes, lc_buf_slice(&key), separator);
    lc_buf_free(&key);
    if (!ok) {
      node_release(t, right);
      return false;
    }
    right->n = left->n - keep;
    memcpy(right->cells, left->cells + (size_t)keep * leaf_cell(t), (size_t)right->n * leaf_cell(t));
  } else {
    right->n = left->n - keep;
    memcpy(separator, left->cells + (size_t)(keep - 1) * inner_cell(t), inner_cell(t));
    memcpy(right->cells, left->cells + (size_t)keep * inner_cell(t), (size_t)(right->n - 1) * inner_cell(t));
    memcpy(right->children, left->children + keep, right->n * sizeof *right->children);
  }
  left->n = keep;
  parent_insert(t, parent, at, separator, right);
  return true;
}

static uint32_t capacity(const struct lc_tree *t, const struct lc_tree_node *n) { return n->is_leaf ? t->leaf_capacity : t->inner_capacity; }

enum lc_tree_result lc_tree_insert(struct lc_tree *t, struct lc_slice entry) {
  uint8_t *cell = (uint8_t[sizeof(struct blob *)]){0};
  struct lc_buf key = {0};
  const uint8_t *k;
  enum lc_tree_result result = LC_TREE_NOMEM;
  if (!t->root && !(t->root = node_new(t, true))) return LC_TREE_NOMEM;
  if (t->key.is_prefix) k = entry.data;
  else if (t->key.is_static_offset) k = entry.data + t->key.offset_bytes;
  else {
    lc_key_extract(&t->key, entry.data, &key);
    if (!lc_buf_ok(&key)) return LC_TREE_NOMEM;
    k = key.data;
  }
  if (lc_tree_find(t, k).data) {
    result = LC_TREE_DUPLICATE;
    goto end;
  }
  if (t->root->n == capacity(t, t->root)) { /* grow: the old root becomes the only child of a new one, then is split like any other */
    struct lc_tree_node *root = node_new(t, false);
    if (!root) goto end;
    root->n = 1;
    root->children[0] = t->root;
    t->root = root;
  }
  struct lc_tree_node *n = t->root;
  bool rightmost = true;
  while (!n->is_leaf) {
    uint32_t at = child_index(t, n, k, t->key.n_parts, false);
    rightmost = rightmost && at == n->n - 1;
    struct lc_tree_node *child = n->children[at];
    if (child->n == capacity(t, child)) {
      bool append = rightmost && (!child->is_leaf || leaf_index(t, child, k, t->key.n_parts, false) == child->n);
      if (!split_child(t, n, at, append)) goto end;
      at = child_index(t, n, k, t->key.n_parts, false);
    }
    n = n->children[at];
  }
  if (t->entry_size_bytes != LC_SIZE_DYNAMIC) cell = (uint8_t *)(uintptr_t)entry.data;
  else if (!cell_make(t, LC_SIZE_DYNAMIC, entry, cell)) goto end;
  cells_insert(n->cells, n->n, leaf_cell(t), leaf_index(t, n, k, t->key.n_parts, false), cell);
  n->n++;
  t->n_entries++;
  result = LC_TREE_DONE;
end:
  lc_buf_free(&key);
  return result;
}

bool lc_tree_replace(struct lc_tree *t, struct lc_slice entry, bool *nomem) {
  struct lc_buf key = {0};
  const uint8_t *k = t->key.is_prefix ? entry.data : t->key.is_static_offset ? entry.data + t->key.offset_bytes : NULL;
  *nomem = false;
  if (!k) {
    lc_key_extract(&t->key, entry.data, &key);
    if (!lc_buf_ok(&key)) return *nomem = true, false;
    k = key.data;
  }
  struct lc_cursor c;
  descend(&c, t, k, t->key.n_parts, false);
  struct lc_tree_node *n = c.depth ? c.path[c.depth - 1].node : NULL;
  uint32_t at = n ? c.path[c.depth - 1].at : 0;
  bool found = n && at < n->n && lc_key_compare_entry(&t->key, entry_at(t, n, at), k, t->key.n_parts) == 0;
  if (found) {
    uint8_t blob_cell[sizeof(struct blob *)], *cell = n->cells + (size_t)at * leaf_cell(t);
    if (t->entry_size_bytes != LC_SIZE_DYNAMIC) {
      memcpy(cell, entry.data, t->entry_size_bytes);
    } else if (cell_make(t, LC_SIZE_DYNAMIC, entry, blob_cell)) {
      cell_drop(t, LC_SIZE_DYNAMIC, cell);
      memcpy(cell, blob_cell, sizeof blob_cell);
    } else {
      *nomem = true;
      found = false;
    }
  }
  lc_buf_free(&key);
  return found;
}

/* Takes child `at` out of its parent together with the separator beside it. */
static void parent_remove(struct lc_tree *t, struct lc_tree_node *parent, uint32_t at) {
  uint32_t separator = at ? at - 1 : 0;
  if (parent->n > 1) {
    cell_drop(t, t->key.static_size_bytes, parent->cells + (size_t)separator * inner_cell(t));
    cells_remove(parent->cells, parent->n - 1, inner_cell(t), separator);
  }
  memmove(parent->children + at, parent->children + at + 1, (parent->n - at - 1) * sizeof *parent->children);
  parent->n--;
}

/* Moves the entries of leaf `at + 1` into leaf `at` when both together leave a quarter free. */
static void merge_leaves(struct lc_tree *t, struct lc_tree_node *parent, uint32_t at) {
  struct lc_tree_node *left = parent->children[at], *right = parent->children[at + 1];
  if (!left->is_leaf || left->n + right->n > t->leaf_capacity - t->leaf_capacity / 4) return;
  memcpy(left->cells + (size_t)left->n * leaf_cell(t), right->cells, (size_t)right->n * leaf_cell(t));
  left->n += right->n;
  parent_remove(t, parent, at + 1);
  node_release(t, right);
}

bool lc_tree_remove(struct lc_tree *t, const uint8_t *key) {
  struct lc_cursor c;
  descend(&c, t, key, t->key.n_parts, false);
  if (!c.depth) return false;
  uint32_t level = c.depth - 1, at = c.path[level].at;
  struct lc_tree_node *n = c.path[level].node;
  if (at == n->n || lc_key_compare_entry(&t->key, entry_at(t, n, at), key, t->key.n_parts) != 0) return false;
  cell_drop(t, t->entry_size_bytes, n->cells + (size_t)at * leaf_cell(t));
  cells_remove(n->cells, n->n, leaf_cell(t), at);
  n->n--;
  t->n_entries--;
  for (; level > 0; level--) {
    struct lc_tree_node *parent = c.path[level - 1].node;
    uint32_t child = c.path[level - 1].at;
    if (n->n == 0) {
      parent_remove(t, parent, child);
      node_release(t, n);
    } else if (n->is_leaf && n->n < t->leaf_capacity / 2) {
      if (child + 1 < parent->n) merge_leaves(t, parent, child);
      else if (child > 0) merge_leaves(t, parent, child - 1);
    }
    n = parent;
  }
  while (t->root && ((t->root->is_leaf && t->root->n == 0) || (!t->root->is_leaf && t->root->n <= 1))) {
    struct lc_tree_node *old = t->root;
    t->root = old->is_leaf || old->n == 0 ? NULL : old->children[0];
    node_release(t, old);
  }
  return true;
}
