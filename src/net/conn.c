/* Owns: connections from adoption to burial, their output queue, flow of input to http.c or ws.c, timers, references.
 *
 * Output is gathered in chunks and handed to the kernel once per turn (uv_try_write; what does not fit goes through uv_write and counts as
 * backlog). Callers: net.c, http.c, ws.c.
 */
#include "net_internal.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- slots and references ---- */

static bool slot_take(struct lc_net_thread *t, struct lc_conn *c) {
  if (!t->free_slot) {
    uint32_t n = t->n_slots ? t->n_slots * 2 : 64;
    struct slot *grown = lc_realloc(t->slots, n * sizeof *grown);
    if (!grown) return false;
    t->slots = grown;
    for (uint32_t i = n; i-- > t->n_slots;) {
      t->slots[i] = (struct slot){NULL, 0, t->free_slot};
      t->free_slot = i + 1;
    }
    t->n_slots = n;
  }
  uint32_t i = t->free_slot - 1;
  t->free_slot = t->slots[i].next_free;
  c->slot = i;
  c->generation = atomic_fetch_add(&t->net->next_generation, 1) + 1;
  t->slots[i] = (struct slot){c, c->generation, 0};
  return true;
}
static void slot_give(struct lc_net_thread *t, struct lc_conn *c) {
  t->slots[c->slot] = (struct slot){NULL, 0, t->free_slot};
  t->free_slot = c->slot + 1;
}

struct lc_conn_ref lc_conn_ref(const struct lc_conn *c) { return (struct lc_conn_ref){c->thread->index, c->slot, c->generation}; }
struct lc_conn *lc_conn_from_ref(struct lc_net_thread *t, struct lc_conn_ref ref) {
  if (!ref.generation || ref.thread != t->index || ref.slot >= t->n_slots || t->slots[ref.slot].generation != ref.generation) return NULL;
  struct lc_conn *c = t->slots[ref.slot].conn;
  return c->state == CONN_ENDED ? NULL : c;
}
struct lc_net_thread *lc_conn_thread(const struct lc_conn *c) { return c->thread; }
void *lc_conn_user(const struct lc_conn *c) { return c->user; }
void lc_conn_set_user(struct lc_conn *c, void *user) { c->user = user; }
bool lc_conn_is_websocket(const struct lc_conn *c) { return c->ws != NULL; }
const char *lc_conn_peer(const struct lc_conn *c) { return c->peer; }
void lc_conn_abort(struct lc_conn *c) { conn_end(c); }
void lc_conn_finish(struct lc_conn *c) {
  if (c->ws) c->ws->close_sent = c->ws->discarding = true;
  conn_finish(c, 0);
}
size_t lc_conn_backlog_bytes(const struct lc_conn *c) { return c->out_bytes; }
void conn_announce(struct lc_conn *c) { c->announced = true; }

/* ---- output ---- */

static struct chunk *chunk_new(struct lc_net_thread *t) {
  struct chunk *k = t->free_chunks;
  if (k) {
    t->free_chunks = k->next;
    t->n_free_chunks--;
    k->next = NULL;
    return k;
  }
  return lc_alloc_zero(1, sizeof *k);
}
static void chunk_free(struct lc_net_thread *t, struct chunk *k) {
  k->sent = 0;
  k->n_messages = 0;
  k->sealed = false;
  if (k->buf.cap > CHUNK_KEEP_BYTES || k->buf.failed) lc_buf_free(&k->buf);
  k->buf.len = 0;
  if (t->n_free_chunks >= MAX_FREE_CHUNKS) {
    lc_buf_free(&k->buf);
    lc_free(k);
    return;
  }
  k->next = t->free_chunks;
  t->free_chunks = k;
  t->n_free_chunks++;
}
void conn_free_chunks(struct lc_net_thread *t) {
  while (t->free_chunks) {
    struct chunk *k = t->free_chunks;
    t->free_chunks = k->next;
    lc_buf_free(&k->buf);
    lc_free(k);
  }
}
static void free_list(struct lc_net_thread *t, struct chunk *k) {
  while (k) {
    struct chunk *next = k->next;
    chunk_free(t, k);
    k = next;
  }
}

