/* SELECT over one table: results, literals and error texts of spec/05. The table is `players` of module G2 (spec/01 appendix). */
#include "golden_modules.h"
#include "sql/sql.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdio.h>

static struct lc_datastore *ds;
static struct lc_module_def *def;
static struct lc_error err;
static struct lc_sql_caller caller = {.is_owner = false};

static int set_up(void **state) {
  (void)state;
  uint8_t bytes[4096];
  struct lc_buf row = {0};
  struct lc_module_facts facts = {.program_bytes = lc_slice_str("x")};
  const struct lc_tx_delta *delta;
  if (!lc_hex_decode(g2_hex, strlen(g2_hex), bytes) || lc_module_def_decode(lc_slice(bytes, strlen(g2_hex) / 2), &def, &err) != LC_OK) return 1;
  if (lc_datastore_new(&lc_env_system, &ds, &err) != LC_OK) return 1;
  struct lc_tx *tx = lc_tx_begin(ds);
  if (lc_schema_create(tx, def, &facts, &err) != LC_OK) return 1;
  for (uint32_t i = 1; i <= 10; i++) { /* id, name, level_2, c, o, ts, arr, u, r */
    char name[16];
    lc_buf_clear(&row);
    lc_buf_u64(&row, i);
    snprintf(name, sizeof name, "p%u", i);
    lc_buf_bsatn_str(&row, name);
    lc_buf_u32(&row, i % 3);
    lc_buf_u8(&row, 0);
    lc_buf_u8(&row, 1);
    lc_buf_u64(&row, 0);
    lc_buf_u32(&row, 0);
    lc_buf_u64(&row, 0);
    lc_buf_u64(&row, 0);
    lc_buf_u8(&row, 0);
    lc_buf_u8(&row, 9);
    if (lc_tx_insert(tx, lc_datastore_table_by_name(ds, lc_slice_str("players"))->table_id, lc_buf_slice(&row), NULL, NULL, &err) != LC_ERRNO_OK) return 1;
  }
  lc_tx_commit(tx, &delta);
  lc_tx_delta_release(ds, delta);
  lc_buf_free(&row);
  return 0;
}
static int tear_down(void **state) {
  (void)state;
  lc_datastore_free(ds);
  lc_module_def_free(def);
  return 0;
}

static bool count_row(void *ctx, struct lc_slice row) {
  (void)row;
  ++*(int *)ctx;
  return true;
}

static void test_rows(void **state) {
  (void)state;
  static const struct { const char *sql; int rows; } cases[] = {
      {"SELECT * FROM players", 10},
      {"select players.* from players", 10},
      {"SELECT * FROM player", 10}, /* by accessor */
      {"SELECT * FROM players WHERE id = 3", 1},
      {"SELECT * FROM players WHERE id = '3'", 1},
      {"SELECT * FROM players WHERE id = 0x3", 1},
      {"SELECT * FROM players WHERE 3 = id AND name = 'p3'", 1},
      {"SELECT * FROM players WHERE id = 3 AND name = 'p4'", 0},
      {"SELECT * FROM players WHERE name = 'p4' OR id = 3", 2},
      {"SELECT * FROM players WHERE level_2 = 1", 4},
      {"SELECT * FROM players WHERE level_2 <> 1", 6},
      {"SELECT * FROM players WHERE id > 7.0", 3},
      {"SELECT * FROM players WHERE id >= 1e1", 1},
      {"SELECT * FROM players WHERE (id < 3 OR id > 9) AND level_2 = 1", 2},
      {"SELECT * FROM players WHERE (id = 1) = true", 1},
      {"SELECT * FROM players WHERE true", 10},
      {"SELECT * FROM players p WHERE p.id = 2 -- comment", 1},
      {"SELECT p.* FROM players AS p /* a /* nested */ one */ WHERE \"p\".\"id\" = 2;", 1},
      {"SELECT id, name AS n FROM players LIMIT 4", 4},
      {"SELECT COUNT(*) AS n FROM players WHERE id < 5", 1},
      {"SELECT * FROM st_table WHERE table_name = 'st_client'", 1},
      {"SELECT * FROM ev", 0}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct lc_plan *plan;
    int rows = 0;
    caller.is_owner = strstr(cases[i].sql, " ev") != NULL;
    if (lc_sql_compile((struct lc_read_view){.ds = ds}, lc_slice_str(cases[i].sql), LC_SQL_STATEMENT, &caller, &plan, &err) != LC_OK) fail_msg("%s: %s", cases[i].sql, err.text);
    assert_int_equal(lc_plan_run(plan, (struct lc_read_view){.ds = ds}, count_row, &rows, &err), LC_OK);
    if (rows != cases[i].rows) fail_msg("%s: expected %d rows, got %d", cases[i].sql, cases[i].rows, rows);
    lc_plan_free(plan);
  }
  caller.is_owner = false;
}

