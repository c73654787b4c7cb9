/* The command line's parts that need no server: tables, SQL results, JSON text, cli.toml, option and name rules, describe. */
#include "../../src/cli/cli_internal.h"
#include "../../src/cli/describe.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

static void expect(struct lc_buf *out, const char *want) {
  char *got = lc_cli_text(out);
  assert_string_equal(got, want);
  lc_free(got);
}

static void expect_sql(const char *statement, const char *want) {
  struct lc_buf out = {0};
  struct lc_cli_sql_stats stats;
  struct lc_error err = {0};
  assert_int_equal(lc_cli_sql_table(&out, lc_slice_str(statement), &stats, &err), LC_OK);
  expect(&out, want);
}

static void test_table(void **state) {
  (void)state;
  struct lc_slice cells[] = {lc_slice_str("id"), lc_slice_str("name"), lc_slice_str("1"), lc_slice_str("\"Alice\""), lc_slice_str("10"), lc_slice_str("\"\xc3\x89va\"")};
  struct lc_buf out = {0};
  lc_cli_table_psql(&out, 2, 2, cells); /* spec/04 §7.4 */
  expect(&out, " id | name    \n----+---------\n 1  | \"Alice\" \n 10 | \"\xc3\x89va\"   \n");
  lc_cli_table_psql(&out, 2, 0, cells);
  expect(&out, " id | name \n----+------\n");
  struct lc_slice lines[] = {lc_slice_str("t"), lc_slice_str("n"), lc_slice_str("a\nbc"), lc_slice_str("1")};
  lc_cli_table_psql(&out, 2, 1, lines);
  expect(&out, " t  | n \n----+---\n a  | 1 \n bc |   \n");
}

static void test_sql(void **state) {
  (void)state;
  expect_sql("{\"schema\":{\"elements\":[{\"name\":{\"some\":\"id\"},\"algebraic_type\":{\"U32\":[]}},{\"name\":{\"some\":\"name\"},\"algebraic_type\":{\"String\":[]}}]},"
             "\"rows\":[[1,\"Alice\"],[2,\"a\\\"b\"]],\"total_duration_micros\":3,\"stats\":{\"rows_inserted\":0,\"rows_deleted\":0,\"rows_updated\":0}}",
             " id | name    \n----+---------\n 1  | \"Alice\" \n 2  | \"a\"b\"   \n");
  expect_sql("{\"schema\":{\"elements\":[]},\"rows\":[],\"total_duration_micros\":3,\"stats\":{\"rows_inserted\":1}}", "\n");
  /* types of spec/04 §7.4; integers beyond 64 bits keep their digits; null floats are shown as they came */
  expect_sql("{\"schema\":{\"elements\":["
             "{\"name\":{\"some\":\"big\"},\"algebraic_type\":{\"U128\":[]}},"
             "{\"name\":{\"some\":\"at\"},\"algebraic_type\":{\"Product\":{\"elements\":[{\"name\":{\"some\":\"__timestamp_micros_since_unix_epoch__\"},\"algebraic_type\":{\"I64\":[]}}]}}},"
             "{\"name\":{\"some\":\"d\"},\"algebraic_type\":{\"Product\":{\"elements\":[{\"name\":{\"some\":\"__time_duration_micros__\"},\"algebraic_type\":{\"I64\":[]}}]}}},"
             "{\"name\":{\"some\":\"o\"},\"algebraic_type\":{\"Sum\":{\"variants\":[{\"name\":{\"some\":\"some\"},\"algebraic_type\":{\"Bool\":[]}},{\"name\":{\"some\":\"none\"},\"algebraic_type\":{\"Product\":{\"elements\":[]}}}]}}},"
             "{\"name\":{\"some\":\"p\"},\"algebraic_type\":{\"Product\":{\"elements\":[{\"name\":{\"some\":\"a\"},\"algebraic_type\":{\"I32\":[]}},{\"name\":{\"some\":\"b\"},\"algebraic_type\":{\"U8\":[]}}]}}},"
             "{\"name\":{\"some\":\"x\"},\"algebraic_type\":{\"Array\":{\"U8\":[]}}},"
             "{\"name\":{\"some\":\"f\"},\"algebraic_type\":{\"F64\":[]}}]},"
             "\"rows\":[[340282366920938463463374607431768211455,[0],[0],[0,true],[-1,2],\"00ff\",null],[0,[1700000000123456],[-1],[1,[]],[0,0],\"\",1.5]]}",
             " big                                     | at                               | d         | o             | p               | x      | f    \n"
             "-----------------------------------------+----------------------------------+-----------+---------------+-----------------+--------+------\n"
             " 340282366920938463463374607431768211455 | 1970-01-01T00:00:00+00:00        | +0.000000 | (some = true) | (a = -1, b = 2) | 0x00ff | null \n"
             " 0                                       | 2023-11-14T22:13:20.123456+00:00 | -0.000001 | (none = ())   | (a = 0, b = 0)  | 0x     | 1.5  \n");
  struct lc_buf out = {0};
  struct lc_cli_sql_stats stats;
  struct lc_error err = {0};
  assert_int_not_equal(lc_cli_sql_table(&out, lc_slice_str("{\"rows\":[]}"), &stats, &err), LC_OK);
  assert_int_not_equal(lc_cli_sql_table(&out, lc_slice_str("{\"schema\":{\"elements\":[{\"name\":{\"none\":[]},\"algebraic_type\":{\"U8\":[]}}]},\"rows\":[[]]}"), &stats, &err), LC_OK);
  assert_int_not_equal(lc_cli_sql_table(&out, lc_slice_str("{\"schema\":{\"elements\":[{\"name\":{\"none\":[]},\"algebraic_type\":{\"Ref\":0}}]},\"rows\":[]}"), &stats, &err), LC_OK);
  lc_buf_free(&out);
}

