/* Products of bfloat16 as fused multiplications and additions of floats, for processors without
 * tiles; and the operands of both. AVX512_BF16 has another order of sums, and is slower on Intel's
 * (docs/KERNELS.md, "Products of bfloat16"). */
#include "kernels/x86/tier_avx512.h"

#include "base/bits.h"
#include "kernels/x86/fetch_x86.h"
#include "kernels/x86/vec_avx512.h"

enum { STEP = 32 /* contracted elements */ };

/* --- operands --------------------------------------------------------------------------------- */

/* 32 elements of row p; zeros where there is none. */
BP_INLINE __m512i row_or_zeros(const uint16_t *x, size_t p, size_t n, size_t stride) {
    return p < n ? _mm512_loadu_si512(x + p * stride) : _mm512_setzero_si512();
}

void bp_pack_bf16_avx512(const uint16_t *x, size_t n, size_t c, size_t stride, uint16_t *out) {
    /* Pairs of two rows are made in quarters of a vector: 0 1 4 5 and 2 3 6 7 of eight. */
    const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    const __m512i high = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    size_t rows = bp_round_up(n, STEP), block = rows * 16;
    for (size_t j = 0; j < c; j += 32, x += 32, out += 2 * block)
        for (size_t p = 0; p < rows; p += 2) {
            __m512i even = row_or_zeros(x, p, n, stride), odd = row_or_zeros(x, p + 1, n, stride);
            __m512i a = _mm512_unpacklo_epi16(even, odd), b = _mm512_unpackhi_epi16(even, odd);
            _mm512_store_si512(out + p * 16, _mm512_permutex2var_epi64(a, low, b));
            _mm512_store_si512(out + block + p * 16, _mm512_permutex2var_epi64(a, high, b));
        }
}

/* Rows i and i + 16 of v become its vectors 2 i and 2 i + 1 with their elements in turn. */
BP_INLINE void zip(const __m512i v[32], __m512i to[32]) {
    const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    const __m512i high = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
#pragma GCC unroll 16
    for (size_t i = 0; i < 16; i++) {
        __m512i a = _mm512_unpacklo_epi16(v[i], v[i + 16]);
        __m512i b = _mm512_unpackhi_epi16(v[i], v[i + 16]);
        to[2 * i] = _mm512_permutex2var_epi64(a, low, b);
        to[2 * i + 1] = _mm512_permutex2var_epi64(a, high, b);
    }
}

/* Five times zipped, 32 rows have become their 32 columns. */
BP_INLINE void turn_block(const uint16_t *x, size_t n, size_t stride, uint16_t *out, size_t pitch) {
    __m512i a[32], b[32];
    for (size_t i = 0; i < 32; i++)
        a[i] = row_or_zeros(x, i, n, stride);
    zip(a, b);
    zip(b, a);
    zip(a, b);
    zip(b, a);
    zip(a, b);
    for (size_t i = 0; i < 32; i++)
        _mm512_storeu_si512(out + i * pitch, b[i]);
}

void bp_turn_bf16_avx512(const uint16_t *x, size_t n, size_t c, size_t stride, uint16_t *out,
                         size_t pitch) {
    for (size_t i = 0; i < n; i += STEP)
        for (size_t j = 0; j < c; j += 32)
            turn_block(x + i * stride + j, n - i, stride, out + j * pitch + i, pitch);
}

/* --- product ---------------------------------------------------------------------------------- */

enum {
    ROWS = 6, /* by 32 lanes, sums of two kinds: 24 registers */
    CHUNK = 16 /* steps whose rows are floats at once */,
    ROW_FLOATS = CHUNK * STEP + 16 /* rows begin in different lines of the cache */
};

BP_INLINE void widen_row(const uint16_t *x, size_t count, float *out) {
    for (size_t i = 0; i < count; i += 16)
        _mm512_store_ps(out + i, load_y(x, i, VALUE_BF16, 0xffff));
}

