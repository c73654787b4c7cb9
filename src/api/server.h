/* Inside of api/: the server's state and what its files offer each other.
 *
 * Threads: `databases` is guarded by `lock` (publishing, deleting and start take it for writing; look-ups take it for reading once per request
 * or handshake, never per message). A `struct thread_state` belongs to its network thread except for its atomics.
 */
#ifndef LC_API_SERVER_H
#define LC_API_SERVER_H
#include "../auth/auth.h"
#include "../net/net.h"
#include "api.h"
#include <pthread.h>

enum { PROGRAM_MAX_BYTES = 256 << 20, BODY_MAX_BYTES = 2 << 20, NAME_MAX_BYTES = 64 };

struct control;
struct server;
struct ws_packer;
/* A database of this server. The list holds one reference, and so does everything else that may use it; the last one out closes it, on a thread
 * of its own. One that is deleted or reset leaves the list and lives on until then. */
struct database {
  struct server *server;
  struct lc_identity identity, owner;
  struct lc_db *db;               /* NULL: could not be started */
  char *error;
  uint64_t replica_id;
  atomic_uint refs;
  struct database *next;          /* in the list */
  atomic_uint_fast64_t response_bytes; /* of answers over HTTP */
  atomic_bool slow;               /* runs on the runners, not on network threads (runner.c) */
  atomic_uint quick_runs;         /* since a slow one */
  struct database *run_next; bool is_queued; /* the runners' lock */
  int64_t alarm_us; uint32_t alarm_at; /* the alarms' lock: when, and place in the heap + 1 (0: none) */
  struct database_thread {        /* one for each network thread, which owns it */
    struct pending *pending;      /* of this turn; NULL: none */
    uint64_t look, durable;       /* the durable offset as of the thread's last look over what waits */
  } threads[];
};
/* When databases want to run by themselves (alarms.c). */
struct alarms { pthread_mutex_t lock; pthread_cond_t changed; struct database **heap; uint32_t n, cap; pthread_t thread; bool has_thread, stop; };
/* Threads that run slow databases, made as they are needed. */
struct runners { pthread_mutex_t lock; pthread_cond_t work; struct database *first, *last; unsigned n_queued, n_threads, n_idle; bool stop; };
/* What is closed when its database goes: a WebSocket client or a log follower. In the list of its network thread while its connection lives. */
struct attached { struct attached *prev, *next; struct database *database; struct lc_conn_ref ref; };
struct thread_state;
struct ws_client;
/* Connections that hold a session (ws_sessions.c). */
struct sessions { pthread_mutex_t lock; struct ws_client **buckets; };
struct server {
  struct lc_server_options options;
  struct lc_auth *auth;
  _Atomic(struct lc_net *) net;   /* NULL until it runs */
  struct control *control;
  pthread_rwlock_t lock;
  struct database *databases;
  pthread_mutex_t publish_lock;   /* one publish at a time */
  pthread_mutex_t change_lock;    /* the control database and the list change together; held for no longer than that */
  struct runners runners;
  struct alarms alarms;
  struct sessions sessions;
  int64_t started_us;
  pthread_mutex_t page_lock; atomic_uint n_pages; /* routes_metrics.c: one page at a time; those being made and waiting */
  atomic_uint workers;            /* threads that publish or close databases */
  atomic_bool stopping;           /* nothing new is begun */
  atomic_bool stopped;            /* the network threads have ended */
  uint32_t n_threads;
  struct thread_state *threads;
  int lock_fd;                    /* of the data folder; -1: none */
};

