/* Owns: reading one segment of the commit log, plain or replaced by zstd frames with a seek table (spec/06 §10.1, §10.6).
 *
 * Invariants: nothing a file says is believed beyond what the file can hold; a commit is given out only when its checksum is right. Reads go through a window
 * of the segment, so that a commit costs no call of its own. Callers: wal.c, replay.c, index.c, compress.c, inspect.c.
 */
#include "wal_internal.h"
#include <errno.h>
#include <stdio.h>
#include <zstd.h>

enum { WINDOW_BYTES = 1 << 18, SEEK_FOOT_BYTES = 9, SKIPPABLE_HEAD_BYTES = 8, MAX_FRAME_BYTES = 256 << 20 };
const uint8_t wal_segment_header[WAL_SEGMENT_HEADER_BYTES] = {0x28, 0x64, 0x73, 0x29, 0x5e, 0x32, 1, 0, 0, 0}; /* "(ds)^2", version 1, CRC-32C */

void wal_path(const char *dir, uint64_t first, const char *suffix, char path[WAL_PATH_BYTES]) {
  if (snprintf(path, WAL_PATH_BYTES, "%s/%020llu%s", dir, (unsigned long long)first, suffix) >= WAL_PATH_BYTES) lc_panic("path of a log segment is too long");
}
enum lc_status wal_io_error(struct lc_error *err, const char *what, const char *path, int rc) {
  return lc_fail(err, rc == -ENOMEM ? LC_NOMEM : LC_IO, "cannot %s %s: %s", what, path, strerror(-rc));
}
bool wal_segment_name(const char *name, uint64_t *first) {
  unsigned long long number;
  int used = 0;
  if (sscanf(name, "%20llu.stdb.log%n", &number, &used) != 1 || used != 29 || name[used] != 0) return false;
  *first = number;
  return true;
}

static uint32_t u32_at(const uint8_t *p) {
  uint32_t v;
  memcpy(&v, p, 4);
  return v;
}

/* ---- compressed segments: frames, then a skippable frame with the sizes of each ---- */

static enum lc_status load_seek_table(struct wal_reader *r, uint64_t file_bytes, struct lc_error *err) {
  uint8_t foot[SEEK_FOOT_BYTES];
  const struct lc_fs *fs = r->fs;
  int64_t got = file_bytes < SEEK_FOOT_BYTES + SKIPPABLE_HEAD_BYTES ? 0 : fs->read_at(fs->ctx, r->fd, foot, sizeof foot, file_bytes - sizeof foot);
  if (got < 0) return wal_io_error(err, "read", r->path, (int)got);
  if (got != sizeof foot || u32_at(foot + 5) != 0x8f92eab1u)
    return lc_fail(err, LC_CORRUPT, "%s: expected a zstd seek table at its end, found none", r->path);
  uint64_t n = u32_at(foot), entry = foot[4] & 0x80 ? 12 : 8, table = SKIPPABLE_HEAD_BYTES + n * entry + SEEK_FOOT_BYTES;
  if (table > file_bytes) return lc_fail(err, LC_CORRUPT, "%s at byte %llu: the seek table names %llu frames, more than the file can hold", r->path, (unsigned long long)(file_bytes - sizeof foot), (unsigned long long)n);
  uint8_t *raw = lc_alloc(table);
  r->packed_at = lc_alloc_zero(n + 1, sizeof *r->packed_at);
  r->plain_at = lc_alloc_zero(n + 1, sizeof *r->plain_at);
  r->n_frames = (uint32_t)n;
  enum lc_status st = raw && r->packed_at && r->plain_at && (r->unpacker = ZSTD_createDCtx()) ? LC_OK : lc_fail(err, LC_NOMEM, "out of memory");
  if (st == LC_OK && (got = fs->read_at(fs->ctx, r->fd, raw, table, file_bytes - table)) < 0) st = wal_io_error(err, "read", r->path, (int)got);
  if (st == LC_OK && (got != (int64_t)table || u32_at(raw) != 0x184d2a5eu || u32_at(raw + 4) != table - SKIPPABLE_HEAD_BYTES))
    st = lc_fail(err, LC_CORRUPT, "%s at byte %llu: expected the skippable frame of the seek table, found something else", r->path, (unsigned long long)(file_bytes - table));
  for (uint64_t i = 0; st == LC_OK && i < n; i++) {
    const uint8_t *e = raw + SKIPPABLE_HEAD_BYTES + i * entry;
    r->packed_at[i + 1] = r->packed_at[i] + u32_at(e);
    r->plain_at[i + 1] = r->plain_at[i] + u32_at(e + 4);
    if (u32_at(e + 4) > MAX_FRAME_BYTES) st = lc_fail(err, LC_LIMIT, "%s: frame %llu has %u bytes, more than are read", r->path, (unsigned long long)i, u32_at(e + 4));
  }
  if (st == LC_OK && r->packed_at[n] != file_bytes - table)
    st = lc_fail(err, LC_CORRUPT, "%s: expected frames of %llu bytes by the seek table, found %llu", r->path, (unsigned long long)r->packed_at[n], (unsigned long long)(file_bytes - table));
  if (st == LC_OK) r->size = r->plain_at[n];
  lc_free(raw);
  return st;
}

