/* The exported schema: a validated module definition back to the SATS-JSON of RawModuleDefV9 or RawModuleDefV10 (spec/01 §7.5, §11, §12
 * and §15, spec/07 §4.7).
 *
 * Names come out canonical, with the source names that the V10 form has places for; the typespace is the converted one, so the V10 form
 * declares the policy `None` and gives the same definition when it is read again. What V9 cannot say (event tables, visibility, HTTP,
 * environment, view keys, outboxes, submodules) is dropped from it. Output is deterministic: where spec leaves an order open it is definition order, in V9 the
 * order of names. Callers: api/ (GET schema), cli/ (describe, generate), tests.
 */
#include "moduledef_internal.h"
#include <stdlib.h>

/* ---- pieces ---- */

static void key(struct lc_buf *out, const char *name) { lc_buf_printf(out, "\"%s\":", name); }
static void field(struct lc_buf *out, const char *name) { /* one after the first */
  lc_buf_u8(out, ',');
  key(out, name);
}
static void string_field(struct lc_buf *out, const char *name, struct lc_slice text) {
  field(out, name);
  lc_json_escape(out, text);
}
static void first_string(struct lc_buf *out, const char *name, struct lc_slice text) { /* opens the object */
  lc_buf_u8(out, '{');
  key(out, name);
  lc_json_escape(out, text);
}
static void bool_field(struct lc_buf *out, const char *name, bool v) {
  field(out, name);
  lc_buf_str(out, v ? "true" : "false");
}
static void unit_variant(struct lc_buf *out, const char *name) { lc_buf_printf(out, "{\"%s\":[]}", name); }
static void some_string(struct lc_buf *out, struct lc_slice text) { /* no bytes at all: none */
  if (!text.data) {
    unit_variant(out, "none");
    return;
  }
  first_string(out, "some", text);
  lc_buf_u8(out, '}');
}
static void columns_array(struct lc_buf *out, uint32_t n, const uint16_t *columns) {
  lc_buf_u8(out, '[');
  for (uint32_t i = 0; i < n; i++) lc_buf_printf(out, i ? ",%u" : "%u", columns[i]);
  lc_buf_u8(out, ']');
}
static void hex_string(struct lc_buf *out, struct lc_slice bytes) {
  lc_buf_u8(out, '"');
  if (lc_buf_reserve(out, 2 * bytes.len + 1)) {
    lc_hex_encode(bytes.data, bytes.len, (char *)out->data + out->len);
    out->len += 2 * bytes.len;
  }
  lc_buf_u8(out, '"');
}
/* A bare ProductType: the AlgebraicType without its tag. */
static void product_type(struct lc_buf *out, const struct lc_type *t) {
  lc_buf_str(out, "{\"elements\":[");
  for (uint32_t i = 0; i < t->n_fields; i++) {
    lc_buf_str(out, i ? ",{\"name\":" : "{\"name\":");
    some_string(out, t->fields[i].has_name ? t->fields[i].name : lc_slice(NULL, 0));
    field(out, "algebraic_type");
    lc_json_write_type(out, t->fields[i].type);
    lc_buf_u8(out, '}');
  }
  lc_buf_str(out, "]}");
}
static void typespace(struct lc_buf *out, const struct lc_typespace *ts) {
  lc_buf_str(out, "{\"types\":[");
  for (uint32_t i = 0; i < ts->n; i++) {
    if (i) lc_buf_u8(out, ',');
    lc_json_write_type(out, ts->types[i]);
  }
  lc_buf_str(out, "]}");
}
static void type_def(struct lc_buf *out, const struct lc_type_def *t, const char *name_key) {
  lc_buf_printf(out, "{\"%s\":{\"scope\":[", name_key);
  for (uint32_t i = 0; i < t->n_scope; i++) {
    if (i) lc_buf_u8(out, ',');
    lc_json_escape(out, t->scope[i]);
  }
  lc_buf_u8(out, ']');
  string_field(out, name_key, t->name);
  lc_buf_printf(out, "},\"ty\":%u", t->type_ref);
  bool_field(out, "custom_ordering", t->custom_ordering);
  lc_buf_u8(out, '}');
}
static void rls(struct lc_buf *out, const struct lc_module_def *def) {
  lc_buf_u8(out, '[');
  for (uint32_t i = 0; i < def->n_own_rls; i++) {
    if (i) lc_buf_u8(out, ',');
    first_string(out, "sql", def->rls_sql[i]);
    lc_buf_u8(out, '}');
  }
  lc_buf_u8(out, ']');
}

