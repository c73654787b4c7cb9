/* Owns: publishing (spec/04 §3.1): names, permissions, first publish on a thread of its own, updates inside the running database.
 *
 * Invariants: one publish at a time per server (publish_lock); a database exists for others only after its first publish succeeded and the
 * control database has it. Callers: routes.c.
 */
#include "server.h"
#include <stdio.h>

struct publish {
  struct server *server;
  struct answer *answer;
  struct lc_auth_claims claims;
  struct lc_buf program, name;          /* name empty: none */
  bool has_name;
  struct lc_identity id;
  uint8_t kind;
  struct database *database;            /* update */
};

static void publish_free(struct publish *p) {
  lc_auth_claims_release(&p->claims);
  lc_buf_free(&p->program);
  lc_buf_free(&p->name);
  lc_free(p);
}

static void answer_success(struct publish *p, const char *op) {
  char hex[65];
  struct answer *a = p->answer;
  lc_identity_hex(&p->id, hex);
  a->status = 200;
  a->content_type = "application/json";
  lc_buf_clear(&a->body);
  lc_buf_str(&a->body, "{\"Success\":{\"domain\":");
  if (p->has_name) lc_json_escape(&a->body, lc_buf_slice(&p->name));
  else lc_buf_str(&a->body, "null");
  lc_buf_printf(&a->body, ",\"database_identity\":\"%s\",\"op\":\"%s\"}}", hex, op);
}

/* ---- first publish ---- */

static enum lc_status create(struct publish *p, struct lc_error *err) {
  struct server *s = p->server;
  struct control_row row = {.id = p->id, .owner = p->claims.identity, .kind = p->kind};
  lc_keccak256(lc_buf_slice(&p->program), row.program.bytes);
  if (!(row.replica_id = control_new_replica(s->control, err))) return err->status;
  struct database *d = lc_alloc_zero(1, sizeof *d);
  if (!d) return lc_fail(err, LC_NOMEM, "out of memory");
  char dir[4096];
  struct lc_db_options o;
  server_db_options(s, &row.id, &row.owner, row.replica_id, dir, sizeof dir, &o);
  static const uint8_t nothing[1];
  struct lc_slice program = p->program.data ? lc_buf_slice(&p->program) : lc_slice(nothing, 0);
  enum lc_status st = lc_db_open(&o, program, p->kind, &d->db, err);
  if (st == LC_OK && (st = control_add(s->control, &row, err)) != LC_OK) lc_db_close(d->db);
  if (st != LC_OK) {
    lc_free(d);
    return st;
  }
  d->identity = row.id;
  d->owner = row.owner;
  d->replica_id = row.replica_id;
  server_add_database(s, d);
  return LC_OK;
}

static void *create_main(void *arg) {
  struct publish *p = arg;
  struct server *s = p->server;
  struct lc_error err = {0};
  pthread_mutex_lock(&s->publish_lock);
  if (server_database(s, &p->id)) answer_text(p->answer, 409, "the database is being published by somebody else");
  else if (create(p, &err) == LC_OK) answer_success(p, "created");
  else answer_text(p->answer, 500, err.text);
  pthread_mutex_unlock(&s->publish_lock);
  server_answer(s, p->answer, NULL, UINT64_MAX);
  publish_free(p);
  atomic_fetch_sub(&s->publishing, 1);
  return NULL;
}

/* ---- update ---- */

static void run_update(struct lc_db *db, void *arg) {
  struct publish *p = arg;
  struct lc_error err = {0};
  uint64_t offset = UINT64_MAX;
  enum lc_status st = lc_db_update(db, lc_buf_slice(&p->program), p->kind, &offset, &err);
  if (st == LC_OK) {
    answer_success(p, "updated");
  } else if (st == LC_CONFLICT || st == LC_UNSUPPORTED) {
    lc_fail_context(&err, "Database update rejected");
    answer_text(p->answer, 400, err.text);
  } else {
    answer_text(p->answer, 500, err.text);
  }
  server_answer(p->server, p->answer, db, st == LC_OK ? offset : UINT64_MAX);
  publish_free(p);
}

/* ---- the route ---- */