/* An HTTP answer on its way to its connection. Header values are heap strings. */
struct answer {
  struct lc_conn_ref ref;
  uint16_t status;
  const char *content_type;       /* static; NULL: none */
  struct lc_buf body;
  struct { const char *name; char *value; } headers[12];
  uint32_t n_headers;
  bool close;
  struct database *database;      /* whose figures count it, a reference; NULL: nobody's */
};
/* What waits for a database's log on one network thread, in order of arrival: an outbox or an answer. */
struct waiting { struct lc_net_task task; struct waiting *next; struct server *server; struct database *database; /* NULL: nothing to wait for */ uint64_t release_offset; struct lc_db_outbox *outbox; struct answer *answer; };
struct pending { struct database *database; struct lc_db_batch *batch; struct pending *next; };
struct thread_state {
  struct lc_net_task check_task;          /* first */
  struct server *server;
  struct pending *pending;                /* databases to run in this turn; batch NULL: nothing of ours to submit */
  struct waiting *first, **last;          /* FIFO */
  struct attached *attached;
  uint64_t looks;                         /* over what waits, counted */
  atomic_uint n_waiting;
  atomic_bool check_posted;
  struct ws_packer *packer;               /* made when first needed */
};

/* server.c */
/* This turn's batch for a database; NULL: out of memory. */
struct lc_db_batch *server_batch(struct lc_net_thread *t, struct database *d);
struct server *server_of(struct lc_net_thread *t);
/* The database of that identity with a reference for the caller; NULL: none. Any thread. */
struct database *server_database(struct server *s, const struct lc_identity *id);
struct database *database_new(struct server *s, const struct lc_identity *id, const struct lc_identity *owner, uint64_t replica_id); /* one reference; NULL: out of memory */
void database_ref(struct database *d);
void database_unref(struct database *d); /* NULL is allowed */
uint16_t database_refusal(const struct database *d, struct lc_error *err); /* 0, or the status and text for who wants to use a database that is not up */
void database_free(struct database *d);  /* closes at once; for the only holder, and not on a network thread */
void server_db_options(struct database *d, char *dir, size_t dir_size, struct lc_db_options *o);
void server_add_database(struct server *s, struct database *d); /* the list takes the caller's reference */
/* Takes the database of that identity out of the list, or puts `successor` in its place (with the caller's reference), and closes what is
 * attached to the old one (WebSockets with 1001 `module exited`). False, nothing done: there is none. change_lock is held. */
bool server_remove_database(struct server *s, const struct lc_identity *id);
bool server_replace_database(struct server *s, struct database *successor);
/* A change of d in the control database has failed: if it may have happened all the same (control_is_unsure), d is closed and refuses everything from now on. */
void server_stop_unsure(struct server *s, const struct database *d);
/* Runs fn(arg) on a thread of its own, for which lc_server_run waits at its end. False: no thread to be had. */
bool server_start_worker(struct server *s, void *(*fn)(void *arg), void *arg);
void server_worker_ends(struct server *s); /* last act of such a thread */
void server_attach(struct lc_net_thread *t, struct attached *a);
void server_detach(struct lc_net_thread *t, struct attached *a);
/* Sends an answer when d has made release_offset durable (UINT64_MAX or d NULL: at once). Ownership of the answer passes. Any thread. */
void server_answer(struct server *s, struct answer *a, struct database *d, uint64_t release_offset);

/* Makes sure that what waits in d is run soon. Any thread. */
void server_wake(struct database *d);
bool database_ref_unless_closing(struct database *d); /* false: its last reference has gone */

/* The lock of a data folder, for one process at a time: LC_CONFLICT. give: lock < 0 is allowed. */
/* ---- the data folder (folder.c; spec/04 §6.4) ---- */
#define SERVER_VERSION "2.14.0" /* of the protocol generation offered; in metadata.toml, too */
enum lc_status server_take_lock(const char *data_dir, int *lock, struct lc_error *err); /* LC_CONFLICT: another process has it */
void server_give_lock(const char *data_dir, int lock);
enum lc_status folder_make(const char *dir, struct lc_error *err); /* with the folders above it; their names are durable */
/* Reads metadata.toml, or writes it where there is none. LC_UNSUPPORTED: the folder is of another edition or of a version that this one does not read. */
enum lc_status folder_metadata(const char *data_dir, struct lc_error *err);
/* Where the control database is; the file of an earlier version is moved there. The lock is held. */
enum lc_status folder_control_path(const char *data_dir, char path[4096], struct lc_error *err);
bool folder_has_control(const char *data_dir);

