/* Owns: HTTP dispatch: which path and method go where, the layers around routes (CORS, authentication, name resolution; spec/04 §2), and the
 * routes answered from the control database or from nothing. Callers: net/ through server.c.
 */
#include "server.h"
#include <stdio.h>
#include <stdlib.h>

enum { M_GET = 1, M_POST = 2, M_PUT = 4, M_DELETE = 8, M_PATCH = 16, M_OTHER = 32, M_ANY = 63 };
enum layer { L_NONE, L_AUTH, L_DATABASE, L_MODULE }; /* L_AUTH: a token is minted if there is none; L_DATABASE: and :n must be a running database; L_MODULE: the latter only */

/* ---- request and answer helpers ---- */

bool routes_query(const struct lc_http_request *r, const char *key, struct lc_buf *value, bool *found, struct lc_error *err) {
  struct lc_slice rest = r->query, k, v;
  struct lc_buf name = {0};
  bool twice = false;
  *found = false;
  while (!twice && lc_http_query_next(&rest, &k, &v)) {
    lc_buf_clear(&name);
    lc_http_percent_decode(k, true, &name);
    if (!lc_slice_eq_str(lc_buf_slice(&name), key)) continue;
    twice = *found;
    *found = true;
    if (!twice) lc_http_percent_decode(v, true, value);
  }
  lc_buf_free(&name);
  if (twice) lc_fail(err, LC_INVALID, "Failed to deserialize query string: duplicate field `%s`", key);
  return !twice;
}
bool routes_query_bool(const struct lc_http_request *r, const char *key, bool *value, struct lc_error *err) {
  struct lc_buf v = {0};
  bool found, ok = routes_query(r, key, &v, &found, err);
  if (ok && found) {
    if (lc_slice_eq_str(lc_buf_slice(&v), "true")) *value = true;
    else if (lc_slice_eq_str(lc_buf_slice(&v), "false")) *value = false;
    else ok = lc_fail(err, LC_INVALID, "Failed to deserialize query string: %s: provided string was not `true` or `false`", key) == LC_OK;
  }
  lc_buf_free(&v);
  return ok;
}

struct answer *request_answer(struct request *q, uint16_t status) {
  struct answer *a = answer_new(lc_conn_ref(q->conn), status);
  if (q->database) database_ref(a->database = q->database);
  if (q->cors) {
    answer_header(a, "access-control-allow-origin", "*");
    answer_header(a, "vary", "origin, access-control-request-method, access-control-request-headers");
  }
  if (q->authenticated && q->token.len) {
    char hex[65];
    lc_identity_hex(&q->claims.identity, hex);
    answer_header(a, "spacetime-identity", hex);
    lc_buf_u8(&q->token, 0);
    if (lc_buf_ok(&q->token)) answer_header(a, "spacetime-identity-token", (const char *)q->token.data);
    q->token.len--;
  }
  return a;
}
void request_text(struct request *q, uint16_t status, const char *text) {
  struct answer *a = request_answer(q, status);
  answer_text(a, status, text);
  answer_send(a, q->conn);
}
void request_status(struct request *q, uint16_t status) { answer_send(request_answer(q, status), q->conn); }
void not_authorized(struct lc_error *err, const struct lc_identity *caller, const struct lc_identity *database, const char *action) {
  char caller_hex[65], database_hex[65];
  lc_identity_hex(caller, caller_hex);
  lc_identity_hex(database, database_hex);
  lc_fail(err, LC_DENIED, "%s is not authorized to perform action on database %s: %s", caller_hex, database_hex, action);
}
bool request_is_owner(const struct request *q, const struct database *d) { return memcmp(&q->claims.identity, &d->owner, sizeof d->owner) == 0; }
void request_json(struct request *q, uint16_t status, struct lc_buf *body) {
  struct answer *a = request_answer(q, status);
  a->content_type = "application/json";
  a->body = *body;
  *body = (struct lc_buf){0};
  if (!lc_buf_ok(&a->body)) answer_text(a, 500, "out of memory");
  answer_send(a, q->conn);
}

