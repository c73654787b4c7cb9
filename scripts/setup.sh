#!/usr/bin/env bash
# Makes a Debian machine ready to build and test Lightcone: packages, and Wasmtime's library built once into the cache.
# Safe to run again; does nothing when everything is there.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
packages="build-essential pkg-config cmake libuv1-dev libhttp-parser-dev libssl-dev libcurl4-openssl-dev zlib1g-dev libzstd-dev
  libsqlite3-dev libjansson-dev libcmocka-dev rustc-web cargo-web rust-web-src lld-22 wabt zstd curl python3"
missing=
for p in $packages; do
  [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$p" 2>/dev/null)" = "ii " ] || missing="$missing $p"
done
if [ -n "$missing" ]; then
  echo "setup: installing packages:$missing"
  sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
dir=$("$top/scripts/wasmtime-dir.sh")
if [ ! -e "$dir/lib/liblightcone_wasmtime.a" ]; then
  cache=$(dirname "$dir"); work="$cache/work/wasmtime"; mkdir -p "$work"
  echo "setup: building Wasmtime 48.0.8 (about 5 minutes on 2 cores, once)"
  export PATH=/usr/bin:$PATH CARGO_TARGET_DIR="$work"
  log="$work/build.log"
  (cd "$top/deps/wasmtime" && cargo build --release --locked >"$log" 2>&1) &
  pid=$!
  while kill -0 $pid 2>/dev/null; do
    sleep 5
    echo "setup:   $(grep -c Compiling "$log" 2>/dev/null || true) of about 115 crates"
  done
  wait $pid || { tail -30 "$log"; echo "setup: building Wasmtime failed; the log is $log"; exit 1; }
  include=$(ls -td "$work"/release/build/wasmtime-c-api-impl-*/out/include | head -1)
  part="$dir.part.$$"; rm -rf "$part"; mkdir -p "$part/lib"
  cp "$work/release/liblightcone_wasmtime.a" "$part/lib/"
  cp -r "$include" "$part/include"
  mv -T "$part" "$dir" 2>/dev/null || rm -rf "$part"
fi
