"""The model that a policy is measured from, and what both write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from nbtrain.models import load
from nbtrain.runs.active import ActiveRun
from nbtrain.trainers._samples import Manner, Prompt, generate, undisturbed
from nbtrain.trainers.llm import _language, sft


def reference(params: Any, run: ActiveRun, model: Any) -> Any:
    """The frozen model beside `model`; None where that is `model` without its adapter, or where orpo names none."""
    import copy

    if params.model_ref is not None and load.resolve(params.model_ref) != load.resolve(params.model):
        return load.frozen_model(params, params.model_ref, tell=run.warn)
    if params.peft or (params.trainer == "orpo" and params.model_ref is None):
        return None
    return copy.deepcopy(model).requires_grad_(False).eval()


@contextmanager
def as_reference(model: Any, beside: Any) -> Iterator[Any]:
    """The reference: the model beside, or `model` with its adapter switched off."""
    if beside is not None:
        yield beside
        return
    with model.disable_adapter():
        yield model


class Samples:
    """What the policy writes, beside what the reference writes and what was chosen."""

    def __init__(  # noqa: PLR0913  the two models and what they are asked
        self, params: Any, run: ActiveRun, model: Any, beside: Any, tokenizer: Any, prompts: Sequence[Prompt]
    ) -> None:
        self.prompts = _language.own_prompts(params, tokenizer, sft.prompt) or list(prompts)
        self.params, self.run, self.model, self.beside, self.tokenizer = params, run, model, beside, tokenizer
        self._compared = beside is not None or params.peft
        self._reference: list[str] = []

    def __call__(self, step: int) -> tuple[Mapping[str, Any], ...]:
        """The samples after `step` steps."""
        if self._compared and not self._reference:  # it never changes
            with undisturbed(self.model), as_reference(self.model, self.beside) as model:
                self._reference = self._written(model)
        samples = [
            {"prompt": prompt.text, "output": output, "expected": prompt.expected}
            for prompt, output in zip(self.prompts, self._written(self.model), strict=True)
        ]
        for sample, said in zip(samples, self._reference, strict=False):
            sample["reference"] = said
        return tuple({name: said for name, said in sample.items() if said or name == "output"} for sample in samples)

    def _written(self, model: Any) -> list[str]:
        manner = Manner.of(self.params)
        return generate(model, self.tokenizer, self.prompts, manner, stopped=self.run.stop_asked)
