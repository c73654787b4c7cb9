/* Messages of protocols v2 and v3 (spec/03 §4, §6): decoding into operations, encoding of results.
 *
 * Output is a sequence of frames in the client's `out`: u32 length, then tag 0 and messages. v2 has one message a frame; v3 fills a frame with
 * all that fits in 512 KiB. Runs on the network thread (decode) and with the baton (encode).
 */
#include "server.h"

enum { MAX_FRAME_BYTES = 512 << 10 };
enum { CLIENT_SUBSCRIBE, CLIENT_UNSUBSCRIBE, CLIENT_ONE_OFF, CLIENT_CALL_REDUCER, CLIENT_CALL_PROCEDURE, CLIENT_SUBSCRIBE_BATCH };
enum { SERVER_INITIAL, SERVER_SUBSCRIBE_APPLIED, SERVER_UNSUBSCRIBE_APPLIED, SERVER_SUBSCRIPTION_ERROR, SERVER_TRANSACTION_UPDATE, SERVER_ONE_OFF_RESULT, SERVER_REDUCER_RESULT, SERVER_PROCEDURE_RESULT, SERVER_BATCH_APPLIED };

/* ---- decoding ---- */

static bool short_of(struct lc_error *err, const char *type, size_t expected, size_t given) {
  lc_fail(err, LC_INVALID, "data too short for %s: Expected %zu, given %zu", type, expected, given);
  return false;
}
bool ws_need(const struct lc_reader *r, const char *type, size_t n, struct lc_error *err) { return lc_reader_left(r) >= n || short_of(err, type, n, lc_reader_left(r)); }
bool ws_take_bytes(struct lc_reader *r, struct lc_slice *out, struct lc_error *err) {
  if (!ws_need(r, "u32", 4, err)) return false;
  uint32_t n = lc_read_u32(r);
  if (!ws_need(r, "[u8]", n, err)) return false;
  *out = lc_slice(lc_read_raw(r, n), n);
  return true;
}
bool ws_take_text(struct lc_reader *r, struct lc_slice *out, struct lc_error *err) {
  struct lc_reader check = *r;
  if (!ws_take_bytes(r, out, err)) return false;
  return lc_bsatn_validate(lc_type_primitive(LC_T_STRING), NULL, &check, err) == LC_OK;
}

static bool out_of_memory(struct lc_error *err) {
  lc_fail(err, LC_NOMEM, "out of memory");
  return false;
}
struct lc_db_op *ws_add(struct ws_client *c, struct lc_db_batch *b, enum lc_db_op_kind kind, struct lc_slice name, struct lc_slice args) {
  struct lc_db_op *op = lc_db_batch_add(b, kind, &c->base);
  if (!op) return NULL;
  op->name_at = b->bytes.len;
  op->name_len = name.len;
  lc_buf_slice_append(&b->bytes, name);
  op->args_at = b->bytes.len;
  op->args_len = args.len;
  lc_buf_slice_append(&b->bytes, args);
  return lc_buf_ok(&b->bytes) ? op : NULL;
}

