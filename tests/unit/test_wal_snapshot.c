/* Snapshot files: golden bytes, round trips, every byte flipped, every length, blocks out of place, names, every file call and allocation failing in turn. */
#include "wal/wal.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include "failing_fs.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct lc_error err;
static char dir[64];
static const struct lc_snapfile_head head = {.database = {{1, 2, 3}}, .tx_offset = 77, .epoch = 5, .created_us = 1700000000000000};

static int64_t allocs_left = -1;
static bool may_fail(size_t n) {
  (void)n;
  return allocs_left >= 0 && allocs_left-- == 0;
}
static int set_up(void **state) {
  (void)state;
  strcpy(dir, "/tmp/lightcone-snapfile-XXXXXX");
  return mkdtemp(dir) ? 0 : -1;
}
static int tear_down(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", dir);
  return system(command);
}
static const char *file(uint64_t offset, const char *suffix) {
  static char path[128];
  snprintf(path, sizeof path, "%s/snapshots/%020llu.snapshot%s", dir, (unsigned long long)offset, suffix);
  return path;
}
static size_t slurp(const char *path, uint8_t *out, size_t size) {
  FILE *f = fopen(path, "rb");
  assert_non_null(f);
  size_t n = fread(out, 1, size, f);
  fclose(f);
  return n;
}
static void spit(const char *path, const uint8_t *data, size_t n) {
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(data, 1, n, f), n);
  fclose(f);
}

/* Three tables; the blocks of one of them are of very different lengths. */
static enum lc_status write_some(const struct lc_fs *fs, uint64_t offset, size_t big) {
  struct lc_snapfile_head h = head;
  struct lc_snapfile *f;
  h.tx_offset = offset;
  uint8_t *rows = malloc(big);
  memset(rows, 'r', big);
  enum lc_status st = lc_snapfile_create(fs, dir, &h, &f, &err);
  if (st == LC_OK) {
    st = lc_snapfile_add(f, 1, lc_slice_str("one row"), 1, &err);
    if (st == LC_OK) st = lc_snapfile_add(f, 7, lc_slice(NULL, 0), 1, &err); /* a row without bytes */
    if (st == LC_OK) st = lc_snapfile_add(f, 4096, lc_slice(rows, big), 1, &err);
    if (st == LC_OK) st = lc_snapfile_add(f, 4096, lc_slice_str("two rows"), 2, &err);
    if (st == LC_OK) st = lc_snapfile_finish(f, &err);
    if (st == LC_OK) st = lc_snapfile_publish(f, &err);
    else lc_snapfile_discard(f);
  }
  free(rows);
  return st;
}
struct seen { uint32_t n; uint64_t rows; size_t bytes; uint32_t crc; };
static enum lc_status on_block(void *ctx, uint32_t table_id, struct lc_slice rows, uint64_t n_rows, struct lc_error *e) {
  struct seen *s = ctx;
  (void)e;
  s->n++;
  s->rows += n_rows;
  s->bytes += rows.len;
  s->crc = lc_crc32c(lc_crc32c(s->crc, &table_id, 4), rows.data, rows.len);
  return LC_OK;
}

