/* The catalog: what the rows of the st_ tables say, as `struct table`. System tables are built from system_tables.h (bootstrap.c); every other
 * table only from its rows, so creation, migration and replay take the same path.
 *
 * Invariants: a table's address never changes while it exists; what a schema change takes away from it (its former content, the whole table) is
 * kept until the transaction has ended, so that a rollback needs no memory and cannot fail. Trees whose layout a change leaves alone are taken
 * over, not rebuilt. Callers: schema.c, migrate_run.c, record.c, tx.c (rollback, end).
 */
#include "engine_internal.h"
#include <stdio.h>
#include <stdlib.h>

static enum lc_status oom(struct lc_error *err) { return lc_fail(err, LC_NOMEM, "out of memory while building a table"); }

struct shape *shape_new(void) {
  struct lc_arena arena = {0};
  struct shape *s = lc_arena_alloc_zero(&arena, 1, sizeof *s);
  if (!s) return NULL;
  s->arena = arena;
  atomic_store_explicit(&s->refs, 1, memory_order_relaxed);
  return s;
}

const struct lc_type *product_of_columns(struct lc_arena *a, const struct lc_type *row, uint32_t n, const uint16_t *columns) {
  struct lc_type_field f[LC_KEY_MAX_PARTS];
  for (uint32_t i = 0; i < n; i++) f[i] = row->fields[columns[i]];
  return lc_type_new_product(a, n, f);
}

/* ---- content of a table: its trees ---- */

/* Calls fn for every tree of a table's content. */
static void each_tree(struct table *t, void (*fn)(struct lc_tree *tree, struct table *other), struct table *other) {
  fn(&t->rows, other);
  fn(&t->by_hash, other);
  for (uint32_t i = 0; t->indexes && i < t->info.n_indexes; i++) fn(&t->indexes[i].tree, other);
}
static bool same_tree(const struct lc_tree *a, const struct lc_tree *b) { return a->store && b->store && a->slot == b->slot; }
static bool has_tree(struct table *t, const struct lc_tree *tree) {
  if (same_tree(&t->rows, tree) || same_tree(&t->by_hash, tree)) return true;
  for (uint32_t i = 0; t->indexes && i < t->info.n_indexes; i++)
    if (same_tree(&t->indexes[i].tree, tree)) return true;
  return false;
}
static void free_unless_shared(struct lc_tree *tree, struct table *other) {
  if (tree->store && !(other && has_tree(other, tree))) lc_tree_free(tree);
}
/* The tree as the other content has it: it has been used there since. */
static void take_over(struct lc_tree *tree, struct table *other) {
  const struct lc_tree *later = same_tree(&other->rows, tree) ? &other->rows : same_tree(&other->by_hash, tree) ? &other->by_hash : NULL;
  for (uint32_t i = 0; !later && i < other->info.n_indexes; i++)
    if (same_tree(&other->indexes[i].tree, tree)) later = &other->indexes[i].tree;
  if (!later) return;
  struct lc_key_spec key = tree->key;
  *tree = *later;
  tree->key = key;
}
/* Frees a content except the trees that `other` (may be NULL) has too. */
static void content_free(struct table *t, struct table *other) {
  each_tree(t, free_unless_shared, other);
  lc_free(t->indexes);
  lc_free(t->sequences);
  shape_unref(t->shape);
}

static void notes_free(struct table *t) {
  lc_free(t->changes);
  lc_free(t->net);
  lc_free(t->net_slots);
}
void table_free(struct table *t) {
  if (!t) return;
  content_free(t, NULL);
  notes_free(t);
  lc_free(t);
}

/* Any bytes of the right length are a value of this type. */
static bool any_bytes_are_valid(const struct lc_type *t) {
  if (t->kind >= LC_T_I8) return true;
  if (t->kind != LC_T_PRODUCT) return false;
  for (uint32_t i = 0; i < t->n_fields; i++)
    if (!any_bytes_are_valid(t->fields[i].type)) return false;
  return true;
}

/* The index that clusters a table that has no rows yet: the primary key's, else the first unique one, else -1. */
static int32_t choose_cluster(const struct lc_table_info *info) {
  int32_t chosen = -1;
  for (uint32_t i = 0; i < info->n_indexes; i++) {
    const struct lc_index_info *x = &info->indexes[i];
    if (!x->is_unique) continue;
    bool is_pk = x->n_columns == 1 && x->columns[0] == info->primary_key;
    if (chosen < 0 || is_pk) chosen = (int32_t)i;
    if (is_pk) break;
  }
  return chosen;
}

