/* Tests of affine activation and pooling. */
#include "kcheck/kcheck.h"

#include <math.h>

#include "base/bits.h"

/* Each operation by itself, so that no compiler fuses two. */
static float rounded(float v) {
    volatile float stored = v;
    return stored;
}

static float expected_activation(const struct bp_affine_rows *a, size_t j, float y) {
    float v = rounded(rounded(y * a->scale[j]) + a->shift[j]);
    return a->slope != NULL && v < 0.0f ? rounded(v * a->slope[j]) : v;
}

/* The coefficients, and whether there is a slope. Some are extreme where the case asks for it. */
static struct bp_affine_rows make_affine(struct kcheck *t, size_t c, int extremes) {
    static const float extreme[] = {0.0f, -0.0f, NAN, INFINITY, -INFINITY, 1e-44f, -3e38f, 1e30f};
    const char *const names[] = {"scale", "shift", "slope"};
    float *of[3] = {NULL, NULL, NULL};
    for (size_t i = 0; i < 3; i++) {
        if (i == 2 && !t->is_bench && kc_below(t, 4) == 0)
            continue;
        of[i] = kc_input(t, names[i], KC_F32, c);
        kc_fill_moderate(t, of[i], c);
        for (size_t j = 0; extremes && j < c; j++)
            if (kc_below(t, 4) == 0)
                of[i][j] = extreme[kc_below(t, sizeof extreme / sizeof extreme[0])];
    }
    return (struct bp_affine_rows){of[0], of[1], of[2]};
}

static struct bp_affine_rows affine_at(struct kcheck *t, const struct bp_affine_rows *a) {
    return (struct bp_affine_rows){kc_at(t, a->scale), kc_at(t, a->shift), kc_at(t, a->slope)};
}

/* One case of affine_act; y is the input as floats. */
struct affine_case {
    size_t n, c;
    struct bp_affine_rows a;
    float *residual, *z; /* z: the residual, or not made yet */
    int is_f16;          /* then the kernel has those below, residual is what they amount to */
    uint16_t *residual_f16, *z_f16;
    int stream;
    double *sum, *sum_squares;
};

static void make_residual(struct kcheck *t, struct affine_case *s, int in_place) {
    const char *name = in_place ? "residual and z" : "residual";
    size_t count = s->n * s->c;
    if (s->is_f16) {
        struct kc_float16 residual = kc_make_float16(t, KC_F16, name, count, in_place);
        s->residual = residual.value;
        s->residual_f16 = residual.bits;
        s->z_f16 = in_place ? residual.bits : NULL;
        return;
    }
    s->residual = in_place ? kc_output(t, name, KC_F32, count) : kc_input(t, name, KC_F32, count);
    kc_fill_floats(t, s->residual, count, KC_ANY_FLOAT);
    if (in_place) {
        kc_keep_initial(t, s->residual);
        s->z = s->residual;
    }
}

static struct affine_case make_affine_case(struct kcheck *t, const char *more, int is_f16) {
    struct affine_case s = {.is_f16 = is_f16};
    kc_sizes(t, &s.n, &s.c);
    s.a = make_affine(t, s.c, 0);
    int with_residual = t->is_bench || kc_below(t, 2) != 0, with_sums = kc_below(t, 2) != 0;
    int in_place = with_residual && more[0] == 0 && kc_below(t, 2) != 0 && !t->is_bench;
    s.stream = !is_f16 && kc_below(t, 2) != 0 && !t->is_bench;
    kc_params(t, "n=%zu c=%zu slope %s residual %s%s%s%s", s.n, s.c, s.a.slope ? "given" : "NULL",
              in_place        ? "is z"
              : with_residual ? "given"
                              : "NULL",
              with_sums ? " sums" : "", s.stream ? " stream" : "", more);
    kc_work(t, (double)(s.n * s.c), "element");
    if (with_residual)
        make_residual(t, &s, in_place);
    for (int i = 0; with_sums && i < 2; i++) {
        double *sum = kc_output(t, i == 0 ? "sum" : "sum_squares", KC_F64, s.c);
        for (size_t j = 0; j < s.c; j++)
            sum[j] = fabs((double)kc_moderate(t)) / 3.0;
        kc_keep_initial(t, sum);
        *(i == 0 ? &s.sum : &s.sum_squares) = sum;
    }
    return s;
}

