#!/usr/bin/env bash
# uninstall.sh ROOT PREFIX: removes what install.sh has installed below ROOT, and says what is left.
#
# `make uninstall` calls it with DESTDIR as ROOT. It removes no configuration, no token, no key and no cache.
set -euo pipefail
root=$1 prefix=$2
at=$root$prefix

units=(credenza.service credenza.socket)
if [ -z "$root" ] && [ -d /run/systemd/system ] && systemctl --quiet is-active "${units[@]}" 2>/dev/null &&
  [ -e "$at/lib/systemd/system/credenza.service" ]; then
  echo "uninstall.sh: the daemon of the system runs; end it first: systemctl disable --now ${units[*]}" >&2
  exit 1
fi

for unit in "${units[@]}"; do
  rm -f "$at/lib/systemd/system/$unit" "$at/lib/systemd/user/$unit"
done
rm -f "$at/bin/credenza" "$at/lib/sysusers.d/credenza.conf"
rm -f "$at/share/bash-completion/completions/credenza" "$at/share/zsh/site-functions/_credenza" \
  "$at/share/fish/vendor_completions.d/credenza.fish"
rm -f "$at"/share/man/man1/credenza.1 "$at"/share/man/man1/credenza-*.1
rm -rf "$at/share/doc/credenza"
# Folders that are empty now. Others may belong to other programs.
for folder in lib/systemd/system lib/systemd/user lib/systemd lib/sysusers.d share/bash-completion/completions \
  share/bash-completion share/zsh/site-functions share/zsh share/fish/vendor_completions.d share/fish share/man/man1 \
  share/man share/doc share lib bin; do
  [ ! -d "$at/$folder" ] || rmdir --ignore-fail-on-non-empty "$at/$folder"
done

echo "removed: the program, its units, completions, manual pages and documents below $at"
left=()
for path in /etc/credenza /etc/credstore /etc/systemd/system/credenza.service.d /run/credenza /var/lib/credenza; do
  [ "$path" = /etc/credstore ] && ! compgen -G "$root$path/credenza.*" >/dev/null && continue
  [ ! -e "$root$path" ] || left+=("$root$path")
done
[ -n "$root" ] || ! getent passwd credenza >/dev/null || left+=("the user credenza")
[ ${#left[@]} = 0 ] || { echo "left, since it may hold configuration or keys:"; printf '  %s\n' "${left[@]}"; }
echo "left in the homes of users: ~/.config/credenza, ~/.local/state/credenza, and lines in ~/.aws/config and in shell files;"
echo "docs/REMOVE.md lists all of them"
