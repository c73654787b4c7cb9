/* Owns: offset index files, `.stdb.ofs` beside a segment (spec/06 §10.5): pairs of transaction offset and position, 8 bytes each, ascending, the first zero
 * offset ends them (so transaction 0 has none). The file has its full size from the beginning, a hole where nothing is written.
 *
 * Invariants: an entry is written only after its commit is durable in the segment; an entry is used only after the commit at its position has been read and has
 * that offset. So an index that is missing, damaged or of another history costs time and nothing else; it is written anew when its segment is opened for
 * appending. Nothing here fails a log. Callers: wal.c.
 */
#include "wal_internal.h"
#include <stdio.h>

enum { ENTRY_BYTES = 16, ENTRIES_A_READ = 4096, TRIES = 8 };

/* The entries up to `offset` that may be: ascending in both, inside the segment. *out is the caller's. */
static uint32_t load(const struct wal_reader *r, const char *path, uint64_t offset, struct wal_index_entry **out) {
  const struct lc_fs *fs = r->fs;
  struct wal_index_entry *list = NULL, last = {0, WAL_SEGMENT_HEADER_BYTES - 1};
  uint32_t n = 0;
  int fd = fs->open(fs->ctx, path, false);
  *out = NULL;
  for (bool more = fd >= 0; more;) {
    struct wal_index_entry *p = lc_realloc(list, (n + ENTRIES_A_READ) * sizeof *list);
    if (!p) break;
    list = p;
    int64_t got = fs->read_at(fs->ctx, fd, list + n, ENTRIES_A_READ * ENTRY_BYTES, (uint64_t)n * ENTRY_BYTES);
    uint32_t end = n + (uint32_t)(got > 0 ? got / ENTRY_BYTES : 0);
    more = end == n + ENTRIES_A_READ;
    for (; n < end; n++) {
      if (list[n].offset <= last.offset || list[n].offset > offset || list[n].position <= last.position || list[n].position >= r->size) {
        more = false;
        break;
      }
      last = list[n];
    }
  }
  if (fd >= 0) fs->close(fs->ctx, fd);
  *out = list;
  return n;
}

bool wal_index_seek(struct wal_reader *r, const char *dir, uint64_t first, uint64_t offset, uint32_t *n_good) {
  char path[WAL_PATH_BYTES], why[WAL_WHY_BYTES];
  struct wal_index_entry *list;
  struct wal_commit c;
  uint64_t from = r->at;
  bool found = false;
  wal_path(dir, first, ".stdb.ofs", path);
  uint32_t n = load(r, path, offset, &list);
  for (int i = 0; i < TRIES && n > 0 && !found; i++, n = found ? n : n - 1) { /* a crash may have lost the newest commits */
    r->at = list[n - 1].position;
    found = wal_read_commit(r, &c, why) == WAL_COMMIT_OK && c.offset == list[n - 1].offset;
    r->at = found ? c.position : from;
  }
  lc_free(list);
  *n_good = found ? n : 0;
  return found;
}

void wal_index_begin(struct wal_index *ix, const struct lc_fs *fs, const char *dir, uint64_t first, uint32_t n, uint64_t max_segment_bytes) {
  char path[WAL_PATH_BYTES];
  uint64_t cap = max_segment_bytes / WAL_INDEX_INTERVAL_BYTES;
  *ix = (struct wal_index){.fs = fs, .fd = -1, .n = n, .cap = cap < 1 ? 1 : cap > UINT32_MAX ? UINT32_MAX : (uint32_t)cap, .pending = ix->pending};
  lc_buf_clear(&ix->pending);
  wal_path(dir, first, ".stdb.ofs", path);
  ix->fd = fs->open(fs->ctx, path, false);
  if (ix->fd < 0) ix->fd = fs->open(fs->ctx, path, true);
  if (ix->fd < 0) return;
  if (fs->truncate(fs->ctx, ix->fd, (uint64_t)n * ENTRY_BYTES) == 0 && fs->truncate(fs->ctx, ix->fd, (uint64_t)(ix->cap > n ? ix->cap : n) * ENTRY_BYTES) == 0) return;
  fs->close(fs->ctx, ix->fd);
  ix->fd = -1;
}

void wal_index_note(struct wal_index *ix, uint64_t offset, uint64_t position, uint64_t bytes) {
  if (!ix->has_candidate && offset != 0) {
    ix->candidate = (struct wal_index_entry){offset, position};
    ix->has_candidate = true;
  }
  ix->bytes_since += bytes;
  if (ix->bytes_since < WAL_INDEX_INTERVAL_BYTES || !ix->has_candidate) return;
  lc_buf_u64(&ix->pending, ix->candidate.offset);
  lc_buf_u64(&ix->pending, ix->candidate.position);
  ix->has_candidate = false;
  ix->bytes_since = 0;
}

void wal_index_flush(struct wal_index *ix) {
  uint64_t n = ix->pending.len / ENTRY_BYTES;
  if (n == 0) return;
  if (n > ix->cap - (ix->n < ix->cap ? ix->n : ix->cap)) n = ix->cap - (ix->n < ix->cap ? ix->n : ix->cap);
  if (ix->fd >= 0 && n && (!lc_buf_ok(&ix->pending) || ix->fs->write_at(ix->fs->ctx, ix->fd, ix->pending.data, n * ENTRY_BYTES, (uint64_t)ix->n * ENTRY_BYTES) != 0)) {
    ix->fs->close(ix->fs->ctx, ix->fd); /* no more entries for this segment */
    ix->fd = -1;
  }
  ix->n += (uint32_t)n;
  lc_buf_clear(&ix->pending);
}

void wal_index_end(struct wal_index *ix) {
  if (ix->fs && ix->fd >= 0) ix->fs->close(ix->fs->ctx, ix->fd);
  lc_buf_free(&ix->pending);
  *ix = (struct wal_index){.fd = -1};
}
