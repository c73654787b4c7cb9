/* Opening a real data folder: the log of many transfers, plain and compressed, and a snapshot of many rows. Wall time, all files in the page cache.
 *
 * bench-replay FOLDER [transfers 2000000] [accounts 100000] [rows 2000000]: makes FOLDER, measures, removes it. The log's segments are 64 MiB.
 * bench-replay FOLDER: if it is a replica folder already (of a server), measures opening it and leaves it as it is. */
#include "../tests/unit/def_text.h"
#include "../src/db/db.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static uint64_t state = 1;
static uint64_t rnd(void) {
  uint64_t z = state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}
static double clock_ns(clockid_t id) {
  struct timespec t;
  clock_gettime(id, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}
static double wall, cpu;
static void begin(void) {
  wall = clock_ns(CLOCK_MONOTONIC);
  cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}
static void end(const char *what, double n, const char *per) {
  double w = clock_ns(CLOCK_MONOTONIC) - wall, c = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
  printf("%-64s %8.1f ns wall, %8.1f ns CPU a %s (%.2f s)\n", what, w / n, c / n, per, w / 1e9);
}
static void warm_memory(size_t bytes) { /* as in store.c */
  uint8_t *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return;
  madvise(p, bytes, MADV_HUGEPAGE);
  for (size_t i = 0; i < bytes; i += 4096) p[i] = 1;
  munmap(p, bytes);
}

struct account { uint32_t id; int64_t balance; } __attribute__((packed));
static struct lc_error err;
#define MUST(x) do { if (!(x)) { fprintf(stderr, "failed: %s: %s\n", #x, err.text); exit(1); } } while (0)

static const struct lc_fs *fs = &lc_fs_posix;
static const char *dir;
static char clog_dir[4096];
static struct lc_wal *wal;
static struct lc_identity database;

static void open_log(void) { MUST(lc_wal_open(fs, dir, &(struct lc_wal_options){.max_segment_bytes = 64 << 20}, &wal, &err) == LC_OK); }

/* ---- making the folder ---- */

static struct lc_buf record;
static void commit(struct lc_datastore *ds, struct lc_tx *tx, const char *name) {
  const struct lc_tx_delta *delta;
  struct lc_tx_inputs in = {.name = lc_slice_str(name), .args = lc_slice("\1\0\0\0\2\0\0\0\3\0\0\0\0\0\0\0", 16)};
  lc_tx_commit(tx, &delta);
  lc_buf_clear(&record);
  lc_tx_record_encode(&record, delta, &in);
  lc_tx_delta_release(ds, delta);
  lc_wal_append(wal, lc_buf_slice(&record));
  if (lc_wal_next_offset(wal) % 256 == 0) lc_wal_submit(wal);
}
static void get(struct lc_tx *tx, uint32_t index, uint32_t id, struct account *out) {
  struct lc_row_iter *it;
  MUST(lc_tx_scan_point(tx, index, lc_slice(&id, 4), &it, &err) == LC_ERRNO_OK);
  struct lc_slice row = lc_row_iter_next(it);
  MUST(row.len == sizeof *out);
  memcpy(out, row.data, sizeof *out);
  lc_row_iter_close(it);
}
static void make_folder(uint32_t n_transfers, uint32_t n_accounts, uint32_t n_rows, bool text) {
  struct lc_module_def *def = def_text(text ? "table account\n col id u32 pk\n col balance i64\n table big\n col id u64 pk auto\n col name string\n col group u32 index\n"
                                            : "table account\n col id u32 pk\n col balance i64\n table big\n col id u32 pk\n col balance i64\n");
  struct lc_module_facts facts = {.program_bytes = lc_slice_str("x")};
  struct lc_datastore *ds;
  MUST(fs->make_dir(fs->ctx, dir) == 0);
  open_log();
  MUST(lc_datastore_new(&lc_env_system, &ds, &err) == LC_OK && lc_datastore_bootstrap_record(ds, &record) == LC_OK);
  lc_wal_append(wal, lc_buf_slice(&record));
  struct lc_tx *tx = lc_tx_begin(ds);
  MUST(lc_schema_create(tx, def, &facts, &err) == LC_OK);
  commit(ds, tx, "");
  const struct lc_table_info *t = lc_datastore_table_by_name(ds, lc_slice_str("account"));
  uint32_t table = t->table_id, index = t->indexes[0].index_id, big = lc_datastore_table_by_name(ds, lc_slice_str("big"))->table_id;
  tx = lc_tx_begin(ds);
  for (uint32_t i = 0; i < n_accounts; i++) MUST(lc_tx_insert(tx, table, lc_slice(&(struct account){i, 1000}, 12), NULL, NULL, &err) == LC_ERRNO_OK);
  commit(ds, tx, "load");
  for (uint32_t i = 0; i < n_transfers; i++) {
    uint32_t from = (uint32_t)(rnd() % n_accounts), to = (from + 1 + (uint32_t)(rnd() % (n_accounts - 1))) % n_accounts;
    struct account a, b;
    tx = lc_tx_begin(ds);
    get(tx, index, from, &a);
    get(tx, index, to, &b);
    a.balance--;
    b.balance++;
    MUST(lc_tx_update(tx, table, index, lc_slice(&a, 12), NULL, NULL, &err) == LC_ERRNO_OK && lc_tx_update(tx, table, index, lc_slice(&b, 12), NULL, NULL, &err) == LC_ERRNO_OK);
    commit(ds, tx, "transfer");
  }
  for (uint32_t i = 0; i < n_rows;) {
    uint32_t until = n_rows - i > 100000 ? i + 100000 : n_rows;
    tx = lc_tx_begin(ds);
    for (; i < until; i++) {
      uint8_t row[12] = {0}, with_text[64];
      memcpy(row, &i, 4);
      size_t len = 12;
      if (text) {
        uint32_t name = 12 + i % 12, group = (uint32_t)rnd() % 100000;
        memset(with_text, 0, 8);
        memcpy(with_text + 8, &name, 4);
        memset(with_text + 12, 'a' + (int)(i % 26), name);
        memcpy(with_text + 12 + name, &group, 4);
        len = 16 + name;
      }
      MUST(lc_tx_insert(tx, big, lc_slice(text ? with_text : row, len), NULL, NULL, &err) == LC_ERRNO_OK);
    }
    commit(ds, tx, "fill");
  }
  lc_wal_submit(wal);
  uint64_t last = lc_wal_next_offset(wal) - 1;
  MUST(lc_wal_wait_durable(wal, last + 1));
  if (n_rows) {
    struct lc_db_files f = {.env = &lc_env_system, .fs = fs, .dir = dir, .wal = wal, .database = database, .retain_all = true};
    struct lc_read_view view;
    struct lc_snapfile *file;
    MUST(lc_read_view_open(ds, &view) == LC_OK && lc_db_snapshot_write(&f, view, last, NULL, &file, &err) == LC_OK && lc_db_snapshot_publish(&f, file, last, &err) == LC_OK);
    lc_read_view_close(&view);
  }
  lc_wal_close(wal);
  lc_datastore_free(ds);
  lc_module_def_free(def);
}

/* ---- measuring ---- */

static enum lc_status ignore_commit(void *ctx, uint64_t first, struct lc_slice records, uint32_t n_tx, size_t *consumed, struct lc_error *e) {
  (void)ctx, (void)first, (void)n_tx, (void)e;
  *consumed = records.len;
  return LC_OK;
}
static enum lc_status keep_commit(void *ctx, uint64_t first, struct lc_slice records, uint32_t n_tx, size_t *consumed, struct lc_error *e) {
  (void)first, (void)n_tx, (void)e;
  *consumed = records.len;
  lc_buf_slice_append(ctx, records);
  return LC_OK;
}

/* The parts, then the whole. */
static void measure_log(const char *what) {
  struct lc_buf all = {0};
  struct lc_datastore *ds;
  char text[200];
  uint64_t next;
  size_t used;
  begin();
  open_log();
  double n = (double)lc_wal_next_offset(wal);
  snprintf(text, sizeof text, "%s: opening the log", what);
  end(text, n, "transaction");
  begin();
  MUST(lc_wal_replay(wal, 0, ignore_commit, NULL, &err) == LC_OK);
  snprintf(text, sizeof text, "%s: read, unpack, verify", what);
  end(text, n, "transaction");
  MUST(lc_wal_replay(wal, 0, keep_commit, &all, &err) == LC_OK);
  MUST(lc_buf_ok(&all) && lc_datastore_new(&lc_env_system, &ds, &err) == LC_OK);
  begin();
  MUST(lc_datastore_replay(ds, lc_buf_slice(&all), (uint32_t)n, &used, &err) == LC_OK && used == all.len);
  snprintf(text, sizeof text, "%s: decode and apply, records in memory (%.0f B each)", what, (double)all.len / n);
  end(text, n, "transaction");
  lc_datastore_free(ds);
  lc_buf_free(&all);
  struct lc_db_files f = {.env = &lc_env_system, .fs = fs, .dir = dir, .wal = wal, .database = database, .retain_all = true};
  for (int i = 0; i < 3; i++) {
    begin();
    MUST(lc_db_recover(&f, &ds, &next, &err) == LC_OK);
    snprintf(text, sizeof text, "%s: the whole, from transaction %llu", what, (unsigned long long)f.recovered_from);
    end(text, n, "transaction");
    lc_datastore_free(ds);
  }
  lc_wal_close(wal);
}
static enum lc_status ignore_rows(void *ctx, uint32_t table_id, struct lc_slice rows, uint64_t n_rows, struct lc_error *e) {
  (void)ctx, (void)table_id, (void)rows, (void)n_rows, (void)e;
  return LC_OK;
}
static void measure_snapshot(const char *what, double n) {
  struct lc_snapfile_head head;
  struct lc_datastore *ds;
  uint64_t next;
  char text[200];
  open_log();
  begin();
  MUST(lc_snapfile_read(fs, dir, lc_wal_next_offset(wal) - 1, &head, ignore_rows, NULL, &err) == LC_OK);
  snprintf(text, sizeof text, "%s: read and verify", what);
  end(text, n, "row");
  struct lc_db_files f = {.env = &lc_env_system, .fs = fs, .dir = dir, .wal = wal, .database = database, .retain_all = true};
  for (int i = 0; i < 3; i++) {
    begin();
    MUST(lc_db_recover(&f, &ds, &next, &err) == LC_OK);
    snprintf(text, sizeof text, "%s: the whole, %llu transactions behind it", what, (unsigned long long)(next - f.recovered_from));
    end(text, n, "row");
    lc_datastore_free(ds);
  }
  lc_wal_close(wal);
}

static void remove_folder(void) {
  const char *sub[] = {"clog", "snapshots", "."};
  for (int i = 0; i < 3; i++) {
    char path[4096], file[8192];
    snprintf(path, sizeof path, "%s/%s", dir, sub[i]);
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
      snprintf(file, sizeof file, "%s/%s", path, e->d_name);
      if (e->d_type == DT_REG) unlink(file);
    }
    if (d) closedir(d);
    rmdir(path);
  }
  rmdir(dir);
}

