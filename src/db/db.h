/* The face of db/: one running database. An actor: operations arrive in its inbox, whoever holds the baton runs them (DESIGN idea 3).
 * Composes engine, wal, host and live. Knows neither sockets nor message formats: a client is told of results through its `ops`.
 *
 * Threads: lc_db_submit from any thread; lc_db_run from any network thread (takes the baton if it is free); everything else as stated.
 * Release of output: what a drain produced is handed over once per drain and network thread as one `struct lc_db_outbox`; confirmed
 * clients' bytes may leave when the log's durable offset reaches `release_offset`.
 */
#ifndef LC_DB_H
#define LC_DB_H
#include "../host/host.h"
#include "../live/live.h"
#include "../wal/wal.h"

struct lc_db;
struct lc_db_client;
struct lc_db_op;

enum lc_reducer_status { LC_REDUCER_COMMITTED, LC_REDUCER_FAILED_USER, LC_REDUCER_FAILED_INTERNAL, LC_REDUCER_OUT_OF_ENERGY, LC_REDUCER_REJECTED };
struct lc_reducer_outcome {
  enum lc_reducer_status status;
  /* the call; of a rejected one, args are empty */
  struct lc_slice name, args;        /* BSATN */
  struct lc_slice json_args;         /* as the caller sent them, if that was JSON */
  uint32_t reducer_id;               /* UINT32_MAX: none */
  uint32_t request_id; struct lc_identity caller; struct lc_connection_id connection_id;
  struct lc_slice message;           /* not COMMITTED: text for the caller */
  bool no_such_function;             /* REJECTED because no callable reducer has that name */
  int64_t timestamp_us; int64_t duration_us;
  uint64_t energy;                   /* units used; 0: instructions are not counted */
  uint32_t n_sets; const struct lc_set_update *sets; /* what changed in the caller's own subscriptions */
  uint64_t tx_offset;                /* last offset the caller must wait for to be durable */
};

/* How a client hears of things. Called by the baton holder during a drain; implementations append encoded messages to client->out. */
struct lc_db_client_ops {
  void (*connected)(struct lc_db_client *c, enum lc_status status, const char *error_text); /* LC_OK: send the initial message */
  void (*reducer_result)(struct lc_db_client *c, const struct lc_db_op *op, const struct lc_reducer_outcome *o);
  /* cause: the reducer call that was committed; NULL: something else */
  void (*transaction_update)(struct lc_db_client *c, const struct lc_set_update *sets, uint32_t n_sets, const struct lc_reducer_outcome *cause);
  void (*subscribe_applied)(struct lc_db_client *c, const struct lc_db_op *op, const struct lc_query_rows *rows, uint32_t n);
  void (*unsubscribe_applied)(struct lc_db_client *c, const struct lc_db_op *op, const struct lc_query_rows *rows, uint32_t n); /* rows NULL unless wanted */
  void (*subscription_error)(struct lc_db_client *c, const struct lc_db_op *op, const char *text);
  bool (*set_failed)(struct lc_db_client *c, uint64_t query_set_id, const char *text); /* ended without being asked (spec/05 §19); true: and with it all others */
  /* args: the operation's, for the protocol; rows, error_text: exactly one non-NULL */
  void (*one_off_result)(struct lc_db_client *c, const struct lc_db_op *op, struct lc_slice args, const struct lc_query_rows *rows, const char *error_text);
  /* ret: BSATN; JSON text if the arguments were */
  void (*procedure_result)(struct lc_db_client *c, const struct lc_db_op *op, const struct lc_slice *ret, const char *error_text, int64_t timestamp_us, int64_t duration_us);
  /* Answer to DISCONNECT, which api submits exactly once for every client it submitted CONNECT for (also when that failed), as its
   * last operation. db will not touch c again except to deliver its last outbox entry (closed == true); free it then. */
  void (*closed)(struct lc_db_client *c);
  /* The program has changed so that what the client knows is wrong: it is to be sent away with code 1001, `module exited` (spec/06 §16). */
  void (*dismissed)(struct lc_db_client *c);
  /* Several sets at one offset (spec/07 §6.1), each with its rows or its error; nothing comes between. NULL where the protocol has no such request. */
  void (*batch_begins)(struct lc_db_client *c, const struct lc_db_op *op);
  void (*batch_set)(struct lc_db_client *c, uint64_t query_set_id, const struct lc_query_rows *rows, uint32_t n, const char *error_text);
  void (*batch_ends)(struct lc_db_client *c, const struct lc_db_op *op);
  /* Any thread, while c lives: appends to out what subscribe_applied, unsubscribe_applied or one_off_result, or with error_text the operation's error, would append to
   * c->out. NULL: everything is computed with the baton. Then, with the baton: op will need no other answer. */
  void (*encode_answer)(const struct lc_db_client *c, const struct lc_db_op *op, struct lc_slice args, const struct lc_query_rows *rows, uint32_t n, const char *error_text, struct lc_buf *out);
  void (*answered)(struct lc_db_client *c, const struct lc_db_op *op);
  void (*overflow)(struct lc_db_client *c); /* more is held back for it than may be: its connection is to end */
};

