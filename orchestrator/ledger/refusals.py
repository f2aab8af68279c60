"""Why a tracking store cannot be opened, in words that say what mends it."""

from __future__ import annotations

from urllib.parse import urlparse

INVALID_HOST = "Invalid Host"
"""What MLflow's server answers (403) where it is called by a name that it was not told."""
CREDENTIALS = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or ~/.mlflow/credentials"
"""Where MLflow's client looks for a user and a password."""


def host_of(uri: str) -> str:
    """The Host header of a request to an address: name and port, without user and password."""
    return urlparse(uri).netloc.rpartition("@")[2]


def away_text(uri: str, reason: str) -> str:
    """What a user is told of a store that does not answer, or refuses.

    Args:
        uri: its address.
        reason: MLflow's own words, with the HTTP status where there is one.
    """
    if INVALID_HOST in reason:
        return (
            f"the MLflow server at {uri} answers 403 Invalid Host header: it was not told that it is called "
            f"{host_of(uri)!r}. Start it with --allowed-hosts {host_of(uri)} (and its other names), or call it by one "
            "that it knows."
        )
    if "error code 401" in reason:
        return (
            f"the MLflow server at {uri} refuses this user and password, or their absence (401). Correct "
            f"{CREDENTIALS}; `hsfm-sweep doctor` tries them."
        )
    if "error code 403" in reason:
        return (
            f"the MLflow server at {uri} does not allow this user what a sweep does (403): {reason}. Ask its "
            f"administrator for permission on the experiment, correct {CREDENTIALS}, or give the sweep another name."
        )
    return (
        f"MLflow at {uri} does not answer: {reason}. Start it, correct MLFLOW_TRACKING_URI, or unset it to use the "
        "default, an SQLite file in the sweep's folder."
    )
