/* Inside of db/: the state of one running database. Everything below `baton_held` belongs to the baton holder unless said. */
#ifndef LC_DB_INTERNAL_H
#define LC_DB_INTERNAL_H
#include "db.h"
#include <pthread.h>

struct module_log;
struct scheduler;
struct views;

/* Name to reducer index: open addressing, built once per program. */
struct name_index { uint32_t mask; uint32_t *slots; /* index + 1; 0 = empty */ };

/* Snapshots of one database (snapshot.c). The job's fields belong to the baton holder while it is not active, else to the worker thread. */
struct db_snapshot {
  uint64_t due;                               /* next_offset at which one is made */
  atomic_bool wanted;                         /* one is to be made as soon as somebody has the baton */
  atomic_bool cancel;
  atomic_uint_fast64_t last_offset, last_made_us, last_us, last_bytes; /* of the last that was made; last_made_us 0: none yet */
  bool active, again;                         /* under the worker's lock: a job waits or runs; one more after it */
  struct lc_db *queue_next;
  struct lc_read_view view; uint64_t tx_offset;
  bool made;                                  /* the one at tx_offset is on disk */
  int64_t started_ns;                         /* when the last one was begun */
};

/* What is counted (metrics.c): written by the baton holder, read by anybody. `reducers` as in the running program's definition; it is replaced under the lock. */
struct reducer_counts { atomic_uint_fast64_t calls[LC_REDUCER_REJECTED], energy, duration_us, durations[LC_DB_N_DURATIONS]; };
struct db_counts {
  atomic_uint_fast64_t values[LC_DB_N_METRICS];
  pthread_mutex_t lock;
  struct lc_module *module; struct reducer_counts *reducers; /* module: whose reducers they are, with a reference */
  uint32_t running; int64_t running_since_us; /* the reducer whose time has not been counted yet + 1; 0: none. The baton holder's */
};

struct lc_db {
  struct lc_db_options options;
  char *dir;                                  /* owned copy; NULL in memory */
  /* inbox: Treiber stack of batches, newest first; any thread pushes, the baton holder takes all */
  _Atomic(struct lc_db_batch *) inbox;
  atomic_uint_fast64_t submitted_ops;         /* a batch at a time, beside the inbox, which is written then anyway */
  atomic_bool baton_held;
  atomic_uint baton_waiters;                  /* threads that block for it (baton.c) */
  pthread_mutex_t baton_mutex;
  pthread_cond_t baton_cond;
  bool baton_granted;                         /* under baton_mutex: it was left to a waiter */
  atomic_bool closing;
  atomic_bool has_todo;                       /* todo is not empty, as of the last giving up of the baton */
  atomic_bool log_failed;                     /* the commit log failed: the database executes nothing more */
  char failure[512];                          /* the reason; written before log_failed is set */
  atomic_bool waits_for_log;                  /* work waits until the log has caught up with the disk */
  struct lc_db_batch *todo;                   /* taken from the inbox, oldest first; what a run could not finish in its time stays */
  uint32_t todo_at;                           /* operations of the first of them that have been executed */
  uint32_t ops_a_look;                        /* operations between two looks at the clock */

  struct lc_datastore *ds;
  struct lc_wal *wal;                         /* NULL in memory */
  struct lc_db_files files;
  struct db_snapshot snapshot;
  struct lc_live *live;
  struct module_log *log;                     /* its own lock; any thread */
  struct lc_module *module;
  struct lc_instance *instance;               /* NULL after a trap: made anew by the next call */
  struct lc_host_env host_env;
  struct name_index reducers;
  struct procedure_job *jobs;                 /* procedures waiting and running; this and the next two under the pool's lock (procedures.c) */
  uint32_t n_running;
  struct procedure_instance *idle_instances;
  struct scheduler *scheduler;                /* scheduler.c */
  unsigned n_reads;                           /* under the lock of reads.c: its jobs there */
  struct views *views; bool has_views;        /* views.c; has_views: the program has any */
  _Atomic uint64_t immediate_bytes;           /* of calls queued by volatile_nonatomic_schedule_immediate */
  atomic_bool immediate_dropped;              /* one was dropped, which is in the log, and none has run since */
  atomic_bool is_open;                        /* lc_db_open has returned it */
  int32_t connect_reducer, disconnect_reducer, init_reducer; /* -1: none */

