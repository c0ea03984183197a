"""What GRPO learns from: functions, models, environments; and what it refuses, with what would work."""

import json
from types import SimpleNamespace

import pytest
import torch

from nbtrain import trainers
from nbtrain.errors import MissingExtra, ParamError, TrainingError
from nbtrain.models import load
from nbtrain.trainers.llm import _groups, grpo
from nbtrain.trainers.rl.environments import Turn

BRIEF = {"max_steps": 2, "max_samples": 8, "valid_fraction": 0, "save_strategy": "no", "rl_max_new_tokens": 4}


def short(prompts, completions, **columns):
    return [-len(completion) / 10 for completion in completions]


def test_several_rewards_have_their_weights_and_columns_reach_them(rewarded):
    run = rewarded(
        **BRIEF,
        rl_reward_fn=[short, {"name": "letters", "of": "e"}, {"name": "exact"}],
        rl_reward_weights=[1.0, 0.5, 2.0],
    )
    first = run.logged[0]
    parts = [first[f"rewards/{name}/mean"] for name in ("short", "letters", "exact")]
    assert first["reward"] == pytest.approx(parts[0] + 0.5 * parts[1] + 2.0 * parts[2], abs=1e-5)


def test_prompts_that_are_chats_are_answered_by_messages(rewarded, tmp_path):
    path = tmp_path / "chats.jsonl"
    chats = [[{"role": "user", "content": f"Who is {number}?"}] for number in range(8)]
    path.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    seen = []

    def remembered(prompts, completions, **columns):
        seen.append((prompts[0], completions[0]))
        return [float(len(completion[0]["content"])) for completion in completions]

    rewarded(**BRIEF, data_path=str(path), rl_reward_fn=remembered)
    prompt, completion = seen[0]
    assert prompt[0]["role"] == "user"
    assert completion[0]["role"] == "assistant"


GUESS = '''
from nbtrain.trainers.rl.environments import Turn

class Guess:
    """Two turns: the first is never enough."""

    def __init__(self, bonus=1.0):
        self.bonus = bonus

    def reset(self, row):
        self.turn = 0
        return f"Say something of {row['answer']}."

    def step(self, answer):
        self.turn += 1
        return Turn(self.bonus, done=self.turn == 2, says="Go on.")
'''


def test_an_environment_is_played_to_its_end(rewarded, tmp_path):
    module = tmp_path / "guess.py"
    module.write_text(GUESS)
    run = rewarded(
        **(BRIEF | {"valid_fraction": 0.25}), rl_reward_fn=None, rl_env_module=str(module), rl_env_config={"bonus": 1.5}
    )
    assert run.logged[0]["rewards/Guess/mean"] == pytest.approx(3.0)
    assert run.values["reward"] == pytest.approx(3.0)


def test_what_the_environment_says_is_not_learnt_and_is_written_as_the_template_does():
    tokenizer = load.tokenizer(SimpleNamespace(model="tiny", token=None, trust_remote_code=False))

    class Twice:
        def step(self, answer):
            return Turn(1.0, done=answer == "Four.", says="And then?")

    def ask(turns):
        return tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=True, return_dict=False)

    play = _groups._Play(Twice(), "What comes after two?", ask, tokenizer)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    for words in ("Three.", "Four."):
        play.answer([*tokenizer(words, add_special_tokens=False).input_ids, end])
    assert (play.reward, play.done) == (2.0, True)
    said = [
        {"role": "user", "content": "What comes after two?"},
        {"role": "assistant", "content": "Three."},
        {"role": "user", "content": "And then?"},
        {"role": "assistant", "content": "Four."},
    ]
    whole = tokenizer.apply_chat_template(said, tokenize=False)
    assert whole.startswith(tokenizer.decode(play.seen))
    own = [token for token, mine in zip(play.ids, play.own, strict=True) if mine]
    assert tokenizer.decode(own, skip_special_tokens=True) == "Three.Four."


