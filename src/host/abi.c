/* Every ABI call: spec/02 §4 (checks and their order), §5 (semantics), §6 (errnos), spec/07 §3.2.
 *
 * Order of checks: handles first, then input pointers (which trap), then what the call needs, out pointers last and only on success.
 * Callers: the binding's trampolines, through abi_functions.
 */
#include "abi.h"
#include "abi_table.h"
#include <stdio.h>

enum { MAX_HANDLES = 1 << 16 /* of iterators, of sources, of timers in a call */ };

static bool trap(struct guest *g, const char *text) {
  lc_fail(&g->err, LC_TRAP, "%s", text);
  return false;
}
static bool done(union abi_value *v, int32_t code) {
  v[0].i32 = code;
  return true;
}

/* ---- guest memory ---- */

static uint8_t *range_slow(struct guest *g, uint32_t at, uint32_t len) {
  if (at == 0) return trap(g, "null pointer passed to a spacetime function"), NULL;
  g->refresh(g);
  if ((uint64_t)at + len > g->memory_len) return trap(g, "out of bounds pointer passed to a spacetime function"), NULL;
  return g->memory + at;
}
static inline uint8_t *range(struct guest *g, uint32_t at, uint32_t len) {
  if (__builtin_expect(at != 0 && (uint64_t)at + len <= g->memory_len, 1)) return g->memory + at;
  return range_slow(g, at, len);
}
static bool get_slice(struct guest *g, uint32_t at, uint32_t len, struct lc_slice *out) {
  const uint8_t *p = range(g, at, len);
  *out = lc_slice(p, len);
  return p != NULL;
}
static bool get_text(struct guest *g, uint32_t at, uint32_t len, struct lc_slice *out) {
  if (!get_slice(g, at, len, out)) return false;
  return lc_utf8_valid(out->data, out->len) || trap(g, "invalid utf8 passed to a spacetime function");
}
static bool put(struct guest *g, uint32_t at, const void *data, uint32_t len) {
  uint8_t *p = range(g, at, len);
  if (!p) return false;
  memcpy(p, data, len);
  return true;
}
static bool put_u32(struct guest *g, uint32_t at, uint32_t value) { return put(g, at, &value, 4); }
static bool get_u32(struct guest *g, uint32_t at, uint32_t *value) {
  const uint8_t *p = range(g, at, 4);
  if (p) memcpy(value, p, 4);
  return p != NULL;
}

static inline struct lc_tx *current_tx(struct guest *g) { return g->own_tx ? g->own_tx : g->env->tx; }

/* Errno of the engine as the call's result, or a trap. */
static bool finish(struct guest *g, union abi_value *v, int rc) { return rc == LC_ERRNO_TRAP ? false : ((void)g, done(v, rc)); }

/* ---- handles ---- */

/* A free slot for a source; NULL: out of memory, or too many. */
static struct abi_source *new_source(struct guest *g) {
  uint32_t at = g->free_source;
  while (at < g->n_sources && g->sources[at].open) at++;
  g->free_source = at;
  if (at == MAX_HANDLES) return NULL; /* a guest that never reads what it asks for */
  if (at == g->cap_sources) {
    uint32_t cap = g->cap_sources ? g->cap_sources * 2 : 4;
    struct abi_source *p = lc_realloc(g->sources, cap * sizeof *p);
    if (!p) return NULL;
    memset(p + g->cap_sources, 0, (cap - g->cap_sources) * sizeof *p);
    g->sources = p;
    g->cap_sources = cap;
  }
  if (at == g->n_sources) g->n_sources++;
  return &g->sources[at];
}
uint32_t guest_source_borrowed(struct guest *g, struct lc_slice bytes) {
  struct abi_source *s = bytes.len ? new_source(g) : NULL;
  if (!s) return 0;
  s->data = bytes.data;
  s->len = bytes.len;
  s->at = 0;
  s->open = true;
  return s->id = ++g->next_source;
}
uint32_t guest_source(struct guest *g, struct lc_slice bytes) {
  struct abi_source *s = bytes.len ? new_source(g) : NULL;
  if (!s) return 0;
  lc_buf_clear(&s->own);
  lc_buf_slice_append(&s->own, bytes);
  return lc_buf_ok(&s->own) ? guest_source_borrowed(g, lc_buf_slice(&s->own)) : 0; /* takes the same slot */
}

static struct abi_source *find_source(struct guest *g, uint32_t id) {
  for (uint32_t i = 0; i < g->n_sources; i++)
    if (g->sources[i].open && g->sources[i].id == id) return &g->sources[i];
  return NULL;
}

struct lc_slice guest_take_source(struct guest *g, uint32_t id) {
  struct abi_source *s = find_source(g, id);
  if (!s) return lc_slice(NULL, 0);
  s->open = false;
  if (s - g->sources < g->free_source) g->free_source = (uint32_t)(s - g->sources);
  return lc_slice(s->data + s->at, s->len - s->at);
}

uint32_t guest_sink(struct guest *g) {
  if (g->n_sinks == g->cap_sinks) {
    uint32_t cap = g->cap_sinks ? g->cap_sinks * 2 : 4;
    struct abi_sink *p = lc_realloc(g->sinks, cap * sizeof *p);
    if (!p) return 0;
    memset(p + g->cap_sinks, 0, (cap - g->cap_sinks) * sizeof *p);
    g->sinks = p;
    g->cap_sinks = cap;
  }
  struct abi_sink *s = &g->sinks[g->n_sinks++];
  lc_buf_clear(&s->bytes);
  return s->id = ++g->next_sink;
}

