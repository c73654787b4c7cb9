/* Transactions: insert, update, delete with constraints and sequences; scans; rollback; commit and its net effect
 * (spec/06 §4-§8, spec/07 §11, spec/02 §5).
 *
 * Invariants: the undo list has every physical change in order, so that running it backwards restores the tables exactly; a table's net list
 * has each touched row once with what became of it; row bytes in both live in the transaction's arena.
 */
#include "engine_internal.h"
#include <stdio.h>
#include <stdlib.h>

enum { RECLAIM_PIECES = 256 /* freed at the start of a transaction of what released snapshots held */ };

/* ---- begin, undo, rollback ---- */

struct lc_tx *lc_tx_begin(struct lc_datastore *ds) {
  struct lc_tx *tx = &ds->tx;
  lc_assert(!tx->open);
  tx->open = true;
  lc_store_reclaim(ds->store, RECLAIM_PIECES);
  tx->n_undo = tx->n_touched = tx->n_schema = 0;
  return tx;
}

static void forget_net(struct lc_tx *tx) {
  for (uint32_t i = 0; i < tx->n_touched; i++) {
    struct table *t = tx->touched[i];
    t->touched = false;
    t->n_net = 0;
    lc_free(t->net_slots);
    t->net_slots = NULL;
  }
  tx->n_touched = 0;
}

bool tx_note_schema(struct lc_tx *tx, uint32_t table_id) {
  for (uint32_t i = 0; i < tx->n_schema; i++)
    if (tx->schema_tables[i] == table_id) return true;
  if (tx->n_schema == tx->cap_schema) {
    uint32_t cap = tx->cap_schema ? tx->cap_schema * 2 : 16;
    uint32_t *p = lc_realloc(tx->schema_tables, cap * sizeof *p);
    if (!p) return false;
    tx->schema_tables = p;
    tx->cap_schema = cap;
  }
  tx->schema_tables[tx->n_schema++] = table_id;
  return true;
}

void lc_tx_rollback(struct lc_tx *tx) {
  for (uint32_t i = tx->n_undo; i-- > 0;) {
    struct undo *u = &tx->undo[i];
    if (u->was_insert ? !rows_delete(u->table, u->row) : !rows_insert(u->table, u->row, false)) lc_panic("rollback could not restore a row of table %u", u->table->info.table_id);
  }
  tx->n_undo = 0;
  forget_net(tx);
  for (uint32_t i = 0; i < tx->n_schema; i++)
    if (catalog_refresh(tx->ds, tx->schema_tables[i], NULL) != LC_OK) lc_panic("rollback could not restore the schema of table %u", tx->schema_tables[i]);
  lc_arena_reset(&tx->arena);
  tx->open = false;
}

/* ---- net effect ---- */

static struct net *net_find(struct table *t, struct lc_slice row, uint64_t hash) {
  if (!t->net_slots) {
    for (uint32_t i = 0; i < t->n_net; i++)
      if (t->net[i].hash == hash && lc_slice_eq(t->net[i].row, row)) return &t->net[i];
    return NULL;
  }
  for (uint64_t at = hash;; at++) {
    uint32_t slot = t->net_slots[at & t->net_mask];
    if (!slot) return NULL;
    if (t->net[slot - 1].hash == hash && lc_slice_eq(t->net[slot - 1].row, row)) return &t->net[slot - 1];
  }
}

static bool net_index(struct table *t) {
  uint32_t size = 64;
  while (size < t->cap_net * 2) size *= 2;
  uint32_t *slots = lc_alloc_zero(size, sizeof *slots);
  if (!slots) return false;
  for (uint32_t i = 0; i < t->n_net; i++) {
    uint64_t at = t->net[i].hash;
    while (slots[at & (size - 1)]) at++;
    slots[at & (size - 1)] = i + 1;
  }
  lc_free(t->net_slots);
  t->net_slots = slots;
  t->net_mask = size - 1;
  return true;
}

