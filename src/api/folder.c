/* Owns: the data folder as a whole (spec/04 §6.4): its lock, what it says of itself, where the control database is.
 *
 * Invariants: nothing in a folder is changed without its lock; a name is durable before anything depends on it. Callers: server.c, control.c, offline.c.
 */
#include "server.h"
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static enum lc_status sync_folder(const char *dir, struct lc_error *err) {
  int rc = lc_fs_posix.sync_dir(NULL, dir);
  return rc == 0 ? LC_OK : lc_fail(err, LC_IO, "cannot sync folder %s: %s", dir, strerror(-rc));
}
enum lc_status folder_make(const char *dir, struct lc_error *err) {
  char part[4096], parent[4096] = "/";
  size_t n = strlen(dir);
  if (n >= sizeof part) return lc_fail(err, LC_LIMIT, "folder name is too long: %s", dir);
  if (*dir != '/') strcpy(parent, ".");
  for (size_t i = 1; i <= n; i++) {
    if (dir[i] && dir[i] != '/') continue;
    memcpy(part, dir, i);
    part[i] = 0;
    if (mkdir(part, 0755) == 0) {
      enum lc_status st = sync_folder(parent, err);
      if (st != LC_OK) return st;
    } else if (errno != EEXIST) {
      return lc_fail(err, LC_IO, "cannot create folder %s: %s", part, strerror(errno));
    }
    memcpy(parent, part, i + 1);
  }
  return LC_OK;
}

/* ---- the lock: one server per data folder. spacetime.pid is held locked, has our process id in it and goes at a clean stop ---- */

enum lc_status server_take_lock(const char *data_dir, int *lock, struct lc_error *err) {
  char path[4096], text[32];
  struct stat held, there;
  snprintf(path, sizeof path, "%s/spacetime.pid", data_dir);
  for (;;) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) return lc_fail(err, LC_IO, "cannot open %s: %s", path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
      ssize_t n = errno == EWOULDBLOCK ? pread(fd, text, sizeof text - 1, 0) : 0;
      text[n > 0 ? n : 0] = 0;
      close(fd);
      return lc_fail(err, LC_CONFLICT, "cannot take lock on database; spacetime.pid already exists (owned by pid %.20s)", n > 0 ? text : "unknown");
    }
    if (fstat(fd, &held) == 0 && stat(path, &there) == 0 && held.st_ino == there.st_ino && held.st_dev == there.st_dev) {
      int n = snprintf(text, sizeof text, "%ld", (long)getpid());
      if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)n, 0) != n) lc_log(LC_LOG_WARN, "cannot write %s: %s", path, strerror(errno));
      *lock = fd;
      return LC_OK;
    }
    close(fd); /* its last holder has just removed it: take the new one */
  }
}
void server_give_lock(const char *data_dir, int lock) {
  if (lock < 0) return;
  char path[4096];
  snprintf(path, sizeof path, "%s/spacetime.pid", data_dir);
  unlink(path);
  close(lock);
}

/* ---- metadata.toml ---- */

