/* SPDX-License-Identifier: Apache-2.0 */
/* The host keys that the engine knows (pins), and whether a key that a host
   shows is one of them.  Text only, no SSH library.

   A pin is a public key line, "TYPE BASE64 [COMMENT]", or a fingerprint,
   "SHA256:BASE64".  Lines count before fingerprints, which do not tell the
   type of the key. */
#ifndef HOSTKEY_H
#define HOSTKEY_H

#include <stdbool.h>
#include <stddef.h>

struct fault;

#define HOSTKEY_PINS_MAX 32
#define HOSTKEY_LINE_MAX 16384
#define HOSTKEY_TRIES_MAX 8

/* Lists of algorithms, one for each type of key that is pinned (a fingerprint
   alone: all types).  Each is offered in a connection of its own, until the
   host shows a pinned key. */
struct hostkey_plan {
  unsigned count;
  const char *algorithms[HOSTKEY_TRIES_MAX];
};

/* FAULT_HOSTKEY, for the host NAME, when there is no pin that can be used. */
int hostkey_plan (const char *name, const char *const *pins, size_t pin_count,
                  struct hostkey_plan *plan, struct fault *f);

/* Is the key with this BASE64 blob and FINGERPRINT ("SHA256:...") pinned? */
bool hostkey_pinned (const char *const *pins, size_t pin_count,
                     const char *base64, const char *fingerprint);

#endif /* HOSTKEY_H */