static struct abi_sink *find_sink(const struct guest *g, uint32_t id) {
  for (uint32_t i = 0; i < g->n_sinks; i++)
    if (g->sinks[i].id == id) return &g->sinks[i];
  return NULL;
}

struct lc_slice guest_sink_bytes(const struct guest *g, uint32_t id) {
  struct abi_sink *s = find_sink(g, id);
  return s ? lc_buf_slice(&s->bytes) : lc_slice(NULL, 0);
}

static struct abi_iter *find_iter(struct guest *g, uint32_t id) {
  return id == 0 || id > g->n_iters || !g->iters[id - 1].rows ? NULL : &g->iters[id - 1];
}

static void end_iter(struct guest *g, struct abi_iter *it) {
  uint32_t at = (uint32_t)(it - g->iters);
  lc_row_iter_close(it->rows);
  it->rows = NULL;
  if (at < g->free_iter) g->free_iter = at;
}

/* Hands an engine iterator to the guest. */
static bool give_iter(struct guest *g, union abi_value *v, struct lc_row_iter *rows, uint32_t out) {
  uint32_t at = g->free_iter;
  while (at < g->n_iters && g->iters[at].rows) at++;
  g->free_iter = at;
  if (at == MAX_HANDLES) return lc_row_iter_close(rows), trap(g, "too many open row iterators");
  if (at == g->cap_iters) {
    uint32_t cap = g->cap_iters ? g->cap_iters * 2 : 4;
    struct abi_iter *p = lc_realloc(g->iters, cap * sizeof *p);
    if (!p) return lc_row_iter_close(rows), trap(g, "out of memory");
    g->iters = p;
    g->cap_iters = cap;
  }
  if (at == g->n_iters) g->n_iters++;
  g->iters[at] = (struct abi_iter){rows, lc_row_iter_next(rows)};
  if (put_u32(g, out, at + 1)) return done(v, LC_ERRNO_OK);
  end_iter(g, &g->iters[at]);
  return false;
}

void guest_end_call(struct guest *g, bool restart) {
  enum { keep_bytes = 64 << 10 };
  for (uint32_t i = 0; i < g->n_iters; i++) {
    lc_row_iter_close(g->iters[i].rows);
    g->iters[i].rows = NULL;
  }
  for (uint32_t i = 0; i < g->n_sources; i++) {
    g->sources[i].open = false;
    if (g->sources[i].own.cap > keep_bytes) lc_buf_free(&g->sources[i].own);
  }
  for (uint32_t i = 0; i < g->n_sinks; i++)
    if (g->sinks[i].bytes.cap > keep_bytes) lc_buf_free(&g->sinks[i].bytes);
  for (uint32_t i = 0; i < g->n_timers; i++) lc_free(g->timers[i].name);
  g->n_sources = g->n_sinks = g->n_iters = g->n_timers = g->free_source = g->free_iter = 0;
  if (restart) g->next_source = g->next_sink = 0;
}

void guest_free(struct guest *g) {
  guest_end_call(g, true);
  for (uint32_t i = 0; i < g->cap_sources; i++) lc_buf_free(&g->sources[i].own);
  for (uint32_t i = 0; i < g->cap_sinks; i++) lc_buf_free(&g->sinks[i].bytes);
  lc_free(g->sources);
  lc_free(g->sinks);
  lc_free(g->iters);
  lc_free(g->timers);
  lc_buf_free(&g->generated);
  lc_buf_free(&g->text);
}

/* ---- names, counts, scans ---- */

/* The environment is read through env_get only (spec/07 §7.6). */
enum { ST_ENV_KEY_INDEX = 30 };

/* The transaction of a call whose first parameter is a table (an index); NULL: the call's result is set. */
static inline struct lc_tx *tx_of_table(struct guest *g, union abi_value *v) {
  struct lc_tx *tx = current_tx(g);
  if (__builtin_expect(tx && v[0].u32 != LC_ST_ENV, 1)) return tx;
  done(v, tx ? LC_ERRNO_NO_SUCH_TABLE : LC_ERRNO_NOT_IN_TRANSACTION);
  return NULL;
}
static inline struct lc_tx *tx_of_index(struct guest *g, union abi_value *v) {
  struct lc_tx *tx = current_tx(g);
  if (__builtin_expect(tx && v[0].u32 != ST_ENV_KEY_INDEX, 1)) return tx;
  done(v, tx ? LC_ERRNO_NO_SUCH_INDEX : LC_ERRNO_NOT_IN_TRANSACTION);
  return NULL;
}

/* The same for calls that write: a view does not, and what describes the database or is a view's result is not written by modules. NULL: the call is over, with
 * *ok as its return. */
