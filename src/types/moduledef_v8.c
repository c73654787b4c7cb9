/* BSATN RawModuleDef V8 and its upgrade to the shape of V9 (spec/01 §13).
 *
 * V8 says indexes, sequences, unique constraints and the primary key by attributes of column lists; each becomes the V9 item of its own.
 */
#include "moduledef_internal.h"

enum { INDEXED = 1, AUTO_INC = 2, UNIQUE = 5, PRIMARY_KEY = 13, ATTRIBUTE_MASK = 15 };

struct column { struct lc_slice name; const struct lc_type *type; };
struct index { struct lc_slice name; bool is_unique; enum lc_index_kind kind; uint32_t n; uint16_t *columns; };
struct constraint { struct lc_slice name; uint8_t attributes; uint32_t n; uint16_t *columns; };
struct table {
  struct lc_slice name, scheduled;
  uint32_t n_columns, n_indexes, n_constraints, n_sequences;
  struct column *columns;
  struct index *indexes;
  struct constraint *constraints;
  struct raw_sequence *sequences;
  bool is_system, is_public;
};

static bool has(const struct constraint *k, uint8_t attribute) { return (k->attributes & attribute) == attribute; }

/* One of two words. */
static bool either(struct def_ctx *c, const char *yes, const char *no) {
  struct lc_slice s = raw_str(c);
  if (!lc_slice_eq_str(s, yes) && !lc_slice_eq_str(s, no)) def_stop(c, LC_INVALID, "error decoding module description: `%.*s` is neither `%s` nor `%s`", S(s), yes, no);
  return lc_slice_eq_str(s, yes);
}

static void read_table(struct def_ctx *c, struct table *t) {
  t->name = raw_str(c);
  t->n_columns = raw_count(c);
  t->columns = def_alloc(c, t->n_columns, sizeof *t->columns);
  for (uint32_t i = 0; i < t->n_columns; i++) {
    t->columns[i].name = raw_str(c);
    t->columns[i].type = raw_type_of(c);
  }
  t->n_indexes = raw_count(c);
  t->indexes = def_alloc(c, t->n_indexes, sizeof *t->indexes);
  for (uint32_t i = 0; i < t->n_indexes; i++) {
    struct index *x = &t->indexes[i];
    x->name = raw_str(c);
    x->is_unique = raw_bool(c);
    x->kind = raw_tag(c, 2, "IndexType") == 0 ? LC_INDEX_BTREE : LC_INDEX_HASH;
    x->columns = raw_columns(c, &x->n);
  }
  t->n_constraints = raw_count(c);
  t->constraints = def_alloc(c, t->n_constraints, sizeof *t->constraints);
  for (uint32_t i = 0; i < t->n_constraints; i++) {
    struct constraint *k = &t->constraints[i];
    k->name = raw_str(c);
    k->attributes = raw_u8(c);
    if (k->attributes & ~ATTRIBUTE_MASK) def_stop(c, LC_INVALID, "error decoding module description: constraint `%.*s` has unknown attributes 0x%x", S(k->name), k->attributes);
    k->columns = raw_columns(c, &k->n);
  }
  t->n_sequences = raw_count(c);
  t->sequences = def_alloc(c, t->n_sequences, sizeof *t->sequences);
  for (uint32_t i = 0; i < t->n_sequences; i++) {
    struct raw_sequence *q = &t->sequences[i];
    uint8_t allocated[16];
    q->name = raw_str(c);
    q->column = raw_u16(c);
    raw_i128(c, q->increment);
    for (int o = 0; o < 3; o++)
      if ((q->has[o] = raw_opt(c))) raw_i128(c, q->options[o]);
    raw_i128(c, allocated);
  }
  t->is_system = either(c, "system", "user");
  t->is_public = either(c, "public", "private");
  if (raw_opt(c)) t->scheduled = raw_str(c);
}

/* `prefix`_table_base, where base is the constraint's name without "ct_table_"; an index also says whether it is unique. */
static struct lc_slice derived_name(struct def_ctx *c, const char *prefix, const struct table *t, const struct constraint *k, const char *ending) {
  struct lc_slice base = k->name;
  lc_buf_printf(&c->scratch, "ct_%.*s_", S(t->name));
  struct lc_slice head = def_text(c);
  if (base.len >= head.len && memcmp(base.data, head.data, head.len) == 0) base = lc_slice(base.data + head.len, base.len - head.len);
  lc_buf_printf(&c->scratch, "%s_%.*s_", prefix, S(t->name));
  lc_buf_slice_append(&c->scratch, base);
  size_t n = strlen(ending);
  if (base.len < n || memcmp(base.data + base.len - n, ending, n) != 0) lc_buf_str(&c->scratch, ending);
  return def_text(c);
}

