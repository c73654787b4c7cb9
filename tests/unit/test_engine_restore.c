/* Dumps of read views and datastores restored from them: the same state, ids, sequences and indexes; bad input; every allocation failing in turn. */
#include "def_text.h"
#include "engine/engine.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include "engine_copy.h"
#include "failures.h"

static struct lc_error err;
static const struct lc_module_facts facts = {.program_bytes = {(const uint8_t *)"program", 7}};
static int64_t fail_after = -1;
static bool may_fail(size_t size_bytes) {
  (void)size_bytes;
  if (fail_after < 0) return false;
  return fail_after-- == 0;
}

static const char schema[] = "table numbers\n col id u64 pk auto\n col x u32 index\n col y i16\n index xy btree x,y\n"
                             "table texts\n col name string pk\n col body string\n col tag u8 index\n"
                             "table pairs private\n col a u8\n col b string\n col c u32\n unique k a,b\n index k btree a,b\n index hashed hash c\n"
                             "table plain\n col v u16\n col text string\n"
                             "table unit\n"
                             "table event_rows event\n col x u8\n"
                             "table empty\n col x u8 pk auto\n"
                             "table timers\n col id u64 pk auto\n col at at\n schedule timers_schedule tick at\n"
                             "view seen\n col id u32 pk\n"
                             "rls SELECT * FROM numbers\n";

struct world { struct lc_datastore *ds; struct lc_buf log; uint32_t n_records; };
static uint32_t id_of(struct lc_datastore *ds, const char *name) { return lc_datastore_table_by_name(ds, lc_slice_str(name))->table_id; }
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
static void put(struct world *w, struct lc_tx *tx, const char *table, struct lc_buf *row) {
  assert_int_equal(lc_tx_insert(tx, id_of(w->ds, table), lc_buf_slice(row), NULL, NULL, &err), LC_ERRNO_OK);
  lc_buf_clear(row);
}
/* Some rows in every kind of table; `from` makes them others. */
static void fill(struct world *w, uint32_t from, uint32_t n) {
  struct lc_buf b = {0};
  char text[3000];
  struct lc_tx *tx = lc_tx_begin(w->ds);
  memset(text, 'x', sizeof text);
  for (uint32_t k = from; k < from + n; k++) {
    uint32_t i = k * 2654435761u % 100003; /* not in order */
    lc_buf_u64(&b, 0);
    lc_buf_u32(&b, i % 50);
    lc_buf_u16(&b, (uint16_t)i);
    put(w, tx, "numbers", &b);
    lc_buf_u32(&b, 8);
    lc_buf_printf(&b, "k%07u", i);
    text[i % 100 == 0 ? 2999 : i % 60] = 0; /* some rows are blobs */
    lc_buf_bsatn_str(&b, text);
    text[i % 100 == 0 ? 2999 : i % 60] = 'x';
    lc_buf_u8(&b, (uint8_t)(i % 7));
    put(w, tx, "texts", &b);
    lc_buf_u8(&b, (uint8_t)(i % 5));
    lc_buf_u32(&b, 5);
    lc_buf_printf(&b, "%05u", i % 100000);
    lc_buf_u32(&b, i / 3);
    put(w, tx, "pairs", &b);
    lc_buf_u16(&b, (uint16_t)i);
    lc_buf_bsatn_str(&b, i % 3 ? "" : "some text");
    put(w, tx, "plain", &b);
    lc_buf_u8(&b, (uint8_t)i);
    put(w, tx, "event_rows", &b);
    lc_buf_u64(&b, 0);
    lc_buf_u8(&b, 0); /* ScheduleAt::Interval */
    lc_buf_i64(&b, i);
    put(w, tx, "timers", &b);
  }
  put(w, tx, "unit", &b);
  lc_buf_u32(&b, from);
  for (int i = 0; i < 32; i++) lc_buf_u8(&b, 7);
  struct lc_buf view_row = {0};
  lc_buf_append(&view_row, b.data + 4, 32);
  lc_buf_append(&view_row, b.data, 4);
  put(w, tx, "seen", &view_row);
  lc_buf_free(&view_row);
  lc_buf_free(&b);
  commit(w, tx);
}
static struct world world_new(uint32_t n) {
  struct world w = {0};
  struct lc_module_def *def = def_text(schema);
  assert_int_equal(lc_datastore_new(&lc_env_system, &w.ds, &err), LC_OK);
  assert_int_equal(lc_datastore_bootstrap_record(w.ds, &w.log), LC_OK);
  w.n_records = 1;
  struct lc_tx *tx = lc_tx_begin(w.ds);
  if (lc_schema_create(tx, def, &facts, &err) != LC_OK) fail_msg("%s", err.text);
  struct lc_identity client = {.bytes = {1}};
  struct lc_connection_id connection = {.bytes = {2}};
  assert_int_equal(lc_tx_client_add(tx, &client, &connection, lc_slice_str("{}"), &err), LC_OK);
  commit(&w, tx);
  fill(&w, 0, n);
  lc_module_def_free(def);
  return w;
}
static void world_free(struct world *w) {
  lc_datastore_free(w->ds);
  lc_buf_free(&w->log);
}

