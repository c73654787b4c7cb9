/* Owns: HTTP routes that modules serve (spec/04 §3.11, spec/02 §3, spec/07 §3.3). A request becomes one operation that looks the route up in the running
 * program and starts its handler on a procedure's thread; the handler's answer goes to the connection as it is.
 *
 * Invariants: nobody is authenticated; each request has a fresh identity of its own. Callers: routes.c.
 */
#include "server.h"
#include <stdio.h>

struct handler_call {
  struct server *server;
  struct database *database;
  struct lc_conn_ref ref;
  struct lc_auth_claims claims;
  struct lc_buf path, method, request, body; /* request: BSATN HttpRequest */
};
static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}; /* tags of HttpMethod */
#define N_METHODS (sizeof methods / sizeof *methods)
enum { MAX_ANSWER_HEADERS = 256 };

static void call_free(struct handler_call *c) {
  lc_auth_claims_release(&c->claims);
  database_unref(c->database);
  lc_buf_free(&c->path);
  lc_buf_free(&c->method);
  lc_buf_free(&c->request);
  lc_buf_free(&c->body);
  lc_free(c);
}

static const struct lc_http_header cors[] = {{{(const uint8_t *)"access-control-allow-origin", 27}, {(const uint8_t *)"*", 1}},
                                             {{(const uint8_t *)"vary", 4}, {(const uint8_t *)"origin, access-control-request-method, access-control-request-headers", 69}}};
enum { N_CORS = sizeof cors / sizeof *cors };

/* Answers and frees the call. */
static void finish(struct handler_call *c, struct lc_http_response r) {
  if (lc_http_respond_ref(atomic_load(&c->server->net), c->ref, &r) != LC_OK) lc_log(LC_LOG_ERROR, "out of memory for the answer of a handler of %zu bytes", r.body.len);
  call_free(c);
}
static void finish_text(struct handler_call *c, uint16_t status, const char *text) {
  finish(c, (struct lc_http_response){.status = status, .content_type = *text ? "text/plain; charset=utf-8" : NULL, .headers = cors, .n_headers = N_CORS, .body = lc_slice_str(text)});
}

