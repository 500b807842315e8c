# SPDX-License-Identifier: Apache-2.0
# The kill table of backups with a guard: before and after each attachment and
# each detaching.  The machine has one disk.
KEEP=1
GUARD=1
STOPS='snapshot:3 guard guard:2 guard:3 t0 stream publish:2 release guard:4
  guard:5 release:2'
REMOTE_STOPS='t0 stream'
. "$(dirname "$0")/kill_backup.sh"
