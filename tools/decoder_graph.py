"""Graphs of decoders in Llama's shape, laid out as onnxruntime-genai's builder and as optimum lay them out.

`smollm2.py` makes a real model with it, `models/text/generate.py` a tiny one. Two layouts:

- `genai`: com.microsoft's GroupQueryAttention with rotation and a cache, SimplifiedLayerNormalization, weights in
  blocks (MatMulNBits). Lengths are data: a cache may be longer than what it holds.
- `plain`: standard operators alone, as an exporter traces them: decomposed norms and rotation, a cache that grows by
  Concat, a causal mask from shapes, float32 weights.

A matrix is a function of its name that gives what a layout asks for; see `Weights`.
"""

import dataclasses

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper


@dataclasses.dataclass
class Shape:
    """The sizes of a decoder."""

    vocabulary: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    depth: int
    layers: int
    context: int
    theta: float
    epsilon: float
    block: int = 32

    def config(self):
        """The sizes as transformers names them."""
        return dict(
            hidden_size=self.hidden,
            intermediate_size=self.inner,
            max_position_embeddings=self.context,
            num_attention_heads=self.heads,
            num_hidden_layers=self.layers,
            num_key_value_heads=self.kv_heads,
            rms_norm_eps=self.epsilon,
            rope_theta=self.theta,
            vocab_size=self.vocabulary,
        )


@dataclasses.dataclass
class Blocks:
    """A matrix [n, k] in blocks along k: `q` [n, k] integers, `scales` [n, k / block], `zeros` like the scales: floats,
    integers, or None for the middle of the range."""

    q: numpy.ndarray
    scales: numpy.ndarray
    zeros: numpy.ndarray | None
    bits: int = 4

    def floats(self):
        n, blocks = self.scales.shape
        zeros = (
            numpy.float32(1 << (self.bits - 1))
            if self.zeros is None
            else self.zeros[..., None].astype(numpy.float32)
        )
        q = self.q.reshape(n, blocks, -1).astype(numpy.float32)
        return ((q - zeros) * self.scales[..., None]).reshape(n, -1)

    @staticmethod
    def stacked(parts):
        """One matrix of the rows of several."""
        zeros = None if parts[0].zeros is None else numpy.concatenate([part.zeros for part in parts])
        return Blocks(
            numpy.concatenate([part.q for part in parts]),
            numpy.concatenate([part.scales for part in parts]),
            zeros,
            parts[0].bits,
        )


def symmetric(floats, block):
    """4 bits around 8: scales so that neither end is cut off."""
    x = floats.reshape(len(floats), -1, block)
    scales = numpy.maximum(x.max(-1) / 7, -x.min(-1) / 8).astype(numpy.float32)
    scales[scales == 0] = 1
    q = numpy.clip(numpy.rint(x / scales[..., None]) + 8, 0, 15).astype(numpy.uint8)
    return Blocks(q.reshape(floats.shape), scales, None)


def packed(floats, block):
    """4 bits with an integer zero point for each block."""
    x = floats.reshape(len(floats), -1, block)
    low, high = numpy.minimum(x.min(-1), 0), numpy.maximum(x.max(-1), 0)
    scales = ((high - low) / 15).astype(numpy.float32)
    scales[scales == 0] = 1
    zeros = numpy.clip(numpy.rint(-low / scales), 0, 15)
    q = numpy.clip(numpy.rint(x / scales[..., None]) + zeros[..., None], 0, 15).astype(numpy.uint8)
    return Blocks(q.reshape(floats.shape), scales, zeros.astype(numpy.uint8))


def nibbles(q):
    """Rows of 4-bit numbers as bytes, the lower half first; a row ends with a whole byte."""
    if q.shape[-1] % 2:
        q = numpy.concatenate([q, numpy.zeros((*q.shape[:-1], 1), numpy.uint8)], -1)
    return q[..., 0::2] | q[..., 1::2] << 4


class Weights:
    """Where a graph's numbers come from: `norm(name)` a vector, `matrix(name)` `Blocks`, `head()` the embedding as
    `Blocks`. Names are GGUF's: blk.0.attn_q, output_norm."""

    def norm(self, name):
        raise NotImplementedError

    def matrix(self, name):
        raise NotImplementedError

    def head(self):
        raise NotImplementedError


