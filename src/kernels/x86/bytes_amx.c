/* Products of bytes on tiles: 16 rows by up to 64 lanes in four tiles of sums. A step multiplies up
 * to 16 quads that lie one behind the other in a row, as those of a strip or of a row of positions
 * do; a weight's layout is that of a tile already. Rows at even distances are loaded where they
 * are, others are copied first. product_bytes_f32 is AVX-512's: it has at most 7 quads. */
#include "kernels/x86/tier_amx.h"

#include "kernels/x86/bytes_avx512.h"
#include "kernels/x86/fetch_x86.h"
#include "kernels/x86/vec_amx.h"

enum {
    ROWS = BP_TILE_ROWS,
    AHEAD = 2 * ROWS /* rows of y that are fetched */,
    QUADS = 16,
    QUAD_BYTES = 4,
    TILE_ROW = QUADS * QUAD_BYTES
};

struct room {
    /* Two, as rows are copied a step ahead: the load of a tile waits for what was just stored. */
    uint8_t rows[2][ROWS][TILE_ROW];
    __m512i sums[4][ROWS]; /* [lanes / 16] */
    /* A step reads 16 quads of weights. The last ones of all, with zeros behind them. */
    int8_t end[2 * QUADS][4][TILE_ROW];
    size_t end_quad; /* the first in it */
} __attribute__((aligned(64)));

/* Quads t .. t + count - 1 of 16 rows of x. */
struct step {
    size_t t, count;
    const uint8_t *x;
    size_t pitch;
};

/* How many of the quads from t on lie one behind the other, up to 16. */
BP_INLINE size_t run_of(const struct bytes_job *job, size_t t) {
    const __m512i steps =
        _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60);
    __mmask16 there = mask_16(job->quads - t);
    __m512i quads = _mm512_maskz_loadu_epi32(there, job->quad + t);
    __mmask16 follow = _mm512_mask_cmpeq_epi32_mask(
        there, quads, _mm512_add_epi32(_mm512_set1_epi32(job->quad[t]), steps));
    return (size_t)__builtin_ctz(~(unsigned)follow);
}

/* The distance of the 16 rows from p on, or 0 if it is not the same for all. */
BP_INLINE size_t even_distance(const struct bytes_job *job, size_t p) {
    const __m512i count = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    int32_t distance = job->row[p + 1] - job->row[p];
    __m512i even = _mm512_add_epi32(_mm512_set1_epi32(job->row[p]),
                                    _mm512_mullo_epi32(count, _mm512_set1_epi32(distance)));
    int same = _mm512_cmpeq_epi32_mask(_mm512_loadu_si512(job->row + p), even) == 0xffff;
    return same && distance > 0 ? (size_t)distance : 0;
}

/* The step from quad t on of `rows` rows, at an even distance or, 0, not. Copied rows have zeros
 * behind their quads. */
BP_INLINE struct step make_step(const struct bytes_job *job, size_t p, size_t rows, size_t distance,
                                size_t t, uint8_t (*copy)[TILE_ROW]) {
    struct step step = {t, run_of(job, t), job->x + (ptrdiff_t)job->quad[t], distance};
    if (step.count == QUADS && distance != 0) {
        step.x += job->row[p];
        return step;
    }
    __mmask64 m = mask_64(QUAD_BYTES * step.count);
    for (size_t r = 0; r < rows; r++)
        _mm512_store_si512(copy[r], _mm512_maskz_loadu_epi8(m, step.x + job->row[p + r]));
    step.x = copy[0];
    step.pitch = TILE_ROW;
    return step;
}

/* vectors (a constant) of 16 lanes from b on: the quads of weights behind which there are not 16.
 */
BP_INLINE void copy_end(const struct bytes_job *job, int vectors, size_t b, struct room *room) {
    room->end_quad = job->quads < QUADS ? 0 : job->quads - QUADS;
    for (size_t i = 0; i < 2 * QUADS; i++) {
        size_t t = room->end_quad + i;
        for (int v = 0; v < vectors; v++)
            _mm512_store_si512(room->end[i][v],
                               t < job->quads
                                   ? _mm512_load_si512(job->w + 4 * (t * job->lanes + b) + 64 * v)
                                   : _mm512_setzero_si512());
    }
}

