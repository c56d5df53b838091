/* Scale, PReLU and batch norm between two binary convolutions, AVX2: 8 channels a vector, the
 * coefficients of a block of channels stay in registers while the rows go by. */
#include "kernels/x86/tier_avx2.h"

#include "base/bits.h"
#include "kernels/x86/vec_avx2.h"

/* Coefficients of 8 channels; unused ones cost nothing. */
struct coefficients {
    __m256 alpha, slope, scale, shift, ka, kb, kc;
};

struct value {
    __m256 y, u, negative, h;
};

BP_INLINE struct value value_8(const int16_t *y, const struct coefficients *k, int full,
                               size_t rest) {
    struct value v;
    v.y = load_y(y, 0, 1, full, rest);
    v.u = _mm256_mul_ps(v.y, k->alpha);
    v.negative = _mm256_cmp_ps(v.u, _mm256_setzero_ps(), _CMP_LT_OQ);
    v.h = _mm256_blendv_ps(v.u, _mm256_mul_ps(v.u, k->slope), v.negative);
    return v;
}

BP_INLINE void load_act(struct coefficients *k, const struct bp_act_norm_rows *a, size_t j,
                        int full, size_t rest) {
    k->alpha = load_ps(a->alpha + j, full, rest);
    k->slope = load_ps(a->slope + j, full, rest);
}

BP_INLINE void load_grad(struct coefficients *k, const struct bp_act_norm_rows *a, size_t j,
                         int full, size_t rest) {
    load_act(k, a, j, full, rest);
    k->ka = load_ps(a->ka + j, full, rest);
    k->kb = load_ps(a->kb + j, full, rest);
    k->kc = load_ps(a->kc + j, full, rest);
}

BP_INLINE __m256 grad_h_8(__m256 g, const struct value *v, const struct coefficients *k) {
    __m256 sum = _mm256_add_ps(_mm256_mul_ps(g, k->ka), _mm256_mul_ps(v->h, k->kb));
    return _mm256_add_ps(sum, k->kc);
}

BP_INLINE __m256 grad_u_8(__m256 gh, const struct value *v, const struct coefficients *k) {
    return _mm256_blendv_ps(gh, _mm256_mul_ps(gh, k->slope), v->negative);
}

/* --- forward ---------------------------------------------------------------------------------- */

BP_INLINE __m256 norm_8(const int16_t *y, const struct bp_act_norm_rows *a, size_t j, int full,
                        size_t rest) {
    struct coefficients k;
    load_act(&k, a, j, full, rest);
    __m256 h = value_8(y + j, &k, full, rest).h;
    return _mm256_add_ps(_mm256_mul_ps(h, load_ps(a->scale + j, full, rest)),
                         load_ps(a->shift + j, full, rest));
}

void bp_act_norm_signs_avx2(const int16_t *y, size_t n, size_t c, const struct bp_act_norm_rows *a,
                            uint64_t *bits, uint64_t *mask) {
    const __m256 one = _mm256_set1_ps(1.0f), sign_bit = _mm256_set1_ps(-0.0f);
    for (size_t p = 0; p < n; p++, y += c)
        for (size_t w = 0; w < c; w += 64) {
            size_t end = bp_min_size(c, w + 64);
            uint64_t sign = 0, inside = 0;
            for (size_t j = w; j < end; j += 8) {
                __m256 v = end - j >= 8 ? norm_8(y, a, j, 1, 8) : norm_8(y, a, j, 0, end - j);
                __m256 below = _mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_LT_OQ);
                __m256 small = _mm256_cmp_ps(_mm256_andnot_ps(sign_bit, v), one, _CMP_LT_OQ);
                sign |= (uint64_t)(unsigned)_mm256_movemask_ps(below) << (j - w);
                inside |= (uint64_t)(unsigned)_mm256_movemask_ps(small) << (j - w);
            }
            uint64_t valid = end - w == 64 ? ~(uint64_t)0 : ((uint64_t)1 << (end - w)) - 1;
            *bits++ = sign & valid;
            if (mask != NULL)
                *mask++ = inside & valid;
        }
}

