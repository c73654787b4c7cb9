/* Owns: publishing and resetting (spec/04 §3.1, §3.3): parameters, names, permissions; first publishes and resets on threads of their own,
 * updates compiled there too and then run inside the running database, as their plans are (§3.2).
 *
 * Invariants: one first publish or reset at a time per server (publish_lock); a database exists for others only after its first publish
 * succeeded and the control database has it; a reset leaves the old database alone until the new one stands. Callers: routes.c.
 */
#include "server.h"
#include <stdio.h>
#include <stdlib.h>

enum { MAX_PUBLISHING = 32 };

struct publish {
  struct lc_net_task task;              /* first: on its way from the publishing thread to an update */
  struct server *server;
  struct answer *answer;
  struct lc_auth_claims claims;
  struct lc_buf program, name;          /* name: as in the URL */
  bool has_name, is_reset, is_plan;     /* is_plan: nothing is changed, only said */
  enum lc_plan_style style;
  struct lc_db_update_policy policy;
  struct env_request env;
  struct lc_module *module;             /* update, plan: the new program */
  struct lc_identity id;
  uint8_t kind;
  struct database *database;            /* update, reset: with a reference */
};

static void publish_free(struct publish *p) {
  lc_auth_claims_release(&p->claims);
  lc_buf_free(&p->program);
  lc_buf_free(&p->name);
  env_request_free(&p->env);
  lc_module_unref(p->module);
  database_unref(p->database);
  lc_free(p);
}
/* Sends the answer, once d has made `offset` durable, and frees p. */
static void finish(struct publish *p, uint64_t offset) {
  server_answer(p->server, p->answer, p->database, offset);
  publish_free(p);
}
static void finish_text(struct publish *p, uint16_t status, const char *text) {
  answer_text(p->answer, status, text);
  finish(p, UINT64_MAX);
}

/* "0x" and the least digits of the little-endian number (spec/04 §1). */
void server_hash_json(const struct lc_hash *hash, char out[67]) {
  uint8_t reversed[32];
  char digits[65];
  for (int i = 0; i < 32; i++) reversed[i] = hash->bytes[31 - i];
  lc_hex_encode(reversed, 32, digits);
  const char *first = digits;
  while (*first == '0' && first[1]) first++;
  snprintf(out, 67, "0x%s", first);
}
bool server_parse_hash_json(struct lc_slice text, struct lc_hash *out) {
  char digits[65];
  uint8_t reversed[32];
  if (text.len < 3 || text.len > 66 || memcmp(text.data, "0x", 2) != 0) return false;
  memset(digits, '0', 64);
  memcpy(digits + 64 - (text.len - 2), text.data + 2, text.len - 2);
  if (!lc_hex_decode(digits, 64, reversed)) return false;
  for (int i = 0; i < 32; i++) out->bytes[i] = reversed[31 - i];
  return true;
}

static void answer_success(struct publish *p, const char *op) {
  char hex[65];
  struct answer *a = p->answer;
  lc_identity_hex(&p->id, hex);
  a->status = 200;
  a->content_type = "application/json";
  lc_buf_clear(&a->body);
  lc_buf_str(&a->body, "{\"Success\":{\"domain\":");
  if (p->has_name) lc_json_escape(&a->body, lc_buf_slice(&p->name));
  else lc_buf_str(&a->body, "null");
  lc_buf_printf(&a->body, ",\"database_identity\":\"%s\",\"op\":\"%s\"}}", hex, op);
}

/* ---- update ---- */

