/* SPDX-License-Identifier: Apache-2.0 */
/* What a connection needs before SSH begins: the TCP connection and the
   private key's text. */
#ifndef DIAL_H
#define DIAL_H

#include <stdint.h>

struct fault;

#define DIAL_KEY_MAX 65536 /* bytes of a private key file */

/* Connect to ADDRESS (name or IP) and PORT until DEADLINE_MS of stamp_mono_ms;
   each address of a name is tried.  A non-blocking socket with TCP_NODELAY and
   keep-alive, that gives up unacknowledged data after STALL_MS.  -1 with
   FAULT_NET or FAULT_CANCELLED. */
int dial_tcp (const char *address, unsigned port, uint64_t deadline_ms,
              unsigned stall_ms, struct fault *f);

/* Least round-trip time of FD so far, in microseconds; 0 = not known. */
unsigned dial_rtt_us (int fd);

/* The private key in PATH; the caller frees it by dial_key_free.  FAULT_CONF
   when it is missing, unreadable, no regular file, too large, or readable by
   others. */
char *dial_key_read (const char *path, struct fault *f);
/* Wipe and free. */
void dial_key_free (char *key);

#endif /* DIAL_H */