/* Room for one more change in every list, before anything physical is done. */
static bool reserve(struct lc_tx *tx, struct table *t) {
  enum { linear_limit = 16 };
  if (!t->touched) {
    if (tx->n_touched == tx->cap_touched) {
      uint32_t cap = tx->cap_touched ? tx->cap_touched * 2 : 16;
      struct table **p = lc_realloc(tx->touched, cap * sizeof(struct table *));
      if (!p) return false;
      tx->touched = p;
      tx->cap_touched = cap;
    }
    tx->touched[tx->n_touched++] = t;
    t->touched = true;
  }
  if (tx->n_undo == tx->cap_undo) {
    uint32_t cap = tx->cap_undo ? tx->cap_undo * 2 : 64;
    struct undo *p = lc_realloc(tx->undo, cap * sizeof *p);
    if (!p) return false;
    tx->undo = p;
    tx->cap_undo = cap;
  }
  if (t->n_net == t->cap_net) {
    uint32_t cap = t->cap_net ? t->cap_net * 2 : 8;
    struct net *p = lc_realloc(t->net, cap * sizeof *p);
    if (!p) return false;
    t->net = p;
    t->cap_net = cap;
    if (cap > linear_limit && !net_index(t)) return false;
  } else if (t->n_net >= linear_limit && !t->net_slots && !net_index(t)) {
    return false;
  }
  return true;
}

static void note(struct lc_tx *tx, struct table *t, struct lc_slice row, bool is_insert) {
  tx->undo[tx->n_undo++] = (struct undo){t, row, is_insert};
  uint64_t hash = lc_hash64(row.data, row.len, 2);
  struct net *n = net_find(t, row, hash);
  if (n) {
    n->change = (int8_t)(n->change + (is_insert ? 1 : -1));
    return;
  }
  t->net[t->n_net++] = (struct net){row, is_insert ? 1 : -1, hash};
  if (!t->net_slots) return;
  uint64_t at = hash;
  while (t->net_slots[at & t->net_mask]) at++;
  t->net_slots[at & t->net_mask] = t->n_net;
}

/* ---- insert ---- */

static int nomem(struct lc_error *err) {
  lc_fail(err, LC_NOMEM, "out of memory");
  return LC_ERRNO_TRAP;
}

/* Checks the bytes and copies the row into the arena. */
static int take_row(struct lc_tx *tx, const struct table *t, struct lc_slice in, uint8_t **row, size_t *len, struct lc_error *err) {
  struct lc_reader r = lc_reader(in);
  uint32_t fixed = t->info.row_type->static_size_bytes;
  if (fixed != LC_SIZE_DYNAMIC && in.len != fixed) return lc_fail(err, LC_INVALID, "unexpected data length: Expected %u, given %zu", fixed, in.len), LC_ERRNO_BSATN_DECODE;
  if (lc_bsatn_validate(t->info.row_type, NULL, &r, err) != LC_OK) return LC_ERRNO_BSATN_DECODE;
  *len = (size_t)(r.p - in.data);
  *row = lc_arena_alloc(&tx->arena, *len ? *len : 1);
  if (!*row) return nomem(err);
  if (*len) memcpy(*row, in.data, *len);
  return LC_ERRNO_OK;
}

static int next_value(struct lc_tx *tx, uint32_t sequence_id, uint8_t value[16], struct lc_error *err);

/* Replaces zero auto-increment columns (spec/07 §11); the values taken are appended to *generated. */
static int fill_sequences(struct lc_tx *tx, const struct table *t, uint8_t *row, struct lc_buf *generated, struct lc_error *err) {
  static const uint8_t zeros[32];
  for (uint32_t i = 0; i < t->n_sequences; i++) {
    uint16_t col = t->sequences[i].column;
    const struct lc_type *type = t->info.row_type->fields[col].type;
    uint8_t *at = row + (lc_row_column(t->info.row_type, row, col) - row), value[32];
    if (memcmp(at, zeros, type->static_size_bytes) != 0) continue;
    memset(value, 0, sizeof value);
    int rc = next_value(tx, t->sequences[i].sequence_id, value, err);
    if (rc != LC_ERRNO_OK) return rc;
    memcpy(at, value, type->static_size_bytes); /* truncated to the column's width */
    if (generated) lc_buf_append(generated, at, type->static_size_bytes);
  }
  return LC_ERRNO_OK;
}

