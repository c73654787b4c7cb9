/* The virtual disk: files are inodes, names are entries of folders, and both have what is there now and what a power cut leaves.
 *
 * A sector written and not synced is kept or not by chance, each by itself, so that writes are lost, torn and reordered; the size of a file is then one of those it had.
 * A new, renamed or removed name counts after a sync of its folder; before, a power cut keeps some of the changes, in order or not. A failed sync drops what it should have
 * written from the cache too, or leaves it there as if it were on the disk: a later one does not bring it back. A failed write, or one in which the power goes, has written
 * a part. */
#include "sim.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_FILES = 4096, MAX_NAMES = 4096, PATH_BYTES = 200 };
struct inode { bool is_dir; struct lc_buf now, kept; uint8_t *dirty; size_t n_dirty; };
struct name { char path[PATH_BYTES]; int inode; };
struct names { struct name *list; int n; };
struct change { char gone[PATH_BYTES], made[PATH_BYTES]; int inode; char dir[PATH_BYTES]; }; /* of names, not yet synced */
static struct {
  struct inode *inodes; int n_inodes;
  struct names now, kept;
  struct change *changes; int n_changes;
  int handles[MAX_FILES], n_handles;
  struct sim_faults faults;
  uint64_t operations, crash_at;
  bool crashed;
} d;

static void *grow(void *p, size_t bytes) {
  p = realloc(p, bytes);
  if (!p && bytes) abort();
  return p;
}
static void copy_path(char *to, const char *from) {
  if (snprintf(to, PATH_BYTES, "%s", from) >= PATH_BYTES) abort();
}
static bool ends_with(const char *path, const char *end) {
  size_t n = strlen(path), k = strlen(end);
  return n >= k && strcmp(path + n - k, end) == 0;
}
static int find(const struct names *n, const char *path) {
  for (int i = 0; i < n->n; i++)
    if (strcmp(n->list[i].path, path) == 0) return i;
  return -1;
}
static void put(struct names *n, const char *path, int inode) {
  int i = find(n, path);
  if (i < 0) {
    n->list = grow(n->list, sizeof *n->list * (size_t)(n->n + 1));
    i = n->n++;
    copy_path(n->list[i].path, path);
  }
  n->list[i].inode = inode;
}
static void drop(struct names *n, const char *path) {
  int i = find(n, path);
  if (i < 0) return;
  memmove(n->list + i, n->list + i + 1, sizeof *n->list * (size_t)(n->n - i - 1));
  n->n--;
}
static void parent_of(const char *path, char *dir) {
  copy_path(dir, path);
  char *slash = strrchr(dir, '/');
  if (slash) *(slash == dir ? slash + 1 : slash) = 0;
}
static int new_inode(bool is_dir) {
  d.inodes = grow(d.inodes, sizeof *d.inodes * (size_t)(d.n_inodes + 1));
  d.inodes[d.n_inodes] = (struct inode){.is_dir = is_dir};
  return d.n_inodes++;
}
static void apply(struct names *n, const struct change *c) {
  if (c->gone[0]) drop(n, c->gone);
  if (c->made[0]) put(n, c->made, c->inode);
}
static void change(const char *gone, const char *made, int inode) {
  d.changes = grow(d.changes, sizeof *d.changes * (size_t)(d.n_changes + 1));
  struct change *c = &d.changes[d.n_changes++];
  copy_path(c->gone, gone);
  copy_path(c->made, made);
  c->inode = inode;
  parent_of(made[0] ? made : gone, c->dir);
  apply(&d.now, c);
}

/* ---- sectors ---- */

