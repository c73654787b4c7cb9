/* SQL text: compiled in each of the three languages by each kind of caller; then whatever compiles is explained, run, searched for the index of queries, or
 * changes rows in a transaction that is rolled back. The first byte says language and caller. */
#include "../unit/def_text.h"
#include "engine/engine.h"
#include "fuzz.h"
#include "sql/sql.h"

static struct lc_datastore *ds;
static struct lc_error err;
static void setup(void) {
  static const struct lc_module_facts facts = {.database = {{1}}, .owner = {{2}}, .program_bytes = {(const uint8_t *)"program", 7}};
  struct lc_module_def *def = def_text("table t\n col id u32 pk\n col n i64 index\n col s string\n col b bool\n col o identity index\n col f f64\n"
                                       "table u\n col id u32 pk\n col t u32 index\n col bytes [u8]\n col at timestamp\n col c (x:i32,y:?string)\n index two btree id,t\n"
                                       "table e event\n col k u32\n col v i256\n"
                                       "table p private\n col k u8 pk\n col kind {A,B,C} index\n"
                                       "rls SELECT * FROM t WHERE o = :sender\n rls SELECT t.* FROM t JOIN u ON t.id = u.t WHERE u.id = 3\n");
  must(lc_datastore_new(&lc_env_system, &ds, &err) == LC_OK);
  struct lc_tx *tx = lc_tx_begin(ds);
  must(lc_schema_create(tx, def, &facts, &err) == LC_OK);
  static const struct { const char *table, *json; } rows[] = {
      {"t", "[1, -5, \"it's\", true, [\"0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"], 1.5]"}, {"t", "[2, 5, \"\", false, [\"0xbb\"], -0.0]"}, {"t", "[3, 6, \"x\", false, [\"0xbb\"], 1e300]"},
      {"u", "[1, 1, \"00ff\", [7], [1, {\"none\": []}]]"}, {"u", "[2, 1, \"\", [-7], [1, {\"some\": \"y\"}]]"}, {"u", "[3, 2, \"61\", [0], [2, {\"none\": []}]]"}, {"p", "[1, {\"B\": []}]"}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct lc_buf row = {0};
    const struct lc_table_info *t = NULL;
    t = lc_datastore_table_by_name(ds, lc_slice_str(rows[i].table));
    if (lc_json_parse_value(lc_slice_str(rows[i].json), t->row_type, NULL, &row, &err) != LC_OK) fprintf(stderr, "%s\n", err.text), abort();
    must(lc_tx_insert(tx, t->table_id, lc_buf_slice(&row), NULL, NULL, &err) == LC_ERRNO_OK);
    lc_buf_free(&row);
  }
  const struct lc_tx_delta *delta;
  lc_tx_commit(tx, &delta);
  lc_tx_delta_release(ds, delta);
  lc_module_def_free(def);
}

struct result { const struct lc_type *type; uint32_t n; };
static bool take_row(void *ctx, struct lc_slice row) {
  struct result *r = ctx;
  struct lc_reader reader = lc_reader(row);
  must(lc_bsatn_validate(r->type, NULL, &reader, &err) == LC_OK && lc_reader_left(&reader) == 0);
  return ++r->n < 10000;
}
static void look(const struct lc_plan *plan, struct lc_read_view view) {
  must(lc_plan_key(plan).len > 0);
  for (uint32_t f = 0; f < lc_plan_n_fragments(plan); f++)
    for (uint32_t r = 0; r < lc_fragment_n_relations(plan, f); r++) {
      struct lc_search search;
      struct lc_edge edge;
      lc_fragment_search(plan, f, r, &search);
      must(search.n_columns <= LC_SEARCH_MAX_COLUMNS && search.n_intervals <= LC_SEARCH_MAX_INTERVALS);
      lc_fragment_edge(plan, f, r, &edge);
    }
  struct lc_buf text = {0};
  lc_plan_explain(plan, view, &text);
  must(text.len > 0);
  lc_buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!ds) setup();
  if (!size || !lc_utf8_valid(data + 1, size - 1)) return 0;
  enum lc_sql_language language = data[0] % 3;
  struct lc_sql_caller caller = {.identity = {{data[0] & 4 ? 0xaa : 2}}, .is_owner = data[0] & 8, .has_all_rights = data[0] & 16};
  struct lc_read_view view = {.ds = ds};
  struct lc_plan *plan = NULL;
  err.text[0] = 0;
  if (lc_sql_compile(view, lc_slice(data + 1, size - 1), language, &caller, &plan, &err) != LC_OK) {
    must(err.text[0]);
    return 0;
  }
  enum lc_sql_kind kind = lc_plan_kind(plan);
  must(language == LC_SQL_STATEMENT || kind == LC_SQL_SELECT || (language == LC_SQL_QUERY && kind == LC_SQL_COUNT));
  if (kind == LC_SQL_SELECT || kind == LC_SQL_COUNT) {
    struct result r = {lc_plan_row_type(plan), 0};
    uint64_t limit;
    look(plan, view);
    lc_plan_estimate(plan, view, &limit);
    must(lc_plan_run(plan, view, take_row, &r, &err) == LC_OK);
    must(kind == LC_SQL_SELECT || r.n <= 1);
  } else {
    struct lc_tx *tx = lc_tx_begin(ds);
    struct lc_dml_counts counts = {0};
    if (lc_plan_change(plan, view, tx, &counts, &err) != LC_OK) must(err.text[0]);
    lc_tx_rollback(tx);
  }
  lc_plan_free(plan);
  return 0;
}
