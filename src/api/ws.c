/* Owns: WebSocket connections of databases: the upgrade's checks (spec/03 §1), clients, frames in both directions.
 *
 * A `struct ws_client` is born at the upgrade and freed when the database has handed over its last output, however early the socket ends.
 * Callers: routes.c (upgrade), server.c (handler, outputs).
 */
#include "server.h"

enum { MAX_WAITING_MESSAGES = 16384 };                         /* of one client, not yet executed; more: closed with 1013 (spec/03 §17) */
enum { CLOSE_SESSION_HELD = 4000 };                            /* spec/07 §6.2 */
enum { PAUSE_BYTES = 4 << 20, RESUME_BYTES = PAUSE_BYTES / 2 }; /* of them: the socket is not read until the database has caught up */

static void client_free(struct ws_client *c) {
  sessions_give(c->at.database->server, c);
  database_unref(c->at.database);
  lc_auth_claims_release(&c->claims);
  lc_buf_free(&c->token);
  lc_buf_free(&c->base.out);
  lc_free(c);
}

/* The checks in the order of spec/03 §1.3; q is authenticated (rows 1-2). A database that is found is let go with the request. */
void ws_upgrade(struct request *q) {
  static const char *const names[] = {"v3.bsatn.spacetimedb", "v2.bsatn.spacetimedb", "v1.bsatn.spacetimedb", "v1.json.spacetimedb"};
  static const char *const compressions[] = {"None", "Brotli", "Gzip"};
  struct server *s = q->server;
  struct lc_error err = {0};
  struct lc_slice name = lc_buf_slice(&q->params[0]);
  struct lc_identity id;
  bool by_identity = lc_identity_parse(name, &id), confirmed = true, light = false;
  const char *problem = by_identity ? NULL : name_problem(name);
  struct lc_buf value = {0};
  if (problem) {
    lc_fail(&err, LC_INVALID, "Invalid URL: %s", problem);
    request_text(q, 400, err.text);
    return;
  }
  struct lc_connection_id conn = {0};
  enum ws_compression compression = WS_BROTLI;
  bool has_conn, has_compression = false, bad = !routes_query(q->r, "connection_id", &value, &has_conn, &err);
  if (!bad && has_conn && (value.len != 32 || !lc_connection_id_parse(lc_buf_slice(&value), &conn))) {
    bad = true;
    lc_fail(&err, LC_INVALID, "Failed to deserialize query string: connection_id: invalid connection id");
  }
  struct lc_connection_id session = {0};
  bool has_session = false;
  lc_buf_clear(&value);
  if (!bad) bad = !routes_query(q->r, "session_id", &value, &has_session, &err);
  if (!bad && has_session && (value.len != 32 || !lc_connection_id_parse(lc_buf_slice(&value), &session))) {
    bad = true;
    lc_fail(&err, LC_INVALID, "Failed to deserialize query string: session_id: invalid session id");
  }
  lc_buf_clear(&value);
  if (!bad) bad = !routes_query(q->r, "compression", &value, &has_compression, &err);
  if (!bad && has_compression) {
    bad = true;
    for (int i = 0; i < 3; i++)
      if (lc_slice_eq_str(lc_buf_slice(&value), compressions[i])) {
        bad = false;
        compression = (enum ws_compression)i;
      }
    if (bad) lc_fail(&err, LC_INVALID, "Failed to deserialize query string: compression: unknown variant `%.*s`, expected one of `None`, `Brotli`, `Gzip`", (int)value.len, (const char *)value.data);
  }
  lc_buf_free(&value);
  if (!bad) bad = !routes_query_bool(q->r, "light", &light, &err) || !routes_query_bool(q->r, "confirmed", &confirmed, &err);
  if (bad) {
    request_text(q, 400, err.text);
    return;
  }
  uint16_t status;
  const char *text;
  bool upgrade_headers;
  if (!lc_ws_check_upgrade(q->r, &status, &text, &upgrade_headers)) {
    struct answer *a = request_answer(q, status);
    answer_text(a, status, text);
    if (upgrade_headers) {
      answer_header(a, "connection", "upgrade");
      answer_header(a, "upgrade", "websocket");
    }
    answer_send(a, q->conn);
    return;
  }
  if (has_conn && lc_connection_id_is_zero(&conn)) {
    request_text(q, 400, "Invalid connection ID: the all-zeros ConnectionId is reserved.");
    return;
  }
  if (!by_identity && control_resolve(s->control, name, &id, &err) != LC_OK) {
    request_text(q, err.status == LC_NOT_FOUND ? 404 : 500, err.text);
    return;
  }
  struct database *d = q->database = server_database(s, &id);
  char hex[65], database_hex[65];
  lc_identity_hex(&q->claims.identity, hex);
  if (!d && by_identity) {
    lc_identity_hex(&id, database_hex);
    lc_fail(&err, LC_NOT_FOUND, "Unable to authorize %s for SQL: database %s not found", hex, database_hex);
    request_text(q, 500, err.text);
    return;
  }
  int protocol = lc_ws_choose_protocol(q->r, names, 4);
  if (protocol < 0) {
    request_text(q, 400, "no valid protocol selected");
    return;
  }
  if (!d) {
    request_text(q, 404, "");
    return;
  }
  uint16_t refusal = database_refusal(d, &err);
  if (refusal) {
    request_text(q, refusal, err.text);
    return;
  }
  struct lc_net_thread *t = lc_conn_thread(q->conn);
  struct ws_client *c = lc_alloc_zero(1, sizeof *c);
  struct lc_db_batch *batch = c ? server_batch(t, d) : NULL;
  if (!batch) {
    lc_free(c);
    request_text(q, 500, "out of memory");
    return;
  }
  q->database = NULL; /* the reference is the client's */
  if (!has_conn) {
    do lc_env_system.random(NULL, conn.bytes, sizeof conn.bytes);
    while (lc_connection_id_is_zero(&conn));
  }
  c->at.ref = lc_conn_ref(q->conn);
  c->at.database = d;
  c->claims = q->claims;
  c->token = q->token;
  q->claims = (struct lc_auth_claims){0};
  q->token = (struct lc_buf){0};
  c->base.ops = protocol >= 2 ? &ws_v1_ops : &ws_v2_ops;
  c->base.thread_index = lc_net_thread_index(t);
  c->base.protocol = protocol == 0 ? 3 : protocol == 1 ? 2 : 1;
  c->is_json = protocol == 3;
  c->is_light = light;
  c->compression = c->is_json ? WS_PLAIN : compression;
  c->base.confirmed = confirmed;
  c->base.identity = c->claims.identity;
  c->base.is_owner = memcmp(&c->base.identity, &d->owner, sizeof d->owner) == 0;
  c->base.connection_id = conn;
  c->base.jwt_payload = lc_auth_payload(&c->claims);
  const struct lc_http_header headers[] = {{lc_slice_str("access-control-allow-origin"), lc_slice_str("*")}, {lc_slice_str("spacetime-identity"), lc_slice_str(hex)}, {lc_slice_str("spacetime-identity-token"), lc_buf_slice(&c->token)}};
  memcpy(c->session_id, session.bytes, sizeof c->session_id);
  if (has_session && !sessions_take(s, c)) {
    lc_ws_accept(q->conn, names[protocol], headers, 3);
    lc_ws_close(q->conn, CLOSE_SESSION_HELD, lc_slice_str("another connection holds the session"));
    client_free(c);
    return;
  }
  if (!lc_db_batch_add(batch, LC_OP_CONNECT, &c->base)) {
    client_free(c);
    request_text(q, 500, "out of memory");
    return;
  }
  lc_conn_set_user(q->conn, c);
  lc_ws_accept(q->conn, names[protocol], headers, 3);
  if (!lc_conn_is_websocket(q->conn)) { /* the connection ended in between: leave again */
    lc_conn_set_user(q->conn, NULL);
    if (!lc_db_batch_add(batch, LC_OP_DISCONNECT, &c->base)) lc_panic("out of memory while a client leaves");
    return;
  }
  server_attach(t, &c->at);
}