static void upgrade_indexes(struct def_ctx *c, const struct table *t, struct raw_table *out) {
  struct types_names names = {0};
  out->indexes = def_alloc(c, (size_t)t->n_indexes + t->n_constraints, sizeof *out->indexes);
  for (uint32_t i = 0; i < t->n_indexes; i++) {
    const struct index *x = &t->indexes[i];
    def_add_name(c, &names, x->name, 0);
    out->indexes[out->n_indexes++] = (struct lc_index_def){.source_name = x->name, .accessor = x->name, .kind = x->kind, .n_columns = x->n, .columns = x->columns};
  }
  for (uint32_t i = 0; i < t->n_constraints; i++) {
    const struct constraint *k = &t->constraints[i];
    if (!has(k, INDEXED)) continue;
    struct lc_slice name = derived_name(c, "idx", t, k, has(k, UNIQUE) ? "_unique" : "_non_unique");
    if (!def_add_name(c, &names, name, 0)) continue;
    out->indexes[out->n_indexes++] = (struct lc_index_def){.source_name = name, .accessor = name, .kind = LC_INDEX_BTREE, .n_columns = k->n, .columns = k->columns};
  }
}

static void upgrade_constraints(struct def_ctx *c, const struct table *t, struct raw_table *out) {
  out->constraints = def_alloc(c, (size_t)t->n_constraints + t->n_indexes, sizeof *out->constraints);
  out->pk = def_alloc(c, 2, sizeof *out->pk); /* a second column is a fault, a third says no more */
  struct types_names lists = {0};
  for (uint32_t i = 0; i < t->n_constraints; i++) {
    const struct constraint *k = &t->constraints[i];
    def_add_name(c, &lists, lc_slice(k->columns, k->n * sizeof *k->columns), 0);
    if (has(k, UNIQUE)) out->constraints[out->n_constraints++] = (struct lc_constraint_def){k->name, k->n, k->columns};
    for (uint32_t n = 0; has(k, PRIMARY_KEY) && n < k->n && out->n_pk < 2; n++) out->pk[out->n_pk++] = k->columns[n];
  }
  for (uint32_t i = 0; i < t->n_indexes; i++) {
    const struct index *x = &t->indexes[i];
    if (!x->is_unique || !def_add_name(c, &lists, lc_slice(x->columns, x->n * sizeof *x->columns), 0)) continue;
    lc_buf_printf(&c->scratch, "ct_%.*s", S(t->name));
    for (uint32_t n = 0; n < x->n; n++) {
      lc_buf_u8(&c->scratch, '_');
      if (x->columns[n] < t->n_columns) lc_buf_slice_append(&c->scratch, t->columns[x->columns[n]].name);
    }
    lc_buf_str(&c->scratch, "_unique");
    out->constraints[out->n_constraints++] = (struct lc_constraint_def){def_text(c), x->n, x->columns};
  }
}

static void upgrade_sequences(struct def_ctx *c, const struct table *t, struct raw_table *out) {
  out->sequences = def_alloc(c, (size_t)t->n_sequences + t->n_constraints, sizeof *out->sequences);
  for (uint32_t i = 0; i < t->n_sequences; i++) out->sequences[out->n_sequences++] = t->sequences[i];
  struct types_names sequenced = {0}; /* column lists */
  for (uint32_t i = 0; i < t->n_sequences; i++) def_add_name(c, &sequenced, lc_slice(&t->sequences[i].column, sizeof(uint16_t)), 0);
  for (uint32_t i = 0; i < t->n_constraints; i++) {
    const struct constraint *k = &t->constraints[i];
    if (!has(k, AUTO_INC) || k->n == 0 || !def_add_name(c, &sequenced, lc_slice(k->columns, k->n * sizeof *k->columns), 0)) continue;
    out->sequences[out->n_sequences++] = (struct raw_sequence){.name = derived_name(c, "seq", t, k, ""), .column = k->columns[0], .increment = {1}};
  }
}