static bool reserve(uint8_t **p, size_t *cap, uint64_t n) {
  if (n <= *cap) return true;
  uint8_t *more = lc_realloc(*p, n);
  if (!more) return false;
  *p = more;
  *cap = n;
  return true;
}

/* Before the window changes: what is pinned in it stays as it is, in `spare`. */
static void let_go(struct wal_reader *r) {
  if (!r->is_pinned) return;
  uint8_t *bytes = r->window;
  size_t cap = r->window_cap;
  r->window = r->spare;
  r->window_cap = r->spare_cap;
  r->spare = bytes;
  r->spare_cap = cap;
  r->is_pinned = false;
}

/* The window becomes whole frames from the one with `at` on, at least up to `end`. */
static bool unpack(struct wal_reader *r, uint64_t at, uint64_t end, char why[WAL_WHY_BYTES]) {
  uint32_t low = 0, high = r->n_frames;
  while (low + 1 < high) { /* the last frame that begins at or before `at` */
    uint32_t mid = low + (high - low) / 2;
    if (r->plain_at[mid] <= at) low = mid;
    else high = mid;
  }
  uint32_t last = low;
  while (last < r->n_frames && (r->plain_at[last] < end || r->plain_at[last] - r->plain_at[low] < WINDOW_BYTES)) last++;
  uint64_t plain = r->plain_at[last] - r->plain_at[low], packed = r->packed_at[last] - r->packed_at[low];
  r->window_len = 0;
  let_go(r);
  if (!reserve(&r->window, &r->window_cap, plain) || !reserve(&r->packed, &r->packed_cap, packed)) return r->trouble = LC_NOMEM, snprintf(why, WAL_WHY_BYTES, "out of memory for %llu bytes", (unsigned long long)plain), false;
  if (r->fs->read_at(r->fs->ctx, r->fd, r->packed, packed, r->packed_at[low]) != (int64_t)packed) return r->trouble = LC_IO, snprintf(why, WAL_WHY_BYTES, "cannot be read"), false;
  for (uint32_t i = low; i < last; i++) {
    size_t want = r->plain_at[i + 1] - r->plain_at[i];
    size_t got = ZSTD_decompressDCtx(r->unpacker, r->window + (r->plain_at[i] - r->plain_at[low]), want, r->packed + (r->packed_at[i] - r->packed_at[low]), r->packed_at[i + 1] - r->packed_at[i]);
    if (got == want) continue;
    snprintf(why, WAL_WHY_BYTES, "compressed frame %u at byte %llu of the file: expected %zu bytes, found %s", i, (unsigned long long)r->packed_at[i], want, ZSTD_isError(got) ? ZSTD_getErrorName(got) : "fewer");
    return false;
  }
  r->window_at = r->plain_at[low];
  r->window_len = plain;
  return true;
}

/* ---- reading ---- */

const uint8_t *wal_reader_bytes(struct wal_reader *r, uint64_t at, uint64_t n, char why[WAL_WHY_BYTES]) {
  if (at >= r->window_at && at + n <= r->window_at + r->window_len) return r->window + (at - r->window_at);
  if (r->plain_at) return unpack(r, at, at + n, why) ? r->window + (at - r->window_at) : NULL;
  uint64_t want = n > WINDOW_BYTES ? n : WINDOW_BYTES;
  if (want > r->size - at) want = r->size - at;
  size_t kept = at >= r->window_at && at < r->window_at + r->window_len ? (size_t)(r->window_at + r->window_len - at) : 0;
  const uint8_t *old = r->window;
  bool was_pinned = r->is_pinned;
  let_go(r);
  r->window_len = 0;
  if (!reserve(&r->window, &r->window_cap, want)) return r->trouble = LC_NOMEM, snprintf(why, WAL_WHY_BYTES, "out of memory for %llu bytes", (unsigned long long)want), NULL;
  if (kept) memmove(r->window, (was_pinned ? old : r->window) + (at - r->window_at), kept);
  int64_t got = r->fs->read_at(r->fs->ctx, r->fd, r->window + kept, want - kept, at + kept);
  r->window_at = at;
  r->window_len = kept + (got > 0 ? (size_t)got : 0);
  if (r->window_len < n) return r->trouble = LC_IO, snprintf(why, WAL_WHY_BYTES, "cannot be read: %s", got < 0 ? strerror((int)-got) : "it is shorter than it was"), NULL;
  return r->window;
}

