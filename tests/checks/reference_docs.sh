#!/usr/bin/env bash
# docs/reference/ lists what the tables in the source say.
set -euo pipefail
cd "$(dirname "$0")/../.."
python3 scripts/reference-docs.py --check
