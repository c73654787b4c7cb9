/* Rows in their trees: the physical half of a table. No constraints here, no transaction; a table's rows and index entries always agree.
 *
 * Invariants: every change happens whole or not at all: what removals from several trees may need is kept before the first of them, and the scratch
 * buffers of the datastore are made large enough for whatever is taken out. Callers: tx.c, sequence.c, record.c (replay), catalog.c and restore.c
 * (indexes over rows that are there).
 */
#include "engine_internal.h"

struct lc_slice row_of_entry(const struct table *t, struct lc_slice entry) {
  if (!entry.data || !t->numbered) return entry;
  return lc_slice(entry.data + 8, entry.len - 8);
}

static uint64_t row_hash(struct lc_slice row) { return lc_hash64(row.data, row.len, 1); }

/* The number of the row equal to `row` in a numbered table; false: not there. */
static bool find_number(struct table *t, struct lc_slice row, uint64_t *number, struct lc_slice *stored) {
  uint64_t hash = row_hash(row);
  struct lc_cursor c;
  for (lc_cursor_seek(&c, &t->by_hash, NULL, (const uint8_t *)&hash, 1, false); lc_cursor_valid(&c); lc_cursor_next(&c)) {
    struct lc_slice e = lc_cursor_entry(&c);
    if (memcmp(e.data, &hash, 8) != 0) return false;
    struct lc_slice entry = lc_tree_find(&t->rows, e.data + 8);
    if (!lc_slice_eq(row_of_entry(t, entry), row)) continue;
    memcpy(number, e.data + 8, 8);
    *stored = row_of_entry(t, entry);
    return true;
  }
  return false;
}

/* The cluster key of a row: its bytes in the row when they lie together, else concatenated in the datastore's scratch. NULL: out of memory,
 * which cannot be for a row that is stored. */
static const uint8_t *cluster_key(const struct table *t, struct lc_slice row) {
  if (t->rows.key.is_prefix) return row.data;
  if (t->rows.key.is_static_offset) return row.data + t->rows.key.offset_bytes;
  struct lc_buf *scratch = &t->ds->key;
  lc_buf_clear(scratch);
  lc_key_extract(&t->rows.key, row.data, scratch);
  return lc_buf_ok(scratch) ? scratch->data : NULL;
}

struct lc_slice rows_find_equal(struct table *t, struct lc_slice row) {
  struct lc_slice stored = {0};
  uint64_t number;
  if (t->numbered) return find_number(t, row, &number, &stored) ? stored : lc_slice(NULL, 0);
  const uint8_t *key = cluster_key(t, row);
  if (!key) return lc_slice(NULL, 0); /* longer than any that is stored */
  stored = lc_tree_find(&t->rows, key);
  return stored.data && lc_slice_eq(stored, row) ? stored : lc_slice(NULL, 0);
}

/* The entry of index `at` for a row, in the datastore's scratch. NULL: out of memory, which cannot be for a row that is stored. */
static const struct lc_buf *index_entry(struct table *t, uint32_t at, struct lc_slice row, const uint8_t *ckey, size_t clen) {
  const struct lc_index_info *info = &t->info.indexes[at];
  struct lc_buf *e = &t->ds->entry;
  lc_buf_clear(e);
  for (uint32_t i = 0; i < info->n_columns; i++) {
    const uint8_t *p = lc_row_column(t->info.row_type, row.data, info->columns[i]);
    lc_buf_append(e, p, (size_t)(lc_bsatn_skip(t->info.row_type->fields[info->columns[i]].type, p) - p));
  }
  lc_buf_append(e, ckey, clen);
  return lc_buf_ok(e) ? e : NULL;
}
static bool index_add(struct table *t, uint32_t at, struct lc_slice row, const uint8_t *ckey, size_t clen) {
  if (t->indexes[at].is_cluster) return true;
  const struct lc_buf *e = index_entry(t, at, row, ckey, clen);
  return e && lc_tree_insert(&t->indexes[at].tree, lc_buf_slice(e), NULL) != LC_TREE_NOMEM;
}
static void index_take(struct table *t, uint32_t at, struct lc_slice row, const uint8_t *ckey, size_t clen) {
  if (t->indexes[at].is_cluster) return;
  const struct lc_buf *e = index_entry(t, at, row, ckey, clen);
  if (!e || lc_tree_remove(&t->indexes[at].tree, e->data) != LC_TREE_DONE) lc_panic("index %u of table %u has no entry for a row", t->info.indexes[at].index_id, t->info.table_id);
}