  uint64_t next_offset;                       /* of the transaction log; counts in memory too */
  struct lc_buf record;                       /* scratch: record payload of the commit being made */
  struct lc_buf json_args;                    /* scratch: BSATN of arguments that came as JSON */
  struct lc_db_client *dirty;                 /* clients with output in this drain */
  struct lc_db_client *all_clients;
  struct lc_db_outbox **outboxes;             /* 2 per network thread: confirmed, unconfirmed */
  /* emission in progress (transaction fan-out): whose result carries its own update */
  struct lc_db_client *emit_caller; const struct lc_db_op *emit_op; struct lc_reducer_outcome *emit_outcome; bool emit_done; /* outcome: NULL but for reducers */
  struct db_counts counts;
  atomic_uint_fast64_t executed_ops;
};

/* ---- call.c ---- */
/* What else belongs into a reducer's transaction: called after the reducer has succeeded, before the commit. */
struct db_then { void (*before_commit)(struct lc_db *db, struct lc_tx *tx, void *arg); void *arg; };
/* Runs one reducer in a transaction of its own, commits, fans out. caller/op may be NULL (HTTP), and `then`. Answers the caller through its ops. */
void db_call_reducer(struct lc_db *db, struct lc_db_client *caller, const struct lc_db_op *op, struct lc_slice name, struct lc_slice args,
                     const struct lc_identity *sender, const struct lc_connection_id *conn, bool is_owner, const struct db_then *then, struct lc_reducer_outcome *out);
/* Connect transaction (spec/06 §9.2). LC_OK, or the reason for refusing in *err. */
enum lc_status db_connect(struct lc_db *db, const struct lc_identity *id, const struct lc_connection_id *conn, struct lc_slice jwt, struct lc_error *err);
void db_disconnect(struct lc_db *db, const struct lc_identity *id, const struct lc_connection_id *conn);
/* The last of a transaction that can fail, before every commit: refreshes the views it concerns (views_refresh, whose statuses it has) and takes the memory for its record
 * (LC_NOMEM, LC_LIMIT). inputs as for db_commit. Not LC_OK: roll back; *err: the text for the caller. */
enum lc_status db_reserve_record(struct lc_db *db, struct lc_tx *tx, const struct lc_tx_inputs *inputs, struct lc_error *err); /* the second half of it */
enum lc_status db_before_commit(struct lc_db *db, struct lc_tx *tx, const struct lc_tx_inputs *inputs, struct lc_error *err);
/* Commits tx, appends its record, fans out. inputs may be NULL. Returns true if it took an offset. */
bool db_commit(struct lc_db *db, struct lc_tx *tx, const struct lc_tx_inputs *inputs);
/* A commit without a reducer, as v1 tells of it (spec/03 §15.1): whose, and UINT32_MAX, or 0 for a procedure's. */
void db_commit_of(struct lc_db *db, struct lc_tx *tx, const struct lc_identity *caller, uint32_t reducer_id);
/* Makes sure there is an instance. */
enum lc_status db_need_instance(struct lc_db *db, struct lc_error *err);
/* Calls a reducer by index in the open transaction; a dead instance is freed. */
void db_invoke(struct lc_db *db, struct lc_tx *tx, uint32_t index, const struct lc_identity *sender, const struct lc_connection_id *conn, int64_t ts_us, struct lc_slice args,
               struct lc_call_result *out);
int32_t db_find_reducer(const struct lc_db *db, struct lc_slice name); /* -1: none */
enum lc_status db_set_module(struct lc_db *db, struct lc_module *m, struct lc_instance *inst); /* takes over both references */
void db_mark_dirty(struct lc_db *db, struct lc_db_client *c);

/* ---- metrics.c ---- */
void db_counts_init(struct lc_db *db);
void db_counts_free(struct lc_db *db);
bool db_counts_set_module(struct lc_db *db, struct lc_module *m); /* false: out of memory, nothing has changed */
static inline void db_count(struct lc_db *db, enum lc_db_metric what, uint64_t n) { lc_count(&db->counts.values[what], n); }
/* A reducer was called at start_us and has ended. Its time runs until the next call begins, or until db_count_time: so a call costs no look at the clock. */
void db_count_call(struct lc_db *db, uint32_t reducer, enum lc_reducer_status status, uint64_t energy, int64_t start_us);
void db_count_time(struct lc_db *db, int64_t now_us);
void db_end_time(struct lc_db *db);       /* db_count_time now, if a call's time runs */
void db_counts_publish(struct lc_db *db); /* after a drain: what others count */

