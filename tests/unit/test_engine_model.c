/* Random databases against a naive model (engine_model.h): every operation of the ABI on several tables in one transaction, scans whose content and order are
 * compared, iterators held over writes, rollbacks, read views held over transactions, migrations and drops, net effects, restarts from the log and from a dump;
 * then every allocation failing in turn.
 * Environment: STEPS (operations, default 30,000), SEED, VERBOSE (definitions and steps). A failure prints what repeats it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
static unsigned long seed, steps, done, world_seed;
struct lc_error;
static const char *error_text(void);
#define CHECK(x) do { if (!(x)) fail_msg("%s (%s:%d; step %lu; SEED=%lu STEPS=1 repeats it): %s", #x, __FILE__, __LINE__, done, world_seed, error_text()); } while (0)
#include "engine_model.h"
#include "engine_copy.h"
#include "failures.h"

static struct lc_error err;
static const char *error_text(void) { return err.text; }
/* Each definition belongs to another program. */
static uint64_t program;
static const struct lc_module_facts *next_facts(void) {
  static struct lc_module_facts facts;
  program++;
  facts = (struct lc_module_facts){.program_bytes = {(const uint8_t *)&program, sizeof program}};
  return &facts;
}

/* ---- allocations that fail on demand, and only in the engine ---- */

static int64_t fail_after = -1; /* allocations that still succeed; -1: all */
static int64_t armed = -1;      /* what fail_after is while the engine runs */
static bool may_fail(size_t size_bytes) {
  (void)size_bytes;
  if (fail_after < 0) return false;
  return fail_after-- == 0; /* one failure, then all succeed again */
}
#define ENGINE(assignment) do { fail_after = armed; assignment; armed = fail_after; fail_after = -1; } while (0)

/* ---- a database and its model ---- */

enum { MAX_HELD = 5, MAX_OPEN = 4, MAX_RETIRED = 64, MAX_DEFS = 256 };
struct held { struct lc_read_view view; struct m_state state; };
struct open_scan { struct lc_row_iter *it; struct rows got, want; const struct lc_type *type; struct m_index x; bool ordered; };
struct world {
  struct lc_datastore *ds;
  struct m_state now, base; /* as the open transaction has it, as it was committed */
  struct lc_module_def *def, *defs[MAX_DEFS]; uint32_t n_defs; /* all live as long as the world: the models point to their types */
  struct held held[MAX_HELD];
  struct open_scan open[MAX_OPEN];
  uint32_t retired_indexes[MAX_RETIRED], n_retired;
  uint32_t largest;         /* rows of a table at most */
  struct lc_buf log; uint32_t n_records;
};
static struct lc_read_view live(const struct world *w) { return (struct lc_read_view){.ds = w->ds}; }

/* Where the models' tables are now, and the types of their rows. */
static void locate(struct world *w, struct m_state *s) {
  for (uint32_t i = 0; i < s->n; i++) {
    const struct lc_table_info *t = lc_datastore_table_by_name(w->ds, lc_slice_str(s->t[i].def.name));
    CHECK(t);
    s->t[i].id = t->table_id;
    s->t[i].type = w->def->tables[i].row_type;
  }
}

static void check_delta(const struct lc_table_delta *d, const struct m_table *t, const struct rows *before) {
  struct rows got[2] = {{0}}, want[2] = {rows_minus(&t->rows, before), rows_minus(before, &t->rows)};
  for (int k = 0; d && k < 2; k++)
    for (uint32_t i = 0; i < (k ? d->n_deletes : d->n_inserts); i++) rows_push(&got[k], row_new((k ? d->deletes : d->inserts)[i]));
  if (d) CHECK(d->n_inserts + d->n_deletes > 0 && !d->is_ephemeral && d->truncated == (d->n_deletes > 0 && d->n_inserts == 0 && t->rows.n == 0));
  for (int k = 0; k < 2; k++) {
    CHECK(rows_equal(&got[k], &want[k]));
    rows_free(&got[k]), rows_free(&want[k]);
  }
}
static void commit(struct world *w, struct lc_tx *tx) {
  static const struct lc_tx_inputs none;
  const struct lc_tx_delta *delta;
  uint64_t most = lc_tx_record_max_bytes(tx, &none);
  size_t at = w->log.len;
  lc_tx_commit(tx, &delta);
  for (uint32_t i = 0; i + 1 < delta->n_tables; i++) CHECK(delta->tables[i].table_id < delta->tables[i + 1].table_id);
  for (uint32_t i = 0; i < w->now.n; i++) { /* the net effect is the difference of the states */
    const struct lc_table_delta *d = NULL;
    static const struct rows nothing;
    const struct rows *before = &nothing;
    for (uint32_t k = 0; k < delta->n_tables; k++)
      if (delta->tables[k].table_id == w->now.t[i].id) d = &delta->tables[k];
    for (uint32_t k = 0; k < w->base.n; k++)
      if (w->base.t[k].id == w->now.t[i].id) before = &w->base.t[k].rows;
    check_delta(d, &w->now.t[i], before);
    if (w->now.t[i].def.is_event) rows_clear(&w->now.t[i].rows);
  }
  if (lc_tx_delta_is_logged(delta, &none)) {
    lc_tx_record_encode(&w->log, delta, &none);
    CHECK(w->log.len - at <= most);
    w->n_records++;
  }
  lc_tx_delta_release(w->ds, delta);
  state_free(&w->base);
  w->base = state_copy(&w->now);
}
static void rollback(struct world *w, struct lc_tx *tx) {
  lc_tx_rollback(tx);
  state_free(&w->now);
  w->now = state_copy(&w->base);
}

