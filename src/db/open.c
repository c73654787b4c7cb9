/* Life of a database: first publish, start with what recover.c finds on disk, close (spec/06 §9.1, §9.3; spec/07 §12).
 *
 * A first publish runs in memory up to and including `init`; only when that succeeded are files made, so a failing publish leaves
 * nothing behind. At start, clients left in st_client by a crash get their disconnect reducer before anyone connects.
 */
#include "db_internal.h"
#include <stdio.h>

static void on_module_log(void *ctx, const struct lc_module_log_record *rec) {
  struct lc_db *db = ctx;
  module_log_record(db->log, rec);
}

/* Work that waited for the log goes on. */
static void log_has_room(struct lc_db *db) {
  if (atomic_exchange(&db->waits_for_log, false)) db->options.callbacks.wake(db->options.callbacks.ctx, db);
}

static void on_durable(void *ctx, uint64_t durable_end) {
  struct lc_db *db = ctx;
  log_has_room(db);
  db->options.callbacks.durable(db->options.callbacks.ctx, db, durable_end);
}

/* After a failed write or fsync the state in memory is ahead of the disk and nothing can be promised any more: this database stops, the others go on. */
static void on_log_failed(void *ctx, const char *text) {
  struct lc_db *db = ctx;
  char hex[65];
  lc_identity_hex(&db->options.database_identity, hex);
  snprintf(db->failure, sizeof db->failure, "database stopped: its commit log failed: %.300s. Confirmed transactions are safe; restart the server when the disk is well", text);
  lc_log(LC_LOG_ERROR, "database %s: %s", hex, db->failure);
  atomic_store(&db->log_failed, true);
  db_procedures_cancel(db, db->failure);
  log_has_room(db);
  if (db->options.callbacks.failed && atomic_load(&db->is_open)) db->options.callbacks.failed(db->options.callbacks.ctx, db, db->failure);
}

static void on_rotated(void *ctx, uint64_t first_offset) {
  (void)first_offset;
  lc_db_request_snapshot(ctx);
}

static enum lc_status append_payload(struct lc_db *db, struct lc_error *err) {
  if (!lc_buf_ok(&db->record)) return lc_fail(err, LC_NOMEM, "out of memory while encoding a log record");
  if (db->wal) {
    enum lc_status st = lc_wal_reserve(db->wal, db->record.len, err);
    if (st != LC_OK) return st;
    lc_wal_append(db->wal, lc_buf_slice(&db->record));
    lc_wal_submit(db->wal);
  }
  db->next_offset++;
  return LC_OK;
}

/* What is to be there already: where it is not, nothing is made in its place (a disk that is not mounted, a folder that somebody has moved). */
static enum lc_status find_log(const struct lc_db *db, struct lc_error *err) {
  char clog[4096];
  uint64_t first;
  if (snprintf(clog, sizeof clog, "%s/clog", db->dir) >= (int)sizeof clog) return lc_fail(err, LC_LIMIT, "path %s is too long", db->dir);
  return lc_wal_scan_first(db->options.fs, clog, &first, err);
}

/* The replica folder, so that its name survives too, and the log in it. */
static enum lc_status open_wal(struct lc_db *db, struct lc_error *err) {
  const struct lc_db_options *o = &db->options;
  const struct lc_fs *fs = o->fs;
  if (!db->dir) return LC_OK;
  int rc = fs->make_dir(fs->ctx, db->dir);
  if (rc != 0) return lc_fail(err, LC_IO, "cannot create folder %s: %s", db->dir, strerror(-rc));
  const char *slash = strrchr(db->dir, '/');
  char *parent = !slash ? lc_strdup_n(".", 1) : lc_strdup_n(db->dir, slash == db->dir ? 1 : (size_t)(slash - db->dir));
  if (!parent) return lc_fail(err, LC_NOMEM, "out of memory");
  rc = fs->sync_dir(fs->ctx, parent);
  if (rc != 0) lc_fail(err, LC_IO, "cannot sync folder %s: %s", parent, strerror(-rc));
  lc_free(parent);
  if (rc != 0) return LC_IO;
  struct lc_wal_options w = {.max_segment_bytes = o->max_segment_bytes, .backlog_bytes = o->backlog_bytes, .accept_lost_transactions = o->accept_lost_transactions, .ctx = db, .durable = on_durable, .failed = on_log_failed, .rotated = on_rotated};
  enum lc_status st = lc_wal_open(fs, db->dir, &w, &db->wal, err);
  db->files = (struct lc_db_files){.env = o->env, .fs = fs, .dir = db->dir, .wal = db->wal, .database = o->database_identity, .retain_all = o->retain_all,
                                   .accept_lost_transactions = o->accept_lost_transactions};
  return st;
}

