/* Opens a reader again and again, each time with one more request for memory granted. Include after
 * cmocka.h. */
#ifndef FAILING_MEMORY_H
#define FAILING_MEMORY_H

#include <stdint.h>

#include "base/status.h"

/* Opens the reader, closes it, and returns how it went. On success *digest is a hash of all that
 * was read (base/fnv.h). */
typedef bp_status failing_body(void *context, uint64_t *digest);

/* Runs the body with the n-th request failing, n = 1, 2, ..., until none fails any more:
 *  - with all later ones failing too: requests of the library;
 *  - where the C library lets us (glibc, no sanitizer), with only that one failing: requests of
 *    every library but jansson, those of libjpeg and of opendir too. Then it also counts what is
 * not given back (elsewhere the address sanitizer does). The test fails unless each run in which a
 * request failed is BP_RESOURCE with a message of one line, or read the same nevertheless (a second
 * try can help where one request alone fails); and unless the last run is BP_OK and at least
 * `least` requests were made. */
void failing_memory_sweep(failing_body *body, void *context, long least);

#endif
