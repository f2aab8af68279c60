"""A trained model in use: find it, predict new cubes with it, export it.

model = find_model("best", grid="quick")
prediction = predict_cube("flight_line.hdr", model, to=Path("maps"))
"""

from __future__ import annotations

from orchestrator.prediction.models import FoundModel, find_model
from orchestrator.prediction.predicting import Prediction, predict_cube

__all__ = ["FoundModel", "Prediction", "find_model", "predict_cube"]
