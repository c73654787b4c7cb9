/* The datastore's rules, a sentence of the specification each: sequences (spec/07 §11), rows and set semantics (spec/06 §4), what is logged and when
 * (spec/06 §3, §8, §8.1). The numbered cases are in test_engine_conformance.c, random operations against a model in test_engine_model.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "engine_copy.h"
#include "engine_world.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- sequences (spec/07 §11, spec/06 §6 "Trigger") ---- */

/* The next number of the sequence whose name begins with `name`: its `allocated`. */
static __int128 allocated(struct world *w, const char *name) {
  struct lc_row_iter *it;
  __int128 v = -1;
  assert_int_equal(lc_view_scan((struct lc_read_view){.ds = w->ds}, LC_ST_SEQUENCE, &it), LC_ERRNO_OK);
  for (struct lc_slice row; (row = lc_row_iter_next(it)).data;)
    if (memcmp(row.data + 8, name, strlen(name)) == 0) memcpy(&v, row.data + row.len - 16, 16);
  lc_row_iter_close(it);
  return v;
}
static void set_allocated(struct world *w, const char *name, __int128 v) {
  struct lc_tx *tx = lc_tx_begin(w->ds);
  struct lc_row_iter *it;
  uint8_t row[256];
  size_t len = 0;
  bool found;
  assert_int_equal(lc_tx_scan(tx, LC_ST_SEQUENCE, &it), LC_ERRNO_OK);
  for (struct lc_slice r; (r = lc_row_iter_next(it)).data;)
    if (memcmp(r.data + 8, name, strlen(name)) == 0) memcpy(row, r.data, len = r.len);
  lc_row_iter_close(it);
  assert_int_equal(lc_tx_delete_row(tx, LC_ST_SEQUENCE, lc_slice(row, len), &found, &err), LC_ERRNO_OK);
  assert_true(found);
  memcpy(row + len - 16, &v, 16);
  assert_int_equal(lc_tx_insert(tx, LC_ST_SEQUENCE, lc_slice(row, len), NULL, NULL, &err), LC_ERRNO_OK);
  commit(w, tx);
}

/* "fresh table, insert, insert, (rollback of an insert), restart, insert: 1, 2, 3; allocated 4" */
static void sequence_example(void **state) {
  (void)state;
  struct world w = world_new("table t\n col id u64 pk auto\n col x u8\n");
  assert_int_equal(allocated(&w, "t_id_seq"), 1);
  for (uint64_t want = 1; want <= 2; want++) {
    struct lc_tx *tx = lc_tx_begin(w.ds);
    assert_int_equal(insert_id(tx, &w, 0, 1, LC_ERRNO_OK), want);
    commit(&w, tx);
    assert_string_equal(last_record(&w), "+3:1 +4096:1 -3:1");
  }
  struct lc_tx *tx = lc_tx_begin(w.ds);
  assert_int_equal(insert_id(tx, &w, 0, 1, LC_ERRNO_OK), 3);
  assert_int_equal(allocated(&w, "t_id_seq"), 4);
  lc_tx_rollback(tx);
  assert_int_equal(allocated(&w, "t_id_seq"), 3);
  crash(&w);
  tx = lc_tx_begin(w.ds);
  assert_int_equal(insert_id(tx, &w, 0, 1, LC_ERRNO_OK), 3);
  commit(&w, tx);
  assert_int_equal(allocated(&w, "t_id_seq"), 4);
  world_free(&w);
}

/* "Several values in one transaction leave one delete and one insert in the log", whatever becomes of the rows. */
static void sequence_is_written_once(void **state) {
  (void)state;
  struct world w = world_new("table t\n col id u64 pk auto\n col x u8\n");
  struct lc_tx *tx = lc_tx_begin(w.ds);
  for (uint64_t i = 1; i <= 1000; i++) assert_int_equal(insert_id(tx, &w, 0, 1, LC_ERRNO_OK), i);
  commit(&w, tx);
  assert_string_equal(last_record(&w), "+3:1 +4096:1000 -3:1");
  tx = lc_tx_begin(w.ds);
  uint64_t n;
  for (int i = 0; i < 3; i++) insert_id(tx, &w, 0, 1, LC_ERRNO_OK);
  assert_int_equal(lc_tx_clear(tx, w.t, &n, &err), LC_ERRNO_OK);
  assert_int_equal(n, 1003);
  commit(&w, tx);
  assert_string_equal(last_record(&w), "+3:1 -3:1 !4096");
  crash(&w);
  assert_int_equal(allocated(&w, "t_id_seq"), 1004);
  tx = lc_tx_begin(w.ds); /* numbers that were taken are gone also when all that became of them is nothing */
  assert_int_equal(insert_id(tx, &w, 0, 1, LC_ERRNO_OK), 1004);
  assert_int_equal(lc_tx_clear(tx, w.t, &n, &err), LC_ERRNO_OK);
  commit(&w, tx);
  assert_string_equal(last_record(&w), "+3:1 -3:1");
  world_free(&w);
}

