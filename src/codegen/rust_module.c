/* mod.rs of the Rust bindings: the module's parts, its reducers as one type, the update of the client's cache, contexts, connection
 * (spec/04 §9.3). */
#include "rust.h"

/* One line for each thing of a list, with $P, $s, $f, $R, $w, $k of it. */
static void each_table(struct cg_model *m, struct lc_buf *out, const char *text, bool (*wanted)(const struct cg_table *)) {
  for (uint32_t i = 0; i < m->n_tables; i++) {
    const struct cg_table *t = &m->tables[i];
    if (wanted && !wanted(t)) continue;
    const struct cg_var v[] = {{'P', t->flat.pascal}, {'s', rust_name(m, t->flat.snake)}, {'f', t->flat.snake}, {'R', t->row->flat.pascal}, {'w', t->wire},
                               {'k', t->primary_key >= 0 ? rust_name(m, t->columns[t->primary_key].name.snake) : lc_slice(NULL, 0)}, {0}};
    cg_fill(out, text, v);
  }
}

static bool is_event(const struct cg_table *t) { return t->is_event; }
static bool has_key(const struct cg_table *t) { return !t->is_event && t->primary_key >= 0; }
static bool has_no_key(const struct cg_table *t) { return !t->is_event && t->primary_key < 0; }

static void put_modules(struct cg_model *m, struct lc_buf *out) {
  for (uint32_t s = 0; s < m->n_spaces; s++)
    for (uint32_t i = 0; i < m->spaces[s].n_types; i++) {
      const struct cg_var v[] = {{'f', m->spaces[s].types[i].flat.snake}, {'P', m->spaces[s].types[i].flat.pascal}, {0}};
      cg_fill(out, "pub mod $f_type;\npub use $f_type::$P;\n", v);
    }
  each_table(m, out, "pub mod $f_table;\npub use $f_table::*;\n", NULL);
  for (uint32_t i = 0; i < m->n_reducers + m->n_procedures; i++) {
    bool procedure = i >= m->n_reducers;
    const struct cg_function *f = procedure ? &m->procedures[i - m->n_reducers] : &m->reducers[i];
    const struct cg_var v[] = {{'f', f->flat.snake}, {'s', rust_name(m, f->flat.snake)}, {'k', lc_slice_str(procedure ? "procedure" : "reducer")}, {0}};
    cg_fill(out, "pub mod $f_$k;\npub use $f_$k::$s;\n", v);
  }
}

static void put_reducers(struct cg_model *m, struct lc_buf *out, struct lc_error *err) {
  lc_buf_str(out, "\n/// A reducer of the module, with its arguments: what caused an event.\n#[derive(Clone, PartialEq, Debug)]\npub enum Reducer {\n");
  for (uint32_t i = 0; i < m->n_reducers; i++) {
    const struct cg_function *f = &m->reducers[i];
    lc_buf_printf(out, "    %.*s {\n", CG_S(f->flat.pascal));
    for (uint32_t k = 0; k < f->n_params; k++) {
      lc_buf_printf(out, "        %.*s: ", CG_S(rust_name(m, f->params[k].name.snake)));
      rust_type(m, out, f->space, f->params[k].type, 0, err);
      lc_buf_str(out, ",\n");
    }
    lc_buf_str(out, "    },\n");
  }
  lc_buf_str(out, "}\n\nimpl __sdk::InModule for Reducer {\n    type Module = RemoteModule;\n}\n\nimpl __sdk::Reducer for Reducer {\n    fn reducer_name(&self) -> &'static str {\n        match self {\n");
  for (uint32_t i = 0; i < m->n_reducers; i++) {
    lc_buf_printf(out, "            Reducer::%.*s { .. } => ", CG_S(m->reducers[i].flat.pascal));
    cg_string(out, m->reducers[i].wire);
    lc_buf_str(out, ",\n");
  }
  lc_buf_str(out, "            _ => unreachable!(),\n        }\n    }\n    fn args_bsatn(&self) -> Result<Vec<u8>, __sats::bsatn::EncodeError> {\n        match self {\n");
  for (uint32_t i = 0; i < m->n_reducers; i++) {
    const struct cg_function *f = &m->reducers[i];
    lc_buf_printf(out, "            Reducer::%.*s { ", CG_S(f->flat.pascal));
    for (uint32_t k = 0; k < f->n_params; k++) lc_buf_printf(out, "%.*s, ", CG_S(rust_name(m, f->params[k].name.snake)));
    lc_buf_printf(out, "} => __sats::bsatn::to_vec(&%.*s_reducer::%.*sArgs { ", CG_S(f->flat.snake), CG_S(f->flat.pascal));
    for (uint32_t k = 0; k < f->n_params; k++) {
      struct lc_slice name = rust_name(m, f->params[k].name.snake);
      lc_buf_printf(out, "%.*s: %.*s.clone(), ", CG_S(name), CG_S(name));
    }
    lc_buf_str(out, "}),\n");
  }
  lc_buf_str(out, "            _ => unreachable!(),\n        }\n    }\n}\n");
}

