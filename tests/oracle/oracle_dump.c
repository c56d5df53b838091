/* Runs one case (oracle_case.h) and writes everything that oracle.py compares into a safetensors
 * file: images, input, labels; param.P, flags.P, running.R               the case eval.logits,
 * eval.loss, eval.correct                             evaluation mode train.logits, train.loss,
 * train.correct, grad.P, after.R         one training pass O.loss, O.norm [steps]; O.S.param.P and
 * O.S.grad.P before step S  ten steps of recipe O O.end.param.P, O.end.running.R usage: oracle_dump
 * OUT.safetensors [key=value ...] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "io/safetensors.h"
#include "oracle/oracle_case.h"

struct dump {
    struct bp_saved_tensor *tensors;
    size_t count, capacity;
};

/* Copies, as most tensors change later. Does not return on failure: a test program. */
static void must(bp_status status) {
    if (status == BP_OK)
        return;
    fprintf(stderr, "oracle_dump: %s\n", bp_status_message());
    exit((int)status);
}

static void put(struct dump *dump, const char *prefix, const char *name, enum bp_dtype dtype,
                int n_dims, const size_t *dims, const void *data) {
    if (dump->count == dump->capacity) {
        size_t old = dump->capacity * sizeof *dump->tensors;
        dump->capacity = dump->capacity ? 2 * dump->capacity : 1024;
        must(bp_grow(&dump->tensors, old, dump->capacity * sizeof *dump->tensors, "dump"));
    }
    struct bp_saved_tensor *t = &dump->tensors[dump->count++];
    memset(t, 0, sizeof *t);
    snprintf(t->name, sizeof t->name, "%s%s", prefix, name);
    t->dtype = dtype;
    t->n_dims = n_dims;
    t->bytes = bp_dtype_bytes(dtype);
    for (int i = 0; i < n_dims; i++) {
        t->dims[i] = dims[i];
        t->bytes *= dims[i];
    }
    void *copy;
    must(bp_alloc(&copy, t->bytes, "dump"));
    memcpy(copy, data, t->bytes);
    t->data = copy;
}

static void put_floats(struct dump *dump, const char *prefix, const char *name, size_t count,
                       const float *data) {
    put(dump, prefix, name, BP_DTYPE_F32, 1, &count, data);
}

enum what { VALUES, GRADIENTS };

static void put_params(struct dump *dump, const char *prefix, const struct bp_graph *graph,
                       enum what what) {
    for (size_t i = 0; i < graph->n_params; i++) {
        const struct bp_param *p = graph->params[i];
        put(dump, prefix, p->name, BP_DTYPE_F32, p->n_dims, p->dims,
            what == VALUES ? p->value : p->grad);
    }
}

static void put_running(struct dump *dump, const char *prefix, const struct bp_graph *graph) {
    for (size_t i = 0; i < graph->n_running; i++)
        put_floats(dump, prefix, graph->running[i]->name, graph->running[i]->count,
                   graph->running[i]->value);
}

/* Runs one pass and puts its results. */
static void put_pass(struct dump *dump, const char *prefix, const struct oracle_case *c,
                     struct bp_graph *graph, const uint8_t *images, const int32_t *labels,
                     int training) {
    const size_t dims[2] = {c->batch, c->classes}, one = 1;
    double loss;
    size_t correct;
    float *logits;
    must(bp_alloc_array(&logits, c->batch * c->classes, sizeof *logits, "logits"));
    must(oracle_case_run(c, graph, images, labels, training, logits, &loss, &correct));
    int32_t right = (int32_t)correct;
    float loss_f32 = (float)loss;
    put(dump, prefix, "logits", BP_DTYPE_F32, 2, dims, logits);
    put_floats(dump, prefix, "loss", 1, &loss_f32);
    put(dump, prefix, "correct", BP_DTYPE_I32, 1, &one, &right);
    bp_free(logits);
}

static void run_recipe(const struct oracle_case *c, struct dump *dump, struct bp_graph *graph,
                       const uint8_t *images, const int32_t *labels, int index) {
    struct oracle_recipe recipe;
    oracle_recipe_get(&recipe, index);
    float losses[ORACLE_STEPS], norms[ORACLE_STEPS];
    struct bp_optim *optim;
    must(bp_optim_create(&optim, graph->params, graph->n_params));
    oracle_case_reset(c, graph);
    char prefix[64];
    for (unsigned s = 0; s < ORACLE_STEPS; s++) {
        double loss;
        size_t correct;
        struct bp_optim_result result;
        must(oracle_case_run(c, graph, images, labels, 1, NULL, &loss, &correct));
        snprintf(prefix, sizeof prefix, "%s.%u.param.", recipe.name, s);
        put_params(dump, prefix, graph, VALUES);
        snprintf(prefix, sizeof prefix, "%s.%u.grad.", recipe.name, s);
        put_params(dump, prefix, graph, GRADIENTS);
        bp_optim_step(optim, graph->exec, &recipe.optim,
                      bp_schedule_factor(&recipe.schedule, s, ORACLE_STEPS), s + 1, &result);
        bp_graph_weights_updated(graph);
        losses[s] = (float)loss;
        norms[s] = (float)result.grad_norm;
    }
    snprintf(prefix, sizeof prefix, "%s.", recipe.name);
    put_floats(dump, prefix, "loss", ORACLE_STEPS, losses);
    put_floats(dump, prefix, "norm", ORACLE_STEPS, norms);
    snprintf(prefix, sizeof prefix, "%s.end.param.", recipe.name);
    put_params(dump, prefix, graph, VALUES);
    snprintf(prefix, sizeof prefix, "%s.end.running.", recipe.name);
    put_running(dump, prefix, graph);
    bp_optim_destroy(optim);
}

