#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
/* oneDNN's direct convolutions, NHWC; the only file that includes oneDNN (2.6 or newer, and 3.x).
 *
 * Every primitive is created for one block of samples and for one thread, and executed by one
 * worker. oneDNN takes its number of threads from OpenMP, hence omp_set_num_threads around both (a
 * parallel region of one worker does not count as parallel). Scratch memory is ours (user mode), so
 * that one primitive can run in several workers at once; so are the operands: each worker has its
 * own descriptions of them, made beforehand, and only their addresses change. */
#include <dnnl.h>
#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/memory.h"
#include "fp32/fp32_backend.h"
#include "fp32/fp32_onednn.h"
#include "fp32/onednn_reserve.h"

/* The operands by role. */
enum { IMAGE, WEIGHTS, MAP, SCRATCH, BIAS, ROLES };

enum { CODE_ROOM_BYTES = 2 << 20 };

static const int argument_of[BP_ONEDNN_PRODUCTS][ROLES] = {
    {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD, DNNL_ARG_BIAS},
    {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST, DNNL_ARG_SCRATCHPAD, 0},
    {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST, DNNL_ARG_SCRATCHPAD, 0}};
/* BIAS is weights number 1. */
static const dnnl_query_t query_of[BP_ONEDNN_PRODUCTS][ROLES] = {
    {dnnl_query_src_md, dnnl_query_weights_md, dnnl_query_dst_md, dnnl_query_scratchpad_md,
     dnnl_query_weights_md},
    {dnnl_query_diff_src_md, dnnl_query_weights_md, dnnl_query_diff_dst_md,
     dnnl_query_scratchpad_md, dnnl_query_undef},
    {dnnl_query_src_md, dnnl_query_diff_weights_md, dnnl_query_diff_dst_md,
     dnnl_query_scratchpad_md, dnnl_query_undef}};

struct bp_onednn_product {
    enum bp_onednn_which which;
    struct bp_conv_shape shape;
    int bf16;
    size_t threads;
    dnnl_engine_t engine;
    dnnl_stream_t *streams; /* [threads] */
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t primitive;
    dnnl_primitive_t reorder;            /* weights: ours to oneDNN's, for dw the other way */
    dnnl_memory_t natural;               /* weights as [k][r][r][c] */
    dnnl_memory_t packed;                /* weights as oneDNN wants them */
    dnnl_exec_arg_t (*arguments)[ROLES]; /* [threads] */
    int argument_count;
    size_t packed_bytes, scratch_bytes;
};

const char *bp_onednn_name(void) {
    static char name[48];
    const dnnl_version_t *version = dnnl_version();
    snprintf(name, sizeof name, "oneDNN %d.%d.%d%s", version->major, version->minor, version->patch,
             bp_onednn_multiplies_bf16() ? ", bf16" : "");
    return name;
}

static int may_use(unsigned isa) {
    return ((unsigned)dnnl_get_effective_cpu_isa() & isa) == isa;
}

/* oneDNN has bfloat16 products for other processors too, but they are slower than those of floats.
 */
int bp_onednn_multiplies_bf16(void) {
    return may_use(dnnl_cpu_isa_avx512_core_bf16);
}

int bp_onednn_multiplies_tiles(void) {
    return may_use(dnnl_cpu_isa_avx512_core_amx);
}

int bp_onednn_uses_avx512(void) {
    return may_use(dnnl_cpu_isa_avx512_core);
}

bp_status bp_onednn_fail(int status, const char *name, const char *doing) {
    if (status == (int)dnnl_out_of_memory)
        return bp_fail(BP_RESOURCE, "out of memory: oneDNN in the %s of %s; use a smaller --batch",
                       doing, name);
    return bp_fail(BP_INTERNAL, "oneDNN failed with status %d in the %s of %s", status, doing,
                   name);
}

#define TRY_DNNL(expression)                                                                       \
    do {                                                                                           \
        dnnl_status_t try_dnnl_ = (expression);                                                    \
        if (try_dnnl_ != dnnl_success)                                                             \
            return try_dnnl_;                                                                      \
    } while (0)