/* The columns of the table must be the fields of its row type. */
static void check_columns(struct def_ctx *c, const struct raw_module *m, const struct table *t, uint32_t type_ref) {
  const struct lc_type *row;
  if (type_ref >= m->typespace.n || m->typespace.types[type_ref]->kind != LC_T_PRODUCT) return; /* reported with the table */
  row = m->typespace.types[type_ref];
  bool same = row->n_fields == t->n_columns;
  for (uint32_t i = 0; same && i < t->n_columns; i++) {
    const struct lc_type *declared, *actual;
    same = row->fields[i].has_name && lc_slice_eq(row->fields[i].name, t->columns[i].name) && lc_type_resolve(c->arena, &m->typespace, t->columns[i].type, &declared, NULL) == LC_OK &&
           lc_type_resolve(c->arena, &m->typespace, row->fields[i].type, &actual, NULL) == LC_OK && lc_type_eq(declared, actual);
    if (!same) def_fault(c, FAULT_ColumnDefMalformed, "column %u of table `%.*s` is not the field of its row type", i, S(t->name));
  }
  if (row->n_fields != t->n_columns) def_fault(c, FAULT_ColumnDefMalformed, "table `%.*s` has %u columns, its row type %u", S(t->name), t->n_columns, row->n_fields);
}

static void upgrade_table(struct def_ctx *c, const struct table *t, uint32_t type_ref, struct raw_module *m, struct raw_table *out) {
  *out = (struct raw_table){.source = t->name, .type_ref = type_ref, .is_system = t->is_system, .is_public = t->is_public};
  check_columns(c, m, t, type_ref);
  upgrade_indexes(c, t, out);
  upgrade_constraints(c, t, out);
  upgrade_sequences(c, t, out);
  for (uint32_t i = 0; t->scheduled.data && i < t->n_columns; i++) {
    if (!lc_slice_eq_str(t->columns[i].name, "scheduled_at")) continue;
    m->schedules[m->n_schedules++] = (struct raw_schedule){.table = t->name, .function = t->scheduled, .at_column = (uint16_t)i};
    break;
  }
}

/* A name with its scope in front, parted by "::" or ".". */
static void split_alias(struct def_ctx *c, struct lc_slice alias, struct raw_type *out) {
  out->scope = def_alloc(c, alias.len + 1, sizeof *out->scope);
  size_t from = 0;
  for (size_t i = 0; i < alias.len; i++) {
    size_t n = alias.data[i] == '.' ? 1 : i + 1 < alias.len && alias.data[i] == ':' && alias.data[i + 1] == ':' ? 2 : 0;
    if (!n) continue;
    out->scope[out->n_scope++] = lc_slice(alias.data + from, i - from);
    i += n - 1;
    from = i + 1;
  }
  out->name = lc_slice(alias.data + from, alias.len - from);
}

void raw_decode_v8(struct def_ctx *c, struct raw_module *m) {
  static const struct { const char *name; enum lc_lifecycle event; } lifecycles[] = {
      {"__init__", LC_LIFECYCLE_INIT}, {"__identity_connected__", LC_LIFECYCLE_CONNECT}, {"__identity_disconnected__", LC_LIFECYCLE_DISCONNECT}};
  m->version = 8;
  m->verbatim = true;
  raw_typespace(c, &m->typespace);
  m->n_tables = raw_count(c);
  m->tables = def_alloc(c, m->n_tables, sizeof *m->tables);
  m->schedules = def_alloc(c, m->n_tables, sizeof *m->schedules);
  for (uint32_t i = 0; i < m->n_tables; i++) {
    struct table t = {0};
    read_table(c, &t);
    upgrade_table(c, &t, raw_u32(c), m, &m->tables[i]);
  }
  m->n_reducers = raw_count(c);
  m->reducers = def_alloc(c, m->n_reducers, sizeof *m->reducers);
  m->lifecycles = def_alloc(c, m->n_reducers, sizeof *m->lifecycles);
  for (uint32_t i = 0; i < m->n_reducers; i++) {
    m->reducers[i].accessor = raw_str(c);
    m->reducers[i].params = raw_product(c);
    for (size_t k = 0; k < sizeof lifecycles / sizeof *lifecycles; k++)
      if (lc_slice_eq_str(m->reducers[i].accessor, lifecycles[k].name)) m->lifecycles[m->n_lifecycles++] = (struct raw_lifecycle){lifecycles[k].event, m->reducers[i].accessor};
  }
  m->n_types = raw_count(c);
  m->types = def_alloc(c, m->n_types, sizeof *m->types);
  for (uint32_t i = 0; i < m->n_types; i++) {
    raw_tag(c, 1, "MiscModuleExport");
    split_alias(c, raw_str(c), &m->types[i]);
    m->types[i].type_ref = raw_u32(c);
    m->types[i].custom_ordering = true;
  }
}
