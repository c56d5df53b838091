/* All that is wrong with a data set, instead of the first thing: the readers tell a survey, where
 * there is one, and go on. data check makes its report of it. */
#ifndef BP_DATA_SURVEY_H
#define BP_DATA_SURVEY_H

#include "data/dataset.h"
#include "data/pictures.h"

#ifdef __cplusplus
extern "C" {
#endif

struct bp_survey {
    bp_finding *findings;
    size_t count, room;
    struct bp_picture_list list; /* of a data set of pictures; they were not looked at */
    int is_pictures;
    size_t training_classes; /* the first ones of the data set's; the others are unknown to it */
};

void bp_survey_free(struct bp_survey *survey);

/* Without a survey, or with another status than BP_DATA: the status. Else the message of the last
 * failure becomes a finding, unless it is there already, and all is well. */
bp_status bp_survey_excuse(struct bp_survey *survey, const char *kind, bp_status status);

/* A new finding; its text is the printed one. *out (may be NULL) is valid until the next one. */
#if defined(__GNUC__)
__attribute__((format(printf, 5, 6)))
#endif
bp_status
bp_survey_add(struct bp_survey *survey, bp_finding **out, const char *kind, int is_error,
              const char *format, ...);
/* A file that the finding is about; the path is copied. */
bp_status bp_finding_add_path(bp_finding *finding, const char *path);

/* A class that only the validation part has joins the others; *label receives its number. */
bp_status bp_survey_join_class(struct bp_dataset *set, const char *name, int32_t *label);

#ifdef __cplusplus
}
#endif
#endif
