//! A module with environment values: required, one of several, one literal and optional. `init` stores what it reads, a view shows it.
use spacetimedb::{env, procedure, reducer, table, view, AnonymousViewContext, ProcedureContext, ReducerContext, SpacetimeType, Table};

#[env]
pub struct Env {
    API_KEY: String,
    #[env(values("dev", "prod"))]
    MODE: String,
    #[env(values("eu"))]
    REGION: Option<String>,
}

#[table(accessor = seen, public)]
pub struct Seen {
    #[primary_key]
    pub who: String,
    pub value: String,
}

#[derive(SpacetimeType)]
pub struct Setting {
    pub mode: String,
    pub region: Option<String>,
}

#[reducer(init)]
pub fn init(ctx: &ReducerContext) {
    ctx.db.seen().insert(Seen { who: "init".into(), value: ctx.env.API_KEY() });
}

#[reducer(client_connected)]
pub fn connected(ctx: &ReducerContext) {
    ctx.db.seen().who().insert_or_update(Seen { who: ctx.sender().to_string(), value: "connected".into() });
}

#[reducer(client_disconnected)]
pub fn disconnected(ctx: &ReducerContext) {
    ctx.db.seen().who().insert_or_update(Seen { who: ctx.sender().to_string(), value: "disconnected".into() });
}

#[reducer]
pub fn tell(ctx: &ReducerContext) -> Result<(), String> {
    Err(format!("{} {} {:?}", ctx.env.API_KEY(), ctx.env.MODE(), ctx.env.REGION()))
}

#[procedure]
pub fn ask(ctx: &mut ProcedureContext) -> String {
    ctx.env.API_KEY()
}

#[view(accessor = setting, public)]
fn setting(ctx: &AnonymousViewContext) -> Vec<Setting> {
    vec![Setting { mode: ctx.env.MODE(), region: ctx.env.REGION() }]
}
