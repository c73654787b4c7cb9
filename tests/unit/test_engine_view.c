/* Read views: a consistent state for readers on other threads while the writer goes on, and the schema as it was. */
#include "def_text.h"
#include "engine/engine.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct lc_error err;
static const struct lc_module_facts facts = {.program_bytes = {(const uint8_t *)"program", 7}};

static void commit(struct lc_datastore *ds, struct lc_tx *tx) {
  const struct lc_tx_delta *delta;
  lc_tx_commit(tx, &delta);
  lc_tx_delta_release(ds, delta);
}
static struct lc_datastore *datastore(const char *text) {
  struct lc_datastore *ds;
  struct lc_module_def *def = def_text(text);
  assert_int_equal(lc_datastore_new(&lc_env_system, &ds, &err), LC_OK);
  struct lc_tx *tx = lc_tx_begin(ds);
  if (lc_schema_create(tx, def, &facts, &err) != LC_OK) fail_msg("%s", err.text);
  commit(ds, tx);
  lc_module_def_free(def);
  return ds;
}

struct account { uint32_t id; int64_t balance; } __attribute__((packed));
enum { N_ACCOUNTS = 3000, N_READERS = 3, START = 100 };

static void check_view(struct lc_read_view view, unsigned seed) {
  const struct lc_table_info *t = lc_view_table_by_name(view, lc_slice_str("account"));
  int64_t sum = 0;
  uint64_t n = 0;
  struct lc_row_iter *it;
  lc_assert(t && lc_view_table(view, t->table_id) == t);
  lc_assert(lc_view_row_count(view, t->table_id) == N_ACCOUNTS);
  lc_assert(lc_view_scan(view, t->table_id, &it) == LC_ERRNO_OK);
  for (struct lc_row_run run; lc_row_iter_run(it, &run);) /* runs, then again row by row through the other index */
    for (uint32_t i = 0; i < run.n; i++) {
      struct account a;
      memcpy(&a, run.rows + (size_t)i * run.stride_bytes, sizeof a);
      sum += a.balance;
      n++;
    }
  lc_row_iter_close(it);
  lc_assert(n == N_ACCOUNTS && sum == (int64_t)N_ACCOUNTS * START);
  const struct lc_index_info *by_balance = lc_view_index_by_name(view, lc_slice_str("account_balance_idx_btree"));
  int64_t last = INT64_MIN;
  lc_assert(by_balance && lc_view_index(view, by_balance->index_id) == by_balance);
  lc_assert(lc_view_scan_range(view, by_balance->index_id, lc_slice(NULL, 0), 0, lc_slice("\2", 1), lc_slice("\2", 1), &it, NULL) == LC_ERRNO_OK);
  n = 0;
  for (struct lc_slice row; (row = lc_row_iter_next(it)).data; n++) {
    struct account a;
    memcpy(&a, row.data, sizeof a);
    lc_assert(a.balance >= last);
    last = a.balance;
    sum -= a.balance;
  }
  lc_row_iter_close(it);
  lc_assert(n == N_ACCOUNTS && sum == 0);
  for (int i = 0; i < 50; i++) {
    uint32_t id = (uint32_t)rand_r(&seed) % N_ACCOUNTS;
    struct lc_slice row, key = lc_slice(&id, 4);
    lc_assert(lc_view_find(view, t->indexes[0].index_id, key, &row, NULL) == LC_ERRNO_OK);
    lc_assert(row.len == sizeof(struct account) && memcmp(row.data, &id, 4) == 0);
    lc_assert(lc_view_scan_point(view, t->indexes[0].index_id, key, &it, NULL) == LC_ERRNO_OK);
    lc_assert(lc_row_iter_next(it).len == sizeof(struct account) && !lc_row_iter_next(it).data);
    lc_row_iter_close(it);
  }
}

struct shared { pthread_mutex_t lock; pthread_cond_t changed; struct lc_read_view views[N_READERS]; bool given[N_READERS], stop; };
struct reader { struct shared *s; unsigned at; uint64_t n; };

static void *read_views(void *arg) {
  struct reader *r = arg;
  struct shared *s = r->s;
  for (;;) {
    pthread_mutex_lock(&s->lock);
    while (!s->given[r->at] && !s->stop) pthread_cond_wait(&s->changed, &s->lock);
    struct lc_read_view view = s->views[r->at];
    bool given = s->given[r->at];
    s->given[r->at] = false;
    pthread_mutex_unlock(&s->lock);
    if (!given) return NULL;
    check_view(view, r->at + 1);
    lc_read_view_close(&view);
    r->n++;
  }
}

