/* Random schemas and operations against a naive model; then every allocation failing in turn. The log gives the same state again, and so does a dump.
 * Environment: STEPS (operations, default 20,000), SEED. A failure prints both. */
#include "def_text.h"
#include "engine/engine.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include "engine_copy.h"

/* ---- allocations that fail on demand ---- */

static int64_t fail_after = -1; /* allocations that still succeed; -1: all */
static bool may_fail(size_t size_bytes) {
  (void)size_bytes;
  if (fail_after < 0) return false;
  return fail_after-- == 0; /* one failure, then all succeed again */
}

static struct lc_error err;
static const struct lc_module_facts facts = {.program_bytes = {(const uint8_t *)"program", 7}};
static unsigned long seed, steps;
static uint64_t state;
static uint64_t rnd(uint64_t n) {
  uint64_t z = state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return (z ^ z >> 31) % n;
}
#define CHECK(x) do { if (!(x)) fail_msg("%s (line %d; SEED=%lu STEPS=%lu): %s", #x, __LINE__, seed, steps, err.text); } while (0)

/* ---- the model: lists of rows ---- */

struct list { struct lc_slice *rows; uint32_t n, cap; };
static int32_t list_find(const struct list *l, struct lc_slice row) {
  for (uint32_t i = 0; i < l->n; i++)
    if (lc_slice_eq(l->rows[i], row)) return (int32_t)i;
  return -1;
}
static void list_add(struct list *l, struct lc_slice row) {
  if (l->n == l->cap) l->rows = realloc(l->rows, (l->cap = l->cap * 2 + 8) * sizeof *l->rows);
  uint8_t *copy = malloc(row.len + 1);
  if (row.len) memcpy(copy, row.data, row.len);
  l->rows[l->n++] = lc_slice(copy, row.len);
}
static void list_remove(struct list *l, uint32_t at) {
  free((void *)(uintptr_t)l->rows[at].data);
  l->rows[at] = l->rows[--l->n];
}
static void list_free(struct list *l) {
  while (l->n) list_remove(l, l->n - 1);
  free(l->rows);
  *l = (struct list){0};
}
static struct list list_copy(const struct list *l) {
  struct list c = {0};
  for (uint32_t i = 0; i < l->n; i++) list_add(&c, l->rows[i]);
  return c;
}

/* ---- random schemas and values: few distinct ones, so that they meet ---- */

static const char *const type_words[] = {"u8", "u16", "u32", "u64", "u128", "u256", "i8", "i16", "i32", "i64", "i128", "i256", "f32", "f64", "bool", "string", "identity", "timestamp", "[u8]", "?u16",
                                         "{A,B,C}", "{A:u8,B:string}", "(x:u8,y:i16)", "[string]"};
static void random_value(const struct lc_type *t, struct lc_buf *out) {
  switch (t->kind) {
  case LC_T_BOOL: lc_buf_u8(out, (uint8_t)rnd(2)); return;
  case LC_T_STRING: {
    static const char *const words[] = {"", "a", "b", "longer than eight", "longer than eighteen bytes", "\xc3\xa9"};
    lc_buf_bsatn_str(out, words[rnd(6)]);
    return;
  }
  case LC_T_ARRAY: {
    uint32_t n = (uint32_t)rnd(3);
    lc_buf_u32(out, n);
    while (n--) random_value(t->elem, out);
    return;
  }
  case LC_T_PRODUCT:
    for (uint32_t i = 0; i < t->n_fields; i++) random_value(t->fields[i].type, out);
    return;
  case LC_T_SUM: {
    uint32_t tag = (uint32_t)rnd(t->n_fields);
    lc_buf_u8(out, (uint8_t)tag);
    random_value(t->fields[tag].type, out);
    return;
  }
  default: {
    uint8_t bytes[32] = {0};
    uint32_t n = t->static_size_bytes;
    bytes[0] = (uint8_t)rnd(6);
    if (rnd(4) == 0) memset(bytes, 0xff, n);
    if (rnd(4) == 0) bytes[n - 1] = (uint8_t)(1 + rnd(3));
    if (t->kind == LC_T_F32 || t->kind == LC_T_F64) bytes[n - 1] &= 0x3f;
    lc_buf_append(out, bytes, n);
  }
  }
}

