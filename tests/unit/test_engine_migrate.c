/* Migrations: every rule of spec/06 §15 and spec/07 §10, accepted and refused, over rows that are there; undone by a rollback; the same by replay. */
#include "def_text.h"
#include "engine/engine.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include "engine_copy.h"

static struct lc_error err;
static const struct lc_module_facts facts = {.program_bytes = {(const uint8_t *)"program", 7}};

struct world { struct lc_datastore *ds; struct lc_buf log; uint32_t n_records; };

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

static struct world world_new(const struct lc_module_def *def) {
  struct world w = {0};
  assert_int_equal(lc_datastore_new(&lc_env_system, &w.ds, &err), LC_OK);
  assert_int_equal(lc_datastore_bootstrap_record(w.ds, &w.log), LC_OK);
  w.n_records = 1;
  struct lc_tx *tx = lc_tx_begin(w.ds);
  if (lc_schema_create(tx, def, &facts, &err) != LC_OK) fail_msg("%s", err.text);
  commit(&w, tx);
  return w;
}

static int by_bytes(const void *a, const void *b) {
  const struct lc_slice *x = a, *y = b;
  size_t n = x->len < y->len ? x->len : y->len;
  int c = n ? memcmp(x->data, y->data, n) : 0;
  return c ? c : x->len < y->len ? -1 : x->len > y->len;
}
static void dump_table(void *ctx, const struct lc_table_info *t) {
  struct { struct lc_buf out; struct lc_read_view view; } *d = ctx;
  struct lc_row_iter *it;
  struct lc_slice *rows = lc_alloc(sizeof *rows * (lc_view_row_count(d->view, t->table_id) + 1));
  size_t n = 0;
  lc_buf_bsatn_bytes(&d->out, t->name);
  lc_buf_bsatn_bytes(&d->out, t->accessor);
  lc_buf_u8(&d->out, (uint8_t)(t->is_public | t->is_event << 1 | (t->view != NULL) << 2 | t->has_schedule << 3 | t->is_outbox << 4));
  lc_buf_u32(&d->out, (uint32_t)t->primary_key);
  for (uint32_t i = 0; i < t->n_indexes; i++) {
    lc_buf_u32(&d->out, t->indexes[i].index_id);
    lc_buf_bsatn_bytes(&d->out, t->indexes[i].accessor);
    lc_buf_u8(&d->out, t->indexes[i].is_unique);
  }
  for (uint32_t i = 0; i < t->row_type->n_fields; i++) lc_buf_bsatn_bytes(&d->out, t->column_accessors[i]);
  lc_type_display(&d->out, t->row_type);
  assert_int_equal(lc_view_scan(d->view, t->table_id, &it), LC_ERRNO_OK);
  for (struct lc_slice row; (row = lc_row_iter_next(it)).data;) rows[n++] = row; /* of a view's snapshot: they stay */
  qsort(rows, n, sizeof *rows, by_bytes);
  for (size_t i = 0; i < n; i++) lc_buf_bsatn_bytes(&d->out, rows[i]);
  /* each row is found through each index */
  for (size_t i = 0; i < n; i++)
    for (uint32_t k = 0; k < t->n_indexes; k++) {
      struct lc_buf key = {0};
      struct lc_row_iter *found;
      bool hit = false;
      for (uint32_t c = 0; c < t->indexes[k].n_columns; c++) {
        const uint8_t *p = lc_row_column(t->row_type, rows[i].data, t->indexes[k].columns[c]);
        lc_buf_append(&key, p, (size_t)(lc_bsatn_skip(t->row_type->fields[t->indexes[k].columns[c]].type, p) - p));
      }
      assert_int_equal(lc_view_scan_point(d->view, t->indexes[k].index_id, lc_buf_slice(&key), &found, &err), LC_ERRNO_OK);
      for (struct lc_slice f; (f = lc_row_iter_next(found)).data;) hit = hit || lc_slice_eq(f, rows[i]);
      assert_true(hit);
      lc_row_iter_close(found);
      lc_buf_free(&key);
    }
  lc_row_iter_close(it);
  lc_free(rows);
}
static struct lc_buf dump(struct lc_datastore *ds) { /* everything visible in a datastore */
  struct { struct lc_buf out; struct lc_read_view view; } d = {.out = {0}};
  assert_int_equal(lc_read_view_open(ds, &d.view), LC_OK);
  lc_view_each_table(d.view, dump_table, &d);
  lc_read_view_close(&d.view);
  return d.out;
}
static size_t at_case; /* for messages */
static void expect_equal(struct lc_buf *a, struct lc_buf *b) {
  size_t at = 0;
  while (at < a->len && at < b->len && a->data[at] == b->data[at]) at++;
  if (at < a->len || at < b->len) {
    fprintf(stderr, "case %zu: differs at byte %zu of %zu and %zu\n", at_case, at, a->len, b->len);
    for (int k = 0; k < 2; k++) {
      struct lc_buf *x = k ? b : a;
      for (size_t i = at < 60 ? 0 : at - 60; i < at + 60 && i < x->len; i++) fputc(x->data[i] >= 32 && x->data[i] < 127 ? x->data[i] : '.', stderr);
      fputc('\n', stderr);
    }
  }
  assert_int_equal(a->len, b->len);
  assert_memory_equal(a->data, b->data, a->len);
  lc_buf_free(a);
  lc_buf_free(b);
}

