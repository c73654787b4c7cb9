/* Transactions of one database: reducer calls, connects and disconnects, commits and their fan-out.
 *
 * Invariants: runs only with the baton; at most one transaction is open; whatever way a call ends, its transaction has been
 * committed or rolled back before the next operation starts, and the caller of a call has been answered exactly once.
 * Callers: db.c (operations of the inbox), open.c (init, clients left behind), http.c.
 */
#include "db_internal.h"
#include <stdio.h>

static const char fatal_text[] = "The instance encountered a fatal error."; /* spec/02 §3 */
static const char full_text[] = "The database has reached its limit of data memory; nothing of the call has happened.";
static const char energy_text[] = "reducer ran out of energy";              /* spec/03 §11.2 */

void db_mark_dirty(struct lc_db *db, struct lc_db_client *c) {
  if (c->is_dirty) return;
  c->is_dirty = true;
  c->dirty_next = db->dirty;
  db->dirty = c;
}

int32_t db_find_reducer(const struct lc_db *db, struct lc_slice name) {
  const struct lc_module_def *def = lc_module_definition(db->module);
  if (!db->reducers.slots) return -1;
  for (uint64_t at = lc_hash64(name.data, name.len, 0);; at++) {
    uint32_t slot = db->reducers.slots[at & db->reducers.mask];
    if (slot == 0) return -1;
    if (lc_slice_eq(def->reducers[slot - 1].name, name)) return (int32_t)(slot - 1);
  }
}

enum lc_status db_set_module(struct lc_db *db, struct lc_module *m, struct lc_instance *inst) {
  const struct lc_module_def *def = lc_module_definition(m);
  uint32_t cap = 8;
  while (cap < def->n_reducers * 2) cap *= 2;
  uint32_t *slots = lc_alloc_zero(cap, sizeof *slots);
  if (!slots || !db_counts_set_module(db, m)) {
    lc_free(slots);
    return LC_NOMEM;
  }
  int32_t lifecycle[4] = {-1, -1, -1, -1};
  for (uint32_t i = 0; i < def->n_reducers; i++) {
    uint64_t at = lc_hash64(def->reducers[i].name.data, def->reducers[i].name.len, 0);
    while (slots[at & (cap - 1)]) at++;
    slots[at & (cap - 1)] = i + 1;
    lifecycle[def->reducers[i].lifecycle] = (int32_t)i;
  }
  if (db->instance) lc_instance_free(db->instance);
  lc_module_unref(db->module);
  lc_free(db->reducers.slots);
  db->module = m;
  db->instance = inst;
  db->reducers = (struct name_index){cap - 1, slots};
  db->has_views = def->n_views > 0;
  db->init_reducer = lifecycle[LC_LIFECYCLE_INIT];
  db->connect_reducer = lifecycle[LC_LIFECYCLE_CONNECT];
  db->disconnect_reducer = lifecycle[LC_LIFECYCLE_DISCONNECT];
  return LC_OK;
}

enum lc_status db_need_instance(struct lc_db *db, struct lc_error *err) {
  if (db->instance) return LC_OK;
  return lc_instance_new(db->module, &db->host_env, &db->instance, err);
}

void db_invoke(struct lc_db *db, struct lc_tx *tx, uint32_t index, const struct lc_identity *sender, const struct lc_connection_id *conn, int64_t ts_us,
               struct lc_slice args, struct lc_call_result *out) {
  struct lc_error err; /* not cleared: two kilobytes a call */
  if (db_need_instance(db, &err) != LC_OK) {
    module_log_engine(db->log, 0, ts_us, "__spacetimedb__", "failed to make a module instance: %s", err.text);
    *out = (struct lc_call_result){.status = LC_CALL_FATAL, .message = lc_slice_str(fatal_text)};
    return;
  }
  struct lc_call_args call = {.function_name = lc_module_definition(db->module)->reducers[index].name,
                              .id = index,
                              .sender = *sender,
                              .connection_id = *conn,
                              .timestamp_us = ts_us,
                              .args = args};
  db->host_env.tx = tx;
  lc_instance_call_reducer(db->instance, &call, out);
  db->host_env.tx = NULL;
  if (out->status == LC_CALL_FATAL || out->status == LC_CALL_BUDGET)
    lc_log(LC_LOG_WARN, "reducer %.*s: %.*s", (int)call.function_name.len, (const char *)call.function_name.data, (int)out->message.len, (const char *)out->message.data);
}

