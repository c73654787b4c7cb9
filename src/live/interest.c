/* Owns: the predicate index (DESIGN idea 4): from a changed row to the queries it may concern, without looking at the others. Relations that fix a column to a
 * value are found through a hash of the values of that column, those that bound columns through a tree of boxes (boxes.c); for those that do neither, but are
 * joined to one that does, the row's partners are looked up and asked instead (an edge); the rest is a list for its table.
 *
 * Invariants: an occurrence is in exactly one place; every occurrence whose conditions a row fulfils is named for it. Callers: live.c, evaluate.c.
 */
#include "live_internal.h"

enum { SLOTS_MIN = 8 };

struct value_slot { uint64_t hash; struct occurrence *first; }; /* first NULL: free */
struct group { /* of searches by the same columns */
  struct group *next;
  bool is_boxes;
  uint32_t n_columns; uint16_t columns[LC_SEARCH_MAX_COLUMNS];
  /* by the columns' values, one behind the other: open addressing, at most half full. Small: they are 8 bytes at most, and the hash tells them apart. */
  bool is_small;
  struct value_slot *slots; uint32_t mask, n_values;
  struct boxes boxes;
};
_Static_assert((int)LC_SEARCH_MAX_INTERVALS <= (int)LC_SEARCH_MAX_COLUMNS, "columns has room for either");

struct table_interest *interest_of(const struct interest *in, uint32_t table_id) {
  struct table_interest *t = in->tables;
  while (t && t->table_id != table_id) t = t->next;
  return t;
}

/* Of a small value a bijection, so that nothing else need be compared. */
static uint64_t hash_of(const struct group *g, struct lc_slice value) {
  uint64_t x = 0;
  if (!g->is_small) return lc_hash64(value.data, value.len, 11);
  memcpy(&x, value.data, value.len);
  x = (x ^ x >> 32) * 0x9fb21c651e98df25u;
  return x ^ x >> 32;
}

/* ---- lists that know who points to them ---- */

static void link_in(struct occurrence **head, struct occurrence *o) {
  o->next = *head;
  o->back = head;
  if (o->next) o->next->back = &o->next;
  *head = o;
}
static void link_out(struct occurrence *o) {
  *o->back = o->next;
  if (o->next) o->next->back = o->back;
}

/* ---- adding and removing ---- */

static struct group *need_group(struct table_interest *t, const struct lc_type *row_type, const struct lc_search *s) {
  bool is_boxes = s->kind == LC_SEARCH_BOX;
  uint16_t columns[LC_SEARCH_MAX_COLUMNS] = {0};
  uint32_t n = is_boxes ? s->n_intervals : s->n_columns;
  for (uint32_t i = 0; i < n; i++) columns[i] = is_boxes ? s->intervals[i].column : s->columns[i];
  for (struct group *g = t->groups; g; g = g->next)
    if (g->is_boxes == is_boxes && g->n_columns == n && memcmp(g->columns, columns, sizeof columns) == 0) return g;
  struct group *g = lc_alloc_zero(1, sizeof *g);
  if (!g) return NULL;
  g->is_boxes = is_boxes;
  g->n_columns = n;
  memcpy(g->columns, columns, sizeof columns);
  uint32_t bytes = 0;
  for (uint32_t i = 0; i < n && bytes <= 8; i++) {
    uint32_t size = row_type->fields[columns[i]].type->static_size_bytes;
    bytes = size == LC_SIZE_DYNAMIC ? 9 : bytes + size;
  }
  g->is_small = bytes <= 8;
  if (is_boxes && !boxes_init(&g->boxes, row_type, n, columns)) {
    lc_free(g);
    return NULL;
  }
  g->next = t->groups;
  t->groups = g;
  return g;
}
/* The slot of a value, or the free one where it would be. */
static struct value_slot *slot_of(const struct group *g, uint64_t hash, struct lc_slice value) {
  for (uint32_t i = (uint32_t)hash & g->mask;; i = (i + 1) & g->mask) {
    struct value_slot *s = &g->slots[i];
    if (!s->first || (s->hash == hash && (g->is_small || lc_slice_eq(s->first->value, value)))) return s;
  }
}
static bool more_slots(struct group *g) {
  uint32_t n = g->slots ? (g->mask + 1) * 2 : SLOTS_MIN, n_old = g->slots ? g->mask + 1 : 0;
  struct value_slot *old = g->slots, *slots = lc_alloc_zero(n, sizeof *slots);
  if (!slots) return false;
  g->slots = slots;
  g->mask = n - 1;
  for (uint32_t i = 0; i < n_old; i++) {
    if (!old[i].first) continue;
    struct value_slot *to = slot_of(g, old[i].hash, old[i].first->value);
    *to = old[i];
    to->first->back = &to->first;
  }
  lc_free(old);
  return true;
}
static bool add_value(struct group *g, struct occurrence *o, const struct lc_search *s) {
  size_t len = 0;
  uint8_t *value;
  if ((!g->slots || g->n_values * 2 > g->mask) && !more_slots(g)) return false;
  for (uint32_t i = 0; i < s->n_columns; i++) len += s->values[i].len;
  if (!(value = lc_alloc(len + 1))) return false;
  o->value = lc_slice(value, len);
  for (uint32_t i = 0; i < s->n_columns; value += s->values[i++].len) memcpy(value, s->values[i].data, s->values[i].len);
  o->value_hash = hash_of(g, o->value);
  struct value_slot *slot = slot_of(g, o->value_hash, o->value);
  g->n_values += !slot->first;
  slot->hash = o->value_hash;
  link_in(&slot->first, o);
  return true;
}
/* Closes the gap that a slot leaves, so that no search ends at it too early. */
static void free_slot(struct group *g, uint32_t gap) {
  g->n_values--;
  for (uint32_t i = (gap + 1) & g->mask; g->slots[i].first; i = (i + 1) & g->mask) {
    uint32_t home = (uint32_t)g->slots[i].hash & g->mask;
    if (((i - home) & g->mask) < ((i - gap) & g->mask)) continue; /* it is at home behind the gap */
    g->slots[gap] = g->slots[i];
    g->slots[gap].first->back = &g->slots[gap].first;
    g->slots[i].first = NULL;
    gap = i;
  }
}
static void remove_value(struct group *g, struct occurrence *o) {
  struct value_slot *slot = slot_of(g, o->value_hash, o->value);
  link_out(o);
  if (!slot->first) free_slot(g, (uint32_t)(slot - g->slots));
  lc_free((void *)(uintptr_t)o->value.data);
  o->value = lc_slice(NULL, 0);
}

