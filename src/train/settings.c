#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/config.h"

/* The presets of fqt. keep 0 stands for 1 / bits: one bit per gradient element on average. */
static const struct {
    const char *name;
    struct bp_quant quant;
} presets[] = {
    {"one-bit", {4, 0, BP_SELECT_SYSTEMATIC, BP_WEIGHTS_RMS, BP_GRID_ZERO, 0, BP_GROUPS_CHANNEL}},
    {"balanced", {4, 1, BP_SELECT_NONE, BP_WEIGHTS_RMS, BP_GRID_ZERO, 0, BP_GROUPS_CHANNEL}},
    {"accurate", {8, 1, BP_SELECT_NONE, BP_WEIGHTS_RMS, BP_GRID_ZERO, 0, BP_GROUPS_CHANNEL}},
    {"paper", {4, 0, BP_SELECT_BERNOULLI, BP_WEIGHTS_RANGE, BP_GRID_MINMAX, 0, BP_GROUPS_CHANNEL}},
    {"paper-code", {4, 0, BP_SELECT_TOPK, BP_WEIGHTS_RANGE, BP_GRID_MINMAX, 0, BP_GROUPS_CHANNEL}},
};

static const char *const selections[] = {"none", "bernoulli", "systematic", "topk"};
static const char *const weights[] = {"range", "rms", "uniform"};
static const char *const grids[] = {"minmax", "zero", "symmetric"};
static const char *const precisions[] = {"fp32", "qat", "psq", "fqt"};
static const char *const groups[] = {"sample", "scq"};

#define INDEX(text, names) find((text), (names), sizeof(names) / sizeof((names)[0]))

/* The values were checked when they were set, so a name is always found. */
static int find(const char *text, const char *const *names, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(text, names[i]) == 0)
            return (int)i;
    return 0;
}

const char *bp_precision_name(enum bp_precision precision) {
    return precisions[precision];
}

const char *bp_stem_name(enum bp_stem stem) {
    return stem == BP_STEM_8_BIT ? "8-bit" : "fp32";
}

enum bp_stem bp_stem_of(const char *name) {
    return strcmp(name, bp_stem_name(BP_STEM_8_BIT)) == 0 ? BP_STEM_8_BIT : BP_STEM_FP32;
}

static const char *text_of(const bp_config *config, enum bp_option_id id) {
    return bp_config_get(config, bp_option_table[id].name);
}

static int is_set(const bp_config *config, enum bp_option_id id) {
    return bp_config_is_set(config, bp_option_table[id].name);
}

static int typed(const bp_config *config, enum bp_option_id id) {
    return strcmp(bp_config_origin(config, bp_option_table[id].name), "command line") == 0;
}

static double number_of(const bp_config *config, enum bp_option_id id) {
    double number = 0;
    const char *text = text_of(config, id);
    if (text != NULL)
        bp_parse_number(text, &number);
    return number;
}

static size_t count_of(const bp_config *config, enum bp_option_id id) {
    const char *text = text_of(config, id);
    return text != NULL ? (size_t)strtoull(text, NULL, 10) : 0;
}

static int bool_of(const bp_config *config, enum bp_option_id id) {
    return strcmp(text_of(config, id), "true") == 0;
}

/* An option that has no meaning beside the value of another one is refused, unless it only stands
 * in a file or the environment and the other one was typed: then the file is overridden. */
static bp_status refuse_with(const bp_config *config, enum bp_option_id id, enum bp_option_id other,
                             const char *belongs_to) {
    if (!is_set(config, id) || (typed(config, other) && !typed(config, id)))
        return BP_OK;
    const char *name = bp_option_table[other].name;
    return bp_fail(BP_USAGE, "--%s belongs to --%s %s, not to %s; leave it out or change --%s",
                   bp_option_table[id].name, name, belongs_to, text_of(config, other), name);
}

static int is_imagenet(const bp_config *config) {
    const char *mean = text_of(config, BP_OPT_MEAN);
    return mean != NULL && strcmp(mean, "imagenet") == 0;
}