static void test_golden(void **state) {
  (void)state;
  struct lc_snapfile *f;
  uint8_t got[512], want[256];
  static const char text[] = "894c43534e41500a" "01000000" "00000000" "0102030000000000000000000000000000000000000000000000000000000000" "4d00000000000000" "0500000000000000" "00401e18240a0600"
                             "00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000";
  assert_int_equal(lc_snapfile_create(&lc_fs_posix, dir, &head, &f, &err), LC_OK);
  assert_int_equal(lc_snapfile_add(f, 4096, lc_slice_str("abc"), 3, &err), LC_OK);
  assert_int_equal(access(file(77, ""), F_OK), -1);
  assert_int_equal(lc_snapfile_finish(f, &err), LC_OK);
  assert_int_equal(access(file(77, ""), F_OK), -1); /* nothing counts before it is published */
  assert_int_equal(access(file(77, ".tmp"), F_OK), 0);
  assert_int_equal(lc_snapfile_publish(f, &err), LC_OK);
  assert_int_equal(access(file(77, ".tmp"), F_OK), -1);
  assert_int_equal(slurp(file(77, ""), got, sizeof got), 128 + 32 + 3 + 64);
  assert_true(lc_hex_decode(text, 2 * 124, want));
  assert_memory_equal(got, want, 124);
  uint32_t crc = lc_crc32c(0, got, 124), block_crc, ends[9];
  assert_memory_equal(got + 124, &crc, 4);
  assert_true(lc_hex_decode("01000000001000000000000000000000" "030000000000000003000000", 56, want));
  assert_memory_equal(got + 128, want, 28);
  block_crc = lc_crc32c(lc_crc32c(0, got + 128, 28), "abc", 3);
  assert_memory_equal(got + 156, &block_crc, 4);
  assert_memory_equal(got + 160, "abc", 3);
  assert_true(lc_hex_decode("02000000000000000100000000000000" "000000000000000020000000", 56, want));
  assert_memory_equal(got + 163, want, 28);
  memcpy(ends, got + 195, sizeof ends - 4);
  const uint32_t want_ends[8] = {1, 0, 3, 0, 227, 0, lc_crc32c(0, &block_crc, 4), 0};
  assert_memory_equal(ends, want_ends, sizeof want_ends);
}

static void test_round_trip(void **state) {
  (void)state;
  struct lc_snapfile_head h;
  struct seen a = {0};
  uint64_t *offsets;
  uint32_t n;
  assert_int_equal(lc_snapfile_list(&lc_fs_posix, dir, &offsets, &n, &err), LC_OK); /* no folder yet */
  assert_int_equal(n, 0);
  assert_int_equal(write_some(&lc_fs_posix, 300, 20 << 20), LC_OK); /* longer than what is written and synced at once */
  assert_int_equal(write_some(&lc_fs_posix, UINT64_MAX, 10), LC_OK);
  assert_int_equal(write_some(&lc_fs_posix, 5, 10), LC_OK);
  assert_int_equal(lc_snapfile_read(&lc_fs_posix, dir, 300, &h, on_block, &a, &err), LC_OK);
  assert_int_equal(a.n, 4);
  assert_int_equal(a.rows, 5);
  assert_int_equal(a.bytes, (20 << 20) + 15);
  assert_memory_equal(&h.database, &head.database, sizeof h.database);
  assert_true(h.tx_offset == 300 && h.epoch == 5 && h.created_us == head.created_us);
  spit(file(6, ".tmp"), (const uint8_t *)"x", 1);
  spit(file(7, ".damaged"), (const uint8_t *)"x", 1);
  char name[160];
  snprintf(name, sizeof name, "%s/snapshots/99999999999999999999.snapshot", dir);
  spit(name, (const uint8_t *)"x", 1);
  snprintf(name, sizeof name, "%s/snapshots/8.snapshot", dir);
  spit(name, (const uint8_t *)"x", 1);
  assert_int_equal(lc_snapfile_list(&lc_fs_posix, dir, &offsets, &n, &err), LC_OK);
  assert_int_equal(n, 3);
  assert_true(offsets[0] == 5 && offsets[1] == 300 && offsets[2] == UINT64_MAX);
  lc_free(offsets);
  assert_int_equal(lc_snapfile_remove_temporary(&lc_fs_posix, dir, &err), LC_OK);
  assert_int_equal(access(file(6, ".tmp"), F_OK), -1);
  assert_int_equal(access(file(7, ".damaged"), F_OK), 0);
  assert_int_equal(lc_snapfile_set_aside(&lc_fs_posix, dir, 300, &err), LC_OK);
  assert_int_equal(access(file(300, ".damaged"), F_OK), 0);
  assert_int_equal(lc_snapfile_read(&lc_fs_posix, dir, 300, &h, NULL, NULL, &err), LC_NOT_FOUND);
  assert_int_equal(lc_snapfile_remove(&lc_fs_posix, dir, 5, &err), LC_OK);
  assert_int_equal(lc_snapfile_remove(&lc_fs_posix, dir, 5, &err), LC_OK);
  assert_int_equal(lc_snapfile_list(&lc_fs_posix, dir, &offsets, &n, &err), LC_OK);
  assert_int_equal(n, 1);
  lc_free(offsets);
}

