/* TypeScript bindings for the npm package `spacetimedb` (spec/04 §9.2).
 *
 * One file per table, view, reducer and procedure, `types.ts` with the named types, `types/` with aliases of parameters, `index.ts` with the
 * schema and the connection; a submodule's files stand in a folder of their own. Names from the package carry `__` in front, and only those
 * that a file uses are imported, so that no user name clashes and strict compilers have nothing to say.
 */
#include "codegen_internal.h"
#include <ctype.h>
#include <stdio.h>

#define HEAD "\n/* eslint-disable */\n/* tslint:disable */"

/* ---- types as builders ---- */

/* What is written without looking inside: the builder's name, and the type itself. */
struct plain { const char *builder, *native; };
static const struct plain *plain_of(const struct lc_type *t) {
  static const struct plain special[] = {
    [LC_SPECIAL_IDENTITY] = {"identity", "__Identity"}, [LC_SPECIAL_CONNECTION_ID] = {"connectionId", "__ConnectionId"}, [LC_SPECIAL_TIMESTAMP] = {"timestamp", "__Timestamp"},
    [LC_SPECIAL_DURATION] = {"timeDuration", "__TimeDuration"}, [LC_SPECIAL_UUID] = {"uuid", "__Uuid"}, [LC_SPECIAL_SCHEDULE_AT] = {"scheduleAt", "__ScheduleAt"}};
  static const struct plain kinds[] = {
    [LC_T_STRING] = {"string", "string"}, [LC_T_BOOL] = {"bool", "boolean"}, [LC_T_I8] = {"i8", "number"}, [LC_T_U8] = {"u8", "number"}, [LC_T_I16] = {"i16", "number"},
    [LC_T_U16] = {"u16", "number"}, [LC_T_I32] = {"i32", "number"}, [LC_T_U32] = {"u32", "number"}, [LC_T_I64] = {"i64", "bigint"}, [LC_T_U64] = {"u64", "bigint"},
    [LC_T_I128] = {"i128", "bigint"}, [LC_T_U128] = {"u128", "bigint"}, [LC_T_I256] = {"i256", "bigint"}, [LC_T_U256] = {"u256", "bigint"}, [LC_T_F32] = {"f32", "number"}, [LC_T_F64] = {"f64", "number"}};
  static const struct plain bytes = {"byteArray", "Uint8Array"}, unit = {"unit", "{}"}, never = {"never", "never"};
  if (t->special != LC_SPECIAL_NONE && t->special <= LC_SPECIAL_SCHEDULE_AT) return &special[t->special];
  if (t->kind > LC_T_ARRAY) return &kinds[t->kind];
  if (cg_is_bytes(t)) return &bytes;
  if (cg_is_unit(t)) return &unit;
  return t->kind == LC_T_SUM && t->n_fields == 0 ? &never : NULL;
}

/* A type that has a name is its name. False: too deep, which is noted in `out`, or *t is to be spelled out, its reference followed. */
static bool put_named(struct lc_buf *out, const struct cg_space *s, const struct lc_type **t, unsigned depth) {
  const struct cg_type *named = cg_named(s, *t);
  if (named) lc_buf_slice_append(out, named->name.pascal);
  if (depth > CG_MAX_DEPTH) out->failed = true;
  *t = cg_deref(s, *t);
  return named;
}

/* A definition uses only plain types, arrays, options, results and what has a name (spec/01 §14). */
static void put_type(struct lc_buf *out, const struct cg_space *s, const struct lc_type *t, unsigned depth) {
  if (put_named(out, s, &t, depth) || out->failed) return;
  const struct plain *plain = plain_of(t);
  if (plain) {
    lc_buf_printf(out, "__t.%s()", plain->builder);
    return;
  }
  lc_assert(t->kind == LC_T_ARRAY || t->special == LC_SPECIAL_OPTION || t->special == LC_SPECIAL_RESULT);
  lc_buf_str(out, t->kind == LC_T_ARRAY ? "__t.array(" : t->special == LC_SPECIAL_OPTION ? "__t.option(" : "__t.result(");
  put_type(out, s, t->kind == LC_T_ARRAY ? t->elem : t->fields[0].type, depth + 1);
  if (t->special == LC_SPECIAL_RESULT) {
    lc_buf_str(out, ", ");
    put_type(out, s, t->fields[1].type, depth + 1);
  }
  lc_buf_u8(out, ')');
}

