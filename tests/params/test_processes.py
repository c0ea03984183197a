"""Several processes are for the rooms and methods that can be shared; the others say why they cannot."""

import pytest

from nbtrain import export, trainers
from nbtrain.answers import plan
from nbtrain.errors import ParamError
from nbtrain.trainers import generic

ALONE = {"object-detection", "sentence-transformers", "tabular"}
REWARD = {"rl_reward_fn": "length"}


@pytest.mark.parametrize("room", trainers.names())
def test_a_room_is_for_several_or_says_why_not(room):
    made = trainers.load(room).Params
    if room in ALONE:
        with pytest.raises(ParamError, match="--num-processes is refused") as told:
            made(num_processes=2)
        assert len(told.value.why) > 40
    else:
        assert made(num_processes=2).num_processes == 2
    assert made(num_processes=1).num_processes == 1


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"trainer": "ppo", **REWARD}, "--trainer ppo"),
        ({"trainer": "grpo", **REWARD}, "--trainer grpo"),
        ({"trainer": "orpo"}, "--trainer orpo"),
        ({"trainer": "sft", "backend": "native"}, "--backend native"),
        ({"trainer": "sft", "use_distillation": True, "teacher_model": "tiny"}, "--use-distillation"),
        ({"trainer": "sft", "custom_loss": "losses.py:own"}, "--custom-loss"),
    ],
)
def test_what_one_process_has_to_train_is_refused_for_several_and_not_for_one(given, told):
    made = trainers.load("llm").Params
    assert made(**given).num_processes == 1
    with pytest.raises(ParamError, match=f"--num-processes does not work with {told}"):
        made(**given, num_processes=2)


def test_a_backend_is_known_or_a_file(workdir):
    made = trainers.load("llm").Params
    (workdir / "own.yaml").write_text("distributed_type: MULTI_GPU")
    for known in (None, "ddp", "fsdp", "deepspeed", "own.yaml"):
        assert made(num_processes=2, distributed_backend=known).distributed_backend == known
    with pytest.raises(ParamError, match="found 'dp'"):
        made(num_processes=2, distributed_backend="dp")


def test_an_exported_run_is_for_as_many_processes(workdir):
    params = trainers.load("llm").Params(num_processes=3, distributed_backend="fsdp", ddp_timeout=60)
    for text in (export.line(params), export.command(params)):
        assert "--num-processes 3" in text and "--distributed-backend fsdp" in text and "--ddp-timeout 60" in text
    assert "num_processes=3" in export.script(params) and "num_processes: 3" in export.yaml(params)


@pytest.mark.parametrize(
    ("given", "started"),
    [
        ({}, ["-u"]),
        ({"num_processes": 2}, ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]),
        (
            {"num_processes": 2, "distributed_backend": "fsdp"},
            ["-m", "accelerate.commands.launch", "--use_fsdp", "--num_processes", "2"],
        ),
    ],
)
def test_a_script_is_started_by_the_launcher_of_its_backend(given, started):
    assert generic._started_by(generic.Params(**given)) == started


@pytest.mark.parametrize(("device", "copies", "seconds"), [("cpu", 2, 3.0), ("cuda", 1, 1.5)])
def test_a_plan_counts_the_steps_of_all_and_the_memory_of_those_that_share_it(device, copies, seconds):
    params = trainers.load("llm").Params(num_processes=2)
    found, shared = plan._of_several(params, {"device": device, "steps": 7, "step_seconds": 1.5})
    assert (found["steps"], found["step_seconds"], shared) == (4, seconds, copies)
    assert (
        plan._of_several(params.but(max_steps=7), {"device": device, "steps": 7, "step_seconds": 1.5})[0]["steps"] == 7
    )
