"""`--set key=value`: a child of a config with some settings replaced.

    num_epochs=3                        a setting
    model_params.spec_params.stride=8   an argument, by its path
    transforms.train.2.p=0.1            an entry of a tuple, by its position; -1 is the last
    views+=swap_ligo                    append to a tuple
    criterion=RankLoss                  another class, by name
    callbacks.0=KeepLast                the same for an entry
    transforms.train+=FlipWave          the same, appended
    monitor_metrics=[LogLoss,AUC]       several classes in place of what is there
    observation.detectors=[H1,L1]       a list; its words need no quotes

Settings are applied in the order they are given: name the class first, then its arguments.

A class takes over the arguments of the one before where it has arguments of these names: another
optimiser keeps the learning rate, another augmentation its probability. What it does not take is
dropped, and a warning says so. What it needs and is not given is an error that says what to set.

Nothing is evaluated as code. Values are literals, checked against the annotated type of what they
replace, and class names are looked up among those that the root of the configs offers.
"""

from __future__ import annotations

import ast
import re
import sys
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from configuration.class_with_arguments import Part, arguments_key, class_of_arguments, thaw
from configuration.config_class import ClassChoices, ConfigMeta
from configuration.types import (
    Argument,
    accepted_arguments,
    arguments_of,
    format_type,
    is_of_type,
    required_arguments,
)
from runtime.console import LOGGER
from runtime.errors import UserError, nearest

# An entry of a list: what is quoted, or whatever stands between commas and brackets.
WORD_OF_A_LIST = re.compile(r"""'[^']*'|"[^"]*"|[^\[\],\s'"]+""")