static void test_json(void **state) {
  (void)state;
  struct lc_buf out = {0};
  lc_cli_json_pretty(&out, lc_slice_str("{\"a\":[1,{}, [] ],\"b\":{\"c\":99999999999999999999999999}, \"d\" : \"x, ]\\\"\"}"));
  expect(&out, "{\n  \"a\": [\n    1,\n    {},\n    []\n  ],\n  \"b\": {\n    \"c\": 99999999999999999999999999\n  },\n  \"d\": \"x, ]\\\"\"\n}");
  struct lc_slice v;
  assert_true(lc_cli_json_member(lc_slice_str("{\"ab\":1,\"a\":[2]}"), "a", &v));
  assert_true(lc_slice_eq_str(v, "[2]"));
  assert_false(lc_cli_json_member(lc_slice_str("{\"ab\":1"), "a", &v));
  assert_false(lc_cli_json_member(lc_slice_str("{}"), "a", &v));
  char deep[1000];
  memset(deep, '[', sizeof deep);
  struct lc_cli_json j = {(const uint8_t *)deep, (const uint8_t *)deep + sizeof deep};
  assert_false(lc_cli_json_value(&j, &v));
}

static char *temporary_path(void) {
  char dir[] = "/tmp/test_cli_XXXXXX";
  assert_non_null(mkdtemp(dir));
  return lc_cli_format("%s/sub/cli.toml", dir);
}

static void remove_path(char *path) {
  unlink(path);
  *strrchr(path, '/') = 0;
  rmdir(path);
  *strrchr(path, '/') = 0;
  rmdir(path);
  lc_free(path);
}

static void expect_key(const struct lc_cli_config *c, const char *key, const char *want) {
  char *got = lc_cli_config_get(c, key);
  if (want) assert_string_equal(got, want);
  else assert_null(got);
  lc_free(got);
}