/* A WebSocket connection as the database sees it. Allocated by api/, zeroed; it fills the first part before submitting CONNECT.
 * While a drain runs, `out` belongs to the baton holder. */
struct lc_db_client {
  const struct lc_db_client_ops *ops;
  void *user;                        /* api's connection */
  uint32_t thread_index;             /* network thread that owns the socket */
  uint8_t protocol;                  /* api's business */
  bool confirmed, is_owner;
  struct lc_identity identity; struct lc_connection_id connection_id;
  struct lc_slice jwt_payload;       /* borrowed until connected(); empty: none */
  struct lc_buf out;                 /* messages produced in this drain; flushed through lc_db_callbacks.deliver */
  /* db's own */
  struct lc_db_client *dirty_next; bool is_dirty, is_connected, is_closing;
  struct lc_db_client *all_prev, *all_next;
  struct read_job *reads;            /* answers being computed elsewhere, oldest first; while there are any, nothing behind them is handed over */
  struct view_ref *view_refs;        /* views that its subscriptions read */
};

enum lc_db_op_kind { LC_OP_CONNECT, LC_OP_DISCONNECT, LC_OP_CALL_REDUCER, LC_OP_CALL_PROCEDURE, LC_OP_SUBSCRIBE, LC_OP_UNSUBSCRIBE, LC_OP_SUBSCRIBE_BATCH, LC_OP_ONE_OFF, LC_OP_FUNCTION };
/* One operation. Slices point into the batch's `bytes` (or memory that outlives the batch). */
struct lc_db_op {
  enum lc_db_op_kind kind;
  struct lc_db_client *client;       /* NULL for FUNCTION */
  uint32_t request_id; uint64_t query_set_id;
  uint8_t flags;                     /* SUBSCRIBE, UNSUBSCRIBE: LC_LIVE_...; calls: the protocol's */
  bool args_are_json;                /* calls: args are JSON text, not BSATN */
  int64_t received_us;               /* by the wall clock, where the protocol says how long an answer took */
  size_t name_at, name_len, args_at, args_len; /* offsets in batch->bytes: reducer/procedure name or query text; BSATN args */
  uint32_t n_queries;                /* SUBSCRIBE: args hold n_queries BSATN strings back to back; SUBSCRIBE_BATCH: n_queries sets, each an id and an array of strings */
  void (*function)(struct lc_db *db, void *arg); void *arg; /* FUNCTION: run by the baton holder outside a transaction */
};
/* Operations of one network thread for one database, in order. Freed by db after the drain. */
struct lc_db_batch { struct lc_db_batch *next; struct lc_buf bytes; struct lc_db_op *ops; uint32_t n_ops, cap_ops; int64_t submitted_ns; /* monotonic; set by lc_db_submit */ };
struct lc_db_batch *lc_db_batch_new(void);
/* Appends an op (zeroed) and returns it; NULL when out of memory. The pointer is valid until the next add. */
struct lc_db_op *lc_db_batch_add(struct lc_db_batch *batch, enum lc_db_op_kind kind, struct lc_db_client *client);

