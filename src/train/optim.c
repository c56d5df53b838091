#include "train/optim.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"

/* Blocks are the unit of work and of summation: about 4096 elements of one parameter, whole rows
 * where signs are packed, or its tail. */
#define BLOCK ((size_t)4096)

/* A parameter, in the order of the list, and whether the current step has updated it. */
struct target {
    const struct bp_param *param;
    size_t first_block, n_blocks;
    int updated;
};

struct block {
    const struct target *target;
    size_t first, count;
    double sum_squares;
};

/* The numbers of one group for one step, already in float as PyTorch rounds its scalars. */
struct rates {
    struct bp_adam adam; /* adam, adamw; sgd: lr, decay and clip only */
    float momentum;      /* sgd */
};

struct bp_optim {
    struct bp_param_updater updater; /* the first member: what update_layer gets */
    size_t n_targets, n_blocks;
    struct target *targets;
    struct block *blocks; /* in order of the targets */
    /* the current step */
    struct bp_exec *exec;
    const struct bp_optim_config *config;
    struct rates rates[2][2]; /* [head][no decay] */
    int finite;               /* as far as the step has come */
    uint64_t spent_ns;
};

void bp_optim_config_default(struct bp_optim_config *config, enum bp_optim_kind kind) {
    memset(config, 0, sizeof *config);
    config->kind = kind;
    config->lr = kind == BP_OPTIM_SGD ? 0.1 : 1e-3;
    config->momentum = 0.9;
    config->beta1 = 0.9;
    config->beta2 = 0.999;
    config->eps = 1e-8;
    config->weight_decay = kind == BP_OPTIM_ADAMW ? 0.01 : 0.0;
}

/* 1 if value is a number in [lo, hi). */
static int inside(double value, double lo, double hi) {
    return value >= lo && value < hi;
}

bp_status bp_optim_config_check(const struct bp_optim_config *config) {
    if (!inside(config->lr, 0, HUGE_VAL) || !inside(config->head_lr, 0, HUGE_VAL))
        return bp_fail(BP_USAGE, "learning rates %g (body) and %g (head): must be 0 or more",
                       config->lr, config->head_lr);
    if (!inside(config->momentum, 0, 1))
        return bp_fail(BP_USAGE, "momentum %g: must be in [0, 1)", config->momentum);
    if (config->kind == BP_OPTIM_SGD && config->nesterov && config->momentum <= 0)
        return bp_fail(BP_USAGE, "nesterov needs a momentum greater than 0");
    if (!inside(config->beta1, 0, 1) || !inside(config->beta2, 0, 1))
        return bp_fail(BP_USAGE, "betas %g and %g: must be in [0, 1)", config->beta1,
                       config->beta2);
    if (!inside(config->eps, 0, HUGE_VAL))
        return bp_fail(BP_USAGE, "eps %g: must be 0 or more", config->eps);
    if (!inside(config->weight_decay, 0, HUGE_VAL))
        return bp_fail(BP_USAGE, "weight decay %g: must be 0 or more", config->weight_decay);
    if (!inside(config->clip_norm, 0, HUGE_VAL))
        return bp_fail(BP_USAGE, "gradient norm limit %g: must be 0 (off) or more",
                       config->clip_norm);
    return BP_OK;
}

static const char *const names[] = {"sgd", "adam", "adamw"};

const char *bp_optim_name(enum bp_optim_kind kind) {
    return names[kind];
}

bp_status bp_optim_parse(const char *name, enum bp_optim_kind *out) {
    for (int i = 0; i < 3; i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (enum bp_optim_kind)i;
            return BP_OK;
        }
    }
    return bp_fail(BP_USAGE, "unknown optimizer '%s': use sgd, adam or adamw", name);
}

static size_t block_size(const struct bp_param *param) {
    if (param->sign_row == 0)
        return BLOCK;
    return param->sign_row >= BLOCK ? param->sign_row : BLOCK / param->sign_row * param->sign_row;
}

static void add_target(struct bp_optim *optim, const struct bp_param *param) {
    struct target *target = &optim->targets[optim->n_targets++];
    size_t size = block_size(param);
    *target = (struct target){.param = param, .first_block = optim->n_blocks};
    for (size_t first = 0; first < param->count; first += size)
        optim->blocks[optim->n_blocks++] = (struct block){
            .target = target, .first = first, .count = bp_min_size(param->count - first, size)};
    target->n_blocks = optim->n_blocks - target->first_block;
}