static void world_free(struct world *w) { /* the log gives the same, and a dump */
  struct lc_datastore *again;
  size_t used;
  assert_int_equal(lc_datastore_new(&lc_env_system, &again, &err), LC_OK);
  if (lc_datastore_replay(again, lc_buf_slice(&w->log), w->n_records, &used, &err) != LC_OK) fail_msg("replay: %s", err.text);
  assert_int_equal(used, w->log.len);
  struct lc_buf a = dump(w->ds), b = dump(again);
  expect_equal(&a, &b);
  lc_datastore_free(again);
  again = engine_copy(w->ds, 100, true);
  a = dump(w->ds), b = dump(again);
  expect_equal(&a, &b);
  lc_datastore_free(again);
  lc_datastore_free(w->ds);
  lc_buf_free(&w->log);
}

/* Rows "TABLE HEX" a line each. */
static void insert_rows(struct lc_tx *tx, struct lc_datastore *ds, const char *text) {
  char *copy = lc_strdup_n(text, strlen(text)), *save;
  for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
    char table[64], hex[512] = "";
    uint8_t bytes[256];
    if (sscanf(line, " %63s %511s", table, hex) < 1) continue;
    assert_true(lc_hex_decode(hex, strlen(hex), bytes));
    int rc = lc_tx_insert(tx, lc_datastore_table_by_name(ds, lc_slice_str(table))->table_id, lc_slice(bytes, strlen(hex) / 2), NULL, NULL, &err);
    if (rc != LC_ERRNO_OK) fail_msg("%s: errno %d %s", line, rc, err.text);
  }
  lc_free(copy);
}

