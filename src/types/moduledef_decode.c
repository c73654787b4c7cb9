/* BSATN RawModuleDef V9 and V10 to a raw definition (spec/01 §11, §12; spec/07 §4.1). V8: moduledef_v8.c.
 *
 * Whatever does not decode stops at once with "error decoding module description: " and the BSATN error. Every count is held against the
 * bytes that are left before anything is allocated for it; def_alloc limits the arena as a whole.
 */
#include "moduledef_internal.h"

#define BAD "error decoding module description: "

/* ---- pieces ---- */

static const uint8_t *take(struct def_ctx *c, size_t n, const char *what) {
  size_t left = lc_reader_left(&c->r);
  if (left < n) def_stop(c, LC_INVALID, BAD "data too short for %s: Expected %zu, given %zu", what, n, left);
  return lc_read_raw(&c->r, n);
}
uint8_t raw_u8(struct def_ctx *c) { return *take(c, 1, "u8"); }
uint16_t raw_u16(struct def_ctx *c) {
  uint16_t v;
  memcpy(&v, take(c, 2, "u16"), 2);
  return v;
}
uint32_t raw_u32(struct def_ctx *c) {
  uint32_t v;
  memcpy(&v, take(c, 4, "u32"), 4);
  return v;
}
void raw_i128(struct def_ctx *c, uint8_t out[16]) { memcpy(out, take(c, 16, "i128"), 16); }
bool raw_bool(struct def_ctx *c) {
  uint8_t v = raw_u8(c);
  if (v > 1) def_stop(c, LC_INVALID, BAD "byte %u not valid as `bool` (must be 0 or 1)", v);
  return v;
}
uint8_t raw_tag(struct def_ctx *c, unsigned n_variants, const char *sum) {
  uint8_t tag = raw_u8(c);
  if (tag >= n_variants) def_stop(c, LC_INVALID, BAD "unknown tag 0x%x for sum type %s", tag, sum);
  return tag;
}
bool raw_opt(struct def_ctx *c) { return raw_tag(c, 2, "option") == 0; }
struct lc_slice raw_bytes(struct def_ctx *c) {
  uint32_t n = raw_u32(c);
  const uint8_t *p = take(c, n, "[u8]");
  uint8_t *copy = def_alloc(c, n + (size_t)1, 1);
  memcpy(copy, p, n);
  return lc_slice(copy, n);
}
struct lc_slice raw_str(struct def_ctx *c) {
  uint32_t n = raw_u32(c);
  const uint8_t *p = take(c, n, "[u8]");
  if (!lc_utf8_valid(p, n)) def_stop(c, LC_INVALID, BAD "invalid utf8");
  uint8_t *copy = def_alloc(c, n + (size_t)1, 1);
  memcpy(copy, p, n);
  return lc_slice(copy, n);
}
static struct lc_slice opt_str(struct def_ctx *c) { return raw_opt(c) ? raw_str(c) : lc_slice(NULL, 0); }
uint32_t raw_count(struct def_ctx *c) { /* of elements that take at least a byte each */
  uint32_t n = raw_u32(c);
  if (n > lc_reader_left(&c->r)) def_stop(c, LC_INVALID, BAD "a list claims %u elements, more than its bytes can hold", n);
  if (n > DEF_MAX_ITEMS) def_stop(c, LC_LIMIT, BAD "a list has %u elements, more than %d", n, DEF_MAX_ITEMS);
  return n;
}
static void *list(struct def_ctx *c, uint32_t *n, size_t size_bytes) {
  *n = raw_count(c);
  return def_alloc(c, *n, size_bytes);
}
uint16_t *raw_columns(struct def_ctx *c, uint32_t *n) {
  uint16_t *columns = list(c, n, sizeof *columns);
  for (uint32_t i = 0; i < *n; i++) columns[i] = raw_u16(c);
  return columns;
}
const struct lc_type *raw_type_of(struct def_ctx *c) {
  const struct lc_type *t;
  enum lc_status st = lc_type_decode(c->arena, &c->r, &t, c->err);
  if (st != LC_OK) {
    struct lc_error cause = *c->err;
    def_stop(c, st, BAD "%s", cause.text);
  }
  return t;
}
const struct lc_type *raw_product(struct def_ctx *c) {
  uint32_t n;
  struct lc_type_field *f = list(c, &n, sizeof *f);
  for (uint32_t i = 0; i < n; i++) {
    f[i].has_name = raw_opt(c);
    if (f[i].has_name) f[i].name = raw_str(c);
    f[i].type = raw_type_of(c);
  }
  return def_need(c, lc_type_new_product(c->arena, n, f));
}
void raw_typespace(struct def_ctx *c, struct lc_typespace *out) {
  out->types = list(c, &out->n, sizeof *out->types);
  for (uint32_t i = 0; i < out->n; i++) out->types[i] = raw_type_of(c);
}

