#!/usr/bin/env bash
# Makes a Debian machine ready to build and test Lightcone: packages, and what no package has, built once into the cache:
# Wasmtime's library, and Rust's standard library for WebAssembly (for the test and sample modules).
# Safe to run again; does nothing when everything is there.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/scripts/progress.sh"
packages="build-essential pkg-config cmake libuv1-dev libhttp-parser-dev libssl-dev libcurl4-openssl-dev zlib1g-dev libbrotli-dev libzstd-dev
  libsqlite3-dev libjansson-dev libcmocka-dev rustc-web cargo-web rust-web-src lld-22 wabt zstd curl python3 openssl postgresql-client"
extras="clang-22 clang-format-22 libclang-rt-22-dev" # for `make format`, `make fuzz` and modules in C; left out where the distribution has none
there=$(dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' $packages $extras 2>/dev/null | sed -n 's/^ii //p' || true)
missing= wanted=
for p in $packages; do [[ $'\n'$there$'\n' == *$'\n'$p$'\n'* ]] || missing="$missing $p"; done
for p in $extras; do [[ $'\n'$there$'\n' == *$'\n'$p$'\n'* ]] || wanted="$wanted $p"; done
# Any Node from 18 on will do: Debian's, or another that is there already (whose package may bring npm along).
command -v node >/dev/null || missing="$missing nodejs"
command -v npm >/dev/null || missing="$missing npm"
cache="${XDG_CACHE_HOME:-$HOME/.cache}/lightcone"
noextras="$cache/no-extras" # the day's note that the wanted extras are not to be had here
if [ -n "$wanted" ] && [ -z "$missing" ] && [ -n "$(find "$noextras" -mtime -1 2>/dev/null)" ]; then wanted=; fi
if [ -n "$missing$wanted" ]; then
  sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -qq
  for p in $wanted; do
    if [ -n "$(apt-cache search --names-only "^$p\$")" ]; then missing="$missing $p"
    else echo "setup: $p is not to be had here; going on without"; mkdir -p "$cache"; touch "$noextras"; fi
  done
fi
if [ -n "$missing" ]; then
  echo "setup: installing packages:$missing"
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
# What follows is built once, by one set-up at a time; the others wait for it.
one_at_a_time() { mkdir -p "$cache/work"; exec 9>"$cache/work/setup.lock"; flock -n 9 || { echo "setup: waiting for another set-up on this machine"; flock 9; }; }
dir=$("$top/scripts/wasmtime-dir.sh")
[ -e "$dir/lib/liblightcone_wasmtime.a" ] || one_at_a_time
if [ ! -e "$dir/lib/liblightcone_wasmtime.a" ]; then
  work="$cache/work/wasmtime"; mkdir -p "$work"
  echo "setup: building Wasmtime 48.0.8 (about 5 minutes on 2 cores, once)"
  log="$work/build.log"
  build_wasmtime() { export PATH=/usr/bin:$PATH CARGO_TARGET_DIR="$work"; cd "$top/deps/wasmtime" && exec cargo build --release --locked; }
  progress "$log" 10 "setup:   {n} of about 115 crates, {s}s" build_wasmtime || { tail -30 "$log"; echo "setup: building Wasmtime failed; the log is $log"; exit 1; }
  include=$(ls -td "$work"/release/build/wasmtime-c-api-impl-*/out/include | head -1)
  part="$dir.part.$$"; rm -rf "$part"; mkdir -p "$part/lib"
  cp "$work/release/liblightcone_wasmtime.a" "$part/lib/"
  cp -r "$include" "$part/include"
  mv -T "$part" "$dir" 2>/dev/null || rm -rf "$part"
fi
# Rust's standard library for wasm32-unknown-unknown, as a sysroot of its own beside the compiler's (scripts/build-module.sh uses it).
dir=$("$top/scripts/rust-wasm-dir.sh")
[ -d "$dir" ] || one_at_a_time
if [ ! -d "$dir" ]; then
  work="$cache/work/rust-wasm"; rm -rf "$work"; mkdir -p "$work/src"
  echo "setup: building Rust's standard library for wasm32-unknown-unknown (about a minute on 2 cores, once)"
  log="$work/build.log"
  printf '[package]\nname = "lightcone_empty"\nversion = "0.0.0"\nedition = "2021"\n[lib]\n[workspace]\n' >"$work/Cargo.toml"
  echo '#![no_std]' >"$work/src/lib.rs"
  build_std() {
    export PATH=/usr/bin:$PATH CARGO_TARGET_DIR="$work/target" RUSTC_BOOTSTRAP=1 RUSTFLAGS="-C embed-bitcode=yes"
    cd "$work" && exec cargo build -Z build-std=std,panic_abort,panic_unwind --release --target wasm32-unknown-unknown
  }
  progress "$log" 10 "setup:   {n} of about 24 crates, {s}s" build_std || { tail -30 "$log"; echo "setup: building Rust's standard library failed; the log is $log"; exit 1; }
  part="$dir.part.$$"; lib="$part/lib/rustlib/wasm32-unknown-unknown/lib"
  rm -rf "$part"; mkdir -p "$lib"
  cp "$work"/target/wasm32-unknown-unknown/release/deps/*.rlib "$lib/"
  rm -f "$lib"/liblightcone_empty-*.rlib
  mv -T "$part" "$dir" 2>/dev/null || rm -rf "$part"
  rm -rf "$work/target"
fi
# V8, as the distribution's libnode has it. Its package would take the place of a Node that is installed, so that it is unpacked beside; what it needs is installed.
dir=$("$top/scripts/node-dir.sh")
[ -e "$dir/lib/libnode.so" ] || one_at_a_time
if [ ! -e "$dir/lib/libnode.so" ]; then
  sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
  node=$(apt-cache depends libnode-dev 2>/dev/null | sed -n 's/^ *Depends: \(libnode[0-9]*\)$/\1/p')
  [ -n "$node" ] || { $sudo apt-get update -qq; node=$(apt-cache depends libnode-dev | sed -n 's/^ *Depends: \(libnode[0-9]*\)$/\1/p'); }
  echo "setup: fetching $node (V8)"
  needs=$(apt-cache depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces "$node" | sed -n 's/^ *Depends: \([a-z0-9.+-]*\)$/\1/p')
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $needs >/dev/null
  work="$cache/work/node"; rm -rf "$work"; mkdir -p "$work"
  (cd "$work" && apt-get -o APT::Sandbox::User=root download -qq libnode-dev "$node" >/dev/null && for p in *.deb; do dpkg -x "$p" root; done)
  part="$dir.part.$$"; rm -rf "$part"; mkdir -p "$part/lib"
  cp "$work"/root/usr/lib/*/libnode.so.* "$part/lib/"
  ln -s "$(cd "$part/lib" && ls libnode.so.*)" "$part/lib/libnode.so"
  cp -r "$work/root/usr/include/node" "$part/include"
  mv -T "$part" "$dir" 2>/dev/null || rm -rf "$part"
  rm -rf "$work"
fi
