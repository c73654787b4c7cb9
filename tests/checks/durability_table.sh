#!/usr/bin/env bash
# The tables of spec/06 §20 and §21 in tests/unit/README.md are complete, and the tests that they name are there.
set -euo pipefail
cd "$(dirname "$0")/../.."
python3 tests/checks/durability_table.py
