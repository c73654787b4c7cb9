/* `describe`: the module definition as text or JSON (spec/04 §7.2, spec/07 §15.2).
 *
 * Text: sections in a fixed order, empty ones left out, sorted by name except routes. JSON: the server's definition, or the one item.
 * Callers: the table of cli.c.
 */
#include "schema.h"
#include "describe.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *text_of(const json_t *object, const char *key) { return json_string_value(json_object_get(object, key)); }
static size_t number_of(const json_t *v) { return (size_t)json_number_value(v); }

/* ---- sorting ---- */

struct entry { const char *name; const json_t *item; };

static int by_name(const void *a, const void *b) { return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name); }

/* The items of `list` sorted by canonical name; kind: "Table", "Function", or NULL for plain `name` keys. Freed with lc_free. */
static struct entry *sorted(const struct lc_cli_schema *s, const json_t *list, const char *kind, size_t *n) {
  size_t count = json_array_size(list);
  struct entry *e = lc_alloc_zero(count + 1, sizeof *e);
  if (!e) lc_cli_out_of_memory();
  *n = 0;
  for (size_t i = 0; i < count; i++) {
    const json_t *item = json_array_get(list, i);
    const char *source = text_of(item, "source_name"), *name = source && kind ? lc_cli_schema_name(s, kind, source) : text_of(item, "name");
    if (name) e[(*n)++] = (struct entry){name, item};
  }
  qsort(e, *n, sizeof *e, by_name);
  return e;
}

/* ---- tables ---- */

static const json_t *columns_of(const struct lc_cli_schema *s, const json_t *table) {
  return json_object_get(json_object_get(json_array_get(s->types, number_of(json_object_get(table, "product_type_ref"))), "Product"), "elements");
}

static bool is_only(const json_t *columns, size_t column) { return json_array_size(columns) == 1 && number_of(json_array_get(columns, 0)) == column; }

static const json_t *unique_columns(const json_t *constraint) { return json_object_get(json_object_get(json_object_get(constraint, "data"), "Unique"), "columns"); }

static void put_flag(struct lc_buf *out, const char *flag) {
  if (out->len) lc_buf_str(out, ", ");
  lc_buf_str(out, flag);
}

static void put_default(struct lc_buf *flags, const struct lc_cli_schema *s, const json_t *type_json, const char *hex) {
  struct lc_arena arena = {0};
  size_t n = hex ? strlen(hex) : 0;
  uint8_t *bytes = lc_alloc(n / 2 + 1);
  const struct lc_type *type = lc_cli_type_from_json(&arena, type_json, s->types);
  struct lc_buf satn = {0};
  if (bytes && type && hex && n % 2 == 0 && lc_hex_decode(hex, n, bytes)) {
    struct lc_reader r = lc_reader(lc_slice(bytes, n / 2)), copy = r;
    if (lc_bsatn_validate(type, NULL, &copy, NULL) == LC_OK && lc_satn_write(&satn, type, &r) == LC_OK) {
      put_flag(flags, "default: ");
      lc_buf_slice_append(flags, lc_buf_slice(&satn));
    }
  }
  lc_buf_free(&satn);
  lc_free(bytes);
  lc_arena_free(&arena);
}

static char *column_flags(const struct lc_cli_schema *s, const json_t *table, size_t column, const json_t *type) {
  struct lc_buf flags = {0};
  const json_t *constraints = json_object_get(table, "constraints"), *sequences = json_object_get(table, "sequences"), *defaults = json_object_get(table, "default_values");
  bool key = is_only(json_object_get(table, "primary_key"), column), unique = false, sequence = false;
  for (size_t i = 0; i < json_array_size(constraints); i++) unique |= is_only(unique_columns(json_array_get(constraints, i)), column);
  for (size_t i = 0; i < json_array_size(sequences); i++) sequence |= number_of(json_object_get(json_array_get(sequences, i), "column")) == column;
  if (key) put_flag(&flags, "primary key");
  else if (unique) put_flag(&flags, "unique");
  if (sequence) put_flag(&flags, "auto-increment");
  for (size_t i = 0; i < json_array_size(defaults); i++) {
    const json_t *d = json_array_get(defaults, i);
    if (number_of(json_object_get(d, "col_id")) == column) put_default(&flags, s, type, text_of(d, "value"));
  }
  return lc_cli_text(&flags);
}

