# SPDX-License-Identifier: Apache-2.0
"""The local inference server of Platebridge: socket, jobs, engines, worker, pipeline, models.

Never imports bpy or nuke. Nothing of it reaches for the network, and no library may on its behalf: `models.fetching` alone
lifts that, for as long as somebody fetches. It shares the machine with Blender and Nuke: its threads sleep while they wait.
"""

import os
import sys

os.environ["HF_HUB_OFFLINE"] = os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
if "huggingface_hub.constants" in sys.modules:  # it reads the variable once, as it is imported
    sys.modules["huggingface_hub.constants"].HF_HUB_OFFLINE = True  # type: ignore[attr-defined]

# torch's threads wait for each other many times a frame, by default in a busy loop; where something else wants the processor too, a
# take then took four times as long. They look so many times, a few hundredths of a millisecond, and then sleep. Read once, as torch is
# loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
