"""The learning rate over the steps: linear warm-up, then polynomial decay."""

from histoproto.training.settings import ScheduleDecay

WARMUP_START = 1e-6
"""Factor on the learning rate at step 0 of a warm-up, as in the released codes."""


def lr_factor(step: int, total_steps: int, warmup_steps: int, power: float, decay: ScheduleDecay) -> float:
    """Return the factor on the peak learning rate at one step.

    With s the step, w the warm-up, T the total and r = 1e-6::

        s < w:               1 - (1 - s / w) (1 - r)
        "remaining", s ≥ w:  (1 - (s - w) / (T - w))^power
        "total", s ≥ w:      (1 - (s - w) / T)^power        the released codes; ends at (w / T)^power

    Args:
        step: optimiser step, from 0 to ``total_steps - 1``.
        total_steps: T.
        warmup_steps: w; 0 starts at the peak.
        power: exponent of the decay.
        decay: which of the two decays.
    """
    if step < warmup_steps:
        return 1 - (1 - step / warmup_steps) * (1 - WARMUP_START)
    divisor = total_steps - warmup_steps if decay == "remaining" else total_steps
    return float((1 - (step - warmup_steps) / divisor) ** power)
