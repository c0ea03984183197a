"""What a policy writes, and with what probability it wrote each token.

Tokens are drawn from the policy at a temperature, among the likeliest `top_k` that hold a mass of `top_p`. What is
trained is just this way of writing: the set of tokens that could be drawn is kept with each position (`choices`), and
the probabilities of the old policy, the new one and the reference are all taken within it. So their ratio is exact
whatever is cut off; with the full distribution in its place, as is usual, a policy would be credited with a probability
that it did not draw from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from nbtrain.trainers.rl import value


@dataclass(frozen=True)
class Drawing:
    """How tokens are drawn. longest: tokens of an answer. top_k: 0 for all. ends: tokens that end an answer."""

    longest: int
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    ends: tuple[int, ...] = ()
    pad: int = 0

    @property
    def cut(self) -> bool:
        """Whether some tokens cannot be drawn."""
        return self.top_k > 0 or self.top_p < 1


@dataclass(frozen=True)
class Rollout:
    """Answers and what is known of them; `time` is the longest answer's tokens.

    ids, attention: (rows, start + time), prompts filled on the left, answers on the right.
    mask: (rows, time) float, 1 at the policy's tokens, an end token among them.
    logprobs, reference: (rows, time) by the policy that wrote them and by the reference.
    values: (rows, time), before each token. entropy: (rows, time).
    choices: (rows, time, most) tokens that could be drawn, filled with -1; None: all could.
    ended: (rows,) bool, whether the answer came to its end.
    """

    ids: Any
    attention: Any
    start: int
    mask: Any
    ended: Any
    logprobs: Any = None
    reference: Any = None
    values: Any = None
    entropy: Any = None
    choices: Any = None

    @property
    def tokens(self) -> Any:
        """(rows, time), the answers'."""
        return self.ids[:, self.start :]

    def rows(self, chosen: Any) -> Rollout:
        """Some rows of it."""
        parts = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "start"}
        return replace(self, **{name: part[chosen] for name, part in parts.items() if part is not None})


def write(model: Any, prompts: Sequence[Sequence[int]], drawing: Drawing) -> Rollout:
    """Let the model answer; its mode (training or not) is the caller's matter.

    Args:
        prompts: tokens of each.
    """
    import torch
    from transformers import GenerationConfig

    device = next(model.parameters()).device
    start = max(map(len, prompts))
    ids = torch.tensor([[drawing.pad] * (start - len(each)) + list(each) for each in prompts], device=device)
    attention = torch.tensor([[0] * (start - len(each)) + [1] * len(each) for each in prompts], device=device)
    settings = GenerationConfig(
        max_new_tokens=drawing.longest,
        do_sample=True,
        temperature=drawing.temperature,
        top_k=drawing.top_k,
        top_p=drawing.top_p,
        use_cache=True,
        pad_token_id=drawing.pad,
        eos_token_id=list(drawing.ends) or None,
    )
    with torch.no_grad():
        whole = model.generate(input_ids=ids, attention_mask=attention, generation_config=settings)
    written = whole[:, start:]
    is_end = torch.isin(written, torch.tensor(drawing.ends, device=device, dtype=written.dtype))
    before = is_end.long().cumsum(1) - is_end.long()  # ends before this token
    mask = (before == 0).float()
    return Rollout(whole, torch.cat((attention, mask.long()), 1), start, mask, is_end.any(1))


def scored(rollout: Rollout, policy: Any, head: Any, drawing: Drawing) -> Rollout:
    """The rollout with the policy's probabilities, values, entropy, and the tokens it could have drawn.

    They are computed from the whole text, as an update will: what generation saw, token by token, differs in the last
    digits, and would make a ratio of a policy to itself other than 1.
    """
    import torch

    with torch.no_grad():
        said = value.read(policy, rollout.ids, rollout.attention, rollout.start, head)
        logits = said.logits / drawing.temperature
        choices = _choices(logits, rollout.tokens, drawing) if drawing.cut else None
        logprobs, entropy = log_probabilities(logits, rollout.tokens, choices)
    return replace(rollout, logprobs=logprobs, values=said.values, entropy=entropy, choices=choices)


def referred(rollout: Rollout, reference: Any, drawing: Drawing) -> Rollout:
    """The rollout with the reference's probabilities."""
    import torch

    with torch.no_grad():
        said = value.read(reference, rollout.ids, rollout.attention, rollout.start)
        found, _ = log_probabilities(said.logits / drawing.temperature, rollout.tokens, rollout.choices)
    return replace(rollout, reference=found)


def log_probabilities(logits: Any, tokens: Any, choices: Any = None) -> tuple[Any, Any]:
    """(rows, time) log-probability of each token, and the entropy there, among the tokens that could be drawn.

    Args:
        logits: (rows, time, tokens), over the temperature. choices: as Rollout has them.
    """
    chosen = logits.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    if choices is not None:
        logits = logits.gather(-1, choices.clamp(min=0)).masked_fill(choices < 0, -float("inf"))
    total = logits.logsumexp(-1)
    shares = (logits - total.unsqueeze(-1)).exp()
    return chosen - total, total - (shares * logits.masked_fill(shares == 0, 0)).sum(-1)


def joined(parts: Sequence[Rollout], pad: int = 0) -> Rollout:
    """Rollouts as one, filled to the longest prompt and the longest answer."""
    import torch

    start = max(part.start for part in parts)
    time = max(part.mask.shape[1] for part in parts)

    def filled(part: Any, left: int, right: int, fill: float) -> Any:
        shape = (left, right) if part.dim() == 2 else (0, 0, left, right)
        return torch.nn.functional.pad(part, shape, value=fill)

    found: dict[str, Any] = {}
    for each in fields(Rollout):
        pieces = [getattr(part, each.name) for part in parts]
        if each.name == "start" or pieces[0] is None:
            continue
        if each.name == "ended":
            found[each.name] = torch.cat(pieces)
            continue
        if each.name == "choices":
            most = max(piece.shape[-1] for piece in pieces)
            pieces = [torch.nn.functional.pad(piece, (0, most - piece.shape[-1]), value=-1) for piece in pieces]
        fill = pad if each.name == "ids" else -1 if each.name == "choices" else 0
        whole = each.name in ("ids", "attention")
        found[each.name] = torch.cat(
            [
                filled(piece, start - part.start if whole else 0, time - part.mask.shape[1], fill)
                for piece, part in zip(pieces, parts, strict=True)
            ]
        )
    return Rollout(start=start, **found)


def chunks(rows: int, size: int) -> Iterator[slice]:
    """Slices of so many rows; the last may be shorter."""
    return (slice(begin, min(begin + size, rows)) for begin in range(0, rows, size))


def _choices(logits: Any, tokens: Any, drawing: Drawing) -> Any:
    """The tokens that could be drawn, and in any case the one that was."""
    import torch

    most = min(drawing.top_k or logits.shape[-1], logits.shape[-1])
    values, order = logits.topk(most, dim=-1)
    if drawing.top_p < 1:
        shares = values.softmax(-1)  # as transformers cuts: first the k likeliest, then the mass among them
        beyond = shares.cumsum(-1) - shares >= drawing.top_p
        order = order.masked_fill(beyond, -1)
        order = order[..., : int((~beyond).sum(-1).max())]
    drawn = tokens.unsqueeze(-1)
    missing = (order != drawn).all(-1, keepdim=True)
    # at the edge of the set the last digits decide: a token that was drawn could be drawn
    extra = torch.where(missing, drawn, -1)
    return torch.cat((order, extra), -1)
