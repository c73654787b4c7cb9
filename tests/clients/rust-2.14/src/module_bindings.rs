//! Bindings of the end-to-end tests' module for the official Rust client, in the shape of generated code (spec/04 §9.3): three tables and
//! the reducers that the test calls.

use spacetimedb_sdk::__codegen::{self as __sdk, __lib, __sats, __ws};
use std::marker::PhantomData;

// ---- row types ----

macro_rules! row_type {
    ($name:ident { $($field:ident: $type:ty),* }) => {
        #[derive(__lib::ser::Serialize, __lib::de::Deserialize, Clone, PartialEq, Debug)]
        #[sats(crate = __lib)]
        pub struct $name { $(pub $field: $type),* }
        impl __sdk::InModule for $name { type Module = RemoteModule; }
    };
}
row_type!(Person { id: u32, name: String, age: u8 });
row_type!(Counter { id: u32, value: u64 });
row_type!(Connected { identity: __sdk::Identity, connection_id: __sdk::ConnectionId, count: u32 });

// ---- tables ----

macro_rules! table {
    ($module:ident, $accessor:ident, $wire:literal, $row:ident, $handle:ident, $key:ident: $key_type:ty, $unique:ident, $insert_id:ident, $delete_id:ident, $update_id:ident, $access:ident) => {
        pub struct $handle<'ctx> { imp: __sdk::TableHandle<$row>, ctx: PhantomData<&'ctx RemoteTables> }
        pub trait $access { #[allow(non_snake_case)] fn $accessor(&self) -> $handle<'_>; }
        impl $access for RemoteTables {
            fn $accessor(&self) -> $handle<'_> { $handle { imp: self.imp.get_table::<$row>($wire), ctx: PhantomData } }
        }
        pub struct $insert_id(__sdk::CallbackId);
        pub struct $delete_id(__sdk::CallbackId);
        pub struct $update_id(__sdk::CallbackId);
        impl<'ctx> __sdk::Table for $handle<'ctx> {
            type Row = $row;
            type EventContext = EventContext;
            fn count(&self) -> u64 { self.imp.count() }
            fn iter(&self) -> impl Iterator<Item = $row> + '_ { self.imp.iter() }
            type InsertCallbackId = $insert_id;
            fn on_insert(&self, callback: impl FnMut(&Self::EventContext, &Self::Row) + Send + 'static) -> $insert_id { $insert_id(self.imp.on_insert(Box::new(callback))) }
            fn remove_on_insert(&self, callback: $insert_id) { self.imp.remove_on_insert(callback.0) }
            type DeleteCallbackId = $delete_id;
            fn on_delete(&self, callback: impl FnMut(&Self::EventContext, &Self::Row) + Send + 'static) -> $delete_id { $delete_id(self.imp.on_delete(Box::new(callback))) }
            fn remove_on_delete(&self, callback: $delete_id) { self.imp.remove_on_delete(callback.0) }
        }
        impl<'ctx> __sdk::TableWithPrimaryKey for $handle<'ctx> {
            type UpdateCallbackId = $update_id;
            fn on_update(&self, callback: impl FnMut(&Self::EventContext, &Self::Row, &Self::Row) + Send + 'static) -> $update_id { $update_id(self.imp.on_update(Box::new(callback))) }
            fn remove_on_update(&self, callback: $update_id) { self.imp.remove_on_update(callback.0) }
        }
        pub struct $unique<'ctx> { imp: __sdk::UniqueConstraintHandle<$row, $key_type>, phantom: PhantomData<&'ctx RemoteTables> }
        impl<'ctx> $handle<'ctx> {
            pub fn $key(&self) -> $unique<'ctx> { $unique { imp: self.imp.get_unique_constraint::<$key_type>(stringify!($key)), phantom: PhantomData } }
        }
        impl<'ctx> $unique<'ctx> {
            pub fn find(&self, value: &$key_type) -> Option<$row> { self.imp.find(value) }
        }
        mod $module {
            use super::*;
            pub(super) fn register_table(cache: &mut __sdk::ClientCache<RemoteModule>) {
                let table = cache.get_or_make_table::<$row>($wire);
                table.add_unique_constraint::<$key_type>(stringify!($key), |row| &row.$key);
            }
            pub(super) fn parse_table_update(raw: __ws::v2::TableUpdate) -> __sdk::Result<__sdk::TableUpdate<$row>> {
                __sdk::TableUpdate::parse_table_update(raw).map_err(|e| {
                    __sdk::InternalError::failed_parse(concat!("TableUpdate<", stringify!($row), ">"), "TableUpdate").with_cause(e).into()
                })
            }
        }
    };
}
table!(person_table, person, "person", Person, PersonTableHandle, id: u32, PersonIdUnique, PersonInsertCallbackId, PersonDeleteCallbackId, PersonUpdateCallbackId, PersonTableAccess);
table!(counter_table, counter, "counter", Counter, CounterTableHandle, id: u32, CounterIdUnique, CounterInsertCallbackId, CounterDeleteCallbackId, CounterUpdateCallbackId, CounterTableAccess);
table!(connected_table, connected, "connected", Connected, ConnectedTableHandle, identity: __sdk::Identity, ConnectedIdentityUnique, ConnectedInsertCallbackId, ConnectedDeleteCallbackId, ConnectedUpdateCallbackId, ConnectedTableAccess);

// ---- reducers ----

macro_rules! reducers {
    ($($variant:ident $wire:ident $args:ident $then:ident { $($field:ident: $type:ty),* })*) => {
        $(
            #[derive(__lib::ser::Serialize, __lib::de::Deserialize, Clone, PartialEq, Debug)]
            #[sats(crate = __lib)]
            pub(super) struct $args { $(pub $field: $type),* }
            impl From<$args> for Reducer { fn from(args: $args) -> Self { let $args { $($field),* } = args; Self::$variant { $($field),* } } }
            impl __sdk::InModule for $args { type Module = RemoteModule; }
            impl RemoteReducers {
                #[allow(dead_code)]
                pub fn $wire(&self $(, $field: $type)*) -> __sdk::Result<()> { self.$then($($field,)* |_, _| {}) }
                pub fn $then(&self $(, $field: $type)*, callback: impl FnOnce(&ReducerEventContext, Result<Result<(), String>, __sdk::InternalError>) + Send + 'static) -> __sdk::Result<()> {
                    self.imp.invoke_reducer_with_callback($args { $($field),* }, callback)
                }
            }
        )*
        #[derive(Clone, PartialEq, Debug)]
        pub enum Reducer { $($variant { $($field: $type),* }),* }
        impl __sdk::InModule for Reducer { type Module = RemoteModule; }
        impl __sdk::Reducer for Reducer {
            fn reducer_name(&self) -> &'static str { match self { $(Reducer::$variant { .. } => stringify!($wire)),* } }
            #[allow(clippy::clone_on_copy)]
            fn args_bsatn(&self) -> Result<Vec<u8>, __sats::bsatn::EncodeError> {
                match self { $(Reducer::$variant { $($field),* } => __sats::bsatn::to_vec(&$args { $($field: $field.clone()),* })),* }
            }
        }
    };
}
reducers! {
    AddPerson add_person AddPersonArgs add_person_then { name: String, age: u8 }
    RenamePerson rename_person RenamePersonArgs rename_person_then { id: u32, name: String }
    DeletePerson delete_person DeletePersonArgs delete_person_then { id: u32 }
    Fail fail FailArgs fail_then { message: String }
    PanicNow panic_now PanicNowArgs panic_now_then { }
    Increment increment IncrementArgs increment_then { id: u32 }
}

// ---- the module ----

#[derive(Default, Debug)]
pub struct DbUpdate { person: __sdk::TableUpdate<Person>, counter: __sdk::TableUpdate<Counter>, connected: __sdk::TableUpdate<Connected> }
impl TryFrom<__ws::v2::TransactionUpdate> for DbUpdate {
    type Error = __sdk::Error;
    fn try_from(raw: __ws::v2::TransactionUpdate) -> Result<Self, Self::Error> {
        let mut db_update = DbUpdate::default();
        for table_update in __sdk::transaction_update_iter_table_updates(raw) {
            match &table_update.table_name[..] {
                "person" => db_update.person.append(person_table::parse_table_update(table_update)?),
                "counter" => db_update.counter.append(counter_table::parse_table_update(table_update)?),
                "connected" => db_update.connected.append(connected_table::parse_table_update(table_update)?),
                unknown => return Err(__sdk::InternalError::unknown_name("table", unknown, "DatabaseUpdate").into()),
            }
        }
        Ok(db_update)
    }
}
impl __sdk::InModule for DbUpdate { type Module = RemoteModule; }
impl __sdk::DbUpdate for DbUpdate {
    fn apply_to_client_cache(&self, cache: &mut __sdk::ClientCache<RemoteModule>) -> AppliedDiff<'_> {
        AppliedDiff {
            person: cache.apply_diff_to_table::<Person>("person", &self.person).with_updates_by_pk(|row| &row.id),
            counter: cache.apply_diff_to_table::<Counter>("counter", &self.counter).with_updates_by_pk(|row| &row.id),
            connected: cache.apply_diff_to_table::<Connected>("connected", &self.connected).with_updates_by_pk(|row| &row.identity),
            phantom: PhantomData,
        }
    }
    fn parse_initial_rows(raw: __ws::v2::QueryRows) -> __sdk::Result<Self> {
        let mut db_update = DbUpdate::default();
        for table_rows in raw.tables {
            match &table_rows.table[..] {
                "person" => db_update.person.append(__sdk::parse_row_list_as_inserts(table_rows.rows)?),
                "counter" => db_update.counter.append(__sdk::parse_row_list_as_inserts(table_rows.rows)?),
                "connected" => db_update.connected.append(__sdk::parse_row_list_as_inserts(table_rows.rows)?),
                unknown => return Err(__sdk::InternalError::unknown_name("table", unknown, "QueryRows").into()),
            }
        }
        Ok(db_update)
    }
    fn parse_unsubscribe_rows(raw: __ws::v2::QueryRows) -> __sdk::Result<Self> {
        let mut db_update = DbUpdate::default();
        for table_rows in raw.tables {
            match &table_rows.table[..] {
                "person" => db_update.person.append(__sdk::parse_row_list_as_deletes(table_rows.rows)?),
                "counter" => db_update.counter.append(__sdk::parse_row_list_as_deletes(table_rows.rows)?),
                "connected" => db_update.connected.append(__sdk::parse_row_list_as_deletes(table_rows.rows)?),
                unknown => return Err(__sdk::InternalError::unknown_name("table", unknown, "QueryRows").into()),
            }
        }
        Ok(db_update)
    }
}

#[derive(Default)]
pub struct AppliedDiff<'r> { person: __sdk::TableAppliedDiff<'r, Person>, counter: __sdk::TableAppliedDiff<'r, Counter>, connected: __sdk::TableAppliedDiff<'r, Connected>, phantom: PhantomData<&'r ()> }
impl<'r> __sdk::InModule for AppliedDiff<'r> { type Module = RemoteModule; }
impl<'r> __sdk::AppliedDiff<'r> for AppliedDiff<'r> {
    fn invoke_row_callbacks(&self, event: &EventContext, callbacks: &mut __sdk::DbCallbacks<RemoteModule>) {
        callbacks.invoke_table_row_callbacks::<Person>("person", &self.person, event);
        callbacks.invoke_table_row_callbacks::<Counter>("counter", &self.counter, event);
        callbacks.invoke_table_row_callbacks::<Connected>("connected", &self.connected, event);
    }
}

