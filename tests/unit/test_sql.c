/* Runs tests/conformance/sql.case (the file's head explains its lines) and system_tables.case against sql/ over a datastore: results, texts, changes. Then what a file of text
 * cannot hold: statements at the limits of length and depth, a failing allocation at each place, and random text. */
#include "def_text.h"
#include "engine/engine.h"
#include "sql/sql.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct lc_error err;
static struct lc_datastore *ds;
static struct lc_sql_caller caller;
static enum lc_sql_language language;
static bool is_undoing; /* changes are rolled back */

enum { MAX_RESULTS = 160, MAX_TEXT = 512 };
static const struct lc_module_facts facts = {.database = {{1}}, .owner = {{2}}, .program_hash = {{0xab}}, .program_bytes = {(const uint8_t *)"program", 7}};

static void commit(struct lc_tx *tx) {
  const struct lc_tx_delta *delta;
  lc_tx_commit(tx, &delta);
  lc_tx_delta_release(ds, delta);
}
static void store_new(const char *definition) {
  struct lc_module_def *def = def_text(definition);
  if (ds) lc_datastore_free(ds);
  assert_int_equal(lc_datastore_new(&lc_env_system, &ds, &err), LC_OK);
  struct lc_tx *tx = lc_tx_begin(ds);
  if (lc_schema_create(tx, def, &facts, &err) != LC_OK) fail_msg("%s", err.text);
  commit(tx);
  lc_module_def_free(def);
}
static void store_update(const char *before, const char *definition) {
  struct lc_module_def *old = def_text(before), *def = def_text(definition);
  struct lc_tx *tx = lc_tx_begin(ds);
  if (lc_schema_update(tx, old, def, &facts, &err) != LC_OK) fail_msg("%s", err.text);
  commit(tx);
  lc_module_def_free(old);
  lc_module_def_free(def);
}
/* A client: two bytes, of its identity and of its connection, and what its token says. */
static void store_client(const char *text) {
  struct lc_identity id = {{(uint8_t)text[0]}};
  struct lc_connection_id conn = {{(uint8_t)text[1]}};
  struct lc_tx *tx = lc_tx_begin(ds);
  bool was_there = true;
  if (text[2] == '-') assert_int_equal(lc_tx_client_remove(tx, &id, &conn, &was_there, &err), LC_OK);
  else assert_int_equal(lc_tx_client_add(tx, &id, &conn, lc_slice_str(text + 2 + (text[2] == ' ')), &err), LC_OK);
  assert_true(was_there);
  commit(tx);
}
static void store_row(const char *table, const char *json) {
  struct lc_buf row = {0};
  const struct lc_table_info *t = lc_datastore_table_by_name(ds, lc_slice_str(table));
  if (!t) fail_msg("no table %s", table);
  if (lc_json_parse_value(lc_slice_str(json), t->row_type, NULL, &row, &err) != LC_OK) fail_msg("%s: %s", json, err.text);
  struct lc_tx *tx = lc_tx_begin(ds);
  if (lc_tx_insert(tx, t->table_id, lc_buf_slice(&row), NULL, NULL, &err) != LC_ERRNO_OK) fail_msg("%s: %s", json, err.text);
  commit(tx);
  lc_buf_free(&row);
}

struct results { const struct lc_type *type; uint32_t n; char type_text[2048], text[MAX_RESULTS][MAX_TEXT]; };
static bool add_result(void *ctx, struct lc_slice row) {
  struct results *r = ctx;
  struct lc_buf text = {0};
  struct lc_reader reader = lc_reader(row);
  bool (*may_fail)(size_t) = lc_alloc_may_fail;
  if (r->n == MAX_RESULTS) return true; /* more than a case names */
  lc_alloc_may_fail = NULL;    /* what the test itself needs */
  if (lc_json_write_value(&text, r->type, NULL, &reader, LC_JSON_U, &err) != LC_OK) fail_msg("result row: %s", err.text);
  assert_int_equal(lc_reader_left(&reader), 0);
  snprintf(r->text[r->n++], sizeof r->text[0], "%.*s", (int)text.len, (char *)text.data);
  lc_buf_free(&text);
  lc_alloc_may_fail = may_fail;
  return true;
}