/* Every table with its rows in order of each index; both datastores the same. */
struct compared { struct lc_datastore *a, *b; bool same_order; };
static uint64_t sum_rows(struct lc_row_iter *it, bool ordered) {
  uint64_t sum = 0;
  for (struct lc_slice row; (row = lc_row_iter_next(it)).data;) sum = (ordered ? sum * 31 : sum) + lc_hash64(row.data, row.len, 3);
  lc_row_iter_close(it);
  return sum;
}
static void compare_table(void *ctx, const struct lc_table_info *x) {
  struct compared *c = ctx;
  const struct lc_table_info *y = lc_datastore_table(c->b, x->table_id);
  struct lc_read_view va = {.ds = c->a}, vb = {.ds = c->b};
  struct lc_row_iter *p, *q;
  assert_non_null(y);
  assert_true(lc_slice_eq(x->name, y->name) && lc_slice_eq(x->accessor, y->accessor) && lc_type_eq(x->row_type, y->row_type));
  assert_true(x->is_public == y->is_public && x->is_system == y->is_system && x->is_event == y->is_event && !x->view == !y->view && x->primary_key == y->primary_key);
  assert_true(x->has_schedule == y->has_schedule && lc_slice_eq(x->schedule_function, y->schedule_function) && x->schedule_at_column == y->schedule_at_column);
  assert_int_equal(x->n_indexes, y->n_indexes);
  if (x->view) return; /* its rows are not dumped */
  assert_int_equal(lc_view_row_count(va, x->table_id), lc_view_row_count(vb, x->table_id));
  assert_int_equal(lc_view_scan(va, x->table_id, &p) | lc_view_scan(vb, x->table_id, &q), LC_ERRNO_OK);
  bool ordered = c->same_order || !lc_slice_eq_str(x->name, "plain"); /* rows without a unique key lie as they came */
  assert_int_equal(sum_rows(p, ordered), sum_rows(q, ordered));
  for (uint32_t i = 0; i < x->n_indexes; i++) {
    const struct lc_index_info *m = &x->indexes[i], *n = &y->indexes[i];
    struct lc_slice all = lc_slice("\2", 1), none = {0};
    assert_true(m->index_id == n->index_id && m->kind == n->kind && m->is_unique == n->is_unique && lc_slice_eq(m->name, n->name) && lc_slice_eq(m->accessor, n->accessor));
    if (m->kind == LC_INDEX_HASH) continue;
    assert_int_equal(lc_view_scan_range(va, m->index_id, none, 0, all, all, &p, &err) | lc_view_scan_range(vb, n->index_id, none, 0, all, all, &q, &err), LC_ERRNO_OK);
    assert_int_equal(sum_rows(p, true), sum_rows(q, true));
  }
}
static uint32_t n_tables;
static void count_table(void *ctx, const struct lc_table_info *t) { (void)ctx, (void)t, n_tables++; }
static uint32_t tables_in(struct lc_datastore *ds) {
  n_tables = 0;
  lc_datastore_each_table(ds, count_table, NULL);
  return n_tables;
}
static void expect_same(struct lc_datastore *a, struct lc_datastore *b, bool same_order) {
  struct compared c = {a, b, same_order};
  assert_int_equal(tables_in(a), tables_in(b));
  lc_datastore_each_table(a, compare_table, &c);
}