/* ---- parts that V9 and V10 share ---- */

static struct raw_type *types(struct def_ctx *c, uint32_t *n) {
  struct raw_type *out = list(c, n, sizeof *out);
  for (uint32_t i = 0; i < *n; i++) {
    out[i].scope = list(c, &out[i].n_scope, sizeof *out[i].scope);
    for (uint32_t k = 0; k < out[i].n_scope; k++) out[i].scope[k] = raw_str(c);
    out[i].name = raw_str(c);
    out[i].type_ref = raw_u32(c);
    out[i].custom_ordering = raw_bool(c);
  }
  return out;
}

static void read_index(struct def_ctx *c, struct lc_index_def *x) {
  x->source_name = opt_str(c);
  x->accessor = opt_str(c);
  x->kind = (enum lc_index_kind)raw_tag(c, 3, "RawIndexAlgorithm");
  if (x->kind == LC_INDEX_DIRECT) {
    uint16_t *column = def_alloc(c, 1, sizeof *column);
    *column = raw_u16(c);
    x->columns = column;
    x->n_columns = 1;
  } else {
    x->columns = raw_columns(c, &x->n_columns);
  }
}

static void read_table(struct def_ctx *c, struct raw_table *t) { /* up to the sequences */
  t->source = raw_str(c);
  t->type_ref = raw_u32(c);
  t->pk = raw_columns(c, &t->n_pk);
  t->indexes = list(c, &t->n_indexes, sizeof *t->indexes);
  for (uint32_t i = 0; i < t->n_indexes; i++) read_index(c, &t->indexes[i]);
  t->constraints = list(c, &t->n_constraints, sizeof *t->constraints);
  for (uint32_t i = 0; i < t->n_constraints; i++) {
    t->constraints[i].name = opt_str(c);
    raw_tag(c, 1, "RawConstraintData");
    t->constraints[i].columns = raw_columns(c, &t->constraints[i].n_columns);
  }
  t->sequences = list(c, &t->n_sequences, sizeof *t->sequences);
  for (uint32_t i = 0; i < t->n_sequences; i++) {
    struct raw_sequence *q = &t->sequences[i];
    q->name = opt_str(c);
    q->column = raw_u16(c);
    for (int k = 0; k < 3; k++)
      if ((q->has[k] = raw_opt(c))) raw_i128(c, q->options[k]);
    raw_i128(c, q->increment);
  }
}
static void read_access(struct def_ctx *c, struct raw_table *t) {
  t->is_system = raw_tag(c, 2, "TableType") == 0;
  t->is_public = raw_tag(c, 2, "TableAccess") == 0;
}

static void read_view(struct def_ctx *c, struct lc_view_def *v) {
  v->accessor = raw_str(c);
  v->fn_index = raw_u32(c);
  v->is_public = raw_bool(c);
  v->is_anonymous = raw_bool(c);
  v->params = raw_product(c);
  v->return_type = raw_type_of(c);
}

