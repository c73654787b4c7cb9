/* Owns: answers with many rows, computed on read views by threads of their own, so that the writer goes on (DESIGN, "Threads").
 *
 * A client that waits for such an answer is held: what it is told meanwhile stays behind the answer, in the order of commits. Its view is opened by the baton holder at
 * the moment of the request, so that the answer is exact for its place and every later commit's update follows it.
 * A query by HTTP has no client here: its end is told to whoever asked.
 * Invariants: a job is in its client's list until its output has been handed over; a client is not freed while it has one; jobs of a client are handed over in order.
 * Callers: subscribe.c, http.c, db.c (hand-over, disconnect), open.c.
 */
#include "db_internal.h"
#include <errno.h>
#include <sys/resource.h>
#include <unistd.h>

enum { MAX_THREADS = 2, THREAD_IDLE_S = 5, THREAD_NICE = 5 };

struct read_job {
  struct read_job *next, *client_next;
  struct lc_db *db; struct lc_db_client *client;
  struct lc_db_op op; uint64_t set_id; /* as live knows the set */
  struct lc_sql_caller caller; enum lc_sql_language language; uint32_t flags;
  struct lc_read_view view;
  struct lc_buf texts, args; uint32_t n;
  struct lc_db_batch *batch;          /* in which the end is reported: there from the beginning, so that it cannot fail */
  struct lc_buf before, answer;       /* what the client was told before, not handed over; the encoded answer */
  atomic_bool cancel;
  bool is_done, has_failed;           /* baton holder; thread, then baton holder */
  struct lc_db_query_later later; int64_t start_us; enum lc_status status; struct lc_error err; /* without a client */
};

static struct {
  pthread_mutex_t mutex;
  pthread_cond_t work, change;
  struct read_job *first, *last, *running; /* waiting; being computed */
  unsigned n_threads, n_idle;
} pool = {.mutex = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER, .change = PTHREAD_COND_INITIALIZER};

/* ---- the threads ---- */

static void read_rows(struct read_job *job) {
  struct lc_live_answer answer = {0};
  struct lc_error err = {0};
  if (!job->client) {
    job->status = db_query(job->db, job->view, &job->caller, lc_buf_slice(&job->texts), job->start_us, job->later.form, &job->cancel, &job->answer, &job->err);
    lc_read_view_close(&job->view);
    return;
  }
  enum lc_status st = lc_live_read(job->view, job->language, &job->caller, job->flags, lc_buf_slice(&job->texts), job->n, &job->cancel, &answer, &err);
  job->has_failed = st != LC_OK;
  job->client->ops->encode_answer(job->client, &job->op, lc_buf_slice(&job->args), answer.rows, answer.n, st == LC_OK ? NULL : err.text, &job->answer);
  lc_live_answer_free(&answer);
  lc_read_view_close(&job->view);
}

static void *thread_main(void *arg) {
  (void)arg;
  setpriority(PRIO_PROCESS, (id_t)gettid(), THREAD_NICE); /* of this thread: transactions go first */
  pthread_mutex_lock(&pool.mutex);
  for (;;) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += THREAD_IDLE_S;
    pool.n_idle++;
    while (!pool.first && pthread_cond_timedwait(&pool.work, &pool.mutex, &until) != ETIMEDOUT) {}
    pool.n_idle--;
    struct read_job *job = pool.first;
    if (!job) break;
    pool.first = job->next;
    job->next = pool.running;
    pool.running = job;
    pthread_mutex_unlock(&pool.mutex);
    struct lc_db *db = job->db;
    read_rows(job);
    pthread_mutex_lock(&pool.mutex);
    struct read_job **at = &pool.running;
    while (*at != job) at = &(*at)->next;
    *at = job->next;
    pthread_mutex_unlock(&pool.mutex);
    lc_db_submit(db, job->batch); /* the job is the baton holder's from here on */
    db->options.callbacks.wake(db->options.callbacks.ctx, db); /* the database is not closed before n_reads says so */
    pthread_mutex_lock(&pool.mutex);
    db->n_reads--;
    pthread_cond_broadcast(&pool.change);
  }
  pool.n_threads--;
  pthread_mutex_unlock(&pool.mutex);
  return NULL;
}

/* With the lock. */
static bool have_thread(void) {
  pthread_t id;
  pthread_attr_t attr;
  if (pool.n_idle > 0 || pool.n_threads == MAX_THREADS) return true;
  pthread_attr_init(&attr);
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attr, 1 << 20);
  if (pthread_create(&id, &attr, thread_main, NULL) == 0) pool.n_threads++;
  pthread_attr_destroy(&attr);
  return pool.n_threads > 0;
}

/* ---- the baton holder ---- */

static void job_free(struct read_job *job) {
  if (job->view.snapshot) lc_read_view_close(&job->view);
  if (job->batch) lc_db_batch_free(job->batch);
  lc_buf_free(&job->texts);
  lc_buf_free(&job->args);
  lc_buf_free(&job->before);
  lc_buf_free(&job->answer);
  lc_free(job);
}

