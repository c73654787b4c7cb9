/* Owns: running a migration plan in a transaction (spec/06 §15.4, spec/07 §10). A failure leaves undoing to the transaction's rollback.
 * Callers: the face. */
#include "engine_internal.h"
#include <stdio.h>

struct run {
  struct lc_tx *tx; const struct lc_migration_plan *plan; struct lc_error *err;
  void (*log)(void *ctx, const char *line); void *ctx;
};
#define S(slice) (int)(slice).len, (const char *)(slice).data

static LC_PRINTF(2, 3) void say(const struct run *r, const char *fmt, ...) {
  char line[4096];
  va_list args;
  if (!r->log) return;
  va_start(args, fmt);
  vsnprintf(line, sizeof line, fmt, args);
  va_end(args);
  r->log(r->ctx, line);
}

/* The stored table of that canonical name. */
static struct table *stored(const struct run *r, struct lc_slice name) {
  const struct lc_table_info *t = lc_datastore_table_by_name(r->tx->ds, name);
  return t && lc_slice_eq(t->name, name) ? ds_table(r->tx->ds, t->table_id) : NULL;
}
static enum lc_status refresh(const struct run *r, struct table *t) { return catalog_refresh(r->tx->ds, t->info.table_id, r->err); }
static enum lc_status lost(const struct run *r, struct lc_slice name) { return lc_fail(r->err, LC_CORRUPT, "`%.*s` is in the module's definition but not in the datastore", S(name)); }

/* ---- before the steps ---- */

static enum lc_status check_stored(const struct run *r) {
  const struct lc_module_def *old = r->plan->old;
  struct lc_datastore *ds = r->tx->ds;
  for (uint32_t i = 0; i < ds->n_tables; i++) {
    const struct lc_table_info *t = &ds->tables[i]->info;
    const struct lc_table_def *def = NULL;
    if (t->is_system || t->view || t->table_id <= LC_ST_OUTBOX) continue;
    for (uint32_t k = 0; k < old->n_tables && !def; k++)
      if (lc_slice_eq(old->tables[k].name, t->name)) def = &old->tables[k];
    if (!def) return lc_fail(r->err, LC_CORRUPT, "table %.*s not found in old_module_def", S(t->name));
    if (!lc_type_eq(t->row_type, def->row_type)) return lc_fail(r->err, LC_CORRUPT, "table %.*s: the stored columns are not those of the stored module", S(t->name));
  }
  for (uint32_t i = 0; i < old->n_tables; i++)
    if (!stored(r, old->tables[i].name)) return lost(r, old->tables[i].name);
  return LC_OK;
}

/* A sequence can be added only while it would not hand out a value that is there: none from 1 upward. */
static enum lc_status precheck_sequence(const struct run *r, const struct lc_migration_step *s) {
  const struct lc_sequence_def *q = &s->new_table->sequences[s->item];
  struct table *t = stored(r, s->old_table->name);
  struct lc_row_iter *it;
  bool in_range = false;
  if (!t) return lost(r, s->old_table->name);
  if (q->column >= t->info.row_type->n_fields) return LC_OK; /* a column to be added */
  const struct lc_type *type = t->info.row_type->fields[q->column].type;
  bool is_signed = type->kind == LC_T_I8 || type->kind == LC_T_I16 || type->kind == LC_T_I32 || type->kind == LC_T_I64 || type->kind == LC_T_I128 || type->kind == LC_T_I256;
  if (lc_tx_scan(r->tx, t->info.table_id, &it) != LC_ERRNO_OK) return lc_fail(r->err, LC_NOMEM, "out of memory");
  for (struct lc_slice row; !in_range && (row = lc_row_iter_next(it)).data;) {
    static const uint8_t zeros[32];
    const uint8_t *v = lc_row_column(t->info.row_type, row.data, q->column);
    bool negative = is_signed && v[type->static_size_bytes - 1] & 0x80;
    in_range = !negative && memcmp(v, zeros, type->static_size_bytes) != 0;
  }
  lc_row_iter_close(it);
  return in_range ? lc_fail(r->err, LC_CONFLICT, "Precheck failed: added sequence %.*s already has values in range", S(q->name)) : LC_OK;
}