/* What takes a number and what does not: a row that does not decode and one that states its number do not; a refused row, an update and a row that is there do. */
static void sequence_triggers(void **state) {
  (void)state;
  struct world w = world_new("table t\n col id u32 pk auto\n col name string unique\n"), one = world_new("table t\n col id u32 pk auto\n");
  struct lc_buf generated = {0};
  struct lc_tx *tx = lc_tx_begin(w.ds);
  assert_int_equal(insert(tx, &w, "\0\0\0\0\1\0\0\0\xff", 9), LC_ERRNO_BSATN_DECODE);
  assert_int_equal(allocated(&w, "t_id_seq"), 1);
  assert_int_equal(insert(tx, &w, "\7\0\0\0\1\0\0\0g", 9), LC_ERRNO_OK);
  assert_int_equal(allocated(&w, "t_id_seq"), 1);
  assert_int_equal(insert(tx, &w, "\0\0\0\0\1\0\0\0a", 9), LC_ERRNO_OK);
  assert_int_equal(allocated(&w, "t_id_seq"), 2);
  assert_int_equal(insert(tx, &w, "\0\0\0\0\1\0\0\0a", 9), LC_ERRNO_UNIQUE_EXISTS);
  assert_int_equal(allocated(&w, "t_id_seq"), 3);
  /* a zero in an update is replaced before the row is looked for; what was generated comes back */
  assert_int_equal(lc_tx_update(tx, w.t, w.info->indexes[0].index_id, lc_slice("\0\0\0\0\1\0\0\0a", 9), &generated, NULL, &err), LC_ERRNO_NO_SUCH_ROW);
  assert_int_equal(allocated(&w, "t_id_seq"), 4);
  lc_buf_clear(&generated);
  assert_int_equal(lc_tx_update(tx, w.t, w.info->indexes[1].index_id, lc_slice("\0\0\0\0\1\0\0\0a", 9), &generated, NULL, &err), LC_ERRNO_OK);
  assert_int_equal(generated.len, 4);
  assert_memory_equal(generated.data, "\4\0\0\0", 4);
  commit(&w, tx);
  assert_string_equal(last_record(&w), "+3:1 +4096:2 -3:1");
  /* a generated number that makes the row one which is there: nothing is inserted, and the number is told */
  tx = lc_tx_begin(one.ds);
  assert_int_equal(insert(tx, &one, "\1\0\0\0", 4), LC_ERRNO_OK);
  lc_buf_clear(&generated);
  assert_int_equal(lc_tx_insert(tx, one.t, lc_slice("\0\0\0\0", 4), &generated, NULL, &err), LC_ERRNO_OK);
  assert_int_equal(generated.len, 4);
  assert_memory_equal(generated.data, "\1\0\0\0", 4);
  assert_int_equal(count(&one, one.t), 1);
  commit(&one, tx);
  lc_buf_free(&generated);
  world_free(&w);
  world_free(&one);
}

/* Several sequence columns are filled in the order of the columns and come back concatenated; numbers are cut to the column's width. */
static void sequence_columns(void **state) {
  (void)state;
  static const struct { const char *type; uint32_t size; } types[] = {{"u8", 1},  {"i8", 1},  {"u16", 2},   {"i16", 2},   {"u32", 4},   {"i32", 4},
                                                                      {"u64", 8}, {"i64", 8}, {"u128", 16}, {"i128", 16}, {"u256", 32}, {"i256", 32}};
  struct world w = world_new("table t\n col x string\n col b u16 auto\n col name string\n col a u8 auto\n");
  struct lc_buf generated = {0};
  struct lc_slice stored;
  set_allocated(&w, "t_b_seq", 0x1234);
  set_allocated(&w, "t_a_seq", 0x56);
  struct lc_tx *tx = lc_tx_begin(w.ds);
  assert_int_equal(lc_tx_insert(tx, w.t, lc_slice("\1\0\0\0x\0\0\1\0\0\0y\0", 13), &generated, &stored, &err), LC_ERRNO_OK);
  assert_int_equal(generated.len, 3);
  assert_memory_equal(generated.data, "\x34\x12\x56", 3);
  assert_memory_equal(stored.data, "\1\0\0\0x\x34\x12\1\0\0\0y\x56", 13);
  lc_buf_clear(&generated);
  assert_int_equal(lc_tx_insert(tx, w.t, lc_slice("\1\0\0\0x\1\0\1\0\0\0y\0", 13), &generated, NULL, &err), LC_ERRNO_OK);
  assert_int_equal(generated.len, 1); /* only what was zero */
  assert_int_equal(generated.data[0], 0x57);
  commit(&w, tx);
  world_free(&w);
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    char text[64];
    snprintf(text, sizeof text, "table t\n col x %s auto\n", types[i].type);
    w = world_new(text);
    for (int negative = 0; negative < 2; negative++) { /* numbers below zero: from directories of other versions */
      __int128 v = negative ? -2 : ((__int128)0x0102030405060708 << 64 | 0x090a0b0c0d0e0f10);
      uint8_t zero[32] = {0}, want[32] = {0};
      memcpy(want, &v, 16);
      if (negative && strcmp(types[i].type, "i256") == 0) memset(want + 16, 0xff, 16);
      set_allocated(&w, "t_x_seq", v);
      tx = lc_tx_begin(w.ds);
      assert_int_equal(lc_tx_insert(tx, w.t, lc_slice(zero, types[i].size), NULL, &stored, &err), LC_ERRNO_OK);
      assert_memory_equal(stored.data, want, types[i].size);
      commit(&w, tx);
      assert_true(allocated(&w, "t_x_seq") == v + 1);
    }
    world_free(&w);
  }
  lc_buf_free(&generated);
}

/* "with probability 1/4096 the successor is the next multiple of 4096 greater than the current value instead of +1": exactly that, about as often, committed like
 * any number, and taken back with its transaction. */
