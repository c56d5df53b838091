/* Optimizers: SGD (momentum, Nesterov), Adam, AdamW, with PyTorch's formulas (1.13 and 2.x; optim.c
 * states them), two groups of parameters (body and head), weight decay where the parameter allows
 * it, and clipping of the global gradient norm. Every element is updated by itself and the norm is
 * a sum over fixed blocks in a fixed order, so the result is the same for any number of threads and
 * whenever in a step a parameter is updated. */
#ifndef BP_TRAIN_OPTIM_H
#define BP_TRAIN_OPTIM_H

#include "nn/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

enum bp_optim_kind { BP_OPTIM_SGD, BP_OPTIM_ADAM, BP_OPTIM_ADAMW };

struct bp_optim_config {
    enum bp_optim_kind kind;
    double lr;           /* of the body */
    double head_lr;      /* of parameters with BP_PARAM_HEAD; 0: the same as lr */
    double momentum;     /* sgd */
    int nesterov;        /* sgd, needs momentum > 0 */
    double beta1, beta2; /* adam, adamw */
    double eps;          /* adam, adamw */
    double weight_decay; /* sgd, adam: added to the gradient; adamw: decoupled. Not for NO_DECAY */
    double clip_norm;    /* largest global gradient norm; 0: off */
    int freeze_body;     /* update only BP_PARAM_HEAD; meant for a whole run */
    int clamp_latent;    /* keep latent weights in [-1, 1] */
};

/* PyTorch's defaults of the kind (lr 0.1 and momentum 0.9 for sgd, lr 1e-3 for the others); weight
 * decay 0 (adamw: 0.01), everything else off. */
void bp_optim_config_default(struct bp_optim_config *config, enum bp_optim_kind kind);

/* BP_USAGE if a value is impossible. */
bp_status bp_optim_config_check(const struct bp_optim_config *config);

/* "sgd", "adam", "adamw". An unknown name is BP_USAGE. */
const char *bp_optim_name(enum bp_optim_kind kind);
bp_status bp_optim_parse(const char *name, enum bp_optim_kind *out);

/* The list of blocks and the room for their sums; the moments are the parameters' own. The
 * parameters must outlive it and have gradients and moments. */
struct bp_optim;
bp_status bp_optim_create(struct bp_optim **out, struct bp_param *const *params, size_t n_params);
void bp_optim_destroy(struct bp_optim *optim);

struct bp_optim_result {
    double grad_norm; /* of all parameters that are trained, before clipping; NaN if the backward
                         pass was ended */
    int finite;       /* 0: the norm is NaN or infinite, see bp_optim_begin */
    uint64_t spent_ns;
};

/* One step. `factor` multiplies both learning rates (train/schedule.h); `t` is the number of this
 * step, 1 for the first. Packs the signs of latent parameters that have room for them. Gradients
 * are not changed; nothing is allocated.
 *
 * It goes along with the backward pass, to which the updater that bp_optim_begin returns is given:
 * parameters whose gradients share their memory (bp_param.grad_shared) are updated by it, layer by
 * layer, all others by bp_optim_end. The numbers are the same as if all were updated at the end.
 * Where a gradient is not finite, its parameter is not updated and the backward pass ends; what
 * came before may be updated already, so that the network is of no use any more. bp_optim_end then
 * updates nothing. config->clip_norm needs the norm of all gradients before any update: with it no
 * gradient may share its memory. The config must live until bp_optim_end. */
struct bp_param_updater *bp_optim_begin(struct bp_optim *optim, struct bp_exec *exec,
                                        const struct bp_optim_config *config, double factor,
                                        uint64_t t);
void bp_optim_end(struct bp_optim *optim, struct bp_optim_result *result);

/* Both at once, after a backward pass without updater, where no gradient shares its memory. If the
 * norm is not finite, nothing is updated. */
void bp_optim_step(struct bp_optim *optim, struct bp_exec *exec,
                   const struct bp_optim_config *config, double factor, uint64_t t,
                   struct bp_optim_result *result);

#ifdef __cplusplus
}
#endif
#endif
