/* Module definitions: BSATN RawModuleDef V9 and V10 to a validated `struct lc_module_def` with canonical names
 * (spec/01 §10-§14, spec/07 §4).
 *
 * Decoding and validation run over one arena that the definition owns. The first error found is reported, headed by
 * "Errors occurred:" as the reference does. Callers: host/ (describe), tests.
 */
#include "types.h"
#include "types_internal.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_ITEMS = 65536 };
enum { SNAKE, CAMEL, PASCAL };

struct name_pair { struct lc_slice source, canonical; };
struct decoder {
  struct lc_module_def *def;
  struct lc_arena *arena;
  struct lc_reader r;
  struct lc_error *err;
  bool convert;                       /* case policy is snake case */
  uint32_t n_explicit[4];
  struct name_pair *explicit_names[4]; /* table, function, index, namespace */
  const struct lc_type **source_types; /* the typespace before case conversion */
};

struct raw_lifecycle { uint8_t kind; struct lc_slice function; };
struct raw_schedule { struct lc_slice table, function; uint16_t at_column; };
struct raw_default { uint16_t column; struct lc_slice value; };
struct raw_view_key { struct lc_slice view, column; };
struct raw_type { uint32_t n_scope, type_ref; struct lc_slice *scope, name; bool custom_ordering; };
struct raw_table {
  struct lc_slice source;
  uint32_t type_ref, n_pk, n_indexes, n_constraints, n_sequences, n_defaults;
  const uint16_t *pk;
  struct lc_index_def *indexes;
  struct lc_constraint_def *constraints;
  struct lc_sequence_def *sequences;
  struct raw_default *defaults;
  bool is_system, is_public, is_event, has_schedule;
  struct raw_schedule schedule;
};

static enum lc_status invalid(struct decoder *d, const char *fmt, ...) LC_PRINTF(2, 3);
static enum lc_status invalid(struct decoder *d, const char *fmt, ...) {
  char text[1024];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  return lc_fail(d->err, LC_INVALID, "Errors occurred:\n%s\n", text);
}
#define S(s) (int)(s).len, (const char *)(s).data

/* ---- decoding helpers ---- */

static struct lc_slice bytes(struct decoder *d) { return lc_arena_copy(d->arena, lc_read_bytes(&d->r)); }
static struct lc_slice str(struct decoder *d) {
  struct lc_slice s = bytes(d);
  if (!lc_utf8_valid(s.data, s.len)) {
    d->r.failed = true;
    return lc_slice("", 0);
  }
  return s;
}
static bool opt(struct decoder *d) {
  uint8_t tag = lc_read_u8(&d->r);
  if (tag > 1) d->r.failed = true;
  return tag == 0;
}
static struct lc_slice opt_str(struct decoder *d) { return opt(d) ? str(d) : lc_slice(NULL, 0); }
static uint32_t count(struct decoder *d) { /* of elements that take at least a byte each */
  uint32_t n = lc_read_u32(&d->r);
  if (n > MAX_ITEMS || n > lc_reader_left(&d->r)) d->r.failed = true;
  return d->r.failed ? 0 : n;
}
static void *items(struct decoder *d, uint32_t n, size_t size) {
  void *p = lc_arena_alloc_zero(d->arena, n ? n : 1, size);
  if (!p) lc_panic("out of memory while reading a module definition");
  return p;
}
static const uint16_t *cols(struct decoder *d, uint32_t *n) {
  *n = count(d);
  uint16_t *c = items(d, *n, sizeof *c);
  for (uint32_t i = 0; i < *n; i++) c[i] = lc_read_u16(&d->r);
  return c;
}
static const struct lc_type *type(struct decoder *d) {
  const struct lc_type *t = NULL;
  if (d->r.failed || lc_type_decode(d->arena, &d->r, &t, d->err) != LC_OK) {
    d->r.failed = true;
    return lc_type_primitive(LC_T_BOOL);
  }
  return t;
}
static const struct lc_type *bare_product(struct decoder *d) {
  uint32_t n = count(d);
  struct lc_type_field *f = items(d, n, sizeof *f);
  for (uint32_t i = 0; i < n; i++) {
    f[i].name = opt_str(d);
    f[i].has_name = f[i].name.data != NULL;
    f[i].type = type(d);
  }
  const struct lc_type *t = lc_type_new_product(d->arena, n, f);
  if (!t) lc_panic("out of memory while reading a module definition");
  return t;
}
static void skip_opt_i128(struct decoder *d, struct lc_slice seq, const char *option, bool *unsupported) {
  (void)seq;
  (void)option;
  if (opt(d)) {
    lc_read_raw(&d->r, 16);
    *unsupported = true;
  }
}

/* ---- names (spec/01 §10) ---- */

static bool identifier_ok(struct lc_slice s) {
  if (s.len == 0) return false;
  for (size_t i = 0; i < s.len; i++) {
    uint8_t c = s.data[i];
    if (c >= 0x80 || c == '_' || isalpha(c)) continue; /* other scripts are taken as they come */
    if (i == 0 || !isdigit(c)) return false;
  }
  return true;
}

static struct lc_slice convert(struct decoder *d, struct lc_slice s, int style) {
  if (!d->convert) return s;
  struct lc_buf out = {0};
  bool word_open = false, first_word = true;
  for (size_t i = 0; i < s.len; i++) {
    uint8_t c = s.data[i], p = i ? s.data[i - 1] : 0, n = i + 1 < s.len ? s.data[i + 1] : 0;
    if (c == '_' || c == '-' || c == ' ') {
      word_open = false;
      continue;
    }
    bool split = (islower(p) && isupper(c)) || (isupper(p) && isdigit(c)) || (isdigit(p) && isupper(c)) || (isdigit(p) && islower(c)) || (islower(p) && isdigit(c)) ||
                 (isupper(p) && isupper(c) && islower(n));
    bool starts = !word_open || split;
    if (starts && out.len && style == SNAKE) lc_buf_u8(&out, '_');
    if (starts && word_open) first_word = false;
    if (starts && !word_open && out.len) first_word = false;
    bool upper = starts && (style == PASCAL || (style == CAMEL && !first_word));
    lc_buf_u8(&out, c >= 0x80 ? c : (uint8_t)(upper ? toupper(c) : tolower(c)));
    word_open = true;
  }
  struct lc_slice copy = lc_arena_copy(d->arena, lc_buf_slice(&out));
  lc_buf_free(&out);
  return copy;
}

static struct lc_slice canonical(struct decoder *d, int kind, struct lc_slice source, int style) {
  for (uint32_t i = 0; i < d->n_explicit[kind]; i++)
    if (lc_slice_eq(d->explicit_names[kind][i].source, source)) return d->explicit_names[kind][i].canonical;
  return kind == 2 ? lc_slice(NULL, 0) : convert(d, source, style);
}