/* The rest of the database gets to know its datastore. */
static enum lc_status adopt_datastore(struct lc_db *db, struct lc_error *err) {
  db->host_env = (struct lc_host_env){.env = db->options.env, .ds = db->ds, .database_identity = db->options.database_identity, .ctx = db, .log = on_module_log,
                                      .schedule_row = scheduler_check_row, .schedule_immediate = db_schedule_immediate};
  return (db->live = lc_live_new(db->ds)) ? LC_OK : lc_fail(err, LC_NOMEM, "out of memory");
}

/* Creates the schema and runs init in one transaction, all in memory; leaves the record payload of it in `init_record`. */
static enum lc_status first_publish(struct lc_db *db, struct lc_slice program, uint8_t kind, struct lc_buf *bootstrap, struct lc_buf *init_record, struct lc_error *err) {
  const struct lc_env *env = db->options.env;
  enum lc_status st = lc_datastore_bootstrap_record(db->ds, bootstrap);
  if (st != LC_OK) return lc_fail(err, st, "out of memory while writing the system tables");
  struct lc_module_facts facts = {.database = db->options.database_identity,
                                  .owner = db->options.owner_identity,
                                  .program_kind = kind,
                                  .program_hash = *lc_module_hash(db->module),
                                  .program_bytes = program};
  struct lc_tx *tx = lc_tx_begin(db->ds);
  if (!tx) return lc_fail(err, LC_NOMEM, "out of memory");
  bool changed;
  st = db->options.environment ? db_env_apply(db, tx, lc_module_definition(db->module), db->options.environment, &changed, err) : LC_OK;
  if (st == LC_OK) st = lc_schema_create(tx, lc_module_definition(db->module), &facts, err);
  if (st == LC_OK) st = db_check_rules(db, lc_module_definition(db->module), err);
  if (st == LC_OK && db->init_reducer >= 0) {
    struct lc_call_result res;
    static const struct lc_connection_id nobody;
    int64_t now = env->now_us(env->ctx);
    db_invoke(db, tx, (uint32_t)db->init_reducer, &db->options.owner_identity, &nobody, now, lc_slice(NULL, 0), &res);
    db_count_call(db, (uint32_t)db->init_reducer, res.status == LC_CALL_OK ? LC_REDUCER_COMMITTED : LC_REDUCER_FAILED_INTERNAL, res.energy, now);
    db_end_time(db);
    if (res.status == LC_CALL_USER_ERROR) st = lc_fail(err, LC_INVALID, "%.*s", (int)res.message.len, (const char *)res.message.data);
    else if (res.status == LC_CALL_BUDGET) st = lc_fail(err, LC_BUDGET, "reducer ran out of energy");
    else if (res.status != LC_CALL_OK) st = lc_fail(err, LC_TRAP, "The instance encountered a fatal error.");
    if (res.instance_dead) {
      lc_instance_free(db->instance);
      db->instance = NULL;
    }
  }
  if (st != LC_OK) {
    lc_tx_rollback(tx);
    return st;
  }
  const struct lc_tx_delta *delta;
  static const struct lc_tx_inputs no_inputs;
  lc_tx_commit(tx, &delta);
  lc_tx_record_encode(init_record, delta, &no_inputs);
  lc_tx_delta_release(db->ds, delta);
  module_log_engine(db->log, 2, env->now_us(env->ctx), "__spacetimedb__", "Database initialized");
  return lc_buf_ok(init_record) && lc_buf_ok(bootstrap) ? LC_OK : lc_fail(err, LC_NOMEM, "out of memory while encoding the first transaction");
}

