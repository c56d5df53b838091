/* Tests of the products of bfloat16 and of what they take, and planted mistakes. */
#include "kcheck/kcheck.h"

#include <string.h>

#include "base/bits.h"
#include "kernels/c/tier_c.h"

enum { STEP = 32, LANES = 32 };

/* Rows, lanes, and the distance between rows. */
struct matrix {
    size_t n, c, stride;
    uint16_t *x;
};

static size_t draw_rows(struct kcheck *t) {
    if (t->layer != NULL)
        return kc_positions(t);
    return t->case_index < KC_SWEEP ? t->case_index + 1 : kc_edge_size(t);
}

static size_t draw_channels(struct kcheck *t, size_t of_layer) {
    return t->layer != NULL ? bp_round_up(of_layer, LANES) : LANES * (1 + kc_below(t, 5));
}

static struct matrix draw_matrix(struct kcheck *t) {
    struct matrix m = {.n = draw_rows(t)};
    m.c = draw_channels(t, t->layer != NULL ? t->layer->k : 0);
    m.stride = m.c + (t->layer != NULL ? 0 : kc_below(t, 2) * kc_below(t, 50));
    size_t count = (m.n - 1) * m.stride + m.c;
    m.x = kc_input(t, "x", KC_I16, count);
    kc_fill_bytes(t, (uint8_t *)m.x, count * sizeof *m.x);
    return m;
}

void kcheck_pack_bf16(struct kcheck *t) {
    struct matrix m = draw_matrix(t);
    size_t steps = (m.n + STEP - 1) / STEP;
    kc_params(t, "n=%zu c=%zu stride=%zu", m.n, m.c, m.stride);
    kc_work(t, (double)(m.n * m.c), "element");
    uint16_t *out = kc_output(t, "out", KC_I16, steps * STEP * m.c);
    for (size_t p = 0; p < m.n; p++)
        for (size_t j = 0; j < m.c; j++) {
            size_t step = j / 16 * steps + p / STEP, pair = p % STEP / 2;
            out[((step * 16 + pair) * 16 + j % 16) * 2 + p % 2] = m.x[p * m.stride + j];
        }
    while (kc_next(t))
        t->kernels->pack_bf16(kc_at(t, m.x), m.n, m.c, m.stride, kc_at(t, out));
}

void kcheck_turn_bf16(struct kcheck *t) {
    struct matrix m = draw_matrix(t);
    size_t rows = bp_round_up(m.n, STEP);
    size_t pitch = rows + (t->layer != NULL ? 0 : kc_below(t, 2) * kc_below(t, 50));
    kc_params(t, "n=%zu c=%zu stride=%zu pitch=%zu", m.n, m.c, m.stride, pitch);
    kc_work(t, (double)(m.n * m.c), "element");
    size_t count = (m.c - 1) * pitch + rows;
    uint16_t *out = kc_output(t, "out", KC_I16, count);
    kc_fill_bytes(t, (uint8_t *)out, count * sizeof *out);
    kc_keep_initial(t, out);
    for (size_t j = 0; j < m.c; j++)
        for (size_t i = 0; i < rows; i++)
            out[j * pitch + i] = i < m.n ? m.x[i * m.stride + j] : 0;
    while (kc_next(t))
        t->kernels->turn_bf16(kc_at(t, m.x), m.n, m.c, m.stride, kc_at(t, out), pitch);
}

static void fill_numbers(struct kcheck *t, uint16_t *x, size_t count) {
    for (size_t i = 0; i < count; i++) {
        float value;
        kc_fill_moderate(t, &value, 1);
        x[i] = kc_to_16(KC_BF16, value);
    }
}

static float product(const uint16_t *x, const uint16_t *w, size_t i) {
    return kc_of_16(KC_BF16, x[i]) * kc_of_16(KC_BF16, w[i / 2 * 2 * 16 + i % 2]);
}

/* Lane j of a step, of which w is packed. */
static float sum_of_step(const uint16_t *x, const uint16_t *w, size_t j) {
    float even = 0.0f, odd = 0.0f;
    for (size_t i = 0; i < STEP; i += 2) {
        even += product(x, w + 2 * j, i);
        odd += product(x, w + 2 * j, i + 1);
    }
    return even + odd;
}

