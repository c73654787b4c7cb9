/* The datastore's life and the transactions that create and update a module's schema; client rows (spec/06 §3, §9, spec/07 §9). */
#include "engine_internal.h"
#include <stdio.h>
#include <stdlib.h>

enum lc_status lc_datastore_new(const struct lc_env *env, struct lc_datastore **out, struct lc_error *err) {
  struct lc_datastore *ds = lc_alloc_zero(1, sizeof *ds);
  if (!ds) return lc_fail(err, LC_NOMEM, "out of memory");
  ds->env = env;
  ds->tx.ds = ds;
  if (!(ds->store = lc_store_new())) {
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
  lc_free(ds->tables);
  lc_free(ds->index_refs);
  lc_buf_free(&ds->key);
  lc_buf_free(&ds->entry);
  lc_buf_free(&ds->old);
  schema_forget(ds);
  lc_store_free(ds->store);
  lc_free(ds);
}

/* Inserts a row of a system table built in *b and clears it. generated: the id column's value when it was 0. */
static enum lc_status put(struct lc_tx *tx, uint32_t st_id, struct lc_buf *b, uint32_t *generated, struct lc_error *err) {
  struct lc_buf value = {0};
  if (!lc_buf_ok(b)) return lc_fail(err, LC_NOMEM, "out of memory");
  int rc = lc_tx_insert(tx, st_id, lc_buf_slice(b), &value, NULL, err);
  if (rc == LC_ERRNO_OK && generated) memcpy(generated, value.data, sizeof *generated);
  lc_buf_free(&value);
  lc_buf_clear(b);
  if (rc == LC_ERRNO_OK) return LC_OK;
  if (rc == LC_ERRNO_UNIQUE_EXISTS) return LC_EXISTS;
  return lc_fail(err, LC_CORRUPT, "system table %u refused a row (errno %d)", st_id, rc);
}

static void put_cols(struct lc_buf *b, uint32_t n, const uint16_t *columns) {
  lc_buf_u32(b, n);
  for (uint32_t i = 0; i < n; i++) lc_buf_u16(b, columns[i]);
}

static enum lc_status create_index(struct lc_tx *tx, uint32_t table_id, const struct lc_index_def *x, struct lc_error *err) {
  static const uint8_t tags[] = {[LC_INDEX_BTREE] = 1, [LC_INDEX_DIRECT] = 2, [LC_INDEX_HASH] = 3};
  struct lc_buf b = {0};
  lc_buf_u32(&b, 0);
  lc_buf_u32(&b, table_id);
  lc_buf_bsatn_bytes(&b, x->name);
  lc_buf_u8(&b, tags[x->kind]);
  if (x->kind == LC_INDEX_DIRECT) lc_buf_u16(&b, x->columns[0]);
  else put_cols(&b, x->n_columns, x->columns);
  enum lc_status st = put(tx, LC_ST_INDEX, &b, NULL, err);
  if (st == LC_OK) {
    lc_buf_bsatn_bytes(&b, x->name);
    lc_buf_bsatn_bytes(&b, x->source_name);
    st = put(tx, LC_ST_INDEX_ACCESSOR, &b, NULL, err);
  }
  lc_buf_free(&b);
  return st;
}

static enum lc_status create_sequence(struct lc_tx *tx, uint32_t table_id, const struct lc_sequence_def *q, struct lc_error *err) {
  struct lc_buf b = {0};
  const uint64_t numbers[5][2] = {{1, 0}, {1, 0}, {1, 0}, {UINT64_MAX, INT64_MAX}, {1, 0}}; /* increment, start, min, max, allocated */
  lc_buf_u32(&b, 0);
  lc_buf_bsatn_bytes(&b, q->name);
  lc_buf_u32(&b, table_id);
  lc_buf_u16(&b, q->column);
  for (int i = 0; i < 5; i++) {
    lc_buf_u64(&b, numbers[i][0]);
    lc_buf_u64(&b, numbers[i][1]);
  }
  enum lc_status st = put(tx, LC_ST_SEQUENCE, &b, NULL, err);
  lc_buf_free(&b);
  return st;
}

static enum lc_status create_table(struct lc_tx *tx, const struct lc_table_def *t, struct lc_error *err) {
  struct lc_buf b = {0}, type = {0};
  uint32_t id = 0;
  uint16_t pk = (uint16_t)t->primary_key;
  lc_buf_u32(&b, 0);
  lc_buf_bsatn_bytes(&b, t->name);
  lc_buf_bsatn_str(&b, "user");
  lc_buf_bsatn_str(&b, t->is_public ? "public" : "private");
  lc_buf_u8(&b, (uint8_t)(t->primary_key < 0));
  if (t->primary_key >= 0) put_cols(&b, 1, &pk);
  enum lc_status st = put(tx, LC_ST_TABLE, &b, &id, err);
  if (st == LC_OK) {
    lc_buf_bsatn_bytes(&b, t->name);
    lc_buf_bsatn_bytes(&b, t->accessor);
    st = put(tx, LC_ST_TABLE_ACCESSOR, &b, NULL, err);
  }
  for (uint32_t i = 0; i < t->n_columns && st == LC_OK; i++) {
    lc_buf_clear(&type);
    lc_type_encode(&type, t->columns[i].type);
    lc_buf_u32(&b, id);
    lc_buf_u16(&b, (uint16_t)i);
    lc_buf_bsatn_bytes(&b, t->columns[i].name);
    lc_buf_bsatn_bytes(&b, lc_buf_slice(&type));
    st = put(tx, LC_ST_COLUMN, &b, NULL, err);
    if (st != LC_OK) break;
    lc_buf_bsatn_bytes(&b, t->name);
    lc_buf_bsatn_bytes(&b, t->columns[i].name);
    lc_buf_bsatn_bytes(&b, t->columns[i].accessor);
    st = put(tx, LC_ST_COLUMN_ACCESSOR, &b, NULL, err);
  }
  if (st == LC_OK && t->has_schedule) {
    lc_buf_u32(&b, 0);
    lc_buf_u32(&b, id);
    lc_buf_bsatn_bytes(&b, t->schedule_function);
    lc_buf_bsatn_bytes(&b, t->schedule_name);
    lc_buf_u16(&b, t->schedule_at_column);
    st = put(tx, LC_ST_SCHEDULED, &b, NULL, err);
  }
  if (st == LC_OK && t->is_event) {
    lc_buf_u32(&b, id);
    st = put(tx, LC_ST_EVENT_TABLE, &b, NULL, err);
  }
  for (uint32_t i = 0; i < t->n_indexes && st == LC_OK; i++) st = create_index(tx, id, &t->indexes[i], err);
  for (uint32_t i = 0; i < t->n_constraints && st == LC_OK; i++) {
    lc_buf_u32(&b, 0);
    lc_buf_bsatn_bytes(&b, t->constraints[i].name);
    lc_buf_u32(&b, id);
    lc_buf_u8(&b, 1);
    put_cols(&b, t->constraints[i].n_columns, t->constraints[i].columns);
    st = put(tx, LC_ST_CONSTRAINT, &b, NULL, err);
  }
  for (uint32_t i = 0; i < t->n_sequences && st == LC_OK; i++) st = create_sequence(tx, id, &t->sequences[i], err);
  if (st == LC_OK) st = catalog_refresh(tx->ds, id, err);
  lc_buf_free(&b);
  lc_buf_free(&type);
  return st;
}

static enum lc_status put_module(struct lc_tx *tx, const struct lc_module_facts *f, struct lc_error *err) {
  struct lc_buf b = {0};
  lc_buf_append(&b, f->database.bytes, 32);
  lc_buf_append(&b, f->owner.bytes, 32);
  lc_buf_u8(&b, f->program_kind);
  lc_buf_append(&b, f->program_hash.bytes, 32);
  lc_buf_bsatn_bytes(&b, f->program_bytes);
  lc_buf_bsatn_str(&b, "0.0.1");
  enum lc_status st = put(tx, LC_ST_MODULE, &b, NULL, err);
  lc_buf_free(&b);
  return st;
}

static int by_name(const void *a, const void *b) {
  const struct lc_table_def *x = *(const struct lc_table_def *const *)a, *y = *(const struct lc_table_def *const *)b;
  size_t n = x->name.len < y->name.len ? x->name.len : y->name.len;
  int c = memcmp(x->name.data, y->name.data, n);
  return c ? c : x->name.len < y->name.len ? -1 : x->name.len > y->name.len;
}

static const struct lc_table_def **sorted_tables(const struct lc_module_def *def) {
  const struct lc_table_def **order = lc_alloc_zero(def->n_tables, sizeof *order);
  if (!order) return NULL;
  for (uint32_t i = 0; i < def->n_tables; i++) order[i] = &def->tables[i];
  if (def->n_tables > 1) qsort(order, def->n_tables, sizeof *order, by_name);
  return order;
}

enum lc_status lc_schema_create(struct lc_tx *tx, const struct lc_module_def *def, const struct lc_module_facts *facts, struct lc_error *err) {
  const struct lc_table_def **order = sorted_tables(def);
  enum lc_status st = order ? LC_OK : lc_fail(err, LC_NOMEM, "out of memory");
  for (uint32_t i = 0; i < def->n_tables && st == LC_OK; i++) st = create_table(tx, order[i], err);
  lc_free(order);
  return st == LC_OK ? put_module(tx, facts, err) : st;
}

/* What an existing table must be for the update to leave its rows alone. */
static enum lc_status check_same(const struct lc_table_info *old, const struct lc_table_def *new, struct lc_error *err) {
  const char *what = NULL;
  if (!lc_type_eq(old->row_type, new->row_type)) what = "columns";
  else if (old->primary_key != new->primary_key) what = "primary key";
  else if (old->is_event != new->is_event) what = "event flag";
  else if (old->is_public != new->is_public) what = "access";
  else if (old->has_schedule != new->has_schedule) what = "schedule";
  else if (old->n_indexes != new->n_indexes) what = "indexes";
  for (uint32_t i = 0; !what && i < new->n_indexes; i++) {
    bool found = false;
    for (uint32_t k = 0; k < old->n_indexes; k++)
      found = found || (lc_slice_eq(old->indexes[k].name, new->indexes[i].name) && old->indexes[k].kind == new->indexes[i].kind && old->indexes[k].n_columns == new->indexes[i].n_columns &&
                        memcmp(old->indexes[k].columns, new->indexes[i].columns, new->indexes[i].n_columns * sizeof(uint16_t)) == 0);
    if (!found) what = "indexes";
  }
  if (!what) return LC_OK;
  return lc_fail(err, LC_UNSUPPORTED, "Changing the %s of table %.*s requires a manual migration", what, (int)new->name.len, (const char *)new->name.data);
}

struct missing { const struct lc_module_def *old, *def; struct lc_slice name, unknown; };
static void look_for_missing(void *ctx, const struct lc_table_info *t) {
  struct missing *m = ctx;
  if (t->is_system) return;
  bool known = false;
  for (uint32_t i = 0; i < m->old->n_tables; i++) known = known || lc_slice_eq(m->old->tables[i].name, t->name);
  if (!known) m->unknown = t->name;
  for (uint32_t i = 0; i < m->def->n_tables; i++)
    if (lc_slice_eq(m->def->tables[i].name, t->name)) return;
  m->name = t->name;
}

enum lc_status lc_schema_update(struct lc_tx *tx, const struct lc_module_def *old_def, const struct lc_module_def *def, const struct lc_module_facts *facts, struct lc_error *err) {
  struct missing missing = {.old = old_def, .def = def};
  lc_datastore_each_table(tx->ds, look_for_missing, &missing);
  if (missing.unknown.data) return lc_fail(err, LC_CORRUPT, "table %.*s not found in old_module_def", (int)missing.unknown.len, (const char *)missing.unknown.data);
  if (missing.name.data) return lc_fail(err, LC_UNSUPPORTED, "Removing the table %.*s requires a manual migration", (int)missing.name.len, (const char *)missing.name.data);
  const struct lc_table_def **order = sorted_tables(def);
  enum lc_status st = order ? LC_OK : lc_fail(err, LC_NOMEM, "out of memory");
  for (uint32_t i = 0; i < def->n_tables && st == LC_OK; i++) {
    const struct lc_table_info *old = lc_datastore_table_by_name(tx->ds, order[i]->name);
    st = old && lc_slice_eq(old->name, order[i]->name) ? check_same(old, order[i], err) : create_table(tx, order[i], err);
  }
  lc_free(order);
  uint64_t n;
  if (st == LC_OK && lc_tx_clear(tx, LC_ST_MODULE, &n, err) != LC_ERRNO_OK) st = LC_NOMEM;
  return st == LC_OK ? put_module(tx, facts, err) : st;
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
  enum lc_status st = put(tx, LC_ST_CLIENT, &b, NULL, err);
  if (st == LC_OK && jwt.len) {
    lc_buf_append(&b, conn->bytes, 16);
    lc_buf_bsatn_bytes(&b, jwt);
    st = put(tx, LC_ST_CONNECTION_CREDENTIALS, &b, NULL, err);
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

bool lc_tx_client_jwt(struct lc_tx *tx, const struct lc_connection_id *conn, struct lc_buf *out) {
  struct table *t = ds_table(tx->ds, LC_ST_CONNECTION_CREDENTIALS);
  struct lc_slice row = lc_tree_find(&t->rows, conn->bytes);
  if (!row.data) return false;
  struct lc_reader r = lc_reader(lc_slice(row.data + 16, row.len - 16));
  lc_buf_slice_append(out, lc_read_bytes(&r));
  return true;
}
