#!/usr/bin/env bash
# Runs every fuzz target, or those named, for FUZZ_SECONDS each, and goes on after one that fails.
#
# seeds/ is what is kept, corpus/ what the fuzzer found on this machine. No sanitizer: the program forbids `unsafe`, and
# without one a stable compiler will do.
set -uo pipefail
cd "$(dirname "$0")"
export RUSTC_BOOTSTRAP=1

command -v c++ >/dev/null || { echo "make fuzz: a C++ compiler is needed to build libFuzzer (Debian: apt-get install g++)" >&2; exit 1; }
target_dir=${CARGO_TARGET_DIR:-$PWD/target}
[ -z "${CARGO_TARGET_DIR:-}" ] || target_dir=$target_dir/fuzz
# One target writes files, as fast as it can.
[ -w /dev/shm ] && fast=/dev/shm || fast=${TMPDIR:-/tmp}

[ $# -gt 0 ] || mapfile -t all < <(cargo fuzz list --fuzz-dir .)
[ $# -gt 0 ] || set -- "${all[@]}"
failed=()
for target in "$@"; do
  mkdir -p "corpus/$target"
  echo "=== $target, ${FUZZ_SECONDS:-60} s"
  options=(--fuzz-dir . --sanitizer none --target-dir "$target_dir" "$target")
  cargo fuzz build "${options[@]}" && TMPDIR=$fast cargo fuzz run "${options[@]}" "corpus/$target" "seeds/$target" -- \
    -max_total_time="${FUZZ_SECONDS:-60}" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -print_funcs=0 -verbosity=0 || failed+=("$target")
done
((${#failed[@]} == 0)) && { echo "$# targets found nothing"; exit; }
echo "FAILED: ${failed[*]}; what did it is in fuzz/artifacts: mend it, and keep the input in fuzz/seeds" >&2
exit 1
