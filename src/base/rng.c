#include "base/rng.h"

#include <math.h>

void bp_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

struct bp_stream bp_stream_make(uint64_t seed, enum bp_purpose purpose, unsigned layer,
                                uint32_t step) {
    struct bp_stream stream = {{(uint32_t)seed, (uint32_t)(seed >> 32)},
                               step,
                               (uint32_t)purpose << 16 | (layer & 0xffffu)};
    return stream;
}

void bp_stream_block(const struct bp_stream *stream, uint64_t index, uint32_t out[4]) {
    const uint32_t counter[4] = {(uint32_t)index, (uint32_t)(index >> 32), stream->step,
                                 stream->purpose_layer};
    bp_philox(counter, stream->key, out);
}

uint32_t bp_stream_u32(const struct bp_stream *stream, uint64_t index) {
    uint32_t block[4];
    bp_stream_block(stream, index / 4, block);
    return block[index % 4];
}

float bp_stream_uniform(const struct bp_stream *stream, uint64_t index) {
    return (float)(bp_stream_u32(stream, index) >> 8) * 0x1p-24f;
}

float bp_stream_normal(const struct bp_stream *stream, uint64_t index) {
    /* (u + 0.5) / 2^32 is never 0, so the logarithm is finite. */
    double u = ((double)bp_stream_u32(stream, 2 * index) + 0.5) * 0x1p-32;
    double v = ((double)bp_stream_u32(stream, 2 * index + 1) + 0.5) * 0x1p-32;
    return (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
}

uint32_t bp_stream_below(const struct bp_stream *stream, uint64_t index, uint32_t n) {
    return (uint32_t)((uint64_t)bp_stream_u32(stream, index) * n >> 32);
}
