#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The lab itself: what all other scripts here rely on.
exec bash "$(dirname "$0")/../lab/test_lab.sh"
