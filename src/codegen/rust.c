/* Rust bindings for the crate `spacetimedb-sdk` (spec/04 §9.3): one file per type, table, reducer and procedure; mod.rs is rust_module.c's.
 *
 * The things of a submodule carry its namespace in their names (`lib_users`, `LibUsers`). Words of the language become raw identifiers.
 */
#include "rust.h"

#define HEAD \
  "\n#![allow(unused, clippy::all)]\n" \
  "use spacetimedb_sdk::__codegen::{self as __sdk, __lib, __sats, __ws};\n"
#define DERIVE "#[derive(__lib::ser::Serialize, __lib::de::Deserialize, Clone, PartialEq, Debug"

/* ---- names ---- */

struct lc_slice rust_name(struct cg_model *m, struct lc_slice name) {
  static const char *const words[] = {"abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen",
                                      "if", "impl", "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "static", "struct", "trait", "true", "try",
                                      "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield"};
  static const char *const never_raw[] = {"self", "Self", "super", "crate", "_"};
  const char *format = NULL;
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (lc_slice_eq_str(name, words[i])) format = "r#%.*s";
  for (size_t i = 0; i < sizeof never_raw / sizeof *never_raw; i++)
    if (lc_slice_eq_str(name, never_raw[i])) format = "%.*s_";
  if (!format) return name;
  char text[32];
  struct lc_slice s = lc_arena_copy(&m->arena, lc_slice(text, (size_t)snprintf(text, sizeof text, format, CG_S(name))));
  m->no_memory |= !s.data;
  return s;
}

/* ---- types ---- */

void rust_type(struct cg_model *m, struct lc_buf *out, const struct cg_space *s, const struct lc_type *t, unsigned depth, struct lc_error *err) {
  static const char *const special[] = {[LC_SPECIAL_IDENTITY] = "__sdk::Identity", [LC_SPECIAL_CONNECTION_ID] = "__sdk::ConnectionId", [LC_SPECIAL_TIMESTAMP] = "__sdk::Timestamp",
                                        [LC_SPECIAL_DURATION] = "__sdk::TimeDuration", [LC_SPECIAL_UUID] = "__sdk::Uuid", [LC_SPECIAL_SCHEDULE_AT] = "__sdk::ScheduleAt"};
  static const char *const kinds[] = {[LC_T_STRING] = "String", [LC_T_BOOL] = "bool", [LC_T_I8] = "i8", [LC_T_U8] = "u8", [LC_T_I16] = "i16", [LC_T_U16] = "u16", [LC_T_I32] = "i32",
                                      [LC_T_U32] = "u32", [LC_T_I64] = "i64", [LC_T_U64] = "u64", [LC_T_I128] = "i128", [LC_T_U128] = "u128", [LC_T_I256] = "__sats::i256",
                                      [LC_T_U256] = "__sats::u256", [LC_T_F32] = "f32", [LC_T_F64] = "f64"};
  const struct cg_type *named = cg_named(s, t);
  if (named) {
    lc_buf_slice_append(out, named->flat.pascal);
    return;
  }
  t = cg_deref(s, t);
  if (t->special != LC_SPECIAL_NONE && t->special <= LC_SPECIAL_SCHEDULE_AT) {
    lc_buf_str(out, special[t->special]);
  } else if (t->kind > LC_T_ARRAY) {
    lc_buf_str(out, kinds[t->kind]);
  } else if (cg_is_unit(t)) {
    lc_buf_str(out, "()");
  } else if (depth < CG_MAX_DEPTH && (t->kind == LC_T_ARRAY || t->special == LC_SPECIAL_OPTION || t->special == LC_SPECIAL_RESULT)) {
    lc_buf_str(out, t->kind == LC_T_ARRAY ? "Vec<" : t->special == LC_SPECIAL_OPTION ? "Option<" : "Result<");
    rust_type(m, out, s, t->kind == LC_T_ARRAY ? t->elem : t->fields[0].type, depth + 1, err);
    if (t->special == LC_SPECIAL_RESULT) {
      lc_buf_str(out, ", ");
      rust_type(m, out, s, t->fields[1].type, depth + 1, err);
    }
    lc_buf_u8(out, '>');
  } else {
    struct lc_buf text = {0};
    lc_type_display(&text, t);
    lc_fail(err, LC_INVALID, "Rust has no form for the type `%.*s`, which has no name", CG_S(text));
    lc_buf_free(&text);
  }
}

