/* Owns: INSERT, UPDATE, DELETE and SET: compiling and running them (spec/05 §7, §8; spec/07 §7.6, §14.3). Callers: check.c, the face. */
#include "plan.h"

/* System tables that the owner may write (spec/05 §7): what no table, index or program is made from. Of st_sequence only the next number. */
static bool is_writable_system_table(const struct ast *a, const struct lc_table_info *t) {
  switch (t->table_id) {
  case LC_ST_VAR: case LC_ST_CLIENT: case LC_ST_CONNECTION_CREDENTIALS: case LC_ST_VIEW_SUB: case LC_ST_VIEW_ARG: return true;
  case LC_ST_SEQUENCE: return a->n_assignments == 1 && lc_slice_eq_str(a->assignments[0].column, "allocated");
  default: return false;
  }
}

static bool may_change(struct check *k, const struct ast *a, const struct lc_table_info *t, struct lc_slice name) {
  const char *why = NULL;
  if (t->view) return lc_fail(k->err, LC_INVALID, "`%.*s` is a view; DML on views is not supported", T(name)), false;
  if (t->has_schedule) why = "SQL writes to scheduled tables are not supported";
  if (t->is_outbox) why = "SQL writes to outbox tables are not supported";
  if (t->table_id == LC_ST_ENV) why = "Database environment variables can only be changed by publishing";
  else if (t->is_system && !is_writable_system_table(a, t)) return lc_fail(k->err, LC_INVALID, "`%.*s` is written by the database itself and cannot be changed by SQL", T(name)), false;
  return !why || (lc_fail(k->err, LC_INVALID, "%s", why), false);
}

/* Values of INSERT and SET are stricter than conditions: strings for String columns, TRUE and FALSE for Bool. */
static bool value_for(struct check *k, const struct ast_expr *e, const struct lc_type *type, struct lc_slice *value) {
  bool is_string = e->kind == X_STRING, is_bool = e->kind == X_BOOL;
  if (is_string && type->kind != LC_T_STRING) return literal_mismatch(k, lc_type_primitive(LC_T_STRING), type);
  if (is_bool) {
    if (type->kind != LC_T_BOOL) return literal_mismatch(k, lc_type_primitive(LC_T_BOOL), type);
    *value = lc_slice(e->truth ? "\1" : "\0", 1);
    return true;
  }
  return literal_value(k, e, type, value);
}

static bool compile_insert(struct check *k, const struct ast *a, const struct lc_table_info *t) {
  struct lc_plan *plan = k->plan;
  uint32_t n = t->row_type->n_fields;
  plan->kind = LC_SQL_INSERT;
  if (a->n_columns != n) {
    lc_fail(k->err, LC_INVALID, "The number of fields (%u) in the INSERT does not match the number of columns (%u) of the table `%.*s`", a->n_columns, n, T(a->table.name));
    return false;
  }
  if (!(plan->rows = check_take(k, a->n_rows, sizeof *plan->rows))) return false;
  for (uint32_t i = 0; i < a->n_rows; i++) {
    struct lc_buf row = {0};
    bool ok = a->row_lengths[i] == n;
    if (!ok) lc_fail(k->err, LC_INVALID, "Inserting a row with %u values into `%.*s` which has %u fields", a->row_lengths[i], T(a->table.name), n);
    for (uint32_t c = 0; c < n && ok; c++) {
      struct lc_slice value;
      if ((ok = value_for(k, a->rows[i][c], t->row_type->fields[c].type, &value))) lc_buf_slice_append(&row, value);
    }
    plan->rows[plan->n_rows] = lc_arena_take(&plan->arena, &row);
    if (!ok || !plan->rows[plan->n_rows++].data) return false;
  }
  return true;
}