/* ---- unique constraints over rows that are there ---- */

struct groups { uint64_t n; struct lc_buf text; bool more; struct lc_slice first; };

static bool same_set(uint32_t n, const uint16_t *a, uint32_t m, const uint16_t *b) {
  for (uint32_t i = 0; n == m && i < n; i++) {
    bool found = false;
    for (uint32_t k = 0; k < m; k++) found = found || a[i] == b[k];
    if (!found) return false;
  }
  return n == m;
}

/* Groups of rows that agree in the columns of index `at`. */
static enum lc_status find_duplicates(struct table *t, uint32_t at, struct groups *g) {
  enum { MAX_LINES = 10 };
  const struct lc_index_info *x = &t->info.indexes[at];
  const struct lc_tree *tree = t->indexes[at].is_cluster ? &t->rows : &t->indexes[at].tree;
  if (t->indexes[at].is_cluster) return LC_OK; /* a cluster key is unique already */
  struct lc_buf key = {0};
  struct lc_cursor c;
  uint64_t run = 0;
  for (lc_cursor_seek(&c, tree, NULL, NULL, 0, false);; lc_cursor_next(&c)) {
    bool valid = lc_cursor_valid(&c);
    struct lc_slice e = valid ? lc_cursor_entry(&c) : lc_slice(NULL, 0);
    if (valid && run && lc_key_compare_entry(&tree->key, e.data, key.data, x->n_columns) == 0) {
      if (run == 1 && !g->first.data) g->first = row_of_entry(t, lc_tree_find(&t->rows, e.data + lc_key_len(&tree->key, e.data, x->n_columns)));
      run++;
      continue;
    }
    if (run > 1) {
      if (g->n++ < MAX_LINES) {
        struct lc_reader reader = lc_reader(lc_buf_slice(&key));
        lc_buf_str(&g->text, "\n  - ");
        if (x->n_columns > 1) lc_satn_write(&g->text, x->key_type, &reader);
        else lc_satn_write(&g->text, x->key_type->fields[0].type, &reader);
        lc_buf_printf(&g->text, " appears %llu times", (unsigned long long)run);
      } else {
        g->more = true;
      }
    }
    if (!valid) break;
    lc_buf_clear(&key);
    lc_buf_append(&key, e.data, lc_key_len(&tree->key, e.data, x->n_columns));
    run = 1;
  }
  bool ok = lc_buf_ok(&key) && lc_buf_ok(&g->text);
  lc_buf_free(&key);
  return ok ? LC_OK : LC_NOMEM;
}

static enum lc_status add_constraint(const struct run *r, struct table *t, const struct lc_constraint_def *c) {
  struct lc_buf cols = {0};
  int32_t at = -1;
  struct groups g = {0};
  for (uint32_t i = 0; i < c->n_columns; i++) lc_buf_printf(&cols, "%s%u", i ? ", " : "[", c->columns[i]);
  lc_buf_str(&cols, "]");
  for (uint32_t i = 0; i < t->info.n_indexes && at < 0; i++)
    if (same_set(c->n_columns, c->columns, t->info.indexes[i].n_columns, t->info.indexes[i].columns)) at = (int32_t)i;
  enum lc_status st = LC_OK;
  if (at < 0)
    st = lc_fail(r->err, LC_INVALID, "unique constraint on table %u column(s) %.*s requires at least one backing index on those columns", t->info.table_id, (int)cols.len, (const char *)cols.data);
  else if ((st = find_duplicates(t, (uint32_t)at, &g)) == LC_OK && g.n)
    st = lc_fail(r->err, LC_EXISTS, "Cannot add unique constraint on table %u column(s) %.*s (committed state):\n%llu duplicate group(s) found.%.*s%s", t->info.table_id, (int)cols.len,
                 (const char *)cols.data, (unsigned long long)g.n, (int)g.text.len, (const char *)g.text.data, g.more ? "\n  ... and more" : "");
  lc_buf_free(&cols);
  lc_buf_free(&g.text);
  if (st == LC_OK) st = describe_constraint(r->tx, t->info.table_id, c, r->err);
  return st == LC_OK ? refresh(r, t) : st;
}