/* The caller's own update travels inside its result (spec/03 §15.2); everybody else gets a transaction update. */
static void emit(void *ctx, void *client, const struct lc_set_update *sets, uint32_t n_sets) {
  struct lc_db *db = ctx;
  struct lc_db_client *c = client;
  db_mark_dirty(db, c);
  if (c == db->emit_caller && db->emit_op) {
    db->emit_outcome->sets = sets;
    db->emit_outcome->n_sets = n_sets;
    c->ops->reducer_result(c, db->emit_op, db->emit_outcome);
    db->emit_outcome->sets = NULL;
    db->emit_outcome->n_sets = 0;
    db->emit_done = true;
    return;
  }
  c->ops->transaction_update(c, sets, n_sets, db->emit_outcome);
}

/* A query set that cannot be evaluated any more. */
static bool set_failed(void *ctx, void *client, uint64_t query_set_id, const char *text) {
  struct lc_db *db = ctx;
  struct lc_db_client *c = client;
  db_mark_dirty(db, c);
  return c->ops->set_failed(c, query_set_id, text);
}

enum { KEPT_RECORD_BYTES = 256 << 10 };
static const struct lc_tx_inputs no_inputs;

enum lc_status db_reserve_record(struct lc_db *db, struct lc_tx *tx, const struct lc_tx_inputs *inputs, struct lc_error *err) {
  if (!db->wal) return LC_OK;
  uint64_t max_bytes = lc_tx_record_max_bytes(tx, inputs ? inputs : &no_inputs);
  lc_buf_clear(&db->record);
  enum lc_status st = lc_buf_reserve(&db->record, max_bytes) ? lc_wal_reserve(db->wal, max_bytes, err) : lc_fail(err, LC_NOMEM, "out of memory");
  if (st != LC_OK) views_undone(db);
  return st;
}

enum lc_status db_before_commit(struct lc_db *db, struct lc_tx *tx, const struct lc_tx_inputs *inputs, struct lc_error *err) {
  enum lc_status st = views_refresh(db, tx, err);
  return st == LC_OK ? db_reserve_record(db, tx, inputs, err) : st;
}

bool db_commit(struct lc_db *db, struct lc_tx *tx, const struct lc_tx_inputs *inputs) {
  if (!inputs) inputs = &no_inputs;
  const struct lc_tx_delta *delta;
  lc_tx_commit(tx, &delta);
  views_committed(db);
  bool logged = lc_tx_delta_is_logged(delta, inputs);
  if (logged) {
    if (db->wal) {
      lc_buf_clear(&db->record);
      lc_tx_record_encode(&db->record, delta, inputs);
      /* The change is in memory already: without its record the database could not be trusted again. */
      if (!lc_buf_ok(&db->record)) lc_panic("out of memory while encoding the record of transaction %llu", (unsigned long long)db->next_offset);
      lc_wal_append(db->wal, lc_buf_slice(&db->record));
      lc_buf_trim(&db->record, KEPT_RECORD_BYTES);
    }
    db->next_offset++;
  }
  scheduler_committed(db, delta);
  lc_live_evaluate(db->live, delta, &(struct lc_live_sink){db, emit, set_failed});
  lc_tx_delta_release(db->ds, delta);
  if (__builtin_expect(db->next_offset >= db->snapshot.due, 0)) db_snapshot_take(db);
  return logged;
}

void db_commit_of(struct lc_db *db, struct lc_tx *tx, const struct lc_identity *caller, uint32_t reducer_id) {
  const struct lc_env *env = db->options.env;
  struct lc_reducer_outcome cause = {.caller = *caller, .reducer_id = reducer_id, .timestamp_us = env->now_us(env->ctx)};
  db->emit_outcome = &cause;
  db_commit(db, tx, NULL);
  db->emit_outcome = NULL;
}

static void answer(struct lc_db *db, struct lc_db_client *caller, const struct lc_db_op *op, const struct lc_reducer_outcome *out) {
  if (!caller) return;
  db_mark_dirty(db, caller);
  caller->ops->reducer_result(caller, op, out);
}

