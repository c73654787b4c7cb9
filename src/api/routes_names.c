/* Owns: names of databases, locks and deletion (spec/04 §3.3-§3.4). Answered from the control database. Callers: routes.c. */
#include "server.h"
#include <jansson.h>
#include <strings.h>

enum { MAX_NAMES = 1024 };

struct list { struct lc_buf b; bool any; };
static void list_name(void *ctx, const char *name) {
  struct list *l = ctx;
  if (l->any) lc_buf_str(&l->b, ",");
  lc_json_escape(&l->b, lc_slice_str(name));
  l->any = true;
}
void route_get_names(struct request *q, struct database *d) {
  struct list l = {0};
  struct lc_error err;
  lc_buf_str(&l.b, "{\"names\":[");
  if (control_names(q->server->control, &d->identity, list_name, &l, &err) != LC_OK) {
    lc_buf_free(&l.b);
    request_text(q, 500, err.text);
    return;
  }
  lc_buf_str(&l.b, "]}");
  request_json(q, 200, &l.b);
}

/* {"kind":{"key":text}} */
static void tagged(struct request *q, uint16_t status, const char *kind, const char *key, struct lc_slice text) {
  struct lc_buf b = {0};
  lc_buf_printf(&b, "{\"%s\":{\"%s\":", kind, key);
  lc_json_escape(&b, text);
  lc_buf_str(&b, "}}");
  request_json(q, status, &b);
}

void route_post_names(struct request *q, struct database *d) {
  struct lc_error err;
  struct lc_slice name = q->r->body;
  const char *problem = lc_utf8_valid(name.data, name.len) ? name_problem(name) : "invalid characters in database name";
  if (problem) {
    request_text(q, 400, problem);
    return;
  }
  enum lc_status st = control_add_name(q->server->control, name, &d->identity, &q->claims.identity, &err);
  if (st == LC_DENIED) {
    tagged(q, 401, "PermissionDenied", "domain", name);
  } else if (st != LC_OK) {
    request_text(q, 500, err.text);
  } else {
    char hex[65];
    struct lc_buf b = {0};
    lc_identity_hex(&d->identity, hex);
    lc_buf_str(&b, "{\"Success\":{\"domain\":");
    lc_json_escape(&b, name);
    lc_buf_printf(&b, ",\"database_identity\":\"%s\"}}", hex);
    request_json(q, 200, &b);
  }
}

/* application/json or application/…+json, with or without parameters. */
static bool is_json_type(struct lc_slice type) {
  static const char prefix[] = "application/";
  size_t n = 0;
  while (n < type.len && type.data[n] != ';') n++;
  while (n && (type.data[n - 1] == ' ' || type.data[n - 1] == '\t')) n--;
  if (n < sizeof prefix - 1 || strncasecmp((const char *)type.data, prefix, sizeof prefix - 1) != 0) return false;
  struct lc_slice sub = lc_slice(type.data + sizeof prefix - 1, n - (sizeof prefix - 1));
  return (sub.len == 4 || (sub.len > 5 && sub.data[sub.len - 5] == '+')) && strncasecmp((const char *)sub.data + sub.len - 4, "json", 4) == 0;
}

