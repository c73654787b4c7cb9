/* Owns: auto-increment (spec/07 §11, spec/06 §6). All state is the row of st_sequence, whose `allocated` is the next value to hand out; it
 * changes in the transaction that takes the value, so that a rollback gives it back and no committed value is ever handed out again.
 * Callers: the face; tx.c. */
#include "engine_internal.h"

enum { SKIP_VALUES = 4096 /* one value in so many skips to the next multiple of it */ };

void lc_datastore_sequence_skips(struct lc_datastore *ds, uint64_t seed) { ds->random = seed; }

static uint64_t next_random(struct lc_datastore *ds) { /* xorshift64 */
  uint64_t x = ds->random;
  x ^= x << 13;
  x ^= x >> 7;
  x ^= x << 17;
  return ds->random = x;
}

/* v's successor; false: there is none. */
static bool step(struct lc_datastore *ds, __int128 v, __int128 *next) {
  const __int128 max = (__int128)(((unsigned __int128)1 << 127) - 1);
  if (v == max) return false;
  bool skip = ds->random && next_random(ds) % SKIP_VALUES == 0 && v >= 0 && v < max - SKIP_VALUES;
  *next = skip ? (v / SKIP_VALUES + 1) * SKIP_VALUES : v + 1;
  return true;
}

static int nomem(struct lc_error *err) {
  lc_fail(err, LC_NOMEM, "out of memory");
  return LC_ERRNO_TRAP;
}

/* The sequence's row is written once per transaction; for further values that row (in the tree and in the transaction's notes) is overwritten. */
static int next_value(struct lc_tx *tx, struct sequence *q, uint8_t value[16], struct lc_error *err) {
  struct table *t = ds_table(tx->ds, LC_ST_SEQUENCE);
  __int128 v, next;
  uint8_t *row = q->noted;
  size_t len = q->noted_len;
  struct lc_slice old = {0};
  bool is_noted = q->note_epoch == tx->note_epoch;
  if (!is_noted) {
    struct lc_slice stored = lc_tree_find(&t->rows, (const uint8_t *)&q->sequence_id);
    if (!stored.data) return lc_fail(err, LC_CORRUPT, "Sequence ID `%u` not found.", q->sequence_id), LC_ERRNO_TRAP;
    old = lc_arena_copy(&tx->arena, stored);
    row = old.data ? lc_arena_alloc(&tx->arena, len = stored.len) : NULL;
    if (!row || !tx_reserve(tx, t, 1, 1)) return nomem(err);
    memcpy(row, old.data, len);
    tx->n_bytes += 2 * len;
  }
  uint8_t *allocated = row + len - 16; /* the last column */
  memcpy(&v, allocated, 16);
  if (!step(tx->ds, v, &next)) {
    lc_fail(err, LC_LIMIT, "Incrementing sequence with previous value 170141183460469231731687303715884105727 would result in integer overflow");
    return LC_ERRNO_AUTO_INC_OVERFLOW;
  }
  memcpy(value, &v, 16);
  memcpy(allocated, &next, 16);
  if (!rows_replace(t, old, lc_slice(row, len))) {
    memcpy(allocated, &v, 16);
    return nomem(err);
  }
  if (is_noted || LC_PLANTED(LC_BUG_SEQUENCE_REISSUE)) return LC_ERRNO_OK;
  tx_note(t, old, false);
  tx_note(t, lc_slice(row, len), true);
  q->note_epoch = tx->note_epoch;
  q->noted = row;
  q->noted_len = len;
  return LC_ERRNO_OK;
}

int sequences_fill(struct lc_tx *tx, struct table *t, uint8_t *row, struct lc_buf *generated, struct lc_error *err) {
  static const uint8_t zeros[32];
  for (uint32_t i = 0; i < t->n_sequences; i++) {
    uint16_t col = t->sequences[i].column;
    const struct lc_type *type = t->info.row_type->fields[col].type;
    uint8_t *at = row + (lc_row_column(t->info.row_type, row, col) - row), value[32] = {0};
    if (memcmp(at, zeros, type->static_size_bytes) != 0) continue;
    int rc = next_value(tx, &t->sequences[i], value, err);
    if (rc != LC_ERRNO_OK) return rc;
    if (type->kind == LC_T_I256 && (value[15] & 0x80)) memset(value + 16, 0xff, 16);
    memcpy(at, value, type->static_size_bytes); /* truncated to the column's width; a wider one's sign is kept */
    if (generated) lc_buf_append(generated, at, type->static_size_bytes);
  }
  return LC_ERRNO_OK;
}
