#!/usr/bin/env python3
"""Makes the site: the reference from the headers and the guide from the Markdown files, by Doxygen.

Doxygen reads copies that say the same in its words, line by line, so that its warnings name the right places:

  - Headers: inline version namespaces, `detail` namespaces, undocumented macros and GRADUS_FIELDS lines are taken out;
    the comment at the top describes the file; an overload without a comment has that of the one before it.
  - Pages: links between files become links between pages of the site; a link to a file that has no page there becomes
    plain text. A page's place in the navigation is that in docs/guide/README.md.

Prints Doxygen's warnings; exit code 1 when there are any."""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from xml.sax.saxutils import quoteattr

OLDEST = (1, 9, 2)
GUIDE = "docs/guide/README.md"
# Folders of include/gradus as the chapters of the reference, in their order; any other folder comes last under its name.
CHAPTERS = {"tensor": "Tensors", "autograd": "Gradients and parameters", "ops": "Operators",
            "ops/pointwise": "Pointwise", "ops/formula": "Your own pointwise operators", "ops/reduction": "Reductions",
            "ops/product": "Products", "ops/view": "Views, casts", "ops/indexing": "Indexing, joining",
            "ops/window": "Convolution, pooling", "ops/norm": "Normalisation", "ops/loss": "Softmax, losses",
            "nn": "Layers", "models": "Whole networks", "optim": "Optimizers", "data": "Data", "train": "Training loop",
            "metrics": "Metrics", "io": "Files", "core": "Shapes, types, errors, threads",
            "device/cpu": "Memory"}
OTHER_PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/adding-an-operator.md"]

# ---- headers -----------------------------------------------------------------------------------------------------

SIGNATURE = re.compile(r"^(?!namespace|class|struct|enum|using|template|requires|//|#|}|\s).*?(operator\S+?|(?<![<\w])~?\w+)\(")


def blank(match):
    """As many empty lines as the match has."""
    return "\n" * match.group().count("\n")


