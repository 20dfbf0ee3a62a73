#!/usr/bin/env bash
# install.sh CACHE: installs the packages of package-lock.json, without running their scripts.
set -euo pipefail
cache=$(realpath "$1")
cd "$(dirname "$0")"

made_of=$({ cat install.sh package.json package-lock.json; node --version; } | sha256sum)
[ "$(cat "$cache/stamp" 2>/dev/null)" != "$made_of" ] || exit 0

rm -rf "${cache:?}"/*
cp package.json package-lock.json "$cache"
npm ci --prefix "$cache" --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel error >/dev/null
echo "$made_of" >"$cache/stamp"
