/* Owns: look-ups of tables and indexes by name, canonical or accessor: a hash table made anew when the catalog has changed.
 * Where a canonical name and an accessor are the same word, the canonical one wins. Callers: view.c. */
#include "engine_internal.h"

struct name_slot { uint64_t hash; struct lc_slice name; const void *info; }; /* info NULL: empty */

void names_free(struct names *n) {
  lc_free(n->slots);
  *n = (struct names){0};
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

bool names_build(struct names *n, int kind, uint32_t n_tables, const struct lc_table_info *const *tables) {
  uint64_t wanted = 8, size = 16;
  for (uint32_t i = 0; i < n_tables; i++) wanted += kind == NAMES_OF_TABLES ? 2 : 2 * (uint64_t)tables[i]->n_indexes;
  while (size < wanted * 2) size *= 2;
  if (!(n->slots = lc_alloc_zero(size, sizeof *n->slots))) return false;
  n->mask = size - 1;
  for (int pass = 0; pass < 2; pass++)
    for (uint32_t i = 0; i < n_tables; i++) {
      const struct lc_table_info *t = tables[i];
      if (kind == NAMES_OF_TABLES) add(n, pass ? t->accessor : t->name, t);
      for (uint32_t k = 0; kind == NAMES_OF_INDEXES && k < t->n_indexes; k++) add(n, pass ? t->indexes[k].accessor : t->indexes[k].name, &t->indexes[k]);
    }
  return true;
}

const void *names_find(const struct names *n, struct lc_slice name) {
  uint64_t hash = lc_hash64(name.data, name.len, 3);
  for (uint64_t at = hash; n->slots[at & n->mask].info; at++)
    if (n->slots[at & n->mask].hash == hash && lc_slice_eq(n->slots[at & n->mask].name, name)) return n->slots[at & n->mask].info;
  return NULL;
}
