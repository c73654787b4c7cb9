#!/usr/bin/env bash
# Prints the folder that holds the distribution's libnode (V8) and its headers, unpacked by scripts/setup.sh; keyed by the distribution's release.
. /etc/os-release
echo "${XDG_CACHE_HOME:-$HOME/.cache}/lightcone/node-${ID:-linux}${VERSION_ID:-}-$(uname -m)"
