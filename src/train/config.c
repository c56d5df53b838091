#include "train/config.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file_io.h"
#include "base/memory.h"
#include "io/json_parse.h"

#define CONFIG_FILE_LIMIT ((size_t)1 << 20)

/* Values are kept as text: what was given is what is written back. */
struct bp_config {
    struct {
        char *text, *origin; /* NULL: not set */
    } value[BP_OPT_COUNT];
};

bp_status bp_config_create(bp_config **out) {
    return bp_alloc(out, sizeof **out, "a config");
}

void bp_config_unset(bp_config *config, enum bp_option_id id) {
    bp_free(config->value[id].text);
    bp_free(config->value[id].origin);
    config->value[id].text = config->value[id].origin = NULL;
}

void bp_config_destroy(bp_config *config) {
    if (config == NULL)
        return;
    for (int id = 0; id < BP_OPT_COUNT; id++)
        bp_config_unset(config, (enum bp_option_id)id);
    bp_free(config);
}

/* Takes the place of an old value only when all memory is there. */
static bp_status store(bp_config *config, enum bp_option_id id, const char *text,
                       const char *origin) {
    char *new_text, *new_origin;
    BP_TRY(bp_copy_string(&new_text, text));
    bp_status status = bp_copy_string(&new_origin, origin);
    if (status != BP_OK) {
        bp_free(new_text);
        return status;
    }
    bp_config_unset(config, id);
    config->value[id].text = new_text;
    config->value[id].origin = new_origin;
    return BP_OK;
}

bp_status bp_config_copy(bp_config **out, const bp_config *config) {
    BP_TRY(bp_config_create(out));
    for (int id = 0; id < BP_OPT_COUNT; id++) {
        if (config->value[id].text == NULL)
            continue;
        bp_status status =
            store(*out, (enum bp_option_id)id, config->value[id].text, config->value[id].origin);
        if (status != BP_OK) {
            bp_config_destroy(*out);
            *out = NULL;
            return status;
        }
    }
    return BP_OK;
}

/* How messages name an option: "--batch", or "batch (in config.json)", or another option's name. */
static void label(char *text, size_t size, const char *name, const char *origin) {
    if (strcmp(origin, "command line") == 0)
        snprintf(text, size, "--%.40s", name);
    else if (strncmp(origin, "--", 2) == 0)
        snprintf(text, size, "%.40s", origin);
    else
        snprintf(text, size, "%.40s (in %.400s)", name, origin);
}

static bp_status unknown_option(const char *name, const char *origin) {
    const char *names[BP_OPT_COUNT];
    for (int id = 0; id < BP_OPT_COUNT; id++)
        names[id] = bp_option_table[id].name;
    const char *near = bp_closest(name, names, BP_OPT_COUNT);
    int typed = strcmp(origin, "command line") == 0;
    const char *dashes = typed ? "--" : "";
    if (near != NULL)
        return bp_fail(BP_USAGE, "unknown option '%s%.60s'%s%.400s; did you mean '%s%s'?", dashes,
                       name, typed ? "" : " in ", typed ? "" : origin, dashes, near);
    return bp_fail(BP_USAGE, "unknown option '%s%.60s'%s%.400s; --help lists all", dashes, name,
                   typed ? "" : " in ", typed ? "" : origin);
}

static bp_status bad_choice(const bp_option *option, const char *name, const char *value) {
    char list[256] = "";
    size_t count = 0;
    for (; option->choices[count] != NULL; count++) {
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", count > 0 ? ", " : "",
                 option->choices[count]);
    }
    const char *near = bp_closest(value, option->choices, count);
    if (near != NULL && strlen(near) > 1)
        return bp_fail(BP_USAGE, "%s %.60s: must be one of %s; did you mean '%s'?", name, value,
                       list, near);
    return bp_fail(BP_USAGE, "%s %.60s: must be one of %s", name, value, list);
}

/* 1 for a word that stands in the place of a number. */
static int is_word(const bp_option *option, const char *value) {
    for (size_t i = 0; option->choices != NULL && option->choices[i] != NULL; i++)
        if (strcmp(value, option->choices[i]) == 0)
            return 1;
    return 0;
}

