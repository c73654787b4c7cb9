/* Owns: scheduled reducers and procedures (spec/06 §9.4, spec/07 §13): a heap of what is due when, armed by the rows that transactions commit.
 *
 * Invariants: every row of a scheduled table is armed when it is committed and when the database or a new program starts; an entry names a row
 * and a hash of it, and fires only if that very row is still there, so that entries need not be taken out when their rows change or go. Those of interval rows are:
 * the same row may come back, and must not be called twice in an interval. A one-shot row goes
 * in the transaction of its reducer, so that a crash can not run it twice; if the reducer fails, in one of its own. Everything here needs the baton; the
 * clock comes back as an operation of the inbox (lc_db_alarm). Callers: db.c (after drains), call.c (commits), open.c, http.c.
 */
#include "db_internal.h"
#include <stdlib.h>

enum { RUN_LIMIT_NS = 1000000, MIN_INTERVAL_US = 1000 /* of an interval of zero */, STALE_MIN = 1024 };
static const int64_t max_delay_us = ((1ll << 36) - 1) * 1000;

struct entry { int64_t due_us; uint64_t seq, key, hash[2]; uint32_t table_id; };
struct scheduler {
  struct entry *heap; uint32_t n, cap;
  uint32_t n_stale;            /* entries whose rows may have gone, at most */
  uint64_t seq;
  int64_t alarm_us;            /* as last asked for; INT64_MAX: none */
  atomic_bool is_queued;       /* an operation of ours is in the inbox */
  struct lc_buf row;           /* of what is firing */
};

struct scheduler *scheduler_new(void) {
  struct scheduler *s = lc_alloc_zero(1, sizeof *s);
  if (s) s->alarm_us = INT64_MAX;
  return s;
}
void scheduler_free(struct scheduler *s) {
  if (!s) return;
  lc_buf_free(&s->row);
  lc_free(s->heap);
  lc_free(s);
}

/* ---- the heap: least due time first, then order of arming ---- */

static bool before(const struct entry *a, const struct entry *b) { return a->due_us != b->due_us ? a->due_us < b->due_us : a->seq < b->seq; }
static void sift_down(struct scheduler *s, uint32_t at) {
  struct entry e = s->heap[at];
  for (uint32_t child; (child = 2 * at + 1) < s->n; at = child) {
    if (child + 1 < s->n && before(&s->heap[child + 1], &s->heap[child])) child++;
    if (!before(&s->heap[child], &e)) break;
    s->heap[at] = s->heap[child];
  }
  s->heap[at] = e;
}
static void push(struct scheduler *s, struct entry e) {
  if (s->n == s->cap) {
    uint32_t cap = s->cap ? s->cap * 2 : 64;
    struct entry *heap = lc_realloc(s->heap, cap * sizeof *heap);
    if (!heap) lc_panic("out of memory for %u scheduled calls", cap);
    s->heap = heap;
    s->cap = cap;
  }
  e.seq = s->seq++;
  uint32_t at = s->n++;
  for (uint32_t parent; at && before(&e, &s->heap[parent = (at - 1) / 2]); at = parent) s->heap[at] = s->heap[parent];
  s->heap[at] = e;
}
static struct entry pop(struct scheduler *s) {
  struct entry first = s->heap[0];
  s->heap[0] = s->heap[--s->n];
  if (s->n) sift_down(s, 0);
  return first;
}

/* ---- rows ---- */

static void hash_row(struct lc_slice row, uint64_t hash[2]) {
  hash[0] = lc_hash64(row.data, row.len, 0x5eed);
  hash[1] = lc_hash64(row.data, row.len, 0xf00d);
}
/* The row's ScheduleAt: true with an interval (its amount), false with a point in time. */
static bool schedule_of(const struct lc_table_info *t, struct lc_slice row, int64_t *us) {
  const uint8_t *at = lc_row_column(t->row_type, row.data, t->schedule_at_column);
  memcpy(us, at + 1, 8);
  if (*at != 0) return false;
  *us = *us == INT64_MIN ? INT64_MAX : *us < 0 ? -*us : *us ? *us : MIN_INTERVAL_US;
  return true;
}
static int64_t add_us(int64_t a, int64_t b) { /* b >= 0 */
  return a > INT64_MAX - b ? INT64_MAX : a + b;
}
static void arm(struct scheduler *s, const struct lc_table_info *t, struct lc_slice row, int64_t now_us) {
  int64_t us;
  struct entry e = {.table_id = t->table_id};
  e.due_us = schedule_of(t, row, &us) ? add_us(now_us, us) : us;
  if (e.due_us > now_us && (uint64_t)e.due_us - (uint64_t)now_us >= (uint64_t)max_delay_us) return; /* the module has been told (errno 13) */
  memcpy(&e.key, lc_row_column(t->row_type, row.data, (uint32_t)t->primary_key), 8);
  hash_row(row, e.hash);
  push(s, e);
}

