#!/usr/bin/env bash
# `make run`: a server on 127.0.0.1:3000 with its data in ./lightcone-data. A data folder without databases gets the sample, a chat.
# LISTEN and DATA choose another address and folder, BINARY another build.
set -euo pipefail
cd "$(dirname "$0")/.."
data=${DATA:-lightcone-data} listen=${LISTEN:-127.0.0.1:3000} binary=${BINARY:-build/lightcone}
new=; [ -n "$(ls "$data/replicas" 2>/dev/null)" ] || new=1
exec 3< <(exec "$binary" start --non-interactive --listen-addr "$listen" --data-dir "$data")
server=$!
stop() { trap - EXIT INT TERM; kill -INT $server 2>/dev/null || true; wait $server; }
trap stop EXIT
trap 'stop; exit' INT TERM
# Ready when this server says so: another program may have the port. The line names the address, also for port 0.
address=
while read -r line <&3; do
  echo "$line"
  case $line in *"listening on "*) address=${line##*listening on }; break ;; esac
done
[ -n "$address" ] || { trap - EXIT; wait $server; exit 1; }
cat <&3 &
at=; [ "$address" = 127.0.0.1:3000 ] || at=" --server http://$address"
[ -z "$new" ] || "$binary" publish chat --bin-path build/modules/chat.wasm --server "http://$address" --yes --no-config
cat <<TEXT

The sample database is called chat. In another terminal:
  $binary call chat set_name Ada$at
  $binary call chat send_message "Hello, world"$at
  $binary sql chat "SELECT * FROM message"$at
  $binary logs chat$at
Official clients connect to ws://$address, database chat, and subscribe to "SELECT * FROM message".
Ctrl-C stops the server; what was committed is in $data.
TEXT
wait $server
