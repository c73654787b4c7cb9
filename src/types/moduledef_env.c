/* What of a module definition looks outside: HTTP handlers and routes (spec/01 §14.2), environment declarations (spec/07 §4.1, §4.2). */
#include "moduledef_internal.h"
#include <stdio.h>
#include <stdlib.h>

/* ---- HTTP ---- */

static bool path_ok(struct lc_slice path) {
  if (path.len && path.data[0] != '/') return false;
  for (size_t i = 0; i < path.len; i++) {
    uint8_t c = path.data[i];
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '~' || c == '/')) return false;
  }
  return true;
}

/* One for each path: which methods have a route so far. */
struct methods { uint32_t taken; struct types_names extensions; };

void def_build_http(struct builder *b) {
  const struct raw_module *raw = b->raw;
  struct lc_module_def *def = b->def;
  struct types_names sources = {0}, names = {0}, paths = {0};
  struct lc_slice *canonical = def_alloc(b->c, raw->n_handlers, sizeof *canonical);
  for (uint32_t i = 0; i < raw->n_handlers; i++) {
    canonical[i] = def_canonical(b, NAME_FUNCTION, raw->handlers[i]);
    def_check_both_names(b, canonical[i], raw->handlers[i], "HTTP handler");
    if (!def_add_name(b->c, &names, canonical[i], i)) def_fault(b->c, FAULT_DuplicateHttpHandlerName, "HTTP handler name `%.*s` is used twice", S(canonical[i]));
    def_add_name(b->c, &sources, raw->handlers[i], i);
  }
  struct methods *methods = def_alloc(b->c, raw->n_routes, sizeof *methods);
  for (uint32_t i = 0; i < raw->n_routes; i++) {
    const struct lc_http_route_def *r = &raw->routes[i];
    if (!path_ok(r->path)) def_fault(b->c, FAULT_InvalidHttpRoutePath, "HTTP route path `%.*s` must begin with / and may only have a-z, 0-9, -, _, ~ and /", S(r->path));
    if (!types_names_find(b->c->arena, &sources, r->handler, NULL))
      def_fault(b->c, FAULT_MissingHttpHandler, "HTTP route `%.*s` names a missing handler `%.*s`", S(r->path), S(r->handler));
    uint32_t at = i;
    if (!def_add_name(b->c, &paths, r->path, i)) types_names_find(b->c->arena, &paths, r->path, &at);
    struct methods *m = &methods[at];
    bool extension_taken = r->method == LC_ROUTE_EXTENSION && !def_add_name(b->c, &m->extensions, r->extension, 0);
    bool clash = m->taken && (r->method == LC_ROUTE_ANY || (m->taken >> LC_ROUTE_ANY & 1) || extension_taken || (r->method != LC_ROUTE_EXTENSION && (m->taken >> r->method & 1)));
    if (clash) def_fault(b->c, FAULT_DuplicateHttpRoute, "two HTTP routes for `%.*s` take the same requests", S(r->path));
    m->taken |= 1u << r->method;
  }
  def->http_handlers = raw->handlers;
  def->http_handler_names = canonical;
  def->n_http_handlers = raw->n_handlers;
  def->http_routes = raw->routes;
  def->n_http_routes = raw->n_routes;
}

/* ---- environment ---- */

enum { ENV_MAX = 256, ENV_KEY_MAX_BYTES = 256, ENV_VALUE_MAX_BYTES = 8192, ENV_UNION_MAX = 256, ENV_SCHEMA_MAX_BYTES = 2097152 };

static void env_fault(struct builder *b, const struct lc_env_def *e, const char *what) {
  if (e) def_fault(b->c, FAULT_Environment, "invalid environment declaration: environment key \"%.*s\": %s", S(e->name), what);
  else def_fault(b->c, FAULT_Environment, "invalid environment declaration: %s", what);
}

static bool env_name_ok(struct lc_slice s) {
  if (s.len == 0 || s.len > ENV_KEY_MAX_BYTES) return false;
  for (size_t i = 0; i < s.len; i++) {
    uint8_t c = s.data[i];
    bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
    if (!letter && c != '_' && !(i && c >= '0' && c <= '9')) return false;
  }
  return true;
}

/* The first rule that is broken, in the order of spec/07 §4.2. */
static bool check_environment(struct builder *b) {
  size_t bytes = 0;
  uint32_t n = b->raw->n_env;
  if (n > ENV_MAX) return env_fault(b, NULL, "too many declarations"), false;
  for (uint32_t i = 0; i < n; i++) {
    const struct lc_env_def *e = &b->raw->env[i];
    if (!env_name_ok(e->name)) return env_fault(b, NULL, "invalid name"), false;
    if ((bytes += e->name.len) > ENV_SCHEMA_MAX_BYTES) return env_fault(b, e, "declaration schema exceeds size limit"), false;
    if (e->kind == LC_ENV_UNION && e->n_literals == 0) return env_fault(b, e, "string union must not be empty"), false;
    if (e->n_literals > ENV_UNION_MAX) return env_fault(b, e, "string union has too many entries"), false;
    for (uint32_t k = 0; k < e->n_literals; k++) {
      if (e->literals[k].len > ENV_VALUE_MAX_BYTES) return env_fault(b, e, "declared literal exceeds value size limit"), false;
      if ((bytes += e->literals[k].len) > ENV_SCHEMA_MAX_BYTES) return env_fault(b, e, "declaration schema exceeds size limit"), false;
    }
  }
  struct types_names names = {0};
  for (uint32_t i = 0; i < n; i++)
    if (!def_add_name(b->c, &names, b->raw->env[i].name, 0)) return env_fault(b, &b->raw->env[i], "duplicate declaration"), false;
  return true;
}

static int compare_literals(const void *a, const void *b) { return lc_slice_compare(*(const struct lc_slice *)a, *(const struct lc_slice *)b); }

void def_build_environment(struct builder *b) {
  b->def->env = b->raw->env;
  b->def->n_env = b->raw->n_env;
  if (!check_environment(b)) return;
  for (uint32_t i = 0; i < b->raw->n_env; i++) {
    struct lc_env_def *e = &b->raw->env[i];
    if (e->kind != LC_ENV_UNION) continue;
    struct lc_slice *literals = def_alloc(b->c, e->n_literals, sizeof *literals);
    uint32_t kept = 0;
    memcpy(literals, e->literals, e->n_literals * sizeof *literals);
    qsort(literals, e->n_literals, sizeof *literals, compare_literals);
    for (uint32_t k = 0; k < e->n_literals; k++)
      if (kept == 0 || !lc_slice_eq(literals[kept - 1], literals[k])) literals[kept++] = literals[k];
    e->literals = literals;
    e->n_literals = kept;
  }
}