/* Field and variant names anywhere in a type; special types are left alone, except for what Option and Result hold refs to. */
static const struct lc_type *convert_type(struct decoder *d, const struct lc_type *t) {
  if (!d->convert || t->special != LC_SPECIAL_NONE || t->kind >= LC_T_STRING || t->kind == LC_T_REF) return t;
  if (t->kind == LC_T_ARRAY) return lc_type_new_array(d->arena, convert_type(d, t->elem));
  struct lc_type_field *f = items(d, t->n_fields, sizeof *f);
  for (uint32_t i = 0; i < t->n_fields; i++) {
    f[i] = t->fields[i];
    if (f[i].has_name) f[i].name = convert(d, f[i].name, t->kind == LC_T_SUM ? CAMEL : SNAKE);
    f[i].type = convert_type(d, f[i].type);
  }
  return t->kind == LC_T_SUM ? lc_type_new_sum(d->arena, t->n_fields, f) : lc_type_new_product(d->arena, t->n_fields, f);
}

/* Parameters with canonical names; the list itself is never a special type, whatever its names look like. */
static const struct lc_type *canonical_params(struct decoder *d, const struct lc_type *params) {
  if (!d->convert) return params;
  struct lc_type_field *f = items(d, params->n_fields, sizeof *f);
  for (uint32_t i = 0; i < params->n_fields; i++) {
    f[i] = params->fields[i];
    if (f[i].has_name) f[i].name = convert(d, f[i].name, SNAKE);
    f[i].type = convert_type(d, f[i].type);
  }
  return lc_type_new_product(d->arena, params->n_fields, f);
}

/* Puts the converted types into the definition's typespace; the ones read stay in source_types. */
static void convert_typespace(struct decoder *d) {
  struct lc_typespace *ts = &d->def->typespace;
  d->source_types = ts->types;
  ts->types = items(d, ts->n, sizeof *ts->types);
  for (uint32_t i = 0; i < ts->n; i++) ts->types[i] = convert_type(d, d->source_types[i]);
}

static struct lc_slice generated(struct decoder *d, struct lc_slice table, const struct lc_type *row, uint32_t n, const uint16_t *columns, const char *suffix) {
  struct lc_buf b = {0};
  lc_buf_slice_append(&b, table);
  for (uint32_t i = 0; i < n; i++) {
    lc_buf_u8(&b, '_');
    if (columns[i] < row->n_fields && row->fields[columns[i]].has_name) lc_buf_slice_append(&b, row->fields[columns[i]].name);
    else lc_buf_printf(&b, "col_%u", columns[i]);
  }
  lc_buf_str(&b, suffix);
  struct lc_slice copy = lc_arena_copy(d->arena, lc_buf_slice(&b));
  lc_buf_free(&b);
  return copy;
}

/* ---- parts shared by V9 and V10 ---- */

static void read_typespace(struct decoder *d) {
  uint32_t n = count(d);
  d->def->typespace.types = items(d, n, sizeof(struct lc_type *));
  d->def->typespace.n = n;
  for (uint32_t i = 0; i < n; i++) d->def->typespace.types[i] = type(d);
}

static struct raw_type *read_types(struct decoder *d, uint32_t *n_types) {
  uint32_t n = count(d);
  struct raw_type *types = items(d, n, sizeof *types);
  for (uint32_t i = 0; i < n && !d->r.failed; i++) {
    struct raw_type *t = &types[i];
    t->n_scope = count(d);
    t->scope = items(d, t->n_scope, sizeof *t->scope);
    for (uint32_t k = 0; k < t->n_scope; k++) t->scope[k] = str(d);
    t->name = str(d);
    t->type_ref = lc_read_u32(&d->r);
    t->custom_ordering = lc_read_u8(&d->r) != 0;
  }
  *n_types = n;
  return types;
}

int types_compare_slices(struct lc_slice a, struct lc_slice b) {
  size_t n = a.len < b.len ? a.len : b.len;
  int c = n ? memcmp(a.data, b.data, n) : 0;
  return c ? c : a.len < b.len ? -1 : a.len > b.len;
}

static int compare_slice_pointers(const void *a, const void *b) { return types_compare_slices(*(const struct lc_slice *)a, *(const struct lc_slice *)b); }

int types_compare_type_names(const struct lc_type_def *a, const struct lc_type_def *b) {
  for (uint32_t i = 0; i < a->n_scope && i < b->n_scope; i++) {
    int c = types_compare_slices(a->scope[i], b->scope[i]);
    if (c) return c;
  }
  if (a->n_scope != b->n_scope) return a->n_scope < b->n_scope ? -1 : 1;
  return types_compare_slices(a->name, b->name);
}
static int compare_type_pointers(const void *a, const void *b) { return types_compare_type_names(*(const struct lc_type_def *const *)a, *(const struct lc_type_def *const *)b); }

/* Named types: references in range, canonical names valid and used once (spec/01 §14.1, §14.2). */
static enum lc_status build_types(struct decoder *d, uint32_t n, const struct raw_type *raw) {
  struct lc_type_def *types = items(d, n, sizeof *types);
  const struct lc_type_def **sorted = items(d, n, sizeof *sorted);
  for (uint32_t i = 0; i < n; i++) {
    if (raw[i].type_ref >= d->def->typespace.n) {
      struct lc_buf scope = {0};
      for (uint32_t k = 0; k < raw[i].n_scope; k++) lc_buf_printf(&scope, "\"%.*s\"::", S(raw[i].scope[k]));
      enum lc_status st = invalid(d, "Type %.*s\"%.*s\" has invalid ref: &%u", S(scope), S(raw[i].name), raw[i].type_ref);
      lc_buf_free(&scope);
      return st;
    }
    struct lc_slice *scope = items(d, raw[i].n_scope, sizeof *scope);
    bool ok = true;
    for (uint32_t k = 0; k < raw[i].n_scope; k++) {
      scope[k] = convert(d, raw[i].scope[k], PASCAL);
      ok = ok && identifier_ok(scope[k]);
    }
    types[i] = (struct lc_type_def){raw[i].n_scope, scope, convert(d, raw[i].name, PASCAL), raw[i].type_ref, raw[i].custom_ordering};
    if (!ok || !identifier_ok(types[i].name)) return invalid(d, "`%.*s` is not a valid type name (IdentifierError)", S(raw[i].name));
    sorted[i] = &types[i];
  }
  qsort(sorted, n, sizeof *sorted, compare_type_pointers);
  for (uint32_t i = 1; i < n; i++)
    if (types_compare_type_names(sorted[i - 1], sorted[i]) == 0) return invalid(d, "type name `%.*s` is used twice (DuplicateTypeName)", S(sorted[i]->name));
  d->def->types = types;
  d->def->n_types = n;
  return LC_OK;
}

static void read_index(struct decoder *d, struct lc_index_def *ix) {
  ix->source_name = opt_str(d);
  ix->accessor = opt_str(d);
  uint8_t kind = lc_read_u8(&d->r);
  static const enum lc_index_kind kinds[] = {LC_INDEX_BTREE, LC_INDEX_HASH, LC_INDEX_DIRECT};
  if (kind > 2) {
    d->r.failed = true;
    return;
  }
  ix->kind = kinds[kind];
  if (kind == 2) {
    uint16_t *c = items(d, 1, sizeof *c);
    *c = lc_read_u16(&d->r);
    ix->columns = c;
    ix->n_columns = 1;
  } else {
    ix->columns = cols(d, &ix->n_columns);
  }
}

