#!/usr/bin/env python3
"""Writes the seed inputs of fuzz_idx to corpus/idx: valid files and one file per kind of damage."""
import gzip
import pathlib
import struct

FOLDER = pathlib.Path(__file__).parent / "corpus" / "idx"


def idx(sizes, elements=None, kind=8):
    count = 1
    for size in sizes:
        count *= size
    head = struct.pack(">BBBB", 0, 0, kind, len(sizes)) + struct.pack(f">{len(sizes)}I", *sizes)
    return head + (bytes(i % 251 for i in range(count)) if elements is None else elements)


def packed(data):
    return gzip.compress(data, 9, mtime=0)


IMAGES = idx([2, 3, 4])
LABELS = idx([5])
FILES = {
    "images": IMAGES,
    "labels": LABELS,
    "images.gz": packed(IMAGES),
    "labels.gz": packed(LABELS),
    "two-members.gz": packed(IMAGES[:20]) + packed(IMAGES[20:]),
    "empty": b"",
    "empty.gz": packed(b""),
    "header-only": IMAGES[:16],
    "header-cut": IMAGES[:9],
    "header-cut.gz": packed(IMAGES[:9]),
    "truncated": IMAGES[:-1],
    "truncated.gz": packed(IMAGES)[:-9],
    "content-truncated.gz": packed(IMAGES[:-1]),
    "too-long": IMAGES + b"x",
    "too-long.gz": packed(IMAGES + b"x"),
    "bad-magic": b"\x89PNG" + IMAGES[4:],
    "float-elements": idx([2, 3, 4], kind=0x0D),
    "four-dimensions": idx([1, 2, 2, 3]),
    "no-dimensions": idx([]),
    "zero-size": idx([2, 0, 4]),
    "overflow": idx([1 << 24, 1 << 20, 1 << 20], b""),
    "largest-sizes": idx([0xFFFFFFFF] * 3, b""),
    "promise.gz": packed(idx([65536, 65536, 4096], b"")),
    "bomb.gz": packed(IMAGES + bytes(1 << 17)),
    "bad-checksum.gz": packed(IMAGES)[:-8] + b"\0\0\0\0" + packed(IMAGES)[-4:],
    "garbage-after.gz": packed(IMAGES) + b"garbage",
}

if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, data in FILES.items():
        (FOLDER / name).write_bytes(data)