static void put_update(struct cg_model *m, struct lc_buf *out) {
  lc_buf_str(out, "\n#[derive(Default, Debug)]\n#[allow(non_snake_case)]\n#[doc(hidden)]\npub struct DbUpdate {\n");
  each_table(m, out, "    $s: __sdk::TableUpdate<$R>,\n", NULL);
  lc_buf_str(out,
    "}\n\nimpl TryFrom<__ws::v2::TransactionUpdate> for DbUpdate {\n    type Error = __sdk::Error;\n    fn try_from(raw: __ws::v2::TransactionUpdate) -> Result<Self, Self::Error> {\n"
    "        let mut db_update = DbUpdate::default();\n        for table_update in __sdk::transaction_update_iter_table_updates(raw) {\n            match &table_update.table_name[..] {\n");
  each_table(m, out, "                \"$w\" => db_update.$s.append($f_table::parse_table_update(table_update)?),\n", NULL);
  lc_buf_str(out,
    "                unknown => return Err(__sdk::InternalError::unknown_name(\"table\", unknown, \"DatabaseUpdate\").into()),\n            }\n        }\n        Ok(db_update)\n    }\n}\n"
    "\nimpl __sdk::InModule for DbUpdate {\n    type Module = RemoteModule;\n}\n"
    "\nimpl __sdk::DbUpdate for DbUpdate {\n    fn apply_to_client_cache(&self, cache: &mut __sdk::ClientCache<RemoteModule>) -> AppliedDiff<'_> {\n        let mut diff = AppliedDiff::default();\n");
  each_table(m, out, "        diff.$s = cache.apply_diff_to_table::<$R>(\"$w\", &self.$s).with_updates_by_pk(|row| &row.$k);\n", has_key);
  each_table(m, out, "        diff.$s = cache.apply_diff_to_table::<$R>(\"$w\", &self.$s);\n", has_no_key);
  each_table(m, out, "        diff.$s = self.$s.into_event_diff();\n", is_event);
  lc_buf_str(out, "        diff\n    }\n");
  for (int deletes = 0; deletes < 2; deletes++) {
    lc_buf_printf(out, "    fn parse_%s_rows(raw: __ws::v2::QueryRows) -> __sdk::Result<Self> {\n        let mut db_update = DbUpdate::default();\n        for table_rows in raw.tables {\n            match &table_rows.table[..] {\n",
                  deletes ? "unsubscribe" : "initial");
    each_table(m, out, deletes ? "                \"$w\" => db_update.$s.append(__sdk::parse_row_list_as_deletes(table_rows.rows)?),\n"
                               : "                \"$w\" => db_update.$s.append(__sdk::parse_row_list_as_inserts(table_rows.rows)?),\n", NULL);
    lc_buf_str(out, "                unknown => return Err(__sdk::InternalError::unknown_name(\"table\", unknown, \"QueryRows\").into()),\n            }\n        }\n        Ok(db_update)\n    }\n");
  }
  lc_buf_str(out, "}\n\n#[derive(Default)]\n#[allow(non_snake_case)]\n#[doc(hidden)]\npub struct AppliedDiff<'r> {\n");
  each_table(m, out, "    $s: __sdk::TableAppliedDiff<'r, $R>,\n", NULL);
  lc_buf_str(out,
    "    __unused: std::marker::PhantomData<&'r ()>,\n}\n\nimpl<'r> __sdk::InModule for AppliedDiff<'r> {\n    type Module = RemoteModule;\n}\n"
    "\nimpl<'r> __sdk::AppliedDiff<'r> for AppliedDiff<'r> {\n    fn invoke_row_callbacks(&self, event: &EventContext, callbacks: &mut __sdk::DbCallbacks<RemoteModule>) {\n");
  each_table(m, out, "        callbacks.invoke_table_row_callbacks::<$R>(\"$w\", &self.$s, event);\n", NULL);
  lc_buf_str(out, "    }\n}\n");
}