/* Readers get views one after another; meanwhile the writer moves balances, adds tables and removes rows of others. */
static void test_threads(void **state) {
  (void)state;
  struct lc_datastore *ds = datastore("table account\n col id u32 pk\n col balance i64 index\n table other\n col name string\n");
  uint32_t table = lc_datastore_table_by_name(ds, lc_slice_str("account"))->table_id, other = lc_datastore_table_by_name(ds, lc_slice_str("other"))->table_id;
  struct lc_tx *tx = lc_tx_begin(ds);
  for (uint32_t i = 0; i < N_ACCOUNTS; i++) {
    struct account a = {i, START};
    assert_int_equal(lc_tx_insert(tx, table, lc_slice(&a, sizeof a), NULL, NULL, &err), LC_ERRNO_OK);
  }
  commit(ds, tx);
  struct shared s = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
  struct reader readers[N_READERS] = {{0}};
  pthread_t threads[N_READERS];
  for (unsigned i = 0; i < N_READERS; i++) {
    readers[i] = (struct reader){&s, i, 0};
    assert_int_equal(pthread_create(&threads[i], NULL, read_views, &readers[i]), 0);
  }
  unsigned seed = 3, n_defs = 0;
  char text[4096];
  int len = snprintf(text, sizeof text, "table account\n col id u32 pk\n col balance i64 index\n table other\n col name string\n");
  struct lc_module_def *old = def_text(text);
  for (int round = 0; round < 400; round++) {
    tx = lc_tx_begin(ds);
    for (int k = 0; k < 20; k++) { /* from one account to another */
      uint32_t from = (uint32_t)rand_r(&seed) % N_ACCOUNTS, to = (uint32_t)rand_r(&seed) % N_ACCOUNTS;
      const struct lc_table_info *t = lc_datastore_table(ds, table);
      struct account a[2];
      if (from == to) continue;
      for (int x = 0; x < 2; x++) {
        struct lc_slice row;
        assert_int_equal(lc_view_find((struct lc_read_view){.ds = ds}, t->indexes[0].index_id, lc_slice(x ? &to : &from, 4), &row, &err), LC_ERRNO_OK);
        memcpy(&a[x], row.data, sizeof a[x]);
        a[x].balance += x ? 7 : -7;
        assert_int_equal(lc_tx_update(tx, table, t->indexes[0].index_id, lc_slice(&a[x], sizeof a[x]), NULL, NULL, &err), LC_ERRNO_OK);
      }
    }
    struct lc_buf name = {0};
    lc_buf_bsatn_str(&name, round % 2 ? "a" : "some longer name");
    assert_int_equal(lc_tx_insert(tx, other, lc_buf_slice(&name), NULL, NULL, &err), LC_ERRNO_OK);
    lc_buf_free(&name);
    if (round % 3 == 0) lc_tx_rollback(tx);
    else commit(ds, tx);
    if (round % 40 == 39) { /* one more table */
      len += snprintf(text + len, sizeof text - (size_t)len, "table more%u\n col x u8\n", n_defs++);
      struct lc_module_def *def = def_text(text);
      tx = lc_tx_begin(ds);
      if (lc_schema_update(tx, old, def, &facts, &err) != LC_OK) fail_msg("%s", err.text);
      commit(ds, tx);
      lc_module_def_free(old);
      old = def;
    }
    pthread_mutex_lock(&s.lock);
    for (unsigned i = 0; i < N_READERS; i++)
      if (!s.given[i]) {
        if (i && s.given[0]) s.views[i] = lc_read_view_ref(s.views[0]); /* many readers of one view */
        else assert_int_equal(lc_read_view_open(ds, &s.views[i]), LC_OK);
        s.given[i] = true;
      }
    pthread_cond_broadcast(&s.changed);
    pthread_mutex_unlock(&s.lock);
  }
  pthread_mutex_lock(&s.lock);
  s.stop = true;
  pthread_cond_broadcast(&s.changed);
  pthread_mutex_unlock(&s.lock);
  for (unsigned i = 0; i < N_READERS; i++) {
    pthread_join(threads[i], NULL);
    assert_true(readers[i].n > 0);
  }
  lc_module_def_free(old);
  lc_datastore_free(ds);
}

