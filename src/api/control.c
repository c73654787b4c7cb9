/* Owns: the control database (spec/04 §5): which databases exist, their owners, names and top-level names. SQLite, one connection, one lock.
 *
 * Invariants: a database exists once its row is there; a name, once registered, is never released. What a call has to change it changes in one transaction. A change whose
 * commit failed may be on the disk all the same, and would be there after a crash: it is overwritten before anything else is changed, and until that has succeeded
 * control_is_unsure. Callers: server.c, routes.
 */
#include "server.h"
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Names that were resolved lately: every request names its database. They hold as long as nothing at all has changed. */
enum { N_RESOLVED = 512 };
struct resolved { char name[NAME_MAX_BYTES]; uint8_t len; struct lc_identity id; }; /* len 0: none */
struct control { sqlite3 *db; pthread_mutex_t lock; char *data_dir; /* NULL: none */ atomic_bool is_unsure; int changes; struct resolved resolved[N_RESOLVED]; };

static enum lc_status failed(struct control *c, struct lc_error *err) { return lc_fail(err, LC_IO, "control database: %s", sqlite3_errmsg(c->db)); }

static const char schema_sql[] =
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
    "CREATE TABLE IF NOT EXISTS database(identity BLOB PRIMARY KEY, owner BLOB NOT NULL, kind INTEGER NOT NULL, program BLOB NOT NULL, replica_id INTEGER NOT NULL, seq INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS name(name TEXT PRIMARY KEY, identity BLOB NOT NULL, seq INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS tld(name TEXT PRIMARY KEY, owner BLOB NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS locked(identity BLOB PRIMARY KEY) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS energy(identity BLOB PRIMARY KEY, balance BLOB NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS kept_program(identity BLOB PRIMARY KEY, program BLOB NOT NULL);"
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
  if (data_dir && !(c->data_dir = lc_strdup_n(data_dir, strlen(data_dir)))) {
    control_close(c);
    lc_fail(err, LC_NOMEM, "out of memory");
    return NULL;
  }
  if (data_dir && folder_control_path(data_dir, path, err) != LC_OK) {
    control_close(c);
    return NULL;
  }
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
  lc_free(c->data_dir);
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

/* ---- changes: what is between begin, if that succeeded, and end ---- */

/* The pages of a failed commit lie behind the last good one in SQLite's log, where a recovery after a crash takes them for committed. Any other commit takes their place: a number of a replica that nobody gets. */
static void settle(struct control *c) {
  bool ok = exec(c, "BEGIN IMMEDIATE", NULL) == LC_OK;
  ok = ok && exec(c, "UPDATE counter SET next = next + 1 WHERE id = 1; COMMIT", NULL) == LC_OK;
  if (!ok && !atomic_load(&c->is_unsure)) lc_log(LC_LOG_ERROR, "the control database has failed: %s; what was to be changed last is done or not, and nothing more is changed until its disk is well", sqlite3_errmsg(c->db));
  if (!ok) exec(c, "ROLLBACK", NULL);
  atomic_store(&c->is_unsure, !ok);
}
static enum lc_status begin(struct control *c, struct lc_error *err) {
  if (atomic_load(&c->is_unsure)) settle(c);
  if (atomic_load(&c->is_unsure)) return lc_fail(err, LC_IO, "control database: its disk has failed, and it changes nothing until that is well");
  return exec(c, "BEGIN IMMEDIATE", err);
}
static enum lc_status end(struct control *c, enum lc_status s, struct lc_error *err) {
  bool commits = s == LC_OK;
  if (commits) s = exec(c, "COMMIT", err);
  if (s != LC_OK) exec(c, "ROLLBACK", NULL);
  if (s != LC_OK && commits) settle(c);
  return s;
}
bool control_is_unsure(struct control *c) { return atomic_load(&c->is_unsure); }

/* ---- names ---- */