/* z of element i, which is added to the sums. */
static float expect_element(const struct affine_case *s, size_t i, float y) {
    size_t j = i % s->c;
    float v = expected_activation(&s->a, j, y);
    if (s->residual != NULL)
        v = rounded(v + s->residual[i]);
    if (s->is_f16)
        v = kc_of_16(KC_F16, kc_to_16(KC_F16, v));
    if (s->sum == NULL)
        return v;
    double square = (double)v * (double)v;
    s->sum[j] += (double)v;
    s->sum_squares[j] += square;
    return v;
}

void kcheck_affine_act_i16(struct kcheck *t) {
    struct affine_case s = make_affine_case(t, "", 0);
    int16_t *y = kc_input(t, "y", KC_I16, s.n * s.c);
    kc_fill_i16(t, y, s.n * s.c);
    float *z = s.z != NULL ? s.z : kc_output(t, "z", KC_F32, s.n * s.c);
    for (size_t i = 0; i < s.n * s.c; i++)
        z[i] = expect_element(&s, i, (float)y[i]);
    while (kc_next(t)) {
        const struct bp_affine_rows a = affine_at(t, &s.a);
        t->kernels->affine_act_i16(kc_at(t, y), s.n, s.c, &a, kc_at(t, s.residual), s.stream,
                                   kc_at(t, z), kc_at(t, s.sum), kc_at(t, s.sum_squares));
    }
}

void kcheck_affine_act_f32(struct kcheck *t) {
    int in_place = kc_below(t, 2) != 0 && !t->is_bench;
    struct affine_case s = make_affine_case(t, in_place ? " in place" : "", 0);
    size_t count = s.n * s.c;
    float *y = in_place ? kc_output(t, "y and z", KC_F32, count) : kc_input(t, "y", KC_F32, count);
    kc_fill_floats(t, y, count, KC_ANY_FLOAT);
    float *z = in_place ? y : s.z;
    if (in_place)
        kc_keep_initial(t, y);
    else if (z == NULL)
        z = kc_output(t, "z", KC_F32, count);
    for (size_t i = 0; i < count; i++)
        z[i] = expect_element(&s, i, y[i]);
    while (kc_next(t)) {
        const struct bp_affine_rows a = affine_at(t, &s.a);
        t->kernels->affine_act_f32(kc_at(t, y), s.n, s.c, &a, kc_at(t, s.residual), s.stream,
                                   kc_at(t, z), kc_at(t, s.sum), kc_at(t, s.sum_squares));
    }
}

void kcheck_affine_act_f16(struct kcheck *t) {
    struct affine_case s = make_affine_case(t, "", 1);
    for (size_t j = 0; j < s.c; j++)
        if (kc_below(t, 4) == 0) { /* the integers themselves: many ties */
            ((float *)s.a.scale)[j] = 1.0f;
            ((float *)s.a.shift)[j] = 0.0f;
        }
    size_t count = s.n * s.c;
    static const enum value_type types[] = {VALUE_I16, VALUE_F32, VALUE_F16};
    enum value_type type = types[t->is_bench ? 0 : kc_below(t, 3)];
    int16_t *integers = kc_input(t, "y", KC_I16, count);
    struct kc_float16 halves = kc_make_float16(t, KC_F16, "y in halves", count, 0);
    float *floats = kc_input(t, "y in floats", KC_F32, count);
    kc_fill_i16(t, integers, count);
    kc_fill_floats(t, floats, count, KC_ANY_FLOAT);
    const void *y = type == VALUE_I16   ? (const void *)integers
                    : type == VALUE_F32 ? (const void *)floats
                                        : halves.bits;
    uint16_t *z = s.z_f16 != NULL ? s.z_f16 : kc_output(t, "z", KC_F16, count);
    for (size_t i = 0; i < count; i++)
        z[i] = kc_to_16(KC_F16, expect_element(&s, i,
                                               type == VALUE_I16   ? (float)integers[i]
                                               : type == VALUE_F32 ? floats[i]
                                                                   : halves.value[i]));
    while (kc_next(t)) {
        const struct bp_affine_rows a = affine_at(t, &s.a);
        t->kernels->affine_act_f16(kc_at(t, y), type, s.n, s.c, &a, kc_at(t, s.residual_f16),
                                   kc_at(t, z), kc_at(t, s.sum), kc_at(t, s.sum_squares));
    }
}

