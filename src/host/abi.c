/* Every ABI call: spec/02 §4 (checks and their order), §5 (semantics), §6 (errnos), spec/07 §3.2.
 *
 * Order of checks: handles first, then input pointers (which trap), then what the call needs, out pointers last and only on success.
 * Callers: the binding's trampolines, through abi_functions.
 */
#include "abi.h"
#include <stdio.h>

static bool trap(struct guest *g, const char *text) {
  lc_fail(&g->err, LC_TRAP, "%s", text);
  return false;
}
static bool done(uint64_t *v, int32_t code) {
  v[0] = (uint32_t)code;
  return true;
}

/* ---- guest memory ---- */

static uint8_t *range(struct guest *g, uint64_t at, uint64_t len) {
  at = (uint32_t)at;
  len = (uint32_t)len;
  if (at == 0) return trap(g, "null pointer passed to a spacetime function"), NULL;
  if (at > g->memory_len || len > g->memory_len - at) return trap(g, "out of bounds pointer passed to a spacetime function"), NULL;
  return g->memory + at;
}
static bool get_slice(struct guest *g, uint64_t at, uint64_t len, struct lc_slice *out) {
  const uint8_t *p = range(g, at, len);
  *out = lc_slice(p, (uint32_t)len);
  return p != NULL;
}
static bool utf8_ok(struct lc_slice s) {
  struct lc_buf b = {0};
  lc_buf_bsatn_bytes(&b, s);
  struct lc_reader r = lc_reader(lc_buf_slice(&b));
  bool ok = lc_buf_ok(&b) && lc_bsatn_validate(lc_type_primitive(LC_T_STRING), NULL, &r, NULL) == LC_OK;
  lc_buf_free(&b);
  return ok;
}
static bool get_text(struct guest *g, uint64_t at, uint64_t len, struct lc_slice *out) {
  if (!get_slice(g, at, len, out)) return false;
  return utf8_ok(*out) || trap(g, "invalid utf8 passed to a spacetime function");
}
static bool put(struct guest *g, uint64_t at, const void *data, size_t len) {
  uint8_t *p = range(g, at, len);
  if (!p) return false;
  memcpy(p, data, len);
  return true;
}
static bool put_u32(struct guest *g, uint64_t at, uint32_t value) { return put(g, at, &value, 4); }
static bool get_u32(struct guest *g, uint64_t at, uint32_t *value) {
  const uint8_t *p = range(g, at, 4);
  if (p) memcpy(value, p, 4);
  return p != NULL;
}

static struct lc_tx *current_tx(struct guest *g) { return g->own_tx ? g->own_tx : g->env->tx; }

/* Errno of the engine as the call's result, or a trap. */
static bool finish(struct guest *g, uint64_t *v, int rc) { return rc == LC_ERRNO_TRAP ? false : ((void)g, done(v, rc)); }

/* ---- handles ---- */

uint32_t guest_source(struct guest *g, struct lc_slice bytes) {
  if (bytes.len == 0) return 0;
  uint32_t at = 0;
  while (at < g->n_sources && g->sources[at].open) at++;
  if (at == g->cap_sources) {
    uint32_t cap = g->cap_sources ? g->cap_sources * 2 : 4;
    struct abi_source *p = lc_realloc(g->sources, cap * sizeof *p);
    if (!p) return 0;
    memset(p + g->cap_sources, 0, (cap - g->cap_sources) * sizeof *p);
    g->sources = p;
    g->cap_sources = cap;
  }
  struct abi_source *s = &g->sources[at];
  lc_buf_clear(&s->bytes);
  lc_buf_slice_append(&s->bytes, bytes);
  if (!lc_buf_ok(&s->bytes)) return 0;
  if (at == g->n_sources) g->n_sources++;
  s->at = 0;
  s->open = true;
  return s->id = ++g->next_source;
}

