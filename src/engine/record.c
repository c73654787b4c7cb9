/* Log records: what a commit writes and how replay reads it (spec/06 §8, §8.1, §10.3, §12; spec/07 §12).
 *
 * Rows in a record carry no length: reading needs the catalog as it was then, so replay rebuilds touched tables' schema as soon as a row of a
 * user table follows changes of the catalog's own tables.
 */
#include "engine_internal.h"

enum { FLAG_INPUTS = 0x80, FLAG_OUTPUTS = 0x40, FLAG_MUTATIONS = 0x20 };

static bool is_logged_table(const struct lc_table_delta *d) { return !d->is_ephemeral; }

bool lc_tx_delta_is_logged(const struct lc_tx_delta *delta, const struct lc_tx_inputs *inputs) {
  if (lc_slice_eq_str(inputs->name, "__identity_connected__") || lc_slice_eq_str(inputs->name, "__identity_disconnected__")) return true;
  for (uint32_t i = 0; i < delta->n_tables; i++)
    if (is_logged_table(&delta->tables[i])) return true;
  return false;
}

static void put_ops(struct lc_buf *out, const struct lc_tx_delta *delta, bool inserts) {
  uint64_t n = 0;
  for (int pass = 0; pass < 2; pass++) {
    for (uint32_t i = 0; i < delta->n_tables; i++) {
      const struct lc_table_delta *d = &delta->tables[i];
      uint32_t rows = inserts ? d->n_inserts : d->truncated ? 0 : d->n_deletes;
      if (!is_logged_table(d) || rows == 0) continue;
      if (pass == 0) {
        n++;
        continue;
      }
      lc_buf_u32(out, d->table_id);
      lc_buf_varint(out, rows);
      for (uint32_t k = 0; k < rows; k++) lc_buf_slice_append(out, inserts ? d->inserts[k] : d->deletes[k]);
    }
    if (pass == 0) lc_buf_varint(out, n);
  }
}

void lc_tx_record_encode(struct lc_buf *out, const struct lc_tx_delta *delta, const struct lc_tx_inputs *in) {
  bool inputs = in->name.len > 0;
  lc_buf_u8(out, (uint8_t)(FLAG_MUTATIONS | (inputs ? FLAG_INPUTS : 0)));
  if (inputs) {
    size_t name_len = in->name.len;
    if (name_len > 255) /* cut at a character boundary */
      for (name_len = 255; name_len > 0 && (in->name.data[name_len] & 0xc0) == 0x80;) name_len--;
    lc_buf_u32(out, (uint32_t)(1 + name_len + 32 + 16 + 8 + in->args.len));
    lc_buf_u8(out, (uint8_t)name_len);
    lc_buf_append(out, in->name.data, name_len);
    lc_buf_append(out, in->caller.bytes, 32);
    lc_buf_append(out, in->connection_id.bytes, 16);
    lc_buf_i64(out, in->timestamp_us);
    lc_buf_slice_append(out, in->args);
  }
  put_ops(out, delta, true);
  put_ops(out, delta, false);
  uint64_t truncates = 0;
  for (uint32_t i = 0; i < delta->n_tables; i++) truncates += is_logged_table(&delta->tables[i]) && delta->tables[i].truncated;
  lc_buf_varint(out, truncates);
  for (uint32_t i = 0; i < delta->n_tables; i++)
    if (is_logged_table(&delta->tables[i]) && delta->tables[i].truncated) lc_buf_u32(out, delta->tables[i].table_id);
}

uint64_t lc_tx_record_max_bytes(const struct lc_tx *tx, const struct lc_tx_inputs *in) {
  enum { FIXED_BYTES = 1 + 4 + 1 + 255 + 32 + 16 + 8 + 3 * 10, A_TABLE_BYTES = 2 * (4 + 10) + 4 };
  return FIXED_BYTES + in->args.len + tx->n_bytes + (uint64_t)(tx->n_touched + tx->n_catalog) * A_TABLE_BYTES;
}

/* Where the id of the table is in the rows of the tables that describe tables. */
static uint32_t table_id_column(uint32_t st_id) { return st_id == LC_ST_INDEX || st_id == LC_ST_SCHEDULED ? 1 : st_id == LC_ST_CONSTRAINT || st_id == LC_ST_SEQUENCE ? 2 : 0; }

