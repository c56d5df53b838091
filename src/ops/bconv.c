#include "ops/bconv_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"

/* --- geometry --------------------------------------------------------------------------------- */

int bp_bconv_tap_is_cut(unsigned border_class, size_t tap, size_t r) {
    if (r == 1)
        return 0;
    size_t ty = tap / r, tx = tap % r;
    return (ty == 0 && border_class & BP_CLASS_TOP) ||
           (ty == r - 1 && border_class & BP_CLASS_BOTTOM) ||
           (tx == 0 && border_class & BP_CLASS_LEFT) ||
           (tx == r - 1 && border_class & BP_CLASS_RIGHT);
}

static unsigned border_class_of(const struct bp_conv_shape *s, size_t oy, size_t ox) {
    unsigned border_class = 0;
    if (s->pad == 0)
        return 0;
    border_class |= oy == 0 ? BP_CLASS_TOP : 0u;
    border_class |= oy * s->stride + 1 >= s->h ? BP_CLASS_BOTTOM : 0u;
    border_class |= ox == 0 ? BP_CLASS_LEFT : 0u;
    border_class |= ox * s->stride + 1 >= s->w ? BP_CLASS_RIGHT : 0u;
    return border_class;
}

static bp_status make_tables(struct bp_bconv *op) {
    const struct bp_conv_shape *s = &op->shape;
    size_t pixels = s->oh * s->ow, row = (s->w + 2) * op->cw;
    BP_TRY(bp_alloc_array(&op->pixel_base, pixels, sizeof(int32_t), "pixel offsets"));
    BP_TRY(bp_alloc_array(&op->valid, pixels, sizeof(uint64_t), "tap masks"));
    BP_TRY(bp_alloc_array(&op->border_class, pixels, sizeof(uint8_t), "tap masks"));
    size_t origin = s->pad == 0 ? row + op->cw : 0; /* 1x1 kernels start inside the halo */
    for (size_t t = 0; t < op->taps; t++)
        op->tap_offset[t] = (int32_t)(t / s->r * row + t % s->r * op->cw);
    for (size_t p = 0; p < pixels; p++) {
        size_t oy = p / s->ow, ox = p % s->ow;
        unsigned border_class = border_class_of(s, oy, ox);
        op->border_class[p] = (uint8_t)border_class;
        op->pixel_base[p] = (int32_t)(origin + oy * s->stride * row + ox * s->stride * op->cw);
        for (size_t t = 0; t < op->taps; t++)
            if (!bp_bconv_tap_is_cut(border_class, t, s->r)) {
                op->valid[p] |= (uint64_t)1 << t;
                op->valid_count[t]++;
            }
    }
    return BP_OK;
}

size_t bp_bconv_chunk_rows(const struct bp_conv_shape *shape) {
    size_t rows = 16384 / (shape->ow * shape->k) / 2 * 2; /* 64 kB of floats */
    if (rows < 2)
        rows = 2;
    return bp_min_size(rows, shape->oh);
}

size_t bp_bconv_digits(const struct bp_quant *quant, struct bp_digit digits[2]) {
    int code_min, code_max, is_signed;
    bp_quant_codes(quant, &code_min, &code_max, &is_signed);
    if (quant->bits <= 4) {
        digits[0] = (struct bp_digit){code_min, 0, code_max - code_min};
        return 1;
    }
    digits[0] = (struct bp_digit){code_min, 0, 15};
    digits[1] = (struct bp_digit){code_min, 4, 15};
    return 2;
}

int bp_bconv_sums_shift(const struct bp_quant *quant, size_t terms, int most) {
    int code_min, code_max, is_signed;
    bp_quant_codes(quant, &code_min, &code_max, &is_signed); /* the grid with zero is symmetrical */
    if (quant->grid != BP_GRID_ZERO || terms > (size_t)(INT32_MAX / 2 / code_max))
        return -1;
    for (int shift = 0; shift <= most; shift++)
        if (bp_shift_to_even((int32_t)terms * code_max, shift) <= INT16_MAX)
            return shift;
    return -1;
}

/* --- creation --------------------------------------------------------------------------------- */