void lc_db_batch_free(struct lc_db_batch *batch); /* one that was not submitted */

struct lc_db_outbox_entry { struct lc_db_client *client; struct lc_buf bytes; bool closed; /* last entry of this client */ };
struct lc_db_outbox { struct lc_db_outbox *next; struct lc_db *db; uint64_t release_offset; /* UINT64_MAX: nothing to wait for */ uint32_t n, cap; struct lc_db_outbox_entry *entries; };
void lc_db_outbox_free(struct lc_db_outbox *o);

struct lc_db_callbacks {
  void *ctx;
  /* A drain's output for one network thread (ownership passes). Entries of confirmed clients wait for release_offset; unconfirmed are in an
   * outbox of their own with release_offset UINT64_MAX. Called by the baton holder. */
  void (*deliver)(void *ctx, uint32_t thread_index, struct lc_db_outbox *outbox);
  /* Durable offset has advanced (log writer thread): wake whoever waits. */
  void (*durable)(void *ctx, struct lc_db *db, uint64_t durable_offset);
  /* Asks that some network thread call lc_db_run soon (any thread). */
  void (*wake)(void *ctx, struct lc_db *db);
  /* The commit log has failed (log writer thread, once): the database executes nothing more; text is lc_db_failure's. May be NULL. */
  void (*failed)(void *ctx, struct lc_db *db, const char *text);
  /* Asks that lc_db_alarm and then `wake` be called at this time of the wall clock (INT64_MAX: never; replaces what was asked before). Baton holder;
   * may be NULL: nothing scheduled runs. */
  void (*alarm)(void *ctx, struct lc_db *db, int64_t at_us);
};

/* What a publish changes of the environment (spec/07 §7): borrowed; all zero: nothing, but the stored values must suit the program all the same. */
struct lc_db_env_change { struct lc_slice key, value; bool is_removal; };
struct lc_db_env_update {
  bool remove_all; uint32_t n_changes; const struct lc_db_env_change *changes;
  bool is_refused;                   /* out: the values are what is wrong */
  struct lc_buf missing;             /* out: JSON array of the keys without which the program does not run; empty: that is not what is wrong. The caller frees it */
};
bool lc_env_key_is_good(struct lc_slice key);

struct lc_db_options {
  const char *dir;                   /* replica folder; NULL: in memory */
  const struct lc_fs *fs;            /* NULL: the real one */
  uint64_t snapshot_interval_transactions; /* 0: 1,000,000; UINT64_MAX: only for new segments and on demand */
  uint64_t max_segment_bytes;        /* 0: 1 GiB */
  size_t backlog_bytes;              /* of the log, not yet with the disk, from which on nothing more is executed until it has caught up; 0: 64 MiB */
  bool retain_all;                   /* all snapshots and the whole log are kept */
  bool accept_lost_transactions;     /* open also when a snapshot shows that the log has lost its end */
  const struct lc_env *env;
  struct lc_identity database_identity, owner_identity;
  struct lc_host_limits limits;
  uint64_t data_memory_bytes;        /* of rows and indexes; 0: no limit */
  uint32_t log_days; uint64_t log_bytes; bool module_log_in_memory; /* of the module's log: how many days and bytes are kept (0: all); whether it writes files */
  bool no_module_http;               /* procedures may make no HTTP requests */
  uint32_t n_threads;                /* number of network threads (outboxes per drain) */
  struct lc_db_callbacks callbacks;
  struct lc_db_env_update *environment; /* of a first publish; NULL: none is asked for */
};

