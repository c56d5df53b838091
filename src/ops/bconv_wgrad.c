/* The weight gradient dW[k][tap][c] = correlate(signs of a, codes): what its methods share.
 *
 *   dW = scale * sum(code * a^) + offset * sum(a^)      sums over the positions where the tap
 * exists
 */
#include "ops/bconv_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Bytes of the codes of one position, of which `kept` channels are kept. */
static size_t position_bytes(const struct bp_bconv *op, size_t kept) {
    return bp_product_takes_bytes(op->method_dw)
               ? kept
               : (size_t)op->quant_dw.bits * bp_words(kept) * sizeof(uint64_t);
}

uint8_t *bp_bconv_wgrad_codes(const struct bp_bconv *op, size_t position, size_t kept) {
    return op->codes_dw + position * position_bytes(op, kept);
}

bp_status bp_bconv_wgrad_buffers(struct bp_bconv *op, struct bp_exec *exec, struct bp_plan *plan,
                                 const char *name, int time) {
    const struct bp_conv_shape *s = &op->shape;
    size_t positions = s->n * s->oh * s->ow, larger = s->n > s->k ? s->n : s->k;
    op->slots_dw = s->k;
    if (op->quant_dw.groups == BP_GROUPS_CHANNEL &&
        (op->quant_dw.select == BP_SELECT_SYSTEMATIC || op->quant_dw.select == BP_SELECT_TOPK))
        op->slots_dw =
            bp_min_size(s->k, (size_t)((double)op->quant_dw.keep * (double)s->k + 0.5) + 2);
    if (positions * position_bytes(op, op->slots_dw) > INT32_MAX)
        return bp_fail(BP_USAGE, "%s: the batch is too large to index; use a smaller --batch",
                       name);
    size_t kept = bp_round_up(op->slots_dw, BP_KEPT_BLOCK);
    size_t sums = op->method_dw == BP_PRODUCT_BITS ? kept : 0; /* else in the workers' scratch */
    const struct {
        const char *what;
        size_t bytes;
        void *where;
    } buffers[] = {
        {"groups dA", s->n * sizeof(struct bp_group), &op->groups_da},
        {"groups dW", larger * sizeof(struct bp_group), &op->groups_dw},
        {"group order", 2 * larger * sizeof(uint32_t), &op->order},
        {"channel ranges", s->n * 3 * s->k * sizeof(float), &op->column_ranges},
        {"kept channels", kept * sizeof(int32_t), &op->kept_channel},
        {"columns dW", kept * sizeof(int32_t), &op->slot_of_column},
        {"kept grids", kept * sizeof(struct bp_grid), &op->kept_grid},
        {"codes dW", positions * position_bytes(op, op->slots_dw), &op->codes_dw},
        {"sums dW", sums * op->taps * s->c * sizeof(int32_t), &op->sum_dw},
        {"sums of signs", op->taps * s->c * sizeof(int32_t), &op->count_a},
    };
    char text[96];
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        snprintf(text, sizeof text, "%s %s", name, buffers[i].what);
        BP_TRY(bp_plan_add(plan, text, buffers[i].bytes, time, time + 1, buffers[i].where));
    }
    bp_wgrad_nonzero_plan(op, exec);
    if (op->method_dw == BP_PRODUCT_TILES)
        return bp_wgrad_tiles_create(op, exec, plan, name, time);
    return op->method_dw == BP_PRODUCT_LOOKUP ? bp_wgrad_lookup_create(op, exec, plan, name, time)
                                              : bp_wgrad_words_create(op, exec, plan, name, time);
}

void bp_bconv_mask_row(const float *w, size_t n, float *dw) {
    for (size_t i = 0; w != NULL && i < n; i++)
        dw[i] = fabsf(w[i]) < 1.0f ? dw[i] : 0.0f;
}

#define PIECE 256

/* Rounded as narrow_sums does, whether integers are asked for or not: so dW is the same on every
 * tier. */