/* ---- scans that stay open while the transaction writes ---- */

static void scan_advance(struct open_scan *o, uint64_t most) {
  for (struct lc_slice row; o->it && most-- > 0;) {
    if ((row = lc_row_iter_next(o->it)).data) {
      rows_push(&o->got, row_new(row));
      continue;
    }
    CHECK(!lc_row_iter_next(o->it).data);
    lc_row_iter_close(o->it);
    expect_rows(o->type, o->ordered ? &o->x : NULL, o->got, o->want);
    *o = (struct open_scan){0};
  }
}
/* A transaction ends: they are read to their end, or closed where they are. */
static void scans_end(struct world *w) {
  for (int i = 0; i < MAX_OPEN; i++) {
    struct open_scan *o = &w->open[i];
    if (rnd(2)) scan_advance(o, UINT64_MAX);
    lc_row_iter_close(o->it);
    rows_free(&o->got), rows_free(&o->want);
    *o = (struct open_scan){0};
  }
}

/* ---- one operation on both; false: the engine ran out of memory ---- */

static bool traps(int rc) { return rc == LC_ERRNO_TRAP && err.status == LC_NOMEM; }

static bool insert(struct world *w, struct lc_tx *tx, struct m_table *t, struct lc_buf *row) {
  struct lc_buf given = {0}, generated = {0}, got = {0};
  struct lc_slice stored = {0};
  int rc;
  lc_buf_slice_append(&given, lc_buf_slice(row));
  bool asks = rnd(2);
  ENGINE(rc = lc_tx_insert(tx, t->id, lc_buf_slice(&given), &got, asks ? &stored : NULL, &err));
  bool ok = !traps(rc) && lc_buf_ok(&got);
  if (ok) {
    m_fill(t, row, &generated);
    int want = m_put_result(t, lc_buf_slice(row), -1);
    CHECK(rc == (want < 0 ? LC_ERRNO_OK : want));
    CHECK(lc_slice_eq(lc_buf_slice(&generated), lc_buf_slice(&got)));
    if (asks && rc == LC_ERRNO_OK) CHECK(lc_slice_eq(stored, lc_buf_slice(row)));
    if (want == LC_ERRNO_OK) rows_push(&t->rows, row_new(lc_buf_slice(row)));
  }
  (void)w;
  lc_buf_free(&given), lc_buf_free(&generated), lc_buf_free(&got);
  return ok;
}
static bool update(struct lc_tx *tx, struct m_table *t, const struct m_index *x, uint32_t index_id, struct lc_buf *row) {
  struct lc_buf given = {0}, generated = {0}, got = {0};
  struct lc_slice stored = {0};
  int rc, want = LC_ERRNO_INDEX_NOT_UNIQUE;
  int32_t old = -1;
  lc_buf_slice_append(&given, lc_buf_slice(row));
  ENGINE(rc = lc_tx_update(tx, t->id, index_id, lc_buf_slice(&given), &got, &stored, &err));
  bool ok = !traps(rc) && lc_buf_ok(&got);
  if (ok) {
    if (m_is_unique(&t->def, x)) {
      m_fill(t, row, &generated);
      old = key_position(t, x->n, x->cols, row->data, -1);
      want = old < 0 ? LC_ERRNO_NO_SUCH_ROW : m_put_result(t, lc_buf_slice(row), old);
    }
    CHECK(rc == (want < 0 ? LC_ERRNO_OK : want));
    CHECK(lc_slice_eq(lc_buf_slice(&generated), lc_buf_slice(&got)));
    if (rc == LC_ERRNO_OK) CHECK(lc_slice_eq(stored, lc_buf_slice(row)));
    if (want == LC_ERRNO_OK) {
      rows_drop(&t->rows, (uint32_t)old);
      rows_push(&t->rows, row_new(lc_buf_slice(row)));
    }
  }
  lc_buf_free(&given), lc_buf_free(&generated), lc_buf_free(&got);
  return ok;
}