static inline struct lc_tx *may_write(struct guest *g, union abi_value *v, struct lc_tx *tx, const struct lc_table_info *t, bool *ok) {
  if (__builtin_expect(!g->env->reads && !(t && (t->table_id < LC_FIRST_USER_ID || t->view)), 1)) return tx;
  if (g->env->reads) done(v, LC_ERRNO_TX_READ_ONLY);
  else *ok = trap(g, t->view ? "modules cannot change the rows of views" : "modules cannot change system tables");
  return NULL;
}
/* *t: the table; NULL: there is none, which the engine will say. */
static inline struct lc_tx *writing_tx_of_table(struct guest *g, union abi_value *v, const struct lc_table_info **t, bool *ok) {
  struct lc_tx *tx = tx_of_table(g, v);
  *ok = true;
  *t = tx ? lc_datastore_table(g->env->ds, v[0].u32) : NULL;
  return tx ? may_write(g, v, tx, *t, ok) : NULL;
}
static inline struct lc_tx *writing_tx_of_index(struct guest *g, union abi_value *v, bool *ok) {
  struct lc_tx *tx = tx_of_index(g, v);
  const struct lc_index_info *x = tx ? lc_datastore_index(g->env->ds, v[0].u32) : NULL;
  *ok = true;
  return tx ? may_write(g, v, tx, x ? lc_datastore_table(g->env->ds, x->table_id) : NULL, ok) : NULL;
}

static bool call_table_id(struct guest *g, union abi_value *v) {
  struct lc_slice name;
  if (!get_text(g, v[0].u32, v[1].u32, &name)) return false;
  if (!current_tx(g)) return done(v, LC_ERRNO_NOT_IN_TRANSACTION);
  const struct lc_table_info *t = lc_datastore_table_by_name(g->env->ds, name);
  if (!t || t->table_id == LC_ST_ENV) return done(v, LC_ERRNO_NO_SUCH_TABLE);
  return put_u32(g, v[2].u32, t->table_id) && done(v, LC_ERRNO_OK);
}
static bool call_index_id(struct guest *g, union abi_value *v) {
  struct lc_slice name;
  if (!get_text(g, v[0].u32, v[1].u32, &name)) return false;
  if (!current_tx(g)) return done(v, LC_ERRNO_NOT_IN_TRANSACTION);
  const struct lc_index_info *x = lc_datastore_index_by_name(g->env->ds, name);
  if (!x || x->index_id == ST_ENV_KEY_INDEX) return done(v, LC_ERRNO_NO_SUCH_INDEX);
  return put_u32(g, v[2].u32, x->index_id) && done(v, LC_ERRNO_OK);
}
/* Tells whoever records what a view depends on. */
static void reads_table(struct guest *g, uint32_t table_id) {
  if (g->env->reads) g->env->reads(g->env->reads_ctx, table_id, 0, lc_slice(NULL, 0));
}
static void reads_key(struct guest *g, uint32_t index_id, struct lc_slice key) {
  const struct lc_index_info *x = g->env->reads ? lc_datastore_index(g->env->ds, index_id) : NULL;
  if (x) g->env->reads(g->env->reads_ctx, x->table_id, index_id, key);
}
static bool call_row_count(struct guest *g, union abi_value *v) {
  uint64_t n;
  struct lc_tx *tx = tx_of_table(g, v);
  if (!tx) return true;
  int rc = lc_tx_row_count(tx, v[0].u32, &n);
  if (rc == LC_ERRNO_OK) reads_table(g, v[0].u32);
  if (rc == LC_ERRNO_OK && !put(g, v[1].u32, &n, 8)) return false;
  return finish(g, v, rc);
}
static bool call_scan(struct guest *g, union abi_value *v) {
  struct lc_row_iter *rows;
  struct lc_tx *tx = tx_of_table(g, v);
  if (!tx) return true;
  int rc = lc_tx_scan(tx, v[0].u32, &rows);
  if (rc == LC_ERRNO_OK) reads_table(g, v[0].u32);
  return rc == LC_ERRNO_OK ? give_iter(g, v, rows, v[1].u32) : finish(g, v, rc);
}
struct range_args { struct lc_slice prefix, start, end; uint32_t prefix_elems; };
/* A range that is one point of all columns counts as that, any other as the whole table. */
static void reads_range(struct guest *g, uint32_t index_id, const struct range_args *a) {
  const struct lc_index_info *x = g->env->reads ? lc_datastore_index(g->env->ds, index_id) : NULL;
  if (!x) return;
  bool is_point = a->prefix_elems + 1 == x->n_columns && a->start.len > 1 && a->start.data[0] == 0 && lc_slice_eq(a->start, a->end);
  struct lc_buf key = {0};
  if (a->prefix_elems) lc_buf_slice_append(&key, a->prefix);
  if (is_point) lc_buf_append(&key, a->start.data + 1, a->start.len - 1);
  if (is_point && lc_buf_ok(&key)) g->env->reads(g->env->reads_ctx, x->table_id, index_id, lc_buf_slice(&key));
  else reads_table(g, x->table_id);
  lc_buf_free(&key);
}
/* Parameters of the range calls: index, prefix p n, prefix_elems, rstart p n, rend p n. */
static bool get_range(struct guest *g, const union abi_value *v, struct range_args *a) {
  if (v[3].u32 > UINT16_MAX) return trap(g, "prefix_elems does not fit in u16");
  a->prefix_elems = v[3].u32;
  a->prefix = a->end = lc_slice(NULL, 0);
  /* an empty prefix or end may come with any pointer that is not NULL or outside */
  return (a->prefix_elems == 0 || get_slice(g, v[1].u32, v[2].u32, &a->prefix)) && get_slice(g, v[4].u32, v[5].u32, &a->start) && get_slice(g, v[6].u32, v[7].u32, &a->end);
}
static bool call_scan_range(struct guest *g, union abi_value *v) {
  struct lc_row_iter *rows;
  struct range_args a;
  if (!get_range(g, v, &a)) return false;
  struct lc_tx *tx = tx_of_index(g, v);
  if (!tx) return true;
  int rc = lc_tx_scan_range(tx, v[0].u32, a.prefix, a.prefix_elems, a.start, a.end, &rows, &g->err);
  if (rc == LC_ERRNO_OK) reads_range(g, v[0].u32, &a);
  return rc == LC_ERRNO_OK ? give_iter(g, v, rows, v[8].u32) : finish(g, v, rc);
}
static bool call_delete_range(struct guest *g, union abi_value *v) {
  struct range_args a;
  uint32_t n;
  if (!get_range(g, v, &a)) return false;
  bool ok;
  struct lc_tx *tx = writing_tx_of_index(g, v, &ok);
  if (!tx) return ok;
  int rc = lc_tx_delete_range(tx, v[0].u32, a.prefix, a.prefix_elems, a.start, a.end, &n, &g->err);
  if (rc == LC_ERRNO_OK && !put_u32(g, v[8].u32, n)) return false;
  return finish(g, v, rc);
}
static bool call_scan_point(struct guest *g, union abi_value *v) {
  struct lc_row_iter *rows;
  struct lc_slice key;
  if (!get_slice(g, v[1].u32, v[2].u32, &key)) return false;
  struct lc_tx *tx = tx_of_index(g, v);
  if (!tx) return true;
  int rc = lc_tx_scan_point(tx, v[0].u32, key, &rows, &g->err);
  if (rc == LC_ERRNO_OK) reads_key(g, v[0].u32, key);
  return rc == LC_ERRNO_OK ? give_iter(g, v, rows, v[3].u32) : finish(g, v, rc);
}
static bool call_delete_point(struct guest *g, union abi_value *v) {
  struct lc_slice key;
  uint32_t n;
  if (!get_slice(g, v[1].u32, v[2].u32, &key)) return false;
  bool ok;
  struct lc_tx *tx = writing_tx_of_index(g, v, &ok);
  if (!tx) return ok;
  int rc = lc_tx_delete_point(tx, v[0].u32, key, &n, &g->err);
  if (rc == LC_ERRNO_OK && !put_u32(g, v[3].u32, n)) return false;
  return finish(g, v, rc);
}
static bool call_delete_all_by_eq(struct guest *g, union abi_value *v) {
  struct lc_slice relation;
  uint32_t n;
  if (!get_slice(g, v[1].u32, v[2].u32, &relation)) return false;
  bool ok;
  const struct lc_table_info *t;
  struct lc_tx *tx = writing_tx_of_table(g, v, &t, &ok);
  if (!tx) return ok;
  int rc = lc_tx_delete_all_by_eq(tx, v[0].u32, relation, &n, &g->err);
  if (rc == LC_ERRNO_OK && !put_u32(g, v[3].u32, n)) return false;
  return finish(g, v, rc);
}
static bool call_clear(struct guest *g, union abi_value *v) {
  uint64_t n;
  bool ok;
  const struct lc_table_info *t;
  struct lc_tx *tx = writing_tx_of_table(g, v, &t, &ok);
  if (!tx) return ok;
  int rc = lc_tx_clear(tx, v[0].u32, &n, &g->err);
  if (rc == LC_ERRNO_OK && !put(g, v[1].u32, &n, 8)) return false;
  return finish(g, v, rc);
}

