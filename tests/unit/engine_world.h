/* A datastore with its log, for tests of the engine's rules: a table t of words (def_text.h), commits that are logged, crashes that replay the log into a new
 * datastore, records as text. Includer: after cmocka.h. */
#ifndef LC_ENGINE_WORLD_H
#define LC_ENGINE_WORLD_H
#include "def_text.h"
#include "engine/engine.h"

static struct lc_error err;
static const struct lc_module_facts facts = {.program_bytes = {(const uint8_t *)"program", 7}};
/* n_inserts, n_deletes: of t in the last commit. last: where its record begins. */
struct world { struct lc_datastore *ds; struct lc_buf log; uint32_t n_records; uint32_t t; const struct lc_table_info *info; uint32_t n_inserts, n_deletes; size_t last; };

static void commit_as(struct world *w, struct lc_tx *tx, const struct lc_tx_inputs *inputs) {
  const struct lc_tx_delta *delta;
  lc_tx_commit(tx, &delta);
  w->n_inserts = w->n_deletes = 0;
  w->last = w->log.len;
  for (uint32_t i = 0; i < delta->n_tables; i++)
    if (delta->tables[i].table_id == w->t) {
      w->n_inserts = delta->tables[i].n_inserts;
      w->n_deletes = delta->tables[i].n_deletes;
    }
  if (lc_tx_delta_is_logged(delta, inputs)) {
    lc_tx_record_encode(&w->log, delta, inputs);
    w->n_records++;
  }
  lc_tx_delta_release(w->ds, delta);
}
static void commit(struct world *w, struct lc_tx *tx) {
  static const struct lc_tx_inputs none;
  commit_as(w, tx, &none);
}
static void find_t(struct world *w) {
  if ((w->info = lc_datastore_table_by_name(w->ds, lc_slice_str("t")))) w->t = w->info->table_id;
}
static struct world world_new(const char *text) {
  struct world w = {0};
  struct lc_module_def *def = def_text(text);
  assert_int_equal(lc_datastore_new(&lc_env_system, &w.ds, &err), LC_OK);
  assert_int_equal(lc_datastore_bootstrap_record(w.ds, &w.log), LC_OK);
  w.n_records = 1;
  struct lc_tx *tx = lc_tx_begin(w.ds);
  if (lc_schema_create(tx, def, &facts, &err) != LC_OK) fail_msg("%s", err.text);
  commit(&w, tx);
  find_t(&w);
  lc_module_def_free(def);
  return w;
}
static void crash(struct world *w) {
  size_t used;
  lc_datastore_free(w->ds);
  assert_int_equal(lc_datastore_new(&lc_env_system, &w->ds, &err), LC_OK);
  if (lc_datastore_replay(w->ds, lc_buf_slice(&w->log), w->n_records, &used, &err) != LC_OK) fail_msg("%s", err.text);
  assert_int_equal(used, w->log.len);
  find_t(w);
}
static void world_free(struct world *w) {
  lc_datastore_free(w->ds);
  lc_buf_free(&w->log);
}
static uint64_t count(struct world *w, uint32_t table) { return lc_view_row_count((struct lc_read_view){.ds = w->ds}, table); }
static int insert(struct lc_tx *tx, struct world *w, const void *row, size_t len) { return lc_tx_insert(tx, w->t, lc_slice(row, len), NULL, NULL, &err); }
/* Inserts a row of one u64 (and the u8 x, if there is such a column); what came of the number. */
__attribute__((unused)) static uint64_t insert_id(struct lc_tx *tx, struct world *w, uint64_t id, uint8_t x, int want) {
  uint8_t row[9];
  struct lc_slice stored = {0};
  memcpy(row, &id, 8);
  row[8] = x;
  assert_int_equal(lc_tx_insert(tx, w->t, lc_slice(row, w->info->row_type->static_size_bytes), NULL, &stored, &err), want);
  if (stored.data) memcpy(&id, stored.data, 8);
  return id;
}

/* What a record changes: "+TABLE:ROWS ... -TABLE:ROWS ... !TABLE ...", the last for truncated ones. Inputs are left out. */
__attribute__((unused)) static const char *record_text(struct world *w, size_t from) {
  static char text[1024];
  struct lc_reader r = lc_reader(lc_slice(w->log.data + from, w->log.len - from));
  uint8_t flags = lc_read_u8(&r);
  size_t n = 0;
  assert_true(flags & 0x20);
  if (flags & 0x80) lc_read_raw(&r, lc_read_u32(&r));
  text[0] = 0;
  for (int deletes = 0; deletes < 2; deletes++) {
    uint32_t last = 0;
    for (uint64_t ops = lc_read_varint(&r); ops > 0; ops--) {
      uint32_t id = lc_read_u32(&r);
      uint64_t rows = lc_read_varint(&r);
      const struct lc_table_info *t = lc_datastore_table(w->ds, id);
      assert_true(t && id > last && n < sizeof text / 2); /* ascending */
      last = id;
      n += (size_t)snprintf(text + n, sizeof text - n, "%s%c%u:%llu", n ? " " : "", deletes ? '-' : '+', id, (unsigned long long)rows);
      for (; rows > 0; rows--) assert_int_equal(lc_bsatn_validate(t->row_type, NULL, &r, &err), LC_OK);
    }
  }
  for (uint64_t tables = lc_read_varint(&r); tables > 0 && n < sizeof text / 2; tables--) n += (size_t)snprintf(text + n, sizeof text - n, "%s!%u", n ? " " : "", lc_read_u32(&r));
  assert_false(r.failed);
  return text;
}
/* The text of the last commit's record; "": it had none. */
__attribute__((unused)) static const char *last_record(struct world *w) { return w->last == w->log.len ? "" : record_text(w, w->last); }
#endif
