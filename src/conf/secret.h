/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's password, from a file that only we can read or from a command.
   It is never in argv, in the environment or in a log. */
#ifndef SECRET_H
#define SECRET_H

#include "base/cleanup.h"

struct fault;
struct settings;

#define SECRET_MAX 1024     /* bytes of a password */
#define SECRET_COMMAND_S 30 /* the longest that password_command may take */

/* The password of the engine as a string that the caller gives to
   secret_free, or NULL.  A file must be a regular one, owned by root or by
   the user that runs us, without rights for group and others; its first line
   counts.  A command runs as /bin/sh -c COMMAND with stdin from /dev/null;
   the first line of its output counts and its exit status must be 0. */
char *secret_engine_password (const struct settings *s, struct fault *f);

/* Overwrites the string before it frees it; NULL is a no-op. */
void secret_free (char *secret);
CLEANUP_DEFINE (secret_free, char);

#endif /* SECRET_H */
