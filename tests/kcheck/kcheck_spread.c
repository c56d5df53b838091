/* Tests of what makes operands for the products of tiles: signs as bytes, codes turned around. */
#include "kcheck/kcheck.h"

#include "base/bits.h"

void kcheck_spread_signs(struct kcheck *t) {
    size_t n, c;
    kc_sizes(t, &n, &c);
    size_t cw = bp_words(c), words = cw + (t->layer != NULL ? 0 : kc_below(t, 3));
    size_t pitch = 64 * cw + (t->layer != NULL ? 0 : kc_below(t, 2) * kc_below(t, 100));
    kc_params(t, "n=%zu words=%zu c=%zu pitch=%zu", n, words, c, pitch);
    kc_work(t, (double)(n * c), "sign");
    uint64_t *bits = kc_input(t, "bits", KC_U64, (n - 1) * words + cw);
    for (size_t p = 0; p < n; p++) /* the words between are not zero */
        for (size_t i = 0; p + 1 < n && i < words; i++)
            bits[p * words + i] = kc_random(t);
    uint64_t *row = kc_input(t, "row", KC_U64, n * cw);
    kc_fill_bits(t, row, n, c);
    for (size_t i = 0; i < n * cw; i++)
        bits[i / cw * words + i % cw] = row[i];
    size_t bytes = (n - 1) * pitch + 64 * cw;
    uint8_t *out = kc_output(t, "out", KC_U8, bytes);
    kc_fill_bytes(t, out, bytes);
    kc_keep_initial(t, out);
    for (size_t p = 0; p < n; p++)
        for (size_t i = 0; i < 64 * cw; i++)
            out[p * pitch + i] = i >= c ? 1 : bp_bit(bits + p * words, i) ? 0 : 2;
    while (kc_next(t))
        t->kernels->spread_signs(kc_at(t, bits), n, words, c, kc_at(t, out), pitch);
}

void kcheck_spread_weights(struct kcheck *t) {
    size_t n = t->case_index < KC_SWEEP ? t->case_index + 1 : 1 + kc_below(t, 40);
    if (t->layer != NULL)
        n = t->layer->r * t->layer->r * bp_words(t->layer->c);
    kc_params(t, "n=%zu", n);
    kc_work(t, (double)(n * 64 * BP_LANES), "sign");
    uint64_t *w = kc_input(t, "w", KC_U64, n * BP_LANES);
    kc_fill_bits(t, w, n * BP_LANES, 64);
    uint8_t *out = kc_output(t, "out", KC_U8, n * 64 * BP_LANES);
    for (size_t s = 0; s < n; s++)
        for (size_t j = 0; j < BP_LANES; j++)
            for (size_t i = 0; i < 64; i++) {
                size_t tile = 2 * s + j / 16, row = i / 4, column = 4 * (j % 16) + i % 4;
                out[(tile * 16 + row) * 64 + column] = bp_bit(w + s * BP_LANES + j, i) ? 0xff : 1;
            }
    int32_t *sums = kc_output(t, "sums", KC_I32, n * BP_LANES);
    int with_sums = kc_below(t, 2) != 0;
    kc_fill_i32(t, sums, n * BP_LANES);
    kc_keep_initial(t, sums);
    for (size_t i = 0; with_sums && i < n * BP_LANES; i++) {
        sums[i] = 0;
        for (size_t bit = 0; bit < 64; bit++)
            sums[i] += bp_bit(w + i, bit) ? -1 : 1;
    }
    while (kc_next(t))
        t->kernels->spread_weights(kc_at(t, w), n, kc_at(t, out),
                                   with_sums ? kc_at(t, sums) : NULL);
}