/* Writes the `use` lines but for `own`. */
static void put_uses(struct cg_uses *u, struct lc_buf *out, const struct cg_type *own) {
  for (const struct cg_type *t = NULL; (t = cg_uses_next(u, t));)
    if (t != own) lc_buf_printf(out, "use super::%.*s_type::%.*s;\n", CG_S(t->flat.snake), CG_S(t->flat.pascal));
  lc_buf_u8(out, '\n');
  cg_uses_end(u);
}

/* Comparing by `==` is not telling for floats, and only simple values are looked up by. */
static bool may_be_key(const struct cg_space *s, const struct lc_type *t) {
  t = cg_deref(s, t);
  if (t->special != LC_SPECIAL_NONE) return t->special <= LC_SPECIAL_UUID;
  return (t->kind >= LC_T_STRING && t->kind <= LC_T_U256) || cg_is_plain_enum(t);
}

/* The column types for typed queries of one row type; its columns are those of the first table that has it. */
static void row_columns(struct cg_model *m, struct lc_buf *out, const struct cg_table *t, struct lc_error *err) {
  struct lc_slice R = t->row->flat.pascal;
  const struct cg_var v[] = {{'R', R}, {0}};
  cg_fill(out, "\n/// The columns of `$R`, for typed queries.\npub struct $RCols {\n", v);
  for (uint32_t i = 0; i < t->n_columns; i++) {
    lc_buf_printf(out, "    pub %.*s: __sdk::__query_builder::Col<%.*s, ", CG_S(rust_name(m, t->columns[i].name.snake)), CG_S(R));
    rust_type(m, out, t->space, t->columns[i].type, 0, err);
    lc_buf_str(out, ">,\n");
  }
  cg_fill(out, "}\n\nimpl __sdk::__query_builder::HasCols for $R {\n    type Cols = $RCols;\n    fn cols(table_name: &'static str) -> Self::Cols {\n        $RCols {\n", v);
  for (uint32_t i = 0; i < t->n_columns; i++) {
    lc_buf_printf(out, "            %.*s: __sdk::__query_builder::Col::new(table_name, ", CG_S(rust_name(m, t->columns[i].name.snake)));
    cg_string(out, t->columns[i].wire);
    lc_buf_str(out, "),\n");
  }
  cg_fill(out, "        }\n    }\n}\n\n/// The columns of `$R` that indexes of one column cover.\npub struct $RIxCols {\n", v);
  bool indexed[UINT8_MAX + 1] = {0};
  for (uint32_t i = 0; i < t->n_indexes; i++)
    if (t->indexes[i].n_columns == 1 && t->indexes[i].columns[0] <= UINT8_MAX) indexed[t->indexes[i].columns[0]] = true;
  for (uint32_t i = 0; i < t->n_columns && i <= UINT8_MAX; i++) {
    if (!indexed[i]) continue;
    lc_buf_printf(out, "    pub %.*s: __sdk::__query_builder::IxCol<%.*s, ", CG_S(rust_name(m, t->columns[i].name.snake)), CG_S(R));
    rust_type(m, out, t->space, t->columns[i].type, 0, err);
    lc_buf_str(out, ">,\n");
  }
  cg_fill(out, "}\n\nimpl __sdk::__query_builder::HasIxCols for $R {\n    type IxCols = $RIxCols;\n    fn ix_cols(table_name: &'static str) -> Self::IxCols {\n        $RIxCols {\n", v);
  for (uint32_t i = 0; i < t->n_columns && i <= UINT8_MAX; i++) {
    if (!indexed[i]) continue;
    lc_buf_printf(out, "            %.*s: __sdk::__query_builder::IxCol::new(table_name, ", CG_S(rust_name(m, t->columns[i].name.snake)));
    cg_string(out, t->columns[i].wire);
    lc_buf_str(out, "),\n");
  }
  lc_buf_str(out, "        }\n    }\n}\n");
  if (!t->is_event) cg_fill(out, "\nimpl __sdk::__query_builder::CanBeLookupTable for $R {}\n", v);
}

static const struct cg_table *table_of(const struct cg_model *m, const struct cg_type *row) {
  for (int views = 0; views < 2; views++) /* tables before views: they have indexes */
    for (uint32_t i = 0; i < m->n_tables; i++)
      if (m->tables[i].row == row && m->tables[i].is_view == (views == 1)) return &m->tables[i];
  return NULL;
}

