/* Owns: the control database (spec/04 §5): which databases exist, their owners, names and top-level names. SQLite, one connection, one lock.
 *
 * Invariants: a database exists once its row is there; a name, once registered, is never released. Callers: server.c, routes.
 */
#include "server.h"
#include <sqlite3.h>
#include <stdio.h>

struct control { sqlite3 *db; pthread_mutex_t lock; };

static enum lc_status failed(struct control *c, struct lc_error *err) { return lc_fail(err, LC_IO, "control database: %s", sqlite3_errmsg(c->db)); }

static const char schema_sql[] =
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
    "CREATE TABLE IF NOT EXISTS database(identity BLOB PRIMARY KEY, owner BLOB NOT NULL, kind INTEGER NOT NULL, program BLOB NOT NULL, replica_id INTEGER NOT NULL, seq INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS name(name TEXT PRIMARY KEY, identity BLOB NOT NULL, seq INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS tld(name TEXT PRIMARY KEY, owner BLOB NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS counter(id INTEGER PRIMARY KEY, next INTEGER NOT NULL);"
    "INSERT OR IGNORE INTO counter VALUES (1, 1);";

struct control *control_open(const char *data_dir, struct lc_error *err) {
  struct control *c = lc_alloc_zero(1, sizeof *c);
  char path[4096] = ":memory:";
  if (!c) {
    lc_fail(err, LC_NOMEM, "out of memory");
    return NULL;
  }
  pthread_mutex_init(&c->lock, NULL);
  if (data_dir) snprintf(path, sizeof path, "%s/control.sqlite3", data_dir);
  if (sqlite3_open(path, &c->db) != SQLITE_OK || sqlite3_exec(c->db, schema_sql, NULL, NULL, NULL) != SQLITE_OK) {
    lc_fail(err, LC_IO, "cannot open the control database %s: %s", path, sqlite3_errmsg(c->db));
    control_close(c);
    return NULL;
  }
  return c;
}
void control_close(struct control *c) {
  if (!c) return;
  sqlite3_close(c->db);
  pthread_mutex_destroy(&c->lock);
  lc_free(c);
}

/* Prepares and binds up to two blobs or texts; NULL on failure. The lock is held by the caller until `done`. */
static sqlite3_stmt *prepare(struct control *c, const char *sql) {
  sqlite3_stmt *st = NULL;
  return sqlite3_prepare_v2(c->db, sql, -1, &st, NULL) == SQLITE_OK ? st : NULL;
}
static void bind_blob(sqlite3_stmt *st, int i, const void *p, int n) { sqlite3_bind_blob(st, i, p, n, SQLITE_TRANSIENT); }
static void bind_text(sqlite3_stmt *st, int i, struct lc_slice t) { sqlite3_bind_text(st, i, (const char *)t.data, (int)t.len, SQLITE_TRANSIENT); }
static void column_bytes(sqlite3_stmt *st, int i, void *out, size_t n) {
  memset(out, 0, n);
  if ((size_t)sqlite3_column_bytes(st, i) == n) memcpy(out, sqlite3_column_blob(st, i), n);
}
/* Runs a statement that gives no rows. */
static enum lc_status finish(struct control *c, sqlite3_stmt *st, struct lc_error *err) {
  int rc = st ? sqlite3_step(st) : SQLITE_ERROR;
  enum lc_status s = rc == SQLITE_DONE ? LC_OK : failed(c, err);
  sqlite3_finalize(st);
  return s;
}
static enum lc_status exec(struct control *c, const char *sql, struct lc_error *err) { return sqlite3_exec(c->db, sql, NULL, NULL, NULL) == SQLITE_OK ? LC_OK : failed(c, err); }

/* One row with one 32-byte column found by a text. */
static enum lc_status get_by_text(struct control *c, const char *sql, struct lc_slice text, uint8_t out[32], struct lc_error *err) {
  pthread_mutex_lock(&c->lock);
  sqlite3_stmt *st = prepare(c, sql);
  enum lc_status s;
  if (!st) {
    s = failed(c, err);
  } else {
    bind_text(st, 1, text);
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) column_bytes(st, 0, out, 32);
    s = rc == SQLITE_ROW ? LC_OK : rc == SQLITE_DONE ? lc_fail(err, LC_NOT_FOUND, "`%.*s` not found", (int)text.len, (const char *)text.data) : failed(c, err);
    sqlite3_finalize(st);
  }
  pthread_mutex_unlock(&c->lock);
  return s;
}
enum lc_status control_resolve(struct control *c, struct lc_slice name, struct lc_identity *id, struct lc_error *err) { return get_by_text(c, "SELECT identity FROM name WHERE name = ?", name, id->bytes, err); }
enum lc_status control_tld_owner(struct control *c, struct lc_slice name, struct lc_identity *owner, struct lc_error *err) { return get_by_text(c, "SELECT owner FROM tld WHERE name = ?", name, owner->bytes, err); }

