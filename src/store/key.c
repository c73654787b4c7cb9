/* Keys: where they lie in an entry, their order, and the 8-byte prefix that decides most comparisons with one integer compare. */
#include "store_internal.h"

static const struct lc_type *part_type(const struct lc_key_spec *s, uint32_t i) { return s->entry_type->fields[s->columns[i]].type; }

/* ---- the prefix ---- */

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
static bool is_signed(enum lc_type_kind k) { return k == LC_T_I8 || k == LC_T_I16 || k == LC_T_I32 || k == LC_T_I64 || k == LC_T_I128 || k == LC_T_I256; }

/* Adds what of a type fits; sets `stopped` when something of it does not. */
static void add(struct prefix_builder *b, const struct lc_type *t) {
  struct lc_key_spec *s = b->s;
  if (b->stopped) return;
  uint32_t bytes = number_bytes(t->kind);
  if (bytes || (t->kind == LC_T_SUM && t->static_size_bytes == 1)) {
    if (!bytes) bytes = 1; /* an enum without payloads: its tag */
    uint32_t take = bytes > 8 ? 8 : bytes; /* of a wide number the upper 8 bytes */
    if (take * 8 > b->room_bits || s->n_steps == LC_KEY_PREFIX_MAX_STEPS) {
      b->stopped = true;
      return;
    }
    b->room_bits -= take * 8;
    s->steps[s->n_steps++] = (struct lc_prefix_step){b->entry_offset + bytes - take, b->key_offset + bytes - take, (uint8_t)take, (uint8_t)b->room_bits, is_signed(t->kind)};
    if (!b->entry_known) s->steps_in_entry = false;
    b->entry_offset += bytes;
    b->key_offset += bytes;
    if (bytes > 8) b->stopped = true;
  } else if (t->kind == LC_T_PRODUCT) {
    for (uint32_t i = 0; i < t->n_fields; i++) add(b, t->fields[i].type);
  } else {
    if (t->kind == LC_T_STRING && b->room_bits >= 8) {
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

void lc_key_spec_init(struct lc_key_spec *s) {
  uint64_t size = 0;
  s->is_prefix = true;
  for (uint32_t i = 0; i < s->n_parts; i++) {
    uint32_t n = part_type(s, i)->static_size_bytes;
    size = n == LC_SIZE_DYNAMIC || size >= LC_SIZE_DYNAMIC ? LC_SIZE_DYNAMIC : size + n;
    if (s->columns[i] != i) s->is_prefix = false;
  }
  s->static_size_bytes = size < LC_SIZE_DYNAMIC ? (uint32_t)size : LC_SIZE_DYNAMIC;
  s->is_static_offset = s->n_parts == 1;
  s->offset_bytes = 0;
  for (uint32_t i = 0; s->n_parts && i < s->columns[0] && s->is_static_offset; i++) {
    uint32_t n = s->entry_type->fields[i].type->static_size_bytes;
    if (n == LC_SIZE_DYNAMIC) s->is_static_offset = false;
    else s->offset_bytes += n;
  }
  build_prefix(s);
}

void lc_key_extract(const struct lc_key_spec *s, const uint8_t *entry, struct lc_buf *out) {
  if (s->is_prefix) {
    const uint8_t *end = lc_row_column(s->entry_type, entry, s->n_parts);
    lc_buf_append(out, entry, (size_t)(end - entry));
    return;
  }
  for (uint32_t i = 0; i < s->n_parts; i++) {
    const uint8_t *at = lc_row_column(s->entry_type, entry, s->columns[i]);
    lc_buf_append(out, at, (size_t)(lc_bsatn_skip(part_type(s, i), at) - at));
  }
}

size_t lc_key_len(const struct lc_key_spec *s, const uint8_t *key, uint32_t n_parts) {
  if (n_parts == s->n_parts && s->static_size_bytes != LC_SIZE_DYNAMIC) return s->static_size_bytes;
  const uint8_t *at = key;
  for (uint32_t i = 0; i < n_parts; i++) at = lc_bsatn_skip(part_type(s, i), at);
  return (size_t)(at - key);
}

int lc_key_compare_entry(const struct lc_key_spec *s, const uint8_t *entry, const uint8_t *key, uint32_t n_parts) {
  if (s->is_static_offset) return n_parts ? lc_bsatn_compare(part_type(s, 0), entry + s->offset_bytes, key) : 0;
  const uint8_t *at = entry;
  for (uint32_t i = 0; i < n_parts; i++) {
    const struct lc_type *t = part_type(s, i);
    if (!s->is_prefix) at = lc_row_column(s->entry_type, entry, s->columns[i]);
    int c = lc_bsatn_compare(t, at, key);
    if (c) return c;
    if (i + 1 == n_parts) break;
    key = lc_bsatn_skip(t, key);
    if (s->is_prefix) at = lc_bsatn_skip(t, at);
  }
  return 0;
}
