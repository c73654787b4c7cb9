/* Unicode properties that names need: XID, canonical composition, case mappings, marks (spec/01 §10).
 *
 * The tables are generated (unicode_data.h); ASCII is answered here. Callers: names.c.
 */
#include "types_internal.h"

struct range { uint32_t first, last; };
struct case_run { uint32_t first, last; int32_t delta; uint32_t step; };
struct case_long { uint32_t from, to[3]; };
struct decomposition { uint32_t from, to[4]; };
struct composition { uint32_t a, b, whole; };
struct combining_class { uint32_t first, last; uint8_t value; };
#include "unicode_data.h"
#define COUNT(table) (sizeof(table) / sizeof *(table))

uint32_t types_utf8_next(const uint8_t **p) {
  const uint8_t *s = *p;
  uint32_t c = *s++;
  unsigned more = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
  if (more) c &= 0x3fu >> more;
  while (more--) c = c << 6 | (*s++ & 0x3fu);
  *p = s;
  return c;
}

void types_utf8_put(struct lc_buf *out, uint32_t c) {
  uint8_t b[4] = {(uint8_t)c};
  size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  static const uint8_t heads[] = {0, 0, 0xc0, 0xe0, 0xf0};
  for (size_t i = n; n > 1 && i-- > 0; c >>= 6) b[i] = (uint8_t)(i ? 0x80 | (c & 0x3f) : heads[n] | c);
  lc_buf_append(out, b, n);
}

static bool in_ranges(const struct range *table, size_t n, uint32_t c) {
  size_t low = 0;
  while (n) { /* the last range that begins at or before c */
    size_t half = n / 2;
    if (table[low + half].first <= c) low += half + 1, n -= half + 1;
    else n = half;
  }
  return low && c <= table[low - 1].last;
}

bool types_is_xid_start(uint32_t c) {
  if (c < 0x80) return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
  return in_ranges(xid_start, COUNT(xid_start), c);
}
bool types_is_xid_continue(uint32_t c) {
  if (c < 0x80) return types_is_xid_start(c) || (c >= '0' && c <= '9') || c == '_';
  return types_is_xid_start(c) || in_ranges(xid_continue_only, COUNT(xid_continue_only), c);
}
bool types_extends_grapheme(uint32_t c) { return c >= 0x300 && in_ranges(grapheme_extend, COUNT(grapheme_extend), c); }

static unsigned map_case(const struct case_run *runs, size_t n_runs, const struct case_long *longs, size_t n_longs, uint32_t c, uint32_t out[3]) {
  out[0] = c;
  for (size_t i = 0; i < n_longs; i++) {
    if (longs[i].from != c) continue;
    memcpy(out, longs[i].to, sizeof longs[i].to);
    return out[2] ? 3 : 2;
  }
  size_t low = 0, n = n_runs;
  while (n) {
    size_t half = n / 2;
    if (runs[low + half].first <= c) low += half + 1, n -= half + 1;
    else n = half;
  }
  if (low && c <= runs[low - 1].last && (c - runs[low - 1].first) % runs[low - 1].step == 0) out[0] = (uint32_t)((int32_t)c + runs[low - 1].delta);
  return 1;
}
unsigned types_to_lower(uint32_t c, uint32_t out[3]) {
  if (c >= 0x80) return map_case(lower_runs, COUNT(lower_runs), lower_long, COUNT(lower_long), c, out);
  out[0] = c >= 'A' && c <= 'Z' ? c | 0x20 : c;
  return 1;
}
unsigned types_to_upper(uint32_t c, uint32_t out[3]) {
  if (c >= 0x80) return map_case(upper_runs, COUNT(upper_runs), upper_long, COUNT(upper_long), c, out);
  out[0] = c >= 'a' && c <= 'z' ? c & ~0x20u : c;
  return 1;
}

/* ---- canonical composition ---- */

enum { HANGUL_FIRST = 0xac00, HANGUL_L = 0x1100, HANGUL_V = 0x1161, HANGUL_T = 0x11a7, N_L = 19, N_V = 21, N_T = 28, MAX_MARKS = 255 };