static enum lc_status add_index(const struct run *r, struct table *t, const struct lc_table_def *def, const struct lc_index_def *x) {
  enum lc_status st = describe_index(r->tx, t->info.table_id, x, r->err);
  bool is_unique = false;
  if (st == LC_OK) st = refresh(r, t);
  for (uint32_t i = 0; i < def->n_constraints; i++) is_unique = is_unique || same_set(def->constraints[i].n_columns, def->constraints[i].columns, x->n_columns, x->columns);
  for (uint32_t i = 0; st == LC_OK && is_unique && i < t->info.n_indexes; i++) {
    struct groups g = {0};
    if (!lc_slice_eq(t->info.indexes[i].name, x->name)) continue;
    st = find_duplicates(t, i, &g);
    if (st == LC_OK && g.n) {
      unique_violation(t, i, g.first, r->err);
      st = LC_EXISTS;
    }
    lc_buf_free(&g.text);
  }
  return st;
}

/* ---- columns ---- */

/* Copies what describes a table to a new id: indexes, constraints, sequences with their numbers, schedule, outbox. */
static enum lc_status copy_parts(const struct run *r, uint32_t from, uint32_t to) {
  static const struct { uint32_t st_id, id_column, table_column; bool numbered; } parts[] = {
      {LC_ST_INDEX, 0, 1, true}, {LC_ST_CONSTRAINT, 0, 2, true}, {LC_ST_SEQUENCE, 0, 2, true}, {LC_ST_SCHEDULED, 0, 1, true}, {LC_ST_OUTBOX, 0, 0, false}, {LC_ST_ROW_LEVEL_SECURITY, 0, 0, false}};
  struct lc_buf b = {0};
  enum lc_status st = LC_OK;
  for (size_t i = 0; i < sizeof parts / sizeof *parts && st == LC_OK; i++) {
    struct table *t = ds_table(r->tx->ds, parts[i].st_id);
    struct lc_row_iter *it;
    if (lc_tx_scan(r->tx, parts[i].st_id, &it) != LC_ERRNO_OK) return lc_fail(r->err, LC_NOMEM, "out of memory");
    for (struct lc_slice row; st == LC_OK && (row = lc_row_iter_next(it)).data;) {
      size_t at = (size_t)(lc_row_column(t->info.row_type, row.data, parts[i].table_column) - row.data);
      if (memcmp(row.data + at, &from, 4) != 0) continue;
      lc_buf_slice_append(&b, row);
      if (lc_buf_ok(&b)) memcpy(b.data + at, &to, 4);
      if (lc_buf_ok(&b) && parts[i].numbered) memset(b.data, 0, 4);
      if (parts[i].st_id != LC_ST_SCHEDULED && parts[i].numbered) {
        st = st_put(r->tx, parts[i].st_id, &b, NULL, r->err);
        continue;
      }
      bool found; /* unique by table or text: the new row takes the place of the old one */
      int rc = lc_tx_delete_row(r->tx, parts[i].st_id, row, &found, r->err);
      st = rc == LC_ERRNO_OK ? st_put(r->tx, parts[i].st_id, &b, NULL, r->err) : LC_NOMEM;
    }
    lc_row_iter_close(it);
  }
  lc_buf_free(&b);
  return st;
}

