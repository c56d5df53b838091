/* Normalisation, activation and pooling, forward and backward. */
#include "kernels/affine.h"
#include "kernels/c/kernels_c.h"
#include "kernels/c/tier_c.h"

#include "base/bits.h"

void bp_sums_i16_c(const int16_t *y, size_t n, size_t c, int limit, int64_t *sum,
                   int64_t *sum_squares) {
    (void)limit;
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j++) {
            int32_t v = y[p * c + j];
            sum[j] += v;
            sum_squares[j] += v * v;
        }
}

void bp_half_sums_i16_c(const int16_t *y, size_t n, size_t c, int limit, int64_t *sums) {
    (void)limit;
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j++) {
            int32_t v = y[p * c + j], upper = v < 0 ? 0 : v, lower = v - upper;
            sums[j] += upper;
            sums[c + j] += upper * upper;
            sums[2 * c + j] += lower;
            sums[3 * c + j] += lower * lower;
        }
}

void bp_sums_f32_c(const float *y, size_t n, size_t c, double *sum, double *sum_squares) {
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j++) {
            double v = (double)y[p * c + j];
            sum[j] += v;
            sum_squares[j] += v * v;
        }
}

/* Where the activation's slope applies; 1 elsewhere, which changes nothing. Without a branch: signs
 * are random, and the compiler can use vectors. `with_slope` is a constant where this is called. */
static inline float slope_at(float v, const float *slope, size_t j, int with_slope) {
    if (!with_slope)
        return 1.0f;
    float s = slope[j];
    return v < 0.0f ? s : 1.0f;
}

#define AFFINE_ACT_BODY(with_slope)                                                                \
    for (size_t p = 0; p < n; p++)                                                                 \
        for (size_t j = 0; j < c; j++) {                                                           \
            float v = (float)y[p * c + j] * a->scale[j] + a->shift[j];                             \
            v *= slope_at(v, a->slope, j, with_slope);                                             \
            z[p * c + j] = residual == NULL ? v : v + residual[p * c + j];                         \
        }

void bp_affine_act_i16_c(const int16_t *y, size_t n, size_t c, const struct bp_affine_rows *a,
                         const float *residual, int stream, float *z, double *sum,
                         double *sum_squares) {
    (void)stream;
    if (a->slope != NULL)
        AFFINE_ACT_BODY(1)
    else
        AFFINE_ACT_BODY(0)
    if (sum != NULL)
        bp_sums_f32_c(z, n, c, sum, sum_squares);
}

void bp_affine_act_f32_c(const float *y, size_t n, size_t c, const struct bp_affine_rows *a,
                         const float *residual, int stream, float *z, double *sum,
                         double *sum_squares) {
    (void)stream;
    if (a->slope != NULL)
        AFFINE_ACT_BODY(1)
    else
        AFFINE_ACT_BODY(0)
    if (sum != NULL)
        bp_sums_f32_c(z, n, c, sum, sum_squares);
}

#define PIECE 256 /* channels of a row that are on the stack at once */

static void copy_floats(const void *y, enum value_type type, size_t at, size_t count, float *to) {
    if (type == VALUE_F16)
        bp_widen_f16_c((const uint16_t *)y + at, count, to);
    else if (type == VALUE_F32)
        memcpy(to, (const float *)y + at, count * sizeof *to);
    else
        for (size_t i = 0; i < count; i++)
            to[i] = (float)((const int16_t *)y)[at + i];
}

void bp_affine_act_f16_c(const void *y, enum value_type type, size_t n, size_t c,
                         const struct bp_affine_rows *a, const uint16_t *residual, uint16_t *z,
                         double *sum, double *sum_squares) {
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j += PIECE) {
            const struct bp_affine_rows part = bp_affine_from(a, j);
            size_t at = p * c + j, count = bp_min_size(PIECE, c - j);
            float more[PIECE], row[PIECE];
            if (residual != NULL)
                bp_widen_f16_c(residual + at, count, more);
            copy_floats(y, type, at, count, row);
            bp_affine_act_f32_c(row, 1, count, &part, residual == NULL ? NULL : more, 0, row, NULL,
                                NULL);
            bp_settle_f16_c(row, count, z + at);
            if (sum != NULL)
                bp_sums_f32_c(row, 1, count, sum + j, sum_squares + j);
        }
}

