/* Tests of the products that leave out zeros, and of their lists. The references go over the
 * elements one at a time. */
#include "kcheck/kcheck.h"

#include <string.h>

#include "base/bits.h"

#define SIGNED_LISTS (2 * (size_t)BP_ROW_WEIGHTS)

/* Lengths of lists, of which `each` have the same weight: sweeps those around blocks, then any;
 * layers: some hundred elements, most of magnitude 1. `most`: of a list of weight 1. */
static void draw_lengths(struct kcheck *t, size_t lists, size_t each, size_t most, size_t *n) {
    unsigned i = t->case_index;
    for (size_t l = 0; l < lists; l++) {
        const size_t w = l / each;
        if (t->layer != NULL)
            n[l] = ((t->is_bench ? 600u : 140u) >> 2 * w) / each;
        else if (i < KC_SWEEP)
            n[l] = l == i % lists ? i : kc_below(t, 4) == 0 ? kc_below(t, 40) : 0;
        else if (i % 16 == 3) /* all planes of the counts */
            n[l] = l == i / 16 % lists ? most >> w : kc_below(t, 10);
        else
            n[l] = kc_below(t, 200);
        n[l] = bp_min_size(n[l], most);
    }
}

/* Numbers that are listed, below `end`. */
static void draw_numbers(struct kcheck *t, uint16_t *at, size_t n, size_t end) {
    for (size_t i = 0; i < n; i++)
        at[i] = (uint16_t)kc_below(t, end);
}

void kcheck_product_nonzero(struct kcheck *t) {
    size_t n[SIGNED_LISTS], words = 1 + kc_below(t, 27), weights = 1 + kc_below(t, 8), all = 0;
    if (t->layer != NULL) {
        words = t->layer->r * bp_words(t->layer->c);
        weights = 3;
    }
    const size_t lists = 2 * weights;
    /* The sum of weights goes beyond 16 bits, and stays below them. */
    draw_lengths(t, lists, 2, t->case_index % 32 == 3 ? 66500 : 21000, n);
    /* Every row counts in the lanes of its first word. */
    const int all_count = t->layer == NULL && t->case_index % 8 == 3;
    if (all_count && t->case_index % 16 == 11)
        n[0] = n[1] = 4000 + kc_below(t, 4000);
    size_t capacity = 16 + kc_below(t, 20),
           places = t->layer != NULL ? 20000 : 2 + kc_below(t, 60) / 2 * 2;
    for (size_t l = 0; l < lists; l++) {
        all += n[l];
        capacity = n[l] + 16 > capacity ? n[l] + 16 : capacity;
    }
    kc_params(t, "words=%zu weights=%zu, rows +%zu -%zu", words, weights, n[0], n[1]);
    kc_work(t, (double)(all * words * 64), "MAC");
    const size_t x_words = places - 1 + words;
    uint64_t *x = kc_input(t, "x", KC_U64, x_words);
    kc_fill_bits(t, x, x_words, 64);
    int32_t *y = kc_output(t, "y", KC_I32, 64 * words),
            *count = kc_input(t, "count", KC_I32, lists);
    uint16_t *at = kc_input(t, "at", KC_I16, lists * capacity);
    kc_fill_i32(t, y, 64 * words);
    kc_keep_initial(t, y);
    draw_numbers(t, at, lists * capacity, 65536); /* what is behind a list means nothing */
    for (size_t l = 0; l < lists; l++) {
        const int32_t weight = (l % 2 ? -1 : 1) * (1 << l / 2);
        count[l] = (int32_t)n[l];
        draw_numbers(t, at + l * capacity, n[l], places);
        for (size_t i = 0; all_count && i < n[l]; i++) /* complements count, too */
            at[l * capacity + i] = (uint16_t)(at[l * capacity + i] / 2 * 2 + l % 2);
        for (size_t i = 0; i < n[l]; i++)
            for (size_t j = 0; j < 64 * words; j++)
                y[j] += bp_bit(x + at[l * capacity + i], j) ? -weight : weight;
    }
    while (kc_next(t))
        t->kernels->product_nonzero(kc_at(t, x), weights, kc_at(t, at), capacity, kc_at(t, count),
                                    words, kc_at(t, y));
}

