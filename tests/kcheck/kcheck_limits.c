/* Tests of signs, masks and pooling of integers by limits. */
#include "kcheck/kcheck.h"

#include "base/bits.h"

struct limits_case {
    size_t n, c, cw;
    int16_t *of[5]; /* in the order of struct bp_limit_rows */
    uint64_t *bits, *mask;
};

/* Limits among the values that there are, often equal or empty; some are the ends of the range. */
static struct limits_case make_case(struct kcheck *t) {
    static const char *const names[] = {"sign_low", "sign_high", "mask_low", "mask_high", "flip"};
    struct limits_case s = {0};
    kc_sizes(t, &s.n, &s.c);
    s.cw = bp_words(s.c);
    size_t width = kc_below(t, 2) != 0 ? 5 : 65536;
    for (size_t i = 0; i < 5; i++) {
        s.of[i] = kc_input(t, names[i], KC_I16, s.c);
        for (size_t j = 0; j < s.c; j++) {
            int v = (int)kc_below(t, width) - (int)(width / 2);
            if (kc_below(t, 8) == 0)
                v = kc_below(t, 2) != 0 ? INT16_MAX : INT16_MIN;
            s.of[i][j] = (int16_t)(i < 4 ? v : -(int)kc_below(t, 2));
        }
    }
    s.bits = kc_output(t, "bits", KC_U64, s.n * s.cw);
    if (t->is_bench || kc_below(t, 4) != 0)
        s.mask = kc_output(t, "mask", KC_U64, s.n * s.cw);
    return s;
}

static int16_t *make_values(struct kcheck *t, const char *name, size_t count) {
    int16_t *y = kc_input(t, name, KC_I16, count);
    kc_fill_i16(t, y, count);
    if (kc_below(t, 2) != 0)
        for (size_t i = 0; i < count; i++) /* ties, and values at the limits */
            y[i] = (int16_t)((int)kc_below(t, 5) - 2);
    return y;
}

static struct bp_limit_rows limits_at(struct kcheck *t, const struct limits_case *s) {
    return (struct bp_limit_rows){kc_at(t, s->of[0]), kc_at(t, s->of[1]), kc_at(t, s->of[2]),
                                  kc_at(t, s->of[3]), kc_at(t, s->of[4])};
}

static void expect(const struct limits_case *s, size_t p, size_t j, int16_t y) {
    uint64_t sign = s->of[0][j] <= y && y <= s->of[1][j];
    uint64_t mask = s->of[2][j] <= y && y <= s->of[3][j];
    s->bits[p * s->cw + j / 64] |= sign << j % 64;
    if (s->mask != NULL)
        s->mask[p * s->cw + j / 64] |= mask << j % 64;
}

void kcheck_limit_signs_i16(struct kcheck *t) {
    struct limits_case s = make_case(t);
    kc_params(t, "n=%zu c=%zu", s.n, s.c);
    kc_work(t, (double)(s.n * s.c), "element");
    int16_t *y = make_values(t, "y", s.n * s.c);
    for (size_t i = 0; i < s.n * s.c; i++)
        expect(&s, i / s.c, i % s.c, y[i]);
    while (kc_next(t)) {
        const struct bp_limit_rows limits = limits_at(t, &s);
        t->kernels->limit_signs_i16(kc_at(t, y), s.n, s.c, &limits, kc_at(t, s.bits),
                                    kc_at(t, s.mask));
    }
}

void kcheck_limit_pool_signs_i16(struct kcheck *t) {
    struct limits_case s = make_case(t);
    int with_which = t->is_bench || kc_below(t, 4) != 0;
    kc_params(t, "n=%zu c=%zu which %s", s.n, s.c, with_which ? "wanted" : "NULL");
    kc_work(t, (double)(4 * s.n * s.c), "element");
    int16_t *upper = make_values(t, "upper", 2 * s.n * s.c);
    int16_t *lower = make_values(t, "lower", 2 * s.n * s.c);
    uint64_t *which = with_which ? kc_output(t, "which", KC_U64, s.n * 2 * s.cw) : NULL;
    for (size_t p = 0; p < s.n; p++)
        for (size_t j = 0; j < s.c; j++) {
            int16_t v[4];
            size_t best = 0;
            for (size_t i = 0; i < 4; i++) {
                v[i] = (i < 2 ? upper : lower)[(2 * p + i % 2) * s.c + j];
                if ((v[i] ^ s.of[4][j]) > (v[best] ^ s.of[4][j]))
                    best = i;
            }
            expect(&s, p, j, v[best]);
            for (size_t bit = 0; with_which && bit < 2; bit++)
                which[(p * 2 + bit) * s.cw + j / 64] |= (uint64_t)(best >> bit & 1) << j % 64;
        }
    while (kc_next(t)) {
        const struct bp_limit_rows limits = limits_at(t, &s);
        t->kernels->limit_pool_signs_i16(kc_at(t, upper), kc_at(t, lower), s.n, s.c, &limits,
                                         kc_at(t, s.bits), kc_at(t, s.mask), kc_at(t, which));
    }
}

/* Few values, so that many are equal, or any. */
void kcheck_max_window_i16(struct kcheck *t) {
    size_t n, c, rows = 1 + kc_below(t, 3), columns = 1 + kc_below(t, 3);
    kc_sizes(t, &n, &c);
    if (t->is_bench)
        rows = columns = 3;
    size_t step = 2 * c, row_step = (2 * n + 2 + kc_below(t, 3)) * c;
    kc_params(t, "n=%zu c=%zu rows=%zu columns=%zu row_step=%zu", n, c, rows, columns, row_step);
    kc_work(t, (double)(rows * columns * n * c), "element");
    size_t count = (rows - 1) * row_step + (n - 1) * step + columns * c;
    int16_t *x = kc_input(t, "x", KC_I16, count), *flip = kc_input(t, "flip", KC_I16, c);
    int few = kc_below(t, 2) != 0;
    for (size_t i = 0; i < count; i++)
        x[i] = (int16_t)(few ? (int)kc_below(t, 5) - 2 : (int)kc_below(t, 65536) - 32768);
    for (size_t j = 0; j < c; j++)
        flip[j] = kc_below(t, 2) ? -1 : 0;
    int16_t *z = kc_output(t, "z", KC_I16, n * c);
    uint8_t *winner = kc_output(t, "winner", KC_U8, n * c);
    for (size_t e = 0; e < n * c; e++) {
        const int16_t *window = x + e / c * step + e % c;
        size_t best = 0;
        z[e] = window[0];
        for (size_t i = 1; i < rows * columns; i++) {
            int16_t later = window[i / columns * row_step + i % columns * c];
            if (flip[e % c] ? later < z[e] : later > z[e]) {
                z[e] = later;
                best = i;
            }
        }
        winner[e] = (uint8_t)best;
    }
    while (kc_next(t))
        t->kernels->max_window_i16(kc_at(t, x), n, step, rows, columns, row_step, c, kc_at(t, flip),
                                   kc_at(t, z), kc_at(t, winner));
}
