/* Hashes, hexadecimal, buffers, readers, arenas, files by day of base/. */
#include "base/base.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

static void expect_hex(const uint8_t *got, size_t n, const char *want) {
  char hex[129];
  lc_hex_encode(got, n, hex);
  assert_string_equal(hex, want);
}

static void test_hashes(void **state) {
  (void)state;
  uint8_t out[32];
  lc_keccak256(lc_slice_str("abc"), out); /* spec/01 §18 case 10 */
  expect_hex(out, 32, "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45");
  lc_keccak256(lc_slice_str(""), out); /* spec/01 §6.3 */
  expect_hex(out, 32, "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470");
  lc_blake3(lc_slice_str("localhost|alice"), out); /* spec/01 §6.2 */
  expect_hex(out, 32, "a2e93544d898c6ed0eac323e200c0468300f22958f8b472a265d01b7980e21eb");
  lc_blake3(lc_slice_str("|"), out);
  expect_hex(out, 32, "a9e297433bebb02948c311291ae6291a1666f9e697a56b43050188002bcbee2d");
  assert_int_equal(lc_crc32c(0, "123456789", 9), 0xe3069283u); /* spec/06 §10.1 */
  assert_int_equal(lc_crc32c(lc_crc32c(0, "1234", 4), "56789", 5), 0xe3069283u);
}

/* Inputs over one chunk take the tree path; a published vector: 1,025 bytes of 0..250 repeating. */
static void test_blake3_tree(void **state) {
  (void)state;
  uint8_t input[2049], out[32];
  for (size_t i = 0; i < sizeof input; i++) input[i] = (uint8_t)(i % 251);
  lc_blake3(lc_slice(input, 1025), out);
  expect_hex(out, 32, "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444");
}

static void test_varint(void **state) {
  (void)state;
  const uint64_t values[] = {0, 1, 127, 128, 300, UINT32_MAX, UINT64_MAX};
  struct lc_buf b = {0};
  for (size_t i = 0; i < 7; i++) lc_buf_varint(&b, values[i]);
  struct lc_reader r = lc_reader(lc_buf_slice(&b));
  for (size_t i = 0; i < 7; i++) assert_true(lc_read_varint(&r) == values[i]);
  assert_false(r.failed);
  assert_int_equal(lc_reader_left(&r), 0);
  lc_read_varint(&r);
  assert_true(r.failed);
  lc_buf_free(&b);
}

static void test_reader_bounds(void **state) {
  (void)state;
  uint8_t bytes[] = {5, 0, 0, 0, 'a'};
  struct lc_reader r = lc_reader(lc_slice(bytes, sizeof bytes));
  assert_null(lc_read_bytes(&r).data);
  assert_true(r.failed);
  assert_int_equal(lc_read_u64(&r), 0);
}

static void test_arena(void **state) {
  (void)state;
  struct lc_arena a = {0};
  for (int round = 0; round < 3; round++) {
    for (size_t i = 1; i < 2000; i++) {
      uint8_t *p = lc_arena_alloc(&a, i);
      assert_int_equal((uintptr_t)p % 16, 0);
      memset(p, (int)i, i);
    }
    lc_arena_reset(&a);
  }
  lc_arena_free(&a);
}

/* What something large has needed is not kept for good. */
static void test_room_is_given_back(void **state) {
  (void)state;
  struct lc_buf b = {0};
  assert_true(lc_buf_reserve(&b, 100000));
  b.len = 100000;
  memset(b.data, 7, b.len);
  lc_buf_trim(&b, 1 << 20);
  assert_true(b.cap >= 100000 && b.len == 0);
  b.failed = true;
  lc_buf_trim(&b, 4096);
  assert_int_equal(b.cap, 4096);
  assert_true(b.data && b.len == 0 && lc_buf_ok(&b));
  lc_buf_free(&b);
  lc_buf_trim(&b, 4096);
  assert_null(b.data);

  struct lc_arena a = {0};
  uint8_t *first = lc_arena_alloc(&a, 100);
  assert_non_null(first);
  assert_non_null(lc_arena_alloc(&a, 3 << 20));
  lc_arena_reset(&a);
  assert_ptr_equal(lc_arena_alloc(&a, 100), first);
  lc_arena_free(&a);
  assert_non_null(lc_arena_alloc(&a, 3 << 20));
  lc_arena_reset(&a);
  assert_null(a.head);
  assert_non_null(lc_arena_alloc(&a, 100));
  lc_arena_free(&a);
}

