/* Owns: JavaScript instances and calls (spec/02 §11-§13), on an isolate of V8 each behind js_engine.h; their time budgets and memory.
 *
 * The ABI's addresses are offsets into an instance's scratch memory, which the engine's side fills and reads. Invariants: an instance whose script was ended by
 * force, or that ran out of memory, is dead; so is one whose procedure or handler failed in any way, but not one whose reducer threw. A watching thread
 * looks every TICK_MS at what runs; `state` decides between it and the end of a call.
 */
#include "js_internal.h"
#include <stdio.h>
#include <time.h>

enum { SCRATCH_BYTES = 4096, KEPT_SCRATCH_BYTES = 1 << 20, HEAP_CHECK_CALLS = 4096, SPIN_NS = 20000, FORCE_TICKS = 200, FORCE_FULL_TICKS = 10 /* after the end of what does not heed it; of what also takes memory */ };
enum { IDLE, RUNNING, ENDING, ENDED }; /* RUNNING becomes IDLE by the call, or ENDING and then ENDED by the watcher, whose ENDED becomes IDLE by the call */

struct js_instance {
  struct lc_instance base;      /* first */
  struct js_isolate *isolate;
  uint8_t *scratch; size_t scratch_len;
  _Atomic int state;
  _Atomic uint64_t deadline_tick;
  atomic_bool full;             /* of this heap nothing more runs */
  uint64_t ended_tick;          /* set by the watcher, in ENDING */
  bool out_of_time;             /* set by the watcher, in ENDING */
  uint32_t calls_until_heap_check;
  uint64_t used_bytes;          /* as of the last look */
  struct js_instance *previous, *next; /* in `watched` */
};

/* ---- the watcher ---- */

