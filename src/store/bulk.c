/* Owns: building trees from many entries at once: in order, or sorted first. Callers: engine/ (creating an index, recovery, restoring a snapshot). */
#include "store_internal.h"
#include <stdlib.h>
#include <sys/mman.h>

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

enum { MAX_RECORD_ENTRY_BYTES = 40, FIRST_CHUNK_BYTES = 16 << 10, MAX_CHUNK_BYTES = 4 << 20, DIGIT_BITS = 11, MAX_DIGITS = (64 + DIGIT_BITS - 1) / DIGIT_BITS, AHEAD = 8 };

void lc_sorter_init(struct lc_sorter *s, const struct lc_key_spec *key) {
  uint32_t size = key->entry_type->static_size_bytes;
  *s = (struct lc_sorter){.key = key, .entry_bytes = size <= MAX_RECORD_ENTRY_BYTES ? size : 0};
  s->record_bytes = 8 + (s->entry_bytes ? (s->entry_bytes + 7) / 8 * 8 : (uint32_t)sizeof(uint8_t *));
}
static void chunks_free(struct lc_sorter *s) {
  for (uint32_t i = 0; i < s->n_chunks; i++) lc_free(s->chunks[i]);
  lc_free(s->chunks);
  s->chunks = NULL;
  s->n_chunks = 0;
}
void lc_sorter_free(struct lc_sorter *s) {
  chunks_free(s);
  lc_arena_free(&s->arena);
  *s = (struct lc_sorter){0};
}

