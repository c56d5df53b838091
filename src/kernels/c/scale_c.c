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

void bp_mask_sums_c(const int32_t *sum, const uint64_t *mask, size_t n, size_t c, int16_t *out) {
    size_t cw = bp_words(c);
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j++)
            out[p * c + j] =
                (int16_t)((uint32_t)sum[p * c + j] & (uint32_t)-bp_bit(mask + p * cw, j));
}

void bp_scale_latent_c(const struct bp_latent_scale *by, const int32_t *sum, const int32_t *high,
                       const int32_t *neg, const float *w, size_t n, float *out) {
    for (size_t j = 0; j < n; j++) {
        /* unsigned: what does not fit in between comes back */
        uint32_t total = (uint32_t)sum[j] + (uint32_t)by->known;
        total += high != NULL ? 16 * (uint32_t)high[j] : 0;
        total -= neg != NULL ? (uint32_t)by->off * (uint32_t)neg[j] : 0;
        float value = by->scale * (float)(int32_t)total;
        if (neg != NULL)
            value += by->offset * (float)(by->valid - 2 * neg[j]);
        out[j] = bp_value_or_zero(w == NULL || fabsf(w[j]) < 1.0f, value);
    }
}

void bp_narrow_sums_c(const int32_t *sum, int32_t known, size_t n, int16_t *out) {
    for (size_t j = 0; j < n; j++)
        out[j] = (int16_t)(sum[j] + known);
}

void bp_latent_gradient_c(const int16_t *sum, float scale, const float *w, size_t n, float *out) {
    for (size_t j = 0; j < n; j++)
        out[j] = bp_value_or_zero(fabsf(w[j]) < 1.0f, scale * (float)sum[j]);
}
