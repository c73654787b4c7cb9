/* A second datastore made from a dump of the first, for tests of the engine. Includer: after cmocka.h. */
#ifndef LC_ENGINE_COPY_H
#define LC_ENGINE_COPY_H
#include "engine/engine.h"
#include <stdlib.h>

/* reversed: of user tables the blocks, and the rows in each, come in the opposite order. */
struct copy_block { uint32_t table_id, n_rows; const struct lc_type *row_type; struct lc_buf rows; };
struct copy_blocks { struct copy_block *b; uint32_t n; };

static enum lc_status copy_take(void *ctx, const struct lc_row_block *block, struct lc_error *e) {
  struct copy_blocks *d = ctx;
  (void)e;
  d->b = realloc(d->b, (d->n + 1) * sizeof *d->b);
  d->b[d->n] = (struct copy_block){block->table->table_id, block->n_rows, block->table->row_type, {0}};
  lc_buf_slice_append(&d->b[d->n++].rows, block->rows);
  return LC_OK;
}
static void copy_reverse_rows(struct copy_block *b) {
  struct lc_buf out = {0};
  const uint8_t **at = malloc((b->n_rows + 1) * sizeof(uint8_t *));
  at[0] = b->rows.data;
  for (uint32_t i = 0; i < b->n_rows; i++) at[i + 1] = lc_bsatn_skip(b->row_type, at[i]);
  for (uint32_t i = b->n_rows; i-- > 0;) lc_buf_append(&out, at[i], (size_t)(at[i + 1] - at[i]));
  free(at);
  lc_buf_free(&b->rows);
  b->rows = out;
}
static void copy_free(struct copy_blocks *d) {
  for (uint32_t i = 0; i < d->n; i++) lc_buf_free(&d->b[i].rows);
  free(d->b);
  *d = (struct copy_blocks){0};
}
static struct lc_datastore *engine_copy(struct lc_datastore *ds, size_t block_bytes, bool reversed) {
  struct lc_error e = {0};
  struct lc_read_view view;
  struct copy_blocks d = {0};
  struct lc_datastore *copy;
  struct lc_restore *r;
  if (lc_read_view_open(ds, &view) != LC_OK || lc_view_dump(view, block_bytes, copy_take, &d, &e) != LC_OK) fail_msg("dump: %s", e.text);
  assert_int_equal(lc_datastore_new(&lc_env_system, &copy, &e), LC_OK);
  assert_int_equal(lc_datastore_restore_begin(copy, &r, &e), LC_OK);
  for (uint32_t i = 0, end; i < d.n; i = end) {
    for (end = i + 1; end < d.n && d.b[end].table_id == d.b[i].table_id;) end++;
    for (uint32_t k = i; k < end; k++) {
      bool turn = reversed && d.b[i].table_id >= LC_FIRST_USER_ID;
      struct copy_block *b = &d.b[turn ? end - 1 - (k - i) : k];
      if (turn) copy_reverse_rows(b);
      if (lc_datastore_restore_rows(r, b->table_id, lc_buf_slice(&b->rows), b->n_rows, &e) != LC_OK) fail_msg("restore: %s", e.text);
    }
  }
  if (lc_datastore_restore_finish(r, &e) != LC_OK) fail_msg("restore: %s", e.text);
  lc_read_view_close(&view); /* the blocks' types were its */
  copy_free(&d);
  return copy;
}
#endif
