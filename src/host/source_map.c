/* Owns: reading source maps that bundles carry inline, and finding places in them (ECMA-426; spec/02 §10, §13).
 *
 * A map is untrusted: every number is checked, sizes are bounded by the program's. Invariant: places are in ascending order of line and column.
 * Callers: js_load.c.
 */
#include "source_map.h"
#include <jansson.h>
#include <openssl/evp.h>
#include <string.h>
#include <zstd.h>

struct place { uint32_t line, column, file, source_line, source_column; }; /* from 0; file UINT32_MAX: comes from nowhere */
struct source_map {
  struct place *places; size_t n_places, cap_places;
  char **files; size_t n_files;
};

static const char comment_mark[] = "//# sourceMappingURL=data:application/json;";

size_t source_map_comment(struct lc_slice program) {
  size_t end = program.len, n = sizeof comment_mark - 1;
  while (end > 0 && strchr(" \t\r\n", program.data[end - 1])) end--;
  size_t start = end;
  while (start > 0 && program.data[start - 1] != '\n') start--;
  return end - start > n && memcmp(program.data + start, comment_mark, n) == 0 ? start : program.len;
}

static int digit_of(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* One signed number in base 64, least significant digits first; false: there is none. */
static bool read_number(const char **at, int64_t *out) {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 40; shift += 5) {
    int digit = digit_of(**at);
    if (digit < 0) return false;
    (*at)++;
    value |= (uint64_t)(digit & 31) << shift;
    if (digit & 32) continue;
    *out = value & 1 ? -(int64_t)(value >> 1) : (int64_t)(value >> 1);
    return true;
  }
  return false;
}

static bool add_place(struct source_map *map, struct place place) {
  if (map->n_places == map->cap_places) {
    size_t cap = map->cap_places ? map->cap_places * 2 : 1024;
    struct place *p = lc_realloc(map->places, cap * sizeof *p);
    if (!p) return false;
    map->places = p;
    map->cap_places = cap;
  }
  map->places[map->n_places++] = place;
  return true;
}

/* Lines are apart by `;`, places in a line by `,`; numbers are differences to the place before. */
static bool read_places(struct source_map *map, const char *at) {
  int64_t number[5] = {0}; /* column, file, source line, source column, name */
  for (uint32_t line = 0; *at;) {
    if (*at == ';') {
      number[0] = 0;
      line++, at++;
      continue;
    }
    if (*at == ',') {
      at++;
      continue;
    }
    int n = 0;
    for (int64_t difference; n < 5 && *at && *at != ',' && *at != ';'; n++) {
      if (!read_number(&at, &difference)) return false;
      number[n] += difference;
      if (number[n] < 0 || number[n] > INT32_MAX) return false;
    }
    if ((*at && *at != ',' && *at != ';') || n == 2 || n == 3 || (n >= 4 && (size_t)number[1] >= map->n_files)) return false;
    struct place place = {line, (uint32_t)number[0], UINT32_MAX, 0, 0};
    if (n >= 4) place = (struct place){line, (uint32_t)number[0], (uint32_t)number[1], (uint32_t)number[2], (uint32_t)number[3]};
    if (!add_place(map, place)) return false;
  }
  return true;
}

static bool in_order(const struct source_map *map) {
  for (size_t i = 1; i < map->n_places; i++) {
    const struct place *a = &map->places[i - 1], *b = &map->places[i];
    if (a->line > b->line || (a->line == b->line && a->column > b->column)) return false;
  }
  return true;
}

static bool read_json(struct source_map *map, const char *text, size_t len) {
  json_t *root = json_loadb(text, len, 0, NULL);
  const json_t *sources = json_object_get(root, "sources");
  const char *mappings = json_string_value(json_object_get(root, "mappings")), *folder = json_string_value(json_object_get(root, "sourceRoot"));
  size_t n = json_array_size(sources);
  bool ok = mappings && json_integer_value(json_object_get(root, "version")) == 3 && n > 0 && (map->files = lc_alloc_zero(n, sizeof *map->files));
  for (size_t i = 0; ok && i < n; i++) {
    struct lc_buf name = {0};
    const char *file = json_string_value(json_array_get(sources, i));
    lc_buf_printf(&name, "%s%s%s", folder && *folder ? folder : "", folder && *folder && folder[strlen(folder) - 1] != '/' ? "/" : "", file ? file : "");
    map->files[i] = lc_buf_ok(&name) ? lc_strdup_n(name.data, name.len) : NULL;
    ok = map->files[map->n_files = i] != NULL;
    if (ok) map->n_files = i + 1;
    lc_buf_free(&name);
  }
  ok = ok && read_places(map, mappings) && in_order(map);
  json_decref(root);
  return ok;
}

void source_map_pack(struct lc_slice comment, struct lc_buf *out) {
  const char *text = memchr(comment.data, ',', comment.len);
  if (!text) return;
  size_t head = (size_t)(++text - (const char *)comment.data), len = comment.len - head;
  while (len > 0 && strchr(" \t\r\n", text[len - 1])) len--;
  bool base64 = head >= 8 && memcmp(text - 8, ";base64,", 8) == 0;
  uint8_t *decoded = base64 && len % 4 == 0 && len > 0 && len < INT32_MAX ? lc_alloc_zero(1, len / 4 * 3 + 1) : NULL;
  if (decoded) {
    int n = EVP_DecodeBlock(decoded, (const uint8_t *)text, (int)len);
    for (size_t i = len; n > 0 && i > 0 && i > len - 2 && text[i - 1] == '='; i--) n--;
    size_t bound = n > 0 ? ZSTD_compressBound((size_t)n) : 0;
    uint8_t *packed = bound ? lc_alloc(bound) : NULL;
    size_t packed_len = packed ? ZSTD_compress(packed, bound, decoded, (size_t)n, 1) : 0;
    if (packed_len && !ZSTD_isError(packed_len)) lc_buf_append(out, packed, packed_len);
    lc_free(packed);
  }
  lc_free(decoded);
}

struct source_map *source_map_read(struct lc_slice packed) {
  unsigned long long len = ZSTD_getFrameContentSize(packed.data, packed.len); /* ours: known */
  struct source_map *map = len > 0 && len < INT32_MAX ? lc_alloc_zero(1, sizeof *map) : NULL;
  char *text = map ? lc_alloc_zero(1, (size_t)len) : NULL;
  bool ok = text && ZSTD_decompress(text, (size_t)len, packed.data, packed.len) == len && read_json(map, text, (size_t)len);
  lc_free(text);
  if (ok) return map;
  source_map_free(map);
  return NULL;
}

void source_map_free(struct source_map *map) {
  if (!map) return;
  for (size_t i = 0; i < map->n_files; i++) lc_free(map->files[i]);
  lc_free(map->files);
  lc_free(map->places);
  lc_free(map);
}

bool source_map_find(const struct source_map *map, uint32_t line, uint32_t column, struct lc_slice *file, uint32_t *out_line, uint32_t *out_column) {
  if (line == 0 || column == 0) return false;
  size_t low = 0, high = map->n_places; /* the last place at or before */
  while (low < high) {
    size_t middle = (low + high) / 2;
    const struct place *p = &map->places[middle];
    if (p->line < line - 1 || (p->line == line - 1 && p->column <= column - 1)) low = middle + 1;
    else high = middle;
  }
  const struct place *p = low ? &map->places[low - 1] : NULL;
  if (!p || p->line != line - 1 || p->file == UINT32_MAX) return false;
  *file = lc_slice_str(map->files[p->file]);
  *out_line = p->source_line + 1;
  *out_column = p->source_column + 1;
  return true;
}
