/* The bare round trip that 1 × 1 loads are compared with: one client and one server process on loopback, each one epoll loop, 64 bytes there and back, nothing done with
 * them. echo [SECONDS] (3) prints a JSON line: round trips a second, latencies in microseconds, and processor time of the server a round trip.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE_BYTES = 64, STEP_NS = 100, N_STEPS = 100000 };

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
static void need(int ok, const char *what) {
  if (ok) return;
  perror(what);
  exit(1);
}
static int watch(int fd) {
  int e = epoll_create1(0);
  need(e >= 0 && epoll_ctl(e, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN}) == 0, "epoll");
  return e;
}
/* One message; 0: the other side has gone. */
static ssize_t receive(int epoll, int fd, char *buf) {
  struct epoll_event e;
  need(epoll_wait(epoll, &e, 1, -1) == 1, "epoll_wait");
  return read(fd, buf, MESSAGE_BYTES);
}
static int serve(int listener) {
  char buf[MESSAGE_BYTES];
  int fd = accept(listener, NULL, NULL), one = 1;
  need(fd >= 0 && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0, "accept");
  int epoll = watch(fd);
  for (ssize_t n; (n = receive(epoll, fd, buf)) > 0;) need(write(fd, buf, (size_t)n) == n, "write");
  return 0;
}

int main(int argc, char **argv) {
  double seconds = argc > 1 ? atof(argv[1]) : 3;
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof a;
  int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  need(listener >= 0 && bind(listener, (struct sockaddr *)&a, sizeof a) == 0 && listen(listener, 1) == 0 && getsockname(listener, (struct sockaddr *)&a, &len) == 0, "listen");
  pid_t child = fork();
  need(child >= 0, "fork");
  if (child == 0) return serve(listener);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  need(fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0 && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0, "connect");
  static uint64_t histogram[N_STEPS];
  char buf[MESSAGE_BYTES] = {0};
  int epoll = watch(fd);
  uint64_t n = 0, start = now_ns(), end = start + (uint64_t)(seconds * 1e9), at = start;
  while (at < end) {
    need(write(fd, buf, sizeof buf) == sizeof buf && receive(epoll, fd, buf) == MESSAGE_BYTES, "round trip");
    uint64_t t = now_ns(), step = (t - at) / STEP_NS;
    histogram[step < N_STEPS ? step : N_STEPS - 1]++;
    at = t;
    n++;
  }
  close(fd);
  struct rusage use;
  need(wait4(child, NULL, 0, &use) == child, "wait4");
  double p[2] = {0}, share[2] = {0.5, 0.99};
  for (int k = 0; k < 2; k++)
    for (uint64_t i = 0, sum = 0; i < N_STEPS && (sum += histogram[i]) < (uint64_t)((double)n * share[k]); i++) p[k] = (double)((i + 1) * STEP_NS) / 1000;
  double cpu_us = (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e6 + (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
  printf("{\"round_trips_per_s\":%.0f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"server_cpu_us\":%.2f}\n", (double)n / ((double)(at - start) / 1e9), p[0], p[1], cpu_us / (double)n);
  return 0;
}