/* Sees to it that `row` can be taken out of the table's trees, or of those marked in `only` (NULL: all): until removal_end. false: out of memory. */
static bool removal_begin(struct table *t, struct lc_slice row, const bool *only) {
  struct lc_nodes needs = {0};
  struct lc_buf *key = &t->ds->key, *entry = &t->ds->entry;
  if (lc_store_phase(t->ds->store) == LC_STORE_UNDOING) return true; /* the row went through these buffers when it was put in, and nodes are there */
  lc_buf_clear(key);
  lc_buf_clear(entry);
  /* a cluster key is no longer than its row or a number; an index entry has columns of the row and a cluster key behind them */
  if (!lc_buf_reserve(key, row.len) || !lc_buf_reserve(entry, 2 * (row.len + ROW_PLACE_BYTES)) || !lc_tree_reserve_key(&t->rows, row.len)) return false;
  for (uint32_t i = 0; i < t->info.n_indexes; i++)
    if (!t->indexes[i].is_cluster && (!only || only[i])) lc_tree_removal_needs(&t->indexes[i].tree, &needs);
  if (!only && t->numbered) lc_tree_removal_needs(&t->by_hash, &needs);
  if (!only) lc_tree_removal_needs(&t->rows, &needs);
  return lc_store_keep(t->ds->store, needs);
}
static void removal_end(struct table *t) { lc_store_keep(t->ds->store, (struct lc_nodes){0}); }

enum lc_tree_result rows_delete(struct table *t, struct lc_slice row, uint8_t *place) {
  uint64_t number = 0;
  struct lc_slice stored = {0};
  const uint8_t *key;
  if (!removal_begin(t, row, NULL)) return LC_TREE_NOMEM;
  if (t->numbered) {
    if (!find_number(t, row, &number, &stored)) return removal_end(t), LC_TREE_ABSENT;
    key = (const uint8_t *)&number;
  } else {
    key = cluster_key(t, row);
    stored = lc_tree_find(&t->rows, key);
    if (!stored.data || !lc_slice_eq(stored, row)) return removal_end(t), LC_TREE_ABSENT;
  }
  size_t clen = lc_key_len(&t->rows.key, key, t->rows.key.n_parts);
  for (uint32_t i = 0; i < t->info.n_indexes; i++) index_take(t, i, row, key, clen);
  if (t->numbered) {
    uint64_t entry[2] = {row_hash(row), number};
    if (lc_tree_remove(&t->by_hash, (const uint8_t *)entry) != LC_TREE_DONE) lc_panic("a row of table %u has no hash entry", t->info.table_id);
    if (place) memcpy(place, &number, ROW_PLACE_BYTES);
  }
  if (lc_tree_remove(&t->rows, key) != LC_TREE_DONE) lc_panic("a row of table %u cannot be taken out", t->info.table_id);
  removal_end(t);
  return LC_TREE_DONE;
}

/* Around taking back what a change that fails has put in. */
static enum lc_store_phase back_begin(struct table *t) { return lc_store_phase(t->ds->store) == LC_STORE_PLAIN ? LC_STORE_PLAIN : lc_store_set_phase(t->ds->store, LC_STORE_UNDOING); }
static void back_end(struct table *t, enum lc_store_phase before) {
  if (before != LC_STORE_PLAIN) lc_store_set_phase(t->ds->store, before);
}

/* number: of a numbered table. */
static bool insert_at(struct table *t, struct lc_slice row, uint64_t number) {
  uint64_t hash_entry[2] = {0, number};
  const uint8_t *key;
  if (t->numbered) {
    struct lc_buf *entry = &t->ds->entry;
    lc_buf_clear(entry);
    lc_buf_u64(entry, number);
    lc_buf_slice_append(entry, row);
    if (!lc_buf_ok(entry) || lc_tree_insert(&t->rows, lc_buf_slice(entry), NULL) != LC_TREE_DONE) return false;
    key = (const uint8_t *)&hash_entry[1];
    hash_entry[0] = row_hash(row);
    if (lc_tree_insert(&t->by_hash, lc_slice(hash_entry, 16), NULL) != LC_TREE_DONE) {
      enum lc_store_phase before = back_begin(t);
      lc_tree_remove(&t->rows, key);
      back_end(t, before);
      return false;
    }
  } else {
    key = cluster_key(t, row);
    if (!key || lc_tree_insert(&t->rows, row, NULL) != LC_TREE_DONE) return false;
  }
  if (t->info.n_indexes) {
    size_t clen = lc_key_len(&t->rows.key, key, t->rows.key.n_parts);
    for (uint32_t i = 0; i < t->info.n_indexes; i++) {
      if (index_add(t, i, row, key, clen)) continue;
      enum lc_store_phase before = back_begin(t);
      while (i-- > 0) index_take(t, i, row, key, clen);
      if (t->numbered) lc_tree_remove(&t->by_hash, (const uint8_t *)hash_entry);
      lc_tree_remove(&t->rows, key);
      back_end(t, before);
      return false;
    }
  }
  return true;
}

