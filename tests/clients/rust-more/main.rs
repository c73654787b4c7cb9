//! More of the official Rust client against a running server:  client URL DATABASE [views | ticks]
//! Beside tests/clients/rust-2.14: why each row changed, every type there and back, refused queries, compressed and confirmed
//! connections, and who is told when a client leaves. `views` tests views alone, `ticks` the scheduler with an event table.
//! The database runs the e2e module and may have been used before. Prints `ok <step>` after each step and `passed` at the
//! end, and ends with 0; else with 1 and what went wrong. No step waits longer than ten seconds.

mod bindings;

use bindings::*;
use spacetimedb_sdk::__codegen::{InternalError, SubscriptionHandle as _};
use spacetimedb_sdk::{Compression, ConnectionId, Event, Identity, Status};
use std::sync::mpsc::{channel, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

type Failure = String;

/// What callbacks report, in the order they ran.
#[derive(Debug)]
enum News {
    Connected(Identity, String),
    ConnectError(String),
    Disconnected(Option<String>),
    Applied,
    Ended,
    Refused(String),
    Outcome(u32, Answer),
    Inserted(Person, Origin),
    Updated(Person, Person, Origin),
    Deleted(Person, Origin),
    Counted(u64, u64),
    AdultInserted(Adult),
    AdultDeleted(Adult),
    Sample(AllTypes),
    Tick(u64),
}

#[derive(Debug, PartialEq)]
enum Answer {
    Done,
    Failed(String),
    HostError(String),
}

/// Why a row changed, as the library tells it.
#[derive(Debug, PartialEq, Clone)]
enum Origin {
    OwnReducer(Reducer),
    Another,
    Subscription,
    Else(String),
}

fn origin(event: &Event<Reducer>) -> Origin {
    match event {
        Event::Reducer(reducer) if matches!(reducer.status, Status::Committed) => Origin::OwnReducer(reducer.reducer.clone()),
        Event::Transaction => Origin::Another,
        Event::SubscribeApplied | Event::UnsubscribeApplied => Origin::Subscription,
        other => Origin::Else(format!("{other:?}")),
    }
}

fn answer(outcome: Result<Result<(), String>, InternalError>) -> Answer {
    match outcome {
        Ok(Ok(())) => Answer::Done,
        Ok(Err(message)) => Answer::Failed(message),
        Err(error) => Answer::HostError(error.to_string()),
    }
}

/// A connection with what its callbacks reported and nobody has looked at yet.
struct Client {
    name: &'static str,
    connection: DbConnection,
    news: Receiver<News>,
    report: Sender<News>,
    waiting: Vec<News>,
    calls: u32,
    identity: Identity,
    token: String,
}

impl Client {
    fn connect(
        name: &'static str, url: &str, database: &str, token: Option<&str>, compression: Compression, confirmed: bool,
    ) -> Result<Client, Failure> {
        let (report, news) = channel();
        let (connected, refused, gone) = (report.clone(), report.clone(), report.clone());
        let connection = DbConnection::builder()
            .with_uri(url)
            .with_database_name(database)
            .with_token(token)
            .with_compression(compression)
            .with_confirmed_reads(confirmed)
            .on_connect(move |_, identity, token| drop(connected.send(News::Connected(identity, token.to_string()))))
            .on_connect_error(move |_, error| drop(refused.send(News::ConnectError(error.to_string()))))
            .on_disconnect(move |_, error| drop(gone.send(News::Disconnected(error.map(|e| e.to_string())))))
            .build()
            .map_err(|error| format!("{name} cannot connect: {error}"))?;
        connection.run_threaded();
        let mut client = Client {
            name, connection, news, report, waiting: vec![], calls: 0, identity: Identity::ZERO, token: String::new(),
        };
        let (identity, token) = client.wait("to be connected", |news| match news {
            News::Connected(identity, token) => Some(Ok((*identity, token.clone()))),
            News::ConnectError(error) => Some(Err(format!("{name} is refused: {error}"))),
            _ => None,
        })??;
        (client.identity, client.token) = (identity, token);
        client.listen();
        Ok(client)
    }

    /// Reports every change of the tables.
    fn listen(&self) {
        let db = &self.connection.db;
        let to = || self.report.clone();
        let tell = to();
        db.person().on_insert(move |context, row| drop(tell.send(News::Inserted(row.clone(), origin(&context.event)))));
        let tell = to();
        db.person().on_update(move |context, old, new| {
            drop(tell.send(News::Updated(old.clone(), new.clone(), origin(&context.event))));
        });
        let tell = to();
        db.person().on_delete(move |context, row| drop(tell.send(News::Deleted(row.clone(), origin(&context.event)))));
        let tell = to();
        db.counter().on_update(move |_, old, new| drop(tell.send(News::Counted(old.value, new.value))));
        let tell = to();
        db.adults().on_insert(move |_, row| drop(tell.send(News::AdultInserted(row.clone()))));
        let tell = to();
        db.adults().on_delete(move |_, row| drop(tell.send(News::AdultDeleted(row.clone()))));
        let tell = to();
        db.all_types().on_insert(move |_, row| drop(tell.send(News::Sample(row.clone()))));
        let tell = to();
        db.tick_event().on_insert(move |_, row| drop(tell.send(News::Tick(row.count))));
    }

    /// Waits until something reported fits; what does not fit is kept for later.
    fn wait<T>(&mut self, what: &str, fits: impl Fn(&News) -> Option<T>) -> Result<T, Failure> {
        for i in 0..self.waiting.len() {
            if let Some(found) = fits(&self.waiting[i]) {
                self.waiting.remove(i);
                return Ok(found);
            }
        }
        let until = Instant::now() + PATIENCE;
        loop {
            match self.news.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(news) => match fits(&news) {
                    Some(found) => return Ok(found),
                    None => self.waiting.push(news),
                },
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(format!("{} waited in vain {what}; reported meanwhile: {:?}", self.name, self.waiting));
                }
            }
        }
    }

    fn subscribe(&mut self, queries: &[&str]) -> Result<SubscriptionHandle, Failure> {
        let (applied, refused) = (self.report.clone(), self.report.clone());
        let handle = self
            .connection
            .subscription_builder()
            .on_applied(move |_| drop(applied.send(News::Applied)))
            .on_error(move |_, error| drop(refused.send(News::Refused(error.to_string()))))
            .subscribe(queries);
        let name = self.name;
        self.wait("for the subscription", |news| match news {
            News::Applied => Some(Ok(())),
            News::Refused(error) => Some(Err(format!("{name} may not subscribe to {queries:?}: {error}"))),
            _ => None,
        })??;
        Ok(handle)
    }

    /// Calls a reducer by the given function and waits for its answer.
    fn call(&mut self, what: &str, send: impl FnOnce(&Reducers, Then)) -> Result<Answer, Failure> {
        self.calls += 1;
        let (number, tell) = (self.calls, self.report.clone());
        send(&self.connection.reducers, Box::new(move |_, outcome| drop(tell.send(News::Outcome(number, answer(outcome))))));
        let outcome = self.wait(&format!("for the answer to {what}"), |news| match news {
            News::Outcome(n, Answer::Done) if *n == number => Some(Answer::Done),
            News::Outcome(n, Answer::Failed(message)) if *n == number => Some(Answer::Failed(message.clone())),
            News::Outcome(n, Answer::HostError(message)) if *n == number => Some(Answer::HostError(message.clone())),
            _ => None,
        })?;
        Ok(outcome)
    }

    fn must(&mut self, what: &str, send: impl FnOnce(&Reducers, Then)) -> Result<(), Failure> {
        match self.call(what, send)? {
            Answer::Done => Ok(()),
            other => Err(format!("{}: {what} gave {other:?}", self.name)),
        }
    }

    /// Increments counter 0 and waits for the row: whatever was sent before it has arrived after this.
    fn fence(&mut self) -> Result<(), Failure> {
        self.must("increment", |reducers, then| reducers.increment(0, then))?;
        self.wait("for the counter", |news| matches!(news, News::Counted(old, new) if *new == old + 1).then_some(()))
    }

    fn people(&self) -> Vec<Person> {
        let mut people: Vec<Person> = self.connection.db.person().iter().collect();
        people.sort_by_key(|person| person.id);
        people
    }

    fn nothing_about_people(&self) -> Result<(), Failure> {
        let changed = |news: &&News| matches!(news, News::Inserted(..) | News::Updated(..) | News::Deleted(..));
        check(self.waiting.iter().find(changed).is_none(), || format!("{} was told of changes: {:?}", self.name, self.waiting))
    }

    fn close(mut self) -> Result<(), Failure> {
        self.connection.disconnect().map_err(|error| format!("{} cannot disconnect: {error}", self.name))?;
        match self.wait("to be disconnected", |news| match news {
            News::Disconnected(error) => Some(error.clone()),
            _ => None,
        })? {
            None => check(!self.connection.is_active(), || "a closed connection says it is active".into()),
            Some(error) => Err(format!("{} was disconnected with an error: {error}", self.name)),
        }
    }
}

