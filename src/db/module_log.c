/* The log a module writes: one JSON object a line, files by UTC day in DIR/module_logs (spec/02 §5.7, spec/04 §3.8, spec/06 §1).
 *
 * Lines are collected in a buffer and written once per drain (module_log_flush) or when 64 KiB wait. Without a directory the newest
 * MEMORY_LIMIT bytes are kept in memory. One lock guards everything, so any thread may read or follow; followers are called under it and
 * must not block. Callers: call.c, db.c, open.c and the host through the log callback.
 */
#include "db_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { FLUSH_BYTES = 64 << 10, MEMORY_LIMIT_BYTES = 8 << 20, MAX_FOLLOWERS = 64, READ_LIMIT_BYTES = 64 << 20 };

struct follower { void (*fn)(void *, struct lc_slice); void *ctx; };
struct module_log {
  pthread_mutex_t lock;
  char *dir;          /* NULL: in memory */
  int fd;             /* today's file, -1 before the first write */
  int64_t day;        /* days since the epoch of the open file */
  struct lc_buf waiting, memory;
  struct follower followers[MAX_FOLLOWERS];
  uint32_t n_followers;
};

struct module_log *module_log_open(const char *dir, struct lc_error *err) {
  struct module_log *log = lc_alloc_zero(1, sizeof *log);
  if (!log) {
    lc_fail(err, LC_NOMEM, "out of memory");
    return NULL;
  }
  pthread_mutex_init(&log->lock, NULL);
  log->fd = -1;
  if (!dir) return log;
  char path[4096];
  snprintf(path, sizeof path, "%s/module_logs", dir);
  if (mkdir(path, 0755) != 0 && errno != EEXIST) {
    lc_fail(err, LC_IO, "cannot create folder %s: %s", path, strerror(errno));
    module_log_close(log);
    return NULL;
  }
  log->dir = lc_strdup_n(path, strlen(path));
  return log;
}

