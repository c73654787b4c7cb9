/* Owns: building trees from many entries at once: in order, or sorted first. Callers: engine/ (creating an index, recovery, restoring a snapshot). */
#include "store_internal.h"
#include <stdlib.h>

void lc_bulk_begin(struct lc_bulk *b, struct lc_tree *t) {
  lc_assert(lc_tree_count(t) == 0);
  b->tree = t;
}
enum lc_tree_result lc_bulk_add(struct lc_bulk *b, struct lc_slice entry) { return tree_append(b->tree, entry); }
void lc_bulk_finish(struct lc_bulk *b) { b->tree = NULL; }
void lc_bulk_abort(struct lc_bulk *b) {
  lc_tree_clear(b->tree);
  b->tree = NULL;
}

/* ---- sorting ---- */

void lc_sorter_init(struct lc_sorter *s, const struct lc_key_spec *key) { *s = (struct lc_sorter){.key = key}; }
void lc_sorter_free(struct lc_sorter *s) {
  lc_arena_free(&s->arena);
  lc_free(s->e);
  *s = (struct lc_sorter){0};
}

/* An entry's bytes follow their length. */
static struct lc_slice sorted_entry(const struct lc_sorted *e) {
  uint32_t len;
  memcpy(&len, e->data, 4);
  return lc_slice(e->data + 4, len);
}

bool lc_sorter_add(struct lc_sorter *s, struct lc_slice entry) {
  if (entry.len > LC_ENTRY_MAX_BYTES) return false;
  if (s->n == s->cap) {
    size_t cap = s->cap ? s->cap * 2 : 1024;
    struct lc_sorted *e = lc_realloc(s->e, cap * sizeof *e);
    if (!e) return false;
    s->e = e;
    s->cap = cap;
  }
  struct key_scratch scratch;
  scratch.spill = (struct lc_buf){0};
  const uint8_t *key = entry_key(s->key, entry, &scratch);
  uint8_t *to = key ? lc_arena_alloc(&s->arena, 4 + entry.len) : NULL;
  if (to) {
    uint32_t len = (uint32_t)entry.len;
    memcpy(to, &len, 4);
    memcpy(to + 4, entry.data, entry.len);
    s->e[s->n++] = (struct lc_sorted){lc_key_prefix(s->key, key, s->key->n_parts), to};
  }
  lc_buf_free(&scratch.spill);
  return to != NULL;
}

/* By prefixes, eleven bits at a time from the lowest; digits that all have alike are passed over. false: out of memory. */
static bool sort_prefixes(struct lc_sorter *s) {
  enum { BITS = 11, DIGITS = (64 + BITS - 1) / BITS, VALUES = 1 << BITS };
  size_t (*count)[VALUES] = lc_alloc_zero(DIGITS, sizeof *count);
  struct lc_sorted *other = lc_alloc(s->n * sizeof *other);
  if (!count || !other) {
    lc_free(count);
    lc_free(other);
    return false;
  }
  for (size_t i = 0; i < s->n; i++)
    for (unsigned d = 0; d < DIGITS; d++) count[d][s->e[i].prefix >> d * BITS & (VALUES - 1)]++;
  for (unsigned d = 0; d < DIGITS; d++) {
    if (count[d][s->e[0].prefix >> d * BITS & (VALUES - 1)] == s->n) continue;
    size_t sum = 0;
    for (unsigned v = 0; v < VALUES; v++) {
      size_t n = count[d][v];
      count[d][v] = sum;
      sum += n;
    }
    for (size_t i = 0; i < s->n; i++) other[count[d][s->e[i].prefix >> d * BITS & (VALUES - 1)]++] = s->e[i];
    struct lc_sorted *swap = s->e;
    s->e = other;
    other = swap;
    s->cap = s->n;
  }
  lc_free(count);
  lc_free(other);
  return true;
}

static int compare_entries(const void *a, const void *b, void *key) { return entries_compare(key, sorted_entry(a).data, sorted_entry(b).data); }

enum lc_tree_result lc_sorter_build(struct lc_sorter *s, struct lc_tree *t, struct lc_slice *duplicate) {
  if (s->n == 0) return LC_TREE_DONE;
  if (!sort_prefixes(s)) return LC_TREE_NOMEM;
  struct lc_bulk b;
  lc_bulk_begin(&b, t);
  for (size_t i = 0; i < s->n;) {
    size_t end = i + 1;
    while (end < s->n && s->e[end].prefix == s->e[i].prefix) end++;
    if (end > i + 1 && !s->key->is_exact) qsort_r(s->e + i, end - i, sizeof *s->e, compare_entries, (void *)(uintptr_t)s->key);
    for (; i < end; i++) {
      enum lc_tree_result r = lc_bulk_add(&b, sorted_entry(&s->e[i]));
      if (r == LC_TREE_DONE) continue;
      if (r == LC_TREE_DUPLICATE && duplicate) *duplicate = sorted_entry(&s->e[i]);
      lc_bulk_abort(&b);
      return r;
    }
  }
  lc_bulk_finish(&b);
  return LC_TREE_DONE;
}
