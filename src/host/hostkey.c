/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "host/hostkey.h"

/* The algorithms by which a key of that type proves itself; SHA-1 is none. */
static const struct {
  const char *type;
  const char *algorithms;
} key_types[] = {
  { "ssh-ed25519", "ssh-ed25519" },
  { "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256" },
  { "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384" },
  { "ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521" },
  { "ssh-rsa", "rsa-sha2-512,rsa-sha2-256" },
};

enum {
  KEY_TYPES = sizeof key_types / sizeof key_types[0],
};

_Static_assert(KEY_TYPES <= HOSTKEY_TRIES_MAX, "tries");

static bool
is_fingerprint (const char *pin)
{
  return strncmp (pin, "SHA256:", 7) == 0;
}

/* Index of the type of a key line, or -1. */
static int
type_of (const char *pin)
{
  size_t len = strcspn (pin, " ");

  if (pin[len] == '\0' || strlen (pin) > HOSTKEY_LINE_MAX)
    return -1;
  for (int t = 0; t < KEY_TYPES; t++) {
    if (strlen (key_types[t].type) == len
        && strncmp (key_types[t].type, pin, len) == 0)
      return t;
  }
  return -1;
}

static int
no_pin (const char *name, const char *unknown, struct fault *f)
{
  if (unknown != NULL)
    return fault_set (f, FAULT_HOSTKEY, 0,
                      "host %s: the engine knows only an SSH host key of the "
                      "type %.40s, which is not supported; give the host an "
                      "Ed25519, ECDSA or RSA host key and fetch it in the "
                      "engine (Hosts, Edit)",
                      name, unknown);
  return fault_set (f, FAULT_HOSTKEY, 0,
                    "host %s: the engine has no SSH host key to compare with; "
                    "fetch the host's public key in the engine (Hosts, Edit)",
                    name);
}

int
hostkey_plan (const char *name, const char *const *pins, size_t pin_count,
              struct hostkey_plan *plan, struct fault *f)
{
  const char *unknown = NULL;
  bool have[KEY_TYPES] = { false };
  bool lines = false;
  bool fingerprints = false;

  *plan = (struct hostkey_plan){ 0 };
  if (pin_count > HOSTKEY_PINS_MAX)
    return fault_set (f, FAULT_HOSTKEY, 0,
                      "host %s: the engine has %zu SSH host keys, over the "
                      "maximum of %d",
                      name, pin_count, HOSTKEY_PINS_MAX);
  for (size_t i = 0; i < pin_count; i++) {
    int type = type_of (pins[i]);

    if (is_fingerprint (pins[i]))
      fingerprints = true;
    else if (type >= 0)
      have[type] = lines = true;
    else
      unknown = pins[i];
  }
  if (!lines && !fingerprints)
    return no_pin (name, unknown, f);
  for (unsigned t = 0; t < KEY_TYPES; t++) {
    if (have[t] || !lines)
      plan->algorithms[plan->count++] = key_types[t].algorithms;
  }
  return 0;
}

static bool
matches (const char *pin, const char *base64, const char *fingerprint)
{
  size_t len;

  if (is_fingerprint (pin)) {
    len = strcspn (pin, "= \r\n");
    return len == strlen (fingerprint) && strncmp (pin, fingerprint, len) == 0;
  }
  if (type_of (pin) < 0)
    return false;
  pin += strcspn (pin, " ");
  pin += strspn (pin, " ");
  len = strcspn (pin, " \r\n");
  return len > 0 && len == strlen (base64) && strncmp (pin, base64, len) == 0;
}

bool
hostkey_pinned (const char *const *pins, size_t pin_count, const char *base64,
                const char *fingerprint)
{
  for (size_t i = 0; i < pin_count; i++) {
    if (matches (pins[i], base64, fingerprint))
      return true;
  }
  return false;
}
