/* Inside of api/: the server's state and what its files offer each other.
 *
 * Threads: `databases` is guarded by `lock` (publishing and start take it for writing; look-ups take it for reading once per request or
 * handshake, never per message). A `struct thread_state` belongs to its network thread except for its atomics.
 */
#ifndef LC_API_SERVER_H
#define LC_API_SERVER_H
#include "../auth/auth.h"
#include "../net/net.h"
#include "api.h"
#include <pthread.h>

enum { PROGRAM_MAX_BYTES = 256 << 20, BODY_MAX_BYTES = 2 << 20, NAME_MAX_BYTES = 64 };

struct control;
struct database { struct lc_identity identity, owner; struct lc_db *db; /* NULL: could not be started */ char *error; uint64_t replica_id; struct database *next; };
struct thread_state;
struct server {
  struct lc_server_options options;
  struct lc_auth *auth;
  _Atomic(struct lc_net *) net;   /* NULL until it runs */
  struct control *control;
  pthread_rwlock_t lock;
  struct database *databases;     /* never removed while the server runs */
  pthread_mutex_t publish_lock;   /* one publish at a time */
  atomic_uint publishing;         /* worker threads alive */
  uint32_t n_threads;
  struct thread_state *threads;
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
};
/* What waits for a database's log on one network thread, in order of arrival: an outbox or an answer. */
struct waiting { struct lc_net_task task; struct waiting *next; struct server *server; struct lc_db *db; uint64_t release_offset; struct lc_db_outbox *outbox; struct answer *answer; };
struct pending { struct database *database; struct lc_db_batch *batch; struct pending *next; };
struct thread_state {
  struct lc_net_task check_task;          /* first */
  struct server *server;
  struct pending *pending;                /* databases to run in this turn; batch NULL: nothing of ours to submit */
  struct waiting *first, **last;          /* FIFO */
  atomic_uint n_waiting;
  atomic_bool check_posted;
};

/* server.c */
/* This turn's batch for a database; NULL: out of memory. */
struct lc_db_batch *server_batch(struct lc_net_thread *t, struct database *d);
struct server *server_of(struct lc_net_thread *t);
struct database *server_database(struct server *s, const struct lc_identity *id); /* NULL: none; any thread */
void server_db_options(struct server *s, const struct lc_identity *id, const struct lc_identity *owner, uint64_t replica_id, char *dir, size_t dir_size, struct lc_db_options *o);
void server_add_database(struct server *s, struct database *d);
/* Sends an answer when `db` has made release_offset durable (UINT64_MAX or db NULL: at once). Ownership passes. Any thread. */
void server_answer(struct server *s, struct answer *a, struct lc_db *db, uint64_t release_offset);

struct answer *answer_new(struct lc_conn_ref ref, uint16_t status);
void answer_header(struct answer *a, const char *name, const char *value);
void answer_text(struct answer *a, uint16_t status, const char *text);
void answer_free(struct answer *a);
void answer_send(struct answer *a, struct lc_conn *c); /* owning thread; frees a */

/* control.c: SQLite (spec/04 §5). Any thread. data_dir NULL: in memory. */
struct control *control_open(const char *data_dir, struct lc_error *err);
void control_close(struct control *c);
struct control_row { struct lc_identity id, owner; uint8_t kind; struct lc_hash program; uint64_t replica_id; };
enum lc_status control_resolve(struct control *c, struct lc_slice name, struct lc_identity *id, struct lc_error *err); /* LC_NOT_FOUND */
enum lc_status control_tld_owner(struct control *c, struct lc_slice name, struct lc_identity *owner, struct lc_error *err);
enum lc_status control_add_name(struct control *c, struct lc_slice name, const struct lc_identity *id, const struct lc_identity *owner, struct lc_error *err); /* and the TLD if it is free */
uint64_t control_new_replica(struct control *c, struct lc_error *err); /* reserves an id; 0: failed */
enum lc_status control_add(struct control *c, const struct control_row *row, struct lc_error *err); /* after this the database exists */
/* Databases of an owner (NULL: all) in order of creation. */
enum lc_status control_each(struct control *c, const struct lc_identity *owner, void (*fn)(void *ctx, const struct control_row *row), void *ctx, struct lc_error *err);
enum lc_status control_get(struct control *c, const struct lc_identity *id, struct control_row *row, struct lc_error *err); /* LC_NOT_FOUND */
enum lc_status control_names(struct control *c, const struct lc_identity *id, void (*fn)(void *ctx, const char *name), void *ctx, struct lc_error *err);

/* routes.c: dispatch and the routes answered from memory */
struct request {
  struct server *server;
  struct lc_conn *conn;
  const struct lc_http_request *r;
  struct lc_buf params[2];        /* :n and :function or :identity, decoded */
  bool cors, authenticated;       /* authenticated: claims and token are set and go into the answer's headers */
  struct lc_auth_claims claims;
  struct lc_buf token;
};
void routes_request(void *ctx, struct lc_conn *conn, const struct lc_http_request *r);
size_t routes_body_limit(void *ctx, struct lc_conn *conn, const struct lc_http_request *r);
void routes_closed(struct lc_conn *conn); /* HTTP connection over: ends a log follower */
/* Token of a request (header, then query): 0 with *claims and *token filled (minted if there was none and `mint`), or status and text of the answer. */
uint16_t routes_authenticate(struct server *s, const struct lc_http_request *r, bool mint, struct lc_auth_claims *claims, struct lc_buf *token, struct lc_error *err);
/* :n to an identity: 0, or status and text (400, 404 for an unknown name). */
uint16_t routes_resolve(struct server *s, struct lc_slice name, struct lc_identity *id, struct lc_error *err);
bool routes_query(const struct lc_http_request *r, const char *key, struct lc_buf *value); /* decoded; false: absent */
/* Boolean query parameter; false: *err says why it is malformed. */
bool routes_query_bool(const struct lc_http_request *r, const char *key, bool *value, struct lc_error *err);
struct answer *request_answer(struct request *q, uint16_t status); /* with the headers of its layers */
void request_text(struct request *q, uint16_t status, const char *text);
void request_json(struct request *q, uint16_t status, struct lc_buf *body); /* takes the body */

/* routes_db.c: routes that ask a running database; routes_publish.c: publishing */
void route_call(struct request *q, struct database *d);
void route_sql(struct request *q, struct database *d);
void route_schema(struct request *q, struct database *d);
void route_logs(struct request *q, struct database *d);
void route_publish(struct request *q);
const char *name_problem(struct lc_slice name); /* NULL: a legal database name (spec/04 §1) */

/* ws.c: connections; ws_v2.c: messages */
void ws_upgrade(struct request *q);
void ws_message(void *ctx, struct lc_conn *conn, struct lc_slice payload, bool text);
void ws_closed(struct lc_conn *conn);
void ws_deliver(struct lc_net_thread *t, struct lc_db_outbox_entry *e); /* owning thread */
struct ws_client {
  struct lc_db_client base; /* first */
  struct lc_conn_ref ref;
  struct database *database;
  struct lc_auth_claims claims;
  struct lc_buf token;
  size_t frame_at;          /* of the frame being filled in base.out */
};
enum { FRAME_ABORT = 0xffffffffu }; /* length that asks for the connection to be dropped */
extern const struct lc_db_client_ops ws_v2_ops;
/* Decodes client messages into `batch`; false: *err says what the close reason is. */
bool ws_v2_decode(struct ws_client *c, struct lc_slice payload, struct lc_db_batch *batch, struct lc_error *err);

#endif
