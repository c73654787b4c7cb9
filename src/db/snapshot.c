/* Owns: when snapshots are made, the thread that writes them, which of them and of the log are kept (docs/internals/snapshot-format.md).
 *
 * Invariants: a view is opened between two transactions by the baton holder, so that offset and state agree; a file gets its name only after the log is
 * durable up to that offset; the log is cut only behind a snapshot that was seen whole, and only after the newer one has its name. A snapshot that cannot be
 * written is given up, never the database. Every database has at most one job; jobs of all databases are done by one thread that is there while there are any.
 * Callers: the baton holder (call.c, db.c), open.c; lc_db_snapshot_* also tools and tests.
 */
#include "db_internal.h"
#include <errno.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

static const int64_t STAYS_NS = 60000000000;
enum { BLOCK_BYTES = 256 << 10, WORKER_IDLE_S = 5, WORKER_NICE = 10, DURABLE_POLL_MS = 100 };

/* ---- one snapshot, on whatever thread ---- */

struct dump { struct lc_snapfile *file; const atomic_bool *cancel; uint64_t rows; };
static enum lc_status on_block(void *ctx, const struct lc_row_block *b, struct lc_error *err) {
  struct dump *d = ctx;
  if (d->cancel && atomic_load_explicit(d->cancel, memory_order_relaxed)) return lc_fail(err, LC_CLOSED, "the database is closing");
  d->rows += b->n_rows;
  return lc_snapfile_add(d->file, b->table->table_id, b->rows, b->n_rows, err);
}

enum lc_status lc_db_snapshot_write(const struct lc_db_files *f, struct lc_read_view view, uint64_t tx_offset, const atomic_bool *cancel, struct lc_snapfile **out, struct lc_error *err) {
  struct lc_snapfile_head head = {.database = f->database, .tx_offset = tx_offset, .created_us = f->env->now_us(f->env->ctx)};
  struct dump d = {.cancel = cancel};
  enum lc_status st = lc_snapfile_create(f->fs, f->dir, &head, &d.file, err);
  if (st != LC_OK) return st;
  st = lc_view_dump(view, BLOCK_BYTES, on_block, &d, err);
  if (st == LC_OK) st = lc_snapfile_finish(d.file, err);
  if (st == LC_OK) *out = d.file;
  else lc_snapfile_discard(d.file);
  return st;
}

static bool is_whole(const struct lc_db_files *f, uint64_t tx_offset) {
  for (uint32_t i = 0; i < f->n_whole; i++)
    if (f->whole[i] == tx_offset) return true;
  return false;
}
static void note_whole(struct lc_db_files *f, uint64_t newest) {
  f->whole[1] = f->whole[0];
  f->whole[0] = newest;
  if (f->n_whole < 2) f->n_whole++;
}

/* Keeps the two newest snapshots and the log behind the older of them. */
static enum lc_status retain(struct lc_db_files *f, struct lc_error *err) {
  uint64_t *offsets = NULL;
  uint32_t n = 0;
  enum lc_status st = f->retain_all ? LC_OK : lc_snapfile_list(f->fs, f->dir, &offsets, &n, err);
  if (st != LC_OK || n < 2) {
    lc_free(offsets);
    return st;
  }
  uint64_t older = offsets[n - 2];
  if (!is_whole(f, older)) {
    struct lc_snapfile_head head;
    st = lc_snapfile_read(f->fs, f->dir, older, &head, NULL, NULL, err);
    if (st == LC_CORRUPT) {
      struct lc_error aside;
      if (lc_snapfile_set_aside(f->fs, f->dir, older, &aside) != LC_OK) lc_log(LC_LOG_WARN, "%s", aside.text);
    }
  }
  for (uint32_t i = 0; i + 2 < n && st == LC_OK; i++) st = lc_snapfile_remove(f->fs, f->dir, offsets[i], err);
  if (st == LC_OK) st = lc_wal_retain(f->wal, LC_PLANTED(LC_BUG_RETENTION) ? UINT64_MAX : older + 1, err);
  lc_free(offsets);
  return st;
}