static bool type_file(struct cg_model *m, const struct cg_type *t, struct lc_error *err) {
  struct lc_buf *out = cg_file(m, HEAD, "%.*s_type.rs", CG_S(t->flat.snake));
  struct cg_uses uses;
  if (!out || !cg_uses_begin(&uses, m)) return false;
  for (uint32_t i = 0; i < t->type->n_fields; i++) cg_uses_add(&uses, t->space, t->type->fields[i].type);
  put_uses(&uses, out, t);
  bool sum = t->type->kind == LC_T_SUM;
  lc_buf_printf(out, DERIVE "%s)]\n#[sats(crate = __lib)]\npub %s %.*s {\n", cg_is_plain_enum(t->type) ? ", Copy, Eq, Hash" : "", sum ? "enum" : "struct", CG_S(t->flat.pascal));
  for (uint32_t i = 0; i < t->type->n_fields; i++) {
    struct cg_name name = cg_name(m, t->type->fields[i].name);
    const struct lc_type *f = t->type->fields[i].type;
    lc_buf_printf(out, sum ? "    %.*s" : "    pub %.*s: ", CG_S(rust_name(m, sum ? name.pascal : name.snake)));
    if (sum && !cg_is_unit(cg_deref(t->space, f))) lc_buf_u8(out, '(');
    if (!sum || !cg_is_unit(cg_deref(t->space, f))) rust_type(m, out, t->space, f, 0, err);
    if (sum && !cg_is_unit(cg_deref(t->space, f))) lc_buf_u8(out, ')');
    lc_buf_str(out, ",\n");
  }
  lc_buf_printf(out, "}\n\nimpl __sdk::InModule for %.*s {\n    type Module = super::RemoteModule;\n}\n", CG_S(t->flat.pascal));
  const struct cg_table *table = table_of(m, t);
  if (table) row_columns(m, out, table, err);
  return true;
}

/* ---- tables ---- */

static const char table_text[] =
  "/// The table `$w`: its rows in the client's cache, and the callbacks for their changes.\n"
  "pub struct $PTableHandle<'ctx> {\n"
  "    imp: __sdk::TableHandle<$R>,\n"
  "    ctx: std::marker::PhantomData<&'ctx super::RemoteTables>,\n"
  "}\n"
  "\n"
  "/// Gives access to the table `$w`; implemented for [`super::RemoteTables`].\n"
  "pub trait $PTableAccess {\n"
  "    #[allow(non_snake_case)]\n"
  "    fn $s(&self) -> $PTableHandle<'_>;\n"
  "}\n"
  "\n"
  "impl $PTableAccess for super::RemoteTables {\n"
  "    fn $s(&self) -> $PTableHandle<'_> {\n"
  "        $PTableHandle {\n"
  "            imp: self.imp.get_table::<$R>(\"$w\"),\n"
  "            ctx: std::marker::PhantomData,\n"
  "        }\n"
  "    }\n"
  "}\n"
  "\n"
  "pub struct $PInsertCallbackId(__sdk::CallbackId);\n";

/* $I: the trait, Table or EventTable. */
static const char rows_text[] =
  "\n"
  "impl<'ctx> __sdk::$I for $PTableHandle<'ctx> {\n"
  "    type Row = $R;\n"
  "    type EventContext = super::EventContext;\n"
  "\n"
  "    fn count(&self) -> u64 {\n"
  "        self.imp.count()\n"
  "    }\n"
  "    fn iter(&self) -> impl Iterator<Item = $R> + '_ {\n"
  "        self.imp.iter()\n"
  "    }\n"
  "\n"
  "    type InsertCallbackId = $PInsertCallbackId;\n"
  "\n"
  "    fn on_insert(&self, callback: impl FnMut(&Self::EventContext, &Self::Row) + Send + 'static) -> $PInsertCallbackId {\n"
  "        $PInsertCallbackId(self.imp.on_insert(Box::new(callback)))\n"
  "    }\n"
  "    fn remove_on_insert(&self, callback: $PInsertCallbackId) {\n"
  "        self.imp.remove_on_insert(callback.0)\n"
  "    }\n";