static int violation(const struct table *t, uint32_t at, struct lc_slice row, struct lc_error *err) {
  if (!err) return LC_ERRNO_UNIQUE_EXISTS;
  const struct lc_index_info *info = &t->info.indexes[at];
  struct lc_buf cols = {0}, value = {0};
  if (info->n_columns > 1) lc_buf_u8(&value, '(');
  for (uint32_t i = 0; i < info->n_columns; i++) {
    const struct lc_type_field *f = &t->info.row_type->fields[info->columns[i]];
    const uint8_t *p = lc_row_column(t->info.row_type, row.data, info->columns[i]);
    struct lc_reader r = lc_reader(lc_slice(p, (size_t)(row.data + row.len - p)));
    lc_buf_printf(&cols, "%s\"%.*s\"", i ? ", " : "", (int)f->name.len, (const char *)f->name.data);
    if (info->n_columns > 1) lc_buf_printf(&value, "%s%u = ", i ? ", " : "", i);
    lc_satn_write(&value, f->type, &r);
  }
  if (info->n_columns > 1) lc_buf_u8(&value, ')');
  lc_fail(err, LC_EXISTS, "Unique constraint violation '%.*s' in table '%.*s': column(s): '[%.*s]' value: %.*s", (int)info->name.len, (const char *)info->name.data,
          (int)t->info.name.len, (const char *)t->info.name.data, (int)cols.len, (const char *)cols.data, (int)value.len, (const char *)value.data);
  lc_buf_free(&cols);
  lc_buf_free(&value);
  return LC_ERRNO_UNIQUE_EXISTS;
}

/* The row that holds `row`'s key in unique index `at`, or NULL data. */
static struct lc_slice holder(struct lc_datastore *ds, struct table *t, uint32_t at, struct lc_slice row) {
  const struct lc_index_info *info = &t->info.indexes[at];
  if (t->indexes[at].is_cluster && t->rows.key.is_static_offset) return lc_tree_find(&t->rows, row.data + t->rows.key.offset_bytes);
  lc_buf_clear(&ds->key);
  for (uint32_t i = 0; i < info->n_columns; i++) {
    const uint8_t *p = lc_row_column(t->info.row_type, row.data, info->columns[i]);
    lc_buf_append(&ds->key, p, (size_t)(lc_bsatn_skip(t->info.row_type->fields[info->columns[i]].type, p) - p));
  }
  if (!lc_buf_ok(&ds->key)) lc_panic("out of memory for a key of a row of %zu bytes", row.len);
  return index_find(t, at, ds->key.data, info->n_columns);
}

static int insert_row(struct lc_tx *tx, struct table *t, struct lc_slice row, struct lc_error *err) {
  bool own_key = !t->numbered && t->rows.key.is_static_offset; /* then one look-up tells about the row and about its key */
  struct lc_slice there = own_key ? lc_tree_find(&t->rows, row.data + t->rows.key.offset_bytes) : rows_find_equal(t, row);
  if (there.data && (!own_key || lc_slice_eq(there, row))) return LC_ERRNO_OK; /* a table is a set */
  for (uint32_t i = 0; i < t->info.n_indexes; i++) {
    if (!t->info.indexes[i].is_unique) continue;
    bool taken = own_key && t->indexes[i].is_cluster ? there.data != NULL : holder(tx->ds, t, i, row).data != NULL;
    if (taken) return violation(t, i, row, err);
  }
  if (!reserve(tx, t) || !rows_insert(t, row, false)) return nomem(err);
  note(tx, t, row, true);
  return LC_ERRNO_OK;
}

static int delete_row(struct lc_tx *tx, struct table *t, struct lc_slice stored, struct lc_error *err) {
  struct lc_slice copy = lc_arena_copy(&tx->arena, stored); /* `stored` goes with the row */
  if (!copy.data || !reserve(tx, t)) return nomem(err);
  if (!rows_delete(t, copy)) lc_panic("row of table %u vanished while being deleted", t->info.table_id);
  note(tx, t, copy, false);
  return LC_ERRNO_OK;
}

int lc_tx_insert(struct lc_tx *tx, uint32_t table_id, struct lc_slice in, struct lc_buf *generated, struct lc_slice *stored, struct lc_error *err) {
  struct table *t = ds_table(tx->ds, table_id);
  uint8_t *row;
  size_t len;
  if (!t) return LC_ERRNO_NO_SUCH_TABLE;
  int rc = take_row(tx, t, in, &row, &len, err);
  if (rc == LC_ERRNO_OK && t->n_sequences) rc = fill_sequences(tx, t, row, generated, err);
  if (rc == LC_ERRNO_OK) rc = insert_row(tx, t, lc_slice(row, len), err);
  if (rc == LC_ERRNO_OK && stored) *stored = lc_slice(row, len);
  return rc;
}

