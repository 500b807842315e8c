#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The engine client against a whole lab: snapshots of all its VMs with real
# layers, chains compared with storage, merges.
set -u
here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
trap 'sh "$here/../lab/lab.sh" down "$dir/lab" >/dev/null 2>&1; rm -rf "$dir"' EXIT
trap 'exit 130' INT TERM
sh "$here/../lab/lab.sh" up "$dir/lab" || exit
/usr/bin/python3 "$here/engine_lab.py" "$dir/lab" || exit 1
sh "$here/../lab/lab.sh" residue "$dir/lab"
