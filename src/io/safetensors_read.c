#include "io/safetensors.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/file_io.h"
#include "base/memory.h"
#include "io/json_parse.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tensor data are used in place: only little-endian machines are supported"
#endif

#define PREFIX_BYTES      ((size_t)8)
#define HEADER_BYTES_MAX  ((size_t)16 << 20)
#define HEADER_DEPTH_MAX  8
#define HEADER_VALUES_MAX ((size_t)1 << 18) /* bounds what the JSON reader can take */
#define FILE_BYTES_MAX    (SIZE_MAX / 2)
#define METADATA_KEY      "__metadata__"
#define ANOTHER_COPY      "the file is damaged or not a checkpoint; use another copy"
#define SHOWN_NAME_BYTES  100 /* of a name in a message */

struct bp_safetensors {
    uint8_t *file;   /* the whole file; NULL when parsed from the caller's memory */
    uint8_t *copies; /* tensors whose place in the file is not aligned for their type */
    char *path;
    json_t *root; /* owns the strings of texts */
    struct bp_saved_tensor *tensors;
    size_t n_tensors;
    const json_t *texts; /* borrowed from root; NULL if there are none */
};

static const struct {
    const char *name;
    enum bp_dtype dtype;
    size_t bytes;
} dtypes[] = {
    {"F32", BP_DTYPE_F32, 4}, {"U8", BP_DTYPE_U8, 1},   {"I32", BP_DTYPE_I32, 4},
    {"I64", BP_DTYPE_I64, 8}, {"U64", BP_DTYPE_U64, 8},
};

size_t bp_dtype_bytes(enum bp_dtype dtype) {
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (dtypes[i].dtype == dtype)
            return dtypes[i].bytes;
    return 0;
}

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3), cold))
#endif
static bp_status
malformed(const struct bp_safetensors *st, const char *format, ...) {
    char reason[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    return bp_fail(BP_MODEL, "model file '%.400s': %s", st->path, reason);
}

/* jansson parses recursively and keeps some 100 bytes per value: depth and number of values are
 * bounded before it sees the text. Brackets in strings do not count. */
static bp_status check_nesting(const struct bp_safetensors *st, const char *text, size_t count) {
    size_t values = 0;
    int depth = 0, in_string = 0;
    for (size_t i = 0; i < count; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = 0;
            continue;
        }
        if (c == '"')
            in_string = 1;
        else if (c == '{' || c == '[')
            depth++;
        else if ((c == '}' || c == ']') && depth > 0)
            depth--;
        values += c == ',' || c == '{' || c == '[';
        if (depth > HEADER_DEPTH_MAX)
            return malformed(st, "the JSON header nests deeper than %d at byte %zu; " ANOTHER_COPY,
                             HEADER_DEPTH_MAX, PREFIX_BYTES + i);
        if (values > HEADER_VALUES_MAX)
            return malformed(st, "the JSON header has more than %zu values; " ANOTHER_COPY,
                             HEADER_VALUES_MAX);
    }
    return BP_OK;
}

static bp_status parse_header(struct bp_safetensors *st, const char *text, size_t count) {
    if (count == 0 || text[0] != '{')
        return malformed(st, "the header is not a JSON object (byte %zu); " ANOTHER_COPY,
                         PREFIX_BYTES);
    BP_TRY(check_nesting(st, text, count));
    json_error_t error;
    bp_status status = bp_json_parse(&st->root, text, count, st->path, &error);
    if (status != BP_DATA)
        return status;
    return malformed(st, "the JSON header is wrong at byte %zu: %s; " ANOTHER_COPY,
                     PREFIX_BYTES + (size_t)(error.position > 0 ? error.position : 0), error.text);
}

/* A JSON integer that is a size. */
static int as_size(const json_t *value, size_t *out) {
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        (uint64_t)json_integer_value(value) > SIZE_MAX)
        return 0;
    *out = (size_t)json_integer_value(value);
    return 1;
}

