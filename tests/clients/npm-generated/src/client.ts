// A client on bindings that `lightcone generate` made of the e2e module:  node client.mjs URL DATABASE
// Rows, updates by key, typed queries, every type there and back, an event table, reducers and their errors.
import { DbConnection, reducers, tables, type EventContext, type ReducerEventContext } from "./module_bindings/index";
import type { AllTypes, Person } from "./module_bindings/types";
import type { AddPersonParams } from "./module_bindings/types/reducers";

const [url, database] = process.argv.slice(2) as [string, string];
const fail = (why: unknown): never => { console.error(why); process.exit(1); };
setTimeout(() => fail("nothing happened for 20 seconds"), 20_000).unref();
const ok = (step: string): void => console.log(`ok ${step}`);
function same(got: unknown, want: unknown, what: string): void {
  const text = (v: unknown): string => JSON.stringify(v, (_, x: unknown) => (typeof x === "bigint" ? `${x}n` : x));
  if (text(got) !== text(want)) fail(`${what}: ${text(got)} is not ${text(want)}`);
}

const news: string[] = [];
const connection = await new Promise<DbConnection>((resolve, reject) => {
  DbConnection.builder().withUri(url).withDatabaseName(database)
    .onConnect((conn: DbConnection) => resolve(conn))
    .onConnectError((_ctx: unknown, error: Error) => reject(error)).build();
});
ok("connected");
connection.db.person.onInsert((_ctx: EventContext, row: Person) => news.push(`+${row.name}`));
connection.db.person.onUpdate((_ctx: EventContext, old: Person, row: Person) => news.push(`${old.name}>${row.name}`));
connection.db.person.onDelete((_ctx: EventContext, row: Person) => news.push(`-${row.name}`));
const ticked = new Promise<bigint>(resolve => connection.db.tickEvent.onInsert((_ctx: EventContext, row) => resolve(row.count)));
await new Promise<void>((resolve, reject) => {
  connection.subscriptionBuilder().onApplied(() => resolve()).onError((ctx: unknown) => reject(ctx))
    .subscribe([tables.person, tables.allTypes, tables.adults, tables.tickEvent, tables.bag.where(row => row.group.eq(7))]);
});
ok("subscribed by typed queries");
const add: AddPersonParams = { name: `Ann-${database}`, age: 40 };
await connection.reducers.addPerson(add);
const ann = [...connection.db.person.iter()].find(row => row.name === add.name) ?? fail("no row");
same(connection.db.person.id.find(ann.id), ann, "found by key");
same([...connection.db.adults.iter()].some(row => row.name === add.name), true, "seen by the view");
await connection.reducers.renamePerson({ id: ann.id, name: `Bea-${database}` });
await connection.reducers.deletePerson({ id: ann.id });
same(news, [`+Ann-${database}`, `Ann-${database}>Bea-${database}`, `-Bea-${database}`], "callbacks");
ok("rows, keys, updates");
await connection.reducers.fillBag({ group: 7, text: "wanted", times: 1 });
await connection.reducers.fillBag({ group: 8, text: "another", times: 1 });
same([...connection.db.bag.iter()].map(row => row.text), ["wanted"], "a filtered subscription");
ok("a filtered subscription");
await connection.reducers.fail({ message: "on purpose" }).then(() => fail("it must fail"), (error: Error) => same(error.message, "on purpose", "the reducer's error"));
ok("errors");
await connection.reducers.insertSamples({});
const samples: AllTypes[] = [...connection.db.allTypes.iter()];
for (const sample of samples) {
  const row: AllTypes = { ...sample, aResult: { ok: 7 } as unknown as AllTypes["aResult"] }; // npm 2.10.1 itself writes the err side of a result as an empty string
  await connection.reducers.insertAllTypes({ row: { ...row, id: row.id + 1000 } });
  same({ ...connection.db.allTypes.id.find(row.id + 1000), id: row.id }, row, "every type there and back");
}
same(samples.length > 1, true, "samples");
ok("every type there and back");
await connection.reducers.startTicking({ millis: 10n, repeat: false });
same(typeof (await ticked), "bigint", "an event");
ok("an event table");
same(Object.keys(reducers).includes("addPerson"), true, "the reducers' map");
const unused: ((ctx: ReducerEventContext) => void) | undefined = undefined;
same(unused, undefined, "nothing");
connection.disconnect();
console.log("passed");
process.exit(0);
