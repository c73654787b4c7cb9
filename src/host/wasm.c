/* Wasm modules on Wasmtime's C API: compiling, checking, linking, instances, calls (spec/02 §1-§3, §8-§9).
 *
 * One engine for the process, with a ticker thread that advances its epoch every TICK_MS; a call's deadline in ticks is its time budget. A linker
 * holding every ABI function is shared and immutable after start. An instance has a store of its own, whose data is the instance.
 * Invariants: a trapped instance is never called again; the guest's memory is looked up anew for each ABI call, since it may grow and move.
 */
#include "abi.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <wasm.h>
#include <wasmtime.h>

enum { TICK_MS = 10, MAX_PREINITS = 256, MAX_PROGRAM_BYTES = 256 << 20, STACK_BYTES = 512 << 10 };
static const uint64_t default_budget_us = 60u * 1000000u, default_memory_bytes = 2ull << 30;
enum { MAX_TABLE_ELEMENTS = 10000000 };

static struct {
  wasm_engine_t *engine;
  wasmtime_linker_t *linker;
  pthread_t ticker;
  atomic_bool stop;
} host;

enum { EXPORT_REDUCER, EXPORT_PROCEDURE, N_CALLS };
struct lc_module {
  atomic_uint refs;
  wasmtime_module_t *code;
  wasmtime_instance_pre_t *pre;
  struct lc_module_def *def;
  struct lc_hash hash;
  struct lc_host_limits limits;
  char *preinits[MAX_PREINITS]; /* export names, ascending */
  uint32_t n_preinits;
  bool has_setup, has_initialize, has_procedure;
};

struct lc_instance {
  struct guest guest;
  struct lc_module *module;
  wasmtime_store_t *store;
  wasmtime_context_t *context;
  wasmtime_instance_t instance;
  wasmtime_memory_t memory;
  wasmtime_func_t calls[N_CALLS];
  struct lc_buf message; /* of the last call */
  bool dead;
};

/* ---- engine ---- */

static void *tick(void *arg) {
  (void)arg;
  struct timespec ts = {0, TICK_MS * 1000000};
  while (!atomic_load_explicit(&host.stop, memory_order_relaxed)) {
    nanosleep(&ts, NULL);
    wasmtime_engine_increment_epoch(host.engine);
  }
  return NULL;
}

static void refresh_memory(struct lc_instance *inst) {
  inst->guest.memory = wasmtime_memory_data(inst->context, &inst->memory);
  inst->guest.memory_len = wasmtime_memory_data_size(inst->context, &inst->memory);
}

/* From a guest's import to the ABI call and back. */
static wasm_trap_t *trampoline(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *raw, size_t n_raw) {
  const struct abi_function *f = env;
  struct lc_instance *inst = wasmtime_context_get_data(wasmtime_caller_context(caller));
  uint64_t v[10] = {0};
  (void)n_raw;
  for (uint32_t i = 0; f->params[i]; i++) v[i] = f->params[i] == 'i' ? (uint32_t)raw[i].i32 : (uint64_t)raw[i].i64;
  refresh_memory(inst);
  if (!f->call(&inst->guest, v)) {
    const char *text = inst->guest.err.text;
    return wasmtime_trap_new(text, strlen(text));
  }
  if (f->result == 'i') raw[0].i32 = (int32_t)(uint32_t)v[0];
  else if (f->result == 'I') raw[0].i64 = (int64_t)v[0];
  return NULL;
}

static wasm_functype_t *functype(const char *params, const char *results) {
  wasm_valtype_t *p[16], *r[2];
  wasm_valtype_vec_t pv, rv;
  size_t np = strlen(params), nr = strlen(results);
  for (size_t i = 0; i < np; i++) p[i] = wasm_valtype_new(params[i] == 'i' ? WASM_I32 : WASM_I64);
  for (size_t i = 0; i < nr; i++) r[i] = wasm_valtype_new(results[i] == 'i' ? WASM_I32 : WASM_I64);
  wasm_valtype_vec_new(&pv, np, p);
  wasm_valtype_vec_new(&rv, nr, r);
  return wasm_functype_new(&pv, &rv);
}