/* ---- parts of a table, the same in both versions but for the key of the name ---- */

static void index_def(struct lc_buf *out, const struct lc_index_def *ix, bool v10) {
  lc_buf_u8(out, '{');
  key(out, v10 ? "source_name" : "name");
  some_string(out, v10 ? ix->source_name : ix->name);
  field(out, "accessor_name");
  some_string(out, ix->accessor);
  field(out, "algorithm");
  switch (ix->kind) {
  case LC_INDEX_BTREE: lc_buf_str(out, "{\"BTree\":"); break;
  case LC_INDEX_HASH: lc_buf_str(out, "{\"Hash\":"); break;
  case LC_INDEX_DIRECT: lc_buf_str(out, "{\"Direct\":"); break;
  }
  if (ix->kind == LC_INDEX_DIRECT) lc_buf_printf(out, "%u", ix->columns[0]);
  else columns_array(out, ix->n_columns, ix->columns);
  lc_buf_str(out, "}}");
}

static void constraint_def(struct lc_buf *out, const struct lc_constraint_def *c, bool v10) { /* columns are a set: ascending */
  lc_buf_u8(out, '{');
  key(out, v10 ? "source_name" : "name");
  some_string(out, c->name);
  lc_buf_str(out, ",\"data\":{\"Unique\":{\"columns\":[");
  int last = -1;
  for (uint32_t i = 0; i < c->n_columns; i++) {
    int next = UINT16_MAX + 1;
    for (uint32_t k = 0; k < c->n_columns; k++)
      if (c->columns[k] > last && c->columns[k] < next) next = c->columns[k];
    lc_buf_printf(out, i ? ",%d" : "%d", next);
    last = next;
  }
  lc_buf_str(out, "]}}}");
}

static void sequence_def(struct lc_buf *out, const struct lc_sequence_def *q, bool v10) {
  lc_buf_u8(out, '{');
  key(out, v10 ? "source_name" : "name");
  some_string(out, q->name);
  lc_buf_printf(out, ",\"column\":%u,\"start\":{\"none\":[]},\"min_value\":{\"none\":[]},\"max_value\":{\"none\":[]},\"increment\":1}", q->column);
}

static int by_index_name(const void *a, const void *b) { return lc_slice_compare((*(const struct lc_index_def *const *)a)->name, (*(const struct lc_index_def *const *)b)->name); }
static int by_constraint_name(const void *a, const void *b) { return lc_slice_compare((*(const struct lc_constraint_def *const *)a)->name, (*(const struct lc_constraint_def *const *)b)->name); }
static int by_sequence_name(const void *a, const void *b) { return lc_slice_compare((*(const struct lc_sequence_def *const *)a)->name, (*(const struct lc_sequence_def *const *)b)->name); }
static int by_table_name(const void *a, const void *b) { return lc_slice_compare((*(const struct lc_table_def *const *)a)->name, (*(const struct lc_table_def *const *)b)->name); }
static int by_type_name(const void *a, const void *b) { return types_compare_type_names(*(const struct lc_type_def *const *)a, *(const struct lc_type_def *const *)b); }

