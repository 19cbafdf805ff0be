#!/usr/bin/env python3
"""Writes a model of several gigabytes whose weights lie in a file beside it: a chain of square products.

    large_model.py FOLDER [--gigabytes 3] [--size 8192]

FOLDER gets model.onnx and weights.bin. Each layer is `x = Relu(x · w)` with `w` of SIZE × SIZE float32, scaled so
that values keep their size. The weights are written layer by layer: the script needs the memory of one. To see
what loading takes:

    /usr/bin/time -v sardonyx run FOLDER/model.onnx --device cpu --set batch=1

Needs onnx and numpy.
"""
import argparse
import pathlib

import numpy
import onnx
from onnx import TensorProto, helper


def external(name: str, size: int, offset: int) -> TensorProto:
    """A float32 matrix whose bytes lie in weights.bin from an offset on."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[size, size])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "weights.bin"), ("offset", offset), ("length", 4 * size * size)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--gigabytes", type=float, default=3)
    parser.add_argument("--size", type=int, default=8192)
    options = parser.parse_args()
    size = options.size
    layers = max(1, round(options.gigabytes * 2**30 / (4 * size * size)))
    options.folder.mkdir(parents=True, exist_ok=True)
    draw = numpy.random.default_rng(0)
    nodes, weights, value = [], [], "x"
    with open(options.folder / "weights.bin", "wb") as file:
        for layer in range(layers):
            weights.append(external(f"w{layer}", size, file.tell()))
            matrix = draw.standard_normal((size, size), dtype=numpy.float32)
            (matrix * numpy.float32((2 / size) ** 0.5)).tofile(file)
            made = "y" if layer == layers - 1 else f"x{layer}"
            nodes.append(helper.make_node("MatMul", [value, f"w{layer}"], [f"product{layer}"]))
            nodes.append(helper.make_node("Relu", [f"product{layer}"], [made]))
            value = made
    port = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
    graph = helper.make_graph(nodes, "large", [port("x")], [port("y")], weights)
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 21)])
    onnx.save(model, options.folder / "model.onnx")
    print(f"{layers} layers, {(options.folder / 'weights.bin').stat().st_size} bytes of weights")


if __name__ == "__main__":
    main()
