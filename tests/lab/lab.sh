#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The lab: an engine, hypervisors and storage in namespaces of this machine.
# `lab.sh help` tells the commands.
umask 022
here=$(cd "$(dirname "$0")" && pwd) || exit 1
export PYTHONDONTWRITEBYTECODE=1 LC_ALL=C.UTF-8
case ${1:-help} in
  ctl)
    shift
    exec /usr/bin/python3 "$here/ctl.py" "$@"
    ;;
  *) exec /usr/bin/python3 "$here/lab.py" "$@" ;;
esac
