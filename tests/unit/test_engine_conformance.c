/* Conformance cases of the datastore by number (spec/06 §21; spec/07 §11, §12 where they differ). A crash is a replay of the log into a new datastore. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "engine_world.h"

static void case_01_system_tables(void **state) {
  (void)state;
  struct world w = world_new("table t\n col id u64 pk auto\n");
  assert_int_equal(count(&w, LC_ST_TABLE), 27); /* 26 of its own (spec/07 §9) */
  assert_int_equal(w.t, 4096);
  assert_true(w.info->indexes[0].index_id >= 4096);
  struct lc_slice key = lc_slice("\x0a\0\0\0t_id_key", 12);
  struct lc_row_iter *it;
  bool found = false;
  for (uint32_t table = LC_ST_SEQUENCE; table <= LC_ST_CONSTRAINT; table += LC_ST_CONSTRAINT - LC_ST_SEQUENCE) {
    assert_int_equal(lc_view_scan((struct lc_read_view){.ds = w.ds}, table, &it), LC_ERRNO_OK);
    for (struct lc_slice row; (row = lc_row_iter_next(it)).data;) {
      uint32_t id;
      memcpy(&id, row.data, 4);
      if (table == LC_ST_CONSTRAINT && memcmp(row.data + 8, key.data + 4, 8) == 0) found = id >= 4096;
      if (table == LC_ST_CONSTRAINT || memcmp(row.data + 8, "t_id_seq", 8) != 0) continue;
      static const uint8_t one[16] = {1}, max[16] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 127};
      const uint8_t *const want[] = {one, one, one, max, one}; /* increment, start, min, max, allocated */
      for (size_t i = 0; i < 5; i++) assert_memory_equal(row.data + row.len - 80 + 16 * i, want[i], 16);
    }
    lc_row_iter_close(it);
  }
  assert_true(found);
  world_free(&w);
}

static void case_02_numbers_and_a_crash(void **state) { /* as spec/07 §11: a restart skips nothing */
  (void)state;
  struct world w = world_new("table t\n col id u64 pk auto\n col x u8\n");
  struct lc_tx *tx = lc_tx_begin(w.ds);
  assert_int_equal(insert_id(tx, &w, 0, 1, LC_ERRNO_OK), 1);
  commit(&w, tx);
  crash(&w);
  tx = lc_tx_begin(w.ds);
  assert_int_equal(insert_id(tx, &w, 0, 1, LC_ERRNO_OK), 2);
  assert_int_equal(insert_id(tx, &w, 5, 1, LC_ERRNO_OK), 5); /* given: the sequence does not move */
  assert_int_equal(insert_id(tx, &w, 0, 1, LC_ERRNO_OK), 3);
  assert_int_equal(insert_id(tx, &w, 0, 1, LC_ERRNO_OK), 4);
  insert_id(tx, &w, 0, 2, LC_ERRNO_UNIQUE_EXISTS); /* 5 is taken by another row */
  commit(&w, tx);
  world_free(&w);
}

static void case_03_truncated_numbers(void **state) {
  (void)state;
  struct world w = world_new("table t\n col v u8 auto\n col n u32\n");
  struct lc_tx *tx = lc_tx_begin(w.ds);
  for (uint32_t i = 1; i <= 257; i++) {
    uint8_t row[5] = {0};
    struct lc_slice stored;
    memcpy(row + 1, &i, 4);
    assert_int_equal(lc_tx_insert(tx, w.t, lc_slice(row, 5), NULL, &stored, &err), LC_ERRNO_OK);
    assert_int_equal(stored.data[0], i % 256);
  }
  commit(&w, tx);
  world_free(&w);
}

