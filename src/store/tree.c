/* Owns: changes of trees: insertion, replacement, removal, with copying of what snapshots see.
 *
 * Invariants: all leaves are equally deep; no node but the root is empty; an inner node has at least one child (ascending runs leave full nodes
 * behind, so one child alone is legal); a node is at least as young as any node above was when it was last changed, so that a leaf that may be
 * changed in place has a path that may. Before anything is changed the nodes it may need are reserved and its blobs made: a change happens whole or
 * not at all. `append_leaf` is NULL or the rightmost leaf.
 *
 * Most changes touch one leaf that is owned and has room: they need no path. The rest takes the path and comes by `own_path`.
 * Callers: engine/ through the face, bulk.c.
 */
#include "store_internal.h"

enum { RUN_MIN = 4, ROOTS_AT_FIRST = 64 };

enum lc_status lc_tree_init(struct lc_tree *t, struct lc_store *s, const struct lc_key_spec *spec) {
  *t = (struct lc_tree){0};
  if (!s->n_free_slots && s->n_roots == s->cap_roots) {
    uint32_t cap = s->cap_roots ? s->cap_roots * 2 : ROOTS_AT_FIRST;
    struct lc_root *roots = lc_realloc(s->roots, cap * sizeof *roots);
    if (roots) s->roots = roots;
    uint32_t *free_slots = roots ? lc_realloc(s->free_slots, cap * sizeof *free_slots) : NULL;
    if (free_slots) s->free_slots = free_slots;
    if (!roots || !free_slots) return LC_NOMEM;
    s->cap_roots = cap;
  }
  *t = (struct lc_tree){.store = s, .key = *spec, .entry_size_bytes = spec->entry_type->static_size_bytes, .id = ++s->next_tree_id};
  lc_key_spec_init(&t->key);
  if (t->entry_size_bytes == 0 || t->entry_size_bytes > MAX_PACKED_ENTRY_BYTES) t->entry_size_bytes = LC_SIZE_DYNAMIC;
  t->leaf_capacity = is_slotted(t) ? 0 : (PACKED_BYTES - HEADER_BYTES) / t->entry_size_bytes;
  t->is_number = !is_slotted(t) && t->key.is_exact && t->key.n_steps == 1 && t->key.steps_in_entry && t->key.steps[0].key_offset == 0 && t->key.steps[0].kind != LC_STEP_FLOAT;
  t->slot = s->n_free_slots ? s->free_slots[--s->n_free_slots] : s->n_roots++;
  s->roots[t->slot] = (struct lc_root){.tree_id = t->id};
  return LC_OK;
}

static struct lc_root *root_of(const struct lc_tree *t) { return &t->store->roots[t->slot]; }
static struct lc_tree_node *node_at(const struct lc_cursor *c, uint32_t level) { return (struct lc_tree_node *)(uintptr_t)c->path[level].node; }

static void drop_subtree(struct lc_tree *t, struct lc_tree_node *n) {
  if (n->kind == PIECE_INNER)
    for (uint32_t i = 0; i < n->n; i++) drop_subtree(t, children(t, n)[i]);
  uint32_t cells = n->kind == PIECE_SLOTTED ? n->n : n->kind == PIECE_INNER && !t->key.is_exact ? n->n - 1u : 0;
  for (uint32_t i = 0; i < cells; i++)
    if (slots(n)[i].len == SLOT_BLOB) piece_drop(t, &slot_blob(n, slots(n)[i])->piece);
  piece_drop(t, &n->piece);
}
void lc_tree_clear(struct lc_tree *t) {
  if (!t->store) return;
  struct lc_root *root = root_of(t);
  t->append_leaf = NULL;
  lc_tree_settle(t);
  if (!root->node) return;
  t->height = 0;
  t->store->changed = true;
  store_look(t->store);
  drop_subtree(t, root->node);
  *root = (struct lc_root){.tree_id = t->id};
}
void lc_tree_free(struct lc_tree *t) {
  lc_tree_clear(t);
  if (!t->store) return;
  t->store->roots[t->slot].tree_id = 0;
  t->store->free_slots[t->store->n_free_slots++] = t->slot;
  t->store = NULL;
}

/* ---- copying ---- */

static struct lc_tree_node *copy_of(struct lc_tree *t, struct lc_tree_node *old) {
  struct lc_tree_node *copy = node_new(t, old->kind);
  if (old->kind == PIECE_SLOTTED || (old->kind == PIECE_INNER && !t->key.is_exact)) {
    slots_copy(copy, old);
  } else {
    copy->n = old->n;
    copy->run_at = old->run_at;
    copy->run_length = old->run_length;
    memcpy(copy->cells, old->cells, old->kind == PIECE_INNER ? ROOM_BYTES : (size_t)old->n * t->entry_size_bytes);
  }
  if (t->append_leaf == old) t->append_leaf = copy;
  piece_drop(t, &old->piece);
  return copy;
}
/* Makes the whole path changeable in place: copies what a snapshot can see. Nodes were reserved. */
static void own_path(struct lc_tree *t, struct lc_cursor *c) {
  struct lc_store *s = t->store;
  s->changed = true;
  if (is_owned(s, c->path[c->depth - 1].node)) return; /* a younger child has younger parents */
  store_look(s);                                       /* perhaps the snapshot has gone meanwhile */
  for (uint32_t level = 0; level < c->depth; level++) {
    if (is_owned(s, c->path[level].node)) continue;
    struct lc_tree_node *copy = copy_of(t, node_at(c, level));
    if (level == 0) root_of(t)->node = copy;
    else children(t, c->path[level - 1].node)[c->path[level - 1].at] = copy;
    c->path[level].node = copy;
  }
}
static struct lc_tree_node *own_child(struct lc_tree *t, struct lc_tree_node *parent, uint32_t at) {
  struct lc_tree_node *child = children(t, parent)[at];
  return is_owned(t->store, child) ? child : (children(t, parent)[at] = copy_of(t, child));
}

