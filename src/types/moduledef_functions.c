/* Reducers, procedures and views of a module definition, and what ties them to tables: view keys, lifecycle events, schedules
 * (spec/01 §14.2, spec/07 §4.5, §4.6). */
#include "moduledef_internal.h"

static void use_function_name(struct builder *b, struct lc_slice name) {
  if (!def_add_name(b->c, &b->functions, name, 0)) def_fault(b->c, FAULT_DuplicateFunctionName, "function name `%.*s` is used twice", S(name));
}

static const struct lc_type *build_params(struct builder *b, const struct lc_type *params, const char *what, struct lc_slice function) {
  const struct lc_type *canonical = def_convert_params(b, params);
  for (uint32_t i = 0; i < params->n_fields; i++) {
    if (params->fields[i].has_name) def_check_name(b, canonical->fields[i].name, "parameter");
    else def_fault(b->c, FAULT_NamelessParam, "parameter %u of %s `%.*s` has no name: reducer parameters require names", i, what, S(function));
    def_check_use(b, params->fields[i].type, what, function);
  }
  return canonical;
}

static void build_functions(struct builder *b, uint32_t n, struct lc_function_def *functions, bool reducers) {
  const char *what = reducers ? "reducer" : "procedure";
  const struct lc_type *unit = def_need(b->c, lc_type_new_product(b->c->arena, 0, NULL));
  for (uint32_t i = 0; i < n; i++) {
    struct lc_function_def *f = &functions[i];
    f->name = def_canonical(b, NAME_FUNCTION, f->accessor);
    f->typespace = &b->def->typespace;
    def_check_both_names(b, f->name, f->accessor, what);
    f->canonical_params = build_params(b, f->params, what, f->name);
    if (!reducers) {
      def_check_use(b, f->ok_type, "return type of procedure", f->name);
    } else if (b->raw->version < 10) {
      f->ok_type = unit;
      f->err_type = lc_type_primitive(LC_T_STRING);
    } else if (!lc_type_eq(f->ok_type, unit) || f->err_type->kind != LC_T_STRING) {
      def_fault(b->c, FAULT_InvalidReducerReturnType, "reducer `%.*s` must return unit or a String error", S(f->name));
    }
    use_function_name(b, f->name);
    def_add_name(b->c, reducers ? &b->reducer_sources : &b->procedure_sources, f->accessor, i);
    def_add_name(b->c, reducers ? &b->reducer_names : &b->procedure_names, f->name, i);
  }
}

/* ---- views ---- */

static const struct lc_type *returned_row(struct lc_view_def *v) { /* the reference inside Option(Ref), Array(Ref) or { __query__: Ref } */
  const struct lc_type *t = v->return_type, *row = NULL;
  if (t->special == LC_SPECIAL_OPTION) row = t->fields[0].type;
  else if (t->kind == LC_T_ARRAY) row = t->elem;
  else if (t->kind == LC_T_PRODUCT && t->n_fields == 1 && t->fields[0].has_name && lc_slice_eq_str(t->fields[0].name, "__query__")) row = t->fields[0].type;
  v->is_query = row && t->kind == LC_T_PRODUCT;
  return row && row->kind == LC_T_REF ? row : NULL;
}

static void build_view(struct builder *b, struct lc_view_def *v) {
  const struct lc_typespace *source = &b->raw->typespace;
  v->name = def_canonical(b, NAME_FUNCTION, v->accessor);
  v->mount = lc_slice("", 0);
  v->typespace = &b->def->typespace;
  v->primary_key = -1;
  def_check_both_names(b, v->name, v->accessor, "view");
  use_function_name(b, v->name);
  def_use_name(b, v->name);
  v->canonical_params = build_params(b, v->params, "view", v->name);
  for (uint32_t i = 0; i < v->params->n_fields; i++)
    if (v->params->fields[i].type->kind >= LC_T_F32)
      def_fault(b->c, FAULT_FloatViewParameter, "View %.*s has a float parameter `%.*s`, which views can't take yet", S(v->name), S(v->canonical_params->fields[i].name));
  const struct lc_type *row = returned_row(v);
  if (!row) {
    def_fault(b->c, FAULT_InvalidViewReturnType, "view `%.*s` must return an option, an array or a query of a table's row type", S(v->name));
    return;
  }
  if (row->ref >= source->n || source->types[row->ref]->kind != LC_T_PRODUCT) {
    def_fault(b->c, FAULT_InvalidProductTypeRef, "view `%.*s` has invalid product type ref &%u", S(v->name), row->ref);
    return;
  }
  const struct lc_type *written = source->types[row->ref], *converted = b->def->typespace.types[row->ref];
  struct lc_column_def *columns = def_alloc(b->c, written->n_fields, sizeof *columns);
  bool ok = def_name_columns(b, "view", v->name, written, converted, columns);
  if (!ok || !def_resolve(b, row, &v->row_type, "view", v->name)) return;
  for (uint32_t i = 0; i < written->n_fields; i++) columns[i].type = v->row_type->fields[i].type;
  v->columns = columns;
  v->n_columns = written->n_fields;
}