/* A view keeps rows, tables and names that are gone from the datastore. */
static void test_past(void **state) {
  (void)state;
  struct lc_datastore *ds = datastore("table a as Alpha\n col x u32\n table b\n col y string pk\n");
  uint32_t a = lc_datastore_table_by_name(ds, lc_slice_str("Alpha"))->table_id;
  uint32_t value = 5;
  struct lc_read_view before, after;
  struct lc_row_iter *it;
  struct lc_tx *tx = lc_tx_begin(ds);
  assert_int_equal(lc_tx_insert(tx, a, lc_slice(&value, 4), NULL, NULL, &err), LC_ERRNO_OK);
  commit(ds, tx);
  assert_int_equal(lc_read_view_open(ds, &before), LC_OK);
  tx = lc_tx_begin(ds);
  bool found;
  assert_int_equal(lc_tx_delete_row(tx, a, lc_slice(&value, 4), &found, &err), LC_ERRNO_OK);
  value = 6;
  assert_int_equal(lc_tx_insert(tx, a, lc_slice(&value, 4), NULL, NULL, &err), LC_ERRNO_OK);
  commit(ds, tx);
  struct lc_module_def *def = def_text("table a as Alpha\n col x u32\n table b\n col y string pk\n table c\n col z u8\n"), *old = def_text("table a as Alpha\n col x u32\n table b\n col y string pk\n");
  tx = lc_tx_begin(ds);
  if (lc_schema_update(tx, old, def, &facts, &err) != LC_OK) fail_msg("%s", err.text);
  commit(ds, tx);
  lc_module_def_free(old);
  lc_module_def_free(def);
  assert_int_equal(lc_read_view_open(ds, &after), LC_OK);
  assert_true(lc_view_schema_version(after) > lc_view_schema_version(before));
  assert_null(lc_view_table_by_name(before, lc_slice_str("c")));
  assert_non_null(lc_view_table_by_name(after, lc_slice_str("c")));
  for (int i = 0; i < 2; i++) {
    struct lc_read_view view = i ? after : before;
    assert_int_equal(lc_view_row_count(view, a), 1);
    assert_int_equal(lc_view_scan(view, a, &it), LC_ERRNO_OK);
    struct lc_slice row = lc_row_iter_next(it);
    value = 5 + (uint32_t)i;
    assert_int_equal(row.len, 4);
    assert_memory_equal(row.data, &value, 4);
    assert_null(lc_row_iter_next(it).data);
    lc_row_iter_close(it);
    assert_int_equal(lc_view_scan(view, 999999, &it), LC_ERRNO_NO_SUCH_TABLE);
  }
  struct lc_read_view again = lc_read_view_ref(before);
  lc_read_view_close(&before);
  assert_non_null(lc_view_index_by_name(again, lc_slice_str("b_y_idx_btree")));
  lc_read_view_close(&again);
  lc_read_view_close(&after);
  lc_datastore_free(ds);
}

/* ---- what views leave behind ---- */

enum { N_TEXTS = 12000, TEXT_BYTES = 200, NODE_BYTES = 2048 };

/* Writes `text` into n rows from `from` on. */
static void write_texts(struct lc_datastore *ds, uint32_t from, uint32_t n, char text, bool insert) {
  const struct lc_table_info *t = lc_datastore_table_by_name(ds, lc_slice_str("note"));
  uint8_t row[8 + TEXT_BYTES];
  uint32_t len = TEXT_BYTES;
  struct lc_tx *tx = lc_tx_begin(ds);
  memcpy(row + 4, &len, 4);
  memset(row + 8, text, TEXT_BYTES);
  for (uint32_t i = from; i < from + n; i++) {
    memcpy(row, &i, 4);
    if (insert) assert_int_equal(lc_tx_insert(tx, t->table_id, lc_slice(row, sizeof row), NULL, NULL, &err), LC_ERRNO_OK);
    else assert_int_equal(lc_tx_update(tx, t->table_id, t->indexes[0].index_id, lc_slice(row, sizeof row), NULL, NULL, &err), LC_ERRNO_OK);
  }
  commit(ds, tx);
}
static uint64_t retired(const struct lc_datastore *ds) { return lc_datastore_memory(ds).retired_bytes; }

