/* Owns: reading a log from the first to the last commit: segment after segment, in blocks; from a few MiB on by a thread of its own, so that reading, unpacking and
 * checksums of the next blocks go on while the caller applies one (spec/06 §12).
 *
 * Invariants: the caller gets every commit before what is wrong, then the error, with or without the thread: a block ends with it. A block's commits lie in one window of
 * a segment, which the reader leaves alone from then on. The thread ends before wal_replay does. Logs written by hand (the storage's simulator) are read without it.
 * Callers: wal.c.
 */
#include "wal_internal.h"
#include <pthread.h>
#include <stdio.h>

enum { ALONE_BYTES = LC_SIMULATED(1 << 10, 2 << 20), N_BLOCKS = LC_SIMULATED(4, 16) };

struct entry { uint64_t offset; struct lc_slice records; uint32_t n_tx; };
struct block {
  uint8_t *bytes; size_t cap;   /* what the records lie in */
  struct entry *entries; uint32_t n, cap_entries;
  uint64_t segment;
  enum lc_status st;            /* not LC_OK: behind the entries comes this error */
  struct lc_error err;
};
struct feed {
  const struct wal_replay_range *range;
  struct wal_sequence sequence;
  uint32_t at;                  /* the segment that is, or is to be, open */
  bool is_open, has_held;
  struct wal_reader r;
  struct wal_commit held;       /* of the next block: it lies behind the last one's window */
  uint64_t done_bytes;
};

/* ---- blocks ---- */

static bool add_entry(struct feed *f, struct block *b, const struct wal_commit *c) {
  if (b->n == b->cap_entries) {
    uint32_t cap = b->cap_entries ? 2 * b->cap_entries : 512;
    struct entry *p = lc_realloc(b->entries, cap * sizeof *p);
    if (!p) return false;
    b->entries = p;
    b->cap_entries = cap;
  }
  b->entries[b->n++] = (struct entry){c->offset, c->records, c->n_tx};
  f->r.is_pinned = true;
  return true;
}

static enum lc_status open_segment(struct feed *f, struct lc_error *err) {
  const struct wal_replay_range *g = f->range;
  struct wal_reader *r = &f->r;
  struct wal_commit c;
  char path[WAL_PATH_BYTES], why[WAL_WHY_BYTES];
  uint32_t n_good;
  wal_path(g->dir, g->segments[f->at], ".stdb.log", path);
  enum lc_status st = wal_reader_open(g->fs, path, r, err);
  f->is_open = true;
  if (st == LC_OK && f->at + 1 == g->n_segments && r->size > g->newest_bytes) r->size = g->newest_bytes;
  if (st == LC_OK && f->at == g->start && g->from_offset > f->sequence.expected && wal_index_seek(r, g->dir, g->segments[f->at], g->from_offset, &n_good) &&
      wal_read_commit(r, &c, why) == WAL_COMMIT_OK) {
    f->sequence.expected = c.offset;
    r->at = c.position;
  }
  return st;
}

/* The next commit that counts. LC_NOT_FOUND: the segment has ended. */
static enum lc_status next_commit(struct feed *f, struct wal_commit *c, struct lc_error *err) {
  const struct wal_replay_range *g = f->range;
  struct wal_reader *r = &f->r;
  char why[WAL_WHY_BYTES];
  for (;;) {
    uint64_t from = r->at;
    switch (wal_read_commit(r, c, why)) {
    case WAL_COMMIT_END: return LC_NOT_FOUND;
    case WAL_COMMIT_UNREAD: return lc_fail(err, r->trouble, "%s at byte position %llu: %s", r->path, (unsigned long long)r->at, why);
    case WAL_COMMIT_BAD:
      if (f->at + 1 < g->n_segments && g->segments[f->at + 1] == f->sequence.expected) return LC_NOT_FOUND; /* a torn tail that a newer segment replaced */
      return lc_fail(err, LC_CORRUPT, "%s: commit at byte position %llu (offset %llu): %s", r->path, (unsigned long long)r->at, (unsigned long long)f->sequence.expected, why);
    case WAL_COMMIT_OK: break;
    }
    f->done_bytes += r->at - from;
    enum wal_step step = wal_step(&f->sequence, c, r->path, err);
    if (step == WAL_STEP_WRONG) return LC_CORRUPT;
    if (step == WAL_STEP_NEXT && c->offset >= g->from_offset) return LC_OK;
  }
}

/* Fills a block; false: nothing comes behind it. */
static bool fill(struct feed *f, struct block *b) {
  struct wal_reader *r = &f->r;
  b->n = 0;
  b->st = LC_OK;
  if (f->is_open) {
    r->spare = b->bytes;
    r->spare_cap = b->cap;
  } else {
    lc_free(b->bytes);
  }
  b->bytes = NULL;
  b->cap = 0;
  for (; b->st == LC_OK && b->n == 0 && f->at < f->range->n_segments;) {
    if (!f->is_open) b->st = open_segment(f, &b->err);
    b->segment = f->range->segments[f->at];
    if (b->st == LC_OK && f->has_held && !add_entry(f, b, &f->held)) b->st = lc_fail(&b->err, LC_NOMEM, "out of memory");
    f->has_held = false;
    while (b->st == LC_OK && (b->st = next_commit(f, &f->held, &b->err)) == LC_OK) {
      f->has_held = b->n && !r->is_pinned; /* the window has been changed */
      if (f->has_held) break;
      if (!add_entry(f, b, &f->held)) b->st = lc_fail(&b->err, LC_NOMEM, "out of memory");
    }
    if (b->n) { /* the block takes the window along */
      uint8_t **p = r->is_pinned ? &r->window : &r->spare;
      size_t *cap = r->is_pinned ? &r->window_cap : &r->spare_cap;
      b->bytes = *p;
      b->cap = *cap;
      *p = NULL;
      *cap = 0;
      if (r->is_pinned) r->window_len = 0;
      r->is_pinned = false;
    }
    if (b->st != LC_OK) {
      wal_reader_close(r);
      f->is_open = false;
      f->at++;
    }
    if (b->st == LC_NOT_FOUND) b->st = LC_OK;
  }
  return b->st == LC_OK && f->at < f->range->n_segments;
}

