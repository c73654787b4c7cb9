/* Owns: scans. Bounds of index scans (spec/06 §5, spec/02 §5.3), row iterators, point look-ups; on the live state or on a read view.
 *
 * Invariants: a scan of the live state sees it as it was when it was opened: what does not fit into the first fetch is read from a snapshot.
 * A scan of a read view copies nothing and touches nothing that changes, so that any thread may run it. Callers: the face, tx.c.
 */
#include "engine_internal.h"

enum { FIRST_FETCH_BYTES = 4096, KEEP_BYTES = 128 << 10 };

/* ---- where a table or index lies in a view ---- */

/* A table as a view has it. Live: the trees of the table; else the descriptions that its shape keeps, to be read with the snapshot. */
struct place { const struct shape *shape; struct table *live; const struct lc_tree *rows; };

static bool place_of_table(struct lc_read_view v, uint32_t table_id, struct place *p) {
  if (v.schema) {
    p->shape = schema_shape(v.schema, table_id);
    p->live = NULL;
    p->rows = p->shape ? &p->shape->rows : NULL;
    return p->shape != NULL;
  }
  p->live = ds_table(v.ds, table_id);
  if (!p->live) return false;
  p->shape = p->live->shape;
  p->rows = &p->live->rows;
  return true;
}

static const struct lc_index_info *place_of_index(struct lc_read_view v, uint32_t index_id, struct place *p, uint32_t *at) {
  if (v.schema) {
    p->live = NULL;
    p->shape = schema_index(v.schema, index_id, at);
    if (!p->shape) return NULL;
    p->rows = &p->shape->rows;
    return &p->shape->info.indexes[*at];
  }
  if (index_id >= v.ds->n_index_refs || !v.ds->index_refs[index_id].table) return NULL;
  p->live = v.ds->index_refs[index_id].table;
  p->shape = p->live->shape;
  p->rows = &p->live->rows;
  *at = v.ds->index_refs[index_id].at;
  return &p->live->info.indexes[*at];
}

static const struct lc_tree *place_tree(const struct place *p, int32_t index) {
  if (index < 0 || p->shape->is_cluster[index]) return p->rows;
  return p->live ? &p->live->indexes[index].tree : &p->shape->indexes[index];
}

/* ---- iterators ---- */

static struct lc_row_iter *iter_new(struct lc_read_view v) {
  struct lc_row_iter *it = v.schema ? NULL : v.ds->free_iters;
  if (it) v.ds->free_iters = it->next_free;
  else it = lc_alloc_zero(1, sizeof *it);
  if (!it) return NULL;
  it->ds = v.schema ? NULL : v.ds;
  it->at = 0;
  it->snapshot = NULL;
  lc_buf_clear(&it->rows);
  return it;
}

static void iter_add(struct lc_row_iter *it, struct lc_slice row) {
  lc_buf_u32(&it->rows, (uint32_t)row.len);
  lc_buf_slice_append(&it->rows, row);
}

/* The entry under the cursor as a row; false: past the end of the scan. */
static bool iter_row(struct lc_row_iter *it, const struct lc_tree *rows, struct lc_slice *row) {
  if (!lc_cursor_valid(&it->cursor)) return false;
  const struct lc_tree *tree = it->cursor.tree;
  struct lc_slice e = lc_cursor_entry(&it->cursor);
  if (it->high_parts) {
    int order = lc_key_compare_entry(&tree->key, e.data, it->high.data, it->high_parts);
    if (order > 0 || (order == 0 && it->high_excluded)) return false;
  }
  if (it->index >= 0) e = lc_snapshot_find(rows, it->snapshot, e.data + lc_key_len(&tree->key, e.data, it->shape->info.indexes[it->index].n_columns));
  *row = it->shape->numbered ? lc_slice(e.data + 8, e.len - 8) : e;
  return true;
}

static void iter_end(struct lc_row_iter *it) {
  if (!it->snapshot) return;
  lc_snapshot_release(it->snapshot);
  shape_unref(it->shape);
  it->snapshot = NULL;
}

struct lc_slice lc_row_iter_next(struct lc_row_iter *it) {
  struct lc_slice row;
  if (it->at < it->rows.len) {
    uint32_t len;
    memcpy(&len, it->rows.data + it->at, 4);
    row = lc_slice(it->rows.data + it->at + 4, len);
    it->at += 4 + (size_t)len;
  } else {
    if (!it->snapshot) return lc_slice(NULL, 0);
    if (!iter_row(it, &it->shape->rows, &row)) return iter_end(it), lc_slice(NULL, 0);
    lc_cursor_next(&it->cursor);
  }
  return somewhere(row);
}

