/* Owns: which changes of a column's type leave stored rows valid (spec/06 §15.2). Pure. Callers: migrate_plan.c. */
#include "engine_internal.h"

static uint64_t rounded(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }

struct type_layout type_layout_of(const struct lc_type *t) {
  static const uint8_t sizes[] = {[LC_T_BOOL] = 1, [LC_T_I8] = 1,   [LC_T_U8] = 1,    [LC_T_I16] = 2,   [LC_T_U16] = 2,   [LC_T_I32] = 4, [LC_T_U32] = 4, [LC_T_I64] = 8,
                                  [LC_T_U64] = 8,  [LC_T_I128] = 16, [LC_T_U128] = 16, [LC_T_I256] = 32, [LC_T_U256] = 32, [LC_T_F32] = 4, [LC_T_F64] = 8};
  struct type_layout l = {0, 1};
  if (t->kind >= LC_T_BOOL) return (struct type_layout){sizes[t->kind], sizes[t->kind]};
  if (t->kind == LC_T_STRING || t->kind == LC_T_ARRAY) return (struct type_layout){4, 2};
  if (t->kind == LC_T_PRODUCT) {
    for (uint32_t i = 0; i < t->n_fields; i++) {
      struct type_layout f = type_layout_of(t->fields[i].type);
      l.size = rounded(l.size, f.align) + f.size;
      if (f.align > l.align) l.align = f.align;
    }
    l.size = rounded(l.size, l.align);
    return l;
  }
  for (uint32_t i = 0; i < t->n_fields; i++) {
    struct type_layout f = type_layout_of(t->fields[i].type);
    if (f.align > l.align) l.align = f.align;
    if (f.size > l.size) l.size = f.size;
  }
  l.size = l.align + rounded(l.size, l.align);
  return l;
}

bool type_change_check(const struct type_change *c, const struct lc_type *from, const struct lc_type *to, bool nested) {
  if (lc_type_eq(from, to)) return false;
  if (from->kind == LC_T_ARRAY && to->kind == LC_T_ARRAY) return type_change_check(c, from->elem, to->elem, true);
  if (from->kind == LC_T_SUM && to->kind == LC_T_SUM) {
    if (to->n_fields < from->n_fields) return c->fault(c->ctx, nested, from, to, ", with fewer variants, requires a manual migration"), true;
    for (uint32_t i = 0; i < from->n_fields; i++) {
      if (!lc_slice_eq(from->fields[i].name, to->fields[i].name)) c->fault(c->ctx, false, from, to, ", with a renamed variant, requires a manual migration");
      type_change_check(c, from->fields[i].type, to->fields[i].type, true);
    }
    struct type_layout a = type_layout_of(from), b = type_layout_of(to);
    if (a.size != b.size) c->fault(c->ctx, nested, from, to, ", requires a manual migration, due to size mismatch");
    if (a.align != b.align) c->fault(c->ctx, nested, from, to, ", requires a manual migration, due to alignment mismatch");
    return true;
  }
  if (from->kind == LC_T_PRODUCT && to->kind == LC_T_PRODUCT) {
    if (from->n_fields != to->n_fields) return c->fault(c->ctx, nested, from, to, ", with fewer fields, requires a manual migration"), true;
    for (uint32_t i = 0; i < from->n_fields; i++) {
      if (!lc_slice_eq(from->fields[i].name, to->fields[i].name)) c->fault(c->ctx, false, from, to, ", with a renamed field, requires a manual migration");
      type_change_check(c, from->fields[i].type, to->fields[i].type, true);
    }
    return true;
  }
  c->fault(c->ctx, nested, from, to, " requires a manual migration");
  return true;
}
