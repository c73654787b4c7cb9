/* Threads, locks, conditions and clocks of the code under test, put in place of libc's by the linker (--wrap). A thread is a fiber on a stack of its own; it goes on
 * until it waits or until chance at a yield takes another one; time passes only when all wait. So a run depends on nothing but its seed.
 *
 * A wrapped mutex keeps its owner where the real one keeps its state (zero: free, as the static initializer has it); a condition keeps nothing. */
#include "sim.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#else /* without it nobody needs to be told */
#define __sanitizer_start_switch_fiber(fake, bottom, size) ((void)(fake), (void)(bottom), (void)(size))
#define __sanitizer_finish_switch_fiber(fake, bottom, size) ((void)(fake), (void)(bottom), (void)(size))
#endif

enum { MAX_FIBERS = 64, STACK_BYTES = 1 << 20 };
enum fiber_state { FREE, RUNS, WAITS };
struct fiber {
  enum fiber_state state;
  ucontext_t context;
  void *stack, *fake_stack;
  void *(*entry)(void *);
  void *arg;
  const void *waits_for;   /* mutex or condition */
  int64_t deadline_ns;     /* INT64_MAX: none */
  unsigned uses;           /* of this place: which thread it is */
  bool timed_out;
};
static struct fiber fibers[MAX_FIBERS];
static int current;
static int64_t now_ns;
static const void *main_stack;
static size_t main_stack_size;
bool sim_threads_scarce;
int64_t sim_now_ns(void) { return now_ns; }

static void after_switch(int from) {
  const void *bottom = NULL;
  size_t size = 0;
  __sanitizer_finish_switch_fiber(fibers[current].fake_stack, &bottom, &size);
  if (from == 0 && !main_stack) main_stack = bottom, main_stack_size = size;
}
static int switched_from;
static void switch_to(int to, bool ends) {
  int from = current;
  if (to == from) return;
  switched_from = from;
  current = to;
  __sanitizer_start_switch_fiber(ends ? NULL : &fibers[from].fake_stack, to ? fibers[to].stack : main_stack, to ? STACK_BYTES : main_stack_size);
  swapcontext(&fibers[from].context, &fibers[to].context);
  after_switch(switched_from);
}

/* Somebody who can go on, by chance; lets time pass if nobody can. */
static int choose(void) {
  for (;;) {
    int ready[MAX_FIBERS], n = 0;
    int64_t next = INT64_MAX;
    for (int i = 0; i < MAX_FIBERS; i++) {
      if (fibers[i].state == RUNS) ready[n++] = i;
      if (fibers[i].state == WAITS && fibers[i].deadline_ns < next) next = fibers[i].deadline_ns;
    }
    if (n) return ready[n == 1 ? 0 : sim_below((uint64_t)n)];
    if (next == INT64_MAX) sim_fail("all threads wait for ever");
    if (next > now_ns) now_ns = next;
    for (int i = 0; i < MAX_FIBERS; i++)
      if (fibers[i].state == WAITS && fibers[i].deadline_ns <= now_ns) fibers[i].state = RUNS, fibers[i].timed_out = true;
  }
}
static bool wait_for(const void *what, int64_t deadline_ns) { /* false: timed out */
  struct fiber *f = &fibers[current];
  f->state = WAITS;
  f->waits_for = what;
  f->deadline_ns = deadline_ns;
  f->timed_out = false;
  switch_to(choose(), false);
  f->waits_for = NULL;
  return !f->timed_out;
}
static void wake(const void *what, bool all) {
  int found[MAX_FIBERS], n = 0;
  for (int i = 0; i < MAX_FIBERS; i++)
    if (fibers[i].state == WAITS && fibers[i].waits_for == what) found[n++] = i;
  if (n && !all) fibers[found[sim_below((uint64_t)n)]].state = RUNS;
  for (int i = 0; all && i < n; i++) fibers[found[i]].state = RUNS;
}

void sim_threads_start(void) {
  now_ns = 0;
  current = 0;
  fibers[0].state = RUNS;
}
void sim_yield(void) {
  now_ns += 200;
  if (!sim_one_in(2)) return;
  int to = choose();
  sim_reached[SIM_SWITCHES] += to != current;
  switch_to(to, false);
}
void sim_sleep_ns(int64_t ns) { wait_for(NULL, now_ns + ns); }
void sim_threads_join(void) {
  for (int rounds = 0;; rounds++) {
    int others = 0;
    for (int i = 1; i < MAX_FIBERS; i++) others += fibers[i].state != FREE;
    if (!others) return;
    if (rounds > 1000) sim_fail("threads do not end");
    sim_sleep_ns(1000000000);
  }
}

