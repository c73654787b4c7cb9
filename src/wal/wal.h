/* The face of wal/: the commit log of one database (spec/06 §10-§12, spec/07 §12). Payloads are opaque here.
 *
 * One thread appends (the baton holder); a writer thread, shared with other logs, writes and syncs batches; any thread reads the durable end.
 * After a failed write or sync the log is failed for good: nothing is retried, the durable end never moves again.
 */
#ifndef LC_WAL_H
#define LC_WAL_H
#include "../base/base.h"

/* The file system as the log sees it; a simulator can stand in. Functions return 0 or -errno unless said. */
struct lc_fs {
  void *ctx;
  int (*make_dir)(void *ctx, const char *path);                       /* existing is fine */
  int (*list)(void *ctx, const char *dir, void (*fn)(void *arg, const char *name), void *arg);
  int (*open)(void *ctx, const char *path, bool create);              /* read and write; handle >= 0 or -errno; create: must not exist */
  int64_t (*size)(void *ctx, int fd);
  int64_t (*read_at)(void *ctx, int fd, void *out, size_t n, uint64_t at);  /* bytes read (short at the end of the file) or -errno */
  int (*write_at)(void *ctx, int fd, const void *data, size_t n, uint64_t at); /* all or -errno */
  int (*sync)(void *ctx, int fd);
  int (*sync_dir)(void *ctx, const char *path);
  int (*rename)(void *ctx, const char *from, const char *to);
  int (*unlink)(void *ctx, const char *path);
  int (*truncate)(void *ctx, int fd, uint64_t size);
  int (*lock)(void *ctx, const char *path);                           /* exclusive, held until closed: handle or -errno (-EWOULDBLOCK: taken) */
  void (*close)(void *ctx, int fd);
};
extern const struct lc_fs lc_fs_posix;

struct lc_wal;
struct lc_wal_options {
  uint64_t max_segment_bytes;                            /* 0: 1 GiB */
  size_t backlog_bytes;                                  /* unwritten bytes beyond which lc_wal_submit waits; 0: 64 MiB */
  bool accept_lost_transactions;                         /* cut off a damaged end also where a snapshot shows that it was durable */
  bool by_hand;                                          /* no thread writes: lc_wal_step does (simulator) */
  void *ctx;
  void (*durable)(void *ctx, uint64_t durable_end);      /* writer thread, after each sync; may be NULL */
  void (*failed)(void *ctx, const char *text);           /* writer thread, once; may be NULL */
  void (*rotated)(void *ctx, uint64_t first_offset);     /* writer thread, when a new segment has been begun; may be NULL */
};

/* Opens or creates DIR/clog and takes DIR/db.lock. A torn tail of the newest segment is cut off; damage anywhere else is refused
 * (LC_CORRUPT: file, position, what was expected and found), and so is a torn end that a snapshot of DIR/snapshots shows to have been durable. LC_CONFLICT: another process has the lock. fs is borrowed. */
enum lc_status lc_wal_open(const struct lc_fs *fs, const char *dir, const struct lc_wal_options *options, struct lc_wal **out, struct lc_error *err);
void lc_wal_end_place(const struct lc_wal *wal, char *out, size_t size);   /* "FILE at byte N" where the next commit goes, cut at size */
uint64_t lc_wal_first_offset(const struct lc_wal *wal);                /* where the log begins; before anything is appended */
/* Removes the segments whose transactions are all before from_offset, the oldest first and never the newest. Any thread, one at a time. LC_IO. */
enum lc_status lc_wal_retain(struct lc_wal *wal, uint64_t from_offset, struct lc_error *err);
/* Compresses the segments strictly before the one with that offset (spec/06 §10.6); who retains does not do so meanwhile. cancel (may be NULL): LC_CLOSED once it
 * is true. After an error all segments are as they were or compressed. */
enum lc_status lc_wal_compress(struct lc_wal *wal, uint64_t offset, const atomic_bool *cancel, struct lc_error *err);
/* Calls fn for every commit from from_offset on: its first offset, its records, how many transactions; fn says how many bytes it used, which must be all. */
enum lc_status lc_wal_replay(struct lc_wal *wal, uint64_t from_offset,
                             enum lc_status (*fn)(void *ctx, uint64_t first_offset, struct lc_slice records, uint32_t n_tx, size_t *consumed, struct lc_error *err), void *ctx,
                             struct lc_error *err);
