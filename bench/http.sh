#!/usr/bin/env bash
# Calls and queries by primary key over HTTP, on 32 kept connections and on one, against a fresh server: JSON lines. SECONDS_EACH=5. Needs build/lightcone, build/loadgen, build/bench-httpload (`make bench`).
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${SECONDS_EACH:-5}
dir=$(mktemp -d)
trap 'kill $PID 2>/dev/null || true; wait $PID 2>/dev/null || true; rm -rf "$dir"' EXIT
HOME=$dir XDG_CONFIG_HOME=$dir build/lightcone start --listen-addr 127.0.0.1:0 --data-dir "$dir/data" >"$dir/log" 2>&1 &
PID=$!
for _ in $(seq 100); do grep -q 'listening on' "$dir/log" && break; sleep 0.1; done
port=$(sed -n 's/.*listening on 127.0.0.1://p' "$dir/log" | head -1)
url=http://127.0.0.1:$port
token=$(curl -sf -X POST "$url/v1/identity" | python3 -c 'import json,sys; print(json.load(sys.stdin)["token"])')
curl -sf -X PUT -H "Authorization: Bearer $token" --data-binary @build/modules/transfer.wasm "$url/v1/database/bench" >/dev/null
build/loadgen --url "$url" --db bench --seed-accounts 100000 >/dev/null
for connections in 32 1; do
  build/bench-httpload 127.0.0.1 "$port" /v1/database/bench/call/transfer '[0,{k},1]' $connections "$seconds" "$PID" "$token"
  build/bench-httpload 127.0.0.1 "$port" /v1/database/bench/sql 'SELECT * FROM accounts WHERE id = {k}' $connections "$seconds" "$PID" "$token"
done