static void reject(struct lc_db *db, struct lc_reducer_outcome *out, struct lc_slice name, const char *text, size_t len, const char *log_text) {
  out->status = LC_REDUCER_REJECTED;
  out->message = lc_slice(text, len);
  if (!log_text) return;
  char function[256];
  snprintf(function, sizeof function, "%.*s", (int)(name.len < 255 ? name.len : 255), (const char *)name.data);
  module_log_engine(db->log, 0, out->timestamp_us, function, log_text, function);
}

static void call_reducer(struct lc_db *db, struct lc_db_client *caller, const struct lc_db_op *op, struct lc_slice name, struct lc_slice args,
                         const struct lc_identity *sender, const struct lc_connection_id *conn, bool is_owner, const struct db_then *then, struct lc_reducer_outcome *out) {
  static const char *const lifecycle_text[] = {"", "can't directly call special Init lifecycle reducer", "can't directly call special OnConnect lifecycle reducer",
                                               "can't directly call special OnDisconnect lifecycle reducer"};
  const struct lc_env *env = db->options.env;
  const struct lc_module_def *def = lc_module_definition(db->module);
  int32_t index = db_find_reducer(db, name);
  *out = (struct lc_reducer_outcome){.timestamp_us = env->now_us(env->ctx), .name = name, .reducer_id = index < 0 ? UINT32_MAX : (uint32_t)index, .request_id = op ? op->request_id : 0, .caller = *sender, .connection_id = *conn};
  const struct lc_function_def *fn = index < 0 ? NULL : &def->reducers[index];
  if (!fn || (fn->is_private && !is_owner && fn->lifecycle == LC_LIFECYCLE_NONE)) {
    static const char text[] = "no such reducer";
    out->no_such_function = true;
    reject(db, out, name, text, sizeof text - 1, "External attempt to call nonexistent reducer \"%s\" failed. Have you run `spacetime generate` recently?");
    answer(db, caller, op, out);
    return;
  }
  if (fn->lifecycle != LC_LIFECYCLE_NONE) {
    reject(db, out, name, lifecycle_text[fn->lifecycle], strlen(lifecycle_text[fn->lifecycle]), NULL);
    answer(db, caller, op, out);
    return;
  }
  struct lc_error err;
  bool is_good = true;
  if (op && op->args_are_json) {
    lc_buf_clear(&db->json_args);
    is_good = lc_json_parse_args(args, fn, &db->json_args, &err) == LC_OK && (lc_buf_ok(&db->json_args) || lc_fail(&err, LC_NOMEM, "out of memory") == LC_OK);
    out->json_args = args;
    args = lc_buf_slice(&db->json_args);
  }
  struct lc_reader r = lc_reader(args);
  if (!is_good || lc_bsatn_validate(fn->params, fn->typespace, &r, &err) != LC_OK) {
    out->json_args = lc_slice(NULL, 0);
    lc_fail_context(&err, "invalid arguments for reducer %.*s", (int)name.len, (const char *)name.data);
    reject(db, out, name, err.text, strlen(err.text),
           "External attempt to call reducer \"%s\" failed, invalid arguments.\nThis is likely due to a mismatched client schema, have you run `spacetime generate` recently?");
    answer(db, caller, op, out);
    out->message = lc_slice(NULL, 0);
    if (!caller) { /* HTTP keeps the text beyond this frame: it goes through the record scratch buffer */
      lc_buf_clear(&db->record);
      lc_buf_str(&db->record, err.text);
      out->message = lc_buf_slice(&db->record);
    }
    return;
  }
  out->args = args;
  struct lc_tx *tx = lc_tx_begin(db->ds);
  struct lc_call_result res = {.status = LC_CALL_FATAL, .message = lc_slice_str(fatal_text)};
  if (db->options.data_memory_bytes) lc_datastore_limit_was_hit(db->ds); /* what was before is not this call's */
  if (tx) db_invoke(db, tx, (uint32_t)index, sender, conn, out->timestamp_us, args, &res);
  out->energy = res.energy;
  if (tx && res.status == LC_CALL_OK) {
    struct lc_tx_inputs inputs = {.name = fn->name, .caller = *sender, .connection_id = *conn, .timestamp_us = out->timestamp_us, .args = args};
    out->status = LC_REDUCER_COMMITTED;
    db->emit_caller = caller;
    db->emit_op = op;
    db->emit_outcome = out;
    db->emit_done = false;
    out->duration_us = caller ? 0 : env->now_us(env->ctx) - out->timestamp_us;
    if (then) then->before_commit(db, tx, then->arg);
    enum lc_status st = db_before_commit(db, tx, &inputs, &err);
    if (st != LC_OK) { /* the whole transaction fails with it (spec/05 §21.6) */
      db->emit_caller = NULL;
      db->emit_op = NULL;
      db->emit_outcome = NULL;
      lc_tx_rollback(tx);
      out->tx_offset = db->next_offset;
      out->status = st == LC_BUDGET ? LC_REDUCER_OUT_OF_ENERGY : LC_REDUCER_FAILED_INTERNAL;
      lc_buf_clear(&db->record);
      lc_buf_str(&db->record, st == LC_BUDGET ? energy_text : err.text);
      out->message = lc_buf_slice(&db->record);
      out->duration_us = env->now_us(env->ctx) - out->timestamp_us;
      answer(db, caller, op, out);
      return;
    }
    db_commit(db, tx, &inputs);
    out->tx_offset = db->next_offset;
    bool done = db->emit_done;
    db->emit_caller = NULL;
    db->emit_op = NULL;
    db->emit_outcome = NULL;
    if (!done) answer(db, caller, op, out);
    return;
  }
  if (tx) lc_tx_rollback(tx);
  out->tx_offset = db->next_offset;
  switch (res.status) {
  case LC_CALL_USER_ERROR:
    out->status = LC_REDUCER_FAILED_USER;
    out->message = res.message;
    break;
  case LC_CALL_BUDGET:
    out->status = LC_REDUCER_OUT_OF_ENERGY;
    out->message = lc_slice_str(energy_text);
    break;
  default:
    out->status = LC_REDUCER_FAILED_INTERNAL;
    out->message = lc_slice_str(fatal_text);
    if (!db->options.data_memory_bytes || !lc_datastore_limit_was_hit(db->ds)) break;
    out->message = lc_slice_str(full_text);
    module_log_engine(db->log, 0, out->timestamp_us, fn->name.len < 200 ? (snprintf(err.text, 256, "%.*s", (int)fn->name.len, (const char *)fn->name.data), err.text) : "__spacetimedb__", "%s", full_text);
    break;
  }
  out->duration_us = env->now_us(env->ctx) - out->timestamp_us;
  answer(db, caller, op, out);
  if (!caller) { /* the text must outlive the instance */
    lc_buf_clear(&db->record);
    lc_buf_slice_append(&db->record, out->message);
    out->message = lc_buf_slice(&db->record);
  }
  if (res.instance_dead) {
    lc_instance_free(db->instance);
    db->instance = NULL;
  }
}

