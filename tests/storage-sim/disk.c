#include "disk.h"
#include <errno.h>

uint64_t sim_next(struct sim_random *r) {
  uint64_t z = r->state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}
uint32_t sim_dice(struct sim_random *r, uint32_t sides) { return (uint32_t)(sim_next(r) % sides); }
bool sim_chance(struct sim_random *r, uint32_t per_mille) { return sim_next(r) % 1000 < per_mille; }

enum { MAX_FILES = 512, MAX_HANDLES = 64, MAX_NAMES = 512, NAME_BYTES = 128, FIRST_HANDLE = 100 };
/* Since the last sync, in order: a write of bytes (len > 0), or a change of the size (len 0). */
struct pending { uint64_t at, len; uint8_t *bytes; };
struct file {
  uint8_t *now, *durable; uint64_t now_size, now_cap, durable_size;
  struct pending *pending; uint32_t n_pending, cap_pending;
  bool is_folder, in_use;
};
struct name { char path[NAME_BYTES]; int32_t file; };
/* Not yet durable changes of names: file -1 removes. A rename is one change with two names. */
struct name_change { char path[NAME_BYTES]; int32_t file; char old[NAME_BYTES]; };
struct sim_disk {
  struct lc_fs fs;
  struct sim_random *random;
  struct file files[MAX_FILES];
  struct name now[MAX_NAMES], durable[MAX_NAMES]; uint32_t n_now, n_durable;
  struct name_change changes[MAX_NAMES]; uint32_t n_changes;
  struct { int32_t file; bool in_use; char lock[NAME_BYTES]; } handles[MAX_HANDLES];
  uint32_t fault_per_mille;
  uint64_t calls, crash_at;
  bool is_down, has_failed;
};

/* ---- names ---- */

static int32_t find(const struct name *names, uint32_t n, const char *path) {
  for (uint32_t i = 0; i < n; i++)
    if (strcmp(names[i].path, path) == 0) return (int32_t)i;
  return -1;
}
static void set_name(struct name *names, uint32_t *n, const char *path, int32_t file) {
  int32_t i = find(names, *n, path);
  if (file < 0) {
    if (i >= 0) names[i] = names[--*n];
    return;
  }
  if (i < 0) {
    lc_assert(*n < MAX_NAMES && strlen(path) < NAME_BYTES);
    i = (int32_t)(*n)++;
    strcpy(names[i].path, path);
  }
  names[i].file = file;
}
static void note_change(struct sim_disk *d, const char *path, int32_t file, const char *old) {
  lc_assert(d->n_changes < MAX_NAMES);
  struct name_change *c = &d->changes[d->n_changes++];
  c->file = file;
  strcpy(c->path, path);
  strcpy(c->old, old ? old : "");
}
static bool is_in(const char *path, const char *folder) {
  size_t n = strlen(folder);
  return strncmp(path, folder, n) == 0 && path[n] == '/' && !strchr(path + n + 1, '/');
}
static void apply(struct sim_disk *d, const struct name_change *c) {
  set_name(d->durable, &d->n_durable, c->path, c->file);
  if (*c->old) set_name(d->durable, &d->n_durable, c->old, -1);
}
static void clear_file(struct file *f) {
  for (uint32_t i = 0; i < f->n_pending; i++) lc_free(f->pending[i].bytes);
  lc_free(f->pending);
  lc_free(f->now);
  lc_free(f->durable);
  *f = (struct file){0};
}
/* Files that no name and no handle leads to. */
static void collect(struct sim_disk *d) {
  for (int32_t i = 0; i < MAX_FILES; i++) {
    bool used = false;
    if (!d->files[i].in_use) continue;
    for (uint32_t k = 0; k < d->n_now && !used; k++) used = d->now[k].file == i;
    for (uint32_t k = 0; k < d->n_durable && !used; k++) used = d->durable[k].file == i;
    for (uint32_t k = 0; k < d->n_changes && !used; k++) used = d->changes[k].file == i;
    for (uint32_t k = 0; k < MAX_HANDLES && !used; k++) used = d->handles[k].in_use && d->handles[k].file == i;
    if (!used) clear_file(&d->files[i]);
  }
}
static int32_t new_file(struct sim_disk *d, bool folder) {
  collect(d);
  for (int32_t i = 0; i < MAX_FILES; i++)
    if (!d->files[i].in_use) {
      d->files[i] = (struct file){.in_use = true, .is_folder = folder};
      return i;
    }
  lc_panic("the simulated disk has too many files");
}

