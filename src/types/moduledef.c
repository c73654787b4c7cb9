/* Module definitions: BSATN RawModuleDef of any version to a validated `struct lc_module_def` (spec/01 §11-§14, spec/07 §4).
 *
 * Decoding (moduledef_decode.c, moduledef_v8.c) stops at the first byte that is wrong. Validation (the other moduledef_*.c) collects
 * every fault; they are sorted by kind and text, without repeats, under the line "Errors occurred:". Callers: host/ (describe), tests.
 */
#include "moduledef_internal.h"
#include <stdio.h>
#include <stdlib.h>

void def_stop(struct def_ctx *c, enum lc_status status, const char *fmt, ...) {
  char text[sizeof c->err->text];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  lc_fail(c->err, status, "%s", text);
  longjmp(c->stop, 1);
}

void *def_alloc(struct def_ctx *c, size_t n, size_t size_bytes) {
  size_t total = n * size_bytes; /* both come from 32-bit counts and sizes of structures */
  if (total > LC_TYPE_ARENA_MAX_BYTES || c->arena->total_bytes > LC_TYPE_ARENA_MAX_BYTES - total)
    def_stop(c, LC_LIMIT, "a module definition may take at most %zu bytes of memory", (size_t)LC_TYPE_ARENA_MAX_BYTES);
  void *p = lc_arena_alloc_zero(c->arena, total ? total : 1, 1);
  if (!p) def_stop(c, LC_NOMEM, "out of memory");
  return p;
}

const struct lc_type *def_need(struct def_ctx *c, const struct lc_type *built) {
  if (!built) def_stop(c, LC_NOMEM, "out of memory");
  return built;
}

struct lc_slice def_text(struct def_ctx *c) {
  if (!lc_buf_ok(&c->scratch)) def_stop(c, LC_NOMEM, "out of memory");
  uint8_t *copy = def_alloc(c, c->scratch.len + 1, 1);
  size_t n = c->scratch.len;
  if (n) memcpy(copy, c->scratch.data, n);
  lc_buf_clear(&c->scratch);
  return lc_slice(copy, n);
}

bool def_add_name(struct def_ctx *c, struct types_names *set, struct lc_slice name, uint32_t value) {
  int added = types_names_add(c->arena, set, name, value);
  if (added < 0) def_stop(c, LC_NOMEM, "out of memory");
  return added;
}

/* ---- faults ---- */

static const char *const fault_names[] = {
#define X(kind, name) name,
    DEF_FAULTS(X)
#undef X
};

/* A text that was cut may end within a character: it goes. */
static void cut_at_character(char *text) {
  size_t n = strlen(text), keep = n;
  while (keep && ((unsigned char)text[keep - 1] & 0xc0) == 0x80) keep--;
  if (keep && !lc_utf8_valid((uint8_t *)text + keep - 1, n - keep + 1)) text[keep - 1] = 0;
}

void def_fault(struct def_ctx *c, enum def_fault_kind kind, const char *fmt, ...) {
  char text[512];
  if (c->n_found++ >= DEF_MAX_FAULTS) return;
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  cut_at_character(text);
  lc_buf_clear(&c->scratch);
  lc_buf_str(&c->scratch, text);
  if (*fault_names[kind]) lc_buf_printf(&c->scratch, " (%s)", fault_names[kind]);
  c->faults[c->n_faults++] = (struct def_fault){kind, def_text(c)};
}

enum { MAX_LEFT_BYTES = 40 }; /* of the line that counts what is left out */
static int compare_faults(const void *a, const void *b) {
  const struct def_fault *x = a, *y = b;
  return x->kind != y->kind ? (x->kind < y->kind ? -1 : 1) : lc_slice_compare(x->text, y->text);
}

_Noreturn static void report(struct def_ctx *c) {
  qsort(c->faults, c->n_faults, sizeof *c->faults, compare_faults);
  lc_buf_str(&c->scratch, "Errors occurred:\n");
  uint64_t left = c->n_found;
  for (uint32_t i = 0; i < c->n_faults; i++, left--) {
    if (i && compare_faults(&c->faults[i - 1], &c->faults[i]) == 0) continue;
    if (c->scratch.len + c->faults[i].text.len + MAX_LEFT_BYTES > sizeof c->err->text) break;
    lc_buf_printf(&c->scratch, "%.*s\n", S(c->faults[i].text));
  }
  if (left) lc_buf_printf(&c->scratch, "and %llu more\n", (unsigned long long)left);
  struct lc_slice text = def_text(c);
  def_stop(c, LC_INVALID, "%.*s", S(text));
}

/* ---- the whole ---- */

void def_build(struct def_ctx *c, const struct raw_module *raw, struct lc_module_def *def, unsigned depth) {
  struct builder *b = def_alloc(c, 1, sizeof *b);
  *b = (struct builder){.c = c, .raw = raw, .def = def, .tables_ok = true};
  def->raw_version = raw->version;
  for (int k = 0; k < NAME_KINDS; k++)
    for (uint32_t i = 0; i < raw->n_names[k]; i++) def_add_name(c, &b->explicit_names[k], raw->names[k][i].source, i);
  def_build_types(b);
  def_build_functions(b);
  def_build_tables(b);
  def_link_functions(b);
  def_build_http(b);
  def_build_environment(b);
  def_build_outboxes(b);
  struct types_names rls = {0}; /* repeated rules are one */
  struct lc_slice *sql = def_alloc(c, raw->n_rls, sizeof *sql);
  for (uint32_t i = 0; i < raw->n_rls; i++)
    if (def_add_name(c, &rls, raw->rls[i], 0)) sql[def->n_rls++] = raw->rls[i];
  def->rls_sql = sql;
  def->n_own_tables = def->n_tables;
  def->n_own_reducers = def->n_reducers;
  def->n_own_procedures = def->n_procedures;
  def->n_own_views = def->n_views;
  def->n_own_outboxes = def->n_outboxes;
  def->n_own_rls = def->n_rls;
  def_mount_submodules(b, depth);
}

/* False: it stopped, *c->err says why. In a function of its own so that nothing that changes lives in the frame of setjmp. */
static bool decode(struct def_ctx *c, struct lc_module_def *def) {
  if (setjmp(c->stop)) return false;
  struct raw_module *raw = def_alloc(c, 1, sizeof *raw);
  raw_decode(c, raw);
  def_build(c, raw, def, 0);
  if (c->n_found) report(c);
  return true;
}

enum lc_status lc_module_def_decode(struct lc_slice raw, struct lc_module_def **out, struct lc_error *err) {
  struct lc_error scratch = {0};
  if (!err) err = &scratch;
  if (raw.len > DEF_MAX_RAW_BYTES) return lc_fail(err, LC_LIMIT, "a module definition of %zu bytes is larger than %d", raw.len, DEF_MAX_RAW_BYTES);
  struct lc_module_def *def = lc_alloc_zero(1, sizeof *def);
  struct def_ctx *c = lc_alloc_zero(1, sizeof *c);
  bool ok = def && c;
  if (ok) {
    c->arena = &def->arena;
    c->err = err;
    c->r = lc_reader(raw);
    ok = decode(c, def);
    lc_buf_free(&c->scratch);
  } else {
    lc_fail(err, LC_NOMEM, "out of memory");
  }
  lc_free(c);
  if (!ok) {
    lc_module_def_free(def);
    return err->status;
  }
  *out = def;
  return LC_OK;
}

void lc_module_def_free(struct lc_module_def *def) {
  if (!def) return;
  lc_arena_free(&def->arena);
  lc_free(def);
}
