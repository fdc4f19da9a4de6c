"""Classes of a label map: what is written, what belongs to what, how probabilities are decided and maps tidied."""

import numpy as np
import pytest

from transmodal.datasets.label_classes import LabelClasses, largest_component

NESTED = LabelClasses.named({"liver": (1, 2), "tumour": (2,)}, exclusive=False)
APART = LabelClasses.named({"liver": (1,), "kidneys": (2, 3)}, exclusive=True)


def test_each_class_is_written_as_a_value_of_its_own() -> None:
    assert [each.value for each in NESTED.classes] == [1, 2]
    assert [each.value for each in APART.classes] == [1, 2]
    assert len({each.colour for each in NESTED.classes}) == 2
    whole = LabelClasses.named({"lesion": ()}, exclusive=True)
    assert whole.classes[0].value == 1 and whole.atoms == ()
    assert NESTED.overlap and not APART.overlap
    assert [NESTED.inside(number) for number in (0, 1)] == [[1], []] and APART.inside(0) == []


def test_prepared_numbers_belong_to_the_classes_of_their_value() -> None:
    assert NESTED.settings("seg").classes == (1, 2)
    np.testing.assert_array_equal(NESTED.membership(), [[False, True, True], [False, False, True]])
    np.testing.assert_array_equal(APART.membership(), [[False, True, False, False], [False, False, True, True]])


def test_what_cannot_be_is_refused_with_the_class_at_fault() -> None:
    for values, reason in (
        ({"tumour": (2,), "organ": (1, 2)}, "tumour lies wholly under"),
        ({"liver": (0, 1)}, "liver needs distinct values from 1"),
        ({"liver": (1, 1)}, "liver needs distinct values"),
        ({"liver": (1,), "rest": ()}, "rest has no values"),
    ):
        with pytest.raises(ValueError, match=reason):
            LabelClasses.named(values, exclusive=False)
    with pytest.raises(ValueError, match="colours: there is no class 'lver'; the classes are liver, tumour"):
        LabelClasses.named({"liver": (1,), "tumour": (2,)}, colours={"lver": "#ffffff"}, exclusive=True)


def test_softmax_decides_for_the_most_probable_and_knows_the_background() -> None:
    probabilities = np.array([[0.4, 0.6, 0.2, 0.3], [0.35, 0.1, 0.3, 0.3]])[..., None]  # background .25 .3 .5 .4
    labels = APART.paint(APART.decide(probabilities))
    np.testing.assert_array_equal(labels[:, 0], [1, 1, 0, 0])
    each_by_itself = LabelClasses.named({"liver": (1,), "kidneys": (2,)}, exclusive=False)
    np.testing.assert_array_equal(each_by_itself.paint(each_by_itself.decide(probabilities))[:, 0], [0, 1, 0, 0])


def test_nested_classes_are_painted_over_each_other() -> None:
    probabilities = np.array([[0.9, 0.9, 0.1, 0.2], [0.1, 0.8, 0.7, 0.1]])[..., None]
    labels = NESTED.paint(NESTED.decide(probabilities))
    np.testing.assert_array_equal(labels[:, 0], [1, 2, 2, 0])
    np.testing.assert_array_equal(NESTED.masks_of(labels)[:, :, 0], [[1, 1, 1, 0], [0, 1, 1, 0]])


def test_thresholds_say_from_which_probability_a_pixel_has_a_class() -> None:
    probabilities = np.array([[0.6, 0.45, 0.9, 0.2], [0.1, 0.3, 0.4, 0.19]])[..., None]
    nested = NESTED.with_changes(thresholds={"tumour": 0.2})
    np.testing.assert_array_equal(nested.paint(nested.decide(probabilities))[:, 0], [1, 2, 2, 0])
    both = nested.with_changes(thresholds={"liver": 0.7})
    assert both.thresholds == {"tumour": 0.2, "liver": 0.7}
    np.testing.assert_array_equal(both.paint(both.decide(probabilities))[:, 0], [0, 2, 2, 0])
    beside = LabelClasses.named({"liver": (1,), "kidneys": (2,)}, exclusive=False, thresholds={"kidneys": 0.2})
    # The third pixel: 0.9 of 0.5 against 0.4 of 0.2.
    np.testing.assert_array_equal(beside.paint(beside.decide(probabilities))[:, 0], [1, 2, 2, 0])
    for changed, reason in (({"lung": 0.2}, "thresholds: there is no class 'lung'"), ({"liver": 1.0}, "1, is no prob")):
        with pytest.raises(ValueError, match=reason):
            NESTED.with_changes(thresholds=changed)
    with pytest.raises(ValueError, match="most probable class"):
        APART.with_changes(thresholds={"liver": 0.2})
    with pytest.raises(ValueError, match="most probable class"):
        LabelClasses.named({"liver": (1,)}, exclusive=True, thresholds={"liver": 0.2})


