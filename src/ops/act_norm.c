#include "ops/act_norm.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"

#define CHUNK_FLOATS 8192 /* of one worker's row buffer: 32 kB */
#define BLOCK_ROWS   1024 /* of the float sums, see act_sums_f32 */

/* --- creation --------------------------------------------------------------------------------- */

/* As norm_act.c has it, so that float sums run over the same blocks. */
static size_t chunk_rows_of(size_t w, size_t c) {
    size_t rows = CHUNK_FLOATS / (w * c) / 2 * 2;
    return rows < 2 ? 2 : rows;
}

static size_t chunk_bytes(size_t w, size_t c) {
    return bp_round_up(chunk_rows_of(w, c) * w * c * sizeof(float), 64);
}

bp_status bp_act_norm_create(struct bp_act_norm **out, struct bp_exec *exec, struct bp_plan *plan,
                             size_t n, size_t h, size_t w, size_t c, const char *name,
                             int forward_time, int last_time) {
    struct bp_act_norm *op;
    *out = NULL;
    BP_TRY(bp_alloc(&op, sizeof *op, "a normalisation"));
    op->n = n;
    op->h = h;
    op->w = w;
    op->c = c;
    op->cw = bp_words(c);
    op->chunk_rows = chunk_rows_of(w, c);
    const struct {
        const char *what;
        size_t bytes;
        void *where;
    } buffers[] = {
        {"alpha", c * sizeof(float), &op->alpha},
        {"slope", c * sizeof(float), &op->slope},
        {"zero", c * sizeof(float), &op->zero},
        {"sums", n * 3 * c * sizeof(double), &op->partial},
    };
    bp_status status = bp_batch_norm_plan(&op->norm, plan, c, name, forward_time, last_time);
    char text[96];
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0] && status == BP_OK; i++) {
        snprintf(text, sizeof text, "%s %s", name, buffers[i].what);
        status =
            bp_plan_add(plan, text, buffers[i].bytes, forward_time, last_time, buffers[i].where);
    }
    if (status != BP_OK) {
        bp_free(op);
        return status;
    }
    bp_exec_need_scratch(exec, 2 * chunk_bytes(w, c) + bp_round_up(3 * c * sizeof(float), 64));
    *out = op;
    return BP_OK;
}

void bp_act_norm_destroy(struct bp_act_norm *op) {
    bp_free(op);
}

/* --- forward ---------------------------------------------------------------------------------- */

struct job {
    struct bp_act_norm *op;
    struct bp_exec *exec;
    const int16_t *y;
    const float *g;
    uint64_t *bits, *mask;
};

/* A run of pixels within one sample. */
struct chunk {
    size_t element, pixels; /* first element; number of pixels */
};

static struct chunk chunk_at(const struct bp_act_norm *op, size_t n, size_t row) {
    size_t rows = bp_min_size(op->chunk_rows, op->h - row);
    struct chunk chunk = {(n * op->h + row) * op->w * op->c, rows * op->w};
    return chunk;
}

/* h = PReLU(alpha y) of a chunk. */
static void activate(const struct bp_act_norm *op, const struct bp_kernels *kernels,
                     const int16_t *y, const struct chunk *chunk, float *h) {
    kernels->affine_act_i16(y + chunk->element, chunk->pixels, op->c, op->alpha, op->zero,
                            op->slope, h);
}

static void moments_part(void *context, size_t begin, size_t end, int thread) {
    struct job *job = context;
    struct bp_act_norm *op = job->op;
    float *h = bp_exec_scratch(job->exec, thread);
    for (size_t n = begin; n < end; n++) {
        double *partial = op->partial + n * 3 * op->c;
        memset(partial, 0, 2 * op->c * sizeof *partial);
        for (size_t row = 0; row < op->h; row += op->chunk_rows) {
            struct chunk chunk = chunk_at(op, n, row);
            activate(op, &job->exec->kernels, job->y, &chunk, h);
            job->exec->kernels.sums_f32(h, chunk.pixels, op->c, partial, partial + op->c);
        }
    }
}