type Then = Box<dyn FnOnce(&ReducerEventContext, Result<Result<(), String>, InternalError>) + Send>;

fn check(holds: bool, otherwise: impl FnOnce() -> Failure) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: T, should: T) -> Result<(), Failure> {
    check(is == should, || format!("{what} is {is:?}, should be {should:?}"))
}

fn ok(step: &str) {
    println!("ok {step}");
}

fn all_steps(url: &str, database: &str) -> Result<(), Failure> {
    let mark = format!("{}.{}", std::process::id(), std::time::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_nanos()));
    let (ada, bob, cyd) = (format!("Ada {mark}"), format!("Bob {mark}"), format!("Cyd {mark}"));

    let mut first = Client::connect("the first client", url, database, None, Compression::None, false)?;
    check(first.identity != Identity::ZERO, || "the identity is zero".into())?;
    check(first.token.split('.').count() == 3, || format!("the token is no JWT: {}", first.token))?;
    check(first.connection.connection_id() != ConnectionId::ZERO, || "the connection id is zero".into())?;
    ok("connect");

    let queries = ["SELECT * FROM person", "SELECT * FROM counter", "SELECT * FROM connected"];
    first.subscribe(&queries)?;
    check(first.connection.db.counter().iter().any(|row| row.id == 0), || "counter 0 of the init reducer is missing".into())?;
    let me = first.identity;
    let here: Vec<Connected> = first.connection.db.connected().iter().filter(|row| row.identity == me).collect();
    same("how often the first client is connected", here.len(), 1)?;
    same("its connection", here[0].connection_id, first.connection.connection_id())?;
    first.fence()?; // the rows of the subscription have been reported
    first.waiting.clear();
    ok("subscribe");

    first.must("add_person", |reducers, then| reducers.add_person(ada.clone(), 36, then))?;
    let by = Origin::OwnReducer(Reducer::AddPerson { name: ada.clone(), age: 36 });
    let (row, from) = first.wait("for the inserted row", |news| match news {
        News::Inserted(row, from) => Some((row.clone(), from.clone())),
        _ => None,
    })?;
    same("the inserted row", (row.name.as_str(), row.age), (ada.as_str(), 36))?;
    same("its cause", from, by)?;
    check(row.id != 0, || "the row has no number".into())?;
    same("the row found by its key", first.connection.db.person_by_id().find(&row.id), Some(row.clone()))?;
    let id = row.id;
    ok("insert");

    first.must("rename_person", |reducers, then| reducers.rename_person(id, bob.clone(), then))?;
    let (old, new) = first.wait("for the updated row", |news| match news {
        News::Updated(old, new, Origin::OwnReducer(Reducer::RenamePerson { .. })) => Some((old.clone(), new.clone())),
        _ => None,
    })?;
    same("the row before", old, row)?;
    same("the row after", new.clone(), Person { id, name: bob.clone(), age: 36 })?;
    first.nothing_about_people()?; // an update is no insert and no delete
    ok("update");

    match first.call("add_person of a name that is there", |reducers, then| reducers.add_person(bob.clone(), 1, then))? {
        Answer::Failed(_) => (),
        other => return Err(format!("a name that is there was answered with {other:?}")),
    }
    ok("unique");

    let mut second = Client::connect("the second client", url, database, None, Compression::Gzip, true)?;
    check(second.identity != first.identity, || "two clients without a token have one identity".into())?;
    check(second.connection.connection_id() != first.connection.connection_id(), || "two clients share a connection id".into())?;
    second.subscribe(&queries)?;
    same("what the second client sees", second.people(), first.people())?;
    second.fence()?;
    second.waiting.clear();
    second.must("add_person", |reducers, then| reducers.add_person(cyd.clone(), 17, then))?;
    let (cyds, from) = first.wait("for the other's row", |news| match news {
        News::Inserted(row, from) => Some((row.clone(), from.clone())),
        _ => None,
    })?;
    same("the other's row", cyds.name.as_str(), cyd.as_str())?;
    same("its cause", from, Origin::Another)?;
    second.wait("for its own row", |news| matches!(news, News::Inserted(row, Origin::OwnReducer(_)) if *row == cyds).then_some(()))?;
    first.must("delete_person", |reducers, then| reducers.delete_person(cyds.id, then))?;
    for (client, cause) in [(&mut first, Origin::OwnReducer(Reducer::DeletePerson { id: cyds.id })), (&mut second, Origin::Another)] {
        let (row, from) = client.wait("for the deleted row", |news| match news {
            News::Deleted(row, from) => Some((row.clone(), from.clone())),
            _ => None,
        })?;
        same("the deleted row", row, cyds.clone())?;
        same("its cause", from, cause)?;
    }
    same("what the second client sees", second.people(), first.people())?;
    ok("two clients");

    let before = first.people();
    match first.call("fail", |reducers, then| reducers.fail("as told".into(), then))? {
        Answer::Failed(message) => same("the error", message.as_str(), "as told")?,
        other => return Err(format!("fail gave {other:?}")),
    }
    first.fence()?;
    second.fence()?;
    same("people after a failed call", first.people(), before.clone())?;
    first.nothing_about_people()?;
    second.nothing_about_people()?;
    ok("fail");

    match first.call("panic_now", |reducers, then| reducers.panic_now(then))? {
        Answer::HostError(_) => (),
        other => return Err(format!("panic_now gave {other:?}")),
    }
    first.fence()?;
    second.fence()?;
    same("people after a panic", first.people(), before)?;
    first.nothing_about_people()?;
    second.nothing_about_people()?;
    ok("panic");

    types(&mut first)?;
    ok("all types");

    for refused in ["SELECT * FROM nowhere", "SELECT * FROM secret", "SELEKT"] {
        check(first.subscribe(&[refused]).is_err(), || format!("{refused} was accepted"))?;
        first.fence()?;
    }
    ok("refused queries");

    let mut again = Client::connect("the returning client", url, database, Some(&first.token.clone()), Compression::Brotli, false)?;
    same("the identity of a known token", again.identity, first.identity)?;
    check(again.connection.connection_id() != first.connection.connection_id(), || "a connection id was given twice".into())?;
    again.subscribe(&queries)?;
    let count = |client: &Client| client.connection.db.connected().iter().find(|row| row.identity == me).map(|row| row.count);
    same("how often the first client is connected", count(&again), Some(2))?;
    same("what the returning client sees", again.people(), first.people())?;
    again.must("delete_person", |reducers, then| reducers.delete_person(id, then))?;
    first.wait("for the deletion", |news| matches!(news, News::Deleted(row, Origin::Another) if row.id == id).then_some(()))?;
    first.close()?;
    let until = Instant::now() + PATIENCE;
    while count(&again) != Some(1) {
        check(Instant::now() < until, || "nobody noticed that the first client left".into())?;
        std::thread::sleep(Duration::from_millis(5));
    }
    ok("reconnect");

    again.close()?;
    second.close()?;
    ok("disconnect");
    Ok(())
}

