/* Owns: the rows of the system tables that describe a module's tables, views and rules (spec/06 §2-§3, spec/05 §21.2, spec/07 §9), written and
 * deleted in a transaction. What they say becomes tables in catalog.c. Callers: the face, migrate_run.c, schema.c. */
#include "engine_internal.h"
#include <stdio.h>
#include <stdlib.h>

static enum lc_status oom(struct lc_error *err) { return lc_fail(err, LC_NOMEM, "out of memory"); }

/* ---- single rows ---- */

enum lc_status st_put(struct lc_tx *tx, uint32_t st_id, struct lc_buf *b, uint32_t *generated, struct lc_error *err) {
  struct lc_buf value = {0};
  if (!lc_buf_ok(b)) return oom(err);
  int rc = lc_tx_insert(tx, st_id, lc_buf_slice(b), &value, NULL, err);
  if (rc == LC_ERRNO_OK && generated && lc_buf_ok(&value)) memcpy(generated, value.data, sizeof *generated);
  bool ok = lc_buf_ok(&value);
  lc_buf_free(&value);
  lc_buf_clear(b);
  if (rc == LC_ERRNO_OK) return ok ? LC_OK : oom(err);
  if (rc == LC_ERRNO_UNIQUE_EXISTS) return LC_EXISTS;
  if (rc == LC_ERRNO_TRAP) return LC_NOMEM;
  return lc_fail(err, LC_CORRUPT, "system table %u refused a row (errno %d)", st_id, rc);
}

enum lc_status st_erase(struct lc_tx *tx, uint32_t st_id, uint32_t column, struct lc_slice bytes, struct lc_error *err) {
  struct table *st = ds_table(tx->ds, st_id);
  struct lc_row_iter *it;
  int rc = lc_tx_scan(tx, st_id, &it);
  if (rc != LC_ERRNO_OK) return oom(err);
  for (struct lc_slice row; rc == LC_ERRNO_OK && (row = lc_row_iter_next(it)).data;) {
    const uint8_t *at = lc_row_column(st->info.row_type, row.data, column);
    size_t len = (size_t)(lc_bsatn_skip(st->info.row_type->fields[column].type, at) - at);
    if (len == bytes.len && memcmp(at, bytes.data, len) == 0) rc = tx_delete_row(tx, st, row, err);
  }
  lc_row_iter_close(it);
  return rc == LC_ERRNO_OK ? LC_OK : LC_NOMEM;
}
enum lc_status st_erase_id(struct lc_tx *tx, uint32_t st_id, uint32_t column, uint32_t id, struct lc_error *err) { return st_erase(tx, st_id, column, lc_slice(&id, sizeof id), err); }
enum lc_status st_erase_name(struct lc_tx *tx, uint32_t st_id, uint32_t column, struct lc_slice name, struct lc_error *err) {
  struct lc_buf b = {0};
  lc_buf_bsatn_bytes(&b, name);
  enum lc_status st = lc_buf_ok(&b) ? st_erase(tx, st_id, column, lc_buf_slice(&b), err) : oom(err);
  lc_buf_free(&b);
  return st;
}

static void put_cols(struct lc_buf *b, uint32_t n, const uint16_t *columns) {
  lc_buf_u32(b, n);
  for (uint32_t i = 0; i < n; i++) lc_buf_u16(b, columns[i]);
}
static enum lc_status put_strings(struct lc_tx *tx, uint32_t st_id, uint32_t n, const struct lc_slice *strings, struct lc_error *err) {
  struct lc_buf b = {0};
  for (uint32_t i = 0; i < n; i++) lc_buf_bsatn_bytes(&b, strings[i]);
  enum lc_status st = st_put(tx, st_id, &b, NULL, err);
  lc_buf_free(&b);
  return st;
}

/* ---- parts of a table ---- */

