/* The trees against a naive model: random entry types and keys, short and long, inserts, replacements, removals, clears, bulk builds, seeks in both
 * directions, batches, and snapshots that are held over changes, also by other threads; every allocation failing in turn; accounts and limits.
 * STEPS and SEED repeat or lengthen the run against the model. */
#include "store/store.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

static uint64_t seed = 1;
static uint32_t rnd(uint32_t n) {
  uint64_t z = seed += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return (uint32_t)((z ^ z >> 31) % n);
}

/* ---- random types and values ---- */

static struct lc_arena arena;
static const struct lc_type *random_type(int depth) {
  switch (rnd(depth > 1 ? 11 : 15)) {
  case 0: return lc_type_primitive(LC_T_U32);
  case 1: return lc_type_primitive(LC_T_U64);
  case 2:
  case 3: return lc_type_primitive(LC_T_STRING);
  case 4: return lc_type_primitive((enum lc_type_kind)(LC_T_BOOL + (int)rnd(9)));
  case 5: return lc_type_primitive((enum lc_type_kind)(LC_T_I128 + (int)rnd(4)));
  case 6: return rnd(2) ? lc_type_identity() : lc_type_connection_id();
  case 7: return lc_type_timestamp();
  case 8: return lc_type_new_array(&arena, lc_type_primitive(LC_T_U8));
  case 9: {
    struct lc_type_field f[3] = {{.has_name = false}};
    for (int i = 0; i < 3; i++) f[i].type = lc_type_new_product(&arena, 0, NULL);
    return lc_type_new_sum(&arena, 3, f);
  }
  case 10: return lc_type_primitive(rnd(2) ? LC_T_F32 : LC_T_F64);
  case 11: return lc_type_new_option(&arena, random_type(depth + 1));
  case 12: return lc_type_new_array(&arena, random_type(depth + 1));
  case 13: {
    struct lc_type_field f[2] = {{.type = random_type(depth + 1)}, {.type = random_type(depth + 1)}};
    return lc_type_new_sum(&arena, 2, f);
  }
  default: {
    struct lc_type_field f[2] = {{.type = random_type(depth + 1)}, {.type = random_type(depth + 1)}};
    return lc_type_new_product(&arena, 2, f);
  }
  }
}
/* Values from a small domain with the extremes in it, so that keys collide and prefixes are equal; strings now and then up to `longest`. */
static uint32_t longest = 14;
static void random_value(const struct lc_type *t, struct lc_buf *b, uint32_t domain) {
  switch (t->kind) {
  case LC_T_BOOL: lc_buf_u8(b, (uint8_t)rnd(2)); return;
  case LC_T_STRING:
  case LC_T_ARRAY: {
    bool bytes = t->kind == LC_T_STRING || t->elem->kind == LC_T_U8;
    uint32_t kind = rnd(12), n = kind < 7 ? rnd(4) : kind < 11 || !bytes ? rnd(14) : rnd(longest), same = bytes && rnd(3) == 0 ? n - n / 8 : 0;
    lc_buf_u32(b, n);
    for (uint32_t i = 0; i < n; i++) {
      if (bytes) lc_buf_u8(b, (uint8_t)(i < same ? 'a' : "abz"[rnd(3)]));
      else random_value(t->elem, b, 3);
    }
    return;
  }
  case LC_T_SUM: {
    uint32_t tag = rnd(t->n_fields);
    lc_buf_u8(b, (uint8_t)tag);
    random_value(t->fields[tag].type, b, domain);
    return;
  }
  case LC_T_PRODUCT:
    for (uint32_t i = 0; i < t->n_fields; i++) random_value(t->fields[i].type, b, domain);
    return;
  case LC_T_F32: {
    static const float special[] = {0.0f, -0.0f, __builtin_inff(), -__builtin_inff(), __builtin_nanf(""), -__builtin_nanf("1"), 1e-45f, -1e-45f, 3.5f};
    float v = rnd(3) ? special[rnd(9)] : (float)rnd(domain) - (float)domain / 2;
    lc_buf_append(b, &v, 4);
    return;
  }
  case LC_T_F64: {
    static const double special[] = {0.0, -0.0, __builtin_inf(), -__builtin_inf(), __builtin_nan(""), -__builtin_nan("7"), 5e-324, -5e-324, 1e300};
    double v = rnd(3) ? special[rnd(9)] : (double)rnd(domain) - domain / 2;
    lc_buf_append(b, &v, 8);
    return;
  }
  default: {
    uint8_t v[32] = {0};
    uint32_t x = rnd(domain);
    memcpy(v, &x, 4);
    if (rnd(8) == 0) memset(v, rnd(2) ? 0xff : 0, 32);
    if (rnd(8) == 0) v[t->static_size_bytes - 1] ^= 0x80;
    if (t->static_size_bytes >= 16 && rnd(2)) v[8] = (uint8_t)rnd(3);
    lc_buf_append(b, v, t->static_size_bytes);
  }
  }
}
/* A spec over random columns. */
static struct lc_key_spec random_spec(uint32_t max_columns) {
  uint32_t n_columns = 1 + rnd(max_columns), n_parts = 1 + rnd(n_columns < 3 ? n_columns : 3);
  struct lc_type_field f[4] = {{.has_name = false}};
  for (uint32_t i = 0; i < n_columns; i++) f[i].type = random_type(0);
  struct lc_key_spec spec = {.entry_type = lc_type_new_product(&arena, n_columns, f), .n_parts = n_parts};
  uint16_t order[4] = {0, 1, 2, 3};
  for (uint32_t i = 0; rnd(2) && i < n_columns; i++) {
    uint32_t j = rnd(n_columns);
    uint16_t x = order[i];
    order[i] = order[j];
    order[j] = x;
  }
  memcpy(spec.columns, order, n_parts * sizeof *order);
  return spec;
}

