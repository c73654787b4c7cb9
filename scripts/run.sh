#!/usr/bin/env bash
# `make run`: a server on 127.0.0.1:3000 with its data in ./lightcone-data. An empty data folder gets the sample chat database.
set -euo pipefail
cd "$(dirname "$0")/.."
data=${DATA:-lightcone-data} address=${LISTEN:-127.0.0.1:3000}
new=; [ -e "$data/control.sqlite3" ] || new=1
build/lightcone start --listen-addr "$address" --data-dir "$data" &
server=$!
trap 'kill -INT $server 2>/dev/null; wait $server; exit' INT TERM
for _ in $(seq 100); do curl -sf "http://$address/v1/ping" >/dev/null && break; kill -0 $server 2>/dev/null || { wait $server; exit 1; }; sleep 0.1; done
if [ -n "$new" ]; then
  build/lightcone publish chat --bin-path build/modules/chat.wasm --server "http://$address" --yes
fi
cat <<TEXT

The sample database is called chat. In another terminal:
  build/lightcone call chat set_name Ada --server http://$address
  build/lightcone call chat send_message "Hello, world" --server http://$address
  build/lightcone sql chat "SELECT * FROM message" --server http://$address
  build/lightcone logs chat --server http://$address
Official clients connect to ws://$address, database chat; build/spacetime is the same program under its other name.
Ctrl-C stops the server; what was committed is in $data.
TEXT
wait $server
