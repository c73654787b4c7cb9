/* Owns: whole states: a read view walked as blocks of rows, and a datastore built from such blocks (what snapshots on disk are made from and read into).
 *
 * Invariants: the rows of the system tables come first and are put one by one onto those of a new datastore, as replay does; then the catalog is made
 * from them; then each other table's rows go into its tree in bulk, sorted first as soon as one comes out of order, and its indexes are built from the
 * rows when it is complete. Callers: db/ (snapshots, recovery).
 */
#include "engine_internal.h"

static enum lc_status oom(struct lc_error *err) { return lc_fail(err, LC_NOMEM, "out of memory"); }

/* ---- out ---- */

enum lc_status lc_view_dump(struct lc_read_view v, size_t block_bytes, enum lc_status (*fn)(void *ctx, const struct lc_row_block *block, struct lc_error *err), void *ctx, struct lc_error *err) {
  struct lc_buf b = {0};
  enum lc_status st = LC_OK;
  lc_assert(v.schema);
  for (uint32_t i = 0; i < v.schema->n_shapes && st == LC_OK; i++) {
    const struct shape *s = v.schema->shapes[i];
    struct lc_row_block block = {.table = &s->info, .table_rows = lc_snapshot_count(&s->rows, v.snapshot)};
    bool packed = s->rows.entry_size_bytes != LC_SIZE_DYNAMIC && !s->numbered;
    struct lc_cursor c;
    if (s->info.view) continue;
    for (lc_cursor_seek(&c, &s->rows, v.snapshot, NULL, 0, false); lc_cursor_valid(&c) && st == LC_OK;) {
      struct lc_slice rows;
      uint32_t n = 1;
      if (packed) {
        rows = lc_cursor_run(&c, &n);
      } else {
        rows = lc_cursor_entry(&c);
        if (s->numbered) rows = lc_slice(rows.data + 8, rows.len - 8);
        lc_cursor_next(&c);
      }
      if (block.n_rows && (b.len + rows.len > block_bytes || block.n_rows > UINT32_MAX - n)) {
        block.rows = lc_buf_slice(&b);
        st = fn(ctx, &block, err);
        block.n_rows = 0;
        lc_buf_clear(&b);
      }
      lc_buf_slice_append(&b, rows);
      block.n_rows += n;
      if (st == LC_OK && !lc_buf_ok(&b)) st = oom(err);
    }
    block.rows = lc_buf_slice(&b);
    if (st == LC_OK && block.n_rows) st = fn(ctx, &block, err);
    lc_buf_clear(&b);
  }
  lc_buf_free(&b);
  return st;
}

/* ---- in ---- */

struct lc_restore {
  struct lc_datastore *ds;
  bool has_catalog;           /* the system tables are complete */
  struct table *open;         /* whose rows are coming; not of a system table */
  struct lc_bulk bulk;        /* into its tree, */
  bool sorting;               /* unless its rows turned out not to be in order */
  struct lc_sorter sorter;
};

enum lc_status lc_datastore_restore_begin(struct lc_datastore *ds, struct lc_restore **out, struct lc_error *err) {
  lc_assert(!ds->tx.open);
  struct lc_restore *r = lc_alloc_zero(1, sizeof *r);
  if (!r) return oom(err);
  r->ds = ds;
  *out = r;
  return LC_OK;
}
void lc_datastore_restore_abort(struct lc_restore *r) {
  if (!r) return;
  lc_sorter_free(&r->sorter);
  lc_free(r);
}

static enum lc_status equal_keys(const struct table *t, struct lc_error *err) {
  return lc_fail(err, LC_CORRUPT, "two rows of table %u are equal or have the same key", t->info.table_id);
}

/* The user tables that the rows of st_table name. */
static enum lc_status make_catalog(struct lc_restore *r, struct lc_error *err) {
  struct lc_cursor c;
  enum lc_status st = LC_OK;
  uint32_t id;
  for (lc_cursor_seek(&c, &ds_table(r->ds, LC_ST_TABLE)->rows, NULL, NULL, 0, false); lc_cursor_valid(&c) && st == LC_OK; lc_cursor_next(&c)) {
    memcpy(&id, lc_cursor_entry(&c).data, 4);
    if (id > LC_ST_OUTBOX) st = catalog_refresh(r->ds, id, err);
  }
  r->ds->schema_version++;
  r->has_catalog = true;
  return st;
}

/* The rows so far go from the tree to the sorter. */
static bool start_sorting(struct lc_restore *r) {
  struct table *t = r->open;
  struct lc_cursor c;
  lc_sorter_init(&r->sorter, &t->rows.key);
  r->sorting = true;
  for (lc_cursor_seek(&c, &t->rows, NULL, NULL, 0, false); lc_cursor_valid(&c); lc_cursor_next(&c))
    if (!lc_sorter_add(&r->sorter, lc_cursor_entry(&c))) return false;
  lc_bulk_abort(&r->bulk);
  return true;
}

