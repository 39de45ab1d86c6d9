import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from histoproto.training.schedule import lr_factor


def test_the_released_schedule_is_reproduced(golden):
    numbers = golden("lr_schedule")
    total, warmup, power = int(numbers["total"]), int(numbers["warmup"]), float(numbers["power"])
    factors = [lr_factor(step, total, warmup, power, "total") for step in range(total)]
    rates = torch.tensor(factors, dtype=torch.float64) * numbers["base_lr"].double()
    torch.testing.assert_close(rates, numbers["lr"], rtol=1e-6, atol=0)


def test_the_corrected_decay_would_reach_zero_at_the_first_step_after_the_last():
    assert lr_factor(10, 50, 10, 1.0, "remaining") == 1
    assert lr_factor(30, 50, 10, 1.0, "remaining") == pytest.approx(0.5)
    assert lr_factor(49, 50, 10, 1.0, "remaining") == pytest.approx(1 / 40)
    assert lr_factor(49, 50, 10, 2.0, "remaining") == pytest.approx(1 / 1600)


@given(st.integers(1, 100), st.integers(0, 120), st.sampled_from(["remaining", "total"]))
def test_the_rate_rises_then_falls_and_stays_positive(total, warmup, decay):
    factors = [lr_factor(step, total, warmup, 0.9, decay) for step in range(total)]
    assert all(0 < factor <= 1 for factor in factors)
    rising, falling = factors[: warmup + 1], factors[warmup:]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)