struct migration { const char *old, *rows, *new, *after; /* rows to insert afterwards */ bool breaks; const char *error; /* of plan or run */ };
#define T "table t\n col id u32 pk\n col v u8\n"
#define ROWS "t 0100000005\n t 0200000006\n t 0300000006\n"
static const struct migration migrations[] = {
    {T, ROWS, T, "", false, NULL},
    {T, ROWS, T "table u\n col x string unique\n", "u 0100000061", false, NULL},
    {T "table u\n col x u8\n", ROWS, T, "", true, NULL}, /* case 34, and the next */
    {T "table u\n col x u8\n", ROWS "u 01\n", T, "", true, "Cannot remove table `u`: table contains data. Clear the table's rows (e.g. via a reducer) before removing it from your schema."},
    {T, ROWS, "table t private\n col id u32 pk\n col v u8\n", "t 0400000001", false, NULL},
    {T, ROWS, "table t as Tee\n col id u32 pk as Id\n col v u8\n", "Tee 0400000001", false, NULL},
    {T, ROWS, "table t event\n col id u32 pk\n col v u8\n", "", false, "Changing the event flag of table t requires a manual migration"},
    /* columns (cases 31 and 32 of spec/06 §21) */
    {T, ROWS, "table t\n col id u32 pk\n col v u8\n col w u32 = 07000000\n", "t 040000000101010101", true, NULL},
    {T, ROWS, "table t\n col id u32 pk\n col v u8\n col w u32 = 07000000\n col s string = 0100000078\n", "", true, NULL},
    {T, ROWS, "table t\n col id u32 pk\n col v u8\n col w u32\n", "", true, "Adding a column w to table t requires a default value annotation"},
    {T, ROWS, "table t\n col id u32 pk\n col w u32 = 07000000\n col v u8\n", "", true, "Reordering table t requires a manual migration"},
    {T, ROWS, "table t\n col id u32 pk\n", "", false, "Removing a column v from table t requires a manual migration"},
    {T, ROWS, "table t\n col id u32 pk\n col renamed u8\n", "", true,
     "Removing a column v from table t requires a manual migration\nAdding a column renamed to table t requires a default value annotation"},
    {"table t\n col id u32 pk auto\n col v u8\n", "t 0000000005\n t 0000000006\n", "table t\n col id u32 pk auto\n col v u8\n col w bool = 01\n", "t 000000000701\n", true, NULL},
    {"table t\n col name string\n", "t 0100000061\n t 0100000062\n", "table t\n col name string\n col w bool = 01\n", "t 010000006301\n", true, NULL},
    /* types (case 33) */
    {"table t\n col e {A,B}\n", "t 00\n t 01\n", "table t\n col e {A,B,C}\n", "t 02\n", false, NULL},
    {"table t\n col id u32 pk\n col e {A:u8,B:u16}\n", "t 010000000007\n t 02000000010800\n", "table t\n col id u32 pk\n col e {A:u8,B:u16,D:u16,E}\n", "t 0300000003", false, NULL},
    {"table t\n col e {A,B} index\n col a [{A,B}]\n", "t 000100000001\n", "table t\n col e {A,B,C} index\n col a [{A,B,C}]\n", "t 020100000002\n", false, NULL},
    {"table t\n col e {A,B} pk\n", "t 00\n t 01\n", "table t\n col e {A,B,C} pk\n", "t 02\n", false, NULL},
    {"table t\n col e {A:u8,B}\n", "t 01\n", "table t\n col e {A:u8,B,C:string}\n", "", false,
     "Changing the type of column e in table t from (A: U8 | B: ()) to (A: U8 | B: () | C: String), requires a manual migration, due to size mismatch\n"
     "Changing the type of column e in table t from (A: U8 | B: ()) to (A: U8 | B: () | C: String), requires a manual migration, due to alignment mismatch"},
    {T, ROWS, "table t\n col id u32 pk\n col v u16\n", "", false, "Changing the type of column v in table t from U8 to U16 requires a manual migration"},
    {"table t\n col e {A,B}\n", "", "table t\n col e {A}\n", "", false, "Changing the type of column e in table t from (A: () | B: ()) to (A: ()), with fewer variants, requires a manual migration"},
    {"table t\n col e {A,B}\n", "", "table t\n col e {A,X}\n", "", false,
     "Changing the type of column e in table t from (A: () | B: ()) to (A: () | X: ()), with a renamed variant, requires a manual migration"},
    {"table t\n col e (x:u8,y:u8)\n", "", "table t\n col e (x:u8)\n", "", false, "Changing the type of column e in table t from (x: U8, y: U8) to (x: U8), with fewer fields, requires a manual migration"},
    {"table t\n col e (x:u8)\n", "", "table t\n col e (z:u8)\n", "", false, "Changing the type of column e in table t from (x: U8) to (z: U8), with a renamed field, requires a manual migration"},
    {"table t\n col e [(x:u8)]\n", "", "table t\n col e [(x:u16)]\n", "", false, "Changing a type within column e in table t from U8 to U16 requires a manual migration"},
    {"table t event\n col x u8\n", "", "table t event\n col y string\n col z u8\n", "t 010000006101", true, NULL},
    /* indexes and constraints (case 35) */
    {T, ROWS, "table t\n col id u32 pk\n col v u8 index\n", "t 0400000001", false, NULL},
    {"table t\n col id u32 pk\n col v u8 index\n", ROWS, T, "t 0400000001", false, NULL},
    {"table t\n col id u32 pk\n col v u8\n index x btree v\n", ROWS, "table t\n col id u32 pk\n col v u8\n index x hash v,id as other\n", "t 0400000001", false, NULL},
    {"table t\n col id u32 pk\n col v u8\n index x btree v as a\n", ROWS, "table t\n col id u32 pk\n col v u8\n index x btree v as b\n", "t 0400000001", false, NULL},
    {T, "t 0100000005\n t 0200000006\n", "table t\n col id u32 pk\n col v u8 unique\n", "t 0400000001", false, NULL},
    {T, ROWS, "table t\n col id u32 pk\n col v u8 unique\n", "", false, "Unique constraint violation 't_v_idx_btree' in table 't': column(s): '[\"v\"]' value: 6"},
    {"table t\n col id u32 pk\n col v u8 index\n", ROWS, "table t\n col id u32 pk\n col v u8 index\n unique c v\n", "", false,
     "Cannot add unique constraint on table 4096 column(s) [1] (committed state):\n1 duplicate group(s) found.\n  - 6 appears 2 times"},
    {"table t\n col id u32 pk\n col v u8 unique\n", "t 0100000005\n", "table t\n col id u32 pk\n col v u8 index\n", "t 0200000005\n", false, NULL},
    {"table t\n col id u32 pk\n col v u8\n", ROWS, "table t\n col id u32\n col v u8\n", "t 0100000009\n", false, NULL},
    {"table t\n col id u32\n col v u8\n", ROWS, T, "t 0900000009\n", false, NULL},
    {T, ROWS, "table t\n col id u32 pk\n col v u8\n unique c v\n", "", false, "unique constraint on table 4096 column(s) [1] requires at least one backing index on those columns"},
    {"table t\n col id u32 pk\n col v u8\n index x btree v,id\n unique c v,id\n", ROWS, "table t\n col id u32 pk\n col v u8\n index x btree v\n unique c v\n", "", false,
     "Changing a unique constraint c requires a manual migration"},
    /* sequences (case 36) */
    {T, ROWS, "table t\n col id u32 pk\n col v u8 auto\n", "", false, "Precheck failed: added sequence t_v_seq already has values in range"},
    {T, "t 0100000000\n", "table t\n col id u32 pk\n col v u8 auto\n", "t 0200000000\n", false, NULL},
    {"table t\n col id u32 pk\n col v i8\n", "t 01000000ff\n", "table t\n col id u32 pk\n col v i8 auto\n", "t 0200000000\n", false, NULL},
    {"table t\n col id u32 pk auto\n col v u8\n", "t 0000000001\n", T, "t 0000000001\n", false, NULL},
    /* schedules */
    {"table t\n col id u64 pk auto\n col when at\n", "t 0000000000000000010000000000000000\n", "table t\n col id u64 pk auto\n col when at\n schedule s f when\n", "", false, NULL},
    {"table t\n col id u64 pk auto\n col when at\n schedule s f when\n", "", "table t\n col id u64 pk auto\n col when at\n schedule s g when\n", "", false, NULL},
    {"table t\n col id u64 pk auto\n col when at\n schedule s f when\n", "", "table t\n col id u64 pk auto\n col when at\n", "", false, NULL},
    /* outboxes */
    {"table t\n col id u64 pk\n col to identity\n col x u8\n outbox f to x\n", "", "table t\n col id u64 pk\n col to identity\n col x u8\n outbox g to x\n", "", false, NULL},
    {"table t\n col id u64 pk\n col to identity\n col x u8\n", "", "table t\n col id u64 pk\n col to identity\n col x u8\n outbox g to x\n", "", false,
     "Adding outbox metadata to table t requires a manual migration"},
    {"table t\n col id u64 pk\n col to identity\n col x u8\n outbox f to x\n", "", "table t\n col id u64 pk\n col to identity\n col x u8\n", "", false,
     "Removing outbox metadata from table t requires a manual migration"},
    {"table t\n col id u64 pk\n col to identity\n col x u8\n outbox f to x\n", "", "table t\n col id u64 pk\n col to identity\n col x u8\n col y u8 = 05\n outbox f to x\n", "", true, NULL},
    /* views and rules */
    {T, ROWS, T "view v\n col id u32 pk\n", "", false, NULL},
    {T "view v\n col id u32 pk\n", ROWS, T, "", true, NULL},
    {T "view v\n col id u32 pk\n", ROWS, T "view v private as Vee\n col id u32 pk\n", "", false, NULL},
    {T "view v\n col id u32 pk\n", ROWS, T "view v sender\n col id u32 pk\n", "", true, NULL},
    {T "view v\n col id u32 pk\n", ROWS, T "view v\n param p string\n col id u32 pk\n col x u8\n", "", true, NULL},
    {T "rls SELECT * FROM t WHERE v = 1\n", ROWS, T "rls SELECT t.* FROM t WHERE v = 2\n", "", true, NULL},
    {T "rls SELECT * FROM t WHERE v = 1\n", ROWS, T "rls SELECT * FROM t WHERE v = 1\n", "", false, NULL},
    {T, ROWS, T "rls SELECT * FROM nothing\n", "", true, "`nothing` is not a valid table"},
};

