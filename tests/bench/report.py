#!/usr/bin/env python3
"""Prints the table of tests/bench/run from the results of its single runs."""

import argparse
import json
import pathlib

MIB = 1 << 20
# Memory that a build may take: a constant, and a share of the ztoc that it holds.
BUDGET_CONSTANT = 96 * MIB
BUDGET_PER_ZTOC_BYTE = 1.5
# How many times the reference's speed is wanted.
GOAL = 4.0

ROWS = {
    "ztoc-ours": "soci-index-builder ztoc build",
    "ztoc-reference": "reference ztoc",
    "igzip": "igzip -d -c",
    "pigz": "pigz -d -c",
    "index-ours": "soci-index-builder index",
    "index-reference": "reference pull, build, push",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=pathlib.Path, required=True)
    parser.add_argument("--cache", type=pathlib.Path, required=True)
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--results", type=pathlib.Path, required=True)
    arguments = parser.parse_args()

    layer = (arguments.cache / "layer").stat().st_size
    tar = int((arguments.cache / "layer.tar.size").read_text())
    entries = int((arguments.cache / "layer.entries").read_text())
    ztoc = (arguments.run / "ours.ztoc").stat().st_size
    best = {name: quickest(arguments.run, name, arguments.runs) for name in ROWS}

    print()
    print(f"layer: {layer / 1e6:.1f} MB compressed, {tar / 1e9:.2f} GB of tar, {entries} entries; ztoc {ztoc / MIB:.1f} MiB")
    print(f"quickest of {arguments.runs} runs; MB/s of compressed bytes; written: to disk, by the program itself")
    print()
    print(f"{'':32}{'wall s':>9}{'cpu s':>9}{'MB/s':>9}{'peak MiB':>10}{'written MiB':>13}")
    for name, title in ROWS.items():
        row = best[name]
        print(
            f"{title:32}{row['seconds']:9.2f}{row['cpu_seconds']:9.2f}{layer / 1e6 / row['seconds']:9.1f}"
            f"{row['peak_rss'] / MIB:10.1f}{row['written'] / MIB:13.1f}"
        )
    print()
    for kind in ("ztoc", "index"):
        ratio = best[f"{kind}-reference"]["seconds"] / best[f"{kind}-ours"]["seconds"]
        print(f"{kind}: {ratio:.2f} times the reference's speed (goal {GOAL:.0f}: {verdict(ratio >= GOAL)})")
    for name in ("igzip", "pigz"):
        print(f"ztoc build takes {best['ztoc-ours']['seconds'] / best[name]['seconds']:.2f} times as long as {ROWS[name]}")
    budget = BUDGET_CONSTANT + BUDGET_PER_ZTOC_BYTE * ztoc
    for name in ("ztoc-ours", "index-ours"):
        peak = max(row["peak_rss"] for row in runs(arguments.run, name, arguments.runs))
        print(
            f"{ROWS[name]}: highest peak {peak / MIB:.1f} MiB of the {budget / MIB:.1f} MiB that 96 MiB + 1.5 x the ztoc"
            f" allow: {verdict(peak <= budget)}"
        )
    written = max(row["written"] for row in runs(arguments.run, "index-ours", arguments.runs))
    print(f"{ROWS['index-ours']}: {written} bytes written to disk (goal 0: {verdict(written == 0)})")

    arguments.results.write_text(
        json.dumps({"layer": layer, "tar": tar, "entries": entries, "ztoc": ztoc, "best": best}, indent=2) + "\n"
    )


def runs(folder, name, count):
    return [json.loads((folder / f"{name}-{run}.json").read_text()) for run in range(1, count + 1)]


def quickest(folder, name, count):
    return min(runs(folder, name, count), key=lambda row: row["seconds"])


def verdict(met):
    return "met" if met else "MISSED"


if __name__ == "__main__":
    main()
