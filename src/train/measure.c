#include "train/measure.h"

#include "base/clock.h"
#include "base/disk_speed.h"
#include "train/checkpoint.h"
#include "train/evaluate.h"
#include "train/step.h"

/* A step waits for data only when the batches that were prepared ahead are used up. */
enum { NOT_TIMED = BP_BATCHES_AHEAD + 1, TIMED_LEAST = 2, TIMED_MOST = 50 };

static double seconds_since(uint64_t begin_ns) {
    return (double)(bp_clock_ns() - begin_ns) * 1e-9;
}

static bp_status check_interrupt(void) {
    bp_status stopped = bp_interrupt_requested();
    if (stopped == BP_OK)
        return BP_OK;
    bp_interrupt(0); /* answered */
    return bp_fail(stopped, "timing stopped on request");
}

/* Mean seconds of the steps from number `first` on, and their share of waiting for data. */
static bp_status time_steps(struct bp_session *session, struct bp_average *average, uint64_t first,
                            double seconds, double *mean, double *waiting) {
    struct bp_step_result result;
    uint64_t begin_ns = bp_clock_ns(), timed_ns = begin_ns, waited_ns = 0;
    size_t timed = 0, least = TIMED_LEAST;
    for (uint64_t i = 0; timed < TIMED_MOST; i++) {
        int enough = seconds_since(begin_ns) > seconds;
        if (enough && timed >= least)
            break;
        BP_TRY(check_interrupt());
        BP_TRY(bp_session_step(session, average, first + i, &result));
        if (i == 0 && seconds_since(begin_ns) > seconds)
            least = 1;
        if (i < NOT_TIMED && !(i > 0 && enough)) {
            timed_ns = bp_clock_ns();
            waited_ns = bp_loader_waited_ns(session->train);
        } else {
            timed++;
        }
    }
    double spent = seconds_since(timed_ns);
    *mean = spent / (double)timed;
    waited_ns = bp_loader_waited_ns(session->train) - waited_ns;
    *waiting = spent > 0 ? (double)waited_ns * 1e-9 / spent : 0;
    return BP_OK;
}

/* All of the validation part, or as many batches as `seconds` allow. */
static bp_status time_validation(struct bp_session *session, double seconds, double *whole) {
    struct bp_graph *graph = session->graph;
    struct bp_batch batch = {0};
    double loss;
    size_t correct, images = 0;
    uint64_t begin_ns = bp_clock_ns();
    while (!batch.last && (images == 0 || seconds_since(begin_ns) < seconds)) {
        BP_TRY(check_interrupt());
        BP_TRY(bp_loader_next(session->val, &batch));
        bp_graph_set_input(graph, batch.n, batch.images);
        BP_TRY(bp_graph_forward(graph, 0));
        BP_TRY(bp_graph_loss(graph, batch.labels, 0, &loss, &correct));
        images += batch.n;
    }
    *whole = seconds_since(begin_ns) * (double)session->data->val.count / (double)images;
    return BP_OK;
}

/* Of last.ckpt and best.ckpt. */
static double save_seconds(const struct bp_session *session) {
    const struct bp_settings *settings = &session->settings;
    int averages = settings->ema > 0;
    size_t bytes = bp_checkpoint_bytes(session->graph, averages, 1) +
                   bp_checkpoint_bytes(session->graph, averages, 0);
    double speed = bp_disk_speed(settings->run != NULL ? settings->run : "runs/1");
    return (double)bytes / (speed > 0 ? speed : BP_WRITE_BYTES_PER_SECOND);
}

static bp_status time_parts(struct bp_session *session, struct bp_average *average, double seconds,
                            struct bp_pace *out) {
    double waiting;
    BP_TRY(time_steps(session, average, session->qat_steps, seconds, &out->step, &out->data_wait));
    out->qat_step = out->step;
    if (session->qat_steps > 0)
        BP_TRY(time_steps(session, average, 0, seconds / 3, &out->qat_step, &waiting));
    BP_TRY(time_validation(session, seconds / 3, &out->validation));
    out->save = save_seconds(session);
    return BP_OK;
}

bp_status bp_measure(struct bp_session *session, double seconds, struct bp_pace *out) {
    struct bp_average *average = NULL;
    *out = (struct bp_pace){0};
    if (session->settings.ema > 0)
        BP_TRY(bp_average_create(&average, session->graph));
    bp_status status = bp_session_start(session, 0);
    if (status == BP_OK)
        status = time_parts(session, average, seconds, out);
    bp_session_stop(session);
    bp_average_destroy(average);
    return status;
}

struct bp_course bp_session_course(const struct bp_session *session) {
    const struct bp_settings *settings = &session->settings;
    double planned = (double)session->planned_steps;
    return (struct bp_course){.batches = session->batches,
                              .qat_share = planned > 0 ? (double)session->qat_steps / planned : 0,
                              .checkpoint_every = settings->checkpoint_every,
                              .variance_every =
                                  session->graph->n_binary > 0 ? settings->report_variance : 0};
}
