/* Data for the tests of operations. Failures end the test. */
#ifndef OP_DATA_H
#define OP_DATA_H

#include <stddef.h>
#include <stdint.h>

/* Zeroed memory; bp_free it. */
void *op_data_take(size_t bytes);
/* The same full of a pattern, so that what is not written shows. */
void *op_data_soiled(size_t bytes);

/* Uniform in (-1, 1); `stream` keeps arrays apart. */
float op_data_number(uint32_t stream, size_t index);
/* [count] of them; bp_free it. */
float *op_data_numbers(uint32_t stream, size_t count);

/* The same but for rounding: no element is further off than `share` of the largest magnitude. */
void op_data_assert_near(const float *want, const float *got, size_t count, float share);

/* Fails unless `sums` are what integers of 32 bits, of which gradient [n] is `unit` times each,
 * become in 16 bits; narrow_unit: that of `sums`, which says by how much they are shifted. */
void op_data_check_narrow(const int16_t *sums, float narrow_unit, const float *gradient, float unit,
                          size_t n);

#endif