/* ---- cells of leaves ---- */

static void insert_bytes(uint8_t *cells, uint32_t n, uint32_t size, uint32_t at, const void *cell) {
  memmove(cells + (size_t)(at + 1) * size, cells + (size_t)at * size, (size_t)(n - at) * size);
  memcpy(cells + (size_t)at * size, cell, size);
}
static void remove_bytes(uint8_t *cells, uint32_t n, uint32_t size, uint32_t at) { memmove(cells + (size_t)at * size, cells + (size_t)(at + 1) * size, (size_t)(n - at - 1) * size); }

/* What a leaf holds and can hold: entries of a packed leaf, bytes of a slotted one. */
static uint32_t leaf_used(const struct lc_tree *t, const struct lc_tree_node *n) { return is_slotted(t) ? slots_used(n) : n->n; }
static uint32_t leaf_room(const struct lc_tree *t) { return is_slotted(t) ? ROOM_BYTES : t->leaf_capacity; }
static uint32_t cost_of(const struct lc_tree *t, const struct cell *c) { return is_slotted(t) ? LEAF_SLOT_BYTES + cell_heap_bytes(c) : 1; }
static uint32_t cost_at(const struct lc_tree *t, const struct lc_tree_node *n, uint32_t i) { return is_slotted(t) ? LEAF_SLOT_BYTES + slot_heap_bytes(slots(n)[i]) : 1; }
static bool leaf_fits(const struct lc_tree *t, const struct lc_tree_node *n, const struct cell *c) {
  if (!is_slotted(t)) return n->n < t->leaf_capacity;
  uint32_t need = cost_of(t, c);
  return n->heap >= HEADER_BYTES + LEAF_SLOT_BYTES * (uint32_t)n->n + need || slots_used(n) + need <= ROOM_BYTES;
}
static void leaf_put(const struct lc_tree *t, struct lc_tree_node *n, uint32_t at, const struct cell *c) {
  if (is_slotted(t)) {
    slots_insert(n, at, c, NULL);
  } else {
    insert_bytes(n->cells, n->n, t->entry_size_bytes, at, c->bytes.data);
    n->n++;
  }
  n->run_length = at != n->run_at + 1u ? 0 : n->run_length < UINT8_MAX ? (uint8_t)(n->run_length + 1) : UINT8_MAX;
  n->run_at = (uint16_t)at;
}
static void leaf_take(const struct lc_tree *t, struct lc_tree_node *n, uint32_t at) {
  if (is_slotted(t)) {
    slots_remove(n, at, 0);
  } else {
    remove_bytes(n->cells, n->n, t->entry_size_bytes, at);
    n->n--;
  }
}
/* Copies entries [from, from + count) of one leaf to place `at` of another that has room. */
static void leaf_copy(const struct lc_tree *t, struct lc_tree_node *to, uint32_t at, const struct lc_tree_node *leaf, uint32_t from, uint32_t count) {
  if (is_slotted(t)) {
    for (uint32_t i = 0; i < count; i++) {
      struct cell c = slots_cell(leaf, from + i);
      slots_insert(to, at + i, &c, NULL);
    }
  } else {
    uint32_t size = t->entry_size_bytes;
    memmove(to->cells + (size_t)(at + count) * size, to->cells + (size_t)at * size, (size_t)(to->n - at) * size);
    memcpy(to->cells + (size_t)at * size, leaf->cells + (size_t)from * size, (size_t)count * size);
    to->n = (uint16_t)(to->n + count);
  }
  to->run_length = 0;
}
static void leaf_truncate(const struct lc_tree *t, struct lc_tree_node *leaf, uint32_t keep) {
  if (is_slotted(t)) slots_truncate(leaf, keep);
  else leaf->n = (uint16_t)keep;
  leaf->run_length = 0;
}
static void leaf_behead(const struct lc_tree *t, struct lc_tree_node *leaf, uint32_t count) {
  if (is_slotted(t)) {
    for (uint32_t i = count; i-- > 0;) slots_remove(leaf, i, 0);
  } else {
    leaf->n = (uint16_t)(leaf->n - count);
    memmove(leaf->cells, leaf->cells + (size_t)count * t->entry_size_bytes, (size_t)leaf->n * t->entry_size_bytes);
  }
  leaf->run_length = 0;
}

/* ---- separators ---- */

struct separator { int64_t prefix; uint32_t len; struct blob *blob; uint8_t bytes[MAX_SEPARATOR_BYTES]; };

