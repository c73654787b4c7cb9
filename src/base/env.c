/* The real clock and randomness, and the server's log on stderr and in files. */
#include "base.h"
#include <pthread.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

static int64_t system_now_us(void *ctx) {
  (void)ctx;
  struct timespec ts;
  clock_gettime(CLOCK_REALTIME, &ts);
  return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}
static int64_t system_monotonic_ns(void *ctx) {
  (void)ctx;
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}
static void system_random(void *ctx, void *out, size_t len) {
  (void)ctx;
  for (uint8_t *p = out; len;) {
    ssize_t n = getrandom(p, len, 0);
    if (n <= 0) continue; /* interrupted by a signal */
    p += n;
    len -= (size_t)n;
  }
}
const struct lc_env lc_env_system = {NULL, system_now_us, system_monotonic_ns, system_random};

enum lc_log_level lc_log_threshold = LC_LOG_INFO;
static struct lc_day_files *log_files;
static pthread_mutex_t log_files_lock = PTHREAD_MUTEX_INITIALIZER;

void lc_log(enum lc_log_level level, const char *fmt, ...) {
  static const char *const names[] = {"ERROR", "WARN", "INFO", "DEBUG"};
  if (level > lc_log_threshold) return;
  char line[4096], stamp[32];
  time_t now = time(NULL);
  struct tm tm;
  gmtime_r(&now, &tm);
  strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &tm);
  int head = snprintf(line, sizeof line, "%s %s ", stamp, names[level]);
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(line + head, sizeof line - (size_t)head - 1, fmt, ap);
  va_end(ap);
  size_t len = strlen(line);
  line[len] = '\n';
  fwrite(line, 1, len + 1, stderr);
  if (!log_files) return;
  pthread_mutex_lock(&log_files_lock);
  lc_day_files_append(log_files, lc_slice(line, len + 1), now); /* what a full disk does not take is on stderr */
  pthread_mutex_unlock(&log_files_lock);
}
void lc_log_to_files(struct lc_day_files *files) { log_files = files; }
