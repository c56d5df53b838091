/* Malformed checkpoints: each is refused as BP_MODEL with a message that names the file, the reason
 * and what to do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/safetensors.h"

/* A file with this header and `data_bytes` zero bytes of data; malloc'ed, so that a sanitizer sees
 * any read beyond its end. */
static bp_status parse(struct bp_safetensors **file, const char *header, size_t header_bytes,
                       size_t data_bytes) {
    size_t count = 8 + header_bytes + data_bytes;
    uint8_t *bytes = calloc(count, 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < 8; i++)
        bytes[i] = (uint8_t)((uint64_t)header_bytes >> (8 * i));
    memcpy(bytes + 8, header, header_bytes);
    bp_status status = bp_safetensors_parse(file, bytes, count, "hostile.ckpt");
    if (status == BP_OK)
        bp_safetensors_close(*file);
    free(bytes);
    return status;
}

static void assert_refused(const char *header, size_t header_bytes, size_t data_bytes,
                           const char *words) {
    struct bp_safetensors *file;
    bp_status status = parse(&file, header, header_bytes, data_bytes);
    const char *message = bp_status_message();
    if (status != BP_MODEL || strstr(message, words) == NULL)
        fail_msg("%.200s: status %d, \"%s\" lacks \"%s\"", header, (int)status, message, words);
    assert_null(file);
    if (strstr(message, "'hostile.ckpt'") == NULL || strstr(message, "; ") == NULL)
        fail_msg("no path or no advice in: %s", message);
}

#define T(shape, offsets) "{\"dtype\":\"F32\",\"shape\":[" shape "],\"data_offsets\":[" offsets "]}"
#define ONE(info)         "{\"a\":" info "}"
#define TEXT128                                                                                    \
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"                             \
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const struct {
    const char *header;
    size_t data_bytes;
    const char *words;
} cases[] = {
    /* JSON */
    {"", 0, "not a JSON object"},
    {" {}", 0, "not a JSON object"},
    {"[]", 0, "not a JSON object"},
    {"{", 0, "JSON header is wrong"},
    {"{}}", 0, "end of file expected"},
    {"{} x", 0, "end of file expected"},
    {"{\"a\":" T("1", "0,4") ",}", 4, "JSON header is wrong"},
    {"{\"a\xff\":" T("1", "0,4") "}", 4, "decode byte 0xff"},
    {"{\"\xc0\xaf\":" T("1", "0,4") "}", 4, "decode byte 0xc0"},
    {"{\"a\\u0000\":" T("1", "0,4") "}", 4, "\\u0000"},
    {"{\"a\\ud800\":" T("1", "0,4") "}", 4, "Unicode"},
    {"{\"a\x01\":" T("1", "0,4") "}", 4, "control character 0x1"},
    {"{\"a\n\":" T("1", "0,4") "}", 4, "unexpected newline"},
    {"{\"a\":" T("1", "0,4") ",\"a\":" T("1", "4,8") "}", 8, "duplicate"},
    {"{\"a\":" T("1", "0,4") ",\"\\u0061\":" T("1", "4,8") "}", 8, "duplicate"},
    {ONE("{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}"), 4,
     "duplicate"},
    {"{\"a\":[[[[[[[[0]]]]]]]]}", 0, "nests deeper than 8 at byte 20"},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "duplicate"},
    /* metadata */
    {"{\"__metadata__\":[]}", 0, "__metadata__ is not an object"},
    {"{\"__metadata__\":null}", 0, "__metadata__ is not an object"},
    {"{\"__metadata__\":{\"epoch\":3}}", 0, "entry 'epoch' is not a string"},
    {"{\"__metadata__\":{\"epoch\":{}}}", 0, "entry 'epoch' is not a string"},
    /* descriptions */
    {ONE("3"), 0, "tensor 'a' is not described"},
    {ONE("null"), 0, "tensor 'a' is not described"},
    {ONE("{\"shape\":[1],\"data_offsets\":[0,4]}"), 4, "'a' has no dtype"},
    {ONE("{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}"), 4, "'a' has no dtype"},
    {ONE("{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]}"), 4, "unknown dtype 'BF16'"},
    {ONE("{\"dtype\":\"f32\",\"shape\":[1],\"data_offsets\":[0,4]}"), 4, "unknown dtype 'f32'"},
    {ONE("{\"dtype\":\"" TEXT128 "\",\"shape\":[1],\"data_offsets\":[0,4]}"), 4,
     "unknown dtype '0123456789abcdef0123456789abcdef'"},
    {ONE("{\"dtype\":\"F32\",\"data_offsets\":[0,4]}"), 4, "'a' has no shape"},
    {ONE("{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}"), 4, "'a' has no shape"},
    {ONE("{\"dtype\":\"F32\",\"shape\":[1]}"), 4, "data_offsets are not two sizes"},
    {ONE("{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}"), 4, "entries besides"},
    {"{\"" TEXT128 "\":" T("1", "0,4") "}", 4, "longer than 127 bytes"},
    /* shapes */
    {ONE(T("1,1,1,1,1,1,1,1,1", "0,4")), 4, "9 dimensions, more than 8"},
    {ONE(T("-1", "0,4")), 4, "dimension 0 is not a size"},
    {ONE(T("1,1.0", "0,4")), 4, "dimension 1 is not a size"},
    {ONE(T("\"1\"", "0,4")), 4, "dimension 0 is not a size"},
    {ONE(T("18446744073709551616", "0,4")), 4, "too big integer"},
    {ONE(T("9223372036854775807", "0,4")), 4, "shape overflows"},
    {ONE(T("4611686018427387904", "0,0")), 0, "shape overflows"},
    {ONE(T("2147483648,2147483648", "0,0")), 0, "shape overflows"},
    {ONE(T("4294967296,4294967296,4294967296,4294967296", "0,0")), 0, "shape overflows"},
    /* offsets */
    {ONE(T("1", "0,4,8")), 8, "data_offsets are not two sizes"},
    {ONE(T("1", "0")), 4, "data_offsets are not two sizes"},
    {ONE(T("1", "-4,0")), 4, "data_offsets are not two sizes"},
    {ONE(T("1", "0.0,4")), 4, "data_offsets are not two sizes"},
    {ONE(T("1", "4,0")), 4, "begins at 4, after its end 0"},
    {ONE(T("2", "0,8")), 4, "truncated to 4 bytes"},
    {ONE(T("1", "9223372036854775803,9223372036854775807")), 4, "truncated to 4 bytes"},
    {ONE(T("3", "0,8")), 8, "has 8 bytes, its shape needs 12"},
    {ONE(T("0", "0,4")), 4, "has 4 bytes, its shape needs 0"},
    {ONE(T("", "0,8")), 8, "has 8 bytes, its shape needs 4"},
    /* cover */
    {"{\"a\":" T("1", "0,4") ",\"b\":" T("1", "0,4") "}", 4, "'b' overlaps another one at byte 0"},
    {"{\"b\":" T("2", "2,10") ",\"a\":" T("1", "0,4") "}", 10,
     "'b' overlaps another one at byte 2"},
    {"{\"a\":" T("3", "0,12") ",\"b\":" T("0", "4,4") "}", 12, "overlaps another one"},
    {"{\"a\":" T("1", "0,4") ",\"b\":" T("1", "8,12") "}", 12,
     "hole before tensor 'b', bytes 4 to 8"},
    {ONE(T("1", "4,8")), 8, "hole before tensor 'a', bytes 0 to 4"},
    {ONE(T("1", "0,4")), 5, "1 bytes after the last tensor"},
    {"{}", 1, "1 bytes after the last tensor"},
};

