/* The face of base/: statuses, errors, byte buffers, readers, shared buffers, arenas, fixed-size ids, logging.
 *
 * Everything above depends on this header and nothing here depends on anything above.
 * Ownership: a `struct lc_buf` owns its bytes until lc_buf_free or lc_buf_detach; a `struct lc_slice` never owns.
 * Threads: nothing here is shared between threads except `struct lc_shared` (atomic reference count) and lc_log.
 */
#ifndef LC_BASE_H
#define LC_BASE_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LC_PRINTF(fmt_index, first_arg) __attribute__((format(printf, fmt_index, first_arg)))
#define LC_NODISCARD __attribute__((warn_unused_result))

/* ---- statuses and errors (errors.c) ---- */

enum lc_status {
  LC_OK = 0,
  LC_NOMEM,       /* memory could not be had: the request fails, the process lives */
  LC_INVALID,     /* the input is wrong; the error text says what */
  LC_NOT_FOUND,   /* a named thing does not exist */
  LC_EXISTS,      /* unique violation or name taken */
  LC_LIMIT,       /* a size from outside exceeds its limit */
  LC_DENIED,      /* permission */
  LC_UNSUPPORTED, /* understood, but not offered */
  LC_IO,          /* the operating system failed */
  LC_CORRUPT,     /* stored bytes are damaged */
  LC_BUDGET,      /* time budget exceeded */
  LC_TRAP,        /* module code trapped */
  LC_CONFLICT,    /* the state does not allow it now */
  LC_CLOSED,      /* the other side or the object is gone */
  LC_PENDING,     /* not known yet: it must be fetched first */
};

/* Text for a person: what failed, with which input, what to do. Filled by the function that fails. */
struct lc_error {
  enum lc_status status;
  char text[2048]; /* UTF-8, NUL-terminated, cut at the end if longer */
};

/* Sets *err (may be NULL) and returns `status`, so that a failing function can `return lc_fail(err, ...)`. */
enum lc_status lc_fail(struct lc_error *err, enum lc_status status, const char *fmt, ...) LC_PRINTF(3, 4);
/* Puts formatted text plus ": " in front of the text in *err; keeps the status and returns it. */
enum lc_status lc_fail_context(struct lc_error *err, const char *fmt, ...) LC_PRINTF(2, 3);
/* Broken invariant: prints file, line and text with a backtrace to stderr and aborts the process. */
_Noreturn void lc_panic_at(const char *file, int line, const char *fmt, ...) LC_PRINTF(3, 4);
#define lc_panic(...) lc_panic_at(__FILE__, __LINE__, __VA_ARGS__)
#define lc_assert(cond) ((cond) ? (void)0 : lc_panic("assertion failed: %s", #cond))

/* ---- counters ---- */

