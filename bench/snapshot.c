/* Benchmark of snapshots and recovery without a module: build/bench-snapshot [ROWS [FOLDER]]
 *
 * ROWS accounts (u32 key, i64) and a tenth as many numbered rows with an index; log and snapshots in FOLDER (made and removed; default under /tmp, give
 * one on the disk at hand). Prints what a snapshot costs, what transactions feel of one being written beside them, and what a start costs: from the
 * snapshot, and from the log alone. Times are wall times unless said. */
#include "../tests/unit/def_text.h"
#include "db/db.h"
#include <pthread.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define MUST(x) ((x) ? (void)0 : (fprintf(stderr, "failed: %s: %s\n", #x, err.text), exit(1)))
static struct lc_error err;
static struct lc_db_files files;
static struct lc_datastore *ds;
static struct lc_buf record;

static double now(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}
static uint64_t random_state = 88172645463325252ull;
static uint64_t rnd(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  return random_state ^= random_state << 17;
}
static void commit(struct lc_tx *tx) {
  const struct lc_tx_delta *delta;
  static const struct lc_tx_inputs none;
  lc_tx_commit(tx, &delta);
  lc_buf_clear(&record);
  lc_tx_record_encode(&record, delta, &none);
  lc_wal_append(files.wal, lc_buf_slice(&record));
  lc_tx_delta_release(ds, delta);
  lc_wal_submit(files.wal);
}
static void insert(struct lc_tx *tx, uint32_t table, uint64_t key, size_t key_bytes, uint64_t rest, size_t rest_bytes) {
  uint8_t row[16];
  memcpy(row, &key, key_bytes);
  memcpy(row + key_bytes, &rest, rest_bytes);
  MUST(lc_tx_insert(tx, table, lc_slice(row, key_bytes + rest_bytes), NULL, NULL, &err) == LC_ERRNO_OK);
}
static void open_log(void) {
  struct lc_wal_options o = {.max_segment_bytes = 8 << 20}; /* small, so that hardly any of the log is behind the last snapshot */
  MUST(lc_wal_open(&lc_fs_posix, files.dir, &o, &files.wal, &err) == LC_OK);
}

/* ---- a snapshot on a thread of its own, as the server does it ---- */

static atomic_bool busy;
static double snapshot_s, snapshot_cpu_s;
static uint64_t snapshot_bytes;
struct job { struct lc_read_view view; uint64_t tx_offset; };
static void *write_snapshot(void *arg) {
  struct job *j = arg;
  struct lc_snapfile *f;
  setpriority(PRIO_PROCESS, (id_t)gettid(), 10);
  double wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_THREAD_CPUTIME_ID);
  MUST(lc_db_snapshot_write(&files, j->view, j->tx_offset, NULL, &f, &err) == LC_OK);
  lc_read_view_close(&j->view);
  snapshot_bytes = lc_snapfile_bytes(f);
  MUST(lc_wal_wait_durable(files.wal, j->tx_offset + 1));
  MUST(lc_db_snapshot_publish(&files, f, j->tx_offset, &err) == LC_OK);
  snapshot_s = now(CLOCK_MONOTONIC) - wall;
  snapshot_cpu_s = now(CLOCK_THREAD_CPUTIME_ID) - cpu;
  atomic_store(&busy, false);
  return NULL;
}
static pthread_t start_snapshot(struct job *j) {
  pthread_t id;
  j->tx_offset = lc_wal_next_offset(files.wal) - 1;
  MUST(lc_read_view_open(ds, &j->view) == LC_OK);
  atomic_store(&busy, true);
  MUST(pthread_create(&id, NULL, write_snapshot, j) == 0);
  return id;
}

/* ---- transactions and what they feel: two updates and a record each, handed to the log ---- */

enum { MAX_SAMPLES = 4 << 20 };
static float *samples;
static int by_value(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return x < y ? -1 : x > y;
}
/* Until `seconds` have passed and no snapshot is being written; pairs of accounts anywhere. */
static void transact(const char *what, uint32_t table, uint32_t index, uint32_t n_rows, double seconds) {
  uint32_t n = 0;
  double start = now(CLOCK_MONOTONIC), at = start, longest = 0;
  while ((at - start < seconds || atomic_load(&busy)) && n < MAX_SAMPLES) {
    struct lc_tx *tx = lc_tx_begin(ds);
    for (int i = 0; i < 2; i++) {
      uint32_t id = (uint32_t)(rnd() % n_rows);
      uint8_t row[12];
      uint64_t balance = rnd();
      memcpy(row, &id, 4);
      memcpy(row + 4, &balance, 8);
      MUST(lc_tx_update(tx, table, index, lc_slice(row, 12), NULL, NULL, &err) == LC_ERRNO_OK);
    }
    commit(tx);
    double end = now(CLOCK_MONOTONIC);
    samples[n++] = (float)((end - at) * 1e6);
    if (end - at > longest) longest = end - at;
    at = end;
  }
  qsort(samples, n, sizeof *samples, by_value);
  printf("%-58s %8.0f tx/s  p50 %6.2f  p99 %7.2f  p99.9 %8.2f  longest %8.1f µs\n", what, n / (at - start), samples[n / 2], samples[n - n / 100 - 1], samples[n - n / 1000 - 1], longest * 1e6);
}