static char *random_schema(char *text, size_t size) {
  uint32_t n_cols = 1 + (uint32_t)rnd(5), n_indexes = (uint32_t)rnd(5);
  int len = snprintf(text, size, "table t\n");
  bool has_pk = rnd(3) > 0;
  for (uint32_t i = 0; i < n_cols; i++)
    len += snprintf(text + len, size - (size_t)len, " col c%u %s%s\n", i, i == 0 && rnd(2) ? "u32" : type_words[rnd(sizeof type_words / sizeof *type_words)], i == 0 && has_pk ? " pk" : "");
  for (uint32_t i = 0; i < n_indexes; i++) {
    char cols[64] = "";
    uint32_t k = 1 + (uint32_t)rnd(n_cols < 3 ? n_cols : 3), from = (uint32_t)rnd(n_cols);
    if (has_pk && k == 1 && from == 0) continue; /* the primary key has one */
    for (uint32_t c = 0; c < k; c++) snprintf(cols + strlen(cols), sizeof cols - strlen(cols), "%sc%u", c ? "," : "", (from + c) % n_cols);
    len += snprintf(text + len, size - (size_t)len, " index x%u %s %s\n", i, rnd(4) ? "btree" : "hash", cols);
    if (rnd(3) == 0) len += snprintf(text + len, size - (size_t)len, " unique k%u %s\n", i, cols);
  }
  return text;
}

/* ---- one table against its model ---- */

struct world { struct lc_datastore *ds; uint32_t table; const struct lc_table_info *t; struct list rows, committed; struct lc_buf log; uint32_t n_records; };

static void key_of(const struct world *w, const struct lc_index_info *x, struct lc_slice row, struct lc_buf *out) {
  lc_buf_clear(out);
  for (uint32_t i = 0; i < x->n_columns; i++) {
    const uint8_t *p = lc_row_column(w->t->row_type, row.data, x->columns[i]);
    lc_buf_append(out, p, (size_t)(lc_bsatn_skip(w->t->row_type->fields[x->columns[i]].type, p) - p));
  }
}
/* Compares the first n columns of two keys. */
static int key_compare(const struct lc_index_info *x, const uint8_t *a, const uint8_t *b, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    const struct lc_type *t = x->key_type->fields[i].type;
    int c = lc_bsatn_compare(t, a, b);
    if (c) return c;
    a = lc_bsatn_skip(t, a);
    b = lc_bsatn_skip(t, b);
  }
  return 0;
}
/* Position of a row with this key other than `except`, or -1. */
static int32_t key_find(const struct world *w, const struct lc_index_info *x, struct lc_slice key, int32_t except) {
  struct lc_buf k = {0};
  int32_t found = -1;
  for (uint32_t i = 0; i < w->rows.n && found < 0; i++) {
    key_of(w, x, w->rows.rows[i], &k);
    if ((int32_t)i != except && lc_slice_eq(lc_buf_slice(&k), key)) found = (int32_t)i;
  }
  lc_buf_free(&k);
  return found;
}
static int model_insert(struct world *w, struct lc_slice row, int32_t except) {
  struct lc_buf key = {0};
  int rc = LC_ERRNO_OK;
  int32_t same = list_find(&w->rows, row);
  if (same >= 0 && same != except) return -1; /* nothing to do */
  for (uint32_t i = 0; i < w->t->n_indexes && rc == LC_ERRNO_OK; i++) {
    if (!w->t->indexes[i].is_unique) continue;
    key_of(w, &w->t->indexes[i], row, &key);
    if (key_find(w, &w->t->indexes[i], lc_buf_slice(&key), except) >= 0) rc = LC_ERRNO_UNIQUE_EXISTS;
  }
  lc_buf_free(&key);
  return rc;
}

