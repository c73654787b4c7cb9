//! What needs no client: scheduled reducers and procedures (tests/e2e/schedules.py), HTTP routes (tests/e2e/handlers.py, which also runs
//! the module `handlers-2.8`).

use spacetimedb::{procedure, reducer, table, ProcedureContext, ReducerContext, ScheduleAt, Table, TimeDuration, Timestamp};

/// What a call does: 0 nothing, 1 fails, 2 panics, 3 changes its own row to run once more, 4 takes 25 ms, 5 deletes its own row, 6 ends a one-shot by inserting another,
/// 7 notes who calls.
#[table(accessor = task, public, scheduled(run_task, at = at))]
pub struct Task {
    #[primary_key]
    #[auto_inc]
    pub id: u64,
    pub at: ScheduleAt,
    pub what: u8,
    pub label: String,
}

/// One row for each call, with what the call saw.
#[table(accessor = done, public)]
pub struct Done {
    #[primary_key]
    #[auto_inc]
    pub id: u64,
    pub label: String,
    pub task: u64,
    pub at: Timestamp,
    pub row_was_there: bool,
    pub caller_is_database: bool,
    pub has_connection: bool,
}

/// Who called a reducer, as it sees it.
#[table(accessor = caller, public)]
pub struct Caller {
    #[primary_key]
    pub of: String,
    pub is_internal: bool,
    pub has_jwt: bool,
}

fn note_caller(ctx: &ReducerContext, of: &str) {
    let auth = ctx.sender_auth();
    ctx.db.caller().insert(Caller { of: of.into(), is_internal: auth.is_internal(), has_jwt: auth.has_jwt() });
}

#[reducer(init)]
pub fn init(ctx: &ReducerContext) {
    note_caller(ctx, "init");
}

#[reducer]
pub fn who_calls(ctx: &ReducerContext) {
    note_caller(ctx, "client");
}

fn note(ctx: &ReducerContext, task: &Task) {
    ctx.db.done().insert(Done {
        id: 0,
        label: task.label.clone(),
        task: task.id,
        at: ctx.timestamp,
        row_was_there: ctx.db.task().id().find(task.id).is_some(),
        caller_is_database: ctx.sender() == ctx.identity(),
        has_connection: ctx.connection_id().is_some(),
    });
}

#[reducer]
pub fn run_task(ctx: &ReducerContext, task: Task) -> Result<(), String> {
    note(ctx, &task);
    match task.what {
        1 => return Err("this task fails".into()),
        2 => panic!("this task panics"),
        3 => {
            let at = ScheduleAt::Time(ctx.timestamp + TimeDuration::from_micros(50_000));
            ctx.db.task().id().update(Task { at, what: 0, ..task });
        }
        4 => {
            let mut x = task.id;
            for _ in 0..20_000_000u32 {
                x = std::hint::black_box(x).wrapping_mul(6364136223846793005).wrapping_add(1);
            }
            if x == 1 {
                log::info!("a rare number");
            }
        }
        5 => {
            ctx.db.task().id().delete(task.id);
        }
        6 => {
            let at = ScheduleAt::Time(ctx.timestamp + TimeDuration::from_micros(50_000));
            ctx.db.task().insert(Task { id: 0, at, what: 0, label: task.label });
        }
        7 => note_caller(ctx, "schedule"),
        _ => {}
    }
    Ok(())
}

#[reducer]
pub fn at(ctx: &ReducerContext, from_now_us: i64, what: u8, label: String) {
    let at = ScheduleAt::Time(ctx.timestamp + TimeDuration::from_micros(from_now_us));
    ctx.db.task().insert(Task { id: 0, at, what, label });
}

#[reducer]
pub fn every(ctx: &ReducerContext, interval_us: i64, what: u8, label: String) {
    let at = ScheduleAt::Interval(TimeDuration::from_micros(interval_us));
    ctx.db.task().insert(Task { id: 0, at, what, label });
}

#[reducer]
pub fn many(ctx: &ReducerContext, n: u32, from_now_us: i64, label: String) {
    let at = ScheduleAt::Time(ctx.timestamp + TimeDuration::from_micros(from_now_us));
    for _ in 0..n {
        ctx.db.task().insert(Task { id: 0, at: at.clone(), what: 0, label: label.clone() });
    }
}

#[reducer]
pub fn at_and_fail(ctx: &ReducerContext, from_now_us: i64, label: String) -> Result<(), String> {
    at(ctx, from_now_us, 0, label);
    Err("rolled back".into())
}

