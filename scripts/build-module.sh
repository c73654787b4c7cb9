#!/usr/bin/env bash
# Builds a module crate to WebAssembly:  scripts/build-module.sh DIR OUT.wasm
# The result is kept in the cache under the hash of the crate's files (Cargo.lock among them) and of the compiler, so a second
# call only copies. One cargo target folder is shared by all modules: the first build of a library version takes about a minute.
set -euo pipefail
[ $# = 2 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
. "$(dirname "$0")/progress.sh"
top=$(cd "$(dirname "$0")/.." && pwd)
dir=$(cd "$1" && pwd) out=$2
cache="${XDG_CACHE_HOME:-$HOME/.cache}/lightcone"
[ -f "$dir/Cargo.lock" ] || { echo "build-module: $dir has no Cargo.lock" >&2; exit 1; }
[ -x /usr/bin/rustc ] && sysroot=$("$top/scripts/rust-wasm-dir.sh") && [ -d "$sysroot" ] || { "$top/scripts/setup.sh"; sysroot=$("$top/scripts/rust-wasm-dir.sh"); }
key=$(cd "$dir" && { basename "$sysroot"; find -L . -name target -prune -o -type f -print0 | sort -z | xargs -0 sha256sum; } | sha256sum | cut -c1-24)
kept="$cache/modules/$key.wasm"
deliver() { mkdir -p "$(dirname "$out")"; cp "$kept" "$out.part.$$"; mv "$out.part.$$" "$out"; }
[ -f "$kept" ] && { deliver; exit 0; }
name=$(sed -n 's/^name *= *"\(.*\)"/\1/p' "$dir/Cargo.toml" | head -1); name=${name//-/_}
mkdir -p "$cache/modules" "$cache/work/modules"
exec 9>"$cache/work/modules/lock"; flock 9 # one build at a time: crates may share names, and the target folder is shared
[ -f "$kept" ] && { deliver; exit 0; }
echo "build-module: building $name (about a minute the first time, then seconds)"
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET CARGO_BUILD_RUSTFLAGS RUSTC RUSTC_WRAPPER
export PATH=/usr/bin:$PATH CARGO_TARGET_DIR="$cache/work/modules/target"
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld-22 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS="--sysroot $sysroot"
log="$cache/work/modules/$name.log" built="$CARGO_TARGET_DIR/wasm32-unknown-unknown/release/$name.wasm"
rm -f "$built"
cd "$dir"
progress "$log" 10 "build-module:   $name: {n} crates, {s}s" /usr/bin/cargo build --release --locked --ignore-rust-version --target wasm32-unknown-unknown ${JOBS:+-j "$JOBS"} || { tail -60 "$log" >&2; echo "build-module: building $name failed; the log is $log" >&2; exit 1; }
cd "$OLDPWD"
cp "$built" "$kept.part.$$"; mv "$kept.part.$$" "$kept"
deliver
echo "build-module: $name is $(stat -c %s "$out") bytes"
