#!/usr/bin/env python3
"""Writes versions.jsonl: for each operator whose meaning or form changed since opset 7, a small model of each version.

A line is a case: operator, versions, what it shows, the model (its bytes in hex, but for the version, and its node's
text for readers), what a run gives it, and what is expected: by onnxruntime's CPU with its rewrites off or, where
onnxruntime lacks the operator, the type or the version, by the reference evaluator of ONNX's own package; `by` says
which. The script fails where a version whose form differs from the one before has no case: it asks the schemas of the
package onnx for them. tests/versions.rs runs all of them.

    pip install numpy onnx==1.23.2 onnxruntime==1.32.0 && python generate.py
"""
import json
import pathlib
import warnings

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, defs, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

HERE = pathlib.Path(__file__).parent
FIRST = 7
CASES = []
# The mask of Dropout 10 in inference is left out: its text doesn't say what it is, and onnxruntime's is all false,
# where that of version 12, which does say, is all true.
# Not held to values: random ones, and values that are no tensors (ONNX's suite has those).
LEFT_OUT = {"Bernoulli", "Multinomial", "Optional", "OptionalGetElement", "OptionalHasElement", "SplitToSequence"}


def noise(*shape, low=-2.0, high=2.0, seed=None, dtype=np.float32):
    """Seeded by the shape, unless a seed is given."""
    seed = sum((k + 1) * size for k, size in enumerate(shape)) + len(shape) * 100 if seed is None else seed
    return np.random.default_rng(seed).uniform(low, high, shape).astype(dtype)


class Held:
    """An input that the model holds."""

    def __init__(self, value, dtype=np.int64):
        self.value = np.asarray(value, dtype)


def case(operator, versions, shows, inputs, outputs=1, **attributes):
    """A case for each of the versions (one or a list)."""
    for version in versions if isinstance(versions, (list, range)) else [versions]:
        CASES.append((operator, version, shows, inputs, outputs, attributes))


def since(operator, *wanted):
    """The versions of an operator, from that of opset 7 on, or those of them that are wanted."""
    known = sorted(s.since_version for s in defs.get_all_schemas_with_history() if (s.domain, s.name) == ("", operator))
    first = max([version for version in known if version <= FIRST], default=known[0])
    known = [max(version, FIRST) for version in known if version >= first]
    low, high = wanted if wanted else (0, 99)
    return [version for version in known if low <= version <= high]


def forms():
    """(operator, version) of each form that differs from the one before."""
    history = {}
    for schema in defs.get_all_schemas_with_history():
        if schema.domain == "":
            history.setdefault(schema.name, {})[schema.since_version] = schema

    def form(schema):
        default = lambda one: one.default_value.SerializeToString() if one.default_value.type else None
        attributes = {name: (one.required, str(one.type), default(one)) for name, one in schema.attributes.items()}
        counts = (schema.min_input, schema.max_input, schema.min_output, schema.max_output)
        return attributes, [str(x.option) for x in schema.inputs], [str(x.option) for x in schema.outputs], counts

    for name, schemas in history.items():
        known = sorted(schemas)
        first = max([version for version in known if version <= FIRST], default=known[0])
        known = [version for version in known if version >= first]
        for before, after in zip(known, known[1:]):
            if form(schemas[before]) != form(schemas[after]):
                yield name, max(before, FIRST)
                yield name, after


# --- The table --------------------------------------------------------------------------------------------------------

X = noise(2, 3, 4)
IMAGE = noise(1, 2, 5, 6)
BYTES = np.random.default_rng(5).integers(0, 255, (1, 2, 5, 6)).astype(np.uint8)

for op in ["ArgMax", "ArgMin"]:
    equal = np.array([[2, 1, 2], [0, 0, 5]], np.float32)
    case(op, since(op), "the first of equal ones", [equal], axis=1, keepdims=0)
    case(op, since(op, 11, 99), "an axis from the end", [X], axis=-2)
    case(op, since(op, 12, 99), "the last of equal ones", [equal], axis=1, select_last_index=1)
for op in ["Softmax", "LogSoftmax", "Hardmax"]:
    case(op, since(op), "the default axis, 1 and flattened before opset 13, the last from then on", [X])
    case(op, since(op), "axis 1", [X], axis=1)
    case(op, since(op, 11, 99), "an axis from the end", [X], axis=-1)
