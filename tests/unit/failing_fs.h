/* The real file system with the n-th call failing, for tests that let every call fail in turn. Threads may use it together. Includer: after cmocka.h. */
#ifndef LC_FAILING_FS_H
#define LC_FAILING_FS_H
#include "wal/wal.h"
#include <errno.h>

static atomic_long fs_calls_left = -1; /* until one fails; negative: none does */
static atomic_bool fs_failed;          /* it has */
static int fs_errno = EIO;
static bool fs_fails(void) {
  long n = atomic_load(&fs_calls_left);
  if (n < 0 || atomic_fetch_sub(&fs_calls_left, 1) != 0) return false;
  atomic_store(&fs_failed, true);
  return true;
}
static void fs_fail_at(long n) {
  atomic_store(&fs_failed, false);
  atomic_store(&fs_calls_left, n);
}
#define OR_FAIL(call) return fs_fails() ? -fs_errno : (call)
static int f_make_dir(void *c, const char *p) { OR_FAIL(lc_fs_posix.make_dir(c, p)); }
static int f_list(void *c, const char *d, void (*fn)(void *, const char *), void *a) { OR_FAIL(lc_fs_posix.list(c, d, fn, a)); }
static int f_open(void *c, const char *p, bool create) { OR_FAIL(lc_fs_posix.open(c, p, create)); }
static int64_t f_size(void *c, int fd) { OR_FAIL(lc_fs_posix.size(c, fd)); }
static int64_t f_read_at(void *c, int fd, void *out, size_t n, uint64_t at) { OR_FAIL(lc_fs_posix.read_at(c, fd, out, n, at)); }
static int f_write_at(void *c, int fd, const void *data, size_t n, uint64_t at) {
  if (!fs_fails()) return lc_fs_posix.write_at(c, fd, data, n, at);
  lc_fs_posix.write_at(c, fd, data, n / 2, at); /* a failed write may have written something */
  return -fs_errno;
}
static int f_sync(void *c, int fd) { OR_FAIL(lc_fs_posix.sync(c, fd)); }
static int f_sync_dir(void *c, const char *p) { OR_FAIL(lc_fs_posix.sync_dir(c, p)); }
static int f_rename(void *c, const char *a, const char *b) { OR_FAIL(lc_fs_posix.rename(c, a, b)); }
static int f_unlink(void *c, const char *p) { OR_FAIL(lc_fs_posix.unlink(c, p)); }
static int f_truncate(void *c, int fd, uint64_t n) { OR_FAIL(lc_fs_posix.truncate(c, fd, n)); }
static int f_lock(void *c, const char *p) { OR_FAIL(lc_fs_posix.lock(c, p)); }
static struct lc_fs failing_fs(void) {
  struct lc_fs fs = lc_fs_posix;
  fs.make_dir = f_make_dir;
  fs.list = f_list;
  fs.open = f_open;
  fs.size = f_size;
  fs.read_at = f_read_at;
  fs.write_at = f_write_at;
  fs.sync = f_sync;
  fs.sync_dir = f_sync_dir;
  fs.rename = f_rename;
  fs.unlink = f_unlink;
  fs.truncate = f_truncate;
  fs.lock = f_lock;
  return fs;
}
#endif
