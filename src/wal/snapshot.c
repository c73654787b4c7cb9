/* Owns: the format of snapshot files and their names (docs/internals/snapshot-format.md). What a row is, is not known here.
 *
 * Invariants: a file that has its name is whole, synced, and so is its entry in the folder; every byte of it is under a checksum, or its place and value
 * follow from what is; nothing read is believed, and no memory taken for it, before the file is seen to be that long. Callers: db/ (snapshots, recovery).
 */
#include "wal.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { HEADER_BYTES = 128, BLOCK_HEADER_BYTES = 32, END_BYTES = 32, PATH_BYTES = 4096, FORMAT_VERSION = 1 };
enum { WRITE_BYTES = 1 << 20, SYNC_BYTES = 8 << 20 }; /* a sync now and then, so that the one at the end, and the log's meanwhile, are short */
enum { BLOCK_ROWS = 1, BLOCK_END = 2 };
static const uint8_t magic[8] = {0x89, 'L', 'C', 'S', 'N', 'A', 'P', '\n'};

struct lc_snapfile {
  const struct lc_fs *fs;
  char *dir, *path, *temporary; /* …/snapshots and the file's names */
  int fd;
  struct lc_buf out;            /* not yet written */
  uint64_t written, synced, n_blocks, n_rows;
  uint32_t checksum;            /* over the blocks' checksums */
};

static enum lc_status oom(struct lc_error *err) { return lc_fail(err, LC_NOMEM, "out of memory"); }
static enum lc_status io_error(struct lc_error *err, const char *what, const char *path, int rc) { return lc_fail(err, LC_IO, "cannot %s %s: %s", what, path, strerror(-rc)); }

static enum lc_status folder_path(const char *dir, char path[PATH_BYTES], struct lc_error *err) {
  return snprintf(path, PATH_BYTES, "%s/snapshots", dir) < PATH_BYTES - 64 ? LC_OK : lc_fail(err, LC_LIMIT, "path %s is too long", dir);
}
static enum lc_status file_path(const char *dir, uint64_t tx_offset, const char *suffix, char path[PATH_BYTES], struct lc_error *err) {
  enum lc_status st = folder_path(dir, path, err);
  if (st != LC_OK) return st;
  size_t n = strlen(path);
  snprintf(path + n, PATH_BYTES - n, "/%020llu.snapshot%s", (unsigned long long)tx_offset, suffix);
  return LC_OK;
}

/* ---- writing ---- */

static enum lc_status flush(struct lc_snapfile *f, struct lc_error *err) {
  if (!lc_buf_ok(&f->out)) return oom(err);
  int rc = f->fs->write_at(f->fs->ctx, f->fd, f->out.data, f->out.len, f->written);
  if (rc != 0) return io_error(err, "write", f->temporary, rc);
  f->written += f->out.len;
  lc_buf_clear(&f->out);
  return LC_OK;
}
static enum lc_status sync_file(struct lc_snapfile *f, struct lc_error *err) {
  if (LC_PLANTED(LC_BUG_SNAPSHOT_BEFORE_SYNC)) return LC_OK;
  int rc = f->fs->sync(f->fs->ctx, f->fd);
  f->synced = f->written;
  return rc == 0 ? LC_OK : io_error(err, "sync", f->temporary, rc);
}

static void release(struct lc_snapfile *f) {
  if (f->fd >= 0) f->fs->close(f->fs->ctx, f->fd);
  lc_buf_free(&f->out);
  lc_free(f->dir);
  lc_free(f->path);
  lc_free(f->temporary);
  lc_free(f);
}

