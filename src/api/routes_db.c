/* Owns: the routes that ask a running database: call, sql, schema, logs (spec/04 §3.5-§3.8). Each becomes one operation in the database's inbox;
 * its answer travels back through server_answer and waits for the log like any other output. Callers: routes.c.
 */
#include "server.h"
#include <stdio.h>

struct http_op {
  struct server *server;
  struct database *database;
  struct answer *answer;
  struct lc_auth_claims claims;
  struct lc_buf name, body;
  bool confirmed, is_owner, pending; /* pending: the answer comes later */
  bool is_connected; uint64_t rows_of; int64_t started_us; /* of an SQL text; the offset that its rows are of */
  struct lc_connection_id conn;
  const struct lc_function_def *procedure; struct lc_module *module; /* running */
  unsigned version;
  const struct lc_sql_form *form; /* of the rows; NULL: JSON */
  struct mcp_reply *mcp;        /* the answer is the result of a tool */
  void (*run)(struct http_op *op, struct lc_db *db, uint64_t *wait_for);
};

static void op_free(struct http_op *op) {
  lc_auth_claims_release(&op->claims);
  lc_module_unref(op->module);
  database_unref(op->database);
  lc_buf_free(&op->name);
  lc_buf_free(&op->body);
  mcp_reply_free(op->mcp);
  lc_free(op);
}
static void finish_op(struct http_op *op, uint64_t wait_for) {
  if (op->mcp) mcp_result(op->mcp, op->answer);
  if (!lc_buf_ok(&op->answer->body)) answer_text(op->answer, 500, "out of memory");
  server_answer(op->server, op->answer, op->database, op->confirmed ? wait_for : UINT64_MAX);
  op_free(op);
}
static void run_op(struct lc_db *db, void *arg) {
  struct http_op *op = arg;
  uint64_t wait_for = UINT64_MAX;
  op->run(op, db, &wait_for);
  if (!op->pending) finish_op(op, wait_for);
}
static void submit(struct request *q, struct database *d, struct http_op *op) {
  struct lc_db_batch *batch = server_batch(lc_conn_thread(q->conn), d);
  op->server = q->server;
  op->database = d;
  database_ref(d);
  op->claims = q->claims;
  q->claims = (struct lc_auth_claims){.identity = op->claims.identity};
  op->is_owner = memcmp(&op->claims.identity, &d->owner, sizeof d->owner) == 0;
  op->answer = request_answer(q, 200);
  struct lc_db_op *item = batch && lc_buf_ok(&op->body) && lc_buf_ok(&op->name) ? lc_db_batch_add(batch, LC_OP_FUNCTION, NULL) : NULL;
  if (!item) {
    answer_text(op->answer, 500, "out of memory");
    answer_send(op->answer, q->conn);
    op_free(op);
    return;
  }
  item->function = run_op;
  item->arg = op;
}
static struct http_op *op_new(struct request *q, void (*run)(struct http_op *, struct lc_db *, uint64_t *)) {
  struct http_op *op = lc_alloc_zero(1, sizeof *op);
  if (!op) request_text(q, 500, "out of memory");
  else op->run = run;
  return op;
}

/* Connects for the time of one request; false: the refusal is the answer (spec/04 §2). */
static bool connect(struct http_op *op, struct lc_db *db, struct lc_connection_id *conn, uint64_t *wait_for) {
  struct lc_error err = {0};
  enum lc_status st = lc_db_http_connect(db, &op->claims.identity, lc_auth_payload(&op->claims), conn, &err);
  *wait_for = lc_db_next_offset(db);
  if (st == LC_OK) return true;
  if (st == LC_BUDGET) answer_text(op->answer, 503, "Insufficient energy balance to run `client_connected` reducer");
  else answer_text(op->answer, st == LC_DENIED ? 403 : st == LC_TRAP ? 404 : 500, err.text);
  return false;
}

/* ---- call ---- */