/* `key: builder,` or, when it mentions a named type, a getter: constants may be used before they are defined. `more` follows the builder. */
static void put_field(struct lc_buf *out, const struct cg_space *s, struct lc_slice key, const struct lc_type *t, const char *more) {
  bool late = cg_has_named(s, t);
  lc_buf_printf(out, late ? "  get %.*s() {\n    return " : "  %.*s: ", CG_S(key));
  put_type(out, s, t, 0);
  lc_buf_printf(out, late ? "%s;\n  },\n" : "%s,\n", more);
}

static void put_fields(struct cg_model *m, struct lc_buf *out, const struct cg_space *s, const struct lc_type *t) {
  for (uint32_t i = 0; i < t->n_fields; i++) {
    struct cg_name name = cg_name(m, t->fields[i].name);
    put_field(out, s, t->kind == LC_T_SUM ? name.pascal : name.camel, t->fields[i].type, "");
  }
}

/* ---- types as types: only recursive ones must be spelled out, all others are inferred ---- */

/* `definition`: t is what a name stands for, and so spelled out. */
static void put_native(struct cg_model *m, struct lc_buf *out, const struct cg_space *s, const struct lc_type *t, bool definition, unsigned depth) {
  if ((!definition && put_named(out, s, &t, depth)) || out->failed) return;
  const struct plain *plain = plain_of(t);
  if (plain) {
    lc_buf_str(out, plain->native);
  } else if (t->kind == LC_T_ARRAY) {
    lc_buf_u8(out, '(');
    put_native(m, out, s, t->elem, false, depth + 1);
    lc_buf_str(out, ")[]");
  } else if (t->special == LC_SPECIAL_OPTION) {
    put_native(m, out, s, t->fields[0].type, false, depth + 1);
    lc_buf_str(out, " | undefined");
  } else if (t->special == LC_SPECIAL_RESULT) {
    lc_buf_str(out, "{ ok: ");
    put_native(m, out, s, t->fields[0].type, false, depth + 1);
    lc_buf_str(out, " } | { err: ");
    put_native(m, out, s, t->fields[1].type, false, depth + 1);
    lc_buf_str(out, " }");
  } else if (t->kind == LC_T_PRODUCT) {
    lc_buf_str(out, "{");
    for (uint32_t i = 0; i < t->n_fields; i++) {
      lc_buf_printf(out, " %.*s: ", CG_S(cg_name(m, t->fields[i].name).camel));
      put_native(m, out, s, t->fields[i].type, false, depth + 1);
      lc_buf_u8(out, ';');
    }
    lc_buf_str(out, " }");
  } else {
    for (uint32_t i = 0; i < t->n_fields; i++) {
      lc_buf_printf(out, "%s{ tag: \"%.*s\"", i ? " | " : "", CG_S(cg_name(m, t->fields[i].name).pascal));
      if (!cg_is_unit(cg_deref(s, t->fields[i].type))) {
        lc_buf_str(out, "; value: ");
        put_native(m, out, s, t->fields[i].type, false, depth + 1);
      }
      lc_buf_str(out, " }");
    }
  }
}

/* ---- imports ---- */

/* Writes `import { a as __a, … } from "spacetimedb";` with those names whose `__` form occurs in the body. */
static void put_imports(struct lc_buf *out, const struct lc_buf *body) {
  static const char *const values[] = {"DbConnectionBuilder", "DbConnectionImpl", "SubscriptionBuilderImpl", "convertToAccessorMap", "makeQueryBuilder", "procedureSchema", "procedures",
                                       "reducerSchema", "reducers", "schema", "t", "table",
                                       "type AlgebraicTypeType", "type ConnectionId", "type DbConnectionConfig", "type ErrorContextInterface", "type EventContextInterface", "type Identity", "type Infer",
                                       "type ReducerEventContextInterface", "type RemoteModule", "type ScheduleAt", "type SubscriptionEventContextInterface", "type SubscriptionHandleImpl",
                                       "type TimeDuration", "type Timestamp", "type TypeBuilder", "type Uuid"};
  bool any = false;
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
    char word[64];
    const char *name = strncmp(values[i], "type ", 5) == 0 ? values[i] + 5 : values[i];
    size_t n = 0;
    word[n++] = '_';
    word[n++] = '_';
    for (const char *p = name; *p && n < sizeof word; p++) word[n++] = *p;
    bool used = false;
    for (const uint8_t *p = body->data, *end = p + body->len; !used && p && (p = memmem(p, (size_t)(end - p), word, n)); p++)
      used = p + n == end || !(p[n] == '_' || isalnum(p[n]));
    if (used) lc_buf_printf(out, "%s  %s as __%s,\n", any ? "" : "import {\n", values[i], name);
    any |= used;
  }
  if (any) lc_buf_str(out, "} from \"spacetimedb\";\n");
}