static size_t characters(const char *text) {
  size_t n = 0;
  for (; *text; text++) n += (*text & 0xc0) != 0x80;
  return n;
}

static void pad(struct lc_buf *out, const char *text, size_t width) {
  lc_buf_str(out, text);
  for (size_t n = characters(text); n < width; n++) lc_buf_u8(out, ' ');
}

static void trim_blanks(struct lc_buf *out) {
  while (out->len && out->data[out->len - 1] == ' ') out->len--;
}

static void put_columns(struct lc_buf *out, const struct lc_cli_schema *s, const json_t *table) {
  const json_t *columns = columns_of(s, table);
  size_t n = json_array_size(columns), name_width = 0, type_width = 0;
  char **types = lc_alloc_zero(n + 1, sizeof *types);
  if (!types) lc_cli_out_of_memory();
  for (size_t i = 0; i < n; i++) {
    const json_t *c = json_array_get(columns, i);
    struct lc_buf type = {0};
    lc_cli_schema_put_type(&type, s, json_object_get(c, "algebraic_type"), false);
    types[i] = lc_cli_text(&type);
    size_t w = lc_cli_schema_field(c) ? characters(lc_cli_schema_field(c)) : 0;
    if (w > name_width) name_width = w;
    w = characters(types[i]);
    if (w > type_width) type_width = w;
  }
  if (n) lc_buf_str(out, "    Columns:\n");
  for (size_t i = 0; i < n; i++) {
    const json_t *c = json_array_get(columns, i);
    char *flags = column_flags(s, table, i, json_object_get(c, "algebraic_type"));
    lc_buf_str(out, "      ");
    pad(out, lc_cli_schema_field(c) ? lc_cli_schema_field(c) : "", name_width + 2);
    pad(out, types[i], type_width + 2);
    lc_buf_str(out, flags);
    trim_blanks(out);
    lc_buf_u8(out, '\n');
    lc_free(flags);
    lc_free(types[i]);
  }
  lc_free(types);
}

/* `(a, b)`; `list` is an array of column numbers, or one number. */
static void put_column_list(struct lc_buf *out, const json_t *columns, const json_t *list) {
  lc_buf_u8(out, '(');
  size_t n = json_is_array(list) ? json_array_size(list) : 1;
  for (size_t i = 0; i < n; i++) {
    const char *name = lc_cli_schema_field(json_array_get(columns, number_of(json_is_array(list) ? json_array_get(list, i) : list)));
    lc_buf_printf(out, "%s%s", i ? ", " : "", name ? name : "?");
  }
  lc_buf_u8(out, ')');
}

