/* Types, BSATN, SATS-JSON, identities and module definitions against the vectors of spec/01. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "def_export.h"
#include "golden_modules.h"
#include <stdio.h>

static struct lc_slice from_hex(struct lc_arena *a, const char *hex) {
  size_t n = strlen(hex);
  uint8_t *p = lc_arena_alloc(a, n / 2 + 1);
  assert_true(lc_hex_decode(hex, n, p));
  return lc_slice(p, n / 2);
}
static const struct lc_type *type_of(struct lc_arena *a, const char *hex) {
  const struct lc_type *t;
  struct lc_reader r = lc_reader(from_hex(a, hex));
  struct lc_error err;
  assert_int_equal(lc_type_decode(a, &r, &t, &err), LC_OK);
  assert_int_equal(lc_reader_left(&r), 0);
  struct lc_buf again = {0};
  lc_type_encode(&again, t);
  assert_int_equal(again.len, strlen(hex) / 2);
  assert_memory_equal(again.data, from_hex(a, hex).data, again.len);
  lc_buf_free(&again);
  return t;
}
#define OPTION_U8 "0102000000000400000" "0736f6d650700040000006e6f6e650200000000"

static void test_types(void **state) {
  (void)state;
  struct lc_arena a = {0};
  static const struct { const char *hex; enum lc_special special; uint32_t size; } cases[] = {
      {"0005000000", LC_SPECIAL_NONE, LC_SIZE_DYNAMIC},
      {"0200000000", LC_SPECIAL_NONE, 0},
      {"0100000000", LC_SPECIAL_NONE, LC_SIZE_DYNAMIC},
      {"13", LC_SPECIAL_NONE, 8},
      {"030307", LC_SPECIAL_NONE, LC_SIZE_DYNAMIC},
      {OPTION_U8, LC_SPECIAL_OPTION, LC_SIZE_DYNAMIC},
      {"010200000000020000006f6b07000300000065727204", LC_SPECIAL_RESULT, LC_SIZE_DYNAMIC},
      {"0201000000000c0000005f5f6964656e746974795f5f11", LC_SPECIAL_IDENTITY, 32},
      {"020100000000110000005f5f636f6e6e656374696f6e5f69645f5f0f", LC_SPECIAL_CONNECTION_ID, 16},
      {"020100000000250000005f5f74696d657374616d705f6d6963726f735f73696e63655f756e69785f65706f63685f5f0c", LC_SPECIAL_TIMESTAMP, 8},
      {"020100000000180000005f5f74696d655f6475726174696f6e5f6d6963726f735f5f0c", LC_SPECIAL_DURATION, 8},
      {"020100000000080000005f5f757569645f5f0f", LC_SPECIAL_UUID, 16},
      {"01020000000008000000496e74657276616c020100000000180000005f5f74696d655f6475726174696f6e5f6d6963726f735f5f0c000400000054696d65"
       "020100000000250000005f5f74696d657374616d705f6d6963726f735f73696e63655f756e69785f65706f63685f5f0c",
       LC_SPECIAL_SCHEDULE_AT, 9}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const struct lc_type *t = type_of(&a, cases[i].hex);
    assert_int_equal(t->special, cases[i].special);
    assert_int_equal(t->static_size_bytes, cases[i].size);
  }
  lc_arena_free(&a);
}

static void expect_decode_error(struct lc_arena *a, const struct lc_type *t, const char *hex, const char *text) {
  struct lc_error err = {0};
  struct lc_reader r = lc_reader(from_hex(a, hex));
  assert_int_not_equal(lc_bsatn_validate(t, NULL, &r, &err), LC_OK);
  if (text) assert_string_equal(err.text, text);
}

static void test_bsatn_errors(void **state) { /* spec/01 §18 cases 1-8 */
  (void)state;
  struct lc_arena a = {0};
  expect_decode_error(&a, lc_type_primitive(LC_T_BOOL), "02", "byte 2 not valid as `bool` (must be 0 or 1)");
  expect_decode_error(&a, type_of(&a, OPTION_U8), "05", "unknown tag 0x5 for sum type <unknown>");
  expect_decode_error(&a, lc_type_primitive(LC_T_STRING), "0500000061", "data too short for [u8]: Expected 5, given 1");
  expect_decode_error(&a, lc_type_primitive(LC_T_STRING), "0200000061ff", "invalid utf8");
  expect_decode_error(&a, lc_type_primitive(LC_T_F32), "010203", "data too short for u32: Expected 4, given 3");
  expect_decode_error(&a, type_of(&a, "0307"), "ffffffff", NULL);
  expect_decode_error(&a, type_of(&a, "0100000000"), "00", NULL);
  expect_decode_error(&a, type_of(&a, "0100000000"), "", NULL);
  /* case 6: an option of an option */
  const struct lc_type *nested = lc_type_new_option(&a, type_of(&a, OPTION_U8));
  static const char *const values[] = {"01", "0001", "000007"};
  for (int i = 0; i < 3; i++) {
    struct lc_reader r = lc_reader(from_hex(&a, values[i]));
    assert_int_equal(lc_bsatn_validate(nested, NULL, &r, NULL), LC_OK);
    assert_int_equal(lc_reader_left(&r), 0);
  }
  expect_decode_error(&a, nested, "0002", "unknown tag 0x2 for sum type <unknown>");
  lc_arena_free(&a);
}