static enum lc_status create(struct lc_db *db, struct lc_slice program, uint8_t kind, struct lc_error *err) {
  struct lc_buf bootstrap = {0}, init_record = {0};
  enum lc_status st = first_publish(db, program, kind, &bootstrap, &init_record, err);
  if (st == LC_OK) st = open_wal(db, err);
  if (st == LC_OK) db_snapshot_due_after(db);
  if (st == LC_OK && db->wal && lc_wal_next_offset(db->wal) != 0) {
    st = lc_fail(err, LC_CONFLICT, "folder %s holds a commit log already", db->dir);
    lc_wal_close(db->wal); /* which is not ours to remove */
    db->wal = NULL;
  }
  if (st == LC_OK) {
    struct lc_buf *records[2] = {&bootstrap, &init_record};
    for (int i = db->wal ? 0 : 1; i < 2 && st == LC_OK; i++) { /* in memory init is the first (spec/07 §12) */
      lc_buf_free(&db->record);
      db->record = *records[i];
      *records[i] = (struct lc_buf){0};
      st = append_payload(db, err);
      lc_buf_free(&db->record);
    }
  }
  if (st == LC_OK && db->wal && !lc_wal_wait_durable(db->wal, db->next_offset)) st = lc_fail(err, LC_IO, "the commit log in %s could not be written", db->dir);
  lc_buf_free(&bootstrap);
  lc_buf_free(&init_record);
  return st;
}

/* What other servers leave without a client: credentials, subscriptions to views (spec/06 §9.3). Here they go with their client, so that nothing is done then. */
static enum lc_status clear_leftovers(struct lc_db *db, struct lc_error *err) {
  static const uint32_t tables[] = {LC_ST_CONNECTION_CREDENTIALS, LC_ST_VIEW_SUB};
  struct lc_read_view view = {.ds = db->ds};
  bool any = false;
  if (lc_view_row_count(view, LC_ST_CLIENT)) return LC_OK; /* some could not be disconnected: the next start does it */
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) any = any || lc_view_row_count(view, tables[i]);
  if (!any) return LC_OK;
  struct lc_tx *tx = lc_tx_begin(db->ds);
  if (!tx) return lc_fail(err, LC_NOMEM, "out of memory while clearing what the clients of before left");
  bool ok = true;
  for (size_t i = 0; i < sizeof tables / sizeof *tables && ok; i++) {
    uint64_t n;
    ok = lc_tx_clear(tx, tables[i], &n, err) == LC_ERRNO_OK;
  }
  if (!ok) {
    lc_tx_rollback(tx);
    return lc_fail(err, LC_NOMEM, "out of memory while clearing what the clients of before left");
  }
  enum lc_status st = db_reserve_record(db, tx, NULL, err); /* there are no views yet to refresh */
  if (st == LC_OK) db_commit(db, tx, NULL);
  else lc_tx_rollback(tx);
  if (db->wal) lc_wal_submit(db->wal);
  return st;
}