/* Makes room for a payload of up to max_bytes, so that lc_wal_append cannot fail. LC_NOMEM; LC_LIMIT: no commit can be that long. */
enum lc_status lc_wal_reserve(struct lc_wal *wal, uint64_t max_bytes, struct lc_error *err);
/* Appends one transaction as a commit to the open batch (copied) and returns its offset. Nothing is written before lc_wal_submit. */
uint64_t lc_wal_append(struct lc_wal *wal, struct lc_slice payload);
/* Hands the open batch to a writer thread; waits while more than backlog_bytes are unwritten (back-pressure). A failed log drops it. */
void lc_wal_submit(struct lc_wal *wal);
bool lc_wal_step(struct lc_wal *wal); /* by hand: one round of a writer. False: there was nothing to write, or the log has failed */
bool lc_wal_is_full(const struct lc_wal *wal);                         /* lc_wal_submit would wait; any thread */
uint64_t lc_wal_next_offset(const struct lc_wal *wal);                 /* appending thread */
uint64_t lc_wal_durable_end(const struct lc_wal *wal);                 /* offset of the last durable transaction + 1; any thread */
bool lc_wal_wait_durable(struct lc_wal *wal, uint64_t end);            /* false: the log has failed */
enum lc_status lc_wal_wait_durable_for(struct lc_wal *wal, uint64_t end, uint64_t timeout_ms); /* LC_IO: the log has failed; LC_LIMIT: not in that time */
/* Since it was opened; any thread. */
struct lc_wal_counts { uint64_t written_bytes, syncs, sync_us; uint64_t unwritten_bytes; /* handed over and not yet with the disk, now */ };
struct lc_wal_counts lc_wal_counts(const struct lc_wal *wal);
void lc_wal_close(struct lc_wal *wal);                                 /* writes what is submitted, frees */
void lc_wal_discard(struct lc_wal *wal);                               /* of a log that was to begin and will not: closes it and removes its files, as far as the disk allows */

/* ---- reading without opening (inspect.c): for tools. Nothing is changed, cut off or locked. clog: the folder of the segments. ---- */

struct lc_wal_commit { const char *path; uint64_t position, first_offset, epoch; uint32_t n_tx, checksum; struct lc_slice records; };
struct lc_wal_scan_end { uint64_t first_offset, next_offset, epoch, last_offset, n_commits; uint32_t last_checksum, n_segments, n_compressed; char torn[1024]; /* text; empty: the end is whole */ };
enum lc_status lc_wal_scan_first(const struct lc_fs *fs, const char *clog, uint64_t *first, struct lc_error *err); /* where the log begins. LC_NOT_FOUND: no segment */
/* Reads every segment, or the one named `only` (NULL: all), checking everything; fn (may be NULL) gets each commit. LC_CORRUPT with file, position, expected, found. */
enum lc_status lc_wal_scan(const struct lc_fs *fs, const char *clog, const char *only, enum lc_status (*fn)(void *ctx, const struct lc_wal_commit *commit, struct lc_error *err), void *ctx,
                           struct lc_wal_scan_end *end, struct lc_error *err);

/* ---- snapshot files (snapshot.c, docs/internals/snapshot-format.md): DIR/snapshots/{20 digits: last transaction in it}.snapshot. Rows are opaque here. ---- */

struct lc_snapfile_head { struct lc_identity database; uint64_t tx_offset, epoch; int64_t created_us; }; /* epoch: of the log when it was made */
enum { LC_SNAPFILE_MAX_BLOCK_BYTES = (1 << 30) + (1 << 20) };

/* Writing, by one thread: into a temporary file that counts for nothing until it is published. fs and dir are borrowed. After an error only discard helps. */
struct lc_snapfile;
enum lc_status lc_snapfile_create(const struct lc_fs *fs, const char *dir, const struct lc_snapfile_head *head, struct lc_snapfile **out, struct lc_error *err);
/* n_rows rows of a table back to back (copied). LC_LIMIT: more than LC_SNAPFILE_MAX_BLOCK_BYTES. */
enum lc_status lc_snapfile_add(struct lc_snapfile *f, uint32_t table_id, struct lc_slice rows, uint64_t n_rows, struct lc_error *err);
enum lc_status lc_snapfile_finish(struct lc_snapfile *f, struct lc_error *err);  /* everything is written and synced */
/* Gives it its name, durably. Precondition: finished, and the log is durable up to and including its last transaction. Ends f, on errors too. */
enum lc_status lc_snapfile_publish(struct lc_snapfile *f, struct lc_error *err);
void lc_snapfile_discard(struct lc_snapfile *f); /* removes the temporary file; NULL is allowed */
uint64_t lc_snapfile_bytes(const struct lc_snapfile *f); /* written so far */

/* Reads a published one, checking everything; fn (may be NULL) gets each block, valid during the call. LC_CORRUPT: file, position, what was expected and
 * found; LC_NOT_FOUND; LC_IO; LC_UNSUPPORTED: another format version; what fn returns (LC_CORRUPT with file and position put before its text). */
enum lc_status lc_snapfile_read(const struct lc_fs *fs, const char *dir, uint64_t tx_offset, struct lc_snapfile_head *head,
                                enum lc_status (*fn)(void *ctx, uint32_t table_id, struct lc_slice rows, uint64_t n_rows, struct lc_error *err), void *ctx, struct lc_error *err);
/* Offsets of the published ones, ascending; *offsets is the caller's (lc_free). No folder: none. */
enum lc_status lc_snapfile_list(const struct lc_fs *fs, const char *dir, uint64_t **offsets, uint32_t *n, struct lc_error *err);
enum lc_status lc_snapfile_remove(const struct lc_fs *fs, const char *dir, uint64_t tx_offset, struct lc_error *err);    /* LC_OK also when it is not there */
enum lc_status lc_snapfile_set_aside(const struct lc_fs *fs, const char *dir, uint64_t tx_offset, struct lc_error *err); /* renames it to ….snapshot.damaged */
enum lc_status lc_snapfile_remove_temporary(const struct lc_fs *fs, const char *dir, struct lc_error *err);              /* what a crash left */

#endif
