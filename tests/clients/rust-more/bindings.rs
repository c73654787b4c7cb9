//! What the official client library needs to know of the e2e module (tests/modules/e2e.rs): its row types, tables and
//! reducers, tied together by the traits of the library's code generation interface. Written by hand, and smaller than
//! generated bindings are: a table's handle is the library's own type, and the contexts of all callbacks come from one macro.

#![allow(dead_code)] // the whole module, whatever the program uses of it

use spacetimedb_sdk::__codegen::{
    self as sdk, __lib, __sats, __ws, AbstractEventContext, ClientCache, DbCallbacks, DbContextImpl, InModule,
    InternalError, OnEndedCallback, SubscriptionHandleImpl, TableAppliedDiff, TableHandle, TableUpdate, UniqueConstraintHandle,
};
use spacetimedb_sdk::{i256, u256, ConnectionId, Event, Identity, ReducerEvent, ScheduleAt, TimeDuration, Timestamp, Uuid};

/// The module itself.
#[derive(Debug)]
pub struct E2e;

#[derive(__lib::ser::Serialize, __lib::de::Deserialize, Clone, PartialEq, Debug)]
#[sats(crate = __lib)]
pub struct Person { pub id: u32, pub name: String, pub age: u8 }

#[derive(__lib::ser::Serialize, __lib::de::Deserialize, Clone, PartialEq, Debug)]
#[sats(crate = __lib)]
pub struct Counter { pub id: u32, pub value: u64 }

#[derive(__lib::ser::Serialize, __lib::de::Deserialize, Clone, PartialEq, Debug)]
#[sats(crate = __lib)]
pub struct Connected { pub identity: Identity, pub connection_id: ConnectionId, pub count: u32 }

#[derive(__lib::ser::Serialize, __lib::de::Deserialize, Clone, PartialEq, Debug)]
#[sats(crate = __lib)]
pub struct LogEntry { pub seq: u64, pub payload: String }

#[derive(__lib::ser::Serialize, __lib::de::Deserialize, Clone, PartialEq, Debug)]
#[sats(crate = __lib)]
pub struct TickEvent { pub at: Timestamp, pub count: u64 }

#[derive(__lib::ser::Serialize, __lib::de::Deserialize, Clone, PartialEq, Debug)]
#[sats(crate = __lib)]
pub struct Point { pub x: i32, pub y: i32 }

#[derive(__lib::ser::Serialize, __lib::de::Deserialize, Clone, PartialEq, Debug)]
#[sats(crate = __lib)]
pub struct Circle { pub centre: Point, pub radius: f64 }

#[derive(__lib::ser::Serialize, __lib::de::Deserialize, Clone, PartialEq, Debug)]
#[sats(crate = __lib)]
pub enum Shape { Nothing, Dot(Point), Circle(Circle), Label(String) }

#[derive(__lib::ser::Serialize, __lib::de::Deserialize, Clone, PartialEq, Debug)]
#[sats(crate = __lib)]
pub enum Colour { Red, Green, Blue }

#[derive(__lib::ser::Serialize, __lib::de::Deserialize, Clone, PartialEq, Debug)]
#[sats(crate = __lib)]
pub struct AllTypes {
    pub id: u32,
    pub a_bool: bool,
    pub an_i8: i8,
    pub a_u8: u8,
    pub an_i16: i16,
    pub a_u16: u16,
    pub an_i32: i32,
    pub a_u32: u32,
    pub an_i64: i64,
    pub a_u64: u64,
    pub an_i128: i128,
    pub a_u128: u128,
    pub an_i256: i256,
    pub a_u256: u256,
    pub an_f32: f32,
    pub an_f64: f64,
    pub a_string: String,
    pub some_bytes: Vec<u8>,
    pub an_identity: Identity,
    pub a_connection: ConnectionId,
    pub a_timestamp: Timestamp,
    pub a_duration: TimeDuration,
    pub a_uuid: Uuid,
    pub a_schedule: ScheduleAt,
    pub an_option: Option<String>,
    pub a_result: Result<u32, String>,
    pub a_colour: Colour,
    pub a_shape: Shape,
    pub a_circle: Circle,
    pub some_points: Vec<Point>,
    pub some_options: Vec<Option<u16>>,
    pub nested: Option<Option<Vec<Shape>>>,
}

/// A view's rows are a type of their own, so that the client's cache keeps them apart.
#[derive(__lib::ser::Serialize, __lib::de::Deserialize, Clone, PartialEq, Debug)]
#[sats(crate = __lib)]
pub struct Adult {
    pub id: u32,
    pub name: String,
    pub age: u8,
}

