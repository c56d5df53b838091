/* Any bytes as a file of a run: the first one picks the reader. What is read is drawn too, and no
 * script gets onto the page. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "report/page.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static void check(bp_status status) {
    if (status != BP_OK && status != BP_DATA && status != BP_RESOURCE)
        abort();
}

static void draw_run(struct bp_html *html, const char *text, size_t count, int lines) {
    struct bp_report_run run = {.name = "fuzz"};
    bp_status status = lines ? bp_metrics_parse(text, count, &run.metrics)
                             : bp_variance_parse(text, count, &run.variance);
    check(status);
    if (status == BP_OK)
        check(bp_page_run(html, &run));
    bp_report_run_close(&run);
}

static void draw_validation(struct bp_html *html, const char *text, size_t count) {
    struct bp_validation_record validation;
    bp_status status = bp_validation_parse(text, count, "fuzz", &validation);
    check(status);
    if (status != BP_OK)
        return;
    check(bp_page_confusion(html, &validation));
    bp_page_mistakes(html, &validation);
    bp_validation_free(&validation);
}

static void draw_layers(struct bp_html *html, const char *text, size_t count) {
    struct bp_layers_record layers;
    bp_status status = bp_layers_parse(text, count, "fuzz", &layers);
    check(status);
    if (status == BP_OK)
        bp_page_layers(html, &layers);
    bp_layers_free(&layers);
}

/* 1 if a coordinate is no number. Only attributes without foreign text are looked at. */
static int has_nan(const char *page) {
    static const char *const geometry[] = {
        " x=\"",  " y=\"", " x1=\"", " x2=\"",    " y1=\"",     " y2=\"",    " cx=\"",
        " cy=\"", " r=\"", " d=\"",  " width=\"", " height=\"", " points=\""};
    for (size_t i = 0; i < sizeof geometry / sizeof geometry[0]; i++)
        for (const char *at = strstr(page, geometry[i]); at != NULL;
             at = strstr(at + 1, geometry[i])) {
            const char *value = at + strlen(geometry[i]), *nan = strstr(value, "nan");
            const char *end = strchr(value, '"');
            if (nan != NULL && end != NULL && nan < end)
                return 1;
        }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    struct bp_html html;
    char *page;
    if (count == 0)
        return 0;
    const char *text = (const char *)bytes + 1;
    bp_html_begin(&html);
    if (bytes[0] == 'm' || bytes[0] == 'g')
        draw_run(&html, text, count - 1, bytes[0] == 'm');
    else if (bytes[0] == 'l')
        draw_layers(&html, text, count - 1);
    else
        draw_validation(&html, text, count - 1);
    check(bp_html_finish(&html, &page));
    if (page != NULL && (strstr(page, "<script") != NULL || has_nan(page)))
        abort();
    bp_free(page);
    return 0;
}
