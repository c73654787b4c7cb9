/* net/: HTTP and WebSocket over real sockets, misuse from outside, tasks, hand-over of slow runs, stop. */
#include "../../src/net/net.h"
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <cmocka.h>

static struct lc_net *net;
static atomic_uint n_closed, n_messages, n_tasks;
static atomic_bool slow_wanted, slow_done;

static size_t body_limit(void *ctx, struct lc_conn *c, const struct lc_http_request *r) {
  (void)ctx, (void)c;
  return lc_slice_eq_str(r->path, "/big") ? 1 << 20 : 1000;
}
static void on_request(void *ctx, struct lc_conn *c, const struct lc_http_request *r) {
  (void)ctx;
  char text[4096];
  if (r->body_too_large) {
    lc_http_respond(c, &(struct lc_http_response){.status = 413, .content_type = "text/plain", .body = lc_slice_str("too large"), .close = true});
    return;
  }
  if (lc_slice_eq_str(r->path, "/stream")) {
    lc_http_stream_begin(c, &(struct lc_http_response){.status = 200, .body = lc_slice_str("one")});
    lc_http_stream_write(c, lc_slice_str("two"));
    lc_http_stream_end(c);
    return;
  }
  struct lc_slice x = lc_http_header_get(r, "x-test");
  int n = snprintf(text, sizeof text, "%.*s %.*s %.*s %zu [%.*s]", (int)r->method.len, r->method.data, (int)r->path.len, r->path.data, (int)r->query.len, r->query.data, r->body.len, (int)x.len, x.data ? x.data : (const uint8_t *)"");
  struct lc_http_response answer = {.status = 200, .content_type = "text/plain", .body = lc_slice(text, (size_t)n)};
  if (lc_slice_eq_str(r->path, "/later")) assert_int_equal(lc_http_respond_ref(net, lc_conn_ref(c), &answer), LC_OK);
  else lc_http_respond(c, &answer);
}
static void on_upgrade(void *ctx, struct lc_conn *c, const struct lc_http_request *r) {
  (void)ctx;
  static const char *const names[] = {"b", "a"};
  uint16_t status;
  const char *text;
  bool with_headers;
  if (!lc_ws_check_upgrade(r, &status, &text, &with_headers)) {
    lc_http_respond(c, &(struct lc_http_response){.status = status, .body = lc_slice_str(text)});
    return;
  }
  int i = lc_ws_choose_protocol(r, names, 2);
  lc_ws_accept(c, i < 0 ? NULL : names[i], NULL, 0);
}
static void on_message(void *ctx, struct lc_conn *c, struct lc_slice payload, bool text) {
  (void)ctx;
  atomic_fetch_add(&n_messages, 1);
  if (lc_slice_eq_str(payload, "close")) lc_ws_close(c, 1011, lc_slice_str("asked for"));
  else if (lc_slice_eq_str(payload, "slow")) atomic_store(&slow_wanted, true);
  else lc_ws_send(c, text, lc_slice_str("echo:"), payload);
}
static void on_close(void *ctx, struct lc_conn *c) {
  (void)ctx, (void)c;
  atomic_fetch_add(&n_closed, 1);
}
static bool on_turn(void *ctx, struct lc_net_thread *t) {
  (void)ctx;
  if (!atomic_exchange(&slow_wanted, false)) return false;
  uint64_t token = lc_net_run_begin(t);
  usleep(300000);
  atomic_store(&slow_done, true);
  if (!lc_net_run_end(t, token)) return false;
  return false;
}

