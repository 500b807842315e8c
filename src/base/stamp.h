/* SPDX-License-Identifier: Apache-2.0 */
/* Time as text: 20261120T010000Z (UTC), and the engine's ISO 8601. */
#ifndef STAMP_H
#define STAMP_H

#include <stdint.h>

#define STAMP_SIZE 17 /* 20261120T010000Z and the NUL */

struct fault;

/* UNIX seconds to the compact form. */
void stamp_format (int64_t seconds, char out[static STAMP_SIZE]);
/* The compact form to UNIX seconds; -1 with FAULT_USAGE when malformed. */
int stamp_parse (const char *s, int64_t *seconds, struct fault *f);
/* The engine's date, 2024-05-01T10:20:30.123+02:00 or ...Z; the fraction is
   dropped.  -1 with FAULT_PROTO when malformed. */
int stamp_parse_iso (const char *s, int64_t *seconds, struct fault *f);
/* Now: UNIX seconds, and monotonic milliseconds for intervals. */
int64_t stamp_now (void);
uint64_t stamp_mono_ms (void);

#endif /* STAMP_H */
