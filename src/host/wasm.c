/* Owns: Wasm instances on Wasmtime's C API: start-up sequence, calls and their outcomes, budgets, backtraces (spec/02 §2, §3, §8).
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

static _Thread_local struct lc_instance *running;

/* ---- from a guest's import to the ABI call and back ---- */

wasm_trap_t *host_trampoline(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *raw, size_t n_raw) {
  abi_call *function = (abi_call *)(uintptr_t)env;
  struct lc_instance *inst = running;
  (void)caller, (void)n_raw;
  if (__builtin_expect(function(&inst->guest, (union abi_value *)raw), 1)) return NULL;
  const char *text = inst->guest.err.text;
  return wasmtime_trap_new(text, strlen(text));
}

static void refresh_memory(struct guest *g) {
  struct lc_instance *inst = (struct lc_instance *)g;
  g->memory = wasmtime_memory_data(inst->context, &inst->memory);
  g->memory_len = wasmtime_memory_data_size(inst->context, &inst->memory);
}

static void suspended(struct guest *g, int64_t ns) { ((struct lc_instance *)g)->deadline_ns += ns; }

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
      lc_buf_append(names, mark + 1, (size_t)(line_end - mark - 1));
      lc_buf_u8(names, 0);
    }
    at = line_end + 1;
  }
}

