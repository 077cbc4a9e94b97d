"""`generate` of transformers on the tiny Llama of the GRPO settings, with a static number of tokens."""

from measure import arguments, report, timed, torch_with

TOKENS = 64
args = arguments(__doc__)
torch = torch_with(args.threads)
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

config = LlamaConfig(
    vocab_size=256, hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4,
    num_key_value_heads=4, max_position_embeddings=512, tie_word_embeddings=False,
    pad_token_id=0, bos_token_id=1, eos_token_id=None,
)  # fmt: skip
model = LlamaForCausalLM(config).eval()
for batch in (1, 16, 128):
    prompts = torch.randint(3, 250, (batch, 8))

    def generate():
        model.generate(
            prompts, attention_mask=torch.ones_like(prompts), do_sample=True, top_k=0,
            max_new_tokens=TOKENS, min_new_tokens=TOKENS, pad_token_id=0,
        )  # fmt: skip

    with torch.inference_mode():
        times = timed(generate, 5, 1)
    drawn = batch * TOKENS
    per = {"tokens_per_second": drawn / times["seconds"], "tokens_per_cpu_second": drawn / times["cpu_seconds"]}
    report("gen", f"batch {batch}", tokens=drawn, **per, **times)