/* A request that waits for the keys of an issuer: then it is looked at once more. */
struct later { struct lc_net_task task; struct server *server; struct lc_conn_ref conn; };
static void run_later(struct lc_net_thread *t, struct lc_net_task *task) {
  struct later *l = (struct later *)task;
  struct lc_conn *c = lc_conn_from_ref(t, l->conn);
  lc_free(l);
  if (c) lc_http_again(c);
}
static void on_keys(void *arg) {
  struct later *l = arg;
  l->task.run = run_later;
  lc_net_post(atomic_load(&l->server->net), l->conn.thread, &l->task);
}
static enum lc_status validate(struct request *q, struct lc_error *err) {
  struct lc_auth *auth = q->server->auth;
  enum lc_status st = lc_auth_validate(auth, lc_buf_slice(&q->token), NULL, &q->claims, err);
  if (st != LC_PENDING) return st;
  struct later *l = lc_alloc_zero(1, sizeof *l);
  if (!l) return lc_fail(err, LC_NOMEM, "out of memory");
  l->server = q->server;
  l->conn = lc_conn_ref(q->conn);
  st = lc_auth_validate(auth, lc_buf_slice(&q->token), &(struct lc_auth_wait){on_keys, l}, &q->claims, err);
  if (st != LC_PENDING) lc_free(l); /* they have just come */
  return st;
}
uint16_t routes_authenticate(struct request *q, bool mint, struct lc_error *err) {
  struct lc_slice header = lc_http_header_get(q->r, "authorization"), text = {0};
  if (header.data) {
    if (lc_auth_bearer(header, &text, err) != LC_OK) return 400;
    lc_buf_slice_append(&q->token, text);
  } else {
    bool found;
    if (!routes_query(q->r, "token", &q->token, &found, err)) return 400;
    if (!found) return !mint || lc_auth_mint(q->server->auth, &q->token, &q->claims, err) == LC_OK ? 0 : 500;
  }
  if (!lc_buf_ok(&q->token)) return lc_fail(err, LC_NOMEM, "out of memory"), 500;
  enum lc_status st = validate(q, err);
  return st == LC_OK ? 0 : st == LC_PENDING ? ROUTES_LATER : st == LC_NOMEM ? 500 : st == LC_CONFLICT ? 503 : 401;
}

const char *name_problem(struct lc_slice name) {
  struct lc_identity id;
  if (lc_identity_parse(name, &id)) return "database names cannot be identities";
  if (!name.len) return "database names cannot be empty";
  if (name.len > NAME_MAX_BYTES) return "database names cannot be longer than 64 characters";
  for (size_t i = 0; i < name.len; i++) {
    uint8_t c = name.data[i];
    if (c == '-') {
      if (i == 0 || i + 1 == name.len || name.data[i - 1] == '-') return "invalid hyphen in database name";
    } else if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))) {
      return "invalid characters in database name";
    }
  }
  return NULL;
}

uint16_t routes_resolve(struct server *s, struct lc_slice name, struct lc_identity *id, struct lc_error *err) {
  if (lc_identity_parse(name, id)) return 0;
  const char *problem = name_problem(name);
  if (problem) return lc_fail(err, LC_INVALID, "Invalid URL: %s", problem), 400;
  enum lc_status st = control_resolve(s->control, name, id, err);
  return st == LC_OK ? 0 : st == LC_NOT_FOUND ? 404 : 500;
}

/* ---- routes without a running database ---- */

/* A token is not needed, but one that is given must be good (V in the table of spec/04 §3). */
static void route_ping(struct request *q) {
  struct lc_error err = {0};
  uint16_t status = routes_authenticate(q, false, &err);
  if (status == ROUTES_LATER) return;
  request_text(q, status ? status : 200, status ? err.text : "");
}
static void route_health(struct request *q) {
  struct lc_buf b = {0};
  lc_buf_str(&b, "{\"nodes\":[0],\"package_name\":\"spacetimedb-client-api\",\"schedulable\":true,\"version\":\"" SERVER_VERSION "\"}");
  request_json(q, 200, &b);
}