/* Pointers to n elements of an array, sorted if `compare`; in `arena`. */
static const void **pointers(struct lc_arena *arena, uint32_t n, const void *array, size_t size, int (*compare)(const void *, const void *), struct lc_buf *out) {
  const void **p = lc_arena_alloc(arena, (n ? n : 1) * sizeof *p);
  if (!p) {
    out->failed = true;
    return NULL;
  }
  for (uint32_t i = 0; i < n; i++) p[i] = (const uint8_t *)array + i * size;
  if (compare && n) qsort(p, n, sizeof *p, compare);
  return p;
}

/* `"product_type_ref"` up to `"sequences"`: what follows the name of a table. */
static void table_middle(struct lc_arena *arena, struct lc_buf *out, const struct lc_table_def *t, bool v10) {
  lc_buf_printf(out, ",\"product_type_ref\":%u,\"primary_key\":[", t->type_ref);
  if (t->primary_key >= 0) lc_buf_printf(out, "%d", t->primary_key);
  const struct lc_index_def **ix = (const struct lc_index_def **)pointers(arena, t->n_indexes, t->indexes, sizeof *t->indexes, v10 ? NULL : by_index_name, out);
  const struct lc_constraint_def **c = (const struct lc_constraint_def **)pointers(arena, t->n_constraints, t->constraints, sizeof *t->constraints, v10 ? NULL : by_constraint_name, out);
  const struct lc_sequence_def **q = (const struct lc_sequence_def **)pointers(arena, t->n_sequences, t->sequences, sizeof *t->sequences, v10 ? NULL : by_sequence_name, out);
  if (!ix || !c || !q) return;
  lc_buf_str(out, "],\"indexes\":[");
  for (uint32_t i = 0; i < t->n_indexes; i++) {
    if (i) lc_buf_u8(out, ',');
    index_def(out, ix[i], v10);
  }
  lc_buf_str(out, "],\"constraints\":[");
  for (uint32_t i = 0; i < t->n_constraints; i++) {
    if (i) lc_buf_u8(out, ',');
    constraint_def(out, c[i], v10);
  }
  lc_buf_str(out, "],\"sequences\":[");
  for (uint32_t i = 0; i < t->n_sequences; i++) {
    if (i) lc_buf_u8(out, ',');
    sequence_def(out, q[i], v10);
  }
  lc_buf_u8(out, ']');
}

static void table_access(struct lc_buf *out, const struct lc_table_def *t) {
  field(out, "table_type");
  unit_variant(out, t->is_system ? "System" : "User");
  field(out, "table_access");
  unit_variant(out, t->is_public ? "Public" : "Private");
}

static void view_middle(struct lc_buf *out, const struct lc_view_def *v) {
  lc_buf_printf(out, ",\"index\":%u", v->fn_index);
  bool_field(out, "is_public", v->is_public);
  bool_field(out, "is_anonymous", v->is_anonymous);
  field(out, "params");
  product_type(out, v->canonical_params);
  field(out, "return_type");
  lc_json_write_type(out, v->return_type);
}

/* ---- version 9 ---- */

static const char *lifecycle_name(enum lc_lifecycle l) { return l == LC_LIFECYCLE_INIT ? "Init" : l == LC_LIFECYCLE_CONNECT ? "OnConnect" : "OnDisconnect"; }

static void v9_table(struct lc_arena *arena, struct lc_buf *out, const struct lc_table_def *t) {
  first_string(out, "name", t->name);
  table_middle(arena, out, t, false);
  field(out, "schedule");
  if (t->has_schedule) {
    lc_buf_str(out, "{\"some\":{\"name\":");
    some_string(out, t->schedule_name);
    string_field(out, "reducer_name", t->schedule_function);
    lc_buf_printf(out, ",\"scheduled_at_column\":%u}}", t->schedule_at_column);
  } else {
    unit_variant(out, "none");
  }
  table_access(out, t);
  lc_buf_u8(out, '}');
}

