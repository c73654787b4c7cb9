/* Owns: WebSocket on a connection (RFC 6455; spec/03 §1.3, §3, §17): upgrade, frames in and out, ping and pong, closing.
 *
 * A message that arrives whole in one read is unmasked in place and handed over without a copy. Protocol errors drop the connection.
 * Callers: conn.c (input, time), api/ (messages).
 */
#include "net_internal.h"
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>

enum { FRAGMENT_BYTES = 4096 }; /* largest payload of a frame we send (spec/03 §3) */
enum { OP_CONTINUATION = 0, OP_TEXT = 1, OP_BINARY = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };

void ws_free(struct ws_state *w) {
  if (!w) return;
  lc_buf_free(&w->message);
  lc_free(w);
}

/* ---- upgrade ---- */

bool lc_ws_check_upgrade(const struct lc_http_request *r, uint16_t *status, const char **text, bool *upgrade_headers) {
  *upgrade_headers = false;
  if (!r->upgrade_websocket) {
    *status = 426;
    *text = "This service requires use of the websocket protocol";
    *upgrade_headers = true;
    return false;
  }
  *status = 400;
  if (!lc_slice_eq_str(lc_http_header_get(r, "sec-websocket-version"), "13")) {
    *text = "`Sec-WebSocket-Version` header did not include '13'";
    return false;
  }
  if (!lc_http_header_get(r, "sec-websocket-key").data) {
    *text = "`Sec-WebSocket-Key` header missing";
    return false;
  }
  return true;
}

int lc_ws_choose_protocol(const struct lc_http_request *r, const char *const *names, uint32_t n_names) {
  int best = -1;
  for (uint32_t i = 0; i < r->n_headers; i++) {
    if (!lc_slice_eq_str(r->headers[i].name, "sec-websocket-protocol")) continue;
    struct lc_slice v = r->headers[i].value;
    for (size_t at = 0; at < v.len;) {
      size_t end = at;
      while (end < v.len && v.data[end] != ',') end++;
      size_t from = at, to = end;
      while (from < to && (v.data[from] == ' ' || v.data[from] == '\t')) from++;
      while (to > from && (v.data[to - 1] == ' ' || v.data[to - 1] == '\t')) to--;
      for (uint32_t k = 0; k < n_names; k++)
        if (lc_slice_eq_str(lc_slice(v.data + from, to - from), names[k]) && (best < 0 || (int)k < best)) best = (int)k;
      at = end + 1;
    }
  }
  return best;
}

static void put_head(struct lc_conn *c, unsigned opcode, bool fin, size_t len) {
  uint8_t head[4] = {(uint8_t)((fin ? 0x80 : 0) | opcode), (uint8_t)len};
  size_t n = 2;
  if (len >= 126) {
    head[1] = 126;
    head[2] = (uint8_t)(len >> 8);
    head[3] = (uint8_t)len;
    n = 4;
  }
  conn_out(c, head, n);
}
static void send_control(struct lc_conn *c, unsigned opcode, const void *payload, size_t len) {
  put_head(c, opcode, true, len);
  conn_out(c, payload, len);
}
/* A data message of two parts in frames of at most FRAGMENT_BYTES. */
static void send_data(struct lc_conn *c, bool text, struct lc_slice head, struct lc_slice body) {
  size_t left = head.len + body.len;
  unsigned opcode = text ? OP_TEXT : OP_BINARY;
  conn_expect(c, left);
  do {
    size_t n = left < FRAGMENT_BYTES ? left : FRAGMENT_BYTES, from_head = n < head.len ? n : head.len, from_body = n - from_head;
    left -= n;
    put_head(c, opcode, left == 0, n);
    if (from_head) conn_out(c, head.data, from_head);
    if (from_body) conn_out(c, body.data, from_body);
    head = from_head == head.len ? (struct lc_slice){0} : lc_slice(head.data + from_head, head.len - from_head);
    body = from_body == body.len ? (struct lc_slice){0} : lc_slice(body.data + from_body, body.len - from_body);
    opcode = OP_CONTINUATION;
  } while (left && c->state != CONN_ENDED);
}

