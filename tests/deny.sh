#!/usr/bin/env bash
# deny.toml against what the program is made of. Advisories need their database; where it cannot be had, that is said
# and the rest counts.
set -uo pipefail
cd "$(dirname "$0")/.."

deny() { cargo deny --locked --config deny.toml "$@"; }

failed=0
# The crates of every platform are looked at; a build has fetched those of this one.
cargo fetch --quiet --locked || failed=1
deny --offline check licenses bans sources || failed=1
if told=$(timeout 120 cargo deny --locked --config deny.toml fetch db 2>&1); then
  deny --offline check advisories || failed=1
else
  echo "!!! advisories were NOT checked: their database cannot be fetched here: ${told##*$'\n'}" >&2
fi
exit "$failed"
