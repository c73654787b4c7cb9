/* The real clock and randomness, and the server's log on stderr. */
#include "base.h"
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
}