/* ---- calls ---- */

/* What becomes of this call: 0, or the error that it ends with. */
static int begin(struct sim_disk *d, enum sim_operation what) {
  if (d->is_down) return -EIO;
  if (d->calls++ >= d->crash_at) {
    d->is_down = true;
    sim_faults_seen[SIM_POWER_CUT(what)]++;
    return -EIO;
  }
  if (!d->fault_per_mille || !sim_chance(d->random, d->fault_per_mille)) return 0;
  d->has_failed = true;
  bool full = sim_chance(d->random, 500);
  sim_faults_seen[full ? SIM_ENOSPC(what) : SIM_EIO(what)]++;
  return full ? -ENOSPC : -EIO;
}
static int new_handle(struct sim_disk *d, int32_t file) {
  for (int i = 0; i < MAX_HANDLES; i++)
    if (!d->handles[i].in_use) {
      d->handles[i].in_use = true;
      d->handles[i].file = file;
      d->handles[i].lock[0] = 0;
      return i + FIRST_HANDLE;
    }
  lc_panic("the simulated disk has too many open files: one is not closed");
}
static struct file *file_of(struct sim_disk *d, int handle) {
  lc_assert(handle >= FIRST_HANDLE && handle < FIRST_HANDLE + MAX_HANDLES && d->handles[handle - FIRST_HANDLE].in_use);
  return &d->files[d->handles[handle - FIRST_HANDLE].file];
}