static enum lc_status give(const struct block *b, wal_replay_fn fn, void *ctx, const struct wal_replay_range *g, struct lc_error *err) {
  for (uint32_t i = 0; i < b->n; i++) {
    const struct entry *e = &b->entries[i];
    char path[WAL_PATH_BYTES];
    size_t used = 0;
    enum lc_status st = fn(ctx, e->offset, e->records, e->n_tx, &used, err);
    if (st != LC_OK) return st;
    if (used == e->records.len) continue;
    wal_path(g->dir, b->segment, ".stdb.log", path);
    return lc_fail(err, LC_CORRUPT, "%s: commit of offset %llu: expected records of %zu bytes, found %zu", path, (unsigned long long)e->offset, e->records.len, used);
  }
  if (b->st != LC_OK && err) *err = b->err;
  return b->st;
}

/* ---- with a thread ---- */

struct pipeline {
  struct feed *feed;
  struct block blocks[N_BLOCKS];
  pthread_mutex_t mutex;
  pthread_cond_t has_room, has_blocks;
  uint64_t n_filled, n_given;
  bool is_complete, stop;
};

static void *reader_main(void *arg) {
  struct pipeline *p = arg;
  for (bool more = true; more;) {
    pthread_mutex_lock(&p->mutex);
    if (p->n_filled - p->n_given == N_BLOCKS) /* and then until half of them are free, so that it is woken seldom */
      while (p->n_filled - p->n_given > N_BLOCKS / 2 && !p->stop) pthread_cond_wait(&p->has_room, &p->mutex);
    bool stop = p->stop;
    struct block *b = &p->blocks[p->n_filled % N_BLOCKS];
    pthread_mutex_unlock(&p->mutex);
    if (stop) return NULL;
    more = fill(p->feed, b);
    pthread_mutex_lock(&p->mutex);
    bool wake = p->n_filled++ == p->n_given;
    p->is_complete = !more;
    pthread_mutex_unlock(&p->mutex);
    if (wake || !more) pthread_cond_signal(&p->has_blocks);
  }
  return NULL;
}

/* What is left of the feed. false: there is no thread to be had. */
static bool replay_beside(struct feed *f, wal_replay_fn fn, void *ctx, enum lc_status *st, struct lc_error *err) {
  pthread_t reader;
  struct pipeline *p = lc_alloc_zero(1, sizeof *p);
  if (!p) return false;
  p->feed = f;
  pthread_mutex_init(&p->mutex, NULL);
  pthread_cond_init(&p->has_room, NULL);
  pthread_cond_init(&p->has_blocks, NULL);
  bool ok = pthread_create(&reader, NULL, reader_main, p) == 0;
  for (bool more = ok; more;) {
    pthread_mutex_lock(&p->mutex);
    while (p->n_filled == p->n_given && !p->is_complete) pthread_cond_wait(&p->has_blocks, &p->mutex);
    more = p->n_filled > p->n_given;
    const struct block *b = &p->blocks[p->n_given % N_BLOCKS];
    pthread_mutex_unlock(&p->mutex);
    if (more) *st = give(b, fn, ctx, f->range, err);
    pthread_mutex_lock(&p->mutex);
    if (more) p->n_given++;
    more = more && *st == LC_OK;
    p->stop = !more;
    bool wake = p->stop || p->n_filled - p->n_given == N_BLOCKS / 2;
    pthread_mutex_unlock(&p->mutex);
    if (wake) pthread_cond_signal(&p->has_room);
  }
  if (ok) pthread_join(reader, NULL);
  for (int i = 0; i < N_BLOCKS; i++) {
    lc_free(p->blocks[i].bytes);
    lc_free(p->blocks[i].entries);
  }
  pthread_mutex_destroy(&p->mutex);
  pthread_cond_destroy(&p->has_room);
  pthread_cond_destroy(&p->has_blocks);
  lc_free(p);
  return ok;
}

enum lc_status wal_replay(const struct wal_replay_range *range, wal_replay_fn fn, void *ctx, struct lc_error *err) {
  struct feed *f = lc_alloc_zero(1, sizeof *f);
  struct block *b = lc_alloc_zero(1, sizeof *b);
  enum lc_status st = f && b ? LC_OK : lc_fail(err, LC_NOMEM, "out of memory");
  if (st == LC_OK) {
    f->range = range;
    f->at = range->start;
    f->sequence.expected = range->start < range->n_segments ? range->segments[range->start] : 0;
  }
  bool may_thread = !range->alone;
  for (bool more = st == LC_OK; more && st == LC_OK;) {
    more = fill(f, b);
    st = give(b, fn, ctx, range, err);
    if (!more || st != LC_OK || !may_thread || f->done_bytes < ALONE_BYTES) continue;
    may_thread = false;
    if (replay_beside(f, fn, ctx, &st, err)) more = false;
  }
  if (f && f->is_open) wal_reader_close(&f->r);
  if (b) {
    lc_free(b->bytes);
    lc_free(b->entries);
  }
  lc_free(b);
  lc_free(f);
  return st;
}
