/* Owns: boxes: for relations that bound one to three columns, a tree from a point to the boxes that hold it (after R-trees). Each column's values are mapped in
 * their order to 64 bits; what the mapping loses makes a box too wide, never too narrow: unless nothing is lost (is_complete), whoever asks checks the
 * conditions themselves.
 *
 * Invariants: the bounds that a node keeps of an entry contain all that lies below it; an occurrence knows its leaf; all leaves are equally deep. A full node is
 * split across the dimension in which its halves are smallest. Adding takes its memory first, so that it fails without a change. Caller: interest.c.
 */
#include "live_internal.h"
#include <stdlib.h>

enum { FANOUT = 16, MAX_DEPTH = 24 };

struct box_node {
  struct box_node *parent;
  uint32_t n; bool is_leaf;
  union { struct box_node *child; struct occurrence *occurrence; } entries[FANOUT];
  uint64_t bounds[]; /* for each dimension FANOUT lows, then FANOUT highs */
};
#define LOW(node, dim, i) ((node)->bounds[(size_t)(dim) * 2 * FANOUT + (i)])
#define HIGH(node, dim, i) ((node)->bounds[(size_t)(dim) * 2 * FANOUT + FANOUT + (i)])

static struct box_node *node_new(const struct boxes *b) { return lc_alloc_zero(1, sizeof(struct box_node) + b->n_dims * 2 * FANOUT * sizeof(uint64_t)); }
static void nodes_free(struct box_node *n) {
  for (uint32_t i = 0; n && !n->is_leaf && i < n->n; i++) nodes_free(n->entries[i].child);
  lc_free(n);
}
void boxes_free(struct boxes *b) {
  nodes_free(b->root);
  for (uint32_t d = 0; d < b->n_dims; d++) lc_free(b->specs[d]);
  *b = (struct boxes){0};
}

bool boxes_init(struct boxes *b, const struct lc_type *row_type, uint32_t n_dims, const uint16_t *columns) {
  *b = (struct boxes){.n_dims = n_dims};
  for (uint32_t d = 0; d < n_dims; d++) {
    if (!(b->specs[d] = lc_alloc_zero(1, sizeof *b->specs[d]))) {
      boxes_free(b);
      return false;
    }
    *b->specs[d] = (struct lc_key_spec){.entry_type = row_type, .n_parts = 1, .columns = {columns[d]}};
    lc_key_spec_init(b->specs[d]);
  }
  return true;
}

/* ---- bounds ---- */

struct box { uint64_t low[LC_SEARCH_MAX_INTERVALS], high[LC_SEARCH_MAX_INTERVALS]; };

static struct box entry_box(const struct boxes *b, const struct box_node *n, uint32_t i) {
  struct box x = {{0}, {0}};
  for (uint32_t d = 0; d < b->n_dims; d++) x.low[d] = LOW(n, d, i), x.high[d] = HIGH(n, d, i);
  return x;
}
static void set_box(const struct boxes *b, struct box_node *n, uint32_t i, const struct box *x) {
  for (uint32_t d = 0; d < b->n_dims; d++) LOW(n, d, i) = x->low[d], HIGH(n, d, i) = x->high[d];
}
static void widen(const struct boxes *b, struct box *x, const struct box *by) {
  for (uint32_t d = 0; d < b->n_dims; d++) {
    if (by->low[d] < x->low[d]) x->low[d] = by->low[d];
    if (by->high[d] > x->high[d]) x->high[d] = by->high[d];
  }
}
static double volume(const struct boxes *b, const struct box *x) {
  double v = 1;
  for (uint32_t d = 0; d < b->n_dims; d++) v *= (double)(x->high[d] - x->low[d]) + 1;
  return v;
}
static struct box node_box(const struct boxes *b, const struct box_node *n) {
  struct box x = entry_box(b, n, 0);
  for (uint32_t i = 1; i < n->n; i++) {
    struct box y = entry_box(b, n, i);
    widen(b, &x, &y);
  }
  return x;
}
static double growth(const struct boxes *b, const struct box_node *n, const struct box *x) { /* of the node's box when x comes into it */
  struct box old = node_box(b, n), wide = old;
  widen(b, &wide, x);
  return volume(b, &wide) - volume(b, &old);
}
static uint32_t place_in_parent(const struct box_node *n) {
  uint32_t i = 0;
  while (n->parent->entries[i].child != n) i++;
  return i;
}
/* Writes the bounds of n into its parent and so on upwards. */
static void renew_upwards(const struct boxes *b, struct box_node *n) {
  for (; n->parent; n = n->parent) {
    struct box x = node_box(b, n);
    set_box(b, n->parent, place_in_parent(n), &x);
  }
}