/* Where signs go: [n][cw], the mask perhaps not wanted. */
struct signs {
    size_t cw;
    uint64_t *bits, *mask;
};

static struct signs make_signs(struct kcheck *t, size_t n, size_t c) {
    struct signs s = {.cw = bp_words(c)};
    s.bits = kc_output(t, "bits", KC_U64, n * s.cw);
    if (t->is_bench || kc_below(t, 4) != 0)
        s.mask = kc_output(t, "mask", KC_U64, n * s.cw);
    return s;
}

static void expect_sign(const struct signs *s, size_t p, size_t j, float z) {
    s->bits[p * s->cw + j / 64] |= (uint64_t)(z < 0.0f) << j % 64;
    if (s->mask != NULL)
        s->mask[p * s->cw + j / 64] |= (uint64_t)(fabsf(z) < 1.0f) << j % 64;
}

/* Scale 1 and a shift that brings y, an element of column j, to -1, 0 or 1. */
static void meet_limit(struct kcheck *t, const struct bp_affine_rows *a, size_t j, float y) {
    ((float *)a->scale)[j] = 1.0f;
    ((float *)a->shift)[j] = (float)kc_below(t, 3) - 1.0f - y;
}

/* The same of some columns of integers. */
static void meet_limits(struct kcheck *t, const struct bp_affine_rows *a, const int16_t *y,
                        size_t n, size_t c) {
    for (size_t j = 0; kc_below(t, 2) != 0 && j < c; j++)
        meet_limit(t, a, j, (float)y[kc_below(t, n) * c + j]);
}

void kcheck_affine_signs_i16(struct kcheck *t) {
    size_t n, c;
    kc_sizes(t, &n, &c);
    struct bp_affine_rows a = make_affine(t, c, kc_below(t, 3) == 0);
    kc_params(t, "n=%zu c=%zu slope %s", n, c, a.slope ? "given" : "NULL");
    kc_work(t, (double)(n * c), "element");
    int16_t *y = kc_input(t, "y", KC_I16, n * c);
    kc_fill_i16(t, y, n * c);
    meet_limits(t, &a, y, n, c);
    struct signs s = make_signs(t, n, c);
    for (size_t i = 0; i < n * c; i++)
        expect_sign(&s, i / c, i % c, expected_activation(&a, i % c, (float)y[i]));
    while (kc_next(t)) {
        const struct bp_affine_rows at = affine_at(t, &a);
        t->kernels->affine_signs_i16(kc_at(t, y), n, c, &at, kc_at(t, s.bits), kc_at(t, s.mask));
    }
}

void kcheck_affine_signs_f32(struct kcheck *t) {
    size_t n, c;
    kc_sizes(t, &n, &c);
    struct bp_affine_rows a = make_affine(t, c, kc_below(t, 3) == 0);
    kc_params(t, "n=%zu c=%zu slope %s", n, c, a.slope ? "given" : "NULL");
    kc_work(t, (double)(n * c), "element");
    float *y = kc_input(t, "y", KC_F32, n * c);
    kc_fill_floats(t, y, n * c, KC_ANY_FLOAT);
    struct signs s = make_signs(t, n, c);
    for (size_t i = 0; i < n * c; i++)
        expect_sign(&s, i / c, i % c, expected_activation(&a, i % c, y[i]));
    while (kc_next(t)) {
        const struct bp_affine_rows at = affine_at(t, &a);
        t->kernels->affine_signs_f32(kc_at(t, y), n, c, &at, kc_at(t, s.bits), kc_at(t, s.mask));
    }
}

