/* Owns: the PostgreSQL listener (spec/04 §10): start of a connection, its token and database, and its statements, which take the path of HTTP's (routes_db.c).
 *
 * Invariants: identity and database belong to the connection; while a statement runs, or an issuer's keys are fetched, nothing more of the connection is looked at;
 * every statement and every Sync ends with ReadyForQuery. Not offered: the extended protocol (its messages are refused with 0A000 and skipped up to Sync), cancelling.
 * Callers: server.c.
 */
#include "server.h"
#include <stdio.h>

enum { SSL_REQUEST = 80877103, GSS_REQUEST = 80877104, CANCEL_REQUEST = 80877102, MAX_STARTUP_BYTES = 10000, MAX_MESSAGE_BYTES = 128 << 10 };
enum state { STARTING, WANTS_PASSWORD, READY };
struct pg_session {
  enum state state;
  bool skips_to_sync;
  struct lc_buf database, user, application, token;
  struct lc_identity id;          /* of the database */
  struct lc_auth_claims claims;
};
struct again_task { struct lc_net_task task; struct lc_net *net; struct lc_conn_ref ref; };

static void send(struct lc_conn *c, struct lc_buf *out) {
  if (lc_buf_ok(out)) lc_stream_send_buf(c, out);
  else lc_conn_abort(c);
  lc_buf_free(out);
}
static void fatal(struct lc_conn *c, const char *severity, const char *sqlstate, const char *text) {
  struct lc_buf out = {0};
  lc_pg_error(&out, severity, sqlstate, lc_slice_str(text));
  send(c, &out);
  lc_conn_finish(c);
}
static void error(struct lc_conn *c, const char *severity, const char *sqlstate, const char *text, bool ready) {
  struct lc_buf out = {0};
  lc_pg_error(&out, severity, sqlstate, lc_slice_str(text));
  if (ready) lc_pg_ready(&out);
  send(c, &out);
}

/* ---- start ---- */

static void parameter(struct lc_buf *out, const char *name, struct lc_slice value) {
  size_t at = lc_pg_begin(out, 'S');
  lc_pg_text(out, lc_slice_str(name));
  lc_pg_text(out, value);
  lc_pg_end(out, at);
}
static void welcome(struct lc_conn *c, struct pg_session *p) {
  static const char *const fixed[][2] = {{"server_version", "spacetime " SERVER_VERSION}, {"server_encoding", "UTF8"}, {"client_encoding", "UTF8"}, {"integer_datetimes", "on"}, {"in_hot_standby", "off"},
                                         {"search_path", "public"}, {"is_superuser", "on"}, {"default_transaction_read_only", "off"}, {"TimeZone", "Etc/UTC"}, {"DateStyle", "ISO, YMD"},
                                         {"IntervalStyle", "postgres"}, {"standard_conforming_strings", "on"}};
  struct lc_buf out = {0};
  uint32_t key[2];
  size_t at = lc_pg_begin(&out, 'R');
  lc_pg_u32(&out, 0);
  lc_pg_end(&out, at);
  for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) parameter(&out, fixed[i][0], lc_slice_str(fixed[i][1]));
  parameter(&out, "application_name", lc_buf_slice(&p->application));
  parameter(&out, "session_authorization", lc_buf_slice(&p->user));
  lc_env_system.random(lc_env_system.ctx, (uint8_t *)key, sizeof key);
  at = lc_pg_begin(&out, 'K');
  lc_pg_u32(&out, key[0] >> 1);
  lc_pg_u32(&out, key[1]);
  lc_pg_end(&out, at);
  lc_pg_ready(&out);
  lc_stream_deadline(c, 0);
  p->state = READY;
  send(c, &out);
}

