/* Tests of scale, PReLU and batch norm in one pass, forward and backward. */
#include "kcheck/kcheck.h"

#include <math.h>

#include "base/bits.h"

struct input {
    size_t n, c;
    int16_t *y;
    int with_g;
    struct kc_gradient g;
    float *of[7]; /* coefficients in the order of struct bp_act_norm_rows */
};

/* c: a multiple of `step`. */
static struct input make_input_by(struct kcheck *t, int with_g, int in_place, size_t step) {
    static const char *const names[] = {"alpha", "slope", "scale", "shift", "ka", "kb", "kc"};
    struct input in = {0};
    kc_sizes(t, &in.n, &in.c);
    in.c = bp_round_up(in.c, step);
    in.with_g = with_g;
    if (with_g)
        in.g =
            kc_make_gradient(t, in.n * in.c, in_place, kc_below(t, 3) ? KC_FINITE : KC_ANY_FLOAT);
    if (in_place)
        kc_keep_initial(t, in.g.value);
    kc_params(t, "n=%zu c=%zu%s%s", in.n, in.c, in_place ? " in place" : "",
              with_g ? in.g.form : "");
    kc_work(t, (double)(in.n * in.c), "element");
    in.y = kc_input(t, "y", KC_I16, in.n * in.c);
    for (size_t i = 0; i < in.n * in.c; i++)
        in.y[i] = (int16_t)((int)kc_below(t, 65536) - 32768);
    for (size_t i = 0; i < 7; i++) {
        in.of[i] = kc_input(t, names[i], KC_F32, in.c);
        kc_fill_moderate(t, in.of[i], in.c);
    }
    return in;
}

static struct input make_input(struct kcheck *t, int with_g, int in_place) {
    return make_input_by(t, with_g, in_place, 1);
}

static struct bp_act_norm_rows rows_at(struct kcheck *t, const struct input *in) {
    return (struct bp_act_norm_rows){kc_at(t, in->of[0]), kc_at(t, in->of[1]), kc_at(t, in->of[2]),
                                     kc_at(t, in->of[3]), kc_at(t, in->of[4]), kc_at(t, in->of[5]),
                                     kc_at(t, in->of[6])};
}

/* Each operation by itself, so that no compiler fuses two. */
static float times(float a, float b) {
    volatile float product = a * b;
    return product;
}

static float plus(float a, float b) {
    volatile float sum = a + b;
    return sum;
}

static float u_of(const struct input *in, size_t i) {
    return times((float)in->y[i], in->of[0][i % in->c]);
}

static float h_of(const struct input *in, size_t i) {
    float u = u_of(in, i);
    return u < 0 ? times(u, in->of[1][i % in->c]) : u;
}

static float gh_of(const struct input *in, size_t i) {
    size_t j = i % in->c;
    float sum = times(h_of(in, i), in->of[5][j]);
    if (in->with_g)
        sum = plus(times(in->g.value[i], in->of[4][j]), sum);
    return plus(sum, in->of[6][j]);
}

static float gu_of(const struct input *in, size_t i) {
    float gh = gh_of(in, i);
    return u_of(in, i) < 0 ? times(gh, in->of[1][i % in->c]) : gh;
}

void kcheck_act_norm_signs(struct kcheck *t) {
    struct input in = make_input(t, 0, 0);
    size_t cw = bp_words(in.c);
    int with_mask = t->is_bench || kc_below(t, 4) != 0;
    for (size_t j = 0; kc_below(t, 2) != 0 && j < in.c; j++) { /* v = 0, 1 and -1 are met */
        in.of[0][j] = in.of[2][j] = 1.0f;
        in.of[3][j] = -(float)in.y[kc_below(t, in.n) * in.c + j] + (float)kc_below(t, 3) - 1.0f;
    }
    uint64_t *bits = kc_output(t, "bits", KC_U64, in.n * cw);
    uint64_t *mask = with_mask ? kc_output(t, "mask", KC_U64, in.n * cw) : NULL;
    for (size_t i = 0; i < in.n * in.c; i++) {
        size_t j = i % in.c, word = i / in.c * cw + j / 64;
        float v = plus(times(h_of(&in, i), in.of[2][j]), in.of[3][j]);
        bits[word] |= (uint64_t)(v < 0.0f) << j % 64;
        if (with_mask)
            mask[word] |= (uint64_t)(fabsf(v) < 1.0f) << j % 64;
    }
    while (kc_next(t)) {
        const struct bp_act_norm_rows rows = rows_at(t, &in);
        t->kernels->act_norm_signs(kc_at(t, in.y), in.n, in.c, &rows, kc_at(t, bits),
                                   kc_at(t, mask));
    }
}