static void table_clear(struct table_interest *t) {
  for (struct group *g; (g = t->groups);) {
    t->groups = g->next;
    lc_free(g->slots);
    boxes_free(&g->boxes);
    lc_free(g);
  }
  for (struct edge *e; (e = t->edges);) {
    t->edges = e->next;
    table_clear(&e->partners);
    lc_free(e);
  }
}
static void drop_table(struct interest *in, struct table_interest *t) {
  struct table_interest **at = &in->tables;
  while (*at != t) at = &(*at)->next;
  *at = t->next;
  table_clear(t);
  lc_free(t);
}

static bool table_add(struct table_interest *t, const struct lc_type *row_type, struct occurrence *o, const struct lc_search *s) {
  o->is_complete = s->kind == LC_SEARCH_EQUAL && s->is_complete; /* of boxes, boxes_add says it */
  if (s->kind == LC_SEARCH_ANY) {
    link_in(&t->any, o);
  } else {
    struct group *g = need_group(t, row_type, s);
    if (!g || !(s->kind == LC_SEARCH_EQUAL ? add_value(g, o, s) : boxes_add(&g->boxes, o, s))) return false;
    o->group = g;
  }
  t->n_occurrences++;
  return true;
}
static struct edge *need_edge(struct table_interest *t, const struct lc_edge *a) {
  for (struct edge *e = t->edges; e; e = e->next)
    if (e->column == a->column && e->index_id == a->index->index_id) return e;
  struct edge *e = lc_alloc_zero(1, sizeof *e);
  if (!e) return NULL;
  *e = (struct edge){.next = t->edges, .column = a->column, .index_id = a->index->index_id, .partner = a->partner, .partner_column = a->index->columns[0]};
  t->edges = e;
  return e;
}

bool interest_add(struct interest *in, struct occurrence *o, const struct lc_table_info *table, const struct lc_search *s, const struct lc_edge *edge) {
  struct table_interest *t = interest_of(in, o->table_id);
  if (!t) {
    if (!(t = lc_alloc_zero(1, sizeof *t))) return false;
    t->table_id = o->table_id;
    t->next = in->tables;
    in->tables = t;
  }
  o->group = NULL;
  o->edge = s->kind == LC_SEARCH_ANY && edge && edge->search.kind != LC_SEARCH_ANY ? need_edge(t, edge) : NULL;
  bool ok = o->edge ? table_add(&o->edge->partners, edge->partner->row_type, o, &edge->search) : table_add(t, table ? table->row_type : NULL, o, s);
  if (o->edge) o->is_complete = false; /* it was the partner that was asked */
  if (ok && o->edge) t->n_occurrences++;
  else if (t->n_occurrences == 0) drop_table(in, t);
  return ok;
}

