// The twin of tests/modules/server: scheduled reducers and procedures (tests/e2e/schedules.py), HTTP routes (tests/e2e/handlers.py).
import { Timestamp } from 'spacetimedb';
import { CaseConversionPolicy, Router, ScheduleAt, schema, SenderError, SyncResponse, table, t } from 'spacetimedb/server';

// What a call does: 0 nothing, 1 fails, 2 throws, 3 changes its own row to run once more, 4 takes 25 ms, 5 deletes its own row, 6 ends a one-shot by inserting another, 7 notes who calls.
const task = table({ name: 'task', public: true }, { id: t.u64().primaryKey().autoInc(), at: t.scheduleAt(), what: t.u8(), label: t.string() });
// One row for each call, with what the call saw.
const done = table(
  { name: 'done', public: true },
  { id: t.u64().primaryKey().autoInc(), label: t.string(), task: t.u64(), at: t.timestamp(), row_was_there: t.bool(), caller_is_database: t.bool(), has_connection: t.bool() }
);
const errand = table({ name: 'errand', public: true }, { id: t.u64().primaryKey().autoInc(), at: t.scheduleAt(), label: t.string() });

const spacetimedb = schema({ task, done, errand }, { CASE_CONVERSION_POLICY: CaseConversionPolicy.SnakeCase });
export default spacetimedb;

const later = (at: Timestamp, us: bigint) => ScheduleAt.time(at.microsSinceUnixEpoch + us);
const busy = (ms: number) => {
  for (const end = Date.now() + ms; Date.now() < end; );
};

export const run_task = spacetimedb.reducer({ onSchedule: task }, { arg: task.rowType }, (ctx, { arg }) => {
  ctx.db.done.insert({
    id: 0n,
    label: arg.label,
    task: arg.id,
    at: ctx.timestamp,
    row_was_there: !!ctx.db.task.id.find(arg.id),
    caller_is_database: ctx.sender.isEqual(ctx.identity),
    has_connection: ctx.connectionId !== null,
  });
  switch (arg.what) {
    case 1: throw new SenderError('this task fails');
    case 2: throw new Error('this task throws');
    case 3: ctx.db.task.id.update({ ...arg, at: later(ctx.timestamp, 50_000n), what: 0 }); break;
    case 4: busy(25); break;
    case 5: ctx.db.task.id.delete(arg.id); break;
    case 6: ctx.db.task.insert({ id: 0n, at: later(ctx.timestamp, 50_000n), what: 0, label: arg.label }); break;
  }
});

export const at = spacetimedb.reducer({ from_now_us: t.i64(), what: t.u8(), label: t.string() }, (ctx, { from_now_us, what, label }) => {
  ctx.db.task.insert({ id: 0n, at: later(ctx.timestamp, from_now_us), what, label });
});
export const every = spacetimedb.reducer({ interval_us: t.i64(), what: t.u8(), label: t.string() }, (ctx, { interval_us, what, label }) => {
  ctx.db.task.insert({ id: 0n, at: ScheduleAt.interval(interval_us), what, label });
});
export const many = spacetimedb.reducer({ n: t.u32(), from_now_us: t.i64(), label: t.string() }, (ctx, { n, from_now_us, label }) => {
  for (let i = 0; i < n; i++) ctx.db.task.insert({ id: 0n, at: later(ctx.timestamp, from_now_us), what: 0, label });
});
export const at_and_fail = spacetimedb.reducer({ from_now_us: t.i64(), label: t.string() }, (ctx, { from_now_us, label }) => {
  ctx.db.task.insert({ id: 0n, at: later(ctx.timestamp, from_now_us), what: 0, label });
  throw new SenderError('rolled back');
});
export const cancel = spacetimedb.reducer({ label: t.string() }, (ctx, { label }) => {
  for (const row of [...ctx.db.task.iter()]) if (row.label === label) ctx.db.task.id.delete(row.id);
});
// Gives every task of that label another time.
export const put_off = spacetimedb.reducer({ label: t.string(), from_now_us: t.i64() }, (ctx, { label, from_now_us }) => {
  for (const row of [...ctx.db.task.iter()]) if (row.label === label) ctx.db.task.id.update({ ...row, at: later(ctx.timestamp, from_now_us) });
});
// Gives every task of that label another one, and leaves its time.
export const relabel = spacetimedb.reducer({ label: t.string(), new: t.string() }, (ctx, args) => {
  for (const row of [...ctx.db.task.iter()]) if (row.label === args.label) ctx.db.task.id.update({ ...row, label: args.new });
});
export const put_off_and_fail = spacetimedb.reducer({ label: t.string(), from_now_us: t.i64() }, (ctx, { label, from_now_us }) => {
  for (const row of [...ctx.db.task.iter()]) if (row.label === label) ctx.db.task.id.update({ ...row, at: later(ctx.timestamp, from_now_us) });
  throw new SenderError('rolled back');
});

// Takes 150 ms, outside any transaction. The package has no sleep (2.10.1).
export const run_errand = spacetimedb.procedure({ onSchedule: errand }, { arg: errand.rowType }, t.unit(), (ctx, { arg }) => {
  const { sender, identity, timestamp } = ctx;
  busy(150);
  ctx.withTx(tx => {
    tx.db.done.insert({
      id: 0n,
      label: arg.label,
      task: arg.id,
      at: timestamp,
      row_was_there: !!tx.db.errand.id.find(arg.id),
      caller_is_database: sender.isEqual(identity),
      has_connection: false,
    });
  });
  return {};
});
export const send = spacetimedb.reducer({ from_now_us: t.i64(), interval: t.bool(), label: t.string() }, (ctx, { from_now_us, interval, label }) => {
  ctx.db.errand.insert({ id: 0n, at: interval ? ScheduleAt.interval(from_now_us) : later(ctx.timestamp, from_now_us), label });
});

export const root = spacetimedb.httpHandler((_ctx, _request) => new SyncResponse('root'));
// Says what it was given.
export const echo = spacetimedb.httpHandler((_ctx, request) => {
  let text = `${request.method} ${request.uri}\n`;
  for (const [name, value] of request.headers.entries()) text += `${name}: ${value}\n`;
  text += `${request.bytes().length} bytes`;
  return new SyncResponse(text, { status: 201, headers: [['x-one', '1'], ['x-one', '2'], ['content-type', 'text/x-echo']] });
});
// Writes into the database.
export const record = spacetimedb.httpHandler((ctx, request) => {
  const label = request.text();
  ctx.withTx(tx => {
    tx.db.done.insert({ id: 0n, label, task: 0n, at: ctx.timestamp, row_was_there: false, caller_is_database: true, has_connection: false });
  });
  return new SyncResponse('recorded');
});
export const bang = spacetimedb.httpHandler((_ctx, _request) => {
  throw new Error('a handler that throws');
});
export const routes = spacetimedb.httpRouter(new Router().get('', root).get('/', root).any('/echo', echo).post('/record', record).get('/bang', bang));