static enum lc_status read_table(struct decoder *d, struct raw_table *t, bool v10) {
  t->source = str(d);
  t->type_ref = lc_read_u32(&d->r);
  t->pk = cols(d, &t->n_pk);
  t->n_indexes = count(d);
  t->indexes = items(d, t->n_indexes, sizeof *t->indexes);
  for (uint32_t i = 0; i < t->n_indexes; i++) read_index(d, &t->indexes[i]);
  t->n_constraints = count(d);
  t->constraints = items(d, t->n_constraints, sizeof *t->constraints);
  for (uint32_t i = 0; i < t->n_constraints; i++) {
    t->constraints[i].name = opt_str(d);
    if (lc_read_u8(&d->r) != 0) d->r.failed = true;
    t->constraints[i].columns = cols(d, &t->constraints[i].n_columns);
  }
  t->n_sequences = count(d);
  t->sequences = items(d, t->n_sequences, sizeof *t->sequences);
  for (uint32_t i = 0; i < t->n_sequences; i++) {
    bool unsupported[3] = {false, false, false};
    static const char *const options[] = {"start", "min_value", "max_value"};
    t->sequences[i].name = opt_str(d);
    t->sequences[i].column = lc_read_u16(&d->r);
    for (int k = 0; k < 3; k++) skip_opt_i128(d, t->sequences[i].name, options[k], &unsupported[k]);
    uint64_t low = lc_read_u64(&d->r), high = lc_read_u64(&d->r);
    for (int k = 0; k < 3; k++)
      if (unsupported[k]) return invalid(d, "sequence definition `%.*s` specifies unsupported option `%s`, should be None", S(t->sequences[i].name), options[k]);
    if (!d->r.failed && (low != 1 || high != 0))
      return invalid(d, "sequence definition `%.*s` specifies unsupported option `increment` with value %llu, should be 1", S(t->sequences[i].name), (unsigned long long)low);
  }
  if (!v10 && opt(d)) {
    t->has_schedule = true;
    opt_str(d);
    t->schedule.function = str(d);
    t->schedule.at_column = lc_read_u16(&d->r);
  }
  t->is_system = lc_read_u8(&d->r) == 0;
  t->is_public = lc_read_u8(&d->r) == 0;
  if (!v10) return LC_OK;
  t->n_defaults = count(d);
  t->defaults = items(d, t->n_defaults, sizeof *t->defaults);
  for (uint32_t i = 0; i < t->n_defaults; i++) {
    t->defaults[i].column = lc_read_u16(&d->r);
    t->defaults[i].value = bytes(d);
  }
  t->is_event = lc_read_u8(&d->r) != 0;
  return LC_OK;
}

static bool same_column_set(uint32_t n, const uint16_t *a, uint32_t m, const uint16_t *b) {
  if (n != m) return false;
  for (uint32_t i = 0; i < n; i++) {
    bool found = false;
    for (uint32_t k = 0; k < m; k++) found = found || a[i] == b[k];
    if (!found) return false;
  }
  return true;
}

static enum lc_status check_columns(struct decoder *d, uint32_t n_columns, uint32_t n, const uint16_t *columns, struct lc_slice name) {
  for (uint32_t i = 0; i < n; i++) {
    if (columns[i] >= n_columns) return invalid(d, "column %u of `%.*s` not found (ColumnNotFound)", columns[i], S(name));
    for (uint32_t k = 0; k < i; k++)
      if (columns[k] == columns[i]) return invalid(d, "`%.*s` has duplicate columns (DuplicateColumns)", S(name));
  }
  return LC_OK;
}

static enum lc_status build_table(struct decoder *d, const struct raw_table *raw, struct lc_table_def *t) {
  const struct lc_typespace *ts = &d->def->typespace;
  if (raw->type_ref >= ts->n || ts->types[raw->type_ref]->kind != LC_T_PRODUCT) return invalid(d, "table `%.*s` has invalid product type ref &%u (InvalidProductTypeRef)", S(raw->source), raw->type_ref);
  t->accessor = raw->source;
  t->name = canonical(d, 0, raw->source, SNAKE);
  t->type_ref = raw->type_ref;
  t->typespace = ts;
  t->is_public = raw->is_public;
  t->is_event = raw->is_event;
  t->is_system = raw->is_system;
  if (!identifier_ok(t->name) || !identifier_ok(t->accessor)) return invalid(d, "`%.*s` is not a valid table name (IdentifierError)", S(raw->source));
  if (t->name.len >= 3 && memcmp(t->name.data, "st_", 3) == 0 && !raw->is_system) return invalid(d, "table name `%.*s` is reserved for system tables (TableNameReserved)", S(t->name));
  const struct lc_type *source_row = d->source_types[raw->type_ref], *row;
  enum lc_status st = lc_type_resolve(d->arena, ts, ts->types[raw->type_ref], &t->row_type, d->err);
  if (st != LC_OK) return lc_fail_context(d->err, "Errors occurred:\ntable `%.*s`", S(t->name));
  row = t->row_type;
  t->n_columns = row->n_fields;
  struct lc_column_def *columns = items(d, t->n_columns, sizeof *columns);
  t->columns = columns;
  for (uint32_t i = 0; i < t->n_columns; i++) {
    if (!row->fields[i].has_name) return invalid(d, "column %u of table `%.*s` has no name (UnnamedColumn)", i, S(t->name));
    columns[i] = (struct lc_column_def){.name = row->fields[i].name, .accessor = source_row->fields[i].name, .type = row->fields[i].type};
    if (!identifier_ok(columns[i].name) || !identifier_ok(columns[i].accessor)) return invalid(d, "`%.*s` is not a valid column name in table `%.*s` (IdentifierError)", S(columns[i].accessor), S(t->name));
  }
  static const char *const suffix[] = {"_idx_btree", "_idx_hash", "_idx_direct"};
  t->n_indexes = raw->n_indexes;
  t->indexes = raw->indexes;
  for (uint32_t i = 0; i < raw->n_indexes; i++) {
    struct lc_index_def *ix = &raw->indexes[i];
    if (d->def->raw_version == 10) {
      if (!ix->source_name.data) return invalid(d, "an index of table `%.*s` has no source name", S(t->name));
      ix->name = canonical(d, 2, ix->source_name, SNAKE);
    } else {
      ix->name = ix->source_name;
    }
    if (!ix->name.data) ix->name = generated(d, t->name, row, ix->n_columns, ix->columns, suffix[ix->kind]);
    if (!ix->source_name.data) ix->source_name = ix->name;
    if (ix->n_columns == 0) return invalid(d, "index `%.*s` has no columns", S(ix->name));
    if ((st = check_columns(d, t->n_columns, ix->n_columns, ix->columns, ix->name)) != LC_OK) return st;
  }
  t->n_constraints = raw->n_constraints;
  t->constraints = raw->constraints;
  for (uint32_t i = 0; i < raw->n_constraints; i++) {
    struct lc_constraint_def *c = &raw->constraints[i];
    if (d->def->raw_version == 10 || !c->name.data) c->name = generated(d, t->name, row, c->n_columns, c->columns, "_key");
    if ((st = check_columns(d, t->n_columns, c->n_columns, c->columns, c->name)) != LC_OK) return st;
    bool indexed = false;
    for (uint32_t k = 0; k < raw->n_indexes; k++) indexed = indexed || same_column_set(c->n_columns, c->columns, raw->indexes[k].n_columns, raw->indexes[k].columns);
    if (!indexed) return invalid(d, "unique constraint `%.*s` has no index over the same columns (UniqueConstraintWithoutIndex)", S(c->name));
  }
  t->primary_key = -1;
  if (raw->n_pk > 1) return invalid(d, "table `%.*s` has more than one primary key column (RepeatedPrimaryKey)", S(t->name));
  if (raw->n_pk == 1) {
    if ((st = check_columns(d, t->n_columns, 1, raw->pk, t->accessor)) != LC_OK) return st;
    bool unique = false;
    for (uint32_t i = 0; i < raw->n_constraints; i++) unique = unique || (raw->constraints[i].n_columns == 1 && raw->constraints[i].columns[0] == raw->pk[0]);
    if (!unique) return invalid(d, "column `%.*s` is primary key but has no unique constraint (MissingPrimaryKeyUniqueConstraint)", S(columns[raw->pk[0]].name));
    t->primary_key = raw->pk[0];
  }
  t->n_sequences = raw->n_sequences;
  t->sequences = raw->sequences;
  for (uint32_t i = 0; i < raw->n_sequences; i++) {
    struct lc_sequence_def *q = &raw->sequences[i];
    if (!q->name.data) q->name = generated(d, t->name, row, 1, &q->column, "_seq");
    if ((st = check_columns(d, t->n_columns, 1, &q->column, q->name)) != LC_OK) return st;
    enum lc_type_kind k = columns[q->column].type->kind;
    if (k < LC_T_I8 || k > LC_T_U256) return invalid(d, "sequence `%.*s` is on a column that is not an integer (InvalidSequenceColumnType)", S(q->name));
    for (uint32_t o = 0; o < i; o++)
      if (raw->sequences[o].column == q->column) return invalid(d, "column `%.*s` has two sequences (OneAutoInc)", S(columns[q->column].name));
  }
  for (uint32_t i = 0; i < raw->n_defaults; i++) {
    const struct raw_default *def = &raw->defaults[i];
    if ((st = check_columns(d, t->n_columns, 1, &def->column, t->accessor)) != LC_OK) return st;
    struct lc_reader r = lc_reader(def->value);
    if (lc_bsatn_validate(columns[def->column].type, NULL, &r, d->err) != LC_OK) return invalid(d, "default of column `%.*s` does not decode (ColumnDefaultValueMalformed)", S(columns[def->column].name));
    columns[def->column].has_default = true;
    columns[def->column].default_bsatn = def->value;
  }
  return LC_OK;
}

