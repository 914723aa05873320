"""Configurations: Hydra composes them, constructors are their schema.

A mapping with `_target_` becomes a call of that class or function; with `_partial_: true` it becomes a recipe that
waits for the rest of its arguments. Keys that the target does not take are errors, found before anything runs.
"""

import difflib
import functools
import importlib
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from seedvr2.errors import UserError

ALLOWED = ("seedvr2.", "torch.optim.")  # a config from the internet must not be able to name anything else


def folder() -> Path:
    """Where the configs are: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    return next(path for path in (package / "configs", package.parent / "configs") if path.is_dir())


def load(name: str, overrides: Sequence[str] = (), *, extra: Path | None = None) -> DictConfig:
    """Compose `configs/<name>.yaml` with command-line overrides; `extra` is a further folder to find configs in.

    Raises UserError for unknown groups, options and keys.
    """
    GlobalHydra.instance().clear()
    search = [f"hydra.searchpath=['file://{Path(extra).resolve()}']"] if extra else []
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(folder())):
            return compose(name, overrides=[*overrides, *search])
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        raise UserError(f"configuration: {_one_line(error)}") from error


def plain(config: DictConfig, *, missing: str | None = None) -> dict:
    """Resolved config as plain containers; `missing` takes the place of values that have to be given (`???`).

    Raises UserError for unresolvable values, and for missing ones that nothing replaces.
    """
    if missing is not None:
        config = OmegaConf.create(_filled(OmegaConf.to_container(config, resolve=False), missing))
    try:
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        name = error.full_key
        raise UserError(
            f"configuration: {name} has no value: give one, for example {name}=... on the command line"
        ) from error
    except OmegaConfBaseException as error:
        raise UserError(f"configuration: {_one_line(error)}") from error


def _filled(node, value: str):
    if isinstance(node, Mapping):
        return {key: _filled(part, value) for key, part in node.items()}
    if isinstance(node, list):
        return [_filled(part, value) for part in node]
    return value if node == MISSING else node


def build(node, where: str = "config", *, allowed: tuple[str, ...] = ALLOWED):
    """Build what a plain config describes: mappings with `_target_` become objects or recipes, others stay containers.

    A recipe is a `functools.partial` whose attribute `config` is the mapping it came from. where: name for error
    messages. allowed: beginnings of the names that may be built.
    """
    if isinstance(node, Mapping):
        if "_target_" not in node:
            check_names(node, where)
            return {key: build(value, f"{where}.{key}", allowed=allowed) for key, value in node.items()}
        target = resolve(node["_target_"], where, allowed=allowed)
        arguments = {key: value for key, value in node.items() if key not in ("_target_", "_partial_")}
        is_recipe = node.get("_partial_", False)
        check_arguments(target, arguments, where, complete=not is_recipe)
        built = {key: build(value, f"{where}.{key}", allowed=allowed) for key, value in arguments.items()}
        if not is_recipe:
            return target(**built)
        recipe = functools.partial(target, **built)
        recipe.config = dict(node)
        return recipe
    if isinstance(node, list | tuple):
        return [build(value, f"{where}[{i}]", allowed=allowed) for i, value in enumerate(node)]
    return node


def check_names(node: Mapping, where: str) -> None:
    """Raise UserError for signs of a misspelled name in a mapping that is no call: a key that is nearly `_target_`, or
    an entry without `_target_` among others that have one.
    """
    for key in map(str, node):
        if close := difflib.get_close_matches(key, ("_target_", "_partial_"), n=1, cutoff=0.75):
            raise UserError(f"{where} has an unknown key {key!r}: did you mean {close[0]!r}, or is '_target_' missing?")
    parts = {key: "_target_" in value for key, value in node.items() if isinstance(value, Mapping)}
    for key, is_call in parts.items():
        if not is_call and any(parts.values()):
            others = ", ".join(repr(name) for name in parts if parts[name])
            raise UserError(f"{where}.{key} has no _target_, unlike {others}: check the spelling of {key!r} and in it")


def resolve(name: str, where: str, *, allowed: tuple[str, ...] = ALLOWED) -> Callable:
    """The class or function with a dotted name, defined in one of the allowed places. Raises UserError for any
    other.
    """
    if not str(name).startswith(allowed):
        raise UserError(f"{where}._target_ is {name!r}: only names from {' and '.join(allowed)} may be built")
    parts = name.split(".")
    for i in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:i]))
        except ModuleNotFoundError as error:
            if not (error.name and name.startswith(error.name)):
                raise
            continue
        try:
            found = functools.reduce(getattr, parts[i:], found)
        except AttributeError:
            break
        # `seedvr2.x.os.system` begins like ours and is not: what counts is where a thing was defined
        if callable(found) and str(getattr(found, "__module__", "")).startswith(allowed):
            return found
        break
    raise UserError(f"{where}._target_ is {name!r}, which is no class or function of ours: check its spelling")


def check_arguments(target: Callable, arguments: Mapping, where: str, *, complete: bool) -> None:
    """Raise UserError if `target` does not take one of the arguments or its plain value (by the annotation), or
    (complete) needs one that is absent.
    """
    parameters = inspect.signature(target).parameters
    for key, value in arguments.items():
        if key not in parameters:
            close = difflib.get_close_matches(key, parameters, n=1)
            advice = f"did you mean {close[0]!r}?" if close else f"it takes: {', '.join(parameters)}"
            raise UserError(f"{where} has an unknown key {key!r} for {target.__qualname__}: {advice}")
        annotation = parameters[key].annotation
        is_checked = isinstance(value, bool | int | float | str) or typing.get_origin(annotation) is typing.Literal
        if is_checked and not _fits(value, annotation):
            raise UserError(f"{where}.{key} is {value!r}: use {_wording(annotation)}")
    needed = [
        n for n, p in parameters.items() if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if complete and (absent := [name for name in needed if name not in arguments]):
        raise UserError(f"{where} lacks the key {absent[0]!r} that {target.__qualname__} needs: add it")


def _fits(value: bool | float | str, annotation) -> bool:
    # Whether an argument with this annotation takes a plain value; annotations that say nothing take all.
    if annotation in (inspect.Parameter.empty, typing.Any, object) or isinstance(annotation, str | typing.TypeVar):
        return True
    origin, choices = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return value in choices
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, choice) for choice in choices)
    kinds = {float: (int, float), Path: (str,)}.get(annotation, (annotation,))
    return type(value) in kinds


def _wording(annotation) -> str:
    # What to give for an annotation, for people.
    if typing.get_origin(annotation) is typing.Literal:
        return f"one of {', '.join(map(repr, typing.get_args(annotation)))}"
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return " or ".join(_wording(choice) for choice in typing.get_args(annotation))
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", Path: "a path"}
    return {**names, type(None): "null"}.get(annotation, "what the configs that come with seedvr2 have there")


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()).split(" Config search path:")[0]
    advice = r"there is no key '\1': check its spelling, or add it with \2"
    text = re.sub(r"Could not override '(.+?)'\. To append to your config use (\S+)", advice, text)
    return text or (_one_line(error.__cause__) if error.__cause__ else type(error).__name__)