static void test_matrix(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof migrations / sizeof *migrations; i++) {
    const struct migration *m = &migrations[at_case = i];
    struct lc_module_def *old = def_text(m->old), *new = def_text(m->new);
    struct lc_migration_plan *plan;
    struct world w = world_new(old);
    struct lc_tx *tx = lc_tx_begin(w.ds);
    insert_rows(tx, w.ds, m->rows);
    commit(&w, tx);
    assert_int_equal(lc_migration_plan_new(old, new, &plan), LC_OK);
    if (plan->breaks_clients != m->breaks) fail_msg("migration %zu: breaks clients: %d", i, plan->breaks_clients);
    lc_migration_plan_free(plan);
    struct lc_buf before = dump(w.ds);
    for (int pass = 0; pass < 2; pass++) { /* undone, then for good */
      tx = lc_tx_begin(w.ds);
      enum lc_status st = lc_schema_update(tx, old, new, &facts, &err);
      if ((st == LC_OK) != !m->error) fail_msg("migration %zu: %s", i, st == LC_OK ? "succeeded" : err.text);
      if (m->error && strcmp(err.text, m->error) != 0) fail_msg("migration %zu: %s", i, err.text);
      if (!m->error) insert_rows(tx, w.ds, m->after);
      if (!m->error && pass) {
        commit(&w, tx);
      } else {
        lc_tx_rollback(tx);
        struct lc_buf a = dump(w.ds), b = {0};
        lc_buf_append(&b, before.data, before.len);
        expect_equal(&a, &b);
      }
    }
    lc_buf_free(&before);
    if (!m->error) { /* nothing is left to do */
      assert_int_equal(lc_migration_plan_new(new, new, &plan), LC_OK);
      for (uint32_t k = 0; k < plan->n_steps; k++)
        assert_true(plan->steps[k].kind == LC_STEP_UPDATE_VIEW || plan->steps[k].kind == LC_STEP_ADD_RLS || plan->steps[k].kind == LC_STEP_REMOVE_RLS);
      lc_migration_plan_free(plan);
      tx = lc_tx_begin(w.ds);
      if (lc_schema_update(tx, new, new, &facts, &err) != LC_OK) fail_msg("migration %zu, again: %s", i, err.text);
      commit(&w, tx);
    }
    world_free(&w);
    lc_module_def_free(old);
    lc_module_def_free(new);
  }
}

