#include "fp32/bf16_pointwise.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"

enum { STEP = 32, LANES = 32, PIXELS = 128 /* of a piece, about */ };

struct bp_bf16_pointwise {
    struct bp_conv_shape shape;
    struct bp_kernels kernels; /* for the products and their operands */
    size_t pixels;             /* of a sample */
    size_t rows, samples;      /* of a piece: some rows of one sample, or some whole samples */
    size_t block;              /* samples of a part of dw */
    uint16_t *rounded;         /* [k][c] */
    uint16_t *turned;          /* [c][k] */
    uint16_t *forward;         /* packed [c][k] */
    uint16_t *backward;        /* packed [k][c] */
    float *parts;              /* [blocks][k][c] */
};

int bp_bf16_pointwise_serves(const struct bp_conv_shape *shape) {
    return shape->r == 1 && shape->stride == 1 && shape->pad == 0 && shape->c % LANES == 0 &&
           shape->k % LANES == 0;
}

/* --- planning --------------------------------------------------------------------------------- */

static size_t piece_pixels(const struct bp_bf16_pointwise *self) {
    return self->samples * self->rows * self->shape.w;
}

/* In whole steps. */
static size_t piece_pitch(const struct bp_bf16_pointwise *self) {
    return bp_round_up(piece_pixels(self), STEP);
}

static size_t blocks_of(const struct bp_bf16_pointwise *self, size_t n) {
    return (n + self->block - 1) / self->block;
}

static size_t weights(const struct bp_bf16_pointwise *self) {
    return self->shape.k * self->shape.c;
}

/* Rows of a sample are walked in even numbers, as gradient sources want them. */
static void choose_pieces(struct bp_bf16_pointwise *self) {
    const struct bp_conv_shape *s = &self->shape;
    self->pixels = s->h * s->w;
    self->block = bp_fp32_block_samples(s->n);
    self->rows = s->h;
    self->samples = bp_min_size(bp_max_size(PIXELS / self->pixels, 1), self->block);
    if (self->pixels > PIXELS)
        self->rows = bp_min_size(bp_max_size(PIXELS / s->w / 2 * 2, 2), s->h);
}

static size_t forward_scratch(const struct bp_bf16_pointwise *self) {
    return bp_round_up(piece_pixels(self) * self->shape.k * sizeof(float), BP_ALIGN);
}

static size_t backward_scratch(const struct bp_bf16_pointwise *self, size_t source_scratch) {
    const struct bp_conv_shape *s = &self->shape;
    size_t bytes = piece_pitch(self) * sizeof(uint16_t);
    return bp_round_up(bytes * s->k, BP_ALIGN) + bp_round_up(bytes * s->k, BP_ALIGN) +
           bp_round_up(bytes * s->c, BP_ALIGN) + source_scratch;
}

static bp_status plan_buffers(struct bp_bf16_pointwise *self, struct bp_plan *plan, unsigned passes,
                              const char *name, int forward_time, int backward_time) {
    size_t bytes = weights(self) * sizeof(uint16_t);
    int forward = (passes & BP_FP32_FORWARD) != 0, backward = passes != BP_FP32_FORWARD;
    size_t parts = backward ? blocks_of(self, self->shape.n) : 0;
    const struct {
        const char *what;
        size_t bytes;
        int first, last;
        void *at;
    } buffers[] = {
        {"weights_rounded", bytes, forward ? forward_time : backward_time,
         backward ? backward_time : forward_time, &self->rounded},
        {"weights_turned", forward ? bytes : 0, forward_time, forward_time, &self->turned},
        {"weights_forward", forward ? bytes : 0, forward_time, forward_time, &self->forward},
        {"weights_backward", backward ? bytes : 0, backward_time, backward_time, &self->backward},
        {"weight_gradients", parts * weights(self) * sizeof(float), backward_time, backward_time,
         &self->parts},
    };
    char text[96];
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        snprintf(text, sizeof text, "%s.%s", name, buffers[i].what);
        BP_TRY(bp_plan_add(plan, text, buffers[i].bytes, buffers[i].first, buffers[i].last,
                           buffers[i].at));
    }
    return BP_OK;
}