static void run_update(struct lc_db *db, void *arg) {
  struct publish *p = arg;
  p->policy.environment = &p->env.update;
  struct lc_error err = {0};
  struct lc_buf reasons = {0};
  uint64_t offset = UINT64_MAX;
  enum lc_status st = lc_db_update(db, p->module, lc_buf_slice(&p->program), p->kind, &p->policy, &reasons, &offset, &err);
  struct lc_error kept;
  if (st == LC_OK && p->server->options.in_memory && control_keep_program(p->server->control, &p->id, lc_buf_slice(&p->program), &kept) != LC_OK)
    lc_log(LC_LOG_ERROR, "%s: the next start begins with the program of before", kept.text);
  if (st == LC_OK) {
    answer_success(p, "updated");
  } else if (p->env.update.is_refused) {
    env_answer_error(p->answer, "EnvironmentError", &p->env, &err);
  } else if (st == LC_UNSUPPORTED && reasons.len) {
    answer_text(p->answer, 400, "Database update rejected: ");
    lc_buf_slice_append(&p->answer->body, lc_buf_slice(&reasons));
  } else {
    if (st != LC_NOMEM && st != LC_IO) lc_fail_context(&err, "Failed to create or update the database");
    answer_text(p->answer, st == LC_NOMEM || st == LC_IO ? 500 : 400, err.text);
  }
  lc_buf_free(&reasons);
  finish(p, st == LC_OK ? offset : UINT64_MAX);
}
static void run_plan(struct lc_db *db, void *arg) {
  struct publish *p = arg;
  struct lc_error err = {0};
  struct lc_db_update_plan plan = {0};
  struct lc_buf *b = &p->answer->body;
  enum lc_status st = lc_db_plan_update(db, p->module, p->style, &plan, &err);
  if (st == LC_OK || st == LC_UNSUPPORTED) {
    lc_buf_clear(b);
    lc_buf_str(b, st == LC_OK ? "{\"AutoMigrate\":{\"migrate_plan\":" : "{\"ManualMigrate\":{\"reason\":");
    lc_json_escape(b, lc_buf_slice(&plan.text));
    if (st == LC_OK) {
      char token[67];
      server_hash_json(&plan.token, token);
      lc_buf_printf(b, ",\"break_clients\":%s,\"token\":\"%s\"", plan.breaks_clients ? "true" : "false", token);
    }
    lc_buf_printf(b, ",\"major_version_upgrade\":%s}}", plan.major_upgrade ? "true" : "false");
    p->answer->content_type = "application/json";
    if (!lc_buf_ok(b)) answer_text(p->answer, 500, "out of memory");
  } else {
    answer_text(p->answer, 500, err.text);
  }
  lc_buf_free(&plan.text);
  finish(p, UINT64_MAX);
}
/* On a network thread: has fn(p) run by the holder of the database's baton. */
static void submit(struct lc_net_thread *t, struct publish *p, void (*fn)(struct lc_db *, void *)) {
  struct lc_db_batch *batch = server_batch(t, p->database);
  struct lc_db_op *op = batch ? lc_db_batch_add(batch, LC_OP_FUNCTION, NULL) : NULL;
  if (!op) {
    finish_text(p, 500, "out of memory");
    return;
  }
  op->function = fn;
  op->arg = p;
}
static void on_update_task(struct lc_net_thread *t, struct lc_net_task *task) {
  struct publish *p = (struct publish *)task;
  if (atomic_load(&p->server->stopped)) {
    finish_text(p, 503, "the server is stopping");
    return;
  }
  submit(t, p, p->is_plan ? run_plan : run_update);
  lc_net_wake(lc_net_thread_net(t), lc_net_thread_index(t));
}

/* ---- first publish and reset ---- */

static struct lc_slice program_of(const struct publish *p) {
  static const uint8_t nothing[1];
  return p->program.data ? lc_buf_slice(&p->program) : lc_slice(nothing, 0);
}
/* What the control database keeps of it: where data is in files, these have the program. */
static struct lc_slice kept_program(const struct publish *p) { return p->server->options.in_memory ? program_of(p) : lc_slice(NULL, 0); }

