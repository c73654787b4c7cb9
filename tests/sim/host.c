/* The face of host/ with a native module behind it: a program is the text of a schema (tests/unit/def_text.h), its reducers are `work`, which does what chance from its
 * argument says, and `tick`, which scheduled rows call. What they did is kept in sim_changes for the model of world.c. Everything above the host is the real thing. */
#include "sim.h"
#include "../unit/def_text.h"

struct lc_module { unsigned refs; struct lc_module_def *def; struct lc_hash hash; };
struct lc_instance { struct lc_host_env *env; };
struct sim_changes sim_changes;

void sim_changes_clear(struct sim_changes *c) {
  for (uint32_t i = 0; i < c->n; i++) lc_buf_free(&c->list[i].row);
  free(c->list);
  *c = (struct sim_changes){0};
}
bool sim_changes_add(struct sim_changes *c, uint32_t table, bool insert, struct lc_slice row) {
  if (c->n == c->cap && !(c->list = realloc(c->list, sizeof *c->list * (c->cap = c->cap ? c->cap * 2 : 8)))) abort();
  struct sim_change *x = &c->list[c->n++];
  *x = (struct sim_change){.table = table, .insert = insert};
  lc_buf_slice_append(&x->row, row);
  return lc_buf_ok(&x->row);
}

enum lc_status lc_module_load(struct lc_slice program, uint8_t kind, const struct lc_host_limits *limits, const struct lc_host_env *env, struct lc_module **out, struct lc_error *err) {
  (void)kind; (void)limits; (void)env; (void)err;
  struct lc_module *m = calloc(1, sizeof *m);
  char *text = lc_strdup_n(program.data, program.len);
  m->refs = 1;
  m->def = def_text(text);
  lc_free(text);
  lc_keccak256(program, m->hash.bytes);
  struct lc_arena *a = &m->def->arena;
  struct lc_function_def *f = lc_arena_alloc_zero(a, 2, sizeof *f);
  struct lc_type_field seed = {.name = lc_slice_str("seed"), .has_name = true, .type = lc_type_primitive(LC_T_U64)};
  f[0] = (struct lc_function_def){.name = lc_slice_str("work"), .accessor = lc_slice_str("work"), .typespace = &m->def->typespace, .params = lc_type_new_product(a, 1, &seed)};
  f[0].canonical_params = f[0].params;
  m->def->n_reducers = 1;
  for (uint32_t i = 0; i < m->def->n_tables; i++) {
    if (!m->def->tables[i].has_schedule) continue;
    struct lc_type_field row = {.name = lc_slice_str("row"), .has_name = true, .type = m->def->tables[i].row_type};
    f[1] = (struct lc_function_def){.name = lc_slice_str("tick"), .accessor = lc_slice_str("tick"), .typespace = &m->def->typespace, .params = lc_type_new_product(a, 1, &row), .is_private = true};
    f[1].canonical_params = f[1].params;
    m->def->n_reducers = 2;
  }
  m->def->reducers = f;
  *out = m;
  return LC_OK;
}
struct lc_module *lc_module_ref(struct lc_module *m) { m->refs++; return m; }
void lc_module_unref(struct lc_module *m) {
  if (!m || --m->refs) return;
  lc_module_def_free(m->def);
  free(m);
}
const struct lc_module_def *lc_module_definition(const struct lc_module *m) { return m->def; }
const struct lc_hash *lc_module_hash(const struct lc_module *m) { return &m->hash; }
enum lc_status lc_instance_new(struct lc_module *m, struct lc_host_env *env, struct lc_instance **out, struct lc_error *err) {
  (void)m; (void)err;
  *out = calloc(1, sizeof **out);
  (*out)->env = env;
  return LC_OK;
}
void lc_instance_free(struct lc_instance *i) { free(i); }
uint64_t lc_instance_memory_bytes(const struct lc_instance *i) { return (void)i, 0; }
void lc_instance_interrupt(struct lc_instance *i, const char *reason) { (void)i; (void)reason; }

/* ---- the module ---- */