void bp_bconv_wgrad_finish(const struct bp_bconv *op, const struct bp_kernels *kernels,
                           const struct bp_latent_scale *by, const int32_t *sum,
                           const int32_t *high, const int32_t *neg, const float *w, size_t n,
                           float *out, int16_t *narrow) {
    static const float zeros[PIECE];
    int16_t piece[PIECE];
    if (narrow != NULL) {
        kernels->narrow_sums(by, sum, high, neg, n, narrow);
        return;
    }
    if (op->shift_dw <= 0) {
        kernels->scale_latent(by, sum, high, neg, w, n, out);
        return;
    }
    for (size_t i = 0; i < n; i += PIECE) {
        const size_t count = bp_min_size(n - i, PIECE);
        kernels->narrow_sums(by, sum + i, high == NULL ? NULL : high + i,
                             neg == NULL ? NULL : neg + i, count, piece);
        kernels->latent_gradient(piece, by->scale * (float)(1 << op->shift_dw),
                                 w == NULL ? zeros : w + i, count, out + i);
    }
}

int bp_bconv_gives_dw_sums(const struct bp_bconv *op, const struct bp_exec *exec) {
    /* Elsewhere not measured. */
    return op->backward && op->method_dw == BP_PRODUCT_LOOKUP && exec->kernels.sums_at_once &&
           op->quant_dw.groups == BP_GROUPS_CHANNEL && op->shift_dw >= 0;
}

int bp_bconv_wgrad_has_row(const struct bp_bconv *op, size_t k) {
    int by_channel = op->quant_dw.groups == BP_GROUPS_CHANNEL;
    return op->kept_dw > 0 && (!by_channel || op->groups_dw[k].kept);
}

struct clear_job {
    const struct bp_bconv *op;
    float *dw;
    const struct bp_bconv_dw_sums *dw_sums;
};

/* Items are output channels. */
static void clear_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct clear_job *job = context;
    size_t row = job->op->taps * job->op->shape.c;
    for (size_t k = begin; k < end; k++) {
        if (bp_bconv_wgrad_has_row(job->op, k))
            continue;
        if (job->dw_sums == NULL) {
            memset(job->dw + k * row, 0, row * sizeof(float));
            continue;
        }
        memset(job->dw_sums->sums + k * row, 0, row * sizeof(int16_t));
        job->dw_sums->scale[k] = 0;
    }
}

void bp_bconv_wgrad_run(struct bp_bconv *op, struct bp_exec *exec, size_t n, const uint64_t *x,
                        const float *w, float *dw, const struct bp_bconv_dw_sums *dw_sums,
                        uint8_t *zero_rows) {
    const double passes =
        op->kept_dw > 0 && op->method_dw == BP_PRODUCT_LOOKUP ? bp_wgrad_lookup_passes(op, n) : 1;
    op->nonzero_dw = op->kept_dw > 0 && bp_wgrad_nonzero_pays(op, exec, n, passes);
    if (op->nonzero_dw)
        bp_wgrad_nonzero_run(op, exec, n, x, w, dw, dw_sums);
    else if (op->kept_dw > 0 && op->method_dw == BP_PRODUCT_LOOKUP)
        bp_wgrad_lookup_run(op, exec, n, x, w, dw, dw_sums, passes);
    else if (op->kept_dw > 0 && op->method_dw == BP_PRODUCT_TILES)
        bp_wgrad_tiles_run(op, exec, n, x, w, dw);
    else if (op->kept_dw > 0)
        bp_wgrad_words_run(op, exec, n, x, w, dw);
    if (zero_rows == NULL)
        bp_parallel_for(exec->threads, op->shape.k, clear_part,
                        &(struct clear_job){op, dw, dw_sums});
    for (size_t k = 0; zero_rows != NULL && k < op->shape.k; k++)
        zero_rows[k] = !bp_bconv_wgrad_has_row(op, k);
}
