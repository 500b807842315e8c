/* SPDX-License-Identifier: Apache-2.0 */
/* What every command prints on stdout, as text for people or as JSON, and
   the words for sizes, times and durations. */
#ifndef OUTPUT_H
#define OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fault;

#define OUTPUT_WORD_SIZE 64

/* The global options, as main read them; borrowed by every command. */
struct options {
  const char *config_file; /* NULL: the default */
  bool json;
  bool quiet;
  bool verbose;
};

/* "0 B", "512 B", "1.5 KiB", "20.0 GiB": one decimal from KiB on. */
void output_size (uint64_t bytes, char out[static OUTPUT_WORD_SIZE]);
/* The same a second: "120 MiB/s". */
void output_rate (uint64_t bytes_per_second, char out[static OUTPUT_WORD_SIZE]);
/* "0.4 s", "12 s", "3 min 05 s", "2 h 07 min", "3 d 04 h". */
void output_duration (uint64_t ms, char out[static OUTPUT_WORD_SIZE]);
/* Local time: "2026-11-20 02:00:00 +0100". */
void output_time (int64_t seconds, char out[static OUTPUT_WORD_SIZE]);
/* Columns of the terminal on FD, or 0 when it is none. */
unsigned output_width (int fd);
/* Columns that the UTF-8 string S takes; broken bytes and control characters
   count as the one column that output_clean prints for them. */
size_t output_columns (const char *s);
/* A copy of S that is safe for a terminal: control characters and what is
   not UTF-8 become '?'.  The caller frees it. */
char *output_clean (const char *s);

/* A clean copy of at most COLUMNS columns; what is cut off leaves an ellipsis
   (in UTF-8).  The caller frees it. */
char *output_cut (const char *s, size_t columns);

/* Is stdout a pipe that nobody reads any more? */
bool output_gone (void);
/* Flush stdout; FAULT_IO when anything that was printed did not arrive. */
int output_flush (struct fault *f);

#endif /* OUTPUT_H */
