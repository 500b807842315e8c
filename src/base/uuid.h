/* SPDX-License-Identifier: Apache-2.0 */
/* UUIDs as the engine writes them (36 characters), and run ids. */
#ifndef UUID_H
#define UUID_H

#include <stdbool.h>

#define UUID_SIZE 37 /* with the NUL */
#define UUID_BLANK "00000000-0000-0000-0000-000000000000"

/* Exactly 8-4-4-4-12 hexadecimal digits; the only form that is ever put into
   a path. */
bool uuid_valid (const char *s);
/* A random (version 4) UUID. */
void uuid_make (char out[static UUID_SIZE]);
/* COUNT random lower-case hexadecimal digits and a NUL. */
void uuid_hex (char *out, unsigned count);

#endif /* UUID_H */