case("Clip", since("Clip", 7, 10), "ends as attributes", [X], min=-0.5, max=1.0)
case("Clip", since("Clip", 7, 10), "defaults", [X * 1e30])
case("Clip", since("Clip", 11, 99), "ends as inputs", [X, Held(-0.5, np.float32), np.float32(1)])
case("Clip", since("Clip", 11, 99), "one end", [X, "", Held(0.25, np.float32)])
case("Clip", since("Clip", 12, 99), "integers", [np.arange(-4, 5, dtype=np.int32), Held(-2, np.int32), Held(3, np.int32)])
case("Clip", 13, "ends that are crossed", [X, Held(1, np.float32), Held(-1, np.float32)])
for op in ["Squeeze"]:
    shape = noise(1, 3, 1, 2)
    case(op, since(op), "every axis of size 1", [shape])
    case(op, since(op, 7, 12), "axes as an attribute", [shape], axes=[2])
    case(op, since(op, 11, 12), "axes from the end", [shape], axes=[-2])
    case(op, since(op, 13, 99), "axes as an input", [shape, Held([-2])])
case("Unsqueeze", since("Unsqueeze", 7, 12), "axes as an attribute", [X], axes=[0, 4])
case("Unsqueeze", since("Unsqueeze", 11, 12), "axes from the end", [X], axes=[-1])
case("Unsqueeze", since("Unsqueeze", 13, 99), "axes as an input", [X, Held([-1, 0])])
REDUCE = ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"]
for op in [f"Reduce{name}" for name in REDUCE]:
    turn, x = 13 if op == "ReduceSum" else 18, np.abs(X) + 0.1
    case(op, since(op), "all axes", [x])
    case(op, since(op, 7, turn - 1), "axes as an attribute", [x], axes=[0, 2], keepdims=0)
    case(op, since(op, 11, turn - 1), "axes from the end", [x], axes=[-1])
    case(op, since(op, turn, 99), "axes as an input", [x, Held([-1, 0])], keepdims=0)
    case(op, since(op, turn, 99), "no axes and no reduction", [x], noop_with_empty_axes=1)
    case(op, since(op, turn, 99), "an empty list of axes", [x, Held([])])
for op in ["ReduceMax", "ReduceMin"]:
    case(op, since(op, 12, 99), "integers of 8 bits", [np.array([[3, -4], [7, 2]], np.int8)])
    case(op, since(op, 20, 99), "truth", [np.array([[True, False], [True, True]]), Held([1])])
case("Dropout", since("Dropout", 7, 11), "the ratio as an attribute: nothing is dropped", [X], ratio=0.9)
case("Dropout", since("Dropout", 12, 99), "the ratio as an input", [X, Held(0.9, np.float32)], 2)
parts = [noise(2, seed=1), noise(2, seed=2), noise(2, seed=3), noise(2, low=0.2, seed=4)]
case("BatchNormalization", since("BatchNormalization"), "inference", [IMAGE, *parts], epsilon=1e-3)
case("BatchNormalization", 7, "by channel: spatial 1, the default", [IMAGE, *parts], spatial=1)
case("BatchNormalization", since("BatchNormalization", 14, 99), "training gives the moments too", [IMAGE, *parts], 3,
     training_mode=1, momentum=0.7)
case("Upsample", 7, "scales as an attribute", [IMAGE], scales=[1.0, 1.0, 2.0, 1.5], mode="nearest")
case("Upsample", 9, "scales as an input", [IMAGE, Held([1, 1, 2, 2], np.float32)], mode="nearest")
case("Upsample", [7], "linear", [IMAGE], scales=[1.0, 1.0, 2.0, 2.0], mode="linear")
case("Upsample", 9, "linear", [IMAGE, Held([1, 1, 2, 2], np.float32)], mode="linear")
SCALES = Held([1, 1, 1.5, 0.6], np.float32)
case("Resize", 10, "scales, nearest: asymmetric and floored", [IMAGE, SCALES], mode="nearest")
case("Resize", 10, "linear: asymmetric", [IMAGE, Held([1, 1, 2, 1.5], np.float32)], mode="linear")
case("Resize", since("Resize", 11, 99), "scales, half pixels", [IMAGE, Held([], np.float32), SCALES], mode="linear")
case("Resize", since("Resize", 11, 99), "nearest", [IMAGE, Held([], np.float32), SCALES], mode="nearest")
case("Resize", since("Resize", 11, 99), "sizes", [IMAGE, Held([], np.float32), Held([], np.float32), Held([1, 2, 3, 9])],
     mode="cubic")
case("Resize", since("Resize", 13, 99), "sizes, others left out", [IMAGE, "", "", Held([1, 2, 8, 3])], mode="nearest",
     nearest_mode="ceil", coordinate_transformation_mode="asymmetric")
case("Resize", since("Resize", 11, 99), "a region",
     [IMAGE, Held([0, 0, 0.1, 0.2, 1, 1, 0.9, 1.1], np.float32), Held([], np.float32), Held([1, 2, 4, 4])], mode="linear",
     coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=7.0)
case("Resize", since("Resize", 18, 99), "two axes alone", [IMAGE, "", "", Held([4, 9])], axes=[2, 3], mode="linear")
case("Resize", since("Resize", 18, 99), "antialiased", [IMAGE, "", "", Held([3, 3])], axes=[2, 3], mode="linear",
     antialias=1)
