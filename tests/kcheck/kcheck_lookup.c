/* Tests of the products by lookup. The references look up and add one entry at a time. */
#include "kcheck/kcheck.h"

#include <stdlib.h>

#include "base/bits.h"

/* The largest entry of a case: that of one of the tops, or any. Layers: 60, or what --entry-max
 * says. */
static int draw_entry_max(struct kcheck *t) {
    static const int tops[] = {1, 2, 6, 14, 15};
    if (t->layer != NULL)
        return t->entry_max;
    return kc_below(t, 4) ? 4 * tops[kc_below(t, 5)] : 1 + (int)kc_below(t, 60);
}

/* Entries 0 .. entry_max; bytes of all ones become the largest. */
static uint8_t *make_tables(struct kcheck *t, size_t bytes, int entry_max) {
    uint8_t *tables = kc_input(t, "tables", KC_U8, bytes);
    kc_fill_bytes(t, tables, bytes);
    for (size_t i = 0; i < bytes; i++)
        tables[i] = (uint8_t)(tables[i] == 255 ? entry_max : tables[i] % (entry_max + 1));
    return tables;
}

static uint8_t *make_index(struct kcheck *t, size_t bytes, size_t together) {
    uint8_t *index = kc_input(t, "index", KC_U8, bytes);
    kc_fill_bytes(t, index, bytes);
    for (size_t i = 0; i < bytes; i++)
        index[i] = (uint8_t)(index[i] % 16 + 16 * (i % together));
    return index;
}

static int draw_shift(struct kcheck *t) {
    return t->layer == NULL && kc_below(t, 2) ? (int)kc_below(t, 7) : 0;
}

struct lookup_sizes {
    size_t n, taps, quads, lanes;
};

/* Sweeps the quads, then the lanes; then pixels or long sums. At most 8191 quads in all. */
static struct lookup_sizes draw_sizes(struct kcheck *t) {
    unsigned i = t->case_index;
    struct lookup_sizes s = {1 + kc_below(t, 7), 1 + kc_below(t, 9), 1 + kc_below(t, 20),
                             kc_below(t, 3) ? 1 + kc_below(t, 70) : kc_edge_size(t)};
    if (t->layer != NULL) {
        s.n = kc_positions(t);
        s.taps = t->layer->r * t->layer->r;
    } else if (i < KC_SWEEP) {
        s.quads = i + 1;
    } else if (i < 2 * KC_SWEEP) {
        s.lanes = i - KC_SWEEP + 1;
    } else if (i % 5 == 0) {
        s.quads = 1 + kc_below(t, 8191 / s.taps);
        s.lanes = 1 + kc_below(t, 35);
    } else {
        s.n = 1 + kc_below(t, 70);
    }
    return s;
}

/* The index byte of a lane, tap and quad. */
static uint8_t index_at(const uint8_t *index, size_t lane, size_t taps, size_t tap, size_t quads,
                        size_t quad, size_t together) {
    size_t first = (lane / 32 * taps + tap) * quads + quad / together * together;
    return index[first * 32 + lane % 32 * together + quad % together];
}

/* The sum of the entries of one pixel and lane. */
static int32_t sum_of_entries(const uint8_t *tables, int32_t pixel, const int32_t *tap,
                              const int32_t *tap_w, size_t taps, size_t w_taps, size_t quads,
                              size_t together, const uint8_t *index, size_t lane) {
    int32_t sum = 0;
    for (size_t i = 0; i < taps; i++)
        for (size_t q = 0; q < quads; q++)
            sum += tables[16 * ((size_t)(pixel + tap[i]) + q / together * together) +
                          index_at(index, lane, w_taps, (size_t)tap_w[i], quads, q, together)];
    return sum;
}