static struct lc_slice *strings(struct def_ctx *c, uint32_t *n) {
  struct lc_slice *out = list(c, n, sizeof *out);
  for (uint32_t i = 0; i < *n; i++) out[i] = raw_str(c);
  return out;
}

/* ---- V10: one function for each section ---- */

static void decode_v10(struct def_ctx *c, struct raw_module *m, unsigned depth);

static void section_typespace(struct def_ctx *c, struct raw_module *m, unsigned depth) {
  (void)depth;
  raw_typespace(c, &m->typespace);
}
static void section_types(struct def_ctx *c, struct raw_module *m, unsigned depth) {
  (void)depth;
  m->types = types(c, &m->n_types);
}
static void section_tables(struct def_ctx *c, struct raw_module *m, unsigned depth) {
  (void)depth;
  m->tables = list(c, &m->n_tables, sizeof *m->tables);
  for (uint32_t i = 0; i < m->n_tables; i++) {
    struct raw_table *t = &m->tables[i];
    read_table(c, t);
    read_access(c, t);
    t->defaults = list(c, &t->n_defaults, sizeof *t->defaults);
    for (uint32_t k = 0; k < t->n_defaults; k++) {
      t->defaults[k].column = raw_u16(c);
      t->defaults[k].value = raw_bytes(c);
    }
    t->is_event = raw_bool(c);
  }
}
static void section_reducers(struct def_ctx *c, struct raw_module *m, unsigned depth) {
  (void)depth;
  m->reducers = list(c, &m->n_reducers, sizeof *m->reducers);
  for (uint32_t i = 0; i < m->n_reducers; i++) {
    struct lc_function_def *f = &m->reducers[i];
    f->accessor = raw_str(c);
    f->params = raw_product(c);
    f->is_private = raw_tag(c, 2, "FunctionVisibility") == 0;
    f->ok_type = raw_type_of(c);
    f->err_type = raw_type_of(c);
  }
}
static void section_procedures(struct def_ctx *c, struct raw_module *m, unsigned depth) {
  (void)depth;
  m->procedures = list(c, &m->n_procedures, sizeof *m->procedures);
  for (uint32_t i = 0; i < m->n_procedures; i++) {
    struct lc_function_def *f = &m->procedures[i];
    f->accessor = raw_str(c);
    f->params = raw_product(c);
    f->ok_type = raw_type_of(c);
    f->is_private = raw_tag(c, 2, "FunctionVisibility") == 0;
  }
}
static void section_views(struct def_ctx *c, struct raw_module *m, unsigned depth) {
  (void)depth;
  m->views = list(c, &m->n_views, sizeof *m->views);
  for (uint32_t i = 0; i < m->n_views; i++) read_view(c, &m->views[i]);
}
static void section_schedules(struct def_ctx *c, struct raw_module *m, unsigned depth) {
  (void)depth;
  m->schedules = list(c, &m->n_schedules, sizeof *m->schedules);
  for (uint32_t i = 0; i < m->n_schedules; i++) {
    opt_str(c); /* its own name is ignored */
    m->schedules[i].table = raw_str(c);
    m->schedules[i].at_column = raw_u16(c);
    m->schedules[i].function = raw_str(c);
  }
}
static void section_lifecycles(struct def_ctx *c, struct raw_module *m, unsigned depth) {
  (void)depth;
  m->lifecycles = list(c, &m->n_lifecycles, sizeof *m->lifecycles);
  for (uint32_t i = 0; i < m->n_lifecycles; i++) {
    m->lifecycles[i].event = (enum lc_lifecycle)(raw_tag(c, 3, "Lifecycle") + 1);
    m->lifecycles[i].function = raw_str(c);
  }
}
static void section_rls(struct def_ctx *c, struct raw_module *m, unsigned depth) {
  (void)depth;
  m->rls = strings(c, &m->n_rls);
}
static void section_policy(struct def_ctx *c, struct raw_module *m, unsigned depth) {
  (void)depth;
  m->verbatim = raw_tag(c, 2, "CaseConversionPolicy") == 0;
}
static void section_names(struct def_ctx *c, struct raw_module *m, unsigned depth) {
  (void)depth;
  uint32_t n = raw_count(c);
  for (int k = 0; k < NAME_KINDS; k++) m->names[k] = def_alloc(c, n, sizeof *m->names[k]);
  for (uint32_t i = 0; i < n; i++) {
    unsigned kind = raw_tag(c, NAME_KINDS, "ExplicitNameEntry");
    struct raw_pair *p = &m->names[kind][m->n_names[kind]++];
    p->source = raw_str(c);
    p->canonical = raw_str(c);
  }
}
static void section_handlers(struct def_ctx *c, struct raw_module *m, unsigned depth) {
  (void)depth;
  m->handlers = strings(c, &m->n_handlers);
}
static void section_routes(struct def_ctx *c, struct raw_module *m, unsigned depth) {
  (void)depth;
  m->routes = list(c, &m->n_routes, sizeof *m->routes);
  for (uint32_t i = 0; i < m->n_routes; i++) {
    struct lc_http_route_def *r = &m->routes[i];
    r->handler = raw_str(c);
    r->method = LC_ROUTE_ANY;
    if (raw_tag(c, 2, "MethodOrAny") == 1) r->method = (enum lc_route_method)raw_tag(c, LC_ROUTE_EXTENSION + 1, "HttpMethod");
    if (r->method == LC_ROUTE_EXTENSION) r->extension = raw_str(c);
    r->path = raw_str(c);
  }
}
static void section_view_keys(struct def_ctx *c, struct raw_module *m, unsigned depth) {
  (void)depth;
  m->view_keys = list(c, &m->n_view_keys, sizeof *m->view_keys);
  for (uint32_t i = 0; i < m->n_view_keys; i++) {
    m->view_keys[i].view = raw_str(c);
    m->view_keys[i].columns = strings(c, &m->view_keys[i].n_columns);
  }
}
static void section_submodules(struct def_ctx *c, struct raw_module *m, unsigned depth) {
  m->submodules = list(c, &m->n_submodules, sizeof *m->submodules);
  if (m->n_submodules && depth >= DEF_MAX_SUBMODULE_DEPTH) def_stop(c, LC_LIMIT, BAD "submodules are nested deeper than %d", DEF_MAX_SUBMODULE_DEPTH);
  for (uint32_t i = 0; i < m->n_submodules; i++) {
    m->submodules[i].accessor = raw_str(c);
    m->submodules[i].module = def_alloc(c, 1, sizeof *m->submodules[i].module);
    decode_v10(c, m->submodules[i].module, depth + 1);
  }
}
static void section_environment(struct def_ctx *c, struct raw_module *m, unsigned depth) {
  (void)depth;
  m->env = list(c, &m->n_env, sizeof *m->env);
  for (uint32_t i = 0; i < m->n_env; i++) {
    struct lc_env_def *e = &m->env[i];
    e->name = raw_str(c);
    e->kind = (enum lc_env_kind)raw_tag(c, 3, "EnvVarType");
    if (e->kind == LC_ENV_UNION) {
      e->literals = strings(c, &e->n_literals);
    } else if (e->kind == LC_ENV_LITERAL) {
      struct lc_slice *literal = def_alloc(c, 1, sizeof *literal);
      *literal = raw_str(c);
      e->literals = literal;
      e->n_literals = 1;
    }
    e->optional = raw_bool(c);
  }
}
static void section_outboxes(struct def_ctx *c, struct raw_module *m, unsigned depth) {
  (void)depth;
  m->outboxes = list(c, &m->n_outboxes, sizeof *m->outboxes);
  for (uint32_t i = 0; i < m->n_outboxes; i++) {
    struct raw_outbox *o = &m->outboxes[i];
    o->table = raw_str(c);
    o->remote_reducer = raw_str(c);
    o->def.target_column = raw_u16(c);
    o->def.arg_columns = raw_columns(c, &o->def.n_args);
    o->has_on_result = raw_opt(c);
    if (o->has_on_result) o->on_result = raw_str(c);
    memcpy(o->def.signature.bytes, take(c, 32, "u256"), 32);
  }
}

