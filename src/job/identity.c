/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "job/identity.h"

#define VALUE_MAX 60 /* bytes of a value that are shown */

static const struct {
  const char *key;
  const char *words;
} keys[] = {
  { "domain", "it is in another storage domain" },
  { "group", "its volume group was made anew" },
  { "version", "its storage domain was upgraded" },
  { "volume", "the chain has other volumes" },
  { "image", "it belongs to another disk" },
  { "parent", "it stands over another volume" },
  { "format", "it has another format" },
  { "legality", "vdsm marked it" },
  { "voltype", "vdsm changed its type" },
  { "generation", "vdsm copied or merged something into it" },
  { "created", "it was made anew" },
  { "capacity", "its capacity changed" },
  { "inode", "its file was replaced" },
  { "lv", "its logical volume was removed and made anew" },
  { "size", "its size changed" },
  { "slot", "its metadata are at another place" },
  { "ranges", "its logical volume lies on other extents" },
  { "io", "it is not read as before" },
  { "head", "its header or its first table was written to" },
};

/* One line: "layer N KEY VALUE" or "KEY VALUE". */
struct line {
  const char *text;
  size_t size;
  const char *key;
  size_t key_size;
};

/* Take the line at *TEXT; false at the end. */
static bool
take_line (const char **text, struct line *out)
{
  const char *p = *text;
  const char *end = p + strcspn (p, "\n");

  if (*p == '\0')
    return false;
  *out = (struct line){ .text = p, .size = (size_t)(end - p), .key = p };
  if (strncmp (p, "layer ", 6) == 0) {
    p += 6;
    p += strspn (p, "0123456789");
    out->key = *p == ' ' ? p + 1 : p;
  }
  out->key_size = strcspn (out->key, " \n");
  *text = *end == '\n' ? end + 1 : end;
  return true;
}

static bool
is_key (const struct line *l, const char *key)
{
  return l->key_size == strlen (key) && memcmp (l->key, key, l->key_size) == 0;
}

static const char *
words_of (const struct line *l)
{
  for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
    if (is_key (l, keys[i].key))
      return keys[i].words;
  }
  return "it changed";
}

/* What stands behind the key, cut. */
static int
value (const struct line *l, const char **start)
{
  size_t size = l->size - (size_t)(l->key - l->text) - l->key_size;

  *start = l->key + l->key_size + (size > 0);
  size -= size > 0;
  return (int)(size < VALUE_MAX ? size : VALUE_MAX);
}

void
identity_differs (const char *was, const char *now,
                  char out[static IDENTITY_WORDS_MAX])
{
  struct line a;
  struct line b;
  struct line volume = { .text = "", .key = "" };
  const char *before;
  const char *after;
  int before_size;
  int after_size;

  out[0] = '\0';
  while (take_line (&was, &a)) {
    if (is_key (&a, "volume"))
      volume = a;
    b = (struct line){ .text = "", .key = "" };
    if (take_line (&now, &b) && a.size == b.size
        && memcmp (a.text, b.text, a.size) == 0)
      continue;
    before_size = value (&a, &before);
    after_size = value (&b, &after);
    snprintf (out, IDENTITY_WORDS_MAX, "%.*s%s%s (was %.*s, is %.*s)",
              volume.size > 0 ? (int)(volume.text + volume.size - volume.key)
                              : 0,
              volume.key, volume.size > 0 ? ": " : "", words_of (&a),
              before_size, before, after_size, after);
    return;
  }
  if (*now != '\0')
    snprintf (out, IDENTITY_WORDS_MAX, "there is more than before");
}
