#include "cli/cli.h"

#include <stdio.h>

/* Bytes of the UTF-8 sequence that begins at s; 0 if it is none. Paths may hold any bytes. */
static int sequence_bytes(const unsigned char *s) {
    int length = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (length > 1 && (s[0] < 0xc2 || s[0] > 0xf4))
        return 0;
    for (int i = 1; i < length; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    int overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    int no_character = (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf4 && s[1] > 0x8f);
    return overlong || no_character ? 0 : length;
}

void cli_print_json_text(const char *text) {
    const unsigned char *s = (const unsigned char *)text;
    putchar('"');
    while (*s != 0) {
        int length = sequence_bytes(s);
        if (length == 0)
            printf("\\ufffd");
        else if (*s < 32)
            printf("\\u%04x", *s);
        else if (*s == '"' || *s == '\\')
            printf("\\%c", *s);
        else
            printf("%.*s", length, (const char *)s);
        s += length == 0 ? 1 : length;
    }
    putchar('"');
}

void cli_print_text(const char *text) {
    for (const unsigned char *c = (const unsigned char *)text; *c != 0; c++)
        putchar(*c < 32 || *c == 127 ? '?' : *c);
}

size_t cli_text_columns(const char *text) {
    size_t columns = 0;
    for (const unsigned char *c = (const unsigned char *)text; *c != 0; c++)
        columns += (*c & 0xc0) != 0x80; /* not inside a character */
    return columns;
}
