/* Tests of the backward passes of the affine activation, for all types of its input. */
#include "kcheck/kcheck.h"

#include <math.h>

#include "base/bits.h"

enum input { INPUT_I16, INPUT_F32, INPUT_F16 };
/* What the output may stand in place of. */
enum place { PLACE_NONE, PLACE_G, PLACE_Y };

/* What all these kernels read. */
struct act {
    size_t n, c;
    struct kc_gradient g;
    int without_g; /* act_grad_*, act_range_i16: the kernel is given NULL */
    float *scale, *shift, *slope;
    void *y;
    const float *y_value; /* of a y in halves */
    enum place place;
};

/* Of all forms, where the kernel does not work in its place. A bench of halves has
 * bfloat16 alone. */
static struct kc_gradient make_gradient(struct kcheck *t, size_t count, enum input input,
                                        enum place place) {
    int with_bf16 = t->is_bench ? input == INPUT_F16 : kc_below(t, 3) == 0;
    if (place != PLACE_G && with_bf16)
        return kc_make_bf16_gradient(t, count);
    return kc_make_gradient(t, count, place == PLACE_G, KC_ANY_FLOAT);
}

static void make_y(struct kcheck *t, struct act *a, enum input input) {
    size_t count = a->n * a->c;
    if (input == INPUT_F16) {
        struct kc_float16 y = kc_make_float16(t, KC_F16, "y", count, 0);
        a->y = y.bits;
        a->y_value = y.value;
    } else if (input == INPUT_I16) {
        a->y = kc_input(t, "y", KC_I16, count);
        kc_fill_i16(t, a->y, count);
    } else {
        a->y = a->place == PLACE_Y ? kc_output(t, "y and out", KC_F32, count)
                                   : kc_input(t, "y", KC_F32, count);
        kc_fill_floats(t, a->y, count, KC_ANY_FLOAT);
    }
}

/* c: a multiple of `step`. */
static struct act make_act_by(struct kcheck *t, enum input input, enum place place, size_t step) {
    static const char *const places[] = {"", ", in place", ", in place of y"};
    struct act a = {.place = place};
    kc_sizes(t, &a.n, &a.c);
    a.c = bp_round_up(a.c, step);
    size_t count = a.n * a.c;
    a.g = make_gradient(t, count, input, place);
    make_y(t, &a, input);
    a.scale = kc_input(t, "scale", KC_F32, a.c);
    a.shift = kc_input(t, "shift", KC_F32, a.c);
    if (t->is_bench || kc_below(t, 4) != 0)
        a.slope = kc_input(t, "slope", KC_F32, a.c);
    kc_fill_moderate(t, a.scale, a.c);
    kc_fill_moderate(t, a.shift, a.c);
    if (a.slope != NULL)
        kc_fill_moderate(t, a.slope, a.c);
    if (place != PLACE_NONE)
        kc_keep_initial(t, place == PLACE_G ? (void *)a.g.value : a.y);
    kc_params(t, "n=%zu c=%zu slope %s%s%s", a.n, a.c, a.slope ? "given" : "NULL", places[place],
              a.g.form);
    kc_work(t, (double)count, "element");
    return a;
}

static struct act make_act(struct kcheck *t, enum input input, enum place place) {
    return make_act_by(t, input, place, 1);
}

static float input_at(const struct act *a, enum input input, size_t i) {
    if (input == INPUT_F16)
        return a->y_value[i];
    return input == INPUT_I16 ? (float)((const int16_t *)a->y)[i] : ((const float *)a->y)[i];
}

/* v and ga of element i. */
static float activated(const struct act *a, float y, size_t i, float *v) {
    size_t j = i % a->c;
    *v = y * a->scale[j];
    *v += a->shift[j];
    return *v < 0.0f && a->slope != NULL ? a->g.value[i] * a->slope[j] : a->g.value[i];
}

struct sums {
    float *g, *gy, *slope;
};

