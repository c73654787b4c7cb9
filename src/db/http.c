/* What HTTP asks of a database: calls and SQL statements, each with a connection of its own (spec/06 §9.2, spec/04 §3.6-§3.7),
 * and the update of its program. Runs inside an LC_OP_FUNCTION, so with the baton. */
#include "db_internal.h"
#include <stdio.h>
#include <strings.h>

enum lc_status lc_db_http_connect(struct lc_db *db, const struct lc_identity *caller, struct lc_slice jwt_payload, struct lc_connection_id *conn, struct lc_error *err) {
  const struct lc_env *env = db->options.env;
  env->random(env->ctx, conn->bytes, sizeof conn->bytes);
  return db_connect(db, caller, conn, jwt_payload, err);
}

void lc_db_http_disconnect(struct lc_db *db, const struct lc_identity *caller, const struct lc_connection_id *conn) { db_disconnect(db, caller, conn); }

/* Whether a text names a table of connections. */
static bool names_clients(struct lc_slice sql) {
  static const char *const names[] = {"st_client", "st_connection"};
  for (size_t i = 0; i < sql.len; i++)
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
      if (sql.len - i >= strlen(names[k]) && strncasecmp((const char *)sql.data + i, names[k], strlen(names[k])) == 0) return true;
  return false;
}
bool lc_db_http_needs_connection(const struct lc_db *db, struct lc_slice sql) { return db->connect_reducer >= 0 || db->disconnect_reducer >= 0 || names_clients(sql); }
void lc_db_http_visitor(struct lc_db *db, const struct lc_connection_id *conn, struct lc_slice jwt_payload) { lc_datastore_set_visitor(db->ds, conn, jwt_payload); }

uint64_t lc_db_next_offset(struct lc_db *db) { return db->next_offset; }

void lc_db_http_call(struct lc_db *db, const struct lc_identity *caller, const struct lc_connection_id *conn, struct lc_slice reducer, struct lc_slice args, struct lc_reducer_outcome *out) {
  bool is_owner = memcmp(caller, &db->options.owner_identity, sizeof *caller) == 0;
  int64_t start = db->options.env->now_us(db->options.env->ctx);
  db_call_reducer(db, NULL, NULL, reducer, args, caller, conn, is_owner, NULL, out);
  int64_t now = db->options.env->now_us(db->options.env->ctx);
  out->duration_us = now - start;
  db_count_time(db, now);
}

void lc_db_log_bad_call(struct lc_db *db, struct lc_slice function, const char *kind, bool exists) {
  char name[256];
  snprintf(name, sizeof name, "%.*s", (int)(function.len < 255 ? function.len : 255), (const char *)function.data);
  int64_t now = db->options.env->now_us(db->options.env->ctx);
  if (exists)
    module_log_engine(db->log, 0, now, name, "External attempt to call %s \"%s\" failed, invalid arguments.\nThis is likely due to a mismatched client schema, have you run `spacetime generate` recently?", kind, name);
  else
    module_log_engine(db->log, 0, now, name, "External attempt to call nonexistent %s \"%s\" failed. Have you run `spacetime generate` recently?", kind, name);
}

struct json_rows { struct lc_buf *out; const struct lc_type *row_type; const atomic_bool *cancel; bool first; struct lc_error *err; bool failed; };

static bool json_row(void *ctx, struct lc_slice row) {
  struct json_rows *j = ctx;
  struct lc_reader r = lc_reader(row);
  if (!j->first) lc_buf_str(j->out, ",");
  j->first = false;
  j->failed = lc_json_write_value(j->out, j->row_type, NULL, &r, LC_JSON_U, j->err) != LC_OK || !lc_buf_ok(j->out);
  return !j->failed && !(j->cancel && atomic_load_explicit(j->cancel, memory_order_relaxed));
}

static void json_schema(struct lc_buf *out, const struct lc_type *row_type) {
  lc_buf_str(out, "{\"elements\":[");
  for (uint32_t i = 0; i < row_type->n_fields; i++) {
    const struct lc_type_field *f = &row_type->fields[i];
    lc_buf_str(out, i ? ",{\"name\":" : "{\"name\":");
    if (f->has_name) {
      lc_buf_str(out, "{\"some\":");
      lc_json_escape(out, f->name);
      lc_buf_str(out, "}");
    } else {
      lc_buf_str(out, "{\"none\":[]}");
    }
    lc_buf_str(out, ",\"algebraic_type\":");
    lc_json_write_type(out, f->type);
    lc_buf_str(out, "}");
  }
  lc_buf_str(out, "]}");
}

/* Plan of an EXPLAIN as rows of one column. */
static bool explain_rows(const struct lc_plan *plan, struct lc_read_view view, struct lc_buf *out) {
  struct lc_buf text = {0};
  lc_plan_explain(plan, view, &text);
  lc_buf_str(out, "[{\"schema\":{\"elements\":[{\"name\":{\"some\":\"plan\"},\"algebraic_type\":{\"String\":[]}}]},\"rows\":[");
  const uint8_t *at = text.data, *end = text.data + text.len;
  for (bool first = true; at < end; first = false) {
    const uint8_t *line = memchr(at, '\n', (size_t)(end - at));
    lc_buf_str(out, first ? "[" : ",[");
    lc_json_escape(out, lc_slice(at, (size_t)((line ? line : end) - at)));
    lc_buf_str(out, "]");
    at = line ? line + 1 : end;
  }
  bool ok = lc_buf_ok(&text);
  lc_buf_free(&text);
  return ok;
}