/* Opens or creates a database: lock, replay, disconnect of clients left behind, load of the stored program. With `program` (data != NULL)
 * and no module stored yet: first publish, including `init`; failing leaves nothing behind. Blocking; called outside any baton. */
enum lc_status lc_db_open(const struct lc_db_options *o, struct lc_slice program, uint8_t program_kind, struct lc_db **out, struct lc_error *err);
/* From now on no procedure starts and no module schedules further calls, so that draining comes to an end. Any thread. */
void lc_db_begin_close(struct lc_db *db);
/* Stops accepting, drains, flushes the log, frees. */
void lc_db_close(struct lc_db *db);
/* Ends every procedure of the process and waits for them and their threads; no more are started. Before the last lc_db_run of a server. */
void lc_db_stop_procedures(void);
void lc_db_submit(struct lc_db *db, struct lc_db_batch *batch); /* ownership passes; any thread; wakes nobody */
/* Takes the baton if it is free and executes what waits, for a few milliseconds at most unless a single operation takes longer; what is left then
 * is announced by the callback `wake`. True if it ran something. */
bool lc_db_run(struct lc_db *db);
void lc_db_alarm(struct lc_db *db); /* a scheduled call is due: queues it; any thread */
bool lc_db_waits(const struct lc_db *db);                       /* something waits and nobody is running it; any thread */
/* A snapshot of the present state is wanted (any thread); it is made soon, on a thread of its own. Nothing happens in memory. */
void lc_db_request_snapshot(struct lc_db *db);
const char *lc_db_failure(const struct lc_db *db);              /* why it has stopped; NULL: it has not. Any thread; lives as long as db */
uint64_t lc_db_durable_offset(const struct lc_db *db);          /* number of the last durable transaction + 1; any thread */
const struct lc_identity *lc_db_identity(const struct lc_db *db);
const struct lc_identity *lc_db_owner(const struct lc_db *db);

/* ---- only inside an LC_OP_FUNCTION (baton held) ---- */
const struct lc_module_def *lc_db_module_def(struct lc_db *db);
const struct lc_hash *lc_db_program_hash(struct lc_db *db);
struct lc_module *lc_db_module_ref(struct lc_db *db); /* the running program, with a reference for the caller */
struct lc_datastore *lc_db_datastore(struct lc_db *db);
/* Work for HTTP happens between a connect and a disconnect with a fresh connection id (spec/06 §9.2). Connect may be refused: LC_INVALID (reducer
 * error), LC_BUDGET, LC_TRAP; then there is no disconnect. */
enum lc_status lc_db_http_connect(struct lc_db *db, const struct lc_identity *caller, struct lc_slice jwt_payload, struct lc_connection_id *conn, struct lc_error *err);
void lc_db_http_disconnect(struct lc_db *db, const struct lc_identity *caller, const struct lc_connection_id *conn);
uint64_t lc_db_next_offset(struct lc_db *db); /* what an answer about the present state must wait for */
/* Calls a reducer; args: BSATN. out->message is valid until the next transaction. */
void lc_db_http_call(struct lc_db *db, const struct lc_identity *caller, const struct lc_connection_id *conn, struct lc_slice reducer, struct lc_slice args, struct lc_reducer_outcome *out);
/* A procedure, or an HTTP handler, as somebody asks for it; what it holds is copied. It runs on a thread of its own. done (may be NULL) is called
 * exactly once with the baton held, unless the start failed. status: LC_OK, LC_TRAP, LC_BUDGET, LC_CLOSED (the database goes). */