/* Everyone who was connected when the server went down leaves now (spec/06 §9.3). */
static enum lc_status disconnect_leftovers(struct lc_db *db, struct lc_error *err) {
  struct lc_read_view view = {.ds = db->ds};
  uint64_t n = lc_view_row_count(view, LC_ST_CLIENT), got = 0;
  if (n == 0) return clear_leftovers(db, err);
  struct lc_identity *ids = lc_alloc_zero(n, sizeof *ids);
  struct lc_connection_id *conns = lc_alloc_zero(n, sizeof *conns);
  struct lc_row_iter *it = NULL;
  if (!ids || !conns || lc_view_scan(view, LC_ST_CLIENT, &it) != LC_ERRNO_OK) {
    lc_free(ids);
    lc_free(conns);
    return lc_fail(err, LC_NOMEM, "out of memory while disconnecting the clients of before");
  }
  for (struct lc_slice row; got < n && (row = lc_row_iter_next(it)).data; got++) {
    lc_assert(row.len == sizeof *ids + sizeof *conns);
    memcpy(ids[got].bytes, row.data, sizeof *ids);
    memcpy(conns[got].bytes, row.data + sizeof *ids, sizeof *conns);
  }
  lc_row_iter_close(it);
  for (uint64_t i = 0; i < got; i++) db_disconnect(db, &ids[i], &conns[i]);
  if (db->wal) lc_wal_submit(db->wal);
  lc_free(ids);
  lc_free(conns);
  return clear_leftovers(db, err);
}

static enum lc_status load_program(struct lc_db *db, struct lc_slice program, uint8_t kind, struct lc_error *err) {
  struct lc_module *module;
  struct lc_instance *instance;
  enum lc_status st = lc_module_load(program, kind, &db->options.limits, &db->host_env, &module, err);
  if (st != LC_OK) return st;
  st = lc_instance_new(module, &db->host_env, &instance, err);
  if (st == LC_OK && (st = db_set_module(db, module, instance)) != LC_OK) {
    lc_fail(err, st, "out of memory");
    lc_instance_free(instance);
  }
  if (st != LC_OK) lc_module_unref(module);
  return st;
}

/* A database of an older version gets the system tables that have come since, in a transaction of their own (spec/06 §3). */
static enum lc_status add_missing_tables(struct lc_db *db, struct lc_error *err) {
  lc_buf_clear(&db->record);
  enum lc_status st = lc_datastore_missing_record(db->ds, &db->record);
  if (st != LC_OK) return lc_fail(err, st, "out of memory while adding system tables");
  if (db->record.len == 0) return LC_OK;
  lc_log(LC_LOG_INFO, "the database in %s is of an older version: it gets the system tables that have come since", db->dir);
  st = lc_wal_reserve(db->wal, db->record.len, err);
  return st == LC_OK ? append_payload(db, err) : st;
}

static enum lc_status start_existing(struct lc_db *db, struct lc_error *err) {
  enum lc_status st = open_wal(db, err);
  if (st == LC_OK) st = lc_db_recover(&db->files, &db->ds, &db->next_offset, err);
  if (st == LC_OK) st = adopt_datastore(db, err);
  if (st != LC_OK) return st;
  db_snapshot_due_after(db);
  if (db->next_offset - db->files.recovered_from >= db->options.snapshot_interval_transactions) atomic_store(&db->snapshot.wanted, true); /* one is missing */
  struct lc_module_facts facts;
  st = lc_datastore_module(db->ds, &facts);
  if (st != LC_OK) return lc_fail(err, st, "the commit log in %s holds no module", db->dir);
  char stored[65], wanted[65];
  lc_identity_hex(&facts.database, stored);
  lc_identity_hex(&db->options.database_identity, wanted);
  if (strcmp(stored, wanted) != 0) return lc_fail(err, LC_CORRUPT, "mismatched database identity: %s != %s", stored, wanted);
  lc_identity_hex(&facts.owner, stored);
  lc_identity_hex(&db->options.owner_identity, wanted);
  if (strcmp(stored, wanted) != 0) return lc_fail(err, LC_CORRUPT, "mismatched owner identity: %s != %s", stored, wanted);
  st = load_program(db, facts.program_bytes, facts.program_kind, err);
  if (st == LC_OK) st = add_missing_tables(db, err);
  return st == LC_OK ? disconnect_leftovers(db, err) : st;
}