int main(int argc, char **argv) {
  uint32_t n_transfers = argc > 2 ? (uint32_t)atoi(argv[2]) : 2000000, n_accounts = argc > 3 ? (uint32_t)atoi(argv[3]) : 100000, n_rows = argc > 4 ? (uint32_t)atoi(argv[4]) : 2000000;
  struct stat st;
  if (argc < 2 || n_accounts < 2) return fprintf(stderr, "usage: %s FOLDER [TRANSFERS] [ACCOUNTS] [ROWS]\n", argv[0]), 1;
  dir = argv[1];
  setvbuf(stdout, NULL, _IOLBF, 0);
  snprintf(clog_dir, sizeof clog_dir, "%s/clog", dir);
  warm_memory((size_t)1 << 30);
  if (stat(clog_dir, &st) == 0) {
    measure_log("folder");
    return 0;
  }
  if (n_transfers) {
    make_folder(n_transfers, n_accounts, 0, false);
    measure_log("plain log");
    open_log();
    MUST(lc_wal_compress(wal, lc_wal_next_offset(wal), NULL, &err) == LC_OK);
    lc_wal_close(wal);
    measure_log("compressed log");
    remove_folder();
  }
  for (int text = 0; text < 2 && n_rows; text++) {
    make_folder(0, 2, n_rows, text);
    measure_snapshot(text ? "snapshot (u64 key, string, index)" : "snapshot (u32 key, i64)", n_rows);
    remove_folder();
  }
  lc_buf_free(&record);
  return 0;
}