class Graph:
    def __init__(self):
        self.nodes, self.constants, self.known = [], [], set()

    def constant(self, name, array):
        if name not in self.known:
            self.known.add(name)
            self.constants.append(numpy_helper.from_array(numpy.array(array, order="C"), name))
        return name

    def ints(self, *values):
        return self.constant(
            "ints_" + "_".join(map(str, values)).replace("-", "m"), numpy.array(values, numpy.int64)
        )

    def scalar(self, value):
        return self.constant(f"scalar_{value}".replace("-", "m"), numpy.array(value, numpy.int64))

    def number(self, name, value):
        return self.constant(name, numpy.array(value, numpy.float32))

    def node(self, op, name, *inputs, outputs=None, domain="", **attributes):
        outputs = outputs or [f"{name}/output_0"]
        self.nodes.append(helper.make_node(op, list(inputs), outputs, name=name, domain=domain, **attributes))
        return outputs[0]

    def in_blocks(self, name, x, blocks, shape):
        """MatMulNBits."""
        n, k = blocks.q.shape
        packed_q = nibbles(blocks.q) if blocks.bits == 4 else blocks.q
        size = shape.block
        inputs = [
            x,
            self.constant(
                f"{name}.weight_Q{blocks.bits}", packed_q.reshape(n, k // size, size * blocks.bits // 8)
            ),
            self.constant(f"{name}.weight_scales", blocks.scales.astype(numpy.float32)),
        ]
        if blocks.zeros is not None:
            zeros = (
                nibbles(blocks.zeros)
                if blocks.zeros.dtype == numpy.uint8
                else blocks.zeros.astype(numpy.float32)
            )
            inputs.append(self.constant(f"{name}.weight_zp", zeros))
        attributes = dict(K=k, N=n, bits=blocks.bits, block_size=size)
        return self.node("MatMulNBits", name, *inputs, domain="com.microsoft", **attributes)

    def model(self, name, inputs, outputs, own):
        graph = helper.make_graph(self.nodes, name, inputs, outputs, self.constants)
        opsets = [helper.make_opsetid("", 18 if not own else 21)] + [
            helper.make_opsetid("com.microsoft", 1)
        ] * own
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=10, producer_name="sardonyx decoder_graph.py"
        )


def tables(shape):
    """cos and sin [context, depth / 2] of the rotation."""
    frequencies = 1.0 / shape.theta ** (numpy.arange(0, shape.depth, 2, dtype=numpy.float64) / shape.depth)
    angles = numpy.arange(shape.context)[:, None] * frequencies
    return numpy.cos(angles).astype(numpy.float32), numpy.sin(angles).astype(numpy.float32)


def ports(shape, position_ids):
    """Inputs and outputs: both layouts name them alike."""
    i64, f32 = TensorProto.INT64, TensorProto.FLOAT
    port = helper.make_tensor_value_info
    cache = lambda length: ["batch_size", shape.kv_heads, length, shape.depth]
    inputs = [port("input_ids", i64, ["batch_size", "sequence_length"])]
    inputs.append(port("attention_mask", i64, ["batch_size", "total_sequence_length"]))
    if position_ids:
        inputs.append(port("position_ids", i64, ["batch_size", "sequence_length"]))
    outputs = [port("logits", f32, ["batch_size", "sequence_length", shape.vocabulary])]
    for layer in range(shape.layers):
        for part in ("key", "value"):
            inputs.append(port(f"past_key_values.{layer}.{part}", f32, cache("past_sequence_length")))
            outputs.append(port(f"present.{layer}.{part}", f32, cache("total_sequence_length")))
    return inputs, outputs


