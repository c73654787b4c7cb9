/* Owns: the clock of the databases' schedules: one thread that waits for the earliest of what they have asked for and then has that database run.
 *
 * Invariants: a database is in the heap at most once, without a reference: it is taken out before it is closed (alarms_cancel), and one that
 * is being closed is not woken. Everything is under alarms.lock, which is never held while a database runs. Callers: server.c.
 */
#include "server.h"
#include <time.h>

static bool before(const struct database *a, const struct database *b) { return a->alarm_us < b->alarm_us; }
static void put(struct alarms *a, uint32_t at, struct database *d) {
  a->heap[at] = d;
  d->alarm_at = at + 1;
}
static void sift_up(struct alarms *a, uint32_t at) {
  struct database *d = a->heap[at];
  for (uint32_t parent; at && before(d, a->heap[parent = (at - 1) / 2]); at = parent) put(a, at, a->heap[parent]);
  put(a, at, d);
}
static void sift_down(struct alarms *a, uint32_t at) {
  struct database *d = a->heap[at];
  for (uint32_t child; (child = 2 * at + 1) < a->n; at = child) {
    if (child + 1 < a->n && before(a->heap[child + 1], a->heap[child])) child++;
    if (!before(a->heap[child], d)) break;
    put(a, at, a->heap[child]);
  }
  put(a, at, d);
}
static void take_out(struct alarms *a, struct database *d) {
  if (!d->alarm_at) return;
  uint32_t at = d->alarm_at - 1;
  struct database *last = a->heap[--a->n];
  d->alarm_at = 0;
  if (last == d) return;
  put(a, at, last);
  sift_up(a, at);
  sift_down(a, last->alarm_at - 1);
}

void alarms_set(struct database *d, int64_t at_us) {
  struct alarms *a = &d->server->alarms;
  pthread_mutex_lock(&a->lock);
  take_out(a, d);
  d->alarm_us = at_us;
  if (at_us != INT64_MAX) {
    if (a->n == a->cap) {
      uint32_t cap = a->cap ? a->cap * 2 : 64;
      struct database **heap = lc_realloc(a->heap, cap * sizeof(struct database *));
      if (!heap) lc_panic("out of memory for the alarms of %u databases", cap);
      a->heap = heap;
      a->cap = cap;
    }
    put(a, a->n++, d);
    sift_up(a, a->n - 1);
    if (a->heap[0] == d) pthread_cond_signal(&a->changed);
  }
  pthread_mutex_unlock(&a->lock);
}
void alarms_cancel(struct database *d) { alarms_set(d, INT64_MAX); }

static void *alarms_main(void *arg) {
  struct alarms *a = arg;
  pthread_mutex_lock(&a->lock);
  while (!a->stop) {
    if (a->n == 0) {
      pthread_cond_wait(&a->changed, &a->lock);
      continue;
    }
    struct database *d = a->heap[0];
    if (d->alarm_us > lc_env_system.now_us(NULL)) { /* the condition waits by the same clock, also when that is set */
      struct timespec until = {.tv_sec = d->alarm_us / 1000000, .tv_nsec = d->alarm_us % 1000000 * 1000};
      pthread_cond_timedwait(&a->changed, &a->lock, &until);
      continue;
    }
    take_out(a, d);
    if (!database_ref_unless_closing(d)) continue;
    pthread_mutex_unlock(&a->lock);
    lc_db_alarm(d->db);
    server_wake(d);
    database_unref(d);
    pthread_mutex_lock(&a->lock);
  }
  pthread_mutex_unlock(&a->lock);
  return NULL;
}

bool alarms_start(struct alarms *a) { return a->has_thread = pthread_create(&a->thread, NULL, alarms_main, a) == 0; }
void alarms_stop(struct alarms *a) {
  pthread_mutex_lock(&a->lock);
  a->stop = true;
  pthread_cond_signal(&a->changed);
  pthread_mutex_unlock(&a->lock);
  if (a->has_thread) pthread_join(a->thread, NULL);
  a->has_thread = false;
}
