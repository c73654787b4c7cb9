/* Databases opened from their folders: snapshots of every column type with the log behind them, damage at every byte, what is kept, and every file call and
 * allocation failing in turn. The model is the datastore that ran. */
#include "db/db.h"
#include "def_text.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include "failing_fs.h"
#include "failures.h"
#include <unistd.h>

static struct lc_error err;
static char dir[64];
static int64_t allocs_left = -1;
static bool alloc_failed;
static bool may_fail(size_t n) {
  (void)n;
  if (allocs_left < 0) return false;
  if (allocs_left-- == 0) return alloc_failed = true;
  return false;
}

/* What is expected to be complained about is not shown. */
static void quiet(bool on) {
  static int kept = -1;
  fflush(stderr);
  if (kept < 0) kept = dup(2);
  if (on && !getenv("LOUD")) assert_non_null(freopen("/dev/null", "w", stderr));
  else dup2(kept, 2);
}

static int set_up(void **state) {
  (void)state;
  strcpy(dir, "/tmp/lightcone-recover-XXXXXX");
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
static bool exists(const char *path) { return access(path, F_OK) == 0; }
static void flip_byte(const char *path, long at, uint8_t bits) {
  FILE *f = fopen(path, "r+b");
  assert_non_null(f);
  if (at < 0) fseek(f, at, SEEK_END);
  else fseek(f, at, SEEK_SET);
  int c = fgetc(f);
  fseek(f, -1, SEEK_CUR);
  fputc(c ^ bits, f);
  fclose(f);
}

/* ---- a database without actor and module ---- */

static const struct lc_module_facts facts = {.database = {{9}}, .program_bytes = {(const uint8_t *)"program", 7}};
static const char schema[] = "table everything\n col id u64 pk auto\n col a u8\n col b u16\n col c u32 index\n col d u64\n col e u128\n col f u256\n col g i8\n col h i16\n col i i32\n col j i64\n"
                             " col k i128\n col l i256\n col m bool\n col n string\n col o f32\n col p f64\n col q identity\n col r timestamp\n col s at\n col t [u16]\n col u ?string\n"
                             " col v (x:i32,y:[string])\n col w {Off,On:u8,Deep:(z:?i64)}\n index vw btree g,m\n"
                             "table texts\n col name string pk\n col body string\n col tag u8 index\n"
                             "table plain\n col v u16\n col text string\n index h hash text\n"
                             "table pairs private\n col a u32\n col b i64\n unique k a\n index k btree a\n"
                             "table unit\n"
                             "table passing event\n col x u8\n"
                             "view seen\n col id u32 pk\n";

struct site { struct lc_fs fs; struct lc_datastore *ds; struct lc_wal *wal; struct lc_db_files files; uint64_t next; struct lc_buf record; };
static uint64_t seed = 1;
static uint32_t rnd(uint32_t n) {
  seed = seed * 6364136223846793005ull + 1442695040888963407ull;
  return (uint32_t)(seed >> 33) % n;
}
static void value(const struct lc_type *t, struct lc_buf *out) {
  switch (t->kind) {
  case LC_T_BOOL: lc_buf_u8(out, (uint8_t)rnd(2)); break;
  case LC_T_STRING: {
    uint32_t n = rnd(40) == 0 ? 3000 + rnd(3000) : rnd(30);
    lc_buf_u32(out, n);
    while (n--) lc_buf_u8(out, (uint8_t)('a' + rnd(26)));
    break;
  }
  case LC_T_ARRAY: {
    uint32_t n = rnd(4);
    lc_buf_u32(out, n);
    while (n--) value(t->elem, out);
    break;
  }
  case LC_T_PRODUCT:
    for (uint32_t i = 0; i < t->n_fields; i++) value(t->fields[i].type, out);
    break;
  case LC_T_SUM: {
    uint32_t tag = rnd(t->n_fields);
    lc_buf_u8(out, (uint8_t)tag);
    value(t->fields[tag].type, out);
    break;
  }
  default:
    for (uint32_t i = 0; i < t->static_size_bytes; i++) lc_buf_u8(out, (uint8_t)rnd(256));
  }
}
static void commit(struct site *s, struct lc_tx *tx) {
  static const struct lc_tx_inputs none;
  const struct lc_tx_delta *delta;
  lc_tx_commit(tx, &delta);
  if (lc_tx_delta_is_logged(delta, &none)) {
    lc_buf_clear(&s->record);
    lc_tx_record_encode(&s->record, delta, &none);
    assert_int_equal(lc_wal_append(s->wal, lc_buf_slice(&s->record)), s->next++);
  }
  lc_tx_delta_release(s->ds, delta);
}
static const struct lc_table_info *table(struct lc_datastore *ds, const char *name) { return lc_datastore_table_by_name(ds, lc_slice_str(name)); }
/* A transaction with a row in some of the tables; ids are the sequence's. */
static void work(struct site *s, uint32_t n) {
  static const char *const names[] = {"everything", "texts", "plain", "pairs", "unit", "passing", "seen"};
  struct lc_buf row = {0};
  for (; n--; lc_wal_submit(s->wal)) {
    struct lc_tx *tx = lc_tx_begin(s->ds);
    assert_non_null(tx);
    for (uint32_t i = 0; i < 7; i++) {
      const struct lc_table_info *t = table(s->ds, names[i]);
      for (uint32_t k = rnd(3); k--; lc_buf_clear(&row)) {
        value(t->row_type, &row);
        if (i == 0) memset(row.data, 0, 8);
        int rc = lc_tx_insert(tx, t->table_id, lc_buf_slice(&row), NULL, NULL, &err);
        if (rc != LC_ERRNO_OK && rc != LC_ERRNO_UNIQUE_EXISTS) fail_msg("%s: %d %s", names[i], rc, err.text);
      }
    }
    if (rnd(4) == 0) {
      struct lc_row_iter *it;
      const struct lc_table_info *t = table(s->ds, names[rnd(5)]);
      assert_int_equal(lc_tx_scan(tx, t->table_id, &it), LC_ERRNO_OK);
      struct lc_slice first = lc_row_iter_next(it);
      lc_buf_slice_append(&row, first);
      lc_row_iter_close(it);
      bool found = true;
      if (first.data) assert_int_equal(lc_tx_delete_row(tx, t->table_id, lc_buf_slice(&row), &found, &err), LC_ERRNO_OK);
      assert_true(found);
      lc_buf_clear(&row);
    }
    commit(s, tx);
  }
  lc_buf_free(&row);
}

static enum lc_status open_log(struct site *s, uint64_t max_segment_bytes) {
  struct lc_wal_options o = {.max_segment_bytes = max_segment_bytes};
  enum lc_status st = lc_wal_open(&s->fs, dir, &o, &s->wal, &err);
  s->files = (struct lc_db_files){.env = &lc_env_system, .fs = &s->fs, .dir = dir, .wal = s->wal, .database = facts.database};
  return st;
}
static struct site create(struct lc_fs fs, uint64_t max_segment_bytes) {
  static struct site s; /* where its fs stays */
  struct lc_module_def *def = def_text(schema);
  s = (struct site){.fs = fs};
  if (open_log(&s, max_segment_bytes) != LC_OK) fail_msg("%s", err.text);
  assert_int_equal(lc_datastore_new(&lc_env_system, &s.ds, &err), LC_OK);
  assert_int_equal(lc_datastore_bootstrap_record(s.ds, &s.record), LC_OK);
  assert_int_equal(lc_wal_append(s.wal, lc_buf_slice(&s.record)), s.next++);
  struct lc_tx *tx = lc_tx_begin(s.ds);
  if (lc_schema_create(tx, def, &facts, &err) != LC_OK) fail_msg("%s", err.text);
  commit(&s, tx);
  lc_wal_submit(s.wal);
  lc_module_def_free(def);
  return s;
}
static void shut(struct site *s) {
  if (s->wal) lc_wal_close(s->wal);
  lc_datastore_free(s->ds);
  lc_buf_free(&s->record);
  *s = (struct site){.fs = s->fs};
}
static enum lc_status reopen(struct site *s, uint64_t max_segment_bytes) {
  enum lc_status st = open_log(s, max_segment_bytes);
  return st == LC_OK ? lc_db_recover(&s->files, &s->ds, &s->next, &err) : st;
}
static enum lc_status snapshot(struct site *s) {
  struct lc_read_view view;
  struct lc_snapfile *f;
  if (lc_read_view_open(s->ds, &view) != LC_OK) return LC_NOMEM;
  enum lc_status st = lc_db_snapshot_write(&s->files, view, s->next - 1, NULL, &f, &err);
  lc_read_view_close(&view);
  if (st != LC_OK) return st;
  assert_true(lc_wal_wait_durable(s->wal, s->next));
  return lc_db_snapshot_publish(&s->files, f, s->next - 1, &err);
}

/* All rows of all tables and the order they have in each index, as one number. */
struct state { uint64_t sum, rows; };
static struct state state_of(struct lc_datastore *ds);
static void add_table(void *ctx, const struct lc_table_info *t) {
  struct { struct lc_datastore *ds; struct state *s; } *c = ctx;
  struct lc_read_view v = {.ds = c->ds};
  struct lc_slice all = lc_slice("\2", 1), none = {0};
  if (t->view) return; /* its rows are nowhere on disk */
  uint64_t sum = lc_hash64(t->name.data, t->name.len, t->table_id + 1000 * t->n_indexes);
  for (uint32_t i = 0; i <= t->n_indexes; i++) {
    struct lc_row_iter *it;
    bool hash = i && t->indexes[i - 1].kind == LC_INDEX_HASH;
    if (hash) continue;
    assert_int_equal(i ? lc_view_scan_range(v, t->indexes[i - 1].index_id, none, 0, all, all, &it, &err) : lc_view_scan(v, t->table_id, &it), LC_ERRNO_OK);
    for (struct lc_slice row; (row = lc_row_iter_next(it)).data; c->s->rows++) sum = sum * 31 + lc_hash64(row.data, row.len, 3);
    lc_row_iter_close(it);
  }
  c->s->sum = c->s->sum * 1000003 + sum;
}
static struct state state_of(struct lc_datastore *ds) {
  struct state s = {0};
  struct { struct lc_datastore *ds; struct state *s; } c = {ds, &s};
  lc_datastore_each_table(ds, add_table, &c);
  return s;
}
static void expect_state(struct lc_datastore *ds, struct state want) {
  struct state got = state_of(ds);
  assert_int_equal(got.rows, want.rows);
  assert_int_equal(got.sum, want.sum);
}

/* ---- tests ---- */

/* Snapshot, more transactions, restart: the same rows, indexes, sequences; and the log is not read before the snapshot. */
static void test_round_trip(void **unused) {
  (void)unused;
  for (uint64_t round = 0; round < 6; round++) {
    seed = round + 1;
    struct site s = create(lc_fs_posix, round % 2 ? 5000 : 0);
    for (uint32_t k = 0; k < round; k++) {
      work(&s, 1 + rnd(60));
      assert_int_equal(snapshot(&s), LC_OK);
      assert_true(exists(file(s.next - 1, "")));
    }
    uint64_t at = round ? s.next : 0;
    work(&s, (uint32_t)round % 3 * 10);
    struct state want = state_of(s.ds);
    uint64_t next = s.next;
    shut(&s);
    if (reopen(&s, 0) != LC_OK) fail_msg("%s", err.text);
    assert_int_equal(s.next, next);
    assert_int_equal(s.files.recovered_from, at);
    expect_state(s.ds, want);
    work(&s, 20); /* it goes on */
    want = state_of(s.ds);
    shut(&s);
    if (reopen(&s, 0) != LC_OK) fail_msg("%s", err.text);
    expect_state(s.ds, want);
    shut(&s);
    tear_down(NULL);
    set_up(NULL);
  }
}

/* A restart from a snapshot gives the next values of sequences that a run without it would. */
static void test_sequences(void **unused) {
  (void)unused;
  struct site s = create(lc_fs_posix, 0);
  struct lc_buf row = {0}, ids[2] = {{0}, {0}};
  work(&s, 30);
  assert_int_equal(snapshot(&s), LC_OK);
  for (int pass = 0; pass < 2; pass++) {
    struct lc_tx *tx = lc_tx_begin(s.ds);
    for (int i = 0; i < 10; i++, lc_buf_clear(&row)) {
      value(table(s.ds, "everything")->row_type, &row);
      memset(row.data, 0, 8);
      assert_int_equal(lc_tx_insert(tx, table(s.ds, "everything")->table_id, lc_buf_slice(&row), &ids[pass], NULL, &err), LC_ERRNO_OK);
    }
    lc_tx_rollback(tx);
    shut(&s);
    if (reopen(&s, 0) != LC_OK) fail_msg("%s", err.text);
  }
  assert_int_equal(ids[0].len, 80);
  uint64_t a, b;
  memcpy(&a, ids[0].data, 8);
  memcpy(&b, ids[1].data, 8);
  assert_true(a == b); /* the later ones may have a gap by design */
  lc_buf_free(&row);
  lc_buf_free(&ids[0]);
  lc_buf_free(&ids[1]);
  shut(&s);
}

/* Any changed byte of the newest snapshot: it is named and set aside, the older one used, and the state is the same. Both damaged: the log alone. */
static void test_damaged_snapshots(void **unused) {
  (void)unused;
  struct site s = create(lc_fs_posix, 0);
  work(&s, 2);
  uint64_t first = s.next - 1;
  assert_int_equal(snapshot(&s), LC_OK);
  work(&s, 2);
  uint64_t second = s.next - 1;
  assert_int_equal(snapshot(&s), LC_OK);
  work(&s, 2);
  struct state want = state_of(s.ds);
  shut(&s);
  char path[128], aside[128], command[400];
  strcpy(path, file(second, ""));
  strcpy(aside, file(second, ".damaged"));
  FILE *f = fopen(path, "rb");
  fseek(f, 0, SEEK_END);
  long size = ftell(f);
  fclose(f);
  quiet(true);
  for (long at = 0; at < size; at += at < 300 ? 11 : 997) {
    flip_byte(path, at, 0x20);
    if (reopen(&s, 0) != LC_OK) fail_msg("byte %ld: %s", at, err.text);
    assert_int_equal(s.files.recovered_from, first + 1);
    expect_state(s.ds, want);
    shut(&s);
    assert_true(exists(aside) && !exists(path));
    rename(aside, path);
    flip_byte(path, at, 0x20);
  }
  assert_int_equal(reopen(&s, 0), LC_OK);
  assert_int_equal(s.files.recovered_from, second + 1);
  shut(&s);
  flip_byte(path, -1, 1);
  flip_byte(file(first, ""), 200, 1);
  if (reopen(&s, 0) != LC_OK) fail_msg("%s", err.text);
  assert_int_equal(s.files.recovered_from, 0);
  expect_state(s.ds, want);
  shut(&s);
  snprintf(command, sizeof command, "rm %s; : > %s", aside, path); /* empty, and a temporary file of a crash beside it */
  assert_int_equal(system(command), 0);
  snprintf(command, sizeof command, "echo x > %s", file(77, ".tmp"));
  assert_int_equal(system(command), 0);
  assert_int_equal(reopen(&s, 0), LC_OK);
  expect_state(s.ds, want);
  assert_true(exists(aside) && !exists(file(77, ".tmp")));
  shut(&s);
  quiet(false);
}

/* What is kept by default, and that nothing needed goes: with the two newest snapshots every state is there again, also when the newest is damaged. */
static void test_retention(void **unused) {
  (void)unused;
  for (int all = 0; all < 2; all++) {
    struct site s = create(lc_fs_posix, 3000);
    s.files.retain_all = all;
    uint64_t at[6], *offsets;
    uint32_t n;
    for (int i = 0; i < 6; i++) {
      work(&s, 40);
      at[i] = s.next - 1;
      assert_int_equal(snapshot(&s), LC_OK);
    }
    work(&s, 10);
    assert_int_equal(lc_snapfile_list(&lc_fs_posix, dir, &offsets, &n, &err), LC_OK);
    assert_int_equal(n, all ? 6 : 2);
    assert_true(offsets[n - 1] == at[5] && offsets[n - 2] == at[4]);
    lc_free(offsets);
    struct state want = state_of(s.ds);
    shut(&s);
    assert_int_equal(reopen(&s, 0), LC_OK);
    uint64_t first = lc_wal_first_offset(s.wal);
    if (all) assert_int_equal(first, 0);
    else assert_in_range(first, at[3], at[4] + 1); /* bounded, and reaching back to the older one */
    expect_state(s.ds, want);
    shut(&s);
    quiet(true);
    flip_byte(file(at[5], ""), 1000, 4);
    if (reopen(&s, 0) != LC_OK) fail_msg("%s", err.text);
    assert_int_equal(s.files.recovered_from, at[4] + 1);
    expect_state(s.ds, want);
    shut(&s);
    flip_byte(file(at[4], ""), 1000, 4);
    enum lc_status st = reopen(&s, 0);
    if (all) {
      assert_int_equal(st, LC_OK);
      assert_int_equal(s.files.recovered_from, at[3] + 1);
      expect_state(s.ds, want);
    } else { /* no state to believe in: refused, and said why */
      assert_int_equal(st, LC_CORRUPT);
      assert_non_null(strstr(err.text, "No connected snapshot found, commitlog starts at "));
      assert_non_null(strstr(err.text, "checksum of block"));
    }
    quiet(false);
    shut(&s);
    tear_down(NULL);
    set_up(NULL);
  }
}

/* After a restart the older snapshot is checked before the log behind which it stands goes: damage that nobody has seen yet costs no history. */
static void test_retention_checks(void **unused) {
  (void)unused;
  struct site s = create(lc_fs_posix, 1000);
  work(&s, 30);
  assert_int_equal(snapshot(&s), LC_OK);
  work(&s, 30);
  uint64_t second = s.next - 1;
  assert_int_equal(snapshot(&s), LC_OK);
  uint64_t first_offset;
  shut(&s);
  assert_int_equal(reopen(&s, 1000), LC_OK);
  first_offset = lc_wal_first_offset(s.wal);
  s.files.n_whole = 0; /* as if the state had come another way */
  flip_byte(file(second, ""), 500, 1);
  work(&s, 30);
  quiet(true);
  assert_int_equal(snapshot(&s), LC_OK);
  quiet(false);
  assert_true(exists(file(second, ".damaged")));
  assert_int_equal(lc_wal_first_offset(s.wal), first_offset);
  shut(&s);
}

/* The log has lost durable transactions, which a snapshot shows; or it is another database's. */
static void test_lost_and_foreign(void **unused) {
  (void)unused;
  char path[128];
  struct site s = create(lc_fs_posix, 0);
  work(&s, 20);
  struct state before = state_of(s.ds);
  assert_true(lc_wal_wait_durable(s.wal, s.next));
  uint64_t end = s.next;
  snprintf(path, sizeof path, "%s/clog/%020u.stdb.log", dir, 0);
  FILE *f = fopen(path, "rb");
  fseek(f, 0, SEEK_END);
  long size = ftell(f);
  fclose(f);
  work(&s, 5);
  uint64_t at = s.next - 1;
  assert_int_equal(snapshot(&s), LC_OK);
  shut(&s);
  assert_int_equal(truncate(path, size), 0);
  assert_int_equal(reopen(&s, 0), LC_CORRUPT);
  assert_non_null(strstr(err.text, "--accept-lost-transactions"));
  assert_true(exists(file(at, "")));
  shut(&s);
  assert_int_equal(open_log(&s, 0), LC_OK);
  s.files.accept_lost_transactions = true;
  quiet(true);
  if (lc_db_recover(&s.files, &s.ds, &s.next, &err) != LC_OK) fail_msg("%s", err.text);
  quiet(false);
  assert_int_equal(s.next, end);
  expect_state(s.ds, before);
  assert_int_equal(snapshot(&s), LC_OK);
  shut(&s);
  assert_int_equal(open_log(&s, 0), LC_OK);
  s.files.database.bytes[0] = 8;
  assert_int_equal(lc_db_recover(&s.files, &s.ds, &s.next, &err), LC_INVALID);
  assert_non_null(strstr(err.text, "Snapshot has incorrect database_identity: expected "));
  shut(&s);
}

static const char *segment(uint64_t first) {
  static char path[128];
  snprintf(path, sizeof path, "%s/clog/%020llu.stdb.log", dir, (unsigned long long)first);
  return path;
}
static long file_bytes(const char *path) {
  FILE *f = fopen(path, "rb");
  assert_non_null(f);
  fseek(f, 0, SEEK_END);
  long n = ftell(f);
  fclose(f);
  return n;
}
static void spit(const char *path, const void *bytes, size_t n) {
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, n, f), n);
  fclose(f);
}
/* A damaged end that a snapshot shows to have been durable is no torn tail: nothing is cut off, however often it is opened, unless that is asked for. */
static void test_damaged_end_before_a_snapshot(void **unused) {
  (void)unused;
  struct lc_wal_options accept = {.accept_lost_transactions = true};
  struct site s = create(lc_fs_posix, 0);
  work(&s, 20);
  struct state before = state_of(s.ds);
  assert_true(lc_wal_wait_durable(s.wal, s.next));
  uint64_t end = s.next;
  long at = file_bytes(segment(0));
  while (s.next == end) work(&s, 1);
  assert_int_equal(s.next, end + 1);
  assert_int_equal(snapshot(&s), LC_OK);
  shut(&s);
  long size = file_bytes(segment(0));
  flip_byte(segment(0), at + 30, 1);
  for (int i = 0; i < 2; i++) {
    char place[64];
    snprintf(place, sizeof place, "at byte position %ld (offset %llu): checksum mismatch", at, (unsigned long long)end);
    assert_int_equal(reopen(&s, 0), LC_CORRUPT);
    if (!strstr(err.text, segment(0)) || !strstr(err.text, place) || !strstr(err.text, "not a torn tail") || !strstr(err.text, "--accept-lost-transactions")) fail_msg("%s", err.text);
    assert_int_equal(file_bytes(segment(0)), size);
    shut(&s);
  }
  quiet(true);
  assert_int_equal(lc_wal_open(&s.fs, dir, &accept, &s.wal, &err), LC_OK);
  s.files = (struct lc_db_files){.env = &lc_env_system, .fs = &s.fs, .dir = dir, .wal = s.wal, .database = facts.database, .accept_lost_transactions = true};
  assert_int_equal(lc_db_recover(&s.files, &s.ds, &s.next, &err), LC_OK);
  quiet(false);
  assert_int_equal(s.next, end);
  expect_state(s.ds, before);
  shut(&s);
}
/* Recovery gives this state, and a second one the same again. */
static void expect_twice(struct state want, uint64_t next) {
  for (int i = 0; i < 2; i++) {
    struct site s = {.fs = lc_fs_posix};
    if (reopen(&s, 0) != LC_OK) fail_msg("%s", err.text);
    assert_int_equal(s.next, next);
    expect_state(s.ds, want);
    shut(&s);
  }
}

