import pytest
import torch
from benchmarks.speed.reference import reference_step
from benchmarks.speed.tables import against, as_table

from tests.methods.law_cases import Case, batch


@pytest.mark.parametrize("preset", ["corrected", "released"])
@pytest.mark.parametrize("name", ["pbip", "lpd"])
def test_a_step_computed_plainly_crop_by_crop_has_the_same_loss_and_gradients(name, preset):
    method, _ = Case(name, preset).build()
    method.train()
    images, labels = batch(64, 64)
    loss = method.training_step(images, labels, 0).loss
    loss.backward()
    found = {key: weight.grad.clone() for key, weight in method.named_parameters() if weight.grad is not None}
    method.zero_grad()
    plain = reference_step(method, images, labels)
    plain.backward()
    torch.testing.assert_close(loss, plain, rtol=1e-5, atol=1e-6)
    largest = max(float(gradient.abs().max()) for gradient in found.values())
    for key, weight in method.named_parameters():
        if key in found:
            torch.testing.assert_close(found[key], weight.grad, rtol=1e-3, atol=1e-5 * largest)


def row(seconds):
    taken = {"seconds": seconds, "spread": [seconds, seconds], "peak_gib": 2.0, "tflop": 0.1, "traffic_gib": 1.0}
    return {**taken, "first_loss": 1.0, "first_loss_fp32": 1.0}


def figures(seconds):
    return {
        "device": "2 CPU threads",
        "ceilings": {"tflop_per_s": {"fp32": 0.1, "bf16": 0.2}, "gib_per_s": 10.0},
        "rows": {"step pbip corrected": {"ours": row(seconds), "plain": row(10.0)}},
    }


def test_the_table_says_how_many_times_faster_and_how_near_to_the_ceiling():
    line = next(line for line in as_table(figures(2.0)).splitlines() if line.startswith("| step"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[1:4] == ["10", "2", "5.0"]
    assert cells[-1] == "25%"  # 0.1 TFLOP in 2 s are 0.05 of 0.2


def test_two_runs_are_compared_by_ratios():
    assert "| step pbip corrected | x 0.50 | x 1.00 |" in against(figures(1.0), figures(2.0))
    assert "Note" not in against(figures(1.0), figures(2.0))
    assert "Note: device was a GPU, now 2 CPU threads" in against(figures(1.0), {**figures(2.0), "device": "a GPU"})
