/* dW on tiles of bytes: rows of codes, one of each output channel, times signs of the activations,
 * over positions. Four contracted elements stand side by side in a tile of signs: they are four
 * samples at one pixel, so that a tap is a shift by whole rows of the tile.
 *
 *   signs [words of channels][groups][h][4][columns][quads][16][4]    made once, read by all
 *   codes [32 output channels][rows of a chunk][row bytes]            turned by each worker
 *
 * A group has `samples` samples, quads = samples / 4. A row of codes is the positions (x, sample)
 * of a row of a group's maps, filled up to whole steps of 64 with zeros. columns: those of the
 * image and one of zeros on either side; with stride 2 the even ones come first, so that what a tap
 * sees of a row lies in a row. Signs of samples that are missing are zeros; rows outside are left
 * out. */
#include "ops/bconv_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"

#define WORD_CHANNELS 64
#define PLANES        4 /* of 16 channels */
#define PLANE_LANES   (WORD_CHANNELS / PLANES)
#define CHUNK_STEPS   8  /* of a row of turned codes, about: with its signs in the first cache */
#define PART_LANES    32 /* input channels: the least that a work item takes */

struct bp_wgrad_tiles {
    size_t samples, quads, groups; /* of a group; groups of the largest batch */
    size_t columns, row_steps;     /* steps of 64 positions of a row of codes */
    size_t rows, row_groups; /* of a chunk; groups that it spans, several of whole maps only */
    int8_t *signs;
    /* Where output and input channels alone are too few items for all workers, chunks are shared
     * out too: sums [splits][kept rounded to BP_LANES][taps][c], added at the end. */
    int32_t *split_sums;
};

/* --- planning --------------------------------------------------------------------------------- */

static size_t steps_of_row(const struct bp_conv_shape *s, size_t samples) {
    return (s->ow * samples + BP_TILE_STEP - 1) / BP_TILE_STEP;
}

/* The fewest samples that waste least: positions that fill up a step, and samples that are missing.
 */
static size_t choose_samples(const struct bp_conv_shape *s) {
    size_t best = BP_QUAD, least = SIZE_MAX;
    for (size_t samples = BP_QUAD; samples <= BP_TILE_STEP; samples *= 2) {
        size_t steps = (s->n + samples - 1) / samples * steps_of_row(s, samples);
        if (steps < least) {
            least = steps;
            best = samples;
        }
    }
    return best;
}

static size_t plane_bytes(const struct bp_wgrad_tiles *self) {
    return self->columns * self->quads * PLANE_LANES * BP_QUAD;
}

static size_t row_bytes(const struct bp_wgrad_tiles *self) {
    return PLANES * plane_bytes(self);
}

static size_t group_bytes(const struct bp_bconv *op, const struct bp_wgrad_tiles *self) {
    return op->shape.h * row_bytes(self);
}

static size_t word_bytes(const struct bp_bconv *op, const struct bp_wgrad_tiles *self) {
    return self->groups * group_bytes(op, self);
}

static size_t chunk_rows(const struct bp_wgrad_tiles *self) {
    return self->rows * self->row_groups;
}

/* From the codes of one output channel to the next: an odd number of cache lines, so that the rows
 * of a tile do not fall into the same few sets of the cache. */
static size_t codes_pitch(const struct bp_wgrad_tiles *self) {
    return (chunk_rows(self) * self->row_steps | 1) * BP_TILE_STEP;
}

static size_t sums_bytes(const struct bp_bconv *op) {
    return BP_LANES * op->taps * op->shape.c * sizeof(int32_t);
}

/* How the work is shared out: parts of `lanes` input channels, and runs of chunks. */
struct division {
    size_t parts, lanes, splits;
};

/* Codes are turned once for all of an item's input channels: as few parts as keep the workers busy,
 * one where the blocks of output channels share out evenly; chunks are divided only where parts are
 * too few. */