/* One row with one 32-byte column found by a text. The lock is held. */
static enum lc_status find_by_text(struct control *c, const char *sql, struct lc_slice text, uint8_t out[32], struct lc_error *err) {
  sqlite3_stmt *st = prepare(c, sql);
  if (!st) return failed(c, err);
  bind_text(st, 1, text);
  int rc = sqlite3_step(st);
  if (rc == SQLITE_ROW) column_bytes(st, 0, out, 32);
  enum lc_status s = rc == SQLITE_ROW ? LC_OK : rc == SQLITE_DONE ? lc_fail(err, LC_NOT_FOUND, "`%.*s` not found", (int)text.len, (const char *)text.data) : failed(c, err);
  sqlite3_finalize(st);
  return s;
}
static enum lc_status get_by_text(struct control *c, const char *sql, struct lc_slice text, uint8_t out[32], struct lc_error *err) {
  pthread_mutex_lock(&c->lock);
  enum lc_status s = find_by_text(c, sql, text, out, err);
  pthread_mutex_unlock(&c->lock);
  return s;
}
enum lc_status control_resolve(struct control *c, struct lc_slice name, struct lc_identity *id, struct lc_error *err) {
  struct resolved *r = name.len && name.len <= sizeof r->name ? &c->resolved[lc_hash64(name.data, name.len, 0) % N_RESOLVED] : NULL;
  pthread_mutex_lock(&c->lock);
  if (c->changes != sqlite3_total_changes(c->db)) {
    for (uint32_t i = 0; i < N_RESOLVED; i++) c->resolved[i].len = 0;
    c->changes = sqlite3_total_changes(c->db);
  }
  enum lc_status s = LC_OK;
  if (r && r->len == name.len && memcmp(r->name, name.data, name.len) == 0) *id = r->id;
  else if ((s = find_by_text(c, "SELECT identity FROM name WHERE name = ?", name, id->bytes, err)) == LC_OK && r) {
    memcpy(r->name, name.data, name.len);
    r->len = (uint8_t)name.len;
    r->id = *id;
  }
  pthread_mutex_unlock(&c->lock);
  return s;
}
enum lc_status control_tld_owner(struct control *c, struct lc_slice name, struct lc_identity *owner, struct lc_error *err) { return get_by_text(c, "SELECT owner FROM tld WHERE name = ?", name, owner->bytes, err); }

/* Inside a transaction: registers a name and, if it is free, its TLD. */
static enum lc_status insert_name(struct control *c, struct lc_slice name, const struct lc_identity *id, const struct lc_identity *owner, struct lc_error *err) {
  uint8_t other[32];
  enum lc_status s = find_by_text(c, "SELECT identity FROM name WHERE name = ?", name, other, err);
  if (s != LC_NOT_FOUND) return s == LC_OK ? lc_fail(err, LC_EXISTS, "record with the name %.*s already exists", (int)name.len, (const char *)name.data) : s;
  s = find_by_text(c, "SELECT owner FROM tld WHERE name = ?", name, other, err);
  if (s == LC_OK && memcmp(other, owner->bytes, 32) != 0) return lc_fail(err, LC_DENIED, "%.*s is another's", (int)name.len, (const char *)name.data);
  if (s == LC_NOT_FOUND) {
    sqlite3_stmt *st = prepare(c, "INSERT INTO tld VALUES (?, ?)");
    if (st) bind_text(st, 1, name), bind_blob(st, 2, owner->bytes, 32);
    s = finish(c, st, err);
  }
  if (s != LC_OK) return s;
  sqlite3_stmt *st = prepare(c, "INSERT INTO name VALUES (?, ?, (SELECT COALESCE(MAX(seq), 0) + 1 FROM name))");
  if (st) bind_text(st, 1, name), bind_blob(st, 2, id->bytes, 32);
  return finish(c, st, err);
}

enum lc_status control_add_name(struct control *c, struct lc_slice name, const struct lc_identity *id, const struct lc_identity *owner, struct lc_error *err) {
  pthread_mutex_lock(&c->lock);
  enum lc_status s = begin(c, err);
  if (s == LC_OK) s = end(c, insert_name(c, name, id, owner, err), err);
  pthread_mutex_unlock(&c->lock);
  return s;
}