void def_build_functions(struct builder *b) {
  const struct raw_module *raw = b->raw;
  b->def->reducers = b->reducers = raw->reducers;
  b->def->n_reducers = raw->n_reducers;
  b->def->procedures = b->procedures = raw->procedures;
  b->def->n_procedures = raw->n_procedures;
  b->def->views = b->views = raw->views;
  b->def->n_views = raw->n_views;
  build_functions(b, raw->n_reducers, raw->reducers, true);
  build_functions(b, raw->n_procedures, raw->procedures, false);
  for (uint32_t i = 0; i < raw->n_views; i++) build_view(b, &raw->views[i]);
}

/* Declared keys; a query view without one has the key that all keyed tables of its row type agree on. */
static void build_view_keys(struct builder *b) {
  enum { NO_KEY = -1, DISAGREE = -2 };
  struct types_names views = {0}, keyed = {0};
  for (uint32_t i = 0; i < b->raw->n_views; i++) def_add_name(b->c, &views, b->views[i].accessor, i);
  for (uint32_t i = 0; i < b->raw->n_view_keys; i++) {
    const struct raw_view_key *k = &b->raw->view_keys[i];
    uint32_t at;
    if (k->n_columns == 0) continue;
    if (!types_names_find(b->c->arena, &views, k->view, &at)) {
      def_fault(b->c, FAULT_ViewPrimaryKeyViewNotFound, "a primary key names a missing view `%.*s`", S(k->view));
      continue;
    }
    struct lc_view_def *v = &b->views[at];
    if (!def_add_name(b->c, &keyed, k->view, 0)) def_fault(b->c, FAULT_RepeatedViewPrimaryKey, "view `%.*s` has two primary keys", S(v->name));
    if (k->n_columns > 1) def_fault(b->c, FAULT_MultipleViewPrimaryKeyColumns, "view `%.*s` has a primary key of several columns", S(v->name));
    if (v->params->n_fields) def_fault(b->c, FAULT_ViewPrimaryKeyWithParameters, "View %.*s has parameters and cannot have a primary key", S(v->name));
    for (uint32_t c = 0; c < v->n_columns && v->primary_key < 0; c++)
      if (lc_slice_eq(v->columns[c].accessor, k->columns[0])) v->primary_key = (int32_t)c;
    if (v->columns && v->primary_key < 0) def_fault(b->c, FAULT_ViewPrimaryKeyColumnNotFound, "view `%.*s` has no column `%.*s` to be its primary key", S(v->name), S(k->columns[0]));
  }
  if (b->raw->version < 10) return;
  uint32_t n_slots = b->def->typespace.n;
  int32_t *keys = def_alloc(b->c, n_slots, sizeof *keys); /* of the tables of each row type */
  for (uint32_t i = 0; i < n_slots; i++) keys[i] = NO_KEY;
  for (uint32_t i = 0; i < b->raw->n_tables; i++) {
    const struct lc_table_def *t = &b->tables[i];
    if (t->primary_key < 0 || t->type_ref >= n_slots) continue;
    keys[t->type_ref] = keys[t->type_ref] == NO_KEY || keys[t->type_ref] == t->primary_key ? t->primary_key : DISAGREE;
  }
  for (uint32_t i = 0; i < b->raw->n_views; i++) {
    struct lc_view_def *v = &b->views[i];
    if (!v->is_query || v->primary_key >= 0 || v->params->n_fields || !v->columns) continue;
    int32_t key = keys[v->return_type->fields[0].type->ref];
    v->primary_key = key < 0 ? -1 : key;
  }
}