case("Resize", since("Resize", 18, 99), "not larger than, of the same form", [IMAGE, "", "", Held([4, 4])], axes=[2, 3],
     mode="linear", keep_aspect_ratio_policy="not_larger")
case("Resize", 19, "half pixels, symmetric", [IMAGE, "", SCALES], mode="linear",
     coordinate_transformation_mode="half_pixel_symmetric")
case("Pad", since("Pad", 7, 10), "pads and value as attributes", [X], pads=[0, 1, 2, 1, 0, 0], value=1.5)
case("Pad", since("Pad", 7, 10), "reflected", [X], pads=[0, 1, 2, 0, 1, 1], mode="reflect")
case("Pad", since("Pad", 11, 99), "pads and value as inputs", [X, Held([0, 1, 2, 1, 0, 0]), Held(1.5, np.float32)])
case("Pad", since("Pad", 11, 99), "the edge", [X, Held([0, 1, 2, 0, 1, 1])], mode="edge")
case("Pad", since("Pad", 18, 99), "axes", [X, Held([1, 2]), "", Held([-1])])
case("Pad", since("Pad", 19, 99), "wrapped", [X, Held([0, 1, 2, 0, 1, 1])], mode="wrap")
case("Slice", since("Slice", 7, 9), "attributes", [X], starts=[0, -3], ends=[1, 10000], axes=[0, 2])
case("Slice", since("Slice", 7, 9), "no axes", [X], starts=[1, 0], ends=[2, 2])
case("Slice", since("Slice", 10, 99), "inputs", [X, Held([0, -3]), Held([1, 10000]), Held([0, 2])])
case("Slice", since("Slice", 10, 99), "steps, backwards", [X, Held([3]), Held([-99]), Held([2]), Held([-2])])
case("Slice", since("Slice", 11, 99), "an axis from the end", [X, Held([1]), Held([3]), Held([-1])])
case("Split", since("Split", 7, 12), "sizes as an attribute", [X], 2, axis=2, split=[1, 3])
case("Split", since("Split", 7, 17), "equal parts", [X], 2, axis=2)
case("Split", since("Split", 11, 12), "an axis from the end", [X], 2, axis=-1)
case("Split", since("Split", 13, 99), "sizes as an input", [X, Held([1, 3])], 2, axis=-1)
case("Split", since("Split", 18, 99), "parts that aren't equal", [X], 2, axis=1, num_outputs=2)
case("TopK", since("TopK", 7, 9), "k as an attribute", [X], 2, k=2, axis=2)
case("TopK", since("TopK", 10, 99), "k as an input", [X, Held([2])], 2, axis=2)
case("TopK", since("TopK", 11, 99), "the smallest, an axis from the end", [X, Held([2])], 2, axis=-2, largest=0)
case("TopK", since("TopK", 11, 99), "integers", [np.array([3, 9, 9, 1], np.int64), Held([3])], 2)
case("Cast", since("Cast"), "float to integer", [np.array([-1.9, 0.5, 2.7], np.float32)], to=TensorProto.INT32)
case("Cast", since("Cast"), "integer to truth", [np.array([-1, 0, 2])], to=TensorProto.BOOL)
case("Cast", since("Cast", 13, 99), "float to bfloat16 and back is elsewhere; to float16", [X], to=TensorProto.FLOAT16)
case("CastLike", since("CastLike"), "float to integer", [np.array([-1.9, 0.5, 2.7], np.float32), np.zeros(1, np.int64)])
case("Pow", since("Pow"), "floats", [np.abs(X), np.array([0.5, 1, 2, 3], np.float32)])
case("Pow", since("Pow", 12, 99), "an exponent of another type", [np.abs(X), np.array([0, 1, 2, 3])])
case("Pow", since("Pow", 12, 99), "integers", [np.array([-2, 3, 5], np.int32), np.array([3, 2, 0], np.int32)])
case("Mod", since("Mod"), "integers: the sign of the divisor", [np.array([-7, 7, -7, 7]), np.array([3, -3, -3, 3])])
case("Mod", since("Mod"), "floats: the sign of the dividend", [np.array([-7.5, 7.5], np.float32),
     np.array([2, -2], np.float32)], fmod=1)
A, B, C = noise(3, 4), noise(4, 2), noise(2)
case("Gemm", since("Gemm"), "C broadcast", [A, B, C], alpha=0.5, beta=2.0)
case("Gemm", since("Gemm"), "turned", [A.T.copy(), B.T.copy(), noise(3, 2)], transA=1, transB=1)
case("Gemm", since("Gemm", 9, 99), "integers", [np.arange(6, dtype=np.int32).reshape(2, 3),
     np.arange(6, dtype=np.int32).reshape(3, 2), np.array([1, -1], np.int32)])
