#!/usr/bin/env python3
"""Prints the tables of tests/bench/run from the results of its single runs, and writes them as JSON and Markdown."""

import argparse
import json
import os
import pathlib
import platform
import sys
from typing import Any

MIB = 1 << 20
# Memory that a build may take: a constant, a share of the ztoc that it holds, and what is decoded ahead (docs/CONFIGURATION.md, "Memory").
BUDGET_CONSTANT = 96 * MIB
BUDGET_PER_ZTOC_BYTE = 1.5
BUDGET_PER_CHUNK = 43 * MIB

ZTOC_ROWS = {
    "ztoc-ours": "`soci-index-builder ztoc build`",
    "ztoc-reference": "the reference's ztoc",
    "igzip": "`igzip -d -c`",
    "libdeflate": "`libdeflate-gzip -d -c`",
    "pigz": "`pigz -d -c`",
    "rapidgzip": "`rapidgzip -d -c -P 0`",
}
INDEX_ROWS = {
    "index-ours": "`soci-index-builder index`",
    "index-reference": "the reference: pull, build, push",
}
NETWORK_ROWS = {
    "network-layout-at-once": "the layer, from the registry itself",
    "network-layout-slow": "the layer, 20 MB/s for each connection",
    "network-layout-late": "the layer, 30 ms for each request",
    "network-many-at-once": "60 small layers, from the registry itself",
    "network-many-slow": "60 small layers, 20 MB/s for each connection",
    "network-many-late": "60 small layers, 30 ms for each request",
}
REUSE_ROWS = {
    "reuse-ten": "ten layers",
    "reuse-changed": "the same, one of them changed",
    "reuse-again": "the ten layers in another image",
    "reuse-none": "the changed image in a repository of its own",
}

# What one run of a command took, as measure.py writes it.
Figures = dict[str, Any]


class Results:
    """What tests/bench/run has measured."""

    def __init__(self, folder: pathlib.Path, runs: int) -> None:
        self.folder = folder
        self.runs = runs
        self.best: dict[str, Figures] = {}
        names = {file.name.rsplit("-", 1)[0] for file in folder.glob("*-[0-9]*.json")}
        for name in sorted(names):
            self.best[name] = min(self.of(name), key=lambda row: row["seconds"])

    def of(self, name: str) -> list[Figures]:
        """All runs of one row."""
        return [json.loads((self.folder / f"{name}-{run}.json").read_text()) for run in range(1, self.runs + 1)]

    def told(self, name: str) -> dict[str, Any]:
        """What `index --json` has said of an image at last."""
        lines = (self.folder / f"{name}-{self.runs}.out").read_text().splitlines()
        return json.loads(lines[-1])

    def ratio(self, name: str, other: str, what: str = "seconds") -> float:
        """How many times as much one row took as another one."""
        return self.best[name][what] / self.best[other][what]


