"""Training: one loop on Lightning Fabric, for one process or many.

Differences from the released loops: the learning rate, the order of the patches, their augmentation and the method's
own randomness are functions of the seed and the step, so a resumed run equals an uninterrupted one; the best epoch is
chosen without masks unless asked otherwise. With several processes their gradients are averaged, and BatchNorm takes
the statistics of all: a loss that is a mean over patches gives the same steps as one process with the whole batch,
while losses that couple the patches of a batch see their own process's share only.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import Dataset

from histoproto.contracts import TissueModel
from histoproto.errors import RunError
from histoproto.frozen import Averaged
from histoproto.runs import RunFolder
from histoproto.training.batches import Collate, LabelledBatch, Redrawn, length, read_batches
from histoproto.training.checkpoint import (
    AVERAGE_FILE,
    TrainState,
    has_checkpoint,
    load_optimizer_tensors,
    load_state,
    load_weights,
    save_checkpoint,
    settle_checkpoint,
)
from histoproto.training.choice import Judge
from histoproto.training.finite import Watched, not_finite, watched
from histoproto.training.interruption import Interruption
from histoproto.training.journal import Journal
from histoproto.training.optimizer import make_optimizer, optimizer_tensors, restore_optimizer, set_lr
from histoproto.training.preparing import Prepare
from histoproto.training.processes import agree, gather, processes
from histoproto.training.sampler import BatchPlan
from histoproto.training.schedule import lr_factor
from histoproto.training.seeds import METHOD, ORDER, derive_seed
from histoproto.training.settings import TrainSettings
from histoproto.training.shared_norm import SharedBatchNorm
from histoproto.training.terms import TermSums, means, merged


@dataclass(frozen=True)
class FitResult:
    """How training ended."""

    best_epoch: int | None
    """Epoch in ``checkpoints/best``, from 1; None if no epoch was completed."""
    best_figure: float | None
    """What it was chosen by: holdout loss or figure over the validation masks; None if the last epoch counts."""
    stopped: Literal["finished", "early", "interrupted"]
    """``interrupted``: SIGINT or SIGTERM came; ``last`` is saved, and ``resume`` goes on from there."""
    seconds: float
    """Time spent in training, over all sittings."""


class _TrainingStep(nn.Module):
    """A model's training step as a forward pass, which is what DDP and autocast wrap."""

    def __init__(self, model: TissueModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: tuple[Tensor, ...], step: int) -> tuple[Tensor, dict[str, Tensor]]:
        output = self.model.training_step(*inputs, step)
        return output.loss, output.terms


@dataclass(frozen=True)
class _Training:
    """What stays the same from the first step to the last."""

    fabric: Fabric
    model: TissueModel
    step_module: Callable[[tuple[Tensor, ...], int], tuple[Tensor, dict[str, Tensor]]]
    norms: SharedBatchNorm
    optimizer: Optimizer
    settings: TrainSettings
    prepare: Prepare
    seed: int
    total_steps: int
    judge: Judge
    run: RunFolder
    average: Averaged | None
    """Moving average of the model, if that is what is judged and kept."""
    journal: Journal
    began: float
    """When a single sitting would have begun, on the monotonic clock."""


