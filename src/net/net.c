/* Owns: threads, their loops and turns, posted tasks, the listener, the hand-over of loops whose thread is in a slow run, start and stop.
 *
 * A loop belongs to whoever runs thread_main for it. When a run lasts longer than slow_run_ms the monitor takes its token (compare and swap);
 * a fresh OS thread continues the turn and the slow one ends where its run ends. Callers: api/ through net.h.
 */
#include "net_internal.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TICK_MS = 50 };

static _Thread_local struct lc_net_thread *current; /* whose loop this OS thread runs */
static _Thread_local bool lost;                     /* the loop was given away during a run */
static _Thread_local uint64_t running;              /* token of the run this OS thread is in; 0: none */

/* ---- tasks ---- */

/* Whether the caller itself will look at t's queue again. Not so in a run whose loop has been given away. Who takes the loop sees what was
 * posted before, or, if it looked earlier than that, has made its taking visible by the queue's own acquire and release. */
static bool is_mine(struct lc_net_thread *t) { return current == t && (!running || atomic_load_explicit(&t->run_token, memory_order_acquire) == running); }

void lc_net_post(struct lc_net *net, uint32_t thread_index, struct lc_net_task *task) {
  struct lc_net_thread *t = &net->threads[thread_index];
  struct lc_net_task *head = atomic_load_explicit(&t->inbox, memory_order_relaxed);
  do task->next = head;
  while (!atomic_compare_exchange_weak_explicit(&t->inbox, &head, task, memory_order_acq_rel, memory_order_relaxed));
  if (!head && !is_mine(t)) uv_async_send(&t->async);
}

void lc_net_wake(struct lc_net *net, uint32_t thread_index) {
  struct lc_net_thread *t = &net->threads[thread_index];
  if (current == t && !running) t->again = true;
  else uv_async_send(&t->async);
}

static void run_tasks(struct lc_net_thread *t) {
  struct lc_net_task *list = atomic_exchange_explicit(&t->inbox, NULL, memory_order_acq_rel), *ordered = NULL;
  while (list) {
    struct lc_net_task *next = list->next;
    list->next = ordered;
    ordered = list;
    list = next;
  }
  while (ordered) {
    struct lc_net_task *next = ordered->next;
    ordered->run(t, ordered);
    ordered = next;
  }
}

struct lc_net *lc_net_thread_net(const struct lc_net_thread *t) { return t->net; }
uint32_t lc_net_thread_index(const struct lc_net_thread *t) { return t->index; }
uint32_t lc_net_n_threads(const struct lc_net *net) { return net->n_threads; }
void *lc_net_thread_user(const struct lc_net_thread *t) { return t->user; }
void lc_net_thread_set_user(struct lc_net_thread *t, void *user) { t->user = user; }

/* ---- runs ---- */

uint64_t lc_net_run_begin(struct lc_net_thread *t) {
  uint64_t token = running = atomic_load_explicit(&t->last_token, memory_order_relaxed) + 1;
  atomic_store_explicit(&t->last_token, token, memory_order_relaxed);
  atomic_store_explicit(&t->run_token, token, memory_order_seq_cst); /* before the look at monitor_sleeping */
  if (atomic_load_explicit(&t->net->monitor_sleeping, memory_order_seq_cst)) {
    pthread_mutex_lock(&t->net->lock);
    pthread_cond_broadcast(&t->net->changed);
    pthread_mutex_unlock(&t->net->lock);
  }
  return token;
}

bool lc_net_run_end(struct lc_net_thread *t, uint64_t token) {
  running = 0;
  if (atomic_compare_exchange_strong_explicit(&t->run_token, &token, 0, memory_order_acq_rel, memory_order_acquire)) return true;
  lost = true;
  current = NULL;
  return false;
}

/* One turn after I/O. False: the loop is not ours any more. */
static bool turn(struct lc_net_thread *t) {
  const struct lc_net_handler *h = &t->net->o.handler;
  t->again = false;
  conn_resume_listed(t);
  run_tasks(t);
  if (h->on_turn) {
    bool more = h->on_turn(h->ctx, t);
    if (lost) return false;
    t->again |= more;
  }
  run_tasks(t);
  conn_flush_dirty(t);
  conn_bury(t);
  if (t->resume || t->dirty || atomic_load_explicit(&t->inbox, memory_order_relaxed)) t->again = true;
  return true;
}

