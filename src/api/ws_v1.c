/* Messages of protocol v1, BSATN and JSON (spec/03 §7, §8): decoding into operations, encoding of results.
 *
 * JSON is the same messages in another form: what comes is turned into BSATN and decoded as such; what goes is written as BSATN of a type in which rows and
 * arguments are strings of JSON, and turned into text at its end. Output frames as in ws_v2.c. Runs on the network thread (decode) and with the baton (encode).
 */
#include "server.h"
#include <pthread.h>

enum { CLIENT_CALL_REDUCER, CLIENT_SUBSCRIBE, CLIENT_ONE_OFF, CLIENT_SUBSCRIBE_SINGLE, CLIENT_SUBSCRIBE_MULTI, CLIENT_UNSUBSCRIBE, CLIENT_UNSUBSCRIBE_MULTI, CLIENT_CALL_PROCEDURE, CLIENT_END };
enum { SERVER_INITIAL, SERVER_TRANSACTION_UPDATE, SERVER_LIGHT, SERVER_IDENTITY, SERVER_ONE_OFF, SERVER_SUBSCRIBE_APPLIED, SERVER_UNSUBSCRIBE_APPLIED, SERVER_SUBSCRIPTION_ERROR, SERVER_MULTI_APPLIED,
       SERVER_UNSUBSCRIBE_MULTI_APPLIED, SERVER_PROCEDURE_RESULT };
enum { COMMITTED, FAILED, OUT_OF_ENERGY };
enum { NO_SUCCESS_NOTIFY = 1 };
static const uint64_t LEGACY_ID = (uint64_t)1 << 32; /* set ids of legacy subscriptions: behind all that a client can name */

/* ---- the messages as types, for JSON ---- */

static const struct lc_type *client_type, *server_type;
static struct lc_arena type_arena; /* for the life of the process */

