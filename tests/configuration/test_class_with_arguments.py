"""Parts: built anew each time, checked, and shared without being changed."""

import copy
import pickle

import numpy as np
import pytest
from small_config import Noise, Root

from configuration.class_with_arguments import Part, thaw
from runtime.errors import UserError
from transforms import FlipWave


def test_thawed_values_are_copies() -> None:
    free = thaw(Root.inner)
    free["a"]["c"] = 3
    assert "c" not in Root.inner["a"]


def test_part_builds_and_checks() -> None:
    first, second = Part(Noise, low=0.1).build(), Part(Noise, low=0.1).build(high=9.0)
    assert (first.low, first.high, second.high) == (0.1, 2.0, 9.0)
    assert first is not second
    with pytest.raises(UserError, match="did you mean 'low'"):
        Part(Noise, lo=0.1)


def test_a_shared_part_cannot_be_written_to() -> None:
    part = Root.steps[0]
    with pytest.raises(UserError, match="cannot be changed"):
        part.params = {"low": 1.0}
    with pytest.raises(UserError, match="cannot be changed"):
        part.cls = FlipWave
    with pytest.raises(UserError, match="cannot be changed"):
        del part.params
    with pytest.raises((UserError, AttributeError)):
        part.other = 1
    assert (part.cls, dict(part.params)) == (Noise, {"low": 0.5})


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda part: pickle.loads(pickle.dumps(part))]
)
def test_parts_are_copied_and_pickled(duplicate) -> None:
    part = Part(FlipWave, p=0.25)
    again = duplicate(part)
    assert again == part
    assert hash(again) == hash(part)
    assert again.build().p == 0.25
    with pytest.raises(UserError, match="cannot be changed"):
        again.params = {}


def test_equal_parts_hash_alike() -> None:
    one, other = (
        Part(Noise, low=1, high=(2, {"a": 3})),
        Part(Noise, high=[2.0, {"a": 3.0}], low=1.0),
    )
    assert one == other
    assert hash(one) == hash(other)
    assert len({one, other, Part(Noise, low=2)}) == 2
    # An argument without a hash leaves the part with one.
    table = np.ones(3)
    assert hash(Part(Noise, low=table)) == hash(Part(Noise, low=table))


def test_arguments_of_a_class_inside_are_checked() -> None:
    class Front:
        def __init__(self, rows: int = 3) -> None:
            pass

    class Network:
        def __init__(self, spectrogram=None, spec_params=None) -> None:
            pass

    Part(Network, spectrogram=Front, spec_params={"rows": 4})
    with pytest.raises(UserError, match=r"Front takes no argument 'row' \(did you mean 'rows'"):
        Part(Network, spectrogram=Front, spec_params={"row": 4})