/* Numbers no longer go round (spec/07 §11): each is one more than the last, whatever the row says of step and bounds, and behind the last there is none. */
static void case_04_last_number(void **state) {
  (void)state;
  struct world w = world_new("table t\n col id u64 pk auto\n col x u8\n");
  for (int last = 0; last < 2; last++) {
    struct lc_tx *tx = lc_tx_begin(w.ds);
    struct lc_row_iter *it;
    uint8_t old[256], row[256];
    size_t len = 0;
    bool found;
    assert_int_equal(lc_tx_scan(tx, LC_ST_SEQUENCE, &it), LC_ERRNO_OK);
    for (struct lc_slice r; (r = lc_row_iter_next(it)).data;)
      if (memcmp(r.data + 8, "t_id_seq", 8) == 0) memcpy(old, r.data, len = r.len);
    lc_row_iter_close(it);
    memcpy(row, old, len);
    row[len - 80] = 3;                        /* increment */
    memset(row + len - 64, 0, 32);            /* smallest; greatest: 9 */
    row[len - 48] = 9;
    memset(row + len - 32, 0, 16);
    row[len - 32] = 9;
    memset(row + len - 16, last ? 0xff : 0, 16); /* the next: 9, or the greatest there is */
    row[len - 16] = last ? 0xff : 9;
    row[len - 1] = last ? 0x7f : 0;
    assert_int_equal(lc_tx_delete_row(tx, LC_ST_SEQUENCE, lc_slice(old, len), &found, &err), LC_ERRNO_OK);
    assert_true(found);
    assert_int_equal(lc_tx_insert(tx, LC_ST_SEQUENCE, lc_slice(row, len), NULL, NULL, &err), LC_ERRNO_OK);
    commit(&w, tx);
    tx = lc_tx_begin(w.ds);
    if (last) {
      insert_id(tx, &w, 0, 1, LC_ERRNO_AUTO_INC_OVERFLOW);
      assert_string_equal(err.text, "Incrementing sequence with previous value 170141183460469231731687303715884105727 would result in integer overflow");
      insert_id(tx, &w, 7, 1, LC_ERRNO_OK);
    } else {
      assert_int_equal(insert_id(tx, &w, 0, 1, LC_ERRNO_OK), 9);
      assert_int_equal(insert_id(tx, &w, 0, 1, LC_ERRNO_OK), 10);
    }
    commit(&w, tx);
  }
  assert_int_equal(count(&w, w.t), 3);
  world_free(&w);
}

static void case_05_failed_reservation(void **state) { /* and the skips of spec/07 §11: never a committed value twice */
  (void)state;
  struct world w = world_new("table t\n col id u64 pk auto\n col x u8\n");
  lc_datastore_sequence_skips(w.ds, 42);
  uint64_t last = 0, skips = 0;
  for (int round = 0; round < 30; round++) {
    struct lc_tx *tx = lc_tx_begin(w.ds);
    insert_id(tx, &w, 0, 1, LC_ERRNO_OK);
    lc_tx_rollback(tx);
    tx = lc_tx_begin(w.ds);
    for (int i = 0; i < 1000; i++) {
      uint64_t id = insert_id(tx, &w, 0, 1, LC_ERRNO_OK);
      assert_true(id > last);
      skips += id != last + 1 && id % 4096 == 0;
      assert_true(id == last + 1 || id % 4096 == 0);
      last = id;
    }
    commit(&w, tx);
    if (round % 10 == 9) {
      crash(&w);
      lc_datastore_sequence_skips(w.ds, 43);
    }
  }
  assert_true(skips > 0);
  world_free(&w);
}

static void case_06_a_table_is_a_set(void **state) {
  (void)state;
  static const char *const schemas[] = {"table t\n col x u8\n", "table t\n col x u8 pk\n", "table t\n col x u8 index\n"};
  for (size_t i = 0; i < 3; i++) {
    struct world w = world_new(schemas[i]);
    for (int k = 0; k < 2; k++) {
      uint32_t before = w.n_records;
      struct lc_tx *tx = lc_tx_begin(w.ds);
      assert_int_equal(insert(tx, &w, "\5", 1), LC_ERRNO_OK);
      assert_int_equal(insert(tx, &w, "\5", 1), LC_ERRNO_OK);
      commit(&w, tx);
      assert_int_equal(count(&w, w.t), 1);
      assert_int_equal(w.n_records - before, k == 0);
    }
    world_free(&w);
  }
}

