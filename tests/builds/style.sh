#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The rules of form that are cheap to hold as tests: see style.py.
set -eu
cd "$TOP"
find src remote tests -name '*.[ch]' -print0 \
  | xargs -0 clang-format-14 --dry-run -Werror
exec /usr/bin/python3 tests/builds/style.py