struct member { const char *name; const struct lc_type *type; };
static const struct lc_type *of_members(bool sum, const struct member *m, uint32_t n) {
  struct lc_type_field f[16];
  for (uint32_t i = 0; i < n; i++) f[i] = (struct lc_type_field){.name = lc_slice_str(m[i].name), .has_name = true, .type = m[i].type};
  return sum ? lc_type_new_sum(&type_arena, n, f) : lc_type_new_product(&type_arena, n, f);
}
#define PRODUCT(...) of_members(false, (const struct member[]){__VA_ARGS__}, sizeof((const struct member[]){__VA_ARGS__}) / sizeof(struct member))
#define SUM(...) of_members(true, (const struct member[]){__VA_ARGS__}, sizeof((const struct member[]){__VA_ARGS__}) / sizeof(struct member))
static void make_types(void) {
  const struct lc_type *string = lc_type_primitive(LC_T_STRING), *u8 = lc_type_primitive(LC_T_U8), *u32 = lc_type_primitive(LC_T_U32), *u64 = lc_type_primitive(LC_T_U64), *i64 = lc_type_primitive(LC_T_I64);
  const struct lc_type *strings = lc_type_new_array(&type_arena, string), *bytes = lc_type_new_array(&type_arena, u8), *query_id = PRODUCT({"id", u32}), *duration = PRODUCT({"__time_duration_micros__", i64});
  const struct lc_type *unit = lc_type_new_product(&type_arena, 0, NULL), *maybe_u32 = lc_type_new_option(&type_arena, u32), *maybe_string = lc_type_new_option(&type_arena, string);
  client_type = SUM({"CallReducer", PRODUCT({"reducer", string}, {"args", string}, {"request_id", u32}, {"flags", u8})}, {"Subscribe", PRODUCT({"query_strings", strings}, {"request_id", u32})},
                    {"OneOffQuery", PRODUCT({"message_id", bytes}, {"query_string", string})}, {"SubscribeSingle", PRODUCT({"query", string}, {"request_id", u32}, {"query_id", query_id})},
                    {"SubscribeMulti", PRODUCT({"query_strings", strings}, {"request_id", u32}, {"query_id", query_id})}, {"Unsubscribe", PRODUCT({"request_id", u32}, {"query_id", query_id})},
                    {"UnsubscribeMulti", PRODUCT({"request_id", u32}, {"query_id", query_id})}, {"CallProcedure", PRODUCT({"procedure", string}, {"args", string}, {"request_id", u32}, {"flags", u8})});
  const struct lc_type *query_update = PRODUCT({"deletes", strings}, {"inserts", strings});
  const struct lc_type *table_update = PRODUCT({"table_id", u32}, {"table_name", string}, {"num_rows", u64}, {"updates", lc_type_new_array(&type_arena, query_update)});
  const struct lc_type *database_update = PRODUCT({"tables", lc_type_new_array(&type_arena, table_update)}), *subscribe_rows = PRODUCT({"table_id", u32}, {"table_name", string}, {"table_rows", table_update});
  const struct lc_type *call = PRODUCT({"reducer_name", string}, {"reducer_id", u32}, {"args", string}, {"request_id", u32}), *status = SUM({"Committed", database_update}, {"Failed", string}, {"OutOfEnergy", unit});
  const struct lc_type *one_off_table = PRODUCT({"table_name", string}, {"rows", strings}), *procedure_status = SUM({"Returned", string}, {"OutOfEnergy", unit}, {"InternalError", string});
  const struct lc_type *applied = PRODUCT({"request_id", u32}, {"total_host_execution_duration_micros", u64}, {"query_id", query_id}, {"rows", subscribe_rows});
  const struct lc_type *multi_applied = PRODUCT({"request_id", u32}, {"total_host_execution_duration_micros", u64}, {"query_id", query_id}, {"update", database_update});
  server_type = SUM({"InitialSubscription", PRODUCT({"database_update", database_update}, {"request_id", u32}, {"total_host_execution_duration", duration})},
                    {"TransactionUpdate", PRODUCT({"status", status}, {"timestamp", lc_type_timestamp()}, {"caller_identity", lc_type_identity()}, {"caller_connection_id", lc_type_connection_id()}, {"reducer_call", call},
                                                  {"energy_quanta_used", PRODUCT({"quanta", lc_type_primitive(LC_T_U128)})}, {"total_host_execution_duration", duration})},
                    {"TransactionUpdateLight", PRODUCT({"request_id", u32}, {"update", database_update})},
                    {"IdentityToken", PRODUCT({"identity", lc_type_identity()}, {"token", string}, {"connection_id", lc_type_connection_id()})},
                    {"OneOffQueryResponse", PRODUCT({"message_id", bytes}, {"error", maybe_string}, {"tables", lc_type_new_array(&type_arena, one_off_table)}, {"total_host_execution_duration", duration})},
                    {"SubscribeApplied", applied}, {"UnsubscribeApplied", applied},
                    {"SubscriptionError", PRODUCT({"total_host_execution_duration_micros", u64}, {"request_id", maybe_u32}, {"query_id", maybe_u32}, {"table_id", maybe_u32}, {"error", string})},
                    {"SubscribeMultiApplied", multi_applied}, {"UnsubscribeMultiApplied", multi_applied},
                    {"ProcedureResult", PRODUCT({"status", procedure_status}, {"timestamp", lc_type_timestamp()}, {"total_host_execution_duration", duration}, {"request_id", u32})});
  if (!client_type || !server_type || type_arena.failed) lc_panic("out of memory at start");
}
static void need_types(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, make_types);
}

/* ---- decoding ---- */