/* A code that has digits of these weights, `zeros` of 8 times zero. */
static int draw_code(struct kcheck *t, size_t weights, size_t zeros) {
    const size_t most = ((size_t)1 << bp_min_size(weights, 7)) - 1;
    return kc_below(t, 8) < zeros ? 0 : (int)kc_below(t, 2 * most + 1) - (int)most;
}

/* The digits of a code, by division: with 8 weights an odd rest takes 1 or -1, whichever leaves a
 * multiple of 4. */
static void find_digits(int x, size_t weights, int digit[BP_ROW_WEIGHTS]) {
    for (size_t w = 0; w < weights; w++, x /= 2) {
        digit[w] = x % 2;
        if (weights == BP_NONZERO_FORM && digit[w] != 0 && (x - digit[w]) % 4 != 0)
            digit[w] = -digit[w];
        x -= digit[w];
    }
}

/* What is behind the ends of lists may be anything. */
static void clear_behind(uint16_t *list, size_t length, size_t capacity) {
    if (length < capacity)
        memset(list + length, 0, (capacity - length) * sizeof *list);
}

void kcheck_list_nonzero(struct kcheck *t) {
    size_t n, k, spare = kc_below(t, 3), weights = t->layer != NULL ? 3 : 1 + kc_below(t, 8);
    kc_sizes(t, &n, &k);
    if (t->layer != NULL)
        k = bp_min_size(t->layer->k, 16);
    const size_t lists = 2 * k * weights, capacity = n + 3 + spare + 64;
    const size_t step = k + (t->layer != NULL ? t->layer->k - k : kc_below(t, 2) * kc_below(t, 20));
    const size_t zeros = t->layer != NULL ? 6 : kc_below(t, 9);
    const int in_one_list = t->layer == NULL && kc_below(t, 3) == 0; /* what is not zero */
    kc_params(t, "n=%zu step=%zu k=%zu weights=%zu, %zu of 8 zero, spare=%zu", n, step, k, weights,
              zeros, spare);
    kc_work(t, (double)(n * k), "codes");
    uint8_t *codes = kc_input(t, "codes", KC_U8, (n - 1) * step + k);
    for (size_t i = 0; i < (n - 1) * step + k; i++)
        codes[i] = (uint8_t)(in_one_list ? draw_code(t, weights, zeros) != 0
                                         : draw_code(t, weights, zeros));
    uint16_t *at = kc_input(t, "at", KC_I16, n), *to = kc_output(t, "to", KC_I16, lists * capacity);
    int32_t *count = kc_output(t, "count", KC_I32, lists);
    draw_numbers(t, at, n, 65536);
    draw_numbers(t, to, lists * capacity, 65536);
    for (size_t l = 0; l < lists; l++) {
        count[l] = (int32_t)kc_below(t, 4);
        clear_behind(to + l * capacity, (size_t)count[l], capacity);
    }
    kc_keep_initial(t, count);
    kc_keep_initial(t, to);
    for (size_t p = 0; p < n; p++)
        for (size_t j = 0; j < k; j++) {
            int digit[BP_ROW_WEIGHTS];
            find_digits((int8_t)codes[p * step + j], weights, digit);
            for (size_t w = 0; w < weights; w++) {
                size_t l = (j * weights + w) * 2 + (digit[w] < 0);
                if (digit[w] != 0)
                    to[l * capacity + (size_t)count[l]++] = at[p];
            }
        }
    while (kc_next(t)) {
        uint16_t *got = kc_at(t, to);
        int32_t *got_count = kc_at(t, count);
        t->kernels->list_nonzero(kc_at(t, codes), n, step, k, weights, kc_at(t, at), got, capacity,
                                 got_count);
        for (size_t l = 0; l < lists && !t->is_bench; l++)
            clear_behind(got + l * capacity, (size_t)got_count[l], capacity);
    }
}