static void refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_refused(cases[i].header, strlen(cases[i].header), cases[i].data_bytes,
                       cases[i].words);
}

/* What is unusual and yet valid. */
static void accepted(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t data_bytes;
    } valid[] = {
        {"{}", 0},
        {"{}   \t\n", 0},
        {"{ \"a\" : " T("1", "0,4") " }", 4},
        {"{\"b\":" T("1", "4,8") ",\"a\":" T("1", "0,4") "}", 8},
        {"{\"\":" T("1", "0,4") "}", 4},
        {"{\"a\":" T("0", "4,4") ",\"b\":" T("0,7", "0,0") ",\"c\":" T("1", "0,4") "}", 4},
        {"{\"a[[[[[[[[[[{{{{\\\"[[[[[[[[[\":" T("1,1,1,1,1,1,1,1", "0,4") "}", 4},
        {"{\"__metadata__\":{\"\":\"\"},\"a\":" T("", "0,4") "}", 4},
    };
    for (size_t i = 0; i < sizeof valid / sizeof valid[0]; i++) {
        struct bp_safetensors *file;
        if (parse(&file, valid[i].header, strlen(valid[i].header), valid[i].data_bytes) != BP_OK)
            fail_msg("%s: %s", valid[i].header, bp_status_message());
    }
}

static void header_lengths(void **state) {
    (void)state;
    static const struct {
        uint64_t announced;
        const char *words;
    } lengths[] = {
        {3, "truncated: the header needs 3 bytes, the file has 2"},
        {((uint64_t)16 << 20), "truncated: the header needs 16777216 bytes"},
        {((uint64_t)16 << 20) + 1, "larger than the limit"},
        {UINT64_MAX, "larger than the limit"},
        {UINT64_MAX - 7, "larger than the limit"},
        {(uint64_t)1 << 63, "larger than the limit"},
    };
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct bp_safetensors *file;
        uint8_t bytes[10] = {0, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
        for (size_t b = 0; b < 8; b++)
            bytes[b] = (uint8_t)(lengths[i].announced >> (8 * b));
        assert_int_equal(bp_safetensors_parse(&file, bytes, sizeof bytes, "x.ckpt"), BP_MODEL);
        if (strstr(bp_status_message(), lengths[i].words) == NULL)
            fail_msg("\"%s\" lacks \"%s\"", bp_status_message(), lengths[i].words);
    }
}

/* Depth and number of values are bounded before the recursive JSON reader runs. */
static void large_headers(void **state) {
    (void)state;
    size_t count = 4 << 20;
    char *text = malloc(count);
    assert_non_null(text);
    memset(text, '[', count);
    text[0] = '{';
    assert_refused(text, count, 0, "nests deeper");
    memset(text, ',', count);
    text[0] = '{';
    assert_refused(text, count, 0, "more than 262144 values");
    memset(text, ' ', count);
    memcpy(text, "{}", 2);
    struct bp_safetensors *file;
    assert_int_equal(parse(&file, text, count, 0), BP_OK);
    free(text);
}

/* Nothing from a file reaches the terminal as a control sequence, and a message is one line. */
static void messages_are_plain(void **state) {
    (void)state;
    const char header[] = "{\"\\u001b[31m\\n\":3}";
    assert_refused(header, strlen(header), 0, "is not described");
    for (const char *c = bp_status_message(); *c != 0; c++)
        assert_true((unsigned char)*c >= 32);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refused),
        cmocka_unit_test(accepted),
        cmocka_unit_test(header_lengths),
        cmocka_unit_test(large_headers),
        cmocka_unit_test(messages_are_plain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
