/* The simulated world of tests/sim: one seed, one run. What is the world's is in disk.c (files), threads.c (threads, locks, time); what plays the module in host.c;
 * what clients do and what is checked in world.c. All state is of the one process and the one run that is on. */
#ifndef LC_SIM_H
#define LC_SIM_H
#include "db/db.h"
#include "world.h"

/* ---- world.c ---- */
uint64_t sim_random(void);            /* all chance comes from here */
static inline uint64_t sim_below(uint64_t n) { return sim_random() % n; }
static inline bool sim_one_in(uint64_t n) { return sim_below(n) == 0; }
void sim_trace(uint64_t what, const void *data, size_t len); /* folds an event into the hash of the run */
_Noreturn void sim_fail(const char *fmt, ...) LC_PRINTF(1, 2); /* the run has found something */
extern bool sim_verbose;
extern uint64_t sim_faults_seen[SIM_N_FAULTS], sim_reached[]; /* of all runs */

/* What a run must come to besides faults. */
#define SIM_REACHED(X) \
  X(SLOW_SYNC, "sync of 10 ms and more") X(SLOW_WRITE, "write of 10 ms and more") X(BACKLOG, "the log is behind, calls wait") X(NO_THREAD, "no thread to be had") \
  X(SWITCHES, "threads switched by chance") X(CONFIRMED, "answers to confirmed clients") X(UNCONFIRMED, "answers to unconfirmed clients") X(ROLLED_BACK, "reducers that fail") \
  X(ANSWER_LOST, "transactions an unconfirmed client was told of and a crash took") X(APPLIED, "subscriptions applied") X(FILTERED, "of them with a condition") X(DROPPED, "subscriptions ended and begun again") \
  X(DELTAS, "rows of deltas folded") X(MIRRORS, "mirrors compared with their queries") X(GENERATED, "numbers of sequences checked") X(ONCE, "scheduled calls, once") \
  X(INTERVAL, "scheduled calls, by interval") X(OVERDUE, "scheduled calls that came due while the database was down") X(SNAPSHOTS, "snapshots published") X(ROTATED, "segments begun after the first") \
  X(COMPRESSED, "segments compressed") X(RETAINED, "segments removed") X(FROM_SNAPSHOT, "recoveries from a snapshot") X(FROM_LOG, "recoveries from the log alone") X(ASIDE, "snapshots set aside") X(JOINED, "logs read by a thread of its own")
enum { SIM_REACHED(SIM_ENUM) SIM_N_REACHED };

/* ---- threads.c: threads are fibers, and which one goes on is chance ---- */
void sim_threads_start(void);         /* the caller becomes the first fiber */
void sim_threads_join(void);          /* until the caller is alone, letting time pass; sim_fail if the others wait for ever */
void sim_yield(void);                 /* perhaps another one goes on */
void sim_sleep_ns(int64_t ns);        /* others go on meanwhile; time passes when all wait */
int64_t sim_now_ns(void);             /* monotonic */
extern bool sim_threads_scarce;       /* sometimes none can be had */

/* ---- disk.c ---- */
enum { SIM_SECTOR_BYTES = 512 };
extern const struct lc_fs sim_fs;
struct sim_faults { uint32_t error_one_in; /* operations that fail; 0: none */ int64_t sync_ns, write_ns; /* at most */ uint64_t crash_after; /* operations; 0: never */ };
void sim_disk_new(void);              /* empty but for the folder /d */
void sim_disk_free(void);
void sim_disk_faults(struct sim_faults f); /* from now on */
bool sim_disk_crashed(void);          /* the power is off: every operation fails, nothing that happens counts */
uint64_t sim_disk_operations(void);
void sim_disk_restart(bool power_cut); /* false: only the process has ended, and the system kept what was written */
bool sim_disk_flip_bit(char *path, size_t path_size, uint64_t *at); /* of a file at rest, by chance; false: there is none */
struct lc_slice sim_disk_newest_segment(char *path, size_t path_size); /* what is in it, and its name; nothing: there is none */
struct sim_image; /* a copy of the whole disk */
struct sim_image *sim_disk_save(void);
void sim_disk_load(struct sim_image *image); /* ends it */

/* ---- host.c: what the module did in the transaction that is open ---- */
struct sim_change { uint32_t table; bool insert; struct lc_buf row; };
struct sim_changes { struct sim_change *list; uint32_t n, cap; };
extern struct sim_changes sim_changes;  /* of the last reducer call that ended well */
void sim_changes_clear(struct sim_changes *c);
bool sim_changes_add(struct sim_changes *c, uint32_t table, bool insert, struct lc_slice row);
/* world.c: what a module would know of its rows. A random one of the table; data NULL: none. Was a value of the sequence given out and committed before? */
void sim_check_generated(uint32_t table, uint64_t value);
/* world.c: a scheduled call of this row of the table, at this time of the wall clock: is it there, is it due? */
void sim_check_tick(uint32_t table, struct lc_slice row, int64_t now_us);

#endif
