/* Inside of api/: the server's state and what its files offer each other.
 *
 * Threads: `databases` and the control database are guarded by `lock` (publishing and start only take it for writing; look-ups by name take
 * it for reading once per request or handshake, never per message). A `struct thread_state` belongs to its network thread.
 */
#ifndef LC_API_SERVER_H
#define LC_API_SERVER_H
#include "../auth/auth.h"
#include "../net/net.h"
#include "api.h"
#include <pthread.h>

struct control;
struct database { struct lc_identity identity, owner; struct lc_db *db; uint64_t replica_id; struct database *next; };
struct server {
  struct lc_server_options options;
  struct lc_auth *auth;
  struct lc_net *net;
  struct control *control;
  pthread_rwlock_t lock;
  pthread_mutex_t publish_lock;   /* one publish at a time */
  struct database *databases;     /* never removed while the server runs */
  atomic_uint publishing;         /* worker threads alive */
};

/* What waits for a database's log on one network thread, in order of arrival. */
struct waiting { struct lc_net_task task; struct waiting *next; struct server *server; struct lc_db *db; uint64_t release_offset; struct lc_db_outbox *outbox; /* or an HTTP answer: */ struct lc_conn_ref ref; uint16_t status; const char *content_type; struct lc_buf body, headers; };
struct pending { struct database *database; struct lc_db_batch *batch; struct pending *next; };
struct thread_state {
  struct server *server;
  struct pending *pending;                /* batches of this turn; batch NULL: just run it */
  struct waiting *first, **last;          /* FIFO */
  atomic_uint n_waiting;
  atomic_bool check_posted;
  struct lc_net_task check_task;
};

/* server.c */
struct lc_db_batch *server_batch(struct lc_net_thread *t, struct database *d); /* this turn's batch; NULL: out of memory */
void server_post_waiting(struct server *s, uint32_t thread_index, struct waiting *w); /* any thread; ownership passes */
struct database *server_database(struct server *s, const struct lc_identity *id); /* NULL: none; any thread */
void server_db_options(struct server *s, const struct lc_identity *id, const struct lc_identity *owner, char *dir, size_t dir_size, uint64_t replica_id, struct lc_db_options *o);
void server_add_database(struct server *s, struct database *d);

/* control.c: SQLite (spec/04 §5). Any thread. */
struct control *control_open(const char *data_dir, struct lc_error *err);
void control_close(struct control *c);
/* Identity registered under a name; LC_NOT_FOUND. */
enum lc_status control_resolve(struct control *c, struct lc_slice name, struct lc_identity *id, struct lc_error *err);
/* Reserves a replica id for a database that is being made. */
uint64_t control_new_replica(struct control *c, struct lc_error *err); /* 0: failed */
/* Makes the database and its name (name.len 0: none) known, in one transaction: after this it exists. */
enum lc_status control_add(struct control *c, const struct lc_identity *id, const struct lc_identity *owner, uint8_t kind, const struct lc_hash *program, uint64_t replica_id, struct lc_slice name, struct lc_error *err);
struct control_row { struct lc_identity id, owner; uint8_t kind; struct lc_hash program; uint64_t replica_id; };
enum lc_status control_each(struct control *c, void (*fn)(void *ctx, const struct control_row *row), void *ctx, struct lc_error *err);
enum lc_status control_get(struct control *c, const struct lc_identity *id, struct control_row *row, struct lc_error *err);
enum lc_status control_names(struct control *c, const struct lc_identity *id, void (*fn)(void *ctx, const char *name), void *ctx, struct lc_error *err);

/* routes.c */
size_t routes_body_limit(void *ctx, struct lc_conn *conn, const struct lc_http_request *r);
void routes_request(void *ctx, struct lc_conn *conn, const struct lc_http_request *r);
/* Token of a request (header, then query): 0 and *claims, *token filled (minted if there was none), or the status and text of the answer. */
uint16_t routes_authenticate(struct server *s, const struct lc_http_request *r, bool mint, struct lc_auth_claims *claims, struct lc_buf *token, struct lc_error *err);
/* :name_or_identity to a running database. 0, or the status and text of the answer. */
uint16_t routes_resolve(struct server *s, struct lc_slice name, struct database **d, struct lc_error *err);
bool routes_query(const struct lc_http_request *r, const char *key, struct lc_buf *value); /* false: absent */

/* ws.c: connections; ws_v2.c: messages */
void ws_upgrade(void *ctx, struct lc_conn *conn, const struct lc_http_request *r);
void ws_message(void *ctx, struct lc_conn *conn, struct lc_slice payload, bool text);
void ws_close(void *ctx, struct lc_conn *conn);
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
