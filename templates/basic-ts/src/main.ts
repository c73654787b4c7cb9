// Shows the table `person` of the database and adds the name given as the first argument.
import { DbConnection, tables } from "./module_bindings";

const host = process.env["SPACETIMEDB_HOST"] ?? "http://localhost:3000";
const database = process.env["SPACETIMEDB_DB_NAME"] ?? "@DATABASE@";
const name = process.argv[2];

DbConnection.builder()
  .withUri(host)
  .withDatabaseName(database)
  .onConnect((conn, identity) => {
    console.log(`Connected as ${identity.toHexString()}`);
    conn.db.person.onInsert((_ctx, person) => console.log(`Person: ${person.name}`));
    conn.subscriptionBuilder()
      .onApplied(() => {
        console.log(`${conn.db.person.count()} persons`);
        if (name !== undefined) conn.reducers.add({ name }).catch((error: Error) => console.error(error.message));
      })
      .onError(ctx => console.error("The subscription failed:", ctx.event))
      .subscribe([tables.person]);
  })
  .onConnectError((_ctx, error) => {
    console.error("No connection:", error.message);
    process.exit(1);
  })
  .onDisconnect(() => process.exit(0))
  .build();
