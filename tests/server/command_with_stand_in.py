# SPDX-License-Identifier: Apache-2.0
"""The command in a process of its own, with test_cli's stand-in for the model: run by test_cli, never collected."""

import importlib.util
import os
import sys
import threading
from pathlib import Path

spec = importlib.util.spec_from_file_location("test_cli_for_a_process", Path(__file__).with_name("test_cli.py"))
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.registry._MODELS["dust"] = module.StandIn
if os.environ.get("STEP_WITHOUT_END"):

    def generate(self, *arguments):
        print("a step", flush=True)
        threading.Event().wait()

    module.StandIn.generate = generate
sys.argv[0] = "platebridge"
module.cli.main()
