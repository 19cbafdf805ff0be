#!/usr/bin/env python3
"""Gives random graphs to onnxruntime, and compares its answers with the CPU's.

    WRITE_GRAPHS=FOLDER SARDONYX_RANDOM_GRAPHS=2000 cargo test --test random_graphs graphs_are_written
    tools/random_graphs.py FOLDER

FOLDER/seed_N has model.onnx, its inputs and the CPU's outputs as ONNX's test data has them, and
values/NAME.pb, the CPU's answer for every value. The whole graph is run first, by onnxruntime on the CPU
with its rewrites off. Where an output differs, or onnxruntime refuses the graph, each node is run by itself
over the CPU's values: so rounding isn't carried on, and what differs has the name of an operator.

The rule: types and shapes are equal. Integers and truth are equal; what QuantizeLinear and its like round
may be one apart where the number before it lies near the middle. Floats differ by at most RELATIVE of the
largest finite number of the tensor, or ABSOLUTE; NaN is NaN, and an infinity that of its sign. A whole
graph that differs while none of its nodes does counts as carried rounding. `explained` has the differences
for which ONNX's text or its tests say another thing than onnxruntime, or nothing.

Needs Python's packages onnxruntime, onnx, numpy and ml_dtypes.
"""
import collections
import pathlib
import sys

import numpy
import onnx
import onnxruntime
from onnx import helper, numpy_helper

RELATIVE = {"float16": 4e-3, "bfloat16": 2e-2, "float32": 2e-5, "float64": 2e-5}
ABSOLUTE = {"float16": 1e-3, "bfloat16": 1e-2, "float32": 1e-5, "float64": 1e-5}
ROUNDED = {"QuantizeLinear", "QLinearMatMul", "QLinearConv", "DynamicQuantizeLinear"}


def tensor(path):
    proto = onnx.TensorProto()
    proto.ParseFromString(path.read_bytes())
    return proto.name, numpy_helper.to_array(proto)


def run(model, feeds):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return [numpy.asarray(value) for value in session.run(None, feeds)]


def apart(ours, theirs, steps=0):
    """How two answers differ by the rule, or None."""
    if ours.dtype.itemsize == 1 and theirs.dtype == numpy.uint8 and ours.dtype.kind == "V":
        theirs = theirs.view(ours.dtype)  # 8-bit floats come as bytes
    if (str(ours.dtype), ours.shape) != (str(theirs.dtype), theirs.shape):
        return f"{ours.dtype}{list(ours.shape)} and {theirs.dtype}{list(theirs.shape)}"
    kind = str(ours.dtype)
    if kind not in RELATIVE:
        x, y = ours.astype(object), theirs.astype(object)
        wrong = numpy.ravel(abs(x - y) > steps) if steps else numpy.ravel(ours != theirs)
    else:
        x, y = ours.astype(numpy.float64), theirs.astype(numpy.float64)
        finite = numpy.isfinite(y)
        limit = max(ABSOLUTE[kind], RELATIVE[kind] * numpy.max(numpy.abs(y[finite]), initial=0))
        with numpy.errstate(invalid="ignore"):
            same = (x == y) | (numpy.isnan(x) & numpy.isnan(y)) | (numpy.abs(x - y) <= limit)
        wrong = numpy.ravel(~same)
    if not numpy.any(wrong):
        return None
    at = numpy.flatnonzero(wrong)[0]
    return f"element {at} of {kind}{list(ours.shape)}: ours {ours.ravel()[at]}, theirs {theirs.ravel()[at]}"


def reads(node):
    """What a node reads, its graphs included."""
    names = [name for name in node.input if name]
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            graph = attribute.g
            own = {value.name for value in graph.input} | {constant.name for constant in graph.initializer}
            own |= {name for inner in graph.node for name in inner.output}
            inside = [name for inner in graph.node for name in reads(inner)]
            names += [name for name in inside + [value.name for value in graph.output] if name not in own]
    return list(dict.fromkeys(names))


def alone(model, node, values, constants):
    """A model of one node, and what a run gives it."""
    names = reads(node)
    info = lambda name: helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(values[name].dtype), values[name].shape)
    inputs = [info(name) for name in names if name not in constants]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output]
    held = [constants[name] for name in names if name in constants]
    graph = helper.make_graph([node], "node", inputs, outputs, held)
    made = helper.make_model(graph, opset_imports=list(model.opset_import))
    made.ir_version = model.ir_version
    return made, {name: values[name] for name in names if name not in constants}


def short(node):
    value = lambda one: "graph" if one.type == onnx.AttributeProto.GRAPH else helper.get_attribute_value(one)
    attributes = ", ".join(f"{one.name}={value(one)}"[:60] for one in node.attribute)
    return f"{node.op_type} <{attributes}>"


