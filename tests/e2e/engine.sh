#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The engine client against the lab's engine (storage is a table there).
set -u
exec /usr/bin/python3 "$(dirname "$0")/engine_cases.py"
