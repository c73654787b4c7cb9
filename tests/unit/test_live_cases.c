/* Runs tests/conformance/live.case (the file's head explains its lines) against live/ over a datastore. */
#include "def_text.h"
#include "engine/engine.h"
#include "live/live.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

enum { MAX_LINES = 64, MAX_LINE = 1024 };
static const struct lc_module_facts facts = {.program_bytes = {(const uint8_t *)"program", 7}};
static struct lc_error err;
static struct lc_datastore *ds;
static struct lc_module_def *def;
static struct lc_live *live;
static struct lc_sql_caller caller;
static char clients[26]; /* a client is the address of its letter */
/* What came, as lines of the file: to be found among those expected. */
static char got[MAX_LINES][MAX_LINE];
static uint32_t n_got;

static void commit(struct lc_tx *tx, const struct lc_live_sink *sink) {
  const struct lc_tx_delta *delta;
  lc_tx_commit(tx, &delta);
  if (sink) lc_live_evaluate(live, delta, sink);
  lc_tx_delta_release(ds, delta);
}
static const struct lc_table_info *table_of(const char *name) {
  const struct lc_table_info *t = lc_datastore_table_by_name(ds, lc_slice_str(name));
  if (!t) fail_msg("no table %s", name);
  return t;
}
/* `+ TABLE JSON` or `- TABLE JSON`. */
static void change(struct lc_tx *tx, char *line) {
  struct lc_buf row = {0};
  char *name = line + 2, *json = strchr(name, ' ');
  bool found;
  assert_non_null(json);
  *json++ = 0;
  const struct lc_table_info *t = table_of(name);
  if (lc_json_parse_value(lc_slice_str(json), t->row_type, NULL, &row, &err) != LC_OK) fail_msg("%s: %s", json, err.text);
  if (*line == '+' && lc_tx_insert(tx, t->table_id, lc_buf_slice(&row), NULL, NULL, &err) != LC_ERRNO_OK) fail_msg("%s: %s", json, err.text);
  if (*line == '-' && (lc_tx_delete_row(tx, t->table_id, lc_buf_slice(&row), &found, &err) != LC_ERRNO_OK || !found)) fail_msg("no row %s", json);
  lc_buf_free(&row);
}

static void remember(const char *fmt, ...) {
  va_list ap;
  assert_true(n_got < MAX_LINES);
  va_start(ap, fmt);
  vsnprintf(got[n_got++], MAX_LINE, fmt, ap);
  va_end(ap);
}
/* The rows of a BsatnRowList (spec/03 §5), a line each. */
static void remember_rows(const char *before, const struct lc_type *row_type, struct lc_slice list, uint32_t n) {
  struct lc_reader r = lc_reader(list);
  if (lc_read_u8(&r) == 0) lc_read_u16(&r);
  else
    for (uint32_t k = lc_read_u32(&r); k; k--) lc_read_u64(&r);
  struct lc_slice rows = lc_read_bytes(&r);
  assert_true(!r.failed && lc_reader_left(&r) == 0);
  r = lc_reader(rows);
  for (; n; n--) {
    struct lc_buf json = {0};
    assert_int_equal(lc_json_write_value(&json, row_type, NULL, &r, LC_JSON_U, &err), LC_OK);
    remember("%s %.*s", before, (int)json.len, (char *)json.data);
    lc_buf_free(&json);
  }
  assert_int_equal(lc_reader_left(&r), 0);
}
static char letter(void *client) { return (char)('a' + ((char *)client - clients)); }
static void on_update(void *ctx, void *client, const struct lc_set_update *sets, uint32_t n) {
  char before[256];
  (void)ctx;
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t k = 0; k < sets[i].n; k++) {
      const struct lc_query_delta *d = sets[i].deltas[k];
      assert_true(d->n_inserts + d->n_deletes > 0); /* never an empty one */
      for (int pass = 0; pass < 2; pass++) {
        snprintf(before, sizeof before, "> %c %u %.*s %c", letter(client), (unsigned)sets[i].query_set_id, (int)d->table_name.len, (const char *)d->table_name.data, pass ? '+' : '-');
        remember_rows(before, d->table->row_type, pass ? d->inserts : d->deletes, pass ? d->n_inserts : d->n_deletes);
      }
    }
}
static bool on_failed(void *ctx, void *client, uint64_t query_set_id, const char *text) {
  (void)ctx;
  for (uint32_t i = 0; i < n_got; i++) assert_true(got[i][0] != '>' || got[i][2] != letter(client)); /* before its updates */
  remember("failed %c %u %s", letter(client), (unsigned)query_set_id, text);
  return false;
}

static void fresh(struct lc_module_def *next) {
  lc_live_free(live);
  lc_datastore_free(ds);
  lc_module_def_free(def);
  def = next;
  assert_int_equal(lc_datastore_new(&lc_env_system, &ds, &err), LC_OK);
  struct lc_tx *tx = lc_tx_begin(ds);
  if (lc_schema_create(tx, def, &facts, &err) != LC_OK) fail_msg("%s", err.text);
  commit(tx, NULL);
  assert_non_null(live = lc_live_new(ds));
}

static void remember_answer(const struct lc_query_rows *rows, uint32_t n_rows) {
  char before[256];
  for (uint32_t i = 0; i < n_rows; i++) {
    snprintf(before, sizeof before, "= %.*s", (int)rows[i].table_name.len, (const char *)rows[i].table_name.data);
    remember_rows(before, rows[i].table->row_type, rows[i].row_list, rows[i].n_rows);
  }
}

