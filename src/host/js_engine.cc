/* Owns: V8 isolates and the calls into them (spec/02 §10, §12, §13). The C face is `lc_js_engine` at the end.
 *
 * An isolate runs one module, once evaluated, and is entered under its own Locker, so that any thread may call it. Invariants: no JavaScript runs outside
 * run and call; promise jobs run before either returns (a call's transaction is still open); whatever ends a script by force leaves an isolate that its owner
 * drops. Memory: near the heap's limit the script is ended, with as much room again for its way out; what asks for more leaves as js_escape.cc says;
 * ArrayBuffers are counted and refused beyond the limit.
 */
#include "js_internal.hh"
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <libplatform/libplatform.h>
#include <memory>
#include <mutex>

using namespace v8;

extern "C" const char lc_js_prelude[], lc_js_prelude_end[];
__asm__(".pushsection .rodata\n.global lc_js_prelude\n.hidden lc_js_prelude\nlc_js_prelude: .incbin \"src/host/js_prelude.js\"\n"
        ".global lc_js_prelude_end\n.hidden lc_js_prelude_end\nlc_js_prelude_end: .byte 0\n.popsection\n");

js_callbacks js_host;
const char *const js_hook_names[N_JS_HOOKS] = {"__describe_module__", "__call_reducer__", "__call_view__", "__call_view_anon__", "__call_procedure__", "__call_http_handler__"};

namespace {

enum { ARGS_BYTES = 4096, MAX_FRAMES = 64 };
const char END_OF_TRACE[] = "__spacetimedb_end_short_backtrace";
std::unique_ptr<Platform> platform;
std::vector<js_isolate *> lost_isolates; /* guarded by lost_lock */
std::mutex lost_lock;

} // namespace

/* ---- memory ---- */

void *CountedAllocator::AllocateUninitialized(size_t length) {
  if (used_bytes.fetch_add(length, std::memory_order_relaxed) + length > limit_bytes) {
    used_bytes.fetch_sub(length, std::memory_order_relaxed);
    return nullptr;
  }
  void *data = malloc(length ? length : 1);
  if (!data) used_bytes.fetch_sub(length, std::memory_order_relaxed);
  return data;
}
void *CountedAllocator::Allocate(size_t length) {
  if (used_bytes.fetch_add(length, std::memory_order_relaxed) + length > limit_bytes) {
    used_bytes.fetch_sub(length, std::memory_order_relaxed);
    return nullptr;
  }
  void *data = calloc(length ? length : 1, 1);
  if (!data) used_bytes.fetch_sub(length, std::memory_order_relaxed);
  return data;
}
void CountedAllocator::Free(void *data, size_t length) {
  used_bytes.fetch_sub(length, std::memory_order_relaxed);
  free(data);
}

static size_t near_heap_limit(void *data, size_t current, size_t initial) {
  js_isolate *js = static_cast<js_isolate *>(data);
  (void)initial;
  js->heap_full = true;
  js_host.full(js->owner);
  js->isolate->TerminateExecution();
  return std::max<size_t>(current, 2 * js->heap_limit_bytes);
}

/* ---- small things ---- */

Local<String> js_string(Isolate *isolate, const char *text) { return String::NewFromUtf8(isolate, text, NewStringType::kInternalized).FromMaybe(String::Empty(isolate)); }
void js_throw_type_error(Isolate *isolate, const std::string &text) {
  Local<String> message = String::NewFromUtf8(isolate, text.data(), NewStringType::kNormal, static_cast<int>(text.size())).FromMaybe(String::Empty(isolate));
  isolate->ThrowException(Exception::TypeError(message));
}
std::string js_utf8(Isolate *isolate, Local<Value> value) {
  String::Utf8Value text(isolate, value);
  return *text ? std::string(*text, static_cast<size_t>(text.length())) : std::string();
}

bool js_take_hook(js_isolate *js, Local<Context> context, Local<Object> from, js_hook hook, bool optional) {
  Local<Value> value;
  if (!from->Get(context, js_string(js->isolate, js_hook_names[hook])).ToLocal(&value)) return false;
  if (optional && value->IsUndefined()) return true;
  if (!value->IsFunction()) {
    js_throw_type_error(js->isolate, std::string("Expected module function hook `") + js_hook_names[hook] + "`, got " + js_utf8(js->isolate, value->TypeOf(js->isolate)));
    return false;
  }
  js->hooks[hook].Reset(js->isolate, value.As<Function>());
  return true;
}

