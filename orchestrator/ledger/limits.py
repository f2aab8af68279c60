"""What fits into an MLflow tag, param or metric, checked before anything reaches the spool.

Limits of MLflow 3.17 (`mlflow/utils/validation.py`): keys 250 characters of a small alphabet that must not look like a
path that leads elsewhere, tag values 8000, param values 6000. Longer values would be cut silently.
"""

from __future__ import annotations

import json
import math
import posixpath
import re
from collections.abc import Mapping
from typing import Any

from orchestrator.errors import LedgerError
from orchestrator.ledger.records import SlotRecord
from orchestrator.plan.run_spec import canonical

KEY_LENGTH = 250
TAG_LENGTH = 8000
PARAM_LENGTH = 6000
METRICS_PER_BATCH = 1000
PARAMS_PER_BATCH = 100
TAGS_PER_BATCH = 100
DIGEST_LENGTH = 36
DATASET_NAME_LENGTH = 500
SLOT_PREFIX = "hsfm.slot."
HYPERPARAMETERS = "hsfm.hyperparameters"
_ALLOWED = re.compile(r"[/\w.\- :]+")


def checked_key(kind: str, key: str) -> str:
    """`key` if MLflow takes it as the name of a tag, param or metric.

    Raises:
        LedgerError: a character, form or length that MLflow refuses.
    """
    form_ok = posixpath.normpath(key) == key and not key.startswith(("/", "..")) and key != "."
    if not _ALLOWED.fullmatch(key) or not form_ok or len(key) > KEY_LENGTH:
        raise LedgerError(
            f"{kind} name {key!r} is not allowed: up to {KEY_LENGTH} letters, digits, '_', '-', '.', ':', ' ' and '/', "
            "without a leading '/' or empty parts. Rename it."
        )
    return key


def checked_tags(tags: Mapping[str, Any]) -> dict[str, str]:
    """Tags as MLflow takes them: text values, cut with a mark where too long."""
    return {checked_key("tag", key): shortened(str(value), TAG_LENGTH) for key, value in tags.items()}


def checked_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics as plain floats.

    Raises:
        LedgerError: a name that MLflow refuses, or a value that is no number.
    """
    result = {}
    for key, value in metrics.items():
        try:
            result[checked_key("metric", key)] = float(value)
        except (TypeError, ValueError) as error:
            raise LedgerError(
                f"metric {key!r} has the value {value!r}; allowed: a number. Leave absent ones out."
            ) from error
    return result


def shortened(text: str, limit: int) -> str:
    """`text`, or its beginning with a mark that says how much was cut."""
    if len(text) <= limit:
        return text
    mark = f" ... [{len(text)} characters, cut]"
    return text[: limit - len(mark)] + mark


def slot_tag(record: SlotRecord) -> tuple[str, str]:
    """Name and value of the tag that holds a slot on its cell's run.

    Raises:
        LedgerError: a slot name that MLflow refuses, or a record that is too long even with its texts cut.
    """
    name = checked_key("tag", SLOT_PREFIX + record.slot)
    data = record.to_json()
    data["scores"] = {k: v if math.isfinite(v) else str(float(v)) for k, v in record.scores.items()}
    text = _compact(data)
    for text_field in ("error", "stop_reason"):
        excess = len(text) - TAG_LENGTH
        if excess > 0 and data[text_field]:
            # Escapes count up to six characters each in JSON: cut by what is too much, and twice over at the end.
            data[text_field] = shortened(data[text_field], max(40, len(data[text_field]) - excess - 60))
            if len(_compact(data)) > TAG_LENGTH:
                data[text_field] = shortened(data[text_field].encode("ascii", "replace").decode(), 300)
            text = _compact(data)
    if len(text) > TAG_LENGTH:
        raise LedgerError(
            f"the record of slot {record.slot!r} takes {len(text)} characters; allowed: {TAG_LENGTH}. "
            "Keep per-class scores out of it: they belong to the run's metrics."
        )
    return name, text


def slot_from_tag(text: str) -> SlotRecord:
    """The record that `slot_tag` wrote."""
    data = json.loads(text)
    data["scores"] = {k: float(v) for k, v in data.get("scores", {}).items()}
    return SlotRecord.from_json(data)


def run_params(params: Mapping[str, Any]) -> dict[str, str]:
    """All hyperparameters as one canonical JSON param, beside single params that the UI can show and filter.

    Raises:
        LedgerError: a value that JSON cannot hold, or more of them than a param can.
    """
    try:
        text = _compact(canonical(params))
    except (TypeError, ValueError) as error:
        raise LedgerError(f"hyperparameters cannot be written: {error}; allowed: plain finite values.") from error
    if len(text) > PARAM_LENGTH:
        raise LedgerError(
            f"the hyperparameters take {len(text)} characters; allowed: {PARAM_LENGTH}. Name files instead."
        )
    single = {checked_key("param", _clean(key)): shortened(value, PARAM_LENGTH) for key, value in _flat(params).items()}
    return {HYPERPARAMETERS: text, **single}


def _flat(params: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    result: dict[str, str] = {}
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            result.update(_flat(value, f"{prefix}{key}."))
        else:
            result[f"{prefix}{key}"] = str(value) if str(value) else '""'
    return result


def _clean(key: str) -> str:
    return posixpath.normpath(re.sub(r"[^/\w.\- :]", "_", key)).strip("/")[:KEY_LENGTH]


def _compact(data: Any) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