static void durations(struct answer *a, uint64_t us) {
  char text[24];
  snprintf(text, sizeof text, "%llu", (unsigned long long)us);
  answer_header(a, "spacetime-execution-duration-micros", text);
}
static void answer_outcome(struct answer *a, const struct lc_reducer_outcome *o) {
  a->status = o->status == LC_REDUCER_COMMITTED ? 200 : 530;
  lc_buf_clear(&a->body);
  switch (o->status) {
  case LC_REDUCER_COMMITTED: break;
  case LC_REDUCER_FAILED_USER:
  case LC_REDUCER_FAILED_INTERNAL:
    a->content_type = "text/plain; charset=utf-8";
    lc_buf_slice_append(&a->body, o->message);
    break;
  case LC_REDUCER_OUT_OF_ENERGY: answer_text(a, 402, "Module energy budget exhausted."); break;
  case LC_REDUCER_REJECTED:
    a->status = 400;
    a->content_type = "text/plain; charset=utf-8";
    lc_buf_slice_append(&a->body, o->message);
    return;
  }
  char text[24];
  uint64_t energy = o->energy ? o->energy : (uint64_t)(o->duration_us > 0 ? o->duration_us : 0) * 2000; /* 2e9 units a second (spec/02 §8) */
  snprintf(text, sizeof text, "%llu", (unsigned long long)energy);
  answer_header(a, "spacetime-energy-used", text);
  durations(a, (uint64_t)(o->duration_us > 0 ? o->duration_us : 0));
}

static const struct lc_function_def *find(const struct lc_function_def *list, uint32_t n, struct lc_slice name, bool is_owner) {
  for (uint32_t i = 0; i < n; i++)
    if (lc_slice_eq(list[i].name, name)) return list[i].is_private && !is_owner ? NULL : &list[i];
  return NULL;
}

static void bad_arguments(struct http_op *op, struct lc_db *db, const char *kind, const struct lc_error *err) {
  struct lc_slice name = lc_buf_slice(&op->name);
  lc_db_log_bad_call(db, name, kind, true);
  op->answer->status = 400;
  op->answer->content_type = "text/plain; charset=utf-8";
  lc_buf_printf(&op->answer->body, "invalid arguments for %s %.*s: %s", kind, (int)name.len, (const char *)name.data, err->text);
}

/* A procedure has ended: its connection goes, its caller gets the answer. */
static void procedure_done(struct lc_db *db, void *arg, const struct lc_db_procedure_result *res) {
  struct http_op *op = arg;
  struct lc_error err = {0};
  if (res->status == LC_OK) {
    struct lc_reader r = lc_reader(res->value);
    op->answer->content_type = "application/json";
    if (lc_json_write_value(&op->answer->body, op->procedure->ok_type, op->procedure->typespace, &r, LC_JSON_U, &err) != LC_OK) answer_text(op->answer, 500, err.text);
    durations(op->answer, (uint64_t)res->duration_us);
  } else {
    answer_text(op->answer, 500, res->error_text);
  }
  lc_db_http_disconnect(db, &op->claims.identity, &op->conn);
  finish_op(op, lc_db_next_offset(db));
}