static uint64_t waiting_bytes(struct ws_client *c) { return c->received_bytes - atomic_load_explicit(&c->answered_bytes, memory_order_relaxed); }

void ws_message(void *ctx, struct lc_conn *conn, struct lc_slice payload, bool text) {
  (void)ctx;
  struct ws_client *c = lc_conn_user(conn);
  if (!c) return;
  struct lc_error err; /* not cleared: two kilobytes a message */
  if (text && c->base.protocol > 1) {
    const char *reason = c->base.protocol == 3 ? "v3 websocket does not support text messages" : "v2 websocket does not support text messages";
    lc_ws_close(conn, 1011, lc_slice_str(reason));
    return;
  }
  struct lc_db_batch *batch = server_batch(lc_conn_thread(conn), c->at.database);
  if (!batch) {
    lc_conn_abort(conn);
  } else if (c->base.protocol == 1 ? !ws_v1_decode(c, payload, text, batch, &err) : !ws_v2_decode(c, payload, batch, &err)) {
    lc_ws_close(conn, 1011, lc_slice_str(err.text));
  } else if (c->received - atomic_load_explicit(&c->answered, memory_order_relaxed) > MAX_WAITING_MESSAGES) {
    lc_ws_close(conn, 1013, lc_slice_str("too many requests"));
  } else if (waiting_bytes(c) > PAUSE_BYTES && !c->paused) {
    c->paused = true;
    lc_conn_pause(conn, true);
  }
}