static void test_config(void **state) {
  (void)state;
  struct lc_error err = {0};
  char *path = temporary_path();
  struct lc_cli_config *c = lc_cli_config_load(path, &err);
  assert_non_null(c);
  assert_true(lc_cli_config_is_new(c));
  expect_key(c, "default_server", "local"); /* initial content of spec/04 §7.1, but for the default */
  assert_int_equal(lc_cli_config_servers(c), 2);
  assert_int_equal(lc_cli_config_find(c, "local"), 1);
  assert_int_equal(lc_cli_config_find(c, "maincloud.spacetimedb.com"), 0);
  assert_int_equal(lc_cli_config_find(c, "nowhere"), -1);
  lc_cli_config_set(c, "spacetimedb_token", "a\"b\\c");
  char name[] = "other", host[] = "h:1", http[] = "http", key[] = "-----BEGIN\nline\n";
  lc_cli_config_put_server(c, 2, &(struct lc_cli_server){name, host, http, key});
  lc_cli_config_put_server(c, 9, &(struct lc_cli_server){name, host, http, key});
  assert_int_equal(lc_cli_config_save(c, &err), LC_OK);
  lc_cli_config_free(c);
  c = lc_cli_config_load(path, &err);
  assert_non_null(c);
  assert_false(lc_cli_config_is_new(c));
  expect_key(c, "spacetimedb_token", "a\"b\\c");
  expect_key(c, "nickname", NULL); /* a server's key, not a top-level one */
  struct lc_cli_server s;
  lc_cli_config_server(c, 2, &s);
  assert_string_equal(s.nickname, "other");
  assert_string_equal(s.host, "h:1");
  assert_string_equal(s.fingerprint, "-----BEGIN\nline\n");
  lc_cli_server_free(&s);
  lc_cli_config_remove_server(c, 0);
  assert_int_equal(lc_cli_config_find(c, "local"), 0);
  lc_cli_config_set(c, "spacetimedb_token", NULL);
  expect_key(c, "spacetimedb_token", NULL);
  lc_cli_config_free(c);
  remove_path(path);
}

static bool print_entry(void *ctx, const struct lc_cli_toml_entry *e, struct lc_error *err) {
  static const char kinds[] = "tnfbl";
  (void)err;
  lc_buf_printf(ctx, "%u [%s] %s %c %s\n", e->line, e->section, e->key, kinds[e->kind], e->value);
  return true;
}
/* Whole files: values, lines, and every cut and every changed byte of one gives entries or an error with a line. */
static void test_toml(void **state) {
  (void)state;
  static const char whole[] = "a = 1\n[s-t]\nb = \"x\\ty\\u00e9\" # c\r\nl = [ 1, 'two', # c ]\n  \"three\",\n]\nm = \"\"\"\ntwo\nlines\"\"\"\nf = 0.25\nt = true\n\n[ \"u v\" ]\nw = false";
  struct lc_buf out = {0};
  struct lc_error err;
  assert_false(lc_cli_toml_each("[a-b] # c\n\n\"q k\" = 'it''s'\n", print_entry, &out, &err));
  assert_string_equal(err.text, "line 3: q k: a string, a number, true, false or a list of them is expected");
  assert_true(lc_cli_toml_each(whole, print_entry, &out, &err));
  expect(&out, "1 [] a n 1\n3 [s-t] b t x\ty\xc3\xa9\n4 [s-t] l l 1,two,three\n7 [s-t] m t two\nlines\n10 [s-t] f f 0.25\n11 [s-t] t b true\n14 [u v] w b false\n");
  for (size_t cut = 0; cut < sizeof whole; cut++) {
    for (int c = -1; c < 256; c += cut % 3 == 0 ? 1 : 17) {
      char text[sizeof whole];
      memcpy(text, whole, sizeof whole);
      text[cut] = c < 0 ? 0 : (char)c;
      text[sizeof whole - 1] = 0;
      struct lc_buf entries = {0};
      if (!lc_cli_toml_each(text, print_entry, &entries, &err)) assert_memory_equal(err.text, "line ", 5);
      lc_buf_free(&entries);
    }
  }
}