/// A view: its rows at first, as the table under it changes, and gone with the subscription.
fn views(url: &str, database: &str) -> Result<(), Failure> {
    let mark = format!("{}.{}", std::process::id(), std::time::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_nanos()));
    let (ada, bob) = (format!("Ada {mark}"), format!("Bob {mark}"));
    let mut first = Client::connect("the first client", url, database, None, Compression::None, false)?;
    let mut second = Client::connect("the second client", url, database, None, Compression::None, false)?;
    second.subscribe(&["SELECT * FROM person"])?;
    second.must("add_person", |reducers, then| reducers.add_person(bob.clone(), 36, then))?;
    let id = second.people().iter().find(|row| row.name == bob).map(|row| row.id).ok_or("the inserted row is missing")?;

    let adults = first.subscribe(&["SELECT * FROM adults"])?;
    check(first.connection.db.adults().iter().any(|row| row.id == id), || "a view misses a row".into())?;
    let seen = |client: &mut Client, what, inserted: bool| {
        client.wait(what, |news| match news {
            News::AdultInserted(row) if inserted && row.id == id => Some(row.name.clone()),
            News::AdultDeleted(row) if !inserted && row.id == id => Some(row.name.clone()),
            _ => None,
        })
    };
    same("the view's row", seen(&mut first, "for the view's rows", true)?, bob.clone())?;
    second.must("rename_person", |reducers, then| reducers.rename_person(id, ada.clone(), then))?;
    same("the view's old row", seen(&mut first, "for the view's old row", false)?, bob.clone())?;
    same("the view's new row", seen(&mut first, "for the view's new row", true)?, ada.clone())?;
    let ended = first.report.clone();
    adults
        .clone()
        .unsubscribe_then(Box::new(move |_| drop(ended.send(News::Ended))))
        .map_err(|error| format!("cannot unsubscribe: {error}"))?;
    first.wait("for the end of the subscription", |news| matches!(news, News::Ended).then_some(()))?;
    same("the view's rows after the end", first.connection.db.adults().count(), 0)?;
    check(adults.is_ended(), || "an ended subscription says it is active".into())?;
    ok("view and unsubscribe");
    second.must("delete_person", |reducers, then| reducers.delete_person(id, then))?;
    first.close()?;
    second.close()
}

