/* The commit log: golden bytes, reopening, torn tails at every byte, damage refused, rotation, locks, failing syncs. */
#include "wal/wal.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include "wal_folder.h"
#include <dirent.h>
#include <sys/stat.h>

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
  assert_int_equal(lc_wal_reserve(w, (uint64_t)1 << 32, &err), LC_LIMIT);
  assert_string_equal(err.text, "the record of a transaction cannot have 4294967296 bytes, only 4294967295");
  assert_int_equal(lc_wal_reserve(w, 4, &err), LC_OK);
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

/* spec/06 §10.2: the real commit and the synthetic one with a reducer call, byte for byte both ways; §21 cases 14 and 15: any flipped bit is a checksum error. */
static void test_golden_commits(void **state) {
  (void)state;
  static const struct { uint64_t offset; const char *hex; } golden[] = {
      {3, "03000000000000000000000000000000010088000000" "a04c0000000c73656e645f6d657373616765" "1ad49e8797aeebfb48dac7f50417c4df7540633f52681071545178bd18f200c2" "5045ca3bc37d2f62bedc61278a525756"
          "cc38b4cda53c0600" "030000006f6d67" "01" "0110000001" "1ad49e8797aeebfb48dac7f50417c4df7540633f52681071545178bd18f200c2" "cc38b4cda53c0600" "030000006f6d67" "0000" "151b5921"},
      {7, "07000000000000000000000000000000010063000000" "a04500000003616464" "0100000000000000000000000000000000000000000000000000000000000000" "00000000000000000000000000000000" "00401e18240a0600"
          "0500000068656c6c6f" "010010000001" "0100000000000000" "0500000068656c6c6f" "0000" "59bbdb8d"}};
  assert_int_equal(lc_crc32c(0, "123456789", 9), 0xe3069283u);
  for (size_t g = 0; g < sizeof golden / sizeof *golden; g++) {
    uint8_t want[256], got[1024];
    size_t n = strlen(golden[g].hex) / 2;
    assert_true(lc_hex_decode(golden[g].hex, 2 * n, want));
    fresh_dir();
    struct lc_wal *w = open_log(&lc_fs_posix, 0);
    for (uint64_t i = 0; i < golden[g].offset; i++) lc_wal_append(w, lc_slice_str("a"));
    lc_wal_append(w, lc_slice(want + 22, n - 26)); /* the records */
    lc_wal_close(w);
    size_t all = read_segment(0, got, sizeof got);
    assert_int_equal(all, 10 + golden[g].offset * 27 + n);
    assert_memory_equal(got + all - n, want, n);
    struct lc_wal_scan_end end;
    char clog[128];
    snprintf(clog, sizeof clog, "%s/clog", dir);
    assert_int_equal(lc_wal_scan(&lc_fs_posix, clog, NULL, NULL, NULL, &end, &err), LC_OK);
    assert_int_equal(end.last_offset, golden[g].offset);
    assert_memory_equal(&end.last_checksum, want + n - 4, 4);
    for (size_t bit = 0; bit < 8 * n; bit++) { /* the last commit: reported as a torn tail, given to nobody */
      got[all - n + bit / 8] ^= (uint8_t)(1u << bit % 8);
      write_segment(0, got, all);
      got[all - n + bit / 8] ^= (uint8_t)(1u << bit % 8);
      assert_int_equal(lc_wal_scan(&lc_fs_posix, clog, NULL, NULL, NULL, &end, &err), LC_OK);
      assert_int_equal(end.next_offset, golden[g].offset);
      assert_true(strstr(end.torn, "checksum mismatch") || strstr(end.torn, "bytes of commit"));
    }
    remove_dir();
  }
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

/* ---- the offset index (spec/06 §10.5) ---- */

static size_t read_file(const char *suffix, uint64_t first, uint8_t *out, size_t size) {
  char path[128];
  snprintf(path, sizeof path, "%s/clog/%020llu%s", dir, (unsigned long long)first, suffix);
  FILE *f = fopen(path, "rb");
  if (!f) return 0;
  size_t n = fread(out, 1, size, f);
  fclose(f);
  return n;
}
static void write_file(const char *suffix, uint64_t first, const uint8_t *data, size_t n) {
  char path[128];
  snprintf(path, sizeof path, "%s/clog/%020llu%s", dir, (unsigned long long)first, suffix);
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(data, 1, n, f), n);
  fclose(f);
}
static atomic_llong bytes_read;
static int64_t counting_read(void *ctx, int fd, void *out, size_t n, uint64_t at) {
  int64_t got = lc_fs_posix.read_at(ctx, fd, out, n, at);
  atomic_fetch_add(&bytes_read, got > 0 ? got : 0);
  return got;
}
static enum lc_status on_any(void *ctx, uint64_t first, struct lc_slice records, uint32_t n_tx, size_t *used, struct lc_error *e) {
  (void)e;
  struct seen *s = ctx;
  if (s->n == 0) s->sum = first;
  else assert_int_equal(first, s->sum + s->n);
  s->n += n_tx;
  *used = records.len;
  return LC_OK;
}
static struct seen replay_from(struct lc_wal *w, uint64_t from) {
  struct seen s = {0};
  if (lc_wal_replay(w, from, on_any, &s, &err) != LC_OK) fail_msg("%s", err.text);
  return s;
}
static void append_long(struct lc_wal *w, uint64_t n) {
  static uint8_t payload[1000];
  for (uint64_t i = 0; i < n; i++) {
    payload[0] = (uint8_t)i;
    lc_wal_append(w, lc_slice(payload, sizeof payload));
    if (i % 7 == 0) lc_wal_submit(w);
  }
  lc_wal_submit(w);
  assert_true(lc_wal_wait_durable(w, lc_wal_next_offset(w)));
}

