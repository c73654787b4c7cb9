/* The trees by themselves, as Markdown for bench/RESULTS.md: the store lines of the table of goals, rows of varying length, bulk building.
 *
 * Usage: bench-store [part ...]; parts: small (100 k rows), large (1 M), memory (2 M), snapshot (10 M), rows (varying length), bulk; without any: all.
 * Thread CPU time per operation. Beside it a pointer chase over 64 MiB: what one dependent memory access costs on this machine at this moment.
 */
#include "../src/store/store.h"
#include <pthread.h>
#include <sys/mman.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t state = 1;
static uint64_t rnd(void) {
  uint64_t z = state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}
static double now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}
static double start;
static void begin(void) { start = now_ns(); }
static double each(double n) { return (now_ns() - start) / n; }
static uint64_t sink;

static struct lc_arena arena;
static void *must(void *p) {
  if (p) return p;
  fputs("out of memory\n", stderr);
  exit(1);
}
static uint32_t *shuffled(uint32_t n) {
  uint32_t *order = must(lc_alloc((size_t)n * 4));
  for (uint32_t i = 0; i < n; i++) order[i] = i;
  for (uint32_t i = n - 1; i; i--) {
    uint32_t j = (uint32_t)(rnd() % (i + 1)), x = order[i];
    order[i] = order[j];
    order[j] = x;
  }
  return order;
}
static void tree_new(struct lc_tree *t, struct lc_store **store, const struct lc_type *entry, uint32_t n_parts) {
  struct lc_key_spec spec = {.entry_type = entry, .n_parts = n_parts, .columns = {0, 1, 2}};
  *store = must(lc_store_new());
  if (lc_tree_init(t, *store, &spec) != LC_OK) must(NULL);
}
static void tree_end(struct lc_tree *t, struct lc_store *store) {
  lc_tree_free(t);
  lc_store_free(store);
}
static const struct lc_type *product(uint32_t n, const enum lc_type_kind *kinds) {
  struct lc_type_field f[4] = {{.has_name = false}};
  for (uint32_t i = 0; i < n; i++) f[i].type = lc_type_primitive(kinds[i]);
  return must((void *)(uintptr_t)lc_type_new_product(&arena, n, f));
}

/* A virtual machine gets its memory from its host page by page, which costs many times what clearing costs: it is fetched before anything is measured. */
static void warm_memory(size_t bytes) {
  uint8_t *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return;
  madvise(p, bytes, MADV_HUGEPAGE);
  for (size_t i = 0; i < bytes; i += 4096) p[i] = 1;
  munmap(p, bytes);
}

static double probe(void) {
  enum { WORDS = 64 << 18, STEPS = 2000000 };
  uint32_t *chase = must(lc_alloc((size_t)WORDS * 4)), at = 0;
  for (uint32_t i = 0; i < WORDS; i++) chase[i] = (uint32_t)rnd() % WORDS;
  begin();
  for (uint32_t i = 0; i < STEPS; i++) at = chase[(at ^ i) % WORDS];
  double ns = each(STEPS);
  sink += at;
  lc_free(chase);
  return ns;
}

/* ---- rows of u32 key and i64 ---- */

static struct lc_slice row(uint32_t key, int64_t value) {
  static uint8_t bytes[12];
  memcpy(bytes, &key, 4);
  memcpy(bytes + 4, &value, 8);
  return lc_slice(bytes, 12);
}
static const struct lc_type *row_type(void) { return product(2, (const enum lc_type_kind[]){LC_T_U32, LC_T_I64}); }

static void line(const char *what, const char *must_text, const char *aim, const char *fmt, double v) {
  printf("| %s | %s | %s | ", what, must_text, aim);
  printf(fmt, v);
  puts(" |");
  fflush(stdout);
}

