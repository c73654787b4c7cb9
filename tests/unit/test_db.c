/* One database end to end inside the process: publish, connect, subscribe, call, deltas to others, errors, restart with everything there. */
#include "db/db.h"
#include "player_module.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct lc_error err;
static char dir[64];
static char events[8192]; /* what clients were told, a word each */
static atomic_int wakes;

static void say(const char *fmt, ...) LC_PRINTF(1, 2);
static void say(const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  size_t at = strlen(events);
  vsnprintf(events + at, sizeof events - at, fmt, ap);
  va_end(ap);
}
#define NAME(c) ((const char *)(c)->user)
static void on_connected(struct lc_db_client *c, enum lc_status st, const char *text) {
  (void)text;
  say("%s:connected=%d ", NAME(c), (int)st);
  lc_buf_str(&c->out, "x");
}
static void put_sets(const struct lc_set_update *sets, uint32_t n) {
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t k = 0; k < sets[i].n; k++)
      say("[%u %.*s +%u-%u]", (unsigned)sets[i].query_set_id, (int)sets[i].deltas[k]->table_name.len, (const char *)sets[i].deltas[k]->table_name.data, sets[i].deltas[k]->n_inserts, sets[i].deltas[k]->n_deletes);
}
static void on_result(struct lc_db_client *c, const struct lc_db_op *op, const struct lc_reducer_outcome *o) {
  say("%s:result%u=%d'%.*s'", NAME(c), op->request_id, (int)o->status, (int)o->message.len, (const char *)o->message.data);
  put_sets(o->sets, o->n_sets);
  say(" ");
  lc_buf_str(&c->out, "x");
}
static void on_update(struct lc_db_client *c, const struct lc_set_update *sets, uint32_t n, const struct lc_reducer_outcome *cause) {
  (void)cause;
  say("%s:update", NAME(c));
  put_sets(sets, n);
  say(" ");
  lc_buf_str(&c->out, "x");
}
static void on_applied(struct lc_db_client *c, const struct lc_db_op *op, const struct lc_query_rows *rows, uint32_t n) {
  say("%s:applied%u", NAME(c), op->request_id);
  for (uint32_t i = 0; rows && i < n; i++) say("(%u)", rows[i].n_rows);
  say(" ");
}
static void on_sub_error(struct lc_db_client *c, const struct lc_db_op *op, const char *text) { say("%s:error%u'%s' ", NAME(c), op->request_id, text); }
static void on_one_off(struct lc_db_client *c, const struct lc_db_op *op, struct lc_slice args, const struct lc_query_rows *rows, const char *text) {
  (void)args;
  say("%s:oneoff%u=%d ", NAME(c), op->request_id, rows ? (int)rows->n_rows : -1);
  (void)text;
}
static void on_closed(struct lc_db_client *c) { say("%s:closed ", NAME(c)); }
static const struct lc_db_client_ops ops = {.connected = on_connected, .reducer_result = on_result, .transaction_update = on_update, .subscribe_applied = on_applied, .unsubscribe_applied = on_applied, .subscription_error = on_sub_error, .one_off_result = on_one_off, .closed = on_closed};

static uint64_t last_release;
static void deliver(void *ctx, uint32_t thread, struct lc_db_outbox *o) {
  (void)ctx;
  (void)thread;
  if (o->release_offset != UINT64_MAX) last_release = o->release_offset;
  lc_db_outbox_free(o);
}
static void durable(void *ctx, struct lc_db *db, uint64_t end) {
  (void)ctx;
  (void)db;
  (void)end;
  atomic_fetch_add(&wakes, 1);
}
static atomic_int n_woken, n_failed;
static void wake(void *ctx, struct lc_db *db) {
  (void)ctx;
  (void)db;
  atomic_fetch_add(&n_woken, 1);
}
static void failed(void *ctx, struct lc_db *db, const char *text) {
  (void)ctx;
  assert_ptr_equal(text, lc_db_failure(db));
  atomic_fetch_add(&n_failed, 1);
}