static void send_ping(struct lc_conn *c, int64_t now) {
  send_control(c, OP_PING, NULL, 0);
  c->ws->pinged = true;
  c->ws->ponged = false;
  c->ws->last_ping_ms = now;
}

void lc_ws_accept(struct lc_conn *c, const char *protocol, const struct lc_http_header *headers, uint32_t n_headers) {
  struct http_state *h = c->http;
  if (!h || !h->pending || !h->upgrade || c->state != CONN_OPEN) return;
  struct ws_state *w = lc_alloc_zero(1, sizeof *w);
  if (!w) {
    conn_end(c);
    return;
  }
  lc_buf_str(&h->accept_key, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
  uint8_t digest[SHA_DIGEST_LENGTH];
  char accept[40];
  SHA1(h->accept_key.data, h->accept_key.len, digest);
  EVP_EncodeBlock((unsigned char *)accept, digest, sizeof digest);
  struct lc_buf b = {0};
  lc_buf_printf(&b, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: %s\r\n", accept);
  if (protocol) lc_buf_printf(&b, "sec-websocket-protocol: %s\r\n", protocol);
  for (uint32_t i = 0; i < n_headers; i++) {
    lc_buf_slice_append(&b, headers[i].name);
    lc_buf_str(&b, ": ");
    lc_buf_slice_append(&b, headers[i].value);
    lc_buf_str(&b, "\r\n");
  }
  lc_buf_printf(&b, "date: %s\r\n\r\n", http_date(c->thread));
  if (!lc_buf_ok(&b)) {
    lc_buf_free(&b);
    lc_free(w);
    conn_end(c);
    return;
  }
  conn_out_buf(c, &b);
  http_free(h);
  c->http = NULL;
  c->ws = w;
  w->last_in_ms = w->last_ping_ms = now_ms(c->thread); /* the first ping goes with the first message: one who is refused sees nothing */
  conn_resume(c);
}

/* ---- output ---- */

void lc_ws_send(struct lc_conn *c, bool text, struct lc_slice head, struct lc_slice body) {
  if (!c->ws || c->state != CONN_OPEN || c->ws->close_sent) return;
  send_data(c, text, head, body);
  conn_message(c);
  count(&c->thread->messages_out, 1);
  if (!c->ws->pinged) send_ping(c, now_ms(c->thread));
}
void lc_ws_send_buf(struct lc_conn *c, bool text, struct lc_buf *payload) {
  lc_ws_send(c, text, lc_slice(NULL, 0), lc_buf_slice(payload));
  lc_buf_free(payload);
}

void lc_ws_close(struct lc_conn *c, uint16_t code, struct lc_slice reason) {
  struct ws_state *w = c->ws;
  if (!w || c->state != CONN_OPEN || w->close_sent) return;
  uint8_t payload[2 + LC_WS_MAX_CLOSE_REASON_BYTES] = {(uint8_t)(code >> 8), (uint8_t)code};
  size_t n = reason.len > LC_WS_MAX_CLOSE_REASON_BYTES ? LC_WS_MAX_CLOSE_REASON_BYTES : reason.len;
  while (n < reason.len && n && (reason.data[n] & 0xc0) == 0x80) n--;
  if (n) memcpy(payload + 2, reason.data, n);
  send_control(c, OP_CLOSE, payload, code ? n + 2 : 0);
  w->close_sent = w->discarding = true; /* the handshake's time runs from when the frame has left */
}
void ws_shut(struct lc_conn *c) { lc_ws_close(c, 1001, lc_slice_str(c->thread->net->o.stop_reason)); }

/* ---- input ---- */

static void unmask(uint8_t *p, size_t n, const uint8_t key[4]) {
  uint64_t wide, v;
  memcpy(&wide, key, 4);
  memcpy((uint8_t *)&wide + 4, key, 4);
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    memcpy(&v, p + i, 8);
    v ^= wide;
    memcpy(p + i, &v, 8);
  }
  for (; i < n; i++) p[i] ^= key[i & 3];
}

static bool close_code_allowed(unsigned code) { return (code >= 1000 && code <= 1013 && code != 1004 && code != 1005 && code != 1006) || (code >= 3000 && code <= 4999); }

static void on_close_frame(struct lc_conn *c, const uint8_t *p, size_t n) {
  struct ws_state *w = c->ws;
  if (!w->close_sent) {
    unsigned code = n >= 2 ? (unsigned)(p[0] << 8 | p[1]) : 0;
    if (n == 1 || (n >= 2 && (!close_code_allowed(code) || !lc_utf8_valid(p + 2, n - 2)))) send_control(c, OP_CLOSE, "\x03\xea" "Protocol violation", 20);
    else send_control(c, OP_CLOSE, p, n);
    w->close_sent = true;
  }
  conn_finish(c, c->thread->net->o.close_handshake_ms);
}

static void deliver(struct lc_conn *c, struct lc_slice payload, bool text) {
  if (text && !lc_utf8_valid(payload.data, payload.len)) {
    conn_end(c);
    return;
  }
  count(&c->thread->messages_in, 1);
  const struct lc_net_handler *h = &c->thread->net->o.handler;
  h->on_message(h->ctx, c, payload, text);
}

size_t ws_feed(struct lc_conn *c, uint8_t *data, size_t len) {
  struct ws_state *w = c->ws;
  size_t limit = c->thread->net->o.max_message_bytes;
  if (len < 2) return 0;
  unsigned opcode = data[0] & 15, fin = data[0] & 0x80;
  uint64_t n = data[1] & 127;
  size_t head = 2;
  if (n == 126) {
    if (len < 4) return 0;
    n = (uint64_t)(data[2] << 8 | data[3]);
    head = 4;
  } else if (n == 127) {
    if (len < 10) return 0;
    n = 0;
    for (unsigned i = 0; i < 8; i++) n = n << 8 | data[2 + i];
    head = 10;
  }
  bool control = opcode & 8;
  if ((data[0] & 0x70) || !(data[1] & 0x80) || (opcode > OP_BINARY && opcode < OP_CLOSE) || opcode > OP_PONG || (control && (!fin || n > 125)) ||
      (!control && (opcode == OP_CONTINUATION) != (w->opcode != 0)) || n > limit || (!control && w->message.len + n > limit)) {
    conn_end(c);
    return len;
  }
  if (len < head + 4 + n) return 0;
  uint8_t *payload = data + head + 4;
  unmask(payload, n, data + head);
  size_t used = head + 4 + (size_t)n;
  w->last_in_ms = now_ms(c->thread);
  switch (opcode) {
  case OP_CLOSE:
    on_close_frame(c, payload, n);
    return used;
  case OP_PING:
    if (!w->close_sent) send_control(c, OP_PONG, payload, n);
    return used;
  case OP_PONG:
    w->ponged = true;
    return used;
  default: break;
  }
  if (w->discarding) {
    w->opcode = fin ? 0 : OP_BINARY;
    return used;
  }
  if (fin && !w->opcode) {
    deliver(c, lc_slice(payload, n), opcode == OP_TEXT);
    return used;
  }
  if (!w->opcode) w->opcode = (uint8_t)opcode;
  lc_buf_append(&w->message, payload, n);
  if (!lc_buf_ok(&w->message)) {
    conn_end(c);
    return used;
  }
  if (fin) {
    bool text = w->opcode == OP_TEXT;
    w->opcode = 0;
    deliver(c, lc_buf_slice(&w->message), text);
    lc_buf_free(&w->message);
  }
  return used;
}

void ws_tick(struct lc_conn *c, int64_t now) {
  struct ws_state *w = c->ws;
  const struct lc_net_options *o = &c->thread->net->o;
  if (c->state != CONN_OPEN || w->close_sent) return;
  if (now - w->last_in_ms >= o->idle_timeout_ms && !c->paused) {
    conn_end(c);
    return;
  }
  if ((w->ponged || !w->pinged) && now - w->last_ping_ms >= o->ping_interval_ms) send_ping(c, now);
}
