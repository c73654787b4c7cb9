/* The module as the generators see it: what is emitted, sorted, with its names in every spelling (spec/04 §9.1).
 *
 * Emitted are public tables, all views, reducers and procedures that clients may call, and all named types; with `include_private` all but
 * the lifecycle reducers, which nobody can call. Generated identifiers come from the source spelling, wire strings are canonical names.
 */
#include "codegen_internal.h"
#include <stdio.h>
#include <stdlib.h>

/* ---- text ---- */

struct lc_buf *cg_file(struct cg_model *m, const char *head, const char *path_fmt, ...) {
  char path[1024];
  va_list ap;
  va_start(ap, path_fmt);
  int n = vsnprintf(path, sizeof path, path_fmt, ap);
  va_end(ap);
  struct lc_codegen_file *f = n > 0 && (size_t)n < sizeof path ? lc_alloc_zero(1, sizeof *f) : NULL;
  if (!f) return NULL;
  f->path = lc_strdup_n(path, (size_t)n);
  *m->last = f;
  m->last = &f->next;
  if (!f->path) return NULL;
  lc_buf_printf(&f->text, LC_CODEGEN_MARK ". EDITS TO THIS FILE\n// WILL NOT BE SAVED. MODIFY TABLES IN YOUR MODULE SOURCE CODE INSTEAD.\n%s\n", head);
  return &f->text;
}

void cg_fill(struct lc_buf *out, const char *text, const struct cg_var *vars) {
  for (;;) {
    size_t n = strcspn(text, "$");
    lc_buf_append(out, text, n);
    text += n;
    if (!*text) return;
    const struct cg_var *v = vars;
    while (v->key && v->key != text[1]) v++;
    if (v->key) lc_buf_slice_append(out, v->text);
    else lc_buf_u8(out, '$');
    text += v->key ? 2 : 1;
  }
}

void cg_string(struct lc_buf *out, struct lc_slice text) {
  lc_buf_u8(out, '"');
  for (size_t i = 0; i < text.len; i++) {
    if (text.data[i] == '"' || text.data[i] == '\\') lc_buf_u8(out, '\\');
    lc_buf_u8(out, text.data[i]);
  }
  lc_buf_u8(out, '"');
}

void cg_spaces(struct lc_buf *out, unsigned n) {
  for (unsigned i = 0; i < n; i++) lc_buf_u8(out, ' ');
}

/* ---- names ---- */

static struct lc_slice convert(struct cg_model *m, struct lc_slice source, enum lc_case style) {
  struct lc_buf b = {0};
  lc_name_convert(&b, source, style);
  struct lc_slice s = lc_arena_copy(&m->arena, lc_buf_slice(&b));
  if (!lc_buf_ok(&b) || (b.len && !s.data)) m->no_memory = true;
  lc_buf_free(&b);
  return s;
}

struct cg_name cg_name(struct cg_model *m, struct lc_slice source) {
  return (struct cg_name){source, convert(m, source, LC_CASE_SNAKE), convert(m, source, LC_CASE_CAMEL), convert(m, source, LC_CASE_PASCAL)};
}

static struct lc_slice join(struct cg_model *m, struct lc_slice a, const char *between, struct lc_slice b, const char *after) {
  struct lc_buf t = {0};
  lc_buf_slice_append(&t, a);
  if (a.len && b.len) lc_buf_str(&t, between);
  lc_buf_slice_append(&t, b);
  lc_buf_str(&t, after);
  struct lc_slice s = lc_arena_copy(&m->arena, lc_buf_slice(&t));
  if (!lc_buf_ok(&t) || (t.len && !s.data)) m->no_memory = true;
  lc_buf_free(&t);
  return s;
}

/* A name below a namespace, as one name. */
static struct cg_name flatten(struct cg_model *m, const struct cg_space *space, const struct cg_name *name) {
  return space->parent ? cg_name(m, join(m, space->flat.source, "_", name->source, "")) : *name;
}

static struct lc_slice after_dot(struct lc_slice s) {
  size_t at = s.len;
  while (at > 0 && s.data[at - 1] != '.') at--;
  return lc_slice(s.data + at, s.len - at);
}

/* ---- questions ---- */