static void case_07_netting(void **state) {
  (void)state;
  struct world w = world_new("table t\n col x u8 pk\n col y u8\n");
  struct lc_tx *tx = lc_tx_begin(w.ds);
  assert_int_equal(insert(tx, &w, "\1\1", 2), LC_ERRNO_OK);
  commit(&w, tx);
  uint32_t before = w.n_records, n;
  for (int many = 0; many < 2; many++) { /* few changes, and more than are compared one by one */
    tx = lc_tx_begin(w.ds);
    assert_int_equal(lc_tx_delete_point(tx, w.info->indexes[0].index_id, lc_slice("\1", 1), &n, &err), LC_ERRNO_OK);
    assert_int_equal(insert(tx, &w, "\1\1", 2), LC_ERRNO_OK);
    for (uint8_t x = 2; x < (many ? 200 : 4); x++) {
      uint8_t row[2] = {x, x};
      assert_int_equal(insert(tx, &w, row, 2), LC_ERRNO_OK);
      assert_int_equal(lc_tx_update(tx, w.t, w.info->indexes[0].index_id, lc_slice((uint8_t[]){x, 0}, 2), NULL, NULL, &err), LC_ERRNO_OK);
      assert_int_equal(lc_tx_delete_point(tx, w.info->indexes[0].index_id, lc_slice(row, 1), &n, &err), LC_ERRNO_OK);
    }
    commit(&w, tx);
    assert_int_equal(w.n_records, before);
    assert_int_equal(w.n_inserts + w.n_deletes, 0);
  }
  world_free(&w);
}

static void case_08_errnos(void **state) {
  (void)state;
  struct world w = world_new("table t\n col a u8 pk\n col b u8 unique\n col c u8 index\n");
  struct lc_tx *tx = lc_tx_begin(w.ds);
  assert_int_equal(insert(tx, &w, "\1\1\1", 3), LC_ERRNO_OK);
  assert_int_equal(insert(tx, &w, "\2\2\1", 3), LC_ERRNO_OK);
  assert_int_equal(insert(tx, &w, "\3\2\1", 3), LC_ERRNO_UNIQUE_EXISTS);
  assert_string_equal(err.text, "Unique constraint violation 't_b_idx_btree' in table 't': column(s): '[\"b\"]' value: 2");
  uint32_t by_a = w.info->indexes[0].index_id, by_b = w.info->indexes[1].index_id, by_c = w.info->indexes[2].index_id;
  assert_int_equal(lc_tx_update(tx, w.t, by_c, lc_slice("\1\1\2", 3), NULL, NULL, &err), LC_ERRNO_INDEX_NOT_UNIQUE);
  assert_int_equal(lc_tx_update(tx, w.t, by_a, lc_slice("\7\7\7", 3), NULL, NULL, &err), LC_ERRNO_NO_SUCH_ROW);
  assert_int_equal(lc_tx_update(tx, w.t, 77777, lc_slice("\1\1\2", 3), NULL, NULL, &err), LC_ERRNO_NO_SUCH_INDEX);
  assert_int_equal(lc_tx_update(tx, w.t, by_a, lc_slice("\1\2\1", 3), NULL, NULL, &err), LC_ERRNO_UNIQUE_EXISTS);
  assert_int_equal(lc_tx_update(tx, w.t, by_b, lc_slice("\5\1\1", 3), NULL, NULL, &err), LC_ERRNO_OK); /* another primary key */
  commit(&w, tx);
  assert_int_equal(count(&w, w.t), 2);
  world_free(&w);
}

static uint32_t range(struct lc_tx *tx, struct world *w, struct lc_slice prefix, uint32_t elems, struct lc_slice low, struct lc_slice high, int want) {
  struct lc_row_iter *it;
  uint32_t n = 0;
  int rc = lc_tx_scan_range(tx, w->info->indexes[0].index_id, prefix, elems, low, high, &it, &err);
  assert_int_equal(rc, want);
  if (rc != LC_ERRNO_OK) return 0;
  while (lc_row_iter_next(it).data) n++;
  lc_row_iter_close(it);
  return n;
}
static void case_09_10_ranges(void **state) {
  (void)state;
  struct world w = world_new("table t\n col a u8\n col b u8\n index ab btree a,b\n"), one = world_new("table t\n col a u8 index\n");
  struct lc_slice none = {0}, open = lc_slice("\2", 1), incl_1 = lc_slice("\0\1", 2), incl_2 = lc_slice("\0\2", 2), excl_1 = lc_slice("\1\1", 2);
  struct lc_tx *tx = lc_tx_begin(w.ds), *other = lc_tx_begin(one.ds);
  assert_int_equal(insert(tx, &w, "\1\1", 2) | insert(tx, &w, "\1\2", 2) | insert(tx, &w, "\2\1", 2), LC_ERRNO_OK);
  assert_int_equal(range(tx, &w, lc_slice("\1", 1), 1, open, open, LC_ERRNO_OK), 2);
  assert_int_equal(range(tx, &w, none, 0, incl_1, incl_1, LC_ERRNO_OK), 2);
  assert_int_equal(range(tx, &w, none, 0, excl_1, open, LC_ERRNO_OK), 1);
  assert_int_equal(range(tx, &w, none, 0, incl_2, incl_1, LC_ERRNO_OK), 0);
  assert_int_equal(range(tx, &w, lc_slice("\1", 1), 0, open, open, LC_ERRNO_OK), 3); /* the prefix is not looked at */
  range(tx, &w, lc_slice("\1\1", 2), 2, open, open, LC_ERRNO_BSATN_DECODE);
  range(other, &one, lc_slice("\1", 1), 1, open, open, LC_ERRNO_BSATN_DECODE);
  lc_tx_rollback(tx);
  lc_tx_rollback(other);
  world_free(&w);
  world_free(&one);
}