static bp_status check_combinations(const bp_config *config, unsigned command) {
    static const struct {
        unsigned command;
        const char *name;
    } commands[] = {{BP_COMMAND_TRAIN, "train"},     {BP_COMMAND_RESUME, "resume"},
                    {BP_COMMAND_EVAL, "eval"},       {BP_COMMAND_BENCH, "bench"},
                    {BP_COMMAND_PREDICT, "predict"}, {BP_COMMAND_DATA, "data"},
                    {BP_COMMAND_INFO, "info"}};
    const char *name = "this command";
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (commands[i].command == command)
            name = commands[i].name;
    for (int i = 0; i < BP_OPT_COUNT; i++)
        if (!(bp_option_table[i].commands & command) && typed(config, (enum bp_option_id)i))
            return bp_fail(BP_USAGE, "--%s does not belong to '%s'; leave it out",
                           bp_option_table[i].name, name);
    if (!(command & (BP_COMMAND_TRAIN | BP_COMMAND_RESUME)) && is_set(config, BP_OPT_BATCH) &&
        count_of(config, BP_OPT_BATCH) == 0)
        return bp_fail(BP_USAGE, "--batch %s is for training; give '%s' a number",
                       text_of(config, BP_OPT_BATCH), name);
    if (!(command & (BP_COMMAND_TRAIN | BP_COMMAND_BENCH | BP_COMMAND_INFO)))
        return BP_OK;
    const char *precision = text_of(config, BP_OPT_PRECISION);
    if (strcmp(precision, "fqt") != 0)
        for (int i = 0; i < BP_OPT_COUNT; i++)
            if (bp_option_is_quantizer((enum bp_option_id)i))
                BP_TRY(refuse_with(config, (enum bp_option_id)i, BP_OPT_PRECISION, "fqt"));
    if ((strcmp(precision, "fp32") == 0 || strcmp(precision, "qat") == 0) &&
        number_of(config, BP_OPT_QAT_WARMUP) > 0)
        BP_TRY(refuse_with(config, BP_OPT_QAT_WARMUP, BP_OPT_PRECISION, "psq or fqt"));
    if ((strcmp(precision, "fp32") == 0 || strcmp(precision, "qat") == 0) &&
        count_of(config, BP_OPT_REPORT_VARIANCE) > 0)
        BP_TRY(refuse_with(config, BP_OPT_REPORT_VARIANCE, BP_OPT_PRECISION, "psq or fqt"));
    if ((strcmp(precision, "fp32") == 0 || strcmp(precision, "qat") == 0) &&
        bp_stem_of(text_of(config, BP_OPT_STEM)) == BP_STEM_8_BIT)
        BP_TRY(refuse_with(config, BP_OPT_STEM, BP_OPT_PRECISION, "psq or fqt"));
    if (strcmp(precision, "fp32") == 0 && bool_of(config, BP_OPT_CLAMP_LATENT))
        BP_TRY(refuse_with(config, BP_OPT_CLAMP_LATENT, BP_OPT_PRECISION, "qat, psq or fqt"));
    if (strcmp(text_of(config, BP_OPT_OPTIMIZER), "sgd") != 0) {
        BP_TRY(refuse_with(config, BP_OPT_MOMENTUM, BP_OPT_OPTIMIZER, "sgd"));
        if (bool_of(config, BP_OPT_NESTEROV))
            BP_TRY(refuse_with(config, BP_OPT_NESTEROV, BP_OPT_OPTIMIZER, "sgd"));
    }
    if (strcmp(text_of(config, BP_OPT_SCHEDULE), "step") != 0) {
        BP_TRY(refuse_with(config, BP_OPT_LR_EVERY, BP_OPT_SCHEDULE, "step"));
        BP_TRY(refuse_with(config, BP_OPT_LR_FACTOR, BP_OPT_SCHEDULE, "step"));
    }
    if (number_of(config, BP_OPT_AUG_CROP) > 0 && number_of(config, BP_OPT_AUG_RRC) > 0)
        return bp_fail(BP_USAGE,
                       "--aug-crop %s and --aug-rrc %s are two ways to crop; set one of "
                       "them to 0",
                       text_of(config, BP_OPT_AUG_CROP), text_of(config, BP_OPT_AUG_RRC));
    if (strcmp(text_of(config, BP_OPT_FREEZE), "body") == 0 &&
        number_of(config, BP_OPT_REPORT_VARIANCE) > 0)
        return bp_fail(BP_USAGE, "--report-variance measures gradients of the body, which --freeze "
                                 "body does not compute; leave one of them out");
    if (is_imagenet(config) && is_set(config, BP_OPT_STD))
        return bp_fail(BP_USAGE, "--mean imagenet sets the deviation too; leave --std out");
    if (is_imagenet(config))
        return BP_OK;
    if (is_set(config, BP_OPT_MEAN) != is_set(config, BP_OPT_STD))
        return bp_fail(BP_USAGE, "--mean and --std go together; --%s is missing",
                       is_set(config, BP_OPT_MEAN) ? "std" : "mean");
    return BP_OK;
}

