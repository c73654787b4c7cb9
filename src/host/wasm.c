/* Owns: Wasm instances on Wasmtime's C API: start-up sequence, calls, budgets, backtraces (spec/02 §2, §3, §8).
 *
 * An instance has a store of its own. Invariants: an instance that trapped or ran out of its budget is never called again; whatever way a call ends,
 * the guest's handles are dropped; the thread that runs a guest finds its instance in `running`.
 * Budgets: a reducer's or view's is a deadline in ticks of the engine's epoch. A procedure or handler is looked at every SLICE_TICKS, so that its
 * deadline can move while it is suspended and it can be interrupted.
 */
#include "wasm_internal.h"
#include <stdio.h>

enum { SLICE_TICKS = 5 };
static_assert(sizeof(union abi_value) == sizeof(wasmtime_val_raw_t), "abi_value is Wasmtime's raw value");

static _Thread_local struct wasm_instance *running;

/* ---- from a guest's import to the ABI call and back ---- */

wasm_trap_t *host_trampoline(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *raw, size_t n_raw) {
  abi_call *function = (abi_call *)(uintptr_t)env;
  struct wasm_instance *inst = running;
  (void)caller, (void)n_raw;
  if (__builtin_expect(function(&inst->base.guest, (union abi_value *)raw), 1)) return NULL;
  const char *text = inst->base.guest.err.text;
  return wasmtime_trap_new(text, strlen(text));
}

static void refresh_memory(struct guest *g) {
  struct wasm_instance *inst = (struct wasm_instance *)g;
  g->memory = wasmtime_memory_data(inst->context, &inst->memory);
  g->memory_len = wasmtime_memory_data_size(inst->context, &inst->memory);
}

static void suspended(struct guest *g, int64_t ns) { ((struct wasm_instance *)g)->deadline_ns += ns; }

/* ---- backtraces ---- */

/* Names of functions from a trap's text, which has them demangled: lines `  N: 0xOFFSET - MODULE!NAME`, after them ` at FILE:LINE` lines. */
static void put_names(const char *text, size_t len, uint32_t skip, struct lc_buf *names) {
  for (const char *at = text, *end = text + len; at < end;) {
    const char *next = memchr(at, '\n', (size_t)(end - at)), *line_end = next ? next : end;
    const char *p = at;
    while (p < line_end && *p == ' ') p++;
    const char *digits = p;
    while (p < line_end && *p >= '0' && *p <= '9') p++;
    const char *mark = p > digits && p < line_end && *p == ':' ? memchr(p, '!', (size_t)(line_end - p)) : NULL;
    if (mark && skip > 0) skip--;
    else if (mark) {
      lc_buf_u8(names, 0); /* no place */
      lc_buf_append(names, mark + 1, (size_t)(line_end - mark - 1));
      lc_buf_u8(names, 0);
    }
    at = line_end + 1;
  }
}

/* The C API tells where a guest is only by a trap: a function that traps, called in the guest's store. */
static void backtrace(struct guest *g, struct lc_buf *names) {
  struct wasm_instance *inst = (struct wasm_instance *)g;
  wasmtime_instance_t instance;
  wasmtime_extern_t item;
  wasm_trap_t *trap = NULL;
  wasmtime_val_raw_t none[1];
  wasmtime_error_t *e = NULL;
  if (!inst->has_trap) e = wasmtime_instance_new(inst->context, wasm_host.trap_code, NULL, 0, &instance, &trap);
  if (!inst->has_trap && !e && !trap && wasmtime_instance_export_get(inst->context, &instance, "t", 1, &item)) {
    inst->trap = item.of.func;
    inst->has_trap = true;
    wasmtime_extern_delete(&item);
  }
  if (inst->has_trap) e = wasmtime_func_call_unchecked(inst->context, &inst->trap, none, 1, &trap);
  if (trap) {
    wasm_message_t text;
    wasm_trap_message(trap, &text);
    put_names(text.data, text.size, 1, names);
    wasm_byte_vec_delete(&text);
    wasm_trap_delete(trap);
  }
  if (e) wasmtime_error_delete(e);
}

/* ---- calls into the guest ---- */

