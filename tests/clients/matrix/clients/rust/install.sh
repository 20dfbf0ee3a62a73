#!/usr/bin/env bash
# install.sh CACHE: builds the client of ../../../rust in the target folder of the other suites, and copies it.
set -euo pipefail
cache=$(realpath "$1")
cd "$(dirname "$0")/../../../rust"

# Like rust_target() of tests/clients/programs.py: never the target folder of the broker.
target=${CARGO_TARGET_DIR:+$CARGO_TARGET_DIR/rust-client}
export CARGO_TARGET_DIR=${target:-$(realpath ../../..)/.cache/rust-client}
# Cargo detects changes.
cargo build --quiet --locked
cp --force --link "$CARGO_TARGET_DIR/debug/credenza-rust-client" "$cache/rust" 2>/dev/null \
  || cp --force "$CARGO_TARGET_DIR/debug/credenza-rust-client" "$cache/rust"
