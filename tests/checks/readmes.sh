#!/usr/bin/env bash
# Every folder of src/ has a README that names each of its sources, and what READMEs and docs name in backquotes or link to is there.
set -euo pipefail
cd "$(dirname "$0")/../.."
bad=0
complain() { echo "$1"; bad=1; }
for folder in src/*/; do
  readme=${folder}README.md
  [ -e "$readme" ] || { complain "$readme is missing"; continue; }
  for file in "$folder"*.c "$folder"*.cc; do
    [ ! -e "$file" ] || grep -qF "\`$(basename "$file")\`" "$readme" || complain "$file is not in $readme"
  done
  while read -r name; do
    [ -n "$(find src tests bench -name "$name" -print -quit)" ] || complain "$readme names $name, which is not there"
  done < <(grep -oE '`[a-z0-9_]+\.(c|h|cc)`' "$readme" | tr -d '`' | sort -u)
done
while IFS=: read -r page name; do
  name=${name#\`} name=${name%\`}
  compgen -G "$name" >/dev/null || complain "$page names $name, which is not there"
done < <(grep -oE '`(bench|docs|deps|modules|scripts|src|tests)/[A-Za-z0-9_./*-]+`' README.md docs/*.md bench/*.md src/*/README.md tests/*/README.md)
while IFS=: read -r page name; do
  name=${name#](} name=${name%)}
  [ -e "$(dirname "$page")/$name" ] || complain "$page links to $name, which is not there"
done < <(grep -oE '\]\([A-Za-z0-9_./-]+\)' README.md docs/*.md bench/*.md src/*/README.md tests/*/README.md)
exit $bad
