/* Owns: the system tables as they are before anything is stored: built from system_tables.h, with the rows that describe them (spec/06 §2-§3,
 * spec/07 §9). Callers: schema.c (a new datastore). */
#include "engine_internal.h"
#include "system_tables.h"
#include <stdio.h>

static enum lc_status oom(struct lc_error *err) { return lc_fail(err, LC_NOMEM, "out of memory while building the system tables"); }

static const struct lc_type *named_sum(struct lc_arena *a, uint32_t n, const char *const *names, const struct lc_type *const *types) {
  struct lc_type_field f[16];
  for (uint32_t i = 0; i < n; i++) f[i] = (struct lc_type_field){lc_slice_str(names[i]), true, types[i]};
  return lc_type_new_sum(a, n, f);
}

static const struct lc_type *system_type(struct lc_arena *a, const char *name) {
  static const struct { const char *name; enum lc_type_kind kind; } simple[] = {{"u8", LC_T_U8},     {"u16", LC_T_U16},   {"u32", LC_T_U32},   {"u64", LC_T_U64},   {"i64", LC_T_I64},
                                                                                {"i128", LC_T_I128}, {"u128", LC_T_U128}, {"u256", LC_T_U256}, {"bool", LC_T_BOOL}, {"str", LC_T_STRING}};
  if (*name == '?') return lc_type_new_option(a, system_type(a, name + 1));
  for (size_t i = 0; i < sizeof simple / sizeof *simple; i++)
    if (strcmp(simple[i].name, name) == 0) return lc_type_primitive(simple[i].kind);
  const struct lc_type *u16 = lc_type_primitive(LC_T_U16), *cols = lc_type_new_array(a, u16), *u128 = lc_type_primitive(LC_T_U128);
  if (strcmp(name, "bytes") == 0) return lc_type_new_array(a, lc_type_primitive(LC_T_U8));
  if (strcmp(name, "cols") == 0) return cols;
  struct lc_type_field columns = {lc_slice_str("columns"), true, cols}, column = {lc_slice_str("column"), true, u16};
  const struct lc_type *by_columns = lc_type_new_product(a, 1, &columns), *by_column = lc_type_new_product(a, 1, &column);
  if (!cols || !by_columns || !by_column) return NULL;
  if (strcmp(name, "index_algorithm") == 0)
    return named_sum(a, 4, (const char *const[]){"Unused", "BTree", "Direct", "Hash"}, (const struct lc_type *const[]){u128, by_columns, by_column, by_columns});
  if (strcmp(name, "constraint_data") == 0) return named_sum(a, 2, (const char *const[]){"Unused", "Unique"}, (const struct lc_type *const[]){u128, by_columns});
  lc_assert(strcmp(name, "var_value") == 0);
  static const enum lc_type_kind kinds[] = {LC_T_BOOL, LC_T_I8, LC_T_U8, LC_T_I16, LC_T_U16, LC_T_I32, LC_T_U32, LC_T_I64, LC_T_U64, LC_T_I128, LC_T_U128, LC_T_F32, LC_T_F64, LC_T_STRING};
  static const char *const names[] = {"Bool", "I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64", "I128", "U128", "F32", "F64", "String"};
  const struct lc_type *types[14];
  for (int i = 0; i < 14; i++) types[i] = lc_type_primitive(kinds[i]);
  return named_sum(a, 14, names, types);
}

static struct lc_slice system_name(struct lc_arena *a, const struct system_table *st, uint32_t n, const uint16_t *columns, const char *suffix) {
  char text[256];
  int at = snprintf(text, sizeof text, "%s", st->name);
  for (uint32_t i = 0; i < n; i++) at += snprintf(text + at, sizeof text - (size_t)at, "_%s", st->columns[columns[i]].name);
  at += snprintf(text + at, sizeof text - (size_t)at, "%s", suffix);
  return lc_arena_copy(a, lc_slice(text, (size_t)at));
}

static enum lc_status system_table_build(struct lc_datastore *ds, const struct system_table *st, struct lc_error *err) {
  struct shape *shape = shape_new();
  struct lc_type_field f[10];
  uint32_t n = 0, n_sequences = 0;
  if (!shape) return oom(err);
  struct lc_arena *arena = &shape->arena;
  for (; n < 10 && st->columns[n].name; n++) f[n] = (struct lc_type_field){lc_slice_str(st->columns[n].name), true, system_type(arena, st->columns[n].type)};
  struct lc_index_info *indexes = lc_arena_alloc_zero(arena, 4, sizeof *indexes);
  struct lc_slice *accessors = lc_arena_alloc_zero(arena, n, sizeof *accessors);
  const struct lc_type *row = lc_type_new_product(arena, n, f);
  struct sequence sequence;
  for (uint32_t i = 0; accessors && i < n; i++) accessors[i] = f[i].name;
  shape->info = (struct lc_table_info){.table_id = st->id,
                                       .name = lc_slice_str(st->name),
                                       .accessor = lc_slice_str(st->name),
                                       .row_type = row,
                                       .column_accessors = accessors,
                                       .is_public = !st->is_private,
                                       .is_system = true,
                                       .primary_key = st->pk,
                                       .indexes = indexes};
  if (!indexes || !row || !accessors) return shape_unref(shape), oom(err);
  for (size_t i = 0; i < sizeof system_indexes / sizeof *system_indexes; i++) {
    const struct system_index *x = &system_indexes[i];
    if (x->table != st->id) continue;
    struct lc_slice name = system_name(arena, st, x->n, x->columns, "_idx_btree");
    indexes[shape->info.n_indexes++] = (struct lc_index_info){.index_id = x->id, .name = name, .accessor = name, .kind = LC_INDEX_BTREE, .is_unique = x->is_unique, .n_columns = x->n,
                                                              .columns = x->columns, .key_type = product_of_columns(arena, row, x->n, x->columns), .table_id = st->id};
  }
  for (size_t i = 0; i < sizeof system_sequences / sizeof *system_sequences; i++)
    if (system_sequences[i].table == st->id) sequence = (struct sequence){.sequence_id = system_sequences[i].id}, n_sequences = 1;
  return catalog_place(ds, shape, n_sequences, &sequence, err);
}

