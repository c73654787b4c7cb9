/* A module definition from its exported JSON (spec/01 §15, spec/07 §4.7): the JSON is turned into the encoded RawModuleDef and that is decoded as
 * ever, so there is one set of rules.
 *
 * The types of RawModuleDef (spec/01 §11, §12, spec/07 §4.1) stand below in a notation of their own:
 *   Name { field: Type, … }    a product      Name = A | B(Type)    a sum
 *   T?  an option              [T]  an array  a word in lower case is a primitive
 * Callers: cli/generate.c.
 */
#include "types_internal.h"
#include <ctype.h>

static const char notation[] =
  "Type = Ref(u32) | Sum(Sum) | Product(Product) | Array(Type) | String | Bool | I8 | U8 | I16 | U16 | I32 | U32 | I64 | U64 | I128 | U128 | I256 | U256 | F32 | F64 "
  "Sum { variants: [Variant] } "
  "Variant { name: str?, algebraic_type: Type } "
  "Product { elements: [Variant] } "
  "Typespace { types: [Type] } "
  "Access = Public | Private "
  "TableType = System | User "
  "Algorithm = BTree([u16]) | Hash([u16]) | Direct(u16) "
  "Unique { columns: [u16] } "
  "Constraint = Unique(Unique) "
  "Lifecycle = Init | OnConnect | OnDisconnect "
  "Rls { sql: str } "
  /* version 10 */
  "Name10 { scope: [str], source_name: str } "
  "Type10 { source_name: Name10, ty: u32, custom_ordering: bool } "
  "Index10 { source_name: str?, accessor_name: str?, algorithm: Algorithm } "
  "Constraint10 { source_name: str?, data: Constraint } "
  "Sequence10 { source_name: str?, column: u16, start: i128?, min_value: i128?, max_value: i128?, increment: i128 } "
  "Default10 { col_id: u16, value: [u8] } "
  "Table10 { source_name: str, product_type_ref: u32, primary_key: [u16], indexes: [Index10], constraints: [Constraint10], sequences: [Sequence10], table_type: TableType, "
  "table_access: Access, default_values: [Default10], is_event: bool } "
  "Visibility = Private | ClientCallable "
  "Reducer10 { source_name: str, params: Product, visibility: Visibility, ok_return_type: Type, err_return_type: Type } "
  "Procedure10 { source_name: str, params: Product, return_type: Type, visibility: Visibility } "
  "View10 { source_name: str, index: u32, is_public: bool, is_anonymous: bool, params: Product, return_type: Type } "
  "Schedule10 { source_name: str?, table_name: str, schedule_at_col: u16, function_name: str } "
  "Lifecycle10 { lifecycle_spec: Lifecycle, function_name: str } "
  "Policy = None | SnakeCase "
  "Mapping { source_name: str, canonical_name: str } "
  "Explicit = Table(Mapping) | Function(Mapping) | Index(Mapping) | Namespace(Mapping) "
  "Explicits { entries: [Explicit] } "
  "Handler { source_name: str } "
  "HttpMethod = Get | Head | Post | Put | Delete | Connect | Options | Trace | Patch | Extension(str) "
  "Method = Any | Method(HttpMethod) "
  "Route { handler_function: str, method: Method, path: str } "
  "ViewKey { view_source_name: str, columns: [str] } "
  "Submodule { namespace: str, module: Module10 } "
  "EnvType = String | StringLiteral(str) | Union([str]) "
  "Env { name: str, ty: EnvType, optional: bool } "
  "Outbox { table_name: str, remote_reducer: str, target_column: u16, arg_columns: [u16], on_result_reducer: str?, signature_hash: u256 } "
  "Section = Typespace(Typespace) | Types([Type10]) | Tables([Table10]) | Reducers([Reducer10]) | Procedures([Procedure10]) | Views([View10]) | Schedules([Schedule10]) | "
  "LifeCycleReducers([Lifecycle10]) | RowLevelSecurity([Rls]) | CaseConversionPolicy(Policy) | ExplicitNames(Explicits) | HttpHandlers([Handler]) | HttpRoutes([Route]) | "
  "ViewPrimaryKeys([ViewKey]) | Submodules([Submodule]) | Environment([Env]) | Outboxes([Outbox]) "
  "Module10 { sections: [Section] } "
  /* version 9 */
  "Name9 { scope: [str], name: str } "
  "Type9 { name: Name9, ty: u32, custom_ordering: bool } "
  "Index9 { name: str?, accessor_name: str?, algorithm: Algorithm } "
  "Constraint9 { name: str?, data: Constraint } "
  "Sequence9 { name: str?, column: u16, start: i128?, min_value: i128?, max_value: i128?, increment: i128 } "
  "Schedule9 { name: str?, reducer_name: str, scheduled_at_column: u16 } "
  "Table9 { name: str, product_type_ref: u32, primary_key: [u16], indexes: [Index9], constraints: [Constraint9], sequences: [Sequence9], schedule: Schedule9?, "
  "table_type: TableType, table_access: Access } "
  "Reducer9 { name: str, params: Product, lifecycle: Lifecycle? } "
  "Default9 { table: str, col_id: u16, value: [u8] } "
  "Procedure9 { name: str, params: Product, return_type: Type } "
  "View9 { name: str, index: u32, is_public: bool, is_anonymous: bool, params: Product, return_type: Type } "
  "Export9 = ColumnDefaultValue(Default9) | Procedure(Procedure9) | View(View9) "
  "Module9 { typespace: Typespace, tables: [Table9], reducers: [Reducer9], types: [Type9], misc_exports: [Export9], row_level_security: [Rls] } "
  "Unused { } "
  "Module = V8BackCompat(Unused) | V9(Module9) | V10(Module10) ";