/* The rows of one of st_table to st_constraint that describe the system tables in `which`, a bit each. */
static void put_description(struct lc_buf *out, const struct table *t, uint64_t which) {
  uint64_t n = 0;
  for (int pass = 0; pass < 2; pass++) {
    struct lc_cursor c;
    for (lc_cursor_seek(&c, &t->rows, NULL, NULL, 0, false); lc_cursor_valid(&c); lc_cursor_next(&c)) {
      struct lc_slice row = row_of_entry(t, lc_cursor_entry(&c));
      uint32_t id;
      memcpy(&id, lc_row_column(t->info.row_type, row.data, table_id_column(t->info.table_id)), 4);
      if (id > LC_ST_OUTBOX || !(which >> id & 1)) continue;
      if (pass == 0) n++;
      else lc_buf_slice_append(out, row);
    }
    if (n == 0) return;
    if (pass > 0) continue;
    lc_buf_u32(out, t->info.table_id);
    lc_buf_varint(out, n);
  }
}
static enum lc_status describe_system_tables(struct lc_datastore *ds, uint64_t which, struct lc_buf *out) {
  struct lc_buf ops = {0};
  uint32_t n = 0;
  for (uint32_t id = LC_ST_TABLE; id <= LC_ST_CONSTRAINT; id++) {
    size_t before = ops.len;
    put_description(&ops, ds_table(ds, id), which);
    n += ops.len > before;
  }
  lc_buf_u8(out, FLAG_MUTATIONS);
  lc_buf_varint(out, n);
  lc_buf_slice_append(out, lc_buf_slice(&ops));
  lc_buf_varint(out, 0);
  lc_buf_varint(out, 0);
  bool ok = lc_buf_ok(&ops) && lc_buf_ok(out);
  lc_buf_free(&ops);
  return ok ? LC_OK : LC_NOMEM;
}

enum lc_status lc_datastore_bootstrap_record(struct lc_datastore *ds, struct lc_buf *out) { return describe_system_tables(ds, UINT64_MAX, out); }

enum lc_status lc_datastore_missing_record(struct lc_datastore *ds, struct lc_buf *out) {
  uint64_t missing = 0;
  for (uint32_t id = LC_ST_ENV; id <= LC_ST_OUTBOX; id++) missing |= (uint64_t)1 << id & ~ds->described;
  if (!missing) return LC_OK;
  enum lc_status st = describe_system_tables(ds, missing, out);
  if (st == LC_OK) ds->described |= missing;
  return st;
}

/* ---- replay ---- */

/* Rows of simple tables with packed rows wait until there are a few, so that the memory accesses of putting them overlap. Everything else that touches a table comes
 * behind what waits. */
enum lc_status lc_datastore_replay_settle(struct lc_datastore *ds, struct lc_error *err) {
  const uint8_t *rows[LC_TREE_BATCH];
  struct table *t = ds->put_table;
  uint32_t n = ds->n_puts;
  if (n == 0) return LC_OK;
  for (uint32_t i = 0; i < n; i++) rows[i] = ds->puts + (size_t)i * t->rows.entry_size_bytes;
  ds->n_puts = 0;
  return lc_tree_put_batch(&t->rows, rows, n) == LC_TREE_DONE ? LC_OK : lc_fail(err, LC_NOMEM, "out of memory");
}
static enum lc_status put_soon(struct lc_datastore *ds, struct table *t, const uint8_t *row, struct lc_error *err) {
  uint32_t size = t->rows.entry_size_bytes;
  enum lc_status st = ds->put_table != t || ds->n_puts == LC_TREE_BATCH ? lc_datastore_replay_settle(ds, err) : LC_OK;
  if (st != LC_OK) return st;
  if (ds->put_table != t) {
    uint8_t *p = lc_realloc(ds->puts, (size_t)LC_TREE_BATCH * size);
    if (!p) return lc_fail(err, LC_NOMEM, "out of memory");
    ds->puts = p;
    ds->put_table = t;
  }
  memcpy(ds->puts + (size_t)ds->n_puts++ * size, row, size);
  return LC_OK;
}

