/* Tests of packing and transposing. */
#include "kcheck/kcheck.h"

#include <math.h>

#include "base/bits.h"

static void put_bit(uint64_t *words, size_t index, int bit) {
    words[index / 64] |= (uint64_t)bit << index % 64;
}

void kcheck_sign_pack_f32(struct kcheck *t) {
    size_t n, c;
    kc_sizes(t, &n, &c);
    int with_mask = kc_below(t, 4) != 0 || t->is_bench;
    size_t cw = bp_words(c);
    kc_params(t, "n=%zu c=%zu mask %s", n, c, with_mask ? "wanted" : "NULL");
    kc_work(t, (double)(n * c), "element");
    float *x = kc_input(t, "x", KC_F32, n * c);
    kc_fill_floats(t, x, n * c, KC_ANY_FLOAT);
    uint64_t *bits = kc_output(t, "bits", KC_U64, n * cw);
    uint64_t *mask = with_mask ? kc_output(t, "mask", KC_U64, n * cw) : NULL;
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < c; j++) {
            float v = x[p * c + j];
            put_bit(bits + p * cw, j, v < 0.0f);
            if (with_mask)
                put_bit(mask + p * cw, j, v > -1.0f && v < 1.0f);
        }
    while (kc_next(t))
        t->kernels->sign_pack_f32(kc_at(t, x), n, c, kc_at(t, bits), kc_at(t, mask));
}

void kcheck_transpose_gather(struct kcheck *t) {
    size_t count, cw;
    kc_sizes(t, &count, &cw);
    if (t->layer != NULL) {
        count = 64;
        cw = bp_words(t->layer->c);
    }
    count = (count - 1) % 64 + 1;
    cw = t->case_index < KC_SWEEP ? cw : (cw - 1) % 20 + 1;
    size_t rows = 1 + kc_below(t, 2 * count);
    /* Offsets may be negative: base then points into the middle of the data. */
    size_t middle = kc_below(t, 2) ? kc_below(t, rows) * cw : 0;
    kc_params(t, "count=%zu cw=%zu, base %zu words into the data", count, cw, middle);
    kc_work(t, (double)(count * cw * 64), "element");
    uint64_t *data = kc_input(t, "base", KC_U64, rows * cw);
    int32_t *offset = kc_input(t, "offset", KC_I32, count);
    uint64_t *out = kc_output(t, "out", KC_U64, cw * 64);
    kc_fill_bits(t, data, rows, cw * 64);
    for (size_t i = 0; i < count; i++)
        offset[i] = (int32_t)(kc_below(t, rows) * cw) - (int32_t)middle;
    for (size_t i = 0; i < count; i++)
        for (size_t b = 0; b < cw * 64; b++)
            put_bit(out + b, i, bp_bit(data + (int32_t)middle + offset[i], b));
    while (kc_next(t)) {
        const uint64_t *base = kc_at(t, data);
        t->kernels->transpose_gather(base + middle, kc_at(t, offset), count, cw, kc_at(t, out));
    }
}

void kcheck_pack_planes(struct kcheck *t) {
    size_t n, k;
    kc_sizes(t, &n, &k);
    k = t->layer != NULL ? t->layer->k : k;
    int bits = t->layer != NULL ? 4 : 1 + (int)kc_below(t, 8);
    size_t kw = bp_words(k), planes_per_row = (size_t)bits;
    kc_params(t, "n=%zu k=%zu bits=%d", n, k, bits);
    kc_work(t, (double)(n * k), "element");
    uint8_t *codes = kc_input(t, "codes", KC_U8, n * k);
    kc_fill_bytes(t, codes, n * k);
    uint64_t *planes = kc_output(t, "planes", KC_U64, n * planes_per_row * kw);
    for (size_t p = 0; p < n; p++)
        for (size_t l = 0; l < planes_per_row; l++)
            for (size_t j = 0; j < k; j++)
                put_bit(planes + (p * planes_per_row + l) * kw, j, codes[p * k + j] >> l & 1);
    while (kc_next(t))
        t->kernels->pack_planes(kc_at(t, codes), n, k, bits, kc_at(t, planes));
}

void kcheck_pack_weights(struct kcheck *t) {
    size_t taps, cw, k;
    kc_sizes(t, &k, &cw);
    if (t->layer != NULL) {
        taps = t->layer->r * t->layer->r;
        cw = bp_words(t->layer->c);
        k = t->layer->k;
    } else {
        taps = kc_below(t, 3) == 0 ? 9 : 1 + kc_below(t, 5);
        cw = t->case_index < KC_SWEEP ? cw : (cw - 1) % 9 + 1;
    }
    kc_params(t, "k=%zu taps=%zu cw=%zu", k, taps, cw);
    kc_work(t, (double)(k * taps * cw * 64), "element");
    size_t blocks = (k + 31) / 32;
    uint64_t *bits = kc_input(t, "bits", KC_U64, k * taps * cw);
    kc_fill_bits(t, bits, k * taps, cw * 64);
    uint64_t *packed = kc_output(t, "packed", KC_U64, blocks * taps * cw * 32);
    for (size_t j = 0; j < k; j++)
        for (size_t tap = 0; tap < taps; tap++)
            for (size_t i = 0; i < cw; i++)
                packed[(((j / 32) * taps + tap) * cw + i) * 32 + j % 32] =
                    bits[(j * taps + tap) * cw + i];
    while (kc_next(t))
        t->kernels->pack_weights(kc_at(t, bits), k, taps, cw, kc_at(t, packed));
}
