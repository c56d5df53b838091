/* The activation gradient dA = conv_transpose(codes, signs of w), over the bit planes of kept
 * samples.
 *
 *   dA = scale * sum(code * w^) + offset * sum(w^)      (sums over the taps whose output pixel
 * exists)
 *
 * The codes stand with a halo of zero words, so a tap outside adds nothing to the first sum; the
 * second one depends only on which taps exist, hence on the pixel's class. With stride 2, input
 * pixels of the four parities see different taps and are walked one parity after another. */
#include "ops/bconv_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"

/* --- geometry --------------------------------------------------------------------------------- */

/* Along one axis: does tap t of input position i reach an output position, and where (halo
 * included, relative to i / stride)? */
static int tap_reaches(const struct bp_conv_shape *s, size_t i, size_t t) {
    return i + s->pad >= t && (i + s->pad - t) % s->stride == 0;
}

static int parity_tap_row(const struct bp_conv_shape *s, size_t parity, size_t t, size_t *row) {
    size_t shifted = parity + s->pad + 2 * s->stride; /* keeps the difference positive */
    if ((shifted - t) % s->stride != 0)
        return 0;
    *row = (shifted - t) / s->stride - 1; /* - 2 for the shift, + 1 for the halo */
    return 1;
}

static void fill_parity_taps(struct bp_bconv *op, struct bp_parity *parity, size_t py, size_t px) {
    const struct bp_conv_shape *s = &op->shape;
    size_t pixel_words = (size_t)op->quant_da.bits * op->kw;
    for (size_t t = 0; t < op->taps; t++) {
        size_t row, column;
        if (!parity_tap_row(s, py, t / s->r, &row) || !parity_tap_row(s, px, t % s->r, &column))
            continue;
        parity->tap[parity->taps] = (int32_t)((row * (s->ow + 2) + column) * pixel_words);
        parity->tap_w[parity->taps++] = (int32_t)t;
    }
}

static bp_status fill_parity_pixels(struct bp_bconv *op, struct bp_parity *parity, size_t py,
                                    size_t px) {
    const struct bp_conv_shape *s = &op->shape;
    size_t pixel_words = (size_t)op->quant_da.bits * op->kw;
    size_t rows = (s->h - py + s->stride - 1) / s->stride;
    size_t columns = (s->w - px + s->stride - 1) / s->stride;
    parity->pixels = rows * columns;
    BP_TRY(bp_alloc_array(&parity->pixel_base, op->tile_samples * parity->pixels + 1,
                          sizeof(int32_t), "pixel offsets"));
    BP_TRY(
        bp_alloc_array(&parity->pixel_index, parity->pixels + 1, sizeof(int32_t), "pixel indices"));
    for (size_t p = 0; p < parity->pixels; p++) {
        size_t y = p / columns, x = p % columns;
        parity->pixel_index[p] = (int32_t)((y * s->stride + py) * s->w + x * s->stride + px);
        for (size_t i = 0; i < op->tile_samples; i++)
            parity->pixel_base[i * parity->pixels + p] =
                (int32_t)(i * op->code_words + (y * (s->ow + 2) + x) * pixel_words);
    }
    return BP_OK;
}

/* The taps of input pixel (y, x) whose output pixel exists. */
static unsigned existing_taps(const struct bp_conv_shape *s, size_t y, size_t x) {
    unsigned mask = 0;
    for (size_t t = 0; t < s->r * s->r; t++) {
        size_t ty = t / s->r, tx = t % s->r;
        if (tap_reaches(s, y, ty) && tap_reaches(s, x, tx) &&
            (y + s->pad - ty) / s->stride < s->oh && (x + s->pad - tx) / s->stride < s->ow)
            mask |= 1u << t;
    }
    return mask;
}