case("Gemm", since("Gemm", 11, 99), "without C", [A, B])
case("MatMul", since("MatMul"), "batches", [noise(2, 1, 3, 4), noise(3, 4, 2)])
case("MatMul", since("MatMul", 9, 99), "integers", [np.arange(6, dtype=np.int32), np.arange(6, dtype=np.int32)])
for op in ["Max", "Min", "Mean", "Sum"]:
    case(op, since(op, 7, 7), "inputs of one shape", [X, X[::-1].copy(), X * 0.5])
    case(op, since(op, 8, 99), "inputs that broadcast", [X, noise(3, 1), noise(4)])
for op in ["Max", "Min"]:
    case(op, since(op, 12, 99), "integers", [np.array([1, -5, 3]), np.array([2])])
for op in ["Add", "Sub", "Mul", "Div"]:
    case(op, since(op), "integers that broadcast", [np.array([[7], [-9]], np.int32), np.array([2, -3, 4], np.int32)])
    case(op, since(op, 14, 99), "integers of 16 bits", [np.array([7, 9], np.int16), np.array([2, 4], np.int16)])
for op in ["Greater", "Less"]:
    case(op, since(op), "floats", [X, noise(4)])
    case(op, since(op, 9, 99), "integers", [np.array([1, 2, 3]), np.array([2])])
for op in ["GreaterOrEqual", "LessOrEqual"]:
    case(op, since(op), "floats", [np.array([1, 2, 3], np.float32), np.array([2], np.float32)])
case("Equal", since("Equal"), "integers", [np.array([1, 2, 3], np.int32), np.array([2], np.int32)])
case("Equal", since("Equal", 11, 99), "floats", [np.array([1, np.nan, -0.0], np.float32), np.array([1, np.nan, 0], np.float32)])
case("Where", since("Where"), "three that broadcast", [np.array([[True], [False]]), noise(3), noise(2, 1)])
case("PRelu", since("PRelu"), "slopes that broadcast", [X, noise(3, 1)])
case("PRelu", since("PRelu", 9, 99), "integers", [np.array([-3, 4], np.int32), np.array([2], np.int32)])
case("Relu", since("Relu", 14, 99), "integers", [np.array([-3, 4], np.int32)])
case("Concat", since("Concat"), "axis 1", [X, noise(2, 1, 4)], axis=1)
case("Concat", since("Concat", 11, 99), "an axis from the end", [X, noise(2, 3, 2)], axis=-1)
case("Flatten", since("Flatten"), "axis 2", [X], axis=2)
case("Flatten", since("Flatten", 11, 99), "an axis from the end", [X], axis=-1)
case("Gather", since("Gather"), "axis 1", [X, np.array([[2, 0]])], axis=1)
case("Gather", since("Gather", 11, 99), "indices from the end", [X, np.array([-1, 0])], axis=-1)
case("GatherElements", since("GatherElements"), "axis 1", [X, np.array([[[0, -1, 2, 1]], [[1, 1, 0, -3]]])], axis=1)
case("GatherND", since("GatherND"), "tuples", [X, np.array([[0, 1], [1, -1]])])
case("GatherND", since("GatherND", 12, 99), "batches", [X, np.array([[1], [0]])], batch_dims=1)
case("Compress", since("Compress"), "an axis", [X, np.array([True, False, True])], axis=1)
case("Compress", since("Compress", 11, 99), "an axis from the end", [X, np.array([True, False, True])], axis=-2)
case("Compress", since("Compress"), "flattened", [X, np.array([False, True, True])])
case("Constant", since("Constant"), "a tensor", [], value=numpy_helper.from_array(np.array([1, 2], np.float32)))
case("Constant", since("Constant", 12, 99), "a number", [], value_float=1.5)
case("Constant", since("Constant", 12, 99), "integers", [], value_ints=[3, -4])
case("ConstantOfShape", since("ConstantOfShape"), "sevens", [Held([2, 3])],
     value=numpy_helper.from_array(np.array([7], np.int32)))
case("CumSum", since("CumSum"), "backwards, without the own", [X, Held(1)], exclusive=1, reverse=1)
case("DepthToSpace", since("DepthToSpace"), "the default order", [noise(1, 8, 2, 3)], blocksize=2)
case("DepthToSpace", since("DepthToSpace", 11, 99), "columns first", [noise(1, 8, 2, 3)], blocksize=2, mode="CRD")
case("SpaceToDepth", since("SpaceToDepth"), "blocks of 2", [noise(1, 2, 4, 6)], blocksize=2)
case("Expand", since("Expand"), "both ways", [noise(3, 1), Held([2, 1, 4])])
case("Tile", since("Tile"), "repeats", [noise(2, 3), Held([2, 1])])
case("Reshape", since("Reshape"), "0 and -1", [X, Held([0, -1])])
case("Reshape", since("Reshape", 14, 99), "0 is a size", [np.zeros((0, 3), np.float32), Held([3, 0])], allowzero=1)
case("Shape", since("Shape"), "all sizes", [X])
case("Shape", since("Shape", 15, 99), "from the end", [X], start=-2, end=-1)
case("Size", since("Size"), "elements", [X])
case("Transpose", since("Transpose"), "an order", [X], perm=[1, 2, 0])
case("Identity", since("Identity"), "floats", [X])
case("OneHot", since("OneHot"), "an axis", [np.array([1, 0, 2]), Held([3]), np.array([0, 5], np.float32)], axis=0)
case("OneHot", since("OneHot", 11, 99), "indices from the end and beyond", [np.array([-1, 0, 7]), Held([3]),
     np.array([0, 5], np.float32)])
