/* The catalog: what the rows of st_table, st_column, st_index, st_constraint, st_sequence, st_scheduled, st_event_table and the accessor
 * tables say, as `struct table`. System tables are built from system_tables.h; every other table only from its rows, so creation and
 * replay take the same path. Callers: schema.c, record.c, tx.c (rollback).
 */
#include "engine_internal.h"
#include "system_tables.h"
#include <stdio.h>
#include <stdlib.h>

struct table *ds_table(const struct lc_datastore *ds, uint32_t table_id) {
  uint32_t low = 0, high = ds->n_tables;
  if (table_id - 1 < ds->n_tables && ds->tables[table_id - 1]->info.table_id == table_id) return ds->tables[table_id - 1]; /* system tables */
  while (low < high) {
    uint32_t mid = (low + high) / 2, id = ds->tables[mid]->info.table_id;
    if (id == table_id) return ds->tables[mid];
    if (id < table_id) low = mid + 1;
    else high = mid;
  }
  return NULL;
}
const struct lc_table_info *lc_datastore_table(const struct lc_datastore *ds, uint32_t table_id) {
  struct table *t = ds_table(ds, table_id);
  return t ? &t->info : NULL;
}
const struct lc_index_info *lc_datastore_index(const struct lc_datastore *ds, uint32_t index_id) {
  if (index_id >= ds->n_index_refs || !ds->index_refs[index_id].table) return NULL;
  return &ds->index_refs[index_id].table->info.indexes[ds->index_refs[index_id].at];
}
void lc_datastore_each_table(const struct lc_datastore *ds, void (*fn)(void *ctx, const struct lc_table_info *), void *ctx) {
  for (uint32_t i = 0; i < ds->n_tables; i++) fn(ctx, &ds->tables[i]->info);
}
uint64_t lc_datastore_schema_version(const struct lc_datastore *ds) { return ds->schema_version; }

/* ---- building a table ---- */

static enum lc_status oom(struct lc_error *err) { return lc_fail(err, LC_NOMEM, "out of memory while building a table"); }

static void structures_free(struct table *t) {
  for (uint32_t i = 0; t->indexes && i < t->info.n_indexes; i++) lc_tree_free(&t->indexes[i].tree);
  lc_free(t->indexes);
  lc_free(t->sequences);
  t->indexes = NULL;
  t->sequences = NULL;
}

void table_free(struct table *t) {
  if (!t) return;
  structures_free(t);
  lc_tree_free(&t->rows);
  lc_tree_free(&t->by_hash);
  lc_free(t->net);
  lc_free(t->net_slots);
  lc_arena_free(&t->arena);
  lc_free(t);
}