static void put_indexes(struct lc_buf *out, const struct lc_cli_schema *s, const json_t *table) {
  static const char *const kinds[][2] = {{"BTree", "btree"}, {"Hash", "hash"}, {"Direct", "direct"}};
  const json_t *indexes = json_object_get(table, "indexes"), *constraints = json_object_get(table, "constraints"), *columns = columns_of(s, table);
  size_t width = 0, many = 0;
  for (size_t i = 0; i < json_array_size(indexes); i++) {
    const char *name = lc_cli_schema_option(json_object_get(json_array_get(indexes, i), "source_name"));
    if (!name) name = lc_cli_schema_field(json_array_get(indexes, i));
    if (name && characters(name) > width) width = characters(name);
  }
  if (json_array_size(indexes)) lc_buf_str(out, "    Indexes:\n");
  for (size_t i = 0; i < json_array_size(indexes); i++) {
    const json_t *index = json_array_get(indexes, i), *algorithm = json_object_get(index, "algorithm");
    const char *name = lc_cli_schema_option(json_object_get(index, "source_name"));
    if (!name) name = lc_cli_schema_field(index);
    lc_buf_str(out, "      ");
    pad(out, name ? name : "", width + 2);
    for (int k = 0; k < 3; k++) {
      const json_t *list = json_object_get(algorithm, kinds[k][0]);
      if (!list) continue;
      lc_buf_printf(out, "%s ", kinds[k][1]);
      put_column_list(out, columns, list);
    }
    lc_buf_u8(out, '\n');
  }
  for (size_t i = 0; i < json_array_size(constraints); i++) many += json_array_size(unique_columns(json_array_get(constraints, i))) > 1;
  if (many) lc_buf_str(out, "    Unique constraints:\n");
  for (size_t i = 0; i < json_array_size(constraints); i++) {
    const json_t *c = json_array_get(constraints, i);
    const char *name = lc_cli_schema_option(json_object_get(c, "source_name"));
    if (!name) name = lc_cli_schema_field(c);
    if (json_array_size(unique_columns(c)) < 2) continue;
    lc_buf_printf(out, "      %s%s", name ? name : "", name ? "  " : "");
    put_column_list(out, columns, unique_columns(c));
    lc_buf_u8(out, '\n');
  }
}

static void put_table(struct lc_buf *out, const struct lc_cli_schema *s, const char *name, const json_t *table) {
  bool is_public = json_object_get(json_object_get(table, "table_access"), "Public") != NULL;
  lc_buf_printf(out, "  %s (%s%s)\n", name, is_public ? "public" : "private", json_is_true(json_object_get(table, "is_event")) ? ", event" : "");
  put_columns(out, s, table);
  put_indexes(out, s, table);
  const char *source = text_of(table, "source_name");
  for (size_t i = 0; i < json_array_size(s->schedules); i++) {
    const json_t *schedule = json_array_get(s->schedules, i);
    const char *of = text_of(schedule, "table_name"), *function = text_of(schedule, "function_name");
    if (!of || !function || (strcmp(of, name) != 0 && !(source && strcmp(of, source) == 0))) continue;
    const char *canonical = lc_cli_schema_name(s, "Function", function);
    bool procedure = lc_cli_schema_find(s, s->procedures, function) != NULL;
    lc_buf_printf(out, "    Schedule: calls %s %s\n", procedure ? "procedure" : "reducer", canonical);
  }
}

/* ---- functions ---- */

static void put_signature(struct lc_buf *out, const struct lc_cli_schema *s, const char *name, const json_t *f) {
  const json_t *parameters = lc_cli_schema_parameters(f);
  lc_buf_printf(out, "  %s(", name);
  for (size_t i = 0; i < json_array_size(parameters); i++) {
    const json_t *p = json_array_get(parameters, i);
    lc_buf_printf(out, "%s%s: ", i ? ", " : "", lc_cli_schema_field(p) ? lc_cli_schema_field(p) : "_");
    lc_cli_schema_put_type(out, s, json_object_get(p, "algebraic_type"), false);
  }
  lc_buf_u8(out, ')');
}

static void put_view(struct lc_buf *out, const struct lc_cli_schema *s, const char *name, const json_t *view) {
  put_signature(out, s, name, view);
  lc_buf_str(out, " -> ");
  lc_cli_schema_put_type(out, s, json_object_get(view, "return_type"), false);
  lc_buf_printf(out, "  [%s]%s\n", json_is_false(json_object_get(view, "is_public")) ? "private" : "public", json_is_true(json_object_get(view, "is_anonymous")) ? " [anonymous]" : "");
}

static bool is_private(const json_t *f) { return json_object_get(json_object_get(f, "visibility"), "Private") != NULL; }

