/* The module host by itself: what an import, a reducer without a body, and the transfer reducer cost; how long programs and instances take.
 * bench-host TRANSFER.WASM [calls] [folder]: a table of lines. Thread CPU time, so that other work on the machine shows little. */
#include "../src/db/db.h"
#include "../tests/unit/wat.h"
#include <dirent.h>
#include <sys/stat.h>
#include <time.h>

static struct lc_error err;
static int64_t cpu_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return t.tv_sec * 1000000000ll + t.tv_nsec;
}
static void check(enum lc_status st) {
  if (st == LC_OK) return;
  fprintf(stderr, "%s\n", err.text);
  exit(1);
}
static void report(const char *what, double ns) { printf("%-66s %10.1f ns\n", what, ns); }

/* reducer 0: nothing; 1: as many calls of the cheapest import as its timestamp says; 2: as many rounds of the loop alone */
static const char calls_wat[] =
    "(module (import \"spacetime_10.0\" \"bytes_sink_write\" (func $sink (param i32 i32 i32) (result i32)))"
    "(import \"spacetime_10.0\" \"row_iter_bsatn_close\" (func $close (param i32) (result i32)))"
    "(import \"spacetime_10.0\" \"identity\" (func $identity (param i32)))"
    "(memory (export \"memory\") 1) (data (i32.const 1020) \"\\05\\00\\00\\00\\02\\00\\00\\00\\00\")"
    "(func (export \"__describe_module__\") (param i32) (drop (call $sink (local.get 0) (i32.const 1024) (i32.const 1020))))"
    "(func (export \"__call_reducer__\") (param $id i32) (param i64 i64 i64 i64 i64 i64) (param $n i64) (param i32 i32) (result i32)"
    " (if (i32.eqz (local.get $id)) (then (return (i32.const 0))))"
    " (loop $l (if (i32.eq (local.get $id) (i32.const 1)) (then (drop (call $close (i32.const 0)))))"
    "  (if (i32.eq (local.get $id) (i32.const 3)) (then (call $identity (i32.const 16))))"
    "  (local.set $n (i64.sub (local.get $n) (i64.const 1))) (br_if $l (i64.ne (local.get $n) (i64.const 0)))) (i32.const 0)))";

static void bench_calls(uint32_t rounds) {
  struct lc_host_env env = {.env = &lc_env_system};
  struct lc_module *m;
  struct lc_instance *inst;
  struct lc_call_result res;
  check(lc_module_load(assemble(calls_wat), LC_PROGRAM_WASM, NULL, &env, &m, &err));
  check(lc_instance_new(m, &env, &inst, &err));
  struct lc_call_args c = {.function_name = lc_slice_str("f"), .id = 0};
  double ns[4] = {0};
  for (uint32_t id = 1; id <= 3; id++) {
    c.id = id;
    c.timestamp_us = (int64_t)rounds * 10;
    for (int warm = 0; warm < 2; warm++) {
      int64_t start = cpu_ns();
      lc_instance_call_reducer(inst, &c, &res);
      ns[id] = (double)(cpu_ns() - start) / (double)c.timestamp_us;
    }
    if (res.status != LC_CALL_OK) exit(2);
  }
  report("import, cheapest (row_iter_bsatn_close of no iterator)", ns[1] - ns[2]);
  report("import, with a write of 32 bytes (identity)", ns[3] - ns[2]);
  c.id = 0;
  for (int warm = 0; warm < 2; warm++) {
    int64_t start = cpu_ns();
    for (uint32_t i = 0; i < rounds * 2; i++) lc_instance_call_reducer(inst, &c, &res);
    ns[0] = (double)(cpu_ns() - start) / (rounds * 2);
  }
  report("reducer without a body, entering and leaving", ns[0]);
  lc_instance_free(inst);
  int64_t start = cpu_ns();
  for (int i = 0; i < 200; i++) {
    check(lc_instance_new(m, &env, &inst, &err));
    lc_instance_free(inst);
  }
  report("instance of a small module, made and freed", (double)(cpu_ns() - start) / 200);
  lc_module_unref(m);
}

static void nothing(void *ctx, uint32_t thread, struct lc_db_outbox *o) { (void)ctx, (void)thread, lc_db_outbox_free(o); }
static void no_durable(void *ctx, struct lc_db *db, uint64_t end) { (void)ctx, (void)db, (void)end; }
static void no_wake(void *ctx, struct lc_db *db) { (void)ctx, (void)db; }

