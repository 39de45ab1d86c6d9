"""A student's pixels should resemble each other as the teacher's pixels do (ConStruct, MIDL 2026, L_struct).

    A(p, q)  = cos(F(p), F(q))                                      for all pixels p, q of one map
    L_struct = mean over p, q of  (A_student(p, q) - A_teacher(p, q))^2

Relations do not ask that both have the same channels. Similarity-preserving knowledge distillation (Tung and Mori,
ICCV 2019) does the same between the images of a batch.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate, mse_loss, normalize

LARGEST_SIDE = 64
"""Maps are averaged down to this side first, since affinities grow with its fourth power."""


def affinity(
    features: Float[Tensor, "batch channels height width"],
) -> Float[Tensor, "batch pixels pixels"]:
    """Return the cosine between each two pixels of a map, in [-1, 1]; pixels row by row.

    A zero vector has similarity 0 to everything.
    """
    pixels = normalize(features.flatten(2), dim=1)  # (batch, channels, pixels)
    return torch.einsum("bcp,bcq->bpq", pixels, pixels)


def relational_distillation(
    student: Float[Tensor, "batch _channels height width"],
    teacher: Float[Tensor, "batch _teacher_channels _height _width"],
) -> Float[Tensor, ""]:
    """Return L_struct of one pair of levels, in [0, 4].

    Args:
        student: features that learn.
        teacher: features to follow, of any channels and size; they are resized bilinearly to the student's grid.

    Returns:
        The mean over images and pairs of pixels; 0 for equal relations.
    """
    height, width = student.shape[-2:]
    if teacher.shape[-2:] != (height, width):
        teacher = interpolate(teacher, size=(height, width), mode="bilinear", align_corners=False)
    if max(height, width) > LARGEST_SIDE:
        size = (min(height, LARGEST_SIDE), min(width, LARGEST_SIDE))
        student, teacher = adaptive_avg_pool2d(student, size), adaptive_avg_pool2d(teacher, size)
    return mse_loss(affinity(student), affinity(teacher))
