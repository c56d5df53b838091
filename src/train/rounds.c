#include "train/rounds.h"

#include <stdlib.h>

#include "train/evaluate.h"

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bp_rounds_median(double *values, size_t count) {
    qsort(values, count, sizeof *values, compare);
    return count % 2 == 1 ? values[count / 2] : 0.5 * (values[count / 2 - 1] + values[count / 2]);
}

bp_status bp_rounds_check_interrupt(void) {
    bp_status stopped = bp_interrupt_requested();
    if (stopped == BP_OK)
        return BP_OK;
    bp_interrupt(0); /* answered */
    return bp_fail(stopped, "timing stopped on request");
}