static void rows_of_12(uint32_t n) {
  bool large = n >= 1000000;
  uint32_t *order = shuffled(n), *other = shuffled(n);
  struct lc_store *store;
  struct lc_tree t;
  tree_new(&t, &store, row_type(), 1);
  printf("\nRows of u32 key and i64 (12 B), %u of them; ns of CPU per operation:\n\n| measure | must | aim | measured |\n|---|---|---|---|\n", n);
  line("probe: dependent access in 64 MiB", "", "", "%.0f ns", probe());
  begin();
  for (uint32_t i = 0; i < n; i++) lc_tree_insert(&t, row(i, 0), NULL);
  line("append insert", "100 ns", "40 ns", "%.1f ns", each(n));
  lc_tree_clear(&t);
  begin();
  for (uint32_t i = 0; i < n; i++) lc_tree_insert(&t, row(order[i], 0), NULL);
  line("random insert", large ? "300 ns" : "", large ? "180 ns" : "", "%.1f ns", each(n));
  begin();
  for (uint32_t i = 0; i < n; i++) sink += lc_tree_find(&t, (const uint8_t *)&other[i]).data[0];
  line("random find", large ? "150 ns" : "80 ns", large ? "90 ns" : "50 ns", "%.1f ns", each(n));
  begin();
  for (uint32_t i = 0; i + 8 <= n; i += 8) {
    const uint8_t *keys[8];
    struct lc_slice out[8];
    for (uint32_t k = 0; k < 8; k++) keys[k] = (const uint8_t *)&other[i + k];
    lc_tree_find_batch(&t, keys, 8, out);
    for (int k = 0; k < 8; k++) sink += out[k].data[0];
  }
  line("8 finds at once, each", large ? "100 ns" : "", large ? "70 ns" : "", "%.1f ns", each(n));
  uint32_t at = 0;
  begin();
  for (uint32_t i = 0; i < n; i++) at = lc_tree_find(&t, (const uint8_t *)&other[(i + at) % n]).data[4] & 1u; /* the next key waits for the row */
  line("find that waits for the one before", "", "", "%.1f ns", each(n));
  sink += at;
  begin();
  for (uint32_t i = 0; i < n; i++) lc_tree_replace(&t, row(other[i], (int64_t)i));
  line("in-place update", large ? "200 ns" : "", large ? "130 ns" : "", "%.1f ns", each(n));
  begin();
  struct lc_cursor c;
  for (lc_cursor_seek(&c, &t, NULL, NULL, 0, false); lc_cursor_valid(&c);) {
    uint32_t rows;
    struct lc_slice run = lc_cursor_run(&c, &rows);
    for (uint32_t i = 0; i < rows; i++) {
      int64_t v;
      memcpy(&v, run.data + i * 12 + 4, 8);
      sink += v == 5;
    }
  }
  line("scan with a predicate on one column, a row", "4 ns", "1 ns", "%.2f ns", each(n));
  begin();
  for (int i = 0; i < 1000000; i++) lc_snapshot_release(lc_snapshot_take(store));
  line("take and drop a snapshot when nothing changed", "1,000 ns", "50 ns", "%.1f ns", each(1e6));
  begin();
  for (uint32_t i = 0; i < n; i++) {
    lc_tree_replace(&t, row(other[i], 1));
    if (i % 1000) continue;
    lc_snapshot_release(lc_snapshot_take(store));
    lc_store_reclaim(store, 256);
  }
  line("update, a snapshot every 1,000", "", "", "%.1f ns", each(n));
  begin();
  for (uint32_t i = 0; i < n; i++) lc_tree_remove(&t, (const uint8_t *)&order[i]);
  line("random delete", "", "", "%.1f ns", each(n));
  tree_end(&t, store);
  lc_free(order);
  lc_free(other);
}

static void memory(void) {
  enum { N = 2000000 };
  uint32_t *order = shuffled(N);
  struct lc_store *store;
  struct lc_tree t;
  tree_new(&t, &store, row_type(), 1);
  printf("\nMemory of (u32 primary key, i64), %u rows, all structures:\n\n| measure | must | aim | measured |\n|---|---|---|---|\n", N);
  for (uint32_t i = 0; i < N; i++) lc_tree_insert(&t, row(i, 0), NULL);
  line("appended: live nodes", "15 B", "12.5 B", "%.2f B", (double)t.memory_bytes / N);
  line("appended: taken from the system", "", "", "%.2f B", (double)lc_store_memory_bytes(store) / N);
  tree_end(&t, store);
  tree_new(&t, &store, row_type(), 1);
  for (uint32_t i = 0; i < N; i++) lc_tree_insert(&t, row(order[i], 0), NULL);
  line("random: live nodes", "21 B", "17 B", "%.2f B", (double)t.memory_bytes / N);
  line("random: taken from the system", "", "", "%.2f B", (double)lc_store_memory_bytes(store) / N);
  tree_end(&t, store);
  lc_free(order);
}

/* ---- a writer beside a reader of a large snapshot ---- */