/* Entries are true, ascending, begin behind transaction 0 and have the file's full size; opening and replay jump by them. */
static void test_index(void **state) {
  (void)state;
  enum { n_tx = 4000, segment_bytes = 16 << 20 };
  static uint8_t ofs[segment_bytes / 4096 * 16], log[6 << 20];
  fresh_dir();
  struct lc_fs fs = lc_fs_posix;
  fs.read_at = counting_read;
  struct lc_wal *w = open_log(&fs, segment_bytes);
  append_long(w, n_tx);
  lc_wal_close(w);
  assert_int_equal(read_file(".stdb.ofs", 0, ofs, sizeof ofs), sizeof ofs);
  size_t log_bytes = read_segment(0, log, sizeof log);
  uint64_t last = 0, n = 0, offset, at, there;
  for (;; n++) {
    memcpy(&offset, ofs + n * 16, 8);
    memcpy(&at, ofs + n * 16 + 8, 8);
    if (offset == 0) break;
    assert_true(offset > last && at < log_bytes);
    memcpy(&there, log + at, 8);
    assert_int_equal(there, offset);
    last = offset;
  }
  assert_in_range(n, log_bytes / 4096 * 3 / 5, log_bytes / 4096);
  atomic_store(&bytes_read, 0);
  w = open_log(&fs, segment_bytes);
  assert_int_equal(lc_wal_next_offset(w), n_tx);
  assert_in_range(atomic_load(&bytes_read), 1, 200000); /* the index and the last few commits */
  assert_int_equal(replay_from(w, n_tx - 5).n, 5);
  assert_int_equal(replay_from(w, n_tx - 2000).n, 2000);
  assert_in_range(atomic_load(&bytes_read), 2000000, (long long)log_bytes); /* not from the beginning */
  assert_int_equal(replay_from(w, 0).n, n_tx);
  append_long(w, 100);
  lc_wal_close(w);
  remove_dir();
}