static bool is_token(struct lc_slice s) { /* a header name (RFC 9110 §5.6.2) */
  for (size_t i = 0; i < s.len; i++) {
    uint8_t b = s.data[i];
    if (!((b >= '0' && b <= '9') || (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z') || (b && strchr("!#$%&'*+-.^_`|~", b)))) return false;
  }
  return s.len > 0;
}
static bool is_value(struct lc_slice s) {
  for (size_t i = 0; i < s.len; i++)
    if ((s.data[i] < 0x20 && s.data[i] != '\t') || s.data[i] == 0x7f) return false;
  return true;
}
/* Belongs to the connection, not to the message: ours to say. */
static bool is_framing(struct lc_slice name) {
  static const char *const names[] = {"content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "trailer"};
  for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
    if (name.len == strlen(names[i]) && strncasecmp((const char *)name.data, names[i], name.len) == 0) return true;
  return false;
}

/* The handler has ended (with the baton). */
static void done(struct lc_db *db, void *arg, const struct lc_db_procedure_result *res) {
  struct handler_call *c = arg;
  (void)db;
  if (res->status != LC_OK) {
    finish_text(c, res->status == LC_CLOSED ? 503 : 500, res->error_text);
    return;
  }
  struct lc_reader r = lc_reader(res->value);
  struct lc_http_header headers[MAX_ANSWER_HEADERS];
  uint32_t n = N_CORS, count = lc_read_u32(&r);
  memcpy(headers, cors, sizeof cors);
  bool ok = !r.failed;
  for (uint32_t i = 0; ok && i < count; i++) {
    struct lc_slice name = lc_read_bytes(&r), value = lc_read_bytes(&r);
    ok = !r.failed && is_token(name) && is_value(value) && n < MAX_ANSWER_HEADERS;
    if (ok && !is_framing(name)) headers[n++] = (struct lc_http_header){name, value};
  }
  lc_read_u8(&r); /* version: the connection's own */
  uint16_t status = lc_read_u16(&r);
  if (!ok || r.failed || lc_reader_left(&r) || status < 200 || status > 599) {
    finish_text(c, 500, "the handler's response has an invalid status or header");
    return;
  }
  finish(c, (struct lc_http_response){.status = status, .headers = headers, .n_headers = n, .body = res->body});
}

static bool method_matches(const struct lc_http_route_def *route, struct lc_slice method) {
  if (route->method == LC_ROUTE_ANY) return true;
  return (unsigned)route->method < N_METHODS ? lc_slice_eq_str(method, methods[route->method]) : lc_slice_eq(method, route->extension);
}

static void start(struct lc_db *db, void *arg) {
  struct handler_call *c = arg;
  const struct lc_module_def *def = lc_db_module_def(db);
  const struct lc_http_route_def *route = NULL;
  struct lc_error err = {0};
  for (uint32_t i = 0; i < def->n_http_routes && !route; i++)
    if (lc_slice_eq(def->http_routes[i].path, lc_buf_slice(&c->path)) && method_matches(&def->http_routes[i], lc_buf_slice(&c->method))) route = &def->http_routes[i];
  if (!route) {
    finish_text(c, 404, "Database has not registered a handler for this route");
    return;
  }
  struct lc_db_procedure_call call = {.caller = c->claims.identity, .confirmed = true, .name = route->handler, .args = lc_buf_slice(&c->request), .done = done, .arg = c};
  if (lc_db_start_http_handler(db, &call, lc_auth_payload(&c->claims), lc_buf_slice(&c->body), &err) == LC_OK) return;
  finish_text(c, err.status == LC_LIMIT || err.status == LC_CLOSED ? 503 : 500, err.text);
}

/* The first item of a comma-separated header, or the other. */
static struct lc_slice first_item(struct lc_slice header, struct lc_slice otherwise) {
  size_t n = 0;
  if (!header.data) return otherwise;
  while (n < header.len && header.data[n] != ',') n++;
  while (n && (header.data[n - 1] == ' ' || header.data[n - 1] == '\t')) n--;
  return n ? lc_slice(header.data, n) : otherwise;
}

static void put_request(struct lc_buf *b, const struct lc_http_request *r) {
  uint8_t tag = 0;
  while (tag < N_METHODS && !lc_slice_eq_str(r->method, methods[tag])) tag++;
  lc_buf_u8(b, tag);
  if (tag == N_METHODS) lc_buf_bsatn_bytes(b, r->method);
  lc_buf_u32(b, r->n_headers);
  for (uint32_t i = 0; i < r->n_headers; i++) {
    lc_buf_bsatn_bytes(b, r->headers[i].name);
    lc_buf_bsatn_bytes(b, r->headers[i].value);
  }
  lc_buf_u8(b, 1); /* no timeout */
  size_t at = b->len;
  lc_buf_u32(b, 0);
  lc_buf_slice_append(b, first_item(lc_http_header_get(r, "x-forwarded-proto"), lc_slice_str("http")));
  lc_buf_str(b, "://");
  lc_buf_slice_append(b, first_item(lc_http_header_get(r, "x-forwarded-host"), lc_http_header_get(r, "host")));
  lc_buf_slice_append(b, r->path);
  if (r->query.len) {
    lc_buf_str(b, "?");
    lc_buf_slice_append(b, r->query);
  }
  lc_buf_patch_u32(b, at, (uint32_t)(b->len - at - 4));
  lc_buf_u8(b, r->is_http_1_0 ? 1 : 2); /* HttpVersion */
}

void route_handler(struct request *q, struct database *d) {
  struct handler_call *c = lc_alloc_zero(1, sizeof *c);
  struct lc_error err;
  struct lc_buf token = {0};
  struct lc_db_batch *batch = server_batch(lc_conn_thread(q->conn), d);
  if (!c || !batch) {
    lc_free(c);
    request_text(q, 500, "out of memory");
    return;
  }
  c->server = q->server;
  c->database = d;
  database_ref(d);
  c->ref = lc_conn_ref(q->conn);
  lc_buf_slice_append(&c->path, lc_buf_slice(&q->params[1]));
  lc_buf_slice_append(&c->method, q->r->method);
  lc_buf_slice_append(&c->body, q->r->body);
  put_request(&c->request, q->r);
  enum lc_status st = lc_auth_mint(q->server->auth, &token, &c->claims, &err);
  lc_buf_free(&token);
  bool ok = lc_buf_ok(&c->path) && lc_buf_ok(&c->method) && lc_buf_ok(&c->body) && lc_buf_ok(&c->request);
  struct lc_db_op *op = st == LC_OK && ok ? lc_db_batch_add(batch, LC_OP_FUNCTION, NULL) : NULL;
  if (!op) {
    call_free(c);
    request_text(q, 500, st == LC_OK ? "out of memory" : err.text);
    return;
  }
  op->function = start;
  op->arg = c;
}
