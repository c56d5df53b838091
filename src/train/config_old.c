/* What a run folder's config.json, or a checkpoint, means where it was written by a version that
 * did not name an option: the option has the value of that version. */
#include <string.h>

#include "base/file_io.h"
#include "base/memory.h"
#include "train/begin_record.h"
#include "train/config.h"

static bp_status fill(bp_config *config, enum bp_option_id id, const char *value,
                      const char *origin) {
    const char *name = bp_option_table[id].name;
    return bp_config_is_set(config, name) ? BP_OK : bp_config_set(config, name, value, origin);
}

bp_status bp_config_fill_old(bp_config *config, int pictures, const char *origin) {
    if (bp_config_unused_with(config, BP_OPT_STEM) == BP_OPT_COUNT)
        BP_TRY(fill(config, BP_OPT_STEM, "fp32", origin));
    /* Unless a recipe says it; the rate of sgd has not changed. */
    if (bp_config_get(config, "lr") == NULL && strcmp(bp_config_get(config, "optimizer"), "sgd"))
        BP_TRY(fill(config, BP_OPT_LR, "0.001", origin));
    return pictures ? fill(config, BP_OPT_SIZE, "64", origin) : BP_OK;
}

/* Whether data.json says that the run's data are pictures. */
static bp_status read_kind(const char *path, int *pictures) {
    enum { FILE_BYTES_MAX = 1 << 16 };
    struct bp_data_record record;
    uint8_t *bytes;
    size_t count;
    if (!bp_path_exists(path))
        return BP_OK;
    BP_TRY(bp_file_read(path, FILE_BYTES_MAX, BP_MODEL, &bytes, &count));
    bp_status status = bp_data_record_parse((const char *)bytes, count, path, &record);
    bp_free(bytes);
    BP_TRY(status);
    *pictures = strcmp(record.kind, "folder") == 0 || strcmp(record.kind, "list") == 0;
    return BP_OK;
}

bp_status bp_config_fill_old_run(bp_config *config, const char *path) {
    static const char name[] = "config.json";
    char folder[BP_PATH_BYTES], beside[BP_PATH_BYTES];
    size_t length = strlen(path), own = sizeof name - 1;
    int pictures = 0;
    if (length < own || length >= sizeof folder || strcmp(path + length - own, name) != 0 ||
        (length > own && path[length - own - 1] != '/'))
        return BP_OK;
    memcpy(folder, path, length - own);
    folder[length - own] = 0;
    BP_TRY(bp_path_join(beside, sizeof beside, folder, "env.json"));
    if (!bp_path_exists(beside)) /* a file that somebody wrote for himself */
        return BP_OK;
    BP_TRY(bp_path_join(beside, sizeof beside, folder, "data.json"));
    if (!bp_config_is_set(config, "size"))
        BP_TRY(read_kind(beside, &pictures));
    return bp_config_fill_old(config, pictures, path);
}
