/* The actor: inbox, baton, drains, and the hand-over of their output (DESIGN idea 3 and 5).
 *
 * Invariants: a batch is executed exactly once, batches of one thread in the order submitted; whoever sees a non-empty inbox with the baton
 * free runs it, so nothing waits for ever (release, then look again); a drain hands over every dirty client's output before the baton goes.
 * Callers: api/ (submit, run), open.c (fields), the log writer thread (durable).
 */
#include "db_internal.h"
#include <stdio.h>

enum { MAX_HELD_BYTES = 64 << 20 }; /* of a client whose answer is being computed elsewhere */
enum { RUN_LIMIT_NS = 2000000 }; /* a database gives up the baton after this long, so that others on the thread run */
enum { MAX_OPS_A_LOOK = 16, SHORT_LOOK_NS = 32000, LONG_LOOK_NS = 128000 }; /* how often the clock is looked at: rarely while operations are short */

struct lc_db_batch *lc_db_batch_new(void) { return lc_alloc_zero(1, sizeof(struct lc_db_batch)); }

struct lc_db_op *lc_db_batch_add(struct lc_db_batch *batch, enum lc_db_op_kind kind, struct lc_db_client *client) {
  if (batch->n_ops == batch->cap_ops) {
    uint32_t cap = batch->cap_ops ? batch->cap_ops * 2 : 16;
    struct lc_db_op *ops = lc_realloc(batch->ops, cap * sizeof *ops);
    if (!ops) return NULL;
    batch->ops = ops;
    batch->cap_ops = cap;
  }
  struct lc_db_op *op = &batch->ops[batch->n_ops++];
  *op = (struct lc_db_op){.kind = kind, .client = client};
  return op;
}

void lc_db_batch_free(struct lc_db_batch *b) {
  lc_buf_free(&b->bytes);
  lc_free(b->ops);
  lc_free(b);
}

void lc_db_outbox_free(struct lc_db_outbox *o) {
  if (!o) return;
  for (uint32_t i = 0; i < o->n; i++) lc_buf_free(&o->entries[i].bytes);
  lc_free(o->entries);
  lc_free(o);
}

void lc_db_submit(struct lc_db *db, struct lc_db_batch *batch) {
  atomic_fetch_add_explicit(&db->submitted_ops, batch->n_ops, memory_order_relaxed);
  batch->submitted_ns = db->options.env->monotonic_ns(db->options.env->ctx);
  struct lc_db_batch *head = atomic_load_explicit(&db->inbox, memory_order_relaxed);
  do batch->next = head;
  while (!atomic_compare_exchange_weak_explicit(&db->inbox, &head, batch, memory_order_seq_cst, memory_order_relaxed));
}

const char *lc_db_failure(const struct lc_db *db) { return atomic_load_explicit(&db->log_failed, memory_order_acquire) ? db->failure : NULL; }
enum lc_status db_check_alive(struct lc_db *db, struct lc_error *err) { return lc_db_failure(db) ? lc_fail(err, LC_IO, "%s", db->failure) : LC_OK; }
uint64_t lc_db_durable_offset(const struct lc_db *db) { return db->wal ? lc_wal_durable_end(db->wal) : UINT64_MAX; }
const struct lc_identity *lc_db_identity(const struct lc_db *db) { return &db->options.database_identity; }
const struct lc_identity *lc_db_owner(const struct lc_db *db) { return &db->options.owner_identity; }
const struct lc_module_def *lc_db_module_def(struct lc_db *db) { return lc_module_definition(db->module); }
const struct lc_hash *lc_db_program_hash(struct lc_db *db) { return lc_module_hash(db->module); }
struct lc_module *lc_db_module_ref(struct lc_db *db) { return lc_module_ref(db->module); }
struct lc_datastore *lc_db_datastore(struct lc_db *db) { return db->ds; }
enum lc_status lc_db_logs(struct lc_db *db, uint64_t n_lines, struct lc_buf *out, struct lc_error *err) { return module_log_read(db->log, n_lines, out, err); }
enum lc_status lc_db_logs_follow(struct lc_db *db, void (*fn)(void *, struct lc_slice), void *ctx) { return module_log_follow(db->log, fn, ctx); }
void lc_db_logs_unfollow(struct lc_db *db, void (*fn)(void *, struct lc_slice), void *ctx) { module_log_unfollow(db->log, fn, ctx); }

/* ---- operations ---- */

static void run_connect(struct lc_db *db, struct lc_db_client *c) {
  struct lc_error err = {0};
  enum lc_status st = db_connect(db, &c->identity, &c->connection_id, c->jwt_payload, &err);
  c->is_connected = st == LC_OK;
  if (c->is_connected) db_count(db, LC_DB_CLIENTS, 1);
  c->all_prev = NULL;
  c->all_next = db->all_clients;
  if (db->all_clients) db->all_clients->all_prev = c;
  db->all_clients = c;
  db_mark_dirty(db, c);
  c->ops->connected(c, st, err.text);
}

