"""Run the node: `python -m litestereo.ros --ros-args -p model:=las1 -r left/image_rect:=...`."""

import sys

from litestereo.errors import LiteStereoError
from litestereo.ros.node import main

if __name__ == "__main__":
    try:
        main()
    except LiteStereoError as error:
        sys.exit(f"litestereo.ros: error: {error}")
