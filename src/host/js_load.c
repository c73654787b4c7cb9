/* Owns: V8, which is loaded with the first JavaScript module (a process without one has neither its code nor its memory), and JavaScript programs
 * (spec/02 §10).
 *
 * V8 is in a shared object of its own, lightcone-v8.so, beside the server's binary or in ../lib/lightcone; js_engine.h is what is agreed with it. It stays loaded.
 * A module keeps its source for as long as isolates of it live; the first one's compiled code, with which the others start, is kept in files (code_cache.c).
 */
#include "js_internal.h"
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const struct js_engine *js_engine;
static pthread_mutex_t load_lock = PTHREAD_MUTEX_INITIALIZER;
static char code_suffix[64];

/* ---- V8 ---- */

static void *open_object(char *text, size_t text_len) {
  static const char *const places[] = {"", "../lib/lightcone/", "../"};
  char program[3072], path[4096];
  ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
  if (n <= 0) return snprintf(text, text_len, "/proc/self/exe cannot be read"), NULL;
  program[n] = 0;
  *(strrchr(program, '/') + 1) = 0;
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    snprintf(path, sizeof path, "%s%slightcone-v8.so", program, places[i]);
    if (access(path, R_OK) != 0) continue;
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!object) snprintf(text, text_len, "%s", dlerror());
    return object;
  }
  snprintf(text, text_len, "lightcone-v8.so is not beside the program (%.256s) nor in ../lib/lightcone", program);
  return NULL;
}

static enum lc_status load_engine(struct lc_error *err) {
  char text[512];
  enum lc_status st = LC_OK;
  pthread_mutex_lock(&load_lock);
  if (!js_engine) {
    void *object = open_object(text, sizeof text);
    const struct js_engine *engine = object ? dlsym(object, "lc_js_engine") : NULL;
    if (object && (!engine || engine->seam_version != JS_SEAM_VERSION)) snprintf(text, sizeof text, "lightcone-v8.so is of another version"), engine = NULL;
    if (engine && !engine->start(&js_callbacks, text, sizeof text)) engine = NULL;
    if (!engine) st = lc_fail(err, LC_UNSUPPORTED, "JavaScript modules cannot be run: %s", text);
    else {
      snprintf(code_suffix, sizeof code_suffix, "v8-%.48s", engine->v8_version);
      js_engine = engine;
    }
  }
  pthread_mutex_unlock(&load_lock);
  return st == LC_OK ? js_watch_start(err) : st;
}

void js_host_shutdown(void) { js_watch_stop(); }

/* ---- modules ---- */

/* The library's one declaration that not every V8 knows (spec/02 §14): what it closes is closed with the call, so that const serves. Same length: places stay right. */
static void lower(struct lc_buf *source) {
  static const char declaration[] = "using iter = new IteratorHandle";
  for (uint8_t *at = source->data, *end = at + source->len; (at = memmem(at, (size_t)(end - at), declaration, sizeof declaration - 1)); at += 5) memcpy(at, "const", 5);
}

enum lc_status js_module_compile(struct lc_slice program, const struct lc_host_limits *limits, struct lc_module **out, struct lc_error *err) {
  enum lc_status st = load_engine(err);
  if (st != LC_OK) return st;
  if (!lc_utf8_valid(program.data, program.len)) return lc_fail(err, LC_INVALID, "the JavaScript program is not valid UTF-8");
  struct js_module *m = (struct js_module *)host_module_alloc(sizeof *m, &js_binding, program, limits);
  if (!m) return lc_fail(err, LC_NOMEM, "out of memory");
  pthread_mutex_init(&m->map_lock, NULL);
  size_t comment = source_map_comment(program);
  lc_buf_append(&m->source, program.data, comment);
  if (comment < program.len) source_map_pack(lc_slice(program.data + comment, program.len - comment), &m->packed_map);
  if (!lc_buf_ok(&m->source) || !lc_buf_ok(&m->packed_map)) {
    lc_module_unref(&m->base);
    return lc_fail(err, LC_NOMEM, "out of memory");
  }
  lower(&m->source);
  *out = &m->base;
  return LC_OK;
}

void js_module_loaded(struct lc_module *base, struct lc_instance *first) {
  static const enum host_export exports[N_JS_HOOKS] = {EXPORT_DESCRIBE, EXPORT_REDUCER, EXPORT_VIEW, EXPORT_VIEW_ANON, EXPORT_PROCEDURE, EXPORT_HTTP_HANDLER};
  struct js_module *m = (struct js_module *)base;
  struct js_isolate *isolate = js_isolate_of(first);
  for (int i = 0; i < N_JS_HOOKS; i++) base->has[exports[i]] = js_engine->has(isolate, (enum js_hook)i);
  if (m->compiled) return;
  m->compiled = true;
  struct js_bytes code = js_engine->code_cache(isolate);
  if (code_cache_put(&base->hash, code_suffix, lc_slice(code.data, code.len))) return;
  lc_buf_append(&m->code, code.data, code.len);
  if (!lc_buf_ok(&m->code)) lc_buf_free(&m->code); /* a slower start, no more */
}

void js_module_code(struct js_module *m, struct lc_buf *out) {
  if (m->code.len) lc_buf_append(out, m->code.data, m->code.len);
  else if (code_cache_get(&m->base.hash, code_suffix, out)) m->compiled = true;
  if (!lc_buf_ok(out)) lc_buf_free(out);
}

void js_module_free(struct lc_module *base) {
  struct js_module *m = (struct js_module *)base;
  lc_buf_free(&m->source);
  lc_buf_free(&m->code);
  lc_buf_free(&m->packed_map);
  source_map_free(m->map);
  pthread_mutex_destroy(&m->map_lock);
  lc_free(m);
}

/* ---- places ---- */

uint32_t js_place(struct js_module *m, const struct js_frame *frame, struct lc_buf *out, size_t *out_file_len) {
  struct lc_slice file = lc_slice(frame->script.data, frame->script.len);
  uint32_t line = frame->line, column = frame->column;
  pthread_mutex_lock(&m->map_lock);
  if (!m->map_read) {
    m->map_read = true;
    if (m->packed_map.len) m->map = source_map_read(lc_buf_slice(&m->packed_map));
  }
  pthread_mutex_unlock(&m->map_lock);
  if (m->map) source_map_find(m->map, frame->line, frame->column, &file, &line, &column);
  size_t start = out->len;
  guest_put_lossy(out, file);
  *out_file_len = out->len - start;
  lc_buf_printf(out, ":%u:%u", line, column);
  return line;
}