static void route_sd_config(struct request *q) {
  struct lc_buf b = {0};
  lc_buf_str(&b, "[{\"targets\":[\"node:80\"],\"labels\":{}}]");
  request_json(q, 200, &b);
}

static void put_identity_token(struct lc_buf *b, const struct lc_identity *id, const struct lc_buf *token) {
  char hex[65];
  lc_identity_hex(id, hex);
  lc_buf_printf(b, "{\"identity\":\"%s\",\"token\":\"%.*s\"}", hex, (int)token->len, (const char *)token->data);
}
static void route_identity(struct request *q) {
  struct lc_buf b = {0}, token = {0};
  struct lc_auth_claims claims = {0};
  struct lc_error err;
  if (lc_auth_mint(q->server->auth, &token, &claims, &err) != LC_OK) {
    request_text(q, 500, err.text);
  } else {
    put_identity_token(&b, &claims.identity, &token);
    request_json(q, 200, &b);
  }
  lc_auth_claims_release(&claims);
  lc_buf_free(&token);
}
static void route_public_key(struct request *q) {
  struct answer *a = request_answer(q, 200);
  a->content_type = "application/pem-certificate-chain";
  lc_buf_slice_append(&a->body, lc_auth_public_key_pem(q->server->auth));
  answer_send(a, q->conn);
}
/* Token required (T in the table of spec/04 §3): false when the answer has been given, or the request comes again. */
bool request_need_token(struct request *q) {
  struct lc_error err;
  uint16_t status = routes_authenticate(q, false, &err);
  if (status == ROUTES_LATER) return false;
  if (status) request_text(q, status, err.text);
  else if (!q->token.len) request_text(q, 401, "Authorization required");
  return !status && q->token.len;
}
static void route_websocket_token(struct request *q) {
  struct lc_buf b = {0}, token = {0};
  struct lc_error err;
  if (!request_need_token(q)) return;
  if (lc_auth_websocket_token(q->server->auth, &q->claims, &token, &err) != LC_OK) {
    request_text(q, 500, err.text);
  } else {
    lc_buf_printf(&b, "{\"token\":\"%.*s\"}", (int)token.len, (const char *)token.data);
    request_json(q, 200, &b);
  }
  lc_buf_free(&token);
}
bool request_identity(struct request *q, struct lc_identity *id) {
  if (lc_identity_parse(lc_buf_slice(&q->params[0]), id)) return true;
  request_text(q, 400, "Invalid URL: invalid identity: 64 hex digits are wanted");
  return false;
}
static void route_verify(struct request *q) {
  struct lc_identity id;
  if (!request_need_token(q) || !request_identity(q, &id)) return;
  request_status(q, memcmp(&id, &q->claims.identity, sizeof id) ? 400 : 204);
}
struct list { struct lc_buf b; bool any; };
static void list_row(void *ctx, const struct control_row *row) {
  struct list *l = ctx;
  char hex[65];
  lc_identity_hex(&row->id, hex);
  lc_buf_printf(&l->b, "%s\"%s\"", l->any ? "," : "", hex);
  l->any = true;
}
static void route_databases(struct request *q) {
  struct lc_identity id;
  struct lc_error err;
  struct list l = {0};
  if (!request_identity(q, &id)) return;
  lc_buf_str(&l.b, "{\"identities\":[");
  if (control_each(q->server->control, &id, list_row, &l, &err) != LC_OK) {
    lc_buf_free(&l.b);
    request_text(q, 500, err.text);
    return;
  }
  lc_buf_str(&l.b, "]}");
  request_json(q, 200, &l.b);
}

/* ---- routes about a database ---- */