const struct cg_type *cg_named(const struct cg_space *space, const struct lc_type *t) {
  for (unsigned hops = 0; t->kind == LC_T_REF && t->ref < space->def->typespace.n && hops < CG_MAX_DEPTH; hops++) {
    if (space->by_ref[t->ref]) return space->by_ref[t->ref];
    t = space->def->typespace.types[t->ref];
  }
  return NULL;
}

const struct lc_type *cg_deref(const struct cg_space *space, const struct lc_type *t) {
  for (unsigned hops = 0; t->kind == LC_T_REF && t->ref < space->def->typespace.n && hops < CG_MAX_DEPTH; hops++) t = space->def->typespace.types[t->ref];
  return t;
}

/* Calls fn for every named type that t mentions itself, not through another named one. */
static void each_named(const struct cg_space *space, const struct lc_type *t, void (*fn)(void *, const struct cg_type *), void *ctx, unsigned depth) {
  if (depth > CG_MAX_DEPTH) return;
  const struct cg_type *named = cg_named(space, t);
  if (named) {
    fn(ctx, named);
    return;
  }
  t = cg_deref(space, t);
  if (t->kind == LC_T_ARRAY) each_named(space, t->elem, fn, ctx, depth + 1);
  for (uint32_t i = 0; i < t->n_fields && (t->special == LC_SPECIAL_NONE || t->special == LC_SPECIAL_OPTION || t->special == LC_SPECIAL_RESULT); i++)
    each_named(space, t->fields[i].type, fn, ctx, depth + 1);
}

static void note(void *ctx, const struct cg_type *named) {
  (void)named;
  *(bool *)ctx = true;
}

bool cg_has_named(const struct cg_space *space, const struct lc_type *t) {
  bool any = false;
  each_named(space, t, note, &any, 0);
  return any;
}

bool cg_uses_begin(struct cg_uses *u, struct cg_model *m) {
  *u = (struct cg_uses){.m = m, .used = lc_alloc_zero(m->n_spaces, sizeof *u->used)};
  for (uint32_t i = 0; u->used && i < m->n_spaces; i++)
    if (!(u->used[i] = lc_alloc_zero(m->spaces[i].n_types + 1, sizeof(bool)))) m->no_memory = true;
  m->no_memory |= !u->used;
  if (m->no_memory) cg_uses_end(u);
  return !m->no_memory;
}

void cg_uses_add_named(struct cg_uses *u, const struct cg_type *t) { u->used[t->space - u->m->spaces][t - t->space->types] = true; }
static void use_named(void *ctx, const struct cg_type *named) { cg_uses_add_named(ctx, named); }
void cg_uses_add(struct cg_uses *u, const struct cg_space *s, const struct lc_type *t) { each_named(s, t, use_named, u, 0); }

const struct cg_type *cg_uses_next(const struct cg_uses *u, const struct cg_type *after) {
  uint32_t space = after ? (uint32_t)(after->space - u->m->spaces) : 0, at = after ? (uint32_t)(after - after->space->types) + 1 : 0;
  for (; space < u->m->n_spaces; space++, at = 0)
    for (; at < u->m->spaces[space].n_types; at++)
      if (u->used[space][at]) return &u->m->spaces[space].types[at];
  return NULL;
}

void cg_uses_end(struct cg_uses *u) {
  for (uint32_t i = 0; u->used && i < u->m->n_spaces; i++) lc_free(u->used[i]);
  lc_free(u->used);
}

bool cg_is_bytes(const struct lc_type *t) { return t->kind == LC_T_ARRAY && t->elem->kind == LC_T_U8; }
bool cg_is_unit(const struct lc_type *t) { return t->kind == LC_T_PRODUCT && t->n_fields == 0; }

bool cg_is_plain_enum(const struct lc_type *t) {
  if (t->kind != LC_T_SUM || t->n_fields == 0) return false;
  for (uint32_t i = 0; i < t->n_fields; i++)
    if (!cg_is_unit(t->fields[i].type)) return false;
  return true;
}

/* ---- spaces and types ---- */