case("NonZero", since("NonZero"), "places", [np.array([[1, 0], [0, 2]], np.float32)])
case("EyeLike", since("EyeLike"), "a diagonal above", [noise(3, 4)], k=1)
case("Unique", since("Unique"), "sorted", [np.array([2, 1, 1, 3], np.float32)], 4)
case("Range", since("Range"), "floats", [Held(1, np.float32), Held(2.5, np.float32), Held(0.5, np.float32)])
case("Range", since("Range"), "backwards", [Held(5), Held(-4), Held(-3)])
case("ReverseSequence", since("ReverseSequence"), "lengths", [noise(4, 2), np.array([3, 1])], time_axis=0, batch_axis=1)
case("IsInf", since("IsInf"), "one side", [np.array([np.inf, -np.inf, 1], np.float32)], detect_negative=0)
case("IsNaN", since("IsNaN"), "one", [np.array([np.nan, 1], np.float32)])
INDICES, UPDATES = np.array([[1, 0, 2, 1]]), noise(1, 4)
case("Scatter", 9, "before it was ScatterElements", [noise(3, 4), INDICES, UPDATES], axis=0)
case("ScatterElements", since("ScatterElements"), "axis 0", [noise(3, 4), INDICES, UPDATES], axis=0)
case("ScatterElements", since("ScatterElements", 16, 99), "added", [noise(3, 4), INDICES, UPDATES], reduction="add")
case("ScatterElements", since("ScatterElements", 18, 99), "the larger", [noise(3, 4), INDICES, UPDATES], reduction="max")
case("ScatterND", since("ScatterND"), "rows", [noise(3, 4), np.array([[2], [0]]), noise(2, 4)])
case("ScatterND", since("ScatterND", 16, 99), "added", [noise(3, 4), np.array([[2], [2]]), noise(2, 4)], reduction="add")
case("ScatterND", since("ScatterND", 18, 99), "the smaller", [noise(3, 4), np.array([[2], [2]]), noise(2, 4)], reduction="min")
W = noise(4, 2, 3, 3)
case("Conv", since("Conv"), "pads and strides", [IMAGE, W, noise(4)], pads=[1, 0, 2, 1], strides=[2, 1])
case("ConvTranspose", since("ConvTranspose"), "strides", [IMAGE, noise(2, 3, 2, 2)], strides=[2, 2])
case("ConvTranspose", since("ConvTranspose"), "a shape that is asked for", [IMAGE, noise(2, 3, 3, 3)], strides=[2, 2],
     output_shape=[11, 12])
case("AveragePool", since("AveragePool"), "pads that count", [IMAGE], kernel_shape=[3, 2], pads=[1, 1, 1, 0],
     count_include_pad=1)
