/* Owns: look-ups in the catalog, live and as read views keep it; the life of read views and of the shapes they share.
 *
 * Invariants: a `struct lc_schema` never changes once made; it holds a reference on each shape, a read view one on its schema and one on its
 * snapshot, so that everything a reader can reach lives as long as the view. The datastore keeps the schema of the present catalog, so that
 * opening a view costs two counters. Callers: the face; catalog.c (schema_forget).
 */
#include "engine_internal.h"
#include <stdlib.h>

void shape_ref(struct shape *s) { atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed); }
void shape_unref(struct shape *s) {
  if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1) return;
  struct lc_arena arena = s->arena; /* the shape lies in it */
  lc_arena_free(&arena);
}

/* ---- schemas ---- */

static void schema_unref(struct lc_schema *s) {
  if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1) return;
  for (uint32_t i = 0; i < s->n_shapes; i++) shape_unref(s->shapes[i]);
  lc_free(s->shapes);
  lc_free(s->indexes);
  names_free(&s->names[NAMES_OF_TABLES]);
  names_free(&s->names[NAMES_OF_INDEXES]);
  lc_free(s);
}

void schema_forget(struct lc_datastore *ds) {
  names_free(&ds->names[NAMES_OF_TABLES]);
  names_free(&ds->names[NAMES_OF_INDEXES]);
  schema_unref(ds->schema);
  ds->schema = NULL;
}

static int by_index_id(const void *a, const void *b) {
  const struct schema_index *x = a, *y = b;
  return x->index_id < y->index_id ? -1 : x->index_id > y->index_id;
}

static struct lc_schema *schema_new(struct lc_datastore *ds) {
  struct lc_schema *s = lc_alloc_zero(1, sizeof *s);
  const struct lc_table_info **infos = lc_alloc_zero(ds->n_tables, sizeof(struct lc_table_info *));
  uint32_t n_indexes = 0;
  for (uint32_t i = 0; i < ds->n_tables; i++) n_indexes += ds->tables[i]->info.n_indexes;
  if (s) {
    atomic_store_explicit(&s->refs, 1, memory_order_relaxed);
    s->version = ds->schema_version;
    s->shapes = lc_alloc_zero(ds->n_tables, sizeof(struct shape *));
    s->indexes = lc_alloc_zero(n_indexes, sizeof *s->indexes);
  }
  bool ok = s && infos && s->shapes && s->indexes;
  for (uint32_t i = 0; ok && i < ds->n_tables; i++) {
    struct shape *shape = ds->tables[i]->shape;
    shape_ref(shape);
    s->shapes[s->n_shapes++] = shape;
    infos[i] = &shape->info;
    for (uint32_t k = 0; k < shape->info.n_indexes; k++) s->indexes[s->n_indexes++] = (struct schema_index){shape->info.indexes[k].index_id, k, shape};
  }
  ok = ok && names_build(&s->names[NAMES_OF_TABLES], NAMES_OF_TABLES, s->n_shapes, infos) && names_build(&s->names[NAMES_OF_INDEXES], NAMES_OF_INDEXES, s->n_shapes, infos);
  lc_free(infos);
  if (ok) {
    if (s->n_indexes > 1) qsort(s->indexes, s->n_indexes, sizeof *s->indexes, by_index_id);
    return s;
  }
  schema_unref(s);
  return NULL;
}

struct shape *schema_shape(const struct lc_schema *s, uint32_t table_id) {
  uint32_t low = 0, high = s->n_shapes;
  while (low < high) {
    uint32_t mid = (low + high) / 2, id = s->shapes[mid]->info.table_id;
    if (id == table_id) return s->shapes[mid];
    if (id < table_id) low = mid + 1;
    else high = mid;
  }
  return NULL;
}
struct shape *schema_index(const struct lc_schema *s, uint32_t index_id, uint32_t *at) {
  struct schema_index wanted = {.index_id = index_id};
  const struct schema_index *found = s->n_indexes ? bsearch(&wanted, s->indexes, s->n_indexes, sizeof wanted, by_index_id) : NULL;
  if (!found) return NULL;
  *at = found->at;
  return found->shape;
}

/* ---- views ---- */