/* Lays out trees for info.indexes (filled) and fills them from the rows of `old` (NULL: none), which keeps its own until it is freed. */
static enum lc_status structures_build(struct lc_datastore *ds, struct table *t, struct table *old, struct lc_error *err) {
  const struct lc_type *row = t->info.row_type;
  struct lc_key_spec cluster = {.entry_type = row};
  t->indexes = lc_alloc_zero(t->info.n_indexes, sizeof *t->indexes);
  if (!t->indexes) return oom(err);
  int32_t chosen = -1; /* the primary key's index, else the first unique one */
  for (uint32_t i = 0; i < t->info.n_indexes; i++) {
    const struct lc_index_info *x = &t->info.indexes[i];
    if (!x->is_unique) continue;
    bool is_pk = x->n_columns == 1 && x->columns[0] == t->info.primary_key;
    if (chosen < 0 || is_pk) chosen = (int32_t)i;
    if (is_pk) break;
  }
  if (old && !old->numbered) { /* rows stay in the order they have: a new constraint does not move them */
    chosen = -1;
    for (uint32_t i = 0; i < t->info.n_indexes; i++) {
      const struct lc_index_info *x = &t->info.indexes[i];
      if (x->is_unique && x->n_columns == old->rows.key.n_parts && memcmp(x->columns, old->rows.key.columns, x->n_columns * sizeof *x->columns) == 0) chosen = (int32_t)i;
    }
    if (chosen < 0) old = NULL;
  }
  t->numbered = chosen < 0 || (old && old->numbered);
  if (t->numbered) {
    struct lc_type_field *f = lc_arena_alloc_zero(&t->arena, row->n_fields + 1, sizeof *f);
    if (!f) return oom(err);
    f[0].type = lc_type_primitive(LC_T_U64);
    memcpy(f + 1, row->fields, row->n_fields * sizeof *f);
    cluster.entry_type = lc_type_new_product(&t->arena, row->n_fields + 1, f);
    cluster.n_parts = 1;
    chosen = -1;
    struct lc_type_field h[2] = {{.type = lc_type_primitive(LC_T_U64)}, {.type = lc_type_primitive(LC_T_U64)}};
    struct lc_key_spec hash = {.entry_type = lc_type_new_product(&t->arena, 2, h), .n_parts = 2, .columns = {0, 1}};
    if (!cluster.entry_type || !hash.entry_type) return oom(err);
    if (lc_tree_init(&t->by_hash, ds->store, &hash) != LC_OK) return oom(err);
  } else {
    cluster.n_parts = t->info.indexes[chosen].n_columns;
    memcpy(cluster.columns, t->info.indexes[chosen].columns, cluster.n_parts * sizeof *cluster.columns);
  }
  if (lc_tree_init(&t->rows, ds->store, &cluster) != LC_OK) return oom(err);
  for (uint32_t i = 0; i < t->info.n_indexes; i++) {
    const struct lc_index_info *x = &t->info.indexes[i];
    t->indexes[i].is_cluster = (int32_t)i == chosen;
    uint32_t n = x->n_columns + cluster.n_parts;
    struct lc_type_field *f = lc_arena_alloc_zero(&t->arena, n, sizeof *f);
    if (!f || n > LC_KEY_MAX_PARTS) return n > LC_KEY_MAX_PARTS ? lc_fail(err, LC_LIMIT, "index %.*s has too many columns", (int)x->name.len, (const char *)x->name.data) : oom(err);
    struct lc_key_spec spec = {.n_parts = n};
    for (uint32_t k = 0; k < n; k++) {
      f[k].type = k < x->n_columns ? row->fields[x->columns[k]].type : cluster.entry_type->fields[cluster.columns[k - x->n_columns]].type;
      spec.columns[k] = (uint16_t)k;
    }
    spec.entry_type = t->indexes[i].entry_type = lc_type_new_product(&t->arena, n, f);
    if (!spec.entry_type) return oom(err);
    if (lc_tree_init(&t->indexes[i].tree, ds->store, &spec) != LC_OK) return oom(err);
  }
  if (!old) return LC_OK;
  struct lc_cursor c;
  for (lc_cursor_seek(&c, &old->rows, NULL, NULL, 0, false); lc_cursor_valid(&c); lc_cursor_next(&c))
    if (!rows_insert(t, row_of_entry(old, lc_cursor_entry(&c)), false)) return oom(err);
  return LC_OK;
}

static bool refs_set(struct lc_datastore *ds, struct table *t) {
  for (uint32_t i = 0; i < t->info.n_indexes; i++) {
    uint32_t id = t->info.indexes[i].index_id;
    if (id >= ds->n_index_refs) {
      uint32_t n = id + 64;
      struct index_ref *p = lc_realloc(ds->index_refs, n * sizeof *p);
      if (!p) return false;
      memset(p + ds->n_index_refs, 0, (n - ds->n_index_refs) * sizeof *p);
      ds->index_refs = p;
      ds->n_index_refs = n;
    }
  }
  for (uint32_t i = 0; i < t->info.n_indexes; i++) ds->index_refs[t->info.indexes[i].index_id] = (struct index_ref){t, i};
  return true;
}

