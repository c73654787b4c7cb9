/* Owns: the segments of a log, group commit and opening (spec/06 §10-§12).
 *
 * State of the appending thread: open batch, next offset. State under the lock: the batch handed over, the failure. The writer alone touches the
 * newest segment's file after opening. One write and one fdatasync serve everything submitted since the last (DESIGN idea 5).
 * Writers are a few threads for all logs of the process: a log with something to write is in their queue or in the hands of one of them, an idle
 * log has none.
 */
#include "wal_internal.h"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { BACKLOG_BYTES = 64 << 20, KEPT_BATCH_BYTES = 256 << 10 /* of each buffer */ };
static const uint64_t MAX_PAYLOAD_BYTES = UINT32_MAX; /* its length is a u32 */

struct lc_wal {
  const struct lc_fs *fs;
  struct lc_wal_options options;
  char *dir;          /* …/clog */
  int lock_fd;
  uint64_t *segments; /* first offsets, ascending */
  uint32_t n_segments, cap_segments;
  int fd;             /* newest segment; -1: none yet */
  uint64_t write_at;  /* end of its valid bytes */
  struct wal_index index; /* of the newest segment; the writer's */
  uint64_t epoch;     /* of the last commit: never less in the next */
  uint64_t compressed_before; /* segments that begin before are; of who compresses */
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
  atomic_uint_fast64_t written_bytes, syncs, sync_us; /* the writer's: since it was opened */
};

/* With the lock: lc_wal_retain may be looking. */
static bool room_for_segment(struct lc_wal *w) {
  if (w->n_segments < w->cap_segments) return true;
  uint32_t cap = w->cap_segments ? w->cap_segments * 2 : 16;
  uint64_t *p = lc_realloc(w->segments, cap * sizeof *p);
  if (!p) return false;
  w->segments = p;
  w->cap_segments = cap;
  return true;
}

/* ---- opening ---- */

