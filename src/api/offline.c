/* Owns: work on a data folder while no server has it: taking in replica folders of others, verifying everything (spec/06 §10, §12).
 *
 * Invariants: the folder's lock is held meanwhile; an import adds to the control database only what has been copied, synced and verified. Callers: cli/.
 */
#include "server.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COPY_BYTES = 1 << 20 };

struct reporter { void (*report)(void *ctx, bool is_bad, const char *text); void *ctx; };
static void bad_only(void *arg, bool is_bad, const char *text) {
  struct reporter *r = arg;
  if (is_bad && r->report) r->report(r->ctx, true, text);
}

/* ---- import ---- */

static enum lc_status copy_file(const struct lc_fs *fs, const char *from, const char *to, uint8_t *buffer, struct lc_error *err) {
  int in = fs->open(fs->ctx, from, false), out = in < 0 ? in : fs->open(fs->ctx, to, true), rc = out < 0 ? out : 0;
  for (uint64_t at = 0; rc == 0;) {
    int64_t got = fs->read_at(fs->ctx, in, buffer, COPY_BYTES, at);
    if (got <= 0) {
      rc = (int)got;
      break;
    }
    rc = fs->write_at(fs->ctx, out, buffer, (size_t)got, at);
    at += (uint64_t)got;
  }
  if (rc == 0) rc = fs->sync(fs->ctx, out);
  if (out >= 0) fs->close(fs->ctx, out);
  if (in >= 0) fs->close(fs->ctx, in);
  return rc == 0 ? LC_OK : lc_fail(err, LC_IO, "cannot copy %s to %s: %s", from, to, strerror(-rc));
}

struct copy { const struct lc_fs *fs; const char *from, *to; uint8_t *buffer; enum lc_status status; struct lc_error *err; };
static void on_segment(void *arg, const char *name) {
  struct copy *c = arg;
  char from[4096], to[4096];
  size_t n = strlen(name);
  if (c->status != LC_OK || n != 29 || strcmp(name + 20, ".stdb.log") != 0) return;
  snprintf(from, sizeof from, "%s/clog/%s", c->from, name);
  snprintf(to, sizeof to, "%s/clog/%s", c->to, name);
  c->status = copy_file(c->fs, from, to, c->buffer, c->err);
}

static void on_left(void *arg, const char *name) {
  char path[4400];
  snprintf(path, sizeof path, "%s/%s", (const char *)arg, name);
  unlink(path); /* a folder stays, and so do . and .. */
}
void server_remove_replica(const char *dir) {
  static const char *const parts[] = {"/clog", "/module_logs", ""};
  char path[4100];
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    snprintf(path, sizeof path, "%.4000s%s", dir, parts[i]);
    lc_fs_posix.list(NULL, path, on_left, path);
    rmdir(path);
  }
}

/* LC_CONFLICT: a server has the folder that is to be taken in. Nothing is written there. */
static enum lc_status check_unused(const char *replica, struct lc_error *err) {
  char path[4100];
  snprintf(path, sizeof path, "%.4000s/db.lock", replica);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  bool taken = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  if (fd >= 0) close(fd);
  return taken ? lc_fail(err, LC_CONFLICT, "%s: failed to lock: another process has it; stop its server first", path) : LC_OK;
}

/* The segments, their names durable. */
static enum lc_status copy_log(const struct lc_fs *fs, const char *replica, const char *data_dir, const char *to, struct lc_error *err) {
  char path[4096];
  struct copy c = {.fs = fs, .from = replica, .to = to, .buffer = lc_alloc(COPY_BYTES), .err = err};
  if (!c.buffer) return lc_fail(err, LC_NOMEM, "out of memory");
  snprintf(path, sizeof path, "%s/replicas", data_dir);
  int rc = fs->make_dir(fs->ctx, path);
  if (rc == 0) rc = fs->sync_dir(fs->ctx, data_dir);
  if (rc == 0) rc = fs->make_dir(fs->ctx, to);
  if (rc == 0) rc = fs->sync_dir(fs->ctx, path);
  snprintf(path, sizeof path, "%.4000s/clog", to);
  if (rc == 0) rc = fs->make_dir(fs->ctx, path);
  if (rc == 0) rc = fs->sync_dir(fs->ctx, to);
  if (rc != 0) c.status = lc_fail(err, LC_IO, "cannot create folder %s: %s", to, strerror(-rc));
  char source[4096];
  snprintf(source, sizeof source, "%s/clog", replica);
  if (rc == 0 && (rc = fs->list(fs->ctx, source, on_segment, &c)) != 0) c.status = lc_fail(err, LC_IO, "cannot list %s: %s", source, strerror(-rc));
  if (c.status == LC_OK && (rc = fs->sync_dir(fs->ctx, path)) != 0) c.status = lc_fail(err, LC_IO, "cannot sync folder %s: %s", path, strerror(-rc));
  lc_free(c.buffer);
  return c.status;
}