/* A V9 definition of table t with one column c of that type, or of a named type E that is it, and a direct index on it. */
static struct lc_buf direct_definition(const uint8_t *type, size_t len, bool is_named) {
  struct lc_buf b = {0};
  lc_buf_u8(&b, 1);                                   /* V9 */
  lc_buf_u32(&b, is_named ? 2 : 1);                   /* types: the row, perhaps E */
  lc_buf_append(&b, (const uint8_t[]){2, 1, 0, 0, 0, 0}, 6); /* a product of one element with a name */
  lc_buf_bsatn_str(&b, "c");
  if (is_named) lc_buf_append(&b, (const uint8_t[]){0, 1, 0, 0, 0}, 5); /* a reference to it */
  lc_buf_append(&b, type, len);
  lc_buf_u32(&b, 1);                                  /* tables */
  lc_buf_bsatn_str(&b, "t");
  lc_buf_u32(&b, 0);
  lc_buf_u32(&b, 0);                                  /* no primary key */
  lc_buf_u32(&b, 1);                                  /* indexes */
  lc_buf_u8(&b, 0);
  lc_buf_bsatn_str(&b, "t_c_idx_direct");
  lc_buf_append(&b, (const uint8_t[]){1, 2, 0, 0}, 4); /* no accessor; direct on column 0 */
  lc_buf_u32(&b, 1);                                  /* constraints */
  lc_buf_append(&b, (const uint8_t[]){1, 0, 1, 0, 0, 0, 0, 0}, 8); /* without a name: unique on column 0 */
  lc_buf_u32(&b, 0);                                  /* sequences */
  lc_buf_append(&b, (const uint8_t[]){1, 1, 0}, 3);   /* no schedule; user, public */
  lc_buf_u32(&b, 0);                                  /* reducers */
  lc_buf_u32(&b, is_named ? 2 : 1);                   /* named types */
  for (uint32_t i = 0; i < (is_named ? 2 : 1); i++) {
    lc_buf_u32(&b, 0);
    lc_buf_bsatn_str(&b, i ? "E" : "T");
    lc_buf_u32(&b, i);
    lc_buf_u8(&b, 1);
  }
  lc_buf_u32(&b, 0);
  lc_buf_u32(&b, 0);
  return b;
}
static void case_11_direct_index(void **state) {
  (void)state;
  static const uint8_t string[] = {4}, plain[] = {1, 3, 0, 0, 0, 0, 1, 0, 0, 0, 'A', 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 'B', 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 'C', 2, 0, 0, 0, 0};
  struct lc_module_def *def;
  struct lc_buf b = direct_definition(string, sizeof string, false);
  assert_int_not_equal(lc_module_def_decode(lc_buf_slice(&b), &def, &err), LC_OK);
  if (!strstr(err.text, "Direct index does not support type `String` in column `c` in index `t_c_idx_direct`")) fail_msg("%s", err.text);
  lc_buf_free(&b);
  b = direct_definition(plain, sizeof plain, true);
  if (lc_module_def_decode(lc_buf_slice(&b), &def, &err) != LC_OK) fail_msg("%s", err.text);
  lc_buf_free(&b);
  struct world w = {0};
  assert_int_equal(lc_datastore_new(&lc_env_system, &w.ds, &err), LC_OK);
  struct lc_tx *tx = lc_tx_begin(w.ds);
  assert_int_equal(lc_schema_create(tx, def, &facts, &err), LC_OK);
  commit(&w, tx);
  lc_module_def_free(def);
  w.info = lc_datastore_table_by_name(w.ds, lc_slice_str("t"));
  w.t = w.info->table_id;
  assert_true(w.info->indexes[0].kind == LC_INDEX_DIRECT && w.info->indexes[0].is_unique);
  tx = lc_tx_begin(w.ds);
  assert_int_equal(insert(tx, &w, "\2", 1) | insert(tx, &w, "\0", 1), LC_ERRNO_OK);
  assert_int_equal(insert(tx, &w, "\3", 1), LC_ERRNO_BSATN_DECODE);
  assert_int_equal(range(tx, &w, lc_slice(NULL, 0), 0, lc_slice("\0\1", 2), lc_slice("\2", 1), LC_ERRNO_OK), 1); /* from B on */
  commit(&w, tx);
  world_free(&w);
}