#[derive(Debug)]
pub struct RemoteModule;
impl __sdk::InModule for RemoteModule { type Module = Self; }

macro_rules! remote {
    ($name:ident) => {
        pub struct $name { imp: __sdk::DbContextImpl<RemoteModule> }
        impl __sdk::InModule for $name { type Module = RemoteModule; }
    };
}
remote!(RemoteReducers);
remote!(RemoteProcedures);
remote!(RemoteTables);

macro_rules! context {
    ($name:ident $(, $event:ty, $marker:ident)?) => {
        pub struct $name { pub db: RemoteTables, pub reducers: RemoteReducers, pub procedures: RemoteProcedures, $(pub event: $event,)? imp: __sdk::DbContextImpl<RemoteModule> }
        impl __sdk::InModule for $name { type Module = RemoteModule; }
        impl __sdk::DbContext for $name {
            type DbView = RemoteTables;
            type Reducers = RemoteReducers;
            type Procedures = RemoteProcedures;
            fn db(&self) -> &Self::DbView { &self.db }
            fn reducers(&self) -> &Self::Reducers { &self.reducers }
            fn procedures(&self) -> &Self::Procedures { &self.procedures }
            fn is_active(&self) -> bool { self.imp.is_active() }
            fn disconnect(&self) -> __sdk::Result<()> { self.imp.disconnect() }
            type SubscriptionBuilder = __sdk::SubscriptionBuilder<RemoteModule>;
            fn subscription_builder(&self) -> Self::SubscriptionBuilder { __sdk::SubscriptionBuilder::new(&self.imp) }
            fn try_identity(&self) -> Option<__sdk::Identity> { self.imp.try_identity() }
            fn connection_id(&self) -> __sdk::ConnectionId { self.imp.connection_id() }
            fn try_connection_id(&self) -> Option<__sdk::ConnectionId> { self.imp.try_connection_id() }
        }
        $(
            impl __sdk::AbstractEventContext for $name {
                type Event = $event;
                fn event(&self) -> &Self::Event { &self.event }
                fn new(imp: __sdk::DbContextImpl<RemoteModule>, event: Self::Event) -> Self {
                    Self { db: RemoteTables { imp: imp.clone() }, reducers: RemoteReducers { imp: imp.clone() }, procedures: RemoteProcedures { imp: imp.clone() }, event, imp }
                }
            }
            impl __sdk::$marker for $name {}
        )?
    };
}
context!(DbConnection);
context!(EventContext, __sdk::Event<Reducer>, EventContext);
context!(ReducerEventContext, __sdk::ReducerEvent<Reducer>, ReducerEventContext);
context!(ProcedureEventContext, (), ProcedureEventContext);
context!(SubscriptionEventContext, (), SubscriptionEventContext);
context!(ErrorContext, Option<__sdk::Error>, ErrorContext);