static void sequence_skips(void **state) {
  (void)state;
  enum { VALUES = 60000 };
  struct world w = world_new("table t\n col id u64 pk auto\n col x u8\n");
  lc_datastore_sequence_skips(w.ds, 12345);
  uint64_t next = 1, skips = 0;
  for (int i = 0; i < VALUES; i += 100) {
    struct lc_tx *tx = lc_tx_begin(w.ds);
    uint64_t before = next, n;
    for (int k = 0; k < 100; k++) {
      uint64_t got = insert_id(tx, &w, 0, 1, LC_ERRNO_OK);
      assert_true(got == next);
      next = (uint64_t)allocated(&w, "t_id_seq");
      assert_true(next == got + 1 || next == (got / 4096 + 1) * 4096);
      skips += next != got + 1;
    }
    assert_int_equal(lc_tx_clear(tx, w.t, &n, &err), LC_ERRNO_OK);
    if (i % 500 == 0) {
      lc_tx_rollback(tx);
      next = before;
      assert_true(allocated(&w, "t_id_seq") == next);
    } else commit(&w, tx);
    if (i % 20000 == 0) {
      crash(&w);
      assert_true(allocated(&w, "t_id_seq") == next);
      lc_datastore_sequence_skips(w.ds, 777 + (uint64_t)i);
    }
  }
  assert_in_range(skips, 4, 40); /* 14.6 are to be expected */
  world_free(&w);
}

/* No number that a committed row has comes again: rollbacks, crashes, clearing and updates of the module between. */
static void sequence_never_again(void **state) {
  (void)state;
  const char *texts[] = {"table t\n col id u64 pk auto\n col x u8\n", "table t\n col id u64 pk auto\n col x u8\n col y0 u8 = 00\n"};
  struct world w = world_new(texts[0]);
  uint64_t last = 0, n;
  unsigned seed = 3;
  bool grown = false;
  for (int round = 0; round < 300; round++) {
    struct lc_tx *tx = lc_tx_begin(w.ds);
    uint64_t greatest = last;
    for (int k = rand_r(&seed) % 20; k >= 0; k--) {
      uint8_t row[10] = {0};
      struct lc_slice stored;
      uint64_t id;
      assert_int_equal(lc_tx_insert(tx, w.t, lc_slice(row, w.info->row_type->static_size_bytes), NULL, &stored, &err), LC_ERRNO_OK);
      memcpy(&id, stored.data, 8);
      assert_true(id == greatest + 1);
      greatest = id;
    }
    if (rand_r(&seed) % 3 == 0) assert_int_equal(lc_tx_clear(tx, w.t, &n, &err), LC_ERRNO_OK);
    if (rand_r(&seed) % 3 == 0) lc_tx_rollback(tx);
    else {
      commit(&w, tx);
      last = greatest;
    }
    if (round == 150) { /* and once the table has become another */
      struct lc_module_def *old = def_text(texts[0]), *new = def_text(texts[1]);
      tx = lc_tx_begin(w.ds);
      if (lc_schema_update(tx, old, new, &facts, &err) != LC_OK) fail_msg("%s", err.text);
      commit(&w, tx);
      uint32_t before = w.t;
      find_t(&w);
      grown = w.t != before;
      lc_module_def_free(old);
      lc_module_def_free(new);
    }
    if (rand_r(&seed) % 10 == 0) crash(&w);
  }
  assert_true(grown);
  world_free(&w);
}

/* ---- rows (spec/06 §4) ---- */

/* The whole row is compared before a violation is reported; a violation is told with the index's name, all its columns and the key. */
static void equal_rows_and_violations(void **state) {
  (void)state;
  struct world w = world_new("table t\n col a u8 pk\n col b string\n col c ?u8\n index t_b_c_idx_btree btree b,c\n unique t_c_b_key c,b\n");
  struct lc_tx *tx = lc_tx_begin(w.ds);
  assert_int_equal(insert(tx, &w, "\1\1\0\0\0x\0\5", 8), LC_ERRNO_OK);
  commit(&w, tx);
  tx = lc_tx_begin(w.ds);
  assert_int_equal(insert(tx, &w, "\1\1\0\0\0x\0\5", 8), LC_ERRNO_OK);
  commit(&w, tx);
  assert_string_equal(last_record(&w), "");
  tx = lc_tx_begin(w.ds);
  assert_int_equal(insert(tx, &w, "\2\1\0\0\0x\0\5", 8), LC_ERRNO_UNIQUE_EXISTS); /* the index lists its columns in another order than the constraint */
  assert_string_equal(err.text, "Unique constraint violation 't_b_c_idx_btree' in table 't': column(s): '[\"b\", \"c\"]' value: (0 = \"x\", 1 = (some = 5))");
  assert_int_equal(insert(tx, &w, "\1\1\0\0\0y\0\5", 8), LC_ERRNO_UNIQUE_EXISTS);
  assert_string_equal(err.text, "Unique constraint violation 't_a_idx_btree' in table 't': column(s): '[\"a\"]' value: 1");
  assert_int_equal(insert(tx, &w, "\2\1\0\0\0x\1", 7), LC_ERRNO_OK); /* an option is a value like any other: none is one of them */
  assert_int_equal(insert(tx, &w, "\3\1\0\0\0x\1", 7), LC_ERRNO_UNIQUE_EXISTS);
  commit(&w, tx);
  assert_int_equal(count(&w, w.t), 2);
  /* what the transaction has deleted is not in the way, what it has inserted is */
  uint32_t n;
  tx = lc_tx_begin(w.ds);
  assert_int_equal(lc_tx_delete_point(tx, w.info->indexes[0].index_id, lc_slice("\1", 1), &n, &err), LC_ERRNO_OK);
  assert_int_equal(insert(tx, &w, "\7\1\0\0\0x\0\5", 8), LC_ERRNO_OK);
  assert_int_equal(insert(tx, &w, "\1\1\0\0\0x\0\5", 8), LC_ERRNO_UNIQUE_EXISTS);
  commit(&w, tx);
  assert_string_equal(last_record(&w), "+4096:1 -4096:1");
  world_free(&w);
}

