"""Where are the scripts that build images?"""

import sys
from pathlib import Path

CI = Path(__file__).parents[2] / "ci"
sys.path[:0] = [str(CI / "cluster"), str(CI / "images")]
