#!/usr/bin/env bash
# Makes a Debian package of a built program:  scripts/deb.sh BINARY OUT.deb
# What it depends on is read from the libraries that the program and V8's part name.
set -euo pipefail
[ $# = 2 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
cd "$(dirname "$0")/.."
binary=$1 out=$2
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
scripts/install.sh "$binary" /usr "$work"
strip --strip-unneeded "$work/usr/bin/lightcone" "$work"/usr/lib/lightcone/*
depends=$(for file in "$work/usr/bin/lightcone" "$work"/usr/lib/lightcone/*; do objdump -p "$file" | awk '$1 == "NEEDED" { print $2 }'; done | sort -u | while read -r name; do
  [ -e "$work/usr/lib/lightcone/$name" ] && continue
  path=$(/sbin/ldconfig -p | awk -v n="$name" '$1 == n { print $NF; exit }')
  [ -n "$path" ] || continue
  { dpkg -S "$(readlink -f "$path")" || dpkg -S "*/$(basename "$(readlink -f "$path")")"; } 2>/dev/null | head -1 | cut -d: -f1
done | sort -u | paste -sd, | sed 's/,/, /g')
install -d "$work/DEBIAN"
sed -e "s/@VERSION@/$(cat VERSION)/; s/@ARCHITECTURE@/$(dpkg --print-architecture)/; s/@DEPENDS@/$depends/" packaging/control >"$work/DEBIAN/control"
install -m 755 packaging/postinst "$work/DEBIAN/postinst"
mkdir -p "$(dirname "$out")"
dpkg-deb --root-owner-group -Zxz -z1 --build "$work" "$out" >/dev/null
echo "deb: $out, $(stat -c %s "$out") bytes; depends on $depends"