/* A table under a new id with more columns; the rows get the defaults (spec/06 §15.4). */
static enum lc_status add_columns(const struct run *r, const struct lc_migration_step *s) {
  struct table *old = stored(r, s->old_table->name), *new;
  const struct lc_table_def *def = s->new_table;
  uint32_t old_id, new_id = 0, n_old = s->old_table->n_columns;
  struct lc_row_iter *it;
  if (!old) return lost(r, s->old_table->name);
  old_id = old->info.table_id;
  enum lc_status st = st_erase_id(r->tx, LC_ST_TABLE, 0, old_id, r->err); /* names are unique */
  if (st == LC_OK) st = st_erase_name(r->tx, LC_ST_COLUMN_ACCESSOR, 0, def->name, r->err);
  if (st == LC_OK) st = describe_st_table(r->tx, &new_id, def->name, old->info.is_public, old->info.primary_key, r->err);
  if (st == LC_OK) st = describe_columns(r->tx, new_id, def->name, 0, def->n_columns, def->columns, r->err);
  if (st == LC_OK) st = copy_parts(r, old_id, new_id);
  if (st == LC_OK) st = catalog_refresh(r->tx->ds, new_id, r->err);
  if (st != LC_OK) return st;
  new = ds_table(r->tx->ds, new_id);
  size_t extra = 0;
  for (uint32_t i = n_old; i < def->n_columns; i++) extra += def->columns[i].default_bsatn.len;
  if (lc_tx_scan(r->tx, old_id, &it) != LC_ERRNO_OK) return lc_fail(r->err, LC_NOMEM, "out of memory");
  for (struct lc_slice row; st == LC_OK && (row = lc_row_iter_next(it)).data;) {
    uint8_t *bytes = tx_take_bytes(r->tx, row.len + extra, r->err), *at = bytes;
    if (!bytes) {
      st = r->err->status;
      break;
    }
    if (row.len) memcpy(at, row.data, row.len);
    at += row.len;
    for (uint32_t i = n_old; i < def->n_columns; i++) {
      if (def->columns[i].default_bsatn.len) memcpy(at, def->columns[i].default_bsatn.data, def->columns[i].default_bsatn.len);
      at += def->columns[i].default_bsatn.len;
    }
    int rc = tx_insert_row(r->tx, new, lc_slice(bytes, (size_t)(at - bytes)), r->err);
    if (rc != LC_ERRNO_OK) st = rc == LC_ERRNO_UNIQUE_EXISTS ? LC_EXISTS : LC_NOMEM;
  }
  lc_row_iter_close(it);
  static const struct { uint32_t st_id, column; } by_id[] = {{LC_ST_COLUMN, 0}, {LC_ST_INDEX, 1}, {LC_ST_CONSTRAINT, 2}, {LC_ST_SEQUENCE, 2}};
  for (size_t i = 0; i < sizeof by_id / sizeof *by_id && st == LC_OK; i++) st = st_erase_id(r->tx, by_id[i].st_id, by_id[i].column, old_id, r->err);
  /* messages on their way follow their outbox */
  struct table *streams = ds_table(r->tx->ds, LC_ST_OUTBOUND_STREAM);
  if (st == LC_OK && lc_tx_scan(r->tx, LC_ST_OUTBOUND_STREAM, &it) != LC_ERRNO_OK) st = LC_NOMEM;
  else if (st == LC_OK) {
    for (struct lc_slice row; st == LC_OK && (row = lc_row_iter_next(it)).data;) {
      if (memcmp(row.data + 8, &old_id, 4) != 0) continue;
      struct lc_slice copy = lc_arena_copy(&r->tx->arena, row);
      if (copy.data) memcpy((uint8_t *)(uintptr_t)copy.data + 8, &new_id, 4);
      if (!copy.data || lc_tx_update(r->tx, LC_ST_OUTBOUND_STREAM, streams->info.indexes[0].index_id, copy, NULL, NULL, r->err) != LC_ERRNO_OK) st = lc_fail(r->err, LC_NOMEM, "out of memory");
    }
    lc_row_iter_close(it);
  }
  return st == LC_OK ? catalog_refresh(r->tx->ds, old_id, r->err) : st; /* its rows are gone: so is the table */
}

/* The rows of st_column written anew; those of the table stay as they are. */
static enum lc_status change_columns(const struct run *r, const struct lc_migration_step *s) {
  struct table *t = stored(r, s->old_table->name);
  if (!t) return lost(r, s->old_table->name);
  uint32_t id = t->info.table_id;
  enum lc_status st = st_erase_id(r->tx, LC_ST_COLUMN, 0, id, r->err);
  if (st == LC_OK) st = st_erase_name(r->tx, LC_ST_COLUMN_ACCESSOR, 0, s->new_table->name, r->err);
  if (st == LC_OK) st = describe_columns(r->tx, id, s->new_table->name, 0, s->new_table->n_columns, s->new_table->columns, r->err);
  return st == LC_OK ? refresh(r, t) : st;
}

