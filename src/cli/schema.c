/* Reading a module definition in JSON (schema.h). Callers: query.c (`call`), describe.c. */
#include "schema.h"
#include <stdio.h>

enum { MAX_HOPS = 64, MAX_DEPTH = 16 };

bool lc_cli_schema_parse(struct lc_cli_schema *s, const char *text, size_t len) {
  *s = (struct lc_cli_schema){0};
  s->root = json_loadb(text, len, JSON_DECODE_INT_AS_REAL, NULL);
  if (!json_is_object(s->root)) {
    lc_cli_schema_free(s);
    return false;
  }
  s->raw = lc_strdup_n(text, len);
  if (!s->raw) lc_cli_out_of_memory();
  const json_t *sections = json_object_get(s->root, "sections");
  s->types = json_object_get(json_object_get(s->root, "typespace"), "types"); /* version 9 has no sections */
  s->type_defs = json_object_get(s->root, "types");
  s->tables = json_object_get(s->root, "tables");
  s->reducers = json_object_get(s->root, "reducers");
  s->row_level_security = json_object_get(s->root, "row_level_security");
  const struct { const char *name; const json_t **list; } known[] = {
    {"Types", &s->type_defs}, {"Tables", &s->tables}, {"Reducers", &s->reducers}, {"Procedures", &s->procedures}, {"Views", &s->views}, {"Schedules", &s->schedules},
    {"LifeCycleReducers", &s->lifecycle}, {"HttpRoutes", &s->routes}, {"Environment", &s->environment}, {"RowLevelSecurity", &s->row_level_security},
  };
  for (size_t i = 0; i < json_array_size(sections); i++) {
    const json_t *section = json_array_get(sections, i), *v;
    if ((v = json_object_get(section, "Typespace"))) s->types = json_object_get(v, "types");
    if ((v = json_object_get(section, "ExplicitNames"))) s->explicit_names = json_object_get(v, "entries");
    for (size_t k = 0; k < sizeof known / sizeof *known; k++)
      if ((v = json_object_get(section, known[k].name))) *known[k].list = v;
  }
  return true;
}

int lc_cli_schema_fetch(struct lc_cli *cli, const struct lc_cli_target *t, struct lc_cli_schema *s) {
  struct lc_cli_reply reply = {0};
  *s = (struct lc_cli_schema){0};
  int rc = lc_cli_target_request(cli, t, "GET", "/schema?version=10", NULL, NULL, &reply);
  if (rc == 0 && reply.status >= 400 && reply.status < 500) {
    lc_buf_free(&reply.body);
    rc = lc_cli_target_request(cli, t, "GET", "/schema?version=9", NULL, NULL, &reply);
  }
  if (rc == 0 && reply.status != 200) rc = lc_cli_http_fail(cli, &reply, t->url);
  if (rc == 0 && !lc_cli_schema_parse(s, (const char *)reply.body.data, reply.body.len)) rc = lc_cli_fail(cli, "the server's schema cannot be read");
  lc_buf_free(&reply.body);
  return rc;
}

void lc_cli_schema_free(struct lc_cli_schema *s) {
  json_decref(s->root);
  lc_free(s->raw);
  *s = (struct lc_cli_schema){0};
}

const char *lc_cli_schema_name(const struct lc_cli_schema *s, const char *kind, const char *source) {
  for (size_t i = 0; source && i < json_array_size(s->explicit_names); i++) {
    const json_t *m = json_object_get(json_array_get(s->explicit_names, i), kind);
    const char *from = json_string_value(json_object_get(m, "source_name")), *to = json_string_value(json_object_get(m, "canonical_name"));
    if (from && to && strcmp(from, source) == 0) return to;
  }
  return source;
}

const char *lc_cli_schema_function(const struct lc_cli_schema *s, const json_t *f) {
  const char *name = json_string_value(json_object_get(f, "source_name"));
  return name ? lc_cli_schema_name(s, "Function", name) : json_string_value(json_object_get(f, "name")); /* version 9: canonical */
}

const json_t *lc_cli_schema_find(const struct lc_cli_schema *s, const json_t *list, const char *name) {
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *f = json_array_get(list, i);
    const char *canonical = lc_cli_schema_function(s, f), *source = json_string_value(json_object_get(f, "source_name"));
    if ((canonical && strcmp(canonical, name) == 0) || (source && strcmp(source, name) == 0)) return f;
  }
  return NULL;
}

const json_t *lc_cli_schema_parameters(const json_t *f) { return json_object_get(json_object_get(f, "params"), "elements"); }

const json_t *lc_cli_schema_resolve(const struct lc_cli_schema *s, const json_t *type) {
  for (int hops = 0; hops < MAX_HOPS; hops++) {
    const json_t *ref = json_object_get(type, "Ref");
    if (!ref) return type;
    type = json_array_get(s->types, (size_t)json_number_value(ref));
  }
  return NULL;
}

const char *lc_cli_schema_option(const json_t *value) {
  const json_t *some = json_object_get(value, "some");
  return json_string_value(some ? some : value);
}

