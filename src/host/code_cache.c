/* Owns: the cache of compiled programs: files that let a program be loaded without compiling it again.
 *
 * One file per program and way of compiling, NAME = hex of the program's hash, `-`, a suffix that says which compiler made it. It starts with a mark and the
 * BLAKE3 of the rest; what does not check out is removed. Files are written beside and renamed; the CACHE_MAX_FILES used last are kept. Whoever can write
 * there can run code in the server. A cache that cannot be read or written is a slower start, no more. Any thread; callers: wasm_program.c, js_load.c.
 */
#include "host_internal.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { CACHE_MAX_FILES = 256, CACHE_HEAD_BYTES = 40, CACHE_PATH_BYTES = 4096 };
static const char cache_mark[8] = "LCcode1\n";
static char cache_dir[CACHE_PATH_BYTES - 160]; /* empty: none */

void code_cache_set_dir(const char *dir) {
  cache_dir[0] = 0;
  if (dir && strlen(dir) < sizeof cache_dir) strcpy(cache_dir, dir);
}

static void cache_path(const struct lc_hash *program, const char *suffix, char out[CACHE_PATH_BYTES]) {
  char hex[65];
  lc_hex_encode(program->bytes, sizeof program->bytes, hex);
  snprintf(out, CACHE_PATH_BYTES, "%s/%s-%s", cache_dir, hex, suffix);
}

/* Whole file appended to out; false if there is none that can be read. */
static bool read_file(const char *path, struct lc_buf *out) {
  struct stat st;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  size_t start = out->len;
  bool ok = fd >= 0 && fstat(fd, &st) == 0 && st.st_size > CACHE_HEAD_BYTES && lc_buf_reserve(out, (size_t)st.st_size);
  while (ok && out->len - start < (size_t)st.st_size) {
    ssize_t n = read(fd, out->data + out->len, (size_t)st.st_size - (out->len - start));
    ok = n > 0;
    if (ok) out->len += (size_t)n;
  }
  if (ok) futimens(fd, (const struct timespec[2]){{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_NOW}}); /* used last */
  if (fd >= 0) close(fd);
  return ok;
}

bool code_cache_get(const struct lc_hash *program, const char *suffix, struct lc_buf *out) {
  char path[CACHE_PATH_BYTES];
  uint8_t digest[32];
  struct lc_buf file = {0};
  if (!cache_dir[0]) return false;
  cache_path(program, suffix, path);
  bool good = false;
  if (read_file(path, &file)) {
    struct lc_slice code = lc_slice(file.data + CACHE_HEAD_BYTES, file.len - CACHE_HEAD_BYTES);
    lc_blake3(code, digest);
    good = memcmp(file.data, cache_mark, sizeof cache_mark) == 0 && memcmp(file.data + sizeof cache_mark, digest, sizeof digest) == 0;
    if (good) lc_buf_slice_append(out, code);
    else unlink(path);
  }
  lc_buf_free(&file);
  return good && lc_buf_ok(out);
}

void code_cache_drop(const struct lc_hash *program, const char *suffix) {
  char path[CACHE_PATH_BYTES];
  if (!cache_dir[0]) return;
  cache_path(program, suffix, path);
  unlink(path);
}

struct cache_file { char name[128]; struct timespec used; };
static int by_use(const void *a, const void *b) {
  const struct cache_file *x = a, *y = b;
  return x->used.tv_sec != y->used.tv_sec ? (x->used.tv_sec < y->used.tv_sec ? -1 : 1) : x->used.tv_nsec < y->used.tv_nsec ? -1 : x->used.tv_nsec > y->used.tv_nsec;
}
/* Removes those used longest ago when there are too many. */
static void cache_trim(void) {
  struct cache_file *files = lc_alloc_zero(2 * CACHE_MAX_FILES, sizeof *files);
  DIR *dir = files ? opendir(cache_dir) : NULL;
  size_t n = 0;
  struct stat st;
  for (struct dirent *e; dir && n < 2 * CACHE_MAX_FILES && (e = readdir(dir));) {
    if (e->d_name[0] == '.' || strlen(e->d_name) >= sizeof files->name || fstatat(dirfd(dir), e->d_name, &st, 0) != 0) continue;
    memcpy(files[n].name, e->d_name, strlen(e->d_name) + 1);
    files[n++].used = st.st_mtim;
  }
  if (n > CACHE_MAX_FILES) qsort(files, n, sizeof *files, by_use);
  for (size_t i = 0; n > CACHE_MAX_FILES && i < n - CACHE_MAX_FILES; i++) unlinkat(dirfd(dir), files[i].name, 0);
  if (dir) closedir(dir);
  lc_free(files);
}

bool code_cache_put(const struct lc_hash *program, const char *suffix, struct lc_slice code) {
  char path[CACHE_PATH_BYTES], temporary[CACHE_PATH_BYTES + 16];
  uint8_t head[CACHE_HEAD_BYTES];
  if (!cache_dir[0] || code.len == 0 || (mkdir(cache_dir, 0700) != 0 && errno != EEXIST)) return false;
  memcpy(head, cache_mark, sizeof cache_mark);
  lc_blake3(code, head + sizeof cache_mark);
  cache_path(program, suffix, path);
  snprintf(temporary, sizeof temporary, "%s.XXXXXX", path);
  int fd = mkostemp(temporary, O_CLOEXEC);
  bool ok = fd >= 0 && write(fd, head, sizeof head) == (ssize_t)sizeof head;
  for (size_t at = 0; ok && at < code.len;) {
    ssize_t n = write(fd, code.data + at, code.len - at);
    ok = n > 0;
    if (ok) at += (size_t)n;
  }
  if (fd >= 0) close(fd);
  bool kept = ok && rename(temporary, path) == 0;
  if (fd >= 0 && !kept) unlink(temporary);
  cache_trim();
  return kept;
}
