#include "nn/conv_base.h"

#include <math.h>

bp_status bp_conv_base_add(struct bp_graph *graph, struct bp_layer **out,
                           const struct bp_layer_type *type, const char *name, struct bp_tensor *in,
                           const struct bp_conv_request *request, size_t self_bytes) {
    const size_t k = request->k, r = request->r;
    const int head = (request->param_flags & BP_PARAM_HEAD) != 0;
    const size_t dims[4] = {k, r, r, in->c}, head_dims[4] = {k, in->c};
    struct bp_conv_shape shape;
    struct bp_tensor *y;
    BP_TRY(bp_conv_shape_set(&shape, graph->config.batch, in->h, in->w, in->c, k, r,
                             request->stride, request->pad));
    BP_TRY(bp_graph_add_tensor(graph, &y, name, request->f16_out ? BP_TENSOR_F16 : BP_TENSOR_F32,
                               shape.oh, shape.ow, k));
    BP_TRY(bp_graph_add_layer(graph, out, type, name, in, NULL, y, self_bytes));
    struct bp_conv_base *base = (*out)->self;
    base->shape = shape;
    y->from_source = 1;
    BP_TRY(bp_graph_add_param(graph, &base->weight, name, "weight", head ? 2 : 4,
                              head ? head_dims : dims, request->param_flags));
    base->weight->init_deviation = sqrtf((head ? 1.0f : 2.0f) / (float)(r * r * in->c));
    return BP_OK;
}
