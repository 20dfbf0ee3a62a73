#!/usr/bin/env bash
# workflows.sh ACTIONLINT: lints .github/workflows, and fails if they name a make target that does not exist.
set -euo pipefail
cd "$(dirname "$0")/.."

"$1" .github/workflows/*.yml
mapfile -t commands < <(grep -hoE '\bmake( [a-z][a-z-]*)+' .github/workflows/*.yml | sort -u)
((${#commands[@]} > 0)) || { echo "workflows.sh: no workflow runs make" >&2; exit 1; }
for command in "${commands[@]}"; do
  for target in ${command#make }; do
    grep -q "^$target:" Makefile || { echo "workflows.sh: there is no target $target in the Makefile" >&2; exit 1; }
  done
done
# Each file and each command of make.
files=(.github/workflows/*.yml)
echo "$((${#files[@]} + ${#commands[@]})) passed, 0 failed"
