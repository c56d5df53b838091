/* Tests of the backward pass of a plain scale of integers, and planted mistakes. */
#include "kcheck/kcheck.h"

#include <math.h>

#include "base/bits.h"
#include "kernels/c/tier_c.h"

struct scaled {
    size_t n, c;
    struct kc_gradient g;
    int16_t *y;
    float *scale, *slope;
};

/* c: a multiple of `step`. */
static struct scaled make_scaled(struct kcheck *t, size_t step) {
    struct scaled s = {.slope = NULL};
    kc_sizes(t, &s.n, &s.c);
    s.c = bp_round_up(s.c, step);
    size_t count = s.n * s.c;
    s.g = t->is_bench || kc_below(t, 3) == 0 ? kc_make_bf16_gradient(t, count)
                                             : kc_make_gradient(t, count, 0, KC_ANY_FLOAT);
    s.y = kc_input(t, "y", KC_I16, count);
    kc_fill_i16(t, s.y, count);
    for (size_t i = 0; i < count; i++)
        s.y[i] = s.y[i] == INT16_MIN ? 0 : s.y[i];
    s.scale = kc_input(t, "scale", KC_F32, s.c);
    kc_fill_moderate(t, s.scale, s.c);
    for (size_t j = 0; j < s.c; j++)
        s.scale[j] *= kc_below(t, 8) == 0 ? 0.0f : 1.0f;
    if (t->is_bench || kc_below(t, 4) != 0) {
        s.slope = kc_input(t, "slope", KC_F32, s.c);
        kc_fill_moderate(t, s.slope, s.c);
    }
    kc_params(t, "n=%zu c=%zu slope %s%s", s.n, s.c, s.slope ? "given" : "NULL", s.g.form);
    kc_work(t, (double)count, "element");
    return s;
}

static float value_at(const struct scaled *s, size_t i) {
    return (float)s->y[i] * s->scale[i % s->c];
}

static float activated(const struct scaled *s, size_t i) {
    float g = s->g.value[i];
    return s->slope != NULL && value_at(s, i) < 0.0f ? g * s->slope[i % s->c] : g;
}

void kcheck_scale_grad_i16(struct kcheck *t) {
    struct scaled s = make_scaled(t, 1);
    float *out = kc_output(t, "out", KC_F32, s.n * s.c);
    for (size_t i = 0; i < s.n * s.c; i++)
        out[i] = activated(&s, i) * s.scale[i % s.c];
    while (kc_next(t)) {
        const struct bp_gradient_rows g = kc_gradient_at(t, &s.g);
        t->kernels->scale_grad_i16(&g, kc_at(t, s.y), s.n, s.c, kc_at(t, s.scale),
                                   kc_at(t, s.slope), kc_at(t, out));
    }
}

void kcheck_scale_sums_i16(struct kcheck *t) {
    struct scaled s = make_scaled(t, 1);
    struct bp_columns r = kc_columns(t, s.c);
    float *gy = kc_output(t, "sum_gy", KC_F32, s.c), *slope = NULL;
    kc_fill_moderate(t, gy, s.c);
    kc_keep_initial(t, gy);
    if (s.slope != NULL) {
        slope = kc_output(t, "sum_slope", KC_F32, s.c);
        kc_fill_moderate(t, slope, s.c);
        kc_keep_initial(t, slope);
    }
    for (size_t i = 0; i < s.n * s.c; i++) {
        float ga = activated(&s, i), v = value_at(&s, i), product = ga * (float)s.y[i];
        gy[i % s.c] += product;
        product = s.g.value[i] * v;
        if (slope != NULL)
            slope[i % s.c] += v < 0.0f ? product : 0.0f;
        kc_columns_add(&r, i % s.c, ga * s.scale[i % s.c]);
    }
    while (kc_next(t)) {
        const struct bp_gradient_rows g = kc_gradient_at(t, &s.g);
        t->kernels->scale_sums_i16(&g, kc_at(t, s.y), s.n, s.c, kc_at(t, s.scale),
                                   kc_at(t, s.slope), kc_columns_at(t, &r), kc_at(t, gy),
                                   kc_at(t, slope));
    }
}