/* By source name; else by canonical name, which is what an exported schema has in schedules and lifecycle entries (spec/01 §15). */
static struct lc_function_def *find_function(struct lc_function_def *f, uint32_t n, struct lc_slice name) {
  for (uint32_t i = 0; i < n; i++)
    if (lc_slice_eq(f[i].accessor, name)) return &f[i];
  for (uint32_t i = 0; i < n; i++)
    if (lc_slice_eq(f[i].name, name)) return &f[i];
  return NULL;
}
static struct lc_table_def *find_table(struct lc_table_def *t, uint32_t n, struct lc_slice name) {
  for (uint32_t i = 0; i < n; i++)
    if (lc_slice_eq(t[i].accessor, name)) return &t[i];
  for (uint32_t i = 0; i < n; i++)
    if (lc_slice_eq(t[i].name, name)) return &t[i];
  return NULL;
}

static enum lc_status build_schedule(struct decoder *d, struct lc_table_def *t, const struct raw_schedule *s, struct lc_function_def *reducers, struct lc_function_def *procedures) {
  struct lc_function_def *f = find_function(reducers, d->def->n_reducers, s->function);
  bool is_procedure = !f;
  if (!f) f = find_function(procedures, d->def->n_procedures, s->function);
  if (t->has_schedule) return invalid(d, "name `%.*s` is used twice (DuplicateName)", S(t->schedule_name));
  if (t->is_event) return invalid(d, "scheduled table %.*s must not be an event table", S(t->name));
  if (!f) return invalid(d, "schedule `%.*s_sched` names a missing function `%.*s` (MissingScheduledFunction)", S(t->name), S(s->function));
  if (s->at_column >= t->n_columns || t->columns[s->at_column].type->special != LC_SPECIAL_SCHEDULE_AT || t->primary_key < 0 || t->columns[t->primary_key].type->kind != LC_T_U64)
    return invalid(d, "A scheduled table must have columns `scheduled_id: u64` and `scheduled_at: ScheduledAt`, but table `%.*s` has not (ScheduledIncorrectColumns)", S(t->name));
  if (f->params->n_fields != 1 || f->params->fields[0].type->kind != LC_T_REF || f->params->fields[0].type->ref != t->type_ref)
    return invalid(d, "scheduled function `%.*s` must take exactly one row of `%.*s` (IncorrectScheduledFunctionParams)", S(f->name), S(t->name));
  t->has_schedule = true;
  t->schedule_name = generated(d, t->name, t->row_type, 0, NULL, "_sched");
  t->schedule_function = f->name;
  t->schedule_at_column = s->at_column;
  t->schedule_is_procedure = is_procedure;
  if (d->def->raw_version == 10) f->is_private = true;
  return LC_OK;
}

static void build_functions(struct decoder *d, uint32_t n, struct lc_function_def *f) {
  for (uint32_t i = 0; i < n; i++) {
    f[i].name = canonical(d, 1, f[i].accessor, SNAKE);
    f[i].canonical_params = canonical_params(d, f[i].params);
    f[i].typespace = &d->def->typespace;
  }
}

/* The row type a view returns: Option(Ref), Array(Ref) or { __query__: Ref } (spec/01 §14.2). */
static enum lc_status build_view(struct decoder *d, struct lc_view_def *v, const struct lc_type *ret) {
  const struct lc_type *inner = NULL;
  v->primary_key = -1;
  v->return_type = ret;
  v->canonical_params = canonical_params(d, v->params);
  for (uint32_t i = 0; i < v->params->n_fields; i++)
    if (v->params->fields[i].type->kind >= LC_T_F32) return invalid(d, "View %.*s has a float parameter `%.*s`, which views can't take yet", S(v->name), S(v->params->fields[i].name));
  if (ret->special == LC_SPECIAL_OPTION) inner = ret->fields[0].type;
  else if (ret->kind == LC_T_ARRAY) inner = ret->elem;
  else if (ret->kind == LC_T_PRODUCT && ret->n_fields == 1 && ret->fields[0].has_name && lc_slice_eq_str(ret->fields[0].name, "__query__")) {
    inner = ret->fields[0].type;
    v->is_query = true;
  }
  if (!inner || inner->kind != LC_T_REF) return invalid(d, "view `%.*s` has an invalid return type (InvalidViewReturnType)", S(v->name));
  if (inner->ref >= d->def->typespace.n || d->def->typespace.types[inner->ref]->kind != LC_T_PRODUCT) return invalid(d, "view `%.*s` returns &%u, which is no product (InvalidProductTypeRef)", S(v->name), inner->ref);
  v->typespace = &d->def->typespace;
  if (lc_type_resolve(d->arena, v->typespace, inner, &v->row_type, d->err) != LC_OK) return lc_fail_context(d->err, "Errors occurred:\nview `%.*s`", S(v->name));
  struct lc_column_def *columns = items(d, v->row_type->n_fields, sizeof *columns);
  for (uint32_t i = 0; i < v->row_type->n_fields; i++)
    columns[i] = (struct lc_column_def){.name = v->row_type->fields[i].name, .accessor = d->source_types[inner->ref]->fields[i].name, .type = v->row_type->fields[i].type};
  v->columns = columns;
  v->n_columns = v->row_type->n_fields;
  return LC_OK;
}