static struct abi_source *find_source(struct guest *g, uint64_t id) {
  for (uint32_t i = 0; i < g->n_sources; i++)
    if (g->sources[i].open && g->sources[i].id == (uint32_t)id) return &g->sources[i];
  return NULL;
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

static struct abi_sink *find_sink(const struct guest *g, uint64_t id) {
  for (uint32_t i = 0; i < g->n_sinks; i++)
    if (g->sinks[i].id == (uint32_t)id) return &g->sinks[i];
  return NULL;
}

struct lc_slice guest_sink_bytes(const struct guest *g, uint32_t id) {
  struct abi_sink *s = find_sink(g, id);
  return s ? lc_buf_slice(&s->bytes) : lc_slice(NULL, 0);
}

static struct abi_iter *find_iter(struct guest *g, uint64_t id) {
  uint32_t at = (uint32_t)id;
  return at == 0 || at > g->n_iters || !g->iters[at - 1].rows ? NULL : &g->iters[at - 1];
}

/* Hands an engine iterator to the guest. */
static bool give_iter(struct guest *g, uint64_t *v, struct lc_row_iter *rows, uint64_t out) {
  uint32_t at = 0;
  while (at < g->n_iters && g->iters[at].rows) at++;
  if (at == g->n_iters) {
    struct abi_iter *p = lc_realloc(g->iters, (g->n_iters + 1) * sizeof *p);
    if (!p) return lc_row_iter_close(rows), trap(g, "out of memory");
    g->iters = p;
    g->n_iters++;
  }
  g->iters[at] = (struct abi_iter){rows, lc_row_iter_next(rows)};
  if (put_u32(g, out, at + 1)) return done(v, LC_ERRNO_OK);
  lc_row_iter_close(rows);
  g->iters[at].rows = NULL;
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
    if (g->sources[i].bytes.cap > keep_bytes) lc_buf_free(&g->sources[i].bytes);
  }
  for (uint32_t i = 0; i < g->n_timers; i++) lc_free(g->timers[i].name);
  g->n_sources = g->n_sinks = g->n_iters = g->n_timers = 0;
  if (restart) g->next_source = g->next_sink = 0;
}

void guest_free(struct guest *g) {
  guest_end_call(g, true);
  for (uint32_t i = 0; i < g->cap_sources; i++) lc_buf_free(&g->sources[i].bytes);
  for (uint32_t i = 0; i < g->cap_sinks; i++) lc_buf_free(&g->sinks[i].bytes);
  lc_free(g->sources);
  lc_free(g->sinks);
  lc_free(g->iters);
  lc_free(g->timers);
  lc_buf_free(&g->generated);
  lc_buf_free(&g->text);
}

/* ---- names, counts, scans ---- */

