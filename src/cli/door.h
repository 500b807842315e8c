/* SPDX-License-Identifier: Apache-2.0 */
/* What nearly every command opens first. */
#ifndef DOOR_H
#define DOOR_H

struct engine;
struct fault;
struct options;
struct place;
struct settings;

/* The settings that --config names. */
int door_settings (const struct options *options, struct settings **out,
                   struct fault *f);
/* The repository of the settings, which must be there. */
int door_place (const struct settings *settings, struct place **out,
                struct fault *f);
/* A session with the engine of the settings. */
int door_engine (const struct settings *settings, struct engine **out,
                 struct fault *f);

#endif /* DOOR_H */
