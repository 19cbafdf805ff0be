#!/usr/bin/env python3
"""Writes the tiny models of this folder, each as an ONNX test case: NAME/model.onnx and NAME/test_data_set_0/*.pb.

Seeded weights; the outputs come from onnxruntime's CPU with its rewrites off. Each model is there for one thing that
goes wrong easily: sizes that are no multiple of 4, branches that change layout, an operator without a GPU kernel.

    pip install numpy onnx==1.23.2 onnxruntime==1.32.0 && python generate.py
"""
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

HERE = Path(__file__).parent


class Model:
    """A graph under construction: weights are drawn as they are asked for."""

    def __init__(self, name, seed):
        self.name, self.random = name, np.random.default_rng(seed)
        self.nodes, self.constants = [], []

    def noise(self, *shape, scale=1.0):
        return (self.random.standard_normal(shape) * scale).astype(np.float32)

    def constant(self, name, array):
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, op, name, *inputs, outputs=None, **attributes):
        outputs = outputs or [f"{name}_out"]
        self.nodes.append(helper.make_node(op, inputs, outputs, name=name, **attributes))
        return outputs[0]

    def conv(self, name, x, channels_in, channels_out, kernel, **attributes):
        """A convolution with bias, its weights scaled to keep the variance."""
        fan_in = channels_in * kernel * kernel
        weight = self.constant(f"{name}.weight", self.noise(channels_out, channels_in, kernel, kernel, scale=fan_in**-0.5))
        bias = self.constant(f"{name}.bias", self.noise(channels_out, scale=0.5))
        return self.node("Conv", name, x, weight, bias, kernel_shape=[kernel, kernel], **attributes)

    def norm(self, name, x, channels):
        parts = {
            "scale": 1 + self.noise(channels, scale=0.2),
            "shift": self.noise(channels, scale=0.2),
            "mean": self.noise(channels, scale=0.2),
            "variance": np.exp(self.noise(channels, scale=0.3)),
        }
        parts = [self.constant(f"{name}.{part}", array) for part, array in parts.items()]
        return self.node("BatchNormalization", name, x, *parts)

    def linear(self, name, x, k, n):
        x = self.node("MatMul", f"{name}_matmul", x, self.constant(f"{name}.weight", self.noise(k, n, scale=k**-0.5)))
        return self.node("Add", f"{name}_add", x, self.constant(f"{name}.bias", self.noise(n, scale=0.5)))

    def save(self, input_shape, output_shape, feed_shape, own=False, others=()):
        """Names the graph's ends `input` and `output`, checks the model, runs it and writes the case. `own`: it has operators of
        onnxruntime's own, of which ONNX's checker knows nothing. `others`: values that are outputs too."""
        float_info = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        ends = [float_info("input", input_shape)], [float_info("output", output_shape)]
        ends[1].extend(helper.make_empty_tensor_value_info(name) for name in others)
        graph = helper.make_graph(self.nodes, self.name, *ends, self.constants)
        opsets = [helper.make_opsetid("", 17)] + [helper.make_opsetid("com.microsoft", 1)] * own
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="generate.py")
        if not own:
            onnx.checker.check_model(model, full_check=True)
        data = HERE / self.name / "test_data_set_0"
        data.mkdir(parents=True, exist_ok=True)
        onnx.save(model, HERE / self.name / "model.onnx")
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        fed = self.noise(*feed_shape)
        names = ["output", *others]
        made = zip([f"output_{k}" for k in range(len(names))], names, session.run(names, {"input": fed}))
        for file, name, array in [("input_0", "input", fed), *made]:
            (data / f"{file}.pb").write_bytes(numpy_helper.from_array(array, name).SerializeToString())


