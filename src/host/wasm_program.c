/* Owns: Wasmtime's engine of the process and programs on it: compiling or taking from the cache, checks of imports and exports (spec/02 §1, §2, §9).
 *
 * One engine, with a ticker thread that advances its epoch every TICK_MS; a call's deadline in ticks is its time budget. The linker holding every
 * ABI function is shared and immutable after start. A module is immutable once loaded.
 */
#include "wasm_internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct wasm_host wasm_host;
static struct lc_host_options options;

/* ---- engine ---- */

static void *tick(void *arg) {
  (void)arg;
  struct timespec ts = {0, TICK_MS * 1000000};
  while (!atomic_load_explicit(&wasm_host.stop, memory_order_relaxed)) {
    nanosleep(&ts, NULL);
    wasmtime_engine_increment_epoch(wasm_host.engine);
    atomic_fetch_add_explicit(&wasm_host.ticks, 1, memory_order_relaxed);
  }
  return NULL;
}

wasm_functype_t *host_functype(const char *params, const char *results) {
  wasm_valtype_t *p[16], *r[2];
  wasm_valtype_vec_t pv, rv;
  size_t np = strlen(params), nr = strlen(results);
  for (size_t i = 0; i < np; i++) p[i] = wasm_valtype_new(params[i] == 'i' ? WASM_I32 : WASM_I64);
  for (size_t i = 0; i < nr; i++) r[i] = wasm_valtype_new(results[i] == 'i' ? WASM_I32 : WASM_I64);
  wasm_valtype_vec_new(&pv, np, p);
  wasm_valtype_vec_new(&rv, nr, r);
  return wasm_functype_new(&pv, &rv);
}

enum lc_status host_fail_error(struct lc_error *err, enum lc_status status, wasmtime_error_t *e) {
  wasm_name_t text;
  wasmtime_error_message(e, &text);
  lc_fail(err, status, "%.*s", (int)text.size, text.data);
  wasm_name_delete(&text);
  wasmtime_error_delete(e);
  return status;
}

void lc_host_configure(const struct lc_host_options *o) {
  options = *o;
  code_cache_set_dir(o->code_cache_dir);
}

static const uint8_t trap_program[] = {0, 'a', 's', 'm', 1, 0, 0, 0, 1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 7, 5, 1, 1, 't', 0, 0, 10, 5, 1, 3, 0, 0, 11}; /* wasm_host.trap_code */

enum lc_status lc_host_init(struct lc_error *err) {
  if (wasm_host.engine) return LC_OK;
  wasm_config_t *config = wasm_config_new();
  wasmtime_config_epoch_interruption_set(config, true);
  wasmtime_config_consume_fuel_set(config, options.count_instructions);
  wasmtime_config_max_wasm_stack_set(config, STACK_BYTES);
  wasmtime_config_memory_may_move_set(config, false); /* struct guest relies on it */
#ifdef __SANITIZE_THREAD__
  wasmtime_config_parallel_compilation_set(config, false); /* ThreadSanitizer does not see how Wasmtime's threads synchronise */
#else
  wasmtime_config_parallel_compilation_set(config, true);
#endif
  wasm_host.engine = wasm_engine_new_with_config(config);
  if (!wasm_host.engine) return lc_fail(err, LC_UNSUPPORTED, "Wasmtime cannot start on this machine");
  wasm_host.count_instructions = options.count_instructions;
  wasm_host.linker = wasmtime_linker_new(wasm_host.engine);
  for (uint32_t i = 0; i < abi_n_functions; i++) {
    const struct abi_function *f = &abi_functions[i];
    const char result[2] = {f->result, 0};
    wasm_functype_t *type = host_functype(f->params, result);
    wasmtime_error_t *e = wasmtime_linker_define_func_unchecked(wasm_host.linker, f->module, strlen(f->module), f->name, strlen(f->name), type, host_trampoline, (void *)(uintptr_t)f->call, NULL);
    wasm_functype_delete(type);
    if (e) return host_fail_error(err, LC_UNSUPPORTED, e);
  }
  wasmtime_error_t *e = wasmtime_module_new(wasm_host.engine, trap_program, sizeof trap_program, &wasm_host.trap_code);
  if (e) return host_fail_error(err, LC_UNSUPPORTED, e);
  atomic_store(&wasm_host.ticks, 1);
  atomic_store(&wasm_host.stop, false);
  if (pthread_create(&wasm_host.ticker, NULL, tick, NULL) != 0) return lc_fail(err, LC_NOMEM, "cannot start the epoch ticker thread");
  return LC_OK;
}

