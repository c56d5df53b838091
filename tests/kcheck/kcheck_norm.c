/* Tests of sums, affine activation and pooling. */
#include "kcheck/kcheck.h"

#include <math.h>

#include "base/bits.h"

void kcheck_sums_i16(struct kcheck *t) {
    size_t n, c;
    kc_sizes(t, &n, &c);
    if (n > 900 && t->layer == NULL) { /* more rows than 32-bit sums hold */
        n += 66000;
        c = 1 + c % 3;
    }
    kc_params(t, "n=%zu c=%zu", n, c);
    kc_work(t, (double)(n * c), "element");
    int16_t *y = kc_input(t, "y", KC_I16, n * c);
    kc_fill_i16(t, y, n * c);
    int64_t *sum = kc_output(t, "sum", KC_I64, c);
    int64_t *squares = kc_output(t, "sum_squares", KC_I64, c);
    for (size_t j = 0; j < c; j++) {
        sum[j] = (int64_t)(kc_random(t) >> 8) - ((int64_t)1 << 55);
        squares[j] = (int64_t)(kc_random(t) >> 8);
    }
    kc_keep_initial(t, sum);
    kc_keep_initial(t, squares);
    for (size_t i = 0; i < n * c; i++) {
        sum[i % c] += y[i];
        squares[i % c] += (int64_t)y[i] * y[i];
    }
    while (kc_next(t))
        t->kernels->sums_i16(kc_at(t, y), n, c, kc_at(t, sum), kc_at(t, squares));
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

static float expected_activation(float y, float scale, float shift, const float *slope, size_t j) {
    float v = y * scale;
    v = v + shift;
    if (slope != NULL && v < 0.0f)
        v = v * slope[j];
    return v;
}

/* The parameters of an affine activation, and whether there is a slope. */
struct affine {
    float *scale, *shift, *slope;
};

static struct affine make_affine(struct kcheck *t, size_t c) {
    struct affine a = {kc_input(t, "scale", KC_F32, c), kc_input(t, "shift", KC_F32, c), NULL};
    if (t->is_bench || kc_below(t, 4) != 0)
        a.slope = kc_input(t, "slope", KC_F32, c);
    kc_fill_moderate(t, a.scale, c);
    kc_fill_moderate(t, a.shift, c);
    if (a.slope != NULL)
        kc_fill_moderate(t, a.slope, c);
    return a;
}

void kcheck_affine_act_i16(struct kcheck *t) {
    size_t n, c;
    kc_sizes(t, &n, &c);
    struct affine a = make_affine(t, c);
    kc_params(t, "n=%zu c=%zu slope %s", n, c, a.slope ? "given" : "NULL");
    kc_work(t, (double)(n * c), "element");
    int16_t *y = kc_input(t, "y", KC_I16, n * c);
    kc_fill_i16(t, y, n * c);
    float *z = kc_output(t, "z", KC_F32, n * c);
    for (size_t i = 0; i < n * c; i++)
        z[i] = expected_activation((float)y[i], a.scale[i % c], a.shift[i % c], a.slope, i % c);
    while (kc_next(t))
        t->kernels->affine_act_i16(kc_at(t, y), n, c, kc_at(t, a.scale), kc_at(t, a.shift),
                                   kc_at(t, a.slope), kc_at(t, z));
}

void kcheck_affine_act_f32(struct kcheck *t) {
    size_t n, c;
    kc_sizes(t, &n, &c);
    struct affine a = make_affine(t, c);
    int in_place = kc_below(t, 2) != 0 && !t->is_bench;
    kc_params(t, "n=%zu c=%zu slope %s%s", n, c, a.slope ? "given" : "NULL",
              in_place ? ", in place" : "");
    kc_work(t, (double)(n * c), "element");
    float *y = in_place ? kc_output(t, "y and z", KC_F32, n * c) : kc_input(t, "y", KC_F32, n * c);
    kc_fill_floats(t, y, n * c, KC_ANY_FLOAT);
    float *z = y;
    if (in_place)
        kc_keep_initial(t, y);
    else
        z = kc_output(t, "z", KC_F32, n * c);
    for (size_t i = 0; i < n * c; i++)
        z[i] = expected_activation(y[i], a.scale[i % c], a.shift[i % c], a.slope, i % c);
    while (kc_next(t))
        t->kernels->affine_act_f32(kc_at(t, y), n, c, kc_at(t, a.scale), kc_at(t, a.shift),
                                   kc_at(t, a.slope), kc_at(t, z));
}

/* Neighbours that are often equal, so that ties are met. */
static void fill_pool_input(struct kcheck *t, float *values, size_t count) {
    kc_fill_floats(t, values, count, KC_ANY_FLOAT);
    if (kc_below(t, 2))
        for (size_t i = 0; i < count; i++)
            if (kc_below(t, 3))
                values[i] = (float)kc_below(t, 3) - 1.0f;
}

void kcheck_max_pool_2x2(struct kcheck *t) {
    size_t n, c;
    kc_sizes(t, &n, &c);
    int with_which = kc_below(t, 4) != 0 || t->is_bench;
    size_t cw = bp_words(c);
    kc_params(t, "n=%zu c=%zu which %s", n, c, with_which ? "wanted" : "NULL");
    kc_work(t, (double)(4 * n * c), "element");
    float *a = kc_input(t, "a", KC_F32, 2 * n * c), *b = kc_input(t, "b", KC_F32, 2 * n * c);
    fill_pool_input(t, a, 2 * n * c);
    fill_pool_input(t, b, 2 * n * c);
    float *z = kc_output(t, "z", KC_F32, n * c);
    uint64_t *which = with_which ? kc_output(t, "which", KC_U64, n * 2 * cw) : NULL;
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j++) {
            const float *rows[] = {a, b};
            unsigned winner = 0;
            float best = a[2 * p * c + j];
            for (unsigned i = 1; i < 4; i++) {
                float v = rows[i / 2][(2 * p + i % 2) * c + j];
                if (v > best || isnan(v)) {
                    best = v;
                    winner = i;
                }
            }
            z[p * c + j] = best;
            for (unsigned bit = 0; with_which && bit < 2; bit++)
                which[(p * 2 + bit) * cw + j / 64] |= (uint64_t)(winner >> bit & 1) << j % 64;
        }
    while (kc_next(t))
        t->kernels->max_pool_2x2(kc_at(t, a), kc_at(t, b), n, c, kc_at(t, z), kc_at(t, which));
}

