#!/usr/bin/env python3
"""Makes the tiny encoder and decoder of this folder: T5's shape with seeded random weights, exported by optimum in both
of its layouts: merged/ (encoder_model.onnx, decoder_model_merged.onnx) and pair/ (encoder_model.onnx,
decoder_model.onnx, decoder_with_past_model.onnx). greedy.json is what transformers generates of some texts.

    pip install optimum-onnx==0.1.0 torch==2.8.0 'transformers<4.58' && python generate.py

Weights are seeded, but torch's sums may differ from one machine to another.
"""

import json
import shutil
import tempfile
from pathlib import Path

import torch
from optimum.exporters.onnx import main_export
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

HERE = Path(__file__).parent
TEXT = """Once upon a time a sardonyx lay on a beach. It had bands of red and white, and it was proud of them. A wave came by
and asked: "Which of your bands is the oldest?" The stone thought for 1,000 years. Then it said: "The one that you wash
away first." The wave laughed and went to Zürich, to 東京 and home again. The end."""
SPECIAL = ["<pad>", "</s>", "<unk>"]
PROMPTS = ["translate: A wave came by.", "The stone thought for 1,000 years, and then it said", "beach"]
FORCED = 9
NEW = 24


def tokenizer():
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )
    made.train_from_iterator([TEXT], trainer)
    made.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return made


def greedy(model, fast, prompt, **options):
    """The tokens that transformers generates, the one that begins the answer left out, and the least distance from the
    likeliest token's score to the next one's."""
    found = model.generate(
        **fast(prompt, return_tensors="pt"),
        max_new_tokens=NEW,
        do_sample=False,
        num_beams=1,
        output_logits=True,
        return_dict_in_generate=True,
        **options,
    )
    ids = found.sequences[0, 1:].tolist()
    margins = [float(-torch.diff(logits[0].topk(2).values)[0]) for logits in found.logits]
    return dict(
        prompt=prompt,
        ids=fast(prompt).input_ids,
        tokens=ids,
        text=fast.decode(ids, skip_special_tokens=True),
        margin=min(margins),
    )


def main():
    made = tokenizer()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=64,
        model_input_names=["input_ids", "attention_mask"],
    )
    config = T5Config(
        vocab_size=made.get_vocab_size(),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
    )
    # The first seed of which an answer ends by itself, and no choice is a close one.
    for seed in range(1000):
        torch.manual_seed(seed)
        model = T5ForConditionalGeneration(config).eval()
        model.lm_head.weight.data *= 3
        recorded = dict(greedy=[greedy(model, fast, prompt) for prompt in PROMPTS])
        ends = [len(one["tokens"]) for one in recorded["greedy"] if one["tokens"][-1] == 1]
        if any(4 < length for length in ends) and all(one["margin"] > 0.1 for one in recorded["greedy"]):
            break
    print("seed", seed)
    recorded["forced_bos"] = [greedy(model, fast, PROMPTS[0], forced_bos_token_id=FORCED)]
    recorded["forced_bos_token_id"] = FORCED
    for one in recorded["greedy"]:
        print(one["tokens"], one["margin"])
    (HERE / "greedy.json").write_text(json.dumps(recorded, ensure_ascii=False) + "\n")
    with tempfile.TemporaryDirectory() as scratch:
        source, exported = Path(scratch) / "source", Path(scratch) / "exported"
        model.save_pretrained(source)
        fast.save_pretrained(source)
        main_export(str(source), str(exported), task="text2text-generation-with-past", opset=18)
        print(sorted(path.name for path in exported.iterdir()))
        onnx = dict(
            merged=["decoder_model_merged.onnx"], pair=["decoder_model.onnx", "decoder_with_past_model.onnx"]
        )
        for form, decoders_ in onnx.items():
            folder = HERE / form
            folder.mkdir(exist_ok=True)
            for name in ["encoder_model.onnx", *decoders_]:
                shutil.copy(exported / name, folder / name)
            for name in ["config.json", "generation_config.json", "tokenizer.json"]:
                shutil.copy(exported / name, folder / name)


if __name__ == "__main__":
    main()