static void call(struct http_op *op, struct lc_db *db, uint64_t *wait_for) {
  const struct lc_module_def *def = lc_db_module_def(db);
  struct lc_slice name = lc_buf_slice(&op->name);
  struct lc_connection_id conn;
  struct lc_error err = {0};
  struct lc_buf args = {0};
  const struct lc_function_def *reducer = find(def->reducers, def->n_reducers, name, op->is_owner);
  op->is_connected = !reducer || lc_db_http_needs_connection(db, lc_slice(NULL, 0));
  if (op->is_connected && !connect(op, db, &conn, wait_for)) return;
  const struct lc_function_def *procedure = reducer ? NULL : find(def->procedures, def->n_procedures, name, op->is_owner);
  if (reducer) {
    enum lc_status st = reducer->lifecycle != LC_LIFECYCLE_NONE ? LC_OK : lc_json_parse_args(lc_buf_slice(&op->body), reducer, &args, &err);
    if (st != LC_OK) {
      bad_arguments(op, db, "reducer", &err);
    } else {
      struct lc_reducer_outcome o;
      if (!op->is_connected) {
        lc_env_system.random(lc_env_system.ctx, conn.bytes, sizeof conn.bytes);
        lc_db_http_visitor(db, &conn, lc_auth_payload(&op->claims));
      }
      lc_db_http_call(db, &op->claims.identity, &conn, name, lc_buf_slice(&args), &o);
      lc_db_http_visitor(db, NULL, lc_slice(NULL, 0));
      answer_outcome(op->answer, &o);
    }
  } else if (procedure) {
    if (lc_json_parse_args(lc_buf_slice(&op->body), procedure, &args, &err) != LC_OK) {
      bad_arguments(op, db, "procedure", &err);
    } else {
      op->procedure = procedure;
      op->module = lc_db_module_ref(db);
      op->conn = conn;
      struct lc_db_procedure_call c = {.caller = op->claims.identity, .connection_id = conn, .is_owner = op->is_owner, .confirmed = op->confirmed, .name = name, .args = lc_buf_slice(&args), .done = procedure_done, .arg = op};
      op->pending = lc_db_start_procedure(db, &c, &err) == LC_OK;
      if (!op->pending) answer_text(op->answer, 500, err.text);
    }
    if (op->pending) {
      lc_buf_free(&args);
      return;
    }
  } else {
    lc_db_log_bad_call(db, name, "reducer", false);
    lc_db_log_bad_call(db, name, "procedure", false);
    answer_text(op->answer, 404, "No such procedure");
  }
  if (op->is_connected) lc_db_http_disconnect(db, &op->claims.identity, &conn);
  *wait_for = lc_db_next_offset(db);
  lc_buf_free(&args);
}

void route_call(struct request *q, struct database *d) {
  struct lc_slice type = lc_http_header_get(q->r, "content-type");
  bool confirmed = true; /* else the answer, and a procedure's transactions (spec/07 §3.4), do not wait for the log */
  struct lc_error err;
  if (!routes_query_bool(q->r, "confirmed", &confirmed, &err)) {
    request_text(q, 400, err.text);
  } else if (!type.data) {
    request_text(q, 400, "Header of type `content-type` was missing");
  } else if (!lc_slice_eq_str(type, "application/json")) {
    request_text(q, 415, "Expected request with `Content-Type: application/json`");
  } else if (!lc_utf8_valid(q->r->body.data, q->r->body.len)) {
    request_text(q, 400, "Request body didn't contain valid UTF-8");
  } else {
    struct http_op *op = op_new(q, call);
    if (!op) return;
    op->confirmed = confirmed;
    lc_buf_slice_append(&op->name, lc_buf_slice(&q->params[1]));
    lc_buf_slice_append(&op->body, q->r->body);
    submit(q, d, op);
  }
}

/* ---- sql ---- */

/* The end of a statement: what its answer waits for. */
static uint64_t sql_end(struct http_op *op, struct lc_db *db, enum lc_status st, const struct lc_error *err) {
  if (st == LC_OK) op->answer->content_type = "application/json";
  else answer_text(op->answer, st == LC_NOMEM ? 500 : st == LC_CLOSED ? 503 : 400, err->text);
  durations(op->answer, (uint64_t)(lc_env_system.now_us(NULL) - op->started_us));
  if (!op->is_connected) return op->rows_of;
  lc_db_http_disconnect(db, &op->claims.identity, &op->conn);
  return lc_db_next_offset(db);
}
static void sql_done(struct lc_db *db, void *arg, struct lc_buf *out, enum lc_status st, const struct lc_error *err) {
  struct http_op *op = arg;
  lc_buf_free(&op->answer->body);
  op->answer->body = *out;
  *out = (struct lc_buf){0};
  finish_op(op, sql_end(op, db, st, err));
}
static void sql(struct http_op *op, struct lc_db *db, uint64_t *wait_for) {
  struct lc_error err = {0};
  op->is_connected = lc_db_http_needs_connection(db, lc_buf_slice(&op->body));
  if (op->is_connected && !connect(op, db, &op->conn, wait_for)) return;
  struct lc_sql_caller caller = {.identity = op->claims.identity, .is_owner = op->is_owner};
  struct lc_db_query_later later = {.done = sql_done, .arg = op, .form = op->form};
  op->started_us = lc_env_system.now_us(NULL);
  enum lc_status st = lc_db_http_sql(db, &caller, lc_buf_slice(&op->body), &op->answer->body, &op->rows_of, &later, &err);
  op->pending = later.is_begun;
  if (!op->pending) *wait_for = sql_end(op, db, st, &err);
}

