/* dW on tiles of bytes: rows of codes, one of each output channel, times signs of the activations,
 * over positions. Four contracted elements stand side by side in a tile of signs: they are four
 * samples at one pixel, so that a tap is a shift by whole rows of the tile.
 *
 *   signs [words of channels][rows][4][columns][quads][16][4]
 *   codes [output channels][rows of a chunk][row bytes]
 *
 * A worker goes along the chunks with so many output channels that their sums stay in its second
 * cache; it turns the codes of a chunk and spreads the rows of signs that this one sees first.
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
#define CHUNK_STEPS   8 /* of a row of turned codes, about: with its signs in the first cache */
#define NEAR_SUMS     ((size_t)1280 << 10) /* bytes that stay in the second cache beside the rest */

struct bp_wgrad_tiles {
    size_t samples, quads, groups; /* of a group; groups of the largest batch */
    size_t columns, row_steps;     /* steps of 64 positions of a row of codes */
    size_t rows, row_groups; /* of a chunk; groups that it spans, several of whole maps only */
    size_t sign_rows;        /* that a chunk sees; row i of the groups' maps at i % sign_rows */
    size_t channels;         /* output channels of an item */
    int32_t *split_sums;     /* [splits][channels][taps][c] where chunks are shared out */
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

/* From the signs of a word of channels to those of the next. */
static size_t word_bytes(const struct bp_wgrad_tiles *self) {
    return self->sign_rows * row_bytes(self);
}

/* The last step of a row may reach beyond its end. */
static size_t signs_bytes(const struct bp_bconv *op, const struct bp_wgrad_tiles *self) {
    return bp_round_up(op->cw * word_bytes(self) + BP_TILE_STEP * PLANE_LANES, 64);
}

static size_t chunk_rows(const struct bp_wgrad_tiles *self) {
    return self->rows * self->row_groups;
}

/* From the codes of one output channel to the next: an odd number of cache lines, so that the rows
 * of a tile do not fall into the same few sets of the cache. */
static size_t codes_pitch(const struct bp_wgrad_tiles *self) {
    return (chunk_rows(self) * self->row_steps | 1) * BP_TILE_STEP;
}

static size_t runs_bytes(const struct bp_bconv *op, const struct bp_wgrad_tiles *self) {
    return bp_round_up(op->taps * chunk_rows(self) * sizeof(struct bp_run), 64);
}

static size_t sums_bytes(const struct bp_bconv *op, size_t rows) {
    return rows * op->taps * op->shape.c * sizeof(int32_t);
}

/* Rows of the maps that a chunk's taps see. */
static size_t input_rows(const struct bp_conv_shape *s, const struct bp_wgrad_tiles *self) {
    return self->rows == s->oh ? self->row_groups * s->h
                               : bp_min_size((self->rows - 1) * s->stride + s->r, s->h);
}

/* How the work is shared out: ranges of output channels, each in whole blocks of 32, and where
 * those are fewer than workers, runs of chunks. */
struct division {
    size_t blocks, ranges, splits;
};

static struct division divide(const struct bp_wgrad_tiles *self, size_t kept, size_t workers) {
    size_t blocks = (kept + BP_LANES - 1) / BP_LANES, most = self->channels / BP_LANES;
    struct division d = {blocks, (blocks + most - 1) / most, 1};
    if (d.ranges >= workers)
        d.ranges = bp_min_size((d.ranges + workers - 1) / workers * workers, blocks);
    else
        while (d.ranges * d.splits % workers != 0)
            d.splits++;
    return d;
}

/* Rows of split_sums, for any number of kept channels; one of each worker's for the signs. */
static size_t most_split_rows(const struct bp_bconv *op, size_t workers) {
    size_t rows = workers;
    for (size_t kept = 1; kept <= op->slots_dw; kept++) {
        struct division by = divide(op->dw_tiles, kept, workers);
        if (by.splits > 1)
            rows = bp_max_size(rows, by.blocks * BP_LANES * by.splits);
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
    self->sign_rows = input_rows(s, self);
    size_t blocks = bp_max_size(NEAR_SUMS / sums_bytes(op, BP_LANES), 1);
    self->channels = bp_min_size(blocks * BP_LANES, bp_round_up(op->slots_dw, BP_LANES));
    bp_exec_need_scratch(exec, self->channels * codes_pitch(self) + runs_bytes(op, self) +
                                   signs_bytes(op, self) + sums_bytes(op, self->channels));
    size_t rows = most_split_rows(op, (size_t)bp_threads_count(exec->threads));
    snprintf(text, sizeof text, "%s sums of splits", name);
    return bp_plan_add(plan, text, sums_bytes(op, rows), time, time + 1, &self->split_sums);
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

/* Row `row` of the groups' maps, to row `to` of the signs. */
static void spread_words(const struct wgrad_job *job, size_t row, int8_t *signs, size_t to) {
    size_t h = job->op->shape.h;
    for (size_t word = 0; word < job->op->cw; word++)
        spread_row(job, row / h, row % h, word,
                   signs + word * word_bytes(job->self) + to * row_bytes(job->self));
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

/* Rows of the groups' maps that the taps of a chunk see: the first, and the one behind the last. */
static size_t first_row(const struct wgrad_job *job, const struct chunk *chunk) {
    const struct bp_conv_shape *s = &job->op->shape;
    size_t y = chunk->row * s->stride;
    return chunk->group * s->h + (y > s->pad ? y - s->pad : 0);
}

static size_t end_row(const struct wgrad_job *job, const struct chunk *chunk) {
    const struct bp_conv_shape *s = &job->op->shape;
    size_t y = (chunk->row + chunk->rows - 1) * s->stride + s->r - s->pad;
    return (chunk->group + chunk->groups - 1) * s->h + bp_min_size(y, s->h);
}

/* Makes the rows of a chunk's signs; `made`: the row behind those that are there. */
static void spread_chunk(const struct wgrad_job *job, const struct chunk *chunk, int8_t *signs,
                         size_t *made) {
    size_t end = end_row(job, chunk);
    for (size_t row = bp_max_size(*made, first_row(job, chunk)); row < end; row++)
        spread_words(job, row, signs, row % job->self->sign_rows);
    *made = end;
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
            size_t row = (chunk->group + g) * s->h + y - s->pad;
            size_t at = row % self->sign_rows * row_bytes(self) +
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

/* Output channels of an item, all kept ones or a range of them. */
struct range {
    size_t first, channels;
};

static struct range range_of(const struct wgrad_job *job, size_t i) {
    const struct division *by = &job->by;
    size_t first = i * by->blocks / by->ranges * BP_LANES;
    size_t end = (i + 1) * by->blocks / by->ranges * BP_LANES;
    return (struct range){first, bp_min_size(end, job->kept) - first};
}

static void add_row(const int32_t *row, size_t n, int32_t *sums) {
    for (size_t i = 0; i < n; i++)
        sums[i] += row[i];
}

/* Codes of a range, of a step of a row. */
static void turn_step(const struct wgrad_job *job, size_t group, size_t row, size_t step,
                      const struct range *range, uint8_t *out) {
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
    job->exec->kernels.turn_codes(bp_bconv_wgrad_codes(job->op, position, job->kept) + range->first,
                                  offset, n, range->channels, out, codes_pitch(self));
}

static void turn_chunk(const struct wgrad_job *job, const struct chunk *chunk,
                       const struct range *range, uint8_t *codes) {
    for (size_t g = 0; g < chunk->groups; g++)
        for (size_t i = 0; i < chunk->rows; i++)
            for (size_t step = 0; step < job->self->row_steps; step++, codes += BP_TILE_STEP)
                turn_step(job, chunk->group + g, chunk->row + i, step, range, codes);
}

/* What a worker's scratch holds. */
struct scratch {
    uint8_t *codes;
    struct bp_run *runs;
    int8_t *signs;
    int32_t *sums; /* [channels][taps][c] */
};

static struct scratch carve(const struct wgrad_job *job, int thread) {
    const struct bp_wgrad_tiles *self = job->self;
    struct bp_carver carver = {bp_exec_scratch(job->exec, thread)};
    struct scratch s;
    s.codes = bp_carve(&carver, self->channels * codes_pitch(self));
    s.runs = bp_carve(&carver, runs_bytes(job->op, self));
    s.signs = bp_carve(&carver, signs_bytes(job->op, self));
    s.sums = bp_carve(&carver, sums_bytes(job->op, self->channels));
    return s;
}

/* The products of a chunk's codes and signs, added to the sums unless it is the first: all taps
 * multiply the same signs. */
static void multiply_chunk(const struct wgrad_job *job, const struct chunk *chunk,
                           const struct scratch *s, size_t channels, int is_signed, int is_first,
                           int32_t *sums) {
    const struct bp_bconv *op = job->op;
    size_t c = op->shape.c, pitch = codes_pitch(job->self), begin[BP_TAPS_MAX + 1] = {0};
    for (size_t tap = 0; tap < op->taps; tap++)
        begin[tap + 1] = begin[tap] + list_runs(job, chunk, tap, s->runs + begin[tap]);
    for (size_t word = 0; word < op->cw; word++)
        for (size_t k = 0; k < channels; k += BP_LANES) {
            size_t lane = word * WORD_CHANNELS;
            job->exec->kernels.product_turned(
                s->codes + k * pitch, is_signed, !is_first, bp_min_size(channels - k, BP_LANES),
                pitch, s->runs, begin, op->taps, s->signs + word * word_bytes(job->self),
                plane_bytes(job->self), bp_min_size(WORD_CHANNELS, c - lane),
                sums + k * op->taps * c + lane, op->taps * c, c);
        }
}

/* The chunks of a split. */
static size_t first_chunk(const struct wgrad_job *job, size_t split) {
    return split * chunks_now(job) / job->by.splits;
}

/* sums [channels of range][taps][c] of a split. */
static void multiply_range(const struct wgrad_job *job, const struct range *range, size_t split,
                           const struct scratch *s, int32_t *sums) {
    size_t made = 0, first = first_chunk(job, split), behind = first_chunk(job, split + 1);
    if (first == behind)
        memset(sums, 0, sums_bytes(job->op, range->channels));
    for (size_t i = first; i < behind; i++) {
        struct chunk chunk = chunk_of(job, i);
        spread_chunk(job, &chunk, s->signs, &made);
        turn_chunk(job, &chunk, range, s->codes);
        multiply_chunk(job, &chunk, s, range->channels, job->is_signed, i == first, sums);
    }
}

/* Those of output channels from `first` on. */
static int32_t *sums_of_split(const struct wgrad_job *job, size_t first, size_t split) {
    size_t row = split * job->by.blocks * BP_LANES + first;
    return job->self->split_sums + row * job->op->taps * job->op->shape.c;
}

static void finish(const struct wgrad_job *job, const struct range *of, const int32_t *sums) {
    const struct bp_bconv *op = job->op;
    size_t c = op->shape.c;
    for (size_t i = 0; i < of->channels; i++) {
        size_t k = (size_t)op->kept_channel[of->first + i];
        const struct bp_group *group = &op->groups_dw[k];
        for (size_t tap = 0; tap < op->taps; tap++) {
            size_t at = (k * op->taps + tap) * c;
            const struct bp_latent_scale by = {.valid = (int32_t)(op->valid_count[tap] * job->n),
                                               .scale = group->scale,
                                               .offset = group->offset,
                                               .shift = op->shift_dw};
            bp_bconv_wgrad_finish(op, &job->exec->kernels, &by, sums + (i * op->taps + tap) * c,
                                  NULL, job->with_count ? op->count_a + tap * c : NULL,
                                  job->w == NULL ? NULL : job->w + at, c, job->dw + at, NULL);
        }
    }
}

/* Items are (range, split). */
static void product_part(void *context, size_t begin, size_t end, int thread) {
    const struct wgrad_job *job = context;
    struct scratch s = carve(job, thread);
    size_t splits = job->by.splits;
    for (size_t item = begin; item < end; item++) {
        struct range range = range_of(job, item / splits);
        if (splits > 1) {
            multiply_range(job, &range, item % splits, &s,
                           sums_of_split(job, range.first, item % splits));
        } else {
            multiply_range(job, &range, 0, &s, s.sums);
            finish(job, &range, s.sums);
        }
    }
}

/* Items are kept output channels: adds their splits. */
static void add_part(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    const struct wgrad_job *job = context;
    size_t n = job->op->taps * job->op->shape.c;
    for (size_t i = begin; i < end; i++) {
        struct range one = {i, 1};
        int32_t *sums = sums_of_split(job, i, 0);
        for (size_t split = 1; split < job->by.splits; split++)
            add_row(sums_of_split(job, i, split), n, sums);
        finish(job, &one, sums);
    }
}

/* --- signs below zero ------------------------------------------------------------------------- */

/* A row of ones in place of codes, whose products are the sums of the signs. Items are splits. */
static void sum_part(void *context, size_t begin, size_t end, int thread) {
    const struct wgrad_job *job = context;
    const struct bp_wgrad_tiles *self = job->self;
    size_t n = job->op->taps * job->op->shape.c, row = self->row_steps * BP_TILE_STEP;
    struct scratch s = carve(job, thread);
    memset(s.codes, 0, BP_TILE_ROWS * codes_pitch(self));
    for (size_t i = 0; i < chunk_rows(self); i++)
        memset(s.codes + i * row, 1, job->op->shape.ow * self->samples);
    for (size_t split = begin; split < end; split++) {
        int32_t *sums = self->split_sums + split * n;
        size_t made = 0, first = first_chunk(job, split), behind = first_chunk(job, split + 1);
        if (first == behind)
            memset(sums, 0, n * sizeof *sums);
        for (size_t i = first; i < behind; i++) {
            struct chunk chunk = chunk_of(job, i);
            spread_chunk(job, &chunk, s.signs, &made);
            multiply_chunk(job, &chunk, &s, 1, 1, i == first, sums);
        }
    }
}

static void count_negative(struct wgrad_job *job, size_t workers) {
    struct bp_bconv *op = job->op;
    size_t c = op->shape.c, n = op->taps * c;
    int32_t *sums = job->self->split_sums;
    job->by = (struct division){1, 1, workers};
    bp_parallel_for(job->exec->threads, workers, sum_part, job);
    for (size_t split = 1; split < workers; split++)
        add_row(sums + split * n, n, sums);
    for (size_t j = 0; j < n; j++)
        op->count_a[j] = ((int32_t)(op->valid_count[j / c] * job->n) - sums[j]) / 2;
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
    size_t workers = (size_t)bp_threads_count(exec->threads);
    bp_quant_codes(&op->quant_dw, &code_min, &code_max, &job.is_signed);
    job.with_count = op->quant_dw.grid != BP_GRID_ZERO;
    if (job.with_count)
        count_negative(&job, workers);
    job.by = divide(job.self, job.kept, workers);
    bp_parallel_for(exec->threads, job.by.ranges * job.by.splits, product_part, &job);
    if (job.by.splits > 1)
        bp_parallel_for(exec->threads, job.kept, add_part, &job);
}
