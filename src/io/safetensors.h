/* safetensors files: 8 bytes little-endian header length, a JSON header, raw tensors. Reading
 * checks everything before it trusts anything: lengths, overflow, JSON depth, overlaps, holes,
 * alignment, duplicate names, unknown types. Errors are BP_MODEL. */
#ifndef BP_IO_SAFETENSORS_H
#define BP_IO_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum bp_dtype { BP_DTYPE_F32, BP_DTYPE_U8, BP_DTYPE_I32, BP_DTYPE_I64, BP_DTYPE_U64 };
size_t bp_dtype_bytes(enum bp_dtype dtype);

#define BP_TENSOR_DIMS_MAX 8

struct bp_saved_tensor {
    char name[128];
    enum bp_dtype dtype;
    int n_dims;
    size_t dims[BP_TENSOR_DIMS_MAX];
    const void *data; /* reading: into the file's bytes, aligned for the type */
    size_t bytes;
};

struct bp_saved_text { /* the header's __metadata__: strings to strings */
    const char *key, *value;
};

/* Writes atomically (base/file_io.h). Tensors are laid out in the given order, each aligned to 64
 * bytes as far as the format allows (the header is padded with spaces to a multiple of 64; tensors
 * follow without holes, so order them by falling alignment need). The same input gives the same
 * bytes. */
bp_status bp_safetensors_write(const char *path, const struct bp_saved_tensor *tensors,
                               size_t n_tensors, const struct bp_saved_text *texts, size_t n_texts);

struct bp_safetensors; /* an opened file */

bp_status bp_safetensors_open(struct bp_safetensors **out, const char *path);
/* The same from memory (bytes must outlive it; for tests and fuzzing). */
bp_status bp_safetensors_parse(struct bp_safetensors **out, const uint8_t *bytes, size_t count,
                               const char *name);
void bp_safetensors_close(struct bp_safetensors *file);

size_t bp_safetensors_count(const struct bp_safetensors *file);
const struct bp_saved_tensor *bp_safetensors_at(const struct bp_safetensors *file, size_t index);
/* NULL if there is none. */
const struct bp_saved_tensor *bp_safetensors_find(const struct bp_safetensors *file,
                                                  const char *name);
const char *bp_safetensors_text(const struct bp_safetensors *file, const char *key);

#ifdef __cplusplus
}
#endif
#endif
