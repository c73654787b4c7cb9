/* Types of a module definition: case conversion, named types, valid uses and definitions (spec/01 §10.3, §14.1-§14.3).
 *
 * The check of uses runs over the typespace as the module wrote it; the definition gets the converted one.
 */
#include "moduledef_internal.h"
#include <stdlib.h>

enum { USE_UNKNOWN, USE_DEFINED, USE_OPEN, USE_OK, USE_BAD }; /* DEFINED: listed in Types */
enum { MAX_USE_DEPTH = 4 * LC_TYPE_MAX_DEPTH };

/* ---- names ---- */

struct lc_slice def_convert(struct builder *b, struct lc_slice text, enum lc_case style) {
  if (b->raw->verbatim) return text;
  lc_name_convert(&b->c->scratch, text, style);
  return def_text(b->c);
}

struct lc_slice def_canonical(struct builder *b, int kind, struct lc_slice source) {
  uint32_t i;
  if (types_names_find(b->c->arena, &b->explicit_names[kind], source, &i)) return b->raw->names[kind][i].canonical;
  return kind == NAME_INDEX ? lc_slice(NULL, 0) : def_convert(b, source, LC_CASE_SNAKE);
}

bool def_check_name(struct builder *b, struct lc_slice name, const char *what) {
  const char *fault;
  if (types_identifier_fault(name, &fault) != LC_OK) def_stop(b->c, LC_NOMEM, "out of memory");
  if (fault) def_fault(b->c, FAULT_IdentifierError, "%s name `%.*s` is no valid identifier: %s", what, S(name), fault);
  return !fault;
}

bool def_check_both_names(struct builder *b, struct lc_slice name, struct lc_slice source, const char *what) {
  bool ok = def_check_name(b, source, what);
  return (lc_slice_eq(name, source) || def_check_name(b, name, what)) && ok;
}

/* ---- case conversion of types ---- */

/* Field and variant names anywhere in a type; special types are left alone as a whole. */
static const struct lc_type *convert_type(struct builder *b, const struct lc_type *t) {
  if (b->raw->verbatim || t->special != LC_SPECIAL_NONE || t->kind >= LC_T_STRING || t->kind == LC_T_REF) return t;
  if (t->kind == LC_T_ARRAY) return def_need(b->c, lc_type_new_array(b->c->arena, convert_type(b, t->elem)));
  struct lc_type_field *f = def_alloc(b->c, t->n_fields, sizeof *f);
  for (uint32_t i = 0; i < t->n_fields; i++) {
    f[i] = t->fields[i];
    if (f[i].has_name) f[i].name = def_convert(b, f[i].name, t->kind == LC_T_SUM ? LC_CASE_CAMEL : LC_CASE_SNAKE);
    f[i].type = convert_type(b, f[i].type);
  }
  return def_need(b->c, t->kind == LC_T_SUM ? lc_type_new_sum(b->c->arena, t->n_fields, f) : lc_type_new_product(b->c->arena, t->n_fields, f));
}

const struct lc_type *def_convert_params(struct builder *b, const struct lc_type *params) {
  if (b->raw->verbatim) return params;
  struct lc_type_field *f = def_alloc(b->c, params->n_fields, sizeof *f);
  for (uint32_t i = 0; i < params->n_fields; i++) { /* the list itself is never a special type, whatever its names look like */
    f[i] = params->fields[i];
    if (f[i].has_name) f[i].name = def_convert(b, f[i].name, LC_CASE_SNAKE);
    f[i].type = convert_type(b, f[i].type);
  }
  return def_need(b->c, lc_type_new_product(b->c->arena, params->n_fields, f));
}

/* ---- valid uses ---- */

static void use_fault(struct builder *b, enum def_fault_kind kind, const struct lc_type *t, const char *what, struct lc_slice name, const char *why) {
  struct lc_buf *text = &b->c->scratch;
  lc_buf_clear(text);
  lc_type_display(text, t);
  def_fault(b->c, kind, "%s `%.*s`: type %.*s %s", what, S(name), text->len < 200 ? (int)text->len : 200, (const char *)text->data, why);
}

static bool check_use(struct builder *b, const struct lc_type *t, unsigned depth, const char *what, struct lc_slice name) {
  if (depth > MAX_USE_DEPTH) return use_fault(b, FAULT_TypeRefError, t, what, name, "is nested too deeply"), false;
  if (t->kind >= LC_T_STRING) return true;
  if (t->kind == LC_T_ARRAY) return check_use(b, t->elem, depth + 1, what, name);
  if (t->kind == LC_T_REF) {
    if (t->ref >= b->raw->typespace.n) return use_fault(b, FAULT_TypeRefError, t, what, name, "is out of range"), false;
    uint8_t *state = &b->slot_state[t->ref];
    if (*state == USE_OPEN) return use_fault(b, FAULT_TypeRefError, t, what, name, "refers to itself"), false;
    if (*state == USE_UNKNOWN) {
      *state = USE_OPEN;
      *state = check_use(b, b->raw->typespace.types[t->ref], depth + 1, what, name) ? USE_OK : USE_BAD;
    }
    return *state != USE_BAD;
  }
  if (t->special == LC_SPECIAL_OPTION) return check_use(b, t->fields[0].type, depth + 1, what, name);
  if (t->special == LC_SPECIAL_RESULT) {
    bool ok = check_use(b, t->fields[0].type, depth + 1, what, name);
    return check_use(b, t->fields[1].type, depth + 1, what, name) && ok;
  }
  if (t->special != LC_SPECIAL_NONE || t->n_fields == 0) return true;
  return use_fault(b, FAULT_NonSpecialTypeNotAUse, t, what, name, "must be a named type to be used here"), false;
}