/* The rest of the impl of a table that keeps its rows. */
static const char delete_text[] =
  "\n"
  "    type DeleteCallbackId = $PDeleteCallbackId;\n"
  "\n"
  "    fn on_delete(&self, callback: impl FnMut(&Self::EventContext, &Self::Row) + Send + 'static) -> $PDeleteCallbackId {\n"
  "        $PDeleteCallbackId(self.imp.on_delete(Box::new(callback)))\n"
  "    }\n"
  "    fn remove_on_delete(&self, callback: $PDeleteCallbackId) {\n"
  "        self.imp.remove_on_delete(callback.0)\n"
  "    }\n"
  "}\n"
  "\n"
  "pub struct $PDeleteCallbackId(__sdk::CallbackId);\n";

static const char key_text[] =
  "\n"
  "pub struct $PUpdateCallbackId(__sdk::CallbackId);\n"
  "\n"
  "impl<'ctx> __sdk::TableWithPrimaryKey for $PTableHandle<'ctx> {\n"
  "    type UpdateCallbackId = $PUpdateCallbackId;\n"
  "\n"
  "    fn on_update(&self, callback: impl FnMut(&Self::EventContext, &Self::Row, &Self::Row) + Send + 'static) -> $PUpdateCallbackId {\n"
  "        $PUpdateCallbackId(self.imp.on_update(Box::new(callback)))\n"
  "    }\n"
  "    fn remove_on_update(&self, callback: $PUpdateCallbackId) {\n"
  "        self.imp.remove_on_update(callback.0)\n"
  "    }\n"
  "}\n";

static const char unique_text[] =
  "\n"
  "/// Looks up rows of `$w` by the unique column `$c`.\n"
  "pub struct $P$CUnique<'ctx> {\n"
  "    imp: __sdk::UniqueConstraintHandle<$R, $T>,\n"
  "    phantom: std::marker::PhantomData<&'ctx super::RemoteTables>,\n"
  "}\n"
  "\n"
  "impl<'ctx> $PTableHandle<'ctx> {\n"
  "    /// Gives the handle for lookups by `$c`.\n"
  "    pub fn $i(&self) -> $P$CUnique<'ctx> {\n"
  "        $P$CUnique {\n"
  "            imp: self.imp.get_unique_constraint::<$T>(\"$c\"),\n"
  "            phantom: std::marker::PhantomData,\n"
  "        }\n"
  "    }\n"
  "}\n"
  "\n"
  "impl<'ctx> $P$CUnique<'ctx> {\n"
  "    /// The row whose `$c` is this, if the client's cache holds one.\n"
  "    pub fn find(&self, col_val: &$T) -> Option<$R> {\n"
  "        self.imp.find(col_val)\n"
  "    }\n"
  "}\n";

static const char end_text[] =
  "\n"
  "#[doc(hidden)]\n"
  "pub(super) fn parse_table_update(raw_updates: __ws::v2::TableUpdate) -> __sdk::Result<__sdk::TableUpdate<$R>> {\n"
  "    __sdk::TableUpdate::parse_table_update(raw_updates).map_err(|e| {\n"
  "        __sdk::InternalError::failed_parse(\"TableUpdate<$R>\", \"TableUpdate\").with_cause(e).into()\n"
  "    })\n"
  "}\n"
  "\n"
  "/// Gives typed queries of the table `$w`; implemented for [`__sdk::QueryTableAccessor`].\n"
  "#[allow(non_camel_case_types)]\n"
  "pub trait $qQueryTableAccess {\n"
  "    #[allow(non_snake_case)]\n"
  "    fn $s(&self) -> __sdk::__query_builder::Table<$R>;\n"
  "}\n"
  "\n"
  "impl $qQueryTableAccess for __sdk::QueryTableAccessor {\n"
  "    fn $s(&self) -> __sdk::__query_builder::Table<$R> {\n"
  "        __sdk::__query_builder::Table::new(\"$w\")\n"
  "    }\n"
  "}\n";