static struct sums make_sums(struct kcheck *t, const struct act *a, enum input input) {
    struct sums s = {kc_output(t, "sum_g", KC_F32, a->c), kc_output(t, "sum_gy", KC_F32, a->c),
                     NULL};
    if (a->slope != NULL)
        s.slope = kc_output(t, "sum_slope", KC_F32, a->c);
    if (kc_below(t, 3) == 0) { /* a block in several calls: the sums go on */
        kc_fill_moderate(t, s.g, a->c);
        kc_fill_moderate(t, s.gy, a->c);
        if (s.slope != NULL)
            kc_fill_moderate(t, s.slope, a->c);
    }
    kc_keep_initial(t, s.g);
    kc_keep_initial(t, s.gy);
    if (s.slope != NULL)
        kc_keep_initial(t, s.slope);
    for (size_t i = 0; i < a->n * a->c; i++) {
        float y = input_at(a, input, i), v, ga = activated(a, y, i, &v), gy = ga * y;
        s.g[i % a->c] += ga;
        s.gy[i % a->c] += gy;
        if (s.slope != NULL) {
            float gv = a->g.value[i] * v;
            s.slope[i % a->c] += v < 0.0f ? gv : 0.0f;
        }
    }
    return s;
}

void kcheck_act_sums_i16(struct kcheck *t) {
    struct act a = make_act(t, INPUT_I16, PLACE_NONE);
    struct sums s = make_sums(t, &a, INPUT_I16);
    while (kc_next(t)) {
        const struct bp_gradient_rows g = kc_gradient_at(t, &a.g);
        t->kernels->act_sums_i16(&g, kc_at(t, a.y), a.n, a.c, kc_at(t, a.scale), kc_at(t, a.shift),
                                 kc_at(t, a.slope), kc_at(t, s.g), kc_at(t, s.gy),
                                 kc_at(t, s.slope));
    }
}

void kcheck_act_sums_f32(struct kcheck *t) {
    struct act a = make_act(t, INPUT_F32, PLACE_NONE);
    struct sums s = make_sums(t, &a, INPUT_F32);
    while (kc_next(t)) {
        const struct bp_gradient_rows g = kc_gradient_at(t, &a.g);
        t->kernels->act_sums_f32(&g, kc_at(t, a.y), a.n, a.c, kc_at(t, a.scale), kc_at(t, a.shift),
                                 kc_at(t, a.slope), kc_at(t, s.g), kc_at(t, s.gy),
                                 kc_at(t, s.slope));
    }
}

void kcheck_act_sums_f16(struct kcheck *t) {
    struct act a = make_act(t, INPUT_F16, PLACE_NONE);
    struct sums s = make_sums(t, &a, INPUT_F16);
    while (kc_next(t)) {
        const struct bp_gradient_rows g = kc_gradient_at(t, &a.g);
        t->kernels->act_sums_f16(&g, kc_at(t, a.y), a.n, a.c, kc_at(t, a.scale), kc_at(t, a.shift),
                                 kc_at(t, a.slope), kc_at(t, s.g), kc_at(t, s.gy),
                                 kc_at(t, s.slope));
    }
}

void kcheck_pool_sums_i16(struct kcheck *t) {
    size_t n, c;
    kc_sizes(t, &n, &c);
    size_t cw = bp_words(c), row = (2 * n + kc_below(t, 2)) * c;
    struct act a = {.n = n, .c = c, .g = kc_make_gradient(t, n * c, 0, KC_FINITE)};
    int16_t *upper = kc_input(t, "upper", KC_I16, row), *lower = kc_input(t, "lower", KC_I16, row);
    uint64_t *which = kc_input(t, "which", KC_U64, n * 2 * cw);
    int16_t *winner = kc_input(t, "winners", KC_I16, n * c); /* not the kernel's */
    a.y = winner;
    a.scale = kc_input(t, "scale", KC_F32, c);
    a.shift = kc_input(t, "shift", KC_F32, c);
    if (t->is_bench || kc_below(t, 4) != 0)
        a.slope = kc_input(t, "slope", KC_F32, c);
    kc_params(t, "n=%zu c=%zu slope %s%s", n, c, a.slope ? "given" : "NULL", a.g.form);
    kc_work(t, (double)(n * c), "window");
    kc_fill_i16(t, upper, row);
    kc_fill_i16(t, lower, row);
    kc_fill_bits(t, which, n * 2, c);
    kc_fill_moderate(t, a.scale, c);
    kc_fill_moderate(t, a.shift, c);
    if (a.slope != NULL)
        kc_fill_moderate(t, a.slope, c);
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j++) {
            size_t dx = (size_t)bp_bit(which + p * 2 * cw, j);
            const int16_t *from = bp_bit(which + (p * 2 + 1) * cw, j) ? lower : upper;
            winner[p * c + j] = from[(2 * p + dx) * c + j];
        }
    struct sums s = make_sums(t, &a, INPUT_I16);
    while (kc_next(t)) {
        const struct bp_gradient_rows g = kc_gradient_at(t, &a.g);
        t->kernels->pool_sums_i16(&g, kc_at(t, upper), kc_at(t, lower), kc_at(t, which), n, c,
                                  kc_at(t, a.scale), kc_at(t, a.shift), kc_at(t, a.slope),
                                  kc_at(t, s.g), kc_at(t, s.gy), kc_at(t, s.slope));
    }
}

