# SPDX-License-Identifier: Apache-2.0
# Sourced by demo.sh, check.sh, long.sh and the bench: what is needed from
# Debian, and builds in build*/ of the checkout.
#
#   setup_packages            install what is missing (root and apt-get)
#   setup_build DIR ARG...    autoreconf if needed, configure DIR, make
#
# TOP is the checkout.  Nothing is written outside of TOP but packages.

TOP=$(cd "$(dirname "$0")" && while [ ! -f configure.ac ]; do
  [ "$PWD" != / ] || exit 1
  cd ..
done && pwd) || {
  echo "$0: no configure.ac above this script" >&2
  exit 2
}
export TOP
LC_ALL=C.UTF-8
export LC_ALL
PATH=$PATH:/usr/sbin:/sbin
export PATH

setup_packages ()
{
  missing=
  for package in $(cat "$TOP/tests/packages"); do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null \
      | grep -q 'ok installed' || missing="$missing $package"
  done
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" != 0 ]; then
    echo "these Debian packages are missing, install them as root:" \
      "apt-get install$missing" >&2
    return 1
  fi
  echo "installing packages:$missing"
  # One after the other with anybody else's apt-get on this machine.
  DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 \
    update >/dev/null
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 \
    --no-install-recommends install $missing >/tmp/chainlift-apt.$$ 2>&1 || {
    tail -n 20 /tmp/chainlift-apt.$$ >&2
    rm -f /tmp/chainlift-apt.$$
    return 1
  }
  rm -f /tmp/chainlift-apt.$$
}

setup_build ()
{
  dir=$TOP/$1
  shift
  if [ ! -x "$TOP/configure" ] || [ "$TOP/configure.ac" -nt "$TOP/configure" ] \
    || [ "$TOP/Makefile.am" -nt "$TOP/configure" ]; then
    (cd "$TOP" && autoreconf -fi) >"$TOP/autoreconf.log" 2>&1 || {
      cat "$TOP/autoreconf.log" >&2
      return 1
    }
    rm -f "$TOP/autoreconf.log"
  fi
  mkdir -p "$dir"
  if [ ! -f "$dir/config.status" ] \
    || [ "$TOP/configure" -nt "$dir/config.status" ]; then
    (cd "$dir" && "$TOP/configure" -q "$@") >"$dir/setup.log" 2>&1 || {
      tail -n 30 "$dir/setup.log" >&2
      return 1
    }
  fi
  make -s -C "$dir" -j2 >"$dir/make.log" 2>&1 || {
    tail -n 60 "$dir/make.log" >&2
    return 1
  }
  # A warning is a defect, also where it does not stop the build.
  if grep -q 'warning:' "$dir/make.log"; then
    grep -A 4 'warning:' "$dir/make.log" >&2
    return 1
  fi
}