def fit(
    model: TissueModel,
    training_data: Dataset[Any],
    holdout_data: Dataset[Any] | None,
    *,
    settings: TrainSettings,
    prepare: Prepare,
    run: RunFolder,
    seed: int,
    collate: Collate,
    holdout_collate: Collate | None = None,
    resume: bool = False,
    evaluate_masks: Callable[[TissueModel], float] | None = None,
    weights: Sequence[float] | None = None,
) -> FitResult:
    """Train a model and leave ``checkpoints/last``, ``checkpoints/best``, ``metrics.csv`` and ``tb/`` in a run.

    A run that was killed and resumed gives bitwise the same checkpoints as one in a single sitting. Under
    ``torchrun`` every process calls this; only the first one writes.

    Args:
        model: what is trained; it is moved to the device.
        training_data: labelled patches of one size, with a length.
        holdout_data: labelled patches of one size that judge each epoch, with a length; may be None if the best
            epoch is not chosen by them.
        settings: how long, how fast, how chosen.
        prepare: turns a batch into what the model's ``training_step`` takes, augmented (`preparing`).
        run: where everything goes; the caller holds its lock.
        seed: seed of order, augmentation and the model's own randomness.
        collate: makes a `LabelledBatch` of the data set's items.
        holdout_collate: the same for ``holdout_data``; None if its items are of the same kind.
        resume: go on from ``checkpoints/last``, or from the start if the run was killed before its first save.
        evaluate_masks: figure over the validation masks, higher is better; called in the first process, with
            the model in evaluation mode and without gradient.
        weights: how often each training patch is drawn, relative to the others; None draws each once an epoch.

    Returns:
        How it ended; after SIGINT or SIGTERM, too.

    Raises:
        ConfigError: if the choice of the best epoch needs what was not given.
        RunError: if there is nothing left to do, a checkpoint is in the way, was made from other data or another
            seed, is damaged, or cannot be saved.
        TrainingError: if the loss is no finite number, or there are no patches.
    """
    with processes(settings.precision) as fabric:
        plan = BatchPlan(
            samples=length(training_data),
            batch=settings.batch,
            seed=derive_seed(seed, ORDER),
            processes=fabric.world_size,
            rank=fabric.global_rank,
            weights=None if weights is None else tuple(weights),
        )
        average = Averaged(model, settings.average, average_buffers=True) if settings.average else None
        judged = cast(TissueModel, average.network) if average else model
        if average:
            model.taught_by(judged)
        judge = Judge(fabric, judged, settings, holdout_data, holdout_collate or collate, evaluate_masks)
        total_steps = settings.epochs * plan.steps_per_epoch
        saved, fresh = _saved(fabric, run), TrainState(seed, plan.steps_per_epoch)
        if saved:
            _check_saved(run, saved, fresh, settings, resume=resume)
        state = saved or fresh
        optimizer = make_optimizer(model, settings)
        step_module, _ = fabric.setup(_TrainingStep(model), optimizer)
        if average:
            average.to(fabric.device)
        if saved:
            load_weights(run.checkpoint("last"), model)
            if average:
                load_weights(run.checkpoint("last"), average.network, AVERAGE_FILE)
            restore_optimizer(model, optimizer, load_optimizer_tensors(run.checkpoint("last")))
        batches = read_batches(Redrawn(training_data), collate, plan.batches(state.step, total_steps), settings.workers)
        training = _Training(
            fabric=fabric,
            model=model,
            step_module=step_module,
            norms=SharedBatchNorm(fabric),
            optimizer=optimizer,
            settings=settings,
            prepare=prepare,
            seed=seed,
            total_steps=total_steps,
            judge=judge,
            run=run,
            average=average,
            journal=Journal(run, leader=fabric.is_global_zero, step=state.step, total_steps=total_steps),
            began=time.monotonic() - state.seconds,
        )
        with Interruption() as interruption, training.journal:
            _train(training, state, batches, interruption)
        return FitResult(
            state.best_epoch,
            state.best_figure,
            _ended(state, settings) or "interrupted",
            round(state.seconds, 3),
        )


def ended_result(run: RunFolder, settings: TrainSettings) -> FitResult | None:
    """Return how a run's training ended, or None if there is something left to train.

    Raises:
        RunError: if the checkpoint cannot be read.
    """
    if not has_checkpoint(run.checkpoint("last")):
        return None
    state = load_state(run.checkpoint("last"))
    ended = _ended(state, settings)
    return FitResult(state.best_epoch, state.best_figure, ended, round(state.seconds, 3)) if ended else None


def _train(
    training: _Training, state: TrainState, batches: Iterable[LabelledBatch], interruption: Interruption
) -> None:
    """Take step after step until the end, an early end, or an interruption; ``state`` moves along."""
    fabric, settings, journal = training.fabric, training.settings, training.journal
    sums = TermSums(state.sums if fabric.is_global_zero else {}, fabric.device)
    journal.epochs(state.history)
    if state.step == 0:
        _save_last(training, state, sums)  # a full disk shows now, and a run killed at once can be resumed
    training.model.train()
    before: Watched | None = None
    for batch in batches:
        lr = _set_lr(training, state.step)
        torch.manual_seed(derive_seed(training.seed, METHOD, state.step, fabric.global_rank))
        inputs = training.prepare(batch, fabric.to_device, state.epochs_done)
        interrupted = _checked(training, before, interruption)
        with training.norms:
            loss, terms = training.step_module(inputs, state.step)
        before = watched(state.step, state.epochs_done, batch.names, loss, terms)
        fabric.backward(loss)
        training.optimizer.step()
        training.optimizer.zero_grad()
        _follow(training, state.step)

        journal.advance(state.epochs_done + 1, settings.epochs)
        state.step += 1
        sums.add(before.values, len(batch.names))
        ends, due = state.step % state.steps_per_epoch == 0, state.step % settings.save_every_steps == 0
        if ends or due or interrupted:
            _checked(training, before, interruption)  # only what is good is saved
        if state.step % settings.log_every_steps == 0:
            journal.point(state.step, lr, before.values)
        if ends:
            _end_epoch(training, state, sums, lr)
        elif interrupted or due:
            _save_last(training, state, sums)
        if interrupted or _ended(state, settings):
            return


