/* Owns: HTTP/1.1 on a connection: requests assembled from http-parser's callbacks, one at a time, and their answers (spec/04 §2).
 *
 * Invariant: while a request is pending nothing more is parsed; what arrives waits in conn->in. Callers: conn.c (input), api/ (answers).
 */
#include "net_internal.h"
#include <ctype.h>
#include <stdio.h>
#include <time.h>

enum { LINGER_MS = 1000 };

bool http_start(struct lc_conn *c) {
  struct http_state *h = lc_alloc_zero(1, sizeof *h);
  if (!h) return false;
  http_parser_init(&h->parser, HTTP_REQUEST);
  h->parser.data = c;
  h->since_ms = now_ms(c->thread);
  c->http = h;
  return true;
}
void http_free(struct http_state *h) {
  if (!h) return;
  lc_buf_free(&h->head);
  lc_buf_free(&h->body);
  lc_buf_free(&h->accept_key);
  lc_free(h);
}

/* ---- the request being read ---- */

static struct http_state *state_of(http_parser *p) { return ((struct lc_conn *)p->data)->http; }

static int append_head(struct http_state *h, const char *at, size_t n) {
  if (h->head.len + n > LC_NET_MAX_HEAD_BYTES) {
    h->head_too_large = true;
    return 1;
  }
  lc_buf_append(&h->head, at, n);
  return lc_buf_ok(&h->head) ? 0 : 1;
}
static int on_begin(http_parser *p) {
  struct http_state *h = state_of(p);
  lc_buf_clear(&h->head);
  lc_buf_clear(&h->body);
  h->n_headers = h->target_len = 0;
  h->in_value = h->head_too_large = h->expect_continue = h->limit_known = h->body_too_large = h->upgrade = h->complete = false;
  return 0;
}
static int on_url(http_parser *p, const char *at, size_t n) {
  struct http_state *h = state_of(p);
  if (append_head(h, at, n)) return 1;
  h->target_len = (uint32_t)h->head.len;
  return 0;
}
static int on_field(http_parser *p, const char *at, size_t n) {
  struct http_state *h = state_of(p);
  if (h->in_value || h->n_headers == 0) {
    if (h->n_headers == LC_NET_MAX_HEADERS) {
      h->head_too_large = true;
      return 1;
    }
    h->headers[h->n_headers].name_at = (uint32_t)h->head.len;
    h->headers[h->n_headers].name_len = h->headers[h->n_headers].value_len = 0;
    h->n_headers++;
    h->in_value = false;
  }
  size_t from = h->head.len;
  if (append_head(h, at, n)) return 1;
  for (size_t i = from; i < h->head.len; i++) h->head.data[i] = (uint8_t)tolower(h->head.data[i]);
  h->headers[h->n_headers - 1].name_len += (uint32_t)n;
  return 0;
}
static int on_value(http_parser *p, const char *at, size_t n) {
  struct http_state *h = state_of(p);
  if (!h->n_headers) return 1;
  if (!h->in_value) h->headers[h->n_headers - 1].value_at = (uint32_t)h->head.len;
  h->in_value = true;
  if (append_head(h, at, n)) return 1;
  h->headers[h->n_headers - 1].value_len += (uint32_t)n;
  return 0;
}