static size_t sectors(size_t bytes) { return (bytes + SIM_SECTOR_BYTES - 1) / SIM_SECTOR_BYTES; }
static void set_size(struct lc_buf *b, size_t size) {
  if (size > b->len) {
    if (!lc_buf_reserve(b, size - b->len)) abort();
    memset(b->data + b->len, 0, size - b->len);
  }
  b->len = size;
}
static void mark(struct inode *f, size_t from, size_t to) {
  size_t n = sectors(to);
  if (n > f->n_dirty) {
    f->dirty = grow(f->dirty, n);
    memset(f->dirty + f->n_dirty, 0, n - f->n_dirty);
    f->n_dirty = n;
  }
  for (size_t s = from / SIM_SECTOR_BYTES; s < n; s++) f->dirty[s] = 1;
}
static void keep_sector(struct inode *f, size_t s) {
  size_t from = s * SIM_SECTOR_BYTES, n = SIM_SECTOR_BYTES;
  if (from >= f->now.len) return;
  if (from + n > f->now.len) n = f->now.len - from;
  if (from >= f->kept.len) set_size(&f->kept, from);
  if (f->kept.len < from + n) set_size(&f->kept, from + n);
  memcpy(f->kept.data + from, f->now.data + from, n);
}
/* Everything dirty reaches the disk, each sector with the chance; then nothing is dirty. */
static void write_back(struct inode *f, uint64_t kept_of_8) {
  size_t size = f->now.len;
  bool all = kept_of_8 >= 8, size_kept = all || (kept_of_8 && sim_one_in(2)), any_kept = false, any_lost = false, reordered = false;
  for (size_t s = 0; s < f->n_dirty; s++) {
    if (!f->dirty[s]) continue;
    bool kept = all || sim_below(8) < kept_of_8;
    if (kept) keep_sector(f, s);
    reordered |= kept && any_lost;
    any_kept |= kept;
    any_lost |= !kept;
    if (!all) sim_faults_seen[kept ? SIM_SECTOR_KEPT : SIM_SECTOR_LOST]++;
  }
  sim_faults_seen[SIM_TORN] += any_kept && any_lost;
  sim_faults_seen[SIM_REORDERED] += reordered;
  sim_faults_seen[SIM_SIZE_ONLY] += size_kept && size > f->kept.len;
  if (size_kept) set_size(&f->kept, size);
  f->n_dirty = 0;
}

/* ---- life ---- */

void sim_disk_free(void) {
  for (int i = 0; i < d.n_inodes; i++) {
    lc_buf_free(&d.inodes[i].now);
    lc_buf_free(&d.inodes[i].kept);
    free(d.inodes[i].dirty);
  }
  free(d.inodes);
  free(d.now.list);
  free(d.kept.list);
  free(d.changes);
  memset(&d, 0, sizeof d);
}
void sim_disk_new(void) {
  sim_disk_free();
  put(&d.now, "/d", new_inode(true));
  put(&d.kept, "/d", 0);
}
void sim_disk_faults(struct sim_faults f) {
  d.faults = f;
  d.crash_at = f.crash_after ? d.operations + f.crash_after : 0;
}
bool sim_disk_crashed(void) { return d.crashed; }
uint64_t sim_disk_operations(void) { return d.operations; }

void sim_disk_restart(bool power_cut) {
  d.crashed = false;
  d.n_handles = 0;
  if (!power_cut) {
    sim_faults_seen[SIM_PROCESS_ENDS]++;
    return;
  }
  static const uint64_t chances[] = {0, 8, 4, 1, 7};
  uint64_t chance = chances[sim_below(5)];
  bool in_order = sim_one_in(2), any_lost = false;
  for (int i = 0; i < d.n_changes; i++) {
    bool kept = !(in_order && any_lost) && sim_below(8) < chance;
    if (kept) apply(&d.kept, &d.changes[i]);
    sim_faults_seen[kept ? any_lost ? SIM_NAME_REORDERED : SIM_NAME_KEPT : SIM_NAME_LOST]++;
    any_lost |= !kept;
  }
  d.n_changes = 0;
  for (int i = 0; i < d.n_inodes; i++) {
    struct inode *f = &d.inodes[i];
    write_back(f, chance);
    set_size(&f->now, f->kept.len);
    if (f->kept.len) memcpy(f->now.data, f->kept.data, f->kept.len);
  }
  for (int i = 0; i < d.kept.n; i++) { /* without its folder nothing is there */
    char dir[PATH_BYTES];
    parent_of(d.kept.list[i].path, dir);
    if (strcmp(dir, "/") != 0 && find(&d.kept, dir) < 0) {
      drop(&d.kept, d.kept.list[i].path);
      i = -1;
    }
  }
  d.now.n = 0;
  for (int i = 0; i < d.kept.n; i++) put(&d.now, d.kept.list[i].path, d.kept.list[i].inode);
}