static bool compile_where(struct check *k, const struct ast *a) {
  struct lc_plan *plan = k->plan;
  struct ast_item all = {.is_star = true};
  struct ast query = *a;
  struct fragment *f = check_take(k, 1, sizeof *f), **list = check_take(k, 1, sizeof *list);
  enum lc_sql_kind kind = plan->kind;
  query.items = &all;
  query.n_items = 1;
  query.n_joins = 0;
  plan->limit = UINT64_MAX;
  if (!f || !list || !check_fragment(k, &query, f)) return false;
  list[0] = f;
  plan->fragments = list;
  plan->n_fragments = 1;
  plan->kind = kind;
  return steps_plan(k, f);
}

static bool compile_update(struct check *k, const struct ast *a, const struct lc_table_info *t) {
  struct lc_plan *plan = k->plan;
  plan->kind = LC_SQL_UPDATE;
  if (!(plan->assignments = check_take(k, a->n_assignments, sizeof *plan->assignments))) return false;
  for (uint32_t i = 0; i < a->n_assignments; i++) {
    struct lc_slice name = a->assignments[i].column;
    uint32_t c = 0, n = t->row_type->n_fields;
    while (c < n && !lc_slice_eq(t->column_accessors ? t->column_accessors[c] : t->row_type->fields[c].name, name)) c++;
    if (c == n)
      for (c = 0; c < n && !lc_slice_eq(t->row_type->fields[c].name, name);) c++;
    if (c == n) {
      lc_fail(k->err, LC_INVALID, "`%.*s` does not have a field `%.*s`", T(a->table.name), T(name));
      return false;
    }
    struct assignment *x = &plan->assignments[plan->n_assignments++];
    x->column = (uint16_t)c;
    if (!value_for(k, a->assignments[i].value, t->row_type->fields[c].type, &x->value)) return false;
  }
  return compile_where(k, a);
}

/* SET row_limit = n inserts into st_var. */
static bool compile_set(struct check *k, const struct ast *a) {
  enum { tag_u64 = 8 };
  static const char name[] = "row_limit";
  struct lc_slice value;
  struct lc_buf row = {0};
  const struct lc_type *u64 = lc_type_primitive(LC_T_U64);
  if (!lc_slice_eq_str(a->variable, name)) {
    lc_fail(k->err, LC_INVALID, "%.*s is not a valid system variable", T(a->variable));
    return false;
  }
  if (a->value->kind == X_HEX) return literal_mismatch(k, u64, &(struct lc_type){.kind = LC_T_ARRAY, .elem = lc_type_primitive(LC_T_U8), .static_size_bytes = LC_SIZE_DYNAMIC});
  if (a->value->kind != X_NUMBER) return literal_mismatch(k, u64, lc_type_primitive(a->value->kind == X_BOOL ? LC_T_BOOL : LC_T_STRING));
  if (!value_for(k, a->value, u64, &value)) return false;
  k->plan->kind = LC_SQL_INSERT;
  k->plan->table = lc_view_table(k->view, LC_ST_VAR);
  lc_buf_bsatn_str(&row, name);
  lc_buf_u8(&row, tag_u64);
  lc_buf_slice_append(&row, value);
  struct lc_slice taken = lc_arena_take(&k->plan->arena, &row);
  if (!taken.data || !(k->plan->rows = check_take(k, 1, sizeof *k->plan->rows))) return false;
  k->plan->rows[k->plan->n_rows++] = taken;
  return true;
}

bool change_compile(struct check *k, const struct ast *a) {
  struct lc_plan *plan = k->plan;
  bool ok;
  if (a->kind == S_SET) {
    ok = compile_set(k, a);
  } else {
    const struct lc_table_info *t = check_table(k, a->table.name);
    if (!t || !may_change(k, a, t, a->table.name)) return false;
    plan->table = t;
    if (a->kind == S_DELETE) plan->kind = LC_SQL_DELETE;
    ok = a->kind == S_INSERT ? compile_insert(k, a, t) : a->kind == S_UPDATE ? compile_update(k, a, t) : compile_where(k, a);
    plan->table = t;
  }
  if (!ok) return false;
  plan->row_type = lc_type_new_product(&plan->arena, 0, NULL);
  if (!plan->row_type) return lc_fail(k->err, LC_NOMEM, "out of memory"), false;
  if (k->caller->is_owner || k->caller->has_all_rights) return true;
  char hex[65];
  lc_identity_hex(&k->caller->identity, hex);
  lc_fail(k->err, LC_DENIED, "Caller %s is not authorized to run SQL DML statements", hex);
  return false;
}

