/* SPDX-License-Identifier: Apache-2.0 */
/* The host's lvm, run by the guard as root: an absolute path, a clean
   environment, no shell, no descriptors but three.  A command that does not
   end in its time is left alone, as one that is killed may leave devices
   suspended and locks behind; no other is begun before it has ended. */
#ifndef LVM_H
#define LVM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "remote/lvtext.h"

struct fault;

#define LVM_WAIT_MS 60000
#define LVM_ERRORS_SIZE 4096

struct lvm {
  const char *path; /* NULL until probed */
  enum lvtext_style style;
  pid_t hung; /* a command that did not end in its time, 0: none */
};

/* What a command did; lvm_result_reset frees it. */
struct lvm_result {
  int status; /* of its exit; -1: killed by a signal */
  char *out;  /* NUL-terminated, at most LVTEXT_OUT_MAX bytes */
  bool cut;   /* it printed more */
  char errors[LVM_ERRORS_SIZE];
};

/* Find it and its version, once. */
int lvm_probe (struct lvm *l, struct fault *f);
/* Run "lvm COMMAND [ARGS] [NAMES as SD/NAME]"; ARGS and NAMES are terminated
   by NULL.  The devices are G's; READ_ONLY: see lvtext_config.  0 when it
   ended, whatever its status. */
int lvm_run (struct lvm *l, const char *sd, const struct group_spec *g,
             bool read_only, const char *command, const char *const *args,
             const char *const *names, struct lvm_result *out, struct fault *f);
/* The same, four times while it fails in a way that may pass: the SPM may be
   writing the group's metadata. */
int lvm_try (struct lvm *l, const char *sd, const struct group_spec *g,
             bool read_only, const char *command, const char *const *args,
             const char *const *names, struct lvm_result *out, struct fault *f);
void lvm_result_reset (struct lvm_result *r);
/* A process of this host that is about to change the activation of VOLUME of
   SD, or, with NULL, to activate any volume of it, whoever began it; 0: none. */
pid_t lvm_changes (const char *sd, const char *volume);

#endif /* LVM_H */