static enum lc_status read_bytes(const uint8_t *bytes, size_t n) {
  struct lc_snapfile_head h;
  spit(file(77, ""), bytes, n);
  memset(&err, 0, sizeof err);
  enum lc_status st = lc_snapfile_read(&lc_fs_posix, dir, 77, &h, NULL, NULL, &err);
  if (st != LC_OK && (!strstr(err.text, ".snapshot at byte ") || !strstr(err.text, "expected") || !strstr(err.text, "found"))) fail_msg("not exact: %s", err.text);
  return st;
}

/* Whatever byte differs, wherever the file ends, whichever blocks are exchanged: it is noticed, and said where. */
static void test_damage(void **state) {
  (void)state;
  static uint8_t bytes[4096], other[4096];
  assert_int_equal(write_some(&lc_fs_posix, 77, 300), LC_OK);
  size_t n = slurp(file(77, ""), bytes, sizeof bytes - 1);
  for (size_t at = 0; at < n; at++)
    for (unsigned flip = 1; flip < 256; flip = flip == 1 ? 0x80 : flip == 0x80 ? 0xff : 256) {
      bytes[at] ^= (uint8_t)flip;
      if (read_bytes(bytes, n) != LC_CORRUPT) fail_msg("byte %zu changed by %02x: %s", at, flip, err.text);
      bytes[at] ^= (uint8_t)flip;
    }
  for (size_t len = 0; len < n; len++)
    if (read_bytes(bytes, len) != LC_CORRUPT) fail_msg("cut to %zu bytes: %s", len, err.text);
  assert_int_equal(read_bytes(bytes, n + 1), LC_CORRUPT);
  assert_int_equal(read_bytes(bytes, n), LC_OK);
  size_t first = 128, second = first + 32 + 7, third = second + 32;
  memcpy(other, bytes, n);
  memcpy(other + first, bytes + second, third - second);
  memcpy(other + first + (third - second), bytes + first, second - first);
  assert_int_equal(read_bytes(other, n), LC_CORRUPT);
  memcpy(other, bytes, first);
  memcpy(other + first, bytes + third, n - third);
  assert_int_equal(read_bytes(other, n - (third - first)), LC_CORRUPT);
  struct lc_snapfile_head h;
  spit(file(78, ""), bytes, n); /* another one's name */
  assert_int_equal(lc_snapfile_read(&lc_fs_posix, dir, 78, &h, NULL, NULL, &err), LC_CORRUPT);
  assert_non_null(strstr(err.text, "expected offset 78"));
  memcpy(other, bytes, n);
  other[8] = 2;
  uint32_t crc = lc_crc32c(0, other, 124);
  memcpy(other + 124, &crc, 4);
  spit(file(77, ""), other, n);
  assert_int_equal(lc_snapfile_read(&lc_fs_posix, dir, 77, &h, NULL, NULL, &err), LC_UNSUPPORTED);
}

/* A length that promises gigabytes costs no memory when the file is short. */
static void test_long_promise(void **state) {
  (void)state;
  static uint8_t bytes[4096];
  assert_int_equal(write_some(&lc_fs_posix, 77, 300), LC_OK);
  size_t n = slurp(file(77, ""), bytes, sizeof bytes);
  uint32_t promise = 1 << 30;
  memcpy(bytes + 128 + 24, &promise, 4);
  assert_int_equal(read_bytes(bytes, n), LC_CORRUPT);
  assert_non_null(strstr(err.text, "expected 1073741856 bytes of a block"));
  promise = UINT32_MAX;
  memcpy(bytes + 128 + 24, &promise, 4);
  assert_int_equal(read_bytes(bytes, n), LC_CORRUPT);
}