/* One statement. LC_OK: *results or *counts are filled. Else err.text. */
static enum lc_status run(const char *sql, struct results *results, struct lc_dml_counts *counts) {
  struct lc_read_view view = {.ds = ds};
  struct lc_plan *plan;
  uint64_t limit;
  memset(counts, 0, sizeof *counts);
  results->n = 0;
  err.text[0] = 0;
  enum lc_status st = lc_sql_compile(view, lc_slice_str(sql), language, &caller, &plan, &err);
  if (st != LC_OK) return st;
  if (lc_plan_kind(plan) == LC_SQL_SELECT || lc_plan_kind(plan) == LC_SQL_COUNT) {
    uint64_t estimate = lc_plan_estimate(plan, view, &limit);
    results->type = lc_plan_row_type(plan);
    struct lc_buf type = {0};
    lc_type_display(&type, results->type);
    snprintf(results->type_text, sizeof results->type_text, "%.*s", (int)type.len, (char *)type.data);
    lc_buf_free(&type);
    if ((st = lc_plan_check_limit(estimate, limit, &err)) == LC_OK) st = lc_plan_run(plan, view, add_result, results, &err);
  } else {
    struct lc_tx *tx = lc_tx_begin(ds);
    if (!tx) st = lc_fail(&err, LC_NOMEM, "out of memory");
    else if ((st = lc_plan_change(plan, view, tx, counts, &err)) == LC_OK && !is_undoing) commit(tx);
    else lc_tx_rollback(tx);
  }
  struct lc_buf explained = {0};
  lc_plan_explain(plan, view, &explained);
  assert_true(explained.failed || (explained.len > 0 && explained.data[explained.len - 1] == '\n'));
  lc_buf_free(&explained);
  lc_plan_free(plan);
  return st;
}

/* Does text match a pattern in which * stands for anything? */
static bool is_like(const char *pattern, const char *text) {
  for (; *pattern; pattern++, text++) {
    if (*pattern == '*') {
      for (;; text++) {
        if (is_like(pattern + 1, text)) return true;
        if (!*text) return false;
      }
    }
    if (*pattern != *text) return false;
  }
  return !*text;
}

static char *next_line(FILE *f, char *line, size_t size) {
  if (!fgets(line, (int)size, f)) return NULL;
  line[strcspn(line, "\n")] = 0;
  return line;
}
static const char *after(const char *line, const char *word) {
  size_t n = strlen(word);
  return strncmp(line, word, n) == 0 && (line[n] == ' ' || !line[n]) ? line + n + (line[n] == ' ') : NULL;
}

static uint32_t n_failures;
#define complain(...) (print_error(__VA_ARGS__), print_error("\n"), n_failures++)