static void route_info(struct request *q, struct database *d) {
  struct control_row row;
  struct lc_error err;
  struct lc_buf b = {0};
  if (control_get(q->server->control, &d->identity, &row, &err) != LC_OK) {
    request_text(q, 500, err.text);
    return;
  }
  char id[65], owner[65], program[65];
  lc_identity_hex(&row.id, id);
  lc_identity_hex(&row.owner, owner);
  uint8_t reversed[32];
  for (int i = 0; i < 32; i++) reversed[i] = row.program.bytes[31 - i];
  lc_hex_encode(reversed, 32, program);
  const char *o = owner, *p = program; /* numbers are printed without leading zeros (spec/04 §1) */
  while (*o == '0' && o[1]) o++;
  while (*p == '0' && p[1]) p++;
  lc_buf_printf(&b, "{\"database_identity\":{\"__identity__\":\"0x%s\"},\"owner_identity\":{\"__identity__\":\"0x%s\"},\"host_type\":{\"%s\":[]},\"initial_program\":\"0x%s\"}", id, o, row.kind ? "Js" : "Wasm", p);
  request_json(q, 200, &b);
}
static void route_identity_of(struct request *q) {
  struct lc_identity id;
  struct lc_error err;
  char hex[65];
  uint16_t status = routes_resolve(q->server, lc_buf_slice(&q->params[0]), &id, &err);
  if (!status) lc_identity_hex(&id, hex);
  request_text(q, status ? status : 200, status ? err.text : hex);
}
static void route_timestamp(struct request *q, struct database *d) {
  (void)d;
  struct lc_buf b = {0};
  lc_buf_printf(&b, "{\"__timestamp_micros_since_unix_epoch__\":%lld}", (long long)lc_env_system.now_us(NULL));
  request_json(q, 200, &b);
}

/* ---- the table ---- */

struct route {
  const char *pattern;            /* ":" stands for one segment */
  unsigned method;
  enum layer layer;
  void (*run)(struct request *q);                           /* L_NONE, L_AUTH */
  void (*run_database)(struct request *q, struct database *d); /* L_DATABASE */
};
static const struct route routes[] = {
    {"/v1/ping", M_GET, L_NONE, route_ping, NULL},
    {"/v1/health", M_GET, L_NONE, route_health, NULL},
    {"/v1/identity", M_POST, L_NONE, route_identity, NULL},
    {"/v1/identity/public-key", M_GET, L_NONE, route_public_key, NULL},
    {"/v1/identity/websocket-token", M_POST, L_NONE, route_websocket_token, NULL},
    {"/v1/identity/:/verify", M_GET, L_NONE, route_verify, NULL},
    {"/v1/identity/:/databases", M_GET, L_NONE, route_databases, NULL},
    {"/v1/energy/:", M_GET, L_NONE, route_get_energy, NULL},
    {"/v1/energy/:", M_POST, L_NONE, route_post_energy, NULL},
    {"/v1/energy/:", M_PUT, L_NONE, route_put_energy, NULL},
    {"/v1/metrics", M_GET, L_NONE, route_metrics, NULL},
    {"/v1/prometheus/sd_config", M_GET, L_NONE, route_sd_config, NULL},
    {"/v1/mcp", M_POST, L_AUTH, route_mcp, NULL},
    {"/v1/database", M_POST, L_AUTH, route_publish, NULL},
    {"/v1/database/:", M_PUT, L_AUTH, route_publish, NULL},
    {"/v1/database/:", M_GET, L_DATABASE, NULL, route_info},
    {"/v1/database/:", M_DELETE, L_AUTH, route_delete, NULL},
    {"/v1/database/:/names", M_GET, L_DATABASE, NULL, route_get_names},
    {"/v1/database/:/names", M_POST, L_DATABASE, NULL, route_post_names},
    {"/v1/database/:/names", M_PUT, L_DATABASE, NULL, route_put_names},
    {"/v1/database/:/lock", M_POST, L_DATABASE, NULL, route_lock},
    {"/v1/database/:/unlock", M_POST, L_DATABASE, NULL, route_unlock},
    {"/v1/database/:/pre_publish", M_POST, L_DATABASE, NULL, route_pre_publish},
    {"/v1/database/:/reset", M_PUT, L_DATABASE, NULL, route_reset},
    {"/v1/database/:/environment", M_GET, L_DATABASE, NULL, route_get_environment},
    {"/v1/database/:/environment", M_PUT, L_DATABASE, NULL, route_put_environment},
    {"/v1/database/:/environment", M_PATCH, L_DATABASE, NULL, route_patch_environment},
    {"/v1/database/:/identity", M_GET, L_AUTH, route_identity_of, NULL},
    {"/v1/database/:/subscribe", M_GET, L_AUTH, ws_upgrade, NULL},
    {"/v1/database/:/call/:", M_POST, L_DATABASE, NULL, route_call},
    {"/v1/database/:/sql", M_POST, L_DATABASE, NULL, route_sql},
    {"/v1/database/:/mcp", M_POST, L_DATABASE, NULL, route_database_mcp},
    {"/v1/database/:/schema", M_GET, L_DATABASE, NULL, route_schema},
    {"/v1/database/:/logs", M_GET, L_DATABASE, NULL, route_logs},
    {"/v1/database/:/route*", M_ANY, L_MODULE, NULL, route_handler},
    {"/v1/database/:/unstable/timestamp", M_GET, L_DATABASE, NULL, route_timestamp},
};
enum { N_ROUTES = sizeof routes / sizeof *routes };