enum { ACCOUNTS = 100000, PER_BATCH = 256 };
static uint32_t n_calls, n_failed;
static void on_connected(struct lc_db_client *c, enum lc_status st, const char *text) { (void)c, (void)text, check(st); }
static void on_result(struct lc_db_client *c, const struct lc_db_op *op, const struct lc_reducer_outcome *o) {
  (void)op;
  n_failed += o->status != LC_REDUCER_COMMITTED;
  lc_buf_clear(&c->out);
}
static void on_closed(struct lc_db_client *c) { (void)c; }
static struct lc_db_op *add(struct lc_db_batch *b, struct lc_db_client *c, enum lc_db_op_kind kind, const char *name, const void *args, size_t args_len) {
  struct lc_db_op *op = lc_db_batch_add(b, kind, c);
  op->name_at = b->bytes.len;
  op->name_len = strlen(name);
  lc_buf_str(&b->bytes, name);
  op->args_at = b->bytes.len;
  op->args_len = args_len;
  lc_buf_append(&b->bytes, args, args_len);
  return op;
}
/* Calls as they come from a connection, in batches as the network makes them; without decoding, encoding and sockets. */
static void bench_transfers(struct lc_db *db) {
  static const struct lc_db_client_ops ops = {.connected = on_connected, .reducer_result = on_result, .closed = on_closed};
  static struct lc_db_client client = {.ops = &ops, .confirmed = true, .identity = {{9}}, .connection_id = {{9}}};
  struct { uint32_t from, to; int64_t amount; } args = {.amount = 1};
  struct { uint32_t n; int64_t balance; } __attribute__((packed)) seed = {ACCOUNTS, 1000000000};
  uint64_t random = 88172645463325252u;
  struct lc_db_batch *b = lc_db_batch_new();
  add(b, &client, LC_OP_CONNECT, "", NULL, 0);
  add(b, &client, LC_OP_CALL_REDUCER, "seed", &seed, sizeof seed);
  lc_db_submit(db, b);
  lc_db_run(db);
  int64_t spent = 0;
  for (uint32_t done = 0; done < n_calls + n_calls / 10; done += PER_BATCH) {
    b = lc_db_batch_new();
    for (int i = 0; i < PER_BATCH; i++) {
      random ^= random << 13, random ^= random >> 7, random ^= random << 17;
      args.from = (uint32_t)(random % ACCOUNTS);
      args.to = (uint32_t)((random >> 32) % (ACCOUNTS - 1));
      args.to += args.to >= args.from;
      add(b, &client, LC_OP_CALL_REDUCER, "transfer", &args, sizeof args);
    }
    lc_db_submit(db, b);
    int64_t start = cpu_ns();
    lc_db_run(db);
    if (done >= n_calls / 10) spent += cpu_ns() - start;
  }
  if (n_failed) fprintf(stderr, "%u calls failed\n", n_failed), exit(1);
  report("transfer: two finds, two updates, log record; 100,000 accounts", (double)spent / n_calls);
  b = lc_db_batch_new();
  add(b, &client, LC_OP_DISCONNECT, "", NULL, 0);
  lc_db_submit(db, b);
}

static struct lc_slice read_file(const char *path) {
  struct lc_buf b = {0};
  FILE *f = fopen(path, "rb");
  if (!f) exit((perror(path), 1));
  uint8_t part[65536];
  for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;) lc_buf_append(&b, part, n);
  fclose(f);
  return lc_buf_slice(&b);
}

static double wall_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

int main(int argc, char **argv) {
  if (argc < 2) return fprintf(stderr, "bench-host TRANSFER.WASM [calls] [folder]\n"), 1;
  n_calls = argc > 2 ? (uint32_t)atoi(argv[2]) : 500000;
  char dir[256], cache[280], data[280], command[300];
  snprintf(dir, sizeof dir, "%s/bench-host-XXXXXX", argc > 3 ? argv[3] : "/tmp");
  if (!mkdtemp(dir)) return perror(dir), 1;
  snprintf(cache, sizeof cache, "%s/code", dir);
  snprintf(data, sizeof data, "%s/db", dir);
  lc_host_configure(&(struct lc_host_options){.code_cache_dir = cache});
  check(lc_host_init(&err));
  bench_calls(n_calls);
  struct lc_slice program = read_file(argv[1]);
  struct lc_host_env env = {.env = &lc_env_system};
  for (int i = 0; i < 2; i++) {
    struct lc_module *m;
    double start = wall_ms();
    check(lc_module_load(program, LC_PROGRAM_WASM, NULL, &env, &m, &err));
    char what[128];
    snprintf(what, sizeof what, "program of %zu KB loaded, %s (wall)", program.len >> 10, i ? "from the cache" : "compiled");
    report(what, (wall_ms() - start) * 1e6);
    lc_module_unref(m);
  }
  struct lc_db_options o = {.dir = data, .env = &lc_env_system, .database_identity = {{1}}, .owner_identity = {{2}}, .n_threads = 1, .callbacks = {.deliver = nothing, .durable = no_durable, .wake = no_wake}};
  struct lc_db *db;
  double start = wall_ms();
  check(lc_db_open(&o, program, LC_PROGRAM_WASM, &db, &err));
  report("publish: database made, program from the cache (wall)", (wall_ms() - start) * 1e6);
  bench_transfers(db);
  lc_db_close(db);
  lc_host_shutdown();
  snprintf(command, sizeof command, "rm -rf %s", dir);
  return system(command);
}
