/* Owns: environment values as requests bring them (spec/07 §7.2): the headers of a publish, JSON objects; and the routes about the environment alone (§7.4).
 *
 * Invariants: no answer and no log line contains a value. Callers: routes.c, routes_publish.c.
 */
#include "server.h"
#include <jansson.h>

enum { MAX_CHANGES = 4096, MAX_VALUE_BYTES = 8192 };

static enum lc_status bad_header(struct lc_error *err, const char *name, const char *why) { return lc_fail(err, LC_INVALID, "invalid header `%s`: %s", name, why); }

static enum lc_status add(struct env_request *e, const char *header, struct lc_slice key, struct lc_slice value, bool is_removal, struct lc_error *err) {
  if (!lc_env_key_is_good(key)) return bad_header(err, header, "invalid POSIX environment variable name (maximum 256 bytes)");
  if (value.len > MAX_VALUE_BYTES) return bad_header(err, header, "environment value too large (maximum 8192 bytes)");
  if (e->update.n_changes == MAX_CHANGES) return bad_header(err, header, "too many entries");
  for (uint32_t i = 0; i < e->update.n_changes; i++)
    if (e->changes[i].is_removal == is_removal && lc_slice_eq(e->changes[i].key, key))
      return is_removal ? lc_fail(err, LC_INVALID, "environment key \"%.*s\": conflicting environment update operations", (int)key.len, (const char *)key.data) : bad_header(err, header, "a key appears twice");
  if (e->update.n_changes == e->cap) {
    uint32_t cap = e->cap ? e->cap * 2 : 16;
    struct lc_db_env_change *more = lc_arena_alloc(&e->arena, cap * sizeof *more);
    if (!more) return lc_fail(err, LC_NOMEM, "out of memory");
    if (e->update.n_changes) memcpy(more, e->changes, e->update.n_changes * sizeof *more);
    e->changes = more;
    e->cap = cap;
  }
  struct lc_db_env_change *c = &e->changes[e->update.n_changes];
  *c = (struct lc_db_env_change){lc_arena_copy(&e->arena, key), lc_arena_copy(&e->arena, value), is_removal};
  if (!c->key.data || !c->value.data) return lc_fail(err, LC_NOMEM, "out of memory");
  e->update.n_changes++;
  e->update.changes = e->changes;
  return LC_OK;
}

static bool is_blank(uint8_t c) { return c == ' ' || c == '\t'; }
static struct lc_slice trimmed(struct lc_slice s) {
  while (s.len && is_blank(s.data[0])) s.data++, s.len--;
  while (s.len && is_blank(s.data[s.len - 1])) s.len--;
  return s;
}