/* The options of the quantizer are laid out three times in the same order: both, dA, dW
 * (options.h); `apart` is the first of one product's own. groups exist for both only. */
static const char *quant_text(const bp_config *config, enum bp_option_id common,
                              enum bp_option_id apart) {
    enum bp_option_id own = (enum bp_option_id)(apart + (common - BP_OPT_GRAD_BITS));
    if (is_set(config, own))
        return text_of(config, own);
    return is_set(config, common) ? text_of(config, common) : NULL;
}

static bp_status resolve_quant(const bp_config *config, enum bp_option_id apart,
                               const struct bp_quant *preset, const char *product,
                               struct bp_quant *out) {
    struct bp_quant quant = *preset;
    double number = 0;
    const char *text;
    if ((text = quant_text(config, BP_OPT_GRAD_BITS, apart)) != NULL)
        quant.bits = (int)strtol(text, NULL, 10);
    if ((text = quant_text(config, BP_OPT_GRAD_SELECT, apart)) != NULL)
        quant.select = (enum bp_quant_select)INDEX(text, selections);
    if ((text = quant_text(config, BP_OPT_GRAD_WEIGHTS, apart)) != NULL)
        quant.weights = (enum bp_quant_weights)INDEX(text, weights);
    if ((text = quant_text(config, BP_OPT_GRAD_GRID, apart)) != NULL)
        quant.grid = (enum bp_quant_grid_kind)INDEX(text, grids);
    if ((text = quant_text(config, BP_OPT_GRAD_CLIP, apart)) != NULL &&
        bp_parse_number(text, &number))
        quant.clip = (float)number;
    if ((text = quant_text(config, BP_OPT_GRAD_KEEP, apart)) != NULL) {
        if (bp_parse_number(text, &number))
            quant.keep = (float)number;
        if (quant.select == BP_SELECT_NONE && number != 1)
            return bp_fail(BP_USAGE,
                           "--grad-keep %s with --grad-select none (%s): 'none' keeps every group; "
                           "add --grad-select systematic",
                           text, product);
    } else if (quant.select == BP_SELECT_NONE) {
        quant.keep = 1;
    } else if (quant.keep == 0 || preset->select == BP_SELECT_NONE) {
        quant.keep = 1.0f / (float)quant.bits;
    }
    quant.groups = apart == BP_OPT_GRAD_BITS_DA ? BP_GROUPS_SAMPLE : preset->groups;
    if (is_set(config, BP_OPT_GRAD_GROUPS) && apart == BP_OPT_GRAD_BITS_DW)
        quant.groups = (enum bp_quant_groups)INDEX(text_of(config, BP_OPT_GRAD_GROUPS), groups);
    BP_TRY(bp_quant_check(&quant, product));
    *out = quant;
    return BP_OK;
}