enum lc_status describe_index(struct lc_tx *tx, uint32_t table_id, const struct lc_index_def *x, struct lc_error *err) {
  static const uint8_t tags[] = {[LC_INDEX_BTREE] = 1, [LC_INDEX_DIRECT] = 2, [LC_INDEX_HASH] = 3};
  struct lc_buf b = {0};
  lc_buf_u32(&b, 0);
  lc_buf_u32(&b, table_id);
  lc_buf_bsatn_bytes(&b, x->name);
  lc_buf_u8(&b, tags[x->kind]);
  if (x->kind == LC_INDEX_DIRECT) lc_buf_u16(&b, x->columns[0]);
  else put_cols(&b, x->n_columns, x->columns);
  enum lc_status st = st_put(tx, LC_ST_INDEX, &b, NULL, err);
  lc_buf_free(&b);
  return st == LC_OK ? put_strings(tx, LC_ST_INDEX_ACCESSOR, 2, (struct lc_slice[]){x->name, x->source_name}, err) : st;
}

enum lc_status describe_constraint(struct lc_tx *tx, uint32_t table_id, const struct lc_constraint_def *c, struct lc_error *err) {
  struct lc_buf b = {0};
  lc_buf_u32(&b, 0);
  lc_buf_bsatn_bytes(&b, c->name);
  lc_buf_u32(&b, table_id);
  lc_buf_u8(&b, 1);
  put_cols(&b, c->n_columns, c->columns);
  enum lc_status st = st_put(tx, LC_ST_CONSTRAINT, &b, NULL, err);
  lc_buf_free(&b);
  return st;
}

enum lc_status describe_sequence(struct lc_tx *tx, uint32_t table_id, const struct lc_sequence_def *q, const uint8_t allocated[16], struct lc_error *err) {
  struct lc_buf b = {0};
  static const uint64_t numbers[5][2] = {{1, 0}, {1, 0}, {1, 0}, {UINT64_MAX, INT64_MAX}, {1, 0}}; /* increment, start, min, max, allocated */
  lc_buf_u32(&b, 0);
  lc_buf_bsatn_bytes(&b, q->name);
  lc_buf_u32(&b, table_id);
  lc_buf_u16(&b, q->column);
  for (int i = 0; i < 5; i++) lc_buf_append(&b, i == 4 && allocated ? allocated : (const uint8_t *)numbers[i], 16);
  enum lc_status st = st_put(tx, LC_ST_SEQUENCE, &b, NULL, err);
  lc_buf_free(&b);
  return st;
}

enum lc_status describe_schedule(struct lc_tx *tx, uint32_t table_id, const struct lc_table_def *t, struct lc_error *err) {
  struct lc_buf b = {0};
  lc_buf_u32(&b, 0);
  lc_buf_u32(&b, table_id);
  lc_buf_bsatn_bytes(&b, t->schedule_function);
  lc_buf_bsatn_bytes(&b, t->schedule_name);
  lc_buf_u16(&b, t->schedule_at_column);
  enum lc_status st = st_put(tx, LC_ST_SCHEDULED, &b, NULL, err);
  lc_buf_free(&b);
  return st;
}

const struct lc_outbox_def *outbox_of(const struct lc_module_def *def, struct lc_slice table) {
  for (uint32_t i = 0; i < def->n_outboxes; i++)
    if (lc_slice_eq(def->outboxes[i].table, table)) return &def->outboxes[i];
  return NULL;
}

enum lc_status describe_outbox(struct lc_tx *tx, uint32_t table_id, const struct lc_module_def *def, const struct lc_outbox_def *o, struct lc_error *err) {
  struct lc_buf b = {0};
  char hex[65];
  lc_hex_encode(o->signature.bytes, 32, hex);
  lc_buf_u32(&b, table_id);
  lc_buf_bsatn_bytes(&b, o->remote_reducer);
  lc_buf_u16(&b, o->target_column);
  put_cols(&b, o->n_args, o->arg_columns);
  lc_buf_u8(&b, (uint8_t)(o->on_result < 0));
  if (o->on_result >= 0) lc_buf_bsatn_bytes(&b, def->reducers[o->on_result].name);
  lc_buf_bsatn_str(&b, hex);
  enum lc_status st = st_put(tx, LC_ST_OUTBOX, &b, NULL, err);
  lc_buf_free(&b);
  return st;
}

