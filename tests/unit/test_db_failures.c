/* One database with every file call and every allocation failing in turn: publishing, calls, snapshots, new segments, what is removed, an exchange of the program,
 * a restart. After each failure the state is the old one or the new one, nothing that was durable is lost, the error says what it was, nothing leaks, and with a
 * machine that is well it all goes on. */
#include "db/db.h"
#include "player_module.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include "failing_fs.h"
#include "failures.h"
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

static struct lc_error err;
static char dir[64];
static struct lc_slice programs[2]; /* the second: another program, the same tables */
static struct lc_hash hashes[2];

static _Thread_local int64_t allocs_left = -1; /* of this thread, until one fails */
static atomic_long all_allocs_left = -1;       /* of all threads together, but for what the test itself needs */
static _Thread_local bool is_test;
static atomic_bool alloc_failed;
static bool may_fail(size_t n) {
  (void)n;
  bool fails = (allocs_left >= 0 && allocs_left-- == 0) || (!is_test && atomic_load(&all_allocs_left) >= 0 && atomic_fetch_sub(&all_allocs_left, 1) == 0);
  if (fails) atomic_store(&alloc_failed, true);
  return fails;
}
static void fail_alloc(int64_t n) {
  if (n >= 0) atomic_store(&alloc_failed, false);
  allocs_left = n;
  lc_alloc_may_fail = n >= 0 || atomic_load(&all_allocs_left) >= 0 ? may_fail : NULL;
}
static void fail_alloc_of_any(int64_t n) {
  atomic_store(&all_allocs_left, n);
  fail_alloc(-1);
}
/* What is expected to be complained about is not shown. */
static void quiet(bool on) {
  static int kept = -1;
  fflush(stderr);
  if (kept < 0) kept = dup(2);
  if (on && !getenv("LOUD")) assert_non_null(freopen("/dev/null", "w", stderr));
  else dup2(kept, 2);
}
static void fresh_dir(void) {
  strcpy(dir, "/tmp/lightcone-failures-XXXXXX");
  assert_non_null(mkdtemp(dir));
  strcat(dir, "/1"); /* the replica's folder is made by the database */
}
static void remove_dir(void) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf %.*s", (int)strlen(dir) - 2, dir);
  assert_int_equal(system(command), 0);
}
static const int trap_signals[] = {SIGILL, SIGSEGV, SIGFPE, SIGBUS};
static struct sigaction wasmtime_handlers[4];
static int restore_handlers(void **state) { /* the test runner replaces the handlers that turn signals into traps */
  (void)state;
  for (int i = 0; i < 4; i++) sigaction(trap_signals[i], &wasmtime_handlers[i], NULL);
  return 0;
}

/* ---- a database and what can be asked of it ---- */

