#!/usr/bin/env python3
"""Writes all-MiniLM-L6-v2 as ONNX, opset 17, of standard operators; and samples of text for it.

    tools/minilm.py FOLDER OUT [--text FILE] [--samples 16] [--tokens 32]

FOLDER holds the weights as their authors publish them: config.json, model.safetensors, tokenizer.json. OUT gets
model.onnx, and of each sample (so many lines of FILE, padded to so many tokens) samples/K/INPUT.npy. Weights that
PyTorch has as Linear are MatMuls by their transposes, as exporters write them. Needs numpy, onnx and tokenizers.
"""
import argparse
import json
import pathlib
import struct

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper


def weights(file):
    """A safetensors file's float32 tensors, by name."""
    data = file.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    found = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            begin, end = (8 + length + at for at in entry["data_offsets"])
            found[name] = numpy.frombuffer(data[begin:end], numpy.float32).reshape(entry["shape"])
    return found


class Graph:
    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, name, value):
        self.constants.append(numpy_helper.from_array(numpy.ascontiguousarray(value), name))
        return name

    def node(self, op, name, *inputs, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"node_{name}", **attributes))
        return name


class Bert(Graph):
    def __init__(self, tensors, config):
        super().__init__()
        self.tensors, self.config = tensors, config

    def linear(self, x, key, name):
        w = self.constant(f"{key}.weight", self.tensors[f"{key}.weight"].T)
        product = self.node("MatMul", f"{name}_product", x, w)
        return self.node("Add", name, product, self.constant(f"{key}.bias", self.tensors[f"{key}.bias"]))

    def norm(self, x, key, name):
        own = [self.constant(f"{key}.{part}", self.tensors[f"{key}.{part}"]) for part in ["weight", "bias"]]
        return self.node("LayerNormalization", name, x, *own, axis=-1, epsilon=self.config["layer_norm_eps"])

    def table(self, indices, key, name):
        key = f"embeddings.{key}_embeddings.weight"
        return self.node("Gather", name, self.constant(key, self.tensors[key]), indices)

    def gelu(self, x, name):
        scaled = self.node("Div", f"{name}_scaled", x, "root2")
        erf = self.node("Add", f"{name}_erf1", self.node("Erf", f"{name}_erf", scaled), "one")
        return self.node("Mul", name, self.node("Mul", f"{name}_half", x, erf), "half")

    def build(self):
        heads, width = self.config["num_attention_heads"], self.config["hidden_size"]
        size = width // heads
        for name, value in [("one", 1), ("half", 0.5), ("root2", 2**0.5), ("out", -10000), ("scale", size**-0.5)]:
            self.constant(name, numpy.float32(value))
        apart = self.constant("apart", numpy.array([0, 0, heads, size], numpy.int64))
        together = self.constant("together", numpy.array([0, 0, width], numpy.int64))
        tokens = self.node("Shape", "tokens", "input_ids", start=1, end=2)
        first = self.constant("first", numpy.array([0], numpy.int64))
        key = "embeddings.position_embeddings.weight"
        positions = self.node("Slice", "positions", self.constant(key, self.tensors[key]), first, tokens, first)
        x = self.node("Add", "typed", self.table("input_ids", "word", "words"),
                      self.table("token_type_ids", "token_type", "types"))
        x = self.node("Add", "placed", x, positions)
        x = self.norm(x, "embeddings.LayerNorm", "embedded")
        axes = self.constant("axes", numpy.array([1, 2], numpy.int64))
        mask = self.node("Cast", "mask_float", "attention_mask", to=TensorProto.FLOAT)
        mask = self.node("Sub", "unread", "one", self.node("Unsqueeze", "mask_wide", mask, axes))
        mask = self.node("Mul", "mask", mask, "out")
        for layer in range(self.config["num_hidden_layers"]):
            key, at = f"encoder.layer.{layer}", f"l{layer}"
            parts = {}
            for part, order in [("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])]:
                made = self.linear(x, f"{key}.attention.self.{part}", f"{at}_{part}")
                made = self.node("Reshape", f"{at}_{part}_heads", made, apart)
                parts[part] = self.node("Transpose", f"{at}_{part}_first", made, perm=order)
            scores = self.node("MatMul", f"{at}_scores", parts["query"], parts["key"])
            scores = self.node("Mul", f"{at}_scaled", scores, "scale")
            shares = self.node("Softmax", f"{at}_shares", self.node("Add", f"{at}_masked", scores, mask), axis=-1)
            mixed = self.node("MatMul", f"{at}_mixed", shares, parts["value"])
            mixed = self.node("Transpose", f"{at}_mixed_last", mixed, perm=[0, 2, 1, 3])
            mixed = self.node("Reshape", f"{at}_context", mixed, together)
            mixed = self.linear(mixed, f"{key}.attention.output.dense", f"{at}_attended")
            x = self.norm(self.node("Add", f"{at}_sum", mixed, x), f"{key}.attention.output.LayerNorm", f"{at}_norm")
            inner = self.gelu(self.linear(x, f"{key}.intermediate.dense", f"{at}_inner"), f"{at}_gelu")
            inner = self.linear(inner, f"{key}.output.dense", f"{at}_outer")
            x = self.norm(self.node("Add", f"{at}_sum2", inner, x), f"{key}.output.LayerNorm", f"{at}_out")
        return self.node("Identity", "last_hidden_state", x)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--text", type=pathlib.Path)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=32)
    args = parser.parse_args()
    config = json.loads((args.folder / "config.json").read_text())
    bert = Bert(weights(args.folder / "model.safetensors"), config)
    result = bert.build()
    names = ["input_ids", "attention_mask", "token_type_ids"]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in names]
    shape = ["batch", "tokens", config["hidden_size"]]
    outputs = [helper.make_tensor_value_info(result, TensorProto.FLOAT, shape)]
    graph = helper.make_graph(bert.nodes, "minilm", inputs, outputs, bert.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="sardonyx")
    model.ir_version = 8
    onnx.checker.check_model(model)
    args.out.mkdir(parents=True, exist_ok=True)
    onnx.save(model, args.out / "model.onnx")
    if args.text:
        import tokenizers

        tokenizer = tokenizers.Tokenizer.from_file(str(args.folder / "tokenizer.json"))
        tokenizer.enable_padding(length=args.tokens)
        tokenizer.enable_truncation(args.tokens)
        lines = [line for line in args.text.read_text().splitlines() if len(line) > 30]
        for index, line in enumerate(lines[:: len(lines) // args.samples][: args.samples]):
            folder = args.out / "samples" / str(index)
            folder.mkdir(parents=True, exist_ok=True)
            found = tokenizer.encode(line)
            for name, list_ in zip(names, [found.ids, found.attention_mask, found.type_ids]):
                numpy.save(folder / f"{name}.npy", numpy.array([list_], numpy.int64))


if __name__ == "__main__":
    main()
