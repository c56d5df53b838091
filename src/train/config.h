/* Option values (bp_config in the public header), and what they mean: bp_settings, the typed form
 * that the rest of the library uses. */
#ifndef BP_TRAIN_CONFIG_H
#define BP_TRAIN_CONFIG_H

#include "base/cpu.h"
#include "base/json_writer.h"
#include "data/loader.h"
#include "nn/graph.h"
#include "train/optim.h"
#include "train/options.h"
#include "train/schedule.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bp_settings {
    const char *data, *run; /* NULL: not given; belong to the config */
    char model[16];
    double width;
    size_t size;                     /* 0: from the data */
    const char *init;                /* NULL: from scratch; belongs to the config */
    size_t epochs, max_steps, batch; /* max_steps 0: no limit; batch 0: auto */
    int epochs_given;                /* epochs was set, not left to its default or --recipe */
    int batch_given;                 /* else a session with data chooses it */
    double seconds;                  /* --time; 0: no limit */
    const char *time_text;           /* the same as given; NULL; belongs to the config */
    size_t patience;                 /* epochs; 0: off */
    double ema;                      /* 0: off */
    uint64_t seed;
    float label_smoothing;
    struct bp_optim_config optim;
    enum bp_schedule_kind schedule;
    double warmup_epochs, lr_every_epochs, lr_factor; /* lr_every_epochs 0: epochs / 3 */
    enum bp_precision precision;
    const char *preset; /* of fqt, else "" */
    struct bp_quant quant_da, quant_dw;
    double qat_warmup; /* share of the steps */
    enum bp_stem stem;
    size_t limit_train, limit_val;
    double val_share;
    int skip_bad;
    struct bp_augment augment;
    size_t max_mem_bytes; /* 0: choose */
    int has_mean, has_deviation;
    float mean[3], deviation[3];
    size_t checkpoint_every, log_every; /* steps; 0: off */
    int report;
    size_t report_variance; /* steps; 0: off */
    int threads;
    enum bp_tier tier;
    size_t rounds, classes, channels; /* bench */
    size_t top;                       /* predict */
};

/* Checks a config for `command` and gives its meaning. Training needs data. */
bp_status bp_config_resolve(const bp_config *config, unsigned command, struct bp_settings *out);

/* A copy with its own values; bp_config_destroy it. */
bp_status bp_config_copy(bp_config **out, const bp_config *config);
/* In what a version without an option wrote, that option has the value of that version: sets it.
 * pictures: 1 if the data were pictures. */
bp_status bp_config_fill_old(bp_config *config, int pictures, const char *origin);
/* The same, if `path`, which the config was read from, is the config.json of a run folder. */
bp_status bp_config_fill_old_run(bp_config *config, const char *path);
/* Forgets an option's value. */
void bp_config_unset(bp_config *config, enum bp_option_id id);

/* The value that --aug or --recipe gives an option that was not set itself, and which of them;
 * NULL if none does. */
const char *bp_config_from_bundle(const bp_config *config, enum bp_option_id id,
                                  enum bp_option_id *bundle);

/* The option beside whose value this one means nothing ("momentum": optimizer, unless that is sgd),
 * or BP_OPT_COUNT. */
enum bp_option_id bp_config_unused_with(const bp_config *config, enum bp_option_id id);

/* The members of a JSON object: every option of training that has a value and a meaning beside the
 * others, but the run folder. without_local leaves out what is not part of a checkpoint. */
void bp_config_write(const bp_config *config, struct bp_json *json, int without_local);

/* An array of what every option of training comes to and why (bp_config_explain). */
void bp_config_write_origins(const bp_config *config, struct bp_json *json);

/* What a checkpoint says about how it was trained: one JSON object without paths and machine. */
bp_status bp_config_recipe(const bp_config *config, char **text);

/* Sets every option of a JSON text; `name` is for messages, failure the status of malformed text.
 * Of a checkpoint (BP_MODEL), options that this version does not know are passed over. */
bp_status bp_config_parse_json(bp_config *config, const char *text, size_t length, const char *name,
                               bp_status failure);

/* "4 bits, zero grid, systematic, rms weights, keep 0.25, ..." into text. */
void bp_settings_quantizer_text(const struct bp_settings *settings, char *text, size_t size);
/* The value of a quantizer's option (BP_OPT_GRAD_BITS .. BP_OPT_GRAD_GROUPS) as text. */
void bp_settings_quant_value(const struct bp_quant *quant, enum bp_option_id id, char *text,
                             size_t size);
const char *bp_precision_name(enum bp_precision precision);
/* ", 8-bit stem", where the stem has a choice; else "". */
const char *bp_settings_stem_text(const struct bp_settings *settings);
/* "8-bit" or "fp32"; back: any other text is fp32. */
const char *bp_stem_name(enum bp_stem stem);
enum bp_stem bp_stem_of(const char *name);

#ifdef __cplusplus
}
#endif
#endif
