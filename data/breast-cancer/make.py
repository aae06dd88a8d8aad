"""Turns scikit-learn's breast_cancer.csv (counts, then 30 features and a class a line) into a file with names:
python make.py breast_cancer.csv"""

import csv
import sys

FEATURES = ["radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave points",
            "symmetry", "fractal dimension"]
names = [f"mean {name}" for name in FEATURES] + [f"{name} error" for name in FEATURES]
names += [f"worst {name}" for name in FEATURES]
with open(sys.argv[1], encoding="ascii") as file:
    (_, _, *classes), *rows = csv.reader(file)
with open("breast-cancer.csv", "w", encoding="ascii", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*names, "diagnosis"])
    writer.writerows([*row[:-1], classes[int(row[-1])]] for row in rows)
