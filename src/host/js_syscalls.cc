/* Owns: the modules `spacetime:sys@1.0` to `@2.2` (spec/02 §11, spec/07 §3.5): JavaScript values to the numbers and bytes of the ABI and back.
 *
 * What a call does is abi.c's, once for all bindings. Here its bytes go through the owner's memory (js_callbacks.memory): results at OUT and OUT_2, input from
 * DATA on. An errno becomes an exception of the module's own class; a call that fails without one ends the script, and so does every further one.
 */
#include "js_internal.hh"
#include <cstring>

using namespace v8;
using Info = const FunctionCallbackInfo<Value> &;

namespace {

enum { OUT = 16, OUT_2 = 48, DATA = 64 };
enum { ENDED = INT32_MIN };
const size_t MAX_BYTES = 256 << 20;

#define ABI_NAMES(X)                                                                                                                            \
  X(table_id_from_name) X(index_id_from_name) X(datastore_table_row_count) X(datastore_table_scan_bsatn) X(datastore_index_scan_range_bsatn)     \
  X(datastore_delete_by_index_scan_range_bsatn) X(datastore_index_scan_point_bsatn) X(datastore_delete_by_index_scan_point_bsatn)                \
  X(row_iter_bsatn_advance) X(row_iter_bsatn_close) X(datastore_insert_bsatn) X(datastore_update_bsatn) X(datastore_delete_all_by_eq_bsatn)      \
  X(volatile_nonatomic_schedule_immediate) X(console_log) X(console_timer_start) X(console_timer_end) X(identity) X(get_jwt)                     \
  X(procedure_http_request) X(procedure_start_mut_tx) X(procedure_commit_mut_tx) X(procedure_abort_mut_tx) X(datastore_clear) X(env_get)
#define ENUM(name) ABI_##name,
#define NAME(name) #name,
enum abi_function_name { ABI_NAMES(ENUM) N_ABI };
const char *const abi_names[N_ABI] = {ABI_NAMES(NAME)};
int abi_numbers[N_ABI];

enum { ERRNO_HOST_CALL_FAILURE = 1, ERRNO_BSATN_DECODE = 3, ERRNO_NO_SPACE = 9, ERRNO_BUFFER_TOO_SMALL = 11, ERRNO_HTTP = 21 };

/* Major version of the module that the called function belongs to. */
int major_of(Info info) { return info.Data().As<Int32>()->Value(); }

/* ---- arguments; each returns false with an exception pending ---- */

bool wrong_type(Isolate *isolate, const char *expected, Local<Value> got) {
  js_throw_type_error(isolate, std::string("Expected ") + expected + ", got " + js_utf8(isolate, got->TypeOf(isolate)));
  return false;
}
bool number(Info info, int i, const char *type, double max, uint32_t *out) {
  Local<Value> value = info[i];
  if (value->IsUint32() && value.As<Uint32>()->Value() <= max) {
    *out = value.As<Uint32>()->Value();
    return true;
  }
  if (!value->IsNumber()) return wrong_type(info.GetIsolate(), (std::string("number for `") + type + "`").c_str(), value);
  js_throw_type_error(info.GetIsolate(), std::string("Value overflowed `") + type + "`");
  return false;
}
bool u32(Info info, int i, uint32_t *out) { return number(info, i, "u32", 4294967295.0, out); }
bool u16(Info info, int i, uint32_t *out) { return number(info, i, "u16", 65535, out); }
bool u8(Info info, int i, uint32_t *out) { return number(info, i, "u8", 255, out); }

struct Bytes { uint8_t *data; size_t len; };
bool array_buffer(Info info, int i, Bytes *out) {
  if (!info[i]->IsArrayBuffer()) return wrong_type(info.GetIsolate(), "`ArrayBuffer`", info[i]);
  Local<ArrayBuffer> buffer = info[i].As<ArrayBuffer>();
  *out = {static_cast<uint8_t *>(buffer->Data()), buffer->ByteLength()};
  return true;
}
bool byte_array(Info info, int i, Bytes *out) {
  if (!info[i]->IsUint8Array()) return wrong_type(info.GetIsolate(), "`Uint8Array`", info[i]);
  Local<Uint8Array> array = info[i].As<Uint8Array>();
  *out = {static_cast<uint8_t *>(array->Buffer()->Data()) + array->ByteOffset(), array->ByteLength()};
  if (out->len == 0) out->data = nullptr;
  return true;
}
/* The first bytes of an ArrayBuffer, as many as argument `length` says. */
bool part_of_buffer(Info info, int i, int length, Bytes *out) {
  uint32_t len;
  if (!array_buffer(info, i, out) || !u32(info, length, &len)) return false;
  if (len > out->len) {
    info.GetIsolate()->ThrowException(Exception::RangeError(js_string(info.GetIsolate(), "length argument was out of bounds for `ArrayBuffer`")));
    return false;
  }
  out->len = len;
  return true;
}

/* ---- the owner's memory ---- */

/* Room for len bytes from DATA on; NULL: an exception is pending. */
uint8_t *room(Info info, size_t len) {
  js_isolate *js = js_of(info.GetIsolate());
  uint8_t *memory = len <= MAX_BYTES ? js_host.memory(js->owner, DATA + len + 1) : nullptr;
  if (!memory) info.GetIsolate()->ThrowException(Exception::RangeError(js_string(info.GetIsolate(), len > MAX_BYTES ? "argument is too large" : "out of memory")));
  return memory;
}
uint8_t *room_with(Info info, Bytes bytes) {
  uint8_t *memory = room(info, bytes.len);
  if (memory && bytes.len) memcpy(memory + DATA, bytes.data, bytes.len);
  return memory;
}
/* A string as UTF-8 at DATA + at. false: an exception is pending. */
bool text_at(Info info, int i, size_t at, uint32_t *len) {
  Isolate *isolate = info.GetIsolate();
  if (!info[i]->IsString()) return wrong_type(isolate, "string", info[i]);
  Local<String> text = info[i].As<String>();
  size_t n = static_cast<size_t>(text->Utf8Length(isolate));
  uint8_t *memory = room(info, at + n);
  if (!memory) return false;
  text->WriteUtf8(isolate, reinterpret_cast<char *>(memory + DATA + at), static_cast<int>(n), nullptr, String::NO_NULL_TERMINATION | String::REPLACE_INVALID_UTF8);
  *len = static_cast<uint32_t>(n);
  return true;
}
uint8_t *memory_of(Info info) {
  js_isolate *js = js_of(info.GetIsolate());
  return js_host.memory(js->owner, DATA);
}
uint32_t out_u32(Info info, size_t at = OUT) {
  uint32_t value;
  memcpy(&value, memory_of(info) + at, 4);
  return value;
}
uint64_t out_u64(Info info) {
  uint64_t value;
  memcpy(&value, memory_of(info) + OUT, 8);
  return value;
}

/* ---- calls and their errors ---- */

void end_script(js_isolate *js) {
  js->ended = true;
  js->isolate->TerminateExecution();
}
/* The call's result; ENDED: it is to return at once. */
int32_t invoke(Info info, abi_function_name function, abi_value *v) {
  js_isolate *js = js_of(info.GetIsolate());
  if (js->ended || !js_host.call(js->owner, abi_numbers[function], v)) {
    end_script(js);
    return ENDED;
  }
  return v[0].i32;
}

void throw_errno(Info info, int32_t number, const std::string &text) {
  Isolate *isolate = info.GetIsolate();
  js_isolate *js = js_of(isolate);
  Local<Context> context = isolate->GetCurrentContext();
  Local<Value> message = String::NewFromUtf8(isolate, text.data(), NewStringType::kNormal, static_cast<int>(text.size())).FromMaybe(String::Empty(isolate));
  if (major_of(info) == 1) {
    Local<Object> error = Object::New(isolate);
    if (error->Set(context, js_string(isolate, "__code_error__"), Integer::New(isolate, number)).IsNothing()) return;
    if (number == ERRNO_HTTP && error->Set(context, js_string(isolate, "__error_message__"), message).IsNothing()) return;
    isolate->ThrowException(error);
    return;
  }
  Local<Value> error = Exception::Error(message.As<String>());
  if (!js->error_constructor.IsEmpty()) {
    Local<Value> argument = Integer::New(isolate, number), constructor;
    if (!js->error_constructor.Get(isolate)->Call(context, Undefined(isolate), 1, &argument).ToLocal(&constructor)) return;
    Local<Object> made;
    if (constructor->IsFunction()) {
      if (!constructor.As<Function>()->NewInstance(context, 1, &message).ToLocal(&made)) return;
      error = made;
    }
  }
  isolate->ThrowException(error);
}
/* true: the call succeeded; else its error is on its way. */
bool succeeded(Info info, int32_t result) {
  if (result == 0) return true;
  if (result == ENDED) return false;
  const char *text = js_host.errno_message(result);
  throw_errno(info, result, text ? text : "unknown error");
  return false;
}
bool call(Info info, abi_function_name function, abi_value *v) { return succeeded(info, invoke(info, function, v)); }

void set_u32(abi_value *v, uint32_t value) { v->u32 = value; }

/* What a source holds, as a Uint8Array. */
MaybeLocal<Uint8Array> array_of(Isolate *isolate, const uint8_t *data, size_t len) {
  std::unique_ptr<BackingStore> store;
  js_isolate *js = js_of(isolate);
  if (len) { /* V8 ends the process when it cannot have the memory */
    void *copy = js->allocator.AllocateUninitialized(len);
    if (!copy) {
      isolate->ThrowException(Exception::RangeError(js_string(isolate, "Array buffer allocation failed")));
      return {};
    }
    memcpy(copy, data, len);
    store = ArrayBuffer::NewBackingStore(copy, len, [](void *p, size_t n, void *allocator) { static_cast<CountedAllocator *>(allocator)->Free(p, n); }, &js->allocator);
  }
  Local<ArrayBuffer> buffer = len ? ArrayBuffer::New(isolate, std::move(store)) : ArrayBuffer::New(isolate, 0);
  return Uint8Array::New(buffer, 0, len);
}
MaybeLocal<Uint8Array> array_of_source(Info info, uint32_t source) {
  js_isolate *js = js_of(info.GetIsolate());
  js_bytes bytes = source ? js_host.source(js->owner, source) : js_bytes{nullptr, 0};
  return array_of(info.GetIsolate(), bytes.data, bytes.len);
}

/* ---- names, counts, scans ---- */

void id_from_name(Info info, abi_function_name function) {
  abi_value v[3];
  uint32_t len;
  if (!text_at(info, 0, 0, &len)) return;
  set_u32(&v[0], DATA), set_u32(&v[1], len), set_u32(&v[2], OUT);
  if (call(info, function, v)) info.GetReturnValue().Set(out_u32(info));
}
void table_id_from_name(Info info) { id_from_name(info, ABI_table_id_from_name); }
void index_id_from_name(Info info) { id_from_name(info, ABI_index_id_from_name); }

void count(Info info, abi_function_name function) {
  abi_value v[2];
  if (!u32(info, 0, &v[0].u32) || !room(info, 0)) return;
  set_u32(&v[1], OUT);
  if (call(info, function, v)) info.GetReturnValue().Set(BigInt::NewFromUnsigned(info.GetIsolate(), out_u64(info)));
}
void datastore_table_row_count(Info info) { count(info, ABI_datastore_table_row_count); }
void datastore_clear(Info info) { count(info, ABI_datastore_clear); }
void datastore_table_scan_bsatn(Info info) {
  abi_value v[2];
  if (!u32(info, 0, &v[0].u32) || !room(info, 0)) return;
  set_u32(&v[1], OUT);
  if (call(info, ABI_datastore_table_scan_bsatn, v)) info.GetReturnValue().Set(out_u32(info));
}

void range(Info info, abi_function_name function, Bytes prefix, uint32_t prefix_elems, Bytes start, Bytes end) {
  abi_value v[9];
  uint8_t *memory = room(info, prefix.len + start.len + end.len);
  if (!memory || !u32(info, 0, &v[0].u32)) return;
  uint8_t *at = memory + DATA;
  Bytes parts[3] = {prefix, start, end};
  uint32_t address = DATA;
  for (int i = 0; i < 3; i++) {
    int slot = i == 0 ? 1 : 2 + 2 * i;
    if (parts[i].len) memcpy(at, parts[i].data, parts[i].len);
    set_u32(&v[slot], address), set_u32(&v[slot + 1], static_cast<uint32_t>(parts[i].len));
    at += parts[i].len;
    address += static_cast<uint32_t>(parts[i].len);
  }
  set_u32(&v[3], prefix_elems), set_u32(&v[8], OUT);
  if (call(info, function, v)) info.GetReturnValue().Set(out_u32(info));
}
void range_2(Info info, abi_function_name function) { /* (index, AB, prefix_len, prefix_elems, rstart_len, rend_len): the parts one behind the other */
  Bytes all;
  uint32_t prefix, elems, start, end;
  if (!array_buffer(info, 1, &all) || !u32(info, 2, &prefix) || !u16(info, 3, &elems) || !u32(info, 4, &start) || !u32(info, 5, &end)) return;
  if (uint64_t{prefix} + start + end > all.len) {
    info.GetIsolate()->ThrowException(Exception::RangeError(js_string(info.GetIsolate(), "length argument was out of bounds for `ArrayBuffer`")));
    return;
  }
  Bytes first = {all.data + prefix, start};
  range(info, function, {all.data, prefix}, elems, first, end ? Bytes{all.data + prefix + start, end} : first);
}
void range_1(Info info, abi_function_name function) { /* (index, prefix, prefix_elems, rstart, rend) */
  Bytes prefix, start, end;
  uint32_t elems;
  if (byte_array(info, 1, &prefix) && u16(info, 2, &elems) && byte_array(info, 3, &start) && byte_array(info, 4, &end)) range(info, function, prefix, elems, start, end);
}
void scan_range_1(Info info) { range_1(info, ABI_datastore_index_scan_range_bsatn); }
void scan_range_2(Info info) { range_2(info, ABI_datastore_index_scan_range_bsatn); }
void delete_range_1(Info info) { range_1(info, ABI_datastore_delete_by_index_scan_range_bsatn); }
void delete_range_2(Info info) { range_2(info, ABI_datastore_delete_by_index_scan_range_bsatn); }

/* Number, bytes -> u32. */
void with_bytes(Info info, abi_function_name function, Bytes bytes) {
  abi_value v[4];
  if (!u32(info, 0, &v[0].u32) || !room_with(info, bytes)) return;
  set_u32(&v[1], DATA), set_u32(&v[2], static_cast<uint32_t>(bytes.len)), set_u32(&v[3], OUT);
  if (call(info, function, v)) info.GetReturnValue().Set(out_u32(info));
}
void with_bytes_1(Info info, abi_function_name function) {
  Bytes bytes;
  if (byte_array(info, 1, &bytes)) with_bytes(info, function, bytes);
}
void with_bytes_2(Info info, abi_function_name function) {
  Bytes bytes;
  if (part_of_buffer(info, 1, 2, &bytes)) with_bytes(info, function, bytes);
}
void scan_point_1(Info info) { with_bytes_1(info, ABI_datastore_index_scan_point_bsatn); }
void scan_point_2(Info info) { with_bytes_2(info, ABI_datastore_index_scan_point_bsatn); }
void delete_point_1(Info info) { with_bytes_1(info, ABI_datastore_delete_by_index_scan_point_bsatn); }
void delete_point_2(Info info) { with_bytes_2(info, ABI_datastore_delete_by_index_scan_point_bsatn); }
void delete_all_1(Info info) { with_bytes_1(info, ABI_datastore_delete_all_by_eq_bsatn); }
void delete_all_2(Info info) { with_bytes_2(info, ABI_datastore_delete_all_by_eq_bsatn); }

/* ---- iterators ---- */

/* Whole rows at DATA. The call's result; len: how many bytes, or how many are needed. */
int32_t advance(Info info, size_t capacity, uint32_t *len) {
  abi_value v[3];
  uint8_t *memory;
  if (!u32(info, 0, &v[0].u32) || !(memory = room(info, capacity))) return ENDED;
  uint32_t n = static_cast<uint32_t>(capacity);
  memcpy(memory + OUT, &n, 4);
  set_u32(&v[1], DATA), set_u32(&v[2], OUT);
  int32_t result = invoke(info, ABI_row_iter_bsatn_advance, v);
  if (result == ENDED) return ENDED;
  *len = out_u32(info);
  if (result == ERRNO_BUFFER_TOO_SMALL) {
    Isolate *isolate = info.GetIsolate();
    Local<Object> needed = Object::New(isolate);
    if (needed->Set(isolate->GetCurrentContext(), js_string(isolate, "__buffer_too_small__"), Integer::NewFromUnsigned(isolate, *len)).IsJust()) isolate->ThrowException(needed);
    return ENDED;
  }
  return result == -1 || succeeded(info, result) ? result : ENDED;
}
void advance_2(Info info) {
  Bytes buffer;
  uint32_t len;
  if (!array_buffer(info, 1, &buffer)) return;
  int32_t result = advance(info, buffer.len < MAX_BYTES ? buffer.len : MAX_BYTES, &len);
  if (result == ENDED) return;
  if (len) memcpy(buffer.data, memory_of(info) + DATA, len);
  info.GetReturnValue().Set(result == 0 ? static_cast<int32_t>(len) : -static_cast<int32_t>(len));
}
void advance_1(Info info) {
  uint32_t capacity, len;
  if (!u32(info, 1, &capacity)) return;
  int32_t result = advance(info, capacity < MAX_BYTES ? capacity : MAX_BYTES, &len);
  if (result == ENDED) return;
  Isolate *isolate = info.GetIsolate();
  Local<Context> context = isolate->GetCurrentContext();
  Local<Object> answer = Object::New(isolate);
  Local<Uint8Array> rows;
  if (!array_of(isolate, memory_of(info) + DATA, len).ToLocal(&rows)) return;
  if (answer->Set(context, 0, Boolean::New(isolate, result != 0)).IsNothing() || answer->Set(context, 1, rows).IsNothing()) return;
  info.GetReturnValue().Set(answer);
}
void row_iter_bsatn_close(Info info) {
  abi_value v[1];
  if (u32(info, 0, &v[0].u32)) call(info, ABI_row_iter_bsatn_close, v);
}

/* ---- insert, update ---- */

/* Generated values at DATA. false: an exception is pending. */
bool store_row(Info info, bool update, Bytes row, uint32_t *generated) {
  abi_value v[4];
  int at = 0;
  uint8_t *memory = room_with(info, row);
  if (!memory || !u32(info, 0, &v[at++].u32) || (update && !u32(info, 1, &v[at++].u32))) return false;
  uint32_t len = static_cast<uint32_t>(row.len);
  memcpy(memory + OUT, &len, 4);
  set_u32(&v[at], DATA), set_u32(&v[at + 1], OUT);
  if (!call(info, update ? ABI_datastore_update_bsatn : ABI_datastore_insert_bsatn, v)) return false;
  *generated = out_u32(info);
  return true;
}
void store_row_2(Info info, bool update) {
  Bytes row, buffer;
  uint32_t generated;
  int i = update ? 2 : 1;
  if (!part_of_buffer(info, i, i + 1, &row) || !store_row(info, update, row, &generated) || !array_buffer(info, i, &buffer)) return;
  if (generated > buffer.len) {
    info.GetIsolate()->ThrowException(Exception::RangeError(js_string(info.GetIsolate(), "the buffer has no room for generated values")));
    return;
  }
  if (generated) memcpy(buffer.data, memory_of(info) + DATA, generated);
  info.GetReturnValue().Set(generated);
}
void store_row_1(Info info, bool update) {
  Bytes row;
  uint32_t generated;
  Local<Uint8Array> values;
  if (byte_array(info, update ? 2 : 1, &row) && store_row(info, update, row, &generated) && array_of(info.GetIsolate(), memory_of(info) + DATA, generated).ToLocal(&values))
    info.GetReturnValue().Set(values);
}
void insert_1(Info info) { store_row_1(info, false); }
void insert_2(Info info) { store_row_2(info, false); }
void update_1(Info info) { store_row_1(info, true); }
void update_2(Info info) { store_row_2(info, true); }

/* ---- console, identity, scheduling, environment ---- */

void volatile_nonatomic_schedule_immediate(Info info) {
  abi_value v[4];
  Bytes args;
  uint32_t len;
  if (!byte_array(info, 1, &args) || !text_at(info, 0, args.len, &len)) return;
  if (args.len) memcpy(memory_of(info) + DATA, args.data, args.len);
  set_u32(&v[0], DATA + static_cast<uint32_t>(args.len)), set_u32(&v[1], len), set_u32(&v[2], DATA), set_u32(&v[3], static_cast<uint32_t>(args.len));
  invoke(info, ABI_volatile_nonatomic_schedule_immediate, v);
}
void console_log(Info info) { /* line and file of the caller of the function that calls this */
  Isolate *isolate = info.GetIsolate();
  abi_value v[8] = {};
  uint32_t len, name_len = 0;
  if (!u8(info, 0, &v[0].u32) || !text_at(info, 1, 0, &len)) return;
  uint32_t line = UINT32_MAX;
  Local<StackTrace> stack = StackTrace::CurrentStackTrace(isolate, 2, StackTrace::kOverview);
  std::string name;
  if (stack->GetFrameCount() > 1) {
    Local<StackFrame> frame = stack->GetFrame(isolate, 1);
    if (!frame->GetScriptName().IsEmpty()) name = js_utf8(isolate, frame->GetScriptName());
    line = static_cast<uint32_t>(frame->GetLineNumber());
  }
  name_len = static_cast<uint32_t>(name.size());
  uint8_t *memory = room(info, size_t{len} + name_len);
  if (!memory) return;
  if (name_len) memcpy(memory + DATA + len, name.data(), name_len);
  set_u32(&v[3], name_len ? DATA + len : 0), set_u32(&v[4], name_len), set_u32(&v[5], line), set_u32(&v[6], DATA), set_u32(&v[7], len);
  invoke(info, ABI_console_log, v);
}
void console_timer_start(Info info) {
  abi_value v[2];
  uint32_t len;
  if (!text_at(info, 0, 0, &len)) return;
  set_u32(&v[0], DATA), set_u32(&v[1], len);
  int32_t id = invoke(info, ABI_console_timer_start, v);
  if (id != ENDED) info.GetReturnValue().Set(id);
}
void console_timer_end(Info info) {
  abi_value v[1];
  if (u32(info, 0, &v[0].u32)) call(info, ABI_console_timer_end, v);
}
MaybeLocal<BigInt> own_identity(Info info) {
  abi_value v[1];
  uint64_t words[4];
  if (!room(info, 32)) return {};
  set_u32(&v[0], DATA);
  if (invoke(info, ABI_identity, v) == ENDED) return {};
  memcpy(words, memory_of(info) + DATA, 32);
  return BigInt::NewFromWords(info.GetIsolate()->GetCurrentContext(), 0, 4, words);
}
void identity_1(Info info) {
  Isolate *isolate = info.GetIsolate();
  Local<BigInt> identity;
  Local<Object> answer = Object::New(isolate);
  if (own_identity(info).ToLocal(&identity) && answer->Set(isolate->GetCurrentContext(), js_string(isolate, "__identity__"), identity).IsJust()) info.GetReturnValue().Set(answer);
}
void identity_2(Info info) {
  Local<BigInt> identity;
  if (own_identity(info).ToLocal(&identity)) info.GetReturnValue().Set(identity);
}
void get_jwt_payload(Info info) {
  Isolate *isolate = info.GetIsolate();
  abi_value v[2];
  if (!info[0]->IsBigInt()) {
    wrong_type(isolate, "bigint for `u128`", info[0]);
    return;
  }
  int negative = 0, n_words = 2;
  uint64_t words[2] = {0, 0};
  info[0].As<BigInt>()->ToWordsArray(&negative, &n_words, words);
  if (negative || n_words > 2) return js_throw_type_error(isolate, "Value overflowed `u128`");
  if (!room_with(info, {reinterpret_cast<uint8_t *>(words), 16})) return;
  set_u32(&v[0], DATA), set_u32(&v[1], OUT);
  Local<Uint8Array> payload;
  if (call(info, ABI_get_jwt, v) && array_of_source(info, out_u32(info)).ToLocal(&payload)) info.GetReturnValue().Set(payload);
}
void env_get(Info info) {
  Isolate *isolate = info.GetIsolate();
  abi_value v[3];
  uint32_t len;
  if (!text_at(info, 0, 0, &len)) return;
  set_u32(&v[0], DATA), set_u32(&v[1], len), set_u32(&v[2], OUT);
  int32_t result = invoke(info, ABI_env_get, v);
  if (result == ERRNO_HOST_CALL_FAILURE) return throw_errno(info, result, "invalid environment variable name");
  if (result == ERRNO_NO_SPACE) return throw_errno(info, result, "too many outstanding byte sources for environment read");
  if (!succeeded(info, result)) return;
  uint32_t source = out_u32(info);
  if (source == 0) return info.GetReturnValue().SetNull();
  js_isolate *js = js_of(isolate);
  js_bytes bytes = js_host.source(js->owner, source);
  Local<String> text;
  if (String::NewFromUtf8(isolate, reinterpret_cast<const char *>(bytes.data), NewStringType::kNormal, static_cast<int>(bytes.len)).ToLocal(&text)) info.GetReturnValue().Set(text);
}

/* ---- procedures ---- */

void procedure_start_mut_tx(Info info) {
  abi_value v[1];
  if (!room(info, 0)) return;
  set_u32(&v[0], OUT);
  if (call(info, ABI_procedure_start_mut_tx, v)) info.GetReturnValue().Set(BigInt::New(info.GetIsolate(), static_cast<int64_t>(out_u64(info))));
}
void procedure_commit_mut_tx(Info info) {
  abi_value v[1] = {};
  call(info, ABI_procedure_commit_mut_tx, v);
}
void procedure_abort_mut_tx(Info info) {
  abi_value v[1] = {};
  call(info, ABI_procedure_abort_mut_tx, v);
}
void procedure_http_request(Info info) {
  Isolate *isolate = info.GetIsolate();
  js_isolate *js = js_of(isolate);
  abi_value v[5];
  Bytes request, body = {nullptr, 0};
  uint32_t body_len = 0;
  if (!byte_array(info, 0, &request)) return;
  if (info[1]->IsString()) {
    if (!text_at(info, 1, request.len, &body_len)) return;
  } else {
    if (!byte_array(info, 1, &body) || !room(info, request.len + body.len)) return;
    body_len = static_cast<uint32_t>(body.len);
    if (body_len) memcpy(memory_of(info) + DATA + request.len, body.data, body_len);
  }
  if (request.len) memcpy(memory_of(info) + DATA, request.data, request.len);
  uint32_t request_len = static_cast<uint32_t>(request.len);
  set_u32(&v[0], DATA), set_u32(&v[1], request_len), set_u32(&v[2], DATA + request_len), set_u32(&v[3], body_len), set_u32(&v[4], OUT);
  int32_t result = invoke(info, ABI_procedure_http_request, v);
  if (result == ERRNO_BSATN_DECODE) return js_throw_type_error(isolate, "failed to decode http request: the bytes are not an HttpRequest");
  if (result == ERRNO_HTTP) { /* a BSATN string */
    js_bytes text = js_host.source(js->owner, out_u32(info));
    return throw_errno(info, result, text.len > 4 ? std::string(reinterpret_cast<const char *>(text.data) + 4, text.len - 4) : std::string());
  }
  if (!succeeded(info, result)) return;
  uint32_t first = out_u32(info), second = out_u32(info, OUT + 4);
  Local<Uint8Array> parts[2];
  if (!array_of_source(info, first).ToLocal(&parts[0]) || !array_of_source(info, second).ToLocal(&parts[1])) return;
  Local<Value> values[2] = {parts[0], parts[1]};
  info.GetReturnValue().Set(Array::New(isolate, values, 2));
}

/* ---- register_hooks of the first major version ---- */

void register_hooks(Info info, int minor, std::initializer_list<js_hook> hooks) {
  Isolate *isolate = info.GetIsolate();
  js_isolate *js = js_of(isolate);
  if (js->major == 2) return js_throw_type_error(isolate, "cannot call `register_hooks` from different versions");
  if (js->registered[minor]) return js_throw_type_error(isolate, "cannot call `register_hooks` multiple times");
  if (!info[0]->IsObject()) {
    wrong_type(isolate, "object", info[0]);
    return;
  }
  for (js_hook hook : hooks)
    if (!js_take_hook(js, isolate->GetCurrentContext(), info[0].As<Object>(), hook, false)) return;
  js->registered[minor] = true;
  js->major = 1;
}
void register_hooks_0(Info info) { register_hooks(info, 0, {JS_DESCRIBE, JS_REDUCER}); }
void register_hooks_1(Info info) { register_hooks(info, 1, {JS_VIEW, JS_VIEW_ANON}); }
void register_hooks_2(Info info) { register_hooks(info, 2, {JS_PROCEDURE}); }

/* ---- the modules ---- */

struct sys_function { const char *name; FunctionCallback callback; };

const sys_function functions_1_0[] = {
    {"register_hooks", register_hooks_0}, {"table_id_from_name", table_id_from_name}, {"index_id_from_name", index_id_from_name},
    {"datastore_table_row_count", datastore_table_row_count}, {"datastore_table_scan_bsatn", datastore_table_scan_bsatn}, {"datastore_index_scan_range_bsatn", scan_range_1},
    {"row_iter_bsatn_advance", advance_1}, {"row_iter_bsatn_close", row_iter_bsatn_close}, {"datastore_insert_bsatn", insert_1}, {"datastore_update_bsatn", update_1},
    {"datastore_delete_by_index_scan_range_bsatn", delete_range_1}, {"datastore_delete_all_by_eq_bsatn", delete_all_1},
    {"volatile_nonatomic_schedule_immediate", volatile_nonatomic_schedule_immediate}, {"console_log", console_log}, {"console_timer_start", console_timer_start},
    {"console_timer_end", console_timer_end}, {"identity", identity_1}, {"get_jwt_payload", get_jwt_payload}};
const sys_function functions_1_1[] = {{"register_hooks", register_hooks_1}};
const sys_function functions_1_2[] = {{"register_hooks", register_hooks_2}, {"procedure_http_request", procedure_http_request}, {"procedure_start_mut_tx", procedure_start_mut_tx},
                                      {"procedure_commit_mut_tx", procedure_commit_mut_tx}, {"procedure_abort_mut_tx", procedure_abort_mut_tx}};
const sys_function functions_1_3[] = {{"datastore_index_scan_point_bsatn", scan_point_1}, {"datastore_delete_by_index_scan_point_bsatn", delete_point_1}};
const sys_function functions_2_0[] = {
    {"table_id_from_name", table_id_from_name}, {"index_id_from_name", index_id_from_name}, {"datastore_table_row_count", datastore_table_row_count},
    {"datastore_table_scan_bsatn", datastore_table_scan_bsatn}, {"datastore_index_scan_range_bsatn", scan_range_2},
    {"datastore_delete_by_index_scan_range_bsatn", delete_range_2}, {"datastore_index_scan_point_bsatn", scan_point_2},
    {"datastore_delete_by_index_scan_point_bsatn", delete_point_2}, {"row_iter_bsatn_advance", advance_2}, {"row_iter_bsatn_close", row_iter_bsatn_close},
    {"datastore_insert_bsatn", insert_2}, {"datastore_update_bsatn", update_2}, {"datastore_delete_all_by_eq_bsatn", delete_all_2},
    {"volatile_nonatomic_schedule_immediate", volatile_nonatomic_schedule_immediate}, {"console_log", console_log}, {"console_timer_start", console_timer_start},
    {"console_timer_end", console_timer_end}, {"identity", identity_2}, {"get_jwt_payload", get_jwt_payload}, {"procedure_http_request", procedure_http_request},
    {"procedure_start_mut_tx", procedure_start_mut_tx}, {"procedure_commit_mut_tx", procedure_commit_mut_tx}, {"procedure_abort_mut_tx", procedure_abort_mut_tx}};
const sys_function functions_2_1[] = {{"datastore_clear", datastore_clear}};
const sys_function functions_2_2[] = {{"env_get", env_get}};

struct sys_module { const char *version; const sys_function *functions; size_t n; };
#define SYS(version, list) {version, list, sizeof list / sizeof *list}
const sys_module sys_modules[] = {SYS("1.0", functions_1_0), SYS("1.1", functions_1_1), SYS("1.2", functions_1_2), SYS("1.3", functions_1_3),
                                  SYS("2.0", functions_2_0), SYS("2.1", functions_2_1), SYS("2.2", functions_2_2)};
enum { N_SYS = sizeof sys_modules / sizeof *sys_modules };
static_assert(N_SYS == sizeof(js_isolate::sys) / sizeof(Global<Module>), "one place for each module");

MaybeLocal<Value> evaluate_sys(Local<Context> context, Local<Module> module) {
  Isolate *isolate = context->GetIsolate();
  js_isolate *js = js_of(isolate);
  for (int i = 0; i < N_SYS; i++) {
    if (js->sys[i].IsEmpty() || js->sys[i].Get(isolate) != module) continue;
    Local<Integer> major = Integer::New(isolate, sys_modules[i].version[0] - '0');
    for (size_t k = 0; k < sys_modules[i].n; k++) {
      Local<String> name = js_string(isolate, sys_modules[i].functions[k].name);
      Local<Function> function;
      if (!Function::New(context, sys_modules[i].functions[k].callback, major, 0, ConstructorBehavior::kThrow).ToLocal(&function)) return {};
      function->SetName(name);
      if (module->SetSyntheticModuleExport(isolate, name, function).IsNothing()) return {};
    }
    if (strcmp(sys_modules[i].version, "2.0") == 0 && module->SetSyntheticModuleExport(isolate, js_string(isolate, "moduleHooks"), js->hooks_key.Get(isolate)).IsNothing()) return {};
  }
  Local<Promise::Resolver> done;
  if (!Promise::Resolver::New(context).ToLocal(&done) || done->Resolve(context, Undefined(isolate)).IsNothing()) return {};
  return done->GetPromise();
}

/* As the reference quotes it. */
std::string quoted(const std::string &text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n') out += "\\n";
    else if (c == '\r') out += "\\r";
    else if (c == '\t') out += "\\t";
    else out += c;
  }
  return out + "\"";
}
/* MAJOR.MINOR, each a u16 in digits. */
bool is_version(const std::string &text) {
  size_t dot = text.find('.');
  if (dot == std::string::npos) return false;
  for (const std::string &part : {text.substr(0, dot), text.substr(dot + 1)}) {
    if (part.empty() || part.size() > 5 || part.find_first_not_of("0123456789") != std::string::npos || std::stoi(part) > 65535) return false;
  }
  return true;
}

} // namespace

