/* Text files by UTC day in one folder, with bounds on days and bytes: PREFIXYYYY-MM-DD.log, and PREFIXYYYY-MM-DD.NNNN.log for what was rotated away on that day.
 *
 * Invariants: the file of today is only ever appended to; when it reaches an eighth of the bytes allowed it gets a number and a new one is begun. Files that are too old,
 * and the oldest of those that are too many bytes, go when a file is begun; today's stays. Files of other names are nobody's business here. One user at a time.
 * Callers: the server's log (env.c), db/module_log.c.
 */
#include "base.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_NUMBER = 9999, PARTS = 8 };

/* A name's day and number (of today's file as it were: MAX_NUMBER + 1); false: it is another file. */
static bool parse_name(const struct lc_day_files *f, const char *name, int64_t *day, unsigned *number) {
  int year, month, date, end = 0;
  size_t n = strlen(f->prefix);
  if (strncmp(name, f->prefix, n) != 0 || strlen(name + n) < 14) return false;
  *number = MAX_NUMBER + 1;
  if (sscanf(name + n, "%4d-%2d-%2d%n", &year, &month, &date, &end) != 3 || end != 10) return false;
  if (strcmp(name + n + 10, ".log") != 0 && (sscanf(name + n + 10, ".%4u%n", number, &end) != 1 || end != 5 || strcmp(name + n + 15, ".log") != 0)) return false;
  struct tm tm = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = date};
  *day = (int64_t)timegm(&tm) / 86400;
  return true;
}
static void path_of(const struct lc_day_files *f, int64_t day, unsigned number, char path[LC_DAY_FILES_PATH_BYTES]) {
  time_t t = (time_t)(day * 86400);
  struct tm tm;
  char part[16] = "";
  gmtime_r(&t, &tm);
  if (number <= MAX_NUMBER) snprintf(part, sizeof part, ".%04u", number);
  snprintf(path, LC_DAY_FILES_PATH_BYTES, "%s/%s%04d-%02d-%02d%s.log", f->dir, f->prefix, tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, part);
}
static int in_order(const void *a, const void *b) {
  const struct lc_day_file *x = a, *y = b;
  if (x->day != y->day) return x->day < y->day ? -1 : 1;
  return x->number < y->number ? -1 : x->number > y->number;
}

bool lc_day_files_list(const struct lc_day_files *f, struct lc_day_file **out, uint32_t *n) {
  uint32_t cap = 0;
  struct stat st;
  DIR *d = opendir(f->dir);
  *out = NULL;
  *n = 0;
  if (!d) return errno == ENOENT;
  for (struct dirent *e; (e = readdir(d));) {
    struct lc_day_file file;
    if (!parse_name(f, e->d_name, &file.day, &file.number) || fstatat(dirfd(d), e->d_name, &st, 0) != 0 || !S_ISREG(st.st_mode)) continue;
    if (*n == cap) {
      cap = cap ? 2 * cap : 16;
      struct lc_day_file *more = lc_realloc(*out, cap * sizeof *more);
      if (!more) break;
      *out = more;
    }
    file.bytes = (uint64_t)st.st_size;
    (*out)[(*n)++] = file;
  }
  closedir(d);
  if (*n) qsort(*out, *n, sizeof **out, in_order);
  return true;
}
int lc_day_files_open_one(const struct lc_day_files *f, const struct lc_day_file *file) {
  char path[LC_DAY_FILES_PATH_BYTES];
  path_of(f, file->day, file->number, path);
  return open(path, O_RDONLY | O_CLOEXEC);
}

void lc_day_files_trim(const struct lc_day_files *f, int64_t today) {
  struct lc_day_file *files;
  char path[LC_DAY_FILES_PATH_BYTES];
  uint32_t n;
  uint64_t bytes = 0;
  if (!f->max_days && !f->max_bytes) return;
  if (!lc_day_files_list(f, &files, &n)) return;
  for (uint32_t i = 0; i < n; i++) bytes += files[i].bytes;
  for (uint32_t i = 0; i < n; i++) {
    bool is_old = f->max_days && files[i].day <= today - f->max_days, is_much = f->max_bytes && bytes > f->max_bytes;
    if (!(is_old || is_much) || (files[i].day == today && files[i].number > MAX_NUMBER)) continue;
    path_of(f, files[i].day, files[i].number, path);
    if (unlink(path) == 0) bytes -= files[i].bytes;
  }
  lc_free(files);
}

/* Today's file so far gets the next number of its day. */
static void rotate(struct lc_day_files *f) {
  struct lc_day_file *files;
  uint32_t n;
  unsigned number = 1;
  char from[LC_DAY_FILES_PATH_BYTES], to[LC_DAY_FILES_PATH_BYTES];
  if (!lc_day_files_list(f, &files, &n)) return;
  for (uint32_t i = 0; i < n; i++)
    if (files[i].day == f->day && files[i].number <= MAX_NUMBER && files[i].number >= number) number = files[i].number + 1;
  lc_free(files);
  if (number > MAX_NUMBER) return; /* then it grows */
  path_of(f, f->day, MAX_NUMBER + 1, from);
  path_of(f, f->day, number, to);
  if (rename(from, to) == 0) {
    close(f->fd);
    f->fd = -1;
  }
}

size_t lc_day_files_append(struct lc_day_files *f, struct lc_slice text, int64_t now_s) {
  int64_t today = now_s / 86400;
  size_t done = 0;
  bool begun = f->fd < 0 || f->day != today;
  if (!begun && f->max_bytes && f->bytes >= f->max_bytes / PARTS && !f->keep_open) {
    rotate(f);
    begun = f->fd < 0;
  }
  if (begun) {
    char path[LC_DAY_FILES_PATH_BYTES];
    struct stat st;
    if (f->fd >= 0) close(f->fd);
    path_of(f, today, MAX_NUMBER + 1, path);
    f->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    f->day = today;
    f->bytes = f->fd >= 0 && fstat(f->fd, &st) == 0 ? (uint64_t)st.st_size : 0;
    if (!f->keep_open) lc_day_files_trim(f, today);
  }
  while (f->fd >= 0 && done < text.len) {
    ssize_t n = write(f->fd, text.data + done, text.len - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    done += (size_t)n;
  }
  f->bytes += done;
  return text.len - done;
}
void lc_day_files_close(struct lc_day_files *f) {
  if (f->fd >= 0) close(f->fd);
  f->fd = -1;
}
