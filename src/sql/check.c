/* Owns: names and types: a parsed SELECT becomes a fragment of relations and typed conditions (spec/05 §5, §6, spec/07 §5.1), and the rest of the compilation
 * of a statement. Callers: the face, rules.c.
 */
#include "plan.h"
#include <stdio.h>

static bool fail(struct check *k, enum lc_status st, const char *text) {
  lc_fail(k->err, st, "%s", text);
  return false;
}
static bool not_in_scope(struct check *k, struct lc_slice name) {
  lc_fail(k->err, LC_INVALID, "`%.*s` is not in scope", T(name));
  return false;
}

/* ---- tables ---- */

const struct lc_table_info *check_table(struct check *k, struct lc_slice name) {
  const struct lc_table_info *t = lc_view_table_by_name(k->view, name);
  if (t && (t->is_public || k->caller->is_owner || k->caller->has_all_rights)) return t;
  lc_fail(k->err, LC_NOT_FOUND, "no such table: `%.*s`. If the table exists, it may be marked private.", T(name));
  return NULL;
}

/* The instance of a view that a relation reads: its arguments and their hash (spec/07 §5.2). */
static bool view_instance(struct check *k, const struct ast_table *t, const struct lc_table_info *info, struct lc_plan_view *out) {
  static const char prefix[] = "spacetimedb::view::args::v1"; /* its NUL counts */
  const struct lc_type *params = info->view->params;
  uint32_t n = params ? params->n_fields : 0;
  struct lc_buf args = {0}, hashed = {0};
  bool ok = true;
  if (n != t->n_arguments) {
    lc_fail(k->err, LC_INVALID, "View `%.*s` takes %u argument(s), but %u were given", T(t->name), n, t->n_arguments);
    return false;
  }
  for (uint32_t i = 0; i < n && ok; i++) {
    const struct ast_expr *e = t->arguments[i];
    const struct lc_type *type = params->fields[i].type;
    struct lc_slice value = {0};
    bool passable = type->special == LC_SPECIAL_TIMESTAMP || type->special == LC_SPECIAL_IDENTITY || type->special == LC_SPECIAL_CONNECTION_ID || type->special == LC_SPECIAL_UUID || type->kind >= LC_T_STRING ||
                    (type->kind == LC_T_ARRAY && type->elem->kind == LC_T_U8);
    if (!passable || type->kind == LC_T_F32 || type->kind == LC_T_F64) {
      struct lc_buf shown = {0};
      lc_type_display(&shown, type);
      struct lc_slice shown_text = lc_arena_take(&k->plan->arena, &shown);
      lc_fail(k->err, LC_INVALID, "Parameter `%.*s` of view `%.*s` has type %.*s, which cannot be passed from SQL", T(params->fields[i].name), T(t->name), T(shown_text));
      ok = false;
    } else if (e->kind == X_BOOL) {
      if ((ok = type->kind == LC_T_BOOL || literal_mismatch(k, lc_type_primitive(LC_T_BOOL), type))) lc_buf_u8(&args, e->truth);
    } else if ((ok = literal_value(k, e, type, &value))) {
      lc_buf_slice_append(&args, value);
    }
  }
  lc_buf_append(&hashed, prefix, sizeof prefix);
  if (!info->view->is_anonymous) {
    lc_buf_append(&hashed, k->caller->identity.bytes, 32);
    k->plan->is_per_identity = true;
  }
  lc_buf_slice_append(&hashed, lc_buf_slice(&args));
  out->table = info;
  lc_blake3(lc_buf_slice(&hashed), out->arg_hash);
  out->args = lc_arena_take(&k->plan->arena, &args);
  if (ok && (!lc_buf_ok(&hashed) || !out->args.data)) ok = fail(k, LC_NOMEM, "out of memory");
  lc_buf_free(&hashed);
  return ok;
}
static bool note_view(struct check *k, const struct lc_plan_view *v) {
  for (uint32_t i = 0; i < k->plan->n_views; i++)
    if (memcmp(k->plan->views[i].arg_hash, v->arg_hash, 32) == 0 && k->plan->views[i].table == v->table) return true;
  struct lc_plan_view *more = check_take(k, k->plan->n_views + 1, sizeof *more);
  if (!more) return false;
  if (k->plan->n_views) memcpy(more, k->plan->views, k->plan->n_views * sizeof *more);
  more[k->plan->n_views++] = *v;
  k->plan->views = more;
  return true;
}

