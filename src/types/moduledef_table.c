/* Tables of a module definition: columns, indexes, constraints, keys, sequences, defaults (spec/01 §14.1, §14.2, §14.4; spec/07 §4.6). */
#include "moduledef_internal.h"
#include <stdlib.h>

enum { MAX_GENERATED_NAME_BYTES = 65536 };

void def_check_columns(struct builder *b, struct lc_slice def_name, uint32_t n_columns, uint32_t n, const uint16_t *columns, bool *ok) {
  for (uint32_t i = 0; i < n; i++) {
    if (columns[i] < n_columns) continue;
    def_fault(b->c, FAULT_ColumnNotFound, "column %u of `%.*s` not found", columns[i], S(def_name));
    *ok = false;
    return;
  }
  if (n < 2) return;
  uint8_t *seen = def_alloc(b->c, n_columns, 1);
  for (uint32_t i = 0; i < n; i++) {
    if (seen[columns[i]]++ == 0) continue;
    def_fault(b->c, FAULT_DuplicateColumns, "`%.*s` names column %u twice", S(def_name), columns[i]);
    *ok = false;
    return;
  }
}

/* `table`_`columns`+suffix; columns without a name, or that do not exist, are col_N. */
static struct lc_slice generated(struct builder *b, const struct lc_table_def *t, uint32_t n, const uint16_t *columns, const char *suffix) {
  struct lc_buf *out = &b->c->scratch;
  lc_buf_slice_append(out, t->name);
  for (uint32_t i = 0; i < n; i++) {
    lc_buf_u8(out, '_');
    if (columns[i] < t->n_columns) lc_buf_slice_append(out, t->columns[columns[i]].name);
    else lc_buf_printf(out, "col_%u", columns[i]);
    if (out->len > MAX_GENERATED_NAME_BYTES) def_stop(b->c, LC_LIMIT, "the name of an item of table `%.*s` would be longer than %d bytes", S(t->accessor), MAX_GENERATED_NAME_BYTES);
  }
  lc_buf_str(out, suffix);
  return def_text(b->c);
}

void def_use_name(struct builder *b, struct lc_slice name) {
  if (!def_add_name(b->c, &b->global, name, 0)) def_fault(b->c, FAULT_DuplicateName, "name `%.*s` is used twice", S(name));
}

static int compare_u16(const void *a, const void *b) { return (int)*(const uint16_t *)a - (int)*(const uint16_t *)b; }
/* A list of columns as a set, to be looked up by its bytes. */
static struct lc_slice column_set(struct builder *b, uint32_t n, const uint16_t *columns) {
  uint16_t *sorted = def_alloc(b->c, n, sizeof *sorted);
  if (n) memcpy(sorted, columns, n * sizeof *sorted);
  qsort(sorted, n, sizeof *sorted, compare_u16);
  return lc_slice(sorted, n * sizeof *sorted);
}

/* Names of the columns of a table or a view, which must differ (the reference leaves that to its system tables), and uses of their types. */
bool def_name_columns(struct builder *b, const char *what, struct lc_slice of, const struct lc_type *written, const struct lc_type *converted, struct lc_column_def *columns) {
  struct types_names names = {0};
  bool ok = true;
  for (uint32_t i = 0; i < written->n_fields; i++) {
    const struct lc_type_field *f = &written->fields[i];
    if (!f->has_name) {
      def_fault(b->c, FAULT_UnnamedColumn, "column %u of %s `%.*s` has no name", i, what, S(of));
      ok = false;
      continue;
    }
    columns[i] = (struct lc_column_def){.name = converted->fields[i].name, .accessor = f->name};
    ok = def_check_both_names(b, columns[i].name, f->name, "column") && ok;
    ok = def_check_use(b, f->type, "column", f->name) && ok;
    if (def_add_name(b->c, &names, columns[i].name, 0)) continue;
    def_fault(b->c, FAULT_DuplicateColumnName, "%s `%.*s` has two columns named `%.*s`", what, S(of), S(columns[i].name));
    ok = false;
  }
  return ok;
}

