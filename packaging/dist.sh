#!/usr/bin/env bash
# dist.sh tarball BINARY FOLDER   a tarball to unpack over /usr/local (or --strip-components elsewhere)
# dist.sh deb BINARY FOLDER       two Debian packages: the program, and the daemon of the system
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

# Debian gives a daemon that is started at its installation a package of its own: a laptop gets the program alone.
deb() {
  local architecture root=$stage/credenza daemon=$stage/credenza-daemon libc depends
  architecture=$(dpkg --print-architecture)
  "$here/install.sh" "$binary" "$root" /usr
  mv "$root/usr/share/doc/credenza/LICENSE" "$root/usr/share/doc/credenza/copyright"
  gzip -9n "$root"/usr/share/man/man1/*.1 "$root/usr/share/doc/credenza/CHANGELOG.md"
  # zsh looks elsewhere on Debian.
  mkdir -p "$root/usr/share/zsh/vendor-completions"
  mv "$root/usr/share/zsh/site-functions/_credenza" "$root/usr/share/zsh/vendor-completions/"
  rmdir "$root/usr/share/zsh/site-functions"
  mkdir -p "$daemon/usr/lib/systemd" "$daemon/usr/share/doc/credenza-daemon"
  # Merged /usr or not: Debian's systemd reads units here.
  mv "$root/usr/lib/systemd/system" "$daemon/usr/lib/systemd/"
  mv "$root/usr/lib/sysusers.d" "$daemon/usr/lib/"
  install -D -m 644 "$here/../config/credenza.toml" "$daemon/etc/credenza/credenza.toml"
  cp "$root/usr/share/doc/credenza/copyright" "$daemon/usr/share/doc/credenza-daemon/"
  # The newest symbol version of the C library that the program needs. A static program needs none.
  command -v objdump >/dev/null || { echo "dist.sh: objdump is missing (Debian: binutils)" >&2; exit 1; }
  libc=$(objdump -T "$binary" 2>/dev/null | sed -n 's/.*GLIBC_\([0-9.]*\).*/\1/p' | sort -uV | tail -1)
  depends=${libc:+"libc6 (>= $libc), libgcc-s1"}
  package credenza "$architecture" "$depends"
  package credenza-daemon all ""
}

package() { # name, architecture, dependencies of the program; the files are in $stage/NAME
  local root=$stage/$1 from=$here/debian/$1 size file
  size=$(du -sk "$root" | cut -f 1)
  mkdir "$root/DEBIAN"
  # A field without a value is an error.
  sed "s|@VERSION@|$version|g; s|@ARCHITECTURE@|$2|; s|@DEPENDS@|$3|; s|@SIZE@|$size|" "$from/control" |
    sed '/^Depends: *$/d' >"$root/DEBIAN/control"
  for file in preinst postinst prerm postrm; do
    [ ! -e "$from/$file" ] || install -m 755 "$from/$file" "$root/DEBIAN/"
  done
  [ ! -e "$from/conffiles" ] || install -m 644 "$from/conffiles" "$root/DEBIAN/"
  find "$root" -newermt "@$SOURCE_DATE_EPOCH" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +
  dpkg-deb --root-owner-group -Zgzip --build "$root" "$folder/$1_${version}_$2.deb" >/dev/null
  echo "$folder/$1_${version}_$2.deb"
}

case $kind in
tarball | deb) "$kind" ;;
*) sed -n '2,5s/^# //p' "$0" >&2 && exit 2 ;;
esac
