#!/usr/bin/env bash
# The SDK as Debian has it, in the versions of packages.txt, unpacked in the folder that is given: nothing is installed.
set -euo pipefail
cache=$(realpath "$1")
cd "$(dirname "$0")"

made_of=$({ cat install.sh packages.txt; ruby --version; } | sha256sum)
[ "$(cat "$cache/stamp" 2>/dev/null)" != "$made_of" ] || exit 0

rm -rf "${cache:?}"/*
mapfile -t packages <packages.txt
mkdir -p "$cache/lists/partial" "$cache/debs"
cd "$cache/debs"
download() { # options of apt-get
  # As root apt-get fetches as a user of its own, who may not be allowed to write here.
  apt-get -qq -o APT::Sandbox::User=root "$@" download "${packages[@]}" >"$cache/log" 2>&1
}
# Where the machine's own lists of packages are missing or old, lists of our own.
lists=(-o Dir::State::Lists="$cache/lists" -o Dir::Cache="$cache/lists")
download \
  || { apt-get -qq -o APT::Sandbox::User=root "${lists[@]}" update >>"$cache/log" 2>&1 && download "${lists[@]}"; } \
  || { cat "$cache/log" >&2; exit 1; }
for package in *.deb; do dpkg-deb --extract "$package" "$cache"; done
rm -rf "$cache/lists" "$cache/debs" "$cache/usr/share/doc"
echo "$made_of" >"$cache/stamp"
