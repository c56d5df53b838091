#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "unit/failing_memory.h"

enum { MOST_REQUESTS = 20000 };

static void expect_resource(bp_status status, long n, const char *mode) {
    const char *message = bp_status_message();
    if (status != BP_RESOURCE)
        fail_msg("%s: request %ld failed: status %d: %s", mode, n, status, message);
    if (message[0] == 0 || strchr(message, '\n') != NULL)
        fail_msg("%s: request %ld failed: message '%s'", mode, n, message);
}

/* --- the library's own requests ------------------------------------------------------------------
 */

static long sweep_own(failing_body *body, void *context, uint64_t wanted) {
    uint64_t digest;
    long n = 0;
    for (bp_status status = BP_RESOURCE; status != BP_OK; n++) {
        assert_true(n < MOST_REQUESTS);
        (void)bp_fail(BP_INTERNAL, "nothing was recorded");
        bp_memory_fail_after(n);
        status = body(context, &digest);
        bp_memory_fail_after(-1);
        if (status != BP_OK)
            expect_resource(status, n + 1, "all later ones too");
    }
    assert_int_equal(digest, wanted);
    return n - 1;
}

/* --- requests of every library ---------------------------------------------------------------- */

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

#if defined(__GLIBC__) && !defined(SANITIZED)

/* The C library's names of its own functions, which ours stand before. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);
void __libc_free(void *block);

static atomic_long requests, refused, live;
static atomic_long fail_at = -1; /* the number of the request to refuse */

static int refuse(void) {
    if (atomic_fetch_add(&requests, 1) != atomic_load(&fail_at))
        return 0;
    atomic_fetch_add(&refused, 1);
    errno = ENOMEM;
    return 1;
}

static void *counted(void *block) {
    if (block != NULL)
        atomic_fetch_add(&live, 1);
    return block;
}

void *malloc(size_t bytes) {
    return refuse() ? NULL : counted(__libc_malloc(bytes));
}

void *calloc(size_t count, size_t size) {
    return refuse() ? NULL : counted(__libc_calloc(count, size));
}

/* Jansson ends the process when a token finds no memory; io/json_parse.c sees to it that there is
 * some before it begins. */
static void *take_for_json(size_t bytes) {
    return counted(__libc_malloc(bytes));
}

void *realloc(void *block, size_t bytes) {
    if (refuse())
        return NULL;
    if (block == NULL)
        return counted(__libc_realloc(NULL, bytes));
    void *moved = __libc_realloc(block, bytes);
    if (moved == NULL && bytes == 0)
        atomic_fetch_sub(&live, 1); /* glibc frees then */
    return moved;
}

void *aligned_alloc(size_t alignment, size_t bytes) {
    return refuse() ? NULL : counted(__libc_memalign(alignment, bytes));
}

void free(void *block) {
    if (block != NULL)
        atomic_fetch_sub(&live, 1);
    __libc_free(block);
}

static long sweep_all(failing_body *body, void *context, uint64_t wanted) {
    uint64_t digest;
    long n = 0;
    json_set_alloc_funcs(take_for_json, free);
    for (int failed = 1; failed; n++) {
        assert_true(n < MOST_REQUESTS);
        (void)bp_fail(BP_INTERNAL, "nothing was recorded");
        long live_before = atomic_load(&live), refused_before = atomic_load(&refused);
        atomic_store(&fail_at, atomic_load(&requests) + n);
        bp_status status = body(context, &digest);
        atomic_store(&fail_at, -1);
        failed = atomic_load(&refused) != refused_before;
        long lost = atomic_load(&live) - live_before;
        if (lost != 0)
            fail_msg("only request %ld failed: %ld blocks were not given back", n + 1, lost);
        if (status != BP_OK && !failed)
            fail_msg("no request failed: status %d: %s", status, bp_status_message());
        if (status != BP_OK)
            expect_resource(status, n + 1, "only this one");
        else if (digest != wanted)
            fail_msg("only request %ld failed: something else was read", n + 1);
    }
    json_set_alloc_funcs(malloc, free);
    return n - 1;
}

#else

static long sweep_all(failing_body *body, void *context, uint64_t wanted) {
    (void)body;
    (void)context;
    (void)wanted;
    return MOST_REQUESTS;
}

#endif

void failing_memory_sweep(failing_body *body, void *context, long least) {
    uint64_t wanted;
    if (body(context, &wanted) != BP_OK) /* what libraries keep for ever is taken now */
        fail_msg("%s", bp_status_message());
    long own = sweep_own(body, context, wanted);
    long all = sweep_all(body, context, wanted);
    if (own < least || all < own)
        fail_msg("%ld own requests and %ld of all libraries, at least %ld expected", own, all,
                 least);
}
