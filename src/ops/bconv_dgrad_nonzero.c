/* dA from the codes that are not zero: each pixel of the gradient lists its own, by their
 * digits (kernels/operands.h), as numbers of rows: the signs of an output channel's weights,
 * complemented where the digit is negative. The bits of the rows that a pixel of dA sees through
 * its taps are counted, 512 at a time:
 *
 *   sum of code * w^ = sum of |digit| * 2^weight - 2 * (counted bits)
 *
 * Where 512 bits are the input channels of several pixels, a unit is that many pixels side by side.
 * A pixel of the gradient in column j of those that a unit sees reaches its pixel i through tap
 * i + r - 1 - j, and a row holds the weights of these taps, or nothing where there is none, so that
 * what is listed counts for all pixels at once:
 *
 *   columns seen   j = 0     j = 1     j = 2     j = 3        r = 3, two pixels of 256 channels
 *   row            w2  -     w1  w2    w0  w1    -   w0       pixels i = 0, 1
 *
 *   rows  [parts of 8 words of channels][seen rows r][columns J][64s of k][sign][64][8 words],
 *         after each part a row of zeros, which fills lists up
 *   lists [r seen rows, a ring][units of a row][weight]       numbers of a part with first row 0
 *
 * A worker walks down an image and lists each row of the gradient once. */
#include "ops/bconv_internal.h"

#include <string.h>

#define UNITS          8 /* whose lists are joined before the first one is counted */
#define FEWEST_ROWS    4 /* of a band: the rows beside it are listed again */
#define BANDS_A_THREAD 4
#define MOST_DIGITS    ((size_t)1 << 16) /* their weights add up to 255 at most */

/* What follows from the shape. */
struct units {
    size_t pixels, units; /* pixels of a unit, units of a row */
    size_t columns;       /* J, that a unit sees */
    size_t parts;         /* of the channels */
    size_t step;          /* rows of one column */
    size_t part_rows;     /* rows of a part */
    size_t weights;       /* of the codes' digits */
    size_t list_room, joined_room;
};

struct nonzero_job {
    struct bp_bconv *op;
    struct bp_exec *exec;
    const uint64_t *mask;
    float *dx;
    int16_t *dx_sums;   /* unless NULL, in its place */
    const float *zeros; /* [c] */
    struct units u;
    size_t bands;
};

/* A worker's lists. */
struct listed {
    uint16_t *at;     /* [r][units][weights][list_room] */
    size_t *count;    /* [r][units][weights] */
    int32_t *total;   /* [r][ow] sum of magnitudes of each pixel */
    int32_t *column;  /* [ow + 2 (r - 1)] */
    int32_t *seen;    /* [w] */
    uint16_t *joined; /* [UNITS][weights][joined_room] */
    int32_t *sums;    /* of a unit, [parts][512] */
};

static struct units units_of(const struct bp_bconv *op) {
    const struct bp_conv_shape *s = &op->shape;
    struct units u = {.pixels = op->cw >= BP_ROW_WORDS ? 1 : BP_ROW_WORDS / op->cw};
    u.pixels = bp_min_size(u.pixels, s->w);
    u.units = (s->w + u.pixels - 1) / u.pixels;
    u.columns = u.pixels + s->r - 1;
    u.parts = (op->cw + BP_ROW_WORDS - 1) / BP_ROW_WORDS;
    u.step = (s->k + 63) / 64 * 128;
    u.part_rows = s->r * u.columns * u.step + 1;
    u.weights = bp_nonzero_weights(op->quant_da.bits);
    u.list_room = bp_round_up(u.columns * s->k + 64, 32);
    u.joined_room = bp_round_up(s->r * u.columns * s->k + 128, 32);
    return u;
}

/* Counts of less than 24 bits; rows that 16 bits number. */
int bp_dgrad_nonzero_possible(const struct bp_bconv *op) {
    return op->backward && op->method_da == BP_PRODUCT_LOOKUP &&
           op->quant_da.grid == BP_GRID_ZERO && op->taps * op->shape.k < MOST_DIGITS &&
           op->shape.c % 64 == 0 && op->shape.stride == 1 &&
           units_of(op).part_rows <= (size_t)UINT16_MAX + 1;
}

size_t bp_dgrad_nonzero_rows(const struct bp_bconv *op) {
    struct units u = units_of(op);
    return u.parts * u.part_rows;
}

/* --- rows ------------------------------------------------------------------------------------- */

