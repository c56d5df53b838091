/* The forward product of three words at a time, AVX-512: with the differences a, b and c of three
 * words and their parity s, which is one exclusive or where the words' parities are known,
 *
 *     popcount(a) + popcount(b) + popcount(c) = popcount(s) + 2 popcount(majority(a, b, c))
 *     majority(a, b, c) = a where a = b, else not s
 *
 *     vpxorq a | vpxorq b | vpxorq s | vpternlogq majority      8 instructions for three words,
 *     vpopcntq s | vpopcntq majority | vpaddq | vpdpbusd        where a word by itself takes three
 *
 * vpdpbusd adds twice a popcount: it is one byte. Blocks of 3 pixels by 32 lanes: 12 sums. The loop
 * is in assembly for its registers and its order (see lookup_avx512.c). */
#include "kernels/x86/tier_avx512.h"

#include "base/bits.h"
#include "kernels/x86/fetch_x86.h"
#include "kernels/x86/vec_avx512.h"

#define PIXELS     3
#define STEP_WORDS ((size_t)3 * BP_LANES) /* of weights */
#define MOST_STEPS 170                    /* rows * cw */

/* Bytes to a step's first word of x, and to its weights in a block of lanes. */
struct step {
    int32_t x, w;
};

struct job {
    const uint64_t *x, *parity;
    const int32_t *pixel, *to;
    size_t cw, k;
    int bias;
    const int16_t *add;
    const uint8_t *add_row;
    int16_t *y;
    size_t steps;
    struct step step[MOST_STEPS];
};

/* clang-format off */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverlength-strings" /* all compilers here take them */
#define WORDS(x, v0, v1, vs)                                                                       \
    "vpbroadcastq (%[" #x "],%[at]), %%zmm" #v0 "\n\t"                                             \
    "vpbroadcastq (%[" #x "],%[next]), %%zmm" #v1 "\n\t"                                           \
    "vpbroadcastq (%[" #x "],%[all]), %%zmm" #vs "\n\t"
#define WEIGHTS(first, second, third)                                                              \
    "vmovdqa64 " #first "(%[weights]), %%zmm25\n\t"                                                \
    "vmovdqa64 " #second "(%[weights]), %%zmm26\n\t"                                               \
    "vmovdqa64 " #third "(%[weights]), %%zmm27\n\t"
#define ADD(FROM, s, v0, v1, vs)                                                                   \
    "vpxorq %%zmm27, %%zmm" #vs ", %%zmm30\n\tvpxorq %%zmm25, %%zmm" #v0 ", %%zmm28\n\t"           \
    "vpxorq %%zmm26, %%zmm" #v1 ", %%zmm29\n\tvpternlogq $0xd4, %%zmm30, %%zmm29, %%zmm28\n\t"     \
    FROM(s) "vpdpbusd %%zmm31, %%zmm28, %[" #s "]\n\t"
#define FROM_ZERO(s) "vpopcntq %%zmm30, %[" #s "]\n\tvpopcntq %%zmm28, %%zmm28\n\t"
#define FROM_SUM(s)                                                                                \
    "vpopcntq %%zmm30, %%zmm30\n\tvpopcntq %%zmm28, %%zmm28\n\tvpaddq %%zmm30, %[" #s "], %[" #s "]\n\t"
#define ADD_THREE(FROM, s0, s1, s2)                                                                \
    ADD(FROM, s0, 16, 17, 18) ADD(FROM, s1, 19, 20, 21) ADD(FROM, s2, 22, 23, 24)
#define STEP(FROM)                                                                                 \
    "movslq (%[step]), %[at]\n\tmovslq 4(%[step]), %[weights]\n\t"                                 \
    "lea (%[at],%[second]), %[next]\n\tlea (%[at],%[parity]), %[all]\n\t"                          \
    "add %[w], %[weights]\n\t"                                                                     \
    WORDS(x0, 16, 17, 18) WORDS(x1, 19, 20, 21) WORDS(x2, 22, 23, 24)                              \
    WEIGHTS(0, 256, 512) ADD_THREE(FROM, s0, s4, s8)                                               \
    WEIGHTS(64, 320, 576) ADD_THREE(FROM, s1, s5, s9)                                              \
    WEIGHTS(128, 384, 640) ADD_THREE(FROM, s2, s6, s10)                                            \
    WEIGHTS(192, 448, 704) ADD_THREE(FROM, s3, s7, s11)                                            \
    "add $8, %[step]\n\tdec %[steps]\n\t"
#define SUM(i) [s##i] "=&v"(sum[i])

/* 3 pixels by 32 lanes: sum[4 * pixel + q], 8 lanes each. Registers: 16 .. 24 the pixels' words, 25
 * to 27 weights, 28 to 30 differences, 31 twos. */
BP_INLINE void sum_three_pixels(const struct job *job, const uint64_t *const x[PIXELS],
                                const uint64_t *w, __m512i sum[4 * PIXELS]) {
    const __m512i twos = _mm512_set1_epi8(2);
    const struct step *step = job->step;
    const char *weights;
    size_t steps = job->steps;
    ptrdiff_t at, next, all;
    __asm__ volatile(
        "vmovdqa64 %[twos], %%zmm31\n\t"
        STEP(FROM_ZERO) "jz 2f\n\t"
        ".p2align 5\n1:\n\t"
        STEP(FROM_SUM) "jnz 1b\n"
        "2:\n\t"
        : SUM(0), SUM(1), SUM(2), SUM(3), SUM(4), SUM(5), SUM(6), SUM(7), SUM(8), SUM(9), SUM(10),
          SUM(11), [step] "+r"(step), [steps] "+r"(steps), [at] "=&r"(at), [next] "=&r"(next),
          [all] "=&r"(all), [weights] "=&r"(weights)
        : [x0] "r"(x[0]), [x1] "r"(x[1]), [x2] "r"(x[2]), [w] "r"(w),
          [second] "r"(job->cw * sizeof *w),
          [parity] "r"((intptr_t)job->parity - (intptr_t)job->x), [twos] "m"(twos)
        : "memory", "cc", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23",
          "xmm24", "xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31");
}
#pragma GCC diagnostic pop
/* clang-format on */