enum lc_status lc_read_view_open(struct lc_datastore *ds, struct lc_read_view *out) {
  lc_assert(!ds->tx.open || ds->tx.committed);
  if (!ds->schema) ds->schema = schema_new(ds);
  struct lc_snapshot *snapshot = ds->schema ? lc_snapshot_take(ds->store) : NULL;
  if (!snapshot) return LC_NOMEM;
  atomic_fetch_add_explicit(&ds->schema->refs, 1, memory_order_relaxed);
  *out = (struct lc_read_view){ds, ds->schema, snapshot};
  return LC_OK;
}
struct lc_read_view lc_read_view_ref(struct lc_read_view v) {
  if (!v.schema) return v;
  atomic_fetch_add_explicit(&v.schema->refs, 1, memory_order_relaxed);
  lc_snapshot_ref(v.snapshot);
  return v;
}
void lc_read_view_close(struct lc_read_view *v) {
  if (v->schema) {
    lc_snapshot_release(v->snapshot);
    schema_unref(v->schema);
  }
  *v = (struct lc_read_view){0};
}

/* ---- the catalog, live ---- */

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

static const void *find_by_name(const struct lc_datastore *ds, int kind, struct lc_slice name) {
  struct names *n = &((struct lc_datastore *)(uintptr_t)ds)->names[kind]; /* a cache: the catalog itself does not change */
  if (!n->slots) {
    const struct lc_table_info **infos = lc_alloc_zero(ds->n_tables, sizeof(struct lc_table_info *));
    for (uint32_t i = 0; infos && i < ds->n_tables; i++) infos[i] = &ds->tables[i]->info;
    bool ok = infos && names_build(n, kind, ds->n_tables, infos);
    lc_free(infos);
    if (!ok) { /* no memory for the cache: one by one */
      for (int pass = 0; pass < 2; pass++)
        for (uint32_t i = 0; i < ds->n_tables; i++) {
          const struct lc_table_info *t = &ds->tables[i]->info;
          if (kind == NAMES_OF_TABLES && lc_slice_eq(pass ? t->accessor : t->name, name)) return t;
          for (uint32_t k = 0; kind == NAMES_OF_INDEXES && k < t->n_indexes; k++)
            if (lc_slice_eq(pass ? t->indexes[k].accessor : t->indexes[k].name, name)) return &t->indexes[k];
        }
      return NULL;
    }
  }
  return names_find(n, name);
}
const struct lc_table_info *lc_datastore_table_by_name(const struct lc_datastore *ds, struct lc_slice name) { return find_by_name(ds, NAMES_OF_TABLES, name); }
const struct lc_index_info *lc_datastore_index_by_name(const struct lc_datastore *ds, struct lc_slice name) { return find_by_name(ds, NAMES_OF_INDEXES, name); }

/* ---- the catalog of a view ---- */

const struct lc_table_info *lc_view_table(struct lc_read_view v, uint32_t table_id) {
  if (!v.schema) return lc_datastore_table(v.ds, table_id);
  struct shape *s = schema_shape(v.schema, table_id);
  return s ? &s->info : NULL;
}
const struct lc_index_info *lc_view_index(struct lc_read_view v, uint32_t index_id) {
  uint32_t at;
  if (!v.schema) return lc_datastore_index(v.ds, index_id);
  struct shape *s = schema_index(v.schema, index_id, &at);
  return s ? &s->info.indexes[at] : NULL;
}
const struct lc_table_info *lc_view_table_by_name(struct lc_read_view v, struct lc_slice name) {
  return v.schema ? names_find(&v.schema->names[NAMES_OF_TABLES], name) : lc_datastore_table_by_name(v.ds, name);
}
const struct lc_index_info *lc_view_index_by_name(struct lc_read_view v, struct lc_slice name) {
  return v.schema ? names_find(&v.schema->names[NAMES_OF_INDEXES], name) : lc_datastore_index_by_name(v.ds, name);
}
void lc_view_each_table(struct lc_read_view v, void (*fn)(void *ctx, const struct lc_table_info *), void *ctx) {
  if (!v.schema) {
    lc_datastore_each_table(v.ds, fn, ctx);
    return;
  }
  for (uint32_t i = 0; i < v.schema->n_shapes; i++) fn(ctx, &v.schema->shapes[i]->info);
}
uint64_t lc_view_schema_version(struct lc_read_view v) { return v.schema ? v.schema->version : lc_datastore_schema_version(v.ds); }