/* The words of a row that are not zero, from word `at` on: those of the taps from `tap` on. */
struct filled {
    size_t at, words, tap;
};

static struct filled filled_of(const struct bp_bconv *op, const struct units *u, size_t part,
                               size_t column) {
    const size_t r = op->shape.r, last = r - 1 - column;        /* tap of pixel 0, wraps below 0 */
    const size_t first = column > r - 1 ? column - (r - 1) : 0; /* the first pixel that has one */
    const size_t end = bp_min_size(column + 1, u->pixels);
    const size_t words = u->pixels > 1 ? (end - first) * op->cw
                                       : bp_min_size(op->cw - part * BP_ROW_WORDS, BP_ROW_WORDS);
    return (struct filled){first * op->cw, words, first + last};
}

/* Items are (part, seen row, column). */
static void fill_rows(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    const struct nonzero_job *job = context;
    const struct bp_bconv *op = job->op;
    const struct units *u = &job->u;
    const size_t r = op->shape.r, of_part = r * u->columns;
    for (size_t item = begin; item < end; item++) {
        const size_t part = item / of_part, seen = item % of_part / u->columns;
        const struct filled filled = filled_of(op, u, part, item % u->columns);
        const uint64_t *bits =
            op->bits + ((r - 1 - seen) * r + filled.tap) * op->cw + part * BP_ROW_WORDS;
        uint64_t *rows =
            op->rows_t + (part * u->part_rows + item % of_part * u->step) * BP_ROW_WORDS;
        for (size_t k = 0; k < op->shape.k; k++, bits += op->taps * op->cw) {
            uint64_t *row = rows + (k / 64 * 128 + k % 64) * BP_ROW_WORDS;
            uint64_t *minus = row + BP_ROW_MINUS * BP_ROW_WORDS;
            for (size_t j = 0; j < BP_ROW_WORDS; j++) {
                const int inside = j - filled.at < filled.words;
                row[j] = inside ? bits[j - filled.at] : 0;
                minus[j] = inside ? ~row[j] : 0;
            }
        }
        if (item % of_part == 0)
            memset(rows + (u->part_rows - 1) * BP_ROW_WORDS, 0, BP_ROW_WORDS * sizeof *rows);
    }
}

/* --- lists ------------------------------------------------------------------------------------ */

size_t bp_dgrad_nonzero_scratch_bytes(const struct bp_bconv *op) {
    const struct units u = units_of(op);
    const size_t r = op->shape.r, lists = r * u.units * u.weights;
    return bp_round_up(lists * u.list_room * sizeof(uint16_t), 64) +
           bp_round_up(lists * sizeof(size_t), 64) +
           bp_round_up(r * op->shape.ow * sizeof(int32_t), 64) +
           bp_round_up((op->shape.ow + 2 * (r - 1)) * sizeof(int32_t), 64) +
           bp_round_up(op->shape.w * sizeof(int32_t), 64) +
           bp_round_up(UNITS * u.weights * u.joined_room * sizeof(uint16_t), 64) +
           u.parts * BP_ROW_WORDS * 64 * sizeof(int32_t);
}

static struct listed carve(void *scratch, const struct bp_bconv *op, const struct units *u) {
    struct bp_carver carver = {scratch};
    const size_t r = op->shape.r, lists = r * u->units * u->weights;
    struct listed l;
    l.at = bp_carve(&carver, lists * u->list_room * sizeof *l.at);
    l.count = bp_carve(&carver, lists * sizeof *l.count);
    l.total = bp_carve(&carver, r * op->shape.ow * sizeof *l.total);
    l.column = bp_carve(&carver, (op->shape.ow + 2 * (r - 1)) * sizeof *l.column);
    l.seen = bp_carve(&carver, op->shape.w * sizeof *l.seen);
    l.joined = bp_carve(&carver, UNITS * u->weights * u->joined_room * sizeof *l.joined);
    l.sums = bp_carve(&carver, u->parts * BP_ROW_WORDS * 64 * sizeof *l.sums);
    return l;
}

/* Columns of the gradient that a unit sees, and which of J is the first that there is. */
struct seen {
    size_t first, count, column;
};

static struct seen columns_seen(const struct nonzero_job *job, size_t unit) {
    const struct bp_conv_shape *s = &job->op->shape;
    /* from x0 + pad - (r - 1) on, which may be negative */
    const size_t from = unit * job->u.pixels + s->pad, back = s->r - 1;
    struct seen seen = {from > back ? from - back : 0, 0, from > back ? 0 : back - from};
    const size_t end = bp_min_size(from + job->u.pixels, s->ow);
    seen.count = end > seen.first ? end - seen.first : 0;
    return seen;
}

