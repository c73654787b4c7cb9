/* The engine without a module: tables (u32 primary key, i64), transactions with their log records, replay. Thread CPU time per operation.
 * First argument: accounts (default 100,000). Second: rows of the large insert (default 2,000,000). */
#include "../tests/unit/def_text.h"
#include "../src/engine/engine.h"
#include <sys/mman.h>
#include <time.h>

static uint64_t state = 1;
static uint64_t rnd(void) {
  uint64_t z = state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}
static double now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}
static double start;
static void begin(void) { start = now_ns(); }
static void end(const char *what, double n) { printf("%-56s %8.1f ns\n", what, (now_ns() - start) / n); }

/* As in store.c: memory that the system got from its host before anything is measured. */
static void warm_memory(size_t bytes) {
  uint8_t *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return;
  madvise(p, bytes, MADV_HUGEPAGE);
  for (size_t i = 0; i < bytes; i += 4096) p[i] = 1;
  munmap(p, bytes);
}

struct account { uint32_t id; int64_t balance; } __attribute__((packed));
static struct lc_buf log_bytes;
static uint32_t n_records;
static struct lc_error err;
#define MUST(x) do { if (!(x)) { fprintf(stderr, "failed: %s: %s\n", #x, err.text); exit(1); } } while (0)

static void commit(struct lc_datastore *ds, struct lc_tx *tx, const char *name) {
  const struct lc_tx_delta *delta;
  struct lc_tx_inputs in = {.name = lc_slice_str(name), .args = lc_slice("\1\0\0\0\2\0\0\0\3\0\0\0\0\0\0\0", 16)};
  lc_tx_commit(tx, &delta);
  if (lc_tx_delta_is_logged(delta, &in)) {
    lc_tx_record_encode(&log_bytes, delta, &in);
    n_records++;
  }
  lc_tx_delta_release(ds, delta);
}
static struct account get(struct lc_tx *tx, uint32_t index, uint32_t id) { /* as a module does: through an iterator */
  struct lc_row_iter *it;
  struct account a;
  MUST(lc_tx_scan_point(tx, index, lc_slice(&id, 4), &it, &err) == LC_ERRNO_OK);
  struct lc_slice row = lc_row_iter_next(it);
  MUST(row.len == sizeof a);
  memcpy(&a, row.data, sizeof a);
  lc_row_iter_close(it);
  return a;
}
static void replay(const char *what, struct lc_slice bytes, uint32_t n, double per) {
  struct lc_datastore *ds;
  size_t used;
  MUST(lc_datastore_new(&lc_env_system, &ds, &err) == LC_OK);
  begin();
  MUST(lc_datastore_replay(ds, bytes, n, &used, &err) == LC_OK && used == bytes.len);
  end(what, per);
  lc_datastore_free(ds);
}

/* A dump of everything into memory and a datastore restored from it. */
struct blocks { struct lc_buf bytes; struct { uint32_t table, n; size_t at, len; } *b; uint32_t n; };
static enum lc_status keep_block(void *ctx, const struct lc_row_block *block, struct lc_error *e) {
  struct blocks *d = ctx;
  (void)e;
  d->b[d->n].table = block->table->table_id;
  d->b[d->n].n = block->n_rows;
  d->b[d->n].at = d->bytes.len;
  d->b[d->n++].len = block->rows.len;
  lc_buf_slice_append(&d->bytes, block->rows);
  return LC_OK;
}
static void dump_and_restore(struct lc_datastore *ds, const char *what, uint32_t rows, uint32_t only, uint32_t row_bytes) {
  struct blocks d = {.b = calloc(1 << 16, sizeof *d.b)};
  struct lc_read_view view;
  char text[100];
  MUST(lc_read_view_open(ds, &view) == LC_OK);
  lc_buf_reserve(&d.bytes, 256 << 20);
  begin();
  MUST(lc_view_dump(view, 256 << 10, keep_block, &d, &err) == LC_OK);
  snprintf(text, sizeof text, "dump: %s, a row", what);
  end(text, rows);
  lc_read_view_close(&view);
  for (int shuffled = 0; shuffled < (row_bytes ? 2 : 1); shuffled++) {
    struct lc_datastore *copy;
    struct lc_restore *r;
    if (shuffled) /* the rows of that table, all blocks of which lie together */
      for (uint32_t i = 0; i < d.n; i++) {
        if (d.b[i].table != only || (i && d.b[i - 1].table == only)) continue;
        uint8_t *base = d.bytes.data + d.b[i].at, x[64];
        for (uint32_t k = rows - 1; k; k--) {
          size_t j = rnd() % (k + 1);
          memcpy(x, base + (size_t)k * row_bytes, row_bytes);
          memcpy(base + (size_t)k * row_bytes, base + j * row_bytes, row_bytes);
          memcpy(base + j * row_bytes, x, row_bytes);
        }
      }
    MUST(lc_datastore_new(&lc_env_system, &copy, &err) == LC_OK);
    begin();
    MUST(lc_datastore_restore_begin(copy, &r, &err) == LC_OK);
    for (uint32_t i = 0; i < d.n; i++)
      if (d.b[i].table < LC_FIRST_USER_ID || d.b[i].table == only) MUST(lc_datastore_restore_rows(r, d.b[i].table, lc_slice(d.bytes.data + d.b[i].at, d.b[i].len), d.b[i].n, &err) == LC_OK);
    MUST(lc_datastore_restore_finish(r, &err) == LC_OK);
    snprintf(text, sizeof text, "restore: %s, %s, a row", what, shuffled ? "random order" : "as dumped");
    end(text, rows);
    MUST(lc_view_row_count((struct lc_read_view){.ds = copy}, only) == rows);
    lc_datastore_free(copy);
  }
  free(d.b);
  lc_buf_free(&d.bytes);
}