void interest_remove(struct interest *in, struct occurrence *o) {
  struct table_interest *t = interest_of(in, o->table_id);
  struct group *g = o->group;
  if (g && g->is_boxes) {
    boxes_remove(&g->boxes, o);
  } else if (g) {
    remove_value(g, o);
  } else {
    link_out(o);
  }
  if (o->edge && --o->edge->partners.n_occurrences == 0) {
    struct edge **at = &t->edges;
    while (*at != o->edge) at = &(*at)->next;
    *at = o->edge->next;
    table_clear(&o->edge->partners);
    lc_free(o->edge);
  }
  if (--t->n_occurrences == 0) drop_table(in, t);
}

/* ---- asking ---- */

static void values_every(const struct group *g, void (*hit)(void *ctx, struct occurrence *o), void *ctx) {
  for (uint32_t i = 0; g->n_values && i <= g->mask; i++)
    for (struct occurrence *o = g->slots[i].first; o; o = o->next) hit(ctx, o);
}
struct lc_slice interest_column(const struct lc_type *row_type, struct lc_slice row, uint16_t column) {
  const struct lc_type *t = row_type->fields[column].type;
  const uint8_t *at = lc_row_column(row_type, row.data, column);
  return lc_slice(at, t->static_size_bytes != LC_SIZE_DYNAMIC ? t->static_size_bytes : (size_t)(lc_bsatn_skip(t, at) - at));
}
static void match_values(const struct group *g, const struct lc_type *row_type, struct lc_slice row, void (*hit)(void *ctx, struct occurrence *o), void *ctx) {
  uint8_t room[256];
  struct lc_slice value = interest_column(row_type, row, g->columns[0]), parts[LC_SEARCH_MAX_COLUMNS] = {value};
  for (uint32_t i = 1; i < g->n_columns; i++) {
    parts[i] = interest_column(row_type, row, g->columns[i]);
    value.len += parts[i].len;
  }
  uint8_t *joined = g->n_columns == 1 ? NULL : value.len <= sizeof room ? room : lc_alloc(value.len);
  if (g->n_columns > 1) {
    if (!joined) { /* no memory to tell them apart: all are asked */
      values_every(g, hit, ctx);
      return;
    }
    for (uint32_t i = 0, at = 0; i < g->n_columns; at += (uint32_t)parts[i++].len) memcpy(joined + at, parts[i].data, parts[i].len);
    value.data = joined;
  }
  for (struct occurrence *o = slot_of(g, hash_of(g, value), value)->first; o; o = o->next) hit(ctx, o);
  if (joined != room) lc_free(joined);
}
void interest_prefetch(const struct table_interest *t, const struct lc_type *row_type, struct lc_slice row, unsigned step) {
  enum { WORTH_IT = 32768 }; /* slots: fewer queries are in the cache anyway */
  for (const struct group *g = t->groups; g; g = g->next) {
    if (g->is_boxes || !g->is_small || g->n_columns != 1 || g->mask < WORTH_IT) continue;
    const struct value_slot *s = &g->slots[(uint32_t)hash_of(g, interest_column(row_type, row, g->columns[0])) & g->mask];
    if (step == 0) __builtin_prefetch(s);
    else if (s->first)
      for (unsigned line = 0; line < sizeof(struct query); line += 64) __builtin_prefetch((const char *)s->first + line, 1);
  }
}
void interest_match(const struct table_interest *t, const struct lc_type *row_type, struct lc_slice row, void (*hit)(void *ctx, struct occurrence *o), void *ctx) {
  for (struct occurrence *o = t->any; o; o = o->next) hit(ctx, o);
  for (struct group *g = t->groups; g; g = g->next) {
    if (g->is_boxes) boxes_match(&g->boxes, row_type, row, hit, ctx);
    else if (g->n_values) match_values(g, row_type, row, hit, ctx);
  }
}
void interest_every(const struct table_interest *t, void (*hit)(void *ctx, struct occurrence *o), void *ctx) {
  for (struct occurrence *o = t->any; o; o = o->next) hit(ctx, o);
  for (struct group *g = t->groups; g; g = g->next) {
    if (g->is_boxes) boxes_every(&g->boxes, hit, ctx);
    else values_every(g, hit, ctx);
  }
}

void interest_free(struct interest *in) {
  while (in->tables) drop_table(in, in->tables);
}