static struct division divide(size_t blocks, size_t c, size_t workers) {
    size_t most = (c + PART_LANES - 1) / PART_LANES;
    size_t parts = bp_min_size((2 * workers + blocks - 1) / blocks, most);
    struct division d;
    if (blocks % workers == 0)
        parts = 1;
    d.lanes = bp_round_up((c + parts - 1) / parts, PART_LANES);
    d.parts = (c + d.lanes - 1) / d.lanes;
    d.splits = (workers + blocks * d.parts - 1) / (blocks * d.parts);
    return d;
}

/* Rows of sums of all splits, for any number of kept channels. */
static size_t most_split_rows(const struct bp_bconv *op, size_t workers) {
    size_t rows = 0;
    for (size_t blocks = 1; blocks <= (op->slots_dw + BP_LANES - 1) / BP_LANES; blocks++) {
        size_t splits = divide(blocks, op->shape.c, workers).splits;
        if (splits > 1)
            rows = bp_max_size(rows, splits * blocks * BP_LANES);
    }
    return rows;
}

bp_status bp_wgrad_tiles_create(struct bp_bconv *op, struct bp_exec *exec, struct bp_plan *plan,
                                const char *name, int time) {
    const struct bp_conv_shape *s = &op->shape;
    struct bp_wgrad_tiles *self;
    char text[96];
    BP_TRY(bp_alloc(&self, sizeof *self, "a binary convolution"));
    op->dw_tiles = self;
    self->samples = choose_samples(s);
    self->quads = self->samples / BP_QUAD;
    self->groups = (s->n + self->samples - 1) / self->samples;
    self->columns = s->w + 2;
    self->row_steps = steps_of_row(s, self->samples);
    self->rows = bp_even_rows(s->oh, bp_max_size(CHUNK_STEPS / self->row_steps, 1));
    self->row_groups = 1;
    if (self->rows == s->oh)
        self->row_groups =
            bp_min_size(self->groups, bp_max_size(CHUNK_STEPS / (s->oh * self->row_steps), 1));
    bp_exec_need_scratch(exec,
                         BP_LANES * codes_pitch(self) +
                             bp_round_up(op->taps * chunk_rows(self) * sizeof(struct bp_run), 64) +
                             sums_bytes(op));
    snprintf(text, sizeof text, "%s spread activations", name);
    /* The last step of a row may reach beyond its end. */
    BP_TRY(bp_plan_add(plan, text, op->cw * word_bytes(op, self) + BP_TILE_STEP * PLANE_LANES, time,
                       time, &self->signs));
    size_t rows = most_split_rows(op, (size_t)bp_threads_count(exec->threads));
    snprintf(text, sizeof text, "%s sums of splits", name);
    return bp_plan_add(plan, text, rows * op->taps * s->c * sizeof(int32_t), time, time,
                       &self->split_sums);
}

/* --- signs ------------------------------------------------------------------------------------ */

struct wgrad_job {
    struct bp_bconv *op;
    struct bp_exec *exec;
    const struct bp_wgrad_tiles *self;
    const uint64_t *x;
    const float *w;
    float *dw;
    size_t n, kept;
    int is_signed, with_count;
    struct division by;
};

/* Where column x of the halo's coordinates stands. */
static size_t slot_of(const struct wgrad_job *job, size_t x) {
    return bp_tiles_slot(job->op->shape.stride, job->self->columns, x);
}

/* Samples of a group, from its first one on, that exist. */
static size_t samples_there(const struct wgrad_job *job, size_t group) {
    size_t first = group * job->self->samples;
    return first < job->n ? bp_min_size(job->self->samples, job->n - first) : 0;
}

