/* The options of a run and where they come from, and the machine. */
#include <string.h>

#include "report/json_read.h"
#include "report/page.h"

/* The rows that settings.json tells, or else those of config.json, which has no origins. */
static void draw_options(struct bp_html *html, const struct bp_report_run *run) {
    static const char *const columns[] = {"option", "value", "from", NULL};
    size_t index;
    json_t *item;
    const char *key;
    bp_page_columns(html, columns);
    json_array_foreach(run->settings, index, item) {
        const char *name = bp_report_string(item, "option");
        const char *origin = bp_report_string(item, "origin");
        bp_html_raw(html, "<tr><td class=\"mono\">");
        bp_html_text(html, name != NULL ? name : "");
        bp_html_raw(html, "</td><td class=\"wrap\">");
        bp_page_value(html, json_object_get(item, "value"));
        bp_html_raw(html, "</td><td class=\"wrap sub\">");
        bp_html_text(html, origin != NULL ? origin : "");
        bp_html_raw(html, "</td></tr>\n");
    }
    if (run->settings == NULL)
        json_object_foreach(run->config, key, item) {
            bp_html_raw(html, "<tr><td class=\"mono\">");
            bp_html_text(html, key);
            bp_html_raw(html, "</td><td class=\"wrap\">");
            bp_page_value(html, item);
            bp_html_raw(html, "</td><td></td></tr>\n");
        }
    bp_html_raw(html, "</tbody></table>");
}

void bp_page_settings(struct bp_html *html, const struct bp_report_run *run) {
    bp_page_section(html, "settings", "Settings");
    bp_html_raw(html, "<p class=\"note\">The same run again: <code>bitprop train --config ");
    bp_html_text(html, run->path);
    bp_html_raw(html, "/config.json</code></p><div class=\"scroll\">"
                      "<table class=\"narrow\">");
    draw_options(html, run);
    bp_html_raw(html, "</div></section>\n");
}

static int is_first_of_tier(const json_t *kernels, const char *name, const char *tier) {
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)(uintptr_t)kernels, key, item) {
        const char *text = json_string_value(item);
        if (text != NULL && strcmp(text, tier) == 0)
            return strcmp(key, name) == 0;
    }
    return 0;
}

/* "avx2: product_signs, ...; c: ...", one line for each tier. */
static void draw_kernels(struct bp_html *html, const json_t *kernels) {
    const char *key, *other;
    json_t *item, *value;
    json_object_foreach((json_t *)(uintptr_t)kernels, key, item) {
        const char *tier = json_string_value(item);
        int count = 0;
        if (tier == NULL || !is_first_of_tier(kernels, key, tier))
            continue;
        bp_html_raw(html, "<tr><td>kernels, ");
        bp_html_text(html, tier);
        bp_html_raw(html, "</td><td class=\"wrap\">");
        json_object_foreach((json_t *)(uintptr_t)kernels, other, value) {
            const char *text = json_string_value(value);
            if (text == NULL || strcmp(text, tier) != 0)
                continue;
            bp_html_raw(html, count++ > 0 ? ", " : "");
            bp_html_text(html, other);
        }
        bp_html_raw(html, "</td></tr>\n");
    }
}

void bp_page_machine(struct bp_html *html, const struct bp_report_run *run) {
    static const char *const columns[] = {"", "", NULL};
    const char *key;
    json_t *item;
    if (run->env == NULL)
        return;
    bp_page_section(html, "machine", "Machine");
    bp_html_raw(html, "<div class=\"scroll\"><table class=\"narrow\">");
    bp_page_columns(html, columns);
    json_object_foreach(run->env, key, item) {
        if (json_is_object(item))
            continue;
        bp_html_raw(html, "<tr><td>");
        bp_html_text(html, key);
        bp_html_raw(html, "</td><td class=\"wrap\">");
        bp_page_value(html, item);
        bp_html_raw(html, "</td></tr>\n");
    }
    draw_kernels(html, json_object_get(run->env, "kernels"));
    bp_html_raw(html, "</tbody></table></div></section>\n");
}