static bool table_file(struct cg_model *m, const struct cg_table *t, struct lc_error *err) {
  struct lc_buf *out = cg_file(m, HEAD, "%.*s_table.rs", CG_S(t->flat.snake)), uniques = {0}, key_type = {0};
  struct cg_uses uses;
  if (!out || !cg_uses_begin(&uses, m)) return false;
  cg_uses_add_named(&uses, t->row);
  for (uint32_t i = 0; i < t->n_columns; i++)
    if (t->columns[i].is_unique) cg_uses_add(&uses, t->space, t->columns[i].type);
  put_uses(&uses, out, NULL);
  const struct cg_var v[] = {{'P', t->flat.pascal}, {'s', rust_name(m, t->flat.snake)}, {'q', t->flat.snake}, {'R', t->row->flat.pascal}, {'w', t->wire}, {'I', lc_slice_str(t->is_event ? "EventTable" : "Table")}, {0}};
  cg_fill(out, table_text, v);
  cg_fill(out, rows_text, v);
  cg_fill(out, t->is_event ? "}\n" : delete_text, v);
  if (t->primary_key >= 0 && !t->is_event) cg_fill(out, key_text, v);
  for (uint32_t i = 0; i < t->n_columns && !t->is_event; i++) {
    const struct cg_column *c = &t->columns[i];
    if (!c->is_unique || !may_be_key(t->space, c->type)) continue;
    lc_buf_clear(&key_type);
    rust_type(m, &key_type, t->space, c->type, 0, err);
    const struct cg_var u[] = {{'P', t->flat.pascal}, {'C', c->name.pascal}, {'R', t->row->flat.pascal}, {'T', lc_buf_slice(&key_type)}, {'c', c->name.snake}, {'i', rust_name(m, c->name.snake)}, {'w', t->wire}, {0}};
    cg_fill(out, unique_text, u);
    cg_fill(&uniques, "    _table.add_unique_constraint::<$T>(\"$c\", |row| &row.$i);\n", u);
  }
  cg_fill(out, "\n#[doc(hidden)]\npub(super) fn register_table(client_cache: &mut __sdk::ClientCache<super::RemoteModule>) {\n    let _table = client_cache.get_or_make_table::<$R>(\"$w\");\n", v);
  lc_buf_slice_append(out, lc_buf_slice(&uniques));
  lc_buf_str(out, "}\n");
  cg_fill(out, end_text, v);
  m->no_memory |= !lc_buf_ok(&uniques) || !lc_buf_ok(&key_type);
  lc_buf_free(&uniques);
  lc_buf_free(&key_type);
  return true;
}

/* ---- reducers and procedures ---- */

/* The parameters in one of the forms that their places need. */
enum form { AS_FIELDS, AS_PARAMETERS, AS_NAMES };
static void put_params(struct cg_model *m, struct lc_buf *out, const struct cg_function *f, enum form form, struct lc_error *err) {
  for (uint32_t i = 0; i < f->n_params; i++) {
    lc_buf_printf(out, "%s%.*s", form == AS_FIELDS ? "    pub " : "", CG_S(rust_name(m, f->params[i].name.snake)));
    if (form != AS_NAMES) {
      lc_buf_str(out, ": ");
      rust_type(m, out, f->space, f->params[i].type, 0, err);
    }
    lc_buf_str(out, form == AS_FIELDS ? ",\n" : ", ");
  }
}

static const char reducer_text[] =
  "impl From<$PArgs> for super::Reducer {\n"
  "    fn from(args: $PArgs) -> Self {\n"
  "        let $PArgs { $n} = args;\n"
  "        Self::$P { $n}\n"
  "    }\n"
  "}\n"
  "\n"
  "/// Calls the reducer `$w`; implemented for [`super::RemoteReducers`].\n"
  "#[allow(non_camel_case_types)]\n"
  "pub trait $s {\n"
  "    /// Asks the server to run the reducer. An error: the request could not be sent.\n"
  "    fn $s(&self, $p) -> __sdk::Result<()> {\n"
  "        self.$t($n|_, _| {})\n"
  "    }\n"
  "\n"
  "    /// The same; the callback learns how it ended: done, refused by the reducer, or failed in the server.\n"
  "    fn $t(\n"
  "        &self,\n"
  "        $p\n"
  "        __callback: impl FnOnce(&super::ReducerEventContext, Result<Result<(), String>, __sdk::InternalError>) + Send + 'static,\n"
  "    ) -> __sdk::Result<()>;\n"
  "}\n"
  "\n"
  "impl $s for super::RemoteReducers {\n"
  "    fn $t(\n"
  "        &self,\n"
  "        $p\n"
  "        __callback: impl FnOnce(&super::ReducerEventContext, Result<Result<(), String>, __sdk::InternalError>) + Send + 'static,\n"
  "    ) -> __sdk::Result<()> {\n"
  "        self.imp.invoke_reducer_with_callback($PArgs { $n}, __callback)\n"
  "    }\n"
  "}\n";

