#include "ops/batch_norm.h"

#include <math.h>
#include <stdio.h>

bp_status bp_batch_norm_plan(struct bp_batch_norm *norm, struct bp_plan *plan, size_t c,
                             const char *name, int first, int last) {
    const struct {
        const char *what;
        size_t bytes;
        void *where;
    } buffers[] = {
        {"scale", sizeof(float), &norm->scale},
        {"shift", sizeof(float), &norm->shift},
        {"ka", sizeof(float), &norm->ka},
        {"kb", sizeof(float), &norm->kb},
        {"kc", sizeof(float), &norm->kc},
        {"mean", sizeof(double), &norm->mean},
        {"deviation", sizeof(double), &norm->inverse_deviation},
    };
    char text[96];
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        snprintf(text, sizeof text, "%s %s", name, buffers[i].what);
        BP_TRY(bp_plan_add(plan, text, c * buffers[i].bytes, first, last, buffers[i].where));
    }
    return BP_OK;
}

static double unit_of(const struct bp_batch_norm *norm, size_t j) {
    return norm->unit == NULL ? 1.0 : (double)norm->unit[j];
}

static void set(struct bp_batch_norm *norm, size_t j, double mean, double variance,
                const struct bp_batch_norm_params *params) {
    norm->mean[j] = mean;
    norm->inverse_deviation[j] = 1.0 / sqrt(variance + BP_NORM_EPSILON);
    double scale = (double)params->weight[j] * norm->inverse_deviation[j];
    norm->scale[j] = (float)(scale * unit_of(norm, j));
    norm->shift[j] = (float)((double)params->bias[j] - mean * scale);
}

static float moved(float running, double value) {
    return (float)((1.0 - BP_NORM_MOMENTUM) * (double)running + BP_NORM_MOMENTUM * value);
}

void bp_batch_norm_of_batch(struct bp_batch_norm *norm, size_t j, double count, double sum,
                            double sum_squares, const struct bp_batch_norm_params *params) {
    double unit = unit_of(norm, j), mean = unit * sum / count;
    double variance = unit * unit * sum_squares / count - mean * mean;
    if (variance < 0.0)
        variance = 0.0;
    double unbiased = count > 1.0 ? variance * count / (count - 1.0) : variance;
    params->running_mean[j] = moved(params->running_mean[j], mean);
    params->running_var[j] = moved(params->running_var[j], unbiased);
    set(norm, j, mean, variance, params);
}

void bp_batch_norm_of_running(struct bp_batch_norm *norm, size_t j,
                              const struct bp_batch_norm_params *params) {
    set(norm, j, (double)params->running_mean[j], (double)params->running_var[j], params);
}

/* With xhat = (y - mean) / deviation and m = count:
 *   dbias = sum dv, dweight = sum dv xhat = (sum dv y - mean sum dv) / deviation
 *   dy = scale (dv - dbias / m - xhat dweight / m) */
void bp_batch_norm_backward(struct bp_batch_norm *norm, size_t j, double count, double sum_g,
                            double sum_ge, const struct bp_batch_norm_params *params,
                            float *weight_grad, float *bias_grad) {
    double mean = norm->mean[j], inverse = norm->inverse_deviation[j], unit = unit_of(norm, j);
    double weight = (unit * sum_ge - mean * sum_g) * inverse;
    double scale = (double)params->weight[j] * inverse;
    double kb = -scale * inverse * weight / count;
    weight_grad[j] = (float)weight;
    bias_grad[j] = (float)sum_g;
    norm->ka[j] = (float)scale;
    norm->kb[j] = (float)(kb * unit);
    norm->kc[j] = (float)(-scale * sum_g / count - kb * mean);
}
