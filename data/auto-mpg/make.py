"""Turns bokeh_sampledata's auto-mpg.csv into a file with full names, and origins in words: python make.py auto-mpg.csv"""

import csv
import sys

NAMES = {"mpg": "mpg", "cyl": "cylinders", "displ": "displacement", "hp": "horsepower", "weight": "weight",
         "accel": "acceleration", "yr": "year", "origin": "origin", "name": "name"}
ORIGINS = {"1": "America", "2": "Europe", "3": "Japan"}
with open(sys.argv[1], encoding="utf-8", newline="") as file:
    rows = list(csv.DictReader(file))
with open("auto-mpg.csv", "w", encoding="utf-8", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(NAMES.values())
    writer.writerows([ORIGINS[row[name]] if name == "origin" else row[name] for name in NAMES] for row in rows)
