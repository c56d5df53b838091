/* How a run shows itself: a bar on a terminal with one lasting line per epoch, epoch lines and a
 * heartbeat elsewhere, or JSON events. All on stderr, but JSON. */
#define _POSIX_C_SOURCE 200809L
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BAR_WIDTH 24

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void time_text(char out[24], double seconds) {
    long s = seconds < 0 ? 0 : (long)(seconds + 0.5);
    if (seconds < 0)
        snprintf(out, 24, "--:--");
    else if (s >= 3600)
        snprintf(out, 24, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(out, 24, "%ld:%02ld", s / 60, s % 60);
}

void cli_print_size(FILE *out, size_t size, size_t median) {
    if (median > 0)
        fprintf(out,
                "size   %zu pixels: the pictures' shorter sides have %zu (median); --size N sets "
                "another\n",
                size, median);
}

static void start_lines(const bp_run_summary *s) {
    fprintf(stderr, "data   %s (%s): %zu training, %zu validation images, %zu classes\n", s->data,
            s->data_kind, s->train_count, s->val_count, s->classes);
    fprintf(stderr, "model  %s, width %g, %zux%zux%zu: %.2f M weights, %.1f %% of them 1-bit\n",
            s->model, s->width, s->input_height, s->input_width, s->input_channels,
            (double)s->parameters / 1e6,
            s->parameters ? 100.0 * (double)s->binary_weights / (double)s->parameters : 0.0);
    cli_print_size(stderr, s->input_height, s->median_side);
    fprintf(stderr, "train  %s%s%s%s; %s, batch %zu, %zu epochs; %d thread%s, %s kernels\n",
            s->precision, s->stem, s->quantizer[0] ? ": " : "", s->quantizer, s->optimizer,
            s->batch, s->epochs, s->threads, s->threads == 1 ? "" : "s", s->tier);
    if (s->batch_is_auto)
        fprintf(stderr, "batch  %zu by --batch auto: the run takes %.0f MB, and may take %.0f MB\n",
                s->batch, (double)s->memory_total / 1e6, (double)s->memory_allowed / 1e6);
    if (s->time_allowed > 0) {
        char forecast[24], allowed[24];
        time_text(forecast, s->time_forecast);
        time_text(allowed, s->time_allowed);
        fprintf(stderr, "time   %zu steps by --time: the run takes about %s, and may take %s\n",
                s->steps, forecast, allowed);
    }
    fprintf(stderr, "run    %s\n", s->run);
}

static void epoch_line(const bp_event *e) {
    char left[24], waits[40] = "";
    time_text(left, e->seconds_left);
    if (e->data_wait > 0.05)
        snprintf(waits, sizeof waits, "  waiting for data %.0f %%", 100.0 * e->data_wait);
    fprintf(stderr,
            "epoch %3zu/%zu  loss %.4f  train %5.2f %%  val %5.2f %%%s  %.0f images/s%s  left %s\n",
            e->epoch, e->epochs, e->loss, 100.0 * e->accuracy, 100.0 * e->val_accuracy,
            e->is_best ? " *" : "  ", e->images_per_s, waits, left);
}

static void other_lines(const bp_event *e) {
    if (e->kind == BP_EVENT_START)
        start_lines(e->start);
    else if (e->kind == BP_EVENT_EPOCH)
        epoch_line(e);
    else if (e->kind == BP_EVENT_NOTE) /* a stop is reported by the command itself */
        fprintf(stderr, "%s\n", e->text);
}

static int bar_shown;

void cli_progress_end(void) {
    if (bar_shown)
        fputs("\r\033[K", stderr);
    bar_shown = 0;
}

static void draw_bar(void *user, const bp_event *e) {
    static double last;
    (void)user;
    if (e->kind != BP_EVENT_STEP) {
        cli_progress_end();
        other_lines(e);
        return;
    }
    double time = now();
    if (time - last < 0.1)
        return;
    last = time;
    char bar[BAR_WIDTH + 1], left[24];
    size_t full = e->steps ? e->step * BAR_WIDTH / e->steps : 0;
    for (size_t i = 0; i < BAR_WIDTH; i++)
        bar[i] = i < full ? '#' : '.';
    bar[BAR_WIDTH] = 0;
    time_text(left, e->seconds_left);
    bar_shown = 1;
    fprintf(stderr, "\r\033[K[%s] %zu/%zu  loss %.3f  acc %.1f %%  %.0f img/s  left %s", bar,
            e->step, e->steps, e->loss, 100.0 * e->accuracy, e->images_per_s, left);
}

/* Elsewhere: a heartbeat each minute. */
static void print_plain(void *user, const bp_event *e) {
    static double last;
    (void)user;
    if (e->kind != BP_EVENT_STEP) {
        other_lines(e);
        return;
    }
    if (last == 0.0)
        last = now();
    if (now() - last < 60.0)
        return;
    last = now();
    fprintf(stderr, "step %zu/%zu  loss %.4f  accuracy %.1f %%  %.0f images/s\n", e->step, e->steps,
            e->loss, 100.0 * e->accuracy, e->images_per_s);
}

static void print_json(void *user, const bp_event *e) {
    static const char *const kinds[] = {"start",   "step", "epoch", "checkpoint",
                                        "stopped", "done", "note"};
    (void)user;
    printf("{\"event\": \"%s\", \"epoch\": %zu, \"step\": %zu, \"steps\": %zu, \"seconds\": %.3f",
           kinds[e->kind], e->epoch, e->step, e->steps, e->seconds);
    if (e->kind == BP_EVENT_STEP || e->kind == BP_EVENT_EPOCH)
        printf(", \"loss\": %.6g, \"accuracy\": %.6g, \"images_per_s\": %.6g", e->loss, e->accuracy,
               e->images_per_s);
    if (e->kind == BP_EVENT_EPOCH || e->kind == BP_EVENT_DONE)
        printf(", \"val_loss\": %.6g, \"val_accuracy\": %.6g, \"best_accuracy\": %.6g", e->val_loss,
               e->val_accuracy, e->best_accuracy);
    if (e->kind == BP_EVENT_START) {
        fputs(", \"run\": ", stdout);
        cli_print_json_text(e->start->run);
    }
    if (e->text[0] != 0) {
        fputs(", \"text\": ", stdout);
        cli_print_json_text(e->text);
    }
    puts("}");
    fflush(stdout);
}

static void print_nothing(void *user, const bp_event *event) {
    (void)user;
    (void)event;
}

bp_event_callback *cli_progress(const char *mode) {
    if (mode == NULL || strcmp(mode, "auto") == 0)
        return isatty(STDERR_FILENO) ? draw_bar : print_plain;
    if (strcmp(mode, "bar") == 0)
        return draw_bar;
    if (strcmp(mode, "plain") == 0)
        return print_plain;
    if (strcmp(mode, "json") == 0)
        return print_json;
    return strcmp(mode, "none") == 0 ? print_nothing : NULL;
}
