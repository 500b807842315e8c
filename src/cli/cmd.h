/* SPDX-License-Identifier: Apache-2.0 */
/* The commands, one file each.  argv[0] is the name of the command.  They
   return the exit status (0, or 1 for different results and leftovers), or
   -1 with the fault, which main reports and turns into the status. */
#ifndef CMD_H
#define CMD_H

struct fault;
struct options;

typedef int (*cmd_fn) (int argc, char **argv, const struct options *options,
                       struct fault *f);

int cmd_config_check (int argc, char **argv, const struct options *options,
                      struct fault *f);

#endif /* CMD_H */