static void spread_row(const struct wgrad_job *job, size_t group, size_t y, size_t word,
                       int8_t *out) {
    const struct bp_bconv *op = job->op;
    const struct bp_wgrad_tiles *self = job->self;
    size_t w = op->shape.w, stride = op->shape.stride, there = samples_there(job, group);
    size_t quad_bytes = PLANE_LANES * BP_QUAD, pitch = self->quads * quad_bytes;
    size_t plane = plane_bytes(self);
    for (size_t i = 0; i < PLANES; i++) {
        memset(out + i * plane, 0, pitch);
        memset(out + i * plane + slot_of(job, w + 1) * pitch, 0, pitch);
    }
    for (size_t quad = 0; quad < self->quads; quad++) {
        size_t first = quad * BP_QUAD, samples = 0;
        int32_t offset[BP_QUAD] = {0};
        for (; samples < BP_QUAD && first + samples < there; samples++)
            offset[samples] = (int32_t)((group * self->samples + first + samples) * op->in_words);
        for (size_t x = 1; x < 1 + bp_min_size(stride, w); x++)
            job->exec->kernels.spread_samples(
                job->x + ((y + 1) * (w + 2) + x) * op->cw + word, offset, samples,
                (w + 1 - x + stride - 1) / stride, stride * op->cw,
                out + slot_of(job, x) * pitch + quad * quad_bytes, pitch, plane);
    }
}

/* Items are (group, row of the image). */
static void spread_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    const struct wgrad_job *job = context;
    const struct bp_bconv *op = job->op;
    const struct bp_wgrad_tiles *self = job->self;
    size_t h = op->shape.h;
    for (size_t item = begin; item < end; item++)
        for (size_t word = 0; word < op->cw; word++)
            spread_row(job, item / h, item % h, word,
                       self->signs + word * word_bytes(op, self) + item * row_bytes(self));
}

/* --- chunks ----------------------------------------------------------------------------------- */

/* Some rows of some groups. */
struct chunk {
    size_t group, groups, row, rows;
};

static size_t groups_now(const struct wgrad_job *job) {
    return (job->n + job->self->samples - 1) / job->self->samples;
}

static size_t chunks_of_map(const struct wgrad_job *job) {
    return (job->op->shape.oh + job->self->rows - 1) / job->self->rows;
}

static size_t chunks_now(const struct wgrad_job *job) {
    size_t together = job->self->row_groups;
    return (groups_now(job) + together - 1) / together * chunks_of_map(job);
}

static struct chunk chunk_of(const struct wgrad_job *job, size_t i) {
    const struct bp_wgrad_tiles *self = job->self;
    struct chunk chunk = {.group = i / chunks_of_map(job) * self->row_groups,
                          .row = i % chunks_of_map(job) * self->rows};
    chunk.groups = bp_min_size(self->row_groups, groups_now(job) - chunk.group);
    chunk.rows = bp_min_size(self->rows, job->op->shape.oh - chunk.row);
    return chunk;
}

/* What a tap sees of a chunk: a run for each row. Of maps whose pixels are whole steps, the columns
 * outside are left out; else they are zeros. */
static size_t list_runs(const struct wgrad_job *job, const struct chunk *chunk, size_t tap,
                        struct bp_run *runs) {
    const struct bp_conv_shape *s = &job->op->shape;
    const struct bp_wgrad_tiles *self = job->self;
    size_t ty = tap / s->r, tx = tap % s->r, n = 0, begin = 0, end = self->row_steps;
    size_t first = slot_of(job, tx + 1 - s->pad);
    if (self->samples == BP_TILE_STEP && s->pad == 1) {
        begin = tx == 0 ? 1 : 0;
        end -= (s->ow - 1) * s->stride + tx > s->w ? 1 : 0;
    }
    for (size_t g = 0; g < chunk->groups && end > begin; g++)
        for (size_t i = 0; i < chunk->rows; i++) {
            size_t y = (chunk->row + i) * s->stride + ty;
            if (y < s->pad || y - s->pad >= s->h)
                continue;
            size_t at = (g * s->h + y - s->pad) * row_bytes(self) +
                        (first * self->samples + begin * BP_TILE_STEP) * PLANE_LANES;
            size_t step = (g * chunk->rows + i) * self->row_steps + begin;
            runs[n++] = (struct bp_run){(int32_t)(step * BP_TILE_STEP), (int32_t)at,
                                        (int32_t)(end - begin)};
        }
    return n;
}

