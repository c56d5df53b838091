/* A program outside the project: it sees the installed header and library only. */
#include <bitprop.h>

#include <stdio.h>

int main(void) {
    printf("bitprop %s\n", bp_version());
    return 0;
}
