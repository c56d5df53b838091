#include "unit/quant_model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct quant_element quant_element_make(const struct bp_quant *quant, const struct bp_group *group,
                                        float g, int exact) {
    struct quant_element element = {0};
    double lo = (double)group->grid.lo;
    int code_min, code_max, is_signed;
    bp_quant_codes(quant, &code_min, &code_max, &is_signed);
    element.low = lo;
    element.step = (double)group->step;
    if (element.step > 0.0) {
        double t = ((double)g - lo) / element.step;
        t = fmin(fmax(t, code_min), code_max);
        element.up = t - floor(t);
        element.low = lo + element.step * floor(t);
        if (!exact)
            element.doubt = 0x1p-9 + 255.0 * 3.0 * 0x1p-24;
        if (quant->bits == 8)
            element.doubt = 0x1p-16 + (exact ? 0.0 : 255.0 * 3.0 * 0x1p-24);
        element.edge = element.doubt > 0.0 && (element.up < 1e-3 || element.up > 1.0 - 1e-3);
    }
    element.value = element.low + element.step * element.up;
    return element;
}

static void check_near(double got, double want, double scale, const char *what) {
    if (!(fabs(got - want) <= 1e-5 * scale))
        fail_msg("%s of a grid is %.9g, not %.9g", what, got, want);
}

void quant_check_grid(const struct bp_quant *quant, const struct bp_group *group, const float *g,
                      size_t count) {
    double lo = INFINITY, hi = -INFINITY, squares = 0.0, step = 0.0;
    for (size_t i = 0; i < count; i++) {
        lo = fmin(lo, (double)g[i]);
        hi = fmax(hi, (double)g[i]);
        squares += (double)g[i] * (double)g[i];
    }
    double magnitude = fmax(fabs(lo), fabs(hi)), scale = magnitude;
    if (quant->clip > 0.0f) {
        double limit = (double)quant->clip * sqrt(squares / (double)count);
        magnitude = fmin(magnitude, limit);
        lo = fmin(fmax(lo, -limit), limit);
        hi = fmin(fmax(hi, -limit), limit);
    }
    if (quant->grid == BP_GRID_MINMAX) {
        step = (hi - lo) / ((1 << quant->bits) - 1);
    } else if (quant->grid == BP_GRID_SYMMETRIC) {
        lo = -magnitude;
        step = 2.0 * magnitude / ((1 << quant->bits) - 1);
    } else {
        lo = 0.0;
        step = magnitude / ((1 << (quant->bits - 1)) - 1);
    }
    check_near((double)group->grid.lo, lo, scale, "lo");
    check_near((double)group->step, step, scale / (1 << quant->bits), "the step");
}

double quant_rounding_variance(const struct quant_element *element) {
    double f = element->up;
    return element->step * element->step * (f * (1.0 - f) + element->doubt);
}

double quant_largest_error(const struct quant_element *element, double p) {
    double low = element->low - (element->edge ? element->step : 0.0);
    double high = element->low + element->step * (element->edge ? 2.0 : 1.0);
    if (element->up == 0.0 && element->doubt == 0.0)
        high = element->low;
    return fmax(fabs(low / p - element->value), fabs(high / p - element->value));
}
