"""One place in a notebook's output that renews itself, instead of a line after a line."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console, RenderableType

WIDTH = 140
REDRAW_S = 2.0
_FRAME = "<pre style='line-height:1.3'>{code}</pre>"


class NotebookArea:
    """Made in the cell's own thread, so that later updates from another thread reach the cell that made it."""

    def __init__(self, first: RenderableType) -> None:
        import IPython.display

        show: Any = IPython.display.display
        self._handle = show(_as_output(first), raw=True, display_id=True)

    def update(self, content: RenderableType) -> None:
        """Show something else in the same place."""
        self._handle.update(_as_output(content), raw=True)


def silent_reporter() -> Any:
    """In a notebook Tune's own reporter clears the cell's output again and again; this one leaves it. Else None."""
    from ray.tune import ProgressReporter
    from ray.widgets.util import in_notebook

    class SilentReporter(ProgressReporter):
        def should_report(self, trials: Any, done: bool = False) -> bool:  # noqa: ARG002
            return False

        def report(self, trials: Any, done: bool, *sys_info: str) -> None:
            pass

    return SilentReporter() if in_notebook() else None


def _as_output(content: RenderableType) -> dict[str, str]:
    """As HTML for notebooks and as text for what cannot show HTML."""
    # not the notebook's own console: this one only records
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_jupyter=False, force_terminal=False)
    console.print(content)
    text = console.export_text(clear=False)
    return {"text/html": console.export_html(inline_styles=True, code_format=_FRAME), "text/plain": text}