/* ---- baton.c ---- */
void db_baton_init(struct lc_db *db);
void db_baton_destroy(struct lc_db *db);
bool db_baton_try(struct lc_db *db);
void db_baton_take(struct lc_db *db);    /* blocks; not for network threads */
bool db_baton_take_until(struct lc_db *db, int64_t until_ns); /* the same, by the monotonic clock; false: not to be had in that time */
void db_baton_give(struct lc_db *db);    /* to a waiter, if there is one. The caller looks at the inbox afterwards */
bool db_baton_wanted(struct lc_db *db);  /* somebody blocks for it: give it soon */
void db_baton_leave(struct lc_db *db);   /* for who took it: runs what arrived meanwhile once, then gives it */

/* ---- db.c ---- */
/* LC_OK, or LC_IO with the reason if the log has failed. */
enum lc_status db_check_alive(struct lc_db *db, struct lc_error *err);
void db_hand_over(struct lc_db *db);     /* output so far to log and network threads */
void db_drain(struct lc_db *db);         /* executes what waits, for a few milliseconds at most, and hands its output over */

/* ---- snapshot.c; the baton holder, outside a transaction ---- */
void db_snapshot_due_after(struct lc_db *db); /* sets the next offset in turn */
void db_snapshot_take(struct lc_db *db);
void db_snapshots_close(struct lc_db *db);    /* gives up the one in the making; not with the baton */

/* ---- procedures.c: long calls on threads of their own ---- */
void db_run_procedure(struct lc_db *db, struct lc_db_client *c, const struct lc_db_op *op, struct lc_slice name, struct lc_slice args);
void db_procedures_forget_client(struct lc_db *db, struct lc_db_client *c); /* it leaves: nobody is told any more */
void db_procedures_cancel(struct lc_db *db, const char *reason); /* ends all, waits for none; the reason outlives db's procedures. Any thread */
uint32_t db_procedures_waiting(struct lc_db *db); /* or running; any thread */
void db_procedures_close(struct lc_db *db); /* ends all and waits; not with the baton */
/* volatile_nonatomic_schedule_immediate; host_env.ctx is the database */
void db_schedule_immediate(void *ctx, struct lc_slice function, struct lc_slice args);

/* ---- subscribe.c: operations of the inbox ---- */
void db_subscribe(struct lc_db *db, struct lc_db_client *c, const struct lc_db_op *op, struct lc_slice args);
void db_subscribe_batch(struct lc_db *db, struct lc_db_client *c, const struct lc_db_op *op, struct lc_slice args);
void db_unsubscribe(struct lc_db *db, struct lc_db_client *c, const struct lc_db_op *op);
void db_one_off(struct lc_db *db, struct lc_db_client *c, const struct lc_db_op *op, struct lc_slice sql, struct lc_slice args);

/* ---- reads.c: answers with many rows ---- */
/* Has a thread compute the rows of n texts (BSATN strings, taken over) as of now and encode them as the answer to op; the client is held until then. query_set_id: as
 * live knows the set. False: not to be had, nothing has happened. */
bool db_read_begin(struct lc_db *db, struct lc_db_client *c, const struct lc_db_op *op, uint64_t query_set_id, enum lc_sql_language language, uint32_t flags, struct lc_buf *texts, uint32_t n, struct lc_slice args);
enum { READ_ELSEWHERE_ROWS = 4096 }; /* answers that look at so many rows, some 0.1 ms, do not keep the writer */
/* Compiles and runs a query of HTTP on an opened view, any thread: the JSON of lc_db_http_sql (http.c). LC_CLOSED: cancelled. */
enum lc_status db_query(struct lc_db *db, struct lc_read_view view, const struct lc_sql_caller *caller, struct lc_slice sql, int64_t start_us, const struct lc_sql_form *form, const atomic_bool *cancel, struct lc_buf *out, struct lc_error *err);
bool db_reads_release(struct lc_db_client *c, struct lc_buf out[2]); /* the next output of a held client; false: none is ready. It is held as long as c->reads is not NULL */
/* The same for a query by HTTP; sql and later are copied. */
bool db_read_query(struct lc_db *db, const struct lc_sql_caller *caller, struct lc_slice sql, int64_t start_us, const struct lc_db_query_later *later);
void db_reads_cancel(struct lc_db_client *c);
void db_reads_close(struct lc_db *db);   /* waits for all; not with the baton */

