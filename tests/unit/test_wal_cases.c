/* The commit log case by case (spec/06 §10-§12, §20, §21): damage in older segments, newest segments with nothing in them, zero tails, tails that were given up,
 * other versions, two processes, rotation; and every file call and every allocation failing in turn. */
#include "wal/wal.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include "failing_fs.h"
#include "wal_folder.h"
#include <pthread.h>
#include <sys/wait.h>

struct seen { uint64_t first, n; };
static enum lc_status on_any(void *ctx, uint64_t first, struct lc_slice records, uint32_t n_tx, size_t *used, struct lc_error *e) {
  struct seen *s = ctx;
  if (s->n == 0) s->first = first;
  if (first != s->first + s->n) return lc_fail(e, LC_CORRUPT, "offset %llu after %llu", (unsigned long long)first, (unsigned long long)(s->first + s->n));
  for (size_t i = 0; i < records.len; i++)
    if (records.data[i] != (uint8_t)(first * 7) && records.data[i] != 'x') return lc_fail(e, LC_CORRUPT, "offset %llu has another's record", (unsigned long long)first);
  s->n += n_tx;
  *used = records.len;
  return LC_OK;
}
/* Transactions of 5 to 150 bytes, each byte says which one it is. */
static void append(struct lc_wal *w, uint64_t n) {
  while (n--) {
    uint8_t payload[200];
    uint64_t offset = lc_wal_next_offset(w);
    memset(payload, (int)(uint8_t)(offset * 7), sizeof payload);
    lc_wal_append(w, lc_slice(payload, 5 + offset * 13 % 145));
    if (offset % 3 == 0) lc_wal_submit(w);
  }
  lc_wal_submit(w);
}
static void append_durably(struct lc_wal *w, uint64_t n) {
  append(w, n);
  assert_true(lc_wal_wait_durable(w, lc_wal_next_offset(w)));
}
static uint64_t replayed(struct lc_wal *w) {
  struct seen s = {0};
  if (lc_wal_replay(w, 0, on_any, &s, &err) != LC_OK) fail_msg("%s", err.text);
  assert_int_equal(s.first, 0);
  return s.n;
}
/* Segments of a log, ascending. */
static uint32_t segments(uint64_t out[64]) {
  uint32_t n = 0;
  for (uint64_t first = 0; first < 4000; first++)
    if (has_segment(first)) out[n++] = first;
  return n;
}
static enum lc_status try_open(uint64_t max_segment_bytes, struct lc_wal **w) {
  struct lc_wal_options o = {.max_segment_bytes = max_segment_bytes};
  return lc_wal_open(&lc_fs_posix, dir, &o, w, &err);
}
/* Opening, replay and the tools' reading agree that there is damage. */
static void expect_damage(const char *what, long at) {
  struct lc_wal *w;
  struct seen s = {0};
  char clog[128];
  struct lc_wal_scan_end end;
  enum lc_status st = try_open(0, &w);
  if (st == LC_OK) {
    st = lc_wal_replay(w, 0, on_any, &s, &err);
    lc_wal_close(w);
  }
  if (st != LC_CORRUPT) fail_msg("%s, byte %ld: %d after %llu transactions", what, at, (int)st, (unsigned long long)s.n);
  assert_non_null(strstr(err.text, "/clog/0"));
  snprintf(clog, sizeof clog, "%s/clog", dir);
  if (lc_wal_scan(&lc_fs_posix, clog, NULL, NULL, NULL, &end, &err) != LC_CORRUPT) fail_msg("%s, byte %ld: a scan sees nothing", what, at);
}

/* ---- §21 cases 17 to 20 ---- */