/* spec/06 §21 case 31: values + defaults, a new table id, the sequence goes on; the record holds inserts and a truncation. */
static void test_add_columns(void **state) {
  (void)state;
  struct lc_module_def *old = def_text("table t\n col id u32 pk auto\n"), *new = def_text("table t\n col id u32 pk auto\n col v u8 = 07\n");
  struct world w = world_new(old);
  struct lc_tx *tx = lc_tx_begin(w.ds);
  insert_rows(tx, w.ds, "t 00000000\n t 00000000\n t 00000000\n");
  commit(&w, tx);
  uint32_t before = lc_datastore_table_by_name(w.ds, lc_slice_str("t"))->table_id;
  const struct lc_tx_delta *delta;
  tx = lc_tx_begin(w.ds);
  assert_int_equal(lc_schema_update(tx, old, new, &facts, &err), LC_OK);
  lc_tx_commit(tx, &delta);
  static const struct lc_tx_inputs none;
  lc_tx_record_encode(&w.log, delta, &none);
  w.n_records++;
  const struct lc_table_delta *gone = NULL, *came = NULL;
  const struct lc_table_info *t = lc_datastore_table_by_name(w.ds, lc_slice_str("t"));
  for (uint32_t i = 0; i < delta->n_tables; i++) {
    if (delta->tables[i].table_id == before) gone = &delta->tables[i];
    if (delta->tables[i].table_id == t->table_id) came = &delta->tables[i];
  }
  assert_true(gone && gone->truncated && gone->n_inserts == 0);
  assert_true(came && came->n_inserts == 3 && came->inserts[0].len == 5 && came->inserts[0].data[4] == 7);
  lc_tx_delta_release(w.ds, delta);
  assert_true(t->table_id > before);
  struct lc_buf generated = {0};
  tx = lc_tx_begin(w.ds);
  assert_int_equal(lc_tx_insert(tx, t->table_id, lc_slice("\0\0\0\0\1", 5), &generated, NULL, &err), LC_ERRNO_OK);
  assert_int_equal(generated.data[0], 4);
  commit(&w, tx);
  lc_buf_free(&generated);
  world_free(&w);
  lc_module_def_free(old);
  lc_module_def_free(new);
}