class Page:
    """Tables, as they are printed and as they are written."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str = "") -> None:
        """A line of text."""
        self.lines.append(text)

    def table(self, head: list[str], rows: list[list[str]]) -> None:
        """A table, numbers to the right."""
        widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
        self.line()
        for row in [head, ["-" * (width - 1) + ":" if column else "-" * width for column, width in enumerate(widths)], *rows]:
            cells = [cell.rjust(width) if column else cell.ljust(width)
                     for column, (cell, width) in enumerate(zip(row, widths, strict=True))]
            self.line("| " + " | ".join(cells) + " |")
        self.line()


def machine() -> str:
    """What all of this ran on."""
    model = platform.processor()
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return f"{len(os.sched_getaffinity(0))} cores, {model}"


def verdict(met: bool) -> str:
    """Whether a goal is met."""
    return "met" if met else "MISSED"


def ztoc(page: Page, results: Results, cache: pathlib.Path) -> None:
    """One large layer."""
    layer = (cache / "layer").stat().st_size
    tar = int((cache / "layer.tar.size").read_text())
    entries = int((cache / "layer.entries").read_text())
    ours = results.folder / "ours.ztoc"
    size = ours.stat().st_size if ours.exists() else None
    page.line("## A large layer")
    page.line()
    page.line(f"{layer / 1e6:.0f} MB compressed by `pigz -6`, {tar / 1e9:.2f} GB of tar, {entries} entries.")
    rows = []
    for name, title in (ZTOC_ROWS | INDEX_ROWS).items():
        if name in results.best:
            row = results.best[name]
            rows.append([
                title, f"{row['seconds']:.2f}", f"{row['cpu_seconds']:.2f}", f"{layer / 1e6 / row['seconds']:.0f}",
                f"{row['peak_rss'] / MIB:.0f}", f"{row['written'] / MIB:.0f}",
            ])
    page.table(["", "wall s", "CPU s", "MB/s", "peak MiB", "written MiB"], rows)
    if "ztoc-ours" in results.best:
        page.line(f"- `ztoc build`: {results.ratio('ztoc-reference', 'ztoc-ours'):.2f} times the reference's speed, "
                  f"{results.ratio('ztoc-ours', 'igzip'):.2f} times the time of `igzip -d`, "
                  f"{results.ratio('ztoc-ours', 'igzip', 'cpu_seconds'):.2f} times its CPU time.")
    if "index-ours" in results.best:
        page.line(f"- `index`: {results.ratio('index-reference', 'index-ours'):.2f} times the reference's speed.")
    if size is not None:
        cores = len(os.sched_getaffinity(0))
        chunks = cores + 2 if cores > 1 else 0
        budget = BUDGET_CONSTANT + BUDGET_PER_ZTOC_BYTE * size + BUDGET_PER_CHUNK * chunks
        for name in ("ztoc-ours", "index-ours"):
            if name in results.best:
                peak = max(row["peak_rss"] for row in results.of(name))
                page.line(f"- {(ZTOC_ROWS | INDEX_ROWS)[name]}: {peak / MIB:.0f} MiB at most; 96 MiB, 1.5 times the ztoc and 43 MiB"
                          f" for each of {chunks} chunks are {budget / MIB:.0f} MiB: {verdict(peak <= budget)}.")
    if "index-ours" in results.best:
        written = max(row["written"] for row in results.of("index-ours"))
        page.line(f"- `index` wrote {written} bytes to disk: {verdict(written == 0)}.")


def compressors(page: Page, results: Results, cache: pathlib.Path) -> None:
    """The same files as different programs compress them."""
    page.line("## By compressor")
    page.line()
    tar = (cache / "smaller.tar").stat().st_size
    page.line(f"{tar / 1e6:.0f} MB of tar (zopfli: a part of it); seconds of wall time, and of CPU time in brackets.")
    rows = []
    for name in results.best:
        if not name.startswith("compressors-ours-"):
            continue
        kind = name.removeprefix("compressors-ours-")
        ours, igzip = results.best[name], results.best[f"compressors-igzip-{kind}"]
        rows.append([
            kind, f"{(cache / 'layers' / kind).stat().st_size / 1e6:.0f}",
            f"{ours['seconds']:.2f} ({ours['cpu_seconds']:.2f})", f"{igzip['seconds']:.2f} ({igzip['cpu_seconds']:.2f})",
            f"{ours['seconds'] / igzip['seconds']:.2f}", f"{ours['cpu_seconds'] / igzip['cpu_seconds']:.2f}",
        ])
    page.table(["", "MB", "`ztoc build`", "`igzip -d`", "wall", "CPU"], rows)


def images(page: Page, results: Results, title: str, text: str, titles: dict[str, str]) -> None:
    """Rows of `index`."""
    page.line(title)
    page.line()
    page.line(text)
    rows = []
    for name, row_title in titles.items():
        row, told = results.best[name], results.told(name)
        read = told.get("bytes_read", 0)
        rows.append([
            row_title, f"{row['seconds']:.2f}", f"{row['cpu_seconds']:.2f}", f"{read / 1e6:.1f}",
            f"{read / 1e6 / row['seconds']:.0f}", f"{row['peak_rss'] / MIB:.0f}",
        ])
    page.table(["", "wall s", "CPU s", "MB read", "MB/s", "peak MiB"], rows)


def main() -> None:
    """Writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=pathlib.Path, required=True)
    parser.add_argument("--cache", type=pathlib.Path, required=True)
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--results", type=pathlib.Path, required=True)
    parser.add_argument("--markdown", type=pathlib.Path, required=True)
    arguments = parser.parse_args()

    results, page = Results(arguments.run, arguments.runs), Page()
    page.line(f"{machine()}; the quickest of {arguments.runs} runs. MB/s are of compressed bytes. Written: to disk, by the"
              " program itself.")
    page.line()
    if {"ztoc-ours", "index-ours"} & set(results.best):
        ztoc(page, results, arguments.cache)
        page.line()
    if any(name.startswith("compressors-") for name in results.best):
        compressors(page, results, arguments.cache)
    if "network-layout-slow" in results.best:
        images(page, results, "## The network",
               "`index` of images that a registry on the same machine gives, with a server in front.", NETWORK_ROWS)
    if "reuse-ten" in results.best:
        changed = int((arguments.cache / "changed.bytes").read_text())
        images(page, results, "## Layers that were indexed before",
               f"`index` by a new process each time; the layer that is changed has {changed / 1e6:.1f} MB.", REUSE_ROWS)
    text = "\n".join(page.lines).rstrip() + "\n"
    sys.stdout.write(text)
    arguments.markdown.write_text(text)
    arguments.results.write_text(json.dumps({"machine": machine(), "best": results.best}, indent=2) + "\n")


if __name__ == "__main__":
    main()