static void deliver(void *ctx, uint32_t thread, struct lc_db_outbox *o) { (void)ctx, (void)thread, lc_db_outbox_free(o); }
static void durable(void *ctx, struct lc_db *db, uint64_t end) { (void)ctx, (void)db, (void)end; }
static void wake(void *ctx, struct lc_db *db) { (void)ctx, (void)db; }
static enum lc_status open_db(const struct lc_fs *fs, struct lc_slice program_bytes, struct lc_db **db) {
  struct lc_db_options o = {.fs = fs, .snapshot_interval_transactions = 16, .max_segment_bytes = 1500, .dir = dir, .env = &lc_env_system, .database_identity = {{1}}, .owner_identity = {{2}},
                            .n_threads = 1, .callbacks = {.deliver = deliver, .durable = durable, .wake = wake}};
  return lc_db_open(&o, program_bytes, LC_PROGRAM_WASM, db, &err);
}
static struct lc_db *open_well(void) {
  struct lc_db *db;
  if (open_db(NULL, lc_slice(NULL, 0), &db) != LC_OK) fail_msg("%s", err.text);
  return db;
}
/* Runs fn with the baton. */
static void with_baton(struct lc_db *db, void (*fn)(struct lc_db *, void *), void *arg) {
  is_test = true;
  struct lc_db_batch *batch = lc_db_batch_new();
  struct lc_db_op *op = lc_db_batch_add(batch, LC_OP_FUNCTION, NULL);
  op->function = fn;
  op->arg = arg;
  is_test = false;
  lc_db_submit(db, batch);
  while (lc_db_run(db)) {}
}
struct call { int64_t fail_at; enum lc_reducer_status status; char text[400]; uint32_t n_added; };
static void run_add(struct lc_db *db, void *arg) {
  struct call *c = arg;
  static const struct lc_identity caller = {{5}};
  static const struct lc_connection_id conn = {{5}};
  struct lc_buf args = {0};
  struct lc_reducer_outcome out = {0};
  is_test = true;
  lc_buf_bsatn_str(&args, "somebody with a name that fills segments");
  is_test = false;
  fail_alloc(c->fail_at);
  if (!lc_db_failure(db)) lc_db_http_call(db, &caller, &conn, lc_slice_str("add"), lc_buf_slice(&args), &out);
  else out = (struct lc_reducer_outcome){.status = LC_REDUCER_FAILED_INTERNAL, .message = lc_slice_str(lc_db_failure(db))};
  fail_alloc(-1);
  c->status = out.status;
  c->n_added += out.status == LC_REDUCER_COMMITTED;
  snprintf(c->text, sizeof c->text, "%.*s", (int)out.message.len, (const char *)out.message.data);
  lc_buf_free(&args);
}
struct update { int64_t fail_at; struct lc_module *module; enum lc_status status; struct lc_error err; uint64_t offset; };
static void run_update(struct lc_db *db, void *arg) {
  struct update *u = arg;
  struct lc_buf reasons = {0};
  fail_alloc(u->fail_at);
  u->status = lc_db_update(db, u->module, programs[1], LC_PROGRAM_WASM, &(struct lc_db_update_policy){.environment = &(struct lc_db_env_update){0}}, &reasons, &u->offset, &u->err);
  fail_alloc(-1);
  lc_buf_free(&reasons);
}
struct seen { uint32_t players; int program; };
static void run_look(struct lc_db *db, void *arg) {
  struct seen *s = arg;
  struct lc_read_view view = {.ds = lc_db_datastore(db)};
  struct lc_row_iter *it;
  uint64_t id;
  s->players = 0;
  assert_int_equal(lc_view_scan(view, lc_datastore_table_by_name(view.ds, lc_slice_str("player"))->table_id, &it), LC_ERRNO_OK);
  for (struct lc_slice row; (row = lc_row_iter_next(it)).data;) { /* a prefix: no number is missing or comes twice */
    memcpy(&id, row.data, 8);
    assert_int_equal(id, ++s->players);
  }
  lc_row_iter_close(it);
  s->program = memcmp(lc_db_program_hash(db), &hashes[1], sizeof hashes[1]) == 0;
  assert_memory_equal(lc_db_program_hash(db), &hashes[s->program], sizeof hashes[0]);
  struct lc_module_facts facts;
  assert_int_equal(lc_datastore_module(view.ds, &facts), LC_OK);
  assert_memory_equal(&facts.program_hash, &hashes[s->program], sizeof hashes[0]);
  assert_true(lc_slice_eq(facts.program_bytes, programs[s->program]));
}
static struct seen look(struct lc_db *db) {
  struct seen s;
  with_baton(db, run_look, &s);
  return s;
}
/* All that has been done is durable, or the log has failed. */
static bool settled(struct lc_db *db) {
  uint64_t end;
  for (int i = 0; i < 20000; i++) {
    end = lc_db_next_offset(db); /* nobody else has the baton */
    if (lc_db_failure(db)) return false;
    if (lc_db_durable_offset(db) >= end) return true;
    usleep(500);
  }
  fail_msg("neither durable nor failed");
  return false;
}
static bool add(struct lc_db *db, uint32_t n, struct call *c) {
  c->fail_at = -1;
  while (n--) with_baton(db, run_add, c);
  return settled(db);
}

/* ---- files ---- */

/* What must be there after a life, and what may. */
struct promise { bool published; uint32_t least, most; bool may_be_old, may_be_new; };