static wasmtime_error_t *on_deadline(wasmtime_context_t *context, void *data, uint64_t *more_ticks, wasmtime_update_deadline_kind_t *kind) {
  struct wasm_instance *inst = data;
  const struct lc_env *env = inst->base.guest.env->env;
  const char *reason = atomic_load(&inst->base.interrupt);
  (void)context;
  if (reason) return wasmtime_error_new(reason);
  if (inst->sliced && env->monotonic_ns(env->ctx) < inst->deadline_ns) {
    *more_ticks = SLICE_TICKS;
    *kind = WASMTIME_UPDATE_DEADLINE_CONTINUE;
    return NULL;
  }
  inst->out_of_time = true;
  return wasmtime_error_new("the call has used up its time budget");
}

/* A new budget. */
static void refill_slowly(struct wasm_instance *inst, bool sliced) {
  const struct lc_env *env = inst->base.guest.env->env;
  inst->refilled_at = sliced ? 0 : atomic_load_explicit(&wasm_host.ticks, memory_order_relaxed);
  inst->sliced = sliced;
  inst->out_of_time = false;
  if (sliced) inst->deadline_ns = env->monotonic_ns(env->ctx) + (int64_t)inst->budget_ticks * TICK_MS * 1000000;
  wasmtime_context_set_epoch_deadline(inst->context, sliced ? SLICE_TICKS : inst->budget_ticks);
  if (!wasm_host.count_instructions) return;
  wasmtime_error_t *e = wasmtime_context_set_fuel(inst->context, INSTRUCTION_BUDGET);
  if (e) wasmtime_error_delete(e);
}
/* Within a tick the deadline of the last call still serves. */
static inline void refill(struct wasm_instance *inst, bool sliced) {
  if (sliced || wasm_host.count_instructions || inst->refilled_at != atomic_load_explicit(&wasm_host.ticks, memory_order_relaxed)) refill_slowly(inst, sliced);
}

static inline uint64_t energy_used(const struct wasm_instance *inst) {
  uint64_t left = 0;
  if (!wasm_host.count_instructions) return 0;
  wasmtime_error_t *e = wasmtime_context_get_fuel(inst->context, &left);
  if (e) wasmtime_error_delete(e);
  return INSTRUCTION_BUDGET - left;
}

/* The text and kind of what ended a call that did not return: LC_TRAP or LC_BUDGET. */
static enum lc_status ended(struct wasm_instance *inst, wasmtime_error_t *e, wasm_trap_t *trap, struct lc_error *err) {
  enum lc_status st = inst->out_of_time ? LC_BUDGET : LC_TRAP;
  inst->base.dead = true;
  if (e) {
    if (trap) wasm_trap_delete(trap);
    return host_fail_error(err, st, e);
  }
  wasmtime_trap_code_t code;
  if (wasmtime_trap_code(trap, &code) && (code == WASMTIME_TRAP_CODE_INTERRUPT || code == WASMTIME_TRAP_CODE_OUT_OF_FUEL)) st = LC_BUDGET;
  wasm_message_t text;
  wasm_trap_message(trap, &text);
  lc_fail(err, st, "%.*s", (int)(text.size ? text.size - 1 : 0), text.data);
  wasm_byte_vec_delete(&text);
  wasm_trap_delete(trap);
  return st;
}

static inline enum lc_status call(struct wasm_instance *inst, const wasmtime_func_t *f, wasmtime_val_raw_t *args, size_t n_args, struct lc_error *err) {
  wasm_trap_t *trap = NULL;
  struct wasm_instance *outer = running;
  running = inst;
  wasmtime_error_t *e = wasmtime_func_call_unchecked(inst->context, f, args, n_args, &trap);
  running = outer;
  return __builtin_expect(!e && !trap, 1) ? LC_OK : ended(inst, e, trap, err);
}

/* ---- instances ---- */

static bool get_func(struct wasm_instance *inst, const char *name, wasmtime_func_t *f) {
  wasmtime_extern_t item;
  if (!wasmtime_instance_export_get(inst->context, &inst->instance, name, strlen(name), &item)) return false;
  bool ok = item.kind == WASMTIME_EXTERN_FUNC;
  if (ok) *f = item.of.func;
  wasmtime_extern_delete(&item);
  return ok;
}

