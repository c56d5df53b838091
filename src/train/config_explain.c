/* bp_config_explain: what options come to, and why. */
#include <stdio.h>
#include <string.h>

#include "base/threads.h"
#include "train/config.h"

static void say(bp_config_value *out, const char *value, const char *origin, const char *of) {
    snprintf(out->value, sizeof out->value, "%s", value);
    snprintf(out->origin, sizeof out->origin, "%s%s", origin, of);
}

static void say_number(bp_config_value *out, double value, const char *origin, const char *of) {
    char text[32];
    snprintf(text, sizeof text, "%g", value);
    say(out, text, origin, of);
}

static int is_set(const bp_config *config, enum bp_option_id id) {
    return bp_config_is_set(config, bp_option_table[id].name);
}

/* Options that are not set, and whose value does not follow from the quantizer. */
static void explain_unset(const bp_config *config, const struct bp_settings *settings,
                          enum bp_option_id id, bp_config_value *out) {
    const char *fallback = bp_option_table[id].fallback;
    const char *optimizer = bp_optim_name(settings->optim.kind);
    enum bp_option_id bundle;
    const char *bundled = bp_config_from_bundle(config, id, &bundle);
    if (bundled != NULL) {
        snprintf(out->value, sizeof out->value, "%s", bundled);
        snprintf(out->origin, sizeof out->origin, "%s %s", bp_option_table[bundle].name,
                 bp_config_get(config, bp_option_table[bundle].name));
        return;
    }
    switch (id) {
    case BP_OPT_LR:
        say_number(out, settings->optim.lr, "precision ", bp_precision_name(settings->precision));
        if (settings->optim.kind == BP_OPTIM_SGD)
            say_number(out, settings->optim.lr, "optimizer ", optimizer);
        break;
    case BP_OPT_HEAD_LR:
        say_number(out, settings->optim.head_lr, "as lr", "");
        break;
    case BP_OPT_WEIGHT_DECAY:
        say_number(out, settings->optim.weight_decay, "optimizer ", optimizer);
        break;
    case BP_OPT_LR_EVERY:
        say(out, "", "a third of the run", "");
        break;
    case BP_OPT_MEAN:
    case BP_OPT_STD:
    case BP_OPT_SIZE:
    case BP_OPT_BATCH:
        say(out, "", "from the data set", "");
        break;
    case BP_OPT_MAX_MEM:
        say(out, "", "half of the memory", "");
        break;
    case BP_OPT_RUN:
        say(out, "", "named after data and model", "");
        break;
    case BP_OPT_THREADS:
        say_number(out, bp_threads_available(""), "this machine", "");
        break;
    case BP_OPT_CPU:
        say(out, bp_tier_name(settings->tier), "this machine", "");
        break;
    default:
        say(out, fallback != NULL ? fallback : "",
            bp_config_origin(config, bp_option_table[id].name), "");
        break;
    }
}

/* --- the quantizer ---------------------------------------------------------------------------- */

/* An option of one product ("grad-bits-da") to the one of both ("grad-bits"); others stay. */
static enum bp_option_id common_of(enum bp_option_id id) {
    if (id >= BP_OPT_GRAD_BITS_DW && id <= BP_OPT_GRAD_CLIP_DW)
        return (enum bp_option_id)(id - BP_OPT_GRAD_BITS_DW + BP_OPT_GRAD_BITS);
    if (id >= BP_OPT_GRAD_BITS_DA && id <= BP_OPT_GRAD_CLIP_DA)
        return (enum bp_option_id)(id - BP_OPT_GRAD_BITS_DA + BP_OPT_GRAD_BITS);
    return id;
}

/* The quantizer that holds for both products where nothing is set for one of them alone. */
static bp_status common_quant(const bp_config *config, struct bp_quant *out) {
    bp_config *copy;
    struct bp_settings settings;
    BP_TRY(bp_config_copy(&copy, config));
    for (int id = BP_OPT_GRAD_BITS_DA; id <= BP_OPT_GRAD_CLIP_DW; id++)
        bp_config_unset(copy, (enum bp_option_id)id);
    bp_status status = bp_config_resolve(copy, BP_COMMAND_TRAIN, &settings);
    if (status == BP_OK)
        *out = settings.quant_dw; /* dA has no groups of its own */
    bp_config_destroy(copy);
    return status;
}

