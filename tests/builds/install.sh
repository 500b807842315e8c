#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# make install into a DESTDIR: the program runs, the helper is static and
# small, the man pages are there.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/b"
cd "$work/b"
"$TOP/configure" -q --prefix=/usr --sysconfdir=/etc CFLAGS='-O2'
make -s -j2
make -s install-strip DESTDIR="$work/d"
cd "$work/d"
find . -type f | sort
./usr/bin/chainlift --version
helper=usr/libexec/chainlift/chainlift-remote
size=$(stat -c %s "$helper")
[ "$size" -le 1572864 ] || { echo "$helper has $size bytes"; exit 1; }
if readelf -l "$helper" | grep -q INTERP; then
  echo "$helper is linked dynamically"
  exit 1
fi
for page in man1/chainlift.1 man5/chainlift.conf.5 \
  man5/chainlift-repository.5 man7/chainlift-wire.7 man8/chainlift-remote.8; do
  [ -s "usr/share/man/$page" ] || { echo "no man page $page"; exit 1; }
  mandoc -T lint -W warning "usr/share/man/$page"
done