static int64_t prefix_at(const struct lc_tree *t, const struct lc_tree_node *leaf, uint32_t i) {
  if (is_slotted(t)) return prefixes(leaf)[i];
  const uint8_t *entry = leaf->cells + (size_t)i * t->entry_size_bytes;
  if (t->key.steps_in_entry) return flipped(steps_prefix(&t->key, entry));
  struct key_scratch scratch = {.spill = {0}}; /* packed entries are small: never spilled */
  return flipped(lc_key_prefix(&t->key, entry_key(&t->key, lc_slice(entry, t->entry_size_bytes), &scratch), t->key.n_parts));
}
/* A separator before the entry `right` (with that prefix) and behind an entry with the prefix `left`. false: out of memory. */
static bool separator_make(struct lc_tree *t, int64_t left, int64_t prefix, struct lc_slice right, struct separator *out) {
  out->prefix = prefix;
  out->len = 0;
  out->blob = NULL;
  if (t->key.is_exact || left < prefix) return true;
  struct key_scratch scratch = {.spill = {0}};
  const uint8_t *key = entry_key(&t->key, right, &scratch);
  size_t len = key ? lc_key_len(&t->key, key, t->key.n_parts) : 0;
  if (len <= MAX_SEPARATOR_BYTES) {
    if (key) memcpy(out->bytes, key, len);
    out->len = (uint32_t)len;
  } else {
    out->blob = blob_new(t, lc_slice(key, len));
  }
  lc_buf_free(&scratch.spill);
  return key && (len <= MAX_SEPARATOR_BYTES || out->blob);
}
static struct cell separator_cell(const struct separator *s) { return (struct cell){s->prefix, lc_slice(s->bytes, s->len), s->blob}; }

/* ---- inner nodes ---- */

static uint32_t inner_used(const struct lc_tree *t, const struct lc_tree_node *n) { return t->key.is_exact ? n->n : slots_used(n); }
static uint32_t inner_room(const struct lc_tree *t) { return t->key.is_exact ? EXACT_CHILDREN : ROOM_BYTES; }
static bool inner_fits(const struct lc_tree *t, const struct lc_tree_node *n, const struct separator *s) {
  if (t->key.is_exact) return n->n < EXACT_CHILDREN;
  struct cell c = separator_cell(s);
  return slots_used(n) + INNER_SLOT_BYTES + cell_heap_bytes(&c) <= ROOM_BYTES;
}
/* Puts `child` behind child `at` of an inner node that has room. */
static void inner_insert(const struct lc_tree *t, struct lc_tree_node *n, uint32_t at, const struct separator *s, struct lc_tree_node *child) {
  if (t->key.is_exact) {
    insert_bytes((uint8_t *)prefixes(n), n->n - 1u, 8, at, &s->prefix);
    insert_bytes((uint8_t *)exact_children(n), n->n, 8, at + 1, &child);
    n->n++;
  } else {
    struct cell c = separator_cell(s);
    slots_insert(n, at, &c, child);
  }
}
/* Takes child `at` out together with separator `s` (one of the two beside it). Its blob is not dropped. */
static void inner_take(const struct lc_tree *t, struct lc_tree_node *n, uint32_t at, uint32_t s) {
  if (t->key.is_exact) {
    remove_bytes((uint8_t *)exact_children(n), n->n, 8, at);
    remove_bytes((uint8_t *)prefixes(n), n->n - 1u, 8, s);
    prefixes(n)[n->n - 2] = INT64_MAX;
    n->n--;
  } else {
    slots_remove(n, s, at);
  }
}
static void drop_separator_blob(struct lc_tree *t, const struct lc_tree_node *n, uint32_t s) {
  if (!t->key.is_exact && slots(n)[s].len == SLOT_BLOB) piece_drop(t, &slot_blob(n, slots(n)[s])->piece);
}
static void inner_remove(struct lc_tree *t, struct lc_tree_node *n, uint32_t at) {
  if (n->n == 1) {
    n->n = 0;
    return;
  }
  uint32_t s = at ? at - 1 : 0;
  drop_separator_blob(t, n, s);
  inner_take(t, n, at, s);
}
static void separator_at(const struct lc_tree *t, const struct lc_tree_node *n, uint32_t i, struct separator *out) {
  out->prefix = prefixes(n)[i];
  out->len = 0;
  out->blob = NULL;
  if (t->key.is_exact) return;
  struct cell c = slots_cell(n, i);
  out->blob = c.blob;
  out->len = c.blob ? 0 : (uint32_t)c.bytes.len;
  if (out->len) memcpy(out->bytes, c.bytes.data, c.bytes.len);
}

/* Splits an inner node: the left keeps `keep` children; *middle is the separator between both. */
static struct lc_tree_node *inner_split(struct lc_tree *t, struct lc_tree_node *n, uint32_t keep, struct separator *middle) {
  struct lc_tree_node *right = node_new(t, PIECE_INNER);
  separator_at(t, n, keep - 1, middle);
  children(t, right)[0] = children(t, n)[keep];
  if (t->key.is_exact) {
    right->n = (uint16_t)(n->n - keep);
    memcpy(prefixes(right), prefixes(n) + keep, (size_t)(right->n - 1) * 8);
    memcpy(exact_children(right), exact_children(n) + keep, (size_t)right->n * 8);
    for (uint32_t i = keep - 1; i + 1 < n->n; i++) prefixes(n)[i] = INT64_MAX;
    n->n = (uint16_t)keep;
  } else {
    for (uint32_t i = keep; i + 1 < n->n; i++) {
      struct cell c = slots_cell(n, i);
      slots_insert(right, i - keep, &c, children(t, n)[i + 1]);
    }
    slots_truncate(n, keep);
  }
  return right;
}
/* Children of a full inner node that stay left: half of the bytes; appending leaves it full. */
static uint32_t inner_keep(const struct lc_tree *t, const struct lc_tree_node *n, uint32_t at) {
  if (at == n->n - 1u) return n->n - 1u;
  if (t->key.is_exact) return n->n / 2u;
  uint32_t half = slots_used(n) / 2, sum = 0, keep = 1;
  for (; keep + 1 < n->n - 1u && sum < half; keep++) sum += INNER_SLOT_BYTES + slot_heap_bytes(slots(n)[keep - 1]);
  return keep;
}

