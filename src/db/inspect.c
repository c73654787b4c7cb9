/* Owns: looking into a replica folder without opening it: verifying everything in it, and its log as text (spec/06 §10, §12-§13). Nothing is changed.
 *
 * Rows have no length in the log, so both replay it: from transaction 0, else from the oldest snapshot that connects to the log. Callers: api/offline.c, cli/.
 */
#include "db.h"
#include <stdio.h>

enum { LINE_BYTES = 2048 };
struct inspection {
  const struct lc_env *env; const struct lc_fs *fs; const char *dir;
  struct lc_datastore *ds;      /* state up to `next`; NULL: the schema is not known */
  uint64_t next;
  struct lc_buf *text; void (*print)(void *ctx, struct lc_slice text); void *print_ctx; /* dump; NULL: no text */
};

/* ---- text ---- */

static void put_hex(struct lc_buf *out, struct lc_slice s) {
  for (size_t i = 0; i < s.len; i++) lc_buf_printf(out, "%02x", s.data[i]);
}
/* An Identity or a ConnectionId as people write it: the number's digits, the most significant first. */
static void put_number(struct lc_buf *out, const uint8_t *p, size_t n) {
  while (n-- > 0) lc_buf_printf(out, "%02x", p[n]);
}

static const struct lc_table_info *table_of(struct lc_datastore *ds, struct lc_read_view before, uint32_t id) {
  const struct lc_table_info *t = lc_datastore_table(ds, id);
  return t || !before.ds ? t : lc_view_table(before, id);
}

/* One list of rows; false: it cannot be read any further. */
static bool put_ops(struct inspection *in, struct lc_read_view before, struct lc_reader *r, const char *what, struct lc_buf *out) {
  uint64_t n_ops = lc_read_varint(r);
  for (uint64_t op = 0; op < n_ops && !r->failed; op++) {
    uint32_t id = lc_read_u32(r);
    uint64_t n_rows = lc_read_varint(r);
    const struct lc_table_info *t = table_of(in->ds, before, id);
    if (r->failed || !t) {
      lc_buf_printf(out, "    %s table %u: %llu rows, of a type that is not known\n", what, id, (unsigned long long)n_rows);
      return false;
    }
    for (uint64_t i = 0; i < n_rows; i++) {
      struct lc_error err;
      lc_buf_printf(out, "    %s %.*s ", what, (int)t->name.len, (const char *)t->name.data);
      bool ok = lc_json_write_value(out, t->row_type, NULL, r, LC_JSON_U, &err) == LC_OK;
      lc_buf_str(out, ok ? "\n" : "a row that is none of its table's\n");
      if (!ok) return false;
    }
  }
  return !r->failed;
}

static void put_transaction(struct inspection *in, struct lc_read_view before, uint64_t offset, struct lc_slice record, struct lc_buf *out) {
  enum { inputs = 0x80, outputs = 0x40, mutations = 0x20, fixed_bytes = 1 + 32 + 16 + 8 };
  struct lc_reader r = lc_reader(record);
  uint8_t flags = lc_read_u8(&r);
  lc_buf_printf(out, "  transaction %llu", (unsigned long long)offset);
  if (flags & inputs) {
    uint32_t len = lc_read_u32(&r);
    struct lc_reader i = lc_reader(lc_slice(lc_read_raw(&r, len), r.failed ? 0 : len));
    uint8_t name_len = lc_read_u8(&i);
    const uint8_t *name = lc_read_raw(&i, name_len), *caller = lc_read_raw(&i, 32), *conn = lc_read_raw(&i, 16);
    int64_t at_us = (int64_t)lc_read_u64(&i);
    if (!i.failed) {
      lc_buf_printf(out, ": %.*s, caller ", (int)name_len, (const char *)name);
      put_number(out, caller, 32);
      lc_buf_str(out, ", connection ");
      put_number(out, conn, 16);
      lc_buf_printf(out, ", at %lld us, arguments ", (long long)at_us);
      put_hex(out, lc_slice(i.p, lc_reader_left(&i)));
    } else lc_buf_printf(out, ": inputs of %u bytes in another form", len);
  }
  lc_buf_str(out, "\n");
  if (flags & outputs) lc_read_raw(&r, lc_read_u8(&r));
  if (!(flags & mutations) || r.failed) return;
  if (!put_ops(in, before, &r, "insert", out) || !put_ops(in, before, &r, "delete", out)) return;
  for (uint64_t n = lc_read_varint(&r); n-- > 0 && !r.failed;) {
    uint32_t id = lc_read_u32(&r);
    const struct lc_table_info *t = table_of(in->ds, before, id);
    lc_buf_printf(out, "    truncate %u %.*s\n", id, t ? (int)t->name.len : 0, t ? (const char *)t->name.data : "");
  }
}

