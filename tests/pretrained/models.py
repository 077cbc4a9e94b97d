"""Tiny models of every family that is read, with random weights, and what `transformers` says of them.

    models.py make FOLDER [--all] [--seed N]   a folder for each model below FOLDER; --all makes further variants
    models.py check FOLDER                     what was saved below FOLDER against what should have been, bit for bit; and
                                               adapters, with `peft`, against the models that they were merged into

Runs in the environment of benches/peers, which it makes if it is not there. `cargo xtask transformers` calls both.
"""

import argparse
import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "benches/peers"))

TEXTS = ["12+34=", "the cat sat on the mat ", "a", "What is  9*9?\nTell me."]
CORPUS = TEXTS + ["one two three four five", "0 1 2 3 4 5 6 7 8 9", "Wait, what? No: yes; (maybe) [so] {or} <not> & * / % $ # @ !", "user assistant system"]
# Each as a family's own instruction models have it, with the special tokens of these.
TEMPLATES = {"llama": "llama3.jinja", "mistral": "gemma.jinja", "qwen2": "chatml.jinja", "qwen3": "qwen3.jinja", "gemma": "gemma.jinja"}
SIZES = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=64, eos_token_id=[2, 4], bos_token_id=1, pad_token_id=0)


def models():
    """Name, class of the configuration, what it is given, whether it is shipped with the repository."""
    from transformers import Gemma2Config, Gemma3TextConfig, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

    llama3 = dict(rope_type="llama3", rope_theta=100.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
                  original_max_position_embeddings=16)
    theta = dict(rope_type="default", rope_theta=50.0)
    gemma = dict(SIZES, head_dim=6, query_pre_attn_scalar=9, sliding_window=5)
    gemma3 = dict(rope_parameters=dict(
        full_attention=dict(rope_type="linear", rope_theta=200.0, factor=8.0),
        sliding_attention=dict(rope_type="default", rope_theta=20.0)), layer_types=["sliding_attention", "full_attention"])
    windows = dict(use_sliding_window=True, sliding_window=5, max_window_layers=1)
    return [
        ("llama", LlamaConfig, dict(SIZES, rope_parameters=llama3), True),
        ("mistral", MistralConfig, dict(SIZES, head_dim=6, sliding_window=5, rope_parameters=theta), True),
        ("qwen2", Qwen2Config, dict(SIZES, tie_word_embeddings=True, rope_parameters=theta), True),
        ("qwen3", Qwen3Config, dict(SIZES, head_dim=6, rope_parameters=theta), True),
        ("gemma2", Gemma2Config, dict(gemma, attn_logit_softcapping=5.0, final_logit_softcapping=3.0), True),
        ("gemma3", Gemma3TextConfig, dict(gemma, **gemma3), True),
        ("llama_biased", LlamaConfig, dict(SIZES, attention_bias=True, mlp_bias=True, head_dim=8, tie_word_embeddings=True,
                                           rope_parameters=dict(rope_type="linear", rope_theta=100.0, factor=2.0)), False),
        ("llama_bf16", LlamaConfig, dict(SIZES, rope_parameters=theta, dtype="bfloat16"), False),
        ("mistral_far", MistralConfig, dict(SIZES, sliding_window=None, rope_parameters=theta), False),
        ("qwen2_windows", Qwen2Config, dict(SIZES, rope_parameters=theta, **windows), False),
        ("qwen3_windows", Qwen3Config, dict(SIZES, head_dim=6, attention_bias=True, rope_parameters=theta, **windows), False),
        ("gemma2_biased", Gemma2Config, dict(gemma, attention_bias=True, attn_logit_softcapping=None), False),
        ("gemma2_bf16", Gemma2Config, dict(gemma, dtype="bfloat16"), False),
        ("gemma3_deep", Gemma3TextConfig, dict(gemma, num_hidden_layers=7), False),
    ]