static enum lc_status run_named(struct wasm_instance *inst, const char *name, struct lc_error *err) {
  wasmtime_func_t f;
  wasmtime_val_raw_t none[1];
  if (!get_func(inst, name, &f)) return lc_fail(err, LC_INVALID, "export \"%s\" vanished", name);
  enum lc_status st = call(inst, &f, none, 1, err);
  if (st != LC_OK) lc_fail_context(err, "wasm trap while calling \"%s\"", name);
  return st;
}

/* Steps 2 to 6 of spec/02 §2, with one budget. description: gets what __describe_module__ wrote. */
static enum lc_status start(struct wasm_instance *inst, struct lc_buf *description, struct lc_error *err) {
  struct wasm_module *m = (struct wasm_module *)inst->base.module;
  enum lc_status st = LC_OK;
  wasmtime_val_raw_t v[1];
  refill(inst, false);
  if (m->has_initialize) st = run_named(inst, "_initialize", err);
  for (uint32_t i = 0; i < m->n_preinits && st == LC_OK; i++) st = run_named(inst, m->preinits[i], err);
  if (st == LC_OK && m->base.has[EXPORT_SETUP]) {
    uint32_t sink = guest_sink(&inst->base.guest);
    if (sink == 0) return lc_fail(err, LC_NOMEM, "out of memory");
    v[0].i32 = (int32_t)sink;
    st = call(inst, &inst->calls[EXPORT_SETUP], v, 1, err);
    if (st != LC_OK) return lc_fail_context(err, "wasm trap while calling \"__setup__\""), st;
    struct lc_buf text = {0};
    guest_put_lossy(&text, guest_sink_bytes(&inst->base.guest, sink));
    if (v[0].i32 == 1) st = lc_fail(err, LC_INVALID, "setup function returned an error: %.*s", (int)text.len, (const char *)text.data);
    else if (v[0].i32 != 0) st = lc_fail(err, LC_INVALID, "setup function returned the unknown code %d", v[0].i32);
    lc_buf_free(&text);
  }
  if (st != LC_OK) return st;
  uint32_t sink = guest_sink(&inst->base.guest);
  if (sink == 0) return lc_fail(err, LC_NOMEM, "out of memory"); /* else the module would seem to have written nothing */
  v[0].i32 = (int32_t)sink;
  st = call(inst, &inst->calls[EXPORT_DESCRIBE], v, 1, err);
  if (st != LC_OK) return lc_fail_context(err, "error getting module description"), st;
  if (description) lc_buf_slice_append(description, guest_sink_bytes(&inst->base.guest, sink));
  guest_end_call(&inst->base.guest, false);
  return LC_OK;
}

static void wasm_instance_free(struct lc_instance *base) {
  wasmtime_store_delete(((struct wasm_instance *)base)->store);
  host_instance_release(base);
}

static enum lc_status new_instance(struct lc_module *base, struct lc_host_env *env, struct lc_instance **out, struct lc_buf *description, struct lc_error *err) {
  struct wasm_module *m = (struct wasm_module *)base;
  struct wasm_instance *inst = (struct wasm_instance *)host_instance_alloc(sizeof *inst, base, env);
  if (!inst) return lc_fail(err, LC_NOMEM, "out of memory");
  inst->budget_ticks = host_budget_ticks(base);
  inst->base.guest.refresh = refresh_memory;
  inst->base.guest.backtrace = backtrace;
  inst->base.guest.suspended = suspended;
  inst->store = wasmtime_store_new(wasm_host.engine, inst, NULL);
  inst->context = wasmtime_store_context(inst->store);
  wasmtime_store_limiter(inst->store, (int64_t)(base->limits.memory_limit_bytes ? base->limits.memory_limit_bytes : DEFAULT_MEMORY_BYTES), MAX_TABLE_ELEMENTS, -1, -1, -1);
  wasmtime_store_epoch_deadline_callback(inst->store, on_deadline, inst, NULL);
  refill(inst, false);
  wasm_trap_t *trap = NULL;
  enum lc_status st = LC_OK;
  wasmtime_error_t *e = wasmtime_instance_pre_instantiate(m->pre, inst->context, &inst->instance, &trap);
  if (e) st = host_fail_error(err, LC_INVALID, e);
  if (trap) {
    st = lc_fail(err, LC_TRAP, "wasm trap while instantiating the module");
    wasm_trap_delete(trap);
  }
  wasmtime_extern_t item;
  if (st == LC_OK && wasmtime_instance_export_get(inst->context, &inst->instance, "memory", 6, &item)) {
    inst->memory = item.of.memory;
    wasmtime_extern_delete(&item);
    refresh_memory(&inst->base.guest);
  }
  for (int i = 0; i < N_EXPORTS && st == LC_OK; i++)
    if (base->has[i] && !get_func(inst, host_export_names[i], &inst->calls[i])) st = lc_fail(err, LC_INVALID, "export \"%s\" vanished", host_export_names[i]);
  if (st == LC_OK) st = start(inst, description, err);
  if (st == LC_OK) *out = &inst->base;
  else wasm_instance_free(&inst->base);
  return st;
}