/* "Each returns the number removed": by value (rows listed twice count once, absent ones not, none is deleted unless all decode), point, range, everything. */
static void deletions_are_counted(void **state) {
  (void)state;
  static const char *const schemas[] = {"table t\n col a u8 index\n col b u8\n", "table t\n col a u8\n col b u8 pk\n index t_a_idx_btree btree a\n"};
  for (size_t s = 0; s < 2; s++) {
    struct world w = world_new(schemas[s]);
    uint32_t by_a = w.info->indexes[s].index_id, n;
    uint64_t all;
    struct lc_tx *tx = lc_tx_begin(w.ds);
    for (uint8_t i = 0; i < 12; i++) assert_int_equal(insert(tx, &w, (uint8_t[]){i / 4, i}, 2), LC_ERRNO_OK);
    commit(&w, tx);
    tx = lc_tx_begin(w.ds);
    assert_int_equal(lc_tx_delete_all_by_eq(tx, w.t, lc_slice("\4\0\0\0\0\0\0\1\0\0\7\7", 12), &n, &err), LC_ERRNO_OK);
    assert_int_equal(n, 2);
    assert_int_equal(lc_tx_delete_all_by_eq(tx, w.t, lc_slice("\2\0\0\0\0\2\0", 7), &n, &err), LC_ERRNO_BSATN_DECODE);
    assert_int_equal(n, 0);
    assert_int_equal(lc_tx_delete_all_by_eq(tx, w.t, lc_slice("\1\0", 2), &n, &err), LC_ERRNO_BSATN_DECODE);
    assert_int_equal(lc_tx_delete_all_by_eq(tx, 9999, lc_slice("\0\0\0\0", 4), &n, &err), LC_ERRNO_NO_SUCH_TABLE);
    assert_int_equal(lc_tx_delete_point(tx, by_a, lc_slice("\0", 1), &n, &err), LC_ERRNO_OK);
    assert_int_equal(n, 2);
    assert_int_equal(lc_tx_delete_range(tx, by_a, lc_slice(NULL, 0), 0, lc_slice("\0\0", 2), lc_slice("\1\2", 2), &n, &err), LC_ERRNO_OK);
    assert_int_equal(n, 4);
    assert_int_equal(lc_tx_clear(tx, w.t, &all, &err), LC_ERRNO_OK);
    assert_int_equal(all, 4);
    assert_int_equal(lc_tx_clear(tx, w.t, &all, &err), LC_ERRNO_OK);
    assert_int_equal(all, 0);
    commit(&w, tx);
    assert_string_equal(last_record(&w), "!4096");
    crash(&w);
    assert_int_equal(count(&w, w.t), 0);
    world_free(&w);
  }
}

/* "An update to an identical row is a no-op. It is logged and broadcast as delete + insert"; back and forth is nothing; several make one. */
static void updates_net_out(void **state) {
  (void)state;
  static const char *const schemas[] = {"table t\n col a u8 pk\n col b u8\n", "table t\n col a u8 pk\n col b u8 index\n", "table t\n col a u8 unique\n col b u8 unique\n", "table t\n col b u8\n col a u8 pk\n"};
  for (size_t s = 0; s < 4; s++) {
    struct world w = world_new(schemas[s]);
    uint32_t by_a = w.info->indexes[0].index_id, n;
#define ROW(a, b) lc_slice(s == 3 ? (uint8_t[]){b, a} : (uint8_t[]){a, b}, 2)
#define UPDATE(a, b) assert_int_equal(lc_tx_update(tx, w.t, by_a, ROW(a, b), NULL, NULL, &err), LC_ERRNO_OK)
#define INSERT(a, b) assert_int_equal(lc_tx_insert(tx, w.t, ROW(a, b), NULL, NULL, &err), LC_ERRNO_OK)
#define DELETE(a) assert_int_equal(lc_tx_delete_point(tx, by_a, lc_slice((uint8_t[]){a}, 1), &n, &err), LC_ERRNO_OK)
    struct lc_tx *tx = lc_tx_begin(w.ds);
    INSERT(1, 1);
    INSERT(2, 2);
    UPDATE(2, 3);
    commit(&w, tx);
    assert_string_equal(last_record(&w), "+4096:2");
    tx = lc_tx_begin(w.ds);
    UPDATE(1, 1);
    commit(&w, tx);
    assert_string_equal(last_record(&w), "");
    tx = lc_tx_begin(w.ds);
    UPDATE(1, 7);
    commit(&w, tx);
    assert_string_equal(last_record(&w), "+4096:1 -4096:1");
    tx = lc_tx_begin(w.ds);
    UPDATE(1, 8);
    UPDATE(1, 9);
    UPDATE(1, 7);
    commit(&w, tx);
    assert_string_equal(last_record(&w), "");
    tx = lc_tx_begin(w.ds);
    UPDATE(1, 8);
    DELETE(1);
    INSERT(1, 9);
    UPDATE(1, 10);
    commit(&w, tx);
    assert_string_equal(last_record(&w), "+4096:1 -4096:1");
    tx = lc_tx_begin(w.ds);
    DELETE(1);
    DELETE(2);
    INSERT(2, 3);
    INSERT(1, 10);
    commit(&w, tx);
    assert_string_equal(last_record(&w), "");
    crash(&w);
    assert_int_equal(count(&w, w.t), 2);
    world_free(&w);
#undef ROW
#undef UPDATE
#undef INSERT
#undef DELETE
  }
}

/* ---- what is logged (spec/06 §3, §7, §8, spec/07 §12) ---- */

static void bootstrap_and_init_records(void **state) {
  (void)state;
  struct world w = world_new("table t\n col id u64 pk auto\n col x u8\n table a event\n col x u8 index\nview v\n col id u64\n param p u8\nrls select * from a\n");
  assert_string_equal(record_text(&w, 0), "+1:26 +2:102 +3:8 +4:37 +5:33");
  /* three tables, three columns and the view's two; their sequence and the four system sequences that were used; no row of a user table, no truncation */
  assert_string_equal(last_record(&w), "+1:3 +2:5 +3:6 +4:3 +5:1 +6:1 +10:1 +12:1 +13:1 +14:1 +17:1 +18:3 +19:3 +20:4 -3:5");
  world_free(&w);
}

