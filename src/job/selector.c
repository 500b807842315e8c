/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/fault.h"
#include "base/uuid.h"
#include "base/xmem.h"
#include "job/selector.h"

enum kind { KIND_NAME, KIND_ID, KIND_TAG, KIND_CLUSTER };

struct pattern {
  char *text;  /* as the user wrote it */
  char *value; /* behind "!" and the prefix; points into text */
  enum kind kind;
  bool exclude;
  bool matched;
};

struct selector {
  struct pattern *patterns;
  size_t count;
  bool any_include;
};

static int
parse (struct pattern *p, const char *text, struct fault *f)
{
  static const struct {
    const char *prefix;
    enum kind kind;
  } prefixes[] = {
    { "vm:", KIND_ID },
    { "tag:", KIND_TAG },
    { "cluster:", KIND_CLUSTER },
  };

  p->text = xstrdup (text);
  p->value = p->text;
  if (p->value[0] == '!') {
    p->exclude = true;
    p->value++;
  }
  for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
    size_t n = strlen (prefixes[i].prefix);

    if (strncmp (p->value, prefixes[i].prefix, n) == 0) {
      p->kind = prefixes[i].kind;
      p->value += n;
      break;
    }
  }
  if (p->value[0] == '\0')
    return fault_set (f, FAULT_USAGE, 0,
                      "selector \"%s\": names nothing; use a name, a glob, "
                      "vm:ID, tag:T or cluster:C, with ! in front to exclude",
                      text);
  if (p->kind == KIND_ID && !uuid_valid (p->value))
    return fault_set (f, FAULT_USAGE, 0,
                      "selector \"%s\": the id of a VM looks like " UUID_BLANK,
                      text);
  return 0;
}

struct selector *
selector_new (const char *const *patterns, size_t count, struct fault *f)
{
  CLEANUP (selector_free) struct selector *s = NULL;

  if (count == 0 || count > SELECTOR_MAX) {
    fault_set (f, FAULT_USAGE, 0, "from 1 to %d selectors are needed",
               SELECTOR_MAX);
    return NULL;
  }
  s = xcalloc (1, sizeof *s);
  s->patterns = xcalloc (count, sizeof *s->patterns);
  for (size_t i = 0; i < count; i++) {
    s->count++;
    if (parse (&s->patterns[i], patterns[i], f) != 0)
      return NULL;
    if (!s->patterns[i].exclude)
      s->any_include = true;
  }
  return steal_ptr (&s);
}

void
selector_free (struct selector *s)
{
  if (s == NULL)
    return;
  for (size_t i = 0; i < s->count; i++)
    free (s->patterns[i].text);
  free (s->patterns);
  free (s);
}

/* A name that holds glob characters itself is found by itself too. */
static bool
same (const char *pattern, const char *text)
{
  return strcmp (pattern, text) == 0 || fnmatch (pattern, text, 0) == 0;
}

static bool
matches (const struct pattern *p, const struct selector_vm *vm)
{
  switch (p->kind) {
  case KIND_NAME:
    return same (p->value, vm->name);
  case KIND_ID:
    return strcasecmp (p->value, vm->id) == 0;
  case KIND_CLUSTER:
    return same (p->value, vm->cluster_name)
           || strcasecmp (p->value, vm->cluster_id) == 0;
  case KIND_TAG:
    for (size_t i = 0; i < vm->tag_count; i++) {
      if (same (p->value, vm->tags[i]))
        return true;
    }
    return false;
  }
  return false;
}

bool
selector_match (struct selector *s, const struct selector_vm *vm)
{
  bool included = !s->any_include;
  bool excluded = false;

  for (size_t i = 0; i < s->count; i++) {
    struct pattern *p = &s->patterns[i];

    if (!matches (p, vm))
      continue;
    p->matched = true;
    if (p->exclude)
      excluded = true;
    else
      included = true;
  }
  return included && !excluded;
}

const char *
selector_unmatched (const struct selector *s, size_t *index)
{
  while (*index < s->count) {
    const struct pattern *p = &s->patterns[(*index)++];

    if (!p->exclude && !p->matched)
      return p->text;
  }
  return NULL;
}