static void test_order(void **state) { /* spec/01 §18 cases 23, 24 */
  (void)state;
  struct lc_arena a = {0};
  const struct lc_type *f64 = lc_type_primitive(LC_T_F64), *option = type_of(&a, OPTION_U8), *u256 = lc_type_primitive(LC_T_U256), *i128 = lc_type_primitive(LC_T_I128);
  const double sorted[] = {-1.0 / 0.0, -0.0, 1, 1.0 / 0.0, 0.0 / 0.0};
  for (int i = 0; i < 5; i++)
    for (int k = 0; k < 5; k++) {
      int c = lc_bsatn_compare(f64, (const uint8_t *)&sorted[i], (const uint8_t *)&sorted[k]);
      assert_int_equal(c < 0, i < k);
      assert_int_equal(c > 0, i > k);
    }
  double zero = 0.0;
  assert_int_equal(lc_bsatn_compare(f64, (const uint8_t *)&sorted[1], (const uint8_t *)&zero), 0);
  assert_true(lc_bsatn_compare(option, (const uint8_t *)"\x00\xff", (const uint8_t *)"\x01") < 0);
  const struct lc_type *string = lc_type_primitive(LC_T_STRING);
  assert_true(lc_bsatn_compare(string, (const uint8_t *)"\x01\0\0\0a", (const uint8_t *)"\x02\0\0\0ab") < 0);
  assert_true(lc_bsatn_compare(string, (const uint8_t *)"\x02\0\0\0ab", (const uint8_t *)"\x01\0\0\0b") < 0);
  uint8_t one[32] = {1}, big[32] = {[31] = 1}, minus[16];
  memset(minus, 0xff, sizeof minus);
  assert_true(lc_bsatn_compare(u256, one, big) < 0);
  assert_true(lc_bsatn_compare(i128, minus, one) < 0);
  lc_arena_free(&a);
}

static void test_identity(void **state) { /* spec/01 §6.2, §18 case 9 */
  (void)state;
  struct lc_identity id, parsed;
  char hex[65];
  lc_identity_from_claims(lc_slice_str("localhost"), lc_slice_str("alice"), &id);
  lc_identity_hex(&id, hex);
  assert_string_equal(hex, "c20035600353a2e93544d898c6ed0eac323e200c0468300f22958f8b472a265d");
  assert_true(lc_identity_parse(lc_slice_str("0xC20035600353a2e93544d898c6ed0eac323e200c0468300f22958f8b472a265d"), &parsed));
  assert_memory_equal(&parsed, &id, sizeof id);
  assert_false(lc_identity_parse(lc_slice_str("c20035600353a2e93544d898c6ed0eac323e200c0468300f22958f8b472a265"), &parsed));
  assert_false(lc_identity_parse(lc_slice_str("c20035600353a2e93544d898c6ed0eac323e200c0468300f22958f8b472a265d0"), &parsed));
  memset(&parsed, 0, sizeof parsed);
  assert_true(lc_identity_parse(lc_slice_str("X'c20035600353a2e93544d898c6ed0eac323e200c0468300f22958f8b472a265d"), &parsed));
  assert_memory_equal(&parsed, &id, sizeof id);
}

static void expect_json(const struct lc_type *t, const char *json, const char *want_u, const char *want_d) {
  struct lc_buf bsatn = {0}, out = {0};
  struct lc_error err = {0};
  enum lc_status st = lc_json_parse_value(lc_slice_str(json), t, NULL, &bsatn, &err);
  if (!want_u) {
    assert_int_not_equal(st, LC_OK);
  } else {
    if (st != LC_OK) fail_msg("%s: %s", json, err.text);
    struct lc_reader r = lc_reader(lc_buf_slice(&bsatn));
    assert_int_equal(lc_json_write_value(&out, t, NULL, &r, LC_JSON_U, &err), LC_OK);
    assert_int_equal(lc_reader_left(&r), 0);
    lc_buf_u8(&out, 0);
    assert_string_equal((char *)out.data, want_u);
    if (want_d) {
      lc_buf_clear(&out);
      r = lc_reader(lc_buf_slice(&bsatn));
      assert_int_equal(lc_json_write_value(&out, t, NULL, &r, LC_JSON_D, &err), LC_OK);
      lc_buf_u8(&out, 0);
      assert_string_equal((char *)out.data, want_d);
    }
  }
  lc_buf_free(&bsatn);
  lc_buf_free(&out);
}