static void test_config_keeps(void **state) {
  (void)state;
  static const char text[] = "# mine\nunknown = [\n  \"[x]\", # ]\n]\ndefault_server = 'local' # note\nlong = \"\"\"\n[[server_configs]]\nnot a server\"\"\"\n\n[other]\nx = 1\n\n[[server_configs]]\nhost = \"127.0.0.1:3000\"\nprotocol = \"http\"\nextra = true\necdsa_public_key = \"\"\"\nA\nB\n\"\"\"\n";
  struct lc_error err = {0};
  char path[] = "/tmp/test_cli_XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0 && write(fd, text, sizeof text - 1) == (ssize_t)sizeof text - 1);
  close(fd);
  struct lc_cli_config *c = lc_cli_config_load(path, &err);
  assert_non_null(c);
  char *same = lc_cli_config_render(c);
  assert_string_equal(same, text);
  lc_free(same);
  expect_key(c, "default_server", "local");
  expect_key(c, "long", "[[server_configs]]\nnot a server");
  assert_int_equal(lc_cli_config_servers(c), 1);
  struct lc_cli_server s;
  lc_cli_config_server(c, 0, &s);
  assert_null(s.nickname);
  assert_string_equal(s.fingerprint, "A\nB\n");
  lc_cli_server_free(&s);
  lc_cli_config_set(c, "spacetimedb_token", "t");
  char *changed = lc_cli_config_render(c);
  assert_non_null(strstr(changed, "not a server\"\"\"\nspacetimedb_token = \"t\"\n\n[other]\n"));
  lc_free(changed);
  lc_cli_config_free(c);
  unlink(path);
}

static void test_names(void **state) {
  (void)state;
  const char *why;
  assert_true(lc_cli_database_name_ok("my-db-1", &why));
  assert_false(lc_cli_database_name_ok("", &why));
  assert_string_equal(why, "database names cannot be empty");
  assert_false(lc_cli_database_name_ok("a--b", &why));
  assert_string_equal(why, "invalid hyphen in database name");
  assert_false(lc_cli_database_name_ok("A", &why));
  assert_string_equal(why, "invalid characters in database name");
  assert_false(lc_cli_database_name_ok("c20035600353a2e93544d898c6ed0eac323e200c0468300f22958f8b472a265d", &why));
  assert_string_equal(why, "database names cannot be identities");
  assert_true(lc_cli_glob("a*-b", "axx-b"));
  assert_false(lc_cli_glob("a*-b", "axx-c"));
  assert_true(lc_cli_url_is_local("http://127.0.0.1:3000"));
  assert_false(lc_cli_url_is_local("http://127.0.0.10:3000"));
  /* {"iss":"localhost","sub":"alice"}; identity of spec/04 §4.2 */
  char *id = lc_cli_token_identity("e30.eyJpc3MiOiJsb2NhbGhvc3QiLCJzdWIiOiJhbGljZSJ9.x");
  assert_string_equal(id, "c20035600353a2e93544d898c6ed0eac323e200c0468300f22958f8b472a265d");
  lc_free(id);
  assert_null(lc_cli_token_identity("not a token"));
}

