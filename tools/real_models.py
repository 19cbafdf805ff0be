#!/usr/bin/env python3
"""Times sardonyx beside onnxruntime on real models with their recorded inputs, and prints a Markdown table.

    real_models.py PEER_BENCH MODELS [--ours PROGRAM] [--engines ours-cpu,...] [--rounds 3] [--seconds 0.5]
                   [--only NAME ...]

PEER_BENCH is the path of peer_bench.py, which runs the engines and judges their outputs; MODELS a folder of
folders with model.onnx and test_data_set_0/input_K.pb. Medians in milliseconds over all rounds, with all engines
in turn, so that a noisy machine slows all alike; in brackets the error against onnxruntime's CPU, relative to the
largest output, where it is above 1e-4. Needs onnx and numpy.
"""
import argparse
import importlib.util
import json
import pathlib
import subprocess
import sys

# In the Python that has onnx: the recorded inputs as NAME.npy.
INPUTS = r"""
import pathlib, re, sys
import numpy, onnx
from onnx import numpy_helper
model, data, folder = map(pathlib.Path, sys.argv[1:4])
graph = onnx.load(model, load_external_data=False).graph
constants = {tensor.name for tensor in graph.initializer}
names = [value.name for value in graph.input if value.name not in constants]
for index, name in enumerate(names):
    tensor = onnx.TensorProto.FromString((data / f"input_{index}.pb").read_bytes())
    numpy.save(folder / (re.sub(r"[^A-Za-z0-9_.-]", "_", name) + ".npy"), numpy_helper.to_array(tensor))
"""


def peer_bench(path: pathlib.Path):
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("peer_bench", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cell(found: dict, engine: str) -> str:
    row = found.get(engine, {})
    if "median_ms" not in row:
        return row.get("failed", "did not run").replace("|", "/")[:60]
    error = row.get("error", 0.0)
    return f"{row['median_ms']:.2f}" + (f" ({error:.0e})" if error > 1e-4 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer_bench", type=pathlib.Path)
    parser.add_argument("models", type=pathlib.Path)
    parser.add_argument("--ours", default="target/release/sardonyx")
    parser.add_argument("--engines", default="ours-cpu,ours-gpu,ort-cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    bench = peer_bench(options.peer_bench)

    def recorded(model, _dims, folder):
        data = pathlib.Path(model).parent / "test_data_set_0"
        subprocess.run([bench.python("onnx"), "-c", INPUTS, model, data, f"{folder}/in"], check=True)
        return []

    bench.make_inputs = recorded
    engines = options.engines.split(",")
    print("| model | " + " | ".join(engines) + " | ours-cpu ÷ ort-cpu |")
    print("| --- |" + " ---: |" * (len(engines) + 1), flush=True)
    for model in sorted(options.models.glob("*/model.onnx")):
        name = model.parent.name
        if options.only and name not in options.only:
            continue
        args = argparse.Namespace(
            ours=options.ours, precision="f32", set={}, timeout=600, rounds=options.rounds, seconds=options.seconds
        )
        found = {row["engine"]: row for row in bench.measure(str(model), args, engines)}
        medians = [found.get(engine, {}).get("median_ms") for engine in ("ours-cpu", "ort-cpu")]
        ratio = f"{medians[0] / medians[1]:.2f}" if all(medians) else "–"
        print(f"| {name} | " + " | ".join(cell(found, engine) for engine in engines) + f" | {ratio} |", flush=True)
        print(json.dumps({name: found}), file=sys.stderr)


if __name__ == "__main__":
    main()
