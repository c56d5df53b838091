#include "train/advice.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* By heart: the training accuracy is at least HEART_LEAST, and this much above validation. */
#define HEART_LEAST 0.95
#define HEART_ABOVE 0.10

/* Nothing: validation is no more than chance above the share of the largest class: two standard
 * errors, but not much where few samples make them large. */
#define NOTHING_ERRORS 2.0
#define NOTHING_ABOVE  0.03

static const char *augmentation(const struct bp_augment *augment) {
    if (augment->rrc_area > 0)
        return "more or other pictures help more than more epochs";
    if (augment->crop_padding > 0 || augment->flip || augment->jitter > 0)
        return "try --aug strong, or more pictures";
    return "try --aug light (it mirrors: for digits and letters --aug-crop 4), or more pictures";
}

static void nothing_learned(const struct bp_settings *settings, const struct bp_outcome *outcome,
                            char *text, size_t size) {
    const char *preset = settings->preset;
    int few_bits =
        preset[0] != 0 && strcmp(preset, "balanced") != 0 && strcmp(preset, "accurate") != 0;
    snprintf(text, size,
             "%.2f %% validation accuracy is hardly better than always naming the largest class "
             "(%.1f %%): try more --epochs, %sor another --lr (it was %g)",
             100 * outcome->accuracy, 100 * outcome->largest_share,
             few_bits ? "--preset balanced, " : "", settings->optim.lr);
}

void bp_advice(const struct bp_settings *settings, const struct bp_outcome *outcome, char *text,
               size_t size) {
    double share = outcome->largest_share, chance = 0;
    if (outcome->validated > 0)
        chance = NOTHING_ERRORS * sqrt(share * (1 - share) / (double)outcome->validated);
    text[0] = 0;
    if (outcome->accuracy < 0 || outcome->validated == 0)
        return;
    if (outcome->train_accuracy >= HEART_LEAST &&
        outcome->train_accuracy - outcome->accuracy >= HEART_ABOVE)
        snprintf(text, size,
                 "%.2f %% of the training part is right, but %.2f %% of the validation part: the "
                 "network learned by heart; %s",
                 100 * outcome->train_accuracy, 100 * outcome->accuracy,
                 augmentation(&settings->augment));
    else if (share < 1 && outcome->accuracy <= share + fmin(chance, NOTHING_ABOVE))
        nothing_learned(settings, outcome, text, size);
}