void ws_closed(struct lc_conn *conn) {
  struct ws_client *c = lc_conn_user(conn);
  if (!c) return; /* it was refused */
  struct lc_db_batch *batch = server_batch(lc_conn_thread(conn), c->at.database);
  server_detach(lc_conn_thread(conn), &c->at);
  if (!batch || !lc_db_batch_add(batch, LC_OP_DISCONNECT, &c->base)) lc_panic("out of memory while a client leaves");
  lc_net_wake(lc_net_thread_net(lc_conn_thread(conn)), lc_net_thread_index(lc_conn_thread(conn)));
}

void ws_mark(struct ws_client *c, uint32_t mark) {
  lc_buf_u32(&c->base.out, mark);
  if (!lc_buf_ok(&c->base.out)) lc_panic("out of memory while a client is dropped");
  c->is_marked = true;
}
void ws_dismissed(struct lc_db_client *base) { ws_mark((struct ws_client *)base, FRAME_DISMISS); }
void ws_frame_end(struct ws_client *c) {
  struct lc_buf *out = &c->base.out;
  if (lc_buf_ok(out) && out->len - c->frame_at - 4 < FRAME_DISMISS) {
    lc_buf_patch_u32(out, c->frame_at, (uint32_t)(out->len - c->frame_at - 4));
    return;
  }
  lc_log(LC_LOG_WARN, "a message of %zu bytes or more cannot be made: its client is dropped", out->len);
  lc_buf_free(out);
  ws_mark(c, FRAME_ABORT);
}