/* spec/06 §21 case 16, 18 for whole databases: the log ends at any byte of its last commit, and in zeros; the newest segment has a header only, a part of one, zeros, nothing. The state is
 * that of all commits but the last one, again after a second recovery, with a snapshot and without; the next transaction gets the lost offset. */
static void test_torn_ends(void **unused) {
  (void)unused;
  quiet(true);
  for (int with_snapshot = 0; with_snapshot < 2; with_snapshot++) {
    struct site s = create(lc_fs_posix, 0);
    work(&s, 12);
    if (with_snapshot) assert_int_equal(snapshot(&s), LC_OK);
    work(&s, 3);
    assert_true(lc_wal_wait_durable(s.wal, s.next));
    struct state before = state_of(s.ds), after;
    uint64_t next = s.next;
    long whole = file_bytes(segment(0));
    while (s.next == next) work(&s, 1);
    assert_int_equal(s.next, next + 1);
    after = state_of(s.ds);
    shut(&s);
    long full = file_bytes(segment(0)), step = (full - whole) / 40 + 1;
    uint8_t *bytes = malloc((size_t)full + 2000);
    FILE *f = fopen(segment(0), "rb");
    assert_int_equal(fread(bytes, 1, (size_t)full, f), full);
    fclose(f);
    expect_twice(after, next + 1);
    for (long at = whole; at < full; at += at < whole + 30 || at > full - 8 ? 1 : step) {
      spit(segment(0), bytes, (size_t)at);
      expect_twice(before, next);
    }
    for (long zeros = 1; zeros < 2000; zeros += zeros < 30 ? 1 : 491) { /* room that was allocated and never written */
      uint8_t *tail = calloc(1, (size_t)(whole + zeros));
      memcpy(tail, bytes, (size_t)whole);
      spit(segment(0), tail, (size_t)(whole + zeros));
      free(tail);
      expect_twice(before, next);
    }
    static const uint8_t none[600];
    for (size_t n = 0; n <= 10; n++) { /* a newest segment with nothing in it */
      spit(segment(0), bytes, (size_t)full);
      spit(segment(next + 1), bytes, n);
      expect_twice(after, next + 1);
      assert_false(exists(segment(next + 1)));
    }
    for (size_t n = 1; n <= 10; n += 9) {
      spit(segment(next + 1), none, n);
      struct site t = {.fs = lc_fs_posix}; /* less than a header is none; another header is damage */
      assert_int_equal(reopen(&t, 0), n < 10 ? LC_OK : LC_CORRUPT);
      shut(&t);
      unlink(segment(next + 1));
      expect_twice(after, next + 1);
    }
    spit(segment(0), bytes, (size_t)full - 1);
    struct site again = {.fs = lc_fs_posix};
    assert_int_equal(reopen(&again, 0), LC_OK);
    assert_int_equal(again.next, next);
    while (again.next == next) work(&again, 1); /* commit() compares the offset */
    after = state_of(again.ds);
    shut(&again);
    expect_twice(after, next + 1);
    free(bytes);
    tear_down(NULL);
    set_up(NULL);
  }
  quiet(false);
}

