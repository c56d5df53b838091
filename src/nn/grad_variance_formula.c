#include "nn/grad_variance_formula.h"

#include <math.h>

double bp_grad_norm(const float *values, size_t count) {
    double squares = 0.0;
    for (size_t i = 0; i < count; i++)
        squares += (double)values[i] * (double)values[i];
    return squares;
}

struct bp_grad_grouping bp_grad_grouping_make(const struct bp_quant *quant,
                                              const struct bp_group *groups) {
    struct bp_grad_grouping grouping = {.quant = quant, .groups = groups};
    int is_signed;
    bp_quant_codes(quant, &grouping.code_min, &grouping.code_max, &is_signed);
    return grouping;
}

static const struct bp_group *group_at(const struct bp_grad_grouping *grouping, size_t sample,
                                       size_t channel) {
    return &grouping->groups[grouping->quant->groups == BP_GROUPS_SAMPLE ? sample : channel];
}

int bp_grad_grouping_prunes(const struct bp_grad_grouping *grouping, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (grouping->groups[i].probability > 0.0f && grouping->groups[i].probability < 1.0f)
            return 1;
    return 0;
}

void bp_grad_grouping_clip(const struct bp_grad_grouping *grouping, const struct bp_conv_shape *s,
                           size_t n, float *g) {
    size_t pixels = s->oh * s->ow;
    for (size_t i = 0; i < n * pixels * s->k; i++) {
        double mean;
        const struct bp_group *group = group_at(grouping, i / s->k / pixels, i % s->k);
        bp_quant_rounding_variance(group, grouping->code_min, grouping->code_max, g[i], &mean);
        g[i] = (float)mean;
    }
}

/* reach(k): how many elements of the product an element of channel k at this pixel adds to. */
static void add_pixel(const struct bp_grad_grouping *grouping, size_t sample, size_t channels,
                      const float *g, const uint32_t *reach, size_t reach_step,
                      struct bp_grad_sums *sums) {
    for (size_t k = 0; k < channels; k++) {
        const struct bp_group *group = group_at(grouping, sample, k);
        double p = (double)group->probability, mean;
        if (!(p > 0.0))
            continue;
        double rounding =
            bp_quant_rounding_variance(group, grouping->code_min, grouping->code_max, g[k], &mean) /
            p;
        sums->gradient += rounding + (1.0 / p - 1.0) * mean * mean;
        sums->product += rounding * reach[k * reach_step];
    }
}

/* Sums over the taps that lie inside the image, for the output pixel (y, x). */
static uint32_t reached_inputs(const uint32_t *reached, const struct bp_conv_shape *s, size_t y,
                               size_t x) {
    uint32_t sum = 0;
    for (size_t ty = 0; ty < s->r; ty++)
        for (size_t tx = 0; tx < s->r; tx++) {
            size_t iy = y * s->stride + ty - s->pad, ix = x * s->stride + tx - s->pad;
            if (iy < s->h && ix < s->w) /* outside: wraps around, far above */
                sum += reached[iy * s->w + ix];
        }
    return sum;
}

/* Unmasked inputs of each pixel of a sample. */
static void count_mask(const uint64_t *mask, const struct bp_conv_shape *s, uint32_t *reached) {
    size_t words = bp_words(s->c);
    for (size_t i = 0; i < s->h * s->w; i++) {
        reached[i] = 0;
        for (size_t word = 0; word < words; word++)
            reached[i] += bp_count_bits(mask[i * words + word]);
    }
}

/* Groups are samples, and a sample's part of dA comes from its own gradient alone. */
struct bp_grad_sums bp_grad_sum_da(const struct bp_grad_grouping *grouping,
                                   const struct bp_conv_shape *s, size_t samples, const float *g,
                                   const uint64_t *mask, uint32_t *reached) {
    struct bp_grad_sums sums = {0};
    size_t mask_words = s->h * s->w * bp_words(s->c);
    for (size_t n = 0; n < samples; n++) {
        count_mask(mask + n * mask_words, s, reached);
        for (size_t y = 0; y < s->oh; y++)
            for (size_t x = 0; x < s->ow; x++) {
                uint32_t reach = reached_inputs(reached, s, y, x);
                add_pixel(grouping, n, s->k, g + ((n * s->oh + y) * s->ow + x) * s->k, &reach, 0,
                          &sums);
            }
    }
    return sums;
}

/* Bit t: tap t lies inside the image at output pixel (y, x). */
static uint32_t taps_inside(const struct bp_conv_shape *s, size_t y, size_t x) {
    uint32_t inside = 0;
    for (size_t ty = 0; ty < s->r; ty++)
        for (size_t tx = 0; tx < s->r; tx++) {
            size_t iy = y * s->stride + ty - s->pad, ix = x * s->stride + tx - s->pad;
            inside |= (uint32_t)(iy < s->h && ix < s->w) << (ty * s->r + tx);
        }
    return inside;
}

static void count_unmasked(const struct bp_conv_shape *s, const float *w, uint32_t *unmasked) {
    for (size_t i = 0; i < s->k * s->r * s->r; i++) {
        unmasked[i] = 0;
        for (size_t c = 0; c < s->c; c++)
            unmasked[i] += fabsf(w[i * s->c + c]) < 1.0f;
    }
}

static void reach_weights(const struct bp_conv_shape *s, const uint32_t *unmasked, uint32_t inside,
                          uint32_t *reached) {
    size_t taps = s->r * s->r;
    for (size_t k = 0; k < s->k; k++) {
        reached[k] = 0;
        for (size_t t = 0; t < taps; t++)
            reached[k] += inside >> t & 1 ? unmasked[k * taps + t] : 0;
    }
}

struct bp_grad_sums bp_grad_sum_dw(const struct bp_grad_grouping *grouping,
                                   const struct bp_conv_shape *s, size_t samples, const float *g,
                                   const float *w, uint32_t *unmasked, uint32_t *reached) {
    struct bp_grad_sums sums = {0};
    uint32_t last = UINT32_MAX;
    count_unmasked(s, w, unmasked);
    for (size_t i = 0; i < samples * s->oh * s->ow; i++) {
        uint32_t inside = taps_inside(s, i / s->ow % s->oh, i % s->ow);
        if (inside != last)
            reach_weights(s, unmasked, inside, reached);
        last = inside;
        add_pixel(grouping, i / s->ow / s->oh, s->k, g + i * s->k, reached, 1, &sums);
    }
    return sums;
}

double bp_grad_choice_variance(const struct bp_group *groups, size_t n, const float *product,
                               size_t block) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        double p = (double)groups[i].probability;
        if (p > 0.0 && p < 1.0)
            sum += (1.0 / p - 1.0) * bp_grad_norm(product + i * block, block);
    }
    return sum;
}