/* ---- the model: entries sorted by key ---- */

struct model { struct lc_slice *e; uint32_t n, cap; };
static int compare(const struct lc_key_spec *s, const uint8_t *a, const uint8_t *b, uint32_t n_parts) {
  for (uint32_t i = 0; i < n_parts; i++) {
    int c = lc_bsatn_compare(s->entry_type->fields[s->columns[i]].type, lc_row_column(s->entry_type, a, s->columns[i]), lc_row_column(s->entry_type, b, s->columns[i]));
    if (c) return c;
  }
  return 0;
}
static uint32_t place(const struct model *m, const struct lc_key_spec *s, const uint8_t *entry, uint32_t n_parts, bool after) {
  uint32_t low = 0, high = m->n;
  while (low < high) {
    uint32_t mid = (low + high) / 2;
    int c = compare(s, m->e[mid].data, entry, n_parts);
    if (c > 0 || (c == 0 && !after)) high = mid;
    else low = mid + 1;
  }
  return low;
}
static struct lc_slice copy(struct lc_slice s) {
  uint8_t *p = malloc(s.len + 1);
  memcpy(p, s.data, s.len);
  return lc_slice(p, s.len);
}
static void model_insert(struct model *m, uint32_t at, struct lc_slice e) {
  if (m->n == m->cap) m->e = realloc(m->e, (m->cap = m->cap * 2 + 16) * sizeof *m->e);
  memmove(m->e + at + 1, m->e + at, (m->n - at) * sizeof *m->e);
  m->e[at] = copy(e);
  m->n++;
}
static void model_remove(struct model *m, uint32_t at) {
  free((void *)(uintptr_t)m->e[at].data);
  memmove(m->e + at, m->e + at + 1, (m->n - at - 1) * sizeof *m->e);
  m->n--;
}
static struct model model_copy(const struct model *m) {
  struct model c = {.e = calloc(m->n + 1, sizeof *c.e), .n = m->n, .cap = m->n + 1};
  for (uint32_t i = 0; i < m->n; i++) c.e[i] = copy(m->e[i]);
  return c;
}
static void model_free(struct model *m) {
  while (m->n) model_remove(m, m->n - 1);
  free(m->e);
}

static void same(const struct lc_tree *t, const struct lc_snapshot *s, const struct model *m) {
  struct lc_cursor c;
  uint32_t i = 0;
  for (lc_cursor_seek(&c, t, s, NULL, 0, false); lc_cursor_valid(&c); lc_cursor_next(&c), i++) {
    assert_true(i < m->n);
    assert_true(lc_slice_eq(lc_cursor_entry(&c), m->e[i]));
  }
  assert_int_equal(i, m->n);
  assert_int_equal(lc_snapshot_count(t, s), m->n);
  for (lc_cursor_seek_last(&c, t, s, NULL, 0, false); lc_cursor_valid(&c); lc_cursor_prev(&c)) assert_true(lc_slice_eq(lc_cursor_entry(&c), m->e[--i]));
  assert_int_equal(i, 0);
}

/* Fills an empty tree with the model's entries in bulk, as they are or from any order. */
static void build(struct lc_tree *t, const struct model *m) {
  if (rnd(2)) {
    struct lc_bulk b;
    lc_bulk_begin(&b, t);
    for (uint32_t i = 0; i < m->n; i++) {
      assert_int_equal(lc_bulk_add(&b, m->e[i]), LC_TREE_DONE);
      if (rnd(8) == 0) assert_int_equal(lc_bulk_add(&b, m->e[i]), LC_TREE_DUPLICATE);
      if (i && rnd(8) == 0) assert_int_equal(lc_bulk_add(&b, m->e[rnd(i)]), LC_TREE_UNORDERED);
    }
    lc_bulk_finish(&b);
    return;
  }
  struct lc_sorter s;
  lc_sorter_init(&s, &t->key);
  for (uint32_t i = 0; i < m->n; i++) assert_true(lc_sorter_add(&s, m->e[(i * 7919ull + 5) % m->n]));
  bool all = m->n == 0 || m->n % 7919; /* else that was not a permutation */
  if (m->n && rnd(2)) {
    struct lc_slice again = m->e[rnd(m->n)], duplicate = {0};
    assert_true(lc_sorter_add(&s, again));
    assert_int_equal(lc_sorter_build(&s, t, &duplicate), LC_TREE_DUPLICATE);
    if (all) assert_int_equal(compare(&t->key, duplicate.data, again.data, t->key.n_parts), 0);
    assert_int_equal(lc_tree_count(t), 0);
    lc_sorter_free(&s);
    build(t, m);
    return;
  }
  if (all) assert_int_equal(lc_sorter_build(&s, t, NULL), LC_TREE_DONE);
  lc_sorter_free(&s);
  if (!all) build(t, m);
}

