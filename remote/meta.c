/* SPDX-License-Identifier: Apache-2.0 */
/* DESCRIPTION may hold anything, '=' and non-ASCII too, so a line is split at
   its first '='.  A key that stands twice is refused rather than decided: one
   of the two would be somebody's mistake, and a backup of the wrong parent is
   worse than none. */
#include <config.h>

#include <string.h>

#include "base/fault.h"
#include "remote/meta.h"

struct meta_text {
  const char *value; /* not terminated; NULL while the key was not seen */
  size_t size;
};

enum meta_key {
  KEY_CAP,
  KEY_CTIME,
  KEY_DISKTYPE,
  KEY_DOMAIN,
  KEY_FORMAT,
  KEY_GEN,
  KEY_IMAGE,
  KEY_LEGALITY,
  KEY_PUUID,
  KEY_SIZE,
  KEY_VOLTYPE,
  KEY_COUNT,
};

static const char *const keys[KEY_COUNT] = {
  [KEY_CAP] = "CAP",           [KEY_CTIME] = "CTIME",
  [KEY_DISKTYPE] = "DISKTYPE", [KEY_DOMAIN] = "DOMAIN",
  [KEY_FORMAT] = "FORMAT",     [KEY_GEN] = "GEN",
  [KEY_IMAGE] = "IMAGE",       [KEY_LEGALITY] = "LEGALITY",
  [KEY_PUUID] = "PUUID",       [KEY_SIZE] = "SIZE",
  [KEY_VOLTYPE] = "VOLTYPE",
};

static const char *const voltypes[] = {
  [META_LEAF] = "LEAF",
  [META_INTERNAL] = "INTERNAL",
  [META_SHARED] = "SHARED",
};

static const char *const legalities[] = {
  [META_LEGAL] = "LEGAL",
  [META_ILLEGAL] = "ILLEGAL",
  [META_FAKE] = "FAKE",
};

const char *
meta_voltype_name (enum meta_voltype v)
{
  return v >= META_LEAF && v <= META_SHARED ? voltypes[v] : "unknown";
}

const char *
meta_legality_name (enum meta_legality v)
{
  return v >= META_LEGAL && v <= META_FAKE ? legalities[v] : "unknown";
}

bool
meta_is_data (const struct meta *m)
{
  /* 1 and 2 are what engines before 4.2 wrote for system and data disks */
  static const char *const data[] = { "DATA", "1", "2" };

  for (size_t i = 0; i < sizeof data / sizeof data[0]; i++) {
    if (strcmp (m->disktype, data[i]) == 0)
      return true;
  }
  return false;
}

static bool
text_is (const struct meta_text *t, const char *s)
{
  return t->size == strlen (s) && memcmp (t->value, s, t->size) == 0;
}

/* Take one line; keys that we do not use pass. */
static int
take_line (const char *line, size_t size, struct meta_text *found,
           struct fault *f)
{
  const char *eq = memchr (line, '=', size);
  struct meta_text key;

  if (eq == NULL)
    return 0;
  key = (struct meta_text){ line, (size_t)(eq - line) };
  for (int i = 0; i < KEY_COUNT; i++) {
    if (!text_is (&key, keys[i]))
      continue;
    if (found[i].value != NULL)
      return fault_set (f, FAULT_CORRUPT, 0, "metadata: %s= stands twice",
                        keys[i]);
    found[i] = (struct meta_text){ eq + 1, size - (size_t)(eq + 1 - line) };
  }
  return 0;
}

static int
split (const char *text, size_t size, struct meta_text *found, struct fault *f)
{
  size_t pos = 0;
  size_t len;
  const char *end;

  while (pos < size && text[pos] != '\0') {
    end = memchr (text + pos, '\n', size - pos);
    len = end == NULL ? size - pos : (size_t)(end - text) - pos;
    if (len >= 3 && memcmp (text + pos, "EOF", 3) == 0)
      return 0;
    if (len == 4 && memcmp (text + pos, "NONE", 4) == 0)
      break;
    if (take_line (text + pos, len, found, f) < 0)
      return -1;
    pos += len + (end != NULL);
  }
  if (pos == 0)
    return fault_set (f, FAULT_CORRUPT, 0,
                      "metadata: cleared, the volume was removed");
  return fault_set (f, FAULT_CORRUPT, 0, "metadata: cut short, no EOF line");
}

static int
get_number (const struct meta_text *t, const char *key, uint64_t max,
            uint64_t *out, struct fault *f)
{
  uint64_t v = 0;
  bool ok = t->size > 0;

  for (size_t i = 0; ok && i < t->size; i++) {
    ok = t->value[i] >= '0' && t->value[i] <= '9' && v <= max / 10;
    v = v * 10 + (uint64_t)(t->value[i] - '0');
  }
  if (!ok || v > max)
    return fault_set (f, FAULT_CORRUPT, 0, "metadata: %s=%.*s is no number",
                      key, (int)(t->size < 40 ? t->size : 40), t->value);
  *out = v;
  return 0;
}