uint64_t host_ticks(void) { return atomic_load_explicit(&wasm_host.ticks, memory_order_relaxed); }

void lc_host_shutdown(void) {
  js_host_shutdown();
  if (!wasm_host.engine) return;
  atomic_store(&wasm_host.stop, true);
  pthread_join(wasm_host.ticker, NULL);
  wasmtime_module_delete(wasm_host.trap_code);
  wasmtime_linker_delete(wasm_host.linker);
  wasm_engine_delete(wasm_host.engine);
  wasm_host.engine = NULL;
}

/* ---- checks of a program (spec/02 §1, §2) ---- */

static enum lc_status check_imports(const wasmtime_module_t *code, struct lc_error *err) {
  wasm_importtype_vec_t imports;
  long major = -1;
  enum lc_status st = LC_OK;
  wasmtime_module_imports(code, &imports);
  unsigned highest = 0;
  for (size_t i = 0; i < imports.size && st == LC_OK; i++) {
    const wasm_name_t *module = wasm_importtype_module(imports.data[i]);
    unsigned a, b;
    int used = 0;
    char name[256];
    if (wasm_externtype_kind(wasm_importtype_type(imports.data[i])) != WASM_EXTERN_FUNC || module->size < 10 || memcmp(module->data, "spacetime_", 10) != 0) continue;
    snprintf(name, sizeof name, "%.*s", (int)module->size, module->data);
    if (sscanf(name + 10, "%5u.%5u%n", &a, &b, &used) != 2 || name[10 + used] || a > UINT16_MAX || b > UINT16_MAX || name[10] == '+' || name[10] == '-')
      st = lc_fail(err, LC_INVALID, "import module \"%s\" has malformed version string", name);
    else if (major >= 0 && major != (long)a)
      st = lc_fail(err, LC_INVALID, "module cannot depend on both major version %u and major version %u", (unsigned)(major < (long)a ? (unsigned)major : a), (unsigned)(major < (long)a ? a : (unsigned)major));
    else {
      major = a;
      if (b > highest) highest = b;
    }
  }
  wasm_importtype_vec_delete(&imports);
  if (st != LC_OK) return st;
  if (major < 0) return lc_fail(err, LC_INVALID, "unable to determine ABI of module (may be on an spacetime version < 0.8)");
  if (major != ABI_MAJOR || highest > ABI_MINOR) return lc_fail(err, LC_INVALID, "abi version %ld.%u is not supported (host implements %d.%d)", major, highest, ABI_MAJOR, ABI_MINOR);
  return LC_OK;
}

static void describe_functype(const wasm_functype_t *type, char *out, size_t size) {
  static const char *const names[] = {[WASM_I32] = "i32", [WASM_I64] = "i64", [WASM_F32] = "f32", [WASM_F64] = "f64"};
  int at = snprintf(out, size, "(func");
  for (int half = 0; half < 2; half++) {
    const wasm_valtype_vec_t *v = half ? wasm_functype_results(type) : wasm_functype_params(type);
    if (v->size == 0) continue;
    at += snprintf(out + at, size - (size_t)at, half ? " (result" : " (param");
    for (size_t i = 0; i < v->size && (size_t)at < size - 32; i++) {
      wasm_valkind_t k = wasm_valtype_kind(v->data[i]);
      at += snprintf(out + at, size - (size_t)at, " %s", k <= WASM_F64 ? names[k] : "ref");
    }
    at += snprintf(out + at, size - (size_t)at, ")");
  }
  snprintf(out + at, size - (size_t)at, ")");
}

static bool functype_is(const wasm_functype_t *type, const char *params, const char *results) {
  for (int half = 0; half < 2; half++) {
    const wasm_valtype_vec_t *v = half ? wasm_functype_results(type) : wasm_functype_params(type);
    const char *want = half ? results : params;
    if (v->size != strlen(want)) return false;
    for (size_t i = 0; i < v->size; i++)
      if (wasm_valtype_kind(v->data[i]) != (want[i] == 'i' ? WASM_I32 : WASM_I64)) return false;
  }
  return true;
}

