/* Names of a module definition: what an identifier is, case conversion, sets of names (spec/01 §10).
 *
 * Text is valid UTF-8 everywhere here. Callers: moduledef*.c.
 */
#include "types_internal.h"

enum lc_status types_identifier_fault(struct lc_slice s, const char **fault) {
  bool composed = true;
  *fault = NULL;
  if (s.len == 0) return *fault = "Empty", LC_OK;
  enum lc_status st = types_is_nfc(s, &composed);
  if (st != LC_OK) return st;
  if (!composed) return *fault = "NotCanonicalized", LC_OK;
  const uint8_t *p = s.data;
  uint32_t c = types_utf8_next(&p);
  if (c != '_' && !types_is_xid_start(c)) *fault = "InvalidStart";
  while (!*fault && p < s.data + s.len)
    if (!types_is_xid_continue(types_utf8_next(&p))) *fault = "InvalidContinue";
  return LC_OK;
}

bool lc_name_is_valid(struct lc_slice name) {
  if (!lc_utf8_valid(name.data, name.len)) return false;
  for (size_t at = 0, end; at <= name.len; at = end + 1) {
    const char *fault;
    for (end = at; end < name.len && name.data[end] != '.';) end++;
    if (types_identifier_fault(lc_slice(name.data + at, end - at), &fault) != LC_OK || fault) return false;
  }
  return true;
}

/* ---- case conversion (spec/01 §10.3) ---- */

enum letter { OTHER, LOWER, UPPER, DIGIT };
static enum letter letter_of(uint32_t c) {
  uint32_t low[3], up[3];
  if (c < 0x80) return c >= 'a' && c <= 'z' ? LOWER : c >= 'A' && c <= 'Z' ? UPPER : c >= '0' && c <= '9' ? DIGIT : OTHER;
  unsigned n_low = types_to_lower(c, low), n_up = types_to_upper(c, up);
  if (n_low == n_up && memcmp(low, up, n_low * sizeof *low) == 0) return OTHER;
  return n_low == 1 && low[0] == c ? LOWER : n_up == 1 && up[0] == c ? UPPER : OTHER;
}

struct cluster { uint32_t base; const uint8_t *marks, *end; enum letter letter; }; /* a character and what combines with it */
static struct cluster cluster_at(const uint8_t *p, const uint8_t *end) {
  struct cluster c = {0};
  if (p >= end) return c;
  c.base = types_utf8_next(&p);
  c.letter = letter_of(c.base);
  c.marks = c.end = p;
  while (p < end && *p >= 0xcc && types_extends_grapheme(types_utf8_next(&p))) c.end = p;
  if (c.letter == DIGIT && c.end != c.marks) c.letter = OTHER; /* a digit with a mark is no ASCII digit */
  return c;
}
static bool is_separator(const struct cluster *c) { return (c->base == '_' || c->base == '-' || c->base == ' ') && c->marks == c->end; }
static bool splits(enum letter p, enum letter c, enum letter n) {
  return (p == LOWER && c == UPPER) || (p == UPPER && c == DIGIT) || (p == DIGIT && c == UPPER) || (p == DIGIT && c == LOWER) || (p == LOWER && c == DIGIT) ||
         (p == UPPER && c == UPPER && n == LOWER);
}

void lc_name_convert(struct lc_buf *out, struct lc_slice s, enum lc_case style) {
  enum { SIGMA = 0x3a3, FINAL_SIGMA = 0x3c2 };
  const uint8_t *end = s.data + s.len;
  struct cluster c = cluster_at(s.data, end), next;
  enum letter previous = OTHER;
  size_t start = out->len;
  bool word_open = false, first_word = true, cased_before = false;
  for (; c.end; c = next) {
    next = cluster_at(c.end, end);
    if (is_separator(&c)) {
      word_open = false;
      previous = OTHER;
      continue;
    }
    bool begins = !word_open || splits(previous, c.letter, next.letter);
    if (begins && (word_open || out->len > start)) {
      first_word = false;
      if (style == LC_CASE_SNAKE) lc_buf_u8(out, '_');
    }
    if (begins) cased_before = false;
    bool upper = begins && (style == LC_CASE_PASCAL || (style == LC_CASE_CAMEL && !first_word));
    for (const uint8_t *p = NULL; p != c.end;) { /* the base, then its marks */
      uint32_t ch = p ? types_utf8_next(&p) : c.base, to[3];
      if (!p) p = c.marks;
      unsigned n = upper ? types_to_upper(ch, to) : types_to_lower(ch, to);
      bool ends_word = !next.end || is_separator(&next) || splits(c.letter, next.letter, cluster_at(next.end, end).letter);
      if (ch == SIGMA && !upper && cased_before && ends_word) to[0] = FINAL_SIGMA;
      for (unsigned i = 0; i < n; i++) types_utf8_put(out, to[i]);
    }
    cased_before = cased_before || c.letter == LOWER || c.letter == UPPER;
    previous = c.letter;
    word_open = true;
  }
}

/* ---- sets of names ---- */

static bool grow(struct lc_arena *arena, struct types_names *m) {
  uint32_t cap = m->cap ? 2 * m->cap : 16;
  struct types_name_slot *old = m->slots, *slots = lc_arena_alloc_zero(arena, cap, sizeof *slots);
  if (!slots) return false;
  for (uint32_t i = 0; i < m->cap; i++) {
    if (!old[i].used) continue;
    uint64_t at = old[i].hash;
    while (slots[at & (cap - 1)].used) at++;
    slots[at & (cap - 1)] = old[i];
  }
  m->slots = slots;
  m->cap = cap;
  return true;
}

int types_names_add(struct lc_arena *arena, struct types_names *m, struct lc_slice name, uint32_t value) {
  if (m->n + 1 > m->cap / 4 * 3 && !grow(arena, m)) return -1;
  uint64_t hash = lc_hash64(name.data, name.len, (uintptr_t)arena), at = hash; /* the address keeps an enemy from choosing collisions */
  for (; m->slots[at & (m->cap - 1)].used; at++)
    if (m->slots[at & (m->cap - 1)].hash == hash && lc_slice_eq(m->slots[at & (m->cap - 1)].name, name)) return 0;
  m->slots[at & (m->cap - 1)] = (struct types_name_slot){.name = name, .hash = hash, .value = value, .used = true};
  m->n++;
  return 1;
}

bool types_names_find(const struct lc_arena *arena, const struct types_names *m, struct lc_slice name, uint32_t *value) {
  if (!m->cap) return false;
  uint64_t hash = lc_hash64(name.data, name.len, (uintptr_t)arena);
  for (uint64_t at = hash; m->slots[at & (m->cap - 1)].used; at++) {
    const struct types_name_slot *slot = &m->slots[at & (m->cap - 1)];
    if (slot->hash != hash || !lc_slice_eq(slot->name, name)) continue;
    if (value) *value = slot->value;
    return true;
  }
  return false;
}
