"""HyperspectralCity v2 with the validation split of the 2026 paper (HS3-Bench)."""

from __future__ import annotations

from orchestrator.datasets import _hcv2

FACTS, IGNORED_IDS, REMEDY = _hcv2.FACTS, _hcv2.IGNORED_IDS, _hcv2.REMEDY
survey, read = _hcv2.survey_hcv2, _hcv2.read_hcv2