static void case_12_failure_leaves_nothing(void **state) {
  (void)state;
  struct world w = world_new("table t\n col x u8\n");
  size_t before = w.log.len;
  struct lc_tx *tx = lc_tx_begin(w.ds);
  for (uint8_t x = 0; x < 3; x++) assert_int_equal(insert(tx, &w, &x, 1), LC_ERRNO_OK);
  lc_tx_rollback(tx);
  tx = lc_tx_begin(w.ds);
  commit(&w, tx);
  assert_int_equal(w.log.len, before);
  assert_int_equal(count(&w, w.t), 0);
  world_free(&w);
}

static void case_13_event_table(void **state) {
  (void)state;
  struct world w = world_new("table t event\n col x u8 pk\n");
  size_t before = w.log.len;
  struct lc_tx *tx = lc_tx_begin(w.ds);
  assert_int_equal(insert(tx, &w, "\1", 1) | insert(tx, &w, "\2", 1), LC_ERRNO_OK);
  assert_int_equal(count(&w, w.t), 2);
  commit(&w, tx);
  assert_int_equal(w.n_inserts, 2);
  assert_int_equal(w.n_deletes, 0);
  assert_int_equal(count(&w, w.t), 0);
  assert_memory_equal(w.log.data + w.log.len - 4, "\1\2\0\0", 4); /* both rows; no deletes, no truncations */
  assert_true(w.log.len > before);
  crash(&w);
  assert_int_equal(count(&w, w.t), 0);
  world_free(&w);
}

/* The records of §10.2 from the transactions they tell of, byte for byte, and back to the same rows; frames and flipped bits: test_wal.c, test_golden_commits. */
static void case_14_record_bytes(void **state) {
  (void)state;
  static const struct { const char *schema, *name, *caller, *connection, *args, *row, *record; uint32_t table; int64_t timestamp; } golden[] = {
      {"table a\n col x u8\ntable t\n col who identity\n col at timestamp\n col text string\n", "send_message", "1ad49e8797aeebfb48dac7f50417c4df7540633f52681071545178bd18f200c2", "5045ca3bc37d2f62bedc61278a525756",
       "030000006f6d67", "1ad49e8797aeebfb48dac7f50417c4df7540633f52681071545178bd18f200c2cc38b4cda53c0600030000006f6d67",
       "a04c0000000c73656e645f6d6573736167651ad49e8797aeebfb48dac7f50417c4df7540633f52681071545178bd18f200c25045ca3bc37d2f62bedc61278a525756cc38b4cda53c0600030000006f6d6701"
       "01100000011ad49e8797aeebfb48dac7f50417c4df7540633f52681071545178bd18f200c2cc38b4cda53c0600030000006f6d670000", 4097, 0x00063ca5cdb438cc},
      {"table t\n col id u64\n col name string\n", "add", "0100000000000000000000000000000000000000000000000000000000000000", "00000000000000000000000000000000", "0500000068656c6c6f", "01000000000000000500000068656c6c6f",
       "a045000000036164640100000000000000000000000000000000000000000000000000000000000000" "0000000000000000000000000000000000401e18240a06000500000068656c6c6f" "010010000001010000000000000005000000" "68656c6c6f0000", 4096, 1700000000000000}};
  for (size_t g = 0; g < 2; g++) {
    struct world w = world_new(golden[g].schema);
    uint8_t args[64], row[64], record[256];
    struct lc_tx_inputs inputs = {.name = lc_slice_str(golden[g].name), .timestamp_us = golden[g].timestamp, .args = lc_slice(args, strlen(golden[g].args) / 2)};
    assert_int_equal(w.t, golden[g].table);
    assert_true(lc_hex_decode(golden[g].caller, 64, inputs.caller.bytes) && lc_hex_decode(golden[g].connection, 32, inputs.connection_id.bytes));
    assert_true(lc_hex_decode(golden[g].args, strlen(golden[g].args), args) && lc_hex_decode(golden[g].row, strlen(golden[g].row), row) && lc_hex_decode(golden[g].record, strlen(golden[g].record), record));
    struct lc_tx *tx = lc_tx_begin(w.ds);
    assert_int_equal(insert(tx, &w, row, strlen(golden[g].row) / 2), LC_ERRNO_OK);
    commit_as(&w, tx, &inputs);
    assert_int_equal(w.log.len - w.last, strlen(golden[g].record) / 2);
    assert_memory_equal(w.log.data + w.last, record, w.log.len - w.last);
    crash(&w);
    struct lc_row_iter *it;
    assert_int_equal(lc_view_scan((struct lc_read_view){.ds = w.ds}, w.t, &it), LC_ERRNO_OK);
    struct lc_slice there = lc_row_iter_next(it);
    assert_int_equal(there.len, strlen(golden[g].row) / 2);
    assert_memory_equal(there.data, row, there.len);
    assert_null(lc_row_iter_next(it).data);
    lc_row_iter_close(it);
    world_free(&w);
  }
  struct lc_buf empty = {0};
  struct lc_tx_delta nothing = {0};
  struct lc_tx_inputs none = {0};
  lc_tx_record_encode(&empty, &nothing, &none);
  assert_int_equal(empty.len, 4);
  assert_memory_equal(empty.data, "\x20\0\0\0", 4);
  lc_buf_free(&empty);
}

