#!/usr/bin/env bash
# The loads of the table in bench/RESULTS.md against a fresh server: bench/run.sh [NAME…] (default: all). One JSON line each.
# REPEAT=N runs each load N times. WASM=FILE measures another module with the same reducers, also a bundle (*.js). SERVER=URL PID=N runs them against a server that is there already, with the module published as `bench`.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${SECONDS_EACH:-10}
wasm=${WASM:-build/modules/transfer.wasm}
if [ -z "${SERVER:-}" ]; then
  dir=$(mktemp -d)
  trap 'kill $PID 2>/dev/null || true; wait $PID 2>/dev/null || true; rm -rf "$dir"' EXIT
  HOME=$dir XDG_CONFIG_HOME=$dir build/lightcone start --listen-addr 127.0.0.1:0 --data-dir "$dir/data" >"$dir/log" 2>&1 &
  PID=$!
  for _ in $(seq 100); do grep -q 'listening on' "$dir/log" && break; sleep 0.1; done
  if ! grep -q 'listening on' "$dir/log"; then
    echo 'bench/run.sh: the server did not start:' >&2
    cat "$dir/log" >&2
    exit 1
  fi
  SERVER=http://$(sed -n 's/.*listening on //p' "$dir/log" | head -1)
  curl -sf -X PUT --data-binary @"$wasm" "$SERVER/v1/database/bench$([[ $wasm != *.js ]] || echo "?host_type=Js")" >/dev/null
fi
run() { # name, options…
  local name=$1; shift
  [ -z "$wanted" ] || [[ " $wanted " == *" $name "* ]] || return 0
  for _ in $(seq "${REPEAT:-1}"); do
    printf '%s ' "$name"
    build/loadgen --url "$SERVER" --db bench --pid "$PID" --seconds "$seconds" "$@"
  done
}
wanted="$*"
build/loadgen --url "$SERVER" --db bench --seed-accounts 100000 >/dev/null
run v3-64x40 --connections 64 --in-flight 40
run v3-64x40-zipf --connections 64 --in-flight 40 --dist zipf:1.5
run v2-64x40 --connections 64 --in-flight 40 --protocol v2
run v3-64x256 --connections 64 --in-flight 256
run v3-64x1 --connections 64 --in-flight 1
run v3-64x1-unconfirmed --connections 64 --in-flight 1 --confirmed false
run v3-1x1 --connections 1 --in-flight 1
run v3-1x1-unconfirmed --connections 1 --in-flight 1 --confirmed false
run subscribers-1000-points --connections 16 --in-flight 40 --subscribers 1000 --subscribe-query 'SELECT * FROM accounts WHERE id = {k}'
run subscribers-100-table --connections 1 --in-flight 16 --subscribers 100
run subscribers-1000-table --connections 1 --in-flight 16 --subscribers 1000
run subscribers-5000-points --connections 16 --in-flight 40 --subscribers 5000 --subscribe-query 'SELECT * FROM accounts WHERE id = {k}'
run subscribers-100000-points --connections 16 --in-flight 40 --subscribers 100 --queries-each 1000 --subscribe-query 'SELECT * FROM accounts WHERE id = {k}'
run subscribers-1000-ranges --connections 16 --in-flight 40 --subscribers 1000 --subscribe-query 'SELECT * FROM accounts WHERE balance < {k}'