static bp_status resolve_precision(const bp_config *config, struct bp_settings *s) {
    s->precision = (enum bp_precision)INDEX(text_of(config, BP_OPT_PRECISION), precisions);
    s->preset = "";
    s->qat_warmup = 0;
    if (s->precision == BP_PRECISION_PSQ) {
        struct bp_quant psq = {
            1, 1, BP_SELECT_NONE, BP_WEIGHTS_RANGE, BP_GRID_MINMAX, 0, BP_GROUPS_SAMPLE};
        s->quant_da = s->quant_dw = psq;
    }
    if (s->precision == BP_PRECISION_FQT) {
        size_t i = 0;
        while (strcmp(presets[i].name, text_of(config, BP_OPT_PRESET)) != 0)
            i++;
        s->preset = presets[i].name;
        BP_TRY(resolve_quant(config, BP_OPT_GRAD_BITS_DA, &presets[i].quant,
                             "the activation gradient", &s->quant_da));
        BP_TRY(resolve_quant(config, BP_OPT_GRAD_BITS_DW, &presets[i].quant, "the weight gradient",
                             &s->quant_dw));
    }
    if (s->precision == BP_PRECISION_PSQ || s->precision == BP_PRECISION_FQT) {
        s->qat_warmup = number_of(config, BP_OPT_QAT_WARMUP);
        s->stem = bp_stem_of(text_of(config, BP_OPT_STEM));
    }
    return BP_OK;
}

/* Of latent weights only the signs count: they need a larger rate than PyTorch's. */
#define LATENT_LR 0.01

static bp_status resolve_optim(const bp_config *config, struct bp_settings *s) {
    enum bp_optim_kind kind;
    BP_TRY(bp_optim_parse(text_of(config, BP_OPT_OPTIMIZER), &kind));
    struct bp_optim_config *optim = &s->optim;
    bp_optim_config_default(optim, kind);
    if (kind != BP_OPTIM_SGD && s->precision != BP_PRECISION_FP32)
        optim->lr = LATENT_LR;
    if (text_of(config, BP_OPT_LR) != NULL)
        optim->lr = number_of(config, BP_OPT_LR);
    int own = text_of(config, BP_OPT_HEAD_LR) != NULL;
    optim->head_lr = own ? number_of(config, BP_OPT_HEAD_LR) : optim->lr;
    if (is_set(config, BP_OPT_WEIGHT_DECAY))
        optim->weight_decay = number_of(config, BP_OPT_WEIGHT_DECAY);
    optim->momentum = number_of(config, BP_OPT_MOMENTUM);
    optim->nesterov = bool_of(config, BP_OPT_NESTEROV);
    optim->clip_norm = number_of(config, BP_OPT_CLIP_NORM);
    optim->clamp_latent = bool_of(config, BP_OPT_CLAMP_LATENT);
    optim->freeze_body = strcmp(text_of(config, BP_OPT_FREEZE), "body") == 0;
    BP_TRY(bp_optim_config_check(optim));
    BP_TRY(bp_schedule_parse(text_of(config, BP_OPT_SCHEDULE), &s->schedule));
    s->warmup_epochs = number_of(config, BP_OPT_WARMUP);
    s->lr_every_epochs = number_of(config, BP_OPT_LR_EVERY);
    s->lr_factor = number_of(config, BP_OPT_LR_FACTOR);
    return BP_OK;
}

