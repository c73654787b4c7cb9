//! HTTP routes of a module of the library before 2.14, whose handlers are not told who they are (spec/07 §3.3).

use spacetimedb::http::{handler, router, Body, HandlerContext, Request, Response, Router};
use spacetimedb::{table, Identity, Table};

#[table(accessor = visit, public)]
pub struct Visit {
    #[primary_key]
    #[auto_inc]
    pub id: u32,
    pub body: String,
    pub sender: Identity,
}

#[handler]
fn visit(ctx: &mut HandlerContext, request: Request) -> Response {
    let body = String::from_utf8_lossy(&request.into_body().into_bytes()).into_owned();
    let id = ctx.with_tx(|tx| tx.db.visit().insert(Visit { id: 0, body: body.clone(), sender: tx.sender() }).id);
    Response::new(Body::from_bytes(format!("visit {id}")))
}

#[router]
fn routes() -> Router {
    Router::new().post("/visit", visit)
}