/* Whole rows into the guest's buffer (spec/02 §5.2). */
static bool call_iter_advance(struct guest *g, union abi_value *v) {
  struct abi_iter *it = find_iter(g, v[0].u32);
  uint32_t capacity, used = 0;
  if (!it) return done(v, LC_ERRNO_NO_SUCH_ITER);
  if (!get_u32(g, v[2].u32, &capacity)) return false;
  uint8_t *out = range(g, v[1].u32, capacity);
  if (!out) return false;
  while (it->next.data && it->next.len <= capacity - used) {
    if (it->next.len) memcpy(out + used, it->next.data, it->next.len);
    used += (uint32_t)it->next.len;
    it->next = lc_row_iter_next(it->rows);
  }
  if (it->next.data && used == 0) return put_u32(g, v[2].u32, (uint32_t)it->next.len) && done(v, LC_ERRNO_BUFFER_TOO_SMALL);
  if (!put_u32(g, v[2].u32, used)) return false;
  if (it->next.data) return done(v, LC_ERRNO_OK);
  end_iter(g, it);
  return done(v, -1);
}
static bool call_iter_close(struct guest *g, union abi_value *v) {
  struct abi_iter *it = find_iter(g, v[0].u32);
  if (!it) return done(v, LC_ERRNO_NO_SUCH_ITER);
  end_iter(g, it);
  return done(v, LC_ERRNO_OK);
}

/* ---- insert and update: generated columns go back into the guest's row buffer ---- */

