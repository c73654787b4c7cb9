/* Taking in a replica folder with every file call and every allocation failing in turn: afterwards the folder that takes is as it was, what is taken in is as it
 * was, the error says what happened, and it can be done again. */
#include "api/server.h"
#include "player_module.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include "failing_fs.h"
#include "failures.h"
#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

static struct lc_error err;
static char root[64], source[80], data[80];
static int64_t allocs_left = -1;
static bool alloc_failed;
static bool may_fail(size_t n) {
  (void)n;
  return allocs_left >= 0 && allocs_left-- == 0 ? (alloc_failed = true) : false;
}
static const int trap_signals[] = {SIGILL, SIGSEGV, SIGFPE, SIGBUS};
static struct sigaction wasmtime_handlers[4];

static void deliver(void *ctx, uint32_t thread, struct lc_db_outbox *o) { (void)ctx, (void)thread, lc_db_outbox_free(o); }
static void durable(void *ctx, struct lc_db *db, uint64_t end) { (void)ctx, (void)db, (void)end; }
static void wake(void *ctx, struct lc_db *db) { (void)ctx, (void)db; }
static void run_add(struct lc_db *db, void *arg) {
  static const struct lc_identity caller = {{5}};
  static const struct lc_connection_id conn = {{5}};
  struct lc_buf args = {0};
  struct lc_reducer_outcome out;
  (void)arg;
  lc_buf_bsatn_str(&args, "somebody with a name that fills segments");
  lc_db_http_call(db, &caller, &conn, lc_slice_str("add"), lc_buf_slice(&args), &out);
  assert_int_equal(out.status, LC_REDUCER_COMMITTED);
  lc_buf_free(&args);
}
static int set_up(void **state) { /* a replica of another installation with several segments */
  (void)state;
  struct lc_db *db;
  for (int i = 0; i < 4; i++) sigaction(trap_signals[i], &wasmtime_handlers[i], NULL); /* the test runner replaces those that turn signals into traps */
  strcpy(root, access("/dev/shm", W_OK) == 0 ? "/dev/shm/lightcone-import-XXXXXX" : "/tmp/lightcone-import-XXXXXX"); /* hundreds of control databases are made */
  if (!mkdtemp(root)) return -1;
  snprintf(source, sizeof source, "%s/22000001", root);
  snprintf(data, sizeof data, "%s/data", root);
  struct lc_db_options o = {.snapshot_interval_transactions = UINT64_MAX, .max_segment_bytes = 1500, .retain_all = true, .dir = source, .env = &lc_env_system, .database_identity = {{1}},
                            .owner_identity = {{2}}, .n_threads = 1, .callbacks = {.deliver = deliver, .durable = durable, .wake = wake}};
  if (lc_db_open(&o, program(), LC_PROGRAM_WASM, &db, &err) != LC_OK) return -1;
  struct lc_db_batch *batch = lc_db_batch_new();
  for (int i = 0; i < 12; i++) lc_db_batch_add(batch, LC_OP_FUNCTION, NULL)->function = run_add;
  lc_db_submit(db, batch);
  while (lc_db_run(db)) {}
  lc_db_close(db);
  return 0;
}
static int tear_down(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", root);
  return system(command);
}

static uint64_t sum_of_source(void) {
  char command[200];
  unsigned long sum = 0;
  snprintf(command, sizeof command, "cd %s && find . -type f | sort | xargs cksum | cksum", source);
  FILE *p = popen(command, "r");
  assert_true(p && fscanf(p, "%lu", &sum) == 1);
  pclose(p);
  return sum;
}
static int n_replicas(void) {
  char path[100];
  int n = 0;
  snprintf(path, sizeof path, "%s/replicas", data);
  DIR *d = opendir(path);
  for (struct dirent *e; d && (e = readdir(d));) n += e->d_name[0] != '.';
  if (d) closedir(d);
  return n;
}
static void no_bad(void *ctx, bool is_bad, const char *text) {
  (void)ctx;
  if (is_bad) fail_msg("%s", text);
}

static void every_failure(bool memory) {
  uint64_t sum = sum_of_source();
  int n_failed = 0;
  for (long i = 0;; i = memory ? next_failure(i, 40, 5) : i + 1) {
    struct lc_fs fs = failing_fs();
    struct lc_identity id;
    char command[128];
    uint64_t n = 0;
    fs_errno = i % 2 ? ENOSPC : EIO;
    alloc_failed = false;
    snprintf(command, sizeof command, "rm -rf %s", data);
    assert_int_equal(system(command), 0);
    assert_int_equal(mkdir(data, 0755), 0);
    lc_alloc_may_fail = memory ? may_fail : NULL;
    allocs_left = memory ? i : -1;
    fs_fail_at(memory ? -1 : i);
    enum lc_status st = server_import(&fs, data, source, "taken", &id, &n, &err);
    bool failed = memory ? alloc_failed : atomic_load(&fs_failed);
    lc_alloc_may_fail = NULL;
    fs_fail_at(-1);
    assert_int_equal(sum_of_source(), sum);
    if (st != LC_OK) {
      n_failed++;
      if (!failed || !(strstr(err.text, memory ? "memory" : strerror(fs_errno)) || strstr(err.text, "read"))) fail_msg("call %ld: %d %s", i, (int)st, err.text);
      if (!memory) assert_non_null(strstr(err.text, root));
      if (n_replicas() != 0) fail_msg("call %ld: files are left", i);
      if (lc_server_import(data, source, "taken", &id, &n, &err) != LC_OK) fail_msg("after call %ld: %s", i, err.text);
    }
    assert_int_equal(n, 14);
    assert_int_equal(n_replicas(), 1);
    if (lc_server_check(data, no_bad, NULL, &err) != LC_OK) fail_msg("%s", err.text);
    assert_int_equal(lc_server_import(data, source, "other", &id, &n, &err), LC_EXISTS);
    if (!failed) break;
  }
  assert_true(n_failed > 40);
}
static void every_file_call(void **state) { (void)state, every_failure(false); }
static void every_allocation(void **state) { (void)state, every_failure(true); }

int main(void) {
  lc_log_threshold = LC_LOG_ERROR;
  if (lc_host_init(&err) != LC_OK) return 1;
  for (int i = 0; i < 4; i++) sigaction(trap_signals[i], NULL, &wasmtime_handlers[i]);
  const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(every_file_call, set_up, tear_down), cmocka_unit_test_setup_teardown(every_allocation, set_up, tear_down)};
  int rc = cmocka_run_group_tests(tests, NULL, NULL);
  lc_host_shutdown();
  return rc;
}
