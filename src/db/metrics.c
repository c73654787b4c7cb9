/* Owns: what a database counts for who operates the server, and reading it (spec/04 §3.15).
 *
 * Invariants: counters have one writer, the baton holder (the snapshot thread for those of snapshots), and any reader: no lock and no locked instruction a call.
 * What engine, live and log count is copied after each drain. The array of reducers is replaced, with a new program, under the lock that readers hold; a reducer
 * that is still there under its name goes on counting.
 * A reducer's time runs from its call to whatever comes next, whose time is known anyway; so the sum is exact and a call costs no look at the clock.
 * Callers: call.c, db.c, procedures.c, snapshot.c; lc_db_metrics_read by api/.
 */
#include "db_internal.h"
#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>

const uint64_t lc_db_duration_bounds_us[LC_DB_N_DURATIONS - 1] = {10, 100, 500, 1000, 5000, 10000, 50000, 100000, 500000, 1000000, 5000000, 10000000};

void db_counts_init(struct lc_db *db) { pthread_mutex_init(&db->counts.lock, NULL); }
void db_counts_free(struct lc_db *db) {
  lc_free(db->counts.reducers);
  lc_module_unref(db->counts.module);
  pthread_mutex_destroy(&db->counts.lock);
}

bool db_counts_set_module(struct lc_db *db, struct lc_module *m) {
  struct db_counts *c = &db->counts;
  const struct lc_module_def *def = lc_module_definition(m), *old = c->module ? lc_module_definition(c->module) : NULL;
  struct reducer_counts *reducers = lc_alloc_zero(def->n_reducers + 1, sizeof *reducers);
  if (!reducers) return false;
  db_end_time(db);
  for (uint32_t i = 0; i < def->n_reducers && old; i++) {
    int32_t at = db_find_reducer(db, def->reducers[i].name); /* of the program that still runs */
    if (at >= 0 && (uint32_t)at < old->n_reducers) memcpy(&reducers[i], &c->reducers[at], sizeof *reducers);
  }
  pthread_mutex_lock(&c->lock);
  struct lc_module *gone = c->module;
  struct reducer_counts *freed = c->reducers;
  c->module = lc_module_ref(m);
  c->reducers = reducers;
  pthread_mutex_unlock(&c->lock);
  lc_module_unref(gone);
  lc_free(freed);
  return true;
}

/* ---- the baton holder ---- */

void db_count_time(struct lc_db *db, int64_t now_us) {
  struct db_counts *c = &db->counts;
  if (!c->running) return;
  struct reducer_counts *r = &c->reducers[c->running - 1];
  uint64_t us = now_us > c->running_since_us ? (uint64_t)(now_us - c->running_since_us) : 0; /* clocks are set */
  uint32_t at = 0;
  while (at < LC_DB_N_DURATIONS - 1 && us > lc_db_duration_bounds_us[at]) at++;
  c->running = 0;
  lc_count(&r->durations[at], 1);
  lc_count(&r->duration_us, us);
  db_count(db, LC_DB_CALLS, 1);
  db_count(db, LC_DB_CALLS_US, us);
}
void db_count_call(struct lc_db *db, uint32_t reducer, enum lc_reducer_status status, uint64_t energy, int64_t start_us) {
  struct db_counts *c = &db->counts;
  db_count_time(db, start_us);
  lc_count(&c->reducers[reducer].calls[status], 1);
  if (energy) lc_count(&c->reducers[reducer].energy, energy);
  c->running = reducer + 1;
  c->running_since_us = start_us;
}
void db_end_time(struct lc_db *db) {
  if (db->counts.running) db_count_time(db, db->options.env->now_us(db->options.env->ctx));
}