/* The row an entry was armed for, or none if it has changed or gone. */
static struct lc_slice row_of(struct lc_db *db, const struct entry *e, const struct lc_table_info **table) {
  const struct lc_table_info *t = *table = lc_datastore_table(db->ds, e->table_id);
  struct lc_slice row = {0};
  uint64_t hash[2];
  if (!t || !t->has_schedule) return row;
  for (uint32_t i = 0; i < t->n_indexes; i++) {
    const struct lc_index_info *ix = &t->indexes[i];
    if (!ix->is_unique || ix->n_columns != 1 || ix->columns[0] != t->primary_key) continue;
    if (lc_view_find((struct lc_read_view){.ds = db->ds}, ix->index_id, lc_slice(&e->key, 8), &row, NULL) != LC_ERRNO_OK) row.data = NULL;
    break;
  }
  if (!row.data) return (struct lc_slice){0};
  hash_row(row, hash);
  return memcmp(hash, e->hash, sizeof hash) == 0 ? row : (struct lc_slice){0};
}

/* Entries of rows that have changed or gone are dropped when they could be half of all. */
static void sweep(struct lc_db *db) {
  struct scheduler *s = db->scheduler;
  uint32_t n = 0;
  if (s->n_stale < STALE_MIN || s->n_stale < s->n / 2) return;
  for (uint32_t i = 0; i < s->n; i++) {
    const struct lc_table_info *t;
    if (row_of(db, &s->heap[i], &t).data) s->heap[n++] = s->heap[i];
  }
  s->n = n;
  s->n_stale = 0;
  for (uint32_t i = n / 2; i-- > 0;) sift_down(s, i);
}

static int by_hash(const void *a, const void *b) { return memcmp(a, b, 2 * sizeof(uint64_t)); }
/* The entries of interval rows that have gone or changed. */
static void forget_intervals(struct scheduler *s, const struct lc_table_delta *d) {
  uint64_t (*gone)[2] = NULL;
  uint32_t n_gone = 0, n = 0;
  int64_t us;
  for (uint32_t k = 0; k < d->n_deletes && s->n; k++) {
    if (!schedule_of(d->table, d->deletes[k], &us)) continue;
    if (!gone && !(gone = lc_alloc((d->n_deletes - k) * sizeof *gone))) lc_panic("out of memory for %u scheduled calls that are no more", d->n_deletes);
    hash_row(d->deletes[k], gone[n_gone++]);
  }
  if (!n_gone) return;
  if (n_gone > 1) qsort(gone, n_gone, sizeof *gone, by_hash);
  for (uint32_t i = 0; i < s->n; i++)
    if (s->heap[i].table_id != d->table->table_id || !bsearch(s->heap[i].hash, gone, n_gone, sizeof *gone, by_hash)) s->heap[n++] = s->heap[i];
  lc_free(gone);
  if (n == s->n) return;
  s->n = n;
  for (uint32_t i = n / 2; i-- > 0;) sift_down(s, i);
}

void scheduler_committed(struct lc_db *db, const struct lc_tx_delta *delta) {
  const struct lc_env *env = db->options.env;
  if (!db->is_open) return; /* scheduler_restart will look at every row */
  for (uint32_t i = 0; i < delta->n_tables; i++) {
    const struct lc_table_delta *d = &delta->tables[i];
    if (!d->table || !d->table->has_schedule) continue;
    int64_t now = env->now_us(env->ctx);
    if (d->n_deletes) forget_intervals(db->scheduler, d);
    for (uint32_t k = 0; k < d->n_inserts; k++) arm(db->scheduler, d->table, d->inserts[k], now);
    db->scheduler->n_stale += d->n_deletes;
    sweep(db);
  }
}