/* lc_tree_put_batch: new entries, ones that are there, ones that come twice, ascending ones. */
static void put_several(struct lc_tree *t, struct model *m, uint32_t domain, uint32_t step) {
  struct lc_buf b[LC_TREE_BATCH] = {{0}};
  const uint8_t *p[LC_TREE_BATCH];
  uint32_t n = rnd(LC_TREE_BATCH + 1), kind = rnd(4);
  for (uint32_t i = 0; i < n; i++) {
    random_value(t->key.entry_type, &b[i], domain);
    if (kind && m->n && rnd(3)) lc_buf_clear(&b[i]), lc_buf_slice_append(&b[i], m->e[rnd(m->n)]);
    if (kind == 1 && i && rnd(2)) lc_buf_clear(&b[i]), lc_buf_slice_append(&b[i], lc_buf_slice(&b[i - 1]));
    if (kind == 0 && t->is_number && t->key.steps[0].bytes >= 4) memcpy(b[i].data + t->key.steps[0].entry_offset, &(uint32_t){step * 8 + i}, 4);
    p[i] = b[i].data;
  }
  assert_int_equal(lc_tree_put_batch(t, p, n), LC_TREE_DONE);
  for (uint32_t i = 0; i < n; i++) {
    uint32_t at = place(m, &t->key, p[i], t->key.n_parts, false);
    if (at < m->n && compare(&t->key, m->e[at].data, p[i], t->key.n_parts) == 0) model_remove(m, at);
    model_insert(m, at, lc_buf_slice(&b[i]));
  }
  assert_int_equal(lc_tree_count(t), m->n);
  for (uint32_t i = 0; i < n; i++) lc_buf_free(&b[i]);
}

enum { HELD = 5, TREES = 2 };
static void run(uint32_t steps) {
  struct lc_store *store = lc_store_new();
  struct lc_tree trees[TREES];
  struct model models[TREES] = {{0}};
  struct { struct lc_snapshot *s; struct model m[TREES]; } held[HELD] = {{0}};
  static const uint32_t lengths[] = {14, 14, 60, 300, 700, 4000};
  longest = lengths[rnd(6)];
  for (int k = 0; k < TREES; k++) {
    struct lc_key_spec spec = random_spec(4);
    assert_int_equal(lc_tree_init(&trees[k], store, &spec), LC_OK);
  }
  uint32_t domain = 2 + rnd(3000);
  struct lc_buf entry = {0}, key = {0};
  for (uint32_t step = 0; step < steps; step++) {
    int k = (int)rnd(TREES);
    if (trees[k].entry_size_bytes != LC_SIZE_DYNAMIC && rnd(10) == 0) put_several(&trees[k], &models[k], domain, step);
    struct lc_tree *t = &trees[k];
    struct model *m = &models[k];
    lc_buf_clear(&entry);
    lc_buf_clear(&key);
    random_value(t->key.entry_type, &entry, domain);
    bool ascending = (step / 500) % 3 == 0 && m->n && t->is_number && t->key.steps[0].bytes >= 4; /* runs of ascending keys */
    if (ascending) memcpy(entry.data + t->key.steps[0].entry_offset, &step, 4);
    if (m->n && rnd(3) == 0) { /* an entry that is there */
      lc_buf_clear(&entry);
      lc_buf_slice_append(&entry, m->e[rnd(m->n)]);
    }
    lc_key_extract(&t->key, entry.data, &key);
    uint32_t at = place(m, &t->key, entry.data, t->key.n_parts, false);
    bool there = at < m->n && compare(&t->key, m->e[at].data, entry.data, t->key.n_parts) == 0;
    struct lc_slice found = lc_tree_find(t, key.data), existing = {0};
    assert_true(there ? lc_slice_eq(found, m->e[at]) : found.data == NULL);
    uint32_t action = rnd(10), shrink = (step / 2000) % 2;
    if (action < 5 - 2 * shrink) {
      assert_int_equal(lc_tree_insert(t, lc_buf_slice(&entry), &existing), there ? LC_TREE_DUPLICATE : LC_TREE_DONE);
      if (there) assert_true(lc_slice_eq(existing, m->e[at]));
      else model_insert(m, at, lc_buf_slice(&entry));
    } else if (action < 7 - shrink) {
      struct lc_place where;
      if (rnd(4) == 0) {
        assert_int_equal(lc_tree_put(t, lc_buf_slice(&entry)), LC_TREE_DONE);
        if (!there) model_insert(m, at, lc_buf_slice(&entry));
      } else if (rnd(2)) {
        found = lc_tree_find_place(t, key.data, &where);
        assert_true(there ? lc_slice_eq(found, m->e[at]) : found.data == NULL);
        if (there) assert_int_equal(lc_tree_replace_at(t, where, lc_buf_slice(&entry)), LC_TREE_DONE);
      } else {
        assert_int_equal(lc_tree_replace(t, lc_buf_slice(&entry)), there ? LC_TREE_DONE : LC_TREE_ABSENT);
      }
      if (there) model_remove(m, at), model_insert(m, at, lc_buf_slice(&entry));
    } else if (rnd(2000) == 0) {
      lc_tree_clear(t);
      if (rnd(2)) {
        build(t, m);
      } else {
        while (m->n) model_remove(m, m->n - 1);
      }
    } else {
      assert_int_equal(lc_tree_remove(t, key.data), there ? LC_TREE_DONE : LC_TREE_ABSENT);
      if (there) model_remove(m, at);
    }
    assert_int_equal(lc_tree_count(t), m->n);
    uint32_t parts = 1 + rnd(t->key.n_parts);
    bool after = rnd(2);
    struct lc_cursor c;
    at = place(m, &t->key, entry.data, parts, after);
    lc_cursor_seek(&c, t, NULL, key.data, parts, after);
    for (uint32_t i = at; i < at + 3 && i < m->n; i++, lc_cursor_next(&c)) assert_true(lc_cursor_valid(&c) && lc_slice_eq(lc_cursor_entry(&c), m->e[i]));
    if (at + 3 > m->n) assert_false(lc_cursor_valid(&c));
    lc_cursor_seek_last(&c, t, NULL, key.data, parts, after);
    for (uint32_t i = at; i > 0 && i + 3 > at; i--, lc_cursor_prev(&c)) assert_true(lc_cursor_valid(&c) && lc_slice_eq(lc_cursor_entry(&c), m->e[i - 1]));
    if (at < 3) assert_false(lc_cursor_valid(&c));
    if (m->n && rnd(50) == 0) {
      struct lc_buf keys[LC_TREE_BATCH] = {{0}};
      const uint8_t *p[LC_TREE_BATCH];
      struct lc_slice out[LC_TREE_BATCH], want[LC_TREE_BATCH];
      for (int i = 0; i < LC_TREE_BATCH; i++) {
        want[i] = m->e[rnd(m->n)];
        lc_key_extract(&t->key, want[i].data, &keys[i]);
        p[i] = keys[i].data;
      }
      lc_tree_find_batch(t, p, LC_TREE_BATCH, out);
      for (int i = 0; i < LC_TREE_BATCH; i++) {
        assert_true(lc_slice_eq(out[i], want[i]));
        lc_buf_free(&keys[i]);
      }
    }
    if (rnd(200) == 0) { /* snapshots come and go in any order */
      int h = (int)rnd(HELD);
      if (held[h].s) {
        for (int i = 0; i < TREES; i++) {
          same(&trees[i], held[h].s, &held[h].m[i]);
          model_free(&held[h].m[i]);
        }
        lc_snapshot_release(held[h].s);
        held[h].s = NULL;
      } else {
        held[h].s = lc_snapshot_take(store);
        for (int i = 0; i < TREES; i++) held[h].m[i] = model_copy(&models[i]);
      }
    }
    if (rnd(20) == 0) lc_store_reclaim(store, rnd(30));
    if (rnd(400) == 0) {
      lc_tree_check(t);
      same(t, NULL, m);
    }
  }
  for (int h = 0; h < HELD; h++) {
    if (!held[h].s) continue;
    for (int i = 0; i < TREES; i++) {
      same(&trees[i], held[h].s, &held[h].m[i]);
      model_free(&held[h].m[i]);
    }
    lc_snapshot_release(held[h].s);
  }
  while (lc_store_reclaim(store, 7)) {}
  for (int k = 0; k < TREES; k++) {
    lc_tree_check(&trees[k]);
    same(&trees[k], NULL, &models[k]);
    lc_tree_clear(&trees[k]);
    assert_int_equal(trees[k].memory_bytes, 0);
    lc_tree_free(&trees[k]);
    model_free(&models[k]);
  }
  lc_store_free(store);
  lc_buf_free(&entry);
  lc_buf_free(&key);
  lc_arena_free(&arena);
}

