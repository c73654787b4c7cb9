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

static void put_table(struct lc_buf *out, const struct table *t) {
  struct lc_cursor c;
  lc_buf_u32(out, t->info.table_id);
  lc_buf_varint(out, lc_tree_count(&t->rows));
  for (lc_cursor_seek(&c, &t->rows, NULL, NULL, 0, false); lc_cursor_valid(&c); lc_cursor_next(&c)) lc_buf_slice_append(out, row_of_entry(t, lc_cursor_entry(&c)));
}

enum lc_status lc_datastore_bootstrap_record(struct lc_datastore *ds, struct lc_buf *out) {
  lc_buf_u8(out, FLAG_MUTATIONS);
  lc_buf_varint(out, LC_ST_CONSTRAINT);
  for (uint32_t id = LC_ST_TABLE; id <= LC_ST_CONSTRAINT; id++) put_table(out, ds_table(ds, id));
  lc_buf_varint(out, 0);
  lc_buf_varint(out, 0);
  return lc_buf_ok(out) ? LC_OK : LC_NOMEM;
}

/* ---- replay ---- */

static bool is_catalog_table(uint32_t id) {
  return id == LC_ST_TABLE || id == LC_ST_COLUMN || id == LC_ST_SEQUENCE || id == LC_ST_INDEX || id == LC_ST_CONSTRAINT || id == LC_ST_SCHEDULED || id == LC_ST_EVENT_TABLE ||
         id == LC_ST_TABLE_ACCESSOR || id == LC_ST_INDEX_ACCESSOR;
}

/* The user table a catalog row speaks of, or 0. Changes of st_sequence alone (numbers handed out) do not alter a schema. */
static uint32_t subject(struct lc_datastore *ds, uint32_t st_id, struct lc_slice row) {
  static const int8_t column_of_id[] = {[LC_ST_TABLE] = 0, [LC_ST_COLUMN] = 0, [LC_ST_SEQUENCE] = -1, [LC_ST_INDEX] = 1, [LC_ST_CONSTRAINT] = 2, [LC_ST_SCHEDULED] = 1, [LC_ST_EVENT_TABLE] = 0};
  if (st_id >= sizeof column_of_id || column_of_id[st_id] < 0 || !is_catalog_table(st_id)) return 0;
  uint32_t id;
  memcpy(&id, lc_row_column(ds_table(ds, st_id)->info.row_type, row.data, (uint32_t)column_of_id[st_id]), 4);
  return id > LC_ST_OUTBOX ? id : 0;
}

static enum lc_status refresh_noted(struct lc_datastore *ds, struct lc_error *err) {
  struct lc_tx *tx = &ds->tx;
  enum lc_status st = LC_OK;
  for (uint32_t i = 0; i < tx->n_schema && st == LC_OK; i++) st = catalog_refresh(ds, tx->schema_tables[i], err);
  if (tx->n_schema) ds->schema_version++;
  tx->n_schema = 0;
  return st;
}

static enum lc_status replay_ops(struct lc_datastore *ds, struct lc_reader *r, bool inserts, struct lc_error *err) {
  uint64_t n_ops = lc_read_varint(r);
  for (uint64_t op = 0; op < n_ops; op++) {
    uint32_t id = lc_read_u32(r);
    uint64_t n_rows = lc_read_varint(r);
    if (r->failed) return lc_fail(err, LC_CORRUPT, "record is shorter than its contents");
    enum lc_status st = id > LC_ST_OUTBOX ? refresh_noted(ds, err) : LC_OK;
    if (st != LC_OK) return st;
    struct table *t = ds_table(ds, id);
    if (!t) return lc_fail(err, LC_CORRUPT, "record changes table %u, which does not exist", id);
    for (uint64_t i = 0; i < n_rows; i++) {
      const uint8_t *start = r->p;
      if (lc_bsatn_validate(t->info.row_type, NULL, r, err) != LC_OK) return lc_fail_context(err, "row of table %u", id), LC_CORRUPT;
      struct lc_slice row = lc_slice(start, (size_t)(r->p - start));
      if (inserts && t->info.is_event) continue;
      if (inserts && rows_find_equal(t, row).data) continue; /* the rows of the bootstrap, and sets in general */
      if (inserts ? !rows_insert(t, row, true) : false) return lc_fail(err, LC_NOMEM, "out of memory");
      if (!inserts) rows_delete(t, row); /* gone already if an insert of this record replaced it */
      uint32_t touched = subject(ds, id, row);
      if (touched && !tx_note_schema(&ds->tx, touched)) return lc_fail(err, LC_NOMEM, "out of memory");
    }
  }
  return LC_OK;
}

static enum lc_status replay_one(struct lc_datastore *ds, struct lc_reader *r, struct lc_error *err) {
  uint8_t flags = lc_read_u8(r);
  if (flags & ~(FLAG_INPUTS | FLAG_OUTPUTS | FLAG_MUTATIONS)) return lc_fail(err, LC_CORRUPT, "record has unknown flags 0x%02x", flags);
  if (flags & FLAG_INPUTS) lc_read_raw(r, lc_read_u32(r));
  if (flags & FLAG_OUTPUTS) lc_read_raw(r, lc_read_u8(r));
  if (r->failed) return lc_fail(err, LC_CORRUPT, "record is shorter than its contents");
  if (!(flags & FLAG_MUTATIONS)) return LC_OK;
  ds->tx.n_schema = 0;
  enum lc_status st = replay_ops(ds, r, true, err);
  if (st == LC_OK) st = replay_ops(ds, r, false, err);
  uint64_t truncates = st == LC_OK ? lc_read_varint(r) : 0;
  for (uint64_t i = 0; i < truncates && !r->failed; i++) {
    struct table *t = ds_table(ds, lc_read_u32(r));
    if (!t) continue; /* dropped in this very transaction */
    lc_tree_clear(&t->rows);
    lc_tree_clear(&t->by_hash);
    for (uint32_t k = 0; k < t->info.n_indexes; k++) lc_tree_clear(&t->indexes[k].tree);
  }
  if (st == LC_OK && r->failed) return lc_fail(err, LC_CORRUPT, "record is shorter than its contents");
  return st == LC_OK ? refresh_noted(ds, err) : st;
}

enum lc_status lc_datastore_replay(struct lc_datastore *ds, struct lc_slice records, uint32_t n_tx, size_t *consumed, struct lc_error *err) {
  struct lc_reader r = lc_reader(records);
  for (uint32_t i = 0; i < n_tx; i++) {
    enum lc_status st = replay_one(ds, &r, err);
    if (st != LC_OK) return st;
  }
  *consumed = (size_t)(r.p - records.data);
  return LC_OK;
}