/* The first of the database's names whose TLD is not the caller's becomes *culprit. */
static enum lc_status check_present_names(struct control *c, const struct lc_identity *id, const struct lc_identity *caller, char **culprit, struct lc_error *err) {
  sqlite3_stmt *st = prepare(c, "SELECT name FROM name WHERE identity = ?1 AND EXISTS (SELECT 1 FROM tld WHERE tld.name = name.name AND owner <> ?2) ORDER BY seq LIMIT 1");
  if (!st) return failed(c, err);
  bind_blob(st, 1, id->bytes, 32);
  bind_blob(st, 2, caller->bytes, 32);
  int rc = sqlite3_step(st);
  enum lc_status s = rc == SQLITE_DONE ? LC_OK : rc == SQLITE_ROW ? lc_fail(err, LC_DENIED, "a present name is another's") : failed(c, err);
  if (rc == SQLITE_ROW) *culprit = lc_strdup_n(sqlite3_column_text(st, 0), (size_t)sqlite3_column_bytes(st, 0));
  sqlite3_finalize(st);
  return s;
}
static enum lc_status replace_names(struct control *c, const struct lc_identity *id, const struct lc_identity *caller, const struct lc_slice *names, uint32_t n, char **culprit, struct lc_error *err) {
  uint8_t other[32];
  enum lc_status s = LC_OK;
  for (uint32_t i = 0; i < n; i++) { /* in use, by whomever, comes before whose the TLDs are */
    s = find_by_text(c, "SELECT identity FROM name WHERE name = ?", names[i], other, err);
    if (s == LC_NOT_FOUND) continue;
    if (s == LC_OK) *culprit = lc_strdup_n(names[i].data, names[i].len);
    return s == LC_OK ? lc_fail(err, LC_EXISTS, "a name is in use") : s;
  }
  s = check_present_names(c, id, caller, culprit, err);
  if (s == LC_OK) {
    sqlite3_stmt *st = prepare(c, "DELETE FROM name WHERE identity = ?");
    if (st) bind_blob(st, 1, id->bytes, 32);
    s = finish(c, st, err);
  }
  for (uint32_t i = 0; i < n && s == LC_OK; i++) {
    bool twice = false;
    for (uint32_t k = 0; k < i; k++) twice = twice || lc_slice_eq(names[i], names[k]);
    if (!twice) s = insert_name(c, names[i], id, caller, err);
    if (s == LC_DENIED) *culprit = lc_strdup_n(names[i].data, names[i].len);
  }
  return s;
}
enum lc_status control_set_names(struct control *c, const struct lc_identity *id, const struct lc_identity *caller, const struct lc_slice *names, uint32_t n, char **culprit, struct lc_error *err) {
  *culprit = NULL;
  pthread_mutex_lock(&c->lock);
  enum lc_status s = begin(c, err);
  if (s == LC_OK) s = end(c, replace_names(c, id, caller, names, n, culprit, err), err);
  pthread_mutex_unlock(&c->lock);
  return s;
}

/* The greatest number among a folder's names. */
static void on_replica(void *arg, const char *name) {
  uint64_t *greatest = arg, n = strtoull(name, NULL, 10);
  if (n > *greatest) *greatest = n;
}
/* The number of a folder that is not there: where the control database was lost or is an older one, folders of others may be. */
uint64_t control_new_replica(struct control *c, struct lc_error *err) {
  char path[4096];
  uint64_t id = 0, least = 0;
  pthread_mutex_lock(&c->lock);
  for (int round = 0; round < 2; round++) {
    id = 0;
    if (begin(c, err) != LC_OK) break;
    sqlite3_stmt *st = prepare(c, "UPDATE counter SET next = MAX(next, ?) + 1 WHERE id = 1 RETURNING next");
    if (st) sqlite3_bind_int64(st, 1, (sqlite3_int64)least);
    if (st && sqlite3_step(st) == SQLITE_ROW) id = (uint64_t)sqlite3_column_int64(st, 0);
    if (st && sqlite3_step(st) != SQLITE_DONE) id = 0;
    enum lc_status s = id ? LC_OK : failed(c, err);
    sqlite3_finalize(st);
    if (end(c, s, err) != LC_OK) id = 0;
    snprintf(path, sizeof path, "%.4000s/replicas/%llu", c->data_dir ? c->data_dir : "", (unsigned long long)id);
    if (!id || !c->data_dir || access(path, F_OK) != 0) break;
    snprintf(path, sizeof path, "%.4000s/replicas", c->data_dir);
    int rc = lc_fs_posix.list(NULL, path, on_replica, &least);
    if (rc < 0 || round) lc_fail(err, LC_IO, "no folder for a new database can be found in %s", path), id = 0;
  }
  pthread_mutex_unlock(&c->lock);
  return id;
}

