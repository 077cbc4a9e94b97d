"""TRL's GRPOTrainer on the CPU, on a small Llama from scratch that learns to add; the settings are those of
`benches/pipelines/`.

The step time is all that TRL does in a step, its glue included: that is what a user of TRL pays.
"""

import os
import random
import statistics
import tempfile
import time
import warnings

from measure import arguments, peak_mib, report, torch_with

SETTINGS = {
    "A": dict(),
    "B": dict(max_tokens=12, epochs=2, minibatch=64, kl=0.02),
    "C": dict(hidden=256, layers=6, heads=8, ffn=768, vocab=4096, max_tokens=128),
    "V": dict(vocab=32_768, prompts=4, max_tokens=128),
}
DEFAULTS = dict(hidden=128, layers=4, heads=4, ffn=384, vocab=256, prompts=16, max_tokens=64, epochs=1, minibatch=128, kl=0.0)
SAMPLES = 8

args = arguments(__doc__, setting="A", steps=3)
setting = DEFAULTS | SETTINGS[args.setting]
start = time.perf_counter()
torch = torch_with(args.threads)
import transformers  # noqa: E402
from datasets import Dataset  # noqa: E402
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainerCallback  # noqa: E402
from trl import GRPOConfig, GRPOTrainer  # noqa: E402

import_seconds = time.perf_counter() - start
transformers.utils.logging.set_verbosity_error()
warnings.filterwarnings("ignore")


def tokenizer():
    """A token a printable character, then names up to the size of the vocabulary."""
    vocab = {"<pad>": 0, "<bos>": 1, "<eos>": 2}
    for code in range(32, 127):
        vocab[chr(code)] = len(vocab)
    while len(vocab) < setting["vocab"]:
        vocab[f"<x{len(vocab)}>"] = len(vocab)
    made = Tokenizer(models.WordLevel(vocab, unk_token="<pad>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    made.decoder = decoders.Fuse()
    special = dict(pad_token="<pad>", bos_token="<bos>", eos_token="<eos>")
    return PreTrainedTokenizerFast(tokenizer_object=made, padding_side="left", **special)


def model(folder, tokenizer):
    config = LlamaConfig(
        vocab_size=setting["vocab"], hidden_size=setting["hidden"], intermediate_size=setting["ffn"],
        num_hidden_layers=setting["layers"], num_attention_heads=setting["heads"], num_key_value_heads=setting["heads"],
        max_position_embeddings=512, tie_word_embeddings=False, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    made = LlamaForCausalLM(config).float()
    if setting["kl"] == 0:
        return made
    # For the reference model TRL loads the policy once more, from wherever it says that it came from.
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)


def problems():
    numbers = random.Random(0)
    pairs = [(numbers.randrange(10, 100), numbers.randrange(10, 100)) for _ in range(512)]
    return Dataset.from_list([{"prompt": f"{a}+{b}=", "answer": str(a + b)} for a, b in pairs])


def exact_answer(completions, answer, **_):
    given = [text.strip() for text in completions]
    return [1.0 if text == want else (0.1 if text[:1].isdigit() else 0.0) for text, want in zip(given, answer)]


class Clock(TrainerCallback):
    """Wall and CPU seconds of each optimizer step."""

    def __init__(self):
        self.wall, self.cpu = [], []

    def on_step_begin(self, *_, **__):
        self.start = time.perf_counter(), time.process_time()

    def on_step_end(self, *_, **__):
        self.wall.append(time.perf_counter() - self.start[0])
        self.cpu.append(time.process_time() - self.start[1])


class Trainer(GRPOTrainer):
    """Counts what is generated, and the time that it takes."""

    def _generate_single_turn(self, *given, **named):
        start, cpu_start = time.perf_counter(), time.process_time()
        generated = super()._generate_single_turn(*given, **named)
        self.generated.append((time.perf_counter() - start, time.process_time() - cpu_start, sum(map(len, generated[0]))))
        return generated


def main():
    rows = setting["prompts"] * SAMPLES
    minibatch = min(setting["minibatch"], rows)
    updates = setting["epochs"] * (rows // minibatch)  # of one rollout
    with tempfile.TemporaryDirectory(prefix="rlpc-peers-") as folder:
        own_tokenizer = tokenizer()
        policy, clock = model(os.path.join(folder, "policy"), own_tokenizer), Clock()
        config = GRPOConfig(
            output_dir=folder, use_cpu=True, bf16=False, fp16=False, gradient_checkpointing=False,
            per_device_train_batch_size=minibatch, gradient_accumulation_steps=1, generation_batch_size=rows,
            num_generations=SAMPLES, max_completion_length=setting["max_tokens"], num_iterations=setting["epochs"],
            loss_type="grpo", beta=setting["kl"], epsilon=0.2, temperature=1.0, top_p=1.0, top_k=0,
            learning_rate=1e-3, lr_scheduler_type="constant", weight_decay=0.01, max_grad_norm=1.0,
            max_steps=args.steps * updates, logging_strategy="no", save_strategy="no", report_to="none", disable_tqdm=True,
            seed=0, dataloader_pin_memory=False,
        )  # fmt: skip
        trainer = Trainer(
            model=policy, reward_funcs=exact_answer, args=config, train_dataset=problems(),
            processing_class=own_tokenizer, callbacks=[clock],
        )  # fmt: skip
        trainer.generated = []
        trainer.train()
    wall, cpu = by_step(clock.wall, updates), by_step(clock.cpu, updates)
    generated = trainer.generated
    tokens = [count for _, _, count in generated]
    report(
        "grpo", args.setting, parameters=sum(p.numel() for p in policy.parameters()), steps=args.steps,
        seconds=min(wall), median_seconds=statistics.median(wall), cpu_seconds=min(cpu),
        generation_cpu_seconds=min(cpu for _, cpu, _ in generated), tokens=statistics.median(tokens),
        cpu_microseconds_per_token=min(cpu / count for cpu, count in zip(cpu, tokens)) * 1e6,
        peak_mib=peak_mib(), import_seconds=import_seconds,
    )  # fmt: skip


def by_step(seconds, updates):
    """All updates of a rollout together: what rlpc calls a step."""
    return [sum(seconds[at : at + updates]) for at in range(0, len(seconds), updates)]


main()
