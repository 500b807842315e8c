# SPDX-License-Identifier: Apache-2.0
# 6 nights of 2 VMs (30 of five by tests/long.sh year).
exec sh "$(dirname "$0")/../long/year.sh" 6 1 0 pair web01 db01