case("AveragePool", since("AveragePool", 10, 99), "ceil_mode", [IMAGE], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
case("AveragePool", since("AveragePool", 19, 99), "dilations", [IMAGE], kernel_shape=[2, 2], dilations=[2, 3])
case("MaxPool", since("MaxPool"), "pads", [IMAGE], kernel_shape=[3, 2], pads=[1, 1, 1, 0], strides=[2, 2])
case("MaxPool", since("MaxPool", 8, 99), "places, columns first", [IMAGE], 2, kernel_shape=[2, 2], storage_order=1)
case("MaxPool", since("MaxPool", 10, 99), "ceil_mode and dilations", [IMAGE], kernel_shape=[2, 2], strides=[2, 2],
     ceil_mode=1, dilations=[2, 2])
case("MaxPool", since("MaxPool", 12, 99), "integers of 8 bits", [BYTES], kernel_shape=[2, 2])
case("MaxUnpool", since("MaxUnpool"), "places", [np.array([[[[5, 6], [7, 8]]]], np.float32),
     np.array([[[[0, 3], [9, 14]]]])], kernel_shape=[2, 2], strides=[2, 2])
case("LpPool", since("LpPool"), "p 2", [IMAGE], kernel_shape=[3, 2], strides=[1, 2])
case("LpPool", since("LpPool", 18, 99), "dilations and ceil_mode", [IMAGE], kernel_shape=[2, 2], dilations=[2, 1],
     strides=[2, 2], ceil_mode=1)
case("GroupNormalization", 18, "a scale for each group", [noise(1, 4, 3), noise(2, seed=1), noise(2, seed=2)], num_groups=2)
case("GroupNormalization", 21, "a scale for each channel", [noise(1, 4, 3), noise(4, seed=1), noise(4, seed=2)],
     num_groups=2)
for op in ["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"]:
    case(op, since(op), "an image", [IMAGE])
case("InstanceNormalization", since("InstanceNormalization"), "an image", [IMAGE, noise(2, seed=1), noise(2, seed=2)])
case("LRN", since("LRN"), "channels", [noise(1, 5, 2, 2)], size=3)
case("LpNormalization", since("LpNormalization"), "p 1", [X], p=1, axis=1)
case("MeanVarianceNormalization", since("MeanVarianceNormalization"), "axes", [IMAGE])
case("QuantizeLinear", 10, "a tensor", [X, Held(0.02, np.float32), Held(128, np.uint8)])
case("QuantizeLinear", since("QuantizeLinear", 13, 99), "an axis",
     [X, Held([0.02, 0.03, 0.1], np.float32), Held([0, 3, -4], np.int8)], axis=1)
case("QuantizeLinear", since("QuantizeLinear", 21, 99), "blocks", [X, Held(np.abs(noise(2, 3, 2)) + 0.02, np.float32)],
     axis=2, block_size=2, output_dtype=TensorProto.INT8)
case("QuantizeLinear", since("QuantizeLinear", 21, 99), "16 bits", [X, Held(0.001, np.float32), Held(100, np.uint16)])
case("DequantizeLinear", 10, "a tensor", [BYTES, Held(0.02, np.float32), Held(128, np.uint8)])
case("DequantizeLinear", since("DequantizeLinear", 13, 99), "an axis",
     [BYTES, Held([0.02, 0.03], np.float32), Held([3, 4], np.uint8)], axis=1)
case("DequantizeLinear", since("DequantizeLinear", 13, 99), "int32, without zero points",
     [np.array([-300, 5], np.int32), Held(0.5, np.float32)])
case("DequantizeLinear", since("DequantizeLinear", 21, 99), "blocks",
     [BYTES[0, 0], Held(np.abs(noise(5, 3)) + 0.02, np.float32)], axis=1, block_size=2)
case("DequantizeLinear", since("DequantizeLinear", 23, 99), "to float16", [BYTES, Held(0.02, np.float32)],
     output_dtype=TensorProto.FLOAT16)
case("QLinearMatMul", since("QLinearMatMul"), "two tensors",
     [BYTES[0, 0], Held(0.02, np.float32), Held(128, np.uint8), BYTES[0, 0].T.copy(), Held(0.01, np.float32),
      Held(100, np.uint8), Held(0.5, np.float32), Held(90, np.uint8)])
GRID = noise(1, 2, 3, 2, low=-1.2, high=1.2)
case("GridSample", 16, "bilinear", [IMAGE, GRID], mode="bilinear", padding_mode="border")
case("GridSample", since("GridSample", 20, 99), "linear", [IMAGE, GRID], mode="linear", padding_mode="border")
case("GridSample", 16, "bicubic", [IMAGE, GRID], mode="bicubic", align_corners=1)
case("GridSample", since("GridSample", 20, 99), "cubic", [IMAGE, GRID], mode="cubic", align_corners=1)
ROIS = [np.array([[0, 0, 4, 3]], np.float32), np.array([0])]
case("RoiAlign", 10, "no half pixels", [IMAGE, *ROIS], output_height=2, output_width=2, sampling_ratio=2)
case("RoiAlign", since("RoiAlign", 16, 99), "half pixels", [IMAGE, *ROIS], output_height=2, output_width=2, sampling_ratio=2)
case("RoiAlign", since("RoiAlign", 16, 99), "no half pixels", [IMAGE, *ROIS], output_height=2, output_width=2,
     sampling_ratio=2, coordinate_transformation_mode="output_half_pixel")
BOXES = np.array([[[0, 0, 1, 1], [0, 0.1, 1, 1.1], [0, 2, 1, 3]]], np.float32)
case("NonMaxSuppression", since("NonMaxSuppression"), "boxes", [BOXES, np.array([[[0.9, 0.8, 0.7]]], np.float32), Held([3]),
     Held([0.5], np.float32), Held([0.1], np.float32)])
SIGNAL = noise(1, 6, 1)
case("DFT", 17, "the axis as an attribute", [SIGNAL], axis=1, onesided=1)
case("DFT", 20, "the axis as an input", [SIGNAL, "", Held(1)], onesided=1)
case("DFT", 20, "the default axis", [noise(1, 4, 3, 2)])
case("DFT", 17, "the default axis", [noise(1, 4, 3, 2)])
STEPS = noise(3, 2, 4)
for op, gates in [("RNN", 1), ("GRU", 3), ("LSTM", 4)]:
    weights = [noise(1, gates * 3, 4), noise(1, gates * 3, 3), noise(1, gates * 6)]
    case(op, since(op), "forward", [STEPS, *weights], 2, hidden_size=3)
    case(op, since(op, 14, 99), "batches first", [np.swapaxes(STEPS, 0, 1).copy(), *weights], 2, hidden_size=3, layout=1)
QKV = [noise(1, 2, 3, 4, seed=k) for k in range(3)]
case("Attention", since("Attention"), "heads", QKV)
case("Attention", since("Attention"), "causal, with a mask", [*QKV, noise(3, 3)], is_causal=1)
case("Attention", since("Attention", 24, 99), "keys that aren't padding", [*QKV, "", "", "", np.array([2])])
case("NegativeLogLikelihoodLoss", since("NegativeLogLikelihoodLoss"), "mean", [-np.abs(noise(3, 5)), np.array([1, 0, 4])])
case("SoftmaxCrossEntropyLoss", since("SoftmaxCrossEntropyLoss"), "mean", [noise(3, 5), np.array([1, 0, 4])])
case("BitShift", since("BitShift"), "left", [np.array([1, 200], np.uint8), np.array([3, 1], np.uint8)], direction="LEFT")
case("Einsum", since("Einsum"), "a product", [noise(2, 3), noise(3, 4)], equation="ij,jk->ki")
case("Celu", since("Celu"), "alpha", [X], alpha=0.7)
case("Det", since("Det"), "matrices", [noise(2, 3, 3)])
case("ThresholdedRelu", since("ThresholdedRelu"), "alpha", [X], alpha=0.7)
for op in ["Abs", "Neg", "Sign"]:
    case(op, since(op), "integers", [np.array([-3, 0, 5], np.int32)])
UNARY = ["Ceil", "Floor", "Round", "Exp", "Erf", "Sigmoid", "Tanh", "Softplus", "Softsign", "Elu", "Selu", "LeakyRelu",
         "HardSigmoid", "HardSwish", "Mish", "Sin", "Cos", "Tan", "Sinh", "Cosh", "Asinh", "Atan", "Relu"]
for op in UNARY:
    case(op, since(op), "floats", [X])
for op in ["Log", "Sqrt", "Reciprocal"]:
    case(op, since(op), "floats", [np.abs(X) + 0.1])
for op in ["Asin", "Acos", "Atanh"]:
    case(op, since(op), "floats", [X / 2.1])
case("Acosh", since("Acosh"), "floats", [np.abs(X) + 1.1])


def value(name, dtype, shape):
    return helper.make_tensor_value_info(name, dtype, shape)


def branches():
    """If: one branch adds what is around it, the other negates."""
    y = value("y", TensorProto.FLOAT, [2])
    add = helper.make_graph([helper.make_node("Add", ["x1", "x1"], ["y"])], "add", [], [y])
    negate = helper.make_graph([helper.make_node("Neg", ["x1"], ["y"])], "negate", [], [y])
    return {"then_branch": add, "else_branch": negate}


def loop_body():
    """A state that doubles, and what it was in each turn."""
    inputs = [value("turn", TensorProto.INT64, []), value("on", TensorProto.BOOL, []), value("s", TensorProto.FLOAT, [2])]
    outputs = [value("more", TensorProto.BOOL, []), value("t", TensorProto.FLOAT, [2]), value("u", TensorProto.FLOAT, [2])]
    nodes = [helper.make_node("Identity", ["on"], ["more"]), helper.make_node("Add", ["s", "s"], ["t"]),
             helper.make_node("Identity", ["s"], ["u"])]
    return helper.make_graph(nodes, "body", inputs, outputs)


def scan_body():
    """A running sum."""
    inputs = [value("s", TensorProto.FLOAT, [2]), value("e", TensorProto.FLOAT, [2])]
    outputs = [value("t", TensorProto.FLOAT, [2]), value("u", TensorProto.FLOAT, [2])]
    nodes = [helper.make_node("Add", ["s", "e"], ["t"]), helper.make_node("Identity", ["t"], ["u"])]
    return helper.make_graph(nodes, "body", inputs, outputs)


PAIR = np.array([1.5, -2], np.float32)
for version in since("If"):
    for truth in [True, False]:
        CASES.append(("If", version, f"{truth}", [np.array(truth), PAIR], 1, {"captured": 1, **branches()}))
case("Loop", since("Loop"), "three turns", [Held(3), Held(True, bool), PAIR], 2, body=loop_body())
case("Loop", since("Loop", 11, 99), "no condition", [Held(2), "", PAIR], 2, body=loop_body())
case("Scan", 8, "batches", ["", noise(1, 2), noise(1, 3, 2)], 2, body=scan_body(), num_scan_inputs=1)
case("Scan", since("Scan", 9, 99), "along axis 0", [noise(2), noise(3, 2)], 2, body=scan_body(), num_scan_inputs=1)
case("Scan", since("Scan", 9, 99), "backwards, along axis 1", [noise(2), noise(2, 3)], 2, body=scan_body(),
     num_scan_inputs=1, scan_input_axes=[1], scan_input_directions=[1], scan_output_directions=[1])
case("Scan", since("Scan", 11, 99), "an axis from the end", [noise(2), noise(2, 3)], 2, body=scan_body(),
     num_scan_inputs=1, scan_input_axes=[-1], scan_output_axes=[-1])


# --- Models, answers, lines -------------------------------------------------------------------------------------------


def model(operator, version, inputs, outputs, attributes):
    """The model of a case, and what a run gives it."""
    attributes = dict(attributes)
    captured = attributes.pop("captured", 0)
    names, infos, constants, feeds = [], [], [], {}
    for k, given in enumerate(inputs):
        if isinstance(given, str):
            names.append("")
            continue
        names.append(f"x{k}")
        if isinstance(given, Held):
            constants.append(numpy_helper.from_array(given.value, f"x{k}"))
        else:
            feeds[f"x{k}"] = np.asarray(given)
            kind = helper.np_dtype_to_tensor_dtype(feeds[f"x{k}"].dtype)
            infos.append(value(f"x{k}", kind, feeds[f"x{k}"].shape))
    results = [f"y{k}" for k in range(outputs)]
    node = helper.make_node(operator, names[: len(names) - captured], results, name="node", **attributes)
    unknown = [helper.make_empty_tensor_value_info(name) for name in results]
    graph = helper.make_graph([node], "version", infos, unknown, constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)])
    made.ir_version = 3 if version < 9 else 10
    if made.ir_version < 4:  # initializers were inputs as well
        for constant in constants:
            made.graph.input.append(value(constant.name, constant.data_type, list(constant.dims)))
    return made, feeds


