/* Owns: procedures and HTTP handlers: long calls outside any transaction, each on a thread of its own pool with an instance of its own (DESIGN, Threads;
 * spec/02 §5.9, §8). They take the baton for with_tx, for reads of the environment, and to hand over their result; so one that sleeps, waits for HTTP
 * or loops holds up nobody.
 *
 * Invariants: a job is answered exactly once, with the baton, unless its client left before; it is in its database's list from submission until after
 * that, so a database can wait for its jobs; a client pointer in a job is touched with the baton only. pool.mutex guards queue, lists and instances and
 * is never held while the baton is waited for, nor while module code runs.
 * Threads: made on demand, at most MAX_THREADS, those idle for IDLE_SECONDS end. Of one database at most MAX_PER_DATABASE jobs run at once; the rest
 * wait in order of arrival.
 */
#include "db_internal.h"
#include <errno.h>
#include <stdio.h>
#include <time.h>

enum { MAX_THREADS = 4096 /* so that a few databases whose procedures all sleep do not hold up the others */, MAX_PER_DATABASE = 64, MAX_WAITING = 65536, MAX_IDLE_INSTANCES = 16, IDLE_SECONDS = 10, STACK_BYTES = 4 << 20, DURABILITY_TIMEOUT_MS = 5000 };
static const char closing_text[] = "the database is being closed";

struct procedure_instance {
  struct lc_host_env env;             /* ctx: this */
  struct lc_http_policy http;
  struct lc_instance *instance;
  struct lc_module *module;           /* with a reference */
  struct procedure_job *job;          /* running */
  struct procedure_instance *next;
};

struct procedure_job {
  struct procedure_job *next;         /* queue */
  struct procedure_job *db_prev, *db_next, *all_prev, *all_next;
  struct lc_db *db;
  struct lc_module *module;           /* with a reference; names point into its definition */
  bool is_handler, confirmed;
  struct lc_call_args call;           /* args in `bytes` */
  struct lc_buf bytes;
  size_t args_len, jwt_len, body_len; /* one after the other in bytes */
  struct lc_db_client *client; struct lc_db_op op; /* WebSocket caller; NULL: none, or gone */
  void (*done)(struct lc_db *db, void *arg, const struct lc_db_procedure_result *r); void *arg;
  struct lc_instance *running;        /* to be interrupted */
  _Atomic(const char *) cancelled;    /* reason */
  pthread_cond_t woken;               /* for who sleeps */
};

static struct {
  pthread_mutex_t mutex;
  pthread_cond_t work, change;        /* change: a job or a thread has ended */
  struct procedure_job *first, **last, *all;
  uint32_t n_queued, n_jobs, n_threads, n_idle;
  bool stopping;
} pool = {.mutex = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER, .change = PTHREAD_COND_INITIALIZER, .last = &pool.first};

static struct timespec deadline_in(int64_t seconds) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  t.tv_sec += seconds;
  return t;
}

/* ---- what a procedure's instance reaches: callbacks of its environment ---- */

static void on_log(void *ctx, const struct lc_module_log_record *rec) {
  struct lc_host_env *env = &((struct procedure_instance *)ctx)->job->db->host_env;
  env->log(env->ctx, rec);
}
static int on_schedule_row(void *ctx, uint32_t table_id, struct lc_slice row) {
  struct lc_host_env *env = &((struct procedure_instance *)ctx)->job->db->host_env;
  return env->schedule_row ? env->schedule_row(env->ctx, table_id, row) : LC_ERRNO_OK;
}
static void on_schedule_immediate(void *ctx, struct lc_slice function, struct lc_slice args) { db_schedule_immediate(((struct procedure_instance *)ctx)->job->db, function, args); }

