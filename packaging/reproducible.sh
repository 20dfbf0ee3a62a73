#!/usr/bin/env bash
# Builds the last commit twice, in different surroundings: folder, target folder, cargo's home, language, time zone, umask
# and number of jobs. Fails when the two binaries differ in one bit.
#
#   reproducible.sh TARGET…     make targets whose binary is compared: build, static (both by default)
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- build static

scratch=$(mktemp -d)
cargo_home=${CARGO_HOME:-$HOME/.cargo}
unset CARGO_TARGET_DIR RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_TARGET_DIR
git diff --quiet HEAD -- || echo "!!! there are changes that are not committed; what is built is $(git rev-parse --short HEAD)" >&2

clone() { git clone --quiet --no-hardlinks . "$scratch/$1"; }

first() (
  cd "$scratch/one"
  LC_ALL=C TZ=UTC make "$1"
)

second() (
  cd "$scratch/another/folder/as/deep"
  umask 077
  LC_ALL=C.UTF-8 TZ=Asia/Kathmandu CARGO_HOME="$scratch/home" CARGO_TARGET_DIR="$scratch/target" CARGO_BUILD_JOBS=1 make "$1"
)

binary() { # make target, folder that cargo built in
  local host
  host=$(rustc -vV | sed -n 's/^host: //p')
  case $1 in
    build) echo "$2/release/credenza" ;;
    static) echo "$2/$host/release/credenza" ;;
  esac
}

clone one
clone "another/folder/as/deep"
# The downloads are the same; the other home unpacks them again.
mkdir -p "$scratch/home/registry"
for part in index cache; do
  [ ! -d "$cargo_home/registry/$part" ] || cp -a "$cargo_home/registry/$part" "$scratch/home/registry/"
done
[ ! -f "$cargo_home/config.toml" ] || cp "$cargo_home/config.toml" "$scratch/home/"

failed=0
for target in "$@"; do
  first "$target"
  second "$target"
  one=$(binary "$target" "$scratch/one/target")
  other=$(binary "$target" "$scratch/target")
  sha256sum "$one" "$other"
  if cmp "$one" "$other"; then
    echo "reproducible: make $target gives $(sha256sum <"$one" | cut -d' ' -f1) twice"
  else
    failed=1
    echo "NOT reproducible: make $target; \`diffoscope $one $other\` says where (both are kept)" >&2
  fi
  for path in "$scratch" "$cargo_home"; do
    ! grep -qaF "$path" "$one" || { failed=1; echo "NOT clean: $one names $path" >&2; }
  done
done
((failed)) || rm -rf "$scratch"
exit "$failed"