/* One number for all channels, or three. */
static bp_status resolve_channels(const bp_config *config, enum bp_option_id id, float out[3]) {
    char part[64];
    double numbers[3];
    size_t n = 0;
    const char *text = text_of(config, id), *next = text;
    while (next != NULL && n < 3) {
        const char *comma = strchr(next, ',');
        size_t length = comma != NULL ? (size_t)(comma - next) : strlen(next);
        snprintf(part, sizeof part, "%.*s", (int)(length < 60 ? length : 60), next);
        if (!bp_parse_number(part, &numbers[n]))
            break;
        n++;
        next = comma != NULL ? comma + 1 : NULL;
    }
    int positive = id == BP_OPT_STD;
    int valid = next == NULL && (n == 1 || n == 3);
    for (size_t i = 0; valid && i < n; i++)
        valid = numbers[i] <= 10 && (positive ? numbers[i] >= 1e-4 : numbers[i] >= -10);
    if (!valid)
        return bp_fail(BP_USAGE,
                       "--%s %.80s: must be one number, or three with commas, from %s to 10%s",
                       bp_option_table[id].name, text, positive ? "0.0001" : "-10",
                       positive ? "" : ", or imagenet");
    for (size_t i = 0; i < 3; i++)
        out[i] = (float)numbers[n == 1 ? 0 : i];
    return BP_OK;
}

/* The moments of ImageNet that everybody uses. */
static bp_status resolve_moments(const bp_config *config, struct bp_settings *s) {
    static const float mean[] = {0.485f, 0.456f, 0.406f}, deviation[] = {0.229f, 0.224f, 0.225f};
    int imagenet = is_imagenet(config);
    s->has_mean = is_set(config, BP_OPT_MEAN);
    s->has_deviation = imagenet || is_set(config, BP_OPT_STD);
    for (size_t c = 0; c < 3 && imagenet; c++) {
        s->mean[c] = mean[c];
        s->deviation[c] = deviation[c];
    }
    if (s->has_mean && !imagenet)
        BP_TRY(resolve_channels(config, BP_OPT_MEAN, s->mean));
    if (s->has_deviation && !imagenet)
        BP_TRY(resolve_channels(config, BP_OPT_STD, s->deviation));
    return BP_OK;
}

enum { OTHER_BATCH = 128 }; /* where no data say it */

bp_status bp_config_resolve(const bp_config *config, unsigned command, struct bp_settings *out) {
    BP_TRY(check_combinations(config, command));
    struct bp_settings s = {0};
    s.data = text_of(config, BP_OPT_DATA);
    s.run = text_of(config, BP_OPT_RUN);
    snprintf(s.model, sizeof s.model, "%s", text_of(config, BP_OPT_MODEL));
    s.width = number_of(config, BP_OPT_WIDTH);
    s.size = count_of(config, BP_OPT_SIZE);
    s.epochs = count_of(config, BP_OPT_EPOCHS);
    s.epochs_given = is_set(config, BP_OPT_EPOCHS);
    s.time_text = text_of(config, BP_OPT_TIME);
    if (s.time_text != NULL)
        bp_parse_time(s.time_text, &s.seconds);
    s.max_steps = count_of(config, BP_OPT_STEPS);
    s.batch_given = is_set(config, BP_OPT_BATCH);
    s.batch = s.batch_given ? count_of(config, BP_OPT_BATCH) : OTHER_BATCH;
    s.init = text_of(config, BP_OPT_INIT);
    s.patience = count_of(config, BP_OPT_PATIENCE);
    s.ema = number_of(config, BP_OPT_EMA);
    s.seed = count_of(config, BP_OPT_SEED);
    s.label_smoothing = (float)number_of(config, BP_OPT_LABEL_SMOOTHING);
    s.limit_train = count_of(config, BP_OPT_LIMIT_TRAIN);
    s.limit_val = count_of(config, BP_OPT_LIMIT_VAL);
    s.augment.crop_padding = (int)count_of(config, BP_OPT_AUG_CROP);
    s.augment.flip = bool_of(config, BP_OPT_AUG_FLIP);
    s.augment.rrc_area = number_of(config, BP_OPT_AUG_RRC);
    s.augment.jitter = number_of(config, BP_OPT_AUG_JITTER);
    s.val_share = number_of(config, BP_OPT_VAL);
    s.skip_bad = bool_of(config, BP_OPT_SKIP_BAD);
    s.max_mem_bytes = count_of(config, BP_OPT_MAX_MEM) * 1000000;
    s.checkpoint_every = count_of(config, BP_OPT_CHECKPOINT_EVERY);
    s.log_every = count_of(config, BP_OPT_LOG_EVERY);
    s.report = bool_of(config, BP_OPT_REPORT);
    s.report_variance = count_of(config, BP_OPT_REPORT_VARIANCE);
    s.threads = (int)count_of(config, BP_OPT_THREADS);
    s.rounds = count_of(config, BP_OPT_ROUNDS);
    s.classes = count_of(config, BP_OPT_CLASSES);
    s.channels = count_of(config, BP_OPT_CHANNELS);
    s.top = count_of(config, BP_OPT_TOP);
    BP_TRY(resolve_moments(config, &s));
    if (command & (BP_COMMAND_TRAIN | BP_COMMAND_BENCH | BP_COMMAND_INFO)) {
        BP_TRY(resolve_precision(config, &s));
        BP_TRY(resolve_optim(config, &s));
    }
    if (command == BP_COMMAND_TRAIN && s.data == NULL)
        return bp_fail(BP_USAGE, "train needs DATA, the path of a data set");
    BP_TRY(bp_tier_parse(text_of(config, BP_OPT_CPU), &s.tier));
    *out = s;
    return BP_OK;
}