const char *lc_cli_schema_field(const json_t *f) { return lc_cli_schema_option(json_object_get(f, "name")); }

bool lc_cli_schema_is_special(const json_t *type, const char *name) {
  const json_t *elements = json_object_get(json_object_get(type, "Product"), "elements");
  const char *first = json_array_size(elements) == 1 ? lc_cli_schema_field(json_array_get(elements, 0)) : NULL;
  return first && strcmp(first, name) == 0;
}

const char *lc_cli_schema_type_name(const struct lc_cli_schema *s, size_t ref) {
  for (size_t i = 0; i < json_array_size(s->type_defs); i++) {
    const json_t *def = json_array_get(s->type_defs, i), *name = json_object_get(def, "source_name");
    if ((size_t)json_number_value(json_object_get(def, "ty")) != ref) continue;
    if (!name) name = json_object_get(def, "name");
    const char *text = json_string_value(json_object_get(name, "source_name"));
    return text ? text : json_string_value(json_object_get(name, "name"));
  }
  return NULL;
}

/* `Option<T>`, `Result<T, E>`, `ScheduleAt`: true if the sum is one and was written. */
static bool put_known_sum(struct lc_buf *out, const struct lc_cli_schema *s, const json_t *variants, bool lower, unsigned depth);

static void put_type(struct lc_buf *out, const struct lc_cli_schema *s, const json_t *type, bool lower, unsigned depth) {
  static const char *const specials[][2] = {{"__identity__", "Identity"}, {"__connection_id__", "ConnectionId"}, {"__timestamp_micros_since_unix_epoch__", "Timestamp"}, {"__time_duration_micros__", "TimeDuration"}, {"__uuid__", "Uuid"}};
  const json_t *v, *list;
  if (depth > MAX_DEPTH || !type) {
    lc_buf_u8(out, '?');
    return;
  }
  if ((v = json_object_get(type, "Ref"))) {
    size_t ref = (size_t)json_number_value(v);
    const char *name = lc_cli_schema_type_name(s, ref);
    if (name) lc_buf_str(out, name);
    else put_type(out, s, json_array_get(s->types, ref), lower, depth + 1);
    return;
  }
  if ((v = json_object_get(type, "Array"))) {
    lc_buf_str(out, "Array<");
    put_type(out, s, v, lower, depth + 1);
    lc_buf_u8(out, '>');
    return;
  }
  for (size_t i = 0; i < sizeof specials / sizeof *specials; i++)
    if (lc_cli_schema_is_special(type, specials[i][0])) {
      lc_buf_str(out, specials[i][1]);
      return;
    }
  bool sum = json_object_get(type, "Sum") != NULL;
  if (sum || json_object_get(type, "Product")) {
    list = sum ? json_object_get(json_object_get(type, "Sum"), "variants") : json_object_get(json_object_get(type, "Product"), "elements");
    if (sum && put_known_sum(out, s, list, lower, depth)) return;
    lc_buf_u8(out, '(');
    for (size_t i = 0; i < json_array_size(list); i++) {
      const json_t *f = json_array_get(list, i);
      if (i) lc_buf_str(out, sum ? " | " : ", ");
      if (lc_cli_schema_field(f)) lc_buf_printf(out, "%s: ", lc_cli_schema_field(f));
      put_type(out, s, json_object_get(f, "algebraic_type"), lower, depth + 1);
    }
    lc_buf_u8(out, ')');
    return;
  }
  const char *name = json_object_iter_key(json_object_iter((json_t *)(uintptr_t)type));
  if (!name) name = "?";
  for (const char *p = name; *p; p++) lc_buf_u8(out, (uint8_t)(lower && strcmp(name, "String") != 0 && *p >= 'A' && *p <= 'Z' ? *p + 32 : *p));
}

static bool put_known_sum(struct lc_buf *out, const struct lc_cli_schema *s, const json_t *variants, bool lower, unsigned depth) {
  static const struct { const char *first, *second, *name; unsigned shown; } known[] = {{"some", "none", "Option", 1}, {"ok", "err", "Result", 2}, {"Interval", "Time", "ScheduleAt", 0}};
  const char *first = lc_cli_schema_field(json_array_get(variants, 0)), *second = lc_cli_schema_field(json_array_get(variants, 1));
  for (size_t i = 0; json_array_size(variants) == 2 && first && second && i < 3; i++) {
    if (strcmp(first, known[i].first) != 0 || strcmp(second, known[i].second) != 0) continue;
    lc_buf_str(out, known[i].name);
    for (unsigned k = 0; k < known[i].shown; k++) {
      lc_buf_str(out, k ? ", " : "<");
      put_type(out, s, json_object_get(json_array_get(variants, k), "algebraic_type"), lower, depth + 1);
    }
    if (known[i].shown) lc_buf_u8(out, '>');
    return true;
  }
  return false;
}

void lc_cli_schema_put_type(struct lc_buf *out, const struct lc_cli_schema *s, const json_t *type, bool lower) { put_type(out, s, type, lower, 0); }
