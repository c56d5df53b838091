/* Any bytes as a config file: refused in one line, or a config that is written as a text which
 * gives the same config again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "train/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static bp_config *parse(const char *text, size_t count) {
    bp_config *config;
    if (bp_config_create(&config) != BP_OK)
        abort();
    bp_status status = bp_config_parse_json(config, text, count, "fuzz", BP_MODEL);
    if (status == BP_OK)
        return config;
    const char *message = bp_status_message();
    if ((status != BP_USAGE && status != BP_MODEL) || message[0] == 0 || strchr(message, '\n'))
        abort();
    bp_config_destroy(config);
    return NULL;
}

static char *written(const bp_config *config) {
    char *text;
    if (bp_config_to_json(config, &text) != BP_OK)
        abort();
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    bp_config *config = parse((const char *)bytes, count);
    if (config == NULL)
        return 0;
    struct bp_settings settings;
    (void)bp_config_resolve(config, BP_COMMAND_TRAIN, &settings);
    char *text = written(config);
    bp_config *again = parse(text, strlen(text));
    if (again == NULL)
        abort();
    char *text_again = written(again);
    if (strcmp(text, text_again) != 0)
        abort();
    bp_free(text_again);
    bp_config_destroy(again);
    bp_free(text);
    bp_config_destroy(config);
    return 0;
}
