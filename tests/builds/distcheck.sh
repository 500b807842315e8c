#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# make distcheck, and that the tarball holds what git tracks and no more than
# the generated files beside it.
set -eu
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
mkdir "$work/b"
cd "$work/b"
"$TOP/configure" -q
make -s -j2 distcheck
tar tf chainlift-*.tar.xz | sed 's,^[^/]*/,,' | grep -v '/$' | grep . \
  | sort >"$work/dist"
if [ -d "$TOP/.git" ] || [ -f "$TOP/.git" ]; then
  git -C "$TOP" ls-files | sort >"$work/git"
  comm -13 "$work/dist" "$work/git" >"$work/lost"
  if [ -s "$work/lost" ]; then
    echo "tracked but not in the tarball:"
    cat "$work/lost"
    exit 1
  fi
  comm -23 "$work/dist" "$work/git" | grep -vxE \
    'aclocal\.m4|configure|config\.h\.in~?|Makefile\.in|compile|depcomp|install-sh|missing|test-driver|config\.(guess|sub)|ar-lib' \
    >"$work/more" || true
  if [ -s "$work/more" ]; then
    echo "in the tarball but not tracked:"
    cat "$work/more"
    exit 1
  fi
fi