/* Hangs `right`, a new neighbour of the node at path[level], into the levels above; splits those that are full. */
static void hang(struct lc_tree *t, struct lc_cursor *c, uint32_t level, struct separator *s, struct lc_tree_node *right) {
  for (;;) {
    if (level == 0) {
      struct lc_tree_node *root = node_new(t, PIECE_INNER);
      children(t, root)[0] = node_at(c, 0);
      root_of(t)->node = root;
      t->height++;
      inner_insert(t, root, 0, s, right);
      return;
    }
    struct lc_tree_node *parent = node_at(c, --level);
    uint32_t at = c->path[level].at;
    if (inner_fits(t, parent, s)) {
      inner_insert(t, parent, at, s, right);
      return;
    }
    uint32_t keep = inner_keep(t, parent, at);
    struct separator middle;
    struct lc_tree_node *split = inner_split(t, parent, keep, &middle);
    if (at < keep) inner_insert(t, parent, at, s, right);
    else inner_insert(t, split, at - keep, s, right);
    *s = middle;
    right = split;
  }
}

/* ---- insertion ---- */

static bool is_rightmost(const struct lc_cursor *c) {
  for (uint32_t i = 0; i + 1 < c->depth; i++)
    if (c->path[i].at + 1 < c->path[i].node->n) return false;
  return true;
}

/* Makes room in the full leaf at the path's end by moving entries to a neighbour below the same parent, if that is owned and has room, and puts the
 * new entry in. The nodes stay fuller so than by splitting at once. */
static bool spill(struct lc_tree *t, struct lc_cursor *c, uint32_t at, const struct cell *cell) {
  if (c->depth < 2) return false;
  struct lc_tree_node *leaf = node_at(c, c->depth - 1), *parent = node_at(c, c->depth - 2);
  uint32_t i = c->path[c->depth - 2].at, room = leaf_room(t), used = leaf_used(t, leaf), need = cost_of(t, cell);
  for (int side = 0; side < 2; side++) {
    if (side == 0 ? i == 0 : i + 1u == parent->n) continue;
    struct lc_tree_node *other = children(t, parent)[side == 0 ? i - 1 : i + 1];
    uint32_t others = leaf_used(t, other);
    if (!is_owned(t->store, other) || others > room - room / 8 || others >= used) continue;
    uint32_t count = 0, moved = 0, goal = (used - others) / 2;
    while (count + 1 < leaf->n && moved < goal) {
      moved += cost_at(t, leaf, side == 0 ? count : leaf->n - 1u - count);
      count++;
    }
    /* the leaf's entries from `cut` on are behind the separator; the new one goes left when it is at the cut */
    uint32_t cut = side == 0 ? count : leaf->n - count;
    bool left = at <= cut, with_others = left == (side == 0);
    if (count == 0 || others + moved + (with_others ? need : 0) > room || used - moved + (with_others ? 0 : need) > room) continue;
    struct separator s;
    int64_t before = at == cut ? cell->prefix : prefix_at(t, leaf, cut - 1);
    uint32_t boundary = side == 0 ? i - 1 : i;
    if (t->key.is_exact) {
      prefixes(parent)[boundary] = prefix_at(t, leaf, cut);
    } else {
      struct lc_slice right = leaf_entry(t, leaf, cut);
      /* a separator that needs a blob, or more room than its parent has, is not worth it */
      if (slots(parent)[boundary].len == SLOT_BLOB || right.len > MAX_SEPARATOR_BYTES || !separator_make(t, before, prefix_at(t, leaf, cut), right, &s)) continue;
      struct cell sc = separator_cell(&s);
      if (slots_used(parent) - slots(parent)[boundary].len + s.len > ROOM_BYTES) continue;
      slots_replace(parent, boundary, &sc);
    }
    if (side == 0) {
      at = left ? other->n + at : at - cut;
      leaf_copy(t, other, other->n, leaf, 0, count);
      leaf_behead(t, leaf, count);
    } else {
      if (!left) at -= cut;
      leaf_copy(t, other, 0, leaf, cut, count);
      leaf_truncate(t, leaf, cut);
    }
    leaf_put(t, with_others ? other : leaf, at, cell);
    return true;
  }
  return false;
}

/* Where a full leaf is cut when `cell` comes in at `at`: how many of its entries stay left, and whether the cell does. Behind an ascending run, so that
 * what it leaves behind is full; else in the middle of the bytes. */
