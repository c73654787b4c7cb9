/* The face of net/: network threads, HTTP/1.1 and WebSocket connections (spec/03 §1-3, §17-18, spec/04 §2).
 *
 * N network threads, each with an event loop of its own; a connection belongs to one of them for its whole life and is touched by
 * nobody else. A turn of a thread: I/O callbacks (read, decode, call the handler) → posted tasks → handler->on_turn (the upper layer
 * runs databases) → posted tasks → one writev per connection that has output → connections that ended are closed and freed.
 *
 * Threads: functions taking a `struct lc_conn *` are for the owning thread, inside a handler callback or a posted task. From anywhere
 * else keep a `struct lc_conn_ref` (plain data, may outlive the connection) and post. "Any thread" is said where it holds.
 * Reentrancy: no handler function is called from inside a function of this header; ends of connections are reported later in the turn.
 * Ownership: slices given to handlers are valid during that call only; slices given to functions here are copied unless stated.
 */
#ifndef LC_NET_H
#define LC_NET_H
#include "../base/base.h"

struct lc_net;
struct lc_net_thread;
struct lc_conn;

#define LC_NET_MAX_THREADS 64u
#define LC_NET_MAX_HEADERS 100u              /* more: 431 */
#define LC_NET_MAX_HEAD_BYTES 65536u         /* request line and headers; more: 431 */
#define LC_WS_MAX_CLOSE_REASON_BYTES 123u

/* ---- HTTP ---- */

struct lc_http_header { struct lc_slice name, value; }; /* in requests: name in lower case, value trimmed */
struct lc_http_request {
  struct lc_slice method;       /* "GET" */
  struct lc_slice path;         /* raw (percent-encoded) path, without query */
  struct lc_slice query;        /* raw, without '?'; empty when there is none */
  const struct lc_http_header *headers;
  uint32_t n_headers;
  struct lc_slice body;         /* complete */
  bool body_too_large;          /* exceeded body_limit: body is empty, answer 413; the connection closes after the answer */
  bool is_http_1_0;
  bool upgrade_websocket;       /* Connection: upgrade and Upgrade: websocket */
};
/* First header of that (lower-case) name; data NULL when absent. */
struct lc_slice lc_http_header_get(const struct lc_http_request *r, const char *name);
/* Percent-decodes `text` (plus_is_space: form encoding) and appends it to out. Invalid escapes stay as they are. */
void lc_http_percent_decode(struct lc_slice text, bool plus_is_space, struct lc_buf *out);
/* Steps through a query string: sets raw key and value (either may be empty), advances *rest; false at the end. */
bool lc_http_query_next(struct lc_slice *rest, struct lc_slice *key, struct lc_slice *value);

struct lc_http_response {
  uint16_t status;              /* 100..599 */
  const char *content_type;     /* NULL: none */
  const struct lc_http_header *headers; uint32_t n_headers; /* further headers, names in lower case */
  struct lc_slice body;         /* for HEAD, 204 and 304 not sent (HEAD and 304: the length is) */
  bool close;                   /* close the connection afterwards */
};

/* ---- connections ---- */

struct lc_conn_ref { uint32_t thread, slot; uint64_t generation; }; /* all zero: no connection */

struct lc_conn_ref lc_conn_ref(const struct lc_conn *c);
struct lc_conn *lc_conn_from_ref(struct lc_net_thread *t, struct lc_conn_ref ref); /* owning thread; NULL: gone (or ending) */
struct lc_net_thread *lc_conn_thread(const struct lc_conn *c);
void *lc_conn_user(const struct lc_conn *c);
void lc_conn_set_user(struct lc_conn *c, void *user);
bool lc_conn_is_websocket(const struct lc_conn *c);
const char *lc_conn_peer(const struct lc_conn *c); /* "address:port"; belongs to the connection */
/* Drops the connection without ceremony (TCP close); on_close follows later in this turn. */
void lc_conn_abort(struct lc_conn *c);
/* Lets what is queued leave, then closes the TCP connection, without a close frame; nothing more is sent or delivered. */
void lc_conn_finish(struct lc_conn *c);
/* Back-pressure: stops or resumes reading from the socket. Not counted; resuming delivers what is buffered from the next turn on. */
void lc_conn_pause(struct lc_conn *c, bool paused);

/* Hands the pending request of c to the handler once more, as it came: for one that could not be answered before something else was known. On c's thread. */
void lc_http_again(struct lc_conn *c);
/* Answers the pending request of c: exactly one answer per on_request or on_upgrade, in the call or later. Ignored when nothing is pending. */
void lc_http_respond(struct lc_conn *c, const struct lc_http_response *r);
/* The same from any thread; everything in *r is copied. A connection that has ended is harmless. LC_NOMEM possible. */
enum lc_status lc_http_respond_ref(struct lc_net *net, struct lc_conn_ref ref, const struct lc_http_response *r);
/* Answer of unknown length (chunked): r->body is the first piece. Then write, then end; on_close tells when the peer has gone. */
void lc_http_stream_begin(struct lc_conn *c, const struct lc_http_response *r);
void lc_http_stream_write(struct lc_conn *c, struct lc_slice piece);
void lc_http_stream_end(struct lc_conn *c);