/* A life: publish or start, calls, another program, calls; snapshots and segments come by themselves. The i-th file call fails. */
static struct promise live(const struct lc_fs *fs, bool is_new, struct promise before, long i) {
  struct promise p = before;
  struct lc_db *db;
  struct call c = {.n_added = before.most};
  fs_fail_at(i);
  enum lc_status st = open_db(fs, is_new ? programs[0] : lc_slice(NULL, 0), &db);
  if (st != LC_OK) {
    if (!atomic_load(&fs_failed) || st == LC_NOMEM || !err.text[0]) fail_msg("file call %ld: %d %s", i, (int)st, err.text);
    if (!strstr(err.text, "/tmp/lightcone-failures-")) fail_msg("file call %ld, no place is named: %s", i, err.text);
    return p;
  }
  p.published = true;
  bool ok = true;
  for (int k = 0; k < 12 && ok; k++) {
    ok = add(db, 2, &c);
    p.most = c.n_added;
    if (ok) p.least = c.n_added;
    if (ok && k == 5) lc_db_request_snapshot(db);
    if (ok && k == 7 && is_new) {
      struct update u = {.fail_at = -1};
      assert_int_equal(lc_db_load_program(db, programs[1], LC_PROGRAM_WASM, &u.module, &err), LC_OK);
      with_baton(db, run_update, &u);
      lc_module_unref(u.module);
      if (u.status == LC_OK) p.may_be_new = true;
      else assert_true(u.status == LC_IO && lc_db_failure(db));
      ok = settled(db);
      if (ok) p.may_be_old = false;
    }
  }
  if (!ok) {
    assert_true(atomic_load(&fs_failed));
    assert_non_null(strstr(lc_db_failure(db), "its commit log failed: writing transactions from offset "));
    assert_non_null(strstr(lc_db_failure(db), strerror(fs_errno)));
    add(db, 1, &c); /* refused with the reason */
    assert_true(c.n_added == p.most && strstr(c.text, "commit log failed"));
  }
  lc_db_close(db);
  return p;
}
static void every_file_call(void **state) {
  (void)state;
  int n_published = 0, n_unpublished = 0;
  quiet(true);
  for (int is_new = 1; is_new >= 0; is_new--)
    for (long i = 0;; i++) {
      struct lc_fs fs = failing_fs();
      struct promise p = {.may_be_old = true};
      struct call c = {0};
      struct lc_db *db;
      fs_errno = i % 2 ? ENOSPC : EIO;
      fresh_dir();
      if (!is_new) p = live(&lc_fs_posix, true, p, -1);
      p = live(&fs, is_new, p, i);
      bool failed = atomic_load(&fs_failed);
      fs_fail_at(-1);
      if (!p.published) { /* nothing of it is left, and it can be done again in that very folder */
        n_unpublished++;
        if (open_db(NULL, programs[0], &db) != LC_OK) fail_msg("file call %ld: %s", i, err.text);
      } else {
        n_published++;
        if (open_db(NULL, lc_slice(NULL, 0), &db) != LC_OK) fail_msg("file call %ld: %s", i, err.text);
      }
      struct seen s = look(db);
      if (s.players < p.least || s.players > p.most) fail_msg("file call %ld: %u rows, expected %u to %u", i, s.players, p.least, p.most);
      if (!(s.program ? p.may_be_new : p.may_be_old)) fail_msg("file call %ld: program %d", i, s.program);
      assert_true(add(db, 20, &c));
      assert_int_equal(c.n_added, 20);
      lc_db_close(db);
      db = open_well();
      struct seen again = look(db);
      assert_int_equal(again.players, s.players + 20);
      assert_int_equal(again.program, s.program);
      lc_db_close(db);
      remove_dir();
      if (!failed) break;
    }
  quiet(false);
  assert_true(n_unpublished > 10 && n_published > 60);
}

/* ---- memory: of the thread that has the baton or opens; the writers of logs and snapshots have tests of their own ---- */

static void every_allocation_of_publishing(void **state) {
  (void)state;
  int n_failed = 0;
  quiet(true);
  for (long i = 0;; i = next_failure(i, 60, 9)) {
    struct lc_db *db;
    struct call c = {0};
    fresh_dir();
    fail_alloc(i);
    enum lc_status st = open_db(NULL, programs[0], &db);
    fail_alloc(-1);
    if (st != LC_OK) {
      n_failed++;
      if (!alloc_failed || !(strstr(err.text, "memory"))) fail_msg("allocation %ld: %d %s", i, (int)st, err.text);
      if (open_db(NULL, programs[0], &db) != LC_OK) fail_msg("after allocation %ld: %s", i, err.text);
    }
    bool failed = alloc_failed;
    assert_true(add(db, 3, &c));
    assert_int_equal(c.n_added, 3);
    lc_db_close(db);
    db = open_well();
    assert_int_equal(look(db).players, 3);
    lc_db_close(db);
    remove_dir();
    if (!failed) break;
  }
  quiet(false);
  assert_true(n_failed > 60);
}

