/* Owns: finding places in trees: prefix targets, inner nodes, leaves, finds, cursors. Changes nothing; on a snapshot any thread may call it. */
#include "store_internal.h"

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
  x->low = lc_key_prefix(s, key, n_parts);
  x->decided = bits != 255;
  x->high = bits == 255 || bits == 64 ? x->low : x->low | (UINT64_MAX >> bits);
}

/* The best code for the processor is chosen when the program starts; ThreadSanitizer is not there yet at that moment. */
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#define FOR_THIS_PROCESSOR __attribute__((target_clones("avx2", "default"), optimize("O3")))
#else
#define FOR_THIS_PROCESSOR
#endif
/* Number of values in a[0..n) that are <= v: no branch per value. */
FOR_THIS_PROCESSOR static uint32_t count_at_most(const int64_t *a, uint32_t n, int64_t v) {
  uint64_t count = 0;
  for (uint32_t i = 0; i < n; i++) count += a[i] <= v;
  return (uint32_t)count;
}
static uint32_t lower_bound(const int64_t *a, uint32_t n, int64_t v) { return v == INT64_MIN ? 0 : count_at_most(a, n, v - 1); }

static int compare_separator(const struct lc_tree *t, const uint8_t *separator, const struct target *x) {
  const struct lc_key_spec *s = &t->key;
  const uint8_t *key = x->key;
  for (uint32_t i = 0; i < x->n_parts; i++) {
    const struct lc_type *type = s->entry_type->fields[s->columns[i]].type;
    int c = lc_bsatn_compare(type, separator, key);
    if (c) return c;
    if (i + 1 == x->n_parts) break;
    separator = lc_bsatn_skip(type, separator);
    key = lc_bsatn_skip(type, key);
  }
  return 0;
}

uint32_t child_index(const struct lc_tree *t, const struct lc_tree_node *n, const struct target *x) {
  const int64_t *a = separators(n);
  if (!x->key) return 0;
  /* a full key equal to a separator is in the child to its right; of a part of the key, equal entries may begin left of it */
  bool right = x->n_parts == t->key.n_parts || x->after;
  if (x->decided) return right ? count_at_most(a, n->n - 1, flipped(x->high)) : lower_bound(a, n->n - 1, flipped(x->low));
  uint32_t low = lower_bound(a, n->n - 1, flipped(x->low)), high = count_at_most(a, n->n - 1, flipped(x->high));
  while (low < high) {
    uint32_t mid = (low + high) / 2;
    int c = compare_separator(t, separator_blobs(t, n)[mid]->data, x);
    if (right ? c <= 0 : c < 0) low = mid + 1;
    else high = mid;
  }
  return low;
}

/* ---- leaves ---- */