def test_a_trained_reward_model_is_asked(rewarded, tmp_path):
    from transformers import LlamaConfig, LlamaForSequenceClassification

    torch.manual_seed(0)
    judge, tokenizer = (
        tmp_path / "judge",
        load.tokenizer(SimpleNamespace(model="tiny", token=None, trust_remote_code=False)),
    )
    LlamaForSequenceClassification(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_labels=1,
            pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
    ).save_pretrained(judge)
    tokenizer.save_pretrained(judge)
    run = rewarded(**BRIEF, rl_reward_fn=None, rl_reward_model_path=str(judge))
    assert run.logged[0]["reward"] == run.logged[0]["rewards/reward_model/mean"] != 0


@pytest.mark.parametrize("loss", ["dapo", "dr_grpo", "bnpo", "cispo", "sapo", "luspo", "vespo"])
def test_each_loss_is_trls(rewarded, loss):
    run = rewarded(**(BRIEF | {"max_steps": 1}), rl_loss_type=loss, sample_prompts="a")
    assert len(run.logged) == 1


def test_truncated_answers_can_be_left_out(rewarded):
    run = rewarded(**(BRIEF | {"rl_max_new_tokens": 1, "rl_kl_coef": 0.0}), rl_mask_truncated_completions=True)
    assert run.logged[0]["completions/clipped_ratio"] > 0.9
    assert run.logged[0]["grad_norm"] == pytest.approx(0, abs=1e-6)
    assert "kl" not in run.logged[0]
    assert all("reference" not in sample for sample in run.samples[-1])


# what is refused, and what is put right


def grouped(**given):
    told = []
    params = trainers.load("llm").Params(trainer="grpo", rl_reward_fn="length", **given)
    return grpo.in_whole_groups(params, SimpleNamespace(warn=told.append)), told


def test_a_batch_size_that_nobody_gave_holds_whole_groups():
    params, told = grouped(rl_num_generations=6)
    assert params.batch_size == 6
    assert told == ["--batch-size 6: the 6 answers to a prompt stay in one step (--rl-num-generations)."]
    assert grouped(rl_num_generations=6, gradient_accumulation=3)[0].batch_size == 2


def test_a_batch_size_that_breaks_groups_is_refused_with_what_would_work():
    with pytest.raises(ParamError, match="makes 6 answers a step") as caught:
        grouped(batch_size=6)
    assert caught.value.fix == "--batch-size 4 or 8; or --rl-num-generations 2, 3, 6."
    assert grouped(batch_size=6, rl_num_generations=3)[1] == []


def test_too_few_prompts_for_a_step_are_told(rewarded):
    with pytest.raises(ParamError, match="a step answers 4 prompts, and there are 3"):
        rewarded(max_samples=3, valid_fraction=0, batch_size=16)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"rl_reward_fn": None}, "GRPO needs --rl-reward-fn"),
        ({"backend": "hf"}, "the loss of grpo is TRL's"),
        ({"rl_loss_type": "ppo"}, "--rl-loss-type is one of grpo, dapo"),
        ({"rl_num_generations": 1}, "--rl-num-generations"),
        ({"use_vllm": True, "vllm_mode": "server"}, "--vllm-mode server needs --vllm-server-url"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(given, told):
    with pytest.raises(ParamError, match=told):
        trainers.load("llm").Params(**({"trainer": "grpo", "rl_reward_fn": "length"} | given))


def test_vllm_is_asked_for_where_it_can_be(monkeypatch):
    params = trainers.load("llm").Params(
        trainer="grpo", rl_reward_fn="length", use_vllm=True, vllm_mode="server", vllm_server_url="http://here:8000"
    )
    with pytest.raises(ParamError, match="needs a CUDA GPU"):
        grpo.vllm(params)
    monkeypatch.setattr(grpo.load, "device", lambda: SimpleNamespace(kind="cuda"))
    monkeypatch.setattr(grpo, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="needs vllm"):
        grpo.vllm(params)
    monkeypatch.setattr(grpo, "find_spec", lambda name: name)
    assert grpo.vllm(params) == {
        "use_vllm": True,
        "vllm_mode": "server",
        "vllm_server_base_url": "http://here:8000",
        "vllm_gpu_memory_utilization": 0.3,
        "vllm_tensor_parallel_size": 1,
    }


def test_a_reward_that_raises_is_told_by_its_name(rewarded):
    def broken(prompts, completions, **columns):
        raise KeyError("answr")

    with pytest.raises(TrainingError, match="the reward broken raised KeyError"):
        rewarded(rl_reward_fn=broken, max_steps=1)