static bool store_row(struct guest *g, union abi_value *v, bool update) {
  uint32_t row_at = v[update ? 2 : 1].u32, len_at = v[update ? 3 : 2].u32;
  uint32_t len, table = v[0].u32;
  struct lc_slice row, stored = {0};
  if (!get_u32(g, len_at, &len) || !get_slice(g, row_at, len, &row)) return false;
  bool ok;
  const struct lc_table_info *t;
  struct lc_tx *tx = writing_tx_of_table(g, v, &t, &ok);
  if (!tx) return ok;
  lc_buf_clear(&g->generated);
  int rc = update ? lc_tx_update(tx, table, v[1].u32, row, &g->generated, &stored, &g->err) : lc_tx_insert(tx, table, row, &g->generated, &stored, &g->err);
  if (rc != LC_ERRNO_OK) return finish(g, v, rc);
  if (!lc_buf_ok(&g->generated)) return trap(g, "out of memory");
  if (t->has_schedule && g->env->schedule_row) rc = g->env->schedule_row(g->env->ctx, table, stored);
  if (rc != LC_ERRNO_OK) return finish(g, v, rc); /* the row stays, the guest's buffer is as it was (spec/02 §5.4) */
  if ((g->generated.len && !put(g, row_at, g->generated.data, (uint32_t)g->generated.len)) || !put_u32(g, len_at, (uint32_t)g->generated.len)) return false;
  return done(v, rc);
}
static bool call_insert(struct guest *g, union abi_value *v) { return store_row(g, v, false); }
static bool call_update(struct guest *g, union abi_value *v) { return store_row(g, v, true); }

/* ---- bytes ---- */

static bool call_source_read(struct guest *g, union abi_value *v) {
  struct abi_source *s = find_source(g, v[0].u32);
  uint32_t capacity;
  if (!s) return done(v, LC_ERRNO_NO_SUCH_BYTES);
  if (!get_u32(g, v[2].u32, &capacity)) return false;
  uint8_t *out = range(g, v[1].u32, capacity);
  if (!out) return false;
  size_t left = s->len - s->at, n = left < capacity ? left : capacity;
  if (n) memcpy(out, s->data + s->at, n);
  s->at += n;
  if (!put_u32(g, v[2].u32, (uint32_t)n)) return false;
  if (s->at < s->len) return done(v, LC_ERRNO_OK);
  s->open = false;
  if (s - g->sources < g->free_source) g->free_source = (uint32_t)(s - g->sources);
  return done(v, -1);
}
static bool call_source_left(struct guest *g, union abi_value *v) {
  struct abi_source *s = find_source(g, v[0].u32);
  if (!s) return done(v, LC_ERRNO_NO_SUCH_BYTES);
  return put_u32(g, v[1].u32, (uint32_t)(s->len - s->at)) && done(v, LC_ERRNO_OK);
}
static bool call_sink_write(struct guest *g, union abi_value *v) {
  enum { limit_bytes = 256 << 20 };
  struct abi_sink *s = find_sink(g, v[0].u32);
  struct lc_slice data;
  uint32_t len;
  if (!s) return done(v, LC_ERRNO_NO_SUCH_BYTES);
  if (!get_u32(g, v[2].u32, &len) || !get_slice(g, v[1].u32, len, &data)) return false;
  if (s->bytes.len + len > limit_bytes) return done(v, LC_ERRNO_NO_SPACE);
  lc_buf_slice_append(&s->bytes, data);
  return lc_buf_ok(&s->bytes) ? done(v, LC_ERRNO_OK) : trap(g, "out of memory");
}

/* ---- console ---- */

/* Length of the well-formed sequence at p, or minus the length of the malformed part that one U+FFFD replaces. */
static int sequence(const uint8_t *p, size_t left) {
  uint8_t c = p[0];
  if (c < 0x80) return 1;
  int more = c >= 0xc2 && c <= 0xdf ? 1 : (c & 0xf0) == 0xe0 ? 2 : c >= 0xf0 && c <= 0xf4 ? 3 : 0;
  uint8_t low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80, high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
  for (int i = 1; i <= more; i++, low = 0x80, high = 0xbf)
    if ((size_t)i >= left || p[i] < low || p[i] > high) return -i;
  return more ? more + 1 : -1;
}
void guest_put_lossy(struct lc_buf *out, struct lc_slice text) {
  if (lc_utf8_valid(text.data, text.len)) {
    lc_buf_slice_append(out, text);
    return;
  }
  for (size_t i = 0; i < text.len;) {
    int n = sequence(text.data + i, text.len - i);
    if (n > 0) lc_buf_append(out, text.data + i, (size_t)n);
    else lc_buf_str(out, "\xef\xbf\xbd");
    i += (size_t)(n > 0 ? n : -n);
  }
}

enum { MAX_LOG_TEXT_BYTES = 1 << 20 /* of each text of a record; what is longer loses its end */ };

/* Text of the guest, repaired, in g->text (which has room); absent for NULL or out of bounds. */
static struct lc_slice lossy(struct guest *g, uint32_t p, uint32_t n) {
  if (p == 0 || (uint64_t)p + n > g->memory_len) return lc_slice(NULL, 0);
  if (n > MAX_LOG_TEXT_BYTES) n = MAX_LOG_TEXT_BYTES;
  struct lc_slice s = lc_slice(g->memory + p, n);
  if (lc_utf8_valid(s.data, s.len)) return s;
  size_t start = g->text.len;
  guest_put_lossy(&g->text, s);
  return lc_slice(g->text.data + start, g->text.len - start);
}

/* frames: two texts with their NULs each. */
static void log_with_frames(struct guest *g, struct lc_module_log_record *rec, struct lc_slice frames) {
  enum { max_frames = 64 };
  struct lc_trace_frame list[max_frames];
  const char *at = (const char *)frames.data, *end = at + frames.len;
  while (frames.len && at < end && rec->n_frames < max_frames) {
    struct lc_slice module = lc_slice_str(at), function = lc_slice_str(at + module.len + 1);
    list[rec->n_frames++] = (struct lc_trace_frame){module, function};
    at += module.len + function.len + 2;
  }
  rec->frames = list;
  g->env->log(g->env->ctx, rec);
}

