/* dW from the codes that are not zero. A zero grid makes most codes zero: the range of a channel is
 * that of its largest element, and the others are small beside it. Each worker takes some output
 * channels and lists, for each of them, the positions of the codes that are not zero, by the bits
 * of their magnitudes (struct bp_nonzeros). A position is the row of activation signs that the
 * first tap sees; the taps of a row lie behind it, so that one call of the kernel makes one row of
 * taps:
 *
 *   lists [channel][weight][sign][LIST_STEP]     words from x on
 *   sums  [channel][tap][64 * cw]                sum of code * a^, in the halo a^ = 1
 *
 * What the halo added is the sum of the codes at whose positions a tap lies outside: taken back at
 * the end. */
#include "ops/bconv_internal.h"

#include <string.h>

#define LIST_ROWS    1024             /* of a list: a few hundred make the end of a count cheap */
#define LIST_STEP    (LIST_ROWS + 16) /* a page apart, their ends would share a set of the cache */
#define LISTS        (2 * (size_t)BP_NONZERO_WEIGHTS)
#define MOST_COLUMNS 32 /* output channels of a work item */
#define AT_ONCE      16
#define ROWS         64 /* positions that are listed together */

struct nonzero_job {
    struct bp_bconv *op;
    struct bp_exec *exec;
    const uint64_t *x;
    const float *w;
    float *dw;
    size_t n, kept, columns; /* columns: of a work item */
};

/* What a worker has listed of its channels. */
struct listed {
    int32_t *at;     /* [columns][weights][signs][LIST_STEP] */
    int32_t *count;  /* [columns][weights][signs] */
    int32_t *border; /* [BP_BORDER_CLASSES][MOST_COLUMNS] sum of the codes of such positions */
    int32_t *sums;   /* [columns][taps][64 * cw] */
};

static size_t lanes_of(const struct bp_bconv *op) {
    return 64 * op->cw;
}

static size_t scratch_bytes(const struct bp_bconv *op, size_t columns) {
    return bp_round_up(columns * LISTS * LIST_STEP * sizeof(int32_t), 64) +
           bp_round_up(columns * LISTS * sizeof(int32_t), 64) +
           bp_round_up(BP_BORDER_CLASSES * MOST_COLUMNS * sizeof(int32_t), 64) +
           bp_round_up(columns * op->taps * lanes_of(op) * sizeof(int32_t), 64);
}

static struct listed carve(void *scratch, const struct bp_bconv *op, size_t columns) {
    struct bp_carver carver = {scratch};
    struct listed l;
    l.at = bp_carve(&carver, columns * LISTS * LIST_STEP * sizeof(int32_t));
    l.count = bp_carve(&carver, columns * LISTS * sizeof(int32_t));
    l.border = bp_carve(&carver, BP_BORDER_CLASSES * MOST_COLUMNS * sizeof(int32_t));
    l.sums = bp_carve(&carver, columns * op->taps * lanes_of(op) * sizeof(int32_t));
    return l;
}

/* Codes as the kernels take them, one byte each, |code| <= 7, and rows that an int32 finds. */
static int is_possible(const struct bp_bconv *op) {
    return bp_product_takes_bytes(op->method_dw) && op->quant_dw.grid == BP_GRID_ZERO &&
           op->quant_dw.bits <= 4 && op->quant_dw.groups == BP_GROUPS_CHANNEL &&
           op->shape.n * op->in_words <= INT32_MAX;
}

void bp_wgrad_nonzero_plan(const struct bp_bconv *op, struct bp_exec *exec) {
    if (is_possible(op))
        bp_exec_need_scratch(exec, scratch_bytes(op, MOST_COLUMNS));
}

int bp_wgrad_nonzero_pays(const struct bp_bconv *op, const struct bp_exec *exec, size_t n) {
    const struct bp_conv_shape *s = &op->shape;
    size_t positions = n * s->oh * s->ow;
    double pixels = (double)(s->h * s->w) / (double)(s->oh * s->ow * op->kept_dw);
    double looked_up = (double)bp_round_up(n, exec->kernels.together * BP_QUAD) / (double)n;
    return is_possible(op) &&
           bp_product_zeros_pay_weights(exec->tier, s->r, op->cw, positions, looked_up, pixels,
                                        bp_bconv_set_bits(op->codes_dw, positions, op->kept_dw));
}

/* --- lists ------------------------------------------------------------------------------------ */

/* Where the signs of `count` positions of a sample are, from position p on. */
static void locate(const struct bp_bconv *op, size_t n, size_t p, size_t count, int32_t *at) {
    const int32_t sample = (int32_t)(n * op->in_words), *base = op->pixel_base + p;
    for (size_t i = 0; i < count; i++)
        at[i] = sample + base[i];
}

/* Adds up the codes of positions at which taps lie outside, by class. */
static void add_borders(struct listed *l, const uint8_t *border_class, size_t count,
                        const uint8_t *codes, size_t step, size_t columns) {
    for (size_t p = 0; p < count; p++) {
        if (border_class[p] == 0)
            continue;
        int32_t *sum = l->border + border_class[p] * MOST_COLUMNS;
        for (size_t i = 0; i < columns; i++)
            sum[i] += (int8_t)codes[p * step + i];
    }
}