static bool call_table_id(struct guest *g, uint64_t *v) {
  struct lc_slice name;
  if (!get_text(g, v[0], v[1], &name)) return false;
  if (!current_tx(g)) return done(v, LC_ERRNO_NOT_IN_TRANSACTION);
  const struct lc_table_info *t = lc_datastore_table_by_name(g->env->ds, name);
  if (!t) return done(v, LC_ERRNO_NO_SUCH_TABLE);
  return put_u32(g, v[2], t->table_id) && done(v, LC_ERRNO_OK);
}
static bool call_index_id(struct guest *g, uint64_t *v) {
  struct lc_slice name;
  if (!get_text(g, v[0], v[1], &name)) return false;
  if (!current_tx(g)) return done(v, LC_ERRNO_NOT_IN_TRANSACTION);
  const struct lc_index_info *x = lc_datastore_index_by_name(g->env->ds, name);
  if (!x) return done(v, LC_ERRNO_NO_SUCH_INDEX);
  return put_u32(g, v[2], x->index_id) && done(v, LC_ERRNO_OK);
}
static bool call_row_count(struct guest *g, uint64_t *v) {
  uint64_t n;
  if (!current_tx(g)) return done(v, LC_ERRNO_NOT_IN_TRANSACTION);
  int rc = lc_tx_row_count(current_tx(g), (uint32_t)v[0], &n);
  if (rc == LC_ERRNO_OK && !put(g, v[1], &n, 8)) return false;
  return finish(g, v, rc);
}
static bool call_scan(struct guest *g, uint64_t *v) {
  struct lc_row_iter *rows;
  if (!current_tx(g)) return done(v, LC_ERRNO_NOT_IN_TRANSACTION);
  int rc = lc_tx_scan(current_tx(g), (uint32_t)v[0], &rows);
  return rc == LC_ERRNO_OK ? give_iter(g, v, rows, v[1]) : finish(g, v, rc);
}
struct range_args { struct lc_slice prefix, start, end; uint32_t prefix_elems; };
/* Parameters of the range calls: index, prefix p n, prefix_elems, rstart p n, rend p n. */
static bool get_range(struct guest *g, const uint64_t *v, struct range_args *a) {
  if ((uint32_t)v[3] > UINT16_MAX) return trap(g, "prefix_elems does not fit in u16");
  a->prefix_elems = (uint32_t)v[3];
  a->prefix = a->end = lc_slice(NULL, 0);
  /* an empty prefix or end may come with any pointer that is not NULL or outside */
  return (a->prefix_elems == 0 || get_slice(g, v[1], v[2], &a->prefix)) && get_slice(g, v[4], v[5], &a->start) && get_slice(g, v[6], v[7], &a->end);
}
static bool call_scan_range(struct guest *g, uint64_t *v) {
  struct lc_row_iter *rows;
  struct range_args a;
  if (!get_range(g, v, &a)) return false;
  if (!current_tx(g)) return done(v, LC_ERRNO_NOT_IN_TRANSACTION);
  int rc = lc_tx_scan_range(current_tx(g), (uint32_t)v[0], a.prefix, a.prefix_elems, a.start, a.end, &rows, &g->err);
  return rc == LC_ERRNO_OK ? give_iter(g, v, rows, v[8]) : finish(g, v, rc);
}
static bool call_delete_range(struct guest *g, uint64_t *v) {
  struct range_args a;
  uint32_t n;
  if (!get_range(g, v, &a)) return false;
  if (!current_tx(g)) return done(v, LC_ERRNO_NOT_IN_TRANSACTION);
  int rc = lc_tx_delete_range(current_tx(g), (uint32_t)v[0], a.prefix, a.prefix_elems, a.start, a.end, &n, &g->err);
  if (rc == LC_ERRNO_OK && !put_u32(g, v[8], n)) return false;
  return finish(g, v, rc);
}
static bool call_scan_point(struct guest *g, uint64_t *v) {
  struct lc_row_iter *rows;
  struct lc_slice key;
  if (!get_slice(g, v[1], v[2], &key)) return false;
  if (!current_tx(g)) return done(v, LC_ERRNO_NOT_IN_TRANSACTION);
  int rc = lc_tx_scan_point(current_tx(g), (uint32_t)v[0], key, &rows, &g->err);
  return rc == LC_ERRNO_OK ? give_iter(g, v, rows, v[3]) : finish(g, v, rc);
}
static bool call_delete_point(struct guest *g, uint64_t *v) {
  struct lc_slice key;
  uint32_t n;
  if (!get_slice(g, v[1], v[2], &key)) return false;
  if (!current_tx(g)) return done(v, LC_ERRNO_NOT_IN_TRANSACTION);
  int rc = lc_tx_delete_point(current_tx(g), (uint32_t)v[0], key, &n, &g->err);
  if (rc == LC_ERRNO_OK && !put_u32(g, v[3], n)) return false;
  return finish(g, v, rc);
}
static bool call_delete_all_by_eq(struct guest *g, uint64_t *v) {
  struct lc_slice relation;
  uint32_t n;
  if (!get_slice(g, v[1], v[2], &relation)) return false;
  if (!current_tx(g)) return done(v, LC_ERRNO_NOT_IN_TRANSACTION);
  int rc = lc_tx_delete_all_by_eq(current_tx(g), (uint32_t)v[0], relation, &n, &g->err);
  if (rc == LC_ERRNO_OK && !put_u32(g, v[3], n)) return false;
  return finish(g, v, rc);
}
static bool call_clear(struct guest *g, uint64_t *v) {
  uint64_t n;
  if (!current_tx(g)) return done(v, LC_ERRNO_NOT_IN_TRANSACTION);
  int rc = lc_tx_clear(current_tx(g), (uint32_t)v[0], &n, &g->err);
  if (rc == LC_ERRNO_OK && !put(g, v[1], &n, 8)) return false;
  return finish(g, v, rc);
}

