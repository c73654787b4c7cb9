/* Owns: replacing a finished segment by zstd frames of 4 KiB with a seek table (spec/06 §10.6).
 *
 * Invariants: the replacement is written beside the segment, synced, read back and compared before it takes the segment's name, and then the folder is synced:
 * whatever happens, one whole file has the name. Callers: wal.c.
 */
#include "wal_internal.h"
#include <stdio.h>
#include <zstd.h>

enum { FLUSH_BYTES = 1 << 20 };

struct packer { const struct lc_fs *fs; int fd; uint64_t at; struct lc_buf out, table; uint32_t n_frames; ZSTD_CCtx *zstd; };

static int flush(struct packer *p, size_t least) {
  if (!lc_buf_ok(&p->out) || !lc_buf_ok(&p->table)) return -12; /* ENOMEM */
  if (p->out.len < least) return 0;
  int rc = p->fs->write_at(p->fs->ctx, p->fd, p->out.data, p->out.len, p->at);
  p->at += p->out.len;
  lc_buf_clear(&p->out);
  return rc;
}

static int add_frame(struct packer *p, const uint8_t *bytes, size_t n) {
  size_t bound = ZSTD_compressBound(n);
  if (!lc_buf_reserve(&p->out, bound)) return -12;
  size_t got = ZSTD_compressCCtx(p->zstd, p->out.data + p->out.len, bound, bytes, n, ZSTD_CLEVEL_DEFAULT);
  if (ZSTD_isError(got)) return -12;
  p->out.len += got;
  lc_buf_u32(&p->table, (uint32_t)got);
  lc_buf_u32(&p->table, (uint32_t)n);
  p->n_frames++;
  return flush(p, FLUSH_BYTES);
}

/* Everything of r in steps of a frame, through fn (may be NULL); *sum: its checksum. */
static enum lc_status each_frame(struct wal_reader *r, struct packer *p, uint32_t *sum, const atomic_bool *cancel, struct lc_error *err) {
  char why[WAL_WHY_BYTES];
  *sum = 0;
  r->trouble = LC_OK;
  for (uint64_t at = 0; at < r->size;) {
    uint64_t n = r->size - at < WAL_FRAME_BYTES ? r->size - at : WAL_FRAME_BYTES;
    const uint8_t *bytes = wal_reader_bytes(r, at, n, why);
    if (!bytes) return lc_fail(err, r->trouble ? r->trouble : LC_CORRUPT, "%s at byte position %llu: %s", r->path, (unsigned long long)at, why);
    *sum = lc_crc32c(*sum, bytes, n);
    int rc = p ? add_frame(p, bytes, n) : 0;
    if (rc != 0) return wal_io_error(err, "write the compressed form of", r->path, rc);
    if (cancel && at % FLUSH_BYTES == 0 && atomic_load_explicit(cancel, memory_order_relaxed)) return lc_fail(err, LC_CLOSED, "the database is closing");
    at += n;
  }
  return LC_OK;
}

static enum lc_status write_packed(struct wal_reader *r, const char *part, uint32_t *sum, const atomic_bool *cancel, struct lc_error *err) {
  const struct lc_fs *fs = r->fs;
  struct packer p = {.fs = fs, .fd = fs->open(fs->ctx, part, true), .zstd = ZSTD_createCCtx()};
  enum lc_status st = p.fd < 0 ? wal_io_error(err, "create", part, p.fd) : p.zstd ? each_frame(r, &p, sum, cancel, err) : lc_fail(err, LC_NOMEM, "out of memory");
  if (st == LC_OK) {
    lc_buf_u32(&p.out, 0x184d2a5e);
    lc_buf_u32(&p.out, (uint32_t)p.table.len + 9);
    lc_buf_slice_append(&p.out, lc_buf_slice(&p.table));
    lc_buf_u32(&p.out, p.n_frames);
    lc_buf_u8(&p.out, 0); /* no checksums */
    lc_buf_u32(&p.out, 0x8f92eab1u);
    int rc = flush(&p, 0);
    if (rc == 0) rc = fs->sync(fs->ctx, p.fd);
    if (rc != 0) st = wal_io_error(err, "write", part, rc);
  }
  if (p.fd >= 0) fs->close(fs->ctx, p.fd);
  ZSTD_freeCCtx(p.zstd);
  lc_buf_free(&p.out);
  lc_buf_free(&p.table);
  return st;
}

static enum lc_status compare(const struct lc_fs *fs, const char *part, uint64_t size, uint32_t sum, struct lc_error *err) {
  struct wal_reader r;
  uint32_t found = 0;
  enum lc_status st = wal_reader_open(fs, part, &r, err);
  if (st == LC_OK) st = each_frame(&r, NULL, &found, NULL, err);
  if (st == LC_OK && (r.size != size || found != sum)) st = lc_fail(err, LC_IO, "%s: what was written is not what is read", part);
  wal_reader_close(&r);
  return st;
}

enum lc_status wal_compress_segment(const struct lc_fs *fs, const char *dir, uint64_t first, const atomic_bool *cancel, struct lc_error *err) {
  char path[WAL_PATH_BYTES], part[WAL_PATH_BYTES];
  struct wal_reader r;
  uint32_t sum = 0;
  wal_path(dir, first, ".stdb.log", path);
  wal_path(dir, first, ".stdb.log.zst.tmp", part);
  enum lc_status st = wal_reader_open(fs, path, &r, err);
  if (st == LC_OK && !r.plain_at && r.size > WAL_SEGMENT_HEADER_BYTES) {
    fs->unlink(fs->ctx, part);
    st = write_packed(&r, part, &sum, cancel, err);
    if (st == LC_OK) st = compare(fs, part, r.size, sum, err);
    int rc = st == LC_OK ? fs->rename(fs->ctx, part, path) : 0;
    if (rc != 0) st = wal_io_error(err, "rename", part, rc);
    if (st != LC_OK) fs->unlink(fs->ctx, part);
    else if ((rc = fs->sync_dir(fs->ctx, dir)) != 0) st = wal_io_error(err, "sync folder", dir, rc);
  }
  wal_reader_close(&r);
  return st;
}
