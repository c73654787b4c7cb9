/* Transactions, catalog and records: system tables, sequences, constraints, rollback, and replay giving the same database. */
#include "engine/engine.h"
#include "golden_modules.h"
#include "def_text.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

struct world { struct lc_datastore *ds; struct lc_buf log; uint32_t n_records; struct lc_module_def *def; };
static struct lc_error err;

static void commit(struct world *w, struct lc_tx *tx) {
  static const struct lc_tx_inputs none;
  const struct lc_tx_delta *delta;
  lc_tx_commit(tx, &delta);
  if (lc_tx_delta_is_logged(delta, &none)) {
    lc_tx_record_encode(&w->log, delta, &none);
    w->n_records++;
  }
  lc_tx_delta_release(w->ds, delta);
}

static struct world world_of(struct lc_module_def *def) {
  struct world w = {.def = def};
  assert_int_equal(lc_datastore_new(&lc_env_system, &w.ds, &err), LC_OK);
  assert_int_equal(lc_datastore_bootstrap_record(w.ds, &w.log), LC_OK);
  w.n_records = 1;
  struct lc_tx *tx = lc_tx_begin(w.ds);
  struct lc_module_facts facts = {.program_bytes = lc_slice_str("program")};
  if (lc_schema_create(tx, w.def, &facts, &err) != LC_OK) fail_msg("%s", err.text);
  commit(&w, tx);
  return w;
}
static struct world world_new(const char *module_hex) {
  uint8_t bytes[4096];
  struct lc_module_def *def;
  assert_true(lc_hex_decode(module_hex, strlen(module_hex), bytes));
  assert_int_equal(lc_module_def_decode(lc_slice(bytes, strlen(module_hex) / 2), &def, &err), LC_OK);
  return world_of(def);
}

static void dump_table(void *ctx, const struct lc_table_info *t) {
  struct lc_buf *out = ctx;
  struct lc_row_iter *it;
  struct lc_slice *rows = NULL;
  size_t n = 0;
  lc_buf_bsatn_bytes(out, t->name);
  lc_buf_u32(out, t->n_indexes);
  struct lc_read_view view = {.ds = *(struct lc_datastore **)(void *)(out + 1)};
  assert_int_equal(lc_view_scan(view, t->table_id, &it), LC_ERRNO_OK);
  for (struct lc_slice row; (row = lc_row_iter_next(it)).data;) {
    rows = lc_realloc(rows, (n + 1) * sizeof *rows);
    size_t at = n++; /* insertion sort by bytes: order of a scan is not part of the state */
    for (; at > 0; at--) {
      size_t m = rows[at - 1].len < row.len ? rows[at - 1].len : row.len;
      int c = memcmp(rows[at - 1].data, row.data, m);
      if (c < 0 || (c == 0 && rows[at - 1].len <= row.len)) break;
      rows[at] = rows[at - 1];
    }
    rows[at] = row;
  }
  for (size_t i = 0; i < n; i++) lc_buf_bsatn_bytes(out, rows[i]);
  lc_row_iter_close(it);
  lc_free(rows);
}

/* Everything visible in a datastore, in one buffer. */
static struct lc_buf dump(struct lc_datastore *ds) {
  struct { struct lc_buf out; struct lc_datastore *ds; } d = {.ds = ds};
  lc_datastore_each_table(ds, dump_table, &d);
  return d.out;
}

static void expect_same(struct lc_datastore *a, struct lc_datastore *b) {
  struct lc_buf x = dump(a), y = dump(b);
  assert_int_equal(x.len, y.len);
  assert_memory_equal(x.data, y.data, x.len);
  lc_buf_free(&x);
  lc_buf_free(&y);
}