static bool build_columns(struct builder *b, struct lc_table_def *t) {
  const struct lc_type *source = b->raw->typespace.types[t->type_ref], *converted = b->def->typespace.types[t->type_ref];
  struct lc_column_def *columns = def_alloc(b->c, source->n_fields, sizeof *columns);
  bool ok = def_name_columns(b, "table", t->name, source, converted, columns);
  if (!ok || !def_resolve(b, converted, &t->row_type, "table", t->name)) return false;
  for (uint32_t i = 0; i < source->n_fields; i++) columns[i].type = t->row_type->fields[i].type;
  t->columns = columns;
  t->n_columns = source->n_fields;
  return true;
}

static bool is_plain_enum(const struct lc_type *t) {
  bool plain = t->kind == LC_T_SUM;
  for (uint32_t i = 0; plain && i < t->n_fields; i++) plain = t->fields[i].type->kind == LC_T_PRODUCT && t->fields[i].type->n_fields == 0;
  return plain;
}
static bool direct_index_type(const struct lc_type *t) {
  return t->kind == LC_T_U8 || t->kind == LC_T_U16 || t->kind == LC_T_U32 || t->kind == LC_T_U64 || is_plain_enum(t);
}

static bool build_indexes(struct builder *b, const struct raw_table *raw, struct lc_table_def *t, struct types_names *sets) {
  static const char *const suffix[] = {[LC_INDEX_BTREE] = "_idx_btree", [LC_INDEX_HASH] = "_idx_hash", [LC_INDEX_DIRECT] = "_idx_direct"};
  bool ok = true;
  t->n_indexes = raw->n_indexes;
  t->indexes = raw->indexes;
  for (uint32_t i = 0; i < raw->n_indexes; i++) {
    struct lc_index_def *x = &raw->indexes[i];
    bool columns_ok = x->n_columns > 0;
    x->name = generated(b, t, x->n_columns, x->columns, suffix[x->kind]);
    if (b->raw->version == 10) {
      if (!x->source_name.data) {
        def_fault(b->c, FAULT_MissingIndexSourceName, "an index of table `%.*s` has no source name", S(t->name));
        ok = false;
        continue;
      }
      struct lc_slice explicit = def_canonical(b, NAME_INDEX, x->source_name);
      if (explicit.data) x->name = explicit;
      ok = def_check_name(b, x->name, "index") && ok;
    } else if (x->source_name.data) {
      x->name = x->source_name;
    } else {
      x->source_name = x->name;
    }
    if (x->accessor.data) ok = def_check_name(b, x->accessor, "index accessor") && ok;
    def_use_name(b, x->source_name);
    if (!lc_slice_eq(x->source_name, x->name)) def_use_name(b, x->name);
    if (!columns_ok) def_fault(b->c, FAULT_ColumnNotFound, "index `%.*s` has no columns", S(x->name));
    def_check_columns(b, x->name, t->n_columns, x->n_columns, x->columns, &columns_ok);
    if (columns_ok && x->kind == LC_INDEX_DIRECT && !direct_index_type(t->columns[x->columns[0]].type)) {
      const struct lc_column_def *column = &t->columns[x->columns[0]];
      lc_buf_clear(&b->c->scratch);
      lc_type_display(&b->c->scratch, column->type);
      def_fault(b->c, FAULT_DirectIndexOnBadType, "Direct index does not support type `%.*s` in column `%.*s` in index `%.*s`", b->c->scratch.len < 200 ? (int)b->c->scratch.len : 200,
                (const char *)b->c->scratch.data, S(column->name), S(x->name));
      columns_ok = false;
    }
    if (columns_ok) def_add_name(b->c, sets, column_set(b, x->n_columns, x->columns), i);
    ok = ok && columns_ok;
  }
  return ok;
}