static int s_make_dir(void *ctx, const char *path) {
  struct sim_disk *d = ctx;
  int rc = begin(d, SIM_MAKE_DIR);
  if (rc != 0 || find(d->now, d->n_now, path) >= 0) return rc;
  int32_t f = new_file(d, true);
  set_name(d->now, &d->n_now, path, f);
  note_change(d, path, f, NULL);
  return 0;
}
static int s_list(void *ctx, const char *dir, void (*fn)(void *arg, const char *name), void *arg) {
  struct sim_disk *d = ctx;
  int rc = begin(d, SIM_LIST);
  if (rc != 0) return rc;
  if (find(d->now, d->n_now, dir) < 0) return -ENOENT;
  for (uint32_t i = 0; i < d->n_now; i++)
    if (is_in(d->now[i].path, dir)) fn(arg, d->now[i].path + strlen(dir) + 1);
  return 0;
}
static int s_open(void *ctx, const char *path, bool create) {
  struct sim_disk *d = ctx;
  int rc = begin(d, SIM_OPEN);
  if (rc != 0) return rc;
  int32_t i = find(d->now, d->n_now, path);
  if (create && i >= 0) return -EEXIST;
  if (!create) return i < 0 ? -ENOENT : new_handle(d, d->now[i].file);
  int32_t f = new_file(d, false);
  set_name(d->now, &d->n_now, path, f);
  note_change(d, path, f, NULL);
  return new_handle(d, f);
}
static int64_t s_size(void *ctx, int fd) {
  int rc = begin(ctx, SIM_SIZE);
  return rc != 0 ? rc : (int64_t)file_of(ctx, fd)->now_size;
}
static int64_t s_read_at(void *ctx, int fd, void *out, size_t n, uint64_t at) {
  struct file *f = file_of(ctx, fd);
  int rc = begin(ctx, SIM_READ);
  if (rc != 0) return rc;
  if (at >= f->now_size) return 0;
  if (n > f->now_size - at) n = (size_t)(f->now_size - at);
  memcpy(out, f->now + at, n);
  return (int64_t)n;
}
static void set_size(struct file *f, uint64_t size) {
  if (size > f->now_cap) {
    f->now_cap = size * 2;
    f->now = lc_realloc(f->now, f->now_cap);
    lc_assert(f->now);
  }
  if (size > f->now_size) memset(f->now + f->now_size, 0, size - f->now_size);
  f->now_size = size;
}
static void note_pending(struct file *f, uint64_t at, const void *bytes, uint64_t len) {
  if (f->n_pending == f->cap_pending) {
    f->cap_pending = f->cap_pending ? f->cap_pending * 2 : 8;
    f->pending = lc_realloc(f->pending, f->cap_pending * sizeof *f->pending);
    lc_assert(f->pending);
  }
  f->pending[f->n_pending++] = (struct pending){at, len, len ? (uint8_t *)lc_strdup_n(bytes, len) : NULL};
}
static void write_now(struct file *f, const void *data, size_t n, uint64_t at) {
  if (n == 0) return;
  if (at + n > f->now_size) set_size(f, at + n);
  memcpy(f->now + at, data, n);
  uint64_t from = at / SIM_SECTOR_BYTES * SIM_SECTOR_BYTES, end = (at + n + SIM_SECTOR_BYTES - 1) / SIM_SECTOR_BYTES * SIM_SECTOR_BYTES;
  if (end > f->now_size) end = f->now_size;
  note_pending(f, from, f->now + from, end - from); /* whole sectors are written, with what else is in them */
}
static int s_write_at(void *ctx, int fd, const void *data, size_t n, uint64_t at) {
  struct sim_disk *d = ctx;
  struct file *f = file_of(d, fd);
  bool was_down = d->is_down;
  int rc = begin(d, SIM_WRITE);
  if (rc != 0) n = was_down ? 0 : sim_dice(d->random, (uint32_t)n + 1); /* a failed one, or one in which the power goes, has written some of it */
  if (rc != 0 && n) sim_faults_seen[d->is_down ? SIM_CUT_WRITE : SIM_SHORT_WRITE]++;
  write_now(f, data, n, at);
  return rc;
}
static void forget_pending(struct file *f) {
  for (uint32_t i = 0; i < f->n_pending; i++) lc_free(f->pending[i].bytes);
  f->n_pending = 0;
}
static void durable_size(struct file *f, uint64_t size) {
  uint8_t *more = lc_realloc(f->durable, size + 1);
  lc_assert(more);
  f->durable = more;
  if (size > f->durable_size) memset(f->durable + f->durable_size, 0, size - f->durable_size);
  f->durable_size = size;
}
static void make_durable(struct file *f, const struct pending *p, uint64_t from, uint64_t len) {
  if (!p->len) {
    durable_size(f, p->at);
    return;
  }
  if (p->at + from + len > f->durable_size) durable_size(f, p->at + from + len);
  memcpy(f->durable + p->at + from, p->bytes + from, len);
}
static void now_is_durable(struct file *f) {
  f->now_size = 0;
  set_size(f, f->durable_size);
  if (f->durable_size) memcpy(f->now, f->durable, f->durable_size);
}
static int s_sync(void *ctx, int fd) {
  struct sim_disk *d = ctx;
  struct file *f = file_of(d, fd);
  int rc = begin(d, SIM_SYNC);
  if (rc != 0 && d->is_down) return rc;
  if (rc == 0)
    for (uint32_t i = 0; i < f->n_pending; i++) make_durable(f, &f->pending[i], 0, f->pending[i].len);
  forget_pending(f); /* of a failed one too: the pages count as clean, and nothing will write them */
  if (rc == 0) return 0;
  bool dropped = sim_chance(d->random, 300); /* from the cache too */
  sim_faults_seen[dropped ? SIM_SYNC_DROPPED : SIM_SYNC_CLEAN]++;
  if (dropped) now_is_durable(f);
  return rc;
}
static int s_sync_dir(void *ctx, const char *path) {
  struct sim_disk *d = ctx;
  uint32_t kept = 0;
  int rc = begin(d, SIM_SYNC_DIR);
  if (rc != 0) return rc;
  for (uint32_t i = 0; i < d->n_changes; i++)
    if (is_in(d->changes[i].path, path)) apply(d, &d->changes[i]);
    else d->changes[kept++] = d->changes[i];
  d->n_changes = kept;
  return 0;
}
static int s_rename(void *ctx, const char *from, const char *to) {
  struct sim_disk *d = ctx;
  int rc = begin(d, SIM_RENAME);
  if (rc != 0) return rc;
  int32_t i = find(d->now, d->n_now, from);
  if (i < 0) return -ENOENT;
  int32_t f = d->now[i].file;
  set_name(d->now, &d->n_now, from, -1);
  set_name(d->now, &d->n_now, to, f);
  note_change(d, to, f, from);
  return 0;
}
static int s_unlink(void *ctx, const char *path) {
  struct sim_disk *d = ctx;
  int rc = begin(d, SIM_UNLINK);
  if (rc != 0) return rc;
  if (find(d->now, d->n_now, path) < 0) return -ENOENT;
  set_name(d->now, &d->n_now, path, -1);
  note_change(d, path, -1, NULL);
  return 0;
}
static int s_truncate(void *ctx, int fd, uint64_t size) {
  struct file *f = file_of(ctx, fd);
  int rc = begin(ctx, SIM_TRUNCATE);
  if (rc != 0) return rc;
  set_size(f, size);
  note_pending(f, size, NULL, 0);
  return 0;
}
static int s_lock(void *ctx, const char *path) {
  struct sim_disk *d = ctx;
  int rc = begin(d, SIM_LOCK);
  if (rc != 0) return rc;
  for (int i = 0; i < MAX_HANDLES; i++)
    if (d->handles[i].in_use && strcmp(d->handles[i].lock, path) == 0) return -EWOULDBLOCK;
  int32_t i = find(d->now, d->n_now, path), f = i < 0 ? new_file(d, false) : d->now[i].file;
  if (i < 0) {
    set_name(d->now, &d->n_now, path, f);
    note_change(d, path, f, NULL);
  }
  int h = new_handle(d, f);
  strcpy(d->handles[h - FIRST_HANDLE].lock, path);
  return h;
}
static void s_close(void *ctx, int fd) {
  struct sim_disk *d = ctx;
  if (d->handles[fd - FIRST_HANDLE].in_use) d->handles[fd - FIRST_HANDLE].in_use = false;
}

