/* Load of HTTP requests over connections that are kept, one request in flight on each; prints a JSON line.
 *
 * bench-httpload HOST PORT PATH BODY [CONNECTIONS] [SECONDS] [SERVER_PID] [TOKEN]: POSTs BODY to PATH, {k} in it being another number from 1 to 99,999 each time. Counts answers of
 * status 200 only and ends with an error at any other. server_cpu_us: user and system time of the server's process per answer, from /proc.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CONNECTIONS = 1024, N_LATENCIES = 1 << 20, N_KEYS = 100000 };
struct conn { int fd; int64_t sent_ns; size_t n; char in[16384]; };
static struct conn conns[MAX_CONNECTIONS];
static uint32_t latencies[N_LATENCIES]; /* of the newest, ns */
static uint64_t n_answers;
static const char *host, *port, *path, *body, *token;

static void die(const char *what) {
  fprintf(stderr, "bench-httpload: %s: %s\n", what, strerror(errno));
  exit(1);
}
static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
static double cpu_s(const char *pid) {
  char file[64], line[1024];
  unsigned long user = 0, system = 0;
  snprintf(file, sizeof file, "/proc/%.20s/stat", pid);
  FILE *f = fopen(file, "r");
  if (!f || !fgets(line, sizeof line, f)) die(file);
  fclose(f);
  sscanf(strrchr(line, ')'), ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
  return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}
static void request(struct conn *c) {
  static unsigned k = 1;
  char text[4096], out[6144];
  const char *at = strstr(body, "{k}");
  k = (k * 1103515245u + 12345u) & 0x7fffffff;
  int n = at ? snprintf(text, sizeof text, "%.*s%u%s", (int)(at - body), body, 1 + k % (N_KEYS - 1), at + 3) : snprintf(text, sizeof text, "%s", body);
  int len = snprintf(out, sizeof out, "POST %s HTTP/1.1\r\nHost: %s:%s\r\n%s%s%sContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", path, host, port, token ? "Authorization: Bearer " : "", token ? token : "", token ? "\r\n" : "", *body == '[' ? "application/json" : "text/plain", n, text);
  c->sent_ns = now_ns();
  c->n = 0;
  if (len >= (int)sizeof out || write(c->fd, out, (size_t)len) != len) die("write");
}
/* Whether the whole answer is there. */
static int is_answered(struct conn *c) {
  c->in[c->n] = 0;
  char *end = strstr(c->in, "\r\n\r\n"), *length = strcasestr(c->in, "content-length:");
  if (!end || !length || length > end) return 0;
  if (c->n < (size_t)(end + 4 - c->in) + strtoul(length + 15, NULL, 10)) return 0;
  if (strncmp(c->in, "HTTP/1.1 200", 12) != 0) {
    fprintf(stderr, "bench-httpload: %s\n", c->in);
    exit(1);
  }
  return 1;
}
static int ascending(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

int main(int argc, char **argv) {
  if (argc < 5) return fprintf(stderr, "usage: bench-httpload HOST PORT PATH BODY [CONNECTIONS] [SECONDS] [SERVER_PID] [TOKEN]\n"), 2;
  host = argv[1], port = argv[2], path = argv[3], body = argv[4];
  unsigned n_conns = argc > 5 ? (unsigned)strtoul(argv[5], NULL, 10) : 32, seconds = argc > 6 ? (unsigned)strtoul(argv[6], NULL, 10) : 5;
  const char *pid = argc > 7 && *argv[7] ? argv[7] : NULL;
  token = argc > 8 ? argv[8] : NULL;
  if (n_conns < 1 || n_conns > MAX_CONNECTIONS) die("connections");
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(port, NULL, 10))};
  if (inet_pton(AF_INET, host, &address.sin_addr) != 1) die("address");
  int poll = epoll_create1(0), on = 1;
  for (unsigned i = 0; i < n_conns; i++) {
    conns[i].fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(conns[i].fd, (struct sockaddr *)&address, sizeof address)) die("connect");
    setsockopt(conns[i].fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    epoll_ctl(poll, EPOLL_CTL_ADD, conns[i].fd, &(struct epoll_event){.events = EPOLLIN, .data.u32 = i});
    request(&conns[i]);
  }
  int64_t begin = now_ns(), from = 0, end = begin + ((int64_t)seconds + 1) * 1000000000, at;
  double cpu = 0;
  while ((at = now_ns()) < end) {
    if (!from && at - begin > 1000000000) { /* after a second of warming up */
      from = at;
      n_answers = 0;
      cpu = pid ? cpu_s(pid) : 0;
    }
    struct epoll_event events[64];
    int n = epoll_wait(poll, events, 64, 100);
    for (int i = 0; i < n; i++) {
      struct conn *c = &conns[events[i].data.u32];
      ssize_t got = read(c->fd, c->in + c->n, sizeof c->in - 1 - c->n);
      if (got <= 0) die("the server has closed a connection");
      c->n += (size_t)got;
      if (!is_answered(c)) continue;
      latencies[n_answers++ % N_LATENCIES] = (uint32_t)(now_ns() - c->sent_ns);
      request(c);
    }
  }
  double took = (double)(now_ns() - from) / 1e9, used = pid ? cpu_s(pid) - cpu : 0;
  size_t n = n_answers < N_LATENCIES ? n_answers : N_LATENCIES;
  if (n == 0) die("no answer");
  qsort(latencies, n, sizeof *latencies, ascending);
  printf("{\"path\":\"%s\",\"connections\":%u,\"answers\":%llu,\"per_s\":%.0f,\"server_cpu_us\":%.2f,\"p50_ms\":%.3f,\"p99_ms\":%.3f}\n", path, n_conns, (unsigned long long)n_answers, (double)n_answers / took,
         used * 1e6 / (double)n_answers, latencies[n / 2] / 1e6, latencies[n * 99 / 100] / 1e6);
  return 0;
}