struct lc_db_procedure_result {
  enum lc_status status; const char *error_text; /* as its caller sees it (spec/03 §12) */
  struct lc_slice value, body;       /* BSATN value; a handler's HttpResponse and its body */
  int64_t timestamp_us, duration_us;
};
struct lc_db_procedure_call {
  struct lc_identity caller; struct lc_connection_id connection_id;
  bool is_owner, confirmed;          /* confirmed: its transactions wait for the log */
  struct lc_slice name, args;
  void (*done)(struct lc_db *db, void *arg, const struct lc_db_procedure_result *r); void *arg;
};
/* LC_NOT_FOUND, LC_INVALID (arguments), LC_NOMEM, LC_CLOSED, with the text for the caller. */
enum lc_status lc_db_start_procedure(struct lc_db *db, const struct lc_db_procedure_call *call, struct lc_error *err);
/* call->name is that of a handler in the definition, call->args the BSATN HttpRequest, call->caller a fresh identity with jwt_payload (spec/07 §3.3). */
enum lc_status lc_db_start_http_handler(struct lc_db *db, const struct lc_db_procedure_call *call, struct lc_slice jwt_payload, struct lc_slice body, struct lc_error *err);
/* Line in the module log about a call that could not be made (spec/04 §3.6); kind: "reducer" or "procedure". */
void lc_db_log_bad_call(struct lc_db *db, struct lc_slice function, const char *kind, bool exists);
/* Whether HTTP must connect for an SQL text, or for a call (sql without data): the program has a reducer for it, or the text may ask about clients. Without it
 * nobody could tell that there was a connection, and nothing is written for it. */
bool lc_db_http_needs_connection(const struct lc_db *db, struct lc_slice sql);
/* A caller that is not connected, for the calls until the next: get_jwt answers for it. conn NULL: none; jwt_payload is borrowed. */
void lc_db_http_visitor(struct lc_db *db, const struct lc_connection_id *conn, struct lc_slice jwt_payload);
/* How the result of an SQL statement is written. begin may be followed by the error instead of rows and end. */
struct lc_sql_form {
  void (*begin)(struct lc_buf *out, const struct lc_type *row_type); /* of what returns no rows: without fields */
  enum lc_status (*row)(struct lc_buf *out, const struct lc_type *row_type, struct lc_slice row, uint64_t index, struct lc_error *err);
  void (*end)(struct lc_buf *out, const struct lc_type *row_type, uint64_t n_rows, const struct lc_dml_counts *counts, int64_t duration_us);
};
/* The end of a query with many rows, which a thread has computed: with the baton. out is the callee's to take. */
struct lc_db_query_later { void (*done)(struct lc_db *db, void *arg, struct lc_buf *out, enum lc_status status, const struct lc_error *err); void *arg; bool is_begun; const struct lc_sql_form *form; /* NULL: JSON */ };
/* HTTP SQL statement: appends the result JSON object of spec/04 §3.7 (schema, rows, total_duration_micros, stats) to out. *tx_offset as above. With `later` a query that
 * looks at many rows leaves the baton: LC_OK and later->is_begun; *tx_offset is the one its rows are of. */
enum lc_status lc_db_http_sql(struct lc_db *db, const struct lc_sql_caller *caller, struct lc_slice sql, struct lc_buf *out, uint64_t *tx_offset, struct lc_db_query_later *later, struct lc_error *err);
/* New program for a published database, loaded by lc_db_load_program: keeps connections and subscriptions unless the migration breaks clients, who are
 * dismissed then. Failing leaves the old one running (spec/06 §16). *tx_offset as above. LC_UNSUPPORTED: there is no automatic migration, *reasons has why;
 * LC_DENIED: the policy forbids it; others: *err. */
struct lc_db_update_policy { bool break_clients; struct lc_hash token; struct lc_db_env_update *environment; /* not NULL */ }; /* the token counts if clients may break: it says which change was agreed to */
enum lc_status lc_db_update(struct lc_db *db, struct lc_module *module, struct lc_slice program, uint8_t program_kind, const struct lc_db_update_policy *policy, struct lc_buf *reasons, uint64_t *tx_offset,
                            struct lc_error *err);