enum lc_status lc_server_import(const char *data_dir, const char *replica, const char *name, struct lc_identity *id, uint64_t *n_transactions, struct lc_error *err) {
  return server_import(&lc_fs_posix, data_dir, replica, name, id, n_transactions, err);
}
enum lc_status server_import(const struct lc_fs *fs, const char *data_dir, const char *replica, const char *name, struct lc_identity *id, uint64_t *n_transactions, struct lc_error *err) {
  struct lc_db_checked found, copied;
  struct reporter none = {0};
  struct control *control = NULL;
  struct control_row row = {0};
  struct lc_identity other;
  char to[4096], hex[65];
  int lock = -1;
  enum lc_status st = server_take_lock(data_dir, &lock, err);
  if (st == LC_OK && !(control = control_open(data_dir, err))) st = err->status;
  if (st == LC_OK) st = check_unused(replica, err);
  if (st == LC_OK) st = lc_db_check(&lc_env_system, fs, replica, &found, bad_only, &none, err);
  if (st == LC_OK) {
    row = (struct control_row){.id = found.database, .owner = found.owner, .kind = found.program_kind, .program = found.program_hash};
    lc_identity_hex(&row.id, hex);
    struct control_row there;
    enum lc_status known = control_get(control, &row.id, &there, err);
    if (known == LC_OK) st = lc_fail(err, LC_EXISTS, "database %s is in %s already", hex, data_dir);
    else if (known != LC_NOT_FOUND) st = known;
  }
  if (st == LC_OK) {
    enum lc_status taken = control_resolve(control, lc_slice_str(name), &other, err);
    if (taken == LC_OK) st = lc_fail(err, LC_EXISTS, "the name %s is in use in %s", name, data_dir);
    else if (taken != LC_NOT_FOUND) st = taken;
  }
  if (st == LC_OK && !(row.replica_id = control_new_replica(control, err))) st = err->status;
  if (st == LC_OK) {
    snprintf(to, sizeof to, "%s/replicas/%llu", data_dir, (unsigned long long)row.replica_id);
    st = copy_log(fs, replica, data_dir, to, err);
    if (st == LC_OK) st = lc_db_check(&lc_env_system, fs, to, &copied, bad_only, &none, err); /* without its snapshots, which are not ours */
    if (st == LC_OK && copied.n_transactions != found.n_transactions) st = lc_fail(err, LC_CONFLICT, "%s changed while it was copied: expected transactions up to %llu, found them up to %llu", replica, (unsigned long long)found.n_transactions, (unsigned long long)copied.n_transactions);
    if (st == LC_OK) st = control_add(control, &row, lc_slice_str(name), lc_slice(NULL, 0), err);
    if (st != LC_OK && !control_is_unsure(control)) server_remove_replica(to); /* else it may be there after all */
  }
  if (st == LC_OK) {
    *id = row.id;
    *n_transactions = copied.n_transactions;
  }
  control_close(control);
  server_give_lock(data_dir, lock);
  return st;
}

/* ---- check ---- */

struct folder_check { const char *data_dir; struct reporter out; bool is_bad; struct control_row rows[1024]; uint32_t n, missing; };
static void on_row(void *arg, const struct control_row *row) {
  struct folder_check *c = arg;
  if (c->n < sizeof c->rows / sizeof *c->rows) c->rows[c->n++] = *row;
  else c->missing++;
}
static void say(struct folder_check *c, bool is_bad, const char *text) {
  c->is_bad = c->is_bad || is_bad;
  c->out.report(c->out.ctx, is_bad, text);
}
static void on_report(void *arg, bool is_bad, const char *text) { say(arg, is_bad, text); }

