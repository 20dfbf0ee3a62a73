#!/usr/bin/env bash
# The program that requirements.txt pins, in an environment of its own in the folder that is given.
set -euo pipefail
cache=$(realpath "$1")
cd "$(dirname "$0")"
python=${PYTHON:-python3}

made_of=$({ cat install.sh requirements.txt; "$python" --version; } | sha256sum)
[ "$(cat "$cache/stamp" 2>/dev/null)" != "$made_of" ] || exit 0

"$python" -m venv --clear "$cache/venv"
"$cache/venv/bin/pip" install --quiet --disable-pip-version-check --no-input --no-deps -r requirements.txt
echo "$made_of" >"$cache/stamp"
