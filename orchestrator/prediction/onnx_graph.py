"""Write one network as an ONNX graph: run as a process of its own, which its caller can end when it takes too long.

The graph takes a raw cube `[1, bands, H, W]`, float32, in the data set's own numbers, and gives logits
`[1, classes, H, W]`: the normalisation is inside.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

OPSET = 20
INPUT, OUTPUT = "cube", "logits"
ODD_SIZE_PX = (37, 45)
"""Height and width of the traced example: multiples of nothing, so that no padding is taken to be always absent."""


def make_graph(folder: Path, file: Path, side_px: int | None) -> None:
    """Trace a saved network and write the graph.

    Args:
        folder: of the model.
        file: where the graph goes.
        side_px: height and width that the graph is fixed to; None = any.
    """
    import onnx
    import torch

    from orchestrator.execution.saved_model import SavedModel

    saved = SavedModel(folder)
    height, width = (side_px, side_px) if side_px else ODD_SIZE_PX
    any_size = torch.export.Dim.AUTO
    sizes = None if side_px else ({2: any_size, 3: any_size},)
    example = torch.from_numpy(saved.statistics.mean_C).float()[None, :, None, None].repeat(1, 1, height, width)
    program: Any = torch.onnx.export(
        _with_normalisation(saved),
        (example,),
        dynamo=True,
        dynamic_shapes=sizes,
        opset_version=OPSET,
        input_names=[INPUT],
        output_names=[OUTPUT],
        verbose=False,
    )
    program.save(file)
    model = onnx.load(file)
    told = ("key", "strategy", "dataset", "class_names", "class_ids", "quantity", "scale", "num_bands")
    onnx.helper.set_model_props(model, {name: json.dumps(saved.facts.get(name)) for name in told})
    onnx.save(model, file)


def _with_normalisation(saved: Any) -> Any:
    import numpy as np
    import torch
    from torch import nn

    from orchestrator.datasets.statistics import affine
    from strategies.heads import PixelwiseModel

    for module in saved.network.modules():
        if isinstance(module, PixelwiseModel):
            module.pixels_at_once = sys.maxsize  # the number of parts would be fixed in the graph

    facts = saved.facts
    parts = affine(saved.statistics, facts["normalisation"], facts["scale"])
    # In float64, as outside of the graph.
    offset_C11, divisor_C11 = (
        np.broadcast_to(part, facts["num_bands"]).astype(np.float64)[:, None, None] for part in parts
    )

    class RawNumbers(nn.Module):
        """The network behind its normalisation."""

        offset_C11: torch.Tensor
        divisor_C11: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.network = saved.network
            self.register_buffer("offset_C11", torch.from_numpy(offset_C11))
            self.register_buffer("divisor_C11", torch.from_numpy(divisor_C11))

        def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
            normalised = (x_BCHW.double() - self.offset_C11) / self.divisor_C11
            logits: torch.Tensor = self.network(normalised.float())
            return logits

    return RawNumbers().eval()


if __name__ == "__main__":
    from strategies.registry import load_plugin

    for plugin in sys.argv[4:]:
        load_plugin(Path(plugin))
    make_graph(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) or None)
