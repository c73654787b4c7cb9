/* Keys: where they lie in an entry, their order, and the 8-byte prefix that decides most comparisons with one integer compare. */
#include "store_internal.h"

static const struct lc_type *part_type(const struct lc_key_spec *s, uint32_t i) { return s->entry_type->fields[s->columns[i]].type; }

/* ---- the prefix ---- */

static bool is_bytes(const struct lc_type *t) { return t->kind == LC_T_STRING || (t->kind == LC_T_ARRAY && t->elem->kind == LC_T_U8); }

struct prefix_builder { struct lc_key_spec *s; uint32_t room_bits; uint32_t entry_offset, key_offset; bool entry_known, stopped; };

static uint32_t number_bytes(enum lc_type_kind k) {
  switch (k) {
  case LC_T_BOOL: case LC_T_I8: case LC_T_U8: return 1;
  case LC_T_I16: case LC_T_U16: return 2;
  case LC_T_I32: case LC_T_U32: return 4;
  case LC_T_I64: case LC_T_U64: return 8;
  case LC_T_I128: case LC_T_U128: return 16;
  case LC_T_I256: case LC_T_U256: return 32;
  default: return 0;
  }
}
static bool is_signed_number(enum lc_type_kind k) { return k == LC_T_I8 || k == LC_T_I16 || k == LC_T_I32 || k == LC_T_I64 || k == LC_T_I128 || k == LC_T_I256; }

/* Adds what of a type fits; sets `stopped` when something of it does not. */
static void add(struct prefix_builder *b, const struct lc_type *t) {
  struct lc_key_spec *s = b->s;
  if (b->stopped) return;
  bool is_float = t->kind == LC_T_F32 || t->kind == LC_T_F64;
  uint32_t bytes = is_float ? t->static_size_bytes : number_bytes(t->kind);
  if (bytes || (t->kind == LC_T_SUM && t->static_size_bytes == 1)) {
    if (!bytes) bytes = 1; /* an enum without payloads: its tag */
    uint32_t take = bytes > 8 ? 8 : bytes; /* of a wide number the upper 8 bytes */
    if (take * 8 > b->room_bits || s->n_steps == LC_KEY_PREFIX_MAX_STEPS) {
      b->stopped = true;
      return;
    }
    b->room_bits -= take * 8;
    s->steps[s->n_steps++] = (struct lc_prefix_step){b->entry_offset + bytes - take, b->key_offset + bytes - take, (uint8_t)take, (uint8_t)b->room_bits,
                                                       is_float ? LC_STEP_FLOAT : is_signed_number(t->kind) ? LC_STEP_SIGNED : LC_STEP_UNSIGNED};
    if (!b->entry_known) s->steps_in_entry = false;
    b->entry_offset += bytes;
    b->key_offset += bytes;
    if (bytes > 8) b->stopped = true;
  } else if (t->kind == LC_T_PRODUCT) {
    for (uint32_t i = 0; i < t->n_fields; i++) add(b, t->fields[i].type);
  } else if (t->kind == LC_T_SUM) { /* its tag; payloads differ in shape */
    if (b->room_bits >= 8 && s->n_steps < LC_KEY_PREFIX_MAX_STEPS) {
      b->room_bits -= 8;
      s->steps[s->n_steps++] = (struct lc_prefix_step){b->entry_offset, b->key_offset, 1, (uint8_t)b->room_bits, LC_STEP_UNSIGNED};
      if (!b->entry_known) s->steps_in_entry = false;
    }
    b->stopped = true;
  } else {
    if (is_bytes(t) && b->room_bits >= 8) {
      s->has_text_step = true;
      s->text_key_offset = b->key_offset;
      s->text_shift = (uint8_t)b->room_bits;
    }
    b->stopped = true;
  }
}

static void build_prefix(struct lc_key_spec *s) {
  struct prefix_builder b = {.s = s, .room_bits = 64};
  s->n_steps = 0;
  s->steps_in_entry = true;
  s->has_text_step = false;
  memset(s->part_bits, 255, sizeof s->part_bits);
  s->part_bits[0] = 0;
  for (uint32_t i = 0; i < s->n_parts; i++) {
    uint64_t offset = 0;
    b.entry_known = true;
    for (uint32_t k = 0; k < s->columns[i] && b.entry_known; k++) {
      uint32_t n = s->entry_type->fields[k].type->static_size_bytes;
      if (n == LC_SIZE_DYNAMIC) b.entry_known = false;
      else offset += n;
    }
    b.entry_offset = (uint32_t)offset;
    add(&b, part_type(s, i));
    if (b.stopped) break;
    s->part_bits[i + 1] = (uint8_t)(64 - b.room_bits);
  }
  s->is_exact = s->n_parts > 0 && s->part_bits[s->n_parts] != 255;
  if (s->has_text_step) s->steps_in_entry = false;
}