static enum lc_status put_column(struct lc_tx *tx, uint32_t st_id, uint32_t id, uint32_t position, struct lc_slice name, const struct lc_type *type, struct lc_error *err) {
  struct lc_buf b = {0}, encoded = {0};
  lc_type_encode(&encoded, type);
  lc_buf_u32(&b, id);
  lc_buf_u16(&b, (uint16_t)position);
  lc_buf_bsatn_bytes(&b, name);
  lc_buf_bsatn_bytes(&b, lc_buf_slice(&encoded));
  enum lc_status st = lc_buf_ok(&encoded) ? st_put(tx, st_id, &b, NULL, err) : oom(err);
  lc_buf_free(&b);
  lc_buf_free(&encoded);
  return st;
}

enum lc_status describe_columns(struct lc_tx *tx, uint32_t table_id, struct lc_slice table, uint32_t from, uint32_t n, const struct lc_column_def *columns, struct lc_error *err) {
  enum lc_status st = LC_OK;
  for (uint32_t i = from; i < n && st == LC_OK; i++) {
    st = put_column(tx, LC_ST_COLUMN, table_id, i, columns[i].name, columns[i].type, err);
    if (st == LC_OK) st = put_strings(tx, LC_ST_COLUMN_ACCESSOR, 3, (struct lc_slice[]){table, columns[i].name, columns[i].accessor}, err);
  }
  return st;
}

enum lc_status describe_st_table(struct lc_tx *tx, uint32_t *id, struct lc_slice name, bool is_public, int32_t primary_key, struct lc_error *err) {
  struct lc_buf b = {0};
  uint16_t pk = (uint16_t)primary_key;
  lc_buf_u32(&b, *id);
  lc_buf_bsatn_bytes(&b, name);
  lc_buf_bsatn_str(&b, "user");
  lc_buf_bsatn_str(&b, is_public ? "public" : "private");
  lc_buf_u8(&b, (uint8_t)(primary_key < 0));
  if (primary_key >= 0) put_cols(&b, 1, &pk);
  enum lc_status st = st_put(tx, LC_ST_TABLE, &b, *id ? NULL : id, err);
  lc_buf_free(&b);
  return st;
}

/* ---- whole tables, views, rules ---- */

enum lc_status describe_table(struct lc_tx *tx, const struct lc_module_def *def, const struct lc_table_def *t, struct lc_error *err) {
  uint32_t id = 0;
  const struct lc_outbox_def *outbox = outbox_of(def, t->name);
  enum lc_status st = describe_st_table(tx, &id, t->name, t->is_public, t->primary_key, err);
  if (st == LC_OK) st = put_strings(tx, LC_ST_TABLE_ACCESSOR, 2, (struct lc_slice[]){t->name, t->accessor}, err);
  if (st == LC_OK) st = describe_columns(tx, id, t->name, 0, t->n_columns, t->columns, err);
  if (st == LC_OK && t->has_schedule) st = describe_schedule(tx, id, t, err);
  if (st == LC_OK && t->is_event) {
    struct lc_buf b = {0};
    lc_buf_u32(&b, id);
    st = st_put(tx, LC_ST_EVENT_TABLE, &b, NULL, err);
    lc_buf_free(&b);
  }
  if (st == LC_OK && outbox) st = describe_outbox(tx, id, def, outbox, err);
  for (uint32_t i = 0; i < t->n_indexes && st == LC_OK; i++) st = describe_index(tx, id, &t->indexes[i], err);
  for (uint32_t i = 0; i < t->n_constraints && st == LC_OK; i++) st = describe_constraint(tx, id, &t->constraints[i], err);
  for (uint32_t i = 0; i < t->n_sequences && st == LC_OK; i++) st = describe_sequence(tx, id, &t->sequences[i], NULL, err);
  return st == LC_OK ? catalog_refresh(tx->ds, id, err) : st;
}