/* ---- running ---- */

static bool collect(void *ctx, struct lc_slice row) {
  struct lc_buf *rows = ctx;
  lc_buf_bsatn_bytes(rows, row);
  return lc_buf_ok(rows);
}
static enum lc_status refused(int rc, struct lc_error *err) {
  if (rc == LC_ERRNO_TRAP && err->status == LC_NOMEM) return LC_NOMEM;
  if (err->status == LC_OK || !err->text[0]) lc_fail(err, LC_INVALID, "the change was refused with error %d", rc);
  return err->status;
}
static enum lc_status insert_row(const struct lc_plan *plan, struct lc_tx *tx, struct lc_slice row, bool *is_new, struct lc_error *err) {
  uint64_t before = 0, after = 0;
  lc_tx_row_count(tx, plan->table->table_id, &before);
  int rc = lc_tx_insert(tx, plan->table->table_id, row, NULL, NULL, err);
  if (rc != LC_ERRNO_OK) return refused(rc, err);
  lc_tx_row_count(tx, plan->table->table_id, &after);
  *is_new = after != before;
  return LC_OK;
}

/* The row with its assigned columns. */
static void assigned(const struct lc_plan *plan, struct lc_slice row, struct lc_buf *out) {
  const struct lc_type *type = plan->table->row_type;
  const uint8_t *at = row.data;
  lc_buf_clear(out);
  for (uint32_t c = 0; c < type->n_fields; c++) {
    const uint8_t *end = lc_bsatn_skip(type->fields[c].type, at);
    struct lc_slice value = lc_slice(at, (size_t)(end - at));
    for (uint32_t i = 0; i < plan->n_assignments; i++)
      if (plan->assignments[i].column == c) value = plan->assignments[i].value;
    lc_buf_slice_append(out, value);
    at = end;
  }
}

enum lc_status lc_plan_change(const struct lc_plan *plan, struct lc_read_view view, struct lc_tx *tx, struct lc_dml_counts *counts, struct lc_error *err) {
  struct lc_buf rows = {0}, changed = {0};
  struct lc_error scratch = {0};
  uint64_t n = 0;
  bool is_new, found;
  if (!err) err = &scratch;
  *counts = (struct lc_dml_counts){0};
  if (plan->kind == LC_SQL_INSERT) {
    for (uint32_t i = 0; i < plan->n_rows; i++) {
      enum lc_status st = insert_row(plan, tx, plan->rows[i], &is_new, err);
      if (st != LC_OK) return st;
      counts->inserted += is_new;
    }
    return LC_OK;
  }
  /* first all rows, then all deletions, then all insertions: values may be swapped, rows that become equal are one */
  enum lc_status st = lc_fragment_run(plan, 0, view, NULL, collect, &rows, err);
  if (st == LC_OK && !lc_buf_ok(&rows)) st = lc_fail(err, LC_NOMEM, "out of memory");
  struct lc_reader r = lc_reader(lc_buf_slice(&rows));
  for (; st == LC_OK && lc_reader_left(&r); n++) {
    int rc = lc_tx_delete_row(tx, plan->table->table_id, lc_read_bytes(&r), &found, err);
    if (rc != LC_ERRNO_OK) st = refused(rc, err);
  }
  r = lc_reader(lc_buf_slice(&rows));
  while (st == LC_OK && plan->kind == LC_SQL_UPDATE && lc_reader_left(&r)) {
    assigned(plan, lc_read_bytes(&r), &changed);
    st = lc_buf_ok(&changed) ? insert_row(plan, tx, lc_buf_slice(&changed), &is_new, err) : lc_fail(err, LC_NOMEM, "out of memory");
  }
  if (plan->kind == LC_SQL_UPDATE) counts->updated = n;
  else counts->deleted = n;
  lc_buf_free(&rows);
  lc_buf_free(&changed);
  return st;
}