static struct lc_tx *on_begin(void *ctx) {
  struct lc_db *db = ((struct procedure_instance *)ctx)->job->db;
  db_baton_take(db);
  struct lc_tx *tx = lc_db_failure(db) ? NULL : lc_tx_begin(db->ds);
  if (!tx) db_baton_leave(db);
  return tx;
}
static void on_abort(void *ctx, struct lc_tx *tx) {
  struct lc_db *db = ((struct procedure_instance *)ctx)->job->db;
  lc_tx_rollback(tx);
  db_baton_leave(db);
}
/* Commits, tells the subscribers, lets go of the database, and then waits for the log if the caller reads confirmed (spec/07 §3.4). */
static enum lc_status on_commit(void *ctx, struct lc_tx *tx, struct lc_error *err) {
  struct procedure_job *job = ((struct procedure_instance *)ctx)->job;
  struct lc_db *db = job->db;
  enum lc_status st = db_before_commit(db, tx, NULL, err);
  if (st != LC_OK) {
    lc_tx_rollback(tx);
    db_baton_leave(db);
    return st;
  }
  db_commit_of(db, tx, &db->options.database_identity, 0);
  uint64_t end = db->next_offset;
  db_hand_over(db);
  db_baton_leave(db);
  if (!job->confirmed || !db->wal) return LC_OK;
  st = lc_wal_wait_durable_for(db->wal, end, DURABILITY_TIMEOUT_MS);
  if (st == LC_OK) return LC_OK;
  if (st == LC_LIMIT) return lc_fail(err, LC_TRAP, "durability confirmation timed out; outcome unknown, do not retry without deduplication");
  return lc_fail(err, LC_TRAP, "transaction committed, but durability could not be confirmed; outcome unknown, do not retry without deduplication");
}
static void on_enter(void *ctx) { db_baton_take(((struct procedure_instance *)ctx)->job->db); }
static void on_leave(void *ctx) { db_baton_leave(((struct procedure_instance *)ctx)->job->db); }

static bool on_sleep(void *ctx, int64_t wake_us, int64_t *now_us, struct lc_error *err) {
  struct procedure_job *job = ((struct procedure_instance *)ctx)->job;
  const struct lc_env *env = job->db->options.env;
  const char *reason;
  pthread_mutex_lock(&pool.mutex);
  for (;;) {
    *now_us = env->now_us(env->ctx);
    reason = atomic_load(&job->cancelled);
    if (reason || *now_us >= wake_us) break;
    int64_t left = wake_us - *now_us, longest = 3600 * 1000000ll; /* then looks again: clocks are set */
    struct timespec until = deadline_in((left < longest ? left : longest) / 1000000);
    until.tv_nsec += (left < longest ? left : longest) % 1000000 * 1000;
    if (until.tv_nsec >= 1000000000) {
      until.tv_sec++;
      until.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&job->woken, &pool.mutex, &until);
  }
  pthread_mutex_unlock(&pool.mutex);
  if (reason) lc_fail(err, LC_CLOSED, "%s", reason);
  return !reason;
}
static bool on_cancelled(void *ctx) { return atomic_load(&((struct procedure_instance *)ctx)->job->cancelled) != NULL; }

/* ---- instances: used by one job at a time, kept for the next of the same program ---- */

static void instance_free(struct procedure_instance *p) {
  if (!p) return;
  lc_instance_free(p->instance);
  lc_module_unref(p->module);
  lc_free(p);
}

static struct procedure_instance *instance_for(struct procedure_job *job, struct lc_error *err) {
  struct lc_db *db = job->db;
  struct procedure_instance *found = NULL, *stale = NULL;
  pthread_mutex_lock(&pool.mutex);
  for (struct procedure_instance **at = &db->idle_instances; *at;) {
    struct procedure_instance *p = *at;
    if (p->module == job->module && found) {
      at = &p->next;
      continue;
    }
    *at = p->next;
    struct procedure_instance **to = p->module == job->module ? &found : &stale;
    p->next = *to;
    *to = p;
  }
  pthread_mutex_unlock(&pool.mutex);
  while (stale) {
    struct procedure_instance *p = stale;
    stale = p->next;
    instance_free(p);
  }
  if (found) {
    found->job = job;
    return found;
  }
  struct procedure_instance *p = lc_alloc_zero(1, sizeof *p);
  if (!p) return lc_fail(err, LC_NOMEM, "out of memory"), NULL;
  p->job = job;
  p->module = lc_module_ref(job->module);
  p->http = (struct lc_http_policy){.cancelled = on_cancelled, .ctx = p, .disabled = db->options.no_module_http};
  p->env = (struct lc_host_env){.env = db->options.env,
                                .ds = db->ds,
                                .database_identity = db->options.database_identity,
                                .ctx = p,
                                .log = on_log,
                                .schedule_row = on_schedule_row,
                                .schedule_immediate = on_schedule_immediate,
                                .begin_tx = on_begin,
                                .commit_tx = on_commit,
                                .abort_tx = on_abort,
                                .sleep_until = on_sleep,
                                .enter = on_enter,
                                .leave = on_leave,
                                .http = &p->http};
  if (lc_instance_new(job->module, &p->env, &p->instance, err) == LC_OK) return p;
  instance_free(p);
  return NULL;
}

