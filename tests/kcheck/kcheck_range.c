/* Ranges of columns: what three kernels give, and the test of the one that reads their elements. */
#include "kcheck/kcheck.h"

#include <math.h>

struct bp_columns kc_columns(struct kcheck *t, size_t k) {
    struct bp_columns r = {kc_output(t, "lo", KC_F32_VALUE, k), kc_output(t, "hi", KC_F32_VALUE, k),
                           kc_output(t, "sum_squares", KC_F32, k)};
    int fresh = kc_below(t, 2) != 0;
    for (size_t j = 0; j < k; j++) {
        r.lo[j] = fresh ? INFINITY : kc_moderate(t);
        r.hi[j] = fresh ? -INFINITY : r.lo[j] + 0.5f;
        r.sum_squares[j] = fresh ? 0.0f : fabsf(kc_moderate(t));
    }
    kc_keep_initial(t, r.lo);
    kc_keep_initial(t, r.hi);
    kc_keep_initial(t, r.sum_squares);
    return r;
}

void kc_columns_add(const struct bp_columns *r, size_t j, float v) {
    volatile float square = v * v;
    if (isnan(v) || isnan(r->sum_squares[j])) /* lo and hi are then anything */
        r->lo[j] = r->hi[j] = kc_anything();
    else {
        r->lo[j] = fminf(r->lo[j], v);
        r->hi[j] = fmaxf(r->hi[j], v);
    }
    r->sum_squares[j] += square;
}

int32_t *kc_rising(struct kcheck *t, size_t c, size_t *k) {
    size_t of = t->is_bench ? 4 : 1 + kc_below(t, 4), count = 0;
    for (size_t j = 0; j < c; j++) /* of a bench every fourth, else all or some */
        count += of == 1 || j % of == 0;
    int32_t *column = kc_input(t, "column", KC_I32, count);
    *k = count;
    count = 0;
    for (size_t j = 0; j < c; j++)
        if (of == 1 || j % of == 0)
            column[count++] = (int32_t)j;
    for (size_t i = 0; of > 1 && i + 1 < count; i++) /* not evenly */
        column[i] += (int32_t)kc_below(t, of);
    return column;
}

struct bp_columns kc_columns_at(struct kcheck *t, const struct bp_columns *r) {
    return (struct bp_columns){kc_at(t, r->lo), kc_at(t, r->hi), kc_at(t, r->sum_squares)};
}

void kcheck_range_columns(struct kcheck *t) {
    size_t n, k;
    kc_sizes(t, &n, &k);
    k = t->layer != NULL ? t->layer->k : k;
    kc_params(t, "n=%zu k=%zu", n, k);
    kc_work(t, (double)(n * k), "element");
    float *g = kc_input(t, "g", KC_F32, n * k);
    kc_fill_floats(t, g, n * k, kc_below(t, 3) ? KC_FINITE : KC_ANY_FLOAT);
    struct bp_columns r = kc_columns(t, k);
    for (size_t i = 0; i < n * k; i++)
        kc_columns_add(&r, i % k, g[i]);
    while (kc_next(t))
        t->kernels->range_columns(kc_at(t, g), n, k, kc_columns_at(t, &r));
}