static void put_reducer(struct lc_buf *out, const struct lc_cli_schema *s, const char *name, const json_t *reducer) {
  static const char *const tags[][2] = {{"Init", "init"}, {"OnConnect", "client_connected"}, {"OnDisconnect", "client_disconnected"}};
  const char *source = text_of(reducer, "source_name"), *tag = NULL;
  const json_t *own = json_object_get(json_object_get(reducer, "lifecycle"), "some"); /* version 9 */
  for (int k = 0; k < 3; k++)
    if (json_object_get(own, tags[k][0])) tag = tags[k][1];
  for (size_t i = 0; i < json_array_size(s->lifecycle); i++) {
    const json_t *l = json_array_get(s->lifecycle, i);
    const char *of = text_of(l, "function_name");
    for (int k = 0; of && k < 3; k++)
      if ((strcmp(of, name) == 0 || (source && strcmp(of, source) == 0)) && json_object_get(json_object_get(l, "lifecycle_spec"), tags[k][0])) tag = tags[k][1];
  }
  put_signature(out, s, name, reducer);
  if (tag) lc_buf_printf(out, "  [lifecycle: %s]", tag);
  if (is_private(reducer)) lc_buf_printf(out, "%s[private]", tag ? " " : "  ");
  lc_buf_u8(out, '\n');
}

static void put_procedure(struct lc_buf *out, const struct lc_cli_schema *s, const char *name, const json_t *procedure) {
  put_signature(out, s, name, procedure);
  lc_buf_str(out, " -> ");
  lc_cli_schema_put_type(out, s, json_object_get(procedure, "return_type"), false);
  lc_buf_printf(out, "%s\n", is_private(procedure) ? "  [private]" : "");
}

/* ---- routes, environment, types ---- */

static void put_route(struct lc_buf *out, const json_t *route) {
  const json_t *method = json_object_get(json_object_get(route, "method"), "Method");
  const char *path = text_of(route, "path"), *handler = text_of(route, "handler_function"), *name = "ANY", *key;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)method, key, value) name = json_string_value(value) ? json_string_value(value) : key; /* Extension holds its name */
  for (const char *p = name; *p; p++) lc_buf_u8(out, (uint8_t)(*p >= 'a' && *p <= 'z' ? *p - 32 : *p));
  lc_buf_printf(out, " %s \xe2\x86\x92 %s\n", path && *path ? path : "\"\"", handler ? handler : "?");
}

static void put_env(struct lc_buf *out, const char *name, const json_t *variable, size_t width) {
  const json_t *type = json_object_get(variable, "ty"), *list = json_object_get(type, "Union");
  const char *literal = text_of(type, "StringLiteral");
  lc_buf_str(out, "  ");
  pad(out, name, width + 2);
  if (literal) lc_json_escape(out, lc_slice_str(literal));
  else if (!list) lc_buf_str(out, "String");
  for (size_t i = 0; i < json_array_size(list); i++) {
    const char *text = json_string_value(json_array_get(list, i));
    if (i) lc_buf_str(out, " | ");
    lc_json_escape(out, lc_slice_str(text ? text : ""));
  }
  lc_buf_printf(out, "%s\n", json_is_true(json_object_get(variable, "optional")) ? "  optional" : "");
}

static void put_type_def(struct lc_buf *out, const struct lc_cli_schema *s, const char *name, const json_t *type) {
  const json_t *sum = json_object_get(json_object_get(type, "Sum"), "variants"), *product = json_object_get(json_object_get(type, "Product"), "elements");
  lc_buf_printf(out, "  %s = ", name);
  if (sum) {
    for (size_t i = 0; i < json_array_size(sum); i++) {
      const json_t *v = json_array_get(sum, i), *payload = json_object_get(v, "algebraic_type"), *elements = json_object_get(json_object_get(payload, "Product"), "elements");
      lc_buf_printf(out, "%s%s", i ? " | " : "", lc_cli_schema_field(v) ? lc_cli_schema_field(v) : "_");
      if (elements && json_array_size(elements) == 0) continue;
      lc_buf_u8(out, '(');
      lc_cli_schema_put_type(out, s, payload, false);
      lc_buf_u8(out, ')');
    }
  } else if (product && json_array_size(product) == 0) {
    lc_buf_str(out, "{}");
  } else if (product) {
    for (size_t i = 0; i < json_array_size(product); i++) {
      const json_t *e = json_array_get(product, i);
      lc_buf_printf(out, "%s%s: ", i ? ", " : "{ ", lc_cli_schema_field(e) ? lc_cli_schema_field(e) : "_");
      lc_cli_schema_put_type(out, s, json_object_get(e, "algebraic_type"), false);
    }
    lc_buf_str(out, " }");
  } else {
    lc_cli_schema_put_type(out, s, type, false);
  }
  lc_buf_u8(out, '\n');
}