static void instance_return(struct lc_db *db, struct procedure_instance *p, bool dead) {
  uint32_t n = 0;
  p->job = NULL;
  pthread_mutex_lock(&pool.mutex);
  for (struct procedure_instance *i = db->idle_instances; i; i = i->next) n++;
  if (!dead && n < MAX_IDLE_INSTANCES) {
    p->next = db->idle_instances;
    db->idle_instances = p;
    p = NULL;
  }
  pthread_mutex_unlock(&pool.mutex);
  instance_free(p);
}

/* ---- jobs ---- */

static void job_free(struct procedure_job *job) {
  lc_buf_free(&job->bytes);
  lc_module_unref(job->module);
  pthread_cond_destroy(&job->woken);
  lc_free(job);
}

/* Tells the caller; with the baton. */
static void answer(struct procedure_job *job, const struct lc_db_procedure_result *r) {
  struct lc_db *db = job->db;
  struct lc_db_client *c = job->client;
  bool ok = r->status == LC_OK;
  if (c) {
    struct lc_buf json = {0};
    struct lc_slice value = r->value;
    const char *text = r->error_text;
    if (ok && job->op.args_are_json) {
      const struct lc_function_def *fn = &lc_module_definition(job->module)->procedures[job->call.id];
      struct lc_reader reader = lc_reader(value);
      ok = lc_json_write_value(&json, fn->ok_type, fn->typespace, &reader, LC_JSON_U, NULL) == LC_OK && lc_buf_ok(&json);
      value = lc_buf_slice(&json);
      text = "The module instance encountered a fatal error: its result is no JSON";
    }
    db_mark_dirty(db, c);
    c->ops->procedure_result(c, &job->op, ok ? &value : NULL, ok ? NULL : text, ok ? r->timestamp_us : 0, ok ? r->duration_us : 0);
    lc_buf_free(&json);
  } else if (job->done) {
    job->done(db, job->arg, r);
  } else if (!ok) {
    module_log_engine(db->log, 0, r->timestamp_us, "__spacetimedb__", "procedure %.*s: %s", (int)job->call.function_name.len, (const char *)job->call.function_name.data, r->error_text);
  }
}

/* What a procedure returned is of the type that it declared. */
static enum lc_status check_value(const struct procedure_job *job, struct lc_slice value, struct lc_error *err) {
  const struct lc_function_def *f = &lc_module_definition(job->module)->procedures[job->call.id];
  struct lc_reader r = lc_reader(value);
  return lc_bsatn_validate(f->ok_type, f->typespace, &r, err) == LC_OK ? LC_OK : LC_TRAP;
}