static void make_dirty(struct lc_conn *c) {
  if (c->dirty) return;
  c->dirty = true;
  c->dirty_next = c->thread->dirty;
  c->thread->dirty = c;
}
static struct chunk *append_chunk(struct lc_conn *c) {
  struct chunk *k = chunk_new(c->thread);
  if (!k) return NULL;
  if (c->out_last) c->out_last->next = k;
  else c->out_first = k;
  return c->out_last = k;
}
/* One message may be as large as it likes; what comes on top of it is limited. */
static bool over_limit(struct lc_conn *c) {
  const struct lc_net_options *o = &c->thread->net->o;
  if (c->out_bytes <= o->max_backlog_bytes + c->largest_bytes && c->out_messages <= o->max_backlog_messages) return false;
  if (c->state == CONN_OPEN || c->state == CONN_FINISHING) lc_log(LC_LOG_WARN, "%s does not read: %zu bytes in %u messages queued; dropped", c->peer, c->out_bytes, c->out_messages);
  conn_end(c);
  return true;
}
void conn_expect(struct lc_conn *c, size_t bytes) {
  if (bytes > c->largest_bytes) c->largest_bytes = bytes;
}
void conn_message(struct lc_conn *c) {
  if (c->state == CONN_ENDED || !c->out_last) return;
  c->out_last->n_messages++;
  c->out_messages++;
  over_limit(c);
}
static void queued(struct lc_conn *c, size_t len) {
  if (!c->out_bytes) c->progress_ms = now_ms(c->thread);
  c->out_bytes += len;
  make_dirty(c);
  over_limit(c);
}
void conn_out(struct lc_conn *c, const void *data, size_t len) {
  if (c->state == CONN_ENDED || !len) return;
  struct chunk *k = c->out_last;
  if (!k || k->sealed || (k->buf.len + len > CHUNK_KEEP_BYTES && k->buf.len)) k = append_chunk(c);
  if (k) lc_buf_append(&k->buf, data, len);
  if (!k || !lc_buf_ok(&k->buf)) {
    lc_log(LC_LOG_ERROR, "out of memory while answering %s; connection dropped", c->peer);
    conn_end(c);
    return;
  }
  queued(c, len);
}
void conn_out_buf(struct lc_conn *c, struct lc_buf *payload) {
  if (c->state == CONN_ENDED || payload->len < OWN_CHUNK_MIN_BYTES) {
    conn_out(c, payload->data, payload->len);
    lc_buf_free(payload);
    return;
  }
  struct chunk *k = append_chunk(c);
  if (!k) {
    lc_buf_free(payload);
    conn_end(c);
    return;
  }
  lc_buf_free(&k->buf);
  k->buf = *payload;
  memset(payload, 0, sizeof *payload);
  queued(c, k->buf.len);
}

/* What TLS itself has to say: before the first piece that is not sealed. Takes the bytes. */
static void out_sealed(struct lc_conn *c, struct lc_buf *bytes) {
  struct chunk *k = bytes->len && c->state != CONN_ENDED ? chunk_new(c->thread) : NULL;
  if (!k) {
    if (bytes->len) conn_end(c);
    lc_buf_free(bytes);
    return;
  }
  struct chunk **at = &c->out_first;
  while (*at && (*at)->sealed) at = &(*at)->next;
  k->next = *at;
  *at = k;
  if (!k->next) c->out_last = k;
  lc_buf_free(&k->buf);
  k->buf = *bytes;
  k->sealed = true;
  *bytes = (struct lc_buf){0};
  queued(c, k->buf.len);
}
/* Seals the pieces that are about to leave. */
static void seal(struct lc_conn *c, unsigned n) {
  for (struct chunk *k = c->out_first; k && n > 0; k = k->next, n--) {
    struct lc_buf sealed = {0};
    if (k->sealed) continue;
    if (!tls_seal(c->tls, lc_buf_slice(&k->buf), &sealed)) {
      lc_buf_free(&sealed);
      conn_end(c);
      return;
    }
    c->out_bytes += sealed.len - k->buf.len;
    lc_buf_free(&k->buf);
    k->buf = sealed;
    k->sealed = true;
  }
}

static void on_written(uv_write_t *req, int status) {
  struct lc_conn *c = req->data;
  for (struct chunk *k = c->writing; k; k = k->next) {
    c->out_bytes -= k->buf.len - k->sent;
    c->sent_bytes += k->buf.len - k->sent;
    c->out_messages -= k->n_messages;
    count(&c->thread->bytes_out, k->buf.len - k->sent);
  }
  free_list(c->thread, c->writing);
  c->writing = NULL;
  c->writing_bytes = 0;
  if (c->state == CONN_ENDED) return;
  if (status < 0) conn_end(c);
  else make_dirty(c);
}

