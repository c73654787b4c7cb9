/* Owns: BsatnRowLists (spec/03 §5): rows back to back, with a size hint while they are all equally long, else with offsets. */
#include "live_internal.h"

void row_list_free(struct row_list *l) {
  lc_buf_free(&l->rows);
  lc_buf_free(&l->offsets);
}

void row_list_add(struct row_list *l, struct lc_slice row) {
  if (!l->variable && l->n_rows == 0) {
    l->fixed_size_bytes = (uint32_t)row.len;
    l->variable = row.len == 0 || row.len > UINT16_MAX;
  } else if (!l->variable && row.len != l->fixed_size_bytes) {
    l->variable = true;
    for (uint32_t i = 0; i < l->n_rows; i++) lc_buf_u64(&l->offsets, (uint64_t)i * l->fixed_size_bytes);
  }
  if (l->variable) lc_buf_u64(&l->offsets, l->rows.len);
  lc_buf_slice_append(&l->rows, row);
  l->n_rows++;
}

void row_list_encode(const struct row_list *l, struct lc_buf *out) {
  if (l->n_rows == 0 || l->variable) {
    lc_buf_u8(out, 1);
    lc_buf_u32(out, (uint32_t)(l->offsets.len / 8));
    lc_buf_slice_append(out, lc_buf_slice(&l->offsets));
  } else {
    lc_buf_u8(out, 0);
    lc_buf_u16(out, (uint16_t)l->fixed_size_bytes);
  }
  lc_buf_bsatn_bytes(out, lc_buf_slice(&l->rows));
}

struct lc_slice row_list_of(struct lc_arena *arena, const struct lc_slice *rows, uint32_t n, size_t skip) {
  size_t total = 0, at = 0;
  bool variable = n == 0;
  for (uint32_t i = 0; i < n; i++) {
    total += rows[i].len - skip;
    variable |= rows[i].len != rows[0].len || rows[i].len == skip || rows[i].len - skip > UINT16_MAX;
  }
  uint8_t *out = total > UINT32_MAX ? NULL : lc_arena_alloc(arena, 1 + (variable ? 4 + 8 * (size_t)n : 2) + 4 + total), *p = out;
  if (!out) return lc_slice(NULL, 0);
  *p++ = variable;
  if (variable) {
    memcpy(p, &n, 4);
    p += 4;
    for (uint32_t i = 0; i < n; i++, p += 8) {
      memcpy(p, &(uint64_t){at}, 8);
      at += rows[i].len - skip;
    }
  } else {
    memcpy(p, &(uint16_t){(uint16_t)(rows[0].len - skip)}, 2);
    p += 2;
  }
  memcpy(p, &(uint32_t){(uint32_t)total}, 4);
  p += 4;
  for (uint32_t i = 0; i < n; i++) {
    memcpy(p, rows[i].data + skip, rows[i].len - skip);
    p += rows[i].len - skip;
  }
  return lc_slice(out, (size_t)(p - out));
}