/* Whole rows into the guest's buffer (spec/02 §5.2). */
static bool call_iter_advance(struct guest *g, uint64_t *v) {
  struct abi_iter *it = find_iter(g, v[0]);
  uint32_t capacity, used = 0;
  if (!it) return done(v, LC_ERRNO_NO_SUCH_ITER);
  if (!get_u32(g, v[2], &capacity)) return false;
  uint8_t *out = range(g, v[1], capacity);
  if (!out) return false;
  while (it->next.data && it->next.len <= capacity - used) {
    if (it->next.len) memcpy(out + used, it->next.data, it->next.len);
    used += (uint32_t)it->next.len;
    it->next = lc_row_iter_next(it->rows);
  }
  if (it->next.data && used == 0) return put_u32(g, v[2], (uint32_t)it->next.len) && done(v, LC_ERRNO_BUFFER_TOO_SMALL);
  if (!put_u32(g, v[2], used)) return false;
  if (it->next.data) return done(v, LC_ERRNO_OK);
  lc_row_iter_close(it->rows);
  it->rows = NULL;
  return done(v, -1);
}
static bool call_iter_close(struct guest *g, uint64_t *v) {
  struct abi_iter *it = find_iter(g, v[0]);
  if (!it) return done(v, LC_ERRNO_NO_SUCH_ITER);
  lc_row_iter_close(it->rows);
  it->rows = NULL;
  return done(v, LC_ERRNO_OK);
}

/* ---- insert and update: generated columns go back into the guest's row buffer ---- */

static bool store_row(struct guest *g, uint64_t *v, bool update) {
  uint64_t row_at = v[update ? 2 : 1], len_at = v[update ? 3 : 2];
  uint32_t len, table = (uint32_t)v[0];
  struct lc_slice row, stored = {0};
  if (!get_u32(g, len_at, &len) || !get_slice(g, row_at, len, &row)) return false;
  struct lc_tx *tx = current_tx(g);
  if (!tx) return done(v, LC_ERRNO_NOT_IN_TRANSACTION);
  lc_buf_clear(&g->generated);
  int rc = update ? lc_tx_update(tx, table, (uint32_t)v[1], row, &g->generated, &stored, &g->err) : lc_tx_insert(tx, table, row, &g->generated, &stored, &g->err);
  if (rc != LC_ERRNO_OK) return finish(g, v, rc);
  if (!lc_buf_ok(&g->generated)) return trap(g, "out of memory");
  const struct lc_table_info *t = lc_datastore_table(g->env->ds, table);
  if (t->has_schedule && g->env->schedule_row) rc = g->env->schedule_row(g->env->ctx, table, stored);
  if ((g->generated.len && !put(g, row_at, g->generated.data, g->generated.len)) || !put_u32(g, len_at, (uint32_t)g->generated.len)) return false;
  return done(v, rc);
}
static bool call_insert(struct guest *g, uint64_t *v) { return store_row(g, v, false); }
static bool call_update(struct guest *g, uint64_t *v) { return store_row(g, v, true); }

/* ---- bytes ---- */

static bool call_source_read(struct guest *g, uint64_t *v) {
  struct abi_source *s = find_source(g, v[0]);
  uint32_t capacity;
  if (!s) return done(v, LC_ERRNO_NO_SUCH_BYTES);
  if (!get_u32(g, v[2], &capacity)) return false;
  uint8_t *out = range(g, v[1], capacity);
  if (!out) return false;
  size_t left = s->bytes.len - s->at, n = left < capacity ? left : capacity;
  if (n) memcpy(out, s->bytes.data + s->at, n);
  s->at += n;
  if (!put_u32(g, v[2], (uint32_t)n)) return false;
  if (s->at < s->bytes.len) return done(v, LC_ERRNO_OK);
  s->open = false;
  return done(v, -1);
}
static bool call_source_left(struct guest *g, uint64_t *v) {
  struct abi_source *s = find_source(g, v[0]);
  if (!s) return done(v, LC_ERRNO_NO_SUCH_BYTES);
  return put_u32(g, v[1], (uint32_t)(s->bytes.len - s->at)) && done(v, LC_ERRNO_OK);
}
static bool call_sink_write(struct guest *g, uint64_t *v) {
  enum { limit_bytes = 1 << 30 };
  struct abi_sink *s = find_sink(g, v[0]);
  struct lc_slice data;
  uint32_t len;
  if (!s) return done(v, LC_ERRNO_NO_SUCH_BYTES);
  if (!get_u32(g, v[2], &len) || !get_slice(g, v[1], len, &data)) return false;
  if (s->bytes.len + len > limit_bytes) return done(v, LC_ERRNO_NO_SPACE);
  lc_buf_slice_append(&s->bytes, data);
  return lc_buf_ok(&s->bytes) ? done(v, LC_ERRNO_OK) : trap(g, "out of memory");
}

