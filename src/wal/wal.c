/* Segments, commits, group commit, opening and replay (spec/06 §10-§12).
 *
 * State of the appending thread: open batch, next offset. State under the lock: the batch handed over, the failure. The writer alone touches the
 * newest segment's file after opening. One write and one fdatasync serve everything submitted since the last (DESIGN idea 5).
 * Writers are a few threads for all logs of the process: a log with something to write is in their queue or in the hands of one of them, an idle
 * log has none.
 */
#include "wal.h"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SEGMENT_HEADER_BYTES = 10, COMMIT_HEADER_BYTES = 22, CRC_BYTES = 4, BACKLOG_BYTES = 64 << 20, PATH_BYTES = 4096, MAX_PAYLOAD_BYTES = 1 << 30 };
static const uint8_t segment_header[SEGMENT_HEADER_BYTES] = {0x28, 0x64, 0x73, 0x29, 0x5e, 0x32, 1, 0, 0, 0}; /* "(ds)^2", version 1, CRC-32C */

struct lc_wal {
  const struct lc_fs *fs;
  struct lc_wal_options options;
  char *dir;          /* …/clog */
  int lock_fd;
  uint64_t *segments; /* first offsets, ascending */
  uint32_t n_segments, cap_segments;
  int fd;             /* newest segment; -1: none yet */
  uint64_t write_at;  /* end of its valid bytes */
  /* appending thread */
  struct lc_buf batch;
  uint64_t next_offset, batch_first;
  /* shared */
  pthread_mutex_t mutex;
  pthread_cond_t room;
  struct lc_buf waiting;
  uint64_t waiting_first, waiting_end;
  bool failed, has_writer; /* has_writer: queued with the writers or in the hands of one */
  bool is_user;            /* counted by the writers */
  struct lc_wal *queue_next; /* the writers' lock */
  atomic_uint_fast64_t durable_end;
  atomic_size_t unwritten_bytes; /* waiting.len */
};

static void segment_path(const struct lc_wal *w, uint64_t first, char *path, const char *suffix) {
  if (snprintf(path, PATH_BYTES, "%s/%020llu.stdb.log%s", w->dir, (unsigned long long)first, suffix) >= PATH_BYTES) lc_panic("path of a log segment is too long");
}

static enum lc_status io_error(struct lc_error *err, const char *what, const char *path, int rc) { return lc_fail(err, LC_IO, "cannot %s %s: %s", what, path, strerror(-rc)); }

static bool add_segment(struct lc_wal *w, uint64_t first) {
  pthread_mutex_lock(&w->mutex); /* lc_wal_retain may be looking */
  bool ok = w->n_segments < w->cap_segments;
  if (!ok) {
    uint32_t cap = w->cap_segments ? w->cap_segments * 2 : 16;
    uint64_t *p = lc_realloc(w->segments, cap * sizeof *p);
    if ((ok = p != NULL)) {
      w->segments = p;
      w->cap_segments = cap;
    }
  }
  if (ok) w->segments[w->n_segments++] = first;
  pthread_mutex_unlock(&w->mutex);
  return ok;
}

/* ---- reading one segment ---- */

struct commit { uint64_t offset, epoch; uint32_t n_tx, len; };
struct reader { const struct lc_fs *fs; int fd; uint64_t size, at; uint32_t header_bytes; struct lc_buf bytes; char path[PATH_BYTES]; };
enum outcome { COMMIT_OK, COMMIT_END, COMMIT_BAD };