static bool decode(struct ws_client *c, struct lc_reader *r, bool is_json, struct lc_db_batch *b, struct lc_error *err) {
  struct lc_slice name = {0}, args = {0};
  struct lc_db_op *op = NULL;
  uint32_t request_id = 0, id = 0, n = 1;
  uint8_t flags = 0;
  if (!ws_need(r, "u8", 1, err)) return false;
  uint8_t tag = lc_read_u8(r);
  switch (tag) {
  case CLIENT_CALL_REDUCER:
  case CLIENT_CALL_PROCEDURE:
    if (!ws_take_text(r, &name, err) || !(is_json ? ws_take_text(r, &args, err) : ws_take_bytes(r, &args, err)) || !ws_need(r, "u32", 4, err)) return false;
    request_id = lc_read_u32(r);
    if (!ws_need(r, "u8", 1, err)) return false;
    flags = lc_read_u8(r);
    if (flags > (tag == CLIENT_CALL_REDUCER ? NO_SUCCESS_NOTIFY : 0)) {
      lc_fail(err, LC_INVALID, "invalid call %s flag %u", tag == CLIENT_CALL_REDUCER ? "reducer" : "procedure", flags);
      return false;
    }
    op = ws_add(c, b, tag == CLIENT_CALL_REDUCER ? LC_OP_CALL_REDUCER : LC_OP_CALL_PROCEDURE, name, args);
    break;
  case CLIENT_SUBSCRIBE:
  case CLIENT_SUBSCRIBE_MULTI:
  case CLIENT_SUBSCRIBE_SINGLE: {
    const uint8_t *start = r->p;
    if (tag != CLIENT_SUBSCRIBE_SINGLE) {
      if (!ws_need(r, "u32", 4, err)) return false;
      n = lc_read_u32(r);
      start = r->p;
    }
    for (uint32_t i = 0; i < n; i++)
      if (!ws_take_text(r, &args, err)) return false;
    args = lc_slice(start, (size_t)(r->p - start));
    if (!ws_need(r, "u32", 4, err)) return false;
    request_id = lc_read_u32(r);
    if (tag != CLIENT_SUBSCRIBE) {
      if (!ws_need(r, "u32", 4, err)) return false;
      id = lc_read_u32(r);
    }
    flags = tag == CLIENT_SUBSCRIBE ? LC_LIVE_APART : tag == CLIENT_SUBSCRIBE_SINGLE ? LC_LIVE_WHOLE | LC_LIVE_NO_EVENTS : LC_LIVE_NEW_ONLY | LC_LIVE_NO_EVENTS;
    op = ws_add(c, b, LC_OP_SUBSCRIBE, name, args);
    break;
  }
  case CLIENT_ONE_OFF:
    if (!ws_take_bytes(r, &args, err) || !ws_take_text(r, &name, err)) return false;
    op = ws_add(c, b, LC_OP_ONE_OFF, name, args);
    break;
  case CLIENT_UNSUBSCRIBE:
  case CLIENT_UNSUBSCRIBE_MULTI:
    if (!ws_need(r, "u32", 4, err)) return false;
    request_id = lc_read_u32(r);
    if (!ws_need(r, "u32", 4, err)) return false;
    id = lc_read_u32(r);
    flags = LC_LIVE_NEW_ONLY | (tag == CLIENT_UNSUBSCRIBE ? LC_LIVE_WHOLE : 0);
    op = ws_add(c, b, LC_OP_UNSUBSCRIBE, name, args);
    break;
  default:
    lc_fail(err, LC_INVALID, "unknown tag 0x%x for sum type ClientMessage", tag);
    return false;
  }
  if (!op) {
    lc_fail(err, LC_NOMEM, "out of memory");
    return false;
  }
  op->request_id = request_id;
  op->query_set_id = tag == CLIENT_SUBSCRIBE ? LEGACY_ID : id;
  op->n_queries = n;
  op->flags = flags;
  op->args_are_json = is_json;
  op->received_us = lc_env_system.now_us(lc_env_system.ctx);
  return true;
}
bool ws_v1_decode(struct ws_client *c, struct lc_slice payload, bool is_text, struct lc_db_batch *batch, struct lc_error *err) {
  struct lc_buf bsatn = {0};
  need_types();
  bool ok = !is_text || (lc_json_parse_message(payload, client_type, &bsatn, err) == LC_OK && (lc_buf_ok(&bsatn) || lc_fail(err, LC_NOMEM, "out of memory") == LC_OK));
  struct lc_reader r = lc_reader(is_text ? lc_buf_slice(&bsatn) : payload); /* what follows a BSATN message is ignored (spec/03 §4) */
  ok = ok && decode(c, &r, is_text, batch, err);
  lc_buf_free(&bsatn);
  if (ok) ws_received(c, batch, payload.len);
  return ok;
}

/* ---- encoding ---- */