/// Declares the tables: field, name, row type; and how its changes reach the cache: `rows`, `keyed` (rows with a
/// primary key: a delete and an insert of one key are an update) or `events` (rows that are not kept).
macro_rules! tables {
    ($($how:ident $field:ident: $row:ident $(by $key:ident)?,)*) => {
        $(impl InModule for $row { type Module = E2e; })*

        #[derive(Debug, Default)]
        pub struct Update { $($field: TableUpdate<$row>,)* }

        #[derive(Default)]
        pub struct Diff<'r> { $($field: TableAppliedDiff<'r, $row>,)* }

        impl Update {
            fn take(&mut self, update: __ws::v2::TableUpdate) -> spacetimedb_sdk::Result<()> {
                match &*update.table_name {
                    $(stringify!($field) => self.$field.append(TableUpdate::parse_table_update(update)?),)*
                    other => return Err(InternalError::unknown_name("table", other, "TransactionUpdate").into()),
                }
                Ok(())
            }

            fn of_rows(rows: __ws::v2::QueryRows, deletes: bool) -> spacetimedb_sdk::Result<Self> {
                let mut all = Update::default();
                for table in rows.tables {
                    match &*table.table {
                        $(stringify!($field) => all.$field.append(if deletes {
                            sdk::parse_row_list_as_deletes(table.rows)?
                        } else {
                            sdk::parse_row_list_as_inserts(table.rows)?
                        }),)*
                        other => return Err(InternalError::unknown_name("table", other, "QueryRows").into()),
                    }
                }
                Ok(all)
            }
        }

        impl sdk::DbUpdate for Update {
            fn apply_to_client_cache(&self, cache: &mut ClientCache<E2e>) -> Diff<'_> {
                Diff { $($field: tables!(@apply $how cache self.$field $field $row $($key)?),)* }
            }
            fn parse_initial_rows(rows: __ws::v2::QueryRows) -> spacetimedb_sdk::Result<Self> { Self::of_rows(rows, false) }
            fn parse_unsubscribe_rows(rows: __ws::v2::QueryRows) -> spacetimedb_sdk::Result<Self> { Self::of_rows(rows, true) }
        }

        impl<'r> sdk::AppliedDiff<'r> for Diff<'r> {
            fn invoke_row_callbacks(&self, event: &EventContext, callbacks: &mut DbCallbacks<E2e>) {
                $(callbacks.invoke_table_row_callbacks::<$row>(stringify!($field), &self.$field, event);)*
            }
        }

        impl Tables {
            $(pub fn $field(&self) -> TableHandle<$row> { self.imp.get_table(stringify!($field)) })*
        }

        const TABLE_NAMES: &[&str] = &[$(stringify!($field)),*];

        fn register(cache: &mut ClientCache<E2e>) {
            $(let _ = cache.get_or_make_table::<$row>(stringify!($field));
            $(cache.get_or_make_table::<$row>(stringify!($field)).add_unique_constraint(stringify!($key), |row| &row.$key);)?)*
        }
    };
    (@apply rows $cache:ident $self:ident . $update:ident $field:ident $row:ident) => {
        $cache.apply_diff_to_table::<$row>(stringify!($field), &$self.$update)
    };
    (@apply keyed $cache:ident $self:ident . $update:ident $field:ident $row:ident $key:ident) => {
        $cache.apply_diff_to_table::<$row>(stringify!($field), &$self.$update).with_updates_by_pk(|row| &row.$key)
    };
    (@apply events $cache:ident $self:ident . $update:ident $field:ident $row:ident) => { $self.$update.into_event_diff() };
}

tables! {
    keyed person: Person by id,
    keyed counter: Counter by id,
    keyed connected: Connected by identity,
    keyed log_entry: LogEntry by seq,
    keyed all_types: AllTypes by id,
    rows adults: Adult,
    events tick_event: TickEvent,
}

impl Tables {
    pub fn person_by_id(&self) -> UniqueConstraintHandle<Person, u32> {
        self.person().get_unique_constraint("id")
    }
}

impl InModule for Update {
    type Module = E2e;
}

impl InModule for Diff<'_> {
    type Module = E2e;
}

impl TryFrom<__ws::v2::TransactionUpdate> for Update {
    type Error = spacetimedb_sdk::Error;
    fn try_from(raw: __ws::v2::TransactionUpdate) -> Result<Self, Self::Error> {
        let mut all = Update::default();
        for update in sdk::transaction_update_iter_table_updates(raw) {
            all.take(update)?;
        }
        Ok(all)
    }
}

/// What a reducer answered: done, its own error, or a failure of the host (a panic is one).
pub type Outcome = Result<Result<(), String>, InternalError>;

macro_rules! reducers {
    ($($variant:ident $name:ident($($arg:ident: $type:ty),*);)*) => {
        #[derive(Clone, Debug, PartialEq)]
        pub enum Reducer { $($variant { $($arg: $type),* },)* }

        impl sdk::Reducer for Reducer {
            fn reducer_name(&self) -> &'static str {
                match self { $(Reducer::$variant { .. } => stringify!($name),)* }
            }
            fn args_bsatn(&self) -> Result<Vec<u8>, __sats::bsatn::EncodeError> {
                let mut bytes = Vec::new();
                match self {
                    $(Reducer::$variant { $($arg),* } => { $(__sats::bsatn::to_writer(&mut bytes, $arg)?;)* })*
                }
                Ok(bytes)
            }
        }

        impl Reducers {
            $(pub fn $name(&self, $($arg: $type,)* then: impl FnOnce(&ReducerEventContext, Outcome) + Send + 'static) {
                self.imp.invoke_reducer_with_callback::<Reducer>(Reducer::$variant { $($arg),* }, then).expect("the call is queued");
            })*
        }
    };
}

