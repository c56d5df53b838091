/* Bounds for tests of random numbers, computed instead of guessed. For the mean of N independent X
 * with variance <= v and |X - E X| <= m, Bernstein's inequality says, with no normal approximation,
 *     P(|mean - E X| >= t) <= 2 exp(-N t^2 / (2 v + 2 m t / 3)).
 * stat_bound is the t at which the right side is 1e-16. A program may make a million comparisons
 * (stat_finish), so ideal random numbers fail it with a probability below 1e-10. */
#ifndef BP_TESTS_STAT_BOUNDS_H
#define BP_TESTS_STAT_BOUNDS_H

#include <stddef.h>

/* What is known of X before the first draw. */
struct stat_law {
    double mean;
    double slack; /* the mean is known up to this much (coarse random numbers, float rounding) */
    double variance, largest; /* v and m */
};

/* How far the mean of n draws may lie from the expected one. */
double stat_bound(double variance, double largest, double n);

/* Fails the test if the mean of n draws with this sum lies outside the bound of its law. */
void stat_check_mean(const char *what, size_t at, double sum, double n, const struct stat_law *law);

/* The last test of a program: there were comparisons, and not more than a million. */
void stat_finish(void **state);

#endif