static bool call_console_log(struct guest *g, union abi_value *v) {
  enum { panic_level = 101 };
  const struct lc_env *env = g->env->env;
  g->refresh(g);
  lc_buf_clear(&g->text);
  size_t longest = 64; /* room for all three repaired, so that the slices stay where they are */
  for (int i = 2; i <= 7; i += i == 2 ? 2 : 3) longest += 3 * (size_t)(v[i].u32 < MAX_LOG_TEXT_BYTES ? v[i].u32 : MAX_LOG_TEXT_BYTES);
  if (!lc_buf_reserve(&g->text, longest)) return true;
  struct lc_slice target = lossy(g, v[1].u32, v[2].u32), filename = lossy(g, v[3].u32, v[4].u32), message = lossy(g, v[6].u32, v[7].u32);
  uint8_t level = (uint8_t)v[0].u32;
  for (int i = 1; i <= 3; i += 2) /* a part that points outside memory: the record is dropped (spec/02 §5.7) */
    if (v[i].u32 && (uint64_t)v[i].u32 + v[i + 1].u32 > g->memory_len) return true;
  if (!message.data || !g->env->log) return true;
  struct lc_module_log_record rec = {.level = level == panic_level || level <= 4 ? level : 3,
                                     .ts_us = env->now_us(env->ctx),
                                     .target = target,
                                     .filename = filename,
                                     .function = g->function_name,
                                     .message = message,
                                     .has_line = v[5].u32 != UINT32_MAX,
                                     .line = v[5].u32};
  struct lc_buf frames = {0};
  if (level == panic_level && g->backtrace) g->backtrace(g, &frames);
  log_with_frames(g, &rec, lc_buf_slice(&frames));
  lc_buf_free(&frames);
  return true;
}

void guest_log_panic(struct guest *g, struct lc_slice message, struct lc_slice filename, uint32_t line, struct lc_slice frames) {
  const struct lc_env *env = g->env->env;
  struct lc_module_log_record rec = {.level = 101, .ts_us = env->now_us(env->ctx), .function = g->function_name, .message = message, .has_line = line != 0, .line = line};
  if (filename.len) rec.filename = filename;
  if (g->env->log) log_with_frames(g, &rec, frames);
}

/* Text in quotes, as Rust's {:?} shows it (spec/02 §5.7). */
static void put_debug(struct lc_buf *out, struct lc_slice text) {
  lc_buf_u8(out, '"');
  for (size_t i = 0; i < text.len; i++) {
    uint8_t c = text.data[i];
    static const char special[] = "\t\r\n\"\\", letters[] = "trn\"\\";
    const char *at = c ? strchr(special, c) : NULL;
    if (at) lc_buf_printf(out, "\\%c", letters[at - special]);
    else if (c == 0) lc_buf_str(out, "\\0");
    else if (c < 0x20 || c == 0x7f) lc_buf_printf(out, "\\u{%x}", c);
    else lc_buf_u8(out, c);
  }
  lc_buf_u8(out, '"');
}
static void log_text(struct guest *g, uint8_t level, struct lc_slice text) {
  const struct lc_env *env = g->env->env;
  if (g->env->log) g->env->log(g->env->ctx, &(struct lc_module_log_record){.level = level, .ts_us = env->now_us(env->ctx), .function = g->function_name, .message = text});
}

static bool call_timer_start(struct guest *g, union abi_value *v) {
  struct lc_slice name;
  if (!get_text(g, v[0].u32, v[1].u32, &name)) return false;
  if (g->n_timers == MAX_HANDLES) return trap(g, "too many console timers");
  bool full = (g->n_timers & (g->n_timers - 1)) == 0; /* the list doubles */
  struct abi_timer *p = full ? lc_realloc(g->timers, (g->n_timers ? 2 * (size_t)g->n_timers : 1) * sizeof *p) : g->timers;
  char *copy = lc_strdup_n(name.data, name.len);
  if (p) g->timers = p;
  if (!p || !copy) return lc_free(copy), trap(g, "out of memory");
  g->timers[g->n_timers++] = (struct abi_timer){copy, name.len, g->env->env->monotonic_ns(g->env->env->ctx)};
  return done(v, (int32_t)g->n_timers);
}
static bool call_timer_end(struct guest *g, union abi_value *v) {
  uint32_t at = v[0].u32;
  if (at == 0 || at > g->n_timers || !g->timers[at - 1].name) return done(v, LC_ERRNO_NO_SUCH_CONSOLE_TIMER);
  struct abi_timer *t = &g->timers[at - 1];
  double ns = (double)(g->env->env->monotonic_ns(g->env->env->ctx) - t->start_ns);
  double shown = ns < 1e3 ? ns : ns < 1e6 ? ns / 1e3 : ns < 1e9 ? ns / 1e6 : ns / 1e9;
  lc_buf_clear(&g->text);
  lc_buf_str(&g->text, "Timing span ");
  put_debug(&g->text, lc_slice(t->name, t->len));
  lc_buf_printf(&g->text, ": %.9g%s", shown, ns < 1e3 ? "ns" : ns < 1e6 ? "µs" : ns < 1e9 ? "ms" : "s");
  if (lc_buf_ok(&g->text)) log_text(g, 2, lc_buf_slice(&g->text));
  lc_free(t->name);
  t->name = NULL;
  return done(v, LC_ERRNO_OK);
}

