/* The real file system behind struct lc_fs. */
#include "wal.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int result(int rc) { return rc < 0 ? -errno : rc; }
static int posix_make_dir(void *ctx, const char *path) {
  (void)ctx;
  return mkdir(path, 0755) == 0 || errno == EEXIST ? 0 : -errno;
}
static int posix_list(void *ctx, const char *dir, void (*fn)(void *arg, const char *name), void *arg) {
  (void)ctx;
  DIR *d = opendir(dir);
  if (!d) return -errno;
  for (struct dirent *e; (e = readdir(d));) fn(arg, e->d_name);
  closedir(d);
  return 0;
}
static int posix_open(void *ctx, const char *path, bool create) {
  (void)ctx;
  return result(open(path, O_RDWR | O_CLOEXEC | (create ? O_CREAT | O_EXCL : 0), 0644));
}
static int64_t posix_size(void *ctx, int fd) {
  (void)ctx;
  struct stat st;
  return fstat(fd, &st) == 0 ? st.st_size : -errno;
}
static int64_t posix_read_at(void *ctx, int fd, void *out, size_t n, uint64_t at) {
  (void)ctx;
  size_t done = 0;
  while (done < n) {
    ssize_t got = pread(fd, (char *)out + done, n - done, (off_t)(at + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -errno;
    if (got == 0) break;
    done += (size_t)got;
  }
  return (int64_t)done;
}
static int posix_write_at(void *ctx, int fd, const void *data, size_t n, uint64_t at) {
  (void)ctx;
  for (size_t done = 0; done < n;) {
    ssize_t put = pwrite(fd, (const char *)data + done, n - done, (off_t)(at + done));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return put < 0 ? -errno : -EIO;
    done += (size_t)put;
  }
  return 0;
}
static int posix_sync(void *ctx, int fd) {
  (void)ctx;
  return result(fdatasync(fd));
}
static int posix_sync_dir(void *ctx, const char *path) {
  (void)ctx;
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return -errno;
  int rc = result(fsync(fd));
  close(fd);
  return rc;
}
static int posix_rename(void *ctx, const char *from, const char *to) {
  (void)ctx;
  return result(rename(from, to));
}
static int posix_unlink(void *ctx, const char *path) {
  (void)ctx;
  return result(unlink(path));
}
static int posix_truncate(void *ctx, int fd, uint64_t size) {
  (void)ctx;
  return result(ftruncate(fd, (off_t)size));
}
static int posix_lock(void *ctx, const char *path) {
  (void)ctx;
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return -errno;
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    int rc = -errno;
    close(fd);
    return rc;
  }
  char text[64];
  int n = snprintf(text, sizeof text, "pid=%d\n", (int)getpid());
  if (ftruncate(fd, 0) != 0 || write(fd, text, (size_t)n) != n) lc_log(LC_LOG_WARN, "cannot write %s: %s", path, strerror(errno));
  return fd;
}
static void posix_close(void *ctx, int fd) {
  (void)ctx;
  close(fd);
}

const struct lc_fs lc_fs_posix = {NULL,          posix_make_dir, posix_list,   posix_open,     posix_size, posix_read_at, posix_write_at,
                                  posix_sync,    posix_sync_dir, posix_rename, posix_unlink, posix_truncate, posix_lock, posix_close};
