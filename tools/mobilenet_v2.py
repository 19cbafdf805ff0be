#!/usr/bin/env python3
"""Writes a model of MobileNetV2's shape with seeded weights, as exporters write it (opset 13, BatchNormalization
folded into the convolutions); and samples for it, or for another model that takes pictures.

    tools/mobilenet_v2.py OUT [--pictures FILE…] [--noise N] [--input NAME] [--bgr]

OUT gets model.onnx unless it is there, and of each picture and of each of N samples of noise
OUT/pictures/K/NAME.npy and OUT/noise/K/NAME.npy, `[1, 3, 224, 224]`. A picture is four samples: mirrored or not, its
middle or all of it. `--bgr`: blue first, from 0 to 255 less the means, as networks of Caffe's time take them.
Weights are noise, so that answers mean nothing; how far quantised ones lie from them does. Needs numpy, onnx and
pillow.
"""
import argparse
import pathlib

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

# Expansion, channels, repeats and first stride of each stage.
STAGES = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


class Net:
    def __init__(self, seed):
        self.random = numpy.random.default_rng(seed)
        self.nodes, self.constants = [], []
        self.low, self.high = self.constant("zero", numpy.float32(0)), self.constant("six", numpy.float32(6))

    def constant(self, name, value):
        self.constants.append(numpy_helper.from_array(numpy.asarray(value), name))
        return name

    def noise(self, name, shape, scale):
        # Filters of one layer differ in size, as those of trained networks do once their norms are folded in.
        each = self.random.lognormal(0, 0.5, (shape[0],) + (1,) * (len(shape) - 1))
        return self.constant(name, (self.random.standard_normal(shape) * scale * each).astype(numpy.float32))

    def node(self, op, name, *inputs, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [f"{name}_out"], name=name, **attributes))
        return f"{name}_out"

    def conv(self, name, x, channels, filters, kernel=1, stride=1, group=1, clip=True):
        fan_in = channels // group * kernel * kernel
        w = self.noise(f"{name}.weight", (filters, channels // group, kernel, kernel), (2 / fan_in) ** 0.5)
        b = self.noise(f"{name}.bias", (filters,), 0.2)
        x = self.node("Conv", name, x, w, b, group=group, kernel_shape=[kernel] * 2, strides=[stride] * 2,
                      pads=[kernel // 2] * 4)
        return self.node("Clip", f"{name}.clip", x, self.low, self.high) if clip else x

    def build(self):
        x, channels = self.conv("stem", "input", 3, 32, 3, 2), 32
        for stage, (expansion, filters, repeats, first) in enumerate(STAGES):
            for block in range(repeats):
                name, stride, before = f"stage{stage}.{block}", first if block == 0 else 1, x
                inner = channels * expansion
                if expansion > 1:
                    x = self.conv(f"{name}.expand", x, channels, inner)
                x = self.conv(f"{name}.depthwise", x, inner, inner, 3, stride, inner)
                x = self.conv(f"{name}.project", x, inner, filters, clip=False)
                if stride == 1 and channels == filters:
                    x = self.node("Add", f"{name}.add", before, x)
                channels = filters
        x = self.conv("last", x, channels, 1280)
        x = self.node("Flatten", "flatten", self.node("GlobalAveragePool", "pool", x), axis=1)
        w, b = self.noise("classify.weight", (1000, 1280), 0.03), self.noise("classify.bias", (1000,), 0.1)
        return self.node("Gemm", "classify", x, w, b, transB=1)


def write(file):
    net = Net(0)
    result = net.build()
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 224, 224])]
    outputs = [helper.make_tensor_value_info(result, TensorProto.FLOAT, [1, 1000])]
    graph = helper.make_graph(net.nodes, "mobilenet_v2", inputs, outputs, net.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="sardonyx")
    model.ir_version = 8
    onnx.checker.check_model(model)
    onnx.save(model, file)


def pictures(files, bgr):
    from PIL import Image, ImageOps

    for file in files:
        whole = Image.open(file).convert("RGB")
        for picture in [ImageOps.fit(whole, (224, 224)), ImageOps.fit(whole, (224, 224), bleed=0.2)]:
            for one in [picture, ImageOps.mirror(picture)]:
                pixels = numpy.asarray(one, numpy.float32) / 255 - MEAN
                pixels = pixels[:, :, ::-1] * 255 if bgr else pixels / DEVIATION
                yield numpy.ascontiguousarray(pixels.transpose(2, 0, 1)[None], numpy.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--pictures", nargs="*", default=[], type=pathlib.Path)
    parser.add_argument("--noise", type=int, default=0)
    parser.add_argument("--input", default="input")
    parser.add_argument("--bgr", action="store_true")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if not (args.out / "model.onnx").exists():
        write(args.out / "model.onnx")
    random = numpy.random.default_rng(1)
    noise = (random.standard_normal((1, 3, 224, 224)).astype(numpy.float32) for _ in range(args.noise))
    for kind, samples in [("pictures", pictures(args.pictures, args.bgr)), ("noise", noise)]:
        for index, sample in enumerate(samples):
            folder = args.out / kind / str(index)
            folder.mkdir(parents=True, exist_ok=True)
            numpy.save(folder / f"{args.input}.npy", sample)


if __name__ == "__main__":
    main()
