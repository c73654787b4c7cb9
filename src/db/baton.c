/* Owns: the baton, the right to touch what is mutable in a database (DESIGN idea 3). Network threads only try for it, and go on when it is taken, since
 * its holder looks at the inbox after letting go. Threads of procedures block for it, and get it left to them.
 *
 * Invariants: baton_held is true from the moment somebody has it until it is free, also while it passes from one to the next; who lets go of it with
 * waiters present either leaves it to one of them or has seen that a third one took it, who then does the same.
 */
#include "db_internal.h"
#include <errno.h>
#include <time.h>

void db_baton_init(struct lc_db *db) {
  pthread_mutex_init(&db->baton_mutex, NULL);
  pthread_condattr_t attr;
  pthread_condattr_init(&attr);
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
  pthread_cond_init(&db->baton_cond, &attr);
  pthread_condattr_destroy(&attr);
}
void db_baton_destroy(struct lc_db *db) {
  pthread_mutex_destroy(&db->baton_mutex);
  pthread_cond_destroy(&db->baton_cond);
}

bool db_baton_try(struct lc_db *db) { return !atomic_exchange_explicit(&db->baton_held, true, memory_order_seq_cst); }
bool db_baton_wanted(struct lc_db *db) { return atomic_load_explicit(&db->baton_waiters, memory_order_relaxed) > 0; }

static bool take(struct lc_db *db, const struct timespec *until) {
  if (db_baton_try(db)) return true;
  pthread_mutex_lock(&db->baton_mutex);
  atomic_fetch_add(&db->baton_waiters, 1); /* before the last try: who lets go after it sees us */
  bool taken = db_baton_try(db);
  if (!taken) {
    int rc = 0;
    while (!db->baton_granted && rc != ETIMEDOUT) rc = until ? pthread_cond_timedwait(&db->baton_cond, &db->baton_mutex, until) : pthread_cond_wait(&db->baton_cond, &db->baton_mutex);
    taken = db->baton_granted;
    if (taken) db->baton_granted = false;
  }
  atomic_fetch_sub(&db->baton_waiters, 1);
  pthread_mutex_unlock(&db->baton_mutex);
  return taken;
}
void db_baton_take(struct lc_db *db) { take(db, NULL); }
bool db_baton_take_until(struct lc_db *db, int64_t until_ns) { return take(db, &(struct timespec){.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000}); }

void db_baton_give(struct lc_db *db) {
  atomic_store_explicit(&db->has_todo, db->todo != NULL, memory_order_relaxed);
  for (;;) {
    if (atomic_load(&db->baton_waiters) == 0) {
      atomic_store_explicit(&db->baton_held, false, memory_order_seq_cst);
      if (atomic_load(&db->baton_waiters) == 0 || !db_baton_try(db)) return;
    }
    pthread_mutex_lock(&db->baton_mutex);
    bool left = atomic_load(&db->baton_waiters) > 0; /* they count up and down under the lock, so this one waits */
    if (left) {
      db->baton_granted = true;
      pthread_cond_signal(&db->baton_cond);
    }
    pthread_mutex_unlock(&db->baton_mutex);
    if (left) return;
  }
}

void db_baton_leave(struct lc_db *db) {
  db_drain(db); /* whoever holds it runs what arrived */
  db_baton_give(db);
  if (lc_db_waits(db) && db->is_open) db->options.callbacks.wake(db->options.callbacks.ctx, db);
}
