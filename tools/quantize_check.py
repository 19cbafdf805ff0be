#!/usr/bin/env python3
"""Holds what `sardonyx quantize` wrote to onnxruntime: it runs there, with the same answers as here.

    tools/quantize_check.py SARDONYX MODEL QUANTIZED [--inputs FOLDER…] [--samples N] [--set NAME=N…]
                            [--device D…] [--seed S] [--skip N]

Both files are run by onnxruntime's CPU and by the command SARDONYX on each device, on NAME.npy of every input in
each FOLDER (or in each folder within, the first N left out), or on N samples of seeded noise.

Weights alone in fewer bits: the two may lie as far apart on QUANTIZED as FACTOR times what they do on MODEL, whose
sums are of the same length, or a unit roundoff of float32 times that length (the largest inner dimension of
QUANTIZED's products) where that is more; both relative to the output's largest magnitude.

Activations in 8 bits: a number beside a border between two integers goes the one way here and the other there, by
float32's rounding alone, and what comes behind carries that on. Few do, where quantising rounds them all: so the two
may lie half as far apart, in the root of the mean square, as onnxruntime's QUANTIZED lies from its MODEL. A network
that magnifies what is small (many layers of random weights) shows it in onnxruntime alone: TWICE as far is allowed
as its answers with its rewrites, which round elsewhere, lie from those without.

Of all outputs of floats it prints the error of QUANTIZED against MODEL (the largest difference ÷ the largest
magnitude, and the least cosine of a sample), there and here, and how often the largest element of a row is the same
one (Top-1). Exit code 0: they agree; 1: they don't. Needs Python's packages onnxruntime, onnx and numpy.
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
# Of two that are each as far from a third.
TWICE = 2
TYPES = {"tensor(float)": numpy.float32, "tensor(float16)": numpy.float16, "tensor(int64)": numpy.int64,
         "tensor(int32)": numpy.int32, "tensor(bool)": numpy.bool_, "tensor(uint8)": numpy.uint8}


def session(path, rewrites=True):
    options = onnxruntime.SessionOptions()
    if not rewrites:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    # Without it, sums of two products of uint8 by int8 saturate at 16 bits on CPUs without VNNI.
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def given(of, sizes, seed):
    random = numpy.random.default_rng(seed)
    inputs = {}
    for port in of.get_inputs():
        shape = [size if isinstance(size, int) else sizes.get(size, 1) for size in port.shape]
        dtype = TYPES[port.type]
        if "mask" in port.name:
            inputs[port.name] = numpy.ones(shape, dtype)
        elif "type" in port.name:
            inputs[port.name] = numpy.zeros(shape, dtype)
        elif numpy.issubdtype(dtype, numpy.floating):
            inputs[port.name] = random.standard_normal(shape).astype(dtype)
        else:
            inputs[port.name] = random.integers(0, 2 if dtype == numpy.bool_ else 100, shape).astype(dtype)
    return inputs


def safe(name):
    return "".join(c if c.isalnum() and c.isascii() or c in "_.-" else "_" for c in name)


def here(command, path, inputs, device, folder):
    into, out = folder / "in", folder / "out"
    for made in (into, out):
        made.mkdir(exist_ok=True)
    for name, value in inputs.items():
        numpy.save(into / f"{safe(name)}.npy", value)
    arguments = ["run", str(path), "--inputs", str(into), "--outputs", str(out), "--device", device]
    subprocess.run([command, *arguments], check=True, stdout=subprocess.DEVNULL)
    return out


def samples(of, args, sizes):
    """The inputs of each sample, by name."""
    if not args.inputs:
        return [given(of, sizes, args.seed + index) for index in range(args.samples)]
    ports = of.get_inputs()

    def read(folder):
        files = {port.name: folder / (safe(port.name) + ".npy") for port in ports}
        return {name: numpy.load(file) for name, file in files.items()} if files[ports[0].name].exists() else None

    found = []
    for folder in args.inputs:
        within = sorted((inner for inner in folder.iterdir() if inner.is_dir()), key=lambda own: (len(own.name), own))
        found += [sample for sample in map(read, [folder, *within]) if sample]
    return found[args.skip:]


def there(path, inputs, rewrites=True):
    of = session(path, rewrites)
    return [of.run(None, sample) for sample in inputs]


def run_here(path, command, inputs, device, names):
    made = []
    for sample in inputs:
        with tempfile.TemporaryDirectory() as folder:
            out = here(command, path, sample, device, pathlib.Path(folder))
            made.append([numpy.load(out / f"{safe(name)}.npy") for name in names])
    return made


class Apart:
    """How far lists of outputs lie from others, sample by sample."""

    def __init__(self, found, right):
        self.worst, self.cosine, self.rms, self.same, self.rows = 0.0, 1.0, 0.0, 0, 0
        squares, count = 0.0, 0
        for got, want in ((g, w) for f, r in zip(found, right) for g, w in zip(f, r)):
            if got.shape != want.shape or got.dtype != want.dtype:
                raise SystemExit(f"{got.dtype}{got.shape}, not {want.dtype}{want.shape}")
            if not want.size or not numpy.issubdtype(want.dtype, numpy.floating):
                continue
            x, y = got.astype(numpy.float64), want.astype(numpy.float64)
            most = max(numpy.abs(y).max(), 1e-30)
            self.worst = max(self.worst, numpy.abs(x - y).max() / most)
            self.cosine = min(self.cosine, (x * y).sum() / max(numpy.sqrt((x * x).sum() * (y * y).sum()), 1e-300))
            squares, count = squares + (((x - y) / most) ** 2).sum(), count + y.size
            # A row lies along the last axis that has more than one element.
            x, y = (numpy.atleast_1d(values.squeeze()) for values in (x, y))
            self.same += int((x.argmax(-1) == y.argmax(-1)).sum())
            self.rows += y[..., 0].size
        self.rms = (squares / max(count, 1)) ** 0.5

    def __str__(self):
        return f"error {self.worst:.2e}, cosine {self.cosine:.6f}, top-1 {self.same} of {self.rows}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("command")
    parser.add_argument("model")
    parser.add_argument("quantized")
    parser.add_argument("--inputs", action="append", default=[], type=pathlib.Path, metavar="FOLDER")
    parser.add_argument("--samples", type=int, default=1)
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=N")
    parser.add_argument("--device", action="append", default=[])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    sizes = {name: int(size) for name, size in (text.split("=", 1) for text in args.set)}
    of = session(args.model)
    inputs = samples(of, args, sizes)
    if not inputs:
        raise SystemExit("no samples: a folder with NAME.npy of every input, or one of such, is needed")
    names = [port.name for port in of.get_outputs()]
    nodes = onnx.load(args.quantized).graph.node
    blocks = [node for node in nodes if node.op_type == "MatMulNBits"]
    whole = [node for node in nodes if node.op_type in ("QuantizeLinear", "DynamicQuantizeLinear")]
    if not blocks and not whole:
        raise SystemExit(f"{args.quantized}: no product is quantised")
    lengths = [attribute.i for node in blocks for attribute in node.attribute if attribute.name == "K"]
    sizes = [pathlib.Path(file).stat().st_size / 2**20 for file in (args.model, args.quantized)]
    floats, right = there(args.model, inputs), there(args.quantized, inputs)
    cost = Apart(right, floats)
    print(f"{len(inputs)} samples, {sizes[0]:.1f} MiB to {sizes[1]:.1f}; onnxruntime: {cost}")
    failed = False
    for device in args.device or ["cpu"]:
        made = run_here(args.quantized, args.command, inputs, device, names)
        after = Apart(made, right)
        if whole:
            own = Apart(there(args.quantized, inputs, rewrites=False), right).rms
            found, allowed = after.rms, max(cost.rms / 2, TWICE * own)
        else:
            before = Apart(run_here(args.model, args.command, inputs, device, names), floats).worst
            found, allowed = after.worst, FACTOR * max(before, max(lengths) * numpy.finfo(numpy.float32).eps / 2)
        failed |= found > allowed
        wrong = " WRONG" if found > allowed else ""
        print(f"{device}: {Apart(made, floats)}; apart from onnxruntime by {found:.2e} (allowed {allowed:.2e}){wrong}")
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