void guest_log(struct guest *g, uint8_t level, const char *fmt, ...) {
  char text[1024];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  log_text(g, level, lc_slice_str(text));
}

void guest_log_user_error(struct guest *g, struct lc_slice function, int64_t ts_us, struct lc_slice message) {
  struct lc_slice engine = lc_slice_str("__spacetimedb__");
  if (g->env->log) g->env->log(g->env->ctx, &(struct lc_module_log_record){.level = 0, .ts_us = ts_us, .target = engine, .filename = engine, .function = function, .message = message});
}

/* ---- identity, credentials, scheduling, environment ---- */

static bool call_identity(struct guest *g, union abi_value *v) { return put(g, v[0].u32, g->env->database_identity.bytes, 32); }
static bool call_get_jwt(struct guest *g, union abi_value *v) {
  struct lc_connection_id conn;
  const uint8_t *p = range(g, v[0].u32, 16);
  if (!p) return false;
  memcpy(conn.bytes, p, 16);
  if (!current_tx(g)) return done(v, LC_ERRNO_NOT_IN_TRANSACTION);
  lc_buf_clear(&g->text);
  uint32_t source = 0;
  if (lc_tx_client_jwt(current_tx(g), &conn, &g->text) && g->text.len && !(source = guest_source(g, lc_buf_slice(&g->text)))) return trap(g, "too many open bytes sources");
  return put_u32(g, v[1].u32, source) && done(v, LC_ERRNO_OK);
}
static bool call_schedule_immediate(struct guest *g, union abi_value *v) {
  struct lc_slice name, args;
  if (!get_text(g, v[0].u32, v[1].u32, &name) || !get_slice(g, v[2].u32, v[3].u32, &args)) return false;
  if (g->env->schedule_immediate) g->env->schedule_immediate(g->env->ctx, name, args);
  return true;
}

/* env_get (spec/07 §3.2, in the order of its table). The value is read from the current state: nothing but publishing changes it. */
static bool env_value(struct guest *g, struct lc_slice key, bool *found) {
  struct lc_row_iter *it;
  struct lc_buf encoded = {0};
  struct lc_module_facts facts;
  if (lc_datastore_module(g->env->ds, &facts) != LC_OK) return trap(g, "database program is not initialized");
  if (memcmp(&facts.program_hash, g->program_hash, sizeof facts.program_hash) != 0) return trap(g, "module was replaced while this function was running");
  lc_buf_bsatn_bytes(&encoded, key);
  int rc = lc_buf_ok(&encoded) ? lc_view_scan_point((struct lc_read_view){.ds = g->env->ds}, ST_ENV_KEY_INDEX, lc_buf_slice(&encoded), &it, &g->err) : LC_ERRNO_TRAP;
  lc_buf_free(&encoded);
  if (rc != LC_ERRNO_OK) return trap(g, "environment schema is not available");
  struct lc_slice row = lc_row_iter_next(it);
  *found = row.data != NULL;
  lc_buf_clear(&g->text);
  if (row.data) { /* (key, value) */
    struct lc_reader r = lc_reader(row);
    lc_read_bytes(&r);
    lc_buf_slice_append(&g->text, lc_read_bytes(&r));
  }
  lc_row_iter_close(it);
  return lc_buf_ok(&g->text) || trap(g, "out of memory");
}
static bool call_env_get(struct guest *g, union abi_value *v) {
  enum { max_unread_sources = 256 };
  struct lc_slice key;
  const struct lc_env_def *declared = NULL;
  bool found = false;
  if (!get_text(g, v[0].u32, v[1].u32, &key)) return false;
  bool ok = key.len > 0 && key.len <= 256;
  for (size_t i = 0; ok && i < key.len; i++) {
    uint8_t c = key.data[i];
    ok = c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (i > 0 && c >= '0' && c <= '9');
  }
  if (!ok) return done(v, LC_ERRNO_HOST_CALL_FAILURE);
  if (!g->in_call || memchr(g->function_name.data, '.', g->function_name.len)) return trap(g, "environment access requires a host-dispatched root module function");
  if (!current_tx(g) && !g->env->enter) return done(v, LC_ERRNO_NOT_IN_TRANSACTION);
  if (!g->def) return trap(g, "environment schema is not available");
  for (uint32_t i = 0; i < g->def->n_env && !declared; i++)
    if (lc_slice_eq(g->def->env[i].name, key)) declared = &g->def->env[i];
  if (!declared) return trap(g, "environment key is not declared");
  bool outside = !current_tx(g);
  if (!outside) reads_table(g, LC_ST_ENV);
  if (outside) g->env->enter(g->env->ctx);
  ok = env_value(g, key, &found);
  if (outside) g->env->leave(g->env->ctx);
  if (!ok) return false;
  if (!found && !declared->optional) return trap(g, "required environment value is missing from the published configuration");
  if (!found) return put_u32(g, v[2].u32, 0) && done(v, LC_ERRNO_OK);
  uint32_t unread = 0;
  for (uint32_t i = 0; i < g->n_sources; i++) unread += g->sources[i].open;
  if (unread >= max_unread_sources) return done(v, LC_ERRNO_NO_SPACE);
  struct abi_source *s = new_source(g); /* an empty value has a source too, which is exhausted at once */
  if (!s) return trap(g, "out of memory");
  lc_buf_clear(&s->own);
  lc_buf_slice_append(&s->own, lc_buf_slice(&g->text));
  if (!lc_buf_ok(&s->own)) return trap(g, "out of memory");
  s->data = s->own.data;
  s->len = s->own.len;
  s->at = 0;
  s->open = true;
  s->id = ++g->next_source;
  return put_u32(g, v[2].u32, s->id) && done(v, LC_ERRNO_OK);
}