#[reducer]
pub fn cancel(ctx: &ReducerContext, label: String) {
    for task in ctx.db.task().iter().filter(|t| t.label == label) {
        ctx.db.task().id().delete(task.id);
    }
}

/// Gives every task of that label another time.
#[reducer]
pub fn put_off(ctx: &ReducerContext, label: String, from_now_us: i64) {
    for task in ctx.db.task().iter().filter(|t| t.label == label) {
        let at = ScheduleAt::Time(ctx.timestamp + TimeDuration::from_micros(from_now_us));
        ctx.db.task().id().update(Task { at, ..task });
    }
}

/// Gives every task of that label another one, and leaves its time.
#[reducer]
pub fn relabel(ctx: &ReducerContext, label: String, new: String) {
    for task in ctx.db.task().iter().filter(|t| t.label == label) {
        ctx.db.task().id().update(Task { label: new.clone(), ..task });
    }
}

#[reducer]
pub fn put_off_and_fail(ctx: &ReducerContext, label: String, from_now_us: i64) -> Result<(), String> {
    put_off(ctx, label, from_now_us);
    Err("rolled back".into())
}

#[table(accessor = errand, public, scheduled(run_errand, at = at))]
pub struct Errand {
    #[primary_key]
    #[auto_inc]
    pub id: u64,
    pub at: ScheduleAt,
    pub label: String,
}

/// Takes 150 ms, outside any transaction.
#[procedure]
pub fn run_errand(ctx: &mut ProcedureContext, errand: Errand) {
    let wake = ctx.timestamp + TimeDuration::from_micros(150_000);
    let (sender, me, at) = (ctx.sender(), ctx.identity(), ctx.timestamp);
    ctx.sleep_until(wake);
    ctx.with_tx(|tx| {
        tx.db.done().insert(Done {
            id: 0,
            label: errand.label.clone(),
            task: errand.id,
            at,
            row_was_there: tx.db.errand().id().find(errand.id).is_some(),
            caller_is_database: sender == me,
            has_connection: false,
        });
    });
}

#[reducer]
pub fn send(ctx: &ReducerContext, from_now_us: i64, interval: bool, label: String) {
    let d = TimeDuration::from_micros(from_now_us);
    let at = if interval { ScheduleAt::Interval(d) } else { ScheduleAt::Time(ctx.timestamp + d) };
    ctx.db.errand().insert(Errand { id: 0, at, label });
}

// HTTP routes (tests/e2e/handlers.py).

use spacetimedb::http::{handler, router, Body, HandlerContext, Request, Response, Router};

#[handler]
fn root(_ctx: &mut HandlerContext, _request: Request) -> Response {
    Response::new(Body::from_bytes("root"))
}

/// Says what it was given.
#[handler]
fn echo(_ctx: &mut HandlerContext, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut text = format!("{} {}\n", parts.method, parts.uri);
    for (name, value) in parts.headers.iter() {
        text += &format!("{}: {}\n", name, value.to_str().unwrap_or("?"));
    }
    text += &format!("{} bytes", body.into_bytes().len());
    Response::builder().status(201).header("x-one", "1").header("x-one", "2").header("content-type", "text/x-echo").body(Body::from_bytes(text)).unwrap()
}

/// Writes into the database.
#[handler]
fn record(ctx: &mut HandlerContext, request: Request) -> Response {
    let label = String::from_utf8_lossy(&request.into_body().into_bytes()).into_owned();
    let at = ctx.timestamp;
    ctx.with_tx(|tx| {
        tx.db.done().insert(Done { id: 0, label: label.clone(), task: 0, at, row_was_there: false, caller_is_database: true, has_connection: false });
    });
    Response::new(Body::from_bytes("recorded"))
}

/// Who it is, outside a transaction and inside one.
#[handler]
fn who(ctx: &mut HandlerContext, _request: Request) -> Response {
    let outside = ctx.sender().to_hex();
    let inside = ctx.with_tx(|tx| tx.sender().to_hex());
    Response::new(Body::from_bytes(format!("{outside} {inside}")))
}

#[handler]
fn bang(_ctx: &mut HandlerContext, _request: Request) -> Response {
    panic!("a handler that panics");
}

#[router]
fn routes() -> Router {
    Router::new().get("", root).get("/", root).any("/echo", echo).post("/record", record).get("/bang", bang).get("/who", who)
}