/* The rows a record inserts into tables that can wait, for its deletions. */
enum { INSERTED_TABLES = 8 };
struct inserted { uint32_t n; struct { const struct table *table; const uint8_t *rows; uint64_t n; } of[INSERTED_TABLES]; };
static void note_inserted(struct inserted *in, const struct table *t, const uint8_t *rows, uint64_t n) {
  if (in->n == INSERTED_TABLES) return;
  in->of[in->n].table = t;
  in->of[in->n].rows = rows;
  in->of[in->n++].n = n;
}
/* Is the row that a record inserts as number i into t the new state of one that it deletes? Then that is gone already. */
static bool is_replaced(const struct inserted *in, const struct table *t, uint64_t i, const uint8_t *row) {
  uint32_t size = t->rows.entry_size_bytes, at = t->rows.key.offset_bytes, k = 0;
  while (k < in->n && in->of[k].table != t) k++;
  if (k == in->n || i >= in->of[k].n) return false;
  const uint8_t *now = in->of[k].rows + i * size;
  return memcmp(now + at, row + at, t->rows.key.static_size_bytes) == 0 && memcmp(now, row, size) != 0;
}

/* Tables whose rows say what a table is (catalog.c). A changed row of st_sequence alone is a number handed out. */
static bool is_catalog_table(uint32_t id) {
  static const bool is[LC_ST_OUTBOX + 1] = {[LC_ST_TABLE] = true,     [LC_ST_COLUMN] = true, [LC_ST_INDEX] = true,       [LC_ST_CONSTRAINT] = true,     [LC_ST_SEQUENCE] = true, [LC_ST_SCHEDULED] = true,
                                            [LC_ST_EVENT_TABLE] = true, [LC_ST_VIEW] = true,   [LC_ST_VIEW_PARAM] = true,  [LC_ST_TABLE_ACCESSOR] = true, [LC_ST_INDEX_ACCESSOR] = true,
                                            [LC_ST_COLUMN_ACCESSOR] = true, [LC_ST_OUTBOX] = true};
  return is[id];
}

static struct lc_slice first_string(struct lc_slice row) {
  struct lc_reader r = lc_reader(row);
  return lc_read_bytes(&r);
}

/* The user table a catalog row speaks of, or 0. */
static uint32_t subject(struct lc_datastore *ds, uint32_t st_id, struct lc_slice row, bool number_only) {
  const struct lc_type *type = ds_table(ds, st_id)->info.row_type;
  const struct lc_table_info *t = NULL;
  uint32_t id = 0;
  switch (st_id) {
  case LC_ST_TABLE: case LC_ST_COLUMN: case LC_ST_EVENT_TABLE: case LC_ST_OUTBOX: case LC_ST_INDEX: case LC_ST_SCHEDULED: case LC_ST_CONSTRAINT: break;
  case LC_ST_SEQUENCE:
    if (number_only) return 0;
    break;
  case LC_ST_VIEW: {
    const uint8_t *table = lc_row_column(type, row.data, 2);
    if (*table == 0) memcpy(&id, table + 1, 4);
    return id > LC_ST_OUTBOX ? id : 0;
  }
  case LC_ST_TABLE_ACCESSOR: case LC_ST_COLUMN_ACCESSOR: /* of a table that is new: its other rows name it */
    t = lc_datastore_table_by_name(ds, first_string(row));
    return t && !t->is_system ? t->table_id : 0;
  case LC_ST_INDEX_ACCESSOR: {
    const struct lc_index_info *x = lc_datastore_index_by_name(ds, first_string(row));
    return x && x->table_id > LC_ST_OUTBOX ? x->table_id : 0;
  }
  default: return 0;
  }
  memcpy(&id, lc_row_column(type, row.data, table_id_column(st_id)), 4);
  return id > LC_ST_OUTBOX ? id : 0;
}

static enum lc_status refresh_noted(struct lc_datastore *ds, struct lc_error *err) {
  if (ds->n_noted == 0) return LC_OK;
  enum lc_status st = lc_datastore_replay_settle(ds, err);
  ds->put_table = NULL; /* its table may go */
  for (uint32_t i = 0; i < ds->n_noted && st == LC_OK; i++) st = catalog_refresh(ds, ds->noted[i], err);
  ds->schema_version++;
  ds->n_noted = 0;
  return st;
}

static bool note_table(struct lc_datastore *ds, uint32_t table_id) {
  for (uint32_t i = ds->n_noted; i-- > 0;)
    if (ds->noted[i] == table_id) return true;
  if (ds->n_noted == ds->cap_noted) {
    uint32_t cap = ds->cap_noted ? ds->cap_noted * 2 : 16;
    uint32_t *p = lc_realloc(ds->noted, cap * sizeof *p);
    if (!p) return false;
    ds->noted = p;
    ds->cap_noted = cap;
  }
  ds->noted[ds->n_noted++] = table_id;
  return true;
}