static struct {
  pthread_mutex_t lock; /* guards the list and the life of what is in it */
  struct js_instance *first;
  pthread_t thread;
  bool started;
  atomic_bool stop;
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void look_at(struct js_instance *inst) {
  int running = RUNNING;
  bool late = host_ticks() > atomic_load_explicit(&inst->deadline_tick, memory_order_relaxed);
  if (!late && !atomic_load(&inst->full) && !atomic_load(&inst->base.interrupt)) return;
  if (!atomic_compare_exchange_strong(&inst->state, &running, ENDING)) return;
  inst->out_of_time = late;
  inst->ended_tick = host_ticks();
  js_engine->terminate(inst->isolate);
  atomic_store(&inst->state, ENDED);
}
static void *run_watch(void *arg) {
  (void)arg;
  while (!atomic_load(&watch.stop)) {
    nanosleep(&(struct timespec){0, TICK_MS * 1000000}, NULL);
    pthread_mutex_lock(&watch.lock);
    for (struct js_instance *i = watch.first; i; i = i->next)
      if (atomic_load_explicit(&i->state, memory_order_relaxed) == RUNNING) look_at(i);
      else if (atomic_load(&i->state) == ENDED && host_ticks() > i->ended_tick + (atomic_load(&i->full) ? FORCE_FULL_TICKS : FORCE_TICKS)) js_engine->force(i->isolate);
    pthread_mutex_unlock(&watch.lock);
  }
  return NULL;
}
enum lc_status js_watch_start(struct lc_error *err) {
  pthread_mutex_lock(&watch.lock);
  atomic_store(&watch.stop, false);
  if (!watch.started) watch.started = pthread_create(&watch.thread, NULL, run_watch, NULL) == 0;
  bool ok = watch.started;
  pthread_mutex_unlock(&watch.lock);
  return ok ? LC_OK : lc_fail(err, LC_NOMEM, "cannot start the thread that watches JavaScript calls");
}
void js_watch_stop(void) {
  pthread_mutex_lock(&watch.lock);
  bool was_started = watch.started;
  watch.started = false;
  pthread_mutex_unlock(&watch.lock);
  if (!was_started) return;
  atomic_store(&watch.stop, true);
  pthread_join(watch.thread, NULL);
}

static void begin(struct js_instance *inst) {
  atomic_store_explicit(&inst->deadline_tick, host_ticks() + host_budget_ticks(inst->base.module), memory_order_relaxed);
  atomic_store_explicit(&inst->state, RUNNING, memory_order_release);
}
/* false: the watcher has ended what ran. */
static bool end(struct js_instance *inst) {
  int running = RUNNING;
  if (atomic_compare_exchange_strong(&inst->state, &running, IDLE)) return true;
  while (atomic_load(&inst->state) != ENDED) nanosleep(&(struct timespec){0, SPIN_NS}, NULL);
  pthread_mutex_lock(&watch.lock); /* no force after this */
  atomic_store(&inst->state, IDLE);
  pthread_mutex_unlock(&watch.lock);
  return false;
}

/* ---- what the engine's side asks for ---- */

static int function_of(const char *name) {
  for (uint32_t i = 0; i < abi_n_functions; i++)
    if (strcmp(abi_functions[i].name, name) == 0) return (int)i;
  return -1;
}
static bool call_abi(void *owner, int function, union abi_value *v) {
  struct js_instance *inst = owner;
  return abi_functions[function].call(&inst->base.guest, v);
}
static uint8_t *scratch_memory(void *owner, size_t len) {
  struct js_instance *inst = owner;
  if (len <= inst->scratch_len) return inst->scratch;
  size_t want = inst->scratch_len ? inst->scratch_len : SCRATCH_BYTES;
  while (want < len) want *= 2;
  uint8_t *p = lc_realloc(inst->scratch, want);
  if (!p) return NULL;
  memset(p + inst->scratch_len, 0, want - inst->scratch_len);
  inst->base.guest.memory = inst->scratch = p;
  inst->base.guest.memory_len = inst->scratch_len = want;
  return p;
}
static struct js_bytes take_source(void *owner, uint32_t id) {
  struct js_instance *inst = owner;
  struct lc_slice bytes = guest_take_source(&inst->base.guest, id);
  return (struct js_bytes){bytes.data, bytes.len};
}
static void heap_full(void *owner) { atomic_store(&((struct js_instance *)owner)->full, true); }
static const char *errno_message(int number) {
  const struct lc_errno_info *info = lc_errno_info(number);
  return info ? info->message : NULL;
}
const struct js_callbacks js_callbacks = {function_of, call_abi, scratch_memory, take_source, heap_full, errno_message};

/* ---- what the ABI asks for ---- */

static void refresh(struct guest *g) { (void)g; /* memory_len is exact */ }
static void suspended(struct guest *g, int64_t ns) {
  struct js_instance *inst = (struct js_instance *)g;
  if (ns > 0) atomic_fetch_add(&inst->deadline_tick, (uint64_t)ns / (TICK_MS * 1000000) + 1);
}
/* A frame as the module log has it: its place and its name. */
static void put_frame(struct js_module *m, const struct js_frame *frame, struct lc_buf *out) {
  size_t file_len;
  js_place(m, frame, out, &file_len);
  lc_buf_u8(out, 0);
  if (frame->function.len) guest_put_lossy(out, lc_slice(frame->function.data, frame->function.len));
  else lc_buf_str(out, "<anonymous>");
  lc_buf_u8(out, 0);
}
static void backtrace(struct guest *g, struct lc_buf *names) {
  enum { max_frames = 64 };
  struct js_instance *inst = (struct js_instance *)g;
  struct js_frame frames[max_frames];
  uint32_t n = js_engine->frames(inst->isolate, frames, max_frames);
  for (uint32_t i = 0; i < n; i++) put_frame((struct js_module *)inst->base.module, &frames[i], names);
}

/* ---- outcomes ---- */

/* An exception that nobody caught: with its innermost place as callers of procedures see it; in the module log with all. */
static void put_uncaught(struct js_instance *inst, const struct js_result *r, struct lc_error *err) {
  struct js_module *m = (struct js_module *)inst->base.module;
  struct lc_buf frames = {0}, text = {0}, place = {0};
  struct lc_slice message = lc_slice(r->text.data, r->text.len), filename = lc_slice(NULL, 0);
  size_t file_len = 0;
  uint32_t line = 0;
  for (uint32_t i = 0; i < r->n_frames; i++) put_frame(m, &r->frames[i], &frames);
  guest_put_lossy(&text, message);
  if (r->n_frames) {
    line = js_place(m, &r->frames[0], &place, &file_len);
    filename = lc_slice(place.data, file_len);
  }
  if (lc_buf_ok(&frames) && lc_buf_ok(&place) && lc_buf_ok(&text)) guest_log_panic(&inst->base.guest, lc_buf_slice(&text), filename, line, lc_buf_slice(&frames));
  for (size_t i = 0, n = frames.len; i < n && lc_buf_ok(&text);) {
    const char *where = (const char *)frames.data + i, *name = where + strlen(where) + 1;
    lc_buf_printf(&text, "\n\tat %s (%s)", name, where);
    i += strlen(where) + strlen(name) + 2;
  }
  lc_fail(err, LC_TRAP, "%.*s", (int)text.len, (const char *)text.data);
  lc_buf_free(&frames);
  lc_buf_free(&text);
  lc_buf_free(&place);
}

/* LC_OK: the script came to an end of its own, with an answer or (JS_USER_ERROR) what it tells its caller. */
static enum lc_status outcome(struct js_instance *inst, const struct js_result *r, bool ended, struct lc_error *err) {
  const char *reason = atomic_load(&inst->base.interrupt);
  if (r->outcome == JS_HEAP_FULL || r->outcome == JS_ENDED || ended) inst->base.dead = true;
  if (r->outcome == JS_HEAP_FULL) {
    guest_log(&inst->base.guest, 0, "%.*s", (int)r->text.len, (const char *)r->text.data);
    return lc_fail(err, LC_TRAP, "%.*s", (int)r->text.len, (const char *)r->text.data);
  }
  if (ended && inst->out_of_time && !reason) return lc_fail(err, LC_BUDGET, "the call has used up its time budget");
  if (ended) return lc_fail(err, LC_TRAP, "%s", reason ? reason : "the call was ended");
  if (r->outcome == JS_ENDED) {
    if (inst->base.guest.err.text[0]) return lc_fail(err, LC_TRAP, "%s", inst->base.guest.err.text);
    return lc_fail(err, LC_TRAP, "the script was ended");
  }
  if (r->outcome == JS_THROWN) return put_uncaught(inst, r, err), LC_TRAP;
  if (r->outcome == JS_REFUSED) return lc_fail(err, LC_TRAP, "%.*s", (int)r->text.len, (const char *)r->text.data);
  return LC_OK;
}

/* ---- instances ---- */

struct js_isolate *js_isolate_of(struct lc_instance *inst) { return ((struct js_instance *)inst)->isolate; }

static void look_at_heap(struct js_instance *inst) { /* spec/02 §13: full ones make way for fresh ones */
  struct js_heap heap = js_engine->heap(inst->isolate, false);
  if (heap.used_bytes >= heap.limit_bytes / 100 * 67) {
    heap = js_engine->heap(inst->isolate, true);
    if (heap.used_bytes >= heap.limit_bytes / 4 * 3) inst->base.dead = true;
  }
  inst->used_bytes = heap.used_bytes;
  inst->calls_until_heap_check = HEAP_CHECK_CALLS;
}

static void js_instance_free(struct lc_instance *base) {
  struct js_instance *inst = (struct js_instance *)base;
  pthread_mutex_lock(&watch.lock);
  if (inst->previous) inst->previous->next = inst->next;
  else if (watch.first == inst) watch.first = inst->next;
  if (inst->next) inst->next->previous = inst->previous;
  pthread_mutex_unlock(&watch.lock);
  if (inst->isolate) js_engine->close(inst->isolate);
  lc_free(inst->scratch);
  host_instance_release(base);
}

static enum lc_status new_instance(struct lc_module *base, struct lc_host_env *env, struct lc_instance **out, struct lc_buf *description, struct lc_error *err) {
  struct js_module *m = (struct js_module *)base;
  struct js_instance *inst = (struct js_instance *)host_instance_alloc(sizeof *inst, base, env);
  struct lc_buf code = {0};
  struct js_result r;
  if (!inst) return lc_fail(err, LC_NOMEM, "out of memory");
  inst->base.guest.refresh = refresh;
  inst->base.guest.backtrace = backtrace;
  inst->base.guest.suspended = suspended;
  if (!scratch_memory(inst, SCRATCH_BYTES)) {
    js_instance_free(&inst->base);
    return lc_fail(err, LC_NOMEM, "out of memory");
  }
  uint64_t limit = base->limits.memory_limit_bytes ? base->limits.memory_limit_bytes : DEFAULT_MEMORY_BYTES;
  js_engine->create(inst, limit, &inst->isolate);
  pthread_mutex_lock(&watch.lock);
  inst->next = watch.first;
  if (watch.first) watch.first->previous = inst;
  watch.first = inst;
  pthread_mutex_unlock(&watch.lock);
  js_module_code(m, &code);
  begin(inst);
  js_engine->run(inst->isolate, (struct js_bytes){m->source.data, m->source.len}, (struct js_bytes){code.data, code.len}, &r);
  lc_buf_free(&code);
  enum lc_status st = outcome(inst, &r, !end(inst), err);
  if (st == LC_OK && r.outcome == JS_USER_ERROR) st = lc_fail(err, LC_INVALID, "%.*s", (int)r.text.len, (const char *)r.text.data);
  if (st == LC_OK && description) {
    begin(inst);
    js_engine->call(inst->isolate, &(struct js_call){.hook = JS_DESCRIBE}, &r);
    st = outcome(inst, &r, !end(inst), err);
    if (st == LC_OK && r.outcome == JS_USER_ERROR) st = lc_fail(err, LC_INVALID, "%.*s", (int)r.text.len, (const char *)r.text.data);
    if (st != LC_OK) lc_fail_context(err, "error getting module description");
    else lc_buf_append(description, r.outputs[0].data, r.outputs[0].len);
  }
  guest_end_call(&inst->base.guest, false);
  if (st != LC_OK) {
    js_instance_free(&inst->base);
    return st;
  }
  look_at_heap(inst);
  *out = &inst->base;
  return LC_OK;
}

static uint64_t memory_bytes(const struct lc_instance *inst) { return ((const struct js_instance *)inst)->used_bytes; }
static uint64_t energy(const struct lc_instance *inst) { return (void)inst, 0; }

/* ---- calls ---- */

static enum lc_status run(struct lc_instance *base, enum host_export which, const struct lc_call_args *c, const struct host_extra *extra, struct host_answer *answer, struct lc_error *err) {
  static const enum js_hook hooks[N_EXPORTS] = {[EXPORT_REDUCER] = JS_REDUCER, [EXPORT_DESCRIBE] = JS_DESCRIBE, [EXPORT_PROCEDURE] = JS_PROCEDURE, [EXPORT_VIEW] = JS_VIEW,
                                                [EXPORT_VIEW_ANON] = JS_VIEW_ANON, [EXPORT_HTTP_HANDLER] = JS_HTTP_HANDLER};
  struct js_instance *inst = (struct js_instance *)base;
  struct js_call call = {.hook = hooks[which], .id = c->id, .sender = c->sender.bytes, .connection = c->connection_id.bytes, .timestamp_us = c->timestamp_us, .args = {c->args.data, c->args.len}};
  struct js_result r;
  bool is_async = which == EXPORT_PROCEDURE || which == EXPORT_HTTP_HANDLER, is_view = which == EXPORT_VIEW || which == EXPORT_VIEW_ANON;
  if (extra) {
    call.body = (struct js_bytes){extra->body.data, extra->body.len};
    call.jwt = (struct js_bytes){extra->jwt.data, extra->jwt.len};
  }
  base->guest.err.text[0] = 0;
  begin(inst);
  js_engine->call(inst->isolate, &call, &r);
  enum lc_status st = outcome(inst, &r, !end(inst), err);
  if (inst->scratch_len > KEPT_SCRATCH_BYTES) { /* what one large row needed is not kept for good */
    lc_free(inst->scratch);
    inst->scratch = NULL;
    base->guest.memory = NULL;
    inst->scratch_len = base->guest.memory_len = 0;
  }
  if (--inst->calls_until_heap_check == 0 && !base->dead) look_at_heap(inst);
  if (st == LC_OK && r.outcome == JS_USER_ERROR && is_async) st = lc_fail(err, LC_TRAP, "%.*s", (int)r.text.len, (const char *)r.text.data);
  if (st != LC_OK) {
    if (is_async) base->dead = true;
    return st;
  }
  if (r.outcome == JS_USER_ERROR) *answer = (struct host_answer){.code = 1, .bytes = lc_slice(r.text.data, r.text.len)};
  else *answer = (struct host_answer){.code = is_view ? 2 : 0, .bytes = lc_slice(r.outputs[0].data, r.outputs[0].len), .body = lc_slice(r.outputs[1].data, r.outputs[1].len)};
  return LC_OK;
}

const struct host_binding js_binding = {.module_free = js_module_free, .instance_new = new_instance, .instance_free = js_instance_free, .memory_bytes = memory_bytes,
                                        .run = run, .energy = energy, .loaded = js_module_loaded};
