/* Inside of the Wasm host: what wasm_program.c (engine, programs) and wasm.c (instances, calls) share. */
#ifndef LC_HOST_WASM_INTERNAL_H
#define LC_HOST_WASM_INTERNAL_H
#include "host_internal.h"
#include <pthread.h>
#include <wasm.h>
#include <wasmtime.h>

enum { MAX_PREINITS = 256, STACK_BYTES = 512 << 10, MAX_TABLE_ELEMENTS = 10000000 };
#define INSTRUCTION_BUDGET 120000000000ull /* per call, where instructions are counted (spec/02 §8) */

struct wasm_host {
  wasm_engine_t *engine;
  wasmtime_linker_t *linker; /* every ABI function; immutable after start */
  wasmtime_module_t *trap_code; /* (module (func (export "t") unreachable)) */
  pthread_t ticker;
  _Atomic uint64_t ticks;    /* so far */
  atomic_bool stop;
  bool count_instructions;
};
extern struct wasm_host wasm_host;

struct wasm_module {
  struct lc_module base;        /* first. The two forms of the HTTP handler exclude each other */
  wasmtime_module_t *code;
  wasmtime_instance_pre_t *pre;
  char *preinits[MAX_PREINITS]; /* export names, ascending */
  uint32_t n_preinits;
  bool has_initialize, from_cache;
  bool handler_has_sender;      /* the newer form of __call_http_handler__ */
};

struct wasm_instance {
  struct lc_instance base;      /* first */
  wasmtime_store_t *store;
  wasmtime_context_t *context;
  wasmtime_instance_t instance;
  wasmtime_memory_t memory;
  wasmtime_func_t calls[N_EXPORTS];
  wasmtime_func_t trap; bool has_trap; /* for backtraces; made when the first is wanted */
  uint64_t budget_ticks, refilled_at; /* ticks of a call; tick of the present deadline, 0: none that a next call may keep */
  bool sliced, out_of_time;     /* sliced: looked at every few ticks, with a deadline that moves while the guest is suspended */
  int64_t deadline_ns;
};

extern const struct host_binding wasm_binding; /* wasm.c */
void wasm_module_loaded(struct lc_module *m, struct lc_instance *first);
void wasm_module_free(struct lc_module *m);
wasm_functype_t *host_functype(const char *params, const char *results); /* 'i' and 'I'; owned by the caller */
/* What an import calls (wasm.c). */
wasm_trap_t *host_trampoline(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *raw, size_t n_raw);
/* Sets *err from e, which is freed. */
enum lc_status host_fail_error(struct lc_error *err, enum lc_status status, wasmtime_error_t *e);
#endif
