/* What both simulators share (tests/sim, tests/storage-sim): how often each fault came, which commit of a segment is the last, what a refusal must say. */
#ifndef LC_SIM_WORLD_H
#define LC_SIM_WORLD_H
#include "base/base.h"
#include <stdio.h>

/* ---- faults: one that never comes is a mistake of the simulator ---- */

enum { SIM_OPERATIONS = 12 };
static const char *const sim_operation_names[SIM_OPERATIONS] = {"make_dir", "list", "open", "size", "read", "write", "sync", "sync_dir", "rename", "unlink", "truncate", "lock"};
enum sim_operation { SIM_MAKE_DIR, SIM_LIST, SIM_OPEN, SIM_SIZE, SIM_READ, SIM_WRITE, SIM_SYNC, SIM_SYNC_DIR, SIM_RENAME, SIM_UNLINK, SIM_TRUNCATE, SIM_LOCK };
/* The first three are of each operation. */
#define SIM_OTHER_FAULTS(X) \
  X(PROCESS_ENDS, "the process ends, the system stays") X(SECTOR_KEPT, "unsynced sector kept") X(SECTOR_LOST, "unsynced sector lost") \
  X(TORN, "unsynced data torn within a file") X(REORDERED, "later sector kept, earlier lost") X(SIZE_ONLY, "size of a file without its bytes") \
  X(NAME_KEPT, "unsynced name kept") X(NAME_LOST, "unsynced name lost") X(NAME_REORDERED, "later name kept, earlier lost") X(SHORT_WRITE, "write that fails with part of it done") \
  X(CUT_WRITE, "power cut with part of the write done") X(SYNC_DROPPED, "failed sync, cache dropped") X(SYNC_CLEAN, "failed sync, cache counts as clean") \
  X(FLIP_SEGMENT, "bit flipped in a segment") X(FLIP_INDEX, "bit flipped in an offset index") X(FLIP_SNAPSHOT, "bit flipped in a snapshot") \
  X(REFUSED, "damage refused, with its place") X(LAST_COMMIT_CUT, "damaged last commit cut off") X(CLOCK_FORWARD, "clock steps forward") X(CLOCK_BACK, "clock steps back")
#define SIM_ENUM(id, text) SIM_##id,
#define SIM_TEXT(id, text) text,
#define SIM_POWER_CUT(operation) ((unsigned)(operation))
#define SIM_EIO(operation) (SIM_OPERATIONS + (unsigned)(operation))
#define SIM_ENOSPC(operation) (2 * SIM_OPERATIONS + (unsigned)(operation))
enum { SIM_FIRST_OTHER = 3 * SIM_OPERATIONS - 1, SIM_OTHER_FAULTS(SIM_ENUM) SIM_N_FAULTS };

/* ---- damage ---- */

/* Where the whole commit that begins at a place of a segment (spec/06 §10.2) ends; 0: there is none. */
static inline uint64_t sim_commit_end(struct lc_slice segment, uint64_t at) {
  enum { header_bytes = 22, length_at = 18, crc_bytes = 4 };
  uint32_t len, crc;
  if (segment.len < at || segment.len - at < header_bytes) return 0;
  memcpy(&len, segment.data + at + length_at, 4);
  uint64_t end = at + header_bytes + len + crc_bytes;
  if (end > segment.len) return 0;
  memcpy(&crc, segment.data + end - crc_bytes, 4);
  return crc == lc_crc32c(0, segment.data + at, end - crc_bytes - at) ? end : 0;
}
/* The whole commit in which a byte of a segment lies: where it ends, 0 if there is none, and which transaction it is. */
static inline uint64_t sim_commit_around(struct lc_slice segment, uint64_t byte, uint64_t *offset) {
  enum { segment_header_bytes = 10 };
  for (uint64_t at = segment_header_bytes, end; at <= byte && (end = sim_commit_end(segment, at)); at = end) {
    if (byte >= end) continue;
    memcpy(offset, segment.data + at, 8);
    return end;
  }
  return 0;
}
/* A refusal names the file, the place in it, what was expected there and what was found. */
static inline bool sim_refusal_is_exact(const char *text, const char *path) {
  return strstr(text, path) && strstr(text, "at byte ") && strstr(text, "expected") && (strstr(text, "found") || strstr(text, "actual"));
}
#endif