struct reach { const struct cg_type *from; const struct cg_type **seen; uint32_t n; bool found; };
static void reach(void *ctx, const struct cg_type *named) {
  struct reach *r = ctx;
  if (named == r->from) r->found = true;
  for (uint32_t i = 0; i < r->n; i++)
    if (r->seen[i] == named) return;
  r->seen[r->n++] = named;
}

/* Whether a type contains itself: walks what it reaches, each named type once. */
static bool find_recursive(struct cg_model *m, struct cg_type *t) {
  struct reach r = {.from = t, .seen = lc_alloc_zero(t->space->n_types + 1, sizeof *r.seen)};
  if (!r.seen) return m->no_memory = true, false;
  r.seen[r.n++] = t;
  for (uint32_t at = 0; at < r.n && !r.found; at++)
    for (uint32_t i = 0; i < r.seen[at]->type->n_fields; i++) each_named(t->space, r.seen[at]->type->fields[i].type, reach, &r, 0);
  lc_free(r.seen);
  return r.found;
}

static int type_order(const void *a, const void *b) { return lc_slice_compare(((const struct cg_type *)a)->name.pascal, ((const struct cg_type *)b)->name.pascal); }

static bool fill_types(struct cg_model *m, struct cg_space *s) {
  const struct lc_module_def *def = s->def;
  s->types = lc_arena_alloc_zero(&m->arena, def->n_types + 1, sizeof *s->types);
  s->by_ref = lc_arena_alloc_zero(&m->arena, def->typespace.n + 1, sizeof(struct cg_type *));
  if (!s->types || !s->by_ref) return false;
  for (uint32_t i = 0; i < def->n_types; i++) {
    const struct lc_type_def *d = &def->types[i];
    struct lc_slice source = lc_slice(NULL, 0);
    for (uint32_t k = 0; k < d->n_scope; k++) source = join(m, source, "_", d->scope[k], "");
    struct cg_type *t = &s->types[s->n_types++];
    t->name = cg_name(m, join(m, source, "_", d->name, ""));
    t->flat = flatten(m, s, &t->name);
    t->type = def->typespace.types[d->type_ref];
    t->space = s;
  }
  qsort(s->types, s->n_types, sizeof *s->types, type_order);
  for (uint32_t i = 0; i < s->n_types; i++)
    for (uint32_t ref = 0; ref < def->typespace.n; ref++)
      if (def->typespace.types[ref] == s->types[i].type && !s->by_ref[ref]) s->by_ref[ref] = &s->types[i];
  for (uint32_t i = 0; i < s->n_types; i++) s->types[i].is_recursive = find_recursive(m, &s->types[i]);
  return true;
}

static uint32_t count_spaces(const struct lc_module_def *def) {
  uint32_t n = 1;
  for (uint32_t i = 0; i < def->n_submodules; i++) n += count_spaces(def->submodules[i].def);
  return n;
}

static bool fill_space(struct cg_model *m, const struct lc_module_def *def, const struct cg_space *parent, const struct lc_submodule_def *sub) {
  struct cg_space *s = &m->spaces[m->n_spaces++];
  s->def = def;
  s->parent = parent;
  if (sub) {
    s->name = cg_name(m, sub->accessor);
    s->flat = parent->parent ? flatten(m, parent, &s->name) : s->name;
    s->folder = join(m, parent->folder, "/", s->name.snake, "");
    s->wire = join(m, parent->wire, "", sub->name, ".");
  }
  if (!fill_types(m, s)) return false;
  for (uint32_t i = 0; i < def->n_submodules; i++)
    if (!fill_space(m, def->submodules[i].def, s, &def->submodules[i])) return false;
  return true;
}

static const struct cg_space *space_of(const struct cg_model *m, const struct lc_typespace *ts) {
  for (uint32_t i = 0; i < m->n_spaces; i++)
    if (&m->spaces[i].def->typespace == ts) return &m->spaces[i];
  return NULL;
}

/* ---- tables and views ---- */

