/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/uuid.h"
#include "base/xmem.h"
#include "cli/door.h"
#include "cli/output.h"
#include "conf/settings.h"
#include "job/site.h"
#include "repo/place.h"

int
door_settings (const struct options *options, struct settings **out,
               struct fault *f)
{
  return settings_load (options->config_file, out, f);
}

int
door_place (const struct settings *settings, struct place **out,
            struct fault *f)
{
  if (settings_need_repository (settings, f) != 0)
    return -1;
  return place_open (settings->repository, false, out, f);
}

/* What a repository that is being made may hold; place.c makes it so. */
static bool
is_beginning (const char *name)
{
  static const char *const names[]
      = { ".",     "..",  "lost+found", "chainlift.new", "vms",
          "bases", "tmp", "journal",    "leases" };

  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (strcmp (name, names[i]) == 0)
      return true;
  }
  return false;
}

static int
check_parent (const char *path, struct fault *f)
{
  CLEANUP_FREE char *parent = xstrdup (path);
  char *slash;

  while ((slash = strrchr (parent, '/')) != NULL && slash != parent
         && slash[1] == '\0')
    *slash = '\0';
  if (slash == NULL || slash == parent)
    strcpy (parent, "/");
  else
    *slash = '\0';
  if (access (parent, F_OK) != 0 && errno == ENOENT)
    return fault_set (f, FAULT_NOTFOUND, 0,
                      "open repository %s: its parent folder is missing: "
                      "mkdir -p %s",
                      path, parent);
  if (access (parent, W_OK | X_OK) != 0)
    return fault_set (f, FAULT_IO, errno, "repository %s: make it in %s", path,
                      parent);
  return 0;
}

int
door_new_place (const struct settings *settings, struct fault *f)
{
  const char *path = settings->repository;
  struct dirent *entry;
  DIR *dir;
  int rc = 0;

  if (settings_need_repository (settings, f) != 0)
    return -1;
  dir = opendir (path);
  if (dir == NULL && errno == ENOENT)
    return check_parent (path, f);
  if (dir == NULL)
    return fault_set (f, errno == ENOTDIR ? FAULT_USAGE : FAULT_IO, errno,
                      "open repository %s", path);
  while (rc == 0 && (entry = readdir (dir)) != NULL) {
    if (!is_beginning (entry->d_name))
      rc = fault_set (f, FAULT_USAGE, 0,
                      "%s is no repository and not empty (%s is in it); give "
                      "an empty folder",
                      path, entry->d_name);
  }
  closedir (dir);
  if (rc == 0 && access (path, W_OK | X_OK) != 0)
    rc = fault_set (f, FAULT_IO, errno, "make repository %s", path);
  return rc;
}

int
door_some_place (const struct settings *settings, struct fault *f)
{
  CLEANUP_FREE char *format = NULL;

  if (settings_need_repository (settings, f) != 0)
    return -1;
  format = xasprintf ("%s/chainlift", settings->repository);
  if (access (format, F_OK) == 0 || errno != ENOENT)
    return 0;
  return door_new_place (settings, f);
}

int
door_engine (const struct settings *settings, struct engine **out,
             struct fault *f)
{
  char run_id[TAG_RUN_SIZE];

  uuid_hex (run_id, TAG_RUN_SIZE - 1);
  return site_login (settings, run_id, out, f);
}