/* A message being written; for JSON into a buffer of its own. */
struct message { struct ws_client *c; struct lc_buf *b, json; };
static struct message begin(struct lc_db_client *base, uint8_t tag) {
  struct ws_client *c = (struct ws_client *)base;
  struct message m = {.c = c};
  if (!c->is_json) {
    c->frame_at = base->out.len;
    lc_buf_u32(&base->out, 0);
    lc_buf_u8(&base->out, 0); /* not compressed */
    lc_buf_u8(&base->out, tag);
  } else lc_buf_u8(&m.json, tag);
  return m;
}
static struct lc_buf *out_of(struct message *m) { return m->c->is_json ? &m->json : &m->c->base.out; }
static void end(struct message *m, const struct lc_db_op *op) {
  struct lc_buf *out = &m->c->base.out;
  if (op) ws_answered(m->c, op);
  if (m->c->is_json) {
    struct lc_reader r = lc_reader(lc_buf_slice(&m->json));
    struct lc_error err;
    m->c->frame_at = out->len;
    lc_buf_u32(out, 0);
    if (!lc_buf_ok(&m->json)) {
      out->failed = true;
    } else {
      enum lc_status st = lc_json_write_value(out, server_type, NULL, &r, LC_JSON_D, &err);
      if (st == LC_NOMEM) out->failed = true;
      else if (st != LC_OK) lc_panic("a message that is no JSON: %s", err.text);
    }
    lc_buf_free(&m->json);
  }
  ws_frame_end(m->c);
}

/* The type of a row as clients see it. */
static struct lc_type visible_type(const struct lc_table_info *t) {
  struct lc_type type = *t->row_type;
  if (t->view) { /* without its arg_hash */
    type.fields++;
    type.n_fields--;
  }
  return type;
}
/* A BsatnRowList, or for JSON an array of strings. Form: R of rows as stored, U of rows of a change and of views (spec/03 §8). */
static void put_row_list(struct message *m, const struct lc_table_info *t, struct lc_slice list, uint32_t n, bool is_change) {
  struct lc_buf *b = out_of(m), text = {0};
  if (!m->c->is_json) {
    lc_buf_slice_append(b, list);
    return;
  }
  struct lc_type type = visible_type(t);
  struct lc_reader r = lc_reader(list);
  if (lc_read_u8(&r) == 0) lc_read_u16(&r);
  else
    for (uint32_t k = lc_read_u32(&r); k; k--) lc_read_u64(&r);
  r = lc_reader(lc_read_bytes(&r));
  lc_buf_u32(b, n);
  for (; n; n--) {
    lc_buf_clear(&text);
    if (lc_json_write_value(&text, &type, NULL, &r, is_change || t->view ? LC_JSON_U : LC_JSON_R, NULL) != LC_OK || !lc_buf_ok(&text)) b->failed = true;
    lc_buf_bsatn_bytes(b, lc_buf_slice(&text));
  }
  lc_buf_free(&text);
}
static const uint8_t empty_list[] = {1, 0, 0, 0, 0, 0, 0, 0, 0};
static void put_update(struct message *m, const struct lc_table_info *t, struct lc_slice deletes, uint32_t n_deletes, struct lc_slice inserts, uint32_t n_inserts, bool is_change) {
  if (!m->c->is_json) lc_buf_u8(out_of(m), 0); /* Uncompressed */
  put_row_list(m, t, deletes, n_deletes, is_change);
  put_row_list(m, t, inserts, n_inserts, is_change);
}
static void put_table_head(struct message *m, const struct lc_table_info *t, struct lc_slice name, uint64_t n_rows, uint32_t n_updates) {
  struct lc_buf *b = out_of(m);
  lc_buf_u32(b, t->table_id);
  lc_buf_bsatn_bytes(b, name);
  lc_buf_u64(b, n_rows);
  lc_buf_u32(b, n_updates);
}
/* A DatabaseUpdate of rows that appear or go: a table each (apart: a table for each part), an update each part. */
static void put_rows(struct message *m, const struct lc_query_rows *rows, uint32_t n, bool go, bool apart) {
  struct lc_slice none = lc_slice(empty_list, sizeof empty_list);
  struct lc_buf *b = out_of(m);
  size_t count_at = b->len;
  uint32_t n_tables = 0;
  lc_buf_u32(b, 0);
  for (uint32_t i = 0; i < n; i++) {
    uint64_t n_rows = 0;
    uint32_t n_updates = 0;
    bool seen = false;
    uint32_t end = apart ? i + 1 : n;
    for (uint32_t k = 0; k < i && !apart; k++) seen |= lc_slice_eq(rows[k].table_name, rows[i].table_name);
    if (seen) continue;
    for (uint32_t k = i; k < end; k++) {
      if (!lc_slice_eq(rows[k].table_name, rows[i].table_name)) continue;
      n_rows += rows[k].n_rows;
      n_updates++;
    }
    put_table_head(m, rows[i].table, rows[i].table_name, n_rows, n_updates);
    for (uint32_t k = i; k < end; k++)
      if (lc_slice_eq(rows[k].table_name, rows[i].table_name)) put_update(m, rows[k].table, go ? rows[k].row_list : none, go ? rows[k].n_rows : 0, go ? none : rows[k].row_list, go ? 0 : rows[k].n_rows, false);
    n_tables++;
  }
  lc_buf_patch_u32(b, count_at, n_tables);
}

