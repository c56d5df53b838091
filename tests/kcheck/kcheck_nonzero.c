/* Tests of the product that leaves out zeros. The reference adds one sign at a time. */
#include "kcheck/kcheck.h"

#include "base/bits.h"

/* Lengths of the lists: sweeps those around a block, then any; layers: a few hundred elements, most
 * of magnitude 1. The weights add up to at most 65535. */
static void draw_lengths(struct kcheck *t, size_t n[2 * BP_NONZERO_WEIGHTS]) {
    unsigned i = t->case_index;
    for (size_t l = 0; l < 2 * BP_NONZERO_WEIGHTS; l++) {
        if (t->layer != NULL)
            n[l] = (t->is_bench ? 300u : 70u) >> 2 * (l / 2);
        else if (i < KC_SWEEP)
            n[l] = l == i % 6 ? i : kc_below(t, 4) == 0 ? kc_below(t, 40) : 0;
        else if (i % 16 == 3) /* all planes of the counts */
            n[l] = l == i % 5 ? (size_t)(65535u >> l / 2) - 200 : kc_below(t, 10);
        else
            n[l] = kc_below(t, 200);
    }
}

void kcheck_product_nonzero(struct kcheck *t) {
    size_t n[2 * BP_NONZERO_WEIGHTS], words = 1 + kc_below(t, 27), all = 0;
    draw_lengths(t, n);
    if (t->layer != NULL)
        words = t->layer->r * bp_words(t->layer->c);
    for (size_t l = 0; l < 2 * BP_NONZERO_WEIGHTS; l++)
        all += n[l];
    size_t places = t->layer != NULL ? 2000 : 1 + kc_below(t, 60);
    size_t unit = t->layer != NULL ? bp_words(t->layer->c) : 1; /* words of a pixel */
    kc_params(t, "words=%zu rows +%zu -%zu, of 2 +%zu -%zu, of 4 +%zu -%zu", words, n[0], n[1],
              n[2], n[3], n[4], n[5]);
    kc_work(t, (double)(all * words * 64), "MAC");
    uint64_t *x = kc_input(t, "x", KC_U64, places + words - 1);
    kc_fill_bits(t, x, places + words - 1, 64);
    int32_t *y = kc_output(t, "y", KC_I32, 64 * words), *at[2 * BP_NONZERO_WEIGHTS];
    kc_fill_i32(t, y, 64 * words);
    kc_keep_initial(t, y);
    for (size_t l = 0; l < 2 * BP_NONZERO_WEIGHTS; l++) {
        int32_t weight = (l % 2 ? -1 : 1) * (1 << l / 2);
        at[l] = kc_input(t, "at", KC_I32, n[l]);
        for (size_t i = 0; i < n[l]; i++) {
            at[l][i] = (int32_t)(kc_below(t, places) / unit * unit);
            for (size_t j = 0; j < 64 * words; j++)
                y[j] += bp_bit(x + at[l][i], j) ? -weight : weight;
        }
    }
    while (kc_next(t)) {
        struct bp_nonzeros of;
        for (size_t w = 0; w < BP_NONZERO_WEIGHTS; w++) {
            of.plus[w] = (struct bp_row_list){kc_at(t, at[2 * w]), n[2 * w]};
            of.minus[w] = (struct bp_row_list){kc_at(t, at[2 * w + 1]), n[2 * w + 1]};
        }
        t->kernels->product_nonzero(kc_at(t, x), &of, words, kc_at(t, y));
    }
}

/* A code of magnitude 0 .. 7, `zeros` of 8 times zero. */
static int draw_code(struct kcheck *t, size_t zeros) {
    return kc_below(t, 8) < zeros ? 0 : (int)kc_below(t, 15) - 7;
}

void kcheck_list_nonzero(struct kcheck *t) {
    size_t n, k, spare = kc_below(t, 3), lists;
    kc_sizes(t, &n, &k);
    if (t->layer != NULL)
        k = bp_min_size(t->layer->k, 16);
    lists = k * 2 * BP_NONZERO_WEIGHTS;
    size_t step = k + (t->layer != NULL ? t->layer->k - k : kc_below(t, 2) * kc_below(t, 20));
    size_t zeros = t->layer != NULL ? 6 : kc_below(t, 9);
    kc_params(t, "n=%zu step=%zu k=%zu, %zu of 8 zero, spare=%zu", n, step, k, zeros, spare);
    kc_work(t, (double)(n * k), "codes");
    uint8_t *codes = kc_input(t, "codes", KC_U8, (n - 1) * step + k);
    for (size_t i = 0; i < (n - 1) * step + k; i++)
        codes[i] = (uint8_t)draw_code(t, zeros);
    int32_t *at = kc_input(t, "at", KC_I32, n), *count = kc_output(t, "count", KC_I32, lists);
    kc_fill_i32(t, at, n);
    for (size_t l = 0; l < lists; l++)
        count[l] = (int32_t)kc_below(t, 4);
    kc_keep_initial(t, count);
    size_t capacity = n + 3 + spare;
    int32_t *to = kc_output(t, "to", KC_I32, lists * capacity);
    kc_fill_i32(t, to, lists * capacity);
    kc_keep_initial(t, to);
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < k; j++) {
            int x = (int8_t)codes[p * step + j];
            for (size_t w = 0; w < BP_NONZERO_WEIGHTS; w++) {
                size_t l = (j * BP_NONZERO_WEIGHTS + w) * 2 + (x < 0);
                if ((x < 0 ? -x : x) >> w & 1)
                    to[l * capacity + (size_t)count[l]++] = at[p];
            }
        }
    while (kc_next(t))
        t->kernels->list_nonzero(kc_at(t, codes), n, step, k, kc_at(t, at), kc_at(t, to), capacity,
                                 kc_at(t, count));
}