enum lc_status lc_snapfile_create(const struct lc_fs *fs, const char *dir, const struct lc_snapfile_head *head, struct lc_snapfile **out, struct lc_error *err) {
  char folder[PATH_BYTES], path[PATH_BYTES], temporary[PATH_BYTES];
  enum lc_status st = folder_path(dir, folder, err);
  if (st == LC_OK) st = file_path(dir, head->tx_offset, "", path, err);
  if (st == LC_OK) st = file_path(dir, head->tx_offset, ".tmp", temporary, err);
  if (st != LC_OK) return st;
  struct lc_snapfile *f = lc_alloc_zero(1, sizeof *f);
  if (!f) return oom(err);
  *f = (struct lc_snapfile){.fs = fs, .dir = lc_strdup_n(folder, strlen(folder)), .path = lc_strdup_n(path, strlen(path)), .temporary = lc_strdup_n(temporary, strlen(temporary)), .fd = -1};
  int rc;
  if (!f->dir || !f->path || !f->temporary) st = oom(err);
  if (st == LC_OK && (rc = fs->make_dir(fs->ctx, folder)) != 0) st = io_error(err, "create folder", folder, rc);
  if (st == LC_OK && (rc = fs->sync_dir(fs->ctx, dir)) != 0) st = io_error(err, "sync folder", dir, rc);
  if (st == LC_OK) {
    fs->unlink(fs->ctx, temporary);
    if ((f->fd = fs->open(fs->ctx, temporary, true)) < 0) st = io_error(err, "create", temporary, f->fd);
  }
  if (st != LC_OK) {
    release(f);
    return st;
  }
  lc_buf_append(&f->out, magic, sizeof magic);
  lc_buf_u32(&f->out, FORMAT_VERSION);
  lc_buf_u32(&f->out, 0);
  lc_buf_append(&f->out, head->database.bytes, sizeof head->database.bytes);
  lc_buf_u64(&f->out, head->tx_offset);
  lc_buf_u64(&f->out, head->epoch);
  lc_buf_i64(&f->out, head->created_us);
  static const uint8_t zeros[HEADER_BYTES];
  if (lc_buf_ok(&f->out)) lc_buf_append(&f->out, zeros, HEADER_BYTES - 4 - f->out.len);
  if (lc_buf_ok(&f->out)) lc_buf_u32(&f->out, lc_crc32c(0, f->out.data, f->out.len));
  *out = f;
  if (lc_buf_ok(&f->out)) return LC_OK;
  lc_snapfile_discard(f);
  return oom(err);
}

static enum lc_status add_block(struct lc_snapfile *f, uint32_t kind, uint32_t table_id, struct lc_slice payload, uint64_t n_rows, struct lc_error *err) {
  size_t start = f->out.len;
  if (!lc_buf_reserve(&f->out, BLOCK_HEADER_BYTES + payload.len)) return oom(err);
  lc_buf_u32(&f->out, kind);
  lc_buf_u32(&f->out, table_id);
  lc_buf_u64(&f->out, f->n_blocks++);
  lc_buf_u64(&f->out, n_rows);
  lc_buf_u32(&f->out, (uint32_t)payload.len);
  uint32_t crc = lc_crc32c(lc_crc32c(0, f->out.data + start, f->out.len - start), payload.data, payload.len);
  lc_buf_u32(&f->out, crc);
  lc_buf_slice_append(&f->out, payload);
  f->checksum = lc_crc32c(f->checksum, &crc, sizeof crc);
  if (f->out.len < WRITE_BYTES) return LC_OK;
  enum lc_status st = flush(f, err);
  return st == LC_OK && f->written - f->synced >= SYNC_BYTES ? sync_file(f, err) : st;
}

enum lc_status lc_snapfile_add(struct lc_snapfile *f, uint32_t table_id, struct lc_slice rows, uint64_t n_rows, struct lc_error *err) {
  if (rows.len > LC_SNAPFILE_MAX_BLOCK_BYTES) return lc_fail(err, LC_LIMIT, "a block of %zu bytes is too long for a snapshot", rows.len);
  f->n_rows += n_rows;
  return add_block(f, BLOCK_ROWS, table_id, rows, n_rows, err);
}

enum lc_status lc_snapfile_finish(struct lc_snapfile *f, struct lc_error *err) {
  uint8_t end[END_BYTES] = {0};
  uint64_t total = f->written + f->out.len + BLOCK_HEADER_BYTES + END_BYTES;
  memcpy(end, &f->n_blocks, 8);
  memcpy(end + 8, &f->n_rows, 8);
  memcpy(end + 16, &total, 8);
  memcpy(end + 24, &f->checksum, 4);
  enum lc_status st = add_block(f, BLOCK_END, 0, lc_slice(end, sizeof end), 0, err);
  if (st == LC_OK && f->out.len) st = flush(f, err);
  return st == LC_OK ? sync_file(f, err) : st;
}

