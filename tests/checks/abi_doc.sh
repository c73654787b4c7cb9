#!/usr/bin/env bash
# docs/module-abi.md lists the imports and errnos of src/host/abi_table.h.
set -euo pipefail
cd "$(dirname "$0")/../.."
python3 scripts/abi-doc.py --check