def tokenizer(name):
    """Of bytes as Llama 3 and Qwen have it, or of words that begin with `▁` as Mistral and Gemma."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<bos>", "<eos>", "<s>", "<|end|>"]
    is_bytes = name.startswith(("llama", "qwen"))
    own = Tokenizer(models.BPE(unk_token=None if is_bytes else "<unk>"))
    if is_bytes:
        own.normalizer = normalizers.NFC()
        split = r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        from tokenizers import Regex

        own.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(split), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        own.decoder = decoders.ByteLevel()
    else:
        own.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        own.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    own.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=110, special_tokens=special + [] if is_bytes else special + ["<unk>"]))
    if not name.startswith("qwen"):
        own.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    template = next(template for family, template in TEMPLATES.items() if name.startswith(family))
    return PreTrainedTokenizerFast(tokenizer_object=own, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>",
                                   chat_template=(HERE / "templates" / template).read_text(), clean_up_tokenization_spaces=False)


def make(folder, everything, seed):
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    for number, (name, config, given, is_shipped) in enumerate(models()):
        if not (is_shipped or everything):
            continue
        torch.manual_seed(seed + number)
        words = tokenizer(name)
        kind = getattr(torch, given.get("dtype", "float32"))
        model = AutoModelForCausalLM.from_config(config(vocab_size=len(words), **given), attn_implementation="eager").eval()
        with torch.no_grad():
            for of, parameter in model.named_parameters():
                around = 1.0 if "norm" in of and "gemma" not in name else 0.0
                parameter.copy_(around + 0.3 * torch.randn_like(parameter))
        model = model.to(kind)
        model.generation_config.eos_token_id = SIZES["eos_token_id"]
        to = folder / name
        model.save_pretrained(to, max_shard_size="8KB" if name == "mistral" else "1GB")
        words.save_pretrained(to)
        tokens = torch.randint(5, len(words), (2, 11))
        with torch.no_grad():
            logits = model(tokens).logits.float()
            greedy = []
            for text in TEXTS:
                ids = words(text, return_tensors="pt").input_ids
                out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, do_sample=False)
                greedy.append(out[0, ids.shape[1]:].tolist())
        save_file({"tokens": tokens, "logits": logits.contiguous()}, to / "reference.safetensors")
        adapter(model, to / "adapter")

        def chats(*before):
            # The date that the template has where it is told none, since a run must repeat.
            written = [words.apply_chat_template([*before, {"role": "user", "content": text}], add_generation_prompt=True,
                                                 tokenize=False, date_string="26 Jul 2024") for text in TEXTS]
            return [words(chat, add_special_tokens=False).input_ids for chat in written]

        takes_system = "System role not supported" not in words.chat_template
        reference = {
            "texts": TEXTS,
            "prompts": [words(text).input_ids for text in TEXTS],
            "chats": chats(),
            "advised": chats({"role": "system", "content": " Be brief. "}) if takes_system else None,
            "greedy": greedy,
            "written": [words.decode(tokens, skip_special_tokens=True) for tokens in greedy],
        }
        (to / "reference.json").write_text(json.dumps(reference, ensure_ascii=False, indent=1) + "\n")


def adapter(model, to):
    """An adapter of all matrices, as `peft` makes and saves it, with random weights."""
    import torch
    from peft import LoraConfig, get_peft_model

    modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    tuned = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=modules, task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.3 * torch.randn_like(parameter))
    tuned.save_pretrained(to)
    tuned.unload()


def check_adapters(folder):
    """`peft` puts each adapter on its model: logits to 1e-4 of the merged one's, its merged weights; those of `peft` came back."""
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    saved = sorted(path for path in folder.iterdir() if (path / "adapter").exists())
    for path in saved:
        base = folder.parents[1] / "models" / path.name
        tokens = load_file(base / "reference.safetensors")["tokens"]
        for adapter, merged in [("adapter", "merged"), ("again", "again_merged")]:
            tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), path / adapter).eval()
            ours = AutoModelForCausalLM.from_pretrained(path / merged).eval()
            is_bf16 = ours.dtype == torch.bfloat16
            with torch.no_grad():
                gap = (tuned(tokens).logits - ours(tokens).logits).abs().max().item()
            # In bf16 a sum of products is not the product of the sum; the merged weights tell.
            assert is_bf16 or gap < 1e-4, f"{path.name}: {adapter}: logits differ by {gap}"
            weights = dict(tuned.merge_and_unload().state_dict())
            for name, value in ours.state_dict().items():
                gap = (weights[name].float() - value.float()).abs().max().item()
                assert gap <= (2e-2 if is_bf16 else 1e-6), f"{path.name}: {adapter}: {name} differs by {gap}"
        made, again = (load_file(of / "adapter_model.safetensors") for of in (base / "adapter", path / "again"))
        assert made.keys() == again.keys(), f"{path.name}: {made.keys() ^ again.keys()}"
        for name, value in made.items():
            assert torch.equal(value.float(), again[name].float()), f"{path.name}: {name} is not as `peft` wrote it"
    assert saved, f"no adapter was saved below {folder}"
    print(f"{len(saved)} adapters passed, 0 failed")


def check(folder):
    """`transformers` loads each saved folder to the very bits of `expected.safetensors` beside it."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    saved = sorted(path for path in folder.iterdir() if (path / "config.json").exists())
    for path in saved:
        model, said = AutoModelForCausalLM.from_pretrained(path, output_loading_info=True)
        for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            assert not said[what], f"{path.name}: {what}: {said[what]}"
        found = {name: value for name, value in model.state_dict().items()
                 if not (name == "lm_head.weight" and model.config.tie_word_embeddings)}
        expected = load_file(f"{path}.expected.safetensors")
        assert found.keys() == expected.keys(), f"{path.name}: {found.keys() ^ expected.keys()}"
        for name, value in expected.items():
            own = found[name]
            assert own.dtype == value.dtype, f"{path.name}: {name} is {own.dtype}, not {value.dtype}"
            bits = torch.int16 if value.dtype == torch.bfloat16 else torch.int32
            assert torch.equal(own.view(bits), value.view(bits)), f"{path.name}: {name} has other bits"
        assert len(AutoTokenizer.from_pretrained(path)) > 0
    assert saved, f"nothing was saved below {folder}"
    print(f"{len(saved)} passed, 0 failed")
    check_adapters(folder / "adapters")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("task", choices=["make", "check"])
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--all", action="store_true")
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    if "RLPC_PEERS" not in os.environ:
        import environment

        python, variables = environment.ready()
        os.execve(python, [str(python), *sys.argv], dict(variables, RLPC_PEERS="1", OMP_NUM_THREADS="1"))
    from transformers.utils import logging

    logging.disable_progress_bar()
    if given.task == "make":
        make(given.folder, given.all, given.seed)
    else:
        check(given.folder)


main()