reducers! {
    AddPerson add_person(name: String, age: u8);
    RenamePerson rename_person(id: u32, name: String);
    DeletePerson delete_person(id: u32);
    Fail fail(message: String);
    PanicNow panic_now();
    Increment increment(id: u32);
    InsertAllTypes insert_all_types(row: AllTypes);
    InsertSamples insert_samples();
    AppendLog append_log(seq: u64, payload: String);
    StartTicking start_ticking(millis: u64, repeat: bool);
}

impl InModule for Reducer {
    type Module = E2e;
}

macro_rules! parts {
    ($($name:ident)*) => { $(
        pub struct $name { imp: DbContextImpl<E2e> }
        impl InModule for $name { type Module = E2e; }
    )* };
}

parts! { Tables Reducers Procedures }

/// The things callbacks are given, and the connection: each leads to the tables and reducers.
macro_rules! contexts {
    ($($name:ident $(sees $event:ty)?,)*) => { $(
        pub struct $name {
            pub db: Tables,
            pub reducers: Reducers,
            imp: DbContextImpl<E2e>,
            $(pub event: $event,)?
        }
        impl InModule for $name { type Module = E2e; }
        impl $name {
            pub fn subscription_builder(&self) -> sdk::SubscriptionBuilder<E2e> { sdk::SubscriptionBuilder::new(&self.imp) }
        }
        $(impl AbstractEventContext for $name {
            type Event = $event;
            fn event(&self) -> &$event { &self.event }
            fn new(imp: DbContextImpl<E2e>, event: $event) -> Self {
                $name { db: Tables { imp: imp.clone() }, reducers: Reducers { imp: imp.clone() }, imp, event }
            }
        })?
    )* };
}

contexts! {
    DbConnection,
    EventContext sees Event<Reducer>,
    ReducerEventContext sees ReducerEvent<Reducer>,
    ProcedureEventContext sees (),
    SubscriptionEventContext sees (),
    ErrorContext sees Option<spacetimedb_sdk::Error>,
}

impl sdk::EventContext for EventContext {}
impl sdk::ReducerEventContext for ReducerEventContext {}
impl sdk::ProcedureEventContext for ProcedureEventContext {}
impl sdk::SubscriptionEventContext for SubscriptionEventContext {}
impl sdk::ErrorContext for ErrorContext {}

impl sdk::DbConnection for DbConnection {
    fn new(imp: DbContextImpl<E2e>) -> Self {
        DbConnection { db: Tables { imp: imp.clone() }, reducers: Reducers { imp: imp.clone() }, imp }
    }
}

impl DbConnection {
    pub fn builder() -> sdk::DbConnectionBuilder<E2e> {
        sdk::DbConnectionBuilder::new()
    }

    pub fn run_threaded(&self) -> std::thread::JoinHandle<()> {
        self.imp.run_threaded()
    }

    pub fn disconnect(&self) -> spacetimedb_sdk::Result<()> {
        self.imp.disconnect()
    }

    pub fn is_active(&self) -> bool {
        self.imp.is_active()
    }

    pub fn connection_id(&self) -> ConnectionId {
        self.imp.connection_id()
    }
}

#[derive(Clone)]
pub struct SubscriptionHandle {
    imp: SubscriptionHandleImpl<E2e>,
}

impl InModule for SubscriptionHandle {
    type Module = E2e;
}

impl sdk::SubscriptionHandle for SubscriptionHandle {
    fn new(imp: SubscriptionHandleImpl<E2e>) -> Self {
        SubscriptionHandle { imp }
    }
    fn is_ended(&self) -> bool {
        self.imp.is_ended()
    }
    fn is_active(&self) -> bool {
        self.imp.is_active()
    }
    fn unsubscribe_then(self, on_end: OnEndedCallback<E2e>) -> spacetimedb_sdk::Result<()> {
        self.imp.unsubscribe_then(Some(on_end))
    }
    fn unsubscribe(self) -> spacetimedb_sdk::Result<()> {
        self.imp.unsubscribe_then(None)
    }
}

/// Typed queries are not used here; the library wants a type for them all the same.
#[derive(Default)]
pub struct Queries;

impl sdk::SpacetimeModule for E2e {
    type DbConnection = DbConnection;
    type EventContext = EventContext;
    type ReducerEventContext = ReducerEventContext;
    type ProcedureEventContext = ProcedureEventContext;
    type SubscriptionEventContext = SubscriptionEventContext;
    type ErrorContext = ErrorContext;
    type Reducer = Reducer;
    type DbView = Tables;
    type Reducers = Reducers;
    type Procedures = Procedures;
    type DbUpdate = Update;
    type AppliedDiff<'r> = Diff<'r>;
    type SubscriptionHandle = SubscriptionHandle;
    type QueryBuilder = Queries;
    const ALL_TABLE_NAMES: &'static [&'static str] = TABLE_NAMES;
    fn register_tables(cache: &mut ClientCache<E2e>) {
        register(cache);
    }
}