def by_onnxruntime(made, feeds):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, ["CPUExecutionProvider"])
    return [np.asarray(result) for result in session.run(None, feeds)]


def by_reference(made, feeds):
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return [np.asarray(result) for result in ReferenceEvaluator(made).run(None, feeds)]


def tensor(name, array):
    number = lambda x: x if np.isfinite(x) else str(x)
    elements = [number(x) for x in np.ravel(array.astype(np.float64) if array.dtype == np.float16 else array).tolist()]
    if array.dtype == np.float32:
        elements = [number(float(str(x))) for x in np.ravel(array)]
    return {"name": name, "type": str(array.dtype), "shape": list(array.shape), "elements": elements}


def answer(operator, version, made, feeds):
    """Who answers, and what; nothing where nobody does."""
    problems = []
    for who, run in [("onnxruntime", by_onnxruntime), ("onnx's reference evaluator", by_reference)]:
        try:
            return who, run(made, feeds)
        except Exception as problem:  # whatever it is, the next is asked
            problems.append(" ".join(str(problem).split())[:150])
    print(f"nobody answers {operator} {version}: {problems}")
    return None, []


def main():
    lines, counts, seen = {}, {}, set()
    for operator, version, shows, inputs, outputs, attributes in CASES:
        made, feeds = model(operator, version, inputs, outputs, attributes)
        seen.add((operator, version))
        who, results = answer(operator, version, made, feeds)
        counts[who] = counts.get(who, 0) + 1
        if who is None:
            continue
        text = " ".join(onnx.printer.to_text(made.graph.node[0]).split())
        given = [tensor(name, array) for name, array in feeds.items()]
        wanted = [tensor(f"y{k}", array) for k, array in enumerate(results)]
        del made.opset_import[:]
        line = {"operator": operator, "shows": shows, "node": text, "by": who, "inputs": given, "outputs": wanted,
                "model": made.SerializeToString().hex()}
        # Versions that are given the same model and give the same answer share a line.
        lines.setdefault(json.dumps(line), []).append(version)
    lines = [json.dumps({"operator": json.loads(line)["operator"], "versions": versions, **json.loads(line)})
             for line, versions in lines.items()]
    (HERE / "versions.jsonl").write_text("\n".join(lines) + "\n")
    print(f"{len(CASES)} cases in {len(lines)} lines, of {len({one[0] for one in seen})} operators: {counts}")
    random = lambda operator: operator.startswith("Random") or operator in LEFT_OUT
    lacking = sorted({one for one in forms() if one not in seen and not random(one[0])})
    assert not lacking, f"no case of {lacking}"


if __name__ == "__main__":
    main()
