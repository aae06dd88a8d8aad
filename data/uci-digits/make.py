"""Turns scikit-learn's digits.csv.gz (64 pixels and a class a line) into two IDX files: python make.py digits.csv.gz"""

import gzip
import struct
import sys

rows = [[int(field) for field in line.split(",")] for line in gzip.open(sys.argv[1], "rt")]
with open("images-idx3-ubyte", "wb") as file:
    file.write(struct.pack(">BBBB3I", 0, 0, 8, 3, len(rows), 8, 8))
    file.write(bytes(pixel for row in rows for pixel in row[:64]))
with open("labels-idx1-ubyte", "wb") as file:
    file.write(struct.pack(">BBBB1I", 0, 0, 8, 1, len(rows)))
    file.write(bytes(row[64] for row in rows))
