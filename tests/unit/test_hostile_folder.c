/* Logs and snapshots whose checksums are right and whose contents are not, as `lightcone import` may be given: bytes of the records and of the snapshot's rows are changed by
 * chance, those of the catalog above all. What comes of it is an error or a state that can be read and worked on; never a crash, a hang, or memory without a limit.
 *
 * ROUNDS=N SEED=S build/asan/tests/test_hostile_folder for more of it; what fails tells the seed. */
#include "wal/wal.h"
#include "engine/engine.h"
#include "def_text.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <signal.h>
#include <unistd.h>

#define EVERYTHING "table everything\n col id u64 pk auto\n col a u8\n col c u32 index\n col e u128\n col m bool\n col n string\n col o f32\n col q identity\n col s at\n col t [u16]\n col u ?string\n" \
                   " col v (x:i32,y:[string])\n col w {Off,On:u8,Deep:(z:?i64)}\n"
#define PLAIN "table plain\n col v u16\n col text string\n index h hash text\n"
#define REST "table pairs private\n col a u32\n col b i64\n unique k a\n index k btree a\ntable unit\ntable passing event\n col x u8\ntable timers private\n col id u64 pk auto\n col at at\n schedule timers_s tick at\n"
static const char schema[] = EVERYTHING " index mc btree m,c\ntable texts\n col name string pk\n col body string\n col tag u8 index\n" PLAIN REST
                                        "view seen\n col id u32 pk\nrls SELECT * FROM texts\n";
static const char changed[] = EVERYTHING " col added u32 = 07000000\n index mc btree m,c\ntable texts\n col name string pk\n col body string\n col tag u8\n" PLAIN REST "table fresh\n col id u8 pk\n";
static const struct lc_module_facts facts = {.database = {{9}}, .program_bytes = {(const uint8_t *)"program", 7}};
enum { MEMORY_BYTES = 256 << 20 };

static uint64_t random_state, seed, most_bytes;
static uint64_t rnd(uint64_t n) {
  random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
  return (random_state >> 33) % n;
}
static bool may_fail(size_t n) { /* nothing that is so large follows from folders that are so small */
  if (n > most_bytes) most_bytes = n;
  return n > MEMORY_BYTES;
}
static void tell_seed(int sig) {
  char text[64];
  int n = snprintf(text, sizeof text, "\nsignal %d, SEED=%llu ROUNDS=1\n", sig, (unsigned long long)seed);
  if (write(2, text, (size_t)n) != n) _exit(2);
  signal(sig, SIG_DFL);
  raise(sig);
}

static void value(const struct lc_type *t, struct lc_buf *out) {
  if (t->kind == LC_T_STRING || t->kind == LC_T_ARRAY) {
    uint32_t n = (uint32_t)rnd(5);
    lc_buf_u32(out, n);
    while (n--)
      if (t->kind == LC_T_STRING) lc_buf_u8(out, (uint8_t)('a' + rnd(26)));
      else value(t->elem, out);
  } else if (t->kind == LC_T_PRODUCT) {
    for (uint32_t i = 0; i < t->n_fields; i++) value(t->fields[i].type, out);
  } else if (t->kind == LC_T_SUM) {
    uint32_t tag = (uint32_t)rnd(t->n_fields);
    lc_buf_u8(out, (uint8_t)tag);
    value(t->fields[tag].type, out);
  } else if (t->kind == LC_T_BOOL) {
    lc_buf_u8(out, (uint8_t)rnd(2));
  } else {
    for (uint32_t i = 0; i < t->static_size_bytes; i++) lc_buf_u8(out, (uint8_t)rnd(256));
  }
}

/* ---- what is sound: records, and the blocks of a snapshot ---- */

enum { MAX_RECORDS = 64, MAX_BLOCKS = 128 };
static struct lc_buf records[MAX_RECORDS];
static struct { struct lc_buf rows; uint32_t table_id; uint64_t n_rows; } blocks[MAX_BLOCKS];
static uint32_t n_records, n_blocks, n_schema_records; /* the first ones are of the schema */