/* The names of one name space, to find one that is used twice. */
struct name_list { uint32_t n, cap; struct lc_slice *names; };

static void add_name(struct decoder *d, struct name_list *l, struct lc_slice name) {
  if (l->n == l->cap) {
    l->cap = l->cap ? 2 * l->cap : 64;
    struct lc_slice *grown = items(d, l->cap, sizeof *grown);
    if (l->n) memcpy(grown, l->names, l->n * sizeof *grown);
    l->names = grown;
  }
  l->names[l->n++] = name;
}
static const struct lc_slice *repeated_name(struct name_list *l) {
  if (l->n == 0) return NULL;
  qsort(l->names, l->n, sizeof *l->names, compare_slice_pointers);
  for (uint32_t i = 1; i < l->n; i++)
    if (lc_slice_eq(l->names[i - 1], l->names[i])) return &l->names[i];
  return NULL;
}

/* Valid and unrepeated names of functions and of everything a database has by name (spec/01 §14.1). */
static enum lc_status check_names(struct decoder *d) {
  const struct lc_module_def *def = d->def;
  struct name_list functions = {0}, global = {0};
  const struct lc_slice *twice;
  for (uint32_t i = 0; i < def->n_reducers + def->n_procedures; i++) {
    const struct lc_function_def *f = i < def->n_reducers ? &def->reducers[i] : &def->procedures[i - def->n_reducers];
    if (!identifier_ok(f->name)) return invalid(d, "`%.*s` is not a valid function name (IdentifierError)", S(f->accessor));
    add_name(d, &functions, f->name);
  }
  for (uint32_t i = 0; i < def->n_views; i++) {
    if (!identifier_ok(def->views[i].name)) return invalid(d, "`%.*s` is not a valid view name (IdentifierError)", S(def->views[i].accessor));
    add_name(d, &functions, def->views[i].name);
    add_name(d, &global, def->views[i].name);
  }
  for (uint32_t i = 0; i < def->n_tables; i++) {
    const struct lc_table_def *t = &def->tables[i];
    add_name(d, &global, t->accessor);
    if (!lc_slice_eq(t->accessor, t->name)) add_name(d, &global, t->name);
    for (uint32_t k = 0; k < t->n_indexes; k++) {
      add_name(d, &global, t->indexes[k].source_name);
      if (!lc_slice_eq(t->indexes[k].source_name, t->indexes[k].name)) add_name(d, &global, t->indexes[k].name);
    }
    for (uint32_t k = 0; k < t->n_constraints; k++) add_name(d, &global, t->constraints[k].name);
    for (uint32_t k = 0; k < t->n_sequences; k++) add_name(d, &global, t->sequences[k].name);
    if (t->has_schedule) add_name(d, &global, t->schedule_name);
  }
  if ((twice = repeated_name(&global))) return invalid(d, "name `%.*s` is used twice (DuplicateName)", S(*twice));
  if ((twice = repeated_name(&functions))) return invalid(d, "function name `%.*s` is used twice (DuplicateFunctionName)", S(*twice));
  return LC_OK;
}

/* ---- V10 ---- */

struct v10 {
  uint32_t n_tables, n_schedules, n_lifecycles, n_view_keys, n_types;
  struct raw_type *types;
  struct raw_table *tables;
  struct raw_schedule *schedules;
  struct raw_lifecycle *lifecycles;
  struct raw_view_key *view_keys;
  struct lc_function_def *reducers, *procedures;
  struct lc_view_def *views;
  const struct lc_type **view_returns;
};

static const struct lc_http_route_def *read_routes(struct decoder *d, uint32_t n) {
  struct lc_http_route_def *routes = items(d, n, sizeof *routes);
  for (uint32_t i = 0; i < n && !d->r.failed; i++) {
    routes[i].handler = str(d);
    routes[i].method = LC_ROUTE_ANY;
    uint8_t specific = lc_read_u8(&d->r), method = specific == 1 ? lc_read_u8(&d->r) : 0;
    if (specific > 1 || method > LC_ROUTE_EXTENSION) d->r.failed = true;
    if (specific == 1) routes[i].method = (enum lc_route_method)method;
    if (specific == 1 && method == LC_ROUTE_EXTENSION) routes[i].extension = str(d);
    routes[i].path = str(d);
  }
  return routes;
}

/* Handlers named once, routes with a lawful path and an existing handler, no two for one request (spec/01 §14.2). */
static enum lc_status build_http(struct decoder *d) {
  struct lc_module_def *def = d->def;
  struct lc_slice *names = items(d, def->n_http_handlers, sizeof *names);
  for (uint32_t i = 0; i < def->n_http_handlers; i++) {
    names[i] = canonical(d, 1, def->http_handlers[i], SNAKE);
    if (!identifier_ok(names[i])) return invalid(d, "`%.*s` is not a valid HTTP handler name (IdentifierError)", S(def->http_handlers[i]));
    for (uint32_t k = 0; k < i; k++)
      if (lc_slice_eq(names[k], names[i])) return invalid(d, "HTTP handler name `%.*s` is used twice (DuplicateHttpHandlerName)", S(names[i]));
  }
  def->http_handler_names = names;
  for (uint32_t i = 0; i < def->n_http_routes; i++) {
    const struct lc_http_route_def *r = &def->http_routes[i];
    bool lawful = r->path.len == 0 || r->path.data[0] == '/', found = false;
    for (size_t k = 0; k < r->path.len && lawful; k++) lawful = islower(r->path.data[k]) || isdigit(r->path.data[k]) || strchr("-_~/", r->path.data[k]);
    if (!lawful || memchr(r->path.data, 0, r->path.len)) return invalid(d, "HTTP route path `%.*s` may only have a-z, 0-9, -, _, ~ and /, and begins with / (InvalidHttpRoutePath)", S(r->path));
    for (uint32_t k = 0; k < def->n_http_handlers; k++) found = found || lc_slice_eq(def->http_handlers[k], r->handler);
    if (!found) return invalid(d, "HTTP route `%.*s` names a missing handler `%.*s` (MissingHttpHandler)", S(r->path), S(r->handler));
    for (uint32_t k = 0; k < i; k++) {
      const struct lc_http_route_def *o = &def->http_routes[k];
      bool same = r->method == LC_ROUTE_ANY || o->method == LC_ROUTE_ANY || (r->method == o->method && lc_slice_eq(r->extension, o->extension));
      if (same && lc_slice_eq(o->path, r->path)) return invalid(d, "two HTTP routes for `%.*s` take the same requests (DuplicateHttpRoute)", S(r->path));
    }
  }
  return LC_OK;
}

/* ---- environment declarations (spec/07 §4.1, §4.2) ---- */

enum { ENV_MAX = 256, ENV_KEY_MAX_BYTES = 256, ENV_VALUE_MAX_BYTES = 8192, ENV_UNION_MAX = 256, ENV_SCHEMA_MAX_BYTES = 2097152 };