static void build_constraints(struct builder *b, const struct raw_table *raw, struct lc_table_def *t, const struct types_names *indexed, bool ok) {
  struct types_names unique = {0};
  t->n_constraints = raw->n_constraints;
  t->constraints = raw->constraints;
  for (uint32_t i = 0; i < raw->n_constraints; i++) {
    struct lc_constraint_def *k = &raw->constraints[i];
    if (b->raw->version == 10 || !k->name.data) k->name = generated(b, t, k->n_columns, k->columns, "_key");
    def_use_name(b, k->name);
    def_check_columns(b, k->name, t->n_columns, k->n_columns, k->columns, &ok);
    struct lc_slice set = column_set(b, k->n_columns, k->columns);
    def_add_name(b->c, &unique, set, i);
    k->columns = (const uint16_t *)set.data;
  }
  t->primary_key = -1;
  if (raw->n_pk > 1) {
    def_fault(b->c, FAULT_RepeatedPrimaryKey, "table `%.*s` has more than one primary key column", S(t->name));
    ok = false;
  } else if (raw->n_pk == 1) {
    bool exists = true;
    def_check_columns(b, t->accessor, t->n_columns, 1, raw->pk, &exists);
    if (exists && !types_names_find(b->c->arena, &unique, lc_slice(raw->pk, sizeof(uint16_t)), NULL)) {
      def_fault(b->c, FAULT_MissingPrimaryKeyUniqueConstraint, "column `%.*s` of table `%.*s` is primary key but has no unique constraint", S(t->columns[raw->pk[0]].name), S(t->name));
      exists = false;
    }
    if (exists) t->primary_key = raw->pk[0];
    ok = ok && exists;
  }
  for (uint32_t i = 0; ok && i < raw->n_constraints; i++) {
    const struct lc_constraint_def *k = &raw->constraints[i];
    if (!types_names_find(b->c->arena, indexed, lc_slice(k->columns, k->n_columns * sizeof *k->columns), NULL))
      def_fault(b->c, FAULT_UniqueConstraintWithoutIndex, "unique constraint `%.*s` has no index over the same columns", S(k->name));
  }
}

static void check_options(struct builder *b, const struct raw_sequence *q, struct lc_slice name) {
  static const char *const options[] = {"start", "min_value", "max_value", "increment"};
  static const uint8_t one[16] = {1};
  for (int o = 0; o < 4; o++) {
    const uint8_t *value = o < 3 ? q->options[o] : q->increment;
    if (o < 3 ? !q->has[o] : memcmp(value, one, sizeof one) == 0) continue;
    lc_buf_clear(&b->c->scratch);
    types_write_i128(&b->c->scratch, value, true);
    def_fault(b->c, FAULT_UnsupportedSequenceOption, "sequence definition `%.*s` specifies unsupported option `%s` with value %.*s, should be %s", S(name), options[o], S(b->c->scratch), o < 3 ? "None" : "1");
  }
}

static void build_sequences(struct builder *b, const struct raw_table *raw, struct lc_table_def *t) {
  struct lc_sequence_def *sequences = def_alloc(b->c, raw->n_sequences, sizeof *sequences);
  uint8_t *sequenced = def_alloc(b->c, t->n_columns, 1);
  t->sequences = sequences;
  t->n_sequences = raw->n_sequences;
  for (uint32_t i = 0; i < raw->n_sequences; i++) {
    const struct raw_sequence *q = &raw->sequences[i];
    bool exists = true;
    sequences[i] = (struct lc_sequence_def){q->name.data ? q->name : generated(b, t, 1, &q->column, "_seq"), q->column};
    def_use_name(b, sequences[i].name);
    def_check_columns(b, sequences[i].name, t->n_columns, 1, &q->column, &exists);
    check_options(b, q, sequences[i].name);
    if (!exists) continue;
    const struct lc_column_def *column = &t->columns[q->column];
    if (column->type->kind < LC_T_I8 || column->type->kind > LC_T_U256)
      def_fault(b->c, FAULT_InvalidSequenceColumnType, "sequence `%.*s` is on column `%.*s`, which is no integer", S(sequences[i].name), S(column->name));
    if (sequenced[q->column]++) def_fault(b->c, FAULT_OneAutoInc, "column `%.*s` of table `%.*s` has two sequences", S(column->name), S(t->name));
  }
}

