/* Owns: the life of the server, its databases, and the flow of operations and outputs between network threads and databases.
 *
 * Invariants: what a network thread batched in a turn is submitted in that turn; an output leaves in the order in which its database made it
 * and, when confirmed, not before its log offset is durable; nothing waits for a log without somebody having promised to look again.
 * Callers: cli/ (lc_server_run), the other files of api/.
 */
#include "server.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- turns: batches go in, databases run ---- */

struct server *server_of(struct lc_net_thread *t) { return ((struct thread_state *)lc_net_thread_user(t))->server; }

static struct pending *pending_of(struct lc_net_thread *t, struct database *d) {
  struct database_thread *mine = &d->threads[lc_net_thread_index(t)];
  if (mine->pending) return mine->pending;
  struct thread_state *ts = lc_net_thread_user(t);
  struct pending *p = lc_alloc_zero(1, sizeof *p);
  if (!p) return NULL;
  p->database = d;
  database_ref(d);
  p->next = ts->pending;
  ts->pending = mine->pending = p;
  return p;
}
struct lc_db_batch *server_batch(struct lc_net_thread *t, struct database *d) {
  struct pending *p = pending_of(t, d);
  if (p && !p->batch) p->batch = lc_db_batch_new();
  return p ? p->batch : NULL;
}

/* The network thread this OS thread serves or served last, + 1: where what a run leaves is run next. */
static _Thread_local uint32_t home;

static bool on_turn(void *ctx, struct lc_net_thread *t) {
  (void)ctx;
  struct thread_state *ts = lc_net_thread_user(t);
  home = lc_net_thread_index(t) + 1;
  for (struct pending *p = ts->pending; p; p = p->next) {
    if (p->batch) lc_db_submit(p->database->db, p->batch);
    p->batch = NULL;
  }
  while (ts->pending) {
    struct pending *p = ts->pending;
    struct database *d = p->database;
    ts->pending = p->next;
    d->threads[lc_net_thread_index(t)].pending = NULL;
    lc_free(p);
    bool ours = true;
    if (!atomic_load_explicit(&d->slow, memory_order_relaxed) || !runner_queue(d->server, d)) {
      uint64_t token = lc_net_run_begin(t);
      lc_db_run(d->db);
      ours = lc_net_run_end(t, token);
    }
    if (!ours) {
      atomic_store(&d->quick_runs, 0);
      atomic_store(&d->slow, true);
    }
    database_unref(d);
    if (!ours) return false;
  }
  return false;
}

/* ---- outputs ---- */

/* failure: why it will never be durable; then clients get nothing of it, and who asked over HTTP is told. */
static void release(struct lc_net_thread *t, struct waiting *w, const char *failure) {
  if (w->outbox) {
    for (uint32_t i = 0; failure && i < w->outbox->n; i++) lc_buf_free(&w->outbox->entries[i].bytes);
    ws_deliver(t, w->outbox);
  } else {
    struct lc_conn *c = t ? lc_conn_from_ref(t, w->answer->ref) : NULL;
    if (failure) answer_text(w->answer, 503, failure);
    if (c) answer_send(w->answer, c);
    else answer_free(w->answer);
  }
  database_unref(w->database);
  lc_free(w);
}
/* One look takes one durable offset per database: were it read again, the log could advance between two outputs and the later one leave first. */
static bool is_durable(const struct waiting *w, uint32_t thread_index, uint64_t look) {
  if (w->server->stopped) return true;
  struct database_thread *mine = &w->database->threads[thread_index];
  if (mine->look != look) {
    mine->look = look;
    mine->durable = lc_db_durable_offset(w->database->db);
  }
  return mine->durable >= w->release_offset;
}

static void release_durable(struct lc_net_thread *t, struct thread_state *ts) {
  uint32_t thread_index = lc_net_thread_index(t);
  ts->looks++;
  for (struct waiting **at = &ts->first; *at;) {
    struct waiting *w = *at;
    const char *failure = lc_db_failure(w->database->db);
    if (is_durable(w, thread_index, ts->looks)) failure = NULL;
    else if (!failure) {
      at = &w->next;
      continue;
    }
    *at = w->next;
    if (ts->last == &w->next) ts->last = at;
    atomic_fetch_sub(&ts->n_waiting, 1);
    release(t, w, failure);
  }
}

