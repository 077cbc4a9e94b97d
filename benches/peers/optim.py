"""One step of an optimizer over the matrices of a transformer: 12 layers of width 384, 21.2 million values."""

import contextlib
import time

from measure import arguments, report, timed, torch_with

LAYER = ((384, 384),) * 4 + ((1024, 384),) * 2 + ((384, 1024),)
args = arguments(__doc__, cold=False)
torch = torch_with(args.threads)


def parameters():
    numbers = torch.Generator().manual_seed(0)
    made = []
    for shape in LAYER * 12:
        parameter = torch.nn.Parameter(torch.randn(shape, generator=numbers) * 0.02)
        parameter.grad = torch.randn(shape, generator=numbers) * 1e-3
        made.append(parameter)
    return made


class Lion(torch.optim.Optimizer):
    """As its authors have it: a loop over parameters (arXiv:2302.06675)."""

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, dict(lr=lr, betas=betas, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_((momentum * beta1 + p.grad * (1 - beta1)).sign_(), alpha=-group["lr"])
                momentum.mul_(beta2).add_(p.grad, alpha=1 - beta2)


class Fira(torch.optim.Optimizer):
    """Adam in a low-rank subspace of the gradient, and the rest of it scaled alike (arXiv:2410.01623)."""

    def __init__(self, params, lr=1e-2, rank=64, gap=200, scale=1.0, gamma=1.01, betas=(0.9, 0.999), eps=1e-6):
        super().__init__(params, dict(lr=lr, rank=rank, gap=gap, scale=scale, gamma=gamma, betas=betas, eps=eps))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                self.update(p, group, self.state[p])

    def update(self, p, group, state):
        state["step"] = step = state.get("step", 0) + 1
        grad, transposed = p.grad, p.shape[0] > p.shape[1]
        if transposed:
            grad = grad.T
        if (step - 1) % group["gap"] == 0:
            state["projection"] = torch.linalg.svd(grad, full_matrices=False)[0][:, : group["rank"]]
        projection = state["projection"]
        low = projection.T @ grad
        beta1, beta2 = group["betas"]
        momentum = state.setdefault("momentum", torch.zeros_like(low)).mul_(beta1).add_(low, alpha=1 - beta1)
        variance = state.setdefault("variance", torch.zeros_like(low)).mul_(beta2).addcmul_(low, low, value=1 - beta2)
        direction = momentum / (variance.sqrt() + group["eps"])
        within = projection @ direction * group["scale"]
        factor = direction.norm(dim=0) / (low.norm(dim=0) + 1e-8)
        rest = (grad - projection @ low * group["scale"]) * factor
        norm = rest.norm()
        if "norm" in state:
            limit = max(norm / (state["norm"] + 1e-8), group["gamma"]) / group["gamma"]
            rest, norm = rest / limit, norm / limit
        state["norm"] = norm
        size = group["lr"] * (1 - beta2**step) ** 0.5 / (1 - beta1**step)
        update = within + rest
        p.add_(update.T if transposed else update, alpha=-size)


class Frugal(torch.optim.Optimizer):
    """AdamW on a quarter of the columns, signSGD on the others (arXiv:2411.07837)."""

    def __init__(self, params, lr=1e-3, density=0.25, gap=200, betas=(0.9, 0.999), eps=1e-8):
        super().__init__(params, dict(lr=lr, density=density, gap=gap, betas=betas, eps=eps))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                state = self.state[p]
                count = int(group["density"] * p.shape[1] + 1e-9)
                step = state.get("step", 0)
                if step % group["gap"] == 0:
                    choice = step // group["gap"]
                    columns = (torch.arange(count) + choice * count) % p.shape[1]
                    empty = torch.zeros(p.shape[0], count)
                    state.update(columns=columns, momentum=empty, variance=empty.clone(), since=0)
                state["step"], state["since"] = step + 1, state["since"] + 1
                columns, since = state["columns"], state["since"]
                active = p.grad[:, columns]
                momentum = state["momentum"].mul_(beta1).add_(active, alpha=1 - beta1)
                variance = state["variance"].mul_(beta2).addcmul_(active, active, value=1 - beta2)
                update = p.grad.sign()
                corrected = (variance / (1 - beta2**since)).sqrt_().add_(group["eps"])
                update[:, columns] = momentum / (1 - beta1**since) / corrected
                p.add_(update, alpha=-group["lr"])


def compiled(make):
    """The whole step through `torch.compile`."""

    def with_step(params):
        optimizer = make(params)
        plain = optimizer.step
        optimizer.step = torch.compile(lambda: plain())
        return optimizer

    return with_step


AdamW = torch.optim.AdamW
CASES = {
    "AdamW, loop": lambda params: AdamW(params, foreach=False, fused=False),
    "AdamW, foreach": lambda params: AdamW(params, foreach=True),
    "AdamW, fused": lambda params: AdamW(params, fused=True),
    "AdamW, compiled": compiled(lambda params: AdamW(params, foreach=True)),
    "SGD with momentum, fused": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9, fused=True),
    "Lion": Lion,
    "Lion, compiled": compiled(Lion),
    "FRUGAL": Frugal,
    "Fira": Fira,
    "Muon": lambda params: torch.optim.Muon(params, lr=0.01),
}
with contextlib.suppress(ImportError):
    import bitsandbytes

    CASES["AdamW, 8 bit, bitsandbytes"] = lambda params: bitsandbytes.optim.AdamW8bit(params)



def measure(name, make):
    params = parameters()
    optimizer = make(params)
    start = time.perf_counter()
    optimizer.step()
    first = time.perf_counter() - start
    times = timed(optimizer.step, 7, 1)
    values = sum(p.numel() for p in params)
    tensors = (value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value))
    state = sum(tensor.numel() * tensor.element_size() for tensor in tensors) / values
    report("optim", name, parameters=values, first_seconds=first, state_bytes_per_value=state, **times)


for name, make in CASES.items():
    try:
        measure(name, make)
    except Exception as error:  # one that fails here does not keep the others from being measured
        report("optim", name, error=f"{type(error).__name__}: {str(error).splitlines()[0][:200]}")
