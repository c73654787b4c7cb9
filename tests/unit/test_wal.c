/* The commit log: golden bytes, reopening, torn tails at every byte, damage refused, rotation, locks, failing syncs. */
#include "wal/wal.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static struct lc_error err;
static char dir[64];

static void fresh_dir(void) {
  strcpy(dir, "/tmp/lightcone-wal-XXXXXX");
  assert_non_null(mkdtemp(dir));
}
static void remove_dir(void) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", dir);
  assert_int_equal(system(command), 0);
}
static struct lc_wal *open_log(const struct lc_fs *fs, uint64_t max_segment_bytes) {
  struct lc_wal_options o = {.max_segment_bytes = max_segment_bytes};
  struct lc_wal *w;
  if (lc_wal_open(fs, dir, &o, &w, &err) != LC_OK) fail_msg("%s", err.text);
  return w;
}
static size_t read_segment(uint64_t first, uint8_t *out, size_t size) {
  char path[128];
  snprintf(path, sizeof path, "%s/clog/%020llu.stdb.log", dir, (unsigned long long)first);
  FILE *f = fopen(path, "rb");
  assert_non_null(f);
  size_t n = fread(out, 1, size, f);
  fclose(f);
  return n;
}
static void write_segment(uint64_t first, const uint8_t *data, size_t n) {
  char path[128];
  snprintf(path, sizeof path, "%s/clog/%020llu.stdb.log", dir, (unsigned long long)first);
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(data, 1, n, f), n);
  fclose(f);
}

struct seen { uint64_t n; uint64_t sum; };
static enum lc_status on_commit(void *ctx, uint64_t first, struct lc_slice records, uint32_t n_tx, size_t *used, struct lc_error *e) {
  (void)e;
  struct seen *s = ctx;
  assert_int_equal(first, s->n);
  s->n += n_tx;
  for (size_t i = 0; i < records.len; i++) s->sum += records.data[i];
  *used = records.len;
  return LC_OK;
}

static void test_golden(void **state) { /* spec/06 §10.2 */
  (void)state;
  fresh_dir();
  struct lc_wal *w = open_log(&lc_fs_posix, 0);
  uint8_t payload[4] = {0x20, 0, 0, 0}, got[256], want[36];
  assert_int_equal(lc_wal_append(w, lc_slice(payload, 4)), 0);
  lc_wal_submit(w);
  assert_true(lc_wal_wait_durable(w, 1));
  lc_wal_close(w);
  assert_true(lc_hex_decode("286473295e3201000000" "00000000000000000000000000000000010004000000" "20000000", 72, want));
  assert_int_equal(read_segment(0, got, sizeof got), 40);
  assert_memory_equal(got, want, 36);
  assert_true(lc_hex_decode("d534f8ed", 8, want));
  assert_memory_equal(got + 36, want, 4);
  remove_dir();
}

static void append_some(struct lc_wal *w, uint64_t n) {
  for (uint64_t i = 0; i < n; i++) {
    uint8_t payload[200];
    size_t len = 5 + i * 7 % 150;
    memset(payload, (int)i, len);
    lc_wal_append(w, lc_slice(payload, len));
    if (i % 3 == 0) lc_wal_submit(w);
  }
  lc_wal_submit(w);
  assert_true(lc_wal_wait_durable(w, lc_wal_next_offset(w)));
}

static void test_reopen_and_rotate(void **state) {
  (void)state;
  fresh_dir();
  for (uint64_t round = 0; round < 5; round++) {
    struct lc_wal *w = open_log(&lc_fs_posix, 2000);
    struct seen s = {0};
    assert_int_equal(lc_wal_next_offset(w), round * 100);
    assert_int_equal(lc_wal_replay(w, 0, on_commit, &s, &err), LC_OK);
    assert_int_equal(s.n, round * 100);
    append_some(w, 100);
    lc_wal_close(w);
  }
  char command[128];
  snprintf(command, sizeof command, "test $(ls %s/clog | wc -l) -gt 10", dir);
  assert_int_equal(system(command), 0);
  remove_dir();
}

/* Cut the segment anywhere: what is whole before the cut is kept, nothing else, and the log goes on from there. */
static void test_torn_tail(void **state) {
  (void)state;
  static uint8_t bytes[4096];
  fresh_dir();
  struct lc_wal *w = open_log(&lc_fs_posix, 0);
  append_some(w, 6);
  lc_wal_close(w);
  size_t n = read_segment(0, bytes, sizeof bytes);
  for (size_t cut = 0; cut <= n; cut++) {
    uint64_t whole = 0;
    for (size_t at = 10;;) {
      uint32_t len;
      if (at + 26 > cut) break;
      memcpy(&len, bytes + at + 18, 4);
      at += 26 + len;
      if (at > cut) break;
      whole++;
    }
    write_segment(0, bytes, cut);
    w = open_log(&lc_fs_posix, 0);
    struct seen s = {0};
    assert_int_equal(lc_wal_replay(w, 0, on_commit, &s, &err), LC_OK);
    assert_int_equal(s.n, whole);
    assert_int_equal(lc_wal_next_offset(w), whole);
    lc_wal_append(w, lc_slice_str("again"));
    lc_wal_close(w);
    w = open_log(&lc_fs_posix, 0);
    assert_int_equal(lc_wal_next_offset(w), whole + 1);
    lc_wal_close(w);
  }
  remove_dir();
}

