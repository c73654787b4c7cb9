/* Live queries against an evaluation without any planning: random tables, rules, queries, sets and transactions; after each commit what each set was sent,
 * summed up, must be what its queries give now. Some transactions are evaluated while allocations fail: a set may fail, but never silently.
 * LC_LIVE_SEED and LC_LIVE_ROUNDS make it another or longer one. */
#include "def_text.h"
#include "engine/engine.h"
#include "live/live.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

enum { N_TABLES = 3, N_COLUMNS = 5, MAX_ROWS = 40, MAX_TERMS = 4, N_SETS = 14, MAX_QUERIES = 4, ROW_BYTES = 40, MAX_BAG = 8192 };
static const char *const table_names[N_TABLES] = {"a", "b", "c"};
static const char *const column_names[N_COLUMNS] = {"id", "k", "n", "s", "f"}; /* u32, u32, i64, string, bool */
struct row { int v[N_COLUMNS]; };
struct model { uint32_t n; struct row rows[MAX_ROWS]; };
/* What is true of a column: an operator and a constant, or another column. */
struct term { int relation, column, op, value, other_column; bool is_or; };
struct query { int n_relations, table[2], result, join_column; struct term terms[MAX_TERMS]; int n_terms; char sql[1024]; };
struct bag { uint32_t n; struct entry { int table; uint32_t len; uint8_t bytes[ROW_BYTES]; } *entries; };
struct test_set { bool is_active; uint32_t id, n; int caller; struct query queries[MAX_QUERIES]; struct bag seen; };

static struct lc_error err;
static struct lc_datastore *ds;
static struct lc_live *live;
static struct model models[N_TABLES];
static struct test_set sets[N_SETS];
static bool has_rules;
static uint64_t random_state;
static const struct lc_sql_caller callers[3] = {{.is_owner = true}, {.identity = {{1}}}, {.identity = {{2}}}};
static uint32_t n_failed_sets, n_deltas, n_refused, n_subscribed;

static int dice(int sides) {
  random_state = random_state * 6364136223846793005u + 1442695040888963407u;
  return (int)((random_state >> 33) % (uint64_t)sides);
}

static void encode(const struct row *r, struct lc_buf *out) {
  char s[8];
  lc_buf_clear(out);
  lc_buf_u32(out, (uint32_t)r->v[0]);
  lc_buf_u32(out, (uint32_t)r->v[1]);
  lc_buf_u64(out, (uint64_t)(int64_t)r->v[2]);
  snprintf(s, sizeof s, "v%d", r->v[3]);
  lc_buf_bsatn_str(out, s);
  lc_buf_u8(out, (uint8_t)r->v[4]);
}