static struct lc_slice trim(struct lc_slice s) {
  while (s.len && (s.data[0] == ' ' || s.data[0] == '\t')) s.data++, s.len--;
  while (s.len && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t')) s.len--;
  return s;
}
/* A view of what has been read; headers: room for LC_NET_MAX_HEADERS. */
static void view(const struct http_state *h, struct lc_http_header *headers, struct lc_http_request *r) {
  memset(r, 0, sizeof *r);
  r->method = lc_slice_str(http_method_str((enum http_method)h->parser.method));
  struct lc_slice target = lc_slice(h->head.data, h->target_len);
  if (target.len && target.data[0] != '/') { /* absolute form: skip scheme and authority */
    size_t i = 0;
    while (i + 2 < target.len && memcmp(target.data + i, "://", 3)) i++;
    for (i += 3; i < target.len && target.data[i] != '/' && target.data[i] != '?'; i++) {}
    if (i <= target.len) target = lc_slice(target.data + i, target.len - i);
  }
  const uint8_t *mark = target.len ? memchr(target.data, '?', target.len) : NULL;
  r->path = mark ? lc_slice(target.data, (size_t)(mark - target.data)) : target;
  if (mark) r->query = lc_slice(mark + 1, (size_t)(target.data + target.len - mark - 1));
  for (uint32_t i = 0; i < h->n_headers; i++)
    headers[i] = (struct lc_http_header){lc_slice(h->head.data + h->headers[i].name_at, h->headers[i].name_len),
                                         h->headers[i].value_len ? trim(lc_slice(h->head.data + h->headers[i].value_at, h->headers[i].value_len)) : lc_slice(NULL, 0)};
  r->headers = headers;
  r->n_headers = h->n_headers;
  r->body = lc_buf_slice(&h->body);
  r->body_too_large = h->body_too_large;
  r->upgrade_websocket = h->upgrade;
}

static bool has_token(struct lc_slice list, const char *token) {
  size_t n = strlen(token);
  for (size_t i = 0; i < list.len;) {
    size_t j = i;
    while (j < list.len && list.data[j] != ',') j++;
    struct lc_slice item = trim(lc_slice(list.data + i, j - i));
    if (item.len == n && strncasecmp((const char *)item.data, token, n) == 0) return true;
    i = j + 1;
  }
  return false;
}

static int on_headers(http_parser *p) {
  struct http_state *h = state_of(p);
  struct lc_conn *c = p->data;
  struct lc_http_header headers[LC_NET_MAX_HEADERS];
  struct lc_http_request r;
  view(h, headers, &r);
  h->upgrade = p->upgrade && has_token(lc_http_header_get(&r, "connection"), "upgrade") && has_token(lc_http_header_get(&r, "upgrade"), "websocket") && p->method == HTTP_GET;
  if (p->method != HTTP_CONNECT) p->upgrade = h->upgrade;
  const struct lc_net_options *o = &c->thread->net->o;
  view(h, headers, &r);
  h->body_limit = o->handler.body_limit ? o->handler.body_limit(o->handler.ctx, c, &r) : o->max_body_bytes;
  if (h->body_limit > o->max_body_bytes) h->body_limit = o->max_body_bytes;
  if (p->content_length != ULLONG_MAX && p->content_length > h->body_limit && !h->upgrade) {
    h->body_too_large = true;
    return 1; /* answered at once; the body is discarded while the connection lingers */
  }
  h->expect_continue = p->http_minor >= 1 && has_token(lc_http_header_get(&r, "expect"), "100-continue");
  if (h->expect_continue) conn_out(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
  return 0;
}
static int on_body(http_parser *p, const char *at, size_t n) {
  struct http_state *h = state_of(p);
  if (h->body.len + n > h->body_limit) {
    h->body_too_large = true;
    return 1;
  }
  if (h->body.len >> 14 != (h->body.len + n) >> 14) h->since_ms = now_ms(((struct lc_conn *)p->data)->thread); /* a long body may take its time as long as it comes */
  lc_buf_append(&h->body, at, n);
  return lc_buf_ok(&h->body) ? 0 : 1;
}
static int on_complete(http_parser *p) {
  state_of(p)->complete = true;
  http_parser_pause(p, 1);
  return 0;
}

static const http_parser_settings settings = {.on_message_begin = on_begin, .on_url = on_url, .on_header_field = on_field, .on_header_value = on_value, .on_headers_complete = on_headers, .on_body = on_body, .on_message_complete = on_complete};

static void dispatch(struct lc_conn *c) {
  struct http_state *h = c->http;
  const struct lc_net_handler *handler = &c->thread->net->o.handler;
  struct lc_http_header headers[LC_NET_MAX_HEADERS];
  struct lc_http_request r;
  if (h->body_too_large) lc_buf_clear(&h->body);
  view(h, headers, &r);
  h->pending = true;
  h->streaming = false;
  h->is_head = h->parser.method == HTTP_HEAD;
  h->is_http_1_0 = h->parser.http_major < 1 || (h->parser.http_major == 1 && h->parser.http_minor == 0);
  r.is_http_1_0 = h->is_http_1_0;
  h->keep_alive = !h->body_too_large && !c->thread->stopping && (h->upgrade || http_should_keep_alive(&h->parser));
  lc_buf_clear(&h->accept_key);
  count(&c->thread->requests, 1);
  conn_announce(c);
  if (h->upgrade) {
    lc_buf_slice_append(&h->accept_key, lc_http_header_get(&r, "sec-websocket-key"));
    handler->on_upgrade(handler->ctx, c, &r);
  } else {
    handler->on_request(handler->ctx, c, &r);
  }
}

void lc_http_again(struct lc_conn *c) {
  struct http_state *h = c->http;
  const struct lc_net_handler *handler = &c->thread->net->o.handler;
  struct lc_http_header headers[LC_NET_MAX_HEADERS];
  struct lc_http_request r;
  if (!h || !h->pending || h->streaming || c->state != CONN_OPEN) return;
  view(h, headers, &r);
  r.is_http_1_0 = h->is_http_1_0;
  if (h->upgrade) handler->on_upgrade(handler->ctx, c, &r);
  else handler->on_request(handler->ctx, c, &r);
}

size_t http_feed(struct lc_conn *c, uint8_t *data, size_t len) {
  struct http_state *h = c->http;
  if (h->pending) return 0;
  size_t n = http_parser_execute(&h->parser, &settings, (const char *)data, len);
  enum http_errno e = HTTP_PARSER_ERRNO(&h->parser);
  if (e == HPE_OK && !h->complete) return n;
  if (h->complete && (e == HPE_PAUSED || e == HPE_OK)) {
    http_parser_pause(&h->parser, 0);
    dispatch(c);
    return n;
  }
  if (h->body_too_large) { /* the parser cannot go on: answered, then closed */
    dispatch(c);
    return len;
  }
  http_respond_error(c, h->head_too_large ? 431 : 400);
  return len;
}

/* ---- answers ---- */

static const char *reason(unsigned status) {
  switch (status) {
  case 100: return "Continue";
  case 101: return "Switching Protocols";
  case 200: return "OK";
  case 201: return "Created";
  case 202: return "Accepted";
  case 204: return "No Content";
  case 301: return "Moved Permanently";
  case 302: return "Found";
  case 303: return "See Other";
  case 304: return "Not Modified";
  case 307: return "Temporary Redirect";
  case 308: return "Permanent Redirect";
  case 400: return "Bad Request";
  case 401: return "Unauthorized";
  case 402: return "Payment Required";
  case 403: return "Forbidden";
  case 404: return "Not Found";
  case 405: return "Method Not Allowed";
  case 408: return "Request Timeout";
  case 409: return "Conflict";
  case 410: return "Gone";
  case 413: return "Payload Too Large";
  case 415: return "Unsupported Media Type";
  case 422: return "Unprocessable Entity";
  case 426: return "Upgrade Required";
  case 429: return "Too Many Requests";
  case 431: return "Request Header Fields Too Large";
  case 500: return "Internal Server Error";
  case 501: return "Not Implemented";
  case 502: return "Bad Gateway";
  case 503: return "Service Unavailable";
  case 504: return "Gateway Timeout";
  case 530: return "Site Frozen";
  default: return "Unknown";
  }
}

const char *http_date(struct lc_net_thread *t) {
  time_t now = time(NULL);
  if ((int64_t)now != t->date_s) {
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(t->date, sizeof t->date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    t->date_s = (int64_t)now;
  }
  return t->date;
}

static void put_head(struct lc_conn *c, struct lc_buf *b, const struct lc_http_response *r, bool chunked) {
  struct http_state *h = c->http;
  lc_buf_printf(b, "HTTP/1.1 %u %s\r\n", r->status, reason(r->status));
  if (r->content_type) lc_buf_printf(b, "content-type: %s\r\n", r->content_type);
  for (uint32_t i = 0; i < r->n_headers; i++) {
    lc_buf_slice_append(b, r->headers[i].name);
    lc_buf_str(b, ": ");
    lc_buf_slice_append(b, r->headers[i].value);
    lc_buf_str(b, "\r\n");
  }
  if (chunked) lc_buf_str(b, "transfer-encoding: chunked\r\n");
  else if (r->status != 204 && r->status >= 200 && !h->streaming) lc_buf_printf(b, "content-length: %zu\r\n", r->body.len);
  if (!h->keep_alive) lc_buf_str(b, "connection: close\r\n");
  else if (h->is_http_1_0) lc_buf_str(b, "connection: keep-alive\r\n");
  lc_buf_printf(b, "date: %s\r\n\r\n", http_date(c->thread));
}

static void answered(struct lc_conn *c) {
  struct http_state *h = c->http;
  h->pending = h->streaming = h->complete = false;
  h->since_ms = now_ms(c->thread);
  if (h->body.cap > CHUNK_KEEP_BYTES) lc_buf_free(&h->body);
  if (h->keep_alive) conn_resume(c); /* also looks whether the peer has shut its side */
  else conn_finish(c, LINGER_MS);
}

void lc_http_respond(struct lc_conn *c, const struct lc_http_response *r) {
  struct http_state *h = c->http;
  if (!h || !h->pending || h->streaming || c->state != CONN_OPEN) return;
  if (r->close) h->keep_alive = false;
  struct lc_buf b = {0};
  put_head(c, &b, r, false);
  if (!h->is_head && r->status != 204 && r->status != 304) lc_buf_slice_append(&b, r->body);
  if (!lc_buf_ok(&b)) {
    lc_buf_free(&b);
    conn_end(c);
    return;
  }
  conn_expect(c, b.len);
  conn_out_buf(c, &b);
  answered(c);
}

void http_respond_error(struct lc_conn *c, uint16_t status) {
  c->http->pending = true;
  c->http->keep_alive = false;
  c->http->is_head = false;
  lc_http_respond(c, &(struct lc_http_response){.status = status, .close = true});
}

struct respond_task { struct lc_net_task task; struct lc_conn_ref ref; struct lc_http_response r; char *content_type; struct lc_http_header *headers; struct lc_buf bytes; };
static void run_respond(struct lc_net_thread *t, struct lc_net_task *task) {
  struct respond_task *p = (struct respond_task *)task;
  struct lc_conn *c = lc_conn_from_ref(t, p->ref);
  if (c) lc_http_respond(c, &p->r);
  lc_buf_free(&p->bytes);
  lc_free(p->headers);
  lc_free(p->content_type);
  lc_free(p);
}
enum lc_status lc_http_respond_ref(struct lc_net *net, struct lc_conn_ref ref, const struct lc_http_response *r) {
  struct respond_task *p = lc_alloc_zero(1, sizeof *p);
  if (!p) return LC_NOMEM;
  p->task.run = run_respond;
  p->ref = ref;
  p->r = *r;
  p->headers = lc_alloc_zero(r->n_headers + 1, sizeof *p->headers);
  if (r->content_type) p->content_type = lc_strdup_n(r->content_type, strlen(r->content_type));
  lc_buf_slice_append(&p->bytes, r->body);
  for (uint32_t i = 0; i < r->n_headers; i++) {
    lc_buf_slice_append(&p->bytes, r->headers[i].name);
    lc_buf_slice_append(&p->bytes, r->headers[i].value);
  }
  if (!p->headers || (r->content_type && !p->content_type) || !lc_buf_ok(&p->bytes)) {
    lc_buf_free(&p->bytes);
    lc_free(p->headers);
    lc_free(p->content_type);
    lc_free(p);
    return LC_NOMEM;
  }
  const uint8_t *at = p->bytes.data;
  p->r.body = lc_slice(at, r->body.len);
  at += r->body.len;
  for (uint32_t i = 0; i < r->n_headers; i++) {
    p->headers[i].name = lc_slice(at, r->headers[i].name.len);
    at += r->headers[i].name.len;
    p->headers[i].value = lc_slice(at, r->headers[i].value.len);
    at += r->headers[i].value.len;
  }
  p->r.headers = p->headers;
  p->r.content_type = p->content_type;
  lc_net_post(net, ref.thread, &p->task);
  return LC_OK;
}

static void put_piece(struct lc_conn *c, struct lc_slice piece) {
  if (!piece.len || c->http->is_head) return;
  char size[24];
  int n = snprintf(size, sizeof size, "%zx\r\n", piece.len);
  if (!c->http->is_http_1_0) conn_out(c, size, (size_t)n);
  conn_out(c, piece.data, piece.len);
  if (!c->http->is_http_1_0) conn_out(c, "\r\n", 2);
}
void lc_http_stream_begin(struct lc_conn *c, const struct lc_http_response *r) {
  struct http_state *h = c->http;
  if (!h || !h->pending || h->streaming || c->state != CONN_OPEN) return;
  if (r->close || h->is_http_1_0) h->keep_alive = false;
  h->streaming = true;
  struct lc_buf b = {0};
  put_head(c, &b, r, !h->is_http_1_0);
  conn_expect(c, b.len + r->body.len);
  conn_out_buf(c, &b);
  if (c->state == CONN_OPEN) put_piece(c, r->body);
}
void lc_http_stream_write(struct lc_conn *c, struct lc_slice piece) {
  if (c->http && c->http->streaming && c->state == CONN_OPEN) put_piece(c, piece);
}
void lc_http_stream_end(struct lc_conn *c) {
  if (!c->http || !c->http->streaming || c->state != CONN_OPEN) return;
  if (!c->http->is_head && !c->http->is_http_1_0) conn_out(c, "0\r\n\r\n", 5);
  answered(c);
}

/* ---- helpers for handlers ---- */

struct lc_slice lc_http_header_get(const struct lc_http_request *r, const char *name) {
  for (uint32_t i = 0; i < r->n_headers; i++)
    if (lc_slice_eq_str(r->headers[i].name, name)) return r->headers[i].value.data ? r->headers[i].value : lc_slice("", 0);
  return lc_slice(NULL, 0);
}

void lc_http_percent_decode(struct lc_slice text, bool plus_is_space, struct lc_buf *out) {
  for (size_t i = 0; i < text.len; i++) {
    uint8_t c = text.data[i], v;
    if (c == '%' && i + 2 < text.len && lc_hex_decode((const char *)text.data + i + 1, 2, &v)) {
      lc_buf_u8(out, v);
      i += 2;
    } else {
      lc_buf_u8(out, c == '+' && plus_is_space ? ' ' : c);
    }
  }
}

bool lc_http_query_next(struct lc_slice *rest, struct lc_slice *key, struct lc_slice *value) {
  while (rest->len && rest->data[0] == '&') rest->data++, rest->len--;
  if (!rest->len) return false;
  const uint8_t *amp = memchr(rest->data, '&', rest->len);
  struct lc_slice pair = lc_slice(rest->data, amp ? (size_t)(amp - rest->data) : rest->len);
  const uint8_t *eq = memchr(pair.data, '=', pair.len);
  *key = lc_slice(pair.data, eq ? (size_t)(eq - pair.data) : pair.len);
  *value = eq ? lc_slice(eq + 1, (size_t)(pair.data + pair.len - eq - 1)) : lc_slice(pair.data + pair.len, 0);
  *rest = lc_slice(pair.data + pair.len, rest->len - pair.len);
  return true;
}