/* A DatabaseUpdate of a transaction. A query of several sets is told once, except of one that is apart (spec/03 §14.3). */
static bool is_told(const struct lc_set_update *sets, uint32_t set, const struct lc_query_delta *d) {
  for (uint32_t i = 0; i < set && sets[set].query_set_id < LEGACY_ID; i++)
    for (uint32_t k = 0; k < sets[i].n; k++)
      if (sets[i].deltas[k] == d) return true;
  return false;
}
static void put_sets(struct message *m, const struct lc_set_update *sets, uint32_t n_sets) {
  struct lc_buf *b = out_of(m);
  size_t count_at = b->len;
  uint32_t n_tables = 0;
  lc_buf_u32(b, 0);
  for (uint32_t i = 0; i < n_sets; i++)
    for (uint32_t k = 0; k < sets[i].n; k++) {
      const struct lc_query_delta *first = sets[i].deltas[k];
      uint64_t n_rows = 0;
      uint32_t n_updates = 0;
      bool seen = false;
      for (uint32_t j = 0; j <= i && !seen; j++)
        for (uint32_t e = 0; e < (j == i ? k : sets[j].n) && !seen; e++) seen = lc_slice_eq(sets[j].deltas[e]->table_name, first->table_name);
      if (seen) continue;
      for (int pass = 0; pass < 2; pass++) {
        if (pass) put_table_head(m, first->table, first->table_name, n_rows, n_updates);
        for (uint32_t j = i; j < n_sets; j++)
          for (uint32_t e = 0; e < sets[j].n; e++) {
            const struct lc_query_delta *d = sets[j].deltas[e];
            if (!lc_slice_eq(d->table_name, first->table_name) || is_told(sets, j, d)) continue;
            n_updates++;
            n_rows += d->n_inserts + d->n_deletes;
            if (pass) put_update(m, d->table, d->deletes, d->n_deletes, d->inserts, d->n_inserts, true);
          }
      }
      n_tables++;
    }
  lc_buf_patch_u32(b, count_at, n_tables);
}

static uint64_t duration_us(const struct lc_db_op *op) {
  int64_t us = lc_env_system.now_us(lc_env_system.ctx) - op->received_us;
  return us > 0 ? (uint64_t)us : 0;
}

static void on_connected(struct lc_db_client *base, enum lc_status status, const char *text) {
  struct ws_client *c = (struct ws_client *)base;
  need_types();
  if (status != LC_OK) {
    lc_log(LC_LOG_INFO, "connection refused by the module: %s", text);
    ws_mark(c, FRAME_ABORT);
    return;
  }
  atomic_store(&c->is_admitted, true);
  struct message m = begin(base, SERVER_IDENTITY);
  lc_buf_append(out_of(&m), base->identity.bytes, 32);
  lc_buf_bsatn_bytes(out_of(&m), lc_buf_slice(&c->token));
  lc_buf_append(out_of(&m), base->connection_id.bytes, 16);
  end(&m, NULL);
}