/* ---- bags ---- */
static void bag_add(struct bag *b, int table, struct lc_slice row) {
  lc_assert(b->n < MAX_BAG && row.len <= ROW_BYTES);
  struct entry *e = &b->entries[b->n++];
  e->table = table;
  e->len = (uint32_t)row.len;
  memset(e->bytes, 0, sizeof e->bytes);
  memcpy(e->bytes, row.data, row.len);
}
static bool bag_take(struct bag *b, int table, struct lc_slice row) {
  for (uint32_t i = b->n; i--;)
    if (b->entries[i].table == table && lc_slice_eq(lc_slice(b->entries[i].bytes, b->entries[i].len), row)) {
      b->entries[i] = b->entries[--b->n];
      return true;
    }
  return false;
}
static int compare_entries(const void *x, const void *y) {
  const struct entry *a = x, *b = y;
  return a->table != b->table ? a->table - b->table : a->len != b->len ? (int)a->len - (int)b->len : memcmp(a->bytes, b->bytes, ROW_BYTES);
}
static bool bags_equal(struct bag *a, struct bag *b) {
  if (a->n != b->n) return false;
  if (a->n == 0) return true;
  qsort(a->entries, a->n, sizeof *a->entries, compare_entries);
  qsort(b->entries, b->n, sizeof *b->entries, compare_entries);
  for (uint32_t i = 0; i < a->n; i++)
    if (compare_entries(&a->entries[i], &b->entries[i]) != 0) return false;
  return true;
}
static int table_of(struct lc_slice name) {
  for (int t = 0; t < N_TABLES; t++)
    if (lc_slice_eq_str(name, table_names[t])) return t;
  fail_msg("rows of no table");
  return -1;
}
/* Each row of a BsatnRowList (spec/03 §5), checking the list's form. */
static uint32_t rows_of(struct lc_slice list, void (*row)(void *ctx, struct lc_slice row), void *ctx) {
  struct lc_reader r = lc_reader(list);
  uint8_t hint = lc_read_u8(&r);
  uint32_t n = 0;
  uint64_t offsets[MAX_BAG];
  if (hint == 0) {
    uint32_t size = lc_read_u16(&r), len;
    struct lc_slice data = lc_read_bytes(&r);
    len = (uint32_t)data.len;
    lc_assert(!r.failed && lc_reader_left(&r) == 0 && (len == 0 || (size && len % size == 0)));
    for (; n * size < len; n++) row(ctx, lc_slice(data.data + (size_t)n * size, size));
    return n;
  }
  lc_assert(hint == 1);
  n = lc_read_u32(&r);
  lc_assert(n <= MAX_BAG);
  for (uint32_t i = 0; i < n; i++) offsets[i] = lc_read_u64(&r);
  struct lc_slice data = lc_read_bytes(&r);
  lc_assert(!r.failed && lc_reader_left(&r) == 0);
  for (uint32_t i = 0; i < n; i++) row(ctx, lc_slice(data.data + offsets[i], (i + 1 < n ? offsets[i + 1] : data.len) - offsets[i]));
  return n;
}
struct to_bag { struct bag *bag; int table; bool is_delete; const char *sql; };
static void into_bag(void *ctx, struct lc_slice row) {
  struct to_bag *to = ctx;
  if (!to->is_delete) bag_add(to->bag, to->table, row);
  else if (!bag_take(to->bag, to->table, row)) fail_msg("a row is deleted that was never sent: %s", to->sql);
}

/* ---- what a query means ---- */
/* All columns are small numbers, or text of one digit: they compare as the numbers do. */
static int compare_values(int a, int b) { return a < b ? -1 : a > b; }
static bool holds(int op, int c) {
  switch (op) {
    case 0: return c == 0;
    case 1: return c != 0;
    case 2: return c < 0;
    case 3: return c > 0;
    case 4: return c <= 0;
    default: return c >= 0;
  }
}
static bool term_holds(const struct term *t, const struct row *const rows[2]) {
  int left = rows[t->relation]->v[t->column], right = t->other_column >= 0 ? rows[t->relation]->v[t->other_column] : t->value;
  return holds(t->op, compare_values(left, right));
}
/* How often rules let a row through (spec/05 §10): rules are those of definition(). */
static uint32_t times_admitted(int table, const struct row *r, int caller) {
  if (!has_rules || callers[caller].is_owner) return 1;
  if (table == 0) return (uint32_t)(r->v[4] == 1) + (uint32_t)(r->v[2] < 2 && r->v[1] >= 1);
  if (table == 1) return (uint32_t)(r->v[3] != 3);
  return 1;
}
static void evaluate(const struct query *q, int caller, struct bag *out) {
  struct lc_buf bytes = {0};
  const struct model *l = &models[q->table[0]], *r = q->n_relations == 2 ? &models[q->table[1]] : NULL;
  for (uint32_t i = 0; i < l->n; i++)
    for (uint32_t j = 0; j < (r ? r->n : 1); j++) {
      const struct row *rows[2] = {&l->rows[i], r ? &r->rows[j] : NULL};
      if (r && rows[0]->v[q->join_column] != rows[1]->v[q->join_column]) continue;
      bool all = true; /* of the OR groups: a term with is_or begins a new one */
      bool any = false;
      for (int t = 0; t < q->n_terms; t++) {
        if (q->terms[t].is_or) {
          any |= all;
          all = true;
        }
        all &= term_holds(&q->terms[t], rows);
      }
      if (!(any | all)) continue;
      uint32_t times = times_admitted(q->table[0], rows[0], caller) * (r ? times_admitted(q->table[1], rows[1], caller) : 1);
      encode(rows[q->result], &bytes);
      while (times--) bag_add(out, q->table[q->result], lc_buf_slice(&bytes));
    }
  lc_buf_free(&bytes);
}
static void random_query(struct query *q) {
  static const char *const ops[] = {"=", "<>", "<", ">", "<=", ">="};
  memset(q, 0, sizeof *q);
  q->n_relations = 1 + (dice(3) > 0);
  q->table[0] = dice(N_TABLES);
  q->table[1] = dice(N_TABLES);
  q->result = q->n_relations == 2 ? dice(2) : 0;
  q->join_column = dice(4) ? 1 : 0;
  q->n_terms = dice(MAX_TERMS + 1);
  char *at = q->sql, *end = q->sql + sizeof q->sql;
#define ADD(...) at += snprintf(at, (size_t)(end - at), __VA_ARGS__)
  if (q->n_relations == 1) ADD("SELECT * FROM %s x", table_names[q->table[0]]);
  else ADD("SELECT %c.* FROM %s x JOIN %s y ON x.%s = y.%s", q->result ? 'y' : 'x', table_names[q->table[0]], table_names[q->table[1]], column_names[q->join_column], column_names[q->join_column]);
  for (int i = 0; i < q->n_terms; i++) {
    struct term *t = &q->terms[i];
    *t = (struct term){.relation = dice(q->n_relations), .column = dice(N_COLUMNS), .op = dice(2) ? 0 : dice(6), .value = dice(5), .other_column = -1, .is_or = i && dice(4) == 0};
    if (t->column == 0) t->value = dice(MAX_ROWS);
    if (t->column == 4) t->value = dice(2);
    if (t->column <= 1 && dice(8) == 0) t->other_column = 1 - t->column; /* two columns of one type */
    ADD(" %s %c.%s %s ", i == 0 ? "WHERE" : t->is_or ? "OR" : "AND", t->relation ? 'y' : 'x', column_names[t->column], ops[t->op]);
    if (t->other_column >= 0) ADD("%c.%s", t->relation ? 'y' : 'x', column_names[t->other_column]);
    else if (t->column == 3) ADD("'v%d'", t->value);
    else if (t->column == 4) ADD("%s", t->value ? "true" : "false");
    else ADD("%d", t->value);
  }
#undef ADD
}