static void on_check(struct lc_net_thread *t, struct lc_net_task *task) {
  struct thread_state *ts = (struct thread_state *)task;
  atomic_store(&ts->check_posted, false); /* before the look: a later commit posts again */
  release_durable(t, ts);
}
static void on_waiting(struct lc_net_thread *t, struct lc_net_task *task) {
  struct waiting *w = (struct waiting *)task;
  struct thread_state *ts = lc_net_thread_user(t);
  if (w->release_offset == UINT64_MAX || !w->database) {
    release(t, w, NULL);
    return;
  }
  w->next = NULL;
  *ts->last = w;
  ts->last = &w->next;
  atomic_fetch_add(&ts->n_waiting, 1); /* from here on the log writer posts a check */
  if (lc_db_durable_offset(w->database->db) >= w->release_offset || lc_db_failure(w->database->db)) release_durable(t, ts);
}

static void post_waiting(struct server *s, uint32_t thread_index, struct waiting w) {
  struct waiting *p = lc_alloc_zero(1, sizeof *p);
  if (!p) lc_panic("out of memory while handing over answers");
  *p = w;
  if (w.database) database_ref(w.database);
  p->task.run = on_waiting;
  p->server = s;
  lc_net_post(atomic_load(&s->net), thread_index, &p->task);
}
void server_answer(struct server *s, struct answer *a, struct database *d, uint64_t release_offset) {
  post_waiting(s, a->ref.thread, (struct waiting){.database = d, .release_offset = release_offset, .answer = a});
}

static void on_deliver(void *ctx, uint32_t thread_index, struct lc_db_outbox *outbox) {
  struct database *d = ctx;
  struct server *s = d->server;
  if (!atomic_load(&s->net)) { /* only at start, when nobody is connected */
    lc_db_outbox_free(outbox);
    return;
  }
  post_waiting(s, thread_index, (struct waiting){.database = d, .release_offset = outbox->release_offset, .outbox = outbox});
}
static void on_durable(void *ctx, struct lc_db *db, uint64_t durable_offset) {
  (void)db, (void)durable_offset;
  struct server *s = ((struct database *)ctx)->server;
  struct lc_net *net = atomic_load(&s->net);
  if (!net) return;
  for (uint32_t i = 0; i < s->n_threads; i++) {
    struct thread_state *ts = &s->threads[i];
    if (atomic_load(&ts->n_waiting) > 0 && !atomic_exchange(&ts->check_posted, true)) lc_net_post(net, i, &ts->check_task);
  }
}

struct wake_task { struct lc_net_task task; struct database *database; };
static void on_wake_task(struct lc_net_thread *t, struct lc_net_task *task) {
  struct wake_task *w = (struct wake_task *)task;
  if (!server_of(t)->stopped) pending_of(t, w->database);
  lc_net_wake(lc_net_thread_net(t), lc_net_thread_index(t));
  database_unref(w->database);
  lc_free(w);
}
bool database_ref_unless_closing(struct database *d) {
  unsigned refs = atomic_load(&d->refs);
  while (refs && !atomic_compare_exchange_weak(&d->refs, &refs, refs + 1)) {}
  return refs != 0;
}
void server_wake(struct database *d) {
  struct server *s = d->server;
  if (!database_ref_unless_closing(d)) return; /* who closes it runs what is left */
  struct lc_net *net = atomic_load(&s->net);
  struct wake_task *w = NULL;
  bool queued = atomic_load(&d->slow) && runner_queue(s, d);
  if (!queued && net && !s->stopped) w = lc_alloc_zero(1, sizeof *w);
  if (w) {
    w->task.run = on_wake_task;
    w->database = d;
    lc_net_post(net, home ? home - 1 : (uint32_t)(d->replica_id % s->n_threads), &w->task);
  } else { /* if not queued, its next batch runs it */
    database_unref(d);
  }
}
static void on_wake(void *ctx, struct lc_db *db) {
  (void)db;
  server_wake(ctx);
}
static void on_alarm(void *ctx, struct lc_db *db, int64_t at_us) {
  (void)db;
  alarms_set(ctx, at_us);
}