struct reading { const struct lc_tree *t; struct lc_snapshot *s; atomic_bool stop; atomic_uint rounds; };
static void *read_rows(void *arg) {
  struct reading *r = arg;
  uint64_t sum = 0;
  do {
    struct lc_cursor c;
    for (lc_cursor_seek(&c, r->t, r->s, NULL, 0, false); lc_cursor_valid(&c) && !atomic_load_explicit(&r->stop, memory_order_relaxed);) {
      uint32_t rows;
      struct lc_slice run = lc_cursor_run(&c, &rows);
      for (uint32_t i = 0; i < rows; i++) sum += run.data[i * 12 + 4];
    }
    atomic_fetch_add(&r->rounds, 1);
  } while (!atomic_load(&r->stop));
  lc_snapshot_release(r->s);
  return (void *)(uintptr_t)sum;
}
static void snapshot(void) {
  enum { N = 10000000, FIRST = 100000, UPDATES = 3000000 };
  uint32_t *order = shuffled(N);
  struct lc_store *store;
  struct lc_tree t;
  tree_new(&t, &store, row_type(), 1);
  for (uint32_t i = 0; i < N; i++) lc_tree_insert(&t, row(i, 0), NULL);
  printf("\nA writer while another thread reads a snapshot of %u rows, over and over; writer's CPU per random update:\n\n"
         "| measure | must | aim | measured |\n|---|---|---|---|\n", N);
  for (int round = 0; round < 3; round++) {
    static const char *const names[] = {"the very first snapshot", "second snapshot: nodes of the first are there again", "third"};
    begin();
    for (uint32_t i = 0; i < FIRST * 5; i++) lc_tree_replace(&t, row(order[i + (uint32_t)round * FIRST * 5], 1));
    double plain = each(FIRST * 5);
    struct reading r = {.t = &t, .s = lc_snapshot_take(store)};
    pthread_t thread;
    pthread_create(&thread, NULL, read_rows, &r);
    begin();
    double at = start;
    for (uint32_t i = 0; i < FIRST; i++) lc_tree_replace(&t, row(order[N - 1 - i - (uint32_t)round * UPDATES], 2));
    double first = each(FIRST);
    for (uint32_t i = FIRST; i < UPDATES; i++) lc_tree_replace(&t, row(order[N - 1 - i - (uint32_t)round * UPDATES], 2));
    start = at;
    double average = each(UPDATES);
    atomic_store(&r.stop, true);
    void *sum;
    pthread_join(thread, &sum);
    sink += (uintptr_t)sum;
    printf("| %s: average / first 100 k | 1.2 / 1.6 | 1.05 / 1.3 | %.2f / %.2f (plain %.0f ns, average %.0f, first %.0f) |\n", names[round], average / plain, first / plain, plain, average, first);
    fflush(stdout);
    struct lc_store_stats stats;
    lc_store_stats(store, &stats);
    begin();
    while (lc_store_reclaim(store, 256)) {}
    if (round == 0) line("giving a snapshot back, a dead node", "", "", "%.1f ns", each((double)stats.retired_bytes / 1024));
  }
  tree_end(&t, store);
  lc_free(order);
}

/* ---- rows of varying length ---- */

