/* Inside of lightcone-v8.so: what js_engine.cc (isolates, hooks, calls) and js_syscalls.cc (modules spacetime:sys@…) share. */
#ifndef LC_HOST_JS_INTERNAL_HH
#define LC_HOST_JS_INTERNAL_HH
#include "js_engine.h"
#include <atomic>
#include <csetjmp>
#include <pthread.h>
#include <string>
#include <vector>
#include <v8.h>

/* Memory in ArrayBuffers counts towards an isolate's limit, as its heap does. */
struct CountedAllocator final : v8::ArrayBuffer::Allocator {
  std::atomic<uint64_t> used_bytes{0};
  uint64_t limit_bytes = 0;
  void *Allocate(size_t length) override;
  void *AllocateUninitialized(size_t length) override;
  void Free(void *data, size_t length) override;
};

struct js_isolate {
  v8::Isolate *isolate = nullptr;
  CountedAllocator allocator;
  void *owner = nullptr;
  uint64_t heap_limit_bytes = 0;
  bool ended = false;              /* a host call failed for good: every further one ends the script anew */
  std::atomic<bool> heap_full{false};
  jmp_buf escape;                  /* js_escape.cc: back to the call that runs */
  pthread_t thread = {};           /* that runs it */
  std::atomic<bool> forced{false};
  bool lost = false;               /* left in the midst of a loop: not to be touched again */
  std::string escape_text;
  int major = 0;                   /* of the hooks: 1 or 2; 0: not known yet */
  v8::Global<v8::Context> context;
  v8::Global<v8::Module> module;
  v8::Global<v8::Symbol> hooks_key;
  v8::Global<v8::Object> hooks_object;
  v8::Global<v8::Function> hooks[N_JS_HOOKS], error_constructor;
  v8::Global<v8::Object> sender_error;
  bool registered[4] = {};         /* register_hooks of 1.0, 1.1, 1.2 has been called */
  v8::Global<v8::ArrayBuffer> args_buffer;
  v8::Global<v8::Module> sys[7];
  /* results, borrowed by the caller */
  std::string text;
  std::vector<uint8_t> outputs[2];
  std::vector<js_frame> frames;
  std::vector<std::string> frame_texts, running_texts;
  v8::ScriptCompiler::CachedData *cache = nullptr;
};

inline js_isolate *js_of(v8::Isolate *isolate) { return static_cast<js_isolate *>(isolate->GetData(0)); }
extern js_callbacks js_host;
extern const char *const js_hook_names[N_JS_HOOKS];

/* js_escape.cc. A call that is entered comes back through js->escape with one of these when V8 itself does not. */
enum { JS_ESCAPED_WITHOUT_MEMORY = 1, JS_ESCAPED_BY_FORCE };
void js_escape_start();
void js_escape_enter(js_isolate *js);
void js_escape_leave();
void js_out_of_memory(const char *location, bool is_heap);
/* Any thread, while the isolate runs: makes it leave, now or, if it is at no place to leave from, not at all: to be repeated. */
void js_escape_by_force(js_isolate *js);

/* Finds the ABI functions by name. false: error gets the name of the one that is missing. */
bool js_syscalls_start(char *error, size_t error_len);
/* The module behind an import specifier; empty: an exception is pending (spec/02 §1). */
v8::MaybeLocal<v8::Module> js_resolve(v8::Local<v8::Context> context, v8::Local<v8::String> specifier);
/* A string that is certain to be made: short and well-formed. */
v8::Local<v8::String> js_string(v8::Isolate *isolate, const char *text);
void js_throw_type_error(v8::Isolate *isolate, const std::string &text);
/* A hook that register_hooks or the hooks object gives, checked. false: an exception is pending. */
bool js_take_hook(js_isolate *js, v8::Local<v8::Context> context, v8::Local<v8::Object> from, js_hook hook, bool optional);
std::string js_utf8(v8::Isolate *isolate, v8::Local<v8::Value> value);

#endif
