import torch

from histoproto.losses.relational import affinity, relational_distillation


def test_loss_equals_the_released_one(golden):
    numbers = golden("structural_distillation")
    loss = relational_distillation(numbers["student"], numbers["teacher"])
    torch.testing.assert_close(loss, numbers["loss"], atol=1e-6, rtol=0)


def test_large_maps_are_averaged_to_64_cells_a_side_as_in_the_released_code(golden):
    numbers = golden("structural_distillation")
    loss = relational_distillation(numbers["student_large"], numbers["teacher_large"])
    torch.testing.assert_close(loss, numbers["loss_large"], atol=1e-6, rtol=0)


def test_affinity_of_two_orthogonal_pixels_and_one_between_them_by_hand():
    pixels = torch.tensor([[3.0, 0.0, 1.0], [0.0, 2.0, 1.0]])[None, :, None]  # (1, 2 channels, 1, 3)
    half = 0.5**0.5
    expected = torch.tensor([[1.0, 0.0, half], [0.0, 1.0, half], [half, half, 1.0]])
    torch.testing.assert_close(affinity(pixels)[0], expected)


def test_teacher_with_the_students_relations_but_other_channels_and_scales_gives_no_loss():
    student = torch.randn(2, 5, 4, 4)
    rotation = torch.linalg.qr(torch.randn(9, 5)).Q
    teacher = torch.einsum("dc,bchw->bdhw", rotation, student) * torch.rand(2, 1, 4, 4).add(0.5)
    assert relational_distillation(student, teacher) < 1e-12
    assert relational_distillation(student, torch.randn(2, 9, 4, 4)) > 1e-2


def test_a_finer_teacher_of_equal_blocks_is_as_good_as_one_of_the_students_size():
    student, teacher = torch.randn(2, 3, 4, 6), torch.randn(2, 7, 4, 6)
    blocks = teacher.repeat_interleave(2, -1).repeat_interleave(2, -2)
    torch.testing.assert_close(relational_distillation(student, blocks), relational_distillation(student, teacher))


def test_loss_is_the_mean_over_images():
    student, teacher = torch.randn(4, 3, 4, 4), torch.randn(4, 7, 8, 8)
    halves = [relational_distillation(student[part], teacher[part]) for part in (slice(0, 2), slice(2, 4))]
    torch.testing.assert_close(relational_distillation(student, teacher), torch.stack(halves).mean())


def test_following_the_gradient_brings_the_relations_of_the_teacher():
    student, teacher = torch.randn(1, 6, 4, 4).requires_grad_(), torch.randn(1, 6, 4, 4)
    optimizer = torch.optim.Adam([student], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        loss = relational_distillation(student, teacher)
        loss.backward()
        optimizer.step()
    assert loss < 0.01


def test_blank_features_give_a_finite_loss_and_gradient():
    student = torch.zeros(1, 3, 4, 4, requires_grad=True)
    relational_distillation(student, torch.rand(1, 2, 4, 4)).backward()
    assert student.grad.isfinite().all()
