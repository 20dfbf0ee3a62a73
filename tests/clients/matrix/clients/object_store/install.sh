#!/usr/bin/env bash
# install.sh CACHE: a virtual environment of its own.
exec "$(dirname "$0")/../../python/venv.sh" "$1" "$(dirname "$0")/requirements.txt"
