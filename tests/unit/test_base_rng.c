#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#ifdef BP_HAVE_RANDOM123
#include <Random123/philox.h>
#endif
#ifdef BP_HAVE_ARS
#include <Random123/ars.h>
#endif

#include "base/rng.h"

/* The vectors of Random123's kat_vectors for philox4x32, 10 rounds. */
static void test_known_answers(void **state) {
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], expected[4];
    } vectors[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        uint32_t out[4];
        bp_philox(vectors[i].counter, vectors[i].key, out);
        assert_memory_equal(out, vectors[i].expected, sizeof out);
    }
}

static void test_against_random123(void **state) {
    (void)state;
#ifdef BP_HAVE_RANDOM123
    struct bp_stream inputs = bp_stream_make(1, BP_RANDOM_TEST, 0, 0);
    for (uint64_t i = 0; i < 2000; i++) {
        uint32_t words[8], out[4];
        bp_stream_block(&inputs, 2 * i, words);
        bp_stream_block(&inputs, 2 * i + 1, words + 4);
        philox4x32_ctr_t counter = {{words[0], words[1], words[2], words[3]}};
        philox4x32_key_t key = {{words[4], words[5]}};
        philox4x32_ctr_t expected = philox4x32_R(10, counter, key);
        bp_philox(words, words + 4, out);
        assert_memory_equal(out, expected.v, sizeof out);
    }
#else
    skip();
#endif
}

/* What Random123's ars4x32 with 7 rounds gives for the inputs of its kat_vectors. */
static void test_known_bytes(void **state) {
    (void)state;
    static const struct {
        uint32_t counter[4];
        uint64_t key[2];
        uint32_t expected[4];
    } vectors[] = {
        {{0, 0, 0, 0}, {0, 0}, {0xdacf61ff, 0xc45798f3, 0x113c7eeb, 0x101e27f3}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {UINT64_MAX, UINT64_MAX},
         {0xfbaaff1f, 0xbb547ef9, 0x13d8cd78, 0x7aaa969b}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0x299f31d0a4093822, 0xec4e6c89082efa98},
         {0xd1df87af, 0xf67d43ba, 0x4f66afdb, 0x393dcb2d}},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        uint8_t out[16];
        bp_ars(vectors[i].counter, vectors[i].key, out);
        for (size_t byte = 0; byte < 16; byte++)
            assert_int_equal(out[byte], vectors[i].expected[byte / 4] >> byte % 4 * 8 & 0xff);
    }
}

static void test_bytes_against_random123(void **state) {
    (void)state;
#ifdef BP_HAVE_ARS
    if (!haveAESNI())
        skip();
    struct bp_stream inputs = bp_stream_make(2, BP_RANDOM_TEST, 0, 0);
    for (uint64_t i = 0; i < 2000; i++) {
        uint32_t words[8];
        uint8_t out[16];
        bp_stream_block(&inputs, 2 * i, words);
        bp_stream_block(&inputs, 2 * i + 1, words + 4);
        ars4x32_ctr_t counter = {{words[0], words[1], words[2], words[3]}};
        ars4x32_key_t key = {{words[4], words[5], words[6], words[7]}};
        const uint64_t key_64[2] = {(uint64_t)words[5] << 32 | words[4],
                                    (uint64_t)words[7] << 32 | words[6]};
        ars4x32_ctr_t expected = ars4x32_R(7, counter, key);
        bp_ars(words, key_64, out);
        assert_memory_equal(out, expected.v, sizeof out);
    }
#else
    skip();
#endif
}