/* "A table with ≥ 1 delete in the transaction, zero rows left and no inserts is reported as truncated; a dropped table always"; "a truncated table lists only in
 * truncates". Event tables emit insertions only, and are never truncated; ephemeral tables are left out altogether. */
static void truncation(void **state) {
  (void)state;
  const char *text = "table t\n col a u8 pk\ntable e event\n col a u8 pk\nview v\n col a u8\n";
  struct world w = world_new(text);
  const struct lc_table_info *e = lc_datastore_table_by_name(w.ds, lc_slice_str("e")), *v = lc_datastore_table_by_name(w.ds, lc_slice_str("v"));
  assert_int_equal(e->table_id, 4096);
  assert_int_equal(w.t, 4097);
  uint64_t n;
  struct lc_tx *tx = lc_tx_begin(w.ds);
  assert_int_equal(insert(tx, &w, "\1", 1), LC_ERRNO_OK);
  assert_int_equal(lc_tx_clear(tx, w.t, &n, &err), LC_ERRNO_OK); /* empty before and after */
  commit(&w, tx);
  assert_string_equal(last_record(&w), "");
  tx = lc_tx_begin(w.ds);
  assert_int_equal(insert(tx, &w, "\1", 1) | insert(tx, &w, "\2", 1), LC_ERRNO_OK);
  commit(&w, tx);
  assert_string_equal(last_record(&w), "+4097:2");
  tx = lc_tx_begin(w.ds); /* all replaced: rows are there */
  assert_int_equal(lc_tx_clear(tx, w.t, &n, &err), LC_ERRNO_OK);
  assert_int_equal(insert(tx, &w, "\3", 1), LC_ERRNO_OK);
  commit(&w, tx);
  assert_string_equal(last_record(&w), "+4097:1 -4097:2");
  tx = lc_tx_begin(w.ds);
  assert_int_equal(lc_tx_clear(tx, w.t, &n, &err), LC_ERRNO_OK);
  assert_int_equal(lc_tx_insert(tx, e->table_id, lc_slice("\1", 1), NULL, NULL, &err), LC_ERRNO_OK);
  assert_int_equal(lc_tx_insert(tx, e->table_id, lc_slice("\2", 1), NULL, NULL, &err), LC_ERRNO_OK);
  assert_int_equal(lc_tx_clear(tx, e->table_id, &n, &err), LC_ERRNO_OK);
  assert_int_equal(lc_tx_insert(tx, e->table_id, lc_slice("\3", 1), NULL, NULL, &err), LC_ERRNO_OK);
  commit(&w, tx);
  assert_string_equal(last_record(&w), "+4096:1 !4097");
  uint8_t row[33] = {1};
  tx = lc_tx_begin(w.ds);
  assert_int_equal(lc_tx_insert(tx, v->table_id, lc_slice(row, 33), NULL, NULL, &err), LC_ERRNO_OK);
  commit(&w, tx);
  assert_string_equal(last_record(&w), "");
  tx = lc_tx_begin(w.ds);
  assert_int_equal(lc_tx_clear(tx, v->table_id, &n, &err), LC_ERRNO_OK);
  assert_int_equal(insert(tx, &w, "\1", 1), LC_ERRNO_OK);
  commit(&w, tx);
  assert_string_equal(last_record(&w), "+4097:1");
  /* dropped, with and without rows: here the rows go first (a table with rows is not dropped otherwise) */
  struct lc_module_def *old = def_text(text), *new = def_text("view v\n col a u8\n");
  tx = lc_tx_begin(w.ds);
  assert_int_equal(lc_tx_clear(tx, w.t, &n, &err), LC_ERRNO_OK);
  if (lc_schema_update(tx, old, new, &facts, &err) != LC_OK) fail_msg("%s", err.text);
  commit(&w, tx);
  assert_non_null(strstr(last_record(&w), " !4096 !4097"));
  assert_null(strstr(last_record(&w), "-4097"));
  crash(&w);
  assert_null(w.info);
  lc_module_def_free(old);
  lc_module_def_free(new);
  world_free(&w);
}

/* "A commit consumes an offset iff it has a non-ephemeral insert or delete, or its recorded name is exactly `__identity_connected__` or `__identity_disconnected__`." */
static void offsets(void **state) {
  (void)state;
  static const struct { const char *name; bool logged; } names[] = {{"", false}, {"add", false}, {"call_identity_connected", false}, {"__identity_connected__", true},
                                                                     {"__identity_disconnected__", true}, {"__identity_connected__x", false}, {"__identity_connected_", false}};
  struct world w = world_new("table t\n col a u8 pk\n");
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    for (int with_row = 0; with_row < 2; with_row++) {
      struct lc_tx_inputs inputs = {.name = lc_slice_str(names[i].name)};
      uint32_t before = w.n_records;
      struct lc_tx *tx = lc_tx_begin(w.ds);
      if (with_row) assert_int_equal(insert(tx, &w, &(uint8_t){(uint8_t)i}, 1), LC_ERRNO_OK);
      commit_as(&w, tx, &inputs);
      assert_int_equal(w.n_records - before, with_row || names[i].logged);
    }
  crash(&w);
  assert_int_equal(count(&w, w.t), sizeof names / sizeof *names);
  world_free(&w);
}

