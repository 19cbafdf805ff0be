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
import csv
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--shaders", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent / "shaders")
    options = parser.parse_args()
    try:
        rows = list(csv.DictReader(open(options.folder / "shaders.tsv"), delimiter="\t"))
        import wgpudawn
    except (OSError, ImportError) as problem:
        print(f"tint.py: {problem}", file=sys.stderr)
        return 2
    if not rows:
        print(f"tint.py: {options.folder} holds no shader", file=sys.stderr)
        return 2
    adapters = wgpudawn.gpu.enumerate_adapters_sync()
    fitting = [adapter for adapter in adapters if set(FEATURES.values()) <= set(adapter.features)]
    if not fitting:
        print(f"tint.py: no adapter has {', '.join(FEATURES.values())}", file=sys.stderr)
        return 2
    device = fitting[0].request_device_sync(required_features=list(FEATURES.values()))

    library = places(options.shaders)
    left_out, kinds = collections.Counter(), collections.defaultdict(list)
    accepted = refused = 0
    for row in rows:
        needs = [need for need in row["needs"].split(", ") if need]
        own = [need for need in needs if need.startswith("naga: ")]
        if own:
            left_out[" and ".join(need.removeprefix("naga: ") for need in own)] += 1
            continue
        text = (options.folder / row["file"]).read_text()
        try:
            module = device.create_shader_module(code=text)
            device.create_compute_pipeline(layout="auto", compute={"module": module, "entry_point": "main"})
            accepted += 1
        except wgpudawn.GPUError as problem:
            refused += 1
            found = POSITION.search(str(problem))
            message = found.group(3) if found else " ".join(str(problem).split())
            where = place(row["file"], text, int(found.group(1)), int(row["prelude_lines"]), options.shaders, library) if found else row["file"]
            kinds[(where, message)].append(row["file"])
    for (where, message), files in sorted(kinds.items()):
        print(f"{where}: {message}\n    in {len(files)}: {', '.join(files[:SHOWN])}{', …' if len(files) > SHOWN else ''}")
    print(f"tint: {accepted + refused} shaders given, {accepted} accepted, {refused} refused; {sum(left_out.values())} not given:")
    for reason, count in sorted(left_out.items()):
        print(f"    {count} with naga's {reason}")
    return 0 if refused == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