/* Adds to a counter that one thread at a time writes and any thread reads: no locked instruction. */
static inline void lc_count(atomic_uint_fast64_t *counter, uint64_t n) {
  atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

/* ---- allocation (memory.c) ---- */

/* As malloc/calloc/realloc/free. They return NULL on failure, never abort. */
void *lc_alloc(size_t size_bytes) LC_NODISCARD;
void *lc_alloc_zero(size_t count, size_t size_bytes) LC_NODISCARD;
void *lc_realloc(void *p, size_t size_bytes) LC_NODISCARD;
void lc_free(void *p);
/* Tests make allocations fail with it: asked before each one (also of regions that a folder maps itself), true: this one fails. NULL but in tests. */
extern bool (*lc_alloc_may_fail)(size_t size_bytes);
static inline bool lc_alloc_allowed(size_t size_bytes) { return __builtin_expect(!lc_alloc_may_fail, 1) || !lc_alloc_may_fail(size_bytes); }
char *lc_strdup_n(const void *text, size_t len) LC_NODISCARD; /* NUL-terminated copy of len bytes */

/* ---- slices ---- */

struct lc_slice {
  const uint8_t *data;
  size_t len;
};
static inline struct lc_slice lc_slice(const void *data, size_t len) { return (struct lc_slice){(const uint8_t *)data, len}; }
static inline struct lc_slice lc_slice_str(const char *s) { return (struct lc_slice){(const uint8_t *)s, strlen(s)}; }
static inline bool lc_slice_eq(struct lc_slice a, struct lc_slice b) {
  return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}
static inline int lc_slice_compare(struct lc_slice a, struct lc_slice b) { /* bytewise, a prefix before what it begins; as memcmp */
  size_t n = a.len < b.len ? a.len : b.len;
  int c = n ? memcmp(a.data, b.data, n) : 0;
  return c ? c : a.len < b.len ? -1 : a.len > b.len;
}
static inline bool lc_slice_eq_str(struct lc_slice a, const char *s) { return lc_slice_eq(a, lc_slice_str(s)); }

/* ---- growable byte buffer (buf.c) ----
 * A failed growth sets `failed`; later appends are ignored, so that a writer checks once at the end (lc_buf_ok). */

struct lc_buf {
  uint8_t *data;
  size_t len, cap;
  bool failed;
};
static inline bool lc_buf_ok(const struct lc_buf *b) { return !b->failed; }
static inline struct lc_slice lc_buf_slice(const struct lc_buf *b) { return lc_slice(b->data, b->len); }
bool lc_buf_reserve(struct lc_buf *b, size_t extra_bytes); /* room for extra_bytes more; false and `failed` when out of memory */
void lc_buf_append_slow(struct lc_buf *b, const void *data, size_t len);
static inline void lc_buf_append(struct lc_buf *b, const void *data, size_t len) {
  if (__builtin_expect(!b->failed && b->cap - b->len >= len && len > 0, 1)) {
    memcpy(b->data + b->len, data, len);
    b->len += len;
  } else if (len > 0) {
    lc_buf_append_slow(b, data, len);
  }
}
static inline void lc_buf_clear(struct lc_buf *b) { b->len = 0; b->failed = false; }
void lc_buf_free(struct lc_buf *b); /* frees the bytes and zeroes *b */
void lc_buf_shrink(struct lc_buf *b, size_t cap_bytes); /* clears; gives back what is beyond cap_bytes, which is not 0 */
/* Clears; room beyond kept_bytes, which something unusually large has needed, is given back. For buffers that are used again and again. */
static inline void lc_buf_trim(struct lc_buf *b, size_t kept_bytes) {
  if (__builtin_expect(b->cap > kept_bytes, 0)) lc_buf_shrink(b, kept_bytes);
  else lc_buf_clear(b);
}
static inline void lc_buf_slice_append(struct lc_buf *b, struct lc_slice s) { lc_buf_append(b, s.data, s.len); }
static inline void lc_buf_str(struct lc_buf *b, const char *s) { lc_buf_append(b, s, strlen(s)); } /* raw text, no length */
void lc_buf_printf(struct lc_buf *b, const char *fmt, ...) LC_PRINTF(2, 3);
static inline void lc_buf_u8(struct lc_buf *b, uint8_t v) { lc_buf_append(b, &v, 1); }
/* Little-endian integers (the machine is little-endian; base.c asserts it at compile time). */
static inline void lc_buf_u16(struct lc_buf *b, uint16_t v) { lc_buf_append(b, &v, 2); }
static inline void lc_buf_u32(struct lc_buf *b, uint32_t v) { lc_buf_append(b, &v, 4); }
static inline void lc_buf_u64(struct lc_buf *b, uint64_t v) { lc_buf_append(b, &v, 8); }
static inline void lc_buf_i64(struct lc_buf *b, int64_t v) { lc_buf_append(b, &v, 8); }
/* BSATN string or byte array: u32 length, bytes (spec/01 §1). */
static inline void lc_buf_bsatn_bytes(struct lc_buf *b, struct lc_slice s) { /* longer than a length can say: `failed` */
  if (s.len > UINT32_MAX) b->failed = true;
  lc_buf_u32(b, (uint32_t)s.len);
  lc_buf_append(b, s.data, s.len);
}
static inline void lc_buf_bsatn_str(struct lc_buf *b, const char *s) { lc_buf_bsatn_bytes(b, lc_slice_str(s)); }
void lc_buf_varint(struct lc_buf *b, uint64_t v); /* unsigned LEB128 */
/* Overwrites 4 bytes at `offset` (already written) with v. */
static inline void lc_buf_patch_u32(struct lc_buf *b, size_t offset, uint32_t v) { if (!b->failed) memcpy(b->data + offset, &v, 4); }

/* ---- bounded reader: never reads past `end`; after a failure `failed` stays set and reads give zeros ---- */

struct lc_reader {
  const uint8_t *p, *end;
  bool failed;
};
static inline struct lc_reader lc_reader(struct lc_slice s) { return (struct lc_reader){s.data, s.data + s.len, false}; }
static inline size_t lc_reader_left(const struct lc_reader *r) { return (size_t)(r->end - r->p); }
static inline const uint8_t *lc_read_raw(struct lc_reader *r, size_t n) { /* NULL when short */
  if (r->failed || lc_reader_left(r) < n) { r->failed = true; return NULL; }
  const uint8_t *at = r->p; r->p += n; return at;
}
static inline uint8_t lc_read_u8(struct lc_reader *r) { const uint8_t *p = lc_read_raw(r, 1); return p ? *p : 0; }
static inline uint16_t lc_read_u16(struct lc_reader *r) { uint16_t v = 0; const uint8_t *p = lc_read_raw(r, 2); if (p) memcpy(&v, p, 2); return v; }
static inline uint32_t lc_read_u32(struct lc_reader *r) { uint32_t v = 0; const uint8_t *p = lc_read_raw(r, 4); if (p) memcpy(&v, p, 4); return v; }
static inline uint64_t lc_read_u64(struct lc_reader *r) { uint64_t v = 0; const uint8_t *p = lc_read_raw(r, 8); if (p) memcpy(&v, p, 8); return v; }
static inline int64_t lc_read_i64(struct lc_reader *r) { return (int64_t)lc_read_u64(r); }
static inline struct lc_slice lc_read_bytes(struct lc_reader *r) { /* u32 length + bytes */
  uint32_t n = lc_read_u32(r); const uint8_t *p = lc_read_raw(r, n); return p ? lc_slice(p, n) : lc_slice(NULL, 0);
}
uint64_t lc_read_varint(struct lc_reader *r);

/* ---- immutable buffer shared between threads (buf.c) ---- */

struct lc_shared {
  atomic_uint refs;
  size_t len;
  uint8_t data[];
};
struct lc_shared *lc_shared_new(struct lc_slice bytes) LC_NODISCARD; /* one reference; NULL when out of memory */
static inline struct lc_shared *lc_shared_ref(struct lc_shared *s) { atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed); return s; }
void lc_shared_unref(struct lc_shared *s); /* NULL is allowed */

