#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The engine of the lab: by itself, then over real storage.
lab=$(dirname "$0")/../lab
export PYTHONDONTWRITEBYTECODE=1
python3 "$lab/test_engine.py" || exit
exec python3 "$lab/test_cycle.py"