bool rows_insert(struct table *t, struct lc_slice row) {
  if (!insert_at(t, row, t->next_number)) return false;
  t->next_number++;
  return true;
}

bool rows_restore(struct table *t, struct lc_slice row, const uint8_t *place) {
  uint64_t number = 0;
  if (t->numbered) memcpy(&number, place, ROW_PLACE_BYTES);
  return insert_at(t, row, number);
}

/* The rows have one entry in this index: their keys are equal in its order, which bytes of floats need not be (0 and -0). */
static bool same_columns(const struct table *t, const struct lc_index_info *info, struct lc_slice a, struct lc_slice b) {
  const struct lc_type *row = t->info.row_type;
  for (uint32_t i = 0; i < info->n_columns; i++) {
    const uint8_t *x = lc_row_column(row, a.data, info->columns[i]), *y = lc_row_column(row, b.data, info->columns[i]);
    const struct lc_type *type = row->fields[info->columns[i]].type;
    size_t n = type->static_size_bytes != LC_SIZE_DYNAMIC ? type->static_size_bytes : (size_t)(lc_bsatn_skip(type, x) - x);
    if (type->static_size_bytes == LC_SIZE_DYNAMIC && (size_t)(lc_bsatn_skip(type, y) - y) != n) return false;
    if (memcmp(x, y, n) != 0 && lc_bsatn_compare(type, x, y) != 0) return false;
  }
  return true;
}

bool rows_replace(struct table *t, struct lc_slice old, struct lc_slice row) {
  if (t->info.n_indexes == 1) return lc_tree_replace(&t->rows, row) == LC_TREE_DONE;
  bool differs[MAX_INDEXES], ok = true;
  uint32_t n = t->info.n_indexes, done = 0;
  for (uint32_t i = 0; i < n; i++) differs[i] = !t->indexes[i].is_cluster && !same_columns(t, &t->info.indexes[i], old, row);
  if (!removal_begin(t, old.len > row.len ? old : row, differs)) return false;
  const uint8_t *key = cluster_key(t, row);
  size_t clen = lc_key_len(&t->rows.key, key, t->rows.key.n_parts);
  for (; ok && done < n; done++)
    if (differs[done] && !index_add(t, done, row, key, clen)) {
      ok = false;
      break;
    }
  ok = ok && lc_tree_replace(&t->rows, row) == LC_TREE_DONE;
  enum lc_store_phase before = ok ? LC_STORE_PLAIN : back_begin(t);
  for (uint32_t i = 0; i < done; i++)
    if (differs[i]) index_take(t, i, ok ? old : row, key, clen);
  back_end(t, before);
  removal_end(t);
  return ok;
}

bool rows_put(struct table *t, struct lc_slice row) {
  if (t->simple) return lc_tree_put(&t->rows, row) == LC_TREE_DONE;
  if (t->numbered) return rows_find_equal(t, row).data || rows_insert(t, row);
  const uint8_t *key = cluster_key(t, row);
  if (!key) return false;
  struct lc_slice there = lc_tree_find(&t->rows, key);
  if (!there.data) return rows_insert(t, row);
  if (lc_slice_eq(there, row)) return true;
  struct lc_buf *old = &t->ds->old;
  lc_buf_clear(old);
  lc_buf_slice_append(old, there);
  return lc_buf_ok(old) && rows_replace(t, lc_buf_slice(old), row);
}

void rows_settle(struct table *t) {
  lc_tree_settle(&t->rows);
  lc_tree_settle(&t->by_hash);
  for (uint32_t i = 0; i < t->info.n_indexes; i++) lc_tree_settle(&t->indexes[i].tree);
}
void rows_undo_needs(const struct table *t, uint32_t n_changes, struct lc_nodes *sum) {
  lc_tree_undo_needs(&t->rows, n_changes, sum);
  lc_tree_undo_needs(&t->by_hash, n_changes, sum);
  for (uint32_t i = 0; i < t->info.n_indexes; i++) lc_tree_undo_needs(&t->indexes[i].tree, n_changes, sum);
}