/* A log that does not begin with transaction 0 needs a snapshot that reaches its beginning: an older one is none. */
static void test_lost_beginning(void **unused) {
  (void)unused;
  struct site s = create(lc_fs_posix, 3000);
  s.files.retain_all = true;
  work(&s, 10);
  assert_int_equal(snapshot(&s), LC_OK);
  uint64_t old = s.next - 1;
  work(&s, 40);
  assert_int_equal(snapshot(&s), LC_OK);
  uint64_t newest = s.next - 1;
  work(&s, 10);
  assert_true(lc_wal_wait_durable(s.wal, s.next));
  struct state want = state_of(s.ds);
  uint64_t next = s.next, gone[100], n = 0, first = 0;
  shut(&s);
  for (uint64_t at = 0; at <= newest; at++)
    if (exists(segment(at))) gone[n++] = at;
  assert_true(n > 4);
  for (uint64_t i = 0; i + 1 < n; i++) {
    assert_int_equal(unlink(segment(gone[i])), 0);
    first = gone[i + 1];
    expect_twice(want, next);
  }
  assert_true(first > old + 1 && first <= newest + 1);
  assert_int_equal(unlink(file(newest, "")), 0);
  assert_int_equal(reopen(&s, 3000), LC_CORRUPT);
  char expected[200];
  snprintf(expected, sizeof expected, "No connected snapshot found, commitlog starts at %llu; the snapshot at %llu is too old", (unsigned long long)first, (unsigned long long)old);
  if (!strstr(err.text, expected)) fail_msg("%s", err.text);
  shut(&s);
  assert_int_equal(unlink(file(old, "")), 0);
  assert_int_equal(reopen(&s, 3000), LC_CORRUPT);
  assert_non_null(strstr(err.text, "No connected snapshot found"));
  shut(&s);
}