bp_status bp_bf16_pointwise_create(struct bp_bf16_pointwise **out, struct bp_exec *exec,
                                   struct bp_plan *plan, enum bp_tier tier,
                                   const struct bp_conv_shape *shape, unsigned passes,
                                   size_t source_scratch, const char *name, int forward_time,
                                   int backward_time) {
    struct bp_bf16_pointwise *self;
    *out = NULL;
    BP_TRY(bp_alloc(&self, sizeof *self, "a bf16 convolution"));
    self->shape = *shape;
    bp_kernels_init(&self->kernels, tier);
    choose_pieces(self);
    bp_status status = plan_buffers(self, plan, passes, name, forward_time, backward_time);
    if (status != BP_OK) {
        bp_bf16_pointwise_destroy(self);
        return status;
    }
    bp_exec_need_scratch(exec, forward_scratch(self));
    bp_exec_need_scratch(exec, backward_scratch(self, source_scratch));
    *out = self;
    return BP_OK;
}

void bp_bf16_pointwise_destroy(struct bp_bf16_pointwise *self) {
    bp_free(self);
}

/* --- pieces ----------------------------------------------------------------------------------- */

/* Rows of a sample, or whole samples. */
struct piece {
    size_t sample, samples, row, rows;
};

static size_t pieces_of_sample(const struct bp_bf16_pointwise *self) {
    return (self->shape.h + self->rows - 1) / self->rows;
}

/* Piece i of samples first .. end - 1. */
static struct piece piece_of(const struct bp_bf16_pointwise *self, size_t first, size_t end,
                             size_t i) {
    size_t of_sample = pieces_of_sample(self);
    struct piece piece = {.sample = first + i / of_sample * self->samples,
                          .row = i % of_sample * self->rows};
    piece.samples = bp_min_size(self->samples, end - piece.sample);
    piece.rows = bp_min_size(self->rows, self->shape.h - piece.row);
    return piece;
}

static size_t pieces_of(const struct bp_bf16_pointwise *self, size_t samples) {
    return (samples + self->samples - 1) / self->samples * pieces_of_sample(self);
}

static size_t first_pixel(const struct bp_bf16_pointwise *self, const struct piece *piece) {
    return piece->sample * self->pixels + piece->row * self->shape.w;
}

static size_t pixels_of(const struct bp_bf16_pointwise *self, const struct piece *piece) {
    return piece->samples * piece->rows * self->shape.w;
}

static struct bp_fetch fetch_of(const void *at, size_t bytes) {
    return (struct bp_fetch){.at = at, .end = (const char *)at + bytes};
}

/* --- forward ---------------------------------------------------------------------------------- */

struct job {
    struct bp_bf16_pointwise *self;
    struct bp_exec *exec;
    size_t n;
    const uint16_t *x;
    uint16_t *y;
    struct bp_channel_sums *sums;
    const struct bp_grad_source *source;
    float *dw, *dx;
    int accumulate;
};

static void settle(const struct job *job, const struct piece *piece, float *y) {
    const struct bp_bf16_pointwise *self = job->self;
    size_t k = self->shape.k, pixels = piece->rows * self->shape.w;
    uint16_t *to = job->y + first_pixel(self, piece) * k;
    for (size_t i = 0; i < piece->samples; i++, y += pixels * k, to += pixels * k)
        bp_channel_sums_settle_f16(job->sums, &job->exec->kernels, piece->sample + i, y, pixels, k,
                                   to);
}

/* Items are groups of samples, whose pieces follow one another: sums of a sample are in order. */
static void forward_part(void *context, size_t begin, size_t end, int thread) {
    const struct job *job = context;
    const struct bp_bf16_pointwise *self = job->self;
    size_t c = self->shape.c, k = self->shape.k;
    float *y = bp_exec_scratch(job->exec, thread);
    for (size_t i = begin * pieces_of_sample(self); i < end * pieces_of_sample(self); i++) {
        struct piece piece = piece_of(self, 0, job->n, i);
        size_t first = first_pixel(self, &piece), pixels = pixels_of(self, &piece);
        self->kernels.product_bf16(job->x + first * c, pixels, c, self->forward, c / STEP, k, 0, y,
                                   k, fetch_of(job->y + first * k, pixels * k * sizeof *job->y));
        settle(job, &piece, y);
    }
}

void bp_bf16_pointwise_forward(struct bp_bf16_pointwise *self, struct bp_exec *exec, size_t n,
                               const uint16_t *x, const float *w, uint16_t *y,
                               struct bp_channel_sums *sums) {
    struct job job = {.self = self, .exec = exec, .n = n, .x = x, .y = y, .sums = sums};
    size_t c = self->shape.c, k = self->shape.k;
    self->kernels.round_bf16(w, weights(self), self->rounded);
    self->kernels.turn_bf16(self->rounded, k, c, c, self->turned, k);
    self->kernels.pack_bf16(self->turned, c, k, k, self->forward);
    if (sums != NULL)
        bp_channel_sums_begin(sums, exec, n);
    bp_parallel_for(exec->threads, pieces_of(self, n) / pieces_of_sample(self), forward_part, &job);
    if (sums != NULL)
        bp_channel_sums_end(sums);
}