static struct lc_slice text_row(bool string_key, uint32_t key, uint32_t len, uint32_t generation) {
  static struct lc_buf b;
  lc_buf_clear(&b);
  if (string_key) {
    lc_buf_u32(&b, 12);
    lc_buf_printf(&b, "item%08u", key);
  } else {
    lc_buf_u64(&b, key);
  }
  uint32_t rest = len - (uint32_t)b.len - 4 + (key * 7 + generation * 3) % 9 - 4; /* some longer, some shorter */
  lc_buf_u32(&b, rest);
  static uint8_t filler[512];
  lc_buf_append(&b, filler, rest);
  return lc_buf_slice(&b);
}
static void varying(bool string_key, uint32_t len) {
  enum { N = 300000 };
  uint32_t *order = shuffled(N), *other = shuffled(N);
  struct lc_store *store;
  struct lc_tree t;
  tree_new(&t, &store, product(2, (const enum lc_type_kind[]){string_key ? LC_T_STRING : LC_T_U64, LC_T_STRING}), 1);
  begin();
  for (uint32_t i = 0; i < N; i++) lc_tree_insert(&t, text_row(string_key, order[i], len, 0), NULL);
  double insert = each(N), bytes = (double)t.memory_bytes / N;
  begin();
  for (uint32_t i = 0; i < N; i++) {
    uint8_t key[17];
    uint64_t number = other[i];
    uint32_t twelve = 12;
    if (string_key) {
      memcpy(key, &twelve, 4);
      snprintf((char *)key + 4, 13, "item%08u", other[i]);
    } else {
      memcpy(key, &number, 8);
    }
    sink += lc_tree_find(&t, key).data[8];
  }
  double find = each(N);
  begin();
  for (uint32_t i = 0; i < N; i++) lc_tree_replace(&t, text_row(string_key, other[i], len, 1));
  double update = each(N);
  begin();
  struct lc_cursor c;
  for (lc_cursor_seek(&c, &t, NULL, NULL, 0, false); lc_cursor_valid(&c); lc_cursor_next(&c)) sink += lc_cursor_entry(&c).data[8];
  double scan = each(N);
  begin();
  for (uint32_t i = 0; i < N; i++) sink += text_row(string_key, other[i], len, 1).len;
  double making = each(N);
  printf("| %s, about %u B | %.0f | %.0f | %.0f | %.1f | %.1f | %.0f |\n", string_key ? "string of 12" : "u64", len, find, insert, update, scan, bytes, making);
  fflush(stdout);
  tree_end(&t, store);
  lc_free(order);
  lc_free(other);
}
static void rows(void) {
  puts("\nRows of varying length, 300,000, inserted in random order; ns per operation, the making of the row in the bench included:\n\n"
       "| key, row | find | random insert | update, other length | scan a row | bytes a row | making a row |\n|---|---|---|---|---|---|---|");
  for (int k = 0; k < 4; k++) varying(k >= 2, k % 2 ? 160 : 40);
}

/* ---- many rows at once ---- */

static void bulk(void) {
  enum { N = 1000000 };
  uint32_t *order = shuffled(N);
  struct lc_store *store;
  struct lc_tree t;
  tree_new(&t, &store, product(2, (const enum lc_type_kind[]){LC_T_U64, LC_T_U64}), 2); /* a secondary index: (column, cluster key) */
  printf("\nAn index of (u64, u64), %u entries in random order; ns per entry:\n\n| way | ns | bytes an entry |\n|---|---|---|\n", N);
  begin();
  for (uint32_t i = 0; i < N; i++) {
    uint64_t e[2] = {order[i] / 2, order[i]};
    lc_tree_insert(&t, lc_slice(e, 16), NULL);
  }
  printf("| one insertion each | %.1f | %.1f |\n", each(N), (double)t.memory_bytes / N);
  lc_tree_clear(&t);
  struct lc_sorter s;
  lc_sorter_init(&s, &t.key);
  begin();
  for (uint32_t i = 0; i < N; i++) {
    uint64_t e[2] = {order[i] / 2, order[i]};
    if (!lc_sorter_add(&s, lc_slice(e, 16))) must(NULL);
  }
  if (lc_sorter_build(&s, &t, NULL) != LC_TREE_DONE) must(NULL);
  printf("| sorted, then in bulk | %.1f | %.1f |\n", each(N), (double)t.memory_bytes / N);
  lc_sorter_free(&s);
  lc_tree_clear(&t);
  struct lc_bulk b;
  begin();
  lc_bulk_begin(&b, &t);
  for (uint64_t i = 0; i < N; i++) {
    uint64_t e[2] = {i / 2, i};
    if (lc_bulk_add(&b, lc_slice(e, 16)) != LC_TREE_DONE) must(NULL);
  }
  lc_bulk_finish(&b);
  printf("| in bulk, in order already | %.1f | %.1f |\n", each(N), (double)t.memory_bytes / N);
  tree_end(&t, store);
  lc_free(order);
}

int main(int argc, char **argv) {
  static const char *const all[] = {"", "small", "large", "memory", "snapshot", "rows", "bulk"};
  warm_memory((size_t)1 << 30);
  if (argc < 2) {
    argc = (int)(sizeof all / sizeof *all);
    argv = (char **)(uintptr_t)all;
  }
  for (int i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "small")) rows_of_12(100000);
    else if (!strcmp(argv[i], "large")) rows_of_12(1000000);
    else if (!strcmp(argv[i], "memory")) memory();
    else if (!strcmp(argv[i], "snapshot")) snapshot();
    else if (!strcmp(argv[i], "rows")) rows();
    else if (!strcmp(argv[i], "bulk")) bulk();
    else return fprintf(stderr, "unknown part %s\n", argv[i]), 2;
  }
  if (sink == 42) puts("");
  lc_arena_free(&arena);
  return 0;
}