static void refs_clear(struct lc_datastore *ds, const struct table *t) {
  for (uint32_t i = 0; i < ds->n_index_refs; i++)
    if (ds->index_refs[i].table == t) ds->index_refs[i].table = NULL;
}

/* Puts t in place of the table with its id (whose content moves into t's address being the old one: pointers to tables stay valid). */
static enum lc_status table_place(struct lc_datastore *ds, struct table *t, struct lc_error *err) {
  struct table *old = ds_table(ds, t->info.table_id);
  names_forget(ds);
  if (old) {
    struct table fresh = *t;
    refs_clear(ds, old);
    fresh.net = old->net; /* the open transaction's notes stay */
    fresh.n_net = old->n_net;
    fresh.cap_net = old->cap_net;
    fresh.net_slots = old->net_slots;
    fresh.net_mask = old->net_mask;
    fresh.touched = old->touched;
    structures_free(old);
    lc_tree_free(&old->rows);
    lc_tree_free(&old->by_hash);
    lc_arena_free(&old->arena);
    *old = fresh;
    lc_free(t);
    return refs_set(ds, old) ? LC_OK : oom(err);
  }
  if (ds->n_tables == ds->cap_tables) {
    uint32_t cap = ds->cap_tables ? ds->cap_tables * 2 : 64;
    struct table **p = lc_realloc(ds->tables, cap * sizeof(struct table *));
    if (!p) return oom(err);
    ds->tables = p;
    ds->cap_tables = cap;
  }
  if (!refs_set(ds, t)) return oom(err);
  uint32_t at = ds->n_tables;
  while (at > 0 && ds->tables[at - 1]->info.table_id > t->info.table_id) at--;
  memmove(ds->tables + at + 1, ds->tables + at, (ds->n_tables - at) * sizeof(struct table *));
  ds->tables[at] = t;
  ds->n_tables++;
  return LC_OK;
}

/* ---- system tables ---- */

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

static const struct lc_type *key_type(struct lc_arena *a, const struct lc_type *row, uint32_t n, const uint16_t *columns) {
  struct lc_type_field f[LC_KEY_MAX_PARTS];
  for (uint32_t i = 0; i < n; i++) f[i] = row->fields[columns[i]];
  return lc_type_new_product(a, n, f);
}