static void start(unsigned threads) {
  struct lc_net_options o = {.listen = "127.0.0.1:0", .n_threads = threads, .max_message_bytes = 1 << 20, .ping_interval_ms = 100, .idle_timeout_ms = 3000, .stop_grace_ms = 200};
  o.handler = (struct lc_net_handler){.body_limit = body_limit, .on_request = on_request, .on_upgrade = on_upgrade, .on_message = on_message, .on_close = on_close, .on_turn = on_turn};
  struct lc_error err;
  if (lc_net_start(&o, &net, &err)) fail_msg("%s", err.text);
  atomic_store(&n_closed, 0);
  atomic_store(&n_messages, 0);
}
static void stop(void) {
  lc_net_stop(net);
  lc_net_free(net);
}
static int dial(void) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(lc_net_port(net)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
  struct timeval tv = {5, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
  return fd;
}
static void put(int fd, const void *data, size_t n) {
  const uint8_t *p = data;
  while (n) {
    ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
    if (k <= 0) return;
    p += k;
    n -= (size_t)k;
  }
}
static void puts_(int fd, const char *s) { put(fd, s, strlen(s)); }
/* Reads until `want` appears, the peer closes or 5 s pass; returns what came. */
static char seen[1 << 21];
static size_t n_seen;
static bool read_until(int fd, const char *want) {
  size_t n = 0;
  for (;;) {
    ssize_t k = recv(fd, seen + n, sizeof seen - 1 - n, 0);
    if (k <= 0) break;
    n += (size_t)k;
    seen[n] = 0;
    n_seen = n;
    if (want && memmem(seen, n, want, strlen(want))) return true;
  }
  seen[n] = 0;
  return want == NULL;
}

static void http(void **state) {
  (void)state;
  start(2);
  int fd = dial();
  puts_(fd, "GET /a?x=1 HTTP/1.1\r\nHost: h\r\nX-Test:  v  \r\n\r\n");
  assert_true(read_until(fd, "GET /a x=1 0 [v]"));
  assert_non_null(strstr(seen, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 16\r\ndate: "));
  puts_(fd, "POST /b HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /later HTTP/1.1\r\n\r\nHEAD /c HTTP/1.1\r\n\r\nGET /d HTTP/1.1\r\n\r\n"); /* pipelined */
  assert_true(read_until(fd, "GET /d  0 []"));
  assert_non_null(strstr(seen, "POST /b  3 []"));
  assert_non_null(strstr(seen, "GET /later  0 []"));
  assert_null(strstr(seen, "HEAD /c"));
  puts_(fd, "PUT /e HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n");
  assert_true(read_until(fd, "HTTP/1.1 100 Continue\r\n\r\n"));
  puts_(fd, "2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n");
  assert_true(read_until(fd, "PUT /e  5 []"));
  puts_(fd, "GET /stream HTTP/1.1\r\n\r\n");
  assert_true(read_until(fd, "transfer-encoding: chunked\r\n"));
  assert_true(strstr(seen, "3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n") || read_until(fd, "3\r\ntwo\r\n0\r\n\r\n"));
  puts_(fd, "GET /f HTTP/1.0\r\n\r\n");
  assert_true(read_until(fd, NULL));
  assert_non_null(strstr(seen, "connection: close\r\n"));
  close(fd);
  fd = dial(); /* byte by byte */
  const char *slow = "POST http://host/g?q HTTP/1.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\nxy";
  for (size_t i = 0; i < strlen(slow); i++) put(fd, slow + i, 1);
  assert_true(read_until(fd, NULL));
  assert_non_null(strstr(seen, "POST /g q 2 []"));
  close(fd);
  fd = dial();
  puts_(fd, "POST /h HTTP/1.1\r\nContent-Length: 1001\r\n\r\n");
  assert_true(read_until(fd, NULL));
  assert_non_null(strstr(seen, "413 Payload Too Large"));
  assert_non_null(strstr(seen, "too large"));
  close(fd);
  fd = dial();
  char *big = calloc(1, (1 << 20) + 200);
  int n = sprintf(big, "POST /big HTTP/1.1\r\nContent-Length: %d\r\n\r\n", 1 << 20);
  put(fd, big, (size_t)n + (1 << 20));
  assert_true(read_until(fd, "POST /big  1048576 []"));
  close(fd);
  memset(big, 'a', 100000);
  fd = dial();
  puts_(fd, "GET / HTTP/1.1\r\nx: ");
  put(fd, big, 100000);
  assert_true(read_until(fd, NULL));
  close(fd);
  fd = dial();
  puts_(fd, "GET / HTTP/1.1\r\n");
  for (int i = 0; i < 101; i++) puts_(fd, "a: b\r\n");
  puts_(fd, "\r\n");
  assert_true(read_until(fd, NULL));
  assert_non_null(strstr(seen, "HTTP/1.1 431 "));
  close(fd);
  free(big);
  stop();
}

static size_t frame(uint8_t *out, unsigned first, const void *payload, size_t n, bool mask) {
  size_t at = 0;
  out[at++] = (uint8_t)first;
  uint8_t m = mask ? 0x80 : 0;
  if (n < 126) {
    out[at++] = (uint8_t)(m | n);
  } else if (n < 65536) {
    out[at++] = m | 126;
    out[at++] = (uint8_t)(n >> 8);
    out[at++] = (uint8_t)n;
  } else {
    out[at++] = m | 127;
    for (int i = 7; i >= 0; i--) out[at++] = (uint8_t)(n >> (8 * i));
  }
  const uint8_t key[4] = {1, 2, 3, 4};
  if (mask) memcpy(out + at, key, 4), at += 4;
  for (size_t i = 0; i < n; i++) out[at++] = (uint8_t)(((const uint8_t *)payload)[i] ^ (mask ? key[i & 3] : 0));
  return at;
}
static int ws_dial(void) {
  int fd = dial();
  puts_(fd, "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: z, a\r\nSec-WebSocket-Protocol: b\r\n\r\n");
  assert_true(read_until(fd, "\r\n\r\n"));
  assert_non_null(strstr(seen, "HTTP/1.1 101 Switching Protocols"));
  assert_non_null(strstr(seen, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
  assert_non_null(strstr(seen, "sec-websocket-protocol: b\r\n"));
  return fd;
}
static void ws_put(int fd, unsigned first, const char *text) {
  uint8_t b[1000];
  put(fd, b, frame(b, first, text, strlen(text), true));
}

static void websocket(void **state) {
  (void)state;
  start(2);
  int fd = ws_dial();
  ws_put(fd, 0x81, "hello");
  assert_true(read_until(fd, "\x81\x0a" "echo:hello"));
  ws_put(fd, 0x01, "frag"); /* fragments with a ping between */
  ws_put(fd, 0x89, "pp");
  ws_put(fd, 0x00, "men");
  ws_put(fd, 0x80, "ted");
  assert_true(read_until(fd, "\x81\x0f" "echo:fragmented"));
  assert_non_null(memmem(seen, 200, "\x8a\x02pp", 4));
  uint8_t *big = malloc(900000), *out = malloc(1000000);
  memset(big, 'q', 900000);
  size_t n = frame(out, 0x82, big, 900000, true);
  put(fd, out, n);
  assert_true(read_until(fd, "echo:qqqq"));
  size_t got = n_seen;
  while (got < 800000) {
    ssize_t k = recv(fd, seen, sizeof seen, 0);
    assert_true(k > 0);
    got += (size_t)k;
  }
  ws_put(fd, 0x82, "close");
  assert_true(read_until(fd, "\x88\x0b\x03\xf3" "asked for"));
  ws_put(fd, 0x88, "\x03\xf3");
  assert_true(read_until(fd, NULL));
  close(fd);
  fd = ws_dial(); /* client closes: echoed, then the connection ends */
  ws_put(fd, 0x88, "\x03\xe8" "bye");
  assert_true(read_until(fd, "\x88\x05\x03\xe8" "bye"));
  close(fd);
  fd = ws_dial(); /* disallowed code */
  ws_put(fd, 0x88, "\x03\xee");
  assert_true(read_until(fd, "Protocol violation"));
  close(fd);
  struct { const char *bytes; size_t n; } bad[] = {{"\x82\x01x", 3}, {"\xc2\x80\0\0\0\0", 6}, {"\x83\x80\0\0\0\0", 6}, {"\x80\x80\0\0\0\0", 6}, {"\x09\x80\0\0\0\0", 6}, {"\x89\xfe\0\x7e\0\0\0\0", 8}, {"\x81\x82\0\0\0\0\xff\xff", 8}, {"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 14}, {"\x82\xff\0\0\0\0\0\x10\0\1\0\0\0\0", 14}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) { /* unmasked, reserved bit, reserved opcode, stray continuation, fragmented and long control, not UTF-8, too long */
    fd = ws_dial();
    put(fd, bad[i].bytes, bad[i].n);
    assert_true(read_until(fd, NULL));
    close(fd);
  }
  const struct { const char *request, *answer; } refused[] = {
    {"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 12\r\n\r\n", "`Sec-WebSocket-Version` header did not include '13'"},
    {"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n", "`Sec-WebSocket-Key` header missing"},
    {"GET /x HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", "GET /x  0 []"},
  };
  for (size_t i = 0; i < 3; i++) {
    fd = dial();
    puts_(fd, refused[i].request);
    assert_true(read_until(fd, refused[i].answer));
    puts_(fd, "GET /again HTTP/1.1\r\n\r\n");
    assert_true(read_until(fd, "GET /again  0 []"));
    close(fd);
  }
  free(big);
  free(out);
  for (int i = 0; i < 100 && atomic_load(&n_closed) < 15; i++) usleep(20000);
  assert_true(atomic_load(&n_closed) >= 15);
  stop();
}

static void keep_alive(void **state) {
  (void)state;
  start(1);
  int fd = ws_dial();
  assert_true(memmem(seen, 2000, "\x89\x00", 2) || read_until(fd, "\x89")); /* first ping */
  struct timeval tv = {0, 400000};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
  assert_int_equal(recv(fd, seen, 10, 0), -1); /* no second one without a pong */
  ws_put(fd, 0x8a, "");
  assert_int_equal(recv(fd, seen, 10, 0), 2);
  tv.tv_sec = 6;
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
  assert_true(recv(fd, seen, 10, 0) <= 0); /* idle: dropped without a close frame */
  close(fd);
  int live = ws_dial();
  lc_net_stop(net);
  assert_true(read_until(live, "\x88\x02\x03\xe9")); /* 1001 */
  close(live);
  lc_net_free(net);
}

static void garbage(void **state) {
  (void)state;
  start(2);
  srand(7);
  for (int round = 0; round < 200; round++) {
    int fd = round % 2 ? ws_dial() : dial();
    uint8_t b[600];
    for (size_t i = 0; i < sizeof b; i++) b[i] = (uint8_t)rand();
    if (round % 4 == 0) memcpy(b, "GET / HTTP/1.1\r\n", 16);
    put(fd, b, (size_t)(rand() % (int)sizeof b));
    shutdown(fd, SHUT_WR);
    close(fd);
  }
  int fd = dial();
  puts_(fd, "GET /alive HTTP/1.1\r\n\r\n");
  assert_true(read_until(fd, "GET /alive  0 []"));
  close(fd);
  stop();
}

static void count_task(struct lc_net_thread *t, struct lc_net_task *task) {
  (void)t;
  atomic_fetch_add(&n_tasks, 1);
  free(task);
}
static void *poster(void *arg) {
  (void)arg;
  for (uint32_t i = 0; i < 20000; i++) {
    struct lc_net_task *task = calloc(1, sizeof *task);
    task->run = count_task;
    lc_net_post(net, i % 2, task);
  }
  return NULL;
}
static void tasks_and_slow_runs(void **state) {
  (void)state;
  start(2);
  pthread_t a, b;
  pthread_create(&a, NULL, poster, NULL);
  pthread_create(&b, NULL, poster, NULL);
  pthread_join(a, NULL);
  pthread_join(b, NULL);
  for (int i = 0; i < 500 && atomic_load(&n_tasks) < 40000; i++) usleep(10000);
  assert_int_equal(atomic_load(&n_tasks), 40000);
  stop();
  start(1); /* one loop: while a run is slow, others are served */
  int one = ws_dial(), two = ws_dial();
  ws_put(one, 0x81, "slow");
  usleep(50000);
  ws_put(two, 0x81, "quick");
  assert_true(read_until(two, "echo:quick"));
  assert_false(atomic_load(&slow_done));
  struct lc_net_stats st;
  lc_net_stats_get(net, &st);
  assert_int_equal(st.handed_over, 1);
  ws_put(one, 0x81, "after");
  assert_true(read_until(one, "echo:after"));
  close(one);
  close(two);
  stop();
  assert_true(atomic_load(&slow_done));
}

static void address(void **state) {
  (void)state;
  struct lc_error err;
  struct lc_net_options o = {.listen = "nonsense"};
  assert_int_equal(lc_net_start(&o, &net, &err), LC_INVALID);
  start(1);
  char text[64];
  snprintf(text, sizeof text, "127.0.0.1:%u", lc_net_port(net));
  struct lc_net *second;
  o.listen = text;
  assert_int_equal(lc_net_start(&o, &second, &err), LC_IO);
  assert_non_null(strstr(err.text, "in use"));
  stop();
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(http), cmocka_unit_test(websocket), cmocka_unit_test(keep_alive), cmocka_unit_test(garbage), cmocka_unit_test(tasks_and_slow_runs), cmocka_unit_test(address)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