static void test_error_context(void **state) {
  (void)state;
  struct lc_error err;
  assert_int_equal(lc_fail(&err, LC_INVALID, "no %s", "rows"), LC_INVALID);
  assert_int_equal(lc_fail_context(&err, "table %d", 7), LC_INVALID);
  assert_string_equal(err.text, "table 7: no rows");
  lc_fail(&err, LC_IO, "again: %s", err.text); /* the argument may be the old text */
  assert_string_equal(err.text, "again: table 7: no rows");
}

/* Names of the files there are, oldest first, with their sizes. */
static void expect_files(const struct lc_day_files *f, const char *want) {
  struct lc_day_file *files;
  uint32_t n;
  char got[1024] = "";
  assert_true(lc_day_files_list(f, &files, &n));
  for (uint32_t i = 0; i < n; i++) snprintf(got + strlen(got), sizeof got - strlen(got), "%lld.%u:%llu ", (long long)files[i].day, files[i].number, (unsigned long long)files[i].bytes);
  assert_string_equal(got, want);
  lc_free(files);
}
/* Days are days of UTC, a file that is full gets a number, what is too old or too much goes and nothing else does. */
static void test_day_files(void **state) {
  (void)state;
  char dir[] = "/tmp/test_base_XXXXXX", other[64], command[64];
  assert_non_null(mkdtemp(dir));
  struct lc_day_files f = {.dir = dir, .prefix = "x.", .max_days = 3, .max_bytes = 800, .fd = -1};
  struct lc_slice line = lc_slice_str("0123456789012345678901234567890123456789012345678\n"); /* 50 bytes: two of them fill a file */
  const int64_t day = 20000, s = day * 86400;
  snprintf(other, sizeof other, "%s/x.2024-1-1.log", dir);
  FILE *not_ours = fopen(other, "we");
  assert_non_null(not_ours);
  fclose(not_ours);
  assert_int_equal(lc_day_files_append(&f, line, s), 0);
  assert_int_equal(lc_day_files_append(&f, line, s + 86399), 0);
  expect_files(&f, "20000.10000:100 ");
  assert_int_equal(lc_day_files_append(&f, line, s + 86399), 0); /* full: rotated first */
  expect_files(&f, "20000.1:100 20000.10000:50 ");
  assert_int_equal(lc_day_files_append(&f, line, s + 86400), 0);
  expect_files(&f, "20000.1:100 20000.10000:50 20001.10000:50 ");
  f.keep_open = true; /* somebody reads: it grows */
  for (int i = 0; i < 3; i++) assert_int_equal(lc_day_files_append(&f, line, s + 86400), 0);
  expect_files(&f, "20000.1:100 20000.10000:50 20001.10000:200 ");
  f.keep_open = false;
  for (int i = 0; i < 12; i++) assert_int_equal(lc_day_files_append(&f, line, s + 86400), 0); /* the oldest go: 800 bytes are kept when a file is begun */
  expect_files(&f, "20000.10000:50 20001.1:200 20001.2:100 20001.3:100 20001.4:100 20001.5:100 20001.6:100 20001.10000:100 ");
  lc_day_files_close(&f); /* after a restart it goes on in today's file */
  assert_int_equal(lc_day_files_append(&f, lc_slice_str("a\n"), s + 86400), 0);
  expect_files(&f, "20001.1:200 20001.2:100 20001.3:100 20001.4:100 20001.5:100 20001.6:100 20001.10000:102 ");
  assert_int_equal(lc_day_files_append(&f, line, s + 4 * 86400), 0); /* three days are kept */
  expect_files(&f, "20004.10000:50 ");
  f.max_days = 0;
  f.max_bytes = 10; /* today's file stays whatever its size */
  lc_day_files_trim(&f, day + 4);
  expect_files(&f, "20004.10000:50 ");
  lc_day_files_close(&f);
  assert_int_equal(access(other, F_OK), 0);
  snprintf(command, sizeof command, "rm -r %s", dir);
  assert_int_equal(system(command), 0);
  assert_int_equal(lc_day_files_append(&f, line, s), 50); /* nowhere to write */
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_hashes),        cmocka_unit_test(test_blake3_tree), cmocka_unit_test(test_varint),
                                     cmocka_unit_test(test_reader_bounds), cmocka_unit_test(test_arena), cmocka_unit_test(test_room_is_given_back),       cmocka_unit_test(test_error_context), cmocka_unit_test(test_day_files)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