void kcheck_affine_signs_f16(struct kcheck *t) {
    size_t n, c;
    kc_sizes(t, &n, &c);
    struct bp_affine_rows a = make_affine(t, c, kc_below(t, 3) == 0);
    kc_params(t, "n=%zu c=%zu slope %s", n, c, a.slope ? "given" : "NULL");
    kc_work(t, (double)(n * c), "element");
    struct kc_float16 y = kc_make_float16(t, KC_F16, "y", n * c, 0);
    for (size_t j = 0; kc_below(t, 2) != 0 && j < c; j++)
        meet_limit(t, &a, j, y.value[kc_below(t, n) * c + j]);
    struct signs s = make_signs(t, n, c);
    for (size_t i = 0; i < n * c; i++)
        expect_sign(&s, i / c, i % c, expected_activation(&a, i % c, y.value[i]));
    while (kc_next(t)) {
        const struct bp_affine_rows at = affine_at(t, &a);
        t->kernels->affine_signs_f16(kc_at(t, y.bits), n, c, &at, kc_at(t, s.bits),
                                     kc_at(t, s.mask));
    }
}

/* The winner of v[0 .. 3]: the first largest, or the last NaN. */
static unsigned expected_winner(const float v[4]) {
    unsigned winner = 0;
    for (unsigned i = 1; i < 4; i++)
        if (v[i] > v[winner] || isnan(v[i]))
            winner = i;
    return winner;
}

/* The two bits of the winner's number, which [n][2][cw]; NULL: not wanted. */
static void expect_winner(uint64_t *which, size_t cw, size_t p, size_t j, unsigned winner) {
    for (unsigned bit = 0; which != NULL && bit < 2; bit++)
        which[(p * 2 + bit) * cw + j / 64] |= (uint64_t)(winner >> bit & 1) << j % 64;
}

void kcheck_affine_pool_signs_i16(struct kcheck *t) {
    size_t n, c;
    kc_sizes(t, &n, &c);
    struct bp_affine_rows a = make_affine(t, c, kc_below(t, 3) == 0);
    int with_which = kc_below(t, 4) != 0 || t->is_bench;
    kc_params(t, "n=%zu c=%zu slope %s which %s", n, c, a.slope ? "given" : "NULL",
              with_which ? "wanted" : "NULL");
    kc_work(t, (double)(4 * n * c), "element");
    int16_t *rows[2] = {kc_input(t, "upper", KC_I16, 2 * n * c),
                        kc_input(t, "lower", KC_I16, 2 * n * c)};
    for (size_t i = 0; i < 2; i++) {
        kc_fill_i16(t, rows[i], 2 * n * c);
        for (size_t e = 0; kc_below(t, 2) != 0 && e < 2 * n * c; e++) /* ties */
            rows[i][e] = (int16_t)((int)kc_below(t, 3) - 1);
    }
    meet_limits(t, &a, rows[0], n, c);
    struct signs s = make_signs(t, n, c);
    uint64_t *which = with_which ? kc_output(t, "which", KC_U64, n * 2 * s.cw) : NULL;
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j++) {
            float v[4];
            for (size_t i = 0; i < 4; i++)
                v[i] = expected_activation(&a, j, (float)rows[i / 2][(2 * p + i % 2) * c + j]);
            unsigned winner = expected_winner(v);
            expect_sign(&s, p, j, v[winner]);
            expect_winner(which, s.cw, p, j, winner);
        }
    while (kc_next(t)) {
        const struct bp_affine_rows at = affine_at(t, &a);
        t->kernels->affine_pool_signs_i16(kc_at(t, rows[0]), kc_at(t, rows[1]), n, c, &at,
                                          kc_at(t, s.bits), kc_at(t, s.mask), kc_at(t, which));
    }
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
            float v[4];
            for (size_t i = 0; i < 4; i++)
                v[i] = (i < 2 ? a : b)[(2 * p + i % 2) * c + j];
            unsigned winner = expected_winner(v);
            z[p * c + j] = v[winner];
            expect_winner(which, cw, p, j, winner);
        }
    while (kc_next(t))
        t->kernels->max_pool_2x2(kc_at(t, a), kc_at(t, b), n, c, kc_at(t, z), kc_at(t, which));
}