static void world_free(struct world *w) { /* after replaying the log into a fresh datastore and finding the same there */
  struct lc_datastore *again;
  size_t used;
  assert_int_equal(lc_datastore_new(&lc_env_system, &again, &err), LC_OK);
  if (lc_datastore_replay(again, lc_buf_slice(&w->log), w->n_records, &used, &err) != LC_OK) fail_msg("replay: %s", err.text);
  assert_int_equal(used, w->log.len);
  expect_same(w->ds, again);
  lc_datastore_free(again);
  assert_int_equal(lc_datastore_new(&lc_env_system, &again, &err), LC_OK); /* and record by record */
  struct lc_slice rest = lc_buf_slice(&w->log);
  for (uint32_t i = 0; i < w->n_records; i++) {
    assert_int_equal(lc_datastore_replay_more(again, rest, 1, &used, &err), LC_OK);
    rest = lc_slice(rest.data + used, rest.len - used);
  }
  assert_int_equal(rest.len, 0);
  assert_int_equal(lc_datastore_replay_settle(again, &err), LC_OK);
  expect_same(w->ds, again);
  lc_datastore_free(again);
  lc_datastore_free(w->ds);
  lc_module_def_free(w->def);
  lc_buf_free(&w->log);
}

static uint64_t rows_in(struct world *w, const char *table) {
  return lc_view_row_count((struct lc_read_view){.ds = w->ds}, lc_datastore_table_by_name(w->ds, lc_slice_str(table))->table_id);
}

static struct lc_slice player(struct lc_buf *b, uint64_t id, const char *name) {
  lc_buf_clear(b);
  lc_buf_u64(b, id);
  lc_buf_bsatn_str(b, name);
  return lc_buf_slice(b);
}

static void test_system_tables(void **state) { /* spec/07 §12, §19 case 50 */
  (void)state;
  struct world w = world_new("0200000000"); /* a module with nothing in it */
  assert_int_equal(rows_in(&w, "st_table"), 26);
  assert_int_equal(rows_in(&w, "st_column"), 102);
  assert_int_equal(rows_in(&w, "st_sequence"), 8);
  assert_int_equal(rows_in(&w, "st_index"), 37);
  assert_int_equal(rows_in(&w, "st_constraint"), 33);
  assert_int_equal(rows_in(&w, "st_module"), 1);
  const struct lc_index_info *ix = lc_datastore_index_by_name(w.ds, lc_slice_str("st_view_sub_view_id_arg_id_identity_idx_btree"));
  assert_non_null(ix);
  assert_int_equal(ix->index_id, 20);
  assert_false(ix->is_unique);
  world_free(&w);
}

