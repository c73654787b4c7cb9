/* The face of host/: compiled modules, their instances, calls into them, and the ABI they call back (spec/02, spec/07 §3).
 *
 * A `struct lc_module` (compiled program + definition) is immutable and may be shared by threads. A `struct lc_instance`
 * belongs to one caller at a time. ABI calls act on the datastore and transaction named in the call's context.
 */
#ifndef LC_HOST_H
#define LC_HOST_H
#include "../engine/engine.h"

struct lc_module;
struct lc_instance;

enum { LC_PROGRAM_WASM = 0, LC_PROGRAM_JS = 1 };

/* One record for the module log (spec/02 §5.7); strings borrowed for the duration of the call. len 0 = absent where marked. */
struct lc_module_log_record {
  uint8_t level; /* 0 error, 1 warn, 2 info, 3 debug, 4 trace, 101 panic */
  int64_t ts_us; struct lc_slice target, filename, function, message; /* target, filename, function may be absent */
  bool has_line; uint32_t line;
  uint32_t n_frames; const struct lc_slice *frames; /* panic backtrace: function names */
};

/* What an instance may reach while it runs; the db actor fills it once per instance and updates tx before each call. */
struct lc_host_env {
  const struct lc_env *env;
  struct lc_datastore *ds;
  struct lc_tx *tx;                  /* NULL: outside a transaction */
  struct lc_identity database_identity;
  void *ctx;
  void (*log)(void *ctx, const struct lc_module_log_record *rec);
  /* Called after an insert/update of a row of a scheduled table through the ABI; returns 0 or LC_ERRNO_SCHEDULE_TOO_LONG; may be NULL. */
  int (*schedule_row)(void *ctx, uint32_t table_id, struct lc_slice row);
  /* Commits the transaction a procedure opened (its changes are broadcast without a caller); may be NULL where procedures do not run. */
  void (*commit_tx)(void *ctx, struct lc_tx *tx);
  /* volatile_nonatomic_schedule_immediate; may be NULL */
  void (*schedule_immediate)(void *ctx, struct lc_slice function, struct lc_slice args);
};

struct lc_host_limits {
  uint64_t call_time_budget_us;      /* 0: default 60 s. Epoch interruption; stands in for the reference's fuel */
  uint64_t memory_limit_bytes;       /* 0: default 2 GiB per instance */
};

/* Process-wide engine: call once at start; starts the epoch ticker thread. LC_NOMEM, LC_UNSUPPORTED. */
enum lc_status lc_host_init(struct lc_error *err);
void lc_host_shutdown(void);

/* Compiles `program`, checks imports and exports (texts of spec/02 §1-§2), makes a first instance in order to describe it, decodes and
 * validates the definition. The module is reference counted. log may be NULL. */
enum lc_status lc_module_load(struct lc_slice program, uint8_t program_kind, const struct lc_host_limits *limits, const struct lc_host_env *env, struct lc_module **out, struct lc_error *err);
struct lc_module *lc_module_ref(struct lc_module *m);
void lc_module_unref(struct lc_module *m);
const struct lc_module_def *lc_module_definition(const struct lc_module *m);
const struct lc_hash *lc_module_hash(const struct lc_module *m); /* Keccak-256 of the program */

/* A fresh instance after the full sequence of spec/02 §2. `env` is borrowed for the instance's life. */
enum lc_status lc_instance_new(struct lc_module *m, struct lc_host_env *env, struct lc_instance **out, struct lc_error *err);
void lc_instance_free(struct lc_instance *inst);

enum lc_call_status { LC_CALL_OK, LC_CALL_USER_ERROR, LC_CALL_FATAL, LC_CALL_BUDGET };
struct lc_call_result {
  enum lc_call_status status;
  bool instance_dead;               /* the instance trapped: free it, make a new one */
  struct lc_slice message;          /* LC_CALL_USER_ERROR: the reducer's text (lossy UTF-8 repaired); FATAL/BUDGET: for the server log; valid until the next call */
};
struct lc_call_args {
  struct lc_slice function_name;    /* for log records */
  uint32_t id;                      /* reducer index */
  struct lc_identity sender; struct lc_connection_id connection_id; int64_t timestamp_us;
  struct lc_slice args;             /* BSATN, validated by the caller */
};
/* Calls a reducer inside env->tx (spec/02 §3). Does not commit or roll back. Writes the documented Error record for user errors. */
void lc_instance_call_reducer(struct lc_instance *inst, const struct lc_call_args *call, struct lc_call_result *out);
/* Calls a procedure without an open transaction; ret gets the BSATN return value. Sleeping and outgoing HTTP trap with the text the
 * reference gives on instances that cannot wait (spec/02 §5.9). */
void lc_instance_call_procedure(struct lc_instance *inst, const struct lc_call_args *call, struct lc_buf *ret, struct lc_call_result *out);

#endif
