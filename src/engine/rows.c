/* Rows in their trees: the physical half of a table. No constraints here, no transaction; a table's rows and index entries always agree.
 * Callers: tx.c, record.c (replay), catalog.c (building an index over rows that are there). */
#include "engine_internal.h"

struct lc_slice row_of_entry(const struct table *t, struct lc_slice entry) {
  if (!entry.data || !t->numbered) return entry;
  return lc_slice(entry.data + 8, entry.len - 8);
}

void index_entry(const struct table *t, const struct index *ix, const struct lc_index_info *info, struct lc_slice row, const uint8_t *cluster_key, size_t cluster_len,
                 struct lc_buf *out) {
  (void)ix;
  for (uint32_t i = 0; i < info->n_columns; i++) {
    const uint8_t *at = lc_row_column(t->info.row_type, row.data, info->columns[i]);
    lc_buf_append(out, at, (size_t)(lc_bsatn_skip(t->info.row_type->fields[info->columns[i]].type, at) - at));
  }
  lc_buf_append(out, cluster_key, cluster_len);
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

/* The cluster key of a row: its bytes in the row when they lie at its front, else concatenated into *scratch. NULL: out of memory. */
static const uint8_t *cluster_key(const struct table *t, struct lc_slice row, struct lc_buf *scratch) {
  if (t->rows.key.is_prefix) return row.data;
  if (t->rows.key.is_static_offset) return row.data + t->rows.key.offset_bytes;
  lc_buf_clear(scratch);
  lc_key_extract(&t->rows.key, row.data, scratch);
  return lc_buf_ok(scratch) ? scratch->data : NULL;
}

struct lc_slice rows_find_equal(struct table *t, struct lc_slice row) {
  struct lc_slice stored = {0};
  uint64_t number;
  if (t->numbered) return find_number(t, row, &number, &stored) ? stored : lc_slice(NULL, 0);
  struct lc_buf scratch = {0};
  const uint8_t *key = cluster_key(t, row, &scratch);
  if (key) stored = lc_tree_find(&t->rows, key);
  lc_buf_free(&scratch);
  return stored.data && lc_slice_eq(stored, row) ? stored : lc_slice(NULL, 0);
}

static bool index_change(struct table *t, uint32_t at, struct lc_slice row, const uint8_t *ckey, size_t clen, bool insert) {
  struct index *ix = &t->indexes[at];
  if (ix->is_cluster) return true;
  struct lc_buf e = {0};
  index_entry(t, ix, &t->info.indexes[at], row, ckey, clen, &e);
  bool ok = lc_buf_ok(&e);
  if (ok && insert) ok = lc_tree_insert(&ix->tree, lc_buf_slice(&e), NULL) != LC_TREE_NOMEM;
  else if (ok) lc_tree_remove(&ix->tree, e.data);
  lc_buf_free(&e);
  return ok;
}

bool rows_delete(struct table *t, struct lc_slice row) {
  uint64_t number = 0;
  struct lc_slice stored = {0};
  struct lc_buf scratch = {0};
  const uint8_t *key;
  if (t->numbered) {
    if (!find_number(t, row, &number, &stored)) return false;
    key = (const uint8_t *)&number;
  } else {
    key = cluster_key(t, row, &scratch);
    if (!key) lc_panic("out of memory while deleting a row");
    stored = lc_tree_find(&t->rows, key);
    if (!stored.data || !lc_slice_eq(stored, row)) {
      lc_buf_free(&scratch);
      return false;
    }
  }
  size_t clen = lc_key_len(&t->rows.key, key, t->rows.key.n_parts);
  for (uint32_t i = 0; i < t->info.n_indexes; i++)
    if (!index_change(t, i, row, key, clen, false)) lc_panic("out of memory while deleting a row from an index");
  if (t->numbered) {
    uint64_t entry[2] = {row_hash(row), number};
    lc_tree_remove(&t->by_hash, (const uint8_t *)entry);
  }
  lc_tree_remove(&t->rows, key);
  lc_buf_free(&scratch);
  return true;
}

bool rows_insert(struct table *t, struct lc_slice row, bool replace) {
  struct lc_buf entry = {0}, scratch = {0};
  uint64_t number = t->next_number;
  const uint8_t *key;
  struct lc_slice stored = row;
  if (t->numbered) {
    lc_buf_u64(&entry, number);
    lc_buf_slice_append(&entry, row);
    if (!lc_buf_ok(&entry)) return lc_buf_free(&entry), false;
    stored = lc_buf_slice(&entry);
    key = (const uint8_t *)&number;
  } else {
    key = cluster_key(t, row, &scratch);
    if (!key) return lc_buf_free(&scratch), false;
  }
  if (replace && !t->numbered && lc_tree_find(&t->rows, key).data) {
    struct lc_slice found = lc_tree_find(&t->rows, key);
    struct lc_buf old = {0};
    lc_buf_slice_append(&old, found);
    if (!lc_buf_ok(&old)) return lc_buf_free(&scratch), false;
    rows_delete(t, lc_buf_slice(&old));
    lc_buf_free(&old);
  }
  size_t clen = lc_key_len(&t->rows.key, key, t->rows.key.n_parts);
  bool ok = lc_tree_insert(&t->rows, stored, NULL) == LC_TREE_DONE;
  uint64_t hash_entry[2] = {t->numbered ? row_hash(row) : 0, number};
  if (ok && t->numbered && lc_tree_insert(&t->by_hash, lc_slice(hash_entry, 16), NULL) != LC_TREE_DONE) {
    lc_tree_remove(&t->rows, key);
    ok = false;
  }
  for (uint32_t i = 0; ok && i < t->info.n_indexes; i++) {
    if (index_change(t, i, row, key, clen, true)) continue;
    while (i-- > 0) index_change(t, i, row, key, clen, false);
    if (t->numbered) lc_tree_remove(&t->by_hash, (const uint8_t *)hash_entry);
    lc_tree_remove(&t->rows, key);
    ok = false;
    break;
  }
  if (ok) t->next_number++;
  lc_buf_free(&entry);
  lc_buf_free(&scratch);
  return ok;
}

struct lc_slice index_find(struct table *t, uint32_t at, const uint8_t *key, uint32_t n_parts) {
  struct index *ix = &t->indexes[at];
  if (ix->is_cluster) {
    if (n_parts == t->rows.key.n_parts) return lc_tree_find(&t->rows, key);
    struct lc_cursor c;
    lc_cursor_seek(&c, &t->rows, NULL, key, n_parts, false);
    if (!lc_cursor_valid(&c)) return lc_slice(NULL, 0);
    struct lc_slice e = lc_cursor_entry(&c);
    return lc_key_compare_entry(&t->rows.key, e.data, key, n_parts) == 0 ? e : lc_slice(NULL, 0);
  }
  struct lc_cursor c;
  lc_cursor_seek(&c, &ix->tree, NULL, key, n_parts, false);
  if (!lc_cursor_valid(&c)) return lc_slice(NULL, 0);
  struct lc_slice e = lc_cursor_entry(&c);
  if (lc_key_compare_entry(&ix->tree.key, e.data, key, n_parts) != 0) return lc_slice(NULL, 0);
  size_t skip = lc_key_len(&ix->tree.key, e.data, t->info.indexes[at].n_columns);
  return row_of_entry(t, lc_tree_find(&t->rows, e.data + skip));
}

enum lc_status index_build(struct table *t, uint32_t at) {
  struct lc_cursor c;
  if (t->indexes[at].is_cluster) return LC_OK;
  for (lc_cursor_seek(&c, &t->rows, NULL, NULL, 0, false); lc_cursor_valid(&c); lc_cursor_next(&c)) {
    struct lc_slice entry = lc_cursor_entry(&c), row = row_of_entry(t, entry);
    struct lc_buf scratch = {0};
    const uint8_t *key = t->numbered ? entry.data : cluster_key(t, row, &scratch);
    bool ok = key && index_change(t, at, row, key, lc_key_len(&t->rows.key, key, t->rows.key.n_parts), true);
    lc_buf_free(&scratch);
    if (!ok) return LC_NOMEM;
  }
  return LC_OK;
}
