"""Every room that measures by name: a saved model, asked again, comes to what its run measured while it trained."""

import json

import pytest

from nbtrain import fit, measuring, trainers
from nbtrain.errors import DataError
from nbtrain.evaluate import metrics, order
from nbtrain.run import Run

# room and trainer: (parameters, metric by name: what the room itself calls it)
ROOMS = {
    "text-classification": ({"max_samples": 60}, {"accuracy": "accuracy", "f1": "f1_macro", "auc": "auc"}),
    "text-regression": ({"max_samples": 60}, {"rmse": "rmse", "spearman": "spearman"}),
    "token-classification": ({"max_samples": 60}, {"f1": "f1", "recall": "recall"}),
    "extractive-question-answering": ({"max_samples": 40}, {"f1": "f1", "exact_match": "exact_match"}),
    "seq2seq": ({"max_samples": 40, "generate_rows": 40}, {"rouge1": "rouge1", "chrf": "chrf", "bleu": "bleu"}),
    "image-classification": ({}, {"accuracy": "accuracy", "f1": "f1_macro"}),
    "image-regression": ({}, {"mae": "mae", "rmse": "rmse"}),
    "vlm": ({"generate_rows": 40}, {"f1": "f1", "exact_match": "exact_match"}),
    "object-detection": ({}, {"map": "map", "recall_100": "recall_100"}),
    "llm reward": ({"max_samples": 40}, {"accuracy": "accuracy", "margin": "margin"}),
    "sentence-transformers pair_score": ({"max_samples": 60}, {"spearman": "spearman", "pearson": "pearson"}),
    "sentence-transformers pair_class": ({"max_samples": 60}, {"average_precision": "average_precision"}),
    "sentence-transformers triplet": ({"max_samples": 60}, {"accuracy": "accuracy"}),
    "sentence-transformers qa": ({"max_samples": 60}, {name: name for name in order.RETRIEVAL}),
}
SFT = {"trainer": "sft", "max_samples": 24, "max_seq_length": 64, "sample_max_new_tokens": 4, "max_steps": 1}


def trained(place, room, **values):
    params = trainers.load(room).Params(project_name=str(place / "run"), **values)
    folder = fit.prepare(params)
    fit.fit(folder)
    return Run(folder)


@pytest.mark.parametrize("room", ROOMS)
def test_a_saved_model_comes_to_what_its_run_measured(room, tmp_path):
    (given, names), (room, _, trainer) = ROOMS[room], room.partition(" ")
    run = trained(tmp_path, room, lr=1e-3, max_steps=2, **given, **({"trainer": trainer} if trainer else {}))
    assert run.status == "finished"
    found = run.evaluate(metrics=list(names))
    for name, own in names.items():
        assert found[name] == pytest.approx(run.metrics[own], abs=1e-5), name


def test_a_chat_model_is_measured_by_what_the_specification_names(tmp_path):
    run = trained(
        tmp_path, "llm", use_enhanced_eval=True, eval_metrics='["perplexity","bleu","rouge","bertscore"]',
        eval_bertscore_model="tiny", eval_save_predictions=True, eval_rows=2, **SFT,
    )  # fmt: skip
    ended = run.record.end.values
    assert run.status == "finished", run.error
    assert ended["perplexity"] == pytest.approx(run.evaluate()["perplexity"])
    assert {"bleu", "rouge1", "rouge2", "rougeL", "bertscore_f1"} <= ended.keys() and 0 < ended["bertscore_f1"] < 1
    kept = [json.loads(line) for line in run.folder.predictions.read_text().splitlines()]
    assert len(kept) == 2 and kept[0]["input"][-1]["role"] == "user" and isinstance(kept[0]["predicted"], str)
    said, right = [line["predicted"] for line in kept], [line["expected"] for line in kept]
    assert ended["bleu"] == metrics.text.bleu(said, right)


@pytest.mark.parametrize("trainer", ["dpo", "orpo"])
def test_a_model_of_preferences_is_measured_by_what_is_preferred(trainer, tmp_path):
    run = trained(tmp_path, "llm", trainer=trainer, max_samples=16, max_steps=1, sample_max_new_tokens=4, block_size=64)
    assert run.status == "finished", run.error
    found = run.evaluate(metrics=["bleu", "rouge1", lambda said, right: len(right)])
    assert found["lambda"] > 0 and 0 <= found["rouge1"] <= 1


def test_a_policy_is_measured_by_answers_that_stand_beside_its_prompts(tmp_path):
    rows = [{"prompt": f"What is {n} and {n}?", "answer": str(2 * n)} for n in range(12)]
    given = {"trainer": "grpo", "rl_reward_fn": "length", "max_steps": 1, "rl_max_new_tokens": 4, "batch_size": 4}
    run = trained(tmp_path, "llm", data_path=rows, rl_num_generations=2, sample_max_new_tokens=4, **given)
    assert run.status == "finished", run.error
    assert run.evaluate(metrics=["exact_match"]).keys() == {"exact_match"}
    with pytest.raises(DataError, match="prompts, without answers"):
        run.evaluate([{"prompt": row["prompt"]} for row in rows], metrics=["exact_match"])


def test_plain_text_has_a_perplexity_and_nothing_to_compare_with(tmp_path):
    texts = [{"text": f"The number {n} stands here, and {n + 1} there."} for n in range(30)]
    run = trained(tmp_path, "llm", data_path=texts, **SFT | {"trainer": "default", "max_seq_length": None})
    assert run.evaluate(metrics="perplexity")["perplexity"] == pytest.approx(run.metrics["perplexity"])
    with pytest.raises(DataError, match="plain text has no question"):
        run.evaluate(metrics="bleu")


@pytest.mark.parametrize("room", trainers.names())
def test_a_room_that_says_what_its_models_say_has_rows_to_ask(room):
    module = trainers.load(room)
    assert hasattr(module, "says") == hasattr(module, "examples")
    if hasattr(module, "says"):
        kind = module.says(module.Params())
        assert kind == "" or metrics.chosen(None, kind, room)
    assert measuring.check(module.Params()) is None