void route_sql(struct request *q, struct database *d) {
  bool confirmed = true;
  struct lc_error err;
  if (!routes_query_bool(q->r, "confirmed", &confirmed, &err)) {
    request_text(q, 400, err.text);
    return;
  }
  if (!lc_utf8_valid(q->r->body.data, q->r->body.len)) {
    request_text(q, 400, "Request body didn't contain valid UTF-8");
    return;
  }
  struct http_op *op = op_new(q, sql);
  if (!op) return;
  op->confirmed = confirmed;
  lc_buf_slice_append(&op->body, q->r->body);
  submit(q, d, op);
}

void db_sql_in_form(struct server *s, struct lc_conn *conn, struct database *d, const struct lc_auth_claims *claims, struct lc_slice text, const struct lc_sql_form *form) {
  struct request q = {.server = s, .conn = conn};
  struct http_op *op = op_new(&q, sql);
  if (!op) return;
  lc_auth_claims_copy(&q.claims, claims);
  op->confirmed = true;
  op->form = form;
  lc_buf_slice_append(&op->body, text);
  submit(&q, d, op);
  lc_auth_claims_release(&q.claims);
}

/* ---- schema ---- */

static void schema(struct http_op *op, struct lc_db *db, uint64_t *wait_for) {
  (void)wait_for;
  struct lc_error err = {0};
  op->answer->content_type = "application/json";
  enum lc_status st = lc_module_def_json(lc_db_module_def(db), op->version, &op->answer->body, &err);
  if (st != LC_OK) answer_text(op->answer, 500, err.text);
}

void route_schema(struct request *q, struct database *d) {
  struct lc_buf v = {0};
  struct lc_error err;
  bool given, once = routes_query(q->r, "version", &v, &given, &err);
  unsigned version = lc_slice_eq_str(lc_buf_slice(&v), "9") ? 9 : lc_slice_eq_str(lc_buf_slice(&v), "10") ? 10 : 0;
  if (!once) version = 0;
  else if (!given) lc_fail(&err, LC_INVALID, "Failed to deserialize query string: missing field `version`");
  else if (!version) lc_fail(&err, LC_INVALID, "Failed to deserialize query string: version: unknown variant `%.*s`, expected `9` or `10`", (int)v.len, (const char *)v.data);
  lc_buf_free(&v);
  if (!version) {
    request_text(q, 400, err.text);
    return;
  }
  struct http_op *op = op_new(q, schema);
  if (!op) return;
  op->version = version;
  submit(q, d, op);
}

/* ---- for tools (routes_mcp.c) ---- */

void db_tool(struct request *q, struct database *d, enum db_work work, struct lc_slice name, struct lc_slice body, bool confirmed, struct mcp_reply *mcp) {
  static void (*const runs[])(struct http_op *, struct lc_db *, uint64_t *) = {[DB_CALL] = call, [DB_SQL] = sql, [DB_SCHEMA] = schema};
  struct http_op *op = op_new(q, runs[work]);
  if (!op) {
    mcp_reply_free(mcp);
    return;
  }
  op->confirmed = confirmed;
  op->version = 9;
  op->mcp = mcp;
  lc_buf_slice_append(&op->name, name);
  lc_buf_slice_append(&op->body, body);
  submit(q, d, op);
}

/* ---- logs ---- */

enum { FOLLOW_MAX_LINES = 2500, FOLLOW_MAX_BACKLOG_BYTES = 1 << 20 };
struct follower { struct attached at; /* database: with a reference */ struct lc_net *net; };
struct line_task { struct lc_net_task task; struct lc_conn_ref ref; struct lc_buf line; };