static enum lc_status fail_error(struct lc_error *err, enum lc_status status, wasmtime_error_t *e) {
  wasm_name_t text;
  wasmtime_error_message(e, &text);
  lc_fail(err, status, "%.*s", (int)text.size, text.data);
  wasm_name_delete(&text);
  wasmtime_error_delete(e);
  return status;
}

enum lc_status lc_host_init(struct lc_error *err) {
  if (host.engine) return LC_OK;
  wasm_config_t *config = wasm_config_new();
  wasmtime_config_epoch_interruption_set(config, true);
  wasmtime_config_max_wasm_stack_set(config, STACK_BYTES);
#ifdef __SANITIZE_THREAD__
  wasmtime_config_parallel_compilation_set(config, false); /* ThreadSanitizer does not see how Wasmtime's threads synchronise */
#else
  wasmtime_config_parallel_compilation_set(config, true);
#endif
  host.engine = wasm_engine_new_with_config(config);
  if (!host.engine) return lc_fail(err, LC_UNSUPPORTED, "Wasmtime cannot start on this machine");
  host.linker = wasmtime_linker_new(host.engine);
  for (uint32_t i = 0; i < abi_n_functions; i++) {
    const struct abi_function *f = &abi_functions[i];
    const char result[2] = {f->result, 0};
    wasm_functype_t *type = functype(f->params, result);
    wasmtime_error_t *e = wasmtime_linker_define_func_unchecked(host.linker, f->module, strlen(f->module), f->name, strlen(f->name), type, trampoline, (void *)(uintptr_t)f, NULL);
    wasm_functype_delete(type);
    if (e) return fail_error(err, LC_UNSUPPORTED, e);
  }
  atomic_store(&host.stop, false);
  if (pthread_create(&host.ticker, NULL, tick, NULL) != 0) return lc_fail(err, LC_NOMEM, "cannot start the epoch ticker thread");
  return LC_OK;
}

void lc_host_shutdown(void) {
  if (!host.engine) return;
  atomic_store(&host.stop, true);
  pthread_join(host.ticker, NULL);
  wasmtime_linker_delete(host.linker);
  wasm_engine_delete(host.engine);
  host.engine = NULL;
}

/* ---- checks of a program (spec/02 §1, §2) ---- */

/* Debug-quoted module name for messages. */
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
    char name[256], extra;
    if (wasm_externtype_kind(wasm_importtype_type(imports.data[i])) != WASM_EXTERN_FUNC || module->size < 10 || memcmp(module->data, "spacetime_", 10) != 0) continue;
    snprintf(name, sizeof name, "%.*s", (int)module->size, module->data);
    (void)extra;
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
  if (major != 10 || highest > 6) return lc_fail(err, LC_INVALID, "abi version %ld.%u is not supported (host implements 10.6)", major, highest);
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

struct export_rule { const char *name, *kind, *params, *results; bool required; };
static const char call_params[] = "iIIIIIIIii";
static const struct export_rule export_rules[] = {
    {"__call_reducer__", "call_reducer", call_params, "i", true},
    {"__describe_module__", "describe_module", "i", "", true},
    {"__setup__", "setup", "i", "i", false},
    {"__call_procedure__", NULL, call_params, "i", false},
    {"__call_view__", NULL, "iIIIIii", "i", false},
    {"__call_view_anon__", NULL, "iii", "i", false},
};

static const wasm_externtype_t *find_export(const wasm_exporttype_vec_t *exports, const char *name) {
  for (size_t i = 0; i < exports->size; i++) {
    const wasm_name_t *n = wasm_exporttype_name(exports->data[i]);
    if (n->size == strlen(name) && memcmp(n->data, name, n->size) == 0) return wasm_exporttype_type(exports->data[i]);
  }
  return NULL;
}

