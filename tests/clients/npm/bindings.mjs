// Bindings of the end-to-end tests' module for the official npm client, in the shape of generated code (spec/04 §9.2).
import { t, schema, table, reducers, reducerSchema, procedures, convertToAccessorMap, DbConnectionImpl, DbConnectionBuilder as Builder, SubscriptionBuilderImpl } from 'spacetimedb';

export const Point = t.object('Point', { x: t.i32(), y: t.i32() });
export const Circle = t.object('Circle', { get centre() { return Point; }, radius: t.f64() });
export const Shape = t.enum('Shape', { Nothing: t.unit(), get Dot() { return Point; }, get Circle() { return Circle; }, Label: t.string() });
export const Colour = t.enum('Colour', { Red: t.unit(), Green: t.unit(), Blue: t.unit() });

const allTypes = id => ({
  id, aBool: t.bool(), anI8: t.i8(), aU8: t.u8(), anI16: t.i16(), aU16: t.u16(),
  anI32: t.i32(), aU32: t.u32(), anI64: t.i64(), aU64: t.u64(), anI128: t.i128(), aU128: t.u128(),
  anI256: t.i256(), aU256: t.u256(), anF32: t.f32(), anF64: t.f64(), aString: t.string(),
  someBytes: t.byteArray(), anIdentity: t.identity(), aConnection: t.connectionId(), aTimestamp: t.timestamp(),
  aDuration: t.timeDuration(), aUuid: t.uuid(), aSchedule: t.scheduleAt(), anOption: t.option(t.string()),
  aResult: t.result(t.u32(), t.string()), get aColour() { return Colour; }, get aShape() { return Shape; },
  get aCircle() { return Circle; }, get somePoints() { return t.array(Point); }, someOptions: t.array(t.option(t.u16())),
  get nested() { return t.option(t.option(t.array(Shape))); },
});
const unique = (tableName, column) => ({ name: `${tableName}_${column}_key`, constraint: 'unique', columns: [column] });
const btree = (tableName, column) => ({ accessor: column, name: `${tableName}_${column}_idx_btree`, algorithm: 'btree', columns: [column] });
const keyed = (name, column, row) => table({ name, indexes: [btree(name, column)], constraints: [unique(name, column)] }, t.row(row));

const ts = schema({
  person: table({ name: 'person', indexes: [btree('person', 'age'), btree('person', 'id'), btree('person', 'name')], constraints: [unique('person', 'id'), unique('person', 'name')] },
    t.row({ id: t.u32().primaryKey(), name: t.string(), age: t.u8() })),
  allTypes: keyed('all_types', 'id', allTypes(t.u32().primaryKey())),
  counter: keyed('counter', 'id', { id: t.u32().primaryKey(), value: t.u64() }),
  connected: keyed('connected', 'identity', { identity: t.identity().primaryKey(), connectionId: t.connectionId(), count: t.u32() }),
  logEntry: keyed('log_entry', 'seq', { seq: t.u64().primaryKey(), payload: t.string() }),
  moment: keyed('moment', 'id', { id: t.u64().primaryKey(), at: t.timestamp(), sender: t.identity(), module: t.identity(), number: t.u64(), fromTen: t.u32(), uuid: t.uuid() }),
  bag: table({ name: 'bag', indexes: [], constraints: [] }, t.row({ group: t.u32(), text: t.string() })),
  adults: table({ name: 'adults', indexes: [], constraints: [] }, t.row({ id: t.u32(), name: t.string(), age: t.u8() })), // a view
  tickEvent: table({ name: 'tick_event', indexes: [], constraints: [], event: true }, t.row({ at: t.timestamp(), count: t.u64() })),
});
const rs = reducers(
  reducerSchema('add_person', { name: t.string(), age: t.u8() }), reducerSchema('rename_person', { id: t.u32(), name: t.string() }), reducerSchema('delete_person', { id: t.u32() }),
  reducerSchema('delete_ages', { low: t.u8(), high: t.u8() }), reducerSchema('fail', { message: t.string() }), reducerSchema('panic_now', {}), reducerSchema('spin', {}),
  reducerSchema('eat_memory', {}), reducerSchema('recurse', {}), reducerSchema('insert_samples', {}), reducerSchema('insert_all_types', { row: t.object('AllTypes', allTypes(t.u32())) }),
  reducerSchema('increment', { id: t.u32() }), reducerSchema('append_log', { seq: t.u64(), payload: t.string() }), reducerSchema('fill_bag', { group: t.u32(), text: t.string(), times: t.u32() }),
  reducerSchema('empty_bag', { group: t.u32() }), reducerSchema('random_and_time', {}), reducerSchema('log_something', { text: t.string() }),
  reducerSchema('no_such_reducer', {}),
);
const ps = procedures();
const REMOTE_MODULE = { versionInfo: { cliVersion: '2.8.3' }, tables: ts.schemaType.tables, reducers: rs.reducersType.reducers, ...ps };
export const reducersOf = convertToAccessorMap(rs.reducersType.reducers);
class SubscriptionBuilder extends SubscriptionBuilderImpl {}
class DbConnectionBuilder extends Builder {}
export class DbConnection extends DbConnectionImpl {
  static builder = () => new DbConnectionBuilder(REMOTE_MODULE, config => new DbConnection(config));
  subscriptionBuilder = () => new SubscriptionBuilder(this);
}
