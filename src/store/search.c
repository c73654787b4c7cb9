/* Owns: finding places in trees: prefix targets, inner nodes, leaves, finds, cursors. Changes nothing; on a snapshot any thread may call it. */
#include "store_internal.h"

#define INLINE static inline __attribute__((always_inline))

/* The best code for the processor is chosen when the program starts; ThreadSanitizer is not there yet at that moment. */
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#define FOR_THIS_PROCESSOR __attribute__((target_clones("avx2", "default"), optimize("O3")))
#else
#define FOR_THIS_PROCESSOR
#endif

/* ---- targets ---- */

/* The place "first entry >= key" (or > key when `after`), in prefixes: entries with a prefix below `low` lie before it, above `high` behind it;
 * between them the prefix has not decided unless `decided`. */
void target_set(const struct lc_tree *t, struct target *x, const uint8_t *key, uint32_t n_parts, bool after) {
  const struct lc_key_spec *s = &t->key;
  x->key = key;
  x->n_parts = n_parts;
  x->after = after;
  if (!key) {
    x->low = x->high = 0;
    x->decided = true;
    x->after = false;
    return;
  }
  uint8_t bits = s->part_bits[n_parts];
  x->low = t->is_number && n_parts == s->n_parts ? step_value(&s->steps[0], key) : lc_key_prefix(s, key, n_parts);
  x->decided = bits != 255;
  x->high = bits == 255 || bits == 64 ? x->low : x->low | (UINT64_MAX >> bits);
}

/* ---- inner nodes ---- */

/* Number of values in a[0..n) that are <= v: no branch per value. */
FOR_THIS_PROCESSOR static uint32_t count_at_most(const int64_t *a, uint32_t n, int64_t v) {
  uint64_t count = 0;
  for (uint32_t i = 0; i < n; i++) count += a[i] <= v;
  return (uint32_t)count;
}
static uint32_t lower_bound(const int64_t *a, uint32_t n, int64_t v) { return v == INT64_MIN ? 0 : count_at_most(a, n, v - 1); }

/* The same over the padded separators of an exact node: which sixteen, then where among them. */
INLINE uint32_t exact_at_most(const struct lc_tree_node *n, int64_t v) {
  const int64_t *a = prefixes(n);
  uint64_t block = 0, count = 0;
  for (unsigned i = 15; i + 16 < EXACT_SEPARATORS; i += 16) block += a[i] <= v;
  const int64_t *b = a + 16 * block;
  for (unsigned i = 0; i < 16; i++) count += b[i] <= v;
  uint32_t at = (uint32_t)(16 * block + count), last = n->n - 1u;
  return at < last ? at : last;
}
FOR_THIS_PROCESSOR static uint32_t exact_child_index(const struct lc_tree_node *n, int64_t v) { return exact_at_most(n, v); }

static uint32_t child_index(const struct lc_tree *t, const struct lc_tree_node *n, const struct target *x) {
  if (!x->key) return 0;
  /* a full key equal to a separator is in the child to its right; of a part of the key, equal entries may begin left of it */
  bool right = x->n_parts == t->key.n_parts || x->after;
  if (t->key.is_exact) {
    if (right) return exact_child_index(n, flipped(x->high));
    return x->low == 0 ? 0 : exact_child_index(n, flipped(x->low - 1));
  }
  const int64_t *a = prefixes(n);
  uint32_t m = n->n - 1u;
  if (x->decided) return right ? count_at_most(a, m, flipped(x->high)) : lower_bound(a, m, flipped(x->low));
  uint32_t low = lower_bound(a, m, flipped(x->low)), high = low;
  while (high < m && a[high] == flipped(x->low)) high++;
  while (low < high) {
    uint32_t mid = (low + high) / 2;
    struct lc_slice separator = slot_bytes(n, mid);
    int c = separator.len ? key_compare(&t->key, separator.data, x->key, x->n_parts) : -1;
    if (right ? c <= 0 : c < 0) low = mid + 1;
    else high = mid;
  }
  return low;
}

/* ---- leaves ---- */

INLINE uint64_t load(const uint8_t *p, unsigned bytes) {
  if (bytes == 4) {
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
  }
  if (bytes == 8) {
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
  }
  if (bytes == 2) {
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
  }
  return *p;
}
/* First i with value(i) >= v (or > v) over ascending numbers that lie `step` bytes apart. Keys are often handed out in order, so a guess by the
 * ends comes first, and the few numbers about it are counted; where that fails the rest is halved without branches. */
