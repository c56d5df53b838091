/* The latent weights' signs, in the layouts of the kernels: after every change of the weights. */
#include "ops/bconv_internal.h"

#include <stdio.h>
#include <string.h>

bp_status bp_bconv_pack_buffers(struct bp_bconv *op, struct bp_exec *exec, struct bp_plan *plan,
                                const char *name, int last) {
    const struct bp_conv_shape *s = &op->shape;
    size_t k_round = bp_round_up(s->k, BP_LANES), c_round = bp_round_up(s->c, BP_LANES);
    int lookup = op->method_forward == BP_PRODUCT_LOOKUP;
    int lookup_t = op->method_da == BP_PRODUCT_LOOKUP;
    char text[96];
    const struct {
        const char *what;
        size_t bytes;
        void *where;
        int wanted;
    } buffers[] = {
        {"sign bits", s->k * op->taps * op->cw * 8, &op->bits, 1},
        {"packed weights", k_round * op->taps * op->cw * 8, &op->w, !lookup},
        {"packed triples", k_round * op->taps * op->cw * 8, &op->triples, op->in_triples},
        {"weight index", k_round * op->taps * op->cq, &op->index, lookup},
        {"border table", BP_BORDER_CLASSES * s->k * sizeof(int16_t), &op->border, !op->by_class},
        {"transposed sign bits", s->c * op->taps * op->kw * 8, &op->bits_t, op->backward},
        {"packed transposed weights", c_round * op->taps * op->kw * 8, &op->w_t,
         op->backward && !lookup_t},
        {"transposed weight index", c_round * op->taps * op->kq, &op->index_t,
         op->backward && lookup_t},
        {"tap sums", op->taps * s->c * sizeof(int32_t), &op->tap_sum_t, op->backward},
    };
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        if (!buffers[i].wanted)
            continue;
        snprintf(text, sizeof text, "%s %s", name, buffers[i].what);
        BP_TRY(bp_plan_add(plan, text, buffers[i].bytes, 0, last, buffers[i].where));
    }
    bp_exec_need_scratch(exec, op->cw * 64 * sizeof(uint64_t)); /* transpose_signs */
    return BP_OK;
}

struct pack_job {
    struct bp_bconv *op;
    struct bp_exec *exec;
    const float *w; /* NULL: the signs are packed */
};

static int count_bits(const uint64_t *words, size_t n) {
    int count = 0;
    for (size_t i = 0; i < n; i++)
        count += (int)bp_count_bits(words[i]);
    return count;
}

/* A cut tap reads a halo of zero words, that is +1 everywhere, and adds its sum of signs; what
 * takes it back, for up to BP_LANES output channels from `first` on. */
static void fill_border(struct bp_bconv *op, size_t first, size_t count) {
    size_t k = op->shape.k;
    int16_t sums[BP_LANES];
    for (unsigned b = 0; b < BP_BORDER_CLASSES; b++)
        memset(op->border + b * k + first, 0, count * sizeof *op->border);
    for (size_t t = 0; t < op->taps; t++) {
        for (size_t i = 0; i < count; i++)
            sums[i] =
                (int16_t)((int)op->shape.c -
                          2 * count_bits(op->bits + ((first + i) * op->taps + t) * op->cw, op->cw));
        for (unsigned b = 1; b < BP_BORDER_CLASSES; b++) {
            int16_t *border = op->border + b * k + first;
            int is_cut = bp_bconv_tap_is_cut(b, t, op->shape.r);
            for (size_t i = 0; i < count && is_cut; i++)
                border[i] = (int16_t)(border[i] - sums[i]);
        }
    }
}

/* The packed weights of a block of lanes as triples: two taps of a row and the parity of three. */
static void fill_triples(const struct bp_bconv *op, size_t block) {
    size_t word = BP_LANES, tap = op->cw * word, at = block * op->taps * tap;
    for (size_t r = 0; r < op->shape.r; r++)
        for (size_t i = 0; i < op->cw; i++) {
            const uint64_t *w = op->w + at + r * 3 * tap + i * word;
            uint64_t *to = op->triples + at + (r * op->cw + i) * 3 * word;
            for (size_t j = 0; j < BP_LANES; j++) {
                to[j] = w[j];
                to[word + j] = w[tap + j];
                to[2 * word + j] = w[j] ^ w[tap + j] ^ w[2 * tap + j];
            }
        }
}