static void run(struct procedure_job *job) {
  struct lc_db *db = job->db;
  const struct lc_env *env = db->options.env;
  struct lc_error err = {0};
  struct lc_buf value = {0}, body = {0};
  struct lc_call_result res = {.status = LC_CALL_FATAL};
  const char *reason = atomic_load(&job->cancelled);
  struct procedure_instance *p = reason ? (lc_fail(&err, LC_CLOSED, "%s", reason), NULL) : instance_for(job, &err);
  struct lc_db_procedure_result r = {.status = LC_TRAP, .timestamp_us = job->call.timestamp_us};
  int64_t start = env->monotonic_ns(env->ctx);
  if (p) {
    pthread_mutex_lock(&pool.mutex);
    job->running = p->instance;
    reason = atomic_load(&job->cancelled);
    pthread_mutex_unlock(&pool.mutex);
    if (reason) lc_instance_interrupt(p->instance, reason);
    job->call.args = lc_slice(job->bytes.data, job->args_len);
    struct lc_slice jwt = lc_slice(job->bytes.data + job->args_len, job->jwt_len), request_body = lc_slice(job->bytes.data + job->args_len + job->jwt_len, job->body_len);
    if (job->is_handler) lc_instance_call_http_handler(p->instance, &job->call, jwt, request_body, &value, &body, &res);
    else lc_instance_call_procedure(p->instance, &job->call, &value, &res);
    pthread_mutex_lock(&pool.mutex);
    job->running = NULL;
    pthread_mutex_unlock(&pool.mutex);
    if (res.status == LC_CALL_OK && lc_buf_ok(&value) && lc_buf_ok(&body)) r.status = job->is_handler ? LC_OK : check_value(job, lc_buf_slice(&value), &err);
    else if (res.status == LC_CALL_OK) lc_fail(&err, LC_NOMEM, "out of memory");
    else lc_fail(&err, LC_TRAP, "%.*s", (int)res.message.len, (const char *)res.message.data);
    if (res.status == LC_CALL_BUDGET) r.status = LC_BUDGET;
    if (r.status != LC_OK)
      lc_log(LC_LOG_WARN, "%s %.*s: %.*s", job->is_handler ? "HTTP handler" : "procedure", (int)job->call.function_name.len, (const char *)job->call.function_name.data,
             res.cause.len ? (int)res.cause.len : (int)strlen(err.text), res.cause.len ? (const char *)res.cause.data : err.text);
    instance_return(db, p, res.instance_dead || reason);
  }
  if (r.status == LC_OK) {
    r.value = lc_buf_slice(&value);
    r.body = lc_buf_slice(&body);
  } else if (!job->is_handler) { /* of a Wasm program that is out of budget too (spec/02 §3) */
    lc_fail_context(&err, "The module instance encountered a fatal error");
  }
  r.error_text = err.text;
  r.duration_us = (env->monotonic_ns(env->ctx) - start) / 1000;
  db_baton_take(db);
  db_count(db, LC_DB_PROCEDURES, 1);
  if (r.status != LC_OK) db_count(db, LC_DB_PROCEDURES_FAILED, 1);
  answer(job, &r);
  db_hand_over(db);
  db_baton_leave(db);
  module_log_flush(db->log);
  lc_buf_free(&value);
  lc_buf_free(&body);
}

/* ---- the pool ---- */

/* The first job in the queue whose database may run another; under the lock. */
static struct procedure_job *take_job(void) {
  for (struct procedure_job **at = &pool.first; *at; at = &(*at)->next) {
    struct procedure_job *job = *at;
    if (job->db->n_running >= MAX_PER_DATABASE) continue;
    *at = job->next;
    if (!*at) pool.last = at;
    pool.n_queued--;
    job->db->n_running++;
    return job;
  }
  return NULL;
}

static void *worker(void *arg) {
  (void)arg;
  pthread_mutex_lock(&pool.mutex);
  for (;;) {
    struct procedure_job *job = take_job();
    if (!job) {
      struct timespec until = deadline_in(IDLE_SECONDS);
      pool.n_idle++;
      int rc = pool.stopping ? ETIMEDOUT : pthread_cond_timedwait(&pool.work, &pool.mutex, &until);
      pool.n_idle--;
      if (rc != ETIMEDOUT || (job = take_job()) == NULL) {
        if (rc != ETIMEDOUT) continue;
        break;
      }
    }
    pthread_mutex_unlock(&pool.mutex);
    run(job);
    pthread_mutex_lock(&pool.mutex);
    struct lc_db *db = job->db;
    if (db->n_running-- == MAX_PER_DATABASE) pthread_cond_signal(&pool.work);
    if (job->db_prev) job->db_prev->db_next = job->db_next;
    else db->jobs = job->db_next;
    if (job->db_next) job->db_next->db_prev = job->db_prev;
    if (job->all_prev) job->all_prev->all_next = job->all_next;
    else pool.all = job->all_next;
    if (job->all_next) job->all_next->all_prev = job->all_prev;
    pool.n_jobs--;
    pthread_cond_broadcast(&pool.change); /* from here on its database may go */
    pthread_mutex_unlock(&pool.mutex);
    job_free(job);
    pthread_mutex_lock(&pool.mutex);
  }
  pool.n_threads--;
  pthread_cond_broadcast(&pool.change);
  pthread_mutex_unlock(&pool.mutex);
  return NULL;
}

