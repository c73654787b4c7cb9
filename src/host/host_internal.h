/* Inside of the host: what host.c (modules, calls, what a call came to) and its two bindings share: Wasm (wasm_program.c, wasm.c) and JavaScript (js_load.c, js.c). */
#ifndef LC_HOST_INTERNAL_H
#define LC_HOST_INTERNAL_H
#include "abi.h"

enum { TICK_MS = 10, MAX_PROGRAM_BYTES = 256 << 20 };
#define DEFAULT_BUDGET_US (60u * 1000000u)
#define DEFAULT_MEMORY_BYTES (1ull << 30)

/* Functions a module has to be called. */
enum host_export { EXPORT_REDUCER, EXPORT_DESCRIBE, EXPORT_SETUP, EXPORT_PROCEDURE, EXPORT_VIEW, EXPORT_VIEW_ANON, EXPORT_HTTP_HANDLER, N_EXPORTS };
extern const char *const host_export_names[N_EXPORTS];

/* What a function answered: its code as spec/02 §3 has it, and its bytes; body: of an HTTP handler. Borrowed from the instance until the call ends. */
struct host_answer { int32_t code; struct lc_slice bytes, body; };
/* What is not in lc_call_args: of an HTTP handler. */
struct host_extra { struct lc_slice body, jwt; };

struct host_binding {
  /* Frees what it owns of a module, and the module. */
  void (*module_free)(struct lc_module *m);
  /* A fresh instance, started up (spec/02 §2, §10); description (NULL: not wanted) gets the bytes of the definition. */
  enum lc_status (*instance_new)(struct lc_module *m, struct lc_host_env *env, struct lc_instance **out, struct lc_buf *description, struct lc_error *err);
  void (*instance_free)(struct lc_instance *inst);
  uint64_t (*memory_bytes)(const struct lc_instance *inst);
  /* Calls a function that the module has. LC_OK: it answered. Else it did not return: *err says why, and inst->dead whether it may be called again; LC_BUDGET:
   * the time budget ran out. */
  enum lc_status (*run)(struct lc_instance *inst, enum host_export which, const struct lc_call_args *call, const struct host_extra *extra, struct host_answer *answer, struct lc_error *err);
  uint64_t (*energy)(const struct lc_instance *inst); /* used by the last call */
  /* The module is sound: what makes its next load quicker may be kept. first: the instance that described it. */
  void (*loaded)(struct lc_module *m, struct lc_instance *first);
};

struct lc_module {                  /* the first member of a binding's own */
  atomic_uint refs;
  const struct host_binding *binding;
  struct lc_module_def *def;
  struct lc_hash hash;
  struct lc_host_limits limits;
  bool has[N_EXPORTS];
};

struct lc_instance {                /* the first member of a binding's own */
  struct guest guest;               /* first */
  struct lc_module *module;
  const struct host_binding *binding;
  struct lc_buf message;            /* of the last call */
  bool dead;
  _Atomic(const char *) interrupt;
};

/* Programs to modules, without their definition. */
enum lc_status wasm_module_compile(struct lc_slice program, const struct lc_host_limits *limits, struct lc_module **out, struct lc_error *err);
enum lc_status js_module_compile(struct lc_slice program, const struct lc_host_limits *limits, struct lc_module **out, struct lc_error *err);
void js_host_shutdown(void);
/* Allocates the binding's struct of `size` bytes and fills the common part. NULL: out of memory. */
struct lc_module *host_module_alloc(size_t size, const struct host_binding *binding, struct lc_slice program, const struct lc_host_limits *limits);
struct lc_instance *host_instance_alloc(size_t size, struct lc_module *m, struct lc_host_env *env);
void host_instance_release(struct lc_instance *inst); /* the common part, and the struct */
/* Ticks of TICK_MS since the host was started; any thread. */
uint64_t host_ticks(void);
uint64_t host_budget_ticks(const struct lc_module *m);
/* The cache of compiled programs (code_cache.c): one file per program and `suffix`. get: the bytes appended to out, false if there are none that can be trusted.
 * drop: they were no good after all. */
bool code_cache_get(const struct lc_hash *program, const char *suffix, struct lc_buf *out);
bool code_cache_put(const struct lc_hash *program, const char *suffix, struct lc_slice code);
void code_cache_drop(const struct lc_hash *program, const char *suffix);
void code_cache_set_dir(const char *dir); /* NULL: none; copied */

#endif
