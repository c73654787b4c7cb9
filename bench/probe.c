/* What the machine can do at this moment, to be given beside figures: bench-probe [FOLDER] [SECONDS] [RECORD_BYTES] ($TMPDIR or /tmp, 1, 192) prints a JSON line.
 *
 * memory_ns: one dependent access in 64 MiB. sync_us: records appended to a growing file of FOLDER as the log does it (pwrite at its end, fdatasync, nothing allocated
 * ahead), one at a time by one thread that does nothing else. handed_us: the same by a second thread, to which the first hands each record and from which it hears when it is
 * durable, as a confirmed call is handed to the log's writer and back: two wake-ups more.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { STEP_NS = 500, N_STEPS = 200000, MAX_RECORD_BYTES = 1 << 16, MEMORY_BYTES = 64 << 20 };

static void need(int ok, const char *what) {
  if (ok) return;
  perror(what);
  exit(1);
}
static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint32_t histogram[N_STEPS];
static uint64_t n_recorded;
static void record(uint64_t ns) {
  histogram[ns / STEP_NS < N_STEPS ? ns / STEP_NS : N_STEPS - 1]++;
  n_recorded++;
}
/* In microseconds; forgets what was recorded. */
static double median_us(void) {
  uint64_t sum = 0, i = 0;
  while (i < N_STEPS && (sum += histogram[i]) * 2 < n_recorded) i++;
  memset(histogram, 0, sizeof histogram);
  n_recorded = 0;
  return (double)(i * STEP_NS + STEP_NS / 2) / 1000;
}

/* A cycle through all cache lines in random order, followed. */
static double memory_ns(void) {
  enum { LINE = 64, N = MEMORY_BYTES / LINE, STEPS = 1 << 21 };
  char *memory = malloc(MEMORY_BYTES);
  uint32_t *order = malloc(N * sizeof *order);
  uint64_t random = 88172645463325252u;
  need(memory && order, "malloc");
  for (uint32_t i = 0; i < N; i++) order[i] = i;
  for (uint32_t i = N - 1; i > 0; i--) {
    random ^= random << 13, random ^= random >> 7, random ^= random << 17;
    uint32_t k = (uint32_t)(random % (i + 1)), t = order[i];
    order[i] = order[k];
    order[k] = t;
  }
  for (uint32_t i = 0; i < N; i++) memcpy(memory + (size_t)order[i] * LINE, &order[(i + 1) % N], sizeof *order);
  uint32_t at = order[0];
  uint64_t start = now_ns();
  for (uint32_t i = 0; i < STEPS; i++) memcpy(&at, memory + (size_t)at * LINE, sizeof at);
  double ns = (double)(now_ns() - start) / STEPS;
  if (at == UINT32_MAX) puts("");
  free(order);
  free(memory);
  return ns;
}

static int file;
static uint64_t end_of_file;
static size_t record_bytes = 192;
static void append(void) {
  static char bytes[MAX_RECORD_BYTES];
  memset(bytes, (int)(end_of_file / record_bytes) | 1, record_bytes);
  need(pwrite(file, bytes, record_bytes, (off_t)end_of_file) == (ssize_t)record_bytes && fdatasync(file) == 0, "append");
  end_of_file += record_bytes;
}

static int to_writer, to_caller;
static void tell(int event) { need(write(event, &(uint64_t){1}, 8) == 8, "eventfd"); }
static uint64_t hear(int event) {
  uint64_t n = 0;
  need(read(event, &n, 8) == 8, "eventfd");
  return n;
}
static void *writer_main(void *arg) {
  while (hear(to_writer) == 1) {
    append();
    tell(to_caller);
  }
  return arg;
}

int main(int argc, char **argv) {
  char path[4096];
  const char *folder = argc > 1 ? argv[1] : getenv("TMPDIR");
  uint64_t length_ns = (uint64_t)((argc > 2 ? atof(argv[2]) : 1) * 1e9);
  if (argc > 3) record_bytes = (size_t)atol(argv[3]);
  if (record_bytes == 0 || record_bytes > MAX_RECORD_BYTES) return fputs("bench-probe: records have 1 to 65,536 bytes\n", stderr), 2;
  snprintf(path, sizeof path, "%s/bench-probe-XXXXXX", folder ? folder : "/tmp");
  need((file = mkstemp(path)) >= 0 && unlink(path) == 0, path);
  double memory = memory_ns();
  for (uint64_t at = now_ns(), end = at + length_ns, t; at < end; at = t) append(), record((t = now_ns()) - at);
  double sync = median_us();
  pthread_t writer;
  need((to_writer = eventfd(0, 0)) >= 0 && (to_caller = eventfd(0, 0)) >= 0 && pthread_create(&writer, NULL, writer_main, NULL) == 0, "writer");
  for (uint64_t at = now_ns(), end = at + length_ns, t; at < end; at = t) tell(to_writer), hear(to_caller), record((t = now_ns()) - at);
  need(write(to_writer, &(uint64_t){2}, 8) == 8, "eventfd");
  pthread_join(writer, NULL);
  printf("{\"memory_ns\":%.0f,\"record_bytes\":%zu,\"sync_us\":%.1f,\"handed_us\":%.1f}\n", memory, record_bytes, sync, median_us());
  return 0;
}
