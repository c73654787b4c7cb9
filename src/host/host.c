/* Owns: modules and instances whatever runs them, and what a call comes to (spec/02 §2, §3; spec/07 §3.3, §3.4). What differs between Wasm and JavaScript
 * is behind struct host_binding.
 *
 * Invariants: whatever way a call ends, the guest's handles are dropped and a transaction it opened itself is rolled back; an instance that is dead is not called.
 * Callers: db/, and the command line for describing a program.
 */
#include "host_internal.h"
#include <stdio.h>

const char *const host_export_names[N_EXPORTS] = {"__call_reducer__", "__describe_module__", "__setup__", "__call_procedure__", "__call_view__", "__call_view_anon__", "__call_http_handler__"};

/* ---- modules ---- */

struct lc_module *host_module_alloc(size_t size, const struct host_binding *binding, struct lc_slice program, const struct lc_host_limits *limits) {
  struct lc_module *m = lc_alloc_zero(1, size);
  if (!m) return NULL;
  atomic_init(&m->refs, 1);
  m->binding = binding;
  if (limits) m->limits = *limits;
  lc_keccak256(program, m->hash.bytes);
  return m;
}

enum lc_status lc_module_load(struct lc_slice program, uint8_t program_kind, const struct lc_host_limits *limits, const struct lc_host_env *env, struct lc_module **out, struct lc_error *err) {
  if (program_kind != LC_PROGRAM_WASM && program_kind != LC_PROGRAM_JS) return lc_fail(err, LC_UNSUPPORTED, "programs of kind %d are not known", program_kind);
  if (program.len > MAX_PROGRAM_BYTES) return lc_fail(err, LC_LIMIT, "module of %zu bytes exceeds the limit of %d", program.len, MAX_PROGRAM_BYTES);
  enum lc_status st = lc_host_init(err);
  if (st != LC_OK) return st;
  struct lc_module *m = NULL;
  struct lc_buf description = {0};
  struct lc_host_env describe_env = {.env = env->env, .ctx = env->ctx, .log = env->log, .database_identity = env->database_identity}; /* there is no database yet */
  struct lc_instance *first = NULL;
  st = program_kind == LC_PROGRAM_JS ? js_module_compile(program, limits, &m, err) : wasm_module_compile(program, limits, &m, err);
  if (st != LC_OK) return st;
  st = m->binding->instance_new(m, &describe_env, &first, &description, err);
  if (st == LC_OK) st = lc_buf_ok(&description) ? lc_module_def_decode(lc_buf_slice(&description), &m->def, err) : lc_fail(err, LC_NOMEM, "out of memory");
  if (st == LC_OK) m->binding->loaded(m, first);
  lc_instance_free(first);
  lc_buf_free(&description);
  if (st == LC_OK) *out = m;
  else lc_module_unref(m);
  return st;
}

struct lc_module *lc_module_ref(struct lc_module *m) {
  atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
  return m;
}
void lc_module_unref(struct lc_module *m) {
  if (!m || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1) return;
  lc_module_def_free(m->def);
  m->binding->module_free(m);
}
const struct lc_module_def *lc_module_definition(const struct lc_module *m) { return m->def; }
const struct lc_hash *lc_module_hash(const struct lc_module *m) { return &m->hash; }

uint64_t host_budget_ticks(const struct lc_module *m) { return (m->limits.call_time_budget_us ? m->limits.call_time_budget_us : DEFAULT_BUDGET_US) / (TICK_MS * 1000) + 1; }

/* ---- instances ---- */

struct lc_instance *host_instance_alloc(size_t size, struct lc_module *m, struct lc_host_env *env) {
  struct lc_instance *inst = lc_alloc_zero(1, size);
  if (!inst) return NULL;
  inst->module = lc_module_ref(m);
  inst->binding = m->binding;
  inst->guest.env = env;
  inst->guest.def = m->def;
  inst->guest.program_hash = &m->hash;
  return inst;
}
void host_instance_release(struct lc_instance *inst) {
  guest_free(&inst->guest);
  lc_buf_free(&inst->message);
  lc_module_unref(inst->module);
  lc_free(inst);
}

enum lc_status lc_instance_new(struct lc_module *m, struct lc_host_env *env, struct lc_instance **out, struct lc_error *err) { return m->binding->instance_new(m, env, out, NULL, err); }
void lc_instance_free(struct lc_instance *inst) {
  if (inst) inst->binding->instance_free(inst);
}
uint64_t lc_instance_memory_bytes(const struct lc_instance *inst) { return inst->binding->memory_bytes(inst); }
void lc_instance_interrupt(struct lc_instance *inst, const char *reason) { atomic_store(&inst->interrupt, reason); }

/* ---- calls (spec/02 §3) ---- */