/* Whatever bit flips in an older segment, plain or compressed: nothing is dropped, the damage is named. */
static void case_17_damage_in_an_older_segment(void **state) {
  (void)state;
  static uint8_t bytes[8192];
  for (int packed = 0; packed < 2; packed++) {
    fresh_dir();
    struct lc_wal *w = open_log(&lc_fs_posix, 1500);
    append_durably(w, 60);
    if (packed) assert_int_equal(lc_wal_compress(w, 59, NULL, &err), LC_OK);
    lc_wal_close(w);
    uint64_t firsts[64];
    uint32_t n = segments(firsts);
    assert_true(n >= 3);
    for (uint32_t i = 0; i + 1 < n; i++) {
      size_t len = read_segment(firsts[i], bytes, sizeof bytes);
      for (size_t at = 0; at < len; at += i ? 7 : 1) {
        if (!packed && (at == 8 || at == 9)) continue; /* reserved */
        bytes[at] ^= (uint8_t)(1 << at % 8);
        write_segment(firsts[i], bytes, len);
        if (!packed) expect_damage("older segment", (long)at);
        else if (try_open(0, &w) == LC_OK) { /* a flip that changes nothing of what the frames hold is none */
          struct seen s = {0};
          enum lc_status st = lc_wal_replay(w, 0, on_any, &s, &err);
          if (st == LC_OK) assert_int_equal(s.n, 60);
          lc_wal_close(w);
        }
        bytes[at] ^= (uint8_t)(1 << at % 8);
      }
      for (size_t cut = 1; !packed && cut < len; cut += 11) {
        write_segment(firsts[i], bytes, len - cut);
        expect_damage("cut older segment", (long)cut);
      }
      write_segment(firsts[i], bytes, len);
    }
    w = open_log(&lc_fs_posix, 0);
    assert_int_equal(replayed(w), 60);
    lc_wal_close(w);
    unlink(segment_path(firsts[1]));
    expect_damage("missing segment", -1);
    remove_dir();
  }
}

/* A newest segment with a header only, or less than one, goes, and the one before is continued, but only if it is whole. */
static void case_18_nothing_in_the_newest_segment(void **state) {
  (void)state;
  static uint8_t bytes[8192];
  fresh_dir();
  struct lc_wal *w = open_log(&lc_fs_posix, 0);
  append_durably(w, 20);
  lc_wal_close(w);
  size_t len = read_segment(0, bytes, sizeof bytes);
  for (size_t n = 0; n <= 10; n++) {
    write_segment(0, bytes, len);
    write_segment(20, head_v1, n);
    w = open_log(&lc_fs_posix, 0);
    assert_false(has_segment(20));
    assert_int_equal(lc_wal_next_offset(w), 20);
    append_durably(w, 1);
    lc_wal_close(w);
    w = open_log(&lc_fs_posix, 0);
    assert_int_equal(replayed(w), 21);
    lc_wal_close(w);
    /* the one before lacks what was durable when the new one was begun */
    write_segment(0, bytes, len - 3);
    write_segment(20, head_v1, n);
    assert_int_equal(try_open(0, &w), LC_CORRUPT);
    assert_non_null(strstr(err.text, "a segment from 20 on was begun, so this is damage and not a torn tail"));
    assert_true(has_segment(20));
    unlink(segment_path(20));
    /* the only one */
    write_segment(0, head_v1, n);
    w = open_log(&lc_fs_posix, 0);
    assert_int_equal(lc_wal_next_offset(w), 0);
    append_durably(w, 2);
    lc_wal_close(w);
    w = open_log(&lc_fs_posix, 0);
    assert_int_equal(replayed(w), 2);
    lc_wal_close(w);
  }
  write_segment(0, bytes, len); /* several, as a disk that was full again and again leaves them */
  write_segment(20, head_v1, 10);
  write_segment(25, head_v1, 3);
  assert_int_equal(try_open(0, &w), LC_CORRUPT); /* the second could only be begun behind transactions that are not there */
  unlink(segment_path(25));
  w = open_log(&lc_fs_posix, 0);
  assert_int_equal(replayed(w), 20);
  lc_wal_close(w);
  remove_dir();
}

/* Two processes: the second is told who has the folder, and can have it when the first has ended, however it ended. */
static void case_19_two_processes(void **state) {
  (void)state;
  fresh_dir();
  int ready[2], done[2];
  char byte;
  struct lc_wal *w;
  assert_int_equal(pipe(ready) | pipe(done), 0);
  pid_t pid = fork();
  if (pid == 0) { /* no clean-up: as a process that is killed */
    struct lc_wal_options o = {.by_hand = true};
    bool ok = lc_wal_open(&lc_fs_posix, dir, &o, &w, &err) == LC_OK && write(ready[1], "x", 1) == 1 && read(done[0], &byte, 1) == 1;
    _exit(ok ? 0 : 1);
  }
  assert_int_equal(read(ready[0], &byte, 1), 1);
  assert_int_equal(try_open(0, &w), LC_CONFLICT);
  char want[200];
  snprintf(want, sizeof want, "commitlog directory is locked: failed to lock %s/db.lock: another process has it", dir);
  assert_string_equal(err.text, want);
  assert_int_equal(write(done[1], "x", 1), 1);
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
  w = open_log(&lc_fs_posix, 0);
  assert_int_equal(try_open(0, &(struct lc_wal *){NULL}), LC_CONFLICT);
  lc_wal_close(w);
  for (int i = 0; i < 2; i++) close(ready[i]), close(done[i]);
  remove_dir();
}