/* Matches a raw path against a pattern; parameters are raw slices. `*` at the end: nothing, or a slash and anything. */
static bool match(const char *pattern, struct lc_slice path, struct lc_slice params[2]) {
  size_t at = 0;
  unsigned n = 0;
  for (const char *p = pattern; *p; p++) {
    if (*p == '*') {
      params[n++] = lc_slice(path.data + at, path.len - at);
      return at == path.len || path.data[at] == '/';
    }
    if (*p != ':') {
      if (at >= path.len || path.data[at] != (uint8_t)*p) return false;
      at++;
      continue;
    }
    size_t end = at;
    while (end < path.len && path.data[end] != '/') end++;
    if (end == at) return false;
    params[n++] = lc_slice(path.data + at, end - at);
    at = end;
  }
  return at == path.len;
}
/* Static segments win over parameters: the table names them first. */
static unsigned methods_of(struct lc_slice path, unsigned method, const struct route **found, struct lc_slice params[2]) {
  unsigned allowed = 0;
  *found = NULL;
  for (unsigned i = 0; i < N_ROUTES; i++) {
    struct lc_slice here[2] = {{0}, {0}};
    if (!match(routes[i].pattern, path, here)) continue;
    allowed |= routes[i].method;
    if (!(routes[i].method & method) || *found) continue;
    *found = &routes[i];
    params[0] = here[0];
    params[1] = here[1];
  }
  return allowed;
}
static unsigned method_bit(struct lc_slice m) {
  if (lc_slice_eq_str(m, "GET") || lc_slice_eq_str(m, "HEAD")) return M_GET;
  if (lc_slice_eq_str(m, "POST")) return M_POST;
  if (lc_slice_eq_str(m, "PUT")) return M_PUT;
  if (lc_slice_eq_str(m, "PATCH")) return M_PATCH;
  return lc_slice_eq_str(m, "DELETE") ? M_DELETE : M_OTHER;
}

size_t routes_body_limit(void *ctx, struct lc_conn *conn, const struct lc_http_request *r) {
  (void)ctx, (void)conn;
  const struct route *found;
  struct lc_slice params[2];
  methods_of(r->path, method_bit(r->method), &found, params);
  return found && (found->run == route_publish || found->run_database == route_pre_publish || found->run_database == route_reset || found->run_database == route_handler) ? PROGRAM_MAX_BYTES : BODY_MAX_BYTES;
}