/* Marks the named types that `type` leads to; `seen` has one flag a typespace entry. */
static void reach(const struct lc_cli_schema *s, const json_t *type, bool *seen, unsigned depth) {
  const json_t *v = json_object_get(type, "Ref"), *list;
  if (depth > LC_TYPE_MAX_DEPTH) return;
  if (v) {
    size_t ref = number_of(v);
    if (ref >= json_array_size(s->types) || seen[ref]) return;
    seen[ref] = true;
    reach(s, json_array_get(s->types, ref), seen, depth + 1);
  } else if ((v = json_object_get(type, "Array"))) {
    reach(s, v, seen, depth + 1);
  } else {
    list = json_object_get(json_object_get(type, "Product"), "elements");
    if (!list) list = json_object_get(json_object_get(type, "Sum"), "variants");
    for (size_t i = 0; i < json_array_size(list); i++) reach(s, json_object_get(json_array_get(list, i), "algebraic_type"), seen, depth + 1);
  }
}

static void reach_functions(const struct lc_cli_schema *s, const json_t *list, bool *seen) {
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *f = json_array_get(list, i), *parameters = lc_cli_schema_parameters(f);
    for (size_t k = 0; k < json_array_size(parameters); k++) reach(s, json_object_get(json_array_get(parameters, k), "algebraic_type"), seen, 0);
    reach(s, json_object_get(f, "return_type"), seen, 0);
  }
}

/* Named types that columns, parameters and returns lead to, row types left out; sorted. */
static struct entry *shown_types(const struct lc_cli_schema *s, size_t *n) {
  size_t n_types = json_array_size(s->types), n_defs = json_array_size(s->type_defs);
  bool *seen = lc_alloc_zero(n_types + 1, sizeof *seen);
  struct entry *e = lc_alloc_zero(n_defs + 1, sizeof *e);
  if (!seen || !e) lc_cli_out_of_memory();
  for (size_t i = 0; i < json_array_size(s->tables); i++) {
    const json_t *columns = columns_of(s, json_array_get(s->tables, i));
    for (size_t k = 0; k < json_array_size(columns); k++) reach(s, json_object_get(json_array_get(columns, k), "algebraic_type"), seen, 0);
  }
  reach_functions(s, s->reducers, seen);
  reach_functions(s, s->procedures, seen);
  reach_functions(s, s->views, seen);
  for (size_t i = 0; i < json_array_size(s->tables); i++) {
    size_t row = number_of(json_object_get(json_array_get(s->tables, i), "product_type_ref"));
    if (row < n_types) seen[row] = false;
  }
  *n = 0;
  for (size_t ref = 0; ref < n_types && *n < n_defs; ref++) {
    const char *name = seen[ref] ? lc_cli_schema_type_name(s, ref) : NULL;
    if (name) e[(*n)++] = (struct entry){name, json_array_get(s->types, ref)};
  }
  qsort(e, *n, sizeof *e, by_name);
  lc_free(seen);
  return e;
}

/* ---- the whole ---- */

enum kind { TABLES, VIEWS, REDUCERS, PROCEDURES, ROUTES, ENVIRONMENT, TYPES, POLICIES, N_KINDS };
static const char *const titles[N_KINDS] = {"Tables", "Views", "Reducers", "Procedures", "HTTP routes", "Environment variables", "Types", "Row-level security"};
static const char *const missing[N_KINDS] = {"no such table", "no such view", "no such reducer", "no such procedure", "no such route", "no such environment variable", "no such type", ""};