static bool fill_columns(struct cg_model *m, struct cg_table *t, const struct lc_column_def *columns, uint32_t n) {
  const struct lc_type *row = t->row->type;
  t->n_columns = n;
  t->columns = lc_arena_alloc_zero(&m->arena, n + 1, sizeof *t->columns);
  if (!t->columns) return false;
  for (uint32_t i = 0; i < n; i++) {
    struct cg_column *c = &t->columns[i];
    c->name = cg_name(m, row->fields[i].name);
    c->wire = columns[i].name;
    c->type = row->fields[i].type;
    c->is_unique = t->primary_key == (int32_t)i;
    for (uint32_t k = 0; k < t->n_constraints; k++) c->is_unique |= t->constraints[k].n_columns == 1 && t->constraints[k].columns[0] == i;
  }
  return true;
}

static const struct cg_type *row_type(const struct cg_space *s, uint32_t ref, struct lc_slice name, struct lc_error *err) {
  const struct cg_type *row = ref < s->def->typespace.n ? s->by_ref[ref] : NULL;
  if (!row) lc_fail(err, LC_INVALID, "the row type of `%.*s` has no name", CG_S(name));
  return row;
}

static enum lc_status fill_table(struct cg_model *m, const struct lc_table_def *d, struct lc_error *err) {
  const struct cg_space *s = space_of(m, d->typespace);
  const struct cg_type *row = row_type(s, d->type_ref, d->name, err);
  if (!row) return LC_INVALID;
  struct cg_table *t = &m->tables[m->n_tables++];
  *t = (struct cg_table){.name = cg_name(m, after_dot(d->accessor)), .wire = d->name, .space = s, .row = row, .is_event = d->is_event, .primary_key = d->primary_key,
                         .n_constraints = d->n_constraints, .constraints = d->constraints};
  t->flat = flatten(m, s, &t->name);
  t->indexes = lc_arena_alloc_zero(&m->arena, d->n_indexes + 1, sizeof *t->indexes);
  if (!t->indexes) return LC_NOMEM;
  for (uint32_t i = 0; i < d->n_indexes; i++) {
    const struct lc_index_def *x = &d->indexes[i];
    if (x->accessor.len) t->indexes[t->n_indexes++] = (struct cg_index){cg_name(m, x->accessor), x->name, x->n_columns, x->columns};
  }
  return fill_columns(m, t, d->columns, d->n_columns) ? LC_OK : LC_NOMEM;
}

static enum lc_status fill_view(struct cg_model *m, const struct lc_view_def *d, struct lc_error *err) {
  const struct cg_space *s = space_of(m, d->typespace);
  const struct lc_type *r = d->return_type;
  if (r->kind == LC_T_ARRAY) r = r->elem;
  else if (r->kind != LC_T_REF) r = r->fields[0].type;
  const struct cg_type *row = row_type(s, r->kind == LC_T_REF ? r->ref : UINT32_MAX, d->name, err);
  if (!row) return LC_INVALID;
  struct cg_table *t = &m->tables[m->n_tables++];
  *t = (struct cg_table){.name = cg_name(m, after_dot(d->accessor)), .wire = d->name, .space = s, .row = row, .is_view = true, .primary_key = d->primary_key};
  t->flat = flatten(m, s, &t->name);
  return fill_columns(m, t, d->columns, d->n_columns) ? LC_OK : LC_NOMEM;
}

static int table_order(const void *a, const void *b) { return lc_slice_compare(((const struct cg_table *)a)->wire, ((const struct cg_table *)b)->wire); }

/* ---- functions ---- */

static bool fill_function(struct cg_model *m, struct cg_function *f, const struct lc_function_def *d, bool procedure) {
  const struct cg_space *s = space_of(m, d->typespace);
  *f = (struct cg_function){.name = cg_name(m, after_dot(d->accessor)), .wire = d->name, .space = s, .n_params = d->params->n_fields, .returns = procedure ? d->ok_type : NULL};
  f->flat = flatten(m, s, &f->name);
  f->params = lc_arena_alloc_zero(&m->arena, f->n_params + 1, sizeof *f->params);
  for (uint32_t i = 0; f->params && i < f->n_params; i++) {
    char unnamed[16];
    struct lc_slice name = d->params->fields[i].name;
    if (!d->params->fields[i].has_name) name = lc_arena_copy(&m->arena, lc_slice(unnamed, (size_t)snprintf(unnamed, sizeof unnamed, "arg%u", i)));
    f->params[i] = (struct cg_column){.name = cg_name(m, name), .type = d->params->fields[i].type};
  }
  return f->params;
}