namespace {

/* ---- what came out of a script ---- */

js_bytes bytes_of(const std::string &text) { return {reinterpret_cast<const uint8_t *>(text.data()), text.size()}; }

void put_text(js_isolate *js, js_result *result, js_outcome outcome, std::string text) {
  js->text = std::move(text);
  result->outcome = outcome;
  result->text = bytes_of(js->text);
}

/* Frames of a stack, innermost first, without the library's own below the marked one. */
void put_frames(js_isolate *js, Local<StackTrace> stack, std::vector<js_frame> *frames, std::vector<std::string> *texts) {
  Isolate *isolate = js->isolate;
  frames->clear();
  texts->clear();
  int n = stack.IsEmpty() ? 0 : stack->GetFrameCount();
  texts->reserve(2 * static_cast<size_t>(n));
  for (int i = 0; i < n && i < MAX_FRAMES; i++) {
    Local<StackFrame> frame = stack->GetFrame(isolate, static_cast<uint32_t>(i));
    std::string function = frame->GetFunctionName().IsEmpty() ? std::string() : js_utf8(isolate, frame->GetFunctionName());
    if (function == END_OF_TRACE) break;
    texts->push_back(std::move(function));
    texts->push_back(frame->GetScriptName().IsEmpty() ? std::string() : js_utf8(isolate, frame->GetScriptName()));
    const std::string &name = (*texts)[texts->size() - 2], &script = texts->back();
    frames->push_back({bytes_of(name), bytes_of(script), static_cast<uint32_t>(frame->GetLineNumber()), static_cast<uint32_t>(frame->GetColumn())});
  }
}

std::string heap_full_text(const js_isolate *js) {
  return "Javascript module exceeded memory limit (current limit: " + std::to_string(2 * js->heap_limit_bytes) + ", initial: " + std::to_string(js->heap_limit_bytes) + ")";
}

/* The outcome of a script that was ended by force; false: it was not. */
bool was_ended(js_isolate *js, const TryCatch &caught, js_result *result) {
  if (js->heap_full) {
    put_text(js, result, JS_HEAP_FULL, heap_full_text(js));
    return true;
  }
  if (!js->ended && !caught.HasTerminated() && !js->isolate->IsExecutionTerminating()) return false;
  result->outcome = JS_ENDED;
  return true;
}

void put_uncaught(js_isolate *js, Local<Context> context, Local<Message> message, js_result *result) {
  if (message.IsEmpty()) {
    put_text(js, result, JS_THROWN, "Uncaught exception");
    return;
  }
  put_text(js, result, JS_THROWN, js_utf8(js->isolate, message->Get()));
  put_frames(js, message->GetStackTrace(), &js->frames, &js->frame_texts);
  if (js->frames.empty() && !message->GetScriptResourceName().IsEmpty() && message->GetScriptResourceName()->IsString()) { /* a syntax error */
    js->frame_texts = {std::string(), js_utf8(js->isolate, message->GetScriptResourceName())};
    js->frames.push_back({bytes_of(js->frame_texts[0]), bytes_of(js->frame_texts[1]), static_cast<uint32_t>(message->GetLineNumber(context).FromMaybe(0)),
                          static_cast<uint32_t>(message->GetStartColumn() + 1)});
  }
  result->frames = js->frames.data();
  result->n_frames = static_cast<uint32_t>(js->frames.size());
}

/* Of an exception in a call or while the module starts. */
void put_exception(js_isolate *js, Local<Context> context, TryCatch *caught, js_result *result) {
  Isolate *isolate = js->isolate;
  if (was_ended(js, *caught, result)) return;
  Local<Value> exception = caught->Exception();
  Local<Message> message = caught->Message();
  if (!js->sender_error.IsEmpty() && !exception.IsEmpty()) {
    TryCatch inner(isolate); /* the module's own code may run here */
    if (exception->InstanceOf(context, js->sender_error.Get(isolate)).FromMaybe(false)) {
      Local<Value> text;
      Local<String> string;
      if (exception.As<Object>()->Get(context, js_string(isolate, "message")).ToLocal(&text) && text->ToString(context).ToLocal(&string)) {
        put_text(js, result, JS_USER_ERROR, js_utf8(isolate, string));
        return;
      }
    }
    if (was_ended(js, inner, result)) return;
  }
  put_uncaught(js, context, message, result);
}

bool put_output(js_isolate *js, Local<Value> value, int which, js_result *result, bool with_header = false) {
  if (!value->IsUint8Array()) {
    js_throw_type_error(js->isolate, "Expected `Uint8Array`, got " + js_utf8(js->isolate, value->TypeOf(js->isolate)));
    return false;
  }
  Local<Uint8Array> array = value.As<Uint8Array>();
  std::vector<uint8_t> &out = js->outputs[which];
  size_t header = with_header ? 1 : 0;
  out.resize(header + array->ByteLength());
  if (header) out[0] = 0;
  array->CopyContents(out.data() + header, out.size() - header);
  result->outputs[which] = {out.data(), out.size()};
  return true;
}

/* ---- TextEncoder, TextDecoder ---- */

void encode(const FunctionCallbackInfo<Value> &info) { /* (string) -> Uint8Array */
  Isolate *isolate = info.GetIsolate();
  Local<String> text;
  if (!info[0]->ToString(isolate->GetCurrentContext()).ToLocal(&text)) return;
  size_t len = static_cast<size_t>(text->Utf8Length(isolate));
  js_isolate *js = js_of(isolate);
  void *data = js->allocator.AllocateUninitialized(len);
  if (!data) {
    isolate->ThrowException(Exception::RangeError(js_string(isolate, "Array buffer allocation failed")));
    return;
  }
  text->WriteUtf8(isolate, static_cast<char *>(data), static_cast<int>(len), nullptr, String::NO_NULL_TERMINATION | String::REPLACE_INVALID_UTF8);
  std::unique_ptr<BackingStore> store =
      ArrayBuffer::NewBackingStore(data, len, [](void *p, size_t n, void *allocator) { static_cast<CountedAllocator *>(allocator)->Free(p, n); }, &js->allocator);
  info.GetReturnValue().Set(Uint8Array::New(ArrayBuffer::New(isolate, std::move(store)), 0, len));
}

bool well_formed(const uint8_t *p, size_t len) {
  for (size_t i = 0; i < len;) {
    uint8_t c = p[i];
    if (c < 0x80) {
      i++;
      continue;
    }
    size_t more = c >= 0xc2 && c <= 0xdf ? 1 : (c & 0xf0) == 0xe0 ? 2 : c >= 0xf0 && c <= 0xf4 ? 3 : 0;
    uint8_t low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80, high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (more == 0 || len - i <= more) return false;
    for (size_t k = 1; k <= more; k++, low = 0x80, high = 0xbf)
      if (p[i + k] < low || p[i + k] > high) return false;
    i += more + 1;
  }
  return true;
}
void decode(const FunctionCallbackInfo<Value> &info) { /* (ArrayBuffer or view, fatal) -> string */
  Isolate *isolate = info.GetIsolate();
  const uint8_t *data = nullptr;
  size_t len = 0;
  if (info[0]->IsArrayBufferView()) {
    Local<ArrayBufferView> view = info[0].As<ArrayBufferView>();
    len = view->ByteLength();
    data = static_cast<const uint8_t *>(view->Buffer()->Data()) + view->ByteOffset();
  } else if (info[0]->IsArrayBuffer()) {
    len = info[0].As<ArrayBuffer>()->ByteLength();
    data = static_cast<const uint8_t *>(info[0].As<ArrayBuffer>()->Data());
  } else if (info[0]->IsSharedArrayBuffer()) {
    len = info[0].As<SharedArrayBuffer>()->ByteLength();
    data = static_cast<const uint8_t *>(info[0].As<SharedArrayBuffer>()->Data());
  } else if (!info[0]->IsUndefined()) {
    return js_throw_type_error(isolate, "The \"input\" argument must be an instance of ArrayBuffer or ArrayBufferView.");
  }
  if (info[1]->IsTrue() && !well_formed(data, len)) return js_throw_type_error(isolate, "The encoded data was not valid for encoding utf-8");
  if (len >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0) data += 3, len -= 3;
  Local<String> text;
  if (len > static_cast<size_t>(String::kMaxLength) ||
      !String::NewFromUtf8(isolate, len ? reinterpret_cast<const char *>(data) : "", NewStringType::kNormal, static_cast<int>(len)).ToLocal(&text)) {
    isolate->ThrowException(Exception::RangeError(js_string(isolate, "the decoded string is too long")));
    return;
  }
  info.GetReturnValue().Set(text);
}

/* ---- starting a module ---- */

MaybeLocal<Module> resolve(Local<Context> context, Local<String> specifier, Local<FixedArray>, Local<Module>) { return js_resolve(context, specifier); }

bool run_prelude(js_isolate *js, Local<Context> context) {
  Isolate *isolate = js->isolate;
  Local<String> text;
  Local<Function> native[2];
  Local<Script> script;
  Local<Value> function;
  if (!String::NewFromUtf8(isolate, lc_js_prelude, NewStringType::kNormal, static_cast<int>(lc_js_prelude_end - lc_js_prelude)).ToLocal(&text)) return false;
  if (!Function::New(context, encode, {}, 1, ConstructorBehavior::kThrow).ToLocal(&native[0])) return false;
  if (!Function::New(context, decode, {}, 2, ConstructorBehavior::kThrow).ToLocal(&native[1])) return false;
  ScriptOrigin origin(isolate, js_string(isolate, "spacetimedb_builtins"));
  if (!Script::Compile(context, text, &origin).ToLocal(&script) || !script->Run(context).ToLocal(&function) || !function->IsFunction()) return false;
  Local<Value> arguments[2] = {native[0], native[1]};
  return !function.As<Function>()->Call(context, Undefined(isolate), 2, arguments).IsEmpty();
}

/* A bundle in ASCII is not copied into the heap of every isolate. */
class SharedSource final : public String::ExternalOneByteStringResource {
public:
  explicit SharedSource(js_bytes bytes) : bytes_(bytes) {}
  const char *data() const override { return reinterpret_cast<const char *>(bytes_.data); }
  size_t length() const override { return bytes_.len; }

private:
  js_bytes bytes_;
};
MaybeLocal<String> source_string(Isolate *isolate, js_bytes source) {
  bool ascii = true;
  for (size_t i = 0; i < source.len && ascii; i++) ascii = source.data[i] < 0x80;
  if (ascii && source.len) return String::NewExternalOneByte(isolate, new SharedSource(source));
  return String::NewFromUtf8(isolate, source.len ? reinterpret_cast<const char *>(source.data) : "", NewStringType::kNormal, static_cast<int>(source.len));
}

/* false: an exception is pending, or *result says what is wrong. */
bool find_hooks(js_isolate *js, Local<Context> context, Local<Module> module, js_result *result) {
  Isolate *isolate = js->isolate;
  if (js->registered[0]) return true; /* the first major version */
  Local<Object> exports = module->GetModuleNamespace().As<Object>(), hooks;
  Local<Value> schema, function, made;
  if (!exports->Get(context, js_string(isolate, "default")).ToLocal(&schema)) return false;
  if (schema->IsUndefined()) return put_text(js, result, JS_REFUSED, "must export schema as default export"), false;
  if (!schema->IsObject()) return put_text(js, result, JS_REFUSED, "default export is not a Schema object"), false;
  if (!schema.As<Object>()->Get(context, js->hooks_key.Get(isolate)).ToLocal(&function)) return false;
  if (!function->IsFunction()) return put_text(js, result, JS_REFUSED, "default export is not a Schema object"), false;
  if (js->major == 1) return js_throw_type_error(isolate, "cannot call `register_hooks` from different versions"), false;
  js->major = 2;
  Local<Value> argument = exports;
  if (!function.As<Function>()->Call(context, schema, 1, &argument).ToLocal(&made)) return false;
  if (!made->IsObject()) return put_text(js, result, JS_REFUSED, "default export is not a Schema object"), false;
  hooks = made.As<Object>();
  js->hooks_object.Reset(isolate, hooks);
  for (int i = 0; i < N_JS_HOOKS; i++)
    if (!js_take_hook(js, context, hooks, static_cast<js_hook>(i), i == JS_HTTP_HANDLER)) return false;
  static const char *const classes[2] = {"__get_error_constructor__", "__sender_error_class__"};
  Local<Value> values[2];
  for (int i = 0; i < 2; i++) {
    if (!hooks->Get(context, js_string(isolate, classes[i])).ToLocal(&values[i])) return false;
    if (values[i]->IsFunction()) continue;
    js_throw_type_error(isolate, std::string("Expected module function hook `") + classes[i] + "`, got " + js_utf8(isolate, values[i]->TypeOf(isolate)));
    return false;
  }
  js->error_constructor.Reset(isolate, values[0].As<Function>());
  js->sender_error.Reset(isolate, values[1].As<Object>());
  return true;
}

/* false: an exception is pending, or *result says what is wrong. */
bool run_module(js_isolate *js, Local<Context> context, js_bytes source, js_bytes cache, js_result *result) {
  Isolate *isolate = js->isolate;
  Local<String> text;
  Local<Module> module;
  Local<Value> value;
  if (source.len > static_cast<size_t>(String::kMaxLength) || !source_string(isolate, source).ToLocal(&text)) return put_text(js, result, JS_REFUSED, "the program is too large"), false;
  ScriptOrigin origin(isolate, js_string(isolate, "spacetimedb_module"), 0, 0, false, -1, Local<Value>(), false, false, true);
  auto *cached = cache.len ? new ScriptCompiler::CachedData(cache.data, static_cast<int>(cache.len), ScriptCompiler::CachedData::BufferNotOwned) : nullptr;
  ScriptCompiler::Source compiled(text, origin, cached);
  if (!ScriptCompiler::CompileModule(isolate, &compiled, cached ? ScriptCompiler::kConsumeCodeCache : ScriptCompiler::kNoCompileOptions).ToLocal(&module)) return false;
  js->module.Reset(isolate, module);
  if (module->InstantiateModule(context, resolve).IsNothing() || !module->Evaluate(context).ToLocal(&value)) return false;
  isolate->PerformMicrotaskCheckpoint();
  if (isolate->IsExecutionTerminating() || js->ended || js->heap_full) return false;
  Local<Promise> promise = value.As<Promise>();
  if (promise->State() == Promise::kPending) return js_throw_type_error(isolate, "module has top-level await and is pending"), false;
  if (promise->State() == Promise::kRejected) {
    promise->MarkAsHandled();
    isolate->ThrowException(promise->Result());
    return false;
  }
  return find_hooks(js, context, module, result);
}

/* ---- the face ---- */

struct Entered { /* an isolate in use by this thread */
  Locker locker;
  Isolate::Scope isolate_scope;
  HandleScope handles;
  explicit Entered(Isolate *isolate) : locker(isolate), isolate_scope(isolate), handles(isolate) {}
};

__attribute__((noinline)) void put_escaped(js_isolate *js, int escaped, js_result *result) {
  *result = {};
  result->outcome = JS_ENDED;
  js->lost = escaped == JS_ESCAPED_BY_FORCE;
  if (!js->heap_full) return;
  js->escape_text = heap_full_text(js); /* js->text may be in the midst of a change */
  result->outcome = JS_HEAP_FULL;
  result->text = bytes_of(js->escape_text);
}
/* Runs f, which fills the result; whatever else may happen in it. */
template <class F> void guarded(js_isolate *js, js_result *result, F f) {
  js_escape_enter(js);
  int escaped = setjmp(js->escape);
  if (!escaped) f();
  js_escape_leave();
  if (!escaped) return;
  put_escaped(js, escaped, result);
}

bool start(const js_callbacks *callbacks, char *error, size_t error_len) {
  js_host = *callbacks;
  if (!js_syscalls_start(error, error_len)) return false;
  V8::SetFlagsFromString("--single-threaded");
  for (int version = 60; version < 100; version++) { /* ICU's functions are named by its version */
    char name[32], status_room[8] = {};
    snprintf(name, sizeof name, "uloc_setDefault_%d", version);
    if (void *set_default = dlsym(RTLD_DEFAULT, name)) {
      reinterpret_cast<void (*)(const char *, int *)>(set_default)("en_001", reinterpret_cast<int *>(status_room));
      break;
    }
  }
  js_escape_start();
  platform = platform::NewSingleThreadedDefaultPlatform();
  V8::InitializePlatform(platform.get());
  V8::Initialize();
  return true;
}

void close_isolate(js_isolate *js) {
  if (!js) return;
  if (js->lost) {
    std::lock_guard<std::mutex> guard(lost_lock);
    lost_isolates.push_back(js);
    return;
  }
  {
    Locker locker(js->isolate);
    Isolate::Scope scope(js->isolate);
    delete js->cache;
    js->context.Reset();
    js->module.Reset();
    js->hooks_key.Reset();
    js->hooks_object.Reset();
    for (auto &hook : js->hooks) hook.Reset();
    js->error_constructor.Reset();
    js->sender_error.Reset();
    js->args_buffer.Reset();
    for (auto &module : js->sys) module.Reset();
  }
  js->isolate->Dispose();
  delete js;
}

void create_isolate(void *owner, uint64_t heap_limit_bytes, js_isolate **out) {
  js_isolate *js = new js_isolate;
  js->owner = owner;
  js->heap_limit_bytes = js->allocator.limit_bytes = heap_limit_bytes;
  Isolate::CreateParams params;
  params.array_buffer_allocator = &js->allocator;
  params.constraints.ConfigureDefaultsFromHeapSize(0, heap_limit_bytes);
  js->isolate = Isolate::Allocate();
  {
    Locker locker(js->isolate);
    Isolate::Initialize(js->isolate, params);
  }
  js->isolate->SetData(0, js);
  js->isolate->SetMicrotasksPolicy(MicrotasksPolicy::kExplicit);
  js->isolate->SetAllowAtomicsWait(false);
  js->isolate->SetOOMErrorHandler(js_out_of_memory);
  js->isolate->AddNearHeapLimitCallback(near_heap_limit, js);
  *out = js;
}

__attribute__((noinline)) void evaluate(js_isolate *js, js_bytes source, js_bytes cache, js_result *result) {
  Isolate *isolate = js->isolate;
  HandleScope handles(isolate);
  TryCatch caught(isolate);
  Local<Context> context = Context::New(isolate);
  js->context.Reset(isolate, context);
  Context::Scope scope(context);
  js->hooks_key.Reset(isolate, Symbol::New(isolate, js_string(isolate, "SpacetimeDB.moduleHooks")));
  bool ok = run_prelude(js, context) && run_module(js, context, source, cache, result);
  if (!ok && result->outcome == JS_DONE) put_exception(js, context, &caught, result);
}
void run_source(js_isolate *js, js_bytes source, js_bytes cache, js_result *result) {
  Entered entered(js->isolate);
  *result = {};
  result->outcome = JS_DONE;
  js->isolate->SetCaptureStackTraceForUncaughtExceptions(true, MAX_FRAMES, StackTrace::kDetailed);
  guarded(js, result, [=] { evaluate(js, source, cache, result); });
}

bool has_hook(const js_isolate *js, js_hook hook) { return !js->hooks[hook].IsEmpty(); }

Local<Value> big(Local<Context> context, const uint8_t *bytes, int words) {
  uint64_t w[4];
  memcpy(w, bytes, 8 * static_cast<size_t>(words));
  return BigInt::NewFromWords(context, 0, words, w).FromMaybe(Local<BigInt>());
}
/* A Uint8Array with a copy; empty: an exception is pending. */
MaybeLocal<ArrayBuffer> buffer_with(js_isolate *js, js_bytes bytes) {
  void *copy = js->allocator.AllocateUninitialized(bytes.len);
  if (!copy) {
    js->isolate->ThrowException(Exception::RangeError(js_string(js->isolate, "Array buffer allocation failed")));
    return {};
  }
  if (bytes.len) memcpy(copy, bytes.data, bytes.len);
  return ArrayBuffer::New(js->isolate,
                          ArrayBuffer::NewBackingStore(copy, bytes.len, [](void *p, size_t n, void *allocator) { static_cast<CountedAllocator *>(allocator)->Free(p, n); }, &js->allocator));
}
MaybeLocal<Value> array_with(js_isolate *js, js_bytes bytes) {
  Local<ArrayBuffer> buffer;
  if (!buffer_with(js, bytes).ToLocal(&buffer)) return {};
  return Uint8Array::New(buffer, 0, bytes.len);
}
/* A reducer's arguments: a DataView over a buffer that serves every call they fit in. */
MaybeLocal<Value> args_view(js_isolate *js, js_bytes bytes) {
  Local<ArrayBuffer> buffer;
  if (bytes.len > ARGS_BYTES) {
    if (!buffer_with(js, bytes).ToLocal(&buffer)) return {};
    return DataView::New(buffer, 0, bytes.len);
  }
  if (!js->args_buffer.IsEmpty()) buffer = js->args_buffer.Get(js->isolate);
  if (buffer.IsEmpty() || buffer->ByteLength() != ARGS_BYTES) { /* the first call, or the module has taken it away */
    static const uint8_t zeroes[ARGS_BYTES] = {};
    if (!buffer_with(js, {zeroes, ARGS_BYTES}).ToLocal(&buffer)) return {};
    js->args_buffer.Reset(js->isolate, buffer);
  }
  if (bytes.len) memcpy(buffer->Data(), bytes.data, bytes.len);
  return DataView::New(buffer, 0, bytes.len);
}

bool take_view(js_isolate *js, Local<Context> context, Local<Value> answer, js_result *result) {
  if (js->major == 1 && answer->IsUint8Array()) return put_output(js, answer, 0, result, true);
  Local<Value> data = answer;
  if (answer->IsObject() && !answer.As<Object>()->Get(context, js_string(js->isolate, "data")).ToLocal(&data)) return false;
  return put_output(js, data, 0, result);
}
bool take_reducer(js_isolate *js, Local<Context> context, Local<Value> answer, js_result *result) {
  Isolate *isolate = js->isolate;
  if (js->major == 2) {
    if (answer->IsUndefined()) return true;
    js_throw_type_error(isolate, "Reducer returned a value other than `undefined`");
    return false;
  }
  Local<Value> tag, value;
  if (!answer->IsObject()) return js_throw_type_error(isolate, "Expected object, got " + js_utf8(isolate, answer->TypeOf(isolate))), false;
  if (!answer.As<Object>()->Get(context, js_string(isolate, "tag")).ToLocal(&tag) || !answer.As<Object>()->Get(context, js_string(isolate, "value")).ToLocal(&value)) return false;
  std::string name = tag->IsString() ? js_utf8(isolate, tag) : std::string();
  if (name == "ok") return true;
  if (name != "err" || !value->IsString()) return js_throw_type_error(isolate, "Unexpected result of a reducer"), false;
  put_text(js, result, JS_USER_ERROR, js_utf8(isolate, value));
  return true;
}
bool take_response(js_isolate *js, Local<Context> context, Local<Value> answer, js_result *result) {
  if (!answer->IsArray() || answer.As<Array>()->Length() != 2) {
    js_throw_type_error(js->isolate, "HTTP handlers must return an array of two `Uint8Array`s");
    return false;
  }
  for (uint32_t i = 0; i < 2; i++) {
    Local<Value> part;
    if (!answer.As<Array>()->Get(context, i).ToLocal(&part) || !put_output(js, part, static_cast<int>(i), result)) return false;
  }
  return true;
}

/* false: an exception is pending. */
bool run_hook(js_isolate *js, Local<Context> context, const js_call *c, js_result *result) {
  Isolate *isolate = js->isolate;
  Local<Value> v[6], answer;
  int n = 0;
  if (c->hook != JS_DESCRIBE) v[n++] = Integer::NewFromUnsigned(isolate, c->id);
  if (c->hook == JS_REDUCER || c->hook == JS_PROCEDURE || c->hook == JS_VIEW) v[n++] = big(context, c->sender, 4);
  if (c->hook == JS_REDUCER || c->hook == JS_PROCEDURE) v[n++] = big(context, c->connection, 2);
  if (c->hook == JS_REDUCER || c->hook == JS_PROCEDURE || c->hook == JS_HTTP_HANDLER) v[n++] = BigInt::New(isolate, c->timestamp_us);
  if (c->hook == JS_REDUCER && js->major == 2) {
    if (!args_view(js, c->args).ToLocal(&v[n++])) return false;
  } else if (c->hook != JS_DESCRIBE) {
    if (!array_with(js, c->args).ToLocal(&v[n++])) return false;
  }
  if (c->hook == JS_HTTP_HANDLER) {
    if (!array_with(js, c->body).ToLocal(&v[n++])) return false;
    v[n++] = big(context, c->sender, 4);
    if (!array_with(js, c->jwt).ToLocal(&v[n++])) return false;
  }
  Local<Value> self = Undefined(isolate);
  if (js->major == 2) self = js->hooks_object.Get(isolate);
  if (!js->hooks[c->hook].Get(isolate)->Call(context, self, n, v).ToLocal(&answer)) return false;
  switch (c->hook) {
  case JS_DESCRIBE:
  case JS_PROCEDURE: return put_output(js, answer, 0, result);
  case JS_REDUCER: return take_reducer(js, context, answer, result);
  case JS_VIEW:
  case JS_VIEW_ANON: return take_view(js, context, answer, result);
  default: return take_response(js, context, answer, result);
  }
}

__attribute__((noinline)) void answer_call(js_isolate *js, const js_call *c, js_result *result) {
  Local<Context> context = js->context.Get(js->isolate);
  Context::Scope scope(context);
  TryCatch caught(js->isolate);
  bool ok = run_hook(js, context, c, result);
  if (!ok) put_exception(js, context, &caught, result);
  if (result->outcome == JS_ENDED || result->outcome == JS_HEAP_FULL) return;
  TryCatch jobs(js->isolate);
  js->isolate->PerformMicrotaskCheckpoint();
  was_ended(js, jobs, result);
}
void call_hook(js_isolate *js, const js_call *c, js_result *result) {
  Entered entered(js->isolate);
  *result = {};
  js->ended = false;
  delete js->cache;
  js->cache = nullptr;
  if (js->hooks[c->hook].IsEmpty()) return put_text(js, result, JS_REFUSED, std::string("`") + js_hook_names[c->hook] + "` was never defined");
  guarded(js, result, [=] { answer_call(js, c, result); });
}

void terminate(js_isolate *js) { js->isolate->TerminateExecution(); }

uint32_t running_frames(js_isolate *js, js_frame *frames, uint32_t room) {
  std::vector<js_frame> found;
  HandleScope handles(js->isolate);
  put_frames(js, StackTrace::CurrentStackTrace(js->isolate, MAX_FRAMES, StackTrace::kDetailed), &found, &js->running_texts);
  uint32_t n = static_cast<uint32_t>(found.size()) < room ? static_cast<uint32_t>(found.size()) : room;
  for (uint32_t i = 0; i < n; i++) frames[i] = found[i];
  return n;
}

js_heap heap(js_isolate *js, bool collect) {
  Entered entered(js->isolate);
  if (collect) js->isolate->LowMemoryNotification();
  HeapStatistics statistics;
  js->isolate->GetHeapStatistics(&statistics);
  return {statistics.used_heap_size() + js->allocator.used_bytes, js->heap_limit_bytes};
}

js_bytes code_cache(js_isolate *js) {
  Entered entered(js->isolate);
  delete js->cache;
  js->cache = ScriptCompiler::CreateCodeCache(js->module.Get(js->isolate)->GetUnboundModuleScript());
  return js->cache ? js_bytes{js->cache->data, static_cast<size_t>(js->cache->length)} : js_bytes{nullptr, 0};
}

} // namespace

extern "C" __attribute__((visibility("default"))) const js_engine lc_js_engine = {JS_SEAM_VERSION, V8::GetVersion(), start, create_isolate, run_source, close_isolate, has_hook, call_hook, terminate, js_escape_by_force, running_frames, heap, code_cache};