enum lc_status lc_db_snapshot_publish(struct lc_db_files *f, struct lc_snapfile *file, uint64_t tx_offset, struct lc_error *err) {
  lc_assert(lc_wal_durable_end(f->wal) > tx_offset);
  enum lc_status st = lc_snapfile_publish(file, err);
  if (st != LC_OK) return st;
  note_whole(f, tx_offset);
  struct lc_error kept;
  if (retain(f, &kept) != LC_OK) lc_log(LC_LOG_WARN, "%s; what is no longer needed is kept until the next snapshot", kept.text);
  return LC_OK;
}

/* ---- the thread ---- */

static struct {
  pthread_mutex_t mutex;
  pthread_cond_t work, change;
  struct lc_db *first, *last; /* databases whose job waits */
  bool has_thread;
} worker = {.mutex = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER, .change = PTHREAD_COND_INITIALIZER};

static enum lc_status wait_durable(struct lc_db *db, uint64_t end, struct lc_error *err) {
  for (;;) {
    enum lc_status st = lc_wal_wait_durable_for(db->wal, end, DURABLE_POLL_MS);
    if (st == LC_OK) return LC_OK;
    if (st != LC_LIMIT) return lc_fail(err, st, "the log failed before the snapshot's last transaction was durable");
    if (atomic_load(&db->snapshot.cancel)) return lc_fail(err, LC_CLOSED, "the database is closing");
  }
}

static void make_snapshot(struct lc_db *db) {
  struct db_snapshot *s = &db->snapshot;
  const struct lc_env *env = db->options.env;
  struct lc_snapfile *file = NULL;
  struct lc_error err;
  char hex[65];
  int64_t start = env->monotonic_ns(env->ctx);
  uint64_t bytes = 0;
  enum lc_status st = lc_db_snapshot_write(&db->files, s->view, s->tx_offset, &s->cancel, &file, &err);
  lc_read_view_close(&s->view);
  if (st == LC_OK) {
    bytes = lc_snapfile_bytes(file);
    st = wait_durable(db, s->tx_offset + 1, &err);
    if (st != LC_OK) lc_snapfile_discard(file);
  }
  if (st == LC_OK) st = lc_db_snapshot_publish(&db->files, file, s->tx_offset, &err);
  lc_identity_hex(&db->options.database_identity, hex);
  if (st == LC_OK)
    lc_log(LC_LOG_INFO, "snapshot of database %s at transaction %llu: %llu bytes in %.1f ms", hex, (unsigned long long)s->tx_offset, (unsigned long long)bytes,
           (double)(env->monotonic_ns(env->ctx) - start) / 1e6);
  else if (st != LC_CLOSED) lc_log(LC_LOG_WARN, "no snapshot of database %s at transaction %llu: %s", hex, (unsigned long long)s->tx_offset, err.text);
  s->made = st == LC_OK;
  lc_count(&db->counts.values[s->made ? LC_DB_SNAPSHOTS : LC_DB_SNAPSHOTS_FAILED], st == LC_CLOSED ? 0 : 1); /* one snapshot thread for all databases */
  if (s->made) {
    atomic_store_explicit(&s->last_offset, s->tx_offset, memory_order_relaxed);
    atomic_store_explicit(&s->last_bytes, bytes, memory_order_relaxed);
    atomic_store_explicit(&s->last_us, (uint64_t)(env->monotonic_ns(env->ctx) - start) / 1000, memory_order_relaxed);
    atomic_store_explicit(&s->last_made_us, (uint64_t)env->now_us(env->ctx), memory_order_relaxed);
  }
  /* What is behind this snapshot goes with the next one, unless all is kept: where that comes within a minute it would be packed for nothing, with more work than its
   * transactions were. */
  bool stays = db->options.retain_all || start - s->started_ns >= STAYS_NS;
  s->started_ns = start;
  if (st == LC_OK && stays && lc_wal_compress(db->wal, s->tx_offset, &s->cancel, &err) != LC_OK && err.status != LC_CLOSED) lc_log(LC_LOG_WARN, "%s; the segment stays as it is", err.text);
}

