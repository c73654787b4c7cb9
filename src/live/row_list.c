/* Owns: BsatnRowLists (spec/03 §5): rows back to back, with a size hint while they are all equally long, else with offsets. */
#include "live.h"

void lc_row_list_clear(struct lc_row_list *l) {
  lc_buf_clear(&l->rows);
  lc_buf_clear(&l->offsets);
  l->n_rows = l->fixed_size_bytes = 0;
  l->variable = false;
}
void lc_row_list_free(struct lc_row_list *l) {
  lc_buf_free(&l->rows);
  lc_buf_free(&l->offsets);
}

void lc_row_list_add(struct lc_row_list *l, struct lc_slice row) {
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

void lc_row_list_encode(const struct lc_row_list *l, struct lc_buf *out) {
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