static void model(void **state) {
  (void)state;
  const char *s = getenv("SEED"), *n = getenv("STEPS");
  uint64_t first = s ? strtoull(s, NULL, 0) : 1;
  uint32_t steps = n ? (uint32_t)atoi(n) : 240000;
  for (uint32_t i = 0; i * 6000 < steps; i++) {
    seed = first + i;
    if (getenv("VERBOSE")) fprintf(stderr, "SEED=%llu STEPS=6000\n", (unsigned long long)seed);
    run(6000);
  }
}

/* Every comparator and every prefix against lc_bsatn_compare: prefixes never contradict the order of keys, whole or in part. */
static void check_order(struct lc_key_spec *s, uint32_t domain) {
  struct lc_buf a = {0}, b = {0}, ka = {0}, kb = {0};
  random_value(s->entry_type, &a, domain);
  random_value(s->entry_type, &b, domain);
  lc_key_extract(s, a.data, &ka);
  lc_key_extract(s, b.data, &kb);
  assert_int_equal(lc_key_len(s, ka.data, s->n_parts), ka.len);
  for (uint32_t parts = 1; parts <= s->n_parts; parts++) {
    int c = compare(s, a.data, b.data, parts), got = lc_key_compare_entry(s, a.data, kb.data, parts);
    assert_int_equal((got > 0) - (got < 0), (c > 0) - (c < 0));
    uint64_t pa = lc_key_prefix(s, ka.data, parts), pb = lc_key_prefix(s, kb.data, parts);
    if (c == 0) assert_true(pa == pb);
    if (pa < pb) assert_true(c < 0);
    if (pa > pb) assert_true(c > 0);
    if (parts == s->n_parts && s->is_exact && c) assert_true(pa != pb);
  }
  lc_buf_free(&a);
  lc_buf_free(&b);
  lc_buf_free(&ka);
  lc_buf_free(&kb);
}
static void order(void **state) {
  (void)state;
  seed = 77;
  longest = 40;
  for (int round = 0; round < 6000; round++) {
    struct lc_key_spec s = random_spec(4);
    lc_key_spec_init(&s);
    for (int i = 0; i < 5; i++) check_order(&s, i % 2 ? 5 : 3000);
    if (round % 100 == 0) lc_arena_reset(&arena);
  }
  /* each primitive alone and behind another column, many values */
  for (int kind = LC_T_STRING; kind <= LC_T_F64; kind++)
    for (uint16_t behind = 0; behind < 2; behind++) {
      struct lc_type_field f[2] = {{.type = lc_type_primitive(behind ? LC_T_U16 : (enum lc_type_kind)kind)}, {.type = lc_type_primitive((enum lc_type_kind)kind)}};
      struct lc_key_spec s = {.entry_type = lc_type_new_product(&arena, 2, f), .n_parts = 1, .columns = {behind}};
      lc_key_spec_init(&s);
      assert_true(s.is_exact == (kind != LC_T_STRING && f[1].type->static_size_bytes <= 8));
      for (int i = 0; i < 2000; i++) check_order(&s, i % 2 ? 5 : 3000);
    }
  lc_arena_free(&arena);
}

/* ---- allocations fail, one after the other ---- */