static void check_all(struct world *w, struct lc_read_view v, const struct list *rows) {
  struct lc_row_iter *it;
  uint32_t n = 0;
  CHECK(lc_view_row_count(v, w->table) == rows->n);
  CHECK(lc_view_scan(v, w->table, &it) == LC_ERRNO_OK);
  for (struct lc_slice row; (row = lc_row_iter_next(it)).data; n++) CHECK(list_find(rows, row) >= 0);
  lc_row_iter_close(it);
  CHECK(n == rows->n);
  for (uint32_t i = 0; i < w->t->n_indexes; i++) { /* in order through each index that has one */
    const struct lc_index_info *x = &w->t->indexes[i];
    struct lc_buf last = {0}, key = {0};
    if (x->kind == LC_INDEX_HASH) continue;
    CHECK(lc_view_scan_range(v, x->index_id, lc_slice(NULL, 0), 0, lc_slice("\2", 1), lc_slice("\2", 1), &it, &err) == LC_ERRNO_OK);
    n = 0;
    for (struct lc_slice row; (row = lc_row_iter_next(it)).data; n++) {
      key_of(w, x, row, &key);
      CHECK(n == 0 || key_compare(x, last.data, key.data, x->n_columns) <= 0);
      lc_buf_clear(&last);
      lc_buf_append(&last, key.data, key.len);
    }
    CHECK(n == rows->n);
    lc_row_iter_close(it);
    lc_buf_free(&last);
    lc_buf_free(&key);
  }
}

static void random_row(const struct world *w, struct lc_buf *out) {
  lc_buf_clear(out);
  for (uint32_t i = 0; i < w->t->row_type->n_fields; i++) random_value(w->t->row_type->fields[i].type, out);
}

static void commit(struct world *w, struct lc_tx *tx) {
  static const struct lc_tx_inputs none;
  const struct lc_tx_delta *delta;
  lc_tx_commit(tx, &delta);
  /* the net effect is the difference of the models */
  uint32_t inserts = 0, deletes = 0, want_inserts = 0, want_deletes = 0;
  for (uint32_t i = 0; w->table && i < delta->n_tables; i++) {
    const struct lc_table_delta *d = &delta->tables[i];
    if (d->table_id != w->table) continue;
    inserts = d->n_inserts;
    deletes = d->n_deletes;
    for (uint32_t k = 0; k < inserts; k++) CHECK(list_find(&w->rows, d->inserts[k]) >= 0 && list_find(&w->committed, d->inserts[k]) < 0);
    for (uint32_t k = 0; k < deletes; k++) CHECK(list_find(&w->rows, d->deletes[k]) < 0 && list_find(&w->committed, d->deletes[k]) >= 0);
  }
  for (uint32_t i = 0; i < w->rows.n; i++) want_inserts += list_find(&w->committed, w->rows.rows[i]) < 0;
  for (uint32_t i = 0; i < w->committed.n; i++) want_deletes += list_find(&w->rows, w->committed.rows[i]) < 0;
  CHECK(inserts == want_inserts && deletes == want_deletes);
  if (lc_tx_delta_is_logged(delta, &none)) {
    lc_tx_record_encode(&w->log, delta, &none);
    w->n_records++;
  }
  lc_tx_delta_release(w->ds, delta);
  list_free(&w->committed);
  w->committed = list_copy(&w->rows);
}

