/* SPDX-License-Identifier: Apache-2.0 */
#include <config.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/uuid.h"
#include "cli/door.h"
#include "cli/output.h"
#include "conf/secret.h"
#include "conf/settings.h"
#include "engine/login.h"
#include "repo/place.h"

#define RUN_DIGITS 12

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
  CLEANUP (secret_free) char *password = NULL;
  char run_id[RUN_DIGITS + 1];
  struct login_params params = {
    .url = settings->engine.url,
    .ca_file = settings->engine.ca_file,
    .user = settings->engine.user,
    .run_id = run_id,
    .poll_ms = settings->engine.poll_ms,
    .retry_s = settings->engine.retry_s,
    .busy_s = settings->engine.busy_s,
  };

  if (settings_need_engine (settings, f) != 0)
    return -1;
  password = secret_engine_password (settings, f);
  if (password == NULL)
    return -1;
  uuid_hex (run_id, RUN_DIGITS);
  params.password = password;
  return login_open (&params, out, f);
}