/* Looks for or deletes the rows with the key of `row` in x. */
static bool point(struct lc_tx *tx, struct lc_read_view v, struct m_table *t, const struct m_index *x, uint32_t index_id, const uint8_t *row, bool deletes) {
  struct lc_buf key = {0};
  struct rows want = {0};
  struct lc_row_iter *it = NULL;
  uint32_t count = 0;
  int rc;
  for (uint32_t i = 0; i < x->n; i++) column_append(t->type, x->cols[i], row, &key);
  if (deletes) ENGINE(rc = lc_tx_delete_point(tx, index_id, lc_buf_slice(&key), &count, &err));
  else ENGINE(rc = lc_view_scan_point(v, index_id, lc_buf_slice(&key), &it, &err));
  bool ok = !traps(rc);
  if (ok) {
    CHECK(rc == LC_ERRNO_OK);
    for (uint32_t i = 0; i < t->rows.n; i++)
      if (rows_key_compare(t->type, x->cols, x->n, t->rows.r[i]->data, row) == 0) t->rows.r[i]->refs++, rows_push(&want, t->rows.r[i]);
    if (deletes) {
      CHECK(count == want.n);
      for (uint32_t i = 0; i < want.n; i++) rows_drop(&t->rows, (uint32_t)rows_position(&t->rows, row_slice(want.r[i])));
      rows_free(&want);
    } else {
      struct lc_slice found = {0};
      rc = lc_view_find(v, index_id, lc_buf_slice(&key), &found, &err);
      CHECK(rc == (m_is_unique(&t->def, x) ? LC_ERRNO_OK : LC_ERRNO_INDEX_NOT_UNIQUE));
      if (rc == LC_ERRNO_OK) CHECK(want.n ? want.n == 1 && lc_slice_eq(found, row_slice(want.r[0])) : !found.data);
      expect_rows(t->type, NULL, collect(it, false), want);
    }
  }
  lc_buf_free(&key);
  return ok;
}

/* A range with or without a prefix, each bound included, excluded or open; read at once, left open (`keep`), or deleted. */
static bool range(struct lc_tx *tx, struct lc_read_view v, struct m_table *t, const struct m_index *x, uint32_t index_id, const uint8_t *low, const uint8_t *high, bool deletes,
                  struct open_scan *keep) {
  struct m_range r = {.x = x, .prefix = (uint32_t)rnd(x->n), .low_tag = (uint8_t)rnd(3), .high_tag = (uint8_t)rnd(3), .low = low, .high = high};
  struct lc_buf prefix = {0}, start = {0}, end = {0};
  struct rows want = {0};
  struct lc_row_iter *it = NULL;
  uint32_t count = 0, elems = r.prefix;
  int rc, expected = x->kind == LC_INDEX_HASH ? LC_ERRNO_WRONG_INDEX_ALGO : LC_ERRNO_OK;
  bool twice = r.low_tag == 0 && rnd(4) == 0; /* no end: the start counts for both */
  if (twice) r.high = low, r.high_tag = 0;
  if (rnd(40) == 0) elems = x->n + (uint32_t)rnd(2), expected = LC_ERRNO_BSATN_DECODE; /* leaves no column to bound */
  for (uint32_t i = 0; i < x->n && i < elems; i++) column_append(t->type, x->cols[i], low, &prefix);
  m_bound(t->type, x->cols[r.prefix], r.low_tag, low, &start);
  if (!twice) m_bound(t->type, x->cols[r.prefix], r.high_tag, r.high, &end);
  if (rnd(60) == 0) start.data[0] = 3, expected = LC_ERRNO_BSATN_DECODE;
  if (deletes) ENGINE(rc = lc_tx_delete_range(tx, index_id, lc_buf_slice(&prefix), elems, lc_buf_slice(&start), lc_buf_slice(&end), &count, &err));
  else ENGINE(rc = lc_view_scan_range(v, index_id, lc_buf_slice(&prefix), elems, lc_buf_slice(&start), lc_buf_slice(&end), &it, &err));
  bool ok = !traps(rc);
  if (ok) {
    CHECK(rc == expected);
    for (uint32_t i = 0; rc == LC_ERRNO_OK && i < t->rows.n;) {
      if (!m_in_range(t->type, &r, t->rows.r[i]->data)) {
        i++;
        continue;
      }
      t->rows.r[i]->refs++, rows_push(&want, t->rows.r[i]);
      if (deletes) rows_drop(&t->rows, i);
      else i++;
    }
    CHECK(!deletes || count == want.n);
    if (it && keep) *keep = (struct open_scan){.it = it, .want = want, .type = t->type, .x = *x, .ordered = true};
    else if (it) expect_rows(t->type, x, collect(it, rnd(2)), want);
    else rows_free(&want);
  }
  lc_buf_free(&prefix), lc_buf_free(&start), lc_buf_free(&end);
  return ok;
}