/* ---- WebSocket ---- */

/* The checks of spec/03 §1.3 rows 4-6 in order; true: fine. Else *status (426 or 400) and *text (static) say the answer, and
 * upgrade_headers says that 426 must carry `connection: upgrade` and `upgrade: websocket`. */
bool lc_ws_check_upgrade(const struct lc_http_request *r, uint16_t *status, const char **text, bool *upgrade_headers);
/* Chooses from all Sec-WebSocket-Protocol headers: index of the first entry of `names` (server's preference) that is offered, or -1. */
int lc_ws_choose_protocol(const struct lc_http_request *r, const char *const *names, uint32_t n_names);
/* Accepts the pending upgrade (101 with Sec-WebSocket-Accept, the protocol and `headers`), in on_upgrade or later. From the return of
 * this function messages may be sent; on_message follows later in this turn or later. Ignored when no upgrade is pending. */
void lc_ws_accept(struct lc_conn *c, const char *protocol, const struct lc_http_header *headers, uint32_t n_headers);

/* Queue one message (head followed by body). Small ones are copied into the connection's output; the bytes leave at the end of the turn.
 * Nothing happens when c is closing. Beyond the output limits of the options the connection is aborted (spec/03 §17). */
void lc_ws_send(struct lc_conn *c, bool text, struct lc_slice head, struct lc_slice body);
/* The same for the bytes of *payload, which are freed (zeroed on return). */
void lc_ws_send_buf(struct lc_conn *c, bool text, struct lc_buf *payload);
/* Server-initiated close (spec/03 §3): queued messages, close frame, then traffic is discarded and, once the frame has left, the peer has
 * close_handshake_ms.
 * code 0: close frame without code. reason is cut to 123 bytes on a character boundary. on_close follows once. */
void lc_ws_close(struct lc_conn *c, uint16_t code, struct lc_slice reason);
size_t lc_conn_backlog_bytes(const struct lc_conn *c); /* queued and not yet taken by the kernel */

/* ---- streams: connections of the second listener, whose protocol the handler speaks ---- */

bool lc_conn_is_stream(const struct lc_conn *c);
void lc_stream_send(struct lc_conn *c, struct lc_slice bytes);     /* queued; leaves at the end of the turn */
void lc_stream_send_buf(struct lc_conn *c, struct lc_buf *bytes);  /* the same for the bytes of *bytes, which are taken. One answer: it alone never exceeds max_backlog_bytes */
void lc_stream_deadline(struct lc_conn *c, uint32_t ms);           /* the connection ends then; 0: never by itself */
bool lc_stream_has_tls(const struct lc_conn *c);                   /* the server has a certificate */
bool lc_stream_is_secret(const struct lc_conn *c);                 /* it speaks TLS by now */
/* Sends `last` plainly; all that follows in both directions is TLS. False: out of memory. */
bool lc_stream_start_tls(struct lc_conn *c, struct lc_slice last);

/* PostgreSQL's messages, for streams (pg.c; spec/04 §10). */
struct lc_pg_message { uint8_t type; /* 0: the first of a connection */ struct lc_slice body; };
/* The message `in` begins with: its size, or 0: more must come, or SIZE_MAX: its length is impossible or beyond max_bytes. */
size_t lc_pg_read(struct lc_slice in, bool is_startup, uint32_t max_bytes, struct lc_pg_message *out);
bool lc_pg_read_text(struct lc_slice *rest, struct lc_slice *text); /* up to a zero; false: there is none */
bool lc_pg_read_u32(struct lc_slice *rest, uint32_t *value);
void lc_pg_u16(struct lc_buf *out, uint16_t v);
void lc_pg_u32(struct lc_buf *out, uint32_t v);
void lc_pg_text(struct lc_buf *out, struct lc_slice text);  /* with a zero; cut at one inside */
size_t lc_pg_begin(struct lc_buf *out, char type);          /* returns what lc_pg_end wants */
void lc_pg_end(struct lc_buf *out, size_t at);
void lc_pg_error(struct lc_buf *out, const char *severity, const char *sqlstate, struct lc_slice text);
void lc_pg_ready(struct lc_buf *out);                       /* ReadyForQuery: no transaction is open */

/* ---- tasks ---- */

/* Embed in what you post. `run` gets the task back and owns it; the thread may be another OS thread than last time but never two at once. */
struct lc_net_task { struct lc_net_task *next; void (*run)(struct lc_net_thread *t, struct lc_net_task *task); };
/* Any thread. Tasks of one poster run in order. The loop is woken only when its queue was empty and it is not the caller's own. What is
 * posted after lc_net_stop has returned runs in lc_net_run_rest, when every connection is gone. */
void lc_net_post(struct lc_net *net, uint32_t thread_index, struct lc_net_task *task);
/* Any thread: makes the thread take a turn (and so call on_turn). */
void lc_net_wake(struct lc_net *net, uint32_t thread_index);

