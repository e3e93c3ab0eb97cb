"""Every class that a config can name is on a page, and all its arguments are explained."""

from __future__ import annotations

import pytest

from documentation.class_pages import PAGES, argument_rows, format_class
from experiments.classes_by_name import CHOICES
from models1d import ResNet1d
from transforms import BandPass


def test_every_argument_is_explained() -> None:
    missing = [
        f"{cls.__name__}: {name}"
        for page in PAGES
        for classes in page.kinds.values()
        for cls in classes()
        for name, _, _, meaning in argument_rows(cls)
        if not meaning
    ]
    assert not missing


def test_every_class_that_set_can_name_is_on_a_page() -> None:
    shown = {cls for page in PAGES for classes in page.kinds.values() for cls in classes()}
    named = {cls for find in CHOICES.values() for cls in find().classes.values()}
    absent = {
        cls.__name__
        for cls in named - shown
        if cls.__module__.split(".")[0] not in ("torch", "timm")
    }
    assert not absent


def test_a_class_is_shown_with_units_shapes_and_what_its_parents_explain() -> None:
    text = "\n".join(format_class(BandPass, level=2))
    assert text.startswith("## BandPass\n\nButterworth band-pass")
    assert "| `upper` | `float` | `512` | upper edge in Hz. |" in text
    assert (
        "| `p` | `float` | `0.5` | otherwise, the probability of a change;" in text
    )  # WaveTransform
    assert "the competition's" in text  # the default of `observation`
    text = "\n".join(format_class(ResNet1d, level=2))
    assert "**Call.** Return logits (B, num_classes) for strain (B, D, T)" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.file)
def test_no_class_is_twice_on_a_page(page) -> None:
    names = [cls.__name__ for classes in page.kinds.values() for cls in classes()]
    assert len(set(names)) == len(names) > 0