static bool columns_eq(const struct lc_type *a, const struct lc_type *b, uint32_t n, const uint16_t *columns) {
  for (uint32_t i = 0; i < n; i++)
    if (columns[i] >= a->n_fields || columns[i] >= b->n_fields || !lc_type_eq(a->fields[columns[i]].type, b->fields[columns[i]].type)) return false;
  return true;
}

/* A tree of the new content: taken over from `from`, or made. `spec`: entry_type, n_parts, columns. */
static bool tree_set(struct lc_datastore *ds, struct lc_tree *tree, const struct lc_tree *from, const struct lc_key_spec *spec) {
  if (!spec->entry_type) return false;
  if (!from) return lc_tree_init(tree, ds->store, spec) == LC_OK;
  *tree = *from;
  tree->key = *spec; /* the same order, described by types that live as long as the new shape; places in the entry may differ */
  lc_key_spec_init(&tree->key);
  return true;
}
/* The description of a tree for reading snapshots. */
static struct lc_tree description(const struct lc_tree *tree) {
  struct lc_tree d = *tree;
  d.store = NULL;
  return d;
}

/* Lays out the trees of *t for its shape, taking over from `old` (NULL: no table before) those that stay as they are and filling the others with
 * old's rows. On failure what was made is freed; `old` is untouched. */
static enum lc_status content_build(struct lc_datastore *ds, struct table *t, struct table *old, struct lc_error *err) {
  struct shape *shape = t->shape;
  const struct lc_table_info *info = &shape->info;
  const struct lc_type *row = info->row_type;
  struct lc_key_spec cluster = {.entry_type = row};
  if (old && lc_tree_count(&old->rows) == 0) old = NULL; /* nothing to keep: laid out afresh */
  t->info = *info;
  t->any_bytes = row->static_size_bytes != LC_SIZE_DYNAMIC && any_bytes_are_valid(row);
  t->indexes = lc_alloc_zero(info->n_indexes, sizeof *t->indexes);
  shape->indexes = lc_arena_alloc_zero(&shape->arena, info->n_indexes, sizeof *shape->indexes);
  shape->is_cluster = lc_arena_alloc_zero(&shape->arena, info->n_indexes, sizeof *shape->is_cluster);
  if (!t->indexes || !shape->indexes || !shape->is_cluster) return oom(err);
  /* rows stay in the order they have as long as its constraint is there */
  int32_t chosen = choose_cluster(info);
  bool take = false;
  if (old && old->numbered) {
    take = row->static_size_bytes == old->info.row_type->static_size_bytes;
    chosen = -1;
  } else if (old) {
    const struct lc_key_spec *k = &old->rows.key;
    for (uint32_t i = 0; i < info->n_indexes && !take; i++) {
      const struct lc_index_info *x = &info->indexes[i];
      if (!x->is_unique || x->n_columns != k->n_parts || memcmp(x->columns, k->columns, x->n_columns * sizeof *x->columns) != 0) continue;
      chosen = (int32_t)i;
      take = row->static_size_bytes == old->info.row_type->static_size_bytes && columns_eq(row, old->info.row_type, x->n_columns, x->columns);
    }
  }
  t->numbered = shape->numbered = chosen < 0;
  if (t->numbered) {
    struct lc_type_field *f = lc_arena_alloc_zero(&shape->arena, row->n_fields + 1, sizeof *f);
    if (!f) return oom(err);
    f[0].type = lc_type_primitive(LC_T_U64);
    memcpy(f + 1, row->fields, row->n_fields * sizeof *f);
    cluster.entry_type = lc_type_new_product(&shape->arena, row->n_fields + 1, f);
    cluster.n_parts = 1;
    struct lc_type_field h[2] = {{.type = lc_type_primitive(LC_T_U64)}, {.type = lc_type_primitive(LC_T_U64)}};
    struct lc_key_spec hash = {.entry_type = lc_type_new_product(&shape->arena, 2, h), .n_parts = 2, .columns = {0, 1}};
    if (!tree_set(ds, &t->by_hash, take ? &old->by_hash : NULL, &hash)) return oom(err);
    if (take) t->next_number = old->next_number;
  } else {
    cluster.n_parts = info->indexes[chosen].n_columns;
    memcpy(cluster.columns, info->indexes[chosen].columns, cluster.n_parts * sizeof *cluster.columns);
  }
  if (!tree_set(ds, &t->rows, take ? &old->rows : NULL, &cluster)) return oom(err);
  shape->rows = description(&t->rows);
  bool built[MAX_INDEXES] = {false};
  for (uint32_t i = 0; i < info->n_indexes; i++) {
    const struct lc_index_info *x = &info->indexes[i];
    t->indexes[i].is_cluster = shape->is_cluster[i] = (int32_t)i == chosen;
    if (t->indexes[i].is_cluster) {
      built[i] = true;
      continue;
    }
    uint32_t n = x->n_columns + cluster.n_parts;
    if (n > LC_KEY_MAX_PARTS) return lc_fail(err, LC_LIMIT, "index %.*s has too many columns", (int)x->name.len, (const char *)x->name.data);
    struct lc_type_field f[LC_KEY_MAX_PARTS];
    memset(f, 0, sizeof f);
    struct lc_key_spec spec = {.n_parts = n};
    for (uint32_t k = 0; k < n; k++) {
      f[k].type = k < x->n_columns ? row->fields[x->columns[k]].type : cluster.entry_type->fields[cluster.columns[k - x->n_columns]].type;
      spec.columns[k] = (uint16_t)k;
    }
    spec.entry_type = lc_type_new_product(&shape->arena, n, f);
    const struct lc_tree *from = NULL;
    for (uint32_t k = 0; take && !from && k < old->info.n_indexes; k++) {
      const struct lc_index_info *y = &old->info.indexes[k];
      if (!old->indexes[k].is_cluster && y->n_columns == x->n_columns && memcmp(y->columns, x->columns, x->n_columns * sizeof *x->columns) == 0 &&
          columns_eq(row, old->info.row_type, x->n_columns, x->columns) && !has_tree(t, &old->indexes[k].tree))
        from = &old->indexes[k].tree;
    }
    if (!tree_set(ds, &t->indexes[i].tree, from, &spec)) return oom(err);
    built[i] = from != NULL;
    shape->indexes[i] = description(&t->indexes[i].tree);
  }
  t->simple = !t->numbered && info->n_indexes == 1 && t->rows.key.is_static_offset;
  if (!old) return LC_OK;
  for (uint32_t i = 0; take && i < info->n_indexes; i++)
    if (!built[i] && index_build(t, i) != LC_OK) return oom(err);
  if (take) return LC_OK;
  struct lc_cursor c;
  for (lc_cursor_seek(&c, &old->rows, NULL, NULL, 0, false); lc_cursor_valid(&c); lc_cursor_next(&c))
    if (!rows_insert(t, row_of_entry(old, lc_cursor_entry(&c)))) return oom(err);
  return LC_OK;
}