/* ---- adding ---- */

static void put(const struct boxes *b, struct box_node *n, const struct box *x, struct box_node *child, struct occurrence *o) {
  set_box(b, n, n->n, x);
  if (n->is_leaf) {
    n->entries[n->n++].occurrence = o;
    o->leaf = n;
  } else {
    n->entries[n->n++].child = child;
    child->parent = n;
  }
}
struct half { uint64_t middle; uint32_t at; };
static int by_middle(const void *a, const void *b) {
  const struct half *x = a, *y = b;
  return x->middle < y->middle ? -1 : x->middle > y->middle ? 1 : (int)x->at - (int)y->at;
}
/* Moves half of a full node's entries into `other`, which is empty. */
static void split(const struct boxes *b, struct box_node *n, struct box_node *other) {
  struct half order[FANOUT], best[FANOUT];
  double least = 0;
  for (uint32_t d = 0; d < b->n_dims; d++) {
    struct box halves[2];
    for (uint32_t i = 0; i < FANOUT; i++) order[i] = (struct half){LOW(n, d, i) / 2 + HIGH(n, d, i) / 2, i};
    qsort(order, FANOUT, sizeof *order, by_middle);
    for (uint32_t i = 0; i < FANOUT; i++) {
      struct box x = entry_box(b, n, order[i].at);
      if (i % (FANOUT / 2) == 0) halves[i / (FANOUT / 2)] = x;
      else widen(b, &halves[i / (FANOUT / 2)], &x);
    }
    double sum = volume(b, &halves[0]) + volume(b, &halves[1]);
    if (d > 0 && sum >= least) continue;
    least = sum;
    memcpy(best, order, sizeof best);
  }
  bool moves[FANOUT] = {false};
  for (uint32_t i = FANOUT / 2; i < FANOUT; i++) moves[best[i].at] = true;
  other->is_leaf = n->is_leaf;
  n->n = 0;
  for (uint32_t i = 0; i < FANOUT; i++) {
    struct box x = entry_box(b, n, i);
    struct box_node *child = n->entries[i].child;
    struct occurrence *o = n->entries[i].occurrence;
    put(b, moves[i] ? other : n, &x, child, o); /* never overwrites an entry not yet seen: n->n <= i */
  }
}

bool boxes_add(struct boxes *b, struct occurrence *o, const struct lc_search *s) {
  struct box x = {{0}, {0}};
  struct box_node *spare[MAX_DEPTH + 2], *n = b->root;
  uint32_t n_spare = 0, n_used = 0;
  o->is_complete = s->is_complete; /* if each bound is exactly what the tree keeps */
  for (uint32_t d = 0; d < b->n_dims; d++) {
    const struct lc_interval *v = &s->intervals[d];
    x.low[d] = v->low.data ? lc_key_prefix(b->specs[d], v->low.data, 1) : 0;
    x.high[d] = v->high.data ? lc_key_prefix(b->specs[d], v->high.data, 1) : UINT64_MAX;
    if (b->specs[d]->is_exact) {
      if (v->low.data && v->low_excluded && x.low[d] < UINT64_MAX) x.low[d]++;
      else if (v->low.data && v->low_excluded) o->is_complete = false;
      if (v->high.data && v->high_excluded && x.high[d] > 0) x.high[d]--;
      else if (v->high.data && v->high_excluded) o->is_complete = false;
    } else o->is_complete = false;
    if (x.high[d] < x.low[d]) { /* nothing is in it: kept as a point */
      x.high[d] = x.low[d];
      o->is_complete = false;
    }
  }
  while (n && !n->is_leaf) { /* where it widens least */
    uint32_t best = 0;
    double least = 0, smallest = 0;
    for (uint32_t i = 0; i < n->n; i++) {
      struct box old = entry_box(b, n, i), wide = old;
      widen(b, &wide, &x);
      double size = volume(b, &old), more = volume(b, &wide) - size;
      if (i > 0 && (more > least || (more == least && size >= smallest))) continue;
      best = i;
      least = more;
      smallest = size;
    }
    n = n->entries[best].child;
  }
  uint32_t needed = n ? 0 : 1;
  for (struct box_node *up = n; up && up->n == FANOUT; up = up->parent) needed += up->parent ? 1 : 2;
  for (; n_spare < needed; n_spare++)
    if (n_spare > MAX_DEPTH || !(spare[n_spare] = node_new(b))) {
      while (n_spare) lc_free(spare[--n_spare]);
      return false;
    }
  if (!n) {
    n = b->root = spare[n_used++];
    n->is_leaf = true;
  }
  struct box_node *child = NULL;
  for (;;) { /* x with o, or with a half that was split off below, goes into n */
    if (n->n < FANOUT) {
      put(b, n, &x, child, o);
      renew_upwards(b, n);
      break;
    }
    struct box_node *other = spare[n_used++], *parent = n->parent;
    split(b, n, other);
    put(b, growth(b, n, &x) <= growth(b, other, &x) ? n : other, &x, child, o);
    if (!parent) {
      parent = b->root = spare[n_used++];
      struct box of_n = node_box(b, n);
      put(b, parent, &of_n, n, NULL);
    } else {
      struct box of_n = node_box(b, n);
      set_box(b, parent, place_in_parent(n), &of_n);
    }
    x = node_box(b, other);
    child = other;
    n = parent;
  }
  lc_assert(n_used == n_spare);
  b->n_occurrences++;
  return true;
}