enum { MAX_TYPES = 64, MAX_PARTS = 32 };
struct parse {
  struct lc_arena *arena;
  const char *p;
  unsigned n;
  struct lc_slice names[MAX_TYPES];
  const struct lc_type *types[MAX_TYPES];
};

static struct lc_slice word(struct parse *s) {
  while (*s->p == ' ') s->p++;
  const char *start = s->p;
  while (isalnum((unsigned char)*s->p) || *s->p == '_') s->p++;
  return lc_slice(start, (size_t)(s->p - start));
}

static bool take(struct parse *s, char c) {
  while (*s->p == ' ') s->p++;
  if (*s->p != c) return false;
  s->p++;
  return true;
}

/* The slot of a named type, which may be defined later. */
static uint32_t slot_of(struct parse *s, struct lc_slice name) {
  for (unsigned i = 0; i < s->n; i++)
    if (lc_slice_eq(s->names[i], name)) return i;
  lc_assert(s->n < MAX_TYPES);
  s->names[s->n] = name;
  return s->n++;
}

static const struct lc_type *new_type(struct parse *s, enum lc_type_kind kind) {
  struct lc_type *t = lc_arena_alloc_zero(s->arena, 1, sizeof *t);
  if (t) *t = (struct lc_type){.kind = kind, .static_size_bytes = LC_SIZE_DYNAMIC};
  return t;
}

static const struct lc_type *parse_type(struct parse *s) {
  static const struct { const char *name; enum lc_type_kind kind; } primitives[] = {{"str", LC_T_STRING}, {"bool", LC_T_BOOL}, {"u8", LC_T_U8}, {"u16", LC_T_U16}, {"u32", LC_T_U32}, {"i128", LC_T_I128}, {"u256", LC_T_U256}};
  const struct lc_type *t = NULL;
  if (take(s, '[')) {
    const struct lc_type *elem = parse_type(s);
    bool closed = take(s, ']');
    lc_assert(closed);
    t = elem ? lc_type_new_array(s->arena, elem) : NULL;
  } else {
    struct lc_slice name = word(s);
    for (size_t i = 0; i < sizeof primitives / sizeof *primitives; i++)
      if (lc_slice_eq_str(name, primitives[i].name)) t = lc_type_primitive(primitives[i].kind);
    if (!t) {
      struct lc_type *ref = (struct lc_type *)new_type(s, LC_T_REF);
      if (ref) ref->ref = slot_of(s, name);
      t = ref;
    }
  }
  return t && take(s, '?') ? lc_type_new_option(s->arena, t) : t;
}

static bool parse_definition(struct parse *s) {
  uint32_t slot = slot_of(s, word(s)), n = 0;
  struct lc_type_field *fields = lc_arena_alloc_zero(s->arena, MAX_PARTS, sizeof *fields);
  bool sum = take(s, '=');
  if (!sum) take(s, '{');
  while (fields && (sum || !take(s, '}'))) {
    lc_assert(n < MAX_PARTS);
    fields[n].has_name = true;
    fields[n].name = word(s);
    if (sum ? take(s, '(') : take(s, ':')) fields[n].type = parse_type(s);
    else fields[n].type = lc_type_new_product(s->arena, 0, NULL);
    if (!fields[n].type) return false;
    n++;
    if (sum) take(s, ')');
    if (sum && !take(s, '|')) break;
    take(s, ',');
  }
  s->types[slot] = !fields ? NULL : sum ? lc_type_new_sum(s->arena, n, fields) : lc_type_new_product(s->arena, n, fields);
  return s->types[slot];
}

/* The exported JSON is bare; `{"V10":…}` as `extract-schema` prints it is taken as well. */
static const char *version_of(struct lc_slice json) {
  size_t at = 0;
  while (at < json.len && (isspace(json.data[at]) || json.data[at] == '{')) at++;
  struct lc_slice rest = lc_slice(json.data + at, json.len - at);
  if (rest.len >= 5 && memcmp(rest.data, "\"V10\"", 5) == 0) return "Module";
  if (rest.len >= 4 && memcmp(rest.data, "\"V9\"", 4) == 0) return "Module";
  return rest.len >= 10 && memcmp(rest.data, "\"sections\"", 10) == 0 ? "Module10" : "Module9";
}

enum lc_status lc_module_def_from_json(struct lc_slice json, struct lc_module_def **out, struct lc_error *err) {
  struct lc_arena arena = {0};
  struct lc_buf raw = {0};
  struct parse s = {.arena = &arena, .p = notation};
  const char *name = version_of(json);
  enum lc_status st = LC_OK;
  while (st == LC_OK && *s.p) {
    if (!parse_definition(&s)) st = lc_fail(err, LC_NOMEM, "out of memory");
    while (*s.p == ' ') s.p++;
  }
  struct lc_typespace ts = {s.n, s.types};
  if (st == LC_OK && strcmp(name, "Module9") == 0) lc_buf_u8(&raw, 1);
  if (st == LC_OK && strcmp(name, "Module10") == 0) lc_buf_u8(&raw, 2);
  if (st == LC_OK) st = lc_json_parse_value(json, s.types[slot_of(&s, lc_slice_str(name))], &ts, &raw, err);
  if (st == LC_OK && !lc_buf_ok(&raw)) st = lc_fail(err, LC_NOMEM, "out of memory");
  if (st == LC_OK) st = lc_module_def_decode(lc_buf_slice(&raw), out, err);
  lc_buf_free(&raw);
  lc_arena_free(&arena);
  return st;
}
