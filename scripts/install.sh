#!/usr/bin/env bash
# Copies a built program to where programs are:  scripts/install.sh BINARY PREFIX [DESTDIR]
# Files: bin/lightcone; lib/lightcone with V8 behind its C face and the libnode that it was built with; the man page; the systemd unit; documentation.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
cd "$(dirname "$0")/.."
binary=$1 prefix=$2 to=${3:-}$2
node=$(scripts/node-dir.sh)
install -D -m 755 "$binary" "$to/bin/lightcone"
install -d "$to/lib/lightcone" "$to/share/man/man1" "$to/lib/systemd/system" "$to/share/doc/lightcone"
install -m 644 "$(dirname "$binary")/lightcone-v8.so" "$to/lib/lightcone/"
for library in "$node"/lib/libnode.so.*; do install -m 644 "$library" "$to/lib/lightcone/"; done
gzip -9n <docs/lightcone.1 >"$to/share/man/man1/lightcone.1.gz"
sed "s#@PREFIX@#$prefix#" packaging/lightcone.service >"$to/lib/systemd/system/lightcone.service"
install -m 644 README.md CHANGELOG.md LICENSE "$to/share/doc/lightcone/"
cp -r docs/*.md docs/reference "$to/share/doc/lightcone/"