enum lc_status wal_reader_open(const struct lc_fs *fs, const char *path, struct wal_reader *r, struct lc_error *err) {
  static const uint8_t zstd_magic[] = {0x28, 0xb5, 0x2f, 0xfd};
  uint8_t h[WAL_SEGMENT_HEADER_BYTES];
  char why[WAL_WHY_BYTES];
  *r = (struct wal_reader){.fs = fs, .at = WAL_SEGMENT_HEADER_BYTES, .header_bytes = WAL_COMMIT_HEADER_BYTES};
  snprintf(r->path, sizeof r->path, "%s", path);
  r->fd = fs->open(fs->ctx, path, false);
  if (r->fd < 0) return wal_io_error(err, "open", path, r->fd);
  int64_t size = fs->size(fs->ctx, r->fd), got = fs->read_at(fs->ctx, r->fd, h, sizeof h, 0);
  if (size < 0 || got < 0) return wal_io_error(err, "read", path, (int)(size < 0 ? size : got));
  if (got < (int64_t)sizeof h) return LC_OK; /* not even a header: nothing is in it */
  r->size = (uint64_t)size;
  if (memcmp(h, zstd_magic, 4) == 0) {
    enum lc_status st = load_seek_table(r, r->size, err);
    if (st != LC_OK) return st;
    const uint8_t *p = r->size < sizeof h ? NULL : wal_reader_bytes(r, 0, sizeof h, why);
    if (!p && r->trouble) return lc_fail(err, r->trouble, "%s: %s", path, why);
    if (!p) return lc_fail(err, LC_CORRUPT, "%s: expected a compressed segment header, found %s", path, r->size < sizeof h ? "less" : why);
    memcpy(h, p, sizeof h);
  }
  if (memcmp(h, wal_segment_header, 6) != 0 || h[6] > 1 || h[7] != 0)
    return lc_fail(err, LC_CORRUPT, "%s at byte 0: expected the segment header 28647329 5e32 with version 0 or 1, found %02x%02x%02x%02x %02x%02x %02x %02x", path, h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7]);
  if (h[6] == 0) r->header_bytes -= 8;
  return LC_OK;
}

void wal_reader_close(struct wal_reader *r) {
  if (r->fd >= 0) r->fs->close(r->fs->ctx, r->fd);
  if (r->unpacker) ZSTD_freeDCtx(r->unpacker);
  lc_free(r->window);
  lc_free(r->spare);
  lc_free(r->packed);
  lc_free(r->packed_at);
  lc_free(r->plain_at);
}

enum wal_outcome wal_read_commit(struct wal_reader *r, struct wal_commit *c, char why[WAL_WHY_BYTES]) {
  r->trouble = LC_OK;
  if (r->at >= r->size) return WAL_COMMIT_END;
  uint64_t left = r->size - r->at;
  if (left < r->header_bytes) return snprintf(why, WAL_WHY_BYTES, "expected a commit header of %u bytes, found %llu", r->header_bytes, (unsigned long long)left), WAL_COMMIT_BAD;
  const uint8_t *p = wal_reader_bytes(r, r->at, r->header_bytes, why);
  if (!p) return r->trouble ? WAL_COMMIT_UNREAD : WAL_COMMIT_BAD;
  uint32_t behind = r->header_bytes - 6, len = u32_at(p + behind + 2); /* n and len end the header in both versions */
  uint16_t n;
  memcpy(&n, p + behind, 2);
  *c = (struct wal_commit){.position = r->at, .n_tx = n};
  memcpy(&c->offset, p, 8);
  if (behind == 16) memcpy(&c->epoch, p + 8, 8);
  uint64_t total = (uint64_t)r->header_bytes + len + WAL_CRC_BYTES;
  if (left < total) return snprintf(why, WAL_WHY_BYTES, "expected %llu bytes of commit, found %llu", (unsigned long long)total, (unsigned long long)left), WAL_COMMIT_BAD;
  if (!(p = wal_reader_bytes(r, r->at, total, why))) return r->trouble ? WAL_COMMIT_UNREAD : WAL_COMMIT_BAD;
  uint32_t actual = lc_crc32c(0, p, total - WAL_CRC_BYTES);
  c->checksum = u32_at(p + total - WAL_CRC_BYTES);
  c->records = lc_slice(p + r->header_bytes, len);
  if (c->checksum != actual && !LC_PLANTED(LC_BUG_TORN_TAIL_ACCEPTED)) return snprintf(why, WAL_WHY_BYTES, "checksum mismatch: expected %08x, found %08x", c->checksum, actual), WAL_COMMIT_BAD;
  if (n == 0) return snprintf(why, WAL_WHY_BYTES, "expected at least one transaction, found a commit without"), WAL_COMMIT_BAD;
  r->at += total;
  return WAL_COMMIT_OK;
}