struct cut { uint32_t keep; bool cell_left; };
static struct cut leaf_cut(const struct lc_tree *t, const struct lc_tree_node *n, uint32_t at, const struct cell *c, bool run) {
  if (run && at == n->n) return (struct cut){at, false};
  if (!is_slotted(t)) {
    uint32_t keep = run && at > n->n / 2u ? at : n->n / 2u;
    return (struct cut){keep, at <= keep};
  }
  uint32_t need = cost_of(t, c), total = slots_used(n) + need, left = 0, best = UINT32_MAX;
  struct cut cut = {0, false};
  for (uint32_t i = 0; i <= n->n; i++) { /* the left part ends before the cell or entry i: each such cut that leaves both parts something */
    for (int behind = 0; behind < (i == at ? 2 : 1); behind++) {
      if (behind) left += need;
      uint32_t more = left > total - left ? left : total - left;
      if (left == 0 || left == total) continue;
      if (run && i == at && at > n->n / 2u && left <= ROOM_BYTES) more = behind ? 0 : 1;
      if (more < best) {
        best = more;
        cut = (struct cut){i, behind || i > at};
      }
    }
    if (i < n->n) left += cost_at(t, n, i);
  }
  return cut;
}

/* Puts a cell at place `at` of the leaf at the path's end, splitting as needed. Nodes were reserved. `entry`: what the cell stands for.
 * false: out of memory, nothing has changed. */
static bool put(struct lc_tree *t, struct lc_cursor *c, uint32_t at, const struct cell *cell, struct lc_slice entry) {
  own_path(t, c);
  struct lc_tree_node *leaf = node_at(c, c->depth - 1);
  bool last = at == leaf->n && is_rightmost(c);
  if (leaf_fits(t, leaf, cell)) {
    leaf_put(t, leaf, at, cell);
    if (last) t->append_leaf = leaf;
    return true;
  }
  bool run = leaf->run_length >= RUN_MIN && at == leaf->run_at + 1u;
  if (!last && !run && spill(t, c, at, cell)) return true;
  struct separator s;
  struct cut cut = leaf_cut(t, leaf, at, cell, run || last);
  bool first_right = !cut.cell_left && at == cut.keep;
  if (!separator_make(t, cut.cell_left && at == cut.keep ? cell->prefix : prefix_at(t, leaf, cut.keep - 1), first_right ? cell->prefix : prefix_at(t, leaf, cut.keep),
                      first_right ? entry : leaf_entry(t, leaf, cut.keep), &s))
    return false;
  struct lc_tree_node *right = node_new(t, leaf->kind), *into = cut.cell_left ? leaf : right;
  uint8_t run_length = leaf->run_length;
  leaf_copy(t, right, 0, leaf, cut.keep, leaf->n - cut.keep);
  leaf_truncate(t, leaf, cut.keep);
  leaf_put(t, into, cut.cell_left ? at : at - cut.keep, cell);
  if (run) into->run_length = run_length; /* it goes on in there */
  if (t->append_leaf == leaf || last) t->append_leaf = right;
  hang(t, c, c->depth - 1, &s, right);
  return true;
}

/* Makes the cell of an entry; false: out of memory. */
static bool cell_make(struct lc_tree *t, struct lc_slice entry, uint64_t prefix, struct cell *out) {
  *out = (struct cell){flipped(prefix), entry, NULL};
  if (is_slotted(t) && entry.len > MAX_INLINE_BYTES) {
    if (t->store->phase == LC_STORE_UNDOING) out->blob = blob_put_back(t, entry);
    if (!out->blob) out->blob = blob_new(t, entry);
  }
  return !is_slotted(t) || entry.len <= MAX_INLINE_BYTES || out->blob;
}
static void cell_drop(struct lc_tree *t, const struct cell *c) {
  if (c->blob) blob_take_out(t, c->blob);
}

static bool reserve_path(struct lc_tree *t, uint32_t splits) {
  return store_reserve(t->store, is_slotted(t) ? 0 : 1 + splits, LC_TREE_MAX_DEPTH * (1 + splits) + (is_slotted(t) ? 1 + splits : 0));
}

/* The copies that a change below `c` makes. */
static struct lc_nodes copies_on(const struct lc_tree *t, const struct lc_cursor *c) {
  struct lc_nodes n = {0};
  for (uint32_t i = 0; i < c->depth; i++)
    if (!is_owned(t->store, c->path[i].node)) (*(c->path[i].node->kind == PIECE_PACKED ? &n.packed : &n.others))++;
  return n;
}
void lc_tree_undo_needs(const struct lc_tree *t, uint64_t n_changes, struct lc_nodes *sum) {
  if (t->height == 0) return;
  sum->packed += is_slotted(t) ? 0 : n_changes;
  sum->others += n_changes * (is_slotted(t) ? t->height : t->height - 1);
}
bool lc_tree_reserve_key(struct lc_tree *t, size_t len) {
  struct lc_buf *spill = &t->store->scratch.spill;
  lc_buf_clear(spill);
  return t->key.is_prefix || t->key.is_static_offset || t->key.static_size_bytes <= sizeof t->store->scratch.fixed || lc_buf_reserve(spill, len);
}
/* Undoing asks for what it needs and no more: mostly nothing. */
static bool reserve_insertion(struct lc_tree *t, const struct lc_cursor *c, const struct cell *cell) {
  if (t->store->phase != LC_STORE_UNDOING) return reserve_path(t, 1);
  struct lc_nodes n = copies_on(t, c);
  for (uint32_t i = c->depth; !leaf_fits(t, c->path[c->depth - 1].node, cell) && i-- > 0;) (*(c->path[i].node->kind == PIECE_PACKED ? &n.packed : &n.others))++;
  if (!leaf_fits(t, c->path[c->depth - 1].node, cell)) n.others++; /* a new root */
  return store_reserve_removal(t->store, n);
}

