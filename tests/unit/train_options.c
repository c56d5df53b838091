#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/train_options.h"

bp_config *train_with(const char *const *options) {
    bp_config *config;
    assert_int_equal(bp_config_create(&config), BP_OK);
    for (; options[0] != NULL; options += 2)
        if (bp_config_set(config, options[0], options[1], COMMAND_LINE) != BP_OK)
            fail_msg("%s", bp_last_error());
    return config;
}

struct bp_settings train_settings_of(bp_config *config) {
    struct bp_settings settings;
    if (bp_config_resolve(config, BP_COMMAND_TRAIN, &settings) != BP_OK)
        fail_msg("%s", bp_last_error());
    return settings;
}