static enum lc_status reader_open(struct lc_wal *w, uint64_t first, struct reader *r, struct lc_error *err) {
  uint8_t header[SEGMENT_HEADER_BYTES];
  *r = (struct reader){.fs = w->fs};
  segment_path(w, first, r->path, "");
  r->fd = w->fs->open(w->fs->ctx, r->path, false);
  if (r->fd < 0) return io_error(err, "open", r->path, r->fd);
  int64_t size = w->fs->size(w->fs->ctx, r->fd), got = w->fs->read_at(w->fs->ctx, r->fd, header, sizeof header, 0);
  r->size = size > 0 ? (uint64_t)size : 0;
  r->at = SEGMENT_HEADER_BYTES;
  if (got < (int64_t)sizeof header) {
    r->size = 0;
    return LC_OK;
  }
  static const uint8_t zstd_magic[] = {0x28, 0xb5, 0x2f, 0xfd};
  if (memcmp(header, zstd_magic, 4) == 0) return lc_fail(err, LC_UNSUPPORTED, "%s is compressed, which this version does not read yet", r->path);
  if (memcmp(header, segment_header, 6) != 0 || header[6] > 1 || header[7] != 0)
    return lc_fail(err, LC_CORRUPT, "%s at byte 0: expected the segment header 28647329 5e32 with version 0 or 1, found %02x%02x%02x%02x %02x%02x %02x %02x", r->path, header[0], header[1],
                   header[2], header[3], header[4], header[5], header[6], header[7]);
  r->header_bytes = header[6] == 0 ? COMMIT_HEADER_BYTES - 8 : COMMIT_HEADER_BYTES;
  return LC_OK;
}

static void reader_close(struct reader *r) {
  if (r->fd >= 0) r->fs->close(r->fs->ctx, r->fd);
  lc_buf_free(&r->bytes);
}

/* The commit at r->at; on COMMIT_OK moves behind it, and its records are at r->bytes + header. why: text for COMMIT_BAD. */
static enum outcome read_commit(struct reader *r, struct commit *c, char *why, size_t why_size) {
  uint8_t h[COMMIT_HEADER_BYTES];
  if (r->at >= r->size) return COMMIT_END;
  int64_t got = r->fs->read_at(r->fs->ctx, r->fd, h, r->header_bytes, r->at);
  if (got < (int64_t)r->header_bytes) return snprintf(why, why_size, "expected a commit header of %u bytes, found %lld", r->header_bytes, (long long)got), COMMIT_BAD;
  bool v1 = r->header_bytes == COMMIT_HEADER_BYTES;
  uint16_t n;
  memcpy(&c->offset, h, 8);
  c->epoch = 0;
  if (v1) memcpy(&c->epoch, h + 8, 8);
  memcpy(&n, h + (v1 ? 16 : 8), 2);
  memcpy(&c->len, h + (v1 ? 18 : 10), 4);
  c->n_tx = n;
  uint64_t total = (uint64_t)r->header_bytes + c->len + CRC_BYTES;
  if (r->size - r->at < total) return snprintf(why, why_size, "expected %llu bytes of commit, found %llu", (unsigned long long)total, (unsigned long long)(r->size - r->at)), COMMIT_BAD;
  lc_buf_clear(&r->bytes);
  if (!lc_buf_reserve(&r->bytes, total)) return snprintf(why, why_size, "out of memory for a commit of %llu bytes", (unsigned long long)total), COMMIT_BAD;
  if (r->fs->read_at(r->fs->ctx, r->fd, r->bytes.data, total, r->at) != (int64_t)total) return snprintf(why, why_size, "read failed"), COMMIT_BAD;
  uint32_t stored, actual = lc_crc32c(0, r->bytes.data, total - CRC_BYTES);
  memcpy(&stored, r->bytes.data + total - CRC_BYTES, 4);
  if (stored != actual || n == 0) return snprintf(why, why_size, "checksum mismatch: expected %08x, found %08x", stored, actual), COMMIT_BAD;
  r->at += total;
  return COMMIT_OK;
}

/* Is there an intact commit of a later offset anywhere behind a bad one? Then the bad one is damage, not a torn tail. */
static bool intact_commit_behind(struct reader *r, uint64_t expected) {
  enum { window_bytes = 1 << 16, plausible_ahead = 1 << 20 };
  uint64_t from = r->at;
  uint8_t *window = lc_alloc(window_bytes + 8);
  bool found = false;
  if (!window) return true; /* without memory to look, refuse rather than cut */
  for (uint64_t base = from + 1; !found && base + COMMIT_HEADER_BYTES < r->size; base += window_bytes) {
    int64_t got = r->fs->read_at(r->fs->ctx, r->fd, window, window_bytes + 8, base);
    for (int64_t i = 0; !found && i + 8 <= got && i < window_bytes; i++) {
      uint64_t offset;
      char why[128];
      struct commit c;
      memcpy(&offset, window + i, 8);
      if (offset < expected || offset - expected > plausible_ahead) continue;
      r->at = base + (uint64_t)i;
      found = read_commit(r, &c, why, sizeof why) == COMMIT_OK && c.epoch == 0;
    }
  }
  lc_free(window);
  r->at = from;
  return found;
}