static int
get_uuid (const struct meta_text *t, const char *key,
          char out[static UUID_SIZE], struct fault *f)
{
  char copy[UUID_SIZE] = "";

  if (t->size == UUID_SIZE - 1)
    memcpy (copy, t->value, t->size);
  if (!uuid_valid (copy))
    return fault_set (f, FAULT_CORRUPT, 0, "metadata: %s=%.*s is no UUID", key,
                      (int)(t->size < 40 ? t->size : 40), t->value);
  memcpy (out, copy, UUID_SIZE);
  return 0;
}

/* The index of T in NAMES[1..COUNT-1]. */
static int
get_choice (const struct meta_text *t, const char *key,
            const char *const *names, int count, int *out, struct fault *f)
{
  for (int i = 1; i < count; i++) {
    if (text_is (t, names[i])) {
      *out = i;
      return 0;
    }
  }
  return fault_set (f, FAULT_CORRUPT, 0, "metadata: %s=%.*s is unknown", key,
                    (int)(t->size < 40 ? t->size : 40), t->value);
}

static int
get_capacity (const struct meta_text *found, uint64_t *out, struct fault *f)
{
  if (found[KEY_CAP].value != NULL)
    return get_number (&found[KEY_CAP], "CAP", META_CAPACITY_MAX, out, f);
  if (found[KEY_SIZE].value == NULL)
    return fault_set (f, FAULT_CORRUPT, 0, "metadata: neither CAP nor SIZE");
  if (get_number (&found[KEY_SIZE], "SIZE", META_CAPACITY_MAX / 512, out, f)
      < 0)
    return -1;
  *out *= 512;
  return 0;
}

static int
require (const struct meta_text *found, struct fault *f)
{
  static const enum meta_key needed[]
      = { KEY_DOMAIN,   KEY_IMAGE,   KEY_PUUID,   KEY_FORMAT,
          KEY_LEGALITY, KEY_VOLTYPE, KEY_DISKTYPE };

  for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
    if (found[needed[i]].value == NULL)
      return fault_set (f, FAULT_CORRUPT, 0,
                        "metadata: no %s=", keys[needed[i]]);
  }
  if (found[KEY_DISKTYPE].size >= META_DISKTYPE_SIZE)
    return fault_set (f, FAULT_CORRUPT, 0, "metadata: DISKTYPE is unknown");
  return 0;
}

int
meta_parse (const char *text, size_t size, struct meta *out, struct fault *f)
{
  static const char *const formats[] = { NULL, "RAW", "COW" };
  struct meta_text found[KEY_COUNT] = { 0 };
  struct meta m = { 0 };
  int format = 0;
  int voltype = 0;
  int legality = 0;

  if (size > META_SIZE_MAX)
    return fault_set (f, FAULT_CORRUPT, 0, "metadata: larger than %d bytes",
                      META_SIZE_MAX);
  if (split (text, size, found, f) < 0 || require (found, f) < 0
      || get_uuid (&found[KEY_DOMAIN], "DOMAIN", m.domain, f) < 0
      || get_uuid (&found[KEY_IMAGE], "IMAGE", m.image, f) < 0
      || get_uuid (&found[KEY_PUUID], "PUUID", m.parent, f) < 0
      || get_choice (&found[KEY_FORMAT], "FORMAT", formats, 3, &format, f) < 0
      || get_choice (&found[KEY_VOLTYPE], "VOLTYPE", voltypes, 4, &voltype, f)
             < 0
      || get_choice (&found[KEY_LEGALITY], "LEGALITY", legalities, 4, &legality,
                     f)
             < 0
      || get_capacity (found, &m.capacity, f) < 0)
    return -1;
  if (found[KEY_GEN].value != NULL
      && get_number (&found[KEY_GEN], "GEN", UINT32_MAX, &m.generation, f) < 0)
    return -1;
  /* Only ever compared: whatever else stands there counts as not told. */
  if (found[KEY_CTIME].value == NULL
      || get_number (&found[KEY_CTIME], "CTIME", UINT32_MAX, &m.created, NULL)
             < 0)
    m.created = 0;
  memcpy (m.disktype, found[KEY_DISKTYPE].value, found[KEY_DISKTYPE].size);
  m.cow = format == 2;
  m.voltype = (enum meta_voltype)voltype;
  m.legality = (enum meta_legality)legality;
  *out = m;
  return 0;
}