static bp_status check_number(const bp_option *option, const char *name, const char *value) {
    double number;
    int whole = option->type == BP_OPTION_INT;
    int valid =
        bp_parse_number(value, &number) && number >= option->minimum && number <= option->maximum;
    if (valid && (!whole || strspn(value, "0123456789") == strlen(value)))
        return BP_OK;
    if (is_word(option, value))
        return BP_OK;
    return bp_fail(BP_USAGE, "%s %.60s: must be a %s from %.16g to %.16g%s%s", name, value,
                   whole ? "whole number" : "number", option->minimum, option->maximum,
                   option->choices != NULL ? ", or " : "",
                   option->choices != NULL ? option->choices[0] : "");
}

static bp_status check_time(const bp_option *option, const char *name, const char *value) {
    double seconds;
    if (bp_parse_time(value, &seconds) && seconds >= option->minimum && seconds <= option->maximum)
        return BP_OK;
    return bp_fail(BP_USAGE, "%s %.60s: must be a time from %gs to %gh, such as 90s, 30m or 1h30m",
                   name, value, option->minimum, option->maximum / 3600);
}

/* "true" or "false", or NULL. */
static const char *read_bool(const char *value) {
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(value, words[i]) == 0)
            return words[i % 2];
    return NULL;
}

/* Checks a value; *value may be replaced by its normal form. */
static bp_status check_value(const bp_option *option, const char *name, const char **value) {
    if (**value == 0)
        return bp_fail(BP_USAGE, "%s: must not be empty", name);
    switch (option->type) {
    case BP_OPTION_INT:
    case BP_OPTION_FLOAT:
        return check_number(option, name, *value);
    case BP_OPTION_CHOICE:
        for (size_t i = 0; option->choices[i] != NULL; i++)
            if (strcmp(*value, option->choices[i]) == 0)
                return BP_OK;
        return bad_choice(option, name, *value);
    case BP_OPTION_BOOL: {
        const char *normal = read_bool(*value);
        if (normal == NULL)
            return bp_fail(BP_USAGE, "%s %.60s: must be true or false", name, *value);
        *value = normal;
        return BP_OK;
    }
    case BP_OPTION_TIME:
        return check_time(option, name, *value);
    case BP_OPTION_TEXT:
        if (strlen(*value) >= BP_PATH_BYTES)
            return bp_fail(BP_USAGE, "%s: longer than %d bytes", name, BP_PATH_BYTES - 1);
        return BP_OK;
    }
    return bp_fail(BP_INTERNAL, "option '%s' has no type", option->name);
}

bp_status bp_config_set(bp_config *config, const char *name, const char *value,
                        const char *origin) {
    enum bp_option_id id = bp_option_id_of(name);
    if (id == BP_OPT_COUNT)
        return unknown_option(name, origin);
    char where[512];
    label(where, sizeof where, name, origin);
    BP_TRY(check_value(&bp_option_table[id], where, &value));
    return store(config, id, value, origin);
}

const char *bp_config_from_bundle(const bp_config *config, enum bp_option_id id,
                                  enum bp_option_id *bundle) {
    static const enum bp_option_id bundles[] = {BP_OPT_AUG, BP_OPT_RECIPE};
    for (size_t i = 0; i < sizeof bundles / sizeof bundles[0]; i++) {
        const char *name = config->value[bundles[i]].text;
        const char *value = name != NULL ? bp_option_of_bundle(bundles[i], name, id) : NULL;
        *bundle = bundles[i];
        if (value != NULL)
            return value;
    }
    return NULL;
}

const char *bp_config_get(const bp_config *config, const char *name) {
    enum bp_option_id id = bp_option_id_of(name);
    if (id == BP_OPT_COUNT)
        return NULL;
    const char *text = config->value[id].text;
    enum bp_option_id bundle;
    if (text == NULL)
        text = bp_config_from_bundle(config, id, &bundle);
    return text != NULL ? text : bp_option_table[id].fallback;
}