enum lc_status lc_snapfile_publish(struct lc_snapfile *f, struct lc_error *err) {
  int rc = f->fs->rename(f->fs->ctx, f->temporary, f->path);
  if (rc != 0) {
    enum lc_status st = io_error(err, "rename", f->temporary, rc);
    lc_snapfile_discard(f);
    return st;
  }
  rc = f->fs->sync_dir(f->fs->ctx, f->dir);
  enum lc_status st = rc == 0 ? LC_OK : io_error(err, "sync folder", f->dir, rc);
  release(f);
  return st;
}

void lc_snapfile_discard(struct lc_snapfile *f) {
  if (!f) return;
  f->fs->unlink(f->fs->ctx, f->temporary);
  release(f);
}
uint64_t lc_snapfile_bytes(const struct lc_snapfile *f) { return f->written + f->out.len; }

/* ---- reading ---- */

struct source { const struct lc_fs *fs; int fd; uint64_t size, at; struct lc_buf bytes; char path[PATH_BYTES]; };
struct block { uint32_t kind, table_id, len, crc; uint64_t number, n_rows; };

static enum lc_status damaged(const struct source *s, struct lc_error *err, const char *fmt, ...) LC_PRINTF(3, 4);
static enum lc_status damaged(const struct source *s, struct lc_error *err, const char *fmt, ...) {
  char text[512];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  return lc_fail(err, LC_CORRUPT, "%s at byte %llu: %s", s->path, (unsigned long long)s->at, text);
}

/* The next n bytes, at s->bytes; s->at stays before them. */
static enum lc_status fetch(struct source *s, uint64_t n, const char *what, struct lc_error *err) {
  if (s->size - s->at < n)
    return damaged(s, err, "expected %llu bytes of %s, found %llu", (unsigned long long)n, what, (unsigned long long)(s->size - s->at));
  lc_buf_clear(&s->bytes);
  if (!lc_buf_reserve(&s->bytes, n)) return oom(err);
  int64_t got = s->fs->read_at(s->fs->ctx, s->fd, s->bytes.data, n, s->at);
  if (got < 0) return io_error(err, "read", s->path, (int)got);
  if ((uint64_t)got < n) return damaged(s, err, "expected %llu bytes of %s, found %lld", (unsigned long long)n, what, (long long)got);
  s->bytes.len = n;
  return LC_OK;
}

static enum lc_status read_header(struct source *s, struct lc_snapfile_head *head, struct lc_error *err) {
  enum lc_status st = fetch(s, HEADER_BYTES, "the header", err);
  if (st != LC_OK) return st;
  const uint8_t *h = s->bytes.data;
  uint32_t version, crc, actual = lc_crc32c(0, h, HEADER_BYTES - 4);
  memcpy(&version, h + 8, 4);
  memcpy(&crc, h + HEADER_BYTES - 4, 4);
  if (memcmp(h, magic, sizeof magic) != 0) {
    char found[2 * sizeof magic + 1];
    lc_hex_encode(h, sizeof magic, found);
    return damaged(s, err, "expected the first bytes of a snapshot, 894c43534e41500a, found %s", found);
  }
  if (crc != actual) return damaged(s, err, "checksum of the header: expected %08x, found %08x", crc, actual);
  if (version != FORMAT_VERSION) return lc_fail(err, LC_UNSUPPORTED, "%s has format version %u; this program reads version %u", s->path, version, FORMAT_VERSION);
  memcpy(head->database.bytes, h + 16, 32);
  memcpy(&head->tx_offset, h + 48, 8);
  memcpy(&head->epoch, h + 56, 8);
  memcpy(&head->created_us, h + 64, 8);
  s->at += HEADER_BYTES;
  return LC_OK;
}