bool sim_disk_flip_bit(char *path, size_t path_size, uint64_t *at) {
  static const char *const kinds[] = {".stdb.log", ".snapshot", ".stdb.ofs", ".stdb.log"};
  const char *kind = kinds[sim_below(4)];
  int found[MAX_NAMES], n = 0;
  for (int i = 0; i < d.now.n && n < MAX_NAMES; i++)
    if (d.inodes[d.now.list[i].inode].now.len && strstr(d.now.list[i].path, kind)) found[n++] = i;
  if (!n) return false;
  const struct name *name = &d.now.list[found[sim_below((uint64_t)n)]];
  struct inode *f = &d.inodes[name->inode];
  *at = sim_below(f->now.len);
  uint8_t bit = (uint8_t)(1u << sim_below(8));
  f->now.data[*at] ^= bit;
  if (*at < f->kept.len) f->kept.data[*at] ^= bit;
  snprintf(path, path_size, "%s", name->path);
  sim_faults_seen[strstr(path, ".snapshot") ? SIM_FLIP_SNAPSHOT : strstr(path, ".ofs") ? SIM_FLIP_INDEX : SIM_FLIP_SEGMENT]++;
  return true;
}
struct lc_slice sim_disk_newest_segment(char *path, size_t path_size) {
  const struct name *newest = NULL;
  for (int i = 0; i < d.now.n; i++) { /* their numbers have all digits, so the order of the names is theirs */
    const struct name *n = &d.now.list[i];
    if (ends_with(n->path, ".stdb.log") && (!newest || strcmp(n->path, newest->path) > 0)) newest = n;
  }
  snprintf(path, path_size, "%s", newest ? newest->path : "");
  return newest ? lc_buf_slice(&d.inodes[newest->inode].now) : (struct lc_slice){0};
}

struct sim_image { struct inode *inodes; int n_inodes; struct names now, kept; struct change *changes; int n_changes; };
static void *copy_of(const void *p, size_t n) { return n ? memcpy(grow(NULL, n), p, n) : NULL; }
static struct lc_buf copy_buf(const struct lc_buf *b) {
  struct lc_buf c = {0};
  lc_buf_append(&c, b->data, b->len);
  return c;
}
struct sim_image *sim_disk_save(void) {
  struct sim_image *m = grow(NULL, sizeof *m);
  *m = (struct sim_image){copy_of(d.inodes, sizeof *d.inodes * (size_t)d.n_inodes), d.n_inodes, d.now, d.kept, copy_of(d.changes, sizeof *d.changes * (size_t)d.n_changes), d.n_changes};
  m->now.list = copy_of(d.now.list, sizeof *d.now.list * (size_t)d.now.n);
  m->kept.list = copy_of(d.kept.list, sizeof *d.kept.list * (size_t)d.kept.n);
  for (int i = 0; i < m->n_inodes; i++) {
    m->inodes[i].now = copy_buf(&d.inodes[i].now);
    m->inodes[i].kept = copy_buf(&d.inodes[i].kept);
    m->inodes[i].dirty = copy_of(d.inodes[i].dirty, d.inodes[i].n_dirty);
  }
  return m;
}
void sim_disk_load(struct sim_image *m) {
  struct sim_faults faults = d.faults;
  uint64_t operations = d.operations;
  sim_disk_free();
  d.inodes = m->inodes;
  d.n_inodes = m->n_inodes;
  d.now = m->now;
  d.kept = m->kept;
  d.changes = m->changes;
  d.n_changes = m->n_changes;
  d.faults = faults;
  d.operations = operations;
  free(m);
}

/* ---- struct lc_fs ---- */