static void on_name(void *arg, const char *name) {
  struct lc_wal *w = arg;
  uint64_t first;
  if (!wal_segment_name(name, &first)) return;
  if (room_for_segment(w)) w->segments[w->n_segments++] = first;
  else w->failed = true;
}
static int by_number(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

/* Header into a temporary file, synced, renamed, folder synced: a segment that exists is whole (spec/06 §10.4). */
static int create_segment(struct lc_wal *w, uint64_t first) {
  const struct lc_fs *fs = w->fs;
  char path[WAL_PATH_BYTES], part[WAL_PATH_BYTES];
  wal_path(w->dir, first, ".stdb.log", path);
  wal_path(w->dir, first, ".stdb.log.tmp", part);
  pthread_mutex_lock(&w->mutex);
  bool has_room = room_for_segment(w); /* which retaining does not take */
  pthread_mutex_unlock(&w->mutex);
  if (!has_room) return -ENOMEM;
  int there = fs->open(fs->ctx, path, false); /* renaming would replace it */
  if (there >= 0) fs->close(fs->ctx, there);
  if (there != -ENOENT) return there >= 0 ? -EEXIST : there;
  fs->unlink(fs->ctx, part);
  int fd = fs->open(fs->ctx, part, true);
  if (fd < 0) return fd;
  int rc = fs->write_at(fs->ctx, fd, wal_segment_header, sizeof wal_segment_header, 0);
  if (rc == 0 && !LC_PLANTED(LC_BUG_NAME_BEFORE_DATA)) rc = fs->sync(fs->ctx, fd);
  if (rc == 0) rc = fs->rename(fs->ctx, part, path);
  bool is_named = rc == 0;
  if (is_named && !LC_PLANTED(LC_BUG_NO_DIR_SYNC)) rc = fs->sync_dir(fs->ctx, w->dir);
  if (rc != 0) {
    fs->close(fs->ctx, fd);
    if (fs->unlink(fs->ctx, is_named ? path : part) == 0 || !is_named) return rc; /* nothing is in it */
    pthread_mutex_lock(&w->mutex);
    w->segments[w->n_segments++] = first; /* it is there all the same, for whoever discards the log; nothing is appended any more */
    pthread_mutex_unlock(&w->mutex);
    return rc;
  }
  pthread_mutex_lock(&w->mutex);
  w->segments[w->n_segments++] = first;
  pthread_mutex_unlock(&w->mutex);
  if (w->fd >= 0) fs->close(fs->ctx, w->fd);
  w->fd = fd;
  w->write_at = WAL_SEGMENT_HEADER_BYTES;
  wal_index_end(&w->index);
  wal_index_begin(&w->index, fs, w->dir, first, 0, w->options.max_segment_bytes);
  return 0;
}

/* After a failed sync the system may hold pages as clean that never reached the disk: what was read is right, but a sync would not write it. So what an earlier
 * process may have left so, at most what is behind the last entry of the index (an entry is written after the sync of what it names), is written once more, byte
 * for byte. 0 or -errno. */
static int write_again(const struct lc_wal *w, const struct wal_reader *r, uint64_t from) {
  enum { chunk_bytes = 1 << 20 };
  uint8_t *chunk = lc_alloc(chunk_bytes);
  int rc = chunk ? 0 : -ENOMEM;
  for (uint64_t at = from; at < r->at && rc == 0; at += chunk_bytes) {
    size_t n = r->at - at < chunk_bytes ? (size_t)(r->at - at) : chunk_bytes;
    int64_t got = w->fs->read_at(w->fs->ctx, r->fd, chunk, n, at);
    rc = got == (int64_t)n ? w->fs->write_at(w->fs->ctx, r->fd, chunk, n, at) : got < 0 ? (int)got : -EIO;
  }
  lc_free(chunk);
  return rc;
}

/* The end of the newest segment becomes where writing goes on. synced_to: what was on disk for certain before. */
static enum lc_status continue_at(struct lc_wal *w, struct wal_reader *r, uint64_t first, uint32_t n_indexed, uint64_t synced_to, struct lc_error *err) {
  const struct lc_fs *fs = w->fs;
  int rc = 0;
  if (r->at == WAL_SEGMENT_HEADER_BYTES) rc = fs->write_at(fs->ctx, r->fd, wal_segment_header, sizeof wal_segment_header, 0); /* torn, or of another version: nothing is in it */
  if (rc == 0 && r->size > r->at) rc = fs->truncate(fs->ctx, r->fd, r->at);
  if (rc == 0) rc = write_again(w, r, synced_to);
  if (rc == 0) rc = fs->sync(fs->ctx, r->fd); /* what was read must stay readable */
  if (rc != 0) return wal_io_error(err, "sync", r->path, rc);
  w->write_at = r->at;
  w->fd = r->fd;
  r->fd = -1;
  struct wal_index noted = w->index; /* what was read behind the good entries */
  w->index = (struct wal_index){.fd = -1};
  wal_index_begin(&w->index, fs, w->dir, first, n_indexed, w->options.max_segment_bytes);
  w->index.pending = noted.pending;
  w->index.candidate = noted.candidate;
  w->index.has_candidate = noted.has_candidate;
  w->index.bytes_since = noted.bytes_since;
  wal_index_flush(&w->index);
  return LC_OK;
}

/* The epoch of the last commit before segment number `at`: what is appended there may not have a lesser one. */
static enum lc_status epoch_before(const struct lc_wal *w, uint32_t at, uint64_t *epoch, struct lc_error *err) {
  enum lc_status st = LC_OK;
  bool found = false;
  while (at-- > 0 && !found && st == LC_OK) {
    char path[WAL_PATH_BYTES], why[WAL_WHY_BYTES];
    struct wal_reader r;
    struct wal_commit c;
    uint32_t n_indexed;
    enum wal_outcome o = WAL_COMMIT_END;
    wal_path(w->dir, w->segments[at], ".stdb.log", path);
    st = wal_reader_open(w->fs, path, &r, err);
    if (st == LC_OK) wal_index_seek(&r, w->dir, w->segments[at], UINT64_MAX, &n_indexed);
    for (; st == LC_OK && (o = wal_read_commit(&r, &c, why)) == WAL_COMMIT_OK; found = true) *epoch = c.epoch;
    if (st == LC_OK && o == WAL_COMMIT_UNREAD) st = lc_fail(err, r.trouble, "%s at byte position %llu: %s", r.path, (unsigned long long)r.at, why); /* a bad one is for the replay to judge */
    wal_reader_close(&r);
  }
  return st;
}

/* A snapshot gets its name when the log is durable up to its transaction: a bad commit that is not behind the newest one is damage, and what is left of it is not to be cut off. */
static enum lc_status refuse_before_snapshot(const struct lc_wal *w, const char *dir, const struct wal_reader *r, uint64_t offset, const char *why, struct lc_error *err) {
  uint64_t *snapshots;
  uint32_t n;
  enum lc_status st = lc_snapfile_list(w->fs, dir, &snapshots, &n, err);
  if (st != LC_OK) return st;
  if (n && snapshots[n - 1] >= offset)
    st = lc_fail(err, LC_CORRUPT, "%s: commit at byte position %llu (offset %llu): %s; %s/snapshots/%020llu.snapshot holds transaction %llu, which was durable then, so this is damage and not a torn tail. "
                 "Bring the segment back from a copy, or start with --accept-lost-transactions to go on from where the log ends", r->path, (unsigned long long)r->at, (unsigned long long)offset, why, dir,
                 (unsigned long long)snapshots[n - 1], (unsigned long long)snapshots[n - 1]);
  lc_free(snapshots);
  return st;
}

/* Finds the end of the newest segment, from the last index entry that holds on, cutting a torn tail. dir: the replica's. */
static enum lc_status open_newest(struct lc_wal *w, const char *dir, struct lc_error *err) {
  uint32_t n_empty = 0;
  uint64_t must_reach = 0; /* a segment that begins there was made, so all before it was durable */
  while (w->n_segments) {
    char path[WAL_PATH_BYTES], why[WAL_WHY_BYTES];
    uint64_t first = w->segments[w->n_segments - 1];
    struct wal_reader r;
    struct wal_commit c;
    struct wal_sequence s = {.expected = first};
    uint32_t n_indexed = 0;
    enum wal_outcome o = WAL_COMMIT_END;
    wal_path(w->dir, first, ".stdb.log", path);
    enum lc_status st = wal_reader_open(w->fs, path, &r, err);
    if (st == LC_OK && r.size <= WAL_SEGMENT_HEADER_BYTES && w->n_segments > 1) { /* created, nothing in it: the one before is the newest */
      wal_reader_close(&r);
      w->n_segments--; /* removed below, when the one before is seen to be whole */
      n_empty++;
      if (!must_reach) must_reach = first; /* the newest of several reaches farthest */
      continue;
    }
    bool is_packed = r.plain_at != NULL;
    if (st == LC_OK && wal_index_seek(&r, w->dir, first, UINT64_MAX, &n_indexed) && wal_read_commit(&r, &c, why) == WAL_COMMIT_OK)
      s = (struct wal_sequence){.expected = c.offset + c.n_tx, .epoch = c.epoch, .last_offset = c.offset, .last_checksum = c.checksum, .has_last = true};
    uint64_t intact_at, synced_to = s.has_last ? c.position : 0;
    while (st == LC_OK && (o = wal_read_commit(&r, &c, why)) == WAL_COMMIT_OK) {
      if (wal_step(&s, &c, r.path, err) == WAL_STEP_WRONG) st = err->status;
      wal_index_note(&w->index, c.offset, c.position, r.at - c.position);
    }
    if (st == LC_OK && o == WAL_COMMIT_UNREAD) st = lc_fail(err, r.trouble, "%s at byte position %llu: %s", r.path, (unsigned long long)r.at, why);
    if (st == LC_OK && !s.has_last) st = epoch_before(w, w->n_segments - 1, &s.epoch, err);
    if (st == LC_OK && s.expected < must_reach)
      st = lc_fail(err, LC_CORRUPT, "%s: commit at byte position %llu (offset %llu): %s; a segment from %llu on was begun, so this is damage and not a torn tail", r.path, (unsigned long long)r.at,
                   (unsigned long long)s.expected, o == WAL_COMMIT_BAD ? why : "missing", (unsigned long long)must_reach);
    if (st == LC_OK && o == WAL_COMMIT_BAD) {
      if (is_packed || r.header_bytes != WAL_COMMIT_HEADER_BYTES) /* such are not appended to; or a bit of the version in the header has flipped */
        st = lc_fail(err, LC_CORRUPT, "%s: commit at byte position %llu (offset %llu): %s", r.path, (unsigned long long)r.at, (unsigned long long)s.expected, why);
      else if (wal_intact_commit_behind(&r, s.expected, s.epoch, &intact_at) && !wal_lacks_a_sector(&r, intact_at)) st = lc_fail(err, LC_CORRUPT, "%s: commit at byte position %llu (offset %llu): %s; intact commits follow it, so this is damage and not a torn tail", r.path, (unsigned long long)r.at, (unsigned long long)s.expected, why);
      else if (w->options.accept_lost_transactions || (st = refuse_before_snapshot(w, dir, &r, s.expected, why, err)) == LC_OK)
        lc_log(LC_LOG_WARN, "%s: torn tail cut off at byte %llu (offset %llu): %s", r.path, (unsigned long long)r.at, (unsigned long long)s.expected, why);
    }
    if (st == LC_OK) {
      w->next_offset = s.expected;
      w->epoch = s.epoch;
      bool is_other = is_packed || (r.header_bytes != WAL_COMMIT_HEADER_BYTES && r.at > WAL_SEGMENT_HEADER_BYTES);
      if (!is_other) st = continue_at(w, &r, first, n_indexed, synced_to, err);
      else if (r.size > r.at) st = lc_fail(err, LC_CORRUPT, "%s: commit at byte position %llu (offset %llu): %s", r.path, (unsigned long long)r.at, (unsigned long long)s.expected, why);
    }
    for (uint32_t i = 0; i < n_empty && st == LC_OK; i++) { /* one that stayed would seem to continue a log that has gone beyond it */
      wal_path(w->dir, w->segments[w->n_segments + i], ".stdb.log", path);
      int rc = w->fs->unlink(w->fs->ctx, path);
      if (rc != 0) st = wal_io_error(err, "remove", path, rc);
      wal_path(w->dir, w->segments[w->n_segments + i], ".stdb.ofs", path);
      w->fs->unlink(w->fs->ctx, path);
    }
    wal_reader_close(&r);
    return st;
  }
  return LC_OK;
}

/* What a crash left of compressing. */
static void remove_parts(struct lc_wal *w) {
  for (uint32_t i = 0; i < w->n_segments; i++) {
    char part[WAL_PATH_BYTES];
    wal_path(w->dir, w->segments[i], ".stdb.log.zst.tmp", part);
    w->fs->unlink(w->fs->ctx, part);
  }
}

static bool writers_join(void);
static void writers_leave(void);
static void writers_queue(struct lc_wal *w);

enum lc_status lc_wal_open(const struct lc_fs *fs, const char *dir, const struct lc_wal_options *options, struct lc_wal **out, struct lc_error *err) {
  struct lc_wal *w = lc_alloc_zero(1, sizeof *w);
  char path[WAL_PATH_BYTES];
  if (!w) return lc_fail(err, LC_NOMEM, "out of memory");
  w->fs = fs;
  w->options = *options;
  if (!w->options.max_segment_bytes) w->options.max_segment_bytes = 1ull << 30;
  if (!w->options.backlog_bytes) w->options.backlog_bytes = BACKLOG_BYTES;
  w->fd = w->lock_fd = w->index.fd = -1;
  pthread_mutex_init(&w->mutex, NULL);
  pthread_cond_init(&w->room, NULL);
  enum lc_status st = LC_OK;
  int rc;
  if (snprintf(path, sizeof path, "%s/clog", dir) >= (int)sizeof path - 64) st = lc_fail(err, LC_LIMIT, "path %s is too long", dir);
  else if (!(w->dir = lc_strdup_n(path, strlen(path)))) st = lc_fail(err, LC_NOMEM, "out of memory");
  snprintf(path, sizeof path, "%s/db.lock", dir);
  if (st == LC_OK && (rc = fs->make_dir(fs->ctx, w->dir)) != 0) st = wal_io_error(err, "create folder", w->dir, rc);
  if (st == LC_OK && (w->lock_fd = fs->lock(fs->ctx, path)) < 0)
    st = w->lock_fd == -EWOULDBLOCK ? lc_fail(err, LC_CONFLICT, "commitlog directory is locked: failed to lock %s: another process has it", path) : wal_io_error(err, "lock", path, w->lock_fd);
  if (st == LC_OK && (rc = fs->list(fs->ctx, w->dir, on_name, w)) != 0) st = wal_io_error(err, "list", w->dir, rc);
  if (st == LC_OK && w->failed) st = lc_fail(err, LC_NOMEM, "out of memory");
  if (w->n_segments > 1) qsort(w->segments, w->n_segments, sizeof *w->segments, by_number);
  if (st == LC_OK) remove_parts(w);
  if (st == LC_OK) st = open_newest(w, dir, err);
  if (st == LC_OK && w->fd >= 0 && (rc = fs->sync_dir(fs->ctx, w->dir)) != 0) st = wal_io_error(err, "sync folder", w->dir, rc); /* whoever made it may have failed to */
  if (st == LC_OK && w->fd < 0 && (rc = create_segment(w, w->next_offset)) != 0) st = wal_io_error(err, "create a segment in", w->dir, rc);
  if (st == LC_OK && (rc = fs->sync_dir(fs->ctx, dir)) != 0) st = wal_io_error(err, "sync folder", dir, rc);
  atomic_init(&w->durable_end, w->next_offset);
  w->batch_first = w->next_offset;
  if (st == LC_OK && !w->options.by_hand && !writers_join()) st = lc_fail(err, LC_IO, "cannot start a log writer thread");
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
  struct wal_replay_range range = {.fs = w->fs, .dir = w->dir, .segments = w->segments, .n_segments = w->n_segments, .from_offset = from_offset,
                                   .newest_bytes = w->fd >= 0 ? w->write_at : UINT64_MAX, .alone = w->options.by_hand};
  while (range.start + 1 < w->n_segments && w->segments[range.start + 1] <= from_offset) range.start++; /* what is wholly before is not needed */
  return wal_replay(&range, fn, ctx, err);
}

void lc_wal_end_place(const struct lc_wal *w, char *out, size_t size) {
  char path[WAL_PATH_BYTES];
  wal_path(w->dir, w->n_segments ? w->segments[w->n_segments - 1] : 0, ".stdb.log", path);
  snprintf(out, size, "%s at byte %llu", path, (unsigned long long)w->write_at);
}
uint64_t lc_wal_first_offset(const struct lc_wal *w) { return w->n_segments ? w->segments[0] : 0; }

enum lc_status lc_wal_retain(struct lc_wal *w, uint64_t from_offset, struct lc_error *err) {
  const struct lc_fs *fs = w->fs;
  for (;;) {
    char path[WAL_PATH_BYTES];
    pthread_mutex_lock(&w->mutex);
    bool whole = w->n_segments > 1 && w->segments[1] <= from_offset;
    uint64_t first = w->n_segments ? w->segments[0] : 0;
    pthread_mutex_unlock(&w->mutex);
    if (!whole) return LC_OK;
    wal_path(w->dir, first, ".stdb.ofs", path);
    fs->unlink(fs->ctx, path); /* before its segment, so that none is left alone; the segment does without */
    wal_path(w->dir, first, ".stdb.log", path);
    int rc = fs->unlink(fs->ctx, path);
    if (rc != 0 && rc != -ENOENT) return wal_io_error(err, "remove", path, rc);
    rc = fs->sync_dir(fs->ctx, w->dir); /* each by itself: what is left never has a hole */
    if (rc != 0) return wal_io_error(err, "sync folder", w->dir, rc);
    pthread_mutex_lock(&w->mutex);
    w->n_segments--;
    memmove(w->segments, w->segments + 1, w->n_segments * sizeof *w->segments);
    pthread_mutex_unlock(&w->mutex);
  }
}

enum lc_status lc_wal_compress(struct lc_wal *w, uint64_t offset, const atomic_bool *cancel, struct lc_error *err) {
  for (;;) {
    uint64_t first = 0;
    bool found = false;
    pthread_mutex_lock(&w->mutex);
    for (uint32_t i = 0; !found && i + 1 < w->n_segments && w->segments[i + 1] <= offset; i++) found = (first = w->segments[i]) >= w->compressed_before;
    pthread_mutex_unlock(&w->mutex);
    if (!found) return LC_OK;
    enum lc_status st = wal_compress_segment(w->fs, w->dir, first, cancel, err);
    if (st != LC_OK) return st;
    w->compressed_before = first + 1;
  }
}

/* ---- appending ---- */

enum lc_status lc_wal_reserve(struct lc_wal *w, uint64_t max_bytes, struct lc_error *err) {
  if (max_bytes > MAX_PAYLOAD_BYTES) return lc_fail(err, LC_LIMIT, "the record of a transaction cannot have %llu bytes, only %llu", (unsigned long long)max_bytes, (unsigned long long)MAX_PAYLOAD_BYTES);
  if (lc_buf_reserve(&w->batch, WAL_COMMIT_HEADER_BYTES + max_bytes + WAL_CRC_BYTES)) return LC_OK;
  w->batch.failed = false; /* what is in it is whole */
  return lc_fail(err, LC_NOMEM, "out of memory");
}

uint64_t lc_wal_append(struct lc_wal *w, struct lc_slice payload) {
  size_t start = w->batch.len;
  lc_assert(payload.len <= MAX_PAYLOAD_BYTES);
  if (!lc_buf_reserve(&w->batch, WAL_COMMIT_HEADER_BYTES + payload.len + WAL_CRC_BYTES)) lc_panic("out of memory for the log record of transaction %llu", (unsigned long long)w->next_offset);
  lc_buf_u64(&w->batch, w->next_offset);
  lc_buf_u64(&w->batch, w->epoch);
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
  while (w->waiting.len && !w->failed && !lc_buf_reserve(&w->waiting, w->batch.len)) { /* until a writer has taken it */
    if (w->options.by_hand) lc_panic("out of memory for log records that wait to be written");
    w->waiting.failed = false;
    pthread_cond_wait(&w->room, &w->mutex);
  }
  if (w->failed) {
    lc_buf_free(&w->waiting);
  } else if (w->waiting.len == 0) {
    struct lc_buf empty = w->waiting; /* swap: the usual case copies nothing */
    w->waiting = w->batch;
    w->batch = empty;
    w->waiting_first = w->batch_first;
  } else {
    lc_buf_slice_append(&w->waiting, lc_buf_slice(&w->batch));
  }
  lc_buf_trim(&w->batch, KEPT_BATCH_BYTES);
  w->batch_first = w->waiting_end = w->next_offset;
  atomic_store(&w->unwritten_bytes, w->waiting.len);
  bool queue = !w->has_writer && !w->failed && !w->options.by_hand;
  if (queue) w->has_writer = true;
  pthread_mutex_unlock(&w->mutex);
  if (queue) writers_queue(w);
}

bool lc_wal_is_full(const struct lc_wal *w) { return atomic_load(&w->unwritten_bytes) > w->options.backlog_bytes; }
uint64_t lc_wal_next_offset(const struct lc_wal *w) { return w->next_offset; }
uint64_t lc_wal_durable_end(const struct lc_wal *w) { return atomic_load_explicit(&w->durable_end, memory_order_acquire); }

struct lc_wal_counts lc_wal_counts(const struct lc_wal *w) {
  return (struct lc_wal_counts){atomic_load_explicit(&w->written_bytes, memory_order_relaxed), atomic_load_explicit(&w->syncs, memory_order_relaxed),
                                atomic_load_explicit(&w->sync_us, memory_order_relaxed), atomic_load_explicit(&w->unwritten_bytes, memory_order_relaxed)};
}

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

/* ---- writers: threads that serve all logs ---- */

enum { MAX_WRITERS = 32, WRITER_IDLE_S = 5 };
static struct {
  pthread_mutex_t mutex;
  pthread_cond_t work, gone;
  struct lc_wal *first, *last;     /* logs that wait for a writer */
  unsigned n_users, n_queued, n_threads; /* open logs; those that wait; writers */
  atomic_uint n_writing;           /* logs in the hands of a writer; it falls before the log can be queued again, so that its writer counts as free then */
} writers = {.mutex = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER, .gone = PTHREAD_COND_INITIALIZER};

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
      size_t total = WAL_COMMIT_HEADER_BYTES + (size_t)len + WAL_CRC_BYTES;
      wal_index_note(&w->index, first++, w->write_at + (end - done), total);
      end += total;
    }
    if (LC_PLANTED(LC_BUG_INDEX_BEFORE_DATA)) wal_index_flush(&w->index);
    int64_t start = lc_env_system.monotonic_ns(NULL); /* a figure for people: nothing depends on it */
    int rc = fs->write_at(fs->ctx, w->fd, batch.data + done, end - done, w->write_at);
    if (rc == 0 && !LC_PLANTED(LC_BUG_NO_FSYNC)) rc = fs->sync(fs->ctx, w->fd);
    if (rc != 0) return rc;
    lc_count(&w->written_bytes, end - done);
    lc_count(&w->syncs, 1);
    lc_count(&w->sync_us, (uint64_t)(lc_env_system.monotonic_ns(NULL) - start) / 1000);
    wal_index_flush(&w->index);
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
  if (LC_PLANTED(LC_BUG_ACK_BEFORE_DURABLE) && w->options.durable) w->options.durable(w->options.ctx, end);
  int rc = write_batch(w, lc_buf_slice(batch), first);
  if (rc == 0) {
    atomic_store_explicit(&w->durable_end, end, memory_order_release);
    if (w->options.durable) w->options.durable(w->options.ctx, end);
  } else if (w->options.failed) {
    char text[256];
    snprintf(text, sizeof text, "writing transactions from offset %llu in %.150s: %s", (unsigned long long)first, w->dir, strerror(-rc));
    w->options.failed(w->options.ctx, text);
  }
  lc_buf_trim(batch, KEPT_BATCH_BYTES);
  pthread_mutex_lock(&w->mutex);
  w->failed = rc != 0;
  bool more = w->has_writer = !w->failed && w->waiting.len > 0;
  if (!more && !w->options.by_hand) atomic_fetch_sub(&writers.n_writing, 1);
  pthread_cond_broadcast(&w->room); /* under the lock: whoever closes the log must not free it before we have let go */
  pthread_mutex_unlock(&w->mutex);
  return more;
}