static bool decode_one(struct ws_client *c, struct lc_reader *r, struct lc_db_batch *b, struct lc_error *err) {
  struct lc_slice name = {0}, args = {0};
  struct lc_db_op *op;
  if (!ws_need(r, "u8", 1, err)) return false;
  uint8_t tag = lc_read_u8(r), flags = 0;
  if (tag > CLIENT_SUBSCRIBE_BATCH) {
    lc_fail(err, LC_INVALID, "unknown tag 0x%x for sum type ClientMessage", tag);
    return false;
  }
  if (!ws_need(r, "u32", 4, err)) return false;
  uint32_t request_id = lc_read_u32(r), set = 0, n = 0;
  switch (tag) {
  case CLIENT_SUBSCRIBE: {
    if (!ws_need(r, "u32", 4, err)) return false;
    set = lc_read_u32(r);
    if (!ws_need(r, "u32", 4, err)) return false;
    n = lc_read_u32(r);
    const uint8_t *start = r->p;
    for (uint32_t i = 0; i < n; i++)
      if (!ws_take_text(r, &name, err)) return false;
    op = ws_add(c, b, LC_OP_SUBSCRIBE, lc_slice(NULL, 0), lc_slice(start, (size_t)(r->p - start)));
    break;
  }
  case CLIENT_SUBSCRIBE_BATCH: {
    if (!ws_need(r, "u32", 4, err)) return false;
    n = lc_read_u32(r);
    const uint8_t *start = r->p;
    for (uint32_t i = 0; i < n; i++) {
      if (!ws_need(r, "u32", 4, err)) return false;
      lc_read_u32(r);
      if (!ws_need(r, "u32", 4, err)) return false;
      for (uint32_t k = lc_read_u32(r); k; k--)
        if (!ws_take_text(r, &name, err)) return false;
    }
    op = ws_add(c, b, LC_OP_SUBSCRIBE_BATCH, lc_slice(NULL, 0), lc_slice(start, (size_t)(r->p - start)));
    break;
  }
  case CLIENT_UNSUBSCRIBE:
    if (!ws_need(r, "u32", 4, err)) return false;
    set = lc_read_u32(r);
    if (!ws_need(r, "u8", 1, err)) return false;
    flags = lc_read_u8(r);
    if (flags > 1) {
      lc_fail(err, LC_INVALID, "unknown tag 0x%x for sum type UnsubscribeFlags", flags);
      return false;
    }
    op = ws_add(c, b, LC_OP_UNSUBSCRIBE, name, args);
    break;
  case CLIENT_ONE_OFF:
    if (!ws_take_text(r, &name, err)) return false;
    op = ws_add(c, b, LC_OP_ONE_OFF, name, args);
    break;
  default:
    if (!ws_need(r, "u8", 1, err)) return false;
    flags = lc_read_u8(r);
    if (flags != 0) {
      lc_fail(err, LC_INVALID, "invalid call %s flag %u", tag == CLIENT_CALL_REDUCER ? "reducer" : "procedure", flags);
      return false;
    }
    if (!ws_take_text(r, &name, err) || !ws_take_bytes(r, &args, err)) return false;
    op = ws_add(c, b, tag == CLIENT_CALL_REDUCER ? LC_OP_CALL_REDUCER : LC_OP_CALL_PROCEDURE, name, args);
  }
  if (!op) return out_of_memory(err);
  op->request_id = request_id;
  op->query_set_id = set;
  op->n_queries = n;
  op->flags = tag == CLIENT_UNSUBSCRIBE && !flags ? LC_LIVE_NO_ROWS : 0;
  return true;
}

bool ws_v2_decode(struct ws_client *c, struct lc_slice payload, struct lc_db_batch *batch, struct lc_error *err) {
  struct lc_reader r = lc_reader(payload);
  uint32_t before = batch->n_ops;
  if (c->base.protocol == 3 && payload.len == 0) {
    lc_fail(err, LC_INVALID, "v3 websocket binary payload must contain at least one v2 client message");
    return false;
  }
  do
    if (!decode_one(c, &r, batch, err)) return false;
  while (c->base.protocol == 3 && lc_reader_left(&r));
  lc_assert(batch->n_ops > before);
  ws_received(c, batch, payload.len);
  return true;
}
void ws_received(struct ws_client *c, struct lc_db_batch *b, size_t payload_bytes) {
  c->received++; /* answered when its last operation is */
  c->received_bytes += payload_bytes;
  b->ops[b->n_ops - 1].arg = (void *)(uintptr_t)(payload_bytes + 1);
}
/* An operation has been answered: if it was the last of its payload, that is not waiting any more. Only the baton holder writes. */
void ws_answered(struct ws_client *c, const struct lc_db_op *op) {
  if (!op->arg) return;
  uint64_t bytes = (uint64_t)(uintptr_t)op->arg - 1;
  atomic_store_explicit(&c->answered, atomic_load_explicit(&c->answered, memory_order_relaxed) + 1, memory_order_relaxed);
  atomic_store_explicit(&c->answered_bytes, atomic_load_explicit(&c->answered_bytes, memory_order_relaxed) + bytes, memory_order_relaxed);
}

void ws_on_overflow(struct lc_db_client *base) { ws_mark((struct ws_client *)base, FRAME_ABORT); }
void ws_on_answered(struct lc_db_client *base, const struct lc_db_op *op) { ws_answered((struct ws_client *)base, op); }

/* ---- encoding ---- */

