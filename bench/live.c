/* Live queries without a module or sockets: what a commit costs with so many subscriptions, over the same commits without any. Thread CPU time.
 * First argument: transactions for each measurement (default 20,000); second: a letter for one measurement only (p oints, r anges, b oxes, j oins). */
#include "../tests/unit/def_text.h"
#include "../src/engine/engine.h"
#include "../src/live/live.h"
#include <time.h>

enum { N_ACCOUNTS = 100000, N_POSITIONS = 100000, SIDE = 1000 };
static struct lc_error err;
static struct lc_datastore *ds;
static struct lc_live *live;
static uint32_t account_table, account_id, position_table, position_id, next_set, joined_table;
static char clients[1000];
static uint64_t state = 1, n_deltas;
#define MUST(x) do { if (!(x)) { fprintf(stderr, "failed: %s: %s\n", #x, err.text); exit(1); } } while (0)

static uint32_t rnd(uint32_t n) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)((state >> 33) % n);
}
static double now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}
static void on_update(void *ctx, void *client, const struct lc_set_update *sets, uint32_t n) {
  (void)ctx, (void)client;
  for (uint32_t i = 0; i < n; i++) n_deltas += sets[i].n;
}
static bool on_failed(void *ctx, void *client, uint64_t set, const char *text) {
  (void)ctx, (void)client, (void)set;
  fprintf(stderr, "a set failed: %s\n", text);
  exit(1);
  return false;
}
static void commit(struct lc_tx *tx) {
  static const struct lc_live_sink sink = {NULL, on_update, on_failed};
  const struct lc_tx_delta *delta;
  lc_tx_commit(tx, &delta);
  lc_live_evaluate(live, delta, &sink);
  lc_tx_delta_release(ds, delta);
}

struct account { uint32_t id; int64_t balance; } __attribute__((packed));
struct position { uint32_t id; float x, y; } __attribute__((packed));
struct item { uint32_t id, owner, kind; } __attribute__((packed));
static void update(struct lc_tx *tx, uint32_t table, uint32_t index, const void *row, size_t len) {
  MUST(lc_tx_update(tx, table, index, lc_slice(row, len), NULL, NULL, &err) == LC_ERRNO_OK);
}
static void transfer(void) {
  struct lc_tx *tx = lc_tx_begin(ds);
  for (int i = 0; i < 2; i++) {
    struct account a = {rnd(N_ACCOUNTS), 1000000 + rnd(1000)};
    update(tx, account_table, account_id, &a, sizeof a);
  }
  commit(tx);
}
static void move(void) {
  struct lc_tx *tx = lc_tx_begin(ds);
  for (int i = 0; i < N_POSITIONS / 100; i++) {
    struct position p = {rnd(N_POSITIONS), (float)rnd(SIDE * 100) / 100, (float)rnd(SIDE * 100) / 100};
    update(tx, position_table, position_id, &p, sizeof p);
  }
  commit(tx);
}
static void one_item(void) { /* an owner changes: an item of a random kind */
  struct lc_tx *tx = lc_tx_begin(ds);
  struct account a = {rnd(N_ACCOUNTS), 1000000 + rnd(1000)};
  update(tx, account_table, account_id, &a, sizeof a);
  commit(tx);
}
static void subscribe(const char *sql) {
  static const struct lc_sql_caller caller = {.identity = {{1}}};
  struct lc_slice text = lc_slice_str(sql);
  const struct lc_query_rows *rows;
  uint32_t n;
  void *client = &clients[next_set % sizeof clients];
  MUST(lc_live_subscribe(live, client, &caller, next_set++, 0, 1, &text, &rows, &n, &err) == LC_OK);
}
static double plain;
static void measure(const char *what, uint32_t n_queries, void (*transaction)(void), uint32_t n, double rows) {
  for (uint32_t i = 0; i < n / 10 + 1; i++) transaction();
  n_deltas = 0;
  double start = now_ns();
  for (uint32_t i = 0; i < n; i++) transaction();
  double each = (now_ns() - start) / n;
  if (n_queries == 0) plain = each;
  printf("%-44s %8u %12.0f ns %8.2fx %10.2f deltas", what, n_queries, each, each / plain, (double)n_deltas / n);
  if (rows > 0) printf(" %10.1f ns a row", each / rows);
  printf("\n");
}
static void again(void) { /* nobody subscribes */
  lc_live_free(live);
  MUST((live = lc_live_new(ds)));
  next_set = 0;
}

