# SPDX-License-Identifier: Apache-2.0
# Sourced by tables of kills, which define begin_all (runs of the crew) and
# cleaned NAME (what must hold when `leftovers --clean` was there).
halt_all ()
{
  CHAINLIFT_STOP_AT=$1
  export CHAINLIFT_STOP_AT
  begin_all
  unset CHAINLIFT_STOP_AT
  crew_at "$1"
}

controller ()
{
  halt_all "$1"
  crew_kill
  cleaned "controllers killed at $1"
}

# Worker and guard, by themselves in the middle of a phase.
helper ()
{
  CHAINLIFT_STOP_REMOTE=$1
  export CHAINLIFT_STOP_REMOTE
  begin_all
  unset CHAINLIFT_STOP_REMOTE
  crew_ended 6 7
  cleaned "helpers killed at $1"
}