bool lc_row_iter_run(struct lc_row_iter *it, struct lc_row_run *out) {
  bool own = it->at >= it->rows.len && it->snapshot && it->index < 0 && !it->high_parts;
  if (!own || !lc_cursor_valid(&it->cursor) || it->cursor.tree->entry_size_bytes == LC_SIZE_DYNAMIC) {
    struct lc_slice row = lc_row_iter_next(it);
    *out = (struct lc_row_run){row.data, 1, (uint32_t)row.len, (uint32_t)row.len};
    return row.data != NULL;
  }
  uint32_t skip = it->shape->numbered ? 8 : 0, size = it->cursor.tree->entry_size_bytes;
  struct lc_slice run = lc_cursor_run(&it->cursor, &out->n);
  out->rows = run.data + skip;
  out->stride_bytes = size;
  out->row_bytes = size - skip;
  return true;
}

void lc_row_iter_close(struct lc_row_iter *it) {
  if (!it) return;
  iter_end(it);
  if (!it->ds) {
    lc_buf_free(&it->rows);
    lc_buf_free(&it->high);
    lc_free(it);
    return;
  }
  if (it->rows.cap > KEEP_BYTES) lc_buf_free(&it->rows);
  if (it->high.cap > KEEP_BYTES) lc_buf_free(&it->high);
  it->next_free = it->ds->free_iters;
  it->ds->free_iters = it;
}

static int nomem(struct lc_error *err) {
  lc_fail(err, LC_NOMEM, "out of memory");
  return LC_ERRNO_TRAP;
}

/* The state of now, which undoing the open transaction must not change from then on. NULL: out of memory. */
static struct lc_snapshot *state_now(struct lc_datastore *ds) {
  struct lc_nodes copies = {0};
  const struct lc_tx *tx = &ds->tx;
  if (tx->open && !tx->committed) {
    for (uint32_t i = 0; i < tx->n_touched; i++)
      if (tx->touched[i]) rows_undo_needs(tx->touched[i], tx->touched[i]->n_changes, &copies);
    for (uint32_t i = 0; i < tx->n_catalog; i++)
      if (tx->catalog[i].kind == TABLE_ALTERED) rows_undo_needs(&tx->catalog[i].old, tx->catalog[i].n_changes, &copies);
    if (!lc_store_keep_for_undo(ds->store, copies)) return NULL;
  }
  return lc_snapshot_take(ds->store);
}

/* Opens a scan. Of a live state short ones are fetched whole; of longer ones the state of now is kept as a snapshot. index -1: the whole table. */
static int iter_open(struct lc_read_view v, const struct place *p, int32_t index, const struct scan_bounds *b, struct lc_row_iter **out, struct lc_error *err) {
  struct lc_row_iter *it = iter_new(v);
  if (!it) return nomem(err);
  const struct lc_tree *tree = place_tree(p, index);
  it->shape = (struct shape *)(uintptr_t)p->shape;
  it->index = tree == p->rows ? -1 : index;
  it->high_parts = b->high_parts;
  it->high_excluded = b->high_excluded;
  lc_buf_clear(&it->high);
  if (b->high_parts) lc_buf_append(&it->high, b->high, lc_key_len(&tree->key, b->high, b->high_parts));
  lc_cursor_seek(&it->cursor, tree, v.snapshot, b->low_parts ? b->low : NULL, b->low_parts, b->low_excluded);
  bool more = lc_buf_ok(&it->high);
  if (!v.snapshot)
    for (struct lc_slice row; more && it->rows.len < FIRST_FETCH_BYTES; lc_cursor_next(&it->cursor))
      if ((more = iter_row(it, p->rows, &row))) iter_add(it, row);
  if (more) {
    it->snapshot = v.snapshot ? lc_snapshot_ref(v.snapshot) : state_now(v.ds); /* the cursor stays good: the nodes it stands on are the snapshot's now */
    if (it->snapshot) {
      shape_ref(it->shape);
      it->cursor.tree = it->index < 0 ? &it->shape->rows : &it->shape->indexes[it->index];
    } else {
      it->rows.failed = true;
    }
  }
  if (!lc_buf_ok(&it->rows) || !lc_buf_ok(&it->high)) {
    lc_row_iter_close(it);
    return nomem(err);
  }
  *out = it;
  return LC_ERRNO_OK;
}

/* ---- bounds ---- */

static int extra_bytes(const struct lc_reader *r, struct lc_error *err) { return lc_fail(err, LC_INVALID, "after decoding, there are %zu extra bytes", lc_reader_left(r)), LC_ERRNO_BSATN_DECODE; }