static const struct lc_index_info *index_by_id(const struct lc_datastore *ds, uint32_t id, struct table **t, uint32_t *at) {
  if (id >= ds->n_index_refs || !ds->index_refs[id].table) return NULL;
  *t = ds->index_refs[id].table;
  *at = ds->index_refs[id].at;
  return &(*t)->info.indexes[*at];
}

int lc_tx_update(struct lc_tx *tx, uint32_t table_id, uint32_t index_id, struct lc_slice in, struct lc_buf *generated, struct lc_slice *stored, struct lc_error *err) {
  struct table *t = ds_table(tx->ds, table_id), *owner;
  uint32_t at;
  uint8_t *bytes;
  size_t len;
  if (!t) return LC_ERRNO_NO_SUCH_TABLE;
  const struct lc_index_info *info = index_by_id(tx->ds, index_id, &owner, &at);
  if (!info || owner != t) return LC_ERRNO_NO_SUCH_INDEX;
  if (!info->is_unique) return LC_ERRNO_INDEX_NOT_UNIQUE;
  int rc = take_row(tx, t, in, &bytes, &len, err);
  if (rc == LC_ERRNO_OK && t->n_sequences) rc = fill_sequences(tx, t, bytes, generated, err);
  if (rc != LC_ERRNO_OK) return rc;
  struct lc_slice row = lc_slice(bytes, len), old = holder(tx->ds, t, at, row);
  if (!old.data) return LC_ERRNO_NO_SUCH_ROW;
  if (stored) *stored = row;
  if (lc_slice_eq(old, row)) return LC_ERRNO_OK;
  for (uint32_t i = 0; i < t->info.n_indexes; i++) {
    if (i == at || !t->info.indexes[i].is_unique) continue;
    struct lc_slice other = holder(tx->ds, t, i, row);
    if (other.data && other.data != old.data) return violation(t, i, row, err);
  }
  if (t->info.n_indexes == 1 && t->indexes[0].is_cluster) { /* same key, no other index: the row is replaced where it lies */
    struct lc_slice copy = lc_arena_copy(&tx->arena, old);
    if (!copy.data || !reserve(tx, t)) return nomem(err);
    note(tx, t, copy, false);
    if (!reserve(tx, t) || lc_tree_replace(&t->rows, row) != LC_TREE_DONE) { /* what was noted must be true before the failure is told */
      if (!rows_delete(t, copy)) lc_panic("row of table %u vanished during an update", table_id);
      return nomem(err);
    }
    note(tx, t, row, true);
    return LC_ERRNO_OK;
  }
  rc = delete_row(tx, t, old, err);
  if (rc != LC_ERRNO_OK) return rc;
  if (!reserve(tx, t) || !rows_insert(t, row, false)) return nomem(err); /* the caller's transaction ends with this: a trap */
  note(tx, t, row, true);
  return LC_ERRNO_OK;
}

/* The next value of a sequence: its row's `allocated`, which then grows by one. */
static int next_value(struct lc_tx *tx, uint32_t sequence_id, uint8_t value[16], struct lc_error *err) {
  struct table *t = ds_table(tx->ds, LC_ST_SEQUENCE);
  struct lc_slice old = lc_tree_find(&t->rows, (const uint8_t *)&sequence_id);
  if (!old.data) return lc_fail(err, LC_CORRUPT, "Sequence ID `%u` not found.", sequence_id), LC_ERRNO_TRAP;
  struct lc_slice row = lc_arena_copy(&tx->arena, old);
  if (!row.data) return nomem(err);
  uint8_t *allocated = (uint8_t *)(uintptr_t)lc_row_column(t->info.row_type, row.data, 8);
  __extension__ __int128 v;
  memcpy(&v, allocated, 16);
  memcpy(value, allocated, 16);
  if ((uint64_t)v == UINT64_MAX && (uint64_t)(v >> 64) == INT64_MAX) {
    lc_fail(err, LC_LIMIT, "Incrementing sequence with previous value 170141183460469231731687303715884105727 would result in integer overflow");
    return LC_ERRNO_AUTO_INC_OVERFLOW;
  }
  v++;
  int rc = delete_row(tx, t, old, err);
  if (rc != LC_ERRNO_OK) return rc;
  memcpy(allocated, &v, 16);
  if (!reserve(tx, t) || !rows_insert(t, row, false)) return nomem(err);
  note(tx, t, row, true);
  return LC_ERRNO_OK;
}

