#include "train/optim.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"

/* Blocks are the unit of work and of summation: about 4096 elements of one parameter, whole rows
 * where signs are packed, or its tail. */
#define BLOCK ((size_t)4096)

struct block {
    const struct bp_param *param;
    size_t first, count;
    double sum_squares;
};

struct bp_optim {
    size_t n_blocks;
    struct block *blocks; /* in order of the parameters */
};

/* The numbers of one group for one step, already in float as PyTorch rounds its scalars. */
struct rates {
    struct bp_adam adam; /* adam, adamw; sgd: lr, decay and clip only */
    float momentum;      /* sgd */
};

struct step {
    struct bp_optim *optim;
    const struct bp_kernels *kernels;
    const struct bp_optim_config *config;
    struct rates rates[2][2]; /* [head][no decay] */
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
        bp_alloc_array(&optim->blocks, n_blocks, sizeof *optim->blocks, "the optimizer's blocks");
    if (status != BP_OK) {
        bp_free(optim);
        return status;
    }
    for (size_t i = 0; i < n_params; i++) {
        size_t size = block_size(params[i]);
        for (size_t first = 0; first < params[i]->count; first += size) {
            struct block *block = &optim->blocks[optim->n_blocks++];
            block->param = params[i];
            block->first = first;
            block->count = bp_min_size(params[i]->count - first, size);
        }
    }
    *out = optim;
    return BP_OK;
}

void bp_optim_destroy(struct bp_optim *optim) {
    if (!optim)
        return;
    bp_free(optim->blocks);
    bp_free(optim);
}

/* Elements of a block whose gradient is known to be zero, all or none of them. */
struct run {
    size_t first, count;
    const float *grad; /* of the first; zeros come from here, not from memory */
    int is_zero;
};

/* The run that begins with element `first`. */
static struct run run_at(const struct block *block, size_t first) {
    static const float zeros[BLOCK];
    const struct bp_param *param = block->param;
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
    }
    return run;
}

static int is_trained(const struct step *step, const struct bp_param *param) {
    return !step->config->freeze_body || (param->flags & BP_PARAM_HEAD);
}

static void sum_body(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    const struct step *step = context;
    for (size_t i = begin; i < end; i++) {
        struct block *block = &step->optim->blocks[i];
        block->sum_squares = 0;
        size_t stop = block->first + block->count;
        for (size_t at = block->first; is_trained(step, block->param) && at < stop;) {
            struct run run = run_at(block, at);
            if (!run.is_zero)
                step->kernels->sum_squares_f32(run.grad, run.count, &block->sum_squares);
            at += run.count;
        }
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
static void finish_latent(const struct step *step, const struct block *block) {
    const struct bp_param *param = block->param;
    float *value = param->value + block->first;
    for (size_t j = 0; step->config->clamp_latent && j < block->count; j++)
        value[j] = value[j] > 1 ? 1 : value[j] < -1 ? -1 : value[j];
    if (param->signs != NULL)
        step->kernels->sign_pack_f32(
            value, block->count / param->sign_row, param->sign_row,
            param->signs + block->first / param->sign_row * bp_words(param->sign_row), NULL);
}

static void update_body(void *context, size_t begin, size_t end, int thread) {
    (void)thread;
    const struct step *step = context;
    const struct bp_optim_config *config = step->config;
    for (size_t i = begin; i < end; i++) {
        const struct block *block = &step->optim->blocks[i];
        const struct bp_param *param = block->param;
        if (!is_trained(step, param))
            continue;
        const struct rates *rates = &step->rates[(param->flags & BP_PARAM_HEAD) != 0]
                                                [(param->flags & BP_PARAM_NO_DECAY) != 0];
        for (size_t at = block->first; at < block->first + block->count;) {
            struct run run = run_at(block, at);
            float *value = param->value + at, *moment1 = param->moment1 + at;
            if (config->kind == BP_OPTIM_SGD)
                update_sgd(run.count, rates, config->nesterov, run.grad, value, moment1);
            else
                step->kernels->adam_f32(&rates->adam, run.count, run.grad, value, moment1,
                                        param->moment2 + at);
            at += run.count;
        }
        if (param->flags & BP_PARAM_LATENT)
            finish_latent(step, block);
    }
}

/* torch.optim.Adam and AdamW (amsgrad off), t = 1, 2, ...:
 *     adam:  g = c * grad + d * p         adamw: g = c * grad,  p = p * (1 - lr * d) first
 *     m = beta1 * m + (1 - beta1) * g;    v = beta2 * v + (1 - beta2) * g * g
 *     p = p - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
 * (2.x writes m as m + (1 - beta1) * (g - m): the same up to rounding.)
 * Scalars are computed in double and rounded once, as in PyTorch. */
static struct rates make_rates(const struct bp_optim_config *config, double lr, double decay,
                               double clip, double t) {
    struct rates rates = {.momentum = (float)config->momentum};
    rates.adam =
        (struct bp_adam){.lr = (float)lr, .decay = (float)decay, .shrink = 1, .clip = (float)clip};
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

void bp_optim_step(struct bp_optim *optim, struct bp_exec *exec,
                   const struct bp_optim_config *config, double factor, uint64_t t,
                   struct bp_optim_result *result) {
    struct step step = {.optim = optim, .kernels = &exec->kernels, .config = config};
    bp_parallel_for(exec->threads, optim->n_blocks, sum_body, &step);
    double sum_squares = 0;
    for (size_t i = 0; i < optim->n_blocks; i++)
        sum_squares += optim->blocks[i].sum_squares;
    result->grad_norm = sqrt(sum_squares);
    result->finite = isfinite(result->grad_norm) != 0;
    if (!result->finite)
        return;
    /* torch.nn.utils.clip_grad_norm_: min(1, limit / (norm + 1e-6)). */
    double clip = 1;
    if (config->clip_norm > 0)
        clip = fmin(1, config->clip_norm / (result->grad_norm + 1e-6));
    for (int head = 0; head < 2; head++) {
        double lr = (head && config->head_lr > 0 ? config->head_lr : config->lr) * factor;
        step.rates[head][0] = make_rates(config, lr, config->weight_decay, clip, (double)t);
        step.rates[head][1] = make_rates(config, lr, 0, clip, (double)t);
    }
    bp_parallel_for(exec->threads, optim->n_blocks, update_body, &step);
}
