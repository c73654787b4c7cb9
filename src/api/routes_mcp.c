/* Owns: the Model Context Protocol (spec/04 §3.12): JSON-RPC by POST, whose tools do what the routes `call`, `sql` and `schema` do, of one database or of the server.
 *
 * A tool that asks a database becomes an operation of that route (db_tool); its answer is made into the tool's result on the way back.
 * Callers: routes.c, routes_db.c.
 */
#include "server.h"
#include <jansson.h>
#include <stdio.h>

struct mcp_reply { char *id; /* JSON */ char *reducer; /* that is called; NULL: another tool */ };
enum { INVALID_REQUEST = -32600, NO_METHOD = -32601, INVALID_PARAMS = -32602 };

void mcp_reply_free(struct mcp_reply *r) {
  if (!r) return;
  free(r->id);
  lc_free(r->reducer);
  lc_free(r);
}

static void head(struct lc_buf *b, const char *id) { lc_buf_printf(b, "{\"jsonrpc\":\"2.0\",\"id\":%s,", id); }
static void answer_error(struct request *q, const char *id, int code, const char *text) {
  struct lc_buf b = {0};
  head(&b, id);
  lc_buf_printf(&b, "\"error\":{\"code\":%d,\"message\":", code);
  lc_json_escape(&b, lc_slice_str(text));
  lc_buf_str(&b, "}}");
  request_json(q, 200, &b);
}
static void put_result(struct lc_buf *b, const char *id, struct lc_slice text, bool is_error) {
  head(b, id);
  lc_buf_str(b, "\"result\":{\"content\":[{\"type\":\"text\",\"text\":");
  lc_json_escape(b, text);
  lc_buf_printf(b, "}],\"isError\":%s}}", is_error ? "true" : "false");
}
static void answer_tool(struct request *q, const char *id, struct lc_slice text) {
  struct lc_buf b = {0};
  put_result(&b, id, text, false);
  request_json(q, 200, &b);
}

void mcp_result(struct mcp_reply *r, struct answer *a) {
  struct lc_buf text = {0}, out = {0};
  struct lc_slice body = lc_buf_slice(&a->body);
  if (r->reducer && a->status == 200 && !body.len) lc_buf_printf(&text, "reducer '%s' committed", r->reducer);
  else if (r->reducer && a->status == 404) lc_buf_str(&text, "no such reducer");
  else if (r->reducer && a->status >= 400) lc_buf_printf(&text, "reducer '%s' failed: %.*s", r->reducer, (int)body.len, (const char *)body.data);
  else lc_buf_slice_append(&text, body);
  put_result(&out, r->id, lc_buf_slice(&text), a->status != 200);
  bool ok = lc_buf_ok(&text) && lc_buf_ok(&a->body);
  lc_buf_free(&text);
  lc_buf_free(&a->body);
  a->body = out; /* one that has failed is told of as such */
  if (!ok) a->body.failed = true;
  a->status = 200;
  a->content_type = "application/json";
}

/* ---- tools ---- */

static const struct tool { const char *name, *description, *properties, *required; bool asks_database; enum db_work work; } tools[] = {
    {"ping", "Checks that the server answers", "\"message\":{\"type\":\"string\",\"description\":\"Comes back with the answer\"}", "", false, DB_CALL},
    {"get_schema", "The tables, reducers and types of a database", "", "", true, DB_SCHEMA},
    {"sql", "Runs an SQL statement", "\"sql\":{\"type\":\"string\",\"description\":\"The statement\"},\"confirmed\":{\"type\":\"boolean\",\"description\":\"Waits until what is read is durable (default true)\"}", "\"sql\"", true, DB_SQL},
    {"call", "Calls a reducer", "\"reducer\":{\"type\":\"string\",\"description\":\"Its name\"},\"args\":{\"type\":\"array\",\"description\":\"Its arguments, in order\"}", "\"reducer\"", true, DB_CALL},
    {"list_databases", "The names of the caller's databases", "", "", false, DB_CALL}, /* of the server only */
};
enum { N_TOOLS = sizeof tools / sizeof *tools };

