/* Transactions: insert, update, delete with constraints; rollback; commit and its net effect (spec/06 §4-§8, spec/02 §5).
 *
 * Invariants: a table's list of changes has every physical change to its rows in order, so that running it backwards restores it exactly; row
 * bytes in it live in the transaction's arena. What a commit needs is taken while the changes are made, so that it cannot fail; what
 * undoing needs is kept by the store, but for leaves that have to be split again beyond that (and their separators, where keys are long): for this it
 * waits. Callers: the face; schema.c, migrate_run.c.
 */
#include "engine_internal.h"
#include <stdlib.h>
#include <time.h>

enum { KEPT_SCRATCH_BYTES = 64 << 10, SMALL_NET = 32 /* changes compared one with another */,
       KEEP_CHANGES = 1 << 16 /* room for more is freed after a transaction */, UNDO_TRIES = 10000 /* a millisecond apart */ };

/* ---- begin, undo, rollback ---- */

struct lc_tx *lc_tx_begin(struct lc_datastore *ds) {
  struct lc_tx *tx = &ds->tx;
  lc_assert(!tx->open);
  tx->open = true;
  tx->committed = false;
  tx->note_epoch++;
  tx->n_bytes = 0;
  lc_store_reclaim_some(ds->store);
  tx->n_touched = tx->n_catalog = 0;
  lc_store_set_phase(ds->store, LC_STORE_CHANGING);
  return tx;
}

static void forget(struct table *t) {
  t->touched = false;
  t->n_changes = t->n_deletes = 0;
  if (t->cap_changes <= KEEP_CHANGES) return;
  lc_free(t->changes);
  lc_free(t->net);
  lc_free(t->net_slots);
  t->changes = t->net = NULL;
  t->net_slots = NULL;
  t->cap_changes = t->cap_net = 0;
}
void tx_forget_table(struct lc_tx *tx, struct table *t) {
  for (uint32_t i = 0; t->touched && i < tx->n_touched; i++)
    if (tx->touched[i] == t) tx->touched[i] = NULL;
}
/* Nothing is undone any more. */
static void settle(struct lc_tx *tx) {
  for (uint32_t i = 0; i < tx->n_touched; i++)
    if (tx->touched[i]) rows_settle(tx->touched[i]);
  lc_store_set_phase(tx->ds->store, LC_STORE_PLAIN);
}
static void end(struct lc_tx *tx) {
  for (uint32_t i = 0; i < tx->n_touched; i++)
    if (tx->touched[i]) forget(tx->touched[i]);
  tx->n_touched = 0;
  lc_arena_reset(&tx->arena);
  lc_buf_trim(&tx->ds->key, KEPT_SCRATCH_BYTES);
  lc_buf_trim(&tx->ds->entry, KEPT_SCRATCH_BYTES);
  tx->open = tx->committed = false;
}

/* Memory that was there before the transaction is there again soon; a transaction that cannot be undone would be worse than waiting. */
static void restore_row(struct table *t, struct lc_slice row) {
  for (int i = 0; !rows_restore(t, row, row.data - ROW_PLACE_BYTES); i++) {
    if (i == UNDO_TRIES) lc_panic("out of memory while undoing a transaction: a row of table %u could not be restored", t->info.table_id);
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  }
}
static void remove_row(struct table *t, struct lc_slice row) {
  enum lc_tree_result r;
  for (int i = 0; (r = rows_delete(t, row, NULL)) == LC_TREE_NOMEM && i < UNDO_TRIES; i++) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  if (r != LC_TREE_DONE) lc_panic("a row of table %u that a transaction inserted could not be taken out: %s", t->info.table_id, r == LC_TREE_NOMEM ? "out of memory" : "not found");
}
void tx_undo_rows(struct table *t, uint32_t keep) {
  lc_store_set_undoing(t->ds->store, true);
  while (t->n_changes > keep) {
    struct lc_slice c = t->changes[--t->n_changes];
    if (c.len & DELETED) {
      restore_row(t, change_row(c));
      t->n_deletes--;
    } else {
      remove_row(t, c);
    }
  }
  lc_store_set_undoing(t->ds->store, false);
}

void lc_tx_rollback(struct lc_tx *tx) {
  lc_assert(tx->open && !tx->committed);
  lc_store_set_phase(tx->ds->store, LC_STORE_UNDOING);
  catalog_rollback(tx);
  for (uint32_t i = 0; i < tx->n_touched; i++)
    if (tx->touched[i]) tx_undo_rows(tx->touched[i], 0);
  settle(tx);
  tx->ds->counts.rolled_back++;
  end(tx);
}

