/* The weight gradient's product: rows of codes by lanes of signs, over positions, for all taps:
 * what they multiply is in the first cache. Two tiles of codes by two of signs at a time; up to 16
 * rows, one by four. */
#include "kernels/x86/tier_amx.h"

#include "kernels/x86/vec_amx.h"

struct operands {
    const uint8_t *codes;
    size_t pitch;
    const struct bp_run *runs;
    size_t n_runs;
    const int8_t *x;
    size_t plane;
};

/* Where the sums are: in y, or a copy. */
struct place {
    int32_t *at;
    size_t pitch; /* bytes */
    size_t rows;
    int add; /* to what is there */
};

struct sums {
    int32_t of[2 * BP_TILE_ROWS][64];
} __attribute__((aligned(64)));

/* Rows by lanes of a product, in tiles of sums; constants after inlining. */
enum form { TWO_BY_TWO, ONE_BY_FOUR, ONE_BY_TWO };

/* Beside a step, four rows of the sums that come next, of 32 lanes: eight steps fetch them all. */
BP_INLINE void fetch_next(struct place *next) {
    for (size_t i = 0; i < 4 && next->rows > 0; i++, next->rows--) {
        _mm_prefetch(next->at, _MM_HINT_T0);
        _mm_prefetch(next->at + 16, _MM_HINT_T0);
        next->at += next->pitch / sizeof *next->at;
    }
}

BP_INLINE void multiply_form(const struct operands *o, const struct place *y, struct place next,
                             enum form form, int is_signed) {
    int32_t *third =
        form == TWO_BY_TWO ? y->at + BP_TILE_ROWS * y->pitch / sizeof *third : y->at + 32;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    if (y->add) {
        _tile_loadd(0, y->at, y->pitch);
        _tile_loadd(1, y->at + 16, y->pitch);
    }
    if (y->add && form != ONE_BY_TWO) {
        _tile_loadd(2, third, y->pitch);
        _tile_loadd(3, third + 16, y->pitch);
    }
    for (size_t r = 0; r < o->n_runs; r++) {
        const uint8_t *codes = o->codes + o->runs[r].table;
        const int8_t *x = o->x + o->runs[r].index;
        for (int32_t s = 0; s < o->runs[r].count; s++, codes += 64, x += TILE_BYTES) {
            _tile_loadd(4, codes, o->pitch);
            _tile_loadd(6, x, 64);
            MULTIPLY_TILES(0, 4, 6);
            _tile_loadd(7, x + o->plane, 64);
            MULTIPLY_TILES(1, 4, 7);
            fetch_next(&next);
            if (form == TWO_BY_TWO) {
                _tile_loadd(5, codes + 16 * o->pitch, o->pitch);
                MULTIPLY_TILES(2, 5, 6);
                MULTIPLY_TILES(3, 5, 7);
            } else if (form == ONE_BY_FOUR) {
                _tile_loadd(6, x + 2 * o->plane, 64);
                MULTIPLY_TILES(2, 4, 6);
                _tile_loadd(7, x + 3 * o->plane, 64);
                MULTIPLY_TILES(3, 4, 7);
            }
        }
    }
    _tile_stored(0, y->at, y->pitch);
    _tile_stored(1, y->at + 16, y->pitch);
    if (form != ONE_BY_TWO) {
        _tile_stored(2, third, y->pitch);
        _tile_stored(3, third + 16, y->pitch);
    }
}

/* Rows of y to the copy, or back; lanes beyond c are left alone. */
BP_INLINE void copy_rows(const struct place *y, size_t k, size_t c, struct sums *sums, int back) {
    int32_t *row = y->at;
    for (size_t i = 0; i < k; i++, row += y->pitch / sizeof *row)
        for (size_t j = 0; j < c; j += 16) {
            __mmask16 mask = mask_16(c - j);
            int32_t *copy = sums->of[i] + j;
            if (back)
                _mm512_mask_storeu_epi32(row + j, mask, _mm512_load_si512(copy));
            else
                _mm512_store_si512(copy, _mm512_maskz_loadu_epi32(mask, row + j));
        }
}

/* Whether the tiles of sums lie in y, none of their rows and lanes beyond it. */
BP_INLINE int is_whole(size_t k, size_t c) {
    return k % BP_TILE_ROWS == 0 && c % 32 == 0;
}

/* A tap, with lanes that a call of the above multiplies; next: the sums of the call behind. */
BP_INLINE void multiply(const struct operands *o, struct place y, struct place next, int is_signed,
                        size_t c, struct sums *sums) {
    size_t k = y.rows;
    struct place copy = {sums->of[0], sizeof sums->of[0], k, y.add}, to = is_whole(k, c) ? y : copy;
    if (!is_whole(k, c) && y.add)
        copy_rows(&y, k, c, sums, 0);
    if (k > BP_TILE_ROWS)
        multiply_form(o, &to, next, TWO_BY_TWO, is_signed);
    else if (c > 32)
        multiply_form(o, &to, next, ONE_BY_FOUR, is_signed);
    else
        multiply_form(o, &to, next, ONE_BY_TWO, is_signed);
    if (!is_whole(k, c))
        copy_rows(&y, k, c, sums, 1);
}

BP_INLINE void turned(struct operands o, const size_t *begin, size_t taps, int is_signed, int add,
                      size_t k, size_t c, int32_t *y, size_t y_stride, size_t y_tap) {
    const struct bp_run *runs = o.runs;
    size_t lanes = k > BP_TILE_ROWS ? 32 : 64;
    struct place at = {y, y_stride * sizeof *y, k, add};
    struct sums sums; /* the tiles' rows and lanes beyond y begin with anything, and stay here */
    if (!is_whole(k, c))
        memset(&sums, 0, sizeof sums);
    configure_tiles();
    for (size_t lane = 0; lane < c; lane += lanes, o.x += 2 * o.plane)
        for (size_t t = 0; t < taps; t++) {
            struct place next = at;
            next.at = t + 1 < taps ? at.at + y_tap : y + lane + lanes;
            next.rows = t + 1 < taps || lane + lanes < c ? k : 0;
            o.runs = runs + begin[t];
            o.n_runs = begin[t + 1] - begin[t];
            multiply(&o, at, next, is_signed, c - lane < lanes ? c - lane : lanes, &sums);
            at = next;
            at.rows = k;
        }
    _tile_release();
}

void bp_product_turned_amx(const uint8_t *codes, int is_signed, int add, size_t k, size_t pitch,
                           const struct bp_run *runs, const size_t *begin, size_t taps,
                           const int8_t *x, size_t plane, size_t c, int32_t *y, size_t y_stride,
                           size_t y_tap) {
    const struct operands o = {codes, pitch, runs, 0, x, plane};
    if (is_signed)
        turned(o, begin, taps, 1, add, k, c, y, y_stride, y_tap);
    else
        turned(o, begin, taps, 0, add, k, c, y, y_stride, y_tap);
}