const char *bp_config_origin(const bp_config *config, const char *name) {
    enum bp_option_id id = bp_option_id_of(name);
    if (id < BP_OPT_COUNT && config->value[id].text != NULL)
        return config->value[id].origin;
    enum bp_option_id bundle;
    if (id < BP_OPT_COUNT && bp_config_from_bundle(config, id, &bundle) != NULL)
        return bp_option_table[bundle].name;
    return "default";
}

int bp_config_is_set(const bp_config *config, const char *name) {
    enum bp_option_id id = bp_option_id_of(name);
    return id < BP_OPT_COUNT && config->value[id].text != NULL;
}

/* --- JSON ------------------------------------------------------------------------------------- */

static bp_status set_from_json(bp_config *config, const char *key, const json_t *value,
                               const char *origin) {
    char text[64];
    double number = json_number_value(value);
    switch (json_typeof(value)) {
    case JSON_NULL:
        return BP_OK; /* the default */
    case JSON_TRUE:
        return bp_config_set(config, key, "true", origin);
    case JSON_FALSE:
        return bp_config_set(config, key, "false", origin);
    case JSON_INTEGER:
        snprintf(text, sizeof text, "%lld", (long long)json_integer_value(value));
        return bp_config_set(config, key, text, origin);
    case JSON_REAL:
        for (int digits = 15; digits <= 17; digits++) {
            snprintf(text, sizeof text, "%.*g", digits, number);
            if (strtod(text, NULL) == number)
                break;
        }
        for (char *c = text; *c != 0; c++)
            *c = *c == ',' ? '.' : *c; /* a locale's decimal comma */
        return bp_config_set(config, key, text, origin);
    case JSON_STRING:
        if (strlen(json_string_value(value)) != json_string_length(value))
            return bp_fail(BP_USAGE, "%s: '%.60s' contains a zero character", origin, key);
        return bp_config_set(config, key, json_string_value(value), origin);
    default:
        return bp_fail(BP_USAGE, "%s: '%.60s' must be a number, a text, true or false", origin,
                       key);
    }
}

bp_status bp_config_parse_json(bp_config *config, const char *text, size_t length, const char *name,
                               bp_status failure) {
    json_error_t error;
    json_t *root;
    bp_status status = bp_json_parse(&root, text, length, name, &error);
    if (status == BP_DATA)
        return bp_fail(failure, "%s: line %d, column %d: not valid JSON: %s", name, error.line,
                       error.column, error.text);
    BP_TRY(status);
    if (!json_is_object(root))
        status = bp_fail(failure, "%s: must be one JSON object such as {\"epochs\": 60}", name);
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value) {
        if (failure == BP_MODEL && bp_option_id_of(key) == BP_OPT_COUNT)
            continue; /* a checkpoint of another version is still a model */
        if (status == BP_OK)
            status = set_from_json(config, key, value, name);
    }
    json_decref(root);
    return status;
}

bp_status bp_config_load_json(bp_config *config, const char *path) {
    uint8_t *bytes;
    size_t count;
    BP_TRY(bp_file_read(path, CONFIG_FILE_LIMIT, BP_USAGE, &bytes, &count));
    bp_config *copy;
    bp_status status = bp_config_copy(&copy, config);
    if (status == BP_OK) {
        status = bp_config_parse_json(copy, (const char *)bytes, count, path, BP_USAGE);
        if (status == BP_OK)
            status = bp_config_fill_old_run(copy, path);
        if (status == BP_OK) { /* all or nothing: a failure leaves the config as it was */
            bp_config old = *config;
            *config = *copy;
            *copy = old;
        }
        bp_config_destroy(copy);
    }
    bp_free(bytes);
    return status;
}

