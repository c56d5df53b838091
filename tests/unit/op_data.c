#include "unit/op_data.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/bits.h"
#include "base/memory.h"
#include "base/rng.h"

enum { PATTERN = 0xa5 };

void *op_data_take(size_t bytes) {
    void *block;
    assert_int_equal(bp_alloc(&block, bytes, "a test"), BP_OK);
    memset(block, 0, bytes);
    return block;
}

void *op_data_soiled(size_t bytes) {
    void *block = op_data_take(bytes);
    memset(block, PATTERN, bytes);
    return block;
}

float op_data_number(uint32_t stream, size_t index) {
    struct bp_stream s = bp_stream_make(17, BP_RANDOM_TEST, 5, stream);
    return 2.0f * bp_stream_uniform(&s, index) - 1.0f;
}

float *op_data_numbers(uint32_t stream, size_t count) {
    float *block = op_data_take(count * sizeof *block);
    for (size_t i = 0; i < count; i++)
        block[i] = op_data_number(stream, i);
    return block;
}

void op_data_assert_near(const float *want, const float *got, size_t count, float share) {
    float largest = 0.0f;
    for (size_t i = 0; i < count; i++)
        largest = fmaxf(largest, fabsf(want[i]));
    for (size_t i = 0; i < count; i++)
        if (!(fabsf(want[i] - got[i]) <= share * largest))
            fail_msg("element %zu: got %.9g, want %.9g, the largest is %.3g", i, (double)got[i],
                     (double)want[i], (double)largest);
}

void op_data_check_narrow(const int16_t *sums, float narrow_unit, const float *gradient, float unit,
                          size_t n) {
    int shift;
    if (unit == 0.0f) {
        assert_true(narrow_unit == 0.0f);
        return;
    }
    const float half = frexpf(narrow_unit / unit, &shift);
    assert_true(half == 0.5f && shift >= 1);
    for (size_t i = 0; i < n; i++) {
        const int32_t sum = (int32_t)lrintf(gradient[i] / unit);
        assert_true(unit * (float)sum == gradient[i]);
        assert_int_equal(sums[i], bp_shift_to_even(sum, shift - 1));
    }
}
