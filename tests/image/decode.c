/* SPDX-License-Identifier: Apache-2.0 */
/* decode FILE: the disk of a qcow2 image on stdout, read by libqcow, which
   shares no code with us nor with QEMU. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <libqcow.h>

#define PIECE (1 << 20)

int
main (int argc, char **argv)
{
  libqcow_error_t *error = NULL;
  libqcow_file_t *file = NULL;
  uint8_t *data = malloc (PIECE);
  size64_t size = 0;

  if (argc != 2 || data == NULL || libqcow_file_initialize (&file, &error) != 1
      || libqcow_file_open (file, argv[1], LIBQCOW_OPEN_READ, &error) != 1
      || libqcow_file_get_media_size (file, &size, &error) != 1) {
    libqcow_error_fprint (error, stderr);
    return 1;
  }
  for (uint64_t at = 0; at < size;) {
    size_t n = size - at < PIECE ? (size_t)(size - at) : PIECE;
    ssize_t got = libqcow_file_read_buffer (file, data, n, &error);

    if (got != (ssize_t)n) {
      fprintf (stderr, "read %zu at %llu gives %zd\n", n,
               (unsigned long long)at, got);
      return 1;
    }
    if (fwrite (data, 1, n, stdout) != n)
      return 1;
    at += n;
  }
  return fflush (stdout) != 0;
}