/* What views held is freed as fast as changes make it, but no transaction pays for all that others have left. */
static void test_retired(void **state) {
  (void)state;
  struct lc_datastore *ds = datastore("table note\n col id u32 pk\n col text string\n");
  struct lc_read_view last, longer;
  write_texts(ds, 0, N_TEXTS, 'a', true);
  uint64_t live = lc_datastore_memory(ds).live_bytes, pile, before;
  assert_true(live > 4 * LC_RECLAIM_PACE * NODE_BYTES); /* more than the constant share of a transaction */
  /* each transaction changes everything; one view of the newest state */
  assert_int_equal(lc_read_view_open(ds, &last), LC_OK);
  for (int i = 0; i < 30; i++) {
    struct lc_read_view now;
    write_texts(ds, 0, N_TEXTS, (char)('a' + i % 26), false);
    assert_int_equal(lc_read_view_open(ds, &now), LC_OK);
    lc_read_view_close(&last);
    last = now;
    if (retired(ds) > 2 * live) fail_msg("transaction %d: %llu of %llu bytes are retired", i, (unsigned long long)retired(ds), (unsigned long long)live);
  }
  /* beside it one held for two such transactions, then the next: what the newest saw is handed on to it, and must not hold up what its predecessors left */
  longer = lc_read_view_ref(last);
  for (int i = 1; i <= 60; i++) {
    for (int k = 0; k < 2; k++) {
      struct lc_read_view now;
      write_texts(ds, 0, k ? N_TEXTS : 1, (char)('a' + i % 26), false);
      assert_int_equal(lc_read_view_open(ds, &now), LC_OK);
      lc_read_view_close(&last);
      last = now;
    }
    if (retired(ds) > 4 * live) fail_msg("transaction %d: %llu of %llu bytes are retired", i, (unsigned long long)retired(ds), (unsigned long long)live);
    if (i % 2) continue;
    lc_read_view_close(&longer);
    longer = lc_read_view_ref(last);
  }
  lc_read_view_close(&last);
  lc_read_view_close(&longer);
  while (retired(ds)) {
    write_texts(ds, 0, 1, 'x', false);
    write_texts(ds, 0, 0, 'x', false);
  }
  /* the last view of an old state goes: small transactions take what it held in small shares */
  assert_int_equal(lc_read_view_open(ds, &last), LC_OK);
  write_texts(ds, 0, N_TEXTS, 'y', false);
  write_texts(ds, 0, 1, 'z', false); /* what was retired newly is accounted for */
  lc_read_view_close(&last);
  assert_true((pile = retired(ds)) >= live * 3 / 4);
  for (uint32_t n = 0; (before = retired(ds)) > 0; n++) {
    write_texts(ds, n, 1, 'z', false);
    if (before - retired(ds) > LC_RECLAIM_PACE * NODE_BYTES) fail_msg("a small transaction has freed %llu bytes", (unsigned long long)(before - retired(ds)));
    if (n > pile / (LC_RECLAIM_PACE * NODE_BYTES) + 1) fail_msg("%llu of %llu bytes are still retired after %u transactions", (unsigned long long)retired(ds), (unsigned long long)pile, n);
  }
  lc_datastore_free(ds);
}

/* ---- without memory ---- */

static uint64_t allocs_left;
static uint32_t longest_tag;
static bool none_left(size_t size) { /* from some allocation on there is no memory */
  (void)size;
  return allocs_left == 0 || allocs_left-- == 0;
}