static bool start_thread(void) {
  pthread_attr_t attr;
  pthread_t id;
  pthread_attr_init(&attr);
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attr, STACK_BYTES);
  int rc = pthread_create(&id, &attr, worker, NULL);
  pthread_attr_destroy(&attr);
  return rc == 0;
}

/* Takes the job over, also when it fails. */
static enum lc_status submit(struct procedure_job *job, struct lc_error *err) {
  struct lc_db *db = job->db;
  enum lc_status st = LC_OK;
  pthread_mutex_lock(&pool.mutex);
  if (pool.stopping || atomic_load(&db->closing)) st = lc_fail(err, LC_CLOSED, "%s", closing_text);
  else if (lc_db_failure(db)) st = lc_fail(err, LC_CLOSED, "%s", lc_db_failure(db));
  else if (pool.n_jobs >= MAX_WAITING) st = lc_fail(err, LC_LIMIT, "too many procedures wait to be run");
  else if (pool.n_queued + 1 > pool.n_idle && pool.n_threads < MAX_THREADS) {
    if (start_thread()) pool.n_threads++;
    else if (pool.n_threads == 0) st = lc_fail(err, LC_NOMEM, "no thread can be had to run the procedure");
  }
  if (st == LC_OK) {
    job->next = NULL;
    *pool.last = job;
    pool.last = &job->next;
    pool.n_queued++;
    pool.n_jobs++;
    if ((job->db_next = db->jobs)) db->jobs->db_prev = job;
    db->jobs = job;
    if ((job->all_next = pool.all)) pool.all->all_prev = job;
    pool.all = job;
    pthread_cond_signal(&pool.work);
  }
  pthread_mutex_unlock(&pool.mutex);
  if (st != LC_OK) job_free(job);
  return st;
}

static void cancel(struct procedure_job *job, const char *reason) { /* under the lock */
  atomic_store(&job->cancelled, reason);
  if (job->running) lc_instance_interrupt(job->running, reason);
  pthread_cond_broadcast(&job->woken);
}

void db_procedures_cancel(struct lc_db *db, const char *reason) {
  pthread_mutex_lock(&pool.mutex);
  for (struct procedure_job *job = db->jobs; job; job = job->db_next) cancel(job, reason);
  pthread_mutex_unlock(&pool.mutex);
}

uint32_t db_procedures_waiting(struct lc_db *db) {
  uint32_t n = 0;
  pthread_mutex_lock(&pool.mutex);
  for (struct procedure_job *job = db->jobs; job; job = job->db_next) n++;
  pthread_mutex_unlock(&pool.mutex);
  return n;
}

void lc_db_begin_close(struct lc_db *db) {
  atomic_store(&db->closing, true);
  db_reads_close(db);
}

void db_procedures_close(struct lc_db *db) {
  pthread_mutex_lock(&pool.mutex);
  atomic_store(&db->closing, true);
  for (struct procedure_job *job = db->jobs; job; job = job->db_next) cancel(job, closing_text);
  while (db->jobs) pthread_cond_wait(&pool.change, &pool.mutex);
  pthread_mutex_unlock(&pool.mutex);
  while (db->idle_instances) {
    struct procedure_instance *p = db->idle_instances;
    db->idle_instances = p->next;
    instance_free(p);
  }
}

void lc_db_stop_procedures(void) {
  pthread_mutex_lock(&pool.mutex);
  pool.stopping = true;
  for (struct procedure_job *job = pool.all; job; job = job->all_next) cancel(job, closing_text);
  pthread_cond_broadcast(&pool.work);
  while (pool.n_threads > 0) pthread_cond_wait(&pool.change, &pool.mutex);
  pthread_mutex_unlock(&pool.mutex);
}

