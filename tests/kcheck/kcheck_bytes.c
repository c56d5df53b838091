/* Tests of the products of bytes, and broken versions of them for --self-test. */
#include "kcheck/kcheck.h"

#include <math.h>
#include <string.h>

#include "base/bits.h"
#include "kernels/c/tier_c.h"

static volatile uint64_t sink; /* keeps reads that nothing needs */

struct bytes_case {
    size_t n, quads, k, lanes;
    int32_t *row, *quad;
    uint8_t *x;
    int8_t *w;
};

static int8_t *make_weights(struct kcheck *t, size_t quads, size_t k, size_t lanes) {
    int8_t *w = kc_input(t, "w", KC_U8, quads * lanes * 4);
    kc_fill_bytes(t, (uint8_t *)w, quads * lanes * 4);
    for (size_t i = 0; i < quads * lanes * 4; i++)
        if (i / 4 % lanes >= k)
            w[i] = 0;
    return w;
}

/* Rows at even distances, but now and then one; quads in runs, one behind the other, as those of a
 * strip or of rows of positions. Returns how many bytes of x that takes. */
static size_t make_runs(struct kcheck *t, struct bytes_case *s, size_t distance, size_t run) {
    size_t last_row = 0, last_quad = 0;
    for (size_t p = 0; p < s->n; p++) {
        int odd = t->layer == NULL && kc_below(t, 40) == 0;
        s->row[p] = (int32_t)(p * distance + (odd ? kc_below(t, 5) : 0));
        last_row = bp_max_size(last_row, (size_t)s->row[p]);
    }
    for (size_t i = 0, left = 0, at = 0; i < s->quads; i++, left--, at += 4) {
        if (left == 0) {
            left = t->layer != NULL ? run : 1 + kc_below(t, run);
            at += i > 0 ? 1 + kc_below(t, 9) : 0;
        }
        s->quad[i] = (int32_t)at;
        last_quad = at;
    }
    return last_row + last_quad + 4;
}

/* Sweeps the lanes, then the rows; a layer: its positions against its taps (`of_taps`: as in the
 * forward product), or its taps against its positions. */
static struct bytes_case draw_case(struct kcheck *t, size_t max_quads, int of_taps) {
    struct bytes_case s;
    const struct kc_layer *l = t->layer;
    s.n = 1 + kc_below(t, 30);
    s.k = kc_below(t, 2) ? 1 + kc_below(t, 70) : kc_edge_size(t);
    s.quads = 1 + kc_below(t, kc_below(t, 3) ? 12 : max_quads);
    if (l != NULL) {
        size_t taps = l->r * l->r * l->c, positions = kc_positions(t);
        s.k = l->k;
        s.n = of_taps ? positions : bp_min_size(taps, 256);
        s.quads = bp_min_size(bp_round_up(of_taps ? taps : positions, 4) / 4, max_quads);
    } else if (t->case_index < KC_SWEEP) {
        s.k = t->case_index + 1;
    } else if (t->case_index < 2 * KC_SWEEP) {
        s.n = t->case_index - KC_SWEEP + 1;
        s.k = 1 + kc_below(t, 20);
    }
    s.lanes = bp_round_up(s.k, BP_BYTE_LANES);
    kc_params(t, "n=%zu quads=%zu k=%zu", s.n, s.quads, s.k);
    kc_work(t, (double)(s.n * s.quads * 4) * (double)s.k, "MAC");
    s.row = kc_input(t, "row", KC_I32, s.n);
    s.quad = kc_input(t, "quad", KC_I32, s.quads);
    /* The last of the windows, of 4 bytes each, ends with the data. */
    size_t bytes;
    if (l != NULL)
        bytes = make_runs(t, &s, of_taps ? l->stride * l->r * l->c : (l->h + 2) * (l->w + 2),
                          of_taps ? s.quads : (l->w + 3) / 4);
    else if (kc_below(t, 2))
        bytes = make_runs(t, &s, 1 + kc_below(t, 100), 1 + kc_below(t, 60));
    else
        bytes = kc_make_windows(t, s.row, s.n, s.quad, s.quads, 1) + 3;
    s.x = kc_input(t, "x", KC_U8, bytes);
    kc_fill_bytes(t, s.x, bytes);
    s.w = make_weights(t, s.quads, s.k, s.lanes);
    return s;
}

static int32_t expected_sum(const struct bytes_case *s, size_t p, size_t j) {
    int32_t sum = 0;
    for (size_t t = 0; t < s->quads; t++)
        for (size_t e = 0; e < 4; e++)
            sum += s->x[s->row[p] + s->quad[t] + (int32_t)e] * s->w[(t * s->lanes + j) * 4 + e];
    return sum;
}