static void on_shutdown(uv_shutdown_t *req, int status) {
  struct lc_conn *c = req->data;
  (void)status;
  if (c->state != CONN_FINISHING) return;
  if (c->linger_ms && !c->peer_done) conn_deadline(c, now_ms(c->thread) + c->linger_ms);
  else conn_end(c);
}

static void flush(struct lc_conn *c) {
  struct lc_net_thread *t = c->thread;
  if (c->tls && c->state == CONN_FINISHING && !c->shutdown_started) { /* the last piece: no more follows */
    struct lc_buf end = {0};
    seal(c, UINT32_MAX);
    if (c->state != CONN_ENDED && tls_close(c->tls, &end)) out_sealed(c, &end);
    lc_buf_free(&end);
  }
  while (c->out_first && !c->writing && c->state != CONN_ENDED) {
    uv_buf_t v[32];
    if (c->tls) seal(c, 32);
    if (c->state == CONN_ENDED) return;
    unsigned n = 0;
    size_t total = 0;
    for (struct chunk *k = c->out_first; k && n < 32; k = k->next) {
      v[n++] = uv_buf_init((char *)k->buf.data + k->sent, (unsigned)(k->buf.len - k->sent));
      total += k->buf.len - k->sent;
    }
    int rc = uv_try_write((uv_stream_t *)&c->tcp, v, n);
    if (rc < 0 && rc != UV_EAGAIN) {
      conn_end(c);
      return;
    }
    size_t sent = rc > 0 ? (size_t)rc : 0;
    c->out_bytes -= sent;
    c->sent_bytes += sent;
    count(&t->bytes_out, sent);
    bool all = sent == total;
    while (sent) {
      struct chunk *k = c->out_first;
      size_t left = k->buf.len - k->sent;
      if (sent < left) {
        k->sent += sent;
        break;
      }
      sent -= left;
      c->out_first = k->next;
      if (!c->out_first) c->out_last = NULL;
      c->out_messages -= k->n_messages;
      chunk_free(t, k);
    }
    if (all) continue;
    n = 0; /* the kernel is full: libuv writes up to 32 pieces when it can */
    struct chunk *k = c->out_first, *last = NULL;
    for (; k && n < 32; last = k, k = k->next) v[n++] = uv_buf_init((char *)k->buf.data + k->sent, (unsigned)(k->buf.len - k->sent));
    c->writing = c->out_first;
    c->out_first = k;
    if (!k) c->out_last = NULL;
    last->next = NULL;
    for (k = c->writing; k; k = k->next) c->writing_bytes += k->buf.len - k->sent;
    c->write_req.data = c;
    if (uv_write(&c->write_req, (uv_stream_t *)&c->tcp, v, n, on_written)) {
      free_list(t, c->writing);
      c->writing = NULL;
      c->writing_bytes = 0;
      conn_end(c);
    }
  }
  if (!c->out_first && !c->writing) {
    c->largest_bytes = 0;
    if (c->http) c->http->since_ms = now_ms(t);
    if (c->ws && c->ws->close_sent && c->state == CONN_OPEN && !c->deadline_ms) conn_deadline(c, now_ms(t) + t->net->o.close_handshake_ms);
    if (c->state == CONN_FINISHING && !c->shutdown_started) {
      c->shutdown_started = true;
      c->shutdown_req.data = c;
      if (uv_shutdown(&c->shutdown_req, (uv_stream_t *)&c->tcp, on_shutdown)) conn_end(c);
    }
  }
}

void conn_flush_dirty(struct lc_net_thread *t) {
  while (t->dirty) {
    struct lc_conn *c = t->dirty;
    t->dirty = c->dirty_next;
    c->dirty = false;
    if (c->state != CONN_ENDED) flush(c);
  }
}

/* ---- ends ---- */

void conn_deadline(struct lc_conn *c, int64_t at_ms) {
  if (!c->deadline_ms && at_ms) c->thread->n_deadlines++;
  if (c->deadline_ms && !at_ms) c->thread->n_deadlines--;
  c->deadline_ms = at_ms;
}