static struct lc_slice joined(struct lc_arena *a, const struct lc_slice *parts, uint32_t n) {
  size_t len = 0;
  for (uint32_t i = 0; i < n; i++) len += parts[i].len;
  uint8_t *p = lc_arena_alloc(a, len), *at = p;
  for (uint32_t i = 0; p && i < n; i++) {
    memcpy(at, parts[i].data, parts[i].len);
    at += parts[i].len;
  }
  return lc_slice(p, p ? len : 0);
}

/* A view has a table of its own name: arg_hash, then its columns (spec/05 §21.2). */
enum lc_status describe_view(struct lc_tx *tx, const struct lc_view_def *v, struct lc_error *err) {
  struct lc_buf b = {0};
  struct lc_arena arena = {0};
  uint32_t table_id = 0, view_id = 0;
  enum lc_status st = describe_st_table(tx, &table_id, v->name, v->is_public, -1, err);
  if (st == LC_OK) st = put_strings(tx, LC_ST_TABLE_ACCESSOR, 2, (struct lc_slice[]){v->name, v->accessor}, err);
  if (st == LC_OK) {
    lc_buf_u32(&b, 0);
    lc_buf_bsatn_bytes(&b, v->name);
    lc_buf_u8(&b, 0);
    lc_buf_u32(&b, table_id);
    lc_buf_u8(&b, v->is_public);
    lc_buf_u8(&b, v->is_anonymous);
    st = st_put(tx, LC_ST_VIEW, &b, &view_id, err);
  }
  for (uint32_t i = 0; i < v->canonical_params->n_fields && st == LC_OK; i++) {
    const struct lc_type *type;
    st = lc_type_resolve(&arena, v->typespace, v->canonical_params->fields[i].type, &type, err);
    if (st == LC_OK) st = put_column(tx, LC_ST_VIEW_PARAM, view_id, i, v->canonical_params->fields[i].name, type, err);
  }
  if (st == LC_OK) st = put_column(tx, LC_ST_COLUMN, table_id, 0, lc_slice_str("arg_hash"), lc_type_primitive(LC_T_U256), err);
  for (uint32_t i = 0; i < v->n_columns && st == LC_OK; i++) {
    const struct lc_column_def *c = &v->columns[i];
    st = put_column(tx, LC_ST_VIEW_COLUMN, view_id, i, c->name, v->row_type->fields[i].type, err);
    if (st == LC_OK) st = put_column(tx, LC_ST_COLUMN, table_id, i + 1, c->name, v->row_type->fields[i].type, err);
    if (st == LC_OK) st = put_strings(tx, LC_ST_COLUMN_ACCESSOR, 3, (struct lc_slice[]){v->name, c->name, c->accessor}, err);
  }
  uint16_t columns[2] = {0, (uint16_t)(v->primary_key + 1)};
  for (uint32_t n = 1; n <= (v->primary_key >= 0 ? 2u : 1u) && st == LC_OK; n++) {
    struct lc_slice parts[5] = {v->name, lc_slice_str("_arg_hash")};
    uint32_t n_parts = 2;
    if (n == 2) {
      parts[n_parts++] = lc_slice_str("_");
      parts[n_parts++] = v->columns[v->primary_key].name;
    }
    parts[n_parts] = lc_slice_str("_idx_btree");
    struct lc_slice name = joined(&arena, parts, n_parts + 1);
    struct lc_index_def x = {.name = name, .source_name = name, .kind = LC_INDEX_BTREE, .n_columns = n, .columns = columns};
    st = name.data ? describe_index(tx, table_id, &x, err) : oom(err);
    parts[n_parts] = lc_slice_str("_key");
    struct lc_constraint_def c = {joined(&arena, parts, n_parts + 1), 2, columns};
    if (st == LC_OK && n == 2) st = c.name.data ? describe_constraint(tx, table_id, &c, err) : oom(err);
  }
  lc_buf_free(&b);
  lc_arena_free(&arena);
  return st == LC_OK ? catalog_refresh(tx->ds, table_id, err) : st;
}

