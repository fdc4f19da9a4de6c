"""Where a training stands: how much of it is over, which validation was the best, what an epoch's losses were."""

import pytest

from transmodal.training.position import Position


def test_progress_is_that_of_steps_or_of_time_whichever_is_further() -> None:
    position = Position(step=30, seconds=60.0)
    assert position.progress(100, None) == 0.3
    assert position.progress(100, 2.0) == 0.5 and position.progress(100, 10.0) == 0.3


def test_a_time_limit_of_its_own_wins_over_the_recipes() -> None:
    assert Position(seconds=60.0, minutes=4.0).progress(100, 2.0) == 0.25


def test_no_training_at_all_has_no_progress() -> None:
    assert Position().progress(0, None) == 0.0


@pytest.mark.parametrize(("higher_is_better", "best"), [(True, 3.0), (False, 1.0)])
def test_the_best_score_is_kept_with_its_epoch_and_patience_begins_anew(higher_is_better: bool, best: float) -> None:
    position = Position()
    for position.epoch, score in enumerate((2.0, 2.0, best, best), 1):
        position.add_score(score, higher_is_better=higher_is_better)
    assert (position.best_score, position.best_epoch, position.validations_without_gain) == (best, 3, 1)


def test_losses_are_means_over_the_steps_that_had_them_and_end_with_the_epoch() -> None:
    position = Position()
    for losses in ({"g_loss": 1.0, "d_loss": 4.0}, {"g_loss": 3.0}):
        position.add_step(losses)
    assert position.mean_losses == {"g_loss": 2.0, "d_loss": 4.0}
    assert (position.step, position.batch, position.epochs_done(4), position.epochs_done(2)) == (2, 2, 0.5, 0.0)
    position.begin_epoch()
    assert position.mean_losses == {} and (position.step, position.batch) == (2, 0)