static void check_agreement(struct folder_check *c, const char *dir, const struct control_row *row, const struct lc_db_checked *found) {
  char text[1024], want[65], got[65];
  const struct { const char *what; const struct lc_identity *want, *got; } pairs[] = {{"database identity", &row->id, &found->database}, {"owner identity", &row->owner, &found->owner}};
  for (int i = 0; i < 2; i++) {
    if (memcmp(pairs[i].want, pairs[i].got, sizeof *pairs[i].want) == 0) continue;
    lc_identity_hex(pairs[i].want, want);
    lc_identity_hex(pairs[i].got, got);
    snprintf(text, sizeof text, "%.600s: mismatched %s: expected %s by the control database, found %s in the log", dir, pairs[i].what, want, got);
    say(c, true, text);
  }
}
/* Locked while it is read, so that nobody writes it meanwhile. */
static void check_replica(struct folder_check *c, const char *dir, const struct control_row *row) {
  char path[4096], text[4300];
  struct lc_db_checked found;
  struct lc_error err;
  struct stat st;
  snprintf(path, sizeof path, "%s/db.lock", dir);
  int lock = stat(path, &st) == 0 ? lc_fs_posix.lock(NULL, path) : -ENOENT; /* none is made */
  if (lock == -EWOULDBLOCK) {
    snprintf(text, sizeof text, "%s: failed to lock: another process has it", path);
    say(c, true, text);
    return;
  }
  if (lc_db_check(&lc_env_system, &lc_fs_posix, dir, &found, on_report, c, &err) == LC_OK && row) check_agreement(c, dir, row, &found);
  if (lock >= 0) lc_fs_posix.close(NULL, lock);
}

static void check_strays(struct folder_check *c) {
  char path[1024], text[1500];
  snprintf(path, sizeof path, "%.1000s/replicas", c->data_dir);
  DIR *d = opendir(path);
  for (struct dirent *e; d && (e = readdir(d));) {
    bool known = e->d_name[0] == '.' || c->missing;
    for (uint32_t i = 0; i < c->n && !known; i++) known = strtoull(e->d_name, NULL, 10) == c->rows[i].replica_id;
    if (known) continue;
    snprintf(text, sizeof text, "%s/%s: no database of the control database; left by a deletion, a reset or an interrupted publish", path, e->d_name);
    say(c, false, text);
  }
  if (d) closedir(d);
}

enum lc_status lc_server_check(const char *dir, void (*report)(void *ctx, bool is_bad, const char *text), void *ctx, struct lc_error *err) {
  char path[4096];
  struct stat st;
  int lock = -1;
  struct folder_check *c = lc_alloc_zero(1, sizeof *c);
  if (!c) return lc_fail(err, LC_NOMEM, "out of memory");
  c->data_dir = dir;
  c->out = (struct reporter){report, ctx};
  enum lc_status status = LC_OK;
  snprintf(path, sizeof path, "%s/clog", dir);
  if (stat(path, &st) == 0) {
    check_replica(c, dir, NULL);
  } else {
    struct control *control = NULL;
    if (!folder_has_control(dir)) status = lc_fail(err, LC_NOT_FOUND, "%s is neither a data folder (it has no control-db) nor a replica folder (it has no clog)", dir);
    if (status == LC_OK) status = server_take_lock(dir, &lock, err);
    if (status == LC_OK && !(control = control_open(dir, err))) status = err->status;
    if (status == LC_OK) status = control_each(control, NULL, on_row, c, err);
    control_close(control);
    for (uint32_t i = 0; i < c->n && status == LC_OK; i++) {
      char replica[4096];
      snprintf(replica, sizeof replica, "%.4000s/replicas/%llu", dir, (unsigned long long)c->rows[i].replica_id);
      check_replica(c, replica, &c->rows[i]);
    }
    if (status == LC_OK) check_strays(c);
    if (status == LC_OK && c->missing) status = lc_fail(err, LC_LIMIT, "%u databases more than are checked at once: check their replica folders one by one", c->missing);
    server_give_lock(dir, lock);
  }
  if (status == LC_OK && c->is_bad) status = lc_fail(err, LC_CORRUPT, "%s is damaged", dir);
  lc_free(c);
  return status;
}