/* ---- answers ---- */

struct answer *answer_new(struct lc_conn_ref ref, uint16_t status) {
  struct answer *a = lc_alloc_zero(1, sizeof *a);
  if (!a) lc_panic("out of memory while answering a request");
  a->ref = ref;
  a->status = status;
  return a;
}
void answer_header(struct answer *a, const char *name, const char *value) {
  lc_assert(a->n_headers < sizeof a->headers / sizeof *a->headers);
  char *copy = lc_strdup_n(value, strlen(value));
  if (!copy) return;
  a->headers[a->n_headers].name = name;
  a->headers[a->n_headers++].value = copy;
}
void answer_text(struct answer *a, uint16_t status, const char *text) {
  a->status = status;
  a->content_type = *text ? "text/plain; charset=utf-8" : NULL;
  lc_buf_clear(&a->body);
  lc_buf_str(&a->body, text);
}
void answer_free(struct answer *a) {
  for (uint32_t i = 0; i < a->n_headers; i++) lc_free(a->headers[i].value);
  lc_buf_free(&a->body);
  database_unref(a->database);
  lc_free(a);
}
void answer_send(struct answer *a, struct lc_conn *c) {
  if (lc_conn_is_stream(c)) {
    pg_answer(a, c);
    return;
  }
  struct lc_http_header headers[12];
  for (uint32_t i = 0; i < a->n_headers; i++) headers[i] = (struct lc_http_header){lc_slice_str(a->headers[i].name), lc_slice_str(a->headers[i].value)};
  if (a->database) {
    size_t bytes = a->body.len + (a->content_type ? strlen(a->content_type) : 0);
    for (uint32_t i = 0; i < a->n_headers; i++) bytes += headers[i].name.len + headers[i].value.len;
    atomic_fetch_add_explicit(&a->database->response_bytes, bytes, memory_order_relaxed);
  }
  lc_http_respond(c, &(struct lc_http_response){.status = a->status, .content_type = a->content_type, .headers = headers, .n_headers = a->n_headers, .body = lc_buf_slice(&a->body), .close = a->close});
  answer_free(a);
}

/* ---- databases ---- */

struct database *server_database(struct server *s, const struct lc_identity *id) {
  pthread_rwlock_rdlock(&s->lock);
  struct database *d = s->databases;
  while (d && memcmp(&d->identity, id, sizeof *id)) d = d->next;
  if (d) database_ref(d);
  pthread_rwlock_unlock(&s->lock);
  return d;
}
struct database *database_new(struct server *s, const struct lc_identity *id, const struct lc_identity *owner, uint64_t replica_id) {
  struct database *d = lc_alloc_zero(1, sizeof *d + s->n_threads * sizeof d->threads[0]);
  if (!d) return NULL;
  d->server = s;
  d->identity = *id;
  d->owner = *owner;
  d->replica_id = replica_id;
  atomic_store(&d->refs, 1);
  return d;
}
void database_free(struct database *d) {
  alarms_cancel(d);
  lc_db_close(d->db);
  lc_free(d->error);
  lc_free(d);
}
static void *close_main(void *arg) {
  struct database *d = arg;
  struct server *s = d->server;
  database_free(d);
  server_worker_ends(s);
  return NULL;
}
void database_ref(struct database *d) { atomic_fetch_add_explicit(&d->refs, 1, memory_order_relaxed); }
void database_unref(struct database *d) {
  if (!d || atomic_fetch_sub_explicit(&d->refs, 1, memory_order_acq_rel) != 1) return;
  /* Closing waits for the log, which no network thread may do. Without a thread to do it the database stays open until the process ends. */
  if (!server_start_worker(d->server, close_main, d)) lc_log(LC_LOG_WARN, "a deleted database could not be closed: no thread for it");
}

bool server_start_worker(struct server *s, void *(*fn)(void *arg), void *arg) {
  pthread_attr_t attr;
  pthread_t id;
  atomic_fetch_add(&s->workers, 1);
  pthread_attr_init(&attr);
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attr, 8u << 20);
  int rc = pthread_create(&id, &attr, fn, arg);
  pthread_attr_destroy(&attr);
  if (rc) atomic_fetch_sub(&s->workers, 1);
  return rc == 0;
}
void server_worker_ends(struct server *s) { atomic_fetch_sub(&s->workers, 1); }

