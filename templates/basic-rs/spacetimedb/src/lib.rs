use spacetimedb::{reducer, table, ReducerContext, Table};

#[table(accessor = person, public)]
pub struct Person {
    #[primary_key]
    #[auto_inc]
    pub id: u64,
    pub name: String,
}

/// Runs once, when the database is made.
#[reducer(init)]
pub fn init(_ctx: &ReducerContext) {
    log::info!("The database is ready");
}

#[reducer(client_connected)]
pub fn client_connected(ctx: &ReducerContext) {
    log::info!("{} is here", ctx.sender());
}

#[reducer(client_disconnected)]
pub fn client_disconnected(ctx: &ReducerContext) {
    log::info!("{} is gone", ctx.sender());
}

/// An error undoes everything that the reducer did; the caller gets the text.
#[reducer]
pub fn add(ctx: &ReducerContext, name: String) -> Result<(), String> {
    if name.is_empty() {
        return Err("a name must not be empty".into());
    }
    ctx.db.person().insert(Person { id: 0, name });
    Ok(())
}

#[reducer]
pub fn say_hello(ctx: &ReducerContext) {
    for person in ctx.db.person().iter() {
        log::info!("Hello, {}!", person.name);
    }
    log::info!("Hello, World!");
}