static enum lc_status change(struct lc_db *db, const struct lc_plan *plan, const struct lc_identity *caller, struct lc_dml_counts *counts, struct lc_error *err) {
  struct lc_tx *tx = lc_tx_begin(db->ds);
  if (!tx) return lc_fail(err, LC_NOMEM, "out of memory");
  enum lc_status st = lc_plan_change(plan, (struct lc_read_view){.ds = db->ds}, tx, counts, err);
  if (st == LC_OK && (st = db_before_commit(db, tx, NULL, err)) != LC_OK && (st == LC_TRAP || st == LC_BUDGET)) {
    struct lc_error cause = *err;
    lc_fail(err, st, "The module instance encountered a fatal error: %s", cause.text);
  }
  if (st != LC_OK) lc_tx_rollback(tx);
  else db_commit_of(db, tx, caller, UINT32_MAX);
  return st;
}

static void begin_json(struct lc_buf *out, const struct lc_plan *plan) {
  lc_buf_str(out, "[{\"schema\":");
  json_schema(out, lc_plan_row_type(plan));
  lc_buf_str(out, ",\"rows\":[");
}
static enum lc_status rows_json(const struct lc_plan *plan, struct lc_read_view view, const atomic_bool *cancel, struct lc_buf *out, struct lc_error *err) {
  struct json_rows j = {.out = out, .row_type = lc_plan_row_type(plan), .cancel = cancel, .first = true, .err = err};
  enum lc_status st = lc_plan_run(plan, view, json_row, &j, err);
  if (st == LC_OK && j.failed) st = lc_buf_ok(out) ? err->status : lc_fail(err, LC_NOMEM, "out of memory while writing the rows of the answer");
  if (st == LC_OK && cancel && atomic_load(cancel)) st = lc_fail(err, LC_CLOSED, "the database is being closed");
  return st;
}
static enum lc_status end_json(const struct lc_db *db, int64_t start_us, const struct lc_dml_counts *counts, struct lc_buf *out, struct lc_error *err) {
  lc_buf_printf(out, "],\"total_duration_micros\":%lld,\"stats\":{\"rows_inserted\":%llu,\"rows_deleted\":%llu,\"rows_updated\":%llu}}]", (long long)(db->options.env->now_us(db->options.env->ctx) - start_us),
                (unsigned long long)counts->inserted, (unsigned long long)counts->deleted, (unsigned long long)counts->updated);
  return lc_buf_ok(out) ? LC_OK : lc_fail(err, LC_NOMEM, "out of memory while writing the answer");
}
enum lc_status db_query_json(struct lc_db *db, struct lc_read_view view, const struct lc_sql_caller *caller, struct lc_slice sql, int64_t start_us, const atomic_bool *cancel, struct lc_buf *out, struct lc_error *err) {
  struct lc_plan *plan;
  enum lc_status st = lc_sql_compile(view, sql, LC_SQL_STATEMENT, caller, &plan, err);
  if (st != LC_OK) return st;
  begin_json(out, plan);
  st = rows_json(plan, view, cancel, out, err);
  lc_plan_free(plan);
  return st == LC_OK ? end_json(db, start_us, &(struct lc_dml_counts){0}, out, err) : st;
}

enum lc_status lc_db_http_sql(struct lc_db *db, const struct lc_sql_caller *caller, struct lc_slice sql, struct lc_buf *out, uint64_t *tx_offset, struct lc_db_query_later *later, struct lc_error *err) {
  static const char keyword[] = "explain";
  const struct lc_env *env = db->options.env;
  if (db_check_alive(db, err) != LC_OK) return LC_IO;
  db_count(db, LC_DB_SQL_STATEMENTS, 1);
  struct lc_read_view view = {.ds = db->ds};
  struct lc_dml_counts counts = {0};
  int64_t start = env->now_us(env->ctx);
  struct lc_plan *plan;
  uint64_t limit, sum = 0;
  size_t blanks = 0;
  while (blanks < sql.len && (sql.data[blanks] == ' ' || sql.data[blanks] == '\n' || sql.data[blanks] == '\t' || sql.data[blanks] == '\r')) blanks++;
  bool explain = sql.len - blanks > sizeof keyword && strncasecmp((const char *)sql.data + blanks, keyword, sizeof keyword - 1) == 0 && strchr(" \t\r\n", sql.data[blanks + sizeof keyword - 1]);
  if (explain) sql = lc_slice(sql.data + blanks + sizeof keyword, sql.len - blanks - sizeof keyword);
  enum lc_status st = lc_sql_compile(view, sql, LC_SQL_STATEMENT, caller, &plan, err);
  *tx_offset = db->next_offset;
  if (st != LC_OK) return st;
  if (!explain) {
    sum = lc_plan_estimate(plan, view, &limit);
    st = lc_plan_check_limit(sum, limit, err);
  }
  if (st == LC_OK && explain) {
    if (!explain_rows(plan, view, out)) st = lc_fail(err, LC_NOMEM, "out of memory");
  } else if (st == LC_OK && lc_plan_kind(plan) > LC_SQL_COUNT) {
    begin_json(out, plan);
    st = change(db, plan, &caller->identity, &counts, err);
    *tx_offset = db->next_offset;
  } else if (st == LC_OK) {
    views_need(db, plan, &caller->identity); /* a view that fails has no rows */
    *tx_offset = db->next_offset;
    if (later && sum >= READ_ELSEWHERE_ROWS) later->is_begun = db_read_query(db, caller, sql, start, later);
    if (!later || !later->is_begun) {
      begin_json(out, plan);
      st = rows_json(plan, view, NULL, out, err);
    }
  }
  lc_plan_free(plan);
  return st == LC_OK && !(later && later->is_begun) ? end_json(db, start, &counts, out, err) : st;
}