static void test_json(void **state) { /* spec/01 §18 cases 13-21 */
  (void)state;
  struct lc_arena a = {0};
  const struct lc_type *u256 = lc_type_primitive(LC_T_U256), *i256 = lc_type_primitive(LC_T_I256), *u128 = lc_type_primitive(LC_T_U128), *bytes = type_of(&a, "0307");
  const struct lc_type *f64 = lc_type_primitive(LC_T_F64), *i32 = lc_type_primitive(LC_T_I32), *option = type_of(&a, OPTION_U8);
  expect_json(u256, "\"0x0\"", "\"0x0\"", NULL);
  expect_json(i256, "\"-0x2a\"", "\"-0x2a\"", NULL);
  expect_json(u256, "\"+0x2A\"", "\"0x2a\"", NULL);
  expect_json(u256, "\"2a\"", NULL, NULL);
  expect_json(u256, "42", NULL, NULL);
  expect_json(u256, "\"0X2a\"", NULL, NULL);
  expect_json(u128, "340282366920938463463374607431768211455", "340282366920938463463374607431768211455", NULL);
  expect_json(u128, "340282366920938463463374607431768211456", NULL, NULL);
  expect_json(bytes, "\"01AB\"", "\"01ab\"", NULL);
  expect_json(bytes, "[1,171]", "\"01ab\"", NULL);
  expect_json(bytes, "\"0x01\"", NULL, NULL);
  expect_json(bytes, "\"1\"", NULL, NULL);
  expect_json(bytes, "[256]", NULL, NULL);
  expect_json(f64, "null", NULL, NULL);
  expect_json(f64, "3", "3.0", NULL);
  expect_json(f64, "1e16", "1e16", NULL);
  expect_json(f64, "0.1", "0.1", NULL);
  expect_json(i32, "3.0", NULL, NULL);
  expect_json(i32, "-2147483648", "-2147483648", NULL);
  expect_json(i32, "2147483648", NULL, NULL);
  expect_json(i32, "-0", NULL, NULL);
  const struct lc_type *u8 = lc_type_primitive(LC_T_U8);
  struct lc_type_field ab[2] = {{lc_slice_str("a"), true, u8}, {lc_slice_str("b"), true, u8}};
  const struct lc_type *product = lc_type_new_product(&a, 2, ab);
  expect_json(product, "{\"b\":2,\"a\":1}", "[1,2]", "{\"a\":1,\"b\":2}");
  expect_json(product, "[1,2]", "[1,2]", NULL);
  expect_json(product, "{\"a\":1}", NULL, NULL);
  expect_json(product, "{\"a\":1,\"b\":2,\"c\":3}", NULL, NULL);
  expect_json(product, "[1]", NULL, NULL);
  expect_json(product, "[1,2,3]", NULL, NULL);
  struct lc_type_field variants[2] = {{lc_slice_str("A"), true, lc_type_new_product(&a, 0, NULL)}, {lc_slice_str("B"), true, u8}};
  const struct lc_type *sum = lc_type_new_sum(&a, 2, variants);
  static const char *const good[] = {"{\"B\":5}", "{\"1\":5}", "[1,5]", "[\"B\",5]"};
  for (int i = 0; i < 4; i++) expect_json(sum, good[i], "[1,5]", "{\"B\":5}");
  expect_json(sum, "{\"A\":[]}", "[0,[]]", "{\"A\":[]}");
  expect_json(sum, "{\"A\":{}}", "[0,[]]", NULL);
  static const char *const refused[] = {"\"A\"", "{\"A\":null}", "{}", "{\"A\":[],\"B\":5}", "{\"C\":1}", "{\"2\":1}"};
  for (int i = 0; i < 6; i++) expect_json(sum, refused[i], NULL, NULL);
  expect_json(option, "null", "[1,[]]", "{\"none\":[]}");
  expect_json(option, "{\"some\":5}", "[0,5]", NULL);
  expect_json(option, "{\"none\":[]}", "[1,[]]", NULL);
  expect_json(option, "[1,[]]", "[1,[]]", NULL);
  expect_json(option, "[0,5]", "[0,5]", "{\"some\":5}");
  expect_json(option, "5", NULL, NULL);
  expect_json(lc_type_identity(), "{\"__identity__\":\"0x1\"}", "[\"0x1\"]", NULL);
  expect_json(lc_type_identity(), "[\"0x1\"]", "[\"0x1\"]", NULL);
  expect_json(lc_type_identity(), "\"0x1\"", NULL, NULL);
  struct lc_buf nan = {0}; /* case 16 */
  struct lc_reader nan_bytes = lc_reader(from_hex(&a, "000000000000f87f"));
  assert_int_equal(lc_json_write_value(&nan, f64, NULL, &nan_bytes, LC_JSON_U, NULL), LC_OK);
  assert_true(lc_slice_eq_str(lc_buf_slice(&nan), "null"));
  lc_buf_free(&nan);
  expect_json(lc_type_primitive(LC_T_STRING), "\"a\\u00e9\\ud83d\\ude00\\n\"", "\"a\xc3\xa9\xf0\x9f\x98\x80\\n\"", NULL);
  lc_arena_free(&a);
}