/* ---- small changes ---- */

/* The st_table row of a table with other values. */
static enum lc_status rewrite_table(const struct run *r, struct table *t, bool is_public, int32_t primary_key) {
  uint32_t id = t->info.table_id;
  enum lc_status st = st_erase_id(r->tx, LC_ST_TABLE, 0, id, r->err);
  if (st == LC_OK) st = describe_st_table(r->tx, &id, t->info.name, is_public, primary_key, r->err);
  return st == LC_OK ? refresh(r, t) : st;
}

/* Replaces the rows of an accessor table that begin with `key` columns by one with `value` behind them. */
static enum lc_status set_accessor(const struct run *r, uint32_t st_id, struct lc_slice name, const struct lc_slice *column, struct lc_slice value) {
  struct lc_buf b = {0};
  struct table *st_table = ds_table(r->tx->ds, st_id);
  lc_buf_bsatn_bytes(&b, name);
  if (column) lc_buf_bsatn_bytes(&b, *column);
  lc_buf_bsatn_bytes(&b, value);
  int rc = lc_buf_ok(&b) ? lc_tx_update(r->tx, st_id, st_table->info.indexes[0].index_id, lc_buf_slice(&b), NULL, NULL, r->err) : LC_ERRNO_TRAP;
  if (rc == LC_ERRNO_NO_SUCH_ROW) rc = lc_tx_insert(r->tx, st_id, lc_buf_slice(&b), NULL, NULL, r->err);
  lc_buf_free(&b);
  return rc == LC_ERRNO_OK ? LC_OK : rc == LC_ERRNO_UNIQUE_EXISTS ? LC_EXISTS : LC_NOMEM;
}

static enum lc_status remove_view(const struct run *r, const struct lc_view_def *v) {
  struct table *t = stored(r, v->name);
  if (!t || !t->info.view) return lost(r, v->name);
  uint32_t id = t->info.view->view_id;
  enum lc_status st = undescribe_table(r->tx, &t->info, r->err); /* while it is known as a view's */
  if (st == LC_OK) st = st_erase_id(r->tx, LC_ST_VIEW, 0, id, r->err);
  if (st == LC_OK) st = st_erase_id(r->tx, LC_ST_VIEW_PARAM, 0, id, r->err);
  return st == LC_OK ? st_erase_id(r->tx, LC_ST_VIEW_COLUMN, 0, id, r->err) : st;
}

static enum lc_status change_view_access(const struct run *r, const struct lc_view_def *v) {
  struct table *t = stored(r, v->name), *views = ds_table(r->tx->ds, LC_ST_VIEW);
  if (!t || !t->info.view) return lost(r, v->name);
  struct lc_slice row = lc_arena_copy(&r->tx->arena, lc_tree_find(&views->rows, (const uint8_t *)&t->info.view->view_id));
  if (!row.data) return lc_fail(r->err, LC_NOMEM, "out of memory");
  *(uint8_t *)(uintptr_t)lc_row_column(views->info.row_type, row.data, 3) = v->is_public;
  if (lc_tx_update(r->tx, LC_ST_VIEW, views->info.indexes[0].index_id, row, NULL, NULL, r->err) != LC_ERRNO_OK) return LC_NOMEM;
  return rewrite_table(r, t, v->is_public, -1);
}

/* ---- steps ---- */