static void (*const sections[])(struct def_ctx *, struct raw_module *, unsigned) = {
    section_typespace, section_types, section_tables,   section_reducers, section_procedures, section_views,      section_schedules,   section_lifecycles, section_rls,
    section_policy,    section_names, section_handlers, section_routes,   section_view_keys,  section_submodules, section_environment, section_outboxes,
};

static void decode_v10(struct def_ctx *c, struct raw_module *m, unsigned depth) {
  uint32_t n = raw_count(c), seen = 0;
  struct raw_module *ignored = NULL; /* a repeated section must decode, but only the first of its kind counts */
  m->version = 10;
  for (uint32_t i = 0; i < n; i++) {
    uint8_t tag = raw_tag(c, sizeof sections / sizeof *sections, "RawModuleDefV10Section");
    bool repeated = seen >> tag & 1;
    if (repeated) {
      if (!ignored) ignored = def_alloc(c, 1, sizeof *ignored);
      memset(ignored, 0, sizeof *ignored);
    }
    seen |= 1u << tag;
    sections[tag](c, repeated ? ignored : m, depth);
  }
}

/* ---- V9 ---- */

static void decode_v9(struct def_ctx *c, struct raw_module *m) {
  m->version = 9;
  m->verbatim = true;
  raw_typespace(c, &m->typespace);
  m->tables = list(c, &m->n_tables, sizeof *m->tables);
  m->schedules = def_alloc(c, m->n_tables, sizeof *m->schedules);
  for (uint32_t i = 0; i < m->n_tables; i++) {
    read_table(c, &m->tables[i]);
    if (raw_opt(c)) {
      struct raw_schedule *s = &m->schedules[m->n_schedules++];
      s->table = m->tables[i].source;
      opt_str(c);
      s->function = raw_str(c);
      s->at_column = raw_u16(c);
    }
    read_access(c, &m->tables[i]);
  }
  m->reducers = list(c, &m->n_reducers, sizeof *m->reducers);
  m->lifecycles = def_alloc(c, m->n_reducers, sizeof *m->lifecycles);
  for (uint32_t i = 0; i < m->n_reducers; i++) {
    m->reducers[i].accessor = raw_str(c);
    m->reducers[i].params = raw_product(c);
    if (raw_opt(c)) m->lifecycles[m->n_lifecycles++] = (struct raw_lifecycle){(enum lc_lifecycle)(raw_tag(c, 3, "Lifecycle") + 1), m->reducers[i].accessor};
  }
  m->types = types(c, &m->n_types);
  uint32_t n = raw_count(c);
  m->procedures = def_alloc(c, n, sizeof *m->procedures);
  m->views = def_alloc(c, n, sizeof *m->views);
  m->defaults = def_alloc(c, n, sizeof *m->defaults);
  for (uint32_t i = 0; i < n; i++) {
    switch (raw_tag(c, 3, "RawMiscModuleExportV9")) {
    case 0: {
      struct raw_default *x = &m->defaults[m->n_defaults++];
      x->table = raw_str(c);
      x->column = raw_u16(c);
      x->value = raw_bytes(c);
      break;
    }
    case 1: {
      struct lc_function_def *f = &m->procedures[m->n_procedures++];
      f->accessor = raw_str(c);
      f->params = raw_product(c);
      f->ok_type = raw_type_of(c);
      break;
    }
    default: read_view(c, &m->views[m->n_views++]);
    }
  }
  m->rls = strings(c, &m->n_rls);
}

void raw_decode(struct def_ctx *c, struct raw_module *out) {
  switch (raw_tag(c, 3, "RawModuleDef")) {
  case 0: raw_decode_v8(c, out); break;
  case 1: decode_v9(c, out); break;
  default: decode_v10(c, out, 0);
  }
}
