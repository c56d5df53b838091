/* The JSON texts inside the header of a checkpoint: lines of the input are "network", "progress",
 * "classes" and "config", in a header that is right otherwise. */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "train/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

/* The header's JSON; NULL if the input is no text. */
static char *make_header(const char *text, size_t count) {
    static const char *const names[] = {"network", "progress", "classes", "config"};
    json_t *texts = json_object(), *root = json_object();
    int valid = json_object_set_new(texts, "format", json_string("bitprop-checkpoint-1")) == 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && valid; i++) {
        const char *end = memchr(text, '\n', count);
        size_t length = end != NULL ? (size_t)(end - text) : count;
        valid = json_object_set_new(texts, names[i], json_stringn(text, length)) == 0;
        text += length + (end != NULL);
        count -= length + (end != NULL);
    }
    json_object_set_new(root, "__metadata__", texts);
    char *header = valid ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    return header;
}

static void use(const struct bp_checkpoint *checkpoint) {
    const struct bp_checkpoint_head *head = bp_checkpoint_head_of(checkpoint);
    size_t length = strlen(head->config);
    for (size_t i = 0; i < head->classes; i++)
        length += strlen(head->class_names[i]);
    const struct bp_progress *p = &head->progress;
    if (head->classes == 0 || head->channels == 0 || head->height == 0 || head->width_px == 0 ||
        !(head->width > 0) || head->binary_weights > head->parameters || p->eval_step > p->step ||
        p->best_epoch > p->epoch || length == SIZE_MAX)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count) {
    char *header = make_header((const char *)bytes, count);
    if (header == NULL)
        return 0;
    size_t length = strlen(header);
    uint8_t *file = malloc(8 + length);
    if (file == NULL)
        abort();
    for (int i = 0; i < 8; i++)
        file[i] = (uint8_t)((uint64_t)length >> (8 * i));
    memcpy(file + 8, header, length);
    free(header);
    struct bp_checkpoint *checkpoint;
    bp_status status = bp_checkpoint_parse(&checkpoint, file, 8 + length, "fuzz");
    if (status == BP_OK)
        use(checkpoint);
    else if (status != BP_MODEL || checkpoint != NULL || bp_status_message()[0] == 0)
        abort();
    bp_checkpoint_close(checkpoint);
    free(file);
    return 0;
}