static void every_allocation_of_a_restart(void **state) {
  (void)state;
  struct lc_db *db;
  struct call c = {0};
  int n_failed = 0;
  quiet(true);
  fresh_dir();
  assert_int_equal(open_db(NULL, programs[0], &db), LC_OK);
  assert_true(add(db, 40, &c));
  lc_db_close(db);
  for (long i = 0;; i = next_failure(i, 60, 9)) {
    fail_alloc(i);
    enum lc_status st = open_db(NULL, lc_slice(NULL, 0), &db);
    fail_alloc(-1);
    if (st == LC_OK) {
      assert_int_equal(look(db).players, 40);
      lc_db_close(db);
    } else {
      n_failed++;
      if (!alloc_failed || !strstr(err.text, "memory")) fail_msg("allocation %ld: %d %s", i, (int)st, err.text);
    }
    if (!alloc_failed) break;
  }
  db = open_well();
  assert_int_equal(look(db).players, 40);
  lc_db_close(db);
  remove_dir();
  quiet(false);
  assert_true(n_failed > 60);
}

static void every_allocation_of_a_call(void **state) {
  (void)state;
  struct lc_db *db;
  uint32_t n_failed = 0, n_added = 0;
  quiet(true);
  fresh_dir();
  for (int fresh = 1; fresh >= 0; fresh--) { /* the first call of a program takes more than the others */
    for (long i = 0;; i++) {
      if (fresh || i == 0) {
        if (n_added) assert_int_equal((lc_db_close(db), open_db(NULL, lc_slice(NULL, 0), &db)), LC_OK);
        else assert_int_equal(open_db(NULL, programs[0], &db), LC_OK);
      }
      struct call c = {.fail_at = i};
      with_baton(db, run_add, &c);
      bool failed = alloc_failed;
      if (c.status != LC_REDUCER_COMMITTED) {
        n_failed++;
        assert_true(failed && c.text[0]);
      }
      n_added += c.n_added;
      assert_int_equal(look(db).players, n_added);
      c = (struct call){.fail_at = -1}; /* the next one finds nothing of it */
      with_baton(db, run_add, &c);
      if (c.status != LC_REDUCER_COMMITTED) fail_msg("after allocation %ld: %s", i, c.text);
      n_added++;
      assert_true(settled(db));
      if (!failed) break;
    }
  }
  lc_db_close(db);
  db = open_well();
  assert_int_equal(look(db).players, n_added);
  lc_db_close(db);
  remove_dir();
  quiet(false);
  assert_true(n_failed > 3);
}

static void every_allocation_of_an_update(void **state) {
  (void)state;
  int n_failed = 0;
  quiet(true);
  for (long i = 0;; i = next_failure(i, 60, 9)) {
    struct lc_db *db;
    struct call c = {0};
    struct update u = {.fail_at = i};
    fresh_dir();
    assert_int_equal(open_db(NULL, programs[0], &db), LC_OK);
    assert_true(add(db, 3, &c));
    assert_int_equal(lc_db_load_program(db, programs[1], LC_PROGRAM_WASM, &u.module, &err), LC_OK);
    with_baton(db, run_update, &u);
    bool failed = alloc_failed;
    if (u.status != LC_OK) {
      n_failed++;
      if (!failed || !strstr(u.err.text, "memory")) fail_msg("allocation %ld: %d %s", i, (int)u.status, u.err.text);
    }
    struct seen s = look(db);
    assert_int_equal(s.program, u.status == LC_OK);
    assert_true(add(db, 3, &c)); /* the one that runs, runs */
    assert_int_equal(c.n_added, 6);
    if (u.status != LC_OK) { /* once more */
      u.fail_at = -1;
      with_baton(db, run_update, &u);
      assert_int_equal(u.status, LC_OK);
      assert_true(settled(db));
    }
    lc_module_unref(u.module);
    lc_db_close(db);
    db = open_well();
    s = look(db);
    assert_true(s.program && s.players == 6);
    lc_db_close(db);
    remove_dir();
    if (!failed) break;
  }
  quiet(false);
  assert_true(n_failed > 5);
}