int main(int argc, char **argv) {
  uint32_t n = argc > 1 ? (uint32_t)atoi(argv[1]) : 100000, large = argc > 2 ? (uint32_t)atoi(argv[2]) : 2000000, n_transfers = 500000;
  struct lc_module_def *def = def_text("table account\n col id u32 pk\n col balance i64\n table big\n col id u32 pk\n col balance i64\n table numbered\n col id u64 pk auto\n col x u32 index\n");
  struct lc_datastore *ds;
  struct lc_module_facts facts = {.program_bytes = lc_slice_str("x")};
  if (n < 2) return 1;
  warm_memory((size_t)1 << 30);
  MUST(lc_datastore_new(&lc_env_system, &ds, &err) == LC_OK && lc_datastore_bootstrap_record(ds, &log_bytes) == LC_OK);
  n_records = 1;
  struct lc_tx *tx = lc_tx_begin(ds);
  MUST(lc_schema_create(tx, def, &facts, &err) == LC_OK);
  commit(ds, tx, "");
  const struct lc_table_info *t = lc_datastore_table_by_name(ds, lc_slice_str("account"));
  uint32_t table = t->table_id, index = t->indexes[0].index_id, big = lc_datastore_table_by_name(ds, lc_slice_str("big"))->table_id;
  uint32_t numbered = lc_datastore_table_by_name(ds, lc_slice_str("numbered"))->table_id, big_index = lc_datastore_table_by_name(ds, lc_slice_str("big"))->indexes[0].index_id;
  tx = lc_tx_begin(ds);
  for (uint32_t i = 0; i < n; i++) MUST(lc_tx_insert(tx, table, lc_slice(&(struct account){i, 1000}, 12), NULL, NULL, &err) == LC_ERRNO_OK);
  commit(ds, tx, "load");
  size_t log_before = log_bytes.len;
  uint32_t records_before = n_records;
  lc_buf_reserve(&log_bytes, (size_t)n_transfers * 200);
  begin();
  for (uint32_t i = 0; i < n_transfers; i++) {
    uint32_t from = (uint32_t)(rnd() % n), to = (from + 1 + (uint32_t)(rnd() % (n - 1))) % n;
    tx = lc_tx_begin(ds);
    struct account a = get(tx, index, from), b = get(tx, index, to);
    a.balance--;
    b.balance++;
    MUST(lc_tx_update(tx, table, index, lc_slice(&a, 12), NULL, NULL, &err) == LC_ERRNO_OK && lc_tx_update(tx, table, index, lc_slice(&b, 12), NULL, NULL, &err) == LC_ERRNO_OK);
    commit(ds, tx, "transfer");
  }
  end("transfer: 2 finds, 2 updates, commit, record", n_transfers);
  printf("%-56s %8.1f B\n", "log a transfer", (double)(log_bytes.len - log_before) / n_transfers);
  struct lc_slice prefix = lc_slice(log_bytes.data, log_before);
  replay("replay: what came before, a row", prefix, records_before, n);
  struct lc_datastore *again;
  size_t used;
  MUST(lc_datastore_new(&lc_env_system, &again, &err) == LC_OK && lc_datastore_replay(again, prefix, records_before, &used, &err) == LC_OK);
  begin();
  MUST(lc_datastore_replay(again, lc_slice(log_bytes.data + log_before, log_bytes.len - log_before), n_transfers, &used, &err) == LC_OK);
  end("replay: a transfer", n_transfers);
  lc_datastore_free(again);
  begin();
  tx = lc_tx_begin(ds);
  for (uint32_t i = 0; i < large; i++) MUST(lc_tx_insert(tx, big, lc_slice(&(struct account){i, 7}, 12), NULL, NULL, &err) == LC_ERRNO_OK);
  end("one transaction inserting, a row", large);
  lc_buf_clear(&log_bytes);
  begin();
  commit(ds, tx, "load");
  end("its commit and record, a row", large);
  begin();
  tx = lc_tx_begin(ds);
  for (uint32_t i = 0; i < large / 2; i++) {
    uint32_t id = (uint32_t)(rnd() % large);
    MUST(lc_tx_update(tx, big, big_index, lc_slice(&(struct account){id, (int64_t)i}, 12), NULL, NULL, &err) == LC_ERRNO_OK);
  }
  commit(ds, tx, "update");
  end("one transaction of random updates, a row with its record", large / 2);
  begin();
  tx = lc_tx_begin(ds);
  for (uint32_t id = 0, count; id < large; id += 2) MUST(lc_tx_delete_point(tx, big_index, lc_slice(&id, 4), &count, &err) == LC_ERRNO_OK && count == 1);
  end("point delete", large / 2);
  begin();
  lc_tx_rollback(tx);
  end("undoing it, a row", large / 2);
  begin();
  tx = lc_tx_begin(ds);
  for (uint32_t i = 0; i < large / 4; i++) {
    uint8_t row[12] = {0};
    memcpy(row + 8, &i, 4);
    MUST(lc_tx_insert(tx, numbered, lc_slice(row, 12), NULL, NULL, &err) == LC_ERRNO_OK);
  }
  commit(ds, tx, "auto");
  end("auto-increment insert with a second index", large / 4);
  dump_and_restore(ds, "(u32 key, i64)", large, big, 12);
  dump_and_restore(ds, "u64 key and an index", large / 4, numbered, 12);
  lc_datastore_free(ds);
  lc_module_def_free(def);
  lc_buf_free(&log_bytes);
  return 0;
}