static struct lc_db_options more; /* what a test sets beside the usual */
static struct lc_db *open_db(struct lc_slice bytes) {
  struct lc_db_options o = {.fs = more.fs, .backlog_bytes = more.backlog_bytes, .snapshot_interval_transactions = more.snapshot_interval_transactions, .max_segment_bytes = more.max_segment_bytes, .retain_all = more.retain_all, .dir = dir, .env = &lc_env_system, .database_identity = {{1}}, .owner_identity = {{2}}, .n_threads = 1, .callbacks = {.deliver = deliver, .durable = durable, .wake = wake, .failed = failed}};
  struct lc_db *db;
  if (lc_db_open(&o, bytes, LC_PROGRAM_WASM, &db, &err) != LC_OK) fail_msg("%s", err.text);
  return db;
}
static struct lc_db_op *op(struct lc_db_batch *b, enum lc_db_op_kind kind, struct lc_db_client *c, uint32_t request, const char *name, struct lc_slice args) {
  struct lc_db_op *o = lc_db_batch_add(b, kind, c);
  o->request_id = request;
  o->query_set_id = request;
  o->name_at = b->bytes.len;
  o->name_len = strlen(name);
  lc_buf_str(&b->bytes, name);
  o->args_at = b->bytes.len;
  o->args_len = args.len;
  lc_buf_slice_append(&b->bytes, args);
  return o;
}
static void call_add(struct lc_db_batch *b, struct lc_db_client *c, uint32_t request, const char *name) {
  struct lc_buf args = {0};
  lc_buf_bsatn_str(&args, name);
  op(b, LC_OP_CALL_REDUCER, c, request, "add", lc_buf_slice(&args));
  lc_buf_free(&args);
}
static void run(struct lc_db *db, struct lc_db_batch *b, const char *want) {
  events[0] = 0;
  lc_db_submit(db, b);
  assert_true(lc_db_run(db));
  while (lc_db_run(db)) {} /* a run ends after some milliseconds: on a busy machine in the middle */
  if (strcmp(events, want) != 0) fail_msg("expected: %s\n     got: %s", want, events);
}

static int restore_handlers(void);
static void test_life(void **state) {
  (void)state;
  restore_handlers();
  strcpy(dir, "/tmp/lightcone-db-XXXXXX");
  assert_non_null(mkdtemp(dir));
  struct lc_db *db = open_db(program());
  struct lc_db_client a = {.ops = &ops, .user = (void *)(uintptr_t)"a", .confirmed = true, .identity = {{3}}, .connection_id = {{3}}, .jwt_payload = lc_slice_str("{}")};
  struct lc_db_client b = {.ops = &ops, .user = (void *)(uintptr_t)"b", .confirmed = true, .identity = {{4}}, .connection_id = {{4}}};
  struct lc_db_batch *batch = lc_db_batch_new();
  struct lc_buf query = {0};
  lc_buf_bsatn_str(&query, "SELECT * FROM player");
  op(batch, LC_OP_CONNECT, &a, 0, "", lc_slice(NULL, 0));
  op(batch, LC_OP_CONNECT, &b, 0, "", lc_slice(NULL, 0));
  op(batch, LC_OP_SUBSCRIBE, &a, 1, "", lc_buf_slice(&query))->n_queries = 1;
  call_add(batch, &a, 2, "bob");
  op(batch, LC_OP_SUBSCRIBE, &b, 7, "", lc_buf_slice(&query))->n_queries = 1;
  run(db, batch, "a:connected=0 b:connected=0 a:applied1 a:result2=0''[1 player +1-0] b:applied7(1) ");
  assert_int_equal(last_release, 5); /* bootstrap, init, two connects, one call */
  batch = lc_db_batch_new();
  call_add(batch, &b, 3, "eve");
  call_add(batch, &b, 4, "Error");
  call_add(batch, &b, 5, "Trap");
  call_add(batch, &b, 6, "zoe");
  op(batch, LC_OP_CALL_REDUCER, &b, 8, "nothing", lc_slice(NULL, 0));
  op(batch, LC_OP_CALL_REDUCER, &b, 9, "add", lc_slice(NULL, 0));
  op(batch, LC_OP_ONE_OFF, &a, 10, "SELECT * FROM player WHERE name = 'zoe'", lc_slice(NULL, 0));
  lc_db_submit(db, batch);
  events[0] = 0;
  assert_true(lc_db_run(db));
  while (lc_db_run(db)) {}
  /* fan-out order between clients of one commit is free: check the parts */
  static const char *const parts[] = {"b:result3=0''[7 player +1-0]", "a:update[1 player +1-0]", "b:result4=1'nope' ", "b:result5=2'The instance encountered a fatal error.' ", "b:result6=0''[7 player +1-0]",
                                      "b:result8=4'no such reducer' ", "b:result9=4'invalid arguments for reducer add: data too short for u32: Expected 4, given 0' ", "a:oneoff10=1 "};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
    if (!strstr(events, parts[i])) fail_msg("missing %s in %s", parts[i], events);
  batch = lc_db_batch_new();
  op(batch, LC_OP_UNSUBSCRIBE, &a, 1, "", lc_slice(NULL, 0));
  op(batch, LC_OP_UNSUBSCRIBE, &a, 1, "", lc_slice(NULL, 0));
  op(batch, LC_OP_DISCONNECT, &a, 0, "", lc_slice(NULL, 0));
  run(db, batch, "a:applied1(3) a:error1'Client not found: the client has no subscriptions' a:closed ");
  lc_db_close(db); /* b is still connected: it leaves when the database starts again */
  lc_buf_free(&b.out);
  db = open_db(lc_slice(NULL, 0));
  struct lc_read_view view = {.ds = lc_db_datastore(db)};
  assert_int_equal(lc_view_row_count(view, lc_datastore_table_by_name(view.ds, lc_slice_str("player"))->table_id), 3);
  assert_int_equal(lc_view_row_count(view, LC_ST_CLIENT), 0);
  struct lc_buf log = {0};
  assert_int_equal(lc_db_logs(db, 0, &log, &err), LC_OK);
  lc_buf_u8(&log, 0);
  assert_non_null(strstr((char *)log.data, "\"message\":\"Database initialized\""));
  assert_non_null(strstr((char *)log.data, "\"message\":\"nope\""));
  struct lc_sql_caller owner = {.is_owner = true};
  struct lc_buf json = {0};
  uint64_t offset;
  assert_int_equal(lc_db_http_sql(db, &owner, lc_slice_str("SELECT id, name FROM player WHERE name = 'zoe'"), &json, &offset, NULL, &err), LC_OK);
  lc_buf_u8(&json, 0);
  assert_non_null(strstr((char *)json.data, "\"rows\":[[3,\"zoe\"]]"));
  lc_db_close(db);
  lc_buf_free(&json);
  lc_buf_free(&log);
  lc_buf_free(&query);
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", dir);
  assert_int_equal(system(command), 0);
}

