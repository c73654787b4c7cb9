/* Inside of the Wasm host: what wasm_program.c (engine, programs) and wasm.c (instances, calls) share. */
#ifndef LC_HOST_WASM_INTERNAL_H
#define LC_HOST_WASM_INTERNAL_H
#include "abi.h"
#include <pthread.h>
#include <wasm.h>
#include <wasmtime.h>

enum { TICK_MS = 10, MAX_PREINITS = 256, MAX_PROGRAM_BYTES = 256 << 20, STACK_BYTES = 512 << 10, MAX_TABLE_ELEMENTS = 10000000 };
#define DEFAULT_BUDGET_US (60u * 1000000u)
#define DEFAULT_MEMORY_BYTES (1ull << 30)
#define INSTRUCTION_BUDGET 120000000000ull /* per call, where instructions are counted (spec/02 §8) */

struct wasm_host {
  wasm_engine_t *engine;
  wasmtime_linker_t *linker; /* every ABI function; immutable after start */
  wasmtime_module_t *trap_code; /* (module (func (export "t") unreachable)) */
  pthread_t ticker;
  _Atomic uint64_t ticks;    /* so far */
  atomic_bool stop;
  bool count_instructions;
  char *code_cache_dir;
};
extern struct wasm_host wasm_host;

/* Functions a module exports to be called. The two forms of the HTTP handler exclude each other. */
enum host_export { EXPORT_REDUCER, EXPORT_DESCRIBE, EXPORT_SETUP, EXPORT_PROCEDURE, EXPORT_VIEW, EXPORT_VIEW_ANON, EXPORT_HTTP_HANDLER, N_EXPORTS };
extern const char *const host_export_names[N_EXPORTS];

struct lc_module {
  atomic_uint refs;
  wasmtime_module_t *code;
  wasmtime_instance_pre_t *pre;
  struct lc_module_def *def;
  struct lc_hash hash;
  struct lc_host_limits limits;
  char *preinits[MAX_PREINITS]; /* export names, ascending */
  uint32_t n_preinits;
  bool has[N_EXPORTS], has_initialize;
  bool handler_has_sender;      /* the newer form of __call_http_handler__ */
};

struct lc_instance {
  struct guest guest;           /* first */
  struct lc_module *module;
  wasmtime_store_t *store;
  wasmtime_context_t *context;
  wasmtime_instance_t instance;
  wasmtime_memory_t memory;
  wasmtime_func_t calls[N_EXPORTS];
  wasmtime_func_t trap; bool has_trap; /* for backtraces; made when the first is wanted */
  uint64_t budget_ticks, refilled_at; /* ticks of a call; tick of the present deadline, 0: none that a next call may keep */
  struct lc_buf message;        /* of the last call */
  bool dead;
  bool sliced, out_of_time;     /* sliced: looked at every few ticks, with a deadline that moves while the guest is suspended */
  int64_t deadline_ns;
  _Atomic(const char *) interrupt;
};

wasm_functype_t *host_functype(const char *params, const char *results); /* 'i' and 'I'; owned by the caller */
/* What an import calls (wasm.c). */
wasm_trap_t *host_trampoline(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *raw, size_t n_raw);
/* Sets *err from e, which is freed. */
enum lc_status host_fail_error(struct lc_error *err, enum lc_status status, wasmtime_error_t *e);
/* A first instance: everything of spec/02 §2; description gets what __describe_module__ wrote (NULL: not wanted). */
enum lc_status host_instance_new(struct lc_module *m, struct lc_host_env *env, struct lc_instance **out, struct lc_buf *description, struct lc_error *err);

#endif
