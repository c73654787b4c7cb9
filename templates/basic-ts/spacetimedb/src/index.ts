import { schema, t, table, SenderError } from "spacetimedb/server";

const person = table({ name: "person", public: true }, { id: t.u64().primaryKey().autoInc(), name: t.string() });

const spacetimedb = schema({ person });
export default spacetimedb;

/** Runs once, when the database is made. */
export const init = spacetimedb.init(_ctx => {
  console.info("The database is ready");
});

export const clientConnected = spacetimedb.clientConnected(ctx => {
  console.info(`${ctx.sender.toHexString()} is here`);
});

export const clientDisconnected = spacetimedb.clientDisconnected(ctx => {
  console.info(`${ctx.sender.toHexString()} is gone`);
});

/** An error undoes everything that the reducer did; the caller gets the text. */
export const add = spacetimedb.reducer({ name: t.string() }, (ctx, { name }) => {
  if (name === "") throw new SenderError("a name must not be empty");
  ctx.db.person.insert({ id: 0n, name });
});

export const sayHello = spacetimedb.reducer(ctx => {
  for (const row of ctx.db.person.iter()) console.info(`Hello, ${row.name}!`);
  console.info("Hello, World!");
});