/* The status, or that memory ended on the way (onednn_reserve.h). */
static dnnl_status_t checked(dnnl_status_t status) {
    return bp_onednn_reserve_gone() ? dnnl_out_of_memory : status;
}

/* --- differences between oneDNN 2 and 3 ------------------------------------ */

/* A geometry for one primitive: n and k are those of a block and a slice. */
struct geometry {
    dnnl_dims_t image, weights, map, bias, strides, dilates, padding;
};

#if DNNL_VERSION_MAJOR >= 3

typedef const_dnnl_memory_desc_t layout_view;
struct layout {
    dnnl_memory_desc_t desc;
};

static dnnl_status_t layout_set(struct layout *layout, int axes, const dnnl_dims_t dims,
                                dnnl_data_type_t type, dnnl_format_tag_t tag) {
    return dnnl_memory_desc_create_with_tag(&layout->desc, axes, dims, type, tag);
}

static void layout_release(struct layout *layout) {
    if (layout->desc != NULL)
        dnnl_memory_desc_destroy(layout->desc);
}

static layout_view view(const struct layout *layout) {
    return layout->desc;
}

/* oneDNN asks for the description of the forward primitive to create the backward ones. */
static dnnl_status_t describe(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                              enum bp_onednn_which which, const struct geometry *g,
                              const struct layout *image, const struct layout *weights,
                              const struct layout *map, const struct layout *bias,
                              dnnl_primitive_attr_t attributes) {
    dnnl_primitive_desc_t forward;
    TRY_DNNL(dnnl_convolution_forward_primitive_desc_create(
        &forward, engine, dnnl_forward_training, dnnl_convolution_direct, view(image),
        view(weights), view(bias), view(map), g->strides, g->dilates, g->padding, g->padding,
        attributes));
    if (which == BP_ONEDNN_FORWARD) {
        *out = forward;
        return dnnl_success;
    }
    dnnl_status_t status =
        which == BP_ONEDNN_BACKWARD_DATA
            ? dnnl_convolution_backward_data_primitive_desc_create(
                  out, engine, dnnl_convolution_direct, view(image), view(weights), view(map),
                  g->strides, g->dilates, g->padding, g->padding, forward, attributes)
            : dnnl_convolution_backward_weights_primitive_desc_create(
                  out, engine, dnnl_convolution_direct, view(image), view(weights), NULL, view(map),
                  g->strides, g->dilates, g->padding, g->padding, forward, attributes);
    dnnl_primitive_desc_destroy(forward);
    return status;
}

#else

typedef const dnnl_memory_desc_t *layout_view;
struct layout {
    dnnl_memory_desc_t desc;
};

static dnnl_status_t layout_set(struct layout *layout, int axes, const dnnl_dims_t dims,
                                dnnl_data_type_t type, dnnl_format_tag_t tag) {
    return dnnl_memory_desc_init_by_tag(&layout->desc, axes, dims, type, tag);
}

static void layout_release(struct layout *layout) {
    (void)layout;
}

static layout_view view(const struct layout *layout) {
    return &layout->desc;
}

static dnnl_status_t describe(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                              enum bp_onednn_which which, const struct geometry *g,
                              const struct layout *image, const struct layout *weights,
                              const struct layout *map, const struct layout *bias,
                              dnnl_primitive_attr_t attributes) {
    dnnl_convolution_desc_t desc;
    if (which == BP_ONEDNN_FORWARD)
        TRY_DNNL(dnnl_convolution_forward_desc_init(
            &desc, dnnl_forward_training, dnnl_convolution_direct, view(image), view(weights),
            view(bias), view(map), g->strides, g->padding, g->padding));
    else if (which == BP_ONEDNN_BACKWARD_DATA)
        TRY_DNNL(dnnl_convolution_backward_data_desc_init(&desc, dnnl_convolution_direct,
                                                          view(image), view(weights), view(map),
                                                          g->strides, g->padding, g->padding));
    else
        TRY_DNNL(dnnl_convolution_backward_weights_desc_init(
            &desc, dnnl_convolution_direct, view(image), view(weights), NULL, view(map), g->strides,
            g->padding, g->padding));
    return dnnl_primitive_desc_create(out, &desc, attributes, engine, NULL);
}

#endif

/* --- creation -------------------------------------------------------------- */

