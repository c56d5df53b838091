/* The forward product on bytes, and the layouts of the pixels for both passes. */
#include "ops/byte_conv_internal.h"

#include <string.h>

/* --- forward ---------------------------------------------------------------------------------- */

struct forward_job {
    const struct bp_byte_conv *op;
    struct bp_exec *exec;
    const uint8_t *pixels;
    void *y;                      /* or NULL */
    struct bp_channel_sums *sums; /* or NULL */
    size_t blocks;                /* of a sample */
};

/* The row of the image under row `row` of the padded one; NULL: there is none. */
static const uint8_t *image_row(const struct forward_job *job, size_t n, size_t row) {
    const struct bp_conv_shape *s = &job->op->shape;
    if (row < s->pad || row - s->pad >= s->h)
        return NULL;
    return job->pixels + (n * s->h + row - s->pad) * s->w * s->c;
}

/* [r][count][c] -> [count][r][c]. Pixels of three bytes are moved as four: the fourth is the next
 * one's first, which is written after it; behind the last column of all there may be none. r and c:
 * constants where it is to be fast. */
static inline void interleave(const uint8_t *const *rows, size_t r, size_t count, size_t c,
                              uint8_t *out) {
    const uint8_t *row[BP_BYTE_CONV_KERNEL_MAX];
    for (size_t dy = 0; dy < r; dy++)
        row[dy] = rows[dy];
    size_t last = count - 1, bytes = c == 3 ? 4 : c;
    for (size_t x = 0; x < last; x++)
        for (size_t dy = 0; dy < r; dy++, out += c)
            memcpy(out, row[dy] + x * c, bytes);
    for (size_t dy = 0; dy < r; dy++, out += c)
        memcpy(out, row[dy] + last * c, c);
}

/* A strip: `columns` columns of r rows of the padded image. */
static void fill_strip(const struct bp_byte_conv *op, const uint8_t *const *rows, uint8_t *out) {
    const struct bp_conv_shape *s = &op->shape;
    size_t columns = (s->ow - 1) * s->stride + s->r, step = s->r * s->c;
    size_t left = bp_min_size(s->pad, columns), count = bp_min_size(s->w, columns - left);
    for (size_t i = 0; i < left * s->r; i++)
        memcpy(out + i * s->c, op->zero, s->c);
    out += left * step;
    if (s->c == 3 && s->r == 7)
        interleave(rows, 7, count, 3, out);
    else if (s->c == 3 && s->r == 3)
        interleave(rows, 3, count, 3, out);
    else
        interleave(rows, s->r, count, s->c, out);
    out += count * step;
    for (size_t i = 0; i < (columns - left - count) * s->r; i++)
        memcpy(out + i * s->c, op->zero, s->c);
}

/* The strip of output row `row`. */
static void make_strip(const struct forward_job *job, size_t n, size_t row, uint8_t *out) {
    const struct bp_byte_conv *op = job->op;
    const uint8_t *rows[BP_BYTE_CONV_KERNEL_MAX];
    for (size_t dy = 0; dy < op->shape.r; dy++) {
        rows[dy] = image_row(job, n, row * op->shape.stride + dy);
        if (rows[dy] == NULL)
            rows[dy] = op->padding;
    }
    fill_strip(op, rows, out);
}

static void strips_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    const struct forward_job *job = context;
    const struct bp_byte_conv *op = job->op;
    for (size_t i = begin; i < end; i++)
        make_strip(job, i / op->shape.oh, i % op->shape.oh, op->strips + i * op->strip_bytes);
}

/* Row `row` of the planes of one channel and phase, from a row of the image or, NULL, of padding.
 */
static void fill_row(const struct bp_byte_conv *op, const uint8_t *pixels, size_t channel,
                     size_t phase, uint8_t *out) {
    const struct bp_conv_shape *s = &op->shape;
    memset(out, op->zero[channel], op->width);
    if (pixels == NULL)
        return;
    size_t first = s->pad > phase ? (s->pad - phase + s->stride - 1) / s->stride : 0;
    size_t x = first * s->stride + phase - s->pad, step = s->stride * s->c;
    if (x >= s->w)
        return;
    size_t count = bp_min_size((s->w - x + s->stride - 1) / s->stride, op->width - first);
    const uint8_t *from = pixels + x * s->c + channel;
    for (size_t i = 0; i < count; i++)
        out[first + i] = from[i * step];
}

