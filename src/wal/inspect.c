/* Owns: reading a log without opening it, for tools: nothing is changed, cut off or locked (spec/06 §10, §12). Callers: db/inspect.c. */
#include "wal_internal.h"
#include <stdio.h>
#include <stdlib.h>

struct names { uint64_t *firsts; uint32_t n, cap; bool failed; };
static void on_name(void *arg, const char *name) {
  struct names *l = arg;
  uint64_t first;
  if (!wal_segment_name(name, &first)) return;
  if (l->n == l->cap) {
    uint32_t cap = l->cap ? 2 * l->cap : 16;
    uint64_t *p = lc_realloc(l->firsts, cap * sizeof *p);
    if (!p) {
      l->failed = true;
      return;
    }
    l->firsts = p;
    l->cap = cap;
  }
  l->firsts[l->n++] = first;
}
static int by_number(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

/* next: where the next segment begins; UINT64_MAX: this is the newest. */
static enum lc_status scan_segment(const struct lc_fs *fs, const char *path, uint64_t next, enum lc_status (*fn)(void *, const struct lc_wal_commit *, struct lc_error *), void *ctx, struct lc_wal_scan_end *end,
                                   struct lc_error *err) {
  struct wal_reader r;
  struct wal_commit c;
  char why[WAL_WHY_BYTES];
  enum wal_outcome o = WAL_COMMIT_END;
  enum lc_status st = wal_reader_open(fs, path, &r, err);
  end->n_segments++;
  end->n_compressed += st == LC_OK && r.plain_at;
  while (st == LC_OK && (o = wal_read_commit(&r, &c, why)) == WAL_COMMIT_OK) {
    if (c.offset == end->last_offset && c.checksum == end->last_checksum && end->n_commits) continue; /* a repeat */
    if (c.offset != end->next_offset)
      st = lc_fail(err, LC_CORRUPT, "%s at byte position %llu: out-of-order commit: expected-offset=%llu actual-offset=%llu", path, (unsigned long long)c.position, (unsigned long long)end->next_offset, (unsigned long long)c.offset);
    else if (c.epoch < end->epoch)
      st = lc_fail(err, LC_CORRUPT, "%s at byte position %llu: new epoch is smaller than current epoch: expected at least %llu, found %llu", path, (unsigned long long)c.position, (unsigned long long)end->epoch, (unsigned long long)c.epoch);
    if (st != LC_OK) break;
    end->next_offset = c.offset + c.n_tx;
    end->epoch = c.epoch;
    end->last_offset = c.offset;
    end->last_checksum = c.checksum;
    end->n_commits++;
    struct lc_wal_commit given = {path, c.position, c.offset, c.epoch, c.n_tx, c.checksum, c.records};
    st = fn ? fn(ctx, &given, err) : LC_OK;
  }
  if (st == LC_OK && o == WAL_COMMIT_UNREAD) st = lc_fail(err, r.trouble, "%s at byte position %llu: %s", path, (unsigned long long)r.at, why);
  if (st == LC_OK && o == WAL_COMMIT_BAD && next != end->next_offset) { /* not a torn tail that a newer segment replaced */
    bool is_newest = next == UINT64_MAX && !r.plain_at;
    uint64_t intact_at;
    bool behind = is_newest && wal_intact_commit_behind(&r, end->next_offset, end->epoch, &intact_at) && !wal_lacks_a_sector(&r, intact_at);
    if (is_newest && !behind) snprintf(end->torn, sizeof end->torn, "%.700s: torn tail at byte position %llu (offset %llu): %s", path, (unsigned long long)r.at, (unsigned long long)end->next_offset, why);
    else st = lc_fail(err, LC_CORRUPT, "%s: commit at byte position %llu (offset %llu): %s%s", path, (unsigned long long)r.at, (unsigned long long)end->next_offset, why, behind ? "; intact commits follow it" : "");
  }
  wal_reader_close(&r);
  return st;
}

enum lc_status lc_wal_scan_first(const struct lc_fs *fs, const char *clog, uint64_t *first, struct lc_error *err) {
  struct names l = {0};
  int rc = fs->list(fs->ctx, clog, on_name, &l);
  enum lc_status st = rc != 0 ? wal_io_error(err, "list", clog, rc) : l.failed ? lc_fail(err, LC_NOMEM, "out of memory") : l.n == 0 ? lc_fail(err, LC_NOT_FOUND, "%s: there is no log segment in it", clog) : LC_OK;
  for (uint32_t i = 0; i < l.n; i++)
    if (i == 0 || l.firsts[i] < *first) *first = l.firsts[i];
  lc_free(l.firsts);
  return st;
}

enum lc_status lc_wal_scan(const struct lc_fs *fs, const char *clog, const char *only, enum lc_status (*fn)(void *, const struct lc_wal_commit *, struct lc_error *), void *ctx, struct lc_wal_scan_end *end,
                           struct lc_error *err) {
  struct names l = {0};
  char path[WAL_PATH_BYTES];
  *end = (struct lc_wal_scan_end){0};
  if (only) {
    if (!wal_segment_name(only, &end->first_offset)) return lc_fail(err, LC_INVALID, "%s: expected the name of a segment, {20 digits}.stdb.log", only);
    end->next_offset = end->first_offset;
    wal_path(clog, end->first_offset, ".stdb.log", path);
    return scan_segment(fs, path, UINT64_MAX, fn, ctx, end, err);
  }
  int rc = fs->list(fs->ctx, clog, on_name, &l);
  enum lc_status st = rc != 0 ? wal_io_error(err, "list", clog, rc) : l.failed ? lc_fail(err, LC_NOMEM, "out of memory") : l.n == 0 ? lc_fail(err, LC_NOT_FOUND, "%s: there is no log segment in it", clog) : LC_OK;
  if (l.n > 1) qsort(l.firsts, l.n, sizeof *l.firsts, by_number);
  if (st == LC_OK) end->first_offset = end->next_offset = l.firsts[0];
  for (uint32_t i = 0; i < l.n && st == LC_OK; i++) {
    wal_path(clog, l.firsts[i], ".stdb.log", path);
    if (l.firsts[i] != end->next_offset) st = lc_fail(err, LC_CORRUPT, "%s: expected a segment that begins with offset %llu, found one with %llu", path, (unsigned long long)end->next_offset, (unsigned long long)l.firsts[i]);
    else st = scan_segment(fs, path, i + 1 < l.n ? l.firsts[i + 1] : UINT64_MAX, fn, ctx, end, err);
  }
  lc_free(l.firsts);
  return st;
}