/* ---- procedures ---- */

static bool call_start_tx(struct guest *g, union abi_value *v) {
  const struct lc_env *env = g->env->env;
  if (current_tx(g) || !g->env->begin_tx) return done(v, LC_ERRNO_WOULD_BLOCK_TX);
  int64_t waited = env->monotonic_ns(env->ctx);
  g->own_tx = g->env->begin_tx(g->env->ctx);
  if (g->suspended) g->suspended(g, env->monotonic_ns(env->ctx) - waited);
  if (!g->own_tx) return trap(g, "out of memory");
  int64_t now = env->now_us(env->ctx);
  return put(g, v[0].u32, &now, 8) && done(v, LC_ERRNO_OK);
}
static bool call_commit_tx(struct guest *g, union abi_value *v) {
  const struct lc_env *env = g->env->env;
  if (!g->own_tx) return done(v, LC_ERRNO_TX_NOT_ANONYMOUS);
  struct lc_tx *tx = g->own_tx;
  g->own_tx = NULL;
  int64_t waited = env->monotonic_ns(env->ctx);
  enum lc_status st = g->env->commit_tx(g->env->ctx, tx, &g->err); /* may wait for the log */
  if (g->suspended) g->suspended(g, env->monotonic_ns(env->ctx) - waited);
  return st == LC_OK && done(v, LC_ERRNO_OK);
}
static bool call_abort_tx(struct guest *g, union abi_value *v) {
  if (!g->own_tx) return done(v, LC_ERRNO_TX_NOT_ANONYMOUS);
  struct lc_tx *tx = g->own_tx;
  g->own_tx = NULL;
  g->env->abort_tx(g->env->ctx, tx);
  return done(v, LC_ERRNO_OK);
}
static bool call_sleep(struct guest *g, union abi_value *v) {
  const struct lc_env *env = g->env->env;
  int64_t now;
  if (!g->env->sleep_until) return trap(g, "procedure_sleep_until is only available in async instances");
  if (g->own_tx) return trap(g, "procedure_sleep_until cannot be called while a transaction is open"); /* it would hold up the whole database */
  int64_t waited = env->monotonic_ns(env->ctx);
  bool ok = g->env->sleep_until(g->env->ctx, v[0].i64, &now, &g->err);
  if (g->suspended) g->suspended(g, env->monotonic_ns(env->ctx) - waited);
  v[0].i64 = now;
  return ok;
}
/* Order of checks: spec/02 §5.9. */
static bool call_http(struct guest *g, union abi_value *v) {
  const struct lc_http_policy *policy = g->env->http;
  const struct lc_env *env = g->env->env;
  struct lc_slice request, body;
  struct lc_buf response = {0}, response_body = {0}, text = {0};
  struct lc_error err = {0};
  if (!policy) return trap(g, "procedure_http_request is only available in async instances");
  if (!get_slice(g, v[0].u32, v[1].u32, &request) || !get_slice(g, v[2].u32, v[3].u32, &body)) return false;
  if (!lc_http_request_check(request)) return done(v, LC_ERRNO_BSATN_DECODE);
  if (!policy->disabled && g->own_tx) return done(v, LC_ERRNO_WOULD_BLOCK_TX);
  int64_t waited = env->monotonic_ns(env->ctx);
  enum lc_status st = lc_http_request(request, body, policy, &response, &response_body, &err);
  if (g->suspended) g->suspended(g, env->monotonic_ns(env->ctx) - waited);
  uint32_t out[2] = {0, 0}, n_out = st == LC_OK ? 8 : 4;
  if (st == LC_OK) {
    out[0] = guest_source(g, lc_buf_slice(&response));
    out[1] = guest_source(g, lc_buf_slice(&response_body));
    if (!out[0] || (response_body.len && !out[1])) st = LC_NOMEM;
  } else {
    lc_buf_bsatn_str(&text, err.text);
    out[0] = lc_buf_ok(&text) ? guest_source(g, lc_buf_slice(&text)) : 0;
    st = out[0] ? LC_IO : LC_NOMEM;
  }
  lc_buf_free(&response);
  lc_buf_free(&response_body);
  lc_buf_free(&text);
  if (st == LC_NOMEM) return trap(g, "out of memory");
  return put(g, v[4].u32, out, n_out) && done(v, st == LC_OK ? LC_ERRNO_OK : LC_ERRNO_HTTP);
}

/* ---- the table ---- */

#define ENTRY(minor, name, params, result, call, about) {"spacetime_10." #minor, #name, params, result, call, about},
const struct abi_function abi_functions[] = {ABI_FUNCTIONS(ENTRY)};
const uint32_t abi_n_functions = sizeof abi_functions / sizeof *abi_functions;

#define ERRNO(number, name, js_class, message) {number, #name, js_class, message},
const struct lc_errno_info *lc_errno_info(int number) {
  static const struct lc_errno_info errnos[] = {ABI_ERRNOS(ERRNO)};
  for (size_t i = 0; i < sizeof errnos / sizeof *errnos; i++)
    if (errnos[i].number == number) return &errnos[i];
  return NULL;
}