/* Lists row y of a sample's gradient, for each unit that sees it. */
static void list_gradient_row(const struct nonzero_job *job, const struct listed *l,
                              const uint8_t *codes, size_t y) {
    const struct bp_conv_shape *s = &job->op->shape;
    const struct units *u = &job->u;
    const size_t ring = y % s->r;
    int32_t *total = l->total + ring * s->ow;
    for (size_t unit = 0; unit < u->units; unit++) {
        const struct seen seen = columns_seen(job, unit);
        const size_t lists = (ring * u->units + unit) * u->weights;
        job->exec->kernels.list_row(codes + (y * s->ow + seen.first) * s->k, seen.count, s->k,
                                    u->weights, seen.column * u->step, u->step,
                                    l->at + lists * u->list_room, u->list_room, l->count + lists,
                                    total + seen.first);
    }
}

/* The rows of the gradient that row y of dA sees: first .. end - 1. */
static void rows_seen(const struct bp_conv_shape *s, size_t y, size_t *first, size_t *end) {
    *first = y + s->pad > s->r - 1 ? y + s->pad - (s->r - 1) : 0;
    *end = bp_min_size(y + s->pad + 1, s->oh);
}

/* --- product ---------------------------------------------------------------------------------- */

/* Joins the lists that a unit of row y sees. */
static void join(const struct nonzero_job *job, const struct listed *l, size_t y, size_t unit,
                 uint16_t *joined, size_t *count) {
    const struct bp_conv_shape *s = &job->op->shape;
    const struct units *u = &job->u;
    struct bp_row_lists lists[BP_TAPS_MAX];
    size_t first, end, n = 0;
    rows_seen(s, y, &first, &end);
    for (size_t row = first; row < end; row++, n++) {
        const size_t list = (row % s->r * u->units + unit) * u->weights;
        const size_t seen = row + s->r - 1 - y - s->pad;
        lists[n] = (struct bp_row_lists){l->at + list * u->list_room, u->list_room, l->count + list,
                                         seen * u->columns * u->step};
    }
    job->exec->kernels.join_rows(lists, n, u->weights, (uint16_t)(u->part_rows - 1), joined,
                                 u->joined_room, count);
}

/* The sums of magnitudes that the pixels of row y of dA see: l->seen. */
static void add_totals(const struct nonzero_job *job, const struct listed *l, size_t y) {
    const struct bp_conv_shape *s = &job->op->shape;
    const size_t r = s->r;
    int32_t *sum = l->column; /* of column x of the gradient at r - 1 + x, zeros beside it */
    size_t first, end;
    rows_seen(s, y, &first, &end);
    memset(sum, 0, (s->ow + 2 * (r - 1)) * sizeof *sum);
    for (size_t row = first; row < end; row++)
        for (size_t x = 0; x < s->ow; x++)
            sum[r - 1 + x] += l->total[row % r * s->ow + x];
    memset(l->seen, 0, s->w * sizeof *l->seen);
    for (size_t t = 0; t < r; t++)
        for (size_t x = 0; x < s->w; x++) /* column x + pad - t */
            l->seen[x] += sum[r - 1 + x + s->pad - t];
}

/* Some pixels of a sample, side by side, from `at` of the image on. */
static void unit_product(const struct nonzero_job *job, const struct listed *l,
                         const uint16_t *joined, const size_t *count, size_t sample, size_t at,
                         size_t pixels) {
    struct bp_bconv *op = job->op;
    const struct bp_kernels *kernels = &job->exec->kernels;
    const struct units *u = &job->u;
    const size_t flat = sample * op->shape.h * op->shape.w + at, c = op->shape.c;
    const uint64_t *mask = job->mask + flat * op->cw;
    const int32_t *total = l->seen + at % op->shape.w;
    for (size_t part = 0; part < u->parts; part++) {
        const size_t word = part * BP_ROW_WORDS;
        const size_t words = bp_min_size(pixels * op->cw - word, BP_ROW_WORDS);
        const uint64_t *rows = op->rows_t + part * u->part_rows * BP_ROW_WORDS;
        if (job->dx_sums != NULL && op->shift_da == 0)
            kernels->product_rows(rows, u->weights, joined, u->joined_room, count, total, op->cw,
                                  words, mask + word, job->dx_sums + flat * c + 64 * word);
        else
            kernels->product_rows_i32(rows, u->weights, joined, u->joined_room, count, total,
                                      op->cw, words, l->sums + 64 * word);
    }
    if (job->dx_sums != NULL && op->shift_da > 0)
        kernels->mask_sums(l->sums, mask, pixels, c, op->shift_da, job->dx_sums + flat * c);
    else if (job->dx_sums == NULL) /* on a grid with zero nothing is added to the sums */
        kernels->scale_mask(l->sums, mask, pixels, c, op->groups_da[sample].scale, job->zeros,
                            op->zero_class + at, job->dx + flat * c);
}