static enum lc_status environment_error(struct decoder *d, const struct lc_env_def *e, const char *what) {
  return e ? invalid(d, "invalid environment declaration: environment key \"%.*s\": %s", S(e->name), what) : invalid(d, "invalid environment declaration: %s", what);
}

static bool environment_name_ok(struct lc_slice s) {
  if (s.len == 0 || s.len > ENV_KEY_MAX_BYTES) return false;
  for (size_t i = 0; i < s.len; i++)
    if (!(s.data[i] == '_' || (s.data[i] < 0x80 && isalpha(s.data[i])) || (i && isdigit(s.data[i])))) return false;
  return true;
}

static enum lc_status check_environment(struct decoder *d, uint32_t n, struct lc_env_def *env) {
  if (n > ENV_MAX) return environment_error(d, NULL, "too many declarations");
  size_t schema_bytes = 0;
  for (uint32_t i = 0; i < n; i++) {
    struct lc_env_def *e = &env[i];
    if (!environment_name_ok(e->name)) return environment_error(d, NULL, "invalid name");
    if ((schema_bytes += e->name.len) > ENV_SCHEMA_MAX_BYTES) return environment_error(d, e, "declaration schema exceeds size limit");
    if (e->kind == LC_ENV_UNION && e->n_literals == 0) return environment_error(d, e, "string union must not be empty");
    if (e->n_literals > ENV_UNION_MAX) return environment_error(d, e, "string union has too many entries");
    for (uint32_t k = 0; k < e->n_literals; k++) {
      if (e->literals[k].len > ENV_VALUE_MAX_BYTES) return environment_error(d, e, "declared literal exceeds value size limit");
      if ((schema_bytes += e->literals[k].len) > ENV_SCHEMA_MAX_BYTES) return environment_error(d, e, "declaration schema exceeds size limit");
    }
  }
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t k = 0; k < i; k++)
      if (lc_slice_eq(env[i].name, env[k].name)) return environment_error(d, &env[i], "duplicate declaration");
  return LC_OK;
}

static enum lc_status read_environment(struct decoder *d) {
  uint32_t n = count(d);
  struct lc_env_def *env = items(d, n, sizeof *env);
  for (uint32_t i = 0; i < n && !d->r.failed; i++) {
    env[i].name = str(d);
    uint8_t kind = lc_read_u8(&d->r);
    if (kind > LC_ENV_UNION) return lc_fail(d->err, LC_INVALID, "error decoding module description: unknown tag 0x%x for sum type EnvVarType", kind);
    env[i].kind = (enum lc_env_kind)kind;
    env[i].n_literals = kind == LC_ENV_LITERAL ? 1 : kind == LC_ENV_UNION ? count(d) : 0;
    struct lc_slice *literals = items(d, env[i].n_literals, sizeof *literals);
    for (uint32_t k = 0; k < env[i].n_literals; k++) literals[k] = str(d);
    env[i].literals = literals;
    env[i].optional = lc_read_u8(&d->r) != 0;
  }
  if (d->r.failed) return LC_OK; /* reported by the caller */
  enum lc_status st = check_environment(d, n, env);
  for (uint32_t i = 0; i < n && st == LC_OK; i++) {
    if (env[i].kind != LC_ENV_UNION) continue;
    struct lc_slice *literals = (struct lc_slice *)env[i].literals;
    uint32_t kept = 0;
    qsort(literals, env[i].n_literals, sizeof *literals, compare_slice_pointers);
    for (uint32_t k = 0; k < env[i].n_literals; k++)
      if (kept == 0 || !lc_slice_eq(literals[kept - 1], literals[k])) literals[kept++] = literals[k];
    env[i].n_literals = kept;
  }
  d->def->env = env;
  d->def->n_env = n;
  return st;
}

static enum lc_status read_section(struct decoder *d, uint8_t tag, struct v10 *v) {
  struct lc_module_def *def = d->def;
  uint32_t n;
  switch (tag) {
  case 0x00: read_typespace(d); break;
  case 0x01: v->types = read_types(d, &v->n_types); break;
  case 0x02:
    v->n_tables = count(d);
    v->tables = items(d, v->n_tables, sizeof *v->tables);
    for (uint32_t i = 0; i < v->n_tables && !d->r.failed; i++) {
      enum lc_status st = read_table(d, &v->tables[i], true);
      if (st != LC_OK) return st;
    }
    break;
  case 0x03:
  case 0x04:
    n = count(d);
    struct lc_function_def *f = items(d, n, sizeof *f);
    for (uint32_t i = 0; i < n && !d->r.failed; i++) {
      f[i].accessor = str(d);
      f[i].params = bare_product(d);
      if (tag == 0x04) f[i].ok_type = type(d);
      f[i].is_private = lc_read_u8(&d->r) == 0;
      if (tag == 0x03) {
        f[i].ok_type = type(d);
        f[i].err_type = type(d);
      }
    }
    if (tag == 0x03) {
      v->reducers = f;
      def->n_reducers = n;
    } else {
      v->procedures = f;
      def->n_procedures = n;
    }
    break;
  case 0x05:
    def->n_views = count(d);
    v->views = items(d, def->n_views, sizeof *v->views);
    v->view_returns = items(d, def->n_views, sizeof *v->view_returns);
    for (uint32_t i = 0; i < def->n_views && !d->r.failed; i++) {
      v->views[i].accessor = str(d);
      v->views[i].fn_index = lc_read_u32(&d->r);
      v->views[i].is_public = lc_read_u8(&d->r) != 0;
      v->views[i].is_anonymous = lc_read_u8(&d->r) != 0;
      v->views[i].params = bare_product(d);
      v->view_returns[i] = type(d);
    }
    break;
  case 0x06:
    v->n_schedules = count(d);
    v->schedules = items(d, v->n_schedules, sizeof *v->schedules);
    for (uint32_t i = 0; i < v->n_schedules; i++) {
      opt_str(d);
      v->schedules[i].table = str(d);
      v->schedules[i].at_column = lc_read_u16(&d->r);
      v->schedules[i].function = str(d);
    }
    break;
  case 0x07:
    v->n_lifecycles = count(d);
    v->lifecycles = items(d, v->n_lifecycles, sizeof *v->lifecycles);
    for (uint32_t i = 0; i < v->n_lifecycles; i++) {
      v->lifecycles[i].kind = lc_read_u8(&d->r);
      v->lifecycles[i].function = str(d);
      if (v->lifecycles[i].kind > 2) d->r.failed = true;
    }
    break;
  case 0x08: {
    def->n_rls = count(d);
    struct lc_slice *sql = items(d, def->n_rls, sizeof *sql);
    for (uint32_t i = 0; i < def->n_rls; i++) sql[i] = str(d);
    def->rls_sql = sql;
    break;
  }
  case 0x09: d->convert = lc_read_u8(&d->r) == 1; break;
  case 0x0a:
    n = count(d);
    for (int k = 0; k < 4; k++) d->explicit_names[k] = items(d, n, sizeof(struct name_pair));
    for (uint32_t i = 0; i < n && !d->r.failed; i++) {
      uint8_t kind = lc_read_u8(&d->r);
      if (kind > 3) return lc_fail(d->err, LC_INVALID, "unknown tag 0x%x for sum type ExplicitNameEntry", kind);
      struct name_pair p = {str(d), str(d)};
      d->explicit_names[kind][d->n_explicit[kind]++] = p;
    }
    break;
  case 0x0b: {
    def->n_http_handlers = count(d);
    struct lc_slice *names = items(d, def->n_http_handlers, sizeof *names);
    for (uint32_t i = 0; i < def->n_http_handlers; i++) names[i] = str(d);
    def->http_handlers = names;
    break;
  }
  case 0x0c:
    n = count(d);
    def->http_routes = read_routes(d, n);
    def->n_http_routes = n;
    break;
  case 0x0d:
    v->n_view_keys = count(d);
    v->view_keys = items(d, v->n_view_keys, sizeof *v->view_keys);
    for (uint32_t i = 0; i < v->n_view_keys && !d->r.failed; i++) {
      v->view_keys[i].view = str(d);
      uint32_t columns = count(d);
      for (uint32_t k = 0; k < columns; k++) v->view_keys[i].column = str(d);
      if (columns > 1) return invalid(d, "view `%.*s` has several primary key columns (MultipleViewPrimaryKeyColumns)", S(v->view_keys[i].view));
    }
    break;
  case 0x0e:
    if (lc_read_u32(&d->r) != 0) return lc_fail(d->err, LC_UNSUPPORTED, "module definitions with submodules are not supported yet");
    break;
  case 0x0f: return read_environment(d);
  case 0x10:
    if (lc_read_u32(&d->r) != 0) return lc_fail(d->err, LC_UNSUPPORTED, "module definitions with outboxes are not supported yet");
    break;
  default: return lc_fail(d->err, LC_INVALID, "error decoding module description: unknown tag 0x%x for sum type RawModuleDefV10Section", tag);
  }
  return LC_OK;
}

