//! The official Rust client against a running server:  client URL DATABASE
//! Connects, subscribes, calls, and checks every callback; prints `ok <step>` lines. The module is the end-to-end tests' one.

#[allow(dead_code)]
mod module_bindings;
use module_bindings::*;
use spacetimedb_sdk::{DbContext, Event, Identity, Table, TableWithPrimaryKey};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(10);

fn ok(step: &str) {
    println!("ok {step}");
}
fn until(what: &str, mut f: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !f() {
        assert!(Instant::now() < end, "{what}: not within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(3));
    }
}

struct Client {
    conn: DbConnection,
    identity: Identity,
    token: String,
    log: Arc<Mutex<Vec<String>>>,
    gone: Arc<Mutex<bool>>,
}

fn connect(url: &str, database: &str, token: Option<String>) -> Client {
    let (told, hears) = channel();
    let failed = told.clone();
    let gone = Arc::new(Mutex::new(false));
    let is_gone = gone.clone();
    let builder = DbConnection::builder().with_uri(url);
    let builder = builder.with_database_name(database).with_token(token);
    let conn = builder
        .on_connect(move |_, identity, token| told.send(Ok((identity, token.to_string()))).unwrap())
        .on_connect_error(move |_, error| failed.send(Err(error.to_string())).unwrap())
        .on_disconnect(move |_, _| *is_gone.lock().unwrap() = true)
        .build()
        .expect("the connection is built");
    conn.run_threaded();
    let (identity, token) = hears.recv_timeout(LIMIT).expect("an answer to the connection").expect("a connection");
    let log = Arc::new(Mutex::new(Vec::new()));
    let event = |e: &Event<Reducer>| match e {
        Event::Reducer(_) => "reducer",
        Event::SubscribeApplied => "subscribe",
        _ => "transaction",
    };
    let (l, e) = (log.clone(), event);
    conn.db.person().on_insert(move |ctx, row| l.lock().unwrap().push(format!("insert {} {} {}", row.name, row.age, e(&ctx.event))));
    let l = log.clone();
    conn.db.person().on_update(move |ctx, old, new| l.lock().unwrap().push(format!("update {} {} {}", old.name, new.name, e(&ctx.event))));
    let l = log.clone();
    conn.db.person().on_delete(move |ctx, row| l.lock().unwrap().push(format!("delete {} {}", row.name, e(&ctx.event))));
    Client { conn, identity, token, log, gone }
}

type Outcome = Result<Result<(), String>, String>;
fn answer() -> (Sender<Outcome>, Receiver<Outcome>) {
    channel()
}
macro_rules! call {
    ($client:expr, $reducer:ident $(, $arg:expr)*) => {{
        let (told, hears) = answer();
        $client.conn.reducers.$reducer($($arg,)* move |_, outcome| told.send(outcome.map_err(|e| e.to_string())).unwrap()).expect("the call is sent");
        hears.recv_timeout(LIMIT).expect("an outcome")
    }};
}

impl Client {
    fn subscribe(&self, queries: &[&str]) -> SubscriptionHandle {
        let (told, hears) = channel();
        let failed = told.clone();
        let handle = self
            .conn
            .subscription_builder()
            .on_applied(move |_| told.send(Ok(())).unwrap())
            .on_error(move |_, error| failed.send(Err(error.to_string())).unwrap())
            .subscribe(queries);
        hears.recv_timeout(LIMIT).expect("an answer to the subscription").expect("a subscription");
        handle
    }
    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }
    fn people(&self) -> Vec<String> {
        let mut names: Vec<String> = self.conn.db.person().iter().map(|p| p.name).collect();
        names.sort();
        names
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let (url, database) = (&args[1], &args[2]);
    let tag = format!("r{}", std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros());
    let name = |s: &str| format!("{tag}-{s}");

    let a = connect(url, database, None);
    ok("connect");
    a.subscribe(&["SELECT * FROM person", "SELECT * FROM counter", "SELECT * FROM connected"]);
    assert_eq!(a.conn.db.connected().identity().find(&a.identity).map(|c| c.count), Some(1), "client_connected ran");
    ok("subscribe");

    let there = a.conn.db.person().count() as usize;
    until("the rows that were there are told", || a.log.lock().unwrap().len() == there);
    a.taken();
    assert_eq!(call!(a, add_person_then, name("ann"), 30), Ok(Ok(())));
    assert_eq!(a.taken(), [format!("insert {} 30 reducer", name("ann"))]);
    let ann = a.conn.db.person().iter().find(|p| p.name == name("ann")).unwrap();
    assert_eq!(a.conn.db.person().id().find(&ann.id), Some(ann.clone()));
    ok("insert callback");
    assert_eq!(call!(a, rename_person_then, ann.id, name("anna")), Ok(Ok(())));
    assert_eq!(a.taken(), [format!("update {} {} reducer", name("ann"), name("anna"))]);
    ok("update callback");

    assert_eq!(call!(a, fail_then, name("no")), Ok(Err(name("no"))));
    assert!(matches!(call!(a, add_person_then, name("anna"), 1), Ok(Err(_))));
    assert_eq!(call!(a, rename_person_then, 4_000_000_000, "x".into()), Ok(Err("no person 4000000000".into())));
    assert_eq!(a.taken(), Vec::<String>::new());
    ok("a failing reducer changes nothing");

    let b = connect(url, database, None);
    assert_ne!(a.identity, b.identity);
    b.subscribe(&["SELECT * FROM person WHERE age = 88", &format!("SELECT * FROM person WHERE name = '{}'", name("anna"))]);
    until("b sees anna", || !b.log.lock().unwrap().is_empty()); // row callbacks may come after on_applied
    assert_eq!(b.taken(), [format!("insert {} 30 subscribe", name("anna"))]);
    assert!(b.people().contains(&name("anna")));
    assert_eq!(call!(a, add_person_then, name("bob"), 88), Ok(Ok(())));
    assert_eq!(call!(a, add_person_then, name("eve"), 89), Ok(Ok(())));
    until("b sees bob", || !b.log.lock().unwrap().is_empty());
    assert_eq!(b.taken(), [format!("insert {} 88 transaction", name("bob"))]);
    a.taken();
    assert_eq!(call!(b, add_person_then, name("cat"), 88), Ok(Ok(())));
    until("a sees cat", || !a.log.lock().unwrap().is_empty());
    assert_eq!(a.taken(), [format!("insert {} 88 transaction", name("cat"))]);
    ok("two clients see each other's rows");

    let panicked = call!(a, panic_now_then);
    assert!(panicked.as_ref().is_err_and(|e| e.contains("fatal error")), "{panicked:?}");
    assert_eq!(call!(a, increment_then, 0), Ok(Ok(())));
    assert_eq!(call!(b, increment_then, 0), Ok(Ok(())));
    assert!(!*a.gone.lock().unwrap() && !*b.gone.lock().unwrap());
    assert!(!a.people().iter().any(|n| n.contains("panicked") || n.contains("failed")));
    ok("a panic changes nothing and hurts nobody");

    b.taken();
    a.taken();
    let bob = a.conn.db.person().iter().find(|p| p.name == name("bob")).unwrap();
    assert_eq!(call!(a, delete_person_then, bob.id), Ok(Ok(())));
    assert_eq!(a.taken(), [format!("delete {} reducer", name("bob"))]);
    until("b sees the delete", || !b.log.lock().unwrap().is_empty());
    assert_eq!(b.taken(), [format!("delete {} transaction", name("bob"))]);
    ok("delete callback");

    let handle = b.subscribe(&["SELECT * FROM counter"]);
    assert!(b.conn.db.counter().iter().count() > 0);
    let (told, hears) = channel();
    use spacetimedb_sdk::SubscriptionHandle as _;
    handle.unsubscribe_then(Box::new(move |_| told.send(()).unwrap())).expect("unsubscribing is sent");
    hears.recv_timeout(LIMIT).expect("the end of the subscription");
    assert_eq!(b.conn.db.counter().iter().count(), 0);
    ok("unsubscribe drops the rows");

    let (identity, token) = (a.identity, a.token.clone());
    a.conn.disconnect().expect("disconnecting is sent");
    until("disconnect", || *a.gone.lock().unwrap());
    let again = connect(url, database, Some(token));
    assert_eq!(again.identity, identity);
    again.subscribe(&["SELECT * FROM person", "SELECT * FROM counter"]);
    assert!(again.people().contains(&name("anna")));
    ok("the same token gives the same identity, and the data is there");

    let before = again.conn.db.counter().id().find(&0).unwrap().value;
    let (told, hears) = answer();
    for _ in 0..2000 {
        let told = told.clone();
        again.conn.reducers.increment_then(0, move |_, outcome| told.send(outcome.map_err(|e| e.to_string())).unwrap()).expect("the call is sent");
    }
    for _ in 0..2000 {
        assert_eq!(hears.recv_timeout(LIMIT).expect("an outcome"), Ok(Ok(())));
    }
    assert_eq!(again.conn.db.counter().id().find(&0).unwrap().value, before + 2000);
    ok("2000 calls in flight");
    println!("passed");
    std::process::exit(0);
}