/* Memory that is gone through in every order: huge pages where it has some. */
static uint8_t *records_new(size_t bytes) {
  enum { HUGE_PAGE = 2 << 20 };
  uint8_t *p = lc_alloc(bytes);
  size_t skip = (HUGE_PAGE - (uintptr_t)p % HUGE_PAGE) % HUGE_PAGE;
  if (p && bytes > skip + HUGE_PAGE) madvise(p + skip, (bytes - skip) / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
  return p;
}
static size_t chunk_bytes(const struct lc_sorter *s, uint32_t i) {
  size_t n = i < 8 ? (size_t)FIRST_CHUNK_BYTES << i : MAX_CHUNK_BYTES;
  return n / s->record_bytes * s->record_bytes;
}
static bool grow(struct lc_sorter *s) {
  if (s->n_chunks == s->cap_chunks) {
    uint32_t cap = s->cap_chunks ? s->cap_chunks * 2 : 16;
    uint8_t **p = lc_realloc(s->chunks, cap * sizeof(uint8_t *));
    if (!p) return false;
    s->chunks = p;
    s->cap_chunks = cap;
  }
  size_t bytes = chunk_bytes(s, s->n_chunks);
  uint8_t *chunk = records_new(bytes);
  if (!chunk) return false;
  s->chunks[s->n_chunks++] = chunk;
  s->at = chunk;
  s->end = chunk + bytes;
  return true;
}

static uint64_t record_prefix(const uint8_t *record) {
  uint64_t v;
  memcpy(&v, record, 8);
  return v;
}
/* An entry in the arena follows its length. */
static struct lc_slice record_entry(const struct lc_sorter *s, const uint8_t *record) {
  if (s->entry_bytes) return lc_slice(record + 8, s->entry_bytes);
  const uint8_t *p;
  uint32_t len;
  memcpy(&p, record + 8, sizeof p);
  memcpy(&len, p, 4);
  return lc_slice(p + 4, len);
}

/* Prefix of any entry; false: out of memory. */
static bool prefix_of(const struct lc_key_spec *k, struct lc_slice entry, uint64_t *prefix) {
  if (k->steps_in_entry) return *prefix = steps_prefix(k, entry.data), true;
  struct key_scratch scratch;
  scratch.spill = (struct lc_buf){0};
  const uint8_t *key = entry_key(k, entry, &scratch);
  if (key) *prefix = lc_key_prefix(k, key, k->n_parts);
  lc_buf_free(&scratch.spill);
  return key != NULL;
}

bool lc_sorter_add(struct lc_sorter *s, struct lc_slice entry) {
  uint64_t prefix;
  if (entry.len > LC_ENTRY_MAX_BYTES || (s->at == s->end && !grow(s)) || !prefix_of(s->key, entry, &prefix)) return false;
  memcpy(s->at, &prefix, 8);
  if (s->entry_bytes) {
    memcpy(s->at + 8, entry.data, s->entry_bytes);
  } else {
    uint8_t *to = lc_arena_alloc(&s->arena, 4 + entry.len);
    uint32_t len = (uint32_t)entry.len;
    if (!to) return false;
    memcpy(to, &len, 4);
    memcpy(to + 4, entry.data, entry.len);
    memcpy(s->at + 8, &to, sizeof to);
  }
  s->at += s->record_bytes;
  if (s->n++ == 0) s->first = prefix;
  else s->unordered |= prefix <= s->last;
  s->last = prefix;
  s->differing |= prefix ^ s->first;
  return true;
}

/* One pass: records of [from, from + n) to the places that `places` has for the values of a digit. */
static inline __attribute__((always_inline)) void scatter(uint8_t *to, size_t *places, const uint8_t *from, size_t n, uint32_t size, unsigned shift, uint64_t mask) {
  for (size_t i = 0; i < n; i++, from += size) memcpy(to + places[record_prefix(from) >> shift & mask]++ * size, from, size);
}
static void scatter_records(uint8_t *to, size_t *places, const uint8_t *from, size_t n, uint32_t size, unsigned shift, uint64_t mask) {
  switch (size) { /* copying by a constant size takes a third of the time */
  case 16: scatter(to, places, from, n, 16, shift, mask); break;
  case 24: scatter(to, places, from, n, 24, shift, mask); break;
  case 32: scatter(to, places, from, n, 32, shift, mask); break;
  case 40: scatter(to, places, from, n, 40, shift, mask); break;
  default: scatter(to, places, from, n, 48, shift, mask); break;
  }
}
_Static_assert(8 + MAX_RECORD_ENTRY_BYTES == 48, "the sizes of records");

/* Brings all records together in order of their prefixes, digit by digit from the lowest, over those bits in which they differ. NULL: out of memory. */
static uint8_t *sort_prefixes(struct lc_sorter *s) {
  unsigned low = s->differing ? (unsigned)__builtin_ctzll(s->differing) : 0, span = s->differing ? 64 - low - (unsigned)__builtin_clzll(s->differing) : 1;
  unsigned digits = (span + DIGIT_BITS - 1) / DIGIT_BITS, bits = (span + digits - 1) / digits;
  uint64_t mask = ((uint64_t)1 << bits) - 1;
  size_t(*places)[1 << DIGIT_BITS] = lc_alloc_zero(digits, sizeof *places), bytes = s->n * s->record_bytes;
  uint8_t *to = records_new(bytes), *other = NULL;
  bool ok = places && to;
  for (uint32_t c = 0; ok && c < s->n_chunks; c++) {
    const uint8_t *end = c + 1 == s->n_chunks ? s->at : s->chunks[c] + chunk_bytes(s, c);
    for (const uint8_t *r = s->chunks[c]; r < end; r += s->record_bytes)
      for (unsigned d = 0; d < digits; d++) places[d][record_prefix(r) >> (low + d * bits) & mask]++;
  }
  for (unsigned d = 0; ok && d < digits; d++) {
    size_t sum = 0;
    for (uint64_t v = 0; v <= mask; v++) {
      size_t n = places[d][v];
      places[d][v] = sum;
      sum += n;
    }
    if (d == 0) {
      for (uint32_t c = 0; c < s->n_chunks; c++) {
        size_t n = (c + 1 == s->n_chunks ? (size_t)(s->at - s->chunks[c]) : chunk_bytes(s, c)) / s->record_bytes;
        scatter_records(to, places[0], s->chunks[c], n, s->record_bytes, low, mask);
      }
      chunks_free(s);
      s->at = s->end = NULL;
      continue;
    }
    if (!other) ok = (other = records_new(bytes)) != NULL;
    if (!ok) break;
    scatter_records(other, places[d], to, s->n, s->record_bytes, low + d * bits, mask);
    uint8_t *swap = to;
    to = other;
    other = swap;
  }
  lc_free(places);
  lc_free(other);
  if (ok) return to;
  lc_free(to);
  return NULL;
}

static int compare_records(const void *a, const void *b, void *sorter) {
  const struct lc_sorter *s = sorter;
  return entries_compare(s->key, record_entry(s, a).data, record_entry(s, b).data);
}

/* Adds n records in order of their prefixes. */
static enum lc_tree_result build_from(struct lc_sorter *s, struct lc_tree *t, uint8_t *records, size_t n, struct lc_slice *duplicate) {
  size_t size = s->record_bytes;
  uint8_t *end = records + n * size;
  for (uint8_t *r = records; r < end;) {
    uint8_t *behind = r + size;
    while (behind < end && record_prefix(behind) == record_prefix(r)) behind += size;
    if (behind > r + size && !s->key->is_exact) qsort_r(r, (size_t)(behind - r) / size, size, compare_records, s);
    for (; r < behind; r += size) {
      const uint8_t *soon;
      if (!s->entry_bytes && end - r > (ptrdiff_t)(AHEAD * size)) {
        memcpy(&soon, r + AHEAD * size + 8, sizeof soon);
        __builtin_prefetch(soon);
      }
      enum lc_tree_result result = tree_append(t, record_entry(s, r));
      if (result == LC_TREE_DONE) continue;
      if (result == LC_TREE_DUPLICATE && duplicate) *duplicate = lc_arena_copy(&s->arena, record_entry(s, r));
      return result;
    }
  }
  return LC_TREE_DONE;
}

enum lc_tree_result lc_sorter_build(struct lc_sorter *s, struct lc_tree *t, struct lc_slice *duplicate) {
  enum lc_tree_result result = LC_TREE_DONE;
  struct lc_bulk b;
  lc_bulk_begin(&b, t);
  if (s->unordered) {
    uint8_t *records = sort_prefixes(s);
    result = records ? build_from(s, t, records, s->n, duplicate) : LC_TREE_NOMEM;
    lc_free(records);
  } else {
    for (uint32_t c = 0; result == LC_TREE_DONE && c < s->n_chunks; c++)
      result = build_from(s, t, s->chunks[c], (c + 1 == s->n_chunks ? (size_t)(s->at - s->chunks[c]) : chunk_bytes(s, c)) / s->record_bytes, duplicate);
  }
  if (result == LC_TREE_DONE) lc_bulk_finish(&b);
  else lc_bulk_abort(&b);
  return result;
}