static void list_tools(struct request *q, const char *id, bool of_server) {
  static const char database[] = "\"database\":{\"type\":\"string\",\"description\":\"Its name or identity\"}";
  struct lc_buf b = {0};
  head(&b, id);
  lc_buf_str(&b, "\"result\":{\"tools\":[");
  for (unsigned i = 0; i < N_TOOLS - (unsigned)!of_server; i++) {
    const struct tool *t = &tools[i];
    bool asks = of_server && t->asks_database;
    lc_buf_printf(&b, "%s{\"name\":\"%s\",\"description\":\"%s\",\"inputSchema\":{\"type\":\"object\",\"properties\":{%s%s%s},\"required\":[%s%s%s]}}", i ? "," : "", t->name, t->description, asks ? database : "",
                  asks && *t->properties ? "," : "", t->properties, asks ? "\"database\"" : "", asks && *t->required ? "," : "", t->required);
  }
  lc_buf_str(&b, "]}}");
  request_json(q, 200, &b);
}

struct names { struct lc_buf b; bool any; };
static void on_name(void *ctx, const char *name) {
  struct names *n = ctx;
  if (n->any) lc_buf_str(&n->b, ",");
  lc_json_escape(&n->b, lc_slice_str(name));
  n->any = true;
}
static void on_database(void *ctx, const struct control_row *row) { lc_buf_append(ctx, row->id.bytes, sizeof row->id.bytes); }
static void list_databases(struct request *q, const char *id) {
  struct names n = {0};
  struct lc_buf ids = {0};
  struct lc_error err;
  enum lc_status st = control_each(q->server->control, &q->claims.identity, on_database, &ids, &err);
  lc_buf_str(&n.b, "[");
  for (size_t at = 0; st == LC_OK && at < ids.len; at += sizeof(struct lc_identity)) {
    struct lc_identity database;
    char hex[65];
    memcpy(database.bytes, ids.data + at, sizeof database.bytes);
    lc_identity_hex(&database, hex);
    lc_buf_printf(&n.b, "%s{\"identity\":\"%s\",\"names\":[", at ? "," : "", hex);
    n.any = false;
    st = control_names(q->server->control, &database, on_name, &n, &err);
    lc_buf_str(&n.b, "]}");
  }
  lc_buf_str(&n.b, "]");
  if (st != LC_OK || !lc_buf_ok(&ids) || !lc_buf_ok(&n.b)) request_text(q, 500, st == LC_OK ? "out of memory" : err.text);
  else answer_tool(q, id, lc_buf_slice(&n.b));
  lc_buf_free(&ids);
  lc_buf_free(&n.b);
}

/* The database that `database` names; false: the error has been answered. */
static bool database_of(struct request *q, const char *id, const json_t *arguments, struct database **d) {
  const json_t *name = json_object_get(arguments, "database");
  struct lc_identity identity;
  struct lc_error err = {0};
  if (!json_is_string(name)) return answer_error(q, id, INVALID_PARAMS, "missing required argument `database`"), false;
  uint16_t status = routes_resolve(q->server, lc_slice(json_string_value(name), json_string_length(name)), &identity, &err);
  if (!status && !(*d = q->database = server_database(q->server, &identity))) status = 404, lc_fail(&err, LC_NOT_FOUND, "No such database.");
  if (!status) status = database_refusal(*d, &err);
  if (status) return answer_error(q, id, INVALID_PARAMS, err.text), false;
  return true;
}