static uint32_t snapshots(uint64_t *newest) {
  uint64_t *offsets;
  uint32_t n;
  assert_int_equal(lc_snapfile_list(&lc_fs_posix, dir, &offsets, &n, &err), LC_OK);
  *newest = n ? offsets[n - 1] : 0;
  lc_free(offsets);
  return n;
}
/* Until the newest snapshot is that one and n are kept, for ten seconds at most: older ones are removed after a new one has its name. */
static void await_snapshot(struct lc_db *db, uint64_t offset, uint32_t n) {
  uint64_t newest = 0;
  for (int i = 0; i < 1000 && (snapshots(&newest) != n || newest < offset); i++) {
    usleep(10000);
    lc_db_run(db);
  }
  assert_int_equal(snapshots(&newest), n);
  assert_int_equal(newest, offset);
}

/* Snapshots in turn, on demand and for new segments, while calls go on; what is there after a restart; what is kept. */
static void test_snapshots(void **state) {
  (void)state;
  restore_handlers();
  for (int all = 0; all < 2; all++) {
    strcpy(dir, "/tmp/lightcone-db-XXXXXX");
    assert_non_null(mkdtemp(dir));
    more = (struct lc_db_options){.snapshot_interval_transactions = 50, .retain_all = all};
    struct lc_db *db = open_db(program());
    await_snapshot(db, 1, 1); /* the one behind init */
    usleep(100000);           /* its writer is done: the next one is due while nothing is written */
    struct lc_db_client a = {.ops = &ops, .user = (void *)(uintptr_t)"a", .confirmed = true, .identity = {{3}}, .connection_id = {{3}}};
    struct lc_db_batch *batch = lc_db_batch_new();
    op(batch, LC_OP_CONNECT, &a, 0, "", lc_slice(NULL, 0));
    for (uint32_t i = 3; i < 60; i++) call_add(batch, &a, i, "someone"); /* offsets 3 to 59 */
    lc_db_submit(db, batch);
    events[0] = 0;
    while (lc_db_run(db)) {}
    await_snapshot(db, 51, 2); /* exactly there, though the calls were one batch */
    lc_db_request_snapshot(db);
    assert_true(lc_db_run(db));
    await_snapshot(db, 59, all ? 3 : 2);
    lc_db_request_snapshot(db); /* nothing new */
    assert_true(lc_db_run(db));
    assert_false(lc_db_run(db));
    lc_db_close(db);
    more = (struct lc_db_options){.snapshot_interval_transactions = UINT64_MAX, .max_segment_bytes = 3000, .retain_all = all}; /* now only new segments ask for one */
    db = open_db(lc_slice(NULL, 0)); /* offset 60: a's disconnect */
    a.is_connected = false;
    a.out.len = 0;
    batch = lc_db_batch_new();
    op(batch, LC_OP_CONNECT, &a, 0, "", lc_slice(NULL, 0));
    lc_db_submit(db, batch);
    for (uint32_t round = 0; round < 40; round++) {
      batch = lc_db_batch_new();
      for (uint32_t i = 0; i < 5; i++) call_add(batch, &a, i, "a longer name, so that segments are filled soon");
      lc_db_submit(db, batch);
      events[0] = 0;
      while (lc_db_run(db)) {}
      usleep(1000);
    }
    uint64_t newest = 0, end = 0;
    for (int i = 0; i < 1000 && newest < 200; i++) { /* the last segment but one began about there */
      usleep(10000);
      lc_db_run(db);
      snapshots(&newest);
    }
    assert_in_range(newest, 200, 261);
    lc_db_close(db);
    more = (struct lc_db_options){0};
    db = open_db(lc_slice(NULL, 0));
    struct lc_read_view view = {.ds = lc_db_datastore(db)};
    assert_int_equal(lc_view_row_count(view, lc_datastore_table_by_name(view.ds, lc_slice_str("player"))->table_id), 57 + 200);
    end = lc_db_durable_offset(db);
    assert_in_range(end, 262, 263);
    lc_db_close(db);
    lc_buf_free(&a.out);
    char path[128], command[128];
    snprintf(path, sizeof path, "%s/clog/%020u.stdb.log", dir, 0);
    assert_int_equal(access(path, F_OK), all ? 0 : -1); /* the log is bounded unless told otherwise */
    snprintf(command, sizeof command, "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
  }
}

/* Without an interval, transactions alone ask for no snapshot. */
static void test_no_interval(void **state) {
  (void)state;
  restore_handlers();
  strcpy(dir, "/tmp/lightcone-db-XXXXXX");
  assert_non_null(mkdtemp(dir));
  more = (struct lc_db_options){.snapshot_interval_transactions = UINT64_MAX};
  struct lc_db *db = open_db(program());
  struct lc_db_client a = {.ops = &ops, .user = (void *)(uintptr_t)"a", .confirmed = true, .identity = {{3}}, .connection_id = {{3}}};
  for (int i = 0; i < 10; i++) {
    struct lc_db_batch *batch = lc_db_batch_new();
    if (i == 0) op(batch, LC_OP_CONNECT, &a, 0, "", lc_slice(NULL, 0));
    call_add(batch, &a, 1, "someone");
    events[0] = 0;
    lc_db_submit(db, batch);
    while (lc_db_run(db)) {}
    usleep(10000);
  }
  uint64_t newest;
  assert_int_equal(snapshots(&newest), 0);
  lc_db_close(db);
  lc_buf_free(&a.out);
  more = (struct lc_db_options){0};
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", dir);
  assert_int_equal(system(command), 0);
}

/* A disk that fails at once or after half a write from `disk_fails` on, or that waits while `disk_waits`. */
static atomic_int disk_fails, disk_waits, disk_calls;
enum { FAIL_WRITE = 1, FAIL_SHORT, FAIL_SYNC };
static int disk_write(void *ctx, int fd, const void *data, size_t n, uint64_t at) {
  atomic_fetch_add(&disk_calls, 1);
  while (atomic_load(&disk_waits)) usleep(1000);
  if (atomic_load(&disk_fails) == FAIL_WRITE) return -ENOSPC;
  if (atomic_load(&disk_fails) != FAIL_SHORT) return lc_fs_posix.write_at(ctx, fd, data, n, at);
  lc_fs_posix.write_at(ctx, fd, data, n / 2, at);
  return -EIO;
}
static int disk_sync(void *ctx, int fd) {
  atomic_fetch_add(&disk_calls, 1);
  return atomic_load(&disk_fails) == FAIL_SYNC ? -EIO : lc_fs_posix.sync(ctx, fd);
}
static struct lc_db *open_in(char *where, struct lc_slice bytes) {
  struct lc_db *db;
  if (!where[0]) {
    strcpy(where, "/tmp/lightcone-db-XXXXXX");
    assert_non_null(mkdtemp(where));
  }
  strcpy(dir, where);
  db = open_db(bytes);
  return db;
}
static uint64_t players(struct lc_db *db) {
  struct lc_read_view view = {.ds = lc_db_datastore(db)};
  return lc_view_row_count(view, lc_datastore_table_by_name(view.ds, lc_slice_str("player"))->table_id);
}
static void connect_and_add(struct lc_db *db, struct lc_db_client *c, int n) {
  struct lc_db_batch *batch = lc_db_batch_new();
  if (!c->is_connected) op(batch, LC_OP_CONNECT, c, 0, "", lc_slice(NULL, 0));
  for (int i = 0; i < n; i++) call_add(batch, c, 1, "someone");
  events[0] = 0;
  lc_db_submit(db, batch);
}
static void await_durable(struct lc_db *db) {
  uint64_t end = lc_db_next_offset(db);
  for (int i = 0; i < 1000 && lc_db_durable_offset(db) < end; i++) usleep(10000);
  assert_int_equal(lc_db_durable_offset(db), end);
}

/* A failed write or sync stops its database, and no other: nothing is tried again, everybody is told why, and a restart finds all that was durable. */
static void test_failing_log(void **state) {
  (void)state;
  static const char *const causes[] = {"", "No space left on device", "Input/output error", "Input/output error"};
  restore_handlers();
  for (int how = FAIL_WRITE; how <= FAIL_SYNC; how++) {
    char bad_dir[64] = "", good_dir[64] = "", command[192];
    struct lc_fs fs = lc_fs_posix;
    fs.write_at = disk_write;
    fs.sync = disk_sync;
    more = (struct lc_db_options){.fs = &fs};
    struct lc_db *bad = open_in(bad_dir, program());
    more = (struct lc_db_options){0};
    struct lc_db *good = open_in(good_dir, program());
    struct lc_db_client a = {.ops = &ops, .user = (void *)(uintptr_t)"a", .confirmed = true, .identity = {{3}}, .connection_id = {{3}}}, b = a, late = a;
    connect_and_add(bad, &a, 5);
    assert_true(lc_db_run(bad));
    await_durable(bad);
    connect_and_add(good, &b, 1);
    assert_true(lc_db_run(good));
    uint64_t durable_end = lc_db_durable_offset(bad);
    atomic_store(&n_failed, 0);
    atomic_store(&disk_fails, how);
    connect_and_add(bad, &a, 3);
    assert_true(lc_db_run(bad));
    for (int i = 0; i < 1000 && !lc_db_failure(bad); i++) usleep(10000);
    usleep(20000);
    assert_non_null(lc_db_failure(bad));
    assert_non_null(strstr(lc_db_failure(bad), causes[how]));
    assert_non_null(strstr(lc_db_failure(bad), bad_dir));
    assert_int_equal(atomic_load(&n_failed), 1);
    int calls = atomic_load(&disk_calls);
    atomic_store(&disk_fails, 0); /* the disk is well again: that changes nothing */
    struct lc_db_batch *batch = lc_db_batch_new();
    call_add(batch, &a, 9, "never");
    op(batch, LC_OP_CONNECT, &late, 0, "", lc_slice(NULL, 0));
    op(batch, LC_OP_DISCONNECT, &late, 0, "", lc_slice(NULL, 0));
    op(batch, LC_OP_DISCONNECT, &a, 0, "", lc_slice(NULL, 0));
    char want[64];
    snprintf(want, sizeof want, "a:connected=%d a:closed a:closed ", LC_IO);
    run(bad, batch, want);
    struct lc_buf out = {0};
    struct lc_sql_caller owner = {.is_owner = true};
    struct lc_connection_id conn;
    uint64_t offset;
    assert_int_equal(lc_db_http_sql(bad, &owner, lc_slice_str("SELECT * FROM player"), &out, &offset, NULL, &err), LC_IO);
    assert_string_equal(err.text, lc_db_failure(bad));
    assert_int_equal(lc_db_http_connect(bad, &a.identity, lc_slice(NULL, 0), &conn, &err), LC_IO);
    assert_int_equal(lc_db_update(bad, NULL, lc_slice_str("x"), 0, &(struct lc_db_update_policy){.environment = &(struct lc_db_env_update){0}}, &out, &offset, &err), LC_IO);
    connect_and_add(good, &b, 1); /* the other one goes on */
    assert_true(lc_db_run(good));
    await_durable(good);
    assert_null(lc_db_failure(good));
    assert_int_equal(lc_db_durable_offset(bad), durable_end);
    lc_db_close(bad);
    assert_int_equal(atomic_load(&disk_calls), calls);
    assert_int_equal(atomic_load(&n_failed), 1);
    lc_db_close(good);
    bad = open_in(bad_dir, lc_slice(NULL, 0));
    assert_in_range(players(bad), 5, 8); /* confirmed: 5; what came after may be there, in order */
    late.is_connected = false;
    lc_buf_free(&late.out);
    connect_and_add(bad, &late, 2);
    assert_true(lc_db_run(bad));
    await_durable(bad);
    lc_db_close(bad);
    lc_buf_free(&a.out);
    lc_buf_free(&b.out);
    lc_buf_free(&late.out);
    snprintf(command, sizeof command, "rm -rf %s %s", bad_dir, good_dir);
    assert_int_equal(system(command), 0);
  }
}

/* A slow disk: beyond a number of bytes work waits in the inbox, holding up no thread, so that other databases go on; then it is done by itself. */
static void test_slow_disk(void **state) {
  (void)state;
  char slow_dir[64] = "", good_dir[64] = "", command[192];
  struct lc_fs fs = lc_fs_posix;
  restore_handlers();
  fs.write_at = disk_write;
  fs.sync = disk_sync;
  more = (struct lc_db_options){.fs = &fs, .backlog_bytes = 500};
  struct lc_db *slow = open_in(slow_dir, program());
  more = (struct lc_db_options){0};
  struct lc_db *good = open_in(good_dir, program());
  struct lc_db_client a = {.ops = &ops, .user = (void *)(uintptr_t)"a", .confirmed = true, .identity = {{3}}, .connection_id = {{3}}}, b = a;
  atomic_store(&disk_waits, 1);
  int rounds = 0;
  for (; rounds < 100; rounds++) {
    connect_and_add(slow, &a, 4);
    if (!lc_db_run(slow)) break;
    usleep(10000);
  }
  assert_in_range(rounds, 2, 4); /* one batch is being written, one or two fill the bound */
  assert_true(lc_db_waits(slow));
  uint64_t before = players(slow);
  connect_and_add(good, &b, 7);
  assert_true(lc_db_run(good));
  await_durable(good);
  assert_int_equal(players(good), 7);
  assert_false(lc_db_run(slow));
  assert_int_equal(players(slow), before);
  atomic_store(&n_woken, 0);
  atomic_store(&disk_waits, 0);
  for (int i = 0; i < 1000 && !atomic_load(&n_woken); i++) usleep(10000);
  assert_true(atomic_load(&n_woken) > 0);
  for (int i = 0; i < 1000 && lc_db_waits(slow); i++) {
    lc_db_run(slow);
    usleep(1000);
  }
  assert_int_equal(players(slow), 4 * ((uint64_t)rounds + 1));
  await_durable(slow);
  lc_db_close(slow);
  lc_db_close(good);
  lc_buf_free(&a.out);
  lc_buf_free(&b.out);
  snprintf(command, sizeof command, "rm -rf %s %s", slow_dir, good_dir);
  assert_int_equal(system(command), 0);
}

static const int trap_signals[] = {SIGILL, SIGSEGV, SIGFPE, SIGBUS};
static struct sigaction wasmtime_handlers[4];
static int restore_handlers(void) { /* the test runner replaces the handlers that turn signals into traps */
  for (int i = 0; i < 4; i++) sigaction(trap_signals[i], &wasmtime_handlers[i], NULL);
  return 0;
}

/* Vectors of spec/04 §3.2 and spec/06 §16. */
static void migration_tokens(void **state) {
  (void)state;
  static const struct { uint8_t fill[3]; const char *token; } vectors[] = {
      {{0, 0, 0}, "3f9085de3375b48c8374a2ef2bbf70b786d8c2b30878d96c07f0bc7e8209e88c"},
      {{1, 2, 3}, "177300d26552f0de01294b00ed948ce0e18a20f6651009ead9eda7acf92dad21"}};
  struct lc_identity id;
  struct lc_hash old, new, token;
  char hex[65];
  for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
    memset(&id, vectors[i].fill[0], sizeof id);
    memset(&old, vectors[i].fill[1], sizeof old);
    memset(&new, vectors[i].fill[2], sizeof new);
    lc_db_migration_token(&id, &old, &new, &token);
    lc_hex_encode(token.bytes, 32, hex);
    assert_string_equal(hex, vectors[i].token);
  }
  assert_true(lc_identity_parse(lc_slice_str("c20035600353a2e93544d898c6ed0eac323e200c0468300f22958f8b472a265d"), &id));
  lc_keccak256(lc_slice_str("old"), old.bytes);
  lc_keccak256(lc_slice_str("new"), new.bytes);
  lc_db_migration_token(&id, &old, &new, &token);
  lc_hex_encode(token.bytes, 32, hex);
  assert_string_equal(hex, "dac1f240b8256d4a99f9bdbaa6db218bc2721af535277a00e60c09122e8e3014");
}