static bool add_relation(struct check *k, struct fragment *f, const struct ast_table *t, bool in_join) {
  if (t->has_arguments && in_join && t->n_arguments) {
    lc_fail(k->err, LC_INVALID, "Unsupported view call in a JOIN: `%.*s`. A view that takes arguments can only be queried by itself", T(t->name));
    return false;
  }
  for (uint32_t i = 0; i < t->n_arguments; i++) {
    const struct ast_expr *e = t->arguments[i];
    if (e->kind == X_OTHER && strncmp(e->error, "Unsupported view argument", 25) == 0) return fail(k, LC_INVALID, e->error);
    if (e->kind != X_NUMBER && e->kind != X_STRING && e->kind != X_HEX && e->kind != X_BOOL) {
      lc_fail(k->err, LC_INVALID, "Unsupported view argument: %.*s. View arguments must be literals", T(e->shown));
      return false;
    }
  }
  const struct lc_table_info *info = check_table(k, t->name);
  if (!info) return false;
  if (t->n_arguments && !info->view) {
    lc_fail(k->err, LC_INVALID, "`%.*s` is a table, not a view; it does not take arguments", T(t->name));
    return false;
  }
  if (f->n_relations == LC_SQL_MAX_RELATIONS) {
    lc_fail(k->err, LC_LIMIT, "a query may have at most %d tables", LC_SQL_MAX_RELATIONS);
    return false;
  }
  for (uint32_t i = 0; i < f->n_relations; i++)
    if (lc_slice_eq(f->relations[i].scope, t->scope)) {
      lc_fail(k->err, LC_INVALID, "Duplicate name `%.*s`", T(t->scope));
      return false;
    }
  uint32_t at = f->n_relations++;
  f->relations[at] = (struct relation){.table = info, .scope = lc_arena_copy(&k->plan->arena, t->scope)};
  if (!info->view) return true;
  struct lc_plan_view v = {0};
  if (!view_instance(k, t, info, &v) || !note_view(k, &v)) return false;
  struct expr *hash = check_take(k, 1, sizeof *hash), *same = check_take(k, 1, sizeof *same);
  const struct expr *column = check_column_expr(k, f, at, 0);
  if (!hash || !same || !column) return false;
  struct lc_slice value = lc_arena_copy(&k->plan->arena, lc_slice(v.arg_hash, 32));
  if (!value.data) return fail(k, LC_NOMEM, "out of memory");
  *hash = (struct expr){.op = OP_VALUE, .type = column->type, .value = value};
  *same = (struct expr){.op = OP_EQ, .left = column, .right = hash, .type = lc_type_primitive(LC_T_BOOL), .relations = column->relations};
  return check_condition(k, f, same);
}

/* ---- columns ---- */

const struct expr *check_column_expr(struct check *k, const struct fragment *f, uint32_t relation, uint32_t column) {
  const struct lc_type *row = f->relations[relation].table->row_type;
  struct expr *e = check_take(k, 1, sizeof *e);
  if (!e) return NULL;
  *e = (struct expr){.op = OP_COLUMN, .type = row->fields[column].type, .relation = (uint16_t)relation, .column = (uint16_t)column, .relations = 1u << relation};
  for (uint32_t i = 0; i < column && e->offset_bytes != LC_SIZE_DYNAMIC; i++) {
    uint32_t size = row->fields[i].type->static_size_bytes;
    e->offset_bytes = size == LC_SIZE_DYNAMIC ? LC_SIZE_DYNAMIC : e->offset_bytes + size;
  }
  return e;
}
/* A column by accessor, then by canonical name; a view's arg_hash is not to be seen. */
static bool column_of(const struct lc_table_info *t, struct lc_slice name, uint32_t *column) {
  uint32_t first = t->view ? 1 : 0;
  for (uint32_t i = first; i < t->row_type->n_fields; i++)
    if (t->column_accessors && lc_slice_eq(t->column_accessors[i], name)) return *column = i, true;
  for (uint32_t i = first; i < t->row_type->n_fields; i++)
    if (lc_slice_eq(t->row_type->fields[i].name, name)) return *column = i, true;
  return false;
}
static const struct expr *column(struct check *k, const struct fragment *f, struct lc_slice qualifier, struct lc_slice name) {
  uint32_t relation = 0, at;
  if (qualifier.len) {
    while (relation < f->n_relations && !lc_slice_eq(f->relations[relation].scope, qualifier)) relation++;
    if (relation == f->n_relations) return not_in_scope(k, qualifier), NULL;
  }
  if (!column_of(f->relations[relation].table, name, &at)) return not_in_scope(k, name), NULL;
  return check_column_expr(k, f, relation, at);
}

/* ---- conditions ---- */