static uint64_t rotations[64];
static atomic_uint n_rotations;
static void on_rotated(void *ctx, uint64_t first) {
  (void)ctx;
  rotations[atomic_fetch_add(&n_rotations, 1)] = first;
}
/* A segment exceeds the limit by at most one commit and is no shorter; the next is named by the next offset and announced; what lies wholly before a snapshot is compressed. */
static void case_20_rotation(void **state) {
  (void)state;
  enum { limit = 1000 };
  static uint8_t bytes[8192];
  fresh_dir();
  struct lc_wal_options o = {.max_segment_bytes = limit, .rotated = on_rotated};
  struct lc_wal *w;
  atomic_store(&n_rotations, 0);
  assert_int_equal(lc_wal_open(&lc_fs_posix, dir, &o, &w, &err), LC_OK);
  append_durably(w, 100);
  uint64_t firsts[64];
  uint32_t n = segments(firsts);
  assert_true(n > 5);
  assert_int_equal(atomic_load(&n_rotations), n - 1);
  for (uint32_t i = 0; i < n; i++) {
    if (i) assert_int_equal(rotations[i - 1], firsts[i]);
    size_t len = read_segment(firsts[i], bytes, sizeof bytes), at = 10, last = 10;
    uint64_t offset = firsts[i];
    assert_memory_equal(bytes, head_v1, 10);
    for (uint64_t there; at < len; offset++) {
      uint32_t records;
      memcpy(&there, bytes + at, 8);
      memcpy(&records, bytes + at + 18, 4);
      assert_int_equal(there, offset);
      last = at;
      at += 26 + records;
    }
    assert_int_equal(at, len);
    assert_int_equal(offset, i + 1 < n ? firsts[i + 1] : 100);
    if (i + 1 < n) assert_true(len >= limit);
    assert_true(last < limit); /* without its last commit it was below */
  }
  uint64_t snapshot = firsts[n - 2] + 1; /* in the last but one */
  assert_int_equal(lc_wal_compress(w, snapshot, NULL, &err), LC_OK);
  for (uint32_t i = 0; i < n; i++) {
    read_segment(firsts[i], bytes, sizeof bytes);
    assert_int_equal(memcmp(bytes, "\x28\xb5\x2f\xfd", 4) == 0, i < n - 2);
  }
  assert_int_equal(replayed(w), 100);
  lc_wal_close(w);
  /* several in one batch: each is synced before the next is begun */
  assert_int_equal(lc_wal_open(&lc_fs_posix, dir, &o, &w, &err), LC_OK);
  for (int i = 0; i < 100; i++) lc_wal_append(w, lc_slice_str("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"));
  lc_wal_submit(w);
  assert_true(lc_wal_wait_durable(w, 200));
  assert_true(segments(firsts) > n + 5);
  assert_int_equal(replayed(w), 200);
  lc_wal_close(w);
  remove_dir();
}

/* A segment that another has put there meanwhile is not replaced (§10.4): the log fails instead. */
static void a_segment_that_is_there(void **state) {
  (void)state;
  uint8_t got[16];
  fresh_dir();
  struct lc_wal *w = open_log(&lc_fs_posix, 100);
  append_durably(w, 1);
  lc_wal_append(w, lc_slice_str("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"));
  lc_wal_submit(w);
  assert_true(lc_wal_wait_durable(w, 2));
  write_segment(2, (const uint8_t *)"another's", 9);
  append(w, 1);
  assert_false(lc_wal_wait_durable(w, 3));
  lc_wal_close(w);
  assert_int_equal(read_segment(2, got, sizeof got), 9);
  remove_dir();
}

