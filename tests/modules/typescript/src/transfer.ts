// The benchmark module in TypeScript: the same tables and reducers as modules/transfer.
import { schema, table, t, SenderError } from 'spacetimedb/server';

const spacetimedb = schema({
  accounts: table({ public: true }, { id: t.u32().primaryKey(), balance: t.i64() }),
});
export default spacetimedb;

/** Makes accounts 0..n with the given balance; those that exist stay as they are. */
export const seed = spacetimedb.reducer({ n: t.u32(), balance: t.i64() }, (ctx, { n, balance }) => {
  for (let id = 0; id < n; id++) if (!ctx.db.accounts.id.find(id)) ctx.db.accounts.insert({ id, balance });
});

/** Inserts accounts 0..n with the given balance and does nothing else; fails if one of them exists. */
export const fill = spacetimedb.reducer({ n: t.u32(), balance: t.i64() }, (ctx, { n, balance }) => {
  for (let id = 0; id < n; id++) ctx.db.accounts.insert({ id, balance });
});

/** Moves an amount from one account to another; fails, changing nothing, when that cannot be. */
export const transfer = spacetimedb.reducer({ from: t.u32(), to: t.u32(), amount: t.i64() }, (ctx, { from, to, amount }) => {
  if (from === to) throw new SenderError('an account cannot pay itself');
  if (amount < 0n) throw new SenderError('the amount is negative');
  const payer = ctx.db.accounts.id.find(from);
  if (!payer) throw new SenderError('no such payer');
  const payee = ctx.db.accounts.id.find(to);
  if (!payee) throw new SenderError('no such payee');
  if (payer.balance < amount) throw new SenderError('the payer has too little');
  payer.balance -= amount;
  payee.balance += amount;
  ctx.db.accounts.id.update(payer);
  ctx.db.accounts.id.update(payee);
});

/** Computes for a while; 0 never ends. */
export const spin = spacetimedb.reducer({ rounds: t.u64() }, (_ctx, { rounds }) => {
  let left = Number(rounds);
  for (;;) {
    left--;
    if (left === 0) return;
  }
});
