/* SPDX-License-Identifier: Apache-2.0 */
/* Processes of this host, by /proc. */
#ifndef PROC_H
#define PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* What the kernel keeps of the name of our two processes. */
#define PROC_HELPER "chainlift-remot"

/* The first bytes of /proc/PID/NAME into OUT, with a NUL; their count, or -1
   (the process has ended). */
ssize_t proc_read (pid_t pid, const char *name, char *out, size_t size);
/* The first process for which IS says true; 0: none. */
pid_t proc_find (bool (*is) (pid_t pid, void *opaque), void *opaque);
/* A worker without its guard has been killed, and lives as long as the storage
   keeps it waiting.  Its process, 0: there is none. */
pid_t proc_orphan (void);
/* Is PID a process of a helper? */
bool proc_is_helper (pid_t pid);

#endif /* PROC_H */
