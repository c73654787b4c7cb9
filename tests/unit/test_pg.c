/* PostgreSQL's protocol (spec/04 §10): framing, and results as bytes. */
#include "api/server.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

/* The text of a value as the only field of a row, and its type number. */
static uint32_t shown(const struct lc_type *type, const void *value, size_t len, char *text, size_t size) {
  struct lc_error err = {0};
  struct lc_buf out = {0};
  const struct lc_type_field field = {.type = type};
  const struct lc_type row = {.kind = LC_T_PRODUCT, .static_size_bytes = LC_SIZE_DYNAMIC, .n_fields = 1, .fields = &field};
  pg_form.begin(&out, &row);
  assert_int_equal(out.data[0], 'T');
  assert_memory_equal(out.data + 5, "\0\1col_0\0", 8);
  uint32_t oid = (uint32_t)out.data[19] << 24 | (uint32_t)out.data[20] << 16 | (uint32_t)out.data[21] << 8 | out.data[22];
  lc_buf_clear(&out);
  assert_int_equal(pg_form.row(&out, &row, lc_slice(value, len), 0, &err), LC_OK);
  size_t n = out.len - 11;
  assert_int_equal(out.data[0], 'D');
  assert_int_equal(out.data[4], n + 10);
  assert_int_equal(out.data[10], n);
  assert_true(n < size);
  memcpy(text, out.data + 11, n);
  text[n] = 0;
  lc_buf_free(&out);
  return oid;
}
static void expect(const struct lc_type *type, const void *value, size_t len, uint32_t oid, const char *wanted) {
  char text[256];
  assert_int_equal(shown(type, value, len, text, sizeof text), oid);
  assert_string_equal(text, wanted);
}
#define VALUE(...) (const uint8_t[]){__VA_ARGS__}, sizeof (const uint8_t[]){__VA_ARGS__}

static void values(void **state) {
  (void)state;
  struct lc_arena arena = {0};
  const struct lc_type *u8 = lc_type_primitive(LC_T_U8), *i32 = lc_type_primitive(LC_T_I32), *text = lc_type_primitive(LC_T_STRING), *i64 = lc_type_primitive(LC_T_I64);
  uint8_t wide[32];
  memset(wide, 255, sizeof wide);
  expect(lc_type_primitive(LC_T_BOOL), VALUE(1), 16, "t");
  expect(u8, VALUE(200), 21, "200");
  expect(lc_type_primitive(LC_T_I8), VALUE(255), 21, "-1");
  expect(lc_type_primitive(LC_T_U16), VALUE(255, 255), 23, "65535");
  expect(lc_type_primitive(LC_T_U32), VALUE(255, 255, 255, 255), 20, "4294967295");
  expect(lc_type_primitive(LC_T_U64), wide, 8, 1700, "18446744073709551615");
  expect(lc_type_primitive(LC_T_U128), wide, 16, 1700, "340282366920938463463374607431768211455");
  expect(lc_type_primitive(LC_T_I256), wide, 32, 1700, "-1");
  expect(lc_type_primitive(LC_T_U256), wide, 32, 1700, "115792089237316195423570985008687907853269984665640564039457584007913129639935");
  memset(wide, 0, 15);
  wide[15] = 0x80;
  expect(lc_type_primitive(LC_T_I128), wide, 16, 1700, "-170141183460469231731687303715884105728");
  expect(lc_type_primitive(LC_T_F32), VALUE(0, 0, 0xc0, 0x3f), 700, "1.5");
  expect(lc_type_primitive(LC_T_F64), VALUE(0, 0, 0, 0, 0, 0, 0xf0, 0x3f), 701, "1");
  expect(lc_type_primitive(LC_T_F64), VALUE(0, 0, 0, 0, 0, 0, 0xf0, 0xff), 701, "-Infinity");
  expect(text, VALUE(3, 0, 0, 0, 'a', '"', 'b'), 1043, "a\"b");
  expect(lc_type_new_array(&arena, u8), VALUE(2, 0, 0, 0, 1, 0xab), 17, "\\x01ab");
  expect(lc_type_new_array(&arena, i32), VALUE(2, 0, 0, 0, 1, 0, 0, 0, 255, 255, 255, 255), 1007, "{1,-1}");
  expect(lc_type_new_array(&arena, text), VALUE(2, 0, 0, 0, 1, 0, 0, 0, 'a', 2, 0, 0, 0, '"', '\\'), 1015, "{\"a\",\"\\\"\\\\\"}");
  memset(wide, 0, sizeof wide);
  wide[0] = 7;
  expect(lc_type_identity(), wide, 32, 17, "\\x0000000000000000000000000000000000000000000000000000000000000007");
  expect(lc_type_connection_id(), wide, 16, 17, "\\x00000000000000000000000000000007");
  const int64_t us = 1622545800000;
  expect(lc_type_timestamp(), &us, 8, 1114, "1970-01-19T18:42:25.800+00:00");
  const struct lc_type *option = lc_type_new_option(&arena, i64);
  expect(option, VALUE(0, 1, 0, 0, 0, 0, 0, 0, 0), 114, "{\"some\": 1}"); /* the two of the spec */
  expect(option, VALUE(1), 114, "{\"none\": {}}");
  const struct lc_type *unit = lc_type_new_product(&arena, 0, NULL);
  const struct lc_type_field colours[] = {{lc_slice_str("red"), true, unit}, {lc_slice_str("blue"), true, unit}}, point[] = {{lc_slice_str("x"), true, i32}, {lc_slice_str("y"), true, text}, {.type = lc_type_identity()}};
  expect(lc_type_new_sum(&arena, 2, colours), VALUE(1), 3500, "blue");
  uint8_t row[4 + 5 + 32] = {1, 0, 0, 0, 1, 0, 0, 0, 'a', 7};
  expect(lc_type_new_product(&arena, 3, point), row, sizeof row, 114, "{\"x\": 1, \"y\": \"a\", \"col_2\": \"0x0000000000000000000000000000000000000000000000000000000000000007\"}");
  lc_arena_free(&arena);
}

