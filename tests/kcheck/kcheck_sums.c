/* Tests of sums per channel. */
#include "kcheck/kcheck.h"

#include <math.h>

/* Integers to be summed, and their limit. */
static int16_t *make_integers(struct kcheck *t, size_t *n, size_t *c, int *limit) {
    kc_sizes(t, n, c);
    if (*n > 900 && t->layer == NULL) { /* more rows than 32-bit sums hold */
        *n += 66000;
        *c = 1 + *c % 3;
    }
    static const int limits[] = {1, 2, 100, 576, 2304, 4608, 8191, 8192, 32767, 32768};
    *limit = t->is_bench ? 576 : limits[kc_below(t, sizeof limits / sizeof limits[0])];
    kc_params(t, "n=%zu c=%zu limit=%d", *n, *c, *limit);
    kc_work(t, (double)(*n * *c), "element");
    int16_t *y = kc_input(t, "y", KC_I16, *n * *c);
    kc_fill_i16(t, y, *n * *c);
    for (size_t i = 0; i < *n * *c; i++) /* cut off, so that many are extreme */
        y[i] = (int16_t)(y[i] < -*limit ? -*limit : y[i] > *limit ? *limit : y[i]);
    return y;
}

/* Sums that go on from what is there: those of squares are positive. */
static int64_t *make_sums(struct kcheck *t, const char *name, size_t c, int squares) {
    int64_t *sum = kc_output(t, name, KC_I64, c);
    for (size_t j = 0; j < c; j++)
        sum[j] = (int64_t)(kc_random(t) >> 8) - (squares ? 0 : (int64_t)1 << 55);
    kc_keep_initial(t, sum);
    return sum;
}

void kcheck_sums_i16(struct kcheck *t) {
    size_t n, c;
    int limit;
    int16_t *y = make_integers(t, &n, &c, &limit);
    int64_t *sum = make_sums(t, "sum", c, 0), *squares = make_sums(t, "sum_squares", c, 1);
    for (size_t i = 0; i < n * c; i++) {
        sum[i % c] += y[i];
        squares[i % c] += (int64_t)y[i] * y[i];
    }
    while (kc_next(t))
        t->kernels->sums_i16(kc_at(t, y), n, c, limit, kc_at(t, sum), kc_at(t, squares));
}

void kcheck_half_sums_i16(struct kcheck *t) {
    size_t n, c;
    int limit;
    int16_t *y = make_integers(t, &n, &c, &limit);
    int64_t *sums = make_sums(t, "sums", 4 * c, 0);
    for (size_t i = 0; i < n * c; i++) {
        int64_t *at = sums + (y[i] < 0 ? 2 * c : 0) + i % c;
        at[0] += y[i];
        at[c] += (int64_t)y[i] * y[i];
    }
    while (kc_next(t))
        t->kernels->half_sums_i16(kc_at(t, y), n, c, limit, kc_at(t, sums));
}

void kcheck_sums_f32(struct kcheck *t) {
    size_t n, c;
    kc_sizes(t, &n, &c);
    kc_params(t, "n=%zu c=%zu", n, c);
    kc_work(t, (double)(n * c), "element");
    float *y = kc_input(t, "y", KC_F32, n * c);
    kc_fill_floats(t, y, n * c, KC_ANY_FLOAT);
    double *sum = kc_output(t, "sum", KC_F64, c);
    double *squares = kc_output(t, "sum_squares", KC_F64, c);
    for (size_t j = 0; j < c; j++) {
        sum[j] = (double)kc_moderate(t) / 3.0;
        squares[j] = fabs((double)kc_moderate(t)) / 3.0;
    }
    kc_keep_initial(t, sum);
    kc_keep_initial(t, squares);
    for (size_t i = 0; i < n * c; i++) {
        double v = (double)y[i], square = v * v;
        sum[i % c] += v;
        squares[i % c] += square;
    }
    while (kc_next(t))
        t->kernels->sums_f32(kc_at(t, y), n, c, kc_at(t, sum), kc_at(t, squares));
}