void kcheck_max_unpool_2x2(struct kcheck *t) {
    size_t n, c;
    kc_sizes(t, &n, &c);
    size_t cw = bp_words(c);
    kc_params(t, "n=%zu c=%zu", n, c);
    kc_work(t, (double)(4 * n * c), "element");
    float *g = kc_input(t, "g", KC_F32, n * c);
    kc_fill_floats(t, g, n * c, KC_ANY_FLOAT);
    uint64_t *which = kc_input(t, "which", KC_U64, n * 2 * cw);
    kc_fill_bits(t, which, n * 2, c);
    float *a = kc_output(t, "a", KC_F32, 2 * n * c), *b = kc_output(t, "b", KC_F32, 2 * n * c);
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j++) {
            int dx = bp_bit(which + p * 2 * cw, j), dy = bp_bit(which + (p * 2 + 1) * cw, j);
            (dy ? b : a)[(2 * p + (size_t)dx) * c + j] = g[p * c + j];
        }
    while (kc_next(t))
        t->kernels->max_unpool_2x2(kc_at(t, g), kc_at(t, which), n, c, kc_at(t, a), kc_at(t, b));
}

void kcheck_max_window(struct kcheck *t) {
    size_t n, c, rows = 1 + kc_below(t, 3), columns = 1 + kc_below(t, 3);
    kc_sizes(t, &n, &c);
    if (t->is_bench)
        rows = columns = 3;
    size_t step = 2 * c, row_step = (2 * n + 2 + kc_below(t, 3)) * c;
    int with_winner = kc_below(t, 4) != 0 || t->is_bench;
    kc_params(t, "n=%zu c=%zu rows=%zu columns=%zu row_step=%zu winner %s", n, c, rows, columns,
              row_step, with_winner ? "wanted" : "NULL");
    kc_work(t, (double)(rows * columns * n * c), "element");
    size_t count = (rows - 1) * row_step + (n - 1) * step + columns * c;
    float *x = kc_input(t, "x", KC_F32, count);
    fill_pool_input(t, x, count);
    float *z = kc_output(t, "z", KC_F32, n * c);
    uint8_t *winner = with_winner ? kc_output(t, "winner", KC_U8, n * c) : NULL;
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j++) {
            size_t index = 0;
            float best = x[p * step + j];
            for (size_t i = 1; i < rows * columns; i++) {
                float v = x[p * step + i / columns * row_step + i % columns * c + j];
                if (v > best || isnan(v)) {
                    best = v;
                    index = i;
                }
            }
            z[p * c + j] = best;
            if (with_winner)
                winner[p * c + j] = (uint8_t)index;
        }
    while (kc_next(t))
        t->kernels->max_window(kc_at(t, x), n, step, rows, columns, row_step, c, kc_at(t, z),
                               kc_at(t, winner));
}

void kcheck_max_window_back(struct kcheck *t) {
    size_t n, c, count = 1 + kc_below(t, 4), offset[4];
    uint8_t index[4];
    kc_sizes(t, &n, &c);
    int add = kc_below(t, 2) != 0;
    kc_params(t, "n=%zu c=%zu windows=%zu add=%d", n, c, count, add);
    kc_work(t, (double)(count * c), "element");
    float *g = kc_input(t, "g", KC_F32, n * c);
    kc_fill_floats(t, g, n * c, KC_ANY_FLOAT);
    uint8_t *winner = kc_input(t, "winner", KC_U8, n * c);
    for (size_t i = 0; i < n * c; i++)
        winner[i] = (uint8_t)kc_below(t, 4);
    float *dx = kc_output(t, "dx", KC_F32, c);
    kc_fill_floats(t, dx, c, KC_ANY_FLOAT);
    kc_keep_initial(t, dx);
    for (size_t j = 0; !add && j < c; j++)
        dx[j] = 0.0f;
    for (size_t w = 0; w < count; w++) {
        offset[w] = kc_below(t, n) * c;
        index[w] = (uint8_t)kc_below(t, 4);
    }
    for (size_t w = 0; w < count; w++)
        for (size_t j = 0; j < c; j++)
            if (winner[offset[w] + j] == index[w])
                dx[j] += g[offset[w] + j];
    while (kc_next(t))
        t->kernels->max_window_back(kc_at(t, g), kc_at(t, winner), offset, index, count, c, add,
                                    kc_at(t, dx));
}