/* The signs of 64 channels of a pixel at a time. */
#define AFFINE_SIGNS_BODY(affine_act)                                                              \
    for (size_t p = 0; p < n; p++)                                                                 \
        for (size_t j = 0; j < c; j += 64) {                                                       \
            const struct bp_affine_rows part = bp_affine_from(a, j);                               \
            size_t count = bp_min_size(64, c - j);                                                 \
            float z[64];                                                                           \
            affine_act(y + p * c + j, 1, count, &part, NULL, 0, z, NULL, NULL);                    \
            bp_sign_pack_f32_c(z, 1, count, bits++, mask == NULL ? NULL : mask++);                 \
        }

void bp_affine_signs_i16_c(const int16_t *y, size_t n, size_t c, const struct bp_affine_rows *a,
                           uint64_t *bits, uint64_t *mask) {
    AFFINE_SIGNS_BODY(bp_affine_act_i16_c)
}

void bp_affine_signs_f32_c(const float *y, size_t n, size_t c, const struct bp_affine_rows *a,
                           uint64_t *bits, uint64_t *mask) {
    AFFINE_SIGNS_BODY(bp_affine_act_f32_c)
}

void bp_affine_signs_f16_c(const uint16_t *y, size_t n, size_t c, const struct bp_affine_rows *a,
                           uint64_t *bits, uint64_t *mask) {
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j += 64) {
            const struct bp_affine_rows part = bp_affine_from(a, j);
            float piece[64];
            size_t count = bp_min_size(64, c - j);
            bp_widen_f16_c(y + p * c + j, count, piece);
            bp_affine_signs_f32_c(piece, 1, count, &part, bits++, mask == NULL ? NULL : mask++);
        }
}

void bp_affine_pool_signs_i16_c(const int16_t *upper, const int16_t *lower, size_t n, size_t c,
                                const struct bp_affine_rows *a, uint64_t *bits, uint64_t *mask,
                                uint64_t *which) {
    size_t cw = bp_words(c);
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j += 64) {
            const struct bp_affine_rows part = bp_affine_from(a, j);
            size_t count = bp_min_size(64, c - j);
            float z[4 * 64], pooled[64]; /* two pixels of either row, count channels each */
            uint64_t winner[2];
            for (size_t i = 0; i < 4; i++)
                bp_affine_act_i16_c((i < 2 ? upper : lower) + (2 * p + i % 2) * c + j, 1, count,
                                    &part, NULL, 0, z + i * count, NULL, NULL);
            bp_max_pool_2x2_c(z, z + 2 * count, 1, count, pooled, winner);
            bp_sign_pack_f32_c(pooled, 1, count, bits++, mask == NULL ? NULL : mask++);
            for (size_t bit = 0; which != NULL && bit < 2; bit++)
                which[(2 * p + bit) * cw + j / 64] = winner[bit];
        }
}

/* Takes candidate `index` if it is greater than the best so far, or NaN. */
static inline void challenge(float v, unsigned index, float *best, unsigned *winner) {
    int wins = (v > *best) | (v != v);
    *best = wins ? v : *best;
    *winner = wins ? index : *winner;
}

void bp_max_pool_2x2_c(const float *a, const float *b, size_t n, size_t c, float *z,
                       uint64_t *which) {
    size_t cw = bp_words(c);
    for (size_t p = 0; p < n; p++)
        for (size_t w = 0; w < cw; w++) {
            size_t count = bp_min_size(64, c - w * 64), first = 2 * p * c + w * 64;
            uint64_t low = 0, high = 0;
            for (size_t i = 0; i < count; i++) {
                const float *upper = a + first + i, *lower = b + first + i;
                float best = upper[0];
                unsigned winner = 0;
                challenge(upper[c], 1, &best, &winner);
                challenge(lower[0], 2, &best, &winner);
                challenge(lower[c], 3, &best, &winner);
                z[p * c + w * 64 + i] = best;
                low |= (uint64_t)(winner & 1) << i;
                high |= (uint64_t)(winner >> 1) << i;
            }
            if (which != NULL) {
                which[p * 2 * cw + w] = low;
                which[(p * 2 + 1) * cw + w] = high;
            }
        }
}