void db_call_reducer(struct lc_db *db, struct lc_db_client *caller, const struct lc_db_op *op, struct lc_slice name, struct lc_slice args,
                     const struct lc_identity *sender, const struct lc_connection_id *conn, bool is_owner, const struct db_then *then, struct lc_reducer_outcome *out) {
  call_reducer(db, caller, op, name, args, sender, conn, is_owner, then, out);
  if (out->status == LC_REDUCER_REJECTED) db_count(db, LC_DB_CALLS_REJECTED, 1);
  else db_count_call(db, out->reducer_id, out->status, out->energy, out->timestamp_us);
}

/* Runs lifecycle reducer `index` (-1: none) in tx; false with *err if it did not succeed. */
static bool run_lifecycle(struct lc_db *db, struct lc_tx *tx, int32_t index, const struct lc_identity *id, const struct lc_connection_id *conn, int64_t ts_us,
                          struct lc_error *err) {
  if (index < 0) return true;
  struct lc_call_result res;
  db_invoke(db, tx, (uint32_t)index, id, conn, ts_us, lc_slice(NULL, 0), &res);
  db_count_call(db, (uint32_t)index, res.status == LC_CALL_OK ? LC_REDUCER_COMMITTED : res.status == LC_CALL_USER_ERROR ? LC_REDUCER_FAILED_USER : res.status == LC_CALL_BUDGET ? LC_REDUCER_OUT_OF_ENERGY : LC_REDUCER_FAILED_INTERNAL, res.energy, ts_us);
  if (res.status == LC_CALL_OK) return true;
  if (res.status == LC_CALL_USER_ERROR)
    lc_fail(err, LC_DENIED, "%.*s", (int)res.message.len, (const char *)res.message.data);
  else
    lc_fail(err, res.status == LC_CALL_BUDGET ? LC_BUDGET : LC_TRAP, "%s", res.status == LC_CALL_BUDGET ? energy_text : fatal_text);
  if (res.instance_dead) {
    lc_instance_free(db->instance);
    db->instance = NULL;
  }
  return false;
}