static uint32_t run_cases(const char *name) {
  char line[4096], definition[4096] = "", before[4096], sql[4096], at[64];
  struct results results;
  struct lc_dml_counts counts;
  bool wanted[MAX_RESULTS];
  uint32_t n_cases = 0, line_no = 0;
  snprintf(line, sizeof line, "tests/conformance/%s", name);
  FILE *f = fopen(line, "r");
  assert_non_null(f);
  char *l = next_line(f, line, sizeof line);
  while (l) {
    const char *rest;
    bool is_sql = false;
    line_no++;
    snprintf(at, sizeof at, "%s:%u", name, line_no);
    if (!*l || *l == '#') {
      l = next_line(f, line, sizeof line);
      continue;
    }
    if (after(l, "schema") || after(l, "update")) {
      size_t n = 0;
      bool is_update = *l == 'u';
      memcpy(before, definition, sizeof before);
      for (definition[0] = 0; (l = next_line(f, line, sizeof line)) && *l == ' '; line_no++) n += (size_t)snprintf(definition + n, sizeof definition - n, "%s\n", l);
      if (is_update) store_update(before, definition);
      else store_new(definition);
      continue;
    }
    if ((rest = after(l, "row"))) {
      char *json = strchr(rest, ' ');
      assert_non_null(json);
      *json = 0;
      store_row(rest, json + 1);
    } else if ((rest = after(l, "client"))) {
      store_client(rest);
    } else if ((rest = after(l, "as"))) {
      caller = (struct lc_sql_caller){.is_owner = strcmp(rest, "owner") == 0};
      memset(caller.identity.bytes, caller.is_owner ? 1 : *rest == 'A' ? 0xaa : 0xbb, sizeof caller.identity.bytes);
    } else if ((rest = after(l, "in"))) {
      language = *rest == 'q' ? LC_SQL_QUERY : strcmp(rest, "subscription") == 0 ? LC_SQL_SUBSCRIPTION : LC_SQL_STATEMENT;
    } else if ((rest = after(l, "sql"))) {
      snprintf(sql, sizeof sql, "%s", rest);
      is_sql = true;
    } else fail_msg("%s: what is '%s'?", at, l);
    l = next_line(f, line, sizeof line);
    if (!is_sql) continue;
    enum lc_status st = run(sql, &results, &counts);
    uint32_t n_expected = 0, n_lines = 0;
    bool is_list = false;
    memset(wanted, 0, sizeof wanted);
    for (; l && *l == ' '; l = next_line(f, line, sizeof line), n_lines++) {
      const char *w = l + strspn(l, " ");
      line_no++;
      if ((rest = after(w, "error"))) {
        if (st == LC_OK || strcmp(err.text, rest) != 0) complain("%s: %s\nexpected: %s\n     got: %s", at, sql, rest, st == LC_OK ? "no error" : err.text);
        continue;
      }
      if ((rest = after(w, "error-like"))) {
        if (st == LC_OK || !is_like(rest, err.text)) complain("%s: %s\nexpected: %s\n     got: %s", at, sql, rest, st == LC_OK ? "no error" : err.text);
        continue;
      }
      if (st != LC_OK) {
        complain("%s: %s: %s", at, sql, err.text);
        continue;
      }
      if ((rest = after(w, "="))) {
        uint32_t i = 0;
        while (i < results.n && (wanted[i] || strcmp(results.text[i], rest) != 0)) i++;
        if (i == results.n) {
          complain("%s: %s\nno row %s among %u; the first is %s", at, sql, rest, results.n, results.n ? results.text[0] : "none");
          continue;
        }
        wanted[i] = true;
        n_expected++;
        is_list = true;
      } else if ((rest = after(w, "type"))) {
        if (strcmp(results.type_text, rest) != 0) complain("%s: %s: rows of type\n%s, not\n%s", at, sql, results.type_text, rest);
      } else if ((rest = after(w, "rows"))) {
        if (results.n != strtoul(rest, NULL, 10)) complain("%s: %s: %u rows, not %s", at, sql, results.n, rest);
      } else if (after(w, "none")) {
        if (results.n) complain("%s: %s: %u rows, not none", at, sql, results.n);
      } else if ((rest = after(w, "changes"))) {
        char got[80];
        snprintf(got, sizeof got, "%llu %llu %llu", (unsigned long long)counts.inserted, (unsigned long long)counts.deleted, (unsigned long long)counts.updated);
        if (strcmp(got, rest) != 0) complain("%s: %s: changes %s, not %s", at, sql, got, rest);
      } else if (!after(w, "ok")) complain("%s: what is '%s'?", at, l);
    }
    if (!n_lines) complain("%s: nothing is expected of %s", at, sql);
    if (is_list && n_expected != results.n) complain("%s: %s: %u rows, not %u", at, sql, results.n, n_expected);
    n_cases++;
  }
  fclose(f);
  print_message("%s: %u statements\n", name, n_cases);
  assert_int_equal(n_failures, 0);
  return n_cases;
}
static void test_cases(void **state) {
  (void)state;
  assert_true(run_cases("sql.case") > 150);
}
static void test_system_tables(void **state) { /* spec/06 §2-§3, spec/07 §9 */
  (void)state;
  assert_true(run_cases("system_tables.case") > 200);
}