bp_status bp_config_check(const bp_config *config, unsigned command) {
    struct bp_settings settings;
    return bp_config_resolve(config, command, &settings);
}

void bp_settings_quant_value(const struct bp_quant *quant, enum bp_option_id id, char *text,
                             size_t size) {
    if (id == BP_OPT_GRAD_BITS)
        snprintf(text, size, "%d", quant->bits);
    else if (id == BP_OPT_GRAD_KEEP)
        snprintf(text, size, "%g", (double)quant->keep);
    else if (id == BP_OPT_GRAD_SELECT)
        snprintf(text, size, "%s", selections[quant->select]);
    else if (id == BP_OPT_GRAD_WEIGHTS)
        snprintf(text, size, "%s", weights[quant->weights]);
    else if (id == BP_OPT_GRAD_GRID)
        snprintf(text, size, "%s", grids[quant->grid]);
    else if (id == BP_OPT_GRAD_CLIP)
        snprintf(text, size, "%g", (double)quant->clip);
    else
        snprintf(text, size, "%s", groups[quant->groups]);
}

const char *bp_settings_stem_text(const struct bp_settings *settings) {
    if (settings->precision != BP_PRECISION_PSQ && settings->precision != BP_PRECISION_FQT)
        return "";
    return settings->stem == BP_STEM_8_BIT ? ", 8-bit stem" : ", fp32 stem";
}

static void quant_line(const struct bp_quant *quant, char *text, size_t size) {
    int used = snprintf(text, size, "%d-bit %s grid per %s", quant->bits, grids[quant->grid],
                        quant->groups == BP_GROUPS_SAMPLE ? "sample" : "channel");
    if (used < 0 || (size_t)used >= size)
        return;
    text += used;
    size -= (size_t)used;
    if (quant->select == BP_SELECT_NONE)
        snprintf(text, size, ", all kept");
    else
        snprintf(text, size, ", %s keeps %g by %s", selections[quant->select], (double)quant->keep,
                 quant->select == BP_SELECT_TOPK ? "largest" : weights[quant->weights]);
    size_t length = strlen(text);
    if (quant->clip > 0)
        snprintf(text + length, size - length, ", clipped at %g rms", (double)quant->clip);
}

void bp_settings_quantizer_text(const struct bp_settings *settings, char *text, size_t size) {
    char da[160], dw[160];
    text[0] = 0;
    if (settings->precision != BP_PRECISION_PSQ && settings->precision != BP_PRECISION_FQT)
        return;
    quant_line(&settings->quant_da, da, sizeof da);
    quant_line(&settings->quant_dw, dw, sizeof dw);
    snprintf(text, size, "dA: %s; dW: %s", da, dw);
}
