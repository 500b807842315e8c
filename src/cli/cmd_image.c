/* SPDX-License-Identifier: Apache-2.0 */
/* `chainlift image map|flatten|check`: the image code by itself, for the
   administrator and for the tests; needs no engine and no configuration. */
#include <config.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cancel.h"
#include "base/fault.h"
#include "cli/args.h"
#include "cli/cmd.h"
#include "cli/image_check.h"
#include "cli/image_flatten.h"
#include "cli/image_map.h"
#include "cli/image_open.h"
#include "cli/output.h"
#include "image/chain.h"
#include "image/qcow2.h"

static int
run_map (const struct args *args, const struct options *options,
         const char *format, struct fault *f)
{
  CLEANUP (image_open_free) struct image_open *o = NULL;

  if (args->word_count != 2)
    return fault_set (f, FAULT_USAGE, 0,
                      "image map needs one FILE; see chainlift image --help");
  if (image_open (args->words[1], format, args_flag (args, "follow-backing"),
                  &o, f)
      < 0)
    return -1;
  return image_map (image_open_chain (o), options->json, f);
}

static int
run_flatten (const struct args *args, const char *format, struct fault *f)
{
  CLEANUP (image_open_free) struct image_open *o = NULL;
  const char *to = args_value (args, "output-format");
  struct chain *c;

  if (args->word_count != 3)
    return fault_set (
        f, FAULT_USAGE, 0,
        "image flatten needs TOP and OUT; see chainlift image --help");
  if (to == NULL)
    to = "raw";
  if (strcmp (to, "raw") != 0 && strcmp (to, "qcow2") != 0)
    return fault_set (f, FAULT_USAGE, 0,
                      "output format \"%s\" is not known, use raw or qcow2",
                      to);
  if (strcmp (args->words[2], "-") == 0 && isatty (STDOUT_FILENO))
    return fault_set (f, FAULT_USAGE, 0,
                      "image flatten: an image is not written to a terminal; "
                      "redirect the output");
  if (image_open (args->words[1], format, args_flag (args, "follow-backing"),
                  &o, f)
      < 0)
    return -1;
  c = image_open_chain (o);
  if (!chain_complete (c))
    return fault_set (f, FAULT_USAGE, 0,
                      "%s: has the backing file \"%s\"; add --follow-backing",
                      args->words[1],
                      qcow2_header (chain_qcow2 (c, 0))->backing);
  return image_flatten (o, args->words[2], strcmp (to, "qcow2") == 0, f);
}

static int
run_check (const struct args *args, const struct options *options,
           const char *format, struct fault *f)
{
  if (args->word_count != 2)
    return fault_set (f, FAULT_USAGE, 0,
                      "image check needs one FILE; see chainlift image --help");
  if (strcmp (format, "qcow2") != 0)
    return fault_set (f, FAULT_USAGE, 0,
                      "only a qcow2 image can be checked, not %s", format);
  return image_check (args->words[1], options->json, f);
}

static int
run (const struct args *args, const struct options *options, struct fault *f)
{
  const char *format = args_value (args, "format");
  const char *what = args->words[0];

  if (format == NULL)
    format = "qcow2";
  if (strcmp (what, "map") == 0)
    return run_map (args, options, format, f);
  if (strcmp (what, "flatten") == 0)
    return run_flatten (args, format, f);
  if (strcmp (what, "check") == 0)
    return run_check (args, options, format, f);
  return fault_set (f, FAULT_USAGE, 0,
                    "image %s is not known, use map, flatten or check", what);
}

static const struct args_option table[] = {
  { "format", 'f', "FORMAT", "format of the file: qcow2 (default) or raw" },
  { "output-format", 'O', "FORMAT", "format of OUT: raw (default) or qcow2" },
  { "follow-backing", 0, NULL, "with the backing files, from the same folder" },
  { NULL, 0, NULL, NULL },
};

const struct command cmd_image = {
  .name = "image",
  .usage = "map [-f FORMAT] [--follow-backing] FILE\n"
           "flatten [-f FORMAT] [-O FORMAT] [--follow-backing] TOP OUT\n"
           "check FILE",
  .summary = "show, merge or check image files",
  .help = "Map prints where the data of an image is; with --json exactly as "
          "qemu-img map.\n"
          "Flatten writes one image without a backing file; OUT may be -, the "
          "standard\noutput.\n"
          "Check reads all tables of a qcow2 image and compares its "
          "refcounts.\n"
          "Formats are never guessed: that of FILE is -f, that of a backing "
          "file is what\nthe header of the image above it records.\n",
  .options = table,
  .word = "map, flatten or check",
  .min = 1,
  .max = 3,
  .run = run,
};