static const char remote_text[] =
  "\n/// $d\npub struct $P {\n    imp: __sdk::DbContextImpl<RemoteModule>,\n}\n\nimpl __sdk::InModule for $P {\n    type Module = RemoteModule;\n}\n";

static const char context_text[] =
  "\n/// $d\npub struct $P {\n    pub db: RemoteTables,\n    pub reducers: RemoteReducers,\n    pub procedures: RemoteProcedures,\n$e    imp: __sdk::DbContextImpl<RemoteModule>,\n}\n"
  "\nimpl __sdk::InModule for $P {\n    type Module = RemoteModule;\n}\n"
  "\nimpl __sdk::DbContext for $P {\n"
  "    type DbView = RemoteTables;\n"
  "    type Reducers = RemoteReducers;\n"
  "    type Procedures = RemoteProcedures;\n"
  "    type SubscriptionBuilder = __sdk::SubscriptionBuilder<RemoteModule>;\n"
  "    fn db(&self) -> &Self::DbView {\n        &self.db\n    }\n"
  "    fn reducers(&self) -> &Self::Reducers {\n        &self.reducers\n    }\n"
  "    fn procedures(&self) -> &Self::Procedures {\n        &self.procedures\n    }\n"
  "    fn is_active(&self) -> bool {\n        self.imp.is_active()\n    }\n"
  "    fn disconnect(&self) -> __sdk::Result<()> {\n        self.imp.disconnect()\n    }\n"
  "    fn subscription_builder(&self) -> Self::SubscriptionBuilder {\n        __sdk::SubscriptionBuilder::new(&self.imp)\n    }\n"
  "    fn try_identity(&self) -> Option<__sdk::Identity> {\n        self.imp.try_identity()\n    }\n"
  "    fn connection_id(&self) -> __sdk::ConnectionId {\n        self.imp.connection_id()\n    }\n"
  "    fn try_connection_id(&self) -> Option<__sdk::ConnectionId> {\n        self.imp.try_connection_id()\n    }\n"
  "}\n";

#define PARTS "db: RemoteTables { imp: imp.clone() }, reducers: RemoteReducers { imp: imp.clone() }, procedures: RemoteProcedures { imp: imp.clone() }"

static const char event_text[] =
  "\nimpl __sdk::AbstractEventContext for $P {\n"
  "    type Event = $E;\n"
  "    fn event(&self) -> &Self::Event {\n        &self.event\n    }\n"
  "    fn new(imp: __sdk::DbContextImpl<RemoteModule>, event: Self::Event) -> Self {\n"
  "        Self { " PARTS ", event, imp }\n"
  "    }\n}\n"
  "\nimpl __sdk::$P for $P {}\n";

