/* Owns: the threads that run slow databases. A database one of whose runs has cost a network thread its loop is slow: until it has run quickly for a
 * while it is not run on network threads any more, so that it costs the connections there one delay and not one a call.
 *
 * Invariants: a database is in the queue at most once, with a reference; whoever queues it has made its work visible before, so that the runner
 * that takes it or the holder of its baton sees that work. Runners have a lower priority than network threads: who computes for long
 * yields to who answers quickly. Callers: server.c.
 */
#include "server.h"
#include <errno.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { MAX_RUNNERS = 256, RUNNER_IDLE_S = 5, QUICK_RUN_NS = 3000000, QUICK_RUNS = 64, RUNNER_NICE = 5 };

/* The next database that waits, with the queue's reference; NULL: this runner is not needed any more. Lock held. */
static struct database *next_database(struct runners *r) {
  while (!r->first && !r->stop) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += RUNNER_IDLE_S;
    r->n_idle++;
    int rc = pthread_cond_timedwait(&r->work, &r->lock, &until);
    r->n_idle--;
    if (rc == ETIMEDOUT && !r->first) return NULL;
  }
  struct database *d = r->first;
  if (!d) return NULL;
  r->first = d->run_next;
  r->n_queued--;
  d->is_queued = false;
  return d;
}

/* A run of many short calls ends itself after two milliseconds (db/); what takes more of a processor than QUICK_RUN_NS is one long call. */
static int64_t thread_cpu_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void *runner_main(void *arg) {
  struct server *s = arg;
  struct runners *r = &s->runners;
  pthread_setname_np(pthread_self(), "runner");
  if (setpriority(PRIO_PROCESS, (id_t)gettid(), RUNNER_NICE) != 0) lc_log(LC_LOG_DEBUG, "a runner keeps its priority");
  pthread_mutex_lock(&r->lock);
  for (struct database *d; (d = next_database(r));) {
    pthread_mutex_unlock(&r->lock);
    int64_t start = thread_cpu_ns();
    bool ran = lc_db_run(d->db);
    if (thread_cpu_ns() - start > QUICK_RUN_NS) atomic_store(&d->quick_runs, 0);
    else if (ran && atomic_fetch_add(&d->quick_runs, 1) >= QUICK_RUNS) atomic_store(&d->slow, false);
    database_unref(d);
    pthread_mutex_lock(&r->lock);
  }
  r->n_threads--;
  pthread_cond_broadcast(&r->work);
  pthread_mutex_unlock(&r->lock);
  return NULL;
}

static bool add_runner(struct server *s) {
  pthread_attr_t attr;
  pthread_t id;
  pthread_attr_init(&attr);
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attr, 8u << 20);
  bool ok = pthread_create(&id, &attr, runner_main, s) == 0;
  pthread_attr_destroy(&attr);
  if (ok) s->runners.n_threads++;
  return ok;
}

bool runner_queue(struct server *s, struct database *d) {
  struct runners *r = &s->runners;
  if (!lc_db_waits(d->db)) return true; /* nothing to do, or its runner will look again */
  pthread_mutex_lock(&r->lock);
  bool ok = !r->stop && (r->n_threads || add_runner(s));
  if (ok && !d->is_queued) {
    d->is_queued = true;
    d->run_next = NULL;
    database_ref(d);
    if (r->first) r->last->run_next = d;
    else r->first = d;
    r->last = d;
    r->n_queued++;
    if (r->n_idle >= r->n_queued) pthread_cond_signal(&r->work);
    else if (r->n_threads < MAX_RUNNERS) add_runner(s); /* without another one it waits for those there are */
  }
  pthread_mutex_unlock(&r->lock);
  return ok;
}

void runners_stop(struct server *s) {
  struct runners *r = &s->runners;
  pthread_mutex_lock(&r->lock);
  r->stop = true;
  pthread_cond_broadcast(&r->work);
  while (r->n_threads) pthread_cond_wait(&r->work, &r->lock); /* what is queued runs first */
  pthread_mutex_unlock(&r->lock);
}
