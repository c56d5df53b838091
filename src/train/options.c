#include "train/options.h"

#include <ctype.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const models[] = {"vgg16", "resnet18", NULL};
static const char *const optimizers[] = {"adam", "adamw", "sgd", NULL};
static const char *const schedules[] = {"cosine", "step", "constant", NULL};
static const char *const precisions[] = {"fqt", "psq", "qat", "fp32", NULL};
static const char *const presets[] = {"one-bit", "balanced",   "accurate",
                                      "paper",   "paper-code", NULL};
static const char *const stems[] = {"8-bit", "fp32", NULL};
static const char *const bits[] = {"1", "2", "3", "4", "8", NULL};
static const char *const selections[] = {"none", "bernoulli", "systematic", "topk", NULL};
static const char *const weights[] = {"range", "rms", "uniform", NULL};
static const char *const grids[] = {"minmax", "zero", "symmetric", NULL};
static const char *const groups[] = {"scq", "sample", NULL};
static const char *const recipes[] = {"scratch", "finetune", NULL};
static const char *const freezes[] = {"none", "body", NULL};
static const char *const augs[] = {"none", "light", "strong", NULL};
static const char *const batches[] = {"auto", NULL};
static const char *const tiers[] = {"auto", "c", "avx2", "avx512", "amx", "neon", NULL};

enum {
    TRAIN = BP_COMMAND_TRAIN,
    RESUME = BP_COMMAND_RESUME,
    EVAL = BP_COMMAND_EVAL,
    BENCH = BP_COMMAND_BENCH,
    PREDICT = BP_COMMAND_PREDICT,
    CHECK = BP_COMMAND_DATA,
    INFO = BP_COMMAND_INFO,
    STEP = TRAIN | BENCH | INFO /* shapes a training step */
};

/* clang-format off */
#define NUMBER(NAME, GROUP, TYPE, HOLDER, FALLBACK, MIN, MAX, COMMANDS, HELP) \
    {NAME, GROUP, TYPE, HOLDER, FALLBACK, NULL, MIN, MAX, COMMANDS, 0, HELP}
#define INT(NAME, GROUP, FALLBACK, MIN, MAX, COMMANDS, HELP) \
    NUMBER(NAME, GROUP, BP_OPTION_INT, "N", FALLBACK, MIN, MAX, COMMANDS, HELP)
#define FLOAT(NAME, GROUP, HOLDER, FALLBACK, MIN, MAX, COMMANDS, HELP) \
    NUMBER(NAME, GROUP, BP_OPTION_FLOAT, HOLDER, FALLBACK, MIN, MAX, COMMANDS, HELP)
#define CHOICE(NAME, GROUP, CHOICES, FALLBACK, COMMANDS, HELP) \
    {NAME, GROUP, BP_OPTION_CHOICE, NULL, FALLBACK, CHOICES, 0, 0, COMMANDS, 0, HELP}
#define BOOL(NAME, GROUP, COMMANDS, HELP) \
    {NAME, GROUP, BP_OPTION_BOOL, NULL, "false", NULL, 0, 0, COMMANDS, 0, HELP}
#define TEXT(NAME, GROUP, HOLDER, COMMANDS, POSITIONAL, HELP) \
    {NAME, GROUP, BP_OPTION_TEXT, HOLDER, NULL, NULL, 0, 0, COMMANDS, POSITIONAL, HELP}

#define DATA      "Data"
#define NETWORK   "Network"
#define TRAINING  "Training"
#define OPTIMIZER "Optimizer"
#define PRECISION "Precision"
#define QUANTIZER "Gradient quantizer (of --precision fqt; each changes what the preset says)"
#define APART     "Gradient quantizer of one product (da: activation gradient, dw: weight gradient)"
#define RUN       "Run"
#define MACHINE   "Machine"
#define TIMING    "Timing"
#define ANSWERS   "Prediction"