/* Next word of SQL text: a quoted identifier without its quotes, a name, or one character. */
static struct lc_slice sql_word(const uint8_t **at, const uint8_t *end) {
  while (*at < end && (**at == ' ' || **at == '\n' || **at == '\t' || **at == '\r')) (*at)++;
  const uint8_t *start = *at;
  if (start == end) return lc_slice(start, 0);
  if (*start == '"') {
    for ((*at)++; *at < end && **at != '"'; (*at)++) {}
    struct lc_slice word = lc_slice(start + 1, (size_t)(*at - start - 1));
    if (*at < end) (*at)++;
    return word;
  }
#define IS_NAME(c) (((c) | 32) >= 'a' && ((c) | 32) <= 'z') || ((c) >= '0' && (c) <= '9') || (c) == '_' || (c) >= 0x80
  while (*at < end && (IS_NAME(**at))) (*at)++;
#undef IS_NAME
  if (*at == start) (*at)++;
  return lc_slice(start, (size_t)(*at - start));
}
static bool is_word(struct lc_slice w, const char *upper) {
  size_t n = strlen(upper);
  for (size_t i = 0; w.len == n && i < n; i++)
    if ((w.data[i] & ~32) != upper[i]) return false;
  return w.len == n;
}

/* The table whose rows a rule lets through: SELECT * or SELECT t.*, of the tables and aliases after FROM and JOIN. Types are not its business. */
static struct lc_slice rls_table(struct lc_slice sql) {
  const uint8_t *at = sql.data, *end = sql.data + sql.len;
  struct lc_slice selected = {0}, first = {0};
  bool expect_table = false;
  if (!is_word(sql_word(&at, end), "SELECT")) return first;
  struct lc_slice w = sql_word(&at, end);
  if (!lc_slice_eq_str(w, "*")) selected = w;
  while ((w = sql_word(&at, end)).len) {
    if (!expect_table) {
      expect_table = is_word(w, "FROM") || is_word(w, "JOIN");
      continue;
    }
    struct lc_slice table = w;
    const uint8_t *after = at;
    while (lc_slice_eq_str(sql_word(&after, end), ".")) { /* of a submodule */
      w = sql_word(&after, end);
      table.len = (size_t)(w.data + w.len - table.data);
      at = after;
    }
    after = at;
    struct lc_slice alias = sql_word(&after, end);
    if (is_word(alias, "AS")) alias = sql_word(&after, end);
    if (!first.data) first = table;
    if (!selected.data || lc_slice_eq(selected, table) || lc_slice_eq(selected, alias)) return table;
    expect_table = false;
  }
  return first;
}

enum lc_status describe_rls(struct lc_tx *tx, struct lc_slice sql, struct lc_error *err) {
  struct lc_buf b = {0};
  struct lc_slice name = rls_table(sql);
  const struct lc_table_info *t = lc_datastore_table_by_name(tx->ds, name);
  if (!t) return lc_fail(err, LC_INVALID, "`%.*s` is not a valid table", (int)name.len, (const char *)name.data);
  lc_buf_u32(&b, t->table_id);
  lc_buf_bsatn_bytes(&b, sql);
  enum lc_status st = st_put(tx, LC_ST_ROW_LEVEL_SECURITY, &b, NULL, err);
  lc_buf_free(&b);
  return st;
}