/* ---- opening ---- */

static void on_name(void *arg, const char *name) {
  struct lc_wal *w = arg;
  unsigned long long first;
  int used = 0;
  if (sscanf(name, "%20llu.stdb.log%n", &first, &used) == 1 && used == 29 && name[used] == 0 && !add_segment(w, first)) w->failed = true;
}
static int by_number(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

/* Header into a temporary file, synced, renamed, folder synced: a segment that exists is whole (spec/06 §10.4). */
static int create_segment(struct lc_wal *w, uint64_t first) {
  const struct lc_fs *fs = w->fs;
  char path[PATH_BYTES], part[PATH_BYTES];
  segment_path(w, first, path, "");
  segment_path(w, first, part, ".tmp");
  fs->unlink(fs->ctx, part);
  int fd = fs->open(fs->ctx, part, true);
  if (fd < 0) return fd;
  int rc = fs->write_at(fs->ctx, fd, segment_header, sizeof segment_header, 0);
  if (rc == 0) rc = fs->sync(fs->ctx, fd);
  if (rc == 0) rc = fs->rename(fs->ctx, part, path);
  if (rc == 0) rc = fs->sync_dir(fs->ctx, w->dir);
  if (rc == 0 && !add_segment(w, first)) rc = -ENOMEM;
  if (rc != 0) {
    fs->close(fs->ctx, fd);
    return rc;
  }
  if (w->fd >= 0) fs->close(fs->ctx, w->fd);
  w->fd = fd;
  w->write_at = SEGMENT_HEADER_BYTES;
  return 0;
}

/* Finds the end of the newest segment, cutting a torn tail. */
static enum lc_status open_newest(struct lc_wal *w, struct lc_error *err) {
  while (w->n_segments) {
    uint64_t first = w->segments[w->n_segments - 1], expected = first;
    struct reader r;
    struct commit c;
    char why[256];
    enum lc_status st = reader_open(w, first, &r, err);
    if (st == LC_OK && r.size <= SEGMENT_HEADER_BYTES && w->n_segments > 1) { /* created, nothing in it: the one before is the newest */
      reader_close(&r);
      w->fs->unlink(w->fs->ctx, r.path);
      w->n_segments--;
      continue;
    }
    enum outcome o = COMMIT_END;
    while (st == LC_OK && (o = read_commit(&r, &c, why, sizeof why)) == COMMIT_OK) {
      if (c.offset != expected) st = lc_fail(err, LC_CORRUPT, "%s: out-of-order offset: expected=%llu actual=%llu", r.path, (unsigned long long)expected, (unsigned long long)c.offset);
      expected += c.n_tx;
    }
    if (st == LC_OK && o == COMMIT_BAD) {
      if (intact_commit_behind(&r, expected)) st = lc_fail(err, LC_CORRUPT, "%s: commit at byte position %llu (offset %llu): %s; intact commits follow it, so this is damage and not a torn tail", r.path, (unsigned long long)r.at, (unsigned long long)expected, why);
      else lc_log(LC_LOG_WARN, "%s: torn tail cut off at byte %llu (offset %llu): %s", r.path, (unsigned long long)r.at, (unsigned long long)expected, why);
    }
    if (st == LC_OK) {
      int rc = 0;
      if (r.size < SEGMENT_HEADER_BYTES) rc = w->fs->write_at(w->fs->ctx, r.fd, segment_header, sizeof segment_header, 0);
      if (rc == 0 && r.size > r.at) rc = w->fs->truncate(w->fs->ctx, r.fd, r.at);
      if (rc == 0) rc = w->fs->sync(w->fs->ctx, r.fd); /* what was read must stay readable */
      if (rc != 0) st = io_error(err, "sync", r.path, rc);
    }
    if (st == LC_OK) {
      w->next_offset = expected;
      w->write_at = r.at;
      w->fd = r.fd;
      r.fd = -1;
    }
    reader_close(&r);
    return st;
  }
  return LC_OK;
}

static bool writers_join(void);
static void writers_leave(void);
static void writers_queue(struct lc_wal *w);

enum lc_status lc_wal_open(const struct lc_fs *fs, const char *dir, const struct lc_wal_options *options, struct lc_wal **out, struct lc_error *err) {
  struct lc_wal *w = lc_alloc_zero(1, sizeof *w);
  char path[PATH_BYTES];
  if (!w) return lc_fail(err, LC_NOMEM, "out of memory");
  w->fs = fs;
  w->options = *options;
  if (!w->options.max_segment_bytes) w->options.max_segment_bytes = 1ull << 30;
  if (!w->options.backlog_bytes) w->options.backlog_bytes = BACKLOG_BYTES;
  w->fd = w->lock_fd = -1;
  pthread_mutex_init(&w->mutex, NULL);
  pthread_cond_init(&w->room, NULL);
  enum lc_status st = LC_OK;
  int rc;
  if (snprintf(path, sizeof path, "%s/clog", dir) >= (int)sizeof path - 64) st = lc_fail(err, LC_LIMIT, "path %s is too long", dir);
  else if (!(w->dir = lc_strdup_n(path, strlen(path)))) st = lc_fail(err, LC_NOMEM, "out of memory");
  snprintf(path, sizeof path, "%s/db.lock", dir);
  if (st == LC_OK && (rc = fs->make_dir(fs->ctx, w->dir)) != 0) st = io_error(err, "create folder", w->dir, rc);
  if (st == LC_OK && (w->lock_fd = fs->lock(fs->ctx, path)) < 0)
    st = w->lock_fd == -EWOULDBLOCK ? lc_fail(err, LC_CONFLICT, "commitlog directory is locked: failed to lock %s: another process has it", path) : io_error(err, "lock", path, w->lock_fd);
  if (st == LC_OK && (rc = fs->list(fs->ctx, w->dir, on_name, w)) != 0) st = io_error(err, "list", w->dir, rc);
  if (st == LC_OK && w->failed) st = lc_fail(err, LC_NOMEM, "out of memory");
  if (w->n_segments > 1) qsort(w->segments, w->n_segments, sizeof *w->segments, by_number);
  if (st == LC_OK) st = open_newest(w, err);
  if (st == LC_OK && w->fd < 0 && (rc = create_segment(w, 0)) != 0) st = io_error(err, "create a segment in", w->dir, rc);
  if (st == LC_OK && (rc = fs->sync_dir(fs->ctx, dir)) != 0) st = io_error(err, "sync folder", dir, rc);
  atomic_init(&w->durable_end, w->next_offset);
  w->batch_first = w->next_offset;
  if (st == LC_OK && !writers_join()) st = lc_fail(err, LC_IO, "cannot start a log writer thread");
  w->is_user = st == LC_OK;
  if (st != LC_OK) {
    lc_wal_close(w);
    return st;
  }
  *out = w;
  return LC_OK;
}

enum lc_status lc_wal_replay(struct lc_wal *w, uint64_t from_offset,
                             enum lc_status (*fn)(void *ctx, uint64_t first_offset, struct lc_slice records, uint32_t n_tx, size_t *consumed, struct lc_error *err), void *ctx,
                             struct lc_error *err) {
  enum lc_status st = LC_OK;
  uint32_t start = 0;
  while (start + 1 < w->n_segments && w->segments[start + 1] <= from_offset) start++; /* what is wholly before is not needed */
  uint64_t expected = w->n_segments ? w->segments[start] : 0;
  for (uint32_t i = start; i < w->n_segments && st == LC_OK; i++) {
    struct reader r;
    struct commit c;
    char why[256] = "";
    enum outcome o;
    st = reader_open(w, w->segments[i], &r, err);
    if (st == LC_OK && i + 1 == w->n_segments) r.size = w->write_at < r.size ? w->write_at : r.size;
    while (st == LC_OK && (o = read_commit(&r, &c, why, sizeof why)) != COMMIT_END) {
      size_t used = 0;
      if (o == COMMIT_BAD && i + 1 < w->n_segments && w->segments[i + 1] == expected) break; /* a torn tail that a newer segment replaced */
      if (o == COMMIT_BAD) st = lc_fail(err, LC_CORRUPT, "%s: commit at byte position %llu (offset %llu): %s", r.path, (unsigned long long)r.at, (unsigned long long)expected, why);
      else if (c.offset != expected) st = lc_fail(err, LC_CORRUPT, "%s: out-of-order commit: expected-offset=%llu actual-offset=%llu", r.path, (unsigned long long)expected, (unsigned long long)c.offset);
      if (st != LC_OK) break;
      expected += c.n_tx;
      if (c.offset < from_offset) continue;
      st = fn(ctx, c.offset, lc_slice(r.bytes.data + r.header_bytes, c.len), c.n_tx, &used, err);
      if (st == LC_OK && used != c.len) st = lc_fail(err, LC_CORRUPT, "%s: commit of offset %llu: expected records of %u bytes, found %zu", r.path, (unsigned long long)c.offset, c.len, used);
    }
    reader_close(&r);
  }
  return st;
}

uint64_t lc_wal_first_offset(const struct lc_wal *w) { return w->n_segments ? w->segments[0] : 0; }

enum lc_status lc_wal_retain(struct lc_wal *w, uint64_t from_offset, struct lc_error *err) {
  const struct lc_fs *fs = w->fs;
  for (;;) {
    char path[PATH_BYTES];
    pthread_mutex_lock(&w->mutex);
    bool whole = w->n_segments > 1 && w->segments[1] <= from_offset;
    uint64_t first = w->n_segments ? w->segments[0] : 0;
    pthread_mutex_unlock(&w->mutex);
    if (!whole) return LC_OK;
    segment_path(w, first, path, "");
    int rc = fs->unlink(fs->ctx, path);
    if (rc != 0 && rc != -ENOENT) return io_error(err, "remove", path, rc);
    rc = fs->sync_dir(fs->ctx, w->dir); /* each by itself: what is left never has a hole */
    if (rc != 0) return io_error(err, "sync folder", w->dir, rc);
    pthread_mutex_lock(&w->mutex);
    w->n_segments--;
    memmove(w->segments, w->segments + 1, w->n_segments * sizeof *w->segments);
    pthread_mutex_unlock(&w->mutex);
  }
}

/* ---- appending ---- */

uint64_t lc_wal_append(struct lc_wal *w, struct lc_slice payload) {
  size_t start = w->batch.len;
  lc_assert(payload.len < MAX_PAYLOAD_BYTES);
  if (!lc_buf_reserve(&w->batch, COMMIT_HEADER_BYTES + payload.len + CRC_BYTES)) lc_panic("out of memory for the log record of transaction %llu", (unsigned long long)w->next_offset);
  lc_buf_u64(&w->batch, w->next_offset);
  lc_buf_u64(&w->batch, 0);
  lc_buf_u16(&w->batch, 1);
  lc_buf_u32(&w->batch, (uint32_t)payload.len);
  lc_buf_slice_append(&w->batch, payload);
  lc_buf_u32(&w->batch, lc_crc32c(0, w->batch.data + start, w->batch.len - start));
  return w->next_offset++;
}

void lc_wal_submit(struct lc_wal *w) {
  if (w->batch.len == 0) return;
  pthread_mutex_lock(&w->mutex);
  while (w->waiting.len > w->options.backlog_bytes && !w->failed) pthread_cond_wait(&w->room, &w->mutex);
  if (w->failed) {
    lc_buf_free(&w->waiting);
  } else if (w->waiting.len == 0) {
    struct lc_buf empty = w->waiting; /* swap: the usual case copies nothing */
    w->waiting = w->batch;
    w->batch = empty;
    w->waiting_first = w->batch_first;
  } else {
    lc_buf_slice_append(&w->waiting, lc_buf_slice(&w->batch));
    if (!lc_buf_ok(&w->waiting)) lc_panic("out of memory for log records that wait to be written");
  }
  lc_buf_clear(&w->batch);
  w->batch_first = w->waiting_end = w->next_offset;
  atomic_store(&w->unwritten_bytes, w->waiting.len);
  bool queue = !w->has_writer && !w->failed;
  if (queue) w->has_writer = true;
  pthread_mutex_unlock(&w->mutex);
  if (queue) writers_queue(w);
}

bool lc_wal_is_full(const struct lc_wal *w) { return atomic_load(&w->unwritten_bytes) > w->options.backlog_bytes; }
uint64_t lc_wal_next_offset(const struct lc_wal *w) { return w->next_offset; }
uint64_t lc_wal_durable_end(const struct lc_wal *w) { return atomic_load_explicit(&w->durable_end, memory_order_acquire); }

bool lc_wal_wait_durable(struct lc_wal *w, uint64_t end) {
  pthread_mutex_lock(&w->mutex);
  while (!w->failed && lc_wal_durable_end(w) < end) pthread_cond_wait(&w->room, &w->mutex);
  bool ok = lc_wal_durable_end(w) >= end;
  pthread_mutex_unlock(&w->mutex);
  return ok;
}

enum lc_status lc_wal_wait_durable_for(struct lc_wal *w, uint64_t end, uint64_t timeout_ms) {
  struct timespec until;
  int rc = 0;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += (time_t)(timeout_ms / 1000);
  until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
  if (until.tv_nsec >= 1000000000) {
    until.tv_sec++;
    until.tv_nsec -= 1000000000;
  }
  pthread_mutex_lock(&w->mutex);
  while (rc == 0 && !w->failed && lc_wal_durable_end(w) < end) rc = pthread_cond_timedwait(&w->room, &w->mutex, &until);
  bool ok = lc_wal_durable_end(w) >= end, failed = w->failed;
  pthread_mutex_unlock(&w->mutex);
  return ok ? LC_OK : failed ? LC_IO : LC_LIMIT;
}

/* ---- writer ---- */

/* Writes and syncs one batch of whole commits beginning with offset `first`; rotates where the limit is passed. 0 or -errno. */
static int write_batch(struct lc_wal *w, struct lc_slice batch, uint64_t first) {
  const struct lc_fs *fs = w->fs;
  size_t done = 0;
  while (done < batch.len) {
    if (w->write_at >= w->options.max_segment_bytes) {
      int rc = create_segment(w, first);
      if (rc != 0) return rc;
      if (w->options.rotated) w->options.rotated(w->options.ctx, first);
    }
    size_t end = done; /* as many commits as fit before the limit is passed */
    while (end < batch.len && w->write_at + (end - done) < w->options.max_segment_bytes) {
      uint32_t len;
      memcpy(&len, batch.data + end + 18, 4);
      end += COMMIT_HEADER_BYTES + (size_t)len + CRC_BYTES;
      first++;
    }
    int rc = fs->write_at(fs->ctx, w->fd, batch.data + done, end - done, w->write_at);
    if (rc == 0) rc = fs->sync(fs->ctx, w->fd);
    if (rc != 0) return rc;
    w->write_at += end - done;
    done = end;
  }
  return 0;
}

/* Writes what has been handed over; false when there is nothing more to write for now. `batch` is the writer's own and changes places with what waits. */
static bool write_waiting(struct lc_wal *w, struct lc_buf *batch) {
  pthread_mutex_lock(&w->mutex);
  struct lc_buf swap = w->waiting;
  uint64_t first = w->waiting_first, end = w->waiting_end;
  w->waiting = *batch;
  lc_buf_clear(&w->waiting);
  *batch = swap;
  atomic_store(&w->unwritten_bytes, 0);
  pthread_mutex_unlock(&w->mutex);
  int rc = write_batch(w, lc_buf_slice(batch), first);
  if (rc == 0) {
    atomic_store_explicit(&w->durable_end, end, memory_order_release);
    if (w->options.durable) w->options.durable(w->options.ctx, end);
  } else if (w->options.failed) {
    char text[256];
    snprintf(text, sizeof text, "writing transactions from offset %llu in %.150s: %s", (unsigned long long)first, w->dir, strerror(-rc));
    w->options.failed(w->options.ctx, text);
  }
  pthread_mutex_lock(&w->mutex);
  w->failed = rc != 0;
  bool more = w->has_writer = !w->failed && w->waiting.len > 0;
  pthread_cond_broadcast(&w->room); /* under the lock: whoever closes the log must not free it before we have let go */
  pthread_mutex_unlock(&w->mutex);
  return more;
}

/* ---- writers: threads that serve all logs ---- */

enum { MAX_WRITERS = 32, WRITER_IDLE_S = 5 };
static struct {
  pthread_mutex_t mutex;
  pthread_cond_t work, gone;
  struct lc_wal *first, *last;     /* logs that wait for a writer */
  unsigned n_users, n_queued, n_threads, n_idle; /* open logs; those that wait; writers; those of them that wait */
} writers = {.mutex = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER, .gone = PTHREAD_COND_INITIALIZER};

static void append_log(struct lc_wal *w) {
  w->queue_next = NULL;
  if (writers.first) writers.last->queue_next = w;
  else writers.first = w;
  writers.last = w;
  writers.n_queued++;
}

/* Waits for a log; NULL: this writer is not needed any more (the last one stays as long as a log is open). */
static struct lc_wal *next_log(void) {
  while (!writers.first && writers.n_users) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WRITER_IDLE_S;
    writers.n_idle++;
    int rc = pthread_cond_timedwait(&writers.work, &writers.mutex, &until);
    writers.n_idle--;
    if (rc == ETIMEDOUT && !writers.first && writers.n_threads > 1) return NULL;
  }
  struct lc_wal *w = writers.first;
  if (!w) return NULL;
  writers.first = w->queue_next;
  writers.n_queued--;
  return w;
}