def genai(shape, weights, tied=False):
    """The layout of onnxruntime-genai's builder. `tied`: the embedding is read from the head's blocks by
    GatherBlockQuantized; otherwise a float32 table by Gather."""
    g, ms = Graph(), "com.microsoft"
    mask = "/model/attn_mask_reformat"
    total = g.node("ReduceSum", f"{mask}/ReduceSum", "attention_mask", g.ints(1), keepdims=1)
    lengths = g.node("Sub", f"{mask}/Sub", total, g.ints(1))
    lengths = g.node("Cast", f"{mask}/Sub/Cast", lengths, to=TensorProto.INT32)
    sizes = g.node("Shape", f"{mask}/Shape", "attention_mask")
    longest = g.node("Gather", f"{mask}/Gather", sizes, g.scalar(1), axis=0)
    longest = g.node("Cast", f"{mask}/Gather/Cast", longest, to=TensorProto.INT32)
    cos, sin = tables(shape)
    cos, sin = g.constant("cos_cache", cos), g.constant("sin_cache", sin)
    head = weights.head()
    if tied:
        rows = g.constant("lm_head.MatMul.flat_Q8", head.q)
        scales = g.constant("lm_head.MatMul.flat_scales", head.scales.astype(numpy.float32))
        attributes = dict(bits=8, block_size=shape.block, gather_axis=0, quantize_axis=1)
        x = g.node(
            "GatherBlockQuantized",
            "/model/embed_tokens/GatherBlockQuantized",
            rows,
            "input_ids",
            scales,
            domain=ms,
            **attributes,
        )
    else:
        table = g.constant("model.embed_tokens.weight", head.floats().astype(numpy.float32))
        x = g.node("Gather", "/model/embed_tokens/Gather", table, "input_ids")
    residual, added = x, None

    def norm(name, weight):
        nonlocal residual
        weight = g.constant(weight, weights.norm(weight))
        attributes = dict(epsilon=shape.epsilon)
        if added is None:
            attributes |= dict(axis=-1, stash_type=1)
            return g.node("SimplifiedLayerNormalization", f"{name}/LayerNorm", residual, weight, **attributes)
        outputs = [f"{name}/output_0", "", "", f"{name}/output_3"]
        y = g.node(
            "SkipSimplifiedLayerNormalization",
            f"{name}/SkipLayerNorm",
            residual,
            added,
            weight,
            outputs=outputs,
            domain=ms,
            **attributes,
        )
        residual = outputs[3]
        return y

    for layer in range(shape.layers):
        at, of = f"/model/layers.{layer}", f"blk.{layer}"
        x = norm(f"{at}/input_layernorm", f"{of}.attn_norm")
        qkv = Blocks.stacked([weights.matrix(f"{of}.attn_{part}") for part in "qkv"])
        x = g.in_blocks(f"{at}/attn/qkv_proj/MatMul", x, qkv, shape)
        caches = [f"past_key_values.{layer}.key", f"past_key_values.{layer}.value"]
        outputs = [
            f"{at}/attn/GroupQueryAttention/output_0",
            f"present.{layer}.key",
            f"present.{layer}.value",
        ]
        x = g.node(
            "GroupQueryAttention",
            f"{at}/attn/GroupQueryAttention",
            *[x, "", "", *caches, lengths, longest, cos, sin],
            outputs=outputs,
            domain=ms,
            num_heads=shape.heads,
            kv_num_heads=shape.kv_heads,
            scale=shape.depth**-0.5,
            do_rotary=1,
            rotary_interleaved=0,
            local_window_size=-1,
        )
        added = g.in_blocks(f"{at}/attn/o_proj/MatMul", x, weights.matrix(f"{of}.attn_output"), shape)
        x = norm(f"{at}/post_attention_layernorm", f"{of}.ffn_norm")
        gate = g.in_blocks(f"{at}/mlp/gate_proj/MatMul", x, weights.matrix(f"{of}.ffn_gate"), shape)
        up = g.in_blocks(f"{at}/mlp/up_proj/MatMul", x, weights.matrix(f"{of}.ffn_up"), shape)
        sigmoid = g.node("Sigmoid", f"{at}/mlp/act_fn/Sigmoid", gate)
        x = g.node("Mul", f"{at}/mlp/act_fn/Mul", gate, sigmoid)
        x = g.node("Mul", f"{at}/mlp/Mul", x, up)
        added = g.in_blocks(f"{at}/mlp/down_proj/MatMul", x, weights.matrix(f"{of}.ffn_down"), shape)
    x = norm(f"/model/layers.{shape.layers}/final_norm_layernorm", "output_norm")
    g.in_blocks("/lm_head/MatMul", x, head, shape)
    g.nodes[-1].output[0] = "logits"
    return g.model("decoder", *ports(shape, False), own=True)