/* oneDNN's threads for what follows on this thread; returns the number to restore. */
static int use_threads(size_t count) {
    int before = omp_get_max_threads();
    omp_set_num_threads((int)count);
    return before;
}

static struct geometry geometry_of(const struct bp_conv_shape *s) {
    int64_t n = (int64_t)s->n, k = (int64_t)s->k, c = (int64_t)s->c, r = (int64_t)s->r;
    int64_t stride = (int64_t)s->stride, pad = (int64_t)s->pad;
    return (struct geometry){.image = {n, c, (int64_t)s->h, (int64_t)s->w},
                             .weights = {k, c, r, r},
                             .map = {n, k, (int64_t)s->oh, (int64_t)s->ow},
                             .bias = {k},
                             .strides = {stride, stride},
                             .padding = {pad, pad}};
}

/* The role that each product computes. */
static const int result_of[BP_ONEDNN_PRODUCTS] = {MAP, IMAGE, WEIGHTS};

static dnnl_data_type_t type_of(const struct bp_onednn_product *product, int role) {
    return product->bf16 && role != result_of[product->which] ? dnnl_bf16 : dnnl_f32;
}

static dnnl_status_t describe_block(struct bp_onednn_product *product,
                                    dnnl_primitive_attr_t attributes) {
    struct geometry g = geometry_of(&product->shape);
    struct layout image = {0}, weights = {0}, map = {0}, bias = {0};
    dnnl_status_t status = layout_set(&image, 4, g.image, type_of(product, IMAGE), dnnl_nhwc);
    if (status == dnnl_success)
        status = layout_set(&weights, 4, g.weights, type_of(product, WEIGHTS), dnnl_format_tag_any);
    if (status == dnnl_success)
        status = layout_set(&map, 4, g.map, type_of(product, MAP), dnnl_nhwc);
    if (status == dnnl_success)
        status = layout_set(&bias, 1, g.bias, dnnl_f32, dnnl_a);
    if (status == dnnl_success)
        status = describe(&product->desc, product->engine, product->which, &g, &image, &weights,
                          &map, &bias, attributes);
    layout_release(&image);
    layout_release(&weights);
    layout_release(&map);
    layout_release(&bias);
    return status;
}

/* oneDNN 2.6 maps memory for its machine code and writes to it even where it got none: so see first
 * that there is some. */
static dnnl_status_t create_code(dnnl_primitive_t *primitive, const_dnnl_primitive_desc_t desc) {
    void *room =
        mmap(NULL, CODE_ROOM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED)
        return dnnl_out_of_memory;
    munmap(room, CODE_ROOM_BYTES);
    return dnnl_primitive_create(primitive, desc);
}

static dnnl_status_t create_reorder(struct bp_onednn_product *product, layout_view packed) {
    struct geometry g = geometry_of(&product->shape);
    struct layout natural = {0};
    TRY_DNNL(layout_set(&natural, 4, g.weights, type_of(product, WEIGHTS), dnnl_ohwi));
    layout_view from = product->which == BP_ONEDNN_BACKWARD_WEIGHTS ? packed : view(&natural);
    layout_view to = product->which == BP_ONEDNN_BACKWARD_WEIGHTS ? view(&natural) : packed;
    dnnl_primitive_desc_t desc = NULL;
    int before = use_threads(1);
    dnnl_status_t status =
        dnnl_reorder_primitive_desc_create(&desc, from, product->engine, to, product->engine, NULL);
    if (status == dnnl_success)
        status = create_code(&product->reorder, desc);
    use_threads((size_t)before);
    if (status == dnnl_success)
        status = dnnl_memory_create(&product->natural, view(&natural), product->engine,
                                    DNNL_MEMORY_NONE);
    if (status == dnnl_success)
        status = dnnl_memory_create(&product->packed, packed, product->engine, DNNL_MEMORY_NONE);
    dnnl_primitive_desc_destroy(desc);
    layout_release(&natural);
    return status;
}

