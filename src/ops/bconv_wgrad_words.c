/* dW on words of 64 positions: one population count for 64 products of a bit plane.
 *
 *   sum over positions of code * a^ = sum of codes (valid taps) - 2 * sum of codes where a < 0
 *
 * Positions (n, oy, ox) are numbered in order and taken 64 to a word: a tile of words is transposed
 * once per tap (activations) and once per plane (codes) by all workers, then each worker multiplies
 * its own (tap, block of channels) pairs: no sums are shared. A cut tap reads a halo of zero words:
 * it counts as not negative, and the mask of valid taps, multiplied like one more set of channels,
 * keeps it out of the sum of codes. With groups = samples the same runs for one sample at a time
 * and the results are added as floats in order of the samples. */
#include "ops/bconv_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"

#define TILE_BYTES ((size_t)1 << 20) /* of transposed activations: shared by workers through L2 */

struct bp_wgrad_words {
    uint64_t *tile_a;              /* [taps][tile_words][c] */
    uint64_t *tile_g;              /* [kept blocks][tile_words][bits][BP_KEPT_BLOCK] */
    uint64_t *tile_valid;          /* [tile_words][taps] */
    int32_t *sum_codes;            /* [slots_dw rounded][taps] */
    int64_t *wide_dw, *wide_codes; /* the sums in 64 bits where 32 could overflow; else NULL */
    size_t tile_words;
};

/* --- planning --------------------------------------------------------------------------------- */

bp_status bp_wgrad_words_create(struct bp_bconv *op, struct bp_exec *exec, struct bp_plan *plan,
                                const char *name, int time) {
    const struct bp_conv_shape *s = &op->shape;
    size_t positions = s->n * s->oh * s->ow, bits = (size_t)op->quant_dw.bits;
    size_t kept = bp_round_up(op->slots_dw, BP_KEPT_BLOCK), columns = kept * op->taps;
    size_t word_bytes = op->taps * s->c * 8;
    struct bp_wgrad_words *self;
    BP_TRY(bp_alloc(&self, sizeof *self, "a binary convolution"));
    op->dw_words = self;
    self->tile_words = TILE_BYTES / word_bytes;
    self->tile_words = self->tile_words < 8 ? 8 : self->tile_words > 64 ? 64 : self->tile_words;
    self->tile_words = bp_min_size(self->tile_words, (positions + 63) / 64);
    int wide = positions << bits > INT32_MAX; /* |sum of codes| <= positions * 2^bits */
    const struct {
        const char *what;
        size_t bytes;
        void *where;
    } buffers[] = {
        {"tile of activations", self->tile_words * word_bytes, &self->tile_a},
        {"tile of codes", self->tile_words * bits * kept * 8, &self->tile_g},
        {"tile of valid taps", self->tile_words * op->taps * 8, &self->tile_valid},
        {"sums of codes", columns * sizeof(int32_t), &self->sum_codes},
        {"wide sums dW", wide ? columns * s->c * sizeof(int64_t) : 0, &self->wide_dw},
        {"wide sums of codes", wide ? columns * sizeof(int64_t) : 0, &self->wide_codes},
    };
    char text[96];
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        if (buffers[i].bytes == 0)
            continue;
        snprintf(text, sizeof text, "%s %s", name, buffers[i].what);
        BP_TRY(bp_plan_add(plan, text, buffers[i].bytes, time, time + 1, buffers[i].where));
    }
    size_t wide_row = op->cw > op->kw ? op->cw : op->kw;
    bp_exec_need_scratch(exec, wide_row * 64 * sizeof(uint64_t));
    return BP_OK;
}

/* --- the product over a run of positions ------------------------------------------------------ */

struct wgrad_job {
    struct bp_bconv *op;
    struct bp_exec *exec;
    const uint64_t *x;
    const float *w;
    float *dw;
    size_t n;
    size_t kept;             /* channels in this product */
    size_t first, positions; /* of the run */
    size_t word, words;      /* of the tile, within the run */
    int is_signed, with_count;
    int accumulate;                      /* samples after the first: add to dw */
    const struct bp_group *sample_group; /* groups = samples: the sample's; else NULL */
};