static void *writer_main(void *arg) {
  enum { keep_bytes = 4 << 20 };
  struct lc_buf batch = {0};
  (void)arg;
  pthread_mutex_lock(&writers.mutex);
  for (struct lc_wal *w; (w = next_log());) {
    bool more, others;
    do { /* stays with a busy log while no other waits */
      pthread_mutex_unlock(&writers.mutex);
      more = write_waiting(w, &batch);
      if (batch.cap > keep_bytes) lc_buf_free(&batch);
      pthread_mutex_lock(&writers.mutex);
      others = writers.first != NULL;
    } while (more && !others);
    if (more) append_log(w);
  }
  writers.n_threads--;
  if (writers.n_threads == 0) pthread_cond_broadcast(&writers.gone);
  pthread_mutex_unlock(&writers.mutex);
  lc_buf_free(&batch);
  return NULL;
}

static bool add_writer(void) {
  pthread_t id;
  pthread_attr_t attr;
  pthread_attr_init(&attr);
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attr, 512 << 10);
  bool ok = pthread_create(&id, &attr, writer_main, NULL) == 0;
  pthread_attr_destroy(&attr);
  if (ok) writers.n_threads++;
  return ok;
}

/* A log is open: from here on there is a writer, so that a log that waits is always served. */
static bool writers_join(void) {
  pthread_mutex_lock(&writers.mutex);
  bool ok = writers.n_threads > 0 || add_writer();
  if (ok) writers.n_users++;
  pthread_mutex_unlock(&writers.mutex);
  return ok;
}