struct grad {
    float *ka, *kb, *kc, *out;
    int add;
};

static struct grad make_coefficients(struct kcheck *t, const struct act *a) {
    struct grad r = {kc_input(t, "ka", KC_F32, a->c), kc_input(t, "kb", KC_F32, a->c),
                     kc_input(t, "kc", KC_F32, a->c), NULL, 0};
    kc_fill_moderate(t, r.ka, a->c);
    kc_fill_moderate(t, r.kb, a->c);
    kc_fill_moderate(t, r.kc, a->c);
    return r;
}

static float gradient_at(const struct act *a, const struct grad *r, enum input input, size_t i) {
    float y = input_at(a, input, i), v, ga = activated(a, y, i, &v);
    float first = ga * r->ka[i % a->c], second = y * r->kb[i % a->c];
    float sum = a->without_g ? second : first + second;
    return sum + r->kc[i % a->c];
}

static const struct bp_gradient_rows *g_or_null(struct kcheck *t, const struct act *a,
                                                struct bp_gradient_rows *room) {
    *room = kc_gradient_at(t, &a->g);
    return a->without_g ? NULL : room;
}

static struct grad make_grad(struct kcheck *t, struct act *a, enum input input) {
    a->without_g = !t->is_bench && kc_below(t, 4) == 0;
    struct grad r = make_coefficients(t, a);
    r.out = a->place == PLACE_G ? a->g.value : a->y;
    if (a->place == PLACE_NONE) {
        r.out = kc_output(t, "out", KC_F32, a->n * a->c);
        r.add = kc_below(t, 2) != 0;
        kc_fill_moderate(t, r.out, a->n * a->c);
        kc_keep_initial(t, r.out);
    }
    for (size_t i = 0; i < a->n * a->c; i++) {
        float gradient = gradient_at(a, &r, input, i);
        r.out[i] = r.add ? r.out[i] + gradient : gradient;
    }
    return r;
}

void kcheck_act_grad_i16(struct kcheck *t) {
    struct act a = make_act(t, INPUT_I16, t->is_bench ? PLACE_NONE : (enum place)kc_below(t, 2));
    struct grad r = make_grad(t, &a, INPUT_I16);
    while (kc_next(t)) {
        struct bp_gradient_rows g;
        t->kernels->act_grad_i16(g_or_null(t, &a, &g), kc_at(t, a.y), a.n, a.c, kc_at(t, a.scale),
                                 kc_at(t, a.shift), kc_at(t, a.slope), kc_at(t, r.ka),
                                 kc_at(t, r.kb), kc_at(t, r.kc), r.add, kc_at(t, r.out));
    }
}

void kcheck_act_grad_f32(struct kcheck *t) {
    struct act a = make_act(t, INPUT_F32, t->is_bench ? PLACE_NONE : (enum place)kc_below(t, 3));
    struct grad r = make_grad(t, &a, INPUT_F32);
    while (kc_next(t)) {
        struct bp_gradient_rows g;
        t->kernels->act_grad_f32(g_or_null(t, &a, &g), kc_at(t, a.y), a.n, a.c, kc_at(t, a.scale),
                                 kc_at(t, a.shift), kc_at(t, a.slope), kc_at(t, r.ka),
                                 kc_at(t, r.kb), kc_at(t, r.kc), r.add, kc_at(t, r.out));
    }
}