def test_a_value_above_255_takes_16_bits() -> None:
    classes = LabelClasses.named({"aorta": (300,)}, exclusive=True)
    labels = classes.paint(np.array([[True, False]]))
    assert labels.dtype == np.uint16 and labels.tolist() == [300, 0]


def test_one_piece_is_kept_and_what_was_under_the_others_comes_back() -> None:
    masks = np.zeros((2, 8, 8), bool)
    masks[0, 1:7, 1:7] = True
    masks[1, 2:4, 2:4] = True
    masks[1, 5, 5] = True  # a stray bit of tumour
    labels = NESTED.with_changes(largest_component=["tumour"]).paint(
        NESTED.with_changes(largest_component=["tumour"]).tidied(masks)
    )
    assert labels[5, 5] == 1 and labels[2, 2] == 2
    assert NESTED.tidied(masks)[1, 5, 5]


def test_one_piece_of_an_organ_takes_the_tumours_outside_it_along() -> None:
    masks = np.zeros((2, 12, 12), bool)
    masks[0, 1:7, 1:7] = True
    masks[1, 2:4, 2:4] = True
    masks[1, 6:8, 6:8] = True  # reaches over the rim of the liver
    masks[1, 10:, 10:] = True  # far from it
    one_piece = NESTED.with_changes(largest_component=["liver"])
    labels = one_piece.paint(one_piece.tidied(masks))
    assert not labels[9:, 9:].any()
    liver, tumour = one_piece.masks_of(labels)
    assert largest_component(liver).sum() == liver.sum() == 36 + 3
    assert tumour.sum() == 4 + 4


def test_one_tumour_is_chosen_among_those_of_the_one_liver() -> None:
    masks = np.zeros((2, 12, 12), bool)
    masks[0, 1:7, 1:7] = True
    masks[1, 2, 2] = True
    masks[1, 9:, 9:] = True  # larger, but outside
    both = NESTED.with_changes(largest_component=["tumour", "liver"])
    labels = both.paint(both.tidied(masks))
    assert labels[2, 2] == 2 and (labels == 2).sum() == 1 and (labels == 1).sum() == 35


def test_three_regions_inside_each_other_are_tidied_from_the_outermost() -> None:
    classes = LabelClasses.named(
        {"whole": (1, 2, 3), "core": (2, 3), "enhancing": (3,)},
        exclusive=False, largest_component=("whole",), fill_holes=("enhancing",),
    )  # fmt: skip
    masks = np.zeros((3, 16, 16), bool)
    masks[0, 1:3, 1:9] = True
    masks[2, 3:8, 1:6] = True  # nobody calls it core or whole; it touches the whole
    masks[2, 5, 3] = False
    masks[1, 13, 13] = masks[2, 14, 14] = True
    tidy = classes.tidied(masks)
    assert tidy[2, 5, 3] and not tidy[:, 12:].any()
    np.testing.assert_array_equal(classes.masks_of(classes.paint(tidy)), tidy)


def test_pieces_that_touch_by_a_corner_are_one() -> None:
    mask = np.zeros((5, 5), bool)
    mask[0, 0] = mask[1, 1] = mask[4, 4] = True
    assert largest_component(mask).sum() == 2
    assert not largest_component(np.zeros((3, 3), bool)).any()


def test_holes_are_filled_but_not_over_other_classes() -> None:
    classes = LabelClasses.named({"kidneys": (2,), "liver": (1,)}, exclusive=True, fill_holes=("liver",))
    masks = np.zeros((2, 9, 9), bool)
    masks[1, 1:8, 1:8] = True
    masks[1, 3, 3] = masks[1, 5, 5] = False
    masks[0, 5, 5] = True
    labels = classes.paint(classes.tidied(masks))
    assert labels[3, 3] == 1 and labels[5, 5] == 2


def test_a_tidying_of_an_unknown_class_is_refused() -> None:
    with pytest.raises(ValueError, match="fill_holes: there is no class 'lung'; the classes are liver, tumour"):
        NESTED.with_changes(fill_holes=["lung"])


def test_the_legend_tells_value_name_and_colour() -> None:
    legend = NESTED.legend()
    assert [entry["value"] for entry in legend] == [0, 1, 2]
    assert legend[2]["name"] == "tumour" and legend[2]["colour"].startswith("#")