static void commit(struct lc_datastore *ds, struct lc_tx *tx) {
  static const struct lc_tx_inputs none;
  const struct lc_tx_delta *delta;
  lc_tx_commit(tx, &delta);
  if (lc_tx_delta_is_logged(delta, &none)) lc_tx_record_encode(&records[n_records++], delta, &none);
  lc_tx_delta_release(ds, delta);
}
/* Insertions, and a deletion, in any table; errors are allowed. */
static void work_on(struct lc_datastore *ds, struct lc_tx *tx, const struct lc_table_info *t) {
  struct lc_buf row = {0};
  struct lc_error err;
  struct lc_row_iter *it;
  bool found;
  for (uint64_t n = 1 + rnd(3); n--; lc_buf_clear(&row)) {
    value(t->row_type, &row);
    if (row.len >= 8 && rnd(2)) memset(row.data, 0, 8);
    lc_tx_insert(tx, t->table_id, lc_buf_slice(&row), NULL, NULL, &err);
  }
  if (rnd(3) == 0 && lc_tx_scan(tx, t->table_id, &it) == LC_ERRNO_OK) {
    struct lc_slice first = lc_row_iter_next(it);
    lc_buf_slice_append(&row, first);
    lc_row_iter_close(it);
    if (first.data) lc_tx_delete_row(tx, t->table_id, lc_buf_slice(&row), &found, &err);
  }
  lc_buf_free(&row);
  (void)ds;
}
struct tables { const struct lc_table_info *list[64]; uint32_t n; };
static void on_table(void *ctx, const struct lc_table_info *t) {
  struct tables *all = ctx;
  if (!t->is_system && !t->view && all->n < 64) all->list[all->n++] = t;
}
static void work(struct lc_datastore *ds, uint32_t n) {
  while (n--) {
    struct tables all = {.n = 0};
    lc_datastore_each_table(ds, on_table, &all);
    struct lc_tx *tx = lc_tx_begin(ds);
    for (uint32_t i = 0; i < all.n; i++) work_on(ds, tx, all.list[i]);
    commit(ds, tx);
  }
}
static enum lc_status on_block(void *ctx, const struct lc_row_block *b, struct lc_error *err) {
  (void)ctx, (void)err;
  blocks[n_blocks].table_id = b->table->table_id;
  blocks[n_blocks].n_rows = b->n_rows;
  lc_buf_slice_append(&blocks[n_blocks++].rows, b->rows);
  return LC_OK;
}
static int make_sound(void **state) {
  (void)state;
  struct lc_error err;
  struct lc_datastore *ds;
  struct lc_read_view view;
  struct lc_module_def *def = def_text(schema), *next = def_text(changed);
  random_state = 1;
  if (lc_datastore_new(&lc_env_system, &ds, &err) != LC_OK || lc_datastore_bootstrap_record(ds, &records[n_records++]) != LC_OK) return -1;
  struct lc_tx *tx = lc_tx_begin(ds);
  if (lc_schema_create(tx, def, &facts, &err) != LC_OK) return -1;
  commit(ds, tx);
  n_schema_records = n_records;
  work(ds, 12);
  tx = lc_tx_begin(ds);
  if (lc_schema_update(tx, def, next, &facts, &err) != LC_OK) return fprintf(stderr, "%s\n", err.text), -1;
  commit(ds, tx);
  work(ds, 6);
  if (lc_read_view_open(ds, &view) != LC_OK || lc_view_dump(view, 400, on_block, NULL, &err) != LC_OK) return -1;
  lc_read_view_close(&view);
  lc_datastore_free(ds);
  lc_module_def_free(def);
  lc_module_def_free(next);
  static const int signals[] = {SIGABRT, SIGALRM};
  for (int i = 0; i < 2; i++) signal(signals[i], tell_seed);
  return n_records < MAX_RECORDS && n_blocks < MAX_BLOCKS ? 0 : -1;
}
static int forget_sound(void **state) {
  (void)state;
  for (uint32_t i = 0; i < n_records; i++) lc_buf_free(&records[i]);
  for (uint32_t i = 0; i < n_blocks; i++) lc_buf_free(&blocks[i].rows);
  return 0;
}

/* ---- what is not ---- */