static void arm_table(void *ctx, const struct lc_table_info *t) {
  struct lc_db *db = ctx;
  const struct lc_env *env = db->options.env;
  struct lc_row_iter *it;
  if (!t->has_schedule || lc_view_scan((struct lc_read_view){.ds = db->ds}, t->table_id, &it) != LC_ERRNO_OK) return;
  int64_t now = env->now_us(env->ctx);
  for (struct lc_slice row; (row = lc_row_iter_next(it)).data;) arm(db->scheduler, t, row, now);
  lc_row_iter_close(it);
}
void scheduler_restart(struct lc_db *db) {
  db->scheduler->n = db->scheduler->n_stale = 0;
  lc_datastore_each_table(db->ds, arm_table, db);
}

int scheduler_check_row(void *ctx, uint32_t table_id, struct lc_slice row) {
  struct lc_db *db = ctx;
  const struct lc_env *env = db->options.env;
  const struct lc_table_info *t = lc_datastore_table(db->ds, table_id);
  int64_t us, now = env->now_us(env->ctx);
  if (!t || !t->has_schedule) return LC_ERRNO_OK;
  bool is_interval = schedule_of(t, row, &us);
  bool too_long = is_interval ? us >= max_delay_us : us > now && (uint64_t)us - (uint64_t)now >= (uint64_t)max_delay_us;
  return too_long ? LC_ERRNO_SCHEDULE_TOO_LONG : LC_ERRNO_OK;
}

/* ---- firing ---- */

/* Deletes the row if it is still the one that fired. */
static void delete_row(struct lc_db *db, struct lc_tx *tx, const struct entry *e) {
  const struct lc_table_info *t;
  struct lc_slice row = row_of(db, e, &t);
  bool found;
  if (!row.data) return;
  lc_buf_clear(&db->scheduler->row);
  lc_buf_slice_append(&db->scheduler->row, row);
  if (lc_buf_ok(&db->scheduler->row)) lc_tx_delete_row(tx, e->table_id, lc_buf_slice(&db->scheduler->row), &found, NULL);
}
static void delete_in_own_transaction(struct lc_db *db, const struct entry *e) {
  struct lc_tx *tx = lc_tx_begin(db->ds);
  if (!tx) return;
  struct lc_error err;
  delete_row(db, tx, e);
  if (db_before_commit(db, tx, NULL, &err) == LC_OK) db_commit(db, tx, NULL);
  else lc_tx_rollback(tx); /* a view of the schedule fails: it will be tried with the next start */
}
static void before_commit(struct lc_db *db, struct lc_tx *tx, void *arg) { delete_row(db, tx, arg); }

/* The next tick of an interval row that is unchanged: those missed are skipped, the phase stays. */
static void arm_again(struct lc_db *db, struct entry e) {
  const struct lc_env *env = db->options.env;
  const struct lc_table_info *t;
  struct lc_slice row = row_of(db, &e, &t);
  int64_t us, now = env->now_us(env->ctx);
  if (!row.data || !schedule_of(t, row, &us)) return;
  int64_t missed = now >= e.due_us ? (now - e.due_us) / us : 0;
  e.due_us = add_us(e.due_us, add_us(missed * us, us));
  push(db->scheduler, e);
}

static bool is_armed(const struct scheduler *s, const struct entry *e) {
  for (uint32_t i = 0; i < s->n; i++)
    if (s->heap[i].table_id == e->table_id && memcmp(s->heap[i].hash, e->hash, sizeof e->hash) == 0) return true;
  return false;
}
static void procedure_done(struct lc_db *db, void *arg, const struct lc_db_procedure_result *r) {
  struct entry *e = arg;
  if (r->status != LC_OK && r->status != LC_CLOSED) lc_log(LC_LOG_WARN, "scheduled procedure: %s", r->error_text);
  if (r->status != LC_CLOSED && !is_armed(db->scheduler, e)) arm_again(db, *e); /* meanwhile the row may have gone and come back */
  lc_free(e);
}