static uint64_t state;
static uint64_t chance(uint64_t n) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (state >> 11) % n;
}
struct tables { const struct lc_table_info *list[16]; uint32_t n; };
static void on_table(void *ctx, const struct lc_table_info *t) {
  struct tables *all = ctx;
  if (!t->is_system && all->n < 16) all->list[all->n++] = t;
}
static void value(const struct lc_type *t, struct lc_buf *out) {
  switch (t->kind) {
  case LC_T_BOOL: lc_buf_u8(out, (uint8_t)chance(2)); break;
  case LC_T_STRING: {
    uint32_t n = (uint32_t)(chance(30) == 0 ? 500 + chance(9000) : chance(12));
    lc_buf_u32(out, n);
    while (n--) lc_buf_u8(out, (uint8_t)('a' + chance(26)));
    break;
  }
  case LC_T_ARRAY: {
    uint32_t n = (uint32_t)chance(4);
    lc_buf_u32(out, n);
    while (n--) value(t->elem, out);
    break;
  }
  case LC_T_PRODUCT:
    for (uint32_t i = 0; i < t->n_fields; i++) value(t->fields[i].type, out);
    break;
  case LC_T_SUM: {
    uint32_t tag = (uint32_t)chance(t->n_fields);
    lc_buf_u8(out, (uint8_t)tag);
    value(t->fields[tag].type, out);
    break;
  }
  default: { /* small numbers, so that keys meet */
    uint64_t v = chance(60);
    for (uint32_t i = 0; i < t->static_size_bytes; i++, v >>= 8) lc_buf_u8(out, (uint8_t)v);
  }
  }
}
/* A row; the auto-increment column, the first, is zero. Of a scheduled table: due soon. */
static void random_row(const struct lc_table_info *t, bool is_auto, int64_t now_us, struct lc_buf *out) {
  lc_buf_clear(out);
  if (t->has_schedule) {
    lc_buf_u64(out, 0);
    bool once = chance(4) != 0;
    static const uint64_t intervals_us[] = {5000, 20000, 60000}; /* few, so that a row becomes again what it was */
    lc_buf_u8(out, once);
    lc_buf_u64(out, once ? (uint64_t)now_us + chance(50000) : intervals_us[chance(3)]);
    return;
  }
  value(t->row_type, out);
  if (is_auto) memset(out->data, 0, 8);
}
static bool pick(struct lc_tx *tx, uint32_t table_id, struct lc_buf *out) {
  uint64_t n;
  struct lc_row_iter *it;
  if (lc_tx_row_count(tx, table_id, &n) != LC_ERRNO_OK || n == 0 || lc_tx_scan(tx, table_id, &it) != LC_ERRNO_OK) return false;
  uint64_t k = chance(n);
  struct lc_slice row = {0};
  for (uint64_t i = 0; i <= k; i++) row = lc_row_iter_next(it);
  lc_buf_clear(out);
  lc_buf_slice_append(out, row);
  lc_row_iter_close(it);
  return row.data != NULL;
}
static const struct lc_index_info *primary(const struct lc_table_info *t) {
  for (uint32_t i = 0; i < t->n_indexes; i++)
    if (t->indexes[i].is_unique && t->indexes[i].n_columns == 1 && t->indexes[i].columns[0] == 0 && t->primary_key == 0) return &t->indexes[i];
  return NULL;
}
static void step(struct lc_tx *tx, const struct lc_table_info *t, int64_t now_us) {
  struct lc_buf row = {0}, old = {0}, generated = {0};
  struct lc_slice stored;
  struct lc_error err;
  bool is_auto = lc_slice_eq_str(t->row_type->fields[0].name, "auto_id"), found = false;
  const struct lc_index_info *key = primary(t);
  uint64_t what = chance(10), count;
  lc_tx_row_count(tx, t->table_id, &count);
  if (what < 5 && count < 60) {
    random_row(t, is_auto, now_us, &row);
    int rc = lc_tx_insert(tx, t->table_id, lc_buf_slice(&row), &generated, &stored, &err);
    if (rc != LC_ERRNO_OK && rc != LC_ERRNO_UNIQUE_EXISTS) sim_fail("insert: %d %s", rc, err.text);
    if (rc == LC_ERRNO_OK) {
      sim_changes_add(&sim_changes, t->table_id, true, stored);
      uint64_t id;
      if (generated.len == 8) memcpy(&id, generated.data, 8), sim_check_generated(t->table_id, id);
    }
  } else if (what < 8 && key && pick(tx, t->table_id, &old)) {
    random_row(t, is_auto, now_us, &row);
    memcpy(row.data, old.data, key->key_type->static_size_bytes);
    int rc = lc_tx_update(tx, t->table_id, key->index_id, lc_buf_slice(&row), NULL, &stored, &err);
    if (rc != LC_ERRNO_OK && rc != LC_ERRNO_UNIQUE_EXISTS) sim_fail("update: %d %s", rc, err.text);
    if (rc == LC_ERRNO_OK) {
      sim_changes_add(&sim_changes, t->table_id, false, lc_buf_slice(&old));
      sim_changes_add(&sim_changes, t->table_id, true, stored);
    }
  } else if (pick(tx, t->table_id, &old)) {
    int rc = lc_tx_delete_row(tx, t->table_id, lc_buf_slice(&old), &found, &err);
    if (rc != LC_ERRNO_OK || !found) sim_fail("delete: %d %d %s", rc, found, err.text);
    sim_changes_add(&sim_changes, t->table_id, false, lc_buf_slice(&old));
  }
  lc_buf_free(&row);
  lc_buf_free(&old);
  lc_buf_free(&generated);
}