def conv_odd():
    """Convolutions of 3, 5 and 6 channels on 5x7 pixels, BatchNormalization, Relu, a residual Add, a stride, a pooling."""
    m = Model("conv_odd", 1)
    x = m.node("Relu", "relu_a", m.norm("norm_a", m.conv("conv_a", "input", 3, 5, 3, pads=[1, 1, 1, 1]), 5))
    y = m.norm("norm_b", m.conv("conv_b", x, 5, 5, 3, pads=[1, 1, 1, 1]), 5)
    x = m.node("Relu", "relu_b", m.node("Add", "residual", y, x))
    x = m.conv("conv_c", x, 5, 6, 3, pads=[0, 1, 1, 0], strides=[2, 1])
    x = m.node("Relu", "relu_c", m.norm("norm_c", x, 6))
    m.node("GlobalAveragePool", "pool", x, outputs=["output"])
    m.save(["batch", 3, 5, 7], ["batch", 6, 1, 1], [2, 3, 5, 7])


def mlp():
    """MatMul of K = 37 and N = 11, then 3; GELU as exporters before opset 20 write it, by Erf."""
    m = Model("mlp", 2)
    x = m.linear("first", "input", 37, 11)
    half, one, root = (m.constant(name, np.float32(value)) for name, value in [("half", 0.5), ("one", 1.0), ("root_2", 2**0.5)])
    erf = m.node("Erf", "gelu_erf", m.node("Div", "gelu_div", x, root))
    gelu = m.node("Mul", "gelu_mul", x, m.node("Add", "gelu_add", erf, one))
    x = m.node("Mul", "gelu_half", gelu, half)
    x = m.linear("second", x, 11, 3)
    m.node("Identity", "end", x, outputs=["output"])
    m.save(["batch", 37], ["batch", 3], [5, 37])


def branches():
    """Branches of 3 and 5 channels joined by Concat, then Reshape, Transpose and Softmax: layouts meet and part."""
    m = Model("branches", 3)
    a = m.node("Relu", "relu_a", m.conv("conv_a", "input", 2, 3, 1))
    b = m.node("Sigmoid", "sigmoid_b", m.conv("conv_b", "input", 2, 5, 3, pads=[1, 1, 1, 1]))
    x = m.node("Concat", "join", a, b, axis=1)
    x = m.node("Reshape", "rows", x, m.constant("rows_shape", np.array([0, 8, -1], np.int64)))
    x = m.node("Transpose", "transpose", x, perm=[0, 2, 1])
    m.node("Softmax", "softmax", x, axis=-1, outputs=["output"])
    m.save(["batch", 2, 3, 5], ["batch", 15, 8], [2, 2, 3, 5])


def cpu_step():
    """An Einsum in float64, which no GPU holds, between two MatMuls: steps on the CPU in the middle of a plan."""
    m = Model("cpu_step", 4)
    x = m.node("Relu", "relu", m.linear("first", "input", 9, 7))
    x = m.node("Cast", "wide", x, to=TensorProto.DOUBLE)
    mix = m.constant("mix", m.noise(7, 6, scale=0.4).astype(np.float64))
    x = m.node("Einsum", "einsum", x, mix, equation="bij,jk->bik")
    x = m.node("Cast", "narrow", x, to=TensorProto.FLOAT)
    x = m.linear("second", x, 6, 5)
    m.node("Tanh", "tanh", x, outputs=["output"])
    m.save(["batch", 4, 9], ["batch", 4, 5], [3, 4, 9])