static dnnl_status_t create_arguments(struct bp_onednn_product *product) {
    product->argument_count = product->which == BP_ONEDNN_FORWARD ? ROLES : BIAS;
    for (size_t thread = 0; thread < product->threads; thread++)
        for (int role = 0; role < product->argument_count; role++) {
            dnnl_exec_arg_t *argument = &product->arguments[thread][role];
            argument->arg = argument_of[product->which][role];
            TRY_DNNL(dnnl_memory_create(&argument->memory,
                                        dnnl_primitive_desc_query_md(product->desc,
                                                                     query_of[product->which][role],
                                                                     role == BIAS),
                                        product->engine, DNNL_MEMORY_NONE));
        }
    return dnnl_success;
}

/* dnnl_unimplemented also where oneDNN has nothing but its reference loops. */
static dnnl_status_t create_primitive(struct bp_onednn_product *product) {
    dnnl_primitive_attr_t attributes;
    TRY_DNNL(dnnl_primitive_attr_create(&attributes));
    dnnl_status_t status =
        dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user);
    int before = use_threads(1);
    if (status == dnnl_success)
        status = describe_block(product, attributes);
    if (status == dnnl_success)
        status = create_code(&product->primitive, product->desc);
    use_threads((size_t)before);
    dnnl_primitive_attr_destroy(attributes);
    TRY_DNNL(status);
    const char *implementation = "";
    TRY_DNNL(dnnl_primitive_desc_query(product->desc, dnnl_query_impl_info_str, 0,
                                       (void *)&implementation));
    if (strncmp(implementation, "ref", 3) == 0)
        return dnnl_unimplemented;
    layout_view packed =
        dnnl_primitive_desc_query_md(product->desc, query_of[product->which][WEIGHTS], 0);
    product->packed_bytes = dnnl_memory_desc_get_size(packed);
    product->scratch_bytes = dnnl_memory_desc_get_size(
        dnnl_primitive_desc_query_md(product->desc, dnnl_query_scratchpad_md, 0));
    TRY_DNNL(create_reorder(product, packed));
    return create_arguments(product);
}

static bp_status create_parts(struct bp_onednn_product *product, int *found, const char *name) {
    BP_TRY(bp_alloc_array(&product->streams, product->threads, sizeof *product->streams,
                          "an fp32 convolution"));
    BP_TRY(bp_alloc_array(&product->arguments, product->threads, sizeof *product->arguments,
                          "an fp32 convolution"));
    dnnl_status_t status = dnnl_engine_create(&product->engine, dnnl_cpu, 0);
    for (size_t i = 0; i < product->threads && status == dnnl_success; i++)
        status =
            dnnl_stream_create(&product->streams[i], product->engine, dnnl_stream_default_flags);
    if (status == dnnl_success)
        status = create_primitive(product);
    status = checked(status);
    *found = status == dnnl_success;
    if (status == dnnl_success || status == dnnl_unimplemented)
        return BP_OK;
    return bp_onednn_fail((int)status, name, "preparation");
}

/* Of bfloat16, oneDNN 2.6 multiplies pairs of channels. Where the last one of a gradient has no
 * partner, all of dx is wrong for some numbers of positions (195 and 390 on a Zen 5). */
static int gives_wrong_data(enum bp_onednn_which which, const struct bp_conv_shape *shape) {
    return which == BP_ONEDNN_BACKWARD_DATA && shape->k % 2 != 0;
}

bp_status bp_onednn_product_create(struct bp_onednn_product **out, enum bp_onednn_which which,
                                   const struct bp_conv_shape *shape, int bf16, size_t threads,
                                   const char *name) {
    struct bp_onednn_product *product;
    int found = 0;
    *out = NULL;
    if (bf16 && (!bp_onednn_multiplies_bf16() || gives_wrong_data(which, shape)))
        return BP_OK;
    BP_TRY(bp_onednn_reserve_take());
    BP_TRY(bp_alloc(&product, sizeof *product, "an fp32 convolution"));
    product->which = which;
    product->shape = *shape;
    product->bf16 = bf16;
    product->threads = threads;
    bp_status status = create_parts(product, &found, name);
    if (status == BP_OK && found)
        *out = product;
    else
        bp_onednn_product_destroy(product);
    return status;
}