void kcheck_act_norm_sums(struct kcheck *t) {
    struct input in = make_input(t, 1, 0);
    static const char *const names[] = {"sum_g", "sum_gh", "sum_gu"};
    float *s[3];
    for (size_t i = 0; i < 3; i++) { /* sums go on from what is there */
        s[i] = kc_output(t, names[i], KC_F32, in.c);
        kc_fill_moderate(t, s[i], in.c);
        kc_keep_initial(t, s[i]);
    }
    for (size_t i = 0; i < in.n * in.c; i++) {
        size_t j = i % in.c;
        float u = u_of(&in, i);
        s[0][j] = plus(s[0][j], in.g.value[i]);
        s[1][j] = plus(s[1][j], times(in.g.value[i], h_of(&in, i)));
        s[2][j] = plus(s[2][j], u < 0 ? times(in.g.value[i], u) : 0.0f);
    }
    while (kc_next(t)) {
        const struct bp_act_norm_rows rows = rows_at(t, &in);
        const struct bp_gradient_rows g = kc_gradient_at(t, &in.g);
        t->kernels->act_norm_sums(&g, kc_at(t, in.y), in.n, in.c, &rows, kc_at(t, s[0]),
                                  kc_at(t, s[1]), kc_at(t, s[2]));
    }
}

void kcheck_act_norm_grad(struct kcheck *t) {
    int in_place = !t->is_bench && kc_below(t, 2) != 0;
    int with_g = in_place || t->is_bench || kc_below(t, 3) != 0;
    struct input in = make_input(t, with_g, in_place);
    float *out = in_place ? in.g.value : kc_output(t, "out", KC_F32, in.n * in.c);
    for (size_t i = 0; i < in.n * in.c; i++)
        out[i] = times(gu_of(&in, i), in.of[0][i % in.c]);
    while (kc_next(t)) {
        const struct bp_act_norm_rows rows = rows_at(t, &in);
        const struct bp_gradient_rows g = kc_gradient_at(t, &in.g);
        t->kernels->act_norm_grad(in.with_g ? &g : NULL, kc_at(t, in.y), in.n, in.c, &rows,
                                  kc_at(t, out));
    }
}

void kcheck_act_norm_range(struct kcheck *t) {
    struct input in = make_input(t, t->is_bench || kc_below(t, 3) != 0, 0);
    struct bp_columns r = kc_columns(t, in.c);
    for (size_t i = 0; i < in.n * in.c; i++)
        kc_columns_add(&r, i % in.c, times(gu_of(&in, i), in.of[0][i % in.c]));
    while (kc_next(t)) {
        const struct bp_act_norm_rows rows = rows_at(t, &in);
        const struct bp_gradient_rows g = kc_gradient_at(t, &in.g);
        t->kernels->act_norm_range(in.with_g ? &g : NULL, kc_at(t, in.y), in.n, in.c, &rows,
                                   kc_columns_at(t, &r));
    }
}

void kcheck_act_norm_codes(struct kcheck *t) {
    struct input in = make_input_by(t, t->is_bench || kc_below(t, 3) != 0, 0, 64);
    struct bp_rounding_both both = kc_make_both(t, in.n, in.c);
    for (size_t i = 0; i < in.n * in.c; i++)
        kc_both_expect(&both, in.c, i, times(gu_of(&in, i), in.of[0][i % in.c]));
    while (kc_next(t)) {
        const struct bp_act_norm_rows rows = rows_at(t, &in);
        const struct bp_gradient_rows g = kc_gradient_at(t, &in.g);
        const struct bp_rounding_both to = kc_both_at(t, &both);
        t->kernels->act_norm_codes(in.with_g ? &g : NULL, kc_at(t, in.y), in.n, in.c, &rows, &to);
    }
}

void kcheck_act_norm_columns(struct kcheck *t) {
    struct input in = make_input(t, 0, 0);
    size_t k;
    int32_t *column = kc_rising(t, in.c, &k);
    float *out = kc_output(t, "out", KC_F32, in.n * k);
    for (size_t i = 0; i < in.n * k; i++) {
        size_t j = (size_t)column[i % k];
        out[i] = times(gu_of(&in, i / k * in.c + j), in.of[0][j]);
    }
    while (kc_next(t)) {
        const struct bp_act_norm_rows rows = rows_at(t, &in);
        t->kernels->act_norm_columns(kc_at(t, in.y), in.n, in.c, kc_at(t, column), k, &rows,
                                     kc_at(t, out));
    }
}
