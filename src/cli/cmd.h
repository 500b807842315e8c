/* SPDX-License-Identifier: Apache-2.0 */
/* The commands, one file each.  Commands that list or do one thing return
   their exit status (0, or 1 for different results and leftovers) or -1 with
   the fault, which main reports and turns into the status. */
#ifndef CMD_H
#define CMD_H

struct args;
struct args_option;
struct fault;
struct options;

struct command {
  const char *name;
  const char *usage;   /* arguments, "" for none */
  const char *summary; /* one line of the list of commands */
  const char *help;    /* more lines for "COMMAND --help", or NULL */
  const struct args_option *options;
  const char *word; /* what is missing with fewer than MIN words */
  unsigned min;     /* words */
  unsigned max;
  int (*run) (const struct args *args, const struct options *options,
              struct fault *f);
};

extern const struct command cmd_config_check;
extern const struct command cmd_hosts;
extern const struct command cmd_vms;
extern const struct command cmd_backup;
extern const struct command cmd_points;
extern const struct command cmd_show;
extern const struct command cmd_verify;
extern const struct command cmd_restore;
extern const struct command cmd_leftovers;
extern const struct command cmd_unlock;
extern const struct command cmd_image;

#endif /* CMD_H */