@dataclass(frozen=True)
class Setting:
    """One `--set` word.

    Attributes:
        text: as it was typed, for messages.
        path: names and positions, e.g. ("transforms", "train", "-1", "p").
        value: what follows '='.
        appends: whether it was '+='.
    """

    text: str
    path: tuple[str, ...]
    value: str
    appends: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The path without positions in tuples."""
        return tuple(key for key in self.path if not is_position(key))

    def error(self, message: str) -> UserError:
        return UserError(f"--set {self.text!r}: {message}")


def read_setting(text: str) -> Setting:
    # At the first '=': a value may hold more of them.
    key, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--set {text!r}: expected key=value, e.g. --set num_epochs=3")
    key = key.strip()
    path = tuple(key.removesuffix("+").strip().split("."))
    return Setting(text, path, value.strip(), key.endswith("+"))


def is_position(key: str) -> bool:
    return re.fullmatch(r"-?\d+", key) is not None


def override(cls: ConfigMeta, settings: Sequence[str]) -> ConfigMeta:
    """Return a child of `cls` with some settings replaced; see the module for what can be said.

    Raises:
        UserError: an unknown key or class, a value of another type, no '=', or a class without an
            argument that it needs.
    """
    if not settings:
        return cls
    overrides = Overrides(cls)
    for text in settings:
        overrides.apply(read_setting(text))
    overrides.check_chosen_classes()
    changed = dict(overrides.changed)
    # `ConfigMeta` drops the published scores of a child, and this child is the same experiment.
    if "published" in cls.fields():
        changed.setdefault("published", cls.published)
    return ConfigMeta(cls.__name__, (cls,), changed, register=False)


class Overrides:
    """The settings of a config, some of them replaced.

    Every method that ends in `_below` returns a value with what lies at the rest of a setting's
    path replaced, from position `depth` on; everything else in it stays.
    """

    def __init__(self, cls: ConfigMeta) -> None:
        self.cls = cls
        self.values: dict[str, Any] = {key: getattr(cls, key) for key in cls.fields()}
        self.changed: dict[str, Any] = {}
        self.chosen: dict[tuple[str, ...], Setting] = {}  # where a class was named, by whom

    def apply(self, setting: Setting) -> None:
        first = setting.path[0]
        if first not in self.values:
            places = self.places_of(first)
            hint = f" (did you mean {' or '.join(places)}?)" if places else ""
            raise setting.error(f"no setting {first!r}{hint or nearest(first, self.values)}")
        known = {
            key: Argument(expected, self.values[key])
            for key, expected in self.cls.setting_types().items()
        }
        replaced = self.mapping_below(self.values, known, None, setting, 0)
        # a class brings its arguments with it, so more than one setting can be another
        self.changed |= {
            key: value
            for key, value in replaced.items()
            if key == first or value is not self.values[key]
        }
        self.values = replaced

    # --- finding the place -------------------------------------------------------------------

    def places_of(self, name: str) -> list[str]:
        """Return where an argument of this name stands, or may stand: at most three paths.

        Those that are stated come first: `lr` is `optimizer_params.lr`.
        """
        stated, possible = [], []
        for path, params, owner in self.holders():
            if name in params:
                stated.append(f"{path}.{name}")
            elif owner is not None and name in arguments_of(owner):
                possible.append(f"{path}.{name}")
        return (stated or possible)[:3]

    def holders(self) -> Iterator[tuple[str, Mapping[str, Any], type | None]]:
        """Yield path, arguments and class of everything that the settings hold arguments of."""
        waiting = [(key, value, self.values, key) for key, value in self.values.items()]
        for path, value, beside, key in waiting:  # it grows meanwhile
            if isinstance(value, Part):
                yield path, value.params, value.cls
                inside = value.params
            elif isinstance(value, Mapping):
                yield path, value, class_of_arguments(key, beside)
                inside = value
            elif isinstance(value, tuple):
                inside = {str(place): item for place, item in enumerate(value)}
            else:
                continue
            waiting += [(f"{path}.{name}", item, inside, name) for name, item in inside.items()]

    def mapping_below(
        self,
        values: Mapping[str, Any],
        known: Mapping[str, Argument],
        owner: type | None,
        setting: Setting,
        depth: int,
    ) -> dict[str, Any]:
        """Replace in settings, or in arguments of `owner`, by name.

        Args:
            values: those that are stated.
            known: all that can be stated, as far as that is known.
        """
        key = setting.path[depth]
        if key not in values and key not in known:
            why = "" if owner is None else f": {owner.__name__} takes no such argument"
            raise setting.error(f"no key {key!r}{nearest(key, {*values, *known})}{why}")
        expected, default = known.get(key, Argument(Any, None))
        current = values.get(key, default)
        if depth + 1 == len(setting.path) and self.names_a_class(current, expected, setting):
            choices = self.cls.class_choices(setting.names)
            if choices is not None and choices.beside:
                return {**values, **self.choose_class(key, values, setting)}
        inner = class_of_arguments(key, values)
        # Of a class that is named by a text, as splitter is, its user knows the arguments.
        named = isinstance(values.get(key.removesuffix("_params")), str)
        takes_any = key.endswith("_params") and inner is None and named
        below = self.value_below(current, expected, inner, setting, depth + 1, takes_any)
        return {**values, key: below}

    def value_below(
        self,
        current: Any,
        expected: Any,
        owner: type | None,
        setting: Setting,
        depth: int,
        takes_any: bool = False,
    ) -> Any:
        """Replace in any value.

        Args:
            owner: the class whose arguments it holds, if it does.
            takes_any: whether new keys may be stated in it, where it is a mapping.
        """
        if depth == len(setting.path):
            return self.new_value(current, expected, setting)
        key = setting.path[depth]
        if isinstance(current, Part):
            cls = current.cls
            params = self.mapping_below(current.params, arguments_of(cls), cls, setting, depth)
            # A new one: other configs hold the old one.
            return Part(cls, **thaw(params))
        if isinstance(current, Mapping) or owner is not None:
            known = {} if owner is None else arguments_of(owner)
            if takes_any:
                known = {**known, key: Argument(Any, None)}
            return self.mapping_below(current or {}, known, owner, setting, depth)
        if isinstance(current, tuple):
            if not is_position(key) or not -len(current) <= int(key) < len(current):
                there = f"from 0 to {len(current) - 1}" if current else "as there is no entry"
                raise setting.error(f"{key!r} is not a position {there}")
            # -1 is the last one
            at = int(key) % len(current)
            item = self.value_below(current[at], Any, None, setting, depth + 1)
            return (*current[:at], item, *current[at + 1 :])
        raise setting.error(f"there is nothing below {key!r} to set")

    def new_value(self, current: Any, expected: Any, setting: Setting) -> Any:
        """Return what the setting puts at the end of its path."""
        choices = self.cls.class_choices(setting.names)
        if setting.appends:
            if not (current is None or isinstance(current, tuple | list)):
                raise setting.error(f"+= appends to a tuple, and here stands {current!r}")
            items = tuple(current or ())
            if choices is not None:
                return (*items, self.choose_part(None, setting))
            # A new entry has the type of the last one, as far as there is one.
            return (*items, parse_value(setting, items[-1] if items else None, Any))
        if self.names_a_class(current, expected, setting):
            return self.choose_part(current, setting)
        several = isinstance(current, tuple) or (current is None and expected is Any)
        if choices is not None and several and self.lists_classes(setting, choices):
            words = (word.strip() for word in setting.value[1:-1].split(","))
            return tuple(self.choose_part(None, replace(setting, value=w)) for w in words if w)
        if choices is not None and several and setting.value in choices.classes:
            key = ".".join(setting.path)
            first = f"replace one entry with {key}.0={setting.value}, or " if current else ""
            raise setting.error(
                f"here stands a tuple of classes: {first}append one with {key}+={setting.value}"
            )
        return parse_value(setting, current, expected)

    def names_a_class(self, current: Any, expected: Any, setting: Setting) -> bool:
        """Whether the value of a setting is the name of a class, to be looked up."""
        says_none = setting.value.lower() in ("none", "null")
        if setting.appends or (says_none and is_of_type(None, expected)):
            return False
        if {str, Part} <= set(typing.get_args(expected)):
            # A word or a part, as noise=gaussian or noise=Glitches: a class is known by its name.
            choices = self.cls.class_choices(setting.names)
            return choices is not None and setting.value in choices.classes
        if isinstance(current, type | Part):
            # some arguments take a class or its name as a text, e.g. activation=relu
            return expected is Any or not is_of_type(setting.value, expected)
        # None stands where a class may stand, unless it is where several of them may
        several = tuple in (expected, *typing.get_args(expected))
        return (
            current is None
            and not several
            and self.cls.class_choices(setting.names[-1:]) is not None
        )

    # --- classes by name ---------------------------------------------------------------------

    def lists_classes(self, setting: Setting, choices: ClassChoices) -> bool:
        """Whether the value is a list of words of which one at least is the name of a class."""
        if re.fullmatch(r"\[.*\]|\(.*\)", setting.value) is None:
            return False
        words = [word.strip() for word in setting.value[1:-1].split(",")]
        return any(w in choices.classes or find_own_class(self.cls, w) is not None for w in words)

    def choose_class(self, key: str, values: Mapping[str, Any], setting: Setting) -> dict[str, Any]:
        """Return a class and its arguments, as two settings side by side."""
        cls = self.find_class(setting)
        arguments = arguments_key(key)
        self.chosen[setting.path] = setting
        kept = keep_arguments(cls, values.get(key), values.get(arguments) or {}, setting)
        return {key: cls, arguments: kept}

    def choose_part(self, current: Any, setting: Setting) -> Part:
        cls = self.find_class(setting)
        # Nothing was here before, or a word, whose arguments could be kept.
        if not isinstance(current, Part):
            return Part(cls)
        return Part(cls, **thaw(keep_arguments(cls, current.cls, current.params, setting)))

    def find_class(self, setting: Setting) -> type:
        choices = self.cls.class_choices(setting.names)
        if choices is None:
            raise setting.error("a class is chosen in configs.py, not here")
        if setting.value not in choices.classes:
            own = find_own_class(self.cls, setting.value)
            if own is not None:
                return own
            if setting.value in choices.missing:
                raise setting.error(choices.missing[setting.value])
            known = list(choices.classes)
            raise setting.error(
                f"there is no {choices.kind} {setting.value!r}{nearest(setting.value, known)}; "
                f"there are {', '.join(known)}"
            )
        return choices.classes[setting.value]

    def check_chosen_classes(self) -> None:
        """Check that every class that was named has the arguments that it cannot do without.

        This is done at the end, as later settings may have given them.
        """
        for path, setting in self.chosen.items():
            *above, key = path
            holder: Any = self.values
            for step in above:
                holder = holder[step]
            cls, params = holder[key], holder[arguments_key(key)]
            choices = self.cls.class_choices(setting.names)
            stated = {*params, *(choices.given if choices is not None else ())}
            missing = [name for name in required_arguments(cls) if name not in stated]
            if missing:
                where = ".".join((*above, arguments_key(key)))
                words = " ".join(f"{where}.{name}=…" for name in missing)
                raise setting.error(f"{cls.__name__} needs {', '.join(missing)}: add {words}")


def find_own_class(cls: ConfigMeta, name: str) -> type | None:
    """Return a class that stands in the same file as a config, or as one it inherits from.

    Own transforms, losses and networks need no registration; what the class is for shows when it
    is used.
    """
    for config in cls.__mro__:
        found = vars(sys.modules.get(config.__module__, object)).get(name)
        # Of the classes that the file itself defines: `Part` and the like are imported.
        own = isinstance(found, type) and found.__module__ == config.__module__
        if own and not isinstance(found, ConfigMeta):
            return found
    return None


def keep_arguments(
    cls: type, old: type | None, params: Mapping[str, Any], setting: Setting
) -> dict[str, Any]:
    """Return those of the old class's arguments that the new one takes, and warn of the others."""
    known = accepted_arguments(cls)
    kept = {key: value for key, value in params.items() if known is None or key in known}
    dropped = [key for key in params if key not in kept]
    if dropped:
        LOGGER.warning(
            f"--set {setting.text}: {cls.__name__} does not take "
            f"{', '.join(dropped)} of {getattr(old, '__name__', 'the class before')}: dropped"
            + (f"; it keeps {', '.join(f'{k}={v!r}' for k, v in kept.items())}" if kept else "")
        )
    return kept


