/* Inside of the JavaScript binding: what js_load.c (V8, modules) and js.c (instances, calls) share. */
#ifndef LC_HOST_JS_INTERNAL_H
#define LC_HOST_JS_INTERNAL_H
#include "host_internal.h"
#include "js_engine.h"
#include "source_map.h"
#include <pthread.h>

struct js_module {
  struct lc_module base;        /* first */
  struct lc_buf source;         /* as V8 gets it; isolates refer to it as long as they live */
  struct lc_buf code;           /* compiled code, where there are no files to keep it in; empty: none, or in a file */
  bool compiled;                /* there was an isolate before: its code has been kept */
  struct lc_buf packed_map;     /* the source map (source_map_pack) */
  pthread_mutex_t map_lock;
  struct source_map *map; bool map_read; /* read when the first place is asked for */
};

extern const struct js_engine *js_engine;       /* V8, once loaded */
extern const struct js_callbacks js_callbacks;  /* js.c */
extern const struct host_binding js_binding;    /* js.c */
enum lc_status js_watch_start(struct lc_error *err);
void js_watch_stop(void);
void js_module_loaded(struct lc_module *m, struct lc_instance *first);
void js_module_free(struct lc_module *m);
/* Appends compiled code to start an isolate with, if there is any. */
void js_module_code(struct js_module *m, struct lc_buf *out);
struct js_isolate *js_isolate_of(struct lc_instance *inst);
/* Appends where a place of the bundle comes from, as FILE:LINE:COLUMN; the place itself where no map says more. Returns its line. out_file_len: length of FILE. */
uint32_t js_place(struct js_module *m, const struct js_frame *frame, struct lc_buf *out, size_t *out_file_len);

#endif