/* Checks a point key. Extra bytes are an error only for several columns of fixed size (spec/02 §5.3). */
static int check_point(const struct lc_index_info *info, struct lc_slice key, struct lc_error *err) {
  struct lc_reader r = lc_reader(key);
  for (uint32_t i = 0; i < info->n_columns; i++)
    if (lc_bsatn_validate(info->key_type->fields[i].type, NULL, &r, err) != LC_OK) return LC_ERRNO_BSATN_DECODE;
  if (lc_reader_left(&r) && info->n_columns > 1 && info->key_type->static_size_bytes != LC_SIZE_DYNAMIC)
    return extra_bytes(&r, err);
  return LC_ERRNO_OK;
}

/* strict: bytes behind the bound are an error. */
static int parse_bound(const struct lc_type *type, struct lc_slice bound, bool strict, bool *unbounded, bool *excluded, struct lc_slice *value, struct lc_error *err) {
  struct lc_reader r = lc_reader(bound);
  uint8_t tag = lc_read_u8(&r);
  *unbounded = tag == 2;
  *excluded = tag == 1;
  if (r.failed || tag > 2) return lc_fail(err, LC_INVALID, "unknown tag 0x%x for sum type bound", tag), LC_ERRNO_BSATN_DECODE;
  const uint8_t *start = r.p;
  if (!*unbounded && lc_bsatn_validate(type, NULL, &r, err) != LC_OK) return LC_ERRNO_BSATN_DECODE;
  if (strict && lc_reader_left(&r)) return extra_bytes(&r, err);
  *value = lc_slice(start, (size_t)(r.p - start));
  return LC_ERRNO_OK;
}

static int range_bounds(const struct lc_index_info *info, struct lc_slice prefix, uint32_t prefix_elems, struct lc_slice start, struct lc_slice end, struct lc_buf keys[2], struct scan_bounds *b,
                        struct lc_error *err) {
  struct lc_reader r = lc_reader(prefix);
  bool low_open, high_open;
  struct lc_slice low, high;
  if (prefix_elems > 0 && info->n_columns == 1) return lc_fail(err, LC_INVALID, "a single column index cannot be prefix scanned"), LC_ERRNO_BSATN_DECODE;
  if (prefix_elems > info->n_columns) return lc_fail(err, LC_INVALID, "index key type has too few fields compared to prefix"), LC_ERRNO_BSATN_DECODE;
  if (prefix_elems == info->n_columns) return lc_fail(err, LC_INVALID, "prefix length leaves no room for a range in ranged index scan"), LC_ERRNO_BSATN_DECODE;
  for (uint32_t i = 0; i < prefix_elems; i++)
    if (lc_bsatn_validate(info->key_type->fields[i].type, NULL, &r, err) != LC_OK) return LC_ERRNO_BSATN_DECODE;
  bool strict = info->n_columns > 1 && info->key_type->static_size_bytes != LC_SIZE_DYNAMIC; /* spec/02 §5.3 */
  if (strict && prefix_elems && lc_reader_left(&r)) return extra_bytes(&r, err);
  struct lc_slice head = lc_slice(prefix.data, prefix_elems ? (size_t)(r.p - prefix.data) : 0);
  const struct lc_type *type = info->key_type->fields[prefix_elems].type;
  *b = (struct scan_bounds){0};
  int rc = parse_bound(type, start, strict, &low_open, &b->low_excluded, &low, err);
  if (rc == LC_ERRNO_OK) rc = parse_bound(type, end.len ? end : start, strict, &high_open, &b->high_excluded, &high, err);
  if (rc != LC_ERRNO_OK) return rc;
  lc_buf_slice_append(&keys[0], head);
  lc_buf_slice_append(&keys[1], head);
  if (!low_open) lc_buf_slice_append(&keys[0], low);
  if (!high_open) lc_buf_slice_append(&keys[1], high);
  if (!lc_buf_ok(&keys[0]) || !lc_buf_ok(&keys[1])) return nomem(err);
  b->low = somewhere(lc_buf_slice(&keys[0])).data;
  b->high = somewhere(lc_buf_slice(&keys[1])).data;
  b->low_parts = prefix_elems + (low_open ? 0 : 1);
  b->high_parts = prefix_elems + (high_open ? 0 : 1);
  return LC_ERRNO_OK;
}

/* ---- the face ---- */

int lc_view_scan(struct lc_read_view v, uint32_t table_id, struct lc_row_iter **out) {
  static const struct scan_bounds all;
  struct place p;
  return place_of_table(v, table_id, &p) ? iter_open(v, &p, -1, &all, out, NULL) : LC_ERRNO_NO_SUCH_TABLE;
}