/* ---- tables come, change and go; undoing it ---- */

static enum lc_status refs_reserve(struct lc_datastore *ds, const struct table *t, struct lc_error *err) {
  enum { MAX_INDEX_ID = 1 << 22 }; /* they are given one after the other; the table of them is that long */
  for (uint32_t i = 0; i < t->info.n_indexes; i++) {
    uint32_t id = t->info.indexes[i].index_id;
    if (id > MAX_INDEX_ID) return lc_fail(err, LC_LIMIT, "index %.*s of table %u has id %u; %d is the greatest possible", (int)t->info.indexes[i].name.len, (const char *)t->info.indexes[i].name.data, t->info.table_id, id, MAX_INDEX_ID);
    if (id >= ds->n_index_refs) {
      uint32_t n = id + 64;
      struct index_ref *p = lc_realloc(ds->index_refs, n * sizeof *p);
      if (!p) return oom(err);
      memset(p + ds->n_index_refs, 0, (n - ds->n_index_refs) * sizeof *p);
      ds->index_refs = p;
      ds->n_index_refs = n;
    }
    const struct table *has = ds->index_refs[id].table;
    if (has && has->info.table_id <= LC_ST_OUTBOX && has->info.table_id != t->info.table_id) return lc_fail(err, LC_CORRUPT, "table %u has an index of id %u, which is one of system table %u", t->info.table_id, id, has->info.table_id);
  }
  return LC_OK;
}
static void refs_set(struct lc_datastore *ds, struct table *t) { /* there is room */
  for (uint32_t i = 0; i < t->info.n_indexes; i++) ds->index_refs[t->info.indexes[i].index_id] = (struct index_ref){t, i};
}

static void refs_clear(struct lc_datastore *ds, const struct table *t) {
  for (uint32_t i = 0; i < t->info.n_indexes; i++)
    if (ds->index_refs[t->info.indexes[i].index_id].table == t) ds->index_refs[t->info.indexes[i].index_id].table = NULL;
}