/* ---- scans ---- */

enum { FIRST_FETCH_BYTES = 4096, FETCH_BYTES = 65536, KEEP_BYTES = 64 << 10 };

static struct lc_row_iter *iter_new(struct lc_datastore *ds) {
  struct lc_row_iter *it = ds->free_iters;
  if (it) ds->free_iters = it->next_free;
  else it = lc_alloc_zero(1, sizeof *it);
  if (!it) return NULL;
  it->ds = ds;
  it->at = 0;
  it->snapshot = NULL;
  lc_buf_clear(&it->rows);
  return it;
}

static void iter_add(struct lc_row_iter *it, struct lc_slice row) {
  lc_buf_u32(&it->rows, (uint32_t)row.len);
  lc_buf_slice_append(&it->rows, row);
}

/* Fetches rows from the cursor until there are max_bytes; false at the end of the scan. */
static bool iter_fetch(struct lc_row_iter *it, size_t max_bytes) {
  const struct table *t = it->table;
  const struct lc_tree *tree = it->cursor.tree;
  for (; lc_cursor_valid(&it->cursor); lc_cursor_next(&it->cursor)) {
    if (it->rows.len >= max_bytes) return true;
    struct lc_slice e = lc_cursor_entry(&it->cursor);
    if (it->high_parts) {
      int order = lc_key_compare_entry(&tree->key, e.data, it->high.data, it->high_parts);
      if (order > 0 || (order == 0 && it->high_excluded)) return false;
    }
    if (it->index >= 0) e = lc_snapshot_find(&t->rows, it->snapshot, e.data + lc_key_len(&tree->key, e.data, t->info.indexes[it->index].n_columns));
    iter_add(it, row_of_entry(t, e));
  }
  return false;
}

struct lc_slice lc_row_iter_next(struct lc_row_iter *it) {
  static const uint8_t empty_row[1];
  if (it->at >= it->rows.len) {
    if (!it->snapshot) return lc_slice(NULL, 0);
    lc_buf_clear(&it->rows);
    it->at = 0;
    if (!iter_fetch(it, FETCH_BYTES)) {
      lc_snapshot_release(it->snapshot);
      it->snapshot = NULL;
    }
    if (!lc_buf_ok(&it->rows)) lc_panic("out of memory while scanning table %u", it->table->info.table_id);
    if (!it->rows.len) return lc_slice(NULL, 0);
  }
  uint32_t len;
  memcpy(&len, it->rows.data + it->at, 4);
  const uint8_t *row = it->rows.data + it->at + 4;
  it->at += 4 + (size_t)len;
  return len ? lc_slice(row, len) : lc_slice(empty_row, 0);
}

void lc_row_iter_close(struct lc_row_iter *it) {
  if (!it) return;
  lc_snapshot_release(it->snapshot);
  it->snapshot = NULL;
  if (it->rows.cap > KEEP_BYTES + FETCH_BYTES) lc_buf_free(&it->rows);
  it->next_free = it->ds->free_iters;
  it->ds->free_iters = it;
}

/* Bounds of a scan over the first columns of an index: low key of low_parts parts (after: excluded), high likewise. */
struct bounds { const uint8_t *low, *high; uint32_t low_parts, high_parts; bool low_excluded, high_excluded; };

/* Opens a scan: short ones are fetched whole, of longer ones the state of now is kept as a snapshot. index -1: the whole table. */
static int iter_open(struct lc_datastore *ds, struct table *t, int32_t index, const struct bounds *b, struct lc_row_iter **out, struct lc_error *err) {
  struct lc_row_iter *it = iter_new(ds);
  if (!it) return nomem(err);
  bool own_order = index < 0 || t->indexes[index].is_cluster;
  it->table = t;
  it->index = own_order ? -1 : index;
  it->high_parts = b->high_parts;
  it->high_excluded = b->high_excluded;
  lc_buf_clear(&it->high);
  const struct lc_tree *tree = own_order ? &t->rows : &t->indexes[index].tree;
  if (b->high_parts) lc_buf_append(&it->high, b->high, lc_key_len(&tree->key, b->high, b->high_parts));
  lc_cursor_seek(&it->cursor, tree, NULL, b->low_parts ? b->low : NULL, b->low_parts, b->low_excluded);
  if (lc_buf_ok(&it->high) && iter_fetch(it, FIRST_FETCH_BYTES)) {
    it->snapshot = lc_snapshot_take(ds->store); /* the cursor stays good: the nodes it stands on are the snapshot's now */
    if (!it->snapshot) it->rows.failed = true;
  }
  if (!lc_buf_ok(&it->rows) || !lc_buf_ok(&it->high)) {
    lc_buf_free(&it->rows);
    lc_buf_free(&it->high);
    lc_row_iter_close(it);
    return nomem(err);
  }
  *out = it;
  return LC_ERRNO_OK;
}

