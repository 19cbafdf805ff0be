#!/usr/bin/env python3
"""Writes small models of floats, samples for them, and what onnxruntime's quantiser makes of both.

`convnet`: convolutions (one with a filter to a channel) with biases, Relu, Clip, Add, Mul by a constant, Concat,
pools, Flatten and Gemm: MobileNetV2 in little. `convnet11`: the same in opset 11, without axes of scales. `dense`:
an embedding, MatMul, Gemm of transposed weights. Of each NAME/model.onnx, NAME/samples/K/INPUT.npy and

- static.onnx: `quantize_static`, QDQ, uint8 activations, int8 weights, min-max; for each channel but in opset 11,
- dynamic.onnx: `quantize_dynamic`, uint8 weights, of products for each channel but in opset 11,
- static.npy, dynamic.npy: what onnxruntime's CPU gives of these for the first sample, its rewrites off.

    pip install numpy onnx==1.23.2 onnxruntime==1.32.0 && python generate.py
"""
import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

HERE = Path(__file__).parent


class Model:
    """A graph under construction; weights are drawn as they are asked for."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.nodes, self.constants = [], []

    def constant(self, name, array):
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def noise(self, name, *shape, scale=1.0):
        return self.constant(name, (self.random.standard_normal(shape) * scale).astype(np.float32))

    def node(self, op, name, *inputs, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [f"{name}_out"], name=name, **attributes))
        return f"{name}_out"

    def conv(self, name, x, channels, filters, kernel, group=1, **attributes):
        fan_in = channels // group * kernel * kernel
        w = self.noise(f"{name}.weight", filters, channels // group, kernel, kernel, scale=fan_in**-0.5)
        b = self.noise(f"{name}.bias", filters, scale=0.1)
        return self.node("Conv", name, x, w, b, group=group, kernel_shape=[kernel] * 2, **attributes)

    def write(self, folder, inputs, outputs, samples, opset):
        folder.mkdir(parents=True, exist_ok=True)
        graph = helper.make_graph(self.nodes, folder.name, inputs, outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="sardonyx")
        model.ir_version = 8
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, folder / "model.onnx")
        for index, sample in enumerate(samples):
            own = folder / "samples" / str(index)
            own.mkdir(parents=True, exist_ok=True)
            for name, value in sample.items():
                np.save(own / f"{name}.npy", value)


def convnet(folder, opset):
    model = Model(1)
    pads = dict(pads=[1, 1, 1, 1])
    y = model.node("Relu", "relu0", model.conv("stem", "x", 3, 8, 3, strides=[2, 2], **pads))
    y = wide = model.node("Relu", "relu1", model.conv("expand", y, 8, 24, 1))
    low, high = model.constant("low", np.float32(0)), model.constant("high", np.float32(1))
    y = model.node("Clip", "clip", model.conv("depthwise", y, 24, 24, 3, group=24, **pads), low, high)
    y = model.conv("project", y, 24, 8, 1)
    y = model.node("Add", "add", y, model.conv("beside", wide, 24, 8, 1))
    half = model.constant("half", np.full((1, 8, 1, 1), 0.5, np.float32))
    pooled = model.node("MaxPool", "pool", y, kernel_shape=[2, 2], strides=[2, 2])
    mean = model.node("AveragePool", "mean", model.node("Mul", "mul", y, half), kernel_shape=[2, 2], strides=[2, 2])
    y = model.node("Concat", "concat", pooled, mean, axis=1)
    y = model.node("Flatten", "flatten", model.node("GlobalAveragePool", "global", y), axis=1)
    y = model.node("Gemm", "classify", y, model.noise("classify.weight", 5, 16, scale=0.5),
                   model.noise("classify.bias", 5, scale=0.1), transB=1)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 10, 12])]
    outputs = [helper.make_tensor_value_info(y, TensorProto.FLOAT, [1, 5])]
    samples = [{"x": model.random.standard_normal((1, 3, 10, 12)).astype(np.float32)} for _ in range(3)]
    model.write(folder, inputs, outputs, samples, opset)


def dense(folder, opset):
    model = Model(2)
    y = model.node("Gather", "embed", model.noise("table", 40, 24), "ids")
    y = model.node("MatMul", "up", y, model.noise("up.weight", 24, 36, scale=24**-0.5))
    y = model.node("Add", "up_bias", y, model.noise("up.bias", 36, scale=0.1))
    y = model.node("Relu", "relu", y)
    shape = model.constant("shape", np.array([-1, 36], np.int64))
    y = model.node("Reshape", "flat", y, shape)
    y = model.node("Gemm", "down", y, model.noise("down.weight", 16, 36, scale=1 / 6), model.noise("down.bias", 16),
                   transB=1)
    y = model.node("Softmax", "softmax", y, axis=-1)
    inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, [2, 7])]
    outputs = [helper.make_tensor_value_info(y, TensorProto.FLOAT, [14, 16])]
    samples = [{"ids": model.random.integers(0, 40, (2, 7))} for _ in range(3)]
    model.write(folder, inputs, outputs, samples, opset)


class Samples(CalibrationDataReader):
    def __init__(self, folder):
        own = sorted((folder / "samples").iterdir())
        self.left = iter([{file.stem: np.load(file) for file in sample.glob("*.npy")} for sample in own])

    def get_next(self):
        return next(self.left, None)


def answers(model, sample):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return session.run(None, {file.stem: np.load(file) for file in sample.glob("*.npy")})[0]


def quantized(folder, per_channel):
    model = folder / "model.onnx"
    quantize_static(model, folder / "static.onnx", Samples(folder), quant_format=QuantFormat.QDQ,
                    per_channel=per_channel, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                    extra_options={"MatMulConstBOnly": True})
    with tempfile.TemporaryDirectory() as between:
        products = Path(between) / "products.onnx"
        quantize_dynamic(model, products, per_channel=per_channel, weight_type=QuantType.QUInt8,
                         op_types_to_quantize=["MatMul", "Gather"])
        depthwise = [node.name for node in onnx.load(model).graph.node if node.name == "depthwise"]
        quantize_dynamic(products, folder / "dynamic.onnx", weight_type=QuantType.QUInt8,
                         op_types_to_quantize=["Conv"], nodes_to_exclude=depthwise)
    for form in ["static", "dynamic"]:
        np.save(folder / f"{form}.npy", answers(folder / f"{form}.onnx", folder / "samples" / "0"))


def main():
    logging.disable(logging.WARNING)
    convnet(HERE / "convnet", 13)
    convnet(HERE / "convnet11", 11)
    dense(HERE / "dense", 13)
    for folder, per_channel in [("convnet", True), ("convnet11", False), ("dense", True)]:
        quantized(HERE / folder, per_channel)


if __name__ == "__main__":
    main()