static void test_sequence_and_set(void **state) { /* spec/02 §16 cases 18-20, spec/07 §11 */
  (void)state;
  struct world w = world_new(g1_hex);
  const struct lc_table_info *t = lc_datastore_table_by_name(w.ds, lc_slice_str("player"));
  assert_int_equal(t->table_id, LC_FIRST_USER_ID);
  struct lc_buf row = {0}, generated = {0};
  uint64_t want[] = {1, 2, 0, 3};
  struct lc_tx *tx = lc_tx_begin(w.ds);
  for (int i = 0; i < 4; i++) {
    lc_buf_clear(&generated);
    struct lc_slice in = i == 2 ? player(&row, 3, "explicit") : player(&row, 0, "bob");
    int rc = lc_tx_insert(tx, t->table_id, in, &generated, NULL, &err);
    if (i == 3) {
      assert_int_equal(rc, LC_ERRNO_UNIQUE_EXISTS);
      assert_string_equal(err.text, "Unique constraint violation 'player_id_idx_btree' in table 'player': column(s): '[\"id\"]' value: 3");
      continue;
    }
    assert_int_equal(rc, LC_ERRNO_OK);
    assert_int_equal(generated.len, want[i] ? 8 : 0);
    if (want[i]) assert_memory_equal(generated.data, &want[i], 8);
  }
  assert_int_equal(lc_tx_insert(tx, t->table_id, player(&row, 3, "explicit"), NULL, NULL, &err), LC_ERRNO_OK); /* a table is a set */
  assert_int_equal(lc_tx_insert(tx, t->table_id, player(&row, 3, "other"), NULL, NULL, &err), LC_ERRNO_UNIQUE_EXISTS);
  commit(&w, tx);
  assert_int_equal(rows_in(&w, "player"), 3);
  tx = lc_tx_begin(w.ds); /* a rolled back value is given again */
  lc_buf_clear(&generated);
  assert_int_equal(lc_tx_insert(tx, t->table_id, player(&row, 0, "x"), &generated, NULL, &err), LC_ERRNO_OK);
  assert_int_equal(generated.data[0], 4);
  lc_tx_rollback(tx);
  assert_int_equal(rows_in(&w, "player"), 3);
  tx = lc_tx_begin(w.ds);
  lc_buf_clear(&generated);
  assert_int_equal(lc_tx_insert(tx, t->table_id, player(&row, 0, "x"), &generated, NULL, &err), LC_ERRNO_OK);
  assert_int_equal(generated.data[0], 4);
  commit(&w, tx);
  uint32_t n = w.n_records; /* deleted and put back: nothing changed, nothing is logged */
  bool found;
  tx = lc_tx_begin(w.ds);
  assert_int_equal(lc_tx_delete_row(tx, t->table_id, player(&row, 4, "x"), &found, &err), LC_ERRNO_OK);
  assert_true(found);
  assert_int_equal(lc_tx_insert(tx, t->table_id, player(&row, 4, "x"), NULL, NULL, &err), LC_ERRNO_OK);
  commit(&w, tx);
  assert_int_equal(w.n_records, n);
  lc_buf_free(&row);
  lc_buf_free(&generated);
  world_free(&w);
}

/* What a transaction changes has a limit, which counts rows that come and rows that go; its record is never longer than was said. */
static void test_transaction_limit(void **state) {
  (void)state;
  struct world w = world_new(g1_hex);
  const struct lc_table_info *t = lc_datastore_table_by_name(w.ds, lc_slice_str("player"));
  struct lc_buf row = {0};
  bool found;
  lc_datastore_limit_transactions(w.ds, 5 * 16);
  struct lc_tx *tx = lc_tx_begin(w.ds);
  for (uint64_t i = 1; i <= 5; i++) assert_int_equal(lc_tx_insert(tx, t->table_id, player(&row, i, "four"), NULL, NULL, &err), LC_ERRNO_OK);
  for (int again = 0; again < 2; again++) {
    assert_int_equal(lc_tx_insert(tx, t->table_id, player(&row, 6, ""), NULL, NULL, &err), LC_ERRNO_TRAP);
    assert_int_equal(err.status, LC_LIMIT);
    assert_string_equal(err.text, "one transaction cannot change more than 80 bytes of rows");
  }
  assert_int_equal(lc_tx_delete_row(tx, t->table_id, player(&row, 5, "four"), &found, &err), LC_ERRNO_TRAP);
  lc_tx_rollback(tx);
  assert_int_equal(rows_in(&w, "player"), 0);
  tx = lc_tx_begin(w.ds);
  for (uint64_t i = 1; i <= 4; i++) assert_int_equal(lc_tx_insert(tx, t->table_id, player(&row, i, "four"), NULL, NULL, &err), LC_ERRNO_OK);
  struct lc_tx_inputs inputs = {.name = lc_slice_str("add"), .args = lc_slice_str("abc")};
  uint64_t max_bytes = lc_tx_record_max_bytes(tx, &inputs);
  const struct lc_tx_delta *delta;
  size_t before = w.log.len;
  lc_tx_commit(tx, &delta);
  lc_tx_record_encode(&w.log, delta, &inputs);
  lc_tx_delta_release(w.ds, delta);
  w.n_records++;
  assert_true(w.log.len - before <= max_bytes && max_bytes < 1000);
  tx = lc_tx_begin(w.ds); /* an update counts twice */
  assert_int_equal(lc_tx_update(tx, t->table_id, t->indexes[0].index_id, player(&row, 1, "FOUR"), NULL, NULL, &err), LC_ERRNO_OK);
  assert_int_equal(lc_tx_update(tx, t->table_id, t->indexes[0].index_id, player(&row, 2, "FOUR"), NULL, NULL, &err), LC_ERRNO_OK);
  assert_int_equal(lc_tx_update(tx, t->table_id, t->indexes[0].index_id, player(&row, 3, "FOUR"), NULL, NULL, &err), LC_ERRNO_TRAP);
  lc_tx_rollback(tx);
  lc_buf_free(&row);
  world_free(&w);
}