struct sim_disk *sim_disk_new(struct sim_random *random) {
  struct sim_disk *d = lc_alloc_zero(1, sizeof *d);
  lc_assert(d);
  d->random = random;
  d->crash_at = UINT64_MAX;
  d->fs = (struct lc_fs){d, s_make_dir, s_list, s_open, s_size, s_read_at, s_write_at, s_sync, s_sync_dir, s_rename, s_unlink, s_truncate, s_lock, s_close};
  return d;
}
void sim_disk_free(struct sim_disk *d) {
  for (int i = 0; i < MAX_FILES; i++) clear_file(&d->files[i]);
  lc_free(d);
}
const struct lc_fs *sim_disk_fs(struct sim_disk *d) { return &d->fs; }
void sim_disk_faults(struct sim_disk *d, uint32_t per_mille) { d->fault_per_mille = per_mille; }
void sim_disk_crash_after(struct sim_disk *d, uint64_t calls) { d->crash_at = calls == UINT64_MAX ? calls : d->calls + calls; }
bool sim_disk_is_down(const struct sim_disk *d) { return d->is_down; }
bool sim_disk_has_failed(const struct sim_disk *d) { return d->has_failed; }
uint64_t sim_disk_calls(const struct sim_disk *d) { return d->calls; }

static void restart(struct sim_disk *d) {
  memset(d->handles, 0, sizeof d->handles);
  d->is_down = d->has_failed = false;
  d->crash_at = UINT64_MAX;
  d->fault_per_mille = 0;
}
void sim_disk_reopen(struct sim_disk *d) {
  sim_faults_seen[SIM_PROCESS_ENDS]++;
  restart(d);
}
/* Of what was not synced: nothing, all, or any sectors; and any of the changed names, an earlier one more likely than a later. */
void sim_disk_power_cycle(struct sim_disk *d) {
  uint32_t mood = sim_dice(d->random, 4);
  for (int i = 0; i < MAX_FILES; i++) {
    struct file *f = &d->files[i];
    bool any_kept = false, any_lost = false, reordered = false, size_only = false;
    for (uint32_t k = 0; k < f->n_pending; k++) {
      const struct pending *p = &f->pending[k];
      if (!p->len) {
        if (mood == 1 || (mood && sim_chance(d->random, 500))) make_durable(f, p, 0, 0);
        continue;
      }
      for (uint64_t at = 0; at < p->len;) { /* sector by sector */
        uint64_t n = SIM_SECTOR_BYTES - (p->at + at) % SIM_SECTOR_BYTES;
        if (n > p->len - at) n = p->len - at;
        bool kept = mood == 1 || (mood && sim_chance(d->random, mood == 2 ? 500 : 900));
        reordered |= kept && any_lost;
        any_kept |= kept;
        any_lost |= !kept;
        sim_faults_seen[kept ? SIM_SECTOR_KEPT : SIM_SECTOR_LOST]++;
        if (kept) make_durable(f, p, at, n);
        else if (mood && sim_chance(d->random, 300) && p->at + at + n > f->durable_size) durable_size(f, p->at + at + n), size_only = true; /* the size is there, the bytes are not */
        at += n;
      }
    }
    sim_faults_seen[SIM_TORN] += any_kept && any_lost;
    sim_faults_seen[SIM_REORDERED] += reordered;
    sim_faults_seen[SIM_SIZE_ONLY] += size_only;
    forget_pending(f);
  }
  uint32_t keep = sim_dice(d->random, 3);
  bool name_lost = false;
  for (uint32_t i = 0; i < d->n_changes; i++) {
    bool kept = keep == 1 || (keep == 2 && sim_chance(d->random, 600));
    if (kept) apply(d, &d->changes[i]);
    sim_faults_seen[!kept ? SIM_NAME_LOST : name_lost ? SIM_NAME_REORDERED : SIM_NAME_KEPT]++;
    name_lost |= !kept;
  }
  d->n_changes = 0;
  for (uint32_t i = 0; i < d->n_durable;) { /* without its folder a file is gone */
    char folder[NAME_BYTES];
    strcpy(folder, d->durable[i].path);
    *strrchr(folder, '/') = 0;
    bool lost = strchr(folder, '/') && find(d->durable, d->n_durable, folder) < 0;
    if (lost) d->durable[i] = d->durable[--d->n_durable];
    i = lost ? 0 : i + 1;
  }
  memcpy(d->now, d->durable, sizeof d->now);
  d->n_now = d->n_durable;
  for (int i = 0; i < MAX_FILES; i++) {
    struct file *f = &d->files[i];
    if (!f->in_use) continue;
    now_is_durable(f);
  }
  restart(d);
  collect(d);
}