def _checked(training: _Training, step: Watched | None, interruption: Interruption) -> bool:
    """Return whether any process is to stop.

    Raises:
        TrainingError: if the loss of the step, or a term of it, is no finite number in any process.
    """
    bad = step is not None and not step.is_finite()
    bad_anywhere, interrupted = agree(training.fabric, bad, interruption.asked)
    if bad_anywhere and step is not None:
        raise not_finite(training.fabric, step, training.run.checkpoint("last"))
    return interrupted


def _follow(training: _Training, step: int) -> None:
    """Let all moving averages follow the weights that a step has changed."""
    training.model.after_step(step)
    if training.average is not None:
        training.average.follow(training.model, step)


def _saved(fabric: Fabric, run: RunFolder) -> TrainState | None:
    """Tidy up after a killed sitting and return where ``last`` stands; None before the first save."""
    if fabric.is_global_zero:
        settle_checkpoint(run.checkpoint("last"))
        settle_checkpoint(run.checkpoint("best"))
    fabric.barrier()
    return load_state(run.checkpoint("last")) if run.checkpoint("last").exists() else None


def _check_saved(
    run: RunFolder, saved: TrainState, fresh: TrainState, settings: TrainSettings, *, resume: bool
) -> None:
    """Refuse to go on from ``last`` where that was not asked for or makes no sense."""
    if not resume:
        raise RunError(
            f"{run.path} holds a training already; go on with: histoproto train --resume {run.path}, or choose "
            "another run folder"
        )
    if (saved.seed, saved.steps_per_epoch) != (fresh.seed, fresh.steps_per_epoch):
        raise RunError(
            f"{run.path} was trained with seed {saved.seed} and {saved.steps_per_epoch} steps per epoch, not with "
            f"seed {fresh.seed} and {fresh.steps_per_epoch}; restore the patches and the batch, or start a new run"
        )
    ended = _ended(saved, settings)
    if ended:
        how = ", stopped early" if ended == "early" else ""
        raise RunError(f"{run.path} is finished ({saved.epochs_done} epochs{how}); to train longer start a new run")


def _ended(state: TrainState, settings: TrainSettings) -> Literal["finished", "early"] | None:
    """Return how training has ended, or None while there is something to do."""
    if state.epochs_done >= settings.epochs:
        return "finished"
    if settings.patience is not None and state.epochs_without_improvement >= settings.patience:
        return "early"
    return None


def _set_lr(training: _Training, step: int) -> float:
    """Set the learning rate of a step and return it."""
    settings = training.settings
    lr = settings.lr * lr_factor(
        step, training.total_steps, settings.warmup_steps, settings.poly_power, settings.schedule_decay
    )
    set_lr(training.optimizer, lr)
    return lr


def _end_epoch(training: _Training, state: TrainState, sums: TermSums, lr: float) -> None:
    """Judge the epoch, note it, and save it as ``last`` and, if it is the best so far, as ``best``."""
    terms = means(merged(gather(training.fabric, sums.read())))
    sums.clear()
    state.sums = {}
    figures = training.judge.figures()
    before = sum(row["seconds"] for row in state.history)
    state.history.append(
        {
            "epoch": state.epochs_done,
            "step": state.step,
            "lr": lr,
            **terms,
            **figures,
            "seconds": round(time.monotonic() - training.began - before, 3),
        }
    )
    training.journal.epochs(state.history)
    figure = training.judge.chosen(figures)
    state.epochs_without_improvement += 1
    if training.judge.is_better(figure, state.best_figure):
        state.best_epoch, state.best_figure, state.epochs_without_improvement = state.epochs_done, figure, 0
        _save_best(training, state)
    _save_last(training, state, sums)


def _save_last(training: _Training, state: TrainState, sums: TermSums) -> None:
    """Save everything that a resumed run needs."""
    state.sums = merged(gather(training.fabric, sums.read()))
    state.seconds = time.monotonic() - training.began
    if training.fabric.is_global_zero:
        tensors = optimizer_tensors(training.model, training.optimizer)
        average = training.average.network if training.average else None
        save_checkpoint(training.run.checkpoint("last"), training.model, state, tensors, average)


def _save_best(training: _Training, state: TrainState) -> None:
    """Save what the judge has seen."""
    state.seconds = time.monotonic() - training.began
    if training.fabric.is_global_zero:
        save_checkpoint(training.run.checkpoint("best"), training.judge.model, state)