static void expect_name(struct lc_slice got, const char *want) {
  if (!lc_slice_eq_str(got, want)) fail_msg("got %.*s, want %s", (int)got.len, (const char *)got.data, want);
}

static void test_golden_modules(void **state) { /* spec/01 §18 cases 33-35 */
  (void)state;
  struct lc_arena a = {0};
  struct lc_module_def *def;
  struct lc_error err = {0};
  if (lc_module_def_decode(from_hex(&a, g1_hex), &def, &err) != LC_OK) fail_msg("%s", err.text);
  assert_int_equal(def->n_tables, 1);
  expect_name(def->tables[0].indexes[0].name, "player_id_idx_btree");
  expect_name(def->tables[0].constraints[0].name, "player_id_key");
  expect_name(def->tables[0].sequences[0].name, "player_id_seq");
  assert_int_equal(def->tables[0].primary_key, 0);
  assert_true(def->tables[0].is_public);
  assert_false(def->reducers[0].is_private);
  lc_module_def_free(def);
  if (lc_module_def_decode(from_hex(&a, g2_hex), &def, &err) != LC_OK) fail_msg("%s", err.text);
  assert_int_equal(def->n_tables, 3);
  expect_name(def->tables[0].name, "players");
  expect_name(def->tables[0].accessor, "player");
  expect_name(def->tables[0].columns[2].name, "level_2");
  static const char *const indexes[] = {"players_id_idx_btree", "players_name_idx_btree", "players_level_2_idx_hash", "p_two"};
  for (int i = 0; i < 4; i++) expect_name(def->tables[0].indexes[i].name, indexes[i]);
  assert_true(def->tables[1].is_event);
  expect_name(def->tables[2].schedule_name, "timer_sched");
  expect_name(def->tables[2].schedule_function, "tick");
  assert_int_equal(def->n_reducers, 3);
  static const char *const reducers[] = {"tick", "init", "on_c"};
  for (int i = 0; i < 3; i++) {
    expect_name(def->reducers[i].name, reducers[i]);
    assert_true(def->reducers[i].is_private);
  }
  expect_name(def->views[0].name, "vv");
  expect_name(def->views[1].name, "v_1");
  assert_int_equal(def->views[0].primary_key, 0);
  assert_true(def->tables[0].columns[3].has_default);
  lc_module_def_free(def);
  if (lc_module_def_decode(from_hex(&a, g3_hex), &def, &err) != LC_OK) fail_msg("%s", err.text);
  assert_int_equal(def->reducers[0].lifecycle, LC_LIFECYCLE_INIT);
  expect_name(def->tables[0].indexes[0].name, "t_id_idx_btree");
  lc_module_def_free(def);
  static const char *const empty[] = {"0200000000", "01" "000000000000000000000000" "000000000000000000000000", "00" "00000000000000000000000000000000"};
  for (int i = 0; i < 3; i++) {
    if (lc_module_def_decode(from_hex(&a, empty[i]), &def, &err) != LC_OK) fail_msg("%s: %s", empty[i], err.text);
    assert_int_equal(def->n_tables + def->n_reducers, 0);
    lc_module_def_free(def);
  }
  assert_int_not_equal(lc_module_def_decode(from_hex(&a, "020100000011"), &def, &err), LC_OK);
  assert_int_not_equal(lc_module_def_decode(from_hex(&a, "02010000000f"), &def, &err), LC_OK); /* payload cut off */
  /* every truncation of a definition fails cleanly */
  struct lc_slice g2 = from_hex(&a, g2_hex);
  for (size_t n = 0; n < g2.len; n++) assert_int_not_equal(lc_module_def_decode(lc_slice(g2.data, n), &def, &err), LC_OK);
  lc_arena_free(&a);
}

/* ---- exported schema (spec/01 §15, spec/07 §4.7) ---- */

/* spec/01 §18 case 22 */
static void test_type_as_json(void **state) {
  (void)state;
  struct lc_arena a = {0};
  struct lc_buf out = {0};
  lc_json_write_type(&out, type_of(&a, OPTION_U8));
  lc_buf_u8(&out, 0);
  assert_string_equal((char *)out.data, "{\"Sum\":{\"variants\":[{\"name\":{\"some\":\"some\"},\"algebraic_type\":{\"U8\":[]}},"
                                        "{\"name\":{\"some\":\"none\"},\"algebraic_type\":{\"Product\":{\"elements\":[]}}}]}}");
  lc_buf_free(&out);
  lc_arena_free(&a);
}

