"""Where the files are that come with flowengine: the standard library in HSL and the example flows.

The wheel carries them inside the package, a checkout has them beside it. Nobody else needs to know which it is.
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def find(name: str) -> Path:
    """The directory or file called `name` ("stdlib", "flows", "flows/inbound.hsl"). Raises FileNotFoundError."""
    for place in (_PACKAGE / name, _PACKAGE.parent / name):
        if place.exists():
            return place
    raise FileNotFoundError(f"{name} did not come with this flowengine; looked in {_PACKAGE} and {_PACKAGE.parent}")
