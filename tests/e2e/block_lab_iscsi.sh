#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The variant of the lab's block domain over iSCSI with multipath.
export PYTHONDONTWRITEBYTECODE=1
exec python3 "$(dirname "$0")/../lab/test_block.py" --iscsi