static void put_names(struct request *q, struct database *d, json_t *array) {
  struct lc_slice names[MAX_NAMES];
  uint32_t n = 0;
  struct lc_error err;
  size_t i;
  json_t *item;
  json_array_foreach(array, i, item) {
    struct lc_slice name = lc_slice(json_string_value(item), json_string_length(item));
    const char *problem = name_problem(name);
    if (problem) {
      lc_fail(&err, LC_INVALID, "Error parsing `%.*s`: %s", (int)(name.len < 256 ? name.len : 256), (const char *)name.data, problem);
      request_text(q, 400, err.text);
      return;
    }
    names[n++] = name;
  }
  if (!request_is_owner(q, d)) {
    char hex[65];
    lc_identity_hex(&d->identity, hex);
    tagged(q, 401, "NotYourDatabase", "database", lc_slice_str(hex));
    return;
  }
  char *culprit = NULL;
  struct lc_buf b = {0};
  enum lc_status st = control_set_names(q->server->control, &d->identity, &q->claims.identity, names, n, &culprit, &err);
  if (st == LC_OK) {
    lc_buf_str(&b, "\"Success\"");
    request_json(q, 200, &b);
  } else if (st == LC_DENIED && culprit) {
    tagged(q, 401, "PermissionDenied", "domain", lc_slice_str(culprit));
  } else {
    if (st == LC_EXISTS && culprit) lc_fail(&err, st, "Cannot rename to %s because it already is in use.", culprit);
    lc_buf_str(&b, "{\"OtherError\":");
    lc_json_escape(&b, lc_slice_str(err.text));
    lc_buf_str(&b, "}");
    request_json(q, st == LC_EXISTS ? 400 : 500, &b);
  }
  lc_free(culprit);
}

void route_put_names(struct request *q, struct database *d) {
  json_error_t error;
  struct lc_error err;
  if (!is_json_type(lc_http_header_get(q->r, "content-type"))) {
    request_text(q, 415, "Expected request with `Content-Type: application/json`");
    return;
  }
  json_t *array = json_loadb((const char *)q->r->body.data, q->r->body.len, JSON_DECODE_ANY, &error);
  if (!array) {
    lc_fail(&err, LC_INVALID, "Failed to parse the request body as JSON: %s at line %d column %d", error.text, error.line, error.column);
    request_text(q, 400, err.text);
    return;
  }
  bool strings = json_is_array(array) && json_array_size(array) <= MAX_NAMES;
  for (size_t i = 0; strings && i < json_array_size(array); i++) strings = json_is_string(json_array_get(array, i));
  if (strings) put_names(q, d, array);
  else request_text(q, 422, "Failed to deserialize the JSON body into the target type: an array of at most 1024 strings is wanted");
  json_decref(array);
}

static void set_lock(struct request *q, struct database *d, bool locked) {
  struct lc_error err;
  if (!request_is_owner(q, d)) {
    not_authorized(&err, &q->claims.identity, &d->identity, "delete database");
    request_text(q, 403, err.text);
  } else if (control_set_lock(q->server->control, &d->identity, locked, &err) != LC_OK) {
    request_text(q, 500, err.text);
  } else {
    request_status(q, 200);
  }
}
void route_lock(struct request *q, struct database *d) { set_lock(q, d, true); }
void route_unlock(struct request *q, struct database *d) { set_lock(q, d, false); }

void route_delete(struct request *q) {
  struct lc_identity id;
  struct lc_error err;
  bool locked = false;
  uint16_t status = routes_resolve(q->server, lc_buf_slice(&q->params[0]), &id, &err);
  if (status) {
    request_text(q, status, err.text);
    return;
  }
  pthread_mutex_lock(&q->server->change_lock);
  struct database *d = q->database = server_database(q->server, &id);
  if (!d) {
    status = 200; /* it is not there, which is what was wanted */
  } else if (!request_is_owner(q, d)) {
    not_authorized(&err, &q->claims.identity, &id, "delete database");
    status = 403;
  } else if (control_is_locked(q->server->control, &id, &locked, &err) != LC_OK) {
    status = 500;
  } else if (locked) {
    lc_fail(&err, LC_DENIED, "Database is locked and cannot be deleted. Run `spacetime unlock` first.");
    status = 403;
  } else if (control_delete(q->server->control, &id, &err) != LC_OK) {
    server_stop_unsure(q->server, d);
    status = 500;
  } else {
    server_remove_database(q->server, &id);
    status = 200;
  }
  pthread_mutex_unlock(&q->server->change_lock);
  if (status == 200) request_status(q, 200);
  else request_text(q, status, err.text);
}
