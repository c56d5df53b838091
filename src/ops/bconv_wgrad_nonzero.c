/* dW from the codes that are not zero. A zero grid makes most codes zero: the range of a channel is
 * that of its largest element, and the others are small beside it. Each worker takes some output
 * channels, and chunks of positions, for which it lists where the codes of a channel are that are
 * not zero, by their digits (kernels/operands.h). A position is the row of activation signs that
 * the first tap sees; the taps of a row lie behind it, so that one call of the kernel makes one row
 * of taps:
 *
 *   lists [channel][weight][sign][LIST_STEP]     words from the chunk's first one on
 *   sums  [channel][tap][64 * cw]                sum of code * a^, in the halo a^ = 1
 *
 * What the halo added is the sum of the codes at whose positions a tap lies outside: taken back at
 * the end. */
#include "ops/bconv_internal.h"

#include <string.h>

#define ROWS         64   /* positions that are listed together */
#define CHUNK        4096 /* positions, at most: their end costs less, the more they are */
#define LIST_STEP    (CHUNK + ROWS + 32) /* pages apart, ends would share a set of the cache */
#define MOST_COLUMNS 32                  /* output channels of a work item */
#define AT_ONCE      16

struct nonzero_job {
    struct bp_bconv *op;
    struct bp_exec *exec;
    const uint64_t *x;
    const float *w;
    float *dw;
    const struct bp_bconv_dw_sums *dw_sums; /* unless NULL, in its place */
    size_t weights;                         /* of the codes' digits */
    size_t n, kept, columns;                /* columns: of a work item */
};

/* What a worker has listed of its channels. */
struct listed {
    uint16_t *at;    /* [columns][weights][signs][LIST_STEP] */
    int32_t *count;  /* [columns][weights][signs] */
    int32_t *border; /* [BP_BORDER_CLASSES][MOST_COLUMNS] sum of the codes of such positions */
    int32_t *sums;   /* [columns][taps][64 * cw] */
};

static size_t lanes_of(const struct bp_bconv *op) {
    return 64 * op->cw;
}

static size_t most_columns(const struct bp_bconv *op) {
    return op->quant_dw.bits <= 4 ? MOST_COLUMNS : MOST_COLUMNS / 2;
}

static size_t scratch_bytes(const struct bp_bconv *op, size_t columns) {
    const size_t lists = 2 * bp_nonzero_weights(op->quant_dw.bits);
    return bp_round_up(columns * lists * LIST_STEP * sizeof(uint16_t), 64) +
           bp_round_up(columns * lists * sizeof(int32_t), 64) +
           bp_round_up(BP_BORDER_CLASSES * MOST_COLUMNS * sizeof(int32_t), 64) +
           bp_round_up(columns * op->taps * lanes_of(op) * sizeof(int32_t), 64);
}

static struct listed carve(void *scratch, const struct bp_bconv *op, size_t columns) {
    struct bp_carver carver = {scratch};
    const size_t lists = 2 * bp_nonzero_weights(op->quant_dw.bits);
    struct listed l;
    l.at = bp_carve(&carver, columns * lists * LIST_STEP * sizeof *l.at);
    l.count = bp_carve(&carver, columns * lists * sizeof *l.count);
    l.border = bp_carve(&carver, BP_BORDER_CLASSES * MOST_COLUMNS * sizeof *l.border);
    l.sums = bp_carve(&carver, columns * op->taps * lanes_of(op) * sizeof *l.sums);
    return l;
}

/* Sums of 32 bits. */
static int is_possible(const struct bp_bconv *op) {
    return bp_product_takes_bytes(op->method_dw) && op->quant_dw.grid == BP_GRID_ZERO &&
           op->quant_dw.groups == BP_GROUPS_CHANNEL &&
           op->shape.n * op->shape.oh * op->shape.ow <= INT32_MAX / 255;
}

void bp_wgrad_nonzero_plan(const struct bp_bconv *op, struct bp_exec *exec) {
    if (is_possible(op))
        bp_exec_need_scratch(exec, scratch_bytes(op, most_columns(op)));
}