/* ---- what hangs on a database ---- */

void server_attach(struct lc_net_thread *t, struct attached *a) {
  struct thread_state *ts = lc_net_thread_user(t);
  a->prev = NULL;
  a->next = ts->attached;
  if (a->next) a->next->prev = a;
  ts->attached = a;
}
void server_detach(struct lc_net_thread *t, struct attached *a) {
  struct thread_state *ts = lc_net_thread_user(t);
  if (a->prev) a->prev->next = a->next;
  else ts->attached = a->next;
  if (a->next) a->next->prev = a->prev;
}
struct detach_task { struct lc_net_task task; struct database *database; uint16_t code; const char *reason; };
static void on_detach(struct lc_net_thread *t, struct lc_net_task *task) {
  struct detach_task *x = (struct detach_task *)task;
  struct thread_state *ts = lc_net_thread_user(t);
  for (struct attached *a = ts->attached; a; a = a->next) {
    struct lc_conn *c = a->database == x->database ? lc_conn_from_ref(t, a->ref) : NULL;
    if (!c) continue;
    if (lc_conn_is_websocket(c)) lc_ws_close(c, x->code, lc_slice_str(x->reason));
    else lc_http_stream_end(c);
  }
  if (x->database->db && lc_db_failure(x->database->db)) release_durable(t, ts);
  database_unref(x->database);
  lc_free(x);
}
/* Closes what is attached to a database. Any thread. */
static void detach(struct database *d, uint16_t code, const char *reason) {
  struct server *s = d->server;
  for (uint32_t i = 0; i < s->n_threads; i++) {
    struct detach_task *x = lc_alloc_zero(1, sizeof *x);
    if (!x) lc_panic("out of memory while a database goes");
    *x = (struct detach_task){.database = d, .code = code, .reason = reason};
    x->task.run = on_detach;
    database_ref(d);
    lc_net_post(atomic_load(&s->net), i, &x->task);
  }
}
/* Its log has failed: nothing that waits for it will be durable, and nothing more is executed. */
static void on_failed(void *ctx, struct lc_db *db, const char *text) {
  struct database *d = ctx;
  (void)db, (void)text;
  if (!database_ref_unless_closing(d)) return;
  if (atomic_load(&d->server->net) && !d->server->stopped) detach(d, 1011, "database stopped: its commit log failed");
  database_unref(d);
}
uint16_t database_refusal(const struct database *d, struct lc_error *err) {
  if (!d->db) return lc_fail(err, LC_IO, "error starting database: %s", d->error), 500;
  if (lc_db_failure(d->db)) return lc_fail(err, LC_IO, "%s", lc_db_failure(d->db)), 503;
  return 0;
}
void server_add_database(struct server *s, struct database *d) {
  pthread_rwlock_wrlock(&s->lock);
  d->next = s->databases;
  s->databases = d;
  pthread_rwlock_unlock(&s->lock);
}
/* Puts `successor` (NULL: nothing) in the place of the database of that identity. */
static bool take_out(struct server *s, const struct lc_identity *id, struct database *successor) {
  pthread_rwlock_wrlock(&s->lock);
  struct database **at = &s->databases;
  while (*at && memcmp(&(*at)->identity, id, sizeof *id)) at = &(*at)->next;
  struct database *d = *at;
  if (d && successor) successor->next = d->next;
  if (d) *at = successor ? successor : d->next;
  pthread_rwlock_unlock(&s->lock);
  if (d) alarms_cancel(d);
  if (d) detach(d, 1001, "module exited");
  database_unref(d);
  return d != NULL;
}
bool server_remove_database(struct server *s, const struct lc_identity *id) { return take_out(s, id, NULL); }
bool server_replace_database(struct server *s, struct database *successor) { return take_out(s, &successor->identity, successor); }
void server_stop_unsure(struct server *s, const struct database *d) {
  static const char text[] = "the control database failed while this database was to be reset or deleted; whether it was will be known when the server is started again and the disk is well";
  if (!control_is_unsure(s->control)) return;
  struct database *stopped = database_new(s, &d->identity, &d->owner, d->replica_id);
  if (!stopped || !(stopped->error = lc_strdup_n(text, sizeof text - 1))) lc_panic("out of memory while a database is stopped");
  server_replace_database(s, stopped);
}
static bool is_named(const struct database *d, const char *name_or_identity) {
  struct lc_identity id;
  struct lc_error err;
  struct lc_slice name = lc_slice_str(name_or_identity);
  if (!lc_identity_parse(name, &id) && control_resolve(d->server->control, name, &id, &err) != LC_OK) return false;
  return memcmp(&id, &d->identity, sizeof id) == 0;
}
/* What a call into this database's module may take: the server's limits, or its own. */
static struct lc_host_limits limits_of(const struct database *d) {
  const struct lc_server_options *o = &d->server->options;
  uint64_t budget_ms = o->time_budget_ms, memory_mib = o->module_memory_mib;
  for (unsigned i = 0; i < o->n_database_limits; i++) {
    const struct lc_database_limits *l = &o->database_limits[i];
    if (!is_named(d, l->database)) continue;
    if (l->time_budget_ms) budget_ms = l->time_budget_ms;
    if (l->module_memory_mib) memory_mib = l->module_memory_mib;
  }
  return (struct lc_host_limits){.call_time_budget_us = budget_ms * 1000, .memory_limit_bytes = memory_mib << 20};
}
static uint64_t data_memory_of(const struct database *d) {
  const struct lc_server_options *o = &d->server->options;
  uint64_t mib = o->data_memory_mib;
  for (unsigned i = 0; i < o->n_database_limits; i++)
    if (o->database_limits[i].data_memory_mib && is_named(d, o->database_limits[i].database)) mib = o->database_limits[i].data_memory_mib;
  return mib << 20;
}
static bool retains_all(const struct database *d) {
  const struct lc_server_options *o = &d->server->options;
  bool all = o->retain_all;
  for (unsigned i = 0; i < o->n_database_retain; i++)
    if (is_named(d, o->database_retain[i].database)) all = o->database_retain[i].all;
  return all;
}
void server_db_options(struct database *d, char *dir, size_t dir_size, struct lc_db_options *o) {
  struct server *s = d->server;
  *o = (struct lc_db_options){.env = &lc_env_system, .database_identity = d->identity, .owner_identity = d->owner, .limits = limits_of(d), .n_threads = s->n_threads,
                              .snapshot_interval_transactions = s->options.snapshot_interval_transactions, .max_segment_bytes = s->options.max_segment_bytes, .retain_all = retains_all(d),
                              .accept_lost_transactions = s->options.accept_lost_transactions, .no_module_http = s->options.no_module_http,
                              .data_memory_bytes = data_memory_of(d), .log_days = s->options.log_days, .log_bytes = s->options.log_bytes, .module_log_in_memory = getenv("SPACETIMEDB_DISABLE_DISK_LOGGING") != NULL};
  o->callbacks.ctx = d;
  o->callbacks.deliver = on_deliver;
  o->callbacks.durable = on_durable;
  o->callbacks.wake = on_wake;
  o->callbacks.failed = on_failed;
  o->callbacks.alarm = on_alarm;
  if (!s->options.data_dir || s->options.in_memory) return;
  snprintf(dir, dir_size, "%s/replicas/%llu", s->options.data_dir, (unsigned long long)d->replica_id);
  o->dir = dir;
}

