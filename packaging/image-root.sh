#!/bin/sh
# image-root.sh BINARY FOLDER   makes the content of the image: FOLDER/root (of root) and FOLDER/shared (of the broker)
set -eu
binary=$1 folder=$2
authorities=${CA_BUNDLE:-/etc/ssl/certs/ca-certificates.crt}

if LC_ALL=C grep -q -a -F /ld-linux "$binary"; then
  echo "image-root.sh: $binary wants a dynamic loader, which the image does not have (make static builds one that does not)" >&2
  exit 1
fi
[ -s "$authorities" ] || {
  echo "image-root.sh: no certificate authorities at $authorities (Debian: apt-get install ca-certificates)" >&2
  exit 1
}
umask 022
rm -rf "$folder/root" "$folder/shared"
mkdir -p "$folder/root/usr/bin" "$folder/root/etc/ssl/certs" "$folder/root/home/credenza" "$folder/shared"
install -m 755 "$binary" "$folder/root/usr/bin/credenza"
install -m 644 "$authorities" "$folder/root/etc/ssl/certs/ca-certificates.crt"
echo 'credenza:x:65532:65532:Credenza:/home/credenza:/usr/bin/credenza' >"$folder/root/etc/passwd"
echo 'credenza:x:65532:' >"$folder/root/etc/group"