static void v9_misc_exports(struct lc_buf *out, const struct lc_module_def *def, const struct lc_table_def *const *tables) {
  const char *separator = "";
  for (uint32_t i = 0; i < def->n_own_tables; i++)
    for (uint32_t c = 0; c < tables[i]->n_columns; c++) {
      if (!tables[i]->columns[c].has_default) continue;
      lc_buf_printf(out, "%s{\"ColumnDefaultValue\":", separator);
      first_string(out, "table", tables[i]->name);
      lc_buf_printf(out, ",\"col_id\":%u,\"value\":", c);
      hex_string(out, tables[i]->columns[c].default_bsatn);
      lc_buf_str(out, "}}");
      separator = ",";
    }
  for (uint32_t i = 0; i < def->n_own_procedures; i++) {
    lc_buf_printf(out, "%s{\"Procedure\":", separator);
    first_string(out, "name", def->procedures[i].name);
    field(out, "params");
    product_type(out, def->procedures[i].canonical_params);
    field(out, "return_type");
    lc_json_write_type(out, def->procedures[i].ok_type);
    lc_buf_str(out, "}}");
    separator = ",";
  }
  for (uint32_t i = 0; i < def->n_own_views; i++) {
    lc_buf_printf(out, "%s{\"View\":", separator);
    first_string(out, "name", def->views[i].name);
    view_middle(out, &def->views[i]);
    lc_buf_str(out, "}}");
    separator = ",";
  }
}

static void write_v9(struct lc_arena *arena, struct lc_buf *out, const struct lc_module_def *def) {
  const struct lc_table_def **tables = (const struct lc_table_def **)pointers(arena, def->n_own_tables, def->tables, sizeof *def->tables, by_table_name, out);
  const struct lc_type_def **types = (const struct lc_type_def **)pointers(arena, def->n_types, def->types, sizeof *def->types, by_type_name, out);
  if (!tables || !types) return;
  lc_buf_str(out, "{\"typespace\":");
  typespace(out, &def->typespace);
  lc_buf_str(out, ",\"tables\":[");
  for (uint32_t i = 0; i < def->n_own_tables; i++) {
    if (i) lc_buf_u8(out, ',');
    v9_table(arena, out, tables[i]);
  }
  lc_buf_str(out, "],\"reducers\":[");
  for (uint32_t i = 0; i < def->n_own_reducers; i++) {
    const struct lc_function_def *f = &def->reducers[i];
    if (i) lc_buf_u8(out, ',');
    first_string(out, "name", f->name);
    field(out, "params");
    product_type(out, f->canonical_params);
    field(out, "lifecycle");
    if (f->lifecycle) lc_buf_printf(out, "{\"some\":{\"%s\":[]}}", lifecycle_name(f->lifecycle));
    else unit_variant(out, "none");
    lc_buf_u8(out, '}');
  }
  lc_buf_str(out, "],\"types\":[");
  for (uint32_t i = 0; i < def->n_types; i++) {
    if (i) lc_buf_u8(out, ',');
    type_def(out, types[i], "name");
  }
  lc_buf_str(out, "],\"misc_exports\":[");
  v9_misc_exports(out, def, tables);
  lc_buf_str(out, "],\"row_level_security\":");
  rls(out, def);
  lc_buf_u8(out, '}');
}

/* ---- version 10 ---- */

static void section(struct lc_buf *out, const char *name) { lc_buf_printf(out, ",{\"%s\":[", name); } /* one whose payload is an array */
static void section_end(struct lc_buf *out) { lc_buf_str(out, "]}"); }

static void v10_environment(struct lc_buf *out, const struct lc_module_def *def) {
  if (!def->n_env) return;
  section(out, "Environment");
  for (uint32_t i = 0; i < def->n_env; i++) {
    const struct lc_env_def *e = &def->env[i];
    if (i) lc_buf_u8(out, ',');
    first_string(out, "name", e->name);
    field(out, "ty");
    if (e->kind == LC_ENV_STRING) {
      unit_variant(out, "String");
    } else if (e->kind == LC_ENV_LITERAL) {
      first_string(out, "StringLiteral", e->literals[0]);
      lc_buf_u8(out, '}');
    } else {
      lc_buf_str(out, "{\"Union\":[");
      for (uint32_t k = 0; k < e->n_literals; k++) {
        if (k) lc_buf_u8(out, ',');
        lc_json_escape(out, e->literals[k]);
      }
      lc_buf_str(out, "]}");
    }
    bool_field(out, "optional", e->optional);
    lc_buf_u8(out, '}');
  }
  section_end(out);
}