/* One whose data was in memory only begins with its program: in memory again, or from now on in files, of a new replica. */
static enum lc_status begin_anew(struct server *s, struct database *d, const struct control_row *row, struct lc_slice program, struct lc_error *err) {
  char dir[4096];
  struct lc_db_options o;
  struct control_row moved = *row;
  if (!s->options.in_memory && !(moved.replica_id = d->replica_id = control_new_replica(s->control, err))) return err->status;
  server_db_options(d, dir, sizeof dir, &o);
  enum lc_status st = lc_db_open(&o, program, row->kind, &d->db, err);
  if (st != LC_OK) return st;
  if (!s->options.in_memory && (st = control_replace(s->control, &moved, lc_slice(NULL, 0), err)) != LC_OK) lc_db_close(d->db);
  return st;
}
static enum lc_status open_existing(struct server *s, struct database *d, const struct control_row *row, struct lc_error *err) {
  char dir[4096];
  struct lc_db_options o;
  struct lc_buf program = {0};
  enum lc_status st = control_kept_program(s->control, &row->id, &program, err);
  if (st == LC_OK) {
    st = begin_anew(s, d, row, lc_buf_slice(&program), err);
  } else if (st == LC_NOT_FOUND && s->options.in_memory) {
    st = lc_fail(err, LC_UNSUPPORTED, "its data is in %s/replicas/%llu, and this server keeps databases in memory: start it without --in-memory", s->options.data_dir, (unsigned long long)row->replica_id);
  } else if (st == LC_NOT_FOUND) {
    server_db_options(d, dir, sizeof dir, &o);
    st = lc_db_open(&o, lc_slice(NULL, 0), row->kind, &d->db, err);
  }
  lc_buf_free(&program);
  return st;
}