/* Appends one section, or its one item called `only`; false if there is none. */
static bool put_section(struct lc_buf *out, const struct lc_cli_schema *s, enum kind kind, const char *only, bool colour) {
  struct entry *e = NULL;
  size_t n = 0, width = 0, written = 0;
  switch (kind) {
  case TABLES: e = sorted(s, s->tables, "Table", &n); break;
  case VIEWS: e = sorted(s, s->views, "Function", &n); break;
  case REDUCERS: e = sorted(s, s->reducers, "Function", &n); break;
  case PROCEDURES: e = sorted(s, s->procedures, "Function", &n); break;
  case ENVIRONMENT: e = sorted(s, s->environment, NULL, &n); break;
  case TYPES: e = shown_types(s, &n); break;
  case ROUTES: n = json_array_size(s->routes); break;
  default: n = json_array_size(s->row_level_security); break;
  }
  for (size_t i = 0; e && i < n; i++)
    if (characters(e[i].name) > width) width = characters(e[i].name);
  for (size_t i = 0; i < n; i++) {
    const json_t *route = json_array_get(s->routes, i);
    const char *name = e ? e[i].name : kind == ROUTES ? text_of(route, "path") : NULL;
    if (only && !(name && strcmp(name, only) == 0)) continue;
    if (written++ == 0) lc_buf_printf(out, "%s%s%s%s\n", out->len ? "\n" : "", colour ? "\033[1m" : "", titles[kind], colour ? "\033[0m" : "");
    if (kind == TABLES) put_table(out, s, name, e[i].item);
    else if (kind == VIEWS) put_view(out, s, name, e[i].item);
    else if (kind == REDUCERS) put_reducer(out, s, name, e[i].item);
    else if (kind == PROCEDURES) put_procedure(out, s, name, e[i].item);
    else if (kind == ENVIRONMENT) put_env(out, name, e[i].item, width);
    else if (kind == TYPES) put_type_def(out, s, name, e[i].item);
    else if (kind == ROUTES) {
      lc_buf_str(out, "  ");
      put_route(out, route);
    } else {
      const char *sql = text_of(json_array_get(s->row_level_security, i), "sql");
      lc_buf_printf(out, "  %s\n", sql ? sql : "");
    }
  }
  lc_free(e);
  return written > 0;
}

void lc_cli_describe_text(struct lc_buf *out, const struct lc_cli_schema *s, bool colour) {
  for (int kind = 0; kind < N_KINDS; kind++) put_section(out, s, (enum kind)kind, NULL, colour);
}

static int kind_of(const char *text) {
  static const struct { const char *name; enum kind kind; } names[] = {
    {"tables", TABLES}, {"table", TABLES}, {"views", VIEWS}, {"view", VIEWS}, {"reducers", REDUCERS}, {"reducer", REDUCERS}, {"procedures", PROCEDURES}, {"procedure", PROCEDURES},
    {"routes", ROUTES}, {"route", ROUTES}, {"env", ENVIRONMENT}, {"environment", ENVIRONMENT}, {"types", TYPES}, {"type", TYPES}};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(names[i].name, text) == 0) return (int)names[i].kind;
  return -1;
}

static bool same_text(struct lc_slice json, const char *text) { return text && json.len == strlen(text) + 2 && memcmp(json.data + 1, text, json.len - 2) == 0; }

/* The name of an item in raw JSON: `source_name` or `name`, which may be a text or a scoped name. */
static bool item_is(const struct lc_cli_schema *s, struct lc_slice item, const char *wanted, const char *kind) {
  struct lc_slice name, inner;
  if (!lc_cli_json_member(item, "source_name", &name) && !lc_cli_json_member(item, "name", &name) && !lc_cli_json_member(item, "path", &name)) return false;
  if (lc_cli_json_member(name, "source_name", &inner) || lc_cli_json_member(name, "name", &inner)) name = inner;
  if (same_text(name, wanted)) return true;
  for (size_t i = 0; i < json_array_size(s->explicit_names); i++) {
    const json_t *m = json_object_get(json_array_get(s->explicit_names, i), kind);
    const char *canonical = text_of(m, "canonical_name");
    if (canonical && strcmp(canonical, wanted) == 0 && same_text(name, text_of(m, "source_name"))) return true;
  }
  return false;
}