void kcheck_product_tables(struct kcheck *t) {
    struct lookup_sizes s = draw_sizes(t);
    if (t->layer != NULL) {
        s.quads = (t->layer->k + 3) / 4;
        s.lanes = t->layer->c;
    }
    size_t together = kc_together(t, 0);
    size_t n = s.n, taps = s.taps, quads = bp_round_up(s.quads, together), c = s.lanes;
    size_t w_taps = kc_draw_w_taps(t, taps), blocks = (c + 31) / 32;
    int entry_max = draw_entry_max(t), shift = draw_shift(t), with_base = kc_below(t, 2) != 0;
    kc_params(
        t, "n=%zu taps=%zu w_taps=%zu quads=%zu together=%zu entry_max=%d c=%zu base %s shift=%d",
        n, taps, w_taps, quads, together, entry_max, c, with_base ? "given" : "NULL", shift);
    kc_work(t, (double)(n * taps * quads) * 4 * (double)c, "MAC");
    int32_t *pixel = kc_input(t, "pixel", KC_I32, n);
    int32_t *tap = kc_input(t, "tap", KC_I32, taps);
    int32_t *tap_w = kc_make_tap_w(t, taps, w_taps);
    int32_t *base = with_base ? kc_input(t, "base", KC_I32, c) : NULL;
    size_t n_tables = kc_make_windows(t, pixel, n, tap, taps, quads);
    uint8_t *tables = make_tables(t, n_tables * 16, entry_max);
    uint8_t *index = make_index(t, blocks * w_taps * quads * 32, together);
    int32_t *y = kc_output(t, "y", KC_I32, n * c);
    kc_fill_i32(t, y, n * c);
    kc_keep_initial(t, y);
    if (with_base)
        kc_fill_i32(t, base, c);
    if (t->layer != NULL)
        t->reference->product_tables(tables, pixel, n, tap, tap_w, taps, w_taps, quads, together,
                                     entry_max, index, c, base, shift, y, NULL);
    else
        for (size_t p = 0; p < n; p++)
            for (size_t j = 0; j < c; j++) {
                int32_t sum = sum_of_entries(tables, pixel[p], tap, tap_w, taps, w_taps, quads,
                                             together, index, j);
                y[p * c + j] = (with_base ? base[j] : y[p * c + j]) + sum * (1 << shift);
            }
    size_t soon_bytes = kc_below(t, n * c * 4), with_soon = kc_below(t, 2);
    while (kc_next(t)) {
        char *at = kc_at(t, y); /* whatever it fetches, y holds the result */
        const struct bp_fetch then = {at, at + soon_bytes, 2, soon_bytes, 64, NULL};
        struct bp_fetch soon = {.at = at, .end = at + soon_bytes, .then = &then};
        t->kernels->product_tables(kc_at(t, tables), kc_at(t, pixel), n, kc_at(t, tap),
                                   kc_at(t, tap_w), taps, w_taps, quads, together, entry_max,
                                   kc_at(t, index), c, kc_at(t, base), shift, kc_at(t, y),
                                   with_soon ? &soon : NULL);
    }
}

/* Of wide tables: two are a byte, or one is. */
static int draw_wide_max(struct kcheck *t) {
    static const int most[] = {BP_WIDE_MOST / 2, BP_WIDE_MOST / 2 + 1, BP_WIDE_MOST};
    return most[kc_below(t, 3)];
}

/* Rows of `more`, or none, of each pixel. The caller frees it. */
static const int32_t **draw_more_of(struct kcheck *t, int32_t *more, size_t n, size_t c) {
    const int32_t **more_of = malloc(n * sizeof *more_of);
    for (size_t i = 0; i < n * c; i++)
        more[i] = (int32_t)kc_below(t, 2001) - 1000;
    for (size_t p = 0; p < n; p++)
        more_of[p] = kc_below(t, 3) ? NULL : more + p * c;
    return more_of;
}