static void test_stream_layout(void **state) {
    (void)state;
    struct bp_stream stream =
        bp_stream_make(0x1122334455667788u, BP_RANDOM_SHUFFLE, 0x12345, 0x99aabbcc);
    uint64_t index = 0x0102030405060708u;
    const uint32_t counter[4] = {0x05060708, 0x01020304, 0x99aabbcc,
                                 (uint32_t)BP_RANDOM_SHUFFLE << 16 | 0x2345};
    const uint32_t key[2] = {0x55667788, 0x11223344};
    uint32_t expected[4], out[4];
    bp_philox(counter, key, expected);
    bp_stream_block(&stream, index, out);
    assert_memory_equal(out, expected, sizeof out);
    uint8_t bytes[16], expected_bytes[16];
    bp_ars(counter, (const uint64_t[2]){0x1122334455667788u, 0}, expected_bytes);
    bp_stream_bytes(&stream, index, bytes);
    assert_memory_equal(bytes, expected_bytes, sizeof bytes);
    for (uint64_t word = 0; word < 9; word++) {
        bp_stream_block(&stream, word / 4, out);
        assert_int_equal(bp_stream_u32(&stream, word), out[word % 4]);
        float uniform = (float)(out[word % 4] >> 8) / 16777216.0f;
        assert_true(bp_stream_uniform(&stream, word) == uniform);
        assert_int_equal(bp_stream_below(&stream, word, 10), (uint64_t)out[word % 4] * 10 >> 32);
    }
}

static void test_streams_differ(void **state) {
    (void)state;
    struct bp_stream base = bp_stream_make(5, BP_RANDOM_INIT, 3, 7);
    struct bp_stream others[] = {
        bp_stream_make(6, BP_RANDOM_INIT, 3, 7),
        bp_stream_make(5 + (1ull << 32), BP_RANDOM_INIT, 3, 7),
        bp_stream_make(5, BP_RANDOM_TEST, 3, 7),
        bp_stream_make(5, BP_RANDOM_INIT, 4, 7),
        bp_stream_make(5, BP_RANDOM_INIT, 3, 8),
    };
    uint32_t block[4], other[4];
    bp_stream_block(&base, 0, block);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        bp_stream_block(&others[i], 0, other);
        assert_memory_not_equal(block, other, sizeof block);
    }
}

/* Bounds are six standard errors wide; the numbers are fixed, so a pass stays a pass. */
static void test_distributions(void **state) {
    (void)state;
    enum { N = 40000, BINS = 7 };
    struct bp_stream stream = bp_stream_make(42, BP_RANDOM_TEST, 0, 0);
    double sum = 0, normal = 0, squares = 0;
    int bins[BINS] = {0};
    for (uint64_t i = 0; i < N; i++) {
        float u = bp_stream_uniform(&stream, i);
        assert_true(u >= 0 && u < 1);
        sum += (double)u;
        double g = (double)bp_stream_normal(&stream, i);
        assert_true(isfinite(g));
        normal += g;
        squares += g * g;
        uint32_t bin = bp_stream_below(&stream, i, BINS);
        assert_in_range(bin, 0, BINS - 1);
        bins[bin]++;
        assert_int_equal(bp_stream_below(&stream, i, 1), 0);
    }
    int values[256] = {0};
    for (uint64_t i = 0; i < N; i++) {
        uint8_t bytes[16];
        bp_stream_bytes(&stream, i, bytes);
        for (size_t byte = 0; byte < 16; byte++)
            values[bytes[byte]]++;
    }
    for (int i = 0; i < 256; i++)
        assert_true(fabs(values[i] - N / 16.0) < 6 * sqrt(N / 16.0));
    assert_true(fabs(sum / N - 0.5) < 6 * 0.2887 / sqrt(N));
    assert_true(fabs(normal / N) < 6 / sqrt(N));
    assert_true(fabs(squares / N - 1) < 6 * sqrt(2.0 / N));
    for (int i = 0; i < BINS; i++)
        assert_true(fabs(bins[i] - (double)N / BINS) < 6 * sqrt((double)N / BINS));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers), cmocka_unit_test(test_against_random123),
        cmocka_unit_test(test_known_bytes),   cmocka_unit_test(test_bytes_against_random123),
        cmocka_unit_test(test_stream_layout), cmocka_unit_test(test_streams_differ),
        cmocka_unit_test(test_distributions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