static bp_status check_shape(const struct bp_conv_shape *s, const char *name) {
    int known = (s->r == 1 && s->pad == 0) || (s->r == 3 && s->pad == 1);
    if (!known || s->stride < 1 || s->stride > 2)
        return bp_fail(BP_INTERNAL, "%s: no binary convolution of kernel %zu, stride %zu, pad %zu",
                       name, s->r, s->stride, s->pad);
    if (s->r * s->r * bp_words(s->c) * 64 > INT16_MAX)
        return bp_fail(
            BP_USAGE,
            "%s has %zu input channels, more than a 16-bit sum can hold (%d); use a smaller "
            "--width",
            name, s->c, INT16_MAX / 64 / (int)(s->r * s->r) * 64);
    size_t sample_words = (s->h + 2) * (s->w + 2) * bp_words(s->c);
    if (sample_words > INT32_MAX / s->n)
        return bp_fail(BP_USAGE, "%s: the batch is too large to index; use a smaller --batch",
                       name);
    return BP_OK;
}

static void choose_methods(struct bp_bconv *op, enum bp_tier tier) {
    op->method_forward = bp_product_method_forward(tier);
    if (!op->backward)
        return;
    op->method_da = bp_product_method_gradient(tier, op->quant_da.bits);
    op->method_dw = bp_product_method_weights(tier, op->quant_dw.bits, op->shape.n,
                                              op->shape.n * op->shape.oh * op->shape.ow);
    if (op->quant_dw.groups == BP_GROUPS_SAMPLE) /* a lookup adds up four samples */
        op->method_dw = BP_PRODUCT_BITS;
}

static bp_status set_up(struct bp_bconv *op, struct bp_exec *exec, struct bp_plan *plan,
                        const char *name, int backward_time, int last_time) {
    BP_TRY(make_tables(op));
    choose_methods(op, exec->tier);
    bp_bconv_forward_plan(op, exec);
    BP_TRY(bp_bconv_pack_buffers(op, exec, plan, name, last_time));
    if (!op->backward)
        return BP_OK;
    BP_TRY(bp_quant_check(&op->quant_da, "the activation gradient"));
    BP_TRY(bp_quant_check(&op->quant_dw, "the weight gradient"));
    op->chunk_rows = bp_bconv_chunk_rows(&op->shape);
    op->shift_da = bp_bconv_sums_shift(&op->quant_da, op->taps * op->shape.k, BP_SUMS_SHIFT_DA);
    op->shift_dw = -1;
    if (op->quant_dw.groups == BP_GROUPS_CHANNEL)
        op->shift_dw = bp_bconv_sums_shift(&op->quant_dw, op->shape.n * op->shape.oh * op->shape.ow,
                                           op->quant_dw.bits == 8 ? BP_SUMS_SHIFT_DW : 0);
    BP_TRY(bp_bconv_dgrad_plan(op, exec));
    BP_TRY(bp_bconv_dgrad_buffers(op, exec, plan, name, backward_time));
    return bp_bconv_wgrad_buffers(op, exec, plan, name, backward_time);
}

bp_status bp_bconv_create(struct bp_bconv **out, struct bp_exec *exec, struct bp_plan *plan,
                          const struct bp_conv_shape *shape, const struct bp_quant *quant_da,
                          const struct bp_quant *quant_dw, const char *name, int backward_time,
                          int last_time) {
    *out = NULL;
    BP_TRY(check_shape(shape, name));
    struct bp_bconv *op;
    BP_TRY(bp_alloc(&op, sizeof *op, "a binary convolution"));
    op->shape = *shape;
    op->cw = bp_words(shape->c);
    op->kw = bp_words(shape->k);
    op->cq = (shape->c + BP_QUAD - 1) / BP_QUAD;
    op->kq = bp_round_up((shape->k + BP_QUAD - 1) / BP_QUAD, exec->kernels.together);
    op->taps = shape->r * shape->r;
    op->in_words = (shape->h + 2) * (shape->w + 2) * op->cw;
    op->backward = quant_da != NULL && quant_dw != NULL;
    if (op->backward) {
        op->quant_da = *quant_da;
        op->quant_dw = *quant_dw;
    }
    bp_status status = set_up(op, exec, plan, name, backward_time, last_time);
    if (status != BP_OK) {
        bp_bconv_destroy(op);
        return status;
    }
    *out = op;
    return BP_OK;
}

void bp_bconv_destroy(struct bp_bconv *op) {
    if (op == NULL)
        return;
    bp_free(op->pixel_base);
    bp_free(op->valid);
    bp_free(op->border_class);
    bp_free(op->in_class);
    bp_free(op->zero_class);
    bp_free(op->dw_words);
    bp_wgrad_lookup_destroy(op->dw_lookup);
    bp_free(op->dw_tiles);
    bp_free(op);
}