/* ---- console ---- */

/* Text of the guest with bad UTF-8 replaced, appended to g->text; absent for NULL or out of bounds. */
static struct lc_slice lossy(struct guest *g, uint64_t at, uint64_t len, size_t *start) {
  uint32_t p = (uint32_t)at, n = (uint32_t)len;
  *start = g->text.len;
  if (p == 0 || p > g->memory_len || n > g->memory_len - p) return lc_slice(NULL, 0);
  struct lc_slice s = lc_slice(g->memory + p, n);
  if (utf8_ok(s)) return s;
  for (uint32_t i = 0; i < n; i++) {
    if (s.data[i] < 0x80) lc_buf_u8(&g->text, s.data[i]);
    else lc_buf_str(&g->text, "\xef\xbf\xbd");
  }
  return lc_slice(g->text.data + *start, g->text.len - *start);
}

static bool call_console_log(struct guest *g, uint64_t *v) {
  enum { panic_level = 101, max_frames = 64 };
  const struct lc_env *env = g->env->env;
  size_t at[3];
  lc_buf_clear(&g->text);
  size_t longest = 64; /* room for all three repaired, so that the slices stay where they are */
  for (int i = 2; i <= 7; i += i == 2 ? 2 : 3) longest += (uint32_t)v[i] <= g->memory_len ? 3 * (size_t)(uint32_t)v[i] : 0;
  if (!lc_buf_reserve(&g->text, longest)) return true;
  struct lc_slice target = lossy(g, v[1], v[2], &at[0]), filename = lossy(g, v[3], v[4], &at[1]), message = lossy(g, v[6], v[7], &at[2]);
  uint8_t level = (uint8_t)v[0];
  for (int i = 1; i <= 3; i += 2) /* a part that points outside memory: the record is dropped (spec/02 §5.7) */
    if ((uint32_t)v[i] && (uint64_t)(uint32_t)v[i] + (uint32_t)v[i + 1] > g->memory_len) return true;
  if (!message.data || !g->env->log) return true;
  struct lc_module_log_record rec = {.level = level == panic_level || level <= 4 ? level : 3,
                                     .ts_us = env->now_us(env->ctx),
                                     .target = target,
                                     .filename = filename,
                                     .function = g->function_name,
                                     .message = message,
                                     .has_line = (uint32_t)v[5] != UINT32_MAX,
                                     .line = (uint32_t)v[5]};
  struct lc_buf names = {0};
  struct lc_slice frames[max_frames];
  if (level == panic_level && g->backtrace) {
    g->backtrace(g->backtrace_ctx, &names);
    for (size_t i = 0; i < names.len && rec.n_frames < max_frames;) {
      size_t n = strlen((const char *)names.data + i);
      frames[rec.n_frames++] = lc_slice(names.data + i, n);
      i += n + 1;
    }
    rec.frames = frames;
  }
  g->env->log(g->env->ctx, &rec);
  lc_buf_free(&names);
  return true;
}