static void run_fiber(void) {
  after_switch(switched_from);
  fibers[current].entry(fibers[current].arg);
  fibers[current].state = FREE; /* its stack stays for the next one */
  wake(&fibers[current], true);
  switch_to(choose(), true);
  abort();
}

/* ---- in libc's place ---- */

struct mutex { int owner; /* fiber + 1 */ };
#define MUTEX(m) ((struct mutex *)(void *)(m))
int __wrap_pthread_mutex_init(pthread_mutex_t *m, const void *attr) { (void)attr; MUTEX(m)->owner = 0; return 0; }
int __wrap_pthread_mutex_destroy(pthread_mutex_t *m) {
  if (MUTEX(m)->owner) sim_fail("a locked mutex is destroyed");
  return 0;
}
int __wrap_pthread_mutex_lock(pthread_mutex_t *m) {
  sim_yield();
  if (MUTEX(m)->owner == current + 1) sim_fail("a thread waits for its own lock");
  while (MUTEX(m)->owner) wait_for(m, INT64_MAX);
  MUTEX(m)->owner = current + 1;
  return 0;
}
int __wrap_pthread_mutex_unlock(pthread_mutex_t *m) {
  if (MUTEX(m)->owner != current + 1) sim_fail("a mutex is unlocked by another thread");
  MUTEX(m)->owner = 0;
  wake(m, true);
  return 0;
}
int __wrap_pthread_cond_init(pthread_cond_t *c, const void *attr) { (void)c; (void)attr; return 0; }
int __wrap_pthread_cond_destroy(pthread_cond_t *c) {
  for (int i = 0; i < MAX_FIBERS; i++)
    if (fibers[i].state == WAITS && fibers[i].waits_for == c) sim_fail("a condition that is waited for is destroyed");
  return 0;
}
static int cond_wait(pthread_cond_t *c, pthread_mutex_t *m, int64_t deadline_ns) {
  __wrap_pthread_mutex_unlock(m);
  bool ok = wait_for(c, deadline_ns);
  while (MUTEX(m)->owner) wait_for(m, INT64_MAX);
  MUTEX(m)->owner = current + 1;
  return ok ? 0 : ETIMEDOUT;
}
int __wrap_pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m) { return cond_wait(c, m, INT64_MAX); }
int __wrap_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until) {
  return cond_wait(c, m, (int64_t)until->tv_sec * 1000000000 + until->tv_nsec);
}
int __wrap_pthread_cond_signal(pthread_cond_t *c) { wake(c, false); return 0; }
int __wrap_pthread_cond_broadcast(pthread_cond_t *c) { wake(c, true); return 0; }
int __wrap_clock_gettime(clockid_t id, struct timespec *ts) {
  (void)id;
  *ts = (struct timespec){.tv_sec = now_ns / 1000000000, .tv_nsec = now_ns % 1000000000};
  return 0;
}
int __wrap_setpriority(int which, unsigned who, int priority) { (void)which; (void)who; (void)priority; return 0; }
int __wrap_pthread_create(pthread_t *id, const pthread_attr_t *attr, void *(*entry)(void *), void *arg) {
  (void)attr;
  int i = 1;
  while (i < MAX_FIBERS && fibers[i].state != FREE) i++;
  if (i == MAX_FIBERS || (sim_threads_scarce && sim_one_in(50))) { /* a system may have no more threads */
    sim_reached[SIM_NO_THREAD]++;
    return EAGAIN;
  }
  struct fiber *f = &fibers[i];
  if (!f->stack) f->stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (f->stack == MAP_FAILED) abort();
  void *stack = f->stack;
  unsigned uses = f->uses + 1;
  *f = (struct fiber){.state = RUNS, .uses = uses, .stack = stack, .entry = entry, .arg = arg, .deadline_ns = INT64_MAX};
  getcontext(&f->context);
  f->context.uc_stack.ss_sp = stack;
  f->context.uc_stack.ss_size = STACK_BYTES;
  makecontext(&f->context, run_fiber, 0);
  *id = (pthread_t)uses * MAX_FIBERS + (pthread_t)i;
  return 0;
}
int __wrap_pthread_join(pthread_t id, void **result) {
  const struct fiber *f = &fibers[id % MAX_FIBERS];
  sim_reached[SIM_JOINED]++; /* nothing else in the simulated folders is waited for so */
  while (f->state != FREE && f->uses == id / MAX_FIBERS) wait_for(f, INT64_MAX);
  if (result) *result = NULL; /* nobody asks for it */
  return 0;
}