size_t bp_wgrad_tiles_joined(const struct bp_bconv *op) {
    const struct wgrad_job job = {.op = (struct bp_bconv *)op, .self = op->dw_tiles};
    const struct bp_conv_shape *s = &op->shape;
    size_t count = 0;
    for (size_t tap = 0; tap < op->taps; tap++) {
        size_t ty = tap / s->r, tx = tap % s->r, columns = s->ow;
        if (job.self->samples == BP_TILE_STEP && s->pad == 1)
            columns -= (size_t)(tx == 0) + ((s->ow - 1) * s->stride + tx > s->w);
        for (size_t y = 0; y < s->oh; y++)
            if (y * s->stride + ty >= s->pad && y * s->stride + ty - s->pad < s->h)
                count += columns;
    }
    return count;
}

/* --- product ---------------------------------------------------------------------------------- */

/* Codes of `channels` output channels from `first` on, of a step of a row. */
static void turn_step(const struct wgrad_job *job, size_t group, size_t row, size_t step,
                      size_t first, size_t channels, uint8_t *out) {
    const struct bp_conv_shape *s = &job->op->shape;
    const struct bp_wgrad_tiles *self = job->self;
    size_t there = samples_there(job, group), sample_bytes = s->oh * s->ow * job->kept;
    size_t at = step * BP_TILE_STEP, n = bp_min_size(BP_TILE_STEP, s->ow * self->samples - at);
    size_t x = at / self->samples, sample = at % self->samples;
    int32_t offset[BP_TILE_STEP];
    for (size_t i = 0; i < n; i++) {
        size_t of = sample < there ? sample : 0; /* those that are missing meet zeros */
        offset[i] = (int32_t)(of * sample_bytes + x * job->kept);
        if (++sample == self->samples) {
            sample = 0;
            x++;
        }
    }
    size_t position = (group * self->samples * s->oh + row) * s->ow;
    job->exec->kernels.turn_codes(bp_bconv_wgrad_codes(job->op, position, job->kept) + first,
                                  offset, n, channels, out, codes_pitch(self));
}

static void turn_chunk(const struct wgrad_job *job, const struct chunk *chunk, size_t first,
                       size_t channels, uint8_t *codes) {
    for (size_t g = 0; g < chunk->groups; g++)
        for (size_t i = 0; i < chunk->rows; i++)
            for (size_t step = 0; step < job->self->row_steps; step++, codes += BP_TILE_STEP)
                turn_step(job, chunk->group + g, chunk->row + i, step, first, channels, codes);
}

/* The signs of a word of channels that a chunk multiplies, about. */
static struct bp_fetch signs_of_chunk(const struct wgrad_job *job, const struct chunk *chunk,
                                      size_t word) {
    const struct bp_bconv *op = job->op;
    const struct bp_wgrad_tiles *self = job->self;
    size_t h = op->shape.h;
    size_t first = bp_min_size(chunk->row * op->shape.stride, h);
    size_t rows = bp_min_size(chunk->rows * op->shape.stride, h - first);
    size_t row = chunk->group * h + first;
    const int8_t *at = self->signs + word * word_bytes(op, self) + row * row_bytes(self);
    rows += (chunk->groups - 1) * h;
    return (struct bp_fetch){(const char *)at, (const char *)at + rows * row_bytes(self)};
}

/* A worker's share of a product: output channels, input channels lane .. lane + lanes - 1. */
struct share {
    size_t first, channels, lane, lanes;
};

/* Adds chunk `i` to the sums [channels][taps][c] of a share, word by word of its input channels:
 * all taps multiply the same signs, and the next word's are fetched meanwhile. */