static void v10_tables(struct lc_arena *arena, struct lc_buf *out, const struct lc_module_def *def) {
  if (!def->n_own_tables) return;
  section(out, "Tables");
  for (uint32_t i = 0; i < def->n_own_tables; i++) {
    const struct lc_table_def *t = &def->tables[i];
    const char *separator = "";
    if (i) lc_buf_u8(out, ',');
    first_string(out, "source_name", t->accessor);
    table_middle(arena, out, t, true);
    table_access(out, t);
    lc_buf_str(out, ",\"default_values\":[");
    for (uint32_t c = 0; c < t->n_columns; c++) {
      if (!t->columns[c].has_default) continue;
      lc_buf_printf(out, "%s{\"col_id\":%u,\"value\":", separator, c);
      hex_string(out, t->columns[c].default_bsatn);
      lc_buf_u8(out, '}');
      separator = ",";
    }
    lc_buf_u8(out, ']');
    bool_field(out, "is_event", t->is_event);
    lc_buf_u8(out, '}');
  }
  section_end(out);
}

static void visibility(struct lc_buf *out, const struct lc_function_def *f) {
  field(out, "visibility");
  unit_variant(out, f->is_private ? "Private" : "ClientCallable");
}

static void v10_functions(struct lc_buf *out, const struct lc_module_def *def) {
  if (def->n_own_reducers) section(out, "Reducers");
  for (uint32_t i = 0; i < def->n_own_reducers; i++) { /* ok and error type are always these two (spec/01 §14.2) */
    if (i) lc_buf_u8(out, ',');
    first_string(out, "source_name", def->reducers[i].accessor);
    field(out, "params");
    product_type(out, def->reducers[i].canonical_params);
    visibility(out, &def->reducers[i]);
    lc_buf_str(out, ",\"ok_return_type\":{\"Product\":{\"elements\":[]}},\"err_return_type\":{\"String\":[]}}");
  }
  if (def->n_own_reducers) section_end(out);
  if (def->n_own_procedures) section(out, "Procedures");
  for (uint32_t i = 0; i < def->n_own_procedures; i++) {
    if (i) lc_buf_u8(out, ',');
    first_string(out, "source_name", def->procedures[i].accessor);
    field(out, "params");
    product_type(out, def->procedures[i].canonical_params);
    field(out, "return_type");
    lc_json_write_type(out, def->procedures[i].ok_type);
    visibility(out, &def->procedures[i]);
    lc_buf_u8(out, '}');
  }
  if (def->n_own_procedures) section_end(out);
}

static void v10_http(struct lc_buf *out, const struct lc_module_def *def) {
  static const char *const methods[] = {"Get", "Head", "Post", "Put", "Delete", "Connect", "Options", "Trace", "Patch"};
  if (def->n_http_handlers) section(out, "HttpHandlers");
  for (uint32_t i = 0; i < def->n_http_handlers; i++) {
    if (i) lc_buf_u8(out, ',');
    first_string(out, "source_name", def->http_handlers[i]);
    lc_buf_u8(out, '}');
  }
  if (def->n_http_handlers) section_end(out);
  if (def->n_http_routes) section(out, "HttpRoutes");
  for (uint32_t i = 0; i < def->n_http_routes; i++) {
    const struct lc_http_route_def *r = &def->http_routes[i];
    if (i) lc_buf_u8(out, ',');
    first_string(out, "handler_function", r->handler);
    field(out, "method");
    if (r->method == LC_ROUTE_ANY) {
      unit_variant(out, "Any");
    } else {
      lc_buf_str(out, "{\"Method\":");
      if (r->method == LC_ROUTE_EXTENSION) {
        first_string(out, "Extension", r->extension);
        lc_buf_u8(out, '}');
      } else {
        unit_variant(out, methods[r->method]);
      }
      lc_buf_u8(out, '}');
    }
    string_field(out, "path", r->path);
    lc_buf_u8(out, '}');
  }
  if (def->n_http_routes) section_end(out);
}

