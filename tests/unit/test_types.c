/* Types, BSATN, SATS-JSON, identities and module definitions against the vectors of spec/01. */
#include "golden_modules.h"
#include "types/types.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
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

static void test_identity(void **state) { /* spec/01 §6.2 */
  (void)state;
  struct lc_identity id, parsed;
  char hex[65];
  lc_identity_from_claims(lc_slice_str("localhost"), lc_slice_str("alice"), &id);
  lc_identity_hex(&id, hex);
  assert_string_equal(hex, "c20035600353a2e93544d898c6ed0eac323e200c0468300f22958f8b472a265d");
  assert_true(lc_identity_parse(lc_slice_str("0xC20035600353a2e93544d898c6ed0eac323e200c0468300f22958f8b472a265d"), &parsed));
  assert_memory_equal(&parsed, &id, sizeof id);
  assert_false(lc_identity_parse(lc_slice_str("c20035600353a2e93544d898c6ed0eac323e200c0468300f22958f8b472a265"), &parsed));
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
  expect_json(option, "5", NULL, NULL);
  expect_json(lc_type_identity(), "{\"__identity__\":\"0x1\"}", "[\"0x1\"]", NULL);
  expect_json(lc_type_identity(), "\"0x1\"", NULL, NULL);
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
  assert_int_equal(lc_module_def_decode(from_hex(&a, "0200000000"), &def, &err), LC_OK);
  lc_module_def_free(def);
  assert_int_not_equal(lc_module_def_decode(from_hex(&a, "020100000011"), &def, &err), LC_OK);
  assert_int_not_equal(lc_module_def_decode(from_hex(&a, "02010000000f"), &def, &err), LC_OK);
  /* every truncation of a definition fails cleanly */
  struct lc_slice g2 = from_hex(&a, g2_hex);
  for (size_t n = 0; n < g2.len; n++) assert_int_not_equal(lc_module_def_decode(lc_slice(g2.data, n), &def, &err), LC_OK);
  lc_arena_free(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_types),    cmocka_unit_test(test_bsatn_errors), cmocka_unit_test(test_order),
                                     cmocka_unit_test(test_identity), cmocka_unit_test(test_json),         cmocka_unit_test(test_golden_modules)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