# --- literals --------------------------------------------------------------------------------


def is_plain(value: Any) -> bool:
    """Whether a literal is made of what JSON can hold as well."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and is_plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def read_literal(text: str) -> Any:
    """Return the Python literal that a text spells, or the text itself.

    In a list words need no quotes, which a shell would take away: [H1,L1] is ['H1', 'L1'].
    """
    words = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    # the last two: thousands of nested brackets
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        if not (text.startswith("[") and text.endswith("]")):
            return text
    try:
        return ast.literal_eval(WORD_OF_A_LIST.sub(quote_word, text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def quote_word(match: re.Match[str]) -> str:
    """Return an entry of a list as Python spells it: numbers and what is quoted as they are."""
    word = match[0]
    return word if word[0] in "'\"" else repr(read_literal(word))


def parse_value(setting: Setting, current: Any, expected: Any) -> Any:
    """Read a literal and check it against the annotated type, or else that of the old value."""
    text, value = setting.value, read_literal(setting.value)
    if not is_plain(value):  # sets, bytes and such could not be written to config.json
        raise setting.error(
            "expected numbers, text, True, False, None, or lists and dicts of these"
        )
    # Settings are frozen, and a tuple never equals a list.
    if isinstance(value, list):
        value = tuple(value)
    if expected is Any and current is not None:
        expected = Mapping if isinstance(current, Mapping) else type(current)
    # What is text by its type is taken as typed: name=2021 is a name, custom_classifier=none a
    # choice. Only a config's own settings know no choice 'none': there it is a mistake.
    is_own_setting = len(setting.path) == 1
    is_text = not is_of_type(value, expected) and is_of_type(text, expected)
    if is_text and not (value is None and is_own_setting):
        value = text
    if not is_of_type(value, expected):
        raise setting.error(
            f"{text!r} is a {type(value).__name__}, expected {format_type(expected)} as in "
            f"{current!r}"
        )
    return value
