#include "ops/grad_quant.h"

#include <math.h>
#include <string.h>

bp_status bp_quant_check(const struct bp_quant *quant, const char *product) {
    int b = quant->bits;
    if (b != 1 && b != 2 && b != 3 && b != 4 && b != 8)
        return bp_fail(BP_USAGE, "gradient bits of %s: %d is not possible; use 1, 2, 3, 4 or 8",
                       product, b);
    if (!(quant->keep > 0.0f && quant->keep <= 1.0f))
        return bp_fail(BP_USAGE, "gradient keep fraction of %s: %g is not in (0, 1]", product,
                       (double)quant->keep);
    if (quant->select == BP_SELECT_NONE && quant->keep != 1.0f)
        return bp_fail(
            BP_USAGE,
            "gradient selection of %s is 'none', which keeps every group; it needs keep 1, "
            "not %g",
            product, (double)quant->keep);
    if (quant->grid == BP_GRID_ZERO && b == 1)
        return bp_fail(BP_USAGE,
                       "the zero grid of %s needs at least 2 gradient bits; use --grad-bits 2 or "
                       "--grad-grid minmax",
                       product);
    if (!(quant->clip >= 0.0f) || isinf(quant->clip))
        return bp_fail(BP_USAGE, "gradient clip of %s: %g is not possible; use 0 (off) or more",
                       product, (double)quant->clip);
    return BP_OK;
}

void bp_quant_codes(const struct bp_quant *quant, int *code_min, int *code_max, int *is_signed) {
    *is_signed = quant->grid == BP_GRID_ZERO;
    *code_max = *is_signed ? (1 << (quant->bits - 1)) - 1 : (1 << quant->bits) - 1;
    *code_min = *is_signed ? -*code_max : 0;
}

static float largest_magnitude(const struct bp_range *range) {
    return fmaxf(fabsf(range->lo), fabsf(range->hi));
}

void bp_quant_grid(const struct bp_quant *quant, size_t count, struct bp_group *group) {
    float levels = (float)((1 << quant->bits) - 1);
    float lo = group->range.lo, hi = group->range.hi, magnitude = largest_magnitude(&group->range);
    if (quant->clip > 0.0f) {
        float limit = quant->clip * sqrtf(group->range.sum_squares / (float)count);
        magnitude = fminf(magnitude, limit);
        lo = fminf(fmaxf(lo, -limit), limit);
        hi = fminf(fmaxf(hi, -limit), limit);
    }
    switch (quant->grid) {
    case BP_GRID_MINMAX:
        group->step = (hi - lo) / levels;
        break;
    case BP_GRID_SYMMETRIC:
        lo = -magnitude;
        group->step = 2.0f * magnitude / levels;
        break;
    case BP_GRID_ZERO:
        lo = 0.0f;
        group->step = magnitude / (float)((1 << (quant->bits - 1)) - 1);
        break;
    }
    group->grid.lo = lo;
    group->grid.inv_step = 1.0f / group->step;
    /* A step so small that its inverse, in parts of a step, overflows: the group is constant as far
     * as floats can tell. */
    if (!(group->step > 0.0f) || isinf(group->grid.inv_step * 65536.0f)) {
        group->step = 0.0f;
        group->grid.inv_step = 0.0f;
    }
}

/* The expected rounding variance of a group: S^2 f (1 - f) with f uniform, S^2 / 6 per element. */
static double expected_rounding_variance(const struct bp_group *group, size_t count) {
    return (double)group->step * (double)group->step / 6.0 * (double)count;
}

static float weight_of(const struct bp_quant *quant, const struct bp_group *group, size_t count) {
    float magnitude = largest_magnitude(&group->range);
    if (!(magnitude > 0.0f))
        return 0.0f; /* all zero: never kept, and nothing is lost */
    if (quant->select == BP_SELECT_TOPK)
        return magnitude;
    switch (quant->weights) {
    case BP_WEIGHTS_RANGE: {
        /* A constant group has range 0 but must not be lost: its magnitude stands in. */
        float range = group->range.hi - group->range.lo;
        return range > 0.0f ? range : magnitude;
    }
    case BP_WEIGHTS_RMS:
        return (float)sqrt((double)group->range.sum_squares +
                           expected_rounding_variance(group, count));
    case BP_WEIGHTS_UNIFORM:
        break;
    }
    return 1.0f;
}

/* Of weights >= 0 the order of their bits is that of the floats; complemented, the other one. */
static uint32_t falling_key(const struct bp_group *group) {
    uint32_t bits;
    memcpy(&bits, &group->probability, sizeof bits);
    return ~bits;
}

/* Sorts indices by falling weight, ties by rising index: by one byte of the key after another, from
 * the lowest. Weights stand in groups[i].probability. order [2][n]: the result in its first half.
 */