static enum lc_status complete_table(struct lc_restore *r, struct lc_error *err) {
  struct table *t = r->open;
  if (!t) return LC_OK;
  enum lc_tree_result done = LC_TREE_DONE;
  if (r->sorting) {
    done = lc_sorter_build(&r->sorter, &t->rows, NULL);
    lc_sorter_free(&r->sorter);
    r->sorting = false;
  } else {
    lc_bulk_finish(&r->bulk);
  }
  r->open = NULL;
  if (done == LC_TREE_DONE && t->numbered) done = rows_hash_build(t);
  if (done == LC_TREE_DUPLICATE) return equal_keys(t, err);
  if (done != LC_TREE_DONE) return oom(err);
  for (uint32_t i = 0; i < t->info.n_indexes; i++) {
    enum lc_status st = index_build(t, i);
    if (st != LC_OK) return lc_fail(err, st, "out of memory while building an index");
  }
  return LC_OK;
}

static enum lc_status open_table(struct lc_restore *r, struct table *t, struct lc_error *err) {
  enum lc_status st = complete_table(r, err);
  if (st != LC_OK) return st;
  if (t->info.view || t->info.is_event) return lc_fail(err, LC_CORRUPT, "table %u keeps no rows, but some are there", t->info.table_id);
  if (lc_tree_count(&t->rows)) return lc_fail(err, LC_CORRUPT, "rows of table %u come twice", t->info.table_id);
  r->open = t;
  lc_bulk_begin(&r->bulk, &t->rows);
  return LC_OK;
}

static enum lc_status restore_row(struct lc_restore *r, struct table *t, struct lc_slice row, struct lc_error *err) {
  if (t->info.table_id == LC_ST_TABLE) catalog_described(r->ds, row);
  if (t->info.table_id <= LC_ST_OUTBOX) return rows_put(t, row) ? LC_OK : oom(err);
  if (t->numbered) {
    struct lc_buf *entry = &r->ds->entry;
    lc_buf_clear(entry);
    lc_buf_u64(entry, t->next_number++);
    lc_buf_slice_append(entry, row);
    if (!lc_buf_ok(entry)) return oom(err);
    row = lc_buf_slice(entry);
  }
  if (!r->sorting) {
    enum lc_tree_result done = lc_bulk_add(&r->bulk, row);
    if (done == LC_TREE_DONE) return LC_OK;
    if (done == LC_TREE_DUPLICATE) return equal_keys(t, err);
    if (done == LC_TREE_NOMEM || !start_sorting(r)) return oom(err);
  }
  return lc_sorter_add(&r->sorter, row) ? LC_OK : oom(err);
}

enum lc_status lc_datastore_restore_rows(struct lc_restore *r, uint32_t table_id, struct lc_slice rows, uint64_t n_rows, struct lc_error *err) {
  enum lc_status st = LC_OK;
  bool is_system = table_id <= LC_ST_OUTBOX;
  if (is_system && r->has_catalog) return lc_fail(err, LC_CORRUPT, "rows of system table %u come behind those of others", table_id);
  if (!is_system && !r->has_catalog) st = make_catalog(r, err);
  if (st != LC_OK) return st;
  struct table *t = ds_table(r->ds, table_id);
  if (!t) return lc_fail(err, LC_CORRUPT, "there are rows of table %u, which does not exist", table_id);
  if (!is_system && r->open != t) st = open_table(r, t, err);
  uint32_t fixed = t->any_bytes ? t->info.row_type->static_size_bytes : 0;
  struct lc_reader in = lc_reader(somewhere(rows));
  if (t->info.row_type->static_size_bytes == 0 && n_rows > 1) return equal_keys(t, err);
  for (uint64_t i = 0; i < n_rows && st == LC_OK; i++) {
    const uint8_t *start = in.p;
    if (fixed ? !lc_read_raw(&in, fixed) : lc_bsatn_validate(t->info.row_type, NULL, &in, err) != LC_OK) {
      if (fixed) lc_fail(err, LC_CORRUPT, "%zu bytes are fewer than %llu rows have", rows.len, (unsigned long long)n_rows);
      return lc_fail_context(err, "row of table %u", table_id), LC_CORRUPT;
    }
    st = restore_row(r, t, lc_slice(start, (size_t)(in.p - start)), err);
  }
  if (st == LC_OK && lc_reader_left(&in)) st = lc_fail(err, LC_CORRUPT, "%zu bytes behind %llu rows of table %u", lc_reader_left(&in), (unsigned long long)n_rows, table_id);
  return st;
}

enum lc_status lc_datastore_restore_finish(struct lc_restore *r, struct lc_error *err) {
  enum lc_status st = r->has_catalog ? LC_OK : make_catalog(r, err);
  if (st == LC_OK) st = complete_table(r, err);
  lc_datastore_restore_abort(r);
  return st;
}