int main(int argc, char **argv) {
  uint32_t n = argc > 1 ? (uint32_t)atoi(argv[1]) : 2000000, m = n / 10;
  char dir[256], command[300];
  snprintf(dir, sizeof dir, "%s/lightcone-bench-XXXXXX", argc > 2 ? argv[2] : "/tmp");
  if (!mkdtemp(dir)) perror(dir), exit(1);
  lc_log_threshold = LC_LOG_ERROR;
  samples = malloc(MAX_SAMPLES * sizeof *samples);
  files = (struct lc_db_files){.env = &lc_env_system, .fs = &lc_fs_posix, .dir = dir, .retain_all = true};
  open_log();
  struct lc_module_def *def = def_text("table account\n col id u32 pk\n col balance i64\ntable numbered\n col id u64 pk\n col x u32 index\n");
  static const struct lc_module_facts facts = {.program_bytes = {(const uint8_t *)"x", 1}};
  MUST(lc_datastore_new(&lc_env_system, &ds, &err) == LC_OK && lc_datastore_bootstrap_record(ds, &record) == LC_OK);
  lc_wal_append(files.wal, lc_buf_slice(&record));
  struct lc_tx *tx = lc_tx_begin(ds);
  MUST(lc_schema_create(tx, def, &facts, &err) == LC_OK);
  commit(tx);
  const struct lc_table_info *account = lc_datastore_table_by_name(ds, lc_slice_str("account"));
  uint32_t accounts = account->table_id, index = account->indexes[0].index_id, numbered = lc_datastore_table_by_name(ds, lc_slice_str("numbered"))->table_id;
  for (uint32_t i = 0; i < n;) {
    tx = lc_tx_begin(ds);
    for (uint32_t k = 0; k < 10000 && i < n; k++, i++) insert(tx, accounts, i, 4, i, 8);
    commit(tx);
  }
  for (uint32_t i = 0; i < m;) {
    tx = lc_tx_begin(ds);
    for (uint32_t k = 0; k < 10000 && i < m; k++, i++) insert(tx, numbered, i, 8, rnd() & 0xffffffff, 4);
    commit(tx);
  }
  struct job job;
  pthread_join(start_snapshot(&job), NULL);
  printf("snapshot of %u rows, nothing beside it: %.0f ms, %.0f ms of them processor time, %.1f MB, %.1f ns a row\n", n + m, snapshot_s * 1e3, snapshot_cpu_s * 1e3, (double)snapshot_bytes / 1e6,
         snapshot_s * 1e9 / (n + m));
  transact("transactions, no snapshot", accounts, index, n, 1);
  for (int i = 0; i < 3; i++) {
    pthread_t id = start_snapshot(&job);
    transact(i ? "transactions, the next snapshot being written" : "transactions, first snapshot being written", accounts, index, n, 0);
    pthread_join(id, NULL);
    printf("   that snapshot took %.0f ms, %.0f of them processor time\n", snapshot_s * 1e3, snapshot_cpu_s * 1e3);
    transact("transactions, no snapshot", accounts, index, n, 1);
  }
  tx = lc_tx_begin(ds);
  insert(tx, accounts, n, 4, 0, 8);
  commit(tx);
  pthread_join(start_snapshot(&job), NULL);
  uint64_t end = lc_wal_next_offset(files.wal), next;
  lc_wal_close(files.wal);
  lc_datastore_free(ds);
  for (int with = 2; with >= 0; with--) {
    if (!with) {
      snprintf(command, sizeof command, "rm -rf %s/snapshots", dir);
      MUST(system(command) == 0);
    }
    open_log();
    double wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_THREAD_CPUTIME_ID);
    MUST(lc_db_recover(&files, &ds, &next, &err) == LC_OK && next == end);
    wall = now(CLOCK_MONOTONIC) - wall;
    cpu = now(CLOCK_THREAD_CPUTIME_ID) - cpu;
    if (with) printf("start from a snapshot of %u rows: %.0f ms, %.1f ns a row (processor time %.1f)\n", n + m + 1, wall * 1e3, wall * 1e9 / (n + m + 1), cpu * 1e9 / (n + m + 1));
    else printf("start from the log alone, %llu transactions: %.0f ms (processor time %.0f)\n", (unsigned long long)end, wall * 1e3, cpu * 1e3);
    lc_wal_close(files.wal);
    lc_datastore_free(ds);
  }
  snprintf(command, sizeof command, "rm -rf %s", dir);
  MUST(system(command) == 0);
  lc_module_def_free(def);
  lc_buf_free(&record);
  free(samples);
  return 0;
}