void kcheck_product_tables_i16(struct kcheck *t) {
    struct lookup_sizes s = draw_sizes(t);
    if (t->layer != NULL) {
        s.quads = (t->layer->k + 3) / 4;
        s.lanes = t->layer->c;
    }
    size_t together = kc_together(t, 0);
    size_t n = s.n, taps = s.taps, c = s.lanes, most = BP_STEPS_AT_ONCE / taps * together;
    size_t quads = bp_min_size(bp_round_up(s.quads, together), most);
    size_t w_taps = kc_draw_w_taps(t, taps), blocks = (c + 31) / 32, cw = bp_words(c);
    const int is_wide = t->layer != NULL ? t->entry_max > 60 : (int)kc_below(t, 2);
    const int entry_max = t->layer == NULL && is_wide ? draw_wide_max(t) : draw_entry_max(t);
    const int shift = is_wide ? 3 + (int)kc_below(t, 4) : (int)kc_below(t, 2);
    kc_params(t,
              "n=%zu taps=%zu w_taps=%zu quads=%zu together=%zu entry_max=%d c=%zu wide=%d "
              "shift=%d",
              n, taps, w_taps, quads, together, entry_max, c, is_wide, shift);
    kc_work(t, (double)(n * taps * quads) * 4 * (double)c, "MAC");
    int32_t *pixel = kc_input(t, "pixel", KC_I32, n), *to = kc_make_places(t, n);
    int32_t *tap = kc_input(t, "tap", KC_I32, taps);
    int32_t *tap_w = kc_make_tap_w(t, taps, w_taps);
    int32_t *base = kc_input(t, "base", KC_I32, c);
    size_t n_tables = kc_make_windows(t, pixel, n, tap, taps, quads);
    uint8_t *tables = make_tables(t, n_tables * 16, entry_max);
    uint8_t *index = make_index(t, blocks * w_taps * quads * 32, together);
    int32_t *total = is_wide ? kc_input(t, "total", KC_I32, n) : NULL;
    int32_t *more = is_wide ? kc_input(t, "more", KC_I32, n * c) : NULL;
    const int32_t **more_of = is_wide && kc_below(t, 2) ? draw_more_of(t, more, n, c) : NULL;
    uint64_t *mask = kc_input(t, "mask", KC_U64, n * cw);
    int16_t *out = kc_output(t, "out", KC_I16, n * c);
    kc_fill_bits(t, mask, n, c);
    for (size_t j = 0; j < c; j++) /* about half the range of the sums below zero */
        base[j] = (int32_t)kc_below(t, 999) - (int32_t)(taps * quads) * entry_max / 2;
    for (size_t p = 0; is_wide && p < n; p++)
        total[p] = (int32_t)(taps * quads) * entry_max / 2 - (int32_t)kc_below(t, 999);
    const struct bp_wide_pixels wide = {total, NULL};
    const struct bp_masked_sums to_out = {mask, out, shift};
    if (t->layer != NULL) {
        more_of = NULL;
        t->reference->product_tables_i16(tables, pixel, to, n, tap, tap_w, taps, w_taps, quads,
                                         together, entry_max, index, c, base,
                                         is_wide ? &wide : NULL, &to_out, NULL);
    } else
        for (size_t p = 0; p < n; p++)
            for (size_t j = 0; j < c; j++) {
                int32_t sum = sum_of_entries(tables, pixel[p], tap, tap_w, taps, w_taps, quads,
                                             together, index, j);
                sum = base[j] + (is_wide ? 2 * sum - total[p] : sum);
                sum += more_of != NULL && more_of[p] != NULL ? more[p * c + j] : 0;
                size_t row = (size_t)to[p];
                out[row * c + j] =
                    (int16_t)(bp_bit(mask + row * cw, j) ? bp_shift_to_even(sum, shift) : 0);
            }
    size_t soon_bytes = kc_below(t, n * c * 4), with_soon = kc_below(t, 2);
    while (kc_next(t)) {
        char *at = kc_at(t, out); /* whatever it fetches, out holds the result */
        struct bp_fetch soon = {.at = at, .end = at + soon_bytes};
        const struct bp_masked_sums y = {kc_at(t, mask), kc_at(t, out), shift};
        const int32_t **rows = NULL;
        if (more_of != NULL) {
            const int32_t *first = kc_at(t, more);
            rows = malloc(n * sizeof *rows);
            for (size_t p = 0; p < n; p++)
                rows[p] = more_of[p] == NULL ? NULL : first + p * c;
        }
        const struct bp_wide_pixels pixels = {kc_at(t, total), rows};
        t->kernels->product_tables_i16(kc_at(t, tables), kc_at(t, pixel), kc_at(t, to), n,
                                       kc_at(t, tap), kc_at(t, tap_w), taps, w_taps, quads,
                                       together, entry_max, kc_at(t, index), c, kc_at(t, base),
                                       is_wide ? &pixels : NULL, &y, with_soon ? &soon : NULL);
        free(rows);
    }
    free(more_of);
}