static void test_same(void **state) {
  (void)state;
  static const size_t blocks[] = {1, 200, 64 << 10, 16 << 20};
  struct world w = world_new(3000);
  uint32_t before = w.n_records;
  size_t log_before = w.log.len;
  for (size_t i = 0; i < 4; i++)
    for (int reversed = 0; reversed < 2; reversed++) {
      struct lc_datastore *copy = engine_copy(w.ds, blocks[i], reversed);
      expect_same(w.ds, copy, !reversed);
      assert_int_equal(lc_view_row_count((struct lc_read_view){.ds = copy}, id_of(copy, "seen")), 0);
      lc_datastore_free(copy);
    }
  /* the log goes on behind it, and new rows get the same numbers */
  struct world copy = {.ds = engine_copy(w.ds, 4096, false)}, twin = {.ds = engine_copy(w.ds, 4096, false)};
  size_t used;
  fill(&w, 5000, 500);
  struct lc_tx *tx = lc_tx_begin(w.ds);
  uint64_t n;
  assert_int_equal(lc_tx_clear(tx, id_of(w.ds, "plain"), &n, &err), LC_ERRNO_OK);
  commit(&w, tx);
  assert_int_equal(lc_datastore_replay(twin.ds, lc_slice(w.log.data + log_before, w.log.len - log_before), w.n_records - before, &used, &err), LC_OK);
  expect_same(w.ds, twin.ds, true);
  fill(&copy, 5000, 500);
  tx = lc_tx_begin(copy.ds);
  assert_int_equal(lc_tx_clear(tx, id_of(copy.ds, "plain"), &n, &err), LC_ERRNO_OK);
  commit(&copy, tx);
  expect_same(w.ds, copy.ds, true);
  assert_int_equal(copy.log.len, w.log.len - log_before);
  assert_memory_equal(copy.log.data, w.log.data + log_before, copy.log.len);
  world_free(&copy);
  world_free(&twin);
  world_free(&w);
}

/* The view is dumped as it was while the writer goes on. */
static void test_old_view(void **state) {
  (void)state;
  struct world w = world_new(300);
  struct lc_datastore *before = engine_copy(w.ds, 1000, false), *copy;
  struct lc_read_view view;
  struct copy_blocks d = {0};
  struct lc_restore *r;
  uint64_t n;
  assert_int_equal(lc_read_view_open(w.ds, &view), LC_OK);
  fill(&w, 5000, 300);
  struct lc_tx *tx = lc_tx_begin(w.ds);
  assert_int_equal(lc_tx_clear(tx, id_of(w.ds, "texts"), &n, &err), LC_ERRNO_OK);
  commit(&w, tx);
  assert_int_equal(lc_view_dump(view, 1000, copy_take, &d, &err), LC_OK);
  lc_read_view_close(&view);
  assert_int_equal(lc_datastore_new(&lc_env_system, &copy, &err), LC_OK);
  assert_int_equal(lc_datastore_restore_begin(copy, &r, &err), LC_OK);
  for (uint32_t i = 0; i < d.n; i++) assert_int_equal(lc_datastore_restore_rows(r, d.b[i].table_id, lc_buf_slice(&d.b[i].rows), d.b[i].n_rows, &err), LC_OK);
  assert_int_equal(lc_datastore_restore_finish(r, &err), LC_OK);
  expect_same(before, copy, true);
  copy_free(&d);
  lc_datastore_free(before);
  lc_datastore_free(copy);
  world_free(&w);
}