const bp_option bp_option_table[BP_OPT_COUNT] = {
[BP_OPT_DATA] = TEXT("data", DATA, "DATA", TRAIN | BENCH, TRAIN,
    "path of the data set: a folder with a folder of JPEG or PNG pictures for each class, a CSV file of paths and labels, CIFAR or IDX files; the kind is seen from the content (idx: cifar10: cifar100: list: folder: before the path force one); bench step: take the batches from it, not from made-up images"),
[BP_OPT_LIMIT_TRAIN] = INT("limit-train", DATA, "0", 0, 1e9, TRAIN | BENCH,
    "train on N samples only, chosen by the seed (default: 0, all)"),
[BP_OPT_LIMIT_VAL] = INT("limit-val", DATA, "0", 0, 1e9, TRAIN | EVAL,
    "validate on N samples only, chosen by the seed (default: 0, all)"),
[BP_OPT_VAL] = FLOAT("val", DATA, "F", "0.2", 0, 1, TRAIN | EVAL | CHECK | BENCH,
    "share of each class of pictures that is kept for validation, chosen by content and seed, where the data have no such part (default: 0.2; eval: as in training)"),
[BP_OPT_SKIP_BAD] = BOOL("skip-bad", DATA, TRAIN | EVAL | BENCH,
    "go on without pictures that cannot be read; the run folder's bad_files.txt lists them"),
[BP_OPT_AUG] = CHOICE("aug", DATA, augs, "none", TRAIN | BENCH,
    "augment: light: --aug-crop 4 --aug-flip; strong: --aug-rrc 0.35 --aug-flip --aug-jitter 0.3; none: only what the following say"),
[BP_OPT_AUG_CROP] = INT("aug-crop", DATA, "0", 0, 64, TRAIN | BENCH,
    "augment: move by up to N pixels at random: pictures are resized that much larger, IDX and CIFAR images padded (default: 0, off)"),
[BP_OPT_AUG_FLIP] = BOOL("aug-flip", DATA, TRAIN | BENCH,
    "augment: mirror half of the images left to right (not for digits or letters)"),
[BP_OPT_AUG_RRC] = FLOAT("aug-rrc", DATA, "MIN", "0", 0, 1, TRAIN | BENCH,
    "augment: a random rectangle with MIN to 1 of the area, resized (default: 0, off)"),
[BP_OPT_AUG_JITTER] = FLOAT("aug-jitter", DATA, "F", "0", 0, 1, TRAIN | BENCH,
    "augment: change brightness, contrast and saturation by up to F (default: 0, off)"),
[BP_OPT_MEAN] = TEXT("mean", DATA, "M[,M,M]", TRAIN, 0,
    "mean of pixel / 255, one for all channels or one each, or imagenet for that data set's mean and deviation (default: the training part's)"),
[BP_OPT_STD] = TEXT("std", DATA, "S[,S,S]", TRAIN, 0,
    "standard deviation of pixel / 255, likewise (default: the training part's)"),

[BP_OPT_INIT] = TEXT("init", NETWORK, "FILE", TRAIN, 0,
    "begin with the weights of a checkpoint, or of a run folder's best one; the head is new where the classes differ; sets --model, --width, --precision and --recipe finetune unless given"),
[BP_OPT_MODEL] = CHOICE("model", NETWORK, models, "vgg16", STEP,
    "network"),
[BP_OPT_WIDTH] = FLOAT("width", NETWORK, "F", "0.5", 0.001, 16, STEP,
    "factor on all channel counts of the network"),
[BP_OPT_SIZE] = INT("size", NETWORK, NULL, 8, 1024, STEP,
    "height and width of the network's input in pixels (default: pictures: 32, 48 or 64, the nearest to their own; else 32, or the data's if larger)"),
[BP_OPT_CLASSES] = INT("classes", NETWORK, "10", 1, 100000, BENCH | INFO,
    "classes of the network"),
[BP_OPT_CHANNELS] = INT("channels", NETWORK, "3", 1, 3, BENCH | INFO,
    "channels of the input"),

[BP_OPT_RECIPE] = CHOICE("recipe", TRAINING, recipes, "scratch", TRAIN,
    "finetune: --epochs 20 --lr 0.01 --warmup 1 --patience 8; scratch: only what the others say (default: scratch; with --init: finetune)"),
[BP_OPT_EPOCHS] = INT("epochs", TRAINING, "60", 1, 1e6, TRAIN,
    "passes over the training part"),
[BP_OPT_STEPS] = INT("steps", TRAINING, "0", 0, 1e9, TRAIN,
    "stop after N training steps, even within an epoch (default: 0, no limit)"),
[BP_OPT_TIME] = {"time", TRAINING, BP_OPTION_TIME, "TIME", NULL, NULL, 1, 3.6e7, TRAIN, 0,
    "train as long as this, all included, such as 90s, 30m or 1h30m: epochs and schedule are fitted to it; --epochs and --steps, where given, are limits; a run that was stopped and resumed does the steps that were fitted, whatever time they take then"},
[BP_OPT_PATIENCE] = INT("patience", TRAINING, "0", 0, 1e6, TRAIN,
    "stop after N epochs without a better validation accuracy (default: 0, off)"),
[BP_OPT_BATCH] = {"batch", TRAINING, BP_OPTION_INT, "N", NULL, batches, 1, 65536, TRAIN | EVAL | BENCH | PREDICT | INFO, 0,
    "samples per step; train: or auto: as many as fit into --max-mem, a multiple of 8 up to 128 (default: train: 64, with few samples 32 or 16; else 128)"},
[BP_OPT_SEED] = INT("seed", TRAINING, "1", 0, 9007199254740991, TRAIN | EVAL | BENCH | CHECK,
    "seed of all random numbers: the same seed gives the same result, whatever the threads"),
[BP_OPT_LABEL_SMOOTHING] = FLOAT("label-smoothing", TRAINING, "F", "0", 0, 0.999, TRAIN | BENCH,
    "share of the target that is spread over all classes"),

[BP_OPT_OPTIMIZER] = CHOICE("optimizer", OPTIMIZER, optimizers, "adam", TRAIN | BENCH,
    "rule that updates the weights"),
[BP_OPT_LR] = FLOAT("lr", OPTIMIZER, "RATE", NULL, 0, 1e9, TRAIN | BENCH,
    "learning rate (default: 0.01; fp32: 0.001; sgd: 0.1)"),
[BP_OPT_HEAD_LR] = FLOAT("head-lr", OPTIMIZER, "RATE", NULL, 0, 1e9, TRAIN | BENCH,
    "learning rate of the last layer (default: as --lr)"),
[BP_OPT_SCHEDULE] = CHOICE("schedule", OPTIMIZER, schedules, "cosine", TRAIN,
    "how the learning rates change over the run"),
[BP_OPT_WARMUP] = FLOAT("warmup", OPTIMIZER, "EPOCHS", "0", 0, 1e6, TRAIN,
    "epochs (fractions too) over which the learning rates rise from 0"),
[BP_OPT_LR_EVERY] = FLOAT("lr-every", OPTIMIZER, "EPOCHS", NULL, 0.001, 1e6, TRAIN,
    "epochs between two drops of --schedule step (default: a third of the run)"),
[BP_OPT_LR_FACTOR] = FLOAT("lr-factor", OPTIMIZER, "F", "0.1", 1e-6, 1, TRAIN,
    "factor of each drop of --schedule step"),
[BP_OPT_WEIGHT_DECAY] = FLOAT("weight-decay", OPTIMIZER, "F", NULL, 0, 1e3, TRAIN | BENCH,
    "weight decay; norms, slopes, scales and biases have none (default: 0; adamw: 0.01)"),
[BP_OPT_MOMENTUM] = FLOAT("momentum", OPTIMIZER, "F", "0.9", 0, 0.9999, TRAIN | BENCH,
    "momentum of --optimizer sgd"),
[BP_OPT_NESTEROV] = BOOL("nesterov", OPTIMIZER, TRAIN | BENCH,
    "Nesterov momentum for --optimizer sgd"),
[BP_OPT_CLIP_NORM] = FLOAT("clip-norm", OPTIMIZER, "F", "0", 0, 1e9, STEP,
    "scale all gradients down to this norm where theirs is larger (default: 0, off)"),
[BP_OPT_CLAMP_LATENT] = BOOL("clamp-latent", OPTIMIZER, TRAIN | BENCH,
    "keep the latent weights of 1-bit layers in [-1, 1]"),
[BP_OPT_FREEZE] = CHOICE("freeze", OPTIMIZER, freezes, "none", TRAIN | INFO,
    "body: train the last layer only, the rest stays as it is, its running statistics too"),
[BP_OPT_EMA] = FLOAT("ema", OPTIMIZER, "DECAY", "0", 0, 0.999999, TRAIN | INFO,
    "validate and keep exponential moving averages of the weights, such as 0.99 (default: 0, off)"),

[BP_OPT_PRECISION] = CHOICE("precision", PRECISION, precisions, "fqt", STEP,
    "fqt: 1 bit forward, few-bit gradients; psq: 1 bit both ways; qat: 1 bit forward, float gradients; fp32: all float"),
[BP_OPT_PRESET] = CHOICE("preset", PRECISION, presets, "balanced", STEP,
    "gradient quantizer of fqt: one-bit: 4 bits for a quarter of the groups; balanced: 4 bits; accurate: 8 bits; paper: the paper's; paper-code: that of its code"),
[BP_OPT_QAT_WARMUP] = FLOAT("qat-warmup", PRECISION, "F", "0", 0, 1.0 / 3, TRAIN | INFO,
    "share of the steps, at the start, that run as qat (for psq and fqt)"),
[BP_OPT_STEM] = CHOICE("stem", PRECISION, stems, "8-bit", TRAIN | BENCH,
    "first convolution of psq and fqt: 8-bit: pixels, weights and gradients in 8 bits; fp32: float, as in qat and fp32"),

[BP_OPT_GRAD_BITS] = CHOICE("grad-bits", QUANTIZER, bits, NULL, STEP,
    "bits of a kept gradient"),
[BP_OPT_GRAD_KEEP] = FLOAT("grad-keep", QUANTIZER, "F", NULL, 0.0001, 1, STEP,
    "share of the groups that is kept (default: 1 / bits where the preset prunes)"),
[BP_OPT_GRAD_SELECT] = CHOICE("grad-select", QUANTIZER, selections, NULL, STEP,
    "how kept groups are chosen (none keeps all; topk is biased)"),
[BP_OPT_GRAD_WEIGHTS] = CHOICE("grad-weights", QUANTIZER, weights, NULL, STEP,
    "what the chance of being kept follows"),
[BP_OPT_GRAD_GRID] = CHOICE("grad-grid", QUANTIZER, grids, NULL, STEP,
    "levels: minmax: from min to max; zero: symmetric, with a zero; symmetric: without"),
[BP_OPT_GRAD_CLIP] = FLOAT("grad-clip", QUANTIZER, "F", "0", 0, 1e6, STEP,
    "cut gradients at F times the root mean square of their group; biased (default: 0, off)"),
[BP_OPT_GRAD_GROUPS] = CHOICE("grad-groups", QUANTIZER, groups, NULL, STEP,
    "what shares one scale: scq: a sample for dA, a channel for dW; sample: a sample for both"),

[BP_OPT_GRAD_BITS_DA] = CHOICE("grad-bits-da", APART, bits, NULL, STEP, "as --grad-bits"),
[BP_OPT_GRAD_KEEP_DA] = FLOAT("grad-keep-da", APART, "F", NULL, 0.0001, 1, STEP, "as --grad-keep"),
[BP_OPT_GRAD_SELECT_DA] = CHOICE("grad-select-da", APART, selections, NULL, STEP, "as --grad-select"),
[BP_OPT_GRAD_WEIGHTS_DA] = CHOICE("grad-weights-da", APART, weights, NULL, STEP, "as --grad-weights"),
[BP_OPT_GRAD_GRID_DA] = CHOICE("grad-grid-da", APART, grids, NULL, STEP, "as --grad-grid"),
[BP_OPT_GRAD_CLIP_DA] = FLOAT("grad-clip-da", APART, "F", NULL, 0, 1e6, STEP, "as --grad-clip"),
[BP_OPT_GRAD_BITS_DW] = CHOICE("grad-bits-dw", APART, bits, NULL, STEP, "as --grad-bits"),
[BP_OPT_GRAD_KEEP_DW] = FLOAT("grad-keep-dw", APART, "F", NULL, 0.0001, 1, STEP, "as --grad-keep"),
[BP_OPT_GRAD_SELECT_DW] = CHOICE("grad-select-dw", APART, selections, NULL, STEP, "as --grad-select"),
[BP_OPT_GRAD_WEIGHTS_DW] = CHOICE("grad-weights-dw", APART, weights, NULL, STEP, "as --grad-weights"),
[BP_OPT_GRAD_GRID_DW] = CHOICE("grad-grid-dw", APART, grids, NULL, STEP, "as --grad-grid"),
[BP_OPT_GRAD_CLIP_DW] = FLOAT("grad-clip-dw", APART, "F", NULL, 0, 1e6, STEP, "as --grad-clip"),

[BP_OPT_RUN] = TEXT("run", RUN, "DIR", TRAIN, 0,
    "run folder, must not exist yet (default: runs/<data>-<model>-<n>)"),
[BP_OPT_CHECKPOINT_EVERY] = INT("checkpoint-every", RUN, "0", 0, 1e9, TRAIN | RESUME,
    "save every N steps too, not only after each epoch (default: 0, off)"),
[BP_OPT_LOG_EVERY] = INT("log-every", RUN, "50", 0, 1e9, TRAIN | RESUME,
    "write every N-th step to metrics.jsonl, besides each epoch (default: 50; 0: off)"),
[BP_OPT_REPORT] = {"report", RUN, BP_OPTION_BOOL, NULL, "true", NULL, 0, 0, TRAIN | RESUME, 0,
    "draw report.html at the end (--no-report leaves it out)"},
[BP_OPT_REPORT_VARIANCE] = INT("report-variance", RUN, "0", 0, 1e9, TRAIN | RESUME,
    "for psq and fqt: measure the variance of the quantized gradients every N steps, for variance.jsonl and the report; such a step takes some 15 times as long (default: 0, off)"),

[BP_OPT_THREADS] = INT("threads", MACHINE, "0", 0, 256, TRAIN | RESUME | EVAL | BENCH | PREDICT | CHECK | INFO,
    "worker threads (default: 0, one per processor, fewer under a container's limit on time)"),
[BP_OPT_CPU] = CHOICE("cpu", MACHINE, tiers, "auto", TRAIN | RESUME | EVAL | BENCH | PREDICT | INFO,
    "best instruction set to use; one that this machine lacks is an error"),

[BP_OPT_MAX_MEM] = INT("max-mem", MACHINE, "0", 0, 1e9, TRAIN | RESUME | EVAL | BENCH,
    "megabytes for the run: --batch auto keeps to it; pictures stay decoded in what the network leaves, the others are decoded each time; eval: for pictures alone (default: 0, half of what the process may use)"),

[BP_OPT_ROUNDS] = INT("rounds", TIMING, "10", 1, 1e6, BENCH,
    "timed steps (of each side), after a few that are not timed"),

[BP_OPT_TOP] = INT("top", ANSWERS, "1", 1, 100000, PREDICT,
    "show the N likeliest classes of each picture"),
};
/* clang-format on */