static void put_contexts(struct lc_buf *out) {
  static const struct { const char *name, *event, *doc; } contexts[] = {
    {"DbConnection", NULL, "A connection to a database that runs this module."},
    {"EventContext", "__sdk::Event<Reducer>", "What callbacks for rows get."},
    {"ReducerEventContext", "__sdk::ReducerEvent<Reducer>", "What callbacks for reducers get."},
    {"ProcedureEventContext", "()", "What callbacks for procedures get."},
    {"SubscriptionEventContext", "()", "What callbacks for subscriptions get."},
    {"ErrorContext", "Option<__sdk::Error>", "What callbacks for errors and the end of a connection get."},
  };
  static const struct { const char *name, *doc; } remotes[] = {
    {"RemoteTables", "The tables and views that the database has."}, {"RemoteReducers", "The reducers that clients may call."}, {"RemoteProcedures", "The procedures that clients may call."}};
  for (size_t i = 0; i < sizeof remotes / sizeof *remotes; i++) {
    const struct cg_var v[] = {{'P', lc_slice_str(remotes[i].name)}, {'d', lc_slice_str(remotes[i].doc)}, {0}};
    cg_fill(out, remote_text, v);
  }
  for (size_t i = 0; i < sizeof contexts / sizeof *contexts; i++) {
    char field[128] = "";
    if (contexts[i].event) snprintf(field, sizeof field, "    /// What happened.\n    pub event: %s,\n", contexts[i].event);
    const struct cg_var v[] = {{'P', lc_slice_str(contexts[i].name)}, {'d', lc_slice_str(contexts[i].doc)}, {'e', lc_slice_str(field)}, {'E', lc_slice_str(contexts[i].event ? contexts[i].event : "")}, {0}};
    cg_fill(out, context_text, v);
    if (contexts[i].event) cg_fill(out, event_text, v);
  }
}