static int scan_table(struct lc_datastore *ds, uint32_t table_id, struct lc_row_iter **out) {
  struct table *t = ds_table(ds, table_id);
  static const struct bounds all;
  return t ? iter_open(ds, t, -1, &all, out, NULL) : LC_ERRNO_NO_SUCH_TABLE;
}

static int extra_bytes(const struct lc_reader *r, struct lc_error *err) { return lc_fail(err, LC_INVALID, "after decoding, there are %zu extra bytes", lc_reader_left(r)), LC_ERRNO_BSATN_DECODE; }

/* Checks a point key; *len = its bytes. Extra bytes are an error only for several columns of fixed size (spec/02 §5.3). */
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

static int range_bounds(const struct lc_index_info *info, struct lc_slice prefix, uint32_t prefix_elems, struct lc_slice start, struct lc_slice end, struct lc_buf keys[2], struct bounds *b,
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
  *b = (struct bounds){0};
  int rc = parse_bound(type, start, strict, &low_open, &b->low_excluded, &low, err);
  if (rc == LC_ERRNO_OK) rc = parse_bound(type, end.len ? end : start, strict, &high_open, &b->high_excluded, &high, err);
  if (rc != LC_ERRNO_OK) return rc;
  lc_buf_slice_append(&keys[0], head);
  lc_buf_slice_append(&keys[1], head);
  if (!low_open) lc_buf_slice_append(&keys[0], low);
  if (!high_open) lc_buf_slice_append(&keys[1], high);
  if (!lc_buf_ok(&keys[0]) || !lc_buf_ok(&keys[1])) return nomem(err);
  b->low = keys[0].data;
  b->high = keys[1].data;
  b->low_parts = prefix_elems + (low_open ? 0 : 1);
  b->high_parts = prefix_elems + (high_open ? 0 : 1);
  return LC_ERRNO_OK;
}

static int scan_point(struct lc_datastore *ds, uint32_t index_id, struct lc_slice key, struct lc_row_iter **out, struct lc_error *err) {
  struct table *t;
  uint32_t at;
  const struct lc_index_info *info = index_by_id(ds, index_id, &t, &at);
  if (!info) return LC_ERRNO_NO_SUCH_INDEX;
  int rc = check_point(info, key, err);
  if (rc != LC_ERRNO_OK) return rc;
  struct bounds b = {.low = key.data, .high = key.data, .low_parts = info->n_columns, .high_parts = info->n_columns};
  if (!info->is_unique) return iter_open(ds, t, (int32_t)at, &b, out, err);
  struct lc_row_iter *it = iter_new(ds);
  if (!it) return nomem(err);
  struct lc_slice row = index_find(t, at, key.data, info->n_columns);
  if (row.data) iter_add(it, row);
  if (!lc_buf_ok(&it->rows)) {
    lc_row_iter_close(it);
    return nomem(err);
  }
  *out = it;
  return LC_ERRNO_OK;
}

static int scan_range(struct lc_datastore *ds, uint32_t index_id, struct lc_slice prefix, uint32_t prefix_elems, struct lc_slice start, struct lc_slice end, struct lc_row_iter **out,
                      struct lc_error *err) {
  struct table *t;
  uint32_t at;
  const struct lc_index_info *info = index_by_id(ds, index_id, &t, &at);
  struct lc_buf keys[2] = {0};
  struct bounds b;
  if (!info) return LC_ERRNO_NO_SUCH_INDEX;
  int rc = range_bounds(info, prefix, prefix_elems, start, end, keys, &b, err);
  if (rc == LC_ERRNO_OK && info->kind == LC_INDEX_HASH) rc = LC_ERRNO_WRONG_INDEX_ALGO; /* one value or many: hash indexes answer points only */
  if (rc == LC_ERRNO_OK) rc = iter_open(ds, t, (int32_t)at, &b, out, err);
  lc_buf_free(&keys[0]);
  lc_buf_free(&keys[1]);
  return rc;
}