static void test_exported_schema(void **state) {
  (void)state;
  struct lc_arena a = {0};
  struct lc_buf out = {0};
  struct lc_error err = {0};
  struct lc_module_def *def = decode(from_hex(&a, g1_hex));
  export_schema(def, 9, &out);
  assert_string_equal((char *)out.data, /* spec/01 §15 */
                      "{\"typespace\":{\"types\":[{\"Product\":{\"elements\":[{\"name\":{\"some\":\"id\"},\"algebraic_type\":{\"U64\":[]}},{\"name\":{\"some\":\"name\"},"
                      "\"algebraic_type\":{\"String\":[]}}]}},{\"Product\":{\"elements\":[{\"name\":{\"some\":\"name\"},\"algebraic_type\":{\"String\":[]}}]}}]},"
                      "\"tables\":[{\"name\":\"player\",\"product_type_ref\":0,\"primary_key\":[0],"
                      "\"indexes\":[{\"name\":{\"some\":\"player_id_idx_btree\"},\"accessor_name\":{\"some\":\"id\"},\"algorithm\":{\"BTree\":[0]}}],"
                      "\"constraints\":[{\"name\":{\"some\":\"player_id_key\"},\"data\":{\"Unique\":{\"columns\":[0]}}}],"
                      "\"sequences\":[{\"name\":{\"some\":\"player_id_seq\"},\"column\":0,\"start\":{\"none\":[]},\"min_value\":{\"none\":[]},\"max_value\":{\"none\":[]},"
                      "\"increment\":1}],\"schedule\":{\"none\":[]},\"table_type\":{\"User\":[]},\"table_access\":{\"Public\":[]}}],"
                      "\"reducers\":[{\"name\":\"add\",\"params\":{\"elements\":[{\"name\":{\"some\":\"name\"},\"algebraic_type\":{\"String\":[]}}]},\"lifecycle\":{\"none\":[]}}],"
                      "\"types\":[{\"name\":{\"scope\":[],\"name\":\"Add\"},\"ty\":1,\"custom_ordering\":true},{\"name\":{\"scope\":[],\"name\":\"Player\"},\"ty\":0,"
                      "\"custom_ordering\":true}],\"misc_exports\":[],\"row_level_security\":[]}");
  export_schema(def, 10, &out);
  assert_true(strstr((char *)out.data, "{\"sections\":[{\"CaseConversionPolicy\":{\"None\":[]}},{\"Typespace\":{\"types\":[") == (char *)out.data);
  assert_non_null(strstr((char *)out.data, ",{\"Tables\":[{\"source_name\":\"player\",\"product_type_ref\":0,"));
  assert_non_null(strstr((char *)out.data, ",{\"ExplicitNames\":{\"entries\":[{\"Table\":{\"source_name\":\"player\",\"canonical_name\":\"player\"}},"
                                           "{\"Function\":{\"source_name\":\"add\",\"canonical_name\":\"add\"}}]}}]}"));
  assert_null(strstr((char *)out.data, "Procedures"));
  size_t before = out.len;
  assert_int_equal(lc_module_def_json(def, 11, &out, &err), LC_INVALID);
  assert_int_equal(out.len, before);
  lc_module_def_free(def);

  def = decode(from_hex(&a, g2_hex));
  export_schema(def, 10, &out);
  const char *at = (char *)out.data;
  static const char *const sections[] = {"CaseConversionPolicy", "Typespace", "Types", "Tables", "Reducers", "Procedures", "HttpHandlers", "HttpRoutes", "Views",
                                         "ViewPrimaryKeys", "Schedules", "LifeCycleReducers", "RowLevelSecurity", "ExplicitNames"};
  for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) { /* in this order */
    char text[40];
    snprintf(text, sizeof text, "{\"%s\":", sections[i]);
    at = strstr(at, text);
    if (!at) fail_msg("no %s in its place", sections[i]);
  }
  static const char *const parts[] = {"{\"name\":{\"some\":\"redApple\"},", "{\"name\":{\"some\":\"level_2\"},", "{\"name\":{\"some\":\"scheduled_id\"},",
                                      "\"default_values\":[{\"col_id\":3,\"value\":\"00\"}]", "\"method\":{\"Method\":{\"Get\":[]}},\"path\":\"/hello\"",
                                      "\"method\":{\"Any\":[]},\"path\":\"/x\"", "{\"view_source_name\":\"v1\",\"columns\":[\"id\"]}",
                                      "\"table_name\":\"timer\",\"schedule_at_col\":1,\"function_name\":\"tick\"", "{\"lifecycle_spec\":{\"OnConnect\":[]},\"function_name\":\"on_c\"}",
                                      "{\"Function\":{\"source_name\":\"hello\",\"canonical_name\":\"hello\"}}", "{\"source_name\":\"onC\",\"params\":{\"elements\":[]},\"visibility\":{\"Private\":[]}"};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    if (!strstr((char *)out.data, parts[i])) fail_msg("no %s in %s", parts[i], (char *)out.data);
  export_schema(def, 9, &out);
  assert_non_null(strstr((char *)out.data, "\"misc_exports\":[{\"ColumnDefaultValue\":{\"table\":\"players\",\"col_id\":3,\"value\":\"00\"}},{\"Procedure\":{\"name\":\"proc\","));
  assert_non_null(strstr((char *)out.data, "\"schedule\":{\"some\":{\"name\":{\"some\":\"timer_sched\"},\"reducer_name\":\"tick\",\"scheduled_at_column\":1}}"));
  /* what tables hold has canonical names inside, too */
  const struct lc_type *color = def->tables[0].row_type->fields[3].type;
  expect_name(color->fields[0].name, "redApple");
  expect_name(def->tables[0].columns[2].accessor, "Level2");
  lc_module_def_free(def);
  static const char *const golden[] = {g1_hex, g2_hex, g3_hex, "0200000000"};
  for (int i = 0; i < 4; i++) {
    expect_stable_export(from_hex(&a, golden[i]), 9);
    if (i != 2) expect_stable_export(from_hex(&a, golden[i]), 10);
  }
  def = decode(from_hex(&a, g3_hex)); /* V9 leaves lifecycle reducers callable, V10 does not: the V10 export of a V9 module changes once */
  export_schema(def, 10, &out);
  assert_non_null(strstr((char *)out.data, "\"visibility\":{\"ClientCallable\":[]}"));
  lc_module_def_free(def);
  /* environment: spec/07 §4.1 with its union out of order and doubled */
  struct lc_slice env = from_hex(&a, "02010000000f02000000040000004d4f444502030000000400000070726f6403000000646576030000006465760006000000524547494f4e010200000065750"
                                     "1");
  def = decode(env);
  assert_int_equal(def->n_env, 2);
  assert_int_equal(def->env[0].n_literals, 2);
  export_schema(def, 10, &out);
  assert_non_null(strstr((char *)out.data, ",{\"Environment\":[{\"name\":\"MODE\",\"ty\":{\"Union\":[\"dev\",\"prod\"]},\"optional\":false},"
                                           "{\"name\":\"REGION\",\"ty\":{\"StringLiteral\":\"eu\"},\"optional\":true}]},{\"Typespace\""));
  lc_module_def_free(def);
  expect_stable_export(env, 10);
  lc_buf_free(&out);
  lc_arena_free(&a);
}