/* Puts head, imports and body together. uses: imported from ./types, and ended; or NULL. */
static void finish(struct cg_model *m, struct lc_buf *out, struct lc_buf *body, struct cg_uses *uses) {
  put_imports(out, body);
  const struct cg_type *named = uses ? cg_uses_next(uses, NULL) : NULL;
  if (named) lc_buf_str(out, "import {\n");
  for (const struct cg_type *t = named; t; t = cg_uses_next(uses, t)) lc_buf_printf(out, "  %.*s,\n", CG_S(t->name.pascal));
  if (named) lc_buf_str(out, "} from \"./types\";\n");
  if (uses) cg_uses_end(uses);
  lc_buf_u8(out, '\n');
  lc_buf_slice_append(out, lc_buf_slice(body));
  m->no_memory |= !lc_buf_ok(body);
  lc_buf_free(body);
}

/* ---- one file per thing ---- */

#define IN_FOLDER(space) CG_S((space)->folder), (space)->folder.len ? "/" : ""

static bool table_file(struct cg_model *m, const struct cg_table *t) {
  struct lc_buf *out = cg_file(m, HEAD, "%.*s%s%.*s_table.ts", IN_FOLDER(t->space), CG_S(t->name.snake)), body = {0};
  struct cg_uses uses;
  if (!out || !cg_uses_begin(&uses, m)) return false;
  lc_buf_str(&body, "export default __t.row({\n");
  for (uint32_t i = 0; i < t->n_columns; i++) {
    const struct cg_column *c = &t->columns[i];
    struct lc_buf more = {0};
    if (t->primary_key == (int32_t)i) lc_buf_str(&more, ".primaryKey()");
    bool named_builder = cg_deref(t->space, c->type)->special != LC_SPECIAL_RESULT; /* the library's builder of results knows no names; queries cannot compare them */
    if (named_builder && !lc_slice_eq(c->name.camel, c->wire)) {
      lc_buf_str(&more, ".name(");
      cg_string(&more, c->wire);
      lc_buf_u8(&more, ')');
    }
    lc_buf_u8(&more, 0);
    cg_uses_add(&uses, t->space, c->type);
    put_field(&body, t->space, c->name.camel, c->type, lc_buf_ok(&more) ? (char *)more.data : "");
    m->no_memory |= !lc_buf_ok(&more);
    lc_buf_free(&more);
  }
  lc_buf_str(&body, "});\n");
  finish(m, out, &body, &uses);
  return true;
}

static bool function_file(struct cg_model *m, const struct cg_function *f, bool procedure) {
  struct lc_buf *out = cg_file(m, HEAD, "%.*s%s%.*s_%s.ts", IN_FOLDER(f->space), CG_S(f->name.snake), procedure ? "procedure" : "reducer"), body = {0};
  struct cg_uses uses;
  if (!out || !cg_uses_begin(&uses, m)) return false;
  lc_buf_str(&body, procedure ? "export const params = {" : "export default {");
  for (uint32_t i = 0; i < f->n_params; i++) {
    if (i == 0) lc_buf_u8(&body, '\n');
    cg_uses_add(&uses, f->space, f->params[i].type);
    put_field(&body, f->space, f->params[i].name.camel, f->params[i].type, "");
  }
  lc_buf_str(&body, "};\n");
  if (procedure) {
    lc_buf_str(&body, "export const returnType = ");
    cg_uses_add(&uses, f->space, f->returns);
    put_type(&body, f->space, f->returns, 0);
    lc_buf_str(&body, ";\n");
  }
  finish(m, out, &body, &uses);
  return true;
}