/* The arguments of a call in the receiver's encoding: as the caller sent them if that is his. */
static void put_args(struct message *m, const struct lc_reducer_outcome *o) {
  const struct lc_module_def *def = lc_db_module_def(m->c->at.database->db);
  struct lc_buf text = {0};
  if (!m->c->is_json) {
    lc_buf_bsatn_bytes(out_of(m), o->args);
  } else if (o->json_args.len) {
    lc_buf_bsatn_bytes(out_of(m), o->json_args);
  } else if (o->reducer_id >= def->n_reducers || o->status == LC_REDUCER_REJECTED) {
    lc_buf_bsatn_str(out_of(m), "[]");
  } else {
    const struct lc_function_def *fn = &def->reducers[o->reducer_id];
    struct lc_reader r = lc_reader(o->args);
    if (lc_json_write_value(&text, fn->params, fn->typespace, &r, LC_JSON_U, NULL) != LC_OK || !lc_buf_ok(&text)) out_of(m)->failed = true;
    lc_buf_bsatn_bytes(out_of(m), lc_buf_slice(&text));
  }
  lc_buf_free(&text);
}
/* A full TransactionUpdate; o NULL: of no reducer. */
static void put_transaction(struct lc_db_client *base, const struct lc_db_op *op, const struct lc_reducer_outcome *o, const struct lc_set_update *sets, uint32_t n_sets) {
  static const struct lc_reducer_outcome none = {.reducer_id = UINT32_MAX};
  struct message m = begin(base, SERVER_TRANSACTION_UPDATE);
  struct lc_buf *b = out_of(&m);
  bool rejected = o && o->status == LC_REDUCER_REJECTED;
  if (!o) o = &none;
  if (o->status == LC_REDUCER_COMMITTED) {
    lc_buf_u8(b, COMMITTED);
    put_sets(&m, sets, n_sets);
  } else if (o->status == LC_REDUCER_OUT_OF_ENERGY) {
    lc_buf_u8(b, OUT_OF_ENERGY);
  } else {
    lc_buf_u8(b, FAILED);
    lc_buf_bsatn_bytes(b, o->message);
  }
  int64_t now = lc_env_system.now_us(lc_env_system.ctx);
  lc_buf_i64(b, o == &none ? now : o->timestamp_us);
  lc_buf_append(b, o->caller.bytes, 32);
  lc_buf_append(b, o->connection_id.bytes, 16);
  lc_buf_bsatn_bytes(b, rejected && !lc_name_is_valid(o->name) ? lc_slice(NULL, 0) : o->name);
  lc_buf_u32(b, o->reducer_id);
  if (o->name.len == 0 && m.c->is_json) lc_buf_bsatn_str(b, "[]");
  else put_args(&m, o);
  lc_buf_u32(b, rejected ? 0 : o->request_id);
  lc_buf_u64(b, o->energy);
  lc_buf_u64(b, 0);
  lc_buf_i64(b, rejected || !op ? o->duration_us : now - o->timestamp_us);
  end(&m, op);
}
static void on_update(struct lc_db_client *base, const struct lc_set_update *sets, uint32_t n_sets, const struct lc_reducer_outcome *cause) {
  struct ws_client *c = (struct ws_client *)base;
  if (!c->is_light && lc_db_module_def(c->at.database->db)->raw_version < 10) {
    put_transaction(base, NULL, cause, sets, n_sets);
    return;
  }
  struct message m = begin(base, SERVER_LIGHT);
  lc_buf_u32(out_of(&m), cause ? cause->request_id : 0);
  put_sets(&m, sets, n_sets);
  end(&m, NULL);
}
static void on_reducer_result(struct lc_db_client *base, const struct lc_db_op *op, const struct lc_reducer_outcome *o) {
  if (op->flags == NO_SUCCESS_NOTIFY && o->status != LC_REDUCER_REJECTED) { /* as anybody else (spec/03 §11.3) */
    if (o->n_sets) on_update(base, o->sets, o->n_sets, o);
    ws_answered((struct ws_client *)base, op);
    return;
  }
  put_transaction(base, op, o, o->sets, o->n_sets);
}

