/* Stands between a server and its disk (LD_PRELOAD), for end-to-end tests. The file named by DISK_SHIM holds `PATTERN MODE VALUE`, read at every call on a file whose
 * path contains PATTERN: delay (of a sync, milliseconds), write, short (half of it is written), sync, once (the first sync alone), create (an errno each). Empty: the disk is well. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* By system calls, all three: libuv closes sockets so, and ThreadSanitizer, seeing only some of them, takes a file number that comes back for a race. */
static bool asked(const char *path, const char *mode, int *value) {
  char text[256], pattern[128], found[32];
  const char *file = getenv("DISK_SHIM");
  int fd = file ? (int)syscall(SYS_openat, AT_FDCWD, file, O_RDONLY | O_CLOEXEC, 0) : -1;
  if (fd < 0) return false;
  ssize_t n = syscall(SYS_read, fd, text, sizeof text - 1);
  syscall(SYS_close, fd);
  text[n > 0 ? n : 0] = 0;
  return sscanf(text, "%127s %31s %d", pattern, found, value) == 3 && strcmp(found, mode) == 0 && strstr(path, pattern);
}
static bool asked_of(int fd, const char *mode, int *value) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, sizeof path - 1);
  path[n > 0 ? n : 0] = 0;
  return asked(path, mode, value);
}

static ssize_t put(const char *name, int fd, const void *data, size_t n, off_t at) {
  ssize_t (*real)(int, const void *, size_t, off_t) = (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, name);
  int value;
  if (asked_of(fd, "write", &value)) return errno = value, -1;
  if (asked_of(fd, "short", &value)) {
    if (n < 2) return errno = value, -1;
    return real(fd, data, n / 2, at);
  }
  return real(fd, data, n, at);
}
ssize_t pwrite(int fd, const void *data, size_t n, off_t at) { return put("pwrite", fd, data, n, at); }
ssize_t pwrite64(int fd, const void *data, size_t n, off_t at) { return put("pwrite64", fd, data, n, at); }

/* Whether what is asked for now has not been done yet. */
static bool is_first(void) {
  static struct timespec done;
  struct stat now;
  if (stat(getenv("DISK_SHIM"), &now) != 0 || (now.st_mtim.tv_sec == done.tv_sec && now.st_mtim.tv_nsec == done.tv_nsec)) return false;
  done = now.st_mtim;
  return true;
}
static int sync_file(const char *name, int fd) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  int value;
  if (asked_of(fd, "sync", &value)) return errno = value, -1;
  if (asked_of(fd, "once", &value) && is_first()) return errno = value, -1;
  if (asked_of(fd, "delay", &value)) {
    struct timespec t = {value / 1000, value % 1000 * 1000000L};
    nanosleep(&t, NULL);
  }
  return real(fd);
}
int fdatasync(int fd) { return sync_file("fdatasync", fd); }
int fsync(int fd) { return sync_file("fsync", fd); }

static int open_file(const char *name, const char *path, int flags, mode_t mode) {
  int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, name);
  int value;
  if ((flags & O_CREAT) && asked(path, "create", &value)) return errno = value, -1;
  return real(path, flags, mode);
}
static mode_t mode_of(int flags, va_list ap) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0; }
int open(const char *path, int flags, ...) {
  va_list ap;
  va_start(ap, flags);
  mode_t mode = mode_of(flags, ap);
  va_end(ap);
  return open_file("open", path, flags, mode);
}
int open64(const char *path, int flags, ...) {
  va_list ap;
  va_start(ap, flags);
  mode_t mode = mode_of(flags, ap);
  va_end(ap);
  return open_file("open64", path, flags, mode);
}