/* A new replica with the program; not yet known to anybody. */
static struct database *build(struct publish *p, const struct lc_identity *owner, struct control_row *row, struct lc_error *err) {
  struct server *s = p->server;
  *row = (struct control_row){.id = p->id, .owner = *owner, .kind = p->kind};
  lc_keccak256(lc_buf_slice(&p->program), row->program.bytes);
  if (!(row->replica_id = control_new_replica(s->control, err))) return NULL;
  struct database *d = database_new(s, &row->id, owner, row->replica_id);
  if (!d) {
    lc_fail(err, LC_NOMEM, "out of memory");
    return NULL;
  }
  char dir[4096];
  struct lc_db_options o;
  server_db_options(d, dir, sizeof dir, &o);
  o.environment = &p->env.update;
  enum lc_status st = lc_db_open(&o, program_of(p), p->kind, &d->db, err);
  if (st == LC_OK) return d;
  d->db = NULL;
  database_free(d);
  if (o.dir && st != LC_CONFLICT) server_remove_replica(o.dir); /* else it is another's */
  return NULL;
}

static void refuse_build(struct publish *p, uint16_t status, const struct lc_error *err) {
  if (p->env.update.is_refused) env_answer_error(p->answer, "EnvironmentError", &p->env, err);
  else answer_text(p->answer, status, err->text);
  finish(p, UINT64_MAX);
}

static void create(struct publish *p) {
  struct lc_error err = {0};
  struct control_row row;
  struct database *d = build(p, &p->claims.identity, &row, &err);
  pthread_mutex_lock(&p->server->change_lock);
  bool added = d && control_add(p->server->control, &row, (struct lc_slice){0}, kept_program(p), &err) == LC_OK;
  if (added) server_add_database(p->server, d);
  pthread_mutex_unlock(&p->server->change_lock);
  if (!added) {
    database_unref(d);
    refuse_build(p, 500, &err);
    return;
  }
  answer_success(p, "created");
  finish(p, UINT64_MAX);
}

static void reset(struct publish *p) {
  struct lc_error err = {0};
  struct control_row row;
  struct database *d = build(p, &p->database->owner, &row, &err);
  pthread_mutex_lock(&p->server->change_lock);
  bool replaced = d && control_replace(p->server->control, &row, kept_program(p), &err) == LC_OK && server_replace_database(p->server, d);
  if (d && !replaced) server_stop_unsure(p->server, p->database);
  pthread_mutex_unlock(&p->server->change_lock);
  if (!replaced) { /* LC_NOT_FOUND: deleted meanwhile */
    database_unref(d);
    refuse_build(p, err.status == LC_NOT_FOUND ? 404 : 500, &err);
    return;
  }
  answer_success(p, "updated");
  finish(p, UINT64_MAX);
}

/* A publish that has a database already: compiles, then goes on where the database runs. */
static void update(struct publish *p) {
  struct lc_error err = {0};
  enum lc_status st = LC_OK;
  if (memcmp(&p->database->owner, &p->claims.identity, sizeof p->database->owner) != 0) {
    not_authorized(&err, &p->claims.identity, &p->id, "update database");
    finish_text(p, 403, err.text);
  } else if ((st = p->database->db ? lc_db_load_program(p->database->db, lc_buf_slice(&p->program), p->kind, &p->module, &err) : lc_fail(&err, LC_IO, "error starting database: %s", p->database->error)) != LC_OK) {
    p->module = NULL;
    finish_text(p, 500, err.text);
  } else {
    p->task.run = on_update_task;
    lc_net_post(atomic_load(&p->server->net), p->answer->ref.thread, &p->task);
  }
}

