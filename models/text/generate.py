#!/usr/bin/env python3
"""Trains the tiny language model of this folder, and writes it in two layouts: genai/ (4-bit weights,
GroupQueryAttention) and plain/ (float32 weights, standard operators), each with its tokenizer, chat template and
configuration.

It learns one short text by heart, so that what it says next is far likelier than anything else: devices agree on
it. greedy.json is what onnxruntime's CPU says behind some prompts.

    pip install numpy onnx==1.23.2 onnxruntime==1.32.0 tokenizers torch transformers && python generate.py

Weights are seeded, but torch's sums may differ from one machine to another.
"""

import json
import sys
from pathlib import Path

import numpy
import onnxruntime
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent.parent / "tools"))
import decoder_graph  # noqa: E402

TEXT = """Once upon a time a sardonyx lay on a beach. It had bands of red and white, and it was proud of them. A wave came by and
asked: "Which of your bands is the oldest?" The stone thought for 1,000 years. Then it said: "The one that you wash away first."
The wave laughed 🙂 and went to Zürich, to 東京 and home again. The end."""
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = """{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
QUESTION, ANSWER = "Who are you?", "I am a small stone."
SHAPE = decoder_graph.Shape(
    vocabulary=320,
    hidden=64,
    inner=128,
    heads=4,
    kv_heads=2,
    depth=16,
    layers=2,
    context=256,
    theta=10000.0,
    epsilon=1e-5,
    block=16,
)


def tokenizer():
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=SHAPE.vocabulary, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    # Words without umlauts and the like: their characters stay several tokens.
    made.train_from_iterator(
        [word for word in TEXT.split(" ") if word.isascii()] * 3 + [" " + word for word in TEXT.split()],
        trainer,
    )
    return made


def trained(lines):
    torch.manual_seed(1)
    torch.set_num_threads(1)
    config = LlamaConfig(tie_word_embeddings=True, initializer_range=0.1, **SHAPE.config())
    model = LlamaForCausalLM(config).float()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    for step in range(500):
        loss = sum(model(torch.tensor([line]), labels=torch.tensor([line])).loss for line in lines)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    print(f"loss {loss.item():.4f}")
    return {name: value.detach().numpy() for name, value in model.state_dict().items()}


class Trained(decoder_graph.Weights):
    PARTS = {
        "attn_norm": "input_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }

    def __init__(self, state):
        self.state = state

    def floats(self, name):
        if name == "output_norm":
            return self.state["model.norm.weight"]
        _, layer, part = name.split(".")
        return self.state[f"model.layers.{layer}.{self.PARTS[part]}.weight"]

    def norm(self, name):
        return self.floats(name)

    def matrix(self, name):
        return decoder_graph.packed(self.floats(name), SHAPE.block)

    def head(self):
        x = self.state["model.embed_tokens.weight"]
        blocks = x.reshape(len(x), -1, SHAPE.block)
        scales = (numpy.abs(blocks).max(-1) / 127).astype(numpy.float32)
        q = numpy.clip(numpy.rint(blocks / scales[..., None]) + 128, 0, 255).astype(numpy.uint8)
        return decoder_graph.Blocks(q.reshape(x.shape), scales, None, bits=8)


class Exact:
    """A matrix as it is."""

    def __init__(self, array):
        self.array = array

    def floats(self):
        return self.array


class Plain(Trained):
    def matrix(self, name):
        return Exact(self.floats(name))

    def head(self):
        return Exact(self.state["model.embed_tokens.weight"])


def greedy(folder, ids, count):
    """The likeliest tokens behind a prompt, by onnxruntime, until the text ends."""
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    made = []
    while len(made) < count:
        logits = decoder_graph.forced(session, SHAPE, ids + made)[-1]
        made.append(int(logits.argmax()))
        if made[-1] in (0, 2):
            break
    return made


def main():
    tokens = tokenizer()
    chat = "".join(
        f"<|im_start|>{role}\n{text}<|im_end|>\n"
        for role, text in (("user", QUESTION), ("assistant", ANSWER))
    )
    lines = [tokens.encode(text).ids for text in (TEXT + "<|endoftext|>", chat)]
    state = trained(lines)
    config = dict(
        architectures=["LlamaForCausalLM"],
        model_type="llama",
        vocab_size=SHAPE.vocabulary,
        hidden_size=SHAPE.hidden,
        num_attention_heads=SHAPE.heads,
        num_key_value_heads=SHAPE.kv_heads,
        num_hidden_layers=SHAPE.layers,
        max_position_embeddings=SHAPE.context,
    )
    names = dict(bos_token="<|im_start|>", eos_token="<|im_end|>", unk_token="<|endoftext|>")
    prompts = ["Once upon a time", "Once upon a time a sardonyx lay on a beach. It had bands"]
    chat_prompt = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    recorded = {}
    for form, weights in (("genai", Trained(state)), ("plain", Plain(state))):
        folder = HERE / form
        folder.mkdir(exist_ok=True)
        make = decoder_graph.genai if form == "genai" else decoder_graph.plain
        decoder_graph.save(make(SHAPE, weights), folder, external=False)
        tokens.save(str(folder / "tokenizer.json"), pretty=False)
        files = {
            "tokenizer_config": dict(names, chat_template=TEMPLATE, model_max_length=SHAPE.context),
            "config": config,
            "generation_config": dict(bos_token_id=1, eos_token_id=[2, 0]),
        }
        if form == "genai":
            decoder = dict(
                filename="model.onnx", head_size=SHAPE.depth, num_key_value_heads=2, num_hidden_layers=2
            )
            model = dict(
                context_length=SHAPE.context, vocab_size=SHAPE.vocabulary, eos_token_id=[2, 0], bos_token_id=1
            )
            files["genai_config"] = dict(model=dict(model, decoder=decoder), search=dict(do_sample=False))
        for name, value in files.items():
            (folder / f"{name}.json").write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
        recorded[form] = []
        for prompt in [*prompts, chat_prompt]:
            ids = tokens.encode(prompt).ids
            made = greedy(folder, ids, 220)
            recorded[form].append(dict(prompt=prompt, ids=ids, tokens=made, text=tokens.decode(made)))
            print(form, repr(prompt), "->", repr(recorded[form][-1]["text"]))
    (HERE / "greedy.json").write_text(json.dumps(recorded, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