/* alarms.c */
void alarms_set(struct database *d, int64_t at_us); /* replaces what was set; INT64_MAX: none. Any thread */
void alarms_cancel(struct database *d);             /* before d is closed */
bool alarms_start(struct alarms *a);                /* false: no thread to be had */
void alarms_stop(struct alarms *a);                 /* blocking */

/* runner.c */
/* Has d run on a thread that is not a network thread. False: the server stops, or there is no thread to be had. Any thread. */
bool runner_queue(struct server *s, struct database *d);
void runners_stop(struct server *s); /* what is queued runs first; blocking */

struct answer *answer_new(struct lc_conn_ref ref, uint16_t status);
void answer_header(struct answer *a, const char *name, const char *value);
void answer_text(struct answer *a, uint16_t status, const char *text);
void answer_free(struct answer *a);
void answer_send(struct answer *a, struct lc_conn *c); /* owning thread; frees a */

/* Removes what a publish or an import has left of a replica that was to be and is nobody's, as far as the disk allows (offline.c). */
void server_remove_replica(const char *dir);
/* lc_server_import with another file system for what is read and copied (offline.c). */
enum lc_status server_import(const struct lc_fs *fs, const char *data_dir, const char *replica, const char *name, struct lc_identity *id, uint64_t *n_transactions, struct lc_error *err);

/* control.c: SQLite (spec/04 §5). Any thread. data_dir NULL: in memory. */
struct control *control_open(const char *data_dir, struct lc_error *err);
void control_close(struct control *c);
struct control_row { struct lc_identity id, owner; uint8_t kind; struct lc_hash program; uint64_t replica_id; };
enum lc_status control_resolve(struct control *c, struct lc_slice name, struct lc_identity *id, struct lc_error *err); /* LC_NOT_FOUND */
enum lc_status control_tld_owner(struct control *c, struct lc_slice name, struct lc_identity *owner, struct lc_error *err);
/* Registers a name, and its TLD if that is free. LC_EXISTS: the name is taken; LC_DENIED: it is free, but its TLD is another's. */
enum lc_status control_add_name(struct control *c, struct lc_slice name, const struct lc_identity *id, const struct lc_identity *owner, struct lc_error *err);
/* Replaces all names of a database by n others, or changes nothing. LC_EXISTS or LC_DENIED: *culprit, to be freed, is the name in use or the one
 * (present or new) whose TLD is not the caller's. */
enum lc_status control_set_names(struct control *c, const struct lc_identity *id, const struct lc_identity *caller, const struct lc_slice *names, uint32_t n, char **culprit, struct lc_error *err);
uint64_t control_new_replica(struct control *c, struct lc_error *err); /* reserves an id; 0: failed */
bool control_is_unsure(struct control *c); /* of the last change it is not known whether it will be there after a crash. Any thread */
/* After this the database exists. name (empty: none) is registered with it, as by control_add_name. program: see control_keep_program; data NULL: its data is in files. */
enum lc_status control_add(struct control *c, const struct control_row *row, struct lc_slice name, struct lc_slice program, struct lc_error *err);
enum lc_status control_replace(struct control *c, const struct control_row *row, struct lc_slice program, struct lc_error *err); /* after a reset. LC_NOT_FOUND */
enum lc_status control_delete(struct control *c, const struct lc_identity *id, struct lc_error *err);    /* its names stay */
/* Programs of databases whose data is in memory only: they begin anew with each start. */
enum lc_status control_keep_program(struct control *c, const struct lc_identity *id, struct lc_slice program, struct lc_error *err);
enum lc_status control_kept_program(struct control *c, const struct lc_identity *id, struct lc_buf *program, struct lc_error *err); /* appended. LC_NOT_FOUND: its data is in files */
enum lc_status control_set_lock(struct control *c, const struct lc_identity *id, bool locked, struct lc_error *err);
/* Adds to the energy of an identity, as far as 128 bits reach, and gives its balance. */
enum lc_status control_energy(struct control *c, const struct lc_identity *id, unsigned __int128 amount, __int128 *balance, struct lc_error *err);
enum lc_status control_is_locked(struct control *c, const struct lc_identity *id, bool *locked, struct lc_error *err);
/* Databases of an owner (NULL: all) in order of creation. */
enum lc_status control_each(struct control *c, const struct lc_identity *owner, void (*fn)(void *ctx, const struct control_row *row), void *ctx, struct lc_error *err);
enum lc_status control_get(struct control *c, const struct lc_identity *id, struct control_row *row, struct lc_error *err); /* LC_NOT_FOUND */
enum lc_status control_names(struct control *c, const struct lc_identity *id, void (*fn)(void *ctx, const char *name), void *ctx, struct lc_error *err);

