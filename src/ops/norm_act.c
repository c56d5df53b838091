#include "ops/norm_act_internal.h"

#include <stdio.h>

#include "base/memory.h"

#define CHUNK_FLOATS 8192 /* of one worker's row buffer: 32 kB */

static size_t chunk_rows_of(const struct bp_norm_act_shape *s) {
    size_t rows = CHUNK_FLOATS / (s->w * s->c) / 2 * 2;
    return rows < 2 ? 2 : rows;
}

/* Row buffers: forward, activated rows (3x3 windows need one more) and pooled rows; backward, rows
 * of g, y and the gradient, or of g and what a reader needs. */
static size_t scratch_bytes(const struct bp_norm_act_shape *s) {
    size_t rows = (chunk_rows_of(s) + 1) * s->w * s->c * sizeof(float);
    return 3 * bp_round_up(rows, 64) + bp_norm_act_reader_scratch_bytes(s);
}

/* With 3x3 pooling to halves also the rows of the pooled gradient, bfloat16, in floats. */
size_t bp_norm_act_grad_scratch_bytes(const struct bp_norm_act_shape *shape) {
    size_t rows = chunk_rows_of(shape) * shape->w * shape->c * sizeof(float);
    size_t pooled = (chunk_rows_of(shape) / 2 + 1) * ((shape->w + 1) / 2) * shape->c;
    return shape->window_pool && shape->output_f16 ? bp_round_up(rows, 64) + pooled * sizeof(float)
                                                   : rows;
}

bp_status bp_norm_act_create(struct bp_norm_act **out, struct bp_exec *exec, struct bp_plan *plan,
                             const struct bp_norm_act_shape *shape, const char *name,
                             int input_time, int forward_time, int last_time) {
    struct bp_norm_act *op;
    *out = NULL;
    BP_TRY(bp_alloc(&op, sizeof *op, "a normalisation"));
    op->shape = *shape;
    op->window = bp_pool_shape_make(BP_POOL_MAX_3X3_S2, shape->h, shape->w, shape->c);
    op->oh = shape->max_pool ? shape->h / 2 : shape->window_pool ? op->window.oh : shape->h;
    op->ow = shape->max_pool ? shape->w / 2 : shape->window_pool ? op->window.ow : shape->w;
    op->cw = bp_words(shape->c);
    op->chunk_rows = chunk_rows_of(shape);
    size_t pooled = shape->n * op->oh * op->ow * 2 * op->cw * 8;
    const struct {
        const char *what;
        size_t bytes;
        void *where;
    } buffers[] = {
        {"slope", shape->activation == BP_ACT_NONE ? 0 : shape->c * sizeof(float), &op->slope},
        {"sums", shape->n * 3 * shape->c * 8, &op->partial},
        {"winners", shape->max_pool ? pooled : 0, &op->which},
        {"winners", shape->window_pool ? bp_pool_winner_bytes(&op->window, shape->n) : 0,
         &op->winner},
        {"order", pools_integers(shape) ? shape->c * sizeof(int16_t) : 0, &op->flip},
        {"ranges", takes_ranges(shape) ? shape->n * 3 * shape->c * sizeof(float) : 0, &op->ranges},
    };
    bp_status status = bp_batch_norm_plan(&op->norm, plan, shape->c, name, forward_time, last_time);
    if (status == BP_OK && shape->affine == BP_AFFINE_BATCH_NORM)
        status = bp_channel_sums_plan(&op->sums, exec, plan,
                                      shape->input_i16 ? BP_SUMS_I16 : BP_SUMS_F32, shape->n,
                                      shape->c, name, input_time, forward_time);
    if (status == BP_OK && shape->input_i16 && shape->sign_out)
        status = bp_sign_limits_plan(&op->limits, plan, shape->c, name, forward_time, forward_time);
    char text[96];
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0] && status == BP_OK; i++) {
        snprintf(text, sizeof text, "%s %s", name, buffers[i].what);
        if (buffers[i].bytes != 0)
            status = bp_plan_add(plan, text, buffers[i].bytes, forward_time, last_time,
                                 buffers[i].where);
    }
    if (status != BP_OK) {
        bp_free(op);
        return status;
    }
    bp_exec_need_scratch(exec, scratch_bytes(shape));
    bp_exec_need_scratch(exec, bp_norm_act_grad_scratch_bytes(shape));
    *out = op;
    return BP_OK;
}

void bp_norm_act_destroy(struct bp_norm_act *op) {
    bp_free(op);
}