static uint32_t until_failure;
static bool counts_down(size_t size) {
  (void)size;
  return until_failure-- == 0;
}
static bool always(size_t size) {
  (void)size;
  return true;
}
static void no_memory(void **state) {
  (void)state;
  uint64_t failures = 0;
  for (uint64_t round = 0; round < 40; round++) {
    seed = 900 + round;
    longest = round % 2 ? 1500 : 40;
    struct lc_store *store = lc_store_new();
    struct lc_tree t;
    struct model m = {0}, kept = {0};
    struct lc_key_spec spec = random_spec(3);
    for (until_failure = 0, lc_alloc_may_fail = counts_down; lc_tree_init(&t, store, &spec) != LC_OK; until_failure = (uint32_t)++failures % 8) assert_null(t.store);
    lc_alloc_may_fail = NULL;
    struct lc_snapshot *held = NULL;
    struct lc_buf entry = {0}, key = {0};
    for (int step = 0; step < 400; step++) {
      lc_buf_clear(&entry);
      lc_buf_clear(&key);
      if (m.n && rnd(4) == 0) lc_buf_slice_append(&entry, m.e[rnd(m.n)]);
      else random_value(t.key.entry_type, &entry, 3000);
      lc_key_extract(&t.key, entry.data, &key);
      uint32_t at = place(&m, &t.key, entry.data, t.key.n_parts, false), action = rnd(8);
      bool there = at < m.n && compare(&t.key, m.e[at].data, entry.data, t.key.n_parts) == 0;
      if (action == 0 && there) { /* what is taken away needs memory only where a snapshot is held */
        enum lc_tree_result taken = LC_TREE_NOMEM;
        lc_alloc_may_fail = always;
        taken = lc_tree_remove(&t, key.data);
        lc_alloc_may_fail = NULL;
        if (taken == LC_TREE_NOMEM) {
          assert_non_null(held);
          failures++;
          lc_tree_check(&t);
          same(&t, NULL, &m);
          taken = lc_tree_remove(&t, key.data);
        }
        assert_int_equal(taken, LC_TREE_DONE);
        model_remove(&m, at);
        continue;
      }
      enum lc_tree_result r;
      for (uint32_t nth = 0;; nth++) {
        until_failure = nth;
        lc_alloc_may_fail = counts_down;
        r = there ? lc_tree_replace(&t, lc_buf_slice(&entry)) : lc_tree_insert(&t, lc_buf_slice(&entry), NULL);
        lc_alloc_may_fail = NULL;
        if (r != LC_TREE_NOMEM) break;
        failures++;
        lc_tree_check(&t);
        same(&t, NULL, &m);
      }
      assert_int_equal(r, LC_TREE_DONE);
      if (there) model_remove(&m, at);
      model_insert(&m, at, lc_buf_slice(&entry));
      if (step == 200) {
        until_failure = 0;
        lc_alloc_may_fail = counts_down;
        assert_null(lc_snapshot_take(store));
        lc_alloc_may_fail = NULL;
        held = lc_snapshot_take(store);
        kept = model_copy(&m);
      }
    }
    lc_tree_check(&t);
    same(&t, NULL, &m);
    same(&t, held, &kept);
    lc_tree_clear(&t);
    for (uint32_t nth = 0;; nth++) { /* a bulk build leaves nothing behind */
      struct lc_sorter s;
      lc_sorter_init(&s, &t.key);
      bool ok = true;
      until_failure = nth;
      lc_alloc_may_fail = counts_down;
      for (uint32_t i = m.n; ok && i-- > 0;) ok = lc_sorter_add(&s, m.e[i]);
      ok = ok && lc_sorter_build(&s, &t, NULL) == LC_TREE_DONE;
      lc_alloc_may_fail = NULL;
      lc_sorter_free(&s);
      if (ok) break;
      failures++;
      assert_int_equal(lc_tree_count(&t), 0);
      assert_int_equal(t.memory_bytes, 0);
    }
    same(&t, NULL, &m);
    same(&t, held, &kept);
    lc_snapshot_release(held);
    model_free(&m);
    model_free(&kept);
    lc_tree_free(&t);
    lc_store_free(store);
    lc_buf_free(&entry);
    lc_buf_free(&key);
    lc_arena_free(&arena);
  }
  assert_true(failures > 400);
}

/* ---- accounts, limits, large entries ---- */