static bool delete_listed(struct lc_tx *tx, struct m_table *t, bool damaged) {
  struct lc_buf list = {0}, row = {0};
  struct rows going = {0};
  uint32_t n = (uint32_t)rnd(6) + damaged, count = 0;
  int rc;
  lc_buf_u32(&list, n);
  for (uint32_t i = 0; i < n; i++) {
    random_row(t, &row);
    lc_buf_slice_append(&list, lc_buf_slice(&row));
    int32_t at = rows_position(&t->rows, lc_buf_slice(&row));
    if (at >= 0 && rows_position(&going, lc_buf_slice(&row)) < 0) rows_push(&going, row_new(lc_buf_slice(&row)));
  }
  damaged = damaged && row.len > 0;
  if (damaged) list.len--; /* the last row is cut */
  ENGINE(rc = lc_tx_delete_all_by_eq(tx, t->id, lc_buf_slice(&list), &count, &err));
  bool ok = !traps(rc);
  if (ok) {
    CHECK(rc == (damaged ? LC_ERRNO_BSATN_DECODE : LC_ERRNO_OK) && count == (damaged ? 0 : going.n));
    for (uint32_t i = 0; !damaged && i < going.n; i++) rows_drop(&t->rows, (uint32_t)rows_position(&t->rows, row_slice(going.r[i])));
  }
  rows_free(&going);
  lc_buf_free(&list), lc_buf_free(&row);
  return ok;
}

/* What does not exist, and bytes that are no row. */
static void refusals(struct world *w, struct lc_tx *tx, struct m_table *t, uint32_t index_id, struct lc_buf *row) {
  struct lc_row_iter *it;
  uint32_t count;
  uint64_t rows;
  bool found;
  uint32_t nobody = 1000000;
  CHECK(lc_tx_insert(tx, nobody, lc_buf_slice(row), NULL, NULL, &err) == LC_ERRNO_NO_SUCH_TABLE && lc_tx_scan(tx, nobody, &it) == LC_ERRNO_NO_SUCH_TABLE);
  CHECK(lc_tx_clear(tx, nobody, &rows, &err) == LC_ERRNO_NO_SUCH_TABLE && lc_tx_row_count(tx, nobody, &rows) == LC_ERRNO_NO_SUCH_TABLE);
  CHECK(lc_tx_delete_all_by_eq(tx, nobody, lc_buf_slice(row), &count, &err) == LC_ERRNO_NO_SUCH_TABLE);
  uint32_t gone = w->n_retired && rnd(2) ? w->retired_indexes[rnd(w->n_retired)] : nobody;
  CHECK(lc_tx_scan_point(tx, gone, lc_buf_slice(row), &it, &err) == LC_ERRNO_NO_SUCH_INDEX && lc_tx_update(tx, t->id, gone, lc_buf_slice(row), NULL, NULL, &err) == LC_ERRNO_NO_SUCH_INDEX);
  CHECK(lc_tx_update(tx, LC_ST_TABLE, index_id, lc_buf_slice(row), NULL, NULL, &err) == LC_ERRNO_NO_SUCH_INDEX); /* another table's */
  if (row->len == 0) return;
  row->len--;
  CHECK(lc_tx_insert(tx, t->id, lc_buf_slice(row), NULL, NULL, &err) == LC_ERRNO_BSATN_DECODE && lc_tx_delete_row(tx, t->id, lc_buf_slice(row), &found, &err) == LC_ERRNO_BSATN_DECODE);
}