/* Order of the last entry of `leaf` and a key. */
static int compare_last(const struct lc_tree *t, const struct lc_tree_node *leaf, const struct target *x) {
  uint32_t i = leaf->n - 1u;
  if (is_slotted(t) || t->key.steps_in_entry) {
    int64_t last = prefix_at(t, leaf, i), p = flipped(x->low);
    if (last != p || t->key.is_exact) return (last > p) - (last < p);
  }
  return lc_key_compare_entry(&t->key, leaf_entry(t, leaf, i).data, x->key, x->n_parts);
}

/* The common ending: `s` is where the key belongs. */
static enum lc_tree_result insert_at(struct lc_tree *t, const struct target *x, struct spot s, struct lc_slice entry) {
  struct cell cell = {flipped(x->low), entry, NULL};
  if (is_owned(t->store, s.leaf) && (!is_slotted(t) || entry.len <= MAX_INLINE_BYTES) && leaf_fits(t, s.leaf, &cell)) {
    t->store->changed = true;
    leaf_put(t, s.leaf, s.at, &cell);
  } else {
    struct lc_cursor c;
    if (!cell_make(t, entry, x->low, &cell)) return LC_TREE_NOMEM;
    descend(&c, t, root_of(t)->node, x);
    if (!reserve_insertion(t, &c, &cell) || !put(t, &c, s.at, &cell, entry)) {
      cell_drop(t, &cell);
      return LC_TREE_NOMEM;
    }
  }
  root_of(t)->n_entries++;
  return LC_TREE_DONE;
}
static enum lc_tree_result insert_first(struct lc_tree *t, const struct target *x, struct lc_slice entry) {
  struct cell cell;
  if (!reserve_path(t, 0) || !cell_make(t, entry, x->low, &cell)) return LC_TREE_NOMEM;
  struct lc_tree_node *leaf = node_new(t, is_slotted(t) ? PIECE_SLOTTED : PIECE_PACKED);
  leaf_put(t, leaf, 0, &cell);
  t->store->changed = true;
  t->append_leaf = leaf;
  t->height = 1;
  root_of(t)->node = leaf;
  root_of(t)->n_entries = 1;
  return LC_TREE_DONE;
}

/* The most frequent case alone: behind the last entry, in a leaf that has room. */
static inline bool append_quickly(struct lc_tree *t, struct lc_slice entry) {
  struct lc_tree_node *leaf = t->append_leaf;
  uint32_t size = t->entry_size_bytes;
  if (!leaf || is_slotted(t) || !t->key.is_exact || !t->key.steps_in_entry || leaf->n == t->leaf_capacity || !is_owned(t->store, leaf)) return false;
  uint8_t *at = leaf->cells + (size_t)leaf->n * size;
  if (steps_prefix(&t->key, at - size) >= steps_prefix(&t->key, entry.data)) return false;
  memcpy(at, entry.data, size);
  leaf->run_length = leaf->n != leaf->run_at + 1u ? 0 : leaf->run_length < UINT8_MAX ? (uint8_t)(leaf->run_length + 1) : UINT8_MAX;
  leaf->run_at = leaf->n++;
  t->store->changed = true;
  root_of(t)->n_entries++;
  return true;
}

/* DUPLICATE: *there is where the entry with that key lies. */
static enum lc_tree_result insert_or_find(struct lc_tree *t, struct lc_slice entry, struct lc_place *there) {
  if (append_quickly(t, entry)) return LC_TREE_DONE;
  const uint8_t *key = entry_key(&t->key, entry, &t->store->scratch);
  enum lc_tree_result result = LC_TREE_NOMEM;
  struct target x;
  if (key) {
    target_set(t, &x, key, t->key.n_parts, false);
    struct spot s = {t->append_leaf, 0, false};
    if (!root_of(t)->node) {
      result = insert_first(t, &x, entry);
    } else if (s.leaf && compare_last(t, s.leaf, &x) < 0) {
      s.at = s.leaf->n;
      result = insert_at(t, &x, s, entry);
    } else {
      s = spot_of(t, root_of(t)->node, &x);
      *there = (struct lc_place){s.leaf, s.at};
      result = s.found ? LC_TREE_DUPLICATE : insert_at(t, &x, s, entry);
    }
  }
  return result;
}
enum lc_tree_result lc_tree_insert(struct lc_tree *t, struct lc_slice entry, struct lc_slice *existing) {
  struct lc_place there;
  enum lc_tree_result r = insert_or_find(t, entry, &there);
  if (r == LC_TREE_DUPLICATE && existing) *existing = leaf_entry(t, there.leaf, there.at);
  return r;
}
enum lc_tree_result lc_tree_put(struct lc_tree *t, struct lc_slice entry) {
  struct lc_place there;
  enum lc_tree_result r = insert_or_find(t, entry, &there);
  return r == LC_TREE_DUPLICATE ? lc_tree_replace_at(t, there, entry) : r;
}