static void multiply_chunk(const struct wgrad_job *job, size_t i, const uint8_t *codes,
                           int is_signed, const struct share *share, struct bp_run *runs,
                           int32_t *sums) {
    const struct bp_bconv *op = job->op;
    const struct bp_wgrad_tiles *self = job->self;
    size_t c = op->shape.c, begin[BP_TAPS_MAX + 1], count, end = share->lane + share->lanes;
    struct chunk chunk = chunk_of(job, i), next = chunk_of(job, (i + 1) % chunks_now(job));
    begin[0] = 0;
    for (size_t tap = 0; tap < op->taps; tap++)
        begin[tap + 1] = begin[tap] + list_runs(job, &chunk, tap, runs + begin[tap]);
    for (size_t j = share->lane; j < end; j += count) {
        size_t word = j / WORD_CHANNELS, in_word = j % WORD_CHANNELS;
        count = bp_min_size(WORD_CHANNELS - in_word, end - j);
        struct bp_fetch soon = j + count < end
                                   ? signs_of_chunk(job, &chunk, word + 1)
                                   : signs_of_chunk(job, &next, share->lane / WORD_CHANNELS);
        const int8_t *signs = self->signs + word * word_bytes(op, self) +
                              chunk.group * group_bytes(op, self) +
                              in_word / PLANE_LANES * plane_bytes(self);
        job->exec->kernels.product_turned(codes, is_signed, share->channels, codes_pitch(self),
                                          runs, begin, op->taps, signs, plane_bytes(self), count,
                                          sums + j, op->taps * c, c, &soon);
    }
}

/* What a worker's scratch holds. */
struct scratch {
    uint8_t *codes;
    struct bp_run *runs;
    int32_t *sums; /* [BP_LANES][taps][c] */
};

static struct scratch carve(const struct wgrad_job *job, int thread) {
    struct bp_carver carver = {bp_exec_scratch(job->exec, thread)};
    struct scratch s;
    s.codes = bp_carve(&carver, BP_LANES * codes_pitch(job->self));
    s.runs = bp_carve(&carver, job->op->taps * chunk_rows(job->self) * sizeof *s.runs);
    s.sums = bp_carve(&carver, sums_bytes(job->op));
    return s;
}

static void finish(const struct wgrad_job *job, const struct share *share, const int32_t *sums) {
    const struct bp_bconv *op = job->op;
    size_t c = op->shape.c, lane = share->lane;
    for (size_t i = 0; i < share->channels; i++) {
        size_t k = (size_t)op->kept_channel[share->first + i];
        const struct bp_group *group = &op->groups_dw[k];
        for (size_t tap = 0; tap < op->taps; tap++) {
            size_t at = (k * op->taps + tap) * c + lane;
            struct bp_latent_scale by = {0, 0, (int32_t)(op->valid_count[tap] * job->n),
                                         group->scale, group->offset};
            job->exec->kernels.scale_latent(&by, sums + (i * op->taps + tap) * c + lane, NULL,
                                            job->with_count ? op->count_a + tap * c + lane : NULL,
                                            job->w == NULL ? NULL : job->w + at, share->lanes,
                                            job->dw + at);
        }
    }
}

static void clear_sums(const struct wgrad_job *job, const struct share *share, int32_t *sums) {
    for (size_t i = 0; i < share->channels * job->op->taps; i++)
        memset(sums + i * job->op->shape.c + share->lane, 0, share->lanes * sizeof *sums);
}

/* Of output channels from `first` on, the part-th part. */
static struct share share_of(const struct wgrad_job *job, size_t first, size_t channels,
                             size_t part) {
    size_t lane = part * job->by.lanes;
    return (struct share){first, channels, lane,
                          bp_min_size(job->by.lanes, job->op->shape.c - lane)};
}

/* The share of item (up to 32 kept output channels, part of the input channels). */
static struct share share_of_item(const struct wgrad_job *job, size_t item) {
    size_t first = item / job->by.parts * BP_LANES;
    return share_of(job, first, bp_min_size(BP_LANES, job->kept - first), item % job->by.parts);
}

/* Sums of a share by one split, where chunks are divided. */
static int32_t *sums_of_split(const struct wgrad_job *job, const struct share *share,
                              size_t split) {
    size_t row = split * bp_round_up(job->kept, BP_LANES) + share->first;
    return job->self->split_sums + row * job->op->taps * job->op->shape.c;
}