struct lc_slice trees_find(const struct lc_tree *rows, const struct lc_tree *index, const struct lc_snapshot *snapshot, uint32_t n_parts, const uint8_t *key) {
  if (index == rows && n_parts == rows->key.n_parts) return snapshot ? lc_snapshot_find(rows, snapshot, key) : lc_tree_find(rows, key);
  struct lc_cursor c;
  lc_cursor_seek(&c, index, snapshot, key, n_parts, false);
  if (!lc_cursor_valid(&c)) return lc_slice(NULL, 0);
  struct lc_slice e = lc_cursor_entry(&c);
  if (lc_key_compare_entry(&index->key, e.data, key, n_parts) != 0) return lc_slice(NULL, 0);
  return index == rows ? e : lc_snapshot_find(rows, snapshot, e.data + lc_key_len(&index->key, e.data, n_parts));
}

struct lc_slice index_find(struct table *t, uint32_t at, const uint8_t *key) {
  const struct lc_tree *tree = t->indexes[at].is_cluster ? &t->rows : &t->indexes[at].tree;
  return row_of_entry(t, trees_find(&t->rows, tree, NULL, t->info.indexes[at].n_columns, key));
}

enum lc_status index_build(struct table *t, uint32_t at) {
  struct lc_cursor c;
  struct lc_sorter sorter;
  bool ok = true;
  if (t->indexes[at].is_cluster) return LC_OK;
  lc_sorter_init(&sorter, &t->indexes[at].tree.key);
  for (lc_cursor_seek(&c, &t->rows, NULL, NULL, 0, false); ok && lc_cursor_valid(&c); lc_cursor_next(&c)) {
    struct lc_slice entry = lc_cursor_entry(&c), row = row_of_entry(t, entry);
    const uint8_t *key = t->numbered ? entry.data : cluster_key(t, row);
    const struct lc_buf *e = key ? index_entry(t, at, row, key, lc_key_len(&t->rows.key, key, t->rows.key.n_parts)) : NULL;
    ok = e && lc_sorter_add(&sorter, lc_buf_slice(e));
  }
  ok = ok && lc_sorter_build(&sorter, &t->indexes[at].tree, NULL) == LC_TREE_DONE;
  lc_sorter_free(&sorter);
  return ok ? LC_OK : LC_NOMEM;
}

/* The first of equal rows must be the only one: true if `e`, an entry of by_hash, stands for a row that an earlier entry stands for too. */
static bool is_repeated(const struct table *t, struct lc_slice e) {
  struct lc_slice row = lc_tree_find(&t->rows, e.data + 8);
  struct lc_cursor c;
  for (lc_cursor_seek(&c, &t->by_hash, NULL, e.data, 1, false); lc_cursor_valid(&c); lc_cursor_next(&c)) {
    struct lc_slice other = lc_cursor_entry(&c);
    if (other.data == e.data) return false;
    if (lc_slice_eq(row_of_entry(t, lc_tree_find(&t->rows, other.data + 8)), row_of_entry(t, row))) return true;
  }
  return false;
}

enum lc_tree_result rows_hash_build(struct table *t) {
  struct lc_cursor c;
  struct lc_sorter sorter;
  enum lc_tree_result r = LC_TREE_DONE;
  lc_sorter_init(&sorter, &t->by_hash.key);
  for (lc_cursor_seek(&c, &t->rows, NULL, NULL, 0, false); r == LC_TREE_DONE && lc_cursor_valid(&c); lc_cursor_next(&c)) {
    struct lc_slice entry = lc_cursor_entry(&c);
    uint64_t e[2] = {row_hash(row_of_entry(t, entry)), 0};
    memcpy(&e[1], entry.data, 8);
    if (!lc_sorter_add(&sorter, lc_slice(e, sizeof e))) r = LC_TREE_NOMEM;
  }
  if (r == LC_TREE_DONE) r = lc_sorter_build(&sorter, &t->by_hash, NULL);
  lc_sorter_free(&sorter);
  uint64_t last = 0;
  bool first = true;
  for (lc_cursor_seek(&c, &t->by_hash, NULL, NULL, 0, false); r == LC_TREE_DONE && lc_cursor_valid(&c); lc_cursor_next(&c), first = false) {
    struct lc_slice e = lc_cursor_entry(&c);
    if (!first && memcmp(&last, e.data, 8) == 0 && is_repeated(t, e)) r = LC_TREE_DUPLICATE;
    memcpy(&last, e.data, 8);
  }
  return r;
}