/* "Args payload = caller identity ‖ connection id ‖ timestamp ‖ args"; "the name is cut to 255 bytes at a character boundary". */
static void inputs(void **state) {
  (void)state;
  struct world w = world_new("table t\n col a u8 pk\n");
  for (size_t pad = 250; pad <= 256; pad++) {
    char name[300];
    memset(name, 'n', pad);
    strcpy(name + pad, "\xe2\x82\xac\xc3\xa9"); /* characters of three and two bytes */
    size_t len = strlen(name), want = pad + 5 <= 255 ? pad + 5 : pad + 3 <= 255 ? pad + 3 : pad <= 255 ? pad : 255;
    struct lc_tx_inputs inputs = {.name = lc_slice(name, len), .caller = {{1, 2}}, .connection_id = {{3, 4}}, .timestamp_us = 0x1122334455667788, .args = lc_slice_str("args")};
    struct lc_tx *tx = lc_tx_begin(w.ds);
    assert_int_equal(insert(tx, &w, &(uint8_t){(uint8_t)pad}, 1), LC_ERRNO_OK);
    commit_as(&w, tx, &inputs);
    struct lc_reader r = lc_reader(lc_slice(w.log.data + w.last, w.log.len - w.last));
    assert_int_equal(lc_read_u8(&r), 0xa0);
    assert_int_equal(lc_read_u32(&r), 1 + want + 32 + 16 + 8 + 4);
    assert_int_equal(lc_read_u8(&r), want);
    assert_memory_equal(lc_read_raw(&r, want), name, want);
    assert_memory_equal(lc_read_raw(&r, 32), inputs.caller.bytes, 32);
    assert_memory_equal(lc_read_raw(&r, 16), inputs.connection_id.bytes, 16);
    assert_memory_equal(lc_read_raw(&r, 8), "\x88\x77\x66\x55\x44\x33\x22\x11", 8);
    assert_memory_equal(lc_read_raw(&r, 4), "args", 4);
    assert_string_equal(last_record(&w), "+4096:1");
  }
  crash(&w);
  assert_int_equal(count(&w, w.t), 7);
  world_free(&w);
}

/* "Rollback discards the overlay. Schema changes ... are undone in reverse order": rows changed before, between and after them too. */
static void rollback_of_everything(void **state) {
  (void)state;
  const char *texts[] = {"table t\n col a u32 pk auto\n col b u8\ntable gone\n col x u8\n", "table t\n col a u32 pk auto\n col b u8 index\n col c u8 = 05\ntable more\n col y u8 pk\n",
                         "table t\n col a u32 pk auto\n col b u8\n col c u8 = 05\n col d u16 = 0600\n"};
  struct world w = world_new(texts[0]);
  struct lc_tx *tx = lc_tx_begin(w.ds);
  for (uint8_t i = 0; i < 50; i++) assert_int_equal(insert(tx, &w, (uint8_t[]){0, 0, 0, 0, i}, 5), LC_ERRNO_OK);
  commit(&w, tx);
  struct lc_module_def *defs[3] = {def_text(texts[0]), def_text(texts[1]), def_text(texts[2])};
  uint32_t t = w.t, n;
  uint64_t version = lc_datastore_schema_version(w.ds);
  for (int kept = 0; kept < 2; kept++) {
    tx = lc_tx_begin(w.ds);
    assert_int_equal(insert(tx, &w, "\0\0\0\0\1", 5), LC_ERRNO_OK);
    assert_int_equal(lc_tx_delete_point(tx, w.info->indexes[0].index_id, lc_slice("\3\0\0\0", 4), &n, &err), LC_ERRNO_OK);
    if (lc_schema_update(tx, defs[0], defs[1], &facts, &err) != LC_OK) fail_msg("%s", err.text);
    find_t(&w);
    assert_int_not_equal(w.t, t);
    assert_int_equal(insert(tx, &w, "\0\0\0\0\2\2", 6), LC_ERRNO_OK);
    assert_int_equal(lc_tx_delete_point(tx, w.info->indexes[0].index_id, lc_slice("\4\0\0\0", 4), &n, &err), LC_ERRNO_OK);
    if (lc_schema_update(tx, defs[1], defs[2], &facts, &err) != LC_OK) fail_msg("%s", err.text);
    find_t(&w);
    assert_int_equal(insert(tx, &w, "\0\0\0\0\3\3\3\0", 8), LC_ERRNO_OK);
    assert_int_equal(lc_tx_update(tx, w.t, w.info->indexes[0].index_id, lc_slice("\5\0\0\0\7\7\7\0", 8), NULL, NULL, &err), LC_ERRNO_OK);
    if (kept) {
      commit(&w, tx);
      continue;
    }
    lc_tx_rollback(tx);
    find_t(&w);
    assert_int_equal(w.t, t);
    assert_true(lc_datastore_schema_version(w.ds) == version);
    assert_int_equal(count(&w, t), 50);
    assert_int_equal(w.info->n_indexes, 1);
    assert_int_equal(allocated(&w, "t_a_seq"), 51);
    assert_non_null(lc_datastore_table_by_name(w.ds, lc_slice_str("gone")));
    assert_null(lc_datastore_table_by_name(w.ds, lc_slice_str("more")));
    crash(&w);
  }
  for (int again = 0; again < 2; again++) { /* and kept, it is all there, also after a crash */
    struct lc_slice row;
    assert_int_equal(count(&w, w.t), 51);
    assert_int_equal(w.info->row_type->n_fields, 4);
    assert_int_equal(lc_view_find((struct lc_read_view){.ds = w.ds}, w.info->indexes[0].index_id, lc_slice("\5\0\0\0", 4), &row, &err), LC_ERRNO_OK);
    assert_memory_equal(row.data, "\5\0\0\0\7\7\7\0", 8);
    assert_int_equal(lc_view_find((struct lc_read_view){.ds = w.ds}, w.info->indexes[0].index_id, lc_slice("\x34\0\0\0", 4), &row, &err), LC_ERRNO_OK);
    assert_memory_equal(row.data, "\x34\0\0\0\2\2\6\0", 8);
    assert_int_equal(lc_view_find((struct lc_read_view){.ds = w.ds}, w.info->indexes[0].index_id, lc_slice("\4\0\0\0", 4), &row, &err), LC_ERRNO_OK);
    assert_null(row.data);
    assert_int_equal(allocated(&w, "t_a_seq"), 54);
    crash(&w);
  }
  for (int i = 0; i < 3; i++) lc_module_def_free(defs[i]);
  world_free(&w);
}

