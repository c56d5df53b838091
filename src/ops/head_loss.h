/* Softmax cross entropy with label smoothing. */
#ifndef BP_OPS_HEAD_LOSS_H
#define BP_OPS_HEAD_LOSS_H

#include "ops/op.h"

#ifdef __cplusplus
extern "C" {
#endif

/* logits [n][classes] -> probabilities [n][classes]; the mean of -sum q log p over the batch with
 * q = (1 - smoothing) at the label + smoothing / classes everywhere; *correct counts rows whose
 * first largest logit is the label. gradient [n][classes] = (p - q) / n unless NULL. Doubles, in
 * order. */
double bp_head_loss(const float *logits, const int32_t *labels, size_t n, size_t classes,
                    float smoothing, float *probabilities, float *gradient, size_t *correct);

/* The probabilities alone. */
void bp_head_probabilities(const float *logits, size_t n, size_t classes, float *probabilities);

#ifdef __cplusplus
}
#endif
#endif
