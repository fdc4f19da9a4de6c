"""Signal equations against closed forms, and the contrast that every radiologist expects."""

import numpy as np
import pytest

from transmodal.simulation.brain.signals import (
    SEQUENCES,
    TYPICAL,
    Sequence,
    Tissue,
    draw_sequences,
    draw_tissues,
    inversion_recovery,
    nulling_inversion,
    spin_echo,
)
from transmodal.simulation.brain.tissues import TISSUES


def test_spin_echo_has_its_closed_forms():
    assert spin_echo(1000, 100, 0.8, 1000 * np.log(2), 100 * np.log(4)) == pytest.approx(0.8 * 0.5 * 0.25)
    assert spin_echo(1000, 100, 0.8, 1e9, 0) == pytest.approx(0.8)
    assert spin_echo(1000, 100, 0.8, 0, 10) == 0
    short = spin_echo(1000, 1e9, 1.0, 1e-3, 0)  # saturated: TR / T1
    assert short == pytest.approx(1e-6, rel=1e-3)


def test_spin_echo_decays_as_the_echo_is_late():
    first, second = (spin_echo(800, 70, 1.0, 500, echo) for echo in (10, 80))
    assert second / first == pytest.approx(np.exp(-1))


def test_inversion_recovery_has_its_closed_forms():
    assert inversion_recovery(1000, 1e9, 0.9, 1e9, 0, 0) == pytest.approx(-0.9)
    assert inversion_recovery(1000, 1e9, 0.9, 1e9, 0, 1000 * np.log(2)) == pytest.approx(0, abs=1e-12)
    assert inversion_recovery(1000, 100, 0.9, 1e9, 100, 1e9) == pytest.approx(0.9 * np.exp(-1))


@pytest.mark.parametrize("repetition", [6000.0, 9000.0, 1e6])
def test_the_nulling_inversion_nulls(repetition):
    null = nulling_inversion(4200, repetition)
    assert inversion_recovery(4200, 1800, 1.0, repetition, 100, null) == pytest.approx(0, abs=1e-12)
    assert inversion_recovery(4200, 1800, 1.0, repetition, 100, null + 50) > 0


def test_contrast_agent_adds_relaxation_rates():
    tissue = Tissue(1000, 100, 0.8, uptake=0.5)
    seen = tissue.with_contrast(1.5)
    assert 1000 / seen.t1 == pytest.approx(1 + 4.5 * 0.5)
    assert 1000 / seen.t2 == pytest.approx(10 + 5.3 * 0.5)
    plain, after = Sequence(500, 10), Sequence(500, 10, contrast=True)
    assert after.signal(tissue, 1.5) > 1.5 * plain.signal(tissue, 1.5)
    without = Tissue(1000, 100, 0.8)
    assert after.signal(without, 1.5) == plain.signal(without, 1.5)


@pytest.mark.parametrize("field", list(TYPICAL))
def test_every_tissue_has_constants(field):
    assert set(TYPICAL[field]) == set(TISSUES)
    assert all(tissue.t1 > tissue.t2 and tissue.density <= 1 for tissue in TYPICAL[field].values())


@pytest.mark.parametrize("field", list(TYPICAL))
@pytest.mark.parametrize("seed", range(12))
def test_drawn_protocols_show_the_usual_contrast(field, seed):
    rng = np.random.default_rng(seed)
    sequences, tissues = draw_sequences(rng, field), draw_tissues(rng, field)
    assert tuple(sequences) == SEQUENCES
    seen = {
        modality: {name: abs(sequence.signal(tissue, field)) for name, tissue in tissues.items()}
        for modality, sequence in sequences.items()
    }
    assert seen["T1"]["white"] > seen["T1"]["grey"] > seen["T1"]["csf"]
    assert seen["T2"]["csf"] > seen["T2"]["oedema"] > seen["T2"]["grey"] > seen["T2"]["white"]
    assert seen["FLAIR"]["csf"] < 0.25 * seen["FLAIR"]["white"]
    assert seen["FLAIR"]["oedema"] > seen["FLAIR"]["grey"] > seen["FLAIR"]["white"]
    assert seen["FLAIR"]["plaque"] > 1.2 * seen["FLAIR"]["white"]
    assert seen["T1"]["enhancing"] < seen["T1"]["white"] < seen["T1ce"]["enhancing"]
    assert seen["T1ce"]["necrosis"] < seen["T1ce"]["white"]


def test_own_tissues_replace_the_typical_ones():
    own = {name: Tissue(1000, 100, 0.8) for name in TISSUES}
    drawn = draw_tissues(np.random.default_rng(0), 3.0, spread=0.0, typical=own)
    assert drawn == own
