#include "unit/bconv_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "unit/op_data.h"

const struct bp_quant bconv_quants[BCONV_QUANTS] = {
    {4, 0.25f, BP_SELECT_SYSTEMATIC, BP_WEIGHTS_RMS, BP_GRID_ZERO, 0, BP_GROUPS_CHANNEL},
    {4, 0.25f, BP_SELECT_BERNOULLI, BP_WEIGHTS_RANGE, BP_GRID_MINMAX, 0, BP_GROUPS_CHANNEL},
    {1, 1.0f, BP_SELECT_NONE, BP_WEIGHTS_RANGE, BP_GRID_MINMAX, 0, BP_GROUPS_SAMPLE},
    {8, 1.0f, BP_SELECT_NONE, BP_WEIGHTS_RANGE, BP_GRID_ZERO, 0, BP_GROUPS_CHANNEL},
    {8, 0.5f, BP_SELECT_TOPK, BP_WEIGHTS_RANGE, BP_GRID_MINMAX, 0, BP_GROUPS_SAMPLE},
    {2, 0.5f, BP_SELECT_SYSTEMATIC, BP_WEIGHTS_UNIFORM, BP_GRID_SYMMETRIC, 2.5f, BP_GROUPS_CHANNEL},
    {3, 1.0f, BP_SELECT_NONE, BP_WEIGHTS_RMS, BP_GRID_ZERO, 3.0f, BP_GROUPS_SAMPLE},
};

static struct bp_stream random_stream(uint32_t step) {
    return bp_stream_make(20261124, BP_RANDOM_TEST, 7, step);
}

static void rows_of_g(const void *context, size_t n, size_t row, size_t rows, float *out,
                      void *scratch) {
    const struct bconv_fixture *f = context;
    size_t row_elements = f->shape.ow * f->shape.k;
    ((char *)scratch)[0] = 1; /* the promised scratch byte is there */
    memcpy(out, f->g + (n * f->shape.oh + row) * row_elements, rows * row_elements * sizeof(float));
}

struct bp_grad_source bconv_source(const struct bconv_fixture *f) {
    return (struct bp_grad_source){.rows = rows_of_g, .context = f, .scratch_bytes = 1};
}

size_t bconv_in_pixel(const struct bconv_fixture *f, size_t n, size_t y, size_t x) {
    return ((n * (f->shape.h + 2) + y + 1) * (f->shape.w + 2) + x + 1) * f->cw;
}

static void fill_inputs(struct bconv_fixture *f, uint32_t seed) {
    const struct bp_conv_shape *s = &f->shape;
    struct bp_stream random = random_stream(seed);
    uint64_t at = 0;
    for (size_t n = 0; n < s->n; n++)
        for (size_t y = 0; y < s->h; y++)
            for (size_t x = 0; x < s->w; x++)
                for (size_t c = 0; c < s->c; c++) {
                    uint32_t r = bp_stream_u32(&random, at++);
                    f->x[bconv_in_pixel(f, n, y, x) + c / 64] |= (uint64_t)(r & 1) << c % 64;
                    f->mask[((n * s->h + y) * s->w + x) * f->cw + c / 64] |= (uint64_t)(r >> 1 & 1)
                                                                             << c % 64;
                }
    random = random_stream(seed + 1000);
    for (size_t i = 0; i < s->k * f->taps * s->c; i++)
        f->w[i] = bp_stream_normal(&random, i);
    random = random_stream(seed + 2000);
    size_t image = s->oh * s->ow * s->k;
    for (size_t i = 0; i < s->n * image; i++) {
        /* heavy tails, and samples and channels of unequal weight */
        float v = bp_stream_normal(&random, i);
        f->g[i] = v * v * v * (1.0f + (float)(i / image % 3)) * (1.0f + (float)(i % s->k % 5));
    }
}

/* Buffers begin with what an earlier owner left. */
static void leave_something(struct bconv_fixture *f) {
    for (size_t i = 0; i < bp_plan_count(f->plan); i++) {
        const struct bp_plan_entry *entry = bp_plan_entry_at(f->plan, i);
        memset(*entry->where, 0xa5, entry->bytes);
    }
    memset(f->exec->scratch, 0xa5,
           (size_t)bp_threads_count(f->exec->threads) * f->exec->scratch_bytes);
}

void bconv_set_up(struct bconv_fixture *f, const struct bp_conv_shape *shape,
                  const struct bp_quant *da, const struct bp_quant *dw, enum bp_tier tier,
                  int threads) {
    memset(f, 0, sizeof *f);
    f->shape = *shape;
    f->cw = bp_words(shape->c);
    f->taps = shape->r * shape->r;
    assert_int_equal(bp_exec_create(&f->exec, tier, threads), BP_OK);
    assert_int_equal(bp_plan_create(&f->plan), BP_OK);
    assert_int_equal(bp_bconv_create(&f->op, f->exec, f->plan, shape, da, dw, "test", 1, 2), BP_OK);
    bp_exec_need_scratch(f->exec, bp_bconv_backward_scratch_bytes(shape, 1));
    assert_int_equal(bp_plan_allocate(f->plan, "a test"), BP_OK);
    assert_int_equal(bp_exec_allocate(f->exec), BP_OK);
    leave_something(f);
    size_t pixels_in = shape->n * shape->h * shape->w,
           pixels_out = shape->n * shape->oh * shape->ow;
    f->x = op_data_take(shape->n * (shape->h + 2) * (shape->w + 2) * f->cw * 8);
    f->mask = op_data_take(pixels_in * f->cw * 8);
    f->w = op_data_take(shape->k * f->taps * shape->c * sizeof(float));
    f->g = op_data_take(pixels_out * shape->k * sizeof(float));
    f->y = op_data_take(pixels_out * shape->k * sizeof(int16_t));
    f->dx = op_data_take(pixels_in * shape->c * sizeof(float));
    f->dw = op_data_take(shape->k * f->taps * shape->c * sizeof(float));
    fill_inputs(f, 1);
    bp_bconv_pack(f->op, f->exec, f->w);
}

void bconv_tear_down(struct bconv_fixture *f) {
    bp_bconv_destroy(f->op);
    bp_plan_destroy(f->plan);
    bp_exec_destroy(f->exec);
    void *blocks[] = {f->x, f->mask, f->w, f->g, f->y, f->dx, f->dw};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        bp_free(blocks[i]);
}
