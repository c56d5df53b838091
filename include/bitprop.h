/* bitprop: training of 1-bit convolutional networks on CPUs. The library's only public header; it
 * compiles as C11 and as C++.
 *
 * Conventions. Every function that can fail returns a bp_status and hands its result out through a
 * pointer; bp_last_error() then tells what went wrong, where, why and what to do, in one line. The
 * library never prints, exits or aborts on input. Text is UTF-8 and ends with a zero byte. What the
 * library hands out for keeps is given back with the function named beside it; all other pointers
 * belong to the library. Different objects may be used from different threads; one object may not.
 *
 * A training run in four calls:
 *     bp_config_create(&config);
 *     bp_config_set(config, "data", "fashion-mnist", "command line");
 *     bp_train(config, on_event, NULL, &result);
 *     bp_config_destroy(config); */
#ifndef BITPROP_H
#define BITPROP_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define BP_API __attribute__((visibility("default")))
#else
#define BP_API
#endif

#define BP_PATH_BYTES 1024 /* longest path, with its zero byte */

#ifdef __cplusplus
extern "C" {
#endif

/* --- status ----------------------------------------------------------------------------------- */

/* The values are the exit codes of the program. */
typedef enum bp_status {
    BP_OK = 0,
    BP_INTERNAL = 1,    /* a broken invariant: our mistake */
    BP_USAGE = 2,       /* unknown option, impossible value or combination */
    BP_DATA = 3,        /* data set missing, truncated, malformed */
    BP_MODEL = 4,       /* checkpoint missing, malformed, of another network */
    BP_RESOURCE = 5,    /* memory, disk, permission, existing folder */
    BP_DIVERGED = 6,    /* the loss became NaN or infinite */
    BP_CHECK = 7,       /* a check ran and found something wrong */
    BP_INTERRUPT = 130, /* stopped by SIGINT after saving */
    BP_TERMINATE = 143  /* stopped by SIGTERM after saving */
} bp_status;

/* The message of the last failure on this thread ("" before any); valid until the next failure. */
BP_API const char *bp_last_error(void);

/* "0.1.0" */
BP_API const char *bp_version(void);

/* Gives back text that the library handed out for keeps. NULL is fine. */
BP_API void bp_text_free(char *text);

/* --- options ---------------------------------------------------------------------------------- */

/* One table of options serves the command line, its help, config files and BITPROP_* variables. */

typedef enum bp_option_type {
    BP_OPTION_INT,
    BP_OPTION_FLOAT,
    BP_OPTION_CHOICE, /* one of `choices` */
    BP_OPTION_BOOL,   /* true, false (yes, no, on, off, 1, 0) */
    BP_OPTION_TEXT,
    BP_OPTION_TIME /* hours, minutes and seconds: 90s, 30m, 1h30m; limits in seconds */
} bp_option_type;

/* The commands that an option belongs to. */
enum {
    BP_COMMAND_TRAIN = 1,
    BP_COMMAND_RESUME = 2,
    BP_COMMAND_EVAL = 4,
    BP_COMMAND_BENCH = 8,
    BP_COMMAND_PREDICT = 16,
    BP_COMMAND_DATA = 32,
    BP_COMMAND_INFO = 64 /* info --memory */
};

typedef struct bp_option {
    const char *name;  /* "grad-bits": --grad-bits on the command line, "grad-bits" in files,
                          BITPROP_GRAD_BITS in the environment */
    const char *group; /* heading in the help: options of a group stand together */
    bp_option_type type;
    const char *placeholder; /* for the help: "N", "RATE"; "DIR" is completed as a folder, "FILE",
                                "PATH" and "DATA" as paths; NULL for choices and bools */
    const char *fallback;    /* the default value as text; NULL: none, or as `help` tells */
    const char *const *choices; /* NULL-ended, of a choice; of a number: words that it may be
                                   instead; else NULL */
    double minimum, maximum;    /* of numbers, inclusive */
    unsigned commands;          /* BP_COMMAND_... */
    unsigned positional;        /* BP_COMMAND_... that take it as an argument, not as --NAME */
    const char *help;           /* one line */
} bp_option;

/* All options, in the order of the help. */
BP_API const bp_option *bp_options(size_t *count);

/* The option of this name, or NULL. */
BP_API const bp_option *bp_option_find(const char *name);

/* The one candidate that `text` was most likely meant to be, or NULL if none is near. */
BP_API const char *bp_closest(const char *text, const char *const *candidates, size_t count);

/* A set of option values. Each remembers where it came from. */
typedef struct bp_config bp_config;

BP_API bp_status bp_config_create(bp_config **out);
BP_API void bp_config_destroy(bp_config *config);

/* Sets an option from text; a later call wins. `origin` says where the value stood ("command line",
 * "BITPROP_BATCH", a file's path) for messages. Unknown names and values are BP_USAGE with the
 * closest known one, and leave the config as it was. */
BP_API bp_status bp_config_set(bp_config *config, const char *name, const char *value,
                               const char *origin);

/* The value as text: what was set, else the default; NULL if there is neither or no such option. */
BP_API const char *bp_config_get(const bp_config *config, const char *name);

/* Where the value came from: the origin given to bp_config_set, or "default". */
BP_API const char *bp_config_origin(const bp_config *config, const char *name);

/* What an option comes to in a training run, as far as that is known before the data is read. */
typedef struct bp_config_value {
    char value[BP_PATH_BYTES];  /* as text; "": none, not used, or not known yet */
    char origin[BP_PATH_BYTES]; /* as bp_config_origin; or what the value follows from, such as
                                   "preset one-bit", "optimizer adam", "this machine"; or why there
                                   is none, such as "not used with optimizer adam" */
} bp_config_value;

/* Unlike bp_config_get, it tells what presets and other options give, and what is not used. Where
 * the options do not fit together (bp_config_check), it tells what was set. BP_USAGE: no such
 * option. */
BP_API bp_status bp_config_explain(const bp_config *config, const char *name, bp_config_value *out);

/* 1 if bp_config_set gave the option a value. */
BP_API int bp_config_is_set(const bp_config *config, const char *name);

/* Sets every option that a config file names: one JSON object {"epochs": 60, "model": "vgg16"}. */
BP_API bp_status bp_config_load_json(bp_config *config, const char *path);

/* Gives options that are not set the values that follow from the checkpoint that `init` names
 * (model, width, precision and quantizer, size, recipe), with the origin "--init"; nothing without
 * `init`. bp_train does this itself. BP_MODEL: no checkpoint. */
BP_API bp_status bp_config_load_init(bp_config *config);

/* Checks combinations, and that no set option is foreign to `command` (BP_COMMAND_...). The
 * functions that take a config do this themselves. */
BP_API bp_status bp_config_check(const bp_config *config, unsigned command);

/* The config as JSON that bp_config_load_json reads back to the same run; bp_text_free it. */
BP_API bp_status bp_config_to_json(const bp_config *config, char **json);

/* --- training --------------------------------------------------------------------------------- */

typedef enum bp_event_kind {
    BP_EVENT_START,      /* all is prepared; `start` is filled */
    BP_EVENT_STEP,       /* a training step is done */
    BP_EVENT_EPOCH,      /* an epoch is done, validation included */
    BP_EVENT_CHECKPOINT, /* `text` was written */
    BP_EVENT_STOPPED,    /* stopped after saving; `text` says how to go on */
    BP_EVENT_DONE,       /* the run is complete */
    BP_EVENT_NOTE        /* `text` is something worth knowing */
} bp_event_kind;

/* What a run is about. */
typedef struct bp_run_summary {
    const char *run;       /* the run folder */
    const char *data;      /* as given */
    const char *data_kind; /* "idx", "cifar10", "cifar100", "list", "folder" */
    size_t train_count, val_count, classes;
    size_t image_height, image_width,
        image_channels; /* in the files; of pictures: after resizing */
    size_t median_side; /* of the pictures' shorter sides, where it chose the size; else 0 */
    size_t input_height, input_width, input_channels; /* of the network */
    const char *model;                                /* "vgg16" */
    double width;                                     /* factor on channel counts */
    size_t parameters;                                /* all trained numbers */
    size_t binary_weights;       /* of these: latent weights, used by sign only */
    const char *precision;       /* "fp32", "qat", "psq", "fqt" */
    const char *stem;            /* of psq and fqt: ", 8-bit stem" or ", fp32 stem"; else "" */
    const char *quantizer;       /* one line about the gradient quantizer; "" without one */
    const char *optimizer;       /* "adam" */
    size_t epochs, steps, batch; /* steps: of the whole run */
    size_t first_step;           /* 0, or where a resumed run goes on */
    int threads;
    const char *tier;    /* "c", "avx2", "avx512", "amx", "neon" */
    const char *fp32;    /* backend of float convolutions */
    size_t memory_bytes; /* planned for the network: weights, activations, gradients, scratch */
    size_t memory_total, memory_allowed; /* forecast of the whole run; what it may take */
    int batch_is_auto;                   /* 1: the batch was chosen to fit */
    double time_allowed, time_forecast;  /* seconds, of --time; 0: no limit */
} bp_run_summary;

typedef struct bp_event {
    bp_event_kind kind;
    const char *text;            /* as the kind says; else "" */
    const bp_run_summary *start; /* BP_EVENT_START; else NULL */
    size_t epoch, epochs;        /* epochs finished (STEP: before this one), and of the whole run */
    size_t step, steps;          /* steps finished, and of the whole run */
    size_t batch, batches;       /* batches finished in this epoch, and per epoch */
    double loss, accuracy;       /* training; STEP: means over this epoch so far; accuracy 0 .. 1 */
    double val_loss, val_accuracy; /* EPOCH, DONE */
    double best_accuracy;          /* best validation accuracy so far */
    int is_best;                   /* EPOCH: this one is the best so far */
    double lr;                     /* of the last step, body */
    double images_per_s;           /* training, over the last seconds (STEP) or the epoch (EPOCH) */
    double data_wait;              /* EPOCH: share of the training time spent waiting for data */
    double seconds;                /* since this process began the run */
    double seconds_left;           /* estimate; negative: unknown */
} bp_event;

/* Called on the thread that called bp_train. May call bp_interrupt, and nothing else of the run. */
typedef void bp_event_callback(void *user, const bp_event *event);

typedef struct bp_train_result {
    char run[BP_PATH_BYTES];    /* the run folder; "" if it was not made */
    char report[BP_PATH_BYTES]; /* its report.html; "" if none was drawn */
    bp_status status;           /* what the function returned */
    double accuracy, loss;      /* last validation, 0 .. 1 */
    double best_accuracy;
    size_t best_epoch;    /* counted from 1; 0: none yet */
    size_t epoch, step;   /* finished */
    const char *ended_by; /* "epochs", "steps", "patience", "time"; "" if steps are left */
    double seconds;       /* of this process */
    double images_per_s;  /* training, without validation */
    size_t peak_rss_bytes;
    char advice[256]; /* one line: what to try, where the result calls for it; else "" */
} bp_train_result;

/* Trains as `config` says, in a new run folder. `callback` and `result` may be NULL. BP_INTERRUPT
 * and BP_TERMINATE are returned after saving; BP_DIVERGED leaves the last good checkpoint. */
BP_API bp_status bp_train(const bp_config *config, bp_event_callback *callback, void *user,
                          bp_train_result *result);

/* Goes on with an unfinished run, bit for bit as if it had not stopped. `overrides` (may be NULL)
 * may set the options of BP_COMMAND_RESUME. A finished run is BP_USAGE. */
BP_API bp_status bp_resume(const char *run, const bp_config *overrides, bp_event_callback *callback,
                           void *user, bp_train_result *result);

/* Asks a running bp_train or bp_resume to finish its step, save and return BP_INTERRUPT (signal 2,
 * SIGINT) or BP_TERMINATE (any other). Safe inside a signal handler. A request without a run holds
 * for the next one; signal 0 takes a request back. */
BP_API void bp_interrupt(int signal);

/* --- forecasts ---------------------------------------------------------------------------------
 */

/* Bytes of a training run. What is not needed at the same time within a step shares its place. */
typedef struct bp_memory_sums {
    size_t parameters;    /* values, running statistics */
    size_t gradients;     /* of the parameters, as far as they are kept for the optimizer */
    size_t optimizer;     /* its state */
    size_t averages;      /* of the parameters, with ema */
    size_t variance;      /* of report-variance */
    size_t step;          /* activations, gradients of a layer, what layers work with */
    size_t step_unshared; /* the same if nothing shared; not part of the total */
    size_t scratch;       /* of the threads */
    size_t batches;       /* prepared ahead, for training and validation */
    size_t data;          /* images in memory; 0 where no data set is known */
    size_t program;       /* an allowance for code, libraries and what is small */
    size_t total;
} bp_memory_sums;

/* Bytes of one layer, or of the input or the loss. */
typedef struct bp_memory_layer {
    char name[64];
    size_t parameters, gradients, optimizer; /* all the time */
    size_t kept;                             /* in a step: from the forward to the backward pass */
    size_t forward, backward;                /* in a step: within one of them */
} bp_memory_layer;

typedef struct bp_memory_info {
    char model[16];
    char precision[8];
    double width;
    size_t size, channels, classes, batch;
    int threads;
    bp_memory_layer *layers; /* [n_layers] */
    size_t n_layers;
    bp_memory_sums sums;
    char *json; /* all of this, and each buffer of a step with its lifetime, as one JSON object */
} bp_memory_info;

/* What training a network takes of memory, without taking it. `model` is a checkpoint or a run
 * folder (its last checkpoint), whose options hold where `options` does not set them; NULL: the
 * options alone. The options of BP_COMMAND_INFO apply. bp_memory_free it. */
BP_API bp_status bp_memory(const char *model, const bp_config *options, bp_memory_info **out);
BP_API void bp_memory_free(bp_memory_info *info);

/* What a run would take with one precision. Times are those of this machine as it was just then. */
typedef struct bp_forecast_side {
    char precision[8];
    int timed;           /* 0: it takes more memory than there is, so its times are unknown, 0 */
    double step_seconds; /* with its data */
    double images_per_s; /* of training */
    double validation_seconds;
    double save_seconds;  /* checkpoints after a validation */
    double epoch_seconds; /* with validation and checkpoints */
    double run_seconds;   /* with the reading of the data */
    size_t memory_bytes;  /* of the whole run, data included */
} bp_forecast_side;

typedef struct bp_forecast {
    char data[BP_PATH_BYTES];
    char data_kind[16];
    size_t train_count, val_count, classes;
    char model[16];
    double width;
    size_t median_side; /* of the pictures' shorter sides, where it chose the size; else 0 */
    size_t input_height, input_width, input_channels;
    size_t parameters, binary_weights;
    size_t batch, batches; /* batches: per epoch */
    size_t epochs, steps;  /* with --time: as many as fit */
    int threads;
    const char *tier;
    double read_seconds; /* until the first step */
    double data_wait;    /* share of the steps' time spent waiting for data */
    size_t n_sides;      /* 1, or 2: the same network in fp32 beside another precision */
    bp_forecast_side sides[2];
    bp_memory_sums memory;         /* of the first side */
    size_t memory_allowed;         /* by --max-mem, or else half of what the process may use */
    size_t largest_batch;          /* that --batch auto would choose; 0: none fits */
    size_t largest_bytes;          /* what the run takes with it */
    size_t best_bytes, last_bytes; /* of best.ckpt, which is the model, and last.ckpt */
    size_t packed_bytes;           /* of the model with 1-bit weights as bits */
    char *json;                    /* all of this as one JSON object */
} bp_forecast;

/* Says what bp_train with this config would take, from a few steps with its own data; leaves no
 * trace. Data that bp_train refuses are refused in the same way. bp_forecast_free it. */
BP_API bp_status bp_forecast_run(const bp_config *config, bp_forecast **out);
BP_API void bp_forecast_free(bp_forecast *forecast);

/* --- evaluation ------------------------------------------------------------------------------- */

typedef struct bp_eval_result {
    double accuracy, loss; /* 0 .. 1; mean cross entropy in nats */
    size_t n;              /* samples */
    size_t classes;
    char **class_names;    /* [classes] */
    size_t *class_count;   /* [classes] samples of the class */
    size_t *class_correct; /* [classes] of these, predicted right */
    size_t *confusion;     /* [classes][classes]: row true class, column prediction */
    double seconds, images_per_s;
} bp_eval_result;

/* Evaluates a checkpoint (or a run folder: its best checkpoint) on the validation part of `data`.
 * `options` (may be NULL) may set the options of BP_COMMAND_EVAL. Give *out back with bp_eval_free.
 */
BP_API bp_status bp_eval(const char *model, const char *data, const bp_config *options,
                         bp_eval_result **out);
BP_API void bp_eval_free(bp_eval_result *result);

/* --- prediction ------------------------------------------------------------------------------- */

/* Where pictures come from: returns the path of the next picture or folder, valid until the next
 * call, or NULL behind the last one. Called on a thread of the library, ahead of what was
 * predicted and maybe during the other callback, and not again after NULL. */
typedef const char *bp_path_source(void *user);

/* What a model says about a picture. */
typedef struct bp_prediction {
    const char *path;
    const char *error; /* why there is no prediction, with the path; NULL: there is one */
    const char *const *class_names; /* [classes] */
    size_t classes;
    const size_t *top;          /* [n_top] numbers of the likeliest classes, likeliest first */
    const float *probabilities; /* [n_top] theirs, 0 .. 1 */
    size_t n_top;               /* option "top", at most all; 0 with an error */
} bp_prediction;

/* Called for each picture in order, on the thread that called bp_predict. Returns 0 to go on; else
 * bp_predict ends. */
typedef int bp_predict_callback(void *user, const bp_prediction *prediction);

typedef struct bp_predict_result {
    size_t pictures;    /* that the callback was told, of these */
    size_t failed;      /* those with an error */
    size_t passed_over; /* files inside folders that are no pictures */
    double seconds;
} bp_predict_result;

/* Classifies pictures with a checkpoint (or a run folder's best one), prepared as in its training.
 * Folders are walked whole, in natural order, without hidden files. Only some batches are in memory
 * at a time, and the callback hears of a batch as soon as it is done. `options` (may be NULL) may
 * set the options of BP_COMMAND_PREDICT; `user` goes to both callbacks; `result` may be NULL.
 * BP_DATA, at the end, if some pictures could not be used. */
BP_API bp_status bp_predict(const char *model, const bp_config *options, bp_path_source *source,
                            bp_predict_callback *callback, void *user, bp_predict_result *result);

/* --- data check ------------------------------------------------------------------------------- */

/* Something worth knowing about a data set. Kinds of errors: "unreadable" (a file that cannot be
 * used), "line" (of a list), "one_class", "class_twins", "unknown_class", "no_training",
 * "no_validation", "two_classes" (one picture under two labels), "both_parts" (one picture for
 * training and for validation). Kinds of notes: "copies", "wrong_name", "unbalanced",
 * "unvalidated", "beside". */
typedef struct bp_finding {
    const char *kind;
    int is_error;
    char *text;   /* one line: what, where, what to do */
    char **paths; /* [n_paths] files it is about; IDX and CIFAR: "train 12", numbers from 0 */
    size_t n_paths;
} bp_finding;

typedef struct bp_picture_size {
    size_t width, height; /* upright */
} bp_picture_size;

/* What is in a data set. Pictures that cannot be used do not count. */
typedef struct bp_data_report {
    char data[BP_PATH_BYTES];
    char kind[16]; /* "folder" */
    size_t classes;
    char **class_names; /* [classes] those of training, then any that only validation has */
    size_t *train_count, *val_count; /* [classes] */
    size_t train, val, unusable;
    int is_split; /* 1: by the options val and seed, as training does */
    bp_picture_size smallest, median, largest; /* by area; 0 x 0 without pictures */
    size_t grey, colour, jpeg, png;            /* jpeg and png: 0 for IDX and CIFAR */
    bp_finding *findings;                      /* [n_findings], errors first */
    size_t n_findings, errors;
    double seconds;
} bp_data_report;

/* Called on the thread that called bp_data_check, now and then: `done` of `total` pictures were
 * looked at. */
typedef void bp_check_callback(void *user, size_t done, size_t total);

/* Looks at all of a data set: reads and decodes every picture, and compares them. `options` (may be
 * NULL) may set the options of BP_COMMAND_DATA; `callback` may be NULL. BP_CHECK if there are
 * errors (the message names the first one; all are in *out); BP_DATA if there is nothing to look
 * at. bp_data_report_free it. */
BP_API bp_status bp_data_check(const char *data, const bp_config *options,
                               bp_check_callback *callback, void *user, bp_data_report **out);
BP_API void bp_data_report_free(bp_data_report *report);

/* --- reports ---------------------------------------------------------------------------------- */

/* Draws the report of a run anew from the files in its folder, whatever is there (also of a run
 * that is under way), or, of several runs, one page that compares them: one HTML file that needs
 * nothing else. output: the file; NULL: report.html in the folder, for one run only. `written`
 * receives its path (may be NULL). */
BP_API bp_status bp_report(const char *const *runs, size_t n_runs, const char *output,
                           char written[BP_PATH_BYTES]);

/* --- information ------------------------------------------------------------------------------ */

typedef struct bp_model_info {
    char path[BP_PATH_BYTES]; /* the checkpoint that was read */
    char model[16];
    char precision[8], stem[8];
    double width;
    size_t input_height, input_width, input_channels, classes;
    char **class_names;             /* [classes] */
    size_t parameters;              /* all trained numbers */
    size_t binary_weights;          /* of these, used by sign only */
    size_t bytes_packed;            /* with binary weights as bits and all else as 32-bit floats */
    size_t epoch, step;             /* finished */
    double accuracy, best_accuracy; /* validation; negative: none yet */
    char *config_json;              /* the recipe that the model was trained with */
    char *json;                     /* all of this as one JSON object */
} bp_model_info;

/* Reads a checkpoint's description (or a run folder's: its last checkpoint). bp_info_free it. */
BP_API bp_status bp_info(const char *path, bp_model_info **out);
BP_API void bp_info_free(bp_model_info *info);

typedef struct bp_system_info {
    const char *version, *commit, *compiler; /* commit "" if unknown */
    const char *cpu;                         /* the processor's name */
    const char *best_tier;                   /* of this machine */
    const char *fp32;                        /* who computes float products: "oneDNN 2.6.3, bf16" */
    const char *zlib, *jansson;              /* versions of the libraries */
    int threads;            /* by default: one per processor, as far as processor_limit allows */
    int processors;         /* that this process may use (affinity) */
    int processors_online;  /* of the machine */
    double processor_limit; /* of time, by the control groups of a container; 0: none */
    uint64_t memory_bytes;  /* of the machine; 0: unknown */
    uint64_t memory_limit;  /* bytes, by the control groups; 0: none */
} bp_system_info;
/* Texts belong to the library; `cpu` is valid on this thread until the next call. */
BP_API void bp_system(bp_system_info *out);

/* Names of tiers, and whether this machine has them: bp_tier_at(i, &name, &present) for i = 0, 1,
 * ... until it returns 0. */
BP_API int bp_tier_at(size_t index, const char **name, int *present);

/* Which tier serves kernel `index` when the tier is capped at `cpu` ("auto", "c", "avx2", ...).
 * Returns 0 when there is no such kernel, or no such tier on this machine. */
BP_API int bp_kernel_at(size_t index, const char *cpu, const char **name, const char **tier);

/* --- self-test -------------------------------------------------------------------------------- */

#define BP_TIERS_MAX 8

typedef struct bp_self_test_tier {
    const char *tier;
    int present;          /* this machine has it; the others are not tested */
    bp_status status;     /* BP_OK, or BP_CHECK: it differs */
    char difference[320]; /* where it differs first: network, threads, tensor, values; else "" */
} bp_self_test_tier;

typedef struct bp_self_test_result {
    size_t networks; /* trained on each tier */
    size_t n_tiers;  /* as many as bp_tier_at counts */
    bp_self_test_tier tiers[BP_TIERS_MAX];
    double seconds;
} bp_self_test_result;

/* Trains small networks, every model with every precision and preset, for two steps on made-up
 * images, with each tier of this machine and one and two threads, and compares all that was learned
 * byte for byte with what the C tier learns with one thread. BP_CHECK when a tier differs (the
 * message names the first one; all are in *out). Takes seconds and some tens of megabytes. */
BP_API bp_status bp_self_test(bp_self_test_result *out);

/* --- timing ----------------------------------------------------------------------------------- */

#define BP_STAGES_MAX 16

typedef struct bp_stage {
    const char *name; /* "data" (waiting for a batch), "input", "stem", "forward_product",
                         "norm_forward", "norm_backward", "gradient_ranges", "gradient_codes",
                         "da_product", "dw_product", "conv" (shortcuts, float convolutions), "pool",
                         "head", "optimizer", "pack" (weights, for the next step), "other" */
    double ms;        /* median per step */
} bp_stage;

typedef struct bp_bench_side {
    char precision[8];
    char preset[16]; /* of fqt; else "" */
    double step_ms;  /* median of all rounds */
    double step_ms_min;
    double images_per_s; /* from the median */
    double peak_rss_mb;  /* of this process with this side alone in it, 10^6 bytes */
    double data_share;   /* of the time of all timed steps, spent waiting for data */
    double planned_mb;   /* weights, activations, gradients, scratch of the network, 10^6 bytes */
    size_t n_stages;
    bp_stage stages[BP_STAGES_MAX]; /* add up to about step_ms */
} bp_bench_side;

typedef struct bp_bench_result {
    char data[BP_PATH_BYTES]; /* the data set; "": made-up images */
    char model[16];
    double width;
    size_t size, batch, classes;
    int threads;
    const char *tier;
    size_t rounds;
    size_t n_sides;         /* 1, or 2 with `versus` */
    bp_bench_side sides[2]; /* 0: the config; 1: versus */
    double ratio;           /* median of (side 1 / side 0) over the rounds; 0 with one side */
} bp_bench_result;

/* Times whole training steps, on made-up images or, where the config has data, on batches of that
 * data set, which a loader prepares ahead as in a run. `versus` (may be NULL) is a second side,
 * with its own loader, that runs in alternation with the first, in the same process: a precision,
 * or "fqt:PRESET". The options of BP_COMMAND_BENCH apply. */
BP_API bp_status bp_bench_step(const bp_config *config, const char *versus, bp_bench_result *out);

#define BP_BENCH_PRODUCTS   3
#define BP_BENCH_LAYERS_MAX 32

/* A product of a binary convolution. Its time has all that belongs to it: tables, borders, scaling,
 * the sums that the next layer asks for; not the rounding of gradients, and not the packing of
 * weights. */
typedef struct bp_bench_product {
    const char *method; /* "words", "lookup", "nonzero" or "tiles" (docs/KERNELS.md, "Which
                           method"); of layers that differ: "mixed" */
    double ms;          /* median of the rounds */
    double gmac;        /* 10^9 multiply-adds that are really made: of pruned gradients those of the
                           groups that are kept; with the zeros around the image, where the method
                           multiplies them; "nonzero": as if zero codes were multiplied too */
    double gmac_needed; /* of these, those inside the image */
    double gmac_per_s;
    double ceiling;      /* GMAC/s of a loop of the method's instructions ("nonzero": of lookups' or
                            tiles') on registers alone, on all threads, the best of all rounds; 0: the
                            tier has none */
    double ceiling_mean; /* the same, the mean of all rounds */
    double share;        /* gmac_per_s / ceiling; 0 without one */
} bp_bench_product;

typedef struct bp_bench_layer {
    size_t h, w, c;   /* input */
    size_t k;         /* output channels */
    size_t r, stride; /* kernel r x r */
    size_t count;     /* how often it occurs; the rest is of one of them, on the average */
    bp_bench_product products[BP_BENCH_PRODUCTS]; /* forward, activation and weight gradient */
} bp_bench_layer;

typedef struct bp_bench_layers_result {
    char model[16];
    double width;
    size_t size, batch;
    int threads;
    const char *tier;
    char precision[8];
    char preset[16]; /* of fqt; else "" */
    size_t rounds;
    size_t n_layers;
    bp_bench_layer layers[BP_BENCH_LAYERS_MAX]; /* each shape once, in the order of the network */
    bp_bench_product mean[BP_BENCH_PRODUCTS];   /* of the network: ms, gmac and gmac_needed are
                                                   sums; gmac_per_s, ceilings and share
                                                   means weighted by gmac */
    /* GMAC/s of the loops that tiles stand in for: words, which take a round for each bit of a
     * code, and lookups, one for each four bits; 0 where the method is not tiles. */
    double loop_words, loop_lookup;
} bp_bench_layers_result;

/* Times the three products of every binary convolution while the network does steps on made-up
 * images, on the tier that the config names (--cpu). fqt and psq only. The options of
 * BP_COMMAND_BENCH apply, but data. */
BP_API bp_status bp_bench_layers(const bp_config *config, bp_bench_layers_result *out);

#ifdef __cplusplus
}
#endif
#endif
