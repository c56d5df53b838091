#include "ops/head_loss.h"

#include <math.h>

static size_t first_largest(const float *values, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (values[i] > values[best])
            best = i;
    return best;
}

/* log sum exp of a row whose largest value is given. */
static double log_sum_exp(const float *row, size_t classes, double largest) {
    double sum = 0.0;
    for (size_t j = 0; j < classes; j++)
        sum += exp((double)row[j] - largest);
    return log(sum) + largest;
}

void bp_head_probabilities(const float *logits, size_t n, size_t classes, float *probabilities) {
    for (size_t i = 0; i < n; i++) {
        const float *row = logits + i * classes;
        double log_sum = log_sum_exp(row, classes, (double)row[first_largest(row, classes)]);
        for (size_t j = 0; j < classes; j++)
            probabilities[i * classes + j] = (float)exp((double)row[j] - log_sum);
    }
}

double bp_head_loss(const float *logits, const int32_t *labels, size_t n, size_t classes,
                    float smoothing, float *probabilities, float *gradient, size_t *correct) {
    double loss = 0.0, even = (double)smoothing / (double)classes;
    *correct = 0;
    for (size_t i = 0; i < n; i++) {
        const float *row = logits + i * classes;
        size_t best = first_largest(row, classes), label = (size_t)labels[i];
        double log_sum = log_sum_exp(row, classes, (double)row[best]);
        *correct += best == label;
        for (size_t j = 0; j < classes; j++) {
            double log_p = (double)row[j] - log_sum, p = exp(log_p);
            double q = even + (j == label ? 1.0 - (double)smoothing : 0.0);
            loss -= q * log_p;
            probabilities[i * classes + j] = (float)p;
            if (gradient != NULL)
                gradient[i * classes + j] = (float)((p - q) / (double)n);
        }
    }
    return loss / (double)n;
}