def plain(shape, weights):
    """Standard operators alone, as an exporter traces the model."""
    g = Graph()
    table = g.constant("model.embed_tokens.weight", weights.head().floats().astype(numpy.float32))
    x = g.node("Gather", "/model/embed_tokens/Gather", table, "input_ids")
    size = lambda name, of, axis: g.node(
        "Gather", f"/model/{name}", g.node("Shape", f"/model/{name}_shape", of), g.scalar(axis), axis=0
    )
    past = size("past_length", "past_key_values.0.key", 2)
    new, batch = size("new_length", "input_ids", 1), size("batch", "input_ids", 0)
    total = g.node("Add", "/model/total_length", past, new)
    one = g.scalar(1)
    places = g.node("Range", "/model/places", past, total, one)
    rows = g.node("Unsqueeze", "/model/rows", places, g.ints(1))
    columns = g.node(
        "Unsqueeze",
        "/model/columns",
        g.node("Range", "/model/all_places", g.scalar(0), total, one),
        g.ints(0),
    )
    causal = g.node("LessOrEqual", "/model/causal", columns, rows)
    kept = g.node("Cast", "/model/kept", "attention_mask", to=TensorProto.BOOL)
    kept = g.node("Unsqueeze", "/model/kept_unsqueezed", kept, g.ints(1, 2))
    seen = g.node("And", "/model/seen", causal, kept)
    zero, lowest = g.number("zero", 0), g.number("lowest", numpy.finfo(numpy.float32).min)
    mask = g.node("Where", "/model/mask", seen, zero, lowest)
    # The rotation, from the positions.
    frequencies = 1.0 / shape.theta ** (numpy.arange(0, shape.depth, 2, dtype=numpy.float32) / shape.depth)
    frequencies = g.constant("model.rotary_emb.inv_freq", frequencies.astype(numpy.float32)[None, None, :])
    positions = g.node("Cast", "/model/rotary_emb/Cast", "position_ids", to=TensorProto.FLOAT)
    positions = g.node("Unsqueeze", "/model/rotary_emb/Unsqueeze", positions, g.ints(2))
    angles = g.node("Mul", "/model/rotary_emb/Mul", positions, frequencies)
    angles = g.node("Concat", "/model/rotary_emb/Concat", angles, angles, axis=-1)
    tables = []
    for part in ("Cos", "Sin"):
        table_of = g.node(part, f"/model/rotary_emb/{part}", angles)
        tables.append(g.node("Unsqueeze", f"/model/rotary_emb/{part}_Unsqueeze", table_of, g.ints(1)))
    half, end = g.ints(shape.depth // 2), g.ints(numpy.iinfo(numpy.int64).max)
    last, nothing = g.ints(-1), g.ints(0)

    def rotated(name, x):
        front = g.node("Slice", f"{name}/front", x, nothing, half, last)
        back = g.node("Slice", f"{name}/back", x, half, end, last)
        turned = g.node("Concat", f"{name}/turned", g.node("Neg", f"{name}/Neg", back), front, axis=-1)
        near = g.node("Mul", f"{name}/near", x, tables[0])
        return g.node("Add", f"{name}/Add", near, g.node("Mul", f"{name}/far", turned, tables[1]))

    def norm(name, weight, x):
        weight = g.constant(weight, weights.norm(weight))
        square = g.node("Pow", f"{name}/Pow", x, g.number("two", 2))
        mean = g.node("ReduceMean", f"{name}/ReduceMean", square, last, keepdims=1)
        mean = g.node("Add", f"{name}/Add", mean, g.number("epsilon", shape.epsilon))
        factor = g.node("Reciprocal", f"{name}/Reciprocal", g.node("Sqrt", f"{name}/Sqrt", mean))
        return g.node("Mul", f"{name}/Mul_1", weight, g.node("Mul", f"{name}/Mul", x, factor))

    def product(name, weight, x):
        floats = weights.matrix(weight).floats()
        return g.node(
            "MatMul", f"{name}/MatMul", x, g.constant(f"{weight}.transposed", floats.T.astype(numpy.float32))
        )

    def by_head(name, x, heads):
        x = g.node("Reshape", f"{name}/Reshape", x, g.ints(0, 0, heads, shape.depth))
        return g.node("Transpose", f"{name}/Transpose", x, perm=[0, 2, 1, 3])

    def repeated(name, x):
        """Each head of a cache as often as heads of the queries share it."""
        times = shape.heads // shape.kv_heads
        if times == 1:
            return x
        x = g.node("Unsqueeze", f"{name}/Unsqueeze", x, g.ints(2))
        flat = lambda what, value: g.node("Unsqueeze", f"{name}/{what}", value, g.ints(0))
        parts = [
            flat("batch", batch),
            g.ints(shape.kv_heads),
            g.ints(times),
            flat("total", total),
            g.ints(shape.depth),
        ]
        x = g.node("Expand", f"{name}/Expand", x, g.node("Concat", f"{name}/Concat", *parts, axis=0))
        return g.node("Reshape", f"{name}/Reshape", x, g.ints(0, shape.heads, -1, shape.depth))

    for layer in range(shape.layers):
        at, of = f"/model/layers.{layer}", f"blk.{layer}"
        y = norm(f"{at}/input_layernorm", f"{of}.attn_norm", x)
        q, k, v = (
            by_head(
                f"{at}/self_attn/{part}",
                product(f"{at}/self_attn/{part}_proj", f"{of}.attn_{part}", y),
                heads,
            )
            for part, heads in (("q", shape.heads), ("k", shape.kv_heads), ("v", shape.kv_heads))
        )
        q, k = rotated(f"{at}/self_attn/q", q), rotated(f"{at}/self_attn/k", k)
        caches = []
        for part, value in (("key", k), ("value", v)):
            name = f"present.{layer}.{part}"
            inputs = [f"past_key_values.{layer}.{part}", value]
            g.node("Concat", f"{at}/self_attn/{part}/Concat", *inputs, outputs=[name], axis=2)
            caches.append(repeated(f"{at}/self_attn/{part}/repeated", name))
        keys = g.node("Transpose", f"{at}/self_attn/keys/Transpose", caches[0], perm=[0, 1, 3, 2])
        scores = g.node("MatMul", f"{at}/self_attn/scores/MatMul", q, keys)
        scores = g.node("Mul", f"{at}/self_attn/scores/Mul", scores, g.number("scale", shape.depth**-0.5))
        scores = g.node("Add", f"{at}/self_attn/scores/Add", scores, mask)
        shares = g.node("Softmax", f"{at}/self_attn/Softmax", scores, axis=-1)
        y = g.node("MatMul", f"{at}/self_attn/values/MatMul", shares, caches[1])
        y = g.node("Transpose", f"{at}/self_attn/values/Transpose", y, perm=[0, 2, 1, 3])
        y = g.node("Reshape", f"{at}/self_attn/values/Reshape", y, g.ints(0, 0, shape.heads * shape.depth))
        x = g.node("Add", f"{at}/Add", x, product(f"{at}/self_attn/o_proj", f"{of}.attn_output", y))
        y = norm(f"{at}/post_attention_layernorm", f"{of}.ffn_norm", x)
        gate = product(f"{at}/mlp/gate_proj", f"{of}.ffn_gate", y)
        gate = g.node(
            "Mul", f"{at}/mlp/act_fn/Mul", gate, g.node("Sigmoid", f"{at}/mlp/act_fn/Sigmoid", gate)
        )
        y = g.node("Mul", f"{at}/mlp/Mul", gate, product(f"{at}/mlp/up_proj", f"{of}.ffn_up", y))
        x = g.node("Add", f"{at}/Add_1", x, product(f"{at}/mlp/down_proj", f"{of}.ffn_down", y))
    x = norm("/model/norm", "output_norm", x)
    head = g.node("Transpose", "/lm_head/Transpose", table, perm=[1, 0])
    g.node("MatMul", "/lm_head/MatMul", x, head, outputs=["logits"])
    return g.model("decoder", *ports(shape, True), own=False)


def save(model, folder, external):
    """model.onnx, with the weights in model.onnx.data where `external`."""
    path = folder / "model.onnx"
    (folder / "model.onnx.data").unlink(missing_ok=True)
    options = (
        dict(save_as_external_data=True, location=path.name + ".data", size_threshold=1024)
        if external
        else {}
    )
    onnx.save(model, path, **options)


def forced(session, shape, ids, chunk=None):
    """The logits [tokens, vocabulary] of onnxruntime over a text, all at once or in chunks with the cache between."""
    names = {port.name for port in session.get_inputs()}
    caches = {
        name: numpy.zeros((1, shape.kv_heads, 0, shape.depth), numpy.float32)
        for name in names
        if name.startswith("past")
    }
    logits, at = [], 0
    while at < len(ids):
        part = ids[at : at + (chunk or len(ids))]
        end = at + len(part)
        feed = {
            "input_ids": numpy.array([part], numpy.int64),
            "attention_mask": numpy.ones((1, end), numpy.int64),
            **caches,
        }
        if "position_ids" in names:
            feed["position_ids"] = numpy.arange(at, end, dtype=numpy.int64)[None]
        made = dict(zip([port.name for port in session.get_outputs()], session.run(None, feed)))
        caches = {name: made[name.replace("past_key_values", "present")] for name in caches}
        logits.append(made["logits"][0])
        at = end
    return numpy.concatenate(logits)
