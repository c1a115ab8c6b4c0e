# SPDX-License-Identifier: Apache-2.0
"""Wan VACE: a plate with a region, and in the region what leads it, to a picture, through diffusers' own classes.

`parts.py` weights from a folder; `conditioning.py` what the model is told about a shot; `latents.py` pictures to latents and back;
`windows.py` long shots; `denoise.py` the loop; `skipping.py` blocks left out of it; `watch.py` how it is stopped; `forming.py` a look at
what comes; `prompts.py` words; `run.py` all of it for one scene, what is kept among it. They know arrays, code values and
tensors. They must not know requests, files of a shot, colours or holdout. Importing this package imports no torch.
"""