/* The block at s->at with its payload, checked; at s->bytes from BLOCK_HEADER_BYTES on. */
static enum lc_status read_block(struct source *s, uint64_t number, struct block *b, struct lc_error *err) {
  enum lc_status st = fetch(s, BLOCK_HEADER_BYTES, "a block's header", err);
  if (st != LC_OK) return st;
  struct lc_reader r = lc_reader(lc_buf_slice(&s->bytes));
  b->kind = lc_read_u32(&r);
  b->table_id = lc_read_u32(&r);
  b->number = lc_read_u64(&r);
  b->n_rows = lc_read_u64(&r);
  b->len = lc_read_u32(&r);
  b->crc = lc_read_u32(&r);
  if (b->number != number || (b->kind != BLOCK_ROWS && b->kind != BLOCK_END))
    return damaged(s, err, "expected block %llu, found block %llu of kind %u", (unsigned long long)number, (unsigned long long)b->number, b->kind);
  if (b->len > LC_SNAPFILE_MAX_BLOCK_BYTES) return damaged(s, err, "block %llu: expected at most %d bytes, found %u", (unsigned long long)number, LC_SNAPFILE_MAX_BLOCK_BYTES, b->len);
  if ((st = fetch(s, (uint64_t)BLOCK_HEADER_BYTES + b->len, "a block", err)) != LC_OK) return st;
  uint32_t actual = lc_crc32c(lc_crc32c(0, s->bytes.data, BLOCK_HEADER_BYTES - 4), s->bytes.data + BLOCK_HEADER_BYTES, b->len);
  return actual == b->crc ? LC_OK : damaged(s, err, "checksum of block %llu: expected %08x, found %08x", (unsigned long long)number, b->crc, actual);
}

static enum lc_status read_blocks(struct source *s, enum lc_status (*fn)(void *ctx, uint32_t table_id, struct lc_slice rows, uint64_t n_rows, struct lc_error *err), void *ctx, struct lc_error *err) {
  uint64_t n = 0, n_rows = 0, want[3];
  uint32_t checksum = 0, want_checksum;
  struct block b;
  enum lc_status st;
  while ((st = read_block(s, n, &b, err)) == LC_OK && b.kind == BLOCK_ROWS) {
    if (fn && (st = fn(ctx, b.table_id, lc_slice(s->bytes.data + BLOCK_HEADER_BYTES, b.len), b.n_rows, err)) != LC_OK)
      return st == LC_CORRUPT ? lc_fail_context(err, "%s at byte %llu: block %llu", s->path, (unsigned long long)s->at, (unsigned long long)n) : st;
    checksum = lc_crc32c(checksum, &b.crc, sizeof b.crc);
    n_rows += b.n_rows;
    n++;
    s->at += (uint64_t)BLOCK_HEADER_BYTES + b.len;
  }
  if (st != LC_OK) return st;
  if (b.len != END_BYTES) return damaged(s, err, "expected an end of %d bytes, found %u", END_BYTES, b.len);
  memcpy(want, s->bytes.data + BLOCK_HEADER_BYTES, sizeof want);
  memcpy(&want_checksum, s->bytes.data + BLOCK_HEADER_BYTES + sizeof want, 4);
  uint64_t end = s->at + BLOCK_HEADER_BYTES + END_BYTES;
  if (want[0] != n || want[1] != n_rows || want_checksum != checksum)
    return damaged(s, err, "expected %llu blocks with %llu rows and checksum %08x, found %llu, %llu and %08x", (unsigned long long)want[0], (unsigned long long)want[1], want_checksum,
                   (unsigned long long)n, (unsigned long long)n_rows, checksum);
  if (want[2] != end || s->size != end) return damaged(s, err, "expected a file of %llu bytes, found %llu", (unsigned long long)want[2], (unsigned long long)s->size);
  return LC_OK;
}

enum lc_status lc_snapfile_read(const struct lc_fs *fs, const char *dir, uint64_t tx_offset, struct lc_snapfile_head *head,
                                enum lc_status (*fn)(void *ctx, uint32_t table_id, struct lc_slice rows, uint64_t n_rows, struct lc_error *err), void *ctx, struct lc_error *err) {
  struct source s = {.fs = fs};
  enum lc_status st = file_path(dir, tx_offset, "", s.path, err);
  if (st != LC_OK) return st;
  s.fd = fs->open(fs->ctx, s.path, false);
  if (s.fd < 0) return s.fd == -ENOENT ? lc_fail(err, LC_NOT_FOUND, "%s does not exist", s.path) : io_error(err, "open", s.path, s.fd);
  int64_t size = fs->size(fs->ctx, s.fd);
  if (size < 0) st = io_error(err, "read", s.path, (int)size);
  s.size = size > 0 ? (uint64_t)size : 0;
  if (st == LC_OK) st = read_header(&s, head, err);
  if (st == LC_OK && head->tx_offset != tx_offset) {
    s.at = 48;
    st = damaged(&s, err, "expected offset %llu as the file's name says, found %llu", (unsigned long long)tx_offset, (unsigned long long)head->tx_offset);
  }
  if (st == LC_OK) st = read_blocks(&s, fn, ctx, err);
  fs->close(fs->ctx, s.fd);
  lc_buf_free(&s.bytes);
  return st;
}