/* ---- arena (arena.c): bump allocation freed at once; allocations are 16-byte aligned ---- */

struct lc_arena_block;
struct lc_arena {
  struct lc_arena_block *head;
  uint8_t *at, *end;
  size_t total_bytes; /* handed out since the last reset */
  uint32_t first_block_bytes; /* 0: 4,096; the next ones double */
  bool failed;        /* an allocation was refused since then: for callers that check once at the end */
};
void *lc_arena_alloc_slow(struct lc_arena *a, size_t size_bytes) LC_NODISCARD;
static inline void *lc_arena_alloc(struct lc_arena *a, size_t size_bytes) { /* NULL when out of memory */
  size_t n = (size_bytes + 15u) & ~(size_t)15u;
  if (n >= size_bytes && (size_t)(a->end - a->at) >= n && a->at) { void *p = a->at; a->at += n; a->total_bytes += n; return p; }
  return lc_arena_alloc_slow(a, size_bytes);
}
void *lc_arena_alloc_zero(struct lc_arena *a, size_t count, size_t size_bytes) LC_NODISCARD;
/* A copy of what b holds, with a NUL behind it; frees b. Out of memory, or b failed: data is NULL, and the arena has failed. */
struct lc_slice lc_arena_take(struct lc_arena *a, struct lc_buf *b) LC_NODISCARD;
char *lc_arena_strdup(struct lc_arena *a, struct lc_slice text) LC_NODISCARD;          /* NUL-terminated */
struct lc_slice lc_arena_copy(struct lc_arena *a, struct lc_slice bytes) LC_NODISCARD; /* data NULL when out of memory */
void lc_arena_reset(struct lc_arena *a); /* keeps one block, if it is not large */
void lc_arena_free(struct lc_arena *a);

/* ---- fixed-size ids: bytes as BSATN has them, little-endian (spec/01 §5) ---- */

struct lc_identity { uint8_t bytes[32]; };
struct lc_connection_id { uint8_t bytes[16]; };
struct lc_hash { uint8_t bytes[32]; }; /* digest bytes in order */