static bool call_timer_start(struct guest *g, uint64_t *v) {
  struct lc_slice name;
  if (!get_text(g, v[0], v[1], &name)) return false;
  struct abi_timer *p = lc_realloc(g->timers, (g->n_timers + 1) * sizeof *p);
  char *copy = lc_strdup_n(name.data, name.len);
  if (p) g->timers = p;
  if (!p || !copy) return lc_free(copy), trap(g, "out of memory");
  g->timers[g->n_timers++] = (struct abi_timer){copy, g->env->env->monotonic_ns(g->env->env->ctx)};
  return done(v, (int32_t)g->n_timers);
}
static bool call_timer_end(struct guest *g, uint64_t *v) {
  uint32_t at = (uint32_t)v[0];
  if (at == 0 || at > g->n_timers || !g->timers[at - 1].name) return done(v, LC_ERRNO_NO_SUCH_CONSOLE_TIMER);
  struct abi_timer *t = &g->timers[at - 1];
  double ns = (double)(g->env->env->monotonic_ns(g->env->env->ctx) - t->start_ns);
  double shown = ns < 1e3 ? ns : ns < 1e6 ? ns / 1e3 : ns < 1e9 ? ns / 1e6 : ns / 1e9;
  struct lc_buf quoted = {0};
  for (const char *p = t->name; *p; p++) lc_buf_printf(&quoted, *p == '"' || *p == '\\' ? "\\%c" : "%c", *p);
  lc_buf_u8(&quoted, 0);
  guest_log(g, 2, "Timing span \"%s\": %.9g%s", lc_buf_ok(&quoted) ? (const char *)quoted.data : "?", shown, ns < 1e3 ? "ns" : ns < 1e6 ? "µs" : ns < 1e9 ? "ms" : "s");
  lc_buf_free(&quoted);
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
  const struct lc_env *env = g->env->env;
  if (g->env->log) g->env->log(g->env->ctx, &(struct lc_module_log_record){.level = level, .ts_us = env->now_us(env->ctx), .function = g->function_name, .message = lc_slice_str(text)});
}

void guest_log_user_error(struct guest *g, struct lc_slice function, int64_t ts_us, struct lc_slice message) {
  struct lc_slice engine = lc_slice_str("__spacetimedb__");
  if (g->env->log) g->env->log(g->env->ctx, &(struct lc_module_log_record){.level = 0, .ts_us = ts_us, .target = engine, .filename = engine, .function = function, .message = message});
}

/* ---- identity, credentials, scheduling, environment ---- */

static bool call_identity(struct guest *g, uint64_t *v) { return put(g, v[0], g->env->database_identity.bytes, 32); }
static bool call_get_jwt(struct guest *g, uint64_t *v) {
  struct lc_connection_id conn;
  const uint8_t *p = range(g, v[0], 16);
  if (!p) return false;
  memcpy(conn.bytes, p, 16);
  if (!current_tx(g)) return done(v, LC_ERRNO_NOT_IN_TRANSACTION);
  lc_buf_clear(&g->text);
  uint32_t source = lc_tx_client_jwt(current_tx(g), &conn, &g->text) ? guest_source(g, lc_buf_slice(&g->text)) : 0;
  return put_u32(g, v[1], source) && done(v, LC_ERRNO_OK);
}
static bool call_schedule_immediate(struct guest *g, uint64_t *v) {
  struct lc_slice name, args;
  if (!get_text(g, v[0], v[1], &name) || !get_slice(g, v[2], v[3], &args)) return false;
  if (g->env->schedule_immediate) g->env->schedule_immediate(g->env->ctx, name, args);
  return true;
}
static bool call_env_get(struct guest *g, uint64_t *v) { /* spec/07 §3.2, in the order of its table */
  struct lc_slice key;
  if (!get_text(g, v[0], v[1], &key)) return false;
  bool ok = key.len > 0 && key.len <= 256;
  for (size_t i = 0; ok && i < key.len; i++) {
    uint8_t c = key.data[i];
    ok = c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (i > 0 && c >= '0' && c <= '9');
  }
  if (!ok) return done(v, LC_ERRNO_HOST_CALL_FAILURE);
  if (!g->function_name.data || memchr(g->function_name.data, '.', g->function_name.len)) return trap(g, "environment access requires a host-dispatched root module function");
  return trap(g, "environment key is not declared"); /* declarations come with publishing of values */
}

/* ---- procedures ---- */