/* ---- the list of changes ---- */

static void *grown(void *p, uint32_t *cap, uint32_t need, uint32_t first, size_t size) {
  uint32_t n = *cap ? *cap : first;
  while (n < need) n *= 2;
  p = lc_realloc(p, n * size);
  if (p) *cap = n;
  return p;
}

static uint32_t slots_for(uint32_t n_changes) {
  uint32_t n = 2 * SMALL_NET;
  while (n < n_changes * 2) n *= 2;
  return n;
}

bool tx_reserve_deltas(struct lc_tx *tx, uint32_t more) {
  if (tx->n_touched + tx->n_catalog + more <= tx->cap_deltas) return true;
  struct lc_table_delta *p = grown(tx->deltas, &tx->cap_deltas, tx->n_touched + tx->n_catalog + more, 16, sizeof *p);
  if (p) tx->deltas = p;
  return p != NULL;
}

static bool touch(struct lc_tx *tx, struct table *t) {
  if (tx->n_touched == tx->cap_touched) {
    struct table **p = grown(tx->touched, &tx->cap_touched, tx->n_touched + 1, 16, sizeof *p);
    if (!p) return false;
    tx->touched = p;
  }
  if (!tx_reserve_deltas(tx, 1)) return false;
  tx->touched[tx->n_touched++] = t;
  t->touched = true;
  return true;
}

static bool reserve_net(struct table *t) { /* for as many changes as the list has room for */
  struct lc_slice *net = lc_realloc(t->net, t->cap_changes * sizeof *net);
  if (!net) return false;
  t->net = net;
  if (t->cap_changes > SMALL_NET) {
    uint32_t *slots = lc_realloc(t->net_slots, slots_for(t->cap_changes) * sizeof *slots);
    if (!slots) return false;
    t->net_slots = slots;
  }
  t->cap_net = t->cap_changes;
  return true;
}

bool tx_reserve(struct lc_tx *tx, struct table *t, uint32_t inserts, uint32_t deletes) {
  if (!t->touched && !touch(tx, t)) return false;
  if (t->n_changes + inserts + deletes > t->cap_changes) {
    struct lc_slice *p = grown(t->changes, &t->cap_changes, t->n_changes + inserts + deletes, 8, sizeof *p);
    if (!p) return false;
    t->changes = p;
  }
  bool mixed = t->n_deletes + deletes > 0 && t->n_changes - t->n_deletes + inserts > 0;
  return !mixed || t->n_changes + inserts + deletes <= t->cap_net || reserve_net(t);
}

void tx_note(struct table *t, struct lc_slice row, bool is_insert) {
  if (!is_insert) {
    row.len |= DELETED;
    t->n_deletes++;
  }
  t->changes[t->n_changes++] = row;
}

/* ---- insert ---- */

static int nomem(struct lc_error *err) {
  lc_fail(err, LC_NOMEM, "out of memory");
  return LC_ERRNO_TRAP;
}

uint8_t *tx_take_bytes(struct lc_tx *tx, size_t len, struct lc_error *err) {
  if (len > tx->ds->tx_limit_bytes - tx->n_bytes) {
    lc_fail(err, LC_LIMIT, "one transaction cannot change more than %llu bytes of rows", (unsigned long long)tx->ds->tx_limit_bytes);
    return NULL;
  }
  uint8_t *p = lc_arena_alloc(&tx->arena, len ? len : 1);
  if (!p) nomem(err);
  else tx->n_bytes += len;
  return p;
}
/* A copy of a row that goes, behind room for its place where it has one. NULL data: *err says why. */
static struct lc_slice take_old(struct lc_tx *tx, const struct table *t, struct lc_slice stored, struct lc_error *err) {
  size_t room = t->numbered ? ROW_PLACE_BYTES : 0;
  uint8_t *p = tx_take_bytes(tx, room + stored.len, err);
  if (!p) return lc_slice(NULL, 0);
  if (stored.len) memcpy(p + room, stored.data, stored.len);
  return lc_slice(p + room, stored.len);
}
/* Deletes the row that `copy`, from take_old, is a copy of. false: out of memory, nothing has changed. */
static bool delete_old(struct table *t, struct lc_slice copy) {
  enum lc_tree_result r = rows_delete(t, copy, t->numbered ? (uint8_t *)(uintptr_t)copy.data - ROW_PLACE_BYTES : NULL);
  if (r == LC_TREE_ABSENT) lc_panic("a row of table %u vanished while it was changed", t->info.table_id);
  return r == LC_TREE_DONE;
}