def decoder():
    """A decoder's layer as exporters write it: RMSNorm, rotary positions far from 0, a causal mask of -inf, SwiGLU, residuals.

    2 heads of 8 over 9 tokens of 16; the angles come from nodes whose values are known before anything runs."""
    m = Model("decoder", 5)
    number = lambda name, value: m.constant(name, np.float32(value))

    def rms_norm(name, x):
        mean = m.node("ReduceMean", f"{name}_mean", m.node("Pow", f"{name}_square", x, number(f"{name}.two", 2)), axes=[-1], keepdims=1)
        root = m.node("Sqrt", f"{name}_root", m.node("Add", f"{name}_epsilon", mean, number(f"{name}.epsilon", 1e-5)))
        x = m.node("Div", f"{name}_divide", x, root)
        return m.node("Mul", f"{name}_scale", x, m.constant(f"{name}.weight", 1 + m.noise(16, scale=0.2)))

    def projection(name, x, k, n):
        return m.node("MatMul", name, x, m.constant(f"{name}.weight", m.noise(k, n, scale=k**-0.5)))

    def heads(name, x):
        x = m.node("Reshape", f"{name}_split", x, m.constant(f"{name}.shape", np.array([0, 9, 2, 8], np.int64)))
        return m.node("Transpose", f"{name}_heads", x, perm=[0, 2, 1, 3])

    # Positions 120 to 128, where an angle's rounding in float32 is a hundred times that of a cosine.
    positions = m.node("Range", "positions", *(number(f"range.{part}", value) for part, value in [("start", 120), ("limit", 129), ("delta", 1)]))
    positions = m.node("Unsqueeze", "positions_column", positions, m.constant("axis_1", np.array([1], np.int64)))
    angles = m.node("Mul", "angles_half", positions, m.constant("frequencies", 100.0 ** -np.arange(0, 1, 0.25, dtype=np.float32)))
    angles = m.node("Concat", "angles", angles, angles, axis=-1)
    cosine, sine = m.node("Cos", "cosine", angles), m.node("Sin", "sine", angles)

    def rotated(name, x):
        slices = [m.constant(f"{name}.{part}", np.array([value], np.int64)) for part, value in [("0", 0), ("4", 4), ("8", 8), ("axis", -1)]]
        low = m.node("Slice", f"{name}_low", x, slices[0], slices[1], slices[3])
        high = m.node("Slice", f"{name}_high", x, slices[1], slices[2], slices[3])
        turned = m.node("Concat", f"{name}_turned", m.node("Neg", f"{name}_negated", high), low, axis=-1)
        return m.node("Add", f"{name}_rotated", m.node("Mul", f"{name}_cosine", x, cosine), m.node("Mul", f"{name}_sine", turned, sine))

    x = rms_norm("norm_a", "input")
    q = rotated("q", heads("q", projection("query", x, 16, 16)))
    k = rotated("k", heads("k", projection("key", x, 16, 16)))
    v = heads("v", projection("value", x, 16, 16))
    scores = m.node("MatMul", "scores", q, m.node("Transpose", "k_columns", k, perm=[0, 1, 3, 2]))
    scores = m.node("Mul", "scores_scaled", scores, number("scale", 8**-0.5))
    mask = m.constant("mask", np.triu(np.full((9, 9), -np.inf, np.float32), 1))
    weights = m.node("Softmax", "weights", m.node("Add", "scores_masked", scores, mask), axis=-1)
    y = m.node("Transpose", "y_rows", m.node("MatMul", "weighted", weights, v), perm=[0, 2, 1, 3])
    y = m.node("Reshape", "y_joined", y, m.constant("joined", np.array([0, 9, 16], np.int64)))
    x = m.node("Add", "residual_a", projection("output_projection", y, 16, 16), "input")
    y = rms_norm("norm_b", x)
    gate = projection("gate", y, 16, 22)
    gate = m.node("Mul", "silu", gate, m.node("Sigmoid", "gate_sigmoid", gate))
    y = projection("down", m.node("Mul", "gated", gate, projection("up", y, 16, 22)), 22, 16)
    m.node("Add", "residual_b", y, x, outputs=["output"])
    m.save(["batch", 9, 16], ["batch", 9, 16], [2, 9, 16])