void kcheck_max_unpool_2x2(struct kcheck *t) {
    size_t n, c;
    kc_sizes(t, &n, &c);
    size_t cw = bp_words(c);
    struct kc_gradient g = kc_make_gradient(t, n * c, 0, KC_ANY_FLOAT);
    kc_params(t, "n=%zu c=%zu%s", n, c, g.form);
    kc_work(t, (double)(4 * n * c), "element");
    uint64_t *which = kc_input(t, "which", KC_U64, n * 2 * cw);
    kc_fill_bits(t, which, n * 2, c);
    float *a = kc_output(t, "a", KC_F32, 2 * n * c), *b = kc_output(t, "b", KC_F32, 2 * n * c);
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j++) {
            int dx = bp_bit(which + p * 2 * cw, j), dy = bp_bit(which + (p * 2 + 1) * cw, j);
            (dy ? b : a)[(2 * p + (size_t)dx) * c + j] = g.value[p * c + j];
        }
    while (kc_next(t)) {
        const struct bp_gradient_rows rows = kc_gradient_at(t, &g);
        t->kernels->max_unpool_2x2(&rows, kc_at(t, which), n, c, kc_at(t, a), kc_at(t, b));
    }
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

void kcheck_average_back(struct kcheck *t) {
    size_t n, c, columns = 1 + kc_below(t, 2);
    kc_sizes(t, &n, &c);
    if (t->is_bench)
        columns = 2;
    int add = kc_below(t, 2) != 0;
    float scale = kc_moderate(t);
    kc_params(t, "n=%zu c=%zu columns=%zu add=%d", n, c, columns, add);
    kc_work(t, (double)(n * columns * c), "element");
    float *g = kc_input(t, "g", KC_F32, n * c);
    kc_fill_floats(t, g, n * c, KC_ANY_FLOAT);
    float *dx = kc_output(t, "dx", KC_F32, n * columns * c);
    kc_fill_floats(t, dx, n * columns * c, KC_ANY_FLOAT);
    kc_keep_initial(t, dx);
    for (size_t i = 0; i < n * columns * c; i++) {
        float v = rounded(scale * g[i / c / columns * c + i % c]);
        dx[i] = add ? rounded(dx[i] + v) : v;
    }
    while (kc_next(t))
        t->kernels->average_back(kc_at(t, g), n, columns, c, scale, add, kc_at(t, dx));
}

void kcheck_max_window_back(struct kcheck *t) {
    size_t n, c, count = 1 + kc_below(t, 4), offset[4], windows, step;
    uint8_t index[4];
    kc_sizes(t, &n, &c);
    windows = n + kc_below(t, 4);
    step = c * (1 + kc_below(t, 2));
    int add = kc_below(t, 2) != 0;
    kc_params(t, "n=%zu c=%zu step=%zu windows=%zu add=%d", n, c, step, count, add);
    kc_work(t, (double)(count * n * c), "element");
    float *g = kc_input(t, "g", KC_F32, windows * c);
    kc_fill_floats(t, g, windows * c, KC_ANY_FLOAT);
    uint8_t *winner = kc_input(t, "winner", KC_U8, windows * c);
    for (size_t i = 0; i < windows * c; i++)
        winner[i] = (uint8_t)kc_below(t, 4);
    float *dx = kc_output(t, "dx", KC_F32, (n - 1) * step + c);
    kc_fill_floats(t, dx, (n - 1) * step + c, KC_ANY_FLOAT);
    kc_keep_initial(t, dx);
    for (size_t w = 0; w < count; w++) {
        offset[w] = kc_below(t, windows - n + 1) * c;
        index[w] = (uint8_t)kc_below(t, 4);
    }
    for (size_t e = 0; e < n * c; e++) {
        float *sum = dx + e / c * step + e % c;
        *sum = add ? *sum : 0.0f;
        for (size_t w = 0; w < count; w++)
            if (winner[offset[w] + e] == index[w])
                *sum += g[offset[w] + e];
    }
    while (kc_next(t))
        t->kernels->max_window_back(kc_at(t, g), kc_at(t, winner), offset, index, count, n, c, step,
                                    add, kc_at(t, dx));
}
