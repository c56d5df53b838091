#include "unit/stat_bounds.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define FALSE_ALARM     1e-16
#define COMPARISONS_MAX 1000000u

static size_t comparisons;

/* Solves n t^2 = l (2 v + 2 m t / 3) with l = log(2 / FALSE_ALARM). */
double stat_bound(double variance, double largest, double n) {
    double l = log(2.0 / FALSE_ALARM), third = l * largest / 3.0;
    return (third + sqrt(third * third + 2.0 * n * l * variance)) / n;
}

void stat_check_mean(const char *what, size_t at, double sum, double n,
                     const struct stat_law *law) {
    double bound = stat_bound(law->variance, law->largest, n) + law->slack;
    comparisons++;
    if (!(fabs(sum / n - law->mean) <= bound))
        fail_msg("%s %zu: mean %.9g of %.0f draws, expected %.9g +- %.3g", what, at, sum / n, n,
                 law->mean, bound);
}

void stat_finish(void **state) {
    (void)state;
    assert_in_range(comparisons, 1, COMPARISONS_MAX);
}
