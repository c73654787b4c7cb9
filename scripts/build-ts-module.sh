#!/usr/bin/env bash
# Bundles a module in TypeScript as the official command line does, one ES module with its source map inside:  scripts/build-ts-module.sh PROJECT NAME OUT.js
# NAME: src/NAME.ts of the project. The project's packages are installed from its lock file into the cache, and the types are checked.
set -euo pipefail
[ $# = 3 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
dir=$(cd "$1" && pwd) name=$2 out=$3
cache="${XDG_CACHE_HOME:-$HOME/.cache}/lightcone"
key=$(cat "$dir/package.json" "$dir/package-lock.json" | sha256sum | cut -c1-24)
if [ ! -d "$cache/npm/$key/node_modules" ]; then
  echo "build-ts-module: installing the packages of $1"
  mkdir -p "$cache/npm"
  part="$cache/npm/.part.$$"; rm -rf "$part"; mkdir -p "$part"
  cp "$dir/package.json" "$dir/package-lock.json" "$dir/.npmrc" "$part/"
  (cd "$part" && npm ci --no-audit --no-fund --loglevel=error)
  mv -T "$part" "$cache/npm/$key" 2>/dev/null || rm -rf "$part"
fi
kept="$cache/modules/$( (cat "$dir"/src/*.ts "$dir/tsconfig.json"; echo "$key $name") | sha256sum | cut -c1-24).js"
if [ ! -f "$kept" ]; then
  work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
  cp -r "$dir/src" "$dir/tsconfig.json" "$dir/package.json" "$work/"
  ln -s "$cache/npm/$key/node_modules" "$work/node_modules"
  (cd "$work" && node_modules/.bin/tsc -p . && node_modules/.bin/esbuild "src/$name.ts" --bundle --format=esm --target=esnext '--external:spacetime:*' --sourcemap=inline --log-level=warning --outfile=bundle.js)
  mkdir -p "$cache/modules"
  cp "$work/bundle.js" "$kept.part.$$"; mv "$kept.part.$$" "$kept"
fi
mkdir -p "$(dirname "$out")"
cp "$kept" "$out.part.$$"; mv "$out.part.$$" "$out"
