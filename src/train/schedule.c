#include "train/schedule.h"

#include <math.h>
#include <string.h>

static const char *const names[] = {"constant", "cosine", "step"};

const char *bp_schedule_name(enum bp_schedule_kind kind) {
    return names[kind];
}

bp_status bp_schedule_parse(const char *name, enum bp_schedule_kind *out) {
    for (int i = 0; i < 3; i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (enum bp_schedule_kind)i;
            return BP_OK;
        }
    }
    return bp_fail(BP_USAGE, "unknown schedule '%s': use constant, cosine or step", name);
}

bp_status bp_schedule_check(const struct bp_schedule_config *config) {
    if (!(config->min_factor >= 0 && config->min_factor <= 1))
        return bp_fail(BP_USAGE, "the schedule's smallest factor %g: must be in [0, 1]",
                       config->min_factor);
    if (config->kind != BP_SCHEDULE_STEP)
        return BP_OK;
    if (!(config->gamma > 0 && config->gamma <= 1))
        return bp_fail(BP_USAGE, "the schedule's gamma %g: must be in (0, 1]", config->gamma);
    if (config->n_milestones > BP_SCHEDULE_MILESTONES_MAX)
        return bp_fail(BP_USAGE, "%zu milestones: at most %d", config->n_milestones,
                       BP_SCHEDULE_MILESTONES_MAX);
    if (config->n_milestones == 0 && config->every_steps == 0)
        return bp_fail(BP_USAGE, "schedule 'step' needs milestones or an interval");
    return BP_OK;
}

double bp_schedule_factor(const struct bp_schedule_config *config, double step,
                          uint64_t total_steps) {
    const double pi = 3.14159265358979323846;
    const double warmup = (double)config->warmup_steps;
    if (step < warmup)
        return (step + 1) / warmup;
    switch (config->kind) {
    case BP_SCHEDULE_COSINE: {
        if (step >= (double)total_steps)
            return config->min_factor;
        double progress = (step - warmup) / (double)(total_steps - config->warmup_steps);
        return config->min_factor + (1 - config->min_factor) * 0.5 * (1 + cos(pi * progress));
    }
    case BP_SCHEDULE_STEP: {
        uint64_t passed =
            config->n_milestones ? 0 : (uint64_t)floor(step / (double)config->every_steps);
        for (size_t i = 0; i < config->n_milestones; i++)
            passed += step >= (double)config->milestones[i];
        return pow(config->gamma, (double)passed);
    }
    case BP_SCHEDULE_CONSTANT:
        break;
    }
    return 1;
}

double bp_schedule_position(const struct bp_schedule_cut *cut, uint64_t step, uint64_t planned) {
    if (cut->steps == 0)
        return (double)step;
    double share = (double)(step - cut->step) / (double)(cut->steps - cut->step);
    return cut->position + share * ((double)planned - cut->position);
}

void bp_schedule_cut_to(struct bp_schedule_cut *cut, uint64_t step, uint64_t steps,
                        uint64_t planned) {
    double position = bp_schedule_position(cut, step, planned);
    *cut = (struct bp_schedule_cut){.step = step, .position = position, .steps = steps};
}