/* spec/06 §21 case 35: with duplicates it fails and nothing has changed; without, the constraint holds at once, in that very transaction too. */
static void test_add_unique(void **state) {
  (void)state;
  struct lc_module_def *old = def_text("table t\n col id u32 pk\n col v u8\n"), *new = def_text("table t\n col id u32 pk\n col v u8 unique\n");
  struct world w = world_new(old);
  for (int duplicates = 1; duplicates >= 0; duplicates--) {
    struct lc_tx *tx = lc_tx_begin(w.ds);
    uint32_t t = lc_datastore_table_by_name(w.ds, lc_slice_str("t"))->table_id;
    if (duplicates) {
      insert_rows(tx, w.ds, "t 0100000005\n t 0200000005\n");
    } else {
      bool found;
      assert_int_equal(lc_tx_delete_row(tx, t, lc_slice("\2\0\0\0\5", 5), &found, &err), LC_ERRNO_OK);
      assert_true(found);
    }
    commit(&w, tx);
    tx = lc_tx_begin(w.ds);
    assert_int_equal(lc_schema_update(tx, old, new, &facts, &err) == LC_OK, !duplicates);
    if (duplicates) {
      lc_tx_rollback(tx);
      tx = lc_tx_begin(w.ds);
      insert_rows(tx, w.ds, "t 0300000005\n"); /* the old rules still */
      lc_tx_rollback(tx);
      continue;
    }
    for (int later = 0; later < 2; later++) {
      assert_int_equal(lc_tx_insert(tx, t, lc_slice("\3\0\0\0\5", 5), NULL, NULL, &err), LC_ERRNO_UNIQUE_EXISTS);
      insert_rows(tx, w.ds, later ? "t 0500000007\n" : "t 0400000006\n");
      commit(&w, tx);
      if (!later) tx = lc_tx_begin(w.ds);
    }
  }
  lc_module_def_free(old);
  lc_module_def_free(new);
  world_free(&w);
}

/* Rows that are deleted after an index has been dropped, all in a transaction that is rolled back: the index finds them again. */
static void test_dropped_index_comes_back(void **state) {
  (void)state;
  struct lc_module_def *old = def_text("table t\n col a u32\n col v u8\n index x btree a\n index y btree v\n"), *new = def_text("table t\n col a u32\n col v u8\n index x btree a\n");
  struct world w = world_new(old);
  struct lc_tx *tx = lc_tx_begin(w.ds);
  insert_rows(tx, w.ds, "t 0100000005\n t 0200000005\n");
  commit(&w, tx);
  struct lc_buf before = dump(w.ds);
  tx = lc_tx_begin(w.ds);
  assert_int_equal(lc_schema_update(tx, old, new, &facts, &err), LC_OK);
  bool found;
  assert_int_equal(lc_tx_delete_row(tx, lc_datastore_table_by_name(w.ds, lc_slice_str("t"))->table_id, lc_slice("\1\0\0\0\5", 5), &found, &err), LC_ERRNO_OK);
  assert_true(found);
  lc_tx_rollback(tx);
  struct lc_buf after = dump(w.ds);
  expect_equal(&before, &after);
  lc_module_def_free(old);
  lc_module_def_free(new);
  world_free(&w);
}

/* A row that an update's transaction inserts once a constraint is gone, with the key of another: replay keeps both. */
static void test_constraint_goes_row_comes(void **state) {
  (void)state;
  static const struct lc_module_facts next = {.program_bytes = {(const uint8_t *)"another", 7}};
  struct lc_module_def *old = def_text("table t\n col a u32 unique\n col v u8\n"), *new = def_text("table t\n col a u32\n col v u8\n");
  struct world w = world_new(old);
  struct lc_tx *tx = lc_tx_begin(w.ds);
  insert_rows(tx, w.ds, "t 0100000005\n");
  commit(&w, tx);
  tx = lc_tx_begin(w.ds);
  assert_int_equal(lc_schema_update(tx, old, new, &next, &err), LC_OK);
  insert_rows(tx, w.ds, "t 0100000006\n");
  commit(&w, tx);
  assert_int_equal(lc_view_row_count((struct lc_read_view){.ds = w.ds}, lc_datastore_table_by_name(w.ds, lc_slice_str("t"))->table_id), 2);
  lc_module_def_free(old);
  lc_module_def_free(new);
  world_free(&w);
}