static void close_handle(uv_handle_t *handle, void *arg) {
  (void)arg;
  if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

static void run_loop(struct lc_net_thread *t) {
  while (!t->finished) {
    uv_run(&t->loop, t->again ? UV_RUN_NOWAIT : UV_RUN_ONCE);
    if (!turn(t)) return;
    if (t->stopping && t->n_conns == 0) t->finished = true;
  }
  const struct lc_net_handler *h = &t->net->o.handler;
  if (h->on_thread_stop) h->on_thread_stop(h->ctx, t);
  current = NULL; /* the loop itself lives until lc_net_free: others may still post */
  struct lc_net *net = t->net;
  pthread_mutex_lock(&net->lock);
  net->live_loops--;
  pthread_cond_broadcast(&net->changed);
  pthread_mutex_unlock(&net->lock);
}

/* OS threads end without being joined; running_os_threads tells lc_net_stop when the last has gone. */
static void os_thread_ends(struct lc_net *net) {
  pthread_mutex_lock(&net->lock);
  atomic_fetch_sub(&net->running_os_threads, 1);
  pthread_cond_broadcast(&net->changed);
  pthread_mutex_unlock(&net->lock);
}

static void take_loop(struct lc_net_thread *t) {
  char name[16];
  snprintf(name, sizeof name, "net-%u", t->index % 1000);
  pthread_setname_np(pthread_self(), name);
  current = t;
  atomic_store(&t->os_thread, (int)gettid());
}

static void *thread_main(void *arg) {
  struct lc_net_thread *t = arg;
  struct lc_net *net = t->net;
  take_loop(t);
  if (net->o.handler.on_thread_start) net->o.handler.on_thread_start(net->o.handler.ctx, t);
  run_loop(t);
  os_thread_ends(net);
  return NULL;
}
static void *takeover_main(void *arg) {
  struct lc_net_thread *t = arg;
  struct lc_net *net = t->net;
  take_loop(t);
  if (turn(t)) run_loop(t);
  os_thread_ends(net);
  return NULL;
}

static bool spawn(struct lc_net *net, void *(*fn)(void *), struct lc_net_thread *t) {
  pthread_attr_t attr;
  pthread_t id;
  pthread_attr_init(&attr);
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attr, 8u << 20);
  atomic_fetch_add(&net->running_os_threads, 1);
  int rc = pthread_create(&id, &attr, fn, t);
  pthread_attr_destroy(&attr);
  if (rc) atomic_fetch_sub(&net->running_os_threads, 1);
  return rc == 0;
}

