/* The Wasm host with hand-written modules: checks and their texts, start-up order, outcomes of calls, budget, handles, tables. */
#include "golden_modules.h"
#include "host/host.h"
#include "wat.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <signal.h>

static struct lc_error err;
static char log_text[4096];
static void on_log(void *ctx, const struct lc_module_log_record *rec) {
  (void)ctx;
  snprintf(log_text, sizeof log_text, "%d|%.*s|%.*s", rec->level, (int)rec->function.len, (const char *)rec->function.data, (int)rec->message.len, (const char *)rec->message.data);
}
static struct lc_host_env host_env = {.env = &lc_env_system, .database_identity = {{7}}, .log = on_log};

#define IMPORTS                                                                                                                                       \
  "(import \"spacetime_10.0\" \"bytes_sink_write\" (func $sink (param i32 i32 i32) (result i32)))"                                                    \
  "(import \"spacetime_10.0\" \"table_id_from_name\" (func $table (param i32 i32 i32) (result i32)))"                                                 \
  "(import \"spacetime_10.0\" \"datastore_insert_bsatn\" (func $insert (param i32 i32 i32) (result i32)))"                                            \
  "(import \"spacetime_10.0\" \"bytes_source_read\" (func $read (param i32 i32 i32) (result i32)))"                                                   \
  "(import \"spacetime_10.1\" \"bytes_source_remaining_length\" (func $left (param i32 i32) (result i32)))"
#define MEMORY "(memory (export \"memory\") 2)"
/* describes the module whose definition lies at 1024 (length at 1020) */
#define DESCRIBE(data, len)                                                                                                                            \
  "(data (i32.const 1020) \"" len data "\")(func (export \"__describe_module__\") (param i32) (drop (call $sink (local.get 0) (i32.const 1024) (i32.const 1020))))"
#define EMPTY DESCRIBE("\\02\\00\\00\\00\\00", "\\05\\00\\00\\00")
#define REDUCER_TYPE "(param $id i32) (param i64 i64 i64 i64 i64 i64 i64) (param $args i32) (param $err i32) (result i32)"
#define NO_REDUCER "(func (export \"__call_reducer__\") " REDUCER_TYPE " (i32.const 0))"

static void expect_load_error(const char *wat, const char *text) {
  struct lc_module *m;
  assert_int_not_equal(lc_module_load(assemble(wat), LC_PROGRAM_WASM, NULL, &host_env, &m, &err), LC_OK);
  if (!strstr(err.text, text)) fail_msg("expected: %s\n     got: %s", text, err.text);
}

static void test_checks(void **state) { /* spec/02 §16 cases 1-3, 5; spec/07 §3.1 */
  (void)state;
  struct lc_module *m;
  expect_load_error("(module " MEMORY ")", "unable to determine ABI of module (may be on an spacetime version < 0.8)");
  expect_load_error("(module (import \"spacetime_10.7\" \"x\" (func)))", "abi version 10.7 is not supported (host implements 10.6)");
  expect_load_error("(module (import \"spacetime_x\" \"x\" (func)))", "import module \"spacetime_x\" has malformed version string");
  expect_load_error("(module (import \"spacetime_9.0\" \"x\" (func)) (import \"spacetime_10.0\" \"y\" (func)))", "module cannot depend on both major version 9 and major version 10");
  expect_load_error("(module (import \"spacetime_10.0\" \"identity\" (func (param i32))))", "there should be a memory export called \"memory\" but it does not exist");
  expect_load_error("(module " IMPORTS MEMORY ")", "there should be a function called \"__call_reducer__\" but it does not exist");
  expect_load_error("(module " IMPORTS MEMORY NO_REDUCER ")", "there should be a function called \"__describe_module__\" but it does not exist");
  expect_load_error("(module " IMPORTS MEMORY NO_REDUCER "(func (export \"__describe_module__\")))",
                    "bad describe_module signature for \"__describe_module__\"; expected (func (param i32)) got (func)");
  expect_load_error("(module " IMPORTS "(import \"spacetime_10.0\" \"datastore_clear\" (func (param i32 i32) (result i32)))" MEMORY NO_REDUCER EMPTY ")", "datastore_clear");
  expect_load_error("(module " IMPORTS "(import \"wasi_snapshot_preview1\" \"fd_write\" (func))" MEMORY NO_REDUCER EMPTY ")", "fd_write");
  expect_load_error("(module " IMPORTS MEMORY NO_REDUCER EMPTY "(func $s)(start $s))", "wasm trap: all fuel consumed by WebAssembly");
  expect_load_error("(module " IMPORTS MEMORY NO_REDUCER EMPTY "(data (i32.const 512) \"bad\\03\\00\\00\\00\")(func (export \"__setup__\") (param i32) (result i32)"
                    "(drop (call $sink (local.get 0) (i32.const 512) (i32.const 515))) (i32.const 1)))", "setup function returned an error: bad");
  expect_load_error("(module " IMPORTS MEMORY NO_REDUCER EMPTY "(func (export \"__call_view__\")))", "__call_view__ export is a function with incorrect type");
  assert_int_not_equal(lc_module_load(lc_slice_str("not a module"), LC_PROGRAM_WASM, NULL, &host_env, &m, &err), LC_OK);
  struct lc_slice good = assemble("(module " IMPORTS MEMORY NO_REDUCER EMPTY ")");
  assert_int_equal(lc_module_load(good, LC_PROGRAM_WASM, NULL, &host_env, &m, &err), LC_OK);
  lc_module_unref(m);
  for (size_t n = 0; n < good.len; n += 3) assert_int_not_equal(lc_module_load(lc_slice(good.data, n), LC_PROGRAM_WASM, NULL, &host_env, &m, &err), LC_OK);
}