static void test_errors(void **state) { /* spec/02 §16 cases 23, 24, 26, spec/02 §6 */
  (void)state;
  struct world w = world_new(g1_hex);
  const struct lc_table_info *t = lc_datastore_table_by_name(w.ds, lc_slice_str("player"));
  uint32_t ix = t->indexes[0].index_id, count;
  struct lc_buf row = {0};
  struct lc_row_iter *it;
  struct lc_tx *tx = lc_tx_begin(w.ds);
  assert_int_equal(lc_tx_insert(tx, 9999, player(&row, 1, "a"), NULL, NULL, &err), LC_ERRNO_NO_SUCH_TABLE);
  assert_int_equal(lc_tx_insert(tx, t->table_id, lc_slice("abc", 3), NULL, NULL, &err), LC_ERRNO_BSATN_DECODE);
  assert_int_equal(lc_tx_update(tx, t->table_id, ix, player(&row, 5, "a"), NULL, NULL, &err), LC_ERRNO_NO_SUCH_ROW);
  assert_int_equal(lc_tx_update(tx, t->table_id, 1, player(&row, 5, "a"), NULL, NULL, &err), LC_ERRNO_NO_SUCH_INDEX);
  assert_int_equal(lc_tx_update(tx, LC_ST_ROW_LEVEL_SECURITY, 11, lc_slice("\1\0\0\0\0\0\0\0", 8), NULL, NULL, &err), LC_ERRNO_INDEX_NOT_UNIQUE);
  assert_int_equal(lc_tx_scan_range(tx, ix, lc_slice(NULL, 0), 1, lc_slice("\2", 1), lc_slice("\2", 1), &it, &err), LC_ERRNO_BSATN_DECODE);
  assert_int_equal(lc_tx_scan_range(tx, ix, lc_slice(NULL, 0), 0, lc_slice("\7", 1), lc_slice("\2", 1), &it, &err), LC_ERRNO_BSATN_DECODE);
  assert_int_equal(lc_tx_scan_point(tx, 99999, lc_slice("", 0), &it, &err), LC_ERRNO_NO_SUCH_INDEX);
  assert_int_equal(lc_tx_insert(tx, t->table_id, player(&row, 5, "a"), NULL, NULL, &err), LC_ERRNO_OK);
  assert_int_equal(lc_tx_update(tx, t->table_id, ix, player(&row, 5, "b"), NULL, NULL, &err), LC_ERRNO_OK);
  uint64_t five = 5;
  assert_int_equal(lc_tx_delete_point(tx, ix, lc_slice(&five, 8), &count, &err), LC_ERRNO_OK);
  assert_int_equal(count, 1);
  assert_int_equal(lc_tx_delete_point(tx, ix, lc_slice(&five, 8), &count, &err), LC_ERRNO_OK);
  assert_int_equal(count, 0);
  commit(&w, tx);
  lc_buf_free(&row);
  world_free(&w);
}