static void test_errors(void **state) { /* spec/05 §4-§6 */
  (void)state;
  static const struct { const char *sql, *text; } cases[] = {
      {"", "Empty SQL query"},
      {"selec * from players", "sql parser error: Expected an SQL statement, found: selec at Line: 1, Column 1"},
      {"SELECT * FROM", "sql parser error: Expected identifier, found: EOF"},
      {"SELECT * FROM players WHERE", "sql parser error: Expected an expression:, found: EOF"},
      {"SELECT *", "A FROM clause is required"},
      {"SELECT * FROM players, ev", "Implicit joins are not supported"},
      {"SELECT * FROM nope", "no such table: `nope`. If the table exists, it may be marked private."},
      {"SELECT * FROM ev", "no such table: `ev`. If the table exists, it may be marked private."},
      {"SELECT * FROM players WHERE nope = 1", "`nope` is not in scope"},
      {"SELECT * FROM players AS r WHERE players.id = 1", "`players` is not in scope"},
      {"SELECT * FROM players WHERE id = 'x'", "The literal expression `x` cannot be parsed as type `U64`"},
      {"SELECT * FROM players WHERE id = 0.1", "The literal expression `0.1` cannot be parsed as type `U64`"},
      {"SELECT * FROM players WHERE id = 0xFF", "The literal expression `FF` cannot be parsed as type `U64`"},
      {"SELECT * FROM players WHERE level_2", "Unexpected type: (expected) I32 != Bool (inferred)"},
      {"SELECT * FROM players WHERE id = true", "Unexpected type: (expected) Bool != U64 (inferred)"},
      {"SELECT * FROM players WHERE 1 = 1", "Cannot resolve type for literal expression"},
      {"SELECT * FROM players WHERE name = 'x", "sql parser error: Unterminated string literal at Line: 1, Column 36"},
      {"SELECT * FROM players WHERE o = 1", NULL},
      {"SELECT id, id FROM players", "Duplicate name `id`"},
      {"SELECT COUNT(*) FROM players", "Aggregate expressions must have column aliases"},
      {"SELECT *, id FROM players", "Mixed wildcard projections are not supported"},
      {"SELECT * FROM players LIMIT 1.5", "The literal expression `1.5` cannot be parsed as type `U64`"},
      {"SELECT * FROM players WHERE id = 1e999999999", "The literal expression `1e999999999` cannot be parsed as type `U64`"},
      {"SELECT * FROM players WHERE id = :other", "Unsupported literal expression: :other"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct lc_plan *plan;
    err.text[0] = 0;
    if (lc_sql_compile((struct lc_read_view){.ds = ds}, lc_slice_str(cases[i].sql), LC_SQL_STATEMENT, &caller, &plan, &err) == LC_OK) fail_msg("accepted: %s", cases[i].sql);
    if (cases[i].text && strcmp(err.text, cases[i].text) != 0) fail_msg("%s\nexpected: %s\n     got: %s", cases[i].sql, cases[i].text, err.text);
  }
  struct lc_plan *plan;
  assert_int_not_equal(lc_sql_compile((struct lc_read_view){.ds = ds}, lc_slice_str("SELECT id FROM players"), LC_SQL_SUBSCRIPTION, &caller, &plan, &err), LC_OK);
  assert_int_not_equal(lc_sql_compile((struct lc_read_view){.ds = ds}, lc_slice_str("SELECT * FROM players LIMIT 5"), LC_SQL_SUBSCRIPTION, &caller, &plan, &err), LC_OK);
  assert_string_equal(err.text, "Unsupported: SELECT * FROM players LIMIT 5");
  char deep[400];
  int n = snprintf(deep, sizeof deep, "SELECT * FROM players WHERE ");
  for (int i = 0; i < 60; i++) n += snprintf(deep + n, sizeof deep - (size_t)n, "(");
  assert_int_not_equal(lc_sql_compile((struct lc_read_view){.ds = ds}, lc_slice_str(deep), LC_SQL_STATEMENT, &caller, &plan, &err), LC_OK);
  assert_string_equal(err.text, "sql parser error: recursion limit exceeded");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_errors)};
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
