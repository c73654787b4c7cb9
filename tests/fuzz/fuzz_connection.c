/* Bytes of a connection: HTTP requests, the upgrade, WebSocket frames, or PostgreSQL's messages, arriving in pieces. The first byte says whether the connection is a WebSocket
 * already, a stream, and how long the pieces are. The handler answers everything; in the end nothing may be left. */
#include "net/net_internal.h"
#include "fuzz.h"
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

static struct lc_net net;
static struct lc_net_thread thread;

static void on_request(void *ctx, struct lc_conn *c, const struct lc_http_request *r) {
  (void)ctx;
  lc_conn_set_user(c, &net);
  for (uint32_t i = 0; i < r->n_headers; i++) must(r->headers[i].name.data && lc_http_header_get(r, "host").len <= LC_NET_MAX_HEAD_BYTES);
  struct lc_slice rest = r->query, key, value;
  while (lc_http_query_next(&rest, &key, &value)) {
    struct lc_buf b = {0};
    lc_http_percent_decode(value, true, &b);
    must(b.len <= value.len);
    lc_buf_free(&b);
  }
  lc_http_respond(c, &(struct lc_http_response){.status = r->body_too_large ? 413 : 200, .content_type = "text/plain", .body = r->body});
}
static void on_upgrade(void *ctx, struct lc_conn *c, const struct lc_http_request *r) {
  static const char *const names[] = {"v3", "v2"};
  uint16_t status;
  const char *text;
  bool headers;
  lc_conn_set_user(c, &net);
  if (!lc_ws_check_upgrade(r, &status, &text, &headers)) {
    lc_http_respond(c, &(struct lc_http_response){.status = status, .body = lc_slice_str(text)});
    return;
  }
  (void)ctx;
  int which = lc_ws_choose_protocol(r, names, 2);
  lc_ws_accept(c, which < 0 ? NULL : names[which], NULL, 0);
}
static void on_message(void *ctx, struct lc_conn *c, struct lc_slice payload, bool text) {
  (void)ctx;
  lc_conn_set_user(c, &net);
  must(!text || lc_utf8_valid(payload.data, payload.len));
  if (payload.len == 7) lc_ws_close(c, 1000, payload);
  else lc_ws_send(c, text, payload, lc_slice(NULL, 0));
}
static size_t on_stream(void *ctx, struct lc_conn *c, struct lc_slice bytes) {
  struct lc_pg_message m;
  (void)ctx;
  bool first = lc_conn_user(c) == NULL;
  size_t n = lc_pg_read(bytes, first, 4096, &m);
  if (n == SIZE_MAX) {
    lc_conn_abort(c);
    return bytes.len;
  }
  if (!n) return 0;
  must(n <= bytes.len && m.body.len <= n);
  lc_conn_set_user(c, &net);
  struct lc_slice rest = m.body, text;
  uint32_t v;
  if (m.type & 1)
    while (lc_pg_read_text(&rest, &text)) must(!memchr(text.data, 0, text.len));
  else
    while (lc_pg_read_u32(&rest, &v)) {}
  struct lc_buf out = {0};
  lc_pg_error(&out, "ERROR", "XX000", m.body);
  lc_stream_send_buf(c, &out);
  return n;
}
static void on_close(void *ctx, struct lc_conn *c) {
  (void)ctx;
  (void)c;
}

static void turn(void) {
  uv_run(&thread.loop, UV_RUN_NOWAIT);
  conn_resume_listed(&thread);
  conn_flush_dirty(&thread);
  conn_bury(&thread);
}
static void setup(void) {
  net.o = (struct lc_net_options){.max_body_bytes = 4096, .max_message_bytes = 4096, .max_backlog_bytes = 1 << 20, .max_backlog_messages = 1000, .ping_interval_ms = 1000000, .idle_timeout_ms = 1000000, .close_handshake_ms = 1000000,
                                  .http_idle_ms = 1000000, .stop_grace_ms = 1000, .slow_run_ms = 4, .max_connections = 10, .stop_reason = "", .stream_startup_ms = 1000000,
                                  .handler = {.on_request = on_request, .on_upgrade = on_upgrade, .on_message = on_message, .on_stream = on_stream, .on_close = on_close}};
  signal(SIGPIPE, SIG_IGN); /* as the server does */
  net.n_threads = 1;
  net.threads = &thread;
  thread.net = &net;
  thread.read_buffer = malloc(READ_BUFFER_BYTES);
  must(thread.read_buffer && uv_loop_init(&thread.loop) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  int fd[2];
  if (!thread.net) setup();
  if (size < 2 || size > 60000) return 0;
  must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) == 0);
  atomic_fetch_add(&net.n_connections, 1);
  conn_adopt(&thread, fd[0], data[0] % 3 == 2);
  if (data[0] % 3 == 1) { /* a WebSocket from the start */
    static const char head[] = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    must(write(fd[1], head, sizeof head - 1) == sizeof head - 1);
    turn();
    must(thread.conns && thread.conns->ws);
  }
  size_t piece = data[0] / 3 ? (size_t)(data[0] / 3) : size;
  for (size_t at = 1; at < size && thread.conns; at += piece) {
    size_t n = size - at < piece ? size - at : piece;
    if (write(fd[1], data + at, n) != (ssize_t)n) break;
    turn();
    static char sink[65536];
    while (read(fd[1], sink, sizeof sink) > 0) {}
  }
  close(fd[1]);
  for (int i = 0; i < 100 && thread.conns; i++) turn();
  if (thread.conns) { /* it lingers: what a peer may do that has gone for good */
    conn_end(thread.conns);
    turn();
    turn();
  }
  must(!thread.conns && !thread.dirty && !thread.ended && !thread.resume && atomic_load(&net.n_connections) == 0);
  return 0;
}