void kcheck_act_grad_f16(struct kcheck *t) {
    struct act a = make_act(t, INPUT_F16, PLACE_NONE);
    a.without_g = !t->is_bench && kc_below(t, 4) == 0;
    struct grad r = make_coefficients(t, &a);
    for (size_t j = 0; j < a.c; j++)
        if (kc_below(t, 4) == 0) { /* many ties: one bit more than there is room for */
            r.ka[j] = r.kc[j] = 0.0f;
            r.kb[j] = 1.5f;
        }
    struct kc_float16 out = kc_make_float16(t, KC_BF16, "out", a.n * a.c, 1);
    struct kc_float16 others = kc_make_float16(t, KC_BF16, "add", a.n * a.c, 0);
    float *floats = kc_input(t, "add in floats", KC_F32, a.n * a.c);
    kc_fill_floats(t, floats, a.n * a.c, KC_ANY_FLOAT);
    enum { ADD_NOTHING, ADD_TO_OUT, ADD_BF16, ADD_FLOATS };
    size_t what = kc_below(t, 4);
    const float *const of[] = {NULL, out.value, others.value, floats};
    for (size_t i = 0; i < a.n * a.c; i++) {
        float gradient = gradient_at(&a, &r, INPUT_F16, i);
        out.bits[i] = kc_to_16(KC_BF16, what == ADD_NOTHING ? gradient : of[what][i] + gradient);
    }
    while (kc_next(t)) {
        struct bp_gradient_rows g, add = {.floats = what == ADD_FLOATS ? kc_at(t, floats) : NULL};
        add.bf16 = what == ADD_TO_OUT ? kc_at(t, out.bits)
                   : what == ADD_BF16 ? kc_at(t, others.bits)
                                      : NULL;
        t->kernels->act_grad_f16(g_or_null(t, &a, &g), kc_at(t, a.y), a.n, a.c, kc_at(t, a.scale),
                                 kc_at(t, a.shift), kc_at(t, a.slope), kc_at(t, r.ka),
                                 kc_at(t, r.kb), kc_at(t, r.kc), what == ADD_NOTHING ? NULL : &add,
                                 kc_at(t, out.bits));
    }
}

void kcheck_act_range_i16(struct kcheck *t) {
    struct act a = make_act(t, INPUT_I16, PLACE_NONE);
    a.without_g = !t->is_bench && kc_below(t, 2) != 0;
    struct grad k = make_coefficients(t, &a);
    struct bp_columns r = kc_columns(t, a.c);
    for (size_t i = 0; i < a.n * a.c; i++)
        kc_columns_add(&r, i % a.c, gradient_at(&a, &k, INPUT_I16, i));
    while (kc_next(t)) {
        struct bp_gradient_rows g;
        t->kernels->act_range_i16(g_or_null(t, &a, &g), kc_at(t, a.y), a.n, a.c, kc_at(t, a.scale),
                                  kc_at(t, a.shift), kc_at(t, a.slope), kc_at(t, k.ka),
                                  kc_at(t, k.kb), kc_at(t, k.kc), kc_columns_at(t, &r));
    }
}

void kcheck_act_codes_i16(struct kcheck *t) {
    struct act a = make_act_by(t, INPUT_I16, PLACE_NONE, 64);
    a.without_g = !t->is_bench && kc_below(t, 3) == 0;
    struct grad k = make_coefficients(t, &a);
    struct bp_rounding_both both = kc_make_both(t, a.n, a.c);
    for (size_t i = 0; i < a.n * a.c; i++)
        kc_both_expect(&both, a.c, i, gradient_at(&a, &k, INPUT_I16, i));
    while (kc_next(t)) {
        const struct bp_rounding_both to = kc_both_at(t, &both);
        struct bp_gradient_rows g;
        t->kernels->act_codes_i16(g_or_null(t, &a, &g), kc_at(t, a.y), a.n, a.c, kc_at(t, a.scale),
                                  kc_at(t, a.shift), kc_at(t, a.slope), kc_at(t, k.ka),
                                  kc_at(t, k.kb), kc_at(t, k.kc), &to);
    }
}

/* A pair of rows behind 2x2 pooling. */
struct pooled {
    struct act pixels; /* of both rows, with the gradient that is sent to them */
    struct grad k;
    size_t n; /* windows */
    struct kc_gradient g;
    uint64_t *which;
};