/* Transposes one word of positions: for each tap the activations, and the planes of the codes. */
static void fill_word(const struct wgrad_job *job, size_t word, uint64_t *columns) {
    struct bp_bconv *op = job->op;
    const struct bp_kernels *kernels = &job->exec->kernels;
    size_t pixels = op->shape.oh * op->shape.ow, c = op->shape.c, bits = (size_t)op->quant_dw.bits;
    size_t kept_words = bp_words(job->kept), code_words = bits * kept_words;
    size_t at = (job->word + word) * 64, count = bp_min_size(64, job->positions - at);
    const uint64_t *codes = (const uint64_t *)(const void *)bp_bconv_wgrad_codes(op, 0, job->kept);
    int32_t activation[64], code[64], pixel[64];
    for (size_t i = 0; i < count; i++) {
        size_t position = job->first + at + i, sample = position / pixels;
        pixel[i] = (int32_t)(position % pixels);
        activation[i] = (int32_t)(sample * op->in_words) + op->pixel_base[pixel[i]];
        code[i] = (int32_t)(position * code_words);
    }
    for (size_t t = 0; t < op->taps; t++) {
        kernels->transpose_gather(job->x + op->tap_offset[t], activation, count, op->cw, columns);
        memcpy(op->dw_words->tile_a + (t * op->dw_words->tile_words + word) * c, columns,
               c * sizeof(uint64_t));
    }
    kernels->transpose_gather(op->valid, pixel, count, 1, columns);
    memcpy(op->dw_words->tile_valid + word * op->taps, columns, op->taps * sizeof(uint64_t));
    for (size_t plane = 0; plane < bits; plane++) {
        kernels->transpose_gather(codes + plane * kept_words, code, count, kept_words, columns);
        for (size_t k = 0; k < bp_round_up(job->kept, BP_KEPT_BLOCK); k++) {
            size_t block = k / BP_KEPT_BLOCK * op->dw_words->tile_words + word;
            op->dw_words->tile_g[(block * bits + plane) * BP_KEPT_BLOCK + k % BP_KEPT_BLOCK] =
                k < job->kept ? columns[k] : 0;
        }
    }
}

static void fill_part(void *context, size_t begin, size_t end, int thread) {
    struct wgrad_job *job = context;
    for (size_t word = begin; word < end; word++)
        fill_word(job, word, bp_exec_scratch(job->exec, thread));
}

/* Items: (tap, block of kept channels), tap first. One more tap stands for the masks of valid taps
 * and the counts of negative activations. */
static void product_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct wgrad_job *job = context;
    struct bp_bconv *op = job->op;
    const struct bp_kernels *kernels = &job->exec->kernels;
    size_t c = op->shape.c, bits = (size_t)op->quant_dw.bits, row = op->taps * c;
    size_t blocks = (job->kept + BP_KEPT_BLOCK - 1) / BP_KEPT_BLOCK;
    for (size_t item = begin; item < end; item++) {
        size_t tap = item / blocks, block = item % blocks, k = block * BP_KEPT_BLOCK;
        const uint64_t *g =
            op->dw_words->tile_g + block * op->dw_words->tile_words * bits * BP_KEPT_BLOCK;
        const uint64_t *a = op->dw_words->tile_a + tap * op->dw_words->tile_words * c;
        if (tap < op->taps)
            kernels->product_positions(a, g, job->words, BP_KEPT_BLOCK, c, op->quant_dw.bits,
                                       job->is_signed, op->sum_dw + k * row + tap * c, row);
        else
            kernels->product_positions(op->dw_words->tile_valid, g, job->words, BP_KEPT_BLOCK,
                                       op->taps, op->quant_dw.bits, job->is_signed,
                                       op->dw_words->sum_codes + k * op->taps, op->taps);
        if (tap < op->taps && block == 0 && job->with_count)
            kernels->count_positions(a, job->words, c, op->count_a + tap * c);
    }
}

/* Adds the 32-bit sums to the wide ones and clears them. */
static void widen_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct wgrad_job *job = context;
    struct bp_bconv *op = job->op;
    size_t row = op->taps * op->shape.c;
    for (size_t i = begin * row; i < end * row; i++) {
        op->dw_words->wide_dw[i] += op->sum_dw[i];
        op->sum_dw[i] = 0;
    }
    for (size_t i = begin * op->taps; i < end * op->taps; i++) {
        op->dw_words->wide_codes[i] += op->dw_words->sum_codes[i];
        op->dw_words->sum_codes[i] = 0;
    }
}

static void clear_sums(const struct wgrad_job *job) {
    struct bp_bconv *op = job->op;
    size_t rows = bp_round_up(job->kept, BP_KEPT_BLOCK) * op->taps;
    memset(op->sum_dw, 0, rows * op->shape.c * sizeof *op->sum_dw);
    memset(op->dw_words->sum_codes, 0, rows * sizeof *op->dw_words->sum_codes);
    memset(op->count_a, 0, op->taps * op->shape.c * sizeof *op->count_a);
    if (op->dw_words->wide_dw != NULL) {
        memset(op->dw_words->wide_dw, 0, rows * op->shape.c * sizeof *op->dw_words->wide_dw);
        memset(op->dw_words->wide_codes, 0, rows * sizeof *op->dw_words->wide_codes);
    }
}