struct lc_slice sim_disk_newest_segment(const struct sim_disk *d, const char **path) {
  const struct name *newest = NULL;
  for (uint32_t i = 0; i < d->n_now; i++) { /* their numbers have all digits, so the order of the names is theirs */
    const char *name = d->now[i].path, *end = strstr(name, ".stdb.log");
    if (end && !end[9] && (!newest || strcmp(name, newest->path) > 0)) newest = &d->now[i];
  }
  *path = newest ? newest->path : NULL;
  return newest ? lc_slice(d->files[newest->file].now, d->files[newest->file].now_size) : (struct lc_slice){0};
}
const char *sim_disk_flip(struct sim_disk *d, const char *part, uint64_t *at) {
  uint32_t candidates[MAX_NAMES], n = 0;
  for (uint32_t i = 0; i < d->n_durable; i++)
    if (strstr(d->durable[i].path, part) && d->files[d->durable[i].file].durable_size) candidates[n++] = i;
  if (!n) return NULL;
  const struct name *name = &d->durable[candidates[sim_dice(d->random, n)]];
  struct file *f = &d->files[name->file];
  *at = sim_next(d->random) % f->durable_size;
  uint8_t bit = (uint8_t)(1u << sim_dice(d->random, 8));
  f->durable[*at] ^= bit;
  if (*at < f->now_size) f->now[*at] ^= bit;
  sim_faults_seen[strstr(name->path, ".snapshot") ? SIM_FLIP_SNAPSHOT : strstr(name->path, ".ofs") ? SIM_FLIP_INDEX : SIM_FLIP_SEGMENT]++;
  return name->path;
}
uint64_t sim_disk_hash(const struct sim_disk *d) {
  uint64_t h = 0;
  for (uint32_t i = 0; i < d->n_now; i++) {
    const struct file *f = &d->files[d->now[i].file];
    h += lc_hash64(d->now[i].path, strlen(d->now[i].path), lc_hash64(f->now, f->now_size, 5));
  }
  return h;
}