/* ---- §20 defect 9, §12: zero tails, tails that were given up, torn first commits ---- */

static void zero_tails(void **state) {
  (void)state;
  static uint8_t bytes[16384], zeros[8192];
  assert_int_equal(lc_crc32c(0, zeros, 22), 0x32707625);
  fresh_dir();
  struct lc_wal *w = open_log(&lc_fs_posix, 0);
  append_durably(w, 10);
  lc_wal_close(w);
  size_t len = read_segment(0, bytes, 8192);
  for (size_t n = 1; n < 6000; n += n < 60 ? 1 : 509) { /* as preallocation leaves it, or a file whose length was written before its bytes */
    memset(bytes + len, 0, n);
    write_segment(0, bytes, len + n);
    w = open_log(&lc_fs_posix, 0);
    assert_int_equal(lc_wal_next_offset(w), 10);
    append_durably(w, 5);
    lc_wal_close(w);
    w = open_log(&lc_fs_posix, 0);
    assert_int_equal(replayed(w), 15);
    lc_wal_close(w);
  }
  /* nothing but a header and zeros; and such a one behind a whole one */
  memset(bytes + len, 0, 5000);
  memcpy(zeros, head_v1, 10);
  for (int behind = 0; behind < 2; behind++) {
    if (behind) write_segment(0, bytes, len);
    write_segment(behind ? 10 : 0, zeros, sizeof zeros);
    w = open_log(&lc_fs_posix, 0);
    assert_int_equal(lc_wal_next_offset(w), behind ? 10 : 0);
    append_durably(w, 3);
    lc_wal_close(w);
    w = open_log(&lc_fs_posix, 0);
    assert_int_equal(replayed(w), behind ? 13 : 3);
    lc_wal_close(w);
  }
  /* an older one with a zero tail, which the next one continues */
  write_segment(0, bytes, len + 5000);
  w = open_log(&lc_fs_posix, 0);
  assert_int_equal(replayed(w), 13);
  lc_wal_close(w);
  remove_dir();
}

/* The reference begins a new segment behind a torn tail instead of cutting it off (spec/06 §12): the tail is passed over, when exactly the next one follows. */
static void tails_that_were_given_up(void **state) {
  (void)state;
  static uint8_t bytes[16384], next[512];
  fresh_dir();
  struct lc_wal *w = open_log(&lc_fs_posix, 0);
  append_durably(w, 12);
  lc_wal_close(w);
  size_t len = read_segment(0, bytes, sizeof bytes), last = 10;
  for (int i = 0; i < 11; i++) {
    uint32_t records;
    memcpy(&records, bytes + last + 18, 4);
    last += 26 + records;
  }
  memcpy(next, head_v1, 10);
  size_t n = 10 + put_commit(next + 10, true, 11, 0, 1, "x");
  for (size_t cut = last + 1; cut < len; cut += 3) {
    write_segment(0, bytes, cut);
    write_segment(11, next, n);
    w = open_log(&lc_fs_posix, 0);
    assert_int_equal(lc_wal_next_offset(w), 12);
    assert_int_equal(replayed(w), 12);
    append_durably(w, 1);
    lc_wal_close(w);
  }
  bytes[last + 30] ^= 1; /* a bad checksum instead */
  write_segment(0, bytes, len);
  write_segment(11, next, n);
  w = open_log(&lc_fs_posix, 0);
  assert_int_equal(replayed(w), 12);
  lc_wal_close(w);
  put_commit(next + 10, true, 12, 0, 1, "x"); /* it does not follow */
  unlink(segment_path(11));
  write_segment(12, next, n);
  expect_damage("a hole between segments", -1);
  unlink(segment_path(12));
  /* the first commit of a new segment is torn: there is nothing in it */
  write_segment(0, bytes, last);
  n = 10 + put_commit(next + 10, true, 11, 0, 1, "xxxxxxxxx");
  for (size_t cut = 11; cut < n; cut++) {
    write_segment(11, next, cut);
    w = open_log(&lc_fs_posix, 0);
    assert_int_equal(lc_wal_next_offset(w), 11);
    append_durably(w, 1);
    assert_int_equal(replayed(w), 12);
    lc_wal_close(w);
  }
  remove_dir();
}

/* Epochs where the newest segment has no whole commit to take one from: what is appended goes on with that of the segment before, and intact commits behind a damaged first one are seen
 * whatever their epoch is. */