static void run_line(struct lc_net_thread *t, struct lc_net_task *task) {
  struct line_task *l = (struct line_task *)task;
  struct lc_conn *c = lc_conn_from_ref(t, l->ref);
  if (c && lc_conn_backlog_bytes(c) < FOLLOW_MAX_BACKLOG_BYTES) lc_http_stream_write(c, lc_buf_slice(&l->line)); /* a slow reader skips */
  lc_buf_free(&l->line);
  lc_free(l);
}
static void on_line(void *ctx, struct lc_slice line) {
  struct follower *f = ctx;
  struct line_task *l = lc_alloc_zero(1, sizeof *l);
  if (!l) return;
  l->task.run = run_line;
  l->ref = f->at.ref;
  lc_buf_slice_append(&l->line, line);
  if (line.len && line.data[line.len - 1] != '\n') lc_buf_u8(&l->line, '\n');
  lc_net_post(f->net, f->at.ref.thread, &l->task);
}
void routes_closed(struct lc_conn *conn) {
  struct follower *f = lc_conn_user(conn);
  if (!f) return;
  lc_db_logs_unfollow(f->at.database->db, on_line, f);
  server_detach(lc_conn_thread(conn), &f->at);
  database_unref(f->at.database);
  lc_free(f);
}

void route_logs(struct request *q, struct database *d) {
  struct lc_error err = {0};
  struct lc_buf v = {0};
  bool follow = false, has_lines = false, bad = !routes_query_bool(q->r, "follow", &follow, &err) || !routes_query(q->r, "num_lines", &v, &has_lines, &err);
  uint64_t n_lines = 0;
  for (size_t i = 0; has_lines && i < v.len && !bad; i++) {
    bad = v.data[i] < '0' || v.data[i] > '9' || (n_lines = n_lines * 10 + (unsigned)(v.data[i] - '0')) > UINT32_MAX;
  }
  if (has_lines && err.status == LC_OK && (bad || !v.len)) {
    bad = true;
    lc_fail(&err, LC_INVALID, "Failed to deserialize query string: num_lines: invalid digit found in string");
  }
  lc_buf_free(&v);
  if (bad) {
    request_text(q, 400, err.text);
    return;
  }
  if (!request_is_owner(q, d)) {
    not_authorized(&err, &q->claims.identity, &d->identity, "view module logs");
    request_text(q, 403, err.text);
    return;
  }
  if (has_lines && !follow && n_lines == 0) n_lines = 1;
  if (follow && n_lines > FOLLOW_MAX_LINES) n_lines = FOLLOW_MAX_LINES;
  struct lc_buf lines = {0};
  bool none = follow && n_lines == 0;
  if (!none && lc_db_logs(d->db, n_lines, &lines, &err) != LC_OK) {
    lc_buf_free(&lines);
    request_text(q, 500, err.text);
    return;
  }
  struct answer *a = request_answer(q, 200); /* for its headers */
  struct lc_http_header headers[13] = {{lc_slice_str("cache-control"), lc_slice_str("no-cache")}};
  for (uint32_t i = 0; i < a->n_headers; i++) headers[i + 1] = (struct lc_http_header){lc_slice_str(a->headers[i].name), lc_slice_str(a->headers[i].value)};
  lc_http_stream_begin(q->conn, &(struct lc_http_response){.status = 200, .content_type = "application/x-ndjson", .headers = headers, .n_headers = a->n_headers + 1, .body = lc_buf_slice(&lines)});
  answer_free(a);
  lc_buf_free(&lines);
  struct follower *f = follow ? lc_alloc_zero(1, sizeof *f) : NULL;
  if (f) {
    *f = (struct follower){.at = {.database = d, .ref = lc_conn_ref(q->conn)}, .net = lc_net_thread_net(lc_conn_thread(q->conn))};
    if (lc_db_logs_follow(d->db, on_line, f) == LC_OK) {
      lc_conn_set_user(q->conn, f);
      server_attach(lc_conn_thread(q->conn), &f->at);
      database_ref(d);
      return;
    }
    lc_free(f);
  }
  lc_http_stream_end(q->conn);
}