static bp_status fill_classes(struct bp_bconv *op) {
    const struct bp_conv_shape *s = &op->shape;
    BP_TRY(bp_alloc(&op->in_class, s->h * s->w, "tap classes"));
    BP_TRY(bp_alloc(&op->zero_class, s->h * s->w, "tap classes"));
    for (size_t p = 0; p < s->h * s->w; p++) {
        unsigned mask = existing_taps(s, p / s->w, p % s->w);
        size_t i = 0;
        while (i < op->classes && op->class_masks[i] != mask)
            i++;
        if (i == op->classes)
            op->class_masks[op->classes++] = mask; /* at most (3 borders * 2 parities)^2 = 36 */
        op->in_class[p] = (uint8_t)i;
    }
    return BP_OK;
}

bp_status bp_bconv_dgrad_plan(struct bp_bconv *op, struct bp_exec *exec) {
    const struct bp_conv_shape *s = &op->shape;
    op->code_words = (s->oh + 2) * (s->ow + 2) * (size_t)op->quant_da.bits * op->kw;
    if (op->code_words > INT32_MAX / (op->tile_samples + 1))
        return bp_fail(BP_USAGE, "the image is too large to index; use a smaller --size");
    for (size_t i = 0; i < s->stride * s->stride; i++) {
        fill_parity_taps(op, &op->parity[i], i / s->stride, i % s->stride);
        BP_TRY(fill_parity_pixels(op, &op->parity[i], i / s->stride, i % s->stride));
    }
    BP_TRY(fill_classes(op));
    bp_exec_need_scratch(exec, BP_TILE_PIXELS * s->c * sizeof(int32_t));
    return BP_OK;
}

/* How many groups of n can be kept. */
static size_t slots(const struct bp_quant *quant, size_t n) {
    if (quant->select != BP_SELECT_SYSTEMATIC && quant->select != BP_SELECT_TOPK)
        return n;
    return bp_min_size(n, (size_t)((double)quant->keep * (double)n + 0.5) + 2);
}

bp_status bp_bconv_dgrad_buffers(struct bp_bconv *op, struct bp_exec *exec, struct bp_plan *plan,
                                 const char *name, int time) {
    char text[96];
    size_t n = op->shape.n, threads = (size_t)bp_threads_count(exec->threads);
    op->slots_da = slots(&op->quant_da, n);
    snprintf(text, sizeof text, "%s codes dA", name);
    BP_TRY(bp_plan_add(plan, text, op->slots_da * op->code_words * 8, time, time, &op->codes_da));
    snprintf(text, sizeof text, "%s offsets dA", name);
    BP_TRY(bp_plan_add(plan, text, (threads * op->classes + 1) * op->shape.c * sizeof(float), time,
                       time, &op->offset_table));
    snprintf(text, sizeof text, "%s slots dA", name);
    BP_TRY(bp_plan_add(plan, text, n * sizeof(int32_t), time, time, &op->slot_of_sample));
    snprintf(text, sizeof text, "%s samples dA", name);
    return bp_plan_add(plan, text, op->slots_da * sizeof(int32_t), time, time, &op->sample_of_slot);
}

/* --- product and epilogue --------------------------------------------------------------------- */

struct dgrad_job {
    struct bp_bconv *op;
    struct bp_exec *exec;
    const uint64_t *mask;
    float *dx;
    int is_signed;
};

/* Which rows of offsets a sample needs, filled for its scale: [classes][c], or one row of zeros. */
struct sample_offsets {
    const float *table;
    const uint8_t *classes;
    int32_t sample;
};

static void fill_offsets(const struct dgrad_job *job, int thread, int32_t sample,
                         struct sample_offsets *offsets) {
    struct bp_bconv *op = job->op;
    size_t c = op->shape.c;
    float offset = op->groups_da[sample].offset;
    size_t threads = (size_t)bp_threads_count(job->exec->threads);
    if (offsets->sample == sample)
        return;
    offsets->sample = sample;
    offsets->classes = op->zero_class;
    offsets->table = op->offset_table + threads * op->classes * c;
    if (offset == 0.0f)
        return;
    float *table = op->offset_table + (size_t)thread * op->classes * c;
    for (size_t i = 0; i < op->classes; i++)
        for (size_t j = 0; j < c; j++) {
            int32_t sum = 0;
            for (size_t t = 0; t < op->taps; t++)
                if (op->class_masks[i] >> t & 1)
                    sum += op->tap_sum_t[t * c + j];
            table[i * c + j] = offset * (float)sum;
        }
    offsets->table = table;
    offsets->classes = op->in_class;
}

