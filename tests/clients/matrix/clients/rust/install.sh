#!/usr/bin/env bash
# The client of ../../../rust, built where the other suites build it, and its program in the folder that is given.
set -euo pipefail
cache=$(realpath "$1")
cd "$(dirname "$0")/../../../rust"

# As rust_target() of tests/clients/programs.py has it: never in the target folder of the broker.
target=${CARGO_TARGET_DIR:+$CARGO_TARGET_DIR/rust-client}
export CARGO_TARGET_DIR=${target:-$(realpath ../../..)/.cache/rust-client}
# Cargo itself knows what has changed.
cargo build --quiet --locked
cp --force --link "$CARGO_TARGET_DIR/debug/credenza-rust-client" "$cache/rust" 2>/dev/null \
  || cp --force "$CARGO_TARGET_DIR/debug/credenza-rust-client" "$cache/rust"