static void epochs_of_the_segment_before(void **state) {
  (void)state;
  static uint8_t b[4096];
  struct lc_wal *w;
  for (int packed = 0; packed < 2; packed++) {
    fresh_dir();
    lc_wal_close(open_log(&lc_fs_posix, 0));
    memcpy(b, head_v1, 10);
    size_t n = 10;
    for (uint64_t i = 0; i < 3; i++) n += put_commit(b + n, true, i, i < 2 ? 1 : 4, 1, "xxx");
    write_segment(0, b, n);
    size_t first = 10 + put_commit(b + 10, true, 3, 4, 1, "xxxxx");
    write_segment(3, b, first - 2); /* torn */
    w = open_log(&lc_fs_posix, 0);
    assert_int_equal(lc_wal_next_offset(w), 3);
    if (packed) assert_int_equal(lc_wal_compress(w, 3, NULL, &err), LC_OK);
    append_durably(w, 2);
    lc_wal_close(w);
    w = open_log(&lc_fs_posix, 0);
    assert_int_equal(replayed(w), 5);
    lc_wal_close(w);
    n = first + put_commit(b + first, true, 4, packed ? 4 : 5, 1, "xx");
    b[30] ^= 1;
    write_segment(3, b, n);
    expect_damage("first commit of the newest segment", 30);
    assert_non_null(strstr(err.text, "intact commits follow"));
    remove_dir();
  }
}

/* §10.1: versions 0 and 1, epochs and several transactions a commit across segments, as older ones and compressed. */
static void versions_and_epochs(void **state) {
  (void)state;
  static uint8_t b[4096], got[4096];
  struct lc_wal *w;
  fresh_dir();
  lc_wal_close(open_log(&lc_fs_posix, 0));
  memcpy(b, head_v0, 10);
  size_t n = 10;
  for (uint64_t i = 0; i < 5; i++) n += put_commit(b + n, false, i, 0, 1, "xx");
  write_segment(0, b, n);
  memcpy(b, head_v1, 10);
  n = 10 + put_commit(b + 10, true, 5, 0, 3, "xxx");
  n += put_commit(b + n, true, 8, 4, 1, "x");
  write_segment(5, b, n);
  w = open_log(&lc_fs_posix, 100);
  assert_int_equal(lc_wal_next_offset(w), 9);
  append_durably(w, 20);
  assert_int_equal(replayed(w), 29);
  assert_int_equal(lc_wal_compress(w, 28, NULL, &err), LC_OK); /* that of version 0 too */
  assert_int_equal(replayed(w), 29);
  lc_wal_close(w);
  uint64_t firsts[64], epoch;
  uint32_t n_segments = segments(firsts);
  for (uint32_t i = n_segments - 1; i > 0; i--) {
    read_segment(firsts[i], got, sizeof got);
    if (memcmp(got, head_v1, 10) != 0) continue;
    memcpy(&epoch, got + 18, 8);
    assert_int_equal(epoch, 4); /* it never goes back */
  }
  /* an epoch that goes back from one segment to the next */
  memcpy(b, head_v1, 10);
  for (uint32_t i = 0; i < n_segments; i++) unlink(segment_path(firsts[i]));
  n = 10 + put_commit(b + 10, true, 0, 7, 1, "x");
  write_segment(0, b, n);
  n = 10 + put_commit(b + 10, true, 1, 6, 1, "x");
  write_segment(1, b, n);
  expect_damage("epoch", -1);
  assert_non_null(strstr(err.text, "new epoch is smaller than current epoch"));
  unlink(segment_path(1));
  /* other versions and checksum kinds are refused with the place */
  for (int at = 6; at < 8; at++) {
    n = 10 + put_commit(b + 10, true, 0, 0, 1, "x");
    memcpy(b, head_v1, 10);
    b[at] = 2;
    write_segment(0, b, n);
    assert_int_equal(try_open(0, &w), LC_CORRUPT);
    assert_non_null(strstr(err.text, "expected the segment header 28647329 5e32 with version 0 or 1, found"));
  }
  /* a newest one of version 0 with a torn tail: not ours to cut off */
  memcpy(b, head_v0, 10);
  n = 10;
  for (uint64_t i = 0; i < 3; i++) n += put_commit(b + n, false, i, 0, 1, "xx");
  write_segment(0, b, n - 1);
  assert_int_equal(try_open(0, &w), LC_CORRUPT);
  remove_dir();
}