/* Whatever is in the index file, the log says the same, and the index is whole again afterwards. */
static void test_damaged_index(void **state) {
  (void)state;
  enum { n_tx = 300, segment_bytes = 1 << 20 };
  static uint8_t good[segment_bytes / 4096 * 16], ofs[sizeof good], log[1 << 20];
  fresh_dir();
  struct lc_wal *w = open_log(&lc_fs_posix, segment_bytes);
  append_long(w, n_tx);
  lc_wal_close(w);
  assert_int_equal(read_file(".stdb.ofs", 0, good, sizeof good), sizeof good);
  size_t log_bytes = read_segment(0, log, sizeof log);
  uint64_t seed = 7;
  for (int i = 0; i < 60; i++) {
    size_t n = sizeof ofs;
    memcpy(ofs, good, n);
    if (i == 0) n = 0;
    else if (i == 1) memset(ofs, 0, n);
    else if (i == 2) memset(ofs, 0xff, n);
    else if (i < 20) n = (size_t)i * 7;
    else
      for (int k = 0; k < i / 10; k++) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        ofs[(seed >> 33) % (60 * 16)] ^= (uint8_t)(1u << (seed >> 20) % 8);
      }
    write_file(".stdb.ofs", 0, ofs, n);
    w = open_log(&lc_fs_posix, segment_bytes);
    assert_int_equal(lc_wal_next_offset(w), n_tx);
    for (uint64_t from = 0; from <= n_tx; from += 37) assert_int_equal(replay_from(w, from).n, n_tx - from);
    lc_wal_close(w);
    if (i < 3) {
      assert_int_equal(read_file(".stdb.ofs", 0, ofs, sizeof ofs), sizeof ofs);
      uint64_t first;
      memcpy(&first, ofs, 8);
      assert_int_equal(first, 1); /* made anew */
    }
  }
  /* an index that is ahead of a log that has lost its end does not lead behind it, and what is appended then is indexed in its place */
  write_file(".stdb.ofs", 0, good, sizeof good);
  write_segment(0, log, log_bytes / 2);
  w = open_log(&lc_fs_posix, segment_bytes);
  uint64_t kept = lc_wal_next_offset(w);
  assert_in_range(kept, n_tx / 2 - 3, n_tx / 2);
  lc_wal_append(w, lc_slice_str("another length"));
  append_long(w, n_tx);
  lc_wal_close(w);
  w = open_log(&lc_fs_posix, segment_bytes);
  for (uint64_t from = 0; from <= kept + n_tx; from += 29) assert_int_equal(replay_from(w, from).n, kept + n_tx + 1 - from);
  lc_wal_close(w);
  remove_dir();
}

/* ---- compressed segments (spec/06 §10.6) ---- */

static void test_compressed(void **state) {
  (void)state;
  static uint8_t before[1 << 16], packed[1 << 16];
  char command[256];
  fresh_dir();
  struct lc_wal *w = open_log(&lc_fs_posix, 30000);
  append_some(w, 2000);
  size_t n = read_segment(0, before, sizeof before);
  assert_int_equal(lc_wal_compress(w, 1999, NULL, &err), LC_OK);
  append_some(w, 100);
  lc_wal_close(w);
  size_t n_packed = read_segment(0, packed, sizeof packed);
  assert_true(n_packed < n / 2 && memcmp(packed, "\x28\xb5\x2f\xfd", 4) == 0);
  uint32_t frames, magic, last_frame;
  memcpy(&frames, packed + n_packed - 9, 4);
  memcpy(&magic, packed + n_packed - 4, 4);
  memcpy(&last_frame, packed + n_packed - 13, 4);
  assert_int_equal(magic, 0x8f92eab1u);
  assert_int_equal(frames, (n + 4095) / 4096);
  assert_int_equal(last_frame, n % 4096 ? n % 4096 : 4096);
  snprintf(command, sizeof command, "zstd -dqf < %s/clog/%020u.stdb.log > %s/plain", dir, 0, dir); /* any zstd reads it */
  assert_int_equal(system(command), 0);
  snprintf(command, sizeof command, "%s/plain", dir);
  FILE *f = fopen(command, "rb");
  assert_non_null(f);
  assert_int_equal(fread(packed, 1, sizeof packed, f), n);
  fclose(f);
  assert_memory_equal(packed, before, n);
  w = open_log(&lc_fs_posix, 30000);
  assert_int_equal(lc_wal_next_offset(w), 2100);
  for (uint64_t from = 0; from <= 2100; from += 150) assert_int_equal(replay_from(w, from).n, 2100 - from);
  assert_int_equal(lc_wal_compress(w, 2099, NULL, &err), LC_OK); /* those that are, are left */
  lc_wal_close(w);
  remove_dir();
}