/* Begins a message: a new frame, or for v3 the frame being filled. Returns the buffer to append to. */
static struct lc_buf *begin(struct lc_db_client *base) {
  struct ws_client *c = (struct ws_client *)base;
  struct lc_buf *out = &base->out;
  bool open = base->protocol == 3 && out->len > 0 && !c->is_marked && out->len - c->frame_at < MAX_FRAME_BYTES;
  if (!open) {
    c->frame_at = out->len;
    lc_buf_u32(out, 0);
    lc_buf_u8(out, 0); /* not compressed */
  }
  return out;
}
static void end(struct lc_db_client *base, const struct lc_db_op *op) {
  struct ws_client *c = (struct ws_client *)base;
  if (op) ws_answered(c, op);
  ws_frame_end(c);
}

static void put_rows(struct lc_buf *b, const struct lc_query_rows *rows, uint32_t n) {
  lc_buf_u32(b, n);
  for (uint32_t i = 0; i < n; i++) {
    lc_buf_bsatn_bytes(b, rows[i].table_name);
    lc_buf_slice_append(b, rows[i].row_list);
  }
}

static void put_sets(struct lc_buf *b, const struct lc_set_update *sets, uint32_t n_sets) {
  lc_buf_u32(b, n_sets);
  for (uint32_t i = 0; i < n_sets; i++) {
    lc_buf_u32(b, (uint32_t)sets[i].query_set_id);
    size_t count_at = b->len;
    uint32_t n_tables = 0;
    lc_buf_u32(b, 0);
    for (uint32_t k = 0; k < sets[i].n;) { /* deltas are ordered by table: one entry a table, one row set a query */
      uint32_t same = k;
      while (same < sets[i].n && lc_slice_eq(sets[i].deltas[same]->table_name, sets[i].deltas[k]->table_name)) same++;
      lc_buf_bsatn_bytes(b, sets[i].deltas[k]->table_name);
      lc_buf_u32(b, same - k);
      for (; k < same; k++) {
        const struct lc_query_delta *d = sets[i].deltas[k];
        lc_buf_u8(b, d->is_event);
        lc_buf_slice_append(b, d->inserts);
        if (!d->is_event) lc_buf_slice_append(b, d->deletes);
      }
      n_tables++;
    }
    lc_buf_patch_u32(b, count_at, n_tables);
  }
}

static void on_connected(struct lc_db_client *base, enum lc_status status, const char *text) {
  struct ws_client *c = (struct ws_client *)base;
  if (status != LC_OK) {
    lc_log(LC_LOG_INFO, "connection refused by the module: %s", text);
    ws_mark(c, FRAME_ABORT);
    return;
  }
  atomic_store(&c->is_admitted, true);
  struct lc_buf *b = begin(base);
  lc_buf_u8(b, SERVER_INITIAL);
  lc_buf_append(b, base->identity.bytes, 32);
  lc_buf_append(b, base->connection_id.bytes, 16);
  lc_buf_bsatn_bytes(b, lc_buf_slice(&c->token));
  end(base, NULL);
}

static void on_reducer_result(struct lc_db_client *base, const struct lc_db_op *op, const struct lc_reducer_outcome *o) {
  struct lc_buf *b = begin(base);
  lc_buf_u8(b, SERVER_REDUCER_RESULT);
  lc_buf_u32(b, op->request_id);
  lc_buf_i64(b, o->timestamp_us);
  if (o->status == LC_REDUCER_COMMITTED) {
    lc_buf_u8(b, 0);
    lc_buf_u32(b, 0);
    put_sets(b, o->sets, o->n_sets);
  } else if (o->status == LC_REDUCER_FAILED_USER) {
    lc_buf_u8(b, 2);
    lc_buf_u32(b, (uint32_t)o->message.len + 4);
    lc_buf_bsatn_bytes(b, o->message);
  } else {
    lc_buf_u8(b, 3);
    lc_buf_bsatn_bytes(b, o->message);
  }
  end(base, op);
}

static void on_update(struct lc_db_client *base, const struct lc_set_update *sets, uint32_t n_sets, const struct lc_reducer_outcome *cause) {
  (void)cause;
  struct lc_buf *b = begin(base);
  lc_buf_u8(b, SERVER_TRANSACTION_UPDATE);
  put_sets(b, sets, n_sets);
  end(base, NULL);
}

