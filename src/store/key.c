/* Keys: where they lie in an entry, and their order. The hot case, one number at a constant offset, is compared without a walk. */
#include "store.h"

void lc_key_spec_init(struct lc_key_spec *s) {
  uint64_t size = 0;
  s->is_prefix = true;
  for (uint32_t i = 0; i < s->n_parts; i++) {
    uint32_t n = s->entry_type->fields[s->columns[i]].type->static_size_bytes;
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
}

static const struct lc_type *part_type(const struct lc_key_spec *s, uint32_t i) { return s->entry_type->fields[s->columns[i]].type; }

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
