"""What TensorBoard reads back is what metrics.jsonl says, of runs in one piece and of others."""

import sys

import pytest
from test_model import SMALL, digits
from test_resume import Interrupted

import backstory
from backstory import InputError
from backstory.runs import checkpoint

LONGER = {**SMALL, "epochs": 6}


def scalars(run):
    """(epoch, value) of each scalar, as TensorBoard shows them."""
    reason = "TensorBoard is not installed: pip install 'backstory[tensorboard]'"
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason=reason)
    events = accumulator.EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def assert_as_in_the_metrics(run):
    told, lines = scalars(run), checkpoint.read_metrics(run)
    assert set(told) == set(lines[0]) - {"epoch", "kl_per_unit"}
    for name, values in told.items():
        expected = [(line["epoch"], pytest.approx(line[name], rel=1e-6)) for line in lines]  # singles
        assert values == expected, name


def board(run, **options):
    pytest.importorskip(
        "tensorboard", reason="TensorBoard is not installed: pip install 'backstory[tensorboard]'"
    )
    return backstory.fit(digits(), run, tensorboard=True, **options)


def test_a_run_in_one_piece(tmp_path):
    board(tmp_path / "run", **LONGER)
    assert_as_in_the_metrics(tmp_path / "run")
    assert len(checkpoint.read_metrics(tmp_path / "run")) == 6


@pytest.mark.parametrize("times", [1, 2], ids=["between two steps", "at once"])
def test_an_interrupted_run_has_no_epoch_twice(tmp_path, monkeypatch, times):
    """At once leaves the checkpoint behind the events, as a kill does."""
    with monkeypatch.context() as patch:
        patch.setattr("backstory.training.state.EPOCH_SHARE", 0.0)  # no checkpoints at the ends of epochs
        Interrupted(patch, 10, times)
        try:
            board(tmp_path / "run", checkpoint_every=1e6, **LONGER)
        except KeyboardInterrupt:
            assert times == 2
    before = {step for step, _ in scalars(tmp_path / "run")["elbo"]}
    position = checkpoint.load_checkpoint(tmp_path / "run").state.values["position"]
    assert len(before) >= 2
    assert (position["epoch"] in before) == (times == 2)
    board(tmp_path / "run", resume=True, progress=False)
    assert_as_in_the_metrics(tmp_path / "run")


def test_a_run_that_is_gone_on_with_is_told_from_its_beginning(tmp_path, monkeypatch):
    """Although TensorBoard was asked for only then."""
    with monkeypatch.context() as patch:
        Interrupted(patch, 10, 1)
        backstory.fit(digits(), tmp_path / "run", **LONGER)
    assert checkpoint.read_metrics(tmp_path / "run")
    board(tmp_path / "run", resume=True, progress=False)
    assert_as_in_the_metrics(tmp_path / "run")


def test_a_run_that_is_replaced_leaves_no_events(tmp_path):
    board(tmp_path / "run", **LONGER)
    (tmp_path / "run" / "tensorboard" / "notes.txt").write_text("mine")
    board(tmp_path / "run", force=True, **{**LONGER, "epochs": 2})
    assert_as_in_the_metrics(tmp_path / "run")
    backstory.fit(digits(), tmp_path / "run", force=True, **SMALL)
    assert scalars(tmp_path / "run") == {}
    assert (tmp_path / "run" / "tensorboard" / "notes.txt").read_text() == "mine"


def test_events_before_the_first_checkpoint_are_no_run(tmp_path, monkeypatch):
    def die(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_checkpoint", die)
        with pytest.raises(KeyboardInterrupt):
            board(tmp_path / "run", **LONGER)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"metrics.jsonl", "tensorboard"}
    board(tmp_path / "run", resume=True, **LONGER)
    assert_as_in_the_metrics(tmp_path / "run")


def test_tensorboard_that_is_not_installed_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match=r"pip install 'backstory\[tensorboard\]'"):
        backstory.fit(digits(), tmp_path / "run", tensorboard=True, **SMALL)
    with pytest.raises(InputError, match="needs a folder"):
        backstory.fit(digits(), tensorboard=True, **SMALL)
    assert not list(tmp_path.iterdir())
