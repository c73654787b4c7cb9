//! Sample module: a chat room. Whoever connects is a user, may take a name, and writes messages that everyone sees.

use spacetimedb::{reducer, table, Identity, ReducerContext, Table, Timestamp};

const LONGEST_NAME: usize = 64;
const LONGEST_TEXT: usize = 4096;

/// Everyone who was ever here.
#[table(accessor = user, public)]
pub struct User {
    #[primary_key]
    identity: Identity,
    name: Option<String>,
    online: bool,
}

/// Everything that was said.
#[table(accessor = message, public)]
pub struct Message {
    sender: Identity,
    sent: Timestamp,
    text: String,
}

/// Trims what the user typed and says what is wrong with it, if anything.
fn checked(what: &str, typed: &str, longest: usize) -> Result<String, String> {
    let text = typed.trim();
    if text.is_empty() {
        Err(format!("{what} must not be empty"))
    } else if text.len() > longest {
        Err(format!("{what} must not be longer than {longest} bytes"))
    } else {
        Ok(text.to_string())
    }
}

/// Gives the caller a name.
#[reducer]
pub fn set_name(ctx: &ReducerContext, name: String) -> Result<(), String> {
    let name = checked("a name", &name, LONGEST_NAME)?;
    let users = ctx.db.user();
    let user = users.identity().find(ctx.sender()).ok_or("only a connected user can take a name")?;
    users.identity().update(User { name: Some(name), ..user });
    Ok(())
}

/// Says something to everyone.
#[reducer]
pub fn send_message(ctx: &ReducerContext, text: String) -> Result<(), String> {
    let text = checked("a message", &text, LONGEST_TEXT)?;
    log::info!("{}: {}", ctx.sender().to_abbreviated_hex(), text);
    ctx.db.message().insert(Message { sender: ctx.sender(), sent: ctx.timestamp, text });
    Ok(())
}

/// A client came: a new user, or one who was here before.
#[reducer(client_connected)]
pub fn arrived(ctx: &ReducerContext) {
    set_online(ctx, true);
}

/// A client went.
#[reducer(client_disconnected)]
pub fn left(ctx: &ReducerContext) {
    set_online(ctx, false);
}

fn set_online(ctx: &ReducerContext, online: bool) {
    let users = ctx.db.user();
    match users.identity().find(ctx.sender()) {
        Some(user) => {
            users.identity().update(User { online, ..user });
        }
        None if online => {
            users.insert(User { identity: ctx.sender(), name: None, online });
        }
        None => log::warn!("{} left without having come", ctx.sender()),
    }
}