const bp_option *bp_options(size_t *count) {
    *count = BP_OPT_COUNT;
    return bp_option_table;
}

enum bp_option_id bp_option_id_of(const char *name) {
    for (int id = 0; id < BP_OPT_COUNT; id++)
        if (strcmp(bp_option_table[id].name, name) == 0)
            return (enum bp_option_id)id;
    return BP_OPT_COUNT;
}

const bp_option *bp_option_find(const char *name) {
    enum bp_option_id id = bp_option_id_of(name);
    return id < BP_OPT_COUNT ? &bp_option_table[id] : NULL;
}

int bp_option_is_local(enum bp_option_id id) {
    return id == BP_OPT_DATA || id == BP_OPT_INIT || (id >= BP_OPT_RUN && id <= BP_OPT_TOP);
}

const char *bp_option_of_bundle(enum bp_option_id bundle, const char *name, enum bp_option_id id) {
    static const struct {
        enum bp_option_id bundle;
        const char *name;
        enum bp_option_id id;
        const char *value;
    } sayings[] = {{BP_OPT_AUG, "light", BP_OPT_AUG_CROP, "4"},
                   {BP_OPT_AUG, "light", BP_OPT_AUG_FLIP, "true"},
                   {BP_OPT_AUG, "strong", BP_OPT_AUG_RRC, "0.35"},
                   {BP_OPT_AUG, "strong", BP_OPT_AUG_FLIP, "true"},
                   {BP_OPT_AUG, "strong", BP_OPT_AUG_JITTER, "0.3"},
                   {BP_OPT_RECIPE, "finetune", BP_OPT_EPOCHS, "20"},
                   {BP_OPT_RECIPE, "finetune", BP_OPT_LR, "0.01"},
                   {BP_OPT_RECIPE, "finetune", BP_OPT_WARMUP, "1"},
                   {BP_OPT_RECIPE, "finetune", BP_OPT_PATIENCE, "8"}};
    for (size_t i = 0; i < sizeof sayings / sizeof sayings[0]; i++)
        if (sayings[i].bundle == bundle && sayings[i].id == id &&
            strcmp(sayings[i].name, name) == 0)
            return sayings[i].value;
    return NULL;
}