void kcheck_spread_samples(struct kcheck *t) {
    const struct kc_layer *l = t->layer;
    size_t n, unused, samples = l != NULL ? 4 : kc_below(t, 5), end = 0;
    kc_sizes(t, &n, &unused);
    if (l == NULL && t->case_index < KC_SWEEP)
        n = t->case_index + 1;
    size_t step = l != NULL ? bp_words(l->c) : 1 + kc_below(t, 5);
    /* Planes one behind the other, or the four of a pixel together. */
    size_t pitch = l != NULL ? 256 : 64 + kc_below(t, 2) * kc_below(t, 300);
    size_t plane = (n - 1) * pitch + 64 + (l != NULL ? 0 : kc_below(t, 2) * kc_below(t, 1000));
    if (l == NULL && kc_below(t, 3) == 0) {
        plane = 64 + kc_below(t, 2) * kc_below(t, 100);
        pitch = 3 * plane + 64 + kc_below(t, 2) * kc_below(t, 100);
    }
    kc_params(t, "samples=%zu n=%zu step=%zu pitch=%zu plane=%zu", samples, n, step, pitch, plane);
    kc_work(t, (double)(n * 64 * samples), "sign");
    int32_t *offset = kc_input(t, "offset", KC_I32, samples);
    for (size_t e = 0; e < samples; e++) {
        offset[e] = (int32_t)(l != NULL ? e * n * step : kc_below(t, 1000));
        end = (size_t)offset[e] >= end ? (size_t)offset[e] + 1 : end;
    }
    end += samples > 0 ? (n - 1) * step : 0;
    uint64_t *bits = kc_input(t, "bits", KC_U64, end);
    kc_fill_bits(t, bits, end, 64);
    size_t bytes = 3 * plane + (n - 1) * pitch + 64;
    uint8_t *out = kc_output(t, "out", KC_U8, bytes);
    kc_fill_bytes(t, out, bytes);
    kc_keep_initial(t, out);
    for (size_t p = 0; p < n; p++)
        for (size_t i = 0; i < 256; i++) {
            size_t e = i % 4, j = i / 4;
            uint8_t *to = &out[i / 64 * plane + p * pitch + i % 64];
            *to = e >= samples ? 0 : bp_bit(bits + offset[e] + p * step, j) ? 0xff : 1;
        }
    while (kc_next(t))
        t->kernels->spread_samples(kc_at(t, bits), kc_at(t, offset), samples, n, step,
                                   kc_at(t, out), pitch, plane);
}

void kcheck_turn_codes(struct kcheck *t) {
    const struct kc_layer *l = t->layer;
    size_t unused, k, n = l != NULL ? 64 : 1 + kc_below(t, 64), end = 0;
    kc_sizes(t, &unused, &k);
    if (l != NULL)
        k = bp_min_size(l->k, 32);
    else if (t->case_index >= KC_SWEEP && t->case_index < 2 * KC_SWEEP)
        n = (t->case_index - KC_SWEEP) % 64 + 1;
    size_t pitch = l != NULL ? 1024 : 64 + kc_below(t, 2) * kc_below(t, 100);
    kc_params(t, "n=%zu k=%zu pitch=%zu", n, k, pitch);
    kc_work(t, (double)(n * k), "code");
    int32_t *offset = kc_input(t, "offset", KC_I32, n);
    for (size_t i = 0; i < n; i++) {
        offset[i] = (int32_t)(l != NULL ? i * l->k : kc_below(t, 5000));
        end = (size_t)offset[i] + k > end ? (size_t)offset[i] + k : end;
    }
    uint8_t *codes = kc_input(t, "codes", KC_U8, end);
    kc_fill_bytes(t, codes, end);
    size_t bytes = (k - 1) * pitch + 64;
    uint8_t *out = kc_output(t, "out", KC_U8, bytes);
    kc_fill_bytes(t, out, bytes);
    kc_keep_initial(t, out);
    for (size_t j = 0; j < k; j++)
        for (size_t i = 0; i < 64; i++)
            out[j * pitch + i] = i < n ? codes[(size_t)offset[i] + j] : 0;
    while (kc_next(t))
        t->kernels->turn_codes(kc_at(t, codes), kc_at(t, offset), n, k, kc_at(t, out), pitch);
}