INLINE uint32_t halve(const uint8_t *base, uint32_t n, uint32_t step, unsigned bytes, uint64_t flip, uint64_t v, bool strictly) {
  enum { WINDOW = 8 };
  uint32_t from = 0, len = n;
  if (n == 0) return 0;
  if (n > 2 * WINDOW) {
    uint64_t first = load(base, bytes) ^ flip, last = load(base + (size_t)(n - 1) * step, bytes) ^ flip;
    if (v > first && v < last) {
      uint64_t ahead = v - first, range = last - first;
      unsigned shift = bytes < 8 || range >> 56 == 0 ? 0 : 8; /* n is less than 256: the product fits */
      uint32_t guess = (uint32_t)((ahead >> shift) * (n - 1) / (range >> shift));
      uint32_t low = guess < WINDOW / 2 ? 0 : guess - WINDOW / 2, count = 0;
      if (low > n - WINDOW) low = n - WINDOW;
      for (uint32_t i = 0; i < WINDOW; i++) {
        uint64_t x = load(base + (size_t)(low + i) * step, bytes) ^ flip;
        count += strictly ? x <= v : x < v;
      }
      if (count > 0 && count < WINDOW) return low + count;
      if (count == 0) len = low;
      else from = low + WINDOW, len = n - from;
    }
  }
  const uint8_t *at = base + (size_t)from * step;
  while (len > 1) {
    uint32_t half = len / 2;
    uint64_t m = load(at + (size_t)(half - 1) * step, bytes) ^ flip;
    at += (strictly ? m <= v : m < v) ? (size_t)half * step : 0;
    len -= half;
  }
  uint64_t m = load(at, bytes) ^ flip;
  return (uint32_t)((size_t)(at - base) / step) + (strictly ? m <= v : m < v);
}

/* A packed leaf whose prefix is one integer step in the entry. */
INLINE uint32_t packed_bound(const struct lc_tree *t, const struct lc_tree_node *n, uint64_t v, bool strictly) {
  const struct lc_prefix_step *p = &t->key.steps[0];
  const uint8_t *base = n->cells + p->entry_offset;
  uint32_t step = t->entry_size_bytes;
  /* compare in the number's own width: the prefix has it shifted up */
  uint64_t flip = (uint64_t)p->kind << (p->bytes * 8 - 1), own = v >> p->shift;
  switch (p->bytes) {
  case 4: return step == 12 ? halve(base, n->n, 12, 4, flip, own, strictly) : halve(base, n->n, step, 4, flip, own, strictly);
  case 8: return halve(base, n->n, step, 8, flip, own, strictly);
  case 2: return halve(base, n->n, step, 2, flip, own, strictly);
  default: return halve(base, n->n, step, 1, flip, own, strictly);
  }
}

static int compare_entry(const struct lc_tree *t, const struct lc_tree_node *n, uint32_t i, const struct target *x) {
  return lc_key_compare_entry(&t->key, leaf_entry(t, n, i).data, x->key, x->n_parts);
}
static uint32_t bound_full(const struct lc_tree *t, const struct lc_tree_node *n, const struct target *x, uint32_t low, uint32_t high) {
  while (low < high) {
    uint32_t mid = (low + high) / 2;
    int c = compare_entry(t, n, mid, x);
    if (c < 0 || (x->after && c == 0)) low = mid + 1;
    else high = mid;
  }
  return low;
}

static uint32_t leaf_index(const struct lc_tree *t, const struct lc_tree_node *n, const struct target *x) {
  const struct lc_key_spec *s = &t->key;
  if (!x->key) return 0;
  if (is_slotted(t)) {
    const int64_t *a = prefixes(n);
    if (x->decided) return x->after ? count_at_most(a, n->n, flipped(x->high)) : lower_bound(a, n->n, flipped(x->low));
    uint32_t low = lower_bound(a, n->n, flipped(x->low)), high = low;
    while (high < n->n && a[high] == flipped(x->low)) high++;
    return bound_full(t, n, x, low, high);
  }
  if (!s->steps_in_entry || s->n_steps == 0) return bound_full(t, n, x, 0, n->n);
  if (s->n_steps == 1 && s->steps[0].kind != LC_STEP_FLOAT) {
    if (x->decided) return packed_bound(t, n, x->after ? x->high : x->low, x->after);
    uint32_t low = packed_bound(t, n, x->low, false), high = low;
    if (low < n->n && steps_prefix(s, leaf_entry(t, n, low).data) == x->low) high = packed_bound(t, n, x->high, true);
    return bound_full(t, n, x, low, high);
  }
  uint32_t low = 0, high = n->n;
  while (low < high) {
    uint32_t mid = (low + high) / 2;
    uint64_t p = steps_prefix(s, n->cells + (size_t)mid * t->entry_size_bytes);
    bool before;
    if (x->decided || p < x->low || p > x->high) {
      before = x->after ? p <= x->high : p < x->low;
    } else {
      int c = compare_entry(t, n, mid, x);
      before = c < 0 || (x->after && c == 0);
    }
    if (before) low = mid + 1;
    else high = mid;
  }
  return low;
}