/* The list of a kind in the raw definition: a section of version 10, or a member of version 9. */
static bool raw_list(struct lc_slice root, enum kind kind, struct lc_slice *list) {
  static const char *const sections[N_KINDS] = {"Tables", "Views", "Reducers", "Procedures", "HttpRoutes", "Environment", "Types", "RowLevelSecurity"};
  static const char *const members[N_KINDS] = {"tables", "views", "reducers", "procedures", "routes", "environment", "types", "row_level_security"};
  struct lc_slice all, section;
  struct lc_cli_json j;
  if (!lc_cli_json_member(root, "sections", &all)) return lc_cli_json_member(root, members[kind], list);
  if (!lc_cli_json_enter(all, '[', &j)) return false;
  while (lc_cli_json_item(&j, &section))
    if (lc_cli_json_member(section, sections[kind], list)) return true;
  return false;
}

static int describe_json(struct lc_cli *cli, const struct lc_cli_schema *s, int kind, const char *only) {
  struct lc_slice root = lc_slice_str(s->raw), value = root, list, item;
  bool found = kind < 0;
  if (kind >= 0 && raw_list(root, (enum kind)kind, &list)) {
    struct lc_cli_json j;
    value = list;
    found = !only;
    if (only && lc_cli_json_enter(list, '[', &j))
      while (!found && lc_cli_json_item(&j, &item)) {
        found = item_is(s, item, only, kind == TABLES ? "Table" : "Function");
        value = item;
      }
  } else if (kind >= 0 && !only) {
    value = lc_slice_str("[]");
    found = true;
  }
  if (!found) return lc_cli_fail(cli, "%s", missing[kind]);
  struct lc_buf out = {0};
  lc_cli_json_pretty(&out, value);
  lc_buf_u8(&out, '\n');
  lc_cli_print(&out);
  lc_buf_free(&out);
  return 0;
}

int lc_cli_cmd_describe(struct lc_cli *cli, const struct lc_cli_args *args) {
  const char *format = lc_cli_value(args, "format");
  bool json = lc_cli_has(args, "json");
  if (json && format) return lc_cli_usage_error(cli, "the argument '--json' cannot be used with '--format <VALUE>'");
  if (format && strcmp(format, "json") != 0 && strcmp(format, "text") != 0) return lc_cli_usage_error(cli, "invalid value '%s' for '--format <VALUE>'\n  [possible values: text, json]", format);
  json |= format && strcmp(format, "json") == 0;
  const char *database;
  int kind = -1, next, rc = lc_cli_leading_database(cli, args, &database, &next);
  if (rc != 0) return rc;
  if (args->n > next + 2) return lc_cli_usage_error(cli, "unexpected argument '%s' found", args->positional[next + 2]);
  if (args->n > next && (kind = kind_of(args->positional[next])) < 0)
    return lc_cli_fail(cli, "Invalid entity_type '%s'. Expected one of: env, procedures, reducers, routes, tables, types, views.", args->positional[next]);
  const char *only = args->n > next + 1 ? args->positional[next + 1] : NULL;
  struct lc_cli_target t;
  struct lc_cli_schema s = {0};
  rc = lc_cli_target(cli, args, database, &t);
  if (rc != 0) return rc;
  rc = lc_cli_schema_fetch(cli, &t, &s);
  if (rc == 0 && json) {
    rc = describe_json(cli, &s, kind, only);
  } else if (rc == 0) {
    bool colour = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
    struct lc_buf out = {0};
    if (kind < 0) lc_cli_describe_text(&out, &s, colour);
    else if (!put_section(&out, &s, (enum kind)kind, only, colour) && only) rc = lc_cli_fail(cli, "%s", missing[kind]);
    lc_cli_print(&out);
    lc_buf_free(&out);
  }
  lc_cli_schema_free(&s);
  lc_cli_target_free(&t);
  return rc;
}
