/* Configs and their settings from options. Include after cmocka.h. */
#ifndef TRAIN_OPTIONS_H
#define TRAIN_OPTIONS_H

#include "train/config.h"

#define COMMAND_LINE "command line"

/* A config with the given names and values, ended by NULL; bp_config_destroy it. */
bp_config *train_with(const char *const *options);
#define WITH(...) train_with((const char *const[]){"data", "somewhere", __VA_ARGS__, NULL})

/* Of bp_train; fails the test if the options are refused. */
struct bp_settings train_settings_of(bp_config *config);

#endif
