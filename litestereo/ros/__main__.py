"""Run the stereo node, in a shell that has sourced ROS 2's setup.bash.

usage: python -m litestereo.ros --ros-args -p model:=las1 -r left/image_rect:=/cam/left/image_rect

Topics and parameters are described in docs/robot.md.
"""

import sys

from litestereo.errors import LiteStereoError
from litestereo.ros.node import main
from litestereo.ros.parameters import DEFAULTS

if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__, "Parameters (-p name:=value) and their defaults:", sep="\n")
        print(*(f"  {name}:={value}" for name, value in DEFAULTS.items()), sep="\n")
        sys.exit()
    try:
        main()
    except LiteStereoError as error:
        sys.exit(f"litestereo.ros: error: {error}")
