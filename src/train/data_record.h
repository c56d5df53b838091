/* data.json of a run folder: which data set the run was begun with, so that it goes on with the
 * same one. docs/FORMATS.md has the format. */
#ifndef BP_TRAIN_DATA_RECORD_H
#define BP_TRAIN_DATA_RECORD_H

#include "data/dataset.h"
#include "train/run_folder.h"

#ifdef __cplusplus
extern "C" {
#endif

bp_status bp_data_record_write(const struct bp_run_folder *folder, const struct bp_dataset *data);

/* BP_DATA if `data` differs from what was written, and says in what. Runs of versions that wrote no
 * data.json pass. */
bp_status bp_data_record_check(const struct bp_run_folder *folder, const struct bp_dataset *data);

#ifdef __cplusplus
}
#endif
#endif