static void mutate(struct lc_buf *b) {
  static const uint64_t edges[] = {0, 1, 2, 3, 7, 8, 12, 21, 63, 64, 65, 255, 256, 4095, 4096, 4097, 4099, 4103, 65535, 65536, 0x7fffffff, 0x80000000, 0xffffffbf, 0xffffffc0, 0xffffffff, 0x7fffffffffffffff, UINT64_MAX};
  for (uint64_t n = 1 + rnd(3); n-- && b->len;) {
    size_t at = rnd(b->len), left = b->len - at, width = (size_t)1 << rnd(4);
    if (width > left) width = left;
    uint64_t v = edges[rnd(sizeof edges / sizeof *edges)];
    size_t from = rnd(b->len), len = 1 + rnd(40);
    if (len > b->len - from) len = b->len - from;
    switch (rnd(6)) {
    case 0: b->data[at] ^= (uint8_t)(1u << rnd(8)); break;
    case 1: memcpy(b->data + at, &v, width); break;
    case 2: b->data[at] = (uint8_t)(b->data[at] + rnd(5) - 2); break;
    case 3: memmove(b->data + at, b->data + from, len < left ? len : left); break; /* part of another row */
    case 4: /* something goes */
      if (len > left) len = left;
      memmove(b->data + at, b->data + at + len, left - len);
      b->len -= len;
      break;
    default: /* something comes twice */
      lc_buf_reserve(b, len);
      memmove(b->data + at + len, b->data + at, left);
      if (at + len > from) memmove(b->data + at, b->data + from, at > from ? (len < at - from ? len : at - from) : 0);
      b->len += len;
    }
  }
}

static void read_table(void *ctx, const struct lc_table_info *t) {
  struct lc_read_view v = {.ds = ctx};
  struct lc_slice all = lc_slice("\2", 1), none = {0};
  struct lc_buf json = {0};
  struct lc_error err;
  for (uint32_t i = 0; i <= t->n_indexes; i++) {
    struct lc_row_iter *it;
    if ((i ? lc_view_scan_range(v, t->indexes[i - 1].index_id, none, 0, all, all, &it, &err) : lc_view_scan(v, t->table_id, &it)) != LC_ERRNO_OK) continue;
    for (struct lc_slice row; (row = lc_row_iter_next(it)).data;) {
      struct lc_reader r = lc_reader(row);
      if (i == 0) lc_json_write_value(&json, t->row_type, NULL, &r, LC_JSON_U, &err);
    }
    lc_row_iter_close(it);
  }
  lc_buf_free(&json);
}
static enum lc_status pass_over(void *ctx, const struct lc_row_block *b, struct lc_error *err) { return (void)ctx, (void)b, (void)err, LC_OK; }
/* A state that was accepted can be read, dumped, worked on and migrated. */
static void use(struct lc_datastore *ds) {
  struct lc_error err;
  struct lc_module_facts found;
  struct lc_read_view view;
  struct tables all = {.n = 0};
  lc_datastore_each_table(ds, read_table, ds);
  lc_datastore_module(ds, &found);
  if (lc_read_view_open(ds, &view) == LC_OK) {
    lc_view_dump(view, 4096, pass_over, NULL, &err);
    lc_read_view_close(&view);
  }
  lc_datastore_each_table(ds, on_table, &all);
  for (int rolled_back = 0; rolled_back < 2; rolled_back++) {
    const struct lc_tx_delta *delta;
    struct lc_tx *tx = lc_tx_begin(ds);
    for (uint32_t i = 0; i < all.n; i++) work_on(ds, tx, all.list[i]);
    if (rolled_back) {
      lc_tx_rollback(tx);
    } else {
      lc_tx_commit(tx, &delta);
      lc_tx_delta_release(ds, delta);
    }
  }
  struct lc_module_def *def = def_text(changed), *back = def_text(schema);
  struct lc_tx *tx = lc_tx_begin(ds);
  lc_schema_update(tx, def, back, &facts, &err);
  lc_tx_rollback(tx);
  lc_module_def_free(def);
  lc_module_def_free(back);
  lc_datastore_each_table(ds, read_table, ds);
}