enum lc_status lc_db_open(const struct lc_db_options *o, struct lc_slice program, uint8_t program_kind, struct lc_db **out, struct lc_error *err) {
  struct lc_db *db = lc_alloc_zero(1, sizeof *db);
  if (!db) return lc_fail(err, LC_NOMEM, "out of memory");
  db->options = *o;
  if (!o->fs) db->options.fs = &lc_fs_posix;
  if (!o->snapshot_interval_transactions) db->options.snapshot_interval_transactions = 1000000;
  db->ops_a_look = 1;
  db->dir = o->dir ? lc_strdup_n(o->dir, strlen(o->dir)) : NULL;
  db->options.dir = db->dir;
  db->snapshot.due = UINT64_MAX;
  db_baton_init(db);
  db_counts_init(db);
  db_baton_try(db); /* nobody else runs it before it is complete */
  db->connect_reducer = db->disconnect_reducer = db->init_reducer = -1;
  db->outboxes = lc_alloc_zero((size_t)o->n_threads * 2 + 2, sizeof(struct lc_db_outbox *));
  enum lc_status st = db->outboxes && (!o->dir || db->dir) && (db->scheduler = scheduler_new()) && (db->views = views_new()) ? LC_OK : lc_fail(err, LC_NOMEM, "out of memory");
  bool is_new = program.data != NULL;
  if (st == LC_OK && !is_new && db->dir) st = find_log(db, err);
  /* the log of a database that may never be lives in memory until it is born */
  if (st == LC_OK && !(db->log = module_log_open(is_new || o->module_log_in_memory ? NULL : db->dir, o->log_days, o->log_bytes, err))) st = err->status;
  if (st == LC_OK && is_new) {
    st = lc_datastore_new(o->env, &db->ds, err);
    if (st == LC_OK) st = adopt_datastore(db, err);
    if (st == LC_OK) st = load_program(db, program, program_kind, err);
    if (st == LC_OK) st = create(db, program, program_kind, err);
    if (st == LC_OK && db->dir && !o->module_log_in_memory) {
      struct module_log *file_log = module_log_open(db->dir, o->log_days, o->log_bytes, err);
      if (!file_log) st = err->status;
      else {
        module_log_adopt(file_log, db->log);
        db->log = file_log;
      }
    }
  } else if (st == LC_OK && db->dir) {
    st = start_existing(db, err);
  } else if (st == LC_OK) {
    st = lc_fail(err, LC_INVALID, "a database without a program and without a folder cannot be opened");
  }
  if (st != LC_OK) {
    if (is_new && db->wal) {
      lc_wal_discard(db->wal);
      db->wal = NULL;
    }
    db_baton_give(db);
    lc_db_close(db);
    return st;
  }
  db->options.environment = NULL; /* which was the caller's */
  *out = db;
  lc_datastore_limit_memory(db->ds, o->data_memory_bytes); /* what was there before has its place: from now on */
  atomic_store(&db->is_open, true);
  scheduler_restart(db);
  scheduler_set_alarm(db);
  if (db->next_offset >= db->snapshot.due) db_snapshot_take(db);
  db_baton_give(db);
  lc_db_run(db); /* what init asked for */
  return LC_OK;
}

void lc_db_close(struct lc_db *db) {
  if (!db) return;
  db_procedures_close(db);
  db_reads_close(db);
  if (db->options.callbacks.deliver && db->log)
    while (lc_db_run(db)) {}
  db_snapshots_close(db);
  if (db->wal) lc_wal_close(db->wal);
  lc_live_free(db->live);
  scheduler_free(db->scheduler);
  views_free(db->views);
  if (db->instance) lc_instance_free(db->instance);
  lc_module_unref(db->module);
  lc_datastore_free(db->ds);
  module_log_close(db->log);
  lc_buf_free(&db->record);
  lc_buf_free(&db->json_args);
  lc_free(db->reducers.slots);
  db_counts_free(db);
  db_baton_destroy(db);
  lc_free(db->outboxes);
  lc_free(db->dir);
  lc_free(db);
}