/* ---- the run ---- */
static void start(void) {
  static const struct lc_module_facts facts = {.program_bytes = {(const uint8_t *)"program", 7}};
  const struct lc_tx_delta *delta;
  char text[1024];
  has_rules = dice(2);
  int n = 0;
  for (int t = 0; t < N_TABLES; t++) /* c is a set without a key */
    n += snprintf(text + n, sizeof text - (size_t)n, "table %s\n col id u32 %s\n col k u32 %s\n col n i64 %s\n col s string\n col f bool\n", table_names[t], t < 2 ? "pk" : dice(2) ? "index" : "", dice(4) ? "index" : "", dice(3) ? "" : "index");
  if (has_rules) snprintf(text + n, sizeof text - (size_t)n, "rls select * from a where f = true\nrls select a.* from a where n < 2 and k >= 1\nrls select * from b where s <> 'v3'\n");
  struct lc_module_def *def = def_text(text);
  assert_int_equal(lc_datastore_new(&lc_env_system, &ds, &err), LC_OK);
  struct lc_tx *tx = lc_tx_begin(ds);
  if (lc_schema_create(tx, def, &facts, &err) != LC_OK) fail_msg("%s", err.text);
  lc_tx_commit(tx, &delta);
  lc_tx_delta_release(ds, delta);
  lc_module_def_free(def);
  live = lc_live_new(ds);
  assert_non_null(live);
  memset(models, 0, sizeof models);
}
static void stop(void) {
  for (int i = 0; i < N_SETS; i++) sets[i].is_active = false;
  lc_live_free(live);
  lc_datastore_free(ds);
}

static void check_set(struct test_set *s, const char *when) {
  static struct entry room[MAX_BAG];
  struct bag now = {.entries = room};
  for (uint32_t i = 0; i < s->n; i++) evaluate(&s->queries[i], s->caller, &now);
  if (bags_equal(&now, &s->seen)) return;
  for (uint32_t i = 0; i < s->n; i++) print_error("  %s\n", s->queries[i].sql);
  fail_msg("%s: a set of caller %d holds %u rows, its queries give %u", when, s->caller, s->seen.n, now.n);
}