void kcheck_product_bf16(struct kcheck *t) {
    const struct kc_layer *l = t->layer;
    size_t n = draw_rows(t), c = draw_channels(t, l != NULL ? l->k : 0);
    size_t few = 1 + kc_below(t, 6), many = few + 15 + kc_below(t, 20);
    size_t steps = l != NULL ? bp_round_up(l->c, STEP) / STEP : kc_below(t, 8) != 0 ? few : many;
    size_t x_stride = steps * STEP + (l != NULL ? 0 : kc_below(t, 2) * kc_below(t, 50));
    size_t y_stride = c + (l != NULL ? 0 : kc_below(t, 2) * kc_below(t, 50));
    int add = kc_below(t, 2) != 0;
    /* Room for what is fetched; nothing of it changes. */
    size_t soon = l != NULL ? n * c * sizeof(float) : kc_below(t, 3) * kc_below(t, 5000);
    kc_params(t, "n=%zu x_stride=%zu steps=%zu c=%zu y_stride=%zu soon=%zu%s", n, x_stride, steps,
              c, y_stride, soon, add ? " added" : "");
    kc_work(t, (double)(n * steps * STEP) * (double)c, "MAC");
    size_t x_count = (n - 1) * x_stride + steps * STEP, w_count = steps * STEP * c;
    uint16_t *x = kc_input(t, "x", KC_I16, x_count), *w = kc_input(t, "w", KC_I16, w_count);
    uint8_t *fetched = soon > 0 ? kc_input(t, "soon", KC_U8, soon) : NULL;
    fill_numbers(t, x, x_count);
    fill_numbers(t, w, w_count);
    size_t y_count = (n - 1) * y_stride + c;
    float *y = kc_output(t, "y", KC_F32, y_count);
    kc_fill_moderate(t, y, y_count);
    kc_keep_initial(t, y);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < c; j++) {
            float sum = add ? y[i * y_stride + j] : 0.0f;
            for (size_t s = 0; s < steps; s++)
                sum += sum_of_step(x + i * x_stride + s * STEP,
                                   w + (j / 16 * steps + s) * STEP * 16, j % 16);
            y[i * y_stride + j] = sum;
        }
    while (kc_next(t)) {
        const char *at = kc_at(t, fetched);
        t->kernels->product_bf16(kc_at(t, x), n, x_stride, kc_at(t, w), steps, c, add, kc_at(t, y),
                                 y_stride, (struct bp_fetch){.at = at, .end = at + soon});
    }
}

/* --- planted mistakes ------------------------------------------------------------------------- */

static void packs_no_zeros(const uint16_t *x, size_t n, size_t c, size_t stride, uint16_t *out) {
    size_t last = bp_round_up(n, STEP) * c - 1;
    uint16_t old = out[last];
    bp_pack_bf16_c(x, n, c, stride, out);
    if (n % STEP != 0)
        out[last] = old;
}

static void packs_rows_that_lie_close(const uint16_t *x, size_t n, size_t c, size_t stride,
                                      uint16_t *out) {
    (void)stride;
    bp_pack_bf16_c(x, n, c, c, out);
}

static void turns_no_zeros(const uint16_t *x, size_t n, size_t c, size_t stride, uint16_t *out,
                           size_t pitch) {
    uint16_t *last = out + (c - 1) * pitch + bp_round_up(n, STEP) - 1, old = *last;
    bp_turn_bf16_c(x, n, c, stride, out, pitch);
    if (n % STEP != 0)
        *last = old;
}

static void clears_between_columns(const uint16_t *x, size_t n, size_t c, size_t stride,
                                   uint16_t *out, size_t pitch) {
    memset(out, 0, (c - 1) * pitch * sizeof *out);
    bp_turn_bf16_c(x, n, c, stride, out, pitch);
}

static void always_adds(const uint16_t *x, size_t n, size_t x_stride, const uint16_t *w,
                        size_t steps, size_t c, int add, float *y, size_t y_stride,
                        struct bp_fetch soon) {
    (void)add;
    bp_product_bf16_c(x, n, x_stride, w, steps, c, 1, y, y_stride, soon);
}

static void leaves_out_the_last_step(const uint16_t *x, size_t n, size_t x_stride,
                                     const uint16_t *w, size_t steps, size_t c, int add, float *y,
                                     size_t y_stride, struct bp_fetch soon) {
    for (size_t j = 0; j < c; j += 16) /* of the last of several */
        bp_product_bf16_c(x, n, x_stride, w + j * steps * STEP, steps > 1 ? steps - 1 : 1, 16, add,
                          y + j, y_stride, soon);
}

static void multiplies_whole_blocks(const uint16_t *x, size_t n, size_t x_stride, const uint16_t *w,
                                    size_t steps, size_t c, int add, float *y, size_t y_stride,
                                    struct bp_fetch soon) {
    bp_product_bf16_c(x, n, x_stride, w, steps, c, add, y, y_stride, soon);
    if (n % 16 != 0)
        ((volatile float *)y)[n * y_stride] = 0.0f;
}

const struct kc_planted kc_planted_bf16[] = {
    {"pack_bf16", "leaves missing rows as they were", {.pack_bf16 = packs_no_zeros}},
    {"pack_bf16", "rows lie one behind the other", {.pack_bf16 = packs_rows_that_lie_close}},
    {"turn_bf16", "leaves missing rows as they were", {.turn_bf16 = turns_no_zeros}},
    {"turn_bf16", "clears between columns", {.turn_bf16 = clears_between_columns}},
    {"product_bf16", "always adds", {.product_bf16 = always_adds}},
    {"product_bf16", "leaves out the last step", {.product_bf16 = leaves_out_the_last_step}},
    {"product_bf16", "writes a row behind the last", {.product_bf16 = multiplies_whole_blocks}},
};
const size_t kc_planted_bf16_count = sizeof kc_planted_bf16 / sizeof kc_planted_bf16[0];
