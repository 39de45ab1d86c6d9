"""What sets one patient's slide apart from another's: tissue habit, stain, and scanner."""

from dataclasses import dataclass

import numpy as np

from histoproto.data.phantom.noise import Floats


@dataclass(frozen=True)
class Habit:
    """How the tissues of one patient are built. Lengths in micrometres."""

    tumour_radius_um: float
    """Mean radius of the tumour nuclei."""
    pleomorphism: float
    """Spread of the tumour nuclei's size, as a standard deviation of the log radius."""
    tumour_spacing_um: float
    """Distance of neighbouring tumour cells."""
    vesicular: float
    """0: nuclei are filled with chromatin; 1: chromatin sits at the membrane."""
    fibre_angle: float
    """Main direction of the collagen, in radians."""
    fibre_contrast: float
    """How deep the clefts between collagen bundles are, 0 to 1."""
    crimp_um: float
    """Height of the waves of the collagen fibres."""
    spindle_density: float
    """Share of the possible places that hold a spindle nucleus."""
    lymphocyte_density: float
    """Share of the possible places that hold a lymphocyte."""
    dust_density: float
    """Amount of nuclear debris in necrosis."""

    @staticmethod
    def draw(generator: np.random.Generator) -> "Habit":
        """A random patient's habit."""
        radius = generator.uniform(5.2, 6.8)
        return Habit(
            tumour_radius_um=radius,
            pleomorphism=generator.uniform(0.1, 0.22),
            tumour_spacing_um=radius * generator.uniform(2.2, 2.7),
            vesicular=generator.uniform(0.45, 0.9),
            fibre_angle=generator.uniform(0, np.pi),
            fibre_contrast=generator.uniform(0.25, 0.8),
            crimp_um=generator.uniform(0.8, 2.0),
            spindle_density=generator.uniform(0.3, 0.6),
            lymphocyte_density=generator.uniform(0.72, 0.95),
            dust_density=generator.uniform(0.5, 1.0),
        )


@dataclass(frozen=True)
class Stain:
    """Haematoxylin and eosin as they came out of one laboratory, and the scanner behind them."""

    vectors: Floats
    """Optical density of one unit of haematoxylin and of eosin in red, green, blue; shape (2, 3)."""
    strength: Floats
    """Concentration of both stains, shape (2,)."""
    white: Floats
    """Transmitted light without tissue, shape (3,), in 0 to 1."""
    gamma: float
    blur_um: float
    """Standard deviation of the scanner's point spread."""
    grain: float
    """Standard deviation of the sensor noise, in 0 to 1."""

    @staticmethod
    def draw(generator: np.random.Generator) -> "Stain":
        """A random laboratory and scanner."""
        haematoxylin = np.array([0.57, 0.72, 0.38]) + generator.normal(0, [0.05, 0.03, 0.05])
        eosin = np.array([0.15, 0.86, 0.46]) + generator.normal(0, [0.04, 0.02, 0.09])
        vectors = np.clip(np.stack([haematoxylin, eosin]), 0.02, None)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return Stain(
            vectors=vectors.astype(np.float32),
            strength=generator.uniform([0.75, 0.65], [1.15, 1.15]).astype(np.float32),
            white=(generator.uniform(0.93, 0.97) + generator.normal(0, 0.006, 3)).clip(0.9, 0.99).astype(np.float32),
            gamma=generator.uniform(0.9, 1.1),
            blur_um=generator.uniform(0.2, 0.42),
            grain=generator.uniform(0.006, 0.014),
        )


@dataclass(frozen=True)
class Patient:
    """One patient: a seed for everything that is placed, a habit and a stain."""

    seed: int
    habit: Habit
    stain: Stain

    @staticmethod
    def draw(seed: int) -> "Patient":
        """The patient that belongs to a seed."""
        generator = np.random.default_rng(seed)
        return Patient(seed=seed, habit=Habit.draw(generator), stain=Stain.draw(generator))
