#include "io/safetensors.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "base/file_io.h"
#include "base/json_writer.h"
#include "base/memory.h"

#define PREFIX_BYTES ((size_t)8)
#define METADATA_KEY "__metadata__"

static const char *dtype_name(enum bp_dtype dtype) {
    switch (dtype) {
    case BP_DTYPE_F32:
        return "F32";
    case BP_DTYPE_U8:
        return "U8";
    case BP_DTYPE_I32:
        return "I32";
    case BP_DTYPE_I64:
        return "I64";
    case BP_DTYPE_U64:
        return "U64";
    }
    return NULL;
}

/* A caller's mistakes are found here, not when the file is read again. */
static bp_status check_tensor(const char *path, const struct bp_saved_tensor *tensor) {
    if (memchr(tensor->name, 0, sizeof tensor->name) == NULL || tensor->name[0] == 0 ||
        strcmp(tensor->name, METADATA_KEY) == 0)
        return bp_fail(BP_INTERNAL, "writing '%.400s': a tensor without a valid name", path);
    if (dtype_name(tensor->dtype) == NULL || tensor->n_dims < 0 ||
        tensor->n_dims > BP_TENSOR_DIMS_MAX)
        return bp_fail(BP_INTERNAL, "writing '%.400s': tensor '%s' has no valid type or rank", path,
                       tensor->name);
    size_t bytes = bp_dtype_bytes(tensor->dtype);
    for (int i = 0; i < tensor->n_dims; i++) {
        if (tensor->dims[i] != 0 && bytes > SIZE_MAX / tensor->dims[i])
            return bp_fail(BP_INTERNAL, "writing '%.400s': the shape of tensor '%s' overflows",
                           path, tensor->name);
        bytes *= tensor->dims[i];
    }
    if (bytes != tensor->bytes || (bytes > 0 && tensor->data == NULL))
        return bp_fail(BP_INTERNAL, "writing '%.400s': tensor '%s' has %zu bytes, not %zu", path,
                       tensor->name, tensor->bytes, bytes);
    return BP_OK;
}

static bp_status check_input(const char *path, const struct bp_saved_tensor *tensors,
                             size_t n_tensors, const struct bp_saved_text *texts, size_t n_texts) {
    for (size_t i = 0; i < n_tensors; i++) {
        BP_TRY(check_tensor(path, &tensors[i]));
        for (size_t j = 0; j < i; j++)
            if (strcmp(tensors[i].name, tensors[j].name) == 0)
                return bp_fail(BP_INTERNAL, "writing '%.400s': two tensors named '%s'", path,
                               tensors[i].name);
    }
    for (size_t i = 0; i < n_texts; i++) {
        if (texts[i].key == NULL || texts[i].value == NULL)
            return bp_fail(BP_INTERNAL, "writing '%.400s': text %zu lacks key or value", path, i);
        for (size_t j = 0; j < i; j++)
            if (strcmp(texts[i].key, texts[j].key) == 0)
                return bp_fail(BP_INTERNAL, "writing '%.400s': two texts named '%.100s'", path,
                               texts[i].key);
    }
    return BP_OK;
}

static bp_status header_text(const struct bp_saved_tensor *tensors, size_t n_tensors,
                             const struct bp_saved_text *texts, size_t n_texts, char **text) {
    struct bp_json json;
    bp_json_begin(&json, 0);
    bp_json_object(&json, NULL);
    if (n_texts > 0) {
        bp_json_object(&json, METADATA_KEY);
        for (size_t i = 0; i < n_texts; i++)
            bp_json_string(&json, texts[i].key, texts[i].value);
        bp_json_end_object(&json);
    }
    size_t offset = 0;
    for (size_t i = 0; i < n_tensors; i++) {
        bp_json_object(&json, tensors[i].name);
        bp_json_string(&json, "dtype", dtype_name(tensors[i].dtype));
        bp_json_array(&json, "shape");
        for (int d = 0; d < tensors[i].n_dims; d++)
            bp_json_int(&json, NULL, (int64_t)tensors[i].dims[d]);
        bp_json_end_array(&json);
        bp_json_array(&json, "data_offsets");
        bp_json_int(&json, NULL, (int64_t)offset);
        offset += tensors[i].bytes;
        bp_json_int(&json, NULL, (int64_t)offset);
        bp_json_end_array(&json);
        bp_json_end_object(&json);
    }
    bp_json_end_object(&json);
    return bp_json_finish(&json, text);
}

/* Length, text and spaces up to a multiple of 64 bytes, so that data begin aligned. */
static bp_status padded_header(const char *text, char **header, size_t *count) {
    size_t length = strlen(text);
    *count = bp_round_up(PREFIX_BYTES + length, BP_ALIGN);
    BP_TRY(bp_alloc(header, *count, "a checkpoint's header"));
    uint64_t announced = *count - PREFIX_BYTES;
    for (size_t i = 0; i < PREFIX_BYTES; i++)
        (*header)[i] = (char)(announced >> (8 * i) & 0xff);
    memset(*header + PREFIX_BYTES, ' ', *count - PREFIX_BYTES);
    memcpy(*header + PREFIX_BYTES, text, length);
    return BP_OK;
}

static bp_status write_chunks(const char *path, const char *header, size_t header_bytes,
                              const struct bp_saved_tensor *tensors, size_t n_tensors) {
    struct bp_chunk *chunks;
    BP_TRY(bp_alloc_array(&chunks, n_tensors + 1, sizeof *chunks, "a list of chunks"));
    chunks[0] = (struct bp_chunk){header, header_bytes};
    for (size_t i = 0; i < n_tensors; i++)
        chunks[i + 1] = (struct bp_chunk){tensors[i].data, tensors[i].bytes};
    bp_status status = bp_file_write(path, chunks, n_tensors + 1);
    bp_free(chunks);
    return status;
}

bp_status bp_safetensors_write(const char *path, const struct bp_saved_tensor *tensors,
                               size_t n_tensors, const struct bp_saved_text *texts,
                               size_t n_texts) {
    char *text = NULL, *header = NULL;
    size_t header_bytes;
    BP_TRY(check_input(path, tensors, n_tensors, texts, n_texts));
    bp_status status = header_text(tensors, n_tensors, texts, n_texts, &text);
    if (status == BP_OK)
        status = padded_header(text, &header, &header_bytes);
    if (status == BP_OK)
        status = write_chunks(path, header, header_bytes, tensors, n_tensors);
    bp_free(header);
    bp_free(text);
    return status;
}