static void open_one(struct server *s, const struct control_row *row) {
  struct database *d = database_new(s, &row->id, &row->owner, row->replica_id);
  if (!d) lc_panic("out of memory while starting databases");
  char hex[65];
  struct lc_error err = {0};
  lc_identity_hex(&row->id, hex);
  int64_t start = lc_env_system.monotonic_ns(NULL);
  if (open_existing(s, d, row, &err) == LC_OK) {
    double ms = (double)(lc_env_system.monotonic_ns(NULL) - start) / 1e6;
    if (s->options.in_memory) lc_log(LC_LOG_INFO, "database %s begins empty, in memory (%.1f ms)", hex, ms);
    else lc_log(LC_LOG_INFO, "database %s is back: %llu transactions in %.1f ms", hex, (unsigned long long)lc_db_durable_offset(d->db), ms);
  } else {
    d->db = NULL;
    d->error = lc_strdup_n(err.text, strlen(err.text));
    lc_log(LC_LOG_ERROR, "database %s cannot be started: %s", hex, err.text);
  }
  server_add_database(s, d);
}

struct control_rows { struct control_row *rows; uint32_t n, cap; };
static void on_row(void *ctx, const struct control_row *row) {
  struct control_rows *list = ctx;
  if (list->n == list->cap) {
    list->cap = list->cap ? 2 * list->cap : 64;
    list->rows = lc_realloc(list->rows, list->cap * sizeof *list->rows);
    if (!list->rows) lc_panic("out of memory while starting databases");
  }
  list->rows[list->n++] = *row;
}
/* All databases there are; the control database is free meanwhile. */
static enum lc_status open_all(struct server *s, struct lc_error *err) {
  struct control_rows list = {0};
  enum lc_status st = control_each(s->control, NULL, on_row, &list, err);
  for (uint32_t i = 0; st == LC_OK && i < list.n; i++) open_one(s, &list.rows[i]);
  lc_free(list.rows);
  return st;
}

/* ---- network handler ---- */

static void on_thread_start(void *ctx, struct lc_net_thread *t) {
  struct server *s = ctx;
  lc_net_thread_set_user(t, &s->threads[lc_net_thread_index(t)]);
  atomic_store(&s->net, lc_net_thread_net(t)); /* here too, because requests may come before lc_net_start has returned */
}
static void on_close(void *ctx, struct lc_conn *c) {
  (void)ctx;
  if (lc_conn_is_stream(c)) pg_closed(c);
  else if (lc_conn_is_websocket(c)) ws_closed(c);
  else routes_closed(c);
}

/* ---- start and stop ---- */