bool js_syscalls_start(char *error, size_t error_len) {
  for (int i = 0; i < N_ABI; i++) {
    abi_numbers[i] = js_host.function_of(abi_names[i]);
    if (abi_numbers[i] < 0) {
      snprintf(error, error_len, "the server has no function %s", abi_names[i]);
      return false;
    }
  }
  return true;
}

MaybeLocal<Module> js_resolve(Local<Context> context, Local<String> specifier) {
  Isolate *isolate = context->GetIsolate();
  js_isolate *js = js_of(isolate);
  std::string spec = js_utf8(isolate, specifier), rest, version;
  size_t at = spec.rfind('@');
  bool well_formed = spec.compare(0, 10, "spacetime:") == 0 && at != std::string::npos && at > 10;
  if (!well_formed || spec.substr(10, at - 10) != "sys") return js_throw_type_error(isolate, "Could not find module " + quoted(spec)), MaybeLocal<Module>();
  version = spec.substr(at + 1);
  if (!is_version(version)) return js_throw_type_error(isolate, "Invalid version in module spec " + quoted(spec)), MaybeLocal<Module>();
  for (int i = 0; i < N_SYS; i++) {
    if (version != sys_modules[i].version) continue;
    if (!js->sys[i].IsEmpty()) return js->sys[i].Get(isolate);
    std::vector<Local<String>> names;
    for (size_t k = 0; k < sys_modules[i].n; k++) names.push_back(js_string(isolate, sys_modules[i].functions[k].name));
    if (version == "2.0") names.push_back(js_string(isolate, "moduleHooks"));
    Local<Module> module = Module::CreateSyntheticModule(isolate, specifier, names, evaluate_sys);
    js->sys[i].Reset(isolate, module);
    return module;
  }
  js_throw_type_error(isolate, "Could not import " + quoted(spec) +
                                   ", likely because this module was built for a newer version of SpacetimeDB.\nIt requires sys module v" + version +
                                   ", but that version is not supported by the database.");
  return {};
}