enum lc_tree_result lc_tree_put_batch(struct lc_tree *t, const uint8_t *const entries[LC_TREE_BATCH], uint32_t n) {
  const struct lc_key_spec *key = &t->key;
  const uint8_t *keys[LC_TREE_BATCH];
  struct spot spots[LC_TREE_BATCH];
  enum lc_tree_result r = LC_TREE_DONE;
  uint32_t size = t->entry_size_bytes, i = 0;
  lc_assert(!is_slotted(t));
  while (i < n && append_quickly(t, lc_slice(entries[i], size))) i++;
  if (i < n && root_of(t)->node && (key->is_prefix || key->is_static_offset)) {
    for (uint32_t k = i; k < n; k++) keys[k] = entries[k] + (key->is_prefix ? 0 : key->offset_bytes);
    spots_of(t, root_of(t)->node, keys + i, n - i, spots + i);
    /* replacing moves nothing: a place holds until an entry is inserted, or a leaf that a snapshot sees copied */
    for (; i < n && spots[i].found && is_owned(t->store, spots[i].leaf); i++) memcpy(spots[i].leaf->cells + (size_t)spots[i].at * size, entries[i], size);
    t->store->changed = true;
  }
  for (; i < n && r == LC_TREE_DONE; i++) r = lc_tree_put(t, lc_slice(entries[i], size));
  return r;
}

enum lc_tree_result tree_append(struct lc_tree *t, struct lc_slice entry) {
  if (append_quickly(t, entry)) return LC_TREE_DONE;
  const uint8_t *key = entry_key(&t->key, entry, &t->store->scratch);
  enum lc_tree_result result = LC_TREE_NOMEM;
  struct target x;
  if (key) {
    target_set(t, &x, key, t->key.n_parts, false);
    if (!root_of(t)->node) {
      result = insert_first(t, &x, entry);
    } else {
      int c = compare_last(t, t->append_leaf, &x);
      result = c == 0 ? LC_TREE_DUPLICATE : c > 0 ? LC_TREE_UNORDERED : insert_at(t, &x, (struct spot){t->append_leaf, t->append_leaf->n, false}, entry);
    }
  }
  return result;
}

/* ---- replacement ---- */

/* Puts an entry with the same key in the place of entry `at` of the leaf at the path's end. false: out of memory, nothing has changed. */
static bool replace_slot(struct lc_tree *t, struct lc_cursor *c, uint32_t at, const struct cell *cell, struct lc_slice entry) {
  own_path(t, c);
  struct lc_tree_node *leaf = node_at(c, c->depth - 1);
  struct slot old = slots(leaf)[at];
  struct blob *old_blob = old.len == SLOT_BLOB ? slot_blob(leaf, old) : NULL;
  if (slots_used(leaf) - slot_heap_bytes(old) + cell_heap_bytes(cell) <= ROOM_BYTES) {
    slots_replace(leaf, at, cell);
  } else { /* out, and in again with a split; back if there is no memory for that */
    uint8_t bytes[MAX_INLINE_BYTES];
    struct cell back = slots_cell(leaf, at);
    if (!back.blob) {
      memcpy(bytes, back.bytes.data, back.bytes.len);
      back.bytes.data = bytes;
    }
    slots_remove(leaf, at, 0);
    leaf->run_length = 0;
    t->append_leaf = NULL;
    if (!put(t, c, at, cell, entry)) {
      slots_insert(leaf, at, &back, NULL);
      return false;
    }
  }
  if (old_blob) blob_take_out(t, old_blob);
  return true;
}

enum lc_tree_result lc_tree_replace_at(struct lc_tree *t, struct lc_place place, struct lc_slice entry) {
  if (!is_owned(t->store, place.leaf)) return lc_tree_replace(t, entry);
  if (is_slotted(t)) {
    struct slot old = slots(place.leaf)[place.at];
    struct cell cell = {prefixes(place.leaf)[place.at], entry, NULL};
    if (old.len == SLOT_BLOB || entry.len > old.len) return lc_tree_replace(t, entry);
    slots_replace(place.leaf, place.at, &cell);
  } else {
    memcpy(place.leaf->cells + (size_t)place.at * t->entry_size_bytes, entry.data, t->entry_size_bytes);
  }
  t->store->changed = true;
  return LC_TREE_DONE;
}

enum lc_tree_result lc_tree_replace(struct lc_tree *t, struct lc_slice entry) {
  const uint8_t *key = entry_key(&t->key, entry, &t->store->scratch);
  enum lc_tree_result result = LC_TREE_NOMEM;
  struct target x;
  if (key) target_set(t, &x, key, t->key.n_parts, false);
  struct spot s = {NULL, 0, false};
  if (key) s = live_spot_of_key(t, key);
  if (key && !s.found) {
    result = LC_TREE_ABSENT;
  } else if (key && !is_slotted(t)) {
    bool owned = is_owned(t->store, s.leaf);
    if (!owned && reserve_path(t, 0)) {
      struct lc_cursor c;
      descend(&c, t, root_of(t)->node, &x);
      own_path(t, &c);
      s.leaf = node_at(&c, c.depth - 1);
      owned = true;
    }
    if (owned) {
      t->store->changed = true;
      memcpy(s.leaf->cells + (size_t)s.at * t->entry_size_bytes, entry.data, t->entry_size_bytes);
      result = LC_TREE_DONE;
    }
  } else if (key) {
    struct slot old = slots(s.leaf)[s.at];
    struct cell cell = {flipped(x.low), entry, NULL};
    if (is_owned(t->store, s.leaf) && old.len != SLOT_BLOB && entry.len <= old.len) {
      t->store->changed = true;
      slots_replace(s.leaf, s.at, &cell);
      result = LC_TREE_DONE;
    } else if (reserve_path(t, 1) && cell_make(t, entry, x.low, &cell)) {
      struct lc_cursor c;
      descend(&c, t, root_of(t)->node, &x);
      result = replace_slot(t, &c, s.at, &cell, entry) ? LC_TREE_DONE : LC_TREE_NOMEM;
      if (result == LC_TREE_NOMEM) cell_drop(t, &cell);
    }
  }
  return result;
}