/* The answer is there. A set whose client is told that it failed is no more. */
static void on_done(struct lc_db *db, void *arg) {
  struct read_job *job = arg;
  struct lc_db_client *c = job->client;
  const struct lc_query_rows *rows;
  uint32_t n_rows;
  job->is_done = true;
  job->batch = NULL; /* it is the one that runs */
  if (job->has_failed && job->op.kind == LC_OP_SUBSCRIBE && c->is_connected) {
    lc_live_unsubscribe(db->live, c, job->set_id, LC_LIVE_NO_ROWS, &rows, &n_rows, NULL);
    views_release(db, c, job->set_id);
  }
  db_mark_dirty(db, c);
}

static void on_query_done(struct lc_db *db, void *arg) {
  struct read_job *job = arg;
  job->batch = NULL;
  job->later.done(db, job->later.arg, &job->answer, job->status, &job->err);
  job_free(job);
}

/* The end's batch and the view of this moment; false: out of memory. */
static bool prepare(struct lc_db *db, struct read_job *job, void (*done)(struct lc_db *, void *)) {
  struct lc_db_op *end = (job->batch = lc_db_batch_new()) ? lc_db_batch_add(job->batch, LC_OP_FUNCTION, NULL) : NULL;
  if (!end || lc_read_view_open(db->ds, &job->view) != LC_OK) return false;
  *end = (struct lc_db_op){.kind = LC_OP_FUNCTION, .function = done, .arg = job};
  job->db = db;
  return true;
}
/* With the lock; false: there is no thread. */
static bool enqueue(struct read_job *job) {
  if (!have_thread()) return false;
  if (pool.first) pool.last->next = job;
  else pool.first = job;
  pool.last = job;
  job->db->n_reads++;
  pthread_cond_signal(&pool.work);
  return true;
}

bool db_read_query(struct lc_db *db, const struct lc_sql_caller *caller, struct lc_slice sql, int64_t start_us, const struct lc_db_query_later *later) {
  struct read_job *job = atomic_load(&db->closing) ? NULL : lc_alloc_zero(1, sizeof *job);
  if (!job) return false;
  lc_buf_slice_append(&job->texts, sql);
  bool ok = lc_buf_ok(&job->texts) && prepare(db, job, on_query_done);
  job->caller = *caller;
  job->start_us = start_us;
  job->later = *later;
  if (ok) {
    pthread_mutex_lock(&pool.mutex);
    ok = enqueue(job);
    pthread_mutex_unlock(&pool.mutex);
  }
  if (!ok) job_free(job);
  return ok;
}

bool db_read_begin(struct lc_db *db, struct lc_db_client *c, const struct lc_db_op *op, uint64_t query_set_id, enum lc_sql_language language, uint32_t flags, struct lc_buf *texts, uint32_t n, struct lc_slice args) {
  struct read_job *job = lc_alloc_zero(1, sizeof *job);
  bool ok = job && c->ops->encode_answer && !atomic_load(&db->closing) && lc_buf_ok(texts);
  if (ok) {
    lc_buf_slice_append(&job->args, args);
    ok = lc_buf_ok(&job->args) && prepare(db, job, on_done);
  }
  if (ok) {
    job->client = c;
    job->op = *op;
    job->op.arg = NULL;
    job->caller = (struct lc_sql_caller){.identity = c->identity, .is_owner = c->is_owner};
    job->language = language;
    job->flags = flags;
    job->texts = *texts;
    job->n = n;
    *texts = (struct lc_buf){0};
    pthread_mutex_lock(&pool.mutex);
    if ((ok = enqueue(job))) { /* before the lock is given up the thread has not begun */
      struct read_job **at = &c->reads;
      while (*at) at = &(*at)->client_next;
      *at = job;
      job->set_id = query_set_id;
      job->before = c->out;
      c->out = (struct lc_buf){0};
    }
    pthread_mutex_unlock(&pool.mutex);
  }
  if (ok) {
    c->ops->answered(c, op);
    return true;
  }
  if (job) {
    if (job->texts.data) *texts = job->texts;
    job->texts = (struct lc_buf){0};
    job_free(job);
  }
  return false;
}

bool db_reads_release(struct lc_db_client *c, struct lc_buf out[2]) {
  struct read_job *job = c->reads;
  if (!job || !job->is_done) return false;
  c->reads = job->client_next;
  out[0] = job->before;
  out[1] = job->answer;
  job->before = job->answer = (struct lc_buf){0};
  job_free(job);
  return true;
}
void db_reads_cancel(struct lc_db_client *c) {
  for (struct read_job *job = c->reads; job; job = job->client_next) atomic_store(&job->cancel, true);
}
void db_reads_close(struct lc_db *db) {
  pthread_mutex_lock(&pool.mutex);
  for (int i = 0; i < 2; i++)
    for (struct read_job *job = i ? pool.running : pool.first; job; job = job->next)
      if (job->db == db) atomic_store(&job->cancel, true);
  while (db->n_reads) pthread_cond_wait(&pool.change, &pool.mutex);
  pthread_mutex_unlock(&pool.mutex);
}