static enum lc_status write_metadata(const char *data_dir, struct lc_error *err) {
  static const char text[] = "# Written by the server; what is changed here may make the folder unreadable.\n\nversion = \"" SERVER_VERSION "\"\nedition = \"standalone\"\n";
  char path[4096], part[4096];
  snprintf(path, sizeof path, "%.4000s/metadata.toml", data_dir);
  snprintf(part, sizeof part, "%.4000s/metadata.toml.tmp", data_dir);
  int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  bool ok = fd >= 0 && write(fd, text, sizeof text - 1) == (ssize_t)(sizeof text - 1) && fsync(fd) == 0;
  int why = errno;
  if (fd >= 0) close(fd);
  if (!ok) return lc_fail(err, LC_IO, "cannot write %s: %s", part, strerror(why));
  if (rename(part, path) != 0) return lc_fail(err, LC_IO, "cannot write %s: %s", path, strerror(errno));
  return sync_folder(data_dir, err);
}
/* The value of `key = "value"` on a line of its own; false: there is none. */
static bool value_of(const char *text, const char *key, char out[64]) {
  size_t n = strlen(key);
  for (const char *line = text; line; line = strchr(line, '\n')) {
    while (*line == '\n' || *line == ' ') line++;
    if (strncmp(line, key, n) != 0) continue;
    const char *at = line + n;
    while (*at == ' ') at++;
    if (*at++ != '=') continue;
    while (*at == ' ') at++;
    const char *end = *at == '"' ? strchr(at + 1, '"') : NULL;
    if (!end || (size_t)(end - at) > 63) return false;
    memcpy(out, at + 1, (size_t)(end - at - 1));
    out[end - at - 1] = 0;
    return true;
  }
  return false;
}
enum lc_status folder_metadata(const char *data_dir, struct lc_error *err) {
  char path[4096], text[4096], version[64], edition[64];
  unsigned long there[2] = {0}, ours[2] = {0};
  snprintf(path, sizeof path, "%.4000s/metadata.toml", data_dir);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) return write_metadata(data_dir, err);
  ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
  int why = errno;
  if (fd >= 0) close(fd);
  if (n < 0) return lc_fail(err, LC_IO, "cannot read %s: %s", path, strerror(why));
  text[n] = 0;
  if (!value_of(text, "version", version) || !value_of(text, "edition", edition)) return lc_fail(err, LC_CORRUPT, "%s: `version` and `edition` are expected, each with a text", path);
  if (strcmp(edition, "standalone") != 0) return lc_fail(err, LC_UNSUPPORTED, "%s: the folder is of the edition `%s`, this server is `standalone`", path, edition);
  if (sscanf(version, "%lu.%lu", &there[0], &there[1]) != 2) return lc_fail(err, LC_CORRUPT, "%s: `%s` is no version", path, version);
  sscanf(SERVER_VERSION, "%lu.%lu", &ours[0], &ours[1]);
  bool fits = (there[0] == ours[0] && there[1] <= ours[1]) || (there[0] == 1 && ours[0] == 2);
  if (!fits) return lc_fail(err, LC_UNSUPPORTED, "%s: the folder is of version %s, which this server, %s, cannot read", path, version, SERVER_VERSION);
  return strcmp(version, SERVER_VERSION) == 0 ? LC_OK : write_metadata(data_dir, err);
}

/* ---- the control database's place ---- */

static void old_and_new(const char *data_dir, char old[4096], char path[4096]) {
  snprintf(old, 4096, "%.4000s/control.sqlite3", data_dir);
  snprintf(path, 4096, "%.4000s/control-db/control.sqlite3", data_dir);
}
bool folder_has_control(const char *data_dir) {
  char old[4096], path[4096];
  old_and_new(data_dir, old, path);
  return access(path, F_OK) == 0 || access(old, F_OK) == 0;
}
enum lc_status folder_control_path(const char *data_dir, char path[4096], struct lc_error *err) {
  char old[4096], dir[4096];
  old_and_new(data_dir, old, path);
  snprintf(dir, sizeof dir, "%.4000s/control-db", data_dir);
  enum lc_status st = folder_make(dir, err);
  if (st != LC_OK || access(old, F_OK) != 0 || access(path, F_OK) == 0) return st;
  sqlite3 *db = NULL; /* one file only may be moved: what its log holds goes into it first */
  if (sqlite3_open(old, &db) != SQLITE_OK || sqlite3_exec(db, "PRAGMA synchronous=FULL; PRAGMA journal_mode=DELETE;", NULL, NULL, NULL) != SQLITE_OK) st = lc_fail(err, LC_IO, "cannot open the control database %s: %s", old, sqlite3_errmsg(db));
  if (sqlite3_close(db) != SQLITE_OK && st == LC_OK) st = lc_fail(err, LC_IO, "cannot close the control database %s", old);
  if (st == LC_OK && rename(old, path) != 0) st = lc_fail(err, LC_IO, "cannot move %s to %s: %s", old, path, strerror(errno));
  if (st == LC_OK) st = sync_folder(dir, err);
  return st == LC_OK ? sync_folder(data_dir, err) : st;
}
