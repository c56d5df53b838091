#include "data/survey.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

static void finding_free(bp_finding *finding) {
    for (size_t i = 0; i < finding->n_paths; i++)
        bp_free(finding->paths[i]);
    bp_free(finding->paths);
    bp_free(finding->text);
}

void bp_survey_free(struct bp_survey *survey) {
    for (size_t i = 0; i < survey->count; i++)
        finding_free(&survey->findings[i]);
    bp_free(survey->findings);
    bp_picture_list_free(&survey->list);
    *survey = (struct bp_survey){0};
}

bp_status bp_survey_excuse(struct bp_survey *survey, const char *kind, bp_status status) {
    char text[BP_MESSAGE_BYTES];
    if (survey == NULL || status != BP_DATA)
        return status;
    snprintf(text, sizeof text, "%s", bp_status_message());
    for (size_t i = 0; i < survey->count; i++)
        if (strcmp(survey->findings[i].text, text) == 0)
            return BP_OK;
    return bp_survey_add(survey, NULL, kind, 1, "%s", text);
}

bp_status bp_survey_add(struct bp_survey *survey, bp_finding **out, const char *kind, int is_error,
                        const char *format, ...) {
    char text[BP_MESSAGE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (survey->count == survey->room) {
        size_t room = survey->room == 0 ? 64 : 2 * survey->room;
        BP_TRY(bp_grow(&survey->findings, survey->count * sizeof *survey->findings,
                       room * sizeof *survey->findings, "the findings"));
        survey->room = room;
    }
    bp_finding *finding = &survey->findings[survey->count];
    *finding = (bp_finding){.kind = kind, .is_error = is_error};
    BP_TRY(bp_copy_string(&finding->text, text));
    survey->count++;
    if (out != NULL)
        *out = finding;
    return BP_OK;
}

/* Room grows to powers of two, so none needs to be noted. */
bp_status bp_finding_add_path(bp_finding *finding, const char *path) {
    size_t n = finding->n_paths;
    if ((n & (n - 1)) == 0)
        BP_TRY(bp_grow(&finding->paths, n * sizeof(char *), (n == 0 ? 1 : 2 * n) * sizeof(char *),
                       "the findings"));
    BP_TRY(bp_copy_string(&finding->paths[n], path));
    finding->n_paths++;
    return BP_OK;
}

bp_status bp_survey_join_class(struct bp_dataset *set, const char *name, int32_t *label) {
    size_t n = set->classes;
    BP_TRY(bp_grow(&set->class_names, n * sizeof(char *), (n + 1) * sizeof(char *), "class names"));
    BP_TRY(bp_copy_string(&set->class_names[n], name));
    set->classes++;
    *label = (int32_t)n;
    return BP_OK;
}
