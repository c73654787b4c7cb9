/* The trees against a naive model: random entry types and keys, inserts, replacements, removals, clears, seeks in both directions, batches,
 * and snapshots that are held over changes, also by another thread. STEPS and SEED repeat or lengthen a run. */
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
  static const struct lc_type_field units[3] = {{.has_name = false}};
  switch (rnd(depth ? 9 : 11)) {
  case 0: return lc_type_primitive(LC_T_U32);
  case 1: return lc_type_primitive(LC_T_U64);
  case 2: return lc_type_primitive(LC_T_STRING);
  case 3: return lc_type_primitive((enum lc_type_kind)(LC_T_BOOL + (int)rnd(9)));
  case 4: return lc_type_primitive((enum lc_type_kind)(LC_T_I128 + (int)rnd(4)));
  case 5: return lc_type_identity();
  case 6: return lc_type_timestamp();
  case 7: return lc_type_new_array(&arena, lc_type_primitive(rnd(2) ? LC_T_U8 : LC_T_I16));
  case 8: {
    struct lc_type_field f[3];
    memcpy(f, units, sizeof f);
    for (int i = 0; i < 3; i++) f[i].type = lc_type_new_product(&arena, 0, NULL);
    return lc_type_new_sum(&arena, 3, f);
  }
  case 9: return lc_type_new_option(&arena, random_type(1));
  default: {
    struct lc_type_field f[2] = {{.type = random_type(1)}, {.type = random_type(1)}};
    return lc_type_new_product(&arena, 2, f);
  }
  }
}
/* Values from a small domain with the extremes in it, so that keys collide and prefixes are equal. */
static void random_value(const struct lc_type *t, struct lc_buf *b, uint32_t domain) {
  switch (t->kind) {
  case LC_T_BOOL: lc_buf_u8(b, (uint8_t)rnd(2)); return;
  case LC_T_STRING:
  case LC_T_ARRAY: {
    uint32_t n = rnd(4) ? rnd(4) : rnd(14);
    lc_buf_u32(b, n);
    for (uint32_t i = 0; i < n; i++) {
      if (t->kind == LC_T_STRING) lc_buf_u8(b, (uint8_t)("abz"[rnd(3)]));
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
  uint32_t i = 0;
  while (i < m->n) {
    int c = compare(s, m->e[i].data, entry, n_parts);
    if (c > 0 || (c == 0 && !after)) break;
    i++;
  }
  return i;
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

enum { HELD = 5, TREES = 2 };
static void run(uint32_t steps) {
  struct lc_store *store = lc_store_new();
  struct lc_tree trees[TREES];
  struct model models[TREES] = {{0}};
  struct { struct lc_snapshot *s; struct model m[TREES]; } held[HELD] = {{0}};
  for (int k = 0; k < TREES; k++) {
    uint32_t n_columns = 1 + rnd(4), n_parts = 1 + rnd(n_columns < 3 ? n_columns : 3);
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
    assert_int_equal(lc_tree_init(&trees[k], store, &spec), LC_OK);
  }
  uint32_t domain = 2 + rnd(3000);
  struct lc_buf entry = {0}, key = {0};
  for (uint32_t step = 0; step < steps; step++) {
    int k = (int)rnd(TREES);
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
      assert_int_equal(lc_tree_replace(t, lc_buf_slice(&entry)), there ? LC_TREE_DONE : LC_TREE_ABSENT);
      if (there) model_remove(m, at), model_insert(m, at, lc_buf_slice(&entry));
    } else if (rnd(2000) == 0) {
      lc_tree_clear(t);
      while (m->n) model_remove(m, m->n - 1);
    } else {
      assert_int_equal(lc_tree_remove(t, key.data), there);
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
    run(6000);
  }
}

/* Prefixes never contradict the order of keys, whole or in part. */
static void prefixes(void **state) {
  (void)state;
  seed = 77;
  for (int round = 0; round < 3000; round++) {
    struct lc_type_field f[3] = {{.type = random_type(0)}, {.type = random_type(0)}, {.type = random_type(0)}};
    struct lc_key_spec s = {.entry_type = lc_type_new_product(&arena, 3, f), .n_parts = 3, .columns = {(uint16_t)rnd(3), 1, 2}};
    if (s.columns[0] == 1 || s.columns[0] == 2) s.columns[s.columns[0]] = 0;
    lc_key_spec_init(&s);
    struct lc_buf a = {0}, b = {0}, ka = {0}, kb = {0};
    random_value(s.entry_type, &a, 5);
    random_value(s.entry_type, &b, 5);
    lc_key_extract(&s, a.data, &ka);
    lc_key_extract(&s, b.data, &kb);
    for (uint32_t parts = 1; parts <= 3; parts++) {
      int c = compare(&s, a.data, b.data, parts);
      assert_int_equal(lc_key_compare_entry(&s, a.data, kb.data, parts) < 0, c < 0);
      assert_int_equal(lc_key_compare_entry(&s, a.data, kb.data, parts) == 0, c == 0);
      uint64_t pa = lc_key_prefix(&s, ka.data, parts), pb = lc_key_prefix(&s, kb.data, parts);
      if (c == 0) assert_true(pa == pb);
      if (pa < pb) assert_true(c < 0);
      if (pa > pb) assert_true(c > 0);
      if (parts == 3 && s.is_exact && c) assert_true(pa != pb);
    }
    lc_buf_free(&a);
    lc_buf_free(&b);
    lc_buf_free(&ka);
    lc_buf_free(&kb);
    if (round % 100 == 0) lc_arena_reset(&arena);
  }
  lc_arena_free(&arena);
}

/* ---- a reader on another thread while the writer goes on ---- */

static struct lc_tree shared;
struct reader { struct lc_snapshot *s; uint64_t sum; uint64_t n; };
static void *read_all(void *arg) {
  struct reader *r = arg;
  for (int round = 0; round < 5; round++) {
    struct lc_cursor c;
    r->sum = r->n = 0;
    for (lc_cursor_seek(&c, &shared, r->s, NULL, 0, false); lc_cursor_valid(&c); lc_cursor_next(&c)) {
      uint64_t v;
      memcpy(&v, lc_cursor_entry(&c).data + 4, 8);
      r->sum += v;
      r->n++;
    }
  }
  lc_snapshot_release(r->s);
  return NULL;
}
static void readers(void **state) {
  (void)state;
  enum { N = 20000, THREADS = 3 };
  struct lc_type_field f[2] = {{.type = lc_type_primitive(LC_T_U32)}, {.type = lc_type_primitive(LC_T_U64)}};
  struct lc_key_spec spec = {.entry_type = lc_type_new_product(&arena, 2, f), .n_parts = 1};
  struct lc_store *store = lc_store_new();
  assert_int_equal(lc_tree_init(&shared, store, &spec), LC_OK);
  uint8_t e[12];
  uint64_t value = 1;
  for (uint32_t i = 0; i < N; i++) {
    memcpy(e, &i, 4);
    memcpy(e + 4, &value, 8);
    lc_tree_insert(&shared, lc_slice(e, 12), NULL);
  }
  for (int round = 0; round < 10; round++) { /* every row has the same value at the moment a snapshot is taken */
    struct reader r[THREADS];
    pthread_t id[THREADS];
    for (int k = 0; k < THREADS; k++) {
      r[k].s = lc_snapshot_take(store);
      value++;
      pthread_create(&id[k], NULL, read_all, &r[k]);
      for (uint32_t i = 0; i < N; i++) {
        memcpy(e, &i, 4);
        memcpy(e + 4, &value, 8);
        lc_tree_replace(&shared, lc_slice(e, 12));
        if (i % 100 == 0) lc_store_reclaim(store, 10);
      }
    }
    uint64_t expected = value - THREADS;
    for (int k = 0; k < THREADS; k++, expected++) {
      pthread_join(id[k], NULL);
      assert_int_equal(r[k].n, N);
      assert_int_equal(r[k].sum, N * expected);
    }
  }
  lc_tree_free(&shared);
  lc_store_free(store);
  lc_arena_free(&arena);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(prefixes), cmocka_unit_test(model), cmocka_unit_test(readers)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