/* Room for one more entry in the open transaction's list of catalog changes. */
static bool reserve_change(struct lc_tx *tx) {
  if (!tx_reserve_deltas(tx, 1)) return false;
  if (tx->n_catalog < tx->cap_catalog) return true;
  uint32_t cap = tx->cap_catalog ? tx->cap_catalog * 2 : 16;
  struct catalog_change *p = lc_realloc(tx->catalog, cap * sizeof *p);
  if (!p) return false;
  tx->catalog = p;
  tx->cap_catalog = cap;
  return true;
}

static void attach(struct lc_datastore *ds, struct table *t) { /* there is room */
  uint32_t at = ds->n_tables;
  while (at > 0 && ds->tables[at - 1]->info.table_id > t->info.table_id) at--;
  memmove(ds->tables + at + 1, ds->tables + at, (ds->n_tables - at) * sizeof(struct table *));
  ds->tables[at] = t;
  ds->n_tables++;
}
static void detach(struct lc_datastore *ds, struct table *t) {
  uint32_t at = 0;
  while (ds->tables[at] != t) at++;
  memmove(ds->tables + at, ds->tables + at + 1, (--ds->n_tables - at) * sizeof(struct table *));
  refs_clear(ds, t);
}

/* Gives t another content, but keeps what the open transaction has noted about it. */
static void content_swap(struct table *t, const struct table *content) {
  struct table fresh = *content;
  fresh.changes = t->changes;
  fresh.n_changes = t->n_changes;
  fresh.cap_changes = t->cap_changes;
  fresh.n_deletes = t->n_deletes;
  fresh.net = t->net;
  fresh.cap_net = t->cap_net;
  fresh.net_slots = t->net_slots;
  fresh.touched = t->touched;
  *t = fresh;
}

enum lc_status catalog_place(struct lc_datastore *ds, struct shape *shape, uint32_t n_sequences, const struct sequence *sequences, struct lc_error *err) {
  struct table *old = ds_table(ds, shape->info.table_id), *t = lc_alloc_zero(1, sizeof *t);
  if (!t) return shape_unref(shape), oom(err);
  t->ds = ds;
  t->shape = shape;
  t->sequences = lc_alloc_zero(n_sequences, sizeof *t->sequences);
  enum lc_status st = t->sequences ? content_build(ds, t, old, err) : oom(err);
  if (st == LC_OK && n_sequences) {
    memcpy(t->sequences, sequences, n_sequences * sizeof *sequences);
    t->n_sequences = n_sequences;
  }
  if (st == LC_OK && !old && ds->n_tables == ds->cap_tables) {
    uint32_t cap = ds->cap_tables ? ds->cap_tables * 2 : 64;
    struct table **p = lc_realloc(ds->tables, cap * sizeof(struct table *));
    if (p) ds->tables = p;
    if (p) ds->cap_tables = cap;
    else st = oom(err);
  }
  if (st == LC_OK) st = refs_reserve(ds, t, err);
  if (st == LC_OK && ds->tx.open && !reserve_change(&ds->tx)) st = oom(err);
  if (st != LC_OK) {
    content_free(t, old);
    lc_free(t);
    return st;
  }
  schema_forget(ds);
  if (!old) {
    t->is_new = ds->tx.open;
    attach(ds, t);
    refs_set(ds, t);
    if (ds->tx.open) ds->tx.catalog[ds->tx.n_catalog++] = (struct catalog_change){.kind = TABLE_CREATED, .table = t};
    return LC_OK;
  }
  t->is_new = old->is_new;
  struct table before = *old;
  refs_clear(ds, old);
  content_swap(old, t);
  lc_free(t);
  refs_set(ds, old);
  if (ds->tx.open) ds->tx.catalog[ds->tx.n_catalog++] = (struct catalog_change){TABLE_ALTERED, old, before, old->n_changes};
  else content_free(&before, old);
  return LC_OK;
}

static enum lc_status table_remove(struct lc_datastore *ds, struct table *t, struct lc_error *err) {
  if (ds->tx.open && !reserve_change(&ds->tx)) return oom(err);
  schema_forget(ds);
  detach(ds, t);
  if (ds->tx.open) ds->tx.catalog[ds->tx.n_catalog++] = (struct catalog_change){.kind = TABLE_DROPPED, .table = t};
  else table_free(t);
  return LC_OK;
}

/* Undoes the transaction's catalog changes, latest first; a table's row changes since each are undone before it. Rows changed before the first
 * are left to the caller. */