static void doc_row(struct lc_buf *row, uint32_t id, unsigned version) { /* small ones, and ones of blobs and long index keys */
  static const uint32_t lengths[] = {10, 30, 230, 300, 600, 1500};
  char text[1500];
  uint32_t tag = lengths[(id * 7 + version) % 6], body = lengths[(id + version * 5) % 6];
  if (tag > longest_tag) tag = longest_tag;
  lc_buf_clear(row);
  lc_buf_u32(row, id);
  for (int i = 0; i < 2; i++) {
    memset(text, 'a' + (int)((id + (i ? version : version / 2)) % 26), sizeof text); /* every other version has the same tag */
    lc_buf_bsatn_str(row, "");
    row->len -= 4;
    lc_buf_u32(row, i ? body : tag);
    lc_buf_append(row, text, i ? body : tag);
  }
  assert_true(lc_buf_ok(row));
}
static uint64_t digest(struct lc_datastore *ds, struct lc_read_view view) { /* all rows, in the order of every index */
  uint64_t sum = 0;
  if (!view.ds) view.ds = ds;
  for (int i = 0; i < 2; i++) {
    const struct lc_table_info *t = lc_view_table_by_name(view, lc_slice_str(i ? "bag" : "doc"));
    struct lc_row_iter *it;
    for (int32_t k = -1; k < (int32_t)t->n_indexes; k++) {
      uint64_t n = 0;
      if (k < 0) assert_int_equal(lc_view_scan(view, t->table_id, &it), LC_ERRNO_OK);
      else assert_int_equal(lc_view_scan_range(view, t->indexes[k].index_id, lc_slice(NULL, 0), 0, lc_slice("\2", 1), lc_slice("\2", 1), &it, NULL), LC_ERRNO_OK);
      for (struct lc_slice row; (row = lc_row_iter_next(it)).data; n++) sum = (sum ^ lc_hash64(row.data, row.len, 1)) * 0x9e3779b97f4a7c15u + 1;
      lc_row_iter_close(it);
      assert_int_equal(n, lc_view_row_count(view, t->table_id));
    }
  }
  return sum;
}
enum { N_DOCS = 120, N_STEPS = 60, MOST_HELD = 2500 };
/* Step `i` of a fixed series of changes and scans; an errno. */
static int change(struct lc_tx *tx, struct lc_datastore *ds, unsigned script, unsigned i, struct lc_buf *row) {
  const struct lc_table_info *t = lc_datastore_table_by_name(ds, lc_slice_str("doc")), *bag = lc_datastore_table_by_name(ds, lc_slice_str("bag"));
  uint32_t id = (i * 37 + script * 11) % N_DOCS, count;
  struct lc_slice key = lc_slice(&id, 4);
  struct lc_row_iter *it;
  bool found;
  int rc;
  doc_row(row, id, script + i);
  switch (script % 2 ? 0 : (i + script) % 6) {
  case 0: return lc_tx_delete_point(tx, t->indexes[0].index_id, key, &count, &err);
  case 1: rc = lc_tx_update(tx, t->table_id, t->indexes[0].index_id, lc_buf_slice(row), NULL, NULL, &err); return rc == LC_ERRNO_NO_SUCH_ROW ? LC_ERRNO_OK : rc;
  case 2: memcpy(row->data, &(uint32_t){1000 + i}, 4); return lc_tx_insert(tx, t->table_id, lc_buf_slice(row), NULL, NULL, &err);
  case 3: return lc_tx_insert(tx, bag->table_id, lc_slice(row->data + 4, row->len - 4), NULL, NULL, &err);
  case 4: doc_row(row, id, 0); return lc_tx_delete_row(tx, bag->table_id, lc_slice(row->data + 4, row->len - 4), &found, &err);
  default: /* a long scan, left open: what has been changed is now seen by a snapshot */
    if ((rc = lc_tx_scan(tx, t->table_id, &it)) == LC_ERRNO_TRAP) lc_fail(&err, LC_NOMEM, "out of memory");
    if (rc == LC_ERRNO_OK) lc_row_iter_close(it);
    return rc;
  }
}

/* Changes under a held view fail cleanly when there is no memory, deletions too, and the transaction can be undone: without memory, as long as no
 * separator needs a blob. */
static void without_memory(bool long_keys) {
  longest_tag = long_keys ? 1500 : 200;
  struct lc_datastore *ds = datastore("table doc\n col id u32 pk\n col tag string index\n col body string\ntable bag\n col tag string index\n col body string\n");
  struct lc_buf row = {0};
  struct lc_tx *tx = lc_tx_begin(ds);
  for (uint32_t id = 0; id < N_DOCS; id++) {
    doc_row(&row, id, 0);
    assert_int_equal(lc_tx_insert(tx, lc_datastore_table_by_name(ds, lc_slice_str("doc"))->table_id, lc_buf_slice(&row), NULL, NULL, &err), LC_ERRNO_OK);
    assert_int_equal(lc_tx_insert(tx, lc_datastore_table_by_name(ds, lc_slice_str("bag"))->table_id, lc_slice(row.data + 4, row.len - 4), NULL, NULL, &err), LC_ERRNO_OK);
  }
  commit(ds, tx);
  unsigned failures = 0, deletions = 0;
  static struct lc_read_view held[MOST_HELD]; /* so that no transaction leaves nodes to the next */
  unsigned n_held = 0;
  for (unsigned script = 0; script < 16; script++) {
    unsigned passed = 0;
    for (uint64_t nth = 0; passed < 40 && n_held < MOST_HELD; nth++) {
      struct lc_read_view *view = &held[n_held++];
      assert_int_equal(lc_read_view_open(ds, view), LC_OK);
      uint64_t before = digest(ds, *view);
      unsigned i = 0;
      tx = lc_tx_begin(ds);
      allocs_left = script % 2 ? 0 : nth / 2;
      lc_alloc_may_fail = none_left;
      int rc = LC_ERRNO_OK;
      for (; rc == LC_ERRNO_OK && i < N_STEPS; i++) rc = change(tx, ds, script, i, &row);
      allocs_left = long_keys ? UINT64_MAX : 0;
      lc_tx_rollback(tx);
      lc_alloc_may_fail = NULL;
      if (rc == LC_ERRNO_OK) {
        passed++;
      } else {
        if (rc != LC_ERRNO_TRAP || err.status != LC_NOMEM) fail_msg("script %u, allocation %llu, step %u: %d %s", script, (unsigned long long)nth, i, rc, err.text);
        failures++;
        deletions += script % 2 || (i - 1 + script) % 6 % 4 == 0;
      }
      assert_true(digest(ds, (struct lc_read_view){0}) == before);
      assert_true(digest(ds, *view) == before && digest(ds, held[0]) == before);
    }
  }
  while (n_held) lc_read_view_close(&held[--n_held]);
  if (failures <= 50 || deletions <= 5) fail_msg("only %u failures, %u of deletions", failures, deletions);
  lc_buf_free(&row);
  lc_datastore_free(ds);
}
static void test_deletion_without_memory(void **state) {
  (void)state;
  without_memory(false);
  without_memory(true);
}

