/* The module ABI once, independent of what runs the module (spec/02 §4-§7, spec/07 §3): handle tables and every call.
 * A binding (wasm.c) gives the guest's memory and moves numbers; abi_functions (from abi_table.h) drives its linking. */
#ifndef LC_HOST_ABI_H
#define LC_HOST_ABI_H
#include "abi_value.h"
#include "host.h"

enum { ABI_MAJOR = 10, ABI_MINOR = 6, ABI_MAX_VALUES = 10 };

struct abi_source { uint32_t id; bool open; const uint8_t *data; size_t len, at; struct lc_buf own; }; /* data: borrowed for the call, or own's */
struct abi_sink { uint32_t id; struct lc_buf bytes; };
struct abi_iter { struct lc_row_iter *rows; struct lc_slice next; };
struct abi_timer { char *name; size_t len; int64_t start_ns; };

struct guest {
  uint8_t *memory; size_t memory_len; /* as last seen: memory never moves and never shrinks, so this may only be too small */
  struct lc_host_env *env;
  struct lc_tx *own_tx;               /* transaction a procedure opened */
  struct abi_source *sources; uint32_t n_sources, cap_sources, next_source, free_source; /* free_source: none below it is free; free_iter too */
  struct abi_sink *sinks; uint32_t n_sinks, cap_sinks, next_sink;
  struct abi_iter *iters; uint32_t n_iters, cap_iters, free_iter;
  struct abi_timer *timers; uint32_t n_timers;
  struct lc_buf generated, text;
  struct lc_slice function_name;      /* of the running or most recent function; absent during start-up */
  bool in_call;                       /* a function called by the host is running (not start-up) */
  const struct lc_module_def *def; const struct lc_hash *program_hash; /* NULL before the module is described */
  /* What the binding offers. refresh: looks memory up anew. backtrace: appends the running functions, innermost first, each as two texts with
   * their NULs: where it is (may be empty) and its name. suspended: the guest's clock stood still for that long (its time budget moves). Any but refresh
   * may be NULL. */
  void (*refresh)(struct guest *g);
  void (*backtrace)(struct guest *g, struct lc_buf *names);
  void (*suspended)(struct guest *g, int64_t ns);
  struct lc_error err;                /* text of a trap */
};

/* v: parameters in, v[0] result out. false: trap with g->err. */
typedef bool abi_call(struct guest *g, union abi_value *v);
struct abi_function { const char *module, *name, *params; char result; /* 'i' i32, 'I' i64, 0 none */ abi_call *call; const char *about; };
extern const struct abi_function abi_functions[];
extern const uint32_t abi_n_functions;

uint32_t guest_source(struct guest *g, struct lc_slice bytes);          /* handle of a new source with a copy; 0: empty or out of memory */
uint32_t guest_source_borrowed(struct guest *g, struct lc_slice bytes); /* the same without a copy: bytes stay until the call ends */
uint32_t guest_sink(struct guest *g);                                   /* handle of a new sink; 0: out of memory */
struct lc_slice guest_sink_bytes(const struct guest *g, uint32_t id);
struct lc_slice guest_take_source(struct guest *g, uint32_t id);        /* what a source has left, which is closed; until the next source is made */
/* Ends a call: drops handles; restart: counters begin at 1 again. */
void guest_end_call(struct guest *g, bool restart);
void guest_free(struct guest *g);
/* An Error record of the engine in the module log, as the reference writes for a reducer's user error (spec/02 §3). */
void guest_log_user_error(struct guest *g, struct lc_slice function, int64_t ts_us, struct lc_slice message);
/* A Panic record of what the guest did not catch, at filename and line (absent where len 0) with its frames as backtrace gives them. */
void guest_log_panic(struct guest *g, struct lc_slice message, struct lc_slice filename, uint32_t line, struct lc_slice frames);
void guest_log(struct guest *g, uint8_t level, const char *fmt, ...) LC_PRINTF(3, 4);
/* Appends text with every malformed UTF-8 sequence replaced by U+FFFD. */
void guest_put_lossy(struct lc_buf *out, struct lc_slice text);

#endif