static enum lc_status run_table_step(const struct run *r, const struct lc_migration_step *s, struct table *t) {
  const struct lc_table_def *new = s->new_table, *old = s->old_table;
  struct lc_slice name = (new ? new : old)->name;
  uint32_t id = t->info.table_id;
  enum lc_status st = LC_OK;
  switch (s->kind) {
  case LC_STEP_REMOVE_INDEX:
    say(r, "Dropping index `%.*s` on table `%.*s`", S(s->name), S(name));
    for (uint32_t i = 0; i < t->info.n_indexes; i++)
      if (lc_slice_eq(t->info.indexes[i].name, s->name)) {
        st = st_erase_id(r->tx, LC_ST_INDEX, 0, t->info.indexes[i].index_id, r->err);
        break;
      }
    if (st == LC_OK) st = st_erase_name(r->tx, LC_ST_INDEX_ACCESSOR, 0, s->name, r->err);
    return st == LC_OK ? refresh(r, t) : st;
  case LC_STEP_REMOVE_CONSTRAINT:
    say(r, "Dropping constraint `%.*s` on table `%.*s`", S(s->name), S(name));
    st = st_erase_name(r->tx, LC_ST_CONSTRAINT, 1, s->name, r->err);
    return st == LC_OK ? refresh(r, t) : st;
  case LC_STEP_REMOVE_SEQUENCE:
    say(r, "Dropping sequence `%.*s` from table `%.*s`", S(s->name), S(name));
    st = st_erase_name(r->tx, LC_ST_SEQUENCE, 1, s->name, r->err);
    return st == LC_OK ? refresh(r, t) : st;
  case LC_STEP_REMOVE_SCHEDULE:
    st = st_erase_id(r->tx, LC_ST_SCHEDULED, 1, id, r->err);
    return st == LC_OK ? refresh(r, t) : st;
  case LC_STEP_REMOVE_TABLE:
    say(r, "Dropping table `%.*s`", S(name));
    if (lc_tree_count(&t->rows))
      return lc_fail(r->err, LC_CONFLICT, "Cannot remove table `%.*s`: table contains data. Clear the table's rows (e.g. via a reducer) before removing it from your schema.", S(name));
    return undescribe_table(r->tx, &t->info, r->err);
  case LC_STEP_CHANGE_COLUMNS: case LC_STEP_RESCHEMA_EVENT_TABLE: say(r, "Changing columns of table `%.*s`", S(name)); return change_columns(r, s);
  case LC_STEP_ADD_COLUMNS: say(r, "Changing columns of table `%.*s`", S(name)); return add_columns(r, s);
  case LC_STEP_CHANGE_INDEX_SOURCE_NAME:
    st = set_accessor(r, LC_ST_INDEX_ACCESSOR, s->name, NULL, new->indexes[s->item].source_name);
    return st == LC_OK ? refresh(r, t) : st;
  case LC_STEP_CHANGE_TABLE_ACCESSOR:
    st = set_accessor(r, LC_ST_TABLE_ACCESSOR, name, NULL, new->accessor);
    return st == LC_OK ? refresh(r, t) : st;
  case LC_STEP_CHANGE_COLUMN_ACCESSOR:
    st = set_accessor(r, LC_ST_COLUMN_ACCESSOR, name, &new->columns[s->item].name, new->columns[s->item].accessor);
    return st == LC_OK ? refresh(r, t) : st;
  case LC_STEP_ADD_INDEX: say(r, "Creating index `%.*s` on table `%.*s`", S(s->name), S(name)); return add_index(r, t, new, &new->indexes[s->item]);
  case LC_STEP_ADD_CONSTRAINT: say(r, "Adding constraint `%.*s` on table `%.*s`", S(s->name), S(name)); return add_constraint(r, t, &new->constraints[s->item]);
  case LC_STEP_ADD_SEQUENCE:
    say(r, "Adding sequence `%.*s` to table `%.*s`", S(s->name), S(name));
    st = describe_sequence(r->tx, id, &new->sequences[s->item], NULL, r->err);
    return st == LC_OK ? refresh(r, t) : st;
  case LC_STEP_ADD_SCHEDULE:
    st = describe_schedule(r->tx, id, new, r->err);
    return st == LC_OK ? refresh(r, t) : st;
  case LC_STEP_CHANGE_ACCESS: return rewrite_table(r, t, new->is_public, t->info.primary_key);
  case LC_STEP_CHANGE_PRIMARY_KEY: say(r, "Changing primary key for table `%.*s`", S(name)); return rewrite_table(r, t, t->info.is_public, new->primary_key);
  case LC_STEP_CHANGE_OUTBOX:
    st = st_erase_id(r->tx, LC_ST_OUTBOX, 0, id, r->err);
    return st == LC_OK ? describe_outbox(r->tx, id, r->plan->new, outbox_of(r->plan->new, name), r->err) : st;
  default: lc_panic("a step of kind %d is not about a table", (int)s->kind);
  }
}

