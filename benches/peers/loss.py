"""PPO's clipped surrogate and the k3 estimator of the KL divergence on ready log-probabilities, forward and backward."""

import time

from measure import arguments, report, timed, torch_with

SHAPES = ((128, 64), (128, 1024), (512, 4096))
args = arguments(__doc__, cold=False)
torch = torch_with(args.threads)
from torch._inductor.cpu_vec_isa import pick_vec_isa  # noqa: E402


def loss(logp, old, reference, advantage, real):
    ratio = torch.exp(logp - old)
    advantage = advantage[:, None]
    surrogate = -torch.min(ratio * advantage, torch.clamp(ratio, 0.8, 1.2) * advantage)
    difference = reference - logp
    per_token = surrogate + 0.02 * (torch.exp(difference) - difference - 1)
    return ((per_token * real).sum(-1) / real.sum(-1).clamp(min=1)).mean()


for rows, tokens in SHAPES:
    logp = torch.randn(rows, tokens, requires_grad=True)
    old, reference = (logp.detach() + 0.05 * torch.randn(rows, tokens) for _ in range(2))
    # Sequences of 80 to 100 % of the longest, as a batch of responses has them.
    lengths = torch.randint(tokens * 4 // 5, tokens + 1, (rows, 1))
    real = (torch.arange(tokens) < lengths).float()
    batch = (logp, old, reference, torch.randn(rows), real)

    def step(function):
        logp.grad = None
        function(*batch).backward()

    shape = f"[{rows}, {tokens}]"
    report("loss", f"eager {shape}", **timed(lambda: step(loss), 7, 2))
    torch._dynamo.reset()
    compiled = torch.compile(loss, dynamic=False)
    start, cpu_start = time.perf_counter(), time.process_time()
    step(compiled)
    first = {"first_seconds": time.perf_counter() - start, "first_cpu_seconds": time.process_time() - cpu_start}
    times = timed(lambda: step(compiled), 7, 2)
    # Without vector instructions the compiler was not set up as it should be, and the times say little.
    report("loss", f"torch.compile {shape}", cold=args.cold, vectors=str(pick_vec_isa()), **first, **times)