/* ---- the folder ---- */

struct listing { uint64_t *offsets; uint32_t n, cap; bool temporary, failed; };

static void on_name(void *arg, const char *name) {
  struct listing *l = arg;
  char same[64];
  uint64_t offset = strtoull(name, NULL, 10);
  snprintf(same, sizeof same, "%020llu.snapshot%s", (unsigned long long)offset, l->temporary ? ".tmp" : "");
  if (strcmp(name, same) != 0) return;
  if (l->n == l->cap) {
    uint32_t cap = l->cap ? l->cap * 2 : 16;
    uint64_t *p = lc_realloc(l->offsets, cap * sizeof *p);
    if (!p) {
      l->failed = true;
      return;
    }
    l->offsets = p;
    l->cap = cap;
  }
  l->offsets[l->n++] = offset;
}
static int by_offset(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static enum lc_status list(const struct lc_fs *fs, const char *dir, struct listing *l, struct lc_error *err) {
  char path[PATH_BYTES];
  enum lc_status st = folder_path(dir, path, err);
  if (st != LC_OK) return st;
  int rc = fs->list(fs->ctx, path, on_name, l);
  if (rc != 0 && rc != -ENOENT) st = io_error(err, "list", path, rc);
  else if (l->failed) st = oom(err);
  if (st == LC_OK && l->n > 1) qsort(l->offsets, l->n, sizeof *l->offsets, by_offset);
  if (st != LC_OK) lc_free(l->offsets);
  return st;
}

enum lc_status lc_snapfile_list(const struct lc_fs *fs, const char *dir, uint64_t **offsets, uint32_t *n, struct lc_error *err) {
  struct listing l = {0};
  enum lc_status st = list(fs, dir, &l, err);
  if (st != LC_OK) return st;
  *offsets = l.offsets;
  *n = l.n;
  return LC_OK;
}

enum lc_status lc_snapfile_remove_temporary(const struct lc_fs *fs, const char *dir, struct lc_error *err) {
  struct listing l = {.temporary = true};
  char path[PATH_BYTES];
  enum lc_status st = list(fs, dir, &l, err);
  if (st != LC_OK) return st;
  for (uint32_t i = 0; i < l.n && st == LC_OK; i++) {
    st = file_path(dir, l.offsets[i], ".tmp", path, err);
    int rc = st == LC_OK ? fs->unlink(fs->ctx, path) : 0;
    if (rc != 0 && rc != -ENOENT) st = io_error(err, "remove", path, rc);
  }
  lc_free(l.offsets);
  return st;
}

enum lc_status lc_snapfile_remove(const struct lc_fs *fs, const char *dir, uint64_t tx_offset, struct lc_error *err) {
  char path[PATH_BYTES];
  enum lc_status st = file_path(dir, tx_offset, "", path, err);
  if (st != LC_OK) return st;
  int rc = fs->unlink(fs->ctx, path);
  return rc == 0 || rc == -ENOENT ? LC_OK : io_error(err, "remove", path, rc);
}

enum lc_status lc_snapfile_set_aside(const struct lc_fs *fs, const char *dir, uint64_t tx_offset, struct lc_error *err) {
  char path[PATH_BYTES], aside[PATH_BYTES];
  enum lc_status st = file_path(dir, tx_offset, "", path, err);
  if (st == LC_OK) st = file_path(dir, tx_offset, ".damaged", aside, err);
  if (st != LC_OK) return st;
  int rc = fs->rename(fs->ctx, path, aside);
  if (rc != 0) return io_error(err, "rename", path, rc);
  if ((st = folder_path(dir, path, err)) != LC_OK) return st;
  return (rc = fs->sync_dir(fs->ctx, path)) == 0 ? LC_OK : io_error(err, "sync folder", path, rc);
}