static void test_clients(void **state) {
  (void)state;
  struct world w = world_new(g1_hex);
  struct lc_identity id = {{1}};
  struct lc_connection_id conn = {{2}};
  struct lc_buf jwt = {0};
  bool was_there;
  struct lc_tx *tx = lc_tx_begin(w.ds);
  assert_int_equal(lc_tx_client_add(tx, &id, &conn, lc_slice_str("{}"), &err), LC_OK);
  assert_true(lc_tx_client_jwt(tx, &conn, &jwt));
  assert_true(lc_slice_eq_str(lc_buf_slice(&jwt), "{}"));
  commit(&w, tx);
  assert_int_equal(rows_in(&w, "st_client"), 1);
  tx = lc_tx_begin(w.ds);
  assert_int_equal(lc_tx_client_remove(tx, &id, &conn, &was_there, &err), LC_OK);
  assert_true(was_there);
  commit(&w, tx);
  assert_int_equal(rows_in(&w, "st_client") + rows_in(&w, "st_connection_credentials"), 0);
  lc_buf_free(&jwt);
  world_free(&w);
}

/* Random transactions on the tables of G2 (unique and secondary indexes, an event table), half of them rolled back: rollback restores
 * everything, and the log gives it all again. */
static void test_random(void **state) {
  (void)state;
  struct world w = world_new(g2_hex);
  uint32_t players = lc_datastore_table_by_name(w.ds, lc_slice_str("players"))->table_id, events = lc_datastore_table_by_name(w.ds, lc_slice_str("ev"))->table_id;
  const struct lc_table_info *t = lc_datastore_table(w.ds, players);
  struct lc_buf row = {0};
  unsigned seed = 7;
  for (int round = 0; round < 300; round++) {
    struct lc_buf before = {0}, after;
    bool roll_back = rand_r(&seed) % 2;
    if (roll_back) before = dump(w.ds);
    struct lc_tx *tx = lc_tx_begin(w.ds);
    for (int step = rand_r(&seed) % 12; step >= 0; step--) {
      char name[16];
      uint64_t id = (uint64_t)(rand_r(&seed) % 20);
      snprintf(name, sizeof name, "n%d", rand_r(&seed) % 20);
      lc_buf_clear(&row); /* id, name, Level2, c, o, ts, arr, u, r */
      lc_buf_u64(&row, id);
      lc_buf_bsatn_str(&row, name);
      lc_buf_u32(&row, (uint32_t)rand_r(&seed) % 4);
      lc_buf_u8(&row, 0);
      lc_buf_u8(&row, 1);
      lc_buf_u64(&row, 0);
      lc_buf_u32(&row, 0);
      lc_buf_u64(&row, 0);
      lc_buf_u64(&row, 0);
      lc_buf_u8(&row, 0);
      lc_buf_u8(&row, 9);
      uint32_t count, level = (uint32_t)rand_r(&seed) % 4;
      int rc = 0;
      switch (rand_r(&seed) % 6) {
      case 0:
      case 1: rc = lc_tx_insert(tx, players, lc_buf_slice(&row), NULL, NULL, &err); break;
      case 2: rc = lc_tx_update(tx, players, t->indexes[rand_r(&seed) % 2].index_id, lc_buf_slice(&row), NULL, NULL, &err); break;
      case 3: rc = lc_tx_delete_point(tx, t->indexes[0].index_id, lc_slice(&id, 8), &count, &err); break;
      case 4: rc = rand_r(&seed) % 8 ? 0 : lc_tx_delete_point(tx, t->indexes[2].index_id, lc_slice(&level, 4), &count, &err); break;
      default: rc = lc_tx_insert(tx, events, lc_slice(&level, 4), NULL, NULL, &err);
      }
      if (rc != 0 && rc != LC_ERRNO_UNIQUE_EXISTS && rc != LC_ERRNO_NO_SUCH_ROW) fail_msg("errno %d: %s", rc, err.text);
    }
    if (!roll_back) {
      commit(&w, tx);
      assert_int_equal(rows_in(&w, "ev"), 0);
      continue;
    }
    lc_tx_rollback(tx);
    after = dump(w.ds);
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, before.len);
    lc_buf_free(&before);
    lc_buf_free(&after);
  }
  /* every row is found through every index */
  struct lc_row_iter *it, *found;
  assert_int_equal(lc_view_scan((struct lc_read_view){.ds = w.ds}, players, &it), LC_ERRNO_OK);
  for (struct lc_slice r; (r = lc_row_iter_next(it)).data;)
    for (uint32_t i = 0; i < t->n_indexes; i++) {
      struct lc_buf key = {0};
      bool hit = false;
      for (uint32_t k = 0; k < t->indexes[i].n_columns; k++) {
        const uint8_t *p = lc_row_column(t->row_type, r.data, t->indexes[i].columns[k]);
        lc_buf_append(&key, p, (size_t)(lc_bsatn_skip(t->row_type->fields[t->indexes[i].columns[k]].type, p) - p));
      }
      assert_int_equal(lc_view_scan_point((struct lc_read_view){.ds = w.ds}, t->indexes[i].index_id, lc_buf_slice(&key), &found, &err), LC_ERRNO_OK);
      for (struct lc_slice f; (f = lc_row_iter_next(found)).data;) hit = hit || lc_slice_eq(f, r);
      assert_true(hit);
      lc_row_iter_close(found);
      lc_buf_free(&key);
    }
  lc_row_iter_close(it);
  lc_buf_free(&row);
  world_free(&w);
}