enum lc_status lc_db_env_keys(struct lc_db *db, struct lc_buf *out); /* stored keys as a sorted JSON array; baton held. LC_NOMEM */
/* Other environment values for the running program: a transaction of its own, in which views that have read any run again. expected (may be NULL): the program that must
 * be running, else LC_CONFLICT. LC_INVALID, LC_NOT_FOUND: the values do not suit it (u->missing for the latter); LC_TRAP: a view failed. */
enum lc_status lc_db_update_environment(struct lc_db *db, struct lc_db_env_update *u, const struct lc_hash *expected, uint64_t *tx_offset, struct lc_error *err);
/* What an update would do. LC_UNSUPPORTED: no automatic migration; text is why. */
struct lc_db_update_plan { struct lc_buf text; struct lc_hash token; bool breaks_clients, major_upgrade; };
enum lc_status lc_db_plan_update(struct lc_db *db, struct lc_module *module, enum lc_plan_style style, struct lc_db_update_plan *out, struct lc_error *err);
/* Compiles and describes a program for this database; any thread, without the baton. */
enum lc_status lc_db_load_program(struct lc_db *db, struct lc_slice program, uint8_t program_kind, struct lc_module **out, struct lc_error *err);
/* What agrees to a change that breaks clients (spec/04 §3.2). Any thread. */
void lc_db_migration_token(const struct lc_identity *database, const struct lc_hash *old_program, const struct lc_hash *new_program, struct lc_hash *out);
/* Last n lines of the module log (n == 0: all) appended to out (JSON lines, spec/04 §3.8). Any thread. */
enum lc_status lc_db_logs(struct lc_db *db, uint64_t n_lines, struct lc_buf *out, struct lc_error *err);
/* Follower of the module log: fn is called with each new line (baton holder or any thread that logs); remove with the same pair. */
enum lc_status lc_db_logs_follow(struct lc_db *db, void (*fn)(void *ctx, struct lc_slice line), void *ctx);
void lc_db_logs_unfollow(struct lc_db *db, void (*fn)(void *ctx, struct lc_slice line), void *ctx);

/* ---- figures for who operates the server (metrics.c); api/metrics_table.h says what each means ---- */

enum lc_db_metric {
  /* counted since the database was opened */
  LC_DB_COMMITTED, LC_DB_ROLLED_BACK, LC_DB_ROWS_INSERTED, LC_DB_ROWS_DELETED, LC_DB_CALLS_REJECTED, LC_DB_PROCEDURES, LC_DB_PROCEDURES_FAILED, LC_DB_SQL_STATEMENTS, LC_DB_REQUESTS,
  LC_DB_BYTES_RECEIVED, LC_DB_BYTES_SENT, LC_DB_DRAINS, LC_DB_TRANSACTIONS, LC_DB_OPERATIONS, LC_DB_OPERATIONS_WAIT_US, LC_DB_CALLS, LC_DB_CALLS_US, LC_DB_RESPONSE_BYTES /* api/ knows them */, LC_DB_QUERIES_EVALUATED, LC_DB_QUERIES_MATCHED, LC_DB_LOG_BYTES, LC_DB_LOG_SYNCS, LC_DB_LOG_SYNC_US, LC_DB_SNAPSHOTS, LC_DB_SNAPSHOTS_FAILED,
  /* as it is */
  LC_DB_CLIENTS, LC_DB_WAITING_OPERATIONS, LC_DB_WAITING_PROCEDURES, LC_DB_MEMORY_BYTES, LC_DB_LIVE_BYTES, LC_DB_RETIRED_BYTES, LC_DB_READ_VIEWS, LC_DB_MODULE_BYTES, LC_DB_QUERIES, LC_DB_QUERY_SETS, LC_DB_SUBSCRIBERS,
  LC_DB_NEXT_OFFSET, LC_DB_DURABLE_OFFSET, LC_DB_LOG_LAG, LC_DB_LOG_WAITING_BYTES, LC_DB_LOG_DISK_BYTES, LC_DB_SNAPSHOT_OFFSET, LC_DB_SNAPSHOT_AGE_US, LC_DB_SNAPSHOT_US, LC_DB_SNAPSHOT_BYTES,
  LC_DB_IS_UP, LC_DB_IS_BUSY, LC_DB_N_METRICS
};
enum { LC_DB_N_DURATIONS = 13 };       /* how long calls take: buckets, the last without a bound */
extern const uint64_t lc_db_duration_bounds_us[LC_DB_N_DURATIONS - 1];
struct lc_db_reducer_metrics { struct lc_slice name; uint64_t calls[LC_REDUCER_REJECTED]; /* by enum lc_reducer_status */ uint64_t energy, duration_us, durations[LC_DB_N_DURATIONS]; };
struct lc_db_table_metrics { struct lc_slice name; uint32_t table_id; uint64_t rows, memory_bytes; };
struct lc_db_metrics { struct lc_arena arena; uint64_t values[LC_DB_N_METRICS]; uint32_t n_reducers, n_tables; struct lc_db_reducer_metrics *reducers; struct lc_db_table_metrics *tables; };
/* Fills *out (zeroed before), to be freed. Waits for the baton until until_ns by the monotonic clock; one that is busy for longer shows what it was like after its last
 * drain, no tables, and LC_DB_IS_BUSY. Any thread that may wait. False: out of memory. */