/* Items are (share, split). */
static void product_part(void *context, size_t begin, size_t end, int thread) {
    const struct wgrad_job *job = context;
    struct scratch s = carve(job, thread);
    size_t splits = job->by.splits, chunks = chunks_now(job);
    for (size_t item = begin; item < end; item++) {
        struct share share = share_of_item(job, item / splits);
        size_t split = item % splits;
        int32_t *sums = splits > 1 ? sums_of_split(job, &share, split) : s.sums;
        clear_sums(job, &share, sums);
        for (size_t i = split * chunks / splits; i < (split + 1) * chunks / splits; i++) {
            struct chunk chunk = chunk_of(job, i);
            turn_chunk(job, &chunk, share.first, share.channels, s.codes);
            multiply_chunk(job, i, s.codes, job->is_signed, &share, s.runs, sums);
        }
        if (splits == 1)
            finish(job, &share, sums);
    }
}

/* Items are shares: adds their splits to the first one. */
static void add_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    const struct wgrad_job *job = context;
    size_t c = job->op->shape.c;
    for (size_t item = begin; item < end; item++) {
        struct share share = share_of_item(job, item);
        int32_t *sums = sums_of_split(job, &share, 0);
        for (size_t split = 1; split < job->by.splits; split++) {
            const int32_t *more = sums_of_split(job, &share, split);
            for (size_t i = 0; i < share.channels * job->op->taps; i++)
                for (size_t j = i * c + share.lane; j < i * c + share.lane + share.lanes; j++)
                    sums[j] += more[j];
        }
        finish(job, &share, sums);
    }
}

/* A row of ones in place of codes: the sums of the signs, and from these how many are negative.
 * Items are parts of the input channels. */
static void count_part(void *context, size_t begin, size_t end, int thread) {
    const struct wgrad_job *job = context;
    const struct bp_bconv *op = job->op;
    struct scratch s = carve(job, thread);
    size_t c = op->shape.c, row = job->self->row_steps * BP_TILE_STEP;
    memset(s.codes, 0, BP_TILE_ROWS * codes_pitch(job->self));
    for (size_t i = 0; i < chunk_rows(job->self); i++)
        memset(s.codes + i * row, 1, op->shape.ow * job->self->samples);
    for (size_t part = begin; part < end; part++) {
        struct share share = share_of(job, 0, 1, part);
        clear_sums(job, &share, s.sums);
        for (size_t i = 0; i < chunks_now(job); i++)
            multiply_chunk(job, i, s.codes, 1, &share, s.runs, s.sums);
        for (size_t tap = 0; tap < op->taps; tap++)
            for (size_t j = tap * c + share.lane; j < tap * c + share.lane + share.lanes; j++)
                op->count_a[j] = ((int32_t)(op->valid_count[tap] * job->n) - s.sums[j]) / 2;
    }
}

/* --- all together ----------------------------------------------------------------------------- */

void bp_wgrad_tiles_run(struct bp_bconv *op, struct bp_exec *exec, size_t n, const uint64_t *x,
                        const float *w, float *dw) {
    struct wgrad_job job = {.op = op,
                            .exec = exec,
                            .self = op->dw_tiles,
                            .x = x,
                            .w = w,
                            .dw = dw,
                            .n = n,
                            .kept = op->kept_dw};
    int code_min, code_max;
    bp_quant_codes(&op->quant_dw, &code_min, &code_max, &job.is_signed);
    job.with_count = op->quant_dw.grid != BP_GRID_ZERO;
    size_t blocks = (job.kept + BP_LANES - 1) / BP_LANES;
    job.by = divide(blocks, op->shape.c, (size_t)bp_threads_count(exec->threads));
    bp_parallel_for(exec->threads, groups_now(&job) * op->shape.h, spread_part, &job);
    if (job.with_count)
        bp_parallel_for(exec->threads, job.by.parts, count_part, &job);
    bp_parallel_for(exec->threads, blocks * job.by.parts * job.by.splits, product_part, &job);
    if (job.by.splits > 1)
        bp_parallel_for(exec->threads, blocks * job.by.parts, add_part, &job);
}