/* One operation: time for others, the power cut, an error by chance. 0 or -errno. */
static int operation(enum sim_operation kind, const char *path, const void *data, size_t len, bool can_fail) {
  sim_yield();
  if (d.crashed) return -EIO;
  d.operations++;
  sim_trace(kind, path, strlen(path));
  sim_trace(len, data, data ? len : 0);
  if (d.crash_at && d.operations >= d.crash_at) {
    d.crashed = true;
    d.crash_at = 0;
    sim_faults_seen[SIM_POWER_CUT(kind)]++;
    if (sim_verbose) fprintf(stderr, "%llu: power cut\n", (unsigned long long)d.operations);
    return -EIO;
  }
  if (sim_verbose) fprintf(stderr, "%llu: %s %s %zu\n", (unsigned long long)d.operations, sim_operation_names[kind], path, len);
  if (can_fail && d.faults.error_one_in && sim_one_in(d.faults.error_one_in)) {
    bool full = sim_one_in(2);
    if (sim_verbose) fprintf(stderr, "  fails\n");
    sim_faults_seen[full ? SIM_ENOSPC(kind) : SIM_EIO(kind)]++;
    return full ? -ENOSPC : -EIO;
  }
  return 0;
}
#define OPERATION(kind, path, data, len, can_fail) do { int rc_ = operation(kind, path, data, len, can_fail); if (rc_) return rc_; } while (0)