/* Processor time of one of our threads, through the clock the kernel has for each of them (the number is what pthread_getcpuclockid gives). */
static int64_t thread_cpu_ns(int os_thread) {
  struct timespec ts;
  clockid_t clock = (clockid_t)((~(unsigned)os_thread << 3) | 6u);
  return clock_gettime(clock, &ts) == 0 ? (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec : 0;
}

/* Whether a run has taken too long: slow_run_ms of processor time, or sixteen times that by the clock, for one that blocks. Runs end themselves sooner, save for a
 * single long call; one that merely waits for a processor, as others do, is left alone, for another thread would wait as well. */
static bool is_slow(const struct lc_net_thread *t, int64_t now_ns) {
  int64_t limit_ns = (int64_t)t->net->o.slow_run_ms * 1000000, lasted = now_ns - t->seen.at_ns;
  if (lasted < limit_ns / 2) return false; /* begun up to half a limit before it was seen */
  return lasted >= 16 * limit_ns || thread_cpu_ns(atomic_load(&t->os_thread)) - t->seen.cpu_ns >= limit_ns * 3 / 4;
}

/* Looks at the running runs twice every slow_run_ms while there are any; sleeps when there was none since the last look. */
static void *monitor_main(void *arg) {
  enum { NICE = 5 };
  struct lc_net *net = arg;
  pthread_setname_np(pthread_self(), "net-monitor");
  long pause_ns = (long)net->o.slow_run_ms * 500000;
  for (;;) {
    bool any = false;
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    int64_t now_ns = (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
    for (uint32_t i = 0; i < net->n_threads; i++) {
      struct lc_net_thread *t = &net->threads[i];
      uint64_t token = atomic_load_explicit(&t->run_token, memory_order_acquire), last = atomic_load_explicit(&t->last_token, memory_order_relaxed);
      if (token || last != t->seen.last) any = true;
      t->seen.last = last;
      if (token && token != t->seen.token) {
        t->seen.at_ns = now_ns;
        t->seen.cpu_ns = thread_cpu_ns(atomic_load(&t->os_thread));
      } else if (token && is_slow(t, now_ns)) {
        uint64_t expected = token;
        int os_thread = atomic_load(&t->os_thread);
        if (atomic_compare_exchange_strong_explicit(&t->run_token, &expected, 0, memory_order_acq_rel, memory_order_acquire)) {
          atomic_fetch_add(&net->handed_over, 1);
          setpriority(PRIO_PROCESS, (id_t)os_thread, NICE);   /* it only ends its run: who answers quickly goes first */
          while (!spawn(net, takeover_main, t)) usleep(1000); /* the loop must go on: wait until the system gives us a thread */
        }
        token = 0;
      }
      t->seen.token = token;
    }
    pthread_mutex_lock(&net->lock);
    if (net->monitor_stop) {
      pthread_mutex_unlock(&net->lock);
      return NULL;
    }
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    if (any) {
      until.tv_nsec += pause_ns;
    } else { /* woken by the next run; runs that began before the flag was seen are found by the look below */
      atomic_store_explicit(&net->monitor_sleeping, true, memory_order_seq_cst);
      until.tv_sec += 3600;
      for (uint32_t i = 0; i < net->n_threads; i++)
        if (atomic_load_explicit(&net->threads[i].run_token, memory_order_seq_cst)) until.tv_sec = 0;
    }
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    if (until.tv_sec) pthread_cond_timedwait(&net->changed, &net->lock, &until);
    if (!any) {
      atomic_store_explicit(&net->monitor_sleeping, false, memory_order_seq_cst);
      pthread_mutex_unlock(&net->lock);
      usleep((unsigned)(pause_ns / 1000)); /* one look per period, not one per run */
      continue;
    }
    pthread_mutex_unlock(&net->lock);
  }
}

/* ---- listener ---- */

struct accepted { struct lc_net_task task; int fd; bool is_stream; };
static void on_accepted(struct lc_net_thread *t, struct lc_net_task *task) {
  struct accepted *a = (struct accepted *)task;
  conn_adopt(t, a->fd, a->is_stream);
  lc_free(a);
}

static void on_listener(uv_poll_t *handle, int status, int events) {
  (void)events;
  struct lc_net_thread *t = handle->data;
  struct lc_net *net = t->net;
  bool is_stream = handle == &t->stream_listener;
  if (status < 0) return;
  for (int i = 0; i < 256; i++) {
    int fd = accept4(is_stream ? net->stream_fd : net->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) return;
      lc_log(LC_LOG_WARN, "cannot accept a connection: %s; trying again in %d ms", strerror(errno), TICK_MS);
      uv_poll_stop(handle); /* it stays readable: without a pause the loop would spin */
      t->accept_paused = true;
      return;
    }
    if (atomic_load(&net->n_connections) >= net->o.max_connections) {
      close(fd);
      continue;
    }
    atomic_fetch_add(&net->n_connections, 1);
    struct lc_net_thread *to = &net->threads[net->next_thread++ % net->n_threads];
    if (to == t) {
      conn_adopt(t, fd, is_stream);
      continue;
    }
    struct accepted *a = lc_alloc_zero(1, sizeof *a);
    if (!a) {
      close(fd);
      atomic_fetch_sub(&net->n_connections, 1);
      continue;
    }
    a->task.run = on_accepted;
    a->fd = fd;
    a->is_stream = is_stream;
    lc_net_post(net, to->index, &a->task);
  }
}

static enum lc_status bind_listener(const char *text, int *listen_fd, uint16_t *port, struct lc_error *err) {
  const char *colon = strrchr(text, ':');
  if (!colon || colon == text || !colon[1]) return lc_fail(err, LC_INVALID, "%s is not a listen address: HOST:PORT is wanted", text);
  char host[256];
  size_t host_len = (size_t)(colon - text);
  const char *start = text;
  if (*text == '[' && colon[-1] == ']') start++, host_len -= 2;
  if (host_len == 0 || host_len >= sizeof host) return lc_fail(err, LC_INVALID, "%s is not a listen address: HOST:PORT is wanted", text);
  memcpy(host, start, host_len);
  host[host_len] = 0;
  struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
  int rc = getaddrinfo(host, colon + 1, &hints, &found);
  if (rc) return lc_fail(err, LC_INVALID, "cannot resolve the listen address %s: %s", text, gai_strerror(rc));
  int last = 0;
  for (struct addrinfo *a = found; a && *listen_fd < 0; a = a->ai_next) {
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0) {
      last = errno;
      continue;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, 1024) == 0) {
      *listen_fd = fd;
    } else {
      last = errno;
      close(fd);
    }
  }
  freeaddrinfo(found);
  if (*listen_fd < 0) return lc_fail(err, LC_IO, "cannot listen on %s: %s", text, strerror(last));
  struct sockaddr_storage address;
  socklen_t len = sizeof address;
  getsockname(*listen_fd, (struct sockaddr *)&address, &len);
  *port = ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port : ((struct sockaddr_in *)&address)->sin_port);
  return LC_OK;
}