static void sign_part(void *context, size_t begin, size_t end, int thread) {
    struct job *job = context;
    struct bp_act_norm *op = job->op;
    const struct bp_kernels *kernels = &job->exec->kernels;
    size_t bits_row = (op->w + 2) * op->cw;
    float *h = bp_exec_scratch(job->exec, thread);
    for (size_t n = begin; n < end; n++) {
        uint64_t *bits = job->bits + n * (op->h + 2) * bits_row;
        memset(bits, 0, bits_row * sizeof *bits);
        memset(bits + (op->h + 1) * bits_row, 0, bits_row * sizeof *bits);
        for (size_t row = 0; row < op->h; row += op->chunk_rows) {
            struct chunk chunk = chunk_at(op, n, row);
            activate(op, kernels, job->y, &chunk, h);
            kernels->affine_act_f32(h, chunk.pixels, op->c, op->norm.scale, op->norm.shift, NULL,
                                    h);
            for (size_t y = row; y < row + chunk.pixels / op->w; y++) {
                uint64_t *to = bits + (y + 1) * bits_row + op->cw;
                uint64_t *mask =
                    job->mask == NULL ? NULL : job->mask + (n * op->h + y) * op->w * op->cw;
                memset(to - op->cw, 0, op->cw * sizeof *to);
                memset(to + op->w * op->cw, 0, op->cw * sizeof *to);
                kernels->sign_pack_f32(h + (y - row) * op->w * op->c, op->w, op->c, to, mask);
            }
        }
    }
}

/* Sum number `which` of channel j over the first n samples, in order. */
static double total(const struct bp_act_norm *op, size_t n, size_t which, size_t j) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += op->partial[(i * 3 + which) * op->c + j];
    return sum;
}

void bp_act_norm_forward(struct bp_act_norm *op, struct bp_exec *exec, size_t n, const int16_t *y,
                         const struct bp_act_norm_params *params, int batch_statistics,
                         uint64_t *bits, uint64_t *mask) {
    struct job job = {.op = op, .exec = exec, .y = y, .bits = bits, .mask = mask};
    double count = (double)(n * op->h * op->w);
    memcpy(op->alpha, params->alpha, op->c * sizeof(float));
    memcpy(op->slope, params->slope, op->c * sizeof(float));
    memset(op->zero, 0, op->c * sizeof(float));
    if (batch_statistics)
        bp_parallel_for(exec->threads, n, moments_part, &job);
    for (size_t j = 0; j < op->c; j++)
        if (batch_statistics)
            bp_batch_norm_of_batch(&op->norm, j, count, total(op, n, 0, j), total(op, n, 1, j),
                                   &params->norm);
        else
            bp_batch_norm_of_running(&op->norm, j, &params->norm);
    bp_parallel_for(exec->threads, n, sign_part, &job);
}

/* --- backward --------------------------------------------------------------------------------- */

/* A kernel that adds up float sums of at most BLOCK_ROWS pixels. */
typedef void block_sums(const struct job *job, const struct chunk *block, const float *h,
                        const float *gh, float *sums);

/* dv and dv * h, for the batch norm. */
static void norm_sums(const struct job *job, const struct chunk *block, const float *h,
                      const float *gh, float *sums) {
    const struct bp_act_norm *op = job->op;
    (void)gh;
    job->exec->kernels.act_sums_f32(job->g + block->element, h, block->pixels, op->c,
                                    op->norm.scale, op->norm.shift, NULL, sums, sums + op->c,
                                    sums + 2 * op->c);
}

/* dh, dh * y and dh * v where v < 0, for alpha and the slope. */
static void act_sums(const struct job *job, const struct chunk *block, const float *h,
                     const float *gh, float *sums) {
    const struct bp_act_norm *op = job->op;
    (void)h;
    job->exec->kernels.act_sums_i16(gh, job->y + block->element, block->pixels, op->c, op->alpha,
                                    op->zero, op->slope, sums, sums + op->c, sums + 2 * op->c);
}