static bp_status explain_quant(const bp_config *config, const struct bp_settings *settings,
                               enum bp_option_id id, bp_config_value *out) {
    enum bp_option_id common = common_of(id);
    struct bp_quant quant = id < BP_OPT_GRAD_BITS_DW ? settings->quant_da : settings->quant_dw;
    if (common == id)
        BP_TRY(common_quant(config, &quant));
    const char *select = bp_option_table[BP_OPT_GRAD_SELECT].name;
    int no_weights = quant.select == BP_SELECT_NONE || quant.select == BP_SELECT_TOPK;
    char text[32];
    if (common == BP_OPT_GRAD_WEIGHTS && no_weights) {
        bp_settings_quant_value(&quant, BP_OPT_GRAD_SELECT, text, sizeof text);
        say(out, "", "not used with grad-select ", text);
        return BP_OK;
    }
    if (is_set(config, id)) {
        say(out, bp_config_get(config, bp_option_table[id].name),
            bp_config_origin(config, bp_option_table[id].name), "");
        return BP_OK;
    }
    bp_settings_quant_value(&quant, common, text, sizeof text);
    enum bp_option_id own_select = (enum bp_option_id)(id - common + BP_OPT_GRAD_SELECT);
    if (common != id && is_set(config, common))
        say(out, text, "as ", bp_option_table[common].name);
    else if (common == BP_OPT_GRAD_KEEP && is_set(config, own_select))
        say(out, text, "as ", bp_option_table[own_select].name);
    else if (common == BP_OPT_GRAD_KEEP && is_set(config, BP_OPT_GRAD_SELECT))
        say(out, text, "as ", select);
    else if (common == BP_OPT_GRAD_CLIP)
        say(out, text, "default", "");
    else
        say(out, text, "preset ", settings->preset);
    return BP_OK;
}

/* --- all -------------------------------------------------------------------------------------- */

bp_status bp_config_explain(const bp_config *config, const char *name, bp_config_value *out) {
    struct bp_settings settings;
    enum bp_option_id id = bp_option_id_of(name);
    if (id == BP_OPT_COUNT)
        return bp_fail(BP_USAGE, "unknown option '%.60s'; --help lists all", name);
    const char *value = bp_config_get(config, name);
    say(out, value != NULL ? value : "", bp_config_origin(config, name), "");
    if (bp_config_resolve(config, BP_COMMAND_TRAIN, &settings) != BP_OK)
        return BP_OK; /* what does not fit together gives no values: shown as it was set */
    enum bp_option_id other = bp_config_unused_with(config, id);
    if (other != BP_OPT_COUNT) {
        snprintf(out->origin, sizeof out->origin, "not used with %s %s",
                 bp_option_table[other].name, bp_config_get(config, bp_option_table[other].name));
        out->value[0] = 0;
        return BP_OK;
    }
    if (id >= BP_OPT_GRAD_BITS && id <= BP_OPT_GRAD_CLIP_DW)
        return explain_quant(config, &settings, id, out);
    if (!is_set(config, id))
        explain_unset(config, &settings, id, out);
    return BP_OK;
}

void bp_config_write_origins(const bp_config *config, struct bp_json *json) {
    bp_json_array(json, NULL);
    for (int id = 0; id < BP_OPT_COUNT; id++) {
        const bp_option *option = &bp_option_table[id];
        bp_config_value value;
        if ((option->commands & BP_COMMAND_TRAIN) == 0 ||
            bp_config_explain(config, option->name, &value) != BP_OK)
            continue;
        bp_json_object(json, NULL);
        bp_json_string(json, "option", option->name);
        bp_json_string(json, "value", value.value);
        bp_json_string(json, "origin", value.origin);
        bp_json_end_object(json);
    }
    bp_json_end_array(json);
}