def joined():
    """Concats of what every kernel makes that can write a part in place, and of parts that can't be: one that begins within a group
    of 4, one that is read again; along channels, the batch and the columns of a matrix."""
    m = Model("joined", 5)
    a = m.node("Relu", "relu_a", m.conv("stem", "input", 3, 16, 3, pads=[1, 1, 1, 1]))
    parts = [
        m.node("Relu", "relu_one", m.conv("one", a, 16, 8, 1)),
        m.conv("three", a, 16, 20, 3, pads=[1, 1, 1, 1]),
        m.node("MaxPool", "pool", a, kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    ]
    wide = m.conv("wide", a, 16, 8, 3, pads=[2, 2, 2, 2], dilations=[2, 2])
    depth = m.constant("depth.weight", m.noise(16, 1, 3, 3, scale=1 / 3))
    parts += [wide, m.node("Conv", "depth", a, depth, kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=16)]
    grouped = m.constant("grouped.weight", m.noise(8, 8, 3, 3, scale=0.1))
    parts.append(m.node("Conv", "grouped", a, grouped, kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=2))
    parts.append(m.node("Add", "residual", m.conv("before", a, 16, 16, 1), a))
    parts += [m.conv("five", "input", 3, 5, 3, pads=[1, 1, 1, 1]), m.conv("unaligned", a, 16, 3, 1)]
    x = m.node("Concat", "join", *parts, axis=1)
    x = m.node("Concat", "again", x, wide, axis=1)
    p, q = m.node("Relu", "relu_p", m.conv("p", x, 108, 8, 1)), m.conv("q", x, 108, 8, 1)
    x = m.node("Concat", "batches", p, q, axis=0)
    x = m.node("Flatten", "flat", m.node("GlobalAveragePool", "mean", x))
    m.node("Concat", "columns", m.linear("left", x, 8, 8), m.linear("right", x, 8, 6), axis=-1, outputs=["output"])
    m.save(["batch", 3, 9, 10], ["batches", 14], [2, 3, 9, 10])


def heads():
    """Attention of 2 heads of 8 over 5 rows, as exporters write it: Q, K (which has no bias) and V are products of one A."""
    m = Model("heads", 6)
    shape = m.constant("heads_shape", np.array([0, 0, 2, 8], np.int64))
    k = m.node("MatMul", "k", "input", m.constant("k.weight", m.noise(16, 16, scale=0.25)))
    q, v = m.linear("q", "input", 16, 16), m.linear("v", "input", 16, 16)
    split = lambda name, x, perm: m.node("Transpose", f"{name}_heads", m.node("Reshape", f"{name}_split", x, shape), perm=perm)
    q, k, v = split("q", q, [0, 2, 1, 3]), split("k", k, [0, 2, 3, 1]), split("v", v, [0, 2, 1, 3])
    scores = m.node("Mul", "scale", m.node("MatMul", "scores", q, k), m.constant("factor", np.float32(8**-0.5)))
    x = m.node("MatMul", "mix", m.node("Softmax", "softmax", scores, axis=-1), v)
    x = m.node("Transpose", "back", x, perm=[0, 2, 1, 3])
    x = m.node("Reshape", "rows", x, m.constant("rows_shape", np.array([0, 0, -1], np.int64)))
    m.node("Add", "residual", m.linear("out", x, 16, 16), "input", outputs=["output"])
    m.save(["batch", 5, 16], ["batch", 5, 16], [2, 5, 16])


def contrib():
    """onnxruntime's own operators, each once: embeddings, attention with lengths and with a mask of padding, residual norms, GELUs,
    rotary positions, products and a convolution with what comes behind them."""
    m = Model("contrib", 7)
    own = lambda op, name, *inputs, **attributes: m.node(op, name, *inputs, domain="com.microsoft", **attributes)
    noise = lambda name, *shape, scale=0.25: m.constant(name, m.noise(*shape, scale=scale))
    mask = m.constant("mask", np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], np.int32))
    ids = m.constant("ids", np.array([[3, 1, 4, 1, 5], [9, 2, 6, 0, 0]], np.int32))
    segments = m.constant("segments", np.array([[0, 0, 1, 1, 1], [0, 1, 1, 0, 0]], np.int32))
    tables = [noise("words", 11, 16, scale=1), noise("positions", 7, 16), noise("segment_table", 2, 16)]
    scale, shift = m.constant("scale", 1 + m.noise(16, scale=0.2)), noise("shift", 16)
    embedded = own("EmbedLayerNormalization", "embed", ids, segments, *tables, scale, shift, mask, outputs=["embed_out", "lengths"], epsilon=1e-12)
    x = m.node("Add", "begin", embedded, "input")
    a = own("Attention", "attention", x, noise("qkv", 16, 48), noise("qkv_bias", 48), "lengths", num_heads=2)
    y = own("SkipLayerNormalization", "skip", a, x, scale, shift, noise("skip_bias", 16), outputs=["skip_out", "", "", "sum"], epsilon=1e-12)
    h = own("BiasGelu", "bias_gelu", m.node("MatMul", "up", y, noise("up_weight", 16, 20)), noise("up_bias", 20))
    y = own("SkipLayerNormalization", "skip_again", m.node("MatMul", "down", h, noise("down_weight", 20, 16)), "sum", scale, shift, epsilon=1e-12)
    q, k, v = (m.node("MatMul", name, y, noise(f"{name}_weight", 16, 16)) for name in "qkv")
    places = m.constant("places", np.array([[0, 1, 2, 3, 4], [5, 6, 7, 0, 1]], np.int64))
    angles = m.random.uniform(0, 6, (8, 4)).astype(np.float32)
    angles = [m.constant("cosines", np.cos(angles)), m.constant("sines", np.sin(angles))]
    q = own("RotaryEmbedding", "rotary", q, places, *angles, num_heads=2)
    a = own("MultiHeadAttention", "heads", q, k, v, noise("heads_bias", 48), mask, noise("added", 1, 2, 5, 5, scale=1), num_heads=2, scale=0.3)
    y = own("SkipSimplifiedLayerNormalization", "skip_rms", a, y, scale, epsilon=1e-6)
    y = m.node("SimplifiedLayerNormalization", "rms", own("FastGelu", "fast_gelu", y, shift), scale, axis=-1, epsilon=1e-6)
    y = own("FusedMatMul", "product", own("QuickGelu", "quick_gelu", y, alpha=1.5), noise("product_weight", 16, 16), transB=1, alpha=0.5)
    image = m.node("Reshape", "image", y, m.constant("image_shape", np.array([2, 1, 5, 16], np.int64)))
    filters = noise("filters", 1, 1, 3, 3)
    y = own("FusedConv", "conv", image, filters, noise("conv_bias", 1), image, activation="LeakyRelu", activation_params=[0.1], pads=[1, 1, 1, 1], kernel_shape=[3, 3])
    y = m.node("Reshape", "rows", y, m.constant("rows_shape", np.array([10, 16], np.int64)))
    own("FusedGemm", "gemm", y, noise("gemm_weight", 6, 16), noise("gemm_bias", 6), transB=1, activation="Tanh", outputs=["output"])
    m.save([2, 5, 16], [10, 6], [2, 5, 16], own=True)