static bool comparable(const struct lc_type *t) {
  if (t->special == LC_SPECIAL_IDENTITY || t->special == LC_SPECIAL_CONNECTION_ID || t->special == LC_SPECIAL_TIMESTAMP || t->special == LC_SPECIAL_UUID) return true;
  return t->kind >= LC_T_STRING || (t->kind == LC_T_ARRAY && t->elem->kind == LC_T_U8);
}
static bool is_untyped(const struct ast_expr *e) { return e->kind == X_NUMBER || e->kind == X_STRING || e->kind == X_HEX; }

/* wanted NULL: the expression says its type itself. */
static const struct expr *typed(struct check *k, const struct fragment *f, const struct ast_expr *e, const struct lc_type *wanted) {
  static const enum op ops[] = {OP_EQ, OP_NE, OP_LT, OP_LE, OP_GT, OP_GE};
  static const char *const names[] = {"=", "<>", "<", "<=", ">", ">="};
  const struct lc_type *boolean = lc_type_primitive(LC_T_BOOL);
  struct expr *out;
  if (e->kind == X_COLUMN) {
    const struct expr *c = column(k, f, e->qualifier, e->name);
    if (c && wanted && !lc_type_eq(c->type, wanted)) return literal_mismatch(k, c->type, wanted), NULL;
    return c;
  }
  if (!(out = check_take(k, 1, sizeof *out))) return NULL;
  if (is_untyped(e) || e->kind == X_SENDER) {
    *out = (struct expr){.op = OP_VALUE, .type = wanted};
    if (!wanted && e->kind == X_SENDER) out->type = lc_type_identity();
    if (!out->type) return fail(k, LC_INVALID, "Cannot resolve type for literal expression"), NULL;
    return literal_value(k, e, out->type, &out->value) ? out : NULL;
  }
  *out = (struct expr){.type = boolean};
  if (wanted && wanted->kind != LC_T_BOOL) { /* everything else is a truth value */
    if (e->kind != X_BOOL && !typed(k, f, e, NULL)) return NULL;
    return literal_mismatch(k, boolean, wanted), NULL;
  }
  if (e->kind == X_BOOL) {
    out->op = OP_VALUE;
    out->value = lc_slice(e->truth ? "\1" : "\0", 1);
    return out;
  }
  if (e->kind == X_AND || e->kind == X_OR) {
    out->op = e->kind == X_AND ? OP_AND : OP_OR;
    if (!(out->left = typed(k, f, e->left, boolean)) || !(out->right = typed(k, f, e->right, boolean))) return NULL;
  } else {
    out->op = ops[e->op];
    bool left_first = !is_untyped(e->left) && e->left->kind != X_SENDER;
    if (left_first) {
      if (!(out->left = typed(k, f, e->left, NULL)) || !(out->right = typed(k, f, e->right, out->left->type))) return NULL;
    } else {
      if (is_untyped(e->right)) return fail(k, LC_INVALID, "Cannot resolve type for literal expression"), NULL;
      if (!(out->right = typed(k, f, e->right, NULL)) || !(out->left = typed(k, f, e->left, out->right->type))) return NULL;
    }
    if (!comparable(out->left->type)) {
      struct lc_buf b = {0};
      lc_type_display(&b, out->left->type);
      struct lc_slice b_text = lc_arena_take(&k->plan->arena, &b);
      lc_fail(k->err, LC_INVALID, "Invalid binary operator `%s` for type `%.*s`", names[e->op], T(b_text));
      return NULL;
    }
  }
  out->relations = out->left->relations | out->right->relations;
  return out;
}

bool check_condition(struct check *k, struct fragment *f, const struct expr *e) {
  while (e->op == OP_AND) { /* chains nest to the left */
    if (!check_condition(k, f, e->right)) return false;
    e = e->left;
  }
  const struct expr **more = f->conditions;
  if ((f->n_conditions & (f->n_conditions - 1)) == 0) { /* grows at powers of two */
    if (!(more = check_take(k, f->n_conditions ? f->n_conditions * 2 : 1, sizeof *more))) return false;
    if (f->n_conditions) memcpy(more, f->conditions, f->n_conditions * sizeof *more);
    f->conditions = more;
  }
  f->conditions[f->n_conditions++] = e;
  return true;
}

/* ---- SELECT ---- */