/* §25 number 16: how long and how deep. */
static void test_limits(void **state) {
  (void)state;
  struct results results;
  struct lc_dml_counts counts;
  struct lc_buf sql = {0};
  store_new("table t\n col u32 u32\n col b bool\n");
  caller = (struct lc_sql_caller){.is_owner = true};
  language = LC_SQL_QUERY;
  for (uint32_t terms = 1600; terms <= 1601; terms++) {
    lc_buf_clear(&sql);
    lc_buf_str(&sql, "select * from t where u32 = 0");
    for (uint32_t i = 1; i < terms; i++) lc_buf_printf(&sql, " or u32 = %u", i);
    lc_buf_u8(&sql, 0);
    enum lc_status st = run((char *)sql.data, &results, &counts);
    if (terms == 1600 && st != LC_OK) fail_msg("1600 terms: %s", err.text);
    if (terms == 1601) assert_string_equal(err.text, "Recursion limit exceeded, `sql-parser::parse_expr`");
  }
  for (uint32_t depth = 47; depth <= 48; depth++) {
    lc_buf_clear(&sql);
    lc_buf_str(&sql, "select * from t where ");
    for (uint32_t i = 0; i < depth; i++) lc_buf_u8(&sql, '(');
    lc_buf_str(&sql, "b");
    for (uint32_t i = 0; i < depth; i++) lc_buf_u8(&sql, ')');
    lc_buf_u8(&sql, 0);
    enum lc_status st = run((char *)sql.data, &results, &counts);
    if (depth == 47 && st != LC_OK) fail_msg("47 parentheses: %s", err.text);
    if (depth == 48) assert_string_equal(err.text, "sql parser error: recursion limit exceeded");
  }
  for (size_t length = LC_SQL_MAX_BYTES; length <= LC_SQL_MAX_BYTES + 1; length++) {
    lc_buf_clear(&sql);
    lc_buf_str(&sql, "select * from t");
    while (sql.len < length) lc_buf_u8(&sql, ' ');
    lc_buf_u8(&sql, 0);
    enum lc_status st = run((char *)sql.data, &results, &counts);
    if (length == LC_SQL_MAX_BYTES && st != LC_OK) fail_msg("%zu bytes: %s", length, err.text);
    if (length > LC_SQL_MAX_BYTES && (st == LC_OK || !is_like("SQL query exceeds maximum allowed length: \"select * from t *...\"", err.text))) fail_msg("%zu bytes: %s", length, st == LC_OK ? "accepted" : err.text);
  }
  lc_buf_free(&sql);
}

static uint32_t fail_at;
static bool fail_nth(size_t size_bytes) {
  (void)size_bytes;
  return fail_at && --fail_at == 0;
}
/* Every allocation of compiling and running fails once: out of memory, or the same outcome as ever. Changes are undone, to be made again. */
static void test_out_of_memory(void **state) {
  (void)state;
  char line[4096], wanted_text[sizeof err.text];
  struct results wanted, results;
  uint32_t n_refused = 0;
  FILE *f = fopen("tests/conformance/sql.case", "r");
  assert_non_null(f);
  store_new("table t\n col u32 u32 pk\n col i32 i32\n col f32 f32\n col str string\n col b bool\n col ts timestamp\n col arr [string]\ntable s\n col id identity\n col u32 u32 index\n col bytes [u8]\n"
            "table p\n col a u32\n col b u32 index\n rls select * from p where a = 1\n rls select p.* from p join q on p.b = q.id\ntable q\n col id u32 pk auto\n col name string unique\n"
            "table account\n col id u32 pk\n col player u32 index\ntable doc\n col id u32 pk\n col owner identity\n col open bool\n rls select * from doc where owner = :sender\n");
  store_row("t", "[1, 2, 0.5, \"x\", true, [5], []]");
  store_row("s", "[[\"0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"], 1, \"12\"]");
  store_row("q", "[1, \"one\"]");
  store_row("p", "[1, 1]");
  caller = (struct lc_sql_caller){.identity.bytes = {0xaa}};
  is_undoing = true;
  while (next_line(f, line, sizeof line)) {
    const char *sql = after(line, "sql");
    struct lc_dml_counts counts, wanted_counts;
    if (!sql) continue;
    language = strchr("iIuUdD", *sql) ? LC_SQL_STATEMENT : (enum lc_sql_language)(strlen(sql) % 3);
    caller.is_owner = strlen(sql) % 2;
    enum lc_status wanted_status = run(sql, &wanted, &wanted_counts);
    snprintf(wanted_text, sizeof wanted_text, "%s", err.text);
    for (uint32_t n = 1;; n++) {
      fail_at = n;
      lc_alloc_may_fail = fail_nth;
      enum lc_status st = run(sql, &results, &counts);
      lc_alloc_may_fail = NULL;
      if (st == LC_NOMEM && fail_at == 0) {
        n_refused++;
        continue;
      }
      if (st != wanted_status || strcmp(err.text, wanted_text) != 0) fail_msg("%s: allocation %u refused: %s instead of %s", sql, n, st ? err.text : "success", wanted_status ? wanted_text : "success");
      if (st == LC_OK && (results.n != wanted.n || memcmp(&counts, &wanted_counts, sizeof counts) != 0)) fail_msg("%s: allocation %u refused: another result", sql, n);
      if (fail_at) break; /* there is no such allocation any more */
    }
  }
  is_undoing = false;
  fclose(f);
  print_message("%u refusals\n", n_refused);
  assert_true(n_refused > 500);
}

static uint32_t next_random(uint64_t *x, uint64_t limit) {
  *x = *x * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)((*x >> 33) % limit);
}
/* The statements of the case file, cut up and put together wrongly: an answer or a text, never more (the sanitizers watch). LC_FUZZ_SEED and LC_FUZZ_ROUNDS
 * make it another or longer one. */