/* --- backward --------------------------------------------------------------------------------- */

/* A worker's scratch. */
struct room {
    uint16_t *g;      /* [pixels][k] */
    uint16_t *turned; /* [k][pitch] */
    uint16_t *packed; /* of x */
    void *source;
};

static struct room carve(const struct job *job, int thread) {
    const struct bp_bf16_pointwise *self = job->self;
    struct bp_carver carver = {bp_exec_scratch(job->exec, thread)};
    size_t bytes = piece_pitch(self) * sizeof(uint16_t);
    struct room room;
    room.g = bp_carve(&carver, bytes * self->shape.k);
    room.turned = bp_carve(&carver, bytes * self->shape.k);
    room.packed = bp_carve(&carver, bytes * self->shape.c);
    room.source = carver.next;
    return room;
}

static void run_piece(const struct job *job, const struct piece *piece, int is_first, float *part,
                      const struct room *room) {
    const struct bp_bf16_pointwise *self = job->self;
    const struct bp_kernels *kernels = &self->kernels;
    size_t c = self->shape.c, k = self->shape.k, row = self->shape.w * k;
    size_t first = first_pixel(self, piece), pixels = pixels_of(self, piece);
    size_t steps = (pixels + STEP - 1) / STEP;
    for (size_t i = 0; i < piece->samples; i++)
        job->source->rows_bf16(job->source->context, piece->sample + i, piece->row, piece->rows,
                               room->g + i * piece->rows * row, room->source);
    kernels->turn_bf16(room->g, pixels, k, k, room->turned, steps * STEP);
    kernels->pack_bf16(job->x + first * c, pixels, c, c, room->packed);
    float *dx = job->dx == NULL ? NULL : job->dx + first * c;
    kernels->product_bf16(room->turned, k, steps * STEP, room->packed, steps, c, !is_first, part, c,
                          fetch_of(dx, dx == NULL ? 0 : pixels * c * sizeof *dx));
    if (dx != NULL)
        kernels->product_bf16(room->g, pixels, k, self->backward, k / STEP, c, job->accumulate, dx,
                              c, fetch_of(NULL, 0));
}

/* Items are blocks of samples. */
static void backward_part(void *context, size_t begin, size_t end, int thread) {
    const struct job *job = context;
    const struct bp_bf16_pointwise *self = job->self;
    struct room room = carve(job, thread);
    for (size_t block = begin; block < end; block++) {
        size_t first = block * self->block, behind = bp_min_size(first + self->block, job->n);
        for (size_t i = 0; i < pieces_of(self, behind - first); i++) {
            struct piece piece = piece_of(self, first, behind, i);
            run_piece(job, &piece, i == 0, self->parts + block * weights(self), &room);
        }
    }
}

/* Adds the parts up, in the order of their blocks. Items are output channels. */
static void add_parts(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    const struct job *job = context;
    const struct bp_bf16_pointwise *self = job->self;
    size_t c = self->shape.c;
    memcpy(job->dw + begin * c, self->parts + begin * c, (end - begin) * c * sizeof *job->dw);
    for (size_t block = 1; block < blocks_of(self, job->n); block++) {
        const float *part = self->parts + block * weights(self);
        for (size_t i = begin * c; i < end * c; i++)
            job->dw[i] += part[i];
    }
}

void bp_bf16_pointwise_backward(struct bp_bf16_pointwise *self, struct bp_exec *exec, size_t n,
                                const uint16_t *x, const struct bp_grad_source *source,
                                const float *w, float *dw, float *dx, int accumulate) {
    struct job job = {.self = self,
                      .exec = exec,
                      .n = n,
                      .x = x,
                      .source = source,
                      .dw = dw,
                      .dx = dx,
                      .accumulate = accumulate};
    size_t c = self->shape.c, k = self->shape.k;
    self->kernels.round_bf16(w, weights(self), self->rounded);
    self->kernels.pack_bf16(self->rounded, k, c, c, self->backward);
    bp_parallel_for(exec->threads, blocks_of(self, n), backward_part, &job);
    bp_parallel_for(exec->threads, k, add_parts, &job);
}
