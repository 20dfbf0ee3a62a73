#!/usr/bin/env bash
# venv.sh CACHE REQUIREMENTS: creates a virtual environment in CACHE with exactly the packages of REQUIREMENTS.
set -euo pipefail
cache=$(realpath "$1") requirements=$(realpath "$2")
python=${PYTHON:-python3}

made_of=$({ cat "$0" "$requirements"; "$python" --version; } | sha256sum)
[ "$(cat "$cache/stamp" 2>/dev/null)" != "$made_of" ] || exit 0

"$python" -m venv --clear "$cache/venv"
"$cache/venv/bin/pip" install --quiet --disable-pip-version-check --no-input --no-deps -r "$requirements"
echo "$made_of" >"$cache/stamp"
