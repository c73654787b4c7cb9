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
struct lc_trace_frame { struct lc_slice module, function; }; /* module: where the function is, as FILE:LINE:COLUMN; may be absent */
struct lc_module_log_record {
  uint8_t level; /* 0 error, 1 warn, 2 info, 3 debug, 4 trace, 101 panic */
  int64_t ts_us; struct lc_slice target, filename, function, message; /* target, filename, function may be absent */
  bool has_line; uint32_t line;
  uint32_t n_frames; const struct lc_trace_frame *frames; /* panic backtrace, innermost first */
};

/* What an instance may reach while it runs. The owner fills it once per instance and sets tx before each call that has a transaction.
 * Everything is called on the thread that runs the module. */
struct lc_host_env {
  const struct lc_env *env;
  struct lc_datastore *ds;
  struct lc_tx *tx;                  /* NULL: outside a transaction */
  struct lc_identity database_identity;
  void *ctx;
  void (*log)(void *ctx, const struct lc_module_log_record *rec);
  /* Called after an insert/update of a row of a scheduled table through the ABI; returns 0 or LC_ERRNO_SCHEDULE_TOO_LONG; may be NULL. */
  int (*schedule_row)(void *ctx, uint32_t table_id, struct lc_slice row);
  /* Told of what a view reads (spec/05 §21.4); NULL: nobody asks. key: BSATN of all columns of the index, one behind the other; index_id 0: the whole table. */
  void (*reads)(void *ctx, uint32_t table_id, uint32_t index_id, struct lc_slice key);
  void *reads_ctx;
  /* volatile_nonatomic_schedule_immediate; may be NULL. Slices are borrowed. */
  void (*schedule_immediate)(void *ctx, struct lc_slice function, struct lc_slice args);
  /* Only where procedures and HTTP handlers run; NULL elsewhere. begin_tx waits for the database; NULL: out of memory. commit_tx: what is not
   * LC_OK traps with the text. sleep_until returns the time when it wakes; false: the call is being ended, *err says why. */
  struct lc_tx *(*begin_tx)(void *ctx);
  enum lc_status (*commit_tx)(void *ctx, struct lc_tx *tx, struct lc_error *err);
  void (*abort_tx)(void *ctx, struct lc_tx *tx);
  bool (*sleep_until)(void *ctx, int64_t wake_us, int64_t *now_us, struct lc_error *err);
  void (*enter)(void *ctx);          /* around a read of the datastore outside a transaction */
  void (*leave)(void *ctx);
  const struct lc_http_policy *http; /* outgoing requests; NULL: none can be made here */
};

/* Outgoing HTTP of procedures (spec/02 §5.9, spec/07 §14.2). */
struct lc_http_policy {
  bool disabled;                     /* by the server's configuration */
  bool allow_loopback;               /* 127/8 and ::1, for tests */
  bool (*cancelled)(void *ctx);      /* asked now and then while a request runs; may be NULL */
  void *ctx;
};
/* Makes one request. request: BSATN HttpRequest, decoded and checked by the caller's lc_http_request_check. LC_OK: response gets BSATN
 * HttpResponse and body its bytes; else *err is the text of errno 21. Blocks. */
enum lc_status lc_http_request(struct lc_slice request, struct lc_slice body, const struct lc_http_policy *policy, struct lc_buf *response, struct lc_buf *response_body, struct lc_error *err);
bool lc_http_request_check(struct lc_slice request); /* it decodes */

struct lc_host_limits {
  uint64_t call_time_budget_us;      /* 0: default 60 s. Epoch interruption; stands in for the reference's fuel */
  uint64_t memory_limit_bytes;       /* 0: default 1 GiB per instance */
};

/* Once for the process, before lc_host_init; copied. */
struct lc_host_options {
  /* Counts instructions as the reference does (budget 120e9 a call, exact energy figures) beside the time budget; costs every call a few per cent. */
  bool count_instructions;
  const char *code_cache_dir;        /* compiled programs are kept there; NULL: nowhere. Made if missing */
};
void lc_host_configure(const struct lc_host_options *options);
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
uint64_t lc_instance_memory_bytes(const struct lc_instance *inst); /* of its linear memory, now */
/* Ends what the instance runs as soon as it looks (within some 50 ms), with `reason` (static text) as the error. Any thread, while the instance lives. */
void lc_instance_interrupt(struct lc_instance *inst, const char *reason);

enum lc_call_status { LC_CALL_OK, LC_CALL_USER_ERROR, LC_CALL_FATAL, LC_CALL_BUDGET };
struct lc_call_result {
  enum lc_call_status status;
  bool instance_dead;               /* the instance trapped: free it, make a new one */
  struct lc_slice message;          /* LC_CALL_USER_ERROR: the reducer's text (lossy UTF-8 repaired); FATAL/BUDGET: for the server log; valid until the next call */
  struct lc_slice cause;            /* FATAL/BUDGET of what did not return: the whole text, with what callers are not told; same life */
  uint64_t energy;                  /* units used; 0 unless instructions are counted */
};
struct lc_call_args {
  struct lc_slice function_name;    /* for log records */
  uint32_t id;                      /* reducer index */
  struct lc_identity sender; struct lc_connection_id connection_id; int64_t timestamp_us;
  struct lc_slice args;             /* BSATN, validated by the caller; borrowed for the call */
};
/* Calls a reducer inside env->tx (spec/02 §3). Does not commit or roll back. Writes the documented Error record for user errors. */
void lc_instance_call_reducer(struct lc_instance *inst, const struct lc_call_args *call, struct lc_call_result *out);
/* Calls a procedure without an open transaction; ret gets the BSATN return value. A transaction that it leaves open is rolled back and the
 * fact logged. message of what is not LC_CALL_OK: the error as callers see it, after `The module instance encountered a fatal error: `. */
void lc_instance_call_procedure(struct lc_instance *inst, const struct lc_call_args *call, struct lc_buf *ret, struct lc_call_result *out);
/* Calls a view inside env->tx; connection_id and timestamp_us are not passed, nor sender to an anonymous one. id counts the views of that kind
 * (spec/02 §2). rows gets the result: LC_VIEW_ROWS a BSATN array of rows, LC_VIEW_SQL the text of a query. An ill-formed result is LC_CALL_FATAL. */
enum lc_view_result { LC_VIEW_ROWS, LC_VIEW_SQL };
void lc_instance_call_view(struct lc_instance *inst, const struct lc_call_args *call, enum lc_view_result *kind, struct lc_buf *rows, struct lc_call_result *out);
void lc_instance_call_view_anon(struct lc_instance *inst, const struct lc_call_args *call, enum lc_view_result *kind, struct lc_buf *rows, struct lc_call_result *out);
/* Calls an HTTP handler (both signatures, spec/07 §3.3): call->args is the BSATN HttpRequest, connection_id is not passed. response gets the BSATN
 * HttpResponse, which is checked, and response_body the body. Transactions and errors as for procedures. */
void lc_instance_call_http_handler(struct lc_instance *inst, const struct lc_call_args *call, struct lc_slice jwt_payload, struct lc_slice request_body, struct lc_buf *response, struct lc_buf *response_body, struct lc_call_result *out);

/* Errnos of the ABI (spec/02 §6): name, class and message; NULL for a number that is none. */
struct lc_errno_info { int number; const char *name, *js_class, *message; };
const struct lc_errno_info *lc_errno_info(int number);

#endif
