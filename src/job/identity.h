/* SPDX-License-Identifier: Apache-2.0 */
/* Pure: what differs between two identities of the same layers (see IDENTIFY in
   chainlift-wire(7)), in words for the administrator. */
#ifndef IDENTITY_H
#define IDENTITY_H

#define IDENTITY_WORDS_MAX 256

/* The first line of WAS that NOW does not have, as "volume ID: its logical
   volume was made anew (was ..., is ...)"; "" when they are equal. */
void identity_differs (const char *was, const char *now,
                       char out[static IDENTITY_WORDS_MAX]);

#endif /* IDENTITY_H */