uint64_t lc_key_prefix(const struct lc_key_spec *s, const uint8_t *key, uint32_t n_parts) {
  uint64_t v = 0;
  if (n_parts == s->n_parts || s->part_bits[n_parts] == 255) {
    uint32_t length = n_parts == s->n_parts ? UINT32_MAX : (uint32_t)lc_key_len(s, key, n_parts);
    for (uint32_t i = 0; i < s->n_steps && s->steps[i].key_offset < length; i++) v |= step_value(&s->steps[i], key + s->steps[i].key_offset);
    if (s->has_text_step && s->text_key_offset < length) {
      uint32_t n;
      memcpy(&n, key + s->text_key_offset, 4);
      const uint8_t *text = key + s->text_key_offset + 4;
      int shift = s->text_shift;
      for (uint32_t i = 0; i < n && shift >= 8; i++) v |= (uint64_t)text[i] << (shift -= 8);
    }
    return v;
  }
  for (uint32_t i = 0; i < s->n_steps && 64u - s->steps[i].shift <= s->part_bits[n_parts]; i++) v |= step_value(&s->steps[i], key + s->steps[i].key_offset);
  return v;
}

/* ---- place and order ---- */

static enum lc_part_kind part_kind(const struct lc_type *t) {
  while (t->kind == LC_T_PRODUCT && t->n_fields == 1) t = t->fields[0].type;
  if (is_bytes(t)) return LC_PART_BYTES;
  if (t->kind == LC_T_SUM && t->static_size_bytes == 1) return LC_PART_U8;
  switch (t->kind) {
  case LC_T_BOOL: case LC_T_U8: return LC_PART_U8;
  case LC_T_I8: return LC_PART_I8;
  case LC_T_U16: return LC_PART_U16;
  case LC_T_I16: return LC_PART_I16;
  case LC_T_U32: return LC_PART_U32;
  case LC_T_I32: return LC_PART_I32;
  case LC_T_U64: return LC_PART_U64;
  case LC_T_I64: return LC_PART_I64;
  case LC_T_U128: return LC_PART_U128;
  case LC_T_I128: return LC_PART_I128;
  case LC_T_U256: return LC_PART_U256;
  case LC_T_I256: return LC_PART_I256;
  default: return LC_PART_GENERAL;
  }
}

void lc_key_spec_init(struct lc_key_spec *s) {
  uint64_t size = 0;
  s->is_prefix = true;
  for (uint32_t i = 0; i < s->n_parts; i++) {
    uint32_t n = part_type(s, i)->static_size_bytes;
    size = n == LC_SIZE_DYNAMIC || size >= LC_SIZE_DYNAMIC ? LC_SIZE_DYNAMIC : size + n;
    if (s->columns[i] != i) s->is_prefix = false;
    uint64_t offset = 0;
    for (uint32_t k = 0; k < s->columns[i] && offset < LC_SIZE_DYNAMIC; k++) offset += s->entry_type->fields[k].type->static_size_bytes;
    s->part_offset[i] = offset < UINT16_MAX ? (uint16_t)offset : UINT16_MAX;
    s->part_kind[i] = (uint8_t)part_kind(part_type(s, i));
    if (i == 0) {
      s->is_static_offset = s->n_parts == 1 && offset < LC_SIZE_DYNAMIC;
      s->offset_bytes = s->is_static_offset ? (uint32_t)offset : 0;
    }
  }
  if (s->n_parts == 0) s->is_static_offset = false;
  s->static_size_bytes = size < LC_SIZE_DYNAMIC ? (uint32_t)size : LC_SIZE_DYNAMIC;
  build_prefix(s);
}

static inline const uint8_t *part_skip(const struct lc_key_spec *s, uint32_t i, const uint8_t *at) {
  uint32_t n = part_type(s, i)->static_size_bytes;
  if (n != LC_SIZE_DYNAMIC) return at + n;
  if (s->part_kind[i] == LC_PART_BYTES) {
    memcpy(&n, at, 4);
    return at + 4 + n;
  }
  return lc_bsatn_skip(part_type(s, i), at);
}
static inline const uint8_t *part_of_entry(const struct lc_key_spec *s, uint32_t i, const uint8_t *entry) {
  return s->part_offset[i] != UINT16_MAX ? entry + s->part_offset[i] : lc_row_column(s->entry_type, entry, s->columns[i]);
}