static void put_cols(struct lc_buf *b, uint32_t n, const uint16_t *columns) {
  lc_buf_u32(b, n);
  for (uint32_t i = 0; i < n; i++) lc_buf_u16(b, columns[i]);
}
static void put_i128(struct lc_buf *b, uint64_t low, uint64_t high) {
  lc_buf_u64(b, low);
  lc_buf_u64(b, high);
}

static enum lc_status add(struct lc_datastore *ds, uint32_t table_id, struct lc_buf *b, struct lc_error *err) {
  if (!lc_buf_ok(b) || !rows_insert(ds_table(ds, table_id), lc_buf_slice(b))) return oom(err);
  lc_buf_clear(b);
  return LC_OK;
}

/* The rows that describe the system tables themselves. */
enum lc_status catalog_bootstrap(struct lc_datastore *ds, struct lc_error *err) {
  struct lc_buf b = {0};
  struct lc_arena scratch = {0};
  enum lc_status st = LC_OK;
  const size_t n_tables = sizeof system_tables / sizeof *system_tables;
  for (size_t i = 0; i < n_tables && st == LC_OK; i++) st = system_table_build(ds, &system_tables[i], err);
  for (size_t i = 0; i < n_tables && st == LC_OK; i++) {
    const struct system_table *t = &system_tables[i];
    uint16_t pk = (uint16_t)t->pk;
    lc_buf_u32(&b, t->id);
    lc_buf_bsatn_str(&b, t->name);
    lc_buf_bsatn_str(&b, "system");
    lc_buf_bsatn_str(&b, t->is_private ? "private" : "public");
    lc_buf_u8(&b, (uint8_t)(t->pk < 0));
    if (t->pk >= 0) put_cols(&b, 1, &pk);
    st = add(ds, LC_ST_TABLE, &b, err);
    const struct lc_type *row = ds_table(ds, t->id)->info.row_type;
    for (uint32_t c = 0; c < row->n_fields && st == LC_OK; c++) {
      struct lc_buf type = {0};
      lc_type_encode(&type, row->fields[c].type);
      lc_buf_u32(&b, t->id);
      lc_buf_u16(&b, (uint16_t)c);
      lc_buf_bsatn_bytes(&b, row->fields[c].name);
      lc_buf_bsatn_bytes(&b, lc_buf_slice(&type));
      lc_buf_free(&type);
      st = add(ds, LC_ST_COLUMN, &b, err);
    }
  }
  for (size_t i = 0; i < sizeof system_indexes / sizeof *system_indexes && st == LC_OK; i++) {
    const struct system_index *x = &system_indexes[i];
    lc_buf_u32(&b, x->id);
    lc_buf_u32(&b, x->table);
    lc_buf_bsatn_bytes(&b, system_name(&scratch, &system_tables[x->table - 1], x->n, x->columns, "_idx_btree"));
    lc_buf_u8(&b, 1);
    put_cols(&b, x->n, x->columns);
    st = add(ds, LC_ST_INDEX, &b, err);
    if (st != LC_OK || !x->constraint_id) continue;
    lc_buf_u32(&b, x->constraint_id);
    lc_buf_bsatn_bytes(&b, system_name(&scratch, &system_tables[x->table - 1], x->n, x->columns, "_key"));
    lc_buf_u32(&b, x->table);
    lc_buf_u8(&b, 1);
    put_cols(&b, x->n, x->columns);
    st = add(ds, LC_ST_CONSTRAINT, &b, err);
  }
  for (size_t i = 0; i < sizeof system_sequences / sizeof *system_sequences && st == LC_OK; i++) {
    static const uint16_t first[] = {0};
    const struct system_sequence *q = &system_sequences[i];
    lc_buf_u32(&b, q->id);
    lc_buf_bsatn_bytes(&b, system_name(&scratch, &system_tables[q->table - 1], 1, first, "_seq"));
    lc_buf_u32(&b, q->table);
    lc_buf_u16(&b, 0);
    put_i128(&b, 1, 0);
    put_i128(&b, 4097, 0);
    put_i128(&b, 1, 0);
    put_i128(&b, UINT64_MAX, INT64_MAX);
    put_i128(&b, 4096, 0);
    st = add(ds, LC_ST_SEQUENCE, &b, err);
  }
  lc_buf_free(&b);
  lc_arena_free(&scratch);
  return st;
}