/* Each file call and each allocation of snapshots and recovery fails once: it fails cleanly, and the folder afterwards gives the same state. */
static void every_failure(bool memory) {
  int n_write = 0, n_read = 0;
  quiet(true);
  for (long i = 0;; i = memory ? next_failure(i, 40, 9) : i + 1) {
    seed = 5;
    struct site s = create(failing_fs(), 2000);
    fs_errno = i % 2 ? ENOSPC : EIO;
    work(&s, 12);
    assert_int_equal(snapshot(&s), LC_OK);
    work(&s, 12);
    assert_int_equal(snapshot(&s), LC_OK);
    work(&s, 12);
    assert_true(lc_wal_wait_durable(s.wal, s.next));
    struct state want = state_of(s.ds);
    alloc_failed = false;
    lc_alloc_may_fail = memory ? may_fail : NULL;
    memory ? (void)(allocs_left = i) : fs_fail_at(i);
    enum lc_status st = snapshot(&s); /* the third: others go */
    bool failed = memory ? alloc_failed : atomic_load(&fs_failed);
    if (st != LC_OK) assert_true(failed && st == (memory ? LC_NOMEM : LC_IO));
    fs_fail_at(-1);
    allocs_left = -1;
    lc_alloc_may_fail = NULL;
    n_write += failed;
    expect_state(s.ds, want);
    work(&s, 3); /* a failed snapshot does the database no harm */
    want = state_of(s.ds);
    uint64_t next = s.next;
    shut(&s);
    s.fs = failing_fs();
    if (reopen(&s, 2000) != LC_OK) fail_msg("failure %ld in a snapshot: %s", i, err.text);
    assert_int_equal(s.next, next);
    expect_state(s.ds, want);
    shut(&s);
    tear_down(NULL);
    set_up(NULL);
    if (!failed) break;
  }
  seed = 6;
  struct site s = create(failing_fs(), 2000);
  for (int i = 0; i < 3; i++) {
    work(&s, 12);
    if (i) assert_int_equal(snapshot(&s), LC_OK);
  }
  work(&s, 5);
  struct state want = state_of(s.ds);
  shut(&s);
  for (long i = 0;; i = memory ? next_failure(i, 40, 9) : i + 1) {
    s.fs = failing_fs();
    alloc_failed = false;
    assert_int_equal(open_log(&s, 2000), LC_OK);
    lc_alloc_may_fail = memory ? may_fail : NULL;
    memory ? (void)(allocs_left = i) : fs_fail_at(i);
    enum lc_status st = lc_db_recover(&s.files, &s.ds, &s.next, &err);
    bool failed = memory ? alloc_failed : atomic_load(&fs_failed);
    fs_fail_at(-1);
    allocs_left = -1;
    lc_alloc_may_fail = NULL;
    n_read += failed;
    if (st == LC_OK) expect_state(s.ds, want); /* an unreadable snapshot has a substitute */
    else {
      assert_true(failed);
      if (memory) assert_int_equal(st, LC_NOMEM);
    }
    shut(&s);
    if (!failed) break;
  }
  s.fs = lc_fs_posix;
  assert_int_equal(reopen(&s, 2000), LC_OK); /* none of it has done harm to what is on disk */
  expect_state(s.ds, want);
  assert_int_equal(s.files.n_whole, 1);
  shut(&s);
  assert_true(n_write > 12 && n_read > 8);
  quiet(false);
}
static void test_every_file_call(void **unused) { (void)unused, every_failure(false); }
static void test_every_allocation(void **unused) { (void)unused, every_failure(true); }

int main(void) {
  lc_log_threshold = LC_LOG_ERROR;
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
  const struct CMUnitTest tests[] = {TEST(test_round_trip), TEST(test_sequences), TEST(test_damaged_snapshots), TEST(test_retention), TEST(test_retention_checks), TEST(test_lost_and_foreign), TEST(test_torn_ends), TEST(test_damaged_end_before_a_snapshot), TEST(test_lost_beginning),
                                     TEST(test_every_file_call), TEST(test_every_allocation)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
