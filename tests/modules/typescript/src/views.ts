// The twin of tests/modules/views, without arguments of views, which the package does not have (2.10.1). Each run of a view that counts is in the module's log.
import { Identity } from 'spacetimedb';
import { CaseConversionPolicy, schema, SenderError, table, t } from 'spacetimedb/server';

const player = table({ name: 'player', public: true }, { id: t.u32().primaryKey(), owner: t.identity().unique(), level: t.u32() });
const item = table({ name: 'item' }, { id: t.u32().primaryKey(), owner: t.u32().index('btree'), name: t.string() });
const spacetimedb = schema({ player, item }, { CASE_CONVERSION_POLICY: CaseConversionPolicy.SnakeCase });
export default spacetimedb;

const some = { public: true } as const;
const total_row = t.row('TotalRow', { players: t.u64() });

// The caller's own row: one point read.
export const me = spacetimedb.view({ name: 'me', ...some }, t.option(player.rowType), ctx => {
  console.info('me runs');
  return ctx.db.player.owner.find(ctx.sender) ?? undefined;
});
// Columns of a private table that the caller may see.
export const my_items = spacetimedb.view({ name: 'my_items', ...some }, t.array(item.rowType), ctx => {
  const own = ctx.db.player.owner.find(ctx.sender);
  return own ? [...ctx.db.item.owner.filter(own.id)] : [];
});
// A point that nobody's caller decides.
export const hero = spacetimedb.anonymousView({ name: 'hero', ...some }, t.option(player.rowType), ctx => {
  console.info('hero runs');
  return ctx.db.player.id.find(1) ?? undefined;
});
// A whole table.
export const total = spacetimedb.anonymousView({ name: 'total', ...some }, t.array(total_row), ctx => {
  console.info('total runs');
  return [{ players: ctx.db.player.count() }];
});
export const veterans = spacetimedb.anonymousView({ name: 'veterans', ...some }, t.array(player.rowType), ctx => {
  console.info('veterans runs');
  return ctx.from.player.where(p => p.level.gte(10)).build();
});
// Fails while there is a player of level 666.
export const fragile = spacetimedb.anonymousView({ name: 'fragile', ...some }, t.option(player.rowType), ctx => {
  const p = ctx.db.player.id.find(9);
  if (p?.level === 666) throw new Error('evil');
  return p ?? undefined;
});

export const join = spacetimedb.reducer({ id: t.u32(), level: t.u32() }, (ctx, { id, level }) => {
  ctx.db.player.insert({ id, owner: ctx.sender, level });
});
export const raise = spacetimedb.reducer({ id: t.u32(), level: t.u32() }, (ctx, { id, level }) => {
  const p = ctx.db.player.id.find(id);
  if (!p) throw new SenderError('no such player');
  ctx.db.player.id.update({ ...p, level });
});
export const add = spacetimedb.reducer({ id: t.u32(), level: t.u32() }, (ctx, { id, level }) => {
  ctx.db.player.insert({ id, owner: new Identity(BigInt(id)), level });
});
export const leave = spacetimedb.reducer({ id: t.u32() }, (ctx, { id }) => {
  ctx.db.player.id.delete(id);
});
export const give = spacetimedb.reducer({ id: t.u32(), owner: t.u32(), name: t.string() }, (ctx, { id, owner, name }) => {
  ctx.db.item.insert({ id, owner, name });
});
