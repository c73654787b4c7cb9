/* The module ABI once, independent of what runs the module (spec/02 §4-§7, spec/07 §3): handle tables and every call.
 * A binding (wasm.c) gives the guest's memory and moves numbers; abi_functions drives its linking. */
#ifndef LC_HOST_ABI_H
#define LC_HOST_ABI_H
#include "host.h"

struct abi_source { uint32_t id; struct lc_buf bytes; size_t at; bool open; };
struct abi_sink { uint32_t id; struct lc_buf bytes; };
struct abi_iter { struct lc_row_iter *rows; struct lc_slice next; };
struct abi_timer { char *name; int64_t start_ns; };

struct guest {
  struct lc_host_env *env;
  uint8_t *memory; size_t memory_len; /* refreshed by the binding before each call */
  struct lc_error err;                /* text of a trap */
  struct lc_slice function_name;
  bool in_procedure; struct lc_tx *own_tx; /* transaction a procedure opened */
  struct abi_source *sources; uint32_t n_sources, cap_sources, next_source;
  struct abi_sink *sinks; uint32_t n_sinks, cap_sinks, next_sink;
  struct abi_iter *iters; uint32_t n_iters;
  struct abi_timer *timers; uint32_t n_timers;
  struct lc_buf generated, text;
  /* Frames of the running guest for panic records: appends NUL-terminated names; may be NULL. */
  void (*backtrace)(void *ctx, struct lc_buf *names); void *backtrace_ctx;
};

/* v: parameters in, v[0] result out. false: trap with g->err. */
typedef bool abi_call(struct guest *g, uint64_t *v);
struct abi_function { const char *module, *name, *params; char result; /* 'i' i32, 'I' i64, 0 none */ abi_call *call; };
extern const struct abi_function abi_functions[];
extern const uint32_t abi_n_functions;

uint32_t guest_source(struct guest *g, struct lc_slice bytes); /* handle of a new source with a copy; 0: empty or out of memory */
uint32_t guest_sink(struct guest *g);                          /* handle of a new sink; 0: out of memory */
struct lc_slice guest_sink_bytes(const struct guest *g, uint32_t id);
/* Ends a call: drops handles; restart: counters begin at 1 again. */
void guest_end_call(struct guest *g, bool restart);
void guest_free(struct guest *g);
/* An Error record of the engine in the module log, as the reference writes for a reducer's user error (spec/02 §3). */
void guest_log_user_error(struct guest *g, struct lc_slice function, int64_t ts_us, struct lc_slice message);
void guest_log(struct guest *g, uint8_t level, const char *fmt, ...) LC_PRINTF(3, 4);

#endif
