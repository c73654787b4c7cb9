/* Owns: look-ups of tables and indexes by name, canonical or accessor: a hash table made anew when the catalog has changed.
 * Where a canonical name and an accessor are the same word, the canonical one wins. Callers: the face; catalog.c (names_forget). */
#include "engine_internal.h"

struct name_slot { uint64_t hash; struct lc_slice name; const void *info; }; /* info NULL: empty */

enum { TABLES, INDEXES };

void names_forget(struct lc_datastore *ds) {
  for (int kind = TABLES; kind <= INDEXES; kind++) {
    lc_free(ds->names[kind].slots);
    ds->names[kind] = (struct names){0};
  }
}

static void add(struct names *n, struct lc_slice name, const void *info) {
  uint64_t hash = lc_hash64(name.data, name.len, 3);
  if (!name.len) return;
  for (uint64_t at = hash;; at++) {
    struct name_slot *s = &n->slots[at & n->mask];
    if (s->info && s->hash == hash && lc_slice_eq(s->name, name)) return;
    if (s->info) continue;
    *s = (struct name_slot){hash, name, info};
    return;
  }
}

/* false: out of memory, so that the caller looks one by one. */
static bool build(struct lc_datastore *ds, int kind) {
  uint64_t wanted = 8, size = 16;
  for (uint32_t i = 0; i < ds->n_tables; i++) wanted += kind == TABLES ? 2 : 2 * (uint64_t)ds->tables[i]->info.n_indexes;
  while (size < wanted * 2) size *= 2;
  struct names *n = &ds->names[kind];
  if (!(n->slots = lc_alloc_zero(size, sizeof *n->slots))) return false;
  n->mask = size - 1;
  for (int pass = 0; pass < 2; pass++)
    for (uint32_t i = 0; i < ds->n_tables; i++) {
      const struct lc_table_info *t = &ds->tables[i]->info;
      if (kind == TABLES) add(n, pass ? t->accessor : t->name, t);
      for (uint32_t k = 0; kind == INDEXES && k < t->n_indexes; k++) add(n, pass ? t->indexes[k].accessor : t->indexes[k].name, &t->indexes[k]);
    }
  return true;
}

static const void *find(const struct lc_datastore *ds, int kind, struct lc_slice name) {
  struct names *n = &((struct lc_datastore *)(uintptr_t)ds)->names[kind]; /* a cache: the catalog itself does not change */
  if (!n->slots && !build((struct lc_datastore *)(uintptr_t)ds, kind)) lc_panic("out of memory for the names of %u tables", ds->n_tables);
  uint64_t hash = lc_hash64(name.data, name.len, 3);
  for (uint64_t at = hash; n->slots[at & n->mask].info; at++)
    if (n->slots[at & n->mask].hash == hash && lc_slice_eq(n->slots[at & n->mask].name, name)) return n->slots[at & n->mask].info;
  return NULL;
}

const struct lc_table_info *lc_datastore_table_by_name(const struct lc_datastore *ds, struct lc_slice name) { return find(ds, TABLES, name); }
const struct lc_index_info *lc_datastore_index_by_name(const struct lc_datastore *ds, struct lc_slice name) { return find(ds, INDEXES, name); }