static void set(struct lc_db *db, enum lc_db_metric what, uint64_t value) { atomic_store_explicit(&db->counts.values[what], value, memory_order_relaxed); }
void db_counts_publish(struct lc_db *db) {
  struct lc_datastore_counts tx = lc_datastore_counts(db->ds);
  db_count(db, LC_DB_DRAINS, 1);
  set(db, LC_DB_COMMITTED, tx.committed);
  set(db, LC_DB_ROLLED_BACK, tx.rolled_back);
  set(db, LC_DB_TRANSACTIONS, tx.committed + tx.rolled_back);
  set(db, LC_DB_ROWS_INSERTED, tx.rows_inserted);
  set(db, LC_DB_ROWS_DELETED, tx.rows_deleted);
  set(db, LC_DB_NEXT_OFFSET, db->next_offset);
}

/* What takes a walk, or a look at what only the baton holder may see. */
static void measure(struct lc_db *db) {
  db_end_time(db);
  db_counts_publish(db);
  db_count(db, LC_DB_DRAINS, (uint64_t)-1);
  struct lc_store_stats memory = lc_datastore_memory(db->ds);
  set(db, LC_DB_MEMORY_BYTES, memory.memory_bytes);
  set(db, LC_DB_LIVE_BYTES, memory.live_bytes);
  set(db, LC_DB_RETIRED_BYTES, memory.retired_bytes);
  set(db, LC_DB_READ_VIEWS, memory.snapshots);
  struct lc_live_counts live = lc_live_counts(db->live);
  set(db, LC_DB_QUERIES_EVALUATED, live.evaluated);
  set(db, LC_DB_QUERIES_MATCHED, live.matched);
  set(db, LC_DB_QUERIES, live.queries);
  set(db, LC_DB_QUERY_SETS, live.sets);
  set(db, LC_DB_SUBSCRIBERS, live.subscribers);
  set(db, LC_DB_MODULE_BYTES, db->instance ? lc_instance_memory_bytes(db->instance) : 0);
}

/* ---- readers ---- */

struct table_list { struct lc_db *db; struct lc_db_metrics *out; uint32_t cap; bool failed; };
static void count_table(void *ctx, const struct lc_table_info *info) {
  (void)info;
  ((struct table_list *)ctx)->cap++;
}
static void add_table(void *ctx, const struct lc_table_info *info) {
  struct table_list *l = ctx;
  struct lc_db_table_metrics *t = &l->out->tables[l->out->n_tables];
  struct lc_slice name = lc_arena_copy(&l->out->arena, info->name);
  if (!name.data || !lc_datastore_table_size(l->db->ds, info->table_id, &t->rows, &t->memory_bytes)) l->failed = true;
  t->table_id = info->table_id;
  t->name = name;
  if (!l->failed) l->out->n_tables++;
}
static bool read_tables(struct lc_db *db, struct lc_db_metrics *out) {
  struct table_list l = {db, out, 0, false};
  lc_datastore_each_table(db->ds, count_table, &l);
  out->tables = lc_arena_alloc_zero(&out->arena, l.cap + 1, sizeof *out->tables);
  if (!out->tables) return false;
  lc_datastore_each_table(db->ds, add_table, &l);
  return !l.failed;
}

static bool read_reducers(struct lc_db *db, struct lc_db_metrics *out) {
  struct db_counts *c = &db->counts;
  pthread_mutex_lock(&c->lock);
  const struct lc_module_def *def = lc_module_definition(c->module);
  bool ok = (out->reducers = lc_arena_alloc_zero(&out->arena, def->n_reducers + 1, sizeof *out->reducers)) != NULL;
  for (uint32_t i = 0; ok && i < def->n_reducers; i++) {
    struct lc_db_reducer_metrics *to = &out->reducers[i];
    const struct reducer_counts *from = &c->reducers[i];
    to->name = lc_arena_copy(&out->arena, def->reducers[i].name);
    ok = to->name.data != NULL;
    for (int k = 0; k < LC_REDUCER_REJECTED; k++) to->calls[k] = atomic_load_explicit(&from->calls[k], memory_order_relaxed);
    for (int k = 0; k < LC_DB_N_DURATIONS; k++) to->durations[k] = atomic_load_explicit(&from->durations[k], memory_order_relaxed);
    to->energy = atomic_load_explicit(&from->energy, memory_order_relaxed);
    to->duration_us = atomic_load_explicit(&from->duration_us, memory_order_relaxed);
    if (ok) out->n_reducers++;
  }
  pthread_mutex_unlock(&c->lock);
  return ok;
}