static const struct lc_type *two(const struct lc_type *a, const struct lc_type *b) {
  struct lc_type_field f[2] = {{.type = a}, {.type = b}};
  return lc_type_new_product(&arena, 2, f);
}
static void text_entry(struct lc_buf *b, uint64_t key, uint32_t len, uint8_t fill) {
  lc_buf_clear(b);
  lc_buf_u64(b, key);
  lc_buf_u32(b, len);
  assert_true(lc_buf_reserve(b, len));
  memset(b->data + b->len, fill, len);
  b->len += len;
}
static void large_entries(void **state) {
  (void)state;
  enum { MEGABYTES = 3 << 20 };
  struct lc_store *store = lc_store_new();
  struct lc_tree t;
  struct lc_key_spec spec = {.entry_type = two(lc_type_primitive(LC_T_U64), lc_type_primitive(LC_T_STRING)), .n_parts = 1};
  assert_int_equal(lc_tree_init(&t, store, &spec), LC_OK);
  struct lc_buf e = {0};
  struct lc_store_stats stats;
  for (uint64_t i = 0; i < 8; i++) {
    text_entry(&e, i * 3 % 8, MEGABYTES, (uint8_t)('a' + i * 3 % 8));
    assert_int_equal(lc_tree_insert(&t, lc_buf_slice(&e), NULL), LC_TREE_DONE);
  }
  lc_store_stats(store, &stats);
  assert_true(stats.blob_bytes >= 8ull * MEGABYTES && stats.blob_bytes < 8ull * MEGABYTES + (1 << 20));
  assert_int_equal(stats.live_bytes, t.memory_bytes);
  struct lc_snapshot *held = lc_snapshot_take(store);
  text_entry(&e, 5, 10, 'x'); /* small now, large again, and the old one is the snapshot's */
  assert_int_equal(lc_tree_replace(&t, lc_buf_slice(&e)), LC_TREE_DONE);
  text_entry(&e, 6, MEGABYTES / 2, 'y');
  assert_int_equal(lc_tree_replace(&t, lc_buf_slice(&e)), LC_TREE_DONE);
  uint64_t key = 5;
  assert_int_equal(lc_tree_find(&t, (const uint8_t *)&key).len, 22);
  struct lc_slice old = lc_snapshot_find(&t, held, (const uint8_t *)&key);
  assert_int_equal(old.len, MEGABYTES + 12);
  assert_int_equal(old.data[old.len - 1], 'a' + 5);
  lc_store_stats(store, &stats);
  assert_true(stats.retired_bytes >= 2 * MEGABYTES && stats.snapshots == 1);
  /* no more than the limit, but what undoes a transaction */
  lc_store_set_limit(store, lc_store_memory_bytes(store) + MEGABYTES / 2);
  text_entry(&e, 100, MEGABYTES, 'z');
  assert_int_equal(lc_tree_insert(&t, lc_buf_slice(&e), NULL), LC_TREE_NOMEM);
  assert_int_equal(lc_tree_count(&t), 8);
  lc_store_set_undoing(store, true);
  assert_int_equal(lc_tree_insert(&t, lc_buf_slice(&e), NULL), LC_TREE_DONE);
  lc_store_set_undoing(store, false);
  key = 100;
  assert_int_equal(lc_tree_remove(&t, (const uint8_t *)&key), LC_TREE_DONE);
  uint64_t n = 1000;
  for (enum lc_tree_result r = LC_TREE_DONE; r == LC_TREE_DONE; n++) { /* small entries are bounded as well */
    text_entry(&e, n, 300, 'n');
    r = lc_tree_insert(&t, lc_buf_slice(&e), NULL);
    assert_true(r == LC_TREE_DONE || r == LC_TREE_NOMEM);
    assert_true(n < 1000 + 40 * MEGABYTES / 300);
  }
  lc_tree_check(&t);
  lc_store_set_limit(store, 0);
  lc_snapshot_release(held);
  while (lc_store_reclaim(store, 1)) {}
  lc_store_stats(store, &stats);
  assert_int_equal(stats.retired_bytes, 0);
  lc_tree_clear(&t);
  lc_store_stats(store, &stats);
  assert_int_equal(stats.blob_bytes, 0);
  assert_int_equal(stats.live_bytes, 0);
  lc_tree_free(&t);
  lc_store_free(store);
  lc_buf_free(&e);
  lc_arena_free(&arena);
}

/* Many short snapshots while an old one is held: what only the short ones saw does not stay; a release is done in slices. */
static void short_snapshots(void **state) {
  (void)state;
  enum { N = 2000, ROUNDS = 30000 };
  struct lc_store *store = lc_store_new();
  struct lc_tree t;
  struct lc_key_spec spec = {.entry_type = two(lc_type_primitive(LC_T_U64), lc_type_primitive(LC_T_STRING)), .n_parts = 1};
  assert_int_equal(lc_tree_init(&t, store, &spec), LC_OK);
  struct lc_buf e = {0};
  struct lc_store_stats stats;
  uint64_t most = 0;
  for (uint64_t i = 0; i < N; i++) {
    text_entry(&e, i, i % 10 ? 50 : 900, 'a');
    assert_int_equal(lc_tree_insert(&t, lc_buf_slice(&e), NULL), LC_TREE_DONE);
  }
  uint64_t size = t.memory_bytes;
  struct lc_snapshot *old = lc_snapshot_take(store), *between = NULL;
  for (uint64_t i = 0; i < ROUNDS; i++) {
    text_entry(&e, i * 31 % N, i * 31 % N % 10 ? 50 : 900, 'b');
    assert_int_equal(lc_tree_replace(&t, lc_buf_slice(&e)), LC_TREE_DONE);
    struct lc_snapshot *s = lc_snapshot_take(store);
    if (i % 100 == 0) { /* one that lives for a hundred others */
      lc_snapshot_release(between);
      between = lc_snapshot_ref(s);
    }
    lc_snapshot_release(s);
    lc_store_reclaim(store, 64);
    lc_store_stats(store, &stats);
    if (stats.retired_bytes > most) most = stats.retired_bytes;
  }
  assert_true(most <= 3 * size); /* the old state whole, and the one between, and some that wait for their slice */
  lc_snapshot_release(between);
  uint64_t seen = 0;
  struct lc_cursor c;
  for (lc_cursor_seek(&c, &t, old, NULL, 0, false); lc_cursor_valid(&c); lc_cursor_next(&c)) seen += lc_cursor_entry(&c).data[12] == 'a';
  assert_int_equal(seen, N);
  lc_snapshot_release(old);
  while (lc_store_reclaim(store, 1000)) {}
  for (uint64_t i = 0; i < N; i++) { /* everything retired at once by one snapshot */
    if (i == 0) old = lc_snapshot_take(store);
    text_entry(&e, i, 30, 'c');
    assert_int_equal(lc_tree_replace(&t, lc_buf_slice(&e)), LC_TREE_DONE);
  }
  lc_snapshot_release(old);
  uint32_t slices = 0;
  while (lc_store_reclaim(store, 10)) slices++;
  assert_true(slices >= N / 30 / 10 && slices < 100);
  lc_store_stats(store, &stats);
  assert_int_equal(stats.retired_bytes, 0);
  /* a tree in the place of one that was freed is not in the snapshots of that one */
  struct lc_snapshot *before = lc_snapshot_take(store);
  uint32_t slot = t.slot;
  lc_tree_free(&t);
  assert_int_equal(lc_tree_init(&t, store, &spec), LC_OK);
  assert_int_equal(t.slot, slot);
  uint64_t key = 1;
  assert_null(lc_snapshot_find(&t, before, (const uint8_t *)&key).data);
  assert_int_equal(lc_snapshot_count(&t, before), 0);
  lc_snapshot_release(before);
  lc_tree_free(&t);
  lc_store_free(store);
  lc_buf_free(&e);
  lc_arena_free(&arena);
}

