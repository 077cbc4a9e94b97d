"""From hidden states to the log-probability of a token over a large vocabulary, forward and backward.

Each way to do it runs in a process of its own, since the peak of its memory is asked for.
"""

from measure import arguments, peak_mib, report, timed, torch_with

CASES = ("log_softmax + gather", "TRL selective_log_softmax", "TRL chunked head", "TRL chunked head, entropy", "checkpointed chunks of 512")
args = arguments(__doc__, case=CASES[0], rows=4096, hidden=128, vocab=32_768)
torch = torch_with(args.threads)

hidden = torch.randn(args.rows, args.hidden, requires_grad=True)
weight = (torch.randn(args.vocab, args.hidden) * 0.05).requires_grad_(True)
tokens = torch.randint(args.vocab, (args.rows,))


def plain(hidden, tokens):
    return torch.log_softmax(hidden @ weight.T, -1).gather(-1, tokens[:, None])[:, 0]


def selective():
    from trl.trainer.utils import selective_log_softmax

    return lambda: selective_log_softmax((hidden @ weight.T)[None], tokens[None])[0]


def chunked(**how):
    """TRL's own head; its arguments are found by name, since their order is no promise."""
    import inspect

    from trl.kernels import ChunkedLogProbFunction

    given = dict(hidden=hidden, hidden_states=hidden, weight=weight, lm_head_weight=weight, labels=tokens, targets=tokens)
    given |= dict(index=tokens, bias=None, lm_head_bias=None, temperature=1.0, softcap=None, logit_scale=1.0) | how
    parameters = [own for name, own in inspect.signature(ChunkedLogProbFunction.forward).parameters.items() if name != "ctx"]
    in_order = [given.get(own.name, own.default) for own in parameters]

    def logp():
        result = ChunkedLogProbFunction.apply(*in_order)
        return result[0] if isinstance(result, tuple) else result

    return logp


def checkpointed(chunk):
    from torch.utils.checkpoint import checkpoint

    def logp():
        starts = range(0, args.rows, chunk)
        parts = (checkpoint(plain, hidden[at : at + chunk], tokens[at : at + chunk], use_reentrant=False) for at in starts)
        return torch.cat(list(parts))

    return logp


logp = {
    CASES[0]: lambda: lambda: plain(hidden, tokens),
    CASES[1]: selective,
    CASES[2]: lambda: chunked(compute_entropy=False, chunk_size=8192),
    CASES[3]: lambda: chunked(compute_entropy=True, outputs=("entropy",), chunk_size=32_768),
    CASES[4]: lambda: checkpointed(512),
}[args.case]()


def step():
    hidden.grad = weight.grad = None
    logp().sum().backward()


before = peak_mib()
times = timed(step, 3, 1)
report("head", args.case, rows=args.rows, hidden=args.hidden, vocab=args.vocab, extra_mib=peak_mib() - before, **times)