bp_status bp_optim_create(struct bp_optim **out, struct bp_param *const *params, size_t n_params) {
    *out = NULL;
    size_t n_blocks = 0;
    for (size_t i = 0; i < n_params; i++) {
        const struct bp_param *p = params[i];
        if (!p->value || !p->grad || !p->moment1 || !p->moment2)
            return bp_fail(BP_INTERNAL, "parameter %s has no gradient or moments", p->name);
        n_blocks += (p->count + block_size(p) - 1) / block_size(p);
    }
    struct bp_optim *optim;
    BP_TRY(bp_alloc(&optim, sizeof *optim, "the optimizer"));
    bp_status status =
        bp_alloc_array(&optim->targets, n_params, sizeof *optim->targets, "the optimizer");
    if (status == BP_OK)
        status = bp_alloc_array(&optim->blocks, n_blocks, sizeof *optim->blocks,
                                "the optimizer's blocks");
    if (status != BP_OK) {
        bp_optim_destroy(optim);
        return status;
    }
    for (size_t i = 0; i < n_params; i++)
        add_target(optim, params[i]);
    *out = optim;
    return BP_OK;
}

void bp_optim_destroy(struct bp_optim *optim) {
    if (!optim)
        return;
    bp_free(optim->targets);
    bp_free(optim->blocks);
    bp_free(optim);
}

/* --- a block ---------------------------------------------------------------------------------- */

/* Elements of a block whose gradient is known to be zero, all or none of them; up to BLOCK if it is
 * zero, or of integers. */
struct run {
    size_t first, count;
    const float *grad; /* of the first; zeros come from here, not from memory */
    int is_zero;
};

/* The run that begins with element `first`. made: [BLOCK], for gradients that are integers. */
static struct run run_at(const struct block *block, size_t first, const struct bp_kernels *kernels,
                         float *made) {
    static const float zeros[BLOCK];
    const struct bp_param *param = block->target->param;
    struct run run = {first, block->first + block->count - first, param->grad + first, 0};
    if (param->grad_zero == NULL)
        return run;
    size_t row = param->count / param->dims[0], end = first / row * row + row;
    run.is_zero = param->grad_zero[first / row];
    while (end < first + run.count && param->grad_zero[end / row] == run.is_zero)
        end += row;
    run.count = bp_min_size(run.count, end - first);
    if (run.is_zero) {
        run.count = bp_min_size(run.count, BLOCK);
        run.grad = zeros;
    } else if (param->grad_is_sums) {
        run.count = bp_min_size(run.count, BLOCK);
        bp_param_gradient(param, kernels, first, run.count, made);
        run.grad = made;
    }
    return run;
}

static int is_trained(const struct bp_optim *optim, const struct bp_param *param) {
    return !optim->config->freeze_body || (param->flags & BP_PARAM_HEAD);
}

static void sum_block(const struct bp_optim *optim, struct block *block) {
    size_t stop = block->first + block->count;
    float made[BLOCK];
    block->sum_squares = 0;
    for (size_t at = block->first; at < stop;) {
        struct run run = run_at(block, at, &optim->exec->kernels, made);
        if (!run.is_zero)
            optim->exec->kernels.sum_squares_f32(run.grad, run.count, &block->sum_squares);
        at += run.count;
    }
}

/* torch.optim.SGD, dampening 0, with c = clipping, d = weight decay, m = momentum:
 *     g = c * grad + d * p;  buf = m * buf + g  (buf = 0 before the first step, hence buf = g
 * there) p = p - lr * (nesterov ? g + m * buf : buf) */
static void update_sgd(size_t n, const struct rates *r, int nesterov, const float *restrict grad,
                       float *restrict p, float *restrict buf) {
    for (size_t i = 0; i < n; i++) {
        float g = r->adam.clip * grad[i] + r->adam.decay * p[i];
        buf[i] = r->momentum * buf[i] + g;
        p[i] -= r->adam.lr * (nesterov ? g + r->momentum * buf[i] : buf[i]);
    }
}

