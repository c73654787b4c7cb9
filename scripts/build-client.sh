#!/usr/bin/env bash
# Builds a Rust program crate for this machine:  scripts/build-client.sh DIR OUT
# Kept in the cache by the hash of the crate's files (Cargo.lock among them) and the compiler, as scripts/build-module.sh does.
set -euo pipefail
[ $# = 2 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
top=$(cd "$(dirname "$0")/.." && pwd)
dir=$(cd "$1" && pwd) out=$2
cache="${XDG_CACHE_HOME:-$HOME/.cache}/lightcone"
[ -f "$dir/Cargo.lock" ] || { echo "build-client: $dir has no Cargo.lock" >&2; exit 1; }
[ -x /usr/bin/cargo ] || "$top/scripts/setup.sh"
key=$(cd "$dir" && { /usr/bin/rustc -vV; find -L . -name target -prune -o -type f -print0 | sort -z | xargs -0 sha256sum; } | sha256sum | cut -c1-24)
kept="$cache/clients/$key"
deliver() { mkdir -p "$(dirname "$out")"; cp "$kept" "$out.part.$$"; mv "$out.part.$$" "$out"; }
[ -f "$kept" ] && { deliver; exit 0; }
name=$(sed -n 's/^name *= *"\(.*\)"/\1/p' "$dir/Cargo.toml" | head -1)
mkdir -p "$cache/clients" "$cache/work/clients"
exec 9>"$cache/work/clients/lock"; flock 9 # one build at a time: crates may share names, and the target folder is shared
[ -f "$kept" ] && { deliver; exit 0; }
echo "build-client: building $(basename "$dir") (a few minutes the first time, then seconds)"
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET CARGO_BUILD_RUSTFLAGS RUSTC RUSTC_WRAPPER
export PATH=/usr/bin:$PATH CARGO_TARGET_DIR="$cache/work/clients/target"
log="$cache/work/clients/$(basename "$dir").log" built="$CARGO_TARGET_DIR/release/$name"
rm -f "$built"
(cd "$dir" && /usr/bin/cargo build --release --locked --ignore-rust-version ${JOBS:+-j "$JOBS"} >"$log" 2>&1 9>&-) &
pid=$! seconds=0
while kill -0 $pid 2>/dev/null; do
  sleep 1; seconds=$((seconds + 1))
  if [ $((seconds % 10)) = 0 ]; then echo "build-client:   $(grep -c Compiling "$log" || true) crates, ${seconds}s"; fi
done
wait $pid || { tail -60 "$log" >&2; echo "build-client: building $(basename "$dir") failed; the log is $log" >&2; exit 1; }
strip -o "$kept.part.$$" "$built"; mv "$kept.part.$$" "$kept"
deliver