static void on_update(void *ctx, void *client, const struct lc_set_update *updates, uint32_t n) {
  (void)ctx;
  for (uint32_t i = 0; i < n; i++) {
    struct test_set *s = NULL;
    for (int k = 0; k < N_SETS; k++)
      if (sets[k].is_active && sets[k].id == updates[i].query_set_id && (void *)&callers[sets[k].caller] == client) s = &sets[k];
    if (!s) fail_msg("an update of set %u, which is not there", (unsigned)updates[i].query_set_id);
    for (int pass = 1; pass >= 0; pass--) /* all deletions, then all insertions */
      for (uint32_t d = 0; d < updates[i].n; d++) {
        const struct lc_query_delta *q = updates[i].deltas[d];
        struct to_bag to = {&s->seen, table_of(q->table_name), pass, s->queries[0].sql};
        if (q->n_inserts + q->n_deletes == 0) fail_msg("an update without rows");
        assert_int_equal(rows_of(pass ? q->deletes : q->inserts, into_bag, &to), pass ? q->n_deletes : q->n_inserts);
        n_deltas++;
      }
  }
}
static bool on_failed(void *ctx, void *client, uint64_t query_set_id, const char *text) {
  bool *may_fail = ctx;
  if (!*may_fail) fail_msg("set %u failed: %s", (unsigned)query_set_id, text);
  for (int k = 0; k < N_SETS; k++)
    if (sets[k].is_active && sets[k].id == query_set_id && (void *)&callers[sets[k].caller] == client) sets[k].is_active = false;
  n_failed_sets++;
  return false;
}

static uint32_t fail_at;
static bool fail_nth(size_t size) {
  (void)size;
  return fail_at && --fail_at == 0;
}

static void subscribe(int k) {
  static uint32_t next_id;
  struct test_set *s = &sets[k];
  struct lc_slice texts[MAX_QUERIES];
  const struct lc_query_rows *rows;
  uint32_t n_rows;
  s->n = 0;
  s->caller = dice(3);
  s->id = ++next_id;
  s->seen.n = 0;
  for (int want = 1 + dice(MAX_QUERIES), tries = 0; (int)s->n < want && tries < 40; tries++) { /* those that may be subscribed to */
    struct query *q = &s->queries[s->n];
    random_query(q);
    bool is_double = false; /* within a set a text counts once (spec/05 §15) */
    for (uint32_t i = 0; i < s->n; i++) is_double |= strcmp(s->queries[i].sql, q->sql) == 0;
    struct lc_plan *plan;
    if (is_double) continue;
    if (lc_sql_compile((struct lc_read_view){.ds = ds}, lc_slice_str(q->sql), LC_SQL_SUBSCRIPTION, &callers[s->caller], &plan, &err) == LC_OK) {
      lc_plan_free(plan);
      texts[s->n++] = lc_slice_str(q->sql);
    } else if (!strstr(err.text, "Subscriptions require indexes")) fail_msg("%s: %s", q->sql, err.text);
    else n_refused++;
  }
  if (!s->n) return;
  lc_alloc_may_fail = fail_nth;
  fail_at = dice(6) == 0 ? 1 + (uint32_t)dice(60) : 0;
  bool may_fail = fail_at;
  enum lc_status st = lc_live_subscribe(live, (void *)&callers[s->caller], &callers[s->caller], s->id, 0, s->n, texts, &rows, &n_rows, &err);
  lc_alloc_may_fail = NULL;
  if (st != LC_OK) {
    if (!may_fail || st != LC_NOMEM) fail_msg("subscribing: %s", err.text);
    return;
  }
  for (uint32_t i = 0; i < n_rows; i++) {
    struct to_bag to = {&s->seen, table_of(rows[i].table_name), false, s->queries[0].sql};
    assert_int_equal(rows_of(rows[i].row_list, into_bag, &to), rows[i].n_rows);
  }
  s->is_active = true;
  n_subscribed++;
  check_set(s, "when subscribing");
}
static void unsubscribe(int k) {
  struct test_set *s = &sets[k];
  const struct lc_query_rows *rows;
  uint32_t n_rows;
  bool want = dice(2);
  if (lc_live_unsubscribe(live, (void *)&callers[s->caller], s->id, want ? 0 : LC_LIVE_NO_ROWS, &rows, &n_rows, &err) != LC_OK) fail_msg("%s", err.text);
  s->is_active = false;
  if (!want) {
    assert_int_equal(n_rows, 0);
    return;
  }
  for (uint32_t i = 0; i < n_rows; i++) {
    struct to_bag to = {&s->seen, table_of(rows[i].table_name), true, s->queries[0].sql};
    assert_int_equal(rows_of(rows[i].row_list, into_bag, &to), rows[i].n_rows);
  }
  if (s->seen.n) fail_msg("%u dropped rows are missing", s->seen.n);
}