/* ---- reading ---- */

static enum lc_status on_commit(void *ctx, const struct lc_wal_commit *c, struct lc_error *err) {
  struct inspection *in = ctx;
  enum lc_status st = LC_OK;
  struct lc_slice rest = c->records;
  if (in->text)
    lc_buf_printf(in->text, "%s at byte %llu: commit %llu, epoch %llu, %u transaction%s, %zu bytes, checksum %08x\n", c->path, (unsigned long long)c->position, (unsigned long long)c->first_offset,
                  (unsigned long long)c->epoch, c->n_tx, c->n_tx == 1 ? "" : "s", c->records.len, c->checksum);
  if (in->ds && c->first_offset >= in->next) {
    for (uint32_t i = 0; i < c->n_tx && st == LC_OK; i++) {
      struct lc_read_view before = {0};
      size_t used = 0;
      if (in->text) st = lc_read_view_open(in->ds, &before);
      if (st == LC_OK) st = lc_datastore_replay(in->ds, rest, 1, &used, err);
      if (st != LC_OK) lc_fail_context(err, "%s at byte position %llu: transaction %llu", c->path, (unsigned long long)c->position, (unsigned long long)c->first_offset + i);
      else if (in->text) put_transaction(in, before, c->first_offset + i, lc_slice(rest.data, used), in->text);
      if (before.ds) lc_read_view_close(&before);
      rest = lc_slice(rest.data + used, rest.len - used);
    }
    if (st == LC_OK && rest.len) st = lc_fail(err, LC_CORRUPT, "%s at byte position %llu: expected records of %zu bytes, found %zu", c->path, (unsigned long long)c->position, c->records.len - rest.len, c->records.len);
    in->next = c->first_offset + c->n_tx;
  } else if (in->text) {
    lc_buf_str(in->text, "  before anything that tells its tables: ");
    put_hex(in->text, lc_slice(c->records.data, c->records.len < 256 ? c->records.len : 256));
    lc_buf_str(in->text, c->records.len > 256 ? "...\n" : "\n");
  }
  if (in->text) {
    if (!lc_buf_ok(in->text)) return lc_fail(err, LC_NOMEM, "out of memory");
    in->print(in->print_ctx, lc_buf_slice(in->text));
    lc_buf_clear(in->text);
  }
  return st;
}

static enum lc_status on_rows(void *ctx, uint32_t table_id, struct lc_slice rows, uint64_t n_rows, struct lc_error *err) { return lc_datastore_restore_rows(ctx, table_id, rows, n_rows, err); }

/* The state that the log from `first` on goes on from; ds stays NULL if there is none. */
static enum lc_status begin(struct inspection *in, uint64_t first, const uint64_t *offsets, uint32_t n, struct lc_error *err) {
  enum lc_status st = LC_OK;
  if (first == 0) return lc_datastore_new(in->env, &in->ds, err);
  for (uint32_t i = 0; i < n && !in->ds && st == LC_OK; i++) {
    struct lc_snapfile_head head;
    struct lc_restore *restore = NULL;
    if (offsets[i] + 1 < first) continue;
    st = lc_datastore_new(in->env, &in->ds, err);
    if (st == LC_OK) st = lc_datastore_restore_begin(in->ds, &restore, err);
    if (st == LC_OK) st = lc_snapfile_read(in->fs, in->dir, offsets[i], &head, on_rows, restore, err);
    if (st == LC_OK) {
      st = lc_datastore_restore_finish(restore, err);
      restore = NULL;
    }
    lc_datastore_restore_abort(restore);
    in->next = offsets[i] + 1;
  }
  return st;
}

static enum lc_status scan(struct inspection *in, struct lc_wal_scan_end *end, struct lc_error *err) {
  char clog[LINE_BYTES];
  struct lc_wal_scan_end look;
  uint64_t *offsets = NULL;
  uint32_t n = 0;
  snprintf(clog, sizeof clog, "%s/clog", in->dir);
  uint64_t first = 0;
  enum lc_status st = lc_wal_scan_first(in->fs, clog, &first, err);
  if (st == LC_OK) st = lc_snapfile_list(in->fs, in->dir, &offsets, &n, err);
  if (st == LC_OK) st = begin(in, first, offsets, n, err);
  if (st == LC_OK) st = lc_wal_scan(in->fs, clog, NULL, on_commit, in, end ? end : &look, err);
  if (st == LC_OK && in->ds && (st = lc_datastore_check_catalog(in->ds, err)) != LC_OK) lc_fail_context(err, "%s", in->dir);
  lc_free(offsets);
  return st;
}