/* Rows that are replaced, deleted and inserted again in many small transactions over tables of all kinds, with changes of the schema between: replay puts rows
 * later than it reads them, but the state is the same. */
static void test_replay_in_batches(void **state) {
  (void)state;
  enum { transactions = 1200, names = 6 };
  static const char *const tables[names] = {"a", "b", "c", "d", "e", "f"};
  const char *text = "table a\n col id u32 pk\n col v u8\ntable b\n col v u8\n col id u64 pk\ntable c\n col id u32\n col v u8\ntable d\n col id u32 pk\n col v string\n"
                     "table e\n col id u16 pk\n col v u8 index\ntable f\n col id u32 pk\n col v u8\n";
  const char *later = "table a\n col id u32 pk\n col v u8 index\ntable b\n col v u8\n col id u64 pk\ntable c\n col id u32\n col v u8\ntable d\n col id u32 pk\n col v string\n"
                      "table e\n col id u16 pk\n col v u8\ntable f\n col id u32 pk\n col v u8\n";
  struct world w = world_of(def_text(text));
  struct lc_module_def *second = def_text(later);
  struct lc_module_facts facts = {.program_bytes = lc_slice_str("second")};
  struct lc_buf row = {0};
  srand(17);
  for (int i = 0; i < transactions; i++) {
    struct lc_tx *tx = lc_tx_begin(w.ds);
    if (i == transactions / 2 && lc_schema_update(tx, w.def, second, &facts, &err) != LC_OK) fail_msg("%s", err.text);
    for (int ops = rand() % 12; ops > 0; ops--) {
      int k = rand() % names;
      const struct lc_table_info *t = lc_datastore_table_by_name(w.ds, lc_slice_str(tables[k]));
      uint32_t id = (uint32_t)rand() % (i % 300 < 150 ? 12 : 900), v = (uint32_t)rand() % 3, count;
      uint64_t cleared;
      bool found;
      lc_buf_clear(&row);
      if (k == 1) lc_buf_u8(&row, (uint8_t)v), lc_buf_u64(&row, id);
      else if (k == 3) lc_buf_u32(&row, id), lc_buf_bsatn_str(&row, v == 0 ? "" : v == 1 ? "x" : "longer than a number");
      else if (k == 4) lc_buf_u16(&row, (uint16_t)id), lc_buf_u8(&row, (uint8_t)v);
      else lc_buf_u32(&row, id), lc_buf_u8(&row, (uint8_t)v);
      struct lc_slice bytes = lc_buf_slice(&row);
      int what = rand() % 40;
      if (what < 15) lc_tx_insert(tx, t->table_id, bytes, NULL, NULL, &err); /* or there is one with its key */
      else if (what < 28 && k != 2) lc_tx_update(tx, t->table_id, t->indexes[0].index_id, bytes, NULL, NULL, &err);
      else if (what < 34) lc_tx_delete_row(tx, t->table_id, bytes, &found, &err);
      else if (what < 39 && k != 2) lc_tx_delete_point(tx, t->indexes[0].index_id, lc_slice(bytes.data + (k == 1), k == 1 ? 8 : k == 4 ? 2 : 4), &count, &err);
      else if (rand() % 20 == 0) lc_tx_clear(tx, t->table_id, &cleared, &err);
    }
    commit(&w, tx);
  }
  for (int k = 0; k < names; k++) assert_true(rows_in(&w, tables[k]) > 10);
  lc_buf_free(&row);
  lc_module_def_free(second);
  world_free(&w);
}