/* The value that begins at *at of text: bare, '…' or "…" (a JSON string); *at moves to the comma behind it or the end. NULL: good; else what is wrong. */
static const char *take_value(struct lc_slice text, size_t *at, struct lc_buf *out) {
  size_t start = *at, end = start;
  uint8_t quote = start < text.len ? text.data[start] : 0;
  if (quote != '"' && quote != '\'') {
    while (end < text.len && text.data[end] != ',') end++;
    *at = end;
    struct lc_slice v = trimmed(lc_slice(text.data + start, end - start));
    if (v.data > text.data + start) return "blanks before a value"; /* `A= x` */
    for (size_t i = 0; i < v.len; i++)
      if (v.data[i] <= ' ' || v.data[i] > '~' || v.data[i] == '"' || v.data[i] == '\'' || v.data[i] == '\\') return "a bare value with a character that needs quotes";
    lc_buf_slice_append(out, v);
    return NULL;
  }
  for (end = start + 1; end < text.len && text.data[end] != quote; end++) end += quote == '"' && text.data[end] == '\\';
  if (end >= text.len) return "a quote is not closed";
  if (quote == '\'') {
    lc_buf_append(out, text.data + start + 1, end - start - 1);
  } else {
    json_error_t why;
    json_t *j = json_loadb((const char *)text.data + start, end + 1 - start, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    if (!j || !json_is_string(j)) return json_decref(j), "not a JSON string";
    lc_buf_append(out, json_string_value(j), json_string_length(j));
    json_decref(j);
  }
  for (end++; end < text.len && is_blank(text.data[end]); end++) {}
  *at = end;
  return end == text.len || text.data[end] == ',' ? NULL : "something follows the closing quote";
}

static enum lc_status take_values(struct env_request *e, struct lc_slice text, struct lc_error *err) {
  static const char header[] = "spacetime-environment";
  for (size_t i = 0; i < text.len; i++)
    if ((text.data[i] < ' ' && text.data[i] != '\t') || text.data[i] >= 0x7f) return bad_header(err, header, "a character that must be escaped");
  struct lc_buf value = {0};
  enum lc_status st = LC_OK;
  for (size_t at = 0; at < text.len && st == LC_OK; at++) { /* at is behind a comma */
    while (at < text.len && is_blank(text.data[at])) at++;
    if (at == text.len || text.data[at] == ',') continue;
    size_t name = at;
    while (at < text.len && text.data[at] != '=' && text.data[at] != ',') at++;
    if (at == text.len || text.data[at] == ',') {
      st = bad_header(err, header, "an entry without `=`");
      break;
    }
    struct lc_slice key = lc_slice(text.data + name, at - name);
    at++;
    lc_buf_clear(&value);
    const char *why = take_value(text, &at, &value);
    if (why) st = bad_header(err, header, why);
    else if (!lc_buf_ok(&value)) st = lc_fail(err, LC_NOMEM, "out of memory");
    else st = add(e, header, key, lc_buf_slice(&value), false, err);
  }
  lc_buf_free(&value);
  return st;
}

static enum lc_status take_removals(struct env_request *e, struct lc_slice text, bool may_remove_all, bool *any, struct lc_error *err) {
  static const char header[] = "spacetime-environment-remove";
  enum lc_status st = LC_OK;
  for (size_t at = 0; at <= text.len && st == LC_OK;) {
    size_t end = at;
    while (end < text.len && text.data[end] != ',') end++;
    struct lc_slice key = trimmed(lc_slice(text.data + at, end - at));
    at = end + 1;
    if (e->update.remove_all) st = bad_header(err, header, "`*` stands alone");
    else if (lc_slice_eq_str(key, "*") && (!may_remove_all || *any)) st = bad_header(err, header, may_remove_all ? "`*` stands alone" : "`*` is not possible here");
    else if (lc_slice_eq_str(key, "*")) e->update.remove_all = true;
    else if (key.len || text.len) st = add(e, header, key, lc_slice((const uint8_t *)"", 0), true, err);
    *any = true;
  }
  return st;
}

enum lc_status env_read_headers(const struct lc_http_request *r, bool may_remove_all, struct env_request *e, struct lc_error *err) {
  enum lc_status st = LC_OK;
  bool any = false;
  for (uint32_t i = 0; i < r->n_headers && st == LC_OK; i++) {
    if (lc_slice_eq_str(r->headers[i].name, "spacetime-environment")) st = take_values(e, r->headers[i].value, err);
    else if (lc_slice_eq_str(r->headers[i].name, "spacetime-environment-remove")) st = take_removals(e, r->headers[i].value, may_remove_all, &any, err);
  }
  return st;
}
void env_request_free(struct env_request *e) {
  lc_arena_free(&e->arena);
  lc_buf_free(&e->update.missing);
}
void env_answer_error(struct answer *a, const char *key, const struct env_request *e, const struct lc_error *err) {
  struct lc_buf *b = &a->body;
  if (err->status != LC_CONFLICT && !e->update.missing.len) {
    answer_text(a, 400, err->text);
    return;
  }
  a->status = err->status == LC_CONFLICT ? 409 : 400;
  a->content_type = "application/json";
  lc_buf_clear(b);
  if (err->status == LC_CONFLICT) lc_buf_printf(b, "{\"%s\":\"VersionConflict\"}", key);
  else lc_buf_printf(b, "{\"%s\":{\"MissingRequiredEnvironment\":{\"keys\":%.*s}}}", key, (int)e->update.missing.len, (const char *)e->update.missing.data);
  if (!lc_buf_ok(b)) answer_text(a, 500, "out of memory");
}

/* ---- routes ---- */

struct job { struct server *server; struct answer *answer; struct database *database; struct env_request env; struct lc_hash expected; };

static void finish(struct job *j, uint64_t offset) {
  server_answer(j->server, j->answer, j->database, offset);
  database_unref(j->database);
  env_request_free(&j->env);
  lc_free(j);
}
static struct job *job_new(struct request *q, struct database *d) {
  struct lc_error err;
  struct job *j = request_is_owner(q, d) ? lc_alloc_zero(1, sizeof *j) : NULL;
  if (j) {
    *j = (struct job){.server = q->server, .answer = request_answer(q, 200), .database = d};
    database_ref(d);
  } else if (request_is_owner(q, d)) {
    request_text(q, 500, "out of memory");
  } else {
    not_authorized(&err, &q->claims.identity, &d->identity, "update database");
    request_text(q, 403, err.text);
  }
  return j;
}
static void submit(struct request *q, struct job *j, void (*fn)(struct lc_db *, void *)) {
  struct lc_db_batch *batch = server_batch(lc_conn_thread(q->conn), j->database);
  struct lc_db_op *op = batch ? lc_db_batch_add(batch, LC_OP_FUNCTION, NULL) : NULL;
  if (op) {
    op->function = fn;
    op->arg = j;
  } else {
    answer_text(j->answer, 500, "out of memory");
    finish(j, UINT64_MAX);
  }
}

static void put_declaration(struct lc_buf *b, const struct lc_env_def *d) {
  lc_buf_str(b, "{\"name\":");
  lc_json_escape(b, d->name);
  lc_buf_str(b, d->kind == LC_ENV_STRING ? ",\"ty\":\"String\"" : d->kind == LC_ENV_LITERAL ? ",\"ty\":{\"StringLiteral\":" : ",\"ty\":{\"Union\":[");
  for (uint32_t i = 0; i < d->n_literals && d->kind != LC_ENV_STRING; i++) {
    if (i) lc_buf_u8(b, ',');
    lc_json_escape(b, d->literals[i]);
  }
  lc_buf_printf(b, "%s,\"optional\":%s}", d->kind == LC_ENV_STRING ? "" : d->kind == LC_ENV_LITERAL ? "}" : "]}", d->optional ? "true" : "false");
}
static void run_describe(struct lc_db *db, void *arg) {
  struct job *j = arg;
  struct lc_buf *b = &j->answer->body;
  const struct lc_module_def *def = lc_db_module_def(db);
  char hash[67];
  server_hash_json(lc_db_program_hash(db), hash);
  lc_buf_clear(b);
  lc_buf_printf(b, "{\"module_hash\":\"%s\",\"declarations\":[", hash);
  bool first = true;
  struct lc_slice last = {0};
  for (uint32_t n = 0; n < def->n_env; n++) { /* by name; at most 256, and never often */
    const struct lc_env_def *next = NULL;
    for (uint32_t i = 0; i < def->n_env; i++) {
      const struct lc_env_def *d = &def->env[i];
      if ((!last.data || lc_slice_compare(d->name, last) > 0) && (!next || lc_slice_compare(d->name, next->name) < 0)) next = d;
    }
    if (!first) lc_buf_u8(b, ',');
    put_declaration(b, next);
    last = next->name;
    first = false;
  }
  lc_buf_str(b, "],\"stored_keys\":");
  enum lc_status st = lc_db_env_keys(db, b);
  lc_buf_u8(b, '}');
  j->answer->content_type = "application/json";
  if (st != LC_OK || !lc_buf_ok(b)) answer_text(j->answer, 500, "out of memory");
  finish(j, UINT64_MAX);
}
void route_get_environment(struct request *q, struct database *d) {
  struct job *j = job_new(q, d);
  if (j) submit(q, j, run_describe);
}

static void run_change(struct lc_db *db, void *arg) {
  struct job *j = arg;
  struct lc_error err = {0};
  uint64_t offset = UINT64_MAX;
  enum lc_status st = lc_db_update_environment(db, &j->env.update, &j->expected, &offset, &err);
  if (st == LC_OK) {
    j->answer->content_type = "application/json";
    lc_buf_clear(&j->answer->body);
    lc_buf_str(&j->answer->body, "{\"Ok\":null}");
  } else if (st == LC_CONFLICT || j->env.update.is_refused) {
    env_answer_error(j->answer, "Err", &j->env, &err);
  } else {
    answer_text(j->answer, st == LC_TRAP ? 400 : 500, err.text);
  }
  finish(j, st == LC_OK ? offset : UINT64_MAX);
}

/* A JSON object of strings. */
static enum lc_status take_object(struct env_request *e, struct lc_slice body, struct lc_error *err) {
  json_error_t why;
  json_t *object = json_loadb((const char *)body.data, body.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why), *value;
  const char *key;
  enum lc_status st = json_is_object(object) ? LC_OK : lc_fail(err, LC_INVALID, "the body must be a JSON object from keys to strings, each key once");
  json_object_foreach(object, key, value) {
    if (st != LC_OK) break;
    struct lc_slice k = lc_slice_str(key);
    if (!json_is_string(value)) st = lc_fail(err, LC_INVALID, "the value of an environment key must be a string");
    else if (!lc_env_key_is_good(k)) st = lc_fail(err, LC_INVALID, "invalid POSIX environment variable name (maximum 256 bytes)");
    else if (json_string_length(value) > MAX_VALUE_BYTES) st = lc_fail(err, LC_INVALID, "environment value too large (maximum 8192 bytes)");
    else st = add(e, "body", k, lc_slice((const uint8_t *)json_string_value(value), json_string_length(value)), false, err);
  }
  json_decref(object);
  return st;
}
static void change(struct request *q, struct database *d, bool is_whole) {
  struct lc_error err = {0};
  struct lc_buf hash = {0};
  bool found = false;
  struct job *j = job_new(q, d);
  if (!j) return;
  enum lc_status st = routes_query(q->r, "expected_module_hash", &hash, &found, &err) ? LC_OK : err.status;
  if (st == LC_OK && !found) st = lc_fail(&err, LC_INVALID, "Failed to deserialize query string: missing field `expected_module_hash`");
  if (st == LC_OK && !server_parse_hash_json(lc_buf_slice(&hash), &j->expected)) st = lc_fail(&err, LC_INVALID, "Failed to deserialize query string: expected_module_hash: a hash such as `0x1f` is wanted");
  j->env.update.remove_all = is_whole;
  if (st == LC_OK && !is_whole) st = env_read_headers(q->r, false, &j->env, &err);
  if (st == LC_OK) st = take_object(&j->env, q->r->body, &err);
  lc_buf_free(&hash);
  if (st == LC_OK) {
    submit(q, j, run_change);
  } else {
    answer_text(j->answer, st == LC_NOMEM ? 500 : 400, err.text);
    finish(j, UINT64_MAX);
  }
}
void route_put_environment(struct request *q, struct database *d) { change(q, d, true); }
void route_patch_environment(struct request *q, struct database *d) { change(q, d, false); }
