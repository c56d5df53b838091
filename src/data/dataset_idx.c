/* IDX, the format of MNIST and its relatives: big-endian header {0, 0, type, dimensions, sizes...},
 * then the elements. Files may be gzipped; the content decides, not the name. */
#define ZLIB_CONST /* const next_in */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#include "base/file_io.h"
#include "base/memory.h"
#include "data/dataset_format.h"

#define IDX_UBYTE      0x08
#define MAX_DIMENSIONS 3

static size_t header_bytes(int dimensions) {
    return 4 + 4 * (size_t)dimensions;
}

static const char *what_has(int dimensions) {
    return dimensions == 1 ? "labels" : dimensions == 3 ? "images" : "something else";
}

/* Checks the header in `bytes`; *total receives the bytes that the whole file must have. */
static bp_status parse_header(const uint8_t *bytes, size_t count, int dimensions, const char *name,
                              size_t sizes[3], size_t *total) {
    size_t header = header_bytes(dimensions);
    if (count < 4)
        return bp_fail(BP_DATA,
                       "%s: offset %zu: the file ends inside the IDX header, which has %zu bytes; "
                       "the file is empty or truncated, get it again",
                       name, count, header);
    if (bytes[0] != 0 || bytes[1] != 0)
        return bp_fail(
            BP_DATA,
            "%s: offset 0: found bytes 0x%02x 0x%02x, expected 0x00 0x00; this is not an "
            "IDX file, get it again",
            name, bytes[0], bytes[1]);
    if (bytes[2] != IDX_UBYTE)
        return bp_fail(BP_DATA,
                       "%s: offset 2: found element type 0x%02x, expected 0x08; convert the "
                       "elements to unsigned bytes",
                       name, bytes[2]);
    if (bytes[3] != dimensions)
        return bp_fail(BP_DATA,
                       "%s: offset 3: found %d dimensions (%s), expected %d (%s); check that the "
                       "files are not swapped and that images are grey",
                       name, bytes[3], what_has(bytes[3]), dimensions, what_has(dimensions));
    if (count < header)
        return bp_fail(BP_DATA,
                       "%s: offset %zu: the file ends inside the IDX header, which has %zu bytes; "
                       "the file is truncated, get it again",
                       name, count, header);
    size_t product = 1;
    for (int i = 0; i < dimensions; i++) {
        const uint8_t *at = bytes + header_bytes(i);
        sizes[i] = (size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3];
        if (sizes[i] == 0)
            return bp_fail(
                BP_DATA,
                "%s: offset %zu: found size 0 for dimension %d, expected at least 1; get "
                "the file again",
                name, header_bytes(i), i + 1);
        /* A quarter of the address space leaves room for the header and for 4-byte labels. */
        if (sizes[i] > SIZE_MAX / 4 / product)
            return bp_fail(
                BP_DATA,
                "%s: offset %zu: found size %zu for dimension %d, which makes more bytes "
                "than can be addressed; the header is damaged, get the file again",
                name, header_bytes(i), sizes[i], i + 1);
        product *= sizes[i];
    }
    *total = header + product;
    return BP_OK;
}

bp_status bp_idx_parse(const uint8_t *bytes, size_t count, int dimensions, const char *name,
                       size_t sizes[3], const uint8_t **data) {
    size_t total;
    BP_TRY(parse_header(bytes, count, dimensions, name, sizes, &total));
    if (count != total)
        return bp_fail(
            BP_DATA,
            "%s: offset %zu: found a file of %zu bytes, expected %zu from its header; the "
            "file is %s, get it again",
            name, count < total ? count : total, count, total,
            count < total ? "truncated" : "too long");
    *data = bytes + header_bytes(dimensions);
    return BP_OK;
}

/* --- gzip ------------------------------------------------------------------------------------- */

#define LARGEST_RATIO 1032 /* deflate packs at most 258 bytes into 2 bits */

struct unpacker {
    z_stream stream;
    const char *name;
    const uint8_t *packed;
    size_t count, fed; /* packed bytes, and how many of them zlib was given */
    int ended;         /* the last member is complete */
};

static voidpf take(voidpf unused, uInt count, uInt size) {
    (void)unused;
    void *block;
    return bp_alloc_array(&block, count, size, "unpacking") == BP_OK ? block : NULL;
}