/* The newest one compressed, as the reference may leave it: it stays, and a new one is begun behind it. */
static void test_newest_compressed(void **state) {
  (void)state;
  char command[256];
  fresh_dir();
  struct lc_wal *w = open_log(&lc_fs_posix, 3000);
  append_some(w, 60);
  assert_int_equal(lc_wal_compress(w, 59, NULL, &err), LC_OK);
  lc_wal_close(w);
  snprintf(command, sizeof command, "cd %s/clog && for f in $(ls *.log | sort | tail -n +2); do rm $f; done", dir);
  assert_int_equal(system(command), 0);
  w = open_log(&lc_fs_posix, 3000);
  uint64_t kept = lc_wal_next_offset(w);
  assert_in_range(kept, 10, 59);
  append_some(w, 40);
  lc_wal_close(w);
  w = open_log(&lc_fs_posix, 3000);
  assert_int_equal(lc_wal_next_offset(w), kept + 40);
  assert_int_equal(replay_from(w, 0).n, kept + 40);
  lc_wal_close(w);
  remove_dir();
}

/* Every flipped byte of a compressed segment is noticed or changes nothing. */
static void test_damaged_compressed(void **state) {
  (void)state;
  static uint8_t packed[1 << 16];
  fresh_dir();
  struct lc_wal *w = open_log(&lc_fs_posix, 12000);
  append_some(w, 200);
  assert_int_equal(lc_wal_compress(w, 199, NULL, &err), LC_OK);
  lc_wal_close(w);
  size_t n = read_segment(0, packed, sizeof packed), noticed = 0;
  for (size_t at = 0; at < n; at += 3) {
    packed[at] ^= 0x55;
    write_segment(0, packed, n);
    packed[at] ^= 0x55;
    w = open_log(&lc_fs_posix, 12000);
    struct seen s = {0};
    enum lc_status st = lc_wal_replay(w, 0, on_any, &s, &err);
    if (st == LC_OK) assert_int_equal(s.n, 200);
    else {
      noticed++;
      assert_true(st == LC_CORRUPT || st == LC_LIMIT);
      assert_non_null(strstr(err.text, "/clog/00000000000000000000.stdb.log"));
    }
    lc_wal_close(w);
  }
  assert_true(noticed > n / 3 * 9 / 10);
  for (size_t cut = 1; cut < n; cut += 13) {
    write_segment(0, packed, cut);
    struct lc_wal_options o = {0};
    struct seen s = {0};
    if (lc_wal_open(&lc_fs_posix, dir, &o, &w, &err) != LC_OK) continue;
    assert_true(lc_wal_replay(w, 0, on_any, &s, &err) != LC_OK);
    lc_wal_close(w);
  }
  remove_dir();
}

/* ---- what others write: version 0, several transactions a commit, epochs, repeats, zero tails (spec/06 §10.1, §12, §20) ---- */