static void v10_views(struct lc_buf *out, const struct lc_module_def *def) {
  bool keys = false;
  if (def->n_own_views) section(out, "Views");
  for (uint32_t i = 0; i < def->n_own_views; i++) {
    if (i) lc_buf_u8(out, ',');
    first_string(out, "source_name", def->views[i].accessor);
    view_middle(out, &def->views[i]);
    lc_buf_u8(out, '}');
  }
  if (def->n_own_views) section_end(out);
  for (uint32_t i = 0; i < def->n_own_views; i++) {
    const struct lc_view_def *v = &def->views[i];
    if (v->primary_key < 0) continue;
    if (keys) lc_buf_u8(out, ',');
    else section(out, "ViewPrimaryKeys");
    keys = true;
    first_string(out, "view_source_name", v->accessor);
    lc_buf_str(out, ",\"columns\":[");
    lc_json_escape(out, v->row_type->fields[v->primary_key].name);
    lc_buf_str(out, "]}");
  }
  if (keys) section_end(out);
}

static void v10_outboxes(struct lc_buf *out, const struct lc_module_def *def) {
  if (!def->n_own_outboxes) return;
  section(out, "Outboxes");
  for (uint32_t i = 0; i < def->n_own_outboxes; i++) {
    const struct lc_outbox_def *o = &def->outboxes[i];
    if (i) lc_buf_u8(out, ',');
    first_string(out, "table_name", def->tables[o->table_index].accessor);
    string_field(out, "remote_reducer", o->remote_reducer);
    lc_buf_printf(out, ",\"target_column\":%u,\"arg_columns\":", o->target_column);
    columns_array(out, o->n_args, o->arg_columns);
    field(out, "on_result_reducer");
    some_string(out, o->on_result >= 0 ? def->reducers[o->on_result].accessor : lc_slice(NULL, 0));
    field(out, "signature_hash");
    types_write_u256(out, o->signature.bytes, false);
    lc_buf_u8(out, '}');
  }
  section_end(out);
}

static void v10_schedules(struct lc_buf *out, const struct lc_module_def *def) {
  bool any = false;
  for (uint32_t i = 0; i < def->n_own_tables; i++) {
    const struct lc_table_def *t = &def->tables[i];
    if (!t->has_schedule) continue;
    if (any) lc_buf_u8(out, ',');
    else section(out, "Schedules");
    any = true;
    lc_buf_str(out, "{\"source_name\":");
    some_string(out, t->schedule_name);
    string_field(out, "table_name", t->name);
    lc_buf_printf(out, ",\"schedule_at_col\":%u", t->schedule_at_column);
    string_field(out, "function_name", t->schedule_function);
    lc_buf_u8(out, '}');
  }
  if (any) section_end(out);
}

static void v10_lifecycles(struct lc_buf *out, const struct lc_module_def *def) {
  bool any = false;
  for (uint32_t i = 0; i < def->n_own_reducers; i++) {
    if (!def->reducers[i].lifecycle) continue;
    if (any) lc_buf_u8(out, ',');
    else section(out, "LifeCycleReducers");
    any = true;
    lc_buf_printf(out, "{\"lifecycle_spec\":{\"%s\":[]}", lifecycle_name(def->reducers[i].lifecycle));
    string_field(out, "function_name", def->reducers[i].name);
    lc_buf_u8(out, '}');
  }
  if (any) section_end(out);
}

