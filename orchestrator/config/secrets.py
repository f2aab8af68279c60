"""Takes passwords, tokens and keys out of everything that is printed."""

from __future__ import annotations

import os
import re

MASK = "***"
SHORTEST = 6
"""Values of the environment that are shorter are no secrets, and would be found inside of ordinary words."""
_NAMES = re.compile(
    r"(^AWS_(ACCESS|SECRET|SESSION))|TOKEN(?!IZER)|PASSWORD|PASSWD|SECRET|CREDENTIAL|API_?KEY|ACCOUNT_KEY", re.I
)
_USER = re.compile(r"(?<=://)[^/\s@'\"]+@")
_SETTING = re.compile(
    r"(?i)([\w-]*(?:token|password|passwd|secret|access_key|api_?key|account_key|signature|credential)[\w-]*=)[^&\s'\",;)]+"
)


def is_secret(name: str, value: str) -> bool:
    """Whether a variable of the environment holds a secret itself; a file's path is none, what lies in the file is."""
    return bool(_NAMES.search(name)) and not value.startswith("/")


def mask_secrets(text: str) -> str:
    """`text` without user:password@ of addresses, values of secret settings, and secrets of this environment."""
    text = _SETTING.sub(rf"\1{MASK}", _USER.sub(f"{MASK}@", text))
    secrets = {value for name, value in os.environ.items() if _NAMES.search(name) and len(value) >= SHORTEST}
    # a file's path is no secret, what lies in the file is: AWS_WEB_IDENTITY_TOKEN_FILE, RAY_AUTH_TOKEN_PATH
    for value in sorted(secrets, key=len, reverse=True):
        if not value.startswith("/"):
            text = text.replace(value, MASK)
    return text