static bool types_file(struct cg_model *m, const struct cg_space *s) {
  struct lc_buf *out = cg_file(m, HEAD, "%.*s%stypes.ts", IN_FOLDER(s)), body = {0};
  if (!out) return false;
  for (uint32_t i = 0; i < s->n_types; i++) {
    const struct cg_type *t = &s->types[i];
    struct lc_slice name = t->name.pascal;
    if (i) lc_buf_u8(&body, '\n');
    lc_buf_printf(&body, "export const %.*s", CG_S(name));
    if (t->is_recursive) lc_buf_printf(&body, ": __TypeBuilder<%.*s, __AlgebraicTypeType>", CG_S(name));
    lc_buf_printf(&body, " = __t.%s(", t->type->kind == LC_T_SUM ? "enum" : "object");
    cg_string(&body, name);
    lc_buf_str(&body, t->type->n_fields ? ", {\n" : ", {");
    put_fields(m, &body, s, t->type);
    lc_buf_printf(&body, "});\nexport type %.*s = ", CG_S(name));
    if (t->is_recursive) put_native(m, &body, s, t->type, true, 0);
    else lc_buf_printf(&body, "__Infer<typeof %.*s>", CG_S(name));
    lc_buf_str(&body, ";\n");
  }
  if (s->n_types == 0) lc_buf_str(&body, "export {};\n");
  finish(m, out, &body, NULL);
  return true;
}

/* types/reducers.ts and types/procedures.ts: parameters (and results) of every function as types. */
static bool alias_file(struct cg_model *m, bool procedures) {
  const struct cg_function *list = procedures ? m->procedures : m->reducers;
  uint32_t n = procedures ? m->n_procedures : m->n_reducers;
  const char *what = procedures ? "procedure" : "reducer", *suffix = procedures ? "Procedure" : "Reducer";
  struct lc_buf *out = cg_file(m, HEAD, "types/%ss.ts", what), body = {0};
  if (!out) return false;
  for (uint32_t i = 0; i < n; i++)
    lc_buf_printf(&body, "import %s%.*s%s from \"../%.*s%s%.*s_%s\";\n", procedures ? "* as " : "", CG_S(list[i].flat.pascal), suffix, IN_FOLDER(list[i].space), CG_S(list[i].name.snake), what);
  if (n) lc_buf_u8(&body, '\n');
  for (uint32_t i = 0; i < n; i++) {
    const struct cg_var v[] = {{'P', list[i].flat.pascal}, {0}};
    cg_fill(&body, procedures ? "export type $PArgs = __Infer<typeof $PProcedure.params>;\nexport type $PResult = __Infer<typeof $PProcedure.returnType>;\n"
                              : "export type $PParams = __Infer<typeof $PReducer>;\n", v);
  }
  if (n == 0) lc_buf_str(&body, "export {};\n");
  finish(m, out, &body, NULL);
  return true;
}

/* ---- index.ts ---- */

static void put_columns(struct lc_buf *out, const struct cg_table *t, const uint16_t *columns, uint32_t n) {
  lc_buf_str(out, "columns: [");
  for (uint32_t i = 0; i < n; i++) lc_buf_printf(out, "%s\"%.*s\"", i ? ", " : "", CG_S(t->columns[columns[i]].name.camel));
  lc_buf_str(out, "] },\n");
}

/* The key of a table in the schema object: an identifier, or quoted with its namespace. */
static void put_key(struct lc_buf *out, const struct cg_table *t) {
  if (t->space->parent) lc_buf_printf(out, "\"%.*s\"", CG_S(t->wire));
  else lc_buf_slice_append(out, t->name.camel);
}

static void put_schema(struct lc_buf *out, const struct cg_model *m) {
  lc_buf_str(out, "const tablesSchema = __schema({\n");
  for (uint32_t i = 0; i < m->n_tables; i++) {
    const struct cg_table *t = &m->tables[i];
    lc_buf_str(out, "  ");
    put_key(out, t);
    lc_buf_str(out, ": __table({\n    name: ");
    cg_string(out, t->wire);
    lc_buf_str(out, t->n_indexes ? ",\n    indexes: [\n" : ",\n    indexes: [");
    for (uint32_t k = 0; k < t->n_indexes; k++) {
      lc_buf_printf(out, "      { accessor: \"%.*s\", name: ", CG_S(t->indexes[k].name.camel));
      cg_string(out, t->indexes[k].wire);
      lc_buf_str(out, ", algorithm: \"btree\", ");
      put_columns(out, t, t->indexes[k].columns, t->indexes[k].n_columns);
    }
    lc_buf_str(out, t->n_indexes ? "    ],\n    constraints: [" : "],\n    constraints: [");
    for (uint32_t k = 0; k < t->n_constraints; k++) {
      lc_buf_str(out, k ? "      { name: " : "\n      { name: ");
      cg_string(out, t->constraints[k].name);
      lc_buf_str(out, ", constraint: \"unique\", ");
      put_columns(out, t, t->constraints[k].columns, t->constraints[k].n_columns);
    }
    lc_buf_str(out, t->n_constraints ? "    ],\n" : "],\n");
    if (t->is_event) lc_buf_str(out, "    event: true,\n");
    lc_buf_printf(out, "  }, %.*sRow),\n", CG_S(t->flat.pascal));
  }
  lc_buf_str(out, "});\n\n/** The reducers' parameters, by wire name. */\nconst reducersSchema = __reducers(\n");
  for (uint32_t i = 0; i < m->n_reducers; i++) {
    lc_buf_str(out, "  __reducerSchema(");
    cg_string(out, m->reducers[i].wire);
    lc_buf_printf(out, ", %.*sReducer),\n", CG_S(m->reducers[i].flat.pascal));
  }
  lc_buf_str(out, ");\n\n/** The procedures' parameters and results, by wire name. */\nconst proceduresSchema = __procedures(\n");
  for (uint32_t i = 0; i < m->n_procedures; i++) {
    lc_buf_str(out, "  __procedureSchema(");
    cg_string(out, m->procedures[i].wire);
    lc_buf_printf(out, ", %.*sProcedure.params, %.*sProcedure.returnType),\n", CG_S(m->procedures[i].flat.pascal), CG_S(m->procedures[i].flat.pascal));
  }
  lc_buf_str(out, ");\n");
}