/* sum_dw, sum_codes, count_a of positions first .. first + positions - 1. */
static void run_positions(struct wgrad_job *job, size_t first, size_t positions) {
    struct bp_bconv *op = job->op;
    size_t blocks = (job->kept + BP_KEPT_BLOCK - 1) / BP_KEPT_BLOCK;
    size_t words = (positions + 63) / 64;
    /* 32 bits hold this many words of codes below 2^bits. */
    size_t safe_words = ((size_t)INT32_MAX >> op->quant_dw.bits) / 64, pending = 0;
    job->first = first;
    job->positions = positions;
    clear_sums(job);
    for (size_t word = 0; word < words; word += job->words) {
        job->word = word;
        job->words = bp_min_size(op->dw_words->tile_words, words - word);
        if (op->dw_words->wide_dw != NULL && pending + job->words > safe_words) {
            bp_parallel_for(job->exec->threads, blocks * BP_KEPT_BLOCK, widen_part, job);
            pending = 0;
        }
        bp_parallel_for(job->exec->threads, job->words, fill_part, job);
        bp_parallel_for(job->exec->threads, (op->taps + 1) * blocks, product_part, job);
        pending += job->words;
    }
    if (op->dw_words->wide_dw != NULL)
        bp_parallel_for(job->exec->threads, blocks * BP_KEPT_BLOCK, widen_part, job);
}

/* --- epilogue --------------------------------------------------------------------------------- */

/* As bp_bconv_wgrad_finish, where dW is rounded: of few positions. */
static float scaled_sum(const struct bp_bconv *op, const struct bp_group *group, int64_t sum) {
    if (op->shift_dw <= 0)
        return group->scale * (float)sum;
    return group->scale * (float)(1 << op->shift_dw) *
           (float)bp_shift_to_even((int32_t)sum, op->shift_dw);
}

/* Items are kept channels (groups = channels) or all channels (groups = samples). */
static void finish_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct wgrad_job *job = context;
    struct bp_bconv *op = job->op;
    size_t c = op->shape.c, samples = job->sample_group != NULL ? 1 : job->n;
    for (size_t i = begin; i < end; i++) {
        size_t k = job->sample_group != NULL ? i : (size_t)op->kept_channel[i];
        const struct bp_group *group =
            job->sample_group != NULL ? job->sample_group : &op->groups_dw[k];
        for (size_t t = 0; t < op->taps; t++) {
            float *out = job->dw + (k * op->taps + t) * c;
            size_t row = i * op->taps + t;
            int64_t codes = op->dw_words->wide_dw != NULL ? op->dw_words->wide_codes[row]
                                                          : op->dw_words->sum_codes[row];
            int64_t valid = (int64_t)(op->valid_count[t] * samples);
            for (size_t j = 0; j < c; j++) {
                int64_t negative = op->dw_words->wide_dw != NULL
                                       ? op->dw_words->wide_dw[row * c + j]
                                       : op->sum_dw[row * c + j];
                int64_t signs = valid - 2 * (int64_t)op->count_a[t * c + j];
                float value =
                    scaled_sum(op, group, codes - 2 * negative) + group->offset * (float)signs;
                out[j] = job->accumulate ? out[j] + value : value;
            }
        }
    }
}

static void run_samples(struct wgrad_job *job) {
    struct bp_bconv *op = job->op;
    size_t pixels = op->shape.oh * op->shape.ow;
    for (size_t sample = 0; sample < job->n; sample++) {
        if (!op->groups_dw[sample].kept)
            continue;
        job->sample_group = &op->groups_dw[sample];
        run_positions(job, sample * pixels, pixels);
        bp_parallel_for(job->exec->threads, op->shape.k, finish_part, job);
        job->accumulate = 1;
    }
}

/* Items are rows of dw: channels. */
static void mask_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct wgrad_job *job = context;
    size_t row = job->op->taps * job->op->shape.c;
    for (size_t k = begin; k < end; k++)
        if (bp_bconv_wgrad_has_row(job->op, k))
            bp_bconv_mask_row(job->w + k * row, row, job->dw + k * row);
}

void bp_wgrad_words_run(struct bp_bconv *op, struct bp_exec *exec, size_t n, const uint64_t *x,
                        const float *w, float *dw) {
    const struct bp_conv_shape *s = &op->shape;
    struct wgrad_job job = {.op = op, .exec = exec, .x = x, .w = w, .dw = dw, .n = n};
    int code_min, code_max;
    bp_quant_codes(&op->quant_dw, &code_min, &code_max, &job.is_signed);
    job.with_count = op->quant_dw.grid != BP_GRID_ZERO;
    if (op->quant_dw.groups == BP_GROUPS_SAMPLE) {
        job.kept = s->k;
        run_samples(&job);
    } else {
        job.kept = op->kept_dw;
        run_positions(&job, 0, n * s->oh * s->ow);
        bp_parallel_for(exec->threads, op->kept_dw, finish_part, &job);
    }
    if (w != NULL)
        bp_parallel_for(exec->threads, s->k, mask_part, &job);
}