void conn_end(struct lc_conn *c) {
  if (c->state == CONN_ENDED) return;
  c->state = CONN_ENDED;
  conn_deadline(c, 0);
  if (c->reading) uv_read_stop((uv_stream_t *)&c->tcp);
  c->reading = false;
  c->ended_next = c->thread->ended;
  c->thread->ended = c;
}

void conn_finish(struct lc_conn *c, uint32_t linger_ms) {
  if (c->state != CONN_OPEN) return;
  c->state = CONN_FINISHING;
  c->linger_ms = linger_ms;
  conn_deadline(c, 0);
  make_dirty(c);
}

static void on_closed(uv_handle_t *handle) {
  struct lc_conn *c = (struct lc_conn *)handle;
  struct lc_net_thread *t = c->thread;
  free_list(t, c->writing);
  free_list(t, c->out_first);
  http_free(c->http);
  ws_free(c->ws);
  tls_free(c->tls);
  lc_buf_free(&c->in);
  if (c->prev) c->prev->next = c->next;
  else t->conns = c->next;
  if (c->next) c->next->prev = c->prev;
  t->n_conns--;
  atomic_fetch_sub(&t->net->n_connections, 1);
  lc_free(c);
}

void conn_bury(struct lc_net_thread *t) {
  const struct lc_net_handler *h = &t->net->o.handler;
  while (t->ended) {
    struct lc_conn *c = t->ended;
    t->ended = c->ended_next;
    if (c->announced) h->on_close(h->ctx, c);
    slot_give(t, c);
    for (struct lc_conn **at = &t->dirty; c->dirty && *at; at = &(*at)->dirty_next)
      if (*at == c) {
        *at = c->dirty_next;
        break;
      }
    for (struct lc_conn **at = &t->resume; c->resume_listed && *at; at = &(*at)->resume_next)
      if (*at == c) {
        *at = c->resume_next;
        break;
      }
    uv_close((uv_handle_t *)&c->tcp, on_closed);
  }
}

/* ---- input ---- */

static void update_reading(struct lc_conn *c);
static size_t stream_feed(struct lc_conn *c, const uint8_t *data, size_t len) {
  const struct lc_net_handler *h = &c->thread->net->o.handler;
  conn_announce(c);
  return h->on_stream(h->ctx, c, lc_slice(data, len));
}
static size_t feed(struct lc_conn *c, uint8_t *data, size_t len) {
  size_t used = 0;
  while (used < len && c->state == CONN_OPEN && !c->paused) { /* an upgrade changes the speaker in the middle */
    size_t n = c->is_stream ? stream_feed(c, data + used, len - used) : c->ws ? ws_feed(c, data + used, len - used) : http_feed(c, data + used, len - used);
    if (!n) break;
    used += n;
  }
  return c->state == CONN_OPEN ? used : len; /* after the end input is dropped */
}

static void feed_in(struct lc_conn *c) {
  size_t used = feed(c, c->in.data, c->in.len);
  if (used == c->in.len) {
    if (c->in.cap > CHUNK_KEEP_BYTES) lc_buf_free(&c->in);
    c->in.len = 0;
  } else if (used) {
    memmove(c->in.data, c->in.data + used, c->in.len - used);
    c->in.len -= used;
  }
  update_reading(c);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
  (void)suggested;
  struct lc_conn *c = (struct lc_conn *)handle;
  *buf = uv_buf_init((char *)c->thread->read_buffer, READ_BUFFER_BYTES);
}