bool entry_is(const struct lc_tree *t, const struct lc_tree_node *n, uint32_t i, const struct target *x) {
  if (i >= n->n) return false;
  if (is_slotted(t)) return prefixes(n)[i] == flipped(x->low) && (t->key.is_exact || compare_entry(t, n, i, x) == 0);
  if (t->key.is_exact && t->key.steps_in_entry) return steps_prefix(&t->key, n->cells + (size_t)i * t->entry_size_bytes) == x->low;
  return compare_entry(t, n, i, x) == 0;
}

/* ---- finding a full key ---- */

/* Every line of a packed leaf; of other nodes the prefixes. */
INLINE void prefetch_node(const struct lc_tree_node *n) {
  for (unsigned line = 0; line < PACKED_BYTES; line += 64) __builtin_prefetch((const char *)n + line);
}

/* Trees whose key is one integer of up to 8 bytes at a constant place: most of them. */
INLINE bool number_is_at(const struct lc_tree *t, const struct lc_tree_node *n, uint32_t at, uint64_t prefix) {
  const struct lc_prefix_step *p = &t->key.steps[0];
  uint64_t flip = (uint64_t)p->kind << (p->bytes * 8 - 1);
  return at < n->n && (load(n->cells + (size_t)at * t->entry_size_bytes + p->entry_offset, p->bytes) ^ flip) == prefix >> p->shift;
}
INLINE struct spot number_in_leaf(const struct lc_tree *t, const struct lc_tree_node *n, uint64_t prefix) {
  uint32_t at = packed_bound(t, n, prefix, false);
  return (struct spot){(struct lc_tree_node *)(uintptr_t)n, at, number_is_at(t, n, at, prefix)};
}
FOR_THIS_PROCESSOR static struct spot number_spot(const struct lc_tree *t, const struct lc_tree_node *n, uint64_t prefix) {
  while (n->kind == PIECE_INNER) {
    n = exact_children(n)[exact_at_most(n, flipped(prefix))];
    prefetch_node(n);
  }
  return number_in_leaf(t, n, prefix);
}

struct spot spot_of(const struct lc_tree *t, const struct lc_tree_node *n, const struct target *x) {
  if (t->is_number) return number_spot(t, n, x->low);
  while (n->kind == PIECE_INNER) {
    n = children(t, n)[child_index(t, n, x)];
    prefetch_node(n);
  }
  uint32_t at = leaf_index(t, n, x);
  return (struct spot){(struct lc_tree_node *)(uintptr_t)n, at, entry_is(t, n, at, x)};
}

static inline struct spot spot_of_key(const struct lc_tree *t, const struct lc_tree_node *root, const uint8_t *key) {
  struct target x;
  if (!root) return (struct spot){NULL, 0, false};
  if (t->is_number) return number_spot(t, root, step_value(&t->key.steps[0], key));
  target_set(t, &x, key, t->key.n_parts, false);
  return spot_of(t, root, &x);
}
/* The same in the live tree, for the writer: what it has just found is not searched again. */
struct spot live_spot_of_key(const struct lc_tree *t, const uint8_t *key) {
  struct lc_store *store = t->store;
  struct lc_tree_node *root = store->roots[t->slot].node;
  if (!root || !t->is_number) return spot_of_key(t, root, key);
  uint64_t prefix = step_value(&t->key.steps[0], key);
  for (uint32_t i = 0; i < N_MEMOS; i++) {
    struct memo *m = &store->memos[i];
    if (m->prefix == prefix && m->tree_id == t->id && number_is_at(t, m->leaf, m->at, prefix)) return (struct spot){m->leaf, m->at, true};
  }
  struct spot s = number_spot(t, root, prefix);
  if (s.found) store->memos[store->next_memo++ % N_MEMOS] = (struct memo){t->id, prefix, s.leaf, s.at};
  return s;
}
static struct lc_slice find(const struct lc_tree *t, const struct lc_tree_node *root, const uint8_t *key) {
  struct spot s = spot_of_key(t, root, key);
  return s.found ? leaf_entry(t, s.leaf, s.at) : lc_slice(NULL, 0);
}