/* Large transactions are undone without memory: the copies that a scan inside makes necessary are kept, and the nodes that deletions made free. */
static void test_undoing_without_memory(void **state) {
  (void)state;
  uint8_t row[8 + TEXT_BYTES] = {0};
  uint32_t len = TEXT_BYTES;
  memcpy(row + 4, &len, 4);
  for (int what = 0; what < 2; what++) {
    struct lc_datastore *ds = datastore("table note\n col id u32 pk\n col text string\ntable other\n col id u32 pk\n col text string\n");
    uint32_t note = lc_datastore_table_by_name(ds, lc_slice_str("note"))->table_id, other = lc_datastore_table_by_name(ds, lc_slice_str("other"))->table_id;
    write_texts(ds, 0, N_TEXTS, 'a', true);
    const struct lc_table_info *t = lc_datastore_table(ds, note);
    struct lc_row_iter *it;
    uint64_t n, rows, before, after;
    assert_true(lc_datastore_table_size(ds, note, &rows, &before));
    struct lc_tx *tx = lc_tx_begin(ds);
    if (what == 1) assert_int_equal(lc_tx_clear(tx, note, &n, &err), LC_ERRNO_OK);
    for (uint32_t i = 0; i < N_TEXTS; i++) {
      memcpy(row, &i, 4);
      if (what == 0) assert_int_equal(lc_tx_update(tx, note, t->indexes[0].index_id, lc_slice(row, sizeof row), NULL, NULL, &err), LC_ERRNO_OK);
      else assert_int_equal(lc_tx_insert(tx, other, lc_slice(row, sizeof row), NULL, NULL, &err), LC_ERRNO_OK);
    }
    it = NULL;
    if (what == 0) assert_int_equal(lc_tx_scan(tx, note, &it), LC_ERRNO_OK);
    allocs_left = 0;
    lc_alloc_may_fail = none_left;
    lc_tx_rollback(tx);
    lc_alloc_may_fail = NULL;
    lc_row_iter_close(it);
    assert_true(lc_datastore_table_size(ds, note, &rows, &after) && after <= before + before / 20); /* as full as it was */
    assert_int_equal(lc_view_row_count((struct lc_read_view){.ds = ds}, other), 0);
    assert_int_equal(lc_view_row_count((struct lc_read_view){.ds = ds}, note), N_TEXTS);
    assert_int_equal(lc_view_scan((struct lc_read_view){.ds = ds}, note, &it), LC_ERRNO_OK);
    uint32_t i = 0;
    for (struct lc_slice r; (r = lc_row_iter_next(it)).data; i++) assert_true(r.len == sizeof row && memcmp(r.data, &i, 4) == 0 && r.data[8] == 'a' && r.data[r.len - 1] == 'a');
    assert_int_equal(i, N_TEXTS);
    lc_row_iter_close(it);
    lc_datastore_free(ds);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads), cmocka_unit_test(test_past), cmocka_unit_test(test_retired), cmocka_unit_test(test_deletion_without_memory), cmocka_unit_test(test_undoing_without_memory)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