static enum lc_status start(struct server *s, struct lc_error *err) {
  const struct lc_server_options *o = &s->options;
  enum lc_status st = LC_OK;
  if (st == LC_OK && o->data_dir) {
    char replicas[4096];
    snprintf(replicas, sizeof replicas, "%s%s", o->data_dir, o->in_memory ? "" : "/replicas");
    st = folder_make(replicas, err);
    if (st == LC_OK) st = server_take_lock(o->data_dir, &s->lock_fd, err);
    if (st == LC_OK) st = folder_metadata(o->data_dir, err);
  }
  if (st == LC_OK) {
    if (o->jwt_priv_key_path) st = lc_auth_open(o->jwt_priv_key_path, o->jwt_pub_key_path, true, &lc_env_system, &s->auth, err);
    else if (o->data_dir) st = lc_auth_open_dir(o->data_dir, true, &lc_env_system, &s->auth, err);
    else st = lc_auth_open_memory(&lc_env_system, &s->auth, err);
  }
  if (st == LC_OK && o->log_dir && (st = folder_make(o->log_dir, err)) == LC_OK) {
    static struct lc_day_files files; /* as long as anybody logs */
    files = (struct lc_day_files){.dir = lc_strdup_n(o->log_dir, strlen(o->log_dir)), .prefix = "lightcone.", .max_days = o->log_days, .max_bytes = o->log_bytes, .fd = -1};
    if (!files.dir) return lc_fail(err, LC_NOMEM, "out of memory");
    lc_log_to_files(&files);
    lc_log(LC_LOG_INFO, "starting");
  }
  if (st == LC_OK) {
    char code[4096]; /* compiled programs: may be deleted at any time */
    snprintf(code, sizeof code, "%s/compiled", o->data_dir ? o->data_dir : "");
    lc_host_configure(&(struct lc_host_options){.count_instructions = o->count_instructions, .code_cache_dir = o->data_dir ? code : NULL});
    st = lc_host_init(err);
  }
  if (st == LC_OK && !(s->control = control_open(o->data_dir, err))) st = err->status;
  if (st == LC_OK) st = open_all(s, err);
  if (st != LC_OK) return st;
  struct lc_net_options net = {.listen = o->listen_addr, .tls_cert = o->tls_cert_path, .tls_key = o->tls_key_path, .n_threads = s->n_threads, .max_body_bytes = PROGRAM_MAX_BYTES, .stop_reason = "module exited", .max_connections = o->max_connections, .ping_interval_ms = o->ping_interval_ms, .idle_timeout_ms = o->idle_timeout_ms, .close_handshake_ms = o->close_handshake_ms};
  char pg_address[300];
  const char *colon = strrchr(o->listen_addr, ':');
  if (o->pg_port && colon) {
    snprintf(pg_address, sizeof pg_address, "%.*s:%u", (int)(colon - o->listen_addr), o->listen_addr, o->pg_port);
    net.listen_streams = pg_address;
  }
  net.handler = (struct lc_net_handler){.ctx = s, .on_thread_start = on_thread_start, .body_limit = routes_body_limit, .on_request = routes_request, .on_upgrade = routes_request, .on_message = ws_message, .on_stream = pg_input, .on_close = on_close, .on_turn = on_turn};
  struct lc_net *started;
  st = lc_net_start(&net, &started, err);
  if (st == LC_OK) atomic_store(&s->net, started);
  if (st == LC_OK && !alarms_start(&s->alarms)) st = lc_fail(err, LC_IO, "cannot start the thread of scheduled calls");
  return st;
}

static void wait_for_workers(struct server *s) {
  while (atomic_load(&s->workers)) usleep(5000);
}
/* What was still to run, and what waited for a log, when the network threads ended: there is nobody left to send it to. */
static void release_rest(struct thread_state *ts) {
  while (ts->pending) {
    struct pending *p = ts->pending;
    ts->pending = p->next;
    if (p->batch) lc_db_submit(p->database->db, p->batch);
    while (lc_db_run(p->database->db)) {}
    database_unref(p->database);
    lc_free(p);
  }
  while (ts->first) {
    struct waiting *w = ts->first;
    ts->first = w->next;
    release(NULL, w, NULL);
  }
  ts->last = &ts->first;
}

