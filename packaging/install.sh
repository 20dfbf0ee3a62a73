#!/usr/bin/env bash
# install.sh BINARY ROOT PREFIX: installs the program, units, completions, manual pages and documents below ROOT.
#
# `make install` calls it with DESTDIR as ROOT. The tarball and the Debian package are made with it.
set -euo pipefail
binary=$(realpath "$1") root=$2 prefix=$3
cd "$(dirname "$0")/.."

put() { # mode, source, place below the prefix
  install -D -m "$1" "$2" "$root$prefix/$3"
}

generated=$(mktemp -d)
trap 'rm -rf "$generated"' EXIT
"$binary" manual "$generated/man"
for shell in bash zsh fish; do
  "$binary" completions "$shell" >"$generated/$shell"
done
mkdir "$generated/units"
# The units name the program where the Debian package has it.
for unit in systemd/*.service systemd/*.socket systemd/user/*.service systemd/user/*.socket; do
  mkdir -p "$generated/units/$(dirname "$unit")"
  sed "s|/usr/bin/credenza|$prefix/bin/credenza|" "$unit" >"$generated/units/$unit"
done

put 755 "$binary" bin/credenza
for unit in "$generated"/units/systemd/*.*; do
  put 644 "$unit" "lib/systemd/system/${unit##*/}"
done
for unit in "$generated"/units/systemd/user/*.*; do
  put 644 "$unit" "lib/systemd/user/${unit##*/}"
done
put 644 systemd/credenza.sysusers lib/sysusers.d/credenza.conf
put 644 "$generated/bash" share/bash-completion/completions/credenza
put 644 "$generated/zsh" share/zsh/site-functions/_credenza
put 644 "$generated/fish" share/fish/vendor_completions.d/credenza.fish
for page in "$generated"/man/*.1; do
  put 644 "$page" "share/man/man1/${page##*/}"
done
for text in README.md CHANGELOG.md SECURITY.md LICENSE config/credenza.toml systemd/drop-ins/*.conf; do
  put 644 "$text" "share/doc/credenza/${text##*/}"
done
# Those that a user of the program reads, where the links of README.md lead.
for text in AUDIT CONFIGURATION CONTAINERS CLIENTS MIGRATING RECIPES REMOVE SYSTEMD TROUBLESHOOTING; do
  put 644 "docs/$text.md" "share/doc/credenza/docs/$text.md"
done