static bool projection(struct check *k, const struct ast *a, struct fragment *f) {
  struct lc_plan *plan = k->plan;
  const struct ast_item *first = &a->items[0];
  if (first->is_star) {
    f->result = 0;
    if (first->qualifier.len) {
      while (f->result < f->n_relations && !lc_slice_eq(f->relations[f->result].scope, first->qualifier)) f->result++;
      if (f->result == f->n_relations) return not_in_scope(k, first->qualifier);
    } else if (f->n_relations > 1) {
      return fail(k, LC_INVALID, "SELECT * is not supported for joins");
    }
    plan->is_whole_row = true;
    plan->table = f->relations[f->result].table;
    plan->row_type = plan->table->row_type;
    if (!plan->table->view) return true;
    plan->row_type = lc_type_new_product(&plan->arena, plan->row_type->n_fields - 1, plan->row_type->fields + 1);
    return plan->row_type || fail(k, LC_NOMEM, "out of memory");
  }
  struct lc_type_field *fields = check_take(k, a->n_items, sizeof *fields);
  const struct expr **items = check_take(k, a->n_items, sizeof *items);
  if (!fields || !items) return false;
  if (first->is_count) {
    plan->kind = LC_SQL_COUNT;
    fields[0] = (struct lc_type_field){lc_arena_copy(&plan->arena, first->alias), true, lc_type_primitive(LC_T_U64)};
  }
  for (uint32_t i = 0; i < a->n_items && !first->is_count; i++) {
    const struct ast_item *it = &a->items[i];
    if (!(items[i] = column(k, f, it->expr->qualifier, it->expr->name))) return false;
    fields[i] = (struct lc_type_field){lc_arena_copy(&plan->arena, it->has_alias ? it->alias : it->expr->name), true, items[i]->type};
    for (uint32_t j = 0; j < i; j++)
      if (lc_slice_eq(fields[j].name, fields[i].name)) {
        lc_fail(k->err, LC_INVALID, "Duplicate name `%.*s`", T(fields[i].name));
        return false;
      }
  }
  if (k->plan->language != LC_SQL_STATEMENT) return fail(k, LC_INVALID, "Column projections are not supported in subscriptions; Subscriptions must return a table type");
  plan->n_items = first->is_count ? 0 : a->n_items;
  plan->items = items;
  plan->row_type = lc_type_new_product(&plan->arena, a->n_items, fields);
  return plan->row_type || fail(k, LC_NOMEM, "out of memory");
}

bool check_fragment(struct check *k, const struct ast *a, struct fragment *f) {
  *f = (struct fragment){0};
  if (!add_relation(k, f, &a->table, a->n_joins > 0)) return false;
  for (uint32_t i = 0; i < a->n_joins; i++) {
    const struct ast_join *j = &a->joins[i];
    if (!add_relation(k, f, &j->table, true)) return false;
    if (!j->has_on) continue;
    struct ast_expr equal = {.kind = X_COMPARE, .op = C_EQ, .left = j->left, .right = j->right};
    const struct expr *e = typed(k, f, &equal, lc_type_primitive(LC_T_BOOL));
    if (!e || !check_condition(k, f, e)) return false;
    if (e->left->relation == e->right->relation) return fail(k, LC_INVALID, "Could not compute positional arguments during query planning");
  }
  if (a->where) {
    const struct expr *e = typed(k, f, a->where, lc_type_primitive(LC_T_BOOL));
    if (!e || !check_condition(k, f, e)) return false;
  }
  if (a->table.n_arguments && (a->where || a->has_limit || !a->items[0].is_star)) {
    lc_fail(k->err, LC_INVALID, "View `%.*s` takes arguments, so it can only be queried as `SELECT * FROM %.*s(...)`", T(a->table.name), T(a->table.name));
    return false;
  }
  return projection(k, a, f);
}

static bool select_statement(struct check *k, const struct ast *a) {
  struct lc_plan *plan = k->plan;
  struct fragment *f = check_take(k, 1, sizeof *f), **list = check_take(k, 1, sizeof *list);
  plan->limit = UINT64_MAX;
  if (!f || !list || !check_fragment(k, a, f)) return false;
  list[0] = f;
  plan->fragments = list;
  plan->n_fragments = 1;
  if (a->has_limit) {
    struct ast_expr number = {.kind = X_NUMBER, .text = a->limit};
    struct lc_slice value;
    if (!literal_value(k, &number, lc_type_primitive(LC_T_U64), &value)) return false;
    memcpy(&plan->limit, value.data, 8);
  }
  if (!rules_apply(k)) return false;
  for (uint32_t i = 0; i < plan->n_fragments; i++)
    if (plan->language == LC_SQL_SUBSCRIPTION && !steps_check_subscription(k, plan->fragments[i])) return false;
  for (uint32_t i = 0; i < plan->n_fragments; i++)
    if (!steps_plan(k, plan->fragments[i])) return false;
  plan->is_limited = !k->caller->is_owner && !k->caller->has_all_rights;
  return true;
}