/* id 0: counts calls in a global and fails at the fourth; 1: trap; 2: endless loop; 3: error "abc" in two writes; 4: code 5;
 * 5: recursion without end; 6: inserts its arguments into table "player"; 7: NULL pointer; 8: sources and errnos */
static const char behaviour[] =
    "(module " IMPORTS MEMORY EMPTY
    "(global $n (mut i32) (i32.const 0)) (global $order (mut i32) (i32.const 0))"
    "(func $digit (param i32) (global.set $order (i32.add (i32.mul (global.get $order) (i32.const 10)) (local.get 0))))"
    "(func (export \"__preinit__20_b\") (call $digit (i32.const 3)))"
    "(func (export \"__preinit__10_a\") (call $digit (i32.const 2)))"
    "(func (export \"_initialize\") (call $digit (i32.const 1)))"
    "(func (export \"__setup__\") (param i32) (result i32) (call $digit (i32.const 4)) (i32.const 0))"
    "(data (i32.const 512) \"abc\") (data (i32.const 520) \"\\02\\00\\00\\00\\01\\00\\00\\00\") (data (i32.const 540) \"player\")"
    "(func $deep (param i32) (result i32) (i32.add (i32.const 1) (call $deep (local.get 0))))"
    "(func $check (param i32) (if (i32.eqz (local.get 0)) (then unreachable)))"
    "(func $call (export \"__call_reducer__\") " REDUCER_TYPE
    " (if (i32.eq (local.get $id) (i32.const 1)) (then unreachable))"
    " (if (i32.eq (local.get $id) (i32.const 2)) (then (loop $l (br $l))))"
    " (if (i32.eq (local.get $id) (i32.const 3)) (then"
    "   (drop (call $sink (local.get $err) (i32.const 512) (i32.const 520)))"
    "   (drop (call $sink (local.get $err) (i32.const 514) (i32.const 524))) (return (i32.const 1))))"
    " (if (i32.eq (local.get $id) (i32.const 4)) (then (return (i32.const 5))))"
    " (if (i32.eq (local.get $id) (i32.const 5)) (then (return (call $deep (i32.const 0)))))"
    " (if (i32.eq (local.get $id) (i32.const 6)) (then"
    "   (call $check (i32.eqz (call $table (i32.const 540) (i32.const 6) (i32.const 560))))"
    "   (i32.store (i32.const 564) (i32.const 1000))"
    "   (call $check (i32.eq (call $read (local.get $args) (i32.const 2048) (i32.const 564)) (i32.const -1)))"
    "   (return (call $insert (i32.load (i32.const 560)) (i32.const 2048) (i32.const 564)))))"
    " (if (i32.eq (local.get $id) (i32.const 7)) (then (drop (call $table (i32.const 0) (i32.const 0) (i32.const 560)))))"
    " (if (i32.eq (local.get $id) (i32.const 8)) (then"
    "   (call $check (i32.eq (call $left (i32.const 99) (i32.const 560)) (i32.const 8)))"
    "   (call $check (i32.eq (call $sink (i32.const 99) (i32.const 512) (i32.const 520)) (i32.const 8)))"
    "   (call $check (i32.eq (call $table (i32.const 512) (i32.const 3) (i32.const 560)) (i32.const 4)))"
    "   (call $check (i32.eqz (call $left (local.get $args) (i32.const 560))))"
    "   (call $check (i32.eq (i32.load (i32.const 560)) (i32.const 8)))"
    "   (i32.store (i32.const 564) (i32.const 3))"
    "   (call $check (i32.eqz (call $read (local.get $args) (i32.const 2048) (i32.const 564))))"
    "   (call $check (i32.eq (i32.load (i32.const 564)) (i32.const 3)))"
    "   (i32.store (i32.const 564) (i32.const 10))"
    "   (call $check (i32.eq (call $read (local.get $args) (i32.const 2048) (i32.const 564)) (i32.const -1)))"
    "   (call $check (i32.eq (i32.load (i32.const 564)) (i32.const 5)))"
    "   (call $check (i32.eq (call $read (local.get $args) (i32.const 2048) (i32.const 564)) (i32.const 8)))"
    "   (return (i32.const 0))))"
    " (call $check (i32.eq (global.get $order) (i32.const 1234)))"
    " (global.set $n (i32.add (global.get $n) (i32.const 1)))"
    " (if (result i32) (i32.eq (global.get $n) (i32.const 4)) (then (i32.const 1)) (else (i32.const 0)))))";