bool lc_wal_step(struct lc_wal *w) {
  struct lc_buf batch = {0};
  lc_assert(w->options.by_hand);
  if (w->failed || w->waiting.len == 0) return false;
  write_waiting(w, &batch);
  w->has_writer = false;
  lc_buf_free(&batch);
  return !w->failed;
}

/* ---- the writers' threads ---- */

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
    int rc = pthread_cond_timedwait(&writers.work, &writers.mutex, &until);
    if (rc == ETIMEDOUT && !writers.first && writers.n_threads > 1) return NULL;
  }
  struct lc_wal *w = writers.first;
  if (!w) return NULL;
  writers.first = w->queue_next;
  writers.n_queued--;
  atomic_fetch_add(&writers.n_writing, 1);
  return w;
}

static void *writer_main(void *arg) {
  enum { keep_bytes = 4 << 20 };
  struct lc_buf batch = {0};
  (void)arg;
  pthread_setname_np(pthread_self(), "log-writer");
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
    if (more) {
      append_log(w);
      atomic_fetch_sub(&writers.n_writing, 1);
    }
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
  if (writers.n_threads >= writers.n_queued + atomic_load(&writers.n_writing)) pthread_cond_signal(&writers.work);
  else if (writers.n_threads < MAX_WRITERS) add_writer(); /* without another one those there are serve this log too */
  pthread_mutex_unlock(&writers.mutex);
}