static bool one_step(struct world *w, struct lc_tx *tx) {
  struct m_table *t = &w->now.t[rnd(w->now.n)];
  const struct lc_table_info *info = lc_datastore_table(w->ds, t->id);
  const struct m_index *x = t->def.n_indexes ? &t->def.indexes[rnd(t->def.n_indexes)] : NULL;
  uint32_t index_id = x ? info_of_index(info, x)->index_id : UINT32_MAX;
  struct lc_buf row = {0}, other = {0};
  struct lc_row_iter *it;
  struct open_scan *o = &w->open[rnd(MAX_OPEN)];
  uint64_t n;
  bool ok = true;
  int rc;
  done++;
  random_row(t, &row), random_row(t, &other);
  uint64_t what = rnd(32);
  if (t->rows.n >= w->largest && what < 8) what = 14;
  switch (what) {
  case 0: case 1: case 2: case 3: case 4: case 5: case 6: ok = insert(w, tx, t, &row); break;
  case 7: /* many */
    for (uint64_t k = rnd(w->largest > 100 ? 150 : 10); ok && k > 0; k--) random_row(t, &row), ok = insert(w, tx, t, &row);
    break;
  case 8: case 9: case 10: case 11: case 12:
    if (x) ok = update(tx, t, x, index_id, &row);
    break;
  case 13: case 14:
    if (x) ok = point(tx, live(w), t, x, index_id, row.data, true);
    break;
  case 15: case 16: {
    bool found;
    ENGINE(rc = lc_tx_delete_row(tx, t->id, lc_buf_slice(&row), &found, &err));
    if (!(ok = !traps(rc))) break;
    int32_t at = rows_position(&t->rows, lc_buf_slice(&row));
    CHECK(rc == LC_ERRNO_OK && found == (at >= 0));
    if (found) rows_drop(&t->rows, (uint32_t)at);
    break;
  }
  case 17: ok = delete_listed(tx, t, rnd(4) == 0); break;
  case 18: case 19: case 20:
    if (x) ok = range(tx, live(w), t, x, index_id, row.data, other.data, false, NULL);
    break;
  case 21:
    if (x) ok = range(tx, live(w), t, x, index_id, row.data, other.data, true, NULL);
    break;
  case 22: case 23:
    if (x) ok = point(tx, live(w), t, x, index_id, row.data, false);
    break;
  case 24: case 25: case 26: /* a scan is opened or goes on */
    if (o->it) {
      scan_advance(o, rnd(w->largest));
    } else if (x && rnd(2)) {
      ok = range(tx, live(w), t, x, index_id, row.data, other.data, false, o);
    } else {
      ENGINE(rc = lc_tx_scan(tx, t->id, &it));
      if ((ok = rc == LC_ERRNO_OK)) *o = (struct open_scan){.it = it, .want = rows_copy(&t->rows), .type = t->type};
      else CHECK(rc == LC_ERRNO_TRAP && armed < 0);
    }
    break;
  case 27:
    if (rnd(12)) break;
    ENGINE(rc = lc_tx_clear(tx, t->id, &n, &err));
    if (!(ok = !traps(rc))) break;
    CHECK(rc == LC_ERRNO_OK && n == t->rows.n);
    rows_clear(&t->rows);
    break;
  case 28:
    if (armed < 0) refusals(w, tx, t, index_id, &row);
    break;
  case 29: { /* what a view of before the transaction sees */
    struct held *h = &w->held[rnd(MAX_HELD)];
    if (!h->view.schema || !h->state.n || armed >= 0) break;
    struct m_table *then = &h->state.t[rnd(h->state.n)];
    if (!then->def.n_indexes) break;
    const struct m_index *y = &then->def.indexes[rnd(then->def.n_indexes)];
    uint32_t id = info_of_index(lc_view_table(h->view, then->id), y)->index_id;
    random_row(then, &row), random_row(then, &other);
    if (rnd(2)) ok = range(NULL, h->view, then, y, id, row.data, other.data, false, NULL);
    else ok = point(NULL, h->view, then, y, id, row.data, false);
    break;
  }
  default:
    CHECK(lc_tx_row_count(tx, t->id, &n) == LC_ERRNO_OK && n == t->rows.n);
  }
  lc_buf_free(&row), lc_buf_free(&other);
  return ok;
}

/* ---- migrations ---- */

