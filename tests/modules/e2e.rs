//! The end-to-end tests' module: a bit of everything a module can do. Built against two versions of the official library
//! (e2e-2.14 and e2e-2.10, whose src/lib.rs are links to this file).

use spacetimedb::sats::{i256, u256};
use spacetimedb::{
    rand::Rng, reducer, table, view, AnonymousViewContext, ConnectionId, Identity, ReducerContext, ScheduleAt, SpacetimeType, Table,
    TimeDuration, Timestamp, Uuid,
};
use std::time::Duration;

#[table(accessor = person, public)]
#[derive(Clone)]
pub struct Person {
    #[primary_key]
    #[auto_inc]
    pub id: u32,
    #[unique]
    pub name: String,
    #[index(btree)]
    pub age: u8,
}

#[derive(SpacetimeType, Clone, Debug, PartialEq)]
pub struct Point {
    pub x: i32,
    pub y: i32,
}

#[derive(SpacetimeType, Clone, Debug, PartialEq)]
pub enum Shape {
    Nothing,
    Dot(Point),
    Circle(Circle),
    Label(String),
}

#[derive(SpacetimeType, Clone, Debug, PartialEq)]
pub struct Circle {
    pub centre: Point,
    pub radius: f64,
}

#[derive(SpacetimeType, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    Red,
    Green,
    Blue,
}

