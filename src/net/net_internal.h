/* Inside of net/: threads, connections and what the files offer each other.
 *
 * Invariants: a `struct lc_conn` is touched only by the thread that runs its loop. Its life: OPEN → (FINISHING: what is queued leaves, then the
 * write side is shut) → ENDED (on the thread's `ended` list; on_close follows at the end of the turn) → closed by libuv and freed.
 */
#ifndef LC_NET_INTERNAL_H
#define LC_NET_INTERNAL_H
#include "net.h"
#include <http_parser.h>
#include <pthread.h>
#include <uv.h>

enum { READ_BUFFER_BYTES = 256 << 10, CHUNK_KEEP_BYTES = 64 << 10, OWN_CHUNK_MIN_BYTES = 16 << 10, MAX_FREE_CHUNKS = 256 };

/* One piece of output; small writes are gathered in the last piece. */
struct chunk { struct chunk *next; struct lc_buf buf; size_t sent; uint32_t n_messages; /* that end here */ bool sealed; /* with TLS: as it goes over the wire */ };

/* State of a connection that speaks HTTP; freed on upgrade. */
struct http_state {
  http_parser parser;
  struct lc_buf head;           /* target, then names and values back to back */
  struct { uint32_t name_at, name_len, value_at, value_len; } headers[LC_NET_MAX_HEADERS];
  uint32_t n_headers, target_len;
  bool in_value, head_too_large, expect_continue;
  struct lc_buf body;
  size_t body_limit;
  bool limit_known, body_too_large, upgrade, complete;
  /* of the request being answered */
  bool pending, keep_alive, is_head, is_http_1_0, streaming;
  struct lc_buf accept_key;     /* Sec-WebSocket-Key of a pending upgrade */
  int64_t since_ms;             /* last request's end or connection start */
};

/* State of a WebSocket. */
struct ws_state {
  struct lc_buf message;        /* fragments so far */
  uint8_t opcode;               /* of the message being assembled; 0: none */
  bool ponged;                  /* since the last ping */
  bool close_sent, discarding;
  bool pinged;                  /* the first ping has gone */
  int64_t last_in_ms, last_ping_ms;
};

enum conn_state { CONN_OPEN, CONN_FINISHING, CONN_ENDED };
struct lc_conn {
  uv_tcp_t tcp;                 /* first: handle == connection */
  uv_write_t write_req;
  uv_shutdown_t shutdown_req;
  struct lc_net_thread *thread;
  void *user;
  struct tls *tls;              /* NULL: none */
  struct http_state *http;      /* exactly one of http and ws, until the end; neither: a stream */
  struct ws_state *ws;
  struct lc_buf in;             /* received and not consumed */
  struct chunk *out_first, *out_last; /* waiting for the kernel */
  struct chunk *writing;        /* handed to libuv */
  size_t out_bytes; uint32_t out_messages;
  size_t largest_bytes;         /* of a single message or answer since the queue was empty */
  uint64_t sent_bytes, seen_bytes; size_t writing_bytes; int64_t progress_ms; /* of the output: what the kernel took, as of the last look */
  enum conn_state state;
  bool is_stream, paused, reading, dirty, announced, shutdown_started, resume_listed, peer_done; /* peer_done: it has shut its side */
  int64_t deadline_ms;          /* of the close handshake or of lingering; 0: none. Set when the last output has left */
  uint32_t linger_ms;           /* FINISHING: how long the peer may take to close once our output has left */
  uint32_t slot; uint64_t generation;
  struct lc_conn *dirty_next, *ended_next, *resume_next, *prev, *next;
  char peer[64];
};

struct slot { struct lc_conn *conn; uint64_t generation; uint32_t next_free; };

struct lc_net_thread {
  struct lc_net *net;
  uint32_t index;
  uv_loop_t loop;
  uv_async_t async;
  uv_timer_t tick;
  uv_poll_t listener, stream_listener; /* thread 0 */
  void *user;
  _Atomic(struct lc_net_task *) inbox;
  struct lc_conn *conns, *dirty, *ended, *resume;
  struct slot *slots; uint32_t n_slots, free_slot; /* free_slot: index + 1 */
  uint32_t n_conns, n_deadlines;
  struct chunk *free_chunks; uint32_t n_free_chunks;
  uint8_t *read_buffer;
  int64_t last_scan_ms;
  bool again, stopping, finished, accept_paused;
  int64_t stop_deadline_ms;
  char date[40]; int64_t date_s;
  _Atomic uint64_t run_token;   /* 0: not in a run */
  _Atomic int os_thread;        /* id of the OS thread that has the loop */
  struct { uint64_t token, last; int64_t at_ns, cpu_ns; } seen; /* monitor's: the run it has seen, when first, and the processor time of its thread then */
  _Atomic uint64_t last_token;  /* of the latest run */
  _Atomic uint64_t requests, accepted, messages_in, messages_out, bytes_in, bytes_out;
};