static struct lc_module *module;
static struct lc_instance *instance;
static struct lc_call_result result;

static void call(uint32_t id, struct lc_slice args) {
  struct lc_call_args c = {.function_name = lc_slice_str("f"), .id = id, .timestamp_us = 1, .args = args};
  if (!instance) assert_int_equal(lc_instance_new(module, &host_env, &instance, &err), LC_OK);
  lc_instance_call_reducer(instance, &c, &result);
  assert_int_equal(result.instance_dead, result.status == LC_CALL_BUDGET || (result.status == LC_CALL_FATAL && id != 4));
}
static void replace(void) {
  assert_true(result.instance_dead);
  lc_instance_free(instance);
  instance = NULL;
}

static int restore_handlers(void **state);
static void test_calls(void **state) { /* spec/02 §16 cases 4, 6-12 */
  restore_handlers(state);
  struct lc_host_limits limits = {.call_time_budget_us = 200000};
  if (lc_module_load(assemble(behaviour), LC_PROGRAM_WASM, &limits, &host_env, &module, &err) != LC_OK) fail_msg("%s", err.text);
  struct lc_module_def *def;
  uint8_t g1[512];
  assert_true(lc_hex_decode(g1_hex, strlen(g1_hex), g1));
  assert_int_equal(lc_module_def_decode(lc_slice(g1, strlen(g1_hex) / 2), &def, &err), LC_OK);
  assert_int_equal(lc_datastore_new(&lc_env_system, &host_env.ds, &err), LC_OK);
  struct lc_module_facts facts = {.program_bytes = lc_slice_str("x")};
  host_env.tx = lc_tx_begin(host_env.ds);
  assert_int_equal(lc_schema_create(host_env.tx, def, &facts, &err), LC_OK);
  struct lc_slice none = {0};
  for (int i = 0; i < 3; i++) {
    call(0, none);
    assert_int_equal(result.status, LC_CALL_OK);
  }
  call(0, none); /* the count went on: the fourth returns 1 */
  assert_int_equal(result.status, LC_CALL_USER_ERROR);
  call(1, none);
  assert_int_equal(result.status, LC_CALL_FATAL);
  replace();
  call(0, none); /* a fresh instance counts from the beginning, after the whole start-up sequence */
  assert_int_equal(result.status, LC_CALL_OK);
  call(3, none);
  assert_int_equal(result.status, LC_CALL_USER_ERROR);
  assert_true(lc_slice_eq_str(result.message, "abc"));
  assert_string_equal(log_text, "0|f|abc");
  call(4, none);
  assert_int_equal(result.status, LC_CALL_FATAL);
  call(8, lc_slice("\x03\0\0\0bob!", 8));
  assert_int_equal(result.status, LC_CALL_OK);
  call(6, lc_slice("\0\0\0\0\0\0\0\0\3\0\0\0bob", 15));
  assert_int_equal(result.status, LC_CALL_OK);
  call(2, none);
  assert_int_equal(result.status, LC_CALL_BUDGET);
  replace();
  call(5, none);
  assert_int_equal(result.status, LC_CALL_FATAL);
  replace();
  call(7, none);
  assert_int_equal(result.status, LC_CALL_FATAL);
  assert_non_null(strstr((const char *)result.message.data, "null pointer passed to a spacetime function"));
  replace();
  uint64_t n;
  assert_int_equal(lc_tx_row_count(host_env.tx, LC_FIRST_USER_ID, &n), LC_ERRNO_OK);
  assert_int_equal(n, 1);
  lc_tx_rollback(host_env.tx);
  lc_module_unref(module);
  lc_module_def_free(def);
  lc_datastore_free(host_env.ds);
}