static enum lc_status check_function(const wasm_externtype_t *type, const char *name, const struct export_rule *rule, struct lc_error *err) {
  char want[256], got[512];
  wasm_functype_t *expected = functype(rule->params, rule->results);
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

static enum lc_status check_exports(struct lc_module *m, struct lc_error *err) {
  static const struct export_rule preinit_rule = {"", "preinit", "", "", false};
  wasm_exporttype_vec_t exports;
  enum lc_status st = LC_OK;
  wasmtime_module_exports(m->code, &exports);
  const wasm_externtype_t *t = find_export(&exports, "memory");
  if (!t || wasm_externtype_kind(t) != WASM_EXTERN_MEMORY) st = lc_fail(err, LC_INVALID, "there should be a memory export called \"memory\" but it does not exist");
  for (size_t i = 0; i < sizeof export_rules / sizeof *export_rules && st == LC_OK; i++) {
    const struct export_rule *rule = &export_rules[i];
    t = find_export(&exports, rule->name);
    if (!t && rule->required) st = lc_fail(err, LC_INVALID, "there should be a function called \"%s\" but it does not exist", rule->name);
    else if (t) st = check_function(t, rule->name, rule, err);
  }
  t = find_export(&exports, "__call_http_handler__");
  if (st == LC_OK && t) {
    const wasm_functype_t *f = wasm_externtype_as_functype_const(t);
    if (!f || (!functype_is(f, "iIIIIiIiiii", "i") && !functype_is(f, "iIiiii", "i"))) {
      char got[512] = "no function";
      if (f) describe_functype(f, got, sizeof got);
      st = lc_fail(err, LC_INVALID, "__call_http_handler__ export is a function with incorrect type: %s", got);
    }
  }
  m->has_setup = find_export(&exports, "__setup__") != NULL;
  m->has_procedure = find_export(&exports, "__call_procedure__") != NULL;
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

/* ---- instances ---- */

static void backtrace_names(void *ctx, struct lc_buf *names) {
  (void)ctx;
  wasm_trap_t *here = wasmtime_trap_new("", 0); /* making a trap is how the C API tells where the guest is */
  wasm_frame_vec_t frames;
  wasm_trap_trace(here, &frames);
  for (size_t i = 0; i < frames.size; i++) {
    const wasm_name_t *name = wasmtime_frame_func_name(frames.data[i]);
    if (name) lc_buf_append(names, name->data, name->size);
    else lc_buf_str(names, "<unknown>");
    lc_buf_u8(names, 0);
  }
  wasm_frame_vec_delete(&frames);
  wasm_trap_delete(here);
}

static bool get_func(struct lc_instance *inst, const char *name, wasmtime_func_t *f) {
  wasmtime_extern_t item;
  if (!wasmtime_instance_export_get(inst->context, &inst->instance, name, strlen(name), &item)) return false;
  bool ok = item.kind == WASMTIME_EXTERN_FUNC;
  if (ok) *f = item.of.func;
  wasmtime_extern_delete(&item);
  return ok;
}

/* The text and kind of what ended a call: LC_OK, LC_TRAP or LC_BUDGET. */
static enum lc_status call(struct lc_instance *inst, const wasmtime_func_t *f, wasmtime_val_raw_t *args, size_t n_args, struct lc_error *err) {
  wasm_trap_t *trap = NULL;
  uint64_t budget = inst->module->limits.call_time_budget_us;
  wasmtime_context_set_epoch_deadline(inst->context, (budget ? budget : default_budget_us) / (TICK_MS * 1000) + 1);
  wasmtime_error_t *e = wasmtime_func_call_unchecked(inst->context, f, args, n_args, &trap);
  if (e) {
    inst->dead = true;
    return fail_error(err, LC_TRAP, e);
  }
  if (!trap) return LC_OK;
  wasmtime_trap_code_t code;
  enum lc_status st = wasmtime_trap_code(trap, &code) && code == WASMTIME_TRAP_CODE_INTERRUPT ? LC_BUDGET : LC_TRAP;
  wasm_message_t text;
  wasm_trap_message(trap, &text);
  lc_fail(err, st, "%.*s", (int)(text.size ? text.size - 1 : 0), text.data);
  wasm_byte_vec_delete(&text);
  wasm_trap_delete(trap);
  inst->dead = true;
  return st;
}

static enum lc_status run_named(struct lc_instance *inst, const char *name, struct lc_error *err) {
  wasmtime_func_t f;
  wasmtime_val_raw_t none[1];
  if (!get_func(inst, name, &f)) return lc_fail(err, LC_INVALID, "export \"%s\" vanished", name);
  enum lc_status st = call(inst, &f, none, 1, err);
  return st == LC_OK ? LC_OK : lc_fail_context(err, "wasm trap while calling \"%s\"", name);
}

/* Steps 3 to 6 of spec/02 §2. description: gets what __describe_module__ wrote. */
static enum lc_status start(struct lc_instance *inst, struct lc_buf *description, struct lc_error *err) {
  struct lc_module *m = inst->module;
  enum lc_status st = LC_OK;
  wasmtime_func_t f;
  wasmtime_val_raw_t v[1];
  if (m->has_initialize) st = run_named(inst, "_initialize", err);
  for (uint32_t i = 0; i < m->n_preinits && st == LC_OK; i++) st = run_named(inst, m->preinits[i], err);
  if (st == LC_OK && m->has_setup) {
    uint32_t sink = guest_sink(&inst->guest);
    if (!get_func(inst, "__setup__", &f)) return lc_fail(err, LC_INVALID, "export \"__setup__\" vanished");
    v[0].i32 = (int32_t)sink;
    st = call(inst, &f, v, 1, err);
    if (st != LC_OK) return lc_fail_context(err, "wasm trap while calling \"__setup__\""), st;
    struct lc_slice message = guest_sink_bytes(&inst->guest, sink);
    if (v[0].i32 == 1) return lc_fail(err, LC_INVALID, "setup function returned an error: %.*s", (int)message.len, (const char *)message.data);
    if (v[0].i32 != 0) return lc_fail(err, LC_INVALID, "setup function returned the unknown code %d", v[0].i32);
  }
  if (st == LC_OK && !get_func(inst, "__describe_module__", &f)) st = lc_fail(err, LC_INVALID, "export \"__describe_module__\" vanished");
  if (st != LC_OK) return st;
  uint32_t sink = guest_sink(&inst->guest);
  v[0].i32 = (int32_t)sink;
  st = call(inst, &f, v, 1, err);
  if (st != LC_OK) return lc_fail_context(err, "error getting module description"), st;
  if (description) lc_buf_slice_append(description, guest_sink_bytes(&inst->guest, sink));
  guest_end_call(&inst->guest, false);
  return LC_OK;
}

static enum lc_status instance_new(struct lc_module *m, struct lc_host_env *env, struct lc_instance **out, struct lc_buf *description, struct lc_error *err) {
  struct lc_instance *inst = lc_alloc_zero(1, sizeof *inst);
  if (!inst) return lc_fail(err, LC_NOMEM, "out of memory");
  inst->module = lc_module_ref(m);
  inst->guest.env = env;
  inst->guest.backtrace = backtrace_names;
  inst->store = wasmtime_store_new(host.engine, inst, NULL);
  inst->context = wasmtime_store_context(inst->store);
  wasmtime_store_limiter(inst->store, (int64_t)(m->limits.memory_limit_bytes ? m->limits.memory_limit_bytes : default_memory_bytes), MAX_TABLE_ELEMENTS, -1, -1, -1);
  wasmtime_context_set_epoch_deadline(inst->context, 1000);
  wasm_trap_t *trap = NULL;
  enum lc_status st = LC_OK;
  wasmtime_error_t *e = wasmtime_instance_pre_instantiate(m->pre, inst->context, &inst->instance, &trap);
  if (e) st = fail_error(err, LC_INVALID, e);
  if (trap) {
    st = lc_fail(err, LC_TRAP, "wasm trap while instantiating the module");
    wasm_trap_delete(trap);
  }
  wasmtime_extern_t item;
  if (st == LC_OK) {
    if (wasmtime_instance_export_get(inst->context, &inst->instance, "memory", 6, &item)) {
      inst->memory = item.of.memory;
      wasmtime_extern_delete(&item);
    }
    st = start(inst, description, err);
  }
  if (st == LC_OK && (!get_func(inst, "__call_reducer__", &inst->calls[EXPORT_REDUCER]) || (m->has_procedure && !get_func(inst, "__call_procedure__", &inst->calls[EXPORT_PROCEDURE]))))
    st = lc_fail(err, LC_INVALID, "a checked export vanished");
  if (st != LC_OK) {
    lc_instance_free(inst);
    return st;
  }
  *out = inst;
  return LC_OK;
}

enum lc_status lc_instance_new(struct lc_module *m, struct lc_host_env *env, struct lc_instance **out, struct lc_error *err) { return instance_new(m, env, out, NULL, err); }

void lc_instance_free(struct lc_instance *inst) {
  if (!inst) return;
  guest_free(&inst->guest);
  lc_buf_free(&inst->message);
  wasmtime_store_delete(inst->store);
  lc_module_unref(inst->module);
  lc_free(inst);
}

/* ---- modules ---- */

enum lc_status lc_module_load(struct lc_slice program, uint8_t program_kind, const struct lc_host_limits *limits, const struct lc_host_env *env, struct lc_module **out, struct lc_error *err) {
  if (program_kind != LC_PROGRAM_WASM) return lc_fail(err, LC_UNSUPPORTED, "JavaScript modules are not supported by this build");
  if (program.len > MAX_PROGRAM_BYTES) return lc_fail(err, LC_LIMIT, "module of %zu bytes exceeds the limit of %d", program.len, MAX_PROGRAM_BYTES);
  enum lc_status st = lc_host_init(err);
  if (st != LC_OK) return st;
  struct lc_module *m = lc_alloc_zero(1, sizeof *m);
  if (!m) return lc_fail(err, LC_NOMEM, "out of memory");
  atomic_init(&m->refs, 1);
  if (limits) m->limits = *limits;
  lc_keccak256(program, m->hash.bytes);
  wasmtime_error_t *e = wasmtime_module_new(host.engine, program.data, program.len, &m->code);
  if (e) st = fail_error(err, LC_INVALID, e);
  if (st == LC_OK) st = check_imports(m->code, err);
  if (st == LC_OK) st = check_exports(m, err);
  if (st == LC_OK && has_start_section(program)) st = lc_fail(err, LC_INVALID, "wasm trap: all fuel consumed by WebAssembly");
  if (st == LC_OK && (e = wasmtime_linker_instantiate_pre(host.linker, m->code, &m->pre))) st = fail_error(err, LC_INVALID, e);
  struct lc_buf description = {0};
  struct lc_host_env describe_env = *env; /* nothing but the log and clock can be reached while describing */
  describe_env.tx = NULL;
  struct lc_instance *first = NULL;
  if (st == LC_OK) st = instance_new(m, &describe_env, &first, &description, err);
  lc_instance_free(first);
  if (st == LC_OK) {
    st = lc_buf_ok(&description) ? lc_module_def_decode(lc_buf_slice(&description), &m->def, err) : lc_fail(err, LC_NOMEM, "out of memory");
  }
  lc_buf_free(&description);
  if (st != LC_OK) {
    lc_module_unref(m);
    return st;
  }
  *out = m;
  return LC_OK;
}

struct lc_module *lc_module_ref(struct lc_module *m) {
  atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
  return m;
}
void lc_module_unref(struct lc_module *m) {
  if (!m || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1) return;
  for (uint32_t i = 0; i < m->n_preinits; i++) lc_free(m->preinits[i]);
  if (m->pre) wasmtime_instance_pre_delete(m->pre);
  if (m->code) wasmtime_module_delete(m->code);
  lc_module_def_free(m->def);
  lc_free(m);
}
const struct lc_module_def *lc_module_definition(const struct lc_module *m) { return m->def; }
const struct lc_hash *lc_module_hash(const struct lc_module *m) { return &m->hash; }

/* ---- calls (spec/02 §3) ---- */

static enum lc_status call_function(struct lc_instance *inst, int which, const struct lc_call_args *c, uint32_t *sink, int32_t *code, struct lc_error *err) {
  wasmtime_val_raw_t v[10];
  uint64_t sender[4], conn[2];
  memcpy(sender, c->sender.bytes, 32);
  memcpy(conn, c->connection_id.bytes, 16);
  inst->guest.function_name = c->function_name;
  *sink = guest_sink(&inst->guest);
  v[0].i32 = (int32_t)c->id;
  for (int i = 0; i < 4; i++) v[1 + i].i64 = (int64_t)sender[i];
  for (int i = 0; i < 2; i++) v[5 + i].i64 = (int64_t)conn[i];
  v[7].i64 = c->timestamp_us;
  v[8].i32 = (int32_t)guest_source(&inst->guest, c->args);
  v[9].i32 = (int32_t)*sink;
  if (*sink == 0 || (c->args.len && v[8].i32 == 0)) return lc_fail(err, LC_TRAP, "out of memory");
  enum lc_status st = call(inst, &inst->calls[which], v, 10, err);
  *code = st == LC_OK ? v[0].i32 : 0;
  return st;
}

static void put_lossy(struct lc_buf *out, struct lc_slice text) {
  struct lc_buf check = {0};
  lc_buf_bsatn_bytes(&check, text);
  struct lc_reader r = lc_reader(lc_buf_slice(&check));
  bool ok = lc_buf_ok(&check) && lc_bsatn_validate(lc_type_primitive(LC_T_STRING), NULL, &r, NULL) == LC_OK;
  lc_buf_free(&check);
  lc_buf_clear(out);
  for (size_t i = 0; !ok && i < text.len; i++) {
    if (text.data[i] < 0x80) lc_buf_u8(out, text.data[i]);
    else lc_buf_str(out, "\xef\xbf\xbd");
  }
  if (ok) lc_buf_slice_append(out, text);
}

void lc_instance_call_reducer(struct lc_instance *inst, const struct lc_call_args *c, struct lc_call_result *out) {
  struct lc_error err;
  uint32_t sink;
  int32_t code;
  enum lc_status st = call_function(inst, EXPORT_REDUCER, c, &sink, &code, &err);
  *out = (struct lc_call_result){.status = st == LC_OK && code == 0 ? LC_CALL_OK : LC_CALL_FATAL, .instance_dead = inst->dead};
  if (out->status != LC_CALL_OK) {
    lc_buf_clear(&inst->message);
    if (st == LC_OK && code == 1) {
      out->status = LC_CALL_USER_ERROR;
      put_lossy(&inst->message, guest_sink_bytes(&inst->guest, sink));
      guest_log_user_error(&inst->guest, c->function_name, c->timestamp_us, lc_buf_slice(&inst->message));
    } else if (st == LC_OK) {
      lc_buf_printf(&inst->message, "reducer returned unexpected code %d", code);
    } else {
      if (st == LC_BUDGET) out->status = LC_CALL_BUDGET;
      lc_buf_str(&inst->message, err.text);
    }
    out->message = lc_buf_slice(&inst->message);
  }
  guest_end_call(&inst->guest, true);
}

void lc_instance_call_procedure(struct lc_instance *inst, const struct lc_call_args *c, struct lc_buf *ret, struct lc_call_result *out) {
  struct lc_error err;
  uint32_t sink;
  int32_t code = 0;
  lc_buf_clear(&inst->message);
  *out = (struct lc_call_result){.status = LC_CALL_FATAL};
  if (!inst->module->has_procedure) {
    lc_buf_printf(&inst->message, "Module defines procedure %.*s but does not export `__call_procedure__`", (int)c->function_name.len, (const char *)c->function_name.data);
    out->message = lc_buf_slice(&inst->message);
    return;
  }
  inst->guest.in_procedure = true;
  enum lc_status st = call_function(inst, EXPORT_PROCEDURE, c, &sink, &code, &err);
  inst->guest.in_procedure = false;
  if (inst->guest.own_tx) {
    lc_tx_rollback(inst->guest.own_tx);
    inst->guest.own_tx = NULL;
    guest_log(&inst->guest, 0, "aborting dangling anonymous transaction in procedure %.*s", (int)c->function_name.len, (const char *)c->function_name.data);
  }
  if (st == LC_OK && code == 0) {
    out->status = LC_CALL_OK;
    lc_buf_slice_append(ret, guest_sink_bytes(&inst->guest, sink));
  } else if (st == LC_OK) {
    inst->dead = true;
    lc_buf_printf(&inst->message, "__call_procedure__ returned unexpected code %d. Procedures should return code 0 or trap.", code);
  } else {
    if (st == LC_BUDGET) out->status = LC_CALL_BUDGET;
    lc_buf_str(&inst->message, err.text);
  }
  out->instance_dead = inst->dead;
  out->message = lc_buf_slice(&inst->message);
  guest_end_call(&inst->guest, true);
}