/* spec/07 §15.2 */
static void test_describe(void **state) {
  (void)state;
  static const char json[] =
    "{\"sections\":[{\"Typespace\":{\"types\":["
    "{\"Product\":{\"elements\":[{\"name\":{\"some\":\"id\"},\"algebraic_type\":{\"U64\":[]}},{\"name\":{\"some\":\"nickname\"},\"algebraic_type\":{\"Sum\":{\"variants\":["
    "{\"name\":{\"some\":\"some\"},\"algebraic_type\":{\"String\":[]}},{\"name\":{\"some\":\"none\"},\"algebraic_type\":{\"Product\":{\"elements\":[]}}}]}}},"
    "{\"name\":{\"some\":\"level\"},\"algebraic_type\":{\"U32\":[]}},{\"name\":{\"some\":\"color\"},\"algebraic_type\":{\"Ref\":1}}]}},"
    "{\"Sum\":{\"variants\":[{\"name\":{\"some\":\"red\"},\"algebraic_type\":{\"Product\":{\"elements\":[]}}},{\"name\":{\"some\":\"green\"},\"algebraic_type\":{\"Product\":{\"elements\":[]}}}]}}]}},"
    "{\"Types\":[{\"source_name\":{\"scope\":[],\"source_name\":\"Player\"},\"ty\":0,\"custom_ordering\":true},{\"source_name\":{\"scope\":[],\"source_name\":\"Color\"},\"ty\":1,\"custom_ordering\":true}]},"
    "{\"Tables\":[{\"source_name\":\"Player\",\"product_type_ref\":0,\"primary_key\":[0],\"indexes\":[{\"source_name\":{\"some\":\"player_id_idx_btree\"},\"accessor_name\":{\"some\":\"id\"},\"algorithm\":{\"BTree\":[0]}}],"
    "\"constraints\":[{\"source_name\":{\"some\":\"player_id_key\"},\"data\":{\"Unique\":{\"columns\":[0]}}}],\"sequences\":[{\"source_name\":{\"none\":[]},\"column\":0,\"start\":{\"none\":[]},\"min_value\":{\"none\":[]},"
    "\"max_value\":{\"some\":170141183460469231731687303715884105727},\"increment\":1}],\"table_type\":{\"User\":[]},\"table_access\":{\"Public\":[]},\"default_values\":[{\"col_id\":2,\"value\":\"01000000\"}],\"is_event\":false}]},"
    "{\"Reducers\":[{\"source_name\":\"init\",\"params\":{\"elements\":[]},\"visibility\":{\"Private\":[]},\"ok_return_type\":{\"Product\":{\"elements\":[]}},\"err_return_type\":{\"String\":[]}},"
    "{\"source_name\":\"add\",\"params\":{\"elements\":[{\"name\":{\"some\":\"name\"},\"algebraic_type\":{\"String\":[]}}]},\"visibility\":{\"ClientCallable\":[]}}]},"
    "{\"Views\":[{\"source_name\":\"top_player\",\"index\":0,\"is_public\":true,\"is_anonymous\":true,\"params\":{\"elements\":[]},\"return_type\":{\"Sum\":{\"variants\":["
    "{\"name\":{\"some\":\"some\"},\"algebraic_type\":{\"Ref\":0}},{\"name\":{\"some\":\"none\"},\"algebraic_type\":{\"Product\":{\"elements\":[]}}}]}}}]},"
    "{\"HttpRoutes\":[{\"handler_function\":\"health\",\"method\":{\"Any\":[]},\"path\":\"/health\"},{\"handler_function\":\"root\",\"method\":{\"Method\":{\"Get\":[]}},\"path\":\"\"}]},"
    "{\"Environment\":[{\"name\":\"LOG_LEVEL\",\"ty\":{\"Union\":[\"debug\",\"info\"]},\"optional\":true}]},"
    "{\"Schedules\":[{\"source_name\":{\"none\":[]},\"table_name\":\"player\",\"schedule_at_col\":1,\"function_name\":\"add\"}]},"
    "{\"LifeCycleReducers\":[{\"lifecycle_spec\":{\"Init\":[]},\"function_name\":\"init\"}]},"
    "{\"ExplicitNames\":{\"entries\":[{\"Table\":{\"source_name\":\"Player\",\"canonical_name\":\"player\"}}]}}]}";
  struct lc_cli_schema s;
  struct lc_buf out = {0};
  assert_true(lc_cli_schema_parse(&s, json, sizeof json - 1));
  lc_cli_describe_text(&out, &s, false);
  expect(&out, "Tables\n"
               "  player (public)\n"
               "    Columns:\n"
               "      id        U64             primary key, auto-increment\n"
               "      nickname  Option<String>\n"
               "      level     U32             default: 1\n"
               "      color     Color\n"
               "    Indexes:\n"
               "      player_id_idx_btree  btree (id)\n"
               "    Schedule: calls reducer add\n"
               "\n"
               "Views\n"
               "  top_player() -> Option<Player>  [public] [anonymous]\n"
               "\n"
               "Reducers\n"
               "  add(name: String)\n"
               "  init()  [lifecycle: init] [private]\n"
               "\n"
               "HTTP routes\n"
               "  ANY /health \xe2\x86\x92 health\n"
               "  GET \"\" \xe2\x86\x92 root\n"
               "\n"
               "Environment variables\n"
               "  LOG_LEVEL  \"debug\" | \"info\"  optional\n"
               "\n"
               "Types\n"
               "  Color = red | green\n");
  lc_cli_schema_free(&s);
  assert_false(lc_cli_schema_parse(&s, "[", 1));
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_table), cmocka_unit_test(test_sql), cmocka_unit_test(test_json), cmocka_unit_test(test_config),
    cmocka_unit_test(test_toml), cmocka_unit_test(test_config_keeps), cmocka_unit_test(test_names), cmocka_unit_test(test_describe),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
