#!/usr/bin/env python3
"""Gives every shader in a folder to Tint, Chrome's WGSL compiler, and has Dawn make its pipeline with WebGPU's default limits.

    sardonyx bench --kernel all --shaders DIR && tools/tint.py DIR [--shaders SHADERS]

DIR is what that command wrote; shaders.tsv in it says what each shader takes beyond WebGPU's core. Shaders that take an extension of naga's
own are not given, and counted by reason. A message is printed with the line of the file in SHADERS (the repository's shaders/ by
default) that it is about: the prelude's lines are taken off, and a line of the prelude is looked up in SHADERS/lib. Needs Python's package
wgpudawn and a Vulkan adapter with shader-f16 and subgroups. Exit 0: none refused; 1: some; 2: could not run.
"""
import argparse
import collections
import concurrent.futures
import csv
import importlib
import itertools
import multiprocessing
import os
import pathlib
import re
import sys

POSITION = re.compile(r":(\d+):(\d+) (error: .*)")
FEATURES = {"f16": "shader-f16", "subgroups": "subgroups"}
SHOWN = 3  # messages of a kind


def places(shaders):
    """Lines of the library's files: (file, line number) of each line's text, the first that has it."""
    found = {}
    for path in sorted((shaders / "lib").glob("*.wgsl")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if line.strip() not in ("", "}", "{"):
                found.setdefault(line, f"{path.relative_to(shaders.parent)}:{number}")
    return found


def place(shader, text, line, prelude_lines, shaders, library):
    """Where line `line` of a shader's text was written."""
    if line > prelude_lines:
        return f"{shaders.name}/{shader.split('.')[0]}.wgsl:{line - prelude_lines}"
    return library.get(text.splitlines()[line - 1], f"{shader}:{line} (prelude)")


def refusals(work):
    """The shaders of a list that Dawn refuses: (file, line or 0, message) of each."""
    folder, rows = work
    import wgpudawn

    adapters = wgpudawn.gpu.enumerate_adapters_sync()
    fitting = [adapter for adapter in adapters if set(FEATURES.values()) <= set(adapter.features)]
    if not fitting:
        raise LookupError(f"no adapter has {', '.join(FEATURES.values())}")
    device = fitting[0].request_device_sync(required_features=list(FEATURES.values()))
    found = []
    for row in rows:
        try:
            module = device.create_shader_module(code=(folder / row["file"]).read_text())
            device.create_compute_pipeline(layout="auto", compute={"module": module, "entry_point": "main"})
        except wgpudawn.GPUError as problem:
            told = POSITION.search(str(problem))
            text = told.group(3) if told else " ".join(str(problem).split())
            found.append((row["file"], int(told.group(1)) if told else 0, text))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--shaders", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent / "shaders")
    options = parser.parse_args()
    try:
        rows = list(csv.DictReader(open(options.folder / "shaders.tsv"), delimiter="\t"))
        importlib.import_module("wgpudawn")
    except (OSError, ImportError) as problem:
        print(f"tint.py: {problem}", file=sys.stderr)
        return 2
    if not rows:
        print(f"tint.py: {options.folder} holds no shader", file=sys.stderr)
        return 2
    own = [[need.removeprefix("naga: ") for need in row["needs"].split(", ") if need.startswith("naga: ")] for row in rows]
    left_out = collections.Counter(" and ".join(needs) for needs in own if needs)
    given = [row for row, needs in zip(rows, own) if not needs]
    count = os.cpu_count() or 1
    # In processes of their own: Dawn compiles on the thread that asks. None is forked: a device doesn't survive it.
    with concurrent.futures.ProcessPoolExecutor(count, multiprocessing.get_context("spawn")) as pool:
        parts = pool.map(refusals, [(options.folder, given[part::count]) for part in range(count)])
        try:
            refused = sorted(itertools.chain.from_iterable(parts))
        except LookupError as problem:
            print(f"tint.py: {problem.args[0]}", file=sys.stderr)
            return 2

    library = places(options.shaders)
    by_file = {row["file"]: row for row in given}
    kinds = collections.defaultdict(list)
    for file, line, message in refused:
        text = (options.folder / file).read_text()
        prelude = int(by_file[file]["prelude_lines"])
        where = place(file, text, line, prelude, options.shaders, library) if line else file
        kinds[(where, message)].append(file)
    for (where, message), files in sorted(kinds.items()):
        print(f"{where}: {message}\n    in {len(files)}: {', '.join(files[:SHOWN])}{', …' if len(files) > SHOWN else ''}")
    print(f"tint: {len(given)} shaders given, {len(given) - len(refused)} accepted, {len(refused)} refused; {sum(left_out.values())} not given:")
    for reason, count in sorted(left_out.items()):
        print(f"    {count} with naga's {reason}")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