/* A failed schema creation leaves the catalog as it was. */
static void test_schema_rollback(void **state) {
  (void)state;
  struct world w = world_new("0200000000"), donor = world_new(g2_hex);
  struct lc_buf before = dump(w.ds);
  struct lc_tx *tx = lc_tx_begin(w.ds);
  struct lc_module_facts facts = {.program_bytes = lc_slice_str("second")};
  assert_int_equal(lc_schema_update(tx, w.def, donor.def, &facts, &err), LC_OK);
  assert_non_null(lc_datastore_table_by_name(w.ds, lc_slice_str("players")));
  lc_tx_rollback(tx);
  assert_null(lc_datastore_table_by_name(w.ds, lc_slice_str("players")));
  struct lc_buf after = dump(w.ds);
  assert_int_equal(before.len, after.len);
  assert_memory_equal(before.data, after.data, before.len);
  tx = lc_tx_begin(w.ds);
  assert_int_equal(lc_schema_update(tx, w.def, donor.def, &facts, &err), LC_OK);
  commit(&w, tx);
  assert_non_null(lc_datastore_table_by_name(w.ds, lc_slice_str("players")));
  lc_buf_free(&before);
  lc_buf_free(&after);
  world_free(&donor);
  world_free(&w);
}

/* An update that changes an indexed float to an equal one with other bits (0 and -0, two that are no number): its entry in the index stays. */
static void test_equal_floats(void **state) {
  (void)state;
  static const uint32_t bits[] = {0x80000000u, 0, 0x7fc00000u, 0xffc00001u};
  struct world w = world_of(def_text("table t\n col id u32 pk\n col f f32 index\n"));
  const struct lc_table_info *t = lc_datastore_table_by_name(w.ds, lc_slice_str("t"));
  uint32_t by_id = t->indexes[0].columns[0] == 0 ? t->indexes[0].index_id : t->indexes[1].index_id, by_f = t->indexes[0].columns[0] == 1 ? t->indexes[0].index_id : t->indexes[1].index_id, n;
  for (int k = 0; k < 4; k += 2) {
    uint8_t row[8] = {1};
    struct lc_row_iter *it;
    struct lc_tx *tx = lc_tx_begin(w.ds);
    memcpy(row + 4, &bits[k], 4);
    assert_int_equal(lc_tx_insert(tx, t->table_id, lc_slice(row, 8), NULL, NULL, &err), LC_ERRNO_OK);
    commit(&w, tx);
    tx = lc_tx_begin(w.ds);
    memcpy(row + 4, &bits[k + 1], 4);
    assert_int_equal(lc_tx_update(tx, t->table_id, by_id, lc_slice(row, 8), NULL, NULL, &err), LC_ERRNO_OK);
    assert_int_equal(lc_tx_scan_point(tx, by_f, lc_slice(&bits[k], 4), &it, &err), LC_ERRNO_OK);
    assert_true(lc_slice_eq(lc_row_iter_next(it), lc_slice(row, 8)));
    lc_row_iter_close(it);
    assert_int_equal(lc_tx_delete_point(tx, by_f, lc_slice(&bits[k + 1], 4), &n, &err), LC_ERRNO_OK);
    assert_int_equal(n, 1);
    commit(&w, tx);
  }
  world_free(&w);
}