static void *publish_main(void *arg) {
  struct publish *p = arg;
  struct server *s = p->server;
  if (!p->database) { /* somebody may publish it while we wait: ours is an update then */
    pthread_mutex_lock(&s->publish_lock);
    p->database = server_database(s, &p->id);
    if (!p->database) create(p), p = NULL;
    pthread_mutex_unlock(&s->publish_lock);
  } else if (p->is_reset) {
    pthread_mutex_lock(&s->publish_lock);
    reset(p);
    p = NULL;
    pthread_mutex_unlock(&s->publish_lock);
  }
  if (p) update(p);
  server_worker_ends(s);
  return NULL;
}
static void start_publishing(struct publish *p) {
  struct server *s = p->server;
  if (atomic_load(&s->stopping)) finish_text(p, 503, "the server is stopping");
  else if (atomic_load(&s->workers) >= MAX_PUBLISHING) finish_text(p, 503, "too many databases are being published; try again later");
  else if (!server_start_worker(s, publish_main, p)) finish_text(p, 503, "no thread to be had; try again later");
}

/* A reset without a program keeps the present one. */
static void run_fetch_program(struct lc_db *db, void *arg) {
  struct publish *p = arg;
  struct lc_module_facts facts;
  if (lc_datastore_module(lc_db_datastore(db), &facts) == LC_OK) {
    lc_buf_slice_append(&p->program, facts.program_bytes);
    p->kind = facts.program_kind;
  }
  if (lc_buf_ok(&p->program) && p->program.len) start_publishing(p);
  else finish_text(p, 500, "the present program could not be read");
}

/* ---- parameters ---- */

struct params {
  bool clear, has_host_type, has_policy, break_clients, has_token, has_parent, has_organization, has_replicas, no_color;
  uint8_t kind;
  uint64_t replicas;
  struct lc_hash token;
  struct lc_buf parent, organization;
};
static void params_free(struct params *x) {
  lc_buf_free(&x->parent);
  lc_buf_free(&x->organization);
}

static uint16_t bad_query(struct lc_error *err, const char *key, const char *text) {
  lc_fail(err, LC_INVALID, "Failed to deserialize query string: %s: %s", key, text);
  return 400;
}

/* Numbers with units, as `1m 30s` or `500ms`. */
static bool is_duration(struct lc_slice text) {
  static const char *const units[] = {"ns", "nsec", "nanos", "us", "usec", "micros", "ms", "msec", "millis", "s", "sec", "secs", "second", "seconds", "m", "min", "mins", "minute", "minutes",
                                      "h", "hr", "hrs", "hour", "hours", "d", "day", "days", "w", "week", "weeks", "M", "month", "months", "y", "year", "years"};
  size_t i = 0, n_parts = 0;
  for (;;) {
    while (i < text.len && text.data[i] == ' ') i++;
    if (i == text.len) return n_parts > 0;
    size_t digits = i;
    while (i < text.len && text.data[i] >= '0' && text.data[i] <= '9') i++;
    if (i == digits || i - digits > 18) return false;
    size_t unit = i;
    while (i < text.len && ((text.data[i] >= 'a' && text.data[i] <= 'z') || text.data[i] == 'M')) i++;
    bool known = false;
    for (size_t k = 0; k < sizeof units / sizeof *units; k++) known = known || lc_slice_eq_str(lc_slice(text.data + unit, i - unit), units[k]);
    if (!known) return false;
    n_parts++;
  }
}
static bool is_name_or_identity(struct lc_slice text) {
  struct lc_identity id;
  return lc_identity_parse(text, &id) || !name_problem(text);
}

static uint16_t read_replicas(struct params *x, struct lc_slice v, struct lc_error *err) {
  uint64_t n = 0;
  if (!v.len || v.len > 18) return bad_query(err, "num_replicas", "invalid digit found in string");
  for (size_t i = 0; i < v.len; i++) {
    if (v.data[i] < '0' || v.data[i] > '9') return bad_query(err, "num_replicas", "invalid digit found in string");
    n = n * 10 + (unsigned)(v.data[i] - '0');
  }
  x->replicas = n;
  return 0;
}
static uint16_t read_choice(struct lc_slice v, const char *key, const char *first, const char *second, bool *is_second, struct lc_error *err) {
  *is_second = lc_slice_eq_str(v, second);
  if (*is_second || lc_slice_eq_str(v, first)) return 0;
  lc_fail(err, LC_INVALID, "Failed to deserialize query string: %s: unknown variant `%.*s`, expected `%s` or `%s`", key, (int)(v.len < 64 ? v.len : 64), (const char *)v.data, first, second);
  return 400;
}