static const char procedure_text[] =
  "/// Calls the procedure `$w`; implemented for [`super::RemoteProcedures`].\n"
  "#[allow(non_camel_case_types)]\n"
  "pub trait $s {\n"
  "    /// Asks the server to run the procedure; nobody looks at its result.\n"
  "    fn $s(&self, $p) {\n"
  "        self.$t($n|_, _| {})\n"
  "    }\n"
  "\n"
  "    /// The same; the callback gets the result.\n"
  "    fn $t(\n"
  "        &self,\n"
  "        $p\n"
  "        __callback: impl FnOnce(&super::ProcedureEventContext, Result<$T, __sdk::InternalError>) + Send + 'static,\n"
  "    );\n"
  "}\n"
  "\n"
  "impl $s for super::RemoteProcedures {\n"
  "    fn $t(\n"
  "        &self,\n"
  "        $p\n"
  "        __callback: impl FnOnce(&super::ProcedureEventContext, Result<$T, __sdk::InternalError>) + Send + 'static,\n"
  "    ) {\n"
  "        self.imp.invoke_procedure_with_callback::<_, $T>(\"$w\", $PArgs { $n}, __callback)\n"
  "    }\n"
  "}\n";

static bool function_file(struct cg_model *m, const struct cg_function *f, bool procedure, struct lc_error *err) {
  struct lc_buf *out = cg_file(m, HEAD, "%.*s_%s.rs", CG_S(f->flat.snake), procedure ? "procedure" : "reducer"), params = {0}, names = {0}, returns = {0}, then = {0};
  struct cg_uses uses;
  if (!out || !cg_uses_begin(&uses, m)) return false;
  for (uint32_t i = 0; i < f->n_params; i++) cg_uses_add(&uses, f->space, f->params[i].type);
  if (procedure) cg_uses_add(&uses, f->space, f->returns);
  put_uses(&uses, out, NULL);
  lc_buf_printf(out, DERIVE ")]\n#[sats(crate = __lib)]\n%sstruct %.*sArgs {\n", procedure ? "" : "pub(super) ", CG_S(f->flat.pascal));
  put_params(m, out, f, AS_FIELDS, err);
  lc_buf_printf(out, "}\n\nimpl __sdk::InModule for %.*sArgs {\n    type Module = super::RemoteModule;\n}\n\n", CG_S(f->flat.pascal));
  put_params(m, &params, f, AS_PARAMETERS, err);
  put_params(m, &names, f, AS_NAMES, err);
  if (procedure) rust_type(m, &returns, f->space, f->returns, 0, err);
  lc_buf_printf(&then, "%.*s_then", CG_S(f->flat.snake));
  const struct cg_var v[] = {{'P', f->flat.pascal}, {'s', rust_name(m, f->flat.snake)}, {'t', lc_buf_slice(&then)}, {'w', f->wire}, {'n', lc_buf_slice(&names)}, {'p', lc_buf_slice(&params)}, {'T', lc_buf_slice(&returns)}, {0}};
  cg_fill(out, procedure ? procedure_text : reducer_text, v);
  m->no_memory |= !lc_buf_ok(&params) || !lc_buf_ok(&names) || !lc_buf_ok(&returns) || !lc_buf_ok(&then);
  lc_buf_free(&params);
  lc_buf_free(&names);
  lc_buf_free(&returns);
  lc_buf_free(&then);
  return true;
}

enum lc_status cg_rust(struct cg_model *m, struct lc_error *err) {
  struct lc_error fault = {0};
  bool ok = true;
  for (uint32_t s = 0; s < m->n_spaces; s++)
    for (uint32_t i = 0; ok && i < m->spaces[s].n_types; i++) ok = type_file(m, &m->spaces[s].types[i], &fault);
  for (uint32_t i = 0; ok && i < m->n_tables; i++) ok = table_file(m, &m->tables[i], &fault);
  for (uint32_t i = 0; ok && i < m->n_reducers; i++) ok = function_file(m, &m->reducers[i], false, &fault);
  for (uint32_t i = 0; ok && i < m->n_procedures; i++) ok = function_file(m, &m->procedures[i], true, &fault);
  ok = ok && rust_module_file(m, HEAD, &fault);
  if (fault.status != LC_OK) return lc_fail(err, fault.status, "%s", fault.text);
  return ok ? LC_OK : LC_NOMEM;
}