/* c: a multiple of `step`. */
static struct pooled make_pooled(struct kcheck *t, size_t step) {
    size_t n, c;
    kc_sizes(t, &n, &c);
    n = t->is_bench ? n : bp_min_size(n, 150);
    c = bp_round_up(c, step);
    struct pooled a = {.n = n, .g = kc_make_gradient(t, n * c, 0, KC_ANY_FLOAT)};
    struct act *of = &a.pixels;
    size_t cw = bp_words(c), count = 4 * n * c;
    of->n = 4 * n;
    of->c = c;
    of->y = kc_input(t, "y", KC_I16, count);
    of->g.value = kc_input(t, "sent", KC_F32, count); /* not the kernel's */
    of->scale = kc_input(t, "scale", KC_F32, c);
    of->shift = kc_input(t, "shift", KC_F32, c);
    if (t->is_bench || kc_below(t, 4) != 0)
        of->slope = kc_input(t, "slope", KC_F32, c);
    a.which = kc_input(t, "which", KC_U64, n * 2 * cw);
    a.k = make_coefficients(t, of);
    kc_params(t, "n=%zu c=%zu slope %s%s", n, c, of->slope ? "given" : "NULL", a.g.form);
    kc_work(t, (double)count, "element");
    kc_fill_i16(t, of->y, count);
    kc_fill_bits(t, a.which, n * 2, c);
    kc_fill_moderate(t, of->scale, c);
    kc_fill_moderate(t, of->shift, c);
    if (of->slope != NULL)
        kc_fill_moderate(t, of->slope, c);
    for (size_t i = 0; i < n * c; i++) {
        const uint64_t *which = a.which + i / c * 2 * cw;
        size_t right = (size_t)bp_bit(which, i % c), below = (size_t)bp_bit(which + cw, i % c);
        of->g.value[(below * 2 * n + i / c * 2 + right) * c + i % c] = a.g.value[i];
    }
    return a;
}

void kcheck_pool_range_i16(struct kcheck *t) {
    struct pooled a = make_pooled(t, 1);
    struct act *of = &a.pixels;
    struct bp_columns r = kc_columns(t, of->c);
    for (size_t i = 0; i < of->n * of->c; i++)
        kc_columns_add(&r, i % of->c, gradient_at(of, &a.k, INPUT_I16, i));
    while (kc_next(t)) {
        const struct bp_gradient_rows g = kc_gradient_at(t, &a.g);
        t->kernels->pool_range_i16(&g, kc_at(t, of->y), kc_at(t, a.which), a.n, of->c,
                                   kc_at(t, of->scale), kc_at(t, of->shift), kc_at(t, of->slope),
                                   kc_at(t, a.k.ka), kc_at(t, a.k.kb), kc_at(t, a.k.kc),
                                   kc_columns_at(t, &r));
    }
}

void kcheck_pool_codes_i16(struct kcheck *t) {
    struct pooled a = make_pooled(t, 64);
    struct act *of = &a.pixels;
    struct bp_rounding_both both = kc_make_both(t, of->n, of->c);
    for (size_t i = 0; i < of->n * of->c; i++)
        kc_both_expect(&both, of->c, i, gradient_at(of, &a.k, INPUT_I16, i));
    while (kc_next(t)) {
        const struct bp_gradient_rows g = kc_gradient_at(t, &a.g);
        const struct bp_rounding_both to = kc_both_at(t, &both);
        t->kernels->pool_codes_i16(&g, kc_at(t, of->y), kc_at(t, a.which), a.n, of->c,
                                   kc_at(t, of->scale), kc_at(t, of->shift), kc_at(t, of->slope),
                                   kc_at(t, a.k.ka), kc_at(t, a.k.kb), kc_at(t, a.k.kc), &to);
    }
}

void kcheck_act_columns_i16(struct kcheck *t) {
    size_t n, c;
    kc_sizes(t, &n, &c);
    int16_t *y = kc_input(t, "y", KC_I16, n * c);
    float *kb = kc_input(t, "kb", KC_F32, c), *kc = kc_input(t, "kc", KC_F32, c);
    size_t k;
    int32_t *column = kc_rising(t, c, &k);
    kc_params(t, "n=%zu c=%zu k=%zu", n, c, k);
    kc_work(t, (double)(n * c), "element");
    kc_fill_i16(t, y, n * c);
    kc_fill_moderate(t, kb, c);
    kc_fill_moderate(t, kc, c);
    float *out = kc_output(t, "out", KC_F32, n * k);
    for (size_t i = 0; i < n * k; i++) {
        size_t j = (size_t)column[i % k];
        float product = (float)y[i / k * c + j] * kb[j];
        out[i] = product + kc[j];
    }
    while (kc_next(t))
        t->kernels->act_columns_i16(kc_at(t, y), n, c, kc_at(t, column), k, kc_at(t, kb),
                                    kc_at(t, kc), kc_at(t, out));
}