static uint64_t n_refused, n_accepted;
static void end_round(struct lc_datastore *ds, enum lc_status st, const struct lc_error *err) {
  struct lc_error fault;
  if (st == LC_OK && (st = lc_datastore_check_catalog(ds, &fault)) != LC_OK) err = &fault;
  if (st == LC_OK) use(ds), n_accepted++;
  else n_refused++;
  if (st != LC_OK && st != LC_CORRUPT && st != LC_NOMEM && st != LC_LIMIT && st != LC_UNSUPPORTED && st != LC_INVALID) fail_msg("SEED=%llu ROUNDS=1: %d %s", (unsigned long long)seed, (int)st, err->text);
  if (st != LC_OK && !*err->text) fail_msg("SEED=%llu ROUNDS=1: an error without a text", (unsigned long long)seed);
  if (st == LC_NOMEM && most_bytes <= MEMORY_BYTES) fail_msg("SEED=%llu ROUNDS=1: out of memory for nothing: %s", (unsigned long long)seed, err->text);
  lc_datastore_free(ds);
}
static void each_round(void (*fn)(void)) {
  const char *rounds = getenv("ROUNDS"), *first = getenv("SEED");
  seed = first ? strtoull(first, NULL, 10) : 1;
  n_refused = n_accepted = 0;
  for (uint64_t n = rounds ? strtoull(rounds, NULL, 10) : 1500; n--; seed++) {
    random_state = seed * 0x9e3779b97f4a7c15u;
    most_bytes = 0;
    lc_alloc_may_fail = may_fail;
    alarm(20);
    fn();
    alarm(0);
    lc_alloc_may_fail = NULL;
  }
  if (!rounds) assert_true(n_refused > 200 && n_accepted > 200);
}

static void one_log(void) {
  struct lc_error err = {0};
  struct lc_datastore *ds;
  uint32_t target = (uint32_t)(rnd(3) ? rnd(n_schema_records) : rnd(n_records));
  assert_int_equal(lc_datastore_new(&lc_env_system, &ds, &err), LC_OK);
  enum lc_status st = LC_OK;
  for (uint32_t i = 0; i < n_records && st == LC_OK; i++) {
    size_t used = 0;
    struct lc_buf copy = {0};
    lc_buf_slice_append(&copy, lc_buf_slice(&records[i]));
    if (i == target) mutate(&copy);
    st = lc_datastore_replay(ds, lc_buf_slice(&copy), 1, &used, &err);
    if (st == LC_OK && used != copy.len) st = lc_fail(&err, LC_CORRUPT, "too long");
    lc_buf_free(&copy);
  }
  end_round(ds, st, &err);
}
static void one_snapshot(void) {
  struct lc_error err = {0};
  struct lc_datastore *ds;
  struct lc_restore *restore = NULL;
  uint32_t target = (uint32_t)rnd(n_blocks);
  assert_int_equal(lc_datastore_new(&lc_env_system, &ds, &err), LC_OK);
  assert_int_equal(lc_datastore_restore_begin(ds, &restore, &err), LC_OK);
  enum lc_status st = LC_OK;
  for (uint32_t i = 0; i < n_blocks && st == LC_OK; i++) {
    struct lc_buf copy = {0};
    uint32_t id = blocks[i].table_id;
    uint64_t n = blocks[i].n_rows;
    lc_buf_slice_append(&copy, lc_buf_slice(&blocks[i].rows));
    if (i == target && rnd(8) == 0) id = (uint32_t)rnd(4110);
    else if (i == target && rnd(8) == 0) n = rnd(2) ? UINT64_MAX : n + 1;
    else if (i == target) mutate(&copy);
    st = lc_datastore_restore_rows(restore, id, lc_buf_slice(&copy), n, &err);
    lc_buf_free(&copy);
  }
  if (st == LC_OK) {
    st = lc_datastore_restore_finish(restore, &err);
    restore = NULL;
  }
  lc_datastore_restore_abort(restore);
  end_round(ds, st, &err);
}
/* ---- files: segments, plain and compressed, their indexes, snapshots ---- */