static void call_tool(struct request *q, const char *id, const json_t *params, struct database *d) {
  const char *name = json_string_value(json_object_get(params, "name"));
  const json_t *arguments = json_object_get(params, "arguments");
  const struct tool *t = NULL;
  bool of_server = d == NULL;
  for (unsigned i = 0; name && i < N_TOOLS - (unsigned)!of_server; i++)
    if (strcmp(tools[i].name, name) == 0) t = &tools[i];
  if (!t) {
    answer_error(q, id, INVALID_PARAMS, name ? "unknown tool" : "missing tool name");
    return;
  }
  if (arguments && !json_is_object(arguments)) {
    answer_error(q, id, INVALID_PARAMS, "`arguments` must be an object");
    return;
  }
  if (strcmp(name, "ping") == 0) {
    const json_t *message = json_object_get(arguments, "message");
    struct lc_buf b = {0};
    lc_buf_str(&b, "pong");
    if (json_is_string(message)) {
      lc_buf_str(&b, ": ");
      lc_buf_append(&b, json_string_value(message), json_string_length(message));
    }
    answer_tool(q, id, lc_buf_slice(&b));
    lc_buf_free(&b);
    return;
  }
  if (!t->asks_database) {
    list_databases(q, id);
    return;
  }
  if (of_server && !database_of(q, id, arguments, &d)) return;
  const json_t *text = json_object_get(arguments, t->work == DB_SQL ? "sql" : "reducer"), *args = json_object_get(arguments, "args"), *confirmed = json_object_get(arguments, "confirmed");
  if (t->work != DB_SCHEMA && !json_is_string(text)) {
    answer_error(q, id, INVALID_PARAMS, t->work == DB_SQL ? "missing required argument `sql`" : "missing required argument `reducer`");
  } else if (t->work == DB_CALL && args && !json_is_array(args)) {
    answer_error(q, id, INVALID_PARAMS, "`args` must be an array");
  } else {
    struct mcp_reply *reply = lc_alloc_zero(1, sizeof *reply);
    char *list = t->work == DB_CALL && args ? json_dumps(args, JSON_COMPACT) : NULL;
    struct lc_slice given = text ? lc_slice(json_string_value(text), json_string_length(text)) : lc_slice("", 0);
    if (reply) {
      reply->id = strdup(id);
      if (t->work == DB_CALL) reply->reducer = lc_strdup_n((const char *)given.data, given.len);
    }
    if (!reply || !reply->id || (t->work == DB_CALL && (!reply->reducer || (args && !list)))) {
      mcp_reply_free(reply);
      request_text(q, 500, "out of memory");
    } else {
      db_tool(q, d, t->work, t->work == DB_CALL ? given : lc_slice("", 0), t->work == DB_SQL ? given : lc_slice_str(list ? list : "[]"), !json_is_false(confirmed), reply);
    }
    free(list);
  }
}

/* ---- messages ---- */

static void initialize(struct request *q, const char *id) {
  struct lc_buf b = {0};
  head(&b, id);
  lc_buf_str(&b, "\"result\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{\"tools\":{}},\"serverInfo\":{\"name\":\"spacetimedb\",\"version\":\"" SERVER_VERSION "\"}}}");
  request_json(q, 200, &b);
}
static void serve(struct request *q, struct database *d) {
  struct lc_slice type = lc_http_header_get(q->r, "content-type");
  json_t *message = NULL;
  json_error_t at;
  if (!lc_slice_eq_str(type, "application/json")) {
    request_text(q, 415, "Expected request with `Content-Type: application/json`");
    return;
  }
  if (!(message = json_loadb((const char *)q->r->body.data, q->r->body.len, JSON_DECODE_ANY, &at))) {
    char text[256];
    snprintf(text, sizeof text, "Failed to parse the request body as JSON: %s", at.text);
    request_text(q, 400, text);
    return;
  }
  const json_t *id = json_object_get(message, "id"), *params = json_object_get(message, "params");
  const char *method = json_string_value(json_object_get(message, "method")), *version = json_string_value(json_object_get(message, "jsonrpc"));
  bool has_id = json_is_string(id) || json_is_number(id) || json_is_null(id);
  char *id_text = has_id ? json_dumps(id, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
  if (has_id && !id_text) request_text(q, 500, "out of memory");
  else if (!json_is_object(message) || !version || strcmp(version, "2.0") != 0 || !method || (id && !has_id)) answer_error(q, id_text ? id_text : "null", INVALID_REQUEST, "not a JSON-RPC 2.0 request");
  else if (!has_id) request_text(q, 202, "");
  else if (strcmp(method, "initialize") == 0) initialize(q, id_text);
  else if (strcmp(method, "tools/list") == 0) list_tools(q, id_text, d == NULL);
  else if (strcmp(method, "tools/call") == 0) call_tool(q, id_text, params, d);
  else if (strcmp(method, "ping") != 0) answer_error(q, id_text, NO_METHOD, "unknown method");
  else {
    struct lc_buf b = {0};
    head(&b, id_text);
    lc_buf_str(&b, "\"result\":{}}");
    request_json(q, 200, &b);
  }
  free(id_text);
  json_decref(message);
}
void route_mcp(struct request *q) { serve(q, NULL); }
void route_database_mcp(struct request *q, struct database *d) { serve(q, d); }