enum lc_status control_add_name(struct control *c, struct lc_slice name, const struct lc_identity *id, const struct lc_identity *owner, struct lc_error *err) {
  pthread_mutex_lock(&c->lock);
  enum lc_status s = exec(c, "BEGIN", err);
  if (s == LC_OK) {
    sqlite3_stmt *st = prepare(c, "INSERT OR IGNORE INTO tld VALUES (?, ?)");
    if (st) bind_text(st, 1, name), bind_blob(st, 2, owner->bytes, 32);
    s = finish(c, st, err);
    if (s == LC_OK) {
      st = prepare(c, "INSERT INTO name VALUES (?, ?, (SELECT COALESCE(MAX(seq), 0) + 1 FROM name))");
      if (st) bind_text(st, 1, name), bind_blob(st, 2, id->bytes, 32);
      s = finish(c, st, err);
    }
    if (s == LC_OK) s = exec(c, "COMMIT", err);
    if (s != LC_OK) exec(c, "ROLLBACK", NULL);
  }
  pthread_mutex_unlock(&c->lock);
  return s;
}

uint64_t control_new_replica(struct control *c, struct lc_error *err) {
  uint64_t id = 0;
  pthread_mutex_lock(&c->lock);
  sqlite3_stmt *st = prepare(c, "UPDATE counter SET next = next + 1 WHERE id = 1 RETURNING next");
  if (st && sqlite3_step(st) == SQLITE_ROW) id = (uint64_t)sqlite3_column_int64(st, 0);
  if (st && sqlite3_step(st) != SQLITE_DONE) id = 0;
  if (!id) failed(c, err);
  sqlite3_finalize(st);
  pthread_mutex_unlock(&c->lock);
  return id;
}

enum lc_status control_add(struct control *c, const struct control_row *row, struct lc_error *err) {
  pthread_mutex_lock(&c->lock);
  sqlite3_stmt *st = prepare(c, "INSERT INTO database VALUES (?, ?, ?, ?, ?, (SELECT COALESCE(MAX(seq), 0) + 1 FROM database))");
  if (st) {
    bind_blob(st, 1, row->id.bytes, 32);
    bind_blob(st, 2, row->owner.bytes, 32);
    sqlite3_bind_int(st, 3, row->kind);
    bind_blob(st, 4, row->program.bytes, 32);
    sqlite3_bind_int64(st, 5, (sqlite3_int64)row->replica_id);
  }
  enum lc_status s = finish(c, st, err);
  pthread_mutex_unlock(&c->lock);
  return s;
}

static void read_row(sqlite3_stmt *st, struct control_row *row) {
  column_bytes(st, 0, row->id.bytes, 32);
  column_bytes(st, 1, row->owner.bytes, 32);
  row->kind = (uint8_t)sqlite3_column_int(st, 2);
  column_bytes(st, 3, row->program.bytes, 32);
  row->replica_id = (uint64_t)sqlite3_column_int64(st, 4);
}
enum lc_status control_each(struct control *c, const struct lc_identity *owner, void (*fn)(void *ctx, const struct control_row *row), void *ctx, struct lc_error *err) {
  pthread_mutex_lock(&c->lock);
  sqlite3_stmt *st = prepare(c, "SELECT identity, owner, kind, program, replica_id FROM database WHERE ?1 IS NULL OR owner = ?1 ORDER BY seq");
  if (st && owner) bind_blob(st, 1, owner->bytes, 32);
  int rc = st ? SQLITE_ROW : SQLITE_ERROR;
  while (st && (rc = sqlite3_step(st)) == SQLITE_ROW) {
    struct control_row row;
    read_row(st, &row);
    fn(ctx, &row);
  }
  enum lc_status s = rc == SQLITE_DONE ? LC_OK : failed(c, err);
  sqlite3_finalize(st);
  pthread_mutex_unlock(&c->lock);
  return s;
}
enum lc_status control_get(struct control *c, const struct lc_identity *id, struct control_row *row, struct lc_error *err) {
  pthread_mutex_lock(&c->lock);
  sqlite3_stmt *st = prepare(c, "SELECT identity, owner, kind, program, replica_id FROM database WHERE identity = ?");
  int rc = SQLITE_ERROR;
  if (st) {
    bind_blob(st, 1, id->bytes, 32);
    rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) read_row(st, row);
  }
  enum lc_status s = rc == SQLITE_ROW ? LC_OK : rc == SQLITE_DONE ? lc_fail(err, LC_NOT_FOUND, "No such database.") : failed(c, err);
  sqlite3_finalize(st);
  pthread_mutex_unlock(&c->lock);
  return s;
}
enum lc_status control_names(struct control *c, const struct lc_identity *id, void (*fn)(void *ctx, const char *name), void *ctx, struct lc_error *err) {
  pthread_mutex_lock(&c->lock);
  sqlite3_stmt *st = prepare(c, "SELECT name FROM name WHERE identity = ? ORDER BY seq");
  int rc = SQLITE_ERROR;
  if (st) {
    bind_blob(st, 1, id->bytes, 32);
    while ((rc = sqlite3_step(st)) == SQLITE_ROW) fn(ctx, (const char *)sqlite3_column_text(st, 0));
  }
  enum lc_status s = rc == SQLITE_DONE ? LC_OK : failed(c, err);
  sqlite3_finalize(st);
  pthread_mutex_unlock(&c->lock);
  return s;
}