/* dh of a chunk from dv. */
static void norm_gradient(const struct bp_act_norm *op, const struct bp_kernels *kernels,
                          const float *g, const struct chunk *chunk, const float *h, float *gh) {
    kernels->act_grad_f32(g + chunk->element, h, chunk->pixels, op->c, op->norm.scale,
                          op->norm.shift, NULL, op->norm.ka, op->norm.kb, op->norm.kc, gh);
}

/* Sums of each sample in blocks of fixed size. gh: dh is wanted. */
static void sums_of_samples(const struct job *job, size_t begin, size_t end, int thread,
                            int with_gh, block_sums *add) {
    struct bp_act_norm *op = job->op;
    struct bp_carver carver = {bp_exec_scratch(job->exec, thread)};
    float *h = bp_carve(&carver, chunk_bytes(op->w, op->c));
    float *gh = bp_carve(&carver, chunk_bytes(op->w, op->c));
    float *sums = bp_carve(&carver, 3 * op->c * sizeof(float));
    for (size_t n = begin; n < end; n++) {
        double *partial = op->partial + n * 3 * op->c;
        memset(partial, 0, 3 * op->c * sizeof *partial);
        for (size_t row = 0; row < op->h; row += op->chunk_rows) {
            struct chunk chunk = chunk_at(op, n, row);
            activate(op, &job->exec->kernels, job->y, &chunk, h);
            if (with_gh)
                norm_gradient(op, &job->exec->kernels, job->g, &chunk, h, gh);
            for (size_t p = 0; p < chunk.pixels; p += BLOCK_ROWS) {
                struct chunk block = {chunk.element + p * op->c,
                                      bp_min_size(BLOCK_ROWS, chunk.pixels - p)};
                memset(sums, 0, 3 * op->c * sizeof *sums);
                add(job, &block, h + p * op->c, gh + p * op->c, sums);
                for (size_t i = 0; i < 3 * op->c; i++)
                    partial[i] += (double)sums[i];
            }
        }
    }
}

static void norm_sums_part(void *context, size_t begin, size_t end, int thread) {
    sums_of_samples(context, begin, end, thread, 0, norm_sums);
}

static void act_sums_part(void *context, size_t begin, size_t end, int thread) {
    sums_of_samples(context, begin, end, thread, 1, act_sums);
}

void bp_act_norm_backward_sums(struct bp_act_norm *op, struct bp_exec *exec, size_t n,
                               const int16_t *y, const float *g,
                               const struct bp_act_norm_params *params,
                               const struct bp_act_norm_grads *grads) {
    struct job job = {.op = op, .exec = exec, .y = y, .g = g};
    op->y = y;
    op->g = g;
    op->kernels = &exec->kernels;
    bp_parallel_for(exec->threads, n, norm_sums_part, &job);
    for (size_t j = 0; j < op->c; j++)
        bp_batch_norm_backward(&op->norm, j, (double)(n * op->h * op->w), total(op, n, 0, j),
                               total(op, n, 1, j), &params->norm, grads->weight, grads->bias);
    bp_parallel_for(exec->threads, n, act_sums_part, &job);
    for (size_t j = 0; j < op->c; j++) {
        grads->alpha[j] = (float)total(op, n, 1, j);
        grads->slope[j] = (float)total(op, n, 2, j);
    }
}

size_t bp_act_norm_grad_scratch_bytes(size_t w, size_t c) {
    return chunk_bytes(w, c);
}

void bp_act_norm_grad_rows(const void *context, size_t n, size_t row, size_t rows, float *out,
                           void *scratch) {
    const struct bp_act_norm *op = context;
    float *h = scratch;
    for (size_t done = 0; done < rows; done += op->chunk_rows) {
        struct chunk chunk = chunk_at(op, n, row + done);
        chunk.pixels = bp_min_size(chunk.pixels, (rows - done) * op->w);
        float *to = out + done * op->w * op->c;
        activate(op, op->kernels, op->y, &chunk, h);
        norm_gradient(op, op->kernels, op->g, &chunk, h, to);
        /* dy = alpha * (v < 0 ? slope * dh : dh) */
        op->kernels->act_grad_i16(to, op->y + chunk.element, chunk.pixels, op->c, op->alpha,
                                  op->zero, op->slope, op->alpha, op->zero, op->zero, to);
    }
}
