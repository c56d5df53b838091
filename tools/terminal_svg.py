#!/usr/bin/env python3
"""terminal_svg.py <TEXT >PICTURE.svg: a terminal's text as a picture for the README."""
import html
import sys

CELL_WIDTH, LINE_HEIGHT, MARGIN = 7.8, 17, 14


def main():
    lines = sys.stdin.read().rstrip("\n").split("\n")
    width = int(max(map(len, lines)) * CELL_WIDTH + 2 * MARGIN)
    height = len(lines) * LINE_HEIGHT + 2 * MARGIN
    print('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d">'
          % (width, height, width, height))
    print('<rect width="100%" height="100%" rx="6" fill="#1d2433"/>')
    print('<g font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="13" '
          'fill="#dfe6f0" xml:space="preserve">')
    for number, line in enumerate(lines):
        colour = ' fill="#8fd19e"' if line.startswith("$ ") else ""
        print('<text x="%d" y="%d"%s>%s</text>'
              % (MARGIN, MARGIN + number * LINE_HEIGHT + 12, colour, html.escape(line)))
    print("</g></svg>")


if __name__ == "__main__":
    main()