static void *worker_main(void *arg) {
  (void)arg;
  pthread_setname_np(pthread_self(), "snapshot");
  setpriority(PRIO_PROCESS, (id_t)gettid(), WORKER_NICE); /* of this thread: transactions go first */
  pthread_mutex_lock(&worker.mutex);
  for (;;) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WORKER_IDLE_S;
    while (!worker.first && pthread_cond_timedwait(&worker.work, &worker.mutex, &until) != ETIMEDOUT) {}
    struct lc_db *db = worker.first;
    if (!db) break;
    worker.first = db->snapshot.queue_next;
    pthread_mutex_unlock(&worker.mutex);
    make_snapshot(db);
    pthread_mutex_lock(&worker.mutex);
    db->snapshot.active = false;
    if (db->snapshot.again) atomic_store(&db->snapshot.wanted, true);
    bool wake = db->snapshot.again && !atomic_load(&db->closing);
    db->snapshot.again = false;
    if (wake) db->options.callbacks.wake(db->options.callbacks.ctx, db); /* under the lock: it is not closed meanwhile */
    pthread_cond_broadcast(&worker.change);
  }
  worker.has_thread = false;
  pthread_mutex_unlock(&worker.mutex);
  return NULL;
}

/* With the lock. */
static bool have_thread(void) {
  pthread_t id;
  pthread_attr_t attr;
  if (worker.has_thread) return true;
  pthread_attr_init(&attr);
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attr, 512 << 10);
  worker.has_thread = pthread_create(&id, &attr, worker_main, NULL) == 0;
  pthread_attr_destroy(&attr);
  return worker.has_thread;
}

/* ---- the baton holder ---- */

void db_snapshot_due_after(struct lc_db *db) {
  uint64_t n = db->options.snapshot_interval_transactions, o = db->next_offset; /* the next offset to be given */
  db->snapshot.due = db->wal && n && n != UINT64_MAX ? o + (1 % n + n - o % n) % n + 1 : UINT64_MAX;
}

static void enqueue(struct lc_db *db) {
  db->snapshot.active = true;
  db->snapshot.queue_next = NULL;
  if (worker.first) worker.last->snapshot.queue_next = db;
  else worker.first = db;
  worker.last = db;
  pthread_cond_signal(&worker.work);
}

void db_snapshot_take(struct lc_db *db) {
  struct db_snapshot *s = &db->snapshot;
  bool failed = false;
  atomic_store(&s->wanted, false);
  if (db->next_offset >= s->due) db_snapshot_due_after(db);
  if (!db->wal || db->next_offset == 0 || atomic_load(&db->closing)) return;
  uint64_t tx_offset = db->next_offset - 1;
  pthread_mutex_lock(&worker.mutex);
  if (s->active) {
    s->again = s->again || s->tx_offset != tx_offset;
  } else if (!s->made || s->tx_offset != tx_offset) {
    s->made = false;
    s->tx_offset = tx_offset;
    failed = !have_thread() || lc_read_view_open(db->ds, &s->view) != LC_OK;
    if (!failed) enqueue(db);
  }
  pthread_mutex_unlock(&worker.mutex);
  if (failed) lc_log(LC_LOG_WARN, "no thread or no memory for a snapshot at transaction %llu; the next one is tried in its time", (unsigned long long)tx_offset);
}

void lc_db_request_snapshot(struct lc_db *db) {
  atomic_store(&db->snapshot.wanted, true);
  if (db->is_open && !atomic_load(&db->closing)) db->options.callbacks.wake(db->options.callbacks.ctx, db);
}

/* The view in the making is given back, so that the datastore can go. */
void db_snapshots_close(struct lc_db *db) {
  struct db_snapshot *s = &db->snapshot;
  atomic_store(&s->cancel, true);
  pthread_mutex_lock(&worker.mutex);
  while (s->active) pthread_cond_wait(&worker.change, &worker.mutex);
  pthread_mutex_unlock(&worker.mutex);
}
