/* Runs a fuzz target on the files, and the files in the folders, of the command line: so the corpus
 * is a plain test with every compiler. */
#define _POSIX_C_SOURCE 200809L
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static int inputs;

static int run_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return 1;
    }
    static uint8_t buffer[1 << 20];
    size_t count = fread(buffer, 1, sizeof buffer, file);
    fclose(file);
    uint8_t *exact = malloc(count == 0 ? 1 : count); /* sanitizers guard its end */
    if (exact == NULL)
        return 1;
    memcpy(exact, buffer, count);
    LLVMFuzzerTestOneInput(exact, count);
    free(exact);
    inputs++;
    return 0;
}

static int run_folder(DIR *folder, const char *path) {
    int failures = 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char file[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        failures += run_file(file);
    }
    return failures;
}

int main(int argc, char **argv) {
    int failures = 0;
    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);
        failures += folder != NULL ? run_folder(folder, argv[i]) : run_file(argv[i]);
        if (folder != NULL)
            closedir(folder);
    }
    printf("%d inputs\n", inputs);
    return failures != 0 || inputs == 0;
}
