#include "unit/quant_observer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "unit/op_data.h"

/* Element (i, j) of the Hadamard matrix: is it -1? */
static int negative(size_t i, size_t j) {
    int odd = 0;
    for (size_t common = i & j; common != 0; common &= common - 1)
        odd = !odd;
    return odd;
}

static void fill_signs(struct observer *o) {
    for (size_t p = 0; p < OBSERVER_POSITIONS; p++) {
        size_t n = p / OBSERVER_PIXELS, y = p / OBSERVER_SIDE % OBSERVER_SIDE;
        size_t row = n * (OBSERVER_SIDE + 2) + y + 1;
        for (size_t c = 0; c < OBSERVER_C; c++)
            o->x[row * (OBSERVER_SIDE + 2) + p % OBSERVER_SIDE + 1] |= (uint64_t)negative(p, c)
                                                                       << c;
        o->mask[p] = ((uint64_t)1 << OBSERVER_C) - 1;
    }
    for (size_t k = 0; k < OBSERVER_K; k++)
        for (size_t c = 0; c < OBSERVER_C; c++)
            o->w[k * OBSERVER_C + c] = negative(k, c) ? -0.5f : 0.5f;
}

void observer_create(struct observer *o, const struct bp_quant *quant) {
    struct bp_conv_shape shape;
    size_t halo = (size_t)(OBSERVER_SIDE + 2) * (OBSERVER_SIDE + 2);
    memset(o, 0, sizeof *o);
    o->quant[OBSERVER_DA] = o->quant[OBSERVER_DW] = *quant;
    o->quant[OBSERVER_DA].groups = BP_GROUPS_SAMPLE;
    assert_int_equal(bp_quant_check(quant, "a test"), BP_OK);
    assert_int_equal(bp_conv_shape_set(&shape, OBSERVER_GROUPS, OBSERVER_SIDE, OBSERVER_SIDE,
                                       OBSERVER_C, OBSERVER_K, 1, 1, 0),
                     BP_OK);
    assert_int_equal(bp_exec_create(&o->exec, bp_cpu_best(), 1), BP_OK);
    assert_int_equal(bp_plan_create(&o->plan), BP_OK);
    assert_int_equal(bp_bconv_create(&o->op, o->exec, o->plan, &shape, &o->quant[OBSERVER_DA],
                                     &o->quant[OBSERVER_DW], "test", 1, 2),
                     BP_OK);
    bp_exec_need_scratch(o->exec, bp_bconv_backward_scratch_bytes(&shape, 1));
    assert_int_equal(bp_plan_allocate(o->plan, "a test"), BP_OK);
    assert_int_equal(bp_exec_allocate(o->exec), BP_OK);
    o->x = op_data_take(OBSERVER_GROUPS * halo * sizeof *o->x);
    o->mask = op_data_take(OBSERVER_POSITIONS * sizeof *o->mask);
    o->w = op_data_take(OBSERVER_K * OBSERVER_C * sizeof *o->w);
    o->dx = op_data_take(OBSERVER_POSITIONS * OBSERVER_C * sizeof *o->dx);
    o->dw = op_data_take(OBSERVER_K * OBSERVER_C * sizeof *o->dw);
    fill_signs(o);
    bp_bconv_pack(o->op, o->exec, o->w);
}

void observer_destroy(struct observer *o) {
    bp_bconv_destroy(o->op);
    bp_plan_destroy(o->plan);
    bp_exec_destroy(o->exec);
    void *blocks[] = {o->x, o->mask, o->w, o->dx, o->dw};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        bp_free(blocks[i]);
}

static void rows_of_g(const void *context, size_t n, size_t row, size_t rows, float *out,
                      void *scratch) {
    const struct observer *o = context;
    size_t row_elements = (size_t)OBSERVER_SIDE * OBSERVER_K;
    (void)scratch;
    memcpy(out, o->g + (n * OBSERVER_SIDE + row) * row_elements, rows * row_elements * sizeof *out);
}

/* row [OBSERVER_C] times the first `count` (a power of 2) rows of the Hadamard matrix, over C:
 * these depend on c % count only; then butterflies. */
static void transform(const float *row, size_t count, double *out) {
    memset(out, 0, count * sizeof *out);
    for (size_t c = 0; c < OBSERVER_C; c++)
        out[c % count] += (double)row[c];
    for (size_t c = 0; c < count; c++)
        out[c] /= OBSERVER_C;
    for (size_t half = 1; half < count; half *= 2)
        for (size_t c = 0; c < count; c++)
            if ((c & half) == 0) {
                double a = out[c], b = out[c + half];
                out[c] = a + b;
                out[c + half] = a - b;
            }
}

void observer_draw(struct observer *o, uint64_t seed, uint32_t step) {
    struct bp_grad_source source = {.rows = rows_of_g, .context = o, .scratch_bytes = 1};
    double row[OBSERVER_POSITIONS];
    bp_bconv_backward(o->op, o->exec, OBSERVER_GROUPS, o->x, o->mask, &source, seed, 3, step, NULL,
                      o->dx, o->dw, NULL, NULL, NULL);
    o->groups[OBSERVER_DA] = bp_bconv_groups_da(o->op);
    o->groups[OBSERVER_DW] = bp_bconv_groups_dw(o->op);
    for (size_t p = 0; p < OBSERVER_POSITIONS; p++)
        transform(o->dx + p * OBSERVER_C, OBSERVER_K, o->seen[OBSERVER_DA] + p * OBSERVER_K);
    for (size_t k = 0; k < OBSERVER_K; k++) {
        transform(o->dw + k * OBSERVER_C, OBSERVER_POSITIONS, row);
        for (size_t p = 0; p < OBSERVER_POSITIONS; p++)
            o->seen[OBSERVER_DW][p * OBSERVER_K + k] = row[p];
    }
}

size_t observer_group_of(const struct observer *o, int product, size_t element) {
    return o->quant[product].groups == BP_GROUPS_CHANNEL ? element % OBSERVER_K
                                                         : element / OBSERVER_K / OBSERVER_PIXELS;
}