static enum lc_status run_step(const struct run *r, const struct lc_migration_step *s) {
  if (s->kind == LC_STEP_ADD_TABLE) {
    say(r, "Creating table `%.*s`", S(s->name));
    return describe_table(r->tx, r->plan->new, s->new_table, r->err);
  }
  if (s->old_table || s->new_table) {
    struct lc_slice name = (s->new_table ? s->new_table : s->old_table)->name;
    struct table *t = stored(r, name);
    return t ? run_table_step(r, s, t) : lost(r, name);
  }
  switch (s->kind) {
  case LC_STEP_REMOVE_VIEW: return remove_view(r, s->old_view);
  case LC_STEP_ADD_VIEW: return describe_view(r->tx, s->new_view, r->err);
  case LC_STEP_CHANGE_ACCESS: return change_view_access(r, s->new_view);
  case LC_STEP_CHANGE_TABLE_ACCESSOR: {
    enum lc_status st = set_accessor(r, LC_ST_TABLE_ACCESSOR, s->name, NULL, s->new_view->accessor);
    struct table *t = stored(r, s->name);
    return st == LC_OK && t ? refresh(r, t) : st;
  }
  case LC_STEP_REMOVE_RLS: say(r, "Removing row-level security `%.*s`", S(s->name)); return st_erase_name(r->tx, LC_ST_ROW_LEVEL_SECURITY, 1, s->name, r->err);
  case LC_STEP_ADD_RLS: say(r, "Adding row-level security `%.*s`", S(s->name)); return describe_rls(r->tx, s->name, r->err);
  case LC_STEP_DISCONNECT_ALL_USERS: say(r, "Disconnecting all users"); return LC_OK;
  default: return LC_OK; /* UPDATE_VIEW: whoever runs views does that */
  }
}

enum lc_status lc_migration_run(struct lc_tx *tx, const struct lc_migration_plan *plan, const struct lc_module_facts *facts, void (*log)(void *ctx, const char *line), void *ctx, struct lc_error *err) {
  struct run r = {tx, plan, err, log, ctx};
  lc_assert(plan->n_errors == 0);
  enum lc_status st = describe_module(tx, facts, err);
  if (st == LC_OK) st = check_stored(&r);
  for (uint32_t i = 0; st == LC_OK && i < plan->n_steps; i++)
    if (plan->steps[i].kind == LC_STEP_ADD_SEQUENCE) st = precheck_sequence(&r, &plan->steps[i]);
  for (uint32_t i = 0; st == LC_OK && i < plan->n_steps; i++) st = run_step(&r, &plan->steps[i]);
  return st;
}

enum lc_status lc_schema_update(struct lc_tx *tx, const struct lc_module_def *old, const struct lc_module_def *def, const struct lc_module_facts *facts, struct lc_error *err) {
  struct lc_migration_plan *plan;
  struct lc_buf text = {0};
  enum lc_status st = lc_migration_plan_new(old, def, &plan);
  if (st != LC_OK) return lc_fail(err, st, "out of memory");
  for (uint32_t i = 0; i < plan->n_errors; i++) {
    if (i) lc_buf_str(&text, "\n");
    lc_buf_slice_append(&text, plan->errors[i]);
  }
  if (plan->n_errors) st = lc_fail(err, LC_UNSUPPORTED, "%.*s", (int)text.len, (const char *)text.data);
  else st = lc_migration_run(tx, plan, facts, NULL, NULL, err);
  lc_buf_free(&text);
  lc_migration_plan_free(plan);
  return st;
}