def without_internals(text):
    text = re.sub(r"::inline GRADUS_(BUILD|STABLE)\b", "", text)
    text = re.sub(r"^namespace gradus(::\w+)*::detail \{$.*?^\}  // namespace [\w:]*detail$", blank, text,
                  flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^ *///? Internal:.*?(?=^ *///|^ *private:|^$)", blank, text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^template .*\n\w+\(.*\) -> .*;$", blank, text, flags=re.MULTILINE)  # deduction guides
    text = re.sub(r"^template [^\n]*\n[^\n]*\bTensor<T>::\w+\(.*?^\}$", blank, text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^ *GRADUS_FIELDS(_OF)?\(.*?\)$", "", text, flags=re.MULTILINE)
    return without_private_macros(text)


def without_private_macros(text):
    """Leaves macros that have a comment, without their bodies, and the version."""
    lines, inside = text.split("\n"), False
    for number, line in enumerate(lines):
        if line.startswith("#define ") and not inside:
            if not line.startswith("#define GRADUS_VERSION"):
                lines[number] = re.match(r"[^)]*\)?", line).group() if lines[number - 1].startswith("///") else ""
            inside = line.endswith("\\")
        elif inside:
            lines[number], inside = "", line.endswith("\\")
    return "\n".join(lines)


def with_file_comment(text):
    """The comment in front of #pragma once, as Doxygen's comment on a file, in as many lines."""
    head, _, rest = text.partition("#pragma once\n")
    return "/// @file\n" + re.sub("^//", "///", head, flags=re.MULTILINE) + rest


def chapter_id(folder):
    return "ref_" + folder.replace("/", "_")


def in_chapter(folder, text):
    """Everything public belongs to the folder's chapter; the alias `chapter` is two commands that fit one line."""
    pattern = r"^(namespace gradus[\w:]* \{\n)\n(.*?)^(\}  // namespace gradus)"
    whole = rf"\1/** @chapter{{{chapter_id(folder)}}} */\n\2/** @}} */ \3"
    return re.sub(pattern, whole, text, flags=re.MULTILINE | re.DOTALL)


def with_shared_comments(text):
    """Overloads that follow a function of the same name without a blank line, and without a comment, get its comment."""
    lines, comment, name, start = text.split("\n"), [], None, None
    for number, line in enumerate(lines):
        before = lines[number - 1] if number > 0 else ""
        if line.startswith("///"):
            comment = [*comment, line[3:].strip()] if before.startswith("///") else [line[3:].strip()]
            name = start = None
        elif line == "":
            comment, name, start = [], None, None
        elif line.startswith("template") and before == "}":
            start = number
        signature = SIGNATURE.match(line)
        if signature and comment:
            if start is None and before == "}":
                start = number
            if start is not None and signature.group(1) == name:
                lines[start] = f"/** {' '.join(comment)} */ {lines[start]}"
            name, start = signature.group(1), None
    return "\n".join(lines)


def stage_headers(root):
    """Pairs of (path from include/, text) of the headers with something for users, and the folders they are in."""
    headers, folders = [], {}
    for header in sorted(root.rglob("*.hpp")):
        text = without_internals(header.read_text("utf-8"))
        folder = header.parent.relative_to(root).as_posix()
        if header.name == "fwd.hpp" or (folder != "." and not re.search("^namespace gradus|^///", text, re.MULTILINE)):
            continue
        folders[folder] = True
        text = with_shared_comments(with_file_comment(text))
        headers.append((header.relative_to(root.parent).as_posix(), in_chapter(folder, text) if folder != "." else text))
    return headers, [*(f for f in CHAPTERS if f in folders), *(f for f in folders if f not in CHAPTERS and f != ".")]


def chapters(folders):
    def define(folder):
        parent = "/".join(folder.split("/")[:-1])
        within = f" @ingroup {chapter_id(parent)}" if parent in folders else ""
        return f"/** @defgroup {chapter_id(folder)} {CHAPTERS.get(folder, folder)}\n *{within}\n */\n"

    return "".join(map(define, folders))


# ---- pages -------------------------------------------------------------------------------------------------------

SKIPPED_OR_LINK = re.compile(r"```.*?^\s*```|``.*?``|`[^`]*`|(?P<image>!?)\[(?P<text>[^\[\]]*)\]\((?P<target>[^()\s]+)\)",
                             re.DOTALL | re.MULTILINE)


def page_id(page):
    if page == "README.md":
        return "index"
    if page.endswith("/README.md"):
        page = page.removesuffix("/README.md")
    return "page_" + re.sub(r"\W+", "_", page.removeprefix("docs/").removesuffix(".md")).lower()


def staged_name(page):
    """Flat, so that the list of headers does not show the folders of pages."""
    return page.replace("/", "%")


def resolve(root, page, target):
    """The path from the root of what a page's link names."""
    path = (root / page).parent / target.split("#")[0]
    try:
        return path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return None


def title_of(text):
    return re.search(r"^# (.*)$", text, re.MULTILINE).group(1)


class Link(Exception):
    pass


def stage_page(root, page, pages, text, images):
    def rewrite(match):
        target = match.group("target")
        if target is None or re.match(r"\w+:|#", target):
            return match.group()
        path, words = resolve(root, page, target), match.group("text")
        if path is None or not (root / path).exists():
            raise Link(f"{page}: the link to {target} leads nowhere")
        if match.group("image"):
            images.add(path)
            return f'<img src="{pathlib.PurePosixPath(path).name}" alt={quoteattr(words)}/>'
        if (root / path).is_dir():
            path = min((other for other in pages if other.startswith(f"{path}/")), default=path,
                       key=lambda other: (not other.endswith("README.md"), other))
        if path in pages:
            return f"[{words}](@ref {page_id(path)})"
        if path.startswith("include/gradus/"):
            return f'@ref {path.removeprefix("include/")} "{words}"'
        return words

    text = SKIPPED_OR_LINK.sub(rewrite, text)
    text = re.sub(r"^\|.*", lambda m: re.sub(r"`([^`]*\\\|[^`]*)`", r"<code>\1</code>", m.group()), text, flags=re.MULTILINE)
    label = "mainpage" if page == "README.md" else page_id(page)
    toc = "[TOC]" if text.count("\n## ") > 2 and page != "README.md" else ""
    return re.sub(r"^# (.*)\n\n", lambda m: f"# {m.group(1)} {{#{label}}}\n{toc}\n", text, count=1)


# ---- the site ----------------------------------------------------------------------------------------------------


def guide_order(root):
    """The guide's pages in the order in which its index names them; pages it forgets come last."""
    folder = root / pathlib.Path(GUIDE).parent
    named = [f"docs/guide/{name}" for name in re.findall(r"\]\(([\w-]+\.md)\)", (root / GUIDE).read_text("utf-8"))]
    there = [path.relative_to(root).as_posix() for path in sorted(folder.glob("*.md"))]
    return [page for page in dict.fromkeys(named + there) if page != GUIDE]


def layout(root, guide, decisions, version):
    def tab(page):
        title = title_of((root / page).read_text("utf-8"))
        return f'<tab type="user" url="@ref {page_id(page)}" title={quoteattr(title)}/>'

    def group(title, pages):
        return f"<tab type=\"usergroup\" url=\"@ref {page_id(pages[0])}\" title=\"{title}\">{''.join(map(tab, pages[1:]))}</tab>"

    return f"""<doxygenlayout version="1.0"><navindex>
<tab type="mainpage" visible="yes" title="Gradus"/>
{group("Guide", [GUIDE, *guide])}
<tab type="{'topics' if version >= (1, 9, 8) else 'modules'}" visible="yes" title="Reference" intro="What there is, by what it is for."/>
<tab type="namespacelist" visible="yes" title="Namespaces"/>
<tab type="classlist" visible="yes" title="Types"/>
<tab type="filelist" visible="yes" title="Headers" intro="Each can be included by itself; gradus/gradus.hpp is all of them."/>
{group("Working on Gradus", ["CONTRIBUTING.md", "docs/adding-an-operator.md", *decisions, "CHANGELOG.md"])}
</navindex>
<group><briefdescription visible="yes"/><memberdecl><nestedgroups visible="yes" title=""/><classes visible="yes" title="Types"/>
<concepts visible="yes" title=""/><defines title=""/><typedefs title=""/><enums title=""/><functions title=""/><variables title=""/>
</memberdecl><memberdef><defines title=""/><typedefs title=""/><enums title=""/><functions title=""/><variables title=""/></memberdef>
</group></doxygenlayout>"""


def doxygen_version():
    """(1, 9, 4), or None where there is none."""
    if shutil.which("doxygen") is None:
        return None
    text = subprocess.run(["doxygen", "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def make(root, output):
    """Returns Doxygen's warnings."""
    version = doxygen_version()
    if version is None or version < OLDEST:
        raise RuntimeError(f"Doxygen {'.'.join(map(str, OLDEST))} or later is needed: it knows concepts")
    guide = guide_order(root)
    decisions = [path.relative_to(root).as_posix() for path in sorted((root / "docs/decisions").glob("*.md"))]
    pages = [*OTHER_PAGES, GUIDE, *guide, *decisions]
    with tempfile.TemporaryDirectory() as folder:
        stage, images = pathlib.Path(folder), set()

        def write(name, text):
            path = stage / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

        headers, folders = stage_headers(root / "include/gradus")
        for name, text in headers:
            write(name, text)
        write("chapters.dox", chapters(folders))
        for page in pages:
            write(staged_name(page), stage_page(root, page, pages, (root / page).read_text("utf-8"), images))
        write("layout.xml", layout(root, guide, decisions, version))
        if (output / "doxygen.css").exists():
            shutil.rmtree(output)
        output.mkdir(parents=True, exist_ok=True)
        extra = " ".join(f'"{root / image}"' for image in sorted(images))
        settings = [f"@INCLUDE = {root / 'docs/Doxyfile'}", f'OUTPUT_DIRECTORY = "{output}"', "INPUT = .",
                    f'STRIP_FROM_PATH = "{stage}"', f'STRIP_FROM_INC_PATH = "{stage}"', "LAYOUT_FILE = layout.xml",
                    f'HTML_EXTRA_STYLESHEET = "{root / "docs/site/style.css"}"', f"HTML_EXTRA_FILES = {extra}"]
        result = subprocess.run(["doxygen", "-"], input="\n".join(settings), cwd=stage, capture_output=True, text=True)
    text = result.stderr.replace(f"{stage}/gradus/", "include/gradus/").replace(f"{stage}/", "")
    for page in pages:
        text = text.replace(staged_name(page), page)
    if result.returncode != 0:
        raise RuntimeError(f"doxygen failed\n{text}")
    return [line for line in text.split("\n") if line]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=pathlib.Path, help="of the sources")
    parser.add_argument("output", type=pathlib.Path, help="folder for the site; an older site there is replaced")
    options = parser.parse_args()
    try:
        warnings = make(options.root.resolve(), options.output.resolve())
    except (Link, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    for warning in warnings:
        print(warning, file=sys.stderr)
    print(f"The site is there: open {options.output / 'index.html'}")
    return 1 if warnings else 0


if __name__ == "__main__":
    sys.exit(main())