static void authenticate(struct lc_conn *c, struct pg_session *p);
static void on_again(struct lc_net_thread *t, struct lc_net_task *task) {
  struct lc_conn *c = lc_conn_from_ref(t, ((struct again_task *)task)->ref);
  lc_free(task);
  if (!c) return;
  lc_conn_pause(c, false);
  authenticate(c, lc_conn_user(c));
}
static void keys_known(void *arg) {
  struct again_task *a = arg;
  lc_net_post(a->net, a->ref.thread, &a->task);
}
static void authenticate(struct lc_conn *c, struct pg_session *p) {
  struct server *s = server_of(lc_conn_thread(c));
  struct lc_error err = {0};
  char text[192];
  struct lc_slice name = lc_buf_slice(&p->database);
  enum lc_status st = name_problem(name) ? LC_NOT_FOUND : control_resolve(s->control, name, &p->id, &err);
  if (st != LC_OK) {
    snprintf(text, sizeof text, "database \"%.*s\" does not exist", name.len > 128 ? 128 : (int)name.len, (const char *)name.data);
    fatal(c, "FATAL", st == LC_NOT_FOUND ? "3D000" : "XX000", st == LC_NOT_FOUND ? text : err.text);
    return;
  }
  struct again_task *again = lc_alloc_zero(1, sizeof *again);
  if (again) *again = (struct again_task){.task.run = on_again, .net = lc_net_thread_net(lc_conn_thread(c)), .ref = lc_conn_ref(c)};
  struct lc_auth_wait wait = {keys_known, again};
  st = again ? lc_auth_validate(s->auth, lc_buf_slice(&p->token), &wait, &p->claims, &err) : lc_fail(&err, LC_NOMEM, "out of memory");
  if (st == LC_PENDING) {
    lc_conn_pause(c, true);
    return;
  }
  lc_free(again);
  lc_buf_free(&p->token);
  if (st == LC_OK) welcome(c, p);
  else fatal(c, "FATAL", st == LC_DENIED ? "28P01" : "53200", err.text);
}

static void startup(struct lc_conn *c, struct pg_session *p, uint32_t version, struct lc_slice rest) {
  struct lc_buf out = {0}, unknown = {0};
  struct lc_slice key, value;
  uint32_t n_unknown = 0;
  bool good = true;
  if (version >> 16 != 3) {
    fatal(c, "FATAL", "08P01", "unsupported frontend protocol: version 3.0 is offered");
    return;
  }
  if (lc_stream_has_tls(c) && !lc_stream_is_secret(c)) {
    fatal(c, "FATAL", "28000", "this server wants TLS: connect with sslmode=require");
    return;
  }
  while ((good = lc_pg_read_text(&rest, &key)) && key.len && (good = lc_pg_read_text(&rest, &value))) {
    good = lc_utf8_valid(value.data, value.len);
    struct lc_buf *to = lc_slice_eq_str(key, "database") ? &p->database : lc_slice_eq_str(key, "user") ? &p->user : lc_slice_eq_str(key, "application_name") ? &p->application : NULL;
    if (!good) break;
    if (to) {
      lc_buf_clear(to);
      lc_buf_slice_append(to, value);
    } else if (key.len > 5 && memcmp(key.data, "_pq_.", 5) == 0) {
      n_unknown++;
      lc_pg_text(&unknown, key);
    }
  }
  if (!good) {
    fatal(c, "FATAL", "08P01", "malformed startup message");
  } else if (!p->database.len) {
    fatal(c, "ERROR", "XX000", "Database name is required");
  } else {
    size_t at;
    if ((version & 0xffff) || n_unknown) {
      at = lc_pg_begin(&out, 'v');
      lc_pg_u32(&out, 3u << 16);
      lc_pg_u32(&out, n_unknown);
      lc_buf_slice_append(&out, lc_buf_slice(&unknown));
      lc_pg_end(&out, at);
    }
    at = lc_pg_begin(&out, 'R');
    lc_pg_u32(&out, 3);
    lc_pg_end(&out, at);
    p->state = WANTS_PASSWORD;
    if (lc_buf_ok(&p->database) && lc_buf_ok(&p->user) && lc_buf_ok(&p->application) && lc_buf_ok(&unknown)) send(c, &out);
    else lc_conn_abort(c);
  }
  lc_buf_free(&out);
  lc_buf_free(&unknown);
}
static void first_message(struct lc_conn *c, struct pg_session *p, struct lc_slice body, bool more_follows) {
  uint32_t code = 0;
  lc_pg_read_u32(&body, &code);
  if (code == SSL_REQUEST && lc_stream_has_tls(c) && !lc_stream_is_secret(c)) {
    if (more_follows || !lc_stream_start_tls(c, lc_slice_str("S"))) lc_conn_abort(c); /* what was said before would pass for secret */
  } else if (code == SSL_REQUEST || code == GSS_REQUEST) {
    lc_stream_send(c, lc_slice_str("N"));
  } else if (code == CANCEL_REQUEST) {
    lc_conn_finish(c);
  } else {
    startup(c, p, code, body);
  }
}

/* ---- statements ---- */

void pg_answer(struct answer *a, struct lc_conn *c) {
  struct lc_buf out = {0};
  if (a->status == 200) {
    out = a->body;
    a->body = (struct lc_buf){0};
  } else {
    struct lc_buf text = {0};
    if (a->status == 400) lc_buf_str(&text, "(Sql) ");
    lc_buf_slice_append(&text, lc_buf_slice(&a->body));
    lc_pg_error(&out, "ERROR", "XX000", lc_buf_slice(&text));
    lc_buf_free(&text);
  }
  lc_pg_ready(&out);
  send(c, &out);
  answer_free(a);
  lc_conn_pause(c, false);
}