/* Bytes of the log's files. */
static uint64_t disk_bytes(const char *dir) {
  char path[4096];
  uint64_t sum = 0;
  struct stat st;
  snprintf(path, sizeof path, "%s/clog", dir);
  DIR *d = opendir(path);
  for (struct dirent *e; d && (e = readdir(d));)
    if (e->d_name[0] != '.' && fstatat(dirfd(d), e->d_name, &st, 0) == 0 && S_ISREG(st.st_mode)) sum += (uint64_t)st.st_size;
  if (d) closedir(d);
  return sum;
}

static void read_log(struct lc_db *db, uint64_t *v) {
  const struct db_snapshot *s = &db->snapshot;
  for (int i = LC_DB_DURABLE_OFFSET; i <= LC_DB_SNAPSHOT_BYTES; i++) v[i] = UINT64_MAX;
  if (!db->wal) return;
  struct lc_wal_counts log = lc_wal_counts(db->wal);
  v[LC_DB_LOG_BYTES] = log.written_bytes;
  v[LC_DB_LOG_SYNCS] = log.syncs;
  v[LC_DB_LOG_SYNC_US] = log.sync_us;
  v[LC_DB_LOG_WAITING_BYTES] = log.unwritten_bytes;
  v[LC_DB_DURABLE_OFFSET] = lc_wal_durable_end(db->wal);
  v[LC_DB_LOG_LAG] = v[LC_DB_NEXT_OFFSET] > v[LC_DB_DURABLE_OFFSET] ? v[LC_DB_NEXT_OFFSET] - v[LC_DB_DURABLE_OFFSET] : 0;
  v[LC_DB_LOG_DISK_BYTES] = disk_bytes(db->dir);
  uint64_t made_us = atomic_load_explicit(&s->last_made_us, memory_order_relaxed);
  if (!made_us) return;
  int64_t age = db->options.env->now_us(db->options.env->ctx) - (int64_t)made_us;
  v[LC_DB_SNAPSHOT_AGE_US] = age > 0 ? (uint64_t)age : 0;
  v[LC_DB_SNAPSHOT_OFFSET] = atomic_load_explicit(&s->last_offset, memory_order_relaxed);
  v[LC_DB_SNAPSHOT_US] = atomic_load_explicit(&s->last_us, memory_order_relaxed);
  v[LC_DB_SNAPSHOT_BYTES] = atomic_load_explicit(&s->last_bytes, memory_order_relaxed);
}

bool lc_db_metrics_read(struct lc_db *db, int64_t until_ns, struct lc_db_metrics *out) {
  bool ok = true, mine = db_baton_take_until(db, until_ns);
  if (mine) {
    measure(db);
    ok = read_tables(db, out);
    db_baton_leave(db);
  }
  uint64_t *v = out->values;
  for (int i = 0; i < LC_DB_N_METRICS; i++) v[i] = atomic_load_explicit(&db->counts.values[i], memory_order_relaxed);
  uint64_t executed = atomic_load_explicit(&db->executed_ops, memory_order_relaxed), submitted = atomic_load_explicit(&db->submitted_ops, memory_order_relaxed);
  v[LC_DB_WAITING_OPERATIONS] = submitted > executed ? submitted - executed : 0;
  v[LC_DB_WAITING_PROCEDURES] = db_procedures_waiting(db);
  v[LC_DB_IS_BUSY] = !mine;
  v[LC_DB_IS_UP] = lc_db_failure(db) == NULL;
  read_log(db, v);
  return read_reducers(db, out) && ok;
}
void lc_db_metrics_free(struct lc_db_metrics *m) {
  lc_arena_free(&m->arena);
  *m = (struct lc_db_metrics){0};
}