/* One allocation of a whole life fails, of whatever thread it is: publish, calls, snapshots, new segments and their compression, another program, calls, restart, close. A
 * publish, a call, an exchange of the program may fail then, and nothing else: the log goes on, what was committed becomes durable and is there after the restart. */
static void every_allocation_of_a_life(void **state) {
  (void)state;
  int n_refused = 0, n_unharmed = 0;
  quiet(true);
  for (long i = 0;; i = next_failure(i, 10, 9)) {
    struct lc_db *db = NULL;
    struct call c = {0};
    struct update u = {.fail_at = -1};
    uint32_t n_failed = 0;
    fresh_dir();
    atomic_store(&alloc_failed, false);
    fail_alloc_of_any(i);
    if (open_db(NULL, programs[0], &db) != LC_OK) {
      n_failed++;
      if (!alloc_failed || !strstr(err.text, "memory")) fail_msg("allocation %ld: %s", i, err.text);
      if (open_db(NULL, programs[0], &db) != LC_OK) fail_msg("after allocation %ld: %s", i, err.text);
    }
    for (uint32_t k = 0; k < 24; k++) {
      uint32_t had = c.n_added;
      if (!add(db, 1, &c)) fail_msg("allocation %ld: %s", i, lc_db_failure(db));
      if (c.n_added == had) n_failed++, assert_true(alloc_failed && c.text[0]);
      if (k == 11) lc_db_request_snapshot(db);
      if (k != 15) continue;
      enum lc_status st = lc_db_load_program(db, programs[1], LC_PROGRAM_WASM, &u.module, &err);
      if (st == LC_OK) {
        with_baton(db, run_update, &u);
        lc_module_unref(u.module);
        st = u.status;
        err = u.err;
      } else u.status = st;
      if (st != LC_OK) {
        n_failed++;
        if (!alloc_failed || !strstr(err.text, "memory")) fail_msg("allocation %ld: %d %s", i, (int)st, err.text);
      }
    }
    assert_in_range(c.n_added, 23, 24);
    lc_db_close(db);
    if (open_db(NULL, lc_slice(NULL, 0), &db) != LC_OK) {
      n_failed++;
      if (!alloc_failed || !strstr(err.text, "memory")) fail_msg("allocation %ld: %s", i, err.text);
      db = open_well();
    }
    fail_alloc_of_any(-1);
    assert_in_range(n_failed, 0, alloc_failed); /* one, or something did without */
    n_refused += n_failed == 1;
    n_unharmed += alloc_failed && n_failed == 0;
    struct seen s = look(db);
    assert_int_equal(s.players, c.n_added);
    assert_int_equal(s.program, u.status == LC_OK);
    assert_true(add(db, 3, &c));
    lc_db_close(db);
    db = open_well();
    assert_int_equal(look(db).players, s.players + 3);
    lc_db_close(db);
    remove_dir();
    if (!alloc_failed) break;
  }
  quiet(false);
  assert_true(n_refused > 20 && n_unharmed > 3);
  print_message("%d refusals, %d that nobody noticed\n", n_refused, n_unharmed);
}

int main(void) {
  lc_log_threshold = LC_LOG_ERROR;
  if (lc_host_init(&err) != LC_OK) return 1;
  for (int i = 0; i < 4; i++) sigaction(trap_signals[i], NULL, &wasmtime_handlers[i]);
  static uint8_t bytes[2][1 << 16];
  for (int i = 0; i < 2; i++) {
    struct lc_slice p = program();
    memcpy(bytes[i], p.data, p.len);
    if (i) memcpy(bytes[i] + p.len, "\0\4\3new", 6), p.len += 6; /* a custom section */
    programs[i] = lc_slice(bytes[i], p.len);
    lc_keccak256(programs[i], hashes[i].bytes);
  }
#define TEST(f) cmocka_unit_test_setup(f, restore_handlers)
  const struct CMUnitTest tests[] = {TEST(every_file_call), TEST(every_allocation_of_publishing), TEST(every_allocation_of_a_restart), TEST(every_allocation_of_a_call),
                                     TEST(every_allocation_of_an_update), TEST(every_allocation_of_a_life)};
  int rc = cmocka_run_group_tests(tests, NULL, NULL);
  lc_host_shutdown();
  return rc;
}
