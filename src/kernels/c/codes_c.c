/* Gradient rows rounded twice, and those behind 2x2 max pooling, a piece of a row at a time. */
#include "kernels/c/kernels_c.h"
#include "kernels/c/tier_c.h"

#include "base/bits.h"

#define PIECE 64 /* channels: where there are codes every c is a multiple */

/* Channels j .. j + PIECE - 1 of a row, elements from `at` on. */
static void round_piece(const float piece[PIECE], size_t at, size_t j,
                        const struct bp_rounding_both *both) {
    int32_t column[PIECE];
    for (int32_t i = 0; i < PIECE; i++)
        column[i] = i;
    bp_round_group_c(piece, PIECE, both->group_random + bp_rounding_bytes(&both->group) * at,
                     &both->group, both->group_grid, both->group_codes + at);
    bp_round_columns_c(piece, 1, PIECE, column, PIECE,
                       both->column_random + bp_rounding_bytes(&both->columns) * at, &both->columns,
                       both->column_grids + j, both->column_codes + at);
}

void bp_act_codes_i16_c(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                        const float *scale, const float *shift, const float *slope, const float *ka,
                        const float *kb, const float *kc, const struct bp_rounding_both *both) {
    float piece[PIECE];
    for (size_t at = 0; at < n * c; at += PIECE) {
        size_t j = at % c;
        const struct bp_gradient_rows of = bp_gradient_from(g, at);
        bp_act_grad_i16_c(g == NULL ? NULL : &of, y + at, 1, PIECE, scale + j, shift + j,
                          slope == NULL ? NULL : slope + j, ka + j, kb + j, kc + j, 0, piece);
        round_piece(piece, at, j, both);
    }
}

void bp_scale_codes_i16_c(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                          const float *scale, const float *slope,
                          const struct bp_rounding_both *both) {
    float piece[PIECE];
    for (size_t at = 0; at < n * c; at += PIECE) {
        size_t j = at % c;
        const struct bp_gradient_rows of = bp_gradient_from(g, at);
        bp_scale_grad_i16_c(&of, y + at, 1, PIECE, scale + j, slope == NULL ? NULL : slope + j,
                            piece);
        round_piece(piece, at, j, both);
    }
}

void bp_act_norm_codes_c(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                         const struct bp_act_norm_rows *a, const struct bp_rounding_both *both) {
    float piece[PIECE];
    for (size_t at = 0; at < n * c; at += PIECE) {
        size_t j = at % c;
        const struct bp_gradient_rows of = bp_gradient_from(g, at);
        const struct bp_act_norm_rows from = {a->alpha + j, a->slope + j, a->scale + j,
                                              a->shift + j, a->ka + j,    a->kb + j,
                                              a->kc + j};
        bp_act_norm_grad_c(g == NULL ? NULL : &of, y + at, 1, PIECE, &from, piece);
        round_piece(piece, at, j, both);
    }
}

/* --- behind 2x2 max pooling ------------------------------------------------------------------- */

struct pool_job {
    const struct bp_gradient_rows *g;
    const int16_t *y;
    const uint64_t *which;
    size_t n, c;
    const float *scale, *shift, *slope, *ka, *kb, *kc;
};

/* Up to PIECE channels from j on of pixel x of row r, 0 or 1. */
static void pixel_piece(const struct pool_job *job, size_t r, size_t x, size_t j, size_t count,
                        float piece[PIECE]) {
    size_t c = job->c, cw = bp_words(c), at = (r * 2 * job->n + x) * c + j;
    const uint64_t *which = job->which + x / 2 * 2 * cw;
    float part[PIECE];
    for (size_t i = 0; i < count; i++) {
        size_t of = x / 2 * c + j + i;
        float g = job->g->floats != NULL ? job->g->floats[of] : bp_sum_at(job->g, of);
        int wins = bp_bit(which, j + i) == (int)(x % 2) && bp_bit(which + cw, j + i) == (int)r;
        part[i] = wins ? g : 0.0f;
    }
    bp_act_grad_i16_c(&(struct bp_gradient_rows){.floats = part}, job->y + at, 1, count,
                      job->scale + j, job->shift + j, job->slope == NULL ? NULL : job->slope + j,
                      job->ka + j, job->kb + j, job->kc + j, 0, piece);
}

void bp_pool_range_i16_c(const struct bp_gradient_rows *g, const int16_t *y, const uint64_t *which,
                         size_t n, size_t c, const float *scale, const float *shift,
                         const float *slope, const float *ka, const float *kb, const float *kc,
                         struct bp_columns to) {
    const struct pool_job job = {g, y, which, n, c, scale, shift, slope, ka, kb, kc};
    float piece[PIECE];
    for (size_t x = 0; x < 4 * n; x++)
        for (size_t j = 0; j < c; j += PIECE) {
            size_t count = bp_min_size(PIECE, c - j);
            pixel_piece(&job, x / (2 * n), x % (2 * n), j, count, piece);
            bp_range_columns_c(piece, 1, count,
                               (struct bp_columns){to.lo + j, to.hi + j, to.sum_squares + j});
        }
}

void bp_pool_codes_i16_c(const struct bp_gradient_rows *g, const int16_t *y, const uint64_t *which,
                         size_t n, size_t c, const float *scale, const float *shift,
                         const float *slope, const float *ka, const float *kb, const float *kc,
                         const struct bp_rounding_both *both) {
    const struct pool_job job = {g, y, which, n, c, scale, shift, slope, ka, kb, kc};
    float piece[PIECE];
    for (size_t x = 0; x < 4 * n; x++)
        for (size_t j = 0; j < c; j += PIECE) {
            pixel_piece(&job, x / (2 * n), x % (2 * n), j, PIECE, piece);
            round_piece(piece, x * c + j, j, both);
        }
}