static void expect_print(const char *old_text, const char *new_text, enum lc_plan_style style, const char *want) {
  struct lc_module_def *old = def_text(old_text), *new = def_text(new_text);
  struct lc_migration_plan *plan;
  struct lc_buf out = {0};
  assert_int_equal(lc_migration_plan_new(old, new, &plan), LC_OK);
  assert_int_equal(lc_migration_plan_print(plan, style, &out), LC_OK);
  lc_buf_u8(&out, 0);
  assert_string_equal((const char *)out.data, want);
  lc_buf_free(&out);
  lc_migration_plan_free(plan);
  lc_module_def_free(old);
  lc_module_def_free(new);
}

#define BAR "━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━"
#define HEADER BAR "\nDatabase Migration Plan\n" BAR "\n\n"
static void test_print(void **state) { /* spec/06 §15.5, §21 case 38 */
  (void)state;
  expect_print(T, T, LC_PLAN_NO_COLOR, HEADER);
  expect_print(T, T "table T\n col id u64 pk auto\n", LC_PLAN_NO_COLOR,
               HEADER "▸ Created user table: T (public)\n    Columns:\n        • id: U64\n    Unique constraints:\n        • T_id_key on [id]\n"
                      "    Indexes:\n        • T_id_idx_btree on [id]\n    Auto-increment constraints:\n        • T_id_seq on id\n\n");
  expect_print(T "table u\n col x u8\nview w\n col a u64\nrls SELECT * FROM t\n",
               "table t private\n col id u32\n col v u8 index\n col w u32 = 05000000\nview v\n param x u32\n col a u64\nrls SELECT * FROM t WHERE v = 1\n", LC_PLAN_NO_COLOR,
               HEADER "▸ Removed index t_id_idx_btree on [id] of table t\n"
                      "▸ Removed unique constraint t_id_key on [id] of table t\n"
                      "▸ ▸ Removed anonymous view: w\n\n"
                      "▸ Removed row level security policy:\n    `SELECT * FROM t`\n"
                      "▸ Removed table: u\n\n"
                      "▸ Created column in table t\n    + w: U32 (default: U32(\n    5,\n))\n"
                      "▸ Created index t_v_idx_btree on [v] of table t\n"
                      "▸ ▸ Created anonymous view: v\n    Parameters:\n        • x: U32\n    Columns:\n        • a: U64\n\n"
                      "▸ Created row level security policy:\n    `SELECT * FROM t WHERE v = 1`\n"
                      "▸ Changed access for table t (public → private)\n"
                      "▸ Changed primary key on table t (removed)\n"
                      "!!! Warning: All clients will be disconnected due to breaking schema changes\n");
  expect_print("table t\n col c {A:u8}\n", "table t\n col c {A:u8,B}\n", LC_PLAN_NO_COLOR, HEADER "▸ Changed columns for table t\n    ~ Modified: c ((A: U8) → (A: U8 | B: ()))\n");
#define E "\x1b["
  expect_print(T, "table t private\n col id u32 pk\n col v u8\n", LC_PLAN_ANSI_COLOR,
               E "0m" E "1m" E "34m" BAR E "0m\n" E "0m" E "1m" E "34mDatabase Migration Plan" E "0m\n" E "0m" E "1m" E "34m" BAR E "0m\n\n"
               "▸ " E "0m" E "1m" E "33mChanged" E "0m access for table " E "0m" E "1m" E "36mt" E "0m (" E "0m" E "32mpublic" E "0m → " E "0m" E "32mprivate" E "0m)\n");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_matrix), cmocka_unit_test(test_add_columns), cmocka_unit_test(test_add_unique), cmocka_unit_test(test_dropped_index_comes_back), cmocka_unit_test(test_constraint_goes_row_comes), cmocka_unit_test(test_print)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