def quantized():
    """What onnxruntime's quantiser leaves: its own operators between quantised tensors, each once. The scales are no simple
    multiples of each other: nothing lies in the middle between two whole numbers, where any rounding before decides."""
    m = Model("quantized", 8)
    own = lambda op, name, *inputs, **attributes: m.node(op, name, *inputs, domain="com.microsoft", **attributes)
    byte = lambda name, value, dtype=np.uint8: m.constant(name, np.array(value, dtype))
    real = lambda name, value: m.constant(name, np.array(value, np.float32))
    drawn = lambda name, dtype, *shape: m.constant(name, m.random.integers(-100, 100, shape).astype(dtype))
    step, zero = real("step", 0.01937), byte("zero", 120)
    pair, wide = (step, zero), (real("wide", 0.05213), byte("wide_zero", 131))
    x = own("QuantizeLinear", "begin", "input", *pair)
    other = drawn("other", np.int8, 2, 4, 6, 6)
    other = own("QuantizeLinear", "other_bytes", own("DequantizeLinear", "other_floats", other, real("other_step", 0.01173), byte("other_zero", -3, np.int8)), *pair)
    y = own("QLinearAdd", "add", x, *pair, other, *pair, *wide)
    made = [y]
    y = own("QLinearMul", "mul", y, *wide, x, *pair, *wide)
    made.append(y)
    y = own("QLinearLeakyRelu", "leaky", y, *wide, *pair, alpha=0.2)
    made.append(y)
    y = own("QLinearAveragePool", "pool", y, *pair, *pair, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1)
    made.append(y)
    y = own("QLinearConcat", "concat", *wide, x, *pair, y, *pair, axis=1)
    made.append(y)
    condition = m.constant("condition", m.random.integers(0, 2, (8, 1, 1)).astype(bool))
    y = own("QLinearWhere", "where", condition, y, *wide, own("QLinearSigmoid", "sigmoid", y, *wide, *pair), *pair, *wide)
    made.append(y)
    means = own("QLinearGlobalAveragePool", "means", y, *wide, *pair)
    made.append(means)
    rows = m.node("Reshape", "rows", means, m.constant("rows_shape", np.array([2, 8], np.int64)))
    g = own("QGemm", "gemm", rows, *pair, drawn("gemm_weight", np.int8, 5, 8), real("gemm_steps", [0.0131, 0.0217, 0.0309, 0.0173, 0.0119]), byte("gemm_zeros", [0] * 5, np.int8), drawn("gemm_bias", np.int32, 5), *wide, transB=1, alpha=0.5)
    shares = own("QLinearSoftmax", "softmax", g, *wide, real("softmax_step", 1 / 256), byte("softmax_zero", 0), axis=-1, opset=13)
    f = own("MatMulIntegerToFloat", "to_float", g, drawn("weight", np.int8, 5, 7), step, real("weight_steps", [0.01, 0.02, 0.03, 0.02, 0.01, 0.1, 0.2]), zero, "", m.constant("bias", m.noise(7)))
    f = own("DynamicQuantizeMatMul", "dynamic", f, drawn("dynamic_weight", np.int8, 7, 6), step, byte("dynamic_zero", 0, np.int8), m.constant("dynamic_bias", m.noise(6)))
    m.node("Identity", "end", f, outputs=["output"])
    m.save([2, 4, 6, 6], [2, 6], [2, 4, 6, 6], own=True, others=[x, other, *made, g, shares])