static void case_15_checksum(void **state) {
  (void)state;
  assert_int_equal(lc_crc32c(0, "123456789", 9), 0xe3069283u);
}

/* spec/05 §21.2: a view's backing table; its rows are not logged, its schema is. */
static void test_view_table(void **state) {
  (void)state;
  struct world w = world_new("table t\n col id u32 pk\nview v as Vee sender\n param p string\n col id u32 pk\n col x u8 as Ex\n");
  for (int pass = 0; pass < 2; pass++) {
    const struct lc_table_info *v = lc_datastore_table_by_name(w.ds, lc_slice_str("Vee"));
    assert_true(v && v->view && !v->view->is_anonymous && v->primary_key < 0);
    assert_int_equal(v->view->params->n_fields, 1);
    assert_true(lc_slice_eq_str(v->row_type->fields[0].name, "arg_hash") && v->row_type->fields[0].type->kind == LC_T_U256);
    assert_true(lc_slice_eq_str(v->column_accessors[2], "Ex"));
    assert_int_equal(v->n_indexes, 2);
    assert_non_null(lc_datastore_index_by_name(w.ds, lc_slice_str("v_arg_hash_idx_btree")));
    assert_true(lc_datastore_index_by_name(w.ds, lc_slice_str("v_arg_hash_id_idx_btree"))->is_unique);
    assert_int_equal(count(&w, LC_ST_VIEW) + count(&w, LC_ST_VIEW_PARAM) + count(&w, LC_ST_VIEW_COLUMN), 4);
    uint32_t before = w.n_records, t = v->table_id;
    uint8_t row[37] = {9};
    struct lc_tx *tx = lc_tx_begin(w.ds);
    assert_int_equal(lc_tx_insert(tx, t, lc_slice(row, sizeof row), NULL, NULL, &err), LC_ERRNO_OK);
    row[36] = 1;
    assert_int_equal(lc_tx_insert(tx, t, lc_slice(row, sizeof row), NULL, NULL, &err), LC_ERRNO_UNIQUE_EXISTS);
    commit(&w, tx);
    assert_int_equal(w.n_records, before);
    assert_int_equal(count(&w, t), 1);
    crash(&w);
    assert_int_equal(count(&w, t), 0);
  }
  world_free(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(case_01_system_tables), cmocka_unit_test(case_02_numbers_and_a_crash), cmocka_unit_test(case_03_truncated_numbers), cmocka_unit_test(case_04_last_number), cmocka_unit_test(case_05_failed_reservation),
      cmocka_unit_test(case_06_a_table_is_a_set), cmocka_unit_test(case_07_netting),          cmocka_unit_test(case_08_errnos),            cmocka_unit_test(case_09_10_ranges), cmocka_unit_test(case_11_direct_index),
      cmocka_unit_test(case_12_failure_leaves_nothing), cmocka_unit_test(case_13_event_table), cmocka_unit_test(case_14_record_bytes), cmocka_unit_test(case_15_checksum),
      cmocka_unit_test(test_view_table)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