/* routes.c: dispatch and the routes answered from memory */
struct request {
  struct server *server;
  struct lc_conn *conn;
  const struct lc_http_request *r;
  struct database *database;      /* released with the request; who keeps it takes the reference */
  struct lc_buf params[2];        /* :n and :function or :identity, decoded */
  bool cors, authenticated;       /* authenticated: claims and token are set and go into the answer's headers */
  struct lc_auth_claims claims;
  struct lc_buf token;
};
/* A tool of the Model Context Protocol (routes_mcp.c): what its answer needs. */
struct mcp_reply;
void mcp_reply_free(struct mcp_reply *reply);
void mcp_result(struct mcp_reply *reply, struct answer *a); /* makes the answer of the route that does the same into the tool's result */
void route_mcp(struct request *q);                          /* of the server */
void route_database_mcp(struct request *q, struct database *d);
/* Does what `call`, `sql` or `schema` does, for a tool. Takes `reply`. */
enum db_work { DB_CALL, DB_SQL, DB_SCHEMA };
void db_tool(struct request *q, struct database *d, enum db_work work, struct lc_slice name, struct lc_slice body, bool confirmed, struct mcp_reply *reply);
void routes_request(void *ctx, struct lc_conn *conn, const struct lc_http_request *r);
size_t routes_body_limit(void *ctx, struct lc_conn *conn, const struct lc_http_request *r);
void routes_closed(struct lc_conn *conn); /* HTTP connection over: ends a log follower */
/* Query parameter `key`, decoded. Absent: *found is false. False: it is there twice; *err is the text of the 400. */
bool routes_query(const struct lc_http_request *r, const char *key, struct lc_buf *value, bool *found, struct lc_error *err);
/* Token of a request (header, then query): 0 with q->claims and q->token filled (minted if there was none and `mint`), or status and text of the answer. ROUTES_LATER: the keys of the
 * token's issuer are being fetched; nothing is to be answered, the request comes again. */
enum { ROUTES_LATER = 1 };
uint16_t routes_authenticate(struct request *q, bool mint, struct lc_error *err);
/* :n to an identity: 0, or status and text (400, 404 for an unknown name). */
uint16_t routes_resolve(struct server *s, struct lc_slice name, struct lc_identity *id, struct lc_error *err);
/* Boolean query parameter; false: *err says why it is malformed. */
bool routes_query_bool(const struct lc_http_request *r, const char *key, bool *value, struct lc_error *err);
struct answer *request_answer(struct request *q, uint16_t status); /* with the headers of its layers */
void request_text(struct request *q, uint16_t status, const char *text);
void request_json(struct request *q, uint16_t status, struct lc_buf *body); /* takes the body */
void request_status(struct request *q, uint16_t status);                   /* an empty answer */
/* The 403 of spec/04 §4.5; action as there. */
void not_authorized(struct lc_error *err, const struct lc_identity *caller, const struct lc_identity *database, const char *action);
/* Token required, and :identity (T and 64 hex digits in the table of spec/04 §3): false when the answer has been given. */
bool request_need_token(struct request *q);
bool request_identity(struct request *q, struct lc_identity *id);
bool request_is_owner(const struct request *q, const struct database *d);