/* ---- every file call and every allocation fails once ---- */

static _Thread_local int64_t allocs_left = -1;
static bool alloc_failed;
static bool may_fail(size_t n) {
  (void)n;
  return allocs_left >= 0 && allocs_left-- == 0 ? (alloc_failed = true) : false;
}
static void inject(bool memory, long n) {
  alloc_failed = false;
  lc_alloc_may_fail = memory && n >= 0 ? may_fail : NULL;
  allocs_left = memory ? n : -1;
  fs_fail_at(memory ? -1 : n);
}
static bool injected(bool memory) { return memory ? alloc_failed : atomic_load(&fs_failed); }

/* One life of a log with the i-th call failing: opening, reading, appending over several segments, compressing, closing. Errors say what and where. */
struct life { uint64_t durable, appended; bool refused; };
static struct life live(const struct lc_fs *fs, bool memory, long i) {
  struct lc_wal_options o = {.max_segment_bytes = 700};
  struct life l = {0};
  struct seen s = {0};
  struct lc_wal *w;
  inject(memory, i);
  enum lc_status st = lc_wal_open(fs, dir, &o, &w, &err);
  if (st != LC_OK) {
    if (!injected(memory) || st != (memory ? LC_NOMEM : LC_IO)) fail_msg("call %ld: %d %s", i, (int)st, err.text);
    if (!memory && !strstr(err.text, strerror(fs_errno)) && !strstr(err.text, "read")) fail_msg("call %ld: %s", i, err.text);
    if (!memory) assert_non_null(strstr(err.text, dir));
    l.refused = true;
    return l;
  }
  uint64_t had = lc_wal_next_offset(w);
  st = lc_wal_replay(w, 0, on_any, &s, &err);
  if (st == LC_OK) assert_int_equal(s.n, had);
  else assert_true(injected(memory) && st == (memory ? LC_NOMEM : LC_IO));
  bool goes_on = true;
  for (int k = 0; k < 20 && goes_on; k++) {
    uint64_t end = lc_wal_next_offset(w);
    size_t n = 5 + end * 13 % 145;
    while ((st = lc_wal_reserve(w, n, &err)) != LC_OK) assert_true(injected(memory) && memory && st == LC_NOMEM); /* nothing has happened: once more */
    append(w, 1);
    goes_on = k % 4 || lc_wal_wait_durable(w, end + 1);
  }
  if (!goes_on) assert_true(injected(memory));
  l.durable = lc_wal_durable_end(w);
  l.appended = lc_wal_next_offset(w);
  st = lc_wal_compress(w, l.durable / 2, NULL, &err);
  if (st != LC_OK && (!injected(memory) || st != (memory ? LC_NOMEM : LC_IO) || !(memory || strstr(err.text, dir)))) fail_msg("call %ld: %d %s", i, (int)st, err.text);
  lc_wal_close(w);
  return l;
}
/* Whatever fails, what was announced as durable is there, in order, and with a disk that is well it all goes on. */
static void every_failure(bool memory) {
  static const int before[] = {0, 40}; /* a new folder; one with several segments */
  int n_refused = 0;
  for (size_t b = 0; b < sizeof before / sizeof *before; b++)
    for (long i = 0;; i++) {
      struct lc_fs fs = failing_fs();
      struct lc_wal *w;
      fs_errno = i % 2 ? ENOSPC : EIO;
      fresh_dir();
      if (before[b]) {
        w = open_log(&lc_fs_posix, 700);
        append_durably(w, (uint64_t)before[b]);
        lc_wal_close(w);
      }
      struct life l = live(&fs, memory, i);
      bool failed = injected(memory);
      inject(memory, -1);
      n_refused += l.refused;
      if (l.refused) l.durable = l.appended = (uint64_t)before[b];
      w = open_log(&lc_fs_posix, 700);
      uint64_t had = lc_wal_next_offset(w);
      if (had < l.durable || had > l.appended) fail_msg("call %ld: %llu transactions are there, %llu were durable, %llu appended", i, (unsigned long long)had, (unsigned long long)l.durable, (unsigned long long)l.appended);
      assert_int_equal(replayed(w), had);
      append_durably(w, 10);
      lc_wal_close(w);
      w = open_log(&lc_fs_posix, 700);
      assert_int_equal(replayed(w), had + 10);
      lc_wal_close(w);
      remove_dir();
      if (!failed) break;
    }
  assert_true(n_refused > (memory ? 2 : 20));
}
static void every_file_call(void **state) { (void)state, every_failure(false); }
static void every_allocation(void **state) { (void)state, every_failure(true); }