static void test_others(void **state) {
  (void)state;
  uint8_t b[4096] = {0}, got[4096];
  fresh_dir();
  assert_int_equal(lc_fs_posix.make_dir(NULL, (snprintf((char *)got, 100, "%s/clog", dir), (char *)got)), 0);
  /* version 0 is read, and appended to in a new segment */
  memcpy(b, head_v0, 10);
  size_t n = 10;
  n += put_commit(b + n, false, 0, 0, 3, "abc");
  n += put_commit(b + n, false, 3, 0, 1, "d");
  write_segment(0, b, n);
  struct lc_wal *w = open_log(&lc_fs_posix, 0);
  assert_int_equal(lc_wal_next_offset(w), 4);
  append_some(w, 2);
  lc_wal_close(w);
  w = open_log(&lc_fs_posix, 0);
  assert_int_equal(replay_from(w, 0).n, 6);
  lc_wal_close(w);
  assert_int_equal(read_segment(0, got, sizeof got), n);
  assert_memory_equal(got, b, n);
  remove_dir();
  /* several transactions a commit, a repeat, an epoch that our own commits continue, a zero tail as preallocation leaves it */
  fresh_dir();
  lc_wal_close(open_log(&lc_fs_posix, 0));
  memset(b, 0, sizeof b);
  memcpy(b, head_v1, 10);
  n = 10;
  n += put_commit(b + n, true, 0, 0, 65535, "many");
  size_t second = n;
  n += put_commit(b + n, true, 65535, 7, 1, "x");
  n += put_commit(b + n, true, 65535, 7, 1, "x");
  write_segment(0, b, sizeof b);
  w = open_log(&lc_fs_posix, 0);
  assert_int_equal(lc_wal_next_offset(w), 65536);
  assert_int_equal(replay_from(w, 0).n, 65536);
  append_some(w, 1);
  lc_wal_close(w);
  assert_true(read_segment(0, got, sizeof got) > n);
  assert_memory_equal(got + n, "\0\0\1\0\0\0\0\0\7\0\0\0\0\0\0\0\1\0", 18); /* offset 65536, epoch 7, one transaction */
  static const struct { uint64_t offset, epoch; const char *text, *want; } bad[] = {{65535, 7, "y", "forked history: offset=65535"}, {65535, 6, "x", "forked history"}, {65536, 6, "x", "new epoch is smaller than current epoch"},
                                                                                     {65537, 7, "x", "out-of-order commit: expected-offset=65536 actual-offset=65537"}, {3, 7, "x", "out-of-order commit"}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    memset(b + second, 0, sizeof b - second);
    n = second;
    n += put_commit(b + n, true, 65535, 7, 1, "x");
    n += put_commit(b + n, true, bad[i].offset, bad[i].epoch, 1, bad[i].text);
    write_segment(0, b, n);
    struct lc_wal_options o = {0};
    assert_int_equal(lc_wal_open(&lc_fs_posix, dir, &o, &w, &err), LC_CORRUPT);
    if (!strstr(err.text, bad[i].want)) fail_msg("case %zu: %s", i, err.text);
  }
  remove_dir();
}

/* Neither memory nor the disk failing while a log is opened makes it shorter. */
static int64_t failing_read(void *ctx, int fd, void *out, size_t n, uint64_t at) { return atomic_fetch_sub(&syncs_left, 1) == 0 ? -5 : lc_fs_posix.read_at(ctx, fd, out, n, at); }
static void test_unreadable_is_not_torn(void **state) {
  (void)state;
  fresh_dir();
  struct lc_wal *w = open_log(&lc_fs_posix, 0);
  append_some(w, 50);
  lc_wal_close(w);
  struct lc_fs fs = lc_fs_posix;
  fs.read_at = failing_read;
  int failed = 0;
  for (int i = 0; i < 10; i++) {
    struct lc_wal_options o = {0};
    atomic_store(&syncs_left, i);
    enum lc_status st = lc_wal_open(&fs, dir, &o, &w, &err);
    failed += st != LC_OK;
    if (st == LC_OK) {
      assert_int_equal(lc_wal_next_offset(w), 50);
      lc_wal_close(w);
    } else assert_int_equal(st, LC_IO);
  }
  assert_true(failed >= 1);
  w = open_log(&lc_fs_posix, 0);
  assert_int_equal(lc_wal_next_offset(w), 50);
  lc_wal_close(w);
  remove_dir();
}

