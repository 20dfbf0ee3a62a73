#!/usr/bin/env bash
# install.sh CACHE: installs the program of requirements.txt in a virtual environment.
exec "$(dirname "$0")/../../python/venv.sh" "$1" "$(dirname "$0")/requirements.txt"