struct arguments {
    struct oracle_case c;
    int threads, optimizers;
    const char *tier;
};

static void parse(struct arguments *a, const char *text) {
    const char *value = strchr(text, '=');
    int bad = !value;
    size_t n = value ? (size_t)(value++ - text) : 0;
#define KEY(name) (n == strlen(name) && strncmp(text, name, n) == 0)
    if (KEY("model"))
        snprintf(a->c.model, sizeof a->c.model, "%s", value);
    else if (KEY("precision"))
        a->c.precision = strcmp(value, "qat") == 0 ? BP_PRECISION_QAT : BP_PRECISION_FP32;
    else if (KEY("width"))
        a->c.width = strtod(value, NULL);
    else if (KEY("size"))
        a->c.size = strtoul(value, NULL, 10);
    else if (KEY("channels"))
        a->c.channels = strtoul(value, NULL, 10);
    else if (KEY("classes"))
        a->c.classes = strtoul(value, NULL, 10);
    else if (KEY("batch"))
        a->c.batch = strtoul(value, NULL, 10);
    else if (KEY("smoothing"))
        a->c.smoothing = strtof(value, NULL);
    else if (KEY("seed"))
        a->c.seed = strtoull(value, NULL, 10);
    else if (KEY("backend"))
        a->c.backend = strcmp(value, "plain") == 0 ? BP_FP32_PLAIN : bp_fp32_default();
    else if (KEY("threads"))
        a->threads = (int)strtol(value, NULL, 10);
    else if (KEY("optimizers"))
        a->optimizers = (int)strtol(value, NULL, 10);
    else if (KEY("tier"))
        a->tier = value;
    else
        bad = 1;
#undef KEY
    if (bad)
        must(bp_fail(BP_USAGE, "unknown argument '%s'", text));
}

static void dump_all(const struct arguments *a, struct bp_graph *graph, const uint8_t *images,
                     const int32_t *labels, struct dump *dump) {
    const struct oracle_case *c = &a->c;
    const size_t dims[4] = {c->batch, c->size, c->size, c->channels}, one = 1;
    oracle_case_reset(c, graph);
    put_params(dump, "param.", graph, VALUES);
    put_running(dump, "running.", graph);
    for (size_t i = 0; i < graph->n_params; i++) {
        int32_t flags = (int32_t)graph->params[i]->flags;
        put(dump, "flags.", graph->params[i]->name, BP_DTYPE_I32, 1, &one, &flags);
    }
    put(dump, "", "labels", BP_DTYPE_I32, 1, &c->batch, labels);
    put_pass(dump, "eval.", c, graph, images, labels, 0);
    bp_graph_set_input(graph, c->batch, images);
    put(dump, "", "input", BP_DTYPE_F32, 4, dims, graph->input->f32);
    put_pass(dump, "train.", c, graph, images, labels, 1);
    put_params(dump, "grad.", graph, GRADIENTS);
    put_running(dump, "after.", graph);
    for (int i = 0; a->optimizers && i < ORACLE_RECIPES; i++)
        run_recipe(c, dump, graph, images, labels, i);
    put(dump, "", "images", BP_DTYPE_U8, 4, dims, images);
}

int main(int argc, char **argv) {
    struct arguments a = {.c = {.model = "vgg16",
                                .width = 0.125,
                                .size = 32,
                                .channels = 3,
                                .classes = 10,
                                .batch = 2,
                                .seed = 1,
                                .backend = bp_fp32_default()},
                          .threads = 1};
    if (argc < 2) {
        fprintf(stderr, "usage: oracle_dump OUT.safetensors [key=value ...]\n");
        return BP_USAGE;
    }
    for (int i = 2; i < argc; i++)
        parse(&a, argv[i]);
    enum bp_tier tier;
    struct bp_exec *exec;
    struct bp_graph *graph;
    uint8_t *images;
    int32_t *labels;
    must(bp_tier_parse(a.tier, &tier));
    must(bp_exec_create(&exec, tier, a.threads));
    must(oracle_case_create(&a.c, exec, &graph, &images, &labels));
    struct dump dump = {0};
    dump_all(&a, graph, images, labels, &dump);
    must(bp_safetensors_write(argv[1], dump.tensors, dump.count, NULL, 0));
    for (size_t i = 0; i < dump.count; i++)
        bp_free((void *)(uintptr_t)dump.tensors[i].data);
    bp_free(dump.tensors);
    bp_free(images);
    bp_free(labels);
    bp_graph_destroy(graph);
    bp_exec_destroy(exec);
    return 0;
}