/* Rows a tree takes: full leaves behind ascending keys, also when many groups grow at once; random ones by spilling to neighbours. */
static double bytes_per_row(struct lc_store *store, uint32_t groups, uint32_t n) { /* groups that grow in turn; 0: random keys */
  struct lc_tree t;
  struct lc_key_spec spec = {.entry_type = two(lc_type_primitive(LC_T_U32), lc_type_primitive(LC_T_U64)), .n_parts = 1};
  assert_int_equal(lc_tree_init(&t, store, &spec), LC_OK);
  for (uint32_t i = 0; i < n; i++) {
    uint8_t e[12] = {0};
    uint32_t key = groups ? i % groups * (n / groups) + i / groups : (uint32_t)((i * 2654435761ull) & 0xffffffff);
    memcpy(e, &key, 4);
    assert_int_equal(lc_tree_insert(&t, lc_slice(e, 12), NULL), LC_TREE_DONE);
  }
  lc_tree_check(&t);
  double bytes = (double)t.memory_bytes / n;
  if (getenv("VERBOSE")) fprintf(stderr, "%u groups: %.2f B a row\n", groups, bytes);
  lc_tree_free(&t);
  return bytes;
}
static void fill(void **state) {
  (void)state;
  struct lc_store *store = lc_store_new();
  assert_true(bytes_per_row(store, 1, 100000) < 12.8);
  assert_true(bytes_per_row(store, 20, 100000) < 13.2);
  assert_true(bytes_per_row(store, 200, 100000) < 16); /* six leaves each: the first ones were shared */
  assert_true(bytes_per_row(store, 0, 100000) < 17);
  lc_store_free(store);
  lc_arena_free(&arena);
}

/* ---- a reader on another thread while the writer goes on ---- */

/* Rows {u32 key, u64 value} and {string key, value, text of any length}; every row has the same value at the moment a snapshot is taken. */
static struct lc_tree packed, slotted;
struct reader { struct lc_snapshot *s; uint64_t sum, n, text_sum, text_n, found; };
static void read_one(const struct lc_tree *t, const struct lc_snapshot *s, bool backwards, size_t value_at, uint64_t *sum, uint64_t *n) {
  struct lc_cursor c;
  *sum = *n = 0;
  if (backwards) lc_cursor_seek_last(&c, t, s, NULL, 0, false);
  else lc_cursor_seek(&c, t, s, NULL, 0, false);
  for (; lc_cursor_valid(&c); backwards ? lc_cursor_prev(&c) : lc_cursor_next(&c)) {
    uint64_t v;
    memcpy(&v, lc_cursor_entry(&c).data + value_at, 8);
    *sum += v;
    ++*n;
  }
}
enum { SHARED_ROWS = 8000, TEXT_KEY_BYTES = 12 };
static void *read_all(void *arg) {
  struct reader *r = arg;
  for (int round = 0; round < 3; round++) {
    read_one(&packed, r->s, round == 1, 4, &r->sum, &r->n);
    read_one(&slotted, r->s, round != 1, TEXT_KEY_BYTES, &r->text_sum, &r->text_n);
    r->found = 0;
    for (uint32_t i = 0; i + LC_TREE_BATCH <= SHARED_ROWS; i += LC_TREE_BATCH * 16) {
      uint32_t keys[LC_TREE_BATCH];
      const uint8_t *p[LC_TREE_BATCH];
      struct lc_slice out[LC_TREE_BATCH];
      for (uint32_t k = 0; k < LC_TREE_BATCH; k++) {
        keys[k] = i + k;
        p[k] = (const uint8_t *)&keys[k];
      }
      lc_snapshot_find_batch(&packed, r->s, p, LC_TREE_BATCH, out);
      for (uint32_t k = 0; k < LC_TREE_BATCH; k++) r->found += out[k].data != NULL;
    }
  }
  lc_snapshot_release(r->s);
  return NULL;
}
static void shared_entry(struct lc_buf *b, uint32_t key, uint64_t value) {
  lc_buf_clear(b);
  lc_buf_printf(b, "%c%c%c%crow%05u", 8, 0, 0, 0, key);
  b->len = TEXT_KEY_BYTES;
  lc_buf_u64(b, value);
  uint32_t len = key % 50 == 0 ? 600 + (uint32_t)value % 50 : (uint32_t)(key + value * 7) % 40;
  lc_buf_u32(b, len);
  for (uint32_t i = 0; i < len; i++) lc_buf_u8(b, 't');
}
static void readers(void **state) {
  (void)state;
  enum { THREADS = 3 };
  struct lc_type_field f[3] = {{.type = lc_type_primitive(LC_T_STRING)}, {.type = lc_type_primitive(LC_T_U64)}, {.type = lc_type_primitive(LC_T_STRING)}};
  struct lc_key_spec spec = {.entry_type = two(lc_type_primitive(LC_T_U32), lc_type_primitive(LC_T_U64)), .n_parts = 1};
  struct lc_key_spec text = {.entry_type = lc_type_new_product(&arena, 3, f), .n_parts = 1};
  struct lc_store *store = lc_store_new();
  assert_int_equal(lc_tree_init(&packed, store, &spec), LC_OK);
  assert_int_equal(lc_tree_init(&slotted, store, &text), LC_OK);
  uint8_t e[12];
  struct lc_buf b = {0};
  uint64_t value = 1;
  for (uint32_t i = 0; i < SHARED_ROWS; i++) {
    memcpy(e, &i, 4);
    memcpy(e + 4, &value, 8);
    assert_int_equal(lc_tree_insert(&packed, lc_slice(e, 12), NULL), LC_TREE_DONE);
    shared_entry(&b, i, value);
    assert_int_equal(lc_tree_insert(&slotted, lc_buf_slice(&b), NULL), LC_TREE_DONE);
  }
  for (int round = 0; round < 8; round++) {
    struct reader r[THREADS];
    pthread_t id[THREADS];
    for (int k = 0; k < THREADS; k++) {
      r[k].s = lc_snapshot_take(store);
      value++;
      pthread_create(&id[k], NULL, read_all, &r[k]);
      for (uint32_t i = 0; i < SHARED_ROWS; i++) {
        memcpy(e, &i, 4);
        memcpy(e + 4, &value, 8);
        assert_int_equal(lc_tree_replace(&packed, lc_slice(e, 12)), LC_TREE_DONE);
        shared_entry(&b, i, value);
        if (i % 3 == 0) { /* out and in again */
          assert_int_equal(lc_tree_remove(&slotted, b.data), LC_TREE_DONE);
          assert_int_equal(lc_tree_insert(&slotted, lc_buf_slice(&b), NULL), LC_TREE_DONE);
        } else {
          assert_int_equal(lc_tree_replace(&slotted, lc_buf_slice(&b)), LC_TREE_DONE);
        }
        if (i % 100 == 0) lc_store_reclaim(store, 10);
      }
    }
    uint64_t expected = value - THREADS;
    for (int k = 0; k < THREADS; k++, expected++) {
      pthread_join(id[k], NULL);
      assert_int_equal(r[k].n, SHARED_ROWS);
      assert_int_equal(r[k].sum, SHARED_ROWS * expected);
      assert_int_equal(r[k].text_n, SHARED_ROWS);
      assert_int_equal(r[k].text_sum, SHARED_ROWS * expected);
      assert_int_equal(r[k].found, (SHARED_ROWS + LC_TREE_BATCH * 16 - 1) / (LC_TREE_BATCH * 16) * LC_TREE_BATCH);
    }
  }
  lc_tree_check(&slotted);
  lc_tree_free(&packed);
  lc_tree_free(&slotted);
  lc_store_free(store);
  lc_buf_free(&b);
  lc_arena_free(&arena);
}