/// A column of every kind of type.
#[table(accessor = all_types, public)]
#[derive(Clone)]
pub struct AllTypes {
    #[primary_key]
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

/// Private: clients neither see it nor may name it.
#[table(accessor = secret)]
pub struct Secret {
    #[primary_key]
    pub id: u32,
    pub text: String,
}

/// An event table: its rows are sent and forgotten.
#[table(accessor = tick_event, public, event)]
pub struct TickEvent {
    pub at: Timestamp,
    pub count: u64,
}

#[table(accessor = tick_timer, scheduled(tick))]
pub struct TickTimer {
    #[primary_key]
    #[auto_inc]
    pub id: u64,
    pub scheduled_at: ScheduleAt,
}

#[table(accessor = counter, public)]
pub struct Counter {
    #[primary_key]
    pub id: u32,
    pub value: u64,
}

/// Who is connected: one row an identity, with how often at this moment.
#[table(accessor = connected, public)]
pub struct Connected {
    #[primary_key]
    pub identity: Identity,
    pub connection_id: ConnectionId,
    pub count: u32,
}

/// For the crash test: what was acknowledged must be here after a restart.
#[table(accessor = log_entry, public)]
pub struct LogEntry {
    #[primary_key]
    pub seq: u64,
    pub payload: String,
}

/// What `random_and_time` saw.
#[table(accessor = moment, public)]
pub struct Moment {
    #[primary_key]
    #[auto_inc]
    pub id: u64,
    pub at: Timestamp,
    pub sender: Identity,
    pub module: Identity,
    pub number: u64,
    pub from_ten: u32,
    pub uuid: Uuid,
}

/// No key and no index: a set of rows.
#[table(accessor = bag, public)]
pub struct Bag {
    pub group: u32,
    pub text: String,
}

/// The people of age.
#[view(accessor = adults, public)]
fn adults(ctx: &AnonymousViewContext) -> Vec<Person> {
    ctx.db.person().age().filter(18u8..).collect()
}

#[reducer(init)]
pub fn init(ctx: &ReducerContext) {
    ctx.db.counter().insert(Counter { id: 0, value: 0 });
    ctx.db.secret().insert(Secret { id: 1, text: "nobody's business".into() });
}

#[reducer(client_connected)]
pub fn came(ctx: &ReducerContext) {
    let connection_id = ctx.connection_id().expect("a client has a connection");
    let connected = ctx.db.connected();
    match connected.identity().find(ctx.sender()) {
        Some(row) => {
            connected.identity().update(Connected { connection_id, count: row.count + 1, ..row });
        }
        None => {
            connected.insert(Connected { identity: ctx.sender(), connection_id, count: 1 });
        }
    }
}

#[reducer(client_disconnected)]
pub fn went(ctx: &ReducerContext) {
    let connected = ctx.db.connected();
    if let Some(row) = connected.identity().find(ctx.sender()) {
        if row.count > 1 {
            connected.identity().update(Connected { count: row.count - 1, ..row });
        } else {
            connected.identity().delete(ctx.sender());
        }
    }
}

#[reducer]
pub fn add_person(ctx: &ReducerContext, name: String, age: u8) -> Result<(), String> {
    ctx.db.person().try_insert(Person { id: 0, name, age }).map_err(|e| e.to_string())?;
    Ok(())
}

#[reducer]
pub fn rename_person(ctx: &ReducerContext, id: u32, name: String) -> Result<(), String> {
    let person = ctx.db.person().id().find(id).ok_or_else(|| format!("no person {id}"))?;
    ctx.db.person().id().update(Person { name, ..person });
    Ok(())
}

#[reducer]
pub fn delete_person(ctx: &ReducerContext, id: u32) -> Result<(), String> {
    if ctx.db.person().id().delete(id) {
        Ok(())
    } else {
        Err(format!("no person {id}"))
    }
}

/// Deletes everyone whose age is in the range: a range delete by index.
#[reducer]
pub fn delete_ages(ctx: &ReducerContext, low: u8, high: u8) {
    let gone = ctx.db.person().age().delete(low..=high);
    log::info!("{gone} people deleted");
}

/// Fails after having inserted: nothing of it may remain.
#[reducer]
pub fn fail(ctx: &ReducerContext, message: String) -> Result<(), String> {
    ctx.db.person().insert(Person { id: 0, name: format!("failed: {message}"), age: 1 });
    Err(message)
}

/// Panics after having inserted: nothing of it may remain.
#[reducer]
pub fn panic_now(ctx: &ReducerContext) {
    ctx.db.person().insert(Person { id: 0, name: "panicked".into(), age: 1 });
    panic!("asked to panic");
}

/// Never ends by itself.
#[reducer]
pub fn spin(_ctx: &ReducerContext) {
    let mut turns = 0u64;
    loop {
        turns = std::hint::black_box(turns.wrapping_add(1));
    }
}

/// Takes memory until there is none.
#[reducer]
pub fn eat_memory(_ctx: &ReducerContext) {
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    loop {
        eaten.push(std::hint::black_box(vec![1u8; 1 << 20]));
    }
}

/// Calls itself until the stack ends.
#[reducer]
pub fn recurse(_ctx: &ReducerContext) {
    fn deeper(n: u64) -> u64 {
        let here = std::hint::black_box([n; 16]);
        here[(n % 16) as usize] + deeper(n + 1) + std::hint::black_box(here[0])
    }
    log::info!("{}", deeper(0));
}

#[reducer]
pub fn insert_all_types(ctx: &ReducerContext, row: AllTypes) {
    ctx.db.all_types().insert(row);
}

/// Inserts three rows made here: 1 with the least of everything, 2 with the greatest, 3 with something in between.
#[reducer]
pub fn insert_samples(ctx: &ReducerContext) {
    let all_types = ctx.db.all_types();
    all_types.insert(AllTypes {
        id: 1,
        a_bool: false,
        an_i8: i8::MIN,
        a_u8: 0,
        an_i16: i16::MIN,
        a_u16: 0,
        an_i32: i32::MIN,
        a_u32: 0,
        an_i64: i64::MIN,
        a_u64: 0,
        an_i128: i128::MIN,
        a_u128: 0,
        an_i256: i256::MIN,
        a_u256: u256::MIN,
        an_f32: f32::NEG_INFINITY,
        an_f64: f64::MIN,
        a_string: String::new(),
        some_bytes: vec![],
        an_identity: Identity::ZERO,
        a_connection: ConnectionId::ZERO,
        a_timestamp: Timestamp::from_micros_since_unix_epoch(i64::MIN),
        a_duration: TimeDuration::from_micros(i64::MIN),
        a_uuid: Uuid::from_u128(0),
        a_schedule: ScheduleAt::Interval(TimeDuration::from_micros(0)),
        an_option: None,
        a_result: Err(String::new()),
        a_colour: Colour::Red,
        a_shape: Shape::Nothing,
        a_circle: Circle { centre: Point { x: 0, y: 0 }, radius: 0.0 },
        some_points: vec![],
        some_options: vec![],
        nested: None,
    });
    all_types.insert(AllTypes {
        id: 2,
        a_bool: true,
        an_i8: i8::MAX,
        a_u8: u8::MAX,
        an_i16: i16::MAX,
        a_u16: u16::MAX,
        an_i32: i32::MAX,
        a_u32: u32::MAX,
        an_i64: i64::MAX,
        a_u64: u64::MAX,
        an_i128: i128::MAX,
        a_u128: u128::MAX,
        an_i256: i256::MAX,
        a_u256: u256::MAX,
        an_f32: f32::MAX,
        an_f64: f64::INFINITY,
        a_string: "\u{10ffff} \"quoted\" \\ \n".into(),
        some_bytes: (0..=255).collect(),
        an_identity: Identity::from_byte_array([255; 32]),
        a_connection: ConnectionId::from_u128(u128::MAX),
        a_timestamp: Timestamp::from_micros_since_unix_epoch(i64::MAX),
        a_duration: TimeDuration::from_micros(i64::MAX),
        a_uuid: Uuid::from_u128(u128::MAX),
        a_schedule: ScheduleAt::Time(Timestamp::from_micros_since_unix_epoch(i64::MAX)),
        an_option: Some("something".into()),
        a_result: Ok(u32::MAX),
        a_colour: Colour::Blue,
        a_shape: Shape::Label("label".into()),
        a_circle: Circle { centre: Point { x: i32::MAX, y: i32::MIN }, radius: f64::MAX },
        some_points: vec![Point { x: 1, y: 2 }, Point { x: 3, y: 4 }],
        some_options: vec![None, Some(u16::MAX)],
        nested: Some(Some(vec![Shape::Nothing, Shape::Dot(Point { x: -1, y: -2 })])),
    });
    all_types.insert(AllTypes {
        id: 3,
        a_bool: true,
        an_i8: -1,
        a_u8: 1,
        an_i16: -2,
        a_u16: 2,
        an_i32: -3,
        a_u32: 3,
        an_i64: -4,
        a_u64: 4,
        an_i128: -5,
        a_u128: 5,
        an_i256: i256::from(-6),
        a_u256: u256::from(6u8),
        an_f32: 1.5,
        an_f64: -0.1,
        a_string: "grüß dich, 世界 🦀".into(),
        some_bytes: vec![0xde, 0xad, 0xbe, 0xef],
        an_identity: ctx.sender(),
        a_connection: ctx.connection_id().unwrap_or(ConnectionId::ZERO),
        a_timestamp: Timestamp::from_micros_since_unix_epoch(1_700_000_000_123_456),
        a_duration: TimeDuration::from_micros(-1_500_000),
        a_uuid: Uuid::from_u128(0x01020304_0506_4708_890a_0b0c0d0e0f10),
        a_schedule: ScheduleAt::Interval(TimeDuration::from_micros(1_000_000)),
        an_option: Some(String::new()),
        a_result: Err("no".into()),
        a_colour: Colour::Green,
        a_shape: Shape::Circle(Circle { centre: Point { x: 7, y: -7 }, radius: 2.5 }),
        a_circle: Circle { centre: Point { x: 8, y: -8 }, radius: -2.5 },
        some_points: vec![Point { x: 9, y: -9 }],
        some_options: vec![Some(0)],
        nested: Some(None),
    });
}

#[reducer]
pub fn increment(ctx: &ReducerContext, id: u32) -> Result<(), String> {
    let counter = ctx.db.counter().id().find(id).ok_or_else(|| format!("no counter {id}"))?;
    let value = counter.value.checked_add(1).ok_or("the counter is full")?;
    ctx.db.counter().id().update(Counter { id, value });
    Ok(())
}

#[reducer]
pub fn append_log(ctx: &ReducerContext, seq: u64, payload: String) -> Result<(), String> {
    ctx.db.log_entry().try_insert(LogEntry { seq, payload }).map_err(|e| e.to_string())?;
    Ok(())
}

#[reducer]
pub fn fill_bag(ctx: &ReducerContext, group: u32, text: String, times: u32) {
    for _ in 0..times {
        ctx.db.bag().insert(Bag { group, text: text.clone() });
    }
    log::info!("the bag holds {}", ctx.db.bag().count());
}

#[reducer]
pub fn empty_bag(ctx: &ReducerContext, group: u32) {
    let gone: Vec<Bag> = ctx.db.bag().iter().filter(|row| row.group == group).collect();
    for row in gone {
        ctx.db.bag().delete(row);
    }
}

#[reducer]
pub fn random_and_time(ctx: &ReducerContext) -> Result<(), String> {
    let number: u64 = ctx.random();
    let from_ten = ctx.rng().gen_range(0..10u32);
    let uuid = ctx.new_uuid_v7().map_err(|e| e.to_string())?;
    log::info!("at {} the number is {number}", ctx.timestamp);
    #[allow(deprecated)] // the name that both versions know
    let module = ctx.identity();
    ctx.db.moment().insert(Moment { id: 0, at: ctx.timestamp, sender: ctx.sender(), module, number, from_ten, uuid });
    Ok(())
}

#[reducer]
pub fn log_something(_ctx: &ReducerContext, text: String) {
    log::error!("{text}");
    log::warn!("{text}");
    log::info!("{text}");
    log::debug!("{text}");
    log::trace!("{text}");
}

/// Asks for `tick` after some milliseconds, once or again and again.
#[reducer]
pub fn start_ticking(ctx: &ReducerContext, millis: u64, repeat: bool) {
    let wait = Duration::from_millis(millis);
    let scheduled_at = if repeat { ScheduleAt::Interval(wait.into()) } else { ScheduleAt::Time(ctx.timestamp + wait) };
    ctx.db.tick_timer().insert(TickTimer { id: 0, scheduled_at });
}

#[reducer]
pub fn stop_ticking(ctx: &ReducerContext) {
    let timers: Vec<u64> = ctx.db.tick_timer().iter().map(|timer| timer.id).collect();
    for id in timers {
        ctx.db.tick_timer().id().delete(id);
    }
}

/// Counts in counter 1 and tells who listens.
#[reducer]
pub fn tick(ctx: &ReducerContext, _timer: TickTimer) -> Result<(), String> {
    if !ctx.sender_auth().is_internal() {
        return Err("only the scheduler ticks".into());
    }
    let counters = ctx.db.counter();
    let count = counters.id().find(1).map_or(0, |row| row.value) + 1;
    if count == 1 {
        counters.insert(Counter { id: 1, value: count });
    } else {
        counters.id().update(Counter { id: 1, value: count });
    }
    ctx.db.tick_event().insert(TickEvent { at: ctx.timestamp, count });
    Ok(())
}
