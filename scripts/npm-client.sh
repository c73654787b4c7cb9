#!/usr/bin/env bash
# Installs the packages of a Node project from its lock file into the cache and makes a copy of the project that sees them:
#   scripts/npm-client.sh DIR OUT
set -euo pipefail
[ $# = 2 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
dir=$1 out=$2
cache="${XDG_CACHE_HOME:-$HOME/.cache}/lightcone/npm"
key=$(cat "$dir/package.json" "$dir/package-lock.json" | sha256sum | cut -c1-24)
if [ ! -d "$cache/$key/node_modules" ]; then
  echo "npm-client: installing the packages of $dir"
  part="$cache/.part.$$"; rm -rf "$part"; mkdir -p "$part"
  cp "$dir/package.json" "$dir/package-lock.json" "$dir/.npmrc" "$part/"
  (cd "$part" && npm ci --no-audit --no-fund --loglevel=error)
  mv -T "$part" "$cache/$key" 2>/dev/null || rm -rf "$part"
fi
mkdir -p "$out"
rm -rf "${out:?}"/*
cp -r "$dir"/* "$out/"
ln -s "$cache/$key/node_modules" "$out/node_modules"