static inline void begin_call(struct lc_instance *inst, const struct lc_call_args *c) {
  inst->guest.function_name = c->function_name;
  inst->guest.in_call = true;
}
static inline void end_call(struct lc_instance *inst, struct lc_call_result *out) {
  inst->guest.in_call = false;
  out->instance_dead = inst->dead;
  out->energy = inst->binding->energy(inst);
  guest_end_call(&inst->guest, true);
}
/* The outcome of a call that did not return. */
static void fail_call(struct lc_instance *inst, enum lc_status st, const struct lc_error *err, struct lc_call_result *out) {
  out->status = st == LC_BUDGET ? LC_CALL_BUDGET : LC_CALL_FATAL;
  lc_buf_clear(&inst->message);
  lc_buf_str(&inst->message, err->text);
  out->message = out->cause = lc_buf_slice(&inst->message);
}

/* What the guest tells its caller. */
static void tell(struct lc_instance *inst, struct lc_slice text) {
  enum { max_bytes = 1 << 20 }; /* what is longer loses its end */
  if (text.len > max_bytes) text.len = max_bytes;
  lc_buf_clear(&inst->message);
  guest_put_lossy(&inst->message, text);
}

void lc_instance_call_reducer(struct lc_instance *inst, const struct lc_call_args *c, struct lc_call_result *out) {
  struct lc_error err;
  struct host_answer answer;
  *out = (struct lc_call_result){.status = LC_CALL_OK};
  begin_call(inst, c);
  enum lc_status st = inst->binding->run(inst, EXPORT_REDUCER, c, NULL, &answer, &err);
  if (st != LC_OK) {
    fail_call(inst, st, &err, out);
  } else if (answer.code != 0) {
    out->status = answer.code == 1 ? LC_CALL_USER_ERROR : LC_CALL_FATAL;
    lc_buf_clear(&inst->message);
    if (answer.code == 1) tell(inst, answer.bytes);
    else lc_buf_printf(&inst->message, "reducer returned unexpected code %d", answer.code);
    out->message = lc_buf_slice(&inst->message);
    if (answer.code == 1) guest_log_user_error(&inst->guest, c->function_name, c->timestamp_us, out->message);
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
/* Runs a procedure or handler; false: *out says how it failed. */
static bool run_async(struct lc_instance *inst, enum host_export which, const char *kinds, const struct lc_call_args *c, const struct host_extra *extra, struct host_answer *answer,
                      struct lc_call_result *out) {
  struct lc_error err;
  begin_call(inst, c);
  enum lc_status st = inst->binding->run(inst, which, c, extra, answer, &err);
  drop_transaction(inst, c);
  if (st == LC_OK && answer->code == 0) return true;
  if (st != LC_OK) {
    fail_async(inst, st, &err, out);
    return false;
  }
  inst->dead = true;
  out->status = LC_CALL_FATAL;
  lc_buf_clear(&inst->message);
  lc_buf_printf(&inst->message, "%s returned unexpected code %d. %s should return code 0 or trap.", host_export_names[which], answer->code, kinds);
  out->message = lc_buf_slice(&inst->message);
  return false;
}

void lc_instance_call_procedure(struct lc_instance *inst, const struct lc_call_args *c, struct lc_buf *ret, struct lc_call_result *out) {
  struct host_answer answer;
  if (!has_export(inst, EXPORT_PROCEDURE, "procedure", c, out)) return;
  if (run_async(inst, EXPORT_PROCEDURE, "Procedures", c, NULL, &answer, out)) lc_buf_slice_append(ret, answer.bytes);
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
  struct host_answer answer;
  const struct host_extra extra = {.body = request_body, .jwt = jwt_payload};
  if (!has_export(inst, EXPORT_HTTP_HANDLER, "http handler", c, out)) return;
  if (run_async(inst, EXPORT_HTTP_HANDLER, "HTTP handlers", c, &extra, &answer, out)) {
    if (is_response(answer.bytes)) {
      lc_buf_slice_append(response, answer.bytes);
      lc_buf_slice_append(response_body, answer.body);
    } else {
      inst->dead = true;
      lc_fail(&err, LC_TRAP, "the HTTP handler's response cannot be decoded");
      fail_call(inst, LC_TRAP, &err, out);
    }
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
  struct host_answer answer;
  if (!has_export(inst, which, about, c, out)) return;
  begin_call(inst, c);
  enum lc_status st = inst->binding->run(inst, which, c, NULL, &answer, &err);
  if (st != LC_OK) {
    fail_call(inst, st, &err, out);
  } else if (answer.code != 0 && answer.code != 2) {
    out->status = answer.code == 1 ? LC_CALL_USER_ERROR : LC_CALL_FATAL;
    lc_buf_clear(&inst->message);
    if (answer.code == 1) tell(inst, answer.bytes);
    else lc_buf_printf(&inst->message, "view returned unexpected code %d", answer.code);
    out->message = lc_buf_slice(&inst->message);
  } else if (!view_answer(answer.bytes, answer.code, c, kind, rows, &err)) {
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
