/* Owns: what is opened from a replica folder: the newest snapshot that is whole, then the log behind it (spec/06 §12-§13, spec/07 §12).
 *
 * Invariants: nothing damaged is used, and nothing damaged is passed over in silence. A damaged snapshot is set aside only because an older one, or the log
 * alone, gives the same state; where that is not so, or where the log has lost what was durable, the database is not opened. Callers: open.c, tools.
 */
#include "db.h"
#include <stdio.h>

/* What was wrong with the snapshots that could not be used, for the error when none can. */
struct notes { char text[1400]; size_t len; };
static void note(struct notes *n, const char *text) {
  int k = snprintf(n->text + n->len, sizeof n->text - n->len, "; %s", text);
  n->len += k > 0 && (size_t)k < sizeof n->text - n->len ? (size_t)k : 0;
}

static enum lc_status on_rows(void *ctx, uint32_t table_id, struct lc_slice rows, uint64_t n_rows, struct lc_error *err) {
  return lc_datastore_restore_rows(ctx, table_id, rows, n_rows, err);
}

static enum lc_status restore_from(struct lc_db_files *f, uint64_t tx_offset, struct lc_datastore **out, struct lc_error *err) {
  struct lc_snapfile_head head = {.database = f->database};
  struct lc_datastore *ds = NULL;
  struct lc_restore *restore = NULL;
  enum lc_status st = lc_datastore_new(f->env, &ds, err);
  if (st == LC_OK) st = lc_datastore_restore_begin(ds, &restore, err);
  if (st == LC_OK) st = lc_snapfile_read(f->fs, f->dir, tx_offset, &head, on_rows, restore, err);
  if (memcmp(&head.database, &f->database, sizeof head.database) != 0) {
    char wanted[65], found[65];
    lc_identity_hex(&f->database, wanted);
    lc_identity_hex(&head.database, found);
    st = lc_fail(err, LC_INVALID, "Snapshot has incorrect database_identity: expected %s but found %s", wanted, found);
  }
  if (st == LC_OK) {
    st = lc_datastore_restore_finish(restore, err);
    restore = NULL;
    if (st != LC_OK) lc_fail_context(err, "%s/snapshots/%020llu.snapshot", f->dir, (unsigned long long)tx_offset);
  }
  lc_datastore_restore_abort(restore);
  if (st == LC_OK) *out = ds;
  else lc_datastore_free(ds);
  return st;
}

static bool is_about_the_file(enum lc_status st) { return st == LC_CORRUPT || st == LC_IO || st == LC_UNSUPPORTED || st == LC_NOT_FOUND; }

static void set_aside(const struct lc_db_files *f, uint64_t tx_offset, const char *why) {
  struct lc_error err;
  lc_log(LC_LOG_ERROR, "%s; the snapshot is set aside as ….damaged", why);
  if (lc_snapfile_set_aside(f->fs, f->dir, tx_offset, &err) != LC_OK) lc_log(LC_LOG_ERROR, "%s", err.text);
}

/* The newest snapshot that can be used, if any: *ds stays NULL without one. */
static enum lc_status restore_newest(struct lc_db_files *f, uint32_t n, const uint64_t *offsets, struct lc_datastore **ds, uint64_t *next_offset, struct notes *notes, struct lc_error *err) {
  uint64_t first = lc_wal_first_offset(f->wal), end = lc_wal_next_offset(f->wal);
  while (n-- > 0) {
    uint64_t s = offsets[n];
    char why[sizeof err->text];
    if (s >= end) {
      char place[1024];
      lc_wal_end_place(f->wal, place, sizeof place);
      snprintf(why, sizeof why, "%s: expected transaction %llu, which was durable, since %s/snapshots/%020llu.snapshot holds it; found the end of the log", place, (unsigned long long)end, f->dir,
               (unsigned long long)s);
      if (!f->accept_lost_transactions)
        return lc_fail(err, LC_CORRUPT, "%s: it has lost transactions. Bring back the segments in %s/clog from a copy, or start with --accept-lost-transactions to go on from where the log ends", why,
                       f->dir);
      set_aside(f, s, why);
      continue;
    }
    if (s + 1 < first) {
      snprintf(why, sizeof why, "the snapshot at %llu is too old", (unsigned long long)s);
      note(notes, why);
      break;
    }
    enum lc_status st = restore_from(f, s, ds, err);
    if (st == LC_OK) {
      *next_offset = s + 1;
      f->whole[0] = s;
      f->n_whole = 1;
      return LC_OK;
    }
    if (!is_about_the_file(st)) return st;
    memcpy(why, err->text, sizeof why);
    note(notes, why);
    if (st == LC_CORRUPT) set_aside(f, s, why);
    else lc_log(LC_LOG_ERROR, "%s; an older snapshot or the log alone is used", why);
  }
  return LC_OK;
}

struct replay { struct lc_datastore *ds; uint64_t next_offset; };
static enum lc_status on_commit(void *ctx, uint64_t first_offset, struct lc_slice records, uint32_t n_tx, size_t *consumed, struct lc_error *err) {
  struct replay *r = ctx;
  if (first_offset != r->next_offset)
    return lc_fail(err, LC_CORRUPT, "out-of-order commit: expected-offset=%llu actual-offset=%llu", (unsigned long long)r->next_offset, (unsigned long long)first_offset);
  enum lc_status st = lc_datastore_replay_more(r->ds, records, n_tx, consumed, err);
  if (st != LC_OK) return lc_fail_context(err, "transaction %llu", (unsigned long long)first_offset), st;
  r->next_offset = first_offset + n_tx;
  return LC_OK;
}

enum lc_status lc_db_recover(struct lc_db_files *f, struct lc_datastore **out, uint64_t *next_offset, struct lc_error *err) {
  struct lc_error first_err;
  struct notes notes = {0};
  struct replay r = {0};
  uint64_t *offsets = NULL;
  uint32_t n = 0;
  if (lc_snapfile_remove_temporary(f->fs, f->dir, &first_err) != LC_OK) lc_log(LC_LOG_WARN, "%s", first_err.text);
  enum lc_status st = lc_snapfile_list(f->fs, f->dir, &offsets, &n, err);
  if (st != LC_OK) return st;
  st = restore_newest(f, n, offsets, &r.ds, &r.next_offset, &notes, err);
  lc_free(offsets);
  uint64_t first = lc_wal_first_offset(f->wal), end = lc_wal_next_offset(f->wal), from = r.next_offset;
  if (st == LC_OK && !r.ds) {
    if (first != 0) st = lc_fail(err, LC_CORRUPT, "%s: No connected snapshot found, commitlog starts at %llu%.*s", f->dir, (unsigned long long)first, (int)notes.len, notes.text);
    else st = lc_datastore_new(f->env, &r.ds, err);
  }
  if (st == LC_OK) st = lc_wal_replay(f->wal, from, on_commit, &r, err);
  if (st == LC_OK) st = lc_datastore_replay_settle(r.ds, err);
  if (st == LC_OK && (st = lc_datastore_check_catalog(r.ds, err)) != LC_OK) lc_fail_context(err, "%s", f->dir);
  if (st == LC_OK && r.next_offset != end)
    st = lc_fail(err, LC_CORRUPT, "%s/clog: expected transactions up to %llu, found them up to %llu", f->dir, (unsigned long long)end, (unsigned long long)r.next_offset);
  if (st != LC_OK) {
    lc_datastore_free(r.ds);
    return st;
  }
  *out = r.ds;
  *next_offset = r.next_offset;
  f->recovered_from = from;
  return LC_OK;
}