static void on_subscribe_applied(struct lc_db_client *base, const struct lc_db_op *op, const struct lc_query_rows *rows, uint32_t n) {
  struct lc_buf *b = begin(base);
  lc_buf_u8(b, SERVER_SUBSCRIBE_APPLIED);
  lc_buf_u32(b, op->request_id);
  lc_buf_u32(b, (uint32_t)op->query_set_id);
  put_rows(b, rows, n);
  end(base, op);
}

static void on_batch_begins(struct lc_db_client *base, const struct lc_db_op *op) {
  struct lc_buf *b = begin(base);
  lc_buf_u8(b, SERVER_BATCH_APPLIED);
  lc_buf_u32(b, op->request_id);
  lc_buf_u32(b, op->n_queries);
}
static void on_batch_set(struct lc_db_client *base, uint64_t query_set_id, const struct lc_query_rows *rows, uint32_t n, const char *error_text) {
  struct lc_buf *b = &base->out;
  lc_buf_u32(b, (uint32_t)query_set_id);
  lc_buf_u8(b, error_text != NULL);
  if (error_text) lc_buf_bsatn_str(b, error_text);
  else put_rows(b, rows, n);
}
static void on_batch_ends(struct lc_db_client *base, const struct lc_db_op *op) { end(base, op); }

static void on_unsubscribe_applied(struct lc_db_client *base, const struct lc_db_op *op, const struct lc_query_rows *rows, uint32_t n) {
  struct lc_buf *b = begin(base);
  lc_buf_u8(b, SERVER_UNSUBSCRIBE_APPLIED);
  lc_buf_u32(b, op->request_id);
  lc_buf_u32(b, (uint32_t)op->query_set_id);
  lc_buf_u8(b, rows ? 0 : 1);
  if (rows) put_rows(b, rows, n);
  end(base, op);
}

static void on_subscription_error(struct lc_db_client *base, const struct lc_db_op *op, const char *text) {
  struct lc_buf *b = begin(base);
  lc_buf_u8(b, SERVER_SUBSCRIPTION_ERROR);
  lc_buf_u8(b, 0);
  lc_buf_u32(b, op->request_id);
  lc_buf_u32(b, (uint32_t)op->query_set_id);
  lc_buf_bsatn_str(b, text);
  end(base, op);
}

static bool on_set_failed(struct lc_db_client *base, uint64_t query_set_id, const char *text) {
  struct lc_buf *b = begin(base);
  lc_buf_u8(b, SERVER_SUBSCRIPTION_ERROR);
  lc_buf_u8(b, 1); /* no request */
  lc_buf_u32(b, (uint32_t)query_set_id);
  lc_buf_bsatn_str(b, text);
  end(base, NULL);
  return false;
}

static void on_one_off(struct lc_db_client *base, const struct lc_db_op *op, struct lc_slice args, const struct lc_query_rows *rows, const char *error_text) {
  struct lc_buf *b = begin(base);
  (void)args;
  lc_buf_u8(b, SERVER_ONE_OFF_RESULT);
  lc_buf_u32(b, op->request_id);
  lc_buf_u8(b, rows ? 0 : 1);
  if (rows) put_rows(b, rows, 1);
  else lc_buf_bsatn_str(b, error_text);
  end(base, op);
}

static void on_procedure(struct lc_db_client *base, const struct lc_db_op *op, const struct lc_slice *ret, const char *error_text, int64_t timestamp_us, int64_t duration_us) {
  struct lc_buf *b = begin(base);
  lc_buf_u8(b, SERVER_PROCEDURE_RESULT);
  lc_buf_u8(b, ret ? 0 : 1);
  if (ret) lc_buf_bsatn_bytes(b, *ret);
  else lc_buf_bsatn_str(b, error_text);
  lc_buf_i64(b, timestamp_us);
  lc_buf_i64(b, duration_us);
  lc_buf_u32(b, op->request_id);
  end(base, op);
}

static void on_closed(struct lc_db_client *base) { (void)base; /* freed when its last outbox entry arrives */ }

const struct lc_db_client_ops ws_v2_ops = {on_connected, on_reducer_result, on_update, on_subscribe_applied, on_unsubscribe_applied, on_subscription_error, on_set_failed, on_one_off, on_procedure, on_closed, ws_dismissed,
                                           on_batch_begins, on_batch_set, on_batch_ends, ws_encode_answer, ws_on_answered, ws_on_overflow};