/* ---- start and stop ---- */

static void on_async(uv_async_t *a) { (void)a; /* the turn does the work */ }
static void on_tick(uv_timer_t *timer) {
  struct lc_net_thread *t = timer->data;
  conn_tick(t);
  if (!t->accept_paused || t->stopping) return;
  t->accept_paused = false;
  uv_poll_start(&t->listener, UV_READABLE, on_listener);
  if (t->net->stream_fd >= 0) uv_poll_start(&t->stream_listener, UV_READABLE, on_listener);
}

static bool thread_init(struct lc_net *net, struct lc_net_thread *t, uint32_t index) {
  t->net = net;
  t->index = index;
  t->read_buffer = lc_alloc(READ_BUFFER_BYTES);
  if (!t->read_buffer || uv_loop_init(&t->loop)) return false;
  uv_async_init(&t->loop, &t->async, on_async);
  uv_timer_init(&t->loop, &t->tick);
  t->tick.data = t;
  uv_timer_start(&t->tick, on_tick, TICK_MS, TICK_MS);
  if (index == 0) {
    uv_poll_init_socket(&t->loop, &t->listener, net->listen_fd);
    t->listener.data = t;
    uv_poll_start(&t->listener, UV_READABLE, on_listener);
  }
  if (index == 0 && net->stream_fd >= 0) {
    uv_poll_init_socket(&t->loop, &t->stream_listener, net->stream_fd);
    t->stream_listener.data = t;
    uv_poll_start(&t->stream_listener, UV_READABLE, on_listener);
  }
  return true;
}

#define DEFAULT(field, value) do if (!net->o.field) net->o.field = (value); while (0)
enum lc_status lc_net_start(const struct lc_net_options *o, struct lc_net **out, struct lc_error *err) {
  *out = NULL;
  struct lc_net *net = lc_alloc_zero(1, sizeof *net);
  if (!net) return lc_fail(err, LC_NOMEM, "out of memory");
  net->o = *o;
  long processors = sysconf(_SC_NPROCESSORS_ONLN);
  DEFAULT(n_threads, processors < 1 ? 1 : processors > 8 ? 8 : (uint32_t)processors);
  if (net->o.n_threads > LC_NET_MAX_THREADS) net->o.n_threads = LC_NET_MAX_THREADS;
  DEFAULT(max_body_bytes, (size_t)64 << 20);
  DEFAULT(max_message_bytes, (size_t)32 << 20);
  DEFAULT(max_backlog_bytes, (size_t)64 << 20);
  DEFAULT(max_backlog_messages, 16384);
  DEFAULT(ping_interval_ms, 15000);
  DEFAULT(idle_timeout_ms, 30000);
  DEFAULT(close_handshake_ms, 250);
  DEFAULT(http_idle_ms, 120000);
  DEFAULT(stop_grace_ms, 1000);
  DEFAULT(slow_run_ms, 4);
  DEFAULT(max_connections, 100000);
  DEFAULT(stop_reason, "");
  DEFAULT(stream_startup_ms, 60000);
  net->listen_fd = net->stream_fd = -1;
  net->n_threads = net->o.n_threads;
  net->listen = lc_strdup_n(o->listen, strlen(o->listen));
  net->o.listen = net->listen;
  net->threads = lc_alloc_zero(net->n_threads, sizeof *net->threads);
  pthread_mutex_init(&net->lock, NULL);
  pthread_condattr_t attr;
  pthread_condattr_init(&attr);
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
  pthread_cond_init(&net->changed, &attr);
  pthread_condattr_destroy(&attr);
  enum lc_status s = !net->listen || !net->threads ? lc_fail(err, LC_NOMEM, "out of memory") : LC_OK;
  if (s == LC_OK && o->tls_cert) s = tls_server_new(o->tls_cert, o->tls_key, &net->tls, err);
  uint16_t stream_port;
  if (s == LC_OK) s = bind_listener(net->listen, &net->listen_fd, &net->port, err);
  if (s == LC_OK && o->listen_streams) s = bind_listener(o->listen_streams, &net->stream_fd, &stream_port, err);
  if (s) {
    lc_net_free(net);
    return s;
  }
  for (uint32_t i = 0; i < net->n_threads; i++)
    if (!thread_init(net, &net->threads[i], i)) lc_panic("cannot make an event loop"); /* at start only */
  *out = net; /* before the first callback */
  for (uint32_t i = 0; i < net->n_threads; i++) {
    net->live_loops++;
    if (!spawn(net, thread_main, &net->threads[i])) lc_panic("cannot start a network thread: %s", strerror(errno));
  }
  net->monitor_started = pthread_create(&net->monitor, NULL, monitor_main, net) == 0;
  return LC_OK;
}

