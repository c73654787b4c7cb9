/* Owns: environment values (spec/07 §7): what an update makes of the stored map, whether a program's declarations accept it, st_env.
 *
 * Invariants: a map is stored whole or not at all, in the transaction of the publish it belongs to, after it was found good for the program that will run; texts
 * of errors never contain a value. Callers: open.c (first publish), update.c.
 */
#include "db_internal.h"
#include <stdlib.h>

enum { MAX_STORED = 256, MAX_VALUE_BYTES = 8192, MAX_KEY_BYTES = 256 };

bool lc_env_key_is_good(struct lc_slice key) {
  if (key.len == 0 || key.len > MAX_KEY_BYTES) return false;
  for (size_t i = 0; i < key.len; i++) {
    uint8_t c = key.data[i];
    bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
    if (!letter && c != '_' && !(i && c >= '0' && c <= '9')) return false;
  }
  return true;
}

struct entry { struct lc_slice key, value; bool is_stored, is_kept; }; /* is_stored: of the old map; is_kept: in the new one */
struct map { struct lc_arena arena; struct entry *entries; uint32_t n, cap; };

static struct entry *find(const struct map *m, struct lc_slice key, bool is_stored) {
  for (uint32_t i = 0; i < m->n; i++)
    if (m->entries[i].is_stored == is_stored && lc_slice_eq(m->entries[i].key, key)) return &m->entries[i];
  return NULL;
}
static struct entry *effective(const struct map *m, struct lc_slice key) {
  struct entry *e = find(m, key, false);
  if (e) return e;
  e = find(m, key, true);
  return e && e->is_kept ? e : NULL;
}

static enum lc_status bad_key(struct lc_error *err, struct lc_slice key, const char *text) {
  return lc_fail(err, LC_INVALID, "environment key \"%.*s\": %s", (int)key.len, (const char *)key.data, text);
}

static enum lc_status read_stored(struct lc_db *db, const struct lc_db_env_update *u, struct map *m) {
  struct lc_read_view view = {.ds = db->ds};
  struct lc_row_iter *it;
  uint64_t n = lc_view_row_count(view, LC_ST_ENV);
  m->cap = (uint32_t)n + u->n_changes;
  m->entries = lc_arena_alloc_zero(&m->arena, m->cap ? m->cap : 1, sizeof *m->entries);
  if (!m->entries || lc_view_scan(view, LC_ST_ENV, &it) != LC_ERRNO_OK) return LC_NOMEM;
  for (struct lc_slice row; m->n < n && (row = lc_row_iter_next(it)).data;) {
    struct lc_slice copy = lc_arena_copy(&m->arena, row); /* (key, value) */
    struct lc_reader r = lc_reader(copy);
    struct lc_slice key = lc_read_bytes(&r), value = lc_read_bytes(&r);
    m->entries[m->n++] = (struct entry){.key = key, .value = value, .is_stored = true, .is_kept = !u->remove_all};
    if (!copy.data) break;
  }
  lc_row_iter_close(it);
  return m->arena.failed ? LC_NOMEM : LC_OK;
}

/* Old map, less what is removed, overlaid with what is supplied. */
static enum lc_status overlay(const struct lc_db_env_update *u, struct map *m, struct lc_error *err) {
  for (uint32_t i = 0; i < u->n_changes; i++) {
    const struct lc_db_env_change *c = &u->changes[i];
    for (uint32_t k = 0; k < i; k++)
      if (lc_slice_eq(u->changes[k].key, c->key)) return bad_key(err, c->key, c->is_removal || u->changes[k].is_removal ? "conflicting environment update operations" : "duplicate declaration");
    if (!lc_env_key_is_good(c->key)) return lc_fail(err, LC_INVALID, "invalid name");
    struct entry *stored = find(m, c->key, true);
    bool is_same = stored && !c->is_removal && lc_slice_eq(stored->value, c->value); /* stays, also when everything was to be removed first */
    if (stored) stored->is_kept = is_same;
    if (!c->is_removal && !is_same) m->entries[m->n++] = (struct entry){.key = c->key, .value = c->value, .is_kept = true};
  }
  uint32_t kept = 0;
  for (uint32_t i = 0; i < m->n; i++) {
    const struct entry *e = &m->entries[i];
    if (!e->is_kept) continue;
    kept++;
    if (e->value.len > MAX_VALUE_BYTES) return bad_key(err, e->key, "value exceeds size limit");
  }
  return kept > MAX_STORED ? lc_fail(err, LC_INVALID, "too many stored values") : LC_OK;
}

static bool satisfies(const struct lc_env_def *d, struct lc_slice value) {
  if (d->kind == LC_ENV_STRING) return true;
  for (uint32_t i = 0; i < d->n_literals; i++)
    if (lc_slice_eq(d->literals[i], value)) return true;
  return false;
}
static int by_name(const void *a, const void *b) { return lc_slice_compare((*(const struct lc_env_def *const *)a)->name, (*(const struct lc_env_def *const *)b)->name); }

