/* The log a module writes: one JSON object a line, files by UTC day in DIR/module_logs (spec/02 §5.7, spec/04 §3.8, spec/06 §1), as many days and bytes as are kept.
 *
 * Lines are collected in a buffer and written once per drain (module_log_flush) or when 64 KiB wait. Without a directory the newest
 * MEMORY_LIMIT bytes are kept in memory. One lock guards everything but the reading of files, so any thread may read or follow; followers are called under it and
 * must not block. While somebody reads no file is rotated or removed, so that what is read has no gap. Callers: call.c, db.c, open.c and the host through the log callback.
 */
#include "db_internal.h"
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { FLUSH_BYTES = 64 << 10, MEMORY_LIMIT_BYTES = 8 << 20, MAX_FOLLOWERS = 64, READ_LIMIT_BYTES = 64 << 20 };

struct follower { void (*fn)(void *, struct lc_slice); void *ctx; };
struct module_log {
  pthread_mutex_t lock;
  char *dir;          /* NULL: in memory */
  struct lc_day_files files;
  unsigned n_readers;
  struct lc_buf waiting, memory;
  struct follower followers[MAX_FOLLOWERS];
  uint32_t n_followers;
};

struct module_log *module_log_open(const char *dir, uint32_t max_days, uint64_t max_bytes, struct lc_error *err) {
  struct module_log *log = lc_alloc_zero(1, sizeof *log);
  if (!log) {
    lc_fail(err, LC_NOMEM, "out of memory");
    return NULL;
  }
  pthread_mutex_init(&log->lock, NULL);
  log->files.fd = -1;
  if (!dir) return log;
  char path[4096];
  snprintf(path, sizeof path, "%s/module_logs", dir);
  if (mkdir(path, 0755) != 0 && errno != EEXIST) {
    lc_fail(err, LC_IO, "cannot create folder %s: %s", path, strerror(errno));
    module_log_close(log);
    return NULL;
  }
  log->dir = lc_strdup_n(path, strlen(path));
  if (!log->dir) {
    lc_fail(err, LC_NOMEM, "out of memory");
    module_log_close(log);
    return NULL;
  }
  log->files = (struct lc_day_files){.dir = log->dir, .prefix = "", .max_days = max_days, .max_bytes = max_bytes, .fd = -1};
  lc_day_files_trim(&log->files, (int64_t)time(NULL) / 86400);
  return log;
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
  log->files.keep_open = log->n_readers > 0;
  size_t lost = lc_day_files_append(&log->files, lc_buf_slice(&log->waiting), (int64_t)time(NULL));
  if (lost) lc_log(LC_LOG_ERROR, "module log in %s: %zu bytes lost: %s", log->dir, lost, strerror(errno));
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
      lc_buf_str(b, i ? ",{" : "{");
      if (rec->frames[i].module.len) {
        lc_buf_str(b, "\"module_name\":");
        lc_json_escape(b, rec->frames[i].module);
        lc_buf_str(b, ",");
      }
      lc_buf_str(b, "\"func_name\":");
      lc_json_escape(b, rec->frames[i].function);
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

/* Cuts what is behind `start` down to the last n lines. */
static void last_lines(struct lc_buf *out, size_t start, uint64_t n_lines) {
  size_t at = out->len;
  for (uint64_t lines = 0; at > start; at--) {
    if (out->data[at - 1] != '\n') continue;
    if (lines++ == n_lines) break;
  }
  memmove(out->data + start, out->data + at, out->len - at);
  out->len -= at - start;
}

/* Where the last *n_lines of a file begin, looked for from its end; *n_lines: how many are still to be found in older files. */
static off_t tail_of(int fd, off_t size, uint64_t *n_lines) {
  char chunk[16 << 10];
  for (off_t at = size; at > 0;) {
    off_t from = at > (off_t)sizeof chunk ? at - (off_t)sizeof chunk : 0;
    ssize_t n = pread(fd, chunk, (size_t)(at - from), from);
    if (n != at - from) return at;
    for (ssize_t i = n - 1; i >= 0; i--) {
      if (chunk[i] != '\n' || from + i == size - 1) continue;
      if (--*n_lines == 0) return from + i + 1;
    }
    at = from;
  }
  if (size > 0) --*n_lines;
  return 0;
}
static bool read_between(int fd, off_t at, off_t end, struct lc_buf *out) {
  if (!lc_buf_reserve(out, (size_t)(end - at))) return false;
  while (at < end) {
    ssize_t n = pread(fd, out->data + out->len, (size_t)(end - at), at);
    if (n <= 0) return n == 0;
    out->len += (size_t)n;
    at += n;
  }
  return true;
}
/* n_lines 0: the newest file; else as many lines from the end, through as many files as they take. READ_LIMIT_BYTES at most. */
static enum lc_status read_files(struct module_log *log, uint64_t n_lines, struct lc_buf *out, struct lc_error *err) {
  struct lc_day_file *files;
  uint32_t n, first;
  struct stat st;
  off_t left = READ_LIMIT_BYTES, at = 0;
  if (!lc_day_files_list(&log->files, &files, &n)) return lc_fail(err, LC_IO, "cannot read folder %s: %s", log->dir, strerror(errno));
  bool ok = true, all = n_lines == 0;
  for (first = n; first > 0 && left > 0;) {
    int fd = lc_day_files_open_one(&log->files, &files[--first]);
    ok = fd >= 0 && fstat(fd, &st) == 0;
    if (!ok) break;
    files[first].bytes = (uint64_t)st.st_size; /* what comes later is not read */
    at = all ? 0 : tail_of(fd, st.st_size, &n_lines);
    if (st.st_size - at > left) at = st.st_size - left;
    left -= st.st_size - at;
    close(fd);
    if (all || n_lines == 0) break;
  }
  for (uint32_t i = first; ok && i < n; i++) {
    int fd = lc_day_files_open_one(&log->files, &files[i]);
    ok = fd >= 0 && read_between(fd, i == first ? at : 0, (off_t)files[i].bytes, out);
    if (fd >= 0) close(fd);
  }
  lc_free(files);
  if (!lc_buf_ok(out)) return lc_fail(err, LC_NOMEM, "out of memory while reading %s", log->dir);
  return ok ? LC_OK : lc_fail(err, LC_IO, "cannot read the files in %s: %s", log->dir, strerror(errno));
}

enum lc_status module_log_read(struct module_log *log, uint64_t n_lines, struct lc_buf *out, struct lc_error *err) {
  size_t start = out->len;
  enum lc_status st = LC_OK;
  pthread_mutex_lock(&log->lock);
  flush_locked(log);
  if (!log->dir) lc_buf_slice_append(out, lc_buf_slice(&log->memory));
  else log->n_readers++;
  pthread_mutex_unlock(&log->lock);
  if (!log->dir) {
    if (n_lines && lc_buf_ok(out)) last_lines(out, start, n_lines);
    return lc_buf_ok(out) ? LC_OK : lc_fail(err, LC_NOMEM, "out of memory");
  }
  st = read_files(log, n_lines, out, err);
  pthread_mutex_lock(&log->lock);
  log->n_readers--;
  pthread_mutex_unlock(&log->lock);
  return st;
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
  lc_day_files_close(&log->files);
  lc_buf_free(&log->waiting);
  lc_buf_free(&log->memory);
  lc_free(log->dir);
  pthread_mutex_destroy(&log->lock);
  lc_free(log);
}