enum lc_status db_connect(struct lc_db *db, const struct lc_identity *id, const struct lc_connection_id *conn, struct lc_slice jwt, struct lc_error *err) {
  const struct lc_env *env = db->options.env;
  int64_t now = env->now_us(env->ctx);
  if (db_check_alive(db, err) != LC_OK) return LC_IO;
  struct lc_tx *tx = lc_tx_begin(db->ds);
  if (!tx) return lc_fail(err, LC_NOMEM, "out of memory");
  lc_datastore_lift_limit(db->ds, true); /* who is to make room must come in */
  enum lc_status st = lc_tx_client_add(tx, id, conn, jwt, err);
  lc_datastore_lift_limit(db->ds, false);
  if (st == LC_OK && !run_lifecycle(db, tx, db->connect_reducer, id, conn, now, err)) st = err->status;
  struct lc_tx_inputs inputs = {.name = lc_slice_str("call_identity_connected"), .caller = *id, .connection_id = *conn, .timestamp_us = now};
  if (st == LC_OK) st = db_before_commit(db, tx, &inputs, err);
  if (st != LC_OK) {
    lc_tx_rollback(tx);
    return st;
  }
  db_commit(db, tx, &inputs);
  return LC_OK;
}

static bool client_is_known(struct lc_tx *tx, const struct lc_identity *id, const struct lc_connection_id *conn) {
  enum { st_client_index = 7 }; /* [identity, connection_id], spec/06 §2.1 */
  uint8_t key[48];
  memcpy(key, id->bytes, 32);
  memcpy(key + 32, conn->bytes, 16);
  struct lc_row_iter *it;
  if (lc_tx_scan_point(tx, st_client_index, lc_slice(key, sizeof key), &it, NULL) != LC_ERRNO_OK) return false;
  bool known = lc_row_iter_next(it).data != NULL;
  lc_row_iter_close(it);
  return known;
}

void db_disconnect(struct lc_db *db, const struct lc_identity *id, const struct lc_connection_id *conn) {
  if (lc_db_failure(db)) return; /* the next start does it */
  const struct lc_env *env = db->options.env;
  int64_t now = env->now_us(env->ctx);
  struct lc_error err = {0};
  struct lc_slice name = db->disconnect_reducer >= 0 ? lc_module_definition(db->module)->reducers[db->disconnect_reducer].name : lc_slice_str("__identity_disconnected__");
  struct lc_tx_inputs inputs = {.name = name, .caller = *id, .connection_id = *conn, .timestamp_us = now};
  /* First with the reducer; if that fails, a second transaction deletes the rows anyway (spec/06 §9.2). */
  for (int attempt = 0; attempt < 2; attempt++) {
    struct lc_tx *tx = lc_tx_begin(db->ds);
    if (!tx) {
      lc_log(LC_LOG_ERROR, "out of memory: a disconnected client's row is kept until the next start");
      return;
    }
    if (!client_is_known(tx, id, conn)) { /* nothing runs for a row that is gone (spec/03 §9.3) */
      lc_tx_rollback(tx);
      return;
    }
    bool ok = attempt == 1 || run_lifecycle(db, tx, db->disconnect_reducer, id, conn, now, &err);
    bool was_there = false;
    if (ok && lc_tx_client_remove(tx, id, conn, &was_there, &err) == LC_OK && was_there && db_before_commit(db, tx, &inputs, &err) == LC_OK) {
      db_commit(db, tx, &inputs);
      return;
    }
    lc_tx_rollback(tx);
  }
}
