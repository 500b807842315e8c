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
/* Could a first backup make the repository of the settings?  Says why not and
   what to do, in the words of a backup: FAULT_NOTFOUND when the folder in
   which it would be made is missing, FAULT_USAGE when something else is in
   its place, FAULT_IO.  Changes nothing. */
int door_new_place (const struct settings *settings, struct fault *f);
/* 0 when the repository is there, or door_new_place says that it may be made;
   what else is wrong with one that is there shows when it is opened. */
int door_some_place (const struct settings *settings, struct fault *f);
/* A session with the engine of the settings. */
int door_engine (const struct settings *settings, struct engine **out,
                 struct fault *f);

#endif /* DOOR_H */
