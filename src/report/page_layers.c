/* What ran in bits, layer by layer, and where the time of a step went. */
#include <math.h>

#include "report/page.h"

static void bits_cell(struct bp_html *html, double bits) {
    bp_html_raw(html, "<td class=\"num\">");
    if (isfinite(bits))
        bp_html_number(html, bits, 2);
    bp_html_raw(html, "</td>");
}

/* The longest bar is that of `most_ms`. */
static void time_cells(struct bp_html *html, double ms, double all_ms, double most_ms) {
    double share = all_ms > 0.0 ? ms / all_ms : NAN;
    bp_html_raw(html, "<td class=\"num\">");
    bp_html_value(html, ms, 2);
    bp_html_raw(html, "</td><td class=\"num\">");
    bp_html_percent(html, share, 1);
    bp_html_raw(html, "</td><td class=\"bar\">");
    bp_page_bar(html, most_ms > 0.0 ? ms / most_ms : 0.0);
    bp_html_raw(html, "</td></tr>\n");
}

static void draw_layer(struct bp_html *html, const struct bp_layer_record *layer, double step_ms,
                       double most_ms) {
    int bits = layer->weight_bits == 1.0;
    bp_html_format(html, "<tr%s><td class=\"line\">", bits ? " class=\"bits\"" : "");
    bp_html_text(html, layer->name);
    bp_html_raw(html, "</td><td class=\"line\">");
    bp_html_text(html, layer->kind);
    bp_html_format(html, "</td><td class=\"num\">%zu \xc3\x97 %zu \xc3\x97 %zu</td>",
                   layer->output[0], layer->output[1], layer->output[2]);
    bits_cell(html, layer->weight_bits);
    bits_cell(html, layer->input_bits);
    bits_cell(html, layer->grad_bits_da);
    bits_cell(html, layer->grad_bits_dw);
    bp_html_raw(html, "<td class=\"num\">");
    if (layer->macs > 0.0)
        bp_html_value(html, layer->macs * 1e-6, layer->macs < 1e6 ? 3 : 1);
    bp_html_raw(html, "</td>");
    time_cells(html, layer->forward_ms + layer->backward_ms, step_ms, most_ms);
}

/* How much of the multiplications, and of the time, was in layers of one bit. */
static void draw_summary(struct bp_html *html, const struct bp_layers_record *layers) {
    double macs = 0.0, binary_macs = 0.0, binary_ms = 0.0;
    for (size_t i = 0; i < layers->n_layers; i++) {
        const struct bp_layer_record *layer = &layers->layers[i];
        double layer_macs = layer->macs > 0.0 ? layer->macs : 0.0;
        macs += layer_macs;
        if (layer->weight_bits != 1.0)
            continue;
        binary_macs += layer_macs;
        binary_ms += layer->forward_ms + layer->backward_ms;
    }
    bp_html_raw(html, "<p class=\"note\">");
    if (binary_macs > 0.0) {
        bp_html_percent(html, binary_macs / macs, 1);
        bp_html_raw(html,
                    " of the multiplications of a forward pass are in layers with 1-bit weights "
                    "and activations (marked), and these layers took ");
        bp_html_percent(html, layers->step_ms > 0.0 ? binary_ms / layers->step_ms : NAN, 1);
        bp_html_raw(html, " of the time of a step. ");
    } else {
        bp_html_raw(html, "No layer ran in bits. ");
    }
    bp_html_raw(html, "Times are means over ");
    bp_html_value(html, layers->steps, 0);
    bp_html_raw(html, " training steps of ");
    bp_html_value(html, layers->step_ms, 1);
    bp_html_raw(
        html,
        " ms, validation and waiting for data not counted. Gradient bits count those of a kept "
        "group; multiply-accumulates (MACs) are millions for one image forward.</p>");
}

void bp_page_layers(struct bp_html *html, const struct bp_layers_record *layers) {
    static const char *const columns[] = {"layer",       "kind",     ">output",  ">weight bits",
                                          ">input bits", ">dA bits", ">dW bits", ">MMACs",
                                          ">ms a step",  ">share",   "|",        NULL};
    bp_page_section(html, "layers", "Layers");
    draw_summary(html, layers);
    bp_html_raw(html, "<div class=\"scroll\"><table class=\"layers\">");
    bp_page_columns(html, columns);
    double most_ms = layers->other_ms;
    for (size_t i = 0; i < layers->n_layers; i++)
        most_ms = fmax(most_ms, layers->layers[i].forward_ms + layers->layers[i].backward_ms);
    for (size_t i = 0; i < layers->n_layers; i++)
        draw_layer(html, &layers->layers[i], layers->step_ms, most_ms);
    bp_html_raw(html, "<tr class=\"other\"><td class=\"line\">the rest</td><td "
                      "class=\"line\">optimizer, loss</td>"
                      "<td></td><td></td><td></td><td></td><td></td><td></td>");
    time_cells(html, layers->other_ms, layers->step_ms, most_ms);
    bp_html_raw(html, "</tbody></table></div></section>\n");
}