/* --- backward --------------------------------------------------------------------------------- */

BP_INLINE void sums_8(const float *g, const int16_t *y, size_t n, size_t c,
                      const struct bp_act_norm_rows *a, size_t j, int full, size_t rest,
                      float *sum_g, float *sum_gh) {
    struct coefficients k;
    load_act(&k, a, j, full, rest);
    __m256 sums_g = load_ps(sum_g + j, full, rest), sums_gh = load_ps(sum_gh + j, full, rest);
    for (size_t p = 0; p < n; p++) {
        struct value v = value_8(y + p * c + j, &k, full, rest);
        __m256 gv = load_ps(g + p * c + j, full, rest);
        sums_g = _mm256_add_ps(sums_g, gv);
        sums_gh = _mm256_add_ps(sums_gh, _mm256_mul_ps(gv, v.h));
    }
    store_ps(sum_g + j, full, rest, sums_g);
    store_ps(sum_gh + j, full, rest, sums_gh);
}

void bp_act_norm_sums_avx2(const float *g, const int16_t *y, size_t n, size_t c,
                           const struct bp_act_norm_rows *a, float *sum_g, float *sum_gh) {
    for (size_t j = 0; j < c; j += 8)
        if (c - j >= 8)
            sums_8(g, y, n, c, a, j, 1, 8, sum_g, sum_gh);
        else
            sums_8(g, y, n, c, a, j, 0, c - j, sum_g, sum_gh);
}

BP_INLINE void slope_sums_8(const float *g, const int16_t *y, size_t n, size_t c,
                            const struct bp_act_norm_rows *a, size_t j, int full, size_t rest,
                            float *sum_guy, float *sum_ghu) {
    struct coefficients k;
    load_grad(&k, a, j, full, rest);
    __m256 guy = load_ps(sum_guy + j, full, rest), ghu = load_ps(sum_ghu + j, full, rest);
    for (size_t p = 0; p < n; p++) {
        struct value v = value_8(y + p * c + j, &k, full, rest);
        __m256 gh = grad_h_8(load_ps(g + p * c + j, full, rest), &v, &k);
        guy = _mm256_add_ps(guy, _mm256_mul_ps(grad_u_8(gh, &v, &k), v.y));
        ghu = _mm256_add_ps(ghu, _mm256_and_ps(v.negative, _mm256_mul_ps(gh, v.u)));
    }
    store_ps(sum_guy + j, full, rest, guy);
    store_ps(sum_ghu + j, full, rest, ghu);
}

void bp_act_norm_slope_sums_avx2(const float *g, const int16_t *y, size_t n, size_t c,
                                 const struct bp_act_norm_rows *a, float *sum_guy, float *sum_ghu) {
    for (size_t j = 0; j < c; j += 8)
        if (c - j >= 8)
            slope_sums_8(g, y, n, c, a, j, 1, 8, sum_guy, sum_ghu);
        else
            slope_sums_8(g, y, n, c, a, j, 0, c - j, sum_guy, sum_ghu);
}

BP_INLINE void grad_8(const float *g, const int16_t *y, const struct bp_act_norm_rows *a, size_t j,
                      int full, size_t rest, float *out) {
    struct coefficients k;
    load_grad(&k, a, j, full, rest);
    struct value v = value_8(y + j, &k, full, rest);
    __m256 gh = grad_h_8(load_ps(g + j, full, rest), &v, &k);
    store_ps(out + j, full, rest, _mm256_mul_ps(grad_u_8(gh, &v, &k), k.alpha));
}

void bp_act_norm_grad_avx2(const float *g, const int16_t *y, size_t n, size_t c,
                           const struct bp_act_norm_rows *a, float *out) {
    for (size_t p = 0; p < n; p++, g += c, y += c, out += c) {
        size_t j = 0;
        for (; j + 8 <= c; j += 8)
            grad_8(g, y, a, j, 1, 8, out);
        if (j < c)
            grad_8(g, y, a, j, 0, c - j, out);
    }
}
