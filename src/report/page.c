#include "report/page.h"

#include <math.h>
#include <string.h>

#include "report/records_json.h"

/* --- what all pages share --------------------------------------------------------------------- */

void bp_page_begin(struct bp_html *html, const char *title) {
    bp_html_raw(html, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
                      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                      "style-src 'unsafe-inline'; img-src data:\">\n<title>");
    bp_html_text(html, title);
    bp_html_raw(html, "</title>\n<style>\n");
    for (size_t i = 0; bp_page_style[i] != NULL; i++)
        bp_html_raw(html, bp_page_style[i]);
    bp_html_raw(html, "\n</style>\n</head>\n<body>\n<main>\n");
}

void bp_page_end(struct bp_html *html) {
    bp_html_raw(html, "<footer>Drawn by bitprop from the files of the run folder; this page needs "
                      "nothing else.</footer>\n"
                      "</main>\n</body>\n</html>\n");
}

void bp_page_section(struct bp_html *html, const char *id, const char *title) {
    bp_html_format(html, "<section id=\"%s\"><h2>%s</h2>\n", id, title);
}

void bp_page_columns(struct bp_html *html, const char *const *names) {
    bp_html_raw(html, "<thead><tr>");
    for (size_t i = 0; names[i] != NULL; i++) {
        int numbers = names[i][0] == '>', bars = names[i][0] == '|';
        const char *class = numbers ? " class=\"num\"" : bars ? " class=\"bar\"" : "";
        bp_html_format(html, "<th%s>%s</th>", class, names[i] + (numbers || bars));
    }
    bp_html_raw(html, "</tr></thead><tbody>\n");
}

