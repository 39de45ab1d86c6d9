import csv
import json
import multiprocessing
import os
import signal

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from histoproto.contracts import StepOutput
from histoproto.errors import ConfigError, RunError, TrainingError
from histoproto.training import checkpoint
from tests.training.toy import Patches, Toy, train


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rows(folder):
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def assert_same_run(one, other):
    """The same bits in every checkpoint and the same numbers in every row, apart from the time they took."""
    for name in ("last/model", "last/optimizer", "best/model"):
        assert_same_file(one, other, f"checkpoints/{name}.safetensors")
    for which in ("last", "best"):
        states = [json.loads((run / f"checkpoints/{which}/state.json").read_text()) for run in (one, other)]
        for state in states:
            del state["seconds"], state["history"]
        assert states[0] == states[1]
    tables = [[{**row, "seconds": None} for row in rows(run)] for run in (one, other)]
    assert tables[0] == tables[1]


def assert_same_file(one, other, name):
    assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    torch.set_num_threads(1)
    method, result = train(folder)
    return folder, method, result


def test_training_learns_and_leaves_a_whole_run_folder(uninterrupted):
    folder, method, result = uninterrupted
    table = rows(folder)
    assert list(table[0]) == ["epoch", "step", "lr", "loss", "classification", "late", "holdout_loss", "seconds"]
    assert [(row["epoch"], row["step"]) for row in table] == [("1", "5"), ("2", "10"), ("3", "15")]
    losses = [float(row["holdout_loss"]) for row in table]
    assert losses[-1] < losses[0]
    assert result.stopped == "finished"
    assert result.best_figure == min(losses)
    assert result.best_epoch == 1 + losses.index(min(losses))
    assert result.seconds > 0
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["best", "last"]
    weights = load_file(folder / "checkpoints/last/model.safetensors")
    assert torch.equal(weights["head.weight"], method.head.weight.detach())
    assert not (folder / "checkpoints/best/optimizer.safetensors").exists()


def test_every_step_takes_the_learning_rate_of_the_schedule(tmp_path):
    moved = []

    class Watched(Toy):
        def training_step(self, images, labels, step):
            self.before = self.head.weight.detach().clone()
            return super().training_step(images, labels, step)

        def after_step(self, step):
            moved.append((self.head.weight.detach() - self.before).abs().max().item())

    train(tmp_path, Watched(), epochs=1, lr=0.01, warmup_steps=2)
    # Adam's first step moves each weight by the learning rate, which is a millionth of its peak at step 0
    assert moved[0] == pytest.approx(0.01 * 1e-6, rel=1)
    assert max(moved[1:]) == pytest.approx(0.01, rel=0.5)
    assert float(rows(tmp_path)[0]["lr"]) == pytest.approx(0.01 * (1 - 2 / 3))


def test_tensorboard_holds_the_terms_and_the_epochs(uninterrupted):
    board = EventAccumulator(str(uninterrupted[0] / "tb")).Reload()
    assert {"step/loss", "step/classification", "step/lr", "epoch/holdout_loss"} <= set(board.Tags()["scalars"])
    assert [event.step for event in board.Scalars("step/loss")] == [2, 4, 6, 8, 10, 12, 14]
    assert [event.step for event in board.Scalars("epoch/loss")] == [5, 10, 15]


def test_a_term_that_is_off_in_some_steps_is_averaged_over_the_others(tmp_path):
    class Stepwise(Toy):
        def training_step(self, images, labels, step):
            output = super().training_step(images, labels, step)
            terms = {"step": torch.tensor(float(step))}
            return StepOutput(output.loss, terms | ({"rare": torch.tensor(6.0)} if step == 1 else {}))

    train(tmp_path, Stepwise(), epochs=1)
    assert rows(tmp_path)[0]["step"] == "2.0"
    assert rows(tmp_path)[0]["rare"] == "6.0"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_returns_and_the_resumed_run_is_bitwise_the_same(uninterrupted, tmp_path, number):
    handler = signal.getsignal(number)
    _, result = train(tmp_path, Toy(at_step=lambda step: signal.raise_signal(number) if step == 6 else None))
    assert result.stopped == "interrupted"
    assert signal.getsignal(number) is handler
    assert json.loads((tmp_path / "checkpoints/last/state.json").read_text())["step"] == 8
    assert len(rows(tmp_path)) == 1
    method = Toy()
    torch.nn.init.zeros_(method.head.weight)  # a resumed run does not depend on the weights it begins with
    _, result = train(tmp_path, method, resume=True)
    assert result.stopped == "finished"
    assert_same_run(tmp_path, uninterrupted[0])


def test_a_signal_to_all_processes_of_a_job_leaves_the_workers_alive(tmp_path):
    def to_all(step):
        if step == 1:
            for child in multiprocessing.active_children():
                os.kill(child.pid, signal.SIGINT)
                os.kill(child.pid, signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)

    _, result = train(tmp_path, Toy(at_step=to_all), workers=1)
    assert result.stopped == "interrupted"
    assert not multiprocessing.active_children()


def test_a_second_ctrl_c_does_not_wait(tmp_path):
    def twice(step):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, Toy(at_step=twice))


def test_workers_and_saves_do_not_change_the_result(uninterrupted, tmp_path):
    train(tmp_path, workers=1, save_every_steps=4, log_every_steps=1)
    assert_same_run(tmp_path, uninterrupted[0])


def test_a_finished_run_cannot_be_resumed(uninterrupted):
    with pytest.raises(RunError, match=r"is finished \(3 epochs\); to train longer start a new run"):
        train(uninterrupted[0], resume=True)


