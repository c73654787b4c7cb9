#!/usr/bin/env bash
# Builds a Rust client program:  scripts/build-client.sh DIR OUT
# The result is kept in the cache under the hash of the crate's files (Cargo.lock among them) and of the compiler, so a second
# call only copies. One cargo target folder is shared by all clients: the first build of a library version takes about two minutes.
set -euo pipefail
[ $# = 2 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
. "$(dirname "$0")/progress.sh"
dir=$(cd "$1" && pwd) out=$2
cache="${XDG_CACHE_HOME:-$HOME/.cache}/lightcone"
key=$(cd "$dir" && { /usr/bin/rustc -vV; find -L . -name target -prune -o -type f -print0 | sort -z | xargs -0 sha256sum; } | sha256sum | cut -c1-24)
kept="$cache/clients/$key"
deliver() { mkdir -p "$(dirname "$out")"; cp "$kept" "$out.part.$$"; mv "$out.part.$$" "$out"; }
[ -f "$kept" ] && { deliver; exit 0; }
name=$(sed -n 's/^name *= *"\(.*\)"/\1/p' "$dir/Cargo.toml" | head -1)
mkdir -p "$cache/clients" "$cache/work/clients"
exec 9>"$cache/work/clients/lock"; flock 9
[ -f "$kept" ] && { deliver; exit 0; }
echo "build-client: building $name (about two minutes the first time, then seconds)"
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET CARGO_BUILD_RUSTFLAGS RUSTC RUSTC_WRAPPER
export PATH=/usr/bin:$PATH CARGO_TARGET_DIR="$cache/work/clients/target"
log="$cache/work/clients/$name.log"
cd "$dir"
progress "$log" 10 "build-client:   $name: {n} crates, {s}s" /usr/bin/cargo build --release --locked --ignore-rust-version ${JOBS:+-j "$JOBS"} || { tail -60 "$log" >&2; echo "build-client: building $name failed; the log is $log" >&2; exit 1; }
cd "$OLDPWD"
cp "$CARGO_TARGET_DIR/release/$name" "$kept.part.$$"; mv "$kept.part.$$" "$kept"
deliver