/* The row of a unique index with this key. */
static struct lc_slice find_unique(struct lc_read_view v, const struct place *p, uint32_t at, const struct lc_index_info *info, const uint8_t *key) {
  struct lc_slice row = trees_find(p->rows, place_tree(p, (int32_t)at), v.snapshot, info->n_columns, key);
  return row.data && p->shape->numbered ? lc_slice(row.data + 8, row.len - 8) : row;
}

int lc_view_find(struct lc_read_view v, uint32_t index_id, struct lc_slice key, struct lc_slice *row, struct lc_error *err) {
  struct place p;
  uint32_t at;
  const struct lc_index_info *info = place_of_index(v, index_id, &p, &at);
  if (!info) return LC_ERRNO_NO_SUCH_INDEX;
  if (!info->is_unique) return LC_ERRNO_INDEX_NOT_UNIQUE;
  int rc = check_point(info, key, err);
  if (rc == LC_ERRNO_OK) *row = find_unique(v, &p, at, info, somewhere(key).data);
  return rc;
}

int lc_view_scan_point(struct lc_read_view v, uint32_t index_id, struct lc_slice key, struct lc_row_iter **out, struct lc_error *err) {
  struct place p;
  uint32_t at;
  const struct lc_index_info *info = place_of_index(v, index_id, &p, &at);
  if (!info) return LC_ERRNO_NO_SUCH_INDEX;
  int rc = check_point(info, key, err);
  if (rc != LC_ERRNO_OK) return rc;
  key = somewhere(key);
  struct scan_bounds b = {.low = key.data, .high = key.data, .low_parts = info->n_columns, .high_parts = info->n_columns};
  if (!info->is_unique) return iter_open(v, &p, (int32_t)at, &b, out, err);
  struct lc_row_iter *it = iter_new(v);
  if (!it) return nomem(err);
  struct lc_slice row = find_unique(v, &p, at, info, key.data);
  if (row.data) iter_add(it, row);
  if (!lc_buf_ok(&it->rows)) {
    lc_row_iter_close(it);
    return nomem(err);
  }
  *out = it;
  return LC_ERRNO_OK;
}

int lc_view_scan_range(struct lc_read_view v, uint32_t index_id, struct lc_slice prefix, uint32_t prefix_elems, struct lc_slice start, struct lc_slice end, struct lc_row_iter **out,
                       struct lc_error *err) {
  struct place p;
  uint32_t at;
  const struct lc_index_info *info = place_of_index(v, index_id, &p, &at);
  struct lc_buf keys[2] = {0};
  struct scan_bounds b;
  if (!info) return LC_ERRNO_NO_SUCH_INDEX;
  int rc = range_bounds(info, prefix, prefix_elems, start, end, keys, &b, err);
  if (rc == LC_ERRNO_OK && info->kind == LC_INDEX_HASH) rc = LC_ERRNO_WRONG_INDEX_ALGO; /* one value or many: hash indexes answer points only */
  if (rc == LC_ERRNO_OK) rc = iter_open(v, &p, (int32_t)at, &b, out, err);
  lc_buf_free(&keys[0]);
  lc_buf_free(&keys[1]);
  return rc;
}

uint64_t lc_view_row_count(struct lc_read_view v, uint32_t table_id) {
  struct place p;
  if (!place_of_table(v, table_id, &p)) return 0;
  return v.snapshot ? lc_snapshot_count(p.rows, v.snapshot) : lc_tree_count(p.rows);
}

int lc_tx_scan(struct lc_tx *tx, uint32_t table_id, struct lc_row_iter **out) { return lc_view_scan((struct lc_read_view){.ds = tx->ds}, table_id, out); }
int lc_tx_scan_point(struct lc_tx *tx, uint32_t index_id, struct lc_slice key, struct lc_row_iter **out, struct lc_error *err) {
  return lc_view_scan_point((struct lc_read_view){.ds = tx->ds}, index_id, key, out, err);
}
int lc_tx_scan_range(struct lc_tx *tx, uint32_t index_id, struct lc_slice prefix, uint32_t prefix_elems, struct lc_slice start, struct lc_slice end, struct lc_row_iter **out,
                     struct lc_error *err) {
  return lc_view_scan_range((struct lc_read_view){.ds = tx->ds}, index_id, prefix, prefix_elems, start, end, out, err);
}
int lc_tx_row_count(struct lc_tx *tx, uint32_t table_id, uint64_t *n) {
  struct table *t = ds_table(tx->ds, table_id);
  if (!t) return LC_ERRNO_NO_SUCH_TABLE;
  *n = lc_tree_count(&t->rows);
  return LC_ERRNO_OK;
}