static bp_status read_dtype(const struct bp_safetensors *st, const char *name, const json_t *value,
                            struct bp_saved_tensor *tensor) {
    if (!json_is_string(value))
        return malformed(st, "tensor '%s' has no dtype; " ANOTHER_COPY, name);
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (strcmp(dtypes[i].name, json_string_value(value)) == 0) {
            tensor->dtype = dtypes[i].dtype;
            return BP_OK;
        }
    return malformed(st,
                     "tensor '%s' has the unknown dtype '%.32s'; convert it to one of "
                     "F32, U8, I32, I64, U64",
                     name, json_string_value(value));
}

static bp_status read_shape(const struct bp_safetensors *st, const char *name, const json_t *value,
                            struct bp_saved_tensor *tensor) {
    if (!json_is_array(value))
        return malformed(st, "tensor '%s' has no shape; " ANOTHER_COPY, name);
    size_t n_dims = json_array_size(value);
    if (n_dims > BP_TENSOR_DIMS_MAX)
        return malformed(st, "tensor '%s' has %zu dimensions, more than %d; reshape it", name,
                         n_dims, BP_TENSOR_DIMS_MAX);
    size_t bytes = bp_dtype_bytes(tensor->dtype);
    for (size_t i = 0; i < n_dims; i++) {
        size_t dim;
        if (!as_size(json_array_get(value, i), &dim))
            return malformed(st, "tensor '%s': dimension %zu is not a size; " ANOTHER_COPY, name,
                             i);
        if (dim != 0 && bytes > SIZE_MAX / dim)
            return malformed(st, "tensor '%s': the shape overflows; " ANOTHER_COPY, name);
        bytes *= dim;
        tensor->dims[i] = dim;
    }
    tensor->n_dims = (int)n_dims;
    tensor->bytes = bytes;
    return BP_OK;
}

/* Bounds against the data part of `data_bytes`; the data pointer is set within it. */
static bp_status read_offsets(const struct bp_safetensors *st, const char *name,
                              const json_t *value, const uint8_t *data, size_t data_bytes,
                              struct bp_saved_tensor *tensor) {
    size_t begin, end;
    if (!json_is_array(value) || json_array_size(value) != 2 ||
        !as_size(json_array_get(value, 0), &begin) || !as_size(json_array_get(value, 1), &end))
        return malformed(st, "tensor '%s': data_offsets are not two sizes; " ANOTHER_COPY, name);
    if (begin > end)
        return malformed(st, "tensor '%s' begins at %zu, after its end %zu; " ANOTHER_COPY, name,
                         begin, end);
    if (end > data_bytes)
        return malformed(st,
                         "tensor '%s' ends at byte %zu of the data, which are truncated to %zu "
                         "bytes; " ANOTHER_COPY,
                         name, end, data_bytes);
    if (end - begin != tensor->bytes)
        return malformed(st, "tensor '%s' has %zu bytes, its shape needs %zu; " ANOTHER_COPY, name,
                         end - begin, tensor->bytes);
    tensor->data = data + begin;
    return BP_OK;
}

static bp_status read_tensor(const struct bp_safetensors *st, const char *name, const json_t *info,
                             const uint8_t *data, size_t data_bytes,
                             struct bp_saved_tensor *tensor) {
    if (strlen(name) >= sizeof tensor->name)
        return malformed(st, "the tensor name '%.*s...' is longer than %zu bytes; rename it",
                         SHOWN_NAME_BYTES, name, sizeof tensor->name - 1);
    if (!json_is_object(info))
        return malformed(st, "tensor '%s' is not described by an object; " ANOTHER_COPY, name);
    memcpy(tensor->name, name, strlen(name) + 1);
    BP_TRY(read_dtype(st, name, json_object_get(info, "dtype"), tensor));
    BP_TRY(read_shape(st, name, json_object_get(info, "shape"), tensor));
    BP_TRY(read_offsets(st, name, json_object_get(info, "data_offsets"), data, data_bytes, tensor));
    if (json_object_size(info) != 3)
        return malformed(st,
                         "tensor '%s' has entries besides dtype, shape and data_offsets; write it "
                         "with a tool that follows the format",
                         name);
    return BP_OK;
}