int bp_option_is_quantizer(enum bp_option_id id) {
    return id == BP_OPT_PRESET || (id >= BP_OPT_GRAD_BITS && id <= BP_OPT_GRAD_CLIP_DW);
}

static size_t smallest(size_t a, size_t b, size_t c) {
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* Insertions, deletions and replacements that turn a into b (Levenshtein). */
static size_t edit_distance(const char *a, const char *b) {
    enum { LONGEST = 64 };
    size_t na = strlen(a), nb = strlen(b), row[LONGEST + 1];
    if (na > LONGEST || nb > LONGEST)
        return LONGEST;
    for (size_t j = 0; j <= nb; j++)
        row[j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t above = row[j];
            row[j] = smallest(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[nb];
}

const char *bp_closest(const char *text, const char *const *candidates, size_t count) {
    const char *closest = NULL;
    size_t least = strlen(text) / 3 + 2; /* a third of the letters and one may be wrong */
    for (size_t i = 0; i < count; i++) {
        size_t distance = edit_distance(text, candidates[i]);
        if (distance < least && distance < strlen(candidates[i])) {
            least = distance;
            closest = candidates[i];
        }
    }
    for (size_t i = 0; i < count && closest == NULL && strlen(text) >= 2; i++)
        if (strncmp(text, candidates[i], strlen(text)) == 0)
            closest = candidates[i];
    return closest;
}

int bp_parse_number(const char *text, double *out) {
    char local[64];
    if (strlen(text) >= sizeof local || strspn(text, "0123456789+-.eE") != strlen(text))
        return 0;
    strcpy(local, text);
    char *point = strchr(local, '.');
    if (point != NULL)
        *point = localeconv()->decimal_point[0];
    char *end;
    *out = strtod(local, &end);
    return end != local && *end == 0 && isdigit((unsigned char)end[-1]);
}

int bp_parse_time(const char *text, double *out) {
    static const char units[] = "hms";
    static const double seconds[] = {3600, 60, 1};
    size_t least = 0;
    *out = 0;
    for (const char *next = text; next == text || *next != 0;) {
        char number[32];
        double value;
        size_t length = strspn(next, "0123456789.");
        const char *unit = next[length] != 0 ? strchr(units + least, next[length]) : NULL;
        if (unit == NULL || length == 0 || length >= sizeof number)
            return 0;
        memcpy(number, next, length);
        number[length] = 0;
        if (!bp_parse_number(number, &value))
            return 0;
        *out += value * seconds[unit - units];
        least = (size_t)(unit - units) + 1;
        next += length + 1;
    }
    return 1;
}