static struct inode *inode_of(int fd) {
  if (fd < 0 || fd >= d.n_handles) sim_fail("a file is used that is not open");
  return &d.inodes[d.handles[fd]];
}
static bool folder_there(const char *path) {
  char dir[PATH_BYTES];
  parent_of(path, dir);
  return strcmp(dir, "/") == 0 || find(&d.now, dir) >= 0;
}
static int s_make_dir(void *c, const char *path) {
  (void)c;
  OPERATION(SIM_MAKE_DIR, path, NULL, 0, true);
  if (find(&d.now, path) >= 0) return 0;
  if (!folder_there(path)) return -ENOENT;
  change("", path, new_inode(true));
  return 0;
}
static int s_list(void *c, const char *dir, void (*fn)(void *, const char *), void *arg) {
  (void)c;
  OPERATION(SIM_LIST, dir, NULL, 0, true);
  if (find(&d.now, dir) < 0) return -ENOENT;
  size_t n = strlen(dir);
  for (int i = 0; i < d.now.n; i++) {
    const char *p = d.now.list[i].path;
    if (strncmp(p, dir, n) == 0 && p[n] == '/' && !strchr(p + n + 1, '/')) fn(arg, p + n + 1);
  }
  return 0;
}
static int handle(int inode) {
  if (d.n_handles == MAX_FILES) return -EMFILE;
  d.handles[d.n_handles] = inode;
  return d.n_handles++;
}
static int s_open(void *c, const char *path, bool create) {
  (void)c;
  OPERATION(SIM_OPEN, path, NULL, create, true);
  int i = find(&d.now, path);
  if (create && i >= 0) return -EEXIST;
  if (!create && i < 0) return -ENOENT;
  if (!create) return handle(d.now.list[i].inode);
  if (!folder_there(path)) return -ENOENT;
  change("", path, new_inode(false));
  return handle(d.n_inodes - 1);
}
static int64_t s_size(void *c, int fd) {
  (void)c;
  OPERATION(SIM_SIZE, "", NULL, 0, true);
  return (int64_t)inode_of(fd)->now.len;
}
static int64_t s_read_at(void *c, int fd, void *out, size_t n, uint64_t at) {
  (void)c;
  OPERATION(SIM_READ, "", NULL, n, true);
  const struct inode *f = inode_of(fd);
  if (at >= f->now.len) return 0;
  if (n > f->now.len - at) n = f->now.len - at;
  if (n) memcpy(out, f->now.data + at, n);
  return (int64_t)n;
}
static int s_write_at(void *c, int fd, const void *data, size_t n, uint64_t at) {
  (void)c;
  if (d.faults.write_ns) {
    int64_t ns = (int64_t)sim_below((uint64_t)d.faults.write_ns);
    sim_reached[SIM_SLOW_WRITE] += ns >= 10000000;
    sim_sleep_ns(ns);
  }
  bool was_crashed = d.crashed;
  int rc = operation(SIM_WRITE, "", data, n, true);
  if (was_crashed) return rc;
  struct inode *f = inode_of(fd);
  if (rc != 0) n = n ? sim_below(n) : 0; /* some of it is there */
  if (n == 0) return rc;
  if (rc != 0) sim_faults_seen[d.crashed ? SIM_CUT_WRITE : SIM_SHORT_WRITE]++;
  if (at + n > f->now.len) set_size(&f->now, at + n);
  memcpy(f->now.data + at, data, n);
  mark(f, at, at + n);
  return rc;
}
static int s_sync(void *c, int fd) {
  (void)c;
  if (d.faults.sync_ns) {
    int64_t ns = (int64_t)sim_below((uint64_t)d.faults.sync_ns);
    sim_reached[SIM_SLOW_SYNC] += ns >= 10000000;
    sim_sleep_ns(ns);
  }
  int rc = operation(SIM_SYNC, "", NULL, (size_t)fd, true);
  if (d.crashed) return rc;
  struct inode *f = inode_of(fd);
  write_back(f, rc == 0 ? 8 : sim_below(8));
  bool dropped = rc != 0 && sim_one_in(2);
  if (rc != 0) sim_faults_seen[dropped ? SIM_SYNC_DROPPED : SIM_SYNC_CLEAN]++;
  if (dropped) {
    set_size(&f->now, f->kept.len);
    if (f->kept.len) memcpy(f->now.data, f->kept.data, f->kept.len);
  }
  return rc;
}
static int s_sync_dir(void *c, const char *path) {
  (void)c;
  OPERATION(SIM_SYNC_DIR, path, NULL, 0, true);
  if (find(&d.now, path) < 0 && strcmp(path, "/") != 0) return -ENOENT;
  int n = 0;
  for (int i = 0; i < d.n_changes; i++) {
    if (strcmp(d.changes[i].dir, path) == 0) apply(&d.kept, &d.changes[i]);
    else d.changes[n++] = d.changes[i];
  }
  d.n_changes = n;
  return 0;
}
static int s_rename(void *c, const char *from, const char *to) {
  (void)c;
  OPERATION(SIM_RENAME, to, NULL, 0, true);
  int i = find(&d.now, from);
  if (i < 0 || !folder_there(to)) return -ENOENT;
  char gone[PATH_BYTES];
  copy_path(gone, from);
  change(gone, to, d.now.list[i].inode);
  sim_reached[SIM_SNAPSHOTS] += ends_with(to, ".snapshot");
  sim_reached[SIM_ASIDE] += ends_with(to, ".damaged");
  sim_reached[SIM_ROTATED] += ends_with(gone, ".stdb.log.tmp") && !strstr(gone, "/00000000000000000000.");
  sim_reached[SIM_COMPRESSED] += ends_with(gone, ".zst.tmp");
  return 0;
}
static int s_unlink(void *c, const char *path) {
  (void)c;
  OPERATION(SIM_UNLINK, path, NULL, 0, true);
  if (find(&d.now, path) < 0) return -ENOENT;
  sim_reached[SIM_RETAINED] += ends_with(path, ".stdb.log");
  change(path, "", -1);
  return 0;
}
static int s_truncate(void *c, int fd, uint64_t size) {
  (void)c;
  OPERATION(SIM_TRUNCATE, "", NULL, size, true);
  struct inode *f = inode_of(fd);
  set_size(&f->now, size);
  mark(f, size, size);
  return 0;
}
static int s_lock(void *c, const char *path) {
  (void)c;
  OPERATION(SIM_LOCK, path, NULL, 0, true);
  if (!folder_there(path)) return -ENOENT;
  int i = find(&d.now, path);
  if (i >= 0) return handle(d.now.list[i].inode);
  change("", path, new_inode(false));
  return handle(d.n_inodes - 1);
}
static void s_close(void *c, int fd) {
  (void)c;
  (void)fd;
}
const struct lc_fs sim_fs = {NULL, s_make_dir, s_list, s_open, s_size, s_read_at, s_write_at, s_sync, s_sync_dir, s_rename, s_unlink, s_truncate, s_lock, s_close};