/* The peer says no more, or is gone. A client may shut its side once it has asked; what it asked for is still answered. A stream without end is for those who stay. */
static void on_peer_done(struct lc_conn *c, bool politely) {
  bool wanted = politely && c->http && !c->http->streaming && (c->http->pending || c->out_bytes);
  if (!wanted) {
    conn_end(c);
    return;
  }
  c->peer_done = true;
  update_reading(c);
  if (!c->http->pending) conn_finish(c, 0);
}
static void on_input(void *ctx, uint8_t *data, size_t n) {
  struct lc_conn *c = ctx;
  if (c->state != CONN_OPEN) return; /* lingering: discarded */
  if (c->in.len == 0) {
    size_t used = feed(c, data, n);
    if (used < n) lc_buf_append(&c->in, data + used, n - used);
  } else {
    lc_buf_append(&c->in, data, n);
    if (lc_buf_ok(&c->in)) feed_in(c);
  }
  if (!lc_buf_ok(&c->in)) conn_end(c);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  struct lc_conn *c = (struct lc_conn *)stream;
  struct lc_net_thread *t = c->thread;
  const struct lc_net_handler *h = &t->net->o.handler;
  if (n == 0) return;
  if (n < 0) {
    on_peer_done(c, n == UV_EOF);
    return;
  }
  count(&t->bytes_in, (uint64_t)n);
  if (!c->tls) {
    on_input(c, (uint8_t *)buf->base, (size_t)n);
  } else {
    struct lc_buf said = {0};
    enum tls_end end = tls_open(c->tls, (uint8_t *)buf->base, (size_t)n, on_input, c);
    if (!tls_said(c->tls, &said)) conn_end(c);
    out_sealed(c, &said);
    if (c->state == CONN_ENDED) return;
    if (end == TLS_CLOSED) on_peer_done(c, true);
    else if (end == TLS_BROKEN && c->announced) conn_end(c);
    else if (end == TLS_BROKEN) conn_finish(c, 0); /* after the alert */
    if (c->state == CONN_ENDED || end != TLS_GOES_ON) return;
  }
  update_reading(c);
  if (c->ws && c->state != CONN_ENDED && h->on_read_end) h->on_read_end(h->ctx, c);
}

/* Reading goes on unless the handler paused us or a request is being answered while more than a head's worth waits behind it. */
static void update_reading(struct lc_conn *c) {
  if (c->state == CONN_ENDED) return;
  bool want = !c->peer_done && !c->paused && !(c->http && c->http->pending && c->in.len > LC_NET_MAX_HEAD_BYTES);
  if (want == c->reading) return;
  c->reading = want;
  if (want) {
    if (uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read)) conn_end(c);
  } else {
    uv_read_stop((uv_stream_t *)&c->tcp);
  }
}

/* What is buffered is looked at again in the next part of the turn. */
static void list_resume(struct lc_conn *c) {
  if (c->resume_listed || c->state == CONN_ENDED) return;
  c->resume_listed = true;
  c->resume_next = c->thread->resume;
  c->thread->resume = c;
}
void conn_resume_listed(struct lc_net_thread *t) {
  struct lc_conn *list = t->resume;
  const struct lc_net_handler *h = &t->net->o.handler;
  t->resume = NULL;
  while (list) {
    struct lc_conn *c = list;
    list = c->resume_next;
    c->resume_listed = false;
    if (c->state == CONN_ENDED) continue;
    if (c->in.len) feed_in(c);
    else update_reading(c);
    if (c->peer_done && c->state == CONN_OPEN) { /* all that had arrived has been looked at */
      if (!c->http || c->http->streaming) conn_end(c);
      else if (!c->http->pending) conn_finish(c, 0);
    }
    if (c->ws && c->state != CONN_ENDED && h->on_read_end) h->on_read_end(h->ctx, c);
  }
}
void lc_conn_pause(struct lc_conn *c, bool paused) {
  if (c->paused == paused) return;
  c->paused = paused;
  update_reading(c);
  if (!paused) list_resume(c);
}
void conn_resume(struct lc_conn *c) { list_resume(c); }

void conn_adopt(struct lc_net_thread *t, int fd, bool is_stream) {
  struct lc_conn *c = t->stopping ? NULL : lc_alloc_zero(1, sizeof *c);
  if (c) c->thread = t;
  if (c) c->is_stream = is_stream;
  if (!c || (!is_stream && !http_start(c)) || (!is_stream && t->net->tls && !(c->tls = tls_new(t->net->tls, now_ms(t)))) || uv_tcp_init(&t->loop, &c->tcp)) {
    if (c) http_free(c->http);
    if (c) tls_free(c->tls);
    lc_free(c);
    close(fd);
    atomic_fetch_sub(&t->net->n_connections, 1);
    return;
  }
  struct sockaddr_storage address;
  socklen_t len = sizeof address;
  char host[INET6_ADDRSTRLEN] = "?";
  unsigned port = 0;
  if (getpeername(fd, (struct sockaddr *)&address, &len) == 0) {
    if (address.ss_family == AF_INET6) {
      const struct sockaddr_in6 *a = (struct sockaddr_in6 *)&address;
      inet_ntop(AF_INET6, &a->sin6_addr, host, sizeof host);
      port = ntohs(a->sin6_port);
    } else {
      const struct sockaddr_in *a = (struct sockaddr_in *)&address;
      inet_ntop(AF_INET, &a->sin_addr, host, sizeof host);
      port = ntohs(a->sin_port);
    }
  }
  snprintf(c->peer, sizeof c->peer, "%s:%u", host, port);
  c->next = t->conns;
  if (t->conns) t->conns->prev = c;
  t->conns = c;
  t->n_conns++;
  bool has_slot = slot_take(t, c);
  if (!has_slot || uv_tcp_open(&c->tcp, fd)) { /* never seen by anybody: close without a report */
    if (has_slot) slot_give(t, c);
    close(fd);
    c->state = CONN_ENDED;
    uv_close((uv_handle_t *)&c->tcp, on_closed);
    return;
  }
  uv_tcp_nodelay(&c->tcp, 1);
  count(&t->accepted, 1);
  if (is_stream) conn_deadline(c, now_ms(t) + t->net->o.stream_startup_ms);
  update_reading(c);
}