/* Pixel p. */
BP_INLINE void sum_one_pixel(const struct job *job, size_t p, const uint64_t *w, __m512i sum[4]) {
    const __m512i twos = _mm512_set1_epi8(2);
    for (int q = 0; q < 4; q++)
        sum[q] = _mm512_setzero_si512();
    for (size_t i = 0; i < job->steps; i++) {
        const ptrdiff_t at = job->pixel[p] + job->step[i].x / 8;
        const uint64_t *word = job->x + at, *weights = w + job->step[i].w / 8;
        const __m512i first = _mm512_set1_epi64((long long)word[0]);
        const __m512i second = _mm512_set1_epi64((long long)word[job->cw]);
        const __m512i all = _mm512_set1_epi64((long long)job->parity[at]);
        for (int q = 0; q < 4; q++, weights += 8) {
            __m512i a = _mm512_xor_si512(first, _mm512_load_si512(weights));
            __m512i b = _mm512_xor_si512(second, _mm512_load_si512(weights + BP_LANES));
            __m512i s = _mm512_xor_si512(all, _mm512_load_si512(weights + 2 * BP_LANES));
            __m512i m = _mm512_popcnt_epi64(_mm512_ternarylogic_epi64(a, b, s, 0xd4));
            sum[q] = _mm512_add_epi64(sum[q], _mm512_popcnt_epi64(s));
            sum[q] = _mm512_dpbusd_epi32(sum[q], m, twos);
        }
    }
}

/* bias + add - 2 sums of pixel p's lanes b and up. */
BP_INLINE void store_pixel(const struct job *job, size_t p, size_t b, const __m512i sum[4]) {
    const __m512i low_words = /* of 8 lanes each, from two registers */
        _mm512_inserti64x4(
            _mm512_setzero_si512(),
            _mm256_setr_epi16(0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60), 0);
    __m512i low = _mm512_permutex2var_epi16(sum[0], low_words, sum[1]);
    __m512i high = _mm512_permutex2var_epi16(sum[2], low_words, sum[3]);
    __m512i v = _mm512_inserti64x4(low, _mm512_castsi512_si256(high), 1);
    v = _mm512_sub_epi16(_mm512_set1_epi16((short)job->bias), _mm512_add_epi16(v, v));
    int16_t *y = job->y + (size_t)job->to[p] * job->k + b;
    const int16_t *add = job->add + (job->add != NULL ? job->add_row[p] * job->k + b : 0);
    if (job->k - b >= BP_LANES) {
        if (job->add != NULL)
            v = _mm512_add_epi16(v, _mm512_loadu_si512(add));
        _mm512_storeu_si512(y, v);
        return;
    }
    const __mmask32 lanes = mask_32(job->k - b);
    if (job->add != NULL)
        v = _mm512_add_epi16(v, _mm512_maskz_loadu_epi16(lanes, add));
    _mm512_mask_storeu_epi16(y, lanes, v);
}

/* Pixels p .. p + 2. */
BP_INLINE void three_pixels(const struct job *job, size_t p, size_t b, const uint64_t *w) {
    const uint64_t *x[PIXELS];
    __m512i sum[4 * PIXELS];
    for (size_t i = 0; i < PIXELS; i++) {
        x[i] = job->x + job->pixel[p + i];
        fetch_place(job->y + (size_t)job->to[p + i] * job->k + b, BP_LANES * sizeof *job->y);
    }
    sum_three_pixels(job, x, w, sum);
    store_pixel(job, p, b, sum); /* without a loop: gcc 12 would copy the sums to memory for one */
    store_pixel(job, p + 1, b, sum + 4);
    store_pixel(job, p + 2, b, sum + 8);
}

static void list_steps(struct job *job, const int32_t *row, const int32_t *row_w, size_t rows) {
    job->steps = 0;
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < job->cw; i++)
            job->step[job->steps++] = (struct step){
                (int32_t)((row[r] + (ptrdiff_t)i) * 8),
                (int32_t)(((size_t)row_w[r] * job->cw + i) * STEP_WORDS * sizeof(uint64_t))};
}

void bp_product_triples_avx512(const uint64_t *x, const uint64_t *parity, const int32_t *pixel,
                               const int32_t *to, size_t n, const int32_t *row,
                               const int32_t *row_w, size_t rows, size_t w_rows, size_t cw,
                               const uint64_t *w, size_t k, int bias, const int16_t *add,
                               const uint8_t *add_row, int16_t *y) {
    struct job job = {.x = x,
                      .parity = parity,
                      .pixel = pixel,
                      .to = to,
                      .cw = cw,
                      .k = k,
                      .bias = bias,
                      .add = add,
                      .add_row = add_row,
                      .y = y};
    list_steps(&job, row, row_w, rows);
    for (size_t b = 0; b < k; b += BP_LANES, w += w_rows * cw * STEP_WORDS) {
        size_t p = 0;
        for (; p + PIXELS <= n; p += PIXELS)
            three_pixels(&job, p, b, w);
        if (p < n && n >= PIXELS) { /* some again, which is faster than one by one */
            three_pixels(&job, n - PIXELS, b, w);
            p = n;
        }
        for (; p < n; p++) {
            __m512i sum[4];
            sum_one_pixel(&job, p, w, sum);
            store_pixel(&job, p, b, sum);
        }
    }
}