void kcheck_product_bytes(struct kcheck *t) {
    struct bytes_case s = draw_case(t, 300, 0);
    int32_t *y = kc_output(t, "y", KC_I32, s.n * s.k);
    kc_fill_i32(t, y, s.n * s.k);
    kc_keep_initial(t, y);
    for (size_t i = 0; i < s.n * s.k; i++)
        y[i] += expected_sum(&s, i / s.k, i % s.k);
    while (kc_next(t))
        t->kernels->product_bytes(kc_at(t, s.x), kc_at(t, s.row), s.n, kc_at(t, s.quad), s.quads,
                                  kc_at(t, s.w), s.k, kc_at(t, y));
}

void kcheck_product_bytes_f32(struct kcheck *t) {
    struct bytes_case s = draw_case(t, 64, 1);
    int32_t *base = kc_input(t, "base", KC_I32, s.k);
    float *scale = kc_input(t, "scale", KC_F32, s.k);
    kc_fill_i32(t, base, s.k);
    kc_fill_moderate(t, scale, s.k);
    float *y = kc_output(t, "y", KC_F32, s.n * s.k);
    for (size_t i = 0; i < s.n * s.k; i++)
        y[i] = scale[i % s.k] * (float)(base[i % s.k] + expected_sum(&s, i / s.k, i % s.k));
    while (kc_next(t))
        t->kernels->product_bytes_f32(kc_at(t, s.x), kc_at(t, s.row), s.n, kc_at(t, s.quad),
                                      s.quads, kc_at(t, s.w), s.k, kc_at(t, base), kc_at(t, scale),
                                      kc_at(t, y));
}

/* The smallest shift with which the column's numbers fit 16 bits, or more. */
static int32_t draw_shift(struct kcheck *t, const int32_t *sum, size_t n, size_t k) {
    int32_t shift = 0;
    for (size_t p = 0; p < n; p++)
        while (sum[p * k] >> shift > INT16_MAX || sum[p * k] >> shift < INT16_MIN)
            shift++;
    return kc_below(t, 2) ? shift : shift + (int32_t)kc_below(t, (size_t)(32 - shift));
}

void kcheck_product_bytes_i16(struct kcheck *t) {
    struct bytes_case s = draw_case(t, 64, 1);
    int32_t *base = kc_input(t, "base", KC_I32, s.k);
    int32_t *shift = kc_input(t, "shift", KC_I32, s.k);
    int32_t *sum = kc_input(t, "sum", KC_I32, s.n * s.k);
    kc_fill_i32(t, base, s.k);
    int16_t *y = kc_output(t, "y", KC_I16, s.n * s.k);
    for (size_t i = 0; i < s.n * s.k; i++)
        sum[i] = base[i % s.k] + expected_sum(&s, i / s.k, i % s.k);
    for (size_t j = 0; j < s.k; j++)
        shift[j] = draw_shift(t, sum + j, s.n, s.k);
    for (size_t i = 0; i < s.n * s.k; i++)
        y[i] = (int16_t)floor(ldexp(sum[i], -shift[i % s.k]));
    while (kc_next(t))
        t->kernels->product_bytes_i16(kc_at(t, s.x), kc_at(t, s.row), s.n, kc_at(t, s.quad),
                                      s.quads, kc_at(t, s.w), s.k, kc_at(t, base), kc_at(t, shift),
                                      kc_at(t, y));
}

void kcheck_random_blocks(struct kcheck *t) {
    size_t n, c;
    kc_sizes(t, &n, &c);
    n = t->layer == NULL && t->case_index < KC_SWEEP ? c : n;
    /* The number of a block has 64 bits: cross the end of the low half now and then. */
    uint64_t first =
        kc_below(t, 2) ? kc_random(t) >> kc_below(t, 60) : UINT32_MAX - kc_below(t, 40);
    struct bp_stream stream = bp_stream_make(kc_random(t), BP_RANDOM_TEST,
                                             (unsigned)kc_below(t, 20), (uint32_t)kc_random(t));
    kc_params(t, "n=%zu first=%llu", n, (unsigned long long)first);
    kc_work(t, (double)n, "block");
    uint8_t *out = kc_output(t, "out", KC_U8, 16 * n);
    for (size_t i = 0; i < n; i++)
        bp_stream_bytes(&stream, first + i, out + 16 * i);
    while (kc_next(t))
        t->kernels->random_blocks(&stream, first, n, kc_at(t, out));
}

enum { R_MAX = 127 * 65536 };

static uint32_t half_word(const uint8_t *random, size_t p, size_t j) {
    const uint8_t *at = random + 32 * p + 2 * (j % 16);
    return at[0] + 256u * at[1];
}

/* g of a column up to its limit, often where the next code begins, with exact halves of r among
 * them: scales that are powers of two. */