int main(int argc, char **argv) {
  const char only = argc > 2 ? argv[2][0] : 0;
  uint32_t n = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 20000;
  static const struct lc_module_facts facts = {.program_bytes = {(const uint8_t *)"program", 7}};
  struct lc_module_def *def = def_text("table account\n col id u32 pk\n col balance i64\ntable position\n col id u32 pk\n col x f32\n col y f32\ntable item\n col id u32 pk\n col owner u32 index\n col kind u32 index\n");
  char sql[256];
  MUST(lc_datastore_new(&lc_env_system, &ds, &err) == LC_OK);
  struct lc_tx *tx = lc_tx_begin(ds);
  MUST(lc_schema_create(tx, def, &facts, &err) == LC_OK);
  MUST((live = lc_live_new(ds)));
  commit(tx);
  const struct lc_table_info *a = lc_datastore_table_by_name(ds, lc_slice_str("account")), *p = lc_datastore_table_by_name(ds, lc_slice_str("position"));
  account_table = a->table_id, account_id = a->indexes[0].index_id, position_table = p->table_id, position_id = p->indexes[0].index_id;
  joined_table = lc_datastore_table_by_name(ds, lc_slice_str("item"))->table_id;
  tx = lc_tx_begin(ds);
  for (uint32_t i = 0; i < N_ACCOUNTS; i++) {
    struct account r = {i, 1000000};
    struct position q = {i, (float)rnd(SIDE), (float)rnd(SIDE)};
    struct item m = {i, i, rnd(10000)};
    MUST(lc_tx_insert(tx, account_table, lc_slice(&r, sizeof r), NULL, NULL, &err) == LC_ERRNO_OK);
    MUST(lc_tx_insert(tx, position_table, lc_slice(&q, sizeof q), NULL, NULL, &err) == LC_ERRNO_OK);
    MUST(lc_tx_insert(tx, joined_table, lc_slice(&m, sizeof m), NULL, NULL, &err) == LC_ERRNO_OK);
  }
  commit(tx);

  measure("transfer", 0, transfer, n, 0);
  for (uint32_t have = 0, i = 0; i < 3 && (!only || only == 'p'); i++) {
    static const uint32_t counts[] = {1000, 5000, 100000};
    for (; have < counts[i]; have++) {
      snprintf(sql, sizeof sql, "SELECT * FROM account WHERE id = %u", have);
      subscribe(sql);
    }
    measure("  distinct WHERE id = k", have, transfer, n, 0);
  }
  again();
  for (uint32_t i = 0; i < 1000 && (!only || only == 'r'); i++) {
    snprintf(sql, sizeof sql, "SELECT * FROM account WHERE balance < %u", i);
    subscribe(sql);
  }
  if (!only || only == 'r') measure("  distinct WHERE balance < k, none matching", 1000, transfer, n, 0);
  again();
  measure("1,000 of 100,000 positions move", 0, move, n / 500 + 1, N_POSITIONS / 100);
  for (uint32_t have = 0, i = 0; i < 4 && (!only || only == 'b'); i++) { /* boxes 10 by 10 at random places: how many hold a point grows with their number */
    static const uint32_t counts[] = {1000, 10000, 31623, 100000};
    for (; have < counts[i]; have++) {
      uint32_t x = rnd(SIDE - 10), y = rnd(SIDE - 10);
      snprintf(sql, sizeof sql, "SELECT * FROM position WHERE x >= %u AND x < %u AND y >= %u AND y < %u", x, x + 10, y, y + 10);
      subscribe(sql);
    }
    measure("  boxes of 10 by 10 in 1,000 by 1,000", have, move, n / 500 + 1, N_POSITIONS / 100);
  }
  again();
  measure("update of one account", 0, one_item, n, 0);
  for (uint32_t have = 0, i = 0; i < 3 && (!only || only == 'j'); i++) {
    static const uint32_t counts[] = {10, 1000, 10000};
    for (; have < counts[i]; have++) {
      snprintf(sql, sizeof sql, "SELECT account.* FROM account JOIN item ON account.id = item.owner WHERE item.kind = %u", have);
      subscribe(sql);
    }
    measure("  joined to an item of kind k", have, one_item, n, 0);
  }
  lc_live_free(live);
  lc_datastore_free(ds);
  lc_module_def_free(def);
  return 0;
}
