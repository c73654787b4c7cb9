#!/usr/bin/env bash
# Prints the folder of the built Wasmtime library, keyed by version and by what it is built from.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
key=$(cat "$top/deps/wasmtime/Cargo.toml" "$top/deps/wasmtime/Cargo.lock" "$top/deps/wasmtime/src/lib.rs" | sha256sum | cut -c1-12)
echo "${XDG_CACHE_HOME:-$HOME/.cache}/lightcone/wasmtime-48.0.8-$key"