static bool is_empty(struct lc_slice sql) {
  for (size_t i = 0; i < sql.len; i++)
    if (!strchr(" \t\r\n\f;", sql.data[i])) return false;
  return true;
}
static void query(struct lc_conn *c, struct pg_session *p, struct lc_slice body) {
  struct server *s = server_of(lc_conn_thread(c));
  struct lc_slice sql;
  struct lc_error err = {0};
  if (!lc_pg_read_text(&body, &sql) || body.len) {
    fatal(c, "FATAL", "08P01", "malformed query message");
    return;
  }
  if (!lc_utf8_valid(sql.data, sql.len)) {
    error(c, "ERROR", "22021", "invalid byte sequence for encoding \"UTF8\"", true);
    return;
  }
  if (is_empty(sql)) {
    struct lc_buf out = {0};
    lc_pg_end(&out, lc_pg_begin(&out, 'I'));
    lc_pg_ready(&out);
    send(c, &out);
    return;
  }
  struct database *d = server_database(s, &p->id);
  if (!d) {
    char text[192];
    snprintf(text, sizeof text, "database \"%.*s\" does not exist", p->database.len > 128 ? 128 : (int)p->database.len, (const char *)p->database.data);
    error(c, "FATAL", "3D000", text, true);
  } else if (database_refusal(d, &err)) {
    error(c, "ERROR", "XX000", err.text, true);
  } else {
    lc_conn_pause(c, true); /* until pg_answer */
    db_sql_in_form(s, c, d, &p->claims, sql, &pg_form);
  }
  database_unref(d);
}

static void message(struct lc_conn *c, struct pg_session *p, const struct lc_pg_message *m) {
  struct lc_buf out = {0};
  struct lc_slice rest = m->body, token;
  if (p->state == WANTS_PASSWORD && m->type == 'p') {
    if (!lc_pg_read_text(&rest, &token) || rest.len) {
      fatal(c, "FATAL", "08P01", "malformed password message");
      return;
    }
    lc_buf_slice_append(&p->token, token);
    if (lc_buf_ok(&p->token)) authenticate(c, p);
    else lc_conn_abort(c);
    return;
  }
  if (m->type == 'X') {
    lc_conn_finish(c);
    return;
  }
  if (p->state != READY) {
    fatal(c, "FATAL", "08P01", "a password message is expected");
    return;
  }
  switch (m->type) {
  case 'S':
    p->skips_to_sync = false;
    lc_pg_ready(&out);
    send(c, &out);
    break;
  case 'Q':
    p->skips_to_sync = false;
    query(c, p, m->body);
    break;
  case 'P': case 'B': case 'D': case 'E': case 'C':
    if (!p->skips_to_sync) error(c, "ERROR", "0A000", "extended queries are not supported: use simple ones, without parameters", false);
    p->skips_to_sync = true;
    break;
  case 'H': case 'c': case 'd': case 'f': break; /* flushing, copying: nothing to do */
  case 'F': error(c, "ERROR", "0A000", "function calls are not supported", true); break;
  default: fatal(c, "FATAL", "08P01", "unknown message"); break;
  }
}

size_t pg_input(void *ctx, struct lc_conn *c, struct lc_slice bytes) {
  struct pg_session *p = lc_conn_user(c);
  struct lc_pg_message m;
  (void)ctx;
  if (!p) {
    p = lc_alloc_zero(1, sizeof *p);
    if (!p) {
      lc_conn_abort(c);
      return bytes.len;
    }
    lc_conn_set_user(c, p);
  }
  bool is_first = p->state == STARTING;
  if (is_first && bytes.data[0] == 22) { /* TLS without having asked */
    lc_conn_abort(c);
    return bytes.len;
  }
  size_t n = lc_pg_read(bytes, is_first, is_first ? MAX_STARTUP_BYTES : p->state == READY ? MAX_MESSAGE_BYTES : LC_AUTH_TOKEN_MAX_BYTES + 64, &m);
  if (n == 0) return 0;
  if (n == SIZE_MAX) {
    fatal(c, "FATAL", "08P01", "a message's length is impossible or beyond the limit");
    return bytes.len;
  }
  if (is_first) first_message(c, p, m.body, bytes.len > n);
  else message(c, p, &m);
  return n;
}
void pg_closed(struct lc_conn *c) {
  struct pg_session *p = lc_conn_user(c);
  if (!p) return;
  lc_auth_claims_release(&p->claims);
  lc_buf_free(&p->database);
  lc_buf_free(&p->user);
  lc_buf_free(&p->application);
  lc_buf_free(&p->token);
  lc_free(p);
}