static size_t longest(const struct listed *l, size_t columns) {
    int32_t most = 0;
    for (size_t i = 0; i < columns * LISTS; i++)
        most = l->count[i] > most ? l->count[i] : most;
    return (size_t)most;
}

/* Multiplies what is listed, and empties the lists. */
static void multiply(const struct nonzero_job *job, struct listed *l, size_t columns) {
    const struct bp_bconv *op = job->op;
    size_t r = op->shape.r, lanes = lanes_of(op);
    for (size_t i = 0; i < columns; i++) {
        struct bp_nonzeros of;
        for (size_t w = 0; w < BP_NONZERO_WEIGHTS; w++) {
            size_t plus = i * LISTS + 2 * w, minus = plus + 1;
            of.plus[w] = (struct bp_row_list){l->at + plus * LIST_STEP, (size_t)l->count[plus]};
            of.minus[w] = (struct bp_row_list){l->at + minus * LIST_STEP, (size_t)l->count[minus]};
        }
        for (size_t ty = 0; ty < r; ty++)
            job->exec->kernels.product_nonzero(job->x + op->tap_offset[ty * r], &of, r * op->cw,
                                               l->sums + (i * op->taps + ty * r) * lanes);
    }
    memset(l->count, 0, columns * LISTS * sizeof *l->count);
}

/* All positions of `columns` channels, from `first` on. */
static void multiply_columns(const struct nonzero_job *job, struct listed *l, size_t first,
                             size_t columns) {
    const struct bp_bconv *op = job->op;
    const size_t pixels = op->shape.oh * op->shape.ow;
    size_t most = 0; /* no list is longer */
    memset(l->count, 0, columns * LISTS * sizeof *l->count);
    memset(l->border, 0, BP_BORDER_CLASSES * MOST_COLUMNS * sizeof *l->border);
    memset(l->sums, 0, columns * op->taps * lanes_of(op) * sizeof *l->sums);
    int32_t at[ROWS];
    for (size_t row = 0, rows; row < job->n * pixels; row += rows) {
        const uint8_t *codes = bp_bconv_wgrad_codes(op, row, job->kept) + first;
        rows = bp_min_size(ROWS, job->n * pixels - row);
        if (most + rows > LIST_ROWS && (most = longest(l, columns)) + rows > LIST_ROWS) {
            multiply(job, l, columns);
            most = 0;
        }
        for (size_t i = 0, n = row / pixels, p = row % pixels; i < rows; p = 0, n++) {
            size_t count = bp_min_size(rows - i, pixels - p);
            locate(op, n, p, count, at + i);
            add_borders(l, op->border_class + p, count, codes + i * job->kept, job->kept, columns);
            i += count;
        }
        job->exec->kernels.list_nonzero(codes, rows, job->kept, columns, at, l->at, LIST_STEP,
                                        l->count);
        most += rows;
    }
    multiply(job, l, columns);
}

/* The sum of the codes of a channel at whose positions a tap lies outside. */
static int32_t sum_outside(const struct listed *l, size_t column, size_t tap, size_t r) {
    int32_t sum = 0;
    for (unsigned i = 1; i < BP_BORDER_CLASSES; i++)
        if (bp_bconv_tap_is_cut(i, tap, r))
            sum += l->border[i * MOST_COLUMNS + column];
    return sum;
}

/* --- all together ----------------------------------------------------------------------------- */

/* Items are groups of kept output channels. */
static void nonzero_part(void *context, size_t begin, size_t end, int thread) {
    const struct nonzero_job *job = context;
    struct bp_bconv *op = job->op;
    size_t c = op->shape.c;
    struct listed l = carve(bp_exec_scratch(job->exec, thread), op, job->columns);
    for (size_t item = begin; item < end; item++) {
        size_t first = item * job->columns, columns = bp_min_size(job->columns, job->kept - first);
        multiply_columns(job, &l, first, columns);
        for (size_t i = 0; i < columns; i++) {
            size_t k = (size_t)op->kept_channel[first + i];
            const struct bp_group *group = &op->groups_dw[k];
            for (size_t tap = 0; tap < op->taps; tap++) {
                size_t at = (k * op->taps + tap) * c, sum = i * op->taps + tap;
                struct bp_latent_scale by = {-sum_outside(&l, i, tap, op->shape.r), 0, 0,
                                             group->scale, group->offset};
                job->exec->kernels.scale_latent(&by, l.sums + sum * lanes_of(op), NULL, NULL,
                                                job->w == NULL ? NULL : job->w + at, c,
                                                job->dw + at);
            }
        }
    }
}

void bp_wgrad_nonzero_run(struct bp_bconv *op, struct bp_exec *exec, size_t n, const uint64_t *x,
                          const float *w, float *dw) {
    struct nonzero_job job = {
        .op = op, .exec = exec, .x = x, .w = w, .dw = dw, .n = n, .kept = op->kept_dw};
    job.columns = bp_item_size(exec->threads, job.kept, MOST_COLUMNS, AT_ONCE);
    bp_parallel_for(exec->threads, (job.kept + job.columns - 1) / job.columns, nonzero_part, &job);
}