/* The C API tells where a guest is only by a trap: a function that traps, called in the guest's store. */
static void backtrace(struct guest *g, struct lc_buf *names) {
  struct lc_instance *inst = (struct lc_instance *)g;
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
  struct lc_instance *inst = data;
  const struct lc_env *env = inst->guest.env->env;
  const char *reason = atomic_load(&inst->interrupt);
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
static void refill_slowly(struct lc_instance *inst, bool sliced) {
  const struct lc_env *env = inst->guest.env->env;
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
static inline void refill(struct lc_instance *inst, bool sliced) {
  if (sliced || wasm_host.count_instructions || inst->refilled_at != atomic_load_explicit(&wasm_host.ticks, memory_order_relaxed)) refill_slowly(inst, sliced);
}

static inline uint64_t energy_used(const struct lc_instance *inst) {
  uint64_t left = 0;
  if (!wasm_host.count_instructions) return 0;
  wasmtime_error_t *e = wasmtime_context_get_fuel(inst->context, &left);
  if (e) wasmtime_error_delete(e);
  return INSTRUCTION_BUDGET - left;
}

/* The text and kind of what ended a call that did not return: LC_TRAP or LC_BUDGET. */
static enum lc_status ended(struct lc_instance *inst, wasmtime_error_t *e, wasm_trap_t *trap, struct lc_error *err) {
  enum lc_status st = inst->out_of_time ? LC_BUDGET : LC_TRAP;
  inst->dead = true;
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

static inline enum lc_status call(struct lc_instance *inst, const wasmtime_func_t *f, wasmtime_val_raw_t *args, size_t n_args, struct lc_error *err) {
  wasm_trap_t *trap = NULL;
  struct lc_instance *outer = running;
  running = inst;
  wasmtime_error_t *e = wasmtime_func_call_unchecked(inst->context, f, args, n_args, &trap);
  running = outer;
  return __builtin_expect(!e && !trap, 1) ? LC_OK : ended(inst, e, trap, err);
}

/* ---- instances ---- */

static bool get_func(struct lc_instance *inst, const char *name, wasmtime_func_t *f) {
  wasmtime_extern_t item;
  if (!wasmtime_instance_export_get(inst->context, &inst->instance, name, strlen(name), &item)) return false;
  bool ok = item.kind == WASMTIME_EXTERN_FUNC;
  if (ok) *f = item.of.func;
  wasmtime_extern_delete(&item);
  return ok;
}

static enum lc_status run_named(struct lc_instance *inst, const char *name, struct lc_error *err) {
  wasmtime_func_t f;
  wasmtime_val_raw_t none[1];
  if (!get_func(inst, name, &f)) return lc_fail(err, LC_INVALID, "export \"%s\" vanished", name);
  enum lc_status st = call(inst, &f, none, 1, err);
  if (st != LC_OK) lc_fail_context(err, "wasm trap while calling \"%s\"", name);
  return st;
}

enum { MAX_ERROR_TEXT_BYTES = 1 << 20 }; /* what is longer loses its end */

/* What the guest wrote to a sink, as text. */
static void put_text(const struct lc_instance *inst, struct lc_buf *out, uint32_t sink) {
  struct lc_slice text = guest_sink_bytes(&inst->guest, sink);
  if (text.len > MAX_ERROR_TEXT_BYTES) text.len = MAX_ERROR_TEXT_BYTES;
  guest_put_lossy(out, text);
}

/* Steps 2 to 6 of spec/02 §2, with one budget. description: gets what __describe_module__ wrote. */
static enum lc_status start(struct lc_instance *inst, struct lc_buf *description, struct lc_error *err) {
  struct lc_module *m = inst->module;
  enum lc_status st = LC_OK;
  wasmtime_val_raw_t v[1];
  refill(inst, false);
  if (m->has_initialize) st = run_named(inst, "_initialize", err);
  for (uint32_t i = 0; i < m->n_preinits && st == LC_OK; i++) st = run_named(inst, m->preinits[i], err);
  if (st == LC_OK && m->has[EXPORT_SETUP]) {
    uint32_t sink = guest_sink(&inst->guest);
    if (sink == 0) return lc_fail(err, LC_NOMEM, "out of memory");
    v[0].i32 = (int32_t)sink;
    st = call(inst, &inst->calls[EXPORT_SETUP], v, 1, err);
    if (st != LC_OK) return lc_fail_context(err, "wasm trap while calling \"__setup__\""), st;
    struct lc_buf text = {0};
    put_text(inst, &text, sink);
    if (v[0].i32 == 1) st = lc_fail(err, LC_INVALID, "setup function returned an error: %.*s", (int)text.len, (const char *)text.data);
    else if (v[0].i32 != 0) st = lc_fail(err, LC_INVALID, "setup function returned the unknown code %d", v[0].i32);
    lc_buf_free(&text);
  }
  if (st != LC_OK) return st;
  uint32_t sink = guest_sink(&inst->guest);
  if (sink == 0) return lc_fail(err, LC_NOMEM, "out of memory"); /* else the module would seem to have written nothing */
  v[0].i32 = (int32_t)sink;
  st = call(inst, &inst->calls[EXPORT_DESCRIBE], v, 1, err);
  if (st != LC_OK) return lc_fail_context(err, "error getting module description"), st;
  if (description) lc_buf_slice_append(description, guest_sink_bytes(&inst->guest, sink));
  guest_end_call(&inst->guest, false);
  return LC_OK;
}

enum lc_status host_instance_new(struct lc_module *m, struct lc_host_env *env, struct lc_instance **out, struct lc_buf *description, struct lc_error *err) {
  struct lc_instance *inst = lc_alloc_zero(1, sizeof *inst);
  if (!inst) return lc_fail(err, LC_NOMEM, "out of memory");
  uint64_t budget_us = m->limits.call_time_budget_us ? m->limits.call_time_budget_us : DEFAULT_BUDGET_US;
  inst->module = lc_module_ref(m);
  inst->budget_ticks = budget_us / (TICK_MS * 1000) + 1;
  inst->guest.env = env;
  inst->guest.def = m->def;
  inst->guest.program_hash = &m->hash;
  inst->guest.refresh = refresh_memory;
  inst->guest.backtrace = backtrace;
  inst->guest.suspended = suspended;
  inst->store = wasmtime_store_new(wasm_host.engine, inst, NULL);
  inst->context = wasmtime_store_context(inst->store);
  wasmtime_store_limiter(inst->store, (int64_t)(m->limits.memory_limit_bytes ? m->limits.memory_limit_bytes : DEFAULT_MEMORY_BYTES), MAX_TABLE_ELEMENTS, -1, -1, -1);
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
    refresh_memory(&inst->guest);
  }
  for (int i = 0; i < N_EXPORTS && st == LC_OK; i++)
    if (m->has[i] && !get_func(inst, host_export_names[i], &inst->calls[i])) st = lc_fail(err, LC_INVALID, "export \"%s\" vanished", host_export_names[i]);
  if (st == LC_OK) st = start(inst, description, err);
  if (st != LC_OK) {
    lc_instance_free(inst);
    return st;
  }
  *out = inst;
  return LC_OK;
}

enum lc_status lc_instance_new(struct lc_module *m, struct lc_host_env *env, struct lc_instance **out, struct lc_error *err) { return host_instance_new(m, env, out, NULL, err); }

void lc_instance_free(struct lc_instance *inst) {
  if (!inst) return;
  guest_free(&inst->guest);
  lc_buf_free(&inst->message);
  wasmtime_store_delete(inst->store);
  lc_module_unref(inst->module);
  lc_free(inst);
}

uint64_t lc_instance_memory_bytes(const struct lc_instance *inst) { return inst->guest.memory_len; }
void lc_instance_interrupt(struct lc_instance *inst, const char *reason) { atomic_store(&inst->interrupt, reason); }

/* ---- calls (spec/02 §3) ---- */

static void put_words(wasmtime_val_raw_t *v, const uint8_t *bytes, size_t n_words) {
  for (size_t i = 0; i < n_words; i++) memcpy(&v[i].i64, bytes + 8 * i, 8);
}

static inline void begin_call(struct lc_instance *inst, const struct lc_call_args *c, bool sliced) {
  inst->guest.function_name = c->function_name;
  inst->guest.in_call = true;
  refill(inst, sliced);
}
static inline void end_call(struct lc_instance *inst, struct lc_call_result *out) {
  inst->guest.in_call = false;
  out->instance_dead = inst->dead;
  out->energy = energy_used(inst);
  guest_end_call(&inst->guest, true);
}
/* The outcome of a call that did not return. */
static void fail_call(struct lc_instance *inst, enum lc_status st, const struct lc_error *err, struct lc_call_result *out) {
  out->status = st == LC_BUDGET ? LC_CALL_BUDGET : LC_CALL_FATAL;
  lc_buf_clear(&inst->message);
  lc_buf_str(&inst->message, err->text);
  out->message = out->cause = lc_buf_slice(&inst->message);
}

/* __call_reducer__ and __call_procedure__: sink: where the answer is; code: what it returned. */
static inline enum lc_status call_function(struct lc_instance *inst, enum host_export which, const struct lc_call_args *c, uint32_t *sink, int32_t *code, struct lc_error *err) {
  wasmtime_val_raw_t v[10];
  *sink = guest_sink(&inst->guest);
  v[0].i32 = (int32_t)c->id;
  put_words(v + 1, c->sender.bytes, 4);
  put_words(v + 5, c->connection_id.bytes, 2);
  v[7].i64 = c->timestamp_us;
  v[8].i32 = (int32_t)guest_source_borrowed(&inst->guest, c->args);
  v[9].i32 = (int32_t)*sink;
  if (*sink == 0 || (c->args.len && v[8].i32 == 0)) return lc_fail(err, LC_TRAP, "out of memory");
  enum lc_status st = call(inst, &inst->calls[which], v, 10, err);
  *code = st == LC_OK ? v[0].i32 : 0;
  return st;
}

void lc_instance_call_reducer(struct lc_instance *inst, const struct lc_call_args *c, struct lc_call_result *out) {
  struct lc_error err;
  uint32_t sink;
  int32_t code = 0;
  *out = (struct lc_call_result){.status = LC_CALL_OK};
  begin_call(inst, c, false);
  enum lc_status st = call_function(inst, EXPORT_REDUCER, c, &sink, &code, &err);
  if (st != LC_OK) {
    fail_call(inst, st, &err, out);
  } else if (code != 0) {
    lc_buf_clear(&inst->message);
    out->status = code == 1 ? LC_CALL_USER_ERROR : LC_CALL_FATAL;
    if (code == 1) put_text(inst, &inst->message, sink);
    else lc_buf_printf(&inst->message, "reducer returned unexpected code %d", code);
    out->message = lc_buf_slice(&inst->message);
    if (code == 1) guest_log_user_error(&inst->guest, c->function_name, c->timestamp_us, out->message);
  }
  end_call(inst, out);
}

/* False: the export is missing, with the text of spec/02 §3 as the outcome. */
static bool has_export(struct lc_instance *inst, enum host_export which, const char *kind, const struct lc_call_args *c, struct lc_call_result *out) {
  *out = (struct lc_call_result){.status = LC_CALL_OK};
  if (inst->module->has[which]) return true;
  lc_buf_clear(&inst->message);
  lc_buf_printf(&inst->message, "Module defines %s %.*s but does not export `%s`", kind, (int)c->function_name.len, (const char *)c->function_name.data, host_export_names[which]);
  *out = (struct lc_call_result){.status = LC_CALL_FATAL, .message = lc_buf_slice(&inst->message)};
  return false;
}

/* What a procedure or handler left open is rolled back. */
static void drop_transaction(struct lc_instance *inst, const struct lc_call_args *c) {
  struct guest *g = &inst->guest;
  if (!g->own_tx) return;
  struct lc_tx *tx = g->own_tx;
  g->own_tx = NULL;
  g->env->abort_tx(g->env->ctx, tx);
  guest_log(g, 0, "aborting dangling anonymous transaction in procedure %.*s", (int)c->function_name.len, (const char *)c->function_name.data);
}

/* A procedure's or handler's error as its callers see it (spec/02 §3, spec/07 §3.4): of a trap the backtrace, then its causes in one line. */
static void fail_async(struct lc_instance *inst, enum lc_status st, const struct lc_error *err, struct lc_call_result *out) {
  static const char heading[] = "\n\nCaused by:";
  fail_call(inst, st, err, out);
  const char *causes = strstr(err->text, heading);
  if (!causes || strncmp(err->text, "error while executing", 21) != 0) return;
  lc_buf_clear(&inst->message);
  lc_buf_append(&inst->message, err->text, (size_t)(causes - err->text));
  for (const char *at = causes + sizeof heading - 1, *end; *at; at = end) { /* a line each, indented, numbered if there are several */
    at += strspn(at, "\n ");
    size_t digits = strspn(at, "0123456789");
    if (digits && strncmp(at + digits, ": ", 2) == 0) at += digits + 2;
    end = at + strcspn(at, "\n");
    if (end > at) lc_buf_printf(&inst->message, ": %.*s", (int)(end - at), at);
  }
  if (lc_buf_ok(&inst->message)) out->message = out->cause = lc_buf_slice(&inst->message);
}
static void unexpected_code(struct lc_instance *inst, const char *export_name, const char *kinds, int32_t code, struct lc_call_result *out) {
  inst->dead = true;
  out->status = LC_CALL_FATAL;
  lc_buf_clear(&inst->message);
  lc_buf_printf(&inst->message, "%s returned unexpected code %d. %s should return code 0 or trap.", export_name, code, kinds);
  out->message = lc_buf_slice(&inst->message);
}

void lc_instance_call_procedure(struct lc_instance *inst, const struct lc_call_args *c, struct lc_buf *ret, struct lc_call_result *out) {
  struct lc_error err;
  uint32_t sink;
  int32_t code = 0;
  if (!has_export(inst, EXPORT_PROCEDURE, "procedure", c, out)) return;
  begin_call(inst, c, true);
  enum lc_status st = call_function(inst, EXPORT_PROCEDURE, c, &sink, &code, &err);
  drop_transaction(inst, c);
  if (st != LC_OK) fail_async(inst, st, &err, out);
  else if (code != 0) unexpected_code(inst, host_export_names[EXPORT_PROCEDURE], "Procedures", code, out);
  else lc_buf_slice_append(ret, guest_sink_bytes(&inst->guest, sink));
  end_call(inst, out);
}

/* BSATN of the types of spec/02 §3, so far as their shape goes. */
static bool skip_headers(struct lc_reader *r) {
  for (uint32_t n = lc_read_u32(r); n > 0 && !r->failed; n--) {
    lc_read_bytes(r);
    lc_read_bytes(r);
  }
  return !r->failed;
}
static bool is_response(struct lc_slice bytes) {
  struct lc_reader r = lc_reader(bytes);
  if (!skip_headers(&r) || lc_read_u8(&r) > 4) return false;
  lc_read_u16(&r);
  return !r.failed;
}

void lc_instance_call_http_handler(struct lc_instance *inst, const struct lc_call_args *c, struct lc_slice jwt_payload, struct lc_slice request_body, struct lc_buf *response, struct lc_buf *response_body,
                                   struct lc_call_result *out) {
  struct lc_error err;
  struct guest *g = &inst->guest;
  wasmtime_val_raw_t v[11];
  size_t n = 0;
  if (!has_export(inst, EXPORT_HTTP_HANDLER, "http handler", c, out)) return;
  begin_call(inst, c, true);
  uint32_t sink = guest_sink(g), body_sink = guest_sink(g);
  v[n++].i32 = (int32_t)c->id;
  uint32_t request = guest_source_borrowed(g, c->args), body = guest_source_borrowed(g, request_body), jwt = 0;
  if (inst->module->handler_has_sender) {
    put_words(v + n, c->sender.bytes, 4);
    n += 4;
    v[n++].i32 = (int32_t)(jwt = guest_source_borrowed(g, jwt_payload));
  }
  v[n++].i64 = c->timestamp_us;
  v[n++].i32 = (int32_t)request;
  v[n++].i32 = (int32_t)body;
  v[n++].i32 = (int32_t)sink;
  v[n++].i32 = (int32_t)body_sink;
  bool memory = sink && body_sink && (!c->args.len || request) && (!request_body.len || body) && (!inst->module->handler_has_sender || !jwt_payload.len || jwt);
  enum lc_status st = memory ? call(inst, &inst->calls[EXPORT_HTTP_HANDLER], v, n, &err) : lc_fail(&err, LC_TRAP, "out of memory");
  drop_transaction(inst, c);
  if (st != LC_OK) {
    fail_async(inst, st, &err, out);
  } else if (v[0].i32 != 0) {
    unexpected_code(inst, host_export_names[EXPORT_HTTP_HANDLER], "HTTP handlers", v[0].i32, out);
  } else if (!is_response(guest_sink_bytes(g, sink))) {
    inst->dead = true;
    lc_fail(&err, LC_TRAP, "the HTTP handler's response cannot be decoded");
    fail_call(inst, LC_TRAP, &err, out);
  } else {
    lc_buf_slice_append(response, guest_sink_bytes(g, sink));
    lc_buf_slice_append(response_body, guest_sink_bytes(g, body_sink));
  }
  end_call(inst, out);
}

/* The two forms of a view's answer (spec/02 §3): code 0 rows, code 2 a header first. False: *err says what is wrong. */
static bool view_answer(struct lc_slice bytes, int32_t code, const struct lc_call_args *c, enum lc_view_result *kind, struct lc_buf *rows, struct lc_error *err) {
  struct lc_reader r = lc_reader(bytes);
  uint8_t tag = code == 2 ? lc_read_u8(&r) : 0;
  *kind = tag == 1 ? LC_VIEW_SQL : LC_VIEW_ROWS;
  struct lc_slice answer = tag == 1 ? lc_read_bytes(&r) : lc_slice(r.p, lc_reader_left(&r));
  if (r.failed || tag > 1 || (tag == 1 && !lc_utf8_valid(answer.data, answer.len)) || (tag == 0 && answer.len < 4)) {
    lc_fail(err, LC_INVALID, "Error materializing view `%.*s`: its result cannot be decoded", (int)c->function_name.len, (const char *)c->function_name.data);
    return false;
  }
  lc_buf_slice_append(rows, answer);
  return true;
}

static void call_view(struct lc_instance *inst, enum host_export which, const char *about, const struct lc_call_args *c, enum lc_view_result *kind, struct lc_buf *rows, struct lc_call_result *out) {
  struct lc_error err;
  struct guest *g = &inst->guest;
  wasmtime_val_raw_t v[7];
  size_t n = 0;
  if (!has_export(inst, which, about, c, out)) return;
  begin_call(inst, c, false);
  uint32_t sink = guest_sink(g), args = guest_source_borrowed(g, c->args);
  v[n++].i32 = (int32_t)c->id;
  if (which == EXPORT_VIEW) {
    put_words(v + n, c->sender.bytes, 4);
    n += 4;
  }
  v[n++].i32 = (int32_t)args;
  v[n++].i32 = (int32_t)sink;
  enum lc_status st = sink && (!c->args.len || args) ? call(inst, &inst->calls[which], v, n, &err) : lc_fail(&err, LC_TRAP, "out of memory");
  if (st != LC_OK) {
    fail_call(inst, st, &err, out);
  } else if (v[0].i32 != 0 && v[0].i32 != 2) {
    lc_buf_clear(&inst->message);
    out->status = v[0].i32 == 1 ? LC_CALL_USER_ERROR : LC_CALL_FATAL;
    if (v[0].i32 == 1) put_text(inst, &inst->message, sink);
    else lc_buf_printf(&inst->message, "view returned unexpected code %d", v[0].i32);
    out->message = lc_buf_slice(&inst->message);
  } else if (!view_answer(guest_sink_bytes(g, sink), v[0].i32, c, kind, rows, &err)) {
    fail_call(inst, LC_TRAP, &err, out);
  }
  end_call(inst, out);
}
void lc_instance_call_view(struct lc_instance *inst, const struct lc_call_args *c, enum lc_view_result *kind, struct lc_buf *rows, struct lc_call_result *out) {
  call_view(inst, EXPORT_VIEW, "view", c, kind, rows, out);
}
void lc_instance_call_view_anon(struct lc_instance *inst, const struct lc_call_args *c, enum lc_view_result *kind, struct lc_buf *rows, struct lc_call_result *out) {
  call_view(inst, EXPORT_VIEW_ANON, "anonymous view", c, kind, rows, out);
}