static void refuse_module(struct lc_arena *a, const char *hex, const char *text) {
  struct lc_module_def *def;
  struct lc_error err = {0};
  assert_int_not_equal(lc_module_def_decode(from_hex(a, hex), &def, &err), LC_OK);
  if (!strstr(err.text, text)) fail_msg("got %s, want %s", err.text, text);
}

static void test_refused_modules(void **state) {
  (void)state;
  struct lc_arena a = {0};
  /* Types: ERROR_X → 999999, alone and in a scope; a name twice; a name that is no UTF-8 */
  refuse_module(&a, "02010000000101000000" "00000000" "070000004552524f525f58" "3f420f00" "01", "Errors occurred:\nType \"ERROR_X\" has invalid ref: &999999");
  refuse_module(&a, "02010000000101000000" "010000000100000073" "0100000074" "07000000" "01", "Type \"s\"::\"t\" has invalid ref: &7");
  refuse_module(&a, "02020000000001000000020000000001020000000000000001000000740000000001" "00000000010000005400000000" "01", "DuplicateTypeName");
  refuse_module(&a, "02010000000301000000" "02000000c328" "00000000" "01" "0200000000" "04", "error decoding module description");
  /* reducer r with ok type U8 */
  refuse_module(&a, "02010000000301000000" "0100000072" "00000000" "01" "07" "04", "InvalidReducerReturnType");
  /* routes */
  refuse_module(&a, "02020000000b01000000010000006" "8" "0c01000000" "0100000068" "00" "010000007a", "InvalidHttpRoutePath");
  refuse_module(&a, "02010000000c01000000" "0100000068" "00" "00000000", "MissingHttpHandler");
  refuse_module(&a, "02020000000b010000000100000068" "0c02000000" "0100000068" "00" "00000000" "0100000068" "0100" "00000000", "DuplicateHttpRoute");
  /* environment */
  refuse_module(&a, "02010000000f01000000" "02000000" "3141" "0000", "invalid environment declaration: invalid name");
  refuse_module(&a, "02010000000f01000000" "0100000041" "0200000000" "00", "invalid environment declaration: environment key \"A\": string union must not be empty");
  refuse_module(&a, "02010000000f02000000" "0100000041" "0000" "0100000041" "0000", "environment key \"A\": duplicate declaration");
  /* default of a missing table in V9 */
  refuse_module(&a, "01" "00000000" "00000000" "00000000" "00000000" "01000000" "00" "0100000074" "0000" "00000000" "00000000", "TableNotFound");
  /* a repeated section: the first one counts (here: two environments) */
  struct lc_module_def *def = decode(from_hex(&a, "0202000000" "0f010000000100000041" "0000" "0f010000000100000042" "0000"));
  assert_int_equal(def->n_env, 1);
  expect_name(def->env[0].name, "A");
  lc_module_def_free(def);
  /* types that double at every level: t0 = (U8,U8), tn = (&n-1,&n-1), and a table of t30 */
  struct lc_buf bomb = {0};
  lc_buf_u8(&bomb, 2);
  lc_buf_u32(&bomb, 3);
  lc_buf_u8(&bomb, 0);
  lc_buf_u32(&bomb, 31);
  for (uint32_t i = 0; i <= 30; i++) {
    lc_buf_u8(&bomb, 2);
    lc_buf_u32(&bomb, 2);
    for (int k = 0; k < 2; k++) {
      lc_buf_u8(&bomb, 0);
      lc_buf_bsatn_str(&bomb, k ? "b" : "a");
      lc_buf_u8(&bomb, i ? LC_T_REF : LC_T_U8);
      if (i) lc_buf_u32(&bomb, i - 1);
    }
  }
  lc_buf_u8(&bomb, 1); /* all are named types */
  lc_buf_u32(&bomb, 31);
  for (uint32_t i = 0; i <= 30; i++) {
    char name[8];
    snprintf(name, sizeof name, "T%u", i);
    lc_buf_u32(&bomb, 0);
    lc_buf_bsatn_str(&bomb, name);
    lc_buf_u32(&bomb, i);
    lc_buf_u8(&bomb, 1);
  }
  lc_buf_u8(&bomb, 2);
  lc_buf_u32(&bomb, 1);
  lc_buf_bsatn_str(&bomb, "t");
  lc_buf_u32(&bomb, 30);
  for (int i = 0; i < 4; i++) lc_buf_u32(&bomb, 0);
  lc_buf_u16(&bomb, 1);
  lc_buf_u32(&bomb, 0);
  lc_buf_u8(&bomb, 0);
  struct lc_error err = {0};
  assert_int_not_equal(lc_module_def_decode(lc_buf_slice(&bomb), &def, &err), LC_OK);
  if (!strstr(err.text, "types without references would take more than")) fail_msg("%s", err.text);
  lc_buf_free(&bomb);
  lc_arena_free(&a);
}