struct export_rule { const char *kind, *params, *results; bool required; };
#define CALL_PARAMS "iIIIIIIIii"
static const struct export_rule export_rules[] = { /* as host_export_names, in the order of checking */
    [EXPORT_REDUCER] = {"call_reducer", CALL_PARAMS, "i", true},   [EXPORT_DESCRIBE] = {"describe_module", "i", "", true}, [EXPORT_SETUP] = {"setup", "i", "i", false},
    [EXPORT_PROCEDURE] = {NULL, CALL_PARAMS, "i", false},          [EXPORT_VIEW] = {NULL, "iIIIIii", "i", false},          [EXPORT_VIEW_ANON] = {NULL, "iii", "i", false},
};
static const char handler_params[] = "iIIIIiIiiii", old_handler_params[] = "iIiiii"; /* spec/07 §3.3 */

static const wasm_externtype_t *find_export(const wasm_exporttype_vec_t *exports, const char *name) {
  for (size_t i = 0; i < exports->size; i++) {
    const wasm_name_t *n = wasm_exporttype_name(exports->data[i]);
    if (n->size == strlen(name) && memcmp(n->data, name, n->size) == 0) return wasm_exporttype_type(exports->data[i]);
  }
  return NULL;
}

static enum lc_status check_function(const wasm_externtype_t *type, const char *name, const struct export_rule *rule, struct lc_error *err) {
  char want[256], got[512];
  wasm_functype_t *expected = host_functype(rule->params, rule->results);
  describe_functype(expected, want, sizeof want);
  wasm_functype_delete(expected);
  const wasm_functype_t *f = wasm_externtype_as_functype_const(type);
  if (!f) return lc_fail(err, LC_INVALID, "expected \"%s\" export to be a %s with signature %s, but it wasn't a function at all", name, rule->kind ? rule->kind : "function", want);
  if (functype_is(f, rule->params, rule->results)) return LC_OK;
  describe_functype(f, got, sizeof got);
  if (!rule->kind) return lc_fail(err, LC_INVALID, "%s export is a function with incorrect type: expected %s got %s", name, want, got);
  return lc_fail(err, LC_INVALID, "bad %s signature for \"%s\"; expected %s got %s", rule->kind, name, want, got);
}