void catalog_rollback(struct lc_tx *tx) {
  struct lc_datastore *ds = tx->ds;
  if (tx->n_catalog) schema_forget(ds);
  while (tx->n_catalog > 0) {
    struct catalog_change *c = &tx->catalog[--tx->n_catalog];
    struct table *t = c->table;
    switch (c->kind) {
    case TABLE_CREATED:
      detach(ds, t);
      tx_forget_table(tx, t);
      table_free(t);
      break;
    case TABLE_DROPPED:
      attach(ds, t);
      refs_set(ds, t);
      break;
    case TABLE_ALTERED: {
      tx_undo_rows(t, c->n_changes);
      struct table after = *t;
      refs_clear(ds, t);
      content_swap(t, &c->old);
      each_tree(t, take_over, &after);
      content_free(&after, t);
      refs_set(ds, t);
      break;
    }
    }
  }
}

/* The transaction has been committed and told: frees what it took away. */
void catalog_end(struct lc_tx *tx) {
  for (uint32_t i = 0; i < tx->n_catalog; i++) {
    struct catalog_change *c = &tx->catalog[i];
    if (c->kind == TABLE_CREATED) c->table->is_new = false;
    if (c->kind != TABLE_ALTERED) continue;
    struct table *next = c->table; /* the content that came after this one */
    for (uint32_t k = i + 1; k < tx->n_catalog; k++)
      if (tx->catalog[k].kind == TABLE_ALTERED && tx->catalog[k].table == c->table) {
        next = &tx->catalog[k].old;
        break;
      }
    content_free(&c->old, next);
  }
  for (uint32_t i = 0; i < tx->n_catalog; i++)
    if (tx->catalog[i].kind == TABLE_DROPPED) {
      tx_forget_table(tx, tx->catalog[i].table);
      table_free(tx->catalog[i].table);
    }
  tx->n_catalog = 0;
}

/* ---- tables from their rows ---- */

static bool row_u32_is(const struct table *st, struct lc_slice row, uint32_t col, uint32_t want) { return memcmp(lc_row_column(st->info.row_type, row.data, col), &want, 4) == 0; }
static struct lc_slice row_bytes(const struct table *st, struct lc_slice row, uint32_t col) { /* of a String or Array<u8> column */
  const uint8_t *p = lc_row_column(st->info.row_type, row.data, col);
  uint32_t n;
  memcpy(&n, p, 4);
  return lc_slice(p + 4, n);
}

/* Copy of the accessor registered for `name` in one of the accessor tables (first column), else of the name itself. NULL data: out of memory. */
static struct lc_slice accessor_of(struct lc_datastore *ds, struct lc_arena *arena, uint32_t st_id, struct lc_slice name) {
  struct table *st = ds_table(ds, st_id);
  struct lc_buf key = {0};
  lc_buf_bsatn_bytes(&key, name);
  struct lc_slice row = lc_buf_ok(&key) ? lc_tree_find(&st->rows, key.data) : lc_slice(NULL, 0), accessor = {0};
  if (lc_buf_ok(&key)) accessor = lc_arena_copy(arena, row.data ? row_bytes(st, row, 1) : name);
  lc_buf_free(&key);
  return accessor;
}

static const uint16_t *take_cols(struct lc_arena *a, const uint8_t *p, uint32_t *n) {
  memcpy(n, p, 4);
  uint16_t *c = lc_arena_alloc_zero(a, *n ? *n : 1, sizeof *c);
  if (c) memcpy(c, p + 4, *n * sizeof *c);
  return c;
}

