"""Commands that a message names, spelled with the options that the user gave."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from orchestrator.cli.options import DEFAULT_OUT
from orchestrator.config.secrets import mask_secrets


def same_sweep(verb: str, options: Mapping[str, Any], *more: str) -> str:
    """`hsfm-sweep VERB` on the sweep that the shared options name, as one line for a shell.

    Args:
        verb: the verb; "" = run or continue.
        options: values of `sweep_options`.
        more: further words.
    """
    return shlex.join(["hsfm-sweep", *([verb] if verb else []), *sweep_words(options), *more])


def sweep_words(options: Mapping[str, Any]) -> tuple[str, ...]:
    """The options of `sweep_options` as they have to be typed to name the same sweep in another command."""
    words = ["--grid", str(options["grid"])]
    if str(options["out"]) != DEFAULT_OUT:
        words += ["--out", str(options["out"])]
    if options.get("data_root"):
        words += ["--data-root", str(options["data_root"])]
    if uri := options.get("tracking_uri"):
        # a password that was typed is not printed again
        words += ["--tracking-uri", str(uri) if mask_secrets(str(uri)) == str(uri) else "URI"]
    for name in options.get("accepted", ()):
        words += ["--accept-license", str(name)]
    for plugin in options.get("plugins", ()):
        words += ["--plugin", str(plugin)]
    return (*words, *options["overrides"])