int lc_tx_scan(struct lc_tx *tx, uint32_t table_id, struct lc_row_iter **out) { return scan_table(tx->ds, table_id, out); }
int lc_tx_scan_point(struct lc_tx *tx, uint32_t index_id, struct lc_slice key, struct lc_row_iter **out, struct lc_error *err) { return scan_point(tx->ds, index_id, key, out, err); }
int lc_tx_scan_range(struct lc_tx *tx, uint32_t index_id, struct lc_slice prefix, uint32_t prefix_elems, struct lc_slice start, struct lc_slice end, struct lc_row_iter **out,
                     struct lc_error *err) {
  return scan_range(tx->ds, index_id, prefix, prefix_elems, start, end, out, err);
}
int lc_view_scan(struct lc_read_view view, uint32_t table_id, struct lc_row_iter **out) { return scan_table(view.ds, table_id, out); }
int lc_view_scan_point(struct lc_read_view view, uint32_t index_id, struct lc_slice key, struct lc_row_iter **out, struct lc_error *err) {
  return scan_point(view.ds, index_id, key, out, err);
}
uint64_t lc_view_row_count(struct lc_read_view view, uint32_t table_id) {
  struct table *t = ds_table(view.ds, table_id);
  return t ? lc_tree_count(&t->rows) : 0;
}
int lc_tx_row_count(struct lc_tx *tx, uint32_t table_id, uint64_t *n) {
  struct table *t = ds_table(tx->ds, table_id);
  if (!t) return LC_ERRNO_NO_SUCH_TABLE;
  *n = lc_tree_count(&t->rows);
  return LC_ERRNO_OK;
}

/* ---- deletes: the rows are collected first, then deleted ---- */

static int delete_collected(struct lc_tx *tx, struct table *t, struct lc_row_iter *it, uint64_t *n, struct lc_error *err) {
  int rc = LC_ERRNO_OK;
  *n = 0;
  for (struct lc_slice row; rc == LC_ERRNO_OK && (row = lc_row_iter_next(it)).data; (*n)++) rc = delete_row(tx, t, row, err);
  lc_row_iter_close(it);
  return rc;
}

int lc_tx_delete_point(struct lc_tx *tx, uint32_t index_id, struct lc_slice key, uint32_t *count, struct lc_error *err) {
  struct lc_row_iter *it;
  uint64_t n = 0;
  int rc = scan_point(tx->ds, index_id, key, &it, err);
  if (rc == LC_ERRNO_OK) rc = delete_collected(tx, tx->ds->index_refs[index_id].table, it, &n, err);
  *count = (uint32_t)n;
  return rc;
}

int lc_tx_delete_range(struct lc_tx *tx, uint32_t index_id, struct lc_slice prefix, uint32_t prefix_elems, struct lc_slice start, struct lc_slice end, uint32_t *count, struct lc_error *err) {
  struct lc_row_iter *it;
  uint64_t n = 0;
  int rc = scan_range(tx->ds, index_id, prefix, prefix_elems, start, end, &it, err);
  if (rc == LC_ERRNO_OK) rc = delete_collected(tx, tx->ds->index_refs[index_id].table, it, &n, err);
  *count = (uint32_t)n;
  return rc;
}

int lc_tx_clear(struct lc_tx *tx, uint32_t table_id, uint64_t *count, struct lc_error *err) {
  struct lc_row_iter *it;
  int rc = scan_table(tx->ds, table_id, &it);
  return rc == LC_ERRNO_OK ? delete_collected(tx, ds_table(tx->ds, table_id), it, count, err) : rc;
}