static int by_bytes(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static enum lc_status check_exports(struct wasm_module *m, struct lc_error *err) {
  static const struct export_rule preinit_rule = {"preinit", "", "", false};
  wasm_exporttype_vec_t exports;
  enum lc_status st = LC_OK;
  wasmtime_module_exports(m->code, &exports);
  const wasm_externtype_t *t = find_export(&exports, "memory");
  if (!t || wasm_externtype_kind(t) != WASM_EXTERN_MEMORY) st = lc_fail(err, LC_INVALID, "there should be a memory export called \"memory\" but it does not exist");
  for (int i = 0; i < EXPORT_HTTP_HANDLER && st == LC_OK; i++) {
    const struct export_rule *rule = &export_rules[i];
    t = find_export(&exports, host_export_names[i]);
    m->base.has[i] = t != NULL;
    if (!t && rule->required) st = lc_fail(err, LC_INVALID, "there should be a function called \"%s\" but it does not exist", host_export_names[i]);
    else if (t) st = check_function(t, host_export_names[i], rule, err);
  }
  t = find_export(&exports, host_export_names[EXPORT_HTTP_HANDLER]);
  m->base.has[EXPORT_HTTP_HANDLER] = t != NULL;
  if (st == LC_OK && t) {
    const wasm_functype_t *f = wasm_externtype_as_functype_const(t);
    m->handler_has_sender = f && functype_is(f, handler_params, "i");
    if (!m->handler_has_sender && (!f || !functype_is(f, old_handler_params, "i"))) {
      char got[512] = "no function";
      if (f) describe_functype(f, got, sizeof got);
      st = lc_fail(err, LC_INVALID, "__call_http_handler__ export is a function with incorrect type: %s", got);
    }
  }
  t = find_export(&exports, "_initialize");
  m->has_initialize = t && wasm_externtype_as_functype_const(t) && functype_is(wasm_externtype_as_functype_const(t), "", "");
  for (size_t i = 0; i < exports.size && st == LC_OK; i++) {
    const wasm_name_t *n = wasm_exporttype_name(exports.data[i]);
    if (n->size < 11 || memcmp(n->data, "__preinit__", 11) != 0) continue;
    if (m->n_preinits == MAX_PREINITS) st = lc_fail(err, LC_LIMIT, "module has more than %d __preinit__ functions", MAX_PREINITS);
    else if (!(m->preinits[m->n_preinits] = lc_strdup_n(n->data, n->size))) st = lc_fail(err, LC_NOMEM, "out of memory");
    else {
      char *name = m->preinits[m->n_preinits++];
      st = check_function(wasm_exporttype_type(exports.data[i]), name + 11, &preinit_rule, err);
    }
  }
  if (m->n_preinits > 1) qsort(m->preinits, m->n_preinits, sizeof *m->preinits, by_bytes);
  wasm_exporttype_vec_delete(&exports);
  return st;
}

/* A start section would run code before the host is ready; the reference's store has no fuel then (spec/02 §2). */
static bool has_start_section(struct lc_slice program) {
  struct lc_reader r = lc_reader(program);
  lc_read_raw(&r, 8);
  while (!r.failed && lc_reader_left(&r)) {
    uint8_t id = lc_read_u8(&r);
    if (id == 8) return true;
    lc_read_raw(&r, lc_read_varint(&r));
  }
  return false;
}

/* ---- modules ---- */

static const char *cache_suffix(void) { return wasm_host.count_instructions ? WASMTIME_VERSION "-n" : WASMTIME_VERSION; }

/* A program in the cache passed the checks of its bytes before. */
static wasmtime_module_t *cached_code(const struct lc_hash *program) {
  struct lc_buf code = {0};
  wasmtime_module_t *module = NULL;
  if (code_cache_get(program, cache_suffix(), &code)) {
    wasmtime_error_t *e = wasmtime_module_deserialize(wasm_host.engine, code.data, code.len, &module);
    if (e) { /* compiled for another processor */
      wasmtime_error_delete(e);
      module = NULL;
      code_cache_drop(program, cache_suffix());
    }
  }
  lc_buf_free(&code);
  return module;
}

enum lc_status wasm_module_compile(struct lc_slice program, const struct lc_host_limits *limits, struct lc_module **out, struct lc_error *err) {
  struct wasm_module *m = (struct wasm_module *)host_module_alloc(sizeof *m, &wasm_binding, program, limits);
  if (!m) return lc_fail(err, LC_NOMEM, "out of memory");
  enum lc_status st = LC_OK;
  wasmtime_error_t *e = NULL;
  m->from_cache = (m->code = cached_code(&m->base.hash)) != NULL;
  if (!m->from_cache && (e = wasmtime_module_new(wasm_host.engine, program.data, program.len, &m->code))) st = host_fail_error(err, LC_INVALID, e);
  if (st == LC_OK) st = check_imports(m->code, err);
  if (st == LC_OK) st = check_exports(m, err);
  if (st == LC_OK && has_start_section(program)) st = lc_fail(err, LC_INVALID, "wasm trap: all fuel consumed by WebAssembly");
  if (st == LC_OK && (e = wasmtime_linker_instantiate_pre(wasm_host.linker, m->code, &m->pre))) st = host_fail_error(err, LC_INVALID, e);
  if (st == LC_OK) *out = &m->base;
  else lc_module_unref(&m->base);
  return st;
}

void wasm_module_loaded(struct lc_module *base, struct lc_instance *first) {
  struct wasm_module *m = (struct wasm_module *)base;
  wasm_byte_vec_t bytes;
  (void)first;
  if (m->from_cache) return;
  wasmtime_error_t *e = wasmtime_module_serialize(m->code, &bytes);
  if (e) {
    wasmtime_error_delete(e);
    return;
  }
  code_cache_put(&base->hash, cache_suffix(), lc_slice((const uint8_t *)bytes.data, bytes.size));
  wasm_byte_vec_delete(&bytes);
}

void wasm_module_free(struct lc_module *base) {
  struct wasm_module *m = (struct wasm_module *)base;
  for (uint32_t i = 0; i < m->n_preinits; i++) lc_free(m->preinits[i]);
  if (m->pre) wasmtime_instance_pre_delete(m->pre);
  if (m->code) wasmtime_module_delete(m->code);
  lc_free(m);
}