/* Traps arrive as signals, whose handlers the test runner replaces before each test: put Wasmtime's back. */
static const int trap_signals[] = {SIGILL, SIGSEGV, SIGFPE, SIGBUS};
static struct sigaction wasmtime_handlers[4];
static int restore_handlers(void **state) {
  (void)state;
  for (int i = 0; i < 4; i++) sigaction(trap_signals[i], &wasmtime_handlers[i], NULL);
  return 0;
}

/* env_get of its arguments' bytes as the key; answers errno, `-` (absent) or `=` and the value. id 1: after as many reads of "K" as may be unread. */
static const char environment[] =
    "(module " IMPORTS "(import \"spacetime_10.6\" \"env_get\" (func $env (param i32 i32 i32) (result i32)))" MEMORY
    /* declares K, E, O (optional) and R */
    DESCRIBE("\\02\\01\\00\\00\\00\\0f\\04\\00\\00\\00\\01\\00\\00\\00K\\00\\00\\01\\00\\00\\00E\\00\\00\\01\\00\\00\\00O\\00\\01\\01\\00\\00\\00R\\00\\00", "\\26\\00\\00\\00")
    "(data (i32.const 300) \"0-=K\") (data (i32.const 310) \"\\01\\00\\00\\00\")"
    "(func $say (param $to i32) (param i32) (drop (call $sink (local.get $to) (local.get 1) (i32.const 310))))"
    "(func (export \"__call_reducer__\") " REDUCER_TYPE " (local $rc i32) (local $n i32)"
    " (i32.store (i32.const 100) (i32.const 1000))"
    " (drop (call $read (local.get $args) (i32.const 2048) (i32.const 100)))"
    " (local.set $n (i32.const 256))"
    " (if (i32.eq (local.get $id) (i32.const 1)) (then (loop $l (drop (call $env (i32.const 303) (i32.const 1) (i32.const 200)))"
    "   (local.set $n (i32.sub (local.get $n) (i32.const 1))) (br_if $l (local.get $n)))))"
    " (local.set $rc (call $env (i32.const 2048) (i32.load (i32.const 100)) (i32.const 200)))"
    " (if (local.get $rc) (then (i32.store8 (i32.const 299) (i32.add (i32.const 48) (local.get $rc))) (call $say (local.get $err) (i32.const 299)) (return (i32.const 1))))"
    " (if (i32.eqz (i32.load (i32.const 200))) (then (call $say (local.get $err) (i32.const 301)) (return (i32.const 1))))"
    " (call $say (local.get $err) (i32.const 302)) (i32.store (i32.const 100) (i32.const 1000))"
    " (if (i32.ne (call $read (i32.load (i32.const 200)) (i32.const 2048) (i32.const 100)) (i32.const -1)) (then unreachable))"
    " (drop (call $sink (local.get $err) (i32.const 2048) (i32.const 100))) (i32.const 1)))";