static void give(voidpf unused, voidpf block) {
    (void)unused;
    bp_free(block);
}

/* zlib counts in unsigned int; larger pieces go one after another. */
static uInt piece(size_t bytes) {
    return bytes > 1u << 30 ? 1u << 30 : (uInt)bytes;
}

static bp_status fail_unpack(const struct unpacker *u, int code) {
    size_t offset = u->fed - u->stream.avail_in;
    if (code == Z_MEM_ERROR)
        return bp_fail(BP_RESOURCE, "out of memory while unpacking %s; free some memory", u->name);
    if (code == Z_BUF_ERROR)
        return bp_fail(BP_DATA,
                       "%s: packed offset %zu: the gzip data end too early; the file is truncated, "
                       "get it again",
                       u->name, offset);
    return bp_fail(BP_DATA,
                   "%s: packed offset %zu: the gzip data are damaged (%s); get the file again",
                   u->name, offset, u->stream.msg != NULL ? u->stream.msg : "unknown method");
}

/* Unpacks `count` bytes; *got is smaller only where the data end properly. A gzip file may consist
 * of several members. */
static bp_status unpack_some(struct unpacker *u, uint8_t *out, size_t count, size_t *got) {
    z_stream *z = &u->stream;
    *got = 0;
    while (*got < count) {
        if (z->avail_in == 0) {
            z->next_in = u->packed + u->fed;
            z->avail_in = piece(u->count - u->fed);
            u->fed += z->avail_in;
        }
        if (u->ended && z->avail_in == 0)
            break;
        if (u->ended)
            inflateReset(z);
        uInt room = piece(count - *got);
        z->next_out = out + *got;
        z->avail_out = room;
        int code = inflate(z, Z_NO_FLUSH);
        *got += room - z->avail_out;
        u->ended = code == Z_STREAM_END;
        if (code != Z_OK && code != Z_STREAM_END)
            return fail_unpack(u, code);
    }
    return BP_OK;
}

static bp_status unpack_after_header(struct unpacker *u, const uint8_t *header, size_t header_count,
                                     size_t total, uint8_t **bytes, size_t *count) {
    if (total / LARGEST_RATIO > u->count)
        return bp_fail(
            BP_DATA,
            "%s: offset 4: the header promises %zu bytes, more than %zu packed bytes can hold; the "
            "file is truncated or damaged, get it again",
            u->name, total, u->count);
    uint8_t *block;
    BP_TRY(bp_alloc(&block, total, u->name));
    memcpy(block, header, header_count);
    size_t got, more = 0;
    uint8_t extra;
    bp_status status = unpack_some(u, block + header_count, total - header_count, &got);
    if (status == BP_OK) /* also makes zlib check the sum at the end */
        status = unpack_some(u, &extra, 1, &more);
    if (status == BP_OK && more != 0)
        status = bp_fail(BP_DATA,
                         "%s: unpacked offset %zu: found more bytes than the %zu that its header "
                         "promises; the file is too long, get it again",
                         u->name, total, total);
    if (status != BP_OK) {
        bp_free(block);
        return status;
    }
    *bytes = block;
    *count = header_count + got;
    return BP_OK;
}

bp_status bp_idx_unpack(const uint8_t *packed, size_t packed_count, int dimensions,
                        const char *name, uint8_t **bytes, size_t *count) {
    *bytes = NULL;
    *count = 0;
    struct unpacker u = {.name = name, .packed = packed, .count = packed_count};
    u.stream.zalloc = take;
    u.stream.zfree = give;
    int code = inflateInit2(&u.stream, 16 + MAX_WBITS); /* 16: gzip only */
    if (code != Z_OK)
        return fail_unpack(&u, code);
    uint8_t header[4 + 4 * MAX_DIMENSIONS];
    size_t got, total, sizes[MAX_DIMENSIONS];
    bp_status status = unpack_some(&u, header, header_bytes(dimensions), &got);
    if (status == BP_OK)
        status = parse_header(header, got, dimensions, name, sizes, &total);
    if (status == BP_OK)
        status = unpack_after_header(&u, header, got, total, bytes, count);
    inflateEnd(&u.stream);
    return status;
}

/* --- folders ---------------------------------------------------------------------------------- */