static void end_log(struct lc_wal *w, bool remove) {
  if (w->is_user) {
    lc_wal_submit(w);
    while (w->options.by_hand && lc_wal_step(w)) {}
    pthread_mutex_lock(&w->mutex);
    while (w->has_writer) pthread_cond_wait(&w->room, &w->mutex);
    pthread_mutex_unlock(&w->mutex);
    if (!w->options.by_hand) writers_leave();
  }
  if (w->fd >= 0) w->fs->close(w->fs->ctx, w->fd);
  wal_index_end(&w->index);
  for (uint32_t i = w->n_segments; remove && i-- > 0;) { /* the newest first, and none before one that stays: what is left is a log that is shorter */
    static const char *const suffixes[] = {".stdb.ofs", ".stdb.log.tmp", ".stdb.log"};
    char path[WAL_PATH_BYTES];
    int rc = 0;
    for (size_t k = 0; k < sizeof suffixes / sizeof *suffixes; k++) {
      wal_path(w->dir, w->segments[i], suffixes[k], path);
      rc = w->fs->unlink(w->fs->ctx, path);
    }
    if (rc == 0 || rc == -ENOENT) rc = w->fs->sync_dir(w->fs->ctx, w->dir);
    remove = rc == 0;
  }
  if (w->lock_fd >= 0) w->fs->close(w->fs->ctx, w->lock_fd);
  lc_buf_free(&w->batch);
  lc_buf_free(&w->waiting);
  lc_free(w->segments);
  lc_free(w->dir);
  pthread_mutex_destroy(&w->mutex);
  pthread_cond_destroy(&w->room);
  lc_free(w);
}

void lc_wal_close(struct lc_wal *w) {
  if (w) end_log(w, false);
}
void lc_wal_discard(struct lc_wal *w) { end_log(w, true); }
