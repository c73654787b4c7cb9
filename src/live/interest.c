/* Owns: the predicate index (DESIGN idea 4): from a changed row to the queries it may concern, without looking at the others. Relations that fix a column to a
 * value are found through a hash of the values of that column, those that bound one through a tree of intervals, the rest is a list for its table.
 *
 * Invariants: an occurrence is in exactly one place, chosen by its search; every occurrence whose conditions a row fulfils is named for it. The intervals of a
 * column are a treap by low bound, each node with the greatest high bound below it. Callers: live.c, evaluate.c.
 */
#include "live_internal.h"

enum { BUCKETS_MIN = 8 };

struct table_interest *interest_of(const struct interest *in, uint32_t table_id) {
  struct table_interest *t = in->tables;
  while (t && t->table_id != table_id) t = t->next;
  return t;
}

static struct column_interest *column_of(struct table_interest *t, uint16_t column) {
  for (uint32_t i = 0; i < t->n_columns; i++)
    if (t->columns[i].column == column) return &t->columns[i];
  return NULL;
}
static uint64_t hash_of(struct lc_slice value) { return lc_hash64(value.data, value.len, 11); }

/* ---- intervals ---- */

/* Order of low bounds; no bound is the least. Ties by address, so that a node can be found again. */
static int compare_nodes(const struct lc_type *type, const struct occurrence *a, const struct occurrence *b) {
  int c = !a->search.low.data ? (!b->search.low.data ? 0 : -1) : !b->search.low.data ? 1 : lc_bsatn_compare(type, a->search.low.data, b->search.low.data);
  return c ? c : (uintptr_t)a < (uintptr_t)b ? -1 : (uintptr_t)a > (uintptr_t)b;
}
static struct occurrence *wider(const struct lc_type *type, struct occurrence *a, struct occurrence *b) { /* of two, the one that ends later */
  if (!a || !b) return a ? a : b;
  if (!a->search.high.data || !b->search.high.data) return !a->search.high.data ? a : b;
  return lc_bsatn_compare(type, a->search.high.data, b->search.high.data) >= 0 ? a : b;
}
static void renew(const struct lc_type *type, struct occurrence *o) {
  o->widest = o;
  if (o->left) o->widest = wider(type, o->widest, o->left->widest);
  if (o->right) o->widest = wider(type, o->widest, o->right->widest);
}
/* Splits at `at`: what is before it, and what is after. */
static void split(const struct lc_type *type, struct occurrence *root, const struct occurrence *at, struct occurrence **before, struct occurrence **after) {
  if (!root) {
    *before = *after = NULL;
  } else if (compare_nodes(type, root, at) < 0) {
    split(type, root->right, at, &root->right, after);
    *before = root;
    renew(type, root);
  } else {
    split(type, root->left, at, before, &root->left);
    *after = root;
    renew(type, root);
  }
}
static struct occurrence *merge(const struct lc_type *type, struct occurrence *a, struct occurrence *b) {
  if (!a || !b) return a ? a : b;
  if (a->priority > b->priority) {
    a->right = merge(type, a->right, b);
    renew(type, a);
    return a;
  }
  b->left = merge(type, a, b->left);
  renew(type, b);
  return b;
}
static struct occurrence *removed(const struct lc_type *type, struct occurrence *root, const struct occurrence *o) {
  if (!root) return NULL;
  if (root == o) return merge(type, root->left, root->right);
  if (compare_nodes(type, o, root) < 0) root->left = removed(type, root->left, o);
  else root->right = removed(type, root->right, o);
  renew(type, root);
  return root;
}
static void stab(const struct lc_type *type, struct occurrence *o, const uint8_t *value, void (*hit)(void *ctx, struct occurrence *o), void *ctx) {
  while (o) {
    if (o->widest->search.high.data && lc_bsatn_compare(type, o->widest->search.high.data, value) < 0) return; /* all below end before it */
    stab(type, o->left, value, hit, ctx);
    if (o->search.low.data && lc_bsatn_compare(type, o->search.low.data, value) > 0) return; /* this one and all to the right begin after it */
    if (!o->search.high.data || lc_bsatn_compare(type, o->search.high.data, value) >= 0) hit(ctx, o);
    o = o->right;
  }
}

/* ---- adding and removing ---- */