static bool call_start_tx(struct guest *g, uint64_t *v) {
  const struct lc_env *env = g->env->env;
  if (current_tx(g)) return done(v, LC_ERRNO_WOULD_BLOCK_TX);
  int64_t now = env->now_us(env->ctx);
  if (!put(g, v[0], &now, 8)) return false;
  g->own_tx = lc_tx_begin(g->env->ds);
  return g->own_tx ? done(v, LC_ERRNO_OK) : trap(g, "out of memory");
}
static bool call_commit_tx(struct guest *g, uint64_t *v) {
  if (!g->own_tx || !g->env->commit_tx) return done(v, LC_ERRNO_TX_NOT_ANONYMOUS);
  struct lc_tx *tx = g->own_tx;
  g->own_tx = NULL;
  g->env->commit_tx(g->env->ctx, tx);
  return done(v, LC_ERRNO_OK);
}
static bool call_abort_tx(struct guest *g, uint64_t *v) {
  if (!g->own_tx) return done(v, LC_ERRNO_TX_NOT_ANONYMOUS);
  lc_tx_rollback(g->own_tx);
  g->own_tx = NULL;
  return done(v, LC_ERRNO_OK);
}
static bool call_sleep(struct guest *g, uint64_t *v) { return (void)v, trap(g, "procedure_sleep_until is only available in async instances"); }
static bool call_http(struct guest *g, uint64_t *v) { return (void)v, trap(g, "procedure_http_request is only available in async instances"); }

/* ---- the table (spec/02 §4, spec/07 §3.2) ---- */

#define M0 "spacetime_10.0"
const struct abi_function abi_functions[] = {
    {M0, "table_id_from_name", "iii", 'i', call_table_id},
    {M0, "index_id_from_name", "iii", 'i', call_index_id},
    {M0, "datastore_table_row_count", "ii", 'i', call_row_count},
    {M0, "datastore_table_scan_bsatn", "ii", 'i', call_scan},
    {M0, "datastore_index_scan_range_bsatn", "iiiiiiiii", 'i', call_scan_range},
    {M0, "datastore_btree_scan_bsatn", "iiiiiiiii", 'i', call_scan_range},
    {M0, "datastore_delete_by_index_scan_range_bsatn", "iiiiiiiii", 'i', call_delete_range},
    {M0, "datastore_delete_by_btree_scan_bsatn", "iiiiiiiii", 'i', call_delete_range},
    {M0, "datastore_delete_all_by_eq_bsatn", "iiii", 'i', call_delete_all_by_eq},
    {M0, "row_iter_bsatn_advance", "iii", 'i', call_iter_advance},
    {M0, "row_iter_bsatn_close", "i", 'i', call_iter_close},
    {M0, "datastore_insert_bsatn", "iii", 'i', call_insert},
    {M0, "datastore_update_bsatn", "iiii", 'i', call_update},
    {M0, "bytes_source_read", "iii", 'i', call_source_read},
    {M0, "bytes_sink_write", "iii", 'i', call_sink_write},
    {M0, "console_log", "iiiiiiii", 0, call_console_log},
    {M0, "console_timer_start", "ii", 'i', call_timer_start},
    {M0, "console_timer_end", "i", 'i', call_timer_end},
    {M0, "identity", "i", 0, call_identity},
    {M0, "volatile_nonatomic_schedule_immediate", "iiii", 0, call_schedule_immediate},
    {"spacetime_10.1", "bytes_source_remaining_length", "ii", 'i', call_source_left},
    {"spacetime_10.2", "get_jwt", "ii", 'i', call_get_jwt},
    {"spacetime_10.3", "procedure_start_mut_tx", "i", 'i', call_start_tx},
    {"spacetime_10.3", "procedure_commit_mut_tx", "", 'i', call_commit_tx},
    {"spacetime_10.3", "procedure_abort_mut_tx", "", 'i', call_abort_tx},
    {"spacetime_10.3", "procedure_sleep_until", "I", 'I', call_sleep},
    {"spacetime_10.3", "procedure_http_request", "iiiii", 'i', call_http},
    {"spacetime_10.4", "datastore_index_scan_point_bsatn", "iiii", 'i', call_scan_point},
    {"spacetime_10.4", "datastore_delete_by_index_scan_point_bsatn", "iiii", 'i', call_delete_point},
    {"spacetime_10.5", "datastore_clear", "ii", 'i', call_clear},
    {"spacetime_10.6", "env_get", "iii", 'i', call_env_get},
};
const uint32_t abi_n_functions = sizeof abi_functions / sizeof *abi_functions;