static void set_default(struct builder *b, struct lc_table_def *t, const struct raw_default *d) {
  bool exists = true;
  def_check_columns(b, t->accessor, t->n_columns, 1, &d->column, &exists);
  if (!exists) return;
  struct lc_column_def *column = (struct lc_column_def *)&t->columns[d->column];
  struct lc_reader r = lc_reader(d->value);
  struct lc_error err;
  if (lc_bsatn_validate(column->type, NULL, &r, &err) != LC_OK) {
    def_fault(b->c, FAULT_ColumnDefaultValueMalformed, "default of column `%.*s` of table `%.*s` does not decode: %s", S(column->name), S(t->name), err.text);
    return;
  }
  if (b->raw->version < 10 && column->has_default) def_fault(b->c, FAULT_MultipleColumnDefaultValues, "column `%.*s` of table `%.*s` has two defaults", S(column->name), S(t->name));
  column->has_default = true;
  column->default_bsatn = lc_slice(d->value.data, (size_t)(r.p - d->value.data)); /* without what follows the value */
}

static void build_table(struct builder *b, const struct raw_table *raw, struct lc_table_def *t) {
  const struct lc_typespace *ts = &b->def->typespace;
  t->accessor = raw->source;
  t->name = def_canonical(b, NAME_TABLE, raw->source);
  t->mount = lc_slice("", 0);
  t->typespace = ts;
  t->type_ref = raw->type_ref;
  t->primary_key = -1;
  t->is_public = raw->is_public;
  t->is_event = raw->is_event;
  t->is_system = raw->is_system;
  bool name_ok = def_check_both_names(b, t->name, t->accessor, "table");
  if (raw->type_ref >= ts->n || ts->types[raw->type_ref]->kind != LC_T_PRODUCT) {
    def_fault(b->c, FAULT_InvalidProductTypeRef, "table `%.*s` has invalid product type ref &%u", S(raw->source), raw->type_ref);
    return;
  }
  if (!name_ok || !build_columns(b, t)) return;
  struct types_names indexed = {0};
  bool ok = build_indexes(b, raw, t, &indexed);
  build_constraints(b, raw, t, &indexed, ok);
  build_sequences(b, raw, t);
  if (t->name.len >= 3 && memcmp(t->name.data, "st_", 3) == 0 && !raw->is_system)
    def_fault(b->c, FAULT_TableNameReserved, "table name `%.*s` is reserved: names that begin with `st_` are of system tables", S(t->name));
  for (uint32_t i = 0; i < raw->n_defaults; i++) set_default(b, t, &raw->defaults[i]); /* of two for one column the last wins */
  def_use_name(b, t->accessor);
  if (!lc_slice_eq(t->accessor, t->name)) def_use_name(b, t->name);
}

void def_build_tables(struct builder *b) {
  const struct raw_module *raw = b->raw;
  uint64_t before = b->c->n_found;
  b->tables = def_alloc(b->c, raw->n_tables, sizeof *b->tables);
  b->def->tables = b->tables;
  b->def->n_tables = raw->n_tables;
  for (uint32_t i = 0; i < raw->n_tables; i++) {
    build_table(b, &raw->tables[i], &b->tables[i]);
    def_add_name(b->c, &b->table_sources, b->tables[i].accessor, i);
    def_add_name(b->c, &b->table_names, b->tables[i].name, i);
  }
  for (uint32_t i = 0; i < raw->n_defaults; i++) { /* V9 has them apart */
    uint32_t t;
    if (types_names_find(b->c->arena, &b->table_sources, raw->defaults[i].table, &t)) {
      if (b->tables[t].row_type) set_default(b, &b->tables[t], &raw->defaults[i]);
    } else {
      def_fault(b->c, FAULT_TableNotFound, "a column default names a missing table `%.*s`", S(raw->defaults[i].table));
    }
  }
  b->tables_ok = b->c->n_found == before;
}