static void stop(struct server *s) {
  struct lc_net *net = atomic_load(&s->net);
  atomic_store(&s->stopping, true);
  wait_for_workers(s); /* who publishes gets an answer */
  if (s->auth) lc_auth_stop(s->auth); /* who waits for keys, too */
  if (net) lc_net_stop(net);
  runners_stop(s);
  alarms_stop(&s->alarms);
  atomic_store(&s->stopped, true);
  lc_db_stop_procedures();
  wait_for_workers(s);
  for (struct database *d = s->databases; d; d = d->next)
    if (d->db) lc_db_begin_close(d->db);
  if (net) {
    for (struct database *d = s->databases; d; d = d->next)
      while (d->db && lc_db_run(d->db)) {} /* the last disconnects */
    for (uint32_t i = 0; i < s->n_threads; i++) release_rest(&s->threads[i]);
    lc_net_run_rest(net);
    for (uint32_t i = 0; i < s->n_threads; i++) release_rest(&s->threads[i]);
    wait_for_workers(s);
  }
  for (struct database *d = s->databases; d; d = d->next)
    if (atomic_load(&d->refs) != 1) lc_log(LC_LOG_ERROR, "%u references to a database are left at the end", atomic_load(&d->refs) - 1);
  while (s->databases) {
    struct database *d = s->databases;
    s->databases = d->next;
    database_free(d);
  }
  if (net) lc_net_free(net);
  control_close(s->control);
  lc_auth_free(s->auth);
  lc_host_shutdown();
  server_give_lock(s->options.data_dir, s->lock_fd);
}

int lc_server_run(const struct lc_server_options *options) {
  struct server s = {.options = *options, .lock_fd = -1, .started_us = lc_env_system.now_us(NULL)};
  struct lc_error err = {0};
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &set, NULL); /* threads made from here on leave them to us */
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error of its write, and stops one database */
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  long processors = sysconf(_SC_NPROCESSORS_ONLN);
  s.n_threads = options->network_threads ? options->network_threads : processors > 8 ? 8 : processors < 1 ? 1 : (uint32_t)processors;
  if (s.n_threads > LC_NET_MAX_THREADS) s.n_threads = LC_NET_MAX_THREADS;
  if (!s.options.time_budget_ms) s.options.time_budget_ms = 60000;
  pthread_rwlock_init(&s.lock, NULL);
  pthread_mutex_init(&s.publish_lock, NULL);
  pthread_mutex_init(&s.runners.lock, NULL);
  pthread_cond_init(&s.runners.work, NULL);
  pthread_mutex_init(&s.alarms.lock, NULL);
  pthread_cond_init(&s.alarms.changed, NULL);
  pthread_mutex_init(&s.change_lock, NULL);
  pthread_mutex_init(&s.page_lock, NULL);
  sessions_init(&s.sessions);
  s.threads = lc_alloc_zero(s.n_threads, sizeof *s.threads);
  for (uint32_t i = 0; s.threads && i < s.n_threads; i++) {
    s.threads[i].server = &s;
    s.threads[i].last = &s.threads[i].first;
    s.threads[i].check_task.run = on_check;
  }
  enum lc_status st = s.threads ? start(&s, &err) : lc_fail(&err, LC_NOMEM, "out of memory");
  if (st == LC_OK) {
    const char *colon = strrchr(options->listen_addr, ':');
    printf("Starting SpacetimeDB listening on %.*s:%u\n", (int)(colon - options->listen_addr), options->listen_addr, lc_net_port(atomic_load(&s.net)));
    fflush(stdout);
    int sig;
    sigwait(&set, &sig);
    lc_log(LC_LOG_INFO, "stopping: %s", strsignal(sig));
  } else {
    fprintf(stderr, "Error: %s\n", err.text);
  }
  stop(&s);
  for (uint32_t i = 0; s.threads && i < s.n_threads; i++) ws_packer_free(s.threads[i].packer);
  lc_free(s.threads);
  pthread_rwlock_destroy(&s.lock);
  pthread_mutex_destroy(&s.publish_lock);
  pthread_mutex_destroy(&s.runners.lock);
  pthread_cond_destroy(&s.runners.work);
  pthread_mutex_destroy(&s.alarms.lock);
  pthread_cond_destroy(&s.alarms.changed);
  lc_free(s.alarms.heap);
  pthread_mutex_destroy(&s.change_lock);
  pthread_mutex_destroy(&s.page_lock);
  sessions_free(&s.sessions);
  return st == LC_OK ? 0 : 1;
}