static void draw_gradients(struct kcheck *t, float *g, size_t n, size_t k, const uint8_t *random,
                           float *scale) {
    for (size_t j = 0; j < k; j++)
        scale[j] = ldexpf(kc_below(t, 8) ? 1.0f : 0.0f, (int)kc_below(t, 20) - 10);
    for (size_t i = 0; i < n * k; i++) {
        float r = (float)kc_below(t, 2 * R_MAX) - (float)R_MAX;
        if (kc_below(t, 2)) {
            int32_t next = ((int32_t)kc_below(t, 100) - 50) * 65536;
            r = (float)(next - (int32_t)half_word(random, i / k, i % k));
            r += (float)kc_below(t, 5) / 2.0f - 1.0f;
        }
        if (kc_below(t, 8) == 0)
            r = kc_below(t, 2) ? (float)R_MAX : -(float)R_MAX;
        g[i] = scale[i % k] == 0.0f ? r : r / scale[i % k];
    }
}

void kcheck_code_quads(struct kcheck *t) {
    size_t n, k;
    kc_sizes(t, &n, &k);
    k = t->layer != NULL ? t->layer->k : k;
    size_t lanes = bp_round_up(k, BP_BYTE_LANES);
    kc_params(t, "n=%zu k=%zu", n, k);
    kc_work(t, (double)(n * k), "element");
    float *g = kc_input(t, "g", KC_F32, n * k);
    float *scale = kc_input(t, "scale", KC_F32, k);
    uint8_t *random = kc_input(t, "random", KC_U8, 32 * n);
    kc_fill_bytes(t, random, 32 * n);
    draw_gradients(t, g, n, k, random, scale);
    uint8_t *out = kc_output(t, "out", KC_U8, bp_round_up(n, 4) * lanes);
    int32_t *sum = kc_output(t, "sum", KC_I32, k);
    kc_fill_i32(t, sum, k);
    kc_keep_initial(t, sum);
    for (size_t i = 0; i < n * k; i++) {
        size_t p = i / k, j = i % k;
        float r = g[i] * scale[j];
        double code = floor((rint((double)r) + half_word(random, p, j)) / 65536.0);
        out[(p / 4 * lanes + j) * 4 + p % 4] = (uint8_t)(int)code;
        sum[j] += (int32_t)code;
    }
    while (kc_next(t))
        t->kernels->code_quads(kc_at(t, g), n, k, kc_at(t, random), kc_at(t, scale), kc_at(t, out),
                               kc_at(t, sum));
}

/* --- broken versions -------------------------------------------------------------------------- */

/* As two VPMADDUBSW would: each pair's sum stops at the ends of 16 bits. */
static int32_t saturated(int32_t pair) {
    return pair > INT16_MAX ? INT16_MAX : pair < INT16_MIN ? INT16_MIN : pair;
}

static void saturates(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                      size_t quads, const int8_t *w, size_t k, int32_t *y) {
    size_t lanes = bp_round_up(k, BP_BYTE_LANES);
    for (size_t i = 0; i < n * k; i++)
        for (size_t t = 0; t < quads; t++) {
            const uint8_t *u = x + row[i / k] + quad[t];
            const int8_t *v = w + (t * lanes + i % k) * 4;
            y[i] += saturated(u[0] * v[0] + u[1] * v[1]) + saturated(u[2] * v[2] + u[3] * v[3]);
        }
}

static void starts_at_zero(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                           size_t quads, const int8_t *w, size_t k, int32_t *y) {
    memset(y, 0, n * k * sizeof *y);
    bp_product_bytes_c(x, row, n, quad, quads, w, k, y);
}

static void reads_16_bytes(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                           size_t quads, const int8_t *w, size_t k, const int32_t *base,
                           const float *scale, float *y) {
    bp_product_bytes_f32_c(x, row, n, quad, quads, w, k, base, scale, y);
    for (size_t p = 0; p < n; p++)
        for (size_t t = 0; t < quads; t++)
            sink = ((const volatile uint8_t *)x)[row[p] + quad[t] + 15];
}

static void writes_whole_lanes(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                               size_t quads, const int8_t *w, size_t k, const int32_t *base,
                               const float *scale, float *y) {
    bp_product_bytes_f32_c(x, row, n, quad, quads, w, k, base, scale, y);
    for (size_t j = 0; j < bp_round_up(k, BP_BYTE_LANES) - k; j++)
        ((volatile float *)y)[n * k + j] = 0.0f;
}

/* scale * sum + scale * base: another rounding. */
static void scales_apart(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                         size_t quads, const int8_t *w, size_t k, const int32_t *base,
                         const float *scale, float *y) {
    const int32_t zero[1024] = {0};
    bp_product_bytes_f32_c(x, row, n, quad, quads, w, k, k <= 1024 ? zero : base, scale, y);
    for (size_t i = 0; k <= 1024 && i < n * k; i++)
        y[i] += scale[i % k] * (float)base[i % k];
}

