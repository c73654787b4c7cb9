/* The folder of a log, its files and what others may have written into them, for tests of the log. Includer: after cmocka.h. */
#ifndef LC_WAL_FOLDER_H
#define LC_WAL_FOLDER_H
#include "wal/wal.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct lc_error err;
static char dir[64];

static inline void fresh_dir(void) {
  strcpy(dir, "/tmp/lightcone-wal-XXXXXX");
  assert_non_null(mkdtemp(dir));
}
static inline void remove_dir(void) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", dir);
  assert_int_equal(system(command), 0);
}
static inline struct lc_wal *open_log(const struct lc_fs *fs, uint64_t max_segment_bytes) {
  struct lc_wal_options o = {.max_segment_bytes = max_segment_bytes};
  struct lc_wal *w;
  if (lc_wal_open(fs, dir, &o, &w, &err) != LC_OK) fail_msg("%s", err.text);
  return w;
}
static inline const char *segment_path(uint64_t first) {
  static char path[128];
  snprintf(path, sizeof path, "%s/clog/%020llu.stdb.log", dir, (unsigned long long)first);
  return path;
}
static inline bool has_segment(uint64_t first) { return access(segment_path(first), F_OK) == 0; }
static inline size_t read_segment(uint64_t first, uint8_t *out, size_t size) {
  FILE *f = fopen(segment_path(first), "rb");
  assert_non_null(f);
  size_t n = fread(out, 1, size, f);
  fclose(f);
  return n;
}
static inline void write_segment(uint64_t first, const uint8_t *data, size_t n) {
  FILE *f = fopen(segment_path(first), "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(data, 1, n, f), n);
  fclose(f);
}

static const uint8_t head_v0[10] = {0x28, 0x64, 0x73, 0x29, 0x5e, 0x32, 0, 0, 0, 0}, head_v1[10] = {0x28, 0x64, 0x73, 0x29, 0x5e, 0x32, 1, 0, 0, 0};
/* A commit as spec/06 §10.1 has it; returns its length. */
static inline size_t put_commit(uint8_t *out, bool v1, uint64_t offset, uint64_t epoch, uint16_t n, const char *records) {
  size_t at = 0;
  uint32_t len = (uint32_t)strlen(records);
  memcpy(out, &offset, 8), at = 8;
  if (v1) memcpy(out + at, &epoch, 8), at += 8;
  memcpy(out + at, &n, 2);
  memcpy(out + at + 2, &len, 4);
  memcpy(out + at + 6, records, len);
  at += 6 + len;
  uint32_t crc = lc_crc32c(0, out, at);
  memcpy(out + at, &crc, 4);
  return at + 4;
}
#endif