void db_procedures_forget_client(struct lc_db *db, struct lc_db_client *c) {
  pthread_mutex_lock(&pool.mutex);
  for (struct procedure_job *job = db->jobs; job; job = job->db_next)
    if (job->client == c) job->client = NULL;
  pthread_mutex_unlock(&pool.mutex);
}

/* ---- starting (with the baton) ---- */

static struct procedure_job *job_new(struct lc_db *db, const struct lc_identity *caller, const struct lc_connection_id *conn, bool confirmed, struct lc_slice args, struct lc_slice jwt, struct lc_slice body) {
  struct procedure_job *job = lc_alloc_zero(1, sizeof *job);
  if (!job) return NULL;
  pthread_cond_init(&job->woken, NULL);
  job->db = db;
  job->module = lc_module_ref(db->module);
  job->confirmed = confirmed;
  lc_buf_slice_append(&job->bytes, args);
  lc_buf_slice_append(&job->bytes, jwt);
  lc_buf_slice_append(&job->bytes, body);
  job->args_len = args.len;
  job->jwt_len = jwt.len;
  job->body_len = body.len;
  job->call = (struct lc_call_args){.sender = *caller, .connection_id = *conn, .timestamp_us = db->options.env->now_us(db->options.env->ctx)};
  if (lc_buf_ok(&job->bytes)) return job;
  job_free(job);
  return NULL;
}

/* The job of a procedure whose name and arguments are right; NULL with the text for the caller. */
static struct procedure_job *procedure_job(struct lc_db *db, const struct lc_identity *caller, const struct lc_connection_id *conn, bool is_owner, bool confirmed, struct lc_slice name, struct lc_slice args,
                                           bool args_are_json, struct lc_error *err) {
  const struct lc_module_def *def = lc_module_definition(db->module);
  uint32_t id = 0;
  while (id < def->n_procedures && !(lc_slice_eq(def->procedures[id].name, name) && (is_owner || !def->procedures[id].is_private))) id++;
  if (id == def->n_procedures) return lc_fail(err, LC_NOT_FOUND, "No such procedure"), NULL;
  const struct lc_function_def *fn = &def->procedures[id];
  struct lc_buf parsed = {0};
  enum lc_status st = args_are_json ? lc_json_parse_args(args, fn, &parsed, err) : LC_OK;
  if (args_are_json) args = lc_buf_slice(&parsed);
  struct lc_reader r = lc_reader(args);
  if (st != LC_OK || lc_bsatn_validate(fn->params, fn->typespace, &r, err) != LC_OK) {
    lc_buf_free(&parsed);
    return lc_fail_context(err, "invalid arguments for procedure %.*s", (int)name.len, (const char *)name.data), NULL;
  }
  struct procedure_job *job = lc_buf_ok(&parsed) ? job_new(db, caller, conn, confirmed, args, lc_slice(NULL, 0), lc_slice(NULL, 0)) : NULL;
  lc_buf_free(&parsed);
  if (!job) return lc_fail(err, LC_NOMEM, "out of memory"), NULL;
  job->call.function_name = fn->name;
  job->call.id = id;
  return job;
}

enum lc_status lc_db_start_procedure(struct lc_db *db, const struct lc_db_procedure_call *c, struct lc_error *err) {
  struct procedure_job *job = procedure_job(db, &c->caller, &c->connection_id, c->is_owner, c->confirmed, c->name, c->args, false, err);
  if (!job) return err->status;
  job->done = c->done;
  job->arg = c->arg;
  return submit(job, err);
}

enum lc_status lc_db_start_http_handler(struct lc_db *db, const struct lc_db_procedure_call *c, struct lc_slice jwt_payload, struct lc_slice body, struct lc_error *err) {
  const struct lc_module_def *def = lc_module_definition(db->module);
  uint32_t id = 0;
  while (id < def->n_http_handlers && !lc_slice_eq(def->http_handlers[id], c->name)) id++;
  if (id == def->n_http_handlers) return lc_fail(err, LC_NOT_FOUND, "no such HTTP handler: %.*s", (int)c->name.len, (const char *)c->name.data);
  struct procedure_job *job = job_new(db, &c->caller, &c->connection_id, c->confirmed, c->args, jwt_payload, body);
  if (!job) return lc_fail(err, LC_NOMEM, "out of memory");
  job->is_handler = true;
  job->call.function_name = def->http_handlers[id];
  job->call.id = id;
  job->done = c->done;
  job->arg = c->arg;
  return submit(job, err);
}