/* ---- views.c: materialised views ---- */
struct views *views_new(void); /* NULL: out of memory */
void views_free(struct views *v);
/* Runs again, in the open transaction, every instance that has read what it changes. Not LC_OK: roll back; LC_TRAP, LC_BUDGET: the view failed; *err: the text
 * for the caller. LC_OK: the next thing is db_commit. */
enum lc_status views_refresh(struct lc_db *db, struct lc_tx *tx, struct lc_error *err);
void views_committed(struct lc_db *db); /* db_commit: what the runs have read counts from now on */
void views_undone(struct lc_db *db);    /* the transaction is rolled back after views_refresh or views_rerun */
/* Materialises, in transactions of their own, what a plan reads and is not there yet. False: a view has trapped, and nothing more of the request is to be run. */
bool views_need(struct lc_db *db, const struct lc_plan *plan, const struct lc_identity *caller);
/* The same for the queries of a subscription; then, once it is there, keeps what it reads until released. */
void views_subscribe(struct lc_db *db, struct lc_db_client *c, const struct lc_sql_caller *caller, uint32_t n_queries, const struct lc_slice *queries);
void views_hold(struct lc_db *db, struct lc_db_client *c, const struct lc_sql_caller *caller, uint64_t query_set_id, uint32_t n_queries, const struct lc_slice *queries);
void views_release(struct lc_db *db, struct lc_db_client *c, uint64_t query_set_id);
void views_release_all(struct lc_db *db, struct lc_db_client *c);
void views_expire(struct lc_db *db); /* outside a transaction; looks at the clock and does something every ten minutes */
/* For a new program, in its transaction and with its instance in place: runs all that are left. Then, after the commit, forgets the others. */
enum lc_status views_rerun(struct lc_db *db, struct lc_tx *tx, struct lc_error *err);
void views_drop_gone(struct lc_db *db);

/* ---- environment.c ---- */
/* Stores in tx what u makes of the environment, if def's declarations accept it. LC_INVALID; LC_NOT_FOUND: values are missing (u->missing); LC_NOMEM. */
enum lc_status db_env_apply(struct lc_db *db, struct lc_tx *tx, const struct lc_module_def *def, struct lc_db_env_update *u, bool *changed, struct lc_error *err);

/* ---- rules.c ---- */
/* Are the definition's row-level security rules good? In the transaction that has created its tables. */
enum lc_status db_check_rules(struct lc_db *db, const struct lc_module_def *def, struct lc_error *err);

/* ---- scheduler.c: scheduled reducers and procedures ---- */
struct scheduler *scheduler_new(void); /* NULL: out of memory */
void scheduler_free(struct scheduler *s);
void scheduler_committed(struct lc_db *db, const struct lc_tx_delta *delta); /* arms what a transaction has scheduled */
void scheduler_restart(struct lc_db *db);   /* arms every row anew: at start, and with a new program */
void scheduler_set_alarm(struct lc_db *db); /* tells the outside when the next call is due, if that has changed */
int scheduler_check_row(void *ctx, uint32_t table_id, struct lc_slice row); /* host_env.schedule_row */

/* ---- module_log.c: JSON lines by UTC day in DIR/module_logs; in memory (last 1 MiB) without a directory ---- */
struct module_log *module_log_open(const char *dir, uint32_t max_days, uint64_t max_bytes, struct lc_error *err); /* bounds of 0: none */
void module_log_close(struct module_log *log);
void module_log_adopt(struct module_log *to, struct module_log *from);
void module_log_record(struct module_log *log, const struct lc_module_log_record *rec);
void module_log_engine(struct module_log *log, uint8_t level, int64_t ts_us, const char *function, const char *fmt, ...) LC_PRINTF(5, 6);
void module_log_flush(struct module_log *log);
enum lc_status module_log_read(struct module_log *log, uint64_t n_lines, struct lc_buf *out, struct lc_error *err);
enum lc_status module_log_follow(struct module_log *log, void (*fn)(void *, struct lc_slice), void *ctx);
void module_log_unfollow(struct module_log *log, void (*fn)(void *, struct lc_slice), void *ctx);

#endif
