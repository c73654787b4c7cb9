/* Owns: the inside of slotted nodes: a directory of prefixes (and children) and slots that grows upwards, bytes of cells that grow downwards.
 *
 * Invariants: slots lie right behind the arrays before them, so every array moves when one is added; bytes of removed cells stay until room is
 * wanted (`compact`). The callers in tree.c see to it that there is room. The layout is told in store_internal.h.
 */
#include "store_internal.h"

static uint32_t cells_of(const struct lc_tree_node *n) { return n->kind == PIECE_INNER ? n->n - 1u : n->n; }
static uint32_t directory_bytes(const struct lc_tree_node *n) { return n->kind == PIECE_INNER ? INNER_SLOT_BYTES * (n->n - 1u) + 8 : LEAF_SLOT_BYTES * (uint32_t)n->n; }

uint32_t slots_used(const struct lc_tree_node *n) {
  uint32_t used = directory_bytes(n), m = cells_of(n);
  const struct slot *s = slots(n);
  for (uint32_t i = 0; i < m; i++) used += slot_heap_bytes(s[i]);
  return used;
}

static void compact(struct lc_tree_node *n) {
  uint8_t old[NODE_BYTES];
  memcpy(old + n->heap, (uint8_t *)n + n->heap, NODE_BYTES - n->heap);
  struct slot *s = slots(n);
  uint32_t at = NODE_BYTES, m = cells_of(n);
  for (uint32_t i = 0; i < m; i++) {
    uint32_t len = slot_heap_bytes(s[i]);
    at -= len;
    memcpy((uint8_t *)n + at, old + s[i].offset, len);
    s[i].offset = (uint16_t)at;
  }
  n->heap = (uint16_t)at;
}

/* Bytes for a cell, of which there is room when `directory_growth` is counted. */
static struct slot heap_take(struct lc_tree_node *n, const struct cell *c, uint32_t directory_growth) {
  uint32_t len = cell_heap_bytes(c);
  if (n->heap < HEADER_BYTES + directory_bytes(n) + directory_growth + len) compact(n);
  lc_assert(n->heap >= HEADER_BYTES + directory_bytes(n) + directory_growth + len);
  n->heap = (uint16_t)(n->heap - len);
  if (c->blob) memcpy((uint8_t *)n + n->heap, &c->blob, sizeof c->blob);
  else if (len) memcpy((uint8_t *)n + n->heap, c->bytes.data, len);
  return (struct slot){n->heap, c->blob ? SLOT_BLOB : (uint16_t)len};
}

void slots_insert(struct lc_tree_node *n, uint32_t at, const struct cell *c, struct lc_tree_node *child) {
  bool inner = n->kind == PIECE_INNER;
  uint32_t m = cells_of(n);
  struct slot taken = heap_take(n, c, inner ? INNER_SLOT_BYTES : LEAF_SLOT_BYTES);
  uint8_t *from = (uint8_t *)slots(n), *to = from + (inner ? 16 : 8);
  memmove(to + 4 * (at + 1), from + 4 * at, 4 * (m - at));
  memmove(to, from, 4 * at);
  memcpy(to + 4 * at, &taken, 4);
  if (inner) {
    from = n->cells + 8 * m;
    memmove(from + 8 + 8 * (at + 2), from + 8 * (at + 1), 8 * (m - at));
    memmove(from + 8, from, 8 * (at + 1));
    memcpy(from + 8 + 8 * (at + 1), &child, 8);
  }
  memmove(n->cells + 8 * (at + 1), n->cells + 8 * at, 8 * (m - at));
  memcpy(n->cells + 8 * at, &c->prefix, 8);
  n->n++;
}

void slots_remove(struct lc_tree_node *n, uint32_t at, uint32_t child) {
  bool inner = n->kind == PIECE_INNER;
  uint32_t m = cells_of(n);
  struct slot s = slots(n)[at];
  if (s.offset == n->heap) n->heap = (uint16_t)(n->heap + slot_heap_bytes(s));
  uint8_t *from = (uint8_t *)slots(n), *to = from - (inner ? 16 : 8);
  memmove(n->cells + 8 * at, n->cells + 8 * (at + 1), 8 * (m - at - 1));
  if (inner) {
    uint8_t *kids = n->cells + 8 * m;
    memmove(kids - 8, kids, 8 * child);
    memmove(kids - 8 + 8 * child, kids + 8 * (child + 1), 8 * (m - child));
  }
  memmove(to, from, 4 * at);
  memmove(to + 4 * at, from + 4 * (at + 1), 4 * (m - at - 1));
  n->n--;
}

void slots_truncate(struct lc_tree_node *n, uint32_t keep) {
  if (n->kind == PIECE_INNER) {
    uint8_t *kids = n->cells + 8 * (n->n - 1u), *s = (uint8_t *)slots(n);
    memmove(n->cells + 8 * (keep - 1), kids, 8 * keep);
    memmove(n->cells + 16 * (keep - 1) + 8, s, 4 * (keep - 1));
  } else {
    memmove(n->cells + 8 * keep, slots(n), 4 * keep);
  }
  n->n = (uint16_t)keep;
}

void slots_replace(struct lc_tree_node *n, uint32_t at, const struct cell *c) {
  struct slot *s = &slots(n)[at];
  if (!c->blob && s->len != SLOT_BLOB && s->len >= c->bytes.len) {
    if (c->bytes.len) memcpy((uint8_t *)n + s->offset, c->bytes.data, c->bytes.len);
    s->len = (uint16_t)c->bytes.len;
  } else {
    s->len = 0;
    *s = heap_take(n, c, 0);
  }
  prefixes(n)[at] = c->prefix;
}

struct cell slots_cell(const struct lc_tree_node *n, uint32_t i) {
  struct slot s = slots(n)[i];
  if (s.len == SLOT_BLOB) return (struct cell){prefixes(n)[i], {0}, slot_blob(n, s)};
  return (struct cell){prefixes(n)[i], lc_slice((const uint8_t *)n + s.offset, s.len), NULL};
}

void slots_copy(struct lc_tree_node *to, const struct lc_tree_node *from) {
  memcpy(to->cells, from->cells, directory_bytes(from));
  memcpy((uint8_t *)to + from->heap, (const uint8_t *)from + from->heap, NODE_BYTES - from->heap);
  to->n = from->n;
  to->heap = from->heap;
  to->run_at = from->run_at;
  to->run_length = from->run_length;
}