static const struct lc_root *root_of(const struct lc_tree *t, const struct lc_snapshot *s) {
  static const struct lc_root none;
  const struct lc_root *r;
  if (!s) return &t->store->roots[t->slot];
  r = t->slot < s->n_roots ? &s->roots[t->slot] : &none;
  return r->tree_id == t->id ? r : &none; /* the slot may have been another tree's then */
}
struct lc_slice lc_tree_find(const struct lc_tree *t, const uint8_t *key) {
  struct spot s = live_spot_of_key(t, key);
  return s.found ? leaf_entry(t, s.leaf, s.at) : lc_slice(NULL, 0);
}
struct lc_slice lc_tree_find_place(const struct lc_tree *t, const uint8_t *key, struct lc_place *place) {
  struct spot s = live_spot_of_key(t, key);
  *place = (struct lc_place){s.leaf, s.at};
  return s.found ? leaf_entry(t, s.leaf, s.at) : lc_slice(NULL, 0);
}
struct lc_slice lc_snapshot_find(const struct lc_tree *t, const struct lc_snapshot *snapshot, const uint8_t *key) { return find(t, root_of(t, snapshot)->node, key); }

FOR_THIS_PROCESSOR static void number_spots(const struct lc_tree *t, const struct lc_tree_node *root, const uint8_t *const *keys, uint32_t n, struct spot *out) {
  const struct lc_tree_node *at[LC_TREE_BATCH] = {root};
  uint64_t prefix[LC_TREE_BATCH];
  for (uint32_t i = 0; i < n; i++) {
    prefix[i] = step_value(&t->key.steps[0], keys[i]);
    at[i] = root;
  }
  while (at[0]->kind == PIECE_INNER) /* all leaves are equally deep */
    for (uint32_t i = 0; i < n; i++) {
      at[i] = exact_children(at[i])[exact_at_most(at[i], flipped(prefix[i]))];
      prefetch_node(at[i]);
    }
  for (uint32_t i = 0; i < n; i++) out[i] = number_in_leaf(t, at[i], prefix[i]);
}
void spots_of(const struct lc_tree *t, const struct lc_tree_node *root, const uint8_t *const *keys, uint32_t n, struct spot out[LC_TREE_BATCH]) {
  const struct lc_tree_node *at[LC_TREE_BATCH] = {root};
  struct target x[LC_TREE_BATCH];
  if (t->is_number) {
    number_spots(t, root, keys, n, out);
    return;
  }
  for (uint32_t i = 0; i < n; i++) {
    at[i] = root;
    target_set(t, &x[i], keys[i], t->key.n_parts, false);
  }
  while (at[0]->kind == PIECE_INNER)
    for (uint32_t i = 0; i < n; i++) {
      at[i] = children(t, at[i])[child_index(t, at[i], &x[i])];
      prefetch_node(at[i]);
    }
  for (uint32_t i = 0; i < n; i++) {
    uint32_t k = leaf_index(t, at[i], &x[i]);
    out[i] = (struct spot){(struct lc_tree_node *)(uintptr_t)at[i], k, entry_is(t, at[i], k, &x[i])};
  }
}
void lc_snapshot_find_batch(const struct lc_tree *t, const struct lc_snapshot *snapshot, const uint8_t *const keys[LC_TREE_BATCH], uint32_t n,
                            struct lc_slice out[LC_TREE_BATCH]) {
  const struct lc_tree_node *root = root_of(t, snapshot)->node;
  struct spot spots[LC_TREE_BATCH] = {{0}};
  if (root && n) spots_of(t, root, keys, n, spots);
  for (uint32_t i = 0; i < n; i++) out[i] = spots[i].found ? leaf_entry(t, spots[i].leaf, spots[i].at) : lc_slice(NULL, 0);
}
void lc_tree_find_batch(const struct lc_tree *t, const uint8_t *const keys[LC_TREE_BATCH], uint32_t n, struct lc_slice out[LC_TREE_BATCH]) {
  lc_snapshot_find_batch(t, NULL, keys, n, out);
}

