#!/usr/bin/env bash
# install.sh CACHE: the program that requirements.txt pins, in an environment of its own.
exec "$(dirname "$0")/../../python/venv.sh" "$1" "$(dirname "$0")/requirements.txt"
