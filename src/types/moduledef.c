/* Module definitions: BSATN RawModuleDef V9 and V10 to a validated `struct lc_module_def` with canonical names
 * (spec/01 §10-§14, spec/07 §4).
 *
 * Decoding and validation run over one arena that the definition owns. The first error found is reported, headed by
 * "Errors occurred:" as the reference does. Callers: host/ (describe), tests.
 */
#include "types.h"
#include <ctype.h>
#include <stdio.h>

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
};

struct raw_lifecycle { uint8_t kind; struct lc_slice function; };
struct raw_schedule { struct lc_slice table, function; uint16_t at_column; };
struct raw_default { uint16_t column; struct lc_slice value; };
struct raw_view_key { struct lc_slice view, column; };
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

static struct lc_slice str(struct decoder *d) { return lc_arena_copy(d->arena, lc_read_bytes(&d->r)); }
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
    t->defaults[i].value = str(d);
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
  t->is_public = raw->is_public;
  t->is_event = raw->is_event;
  if (!identifier_ok(t->name) || !identifier_ok(t->accessor)) return invalid(d, "`%.*s` is not a valid table name (IdentifierError)", S(raw->source));
  if (t->name.len >= 3 && memcmp(t->name.data, "st_", 3) == 0 && !raw->is_system) return invalid(d, "table name `%.*s` is reserved for system tables (TableNameReserved)", S(t->name));
  const struct lc_type *source_row = ts->types[raw->type_ref], *row = convert_type(d, source_row);
  enum lc_status st = lc_type_resolve(d->arena, &d->def->typespace, row, &t->row_type, d->err);
  if (st != LC_OK) return lc_fail_context(d->err, "Errors occurred:\ntable `%.*s`", S(t->name));
  row = t->row_type;
  t->n_columns = row->n_fields;
  struct lc_column_def *columns = items(d, t->n_columns, sizeof *columns);
  t->columns = columns;
  for (uint32_t i = 0; i < t->n_columns; i++) {
    if (!row->fields[i].has_name) return invalid(d, "column %u of table `%.*s` has no name (UnnamedColumn)", i, S(t->name));
    columns[i] = (struct lc_column_def){.name = row->fields[i].name, .accessor = source_row->fields[i].name, .type = row->fields[i].type};
    if (!identifier_ok(columns[i].name)) return invalid(d, "`%.*s` is not a valid column name in table `%.*s` (IdentifierError)", S(columns[i].accessor), S(t->name));
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

static struct lc_function_def *find_function(struct lc_function_def *f, uint32_t n, struct lc_slice source) {
  for (uint32_t i = 0; i < n; i++)
    if (lc_slice_eq(f[i].accessor, source)) return &f[i];
  return NULL;
}

static enum lc_status build_schedule(struct decoder *d, struct lc_table_def *t, const struct raw_schedule *s, struct lc_function_def *reducers, struct lc_function_def *procedures) {
  struct lc_function_def *f = find_function(reducers, d->def->n_reducers, s->function);
  bool is_procedure = !f;
  if (!f) f = find_function(procedures, d->def->n_procedures, s->function);
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

/* The row type a view returns: Option(Ref), Array(Ref) or { __query__: Ref } (spec/01 §14.2). */
static enum lc_status build_view(struct decoder *d, struct lc_view_def *v, const struct lc_type *ret) {
  const struct lc_type *inner = NULL;
  v->primary_key = -1;
  if (ret->special == LC_SPECIAL_OPTION) inner = ret->fields[0].type;
  else if (ret->kind == LC_T_ARRAY) inner = ret->elem;
  else if (ret->kind == LC_T_PRODUCT && ret->n_fields == 1 && ret->fields[0].has_name && lc_slice_eq_str(ret->fields[0].name, "__query__")) {
    inner = ret->fields[0].type;
    v->is_query = true;
  }
  if (!inner || inner->kind != LC_T_REF) return invalid(d, "view `%.*s` has an invalid return type (InvalidViewReturnType)", S(v->name));
  if (inner->ref >= d->def->typespace.n || d->def->typespace.types[inner->ref]->kind != LC_T_PRODUCT) return invalid(d, "view `%.*s` returns &%u, which is no product (InvalidProductTypeRef)", S(v->name), inner->ref);
  enum lc_status st = lc_type_resolve(d->arena, &d->def->typespace, inner, &v->row_type, d->err);
  if (st == LC_OK) v->row_type = convert_type(d, v->row_type);
  return st == LC_OK ? LC_OK : lc_fail_context(d->err, "Errors occurred:\nview `%.*s`", S(v->name));
}

static enum lc_status check_function_names(struct decoder *d) {
  const struct lc_module_def *def = d->def;
  for (uint32_t i = 0; i < def->n_reducers + def->n_procedures; i++) {
    const struct lc_function_def *f = i < def->n_reducers ? &def->reducers[i] : &def->procedures[i - def->n_reducers];
    if (!identifier_ok(f->name)) return invalid(d, "`%.*s` is not a valid function name (IdentifierError)", S(f->accessor));
    for (uint32_t k = 0; k < i; k++) {
      const struct lc_function_def *o = k < def->n_reducers ? &def->reducers[k] : &def->procedures[k - def->n_reducers];
      if (lc_slice_eq(f->name, o->name)) return invalid(d, "function name `%.*s` is used twice (DuplicateFunctionName)", S(f->name));
    }
  }
  for (uint32_t i = 0; i < def->n_tables; i++)
    for (uint32_t k = 0; k < i; k++)
      if (lc_slice_eq(def->tables[i].name, def->tables[k].name)) return invalid(d, "name `%.*s` is used twice (DuplicateName)", S(def->tables[i].name));
  return LC_OK;
}

/* ---- V10 ---- */

struct v10 {
  uint32_t n_tables, n_schedules, n_lifecycles, n_view_keys;
  struct raw_table *tables;
  struct raw_schedule *schedules;
  struct raw_lifecycle *lifecycles;
  struct raw_view_key *view_keys;
  struct lc_function_def *reducers, *procedures;
  struct lc_view_def *views;
  const struct lc_type **view_returns;
};

static enum lc_status read_section(struct decoder *d, uint8_t tag, struct v10 *v) {
  struct lc_module_def *def = d->def;
  uint32_t n;
  switch (tag) {
  case 0x00: read_typespace(d); break;
  case 0x01: /* types: names for code generation only */
    n = count(d);
    for (uint32_t i = 0; i < n && !d->r.failed; i++) {
      uint32_t scopes = count(d);
      for (uint32_t k = 0; k < scopes; k++) str(d);
      struct lc_slice name = str(d);
      uint32_t ref = lc_read_u32(&d->r);
      lc_read_u8(&d->r);
      if (!d->r.failed && ref >= def->typespace.n && def->typespace.n) return invalid(d, "Type \"%.*s\" has invalid ref: &%u", S(name), ref);
    }
    break;
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
  case 0x0c: /* routes: definition side; running them is procedures' business */
    n = count(d);
    for (uint32_t i = 0; i < n && !d->r.failed; i++) {
      str(d);
      if (lc_read_u8(&d->r) == 1 && lc_read_u8(&d->r) == 9) str(d);
      str(d);
    }
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
  case 0x0f:
    n = count(d);
    for (uint32_t i = 0; i < n && !d->r.failed; i++) {
      str(d);
      uint8_t kind = lc_read_u8(&d->r);
      uint32_t literals = kind == 1 ? 1 : kind == 2 ? count(d) : 0;
      if (kind > 2) d->r.failed = true;
      for (uint32_t k = 0; k < literals; k++) str(d);
      lc_read_u8(&d->r);
    }
    break;
  case 0x10:
    if (lc_read_u32(&d->r) != 0) return lc_fail(d->err, LC_UNSUPPORTED, "module definitions with outboxes are not supported yet");
    break;
  default: return lc_fail(d->err, LC_INVALID, "error decoding module description: unknown tag 0x%x for sum type RawModuleDefV10Section", tag);
  }
  return LC_OK;
}

static enum lc_status decode_v10(struct decoder *d) {
  struct lc_module_def *def = d->def;
  struct v10 v = {0};
  enum lc_status st = LC_OK;
  uint32_t n = count(d), seen = 0;
  d->convert = true;
  for (uint32_t i = 0; i < n && st == LC_OK && !d->r.failed; i++) {
    uint8_t tag = lc_read_u8(&d->r);
    if (tag <= 0x10 && (seen >> tag & 1)) return lc_fail(d->err, LC_UNSUPPORTED, "section %u appears twice in the module definition", tag);
    if (tag <= 0x10) seen |= 1u << tag;
    st = read_section(d, tag, &v);
  }
  if (st != LC_OK) return st;
  if (d->r.failed) return lc_fail(d->err, LC_INVALID, "error decoding module description: data too short or malformed");
  const struct lc_type **converted = items(d, def->typespace.n, sizeof *converted);
  struct lc_table_def *tables = items(d, v.n_tables, sizeof *tables);
  def->tables = tables;
  def->n_tables = v.n_tables;
  def->reducers = v.reducers;
  def->procedures = v.procedures;
  def->views = v.views;
  for (uint32_t i = 0; i < v.n_tables; i++)
    if ((st = build_table(d, &v.tables[i], &tables[i])) != LC_OK) return st;
  for (uint32_t i = 0; i < def->n_reducers; i++) v.reducers[i].name = canonical(d, 1, v.reducers[i].accessor, SNAKE);
  for (uint32_t i = 0; i < def->n_procedures; i++) v.procedures[i].name = canonical(d, 1, v.procedures[i].accessor, SNAKE);
  for (uint32_t i = 0; i < def->n_views; i++) {
    v.views[i].name = canonical(d, 1, v.views[i].accessor, SNAKE);
    if ((st = build_view(d, &v.views[i], v.view_returns[i])) != LC_OK) return st;
  }
  for (uint32_t i = 0; i < v.n_view_keys; i++) {
    for (uint32_t k = 0; k < def->n_views; k++) {
      if (!lc_slice_eq(v.views[k].accessor, v.view_keys[i].view)) continue;
      struct lc_slice key = convert(d, v.view_keys[i].column, SNAKE);
      for (uint32_t c = 0; c < v.views[k].row_type->n_fields; c++)
        if (lc_slice_eq(v.views[k].row_type->fields[c].name, key)) v.views[k].primary_key = (int32_t)c;
    }
  }
  for (uint32_t i = 0; i < v.n_schedules; i++) {
    struct lc_table_def *t = NULL;
    for (uint32_t k = 0; k < v.n_tables; k++)
      if (lc_slice_eq(tables[k].accessor, v.schedules[i].table)) t = &tables[k];
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
  for (uint32_t i = 0; i < def->typespace.n; i++) converted[i] = convert_type(d, def->typespace.types[i]);
  def->typespace.types = converted;
  return check_function_names(d);
}

/* ---- V9 ---- */

static enum lc_status decode_v9(struct decoder *d) {
  struct lc_module_def *def = d->def;
  enum lc_status st;
  read_typespace(d);
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
  uint32_t n_types = count(d);
  for (uint32_t i = 0; i < n_types && !d->r.failed; i++) {
    uint32_t scopes = count(d);
    for (uint32_t k = 0; k < scopes; k++) str(d);
    str(d);
    lc_read_u32(&d->r);
    lc_read_u8(&d->r);
  }
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
      defaults[n_defaults++].value = str(d);
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
  for (uint32_t i = 0; i < n; i++) {
    raw[i].defaults = items(d, n_defaults, sizeof *raw[i].defaults);
    for (uint32_t k = 0; k < n_defaults; k++)
      if (lc_slice_eq(default_tables[k], raw[i].source)) raw[i].defaults[raw[i].n_defaults++] = defaults[k];
    if ((st = build_table(d, &raw[i], &tables[i])) != LC_OK) return st;
    if (raw[i].has_schedule && (st = build_schedule(d, &tables[i], &raw[i].schedule, reducers, procedures)) != LC_OK) return st;
  }
  for (uint32_t i = 0; i < def->n_views; i++)
    if ((st = build_view(d, &views[i], returns[i])) != LC_OK) return st;
  return check_function_names(d);
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
  *out = def;
  return LC_OK;
}

void lc_module_def_free(struct lc_module_def *def) {
  if (!def) return;
  lc_arena_free(&def->arena);
  lc_free(def);
}