/* ---- removal ---- */

/* Moves the entries of leaf at + 1 into leaf at when both together leave a quarter free. The parent is changeable. */
static void merge_leaves(struct lc_tree *t, struct lc_tree_node *parent, uint32_t at) {
  struct lc_tree_node *left = children(t, parent)[at], *right = children(t, parent)[at + 1];
  if (leaf_used(t, left) + leaf_used(t, right) > leaf_room(t) - leaf_room(t) / 4 || (!is_owned(t->store, left) && !store_can_spare(t->store, left->kind))) return;
  left = own_child(t, parent, at);
  leaf_copy(t, left, left->n, right, 0, right->n);
  inner_remove(t, parent, at + 1);
  piece_drop(t, &right->piece);
}
static void merge_inners(struct lc_tree *t, struct lc_tree_node *parent, uint32_t at) {
  struct lc_tree_node *left = children(t, parent)[at], *right = children(t, parent)[at + 1];
  struct separator s;
  separator_at(t, parent, at, &s); /* between the two: it comes down */
  struct cell down = separator_cell(&s);
  uint32_t together = inner_used(t, left) + inner_used(t, right) + (t->key.is_exact ? 0 : INNER_SLOT_BYTES + cell_heap_bytes(&down));
  if (together > inner_room(t) - inner_room(t) / 4 || (!is_owned(t->store, left) && !store_can_spare(t->store, left->kind))) return;
  left = own_child(t, parent, at);
  for (uint32_t i = 0; i < right->n; i++) {
    inner_insert(t, left, left->n - 1u, &s, children(t, right)[i]);
    if (i + 1u < right->n) separator_at(t, right, i, &s);
  }
  inner_take(t, parent, at + 1, at);
  piece_drop(t, &right->piece);
}

static void remove_by_path(struct lc_tree *t, struct lc_cursor *c) {
  own_path(t, c);
  uint32_t level = c->depth - 1;
  struct lc_tree_node *n = node_at(c, level);
  leaf_take(t, n, c->path[level].at);
  for (; level > 0; level--) {
    struct lc_tree_node *parent = node_at(c, level - 1);
    uint32_t child = c->path[level - 1].at, used = n->n == 0 ? 0 : is_leaf(n) ? leaf_used(t, n) : inner_used(t, n), room = is_leaf(n) ? leaf_room(t) : inner_room(t);
    if (n->n == 0) {
      inner_remove(t, parent, child);
      piece_drop(t, &n->piece);
    } else if (used < room / 2 && parent->n > 1) {
      (is_leaf(n) ? merge_leaves : merge_inners)(t, parent, child + 1u < parent->n ? child : child - 1);
    } else {
      break;
    }
    n = parent;
  }
  struct lc_root *root = root_of(t);
  while (root->node && (root->node->n == 0 || (!is_leaf(root->node) && root->node->n == 1))) {
    struct lc_tree_node *old = root->node;
    root->node = is_leaf(old) || old->n == 0 ? NULL : children(t, old)[0];
    t->height = root->node ? t->height - 1 : 0;
    piece_drop(t, &old->piece);
  }
}

/* The nodes on the path; neighbours are merged into where there is memory for it. */
void lc_tree_removal_needs(const struct lc_tree *t, struct lc_nodes *sum) {
  if (t->store->newest_live != 0) lc_tree_undo_needs(t, 1, sum);
}

enum lc_tree_result lc_tree_remove(struct lc_tree *t, const uint8_t *key) {
  struct target x;
  struct spot s = live_spot_of_key(t, key);
  if (!s.found) return LC_TREE_ABSENT;
  bool owned = is_owned(t->store, s.leaf), is_blob = is_slotted(t) && slots(s.leaf)[s.at].len == SLOT_BLOB;
  if (owned && !is_blob && (is_slotted(t) ? slots_used(s.leaf) - cost_at(t, s.leaf, s.at) >= ROOM_BYTES / 2 : s.leaf->n > t->leaf_capacity / 2 + 1)) {
    t->store->changed = true;
    leaf_take(t, s.leaf, s.at);
    s.leaf->run_length = 0;
  } else {
    struct lc_cursor c;
    struct blob *b = is_blob ? slot_blob(s.leaf, slots(s.leaf)[s.at]) : NULL; /* the key may lie in it: it goes last */
    target_set(t, &x, key, t->key.n_parts, false);
    descend(&c, t, root_of(t)->node, &x);
    if (!store_reserve_removal(t->store, copies_on(t, &c))) return LC_TREE_NOMEM;
    remove_by_path(t, &c);
    if (b) blob_take_out(t, b);
  }
  t->append_leaf = NULL;
  root_of(t)->n_entries--;
  return LC_TREE_DONE;
}