static inline __attribute__((always_inline)) uint64_t load(const uint8_t *p, unsigned bytes) {
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
 * ends narrows the place first; the rest is halving without branches. */
static inline __attribute__((always_inline)) uint32_t halve(const uint8_t *base, uint32_t n, uint32_t step, unsigned bytes, uint64_t flip, uint64_t v, bool strictly) {
  enum { NEAR = 4 };
  uint32_t from = 0, len = n;
  if (n == 0) return 0;
  if (n > 4 * NEAR) {
    uint64_t first = load(base, bytes) ^ flip, last = load(base + (size_t)(n - 1) * step, bytes) ^ flip;
    if (v > first && v < last) {
      uint32_t guess = (uint32_t)((double)(v - first) / (double)(last - first) * (double)(n - 1));
      uint32_t low = guess < NEAR ? 0 : guess - NEAR, high = guess + NEAR < n ? guess + NEAR : n - 1;
      uint64_t at_low = load(base + (size_t)low * step, bytes) ^ flip, at_high = load(base + (size_t)high * step, bytes) ^ flip;
      bool behind_low = strictly ? at_low <= v : at_low < v, behind_high = strictly ? at_high <= v : at_high < v;
      if (behind_high) from = high, len = n - high;
      else if (behind_low) from = low + 1, len = high - low;
      else len = low + 1;
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

static inline __attribute__((always_inline)) uint32_t packed_bound(const struct lc_tree *t, const struct lc_tree_node *n, uint64_t v, bool strictly) {
  const struct lc_prefix_step *p = &t->key.steps[0];
  const uint8_t *base = n->cells + p->entry_offset;
  uint32_t step = t->entry_size_bytes;
  /* compare in the number's own width: the prefix has it shifted up */
  uint64_t flip = p->is_signed ? (uint64_t)1 << (p->bytes * 8 - 1) : 0, own = v >> p->shift;
  switch (p->bytes) {
  case 4: return step == 12 ? halve(base, n->n, 12, 4, flip, own, strictly) : halve(base, n->n, step, 4, flip, own, strictly);
  case 8: return halve(base, n->n, step, 8, flip, own, strictly);
  case 2: return halve(base, n->n, step, 2, flip, own, strictly);
  default: return halve(base, n->n, step, 1, flip, own, strictly);
  }
}

static uint64_t packed_prefix(const struct lc_key_spec *s, const uint8_t *entry) {
  uint64_t v = 0;
  for (uint32_t i = 0; i < s->n_steps; i++) {
    const struct lc_prefix_step *p = &s->steps[i];
    uint64_t x = load(entry + p->entry_offset, p->bytes);
    if (p->is_signed) x ^= (uint64_t)1 << (p->bytes * 8 - 1);
    v |= x << p->shift;
  }
  return v;
}

static uint32_t bound_full(const struct lc_tree *t, const struct lc_tree_node *n, const struct target *x, uint32_t low, uint32_t high) {
  while (low < high) {
    uint32_t mid = (low + high) / 2;
    int c = lc_key_compare_entry(&t->key, leaf_entry(t, n, mid).data, x->key, x->n_parts);
    if (c < 0 || (x->after && c == 0)) low = mid + 1;
    else high = mid;
  }
  return low;
}

uint32_t leaf_index(const struct lc_tree *t, const struct lc_tree_node *n, const struct target *x) {
  const struct lc_key_spec *s = &t->key;
  if (!x->key) return 0;
  if (t->entry_size_bytes != LC_SIZE_DYNAMIC) {
    if (s->n_steps == 1 && s->steps_in_entry) {
      if (x->decided) return packed_bound(t, n, x->after ? x->high : x->low, x->after);
      uint32_t low = packed_bound(t, n, x->low, false), high = low;
      if (low < n->n && packed_prefix(s, leaf_entry(t, n, low).data) == x->low) high = packed_bound(t, n, x->high, true);
      return bound_full(t, n, x, low, high);
    }
    if (!s->steps_in_entry || s->n_steps == 0) return bound_full(t, n, x, 0, n->n);
    uint32_t low = 0, high = n->n;
    while (low < high) {
      uint32_t mid = (low + high) / 2;
      const uint8_t *entry = n->cells + (size_t)mid * t->entry_size_bytes;
      uint64_t p = packed_prefix(s, entry);
      bool before;
      if (x->decided || p < x->low || p > x->high) {
        before = x->after ? p <= x->high : p < x->low;
      } else {
        int c = lc_key_compare_entry(s, entry, x->key, x->n_parts);
        before = c < 0 || (x->after && c == 0);
      }
      if (before) low = mid + 1;
      else high = mid;
    }
    return low;
  }
  const struct blob_cell *cells = (const struct blob_cell *)(const void *)n->cells;
  uint32_t low = 0, high = n->n;
  while (low < high) {
    uint32_t mid = (low + high) / 2;
    uint64_t p = cells[mid].prefix;
    bool before;
    if (x->decided || p < x->low || p > x->high) {
      before = x->after ? p <= x->high : p < x->low;
    } else {
      int c = lc_key_compare_entry(s, cells[mid].blob->data, x->key, x->n_parts);
      before = c < 0 || (x->after && c == 0);
    }
    if (before) low = mid + 1;
    else high = mid;
  }
  return low;
}

/* True if entry i of a leaf has exactly the target's key. */
static bool entry_is(const struct lc_tree *t, const struct lc_tree_node *n, uint32_t i, const struct target *x) {
  if (i >= n->n) return false;
  if (t->entry_size_bytes == LC_SIZE_DYNAMIC) {
    const struct blob_cell *c = (const struct blob_cell *)(const void *)n->cells + i;
    return c->prefix == x->low && (t->key.is_exact || lc_key_compare_entry(&t->key, c->blob->data, x->key, x->n_parts) == 0);
  }
  const uint8_t *entry = n->cells + (size_t)i * t->entry_size_bytes;
  if (t->key.is_exact && t->key.steps_in_entry) return packed_prefix(&t->key, entry) == x->low;
  return lc_key_compare_entry(&t->key, entry, x->key, x->n_parts) == 0;
}

/* Every line of a leaf; of an inner node the header and the separators. */
static inline void prefetch_node(const struct lc_tree_node *n) {
  for (unsigned line = 0; line < LEAF_BYTES; line += 64) __builtin_prefetch((const char *)n + line);
}
/* Trees whose key is one number of up to 8 bytes at a constant place: most of them. */
static inline __attribute__((always_inline)) struct lc_slice find_number(const struct lc_tree *t, const struct lc_tree_node *n, uint64_t prefix) {
  int64_t v = flipped(prefix);
  while (n->kind != PIECE_LEAF) {
    n = children(t, n)[count_at_most(separators(n), n->n - 1, v)];
    prefetch_node(n);
  }
  const struct lc_prefix_step *p = &t->key.steps[0];
  uint32_t at = packed_bound(t, n, prefix, false);
  const uint8_t *entry = n->cells + (size_t)at * t->entry_size_bytes;
  uint64_t flip = p->is_signed ? (uint64_t)1 << (p->bytes * 8 - 1) : 0;
  bool found = at < n->n && (load(entry + p->entry_offset, p->bytes) ^ flip) == prefix >> p->shift;
  return found ? lc_slice(entry, t->entry_size_bytes) : lc_slice(NULL, 0);
}

static inline __attribute__((always_inline)) struct lc_slice find(const struct lc_tree *t, const struct lc_tree_node *n, const uint8_t *key) {
  if (!n) return lc_slice(NULL, 0);
  if (t->is_number) return find_number(t, n, step_value(&t->key.steps[0], key));
  struct target x;
  target_set(t, &x, key, t->key.n_parts, false);
  while (n->kind != PIECE_LEAF) {
    n = children(t, n)[child_index(t, n, &x)];
    prefetch_node(n);
  }
  uint32_t at = leaf_index(t, n, &x);
  return entry_is(t, n, at, &x) ? leaf_entry(t, n, at) : lc_slice(NULL, 0);
}

static const struct lc_root *root_of(const struct lc_tree *t, const struct lc_snapshot *s) {
  static const struct lc_root none;
  if (!s) return &t->store->roots[t->slot];
  return t->slot < s->n_roots ? &s->roots[t->slot] : &none;
}
struct lc_slice lc_tree_find(const struct lc_tree *t, const uint8_t *key) { return find(t, t->store->roots[t->slot].node, key); }
struct lc_slice lc_snapshot_find(const struct lc_tree *t, const struct lc_snapshot *snapshot, const uint8_t *key) { return find(t, root_of(t, snapshot)->node, key); }

void lc_tree_find_batch(const struct lc_tree *t, const uint8_t *const keys[LC_TREE_BATCH], uint32_t n, struct lc_slice out[LC_TREE_BATCH]) {
  const struct lc_tree_node *root = t->store->roots[t->slot].node, *at[LC_TREE_BATCH] = {0};
  for (uint32_t i = 0; i < n; i++) {
    out[i] = lc_slice(NULL, 0);
    at[i] = root;
  }
  if (!root) return;
  if (t->is_number) {
    uint64_t prefix[LC_TREE_BATCH];
    for (uint32_t i = 0; i < n; i++) prefix[i] = step_value(&t->key.steps[0], keys[i]);
    while (at[0]->kind != PIECE_LEAF) /* all leaves are equally deep */
      for (uint32_t i = 0; i < n; i++) {
        at[i] = children(t, at[i])[count_at_most(separators(at[i]), at[i]->n - 1, flipped(prefix[i]))];
        prefetch_node(at[i]);
      }
    for (uint32_t i = 0; i < n; i++) out[i] = find_number(t, at[i], prefix[i]);
    return;
  }
  struct target x[LC_TREE_BATCH];
  for (uint32_t i = 0; i < n; i++) target_set(t, &x[i], keys[i], t->key.n_parts, false);
  while (at[0]->kind != PIECE_LEAF)
    for (uint32_t i = 0; i < n; i++) {
      at[i] = children(t, at[i])[child_index(t, at[i], &x[i])];
      prefetch_node(at[i]);
    }
  for (uint32_t i = 0; i < n; i++) {
    uint32_t k = leaf_index(t, at[i], &x[i]);
    if (entry_is(t, at[i], k, &x[i])) out[i] = leaf_entry(t, at[i], k);
  }
}

const uint8_t *entry_key(const struct lc_tree *t, struct lc_slice entry, struct lc_buf *scratch) {
  if (t->key.is_prefix) return entry.data;
  if (t->key.is_static_offset) return entry.data + t->key.offset_bytes;
  lc_key_extract(&t->key, entry.data, scratch);
  return lc_buf_ok(scratch) ? scratch->data : NULL;
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
    if (n->kind == PIECE_LEAF) {
      push(c, n, leaf_index(t, n, x));
      return;
    }
    uint32_t at = child_index(t, n, x);
    push(c, n, at);
    n = children(t, n)[at];
    prefetch_node(n);
  }
}
/* The path leads past the end of a leaf: to the first entry of the next one. */
static void settle(struct lc_cursor *c) {
  const struct lc_tree *t = c->tree;
  while (c->depth && c->path[c->depth - 1].at >= c->path[c->depth - 1].node->n) {
    c->depth--;
    if (c->depth) c->path[c->depth - 1].at++;
  }
  while (c->depth && c->path[c->depth - 1].node->kind != PIECE_LEAF) {
    const struct lc_tree_node *n = c->path[c->depth - 1].node;
    uint32_t at = c->path[c->depth - 1].at;
    const struct lc_tree_node *child = children(t, n)[at];
    if (at + 1 < n->n) __builtin_prefetch(children(t, n)[at + 1]);
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
  c->path[c->depth - 1].at++;
  settle(c);
}
void lc_cursor_prev(struct lc_cursor *c) {
  const struct lc_tree *t = c->tree;
  while (c->depth && c->path[c->depth - 1].at == 0) c->depth--;
  if (!c->depth) return;
  c->path[c->depth - 1].at--;
  while (c->path[c->depth - 1].node->kind != PIECE_LEAF) {
    const struct lc_tree_node *child = children(t, c->path[c->depth - 1].node)[c->path[c->depth - 1].at];
    push(c, child, child->n - 1);
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
  for (const struct lc_tree_node *n = root; n; n = n->kind == PIECE_LEAF ? NULL : children(t, n)[n->n - 1]) push(c, n, n->n - 1);
}
struct lc_slice lc_cursor_entry(const struct lc_cursor *c) { return leaf_entry(c->tree, c->path[c->depth - 1].node, c->path[c->depth - 1].at); }
struct lc_slice lc_cursor_run(struct lc_cursor *c, uint32_t *n) {
  struct lc_slice s = lc_cursor_entry(c);
  *n = 1;
  if (c->tree->entry_size_bytes != LC_SIZE_DYNAMIC) {
    *n = c->path[c->depth - 1].node->n - c->path[c->depth - 1].at;
    s.len = (size_t)*n * c->tree->entry_size_bytes;
  }
  c->path[c->depth - 1].at += *n;
  settle(c);
  return s;
}
uint64_t lc_snapshot_count(const struct lc_tree *t, const struct lc_snapshot *s) { return root_of(t, s)->n_entries; }
uint64_t lc_tree_count(const struct lc_tree *t) { return t->store ? t->store->roots[t->slot].n_entries : 0; }