enum lc_status lc_db_dump_log(const struct lc_env *env, const struct lc_fs *fs, const char *path, void (*print)(void *ctx, struct lc_slice text), void *ctx, struct lc_error *err) {
  struct lc_buf text = {0};
  struct inspection in = {.env = env, .fs = fs, .dir = path, .text = &text, .print = print, .print_ctx = ctx};
  struct lc_wal_scan_end end = {0};
  size_t n = strlen(path);
  enum lc_status st;
  if (n > 9 && strcmp(path + n - 9, ".stdb.log") == 0) { /* one segment: its tables are known only if it is the first */
    const char *slash = strrchr(path, '/');
    char *folder = slash ? lc_strdup_n(path, (size_t)(slash - path)) : lc_strdup_n(".", 1);
    st = folder ? LC_OK : lc_fail(err, LC_NOMEM, "out of memory");
    if (st == LC_OK && strncmp(slash ? slash + 1 : path, "00000000000000000000.", 21) == 0) st = lc_datastore_new(env, &in.ds, err);
    if (st == LC_OK) st = lc_wal_scan(fs, folder, slash ? slash + 1 : path, on_commit, &in, &end, err);
    lc_free(folder);
  } else st = scan(&in, &end, err);
  if (st == LC_OK && end.torn[0]) {
    lc_buf_printf(&text, "%s\n", end.torn);
    print(ctx, lc_buf_slice(&text));
  }
  lc_datastore_free(in.ds);
  lc_buf_free(&text);
  return st;
}

enum lc_status lc_db_check(const struct lc_env *env, const struct lc_fs *fs, const char *dir, struct lc_db_checked *out, void (*report)(void *ctx, bool is_bad, const char *text), void *ctx, struct lc_error *err) {
  struct inspection in = {.env = env, .fs = fs, .dir = dir};
  struct lc_wal_scan_end end = {0};
  struct lc_module_facts facts;
  char line[LINE_BYTES];
  uint64_t *offsets = NULL;
  uint32_t n = 0;
  *out = (struct lc_db_checked){0};
  enum lc_status st = scan(&in, &end, err), worst = st;
  if (st != LC_OK) report(ctx, true, err->text);
  if (st == LC_OK && (st = lc_snapfile_list(fs, dir, &offsets, &n, err)) != LC_OK) report(ctx, true, err->text), worst = st;
  if (st == LC_OK && !in.ds) {
    worst = lc_fail(err, LC_CORRUPT, "%s: No connected snapshot found, commitlog starts at %llu", dir, (unsigned long long)end.first_offset);
    report(ctx, true, err->text);
  } else if (st == LC_OK && (st = lc_datastore_module(in.ds, &facts)) != LC_OK) {
    worst = lc_fail(err, LC_CORRUPT, "%s: the commit log holds no module", dir);
    report(ctx, true, err->text);
  } else if (st == LC_OK) {
    *out = (struct lc_db_checked){.has_module = true, .database = facts.database, .owner = facts.owner, .program_kind = facts.program_kind, .program_hash = facts.program_hash};
  }
  for (uint32_t i = 0; i < n; i++) {
    struct lc_snapfile_head head = {.database = out->database};
    enum lc_status s = lc_snapfile_read(fs, dir, offsets[i], &head, NULL, NULL, err);
    if (s == LC_OK && offsets[i] >= end.next_offset)
      s = lc_fail(err, LC_CORRUPT, "%s/snapshots/%020llu.snapshot: expected a log up to %llu, found one up to %llu", dir, (unsigned long long)offsets[i], (unsigned long long)offsets[i] + 1, (unsigned long long)end.next_offset);
    if (s == LC_OK && out->has_module && memcmp(&head.database, &out->database, sizeof head.database) != 0) s = lc_fail(err, LC_CORRUPT, "%s/snapshots/%020llu.snapshot: it is another database's", dir, (unsigned long long)offsets[i]);
    if (s != LC_OK) report(ctx, true, err->text), worst = s;
  }
  if (end.torn[0]) report(ctx, false, end.torn);
  if (worst == LC_OK) {
    snprintf(line, sizeof line, "%s: %u segments (%u compressed), %u snapshots, transactions %llu to %llu: all is well", dir, end.n_segments, end.n_compressed, n, (unsigned long long)end.first_offset,
             (unsigned long long)end.next_offset - 1);
    report(ctx, false, line);
    out->n_transactions = end.next_offset;
  }
  lc_free(offsets);
  lc_datastore_free(in.ds);
  return worst;
}