/* routes_db.c: routes that ask a running database; routes_publish.c: publishing */
void route_metrics(struct request *q); /* routes_metrics.c */
void route_call(struct request *q, struct database *d);
void route_sql(struct request *q, struct database *d);
void route_schema(struct request *q, struct database *d);
void route_logs(struct request *q, struct database *d);
/* A statement of a connection that is not HTTP's, answered in a form of its own: the answer goes to pg_answer. */
void db_sql_in_form(struct server *s, struct lc_conn *conn, struct database *d, const struct lc_auth_claims *claims, struct lc_slice text, const struct lc_sql_form *form);
/* pg.c, pg_rows.c: the PostgreSQL listener */
size_t pg_input(void *ctx, struct lc_conn *c, struct lc_slice bytes);
void pg_closed(struct lc_conn *c);
void pg_answer(struct answer *a, struct lc_conn *c); /* owning thread; frees a. 200: the body is messages, else text */
extern const struct lc_sql_form pg_form;
void route_publish(struct request *q);
void route_pre_publish(struct request *q, struct database *d);
void route_reset(struct request *q, struct database *d);
void server_hash_json(const struct lc_hash *hash, char out[67]);             /* routes_publish.c: "0x" and the least digits of the number (spec/04 §1) */
bool server_parse_hash_json(struct lc_slice text, struct lc_hash *out);
/* routes_environment.c (spec/07 §7). What a request changes of the environment; free it also after errors. */
struct env_request { struct lc_arena arena; struct lc_db_env_change *changes; uint32_t cap; struct lc_db_env_update update; };
enum lc_status env_read_headers(const struct lc_http_request *r, bool may_remove_all, struct env_request *e, struct lc_error *err); /* LC_INVALID, LC_NOMEM */
void env_request_free(struct env_request *e);
/* The values are refused, or LC_CONFLICT: {key: …} (§7.3) or the text. */
void env_answer_error(struct answer *a, const char *key, const struct env_request *e, const struct lc_error *err);
void route_get_environment(struct request *q, struct database *d);
void route_put_environment(struct request *q, struct database *d);
void route_patch_environment(struct request *q, struct database *d);
void route_handler(struct request *q, struct database *d); /* routes_handlers.c: routes of the module */
/* routes_energy.c */
void route_get_energy(struct request *q);
void route_post_energy(struct request *q);
void route_put_energy(struct request *q);
/* routes_names.c: names, locks, deletion */
void route_get_names(struct request *q, struct database *d);
void route_post_names(struct request *q, struct database *d);
void route_put_names(struct request *q, struct database *d);
void route_lock(struct request *q, struct database *d);
void route_unlock(struct request *q, struct database *d);
void route_delete(struct request *q);
const char *name_problem(struct lc_slice name); /* NULL: a legal database name (spec/04 §1) */

