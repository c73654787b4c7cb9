/* The tree against a sorted model: random inserts, replacements, removals and range seeks on several key shapes. */
#include "store/store.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

enum { MODEL_KEYS = 3000 };
static uint64_t seed = 1;
static uint32_t rnd(uint32_t n) {
  seed = seed * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(seed >> 33) % n;
}

/* Entry for number k: its order among entries is the order of k in every shape. */
static void make_entry(int shape, uint32_t k, uint32_t value, struct lc_buf *b) {
  char text[32];
  lc_buf_clear(b);
  switch (shape) {
  case 0: /* (u32 key, u64 value) */
    lc_buf_u32(b, k);
    lc_buf_u64(b, value);
    break;
  case 1: /* (string key, string value) */
    snprintf(text, sizeof text, "key%08u", k);
    lc_buf_bsatn_str(b, text);
    for (uint32_t i = 0; i <= value % 7; i++) text[i] = 'v';
    lc_buf_bsatn_bytes(b, lc_slice(text, value % 7));
    break;
  default: /* (u64 value, i64, u16): key is columns 1, 2 */
    lc_buf_u64(b, value);
    lc_buf_i64(b, (int64_t)k / 16 - 50);
    lc_buf_u16(b, (uint16_t)(k % 16));
  }
}

static void run_model(int shape) {
  struct lc_arena arena = {0};
  const struct lc_type *u32 = lc_type_primitive(LC_T_U32), *u64 = lc_type_primitive(LC_T_U64), *str = lc_type_primitive(LC_T_STRING);
  struct lc_type_field f0[] = {{.type = u32}, {.type = u64}}, f1[] = {{.type = str}, {.type = str}},
                       f2[] = {{.type = u64}, {.type = lc_type_primitive(LC_T_I64)}, {.type = lc_type_primitive(LC_T_U16)}};
  struct lc_key_spec spec = {.n_parts = shape == 2 ? 2 : 1};
  spec.entry_type = lc_type_new_product(&arena, shape == 2 ? 3 : 2, shape == 0 ? f0 : shape == 1 ? f1 : f2);
  if (shape == 2) {
    spec.columns[0] = 1;
    spec.columns[1] = 2;
  }
  struct lc_tree tree;
  lc_tree_init(&tree, &spec);
  int64_t *model = lc_alloc(MODEL_KEYS * sizeof *model);
  for (int i = 0; i < MODEL_KEYS; i++) model[i] = -1;
  uint64_t count = 0;
  struct lc_buf entry = {0}, key = {0};
  for (int step = 0; step < 60000; step++) {
    bool ascending = step < MODEL_KEYS / 2;
    uint32_t k = ascending ? (uint32_t)step : rnd(MODEL_KEYS), value = rnd(1000000);
    uint32_t action = ascending ? 0 : rnd(step / 20000 == 1 ? 4 : 3); /* in the middle third removals outweigh */
    make_entry(shape, k, value, &entry);
    lc_buf_clear(&key);
    lc_key_extract(&tree.key, entry.data, &key);
    bool nomem;
    if (action == 0) {
      assert_int_equal(lc_tree_insert(&tree, lc_buf_slice(&entry)), model[k] >= 0 ? LC_TREE_DUPLICATE : LC_TREE_DONE);
      if (model[k] < 0) {
        model[k] = value;
        count++;
      }
    } else if (action == 1) {
      assert_int_equal(lc_tree_replace(&tree, lc_buf_slice(&entry), &nomem), model[k] >= 0);
      if (model[k] >= 0) model[k] = value;
    } else {
      assert_int_equal(lc_tree_remove(&tree, key.data), model[k] >= 0);
      if (model[k] >= 0) count--;
      model[k] = -1;
    }
    assert_true(tree.n_entries == count);
    if (step % 1500) continue;
    for (int part = 0; part < 2; part++) { /* seek to a random place, >= and >, then walk to the end */
      uint32_t from = rnd(MODEL_KEYS);
      make_entry(shape, from, 0, &entry);
      lc_buf_clear(&key);
      lc_key_extract(&tree.key, entry.data, &key);
      struct lc_cursor c;
      lc_cursor_seek(&c, &tree, step % 3000 ? key.data : NULL, tree.key.n_parts, part == 1);
      for (uint32_t i = step % 3000 ? from + (uint32_t)part : 0; i < MODEL_KEYS; i++) {
        if (model[i] < 0) continue;
        assert_true(lc_cursor_valid(&c));
        make_entry(shape, i, (uint32_t)model[i], &entry);
        assert_true(lc_slice_eq(lc_cursor_entry(&c), lc_buf_slice(&entry)));
        lc_cursor_next(&c);
      }
      assert_false(lc_cursor_valid(&c));
    }
  }
  if (shape == 2) { /* prefix seeks: every group of 16 by its first part */
    for (uint32_t group = 0; group < MODEL_KEYS / 16; group++) {
      int64_t prefix = (int64_t)group - 50;
      struct lc_cursor c;
      lc_cursor_seek(&c, &tree, (uint8_t *)&prefix, 1, false);
      for (uint32_t i = group * 16; i < group * 16 + 16; i++) {
        if (model[i] < 0) continue;
        assert_true(lc_cursor_valid(&c));
        assert_int_equal(lc_key_compare_entry(&tree.key, lc_cursor_entry(&c).data, (uint8_t *)&prefix, 1), 0);
        lc_cursor_next(&c);
      }
      assert_true(!lc_cursor_valid(&c) || lc_key_compare_entry(&tree.key, lc_cursor_entry(&c).data, (uint8_t *)&prefix, 1) > 0);
    }
  }
  for (uint32_t k = 0; k < MODEL_KEYS; k++) {
    make_entry(shape, k, 0, &entry);
    lc_buf_clear(&key);
    lc_key_extract(&tree.key, entry.data, &key);
    assert_int_equal(lc_tree_remove(&tree, key.data), model[k] >= 0);
  }
  assert_null(tree.root);
  assert_true(tree.memory_bytes == 0);
  lc_tree_free(&tree);
  lc_buf_free(&entry);
  lc_buf_free(&key);
  lc_free(model);
  lc_arena_free(&arena);
}

static void test_fixed(void **state) { (void)state; run_model(0); }
static void test_blobs(void **state) { (void)state; run_model(1); }
static void test_composite(void **state) { (void)state; run_model(2); }

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_fixed), cmocka_unit_test(test_blobs), cmocka_unit_test(test_composite)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