/* Checks of spec/04 §3.1 up to where the program is looked at. 0, or the status; the text or JSON is in p->answer. */
static uint16_t prepare(struct request *q, struct publish *p, struct lc_error *err) {
  struct server *s = q->server;
  struct lc_buf v = {0};
  bool clear = false;
  if (!routes_query_bool(q->r, "clear", &clear, err)) return 400;
  if (routes_query(q->r, "host_type", &v)) {
    bool js = lc_slice_eq_str(lc_buf_slice(&v), "Js"), wasm = lc_slice_eq_str(lc_buf_slice(&v), "Wasm");
    if (!js && !wasm) lc_fail(err, LC_INVALID, "Failed to deserialize query string: host_type: unknown variant `%.*s`, expected `Wasm` or `Js`", (int)v.len, (const char *)v.data);
    p->kind = js ? LC_PROGRAM_JS : LC_PROGRAM_WASM;
    lc_buf_free(&v);
    if (!js && !wasm) return 400;
  }
  bool break_clients = false;
  if (routes_query(q->r, "policy", &v)) {
    break_clients = lc_slice_eq_str(lc_buf_slice(&v), "BreakClients");
    bool known = break_clients || lc_slice_eq_str(lc_buf_slice(&v), "Compatible");
    if (!known) lc_fail(err, LC_INVALID, "Failed to deserialize query string: policy: unknown variant `%.*s`, expected `Compatible` or `BreakClients`", (int)v.len, (const char *)v.data);
    lc_buf_free(&v);
    if (!known) return 400;
  }
  if (clear && !p->has_name && !q->params[0].len) return lc_fail(err, LC_INVALID, "Clear database requires database name or identity"), 400;
  struct lc_slice name = lc_buf_slice(&q->params[0]);
  if (name.len && !lc_identity_parse(name, &p->id)) {
    const char *problem = name_problem(name);
    if (problem) return lc_fail(err, LC_INVALID, "Invalid URL: %s", problem), 400;
    p->has_name = true;
    lc_buf_slice_append(&p->name, name);
    enum lc_status st = control_resolve(s->control, name, &p->id, err);
    if (st == LC_NOT_FOUND) {
      struct lc_identity owner;
      if (control_tld_owner(s->control, name, &owner, err) == LC_OK && memcmp(&owner, &q->claims.identity, sizeof owner) != 0) {
        p->answer->content_type = "application/json";
        lc_buf_str(&p->answer->body, "{\"PermissionDenied\":{\"name\":");
        lc_json_escape(&p->answer->body, name);
        lc_buf_str(&p->answer->body, "}}");
        return 401;
      }
      lc_auth_fresh_identity(s->auth, &p->id);
      st = control_add_name(s->control, name, &p->id, &q->claims.identity, err);
    }
    if (st != LC_OK) return 500;
  } else if (!name.len) {
    lc_auth_fresh_identity(s->auth, &p->id);
  }
  p->database = server_database(s, &p->id);
  if (p->database && memcmp(&p->database->owner, &q->claims.identity, sizeof q->claims.identity) != 0) {
    char caller[65], database[65];
    lc_identity_hex(&q->claims.identity, caller);
    lc_identity_hex(&p->id, database);
    return lc_fail(err, LC_DENIED, "%s is not authorized to perform action on database %s: update database", caller, database), 403;
  }
  if (break_clients) {
    bool has_token = routes_query(q->r, "token", &v);
    lc_buf_free(&v);
    if (!has_token) return lc_fail(err, LC_INVALID, "Migration policy is set to `BreakClients`, but no migration token was provided."), 400;
  }
  if (p->database && clear) return lc_fail(err, LC_UNSUPPORTED, "Clearing a database is not supported yet: publish under another name"), 501;
  if (p->database && !p->database->db) return lc_fail(err, LC_IO, "error starting database: %s", p->database->error), 500;
  return 0;
}

void route_publish(struct request *q) {
  struct publish *p = lc_alloc_zero(1, sizeof *p);
  struct lc_error err = {0};
  if (!p) {
    request_text(q, 500, "out of memory");
    return;
  }
  p->server = q->server;
  p->answer = request_answer(q, 200);
  lc_buf_slice_append(&p->program, q->r->body);
  uint16_t status = lc_buf_ok(&p->program) ? prepare(q, p, &err) : 500;
  if (status) {
    if (p->answer->body.len) p->answer->status = status;
    else answer_text(p->answer, status, err.text);
  } else {
    lc_auth_claims_copy(&p->claims, &q->claims);
    if (p->database) {
      struct lc_db_batch *batch = server_batch(lc_conn_thread(q->conn), p->database);
      struct lc_db_op *op = batch ? lc_db_batch_add(batch, LC_OP_FUNCTION, NULL) : NULL;
      if (op) {
        op->function = run_update;
        op->arg = p;
        return;
      }
    } else {
      pthread_attr_t attr;
      pthread_t id;
      pthread_attr_init(&attr);
      pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
      pthread_attr_setstacksize(&attr, 8u << 20);
      atomic_fetch_add(&q->server->publishing, 1);
      int rc = pthread_create(&id, &attr, create_main, p);
      pthread_attr_destroy(&attr);
      if (rc == 0) return;
      atomic_fetch_sub(&q->server->publishing, 1);
    }
    answer_text(p->answer, 500, "out of memory");
  }
  answer_send(p->answer, q->conn);
  publish_free(p);
}