/* SHOW is a query of st_var. */
static bool show_statement(struct check *k, const struct ast *a) {
  static const char text[] = "SELECT value FROM st_var WHERE name = 'row_limit'";
  struct ast *query;
  if (!lc_slice_eq_str(a->variable, "row_limit")) {
    lc_fail(k->err, LC_INVALID, "%.*s is not a valid system variable", T(a->variable));
    return false;
  }
  return sql_parse(&k->parsed, lc_slice(text, sizeof text - 1), &query, k->err) == LC_OK && select_statement(k, query);
}

static bool statement(struct check *k, struct lc_slice sql) {
  struct ast *a;
  if (sql_parse(&k->parsed, sql, &a, k->err) != LC_OK) return false;
  const char *unsupported = sql_unsupported(&k->parsed, a, k->plan->language);
  if (unsupported) return fail(k, LC_INVALID, unsupported);
  if (a->kind == S_SELECT) return select_statement(k, a);
  return a->kind == S_SHOW ? show_statement(k, a) : change_compile(k, a);
}

enum lc_status lc_sql_compile(struct lc_read_view view, struct lc_slice sql, enum lc_sql_language language, const struct lc_sql_caller *caller, struct lc_plan **out, struct lc_error *err) {
  struct lc_error scratch = {0};
  if (!err) err = &scratch;
  if (sql.len > LC_SQL_MAX_BYTES) { /* 120 characters of it */
    size_t end = 0;
    for (unsigned n = 0; end < sql.len && (n += (sql.data[end] & 0xc0) != 0x80) <= 120;) end++;
    return lc_fail(err, LC_LIMIT, "SQL query exceeds maximum allowed length: \"%.*s...\"", (int)end, (const char *)sql.data);
  }
  struct lc_plan *plan = lc_alloc_zero(1, sizeof *plan);
  if (!plan) return lc_fail(err, LC_NOMEM, "out of memory");
  plan->language = language;
  plan->arena.first_block_bytes = 2048; /* subscriptions keep many plans */
  struct check k = {.plan = plan, .view = view, .caller = caller, .err = err};
  struct lc_slice text = lc_arena_copy(&plan->arena, sql);
  err->status = LC_OK;
  bool ok = text.data && statement(&k, text);
  if (ok) { /* for sharing: the text, and whoever it depends on */
    struct lc_buf key = {0};
    lc_buf_slice_append(&key, text);
    lc_buf_u8(&key, 0);
    if (plan->is_per_identity) lc_buf_append(&key, caller->identity.bytes, 32);
    lc_buf_u8(&key, caller->is_owner);
    plan->key = lc_arena_take(&plan->arena, &key);
  }
  bool lacks_memory = plan->arena.failed || k.parsed.failed; /* then any other outcome may be a wrong one */
  lc_arena_free(&k.parsed);
  if (!ok || lacks_memory) {
    enum lc_status st = lacks_memory || err->status == LC_OK ? lc_fail(err, LC_NOMEM, "out of memory") : err->status;
    lc_plan_free(plan);
    return st;
  }
  *out = plan;
  return LC_OK;
}

void lc_plan_free(struct lc_plan *plan) {
  if (!plan) return;
  lc_arena_free(&plan->arena);
  lc_free(plan);
}
enum lc_sql_kind lc_plan_kind(const struct lc_plan *plan) { return plan->kind; }
const struct lc_table_info *lc_plan_table(const struct lc_plan *plan) { return plan->is_whole_row && plan->kind == LC_SQL_SELECT ? plan->table : NULL; }
const struct lc_type *lc_plan_row_type(const struct lc_plan *plan) { return plan->row_type; }
struct lc_slice lc_plan_key(const struct lc_plan *plan) { return plan->key; }
bool lc_plan_is_per_identity(const struct lc_plan *plan) { return plan->is_per_identity; }
uint32_t lc_plan_views(const struct lc_plan *plan, const struct lc_plan_view **views) {
  *views = plan->views;
  return plan->n_views;
}
uint32_t lc_plan_n_fragments(const struct lc_plan *plan) { return plan->n_fragments; }
uint32_t lc_fragment_n_relations(const struct lc_plan *plan, uint32_t fragment) { return plan->fragments[fragment]->n_relations; }
const struct lc_table_info *lc_fragment_table(const struct lc_plan *plan, uint32_t fragment, uint32_t relation) { return plan->fragments[fragment]->relations[relation].table; }
uint32_t lc_fragment_result(const struct lc_plan *plan, uint32_t fragment) { return plan->fragments[fragment]->result; }