/* A flipped bit in any commit but the last is refused; in the last it is a torn tail. */
static void test_damage(void **state) {
  (void)state;
  static uint8_t bytes[4096];
  fresh_dir();
  struct lc_wal *w = open_log(&lc_fs_posix, 0);
  append_some(w, 6);
  lc_wal_close(w);
  size_t n = read_segment(0, bytes, sizeof bytes), last = 10;
  for (int i = 0; i < 5; i++) {
    uint32_t len;
    memcpy(&len, bytes + last + 18, 4);
    last += 26 + len;
  }
  for (size_t at = 0; at < n; at++) {
    if (at == 7 || at == 8 || at == 9) continue; /* checksum kind is checked elsewhere; the rest is reserved */
    bytes[at] ^= 0x10;
    write_segment(0, bytes, n);
    bytes[at] ^= 0x10;
    struct lc_wal_options o = {0};
    enum lc_status st = lc_wal_open(&lc_fs_posix, dir, &o, &w, &err);
    if (at < last) {
      if (st == LC_OK) fail_msg("a flipped bit at byte %zu went unnoticed", at);
      assert_int_equal(st, LC_CORRUPT);
    } else {
      assert_int_equal(st, LC_OK);
      assert_int_equal(lc_wal_next_offset(w), 5);
      lc_wal_close(w);
    }
  }
  remove_dir();
}

static void test_lock(void **state) {
  (void)state;
  fresh_dir();
  struct lc_wal *w = open_log(&lc_fs_posix, 0), *second;
  struct lc_wal_options o = {0};
  assert_int_equal(lc_wal_open(&lc_fs_posix, dir, &o, &second, &err), LC_CONFLICT);
  lc_wal_close(w);
  w = open_log(&lc_fs_posix, 0);
  lc_wal_close(w);
  remove_dir();
}

static atomic_int syncs_left;
static int failing_sync(void *ctx, int fd) {
  (void)ctx;
  return atomic_fetch_sub(&syncs_left, 1) > 0 ? lc_fs_posix.sync(NULL, fd) : -5;
}
static atomic_int failures;
static void on_failed(void *ctx, const char *text) {
  (void)ctx;
  (void)text;
  atomic_fetch_add(&failures, 1);
}

/* After a failed sync nothing more becomes durable, even when later syncs would succeed. */
static void test_failed_sync(void **state) {
  (void)state;
  fresh_dir();
  struct lc_fs fs = lc_fs_posix;
  fs.sync = failing_sync;
  atomic_store(&syncs_left, 3);
  struct lc_wal_options o = {.failed = on_failed};
  struct lc_wal *w;
  assert_int_equal(lc_wal_open(&fs, dir, &o, &w, &err), LC_OK);
  uint64_t durable = 0;
  for (int i = 0; i < 10; i++) {
    lc_wal_append(w, lc_slice_str("x"));
    lc_wal_submit(w);
    if (!lc_wal_wait_durable(w, lc_wal_next_offset(w))) break;
    durable = lc_wal_next_offset(w);
  }
  atomic_store(&syncs_left, 1000);
  lc_wal_append(w, lc_slice_str("y"));
  lc_wal_submit(w);
  assert_false(lc_wal_wait_durable(w, lc_wal_next_offset(w)));
  assert_int_equal(lc_wal_durable_end(w), durable);
  assert_int_equal(atomic_load(&failures), 1);
  lc_wal_close(w);
  remove_dir();
}

static int os_threads(void) {
  DIR *d = opendir("/proc/self/task");
  int n = -2; /* . and .. */
  while (d && readdir(d)) n++;
  if (d) closedir(d);
  return n;
}

/* A log has a writer only while it has something to write: hundreds of logs share a few threads, and closing the last ends them. */
static void test_many_logs(void **state) {
  enum { n_logs = 200, rounds = 20 };
  (void)state;
  static struct lc_wal *logs[n_logs];
  char root[64];
  fresh_dir();
  strcpy(root, dir);
  int before = os_threads();
  for (int i = 0; i < n_logs; i++) {
    snprintf(dir, sizeof dir, "%.40s/%d", root, i);
    assert_int_equal(mkdir(dir, 0755), 0);
    logs[i] = open_log(&lc_fs_posix, 0);
  }
  assert_int_equal(os_threads() - before, 1); /* idle logs own no thread */
  int most = 0;
  for (int r = 0; r < rounds; r++) {
    for (int i = 0; i < n_logs; i++) {
      append_some(logs[i], 1 + (uint64_t)(r % 3));
      lc_wal_submit(logs[i]);
    }
    int now = os_threads() - before;
    if (now > most) most = now;
  }
  assert_in_range(most, 1, 32);
  for (int i = 0; i < n_logs; i++) {
    assert_true(lc_wal_wait_durable(logs[i], lc_wal_next_offset(logs[i])));
    lc_wal_close(logs[i]);
  }
  for (int i = 0; i < 100 && os_threads() > before; i++) usleep(10000);
  assert_int_equal(os_threads(), before);
  uint64_t expected = 0;
  for (int r = 0; r < rounds; r++) expected += 1 + (uint64_t)(r % 3);
  for (int i = 0; i < n_logs; i += 37) {
    struct seen seen = {0};
    snprintf(dir, sizeof dir, "%.40s/%d", root, i);
    struct lc_wal *w = open_log(&lc_fs_posix, 0);
    assert_int_equal(lc_wal_replay(w, 0, on_commit, &seen, &err), LC_OK);
    assert_int_equal(seen.n, expected);
    lc_wal_close(w);
  }
  strcpy(dir, root);
  remove_dir();
}

int main(void) {
  lc_log_threshold = LC_LOG_ERROR;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden), cmocka_unit_test(test_reopen_and_rotate), cmocka_unit_test(test_torn_tail),
                                     cmocka_unit_test(test_damage), cmocka_unit_test(test_lock),              cmocka_unit_test(test_failed_sync), cmocka_unit_test(test_many_logs)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