void kcheck_product_signs(struct kcheck *t) {
    struct lookup_sizes s = draw_sizes(t);
    if (t->layer != NULL) {
        s.quads = (t->layer->c + 3) / 4;
        s.lanes = t->layer->k;
    }
    size_t n = s.n, taps = s.taps, quads = s.quads, k = s.lanes, blocks = (k + 31) / 32;
    size_t w_taps = kc_draw_w_taps(t, taps);
    int most = (int)(4 * taps * quads), bias = most - (int)kc_below(t, 4);
    kc_params(t, "n=%zu taps=%zu w_taps=%zu quads=%zu k=%zu bias=%d", n, taps, w_taps, quads, k,
              bias);
    kc_work(t, (double)(n * taps * quads) * 4 * (double)k, "MAC");
    int32_t *pixel = kc_input(t, "pixel", KC_I32, n);
    int32_t *tap = kc_input(t, "tap", KC_I32, taps);
    int32_t *to = kc_make_places(t, n), *tap_w = kc_make_tap_w(t, taps, w_taps);
    size_t bytes = kc_make_windows(t, pixel, n, tap, taps, quads);
    uint8_t *x = kc_input(t, "x", KC_U8, bytes);
    kc_fill_bytes(t, x, bytes);
    for (size_t i = 0; i < bytes; i++)
        x[i] &= 0xf0;
    uint8_t *index = make_index(t, blocks * w_taps * quads * 32, 1);
    int16_t *y = kc_output(t, "y", KC_I16, n * k);
    if (t->layer != NULL)
        t->reference->product_signs(x, pixel, to, n, tap, tap_w, taps, w_taps, quads, index, k,
                                    bias, y);
    else
        for (size_t p = 0; p < n; p++)
            for (size_t j = 0; j < k; j++) {
                int differ = 0;
                for (size_t i = 0; i < taps; i++)
                    for (size_t q = 0; q < quads; q++) {
                        int bits = x[(size_t)(pixel[p] + tap[i]) + q] / 16 ^
                                   index_at(index, j, w_taps, (size_t)tap_w[i], quads, q, 1);
                        differ += (bits & 1) + (bits / 2 & 1) + (bits / 4 & 1) + bits / 8;
                    }
                y[(size_t)to[p] * k + j] = (int16_t)(bias - 2 * differ);
            }
    while (kc_next(t))
        t->kernels->product_signs(kc_at(t, x), kc_at(t, pixel), kc_at(t, to), n, kc_at(t, tap),
                                  kc_at(t, tap_w), taps, w_taps, quads, kc_at(t, index), k, bias,
                                  kc_at(t, y));
}

/* Runs of a case: any, also none. */
static void draw_runs(struct kcheck *t, struct bp_run *runs, size_t n_runs, size_t table_step,
                      size_t index_step) {
    size_t at = 0, longest = t->case_index % 16 == 5 ? 1 : n_runs < 4 ? 700 : 12; /* 1: all empty */
    for (size_t r = 0; r < n_runs; r++) {
        size_t count = kc_below(t, (uint32_t)longest), skip = kc_below(t, 5);
        runs[r] = (struct bp_run){(int32_t)(table_step * (at + (n_runs > 1 ? skip : 0))),
                                  (int32_t)(index_step * at), (int32_t)count};
        at += count + skip;
    }
}