/* ---- databases of other versions (spec/07 §12, §19) ---- */

/* As versions up to 2.8 wrote it: the system tables are not in the log. */
static struct world older_world(const char *text) {
  struct world w = world_new(text);
  struct lc_datastore *ds;
  size_t used;
  assert_int_equal(lc_datastore_new(&lc_env_system, &ds, &err), LC_OK);
  assert_int_equal(lc_datastore_replay(ds, lc_buf_slice(&w.log), 1, &used, &err), LC_OK);
  lc_datastore_free(ds);
  memmove(w.log.data, w.log.data + used, w.log.len - used);
  w.log.len -= used;
  w.n_records--;
  return w;
}
/* What an opening appends. */
static bool add_missing(struct world *w) {
  w->last = w->log.len;
  assert_int_equal(lc_datastore_missing_record(w->ds, &w->log), LC_OK);
  w->n_records += w->log.len > w->last;
  return w->log.len > w->last;
}

/* spec/07 §19: "2.8.3 directory opens; tables 21–26 appear in one transaction; auto-increment continues at `allocated`." */
static void case_51_an_older_database(void **state) {
  (void)state;
  struct world w = older_world("table t\n col id u64 pk auto\n col x u8\n");
  struct lc_tx *tx = lc_tx_begin(w.ds);
  assert_int_equal(insert_id(tx, &w, 0, 1, LC_ERRNO_OK), 1);
  commit(&w, tx);
  set_allocated(&w, "t_id_seq", 4097); /* which it reserved with the first */
  crash(&w);
  assert_true(add_missing(&w));
  assert_string_equal(last_record(&w), "+1:6 +2:28 +3:1 +4:8 +5:8");
  assert_false(add_missing(&w)); /* once */
  for (int again = 0; again < 2; again++) {
    assert_int_equal(count(&w, LC_ST_TABLE), 27);
    assert_int_equal(count(&w, LC_ST_INDEX), 38);
    assert_int_equal(allocated(&w, "st_outbound_stream_stream_id_seq"), 4096);
    tx = lc_tx_begin(w.ds);
    assert_int_equal(insert_id(tx, &w, 0, 1, LC_ERRNO_OK), 4097 + again);
    commit(&w, tx);
    crash(&w);
    assert_false(add_missing(&w)); /* the log has them now */
  }
  struct lc_datastore *copy = engine_copy(w.ds, 1000, false); /* and what a snapshot holds describes them too */
  lc_datastore_free(w.ds);
  w.ds = copy;
  assert_false(add_missing(&w));
  world_free(&w);
  w = older_world("table t\n col a u8 pk\n"); /* of a version between, whose log describes some of them: as above, but only 21 and 22 */
  struct lc_buf described = {0};
  lc_buf_u8(&described, 0x20);
  lc_buf_varint(&described, 1);
  lc_buf_u32(&described, LC_ST_TABLE);
  lc_buf_varint(&described, 2);
  for (uint32_t id = LC_ST_ENV; id <= LC_ST_OUTBOUND_STREAM; id++) {
    struct lc_slice row;
    assert_int_equal(lc_view_find((struct lc_read_view){.ds = w.ds}, 1, lc_slice(&id, 4), &row, &err), LC_ERRNO_OK);
    lc_buf_slice_append(&described, row);
  }
  lc_buf_varint(&described, 0);
  lc_buf_varint(&described, 0);
  lc_buf_slice_append(&w.log, lc_buf_slice(&described));
  w.n_records++;
  lc_buf_free(&described);
  crash(&w);
  assert_true(add_missing(&w));
  assert_string_equal(last_record(&w), "+1:4 +2:21 +4:5 +5:5");
  world_free(&w);
  w = world_new("table t\n col a u8 pk\n"); /* one of this version has nothing to add */
  crash(&w);
  assert_false(add_missing(&w));
  world_free(&w);
}

static void begin_ops(struct world *w, uint32_t n) {
  if (n) lc_buf_u8(&w->log, 0x20), w->n_records++;
  lc_buf_varint(&w->log, n);
}
static void begin_op(struct world *w, uint32_t table_id, uint32_t n_rows) {
  lc_buf_u32(&w->log, table_id);
  lc_buf_varint(&w->log, n_rows);
}
static void st_column(struct world *w, uint16_t position, const char *name, enum lc_type_kind kind) {
  struct lc_buf type = {0};
  lc_type_encode(&type, lc_type_primitive(kind));
  lc_buf_u32(&w->log, 27);
  lc_buf_u16(&w->log, position);
  lc_buf_bsatn_str(&w->log, name);
  lc_buf_bsatn_bytes(&w->log, lc_buf_slice(&type));
  lc_buf_free(&type);
}
static void future_row(struct world *w, uint32_t k, const char *v) {
  lc_buf_u32(&w->log, k);
  lc_buf_bsatn_str(&w->log, v);
}
/* What a crash writes to stderr. */
static const char *crash_with_warnings(struct world *w) {
  static char text[2000];
  FILE *f = tmpfile();
  int kept = dup(2);
  assert_non_null(f);
  dup2(fileno(f), 2);
  crash(w);
  fflush(stderr);
  dup2(kept, 2);
  close(kept);
  rewind(f);
  text[fread(text, 1, sizeof text - 1, f)] = 0;
  fclose(f);
  return text;
}