enum ws_compression { WS_PLAIN, WS_BROTLI, WS_GZIP }; /* the tags of spec/03 §4 */
/* ws.c: connections; ws_v2.c: messages */
void ws_upgrade(struct request *q);
void ws_message(void *ctx, struct lc_conn *conn, struct lc_slice payload, bool text);
void ws_closed(struct lc_conn *conn);
void ws_deliver(struct lc_net_thread *t, struct lc_db_outbox *o); /* owning thread; frees it. t NULL: the server has ended */
/* ws.c, for both protocols' operations */
void ws_encode_answer(const struct lc_db_client *base, const struct lc_db_op *op, struct lc_slice args, const struct lc_query_rows *rows, uint32_t n, const char *error_text, struct lc_buf *out);
void ws_on_overflow(struct lc_db_client *base);
void ws_on_answered(struct lc_db_client *base, const struct lc_db_op *op);
/* ws_sessions.c: c's session, by database, identity and session_id; false: it is held. */
void sessions_init(struct sessions *s);
void sessions_free(struct sessions *s);
bool sessions_take(struct server *server, struct ws_client *c);
void sessions_give(struct server *server, struct ws_client *c); /* nothing if it has none */
/* ws_pack.c: a frame (its tag and body) as it is sent; the answer is valid until ws_pack_end, as the frames must be. packer NULL: as it is. */
struct lc_slice ws_pack(struct ws_packer *p, enum ws_compression compression, struct lc_slice frame);
void ws_pack_end(struct ws_packer *p);
struct ws_packer *ws_packer_new(void); /* NULL: out of memory */
void ws_packer_free(struct ws_packer *p); /* NULL is allowed */
struct ws_client {
  struct lc_db_client base; /* first */
  struct attached at;       /* database: with a reference */
  struct lc_auth_claims claims;
  struct lc_buf token;
  size_t frame_at;          /* of the frame being filled in base.out */
  /* received by the network thread, answered by the baton holder; the differences are what waits in the database's inbox */
  uint64_t received, received_bytes;
  _Atomic uint64_t answered, answered_bytes;
  bool paused;              /* too much waits: the socket is not read */
  enum ws_compression compression;
  uint8_t session_id[16]; bool has_session; struct ws_client *session_next; /* ws_sessions.c */
  atomic_bool is_admitted;  /* client_connected has succeeded */
  bool is_json, is_light;   /* protocol v1: answers are text; no reducer information about others' calls */
  bool is_marked;           /* base.out asks for the end (ws_mark): what is encoded after that goes nowhere */
};
enum { FRAME_ABORT = 0xffffffffu, FRAME_DISMISS = 0xfffffffeu }; /* lengths that ask for the connection to be dropped, or closed because the module has changed */
void ws_dismissed(struct lc_db_client *base);
/* The frame being filled is complete. If there was no memory for it, or its length cannot be written, the client is dropped: what it has would be wrong from here on. */
void ws_frame_end(struct ws_client *c);
void ws_mark(struct ws_client *c, uint32_t mark); /* FRAME_ABORT or FRAME_DISMISS goes into base.out */
extern const struct lc_db_client_ops ws_v1_ops, ws_v2_ops;
/* Decodes client messages into `batch`; false: *err says what the close reason is. */
bool ws_v2_decode(struct ws_client *c, struct lc_slice payload, struct lc_db_batch *batch, struct lc_error *err);
/* The same for protocol v1; is_text: JSON, whatever the client is answered in (spec/03 §4). */
bool ws_v1_decode(struct ws_client *c, struct lc_slice payload, bool is_text, struct lc_db_batch *batch, struct lc_error *err);
/* ws_v2.c, for both: reading of messages, and the count of what waits. */
bool ws_need(const struct lc_reader *r, const char *type, size_t n, struct lc_error *err); /* false: "data too short for …" */
bool ws_take_bytes(struct lc_reader *r, struct lc_slice *out, struct lc_error *err);
bool ws_take_text(struct lc_reader *r, struct lc_slice *out, struct lc_error *err);        /* UTF-8 */
struct lc_db_op *ws_add(struct ws_client *c, struct lc_db_batch *b, enum lc_db_op_kind kind, struct lc_slice name, struct lc_slice args); /* NULL: out of memory */
void ws_received(struct ws_client *c, struct lc_db_batch *b, size_t payload_bytes);          /* the last operation of b is the payload's last */
void ws_answered(struct ws_client *c, const struct lc_db_op *op);                           /* baton holder */

#endif