/* Where the runs of each tap begin: any, also none. */
static void draw_taps(struct kcheck *t, size_t *begin, size_t taps, size_t n_runs) {
    begin[0] = kc_below(t, 2) * kc_below(t, (uint32_t)n_runs + 1);
    for (size_t i = 1; i <= taps; i++)
        begin[i] = begin[i - 1] + kc_below(t, (uint32_t)(n_runs - begin[i - 1]) + 1);
    if (kc_below(t, 4) != 0)
        begin[taps] = n_runs;
}

/* A layer's chunk as bconv_wgrad_lookup.c cuts it: some rows of a map, or maps of more samples side
 * by side; in the tests a smaller one. */
struct chunk {
    size_t rows, w, groups; /* steps of samples side by side */
};

static struct chunk chunk_of(const struct kcheck *t) {
    const struct kc_layer *l = t->layer;
    size_t h = l->h / l->stride, w = l->w / l->stride, steps = t->is_bench ? 64 : 16;
    size_t rows = bp_min_size(h, bp_max_size(steps / w, 1));
    return (struct chunk){rows, w, bp_max_size(steps / (rows * w), 1)};
}

/* The rows of a chunk at each tap, as in the middle of an image: with the row above and below. */
static void runs_of_chunk(const struct chunk *chunk, size_t r, size_t table_step, size_t index_step,
                          struct bp_run *runs, size_t *begin) {
    size_t n = 0, pad = r / 2, step = chunk->groups;
    for (size_t tap = 0; tap < r * r; tap++) {
        size_t tx = tap % r, left = tx < pad ? pad - tx : 0, right = tx > pad ? tx - pad : 0;
        begin[tap] = n;
        for (size_t y = 0; left + right < chunk->w && y < chunk->rows; y++) {
            size_t from = y * chunk->w + left, at = (y + tap / r) * chunk->w + left + tx - pad;
            runs[n++] = (struct bp_run){(int32_t)(from * step * table_step),
                                        (int32_t)(at * step * index_step),
                                        (int32_t)((chunk->w - left - right) * step)};
        }
    }
    begin[r * r] = n;
}

/* One past the last table or index row that the runs use. */
static size_t runs_end(const struct bp_run *runs, size_t n_runs, int of_index, size_t step) {
    size_t end = 0;
    for (size_t r = 0; r < n_runs; r++) {
        size_t begin = (size_t)(of_index ? runs[r].index : runs[r].table);
        size_t last = begin + (size_t)runs[r].count * step;
        end = runs[r].count > 0 && last > end ? last : end;
    }
    return end;
}

static size_t count_steps(const struct bp_run *runs, const size_t *begin, size_t taps) {
    size_t steps = 0;
    for (size_t r = begin[0]; r < begin[taps]; r++)
        steps += (size_t)runs[r].count;
    return steps;
}