static void run_disconnect(struct lc_db *db, struct lc_db_client *c) {
  db_procedures_forget_client(db, c);
  db_reads_cancel(c);
  views_release_all(db, c);
  if (c->is_connected) {
    db_count(db, LC_DB_CLIENTS, (uint64_t)-1);
    lc_live_drop_client(db->live, c);
    db_disconnect(db, &c->identity, &c->connection_id);
  }
  c->is_connected = false;
  c->is_closing = true;
  if (c->all_prev) c->all_prev->all_next = c->all_next;
  else db->all_clients = c->all_next;
  if (c->all_next) c->all_next->all_prev = c->all_prev;
  db_mark_dirty(db, c);
  c->ops->closed(c);
}

static void run_op(struct lc_db *db, const struct lc_db_batch *b, const struct lc_db_op *op) {
  struct lc_slice name = lc_slice(b->bytes.data + op->name_at, op->name_len);
  struct lc_slice args = lc_slice(b->bytes.data + op->args_at, op->args_len);
  struct lc_db_client *c = op->client;
  struct lc_reducer_outcome outcome;
  /* What a client sent before it was refused or after it left has no effect. */
  if (op->kind > LC_OP_DISCONNECT && op->kind != LC_OP_FUNCTION && (!c->is_connected || lc_db_failure(db))) return;
  if (op->kind != LC_OP_CALL_REDUCER) db_end_time(db);
  switch (op->kind) {
  case LC_OP_CALL_REDUCER: db_call_reducer(db, c, op, name, args, &c->identity, &c->connection_id, c->is_owner, NULL, &outcome); break;
  case LC_OP_CALL_PROCEDURE: db_run_procedure(db, c, op, name, args); break;
  case LC_OP_CONNECT: run_connect(db, c); break;
  case LC_OP_DISCONNECT: run_disconnect(db, c); break;
  case LC_OP_SUBSCRIBE: db_subscribe(db, c, op, args); break;
  case LC_OP_UNSUBSCRIBE: db_unsubscribe(db, c, op); break;
  case LC_OP_SUBSCRIBE_BATCH: db_subscribe_batch(db, c, op, args); break;
  case LC_OP_ONE_OFF: db_one_off(db, c, op, name, args); break;
  case LC_OP_FUNCTION: op->function(db, op->arg); break;
  }
}

/* ---- output of a drain ---- */

static struct lc_db_outbox_entry *outbox_add(struct lc_db *db, struct lc_db_client *c) {
  struct lc_db_outbox **slot = &db->outboxes[c->thread_index * 2 + (c->confirmed ? 0 : 1)];
  struct lc_db_outbox *o = *slot;
  if (!o) {
    o = *slot = lc_alloc_zero(1, sizeof *o);
    if (!o) return NULL;
    o->db = db;
    o->release_offset = c->confirmed && db->wal ? db->next_offset : UINT64_MAX;
  }
  if (o->n == o->cap) {
    uint32_t cap = o->cap ? o->cap * 2 : 16;
    struct lc_db_outbox_entry *entries = lc_realloc(o->entries, cap * sizeof *entries);
    if (!entries) return NULL;
    o->entries = entries;
    o->cap = cap;
  }
  return &o->entries[o->n++];
}

static void hand_over(struct lc_db *db, struct lc_db_client *c, struct lc_buf *bytes, bool closed) {
  if (bytes->len == 0 && !closed) {
    lc_buf_free(bytes);
    return;
  }
  struct lc_db_outbox_entry *e = outbox_add(db, c);
  if (!e) lc_panic("out of memory while handing over %zu bytes of answers", bytes->len);
  db_count(db, LC_DB_BYTES_SENT, bytes->len);
  *e = (struct lc_db_outbox_entry){.client = c, .bytes = *bytes, .closed = closed};
  *bytes = (struct lc_buf){0};
}
void db_hand_over(struct lc_db *db) {
  db_end_time(db);
  db_counts_publish(db);
  if (db->wal) lc_wal_submit(db->wal);
  for (struct lc_db_client *c = db->dirty, *next; c; c = next) {
    next = c->dirty_next;
    c->dirty_next = NULL;
    c->is_dirty = false;
    struct lc_buf ready[2];
    while (db_reads_release(c, ready)) {
      hand_over(db, c, &ready[0], false);
      hand_over(db, c, &ready[1], false);
    }
    if (c->reads && c->out.len > MAX_HELD_BYTES) {
      lc_buf_clear(&c->out);
      c->ops->overflow(c);
      hand_over(db, c, &c->out, false);
    }
    if (!c->reads) hand_over(db, c, &c->out, c->is_closing);
  }
  db->dirty = NULL;
  const struct lc_db_callbacks *cb = &db->options.callbacks;
  for (uint32_t i = 0; i < db->options.n_threads * 2; i++) {
    struct lc_db_outbox *o = db->outboxes[i];
    if (!o) continue;
    db->outboxes[i] = NULL;
    cb->deliver(cb->ctx, i / 2, o);
  }
  views_expire(db);
  scheduler_set_alarm(db);
  module_log_flush(db->log);
  if (atomic_load_explicit(&db->snapshot.wanted, memory_order_relaxed)) db_snapshot_take(db);
}