static bp_status check_texts(const struct bp_safetensors *st) {
    const char *key;
    const json_t *value;
    if (st->texts == NULL)
        return BP_OK;
    if (!json_is_object(st->texts))
        return malformed(st, METADATA_KEY " is not an object; " ANOTHER_COPY);
    json_object_foreach((json_t *)st->texts, key, value) {
        if (!json_is_string(value))
            return malformed(st, METADATA_KEY " entry '%.*s' is not a string; " ANOTHER_COPY,
                             SHOWN_NAME_BYTES, key);
    }
    return BP_OK;
}

/* By place in the file; empty tensors before the tensor that begins at the same byte. */
static int by_place(const void *a, const void *b) {
    const struct bp_saved_tensor *x = a, *y = b;
    uintptr_t place_x = (uintptr_t)x->data, place_y = (uintptr_t)y->data;
    if (place_x != place_y)
        return place_x < place_y ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* The tensors cover the data part exactly: no byte twice, none unused. */
static bp_status check_cover(const struct bp_safetensors *st, const uint8_t *data,
                             size_t data_bytes) {
    size_t end = 0;
    for (size_t i = 0; i < st->n_tensors; i++) {
        const struct bp_saved_tensor *tensor = &st->tensors[i];
        size_t begin = (size_t)((const uint8_t *)tensor->data - data);
        if (begin < end)
            return malformed(
                st, "tensor '%s' overlaps another one at byte %zu of the data; " ANOTHER_COPY,
                tensor->name, begin);
        if (begin > end)
            return malformed(
                st, "a hole before tensor '%s', bytes %zu to %zu of the data; " ANOTHER_COPY,
                tensor->name, end, begin);
        end = begin + tensor->bytes;
    }
    if (end != data_bytes)
        return malformed(st, "%zu bytes after the last tensor; " ANOTHER_COPY, data_bytes - end);
    return BP_OK;
}

/* What a copy of the tensor takes; 0 where the file's bytes serve. */
static size_t copy_bytes(const struct bp_saved_tensor *tensor) {
    if ((uintptr_t)tensor->data % bp_dtype_bytes(tensor->dtype) == 0)
        return 0;
    return bp_round_up(tensor->bytes + 1, BP_ALIGN); /* + 1: empty tensors get an address too */
}

static bp_status copy_misaligned(struct bp_safetensors *st) {
    size_t bytes = 0, offset = 0;
    for (size_t i = 0; i < st->n_tensors; i++)
        bytes += copy_bytes(&st->tensors[i]);
    if (bytes == 0)
        return BP_OK;
    BP_TRY(bp_alloc(&st->copies, bytes, "realigned tensors"));
    for (size_t i = 0; i < st->n_tensors; i++) {
        struct bp_saved_tensor *tensor = &st->tensors[i];
        size_t taken = copy_bytes(tensor);
        if (taken == 0)
            continue;
        memcpy(st->copies + offset, tensor->data, tensor->bytes);
        tensor->data = st->copies + offset;
        offset += taken;
    }
    return BP_OK;
}

static bp_status read_tensors(struct bp_safetensors *st, const uint8_t *data, size_t data_bytes) {
    const char *key;
    const json_t *value;
    st->texts = json_object_get(st->root, METADATA_KEY);
    BP_TRY(check_texts(st));
    size_t n_tensors = json_object_size(st->root) - (st->texts != NULL);
    BP_TRY(bp_alloc_array(&st->tensors, n_tensors, sizeof *st->tensors, "a list of tensors"));
    json_object_foreach(st->root, key, value) {
        if (strcmp(key, METADATA_KEY) == 0)
            continue;
        BP_TRY(read_tensor(st, key, value, data, data_bytes, &st->tensors[st->n_tensors]));
        st->n_tensors++;
    }
    if (st->n_tensors > 0)
        qsort(st->tensors, st->n_tensors, sizeof *st->tensors, by_place);
    BP_TRY(check_cover(st, data, data_bytes));
    return copy_misaligned(st);
}

static bp_status parse(struct bp_safetensors *st, const uint8_t *bytes, size_t count) {
    if (count < PREFIX_BYTES)
        return malformed(st,
                         "truncated: %zu bytes, the header length alone needs %zu; " ANOTHER_COPY,
                         count, PREFIX_BYTES);
    uint64_t header_bytes = 0;
    for (size_t i = 0; i < PREFIX_BYTES; i++)
        header_bytes |= (uint64_t)bytes[i] << (8 * i);
    if (header_bytes > HEADER_BYTES_MAX)
        return malformed(st,
                         "a header of %llu bytes is larger than the limit of %zu; " ANOTHER_COPY,
                         (unsigned long long)header_bytes, HEADER_BYTES_MAX);
    if (header_bytes > count - PREFIX_BYTES)
        return malformed(st,
                         "truncated: the header needs %llu bytes, the file has %zu after its "
                         "length; " ANOTHER_COPY,
                         (unsigned long long)header_bytes, count - PREFIX_BYTES);
    const uint8_t *data = bytes + PREFIX_BYTES + header_bytes;
    BP_TRY(parse_header(st, (const char *)bytes + PREFIX_BYTES, (size_t)header_bytes));
    return read_tensors(st, data, count - PREFIX_BYTES - (size_t)header_bytes);
}

static bp_status create(struct bp_safetensors **out, const char *path) {
    *out = NULL;
    struct bp_safetensors *st;
    BP_TRY(bp_alloc(&st, sizeof *st, "an opened checkpoint"));
    bp_status status = bp_copy_string(&st->path, path);
    if (status != BP_OK) {
        bp_free(st);
        return status;
    }
    *out = st;
    return BP_OK;
}

static bp_status close_unless_ok(struct bp_safetensors **out, bp_status status) {
    if (status != BP_OK) {
        bp_safetensors_close(*out);
        *out = NULL;
    }
    return status;
}

bp_status bp_safetensors_open(struct bp_safetensors **out, const char *path) {
    size_t count = 0;
    BP_TRY(create(out, path));
    bp_status status = bp_file_read(path, FILE_BYTES_MAX, BP_MODEL, &(*out)->file, &count);
    if (status == BP_OK)
        status = parse(*out, (*out)->file, count);
    return close_unless_ok(out, status);
}

bp_status bp_safetensors_parse(struct bp_safetensors **out, const uint8_t *bytes, size_t count,
                               const char *name) {
    BP_TRY(create(out, name));
    return close_unless_ok(out, parse(*out, bytes, count));
}

void bp_safetensors_close(struct bp_safetensors *st) {
    if (st == NULL)
        return;
    json_decref(st->root);
    bp_free(st->tensors);
    bp_free(st->copies);
    bp_free(st->file);
    bp_free(st->path);
    bp_free(st);
}

size_t bp_safetensors_count(const struct bp_safetensors *st) {
    return st->n_tensors;
}

const struct bp_saved_tensor *bp_safetensors_at(const struct bp_safetensors *st, size_t index) {
    return &st->tensors[index];
}

const struct bp_saved_tensor *bp_safetensors_find(const struct bp_safetensors *st,
                                                  const char *name) {
    for (size_t i = 0; i < st->n_tensors; i++)
        if (strcmp(st->tensors[i].name, name) == 0)
            return &st->tensors[i];
    return NULL;
}

const char *bp_safetensors_text(const struct bp_safetensors *st, const char *key) {
    return st->texts == NULL ? NULL : json_string_value(json_object_get(st->texts, key));
}
