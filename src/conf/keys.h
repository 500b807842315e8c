/* SPDX-License-Identifier: Apache-2.0 */
/* The table of configuration keys, and one text of libconfig read by it.
   Used by settings.c only. */
#ifndef KEYS_H
#define KEYS_H

struct fault;
struct settings;

/* Put what TEXT sets into S.  PATH is for messages.  FAULT_CONF names file
   and line. */
int keys_read (const char *text, const char *path, struct settings *s,
               struct fault *f);

#endif /* KEYS_H */