void kcheck_scale_codes_i16(struct kcheck *t) {
    struct scaled s = make_scaled(t, 64);
    struct bp_rounding_both both = kc_make_both(t, s.n, s.c);
    for (size_t i = 0; i < s.n * s.c; i++)
        kc_both_expect(&both, s.c, i, activated(&s, i) * s.scale[i % s.c]);
    while (kc_next(t)) {
        const struct bp_gradient_rows g = kc_gradient_at(t, &s.g);
        const struct bp_rounding_both to = kc_both_at(t, &both);
        t->kernels->scale_codes_i16(&g, kc_at(t, s.y), s.n, s.c, kc_at(t, s.scale),
                                    kc_at(t, s.slope), &to);
    }
}

/* --- planted mistakes ------------------------------------------------------------------------- */

static void slopes_by_the_sign_of_y(const struct bp_gradient_rows *g, const int16_t *y, size_t n,
                                    size_t c, const float *scale, const float *slope, float *out) {
    bp_scale_grad_i16_c(g, y, n, c, scale, NULL, out);
    for (size_t i = 0; slope != NULL && i < n * c; i++)
        out[i] *= y[i] < 0 ? slope[i % c] : 1.0f;
}

static void slopes_zeros_too(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                             const float *scale, const float *slope, float *out) {
    float one[1];
    bp_scale_grad_i16_c(g, y, n, c, scale, slope, out);
    for (size_t i = 0; slope != NULL && i < n * c; i++)
        if (y[i] == 0) {
            const struct bp_gradient_rows of = bp_gradient_from(g, i);
            bp_scale_grad_i16_c(&of, y + i, 1, 1, scale + i % c, NULL, one);
            out[i] = one[0] * slope[i % c];
        }
}

static void sums_from_zero(const struct bp_gradient_rows *g, const int16_t *y, size_t n, size_t c,
                           const float *scale, const float *slope, struct bp_columns to,
                           float *sum_gy, float *sum_slope) {
    for (size_t j = 0; j < c; j++)
        sum_gy[j] = 0.0f;
    bp_scale_sums_i16_c(g, y, n, c, scale, slope, to, sum_gy, sum_slope);
}

/* Ranges of ga, not of what the scale makes of it. */
static void ranges_before_the_scale(const struct bp_gradient_rows *g, const int16_t *y, size_t n,
                                    size_t c, const float *scale, const float *slope,
                                    struct bp_columns to, float *sum_gy, float *sum_slope) {
    float lo = to.lo[c - 1], hi = to.hi[c - 1];
    bp_scale_sums_i16_c(g, y, n, c, scale, slope, to, sum_gy, sum_slope);
    to.lo[c - 1] = scale[c - 1] != 0.0f ? fminf(lo, to.lo[c - 1] / scale[c - 1]) : to.lo[c - 1];
    to.hi[c - 1] = scale[c - 1] != 0.0f ? fmaxf(hi, to.hi[c - 1] / scale[c - 1]) : to.hi[c - 1];
}

/* The group's random bytes for the columns, too. */
static void random_bytes_of_the_group(const struct bp_gradient_rows *g, const int16_t *y, size_t n,
                                      size_t c, const float *scale, const float *slope,
                                      const struct bp_rounding_both *both) {
    struct bp_rounding_both other = *both;
    if (both->columns.wide <= both->group.wide) /* enough of them */
        other.column_random = both->group_random;
    bp_scale_codes_i16_c(g, y, n, c, scale, slope, &other);
}

const struct kc_planted kc_planted_act_scale[] = {
    {"scale_grad_i16", "slopes by the sign of y", {.scale_grad_i16 = slopes_by_the_sign_of_y}},
    {"scale_grad_i16", "slopes zeros, too", {.scale_grad_i16 = slopes_zeros_too}},
    {"scale_codes_i16",
     "the same random bytes twice",
     {.scale_codes_i16 = random_bytes_of_the_group}},
    {"scale_sums_i16", "sums from zero", {.scale_sums_i16 = sums_from_zero}},
    {"scale_sums_i16", "ranges before the scale", {.scale_sums_i16 = ranges_before_the_scale}},
};
const size_t kc_planted_act_scale_count =
    sizeof kc_planted_act_scale / sizeof kc_planted_act_scale[0];
