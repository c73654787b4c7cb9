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

static void json_begin(struct lc_buf *out, const struct lc_type *row_type) {
  lc_buf_str(out, "[{\"schema\":");
  json_schema(out, row_type);
  lc_buf_str(out, ",\"rows\":[");
}
static enum lc_status json_row(struct lc_buf *out, const struct lc_type *row_type, struct lc_slice row, uint64_t index, struct lc_error *err) {
  struct lc_reader r = lc_reader(row);
  if (index) lc_buf_str(out, ",");
  return lc_json_write_value(out, row_type, NULL, &r, LC_JSON_U, err);
}
static void json_end(struct lc_buf *out, const struct lc_type *row_type, uint64_t n_rows, const struct lc_dml_counts *counts, int64_t duration_us) {
  (void)row_type, (void)n_rows;
  lc_buf_printf(out, "],\"total_duration_micros\":%lld,\"stats\":{\"rows_inserted\":%llu,\"rows_deleted\":%llu,\"rows_updated\":%llu}}]", (long long)duration_us, (unsigned long long)counts->inserted,
                (unsigned long long)counts->deleted, (unsigned long long)counts->updated);
}
static const struct lc_sql_form json = {json_begin, json_row, json_end};

/* The answer to one statement while it is written. */
struct answer { struct lc_buf *out; const struct lc_sql_form *form; const struct lc_type *row_type; uint64_t n_rows; const atomic_bool *cancel; struct lc_error *err; bool failed; };
static struct answer answer_begin(struct lc_buf *out, const struct lc_sql_form *form, const struct lc_type *row_type, const atomic_bool *cancel, struct lc_error *err) {
  struct answer a = {.out = out, .form = form ? form : &json, .row_type = row_type, .cancel = cancel, .err = err};
  a.form->begin(out, row_type);
  return a;
}
static bool answer_row(void *ctx, struct lc_slice row) {
  struct answer *a = ctx;
  a->failed = a->form->row(a->out, a->row_type, row, a->n_rows++, a->err) != LC_OK || !lc_buf_ok(a->out);
  return !a->failed && !(a->cancel && atomic_load_explicit(a->cancel, memory_order_relaxed));
}
static enum lc_status answer_end(const struct lc_db *db, struct answer *a, int64_t start_us, const struct lc_dml_counts *counts) {
  a->form->end(a->out, a->row_type, a->n_rows, counts, db->options.env->now_us(db->options.env->ctx) - start_us);
  return lc_buf_ok(a->out) ? LC_OK : lc_fail(a->err, LC_NOMEM, "out of memory while writing the answer");
}

/* Plan of an EXPLAIN as rows of one column. */
static enum lc_status explain_rows(const struct lc_plan *plan, struct lc_read_view view, struct answer *a) {
  struct lc_buf text = {0}, row = {0};
  lc_plan_explain(plan, view, &text);
  const uint8_t *at = text.data, *end = text.data + text.len;
  bool go = lc_buf_ok(&text);
  while (at < end && go) {
    const uint8_t *line = memchr(at, '\n', (size_t)(end - at));
    lc_buf_clear(&row);
    lc_buf_bsatn_bytes(&row, lc_slice(at, (size_t)((line ? line : end) - at)));
    go = lc_buf_ok(&row) && answer_row(a, lc_buf_slice(&row));
    at = line ? line + 1 : end;
  }
  lc_buf_free(&text);
  lc_buf_free(&row);
  return go ? LC_OK : lc_fail(a->err, LC_NOMEM, "out of memory");
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

static enum lc_status rows(const struct lc_plan *plan, struct lc_read_view view, struct answer *a) {
  enum lc_status st = lc_plan_run(plan, view, answer_row, a, a->err);
  if (st == LC_OK && a->failed) st = lc_buf_ok(a->out) ? a->err->status : lc_fail(a->err, LC_NOMEM, "out of memory while writing the rows of the answer");
  if (st == LC_OK && a->cancel && atomic_load(a->cancel)) st = lc_fail(a->err, LC_CLOSED, "the database is being closed");
  return st;
}
enum lc_status db_query(struct lc_db *db, struct lc_read_view view, const struct lc_sql_caller *caller, struct lc_slice sql, int64_t start_us, const struct lc_sql_form *form, const atomic_bool *cancel, struct lc_buf *out, struct lc_error *err) {
  struct lc_plan *plan;
  enum lc_status st = lc_sql_compile(view, sql, LC_SQL_STATEMENT, caller, &plan, err);
  if (st != LC_OK) return st;
  struct answer a = answer_begin(out, form, lc_plan_row_type(plan), cancel, err);
  st = rows(plan, view, &a);
  if (st == LC_OK) st = answer_end(db, &a, start_us, &(struct lc_dml_counts){0});
  lc_plan_free(plan);
  return st;
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
  const struct lc_sql_form *form = later ? later->form : NULL;
  struct answer a;
  if (st == LC_OK && explain) {
    const struct lc_type_field column = {.name = lc_slice_str("plan"), .has_name = true, .type = lc_type_primitive(LC_T_STRING)};
    const struct lc_type plan_row = {.kind = LC_T_PRODUCT, .static_size_bytes = LC_SIZE_DYNAMIC, .n_fields = 1, .fields = &column};
    a = answer_begin(out, form, &plan_row, NULL, err);
    st = explain_rows(plan, view, &a);
    if (st == LC_OK) st = answer_end(db, &a, start, &counts);
  } else if (st == LC_OK && lc_plan_kind(plan) > LC_SQL_COUNT) {
    a = answer_begin(out, form, lc_plan_row_type(plan), NULL, err);
    st = change(db, plan, &caller->identity, &counts, err);
    *tx_offset = db->next_offset;
    if (st == LC_OK) st = answer_end(db, &a, start, &counts);
  } else if (st == LC_OK) {
    views_need(db, plan, &caller->identity); /* a view that fails has no rows */
    *tx_offset = db->next_offset;
    if (later && sum >= READ_ELSEWHERE_ROWS) later->is_begun = db_read_query(db, caller, sql, start, later);
    if (!later || !later->is_begun) {
      a = answer_begin(out, form, lc_plan_row_type(plan), NULL, err);
      st = rows(plan, view, &a);
      if (st == LC_OK) st = answer_end(db, &a, start, &counts);
    }
  }
  lc_plan_free(plan);
  return st;
}
