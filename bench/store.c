/* The tree by itself: (u32 key, i64) rows, N of them (first argument, default 1,000,000); thread CPU time per operation.
 * Beside it a pointer chase over 64 MiB: what one dependent memory access costs on this machine at this moment. */
#include "../src/store/store.h"
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
static void end(const char *what, double n) { printf("%-48s %8.2f ns\n", what, (now_ns() - start) / n); }

static struct lc_slice row(uint32_t key, int64_t value) {
  static uint8_t bytes[12];
  memcpy(bytes, &key, 4);
  memcpy(bytes + 4, &value, 8);
  return lc_slice(bytes, 12);
}

int main(int argc, char **argv) {
  uint32_t n = argc > 1 ? (uint32_t)atoi(argv[1]) : 1000000, *order = lc_alloc((size_t)n * 4);
  struct lc_arena arena = {0};
  struct lc_type_field fields[2] = {{.type = lc_type_primitive(LC_T_U32)}, {.type = lc_type_primitive(LC_T_I64)}};
  struct lc_key_spec spec = {.entry_type = lc_type_new_product(&arena, 2, fields), .n_parts = 1};
  struct lc_store *store = lc_store_new();
  struct lc_tree t;
  if (!order || !store || lc_tree_init(&t, store, &spec) != LC_OK || n < 16) return 1;
  for (uint32_t i = 0; i < n; i++) order[i] = i;
  for (uint32_t i = n - 1; i; i--) {
    uint32_t j = (uint32_t)(rnd() % (i + 1)), x = order[i];
    order[i] = order[j];
    order[j] = x;
  }
  printf("%u rows of 12 bytes\n", n);
  begin();
  for (uint32_t i = 0; i < n; i++) lc_tree_insert(&t, row(i, 0), NULL);
  end("append insert", n);
  printf("%-48s %8.2f B\n", "memory a row, appended", (double)t.memory_bytes / n);
  lc_tree_clear(&t);
  begin();
  for (uint32_t i = 0; i < n; i++) lc_tree_insert(&t, row(order[i], 0), NULL);
  end("random insert", n);
  printf("%-48s %8.2f B\n", "memory a row, random", (double)t.memory_bytes / n);
  uint64_t sum = 0;
  begin();
  for (uint32_t i = 0; i < n; i++) sum += lc_tree_find(&t, (const uint8_t *)&order[n - 1 - i]).data[0];
  end("random find", n);
  begin();
  for (uint32_t i = 0; i + 8 <= n; i += 8) {
    const uint8_t *keys[8];
    struct lc_slice out[8];
    for (uint32_t k = 0; k < 8; k++) keys[k] = (const uint8_t *)&order[(i * 7 + k * 911) % n];
    lc_tree_find_batch(&t, keys, 8, out);
    for (int k = 0; k < 8; k++) sum += out[k].data[0];
  }
  end("eight finds at once, each", n);
  begin();
  for (uint32_t i = 0; i < n; i++) lc_tree_replace(&t, row(order[i], (int64_t)i));
  end("in-place update", n);
  begin();
  struct lc_cursor c;
  for (lc_cursor_seek(&c, &t, NULL, NULL, 0, false); lc_cursor_valid(&c);) {
    uint32_t rows;
    struct lc_slice run = lc_cursor_run(&c, &rows);
    for (uint32_t i = 0; i < rows; i++) {
      int64_t v;
      memcpy(&v, run.data + i * 12 + 4, 8);
      sum += v == 5;
    }
  }
  end("scan with a predicate, a row", n);
  begin();
  for (int i = 0; i < 1000000; i++) lc_snapshot_release(lc_snapshot_take(store));
  end("take and drop a snapshot, nothing changed", 1e6);
  uint32_t m = n < 1000000 ? n : 1000000;
  begin();
  for (uint32_t i = 0; i < m; i++) {
    lc_tree_replace(&t, row(order[i], 1));
    lc_snapshot_release(lc_snapshot_take(store));
    lc_store_reclaim(store, 16);
  }
  end("update and a snapshot after each", m);
  struct lc_snapshot *held = lc_snapshot_take(store);
  uint32_t first = m < 100000 ? m : 100000;
  begin();
  for (uint32_t i = 0; i < first; i++) lc_tree_replace(&t, row(order[i], 2));
  end("first 100,000 updates under a held snapshot", first);
  begin();
  for (uint32_t i = 0; i < n; i++) lc_tree_replace(&t, row(order[i], 3));
  end("then an update of every row", n);
  lc_snapshot_release(held);
  while (lc_store_reclaim(store, 1000)) {}
  begin();
  for (uint32_t i = 0; i < n; i++) lc_tree_remove(&t, (const uint8_t *)&order[i]);
  end("random delete", n);
  enum { PROBE = 64 << 18 };
  uint32_t *chase = lc_alloc((size_t)PROBE * 4), at = 0;
  for (uint32_t i = 0; chase && i < PROBE; i++) chase[i] = (uint32_t)rnd() % PROBE;
  begin();
  for (uint32_t i = 0; chase && i < 2000000; i++) at = chase[(at ^ i) % PROBE];
  end("probe: dependent access in 64 MiB", 2e6);
  if (sum + at == 42) puts("");
  lc_free(chase);
  lc_free(order);
  lc_tree_free(&t);
  lc_store_free(store);
  lc_arena_free(&arena);
  return 0;
}