void bp_max_unpool_2x2_c(const struct bp_gradient_rows *g, const uint64_t *which, size_t n,
                         size_t c, float *a, float *b) {
    size_t cw = bp_words(c);
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j++) {
            const uint64_t *words = which + p * 2 * cw;
            int winner = bp_bit(words, j) + 2 * bp_bit(words + cw, j);
            float v = g->floats != NULL ? g->floats[p * c + j] : bp_sum_at(g, p * c + j);
            a[2 * p * c + j] = bp_value_or_zero(winner == 0, v);
            a[(2 * p + 1) * c + j] = bp_value_or_zero(winner == 1, v);
            b[2 * p * c + j] = bp_value_or_zero(winner == 2, v);
            b[(2 * p + 1) * c + j] = bp_value_or_zero(winner == 3, v);
        }
}

void bp_max_window_c(const float *x, size_t n, size_t step, size_t rows, size_t columns,
                     size_t row_step, size_t c, float *z, uint8_t *winner) {
    for (size_t p = 0; p < n; p++, x += step, z += c)
        for (size_t j = 0; j < c; j++) {
            float best = x[j];
            unsigned index = 0;
            for (size_t y = 0; y < rows; y++)
                for (size_t i = 0; i < columns; i++)
                    challenge(x[y * row_step + i * c + j], (unsigned)(y * columns + i), &best,
                              &index);
            z[j] = best;
            if (winner != NULL)
                winner[p * c + j] = (uint8_t)index;
        }
}

void bp_max_window_i16_c(const int16_t *x, size_t n, size_t step, size_t rows, size_t columns,
                         size_t row_step, size_t c, const int16_t *flip, int16_t *restrict z,
                         uint8_t *restrict winner) {
    for (size_t p = 0; p < n; p++, x += step, z += c, winner += c) {
        for (size_t j = 0; j < c; j++) {
            z[j] = x[j] ^ flip[j];
            winner[j] = 0;
        }
        for (size_t i = 1; i < rows * columns; i++)
            for (size_t j = 0; j < c; j++) {
                int16_t later = x[i / columns * row_step + i % columns * c + j] ^ flip[j];
                winner[j] = later > z[j] ? (uint8_t)i : winner[j];
                z[j] = later > z[j] ? later : z[j];
            }
        for (size_t j = 0; j < c; j++)
            z[j] ^= flip[j];
    }
}

void bp_max_window_back_c(const float *g, const uint8_t *winner, const size_t *offset,
                          const uint8_t *index, size_t count, size_t n, size_t c, size_t step,
                          int add, float *dx) {
    for (size_t p = 0; p < n; p++, g += c, winner += c, dx += step) {
        for (size_t j = 0; !add && j < c; j++)
            dx[j] = 0.0f;
        for (size_t w = 0; w < count; w++)
            for (size_t j = 0; j < c; j++) {
                float sum = dx[j] + g[offset[w] + j];
                dx[j] = winner[offset[w] + j] == index[w] ? sum : dx[j];
            }
    }
}

void bp_average_back_c(const float *g, size_t n, size_t columns, size_t c, float scale, int add,
                       float *restrict dx) {
    for (size_t p = 0; p < n; p++, g += c)
        for (size_t i = 0; i < columns; i++, dx += c) {
            if (add)
                for (size_t j = 0; j < c; j++)
                    dx[j] += scale * g[j];
            else
                for (size_t j = 0; j < c; j++)
                    dx[j] = scale * g[j];
        }
}

/* The backward loops; the types of y differ only in the conversion. of_g: the gradient's element.
 */
#define ACT_SUMS_BODY(with_slope, of_g)                                                            \
    for (size_t p = 0; p < n; p++)                                                                 \
        for (size_t j = 0; j < c; j++) {                                                           \
            float value = (float)y[p * c + j], gz = of_g;                                          \
            float v = value * scale[j] + shift[j];                                                 \
            float ga = gz * slope_at(v, slope, j, with_slope);                                     \
            sum_g[j] += ga;                                                                        \
            sum_gy[j] += ga * value;                                                               \
            if (with_slope)                                                                        \
                sum_slope[j] += bp_value_or_zero(v < 0.0f, gz * v);                                \
        }

#define ACT_SUMS_BODIES                                                                            \
    if (slope != NULL && g->floats != NULL)                                                        \
        ACT_SUMS_BODY(1, g->floats[p * c + j])                                                     \
    else if (slope != NULL)                                                                        \
        ACT_SUMS_BODY(1, bp_sum_at(g, p *c + j))                                                   \
    else if (g->floats != NULL)                                                                    \
        ACT_SUMS_BODY(0, g->floats[p * c + j])                                                     \
    else                                                                                           \
        ACT_SUMS_BODY(0, bp_sum_at(g, p *c + j))