static void tags(void **state) {
  (void)state;
  struct lc_buf out = {0};
  const struct lc_type unit = {.kind = LC_T_PRODUCT};
  pg_form.begin(&out, &unit);
  assert_int_equal(out.len, 0);
  pg_form.end(&out, &unit, 0, &(struct lc_dml_counts){.inserted = 1, .updated = 2}, 1720);
  assert_int_equal(out.data[0], 'C');
  assert_string_equal((const char *)out.data + 5, "inserted: 1, updated: 2, server: 1.72ms");
  assert_int_equal(out.data[4] + 1, out.len);
  lc_buf_free(&out);
}

static void framing(void **state) {
  (void)state;
  static const uint8_t query[] = {'Q', 0, 0, 0, 6, ';', 0, 'X'}, start[] = {0, 0, 0, 9, 0, 3, 0, 0, 0};
  struct lc_pg_message m;
  for (size_t n = 0; n < 7; n++) assert_int_equal(lc_pg_read(lc_slice(query, n), false, 100, &m), 0);
  assert_int_equal(lc_pg_read(lc_slice(query, 8), false, 100, &m), 7);
  assert_true(m.type == 'Q' && m.body.len == 2);
  assert_int_equal(lc_pg_read(lc_slice(query, 5), false, 5, &m), SIZE_MAX);
  for (size_t n = 0; n < 9; n++) assert_int_equal(lc_pg_read(lc_slice(start, n), true, 100, &m), 0);
  assert_int_equal(lc_pg_read(lc_slice(start, 9), true, 100, &m), 9);
  assert_int_equal(lc_pg_read(lc_slice((const uint8_t[]){0, 0, 0, 7}, 4), true, 100, &m), SIZE_MAX);
  assert_int_equal(lc_pg_read(lc_slice((const uint8_t[]){'S', 0, 0, 0, 3}, 5), false, 100, &m), SIZE_MAX);
  struct lc_buf out = {0};
  static const char wanted[] = "E\0\0\0\x1eSERROR\0VERROR\0CXX000\0Mno\0\0Z\0\0\0\5I";
  lc_pg_error(&out, "ERROR", "XX000", lc_slice_str("no"));
  lc_pg_ready(&out);
  assert_int_equal(out.len, sizeof wanted - 1);
  assert_memory_equal(out.data, wanted, out.len);
  lc_buf_free(&out);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(values), cmocka_unit_test(tags), cmocka_unit_test(framing)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
