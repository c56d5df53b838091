/* Tests of the optimizer's loops. */
#include "kcheck/kcheck.h"

#include <math.h>

static size_t draw_count(struct kcheck *t) {
    size_t n, c;
    kc_sizes(t, &n, &c);
    return t->layer != NULL           ? t->layer->r * t->layer->r * t->layer->k * c
           : t->case_index < KC_SWEEP ? c
                                      : n * c;
}

void kcheck_sum_squares_f32(struct kcheck *t) {
    size_t n = draw_count(t);
    kc_params(t, "n=%zu", n);
    kc_work(t, (double)n, "element");
    float *g = kc_input(t, "g", KC_F32, n);
    kc_fill_floats(t, g, n, kc_below(t, 3) ? KC_FINITE : KC_ANY_FLOAT);
    double *sum = kc_output(t, "sum", KC_F64, 1);
    sum[0] = (double)kc_moderate(t);
    kc_keep_initial(t, sum);
    double s[8] = {0};
    for (size_t i = 0; i < n; i++)
        s[i % 8] += (double)g[i] * (double)g[i];
    for (int i = 0; i < 4; i++)
        s[i] += s[i + 4];
    for (int i = 0; i < 2; i++)
        s[i] += s[i + 2];
    sum[0] += s[0] + s[1];
    while (kc_next(t))
        t->kernels->sum_squares_f32(kc_at(t, g), n, kc_at(t, sum));
}

void kcheck_adam_f32(struct kcheck *t) {
    size_t n = draw_count(t);
    kc_params(t, "n=%zu", n);
    kc_work(t, (double)n, "element");
    struct bp_adam *a = kc_input(t, "adam", KC_F32, sizeof *a / sizeof(float));
    float *g = kc_input(t, "g", KC_F32, n);
    float *p = kc_output(t, "p", KC_F32, n), *m = kc_output(t, "m", KC_F32, n);
    float *v = kc_output(t, "v", KC_F32, n);
    *a = (struct bp_adam){.lr = fabsf(kc_moderate(t)),
                          .decay = kc_below(t, 2) ? fabsf(kc_moderate(t)) : 0.0f,
                          .shrink = kc_below(t, 2) ? 1.0f : kc_moderate(t),
                          .clip = kc_below(t, 2) ? 1.0f : fabsf(kc_moderate(t)),
                          .beta1 = 0.9f,
                          .one_minus_beta1 = 0.1f,
                          .beta2 = 0.999f,
                          .one_minus_beta2 = 0.001f,
                          .root_correction2 = 0.5f,
                          .eps = 1e-8f};
    kc_fill_floats(t, g, n, kc_below(t, 3) ? KC_FINITE : KC_ANY_FLOAT);
    kc_fill_moderate(t, p, n);
    kc_fill_moderate(t, m, n);
    kc_fill_moderate(t, v, n);
    for (size_t i = 0; i < n; i++)
        v[i] = v[i] * v[i];
    kc_keep_initial(t, p);
    kc_keep_initial(t, m);
    kc_keep_initial(t, v);
    for (size_t i = 0; i < n; i++) {
        float decayed = a->decay * p[i], d = a->clip * g[i];
        d += decayed;
        float square = a->one_minus_beta2 * d, moved = a->one_minus_beta1 * d;
        square *= d;
        m[i] *= a->beta1;
        m[i] += moved;
        v[i] *= a->beta2;
        v[i] += square;
        float below = sqrtf(v[i]) / a->root_correction2, above = a->lr * m[i];
        below += a->eps;
        p[i] *= a->shrink;
        p[i] -= above / below;
    }
    while (kc_next(t))
        t->kernels->adam_f32(kc_at(t, a), n, kc_at(t, g), kc_at(t, p), kc_at(t, m), kc_at(t, v));
}