static void transaction(void) {
  static struct model before[N_TABLES];
  const struct lc_tx_delta *delta;
  struct lc_buf bytes = {0};
  struct lc_tx *tx = lc_tx_begin(ds);
  memcpy(before, models, sizeof before);
  for (int ops = 1 + dice(dice(4) ? 4 : 20); ops; ops--) {
    int t = dice(N_TABLES);
    struct model *m = &models[t];
    uint32_t table_id = lc_datastore_table_by_name(ds, lc_slice_str(table_names[t]))->table_id;
    uint32_t at = m->n ? (uint32_t)dice((int)m->n) : 0;
    int what = dice(3); /* insert, delete, update */
    if (m->n == 0) what = 0;
    if (m->n == MAX_ROWS) what = 1;
    struct row fresh = {{dice(MAX_ROWS), dice(5), dice(5) - 1, dice(5), dice(2)}};
    if (what == 2) {
      fresh.v[0] = m->rows[at].v[0];
      if (dice(2)) memcpy(&fresh.v[1], &m->rows[at].v[1], 3 * sizeof(int));
    }
    if (what) {
      bool found;
      encode(&m->rows[at], &bytes);
      assert_int_equal(lc_tx_delete_row(tx, table_id, lc_buf_slice(&bytes), &found, &err), LC_ERRNO_OK);
      assert_true(found);
      m->rows[at] = m->rows[--m->n];
    }
    if (what == 1) continue;
    bool is_taken = false; /* by the key, or as a whole */
    for (uint32_t i = 0; i < m->n; i++) is_taken |= t < 2 ? m->rows[i].v[0] == fresh.v[0] : memcmp(&m->rows[i], &fresh, sizeof fresh) == 0;
    if (is_taken) continue;
    encode(&fresh, &bytes);
    if (lc_tx_insert(tx, table_id, lc_buf_slice(&bytes), NULL, NULL, &err) != LC_ERRNO_OK) fail_msg("%s", err.text);
    m->rows[m->n++] = fresh;
  }
  lc_buf_free(&bytes);
  if (dice(8) == 0) {
    lc_tx_rollback(tx);
    memcpy(models, before, sizeof models);
    return;
  }
  lc_tx_commit(tx, &delta);
  bool may_fail = dice(10) == 0;
  struct lc_live_sink sink = {&may_fail, on_update, on_failed};
  lc_alloc_may_fail = fail_nth;
  fail_at = may_fail ? 1 + (uint32_t)dice(80) : 0;
  lc_live_evaluate(live, delta, &sink);
  lc_alloc_may_fail = NULL;
  lc_tx_delta_release(ds, delta);
  for (int k = 0; k < N_SETS; k++)
    if (sets[k].is_active) check_set(&sets[k], "after a transaction");
}

static void test_random_queries(void **state) {
  (void)state;
  const char *seed_text = getenv("LC_LIVE_SEED"), *rounds_text = getenv("LC_LIVE_ROUNDS");
  uint64_t seed = seed_text ? strtoull(seed_text, NULL, 10) : 1, rounds = rounds_text ? strtoull(rounds_text, NULL, 10) : 60;
  for (int k = 0; k < N_SETS; k++) sets[k].seen.entries = lc_alloc(MAX_BAG * sizeof(struct entry));
  for (uint64_t round = 0; round < rounds; round++) {
    random_state = (seed + round) * 0x9e3779b97f4a7c15u;
    if (rounds_text) print_message("LC_LIVE_SEED=%llu LC_LIVE_ROUNDS=1\n", (unsigned long long)(seed + round));
    start();
    for (int step = 0; step < 120; step++) {
      int k = dice(N_SETS);
      if (!sets[k].is_active && dice(2)) subscribe(k);
      else if (sets[k].is_active && dice(12) == 0) unsubscribe(k);
      transaction();
    }
    stop();
  }
  print_message("%u sets, %u deltas, %u sets failed with memory, %u queries refused\n", n_subscribed, n_deltas, n_failed_sets, n_refused);
  assert_true(n_deltas > 1000 * (uint32_t)(rounds / 60));
  for (int k = 0; k < N_SETS; k++) lc_free(sets[k].seen.entries);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_queries)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