uint16_t lc_net_port(const struct lc_net *net) { return net->port; }

struct stop_task { struct lc_net_task task; };
static void on_stop(struct lc_net_thread *t, struct lc_net_task *task) {
  lc_free(task);
  t->stopping = true;
  uv_update_time(&t->loop);
  t->stop_deadline_ms = now_ms(t) + t->net->o.stop_grace_ms;
  if (t->index == 0) uv_close((uv_handle_t *)&t->listener, NULL);
  if (t->index == 0 && t->net->stream_fd >= 0) uv_close((uv_handle_t *)&t->stream_listener, NULL);
  for (struct lc_conn *c = t->conns; c; c = c->next) {
    if (c->ws) ws_shut(c);
    else if (c->is_stream && c->paused) continue; /* its answer may come before the end */
    else if (c->is_stream) conn_finish(c, 0);
    else if (c->http->pending) c->http->keep_alive = false;
    else if (c->out_bytes) conn_finish(c, 0);
    else conn_end(c);
  }
}

void lc_net_stop(struct lc_net *net) {
  for (uint32_t i = 0; i < net->n_threads; i++) {
    struct lc_net_task *task = lc_alloc_zero(1, sizeof *task);
    if (!task) lc_panic("out of memory while stopping");
    task->run = on_stop;
    lc_net_post(net, i, task);
  }
  pthread_mutex_lock(&net->lock);
  while (net->live_loops) pthread_cond_wait(&net->changed, &net->lock);
  net->monitor_stop = true;
  pthread_cond_broadcast(&net->changed);
  pthread_mutex_unlock(&net->lock);
  if (net->monitor_started) pthread_join(net->monitor, NULL);
  net->monitor_started = false;
  pthread_mutex_lock(&net->lock);
  while (atomic_load(&net->running_os_threads)) pthread_cond_wait(&net->changed, &net->lock); /* slow runs end */
  pthread_mutex_unlock(&net->lock);
}

void lc_net_run_rest(struct lc_net *net) {
  for (uint32_t i = 0; i < net->n_threads; i++)
    while (atomic_load_explicit(&net->threads[i].inbox, memory_order_relaxed)) run_tasks(&net->threads[i]);
}

void lc_net_free(struct lc_net *net) {
  if (!net) return;
  if (net->listen_fd >= 0) close(net->listen_fd);
  if (net->stream_fd >= 0) close(net->stream_fd);
  for (uint32_t i = 0; net->threads && i < net->n_threads; i++) {
    if (net->threads[i].read_buffer) {
      uv_walk(&net->threads[i].loop, close_handle, NULL);
      uv_run(&net->threads[i].loop, UV_RUN_DEFAULT);
      uv_loop_close(&net->threads[i].loop);
    }
    conn_free_chunks(&net->threads[i]);
    lc_free(net->threads[i].read_buffer);
    lc_free(net->threads[i].slots);
  }
  lc_free(net->threads);
  tls_server_free(net->tls);
  lc_free(net->listen);
  pthread_mutex_destroy(&net->lock);
  pthread_cond_destroy(&net->changed);
  lc_free(net);
}

void lc_net_stats_get(const struct lc_net *net, struct lc_net_stats *out) {
  memset(out, 0, sizeof *out);
  for (uint32_t i = 0; i < net->n_threads; i++) {
    const struct lc_net_thread *t = &net->threads[i];
    out->accepted += atomic_load_explicit(&t->accepted, memory_order_relaxed);
    out->requests += atomic_load_explicit(&t->requests, memory_order_relaxed);
    out->messages_in += atomic_load_explicit(&t->messages_in, memory_order_relaxed);
    out->messages_out += atomic_load_explicit(&t->messages_out, memory_order_relaxed);
    out->bytes_in += atomic_load_explicit(&t->bytes_in, memory_order_relaxed);
    out->bytes_out += atomic_load_explicit(&t->bytes_out, memory_order_relaxed);
  }
  out->connections = atomic_load(&net->n_connections);
  out->handed_over = atomic_load(&net->handed_over);
}
