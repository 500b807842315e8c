#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The block domains of the lab: what the scripts block_*.sh rely on.
export PYTHONDONTWRITEBYTECODE=1
exec python3 "$(dirname "$0")/../lab/test_block.py"