static const char connection_text[] =
  "\nimpl __sdk::DbConnection for DbConnection {\n"
  "    fn new(imp: __sdk::DbContextImpl<RemoteModule>) -> Self {\n"
  "        Self { " PARTS ", imp }\n"
  "    }\n}\n"
  "\nimpl DbConnection {\n"
  "    /// Starts setting up a connection.\n"
  "    pub fn builder() -> __sdk::DbConnectionBuilder<RemoteModule> {\n        __sdk::DbConnectionBuilder::new()\n    }\n"
  "\n    /// Handles one message if one is there; true if it did.\n"
  "    pub fn advance_one_message(&self) -> __sdk::Result<bool> {\n        self.imp.advance_one_message()\n    }\n"
  "\n    /// Waits for one message and handles it.\n"
  "    #[cfg(not(target_arch = \"wasm32\"))]\n"
  "    pub fn advance_one_message_blocking(&self) -> __sdk::Result<()> {\n        self.imp.advance_one_message_blocking()\n    }\n"
  "\n    /// Waits for one message and handles it.\n"
  "    pub async fn advance_one_message_async(&self) -> __sdk::Result<()> {\n        self.imp.advance_one_message_async().await\n    }\n"
  "\n    /// Handles all messages that are there.\n"
  "    pub fn frame_tick(&self) -> __sdk::Result<()> {\n        self.imp.frame_tick()\n    }\n"
  "\n    /// Starts a thread that handles messages until the connection ends.\n"
  "    #[cfg(not(target_arch = \"wasm32\"))]\n"
  "    pub fn run_threaded(&self) -> std::thread::JoinHandle<()> {\n        self.imp.run_threaded()\n    }\n"
  "\n    /// Starts a task that handles messages until the connection ends.\n"
  "    #[cfg(target_arch = \"wasm32\")]\n"
  "    pub fn run_background_task(&self) {\n        self.imp.run_background_task()\n    }\n"
  "\n    /// Handles messages until the connection ends.\n"
  "    pub async fn run_async(&self) -> __sdk::Result<()> {\n        self.imp.run_async().await\n    }\n"
  "}\n"
  "\n/// A subscription, to end it.\n"
  "#[derive(Clone)]\n"
  "pub struct SubscriptionHandle {\n    imp: __sdk::SubscriptionHandleImpl<RemoteModule>,\n}\n"
  "\nimpl __sdk::InModule for SubscriptionHandle {\n    type Module = RemoteModule;\n}\n"
  "\nimpl __sdk::SubscriptionHandle for SubscriptionHandle {\n"
  "    fn new(imp: __sdk::SubscriptionHandleImpl<RemoteModule>) -> Self {\n        Self { imp }\n    }\n"
  "    fn is_ended(&self) -> bool {\n        self.imp.is_ended()\n    }\n"
  "    fn is_active(&self) -> bool {\n        self.imp.is_active()\n    }\n"
  "    fn unsubscribe_then(self, on_end: __sdk::OnEndedCallback<RemoteModule>) -> __sdk::Result<()> {\n        self.imp.unsubscribe_then(Some(on_end))\n    }\n"
  "    fn unsubscribe(self) -> __sdk::Result<()> {\n        self.imp.unsubscribe_then(None)\n    }\n"
  "}\n"
  "\n/// Everything that leads to the database's tables, reducers and procedures: the connection and the contexts of callbacks.\n"
  "pub trait RemoteDbContext:\n"
  "    __sdk::DbContext<DbView = RemoteTables, Reducers = RemoteReducers, SubscriptionBuilder = __sdk::SubscriptionBuilder<RemoteModule>>\n{\n}\n"
  "impl<Ctx> RemoteDbContext for Ctx where\n"
  "    Ctx: __sdk::DbContext<DbView = RemoteTables, Reducers = RemoteReducers, SubscriptionBuilder = __sdk::SubscriptionBuilder<RemoteModule>>\n{\n}\n"
  "\n/// The module itself, as the client library sees it.\n"
  "#[derive(Debug)]\n"
  "#[doc(hidden)]\n"
  "pub struct RemoteModule;\n"
  "\nimpl __sdk::InModule for RemoteModule {\n    type Module = Self;\n}\n"
  "\nimpl __sdk::SpacetimeModule for RemoteModule {\n"
  "    type DbConnection = DbConnection;\n"
  "    type EventContext = EventContext;\n"
  "    type ReducerEventContext = ReducerEventContext;\n"
  "    type ProcedureEventContext = ProcedureEventContext;\n"
  "    type SubscriptionEventContext = SubscriptionEventContext;\n"
  "    type ErrorContext = ErrorContext;\n"
  "    type Reducer = Reducer;\n"
  "    type DbView = RemoteTables;\n"
  "    type Reducers = RemoteReducers;\n"
  "    type Procedures = RemoteProcedures;\n"
  "    type DbUpdate = DbUpdate;\n"
  "    type AppliedDiff<'r> = AppliedDiff<'r>;\n"
  "    type SubscriptionHandle = SubscriptionHandle;\n"
  "    type QueryBuilder = __sdk::QueryBuilder;\n"
  "\n    fn register_tables(client_cache: &mut __sdk::ClientCache<Self>) {\n";

bool rust_module_file(struct cg_model *m, const char *head, struct lc_error *err) {
  struct lc_buf *out = cg_file(m, head, "mod.rs");
  if (!out) return false;
  lc_buf_printf(out, "\n// Generated for a client library of version %s.\n\n", m->options->cli_version);
  put_modules(m, out);
  put_reducers(m, out, err);
  put_update(m, out);
  put_contexts(out);
  lc_buf_str(out, connection_text);
  each_table(m, out, "        $f_table::register_table(client_cache);\n", NULL);
  lc_buf_str(out, "    }\n\n    const ALL_TABLE_NAMES: &'static [&'static str] = &[\n");
  each_table(m, out, "        \"$w\",\n", NULL);
  lc_buf_str(out, "    ];\n}\n");
  return true;
}
