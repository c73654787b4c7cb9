/* Owns: sessions (spec/07 §6.2): at most one connection for each database, client identity and session id.
 *
 * A session is held from before its connection is known to the database until the database has heard of its end, so that the next holder's client_connected comes
 * after client_disconnected. Who finds it held is refused and, if the holder was admitted, has it stopped. Any thread; the lock is held for look-ups only.
 * Callers: ws.c.
 */
#include "server.h"

enum { BUCKETS = 1024 }; /* sessions are few and looked up once a connection */

void sessions_init(struct sessions *s) {
  pthread_mutex_init(&s->lock, NULL);
  s->buckets = NULL;
}
void sessions_free(struct sessions *s) {
  pthread_mutex_destroy(&s->lock);
  lc_free(s->buckets);
}

static struct ws_client **bucket(struct sessions *s, const struct ws_client *c) {
  return &s->buckets[lc_hash64(c->session_id, sizeof c->session_id, lc_hash64(&c->base.identity, sizeof c->base.identity, 7)) % BUCKETS];
}
static bool is_same(const struct ws_client *a, const struct ws_client *b) {
  return a->at.database == b->at.database && memcmp(&a->base.identity, &b->base.identity, sizeof a->base.identity) == 0 && memcmp(a->session_id, b->session_id, sizeof a->session_id) == 0;
}

struct stop_task { struct lc_net_task task; struct lc_conn_ref ref; };
static void on_stop(struct lc_net_thread *t, struct lc_net_task *task) {
  struct stop_task *x = (struct stop_task *)task;
  struct lc_conn *c = lc_conn_from_ref(t, x->ref);
  if (c) lc_conn_abort(c);
  lc_free(x);
}

bool sessions_take(struct server *server, struct ws_client *c) {
  struct sessions *s = &server->sessions;
  struct stop_task *stop = NULL;
  pthread_mutex_lock(&s->lock);
  if (!s->buckets) s->buckets = lc_alloc_zero(BUCKETS, sizeof(struct ws_client *));
  struct ws_client *holder = s->buckets ? *bucket(s, c) : NULL;
  while (holder && !is_same(holder, c)) holder = holder->session_next;
  if (holder && atomic_load(&holder->is_admitted) && (stop = lc_alloc_zero(1, sizeof *stop))) {
    stop->task.run = on_stop;
    stop->ref = holder->at.ref;
  }
  if (!holder && s->buckets) {
    c->has_session = true;
    c->session_next = *bucket(s, c);
    *bucket(s, c) = c;
  }
  pthread_mutex_unlock(&s->lock);
  if (stop) lc_net_post(atomic_load(&server->net), stop->ref.thread, &stop->task);
  return c->has_session;
}
void sessions_give(struct server *server, struct ws_client *c) {
  if (!c->has_session) return;
  pthread_mutex_lock(&server->sessions.lock);
  struct ws_client **at = bucket(&server->sessions, c);
  while (*at != c) at = &(*at)->session_next;
  *at = c->session_next;
  pthread_mutex_unlock(&server->sessions.lock);
}