static void keep_def(struct world *w, struct lc_module_def *def) {
  CHECK(w->n_defs < MAX_DEFS);
  w->defs[w->n_defs++] = w->def = def;
}
static void remove_unique(struct m_def *d, uint32_t at) { memmove(&d->uniques[at], &d->uniques[at + 1], (--d->n_uniques - at) * sizeof *d->uniques); }
static void remove_index(struct m_def *d, uint32_t at) { /* with a constraint that needs it */
  struct m_index gone = d->indexes[at];
  memmove(&d->indexes[at], &d->indexes[at + 1], (--d->n_indexes - at) * sizeof *d->indexes);
  for (uint32_t i = 0; i < d->n_indexes; i++)
    if (same_columns_set(gone.n, gone.cols, d->indexes[i].n, d->indexes[i].cols)) return;
  for (uint32_t i = d->n_uniques; i-- > 0;)
    if (same_columns_set(gone.n, gone.cols, d->uniques[i].n, d->uniques[i].cols)) remove_unique(d, i);
}
/* A constraint needs an index over its columns; the primary key's two come first in their lists. */
static void mutate(struct m_state *s) {
  struct m_table *t = &s->t[rnd(s->n)];
  struct m_def *d = &t->def;
  uint32_t at = (uint32_t)rnd(8);
  switch (rnd(14)) {
  case 0: case 1:
    if (s->n == MAX_TABLES) break;
    s->t[s->n] = (struct m_table){0};
    random_def(&s->t[s->n].def);
    for (uint32_t i = 0; i < MAX_COLS; i++) s->t[s->n].next[i] = 1;
    s->n++;
    break;
  case 2:
    if (s->n == 1) break;
    rows_free(&t->rows);
    memmove(t, t + 1, (size_t)(s->t + --s->n - t) * sizeof *t);
    break;
  case 3: case 4: { /* a column with a default behind the others */
    if (d->n_cols == MAX_COLS) break;
    struct m_column *c = &d->cols[d->n_cols];
    *c = (struct m_column){.type = type_words[rnd(sizeof type_words / sizeof *type_words - 1)]}; /* not the last: a default has bytes in def_text.h */
    t->next[d->n_cols] = 1;
    struct lc_arena arena = {0};
    struct lc_module_def scratch = {0};
    struct def_text text = {&scratch, NULL};
    const char *word = c->type;
    struct lc_buf value = {0};
    uint32_t longest = longest_string;
    longest_string = 30;
    random_value(def_type(&text, &word), &value);
    longest_string = longest;
    lc_hex_encode(value.data, value.len, c->default_hex);
    struct rows more = {0};
    for (uint32_t i = 0; i < t->rows.n; i++) {
      struct lc_buf row = {0};
      lc_buf_slice_append(&row, row_slice(t->rows.r[i]));
      lc_buf_slice_append(&row, lc_buf_slice(&value));
      rows_push(&more, row_new(lc_buf_slice(&row)));
      lc_buf_free(&row);
    }
    rows_free(&t->rows);
    t->rows = more;
    d->n_cols++;
    lc_buf_free(&value);
    lc_arena_free(&arena), lc_arena_free(&scratch.arena);
    break;
  }
  case 5: case 6:
    add_index(d);
    if (rnd(3) == 0) add_unique(d, &d->indexes[d->n_indexes - 1]);
    break;
  case 7:
    if (d->n_indexes > d->has_pk) remove_index(d, d->has_pk + at % (d->n_indexes - d->has_pk));
    if (!d->has_pk) d->pk_index = false;
    break;
  case 8: /* the same name, another kind or other columns */
    if (d->n_indexes <= d->pk_index) break;
    at = d->pk_index + at % (d->n_indexes - d->pk_index);
    struct m_index x = d->indexes[at];
    x.kind = x.kind == LC_INDEX_BTREE ? LC_INDEX_HASH : LC_INDEX_BTREE;
    if (rnd(2)) random_columns(d, &x.n, x.cols);
    remove_index(d, at);
    memmove(&d->indexes[at + 1], &d->indexes[at], (d->n_indexes++ - at) * sizeof x);
    d->indexes[at] = x;
    break;
  case 9: case 10:
    if (d->n_indexes) add_unique(d, &d->indexes[at % d->n_indexes]);
    break;
  case 11:
    if (d->n_uniques > d->has_pk) remove_unique(d, d->has_pk + at % (d->n_uniques - d->has_pk));
    if (!d->has_pk) d->pk_index = false;
    break;
  case 12:
    at %= d->n_cols;
    if (d->cols[at].has_seq) d->cols[at].has_seq = false, t->next[at] = 1;
    else add_sequence(d, at);
    break;
  default:
    if (rnd(3) == 0) d->is_public = !d->is_public;
    else if (d->pk_index && rnd(2)) d->has_pk = !d->has_pk;
    else
      for (uint32_t i = 0; i < d->n_cols; i++)
        if (strcmp(d->cols[i].type, "{A,B,C}") == 0) d->cols[i].type = "{A,B,C,D}";
  }
}

static const struct m_table *m_find(const struct m_state *s, const char *name) {
  for (uint32_t i = 0; i < s->n; i++)
    if (strcmp(s->t[i].def.name, name) == 0) return &s->t[i];
  return NULL;
}
/* Why the migration from `old` to `new`, whose rows are in their new form, cannot be; 0: it must succeed. */
enum { HAS_ROWS = 1, HAS_NUMBERS = 2, HAS_EQUALS = 4 };
static unsigned must_fail(const struct m_state *old, const struct m_state *new) {
  unsigned why = 0;
  for (uint32_t i = 0; i < old->n; i++)
    if (old->t[i].rows.n && !m_find(new, old->t[i].def.name)) why |= HAS_ROWS;
  for (uint32_t i = 0; i < new->n; i++) {
    const struct m_table *t = &new->t[i], *before = m_find(old, t->def.name);
    if (!before) continue;
    for (uint32_t c = 0; c < before->def.n_cols; c++) {
      static const uint8_t zeros[32];
      if (!t->def.cols[c].has_seq || (before->def.cols[c].has_seq && strcmp(before->def.cols[c].seq, t->def.cols[c].seq) == 0)) continue;
      const struct lc_type *type = t->type->fields[c].type;
      for (uint32_t k = 0; k < t->rows.n; k++)
        if (reference_compare(type, reference_column(t->type, t->rows.r[k]->data, c), zeros) > 0) why |= HAS_NUMBERS;
    }
    for (uint32_t u = 0; u < t->def.n_uniques; u++)
      for (uint32_t k = 0; k < t->rows.n; k++)
        if (key_position(t, t->def.uniques[u].n, t->def.uniques[u].cols, t->rows.r[k]->data, (int32_t)k) >= 0) why |= HAS_EQUALS;
  }
  return why;
}
static bool is_named(unsigned why, const char *text) {
  return (why & HAS_ROWS && strstr(text, "table contains data")) || (why & HAS_NUMBERS && strstr(text, "already has values in range")) || (why & HAS_EQUALS && strstr(text, "nique constraint"));
}

