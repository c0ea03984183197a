"""PPO: a policy that learns, runs that resume, models with an adapter, games, and what is refused."""

import math
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from nbtrain import export, fit, trainers
from nbtrain.errors import DataError, ParamError
from nbtrain.models import load
from nbtrain.runs import checkpoints
from nbtrain.runs.active import ActiveRun
from nbtrain.runs.folder import RunFolder
from nbtrain.runs.journal import Journal, story
from nbtrain.trainers.llm import _reinforced, ppo
from nbtrain.trainers.rl import rewards

QUESTIONS = ["What is the sea?", "Name a colour.", "Who made bread?", "Why does it rain?", "What is a town?"]
ROWS = [{"prompt": f"{question} ({number})", "answer": str(number)} for number in range(5) for question in QUESTIONS]
SHORT = {
    "trainer": "ppo", "data_path": ROWS, "valid_fraction": 0.2, "rl_max_new_tokens": 6, "rl_chunk_size": 10,
    "rl_mini_batch_size": 5, "rl_num_ppo_epochs": 2, "lr": 1e-3, "logging_steps": 1, "sample_max_new_tokens": 4,
    "rl_reward_fn": "length",
}  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A model that knows nothing, with the tokenizer of the built-in one: what it does takes a moment."""
    torch.manual_seed(0)
    tokenizer, path = load.saved_tokenizer("tiny"), tmp_path_factory.mktemp("small")
    shape = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}
    config = LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=2, max_position_embeddings=256, **shape, **ends)
    LlamaForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


@pytest.fixture
def trained(tmp_path, small):
    runs = iter(range(100))

    def go(*, resume=None, asked=None, **changes):
        folder = resume or RunFolder(tmp_path / f"run-{next(runs)}")
        folder.path.mkdir(exist_ok=True)
        params = trainers.load("llm").Params(**{**SHORT, "model": small, **changes})
        with Journal(folder.events) as journal:
            run = ActiveRun(folder, journal, resume_from=checkpoints.newest(folder) if resume else None)
            if asked:
                _ask(run, *asked)
            values = ppo.train(params, run)
        events = list(story(folder.events))
        return SimpleNamespace(folder=folder, events=events, values=values, run=run, weights=weights(folder.model))

    return go


def weights(path):
    return load_file(path / "model.safetensors")


def _ask(run, step, what):
    """Ask for something when a step is logged."""
    emit, requests, waiting = run.emit, run.requests, set()

    def told(event):
        emit(event)
        waiting.update({what} if event.kind == "logged" and event.step == step else ())

    def answer():
        found = requests() | waiting
        run.stopped = run.stopped or ("asked to stop" if "stop" in waiting else "")
        waiting.clear()
        return found

    run.emit, run.requests = told, answer


def logged(run):
    return [event.values for event in run.events if event.kind == "logged"]


def same(one, other):
    return one.weights.keys() == other.weights.keys() and all(
        torch.equal(one.weights[name], other.weights[name]) for name in one.weights
    )


def test_a_policy_learns_what_is_rewarded(trained):
    run = trained(
        model="tiny", rl_reward_fn={"name": "length", "target": 2}, rl_max_new_tokens=8, rl_chunk_size=25, lr=2e-3,
        rl_mini_batch_size=25, rl_num_ppo_epochs=4, epochs=8, rl_kl_coef=0.01, valid_fraction=0, scheduler="constant",
        warmup_ratio=0, save_strategy="no",
    )  # fmt: skip
    course = [values["reward"] for values in logged(run)]
    assert sum(course[-3:]) / 3 > sum(course[:2]) / 2 + 0.4


def test_a_run_tells_what_it_does_and_leaves_a_model(trained):
    run = trained(rl_reward_fn=["length", "math"], rl_reward_weights="[1, 0.5]", sample_prompts=None)
    started = run.events[[event.kind for event in run.events].index("started")]
    assert (started.metric, started.curve, started.total_steps, started.facts["rows"]) == ("reward", "reward", 2, 20)
    first, last = logged(run)
    assert first["kl"] == 0 and last["kl"] != 0
    assert first["reward"] == pytest.approx(first["reward/length"] + 0.5 * first["reward/math"])
    names = {"policy_loss", "value_loss", "clip_fraction", "entropy", "completion_length", "learning_rate", "grad_norm",
             "value_clip_fraction", "tokens_per_second", "ended"}  # fmt: skip
    assert names <= last.keys() and all(math.isfinite(value) for value in last.values())
    assert 1 <= last["completion_length"] <= 6 and last["entropy"] > 0
    assert {"reward", "kl", "completion_length", "reward/math"} <= run.values.keys()
    sample = next(event for event in run.events if event.kind == "sampled").samples[0]
    assert {"prompt", "output", "reference"} <= sample.keys() and float(sample["reward"]) <= 1.5
    answers = ppo.predict(trainers.load("llm").Params(**SHORT), *ppo.opened(SimpleNamespace(trust_remote_code=False),
                          str(run.folder.model)), ["What is the sea?"], max_new_tokens=3)  # fmt: skip
    assert isinstance(answers[0], str)
    assert load.resolve(str(run.folder.checkpoints / "checkpoint-2"))  # opens as a model, too


def test_an_interrupted_run_ends_with_the_same_weights(trained):
    whole = trained(epochs=2)
    part = trained(epochs=2, asked=(1, "stop"))
    assert part.run.stopped and part.values["steps"] == 1
    rest = trained(epochs=2, resume=part.folder)
    assert same(rest, whole) and logged(rest)[-1]["reward"] == logged(whole)[-1]["reward"]


def test_an_adapter_learns_beside_its_base_and_resumes(trained):
    changes = {"peft": True, "lr": 5e-3, "max_steps": 2, "merge_adapter": True, "lora_dropout": 0.3}
    whole = trained(**changes)
    assert logged(whole)[0]["kl"] == 0 and logged(whole)[1]["kl"] != 0
    rest = trained(**changes, resume=trained(**changes, asked=(1, "stop")).folder)
    assert same(rest, whole)
    assert (whole.folder.path / "adapter" / "adapter_config.json").is_file()


def test_parts_of_a_minibatch_give_its_update(trained):
    quick = {"max_steps": 1, "valid_fraction": 0, "save_strategy": "no"}
    whole, parts = trained(**quick), trained(batch_size=2, **quick)
    twice = trained(rl_mini_batch_size=2, gradient_accumulation=2, **quick)  # groups of four, no longer of five
    assert all(torch.allclose(whole.weights[name], parts.weights[name], atol=2e-4) for name in whole.weights)
    assert not same(whole, twice)


def test_a_function_of_the_notebook_reaches_the_run_and_its_script(tmp_path, monkeypatch, small):
    monkeypatch.chdir(tmp_path)
    changes = {"model": small, "max_steps": 1, "valid_fraction": 0, "rl_reward_fn": shouting}
    params = trainers.load("llm").Params(**{**SHORT, **changes})
    run = fit.prepare(params)
    assert fit.fit(run) == "finished", run.error.read_text()
    assert "def shouting" in (run.data / "rl_reward_fn" / "shouting.py").read_text()
    assert 'parent / "data/rl_reward_fn/shouting.py"' in run.script.read_text()
    again = fit.asked(run)
    several = export.script(again.but(rl_reward_fn=["length", again.rl_reward_fn]), run)
    assert '["length", str(Path(__file__).resolve().parent / "data/rl_reward_fn/shouting.py")]' in several
    copy = fit.prepare(again.but(project_name=str(tmp_path / "again")))
    assert fit.fit(copy) == "finished"
    one, other = weights(run.model), weights(copy.model)
    assert all(torch.equal(one[name], other[name]) for name in one)


def shouting(prompts, completions, **columns):
    return [float(text.isupper()) + int(answer) for text, answer in zip(completions, columns["answer"], strict=True)]


def test_a_reward_model_judges_with_its_own_tokenizer(trained, small, tmp_path):
    torch.manual_seed(1)
    config = LlamaConfig.from_pretrained(small, num_labels=1, initializer_range=0.5)
    LlamaForSequenceClassification(config).save_pretrained(tmp_path / "scorer")
    load.saved_tokenizer(small).save_pretrained(tmp_path / "scorer")
    place = str(tmp_path / "scorer")
    run = trained(rl_reward_fn=None, rl_reward_model_path=place, max_steps=1, valid_fraction=0, save_strategy="no")
    sample = next(event for event in run.events if event.kind == "sampled").samples[0]
    score = rewards.named({"name": "classifier", "model": place})
    expected = score(prompts=[sample["prompt"]], completions=[sample["output"]])[0]
    assert float(sample["reward"]) == pytest.approx(expected, abs=1e-3) and expected != 0


def test_an_environment_asks_and_judges(trained, tmp_path):
    path = tmp_path / "game.py"
    path.write_text(
        "class Sum:\n    def __init__(self, most=1):\n        self.most = most\n\n"
        "    def reset(self, row):\n        self.row = row\n\n"
        "    def step(self, answer):\n        return self.most * float(len(self.row['answer']))\n"
    )
    run = trained(
        rl_reward_fn=None, rl_env_module=str(path), rl_env_config='{"most": 3}', max_steps=1, valid_fraction=0
    )
    assert logged(run)[0]["reward"] == 3.0


def test_a_game_of_several_turns_is_learnt_from(trained, tmp_path):
    path = tmp_path / "game.py"
    path.write_text(
        "class Twice:\n    def reset(self, row):\n        self.heard = []\n        return 'Say a word.'\n\n"
        "    def step(self, answer):\n        self.heard.append(answer)\n"
        "        return (1.0, len(self.heard) == 2, 'And another.')\n"
    )
    run = trained(rl_reward_fn=None, rl_env_module=str(path), max_steps=1, valid_fraction=0, rl_max_new_tokens=4)
    assert logged(run)[0]["reward"] == 2.0 and 2 <= logged(run)[0]["completion_length"] <= 8


def test_what_an_environment_says_stands_in_the_chat_as_the_template_writes_it():
    params, tokenizer = trainers.load("llm").Params(**SHORT), load.saved_tokenizer("tiny")
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "one"},
                {"role": "user", "content": "more"}]  # fmt: skip
    whole = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    ends = [tokenizer.eos_token_id]
    following = _reinforced.follow(params, tokenizer, ends)
    assert whole.endswith("one" + tokenizer.decode(following("more", False)))
    ended, cut = following("more", True), following("more", False)
    assert ended == (cut[1:] if cut[0] in ends else cut)


# what is refused


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"rl_reward_fn": None}, "PPO needs --rl-reward-model-path (a trained reward model) or --rl-reward-fn"),
        ({"backend": "trl"}, "ppo has a loop of its own"),
        ({"rl_gamma": 1.5}, "--rl-gamma"),
    ],
)
def test_what_ppo_cannot_do_is_refused_in_words(given, told):
    with pytest.raises(ParamError) as found:
        trainers.load("llm").Params(**{**SHORT, **given})
    assert told in str(found.value)


def test_its_fields_are_ignored_with_a_notice_elsewhere():
    _, notices = trainers.load("llm").Params.read({"trainer": "sft", "rl_gamma": 0.9})
    assert notices == ["rl_gamma only applies to PPO trainer, will be ignored"]


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        ({"rl_reward_fn": "lenght"}, ParamError, "Did you mean length"),
        ({"rl_reward_weights": "1, 2"}, ParamError, "1 rewards and 2 weights"),
        ({"rl_reward_weights": "much"}, ParamError, "cannot be read as JSON"),
        ({"rl_reward_fn": {"name": "exact", "column": "result"}}, DataError, "needs a column 'result'"),
        ({"rl_max_new_tokens": 4096}, ParamError, "leave no room for a prompt"),
    ],
)
def test_what_cannot_be_rewarded_is_told_in_words(trained, given, error, told):
    with pytest.raises(error, match=told):
        trained(**given)