/* Removing old segments with the i-th call failing: what is left never has a hole, and the next time does the rest. */
static void every_file_call_of_retention(void **state) {
  (void)state;
  struct lc_fs fs = failing_fs();
  struct lc_wal_options o = {.max_segment_bytes = 700};
  int n_failed = 0;
  for (long i = 0;; i++) {
    uint64_t firsts[64];
    struct seen s = {0};
    struct lc_wal *w;
    fresh_dir();
    w = open_log(&lc_fs_posix, 700);
    append_durably(w, 60);
    lc_wal_close(w);
    uint32_t n = segments(firsts);
    assert_true(n > 5);
    assert_int_equal(lc_wal_open(&fs, dir, &o, &w, &err), LC_OK);
    inject(false, i);
    enum lc_status st = lc_wal_retain(w, firsts[4] + 1, &err);
    bool failed = injected(false);
    inject(false, -1);
    if (st != LC_OK) assert_true(failed && st == LC_IO && strstr(err.text, dir));
    assert_int_equal(lc_wal_replay(w, firsts[4], on_any, &s, &err), LC_OK);
    assert_int_equal(s.n, 60 - firsts[4]);
    lc_wal_close(w);
    w = open_log(&lc_fs_posix, 700);
    uint64_t first = lc_wal_first_offset(w);
    assert_in_range(first, 0, firsts[4]);
    s = (struct seen){0};
    assert_int_equal(lc_wal_replay(w, first, on_any, &s, &err), LC_OK);
    assert_int_equal(s.n, 60 - first);
    assert_int_equal(lc_wal_retain(w, firsts[4] + 1, &err), LC_OK);
    assert_int_equal(lc_wal_first_offset(w), firsts[4]);
    assert_int_equal(lc_wal_retain(w, UINT64_MAX, &err), LC_OK); /* the newest stays */
    assert_int_equal(lc_wal_first_offset(w), firsts[n - 1]);
    append_durably(w, 5);
    lc_wal_close(w);
    remove_dir();
    n_failed += failed;
    if (!failed) break;
  }
  assert_int_equal(n_failed, 12); /* index, segment, folder of each of four */
}

/* One that is larger than a commit may be is refused before anything happens. */
static void too_large(void **state) {
  (void)state;
  fresh_dir();
  struct lc_wal *w = open_log(&lc_fs_posix, 0);
  assert_int_equal(lc_wal_reserve(w, 1ull << 32, &err), LC_LIMIT);
  assert_non_null(strstr(err.text, "4294967296"));
  append_durably(w, 3);
  assert_int_equal(replayed(w), 3);
  lc_wal_close(w);
  remove_dir();
}

/* Without memory to make what waits longer, handing over waits for the writer instead. */
static atomic_bool slow, in_sync, wanted;
static int slow_sync(void *ctx, int fd) {
  atomic_store(&in_sync, true);
  while (atomic_load(&slow)) usleep(1000);
  return lc_fs_posix.sync(ctx, fd);
}
static bool refuse_once(size_t n) { /* of the thread that hands over; the disk is let go then */
  if (!may_fail(n)) return false;
  atomic_store(&wanted, true);
  return true;
}
static void *let_go(void *arg) {
  (void)arg;
  while (!atomic_load(&wanted)) usleep(1000);
  usleep(20000);
  atomic_store(&slow, false);
  return NULL;
}
static void no_memory_to_wait(void **state) {
  (void)state;
  static uint8_t many[4 << 20];
  struct lc_fs fs = lc_fs_posix;
  fs.sync = slow_sync;
  fresh_dir();
  struct lc_wal *w = open_log(&fs, 0);
  for (size_t n = 60000; n < sizeof many; n *= 4) { /* more than any buffer has room for yet */
    pthread_t helper;
    atomic_store(&in_sync, false);
    atomic_store(&wanted, false);
    atomic_store(&slow, true);
    append(w, 1);
    while (!atomic_load(&in_sync)) usleep(1000); /* the writer has it */
    append(w, 20); /* these wait */
    assert_int_equal(lc_wal_reserve(w, n, &err), LC_OK);
    memset(many, (int)(uint8_t)(lc_wal_next_offset(w) * 7), n);
    lc_wal_append(w, lc_slice(many, n));
    assert_int_equal(pthread_create(&helper, NULL, let_go, NULL), 0);
    inject(true, 0);
    lc_alloc_may_fail = refuse_once;
    lc_wal_submit(w);
    bool had_to_wait = injected(true);
    inject(true, -1);
    atomic_store(&wanted, true);
    pthread_join(helper, NULL);
    assert_true(had_to_wait);
    assert_true(lc_wal_wait_durable(w, lc_wal_next_offset(w)));
  }
  assert_int_equal(replayed(w), 4 * 22);
  lc_wal_close(w);
  remove_dir();
}