static enum lc_status check(const struct lc_module_def *def, struct lc_db_env_update *u, struct map *m, struct lc_error *err) {
  const struct lc_env_def **missing = lc_arena_alloc(&m->arena, (def->n_env ? def->n_env : 1) * sizeof *missing);
  uint32_t n_missing = 0;
  if (!missing) return lc_fail(err, LC_NOMEM, "out of memory");
  for (uint32_t i = 0; i < def->n_env; i++) {
    const struct lc_env_def *d = &def->env[i];
    const struct entry *e = effective(m, d->name);
    if (!e && !d->optional) missing[n_missing++] = d;
    else if (e && !satisfies(d, e->value)) return bad_key(err, d->name, "value does not satisfy its declared string constraint");
  }
  if (!n_missing) return LC_OK;
  qsort(missing, n_missing, sizeof *missing, by_name);
  lc_buf_clear(&u->missing);
  for (uint32_t i = 0; i < n_missing; i++) {
    lc_buf_u8(&u->missing, i ? ',' : '[');
    lc_json_escape(&u->missing, missing[i]->name);
  }
  lc_buf_u8(&u->missing, ']');
  return bad_key(err, missing[0]->name, "required value is missing"), err->status = LC_NOT_FOUND;
}

static enum lc_status store(struct lc_tx *tx, const struct map *m, bool *changed, struct lc_error *err) {
  struct lc_buf row = {0};
  int rc = LC_ERRNO_OK;
  for (int pass = 0; pass < 2; pass++) /* what goes first: keys are unique */
    for (uint32_t i = 0; i < m->n && rc == LC_ERRNO_OK; i++) {
      const struct entry *e = &m->entries[i];
      bool found;
      if (e->is_stored ? pass == 1 || e->is_kept : pass == 0 || !e->is_kept) continue;
      lc_buf_clear(&row);
      lc_buf_bsatn_bytes(&row, e->key);
      lc_buf_bsatn_bytes(&row, e->value);
      if (!lc_buf_ok(&row)) rc = LC_ERRNO_TRAP;
      else rc = e->is_stored ? lc_tx_delete_row(tx, LC_ST_ENV, lc_buf_slice(&row), &found, err) : lc_tx_insert(tx, LC_ST_ENV, lc_buf_slice(&row), NULL, NULL, err);
      *changed = true;
    }
  lc_buf_free(&row);
  return rc == LC_ERRNO_OK ? LC_OK : lc_fail(err, LC_NOMEM, "out of memory");
}

enum lc_status db_env_apply(struct lc_db *db, struct lc_tx *tx, const struct lc_module_def *def, struct lc_db_env_update *u, bool *changed, struct lc_error *err) {
  struct map m = {0};
  *changed = false;
  enum lc_status st = read_stored(db, u, &m);
  if (st != LC_OK) lc_fail(err, st, "out of memory");
  if (st == LC_OK) st = overlay(u, &m, err);
  if (st == LC_OK) st = check(def, u, &m, err);
  u->is_refused = st == LC_INVALID || st == LC_NOT_FOUND;
  if (st == LC_OK) st = store(tx, &m, changed, err);
  lc_arena_free(&m.arena);
  return st;
}

static int by_bytes(const void *a, const void *b) { return lc_slice_compare(*(const struct lc_slice *)a, *(const struct lc_slice *)b); }

enum lc_status lc_db_env_keys(struct lc_db *db, struct lc_buf *out) {
  struct lc_read_view view = {.ds = db->ds};
  struct lc_row_iter *it;
  uint64_t n = lc_view_row_count(view, LC_ST_ENV), got = 0;
  struct lc_slice *keys = lc_alloc((n ? n : 1) * sizeof *keys);
  if (!keys || lc_view_scan(view, LC_ST_ENV, &it) != LC_ERRNO_OK) {
    lc_free(keys);
    return LC_NOMEM;
  }
  for (struct lc_slice row; got < n && (row = lc_row_iter_next(it)).data;) { /* copied: a row lives until the next */
    struct lc_reader r = lc_reader(row);
    struct lc_slice key = lc_read_bytes(&r);
    char *copy = lc_strdup_n(key.data, key.len);
    if (!copy) break;
    keys[got++] = lc_slice(copy, key.len);
  }
  lc_row_iter_close(it);
  qsort(keys, got, sizeof *keys, by_bytes);
  lc_buf_u8(out, '[');
  for (uint64_t i = 0; i < got; i++) {
    if (i) lc_buf_u8(out, ',');
    lc_json_escape(out, keys[i]);
    lc_free((void *)(uintptr_t)keys[i].data);
  }
  lc_buf_u8(out, ']');
  lc_free(keys);
  return got == n && lc_buf_ok(out) ? LC_OK : LC_NOMEM;
}