/* With a client of its own, of which the protocols look at little; what is large is compressed here, away from the network threads. */
void ws_encode_answer(const struct lc_db_client *base, const struct lc_db_op *op, struct lc_slice args, const struct lc_query_rows *rows, uint32_t n, const char *error_text, struct lc_buf *out) {
  const struct ws_client *real = (const struct ws_client *)base;
  struct ws_client c = {.base = {.ops = base->ops, .protocol = base->protocol, .identity = base->identity, .connection_id = base->connection_id}, .at = {.database = real->at.database}, .is_json = real->is_json, .is_light = real->is_light};
  static const struct lc_query_rows none;
  if (op->kind == LC_OP_ONE_OFF) base->ops->one_off_result(&c.base, op, args, error_text ? NULL : rows, error_text);
  else if (error_text) base->ops->subscription_error(&c.base, op, error_text);
  else if (op->kind == LC_OP_UNSUBSCRIBE) base->ops->unsubscribe_applied(&c.base, op, rows ? rows : &none, n);
  else base->ops->subscribe_applied(&c.base, op, rows, n);
  struct ws_packer *packer = real->compression != WS_PLAIN && !c.is_marked ? ws_packer_new() : NULL;
  if (!packer) {
    *out = c.base.out;
    return;
  }
  struct lc_slice frame = lc_slice(c.base.out.data + 4, c.base.out.len - 4), packed = ws_pack(packer, real->compression, frame);
  if (packed.data != frame.data) {
    lc_buf_u32(out, (uint32_t)packed.len);
    lc_buf_slice_append(out, packed);
  }
  if (packed.data == frame.data || !lc_buf_ok(out)) { /* as it is, also when there is no memory for another */
    lc_buf_free(out);
    *out = c.base.out;
  } else lc_buf_free(&c.base.out);
  ws_packer_free(packer);
}

/* The official TypeScript client, which is the one that asks for gzip, takes messages in the order in which they are unpacked: what follows a packed one may overtake it
 * (npm `spacetimedb` 2.10.1). So it gets the results of queries packed, which somebody waits for and which are long, but not what changes rows that it has. */
static bool is_bulk(struct lc_slice frame) {
  enum { SUBSCRIBE_APPLIED = 1, ONE_OFF_RESULT = 5, SUBSCRIBE_BATCH_APPLIED = 8 }; /* spec/03 §6.2, spec/07 §6.1 */
  return frame.len > 1 && (frame.data[1] == SUBSCRIBE_APPLIED || frame.data[1] == ONE_OFF_RESULT || frame.data[1] == SUBSCRIBE_BATCH_APPLIED);
}

static void deliver(struct lc_net_thread *t, const struct lc_db_outbox_entry *e) {
  struct ws_client *c = (struct ws_client *)e->client;
  struct lc_conn *conn = t ? lc_conn_from_ref(t, c->at.ref) : NULL;
  struct lc_reader r = lc_reader(lc_buf_slice(&e->bytes));
  while (conn && lc_reader_left(&r)) {
    uint32_t n = lc_read_u32(&r);
    if (n == FRAME_ABORT) {
      lc_conn_finish(conn);
      break;
    }
    if (n == FRAME_DISMISS) {
      lc_ws_close(conn, 1001, lc_slice_str("module exited"));
      break;
    }
    struct lc_slice frame = lc_slice(lc_read_raw(&r, n), n);
    if (c->compression != WS_PLAIN && (c->compression != WS_GZIP || c->base.protocol == 1 || is_bulk(frame))) {
      struct thread_state *ts = lc_net_thread_user(t);
      if (!ts->packer) ts->packer = ws_packer_new();
      frame = ws_pack(ts->packer, c->compression, frame);
    }
    lc_ws_send(conn, c->is_json, lc_slice(NULL, 0), frame);
  }
  if (conn && c->paused && waiting_bytes(c) < RESUME_BYTES) { /* every operation gives an output, so this is looked at when the last has run */
    c->paused = false;
    lc_conn_pause(conn, false);
  }
}

void ws_deliver(struct lc_net_thread *t, struct lc_db_outbox *o) {
  for (uint32_t i = 0; i < o->n; i++) {
    deliver(t, &o->entries[i]);
    if (o->entries[i].closed) client_free((struct ws_client *)o->entries[i].client);
  }
  if (t) ws_pack_end(((struct thread_state *)lc_net_thread_user(t))->packer);
  lc_db_outbox_free(o);
}