static struct world world_new(const char *text) {
  struct world w = {0};
  struct lc_module_def *def = def_text(text);
  CHECK(lc_datastore_new(&lc_env_system, &w.ds, &err) == LC_OK);
  CHECK(lc_datastore_bootstrap_record(w.ds, &w.log) == LC_OK);
  w.n_records = 1;
  struct lc_tx *tx = lc_tx_begin(w.ds);
  CHECK(lc_schema_create(tx, def, &facts, &err) == LC_OK);
  commit(&w, tx);
  w.t = lc_datastore_table_by_name(w.ds, lc_slice_str("t"));
  w.table = w.t->table_id;
  lc_module_def_free(def);
  return w;
}
static void world_free(struct world *w) {
  size_t used;
  struct world again = *w;
  CHECK(lc_datastore_new(&lc_env_system, &again.ds, &err) == LC_OK);
  CHECK(lc_datastore_replay(again.ds, lc_buf_slice(&w->log), w->n_records, &used, &err) == LC_OK && used == w->log.len);
  again.t = lc_datastore_table(again.ds, w->table);
  check_all(&again, (struct lc_read_view){.ds = again.ds}, &w->committed);
  lc_datastore_free(again.ds);
  for (int reversed = 0; reversed < 2; reversed++) { /* and so does a dump */
    again.ds = engine_copy(w->ds, 1 + rnd(300), reversed);
    again.t = lc_datastore_table(again.ds, w->table);
    check_all(&again, (struct lc_read_view){.ds = again.ds}, &w->committed);
    lc_datastore_free(again.ds);
  }
  lc_datastore_free(w->ds);
  list_free(&w->rows);
  list_free(&w->committed);
  lc_buf_free(&w->log);
}