/* ---- cursors ---- */

static void push(struct lc_cursor *c, const struct lc_tree_node *n, uint32_t at) {
  lc_assert(c->depth < LC_TREE_MAX_DEPTH);
  c->path[c->depth].node = n;
  c->path[c->depth++].at = at;
}
void descend(struct lc_cursor *c, const struct lc_tree *t, const struct lc_tree_node *root, const struct target *x) {
  c->tree = t;
  c->depth = 0;
  for (const struct lc_tree_node *n = root; n;) {
    if (is_leaf(n)) {
      push(c, n, leaf_index(t, n, x));
      return;
    }
    uint32_t at = child_index(t, n, x);
    push(c, n, at);
    n = children(t, n)[at];
    prefetch_node(n);
  }
}
/* The path leads past the end of a leaf: to the first entry of the next one. The leaf after that is asked for already. */
static void settle(struct lc_cursor *c) {
  const struct lc_tree *t = c->tree;
  while (c->depth && c->path[c->depth - 1].at >= c->path[c->depth - 1].node->n) {
    c->depth--;
    if (c->depth) c->path[c->depth - 1].at++;
  }
  while (c->depth && !is_leaf(c->path[c->depth - 1].node)) {
    const struct lc_tree_node *n = c->path[c->depth - 1].node;
    uint32_t at = c->path[c->depth - 1].at;
    const struct lc_tree_node *child = children(t, n)[at];
    if (at + 1 < n->n) prefetch_node(children(t, n)[at + 1]);
    push(c, child, 0);
  }
}
void lc_cursor_seek(struct lc_cursor *c, const struct lc_tree *t, const struct lc_snapshot *snapshot, const uint8_t *key, uint32_t n_parts, bool after) {
  struct target x;
  target_set(t, &x, key, n_parts, after);
  descend(c, t, root_of(t, snapshot)->node, &x);
  settle(c);
}
void lc_cursor_next(struct lc_cursor *c) {
  if (!c->depth) return;
  if (++c->path[c->depth - 1].at >= c->path[c->depth - 1].node->n) settle(c);
}
void lc_cursor_prev(struct lc_cursor *c) {
  const struct lc_tree *t = c->tree;
  while (c->depth && c->path[c->depth - 1].at == 0) c->depth--;
  if (!c->depth) return;
  c->path[c->depth - 1].at--;
  while (!is_leaf(c->path[c->depth - 1].node)) {
    const struct lc_tree_node *n = c->path[c->depth - 1].node;
    uint32_t at = c->path[c->depth - 1].at;
    const struct lc_tree_node *child = children(t, n)[at];
    if (at > 0) prefetch_node(children(t, n)[at - 1]);
    push(c, child, child->n - 1u);
  }
}
void lc_cursor_seek_last(struct lc_cursor *c, const struct lc_tree *t, const struct lc_snapshot *snapshot, const uint8_t *key, uint32_t n_parts, bool after) {
  const struct lc_tree_node *root = root_of(t, snapshot)->node;
  if (key) {
    struct target x;
    target_set(t, &x, key, n_parts, after);
    descend(c, t, root, &x); /* may lead past the end of a leaf: the entry before it is the one all the same */
    lc_cursor_prev(c);
    return;
  }
  c->tree = t;
  c->depth = 0;
  for (const struct lc_tree_node *n = root; n; n = is_leaf(n) ? NULL : children(t, n)[n->n - 1]) push(c, n, n->n - 1u);
}
struct lc_slice lc_cursor_entry(const struct lc_cursor *c) { return leaf_entry(c->tree, c->path[c->depth - 1].node, c->path[c->depth - 1].at); }
struct lc_slice lc_cursor_run(struct lc_cursor *c, uint32_t *n) {
  struct lc_slice s = lc_cursor_entry(c);
  *n = 1;
  if (!is_slotted(c->tree)) {
    *n = c->path[c->depth - 1].node->n - c->path[c->depth - 1].at;
    s.len = (size_t)*n * c->tree->entry_size_bytes;
  }
  c->path[c->depth - 1].at += *n;
  settle(c);
  return s;
}
uint64_t lc_snapshot_count(const struct lc_tree *t, const struct lc_snapshot *s) { return root_of(t, s)->n_entries; }
uint64_t lc_tree_count(const struct lc_tree *t) { return t->store ? t->store->roots[t->slot].n_entries : 0; }
