#!/usr/bin/env bash
# install.sh CACHE: a virtual environment of its own.
set -euo pipefail
cd "$(dirname "$0")"
cache=$1
made_of=$(cat install.sh requirements.txt | sha256sum)
[ "$(cat "$cache/stamp" 2>/dev/null)" != "$made_of" ] || exit 0
python3 -m venv --clear "$cache/venv"
"$cache/venv/bin/pip" install --quiet --disable-pip-version-check --no-input -r requirements.txt
echo "$made_of" >"$cache/stamp"