bool lc_db_metrics_read(struct lc_db *db, int64_t until_ns, struct lc_db_metrics *out);
void lc_db_metrics_free(struct lc_db_metrics *m);

/* ---- what is on disk, without the actor: for tools, tests and the simulator, and used by it. One thread at a time. ---- */

struct lc_db_files {
  const struct lc_env *env; const struct lc_fs *fs; const char *dir; struct lc_wal *wal; /* borrowed; wal: open */
  struct lc_identity database;
  bool retain_all, accept_lost_transactions;
  uint64_t recovered_from;           /* set by lc_db_recover: the first transaction that came from the log */
  uint64_t whole[2]; uint32_t n_whole; /* snapshots that were read or written whole, newest first */
};
/* The state of a replica folder: the newest whole snapshot and the log behind it. LC_CORRUPT: damage that leaves no state to believe in, with file, position,
 * expected and found; LC_INVALID: another database's snapshot; LC_IO; LC_NOMEM. *ds is the caller's. */
enum lc_status lc_db_recover(struct lc_db_files *f, struct lc_datastore **ds, uint64_t *next_offset, struct lc_error *err);
/* Writes a view that was opened right after transaction tx_offset; any thread. cancel (may be NULL): LC_CLOSED once it is true. */
enum lc_status lc_db_snapshot_write(const struct lc_db_files *f, struct lc_read_view view, uint64_t tx_offset, const atomic_bool *cancel, struct lc_snapfile **out, struct lc_error *err);
/* Names it and removes what is no longer needed. Precondition: the log is durable up to and including tx_offset. Ends file, on errors too. */
enum lc_status lc_db_snapshot_publish(struct lc_db_files *f, struct lc_snapfile *file, uint64_t tx_offset, struct lc_error *err);

/* ---- a replica folder looked into without opening it (inspect.c); nothing is changed ---- */

/* Verifies every commit, record and snapshot. report: a line each for what is bad or worth knowing. Not LC_OK: something is bad, said in a report. */
struct lc_db_checked { bool has_module; struct lc_identity database, owner; uint8_t program_kind; struct lc_hash program_hash; uint64_t n_transactions; };
enum lc_status lc_db_check(const struct lc_env *env, const struct lc_fs *fs, const char *dir, struct lc_db_checked *out, void (*report)(void *ctx, bool is_bad, const char *text), void *ctx, struct lc_error *err);
/* The log of a replica folder, or one segment, as text; rows as JSON where the log or a snapshot tells their types. */
enum lc_status lc_db_dump_log(const struct lc_env *env, const struct lc_fs *fs, const char *path, void (*print)(void *ctx, struct lc_slice text), void *ctx, struct lc_error *err);

#endif