void kcheck_list_row(struct kcheck *t) {
    size_t n, k, weights = t->layer != NULL ? 3 : 1 + kc_below(t, 8);
    kc_sizes(t, &n, &k);
    if (t->layer != NULL)
        k = t->layer->k;
    n = bp_min_size(n, 10);
    const size_t zeros = t->layer != NULL ? 6 : kc_below(t, 9), room = n * k + 64 + kc_below(t, 2);
    const size_t step = kc_below(t, 4000), first = kc_below(t, 20000);
    kc_params(t, "n=%zu k=%zu weights=%zu, %zu of 8 zero, first=%zu step=%zu", n, k, weights, zeros,
              first, step);
    kc_work(t, (double)(n * k), "codes");
    uint8_t *codes = kc_input(t, "codes", KC_U8, n * k);
    uint16_t *to = kc_output(t, "to", KC_I16, weights * room);
    size_t *count = kc_output(t, "count", KC_U64, weights);
    int32_t *total = kc_output(t, "total", KC_I32, n);
    memset(to, 0, weights * room * sizeof *to);
    kc_keep_initial(t, to);
    memset(count, 0, weights * sizeof *count);
    for (size_t p = 0; p < n; p++) {
        total[p] = 0;
        for (size_t j = 0; j < k; j++) {
            int x = draw_code(t, weights, zeros), digit[BP_ROW_WEIGHTS];
            codes[p * k + j] = (uint8_t)x;
            find_digits(x, weights, digit);
            for (size_t w = 0; w < weights; w++)
                if (digit[w] != 0) {
                    total[p] += 1 << w;
                    to[w * room + count[w]++] = (uint16_t)(first + p * step + j / 64 * 128 +
                                                           j % 64 + (digit[w] < 0 ? 64 : 0));
                }
        }
    }
    while (kc_next(t)) {
        uint16_t *got = kc_at(t, to);
        size_t *got_count = kc_at(t, count);
        t->kernels->list_row(kc_at(t, codes), n, k, weights, first, step, got, room, got_count,
                             kc_at(t, total));
        for (size_t w = 0; w < weights && !t->is_bench; w++)
            clear_behind(got + w * room, got_count[w], room);
    }
}

#define LISTS 4

void kcheck_join_rows(struct kcheck *t) {
    const size_t weights = t->layer != NULL ? 3 : 1 + kc_below(t, 8);
    const size_t lists = t->layer != NULL ? 3 : kc_below(t, LISTS + 1);
    size_t n[LISTS][BP_ROW_WEIGHTS], room[LISTS], first[LISTS], most = 0, all = 0;
    const uint16_t none = (uint16_t)kc_below(t, 65536);
    uint16_t *at[LISTS];
    size_t *length[LISTS];
    for (size_t i = 0; i < lists; i++) {
        draw_lengths(t, weights, 1, 3000, n[i]);
        first[i] = kc_below(t, 20000);
        room[i] = 64;
        for (size_t w = 0; w < weights; w++) {
            room[i] = n[i][w] + 64 > room[i] ? n[i][w] + 64 : room[i];
            all += n[i][w];
        }
        most += room[i];
        at[i] = kc_input(t, "at", KC_I16, weights * room[i]);
        length[i] = kc_input(t, "length", KC_U64, weights);
        draw_numbers(t, at[i], weights * room[i], 45000);
        for (size_t w = 0; w < weights; w++)
            length[i][w] = n[i][w];
    }
    kc_params(t, "lists=%zu weights=%zu none=%u", lists, weights, none);
    kc_work(t, (double)all, "rows");
    const size_t to_room = most + 128;
    uint16_t *to = kc_output(t, "to", KC_I16, weights * to_room);
    size_t *count = kc_output(t, "count", KC_U64, weights);
    memset(to, 0, weights * to_room * sizeof *to);
    kc_keep_initial(t, to);
    for (size_t w = 0; w < weights; w++) {
        count[w] = 0;
        for (size_t i = 0; i < lists; i++)
            for (size_t j = 0; j < n[i][w]; j++)
                to[w * to_room + count[w]++] = (uint16_t)(at[i][w * room[i] + j] + first[i]);
        while (count[w] % BP_ROW_BLOCK != 0)
            to[w * to_room + count[w]++] = none;
    }
    while (kc_next(t)) {
        struct bp_row_lists of[LISTS];
        uint16_t *got = kc_at(t, to);
        size_t *got_count = kc_at(t, count);
        for (size_t i = 0; i < lists; i++)
            of[i] = (struct bp_row_lists){kc_at(t, at[i]), room[i], kc_at(t, length[i]), first[i]};
        t->kernels->join_rows(of, lists, weights, none, got, to_room, got_count);
        for (size_t w = 0; w < weights && !t->is_bench; w++)
            clear_behind(got + w * to_room, got_count[w], to_room);
    }
}

