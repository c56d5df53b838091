/* Products of rows of bytes with spread weights: 32 rows by 32 lanes in four tiles of sums. A step
 * loads two tiles of each side and multiplies them four times: 32 cycles of loads behind 64 of
 * products. The taps are the inner loop: neighbours see almost the same rows, which are in the
 * first cache then. */
#include "kernels/x86/tier_amx.h"

#include "kernels/x86/fetch_x86.h"
#include "kernels/x86/vec_amx.h"

struct sums {
    int32_t of[4][BP_TILE_ROWS][16]; /* [block][lanes / 16] */
} __attribute__((aligned(64)));

/* Where rows of a product's result go, one by one: y + to[i] * pitch bytes. */
struct places {
    uintptr_t y, pitch;
    const int32_t *to, *end;
};

/* Rows that go nowhere, at -1, are fetched as any: an address that is not there does no harm. */
BP_INLINE void fetch_places(struct places *places, size_t lines) {
    for (; lines > 0 && places->to < places->end; lines--, places->to++)
        _mm_prefetch((const char *)(places->y + (uintptr_t)*places->to * places->pitch),
                     _MM_HINT_T1);
}

struct operands {
    const uint8_t *x;
    size_t pitch, step;
    const int32_t *tap, *tap_w;
    size_t taps, steps;
    const int8_t *w;
    const int32_t *start; /* or NULL */
    size_t lines;         /* to fetch beside a step, of soon, unless NULL, and of places */
    struct bp_fetch *soon;
    struct places places;
};

/* The same in every row. */
BP_INLINE void start_sums(const int32_t *start) {
    if (start != NULL) {
        _tile_loadd(0, start, 0);
        _tile_loadd(1, start + 16, 0);
        _tile_loadd(2, start, 0);
        _tile_loadd(3, start + 16, 0);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
}

/* Blocks at `first` and, if there are two, at `second`: tiles 0 and 1, 2 and 3. */
BP_INLINE void multiply_blocks(const struct operands *o, size_t first, size_t second, int two,
                               int is_signed) {
    start_sums(o->start);
    struct places places = o->places;
    struct wake wake;
    wake.left = STEPS_AWAKE;
    for (size_t s = 0; s < o->steps; s++)
        for (size_t t = 0; t < o->taps; t++) {
            const uint8_t *x = o->x + (ptrdiff_t)o->tap[t] + s * o->step;
            const int8_t *w = o->w + ((size_t)o->tap_w[t] * o->steps + s) * 2 * TILE_BYTES;
            _tile_loadd(4, x + first, o->pitch);
            _tile_loadd(6, w, 64);
            MULTIPLY_TILES(0, 4, 6);
            _tile_loadd(7, w + TILE_BYTES, 64);
            MULTIPLY_TILES(1, 4, 7);
            fetch_places(&places, o->lines);
            fetch_soon(o->soon, 64 * o->lines);
            stay_awake(&wake);
            if (two) {
                _tile_loadd(5, x + second, o->pitch);
                MULTIPLY_TILES(2, 5, 6);
                MULTIPLY_TILES(3, 5, 7);
            }
        }
}

/* `pitch` bytes between rows; with two blocks each has its place. */
BP_INLINE void store_tiles(int32_t *first, int32_t *second, size_t half, size_t pitch) {
    _tile_stored(0, first, pitch);
    _tile_stored(1, first + half, pitch);
    if (second != NULL) {
        _tile_stored(2, second, pitch);
        _tile_stored(3, second + half, pitch);
    }
}

/* The blocks from `b` on, one or two; returns how many. */
BP_INLINE size_t sums_of(const struct operands *o, const struct bp_tile_blocks *blocks, size_t b,
                         int is_signed) {
    size_t first = (size_t)blocks->at[b];
    if (b + 1 == blocks->count) {
        multiply_blocks(o, first, 0, 0, is_signed);
        return 1;
    }
    multiply_blocks(o, first, (size_t)blocks->at[b + 1], 1, is_signed);
    return 2;
}

BP_INLINE void store_sums(struct sums *sums, size_t n) {
    store_tiles(sums->of[0][0], n == 2 ? sums->of[2][0] : NULL, BP_TILE_ROWS * (size_t)16, 64);
}

/* Lines to fetch beside each of some steps: more at once would keep the tiles waiting. */
BP_INLINE size_t even_parts(size_t lines, size_t steps) {
    return 1 + (lines - 1) / (steps > 0 ? steps : 1);
}

/* How far apart the places are that rows go to, where all are as far; else 0. */
BP_INLINE int32_t even_distance(const int32_t *to) {
    const __m512i count = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i first = _mm512_set1_epi32(to[0]), apart = _mm512_set1_epi32(to[1] - to[0]);
    __m512i even = _mm512_add_epi32(first, _mm512_mullo_epi32(apart, count));
    int is_even = to[0] >= 0 && to[1] > to[0] &&
                  _mm512_cmpeq_epi32_mask(_mm512_loadu_si512(to), even) == 0xffff;
    return is_even ? to[1] - to[0] : 0;
}

/* Row `row` of a block's 32 sums, which int16 holds. */
BP_INLINE __m512i narrow_row(int32_t of[2][BP_TILE_ROWS][16], size_t row) {
    const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7); /* packed within quarters */
    return _mm512_permutexvar_epi64(
        order, _mm512_packs_epi32(_mm512_load_si512(of[0][row]), _mm512_load_si512(of[1][row])));
}

