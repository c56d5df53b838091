/* Gradient rows rounded twice, a piece of a row at a time. */
#include "kernels/c/tier_c.h"

#define PIECE 64 /* channels: every c is a multiple */

/* Channels j .. j + PIECE - 1 of a row, elements from `at` on. */
static void round_piece(const float piece[PIECE], size_t at, size_t j,
                        const struct bp_rounding_both *both) {
    int32_t column[PIECE];
    for (int32_t i = 0; i < PIECE; i++)
        column[i] = i;
    bp_round_group_c(piece, PIECE, both->group_random + at, &both->group, both->group_grid,
                     both->group_codes + at);
    bp_round_columns_c(piece, 1, PIECE, column, PIECE, both->column_random + at, &both->columns,
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