static void day_path(const struct module_log *log, int64_t day, char *path, size_t size) {
  time_t t = (time_t)(day * 86400);
  struct tm tm;
  gmtime_r(&t, &tm);
  snprintf(path, size, "%s/%04d-%02d-%02d.log", log->dir, tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
}

/* A full disk must not stop the database for its log's sake: lines that cannot be written are dropped with a word in the server log. */
static void flush_locked(struct module_log *log) {
  if (log->waiting.len == 0) return;
  if (!log->dir) {
    lc_buf_slice_append(&log->memory, lc_buf_slice(&log->waiting));
    if (log->memory.len > 2 * MEMORY_LIMIT_BYTES) {
      size_t drop = log->memory.len - MEMORY_LIMIT_BYTES;
      const uint8_t *nl = memchr(log->memory.data + drop, '\n', log->memory.len - drop);
      drop = nl ? (size_t)(nl - log->memory.data) + 1 : log->memory.len;
      memmove(log->memory.data, log->memory.data + drop, log->memory.len - drop);
      log->memory.len -= drop;
    }
    lc_buf_clear(&log->waiting);
    return;
  }
  int64_t day = (int64_t)time(NULL) / 86400;
  if (log->fd < 0 || log->day != day) {
    char path[4200];
    if (log->fd >= 0) close(log->fd);
    day_path(log, day, path, sizeof path);
    log->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    log->day = day;
  }
  size_t done = 0;
  while (log->fd >= 0 && done < log->waiting.len) {
    ssize_t n = write(log->fd, log->waiting.data + done, log->waiting.len - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    done += (size_t)n;
  }
  if (done < log->waiting.len) lc_log(LC_LOG_ERROR, "module log in %s: %zu bytes lost: %s", log->dir, log->waiting.len - done, strerror(errno));
  lc_buf_clear(&log->waiting);
}

void module_log_flush(struct module_log *log) {
  pthread_mutex_lock(&log->lock);
  flush_locked(log);
  pthread_mutex_unlock(&log->lock);
}

static void text_field(struct lc_buf *b, const char *key, struct lc_slice text) {
  if (!text.data) return;
  lc_buf_printf(b, ",\"%s\":", key);
  lc_json_escape(b, text);
}

void module_log_record(struct module_log *log, const struct lc_module_log_record *rec) {
  static const char *const names[] = {"Error", "Warn", "Info", "Debug", "Trace"};
  pthread_mutex_lock(&log->lock);
  size_t start = log->waiting.len;
  struct lc_buf *b = &log->waiting;
  lc_buf_printf(b, "{\"level\":\"%s\",\"ts\":%lld", rec->level == 101 ? "Panic" : rec->level <= 4 ? names[rec->level] : "Debug", (long long)rec->ts_us);
  text_field(b, "target", rec->target);
  text_field(b, "filename", rec->filename);
  if (rec->has_line) lc_buf_printf(b, ",\"line_number\":%u", rec->line);
  text_field(b, "function", rec->function);
  lc_buf_str(b, ",\"message\":");
  lc_json_escape(b, rec->message);
  if (rec->level == 101) {
    lc_buf_str(b, ",\"trace\":[");
    for (uint32_t i = 0; i < rec->n_frames; i++) {
      lc_buf_str(b, i ? ",{\"func_name\":" : "{\"func_name\":");
      lc_json_escape(b, rec->frames[i]);
      lc_buf_str(b, "}");
    }
    lc_buf_str(b, "]");
  }
  lc_buf_str(b, "}\n");
  if (!lc_buf_ok(b)) { /* out of memory: this line is lost, the earlier ones are not */
    b->failed = false;
    b->len = start;
  }
  for (uint32_t i = 0; i < log->n_followers; i++) log->followers[i].fn(log->followers[i].ctx, lc_slice(b->data + start, b->len - start));
  if (b->len > FLUSH_BYTES) flush_locked(log);
  pthread_mutex_unlock(&log->lock);
}

void module_log_engine(struct module_log *log, uint8_t level, int64_t ts_us, const char *function, const char *fmt, ...) {
  char text[2048];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  struct lc_slice engine = lc_slice_str("__spacetimedb__");
  module_log_record(log, &(struct lc_module_log_record){
                             .level = level, .ts_us = ts_us, .target = engine, .filename = engine, .function = lc_slice_str(function), .message = lc_slice_str(text)});
}

static enum lc_status read_file(const char *path, struct lc_buf *out, struct lc_error *err) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT ? LC_OK : lc_fail(err, LC_IO, "cannot read %s: %s", path, strerror(errno));
  struct stat st;
  if (fstat(fd, &st) == 0 && st.st_size > READ_LIMIT_BYTES) lseek(fd, st.st_size - READ_LIMIT_BYTES, SEEK_SET);
  for (;;) {
    if (!lc_buf_reserve(out, 64 << 10)) break;
    ssize_t n = read(fd, out->data + out->len, 64 << 10);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    out->len += (size_t)n;
  }
  close(fd);
  return lc_buf_ok(out) ? LC_OK : lc_fail(err, LC_NOMEM, "out of memory while reading %s", path);
}

enum lc_status module_log_read(struct module_log *log, uint64_t n_lines, struct lc_buf *out, struct lc_error *err) {
  size_t start = out->len;
  enum lc_status st = LC_OK;
  pthread_mutex_lock(&log->lock);
  flush_locked(log);
  if (!log->dir) {
    lc_buf_slice_append(out, lc_buf_slice(&log->memory));
  } else {
    char path[4200];
    day_path(log, log->fd >= 0 ? log->day : (int64_t)time(NULL) / 86400, path, sizeof path);
    st = read_file(path, out, err);
  }
  pthread_mutex_unlock(&log->lock);
  if (st != LC_OK || n_lines == 0) return st;
  size_t at = out->len;
  for (uint64_t lines = 0; at > start; at--) {
    if (out->data[at - 1] != '\n') continue;
    if (lines++ == n_lines) break;
  }
  if (at > start) {
    memmove(out->data + start, out->data + at, out->len - at);
    out->len -= at - start;
  }
  return LC_OK;
}

enum lc_status module_log_follow(struct module_log *log, void (*fn)(void *, struct lc_slice), void *ctx) {
  enum lc_status st = LC_LIMIT;
  pthread_mutex_lock(&log->lock);
  if (log->n_followers < MAX_FOLLOWERS) {
    log->followers[log->n_followers++] = (struct follower){fn, ctx};
    st = LC_OK;
  }
  pthread_mutex_unlock(&log->lock);
  return st;
}

void module_log_unfollow(struct module_log *log, void (*fn)(void *, struct lc_slice), void *ctx) {
  pthread_mutex_lock(&log->lock);
  for (uint32_t i = 0; i < log->n_followers; i++) {
    if (log->followers[i].fn != fn || log->followers[i].ctx != ctx) continue;
    log->followers[i] = log->followers[--log->n_followers];
    break;
  }
  pthread_mutex_unlock(&log->lock);
}

/* Writes what `from` (in memory) holds to `to` and closes `from`; followers stay behind, for a database not yet born has none. */
void module_log_adopt(struct module_log *to, struct module_log *from) {
  flush_locked(from);
  pthread_mutex_lock(&to->lock);
  lc_buf_slice_append(&to->waiting, lc_buf_slice(&from->memory));
  flush_locked(to);
  pthread_mutex_unlock(&to->lock);
  module_log_close(from);
}

void module_log_close(struct module_log *log) {
  if (!log) return;
  flush_locked(log);
  if (log->fd >= 0) close(log->fd);
  lc_buf_free(&log->waiting);
  lc_buf_free(&log->memory);
  lc_free(log->dir);
  pthread_mutex_destroy(&log->lock);
  lc_free(log);
}