/* The key that the library makes of a function's wire name: camel case where `-` and `_` join words, and only there. */
static void put_accessor_key(struct lc_buf *out, struct lc_slice wire) {
  for (size_t i = 0; i < wire.len; i++) {
    bool joins = wire.data[i] == '_' || wire.data[i] == '-';
    if (joins) i++;
    if (i < wire.len) lc_buf_u8(out, joins ? (uint8_t)toupper(wire.data[i]) : wire.data[i]);
  }
}

/* What nests an accessor map by namespace. kind: 0 tables, 1 reducers, 2 procedures. */
static void put_nested(struct lc_buf *out, const struct cg_model *m, const struct cg_space *s, unsigned kind, const char *map, unsigned indent) {
  uint32_t n = kind == 0 ? m->n_tables : kind == 1 ? m->n_reducers : m->n_procedures;
  for (uint32_t i = 0; i < n; i++) {
    const struct cg_function *f = kind == 1 ? &m->reducers[i] : &m->procedures[i];
    const struct cg_table *t = &m->tables[i];
    if ((kind ? f->space : t->space) != s) continue;
    cg_spaces(out, indent);
    lc_buf_printf(out, "%.*s: %s[\"", CG_S(kind ? f->name.camel : t->name.camel), map);
    if (kind) put_accessor_key(out, f->wire);
    else lc_buf_slice_append(out, s->parent ? t->wire : t->name.camel);
    lc_buf_str(out, "\"],\n");
  }
  for (uint32_t i = 0; i < m->n_spaces; i++) {
    if (m->spaces[i].parent != s) continue;
    cg_spaces(out, indent);
    lc_buf_printf(out, "%.*s: {\n", CG_S(m->spaces[i].name.camel));
    put_nested(out, m, &m->spaces[i], kind, map, indent + 2);
    cg_spaces(out, indent);
    lc_buf_str(out, "},\n");
  }
}

static void put_accessors(struct lc_buf *out, const struct cg_model *m) {
  static const struct { const char *name, *text, *map; } maps[] = {
    {"tables", "/** Query builders of the tables, for subscriptions. */\n", "__makeQueryBuilder(tablesSchema.schemaType)"},
    {"reducers", "/** The reducers' definitions, for `useReducer` and the like. */\n", "__convertToAccessorMap(reducersSchema.reducersType.reducers)"},
    {"procedures", "/** The procedures' definitions. */\n", "__convertToAccessorMap(proceduresSchema.procedures)"},
  };
  for (unsigned kind = 0; kind < 3; kind++) {
    lc_buf_u8(out, '\n');
    if (m->n_spaces == 1) {
      lc_buf_printf(out, "%sexport const %s = %s;\n", maps[kind].text, maps[kind].name, maps[kind].map);
      continue;
    }
    lc_buf_printf(out, "const %sByWireName = %s;\n%sexport const %s = {\n", maps[kind].name, maps[kind].map, maps[kind].text, maps[kind].name);
    char map[64];
    snprintf(map, sizeof map, "%sByWireName", maps[kind].name);
    put_nested(out, m, &m->spaces[0], kind, map, 2);
    lc_buf_str(out, "};\n");
  }
}

