#!/usr/bin/env python3
"""Holds what `sardonyx quantize` wrote to onnxruntime: it runs there, with the same answers as here.

    tools/quantize_check.py SARDONYX MODEL QUANTIZED [--set NAME=N…] [--device D…] [--seed S]

Both files are run on seeded inputs by onnxruntime's CPU and by the command SARDONYX on each device. The two may
lie as far apart on QUANTIZED as FACTOR times what they do on MODEL, whose sums are of the same length, or a unit
roundoff of float32 times that length (the largest inner dimension of QUANTIZED's products) where that is more;
both relative to the output's largest magnitude. Exit code 0: they agree; 1: they don't. Needs Python's packages
onnxruntime, onnx and numpy.
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy
import onnx
import onnxruntime

# Sums of the same terms in another order, and two roundings more for each weight: the same but for a factor.
FACTOR = 8
TYPES = {"tensor(float)": numpy.float32, "tensor(float16)": numpy.float16, "tensor(int64)": numpy.int64,
         "tensor(int32)": numpy.int32, "tensor(bool)": numpy.bool_, "tensor(uint8)": numpy.uint8}


def session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def given(of, sizes, seed):
    random = numpy.random.default_rng(seed)
    inputs = {}
    for port in of.get_inputs():
        shape = [size if isinstance(size, int) else sizes.get(size, 1) for size in port.shape]
        dtype = TYPES[port.type]
        if "mask" in port.name:
            inputs[port.name] = numpy.ones(shape, dtype)
        elif numpy.issubdtype(dtype, numpy.floating):
            inputs[port.name] = random.standard_normal(shape).astype(dtype)
        else:
            inputs[port.name] = random.integers(0, 2 if dtype == numpy.bool_ else 100, shape).astype(dtype)
    return inputs


def here(command, path, inputs, device, folder):
    into, out = folder / "in", folder / "out"
    for made in (into, out):
        made.mkdir(exist_ok=True)
    for name, value in inputs.items():
        safe = "".join(c if c.isalnum() and c.isascii() or c in "_.-" else "_" for c in name)
        numpy.save(into / f"{safe}.npy", value)
    arguments = ["run", str(path), "--inputs", str(into), "--outputs", str(out), "--device", device]
    subprocess.run([command, *arguments], check=True, stdout=subprocess.DEVNULL)
    return out


def apart(path, command, inputs, device):
    """The largest difference of any output between onnxruntime and the command, relative to its magnitude."""
    of = session(path)
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        out = here(command, path, inputs, device, pathlib.Path(folder))
        for port, want in zip(of.get_outputs(), of.run(None, inputs)):
            safe = "".join(c if c.isalnum() and c.isascii() or c in "_.-" else "_" for c in port.name)
            got = numpy.load(out / f"{safe}.npy")
            if got.shape != want.shape or got.dtype != want.dtype:
                raise SystemExit(f"{port.name}: {got.dtype}{got.shape} here, {want.dtype}{want.shape} there")
            if want.size:
                most = numpy.abs(want.astype(numpy.float64)).max()
                off = numpy.abs(got.astype(numpy.float64) - want.astype(numpy.float64)).max()
                worst = max(worst, off / max(most, 1e-30))
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("command")
    parser.add_argument("model")
    parser.add_argument("quantized")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=N")
    parser.add_argument("--device", action="append", default=[])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    sizes = {name: int(size) for name, size in (text.split("=", 1) for text in args.set)}
    inputs = given(session(args.model), sizes, args.seed)
    nodes = [node for node in onnx.load(args.quantized).graph.node if node.op_type == "MatMulNBits"]
    lengths = [attribute.i for node in nodes for attribute in node.attribute if attribute.name == "K"]
    if not lengths:
        raise SystemExit(f"{args.quantized}: no product is quantised")
    least = max(lengths) * numpy.finfo(numpy.float32).eps / 2
    failed = False
    for device in args.device or ["cpu"]:
        before = apart(args.model, args.command, inputs, device)
        after = apart(args.quantized, args.command, inputs, device)
        allowed = FACTOR * max(before, least)
        failed |= after > allowed
        wrong = " WRONG" if after > allowed else ""
        print(f"{device}: {len(nodes)} products; apart by {after:.2e} (allowed {allowed:.2e}; before"
              f" {before:.2e}){wrong}")
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