/* Row y of a sample's dA. */
static void row_product(const struct nonzero_job *job, const struct listed *l, size_t sample,
                        size_t y) {
    const struct bp_bconv *op = job->op;
    const struct bp_conv_shape *s = &op->shape;
    const struct units *u = &job->u;
    const size_t lists = u->weights * u->joined_room;
    size_t count[UNITS][u->weights];
    add_totals(job, l, y);
    for (size_t first = 0; first < u->units; first += UNITS) {
        const size_t units = bp_min_size(UNITS, u->units - first);
        for (size_t i = 0; i < units; i++)
            join(job, l, y, first + i, l->joined + i * lists, count[i]);
        for (size_t i = 0; i < units; i++) {
            const size_t x0 = (first + i) * u->pixels, pixels = bp_min_size(u->pixels, s->w - x0);
            unit_product(job, l, l->joined + i * lists, count[i], sample, y * s->w + x0, pixels);
        }
    }
}

/* Items are (kept sample, band of rows). */
static void product_part(void *context, size_t begin, size_t end, int thread) {
    const struct nonzero_job *job = context;
    const struct bp_bconv *op = job->op;
    const struct bp_conv_shape *s = &op->shape;
    const struct listed l = carve(bp_exec_scratch(job->exec, thread), op, &job->u);
    for (size_t item = begin; item < end; item++) {
        const size_t slot = item / job->bands, band = item % job->bands;
        const size_t sample = (size_t)op->sample_of_slot[slot];
        const uint8_t *codes = op->codes_da + slot * bp_dgrad_sample_bytes(op);
        size_t first, last, listed;
        rows_seen(s, band * s->h / job->bands, &listed, &last);
        for (size_t y = band * s->h / job->bands; y < (band + 1) * s->h / job->bands; y++) {
            rows_seen(s, y, &first, &last);
            for (; listed < last; listed++)
                list_gradient_row(job, &l, codes, listed);
            row_product(job, &l, sample, y);
        }
    }
}

void bp_dgrad_nonzero_run(struct bp_bconv *op, struct bp_exec *exec, const uint64_t *mask,
                          float *dx, const struct bp_bconv_sums *dx_sums) {
    struct nonzero_job job = {.op = op, .exec = exec, .mask = mask, .dx = dx};
    const size_t threads = (size_t)bp_threads_count(exec->threads);
    const size_t wanted = BANDS_A_THREAD * threads;
    job.dx_sums = dx_sums != NULL ? dx_sums->sums : NULL;
    job.zeros = op->offset_table + threads * op->classes * op->shape.c;
    job.u = units_of(op);
    job.bands = bp_min_size((wanted + op->kept_da - 1) / op->kept_da,
                            (op->shape.h + FEWEST_ROWS - 1) / FEWEST_ROWS);
    bp_parallel_for(exec->threads, job.u.parts * op->shape.r * job.u.columns, fill_rows, &job);
    bp_parallel_for(exec->threads, op->kept_da * job.bands, product_part, &job);
}

int bp_dgrad_nonzero_pays(const struct bp_bconv *op, const struct bp_exec *exec, double passes) {
    const struct bp_conv_shape *s = &op->shape;
    const size_t weights = bp_nonzero_weights(op->quant_da.bits);
    double taps = (double)bp_bconv_joined_pixels(op) / (double)(s->h * s->w);
    return bp_dgrad_nonzero_possible(op) &&
           bp_product_zeros_pay_activations(
               exec->tier, s->k, op->kept_da * s->h * s->w, s->r, taps, op->cw, passes, weights,
               bp_bconv_set_digits(op->codes_da, op->kept_da * s->oh * s->ow, s->k, weights));
}