static bool takes_environment(struct lc_slice path) { /* spec/07 §7.2 */
  const struct route *found;
  struct lc_slice params[2];
  for (unsigned m = M_POST; m <= M_PATCH; m *= 2)
    if (methods_of(path, m, &found, params) && found && (found->run == route_publish || found->run_database == route_reset || found->run_database == route_patch_environment)) return true;
  return false;
}
static void answer_methods(struct request *q, unsigned allowed, bool options) {
  struct answer *a = request_answer(q, options ? 200 : 405);
  char allow[64];
  snprintf(allow, sizeof allow, "%s%s%s%s%s", allowed & M_GET ? ",GET,HEAD" : "", allowed & M_POST ? ",POST" : "", allowed & M_PUT ? ",PUT" : "", allowed & M_DELETE ? ",DELETE" : "", allowed & M_PATCH ? ",PATCH" : "");
  if (options) {
    answer_header(a, "access-control-allow-methods", "*");
    answer_header(a, "access-control-allow-headers", takes_environment(q->r->path) ? "authorization,accept,content-type,spacetime-environment,spacetime-environment-remove" : "authorization,accept,content-type");
  }
  answer_header(a, "allow", allow + 1);
  answer_send(a, q->conn);
}

static void dispatch(struct request *q, const struct route *route) {
  struct lc_error err = {0};
  if (route->layer == L_AUTH || route->layer == L_DATABASE) {
    uint16_t status = routes_authenticate(q, true, &err);
    if (status == ROUTES_LATER) return;
    if (status) {
      request_text(q, status, err.text);
      return;
    }
    q->authenticated = true;
  }
  if (q->r->body_too_large) {
    struct answer *a = request_answer(q, 413);
    answer_text(a, 413, "Failed to buffer the request body: length limit exceeded");
    a->close = true;
    answer_send(a, q->conn);
    return;
  }
  if (route->layer < L_DATABASE) {
    route->run(q);
    return;
  }
  struct lc_identity id;
  uint16_t status = routes_resolve(q->server, lc_buf_slice(&q->params[0]), &id, &err);
  struct database *d = q->database = status ? NULL : server_database(q->server, &id);
  if (status) {
    request_text(q, status, err.text);
  } else if (!d) {
    request_text(q, 404, "No such database.");
  } else if ((status = database_refusal(d, &err)) && !(d->db && route->run_database == route_logs)) {
    request_text(q, status, err.text);
  } else {
    route->run_database(q, d);
  }
}

void routes_request(void *ctx, struct lc_conn *conn, const struct lc_http_request *r) {
  struct request q = {.server = ctx, .conn = conn, .r = r};
  const struct route *route;
  struct lc_slice params[2] = {{0}, {0}};
  unsigned allowed = methods_of(r->path, method_bit(r->method), &route, params);
  q.cors = allowed != 0;
  if (!allowed) request_text(&q, 404, "");
  else if (lc_slice_eq_str(r->method, "OPTIONS")) answer_methods(&q, allowed, true);
  else if (!route) answer_methods(&q, allowed, false);
  else {
    for (int i = 0; i < 2; i++) lc_http_percent_decode(params[i], false, &q.params[i]);
    if (!lc_buf_ok(&q.params[0]) || !lc_buf_ok(&q.params[1])) request_text(&q, 500, "out of memory");
    else if (!lc_utf8_valid(q.params[0].data, q.params[0].len) || !lc_utf8_valid(q.params[1].data, q.params[1].len)) request_text(&q, 400, "Invalid URL: Invalid UTF-8 in path");
    else dispatch(&q, route);
  }
  lc_buf_free(&q.params[0]);
  lc_buf_free(&q.params[1]);
  lc_buf_free(&q.token);
  database_unref(q.database);
  lc_auth_claims_release(&q.claims);
}