enum { MAX_FILES = 32 };
static char folder[64];
static struct { char path[160]; struct lc_buf bytes; } files[MAX_FILES];
static uint32_t n_files;
static void on_file(void *arg, const char *name) {
  char path[160];
  snprintf(path, sizeof path, "%s/%s", (const char *)arg, name);
  int fd = *name == '.' ? -1 : lc_fs_posix.open(NULL, path, false);
  if (fd < 0) return;
  size_t n = (size_t)lc_fs_posix.size(NULL, fd);
  if (n > 8192 && strstr(name, ".ofs")) n = 8192; /* mostly a hole */
  snprintf(files[n_files].path, sizeof files[n_files].path, "%s", path);
  assert_true(lc_buf_reserve(&files[n_files].bytes, n));
  assert_int_equal(lc_fs_posix.read_at(NULL, fd, files[n_files].bytes.data, n, 0), n);
  files[n_files++].bytes.len = n;
  lc_fs_posix.close(NULL, fd);
}
static int make_files(void **state) {
  (void)state;
  struct lc_wal_options o = {.max_segment_bytes = 30000};
  struct lc_wal *w;
  struct lc_snapfile *f;
  struct lc_error err;
  char path[128];
  strcpy(folder, access("/dev/shm", W_OK) == 0 ? "/dev/shm/lightcone-hostile-XXXXXX" : "/tmp/lightcone-hostile-XXXXXX");
  if (!mkdtemp(folder) || lc_wal_open(&lc_fs_posix, folder, &o, &w, &err) != LC_OK) return -1;
  for (int round = 0; round < 14; round++) {
    for (uint32_t i = 0; i < n_records; i++) lc_wal_append(w, lc_buf_slice(&records[i]));
    lc_wal_submit(w);
    if (!lc_wal_wait_durable(w, lc_wal_next_offset(w))) return -1;
  }
  if (lc_wal_compress(w, lc_wal_next_offset(w) / 2, NULL, &err) != LC_OK) return -1;
  struct lc_snapfile_head head = {.database = facts.database, .tx_offset = 5};
  if (lc_snapfile_create(&lc_fs_posix, folder, &head, &f, &err) != LC_OK) return -1;
  for (uint32_t i = 0; i < n_blocks; i++)
    if (lc_snapfile_add(f, blocks[i].table_id, lc_buf_slice(&blocks[i].rows), blocks[i].n_rows, &err) != LC_OK) return -1;
  if (lc_snapfile_finish(f, &err) != LC_OK || lc_snapfile_publish(f, &err) != LC_OK) return -1;
  lc_wal_close(w);
  snprintf(path, sizeof path, "%s/clog", folder);
  lc_fs_posix.list(NULL, path, on_file, path);
  snprintf(path, sizeof path, "%s/snapshots", folder);
  lc_fs_posix.list(NULL, path, on_file, path);
  return n_files > 4 && n_files < MAX_FILES ? 0 : -1;
}
static int remove_files(void **state) {
  (void)state;
  char command[128];
  for (uint32_t i = 0; i < n_files; i++) lc_buf_free(&files[i].bytes);
  snprintf(command, sizeof command, "rm -rf %s", folder);
  return system(command);
}

