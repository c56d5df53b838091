/* Buffers between guard pages, and their comparison with what is expected. */
#include "kcheck/kcheck.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bits.h"

#define CANARY_BYTES ((size_t)256)
#define CANARY       0xC5

static const size_t type_bytes[] = {1, 2, 4, 8, 8, 2, 2, 4, 4, 8};

static void die(const char *what) {
    perror(what);
    exit(2);
}

static size_t page_bytes(void) {
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* [guard page][room][guard page] */
static void take_room(struct kc_buffer *b) {
    size_t page = page_bytes();
    if (b->room != NULL)
        munmap(b->room - page, b->room_bytes + 2 * page);
    b->room_bytes = (b->bytes + 2 * CANARY_BYTES + page - 1) / page * page;
    unsigned char *map =
        mmap(NULL, b->room_bytes + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        die("kcheck: mmap");
    b->room = map + page;
    if (mprotect(b->room, b->room_bytes, PROT_READ | PROT_WRITE) != 0)
        die("kcheck: mprotect");
}

static void *add_buffer(struct kcheck *t, const char *name, enum kc_type type, size_t count,
                        int is_output) {
    if (t->n_buffers == KC_BUFFERS) {
        fprintf(stderr, "kcheck: a test has more than %d buffers\n", KC_BUFFERS);
        exit(2);
    }
    struct kc_buffer *b = &t->buffers[t->n_buffers++];
    snprintf(b->name, sizeof b->name, "%s", name);
    b->type = type;
    b->is_output = is_output;
    b->count = count;
    b->bytes = count * type_bytes[type];
    b->has_initial = 0;
    if (b->capacity < b->bytes + 1) {
        free(b->data);
        free(b->initial);
        b->capacity = b->bytes + 1;
        b->data = malloc(b->capacity);
        b->initial = malloc(b->capacity);
        if (b->data == NULL || b->initial == NULL)
            die("kcheck: malloc");
    }
    if (b->room == NULL || b->room_bytes < b->bytes + 2 * CANARY_BYTES)
        take_room(b);
    memset(b->data, 0, b->bytes);
    return b->data;
}

void *kc_input(struct kcheck *t, const char *name, enum kc_type type, size_t count) {
    return add_buffer(t, name, type, count, 0);
}

void *kc_output(struct kcheck *t, const char *name, enum kc_type type, size_t count) {
    return add_buffer(t, name, type, count, 1);
}

static struct kc_buffer *find_buffer(struct kcheck *t, const void *data) {
    for (size_t i = 0; i < t->n_buffers; i++)
        if (t->buffers[i].data == data)
            return &t->buffers[i];
    fprintf(stderr, "kcheck: the test of %s uses an unknown buffer\n", t->kernel_name);
    exit(2);
}

void kc_keep_initial(struct kcheck *t, const void *data) {
    struct kc_buffer *b = find_buffer(t, data);
    b->has_initial = 1;
    memcpy(b->initial, b->data, b->bytes);
}

void *kc_at(struct kcheck *t, const void *data) {
    return data == NULL ? NULL : find_buffer(t, data)->at;
}

void kc_free_buffers(struct kcheck *t) {
    for (size_t i = 0; i < KC_BUFFERS; i++) {
        struct kc_buffer *b = &t->buffers[i];
        free(b->data);
        free(b->initial);
        if (b->room != NULL)
            munmap(b->room - page_bytes(), b->room_bytes + 2 * page_bytes());
    }
}

/* The canary bytes before and behind a buffer: none on the side of its guard page. */
struct canaries {
    unsigned char *before, *behind;
    size_t n_before, n_behind;
};

static struct canaries canaries_of(const struct kc_buffer *b) {
    unsigned char *end = b->at + b->bytes;
    struct canaries c;
    c.n_before = bp_min_size((size_t)(b->at - b->room), CANARY_BYTES);
    c.n_behind = bp_min_size((size_t)(b->room + b->room_bytes - end), CANARY_BYTES);
    c.before = b->at - c.n_before;
    c.behind = end;
    return c;
}

void kc_place_buffers(struct kcheck *t, enum kc_placement placement) {
    size_t gap = t->no_guards ? CANARY_BYTES : 0;
    for (size_t i = 0; i < t->n_buffers; i++) {
        struct kc_buffer *b = &t->buffers[i];
        b->at = placement == KC_BEGINS_AT_GUARD ? b->room + gap
                                                : b->room + b->room_bytes - b->bytes - gap;
        struct canaries c = canaries_of(b);
        memset(c.before, CANARY, c.n_before);
        memset(c.behind, CANARY, c.n_behind);
        if (!b->is_output)
            memcpy(b->at, b->data, b->bytes);
        else if (b->has_initial)
            memcpy(b->at, b->initial, b->bytes);
        else /* differs between the two runs, so that an unwritten element shows in one of them */
            memset(b->at, placement == KC_BEGINS_AT_GUARD ? 0x5A : 0xA5, b->bytes);
    }
}

float kc_anything(void) {
    const uint32_t bits = 0x7fc0a117;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static int same_f32(const unsigned char *expected, const unsigned char *got, int by_value) {
    uint32_t bits;
    float e, g;
    memcpy(&e, expected, sizeof e);
    memcpy(&g, got, sizeof g);
    memcpy(&bits, expected, sizeof bits);
    if (by_value && (bits == 0x7fc0a117 || e == g))
        return 1;
    return e != e && g != g;
}

static int is_nan_16(enum kc_type type, const unsigned char *p) {
    uint16_t bits;
    memcpy(&bits, p, sizeof bits);
    return (bits & 0x7fff) > (type == KC_F16 ? 0x7c00 : 0x7f80);
}

static int same_element(const struct kc_buffer *b, const unsigned char *expected, size_t i) {
    size_t size = type_bytes[b->type];
    const unsigned char *e = expected + i * size, *g = b->at + i * size;
    if (memcmp(e, g, size) == 0)
        return 1;
    if (b->type == KC_F32 || b->type == KC_F32_VALUE)
        return same_f32(e, g, b->type == KC_F32_VALUE);
    if (b->type == KC_BF16 || b->type == KC_F16)
        return is_nan_16(b->type, e) && is_nan_16(b->type, g);
    if (b->type == KC_F64) {
        double ed, gd;
        memcpy(&ed, e, sizeof ed);
        memcpy(&gd, g, sizeof gd);
        return ed != ed && gd != gd;
    }
    return 0;
}

static void print_element(enum kc_type type, const unsigned char *p, char out[48]) {
    union {
        uint8_t u8;
        uint16_t u16;
        int16_t i16;
        int32_t i32;
        int64_t i64;
        uint64_t u64;
        float f32;
        double f64;
    } v;
    memcpy(&v, p, type_bytes[type]);
    switch (type) {
    case KC_U8:
        snprintf(out, 48, "%u", v.u8);
        break;
    case KC_I16:
        snprintf(out, 48, "%d", v.i16);
        break;
    case KC_I32:
        snprintf(out, 48, "%" PRId32, v.i32);
        break;
    case KC_I64:
        snprintf(out, 48, "%" PRId64, v.i64);
        break;
    case KC_U64:
        snprintf(out, 48, "0x%016" PRIx64, v.u64);
        break;
    case KC_BF16:
    case KC_F16:
        snprintf(out, 48, "%.9g (0x%04x)", (double)kc_of_16(type, v.u16), v.u16);
        break;
    case KC_F32:
    case KC_F32_VALUE:
        snprintf(out, 48, "%.9g (%a)", (double)v.f32, (double)v.f32);
        break;
    case KC_F64:
        snprintf(out, 48, "%.17g", v.f64);
        break;
    }
}

/* Returns 0 after a failure report. */
static int check_buffer(struct kcheck *t, const struct kc_buffer *b) {
    struct canaries c = canaries_of(b);
    for (size_t i = 0; i < c.n_before; i++)
        if (c.before[i] != CANARY) {
            kc_fail(t, "wrote %zu bytes before the begin of %s", c.n_before - i, b->name);
            return 0;
        }
    for (size_t i = c.n_behind; i-- > 0;)
        if (c.behind[i] != CANARY) {
            kc_fail(t, "wrote %zu bytes behind the end of %s", i + 1, b->name);
            return 0;
        }
    if (memcmp(b->at, b->data, b->bytes) == 0)
        return 1;
    for (size_t i = 0; i < b->count; i++)
        if (!same_element(b, b->data, i)) {
            char expected[48], got[48];
            print_element(b->type, b->data + i * type_bytes[b->type], expected);
            print_element(b->type, b->at + i * type_bytes[b->type], got);
            kc_fail(t, "%s%s[%zu]: expected %s, got %s", b->is_output ? "" : "changed its input ",
                    b->name, i, expected, got);
            return 0;
        }
    return 1;
}

void kc_check_buffers(struct kcheck *t) {
    for (size_t i = 0; i < t->n_buffers; i++)
        if (!check_buffer(t, &t->buffers[i]))
            return;
}

void kc_describe_address(const struct kcheck *t, const void *address, char *out, size_t size) {
    const unsigned char *a = address;
    snprintf(out, size, "at %p", address);
    for (size_t i = 0; i < t->n_buffers; i++) {
        const struct kc_buffer *b = &t->buffers[i];
        const unsigned char *end = b->room + b->room_bytes;
        if (b->at == NULL || a < b->room - page_bytes() || a >= end + page_bytes())
            continue;
        if (a >= end)
            snprintf(out, size, "%zu bytes behind the end of %s", (size_t)(a - end) + 1, b->name);
        else if (a < b->room)
            snprintf(out, size, "%zu bytes before the begin of %s", (size_t)(b->room - a), b->name);
    }
}