static enum lc_status system_table_build(struct lc_datastore *ds, const struct system_table *st, struct lc_error *err) {
  struct table *t = lc_alloc_zero(1, sizeof *t);
  if (!t) return oom(err);
  struct lc_type_field f[10];
  uint32_t n = 0;
  for (; n < 10 && st->columns[n].name; n++) f[n] = (struct lc_type_field){lc_slice_str(st->columns[n].name), true, system_type(&t->arena, st->columns[n].type)};
  struct lc_index_info *indexes = lc_arena_alloc_zero(&t->arena, 4, sizeof *indexes);
  t->info = (struct lc_table_info){.table_id = st->id,
                                   .name = lc_slice_str(st->name),
                                   .accessor = lc_slice_str(st->name),
                                   .row_type = lc_type_new_product(&t->arena, n, f),
                                   .is_public = !st->is_private,
                                   .is_system = true,
                                   .primary_key = st->pk,
                                   .indexes = indexes};
  if (!indexes || !t->info.row_type) return oom(err);
  for (size_t i = 0; i < sizeof system_indexes / sizeof *system_indexes; i++) {
    const struct system_index *x = &system_indexes[i];
    if (x->table != st->id) continue;
    struct lc_slice name = system_name(&t->arena, st, x->n, x->columns, "_idx_btree");
    indexes[t->info.n_indexes++] = (struct lc_index_info){.index_id = x->id, .name = name, .accessor = name, .kind = LC_INDEX_BTREE, .is_unique = x->is_unique, .n_columns = x->n,
                                                          .columns = x->columns, .key_type = key_type(&t->arena, t->info.row_type, x->n, x->columns), .table_id = st->id};
  }
  t->sequences = lc_alloc_zero(1, sizeof *t->sequences);
  if (!t->sequences) return oom(err);
  for (size_t i = 0; i < sizeof system_sequences / sizeof *system_sequences; i++)
    if (system_sequences[i].table == st->id) t->sequences[t->n_sequences++] = (struct sequence){system_sequences[i].id, 0};
  enum lc_status s = structures_build(ds, t, NULL, err);
  return s == LC_OK ? table_place(ds, t, err) : s;
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
  if (!lc_buf_ok(b) || !rows_insert(ds_table(ds, table_id), lc_buf_slice(b), false)) return oom(err);
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

/* ---- tables from their rows ---- */

static bool row_u32_is(const struct table *st, struct lc_slice row, uint32_t col, uint32_t want) { return memcmp(lc_row_column(st->info.row_type, row.data, col), &want, 4) == 0; }
static struct lc_slice row_bytes(const struct table *st, struct lc_slice row, uint32_t col) { /* of a String or Array<u8> column */
  const uint8_t *p = lc_row_column(st->info.row_type, row.data, col);
  uint32_t n;
  memcpy(&n, p, 4);
  return lc_slice(p + 4, n);
}

/* Accessor registered for `name` in one of the accessor tables (first column), else the name itself. */
static struct lc_slice accessor_of(struct lc_datastore *ds, uint32_t st_id, struct lc_slice name) {
  struct table *st = ds_table(ds, st_id);
  struct lc_buf key = {0};
  lc_buf_bsatn_bytes(&key, name);
  struct lc_slice row = lc_buf_ok(&key) ? lc_tree_find(&st->rows, key.data) : lc_slice(NULL, 0);
  lc_buf_free(&key);
  return row.data ? row_bytes(st, row, 1) : name;
}

static const uint16_t *take_cols(struct lc_arena *a, const uint8_t *p, uint32_t *n) {
  memcpy(n, p, 4);
  uint16_t *c = lc_arena_alloc_zero(a, *n ? *n : 1, sizeof *c);
  if (c) memcpy(c, p + 4, *n * sizeof *c);
  return c;
}

struct scan { struct table *st; struct lc_cursor c; };
static struct scan scan_start(struct lc_datastore *ds, uint32_t st_id) {
  struct scan s = {.st = ds_table(ds, st_id)};
  lc_cursor_seek(&s.c, &s.st->rows, NULL, NULL, 0, false);
  return s;
}
/* Next row whose u32 column `col` is `id`. */
static bool scan_next(struct scan *s, uint32_t col, uint32_t id, struct lc_slice *row) {
  for (; lc_cursor_valid(&s->c); lc_cursor_next(&s->c)) {
    *row = row_of_entry(s->st, lc_cursor_entry(&s->c));
    if (!row_u32_is(s->st, *row, col, id)) continue;
    lc_cursor_next(&s->c);
    return true;
  }
  return false;
}

static enum lc_status fill_columns(struct lc_datastore *ds, struct table *t, struct lc_error *err) {
  struct lc_type_field f[1024];
  uint32_t n = 0;
  struct lc_slice row;
  struct table *st = ds_table(ds, LC_ST_COLUMN);
  struct lc_cursor c;
  for (lc_cursor_seek(&c, &st->rows, NULL, (const uint8_t *)&t->info.table_id, 1, false); lc_cursor_valid(&c); lc_cursor_next(&c)) {
    row = lc_cursor_entry(&c);
    if (!row_u32_is(st, row, 0, t->info.table_id)) break;
    if (n == 1024) return lc_fail(err, LC_LIMIT, "table %.*s has more than 1024 columns", (int)t->info.name.len, (const char *)t->info.name.data);
    struct lc_reader r = lc_reader(row_bytes(st, row, 3));
    f[n].name = lc_arena_copy(&t->arena, row_bytes(st, row, 2));
    f[n].has_name = true;
    enum lc_status s = lc_type_decode(&t->arena, &r, &f[n].type, err);
    if (s != LC_OK) return s;
    n++;
  }
  t->info.row_type = lc_type_new_product(&t->arena, n, f);
  return t->info.row_type ? LC_OK : oom(err);
}

static bool columns_unique(struct lc_datastore *ds, uint32_t table_id, uint32_t n, const uint16_t *columns) {
  struct scan s = scan_start(ds, LC_ST_CONSTRAINT);
  struct lc_slice row;
  while (scan_next(&s, 2, table_id, &row)) {
    const uint8_t *data = lc_row_column(s.st->info.row_type, row.data, 3);
    uint32_t m, hits = 0;
    if (*data != 1) continue;
    memcpy(&m, data + 1, 4);
    for (uint32_t i = 0; m == n && i < n; i++)
      for (uint32_t k = 0; k < m; k++) {
        uint16_t c;
        memcpy(&c, data + 5 + 2 * (size_t)k, 2);
        hits += c == columns[i];
      }
    if (m == n && hits == n) return true;
  }
  return false;
}

static enum lc_status fill_indexes(struct lc_datastore *ds, struct table *t, struct lc_error *err) {
  struct lc_index_info *list = lc_arena_alloc_zero(&t->arena, MAX_INDEXES, sizeof *list);
  struct scan s = scan_start(ds, LC_ST_INDEX);
  struct lc_slice row;
  if (!list) return oom(err);
  while (scan_next(&s, 1, t->info.table_id, &row)) {
    static const enum lc_index_kind kinds[] = {LC_INDEX_BTREE, LC_INDEX_BTREE, LC_INDEX_DIRECT, LC_INDEX_HASH};
    if (t->info.n_indexes == MAX_INDEXES) return lc_fail(err, LC_LIMIT, "table %.*s has more than %d indexes", (int)t->info.name.len, (const char *)t->info.name.data, MAX_INDEXES);
    struct lc_index_info *x = &list[t->info.n_indexes++];
    const uint8_t *algorithm = lc_row_column(s.st->info.row_type, row.data, 3);
    memcpy(&x->index_id, row.data, 4);
    x->table_id = t->info.table_id;
    x->name = lc_arena_copy(&t->arena, row_bytes(s.st, row, 2));
    x->accessor = lc_arena_copy(&t->arena, accessor_of(ds, LC_ST_INDEX_ACCESSOR, x->name));
    x->kind = kinds[*algorithm & 3];
    if (x->kind == LC_INDEX_DIRECT) {
      uint16_t *c = lc_arena_alloc_zero(&t->arena, 1, sizeof *c);
      if (!c) return oom(err);
      memcpy(c, algorithm + 1, 2);
      x->columns = c;
      x->n_columns = 1;
    } else {
      x->columns = take_cols(&t->arena, algorithm + 1, &x->n_columns);
    }
    if (!x->columns) return oom(err);
    for (uint32_t i = 0; i < x->n_columns; i++)
      if (x->n_columns > LC_KEY_MAX_PARTS / 2 || x->columns[i] >= t->info.row_type->n_fields) return lc_fail(err, LC_CORRUPT, "index %.*s names column %u, which does not exist", (int)x->name.len, (const char *)x->name.data, x->columns[i]);
    x->key_type = key_type(&t->arena, t->info.row_type, x->n_columns, x->columns);
    x->is_unique = columns_unique(ds, t->info.table_id, x->n_columns, x->columns);
  }
  t->info.indexes = list;
  return LC_OK;
}

static enum lc_status fill_sequences(struct lc_datastore *ds, struct table *t, struct lc_error *err) {
  struct scan s = scan_start(ds, LC_ST_SEQUENCE);
  struct lc_slice row;
  t->sequences = lc_alloc_zero(MAX_SEQUENCES, sizeof *t->sequences);
  if (!t->sequences) return oom(err);
  while (scan_next(&s, 2, t->info.table_id, &row)) {
    struct sequence q;
    if (t->n_sequences == MAX_SEQUENCES) return lc_fail(err, LC_LIMIT, "table %.*s has more than %d sequences", (int)t->info.name.len, (const char *)t->info.name.data, MAX_SEQUENCES);
    memcpy(&q.sequence_id, row.data, 4);
    memcpy(&q.column, lc_row_column(s.st->info.row_type, row.data, 3), 2);
    uint32_t at = t->n_sequences++; /* written back in column order (spec/02 §5.4) */
    for (; at > 0 && t->sequences[at - 1].column > q.column; at--) t->sequences[at] = t->sequences[at - 1];
    t->sequences[at] = q;
  }
  return LC_OK;
}

static enum lc_status table_from_rows(struct lc_datastore *ds, struct table *t, struct lc_slice st_row, struct lc_error *err) {
  struct table *st = ds_table(ds, LC_ST_TABLE);
  struct lc_slice row;
  memcpy(&t->info.table_id, st_row.data, 4);
  t->info.name = lc_arena_copy(&t->arena, row_bytes(st, st_row, 1));
  t->info.accessor = lc_arena_copy(&t->arena, accessor_of(ds, LC_ST_TABLE_ACCESSOR, t->info.name));
  t->info.is_system = lc_slice_eq_str(row_bytes(st, st_row, 2), "system");
  t->info.is_public = lc_slice_eq_str(row_bytes(st, st_row, 3), "public");
  const uint8_t *pk = lc_row_column(st->info.row_type, st_row.data, 4);
  t->info.primary_key = -1;
  if (*pk == 0 && pk[1] == 1) {
    uint16_t col;
    memcpy(&col, pk + 5, 2);
    t->info.primary_key = col;
  }
  t->info.is_event = lc_tree_find(&ds_table(ds, LC_ST_EVENT_TABLE)->rows, (const uint8_t *)&t->info.table_id).data != NULL;
  enum lc_status s = fill_columns(ds, t, err);
  if (s == LC_OK) s = fill_indexes(ds, t, err);
  if (s == LC_OK) s = fill_sequences(ds, t, err);
  struct scan scheduled = scan_start(ds, LC_ST_SCHEDULED);
  if (s == LC_OK && scan_next(&scheduled, 1, t->info.table_id, &row)) {
    t->info.has_schedule = true;
    t->info.schedule_function = lc_arena_copy(&t->arena, row_bytes(scheduled.st, row, 2));
    memcpy(&t->info.schedule_at_column, lc_row_column(scheduled.st->info.row_type, row.data, 4), 2);
  }
  return s == LC_OK ? structures_build(ds, t, ds_table(ds, t->info.table_id), err) : s;
}

enum lc_status catalog_refresh(struct lc_datastore *ds, uint32_t table_id, struct lc_error *err) {
  struct lc_slice st_row = lc_tree_find(&ds_table(ds, LC_ST_TABLE)->rows, (const uint8_t *)&table_id);
  if (!st_row.data) {
    struct table *gone = ds_table(ds, table_id);
    if (!gone) return LC_OK;
    refs_clear(ds, gone);
    uint32_t at = 0;
    names_forget(ds);
    while (ds->tables[at] != gone) at++;
    memmove(ds->tables + at, ds->tables + at + 1, (--ds->n_tables - at) * sizeof(struct table *));
    table_free(gone);
    return LC_OK;
  }
  struct table *t = lc_alloc_zero(1, sizeof *t);
  if (!t) return oom(err);
  enum lc_status s = table_from_rows(ds, t, st_row, err);
  if (s != LC_OK) {
    table_free(t);
    return s;
  }
  return table_place(ds, t, err);
}