/* While the values are in the cache: clamps them, packs their signs. */
static void finish_latent(const struct bp_optim *optim, const struct block *block) {
    const struct bp_param *param = block->target->param;
    float *value = param->value + block->first;
    for (size_t j = 0; optim->config->clamp_latent && j < block->count; j++)
        value[j] = value[j] > 1 ? 1 : value[j] < -1 ? -1 : value[j];
    if (param->signs != NULL)
        optim->exec->kernels.sign_pack_f32(
            value, block->count / param->sign_row, param->sign_row,
            param->signs + block->first / param->sign_row * bp_words(param->sign_row), NULL);
}

/* adds_squares: the block's sum, too, of the same gradient. */
static void update_block(const struct bp_optim *optim, struct block *block, int adds_squares) {
    const struct bp_optim_config *config = optim->config;
    const struct bp_param *param = block->target->param;
    const struct rates *rates =
        &optim->rates[(param->flags & BP_PARAM_HEAD) != 0][(param->flags & BP_PARAM_NO_DECAY) != 0];
    float made[BLOCK]; /* with the mask of the values before they change */
    for (size_t at = block->first; at < block->first + block->count;) {
        struct run run = run_at(block, at, &optim->exec->kernels, made);
        float *value = param->value + at, *moment1 = param->moment1 + at;
        if (adds_squares && !run.is_zero)
            optim->exec->kernels.sum_squares_f32(run.grad, run.count, &block->sum_squares);
        if (config->kind == BP_OPTIM_SGD)
            update_sgd(run.count, rates, config->nesterov, run.grad, value, moment1);
        else
            optim->exec->kernels.adam_f32(&rates->adam, run.count, run.grad, value, moment1,
                                          param->moment2 + at);
        at += run.count;
    }
    if (param->flags & BP_PARAM_LATENT)
        finish_latent(optim, block);
}

/* --- a step ----------------------------------------------------------------------------------- */

/* torch.optim.Adam and AdamW (amsgrad off), t = 1, 2, ...:
 *     adam:  g = c * grad + d * p         adamw: g = c * grad,  p = p * (1 - lr * d) first
 *     m = beta1 * m + (1 - beta1) * g;    v = beta2 * v + (1 - beta2) * g * g
 *     p = p - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
 * (2.x writes m as m + (1 - beta1) * (g - m): the same up to rounding.)
 * Scalars are computed in double and rounded once, as in PyTorch. */
static struct rates make_rates(const struct bp_optim_config *config, double lr, double decay,
                               double t) {
    struct rates rates = {.momentum = (float)config->momentum};
    rates.adam = (struct bp_adam){.lr = (float)lr, .decay = (float)decay, .shrink = 1, .clip = 1};
    if (config->kind == BP_OPTIM_SGD)
        return rates;
    rates.adam.lr = (float)(lr / (1 - pow(config->beta1, t)));
    rates.adam.beta1 = (float)config->beta1;
    rates.adam.one_minus_beta1 = (float)(1 - config->beta1);
    rates.adam.beta2 = (float)config->beta2;
    rates.adam.one_minus_beta2 = (float)(1 - config->beta2);
    rates.adam.root_correction2 = (float)sqrt(1 - pow(config->beta2, t));
    rates.adam.eps = (float)config->eps;
    if (config->kind == BP_OPTIM_ADAMW) {
        rates.adam.decay = 0;
        rates.adam.shrink = (float)(1 - lr * decay);
    }
    return rates;
}

/* Some blocks in a row: those from `first` on; whether their squares are summed as they are
 * updated. */
struct part {
    struct bp_optim *optim;
    size_t first;
    int adds_squares;
};

/* Blocks that this step has updated already keep their sum. */
static void sum_body(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    const struct part *part = context;
    for (size_t i = part->first + begin; i < part->first + end; i++) {
        struct block *block = &part->optim->blocks[i];
        if (!is_trained(part->optim, block->target->param))
            block->sum_squares = 0;
        else if (!block->target->updated)
            sum_block(part->optim, block);
    }
}