struct lc_net *lc_net_thread_net(const struct lc_net_thread *t);
uint32_t lc_net_thread_index(const struct lc_net_thread *t);
uint32_t lc_net_n_threads(const struct lc_net *net);
void *lc_net_thread_user(const struct lc_net_thread *t);
void lc_net_thread_set_user(struct lc_net_thread *t, void *user);

/* A possibly slow stretch inside on_turn (running one database). Between begin and end the loop may be given to a spare OS thread, so
 * nothing of the thread (its user data, its connections) may be touched; lc_net_post is fine. lc_net_run_end returns false when that
 * has happened: the rest of on_turn is not ours any more: return at once, touching nothing. */
uint64_t lc_net_run_begin(struct lc_net_thread *t);
bool lc_net_run_end(struct lc_net_thread *t, uint64_t token) LC_NODISCARD;

/* ---- the handler ---- */

struct lc_net_handler {
  void *ctx;
  void (*on_thread_start)(void *ctx, struct lc_net_thread *t); /* may be NULL */
  void (*on_thread_stop)(void *ctx, struct lc_net_thread *t);  /* after its last connection; may be NULL */
  /* Head of a request is complete: returns how many body bytes to accept (0: none; capped by max_body_bytes). NULL: max_body_bytes. */
  size_t (*body_limit)(void *ctx, struct lc_conn *c, const struct lc_http_request *r);
  void (*on_request)(void *ctx, struct lc_conn *c, const struct lc_http_request *r);
  /* GET with upgrade_websocket: lc_ws_accept or lc_http_respond, now or later. */
  void (*on_upgrade)(void *ctx, struct lc_conn *c, const struct lc_http_request *r);
  /* One complete message, unmasked; text has been checked to be UTF-8. */
  void (*on_message)(void *ctx, struct lc_conn *c, struct lc_slice payload, bool text);
  /* What a stream has received and not consumed: returns how much is consumed now. The rest comes again with more, or when the connection is resumed. */
  size_t (*on_stream)(void *ctx, struct lc_conn *c, struct lc_slice bytes);
  /* After the last on_message of one read: hand over what was batched. May be NULL. */
  void (*on_read_end)(void *ctx, struct lc_conn *c);
  /* The connection is over: once for every connection for which any function above was called. It can still be looked at, not written to. */
  void (*on_close)(void *ctx, struct lc_conn *c);
  /* Once per turn: run databases (lc_net_run_begin/end). True: there is more to do, take the next turn without waiting. May be NULL. */
  bool (*on_turn)(void *ctx, struct lc_net_thread *t);
};

struct lc_net_options { /* zero means the default given here */
  const char *listen;             /* "127.0.0.1:3000", "[::1]:0", "0.0.0.0:3000"; port 0: any free port */
  const char *listen_streams;     /* HOST:PORT of a second listener, whose connections are streams; NULL: none */
  uint32_t stream_startup_ms;     /* 60,000: first deadline of a stream */
  const char *tls_cert, *tls_key; /* PEM files of the certificate's chain and its key: all connections speak TLS (1.2 and later); default: none does */
  uint32_t n_threads;             /* default: processors, at most 8 */
  struct lc_net_handler handler;  /* copied */
  size_t max_body_bytes;          /* 64 MiB */
  size_t max_message_bytes;       /* 32 MiB (spec/03 §3) */
  size_t max_backlog_bytes;       /* 64 MiB queued for one connection beyond its largest single message or answer: abort */
  uint32_t max_backlog_messages;  /* 16,384 (spec/03 §17) not yet taken by the kernel: abort */
  uint32_t ping_interval_ms;      /* 15,000 */
  uint32_t idle_timeout_ms;       /* 30,000: WebSocket without a complete message */
  uint32_t close_handshake_ms;    /* 250 */
  uint32_t http_idle_ms;          /* 120,000: keep-alive connection without a request, one arriving slower (a body: 16 KiB of it), an answer not taken */
  uint32_t stop_grace_ms;         /* 1,000: pending answers and close handshakes at lc_net_stop */
  uint32_t slow_run_ms;           /* 4: a run that takes as much processor time loses the loop to a spare thread; 16 times as much by the clock does too */
  uint32_t max_connections;       /* 100,000 over all threads; more are closed at once */
  const char *stop_reason;        /* of the close frames at lc_net_stop; static; default: none */
};

struct lc_net_stats { uint64_t connections, accepted, requests, messages_in, messages_out, bytes_in, bytes_out, handed_over; };

/* Binds, listens and starts the threads. LC_IO (address in use …), LC_INVALID (address), LC_NOMEM. */
enum lc_status lc_net_start(const struct lc_net_options *o, struct lc_net **out, struct lc_error *err);
uint16_t lc_net_port(const struct lc_net *net); /* the port really bound */
/* Stops accepting, closes WebSockets with 1001, lets pending answers finish for stop_grace_ms, ends the threads. Blocking; not from a
 * network thread. */
void lc_net_stop(struct lc_net *net);
void lc_net_run_rest(struct lc_net *net); /* after lc_net_stop: runs the tasks posted since, on the caller's thread */
void lc_net_free(struct lc_net *net); /* after lc_net_stop */
void lc_net_stats_get(const struct lc_net *net, struct lc_net_stats *out); /* any thread; sums, not one instant */

#endif
