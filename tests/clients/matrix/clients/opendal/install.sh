#!/usr/bin/env bash
# install.sh CACHE: creates a virtual environment.
exec "$(dirname "$0")/../../python/venv.sh" "$1" "$(dirname "$0")/requirements.txt"
