/* Owns: the datastore's life; the stored program; client rows (spec/06 §9, spec/07 §9). */
#include "engine_internal.h"
#include <stdio.h>
#include <stdlib.h>

enum lc_status lc_datastore_new(const struct lc_env *env, struct lc_datastore **out, struct lc_error *err) {
  struct lc_datastore *ds = lc_alloc_zero(1, sizeof *ds);
  if (!ds) return lc_fail(err, LC_NOMEM, "out of memory");
  ds->env = env;
  ds->tx.ds = ds;
  ds->tx_limit_bytes = LC_TX_MAX_BYTES;
  ds->store = lc_store_new();
  if (!ds->store || !lc_buf_reserve(&ds->key, 64) || !lc_buf_reserve(&ds->entry, 64)) { /* a key of no bytes lies in them too */
    lc_buf_free(&ds->key);
    lc_buf_free(&ds->entry);
    lc_store_free(ds->store);
    lc_free(ds);
    return lc_fail(err, LC_NOMEM, "out of memory");
  }
  enum lc_status st = catalog_bootstrap(ds, err);
  if (st != LC_OK) {
    lc_datastore_free(ds);
    return st;
  }
  *out = ds;
  return LC_OK;
}

void lc_datastore_limit_transactions(struct lc_datastore *ds, uint64_t limit_bytes) { ds->tx_limit_bytes = limit_bytes < LC_TX_MAX_BYTES ? limit_bytes : LC_TX_MAX_BYTES; }

struct lc_datastore_counts lc_datastore_counts(const struct lc_datastore *ds) { return ds->counts; }
void lc_datastore_limit_memory(struct lc_datastore *ds, uint64_t limit_bytes) { lc_store_set_limit(ds->store, limit_bytes); }
void lc_datastore_lift_limit(struct lc_datastore *ds, bool lifted) { lc_store_set_undoing(ds->store, lifted); }
bool lc_datastore_limit_was_hit(struct lc_datastore *ds) { return lc_store_limit_was_hit(ds->store); }
struct lc_store_stats lc_datastore_memory(const struct lc_datastore *ds) {
  struct lc_store_stats stats;
  lc_store_stats(ds->store, &stats);
  return stats;
}
bool lc_datastore_table_size(const struct lc_datastore *ds, uint32_t table_id, uint64_t *rows, uint64_t *memory_bytes) {
  const struct table *t = ds_table(ds, table_id);
  if (!t) return false;
  *rows = lc_tree_count(&t->rows);
  *memory_bytes = t->rows.memory_bytes + (t->numbered ? t->by_hash.memory_bytes : 0);
  for (uint32_t i = 0; i < t->info.n_indexes; i++)
    if (!t->indexes[i].is_cluster) *memory_bytes += t->indexes[i].tree.memory_bytes;
  return true;
}

void lc_datastore_free(struct lc_datastore *ds) {
  if (!ds) return;
  if (ds->tx.committed) lc_tx_delta_release(ds, &ds->tx.delta);
  if (ds->tx.open) lc_tx_rollback(&ds->tx);
  for (uint32_t i = 0; i < ds->n_tables; i++) table_free(ds->tables[i]);
  for (struct lc_row_iter *it = ds->free_iters, *next; it; it = next) {
    next = it->next_free;
    lc_buf_free(&it->rows);
    lc_buf_free(&it->high);
    lc_free(it);
  }
  lc_arena_free(&ds->tx.arena);
  lc_free(ds->tx.touched);
  lc_free(ds->tx.catalog);
  lc_free(ds->tx.deltas);
  lc_free(ds->noted);
  lc_free(ds->puts);
  lc_free(ds->tables);
  lc_free(ds->index_refs);
  lc_buf_free(&ds->key);
  lc_buf_free(&ds->entry);
  lc_buf_free(&ds->old);
  schema_forget(ds);
  lc_store_free(ds->store);
  lc_free(ds);
}

enum lc_status lc_datastore_module(struct lc_datastore *ds, struct lc_module_facts *out) {
  struct table *t = ds_table(ds, LC_ST_MODULE);
  struct lc_cursor c;
  lc_cursor_seek(&c, &t->rows, NULL, NULL, 0, false);
  if (!lc_cursor_valid(&c)) return LC_NOT_FOUND;
  struct lc_slice row = row_of_entry(t, lc_cursor_entry(&c));
  struct lc_reader r = lc_reader(row);
  memcpy(out->database.bytes, lc_read_raw(&r, 32), 32);
  memcpy(out->owner.bytes, lc_read_raw(&r, 32), 32);
  out->program_kind = lc_read_u8(&r);
  memcpy(out->program_hash.bytes, lc_read_raw(&r, 32), 32);
  out->program_bytes = lc_read_bytes(&r);
  return LC_OK;
}

/* ---- clients ---- */

enum lc_status lc_tx_client_add(struct lc_tx *tx, const struct lc_identity *id, const struct lc_connection_id *conn, struct lc_slice jwt, struct lc_error *err) {
  struct lc_buf b = {0};
  lc_buf_append(&b, id->bytes, 32);
  lc_buf_append(&b, conn->bytes, 16);
  enum lc_status st = st_put(tx, LC_ST_CLIENT, &b, NULL, err);
  if (st == LC_OK && jwt.len) {
    lc_buf_append(&b, conn->bytes, 16);
    lc_buf_bsatn_bytes(&b, jwt);
    st = st_put(tx, LC_ST_CONNECTION_CREDENTIALS, &b, NULL, err);
  }
  lc_buf_free(&b);
  return st;
}

enum lc_status lc_tx_client_remove(struct lc_tx *tx, const struct lc_identity *id, const struct lc_connection_id *conn, bool *was_there, struct lc_error *err) {
  enum { credentials_index = 13 }; /* spec/06 §2.1 */
  uint8_t row[48];
  uint32_t n;
  memcpy(row, id->bytes, 32);
  memcpy(row + 32, conn->bytes, 16);
  int rc = lc_tx_delete_row(tx, LC_ST_CLIENT, lc_slice(row, sizeof row), was_there, err);
  if (rc == LC_ERRNO_OK) rc = lc_tx_delete_point(tx, credentials_index, lc_slice(conn->bytes, 16), &n, err);
  return rc == LC_ERRNO_OK ? LC_OK : lc_fail(err, LC_NOMEM, "out of memory");
}

void lc_datastore_set_visitor(struct lc_datastore *ds, const struct lc_connection_id *conn, struct lc_slice jwt_payload) {
  ds->visitor.is_there = conn != NULL;
  if (conn) ds->visitor.conn = *conn;
  ds->visitor.jwt_payload = jwt_payload;
}
bool lc_tx_client_jwt(struct lc_tx *tx, const struct lc_connection_id *conn, struct lc_buf *out) {
  if (tx->ds->visitor.is_there && memcmp(&tx->ds->visitor.conn, conn, sizeof *conn) == 0) {
    lc_buf_slice_append(out, tx->ds->visitor.jwt_payload);
    return tx->ds->visitor.jwt_payload.len > 0;
  }
  struct table *t = ds_table(tx->ds, LC_ST_CONNECTION_CREDENTIALS);
  struct lc_slice row = lc_tree_find(&t->rows, conn->bytes);
  if (!row.data) return false;
  struct lc_reader r = lc_reader(lc_slice(row.data + 16, row.len - 16));
  lc_buf_slice_append(out, lc_read_bytes(&r));
  return true;
}