/* Names last: before anything in a segment counts, the folder it is in has been synced (spec/06 §20 defect 8). */
static char calls[4096];
static void note_call(const char *what, const char *path) {
  const char *name = path ? strrchr(path, '/') : NULL;
  size_t at = strlen(calls);
  snprintf(calls + at, sizeof calls - at, "%s %s\n", what, name ? name + 1 : "");
}
static int noting_write(void *ctx, int fd, const void *d, size_t n, uint64_t at) { return note_call("write", NULL), lc_fs_posix.write_at(ctx, fd, d, n, at); }
static int noting_sync(void *ctx, int fd) { return note_call("sync", NULL), lc_fs_posix.sync(ctx, fd); }
static int noting_sync_dir(void *ctx, const char *p) { return note_call("sync_dir", p), lc_fs_posix.sync_dir(ctx, p); }
static int noting_rename(void *ctx, const char *a, const char *b) { return note_call("rename", b), lc_fs_posix.rename(ctx, a, b); }
static int noting_unlink(void *ctx, const char *p) {
  int rc = lc_fs_posix.unlink(ctx, p);
  if (rc == 0) note_call("unlink", p);
  return rc;
}
static void test_names_are_synced(void **state) {
  (void)state;
  fresh_dir();
  struct lc_fs fs = lc_fs_posix;
  fs.write_at = noting_write;
  fs.sync = noting_sync;
  fs.sync_dir = noting_sync_dir;
  fs.rename = noting_rename;
  fs.unlink = noting_unlink;
  calls[0] = 0;
  struct lc_wal *w = open_log(&fs, 100);
  char want[600];
  snprintf(want, sizeof want, "write \nsync \nrename 00000000000000000000.stdb.log\nsync_dir clog\nsync_dir %s\n", strrchr(dir, '/') + 1);
  assert_string_equal(calls, want);
  append_some(w, 1);
  lc_wal_append(w, lc_slice(want, 120));
  lc_wal_submit(w);
  assert_true(lc_wal_wait_durable(w, 2));
  calls[0] = 0;
  lc_wal_append(w, lc_slice(want, 10));
  lc_wal_submit(w);
  assert_true(lc_wal_wait_durable(w, 3));
  assert_string_equal(calls, "write \nsync \nrename 00000000000000000002.stdb.log\nsync_dir clog\nwrite \nsync \n");
  calls[0] = 0;
  assert_int_equal(lc_wal_compress(w, 2, NULL, &err), LC_OK);
  assert_string_equal(calls, "write \nsync \nrename 00000000000000000000.stdb.log\nsync_dir clog\n");
  calls[0] = 0;
  assert_int_equal(lc_wal_retain(w, 2, &err), LC_OK);
  assert_string_equal(calls, "unlink 00000000000000000000.stdb.ofs\nunlink 00000000000000000000.stdb.log\nsync_dir clog\n");
  lc_wal_close(w);
  remove_dir();
}

int main(void) {
  lc_log_threshold = LC_LOG_ERROR;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden), cmocka_unit_test(test_golden_commits), cmocka_unit_test(test_reopen_and_rotate), cmocka_unit_test(test_torn_tail),
                                     cmocka_unit_test(test_damage), cmocka_unit_test(test_lock),              cmocka_unit_test(test_failed_sync), cmocka_unit_test(test_many_logs),
                                     cmocka_unit_test(test_index), cmocka_unit_test(test_damaged_index), cmocka_unit_test(test_compressed), cmocka_unit_test(test_newest_compressed),
                                     cmocka_unit_test(test_damaged_compressed), cmocka_unit_test(test_others), cmocka_unit_test(test_unreadable_is_not_torn), cmocka_unit_test(test_names_are_synced)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