static uint16_t read_params(const struct lc_http_request *r, struct params *x, struct lc_error *err) {
  static const char *const keys[] = {"num_replicas", "host_type", "policy", "token", "parent", "organization", "org", "update_confirmation_timeout", "style", "pretty_print_style"};
  enum { REPLICAS, HOST_TYPE, POLICY, TOKEN, PARENT, ORGANIZATION, ORG, TIMEOUT, STYLE, PRINT_STYLE, N };
  if (!routes_query_bool(r, "clear", &x->clear, err)) return 400;
  uint16_t status = 0;
  for (int i = 0; i < N && !status; i++) {
    struct lc_buf v = {0};
    bool found, is_second;
    if (!routes_query(r, keys[i], &v, &found, err)) status = 400;
    else if (found) {
      struct lc_slice text = lc_buf_slice(&v);
      switch (i) {
      case REPLICAS:
        x->has_replicas = true;
        status = read_replicas(x, text, err);
        break;
      case HOST_TYPE:
        x->has_host_type = true;
        status = read_choice(text, keys[i], "Wasm", "Js", &is_second, err);
        x->kind = is_second ? LC_PROGRAM_JS : LC_PROGRAM_WASM;
        break;
      case POLICY: status = read_choice(text, keys[i], "Compatible", "BreakClients", &x->break_clients, err); break;
      case TOKEN:
        x->has_token = true;
        if (!server_parse_hash_json(text, &x->token)) status = bad_query(err, keys[i], "a hash such as `0x1f` is wanted");
        break;
      case STYLE:
      case PRINT_STYLE: status = read_choice(text, keys[i], "AnsiColor", "NoColor", &x->no_color, err); break; /* the second is what the reference's command line sends */
      case TIMEOUT:
        if (!is_duration(text)) status = bad_query(err, keys[i], "a duration such as `5s` or `1m 30s` is wanted");
        break;
      case PARENT:
        x->has_parent = true;
        if (!is_name_or_identity(text)) status = bad_query(err, keys[i], "neither a database name nor an identity");
        else lc_buf_slice_append(&x->parent, text);
        break;
      default:
        if (x->has_organization) status = bad_query(err, "organization", "duplicate field `organization`");
        else if (!is_name_or_identity(text)) status = bad_query(err, keys[i], "neither a name nor an identity");
        else lc_buf_slice_append(&x->organization, text);
        x->has_organization = true;
        break;
      }
    }
    lc_buf_free(&v);
  }
  if (!status && (!lc_buf_ok(&x->parent) || !lc_buf_ok(&x->organization))) return lc_fail(err, LC_NOMEM, "out of memory"), 500;
  return status;
}

/* ---- checks ---- */

/* Spec/04 §4.6: with that variable only tokens of one issuer may create databases. */
static uint16_t creation_gate(const struct request *q, struct lc_error *err) {
  const char *wanted = getenv("TEMP_SPACETIMEAUTH_ISSUER_REQUIRED_TO_PUBLISH"), *issuer = q->claims.issuer;
  size_t n = strlen(issuer);
  if (!wanted || !*wanted) return 0;
  while (n && issuer[n - 1] == '/') n--;
  if (lc_slice_eq_str(lc_slice(issuer, n), wanted)) return 0;
  return lc_fail(err, LC_DENIED, "To create a database, you must be logged in with a SpacetimeDB account."), 401;
}