static uint64_t wasm_memory_bytes(const struct lc_instance *inst) { return inst->guest.memory_len; }

/* ---- calls (spec/02 §3) ---- */

static void put_words(wasmtime_val_raw_t *v, const uint8_t *bytes, size_t n_words) {
  for (size_t i = 0; i < n_words; i++) memcpy(&v[i].i64, bytes + 8 * i, 8);
}

static enum lc_status wasm_run(struct lc_instance *base, enum host_export which, const struct lc_call_args *c, const struct host_extra *extra, struct host_answer *answer, struct lc_error *err) {
  struct wasm_instance *inst = (struct wasm_instance *)base;
  struct guest *g = &base->guest;
  bool handler = which == EXPORT_HTTP_HANDLER, with_sender = handler && ((struct wasm_module *)base->module)->handler_has_sender;
  wasmtime_val_raw_t v[11];
  size_t n = 0;
  refill(inst, handler || which == EXPORT_PROCEDURE);
  uint32_t sink = guest_sink(g), body_sink = handler ? guest_sink(g) : 0, args = guest_source_borrowed(g, c->args), body = 0, jwt = 0;
  bool memory = sink && (!c->args.len || args);
  if (handler) {
    body = guest_source_borrowed(g, extra->body);
    if (with_sender) jwt = guest_source_borrowed(g, extra->jwt);
    memory = memory && body_sink && (!extra->body.len || body) && (!with_sender || !extra->jwt.len || jwt);
  }
  if (!memory) return lc_fail(err, LC_TRAP, "out of memory");
  v[n++].i32 = (int32_t)c->id;
  if (which != EXPORT_VIEW_ANON && (!handler || with_sender)) {
    put_words(v + n, c->sender.bytes, 4);
    n += 4;
  }
  if (which == EXPORT_REDUCER || which == EXPORT_PROCEDURE) {
    put_words(v + n, c->connection_id.bytes, 2);
    n += 2;
  }
  if (with_sender) v[n++].i32 = (int32_t)jwt;
  if (which != EXPORT_VIEW && which != EXPORT_VIEW_ANON) v[n++].i64 = c->timestamp_us;
  v[n++].i32 = (int32_t)args;
  if (handler) v[n++].i32 = (int32_t)body;
  v[n++].i32 = (int32_t)sink;
  if (handler) v[n++].i32 = (int32_t)body_sink;
  enum lc_status st = call(inst, &inst->calls[which], v, n, err);
  if (st != LC_OK) return st;
  *answer = (struct host_answer){v[0].i32, guest_sink_bytes(g, sink), handler ? guest_sink_bytes(g, body_sink) : lc_slice(NULL, 0)};
  return LC_OK;
}

static uint64_t wasm_energy(const struct lc_instance *inst) { return energy_used((const struct wasm_instance *)inst); }

const struct host_binding wasm_binding = {.module_free = wasm_module_free, .instance_new = new_instance, .instance_free = wasm_instance_free, .memory_bytes = wasm_memory_bytes,
                                          .run = wasm_run, .energy = wasm_energy, .loaded = wasm_module_loaded};
