/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/uuid.h"
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

int
door_engine (const struct settings *settings, struct engine **out,
             struct fault *f)
{
  char run_id[TAG_RUN_SIZE];

  uuid_hex (run_id, TAG_RUN_SIZE - 1);
  return site_login (settings, run_id, out, f);
}
