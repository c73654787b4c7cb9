//! Shows the table `person` of the database and adds the name given as the first argument.
mod module_bindings;

use module_bindings::*;
use spacetimedb_sdk::{DbContext, Table};

fn main() {
    let host = std::env::var("SPACETIMEDB_HOST").unwrap_or_else(|_| "http://localhost:3000".into());
    let database = std::env::var("SPACETIMEDB_DB_NAME").unwrap_or_else(|_| "@DATABASE@".into());
    let connection = DbConnection::builder()
        .with_uri(host)
        .with_database_name(database)
        .on_connect(|conn, identity, _token| {
            println!("Connected as {identity}");
            conn.db.person().on_insert(|_, person| println!("Person: {}", person.name));
            conn.subscription_builder()
                .on_applied(|ctx| {
                    println!("{} persons", ctx.db.person().count());
                    if let Some(name) = std::env::args().nth(1) {
                        ctx.reducers.add(name).expect("the call is queued");
                    }
                })
                .on_error(|_, error| eprintln!("The subscription failed: {error}"))
                .add_query(|q| q.from.person())
                .subscribe();
        })
        .on_connect_error(|_, error| {
            eprintln!("No connection: {error}");
            std::process::exit(1);
        })
        .on_disconnect(|_, _| std::process::exit(0))
        .build()
        .expect("a connection");
    connection.run_threaded().join().expect("the connection's thread");
}