static void write_value(struct bp_json *json, const bp_option *option, const char *text) {
    double number = 0;
    switch (option->type) {
    case BP_OPTION_INT:
        if (is_word(option, text))
            bp_json_string(json, option->name, text);
        else
            bp_json_int(json, option->name, strtoll(text, NULL, 10));
        break;
    case BP_OPTION_FLOAT:
        bp_parse_number(text, &number);
        bp_json_double(json, option->name, number);
        break;
    case BP_OPTION_BOOL:
        bp_json_bool(json, option->name, strcmp(text, "true") == 0);
        break;
    case BP_OPTION_CHOICE:
        if (strspn(text, "0123456789") == strlen(text))
            bp_json_int(json, option->name, strtoll(text, NULL, 10));
        else
            bp_json_string(json, option->name, text);
        break;
    case BP_OPTION_TEXT:
    case BP_OPTION_TIME:
        bp_json_string(json, option->name, text);
        break;
    }
}

enum bp_option_id bp_config_unused_with(const bp_config *config, enum bp_option_id id) {
    const char *precision = bp_config_get(config, "precision");
    int fqt = strcmp(precision, "fqt") == 0, psq = strcmp(precision, "psq") == 0;
    if (bp_option_is_quantizer(id))
        return fqt ? BP_OPT_COUNT : BP_OPT_PRECISION;
    switch (id) {
    case BP_OPT_QAT_WARMUP:
    case BP_OPT_STEM:
    case BP_OPT_REPORT_VARIANCE:
        return fqt || psq ? BP_OPT_COUNT : BP_OPT_PRECISION;
    case BP_OPT_CLAMP_LATENT:
        return strcmp(precision, "fp32") != 0 ? BP_OPT_COUNT : BP_OPT_PRECISION;
    case BP_OPT_MOMENTUM:
    case BP_OPT_NESTEROV:
        return strcmp(bp_config_get(config, "optimizer"), "sgd") == 0 ? BP_OPT_COUNT
                                                                      : BP_OPT_OPTIMIZER;
    case BP_OPT_LR_EVERY:
    case BP_OPT_LR_FACTOR:
        return strcmp(bp_config_get(config, "schedule"), "step") == 0 ? BP_OPT_COUNT
                                                                      : BP_OPT_SCHEDULE;
    default:
        return BP_OPT_COUNT;
    }
}

/* 1 for options whose values --preset and --aug give where they are not set themselves. */
static int is_of_preset(enum bp_option_id id) {
    return (bp_option_is_quantizer(id) && id != BP_OPT_PRESET) || id == BP_OPT_AUG_CROP ||
           id == BP_OPT_AUG_FLIP || id == BP_OPT_AUG_RRC || id == BP_OPT_AUG_JITTER;
}

/* 0 for values that mean nothing beside the others: they would only puzzle, or be refused when the
 * file is read again; and for those that are left to a preset, which may be changed. */
static int applies(const bp_config *config, enum bp_option_id id) {
    if (id == BP_OPT_RUN) /* a folder is never used twice */
        return 0;
    enum bp_option_id bundle;
    if (config->value[id].text == NULL &&
        (is_of_preset(id) || bp_config_from_bundle(config, id, &bundle) != NULL))
        return 0;
    return bp_config_unused_with(config, id) == BP_OPT_COUNT;
}

void bp_config_write(const bp_config *config, struct bp_json *json, int without_local) {
    for (int i = 0; i < BP_OPT_COUNT; i++) {
        enum bp_option_id id = (enum bp_option_id)i;
        const bp_option *option = &bp_option_table[id];
        const char *text = bp_config_get(config, option->name);
        if (text != NULL && (option->commands & BP_COMMAND_TRAIN) && applies(config, id) &&
            !(without_local && bp_option_is_local(id)))
            write_value(json, option, text);
    }
}

bp_status bp_config_recipe(const bp_config *config, char **text) {
    struct bp_json json;
    bp_json_begin(&json, 0);
    bp_json_object(&json, NULL);
    bp_config_write(config, &json, 1);
    bp_json_end_object(&json);
    return bp_json_finish(&json, text);
}

bp_status bp_config_to_json(const bp_config *config, char **text) {
    struct bp_json json;
    bp_json_begin(&json, 1);
    bp_json_object(&json, NULL);
    bp_config_write(config, &json, 0);
    bp_json_end_object(&json);
    return bp_json_finish(&json, text);
}