static void writers_leave(void) {
  pthread_mutex_lock(&writers.mutex);
  if (--writers.n_users == 0) {
    pthread_cond_broadcast(&writers.work);
    while (writers.n_threads && !writers.n_users) pthread_cond_wait(&writers.gone, &writers.mutex);
  }
  pthread_mutex_unlock(&writers.mutex);
}

static void writers_queue(struct lc_wal *w) {
  pthread_mutex_lock(&writers.mutex);
  append_log(w);
  if (writers.n_idle >= writers.n_queued) pthread_cond_signal(&writers.work);
  else if (writers.n_threads < MAX_WRITERS) add_writer(); /* without another one those there are serve this log too */
  pthread_mutex_unlock(&writers.mutex);
}

void lc_wal_close(struct lc_wal *w) {
  if (!w) return;
  if (w->is_user) {
    lc_wal_submit(w);
    pthread_mutex_lock(&w->mutex);
    while (w->has_writer) pthread_cond_wait(&w->room, &w->mutex);
    pthread_mutex_unlock(&w->mutex);
    writers_leave();
  }
  if (w->fd >= 0) w->fs->close(w->fs->ctx, w->fd);
  if (w->lock_fd >= 0) w->fs->close(w->fs->ctx, w->lock_fd);
  lc_buf_free(&w->batch);
  lc_buf_free(&w->waiting);
  lc_free(w->segments);
  lc_free(w->dir);
  pthread_mutex_destroy(&w->mutex);
  pthread_cond_destroy(&w->room);
  lc_free(w);
}