/* One operation on both; returns false when the engine ran out of memory. */
static bool one_step(struct world *w, struct lc_tx *tx) {
  struct lc_buf row = {0}, key = {0};
  struct lc_slice r;
  uint32_t n_indexes = w->t->n_indexes, count = 0;
  bool nomem = false;
  int64_t armed = fail_after;
  fail_after = -1;
  random_row(w, &row);
  if (w->rows.n && rnd(3) == 0) { /* one that is there */
    lc_buf_clear(&row);
    lc_buf_slice_append(&row, w->rows.rows[rnd(w->rows.n)]);
  }
  r = lc_buf_slice(&row);
  const struct lc_index_info *x = n_indexes ? &w->t->indexes[rnd(n_indexes)] : NULL;
  if (x) key_of(w, x, r, &key);
  switch (rnd(10)) {
  case 0: case 1: case 2: case 3: {
    int want = model_insert(w, r, -1);
    fail_after = armed;
    int rc = lc_tx_insert(tx, w->table, r, NULL, NULL, &err);
    if ((nomem = rc == LC_ERRNO_TRAP)) break;
    CHECK(rc == (want < 0 ? LC_ERRNO_OK : want));
    armed = fail_after, fail_after = -1;
    if (want == LC_ERRNO_OK) list_add(&w->rows, r);
    fail_after = armed;
    break;
  }
  case 4: case 5: {
    if (!x) break;
    int32_t old = x->is_unique ? key_find(w, x, lc_buf_slice(&key), -1) : -1;
    int want = !x->is_unique ? LC_ERRNO_INDEX_NOT_UNIQUE : old < 0 ? LC_ERRNO_NO_SUCH_ROW : model_insert(w, r, old);
    fail_after = armed;
    int rc = lc_tx_update(tx, w->table, x->index_id, r, NULL, NULL, &err);
    if ((nomem = rc == LC_ERRNO_TRAP)) break;
    CHECK(rc == want);
    armed = fail_after, fail_after = -1;
    if (want == LC_ERRNO_OK) {
      list_remove(&w->rows, (uint32_t)old);
      list_add(&w->rows, r);
    }
    fail_after = armed;
    break;
  }
  case 6: {
    if (!x) break;
    fail_after = armed;
    int rc = lc_tx_delete_point(tx, x->index_id, lc_buf_slice(&key), &count, &err);
    if ((nomem = rc == LC_ERRNO_TRAP)) break;
    CHECK(rc == LC_ERRNO_OK);
    armed = fail_after, fail_after = -1;
    uint32_t want = 0;
    for (int32_t at; (at = key_find(w, x, lc_buf_slice(&key), -1)) >= 0; want++) list_remove(&w->rows, (uint32_t)at);
    CHECK(count == want);
    fail_after = armed;
    break;
  }
  case 7: {
    bool found;
    fail_after = armed;
    int rc = lc_tx_delete_row(tx, w->table, r, &found, &err);
    if ((nomem = rc == LC_ERRNO_TRAP)) break;
    int32_t at = list_find(&w->rows, r);
    CHECK(rc == LC_ERRNO_OK && found == (at >= 0));
    if (found) list_remove(&w->rows, (uint32_t)at);
    break;
  }
  case 8: { /* a range from an included or excluded key upward, or downward */
    if (!x || x->kind == LC_INDEX_HASH) break;
    struct lc_buf bound = {0};
    bool excluded = rnd(2), upward = rnd(2), deletes = rnd(3) == 0;
    size_t first = (size_t)(lc_bsatn_skip(x->key_type->fields[0].type, key.data) - key.data);
    lc_buf_u8(&bound, excluded);
    lc_buf_append(&bound, key.data, first);
    struct lc_slice open = lc_slice("\2", 1), b = lc_buf_slice(&bound);
    struct lc_row_iter *it = NULL;
    fail_after = armed;
    int rc = deletes ? lc_tx_delete_range(tx, x->index_id, lc_slice(NULL, 0), 0, upward ? b : open, upward ? open : b, &count, &err)
                     : lc_tx_scan_range(tx, x->index_id, lc_slice(NULL, 0), 0, upward ? b : open, upward ? open : b, &it, &err);
    armed = fail_after, fail_after = -1;
    nomem = rc == LC_ERRNO_TRAP;
    uint32_t want = 0;
    struct lc_buf other = {0};
    for (uint32_t i = 0; !nomem && i < w->rows.n;) {
      key_of(w, x, w->rows.rows[i], &other);
      int c = key_compare(x, other.data, key.data, 1);
      bool in = c == 0 ? !excluded : (c > 0) == upward;
      want += in;
      if (in && deletes) list_remove(&w->rows, i);
      else i++;
    }
    if (it)
      for (; lc_row_iter_next(it).data;) count++;
    lc_row_iter_close(it);
    CHECK(nomem || (rc == LC_ERRNO_OK && count == want));
    lc_buf_free(&other);
    lc_buf_free(&bound);
    fail_after = armed;
    break;
  }
  default: {
    uint64_t n;
    if (rnd(20)) break;
    fail_after = armed;
    int rc = lc_tx_clear(tx, w->table, &n, &err);
    if ((nomem = rc == LC_ERRNO_TRAP)) break;
    CHECK(rc == LC_ERRNO_OK && n == w->rows.n);
    while (w->rows.n) list_remove(&w->rows, w->rows.n - 1);
  }
  }
  armed = fail_after;
  fail_after = -1;
  lc_buf_free(&row);
  lc_buf_free(&key);
  fail_after = armed;
  return !nomem;
}

static void test_model(void **unused) {
  (void)unused;
  char text[2048];
  state = seed;
  for (unsigned long done = 0; done < steps;) {
    struct world w = world_new(random_schema(text, sizeof text));
    struct lc_read_view held = {0};
    struct list held_rows = {0};
    for (unsigned long i = 0, n = 20 + rnd(60); i < n; i++) {
      struct lc_tx *tx = lc_tx_begin(w.ds);
      for (uint64_t k = rnd(40); k > 0; k--, done++) CHECK(one_step(&w, tx));
      if (rnd(8) == 0) check_all(&w, (struct lc_read_view){.ds = w.ds}, &w.rows);
      if (rnd(3) == 0) {
        lc_tx_rollback(tx);
        list_free(&w.rows);
        w.rows = list_copy(&w.committed);
        check_all(&w, (struct lc_read_view){.ds = w.ds}, &w.rows);
      } else {
        commit(&w, tx);
      }
      if (held.schema && rnd(4) == 0) {
        check_all(&w, held, &held_rows);
        lc_read_view_close(&held);
        list_free(&held_rows);
      } else if (!held.schema && rnd(4) == 0) {
        CHECK(lc_read_view_open(w.ds, &held) == LC_OK);
        held_rows = list_copy(&w.committed);
      }
    }
    if (held.schema) check_all(&w, held, &held_rows);
    lc_read_view_close(&held);
    list_free(&held_rows);
    world_free(&w);
  }
}

