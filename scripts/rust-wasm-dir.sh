#!/usr/bin/env bash
# Prints the folder of the sysroot with Rust's standard library for wasm32-unknown-unknown, keyed by the compiler it is built for.
set -euo pipefail
key=$(/usr/bin/rustc -vV | sha256sum | cut -c1-12)
version=$(/usr/bin/rustc -V | cut -d' ' -f2)
echo "${XDG_CACHE_HOME:-$HOME/.cache}/lightcone/rust-wasm-$version-$key"
