#!/usr/bin/env bash
# release-notes.sh VERSION: prints the section of CHANGELOG.md about this version, without its heading.
set -euo pipefail
cd "$(dirname "$0")/.."
notes=$(awk -v heading="## [$1]" 'index($0, heading) == 1 { on = 1; next } /^## / { on = 0 } on' CHANGELOG.md)
[ -n "$notes" ] || { echo "release-notes.sh: CHANGELOG.md has no section [$1]" >&2; exit 1; }
echo "$notes"