def nbits():
    """Products with weights of 4, 8 and 2 bits in blocks: with and without zero points and a bias, k and the number of blocks
    not multiples of what a byte or a block holds."""
    m = Model("nbits", 9)

    def product(name, x, k, n, bits, block, zeros, bias=False, outputs=None):
        blocks, row = -(-k // block), -(-(-(-k // block)) * bits // 8)
        packed = m.random.integers(0, 256, (n, blocks, block * bits // 8)).astype(np.uint8)
        inputs = [m.constant(f"{name}.bits", packed), m.constant(f"{name}.steps", (m.random.uniform(0.2, 1, (n, blocks)) * 3.0 ** -bits).astype(np.float32))]
        points = {"": "", "packed": m.random.integers(0, 256, (n, row)).astype(np.uint8), "floats": m.random.uniform(0, 2**bits, (n, blocks)).astype(np.float32)}[zeros]
        inputs.append(m.constant(f"{name}.zeros", points) if zeros else "")
        inputs += ["", m.constant(f"{name}.bias", m.noise(n))] if bias else []
        return m.node("MatMulNBits", name, x, *inputs, domain="com.microsoft", K=k, N=n, bits=bits, block_size=block, outputs=outputs)

    x = product("plain", "input", 40, 24, 4, 16, "")
    y = product("zeros", x, 24, 33, 4, 16, "packed")
    y = product("bias", y, 33, 20, 4, 32, "", bias=True)
    y = product("floats", y, 20, 48, 4, 16, "floats")
    y = product("bytes", m.node("Tanh", "within", y), 48, 17, 8, 16, "packed")
    product("pairs", y, 17, 6, 2, 16, "packed", outputs=["output"])
    m.save([2, 3, 40], [2, 3, 6], [2, 3, 40], own=True, others=[x, y])


def gqa():
    """Attention of a decoder over a cache: the first tokens of sequences, the next ones behind a cache that is as long as they are, and
    sequences of other lengths in a cache that is longer, with a window, a cap and queries, keys and values in one."""
    m = Model("gqa", 10)
    heads, shared, depth, new = 4, 2, 16, 5
    own = lambda name, *inputs, outputs, **attributes: m.node("GroupQueryAttention", name, *inputs, domain="com.microsoft", outputs=outputs, num_heads=heads, kv_num_heads=shared, **attributes)
    noise = lambda name, *shape: m.constant(name, m.noise(*shape, scale=0.5))
    whole = lambda name, value: m.constant(name, np.array(value, np.int32))
    angles = m.random.uniform(0, 6, (16, depth // 2)).astype(np.float32)
    tables = [m.constant("cosines", np.cos(angles)), m.constant("sines", np.sin(angles))]
    q, k, v = (m.node("MatMul", name, "input", noise(f"{name}.weight", 16, width)) for name, width in [("q", heads * depth), ("k", shared * depth), ("v", shared * depth)])
    y = own("first", q, k, v, "", "", whole("first.ends", [new - 1, new - 1]), whole("first.total", new), *tables, outputs=["first_out", "keys", "values"], do_rotary=1)
    last = m.node("Slice", "last", "input", *(m.constant(f"last.{at}", np.array([value])) for at, value in [("start", 4), ("end", 5), ("axis", 1)]))
    q, k, v = (m.node("MatMul", f"next_{name}", last, f"{name}.weight") for name in "qkv")
    z = own("next", q, k, v, "keys", "values", whole("next.ends", [new, new]), whole("next.total", new + 1), *tables, outputs=["next_out", "next_keys", "next_values"], do_rotary=1, rotary_interleaved=1, scale=0.4)
    packed = m.node("MatMul", "packed", last, noise("packed.weight", 16, (heads + 2 * shared) * depth))
    # Behind what a cache holds onnxruntime gives zeros, and others what was there: nothing sees it.
    held = (np.arange(11) < np.array([[3], [6]])).astype(np.float32)[:, None, :, None]
    caches = [m.constant(f"cache.{name}", m.noise(2, shared, 11, depth, scale=0.5) * held) for name in ("keys", "values")]
    w = own("long", packed, "", "", *caches, whole("long.ends", [3, 6]), whole("long.total", 7), *tables, outputs=["long_out", "long_keys", "long_values"], do_rotary=1, local_window_size=3, softcap=2.0)
    m.node("Concat", "all", y, z, w, outputs=["output"], axis=1)
    m.save([2, new, 16], [2, new + 2, heads * depth], [2, new, 16], own=True, others=["keys", "next_keys", "next_values", "long_keys", "long_values"])


def contrib_rare():
    """More of onnxruntime's own operators, each once: attention of integers and of floats over past keys and values in one tensor, a
    transposed convolution with paddings as an input, inverses, and tokens that would repeat a run."""
    m = Model("contrib_rare", 11)
    own = lambda op, name, *inputs, **attributes: m.node(op, name, *inputs, domain="com.microsoft", **attributes)
    noise = lambda name, *shape, scale=0.5: m.constant(name, m.noise(*shape, scale=scale))
    real = lambda name, value: m.constant(name, np.array(value, np.float32))
    whole = lambda name, *values: m.constant(name, np.array(values, np.int64))
    step, zero = real("step", 0.0317), m.constant("zero", np.array(121, np.uint8))
    bits = m.node("QuantizeLinear", "bits", "input", step, zero)
    weight = m.constant("weight", m.random.integers(-100, 100, (8, 24)).astype(np.int8))
    zeros = m.constant("weight_zero", np.array(0, np.int8))
    past = noise("past", 2, 2, 2, 3, 4)
    a = own("QAttention", "integers", bits, weight, noise("bias", 24), step, real("weight_step", 0.0083), "", zero, zeros, past, outputs=["integers_out", "present"], num_heads=2, unidirectional=1)
    padding = m.constant("padding", np.array([[1] * 8, [1, 1, 1, 1, 1, 1, 0, 0]], np.int32))
    b = own("Attention", "floats", a, noise("qkv", 8, 24), noise("qkv_bias", 24), padding, past, outputs=["floats_out", "present_floats"], num_heads=2)
    corner = m.node("Slice", "corner", b, whole("first", 0, 0), whole("last", 3, 3), whole("axes", 1, 2))
    inverses = own("Inverse", "inverses", m.node("Add", "far_from_singular", corner, m.constant("eye", 4 * np.eye(3, dtype=np.float32))))
    image = m.node("Reshape", "image", b, whole("image_shape", 2, 1, 5, 8))
    wide = own("ConvTransposeWithDynamicPads", "wide", image, noise("filters", 1, 2, 3, 3), whole("pads", 1, 0, 2, 1), noise("wide_bias", 2), strides=[2, 2], output_padding=[1, 1], kernel_shape=[3, 3])
    tokens = whole("tokens", [3, 1, 4, 3, 1, 5, 9, 3, 1], [2, 6, 2, 6, 2, 6, 5, 2, 6])
    scores = m.node("Reshape", "scores", a, whole("scores_shape", 2, 40))
    kept = own("NGramRepeatBlock", "kept", tokens, scores, ngram_size=3)
    m.node("Identity", "end", b, outputs=["output"])
    m.save([2, 5, 8], [2, 5, 8], [2, 5, 8], own=True, others=["present", "present_floats", inverses, wide, kept])


def in_parts():
    """A product, a Loop that multiplies its state three times, a Compress whose result's size the data decide, and a product behind it."""
    m = Model("in_parts", 11)
    weight = m.constant("weight", m.noise(8, 8, scale=0.4))
    x = m.node("MatMul", "before", "input", weight)
    info = helper.make_tensor_value_info
    state = lambda name: info(name, TensorProto.FLOAT, [160, 8])
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["goes_on"]), helper.make_node("MatMul", ["state", "weight"], ["product"], name="turned"), helper.make_node("Tanh", ["product"], ["next"])],
        "body",
        [info("turn", TensorProto.INT64, []), info("on", TensorProto.BOOL, []), state("state")],
        [info("goes_on", TensorProto.BOOL, []), state("next")],
    )
    x = m.node("Loop", "turns", m.constant("trips", np.array(3)), "", x, body=body)
    sums = m.node("ReduceSum", "sums", x, m.constant("last", np.array([1])), keepdims=0)
    kept = m.node("Compress", "kept", x, m.node("Greater", "large", sums, m.constant("zero", np.float32(0))), axis=0)
    m.node("MatMul", "after", kept, weight, outputs=["output"])
    m.save([160, 8], ["kept", 8], [160, 8])


if __name__ == "__main__":
    for build in [conv_odd, mlp, branches, cpu_step, decoder, joined, heads, contrib, quantized, nbits, gqa, contrib_rare, in_parts]:
        build()
        print(build.__name__, (HERE / build.__name__ / "model.onnx").stat().st_size, "bytes")