/* An index over a column whose values have no bytes: its bounds are bounds. */
static void test_empty_keys(void **state) {
  (void)state;
  struct world w = world_of(def_text("table t\n col id u8 pk\n col e ()\n index x btree e\n"));
  const struct lc_table_info *t = lc_datastore_table_by_name(w.ds, lc_slice_str("t"));
  uint32_t x = lc_datastore_index_by_name(w.ds, lc_slice_str("x"))->index_id, n;
  struct lc_tx *tx = lc_tx_begin(w.ds);
  for (uint8_t i = 0; i < 3; i++) assert_int_equal(lc_tx_insert(tx, t->table_id, lc_slice(&i, 1), NULL, NULL, &err), LC_ERRNO_OK);
  static const struct { const char *start, *end; uint32_t rows; } ranges[] = {{"\0", "\0", 3}, {"\1", "\2", 0}, {"\2", "\1", 0}, {"\2", "\2", 3}, {"\0", "\2", 3}};
  for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
    struct lc_row_iter *it;
    assert_int_equal(lc_tx_scan_range(tx, x, lc_slice(NULL, 0), 0, lc_slice(ranges[i].start, 1), lc_slice(ranges[i].end, 1), &it, &err), LC_ERRNO_OK);
    for (n = 0; lc_row_iter_next(it).data;) n++;
    assert_int_equal(n, ranges[i].rows);
    lc_row_iter_close(it);
  }
  assert_int_equal(lc_tx_delete_range(tx, x, lc_slice(NULL, 0), 0, lc_slice("\0", 1), lc_slice(NULL, 0), &n, &err), LC_ERRNO_OK);
  assert_int_equal(n, 3);
  commit(&w, tx);
  world_free(&w);
}

/* A unique column whose values have no bytes: the table holds one row. */
static void test_empty_cluster_key(void **state) {
  (void)state;
  struct world w = world_of(def_text("table t\n col s string\n col e () unique\n col n u8\n index x btree n\n"));
  const struct lc_table_info *t = lc_datastore_table_by_name(w.ds, lc_slice_str("t"));
  struct lc_tx *tx = lc_tx_begin(w.ds);
  uint32_t by_e = t->indexes[0].columns[0] == 1 ? t->indexes[0].index_id : t->indexes[1].index_id;
  assert_int_equal(lc_tx_insert(tx, t->table_id, lc_slice("\1\0\0\0a\5", 6), NULL, NULL, &err), LC_ERRNO_OK);
  assert_int_equal(lc_tx_insert(tx, t->table_id, lc_slice("\1\0\0\0b\5", 6), NULL, NULL, &err), LC_ERRNO_UNIQUE_EXISTS);
  commit(&w, tx);
  tx = lc_tx_begin(w.ds);
  assert_int_equal(lc_tx_update(tx, t->table_id, by_e, lc_slice("\1\0\0\0b\6", 6), NULL, NULL, &err), LC_ERRNO_OK);
  commit(&w, tx);
  world_free(&w);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_system_tables), cmocka_unit_test(test_sequence_and_set), cmocka_unit_test(test_errors),
                                     cmocka_unit_test(test_clients),       cmocka_unit_test(test_random),           cmocka_unit_test(test_schema_rollback), cmocka_unit_test(test_transaction_limit),
                                     cmocka_unit_test(test_replay_in_batches), cmocka_unit_test(test_equal_floats), cmocka_unit_test(test_empty_keys), cmocka_unit_test(test_empty_cluster_key)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
