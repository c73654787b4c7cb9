/* Inside of wal/: reading segments, plain or compressed, and the offset index beside them (spec/06 §10). */
#ifndef LC_WAL_INTERNAL_H
#define LC_WAL_INTERNAL_H
#include "wal.h"

enum { WAL_SEGMENT_HEADER_BYTES = 10, WAL_COMMIT_HEADER_BYTES = 22, WAL_CRC_BYTES = 4, WAL_PATH_BYTES = 4096, WAL_FRAME_BYTES = 4096, WAL_INDEX_INTERVAL_BYTES = 4096, WAL_WHY_BYTES = 256 };
extern const uint8_t wal_segment_header[WAL_SEGMENT_HEADER_BYTES];

/* dir: …/clog. suffix: ".stdb.log" and the like. */
void wal_path(const char *dir, uint64_t first, const char *suffix, char path[WAL_PATH_BYTES]);
enum lc_status wal_io_error(struct lc_error *err, const char *what, const char *path, int rc);
/* The number of a segment's file name; false: it is another file. */
bool wal_segment_name(const char *name, uint64_t *first);

/* ---- segment.c: one segment read forwards; positions are those of the uncompressed segment ---- */

struct wal_commit { uint64_t position, offset, epoch; uint32_t n_tx, checksum; struct lc_slice records; /* valid until the next read */ };
struct wal_reader {
  const struct lc_fs *fs;
  int fd;
  uint64_t size, at;          /* size may be lowered */
  uint32_t header_bytes;      /* of a commit: 14 in version 0 */
  uint8_t *window; uint64_t window_at; size_t window_len, window_cap;
  bool is_pinned; uint8_t *spare; size_t spare_cap; /* pinned: a read that needs another window leaves this one in `spare`, with the pin gone, and takes what was there */
  uint32_t n_frames;          /* compressed */
  uint64_t *packed_at, *plain_at; /* n_frames + 1 each; NULL: not compressed */
  void *unpacker; uint8_t *packed; size_t packed_cap;
  enum lc_status trouble;     /* LC_NOMEM, LC_IO: the last read failed for a reason that says nothing about what is there */
  char path[WAL_PATH_BYTES];
};
enum wal_outcome { WAL_COMMIT_OK, WAL_COMMIT_END, WAL_COMMIT_BAD, WAL_COMMIT_UNREAD };
enum lc_status wal_reader_open(const struct lc_fs *fs, const char *path, struct wal_reader *r, struct lc_error *err); /* close also after errors */
void wal_reader_close(struct wal_reader *r);
/* n bytes at a position, which are there; NULL: why. Valid until the next read. */
const uint8_t *wal_reader_bytes(struct wal_reader *r, uint64_t at, uint64_t n, char why[WAL_WHY_BYTES]);
/* The commit at r->at; on WAL_COMMIT_OK moves behind it. why: text for WAL_COMMIT_BAD, and for WAL_COMMIT_UNREAD: r->trouble. */
enum wal_outcome wal_read_commit(struct wal_reader *r, struct wal_commit *c, char why[WAL_WHY_BYTES]);
/* The commits that are to come in a segment have consecutive offsets; the same one twice is passed over (spec/06 §12). WRONG, LC_CORRUPT: why. */
struct wal_sequence { uint64_t expected, epoch, last_offset; uint32_t last_checksum; bool has_last; };
enum wal_step { WAL_STEP_NEXT, WAL_STEP_REPEATED, WAL_STEP_WRONG };
enum wal_step wal_step(struct wal_sequence *s, const struct wal_commit *c, const char *path, struct lc_error *err);
/* Is there an intact commit of a later offset anywhere behind a bad one at r->at? *position: where, or r->at if something there cannot be read. Then the bad one is
 * damage, not a torn tail, unless a sector is lacking before it. */
bool wal_intact_commit_behind(struct wal_reader *r, uint64_t expected, uint64_t epoch, uint64_t *position);
/* Is there a sector between r->at, where a commit is bad, and `until` that was never written, or what of it lies behind r->at? A batch that was never synced may have left any of its sectors unwritten, which
 * then are zero, and later ones written; what was written and then damaged is not zero for a whole sector, save in the middle of a payload that is. */
bool wal_lacks_a_sector(struct wal_reader *r, uint64_t until);

/* ---- index.c: the offset index of a segment, advisory: what it says is believed only after the commit there has been read ---- */

struct wal_index_entry { uint64_t offset, position; };
/* The one being appended to. */
struct wal_index { const struct lc_fs *fs; int fd; /* -1: none */ uint32_t n, cap; uint64_t bytes_since; struct wal_index_entry candidate; bool has_candidate; struct lc_buf pending; };
/* Moves r to the commit of the last entry with an offset of at most `offset` that holds what it promises, and says how many entries there are up to it; false, r
 * where it was: none. */
bool wal_index_seek(struct wal_reader *r, const char *dir, uint64_t first, uint64_t offset, uint32_t *n_good);
/* Begins or continues the index file with its first n entries, which are good; the rest is emptied. Cannot fail: without a file there is no index. */
void wal_index_begin(struct wal_index *ix, const struct lc_fs *fs, const char *dir, uint64_t first, uint32_t n, uint64_t max_segment_bytes);
void wal_index_note(struct wal_index *ix, uint64_t offset, uint64_t position, uint64_t bytes); /* a commit has been written or read */
void wal_index_flush(struct wal_index *ix); /* what was noted is durable in the segment */
void wal_index_end(struct wal_index *ix);

/* ---- replay.c ---- */

/* segments[start] holds from_offset, or is the first; newest_bytes: what counts of the newest; alone: without a thread. As lc_wal_replay. */
struct wal_replay_range { const struct lc_fs *fs; const char *dir; const uint64_t *segments; uint32_t n_segments, start; uint64_t from_offset, newest_bytes; bool alone; };
typedef enum lc_status (*wal_replay_fn)(void *ctx, uint64_t first_offset, struct lc_slice records, uint32_t n_tx, size_t *consumed, struct lc_error *err);
enum lc_status wal_replay(const struct wal_replay_range *range, wal_replay_fn fn, void *ctx, struct lc_error *err);

/* ---- compress.c ---- */
/* Replaces a finished segment by its compressed form; one that has it already is left. cancel (may be NULL): LC_CLOSED once it is true. LC_IO, LC_NOMEM, LC_CORRUPT: it is as before. */
enum lc_status wal_compress_segment(const struct lc_fs *fs, const char *dir, uint64_t first, const atomic_bool *cancel, struct lc_error *err);

#endif