void kcheck_list_row(struct kcheck *t) {
    size_t n, k, lists;
    kc_sizes(t, &n, &k);
    if (t->layer != NULL)
        k = t->layer->k;
    lists = n * BP_NONZERO_WEIGHTS;
    size_t zeros = t->layer != NULL ? 6 : kc_below(t, 9);
    size_t capacity = bp_round_up(k, BP_HALF_BLOCK) + BP_HALF_BLOCK * kc_below(t, 2);
    struct bp_row_places places = {1 + (int32_t)kc_below(t, 5000), (int32_t)kc_below(t, 1000000),
                                   (int32_t)kc_below(t, 1000000)};
    kc_params(t, "n=%zu k=%zu, %zu of 8 zero, step=%d minus=%d none=%d", n, k, zeros, places.step,
              places.minus, places.none);
    kc_work(t, (double)(n * k), "codes");
    uint8_t *codes = kc_input(t, "codes", KC_U8, n * k);
    int32_t *to = kc_output(t, "to", KC_I32, lists * capacity);
    int32_t *count = kc_output(t, "count", KC_I32, lists);
    int32_t *total = kc_output(t, "total", KC_I32, n);
    kc_fill_i32(t, to, lists * capacity);
    kc_keep_initial(t, to);
    for (size_t p = 0; p < n; p++) {
        total[p] = 0;
        for (size_t j = 0; j < k; j++)
            codes[p * k + j] = (uint8_t)draw_code(t, zeros);
        for (size_t w = 0; w < BP_NONZERO_WEIGHTS; w++) {
            size_t l = p * BP_NONZERO_WEIGHTS + w, length = 0;
            for (size_t j = 0; j < k; j++) {
                int x = (int8_t)codes[p * k + j];
                if ((x < 0 ? -x : x) >> w & 1) {
                    to[l * capacity + length++] =
                        (int32_t)j * places.step + (x < 0 ? places.minus : 0);
                    total[p] += 1 << w;
                }
            }
            for (; length % BP_HALF_BLOCK != 0; length++)
                to[l * capacity + length] = places.none;
            count[l] = (int32_t)length;
        }
    }
    while (kc_next(t))
        t->kernels->list_row(kc_at(t, codes), n, k, places, kc_at(t, to), capacity, kc_at(t, count),
                             kc_at(t, total));
}

#define SEGMENTS 3

void kcheck_product_rows(struct kcheck *t) {
    size_t n[SEGMENTS][BP_NONZERO_WEIGHTS], words = 1 + kc_below(t, 27), all = 0;
    size_t places = t->layer != NULL ? 2000 : 1 + kc_below(t, 60), segments = SEGMENTS;
    size_t unit = t->layer != NULL ? bp_words(t->layer->c) : 1, first[SEGMENTS];
    if (t->layer != NULL)
        words = unit;
    else
        segments = 1 + kc_below(t, SEGMENTS);
    for (size_t s = 0; s < SEGMENTS; s++) {
        first[s] = kc_below(t, places) / unit * unit;
        for (size_t w = 0; w < BP_NONZERO_WEIGHTS; w++) {
            size_t most = t->layer != NULL ? 25u >> 2 * w : t->case_index % 16 == 3 ? 301 : 9;
            n[s][w] = BP_HALF_BLOCK * (t->layer != NULL ? most : kc_below(t, most));
            all += s < segments ? n[s][w] : 0;
        }
    }
    kc_params(t, "words=%zu segments=%zu, first one's lists %zu %zu %zu", words, segments, n[0][0],
              n[0][1], n[0][2]);
    kc_work(t, (double)(all * words * 64), "MAC");
    uint64_t *x = kc_input(t, "x", KC_U64, 2 * places + words);
    kc_fill_bits(t, x, 2 * places + words, 64);
    int32_t *y = kc_output(t, "y", KC_I32, 64 * words), total = 0, *at[SEGMENTS][3];
    for (size_t s = 0; s < segments; s++)
        for (size_t w = 0; w < BP_NONZERO_WEIGHTS; w++)
            total += (int32_t)n[s][w] << w;
    total += (int32_t)kc_below(t, 100); /* a bound, not more */
    for (size_t j = 0; j < 64 * words; j++)
        y[j] = total;
    for (size_t s = 0; s < segments; s++)
        for (size_t w = 0; w < BP_NONZERO_WEIGHTS; w++) {
            at[s][w] = kc_input(t, "at", KC_I32, n[s][w]);
            for (size_t i = 0; i < n[s][w]; i++) {
                at[s][w][i] = (int32_t)(kc_below(t, places) / unit * unit);
                for (size_t j = 0; j < 64 * words; j++)
                    y[j] -= 2 * bp_bit(x + first[s] + at[s][w][i], j) << w;
            }
        }
    while (kc_next(t)) {
        struct bp_row_segment of[SEGMENTS];
        const uint64_t *from = kc_at(t, x);
        for (size_t s = 0; s < segments; s++) {
            of[s].x = from + first[s];
            for (size_t w = 0; w < BP_NONZERO_WEIGHTS; w++)
                of[s].of[w] = (struct bp_row_list){kc_at(t, at[s][w]), n[s][w]};
        }
        t->kernels->product_rows(of, segments, words, total, kc_at(t, y));
    }
}