void bp_onednn_product_destroy(struct bp_onednn_product *product) {
    if (product == NULL)
        return;
    for (size_t i = 0; product->arguments != NULL && i < product->threads * ROLES; i++)
        dnnl_memory_destroy(product->arguments[i / ROLES][i % ROLES].memory);
    dnnl_memory_destroy(product->natural);
    dnnl_memory_destroy(product->packed);
    dnnl_primitive_destroy(product->reorder);
    dnnl_primitive_destroy(product->primitive);
    dnnl_primitive_desc_destroy(product->desc);
    for (size_t i = 0; product->streams != NULL && i < product->threads; i++)
        dnnl_stream_destroy(product->streams[i]);
    dnnl_engine_destroy(product->engine);
    bp_free(product->arguments);
    bp_free(product->streams);
    bp_free(product);
}

size_t bp_onednn_packed_bytes(const struct bp_onednn_product *product) {
    return product->packed_bytes;
}

size_t bp_onednn_scratch_bytes(const struct bp_onednn_product *product) {
    return product->scratch_bytes;
}

/* --- running ------------------------------------------------------------ */

/* oneDNN's interface takes no const addresses, but inputs are only read. */
static dnnl_status_t set_address(dnnl_memory_t memory, const void *at) {
    return dnnl_memory_set_data_handle(memory, (void *)(uintptr_t)at);
}

static dnnl_status_t reorder(struct bp_onednn_product *product, const void *natural,
                             const void *packed) {
    int unpack = product->which == BP_ONEDNN_BACKWARD_WEIGHTS;
    dnnl_exec_arg_t arguments[2] = {{unpack ? DNNL_ARG_TO : DNNL_ARG_FROM, product->natural},
                                    {unpack ? DNNL_ARG_FROM : DNNL_ARG_TO, product->packed}};
    TRY_DNNL(set_address(product->natural, natural));
    TRY_DNNL(set_address(product->packed, packed));
    int before = use_threads(1);
    dnnl_status_t status =
        dnnl_primitive_execute(product->reorder, product->streams[0], 2, arguments);
    if (status == dnnl_success)
        status = dnnl_stream_wait(product->streams[0]);
    use_threads((size_t)before);
    return checked(status);
}

int bp_onednn_pack(struct bp_onednn_product *product, const void *natural, void *packed) {
    return (int)reorder(product, natural, packed);
}

int bp_onednn_unpack(struct bp_onednn_product *product, const float *packed, float *natural) {
    return (int)reorder(product, natural, packed);
}

/* In oneDNN 2, setting an address writes the padding of packed layouts: hence not in the workers
 * for memory that they share. */
static dnnl_status_t set_for_all(struct bp_onednn_product *product, int role, const void *at) {
    for (size_t thread = 0; thread < product->threads; thread++)
        TRY_DNNL(set_address(product->arguments[thread][role].memory, at));
    return dnnl_success;
}

int bp_onednn_set_weights(struct bp_onednn_product *product, const void *packed) {
    return (int)set_for_all(product, WEIGHTS, packed);
}

int bp_onednn_set_bias(struct bp_onednn_product *product, const float *bias) {
    return (int)set_for_all(product, BIAS, bias);
}

int bp_onednn_set_gradient(struct bp_onednn_product *product, int thread, float *packed) {
    return (int)set_address(product->arguments[thread][WEIGHTS].memory, packed);
}

static dnnl_status_t run_block(struct bp_onednn_product *product, int thread, const void *image,
                               const void *map, void *scratch) {
    dnnl_exec_arg_t *arguments = product->arguments[thread];
    dnnl_stream_t stream = product->streams[thread];
    TRY_DNNL(set_address(arguments[IMAGE].memory, image));
    TRY_DNNL(set_address(arguments[MAP].memory, map));
    TRY_DNNL(set_address(arguments[SCRATCH].memory, scratch));
    TRY_DNNL(
        dnnl_primitive_execute(product->primitive, stream, product->argument_count, arguments));
    return dnnl_stream_wait(stream);
}

int bp_onednn_run(struct bp_onednn_product *product, int thread, const void *image, const void *map,
                  void *scratch) {
    int before = use_threads(1);
    dnnl_status_t status = run_block(product, thread, image, map, scratch);
    use_threads((size_t)before);
    return (int)checked(status);
}