/* The n-th allocation fails, wherever it is: the operation reports it, rolling back restores everything, and life goes on. */
static void test_memory(void **unused) {
  (void)unused;
  char text[2048];
  state = seed + 1;
  for (int round = 0; round < 12; round++) {
    struct world w = world_new(random_schema(text, sizeof text));
    for (int64_t n = 0; n < 120; n++) {
      struct lc_tx *tx = lc_tx_begin(w.ds);
      bool ok = true;
      fail_after = n % 40;
      for (uint64_t k = 0; k < 30 && ok; k++) ok = one_step(&w, tx);
      if (ok && rnd(2)) {
        fail_after = -1;
        commit(&w, tx);
      } else {
        if (ok) fail_after = (int64_t)rnd(10);
        lc_tx_rollback(tx); /* also when an allocation fails in it */
        fail_after = -1;
        list_free(&w.rows);
        w.rows = list_copy(&w.committed);
      }
      check_all(&w, (struct lc_read_view){.ds = w.ds}, &w.rows);
    }
    world_free(&w);
  }
}

/* The same for schema changes: every allocation of a migration fails in turn, and nothing has changed. */
static void test_memory_of_migrations(void **unused) {
  (void)unused;
  const char *old_text = "table t\n col id u32 pk auto\n col v u8 index\ntable gone\n col x u8\nview v\n col id u32 pk\n";
  struct lc_module_def *old = def_text(old_text), *new = def_text("table t private\n col id u32 pk auto\n col v u8\n col w string = 0100000061\ntable more\n col y string unique\nview v\n col id u32 pk\n col z u8\n");
  struct world w = world_new(old_text);
  struct lc_tx *tx = lc_tx_begin(w.ds);
  for (int i = 0; i < 50; i++) CHECK(lc_tx_insert(tx, w.table, lc_slice("\0\0\0\0\7", 5), NULL, NULL, &err) == LC_ERRNO_OK);
  struct lc_row_iter *it;
  CHECK(lc_tx_scan(tx, w.table, &it) == LC_ERRNO_OK);
  for (struct lc_slice row; (row = lc_row_iter_next(it)).data;) list_add(&w.rows, row);
  lc_row_iter_close(it);
  commit(&w, tx);
  bool done = false;
  for (int64_t n = 0; !done; n += 1 + n / 40) {
    CHECK(n < 100000);
    tx = lc_tx_begin(w.ds);
    fail_after = n;
    done = lc_schema_update(tx, old, new, &facts, &err) == LC_OK;
    done = done && fail_after >= 0;
    fail_after = -1;
    lc_tx_rollback(tx);
    CHECK(lc_datastore_table_by_name(w.ds, lc_slice_str("gone")) && !lc_datastore_table_by_name(w.ds, lc_slice_str("more")));
    CHECK(lc_datastore_table_by_name(w.ds, lc_slice_str("t"))->table_id == w.table);
    w.t = lc_datastore_table(w.ds, w.table);
    CHECK(w.t->n_indexes == 2 && w.t->is_public);
    check_all(&w, (struct lc_read_view){.ds = w.ds}, &w.rows);
  }
  world_free(&w);
  lc_module_def_free(old);
  lc_module_def_free(new);
}

int main(void) {
  const char *s = getenv("SEED"), *n = getenv("STEPS");
  lc_alloc_may_fail = may_fail;
  seed = s ? strtoul(s, NULL, 0) : 1;
  steps = n ? strtoul(n, NULL, 0) : 20000;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_model), cmocka_unit_test(test_memory), cmocka_unit_test(test_memory_of_migrations)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