/* Declared keys of views; a query view without one has the key all keyed tables of its row type agree on (spec/01 §14.2, spec/07 §4.6). */
static enum lc_status build_view_keys(struct decoder *d, struct v10 *v) {
  const struct lc_module_def *def = d->def;
  for (uint32_t i = 0; i < v->n_view_keys; i++) {
    const struct raw_view_key *k = &v->view_keys[i];
    struct lc_view_def *view = NULL;
    for (uint32_t n = 0; n < def->n_views && !view; n++)
      if (lc_slice_eq(v->views[n].accessor, k->view)) view = &v->views[n];
    if (!view) return invalid(d, "a primary key names a missing view `%.*s` (ViewPrimaryKeyViewNotFound)", S(k->view));
    if (!k->column.data) continue;
    if (view->params->n_fields) return invalid(d, "View %.*s has parameters and cannot have a primary key", S(view->name));
    if (view->primary_key >= 0) return invalid(d, "view `%.*s` has two primary keys (RepeatedViewPrimaryKey)", S(view->name));
    struct lc_slice key = convert(d, k->column, SNAKE);
    for (uint32_t c = 0; c < view->row_type->n_fields; c++)
      if (view->row_type->fields[c].has_name && lc_slice_eq(view->row_type->fields[c].name, key)) view->primary_key = (int32_t)c;
    if (view->primary_key < 0) return invalid(d, "view `%.*s` has no column `%.*s` for its primary key (ViewPrimaryKeyColumnNotFound)", S(view->name), S(k->column));
  }
  for (uint32_t n = 0; n < def->n_views; n++) {
    struct lc_view_def *view = &v->views[n];
    if (!view->is_query || view->primary_key >= 0 || view->params->n_fields) continue;
    int32_t key = -1;
    for (uint32_t t = 0; t < def->n_tables; t++) {
      const struct lc_table_def *table = &def->tables[t];
      if (table->type_ref != view->return_type->fields[0].type->ref || table->primary_key < 0) continue;
      key = key == -1 || key == table->primary_key ? table->primary_key : -2;
    }
    view->primary_key = key < 0 ? -1 : key;
  }
  return LC_OK;
}

/* A repeated section must decode, but only the first of its kind counts. */
static enum lc_status skip_repeated(struct decoder *d, uint8_t tag) {
  struct v10 ignored = {0};
  struct lc_module_def def = *d->def;
  struct decoder before = *d;
  enum lc_status st = read_section(d, tag, &ignored);
  def.arena = d->def->arena;
  *d->def = def;
  before.r = d->r;
  *d = before;
  return st;
}

static enum lc_status decode_v10(struct decoder *d) {
  struct lc_module_def *def = d->def;
  struct v10 v = {0};
  enum lc_status st = LC_OK;
  uint32_t n = count(d), seen = 0;
  d->convert = true;
  for (uint32_t i = 0; i < n && st == LC_OK && !d->r.failed; i++) {
    uint8_t tag = lc_read_u8(&d->r);
    if (tag <= 0x10 && (seen >> tag & 1)) {
      st = skip_repeated(d, tag);
      continue;
    }
    if (tag <= 0x10) seen |= 1u << tag;
    st = read_section(d, tag, &v);
  }
  if (st != LC_OK) return st;
  if (d->r.failed) return lc_fail(d->err, LC_INVALID, "error decoding module description: data too short or malformed");
  convert_typespace(d);
  if ((st = build_types(d, v.n_types, v.types)) != LC_OK) return st;
  struct lc_table_def *tables = items(d, v.n_tables, sizeof *tables);
  def->tables = tables;
  def->n_tables = v.n_tables;
  def->reducers = v.reducers;
  def->procedures = v.procedures;
  def->views = v.views;
  for (uint32_t i = 0; i < v.n_tables; i++)
    if ((st = build_table(d, &v.tables[i], &tables[i])) != LC_OK) return st;
  for (uint32_t i = 0; i < def->n_reducers; i++)
    if (v.reducers[i].ok_type->kind != LC_T_PRODUCT || v.reducers[i].ok_type->n_fields || v.reducers[i].err_type->kind != LC_T_STRING)
      return invalid(d, "reducer `%.*s` must return unit or a String error (InvalidReducerReturnType)", S(v.reducers[i].accessor));
  build_functions(d, def->n_reducers, v.reducers);
  build_functions(d, def->n_procedures, v.procedures);
  for (uint32_t i = 0; i < def->n_views; i++) {
    v.views[i].name = canonical(d, 1, v.views[i].accessor, SNAKE);
    if ((st = build_view(d, &v.views[i], v.view_returns[i])) != LC_OK) return st;
  }
  if ((st = build_view_keys(d, &v)) != LC_OK) return st;
  for (uint32_t i = 0; i < v.n_schedules; i++) {
    struct lc_table_def *t = find_table(tables, v.n_tables, v.schedules[i].table);
    if (!t) return invalid(d, "schedule names a missing table `%.*s` (TableNotFound)", S(v.schedules[i].table));
    if ((st = build_schedule(d, t, &v.schedules[i], v.reducers, v.procedures)) != LC_OK) return st;
  }
  for (uint32_t i = 0; i < v.n_lifecycles; i++) {
    struct lc_function_def *f = find_function(v.reducers, def->n_reducers, v.lifecycles[i].function);
    enum lc_lifecycle kind = (enum lc_lifecycle)(v.lifecycles[i].kind + 1);
    if (!f) return invalid(d, "lifecycle event names a missing reducer `%.*s` (LifecycleWithoutReducer)", S(v.lifecycles[i].function));
    for (uint32_t k = 0; k < def->n_reducers; k++)
      if (v.reducers[k].lifecycle == kind || f->lifecycle) return invalid(d, "lifecycle event %u is declared twice (DuplicateLifecycle)", v.lifecycles[i].kind);
    f->lifecycle = kind;
    f->is_private = true;
  }
  if ((st = build_http(d)) != LC_OK) return st;
  return check_names(d);
}