/* A statement about one database that gives no rows. */
static enum lc_status run_for(struct control *c, const char *sql, const struct lc_identity *id, struct lc_error *err) {
  sqlite3_stmt *st = prepare(c, sql);
  if (st) bind_blob(st, 1, id->bytes, 32);
  return finish(c, st, err);
}
/* program.data NULL: none is kept. */
static enum lc_status put_program(struct control *c, const struct lc_identity *id, struct lc_slice program, struct lc_error *err) {
  if (!program.data) return run_for(c, "DELETE FROM kept_program WHERE identity = ?", id, err);
  sqlite3_stmt *st = prepare(c, "INSERT OR REPLACE INTO kept_program VALUES (?, ?)");
  if (st) {
    bind_blob(st, 1, id->bytes, 32);
    sqlite3_bind_blob64(st, 2, program.data, program.len, SQLITE_STATIC);
  }
  return finish(c, st, err);
}
static enum lc_status put_row(struct control *c, const char *sql, const struct control_row *row, struct lc_error *err) {
  sqlite3_stmt *st = prepare(c, sql);
  if (st) {
    bind_blob(st, 1, row->id.bytes, 32);
    bind_blob(st, 2, row->owner.bytes, 32);
    sqlite3_bind_int(st, 3, row->kind);
    bind_blob(st, 4, row->program.bytes, 32);
    sqlite3_bind_int64(st, 5, (sqlite3_int64)row->replica_id);
  }
  return finish(c, st, err);
}
enum lc_status control_add(struct control *c, const struct control_row *row, struct lc_slice name, struct lc_slice program, struct lc_error *err) {
  pthread_mutex_lock(&c->lock);
  enum lc_status s = begin(c, err);
  if (s == LC_OK) {
    s = put_row(c, "INSERT INTO database VALUES (?, ?, ?, ?, ?, (SELECT COALESCE(MAX(seq), 0) + 1 FROM database))", row, err);
    if (s == LC_OK) s = put_program(c, &row->id, program, err);
    if (s == LC_OK && name.len) s = insert_name(c, name, &row->id, &row->owner, err);
    s = end(c, s, err);
  }
  pthread_mutex_unlock(&c->lock);
  return s;
}
enum lc_status control_replace(struct control *c, const struct control_row *row, struct lc_slice program, struct lc_error *err) {
  pthread_mutex_lock(&c->lock);
  enum lc_status s = begin(c, err);
  if (s == LC_OK) {
    s = put_row(c, "UPDATE database SET kind = ?3, program = ?4, replica_id = ?5 WHERE identity = ?1 AND ?2 IS NOT NULL", row, err);
    if (s == LC_OK && sqlite3_changes(c->db) != 1) s = lc_fail(err, LC_NOT_FOUND, "No such database.");
    if (s == LC_OK) s = put_program(c, &row->id, program, err);
    s = end(c, s, err);
  }
  pthread_mutex_unlock(&c->lock);
  return s;
}
enum lc_status control_delete(struct control *c, const struct lc_identity *id, struct lc_error *err) {
  pthread_mutex_lock(&c->lock);
  enum lc_status s = begin(c, err);
  if (s == LC_OK) {
    s = run_for(c, "DELETE FROM database WHERE identity = ?", id, err);
    if (s == LC_OK) s = run_for(c, "DELETE FROM locked WHERE identity = ?", id, err);
    if (s == LC_OK) s = run_for(c, "DELETE FROM kept_program WHERE identity = ?", id, err);
    s = end(c, s, err);
  }
  pthread_mutex_unlock(&c->lock);
  return s;
}
enum lc_status control_keep_program(struct control *c, const struct lc_identity *id, struct lc_slice program, struct lc_error *err) {
  pthread_mutex_lock(&c->lock);
  enum lc_status s = begin(c, err);
  if (s == LC_OK) s = end(c, put_program(c, id, program, err), err);
  pthread_mutex_unlock(&c->lock);
  return s;
}
enum lc_status control_kept_program(struct control *c, const struct lc_identity *id, struct lc_buf *program, struct lc_error *err) {
  pthread_mutex_lock(&c->lock);
  sqlite3_stmt *st = prepare(c, "SELECT program FROM kept_program WHERE identity = ?");
  if (st) bind_blob(st, 1, id->bytes, 32);
  int rc = st ? sqlite3_step(st) : SQLITE_ERROR;
  if (rc == SQLITE_ROW) lc_buf_append(program, sqlite3_column_blob(st, 0), (size_t)sqlite3_column_bytes(st, 0));
  enum lc_status s = rc == SQLITE_DONE ? LC_NOT_FOUND : rc != SQLITE_ROW ? failed(c, err) : lc_buf_ok(program) ? LC_OK : lc_fail(err, LC_NOMEM, "out of memory");
  sqlite3_finalize(st);
  pthread_mutex_unlock(&c->lock);
  return s;
}
enum lc_status control_set_lock(struct control *c, const struct lc_identity *id, bool locked, struct lc_error *err) {
  pthread_mutex_lock(&c->lock);
  enum lc_status s = begin(c, err);
  if (s == LC_OK) s = end(c, run_for(c, locked ? "INSERT OR IGNORE INTO locked VALUES (?)" : "DELETE FROM locked WHERE identity = ?", id, err), err);
  pthread_mutex_unlock(&c->lock);
  return s;
}
enum lc_status control_energy(struct control *c, const struct lc_identity *id, unsigned __int128 amount, __int128 *balance, struct lc_error *err) {
  const __int128 max = (__int128)(~(unsigned __int128)0 >> 1);
  *balance = 0;
  pthread_mutex_lock(&c->lock);
  sqlite3_stmt *st = prepare(c, "SELECT balance FROM energy WHERE identity = ?");
  if (st) bind_blob(st, 1, id->bytes, 32);
  int rc = st ? sqlite3_step(st) : SQLITE_ERROR;
  if (rc == SQLITE_ROW) column_bytes(st, 0, balance, sizeof *balance);
  enum lc_status s = rc == SQLITE_ROW || rc == SQLITE_DONE ? LC_OK : failed(c, err);
  sqlite3_finalize(st);
  if (s == LC_OK && amount && (s = begin(c, err)) == LC_OK) {
    *balance = amount > (unsigned __int128)max - (unsigned __int128)*balance ? max : *balance + (__int128)amount;
    if ((st = prepare(c, "INSERT OR REPLACE INTO energy VALUES (?, ?)"))) {
      bind_blob(st, 1, id->bytes, 32);
      bind_blob(st, 2, balance, sizeof *balance);
    }
    s = end(c, finish(c, st, err), err);
  }
  pthread_mutex_unlock(&c->lock);
  return s;
}
enum lc_status control_is_locked(struct control *c, const struct lc_identity *id, bool *locked, struct lc_error *err) {
  pthread_mutex_lock(&c->lock);
  sqlite3_stmt *st = prepare(c, "SELECT 1 FROM locked WHERE identity = ?");
  if (st) bind_blob(st, 1, id->bytes, 32);
  int rc = st ? sqlite3_step(st) : SQLITE_ERROR;
  *locked = rc == SQLITE_ROW;
  enum lc_status s = rc == SQLITE_ROW || rc == SQLITE_DONE ? LC_OK : failed(c, err);
  sqlite3_finalize(st);
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
