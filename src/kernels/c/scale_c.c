/* The epilogues of both gradient products: integers to floats, masked. */
#include "kernels/c/kernels_c.h"
#include "kernels/c/tier_c.h"

#include <math.h>

#include "base/bits.h"

void bp_scale_mask_c(const int32_t *sum, const uint64_t *mask, size_t n, size_t c, float scale,
                     const float *offset, const uint8_t *row, float *out) {
    size_t cw = bp_words(c);
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j++) {
            float value = scale * (float)sum[p * c + j];
            value += offset[(size_t)row[p] * c + j];
            out[p * c + j] = bp_value_or_zero(bp_bit(mask + p * cw, j), value);
        }
}

void bp_mask_sums_c(const int32_t *sum, const uint64_t *mask, size_t n, size_t c, int shift,
                    int16_t *out) {
    size_t cw = bp_words(c);
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j++) {
            const int32_t inside = sum[p * c + j] & -bp_bit(mask + p * cw, j);
            out[p * c + j] = (int16_t)bp_shift_to_even(inside, shift);
        }
}

/* Element j. Unsigned: what does not fit in between comes back. */
static int32_t latent_sum(const struct bp_latent_scale *by, const int32_t *sum, const int32_t *high,
                          const int32_t *neg, size_t j) {
    uint32_t total = (uint32_t)sum[j] + (uint32_t)by->known;
    total += high != NULL ? 16 * (uint32_t)high[j] : 0;
    total -= neg != NULL ? (uint32_t)by->off * (uint32_t)neg[j] : 0;
    return (int32_t)total;
}

void bp_scale_latent_c(const struct bp_latent_scale *by, const int32_t *sum, const int32_t *high,
                       const int32_t *neg, const float *w, size_t n, float *out) {
    for (size_t j = 0; j < n; j++) {
        float value = by->scale * (float)latent_sum(by, sum, high, neg, j);
        if (neg != NULL)
            value += by->offset * (float)(by->valid - 2 * neg[j]);
        out[j] = bp_value_or_zero(w == NULL || fabsf(w[j]) < 1.0f, value);
    }
}

void bp_narrow_sums_c(const struct bp_latent_scale *by, const int32_t *sum, const int32_t *high,
                      const int32_t *neg, size_t n, int16_t *out) {
    for (size_t j = 0; j < n; j++)
        out[j] = (int16_t)bp_shift_to_even(latent_sum(by, sum, high, neg, j), by->shift);
}

void bp_latent_gradient_c(const int16_t *sum, float scale, const float *w, size_t n, float *out) {
    for (size_t j = 0; j < n; j++)
        out[j] = bp_value_or_zero(fabsf(w[j]) < 1.0f, scale * (float)sum[j]);
}