static bool index_file(struct cg_model *m) {
  struct lc_buf *out = cg_file(m, HEAD, "index.ts"), body = {0};
  if (!out) return false;
  for (uint32_t i = 0; i < m->n_reducers; i++)
    lc_buf_printf(&body, "import %.*sReducer from \"./%.*s%s%.*s_reducer\";\n", CG_S(m->reducers[i].flat.pascal), IN_FOLDER(m->reducers[i].space), CG_S(m->reducers[i].name.snake));
  for (uint32_t i = 0; i < m->n_procedures; i++)
    lc_buf_printf(&body, "import * as %.*sProcedure from \"./%.*s%s%.*s_procedure\";\n", CG_S(m->procedures[i].flat.pascal), IN_FOLDER(m->procedures[i].space), CG_S(m->procedures[i].name.snake));
  for (uint32_t i = 0; i < m->n_tables; i++)
    lc_buf_printf(&body, "import %.*sRow from \"./%.*s%s%.*s_table\";\n", CG_S(m->tables[i].flat.pascal), IN_FOLDER(m->tables[i].space), CG_S(m->tables[i].name.snake));
  lc_buf_str(&body, "\n/** The tables and views, by accessor. */\n");
  put_schema(&body, m);
  lc_buf_printf(&body,
    "\nconst REMOTE_MODULE = {\n"
    "  versionInfo: { cliVersion: \"%s\" as const },\n"
    "  tables: tablesSchema.schemaType.tables,\n"
    "  reducers: reducersSchema.reducersType.reducers,\n"
    "  ...proceduresSchema,\n"
    "} satisfies __RemoteModule<typeof tablesSchema.schemaType, typeof reducersSchema.reducersType, typeof proceduresSchema>;\n",
    m->options->cli_version);
  put_accessors(&body, m);
  lc_buf_str(&body,
    "\n/** The context of row callbacks. */\n"
    "export type EventContext = __EventContextInterface<typeof REMOTE_MODULE>;\n"
    "/** The context of reducer results. */\n"
    "export type ReducerEventContext = __ReducerEventContextInterface<typeof REMOTE_MODULE>;\n"
    "/** The context of subscription callbacks. */\n"
    "export type SubscriptionEventContext = __SubscriptionEventContextInterface<typeof REMOTE_MODULE>;\n"
    "/** The context of errors. */\n"
    "export type ErrorContext = __ErrorContextInterface<typeof REMOTE_MODULE>;\n"
    "/** A subscription, to end it. */\n"
    "export type SubscriptionHandle = __SubscriptionHandleImpl<typeof REMOTE_MODULE>;\n"
    "\n/** Sets up a subscription. */\n"
    "export class SubscriptionBuilder extends __SubscriptionBuilderImpl<typeof REMOTE_MODULE> {}\n"
    "\n/** Sets up a connection. */\n"
    "export class DbConnectionBuilder extends __DbConnectionBuilder<DbConnection> {}\n"
    "\n/** A connection to a database that runs this module. */\n"
    "export class DbConnection extends __DbConnectionImpl<typeof REMOTE_MODULE> {\n"
    "  /** Starts setting up a connection. */\n"
    "  static builder = (): DbConnectionBuilder => {\n"
    "    return new DbConnectionBuilder(REMOTE_MODULE, (config: __DbConnectionConfig<typeof REMOTE_MODULE>) => new DbConnection(config));\n"
    "  };\n"
    "\n  /** Starts setting up a subscription. */\n"
    "  override subscriptionBuilder = (): SubscriptionBuilder => {\n"
    "    return new SubscriptionBuilder(this);\n"
    "  };\n"
    "}\n");
  finish(m, out, &body, NULL);
  return true;
}

enum lc_status cg_typescript(struct cg_model *m, struct lc_error *err) {
  (void)err;
  bool ok = true;
  for (uint32_t i = 0; ok && i < m->n_tables; i++) ok = table_file(m, &m->tables[i]);
  for (uint32_t i = 0; ok && i < m->n_reducers; i++) ok = function_file(m, &m->reducers[i], false);
  for (uint32_t i = 0; ok && i < m->n_procedures; i++) ok = function_file(m, &m->procedures[i], true);
  for (uint32_t i = 0; ok && i < m->n_spaces; i++) ok = types_file(m, &m->spaces[i]);
  ok = ok && alias_file(m, false) && alias_file(m, true) && index_file(m);
  return ok ? LC_OK : LC_NOMEM;
}