void boxes_remove(struct boxes *b, struct occurrence *o) {
  struct box_node *n = o->leaf;
  uint32_t i = 0;
  while (n->entries[i].occurrence != o) i++;
  for (;;) {
    struct box last = entry_box(b, n, n->n - 1);
    n->entries[i] = n->entries[--n->n];
    set_box(b, n, i, &last);
    if (n->n > 0 || !n->parent) break;
    struct box_node *empty = n;
    i = place_in_parent(n);
    n = n->parent;
    lc_free(empty);
  }
  if (n->n > 0) renew_upwards(b, n);
  while (b->root && !b->root->is_leaf && b->root->n <= 1) { /* the root goes when it leads to one node, or to none */
    struct box_node *old = b->root;
    b->root = old->n ? old->entries[0].child : NULL;
    if (b->root) b->root->parent = NULL;
    lc_free(old);
  }
  b->n_occurrences--;
}

/* ---- asking ---- */

static void stab(const struct boxes *b, const struct box_node *n, const uint64_t *point, void (*hit)(void *ctx, struct occurrence *o), void *ctx) {
  bool in[FANOUT];
  memset(in, 1, sizeof in);
  for (uint32_t d = 0; d < b->n_dims; d++) {
    const uint64_t *low = &LOW(n, d, 0), *high = &HIGH(n, d, 0), v = point[d];
    for (uint32_t i = 0; i < FANOUT; i++) in[i] &= (low[i] <= v) & (v <= high[i]);
  }
  for (uint32_t i = 0; i < n->n; i++) {
    if (!in[i]) continue;
    if (n->is_leaf) hit(ctx, n->entries[i].occurrence);
    else stab(b, n->entries[i].child, point, hit, ctx);
  }
}
void boxes_match(const struct boxes *b, const struct lc_type *row_type, struct lc_slice row, void (*hit)(void *ctx, struct occurrence *o), void *ctx) {
  uint64_t point[LC_SEARCH_MAX_INTERVALS];
  if (!b->root) return;
  for (uint32_t d = 0; d < b->n_dims; d++) point[d] = lc_key_prefix(b->specs[d], lc_row_column(row_type, row.data, b->specs[d]->columns[0]), 1);
  stab(b, b->root, point, hit, ctx);
}
static void every(const struct box_node *n, void (*hit)(void *ctx, struct occurrence *o), void *ctx) {
  for (uint32_t i = 0; n && i < n->n; i++) {
    if (n->is_leaf) hit(ctx, n->entries[i].occurrence);
    else every(n->entries[i].child, hit, ctx);
  }
}
void boxes_every(const struct boxes *b, void (*hit)(void *ctx, struct occurrence *o), void *ctx) { every(b->root, hit, ctx); }