/// The scheduler, and an event table: its rows are told and not kept.
fn ticks(url: &str, database: &str) -> Result<(), Failure> {
    let mut second = Client::connect("the client", url, database, None, Compression::None, false)?;
    let some = second.subscribe(&["SELECT * FROM tick_event"])?;
    second.must("start_ticking", |reducers, then| reducers.start_ticking(20, false, then))?;
    second.wait("for an event row", |news| matches!(news, News::Tick(count) if *count > 0).then_some(()))?;
    same("event rows kept", second.connection.db.tick_event().count(), 0)?;
    some.unsubscribe().map_err(|error| format!("cannot unsubscribe: {error}"))?;
    ok("schedule and event table");
    second.close()
}

/// Has the module insert rows with a value of every type, sends each back under another number and compares.
fn types(client: &mut Client) -> Result<(), Failure> {
    let handle = client.subscribe(&["SELECT * FROM all_types"])?;
    if client.connection.db.all_types().count() == 0 {
        client.must("insert_samples", |reducers, then| reducers.insert_samples(then))?;
    }
    let row = |client: &mut Client, id: u32| {
        client.wait(&format!("for row {id} of all_types"), |news| match news {
            News::Sample(row) if row.id == id => Some(row.clone()),
            _ => None,
        })
    };
    let greatest = client.connection.db.all_types().iter().map(|row| row.id).max().unwrap_or(0).max(3);
    let samples = [row(client, 1)?, row(client, 2)?, row(client, 3)?];
    let [least, most, some] = &samples;
    same("the least i128", least.an_i128, i128::MIN)?;
    same("the least f32", least.an_f32, f32::NEG_INFINITY)?;
    same("the empty result", least.a_result.clone(), Err(String::new()))?;
    same("the greatest u256", most.a_u256.to_string().as_str(), "115792089237316195423570985008687907853269984665640564039457584007913129639935")?;
    same("all bytes", most.some_bytes.clone(), (0..=255).collect::<Vec<u8>>())?;
    same("the greatest string", most.a_string.as_str(), "\u{10ffff} \"quoted\" \\ \n")?;
    same("the nested shapes", most.nested.clone(), Some(Some(vec![Shape::Nothing, Shape::Dot(Point { x: -1, y: -2 })])))?;
    same("the colour", some.a_colour.clone(), Colour::Green)?;
    same("the shape", some.a_shape.clone(), Shape::Circle(Circle { centre: Point { x: 7, y: -7 }, radius: 2.5 }))?;
    same("the timestamp", some.a_timestamp.to_micros_since_unix_epoch(), 1_700_000_000_123_456)?;
    same("the negative i256", some.an_i256.to_string().as_str(), "-6")?;
    for (i, sample) in samples.iter().enumerate() {
        let sent = AllTypes { id: greatest + 1 + i as u32, ..sample.clone() };
        let copy = sent.clone();
        client.must("insert_all_types", |reducers, then| reducers.insert_all_types(copy, then))?;
        same("the row sent back", row(client, sent.id)?, sent)?;
    }
    handle.unsubscribe().map_err(|error| format!("cannot unsubscribe: {error}"))
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let done = match &args[..] {
        [_, url, database] => all_steps(url, database),
        [_, url, database, what] if what == "views" => views(url, database),
        [_, url, database, what] if what == "ticks" => ticks(url, database),
        _ => {
            eprintln!("usage: client URL DATABASE [views | ticks]");
            std::process::exit(2);
        }
    };
    if let Err(failure) = done {
        eprintln!("FAILED: {failure}");
        std::process::exit(1);
    }
    println!("passed");
}