/* The lanes from b on, vectors (a constant) of 16. */
BP_INLINE void multiply_step(const struct bytes_job *job, const struct step *step, int vectors,
                             size_t b, const struct room *room) {
    int at_end = step->t + QUADS > job->quads;
    const int8_t *w = at_end ? room->end[step->t - room->end_quad][0]
                             : job->w + QUAD_BYTES * (step->t * job->lanes + b);
    size_t pitch = at_end ? sizeof room->end[0] : QUAD_BYTES * job->lanes;
    _tile_loadd(4, step->x, step->pitch);
    _tile_loadd(5, w, pitch);
    _tile_dpbusd(0, 4, 5);
    if (vectors > 1) {
        _tile_loadd(6, w + TILE_ROW, pitch);
        _tile_dpbusd(1, 4, 6);
    }
    if (vectors > 2) {
        _tile_loadd(7, w + 2 * TILE_ROW, pitch);
        _tile_dpbusd(2, 4, 7);
    }
    if (vectors > 3) {
        _tile_loadd(5, w + 3 * TILE_ROW, pitch);
        _tile_dpbusd(3, 4, 5);
    }
}

/* rows (1 .. 16) from p on. */
BP_INLINE void tile_block(const struct bytes_job *job, enum out out, size_t rows, int vectors,
                          size_t p, size_t b, struct room *room) {
    size_t distance = rows == ROWS ? even_distance(job, p) : 0, steps = 0;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    struct step next = make_step(job, p, rows, distance, 0, room->rows[0]);
    for (size_t t = 0; t < job->quads;) {
        struct step step = next;
        t += step.count;
        if (t < job->quads)
            next = make_step(job, p, rows, distance, t, room->rows[++steps % 2]);
        multiply_step(job, &step, vectors, b, room);
        if (out == OUT_I16 && step.t == 0)
            fetch_place(job->y16 + (p + AHEAD) * job->k + b, rows * job->k * sizeof *job->y16);
    }
    _tile_stored(0, room->sums[0], TILE_ROW);
    if (vectors > 1)
        _tile_stored(1, room->sums[1], TILE_ROW);
    if (vectors > 2)
        _tile_stored(2, room->sums[2], TILE_ROW);
    if (vectors > 3)
        _tile_stored(3, room->sums[3], TILE_ROW);
    for (int v = 0; v < vectors; v++)
        put(job, out, (int)rows, room->sums[v], 1, p, b + BP_BYTE_LANES * (size_t)v);
}

BP_INLINE void tile_lanes(const struct bytes_job *job, enum out out, int vectors, size_t n,
                          size_t b, struct room *room) {
    copy_end(job, vectors, b, room);
    for (size_t p = 0; p < n; p += ROWS)
        tile_block(job, out, bp_min_size(ROWS, n - p), vectors, p, b, room);
}

BP_INLINE void tile_rows(const struct bytes_job *job, enum out out, size_t n) {
    struct room room;
    memset(room.rows, 0, sizeof room.rows);
    configure_tiles();
    for (size_t b = 0; b < job->lanes; b += 64)
        switch ((job->lanes - b) / BP_BYTE_LANES) {
        case 1:
            tile_lanes(job, out, 1, n, b, &room);
            break;
        case 2:
            tile_lanes(job, out, 2, n, b, &room);
            break;
        case 3:
            tile_lanes(job, out, 3, n, b, &room);
            break;
        default:
            tile_lanes(job, out, 4, n, b, &room);
        }
    _tile_release();
}

void bp_product_bytes_amx(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                          size_t quads, const int8_t *w, size_t k, int32_t *y) {
    struct bytes_job job = job_of(x, row, quad, quads, w, k);
    job.y32 = y;
    tile_rows(&job, OUT_I32, n);
}

void bp_product_bytes_i16_amx(const uint8_t *x, const int32_t *row, size_t n, const int32_t *quad,
                              size_t quads, const int8_t *w, size_t k, const int32_t *base,
                              const int32_t *shift, int16_t *y) {
    struct bytes_job job = job_of(x, row, quad, quads, w, k);
    job.base = base;
    job.shift = shift;
    job.y16 = y;
    tile_rows(&job, OUT_I16, n);
}