static int is_bf16(const struct bp_gradient_rows *g) {
    return g != NULL && g->floats == NULL && g->bf16 != NULL;
}

/* Elements at .. at + count - 1 of a gradient; those of bfloat16 are made floats in `buffer`. */
static struct bp_gradient_rows piece_of(const struct bp_gradient_rows *g, size_t at, size_t count,
                                        float buffer[PIECE]) {
    if (!is_bf16(g))
        return bp_gradient_from(g, at);
    bp_widen_bf16_c(g->bf16 + at, count, buffer);
    return (struct bp_gradient_rows){.floats = buffer};
}

/* Piece by piece in order of the rows, with floats g: `step` of a kernel's rows from y + at on. */
#define BY_PIECES(step)                                                                            \
    for (size_t p = 0; p < n; p++)                                                                 \
        for (size_t j = 0; j < c; j += PIECE) {                                                    \
            size_t at = p * c + j, count = bp_min_size(PIECE, c - j);                              \
            const float *part = slope == NULL ? NULL : slope + j;                                  \
            float of_g[PIECE];                                                                     \
            const struct bp_gradient_rows piece = piece_of(g, at, count, of_g);                    \
            step                                                                                   \
        }

void bp_act_sums_i16_c(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                       const float *scale, const float *shift, const float *slope,
                       float *restrict sum_g, float *restrict sum_gy, float *restrict sum_slope) {
    if (is_bf16(g)) {
        BY_PIECES(bp_act_sums_i16_c(&piece, y + at, 1, count, scale + j, shift + j, part, sum_g + j,
                                    sum_gy + j, slope == NULL ? NULL : sum_slope + j);)
        return;
    }
    ACT_SUMS_BODIES
}

void bp_act_sums_f32_c(const struct bp_gradient_rows *g, const float *y, size_t n, size_t c,
                       const float *scale, const float *shift, const float *slope,
                       float *restrict sum_g, float *restrict sum_gy, float *restrict sum_slope) {
    if (is_bf16(g)) {
        BY_PIECES(bp_act_sums_f32_c(&piece, y + at, 1, count, scale + j, shift + j, part, sum_g + j,
                                    sum_gy + j, slope == NULL ? NULL : sum_slope + j);)
        return;
    }
    ACT_SUMS_BODIES
}

void bp_act_sums_f16_c(const struct bp_gradient_rows *g, const uint16_t *y, size_t n, size_t c,
                       const float *scale, const float *shift, const float *slope,
                       float *restrict sum_g, float *restrict sum_gy, float *restrict sum_slope) {
    float row[PIECE];
    BY_PIECES(bp_widen_f16_c(y + at, count, row);
              bp_act_sums_f32_c(&piece, row, 1, count, scale + j, shift + j, part, sum_g + j,
                                sum_gy + j, slope == NULL ? NULL : sum_slope + j);)
}

void bp_pool_sums_i16_c(const struct bp_gradient_rows *g, const int16_t *upper,
                        const int16_t *lower, const uint64_t *which, size_t n, size_t c,
                        const float *scale, const float *shift, const float *slope,
                        float *restrict sum_g, float *restrict sum_gy, float *restrict sum_slope) {
    size_t cw = bp_words(c);
    int16_t winner[PIECE];
    for (size_t p = 0; p < n; p++, upper += 2 * c, lower += 2 * c, which += 2 * cw)
        for (size_t j = 0; j < c; j += PIECE) {
            size_t count = bp_min_size(PIECE, c - j);
            const struct bp_gradient_rows piece = bp_gradient_from(g, p * c + j);
            for (size_t i = j; i < j + count; i++) {
                const int16_t *row = bp_bit(which + cw, i) ? lower : upper;
                winner[i - j] = row[(bp_bit(which, i) ? c : 0) + i];
            }
            bp_act_sums_i16_c(&piece, winner, 1, count, scale + j, shift + j,
                              slope == NULL ? NULL : slope + j, sum_g + j, sum_gy + j,
                              slope == NULL ? NULL : sum_slope + j);
        }
}

#define ACT_GRAD_BODY(with_slope, of_g)                                                            \
    for (size_t p = 0; p < n; p++)                                                                 \
        for (size_t j = 0; j < c; j++) {                                                           \
            float value = (float)y[p * c + j];                                                     \
            float v = value * scale[j] + shift[j];                                                 \
            float ga = of_g * slope_at(v, slope, j, with_slope);                                   \
            float gradient = (ga * ka[j] + value * kb[j]) + kc[j];                                 \
            out[p * c + j] = add ? out[p * c + j] + gradient : gradient;                           \
        }