/* Each call fails once: then either there is no such snapshot or it is whole, and no temporary file is in the way of the next attempt. */
static void test_every_failure(void **state) {
  (void)state;
  struct lc_fs fs = failing_fs();
  struct lc_snapfile_head h;
  enum lc_status st;
  int with_memory = 0, with_files = 0, published = 0;
  for (int kind = 0; kind < 2; kind++)
    for (long i = 0;; i++) {
      if (kind) allocs_left = i;
      else fs_fail_at(i);
      lc_alloc_may_fail = kind ? may_fail : NULL;
      fs_errno = i % 2 ? ENOSPC : EIO;
      unlink(file(9, ""));
      st = write_some(&fs, 9, 3 << 20);
      bool done = kind ? allocs_left >= 0 : !atomic_load(&fs_failed);
      fs_fail_at(-1);
      lc_alloc_may_fail = NULL;
      allocs_left = -1;
      if (done) {
        assert_int_equal(st, LC_OK);
        break;
      }
      kind ? with_memory++ : with_files++;
      if (st != LC_OK) assert_int_equal(st, kind ? LC_NOMEM : LC_IO);
      enum lc_status written = st;
      st = lc_snapfile_read(&lc_fs_posix, dir, 9, &h, NULL, NULL, &err);
      if (written == LC_OK) assert_int_equal(st, LC_OK); /* it did without: the unlink of a file that is not there, a larger buffer than needed */
      published += st == LC_OK && written != LC_OK;
      if (st != LC_OK && st != LC_NOT_FOUND) fail_msg("failure %ld: %s", i, err.text);
    }
  assert_true(with_memory >= 5 && with_files >= 8);
  assert_int_equal(published, 1); /* the last sync of the folder failed */
  /* reading */
  for (int kind = 0; kind < 2; kind++)
    for (long i = 0;; i++) {
      struct seen s = {0};
      if (kind) allocs_left = i;
      else fs_fail_at(i);
      lc_alloc_may_fail = kind ? may_fail : NULL;
      st = lc_snapfile_read(&fs, dir, 9, &h, on_block, &s, &err);
      bool done = kind ? allocs_left >= 0 : !atomic_load(&fs_failed);
      fs_fail_at(-1);
      lc_alloc_may_fail = NULL;
      allocs_left = -1;
      assert_int_equal(st, done ? LC_OK : kind ? LC_NOMEM : LC_IO);
      if (done) break;
    }
}

static enum lc_status refuse(void *ctx, uint32_t table_id, struct lc_slice rows, uint64_t n_rows, struct lc_error *e) {
  (void)rows;
  (void)n_rows;
  return table_id == 4096 ? lc_fail(e, *(enum lc_status *)ctx, "not such rows") : LC_OK;
}
static void test_refused_rows(void **state) {
  (void)state;
  struct lc_snapfile_head h;
  enum lc_status want = LC_CORRUPT;
  assert_int_equal(write_some(&lc_fs_posix, 77, 300), LC_OK);
  assert_int_equal(lc_snapfile_read(&lc_fs_posix, dir, 77, &h, refuse, &want, &err), LC_CORRUPT);
  assert_non_null(strstr(err.text, "00077.snapshot at byte 199: block 2: not such rows"));
  want = LC_NOMEM;
  assert_int_equal(lc_snapfile_read(&lc_fs_posix, dir, 77, &h, refuse, &want, &err), LC_NOMEM);
  struct lc_snapfile *f;
  assert_int_equal(lc_snapfile_create(&lc_fs_posix, dir, &head, &f, &err), LC_OK);
  assert_int_equal(lc_snapfile_add(f, 1, lc_slice("", LC_SNAPFILE_MAX_BLOCK_BYTES + 1ul), 1, &err), LC_LIMIT);
  lc_snapfile_discard(f);
  assert_int_equal(access(file(77, ".tmp"), F_OK), -1);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_golden, set_up, tear_down), cmocka_unit_test_setup_teardown(test_round_trip, set_up, tear_down),
                                     cmocka_unit_test_setup_teardown(test_damage, set_up, tear_down), cmocka_unit_test_setup_teardown(test_long_promise, set_up, tear_down),
                                     cmocka_unit_test_setup_teardown(test_every_failure, set_up, tear_down), cmocka_unit_test_setup_teardown(test_refused_rows, set_up, tear_down)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