enum wal_step wal_step(struct wal_sequence *s, const struct wal_commit *c, const char *path, struct lc_error *err) {
  if (c->offset != s->expected) {
    if (s->has_last && c->offset == s->last_offset) {
      if (c->checksum == s->last_checksum) return WAL_STEP_REPEATED;
      lc_fail(err, LC_CORRUPT, "%s at byte position %llu: forked history: offset=%llu", path, (unsigned long long)c->position, (unsigned long long)c->offset);
    } else {
      lc_fail(err, LC_CORRUPT, "%s at byte position %llu: out-of-order commit: expected-offset=%llu actual-offset=%llu", path, (unsigned long long)c->position, (unsigned long long)s->expected, (unsigned long long)c->offset);
    }
    return WAL_STEP_WRONG;
  }
  if (c->epoch < s->epoch) {
    lc_fail(err, LC_CORRUPT, "%s at byte position %llu: new epoch is smaller than current epoch: expected at least %llu, found %llu", path, (unsigned long long)c->position, (unsigned long long)s->epoch, (unsigned long long)c->epoch);
    return WAL_STEP_WRONG;
  }
  *s = (struct wal_sequence){.expected = c->offset + c->n_tx, .epoch = c->epoch, .last_offset = c->offset, .last_checksum = c->checksum, .has_last = true};
  return WAL_STEP_NEXT;
}

bool wal_lacks_a_sector(struct wal_reader *r, uint64_t until) {
  enum { sector_bytes = 512 };
  char why[WAL_WHY_BYTES];
  for (uint64_t at = r->at; at < until;) {
    uint64_t n = sector_bytes - at % sector_bytes;
    if (n > until - at) n = until - at;
    const uint8_t *p = wal_reader_bytes(r, at, n, why);
    if (!p) return false;
    bool zero = true;
    for (uint64_t i = 0; i < n && zero; i++) zero = p[i] == 0;
    if (zero && (at + n) % sector_bytes == 0) return true; /* all of it that could be of this batch */
    at += n;
  }
  return false;
}

bool wal_intact_commit_behind(struct wal_reader *r, uint64_t expected, uint64_t epoch, uint64_t *position) {
  enum { step_bytes = 1 << 16, plausible_ahead = 1 << 20 };
  uint64_t from = r->at;
  uint8_t *look = lc_alloc(step_bytes + 8);
  char why[WAL_WHY_BYTES];
  bool found = false;
  *position = from;
  if (!look) return true; /* without memory to look, refuse rather than cut */
  for (uint64_t base = from + 1; !found && base + r->header_bytes < r->size; base += step_bytes) {
    uint64_t n = r->size - base < step_bytes + 8 ? r->size - base : step_bytes + 8;
    const uint8_t *p = wal_reader_bytes(r, base, n, why);
    if (!p) {
      found = true; /* refuse rather than cut what cannot be read */
      break;
    }
    memcpy(look, p, n); /* the window moves */
    for (uint64_t i = 0; !found && i + 8 <= n && i < step_bytes; i++) {
      uint64_t offset;
      struct wal_commit c;
      memcpy(&offset, look + i, 8);
      if (offset < expected || offset - expected > plausible_ahead) continue;
      r->at = base + i;
      enum wal_outcome o = wal_read_commit(r, &c, why);
      found = o == WAL_COMMIT_UNREAD || (o == WAL_COMMIT_OK && c.epoch >= epoch);
      if (found) *position = o == WAL_COMMIT_OK ? base + i : from;
    }
  }
  lc_free(look);
  r->at = from;
  return found;
}