/* Checks the bytes and copies the row into the arena. */
static int take_row(struct lc_tx *tx, const struct table *t, struct lc_slice in, uint8_t **row, size_t *len, struct lc_error *err) {
  uint32_t fixed = t->info.row_type->static_size_bytes;
  *len = in.len;
  if (fixed != LC_SIZE_DYNAMIC && in.len != fixed) return lc_fail(err, LC_INVALID, "unexpected data length: Expected %u, given %zu", fixed, in.len), LC_ERRNO_BSATN_DECODE;
  if (!t->any_bytes) {
    struct lc_reader r = lc_reader(in);
    if (lc_bsatn_validate(t->info.row_type, NULL, &r, err) != LC_OK) return LC_ERRNO_BSATN_DECODE;
    *len = (size_t)(r.p - in.data);
  }
  if (!(*row = tx_take_bytes(tx, *len, err))) return LC_ERRNO_TRAP;
  if (*len) memcpy(*row, in.data, *len);
  return LC_ERRNO_OK;
}

int unique_violation(const struct table *t, uint32_t at, struct lc_slice row, struct lc_error *err) {
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

/* The row that holds `row`'s key in unique index `at`; NULL data: none. false: out of memory. */
static bool holder(struct table *t, uint32_t at, struct lc_slice row, struct lc_slice *found) {
  const struct lc_index_info *info = &t->info.indexes[at];
  if (t->indexes[at].is_cluster && t->rows.key.is_static_offset) return *found = lc_tree_find(&t->rows, row.data + t->rows.key.offset_bytes), true;
  struct lc_buf *key = &t->ds->key;
  lc_buf_clear(key);
  for (uint32_t i = 0; i < info->n_columns; i++) {
    const uint8_t *p = lc_row_column(t->info.row_type, row.data, info->columns[i]);
    lc_buf_append(key, p, (size_t)(lc_bsatn_skip(t->info.row_type->fields[info->columns[i]].type, p) - p));
  }
  if (!lc_buf_ok(key)) return false;
  *found = index_find(t, at, key->data);
  return true;
}

int tx_insert_row(struct lc_tx *tx, struct table *t, struct lc_slice row, struct lc_error *err) {
  if (!tx_reserve(tx, t, 1, 0)) return nomem(err);
  if (t->simple) { /* one descent tells about the row, about its key, and inserts */
    struct lc_slice there;
    enum lc_tree_result r = lc_tree_insert(&t->rows, row, &there);
    if (r == LC_TREE_NOMEM) return nomem(err);
    if (r == LC_TREE_DUPLICATE) return lc_slice_eq(there, row) ? LC_ERRNO_OK : unique_violation(t, 0, row, err);
    tx_note(t, row, true);
    return LC_ERRNO_OK;
  }
  if (rows_find_equal(t, row).data) return LC_ERRNO_OK; /* a table is a set */
  for (uint32_t i = 0; i < t->info.n_indexes; i++) {
    struct lc_slice there;
    if (!t->info.indexes[i].is_unique) continue;
    if (!holder(t, i, row, &there)) return nomem(err);
    if (there.data) return unique_violation(t, i, row, err);
  }
  if (!rows_insert(t, row)) return nomem(err);
  tx_note(t, row, true);
  return LC_ERRNO_OK;
}

int tx_delete_row(struct lc_tx *tx, struct table *t, struct lc_slice stored, struct lc_error *err) {
  struct lc_slice copy = take_old(tx, t, stored, err); /* `stored` goes with the row */
  if (!copy.data) return LC_ERRNO_TRAP;
  if (!tx_reserve(tx, t, 0, 1)) return nomem(err);
  if (!delete_old(t, copy)) return nomem(err);
  tx_note(t, copy, false);
  if (t->info.table_id == LC_ST_SEQUENCE) tx->note_epoch++;
  return LC_ERRNO_OK;
}

int lc_tx_insert(struct lc_tx *tx, uint32_t table_id, struct lc_slice in, struct lc_buf *generated, struct lc_slice *stored, struct lc_error *err) {
  struct table *t = ds_table(tx->ds, table_id);
  uint8_t *row;
  size_t len;
  if (!t) return LC_ERRNO_NO_SUCH_TABLE;
  int rc = take_row(tx, t, in, &row, &len, err);
  if (rc == LC_ERRNO_OK && t->n_sequences) rc = sequences_fill(tx, t, row, generated, err);
  if (rc == LC_ERRNO_OK) rc = tx_insert_row(tx, t, lc_slice(row, len), err);
  if (rc == LC_ERRNO_OK && stored) *stored = lc_slice(row, len);
  return rc;
}

/* ---- update ---- */

static const struct lc_index_info *index_by_id(const struct lc_datastore *ds, uint32_t id, struct table **t, uint32_t *at) {
  if (id >= ds->n_index_refs || !ds->index_refs[id].table) return NULL;
  *t = ds->index_refs[id].table;
  *at = ds->index_refs[id].at;
  return &(*t)->info.indexes[*at];
}

/* Both rows lie at the same place of the table. */
static bool same_place(const struct table *t, uint32_t at, struct lc_slice old, struct lc_slice row) {
  const struct lc_key_spec *k = &t->rows.key;
  if (t->numbered) return false;
  if (t->indexes[at].is_cluster) return true; /* found by it */
  for (uint32_t i = 0; i < k->n_parts; i++)
    if (lc_bsatn_compare(t->info.row_type->fields[k->columns[i]].type, lc_row_column(t->info.row_type, old.data, k->columns[i]), lc_row_column(t->info.row_type, row.data, k->columns[i])) != 0)
      return false;
  return true;
}

/* The update of a table without other indexes, by its own: one search. */
static int update_simple(struct lc_tx *tx, struct table *t, struct lc_slice row, struct lc_error *err) {
  struct lc_place place;
  struct lc_slice old = lc_tree_find_place(&t->rows, row.data + t->rows.key.offset_bytes, &place);
  if (!old.data) return LC_ERRNO_NO_SUCH_ROW;
  if (lc_slice_eq(old, row)) return LC_ERRNO_OK;
  struct lc_slice copy = take_old(tx, t, old, err);
  if (!copy.data) return LC_ERRNO_TRAP;
  if (!tx_reserve(tx, t, 1, 1) || lc_tree_replace_at(&t->rows, place, row) != LC_TREE_DONE) return nomem(err);
  tx_note(t, copy, false);
  tx_note(t, row, true);
  return LC_ERRNO_OK;
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
  if (rc == LC_ERRNO_OK && t->n_sequences) rc = sequences_fill(tx, t, bytes, generated, err);
  if (rc != LC_ERRNO_OK) return rc;
  struct lc_slice row = lc_slice(bytes, len), old;
  if (stored) *stored = row;
  if (t->simple && table_id != LC_ST_SEQUENCE) return update_simple(tx, t, row, err);
  if (!holder(t, at, row, &old)) return nomem(err);
  if (!old.data) return LC_ERRNO_NO_SUCH_ROW;
  if (lc_slice_eq(old, row)) return LC_ERRNO_OK;
  for (uint32_t i = 0; i < t->info.n_indexes; i++) {
    struct lc_slice other;
    if (i == at || !t->info.indexes[i].is_unique) continue;
    if (!holder(t, i, row, &other)) return nomem(err);
    if (other.data && other.data != old.data) return unique_violation(t, i, row, err);
  }
  struct lc_slice copy = take_old(tx, t, old, err);
  if (!copy.data) return LC_ERRNO_TRAP;
  if (!tx_reserve(tx, t, 1, 1)) return nomem(err);
  if (t->info.table_id == LC_ST_SEQUENCE) tx->note_epoch++;
  if (same_place(t, at, copy, row)) {
    if (!rows_replace(t, copy, row)) return nomem(err);
    tx_note(t, copy, false);
    tx_note(t, row, true);
    return LC_ERRNO_OK;
  }
  if (!delete_old(t, copy)) return nomem(err);
  tx_note(t, copy, false);
  if (!rows_insert(t, row)) return nomem(err); /* the caller's transaction ends with this: a trap */
  tx_note(t, row, true);
  return LC_ERRNO_OK;
}

/* ---- deletes: the rows are collected first, then deleted ---- */

static int delete_collected(struct lc_tx *tx, struct table *t, struct lc_row_iter *it, uint64_t *n, struct lc_error *err) {
  int rc = LC_ERRNO_OK;
  *n = 0;
  for (struct lc_slice row; rc == LC_ERRNO_OK && (row = lc_row_iter_next(it)).data; (*n)++) rc = tx_delete_row(tx, t, row, err);
  lc_row_iter_close(it);
  return rc;
}

int lc_tx_delete_point(struct lc_tx *tx, uint32_t index_id, struct lc_slice key, uint32_t *count, struct lc_error *err) {
  struct lc_row_iter *it;
  uint64_t n = 0;
  *count = 0;
  int rc = lc_tx_scan_point(tx, index_id, key, &it, err);
  if (rc == LC_ERRNO_OK) rc = delete_collected(tx, tx->ds->index_refs[index_id].table, it, &n, err);
  *count = (uint32_t)n;
  return rc;
}

int lc_tx_delete_range(struct lc_tx *tx, uint32_t index_id, struct lc_slice prefix, uint32_t prefix_elems, struct lc_slice start, struct lc_slice end_bound, uint32_t *count,
                       struct lc_error *err) {
  struct lc_row_iter *it;
  uint64_t n = 0;
  *count = 0;
  int rc = lc_tx_scan_range(tx, index_id, prefix, prefix_elems, start, end_bound, &it, err);
  if (rc == LC_ERRNO_OK) rc = delete_collected(tx, tx->ds->index_refs[index_id].table, it, &n, err);
  *count = (uint32_t)n;
  return rc;
}

int lc_tx_clear(struct lc_tx *tx, uint32_t table_id, uint64_t *count, struct lc_error *err) {
  struct lc_row_iter *it;
  *count = 0;
  int rc = lc_tx_scan(tx, table_id, &it);
  if (rc == LC_ERRNO_TRAP) return nomem(err);
  return rc == LC_ERRNO_OK ? delete_collected(tx, ds_table(tx->ds, table_id), it, count, err) : rc;
}

int lc_tx_delete_row(struct lc_tx *tx, uint32_t table_id, struct lc_slice row, bool *found, struct lc_error *err) {
  struct table *t = ds_table(tx->ds, table_id);
  struct lc_reader r = lc_reader(row);
  *found = false;
  if (!t) return LC_ERRNO_NO_SUCH_TABLE;
  if (lc_bsatn_validate(t->info.row_type, NULL, &r, err) != LC_OK) return LC_ERRNO_BSATN_DECODE;
  struct lc_slice stored = rows_find_equal(t, somewhere(lc_slice(row.data, (size_t)(r.p - row.data))));
  *found = stored.data != NULL;
  return *found ? tx_delete_row(tx, t, stored, err) : LC_ERRNO_OK;
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
      if (r.p == start) i = n - 1; /* rows of no bytes are all the same */
      if (pass == 0) continue;
      struct lc_slice stored = rows_find_equal(t, lc_slice(start, (size_t)(r.p - start)));
      if (!stored.data) continue;
      int rc = tx_delete_row(tx, t, stored, err);
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

/* What became of each row that both kinds of changes may have touched. A table is a set, so a row's changes alternate and add up to one
 * insertion, one deletion or nothing, which is kept above the length of its entry in `net`. The result goes to the front of `changes`. */
static void net_effect(struct table *t, uint32_t *n_inserts, uint32_t *n_deletes) {
  enum { NONE, INSERTED, REMOVED };
  uint32_t n = 0, inserts = 0, deletes = 0, size = slots_for(t->n_changes);
  bool hashed = t->n_changes > SMALL_NET;
  if (hashed) memset(t->net_slots, 0, size * sizeof *t->net_slots);
  for (uint32_t i = 0; i < t->n_changes; i++) {
    struct lc_slice row = change_row(t->changes[i]), *e = NULL;
    bool is_delete = t->changes[i].len & DELETED;
    if (hashed) {
      uint64_t at = lc_hash64(row.data, row.len, 2);
      for (; t->net_slots[at & (size - 1)]; at++) {
        struct lc_slice *x = &t->net[t->net_slots[at & (size - 1)] - 1];
        if ((x->len & UINT32_MAX) == row.len && memcmp(x->data, row.data, row.len) == 0) {
          e = x;
          break;
        }
      }
      if (!e) t->net_slots[at & (size - 1)] = n + 1;
    } else {
      for (uint32_t k = 0; k < n && !e; k++)
        if ((t->net[k].len & UINT32_MAX) == row.len && memcmp(t->net[k].data, row.data, row.len) == 0) e = &t->net[k];
    }
    if (!e) t->net[n++] = lc_slice(row.data, row.len | (size_t)(is_delete ? REMOVED : INSERTED) << 32);
    else e->len = row.len | (size_t)(e->len >> 32 != NONE ? NONE : is_delete ? REMOVED : INSERTED) << 32;
  }
  for (uint32_t i = 0; i < n; i++) {
    if (t->net[i].len >> 32 == INSERTED) t->changes[inserts++] = lc_slice(t->net[i].data, t->net[i].len & UINT32_MAX);
  }
  for (uint32_t i = 0; i < n; i++) {
    if (t->net[i].len >> 32 == REMOVED) t->changes[inserts + deletes++] = lc_slice(t->net[i].data, t->net[i].len & UINT32_MAX);
  }
  *n_inserts = inserts;
  *n_deletes = deletes;
}

static void table_commit(struct table *t, struct lc_table_delta *d) {
  uint32_t inserts = t->n_changes, deletes = 0;
  if (t->n_deletes == t->n_changes) {
    for (uint32_t i = 0; i < t->n_changes; i++) t->changes[i].len &= ~DELETED;
    inserts = 0;
    deletes = t->n_changes;
  } else if (t->n_deletes) {
    net_effect(t, &inserts, &deletes);
  }
  if (t->info.is_event) { /* rows of an event table live only in their transaction (spec/06 §7) */
    lc_store_set_phase(t->ds->store, LC_STORE_UNDOING);
    for (uint32_t k = 0; k < inserts; k++) remove_row(t, t->changes[k]);
    lc_store_set_phase(t->ds->store, LC_STORE_CHANGING);
  }
  *d = (struct lc_table_delta){.table_id = t->info.table_id,
                               .table = &t->info,
                               .n_inserts = inserts,
                               .n_deletes = deletes,
                               .inserts = t->changes,
                               .deletes = t->changes + inserts,
                               .truncated = deletes > 0 && inserts == 0 && lc_tree_count(&t->rows) == 0,
                               .is_ephemeral = t->info.view != NULL};
}

uint32_t lc_tx_n_touched(const struct lc_tx *tx) { return tx->n_touched; }
const struct lc_table_info *lc_tx_touched(const struct lc_tx *tx, uint32_t i, uint32_t *n_rows) {
  *n_rows = tx->touched[i] ? tx->touched[i]->n_changes : 0;
  return *n_rows ? &tx->touched[i]->info : NULL;
}
struct lc_slice lc_tx_touched_row(const struct lc_tx *tx, uint32_t i, uint32_t row) { return change_row(tx->touched[i]->changes[row]); }

void lc_tx_commit(struct lc_tx *tx, const struct lc_tx_delta **out) {
  lc_assert(tx->open && !tx->committed);
  uint32_t n = 0;
  for (uint32_t i = 0; i < tx->n_catalog; i++) {
    struct table *t = tx->catalog[i].table;
    if (tx->catalog[i].kind != TABLE_DROPPED) continue;
    if (t->touched) tx_forget_table(tx, t); /* what was done to it before has no effect */
    if (!t->is_new) tx->deltas[n++] = (struct lc_table_delta){.table_id = t->info.table_id, .table = &t->info, .truncated = true, .is_ephemeral = t->info.view != NULL};
  }
  for (uint32_t i = 0; i < tx->n_touched; i++) {
    struct lc_table_delta *d = &tx->deltas[n];
    if (!tx->touched[i]) continue;
    table_commit(tx->touched[i], d);
    tx->ds->counts.rows_inserted += d->n_inserts;
    tx->ds->counts.rows_deleted += d->n_deletes;
    if (d->n_inserts + d->n_deletes) n++;
  }
  if (n > 1) qsort(tx->deltas, n, sizeof *tx->deltas, by_table_id);
  if (tx->n_catalog) tx->ds->schema_version++;
  tx->delta = (struct lc_tx_delta){.n_tables = n, .tables = tx->deltas, .schema_changed = tx->n_catalog > 0};
  settle(tx);
  tx->ds->counts.committed++;
  tx->committed = true;
  *out = &tx->delta;
}

void lc_tx_delta_release(struct lc_datastore *ds, const struct lc_tx_delta *delta) {
  lc_assert(delta == &ds->tx.delta && ds->tx.committed);
  catalog_end(&ds->tx);
  end(&ds->tx);
}
