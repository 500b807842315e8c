/* SPDX-License-Identifier: Apache-2.0 */
/* The chain of an image file that the administrator named. */
#ifndef IMAGE_OPEN_H
#define IMAGE_OPEN_H

#include <stdbool.h>

#include "base/cleanup.h"

struct chain;
struct fault;
struct image_open;

/* Open PATH as FORMAT ("qcow2" or "raw").  FOLLOW: with its backing files,
   which are names in the folder of PATH, ../FOLDER/NAME of that same folder,
   or in a repository ../POINT/DISK-ID.qcow2; their format is the one that the
   header records and is never probed; no symbolic link is followed. */
int image_open (const char *path, const char *format, bool follow,
                struct image_open **out, struct fault *f);
void image_open_free (struct image_open *o);
CLEANUP_DEFINE (image_open_free, struct image_open);
/* Borrowed. */
struct chain *image_open_chain (struct image_open *o);
/* Another chain over the same files, for another thread; O must outlive it,
   chain_free frees it. */
int image_open_again (const struct image_open *o, struct chain **out,
                      struct fault *f);

#endif /* IMAGE_OPEN_H */