static struct lc_datastore *environment_of(const struct lc_hash *program, const struct lc_module_def *def) {
  struct lc_datastore *ds;
  struct lc_module_facts facts = {.program_bytes = lc_slice_str("x"), .program_hash = *program};
  static const char *const values[][2] = {{"K", "value"}, {"E", ""}, {"UNDECLARED", "hidden"}};
  assert_int_equal(lc_datastore_new(&lc_env_system, &ds, &err), LC_OK);
  struct lc_tx *tx = lc_tx_begin(ds);
  assert_int_equal(lc_schema_create(tx, def, &facts, &err), LC_OK);
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
    struct lc_buf row = {0}, none = {0};
    lc_buf_bsatn_str(&row, values[i][0]);
    lc_buf_bsatn_str(&row, values[i][1]);
    assert_int_equal(lc_tx_insert(tx, LC_ST_ENV, lc_buf_slice(&row), &none, NULL, &err), LC_ERRNO_OK);
    lc_buf_free(&row);
    lc_buf_free(&none);
  }
  const struct lc_tx_delta *delta;
  lc_tx_commit(tx, &delta);
  lc_tx_delta_release(ds, delta);
  return ds;
}

static int entered;
static void on_enter(void *ctx) { (void)ctx, entered++; }

/* What the key gives: the answer, or the text of the trap. */
static void get(uint32_t id, const char *function, const char *key, const char *want) {
  struct lc_call_args c = {.function_name = lc_slice_str(function), .id = id, .args = lc_slice_str(key)};
  if (!instance) assert_int_equal(lc_instance_new(module, &host_env, &instance, &err), LC_OK);
  lc_instance_call_reducer(instance, &c, &result);
  char got[4096];
  snprintf(got, sizeof got, "%.*s", (int)result.message.len, (const char *)result.message.data);
  if (result.status == LC_CALL_USER_ERROR ? strcmp(got, want) != 0 : !strstr(got, want)) fail_msg("%s: expected %s, got %s", key, want, got);
  if (result.instance_dead) replace();
}

static void test_environment(void **state) { /* spec/07 §3.2, §19 cases 3 to 8 */
  restore_handlers(state);
  host_env = (struct lc_host_env){.env = &lc_env_system, .database_identity = {{7}}, .log = on_log};
  struct lc_hash other = {{1}};
  char long_key[258];
  memset(long_key, 'A', 257);
  long_key[257] = 0;
  if (lc_module_load(assemble(environment), LC_PROGRAM_WASM, NULL, &host_env, &module, &err) != LC_OK) fail_msg("%s", err.text);
  host_env.ds = environment_of(lc_module_hash(module), lc_module_definition(module));
  host_env.tx = lc_tx_begin(host_env.ds);
  get(0, "f", "K", "=value");
  get(0, "f", "E", "="); /* present and empty: a source that is exhausted at once */
  get(0, "f", "O", "-");
  get(0, "f", "R", "required environment value is missing from the published configuration");
  get(0, "f", "1BAD", "1");
  get(0, "f", "A-B", "1");
  get(0, "f", long_key, "1");
  get(0, "f", "UNDECLARED", "environment key is not declared");
  get(0, "ns.f", "K", "environment access requires a host-dispatched root module function");
  get(1, "f", "K", "9"); /* 256 sources are unread */
  get(1, "f", "O", "-");
  get(0, "f", "K", "=value");
  lc_tx_rollback(host_env.tx);
  host_env.tx = NULL;
  get(0, "f", "K", "2"); /* no transaction, and no way to read without one */
  host_env.enter = on_enter;
  host_env.leave = on_enter;
  get(0, "f", "K", "=value");
  assert_int_equal(entered, 2);
  lc_datastore_free(host_env.ds);
  host_env.ds = environment_of(&other, lc_module_definition(module));
  get(0, "f", "K", "module was replaced while this function was running");
  lc_datastore_free(host_env.ds);
  lc_instance_free(instance);
  instance = NULL;
  lc_module_unref(module);
}

int main(void) {
  if (lc_host_init(&err) != LC_OK) return 1;
  for (int i = 0; i < 4; i++) sigaction(trap_signals[i], NULL, &wasmtime_handlers[i]);
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_checks), cmocka_unit_test(test_calls), cmocka_unit_test(test_environment)};
  int rc = cmocka_run_group_tests(tests, NULL, NULL);
  lc_host_shutdown();
  return rc;
}