static void retire(struct world *w, const struct lc_table_info *t) {
  for (uint32_t i = 0; i < t->n_indexes; i++) w->retired_indexes[w->n_retired < MAX_RETIRED ? w->n_retired++ : rnd(MAX_RETIRED)] = t->indexes[i].index_id;
}
static void sort_retired(struct world *w) { /* those that are there (again) are not */
  for (uint32_t i = 0; i < w->n_retired;)
    if (lc_datastore_index(w->ds, w->retired_indexes[i])) w->retired_indexes[i] = w->retired_indexes[--w->n_retired];
    else i++;
}

static void migrate(struct world *w) {
  struct m_state new = state_copy(&w->base);
  struct lc_module_def *before = w->def;
  for (uint64_t k = rnd(2) ? 1 : 1 + rnd(3); k > 0; k--) mutate(&new);
  keep_def(w, m_module(&new));
  for (uint32_t i = 0; i < new.n; i++) new.t[i].type = w->def->tables[i].row_type;
  unsigned reason = must_fail(&w->base, &new);
  for (uint32_t i = 0; i < w->base.n; i++) retire(w, lc_datastore_table(w->ds, w->base.t[i].id));
  struct lc_tx *tx = lc_tx_begin(w->ds);
  enum lc_status st = lc_schema_update(tx, before, w->def, next_facts(), &err);
  if (reason ? st == LC_OK || !is_named(reason, err.text) : st != LC_OK)
    fail_msg("migration: %s, reasons against it %u; SEED=%lu STEPS=1 repeats it: %s", st == LC_OK ? "done" : "failed", reason, world_seed, err.text);
  bool goes_on = !reason && rnd(3) > 0;
  state_free(&w->now);
  if (!reason) {
    w->now = new;
    locate(w, &w->now);
    sort_retired(w);
    check_state(live(w), &w->now);
    if (rnd(2)) {
      for (uint64_t k = rnd(30); k > 0; k--) CHECK(one_step(w, tx));
      scans_end(w);
      check_state(live(w), &w->now);
    }
  } else {
    state_free(&new);
  }
  if (goes_on) {
    commit(w, tx);
  } else {
    rollback(w, tx);
    w->def = before;
    w->n_retired = 0;
  }
  check_state(live(w), &w->base);
}

/* ---- worlds ---- */

static struct world world_new(void) {
  struct world w = {0};
  world_seed = random_state;
  uint64_t kind = rnd(6);
  longest_string = kind == 0 ? 3000 : 40;
  value_domain = kind < 3 ? 400 : 6;
  w.largest = kind < 2 ? 500 : 60;
  next_name = 0;
  CHECK(lc_datastore_new(&lc_env_system, &w.ds, &err) == LC_OK);
  CHECK(lc_datastore_bootstrap_record(w.ds, &w.log) == LC_OK);
  w.n_records = 1;
  for (uint64_t n = 1 + rnd(3); w.now.n < n;) {
    struct m_table *t = &w.now.t[w.now.n++];
    random_def(&t->def);
    for (uint32_t i = 0; i < MAX_COLS; i++) t->next[i] = 1;
  }
  keep_def(&w, m_module(&w.now));
  struct lc_tx *tx = lc_tx_begin(w.ds);
  CHECK(lc_schema_create(tx, w.def, next_facts(), &err) == LC_OK);
  locate(&w, &w.now);
  for (uint64_t k = rnd(20); armed < 0 && k > 0; k--) CHECK(one_step(&w, tx)); /* init */
  scans_end(&w);
  commit(&w, tx);
  return w;
}

/* The same database from its log or from a dump. */
static struct lc_datastore *again(struct world *w, uint64_t how) {
  struct lc_datastore *ds;
  size_t used;
  if (how >= 2) return engine_copy(w->ds, 1 + rnd(300), how > 2);
  CHECK(lc_datastore_new(&lc_env_system, &ds, &err) == LC_OK);
  CHECK((how ? lc_datastore_replay : lc_datastore_replay_more)(ds, lc_buf_slice(&w->log), w->n_records, &used, &err) == LC_OK && used == w->log.len);
  CHECK(how || lc_datastore_replay_settle(ds, &err) == LC_OK);
  return ds;
}
static void release(struct held *h) {
  if (!h->view.schema) return;
  check_state(h->view, &h->state);
  lc_read_view_close(&h->view);
  state_free(&h->state);
}
static void restart(struct world *w, uint64_t how) {
  for (int i = 0; i < MAX_HELD; i++) release(&w->held[i]);
  struct lc_datastore *ds = again(w, how);
  lc_datastore_free(w->ds);
  w->ds = ds;
  check_state(live(w), &w->base);
}
static void world_free(struct world *w) {
  for (uint64_t how = 0; how < 4; how++) restart(w, how);
  lc_datastore_free(w->ds);
  state_free(&w->now), state_free(&w->base);
  lc_buf_free(&w->log);
  for (uint32_t i = 0; i < w->n_defs; i++) lc_module_def_free(w->defs[i]);
}

