#!/usr/bin/env bash
# Dependencies point down only: a folder of src/ includes its own headers and the faces of folders before it (DESIGN, Layout).
set -euo pipefail
cd "$(dirname "$0")/../.."
order="base types store engine wal sql live host auth net db api codegen cli"
rank() { local i=0; for f in $order; do i=$((i + 1)); [ "$f" = "$1" ] && echo $i && return; done; echo "folder src/$1 has no place in the order" >&2; exit 1; }
bad=0
while IFS=: read -r file _ text; do
  folder=$(echo "$file" | cut -d/ -f2)
  target=$(echo "$text" | sed -nE 's/.*#include "\.\.\/([a-z0-9_]+)\/([a-z0-9_]+)\.h".*/\1 \2/p')
  [ -n "$target" ] || continue
  read -r to header <<<"$target"
  if [ "$(rank "$to")" -ge "$(rank "$folder")" ]; then echo "$file: src/$folder may not depend on src/$to"; bad=1; fi
  if [ "$to" != "$header" ]; then echo "$file: $to/$header.h is not the face of src/$to"; bad=1; fi
done < <(grep -rnE '#include "\.\./' src)
exit $bad