/* Tables refused and accepted (spec/01 §18 cases 36 to 43): V9 definitions with one table of columns b: U16, a: I32, s: String, e: a plain enum by reference. */
#define BTREE(n, columns) "0101" "00" n columns
#define UNIQUE_ON(n, columns) "0100" n columns
#define NONE "00000000"
#define ONE "01000000"
#define TWO "02000000"
static void test_tables(void **state) {
  (void)state;
  static const struct { const char *name, *primary, *indexes, *constraints, *sequences, *want; uint32_t row_type; bool ordered, is_system; } cases[] = {
      {"Bananas", NONE, NONE, NONE, NONE, NULL, 0, false, false},
      {"Bananas", NONE, NONE, NONE, NONE, "InvalidProductTypeRef", 1337, false, false},
      {"Bananas", NONE, NONE, NONE, NONE, "TypeHasIncorrectOrdering", 0, true, false},
      {"Bananas", NONE, ONE BTREE(TWO, "00003700"), NONE, NONE, "ColumnNotFound", 0, false, false},
      {"Bananas", NONE, ONE BTREE(TWO, "00003700"), NONE, NONE, "Bananas_b_col_55_idx_btree", 0, false, false},
      {"Bananas", NONE, ONE BTREE(TWO, "00000000"), NONE, NONE, "DuplicateColumns", 0, false, false},
      {"Bananas", NONE, NONE, ONE UNIQUE_ON(ONE, "0100"), NONE, "UniqueConstraintWithoutIndex", 0, false, false},
      {"Bananas", NONE, ONE BTREE(TWO, "01000000"), ONE UNIQUE_ON(TWO, "00000100"), NONE, NULL, 0, false, false},
      {"Bananas", ONE "0000", ONE BTREE(ONE, "0000"), NONE, NONE, "MissingPrimaryKeyUniqueConstraint", 0, false, false},
      {"Bananas", ONE "0000", ONE BTREE(ONE, "0000"), ONE UNIQUE_ON(ONE, "0000"), NONE, NULL, 0, false, false},
      {"Bananas", TWO "00000100", NONE, NONE, NONE, "RepeatedPrimaryKey", 0, false, false},
      {"Bananas", NONE, NONE, NONE, ONE "01" "0200" "010101" "01000000000000000000000000000000", "InvalidSequenceColumnType", 0, false, false},
      {"Bananas", NONE, NONE, NONE, ONE "01" "0100" "010101" "01000000000000000000000000000000", NULL, 0, false, false},
      {"Bananas", NONE, NONE, NONE, TWO "01" "0100" "010101" "01000000000000000000000000000000" "01" "0100" "010101" "01000000000000000000000000000000", "OneAutoInc", 0, false, false},
      {"Bananas", NONE, NONE, NONE, ONE "01" "0100" "0001000000000000000000000000000000" "0005000000000000000000000000000000" "01" "01000000000000000000000000000000",
       "specifies unsupported option `min_value` with value 5, should be None", 0, false, false}, /* spec/07: no range may be stated */
      {"Bananas", NONE, ONE "0101" "02" "0100", NONE, NONE, "DirectIndexOnBadType", 0, false, false},
      {"Bananas", NONE, ONE "0101" "02" "0300", ONE UNIQUE_ON(ONE, "0300"), NONE, NULL, 0, false, false},
      {"Bananas", NONE, ONE "0101" "01" ONE "0100", NONE, NONE, NULL, 0, false, false},
      {"st_foo", NONE, NONE, NONE, NONE, "TableNameReserved", 0, false, false},
      {"st_foo", NONE, NONE, NONE, NONE, NULL, 0, false, true},
  };
  struct lc_arena a = {0};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const struct lc_type_field no_payload = {lc_slice_str("X"), true, lc_type_new_product(&a, 0, NULL)};
    struct lc_type *ref = lc_arena_alloc_zero(&a, 1, sizeof *ref);
    *ref = (struct lc_type){.kind = LC_T_REF, .static_size_bytes = LC_SIZE_DYNAMIC, .ref = 1};
    struct lc_type_field columns[] = {{lc_slice_str("b"), true, lc_type_primitive(LC_T_U16)}, {lc_slice_str("a"), true, lc_type_primitive(LC_T_I32)},
                                      {lc_slice_str("s"), true, lc_type_primitive(LC_T_STRING)}, {lc_slice_str("e"), true, ref}};
    struct lc_buf b = {0};
    lc_buf_u8(&b, 1);
    lc_buf_u32(&b, 2);
    lc_type_encode(&b, lc_type_new_product(&a, 4, columns));
    lc_type_encode(&b, lc_type_new_sum(&a, 1, &no_payload));
    lc_buf_u32(&b, 1);
    lc_buf_bsatn_str(&b, cases[i].name);
    lc_buf_u32(&b, cases[i].row_type);
    const char *parts[] = {cases[i].primary, cases[i].indexes, cases[i].constraints, cases[i].sequences};
    for (int k = 0; k < 4; k++) lc_buf_slice_append(&b, from_hex(&a, parts[k]));
    lc_buf_u8(&b, 1); /* no schedule */
    lc_buf_u8(&b, !cases[i].is_system);
    lc_buf_u8(&b, 0);
    lc_buf_u32(&b, 0); /* reducers */
    lc_buf_u32(&b, 2); /* named types */
    for (uint32_t k = 0; k < 2; k++) {
      lc_buf_u32(&b, 0);
      lc_buf_bsatn_str(&b, k ? "E" : "Row");
      lc_buf_u32(&b, k);
      lc_buf_u8(&b, !cases[i].ordered);
    }
    lc_buf_u32(&b, 0);
    lc_buf_u32(&b, 0);
    struct lc_module_def *def;
    struct lc_error err = {0};
    bool ok = lc_module_def_decode(lc_buf_slice(&b), &def, &err) == LC_OK;
    if (ok) lc_module_def_free(def);
    if (ok != !cases[i].want || (cases[i].want && !strstr(err.text, cases[i].want))) fail_msg("definition %zu: got %s, want %s", i, ok ? "acceptance" : err.text, cases[i].want ? cases[i].want : "acceptance");
    lc_buf_free(&b);
  }
  lc_arena_free(&a);
}