/* ---- streams ---- */

bool lc_conn_is_stream(const struct lc_conn *c) { return c->is_stream; }
void lc_stream_send(struct lc_conn *c, struct lc_slice bytes) {
  if (c->state == CONN_OPEN) conn_out(c, bytes.data, bytes.len);
}
void lc_stream_send_buf(struct lc_conn *c, struct lc_buf *bytes) {
  if (c->state != CONN_OPEN) {
    lc_buf_free(bytes);
    return;
  }
  conn_expect(c, bytes->len);
  conn_out_buf(c, bytes);
}
void lc_stream_deadline(struct lc_conn *c, uint32_t ms) {
  if (c->state == CONN_OPEN) conn_deadline(c, ms ? now_ms(c->thread) + ms : 0);
}
bool lc_stream_has_tls(const struct lc_conn *c) { return c->thread->net->tls != NULL; }
bool lc_stream_is_secret(const struct lc_conn *c) { return c->tls != NULL; }
bool lc_stream_start_tls(struct lc_conn *c, struct lc_slice last) {
  struct tls *tls = tls_new(c->thread->net->tls, now_ms(c->thread));
  if (!tls) return false;
  conn_out(c, last.data, last.len);
  if (c->out_last) c->out_last->sealed = true;
  c->tls = tls;
  return true;
}

/* ---- time ---- */

/* Output that waits and of which the kernel has taken nothing for so long belongs to a peer that is gone or does not want it. */
static bool stalls(struct lc_conn *c, int64_t now) {
  const struct lc_net_options *o = &c->thread->net->o;
  size_t left = uv_stream_get_write_queue_size((const uv_stream_t *)&c->tcp);
  uint64_t sent = c->sent_bytes + (c->writing_bytes > left ? c->writing_bytes - left : 0);
  if (sent != c->seen_bytes) {
    c->seen_bytes = sent;
    c->progress_ms = now;
  }
  return c->out_bytes && now - c->progress_ms > (c->ws ? o->idle_timeout_ms : o->http_idle_ms);
}

void conn_tick(struct lc_net_thread *t) {
  int64_t now = now_ms(t);
  const struct lc_net_options *o = &t->net->o;
  int64_t least = o->ping_interval_ms < o->idle_timeout_ms ? o->ping_interval_ms : o->idle_timeout_ms;
  if (o->http_idle_ms < least) least = o->http_idle_ms;
  int64_t period = least / 8 > 1000 ? 1000 : least / 8;
  bool scan = now - t->last_scan_ms >= period;
  if (scan) t->last_scan_ms = now;
  if (t->stopping && now >= t->stop_deadline_ms) {
    for (struct lc_conn *c = t->conns; c; c = c->next) conn_end(c);
    return;
  }
  if (!scan && !t->n_deadlines) return;
  for (struct lc_conn *c = t->conns; c; c = c->next) {
    if (c->state == CONN_ENDED) continue;
    if (c->deadline_ms && now >= c->deadline_ms) {
      conn_end(c);
      continue;
    }
    if (!scan) continue;
    if (stalls(c, now)) conn_end(c);
    else if (c->ws) ws_tick(c, now);
    else if (c->http && c->state == CONN_OPEN && !c->http->pending && !c->out_bytes && now - c->http->since_ms > o->http_idle_ms) conn_end(c);
  }
}