/* Blocks of 32 output channels: signs, then the forward layout and the border's table. */
static void pack_forward(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct pack_job *job = context;
    struct bp_bconv *op = job->op;
    const struct bp_kernels *kernels = &job->exec->kernels;
    size_t first = begin * BP_LANES, count = bp_min_size(end * BP_LANES, op->shape.k) - first;
    size_t row = op->taps * op->cw; /* words of one output channel */
    uint64_t *bits = op->bits + first * row;
    if (job->w != NULL)
        kernels->sign_pack_f32(job->w + first * op->taps * op->shape.c, count * op->taps,
                               op->shape.c, bits, NULL);
    if (op->method_forward == BP_PRODUCT_LOOKUP)
        kernels->index_weights(bits, count, op->taps, op->cw, op->cq, 1,
                               op->index + first * op->taps * op->cq);
    else
        kernels->pack_weights(bits, count, op->taps, op->cw, op->w + first * row);
    for (size_t block = begin; block < end && op->in_triples; block++)
        fill_triples(op, block);
    for (size_t i = 0; i < count && !op->by_class; i += BP_LANES)
        fill_border(op, first + i, bp_min_size(count - i, BP_LANES));
}

/* Items (tap, word of 64 output channels): bits_t[c][tap][word] from 64 rows of bits. */
static void transpose_signs(void *context, size_t begin, size_t end, int thread) {
    struct pack_job *job = context;
    struct bp_bconv *op = job->op;
    uint64_t *columns = bp_exec_scratch(job->exec, thread); /* [cw][64] */
    for (size_t item = begin; item < end; item++) {
        size_t tap = item / op->kw, word = item % op->kw;
        size_t rows = bp_min_size(64, op->shape.k - word * 64);
        int32_t offset[64];
        for (size_t i = 0; i < rows; i++)
            offset[i] = (int32_t)(((word * 64 + i) * op->taps + tap) * op->cw);
        job->exec->kernels.transpose_gather(op->bits, offset, rows, op->cw, columns);
        for (size_t c = 0; c < op->shape.c; c++)
            op->bits_t[(c * op->taps + tap) * op->kw + word] = columns[c];
    }
}

/* Blocks of 32 input channels: the backward layout and the tap sums. */
static void pack_backward(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    struct pack_job *job = context;
    struct bp_bconv *op = job->op;
    const struct bp_kernels *kernels = &job->exec->kernels;
    size_t first = begin * BP_LANES, last = bp_min_size(end * BP_LANES, op->shape.c);
    size_t row = op->taps * op->kw;
    const uint64_t *bits = op->bits_t + first * row;
    if (op->method_da == BP_PRODUCT_LOOKUP)
        kernels->index_weights(bits, last - first, op->taps, op->kw, op->kq, kernels->together,
                               op->index_t + first * op->taps * op->kq);
    else
        kernels->pack_weights(bits, last - first, op->taps, op->kw, op->w_t + first * row);
    for (size_t c = first; c < last; c++)
        for (size_t t = 0; t < op->taps; t++)
            op->tap_sum_t[t * op->shape.c + c] =
                (int32_t)op->shape.k - 2 * count_bits(op->bits_t + c * row + t * op->kw, op->kw);
}

uint64_t *bp_bconv_signs(struct bp_bconv *op) {
    return op->bits;
}

void bp_bconv_pack(struct bp_bconv *op, struct bp_exec *exec, const float *w) {
    struct pack_job job = {op, exec, w};
    bp_parallel_for(exec->threads, (op->shape.k + BP_LANES - 1) / BP_LANES, pack_forward, &job);
    if (!op->backward)
        return;
    bp_parallel_for(exec->threads, op->taps * op->kw, transpose_signs, &job);
    bp_parallel_for(exec->threads, (op->shape.c + BP_LANES - 1) / BP_LANES, pack_backward, &job);
}
