"""What a policy writes: the bounds of its answers, and probabilities that are exactly those it drew with."""

import dataclasses

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from nbtrain.trainers.rl import rollouts, value
from nbtrain.trainers.rl.rollouts import Drawing

PROMPTS = [[5, 6, 7], [8], [9, 10]]
END = 2


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=24, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.3,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def head(model):
    torch.manual_seed(1)
    head = value.value_head(model)
    assert (head.weight == 0).all() and (head.bias == 0).all()
    torch.nn.init.normal_(head.weight)
    return head


def drawn(model, head, **changes):
    drawing = Drawing(**{"longest": 8, "ends": (END,), "pad": 0, **changes})
    torch.manual_seed(3)
    return rollouts.scored(rollouts.write(model, PROMPTS, drawing), model, head, drawing), drawing


def test_an_answer_ends_with_its_end_token(model):
    torch.manual_seed(3)
    found = rollouts.write(model, PROMPTS * 20, Drawing(8, ends=(END,)))
    for tokens, mask, ended in zip(found.tokens.tolist(), found.mask.tolist(), found.ended.tolist(), strict=True):
        length = int(sum(mask))
        assert mask == [1.0] * length + [0.0] * (len(mask) - length)
        assert END not in tokens[: length - 1] and (tokens[length - 1] == END) == ended
    assert 0 < found.ended.sum() < 60
    assert found.ids[1, :3].tolist() == [0, 0, 8] and found.attention[1, :3].tolist() == [0, 0, 1]


def test_probabilities_are_those_of_the_answer_by_itself(model, head):
    found, _ = drawn(model, head)
    for row, prompt in enumerate(PROMPTS):
        length = int(found.mask[row].sum())
        alone = torch.tensor([prompt + found.tokens[row, :length].tolist()])
        with torch.no_grad():
            said = model(alone, output_hidden_states=True)
        logs = said.logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        expected = logs.gather(1, found.tokens[row, :length, None]).squeeze(1)
        assert torch.allclose(found.logprobs[row, :length], expected, atol=1e-5)
        values = head(said.hidden_states[-1][0, len(prompt) - 1 : -1]).squeeze(1)
        assert torch.allclose(found.values[row, :length], values, atol=1e-5)
        entropy = -(logs.exp() * logs).sum(-1)
        assert torch.allclose(found.entropy[row, :length], entropy, atol=1e-5)


@pytest.mark.parametrize("cut", [{"top_k": 4}, {"top_p": 0.6}, {"top_k": 6, "top_p": 0.7, "temperature": 0.8}])
def test_probabilities_are_taken_among_the_tokens_that_could_be_drawn(model, head, cut):
    found, drawing = drawn(model, head, **cut)
    said = value.read(model, found.ids, found.attention, found.start)
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    scores = said.logits.detach().flatten(0, 1)
    scores = TemperatureLogitsWarper(drawing.temperature)(None, scores) if drawing.temperature != 1 else scores
    scores = TopKLogitsWarper(drawing.top_k)(None, scores) if drawing.top_k else scores
    scores = TopPLogitsWarper(drawing.top_p)(None, scores) if drawing.top_p < 1 else scores
    logs = scores.log_softmax(-1).view(*found.tokens.shape, -1)
    expected = logs.gather(-1, found.tokens[..., None]).squeeze(-1)
    inside = found.mask.bool()
    assert torch.isfinite(expected[inside]).all()
    assert torch.allclose(found.logprobs[inside], expected[inside], atol=1e-5)


def test_a_policy_that_did_not_move_has_a_ratio_of_one_and_a_reference_of_itself_no_divergence(model, head):
    found, drawing = drawn(model, head, top_k=5, temperature=0.7)
    again = rollouts.referred(found, model, drawing)
    assert torch.allclose(again.reference[found.mask.bool()], found.logprobs[found.mask.bool()], atol=1e-6)


def test_a_token_at_the_edge_of_the_set_counts_as_one_that_could_be_drawn():
    logits = torch.tensor([[[3.0, 2.0, 1.0, 0.0]]])
    drawing = Drawing(1, top_k=2)
    choices = rollouts._choices(logits, torch.tensor([[2]]), drawing)
    assert choices.tolist() == [[[0, 1, 2]]]
    assert rollouts._choices(logits, torch.tensor([[1]]), drawing).tolist() == [[[0, 1, -1]]]
    found, _ = rollouts.log_probabilities(logits, torch.tensor([[1]]), torch.tensor([[[0, 1, -1]]]))
    assert found.exp() == pytest.approx(1 / (1 + 2.718281828))


def test_parts_of_different_width_are_joined(model, head):
    one, _ = drawn(model, head, top_k=3)
    narrow = dataclasses.replace(one.rows([1]), **{
        name: getattr(one, name)[[1]][:, 2:] for name in ("ids", "attention")
    }, start=1)  # fmt: skip
    joined = rollouts.joined([narrow, one])
    assert torch.equal(joined.ids[0], one.ids[1]) and torch.equal(joined.attention[0], one.attention[1])
    assert torch.equal(joined.logprobs[0], one.logprobs[1]) and torch.equal(joined.choices[1:], one.choices)
    assert joined.start == 3 and len(joined.ended) == 4


def test_a_model_with_positions_of_its_own_is_read_alike_with_padding():
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=24, n_embd=16, n_layer=1, n_head=2, n_positions=32)).eval()
    ids = torch.tensor([[0, 0, 5, 6, 7]])
    padded = value.read(model, ids, torch.tensor([[0, 0, 1, 1, 1]]), 3, value.value_head(model))
    alone = value.read(model, ids[:, 2:], torch.ones(1, 3, dtype=torch.long), 1)
    assert torch.allclose(padded.logits, alone.logits, atol=1e-5)
    assert padded.values.shape == (1, 2) and alone.values is None


def test_chunks_cover_all_rows():
    assert [(part.start, part.stop) for part in rollouts.chunks(7, 3)] == [(0, 3), (3, 6), (6, 7)]