static struct column_interest *need_column(struct table_interest *t, const struct lc_search *s) {
  struct column_interest *c = column_of(t, s->column);
  if (c) return c;
  struct column_interest *more = lc_realloc(t->columns, (t->n_columns + 1) * sizeof *more);
  if (!more) return NULL;
  t->columns = more;
  c = &more[t->n_columns++];
  *c = (struct column_interest){.column = s->column, .type = s->type};
  return c;
}
static bool add_value(struct column_interest *c, struct occurrence *o) {
  if (!c->buckets || c->n_values > c->mask) {
    uint32_t n = c->buckets ? (c->mask + 1) * 2 : BUCKETS_MIN;
    struct occurrence **buckets = lc_alloc_zero(n, sizeof(struct occurrence *));
    if (!buckets && !c->buckets) return false;
    if (buckets) { /* else chains get longer */
      for (uint32_t i = 0; c->buckets && i <= c->mask; i++)
        for (struct occurrence *x = c->buckets[i], *next; x; x = next) {
          next = x->next;
          x->next = buckets[x->value_hash & (n - 1)];
          buckets[x->value_hash & (n - 1)] = x;
        }
      lc_free(c->buckets);
      c->buckets = buckets;
      c->mask = n - 1;
    }
  }
  o->value_hash = hash_of(o->search.value);
  o->next = c->buckets[o->value_hash & c->mask];
  c->buckets[o->value_hash & c->mask] = o;
  c->n_values++;
  return true;
}

static void drop_table(struct interest *in, struct table_interest *t) {
  struct table_interest **at = &in->tables;
  while (*at != t) at = &(*at)->next;
  *at = t->next;
  for (uint32_t i = 0; i < t->n_columns; i++) lc_free(t->columns[i].buckets);
  lc_free(t->columns);
  lc_free(t);
}

bool interest_add(struct interest *in, struct occurrence *o) {
  struct table_interest *t = interest_of(in, o->table_id);
  if (!t) {
    if (!(t = lc_alloc_zero(1, sizeof *t))) return false;
    t->table_id = o->table_id;
    t->next = in->tables;
    in->tables = t;
  }
  struct column_interest *c = o->search.kind == LC_SEARCH_ANY ? NULL : need_column(t, &o->search);
  bool ok = o->search.kind == LC_SEARCH_ANY || c;
  if (ok && o->search.kind == LC_SEARCH_EQUAL) {
    ok = add_value(c, o);
  } else if (ok && o->search.kind == LC_SEARCH_RANGE) {
    struct occurrence *before, *after;
    uint64_t mix = (uint64_t)(uintptr_t)o * 0x9e3779b97f4a7c15u;
    o->priority = (uint32_t)(mix >> 32);
    o->left = o->right = NULL;
    o->widest = o;
    split(c->type, c->intervals, o, &before, &after);
    c->intervals = merge(c->type, merge(c->type, before, o), after);
  } else if (ok) {
    o->next = t->any;
    t->any = o;
  }
  if (ok) t->n_occurrences++;
  else if (t->n_occurrences == 0) drop_table(in, t);
  return ok;
}

static void unlist(struct occurrence **head, struct occurrence *o) {
  while (*head != o) head = &(*head)->next;
  *head = o->next;
}
void interest_remove(struct interest *in, struct occurrence *o) {
  struct table_interest *t = interest_of(in, o->table_id);
  struct column_interest *c = o->search.kind == LC_SEARCH_ANY ? NULL : column_of(t, o->search.column);
  if (o->search.kind == LC_SEARCH_EQUAL) {
    unlist(&c->buckets[o->value_hash & c->mask], o);
    c->n_values--;
  } else if (o->search.kind == LC_SEARCH_RANGE) {
    c->intervals = removed(c->type, c->intervals, o);
  } else {
    unlist(&t->any, o);
  }
  if (--t->n_occurrences == 0) drop_table(in, t);
}

void interest_match(struct table_interest *t, const struct lc_type *row_type, struct lc_slice row, void (*hit)(void *ctx, struct occurrence *o), void *ctx) {
  for (struct occurrence *o = t->any; o; o = o->next) hit(ctx, o);
  for (uint32_t i = 0; i < t->n_columns; i++) {
    struct column_interest *c = &t->columns[i];
    if (!c->n_values && !c->intervals) continue;
    const uint8_t *at = lc_row_column(row_type, row.data, c->column);
    if (c->n_values) {
      size_t len = c->type->static_size_bytes != LC_SIZE_DYNAMIC ? c->type->static_size_bytes : (size_t)(lc_bsatn_skip(c->type, at) - at);
      struct lc_slice value = lc_slice(at, len);
      uint64_t hash = hash_of(value);
      for (struct occurrence *o = c->buckets[hash & c->mask]; o; o = o->next)
        if (o->value_hash == hash && lc_slice_eq(o->search.value, value)) hit(ctx, o);
    }
    stab(c->type, c->intervals, at, hit, ctx);
  }
}

void interest_free(struct interest *in) {
  while (in->tables) drop_table(in, in->tables);
}