static void on_subscription_error(struct lc_db_client *base, const struct lc_db_op *op, const char *text) {
  struct message m = begin(base, SERVER_SUBSCRIPTION_ERROR);
  struct lc_buf *b = out_of(&m);
  lc_buf_u64(b, duration_us(op));
  lc_buf_u8(b, 0);
  lc_buf_u32(b, op->request_id);
  lc_buf_u8(b, op->query_set_id >= LEGACY_ID);
  if (op->query_set_id < LEGACY_ID) lc_buf_u32(b, (uint32_t)op->query_set_id);
  lc_buf_u8(b, 1);
  lc_buf_bsatn_str(b, text);
  end(&m, op);
}
static bool on_set_failed(struct lc_db_client *base, uint64_t query_set_id, const char *text) {
  struct message m = begin(base, SERVER_SUBSCRIPTION_ERROR);
  (void)query_set_id; /* v1 does not say which, so that none is left (spec/03 §14.4) */
  lc_buf_u64(out_of(&m), 0);
  for (int i = 0; i < 3; i++) lc_buf_u8(out_of(&m), 1);
  lc_buf_bsatn_str(out_of(&m), text);
  end(&m, NULL);
  return true;
}
static void put_applied(struct lc_db_client *base, const struct lc_db_op *op, const struct lc_query_rows *rows, uint32_t n, bool go) {
  struct lc_slice none = lc_slice(empty_list, sizeof empty_list);
  bool single = op->flags & LC_LIVE_WHOLE;
  if (op->query_set_id >= LEGACY_ID) {
    struct message m = begin(base, SERVER_INITIAL);
    put_rows(&m, rows, n, false, true);
    lc_buf_u32(out_of(&m), op->request_id);
    lc_buf_u64(out_of(&m), duration_us(op));
    end(&m, op);
    return;
  }
  if (single && n == 0) { /* another subscription holds it still */
    on_subscription_error(base, op, "Internal error");
    return;
  }
  struct message m = begin(base, single ? (go ? SERVER_UNSUBSCRIBE_APPLIED : SERVER_SUBSCRIBE_APPLIED) : go ? SERVER_UNSUBSCRIBE_MULTI_APPLIED : SERVER_MULTI_APPLIED);
  struct lc_buf *b = out_of(&m);
  lc_buf_u32(b, op->request_id);
  lc_buf_u64(b, duration_us(op));
  lc_buf_u32(b, (uint32_t)op->query_set_id);
  if (!single) {
    put_rows(&m, rows, n, go, false);
  } else {
    lc_buf_u32(b, rows->table->table_id);
    lc_buf_bsatn_bytes(b, rows->table_name);
    put_table_head(&m, rows->table, rows->table_name, rows->n_rows, 1);
    put_update(&m, rows->table, go ? rows->row_list : none, go ? rows->n_rows : 0, go ? none : rows->row_list, go ? 0 : rows->n_rows, false);
  }
  end(&m, op);
}
static void on_subscribe_applied(struct lc_db_client *base, const struct lc_db_op *op, const struct lc_query_rows *rows, uint32_t n) { put_applied(base, op, rows, n, false); }
static void on_unsubscribe_applied(struct lc_db_client *base, const struct lc_db_op *op, const struct lc_query_rows *rows, uint32_t n) { put_applied(base, op, rows, n, true); }

static void on_one_off(struct lc_db_client *base, const struct lc_db_op *op, struct lc_slice message_id, const struct lc_query_rows *rows, const char *error_text) {
  struct message m = begin(base, SERVER_ONE_OFF);
  struct lc_buf *b = out_of(&m);
  lc_buf_bsatn_bytes(b, message_id);
  lc_buf_u8(b, rows != NULL);
  if (!rows) lc_buf_bsatn_str(b, error_text);
  lc_buf_u32(b, rows != NULL);
  if (rows) {
    lc_buf_bsatn_bytes(b, rows->table_name);
    put_row_list(&m, rows->table, rows->row_list, rows->n_rows, false);
  }
  lc_buf_u64(b, duration_us(op));
  end(&m, op);
}

static void on_procedure(struct lc_db_client *base, const struct lc_db_op *op, const struct lc_slice *ret, const char *error_text, int64_t timestamp_us, int64_t run_us) {
  struct message m = begin(base, SERVER_PROCEDURE_RESULT);
  struct lc_buf *b = out_of(&m);
  lc_buf_u8(b, ret ? 0 : 2); /* a Wasm procedure that is out of budget is an internal error too (spec/02 §3) */
  if (ret) lc_buf_bsatn_bytes(b, *ret);
  else lc_buf_bsatn_str(b, error_text);
  lc_buf_i64(b, timestamp_us);
  lc_buf_i64(b, run_us);
  lc_buf_u32(b, op->request_id);
  end(&m, op);
}

static void on_closed(struct lc_db_client *base) { (void)base; /* freed when its last outbox entry arrives */ }

const struct lc_db_client_ops ws_v1_ops = {on_connected, on_reducer_result, on_update, on_subscribe_applied, on_unsubscribe_applied, on_subscription_error, on_set_failed, on_one_off, on_procedure, on_closed, ws_dismissed, NULL, NULL, NULL, ws_encode_answer, ws_on_answered, ws_on_overflow};
