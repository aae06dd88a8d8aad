#!/usr/bin/env python3
"""Writes include/gradus/text/unicode_tables.hpp: what the tokenizers need of the Unicode character database, version 16.

Needs the packages unicodedata2==16.0.0 and unicode-age. Numbers are written five bits a letter of base 64, the lowest first; letters whose sixth
bit is set are followed by another one of the same number. Signed numbers are written as 2 n, or -2 n - 1."""

import pathlib
import sys
import textwrap

import unicode_age
import unicodedata2 as unicode

CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Cs Co Cn".split()
DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
LAST = 0x110000
# lower case of letters that came with Unicode 15 and 16, for a Python that is older
NEW_LOWER = {0xA7CB: 0x264, 0xA7CC: 0xA7CD, 0xA7DA: 0xA7DB, 0xA7DC: 0x19B, 0x1C89: 0x1C8A}
NEW_LOWER |= {0x10D50 + i: 0x10D70 + i for i in range(0x16)}

HEADER = """// Made by tools/make_unicode_tables.py from the Unicode character database, version 16.0.0. Not to be changed by hand.
#pragma once

#include <string_view>

#include "gradus/core/config.hpp"

// clang-format off
namespace gradus::text::detail::inline GRADUS_BUILD {

"""


def number(value):
    digits = ""
    while True:
        digits += DIGITS[(value & 31) | (32 if value > 31 else 0)]
        value >>= 5
        if value == 0:
            return digits


def signed(value):
    return number(2 * value if value >= 0 else -2 * value - 1)


def categories():
    """Of each run of characters of one category: length * 32 + category."""
    out, start = "", 0
    category = [CATEGORIES.index(unicode.category(chr(c))) for c in range(LAST)]
    for c in range(1, LAST + 1):
        if c == LAST or category[c] != category[start]:
            out += number((c - start) * 32 + category[start])
            start = c
    return out


def lower():
    """Of each character that has a lower case, but U+0130: distance from the one before, signed distance of the lower case."""
    out, last = "", 0
    for c in range(LAST):
        small = chr(NEW_LOWER[c]) if c in NEW_LOWER else chr(c).lower()
        if small != chr(c) and c != 0x130:
            assert len(small) == 1
            out += number(c - last) + signed(ord(small) - c)
            last = c
    return out


def combining():
    """Of each run of characters of one combining class that is not 0: distance from the end of the one before, length, class."""
    out, end, c = "", 0, 0
    while c < LAST:
        start, kind = c, unicode.combining(chr(c))
        while c < LAST and unicode.combining(chr(c)) == kind:
            c += 1
        if kind:
            out += number(start - end) + number(c - start) + number(kind)
            end = c
    return out


def decompositions():
    """Of each character that has one: distance from the one before; 4 * length + 2 if canonical + 1 if the pair is
    composed to it; the first character as signed distance from the first one before, those after it from the one before each."""
    out, last, first = "", 0, 0
    for c in range(LAST):
        parts = unicode.decomposition(chr(c)).split()
        if not parts:
            continue
        canonical = not parts[0].startswith("<")
        to = [int(p, 16) for p in (parts if canonical else parts[1:])]
        composes = canonical and len(to) == 2 and unicode.normalize("NFC", chr(c)) == chr(c)
        out += number(c - last) + number(4 * len(to) + 2 * canonical + composes)
        out += signed(to[0] - first) + "".join(signed(b - a) for a, b in zip(to, to[1:]))
        last, first = c, to[0]
    return out


def newer():
    """Of each run of marks (Mn), punctuation and format characters that came after Unicode 8: distance from the end of the
    one before, length."""
    out, end, c = "", 0, 0

    def is_newer(c):
        category = unicode.category(chr(c))
        return (category in ("Mn", "Cf") or category[0] == "P") and unicode_age.version(c) > (8, 0)

    while c < LAST:
        start = c
        while c < LAST and is_newer(c):
            c += 1
        if c > start:
            out += number(start - end) + number(c - start)
            end = c
        c += 1
    return out


def table(name, text, about):
    about = "\n".join(textwrap.wrap(" ".join(about.split()), 116, initial_indent="/// ", subsequent_indent="/// "))
    lines = [f'    "{text[i:i + 112]}"' for i in range(0, len(text), 112)]
    return f"{about}\ninline constexpr std::string_view {name} =\n" + "\n".join(lines) + ";\n\n"


def main():
    assert unicode.unidata_version == "16.0.0"
    out = HEADER
    for name, make in [("category_table", categories), ("lower_table", lower), ("combining_table", combining),
                       ("decomposition_table", decompositions), ("newer_table", newer)]:
        out += table(name, make(), make.__doc__)
    out += "}  // namespace gradus::text::detail::inline GRADUS_BUILD\n"
    pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "include/gradus/text/unicode_tables.hpp").write_text(out)


main()