void bp_page_value(struct bp_html *html, const json_t *value) {
    if (json_is_string(value))
        bp_html_text(html, json_string_value(value));
    else if (json_is_boolean(value))
        bp_html_raw(html, json_is_true(value) ? "yes" : "no");
    else if (json_is_integer(value))
        bp_html_format(html, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        bp_html_number(html, json_real_value(value), 9);
}

void bp_page_bar(struct bp_html *html, double share) {
    bp_html_raw(html, "<i style=\"width:");
    bp_html_number(html, 100.0 * fmin(fmax(isfinite(share) ? share : 0.0, 0.0), 1.0), 1);
    bp_html_raw(html, "%\"></i>");
}

/* --- the head of a run's page ----------------------------------------------------------------- */

static void draw_title(struct bp_html *html, const struct bp_report_run *run) {
    const json_t *config = run->config;
    bp_html_raw(html, "<header><h1>");
    bp_html_text(html, run->name);
    bp_html_raw(html, "</h1><p class=\"sub\">");
    bp_page_value(html, json_object_get(config, "model"));
    bp_html_raw(html, ", width ");
    bp_page_value(html, json_object_get(config, "width"));
    bp_html_raw(html, ", precision ");
    bp_page_value(html, json_object_get(config, "precision"));
    if (json_object_get(config, "preset") != NULL) {
        bp_html_raw(html, " (");
        bp_page_value(html, json_object_get(config, "preset"));
        bp_html_raw(html, ")");
    }
    bp_html_raw(html, ", on ");
    bp_page_value(html, json_object_get(config, "data"));
    bp_html_raw(html, "</p></header>\n");
}

/* How the run ended, unless it is simply done; what to try next; and what could not be read. */
static void draw_alerts(struct bp_html *html, const struct bp_report_run *run) {
    const char *status = bp_report_string(run->result, "status");
    const char *message = bp_report_string(run->result, "message");
    size_t bad = run->metrics.bad_lines + run->variance.bad_lines;
    if (run->result == NULL) {
        bp_html_raw(html, "<p class=\"alert\">This run has no result yet: it is under way, or was "
                          "killed.</p>\n");
    } else if (status == NULL || strcmp(status, "done") != 0) {
        bp_html_raw(html, "<p class=\"alert\">This run is not complete (");
        bp_html_text(html, status != NULL ? status : "unknown");
        bp_html_raw(html, "): ");
        bp_html_text(html, message != NULL ? message : "");
        bp_html_raw(html, "</p>\n");
    }
    const char *advice = bp_report_string(run->result, "advice");
    if (advice != NULL) {
        bp_html_raw(html, "<p class=\"alert\">Advice: ");
        bp_html_text(html, advice);
        bp_html_raw(html, "</p>\n");
    }
    if (bad > 0)
        bp_html_format(html,
                       "<p class=\"alert\">%zu %s of metrics.jsonl and variance.jsonl could not be "
                       "read and %s left out.</p>\n",
                       bad, bad == 1 ? "line" : "lines", bad == 1 ? "is" : "are");
    for (size_t i = 0; i < run->n_problems; i++) {
        bp_html_raw(html, "<p class=\"alert\">Left out: ");
        bp_html_text(html, run->problems[i]);
        bp_html_raw(html, "</p>\n");
    }
}

static void begin_tile(struct bp_html *html) {
    bp_html_raw(html, "<li><b>");
}

static void end_tile(struct bp_html *html, const char *label) {
    bp_html_format(html, "</b><span>%s</span></li>\n", label);
}

static void draw_tiles(struct bp_html *html, const struct bp_report_run *run) {
    const json_t *result = run->result;
    double best = bp_report_number(result, "best_accuracy");
    double last = bp_report_number(result, "accuracy");
    double seconds = bp_report_number(result, "seconds");
    if (result == NULL)
        return;
    bp_html_raw(html, "<ul class=\"tiles\">");
    begin_tile(html);
    bp_html_percent(html, best >= 0.0 ? best : NAN, 2);
    end_tile(html, "best validation accuracy");
    begin_tile(html);
    bp_html_percent(html, last >= 0.0 ? last : NAN, 2);
    end_tile(html, "last validation accuracy");
    begin_tile(html);
    bp_html_value(html, bp_report_number(result, "epoch"), 0);
    end_tile(html, "epochs");
    begin_tile(html);
    bp_html_value(html, bp_report_number(result, "step"), 0);
    end_tile(html, "steps");
    begin_tile(html);
    bp_html_value(html, bp_report_number(result, "images_per_s"), 0);
    end_tile(html, "images a second");
    begin_tile(html);
    bp_html_value(html, seconds >= 120.0 ? seconds / 60.0 : seconds, 1);
    bp_html_raw(html, seconds >= 120.0 ? " min" : " s");
    end_tile(html, "last sitting");
    begin_tile(html);
    bp_html_value(html, bp_report_number(result, "peak_rss_mb"), 0);
    bp_html_raw(html, " MB");
    end_tile(html, "peak memory");
    bp_html_raw(html, "</ul>\n");
}

static void draw_contents(struct bp_html *html, const struct bp_report_run *run) {
    const struct {
        const char *id, *title;
        int there;
    } parts[] = {{"curves", "Curves", 1},
                 {"classes", "Classes", run->validation.root != NULL},
                 {"mistakes", "Worst mistakes", run->validation.n_mistakes > 0},
                 {"layers", "Layers", run->layers.root != NULL},
                 {"variance", "Gradient variance", run->variance.count > 0},
                 {"settings", "Settings", 1},
                 {"machine", "Machine", run->env != NULL}};
    bp_html_raw(html, "<nav>");
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (parts[i].there)
            bp_html_format(html, "<a href=\"#%s\">%s</a> ", parts[i].id, parts[i].title);
    bp_html_raw(html, "</nav>\n");
}

bp_status bp_page_run(struct bp_html *html, const struct bp_report_run *run) {
    bp_page_begin(html, run->name);
    draw_title(html, run);
    draw_alerts(html, run);
    draw_tiles(html, run);
    draw_contents(html, run);
    BP_TRY(bp_page_curves(html, run));
    if (run->validation.root != NULL) {
        BP_TRY(bp_page_confusion(html, &run->validation));
        bp_page_mistakes(html, &run->validation);
    }
    if (run->layers.root != NULL)
        bp_page_layers(html, &run->layers);
    BP_TRY(bp_page_variance(html, &run->variance));
    bp_page_settings(html, run);
    bp_page_machine(html, run);
    bp_page_end(html);
    return BP_OK;
}