enum { SYSTEM_TABLES = 1, USER_TABLES = 2 };

/* Reads one list of insertions or deletions and applies what concerns the tables in `which`. *schema (may be NULL) is set when a user table's
 * rows follow changes of the catalog, or a new program, whose migration may have deleted from it: these rows are only read then, because deletions
 * that concern the catalog are still to come. */
static enum lc_status replay_ops(struct lc_datastore *ds, struct lc_reader *r, bool inserts, int which, bool *schema, struct inserted *inserted, struct lc_error *err) {
  uint64_t n_ops = lc_read_varint(r);
  bool new_program = false;
  for (uint64_t op = 0; op < n_ops; op++) {
    uint32_t id = lc_read_u32(r);
    uint64_t n_rows = lc_read_varint(r);
    if (r->failed) return lc_fail(err, LC_CORRUPT, "record is shorter than its contents");
    bool is_user = id > LC_ST_OUTBOX;
    new_program = new_program || id == LC_ST_MODULE;
    if (is_user && (ds->n_noted || new_program) && schema) {
      *schema = true;
      which &= ~USER_TABLES;
    }
    enum lc_status st = is_user ? refresh_noted(ds, err) : LC_OK;
    if (st != LC_OK) return st;
    struct table *t = ds_table(ds, id);
    if (!t) return lc_fail(err, LC_CORRUPT, "record changes table %u, which does not exist", id);
    bool is_catalog = !is_user && is_catalog_table(id), skip = (inserts && t->info.is_event) || !(which & (is_user ? USER_TABLES : SYSTEM_TABLES));
    uint32_t fixed = t->any_bytes ? t->info.row_type->static_size_bytes : 0;
    bool can_wait = is_user && fixed && t->simple && t->rows.entry_size_bytes == fixed;
    if (!can_wait && !skip && ds->n_puts && (st = lc_datastore_replay_settle(ds, err)) != LC_OK) return st;
    if (inserts && can_wait && !skip) note_inserted(inserted, t, r->p, n_rows);
    if (n_rows && fixed == 0 && t->any_bytes && n_rows > 1) return lc_fail(err, LC_CORRUPT, "record changes %llu rows of table %u, which has no columns", (unsigned long long)n_rows, id);
    for (uint64_t i = 0; i < n_rows; i++) {
      const uint8_t *start = r->p;
      if (fixed ? !lc_read_raw(r, fixed) : lc_bsatn_validate(t->info.row_type, NULL, r, err) != LC_OK) {
        if (fixed) lc_fail(err, LC_CORRUPT, "record is shorter than its contents");
        return lc_fail_context(err, "row of table %u", id), LC_CORRUPT;
      }
      struct lc_slice row = lc_slice(start, (size_t)(r->p - start));
      if (skip) continue;
      if (can_wait) {
        if (inserts) st = put_soon(ds, t, start, err);
        else if (!is_replaced(inserted, t, i, start) && (st = lc_datastore_replay_settle(ds, err)) == LC_OK && rows_delete(t, row, NULL) == LC_TREE_NOMEM)
          return lc_fail(err, LC_NOMEM, "out of memory");
        if (st != LC_OK) return st;
        continue;
      }
      bool number_only = inserts && id == LC_ST_SEQUENCE && lc_tree_find(&t->rows, row.data).data;
      if (inserts && !rows_put(t, row)) return lc_fail(err, LC_NOMEM, "out of memory");
      if (inserts && id == LC_ST_TABLE) catalog_described(ds, row);
      enum lc_tree_result deleted = inserts ? LC_TREE_DONE : rows_delete(t, row, NULL);
      if (deleted == LC_TREE_NOMEM) return lc_fail(err, LC_NOMEM, "out of memory");
      if (deleted == LC_TREE_ABSENT) number_only = id == LC_ST_SEQUENCE; /* gone already: an insert of this record replaced it */
      uint32_t touched = is_catalog ? subject(ds, id, row, number_only) : 0;
      if (touched && !note_table(ds, touched)) return lc_fail(err, LC_NOMEM, "out of memory");
    }
  }
  return LC_OK;
}