static void planes_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    const struct forward_job *job = context;
    const struct bp_byte_conv *op = job->op;
    const struct bp_conv_shape *s = &op->shape;
    for (size_t i = begin; i < end; i++) {
        size_t row = i % op->rows, n = i / op->rows;
        const uint8_t *pixels = image_row(job, n, row);
        uint8_t *planes = op->planes + n * op->sample_bytes + row * op->width;
        for (size_t plane = 0; plane < s->c * s->stride; plane++)
            fill_row(op, pixels, plane / s->stride, plane % s->stride,
                     planes + plane * op->rows * op->width);
    }
}

/* Of x, the strips of at most block_rows rows. */
static void rows_product(const struct bp_byte_conv *op, const uint8_t *x, size_t rows, void *y) {
    const struct bp_conv_shape *s = &op->shape;
    if (op->narrow)
        op->kernels->product_bytes_i16(x, op->pixel_offset, rows * s->ow, op->quad_offset,
                                       op->quads, op->weights, s->k, op->base, op->shift, y);
    else
        op->kernels->product_bytes_f32(x, op->pixel_offset, rows * s->ow, op->quad_offset,
                                       op->quads, op->weights, s->k, op->base, op->scale, y);
}

void bp_byte_conv_value_rows(const void *context, size_t n, size_t row, size_t rows, float *out) {
    const struct bp_byte_conv *op = context;
    const uint8_t *x = op->strips + (n * op->shape.oh + row) * op->strip_bytes;
    for (size_t done = 0; done < rows; done += op->block_rows)
        rows_product(op, x + done * op->strip_bytes, bp_min_size(op->block_rows, rows - done),
                     out + done * op->shape.ow * op->shape.k);
}

static void block_product(const struct forward_job *job, size_t n, size_t block, int thread) {
    const struct bp_byte_conv *op = job->op;
    const struct bp_conv_shape *s = &op->shape;
    size_t row = block * op->block_rows, rows = bp_min_size(op->block_rows, s->oh - row);
    size_t element = op->narrow ? sizeof(int16_t) : sizeof(float);
    uint8_t *scratch = bp_exec_scratch(job->exec, thread);
    const uint8_t *x = op->narrow ? scratch : op->strips + (n * s->oh + row) * op->strip_bytes;
    void *y = job->y != NULL ? (char *)job->y + (n * s->oh + row) * s->ow * s->k * element
                             : (void *)scratch;
    for (size_t i = 0; op->narrow && i < rows; i++)
        make_strip(job, n, row + i, scratch + i * op->strip_bytes);
    rows_product(op, x, rows, y);
    if (job->sums != NULL && op->narrow)
        bp_channel_sums_add_i16(job->sums, &job->exec->kernels, thread, y, rows * s->ow,
                                INT16_MAX + 1);
    else if (job->sums != NULL)
        bp_channel_sums_add_f32(job->sums, &job->exec->kernels, n, y, rows * s->ow);
}

static void product_part(void *context, size_t begin, size_t end, int thread) {
    const struct forward_job *job = context;
    for (size_t i = begin; i < end; i++)
        block_product(job, i / job->blocks, i % job->blocks, thread);
}

/* The same with whole samples as items: one worker adds a sample up. */
static void sample_product_part(void *context, size_t begin, size_t end, int thread) {
    const struct forward_job *job = context;
    for (size_t n = begin; n < end; n++)
        for (size_t block = 0; block < job->blocks; block++)
            block_product(job, n, block, thread);
}

void bp_byte_conv_forward(struct bp_byte_conv *op, struct bp_exec *exec, size_t n,
                          const uint8_t *pixels, void *y, struct bp_channel_sums *sums) {
    struct forward_job job = {.op = op, .exec = exec, .pixels = pixels, .y = y};
    job.blocks = (op->shape.oh + op->block_rows - 1) / op->block_rows;
    if (op->strips != NULL)
        bp_parallel_for(exec->threads, n * op->shape.oh, strips_part, &job);
    if (op->planes != NULL)
        bp_parallel_for(exec->threads, n * op->rows, planes_part, &job);
    /* Sums of floats are those of whole samples. Where samples are fewer than workers, y is made by
     * blocks, and its reader sums it. */
    int few = n < (size_t)bp_threads_count(exec->threads);
    job.sums = few && y != NULL && !op->narrow ? NULL : sums;
    if (job.sums == NULL && y == NULL)
        return;
    if (job.sums != NULL)
        bp_channel_sums_begin(sums, exec, n);
    if (job.sums != NULL && !op->narrow)
        bp_parallel_for(exec->threads, n, sample_product_part, &job);
    else
        bp_parallel_for(exec->threads, n * job.blocks, product_part, &job);
    if (job.sums != NULL)
        bp_channel_sums_end(sums);
}