void kcheck_product_samples(struct kcheck *t) {
    const struct kc_layer *l = t->layer;
    size_t together = kc_together(t, 0), table_step = 16 * together;
    size_t unused, c, k = 1 + kc_below(t, 6), n_runs = 1 + kc_below(t, 30), taps;
    kc_sizes(t, &unused, &c);
    struct chunk chunk = {0};
    if (l != NULL) {
        chunk = chunk_of(t);
        taps = l->r * l->r;
        n_runs = taps * chunk.rows;
        k = t->is_bench ? bp_min_size(l->k, 32) : 5;
        c = bp_min_size(l->c, 64);
    } else {
        taps = 1 + kc_below(t, 12); /* also more than go together */
        if (t->case_index >= KC_SWEEP) {
            c = (c - 1) % 70 + 1;
            k = t->case_index < 2 * KC_SWEEP ? t->case_index - KC_SWEEP + 1 : k;
        }
    }
    size_t row = (c + 31) / 32 * 32 * together,
           index_step = row + (l != NULL ? 0 : 32 * kc_below(t, 3));
    size_t tap_stride = l != NULL ? l->c : c + kc_below(t, 2) * kc_below(t, 20);
    size_t y_stride = l != NULL ? taps * l->c : taps * tap_stride + kc_below(t, 20);
    int entry_max = draw_entry_max(t), add = l != NULL ? 1 : (int)kc_below(t, 2);
    const int is_wide = l != NULL ? entry_max > 60 : together == KC_WIDE_TOGETHER && kc_below(t, 2);
    const int weight = is_wide ? 2 : 1;
    if (l == NULL && is_wide)
        entry_max = draw_wide_max(t);
    size_t *begin = kc_input(t, "begin", KC_U64, taps + 1);
    struct bp_run *runs = kc_input(t, "runs", KC_I32, 3 * n_runs);
    if (l != NULL) {
        runs_of_chunk(&chunk, l->r, table_step, index_step, runs, begin);
        n_runs = begin[taps];
    } else {
        draw_runs(t, runs, n_runs, table_step, index_step);
        draw_taps(t, begin, taps, n_runs);
    }
    size_t table_bytes = runs_end(runs, n_runs, 0, table_step);
    size_t column_bytes = table_bytes + 16 * (l != NULL ? 4 : kc_below(t, 3));
    size_t index_bytes = runs_end(runs, n_runs, 1, index_step),
           steps = count_steps(runs, begin, taps);
    kc_params(t,
              "k=%zu column_bytes=%zu n_runs=%zu taps=%zu steps=%zu index_step=%zu c=%zu "
              "together=%zu entry_max=%d weight=%d add=%d y_stride=%zu tap_stride=%zu",
              k, column_bytes, n_runs, taps, steps, index_step, c, together, entry_max, weight, add,
              y_stride, tap_stride);
    kc_work(t, (double)(steps * together * k) * 4 * (double)c, "MAC");
    uint8_t *tables = make_tables(t, (k - 1) * column_bytes + table_bytes, entry_max);
    uint8_t *index = make_index(t, index_bytes == 0 ? 0 : index_bytes - index_step + row, together);
    size_t y_count = (k - 1) * y_stride + (taps - 1) * tap_stride + c;
    int32_t *y = kc_output(t, "y", KC_I32, y_count);
    kc_fill_i32(t, y, y_count);
    kc_keep_initial(t, y);
    struct bp_tap_runs tap_runs = {runs, begin, taps, weight};
    if (l != NULL)
        t->reference->product_samples(tables, k, column_bytes, &tap_runs, index, index_step, c,
                                      together, entry_max, add, y, y_stride, tap_stride);
    else
        for (size_t i = 0; i < k * taps; i++) {
            int32_t *to = y + i / taps * y_stride + i % taps * tap_stride;
            for (size_t j = 0; j < c && !add; j++)
                to[j] = 0;
            for (size_t r = begin[i % taps]; r < begin[i % taps + 1]; r++)
                for (size_t q = 0; q < (size_t)runs[r].count; q++) {
                    const uint8_t *table =
                        tables + i / taps * column_bytes + runs[r].table + table_step * q;
                    const uint8_t *at = index + (size_t)runs[r].index + q * index_step;
                    for (size_t j = 0; j < c * together; j++)
                        to[j / together] += weight * table[at[j]];
                }
        }
    while (kc_next(t)) {
        tap_runs = (struct bp_tap_runs){kc_at(t, runs), kc_at(t, begin), taps, weight};
        t->kernels->product_samples(kc_at(t, tables), k, column_bytes, &tap_runs, kc_at(t, index),
                                    index_step, c, together, entry_max, add, kc_at(t, y), y_stride,
                                    tap_stride);
    }
}
