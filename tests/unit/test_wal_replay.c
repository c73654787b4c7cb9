/* Reading logs that are long enough for a thread of their own: the same as without it, whatever is wrong and wherever. */
#include "base/base.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include "wal_folder.h"
#include <sys/stat.h>

enum { transactions = 30000, segment_bytes = 1 << 20, large_bytes = 700000 };

/* Transaction n: bytes from n on; a few are longer than what is read at once. */
static size_t payload_bytes(uint64_t n) { return n % 9000 == 4000 ? large_bytes : n % 7 == 0 ? 1 : 20 + n * 37 % 300; }
static void make_log(void) {
  static uint8_t bytes[large_bytes];
  struct lc_wal *w = open_log(&lc_fs_posix, segment_bytes);
  for (uint64_t n = 0; n < transactions; n++) {
    memset(bytes, (int)(n & 0xff), payload_bytes(n));
    lc_wal_append(w, lc_slice(bytes, payload_bytes(n)));
    if (n % 50 == 0) lc_wal_submit(w);
  }
  lc_wal_close(w);
}

struct seen { uint64_t first, next, stop_at, short_at; };
static enum lc_status on_commit(void *ctx, uint64_t first, struct lc_slice records, uint32_t n_tx, size_t *consumed, struct lc_error *e) {
  struct seen *s = ctx;
  if (s->next == UINT64_MAX) s->first = s->next = first;
  assert_int_equal(first, s->next);
  assert_int_equal(n_tx, 1);
  assert_int_equal(records.len, payload_bytes(first));
  for (size_t i = 0; i < records.len; i++)
    if (records.data[i] != (uint8_t)first) fail_msg("transaction %llu, byte %zu", (unsigned long long)first, i);
  if (first == s->stop_at) return lc_fail(e, LC_LIMIT, "enough");
  s->next++;
  *consumed = records.len - (first == s->short_at);
  return LC_OK;
}
static struct seen replay(bool by_hand, uint64_t from, uint64_t stop_at, uint64_t short_at, enum lc_status want) {
  struct lc_wal_options o = {.max_segment_bytes = segment_bytes, .by_hand = by_hand};
  struct lc_wal *w;
  struct seen s = {0, UINT64_MAX, stop_at, short_at};
  memset(&err, 0, sizeof err);
  enum lc_status st = lc_wal_open(&lc_fs_posix, dir, &o, &w, &err);
  if (st == LC_OK) {
    st = lc_wal_replay(w, from, on_commit, &s, &err);
    lc_wal_close(w);
  }
  if (st != want) fail_msg("%d instead of %d: %s", (int)st, (int)want, err.text);
  return s;
}
/* With the thread and without it; by the text of an error too. */
static struct seen both(uint64_t from, uint64_t stop_at, uint64_t short_at, enum lc_status want) {
  char text[sizeof err.text];
  struct seen a = replay(true, from, stop_at, short_at, want);
  memcpy(text, err.text, sizeof text);
  struct seen b = replay(false, from, stop_at, short_at, want);
  assert_string_equal(text, err.text);
  assert_int_equal(a.first, b.first);
  assert_int_equal(a.next, b.next);
  return b;
}

static void everything(void **state) {
  (void)state;
  static const uint64_t from[] = {0, 1, 3999, 4000, 4001, 15000, transactions - 1};
  fresh_dir();
  make_log();
  for (int compressed = 0; compressed < 2; compressed++) {
    for (size_t i = 0; i < sizeof from / sizeof *from; i++) {
      struct seen s = both(from[i], UINT64_MAX, UINT64_MAX, LC_OK);
      assert_int_equal(s.first, from[i]);
      assert_int_equal(s.next, transactions);
    }
    assert_int_equal(both(0, 29000, UINT64_MAX, LC_LIMIT).next, 29000); /* the caller has had enough: before the thread, while it reads, when it has read all */
    assert_int_equal(both(0, 10, UINT64_MAX, LC_LIMIT).next, 10);
    assert_int_equal(both(0, 16000, UINT64_MAX, LC_LIMIT).next, 16000);
    assert_int_equal(both(0, UINT64_MAX, 20000, LC_CORRUPT).next, 20001);
    assert_non_null(strstr(err.text, "commit of offset 20000: expected records of"));
    struct lc_wal *w = open_log(&lc_fs_posix, segment_bytes);
    assert_int_equal(lc_wal_compress(w, transactions, NULL, &err), LC_OK);
    lc_wal_close(w);
  }
  remove_dir();
}

/* A flipped bit: everything before it is given, then the error names file, position and offset. Also where its commit does not fit what is read at once. */
static void damage(void **state) {
  (void)state;
  fresh_dir();
  make_log();
  uint64_t firsts[64], n = 0;
  for (uint64_t i = 0; i < transactions; i++)
    if (has_segment(i)) firsts[n++] = i;
  assert_true(n > 6);
  for (uint64_t k = 0; k + 1 < n; k++) {
    struct stat st;
    assert_int_equal(stat(segment_path(firsts[k]), &st), 0);
    size_t size = (size_t)st.st_size;
    uint8_t *bytes = malloc(size);
    assert_int_equal(read_segment(firsts[k], bytes, size), size);
    size_t places[] = {15, size / 3, size / 2, size - 3};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
      uint64_t offset = firsts[k];
      size_t at = 10; /* the commit with that byte */
      while (at + 22 + payload_bytes(offset) + 4 <= places[i]) at += 22 + payload_bytes(offset++) + 4;
      char named[200];
      bytes[places[i]] ^= 4;
      write_segment(firsts[k], bytes, size);
      struct seen s = both(0, UINT64_MAX, UINT64_MAX, LC_CORRUPT);
      assert_int_equal(s.next == UINT64_MAX ? 0 : s.next, offset);
      snprintf(named, sizeof named, "%s: commit at byte position %zu (offset %llu): ", segment_path(firsts[k]), at, (unsigned long long)offset);
      if (!strstr(err.text, named)) fail_msg("expected %s, found %s", named, err.text);
      bytes[places[i]] ^= 4;
    }
    write_segment(firsts[k], bytes, size);
    free(bytes);
  }
  assert_int_equal(unlink(segment_path(firsts[4])), 0); /* one is lacking */
  assert_int_equal(both(0, UINT64_MAX, UINT64_MAX, LC_CORRUPT).next, firsts[4]);
  remove_dir();
}

/* A file that cannot be read from some place on, where the thread reads: it is said, and is no damage. */
static uint64_t fail_from;
static int64_t read_flaky(void *ctx, int fd, void *out, size_t n, uint64_t at) { return at + n > fail_from ? -5 : lc_fs_posix.read_at(ctx, fd, out, n, at); }
static void unreadable(void **state) {
  (void)state;
  struct lc_fs flaky = lc_fs_posix;
  flaky.read_at = read_flaky;
  fail_from = UINT64_MAX;
  fresh_dir();
  make_log();
  struct lc_wal *w = open_log(&flaky, segment_bytes);
  struct seen s = {0, UINT64_MAX, UINT64_MAX, UINT64_MAX};
  fail_from = segment_bytes + 100000; /* only the segments that end with a large transaction are that long */
  assert_int_equal(lc_wal_replay(w, 5000, on_commit, &s, &err), LC_IO);
  assert_int_equal(s.first, 5000);
  assert_true(s.next >= 12000 && s.next <= 13000);
  assert_non_null(strstr(err.text, "cannot be read"));
  lc_wal_close(w);
  remove_dir();
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(everything), cmocka_unit_test(damage), cmocka_unit_test(unreadable)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
