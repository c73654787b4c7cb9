//! A client on bindings that `lightcone generate` made of the e2e module:  client URL DATABASE
//! Rows, updates by key, typed queries, every type there and back, an event table, reducers and their errors. The compiler warns of nothing.
#![deny(warnings)]

pub mod all; // bindings of all other test modules: they must compile
mod module_bindings;

use module_bindings::*;
use spacetimedb_sdk::{DbContext, EventTable, Table, TableWithPrimaryKey};
use std::sync::mpsc::{channel, Receiver};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

fn wait<T>(from: &Receiver<T>, what: &str) -> T {
    from.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("nothing came: {what}"))
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let (url, database) = (&args[1], &args[2]);
    let (connected, when_connected) = channel();
    let connection = DbConnection::builder()
        .with_uri(url)
        .with_database_name(database)
        .on_connect(move |_, _, _| connected.send(()).unwrap())
        .build()
        .expect("a connection");
    connection.run_threaded();
    wait(&when_connected, "the connection");
    println!("ok connected");

    let (news, told) = channel::<String>();
    let (inserted, updated, deleted) = (news.clone(), news.clone(), news.clone());
    connection.db.person().on_insert(move |_, row| inserted.send(format!("+{}", row.name)).unwrap());
    connection.db.person().on_update(move |_, old, row| updated.send(format!("{}>{}", old.name, row.name)).unwrap());
    connection.db.person().on_delete(move |_, row| deleted.send(format!("-{}", row.name)).unwrap());
    let (tick, ticked) = channel();
    connection.db.tick_event().on_insert(move |_, row| tick.send(row.count).unwrap());
    let (applied, when_applied) = channel();
    connection
        .subscription_builder()
        .on_applied(move |_| applied.send(()).unwrap())
        .on_error(|_, error| panic!("{error}"))
        .add_query(|q| q.from.person())
        .add_query(|q| q.from.all_types())
        .add_query(|q| q.from.adults())
        .add_query(|q| q.from.tick_event())
        .add_query(|q| q.from.bag().r#where(|row| row.group.eq(7)))
        .subscribe();
    wait(&when_applied, "the subscription");
    println!("ok subscribed by typed queries");

    let call = |what: &str, start: &dyn Fn(std::sync::mpsc::Sender<Result<(), String>>) -> spacetimedb_sdk::Result<()>| {
        let (done, outcome) = channel();
        start(done).expect("the call is queued");
        let answer = wait(&outcome, what);
        println!("ok {what}");
        answer
    };
    macro_rules! call {
        ($what:literal, $name:ident($($arg:expr),*)) => {
            call($what, &|done| connection.reducers.$name($($arg,)* move |_, outcome| done.send(outcome.expect("no failure of the host")).unwrap()))
        };
    }
    let name = format!("Ann-{database}");
    call!("add_person", add_person_then(name.clone(), 40)).unwrap();
    assert_eq!(wait(&told, "an insert"), format!("+{name}"));
    let ann = connection.db.person().name().find(&name).expect("a row");
    assert_eq!(connection.db.person().id().find(&ann.id), Some(ann.clone()));
    assert!(connection.db.adults().iter().any(|row| row.name == name), "seen by the view");
    call!("rename_person", rename_person_then(ann.id, format!("Bea-{database}"))).unwrap();
    assert_eq!(wait(&told, "an update"), format!("{name}>Bea-{database}"));
    call!("delete_person", delete_person_then(ann.id)).unwrap();
    assert_eq!(wait(&told, "a delete"), format!("-Bea-{database}"));
    call!("fill_bag", fill_bag_then(7, "wanted".into(), 1)).unwrap();
    call!("fill_bag of another group", fill_bag_then(8, "another".into(), 1)).unwrap();
    assert_eq!(connection.db.bag().iter().map(|row| row.text).collect::<Vec<_>>(), ["wanted"]);
    assert_eq!(call!("fail", fail_then("on purpose".into())), Err("on purpose".into()));
    call!("insert_samples", insert_samples_then()).unwrap();
    let samples: Vec<AllTypes> = connection.db.all_types().iter().collect();
    assert!(samples.len() > 1);
    for row in samples {
        let other = AllTypes { id: row.id + 1000, ..row.clone() };
        call!("insert_all_types", insert_all_types_then(other.clone())).unwrap();
        let back = connection.db.all_types().id().find(&other.id);
        assert!(format!("{back:?}") == format!("{:?}", Some(other)), "every type there and back");
    }
    call!("start_ticking", start_ticking_then(10, false)).unwrap();
    wait(&ticked, "an event");
    connection.disconnect().unwrap();
    println!("passed");
}
