#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "unit/data_samples.h"

struct data_samples *data_make_part(size_t count, size_t c) {
    struct data_samples *made = calloc(1, sizeof *made);
    made->part = (struct bp_part){.count = count,
                                  .h = DATA_H,
                                  .w = DATA_W,
                                  .c = c,
                                  .images = made->images,
                                  .labels = made->labels};
    for (size_t i = 0; i < count * DATA_H * DATA_W * c; i++)
        made->images[i] = (uint8_t)(1 + (i * 31 + i / 255) % 255);
    for (size_t i = 0; i < count; i++)
        made->labels[i] = (int32_t)i;
    return made;
}

struct bp_loader_options data_plain_options(size_t batch) {
    return (struct bp_loader_options){
        .batch = batch, .height = DATA_H, .width = DATA_W, .channels = 1, .seed = 11, .ahead = 2};
}

struct bp_loader *data_create_loader(const struct bp_part *part, struct bp_loader_options options) {
    struct bp_loader *loader;
    if (bp_loader_create(&loader, part, &options) != BP_OK)
        fail_msg("%s", bp_status_message());
    return loader;
}

struct bp_batch data_next(struct bp_loader *loader) {
    struct bp_batch batch;
    assert_int_equal(bp_loader_next(loader, &batch), BP_OK);
    return batch;
}