static void explicit_name(struct lc_buf *out, bool *first, const char *kind, struct lc_slice source, struct lc_slice canonical) {
  lc_buf_printf(out, "%s{\"%s\":", *first ? "" : ",", kind);
  *first = false;
  first_string(out, "source_name", source);
  string_field(out, "canonical_name", canonical);
  lc_buf_str(out, "}}");
}

static void v10_explicit_names(struct lc_buf *out, const struct lc_module_def *def) {
  bool first = true;
  lc_buf_str(out, ",{\"ExplicitNames\":{\"entries\":[");
  for (uint32_t i = 0; i < def->n_own_tables; i++) explicit_name(out, &first, "Table", def->tables[i].accessor, def->tables[i].name);
  for (uint32_t i = 0; i < def->n_own_reducers; i++) explicit_name(out, &first, "Function", def->reducers[i].accessor, def->reducers[i].name);
  for (uint32_t i = 0; i < def->n_own_procedures; i++) explicit_name(out, &first, "Function", def->procedures[i].accessor, def->procedures[i].name);
  for (uint32_t i = 0; i < def->n_own_views; i++) explicit_name(out, &first, "Function", def->views[i].accessor, def->views[i].name);
  for (uint32_t i = 0; i < def->n_http_handlers; i++) explicit_name(out, &first, "Function", def->http_handlers[i], def->http_handler_names[i]);
  for (uint32_t i = 0; i < def->n_submodules; i++) explicit_name(out, &first, "Namespace", def->submodules[i].accessor, def->submodules[i].name);
  lc_buf_str(out, "]}}");
}

static void write_v10(struct lc_arena *arena, struct lc_buf *out, const struct lc_module_def *def);
static void v10_submodules(struct lc_arena *arena, struct lc_buf *out, const struct lc_module_def *def) {
  if (!def->n_submodules) return;
  section(out, "Submodules");
  for (uint32_t i = 0; i < def->n_submodules; i++) {
    if (i) lc_buf_u8(out, ',');
    first_string(out, "namespace", def->submodules[i].accessor);
    field(out, "module");
    write_v10(arena, out, def->submodules[i].def);
    lc_buf_u8(out, '}');
  }
  section_end(out);
}

static void write_v10(struct lc_arena *arena, struct lc_buf *out, const struct lc_module_def *def) {
  lc_buf_str(out, "{\"sections\":[{\"CaseConversionPolicy\":{\"None\":[]}}");
  v10_environment(out, def);
  lc_buf_str(out, ",{\"Typespace\":");
  typespace(out, &def->typespace);
  lc_buf_u8(out, '}');
  if (def->n_types) section(out, "Types");
  for (uint32_t i = 0; i < def->n_types; i++) {
    if (i) lc_buf_u8(out, ',');
    type_def(out, &def->types[i], "source_name");
  }
  if (def->n_types) section_end(out);
  v10_tables(arena, out, def);
  v10_functions(out, def);
  v10_http(out, def);
  v10_views(out, def);
  v10_schedules(out, def);
  v10_outboxes(out, def);
  v10_lifecycles(out, def);
  if (def->n_own_rls) {
    lc_buf_str(out, ",{\"RowLevelSecurity\":");
    rls(out, def);
    lc_buf_u8(out, '}');
  }
  v10_submodules(arena, out, def);
  v10_explicit_names(out, def);
  lc_buf_str(out, "]}");
}

enum lc_status lc_module_def_json(const struct lc_module_def *def, unsigned version, struct lc_buf *out, struct lc_error *err) {
  struct lc_arena arena = {0};
  size_t before = out->len;
  if (version == 9) write_v9(&arena, out, def);
  else if (version == 10) write_v10(&arena, out, def);
  else return lc_fail(err, LC_INVALID, "no module definition of version %u: only 9 and 10 are offered", version);
  lc_arena_free(&arena);
  if (lc_buf_ok(out)) return LC_OK;
  out->len = before;
  return lc_fail(err, LC_NOMEM, "out of memory");
}