static void test_model(void **unused) {
  (void)unused;
  random_state = seed;
  for (done = 0; done < steps;) {
    struct world w = world_new();
    for (unsigned long i = 0, n = 20 + rnd(60); i < n; i++) {
      struct lc_tx *tx = lc_tx_begin(w.ds);
      for (uint64_t k = rnd(40); k > 0; k--) CHECK(one_step(&w, tx));
      if (rnd(8) == 0) check_state(live(&w), &w.now);
      scans_end(&w);
      if (rnd(3)) commit(&w, tx);
      else rollback(&w, tx);
      if (rnd(4) == 0) check_state(live(&w), &w.base);
      struct held *h = &w.held[rnd(MAX_HELD)];
      if (h->view.schema && rnd(4) == 0) {
        release(h);
      } else if (!h->view.schema && rnd(2) == 0) {
        CHECK(lc_read_view_open(w.ds, &h->view) == LC_OK);
        h->state = state_copy(&w.base);
      }
      if (rnd(5) == 0) migrate(&w);
      if (rnd(40) == 0) restart(&w, rnd(4));
    }
    world_free(&w);
  }
  print_message("%lu operations\n", done);
}

/* The n-th allocation fails, wherever it is: the operation reports it, rolling back restores everything, and life goes on. */
static void test_memory(void **unused) {
  (void)unused;
  random_state = seed;
  for (int round = 0; round < 12; round++) {
    struct world w = world_new();
    for (int64_t n = 0; n < 120; n++) {
      struct lc_tx *tx = lc_tx_begin(w.ds);
      bool ok = true;
      armed = n % 40;
      for (uint64_t k = 0; k < 30 && ok; k++) ok = one_step(&w, tx);
      armed = -1;
      scans_end(&w);
      if (ok && rnd(2)) {
        commit(&w, tx);
      } else {
        if (ok) fail_after = (int64_t)rnd(10);
        lc_tx_rollback(tx); /* also when an allocation fails in it */
        fail_after = -1;
        state_free(&w.now);
        w.now = state_copy(&w.base);
      }
      check_state(live(&w), &w.base);
    }
    world_free(&w);
  }
}

/* The same for schema changes: every allocation of a migration fails in turn, and nothing has changed. */
static void test_memory_of_migrations(void **unused) {
  (void)unused;
  const char *old_text = "table t\n col id u32 pk auto\n col v u8 index\ntable gone\n col x u8\nview v\n col id u32 pk\n";
  struct lc_module_def *old = def_text(old_text), *new = def_text("table t private\n col id u32 pk auto\n col v u8\n col w string = 0100000061\ntable more\n col y string unique\nview v\n col id u32 pk\n col z u8\n");
  const struct lc_tx_delta *delta;
  struct lc_datastore *ds;
  CHECK(lc_datastore_new(&lc_env_system, &ds, &err) == LC_OK);
  struct lc_tx *tx = lc_tx_begin(ds);
  CHECK(lc_schema_create(tx, old, next_facts(), &err) == LC_OK);
  struct m_table t = {.def = {.name = "t", .is_public = true, .has_pk = true, .n_cols = 2, .n_indexes = 2, .n_uniques = 1, .uniques = {{.n = 1}},
                              .indexes = {{.name = "t_id_idx_btree", .n = 1}, {.name = "t_v_idx_btree", .n = 1, .cols = {1}}}}, .type = old->tables[0].row_type};
  t.id = lc_datastore_table_by_name(ds, lc_slice_str("t"))->table_id;
  for (uint8_t i = 1; i <= 50; i++) {
    uint8_t row[] = {i, 0, 0, 0, 7};
    CHECK(lc_tx_insert(tx, t.id, lc_slice("\0\0\0\0\7", 5), NULL, NULL, &err) == LC_ERRNO_OK);
    rows_push(&t.rows, row_new(lc_slice(row, sizeof row)));
  }
  lc_tx_commit(tx, &delta);
  lc_tx_delta_release(ds, delta);
  bool ended = false;
  for (long n = 0; !ended; n = next_failure(n, 40, 40)) {
    CHECK(n < 100000);
    tx = lc_tx_begin(ds);
    fail_after = n;
    ended = lc_schema_update(tx, old, new, next_facts(), &err) == LC_OK;
    ended = ended && fail_after >= 0;
    fail_after = -1;
    lc_tx_rollback(tx);
    CHECK(lc_datastore_table_by_name(ds, lc_slice_str("gone")) && !lc_datastore_table_by_name(ds, lc_slice_str("more")));
    check_table((struct lc_read_view){.ds = ds}, &t);
  }
  lc_datastore_free(ds);
  rows_free(&t.rows);
  lc_module_def_free(old);
  lc_module_def_free(new);
}

int main(void) {
  const char *s = getenv("SEED"), *n = getenv("STEPS");
  lc_alloc_may_fail = may_fail;
  seed = s ? strtoul(s, NULL, 0) : 1;
  steps = n ? strtoul(n, NULL, 0) : 30000;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_model), cmocka_unit_test(test_memory), cmocka_unit_test(test_memory_of_migrations)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