static void writes_32_bits(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                           size_t quads, const int8_t *w, size_t k, const int32_t *base,
                           const int32_t *shift, int16_t *y) {
    bp_product_bytes_i16_c(x, row, n, quad, quads, w, k, base, shift, y);
    ((volatile int16_t *)y)[n * k] = 0;
}

/* As a division would: towards zero. */
static void cuts_off(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                     size_t quads, const int8_t *w, size_t k, const int32_t *base,
                     const int32_t *shift, int16_t *y) {
    for (size_t i = 0; i < n * k; i++) {
        size_t lanes = bp_round_up(k, BP_BYTE_LANES), j = i % k;
        int64_t sum = base[j];
        for (size_t e = 0; e < 4 * quads; e++)
            sum +=
                x[row[i / k] + quad[e / 4] + (int32_t)(e % 4)] * w[(e / 4 * lanes + j) * 4 + e % 4];
        y[i] = (int16_t)(sum / ((int64_t)1 << shift[j]));
    }
}

static void counts_in_32_bits(const struct bp_stream *stream, uint64_t first, size_t n,
                              uint8_t *out) {
    for (size_t i = 0; i < n; i++)
        bp_random_blocks_c(stream, (first & ~(uint64_t)UINT32_MAX) | (uint32_t)(first + i), 1,
                           out + 16 * i);
}

static void writes_whole_batches(const struct bp_stream *stream, uint64_t first, size_t n,
                                 uint8_t *out) {
    bp_random_blocks_c(stream, first, n, out);
    if (n % 2 != 0)
        ((volatile uint8_t *)out)[16 * n] = 0;
}

static void keeps_old_rows(const float *g, size_t n, size_t k, const uint8_t *random,
                           const float *scale, int8_t *out, int32_t *sum) {
    size_t last = bp_round_up(n, 4) * bp_round_up(k, BP_BYTE_LANES) - 1;
    int8_t old = out[last];
    bp_code_quads_c(g, n, k, random, scale, out, sum);
    if (n % 4 != 0)
        out[last] = old;
}

static void half_away_from_zero(const float *g, size_t n, size_t k, const uint8_t *random,
                                const float *scale, int8_t *out, int32_t *sum) {
    size_t lanes = bp_round_up(k, BP_BYTE_LANES);
    bp_code_quads_c(g, n, k, random, scale, out, sum);
    for (size_t i = 0; i < n * k; i++) {
        size_t p = i / k, j = i % k;
        double r = round((double)(g[i] * scale[j]));
        double code = floor((r + half_word(random, p, j)) / 65536.0);
        out[(p / 4 * lanes + j) * 4 + p % 4] = (int8_t)code;
    }
}

static void sums_unsigned(const float *g, size_t n, size_t k, const uint8_t *random,
                          const float *scale, int8_t *out, int32_t *sum) {
    size_t lanes = bp_round_up(k, BP_BYTE_LANES);
    bp_code_quads_c(g, n, k, random, scale, out, sum);
    for (size_t i = 0; i < n * k; i++)
        sum[i % k] += out[(i / k / 4 * lanes + i % k) * 4 + i / k % 4] < 0 ? 256 : 0;
}

const struct kc_planted kc_planted_bytes[] = {
    {"product_bytes", "pairs saturate", {.product_bytes = saturates}},
    {"product_bytes", "overwrites, does not add", {.product_bytes = starts_at_zero}},
    {"product_bytes_f32", "reads 16 bytes of a quad", {.product_bytes_f32 = reads_16_bytes}},
    {"product_bytes_f32", "writes lanes beyond k", {.product_bytes_f32 = writes_whole_lanes}},
    {"product_bytes_f32", "scales the base apart", {.product_bytes_f32 = scales_apart}},
    {"product_bytes_i16", "writes the element behind y", {.product_bytes_i16 = writes_32_bits}},
    {"product_bytes_i16", "rounds towards zero", {.product_bytes_i16 = cuts_off}},
    {"random_blocks", "counts blocks in 32 bits", {.random_blocks = counts_in_32_bits}},
    {"random_blocks", "writes pairs of blocks", {.random_blocks = writes_whole_batches}},
    {"code_quads", "leaves missing rows as they were", {.code_quads = keeps_old_rows}},
    {"code_quads", "rounds halves away from zero", {.code_quads = half_away_from_zero}},
    {"code_quads", "sums codes as unsigned", {.code_quads = sums_unsigned}},
};
const size_t kc_planted_bytes_count = sizeof kc_planted_bytes / sizeof kc_planted_bytes[0];
