/* A disk in memory behind struct lc_fs: what is written is volatile until synced, names are volatile until their folder is synced, and a crash keeps, loses, tears
 * and reorders what was not. Everything follows from a seed. One thread. */
#ifndef SIM_DISK_H
#define SIM_DISK_H
#include "../sim/world.h"
#include "wal/wal.h"

struct sim_random { uint64_t state; };
uint64_t sim_next(struct sim_random *r);
uint32_t sim_dice(struct sim_random *r, uint32_t sides);     /* 0 ... sides - 1 */
bool sim_chance(struct sim_random *r, uint32_t per_mille);

enum { SIM_SECTOR_BYTES = 512 };
struct sim_disk;
struct sim_disk *sim_disk_new(struct sim_random *random);
void sim_disk_free(struct sim_disk *d);
const struct lc_fs *sim_disk_fs(struct sim_disk *d);
/* From now on: each call fails with this chance, with EIO or ENOSPC; a failed write may have written some of it, a failed sync forgets that anything was to be written,
 * and the cache drops it or not. */
void sim_disk_faults(struct sim_disk *d, uint32_t per_mille);
void sim_disk_crash_after(struct sim_disk *d, uint64_t calls); /* the machine stops in that call: it and all later ones fail; UINT64_MAX: never */
bool sim_disk_is_down(const struct sim_disk *d);
bool sim_disk_has_failed(const struct sim_disk *d);            /* a fault was injected since it was last up */
void sim_disk_power_cycle(struct sim_disk *d);                 /* what a crash leaves; all handles are gone */
void sim_disk_reopen(struct sim_disk *d);                      /* only the process has ended: all handles and locks are gone, nothing is lost */
/* Flips a bit of a durable file whose name holds `part`; the name of the file and where, or NULL if there is none. */
const char *sim_disk_flip(struct sim_disk *d, const char *part, uint64_t *at);
struct lc_slice sim_disk_newest_segment(const struct sim_disk *d, const char **path); /* what is in it, and its name; NULL: there is none */
extern uint64_t sim_faults_seen[SIM_N_FAULTS]; /* of all runs */
uint64_t sim_disk_calls(const struct sim_disk *d);             /* so far */
uint64_t sim_disk_hash(const struct sim_disk *d);              /* of all that it holds */
#endif