/* A step of `rows` (a constant) rows by 32 lanes; w: of the first 16, `lane_block` elements before
 * those of the others. Products are exact, so that fused or not is the same. */
BP_INLINE void multiply_step(const float *x, int rows, const uint16_t *w, size_t lane_block,
                             int add, float *y, size_t y_stride) {
    const __m512i high = _mm512_set1_epi32((int)0xffff0000);
    __m512 even[ROWS][2], odd[ROWS][2];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
        even[r][0] = even[r][1] = odd[r][0] = odd[r][1] = _mm512_setzero_ps();
    for (size_t q = 0; q < STEP / 2; q++, x += 2, w += 32) {
        __m512i a = _mm512_load_si512(w), b = _mm512_load_si512(w + lane_block);
        __m512 a0 = _mm512_castsi512_ps(_mm512_slli_epi32(a, 16));
        __m512 b0 = _mm512_castsi512_ps(_mm512_slli_epi32(b, 16));
        __m512 a1 = _mm512_castsi512_ps(_mm512_and_si512(a, high));
        __m512 b1 = _mm512_castsi512_ps(_mm512_and_si512(b, high));
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            __m512 v = _mm512_set1_ps(x[r * ROW_FLOATS]);
            even[r][0] = _mm512_fmadd_ps(v, a0, even[r][0]);
            even[r][1] = _mm512_fmadd_ps(v, b0, even[r][1]);
            v = _mm512_set1_ps(x[r * ROW_FLOATS + 1]);
            odd[r][0] = _mm512_fmadd_ps(v, a1, odd[r][0]);
            odd[r][1] = _mm512_fmadd_ps(v, b1, odd[r][1]);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++, y += y_stride)
        for (int v = 0; v < 2; v++) {
            __m512 sum = add ? _mm512_loadu_ps(y + 16 * v) : _mm512_setzero_ps();
            sum = _mm512_add_ps(sum, _mm512_add_ps(even[r][v], odd[r][v]));
            _mm512_storeu_ps(y + 16 * v, sum);
        }
}

struct operands {
    const uint16_t *w;
    size_t steps, c, x_stride, y_stride;
    int add;
    struct bp_fetch soon;
    size_t soon_bytes; /* of it, beside a step */
};

/* All steps and lanes of `rows` (a constant) rows. */
BP_INLINE void multiply_rows(struct operands *o, const uint16_t *x, int rows, float *y) {
    float wide[ROWS][ROW_FLOATS] __attribute__((aligned(64)));
    for (size_t first = 0; first < o->steps; first += CHUNK) {
        size_t end = bp_min_size(first + CHUNK, o->steps);
        for (int r = 0; r < rows; r++)
            widen_row(x + (size_t)r * o->x_stride + first * STEP, (end - first) * STEP, wide[r]);
        for (size_t j = 0; j < o->c; j += 32)
            for (size_t s = first; s < end; s++) {
                multiply_step(wide[0] + (s - first) * STEP, rows,
                              o->w + (j / 16 * o->steps + s) * STEP * 16, o->steps * STEP * 16,
                              o->add || s > 0, y + j, o->y_stride);
                fetch_soon(&o->soon, o->soon_bytes);
            }
    }
}

void bp_product_bf16_avx512(const uint16_t *x, size_t n, size_t x_stride, const uint16_t *w,
                            size_t steps, size_t c, int add, float *y, size_t y_stride,
                            struct bp_fetch soon) {
    size_t all_steps = (n / ROWS + n % ROWS) * (c / 32) * steps;
    struct operands o = {w, steps, c, x_stride, y_stride, add, soon, fetch_share(&soon, all_steps)};
    size_t i = 0;
    for (; i + ROWS <= n; i += ROWS)
        multiply_rows(&o, x + i * x_stride, ROWS, y + i * y_stride);
    for (; i < n; i++)
        multiply_rows(&o, x + i * x_stride, 1, y + i * y_stride);
}