impl DbConnection {
    pub fn builder() -> __sdk::DbConnectionBuilder<RemoteModule> { __sdk::DbConnectionBuilder::new() }
    pub fn run_threaded(&self) -> std::thread::JoinHandle<()> { self.imp.run_threaded() }
}
impl __sdk::DbConnection for DbConnection {
    fn new(imp: __sdk::DbContextImpl<RemoteModule>) -> Self {
        Self { db: RemoteTables { imp: imp.clone() }, reducers: RemoteReducers { imp: imp.clone() }, procedures: RemoteProcedures { imp: imp.clone() }, imp }
    }
}

#[derive(Clone)]
pub struct SubscriptionHandle { imp: __sdk::SubscriptionHandleImpl<RemoteModule> }
impl __sdk::InModule for SubscriptionHandle { type Module = RemoteModule; }
impl __sdk::SubscriptionHandle for SubscriptionHandle {
    fn new(imp: __sdk::SubscriptionHandleImpl<RemoteModule>) -> Self { Self { imp } }
    fn is_ended(&self) -> bool { self.imp.is_ended() }
    fn is_active(&self) -> bool { self.imp.is_active() }
    fn unsubscribe_then(self, on_end: __sdk::OnEndedCallback<RemoteModule>) -> __sdk::Result<()> { self.imp.unsubscribe_then(Some(on_end)) }
    fn unsubscribe(self) -> __sdk::Result<()> { self.imp.unsubscribe_then(None) }
}

impl __sdk::SpacetimeModule for RemoteModule {
    type DbConnection = DbConnection;
    type EventContext = EventContext;
    type ReducerEventContext = ReducerEventContext;
    type ProcedureEventContext = ProcedureEventContext;
    type SubscriptionEventContext = SubscriptionEventContext;
    type ErrorContext = ErrorContext;
    type Reducer = Reducer;
    type DbView = RemoteTables;
    type Reducers = RemoteReducers;
    type Procedures = RemoteProcedures;
    type DbUpdate = DbUpdate;
    type AppliedDiff<'r> = AppliedDiff<'r>;
    type SubscriptionHandle = SubscriptionHandle;
    type QueryBuilder = __sdk::QueryBuilder;
    fn register_tables(client_cache: &mut __sdk::ClientCache<Self>) {
        person_table::register_table(client_cache);
        counter_table::register_table(client_cache);
        connected_table::register_table(client_cache);
    }
    const ALL_TABLE_NAMES: &'static [&'static str] = &["person", "counter", "connected"];
}
