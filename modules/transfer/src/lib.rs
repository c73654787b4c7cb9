//! Benchmark module: money moves between accounts, two finds and two updates a call; and calls that compute for long.

use spacetimedb::{reducer, table, ReducerContext, Table};

#[table(accessor = accounts, public)]
pub struct Account {
    #[primary_key]
    pub id: u32,
    pub balance: i64,
}

/// Makes accounts 0..n with the given balance; those that exist stay as they are.
#[reducer]
pub fn seed(ctx: &ReducerContext, n: u32, balance: i64) {
    let accounts = ctx.db.accounts();
    for id in 0..n {
        if accounts.id().find(id).is_none() {
            accounts.insert(Account { id, balance });
        }
    }
}

/// Inserts accounts 0..n with the given balance and does nothing else; fails if one of them exists.
#[reducer]
pub fn fill(ctx: &ReducerContext, n: u32, balance: i64) {
    for id in 0..n {
        ctx.db.accounts().insert(Account { id, balance });
    }
}

/// Moves an amount from one account to another; fails, changing nothing, when that cannot be.
#[reducer]
pub fn transfer(ctx: &ReducerContext, from: u32, to: u32, amount: i64) -> Result<(), String> {
    if from == to {
        return Err("an account cannot pay itself".into());
    }
    if amount < 0 {
        return Err("the amount is negative".into());
    }
    let accounts = ctx.db.accounts();
    let mut payer = accounts.id().find(from).ok_or("no such payer")?;
    let mut payee = accounts.id().find(to).ok_or("no such payee")?;
    if payer.balance < amount {
        return Err("the payer has too little".into());
    }
    payer.balance -= amount;
    payee.balance = payee.balance.checked_add(amount).ok_or("the payee has too much")?;
    accounts.id().update(payer);
    accounts.id().update(payee);
    Ok(())
}

/// Computes for a while: about a nanosecond a round; 0 never ends.
#[reducer]
pub fn spin(_ctx: &ReducerContext, rounds: u64) {
    let mut left = rounds;
    loop {
        left = std::hint::black_box(left).wrapping_sub(1);
        if left == 0 {
            return;
        }
    }
}