#define ACT_GRAD_NONE                                                                              \
    for (size_t p = 0; p < n; p++)                                                                 \
        for (size_t j = 0; j < c; j++) {                                                           \
            float gradient = (float)y[p * c + j] * kb[j] + kc[j];                                  \
            out[p * c + j] = add ? out[p * c + j] + gradient : gradient;                           \
        }

#define ACT_GRAD_BODIES                                                                            \
    if (g == NULL)                                                                                 \
        ACT_GRAD_NONE                                                                              \
    else if (slope != NULL && g->floats != NULL)                                                   \
        ACT_GRAD_BODY(1, g->floats[p * c + j])                                                     \
    else if (slope != NULL)                                                                        \
        ACT_GRAD_BODY(1, bp_sum_at(g, p *c + j))                                                   \
    else if (g->floats != NULL)                                                                    \
        ACT_GRAD_BODY(0, g->floats[p * c + j])                                                     \
    else                                                                                           \
        ACT_GRAD_BODY(0, bp_sum_at(g, p *c + j))

void bp_act_grad_i16_c(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                       const float *scale, const float *shift, const float *slope, const float *ka,
                       const float *kb, const float *kc, int add, float *out) {
    if (is_bf16(g)) {
        BY_PIECES(bp_act_grad_i16_c(&piece, y + at, 1, count, scale + j, shift + j, part, ka + j,
                                    kb + j, kc + j, add, out + at);)
        return;
    }
    ACT_GRAD_BODIES
}

void bp_act_grad_f32_c(const struct bp_gradient_rows *g, const float *y, size_t n, size_t c,
                       const float *scale, const float *shift, const float *slope, const float *ka,
                       const float *kb, const float *kc, int add, float *out) {
    if (is_bf16(g)) {
        BY_PIECES(bp_act_grad_f32_c(&piece, y + at, 1, count, scale + j, shift + j, part, ka + j,
                                    kb + j, kc + j, add, out + at);)
        return;
    }
    ACT_GRAD_BODIES
}

static void copy_added(const struct bp_gradient_rows *add, size_t at, size_t count, float *to) {
    if (add != NULL && add->floats != NULL)
        memcpy(to, add->floats + at, count * sizeof *to);
    else if (add != NULL)
        bp_widen_bf16_c(add->bf16 + at, count, to);
}

void bp_act_grad_f16_c(const struct bp_gradient_rows *g, const uint16_t *y, size_t n, size_t c,
                       const float *scale, const float *shift, const float *slope, const float *ka,
                       const float *kb, const float *kc, const struct bp_gradient_rows *add,
                       uint16_t *out) {
    float row[PIECE], to[PIECE];
    BY_PIECES(bp_widen_f16_c(y + at, count, row); copy_added(add, at, count, to);
              bp_act_grad_f32_c(g == NULL ? NULL : &piece, row, 1, count, scale + j, shift + j,
                                part, ka + j, kb + j, kc + j, add != NULL, to);
              bp_round_bf16_c(to, count, out + at);)
}

void bp_act_range_i16_c(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                        const float *scale, const float *shift, const float *slope, const float *ka,
                        const float *kb, const float *kc, struct bp_columns to) {
    float row[PIECE];
    for (size_t at = 0; at < n * c; at += c)
        for (size_t j = 0; j < c; j += PIECE) {
            size_t count = bp_min_size(PIECE, c - j);
            const struct bp_gradient_rows piece = bp_gradient_from(g, at + j);
            bp_act_grad_i16_c(g == NULL ? NULL : &piece, y + at + j, 1, count, scale + j, shift + j,
                              slope == NULL ? NULL : slope + j, ka + j, kb + j, kc + j, 0, row);
            bp_range_columns_c(row, 1, count,
                               (struct bp_columns){to.lo + j, to.hi + j, to.sum_squares + j});
        }
}

void bp_act_columns_i16_c(const int16_t *y, size_t n, size_t c, const int32_t *column, size_t k,
                          const float *kb, const float *kc, float *out) {
    for (size_t p = 0; p < n; p++, y += c, out += k)
        for (size_t j = 0; j < k; j++) {
            int32_t i = column[j];
            out[j] = (float)y[i] * kb[i] + kc[i];
        }
}