static enum lc_status copy_record(void *ctx, uint64_t first_offset, struct lc_slice records, uint32_t n_tx, size_t *consumed, struct lc_error *e) {
  (void)e;
  assert_int_equal(n_tx, 1);
  *consumed = records.len;
  if (first_offset) lc_wal_append(ctx, records);
  return LC_OK;
}

/* A folder without the system tables in its log, as versions up to 2.8 wrote it (spec/07 §19 case 51): one transaction more when it is opened, and only then. */
static void test_older_folder(void **state) {
  (void)state;
  restore_handlers();
  char new_dir[64] = "", old_dir[64] = "/tmp/lightcone-db-XXXXXX", command[192];
  static const struct lc_wal_options options;
  struct lc_wal *from, *to;
  struct lc_db *db = open_in(new_dir, program());
  struct lc_db_client a = {.ops = &ops, .user = (void *)(uintptr_t)"a", .confirmed = true, .identity = {{3}}, .connection_id = {{3}}};
  connect_and_add(db, &a, 5);
  while (lc_db_run(db)) {}
  lc_db_close(db);
  lc_buf_free(&a.out);
  assert_non_null(mkdtemp(old_dir));
  assert_int_equal(lc_wal_open(&lc_fs_posix, new_dir, &options, &from, &err), LC_OK);
  assert_int_equal(lc_wal_open(&lc_fs_posix, old_dir, &options, &to, &err), LC_OK);
  if (lc_wal_replay(from, 0, copy_record, to, &err) != LC_OK) fail_msg("%s", err.text);
  uint64_t end = lc_wal_next_offset(to);
  assert_int_equal(end, lc_wal_next_offset(from) - 1);
  lc_wal_submit(to);
  lc_wal_close(from);
  lc_wal_close(to);
  for (int again = 0; again < 3; again++) {
    db = open_in(old_dir, lc_slice(NULL, 0));
    struct lc_read_view view = {.ds = lc_db_datastore(db)};
    assert_int_equal(lc_view_row_count(view, LC_ST_TABLE), 27);
    assert_int_equal(players(db), 5);
    lc_db_close(db);
    assert_int_equal(lc_wal_open(&lc_fs_posix, old_dir, &options, &to, &err), LC_OK);
    assert_int_equal(lc_wal_next_offset(to), end + 2); /* theirs, and a's disconnection, in that order */
    lc_wal_close(to);
  }
  snprintf(command, sizeof command, "rm -rf %s %s", new_dir, old_dir);
  assert_int_equal(system(command), 0);
}

int main(void) {
  lc_log_threshold = LC_LOG_ERROR;
  if (lc_host_init(&err) != LC_OK) return 1;
  for (int i = 0; i < 4; i++) sigaction(trap_signals[i], NULL, &wasmtime_handlers[i]);
  const struct CMUnitTest tests[] = {cmocka_unit_test(migration_tokens), cmocka_unit_test(test_life), cmocka_unit_test(test_snapshots), cmocka_unit_test(test_no_interval), cmocka_unit_test(test_failing_log), cmocka_unit_test(test_slow_disk), cmocka_unit_test(test_older_folder)};
  int rc = cmocka_run_group_tests(tests, NULL, NULL);
  lc_host_shutdown();
  return rc;
}