static int function_order(const void *a, const void *b) { return lc_slice_compare(((const struct cg_function *)a)->wire, ((const struct cg_function *)b)->wire); }

/* ---- the whole ---- */

static enum lc_status skip_table(struct cg_model *m, const struct lc_table_def *d) {
  struct lc_buf list = {0};
  char *old = m->out->skipped_private_tables;
  if (old) lc_buf_printf(&list, "%s, ", old);
  lc_buf_slice_append(&list, d->name);
  m->out->skipped_private_tables = lc_buf_ok(&list) ? lc_strdup_n(list.data, list.len) : NULL;
  lc_buf_free(&list);
  lc_free(old);
  return m->out->skipped_private_tables ? LC_OK : LC_NOMEM;
}

static enum lc_status build(struct cg_model *m, const struct lc_module_def *def, struct lc_error *err) {
  bool all = m->options->include_private;
  m->spaces = lc_arena_alloc_zero(&m->arena, count_spaces(def), sizeof *m->spaces);
  m->tables = lc_arena_alloc_zero(&m->arena, def->n_tables + def->n_views + 1, sizeof *m->tables);
  m->reducers = lc_arena_alloc_zero(&m->arena, def->n_reducers + 1, sizeof *m->reducers);
  m->procedures = lc_arena_alloc_zero(&m->arena, def->n_procedures + 1, sizeof *m->procedures);
  if (!m->spaces || !m->tables || !m->reducers || !m->procedures || !fill_space(m, def, NULL, NULL)) return LC_NOMEM;
  enum lc_status st = LC_OK;
  for (uint32_t i = 0; st == LC_OK && i < def->n_tables; i++)
    st = def->tables[i].is_public || all ? fill_table(m, &def->tables[i], err) : skip_table(m, &def->tables[i]);
  for (uint32_t i = 0; st == LC_OK && i < def->n_views; i++) st = fill_view(m, &def->views[i], err);
  for (uint32_t i = 0; st == LC_OK && i < def->n_reducers; i++) {
    const struct lc_function_def *d = &def->reducers[i];
    if (d->lifecycle == LC_LIFECYCLE_NONE && (all || !d->is_private) && !fill_function(m, &m->reducers[m->n_reducers++], d, false)) st = LC_NOMEM;
  }
  for (uint32_t i = 0; st == LC_OK && i < def->n_procedures; i++) {
    const struct lc_function_def *d = &def->procedures[i];
    if ((all || !d->is_private) && !fill_function(m, &m->procedures[m->n_procedures++], d, true)) st = LC_NOMEM;
  }
  qsort(m->tables, m->n_tables, sizeof *m->tables, table_order);
  qsort(m->procedures, m->n_procedures, sizeof *m->procedures, function_order);
  return st;
}

enum lc_status lc_codegen(enum lc_codegen_language language, const struct lc_module_def *def, const struct lc_codegen_options *options, struct lc_codegen_output *out, struct lc_error *err) {
  static enum lc_status (*const generators[])(struct cg_model *, struct lc_error *) = {
    [LC_CODEGEN_TYPESCRIPT] = cg_typescript, [LC_CODEGEN_RUST] = cg_rust,
  };
  *out = (struct lc_codegen_output){0};
  struct cg_model m = {.options = options, .out = out, .last = &out->files};
  enum lc_status st = build(&m, def, err);
  if (st == LC_OK && !m.no_memory) st = generators[language](&m, err);
  if (st == LC_OK && m.no_memory) st = LC_NOMEM;
  for (const struct lc_codegen_file *f = out->files; st == LC_OK && f; f = f->next)
    if (!f->path || !lc_buf_ok(&f->text)) st = LC_NOMEM;
  lc_arena_free(&m.arena);
  return st == LC_NOMEM ? lc_fail(err, LC_NOMEM, "out of memory") : st;
}

void lc_codegen_output_free(struct lc_codegen_output *out) {
  while (out->files) {
    struct lc_codegen_file *f = out->files;
    out->files = f->next;
    lc_free(f->path);
    lc_buf_free(&f->text);
    lc_free(f);
  }
  lc_free(out->skipped_private_tables);
  *out = (struct lc_codegen_output){0};
}