def test_a_run_that_exists_is_not_overwritten(uninterrupted):
    with pytest.raises(RunError, match="holds a training already; go on with"):
        train(uninterrupted[0])


def test_a_run_killed_before_its_first_save_resumes_from_the_start(uninterrupted, tmp_path):
    train(tmp_path, resume=True)
    assert_same_run(tmp_path, uninterrupted[0])


def test_other_data_cannot_be_resumed(tmp_path):
    train(tmp_path, Toy(at_step=lambda step: step or signal.raise_signal(signal.SIGINT)))
    with pytest.raises(RunError, match="5 steps per epoch, not with seed 7 and 2"):
        train(tmp_path, patches=8, resume=True)


def test_a_loss_that_is_not_a_number_names_the_patches_and_keeps_the_last_good_checkpoint(tmp_path):
    class Poisoned(Toy):
        def training_step(self, images, labels, step):
            output = super().training_step(images, labels, step)
            poison = torch.tensor(torch.nan if step == 8 else 0.0)
            return StepOutput(output.loss + poison, output.terms | {"poison": poison})

    with pytest.raises(TrainingError) as error:
        train(tmp_path, Poisoned())
    sentence = str(error.value)
    assert sentence.startswith("loss and poison not finite at step 8 (epoch 2) with the patches patch")
    assert sentence.count(".png") == 4
    state = json.loads((tmp_path / "checkpoints/last/state.json").read_text())
    assert state["step"] == 6
    weights = load_file(tmp_path / "checkpoints/last/model.safetensors")
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_a_term_that_is_not_a_number_stops_training_even_if_the_loss_is(tmp_path):
    class Odd(Toy):
        def training_step(self, images, labels, step):
            output = super().training_step(images, labels, step)
            return StepOutput(output.loss, output.terms | {"odd": torch.tensor(torch.inf)})

    with pytest.raises(TrainingError, match=r"^odd not finite at step 0"):
        train(tmp_path, Odd())


def test_a_full_disk_stops_training_in_one_sentence_and_the_run_can_go_on(uninterrupted, tmp_path, monkeypatch):
    save_file, calls = checkpoint.save_file, []

    def full(*arguments):
        calls.append(arguments)
        if len(calls) == 4:
            raise OSError(28, "No space left on device")
        save_file(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        with pytest.raises(RunError, match="No space left on device"):
            train(tmp_path)
    assert json.loads((tmp_path / "checkpoints/last/state.json").read_text())["step"] == 5
    train(tmp_path, resume=True)
    assert_same_run(tmp_path, uninterrupted[0])


def test_training_stops_early_when_the_figure_no_longer_improves(tmp_path):
    figures = iter([0.3, 0.5, 0.4, 0.5, 0.45])
    _, result = train(
        tmp_path,
        epochs=9,
        patience=3,
        choose_by="validation-masks",
        evaluate_masks=lambda method: next(figures),
    )
    assert (result.stopped, result.best_epoch, result.best_figure) == ("early", 2, 0.5)
    assert [row["validation_masks"] for row in rows(tmp_path)] == ["0.3", "0.5", "0.4", "0.5", "0.45"]
    assert "holdout_loss" in rows(tmp_path)[0]
    with pytest.raises(RunError, match=r"is finished \(5 epochs, stopped early\); .* start a new run"):
        train(tmp_path, epochs=9, patience=3, resume=True)


def test_masks_are_judged_in_evaluation_mode_without_gradient_and_do_not_disturb(uninterrupted, tmp_path):
    seen = []

    def judge(method):
        seen.append((method.training, torch.is_grad_enabled()))
        torch.rand(5)
        return 1.0

    train(tmp_path, choose_by="validation-masks", evaluate_masks=judge)
    assert seen == [(False, False)] * 3
    assert_same_file(tmp_path, uninterrupted[0], "checkpoints/last/model.safetensors")


def test_the_last_epoch_can_count_without_any_holdout(uninterrupted, tmp_path):
    _, result = train(tmp_path, holdout=0, choose_by="last")
    assert (result.best_epoch, result.best_figure) == (3, None)
    assert_same_file(tmp_path, tmp_path, "checkpoints/best/model.safetensors")
    assert_same_file(tmp_path, uninterrupted[0], "checkpoints/last/model.safetensors")


def test_the_holdout_loss_is_the_cross_entropy_of_the_scores(uninterrupted):
    folder, method, _ = uninterrupted
    items = [Patches(6, first=1000)[index] for index in range(6)]
    images = torch.stack([item[0] for item in items]).float() / 255
    labels = torch.stack([item[1] for item in items])
    method.eval()
    with torch.no_grad():
        probability = method.class_maps(images).scores.double().sigmoid()
    expected = -torch.where(labels > 0, probability, 1 - probability).log().mean().item()
    assert float(rows(folder)[-1]["holdout_loss"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"holdout": 0}, "chosen by the holdout loss, but there are no labelled patches outside"),
        ({"choose_by": "validation-masks"}, "chosen by validation masks, but there are none"),
        ({"patches": 0}, "0 training patches"),
    ],
)
def test_what_choosing_needs_must_be_given(tmp_path, changes, message):
    with pytest.raises((ConfigError, TrainingError), match=message):
        train(tmp_path, **changes)


def test_bf16_runs_the_forward_pass_in_bfloat16_and_keeps_weights_in_float32(tmp_path):
    seen = set()

    class Watched(Toy):
        def _loss(self, maps, labels):
            seen.add(maps.dtype)
            return super()._loss(maps, labels)

    method, _ = train(tmp_path, Watched(), epochs=1, precision="bf16")
    assert seen == {torch.bfloat16}
    assert {parameter.dtype for parameter in method.parameters()} == {torch.float32}