static void test_random_text(void **state) {
  (void)state;
  enum { MAX_STATEMENTS = 512, MAX_WORDS = 40 };
  static char statements[MAX_STATEMENTS][512], line[4096];
  static const char *const more[] = {"'x'", "0x12", "1e3", "-1", ":sender", "*", "(", ")", "--", "/*", "*/", "\"t\"", "null", ";", "\xff", "\xc3\xa9", "X'ab'", "`t`", "::", "order", "by", "union", "1e-400", "1e400", "''", "."};
  const char *seed_text = getenv("LC_FUZZ_SEED"), *rounds_text = getenv("LC_FUZZ_ROUNDS");
  uint64_t x = seed_text ? strtoull(seed_text, NULL, 10) : 1, rounds = rounds_text ? strtoull(rounds_text, NULL, 10) : 20000;
  struct results results;
  struct lc_dml_counts counts;
  uint32_t n_statements = 0, n_accepted = 0;
  print_message("LC_FUZZ_SEED=%llu LC_FUZZ_ROUNDS=%llu\n", (unsigned long long)x, (unsigned long long)rounds);
  FILE *f = fopen("tests/conformance/sql.case", "r");
  assert_non_null(f);
  while (next_line(f, line, sizeof line) && n_statements < MAX_STATEMENTS)
    if (after(line, "sql")) snprintf(statements[n_statements++], sizeof statements[0], "%.500s", after(line, "sql"));
  fclose(f);
  store_new("table t\n col u32 u32 pk\n col i32 i32\n col f32 f32\n col str string\n col b bool\n col ts timestamp\n col arr [string]\ntable s\n col id identity\n col u32 u32 index\n col bytes [u8]\n"
            "table p\n col a u32\n col b u32 index\n rls select * from p where a = 1\n rls select p.* from p join q on p.b = q.id\ntable q\n col id u32 pk auto\n col name string unique\n");
  store_row("t", "[1, 2, 0.5, \"x\", true, [5], []]");
  store_row("s", "[[\"0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"], 1, \"12\"]");
  for (uint64_t round = 0; round < rounds; round++) {
    char sql[4096], a[512], b[512], *words[2][MAX_WORDS], *save;
    size_t n = 0;
    uint32_t n_words[2] = {0, 0}, cut;
    snprintf(a, sizeof a, "%s", statements[next_random(&x, n_statements)]);
    snprintf(b, sizeof b, "%s", statements[next_random(&x, n_statements)]);
    for (int k = 0; k < 2; k++)
      for (char *w = strtok_r(k ? b : a, " ", &save); w && n_words[k] < MAX_WORDS; w = strtok_r(NULL, " ", &save)) words[k][n_words[k]++] = w;
    if (!n_words[0] || !n_words[1]) continue;
    cut = next_random(&x, 3) ? n_words[0] : next_random(&x, n_words[0]); /* the head of one, perhaps the tail of another, words lost, doubled and put in */
    for (int k = 0; k < 2; k++)
      for (uint32_t i = k ? next_random(&x, n_words[1]) : 0; i < (k ? n_words[1] : cut) && (!k || cut < n_words[0]); i++) {
        uint32_t dice = next_random(&x, 40);
        if (dice == 0) continue;
        const char *word = dice == 1 ? more[next_random(&x, sizeof more / sizeof *more)] : words[k][i];
        for (uint32_t times = dice == 2 ? 2 : 1; times; times--) n += (size_t)snprintf(sql + n, sizeof sql - n, "%s ", word);
      }
    if (!n) continue;
    if (next_random(&x, 10) == 0) {
      uint32_t place = next_random(&x, n);
      sql[place] = (char)(1 + next_random(&x, 255));
    }
    language = (enum lc_sql_language)next_random(&x, 3);
    caller.is_owner = next_random(&x, 2);
    if (run(sql, &results, &counts) == LC_OK) n_accepted++;
    else if (!err.text[0]) fail_msg("no text for: %s", sql);
  }
  print_message("%u accepted\n", n_accepted);
  assert_true(n_accepted > rounds / 20);
}