/* ---- V9 ---- */

/* Gives each table the defaults the misc exports declare for it. */
static enum lc_status attach_defaults(struct decoder *d, uint32_t n, struct raw_table *tables, uint32_t n_defaults, const struct lc_slice *names, const struct raw_default *defaults) {
  for (uint32_t i = 0; i < n_defaults; i++) {
    struct raw_table *t = NULL;
    for (uint32_t k = 0; k < n && !t; k++)
      if (lc_slice_eq(tables[k].source, names[i])) t = &tables[k];
    if (!t) return invalid(d, "a column default names a missing table `%.*s` (TableNotFound)", S(names[i]));
    for (uint32_t k = 0; k < t->n_defaults; k++)
      if (t->defaults[k].column == defaults[i].column) return invalid(d, "column %u of table `%.*s` has two defaults (MultipleColumnDefaultValues)", defaults[i].column, S(names[i]));
    if ((t->n_defaults & (t->n_defaults - 1)) == 0) { /* grow to the next power of two */
      struct raw_default *grown = items(d, t->n_defaults ? 2 * t->n_defaults : 1, sizeof *grown);
      if (t->n_defaults) memcpy(grown, t->defaults, t->n_defaults * sizeof *grown);
      t->defaults = grown;
    }
    t->defaults[t->n_defaults++] = defaults[i];
  }
  return LC_OK;
}

static enum lc_status decode_v9(struct decoder *d) {
  struct lc_module_def *def = d->def;
  enum lc_status st;
  read_typespace(d);
  convert_typespace(d);
  uint32_t n = count(d);
  struct raw_table *raw = items(d, n, sizeof *raw);
  struct lc_table_def *tables = items(d, n, sizeof *tables);
  def->tables = tables;
  def->n_tables = n;
  for (uint32_t i = 0; i < n && !d->r.failed; i++)
    if ((st = read_table(d, &raw[i], false)) != LC_OK) return st;
  def->n_reducers = count(d);
  struct lc_function_def *reducers = items(d, def->n_reducers, sizeof *reducers);
  def->reducers = reducers;
  for (uint32_t i = 0; i < def->n_reducers; i++) {
    reducers[i].name = reducers[i].accessor = str(d);
    reducers[i].params = bare_product(d);
    if (opt(d)) reducers[i].lifecycle = (enum lc_lifecycle)(lc_read_u8(&d->r) + 1);
    if (reducers[i].lifecycle > LC_LIFECYCLE_DISCONNECT) d->r.failed = true;
    for (uint32_t k = 0; k < i && !d->r.failed; k++)
      if (reducers[i].lifecycle && reducers[k].lifecycle == reducers[i].lifecycle) return invalid(d, "lifecycle event is declared twice (DuplicateLifecycle)");
  }
  uint32_t n_types;
  const struct raw_type *types = read_types(d, &n_types);
  uint32_t n_misc = count(d);
  struct lc_function_def *procedures = items(d, n_misc, sizeof *procedures);
  struct lc_view_def *views = items(d, n_misc, sizeof *views);
  const struct lc_type **returns = items(d, n_misc, sizeof *returns);
  struct raw_default *defaults = items(d, n_misc, sizeof *defaults);
  struct lc_slice *default_tables = items(d, n_misc, sizeof *default_tables);
  uint32_t n_defaults = 0;
  for (uint32_t i = 0; i < n_misc && !d->r.failed; i++) {
    uint8_t tag = lc_read_u8(&d->r);
    if (tag == 0) {
      default_tables[n_defaults] = str(d);
      defaults[n_defaults].column = lc_read_u16(&d->r);
      defaults[n_defaults++].value = bytes(d);
    } else if (tag == 1) {
      struct lc_function_def *p = &procedures[def->n_procedures++];
      p->name = p->accessor = str(d);
      p->params = bare_product(d);
      p->ok_type = type(d);
    } else if (tag == 2) {
      struct lc_view_def *v = &views[def->n_views];
      v->name = v->accessor = str(d);
      v->fn_index = lc_read_u32(&d->r);
      v->is_public = lc_read_u8(&d->r) != 0;
      v->is_anonymous = lc_read_u8(&d->r) != 0;
      v->params = bare_product(d);
      returns[def->n_views++] = type(d);
    } else {
      d->r.failed = true;
    }
  }
  def->n_rls = count(d);
  struct lc_slice *sql = items(d, def->n_rls, sizeof *sql);
  for (uint32_t i = 0; i < def->n_rls; i++) sql[i] = str(d);
  def->rls_sql = sql;
  def->procedures = procedures;
  def->views = views;
  if (d->r.failed) return lc_fail(d->err, LC_INVALID, "error decoding module description: data too short or malformed");
  if ((st = build_types(d, n_types, types)) != LC_OK) return st;
  build_functions(d, def->n_reducers, reducers);
  build_functions(d, def->n_procedures, procedures);
  if ((st = attach_defaults(d, n, raw, n_defaults, default_tables, defaults)) != LC_OK) return st;
  for (uint32_t i = 0; i < n; i++) {
    if ((st = build_table(d, &raw[i], &tables[i])) != LC_OK) return st;
    if (raw[i].has_schedule && (st = build_schedule(d, &tables[i], &raw[i].schedule, reducers, procedures)) != LC_OK) return st;
  }
  for (uint32_t i = 0; i < def->n_views; i++)
    if ((st = build_view(d, &views[i], returns[i])) != LC_OK) return st;
  return check_names(d);
}

enum lc_status lc_module_def_decode(struct lc_slice raw, struct lc_module_def **out, struct lc_error *err) {
  struct lc_module_def *def = lc_alloc_zero(1, sizeof *def);
  if (!def) return lc_fail(err, LC_NOMEM, "out of memory");
  struct lc_error scratch = {0};
  if (!err) err = &scratch;
  struct decoder d = {.def = def, .arena = &def->arena, .r = lc_reader(raw), .err = err};
  uint8_t version = lc_read_u8(&d.r);
  def->raw_version = 8 + version;
  enum lc_status st;
  if (d.r.failed) st = lc_fail(err, LC_INVALID, "error decoding module description: data too short for u8: Expected 1, given 0");
  else if (version == 2) st = decode_v10(&d);
  else if (version == 1) st = decode_v9(&d);
  else if (version == 0) st = lc_fail(err, LC_UNSUPPORTED, "module definitions of version 8 are not supported yet");
  else st = lc_fail(err, LC_INVALID, "error decoding module description: unknown tag 0x%x for sum type RawModuleDef", version);
  if (st != LC_OK) {
    lc_module_def_free(def);
    return st;
  }
  def->n_own_tables = def->n_tables;
  def->n_own_reducers = def->n_reducers;
  def->n_own_procedures = def->n_procedures;
  def->n_own_views = def->n_views;
  def->n_own_rls = def->n_rls;
  *out = def;
  return LC_OK;
}

void lc_module_def_free(struct lc_module_def *def) {
  if (!def) return;
  lc_arena_free(&def->arena);
  lc_free(def);
}