static void update_body(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    const struct part *part = context;
    for (size_t i = part->first + begin; i < part->first + end; i++) {
        struct block *block = &part->optim->blocks[i];
        if (part->adds_squares)
            block->sum_squares = 0;
        if (is_trained(part->optim, block->target->param) && !block->target->updated)
            update_block(part->optim, block, part->adds_squares);
    }
}

/* Sums of the blocks in their order: the result is the same for any number of threads. */
static double sum_squares(struct bp_optim *optim, size_t first, size_t count) {
    struct part part = {optim, first, 0};
    double sum = 0;
    bp_parallel_for(optim->exec->threads, count, sum_body, &part);
    for (size_t i = first; i < first + count; i++)
        sum += optim->blocks[i].sum_squares;
    return sum;
}

static void update(struct bp_optim *optim, size_t first, size_t count, int adds_squares) {
    struct part part = {optim, first, adds_squares};
    bp_parallel_for(optim->exec->threads, count, update_body, &part);
}

/* Of integers, by their scales alone: these gradients need not be read before they are used. */
static int is_surely_finite(const struct bp_param *param) {
    int finite = param->grad_is_sums;
    for (size_t i = 0; finite && i < param->dims[0]; i++)
        finite = param->grad_zero[i] || isfinite(param->grad_scale[i] * (float)INT16_MIN);
    return finite;
}

/* The gradients that are gone when the backward pass goes on. */
static int update_layer(struct bp_param_updater *updater, const struct bp_layer *layer) {
    struct bp_optim *optim = (struct bp_optim *)(void *)updater;
    uint64_t begin_ns = bp_clock_ns();
    for (size_t i = 0; i < optim->n_targets && optim->finite; i++) {
        struct target *target = &optim->targets[i];
        if (!target->param->grad_shared || target->param->layer != (size_t)layer->index)
            continue;
        const int finite = is_surely_finite(target->param);
        if (!finite)
            optim->finite =
                isfinite(sum_squares(optim, target->first_block, target->n_blocks)) != 0;
        if (optim->finite)
            update(optim, target->first_block, target->n_blocks, finite);
        target->updated = optim->finite;
    }
    optim->spent_ns += bp_clock_ns() - begin_ns;
    return optim->finite;
}

struct bp_param_updater *bp_optim_begin(struct bp_optim *optim, struct bp_exec *exec,
                                        const struct bp_optim_config *config, double factor,
                                        uint64_t t) {
    optim->updater.update = update_layer;
    optim->exec = exec;
    optim->config = config;
    optim->finite = 1;
    optim->spent_ns = 0;
    for (size_t i = 0; i < optim->n_targets; i++)
        optim->targets[i].updated = 0;
    for (int head = 0; head < 2; head++) {
        double lr = (head && config->head_lr > 0 ? config->head_lr : config->lr) * factor;
        optim->rates[head][0] = make_rates(config, lr, config->weight_decay, (double)t);
        optim->rates[head][1] = make_rates(config, lr, 0, (double)t);
    }
    return &optim->updater;
}

/* torch.nn.utils.clip_grad_norm_: min(1, limit / (norm + 1e-6)). */
static void clip(struct bp_optim *optim, double norm) {
    double factor = fmin(1, optim->config->clip_norm / (norm + 1e-6));
    for (int i = 0; i < 4; i++)
        optim->rates[i / 2][i % 2].adam.clip = (float)factor;
}

void bp_optim_end(struct bp_optim *optim, struct bp_optim_result *result) {
    uint64_t begin_ns = bp_clock_ns();
    *result = (struct bp_optim_result){.grad_norm = (double)NAN};
    if (optim->finite)
        result->grad_norm = sqrt(sum_squares(optim, 0, optim->n_blocks));
    result->finite = isfinite(result->grad_norm) != 0;
    if (result->finite && optim->config->clip_norm > 0)
        clip(optim, result->grad_norm);
    if (result->finite)
        update(optim, 0, optim->n_blocks, 0);
    result->spent_ns = optim->spent_ns + bp_clock_ns() - begin_ns;
}

void bp_optim_step(struct bp_optim *optim, struct bp_exec *exec,
                   const struct bp_optim_config *config, double factor, uint64_t t,
                   struct bp_optim_result *result) {
    bp_optim_begin(optim, exec, config, factor, t);
    bp_optim_end(optim, result);
}
