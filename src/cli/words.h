/* SPDX-License-Identifier: Apache-2.0 */
/* Names of the program in words for people.  JSON, logs of --verbose and man
   pages keep the names. */
#ifndef WORDS_H
#define WORDS_H

/* What happens in the phase of that name ("t0"): "checking the layers (t0)".
   A name that is not known is returned itself. */
const char *words_phase (const char *name);

#endif /* WORDS_H */
