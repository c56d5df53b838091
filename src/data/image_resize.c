/* Each axis is a matrix with few entries a row ("taps"), in 1/2^14. Along x the result keeps 8 more
 * bits than a pixel, along y it is rounded to a pixel; the sums stay within 32 bits:
 * 255 * 2^8 * 2^14 < 2^30. */
#include "data/image_resize.h"

#include <string.h>

#include "base/bits.h"

enum { WEIGHT_BITS = 14, EXTRA_BITS = 8 };

struct axis {
    uint32_t *first;   /* [out] the first source position */
    uint16_t *weights; /* [out][taps]; they sum to 2^14 */
    size_t taps, in, out;
};

static size_t taps_of(size_t in, size_t out) {
    return in > out ? in / out + 2 : 2;
}

static size_t axis_bytes(size_t in, size_t out) {
    return bp_round_up(out * sizeof(uint32_t), 64) +
           bp_round_up(out * taps_of(in, out) * sizeof(uint16_t), 64);
}

/* Each term grows with h and w, so it is enough for all smaller views. */
size_t bp_resize_scratch_bytes(size_t h, size_t w, size_t c, size_t out_h, size_t out_w) {
    return axis_bytes(h, out_h) + axis_bytes(w, out_w) +
           bp_round_up(h * out_w * c * sizeof(uint16_t), 64) +
           bp_round_up(out_w * c * sizeof(uint32_t), 64);
}

/* Output o covers the source from o * in / out to (o + 1) * in / out. Counting in 1/out of a source
 * pixel makes every boundary a whole number; boundaries are rounded to weights, not weights, so
 * that they sum up. */
static void fill_shrinking(struct axis *axis) {
    uint64_t in = axis->in, out = axis->out;
    for (uint64_t o = 0; o < out; o++) {
        uint64_t begin = o * in, end = begin + in, first = begin / out;
        uint64_t before = 0;
        axis->first[o] = (uint32_t)first;
        for (uint64_t t = 0; t < axis->taps; t++) {
            uint64_t edge = (first + t + 1) * out;
            uint64_t covered = edge >= end ? in : edge - begin;
            uint64_t sum = ((covered << WEIGHT_BITS) + in / 2) / in;
            axis->weights[o * axis->taps + t] = (uint16_t)(sum - before);
            before = sum;
        }
    }
}

/* The middle of output o lies at (o + 1/2) * in / out - 1/2 between two source pixels. */
static void fill_growing(struct axis *axis) {
    int64_t in = (int64_t)axis->in, out = (int64_t)axis->out;
    for (int64_t o = 0; o < out; o++) {
        int64_t at = (2 * o + 1) * in - out; /* in 1 / (2 * out) */
        at = at < 0 ? 0 : at > 2 * out * (in - 1) ? 2 * out * (in - 1) : at;
        int64_t first = at / (2 * out), rest = at - first * 2 * out;
        uint16_t second = (uint16_t)(((rest << WEIGHT_BITS) + out) / (2 * out));
        if (first == in - 1 && in > 1) { /* the last pixel alone: as the second of two */
            first--;
            second = 1 << WEIGHT_BITS;
        }
        axis->first[o] = (uint32_t)first;
        axis->weights[2 * o] = (uint16_t)((1 << WEIGHT_BITS) - second);
        axis->weights[2 * o + 1] = second;
    }
}

static uint8_t *make_axis(struct axis *axis, size_t in, size_t out, uint8_t *scratch) {
    *axis = (struct axis){.taps = taps_of(in, out), .in = in, .out = out};
    axis->first = (void *)scratch;
    scratch += bp_round_up(out * sizeof(uint32_t), 64);
    axis->weights = (void *)scratch;
    if (in > out)
        fill_shrinking(axis);
    else
        fill_growing(axis);
    return scratch + bp_round_up(out * axis->taps * sizeof(uint16_t), 64);
}

/* Taps of output o that lie inside the source and may have weight. */
static size_t taps_inside(const struct axis *axis, size_t o) {
    return bp_min_size(axis->taps, axis->in - axis->first[o]);
}

static void resize_row(const struct axis *x, const uint8_t *in, size_t c, uint16_t *out) {
    for (size_t o = 0; o < x->out; o++) {
        const uint8_t *from = in + x->first[o] * c;
        const uint16_t *weights = x->weights + o * x->taps;
        size_t taps = taps_inside(x, o);
        for (size_t j = 0; j < c; j++) {
            uint32_t sum = 1u << (WEIGHT_BITS - EXTRA_BITS - 1);
            for (size_t t = 0; t < taps; t++)
                sum += (uint32_t)weights[t] * from[t * c + j];
            out[o * c + j] = (uint16_t)(sum >> (WEIGHT_BITS - EXTRA_BITS));
        }
    }
}

static void mix_rows(const uint16_t *rows, const uint16_t *weights, size_t taps, size_t n,
                     uint32_t *sums, uint8_t *out) {
    enum { SHIFT = WEIGHT_BITS + EXTRA_BITS };
    for (size_t i = 0; i < n; i++)
        sums[i] = 1u << (SHIFT - 1);
    for (size_t t = 0; t < taps; t++) {
        const uint16_t *row = rows + t * n;
        uint32_t weight = weights[t];
        for (size_t i = 0; i < n; i++)
            sums[i] += weight * row[i];
    }
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(sums[i] >> SHIFT);
}

void bp_resize(const struct bp_view *in, size_t out_h, size_t out_w, uint8_t *out, void *scratch) {
    size_t n = out_w * in->c;
    if (in->h == out_h && in->w == out_w) {
        for (size_t y = 0; y < out_h; y++)
            memcpy(out + y * n, in->pixels + y * in->stride * in->c, n);
        return;
    }
    struct axis x, y;
    uint8_t *next = make_axis(&x, in->w, out_w, scratch);
    next = make_axis(&y, in->h, out_h, next);
    uint16_t *rows = (void *)next; /* [h][out_w][c] */
    uint32_t *sums = (void *)(next + bp_round_up(in->h * n * sizeof(uint16_t), 64));
    for (size_t r = 0; r < in->h; r++)
        resize_row(&x, in->pixels + r * in->stride * in->c, in->c, rows + r * n);
    for (size_t o = 0; o < out_h; o++)
        mix_rows(rows + y.first[o] * n, y.weights + o * y.taps, taps_inside(&y, o), n, sums,
                 out + o * n);
}
