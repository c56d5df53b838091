/* The table of options (bp_option in the public header): the one place where an option's name,
 * type, default, limits and help stand. config.c holds values for it. */
#ifndef BP_TRAIN_OPTIONS_H
#define BP_TRAIN_OPTIONS_H

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum bp_option_id {
    BP_OPT_DATA,
    BP_OPT_LIMIT_TRAIN,
    BP_OPT_LIMIT_VAL,
    BP_OPT_VAL,
    BP_OPT_SKIP_BAD,
    BP_OPT_AUG,
    BP_OPT_AUG_CROP,
    BP_OPT_AUG_FLIP,
    BP_OPT_AUG_RRC,
    BP_OPT_AUG_JITTER,
    BP_OPT_MEAN,
    BP_OPT_STD,
    BP_OPT_INIT,
    BP_OPT_MODEL,
    BP_OPT_WIDTH,
    BP_OPT_SIZE,
    BP_OPT_CLASSES,
    BP_OPT_CHANNELS,
    BP_OPT_RECIPE,
    BP_OPT_EPOCHS,
    BP_OPT_STEPS,
    BP_OPT_TIME,
    BP_OPT_PATIENCE,
    BP_OPT_BATCH,
    BP_OPT_SEED,
    BP_OPT_LABEL_SMOOTHING,
    BP_OPT_OPTIMIZER,
    BP_OPT_LR,
    BP_OPT_HEAD_LR,
    BP_OPT_SCHEDULE,
    BP_OPT_WARMUP,
    BP_OPT_LR_EVERY,
    BP_OPT_LR_FACTOR,
    BP_OPT_WEIGHT_DECAY,
    BP_OPT_MOMENTUM,
    BP_OPT_NESTEROV,
    BP_OPT_CLIP_NORM,
    BP_OPT_CLAMP_LATENT,
    BP_OPT_FREEZE,
    BP_OPT_EMA,
    BP_OPT_PRECISION,
    BP_OPT_PRESET,
    BP_OPT_QAT_WARMUP,
    BP_OPT_STEM,
    /* The gradient quantizer: both products, then one set apart, in the same order. */
    BP_OPT_GRAD_BITS,
    BP_OPT_GRAD_KEEP,
    BP_OPT_GRAD_SELECT,
    BP_OPT_GRAD_WEIGHTS,
    BP_OPT_GRAD_GRID,
    BP_OPT_GRAD_CLIP,
    BP_OPT_GRAD_GROUPS,
    BP_OPT_GRAD_BITS_DA,
    BP_OPT_GRAD_KEEP_DA,
    BP_OPT_GRAD_SELECT_DA,
    BP_OPT_GRAD_WEIGHTS_DA,
    BP_OPT_GRAD_GRID_DA,
    BP_OPT_GRAD_CLIP_DA,
    BP_OPT_GRAD_BITS_DW,
    BP_OPT_GRAD_KEEP_DW,
    BP_OPT_GRAD_SELECT_DW,
    BP_OPT_GRAD_WEIGHTS_DW,
    BP_OPT_GRAD_GRID_DW,
    BP_OPT_GRAD_CLIP_DW,
    BP_OPT_RUN,
    BP_OPT_CHECKPOINT_EVERY,
    BP_OPT_LOG_EVERY,
    BP_OPT_REPORT,
    BP_OPT_REPORT_VARIANCE,
    BP_OPT_THREADS,
    BP_OPT_CPU,
    BP_OPT_MAX_MEM,
    BP_OPT_ROUNDS,
    BP_OPT_TOP,
    BP_OPT_COUNT
};

extern const bp_option bp_option_table[BP_OPT_COUNT];

/* The identifier of a name; BP_OPT_COUNT if there is none. */
enum bp_option_id bp_option_id_of(const char *name);

/* 1 for options that say where and on what a run happens, not what it computes: they are not part
 * of a checkpoint. */
int bp_option_is_local(enum bp_option_id id);

/* What the value `name` of a choice that sets others (BP_OPT_AUG, BP_OPT_RECIPE) says about an
 * option; NULL if nothing. */
const char *bp_option_of_bundle(enum bp_option_id bundle, const char *name, enum bp_option_id id);

/* 1 for options that shape the gradient quantizer of fqt (grad-..., preset). */
int bp_option_is_quantizer(enum bp_option_id id);

/* Reads a decimal number whatever the locale; hexadecimal, NaN and infinity are refused. Returns 1
 * if all of `text` is one. */
int bp_parse_number(const char *text, double *out);

/* Reads a time such as 90s, 30m, 1.5h or 1h30m in seconds: hours, minutes, seconds in this order,
 * each at most once. Returns 1 if all of `text` is one. */
int bp_parse_time(const char *text, double *out);

#ifdef __cplusplus
}
#endif
#endif
