//! Views of every kind: of the caller and of nobody, computed and as queries, with a key and with arguments. Each run of one that counts is in the module's log.
use spacetimedb::{reducer, table, view, AnonymousViewContext, Identity, Query, ReducerContext, SpacetimeType, Table, ViewContext};

#[table(accessor = player, public)]
pub struct Player {
    #[primary_key]
    id: u32,
    #[unique]
    owner: Identity,
    level: u32,
}
#[table(accessor = item)]
pub struct Item {
    #[primary_key]
    id: u32,
    #[index(btree)]
    owner: u32,
    name: String,
}
#[derive(SpacetimeType)]
pub struct Total {
    players: u64,
}

/// The caller's own row: one point read.
#[view(accessor = me, public)]
fn me(ctx: &ViewContext) -> Option<Player> {
    log::info!("me runs");
    ctx.db.player().owner().find(ctx.sender())
}
/// Columns of a private table that the caller may see.
#[view(accessor = my_items, public)]
fn my_items(ctx: &ViewContext) -> Vec<Item> {
    match ctx.db.player().owner().find(ctx.sender()) {
        Some(p) => ctx.db.item().owner().filter(p.id).collect(),
        None => Vec::new(),
    }
}
/// A point that nobody's caller decides.
#[view(accessor = hero, public)]
fn hero(ctx: &AnonymousViewContext) -> Option<Player> {
    log::info!("hero runs");
    ctx.db.player().id().find(1)
}
/// A whole table.
#[view(accessor = total, public)]
fn total(ctx: &AnonymousViewContext) -> Vec<Total> {
    log::info!("total runs");
    vec![Total { players: ctx.db.player().count() }]
}
#[view(accessor = veterans, public)]
fn veterans(ctx: &AnonymousViewContext) -> impl Query<Player> {
    log::info!("veterans runs");
    ctx.from.player().r#where(|p| p.level.gte(10u32))
}
/// Fails while there is a player of level 666.
#[view(accessor = fragile, public)]
fn fragile(ctx: &AnonymousViewContext) -> Option<Player> {
    let p = ctx.db.player().id().find(9);
    if p.as_ref().is_some_and(|p| p.level == 666) {
        panic!("evil");
    }
    p
}
/// With an argument: an instance for each value.
#[view(accessor = items_of, public)]
fn items_of(ctx: &AnonymousViewContext, owner: u32) -> Vec<Item> {
    log::info!("items_of runs");
    ctx.db.item().owner().filter(owner).collect()
}
/// With arguments, and of the caller.
#[view(accessor = my_named, public)]
fn my_named(ctx: &ViewContext, name: String, at_least: i32) -> Vec<Item> {
    log::info!("my_named runs");
    match ctx.db.player().owner().find(ctx.sender()) {
        Some(p) => ctx.db.item().owner().filter(p.id).filter(|i| i.name == name && i.id as i32 >= at_least).collect(),
        None => vec![],
    }
}

#[reducer]
fn join(ctx: &ReducerContext, id: u32, level: u32) {
    ctx.db.player().insert(Player { id, owner: ctx.sender(), level });
}
#[reducer]
fn raise(ctx: &ReducerContext, id: u32, level: u32) -> Result<(), String> {
    let p = ctx.db.player().id().find(id).ok_or("no such player")?;
    ctx.db.player().id().update(Player { level, ..p });
    Ok(())
}
#[reducer]
fn add(ctx: &ReducerContext, id: u32, level: u32) {
    let mut bytes = [0u8; 32];
    bytes[0] = id as u8;
    ctx.db.player().insert(Player { id, owner: Identity::from_byte_array(bytes), level });
}
#[reducer]
fn leave(ctx: &ReducerContext, id: u32) {
    ctx.db.player().id().delete(id);
}
#[reducer]
fn give(ctx: &ReducerContext, id: u32, owner: u32, name: String) {
    ctx.db.item().insert(Item { id, owner, name });
}