def explained(node, ours, theirs, values):
    """Why onnxruntime's answer isn't the one that ONNX's text (or its tests) gives, where that is known."""
    given = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    whole = ours.dtype.kind in "iu"
    if node.op_type == "Pow" and whole:
        return ("onnxruntime takes powers of integers in float64; what leaves the type is as the"
                " processor has it")
    if node.op_type.startswith("Reduce") and whole:
        info = numpy.iinfo(theirs.dtype)
        other = theirs[ours != theirs] if ours.shape == theirs.shape else theirs
        if numpy.all((other == info.min) | (other == info.max)):
            return ("a sum that leaves the type: onnxruntime gives the type's end, ours wraps; the"
                    " text is silent")
    if node.op_type == "Cast" and whole and values[node.input[0]].dtype.kind not in "iub":
        x = values[node.input[0]].astype(numpy.float64)[ours != theirs]
        info = numpy.iinfo(ours.dtype)
        if numpy.all(~((numpy.trunc(x) >= info.min) & (numpy.trunc(x) <= float(info.max)))):
            return "a float beyond the integer's range: the text leaves it open"
    by_scales = node.op_type == "Resize" and len(node.input) == 3
    if by_scales and given.get("coordinate_transformation_mode") == b"align_corners":
        return ("align_corners by scales: ONNX's tests (test_resize_downsample_scales_linear_align_corners)"
                " and its evaluator divide by a length that isn't rounded; onnxruntime rounds it")
    if node.op_type in ("MaxPool", "AveragePool", "LpPool") and b"SAME" in given.get("auto_pad", b""):
        if any(size > 1 for size in given.get("dilations", [])):
            return ("SAME padding: the result is the input by the strides, rounded up; onnxruntime"
                    " takes no dilations")
    if node.op_type == "AveragePool" and b"SAME" in given.get("auto_pad", b""):
        strides = given.get("strides", [])
        if any(stride > kernel for stride, kernel in zip(strides, given["kernel_shape"])):
            return ("SAME padding by less than nothing: onnxruntime leaves out elements at the start"
                    " of the axis")
    if node.op_type == "ConvTranspose" and b"SAME" in given.get("auto_pad", b""):
        return ("SAME padding: the text gives the result the input's size by the strides;"
                " onnxruntime's is smaller")
    if node.op_type == "MeanVarianceNormalization":
        return ("equal elements: ONNX's function body adds 1e-9 to the deviation; onnxruntime"
                " divides by 0 or noise")
    if node.op_type == "ReduceMean" and values[node.input[0]].size == 0:
        return "a mean of nothing: the text leaves it open; onnxruntime gives 0"
    if node.op_type == "RNN" and not numpy.all(numpy.isfinite(theirs)) and numpy.all(numpy.isfinite(ours)):
        return "onnxruntime's Softplus overflows where its result wouldn't"
    if node.op_type == "QuantizeLinear" and not numpy.all(numpy.isfinite(values[node.input[0]])):
        return "NaN has no whole number by ONNX's text"
    if node.op_type == "InstanceNormalization":
        return "onnxruntime takes scale * x + shift, whose parts cancel where x is far from 0 or its own mean"
    return None


def judge(folder, found):
    model = onnx.load(folder / "model.onnx")
    data = folder / "test_data_set_0"
    feeds = dict(tensor(path) for path in data.glob("input_*.pb"))
    ours = dict(tensor(path) for path in data.glob("output_*.pb"))
    problem = None
    try:
        theirs = run(model, feeds)
        for value, result in zip(model.graph.output, theirs):
            difference = apart(ours[value.name], result)
            problem = problem or difference and f"{value.name}: {difference}"
        if problem is None:
            found["whole graphs that agree"] += 1
            return []
    except Exception as error:  # a graph that onnxruntime refuses: its nodes are asked for
        problem = "refused"
    values = feeds | dict(tensor(path) for path in (folder / "values").glob("*.pb"))
    constants = {constant.name: constant for constant in model.graph.initializer}
    wrong, before = [], found["explained"]
    for node in model.graph.node:
        steps = 1 if node.op_type in ROUNDED else 0
        try:
            results = run(*alone(model, node, values, constants))
        except Exception as error:
            text = " ".join(str(error).split())
            found[f"refused: {node.op_type}"] += 1
            REFUSALS.setdefault(node.op_type, {}).setdefault(text[:170], folder.name)
            continue
        found["nodes by themselves"] += 1
        for name, result in zip(node.output, results):
            difference = apart(values[name], result, steps)
            why = difference and explained(node, values[name], result, values)
            if why:
                found["explained"] += 1
                EXPLAINED[f"{node.op_type}: {why}"] += 1
            elif difference:
                kinds = " ".join(str(values[x].dtype) + str(list(values[x].shape)) if x in values else
                                 str(numpy_helper.to_array(constants[x]).tolist())[:60] for x in reads(node))
                wrong.append((node.op_type, f"{folder.name} {short(node)} of {kinds}: {name}: {difference}"))
    if wrong:
        found["graphs with a node that differs"] += 1
    elif found["explained"] > before:
        found["graphs with a node that differs, as explained"] += 1
    elif problem == "refused":
        found["graphs that onnxruntime refuses, whose other nodes agree"] += 1
    else:
        found["graphs that differ by carried rounding alone"] += 1
        CARRIED.append(f"{folder.name}: {problem}")
    return wrong


REFUSALS, CARRIED, EXPLAINED = {}, [], collections.Counter()


def main():
    folders = sorted(pathlib.Path(sys.argv[1]).glob("seed_*"), key=lambda path: int(path.name[5:]))
    found, wrong = collections.Counter(), []
    for folder in folders:
        wrong += judge(folder, found)
    by_operator = collections.defaultdict(list)
    for operator, text in wrong:
        by_operator[operator].append(text)
    for operator, texts in sorted(by_operator.items(), key=lambda item: -len(item[1])):
        print(f"{operator}: {len(texts)}")
        for text in texts[: 4 if "--all" not in sys.argv else None]:
            print(f"    {text}")
    for text, count in EXPLAINED.most_common():
        print(f"explained, {count}: {text}")
    print("carried rounding:", *CARRIED[:20], sep="\n    ")
    for operator, texts in sorted(REFUSALS.items()):
        for text, name in list(texts.items())[:3]:
            print(f"refused, {operator} ({name}): {text}")
    print(f"{len(folders)} graphs")
    for what, count in sorted(found.items()):
        print(f"  {what}: {count}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