/* What product_rows and product_rows_i32 take. `most`: rows of weight 1; 0: as many as leave sums
 * in 16 bits. */
struct rows {
    size_t weights, room, words, words_each, *count;
    uint64_t *rows;
    uint16_t *at;
    int32_t *total;
};

static struct rows make_rows(struct kcheck *t, size_t most) {
    struct rows r = {.weights = t->layer != NULL ? 3 : 1 + kc_below(t, 8),
                     .words = t->layer != NULL ? 8 : 1 + kc_below(t, 8),
                     .words_each = t->layer != NULL ? bp_min_size(bp_words(t->layer->c), 8)
                                                    : 1 + kc_below(t, 9)};
    const size_t numbers = t->layer != NULL          ? 8192
                           : t->case_index % 64 == 5 ? 65536
                                                     : 1 + kc_below(t, 60);
    size_t n[BP_ROW_WEIGHTS], all = 0;
    draw_lengths(t, r.weights, 1, most > 0 ? most : (size_t)16000 >> r.weights, n);
    for (size_t w = 0; w < r.weights; w++) {
        n[w] = bp_round_up(n[w], BP_ROW_BLOCK);
        all += n[w];
        r.room = n[w] > r.room ? n[w] : r.room;
    }
    r.room += kc_below(t, 20);
    kc_params(t, "words=%zu of %zu each, weights=%zu, rows %zu %zu", r.words, r.words_each,
              r.weights, n[0], r.weights > 1 ? n[1] : 0);
    kc_work(t, (double)(all * r.words * 64), "MAC");
    r.rows = kc_input(t, "rows", KC_U64, numbers * BP_ROW_WORDS);
    kc_fill_bits(t, r.rows, numbers * BP_ROW_WORDS, 64);
    const size_t totals = (r.words + r.words_each - 1) / r.words_each;
    r.total = kc_input(t, "total", KC_I32, totals);
    for (size_t i = 0; i < totals; i++)
        r.total[i] = (int32_t)kc_below(t, 20000);
    r.count = kc_input(t, "count", KC_U64, r.weights);
    r.at = kc_input(t, "at", KC_I16, r.weights * r.room);
    draw_numbers(t, r.at, r.weights * r.room, numbers);
    for (size_t w = 0; w < r.weights; w++)
        r.count[w] = n[w];
    return r;
}

static int32_t expect_lane(const struct rows *r, size_t j) {
    int32_t sum = r->total[j / 64 / r->words_each];
    for (size_t w = 0; w < r->weights; w++)
        for (size_t i = 0; i < r->count[w]; i++)
            sum -= 2 * bp_bit(r->rows + r->at[w * r->room + i] * BP_ROW_WORDS, j) << w;
    return sum;
}

void kcheck_product_rows(struct kcheck *t) {
    struct rows r = make_rows(t, 0);
    uint64_t *mask = kc_input(t, "mask", KC_U64, r.words);
    kc_fill_bits(t, mask, r.words, 64);
    int16_t *y = kc_output(t, "y", KC_I16, 64 * r.words);
    for (size_t j = 0; j < 64 * r.words; j++)
        y[j] = bp_bit(mask, j) ? (int16_t)expect_lane(&r, j) : 0;
    while (kc_next(t))
        t->kernels->product_rows(kc_at(t, r.rows), r.weights, kc_at(t, r.at), r.room,
                                 kc_at(t, r.count), kc_at(t, r.total), r.words_each, r.words,
                                 kc_at(t, mask), kc_at(t, y));
}

void kcheck_product_rows_i32(struct kcheck *t) {
    struct rows r = make_rows(t, t->case_index % 32 == 3 ? 150000 : 5000);
    int32_t *y = kc_output(t, "y", KC_I32, 64 * r.words);
    for (size_t j = 0; j < 64 * r.words; j++)
        y[j] = expect_lane(&r, j);
    while (kc_next(t))
        t->kernels->product_rows_i32(kc_at(t, r.rows), r.weights, kc_at(t, r.at), r.room,
                                     kc_at(t, r.count), kc_at(t, r.total), r.words_each, r.words,
                                     kc_at(t, y));
}