/* Scales, adds the offset, masks and stores `count` pixels of a tile, which begins at pixel `first`
 * of the tile's samples. Runs of pixels that are neighbours in the image go in one call. */
static void finish_tile(const struct dgrad_job *job, const struct bp_parity *parity, size_t slot,
                        size_t first, size_t count, const int32_t *sums,
                        struct sample_offsets *offsets, int thread) {
    struct bp_bconv *op = job->op;
    size_t c = op->shape.c, image = op->shape.h * op->shape.w;
    for (size_t p = 0; p < count;) {
        size_t pixel = (first + p) % parity->pixels;
        int32_t sample = op->sample_of_slot[slot + (first + p) / parity->pixels];
        size_t run = 1, at = (size_t)parity->pixel_index[pixel];
        if (op->shape.stride == 1)
            run = bp_min_size(count - p, parity->pixels - pixel);
        fill_offsets(job, thread, sample, offsets);
        size_t flat = (size_t)sample * image + at;
        job->exec->kernels.scale_mask(sums + p * c, job->mask + flat * op->cw, run, c,
                                      op->groups_da[sample].scale, offsets->table,
                                      offsets->classes + at, job->dx + flat * c);
        p += run;
    }
}

/* Items are groups of tile_samples slots. */
static void dgrad_part(void *context, size_t begin, size_t end, int thread) {
    struct dgrad_job *job = context;
    struct bp_bconv *op = job->op;
    int32_t *sums = bp_exec_scratch(job->exec, thread); /* [tile pixels][c] */
    struct sample_offsets offsets = {NULL, NULL, -1};
    for (size_t item = begin; item < end; item++) {
        size_t slot = item * op->tile_samples;
        size_t samples = bp_min_size(op->tile_samples, op->kept_da - slot);
        const uint64_t *codes = op->codes_da + slot * op->code_words;
        for (size_t i = 0; i < op->shape.stride * op->shape.stride; i++) {
            const struct bp_parity *parity = &op->parity[i];
            size_t total = samples * parity->pixels;
            for (size_t first = 0; first < total; first += BP_TILE_PIXELS) {
                size_t count = bp_min_size(BP_TILE_PIXELS, total - first);
                if (parity->taps == 0) /* a 1x1 kernel of stride 2 never sees these pixels */
                    memset(sums, 0, count * op->shape.c * sizeof *sums);
                else
                    job->exec->kernels.product_planes(codes, parity->pixel_base + first, count,
                                                      parity->tap, parity->tap_w, parity->taps,
                                                      op->taps, op->kw, op->quant_da.bits,
                                                      job->is_signed, op->w_t, op->shape.c, sums);
                finish_tile(job, parity, slot, first, count, sums, &offsets, thread);
            }
        }
    }
}

static void clear_dropped(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct dgrad_job *job = context;
    size_t elements = job->op->shape.h * job->op->shape.w * job->op->shape.c;
    for (size_t sample = begin; sample < end; sample++)
        if (job->op->slot_of_sample[sample] < 0)
            memset(job->dx + sample * elements, 0, elements * sizeof(float));
}

void bp_bconv_dgrad_run(struct bp_bconv *op, struct bp_exec *exec, size_t n, const uint64_t *mask,
                        float *dx) {
    struct dgrad_job job = {.op = op, .exec = exec, .mask = mask, .dx = dx};
    int code_min, code_max;
    bp_quant_codes(&op->quant_da, &code_min, &code_max, &job.is_signed);
    size_t threads = (size_t)bp_threads_count(exec->threads);
    memset(op->offset_table + threads * op->classes * op->shape.c, 0, op->shape.c * sizeof(float));
    bp_parallel_for(exec->threads, n, clear_dropped, &job);
    bp_parallel_for(exec->threads, (op->kept_da + op->tile_samples - 1) / op->tile_samples,
                    dgrad_part, &job);
}