/* The name of the URL to an identity; registers it when it is new. */
static uint16_t resolve_or_register(struct request *q, struct publish *p, struct lc_slice name, struct lc_error *err) {
  struct server *s = q->server;
  for (int attempt = 0; attempt < 3; attempt++) { /* another request may register it at the same moment */
    enum lc_status st = control_resolve(s->control, name, &p->id, err);
    if (st == LC_OK) return 0;
    if (st != LC_NOT_FOUND) return 500;
    uint16_t status = creation_gate(q, err);
    if (status) return status;
    lc_auth_fresh_identity(s->auth, &p->id);
    st = control_add_name(s->control, name, &p->id, &q->claims.identity, err);
    if (st == LC_OK) return 0;
    if (st == LC_EXISTS) continue;
    if (st != LC_DENIED) return 500;
    p->answer->content_type = "application/json";
    lc_buf_str(&p->answer->body, "{\"PermissionDenied\":{\"name\":");
    lc_json_escape(&p->answer->body, name);
    lc_buf_str(&p->answer->body, "}}");
    return 401;
  }
  return 500;
}

/* 403 or 0 for a reset of p->database. */
static uint16_t check_reset(const struct request *q, const struct database *d, struct lc_error *err) {
  bool locked;
  if (!request_is_owner(q, d)) return not_authorized(err, &q->claims.identity, &d->identity, "reset database"), 403;
  if (control_is_locked(q->server->control, &d->identity, &locked, err) != LC_OK) return 500;
  if (locked) return lc_fail(err, LC_DENIED, "Database is locked and cannot be reset with --delete-data. Run `spacetime unlock` first."), 403;
  return 0;
}
static uint16_t check_replicas(const struct params *x, struct lc_error *err) {
  if (x->replicas <= 255) return 0;
  return lc_fail(err, LC_INVALID, "Replication factor %llu out of bounds", (unsigned long long)x->replicas), 400;
}

/* The checks of spec/04 §3.1 up to where the program is looked at, in their order. 0, or the status; the text or JSON is in *err or p->answer. */
static uint16_t prepare(struct request *q, struct publish *p, const struct params *x, struct lc_error *err) {
  struct server *s = q->server;
  struct lc_slice name = lc_buf_slice(&q->params[0]);
  struct lc_identity other;
  uint16_t status = 0;
  p->kind = x->kind;
  p->policy = (struct lc_db_update_policy){.break_clients = x->break_clients, .token = x->token};
  if (x->clear && !name.len) return lc_fail(err, LC_INVALID, "Clear database requires database name or identity"), 400;
  if (!name.len) {
    lc_auth_fresh_identity(s->auth, &p->id);
  } else if (!lc_identity_parse(name, &p->id)) {
    const char *problem = name_problem(name);
    if (problem) return lc_fail(err, LC_INVALID, "Invalid URL: %s", problem), 400;
    p->has_name = true;
    lc_buf_slice_append(&p->name, name);
    if ((status = resolve_or_register(q, p, name, err))) return status;
  }
  p->database = server_database(s, &p->id);
  if (x->clear && p->database) {
    if (x->has_parent) return lc_fail(err, LC_INVALID, "Setting the parent of an existing database is not supported"), 400;
    p->is_reset = true;
    status = check_reset(q, p->database, err);
    return status ? status : check_replicas(x, err);
  }
  if (x->has_parent && (status = routes_resolve(s, lc_buf_slice(&x->parent), &other, err))) return status;
  if (x->has_organization && !lc_identity_parse(lc_buf_slice(&x->organization), &other)) {
    enum lc_status st = control_tld_owner(s->control, lc_buf_slice(&x->organization), &other, err);
    if (st != LC_OK) return st == LC_NOT_FOUND ? 404 : 500;
  }
  if (!p->database) status = creation_gate(q, err);
  else if (!request_is_owner(q, p->database)) not_authorized(err, &q->claims.identity, &p->id, "update database"), status = 403;
  if (status) return status;
  if (x->break_clients && !x->has_token) return lc_fail(err, LC_INVALID, "Migration policy is set to `BreakClients`, but no migration token was provided."), 400;
  if ((status = check_replicas(x, err))) return status;
  if (p->database && (status = database_refusal(p->database, err))) return status;
  return 0;
}