static enum lc_status replay_truncates(struct lc_datastore *ds, struct lc_reader *r, int which, struct lc_error *err) {
  uint64_t n = lc_read_varint(r);
  enum lc_status st = n ? lc_datastore_replay_settle(ds, err) : LC_OK;
  if (st != LC_OK) return st;
  for (uint64_t i = 0; i < n && !r->failed; i++) {
    uint32_t id = lc_read_u32(r);
    struct table *t = ds_table(ds, id);
    if (!t || !(which & (id > LC_ST_OUTBOX ? USER_TABLES : SYSTEM_TABLES))) continue; /* no table: dropped in this very transaction */
    struct lc_cursor c;
    if (id <= LC_ST_OUTBOX && is_catalog_table(id))
      for (lc_cursor_seek(&c, &t->rows, NULL, NULL, 0, false); lc_cursor_valid(&c); lc_cursor_next(&c)) {
        uint32_t touched = subject(ds, id, row_of_entry(t, lc_cursor_entry(&c)), false);
        if (touched && !note_table(ds, touched)) return lc_fail(err, LC_NOMEM, "out of memory");
      }
    lc_tree_clear(&t->rows);
    lc_tree_clear(&t->by_hash);
    for (uint32_t k = 0; k < t->info.n_indexes; k++) lc_tree_clear(&t->indexes[k].tree);
  }
  return r->failed ? lc_fail(err, LC_CORRUPT, "record is shorter than its contents") : LC_OK;
}

static enum lc_status replay_one(struct lc_datastore *ds, struct lc_reader *r, struct lc_error *err) {
  uint8_t flags = lc_read_u8(r);
  if (flags & ~(FLAG_INPUTS | FLAG_OUTPUTS | FLAG_MUTATIONS)) return lc_fail(err, LC_CORRUPT, "record has unknown flags 0x%02x", flags);
  if (flags & FLAG_INPUTS) lc_read_raw(r, lc_read_u32(r));
  if (flags & FLAG_OUTPUTS) lc_read_raw(r, lc_read_u8(r));
  if (r->failed) return lc_fail(err, LC_CORRUPT, "record is shorter than its contents");
  if (!(flags & FLAG_MUTATIONS)) return LC_OK;
  ds->n_noted = 0;
  struct lc_reader start = *r;
  struct inserted inserted;
  inserted.n = 0;
  bool schema = false;
  enum lc_status st = replay_ops(ds, r, true, SYSTEM_TABLES | USER_TABLES, &schema, &inserted, err);
  if (st == LC_OK) st = replay_ops(ds, r, false, schema ? SYSTEM_TABLES : SYSTEM_TABLES | USER_TABLES, NULL, &inserted, err);
  if (st == LC_OK && !schema) st = replay_truncates(ds, r, SYSTEM_TABLES | USER_TABLES, err);
  if (st == LC_OK && schema) { /* once the catalog is as the transaction left it: the rows of user tables */
    st = replay_truncates(ds, r, SYSTEM_TABLES, err);
    if (st == LC_OK) st = refresh_noted(ds, err);
    *r = start;
    inserted.n = 0;
    if (st == LC_OK) st = replay_ops(ds, r, true, USER_TABLES, NULL, &inserted, err);
    if (st == LC_OK) st = replay_ops(ds, r, false, USER_TABLES, NULL, &inserted, err);
    if (st == LC_OK) st = replay_truncates(ds, r, USER_TABLES, err);
  }
  return st == LC_OK ? refresh_noted(ds, err) : st;
}

enum lc_status lc_datastore_replay_more(struct lc_datastore *ds, struct lc_slice records, uint32_t n_tx, size_t *consumed, struct lc_error *err) {
  struct lc_reader r = lc_reader(records);
  for (uint32_t i = 0; i < n_tx; i++) {
    enum lc_status st = replay_one(ds, &r, err);
    if (st != LC_OK) return st;
  }
  *consumed = (size_t)(r.p - records.data);
  return LC_OK;
}

enum lc_status lc_datastore_replay(struct lc_datastore *ds, struct lc_slice records, uint32_t n_tx, size_t *consumed, struct lc_error *err) {
  enum lc_status st = lc_datastore_replay_more(ds, records, n_tx, consumed, err);
  return st == LC_OK ? lc_datastore_replay_settle(ds, err) : st;
}