/* ---- by name: the source name; else the canonical one, which is what an exported schema has (spec/01 §15) ---- */

static bool find_name(struct builder *b, const struct types_names *sources, const struct types_names *names, struct lc_slice name, uint32_t *at) {
  return types_names_find(b->c->arena, sources, name, at) || types_names_find(b->c->arena, names, name, at);
}
struct lc_function_def *def_find_reducer(struct builder *b, struct lc_slice name) {
  uint32_t at;
  return find_name(b, &b->reducer_sources, &b->reducer_names, name, &at) ? &b->reducers[at] : NULL;
}

static void build_lifecycles(struct builder *b) {
  static const char *const events[] = {"", "Init", "OnConnect", "OnDisconnect"};
  bool seen[4] = {false};
  for (uint32_t i = 0; i < b->raw->n_lifecycles; i++) {
    const struct raw_lifecycle *l = &b->raw->lifecycles[i];
    struct lc_function_def *f = def_find_reducer(b, l->function);
    if (!f) {
      def_fault(b->c, FAULT_LifecycleWithoutReducer, "lifecycle event %s names a missing reducer `%.*s`", events[l->event], S(l->function));
      continue;
    }
    if (seen[l->event] || f->lifecycle) def_fault(b->c, FAULT_DuplicateLifecycle, "lifecycle event %s or its reducer `%.*s` is declared twice", events[l->event], S(f->name));
    seen[l->event] = true;
    f->lifecycle = l->event;
    if (b->raw->version == 10) f->is_private = true;
  }
}

static void build_schedule(struct builder *b, const struct raw_schedule *s) {
  uint32_t at;
  if (!find_name(b, &b->table_sources, &b->table_names, s->table, &at)) {
    def_fault(b->c, FAULT_TableNotFound, "a schedule names a missing table `%.*s`", S(s->table));
    return;
  }
  struct lc_table_def *t = &b->tables[at];
  lc_buf_printf(&b->c->scratch, "%.*s_sched", S(t->name));
  struct lc_slice name = def_text(b->c);
  def_use_name(b, name); /* a second schedule of a table is a repeated name */
  if (t->is_event) def_fault(b->c, FAULT_ScheduledEventTable, "scheduled table %.*s must not be an event table", S(t->name));
  const struct lc_type *row = b->raw->typespace.types[t->type_ref];
  if (s->at_column >= t->n_columns || row->fields[s->at_column].type->special != LC_SPECIAL_SCHEDULE_AT || t->primary_key < 0 || t->columns[t->primary_key].type->kind != LC_T_U64)
    def_fault(b->c, FAULT_ScheduledIncorrectColumns, "scheduled table `%.*s` must have a primary key of type u64 and column %u of type ScheduleAt", S(t->name), s->at_column);
  struct lc_function_def *f = def_find_reducer(b, s->function);
  bool is_procedure = !f && find_name(b, &b->procedure_sources, &b->procedure_names, s->function, &at);
  if (is_procedure) f = &b->procedures[at];
  if (!f) {
    def_fault(b->c, FAULT_MissingScheduledFunction, "schedule `%.*s` names a missing function `%.*s`", S(name), S(s->function));
    return;
  }
  if (f->params->n_fields != 1 || f->params->fields[0].type->kind != LC_T_REF || f->params->fields[0].type->ref != t->type_ref)
    def_fault(b->c, FAULT_IncorrectScheduledFunctionParams, "scheduled reducer `%.*s` must take exactly one parameter, a row of table `%.*s`", S(f->name), S(t->name));
  t->has_schedule = true;
  t->schedule_name = name;
  t->schedule_function = f->name;
  t->schedule_at_column = s->at_column;
  t->schedule_is_procedure = is_procedure;
  if (b->raw->version == 10) f->is_private = true;
}

void def_link_functions(struct builder *b) {
  build_view_keys(b);
  build_lifecycles(b);
  for (uint32_t i = 0; b->tables_ok && i < b->raw->n_schedules; i++) build_schedule(b, &b->raw->schedules[i]);
}