static void sort_by_weight(const struct bp_group *groups, size_t n, uint32_t *order) {
    uint32_t *from = order, *to = order + n;
    for (size_t i = 0; i < n; i++)
        order[i] = (uint32_t)i;
    for (int shift = 0; shift < 32; shift += 8) {
        uint32_t place[257] = {0};
        for (size_t i = 0; i < n; i++)
            place[(falling_key(&groups[i]) >> shift & 255) + 1]++;
        for (int b = 0; b < 255; b++)
            place[b + 1] += place[b];
        for (size_t i = 0; i < n; i++)
            to[place[falling_key(&groups[from[i]]) >> shift & 255]++] = from[i];
        uint32_t *sorted = to;
        to = from;
        from = sorted;
    }
}

/* Water-filling. In order of falling weight, the first `full` groups get p = 1 and the rest
 * c * weight with c = (target - full) / (sum of the rest's weights), where `full` is the smallest
 * number that leaves every p <= 1. Weights are added from the lightest up: taken off their total
 * instead, light groups would drown in the rounding of heavy ones. */
static void fill_probabilities(struct bp_group *groups, size_t n, size_t target,
                               const uint32_t *order) {
    double rest = 0.0;
    size_t full = n;
    while (full > 0) {
        double weight = (double)groups[order[full - 1]].probability;
        if (weight > 0.0 && weight * ((double)target - (double)full) >= rest)
            break; /* with the rest, it would get 1 or more */
        rest += weight;
        full--;
    }
    double left = (double)target - (double)full;
    for (size_t i = 0; i < n; i++) {
        struct bp_group *group = &groups[order[i]];
        double p = i < full ? 1.0 : rest > 0.0 ? left * (double)group->probability / rest : 0.0;
        group->probability = p > 1.0 ? 1.0f : (float)p;
    }
}

void bp_quant_probabilities(const struct bp_quant *quant, size_t count, struct bp_group *groups,
                            size_t n, uint32_t *order) {
    for (size_t i = 0; i < n; i++)
        groups[i].probability = weight_of(quant, &groups[i], count);
    if (quant->select == BP_SELECT_NONE) {
        for (size_t i = 0; i < n; i++)
            groups[i].probability = groups[i].probability > 0.0f ? 1.0f : 0.0f;
        return;
    }
    size_t target = (size_t)floor((double)quant->keep * (double)n + 0.5);
    if (target < 1)
        target = 1;
    sort_by_weight(groups, n, order);
    if (quant->select == BP_SELECT_TOPK) {
        for (size_t i = 0; i < n; i++) {
            struct bp_group *group = &groups[order[i]];
            group->probability = i < target && group->probability > 0.0f ? 1.0f : 0.0f;
        }
        return;
    }
    fill_probabilities(groups, n, target, order);
}

static void keep(struct bp_group *group) {
    group->kept = 1;
    group->scale = group->step / group->probability;
    group->offset = group->grid.lo / group->probability;
    /* A constant group on the zero grid: step 0 means the value is 0 as far as floats can tell. */
}

size_t bp_quant_select(const struct bp_quant *quant, const struct bp_stream *stream,
                       struct bp_group *groups, size_t n) {
    size_t kept = 0;
    double cumulated = 0.0;
    double offset = (double)bp_stream_uniform(stream, 0);
    for (size_t i = 0; i < n; i++) {
        struct bp_group *group = &groups[i];
        double p = (double)group->probability;
        int keep_it;
        if (quant->select == BP_SELECT_BERNOULLI) {
            keep_it = (double)bp_stream_uniform(stream, i) < p;
        } else if (quant->select == BP_SELECT_SYSTEMATIC) {
            /* Group i is kept if a point of the lattice offset + integers falls into its interval
             * [cumulated, cumulated + p). p = 1 always catches one. */
            double next = cumulated + p;
            keep_it = p >= 1.0 || ceil(next - offset) > ceil(cumulated - offset);
            cumulated = next;
        } else {
            keep_it = p > 0.0;
        }
        group->kept = 0;
        group->scale = group->offset = 0.0f;
        if (keep_it) {
            keep(group);
            kept++;
        }
    }
    return kept;
}

double bp_quant_rounding_variance(const struct bp_group *group, int code_min, int code_max, float g,
                                  double *mean) {
    double step = (double)group->step, lo = (double)group->grid.lo;
    if (!(step > 0.0)) {
        *mean = lo;
        return 0.0;
    }
    double t = fmin(fmax(((double)g - lo) / step, code_min), code_max);
    double f = t - floor(t);
    *mean = lo + step * t;
    return step * step * f * (1.0 - f);
}

double bp_quant_variance(const struct bp_group *group, const float *g, size_t count) {
    if (!(group->probability > 0.0f))
        return 0.0;
    double p = (double)group->probability, rounding = 0.0, squares = 0.0;
    double step = (double)group->step, lo = (double)group->grid.lo;
    for (size_t i = 0; i < count; i++) {
        double value = (double)g[i];
        squares += value * value;
        if (step > 0.0) {
            double t = (value - lo) / step;
            double f = t - floor(t);
            rounding += step * step * f * (1.0 - f);
        }
    }
    return rounding / p + (1.0 / p - 1.0) * squares;
}