void lc_instance_call_reducer(struct lc_instance *inst, const struct lc_call_args *call, struct lc_call_result *out) {
  struct tables all = {.n = 0};
  *out = (struct lc_call_result){.status = LC_CALL_OK};
  sim_changes_clear(&sim_changes);
  lc_datastore_each_table(inst->env->ds, on_table, &all);
  if (call->id == 1) { /* tick: a row that was due once goes with the transaction */
    state = lc_hash64(call->args.data, call->args.len, 1) | 1;
    for (uint32_t i = 0; i < all.n; i++)
      if (all.list[i]->has_schedule) {
        sim_check_tick(all.list[i]->table_id, call->args, call->timestamp_us);
        if (call->args.data[8] == 1) sim_changes_add(&sim_changes, all.list[i]->table_id, false, call->args);
      }
    step(inst->env->tx, all.list[0], call->timestamp_us);
    return;
  }
  memcpy(&state, call->args.data, 8);
  state |= 1;
  for (uint64_t n = chance(6); n--;) step(inst->env->tx, all.list[chance(all.n)], call->timestamp_us);
  if (chance(6)) return;
  sim_reached[SIM_ROLLED_BACK]++;
  sim_changes_clear(&sim_changes);
  out->status = LC_CALL_USER_ERROR;
  out->message = lc_slice_str("no");
}

/* What this module does not have. */
static void never(struct lc_call_result *out) { *out = (struct lc_call_result){.status = LC_CALL_FATAL}; }
void lc_instance_call_procedure(struct lc_instance *i, const struct lc_call_args *c, struct lc_buf *r, struct lc_call_result *out) { (void)i; (void)c; (void)r; never(out); }
void lc_instance_call_view(struct lc_instance *i, const struct lc_call_args *c, enum lc_view_result *k, struct lc_buf *r, struct lc_call_result *out) { (void)i; (void)c; (void)k; (void)r; never(out); }
void lc_instance_call_view_anon(struct lc_instance *i, const struct lc_call_args *c, enum lc_view_result *k, struct lc_buf *r, struct lc_call_result *out) { lc_instance_call_view(i, c, k, r, out); }
void lc_instance_call_http_handler(struct lc_instance *i, const struct lc_call_args *c, struct lc_slice j, struct lc_slice b, struct lc_buf *r, struct lc_buf *rb, struct lc_call_result *out) {
  (void)i; (void)c; (void)j; (void)b; (void)r; (void)rb;
  never(out);
}
