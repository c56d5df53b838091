#include "train/run_report.h"

#include "base/clock.h"
#include "report/report.h"

enum { VARIANCE_DRAWS = 8 };

bp_status bp_run_report_open(struct bp_run_report *report, const struct bp_session *session,
                             const struct bp_run_folder *folder, uint64_t step) {
    *report = (struct bp_run_report){
        .session = session, .folder = folder, .wanted = session->settings.report};
    if (session->settings.report_variance > 0 && session->graph->n_binary > 0)
        BP_TRY(
            bp_grad_variance_create(&report->variance, session->graph, VARIANCE_DRAWS, step == 0));
    if (!report->wanted)
        return BP_OK;
    BP_TRY(bp_validation_log_open(&report->log, &session->data->val));
    return bp_layer_times_open(&report->times, session->graph);
}

void bp_run_report_close(struct bp_run_report *report) {
    bp_grad_variance_destroy(report->variance);
    bp_validation_log_close(&report->log);
    bp_layer_times_close(&report->times);
    *report = (struct bp_run_report){0};
}

/* --- steps ------------------------------------------------------------------------------------ */

/* The steps of a QAT warm-up have no quantized gradients. */
static int variance_due(const struct bp_run_report *report, uint64_t step) {
    const struct bp_session *session = report->session;
    double position = bp_schedule_position(&session->cut, step, session->planned_steps);
    return report->variance != NULL && position >= (double)session->qat_steps &&
           (step + 1) % session->settings.report_variance == 0;
}

void bp_run_report_before_step(struct bp_run_report *report, uint64_t step) {
    report->observing = variance_due(report, step);
    if (report->observing)
        bp_grad_variance_begin(report->variance);
    report->step_ns = bp_clock_ns();
    report->waited_ns = bp_loader_waited_ns(report->session->train);
}

static void write_product(struct bp_json *json, const char *key,
                          const struct bp_product_variance *product) {
    bp_json_object(json, key);
    bp_json_double(json, "gradient", product->gradient);
    bp_json_double(json, "exact", product->exact);
    bp_json_double(json, "empirical", product->empirical);
    bp_json_double(json, "norm", product->norm);
    bp_json_end_object(json);
}

static bp_status write_variance(const struct bp_run_report *report, size_t epoch, uint64_t step) {
    const struct bp_layer_variance *layers = bp_grad_variance_layers(report->variance);
    struct bp_json json;
    bp_json_begin(&json, 0);
    bp_json_object(&json, NULL);
    bp_json_int(&json, "epoch", (int64_t)epoch);
    bp_json_int(&json, "step", (int64_t)step);
    bp_json_int(&json, "draws", VARIANCE_DRAWS);
    bp_json_array(&json, "layers");
    for (size_t i = 0; i < report->session->graph->n_binary; i++) {
        bp_json_object(&json, NULL);
        bp_json_string(&json, "name", layers[i].layer->name);
        write_product(&json, "dA", &layers[i].da);
        write_product(&json, "dW", &layers[i].dw);
        bp_json_double(&json, "flips", layers[i].flips);
        bp_json_end_object(&json);
    }
    bp_json_end_array(&json);
    bp_json_end_object(&json);
    return bp_run_folder_json_line(report->folder->variance, &json);
}

bp_status bp_run_report_after_step(struct bp_run_report *report, size_t epoch, uint64_t step) {
    uint64_t waited_ns = bp_loader_waited_ns(report->session->train) - report->waited_ns;
    uint64_t step_ns = bp_clock_ns() - report->step_ns;
    if (report->observing) { /* its time is not that of a step */
        bp_grad_variance_end(report->variance);
        return write_variance(report, epoch, step);
    }
    if (report->wanted)
        bp_layer_times_add(&report->times, report->session->graph,
                           step_ns > waited_ns ? step_ns - waited_ns : 0);
    return BP_OK;
}

/* --- validations ------------------------------------------------------------------------------ */

void bp_run_report_listen(struct bp_run_report *report, struct bp_evaluation *evaluation) {
    if (report->wanted)
        bp_validation_log_listen(&report->log, evaluation);
}

bp_status bp_run_report_best(struct bp_run_report *report, const struct bp_evaluation *evaluation,
                             size_t epoch) {
    struct bp_json json;
    if (!report->wanted)
        return BP_OK;
    BP_TRY(bp_validation_log_json(&report->log, report->session->data, evaluation, epoch, &json));
    return bp_run_folder_json(report->folder, "validation.json", &json);
}

/* --- the end ---------------------------------------------------------------------------------- */

bp_status bp_run_report_draw(struct bp_run_report *report) {
    const char *run = report->folder->path;
    struct bp_json json;
    if (!report->wanted)
        return BP_OK;
    if (report->times.steps > 0) { /* else that of an earlier sitting stays */
        bp_layer_times_json(&report->times, report->session->graph, &json);
        BP_TRY(bp_run_folder_json(report->folder, "layers.json", &json));
    }
    return bp_report_write(&run, 1, report->folder->report);
}