/* spec/07 §19: "A log with system table id 27 and rows in it opens with a warning and keeps them." */
static void case_53_a_newer_database(void **state) {
  (void)state;
  struct world w = world_new("table t\n col a u8 pk\n");
  const uint16_t first = 0;
  begin_ops(&w, 4);
  begin_op(&w, LC_ST_TABLE, 1);
  lc_buf_u32(&w.log, 27);
  lc_buf_bsatn_str(&w.log, "st_future");
  lc_buf_bsatn_str(&w.log, "system");
  lc_buf_bsatn_str(&w.log, "private");
  lc_buf_u8(&w.log, 0);
  lc_buf_u32(&w.log, 1);
  lc_buf_u16(&w.log, first);
  begin_op(&w, LC_ST_COLUMN, 2);
  st_column(&w, 0, "k", LC_T_U32);
  st_column(&w, 1, "v", LC_T_STRING);
  begin_op(&w, LC_ST_INDEX, 1);
  lc_buf_u32(&w.log, 38);
  lc_buf_u32(&w.log, 27);
  lc_buf_bsatn_str(&w.log, "st_future_k_idx_btree");
  lc_buf_u8(&w.log, 1);
  lc_buf_u32(&w.log, 1);
  lc_buf_u16(&w.log, first);
  begin_op(&w, LC_ST_CONSTRAINT, 1);
  lc_buf_u32(&w.log, 34);
  lc_buf_bsatn_str(&w.log, "st_future_k_key");
  lc_buf_u32(&w.log, 27);
  lc_buf_u8(&w.log, 1);
  lc_buf_u32(&w.log, 1);
  lc_buf_u16(&w.log, first);
  begin_ops(&w, 0);
  lc_buf_varint(&w.log, 0);
  begin_ops(&w, 1); /* rows; then one is deleted and one replaced */
  begin_op(&w, 27, 3);
  future_row(&w, 1, "one");
  future_row(&w, 2, "two");
  future_row(&w, 3, "three");
  begin_ops(&w, 0);
  lc_buf_varint(&w.log, 0);
  begin_ops(&w, 1);
  begin_op(&w, 27, 1);
  future_row(&w, 2, "II");
  lc_buf_varint(&w.log, 1);
  begin_op(&w, 27, 2);
  future_row(&w, 2, "two");
  future_row(&w, 3, "three");
  lc_buf_varint(&w.log, 0);
  const char *told = crash_with_warnings(&w);
  if (!strstr(told, "system table 27, st_future, is of a newer version and not known to this one: its rows are kept")) fail_msg("%s", told);
  assert_null(strstr(strstr(told, "table 27") + 1, "table 27")); /* once */
  for (int how = 0; how < 3; how++) { /* from the log, from a snapshot, from the log behind what went on since */
    struct lc_slice row;
    const struct lc_table_info *future = lc_datastore_table(w.ds, 27);
    assert_non_null(future);
    assert_true(future->is_system && !future->is_public && future->primary_key == 0 && future->n_indexes == 1 && future->indexes[0].is_unique);
    assert_int_equal(count(&w, 27), 2);
    assert_int_equal(lc_view_find((struct lc_read_view){.ds = w.ds}, 38, lc_slice("\2\0\0\0", 4), &row, &err), LC_ERRNO_OK);
    assert_int_equal(row.len, 10);
    assert_memory_equal(row.data, "\2\0\0\0\2\0\0\0II", 10);
    find_t(&w);
    assert_int_equal(w.t, 4096);
    struct lc_tx *tx = lc_tx_begin(w.ds);
    assert_int_equal(insert(tx, &w, &(uint8_t){(uint8_t)how}, 1), LC_ERRNO_OK);
    commit(&w, tx);
    struct lc_datastore *copy = how == 0 ? engine_copy(w.ds, 1000, true) : NULL;
    if (copy) {
      lc_datastore_free(w.ds);
      w.ds = copy;
    } else {
      crash(&w);
    }
    assert_int_equal(count(&w, w.t), how + 1);
  }
  struct lc_module_def *old = def_text("table t\n col a u8 pk\n"), *new = def_text("table t\n col a u8 pk\ntable more\n col a u8 pk\n"); /* and an update of the module leaves it alone */
  struct lc_tx *tx = lc_tx_begin(w.ds);
  if (lc_schema_update(tx, old, new, &facts, &err) != LC_OK) fail_msg("%s", err.text);
  commit(&w, tx);
  assert_int_equal(lc_datastore_table_by_name(w.ds, lc_slice_str("more"))->table_id, 4097);
  crash(&w);
  assert_int_equal(count(&w, 27), 2);
  lc_module_def_free(old);
  lc_module_def_free(new);
  world_free(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sequence_example),      cmocka_unit_test(sequence_is_written_once), cmocka_unit_test(sequence_triggers),          cmocka_unit_test(sequence_columns), cmocka_unit_test(sequence_skips),
      cmocka_unit_test(sequence_never_again),  cmocka_unit_test(equal_rows_and_violations), cmocka_unit_test(deletions_are_counted),     cmocka_unit_test(updates_net_out),  cmocka_unit_test(bootstrap_and_init_records),
      cmocka_unit_test(truncation),            cmocka_unit_test(offsets),                  cmocka_unit_test(inputs),                     cmocka_unit_test(rollback_of_everything),
      cmocka_unit_test(case_51_an_older_database), cmocka_unit_test(case_53_a_newer_database)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
