/* Products of bfloat16 on tiles: 32 rows by 32 lanes in four tiles of sums. */
#include "kernels/x86/tier_amx.h"

#include "base/bits.h"
#include "kernels/x86/fetch_x86.h"
#include "kernels/x86/vec_amx.h"

#define STEP       32 /* contracted elements */
#define TILE_UNITS (TILE_BYTES / sizeof(uint16_t))

struct operands {
    const uint16_t *w;
    size_t x_stride, y_stride, steps, c;
    int add;
    struct bp_fetch soon;
    size_t soon_bytes; /* of it, beside a step */
};

BP_INLINE void load_sums(const float *first, const float *second, size_t pitch) {
    _tile_loadd(0, first, pitch);
    _tile_loadd(1, first + 16, pitch);
    if (second != NULL) {
        _tile_loadd(2, second, pitch);
        _tile_loadd(3, second + 16, pitch);
    }
}

BP_INLINE void clear_sums(void) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

BP_INLINE void store_sums(float *first, float *second, size_t pitch) {
    _tile_stored(0, first, pitch);
    _tile_stored(1, first + 16, pitch);
    if (second != NULL) {
        _tile_stored(2, second, pitch);
        _tile_stored(3, second + 16, pitch);
    }
}

/* One or two blocks of rows by 32 lanes; w: theirs. */
BP_INLINE void multiply_rows(struct operands *o, const uint16_t *x, const uint16_t *w, int two,
                             float *y) {
    size_t x_bytes = o->x_stride * sizeof *x, y_bytes = o->y_stride * sizeof *y;
    const uint16_t *below = x + BP_TILE_ROWS * o->x_stride;
    float *y_below = two ? y + BP_TILE_ROWS * o->y_stride : NULL;
    if (o->add)
        load_sums(y, y_below, y_bytes);
    else
        clear_sums();
    for (size_t s = 0; s < o->steps; s++, x += STEP, below += STEP, w += TILE_UNITS) {
        _tile_loadd(4, x, x_bytes);
        _tile_loadd(6, w, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, w + o->steps * TILE_UNITS, 64);
        _tile_dpbf16ps(1, 4, 7);
        fetch_soon(&o->soon, o->soon_bytes);
        if (two) {
            _tile_loadd(5, below, x_bytes);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    store_sums(y, y_below, y_bytes);
}

/* All lanes of n rows, as many blocks of 32, or less, as tiles are configured for. */
BP_INLINE void multiply_all(struct operands *o, const uint16_t *x, size_t n, int two, float *y) {
    for (size_t j = 0; j < o->c; j += 32)
        for (size_t i = 0; i < n; i += 2 * BP_TILE_ROWS)
            multiply_rows(o, x + i * o->x_stride, o->w + j * o->steps * STEP, two,
                          y + i * o->y_stride + j);
}

void bp_product_bf16_amx(const uint16_t *x, size_t n, size_t x_stride, const uint16_t *w,
                         size_t steps, size_t c, int add, float *y, size_t y_stride,
                         struct bp_fetch soon) {
    size_t whole = n / 32 * 32, rest = n - whole;
    size_t all_steps = (n + 31) / 32 * (c / 32) * steps;
    struct operands o = {w, x_stride, y_stride, steps, c, add, soon, fetch_share(&soon, all_steps)};
    if (whole > 0) {
        configure_tiles();
        multiply_all(&o, x, whole, 1, y);
    }
    x += whole * x_stride;
    y += whole * y_stride;
    if (rest > BP_TILE_ROWS) {
        configure_rows(BP_TILE_ROWS, rest - BP_TILE_ROWS);
        multiply_all(&o, x, rest, 1, y);
    } else if (rest > 0) {
        configure_rows(rest, BP_TILE_ROWS);
        multiply_all(&o, x, rest, 0, y);
    }
    _tile_release();
}