/* Rows of int16, as many of their lanes as there are, or as the mask wants. */
struct rows_i16 {
    int16_t *y;
    size_t stride;
    __mmask32 lanes;
    const struct bp_lane_mask *mask;
};

/* Row `row` of a block, for place `to`; masked: a constant. */
BP_INLINE __m512i wanted_row(const struct rows_i16 *rows, int masked,
                             int32_t of[2][BP_TILE_ROWS][16], size_t row, size_t to) {
    __m512i v = narrow_row(of, row);
    if (!masked)
        return v;
    uint64_t word = rows->mask->words[to * rows->mask->stride];
    return _mm512_maskz_mov_epi16((__mmask32)(word >> rows->mask->shift), v);
}

/* A block's sums. Where the places are as far apart everywhere these are few instructions, so that
 * the next block's products begin meanwhile. */
BP_INLINE void store_i16(const struct rows_i16 *rows, int masked, int32_t of[2][BP_TILE_ROWS][16],
                         const int32_t *to) {
    size_t apart = (size_t)even_distance(to), at = (size_t)to[0];
    if (rows->lanes == 0xffffffff && apart != 0) {
#pragma GCC unroll 16
        for (size_t i = 0; i < BP_TILE_ROWS; i++, at += apart)
            _mm512_storeu_si512(rows->y + at * rows->stride, wanted_row(rows, masked, of, i, at));
        return;
    }
    for (size_t i = 0; i < BP_TILE_ROWS; i++)
        if (to[i] >= 0)
            _mm512_mask_storeu_epi16(rows->y + (size_t)to[i] * rows->stride, rows->lanes,
                                     wanted_row(rows, masked, of, i, (size_t)to[i]));
}

BP_INLINE void tiles_i16(struct operands *o, const struct bp_tile_blocks *blocks, int masked,
                         const struct rows_i16 *rows) {
    struct sums sums;
    configure_tiles();
    for (size_t b = 0; b < blocks->count; b += 2) {
        const int32_t *to = blocks->to + b * BP_TILE_ROWS;
        o->places.to = to;
        o->places.end = to + (blocks->count - b < 2 ? 1 : 2) * BP_TILE_ROWS;
        size_t n = sums_of(o, blocks, b, 1);
        store_sums(&sums, n);
        for (size_t i = 0; i < n; i++)
            store_i16(rows, masked, &sums.of[2 * i], to + i * BP_TILE_ROWS);
    }
    _tile_release();
}