/* Appends what waits in the inbox, oldest first, to what an earlier run left. */
static void take_inbox(struct lc_db *db) {
  struct lc_db_batch *newest = atomic_exchange_explicit(&db->inbox, NULL, memory_order_acquire), *oldest = NULL, **end = &db->todo;
  while (newest) {
    struct lc_db_batch *next = newest->next;
    newest->next = oldest;
    oldest = newest;
    newest = next;
  }
  while (*end) end = &(*end)->next;
  *end = oldest;
}

/* How long a batch's operations waited: counted when its first one is run, by the last look at the clock. */
static void count_wait(struct lc_db *db, const struct lc_db_batch *b, int64_t now_ns) {
  db_count(db, LC_DB_OPERATIONS, b->n_ops);
  if (now_ns > b->submitted_ns) db_count(db, LC_DB_OPERATIONS_WAIT_US, (uint64_t)(now_ns - b->submitted_ns) / 1000 * b->n_ops);
}

static void count_batch(struct lc_db *db, const struct lc_db_batch *b) {
  uint64_t requests = 0;
  for (uint32_t i = 0; i < b->n_ops; i++) requests += b->ops[i].kind != LC_OP_CONNECT && b->ops[i].kind != LC_OP_DISCONNECT && b->ops[i].kind != LC_OP_FUNCTION;
  db_count(db, LC_DB_REQUESTS, requests);
  db_count(db, LC_DB_BYTES_RECEIVED, b->bytes.len);
  lc_count(&db->executed_ops, b->n_ops);
}

/* Executes what waits until `until_ns`, at least one operation, and hands its output over. *now_ns: the last look at the clock. */
static void drain(struct lc_db *db, int64_t until_ns, int64_t *now_ns) {
  const struct lc_env *env = db->options.env;
  uint32_t n = 0;
  bool in_time = true;
  take_inbox(db);
  for (struct lc_db_batch *b; in_time && (b = db->todo);) {
    if (db->todo_at == 0) count_wait(db, b, *now_ns);
    while (in_time && db->todo_at < b->n_ops) {
      run_op(db, b, &b->ops[db->todo_at++]);
      if (++n < db->ops_a_look) continue;
      int64_t now = env->monotonic_ns(env->ctx), spent = now - *now_ns;
      if (spent < SHORT_LOOK_NS && db->ops_a_look < MAX_OPS_A_LOOK) db->ops_a_look *= 2;
      else if (spent > LONG_LOOK_NS) db->ops_a_look = 1;
      *now_ns = now;
      n = 0;
      in_time = now < until_ns && !db_baton_wanted(db);
    }
    if (db->todo_at < b->n_ops) break;
    count_batch(db, b);
    db->todo = b->next;
    db->todo_at = 0;
    lc_db_batch_free(b);
  }
  db_hand_over(db);
}

static bool has_work(const struct lc_db *db) {
  return atomic_load_explicit(&db->inbox, memory_order_seq_cst) || atomic_load_explicit(&db->has_todo, memory_order_seq_cst) ||
         atomic_load_explicit(&db->snapshot.wanted, memory_order_seq_cst);
}
bool lc_db_waits(const struct lc_db *db) { return has_work(db) && !atomic_load_explicit(&db->baton_held, memory_order_seq_cst); }

void db_drain(struct lc_db *db) {
  const struct lc_env *env = db->options.env;
  if (!db->todo && !atomic_load_explicit(&db->inbox, memory_order_relaxed)) return;
  int64_t now = env->monotonic_ns(env->ctx);
  drain(db, now + RUN_LIMIT_NS, &now);
}

/* The disk is slower than the work: it waits in the inbox, where it holds nobody up, and the log's writer wakes it. One that closes waits in lc_wal_submit. */
static bool log_is_full(struct lc_db *db) {
  if (!db->wal || !lc_wal_is_full(db->wal) || atomic_load(&db->closing)) return false;
  atomic_store(&db->waits_for_log, true);
  bool full = lc_wal_is_full(db->wal) && !lc_db_failure(db); /* looked at again: who makes room from here on sees that somebody waits */
  if (!full) atomic_store(&db->waits_for_log, false);
  return full;
}

bool lc_db_run(struct lc_db *db) {
  const struct lc_env *env = db->options.env;
  bool ran = false;
  int64_t now = 0, until = 0;
  while (has_work(db)) {
    if (log_is_full(db)) return ran;
    if (!db_baton_try(db)) return ran; /* the holder will look again */
    if (!ran) until = (now = env->monotonic_ns(env->ctx)) + RUN_LIMIT_NS;
    ran = true;
    drain(db, until, &now);
    bool hogs = db->todo || (atomic_load_explicit(&db->inbox, memory_order_relaxed) && (now = env->monotonic_ns(env->ctx)) >= until);
    db_baton_give(db);
    if (!hogs) continue;
    db->options.callbacks.wake(db->options.callbacks.ctx, db);
    return true;
  }
  return ran;
}