/* A procedure: a one-shot row goes before the call, which is never tried again; an interval row is armed again when the call has ended. */
static void fire_procedure(struct lc_db *db, const struct entry *e, bool is_interval, struct lc_slice name, struct lc_slice args) {
  struct lc_error err = {0};
  struct entry *copy = is_interval ? lc_alloc(sizeof *copy) : NULL;
  if (is_interval && !copy) lc_fail(&err, LC_NOMEM, "out of memory");
  if (copy) *copy = *e;
  struct lc_db_procedure_call call = {.caller = db->options.database_identity, .is_owner = true, .confirmed = true, .name = name, .args = args, .done = copy ? procedure_done : NULL, .arg = copy};
  if (err.status == LC_OK && lc_db_start_procedure(db, &call, &err) == LC_OK) return;
  module_log_engine(db->log, 0, db->options.env->now_us(db->options.env->ctx), "__spacetimedb__", "scheduled procedure %.*s: %s", (int)name.len, (const char *)name.data, err.text);
  lc_free(copy);
  if (is_interval) arm_again(db, *e);
}

static bool is_procedure(struct lc_db *db, struct lc_slice name) {
  const struct lc_module_def *def = lc_module_definition(db->module);
  for (uint32_t i = 0; i < def->n_procedures; i++)
    if (lc_slice_eq(def->procedures[i].name, name)) return true;
  return false;
}

static void fire(struct lc_db *db, struct entry e) {
  static const struct lc_connection_id nobody;
  const struct lc_table_info *t;
  struct lc_slice row = row_of(db, &e, &t);
  struct lc_buf copy = {0}; /* the call may change the table, and the catalog */
  int64_t us;
  if (!row.data) {
    if (db->scheduler->n_stale) db->scheduler->n_stale--;
    return;
  }
  bool is_interval = schedule_of(t, row, &us);
  lc_buf_slice_append(&copy, t->schedule_function);
  lc_buf_slice_append(&copy, row);
  if (!lc_buf_ok(&copy)) lc_panic("out of memory for a scheduled call");
  struct lc_slice name = lc_slice(copy.data, t->schedule_function.len), args = lc_slice(copy.data + name.len, copy.len - name.len);
  if (is_procedure(db, name)) {
    if (!is_interval) delete_in_own_transaction(db, &e);
    fire_procedure(db, &e, is_interval, name, args);
  } else {
    struct lc_reducer_outcome outcome;
    struct db_then then = {before_commit, &e};
    db_call_reducer(db, NULL, NULL, name, args, &db->options.database_identity, &nobody, true, is_interval ? NULL : &then, &outcome);
    if (is_interval) arm_again(db, e);
    else if (outcome.status != LC_REDUCER_COMMITTED) delete_in_own_transaction(db, &e);
  }
  lc_buf_free(&copy);
}

static void queue(struct lc_db *db);
static void run_due(struct lc_db *db, void *arg) {
  (void)arg;
  const struct lc_env *env = db->options.env;
  struct scheduler *s = db->scheduler;
  int64_t start_ns = env->monotonic_ns(env->ctx);
  atomic_store(&s->is_queued, false);
  s->alarm_us = INT64_MAX; /* it has rung; if the clock was set back since, nothing is due and it must be asked for again */
  while (s->n && s->heap[0].due_us <= env->now_us(env->ctx) && !atomic_load(&db->closing) && !lc_db_failure(db)) {
    if (env->monotonic_ns(env->ctx) - start_ns > RUN_LIMIT_NS) { /* others wait too */
      queue(db);
      return;
    }
    fire(db, pop(s));
  }
}
static void queue(struct lc_db *db) {
  if (atomic_exchange(&db->scheduler->is_queued, true)) return;
  struct lc_db_batch *batch = lc_db_batch_new();
  struct lc_db_op *op = batch ? lc_db_batch_add(batch, LC_OP_FUNCTION, NULL) : NULL;
  if (!op) lc_panic("out of memory for the operation of the scheduler");
  op->function = run_due;
  lc_db_submit(db, batch);
}
void lc_db_alarm(struct lc_db *db) { queue(db); }

void scheduler_set_alarm(struct lc_db *db) {
  struct scheduler *s = db->scheduler;
  int64_t next = s->n && !atomic_load(&s->is_queued) && !lc_db_failure(db) ? s->heap[0].due_us : INT64_MAX;
  if (next == s->alarm_us || !db->options.callbacks.alarm || !db->is_open) return;
  s->alarm_us = next;
  db->options.callbacks.alarm(db->options.callbacks.ctx, db, next);
}