struct lc_net {
  struct lc_net_options o;
  char *listen;
  struct tls_server *tls;       /* NULL: connections speak plainly */
  int listen_fd, stream_fd; uint16_t port; /* stream_fd -1: none */
  struct lc_net_thread *threads; uint32_t n_threads;
  uint32_t next_thread;         /* of the listener */
  atomic_uint n_connections, running_os_threads;
  _Atomic uint64_t handed_over, next_generation;
  pthread_mutex_t lock; pthread_cond_t changed;
  unsigned live_loops;          /* lock */
  bool monitor_stop;            /* lock */
  atomic_bool monitor_sleeping;
  pthread_t monitor;
  bool monitor_started;
};

static inline int64_t now_ms(const struct lc_net_thread *t) { return (int64_t)uv_now(&t->loop); }
static inline void count(_Atomic uint64_t *c, uint64_t n) { atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n, memory_order_relaxed); }

/* conn.c */
void conn_adopt(struct lc_net_thread *t, int fd, bool is_stream);         /* new connection; closes fd when it cannot */
void conn_end(struct lc_conn *c);                         /* drop: on_close at the end of the turn */
void conn_deadline(struct lc_conn *c, int64_t at_ms);      /* ends then; 0: none */
void conn_finish(struct lc_conn *c, uint32_t linger_ms);  /* output, then shut down, then wait for the peer at most linger_ms */
void conn_expect(struct lc_conn *c, size_t bytes);        /* one message or answer of that size follows: it alone never exceeds the limit */
void conn_message(struct lc_conn *c);                     /* a message has just been queued */
void conn_out(struct lc_conn *c, const void *data, size_t len);
void conn_out_buf(struct lc_conn *c, struct lc_buf *payload); /* takes the bytes */
void conn_flush_dirty(struct lc_net_thread *t);
void conn_bury(struct lc_net_thread *t);                  /* on_close and closing of those that ended */
void conn_tick(struct lc_net_thread *t);
void conn_resume_listed(struct lc_net_thread *t);
void conn_resume(struct lc_conn *c);                      /* buffered input is looked at again in this or the next turn */
void conn_free_chunks(struct lc_net_thread *t);
void conn_announce(struct lc_conn *c);                    /* the handler is about to hear of c: it will hear of its end */

/* tls.c */
enum tls_end { TLS_GOES_ON, TLS_CLOSED, TLS_BROKEN };
enum lc_status tls_server_new(const char *cert, const char *key, struct tls_server **out, struct lc_error *err); /* PEM files. LC_INVALID, LC_NOMEM */
void tls_server_free(struct tls_server *t);
struct tls *tls_new(struct tls_server *server, int64_t now); /* NULL: out of memory */
void tls_free(struct tls *t);
/* Takes what has arrived; `plain` gets what it says. Afterwards there may be something to be said (tls_said). */
enum tls_end tls_open(struct tls *t, const uint8_t *data, size_t len, void (*plain)(void *ctx, uint8_t *data, size_t len), void *ctx);
bool tls_said(struct tls *t, struct lc_buf *out);          /* appends what is to leave; false: out of memory */
bool tls_seal(struct tls *t, struct lc_slice plain, struct lc_buf *sealed); /* appends; false: out of memory, or nothing can be said any more */
bool tls_close(struct tls *t, struct lc_buf *out);         /* appends the notice that no more follows, once; false: out of memory */

/* http.c */
bool http_start(struct lc_conn *c);
void http_free(struct http_state *h);
size_t http_feed(struct lc_conn *c, uint8_t *data, size_t len); /* consumed; the rest is kept */
void http_respond_error(struct lc_conn *c, uint16_t status);
const char *http_date(struct lc_net_thread *t);

/* ws.c */
void ws_free(struct ws_state *w);
size_t ws_feed(struct lc_conn *c, uint8_t *data, size_t len);
void ws_tick(struct lc_conn *c, int64_t now);
void ws_shut(struct lc_conn *c);                          /* server stops: close with 1001 */

#endif