void bp_product_tiles_i16_amx(const int8_t *x, const struct bp_tile_blocks *blocks,
                              const int32_t *tap, const int32_t *tap_w, size_t taps, size_t steps,
                              const int8_t *w, const int32_t *start, size_t lanes, int16_t *y,
                              size_t y_stride, const struct bp_lane_mask *mask) {
    struct operands o = {.x = (const uint8_t *)x,
                         .pitch = blocks->pitch,
                         .step = blocks->step,
                         .tap = tap,
                         .tap_w = tap_w,
                         .taps = taps,
                         .steps = steps,
                         .w = w,
                         .start = start,
                         .lines = even_parts(2 * BP_TILE_ROWS, taps * steps),
                         .places = {.y = (uintptr_t)y, .pitch = y_stride * sizeof *y}};
    const struct rows_i16 rows = {y, y_stride, mask_32(lanes), mask};
    if (mask != NULL)
        tiles_i16(&o, blocks, 1, &rows);
    else
        tiles_i16(&o, blocks, 0, &rows);
}

BP_INLINE void store_i32(const struct sums *sums, const int32_t *to, size_t n, size_t lanes,
                         int32_t *y, size_t y_stride) {
    __mmask16 low = mask_16(lanes), high = mask_16(lanes > 16 ? lanes - 16 : 0);
    for (size_t i = 0; i < n * BP_TILE_ROWS; i++) {
        if (to[i] < 0)
            continue;
        const size_t half = i / BP_TILE_ROWS * 2, row = i % BP_TILE_ROWS;
        int32_t *out = y + (size_t)to[i] * y_stride;
        _mm512_mask_storeu_epi32(out, low, _mm512_load_si512(sums->of[half][row]));
        if (high != 0)
            _mm512_mask_storeu_epi32(out + 16, high, _mm512_load_si512(sums->of[half + 1][row]));
    }
}

BP_INLINE void tiles_i32(const struct operands *o, const struct bp_tile_blocks *blocks,
                         int is_signed, size_t lanes, int32_t *y, size_t y_stride) {
    struct sums sums;
    configure_tiles();
    for (size_t b = 0; b < blocks->count; b += 2) {
        const int32_t *to = blocks->to + b * BP_TILE_ROWS;
        size_t n = sums_of(o, blocks, b, is_signed);
        if (lanes == BP_LANES && even_distance(to) == 1 &&
            (n == 1 || even_distance(to + BP_TILE_ROWS) == 1)) {
            store_tiles(y + (size_t)to[0] * y_stride,
                        n == 2 ? y + (size_t)to[BP_TILE_ROWS] * y_stride : NULL, 16,
                        y_stride * sizeof *y);
        } else {
            store_sums(&sums, n);
            store_i32(&sums, to, n, lanes, y, y_stride);
        }
    }
    _tile_release();
}

void bp_product_tiles_i32_amx(const uint8_t *x, int is_signed, const struct bp_tile_blocks *blocks,
                              const int32_t *tap, const int32_t *tap_w, size_t taps, size_t steps,
                              const int8_t *w, size_t lanes, int32_t *y, size_t y_stride,
                              struct bp_fetch *soon) {
    const size_t lines = 2 * BP_TILE_ROWS * BP_LANES * sizeof *y / 64; /* of two blocks */
    const struct operands o = {.x = x,
                               .pitch = blocks->pitch,
                               .step = blocks->step,
                               .tap = tap,
                               .tap_w = tap_w,
                               .taps = taps,
                               .steps = steps,
                               .w = w,
                               .soon = soon,
                               .lines = even_parts(lines, taps * steps)};
    if (is_signed)
        tiles_i32(&o, blocks, 1, lanes, y, y_stride);
    else
        tiles_i32(&o, blocks, 0, lanes, y, y_stride);
}