/* Many entries through the sorter: records and pointers, few and many bits that differ, ascending, in random order, with equal prefixes. */
static void sorting(void **state) {
  (void)state;
  enum { N = 40000 };
  static const enum lc_type_kind kinds[] = {LC_T_U8, LC_T_U32, LC_T_I64, LC_T_U64, LC_T_U128, LC_T_U256, LC_T_STRING};
  struct lc_store *store = lc_store_new();
  struct lc_buf e = {0};
  for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
    for (int way = 0; way < 4; way++) {
      struct lc_tree t;
      struct lc_sorter s;
      struct lc_key_spec spec = {.entry_type = two(lc_type_primitive(kinds[k]), lc_type_primitive(LC_T_U32)), .n_parts = 2, .columns = {0, 1}};
      assert_int_equal(lc_tree_init(&t, store, &spec), LC_OK);
      lc_sorter_init(&s, &t.key);
      for (int pass = 0; pass < 2; pass++) /* in, and looked for */
        for (uint32_t i = 0; i < N; i++) {
          uint32_t number = way == 0 ? i : (uint32_t)(i * 2654435761ull % N);
          uint64_t value = way == 2 ? number / 100 : way == 3 ? number * 0x9e3779b97f4a7c15ull : number;
          lc_buf_clear(&e);
          if (kinds[k] == LC_T_STRING) {
            lc_buf_u32(&e, 12);
            lc_buf_printf(&e, "key %08u", (uint32_t)value % 100000000);
          } else {
            uint32_t size = lc_type_primitive(kinds[k])->static_size_bytes;
            for (uint32_t b = 0; b < size; b += 8) lc_buf_append(&e, &value, size < 8 ? size : 8);
          }
          lc_buf_u32(&e, number);
          if (pass == 0) assert_true(lc_sorter_add(&s, lc_buf_slice(&e)));
          if (pass == 0 && i == N - 1) assert_int_equal(lc_sorter_build(&s, &t, NULL), LC_TREE_DONE);
          if (pass == 1 && i % 7 == 0) assert_true(lc_slice_eq(lc_tree_find(&t, e.data), lc_buf_slice(&e)));
        }
      assert_int_equal(lc_tree_count(&t), N);
      lc_tree_check(&t);
      lc_sorter_free(&s);
      lc_tree_free(&t);
    }
  lc_store_free(store);
  lc_buf_free(&e);
  lc_arena_free(&arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(order),           cmocka_unit_test(sorting),           cmocka_unit_test(model), cmocka_unit_test(no_memory), cmocka_unit_test(large_entries),
                                     cmocka_unit_test(short_snapshots), cmocka_unit_test(fill),  cmocka_unit_test(readers)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