/* Damaged definitions are refused or give something that can be exported; nothing crashes. */
static void test_damaged_modules(void **state) {
  (void)state;
  struct lc_arena a = {0};
  static const char *const golden[] = {g1_hex, g2_hex, g3_hex};
  uint64_t seed = 0x9e3779b97f4a7c15u;
  struct lc_buf out = {0};
  for (int g = 0; g < 3; g++) {
    struct lc_slice raw = from_hex(&a, golden[g]);
    uint8_t *copy = lc_alloc(raw.len);
    for (int round = 0; round < 3000; round++) {
      memcpy(copy, raw.data, raw.len);
      for (int k = 0; k <= round % 3; k++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        copy[(seed >> 33) % raw.len] = (uint8_t)(seed >> 25);
      }
      struct lc_module_def *def;
      if (lc_module_def_decode(lc_slice(copy, raw.len), &def, NULL) != LC_OK) continue;
      export_schema(def, round & 1 ? 9 : 10, &out);
      lc_module_def_free(def);
    }
    lc_free(copy);
  }
  lc_buf_free(&out);
  lc_arena_free(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_types),    cmocka_unit_test(test_bsatn_errors), cmocka_unit_test(test_order),
                                     cmocka_unit_test(test_identity), cmocka_unit_test(test_json),         cmocka_unit_test(test_golden_modules),
                                     cmocka_unit_test(test_exported_schema), cmocka_unit_test(test_type_as_json), cmocka_unit_test(test_refused_modules), cmocka_unit_test(test_damaged_modules), cmocka_unit_test(test_tables)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