static inline int compare_wide(const uint8_t *a, const uint8_t *b, int words, bool is_signed) {
  for (int i = words - 1; i >= 0; i--) {
    uint64_t x, y;
    memcpy(&x, a + 8 * i, 8);
    memcpy(&y, b + 8 * i, 8);
    if (x == y) continue;
    if (is_signed && i == words - 1) return (int64_t)x < (int64_t)y ? -1 : 1;
    return x < y ? -1 : 1;
  }
  return 0;
}
static inline int part_compare(const struct lc_key_spec *s, uint32_t i, const uint8_t *a, const uint8_t *b) {
#define NUMBER(type_)                                                                                                                                \
  {                                                                                                                                                  \
    type_ x, y;                                                                                                                                      \
    memcpy(&x, a, sizeof x);                                                                                                                         \
    memcpy(&y, b, sizeof y);                                                                                                                         \
    return (x > y) - (x < y);                                                                                                                        \
  }
  switch ((enum lc_part_kind)s->part_kind[i]) {
  case LC_PART_U8: NUMBER(uint8_t)
  case LC_PART_I8: NUMBER(int8_t)
  case LC_PART_U16: NUMBER(uint16_t)
  case LC_PART_I16: NUMBER(int16_t)
  case LC_PART_U32: NUMBER(uint32_t)
  case LC_PART_I32: NUMBER(int32_t)
  case LC_PART_U64: NUMBER(uint64_t)
  case LC_PART_I64: NUMBER(int64_t)
#undef NUMBER
  case LC_PART_U128: return compare_wide(a, b, 2, false);
  case LC_PART_I128: return compare_wide(a, b, 2, true);
  case LC_PART_U256: return compare_wide(a, b, 4, false);
  case LC_PART_I256: return compare_wide(a, b, 4, true);
  case LC_PART_BYTES: {
    uint32_t n, m;
    memcpy(&n, a, 4);
    memcpy(&m, b, 4);
    uint32_t least = n < m ? n : m;
    int c = least ? memcmp(a + 4, b + 4, least) : 0;
    return c ? c : (n > m) - (n < m);
  }
  case LC_PART_GENERAL: break;
  }
  return lc_bsatn_compare(part_type(s, i), a, b);
}

int key_compare(const struct lc_key_spec *s, const uint8_t *a, const uint8_t *b, uint32_t n_parts) {
  for (uint32_t i = 0; i < n_parts; i++) {
    int c = part_compare(s, i, a, b);
    if (c || i + 1 == n_parts) return c;
    a = part_skip(s, i, a);
    b = part_skip(s, i, b);
  }
  return 0;
}

int lc_key_compare_entry(const struct lc_key_spec *s, const uint8_t *entry, const uint8_t *key, uint32_t n_parts) {
  if (s->is_prefix) return key_compare(s, entry, key, n_parts);
  for (uint32_t i = 0; i < n_parts; i++) {
    int c = part_compare(s, i, part_of_entry(s, i, entry), key);
    if (c || i + 1 == n_parts) return c;
    key = part_skip(s, i, key);
  }
  return 0;
}

int entries_compare(const struct lc_key_spec *s, const uint8_t *a, const uint8_t *b) {
  if (s->is_prefix) return key_compare(s, a, b, s->n_parts);
  int c = 0;
  for (uint32_t i = 0; i < s->n_parts && c == 0; i++) c = part_compare(s, i, part_of_entry(s, i, a), part_of_entry(s, i, b));
  return c;
}

void lc_key_extract(const struct lc_key_spec *s, const uint8_t *entry, struct lc_buf *out) {
  if (s->is_prefix) {
    lc_buf_append(out, entry, lc_key_len(s, entry, s->n_parts));
    return;
  }
  for (uint32_t i = 0; i < s->n_parts; i++) {
    const uint8_t *at = part_of_entry(s, i, entry);
    lc_buf_append(out, at, (size_t)(part_skip(s, i, at) - at));
  }
}

const uint8_t *entry_key(const struct lc_key_spec *s, struct lc_slice entry, struct key_scratch *scratch) {
  if (s->is_prefix) return entry.data;
  if (s->is_static_offset) return entry.data + s->offset_bytes;
  if (s->static_size_bytes <= sizeof scratch->fixed) {
    uint8_t *to = scratch->fixed;
    for (uint32_t i = 0; i < s->n_parts; i++) {
      uint32_t n = part_type(s, i)->static_size_bytes;
      memcpy(to, part_of_entry(s, i, entry.data), n);
      to += n;
    }
    return scratch->fixed;
  }
  lc_buf_clear(&scratch->spill);
  lc_key_extract(s, entry.data, &scratch->spill);
  return lc_buf_ok(&scratch->spill) ? scratch->spill.data : NULL;
}

size_t lc_key_len(const struct lc_key_spec *s, const uint8_t *key, uint32_t n_parts) {
  if (n_parts == s->n_parts && s->static_size_bytes != LC_SIZE_DYNAMIC) return s->static_size_bytes;
  const uint8_t *at = key;
  for (uint32_t i = 0; i < n_parts; i++) at = part_skip(s, i, at);
  return (size_t)(at - key);
}