bool def_check_use(struct builder *b, const struct lc_type *t, const char *what, struct lc_slice name) { return check_use(b, t, 0, what, name); }

bool def_resolve(struct builder *b, const struct lc_type *t, const struct lc_type **out, const char *what, struct lc_slice name) {
  struct lc_error err;
  enum lc_status st = lc_type_resolve(b->c->arena, &b->def->typespace, t, out, &err);
  if (st == LC_NOMEM || st == LC_LIMIT) def_stop(b->c, st, "%s `%.*s`: %s", what, S(name), err.text);
  if (st != LC_OK) def_fault(b->c, FAULT_TypeRefError, "%s `%.*s`: %s", what, S(name), err.text);
  return st == LC_OK;
}

/* ---- named types ---- */

static void check_definition(struct builder *b, const struct raw_type *raw) {
  const struct lc_type *t = b->raw->typespace.types[raw->type_ref];
  const char *fault;
  if (t->kind != LC_T_PRODUCT && t->kind != LC_T_SUM) {
    def_fault(b->c, FAULT_NotValidForDefinition, "type `%.*s` is neither a product nor a sum", S(raw->name));
    return;
  }
  for (uint32_t i = 0; i < t->n_fields; i++) {
    const struct lc_type_field *f = &t->fields[i];
    if (!f->has_name) {
      def_fault(b->c, FAULT_NamelessTypeDefElement, "element %u of type `%.*s` has no name", i, S(raw->name));
    } else {
      if (types_identifier_fault(f->name, &fault) != LC_OK) def_stop(b->c, LC_NOMEM, "out of memory");
      if (fault) def_fault(b->c, FAULT_NotValidIdentifier, "element `%.*s` of type `%.*s` is no valid identifier: %s", S(f->name), S(raw->name), fault);
    }
    def_check_use(b, f->type, "type", raw->name);
  }
}

/* Unnamed before named, named ascending (after conversion). */
static bool in_default_order(const struct lc_type *t) {
  for (uint32_t i = 1; i < t->n_fields; i++) {
    const struct lc_type_field *x = &t->fields[i - 1], *y = &t->fields[i];
    if (x->has_name && (!y->has_name || lc_slice_compare(x->name, y->name) > 0)) return false;
  }
  return true;
}

int types_compare_type_names(const struct lc_type_def *a, const struct lc_type_def *b) {
  for (uint32_t i = 0; i < a->n_scope && i < b->n_scope; i++) {
    int c = lc_slice_compare(a->scope[i], b->scope[i]);
    if (c) return c;
  }
  if (a->n_scope != b->n_scope) return a->n_scope < b->n_scope ? -1 : 1;
  return lc_slice_compare(a->name, b->name);
}
static int compare_type_pointers(const void *a, const void *b) { return types_compare_type_names(*(const struct lc_type_def *const *)a, *(const struct lc_type_def *const *)b); }

static void build_named(struct builder *b) {
  const struct raw_module *raw = b->raw;
  struct lc_module_def *def = b->def;
  struct lc_type_def *types = def_alloc(b->c, raw->n_types, sizeof *types);
  const struct lc_type_def **sorted = def_alloc(b->c, raw->n_types, sizeof *sorted);
  for (uint32_t i = 0; i < raw->n_types; i++) {
    const struct raw_type *r = &raw->types[i];
    struct lc_slice *scope = def_alloc(b->c, r->n_scope, sizeof *scope);
    for (uint32_t k = 0; k < r->n_scope; k++) {
      scope[k] = def_convert(b, r->scope[k], LC_CASE_PASCAL);
      def_check_name(b, scope[k], "type scope");
    }
    types[i] = (struct lc_type_def){r->n_scope, scope, def_convert(b, r->name, LC_CASE_PASCAL), r->type_ref, r->custom_ordering};
    def_check_name(b, types[i].name, "type");
    sorted[i] = &types[i];
    if (r->type_ref >= def->typespace.n) { /* the C++ library reports its own faults by such a type (spec/01 §14) */
      struct lc_buf *full = &b->c->scratch;
      lc_buf_clear(full);
      for (uint32_t k = 0; k < r->n_scope && full->len < 256; k++) lc_buf_printf(full, "\"%.*s\"::", S(r->scope[k]));
      def_fault(b->c, FAULT_InvalidTypeRef, "Type %.*s\"%.*s\" has invalid ref: &%u", S(*full), S(r->name), r->type_ref);
      continue;
    }
    check_definition(b, r);
    if (!r->custom_ordering && !in_default_order(def->typespace.types[r->type_ref]))
      def_fault(b->c, FAULT_TypeHasIncorrectOrdering, "type `%.*s` declares no ordering of its own but its elements are not in the default order", S(types[i].name));
  }
  qsort(sorted, raw->n_types, sizeof *sorted, compare_type_pointers);
  for (uint32_t i = 1; i < raw->n_types; i++)
    if (types_compare_type_names(sorted[i - 1], sorted[i]) == 0) def_fault(b->c, FAULT_DuplicateTypeName, "type name `%.*s` is used twice", S(sorted[i]->name));
  def->types = types;
  def->n_types = raw->n_types;
}

void def_build_types(struct builder *b) {
  const struct lc_typespace *source = &b->raw->typespace;
  struct lc_typespace *ts = &b->def->typespace;
  ts->n = source->n;
  ts->types = def_alloc(b->c, ts->n, sizeof *ts->types);
  for (uint32_t i = 0; i < ts->n; i++) ts->types[i] = convert_type(b, source->types[i]);
  b->slot_state = def_alloc(b->c, ts->n, 1);
  for (uint32_t i = 0; i < b->raw->n_types; i++)
    if (b->raw->types[i].type_ref < ts->n) b->slot_state[b->raw->types[i].type_ref] = USE_DEFINED;
  build_named(b);
}