static uint8_t class_of(uint32_t c) {
  size_t low = 0, n = COUNT(combining_classes);
  if (c < 0x300) return 0;
  while (n) {
    size_t half = n / 2;
    if (combining_classes[low + half].first <= c) low += half + 1, n -= half + 1;
    else n = half;
  }
  return low && c <= combining_classes[low - 1].last ? combining_classes[low - 1].value : 0;
}

static size_t decompose(uint32_t c, uint32_t *out) {
  if (c >= HANGUL_FIRST && c < HANGUL_FIRST + N_L * N_V * N_T) {
    uint32_t s = c - HANGUL_FIRST, t = s % N_T;
    out[0] = HANGUL_L + s / (N_V * N_T);
    out[1] = HANGUL_V + s % (N_V * N_T) / N_T;
    out[2] = HANGUL_T + t;
    return t ? 3 : 2;
  }
  size_t low = 0, n = COUNT(decompositions);
  while (n) {
    size_t half = n / 2;
    if (decompositions[low + half].from < c) low += half + 1, n -= half + 1;
    else n = half;
  }
  if (low == COUNT(decompositions) || decompositions[low].from != c) return *out = c, 1;
  for (n = 0; n < 4 && decompositions[low].to[n]; n++) out[n] = decompositions[low].to[n];
  return n;
}

static uint32_t compose(uint32_t a, uint32_t b) { /* 0: they stay apart */
  if (a >= HANGUL_L && a < HANGUL_L + N_L && b >= HANGUL_V && b < HANGUL_V + N_V) return HANGUL_FIRST + ((a - HANGUL_L) * N_V + (b - HANGUL_V)) * N_T;
  if (a >= HANGUL_FIRST && a < HANGUL_FIRST + N_L * N_V * N_T && (a - HANGUL_FIRST) % N_T == 0 && b > HANGUL_T && b < HANGUL_T + N_T) return a + (b - HANGUL_T);
  size_t low = 0, n = COUNT(compositions);
  while (n) {
    size_t half = n / 2;
    const struct composition *m = &compositions[low + half];
    if (m->a < a || (m->a == a && m->b < b)) low += half + 1, n -= half + 1;
    else n = half;
  }
  return low < COUNT(compositions) && compositions[low].a == a && compositions[low].b == b ? compositions[low].whole : 0;
}

enum lc_status types_is_nfc(struct lc_slice text, bool *result) {
  const uint8_t *p = text.data, *end = text.data + text.len;
  *result = true;
  while (p < end && *p < 0xcc) p++; /* nothing below U+0300 changes */
  if (p == end) return LC_OK;
  uint32_t *d = lc_alloc(text.len * 4 * sizeof *d);
  if (!d) return LC_NOMEM;
  size_t n = 0, marks = 0;
  for (p = text.data; p < end && *result;) { /* decomposed, marks in the order of their classes */
    size_t k = decompose(types_utf8_next(&p), d + n);
    for (; k--; n++) {
      uint8_t class = class_of(d[n]);
      marks = class ? marks + 1 : 0;
      if (marks > MAX_MARKS) *result = false; /* no name of a language: refused */
      for (size_t i = n; class && *result && i > 0 && class_of(d[i - 1]) > class; i--) {
        uint32_t swap = d[i];
        d[i] = d[i - 1];
        d[i - 1] = swap;
      }
    }
  }
  size_t kept = 0, starter = SIZE_MAX;
  uint8_t last_class = 0;
  for (size_t i = 0; i < n && *result; i++) {
    uint8_t class = class_of(d[i]);
    bool blocked = starter != SIZE_MAX && kept > starter + 1 && last_class >= class;
    uint32_t whole = starter != SIZE_MAX && !blocked ? compose(d[starter], d[i]) : 0;
    if (whole) {
      d[starter] = whole;
      continue;
    }
    if (class == 0) starter = kept;
    last_class = class;
    d[kept++] = d[i];
  }
  p = text.data;
  for (size_t i = 0; i < kept && *result; i++) *result = p < end && types_utf8_next(&p) == d[i];
  *result = *result && p == end;
  lc_free(d);
  return LC_OK;
}