static int refuses_dir(void *ctx, const char *path) { return has_segment(3) ? -ENOSPC : lc_fs_posix.sync_dir(ctx, path); }
static int refuses_unlink(void *ctx, const char *path) { return strstr(path, "3.stdb.log") && access(path, F_OK) == 0 ? -ENOSPC : lc_fs_posix.unlink(ctx, path); }
/* A segment whose name could not be made durable, nor taken back: the log has failed, and discarding it leaves nothing (simulator, seed 66727). */
static void discard_after_a_failed_rotation(void **state) {
  (void)state;
  struct lc_fs fs = lc_fs_posix;
  fresh_dir();
  struct lc_wal *w = open_log(&fs, 100);
  append_durably(w, 1);
  append_durably(w, 2);
  fs.sync_dir = refuses_dir;
  fs.unlink = refuses_unlink;
  append(w, 1);
  assert_false(lc_wal_wait_durable(w, 4));
  assert_true(has_segment(3));
  fs = lc_fs_posix;
  lc_wal_discard(w);
  assert_false(has_segment(0) || has_segment(1) || has_segment(3));
  remove_dir();
}
/* One that cannot be removed keeps those before it: what is left is a log (simulator, seed 99527). */
static const char *stays;
static int refuses_one(void *ctx, const char *path) { return strcmp(path, stays) == 0 ? -EIO : lc_fs_posix.unlink(ctx, path); }
static void discard_on_a_failing_disk(void **state) {
  (void)state;
  struct lc_fs fs = lc_fs_posix;
  char path[128];
  uint64_t firsts[64];
  fresh_dir();
  struct lc_wal *w = open_log(&fs, 100);
  for (int i = 0; i < 20; i++) append_durably(w, 1);
  uint32_t n = segments(firsts);
  assert_true(n > 4);
  snprintf(path, sizeof path, "%s", segment_path(firsts[2]));
  stays = path;
  fs.unlink = refuses_one;
  lc_wal_discard(w);
  assert_int_equal(segments(firsts), 3);
  w = open_log(&lc_fs_posix, 100);
  assert_int_equal(replayed(w), lc_wal_next_offset(w));
  assert_true(lc_wal_next_offset(w) > firsts[2]);
  lc_wal_close(w);
  remove_dir();
}

int main(void) {
  lc_log_threshold = LC_LOG_ERROR;
  const struct CMUnitTest tests[] = {cmocka_unit_test(case_17_damage_in_an_older_segment), cmocka_unit_test(case_18_nothing_in_the_newest_segment), cmocka_unit_test(case_19_two_processes),
                                     cmocka_unit_test(case_20_rotation), cmocka_unit_test(a_segment_that_is_there), cmocka_unit_test(zero_tails), cmocka_unit_test(tails_that_were_given_up), cmocka_unit_test(epochs_of_the_segment_before), cmocka_unit_test(versions_and_epochs),
                                     cmocka_unit_test(every_file_call), cmocka_unit_test(every_allocation), cmocka_unit_test(every_file_call_of_retention), cmocka_unit_test(too_large),
                                     cmocka_unit_test(no_memory_to_wait), cmocka_unit_test(discard_after_a_failed_rotation), cmocka_unit_test(discard_on_a_failing_disk)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