/* One command with its lines. Gives how many of the lines are what is expected, from *first on. */
static void run(char *command, char lines[][MAX_LINE], uint32_t n) {
  static const struct lc_live_sink sink = {NULL, on_update, on_failed};
  char *words[3] = {0}, *save, text[8192] = "";
  uint32_t first = n, i = 0;
  const struct lc_query_rows *rows;
  uint32_t n_rows;
  n_got = 0;
  char copy[MAX_LINE];
  snprintf(copy, sizeof copy, "%s", command);
  for (char *w = strtok_r(copy, " ", &save); w && i < 3; w = strtok_r(NULL, " ", &save)) words[i++] = w;
  void *client = words[2] && strstr(words[0], "subscribe") ? &clients[words[1][0] - 'a'] : NULL;
  uint32_t set_id = words[2] ? (uint32_t)strtoul(words[2], NULL, 10) : 0;
  if (strcmp(words[0], "schema") == 0 || strcmp(words[0], "change") == 0) {
    for (i = 0; i < n; i++) strcat(strcat(text, lines[i]), "\n");
    struct lc_module_def *next = def_text(text);
    if (words[0][0] == 's') {
      fresh(next);
      return;
    }
    struct lc_tx *tx = lc_tx_begin(ds);
    if (lc_schema_update(tx, def, next, &facts, &err) != LC_OK) fail_msg("%s", err.text);
    commit(tx, &sink);
    lc_module_def_free(def);
    def = next;
    first = 0;
  } else if (strcmp(words[0], "row") == 0) {
    struct lc_tx *tx = lc_tx_begin(ds);
    command[2] = '+';
    change(tx, command + 2);
    commit(tx, NULL);
  } else if (strcmp(words[0], "as") == 0) {
    caller = (struct lc_sql_caller){.is_owner = words[1][0] == 'o'};
    memset(caller.identity.bytes, caller.is_owner ? 1 : words[1][0] == 'A' ? 0xaa : 0xbb, 32);
  } else if (strcmp(words[0], "subscribe") == 0) {
    struct lc_slice queries[MAX_LINES];
    for (first = 0; first < n && strncasecmp(lines[first], "select", 6) == 0; first++) queries[first] = lc_slice_str(lines[first]);
    if (lc_live_subscribe(live, client, &caller, set_id, 0, first, queries, &rows, &n_rows, &err) == LC_OK) remember_answer(rows, n_rows);
    else remember("error %s", err.text);
  } else if (strcmp(words[0], "unsubscribe") == 0) {
    if (lc_live_unsubscribe(live, client, set_id, 0, &rows, &n_rows, &err) == LC_OK) remember_answer(rows, n_rows);
    else remember("error %s", err.text);
    first = 0;
  } else if (strcmp(words[0], "tx") == 0) {
    struct lc_tx *tx = lc_tx_begin(ds);
    uint64_t before = lc_live_counts(live).evaluated;
    for (first = 0; first < n && strchr("+-", lines[first][0]); first++) change(tx, lines[first]);
    commit(tx, &sink);
    if (n && strncmp(lines[n - 1], "evaluated", 9) == 0) remember("evaluated %u", (unsigned)(lc_live_counts(live).evaluated - before));
  } else {
    fail_msg("what is '%s'?", command);
  }
  if (words[0][0] == 'c') n = 0; /* the lines of a change are its schema */
  bool used[MAX_LINES] = {false};
  for (uint32_t k = first; k < n; k++) {
    bool found = false;
    bool like = strncmp(lines[k], "error-like ", 11) == 0;
    for (i = 0; i < n_got && !found; i++)
      if (!used[i] && (like ? strncmp(got[i], "error ", 6) == 0 && strncmp(got[i] + 6, lines[k] + 11, strlen(lines[k] + 11) - 1) == 0 : strcmp(got[i], lines[k]) == 0)) used[i] = found = true;
    if (!found) {
      for (i = 0; i < n_got; i++) print_error("came: %s\n", got[i]);
      fail_msg("%s: did not come: %s", command, lines[k]);
    }
  }
  for (i = 0; i < n_got; i++)
    if (!used[i]) fail_msg("%s: unexpected: %s", command, got[i]);
}

static void test_cases(void **state) {
  (void)state;
  static char lines[MAX_LINES][MAX_LINE], command[MAX_LINE], line[MAX_LINE];
  uint32_t n = 0, n_commands = 0;
  FILE *f = fopen("tests/conformance/live.case", "r");
  assert_non_null(f);
  for (bool more = true; more;) {
    more = fgets(line, sizeof line, f);
    line[more ? strcspn(line, "\n") : 0] = 0;
    if (more && (!*line || *line == '#')) continue;
    if (more && *line == ' ') {
      assert_true(n < MAX_LINES);
      snprintf(lines[n++], MAX_LINE, "%s", line + strspn(line, " "));
      continue;
    }
    if (*command) {
      run(command, lines, n);
      n_commands++;
    }
    snprintf(command, sizeof command, "%s", line);
    n = 0;
  }
  fclose(f);
  print_message("%u commands\n", n_commands);
  assert_true(n_commands > 90);
}

static int tear_down(void **state) {
  (void)state;
  lc_live_free(live);
  lc_datastore_free(ds);
  lc_module_def_free(def);
  return 0;
}
int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases)};
  return cmocka_run_group_tests(tests, NULL, tear_down);
}