static bool has_refs(const struct lc_type *t) {
  if (t->kind == LC_T_REF) return true;
  if (t->kind == LC_T_ARRAY) return has_refs(t->elem);
  for (uint32_t i = 0; (t->kind == LC_T_PRODUCT || t->kind == LC_T_SUM) && i < t->n_fields; i++)
    if (has_refs(t->fields[i].type)) return true;
  return false;
}
/* The type that a row of st_column or st_view_param holds: whole, and without references, as there is nothing to refer to. */
static enum lc_status take_type(struct lc_arena *a, struct lc_slice bytes, const struct lc_type **out, struct lc_error *err) {
  struct lc_reader r = lc_reader(bytes);
  enum lc_status st = lc_type_decode(a, &r, out, err);
  if (st == LC_OK && has_refs(*out)) st = lc_fail(err, LC_CORRUPT, "it refers to another type");
  if (st == LC_INVALID) st = err ? (err->status = LC_CORRUPT) : LC_CORRUPT;
  return st;
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

static enum lc_status fill_columns(struct lc_datastore *ds, struct shape *t, struct lc_error *err) {
  enum { MAX_COLUMNS = 1024 };
  struct lc_type_field *f = lc_alloc(MAX_COLUMNS * sizeof *f);
  uint32_t n = 0;
  struct table *st = ds_table(ds, LC_ST_COLUMN);
  struct lc_cursor c;
  enum lc_status status = f ? LC_OK : oom(err);
  for (lc_cursor_seek(&c, &st->rows, NULL, (const uint8_t *)&t->info.table_id, 1, false); status == LC_OK && lc_cursor_valid(&c); lc_cursor_next(&c)) {
    struct lc_slice row = lc_cursor_entry(&c);
    if (!row_u32_is(st, row, 0, t->info.table_id)) break;
    if (n == MAX_COLUMNS) {
      status = lc_fail(err, LC_LIMIT, "table %.*s has more than %d columns", (int)t->info.name.len, (const char *)t->info.name.data, MAX_COLUMNS);
      break;
    }
    f[n].name = lc_arena_copy(&t->arena, row_bytes(st, row, 2));
    f[n].has_name = true;
    status = f[n].name.data ? take_type(&t->arena, row_bytes(st, row, 3), &f[n].type, err) : oom(err);
    if (status == LC_CORRUPT) lc_fail_context(err, "type of column %u of table %.*s", n, (int)t->info.name.len, (const char *)t->info.name.data);
    n++;
  }
  struct lc_slice *accessors = lc_arena_alloc_zero(&t->arena, n, sizeof *accessors);
  t->info.row_type = status == LC_OK ? lc_type_new_product(&t->arena, n, f) : NULL;
  for (uint32_t i = 0; accessors && i < n; i++) accessors[i] = f[i].name;
  lc_free(f);
  if (status == LC_OK && (!t->info.row_type || !accessors)) return oom(err);
  t->info.column_accessors = accessors;
  struct table *sa = ds_table(ds, LC_ST_COLUMN_ACCESSOR); /* clustered by (table name, column name) */
  struct lc_buf key = {0};
  lc_buf_bsatn_bytes(&key, t->info.name);
  if (status == LC_OK && !lc_buf_ok(&key)) status = oom(err);
  if (status == LC_OK)
    for (lc_cursor_seek(&c, &sa->rows, NULL, key.data, 1, false); lc_cursor_valid(&c); lc_cursor_next(&c)) {
      struct lc_slice row = lc_cursor_entry(&c), column = row_bytes(sa, row, 1);
      if (!lc_slice_eq(row_bytes(sa, row, 0), t->info.name)) break;
      for (uint32_t i = 0; i < n; i++) {
        if (!lc_slice_eq(t->info.row_type->fields[i].name, column)) continue;
        accessors[i] = lc_arena_copy(&t->arena, row_bytes(sa, row, 2));
        if (!accessors[i].data) status = oom(err);
      }
    }
  lc_buf_free(&key);
  return status;
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

static enum lc_status fill_indexes(struct lc_datastore *ds, struct shape *t, struct lc_error *err) {
  struct lc_index_info *list = NULL;
  uint32_t cap = 0;
  struct scan s = scan_start(ds, LC_ST_INDEX);
  struct lc_slice row;
  while (scan_next(&s, 1, t->info.table_id, &row)) {
    static const enum lc_index_kind kinds[] = {0, LC_INDEX_BTREE, LC_INDEX_DIRECT, LC_INDEX_HASH};
    if (t->info.n_indexes == MAX_INDEXES) return lc_fail(err, LC_LIMIT, "table %.*s has more than %d indexes", (int)t->info.name.len, (const char *)t->info.name.data, MAX_INDEXES);
    if (t->info.n_indexes == cap) {
      struct lc_index_info *more = lc_arena_alloc_zero(&t->arena, cap ? cap * 2 : 4, sizeof *more);
      if (!more) return oom(err);
      if (cap) memcpy(more, list, cap * sizeof *list);
      list = more;
      cap = cap ? cap * 2 : 4;
    }
    struct lc_index_info *x = &list[t->info.n_indexes++];
    const uint8_t *algorithm = lc_row_column(s.st->info.row_type, row.data, 3);
    memcpy(&x->index_id, row.data, 4);
    if (*algorithm < 1 || *algorithm > 3) return lc_fail(err, LC_CORRUPT, "index %u is of no known kind", x->index_id);
    x->table_id = t->info.table_id;
    x->name = lc_arena_copy(&t->arena, row_bytes(s.st, row, 2));
    x->accessor = accessor_of(ds, &t->arena, LC_ST_INDEX_ACCESSOR, x->name);
    x->kind = kinds[*algorithm];
    if (x->kind == LC_INDEX_DIRECT) {
      uint16_t *c = lc_arena_alloc_zero(&t->arena, 1, sizeof *c);
      if (!c) return oom(err);
      memcpy(c, algorithm + 1, 2);
      x->columns = c;
      x->n_columns = 1;
    } else {
      x->columns = take_cols(&t->arena, algorithm + 1, &x->n_columns);
    }
    if (!x->columns || !x->name.data || !x->accessor.data) return oom(err);
    if (x->n_columns == 0 || x->n_columns > LC_KEY_MAX_PARTS / 2) return lc_fail(err, LC_LIMIT, "index %.*s has %u columns; 1 to %d are possible", (int)x->name.len, (const char *)x->name.data, x->n_columns, LC_KEY_MAX_PARTS / 2);
    for (uint32_t i = 0; i < x->n_columns; i++)
      if (x->columns[i] >= t->info.row_type->n_fields) return lc_fail(err, LC_CORRUPT, "index %.*s names column %u, which does not exist", (int)x->name.len, (const char *)x->name.data, x->columns[i]);
    x->key_type = product_of_columns(&t->arena, t->info.row_type, x->n_columns, x->columns);
    if (!x->key_type) return oom(err);
    x->is_unique = columns_unique(ds, t->info.table_id, x->n_columns, x->columns);
  }
  t->info.indexes = list;
  return LC_OK;
}

static enum lc_status fill_sequences(struct lc_datastore *ds, struct shape *t, struct sequence *list, uint32_t *n, struct lc_error *err) {
  struct scan s = scan_start(ds, LC_ST_SEQUENCE);
  struct lc_slice row;
  *n = 0;
  while (scan_next(&s, 2, t->info.table_id, &row)) {
    struct sequence q = {0};
    if (*n == MAX_SEQUENCES) return lc_fail(err, LC_LIMIT, "table %.*s has more than %d sequences", (int)t->info.name.len, (const char *)t->info.name.data, MAX_SEQUENCES);
    memcpy(&q.sequence_id, row.data, 4);
    memcpy(&q.column, lc_row_column(s.st->info.row_type, row.data, 3), 2);
    if (q.column >= t->info.row_type->n_fields) return lc_fail(err, LC_CORRUPT, "sequence %u names column %u, which does not exist", q.sequence_id, q.column);
    enum lc_type_kind kind = t->info.row_type->fields[q.column].type->kind;
    if (kind < LC_T_I8 || kind > LC_T_U256) {
      t->fault = "it has a sequence of a column that holds no integers";
      continue;
    }
    uint32_t at = (*n)++; /* written back in column order (spec/02 §5.4) */
    for (; at > 0 && list[at - 1].column > q.column; at--) list[at] = list[at - 1];
    list[at] = q;
  }
  return LC_OK;
}

/* The st_view row whose backing table this is. */
static enum lc_status fill_view(struct lc_datastore *ds, struct shape *t, struct lc_error *err) {
  struct table *st = ds_table(ds, LC_ST_VIEW), *sp = ds_table(ds, LC_ST_VIEW_PARAM);
  struct lc_cursor c;
  for (lc_cursor_seek(&c, &st->rows, NULL, NULL, 0, false); lc_cursor_valid(&c); lc_cursor_next(&c)) {
    struct lc_slice row = lc_cursor_entry(&c);
    const uint8_t *table = lc_row_column(st->info.row_type, row.data, 2);
    if (*table != 0 || memcmp(table + 1, &t->info.table_id, 4) != 0) continue;
    struct lc_view_info *v = lc_arena_alloc_zero(&t->arena, 1, sizeof *v);
    struct lc_type_field f[256];
    uint32_t n = 0;
    if (!v) return oom(err);
    memcpy(&v->view_id, row.data, 4);
    v->is_anonymous = *lc_row_column(st->info.row_type, row.data, 4) != 0;
    for (lc_cursor_seek(&c, &sp->rows, NULL, row.data, 1, false); lc_cursor_valid(&c) && n < 256; lc_cursor_next(&c), n++) {
      struct lc_slice param = lc_cursor_entry(&c);
      if (!row_u32_is(sp, param, 0, v->view_id)) break;
      f[n] = (struct lc_type_field){.name = lc_arena_copy(&t->arena, row_bytes(sp, param, 2)), .has_name = true};
      enum lc_status s = f[n].name.data ? take_type(&t->arena, row_bytes(sp, param, 3), &f[n].type, err) : oom(err);
      if (s != LC_OK) return s;
    }
    v->params = lc_type_new_product(&t->arena, n, f);
    t->info.view = v;
    return v->params ? LC_OK : oom(err);
  }
  return LC_OK;
}

/* What names columns that cannot be meant is left out. While a transaction is replayed its deletions may still put it right (lc_datastore_check_catalog). */
static void check_columns(struct shape *t) {
  struct lc_table_info *info = &t->info;
  uint32_t n = info->row_type->n_fields;
  const struct lc_type_field *f = info->row_type->fields;
  if (info->primary_key >= (int32_t)n) {
    t->fault = "its primary key is a column that does not exist";
    info->primary_key = -1;
  }
  if (info->has_schedule && (info->schedule_at_column >= n || f[info->schedule_at_column].type->special != LC_SPECIAL_SCHEDULE_AT || info->primary_key < 0 || f[info->primary_key].type->kind != LC_T_U64)) {
    t->fault = "it is scheduled, and has no primary key of type u64 or its time is no ScheduleAt";
    info->has_schedule = false;
  }
}

static enum lc_status shape_from_rows(struct lc_datastore *ds, struct shape *t, struct lc_slice st_row, struct lc_error *err) {
  struct table *st = ds_table(ds, LC_ST_TABLE);
  struct lc_slice row;
  memcpy(&t->info.table_id, st_row.data, 4);
  t->info.name = lc_arena_copy(&t->arena, row_bytes(st, st_row, 1));
  t->info.accessor = accessor_of(ds, &t->arena, LC_ST_TABLE_ACCESSOR, t->info.name);
  if (!t->info.name.data || !t->info.accessor.data) return oom(err);
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
  t->info.is_outbox = lc_tree_find(&ds_table(ds, LC_ST_OUTBOX)->rows, (const uint8_t *)&t->info.table_id).data != NULL;
  enum lc_status s = fill_columns(ds, t, err);
  if (s == LC_OK) s = fill_indexes(ds, t, err);
  if (s == LC_OK) s = fill_view(ds, t, err);
  struct scan scheduled = scan_start(ds, LC_ST_SCHEDULED);
  if (s == LC_OK && scan_next(&scheduled, 1, t->info.table_id, &row)) {
    t->info.has_schedule = true;
    t->info.schedule_function = lc_arena_copy(&t->arena, row_bytes(scheduled.st, row, 2));
    if (!t->info.schedule_function.data) s = oom(err);
    memcpy(&t->info.schedule_at_column, lc_row_column(scheduled.st->info.row_type, row.data, 4), 2);
  }
  if (s == LC_OK) check_columns(t);
  return s;
}

enum lc_status lc_datastore_check_catalog(const struct lc_datastore *ds, struct lc_error *err) {
  uint64_t modules = lc_tree_count(&ds_table(ds, LC_ST_MODULE)->rows);
  if (modules > 1) return lc_fail(err, LC_CORRUPT, "st_module has %llu rows, of which there can be one", (unsigned long long)modules);
  for (uint32_t i = 0; i < ds->n_tables; i++) {
    const struct shape *t = ds->tables[i]->shape;
    if (t->fault) return lc_fail(err, LC_CORRUPT, "what the system tables say of table %u, %.*s, cannot be: %s", t->info.table_id, (int)t->info.name.len, (const char *)t->info.name.data, t->fault);
  }
  return LC_OK;
}

void catalog_described(struct lc_datastore *ds, struct lc_slice st_table_row) {
  uint32_t id;
  memcpy(&id, st_table_row.data, 4);
  if (id <= LC_ST_OUTBOX) ds->described |= (uint64_t)1 << id;
}

enum lc_status catalog_refresh(struct lc_datastore *ds, uint32_t table_id, struct lc_error *err) {
  struct lc_slice st_row = lc_tree_find(&ds_table(ds, LC_ST_TABLE)->rows, (const uint8_t *)&table_id);
  struct table *there = ds_table(ds, table_id);
  if (!st_row.data) return there ? table_remove(ds, there, err) : LC_OK;
  struct shape *shape = shape_new();
  struct sequence sequences[MAX_SEQUENCES];
  uint32_t n_sequences = 0;
  if (!shape) return oom(err);
  enum lc_status s = shape_from_rows(ds, shape, st_row, err);
  if (s == LC_OK) s = fill_sequences(ds, shape, sequences, &n_sequences, err);
  if (s == LC_OK && !there && table_id < LC_FIRST_USER_ID)
    lc_log(LC_LOG_WARN, "system table %u, %.*s, is of a newer version and not known to this one: its rows are kept", table_id, (int)shape->info.name.len, (const char *)shape->info.name.data);
  if (s != LC_OK) {
    shape_unref(shape);
    return s;
  }
  return catalog_place(ds, shape, n_sequences, sequences, err);
}