enum lc_status describe_module(struct lc_tx *tx, const struct lc_module_facts *f, struct lc_error *err) {
  struct lc_buf b = {0};
  uint64_t n;
  int rc = lc_tx_clear(tx, LC_ST_MODULE, &n, err);
  if (rc != LC_ERRNO_OK) return oom(err);
  lc_buf_append(&b, f->database.bytes, 32);
  lc_buf_append(&b, f->owner.bytes, 32);
  lc_buf_u8(&b, f->program_kind);
  lc_buf_append(&b, f->program_hash.bytes, 32);
  lc_buf_bsatn_bytes(&b, f->program_bytes);
  lc_buf_bsatn_str(&b, "0.0.1");
  enum lc_status st = st_put(tx, LC_ST_MODULE, &b, NULL, err);
  lc_buf_free(&b);
  return st;
}

enum lc_status undescribe_table(struct lc_tx *tx, const struct lc_table_info *info, struct lc_error *err) {
  uint32_t id = info->table_id;
  struct lc_slice name = lc_arena_copy(&tx->arena, info->name);
  enum lc_status st = name.data ? LC_OK : oom(err);
  for (uint32_t i = 0; i < info->n_indexes && st == LC_OK; i++) st = st_erase_name(tx, LC_ST_INDEX_ACCESSOR, 0, info->indexes[i].name, err);
  static const struct { uint32_t st_id, column; } by_id[] = {{LC_ST_INDEX, 1}, {LC_ST_SEQUENCE, 2}, {LC_ST_CONSTRAINT, 2}, {LC_ST_TABLE, 0}, {LC_ST_COLUMN, 0}, {LC_ST_SCHEDULED, 1}, {LC_ST_EVENT_TABLE, 0}, {LC_ST_OUTBOX, 0}};
  for (size_t i = 0; i < sizeof by_id / sizeof *by_id && st == LC_OK; i++) st = st_erase_id(tx, by_id[i].st_id, by_id[i].column, id, err);
  if (st == LC_OK) st = st_erase_name(tx, LC_ST_TABLE_ACCESSOR, 0, name, err);
  if (st == LC_OK) st = st_erase_name(tx, LC_ST_COLUMN_ACCESSOR, 0, name, err);
  return st == LC_OK ? catalog_refresh(tx->ds, id, err) : st;
}

/* ---- the first publish ---- */

int compare_names(struct lc_slice mount_a, struct lc_slice a, struct lc_slice mount_b, struct lc_slice b) {
  int c = lc_slice_compare(mount_a, mount_b);
  return c ? c : lc_slice_compare(a, b);
}
static int tables_by_name(const void *a, const void *b) { return lc_slice_compare((*(const struct lc_table_def *const *)a)->name, (*(const struct lc_table_def *const *)b)->name); }
static int views_by_name(const void *a, const void *b) { return lc_slice_compare((*(const struct lc_view_def *const *)a)->name, (*(const struct lc_view_def *const *)b)->name); }

enum lc_status lc_schema_create(struct lc_tx *tx, const struct lc_module_def *def, const struct lc_module_facts *facts, struct lc_error *err) {
  const struct lc_table_def **tables = lc_alloc_zero(def->n_tables, sizeof *tables);
  const struct lc_view_def **views = lc_alloc_zero(def->n_views, sizeof *views);
  enum lc_status st = tables && views ? LC_OK : oom(err);
  if (st == LC_OK) {
    for (uint32_t i = 0; i < def->n_tables; i++) tables[i] = &def->tables[i];
    for (uint32_t i = 0; i < def->n_views; i++) views[i] = &def->views[i];
    if (def->n_tables > 1) qsort(tables, def->n_tables, sizeof *tables, tables_by_name);
    if (def->n_views > 1) qsort(views, def->n_views, sizeof *views, views_by_name);
  }
  for (uint32_t i = 0; st == LC_OK && i < def->n_tables; i++) st = describe_table(tx, def, tables[i], err);
  for (uint32_t i = 0; st == LC_OK && i < def->n_views; i++) st = describe_view(tx, views[i], err);
  for (uint32_t i = 0; st == LC_OK && i < def->n_rls; i++) st = describe_rls(tx, def->rls_sql[i], err);
  lc_free(tables);
  lc_free(views);
  return st == LC_OK ? describe_module(tx, facts, err) : st;
}