/* Comparisons of number columns with constants, all types and operators, against the order of spec/01 §8. */
static void test_numbers(void **state) {
  (void)state;
  static const char *const types[] = {"u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64"}, *const ops[] = {"=", "<>", "<", "<=", ">", ">="};
  static const uint64_t special[] = {0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff, 0x7f800000, 0xff800000, 0x7fc00000, 0x3f800000, 0xbf800000, INT64_MAX, (uint64_t)1 << 63,
                                     UINT64_MAX, 0x7ff0000000000000u, 0xfff0000000000000u, 0x7ff8000000000000u, 0x3ff0000000000000u};
  enum { N_SPECIAL = sizeof special / sizeof *special, N_ROWS = 700 };
  uint64_t x = 5;
  char text[512], sql[512];
  size_t n = 0;
  n += (size_t)snprintf(text, sizeof text, "table t\n col key u32 pk\n");
  for (size_t i = 0; i < 10; i++) n += (size_t)snprintf(text + n, sizeof text - n, " col %s %s\n", types[i], types[i]);
  store_new(text);
  const struct lc_table_info *t = lc_datastore_table_by_name(ds, lc_slice_str("t"));
  const struct lc_type *row_type = t->row_type;
  struct lc_buf rows = {0};
  const struct lc_tx_delta *delta;
  struct lc_tx *tx = lc_tx_begin(ds);
  for (uint32_t i = 0; i < N_ROWS; i++) {
    size_t from = rows.len;
    lc_buf_u32(&rows, i);
    for (uint32_t c = 1; c <= 10; c++) {
      uint64_t v = next_random(&x, 3) ? special[next_random(&x, N_SPECIAL)] : (uint64_t)next_random(&x, UINT32_MAX) << 32 | next_random(&x, UINT32_MAX);
      lc_buf_append(&rows, &v, row_type->fields[c].type->static_size_bytes);
    }
    assert_int_equal(lc_tx_insert(tx, t->table_id, lc_slice(rows.data + from, rows.len - from), NULL, NULL, &err), LC_ERRNO_OK);
  }
  lc_tx_commit(tx, &delta);
  lc_tx_delta_release(ds, delta);
  size_t row_bytes = rows.len / N_ROWS;
  caller = (struct lc_sql_caller){.is_owner = true};
  language = LC_SQL_STATEMENT;
  for (uint32_t c = 1; c <= 10; c++)
    for (uint32_t op = 0; op < 6; op++)
      for (uint32_t k = 0; k < 40; k++) {
        const struct lc_type *type = row_type->fields[c].type;
        const uint8_t *value = lc_row_column(row_type, rows.data + next_random(&x, N_ROWS) * row_bytes, c);
        struct lc_buf literal = {0};
        struct lc_reader r = lc_reader(lc_slice(value, type->static_size_bytes));
        struct results results;
        struct lc_dml_counts counts;
        uint64_t expected = 0, got;
        assert_int_equal(lc_json_write_value(&literal, type, NULL, &r, LC_JSON_U, &err), LC_OK);
        if (literal.data[0] == '"' || literal.data[0] == 'n') { /* what is no number, or infinite, has no literal */
          lc_buf_free(&literal);
          continue;
        }
        uint8_t zero[8] = {0}; /* a literal of -0 is 0 */
        if (lc_bsatn_compare(type, value, zero) == 0) value = zero;
        for (uint32_t i = 0; i < N_ROWS; i++) {
          int cmp = lc_bsatn_compare(type, lc_row_column(row_type, rows.data + i * row_bytes, c), value);
          expected += op == 0 ? cmp == 0 : op == 1 ? cmp != 0 : op == 2 ? cmp < 0 : op == 3 ? cmp <= 0 : op == 4 ? cmp > 0 : cmp >= 0;
        }
        snprintf(sql, sizeof sql, "SELECT COUNT(*) AS n FROM t WHERE %s %s %.*s AND key >= 0", types[c - 1], ops[op], (int)literal.len, (char *)literal.data);
        if (run(sql, &results, &counts) != LC_OK) fail_msg("%s: %s", sql, err.text);
        got = strtoull(results.text[0] + 1, NULL, 10);
        if (got != expected) fail_msg("%s: %llu rows, not %llu", sql, (unsigned long long)got, (unsigned long long)expected);
        lc_buf_free(&literal);
      }
  lc_buf_free(&rows);
}

static int tear_down(void **state) {
  (void)state;
  lc_datastore_free(ds);
  return 0;
}
int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases), cmocka_unit_test(test_system_tables), cmocka_unit_test(test_limits), cmocka_unit_test(test_numbers), cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_random_text)};
  return cmocka_run_group_tests(tests, NULL, tear_down);
}
