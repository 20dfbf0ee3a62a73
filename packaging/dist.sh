#!/usr/bin/env bash
# dist.sh tarball BINARY FOLDER   a tarball to unpack over /usr/local (or --strip-components elsewhere)
# dist.sh deb BINARY FOLDER       a Debian package
#
# The same binary gives the same bytes: sorted names, the time of the last commit, no owner of this machine.
set -euo pipefail
kind=$1 binary=$(realpath "$2") folder=$3
here=$(cd "$(dirname "$0")" && pwd)
version=$("$binary" --version | cut -d ' ' -f 2)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$here" log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
chmod 755 "$stage"
umask 022
mkdir -p "$folder"

tarball() {
  local name
  name=credenza-$version-$(uname -m)-linux
  "$here/install.sh" "$binary" "$stage/root" /usr/local
  mv "$stage/root/usr/local" "$stage/$name"
  tar --create --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -C "$stage" "$name" |
    gzip -9n >"$folder/$name.tar.gz"
  echo "$folder/$name.tar.gz"
}

deb() {
  local architecture root=$stage/root size libc depends
  architecture=$(dpkg --print-architecture)
  "$here/install.sh" "$binary" "$root" /usr
  # Merged /usr or not: Debian's systemd reads units here.
  install -D -m 644 "$here/../config/credenza.toml" "$root/etc/credenza/credenza.toml"
  mv "$root/usr/share/doc/credenza/LICENSE" "$root/usr/share/doc/credenza/copyright"
  gzip -9n "$root"/usr/share/man/man1/*.1 "$root/usr/share/doc/credenza/CHANGELOG.md"
  # zsh looks elsewhere on Debian.
  mkdir -p "$root/usr/share/zsh/vendor-completions"
  mv "$root/usr/share/zsh/site-functions/_credenza" "$root/usr/share/zsh/vendor-completions/"
  rmdir "$root/usr/share/zsh/site-functions"
  # The newest symbol version of the C library that the program needs. A static program needs none.
  command -v objdump >/dev/null || { echo "dist.sh: objdump is missing (Debian: binutils)" >&2; exit 1; }
  libc=$(objdump -T "$binary" 2>/dev/null | sed -n 's/.*GLIBC_\([0-9.]*\).*/\1/p' | sort -uV | tail -1)
  depends=${libc:+"libc6 (>= $libc), libgcc-s1, "}
  size=$(du -sk "$root" | cut -f 1)
  mkdir "$root/DEBIAN"
  sed "s|@VERSION@|$version|; s|@ARCHITECTURE@|$architecture|; s|@DEPENDS@|$depends|; s|@SIZE@|$size|" \
    "$here/debian/control" >"$root/DEBIAN/control"
  install -m 755 "$here"/debian/{postinst,prerm,postrm} "$root/DEBIAN/"
  install -m 644 "$here/debian/conffiles" "$root/DEBIAN/"
  find "$root" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +
  dpkg-deb --root-owner-group -Zgzip --build "$root" "$folder/credenza_${version}_$architecture.deb" >/dev/null
  echo "$folder/credenza_${version}_$architecture.deb"
}

case $kind in
tarball | deb) "$kind" ;;
*) sed -n '2,5s/^# //p' "$0" >&2 && exit 2 ;;
esac