static struct copy_blocks dumped(struct world *w, size_t block_bytes) {
  struct copy_blocks d = {0};
  struct lc_read_view view;
  assert_int_equal(lc_read_view_open(w->ds, &view), LC_OK);
  assert_int_equal(lc_view_dump(view, block_bytes, copy_take, &d, &err), LC_OK);
  lc_read_view_close(&view);
  return d;
}
/* Restores blocks in order, then `table_id` with `rows`; the text of the error. */
static void expect_error(const struct copy_blocks *d, uint32_t last_table, uint32_t table_id, struct lc_slice rows, uint64_t n, const char *want) {
  struct lc_datastore *ds;
  struct lc_restore *r;
  enum lc_status st = LC_OK;
  assert_int_equal(lc_datastore_new(&lc_env_system, &ds, &err), LC_OK);
  assert_int_equal(lc_datastore_restore_begin(ds, &r, &err), LC_OK);
  for (uint32_t i = 0; i < d->n && d->b[i].table_id <= last_table; i++) assert_int_equal(lc_datastore_restore_rows(r, d->b[i].table_id, lc_buf_slice(&d->b[i].rows), d->b[i].n_rows, &err), LC_OK);
  st = lc_datastore_restore_rows(r, table_id, rows, n, &err);
  if (st == LC_OK) st = lc_datastore_restore_finish(r, &err);
  else lc_datastore_restore_abort(r);
  assert_int_equal(st, LC_CORRUPT);
  assert_string_equal(err.text, want);
  lc_datastore_free(ds);
}
static void test_bad_input(void **state) {
  (void)state;
  struct world w = world_new(20);
  struct copy_blocks d = dumped(&w, 1 << 20);
  uint32_t numbers = id_of(w.ds, "numbers"), plain = id_of(w.ds, "plain"), unit = id_of(w.ds, "unit"), seen = id_of(w.ds, "seen"), events = id_of(w.ds, "event_rows"), all = UINT32_MAX, st = LC_FIRST_USER_ID - 1;
  char want[200];
  uint8_t row[64] = {1, [14] = 1};
  struct { uint32_t after, table; const void *rows; size_t len; uint64_t n; const char *want; uint32_t number; } cases[] = {
      {st, 9999, "x", 1, 1, "there are rows of table %u, which does not exist", 9999},
      {st, 30, "x", 1, 1, "there are rows of table %u, which does not exist", 30},
      {st, numbers, row, 13, 1, "row of table %u: 13 bytes are fewer than 1 rows have", numbers},
      {st, numbers, row, 15, 1, "1 bytes behind 1 rows of table %u", numbers},
      {st, numbers, row, 28, UINT64_MAX, "two rows of table %u are equal or have the same key", numbers},
      {st, numbers, row, 14, UINT64_MAX, "row of table %u: 14 bytes are fewer than 18446744073709551615 rows have", numbers},
      {st, plain, "\1\0\0\0\0\0\2\0\0\0\0\0\1\0\0\0\0\0", 18, 3, "two rows of table %u are equal or have the same key", plain},
      {st, plain, "\1\0\1\0\0\0\xff", 7, 1, "row of table %u: invalid utf8", plain},
      {st, unit, "", 0, UINT64_MAX, "two rows of table %u are equal or have the same key", unit},
      {st, seen, row, 36, 1, "table %u keeps no rows, but some are there", seen},
      {st, events, row, 1, 1, "table %u keeps no rows, but some are there", events},
      {all, numbers, row, 14, 1, "rows of table %u come twice", numbers},
      {all, LC_ST_CLIENT, row, 0, 0, "rows of system table %u come behind those of others", LC_ST_CLIENT},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    snprintf(want, sizeof want, cases[i].want, cases[i].number);
    expect_error(&d, cases[i].after, cases[i].table, lc_slice(cases[i].rows, cases[i].len), cases[i].n, want);
  }
  copy_free(&d);
  world_free(&w);
}

static enum lc_status stop(void *ctx, const struct lc_row_block *b, struct lc_error *e) {
  uint32_t *calls = ctx;
  (void)b;
  return ++*calls == 3 ? lc_fail(e, LC_IO, "disk full") : LC_OK;
}
static void test_memory(void **state) {
  (void)state;
  struct world w = world_new(150);
  struct copy_blocks d = dumped(&w, 700);
  struct lc_read_view view;
  uint32_t calls = 0;
  bool done = false;
  assert_int_equal(lc_read_view_open(w.ds, &view), LC_OK);
  assert_int_equal(lc_view_dump(view, 100, stop, &calls, &err), LC_IO);
  assert_string_equal(err.text, "disk full");
  assert_int_equal(calls, 3);
  lc_read_view_close(&view);
  for (uint32_t i = 0; i < d.n; i++)
    if (d.b[i].table_id >= LC_FIRST_USER_ID) copy_reverse_rows(&d.b[i]); /* so that sorting begins */
  for (long n = 0; !done; n = next_failure(n, 60, 60)) {
    struct lc_datastore *ds;
    struct lc_restore *r = NULL;
    assert_int_equal(lc_datastore_new(&lc_env_system, &ds, &err), LC_OK);
    fail_after = n;
    enum lc_status st = lc_datastore_restore_begin(ds, &r, &err);
    for (uint32_t i = 0; i < d.n && st == LC_OK; i++) st = lc_datastore_restore_rows(r, d.b[i].table_id, lc_buf_slice(&d.b[i].rows), d.b[i].n_rows, &err);
    if (st == LC_OK) st = lc_datastore_restore_finish(r, &err);
    else lc_datastore_restore_abort(r);
    done = fail_after >= 0;
    fail_after = -1;
    if (st != (done ? LC_OK : LC_NOMEM)) fail_msg("allocation %ld: %d %s", n, st, err.text);
    if (done) expect_same(w.ds, ds, false);
    lc_datastore_free(ds);
  }
  copy_free(&d);
  world_free(&w);
}

int main(void) {
  lc_alloc_may_fail = may_fail;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_same), cmocka_unit_test(test_old_view), cmocka_unit_test(test_bad_input), cmocka_unit_test(test_memory)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
