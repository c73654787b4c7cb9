/* The seam between the server and V8 (spec/02 §10-§14): plain C on both sides, since V8 has only a C++ face. js.c and js_load.c stand on one side,
 * js_engine.cc and js_syscalls.cc, which make the shared object lightcone-v8.so, on the other. The object is loaded with the first JavaScript module
 * and has one symbol, `lc_js_engine`.
 *
 * A `struct js_isolate` belongs to one caller at a time, from any thread; only terminate may come beside. Its owner, an opaque pointer, is handed back
 * to every callback. Results are borrowed from the isolate and stay until its next call.
 */
#ifndef LC_HOST_JS_ENGINE_H
#define LC_HOST_JS_ENGINE_H
#include "abi_value.h"
#include <stdbool.h>
#include <stddef.h>
#ifdef __cplusplus
extern "C" {
#endif

enum { JS_SEAM_VERSION = 2 };

/* Functions of a module that are called by the server (spec/02 §12). */
enum js_hook { JS_DESCRIBE, JS_REDUCER, JS_VIEW, JS_VIEW_ANON, JS_PROCEDURE, JS_HTTP_HANDLER, N_JS_HOOKS };

struct js_isolate;

enum js_outcome {
  JS_DONE,         /* outputs hold the answer */
  JS_USER_ERROR,   /* text: what the module tells its caller */
  JS_THROWN,       /* text: `Uncaught …`; frames: where */
  JS_REFUSED,      /* text: what is wrong with the module, which was not called or answered nonsense */
  JS_ENDED,        /* by terminate, or by a host call that failed without an errno: the owner knows why */
  JS_HEAP_FULL,    /* text; the isolate is of no more use */
};

struct js_bytes { const uint8_t *data; size_t len; };
struct js_frame { struct js_bytes function, script; uint32_t line, column; /* from 1; 0: unknown */ };

struct js_result {
  enum js_outcome outcome;
  struct js_bytes text;
  struct js_bytes outputs[2];      /* of a hook: its bytes; of a handler: response and body */
  const struct js_frame *frames; uint32_t n_frames; /* innermost first, in coordinates of the bundle */
};

struct js_call {
  enum js_hook hook;
  uint32_t id;
  const uint8_t *sender, *connection; /* 32 and 16 bytes, least significant first; NULL where the hook takes none */
  int64_t timestamp_us;
  struct js_bytes args, body, jwt;    /* body, jwt: of an HTTP handler */
};

struct js_heap { uint64_t used_bytes, limit_bytes; };

/* What the server offers. */
struct js_callbacks {
  int (*function_of)(const char *name);                               /* number of an ABI function; -1: there is none */
  bool (*call)(void *owner, int function, union abi_value *v);        /* v: parameters in, v[0] errno out; addresses are offsets into memory(). false: trap */
  uint8_t *(*memory)(void *owner, size_t len);                        /* the calls' memory, at least len bytes, moved if it grew; NULL: out of memory */
  struct js_bytes (*source)(void *owner, uint32_t id);                /* what a source has left, which is closed; until the next ABI call */
  void (*full)(void *owner);                                          /* the heap is at its limit and the script has been told to end, which it may not heed */
  const char *(*errno_message)(int number);                           /* NULL: no such errno */
};

struct js_engine {
  int seam_version;
  const char *v8_version;
  /* Once in a process, before all else. false: error gets a text. callbacks stay. */
  bool (*start)(const struct js_callbacks *callbacks, char *error, size_t error_len);
  /* An isolate with nothing in it. */
  void (*create)(void *owner, uint64_t heap_limit_bytes, struct js_isolate **out);
  /* Runs the module in it up to the point where its hooks are known; once, before all calls. source: UTF-8, stays where it is until close. cache: what code_cache
   * gave for the same source and V8, or empty. */
  void (*run)(struct js_isolate *isolate, struct js_bytes source, struct js_bytes cache, struct js_result *result);
  void (*close)(struct js_isolate *isolate);
  bool (*has)(const struct js_isolate *isolate, enum js_hook hook);
  void (*call)(struct js_isolate *isolate, const struct js_call *call, struct js_result *result);
  /* Any thread, while the isolate runs something: ends it. The isolate cannot be called afterwards. */
  void (*terminate)(struct js_isolate *isolate);
  /* Any thread, after terminate, while the isolate still runs: makes it leave whatever does not heed terminate, if it is at a place to leave from; to be repeated.
   * The isolate's memory then stays occupied. */
  void (*force)(struct js_isolate *isolate);
  /* Where the running script is, innermost first; from within a callback. Returns how many, at most `room`; the texts stay until the next call of frames. */
  uint32_t (*frames)(struct js_isolate *isolate, struct js_frame *frames, uint32_t room);
  /* Between calls. collect: after a full garbage collection. */
  struct js_heap (*heap)(struct js_isolate *isolate, bool collect);
  /* Between calls: compiled code of what has run so far. Until the next call of code_cache. */
  struct js_bytes (*code_cache)(struct js_isolate *isolate);
};
extern const struct js_engine lc_js_engine;

#ifdef __cplusplus
}
#endif
#endif