static struct publish *publish_new(struct request *q) {
  struct publish *p = lc_alloc_zero(1, sizeof *p);
  if (!p) {
    request_text(q, 500, "out of memory");
    return NULL;
  }
  p->server = q->server;
  p->answer = request_answer(q, 200);
  lc_auth_claims_copy(&p->claims, &q->claims);
  lc_buf_slice_append(&p->program, q->r->body);
  return p;
}
static void refuse(struct request *q, struct publish *p, uint16_t status, const struct lc_error *err) {
  if (p->answer->body.len) p->answer->status = status;
  else answer_text(p->answer, status, err->text);
  answer_send(p->answer, q->conn);
  publish_free(p);
}

static uint16_t read_environment(const struct request *q, struct publish *p, struct lc_error *err) {
  enum lc_status st = env_read_headers(q->r, true, &p->env, err);
  return st == LC_OK ? 0 : st == LC_NOMEM ? 500 : 400;
}

void route_publish(struct request *q) {
  struct lc_error err = {0};
  struct params x = {.kind = LC_PROGRAM_WASM};
  struct publish *p = publish_new(q);
  if (!p) return;
  uint16_t status = read_params(q->r, &x, &err);
  if (!status) status = read_environment(q, p, &err);
  if (!status) status = prepare(q, p, &x, &err);
  if (!status && (!lc_buf_ok(&p->program) || !lc_buf_ok(&p->name))) status = 500, lc_fail(&err, LC_NOMEM, "out of memory");
  params_free(&x);
  if (status) refuse(q, p, status, &err);
  else start_publishing(p);
}

void route_reset(struct request *q, struct database *d) {
  struct lc_error err = {0};
  struct params x = {.kind = LC_PROGRAM_WASM};
  struct publish *p = publish_new(q);
  if (!p) return;
  struct lc_slice name = lc_buf_slice(&q->params[0]);
  p->is_reset = true;
  p->id = d->identity;
  p->database = d;
  database_ref(d);
  struct lc_identity id;
  p->has_name = !lc_identity_parse(name, &id);
  lc_buf_slice_append(&p->name, name);
  uint16_t status = read_params(q->r, &x, &err);
  p->kind = x.kind;
  if (!status) status = read_environment(q, p, &err);
  if (!status) status = check_reset(q, d, &err);
  if (!status) status = check_replicas(&x, &err);
  if (!status && (!lc_buf_ok(&p->program) || !lc_buf_ok(&p->name))) status = 500, lc_fail(&err, LC_NOMEM, "out of memory");
  params_free(&x);
  if (status) refuse(q, p, status, &err);
  else if (p->program.len) start_publishing(p);
  else submit(lc_conn_thread(q->conn), p, run_fetch_program);
}

void route_pre_publish(struct request *q, struct database *d) {
  struct lc_error err = {0};
  struct params x = {.kind = LC_PROGRAM_WASM};
  struct publish *p = publish_new(q);
  if (!p) return;
  p->is_plan = true;
  p->id = d->identity;
  p->database = d;
  database_ref(d);
  uint16_t status = read_params(q->r, &x, &err);
  p->kind = x.kind;
  p->style = x.no_color ? LC_PLAN_NO_COLOR : LC_PLAN_ANSI_COLOR;
  if (!status && !request_is_owner(q, d)) not_authorized(&err, &q->claims.identity, &d->identity, "update database"), status = 403;
  if (!status && !lc_buf_ok(&p->program)) status = 500, lc_fail(&err, LC_NOMEM, "out of memory");
  params_free(&x);
  if (status) refuse(q, p, status, &err);
  else start_publishing(p);
}