int bp_wgrad_nonzero_pays(const struct bp_bconv *op, const struct bp_exec *exec, size_t n,
                          double passes) {
    const struct bp_conv_shape *s = &op->shape;
    size_t positions = n * s->oh * s->ow, weights = bp_nonzero_weights(op->quant_dw.bits);
    double pixels = (double)(s->h * s->w) / (double)(s->oh * s->ow * op->kept_dw);
    double looked_up = (double)bp_round_up(n, exec->kernels.together * BP_QUAD) / (double)n;
    return is_possible(op) &&
           bp_product_zeros_pay_weights(
               exec->tier, s->r, op->cw, positions, looked_up * passes, pixels, weights,
               bp_bconv_set_digits(op->codes_dw, positions, op->kept_dw, weights));
}

/* --- lists ------------------------------------------------------------------------------------ */

/* Where the signs of a position are, in words. */
static size_t place_of(const struct bp_bconv *op, size_t position) {
    const size_t pixels = op->shape.oh * op->shape.ow;
    return position / pixels * op->in_words + (size_t)op->pixel_base[position % pixels];
}

/* The same of `count` positions of sample n from p on, from `origin` on. */
static void locate(const struct bp_bconv *op, size_t n, size_t p, size_t count, size_t origin,
                   uint16_t *at) {
    const int32_t sample = (int32_t)(n * op->in_words) - (int32_t)origin;
    const int32_t *base = op->pixel_base + p;
    for (size_t i = 0; i < count; i++)
        at[i] = (uint16_t)(sample + base[i]);
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

/* Fetches the signs that the positions of a block see for the first time: they lie one behind the
 * other. */
static void fetch_signs(const struct bp_bconv *op, const uint64_t *from, const uint16_t *at,
                        size_t rows) {
    const size_t reach = op->shape.r * (op->shape.w + 2) * op->cw;
    const char *end = (const char *)(from + at[rows - 1] + reach);
    for (const char *line = (const char *)(from + at[0] + reach); line < end; line += 64)
        __builtin_prefetch(line, 0, 2);
}

/* Lists the positions of a chunk: begin .. end - 1, whose signs begin at `origin`. */
static void list_chunk(const struct nonzero_job *job, struct listed *l, size_t first,
                       size_t columns, size_t begin, size_t end, size_t origin) {
    const struct bp_bconv *op = job->op;
    const size_t pixels = op->shape.oh * op->shape.ow;
    uint16_t at[ROWS];
    memset(l->count, 0, 2 * columns * job->weights * sizeof *l->count);
    for (size_t row = begin, rows; row < end; row += rows) {
        const uint8_t *codes = bp_bconv_wgrad_codes(op, row, job->kept) + first;
        rows = bp_min_size(ROWS, end - row);
        for (size_t i = 0, n = row / pixels, p = row % pixels; i < rows; p = 0, n++) {
            size_t count = bp_min_size(rows - i, pixels - p);
            locate(op, n, p, count, origin, at + i);
            add_borders(l, op->border_class + p, count, codes + i * job->kept, job->kept, columns);
            i += count;
        }
        fetch_signs(op, job->x + origin, at, rows);
        job->exec->kernels.list_nonzero(codes, rows, job->kept, columns, job->weights, at, l->at,
                                        LIST_STEP, l->count);
    }
}

/* The end of the chunk that begins at a position: up to CHUNK, whose signs 16 bits find. */
static size_t end_of_chunk(const struct bp_bconv *op, size_t begin, size_t positions) {
    const size_t origin = place_of(op, begin);
    size_t end = bp_min_size(begin + ROWS, positions);
    while (place_of(op, end - 1) - origin > UINT16_MAX) /* large pixels, far apart */
        end--;
    while (end < positions && end - begin < CHUNK) {
        const size_t next = bp_min_size(end + ROWS, positions);
        if (place_of(op, next - 1) - origin > UINT16_MAX)
            break;
        end = next;
    }
    return end;
}

/* --- product ---------------------------------------------------------------------------------- */

/* The sum of the codes of a channel at whose positions a tap lies outside. */
static int32_t sum_outside(const struct listed *l, size_t column, size_t tap, size_t r) {
    int32_t sum = 0;
    for (unsigned i = 1; i < BP_BORDER_CLASSES; i++)
        if (bp_bconv_tap_is_cut(i, tap, r))
            sum += l->border[i * MOST_COLUMNS + column];
    return sum;
}

/* Fetches what a row of taps of dW is written to, and the weights of its mask: beside the product
 * there is time. */
static void fetch_rows(const struct nonzero_job *job, size_t k, size_t ty) {
    const struct bp_bconv *op = job->op;
    const size_t row = op->shape.r * op->shape.c, at = (k * op->shape.r + ty) * row;
    for (size_t i = 0; job->dw_sums != NULL && i < row; i += 32)
        __builtin_prefetch(job->dw_sums->sums + at + i, 1, 2);
    for (size_t i = 0; job->dw_sums == NULL && i < row; i += 16) {
        __builtin_prefetch(job->dw + at + i, 1, 2);
        if (job->w != NULL)
            __builtin_prefetch(job->w + at + i, 0, 2);
    }
}

/* The rows of dW of a channel, from its sums. */
static void finish(const struct nonzero_job *job, const struct listed *l, size_t first,
                   size_t column) {
    const struct bp_bconv *op = job->op;
    const size_t c = op->shape.c, k = (size_t)op->kept_channel[first + column];
    const struct bp_group *group = &op->groups_dw[k];
    for (size_t tap = 0; tap < op->taps; tap++) {
        const size_t at = (k * op->taps + tap) * c;
        const int32_t *sums = l->sums + (column * op->taps + tap) * lanes_of(op);
        const int32_t known = -sum_outside(l, column, tap, op->shape.r);
        const struct bp_latent_scale by = {known, 0, 0, group->scale, group->offset, op->shift_dw};
        bp_bconv_wgrad_finish(op, &job->exec->kernels, &by, sums, NULL, NULL,
                              job->w == NULL ? NULL : job->w + at, c,
                              job->dw_sums == NULL ? job->dw + at : NULL,
                              job->dw_sums == NULL ? NULL : job->dw_sums->sums + at);
    }
    if (job->dw_sums != NULL)
        job->dw_sums->scale[k] = group->scale * (float)(1 << op->shift_dw);
}

/* All positions of `columns` channels, from `first` on. */
static void multiply_columns(const struct nonzero_job *job, struct listed *l, size_t first,
                             size_t columns) {
    const struct bp_bconv *op = job->op;
    const size_t positions = job->n * op->shape.oh * op->shape.ow, r = op->shape.r;
    const size_t lists = 2 * job->weights;
    memset(l->border, 0, BP_BORDER_CLASSES * MOST_COLUMNS * sizeof *l->border);
    for (size_t begin = 0, end; begin < positions; begin = end) {
        const size_t origin = place_of(op, begin);
        end = end_of_chunk(op, begin, positions);
        list_chunk(job, l, first, columns, begin, end, origin);
        for (size_t i = 0; i < columns; i++) {
            int32_t *sums = l->sums + i * op->taps * lanes_of(op);
            if (begin == 0)
                memset(sums, 0, op->taps * lanes_of(op) * sizeof *sums);
            for (size_t ty = 0; ty < r; ty++) {
                if (end == positions)
                    fetch_rows(job, (size_t)op->kept_channel[first + i], ty);
                job->exec->kernels.product_nonzero(job->x + origin + (size_t)op->tap_offset[ty * r],
                                                   job->weights, l->at + i * lists * LIST_STEP,
                                                   LIST_STEP, l->count + i * lists, r * op->cw,
                                                   sums + ty * r * lanes_of(op));
            }
            if (end == positions)
                finish(job, l, first, i);
        }
    }
}

/* Items are groups of kept output channels. */
static void nonzero_part(void *context, size_t begin, size_t end, int thread) {
    const struct nonzero_job *job = context;
    struct listed l = carve(bp_exec_scratch(job->exec, thread), job->op, job->columns);
    for (size_t item = begin; item < end; item++) {
        size_t first = item * job->columns;
        multiply_columns(job, &l, first, bp_min_size(job->columns, job->kept - first));
    }
}

void bp_wgrad_nonzero_run(struct bp_bconv *op, struct bp_exec *exec, size_t n, const uint64_t *x,
                          const float *w, float *dw, const struct bp_bconv_dw_sums *dw_sums) {
    struct nonzero_job job = {.op = op,
                              .exec = exec,
                              .x = x,
                              .w = w,
                              .dw = dw,
                              .dw_sums = dw_sums,
                              .n = n,
                              .kept = op->kept_dw};
    job.weights = bp_nonzero_weights(op->quant_dw.bits);
    job.columns = bp_item_size(exec->threads, job.kept, most_columns(op), AT_ONCE);
    bp_parallel_for(exec->threads, (job.kept + job.columns - 1) / job.columns, nonzero_part, &job);
}