static void put_checksum(struct lc_buf *b, size_t at, size_t from, size_t end) { /* of [from, end), without the four bytes at `at` */
  if (at + 4 > b->len || end > b->len || from > end) return;
  uint32_t crc = at >= end ? lc_crc32c(0, b->data + from, end - from) : lc_crc32c(lc_crc32c(0, b->data + from, at - from), b->data + at + 4, end - at - 4);
  memcpy(b->data + at, &crc, 4);
}
/* The checksums of all commits as far as their lengths lead, or of a snapshot's header and blocks. */
static void put_checksums(struct lc_buf *b, bool is_snapshot) {
  if (is_snapshot) put_checksum(b, 124, 0, 124);
  for (size_t at = is_snapshot ? 128 : 10; at + 32 <= b->len;) {
    uint32_t len;
    memcpy(&len, b->data + at + (is_snapshot ? 24 : 18), 4);
    if (len > b->len - at - 32) break;
    if (is_snapshot) put_checksum(b, at + 28, at, at + 32 + len);
    else put_checksum(b, at + 22 + len, at, at + 22 + len);
    at += (is_snapshot ? 32 : 26) + (size_t)len;
  }
}
static enum lc_status count_commit(void *ctx, uint64_t first, struct lc_slice bytes, uint32_t n_tx, size_t *consumed, struct lc_error *err) {
  (void)first, (void)n_tx, (void)err;
  for (size_t i = 0; i < bytes.len; i++) *(uint64_t *)ctx += bytes.data[i];
  *consumed = bytes.len;
  return LC_OK;
}
static enum lc_status count_rows(void *ctx, uint32_t table_id, struct lc_slice rows, uint64_t n_rows, struct lc_error *err) {
  (void)table_id, (void)n_rows, (void)err;
  for (size_t i = 0; i < rows.len; i++) *(uint64_t *)ctx += rows.data[i];
  return LC_OK;
}
static void one_file(void) {
  struct lc_wal_options o = {.max_segment_bytes = 30000};
  struct lc_wal_scan_end end;
  struct lc_error err = {0};
  struct lc_wal *w;
  uint32_t target = (uint32_t)rnd(n_files);
  uint64_t sum = 0;
  char clog[128];
  snprintf(clog, sizeof clog, "%s/clog", folder);
  for (uint32_t i = 0; i < n_files; i++) { /* opening may have changed any */
    struct lc_buf copy = {0};
    unlink(files[i].path);
    int fd = lc_fs_posix.open(NULL, files[i].path, true);
    assert_true(lc_buf_reserve(&copy, files[i].bytes.len + 4096));
    lc_buf_slice_append(&copy, lc_buf_slice(&files[i].bytes));
    if (i == target) {
      bool is_snapshot = strstr(files[i].path, ".snapshot") != NULL;
      size_t tail = copy.len < 400 ? copy.len : 400;
      struct lc_buf last = {.data = copy.data + copy.len - tail, .len = tail, .cap = tail + 4096};
      if (rnd(2) && strstr(files[i].path, ".log")) mutate(&last), copy.len += last.len - tail; /* where a compressed one has its table of frames */
      else mutate(&copy);
      if (rnd(2)) put_checksums(&copy, is_snapshot);
    }
    assert_int_equal(lc_fs_posix.write_at(NULL, fd, copy.data, copy.len, 0), 0);
    lc_fs_posix.close(NULL, fd);
    lc_buf_free(&copy);
  }
  enum lc_status scanned = lc_wal_scan(&lc_fs_posix, clog, NULL, NULL, NULL, &end, &err);
  enum lc_status st = lc_wal_open(&lc_fs_posix, folder, &o, &w, &err);
  if (st == LC_OK) {
    st = lc_wal_replay(w, rnd(2) ? 0 : rnd(400), count_commit, &sum, &err);
    lc_wal_append(w, lc_slice("x", 1));
    lc_wal_submit(w);
    if (!lc_wal_wait_durable(w, lc_wal_next_offset(w))) fail_msg("SEED=%llu ROUNDS=1: it cannot be written", (unsigned long long)seed);
    lc_wal_close(w);
  }
  struct lc_snapfile_head head;
  enum lc_status read = lc_snapfile_read(&lc_fs_posix, folder, 5, &head, count_rows, &sum, &err);
  st = scanned != LC_OK ? scanned : st != LC_OK ? st : read;
  if (st == LC_OK) n_accepted++;
  else n_refused++;
  if (st != LC_OK && st != LC_CORRUPT && st != LC_LIMIT && st != LC_UNSUPPORTED && st != LC_IO && !(st == LC_NOMEM && most_bytes > MEMORY_BYTES)) fail_msg("SEED=%llu ROUNDS=1: %d %s", (unsigned long long)seed, (int)st, err.text);
}
static void files_of_a_folder(void **state) { (void)state, each_round(one_file); }
static void logs(void **state) { (void)state, each_round(one_log); }
static void snapshots(void **state) { (void)state, each_round(one_snapshot); }

int main(void) {
  lc_log_threshold = LC_LOG_ERROR;
  const struct CMUnitTest tests[] = {cmocka_unit_test(logs), cmocka_unit_test(snapshots), cmocka_unit_test_setup_teardown(files_of_a_folder, make_files, remove_files)};
  return cmocka_run_group_tests(tests, make_sound, forget_sound);
}