/* ---- hashes (hash.c, blake3.c) ---- */

uint64_t lc_hash64(const void *data, size_t len, uint64_t seed); /* for hash tables only; not stable across versions */
void lc_blake3(struct lc_slice input, uint8_t out[32]);
void lc_keccak256(struct lc_slice input, uint8_t out[32]);       /* program hashes (spec/01 §6.3) */
uint32_t lc_crc32c(uint32_t crc, const void *data, size_t len);  /* start with 0; chainable; SSE4.2 when there */
void lc_hex_encode(const uint8_t *data, size_t len, char *out);  /* lower case; writes 2*len chars and NUL */
bool lc_hex_decode(const char *text, size_t text_len, uint8_t *out); /* text_len even; false on a bad digit */

bool lc_utf8_valid(const uint8_t *bytes, size_t len); /* well-formed UTF-8: no surrogates, no overlong forms (utf8.c) */

/* ---- the door to the outside (env.c): clock and randomness; files are in wal/ behind wal_fs ---- */

struct lc_env {
  void *ctx;
  int64_t (*now_us)(void *ctx);             /* wall clock, µs since the Unix epoch */
  int64_t (*monotonic_ns)(void *ctx);
  void (*random)(void *ctx, void *out, size_t len); /* cryptographic in production; seeded in the simulator */
};
extern const struct lc_env lc_env_system;

/* Bugs that tests/sim plants to show that it finds them (docs/internals/simulator.md); no other build has them. */
enum lc_planted_bug { LC_BUG_NONE, LC_BUG_NO_FSYNC, LC_BUG_NO_DIR_SYNC, LC_BUG_ACK_BEFORE_DURABLE, LC_BUG_NAME_BEFORE_DATA, LC_BUG_TORN_TAIL_ACCEPTED, LC_BUG_SNAPSHOT_BEFORE_SYNC,
                      LC_BUG_SEQUENCE_REISSUE, LC_BUG_RETENTION, LC_BUG_INDEX_BEFORE_DATA };
#ifdef LC_SIMULATOR
extern enum lc_planted_bug lc_planted_bug;
#define LC_PLANTED(bug) (lc_planted_bug == (bug))
#define LC_SIMULATED(small, usual) (small) /* a limit that what is simulated, being small, would never come to */
#else
#define LC_PLANTED(bug) false
#define LC_SIMULATED(small, usual) (usual)
#endif

/* ---- logging (log.c) ---- */

enum lc_log_level { LC_LOG_ERROR, LC_LOG_WARN, LC_LOG_INFO, LC_LOG_DEBUG };
extern enum lc_log_level lc_log_threshold; /* set once at start */
void lc_log(enum lc_log_level level, const char *fmt, ...) LC_PRINTF(2, 3); /* one line to stderr: time, level, text */

/* ---- text files by UTC day (day_files.c) ---- */

enum { LC_DAY_FILES_PATH_BYTES = 4352 };
/* dir (there already) and prefix are borrowed; fd -1 at first; a bound of 0: none. keep_open: no file is rotated or removed now, because somebody reads. The rest is its own. */
struct lc_day_files { const char *dir, *prefix; uint32_t max_days; uint64_t max_bytes; bool keep_open; int fd; int64_t day; uint64_t bytes; };
size_t lc_day_files_append(struct lc_day_files *f, struct lc_slice text, int64_t now_s); /* returns how many bytes could not be written (errno) */
void lc_day_files_trim(const struct lc_day_files *f, int64_t today); /* removes what is beyond the bounds; today: days since 1970 */
void lc_day_files_close(struct lc_day_files *f);
struct lc_day_file { int64_t day; unsigned number; uint64_t bytes; };
bool lc_day_files_list(const struct lc_day_files *f, struct lc_day_file **out, uint32_t *n); /* oldest first; *out to be freed. False: the folder cannot be read */
int lc_day_files_open_one(const struct lc_day_files *f, const struct lc_day_file *file); /* for reading; -1: errno */
/* From now on lines of lc_log go to files `lightcone.YYYY-MM-DD.log` in dir (there already, borrowed) as well. Once, before there are threads; files->fd -1. */
void lc_log_to_files(struct lc_day_files *files);

#ifdef __cplusplus
}
#endif
#endif