int lc_tx_delete_row(struct lc_tx *tx, uint32_t table_id, struct lc_slice row, bool *found, struct lc_error *err) {
  struct table *t = ds_table(tx->ds, table_id);
  struct lc_reader r = lc_reader(row);
  if (!t) return LC_ERRNO_NO_SUCH_TABLE;
  if (lc_bsatn_validate(t->info.row_type, NULL, &r, err) != LC_OK) return LC_ERRNO_BSATN_DECODE;
  struct lc_slice stored = rows_find_equal(t, lc_slice(row.data, (size_t)(r.p - row.data)));
  *found = stored.data != NULL;
  return *found ? delete_row(tx, t, stored, err) : LC_ERRNO_OK;
}

int lc_tx_delete_all_by_eq(struct lc_tx *tx, uint32_t table_id, struct lc_slice relation, uint32_t *count, struct lc_error *err) {
  struct table *t = ds_table(tx->ds, table_id);
  *count = 0;
  if (!t) return LC_ERRNO_NO_SUCH_TABLE;
  for (int pass = 0; pass < 2; pass++) { /* all rows decode before the first is deleted */
    struct lc_reader r = lc_reader(relation);
    uint32_t n = lc_read_u32(&r);
    if (r.failed) return lc_fail(err, LC_INVALID, "data too short for u32: Expected 4, given %zu", relation.len), LC_ERRNO_BSATN_DECODE;
    for (uint32_t i = 0; i < n; i++) {
      const uint8_t *start = r.p;
      if (lc_bsatn_validate(t->info.row_type, NULL, &r, err) != LC_OK) return LC_ERRNO_BSATN_DECODE;
      if (pass == 0) continue;
      struct lc_slice stored = rows_find_equal(t, lc_slice(start, (size_t)(r.p - start)));
      if (!stored.data) continue;
      int rc = delete_row(tx, t, stored, err);
      if (rc != LC_ERRNO_OK) return rc;
      (*count)++;
    }
  }
  return LC_ERRNO_OK;
}

/* ---- commit ---- */

static int by_table_id(const void *a, const void *b) {
  const struct lc_table_delta *x = a, *y = b;
  return x->table_id < y->table_id ? -1 : x->table_id > y->table_id;
}

void lc_tx_commit(struct lc_tx *tx, const struct lc_tx_delta **out) {
  struct lc_table_delta *deltas = lc_arena_alloc_zero(&tx->arena, tx->n_touched ? tx->n_touched : 1, sizeof *deltas);
  if (!deltas) lc_panic("out of memory while committing");
  uint32_t n = 0;
  for (uint32_t i = 0; i < tx->n_touched; i++) {
    struct table *t = tx->touched[i];
    uint32_t inserts = 0, deletes = 0;
    for (uint32_t k = 0; k < t->n_net; k++) {
      inserts += t->net[k].change > 0;
      deletes += t->net[k].change < 0;
    }
    if (inserts + deletes == 0) continue;
    struct lc_slice *rows = lc_arena_alloc(&tx->arena, (inserts + deletes) * sizeof *rows);
    if (!rows) lc_panic("out of memory while committing %u changes", inserts + deletes);
    uint32_t in = 0, del = inserts;
    for (uint32_t k = 0; k < t->n_net; k++) {
      if (t->net[k].change > 0) rows[in++] = t->net[k].row;
      else if (t->net[k].change < 0) rows[del++] = t->net[k].row;
    }
    if (t->info.is_event) /* rows of an event table live only in their transaction (spec/06 §7) */
      for (uint32_t k = 0; k < inserts; k++) rows_delete(t, rows[k]);
    deltas[n++] = (struct lc_table_delta){.table_id = t->info.table_id,
                                          .table = &t->info,
                                          .n_inserts = inserts,
                                          .n_deletes = deletes,
                                          .inserts = rows,
                                          .deletes = rows + inserts,
                                          .truncated = deletes > 0 && inserts == 0 && lc_tree_count(&t->rows) == 0,
                                          .is_ephemeral = t->is_ephemeral};
  }
  if (n > 1) qsort(deltas, n, sizeof *deltas, by_table_id);
  if (tx->n_schema) tx->ds->schema_version++;
  tx->delta = (struct lc_tx_delta){.n_tables = n, .tables = deltas, .schema_changed = tx->n_schema > 0};
  *out = &tx->delta;
}

void lc_tx_delta_release(struct lc_datastore *ds, const struct lc_tx_delta *delta) {
  lc_assert(delta == &ds->tx.delta);
  forget_net(&ds->tx);
  lc_arena_reset(&ds->tx.arena);
  ds->tx.open = false;
}
