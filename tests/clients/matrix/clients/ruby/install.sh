#!/usr/bin/env bash
# install.sh CACHE: unpacks the gems of packages.txt from Debian packages of one release (they are pure Ruby).
# Nothing is installed on the machine: apt works in its own folder, with the archive of the machine.
set -euo pipefail
cache=$(realpath "$1")
cd "$(dirname "$0")"
suite=trixie keyring=/usr/share/keyrings/debian-archive-keyring.gpg

made_of=$(cat install.sh packages.txt | sha256sum)
[ "$(cat "$cache/stamp" 2>/dev/null)" != "$made_of" ] || exit 0

archive=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1)
[ -n "$archive" ] || { echo "apt knows no archive of Debian here: is this Debian, and was apt-get update run?" >&2; exit 1; }

apt=$(mktemp -d)
trap 'rm -rf "$apt"' EXIT
mkdir -p "$apt"/{lists,archives}/partial "$apt/sources"
touch "$apt/status"
echo "deb [signed-by=$keyring] $archive $suite main" >"$apt/sources/debian.list"
own=(-o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$apt/sources" -o Dir::State::lists="$apt/lists")
own+=(-o Dir::State::status="$apt/status" -o Dir::Cache="$apt" -o APT::Sandbox::User= -o Acquire::Languages=none)

rm -rf "${cache:?}"/*
mapfile -t packages <packages.txt
{ apt-get "${own[@]}" update && (cd "$apt/archives" && apt-get "${own[@]}" download "${packages[@]}"); } >"$cache/log" 2>&1 \
  || { cat "$cache/log" >&2; exit 1; }
for package in "$apt"/archives/*.deb; do
  dpkg-deb --extract "$package" "$cache"
done
echo "$made_of" >"$cache/stamp"