#define PATH_BYTES 1280 /* of a data set and a file name */

/* The names of the first copies and of later ones, which unpackers made of them. */
static const char *const separators[] = {"-", "."}, *const suffixes[] = {"", ".gz"};

/* 1 and the path where the folder has the file. One that is there but cannot be reached counts, so
 * that reading it tells why. */
static int find_file(const char *folder, const char *base, int dimensions, char path[PATH_BYTES]) {
    for (int i = 0; i < 4; i++) {
        struct stat info;
        int length = snprintf(path, PATH_BYTES, "%s/%s%sidx%d-ubyte%s", folder, base,
                              separators[i / 2], dimensions, suffixes[i % 2]);
        if (length < 0 || length >= PATH_BYTES)
            return 0;
        if (stat(path, &info) == 0 || (errno != ENOENT && errno != ENOTDIR))
            return 1;
    }
    return 0;
}

static int recognise(const char *path) {
    char file[PATH_BYTES];
    return find_file(path, "train-images", 3, file) || find_file(path, "train-labels", 1, file) ||
           find_file(path, "t10k-images", 3, file) || find_file(path, "t10k-labels", 1, file);
}

/* Reads one file; *elements (bp_free it) begins at the first element. */
static bp_status read_file(const char *folder, const char *base, int dimensions, size_t sizes[3],
                           uint8_t **elements) {
    *elements = NULL;
    char path[PATH_BYTES];
    if (!find_file(folder, base, dimensions, path))
        return bp_fail(BP_DATA,
                       "%.300s: no file %s-idx%d-ubyte or %s-idx%d-ubyte.gz; an IDX data set is a "
                       "folder of four files, %s",
                       folder, base, dimensions, base, dimensions, bp_format_idx.files);
    uint8_t *bytes;
    size_t count;
    BP_TRY(bp_file_read(path, SIZE_MAX / 4, BP_DATA, &bytes, &count));
    if (count >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b) {
        uint8_t *packed = bytes;
        bp_status status = bp_idx_unpack(packed, count, dimensions, path, &bytes, &count);
        bp_free(packed);
        BP_TRY(status);
    }
    const uint8_t *data = NULL;
    bp_status status = bp_idx_parse(bytes, count, dimensions, path, sizes, &data);
    if (status != BP_OK) {
        bp_free(bytes);
        return status;
    }
    memmove(bytes, data, count - header_bytes(dimensions));
    *elements = bytes;
    return BP_OK;
}

static bp_status read_labels(struct bp_part *part, const char *folder, const char *base) {
    size_t sizes[3];
    uint8_t *bytes;
    BP_TRY(read_file(folder, base, 1, sizes, &bytes));
    bp_status status =
        bp_alloc_array(&part->labels, sizes[0], sizeof *part->labels, "the labels of the data set");
    if (status == BP_OK && sizes[0] != part->count)
        status = bp_fail(BP_DATA,
                         "%.300s: %zu images but %zu labels in %s; both files must come from one "
                         "data set, get them again",
                         folder, part->count, sizes[0], base);
    for (size_t i = 0; status == BP_OK && i < part->count; i++)
        part->labels[i] = bytes[i];
    bp_free(bytes);
    return status;
}

static bp_status read_part(struct bp_part *part, const char *folder, const char *images,
                           const char *labels) {
    size_t sizes[3];
    BP_TRY(read_file(folder, images, 3, sizes, &part->images));
    part->count = sizes[0];
    part->h = sizes[1];
    part->w = sizes[2];
    part->c = 1;
    return read_labels(part, folder, labels);
}

static bp_status read_folder(struct bp_dataset *dataset, const char *path,
                             const struct bp_dataset_options *options) {
    (void)options; /* limits are applied to all formats alike */
    if (!bp_path_is_dir(path))
        return bp_fail(BP_DATA, "no data set %.300s: no such folder; name the folder that holds %s",
                       path, bp_format_idx.files);
    BP_TRY(read_part(&dataset->train, path, "train-images", "train-labels"));
    return read_part(&dataset->val, path, "t10k-images", "t10k-labels");
}

const struct bp_format bp_format_idx = {
    "idx",
    "train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
    "t10k-labels-idx1-ubyte, plain or with .gz",
    recognise,
    read_folder,
};