void db_run_procedure(struct lc_db *db, struct lc_db_client *c, const struct lc_db_op *op, struct lc_slice name, struct lc_slice args) {
  struct lc_error err = {0};
  struct procedure_job *job = procedure_job(db, &c->identity, &c->connection_id, c->is_owner, c->confirmed, name, args, op->args_are_json, &err);
  if (job) {
    job->client = c;
    job->op = *op;
    if (submit(job, &err) == LC_OK) return;
  }
  db_mark_dirty(db, c);
  c->ops->procedure_result(c, op, NULL, err.text, 0, 0);
}

/* ---- volatile_nonatomic_schedule_immediate (spec/02 §5.8, spec/06 §9.4) ---- */

struct immediate { size_t name_len; struct lc_buf bytes; /* name, arguments */ };
enum { MAX_IMMEDIATE_BYTES = 256 << 20, IMMEDIATE_OVERHEAD_BYTES = 256 };

static void run_immediate(struct lc_db *db, void *arg) {
  static const struct lc_connection_id nobody;
  struct immediate *q = arg;
  const struct lc_identity *self = &db->options.database_identity;
  struct lc_slice name = lc_slice(q->bytes.data, q->name_len), args = lc_slice(q->bytes.data + q->name_len, q->bytes.len - q->name_len);
  struct lc_error err = {0};
  atomic_fetch_sub(&db->immediate_bytes, q->bytes.len + IMMEDIATE_OVERHEAD_BYTES);
  atomic_store(&db->immediate_dropped, false);
  struct procedure_job *job = db->is_open ? procedure_job(db, self, &nobody, true, true, name, args, false, &err) : NULL; /* a publish that failed leaves nothing */
  if (job) submit(job, &err);
  if (job ? err.status != LC_OK : db->is_open && err.status != LC_NOT_FOUND) lc_log(LC_LOG_WARN, "scheduled procedure %.*s: %s", (int)name.len, (const char *)name.data, err.text);
  if (!job && db->is_open && err.status == LC_NOT_FOUND) { /* answers nobody; what fails is in the module log */
    struct lc_reducer_outcome outcome;
    db_call_reducer(db, NULL, NULL, name, args, self, &nobody, true, NULL, &outcome);
  }
  lc_buf_free(&q->bytes);
  lc_free(q);
}

void db_schedule_immediate(void *ctx, struct lc_slice function, struct lc_slice args) {
  struct lc_db *db = ctx;
  if (atomic_load(&db->closing)) return; /* such calls do not outlive the database */
  uint64_t size = function.len + args.len + IMMEDIATE_OVERHEAD_BYTES;
  bool room = atomic_fetch_add(&db->immediate_bytes, size) + size <= MAX_IMMEDIATE_BYTES;
  struct immediate *q = room ? lc_alloc_zero(1, sizeof *q) : NULL;
  struct lc_db_batch *batch = q ? lc_db_batch_new() : NULL;
  struct lc_db_op *op = batch ? lc_db_batch_add(batch, LC_OP_FUNCTION, NULL) : NULL;
  if (op) {
    q->name_len = function.len;
    lc_buf_slice_append(&q->bytes, function);
    lc_buf_slice_append(&q->bytes, args);
  }
  if (!op || !lc_buf_ok(&q->bytes)) { /* the module cannot be told: the call has no result (spec/02 §4) */
    if (!atomic_exchange(&db->immediate_dropped, true)) lc_log(LC_LOG_ERROR, "call of %.*s dropped: %s", (int)function.len, (const char *)function.data, room ? "out of memory" : "more than 256 MiB of immediate calls wait");
    atomic_fetch_sub(&db->immediate_bytes, size);
    if (batch) lc_db_batch_free(batch);
    if (q) lc_buf_free(&q->bytes);
    lc_free(q);
    return;
  }
  op->function = run_immediate;
  op->arg = q;
  lc_db_submit(db, batch);
  if (db->is_open) db->options.callbacks.wake(db->options.callbacks.ctx, db);
}
